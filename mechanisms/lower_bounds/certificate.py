"""Lower bounds that hold in floating point: what is left of a dual point after all rounding.

For patterns of participation that have m columns of U each, weights p >= 0 on steps and every
factorization A = B C (docs/lower-bounds.md, theorem 1):

    |U|^2 S^2 sum_s p_s err_s >= sum_i (sum_(t in pattern i) |h_it|)^2,

where S is the sensitivity of C and h_it the part of row t of ``A^T diag(p)^(1/2) U`` in the columns
of pattern i.  No eigenvalue enters: U is a matrix of doubles, however it was found.
"""

import math
from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Patterns", "by_pattern", "certified_error"]

Array = npt.NDArray[np.float64]
# The steps of patterns, shape (patterns, members); -1 where a pattern is short of a member.
Patterns: TypeAlias = npt.NDArray[np.intp]

_UNIT: Final = 2.0**-53
# Numbers of U that are formed at a time.
_LARGEST_PART: Final = 2**23


def by_pattern(matrix: Array, patterns: Patterns) -> Array:
    """Columns of a matrix of shape (rows, steps) by patterns: shape (patterns, rows, members).

    Members that are missing have a column of zeros.
    """
    padded = np.concatenate((matrix, np.zeros((len(matrix), 1))), axis=1)
    return np.ascontiguousarray(padded.T[patterns].transpose(0, 2, 1))


def images(
    workload: Array, patterns: Patterns, factor: Array, roots: Array
) -> Iterator[tuple[Array, Array]]:
    """Columns of A, and ``diag(roots) A R``, by patterns: a part of the patterns at a time."""
    at_once = max(1, _LARGEST_PART // (len(workload) * patterns.shape[1]))
    for first in range(0, len(patterns), at_once):
        part = slice(first, first + at_once)
        columns = by_pattern(workload, patterns[part])
        yield columns, np.matmul(columns, factor[part]) * roots[:, None]


def certified_error(
    workload: Array, patterns: Patterns, factor: Array, roots: Array, transform: Array
) -> float:
    """Return a number that the error of no factorization is below.

    Parameters
    ----------
    workload : array of shape (steps, steps)
        A.
    patterns : array of shape (patterns, members)
        Steps that one example may take part in.
    factor : array of shape (patterns, members, members)
        R, the rows of a pattern's steps in its own coordinates.
    roots : array of shape (steps,)
        Roots of the weights p of steps, at least 0.
    transform : array of shape (steps, steps)
        T; the directions are ``U = T diag(roots) A R`` as computed, nearly a partial isometry.

    Returns
    -------
    float
        At most ``S sqrt(sum p_s err_s / sum p_s)`` for every factorization.
    """
    steps = len(workload)
    members = patterns.shape[1]
    # Bounds the rounding of a sum of so many products, of three numbers each.
    gamma = 1.01 * (steps + members + 8) * _UNIT
    gram = np.zeros((steps, steps))
    weight, parts = 0.0, []
    for columns, image in images(workload, patterns, factor, roots):
        directions = np.matmul(transform, image)
        rows = directions.transpose(1, 0, 2).reshape(steps, -1)
        gram += rows @ rows.T
        lengths = np.sqrt(np.einsum("rq,rq->r", rows, rows))
        weight += float(lengths @ lengths)
        reached = np.matmul(columns.transpose(0, 2, 1), directions * roots[:, None])
        # Off by at most gamma times the sum of absolute values: in norm gamma sum |A_st| |U_s|.
        off = 1.01 * gamma * np.matmul(np.abs(columns).transpose(0, 2, 1), roots * lengths)
        norms = np.sqrt(np.einsum("itm,itm->it", reached, reached)) * (1.0 - gamma)
        parts.append(np.maximum(norms - off, 0.0).sum(axis=1))
    sums = np.concatenate(parts)
    total = math.fsum(sums * sums) * (1.0 - 4.0 * gamma)
    # |U|^2 <= 1 + |U U^T - 1|, and U U^T is off by at most gamma |U|_F^2.
    gram[np.diag_indices(steps)] -= 1.0
    count = patterns.size + steps
    squared = 1.0 + (1.0 + gamma) * float(np.linalg.norm(gram)) + 1.02 * count * _UNIT * weight
    squared_bound = total / (squared * math.fsum(roots * roots)) * (1.0 - 16.0 * _UNIT)
    return math.nextafter(math.sqrt(squared_bound), 0.0)
