"""The dual problem: weights on patterns of participation and on steps, found by L-BFGS.

With weights v on patterns and unit vectors g_it, one for each step of each pattern, in coordinates
of that pattern alone, R has rows ``sqrt(v_i) g_it``; with weights p on steps,
``|diag(p)^(1/2) A R|_* / sqrt(sum v sum p)`` bounds the error of every factorization from below
(docs/lower-bounds.md, theorem 1).  It is smooth, and concave in ``R R^T`` for each p.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mechanisms.lower_bounds.certificate import Patterns, by_pattern, certified_error, images
from mechanisms.lower_bounds.patterns import Family
from mechanisms.optimization import Objective, descend

__all__ = ["DualPoint", "ascend", "certify", "lift", "primal"]

Array = npt.NDArray[np.float64]

_SMALLEST: Final = 1e-14
# Share of the largest eigenvalue below which the smallest is inaccurate.
_ILL_CONDITIONED: Final = 1e-9


@dataclass(frozen=True)
class DualPoint:
    """Weights of the dual problem.

    Attributes
    ----------
    patterns : array of shape (patterns, members)
        Steps of the patterns, -1 where there is none.
    weights : array of shape (patterns,)
        v; their sum is 1.
    vectors : array of shape (patterns, members, members)
        g_it, of norm 1.
    steps : array of shape (steps,)
        p; their sum is 1.
    """

    patterns: Patterns
    weights: Array
    vectors: Array
    steps: Array

    @property
    def factor(self) -> Array:
        """R by patterns, of shape (patterns, members, members)."""
        found: Array = np.sqrt(self.weights)[:, None, None] * self.vectors
        return found


def uniform(patterns: Patterns, steps: int) -> DualPoint:
    """Equal weights, orthogonal vectors."""
    count, members = patterns.shape
    vectors = np.tile(np.eye(members), (count, 1, 1))
    return DualPoint(patterns, np.full(count, 1.0 / count), vectors, np.full(steps, 1.0 / steps))


def ascend(
    workload: Array,
    start: DualPoint,
    objective: Objective,
    *,
    iterations: int = 60,
    tolerance: float = 1e-9,
) -> DualPoint:
    """Return weights at which the bound is (nearly) the best that these patterns give.

    Parameters
    ----------
    workload : array of shape (steps, steps)
    start : DualPoint
    objective : {"mean", "max"}
        "mean" keeps the weights of steps as they are.
    iterations : int
        At most; each takes the eigenvalues of a symmetric matrix of shape (steps, steps).
    tolerance : float
        Relative gain below which a step is the last.
    """
    columns = by_pattern(workload, start.patterns)
    of_steps = np.log(start.steps) if objective == "max" else np.empty(0)
    parts = (np.log(start.weights), start.vectors.ravel(), of_steps)
    cuts = np.cumsum([part.size for part in parts])[:-1]

    def unpack(point: Array) -> tuple[DualPoint, Array]:
        weights, vectors, steps = np.split(point, cuts)
        vectors = vectors.reshape(start.vectors.shape)
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        p = _softmax(steps) if objective == "max" else start.steps
        return DualPoint(start.patterns, _softmax(weights), vectors / lengths, p), lengths

    def loss(point: Array) -> tuple[float, Array]:
        dual, lengths = unpack(point)
        roots = np.sqrt(dual.steps)
        image = np.matmul(columns, dual.factor)
        transform, value = _inverse_root(_rows(image * roots[:, None]))
        directions = np.matmul(transform, image * roots[:, None])
        pull = np.matmul(columns.transpose(0, 2, 1), directions * roots[:, None])
        along = np.sum(pull * dual.vectors, axis=2, keepdims=True)
        scale = np.sqrt(dual.weights)
        by_weight = 0.5 * scale * along.sum(axis=(1, 2))
        by_vector = scale[:, None, None] * (pull - along * dual.vectors) / lengths
        gradient = [by_weight - dual.weights * by_weight.sum(), by_vector.ravel()]
        if objective == "max":
            by_step = 0.5 * roots * np.einsum("irm,irm->r", directions, image)
            gradient.append(by_step - dual.steps * by_step.sum())
        return -np.log(value), -np.concatenate(gradient) / value

    point = descend(loss, np.concatenate(parts), iterations=iterations, tolerance=tolerance)
    return unpack(point)[0]


def lift(dual: DualPoint, coarse: list[Family], fine: list[Family], steps: int) -> DualPoint:
    """Carry weights over to more steps, family by family, along the places within them."""
    weights, vectors, patterns = [], [], []
    first = 0
    for small, large in zip(coarse, fine, strict=True):
        here = slice(first, first + len(small.patterns))
        first = here.stop
        target = large.patterns
        ratio = len(small.patterns) / len(target)
        weights.append(np.exp(_stretched(np.log(dual.weights[here]), len(target))) * ratio)
        vectors.append(_stretched(dual.vectors[here], len(target)))
        patterns.append(target)
    v, g = np.concatenate(weights), np.concatenate(vectors)
    p = np.exp(_stretched(np.log(dual.steps), steps))
    g /= np.linalg.norm(g, axis=2, keepdims=True)
    return DualPoint(np.concatenate(patterns), v / v.sum(), g, p / p.sum())


def certify(workload: Array, dual: DualPoint) -> float:
    """Return a number that the error of no factorization is below, whatever the dual point."""
    roots = np.sqrt(dual.steps)
    given = workload, dual.patterns, dual.factor, roots
    rows = np.concatenate([_rows(image) for _, image in images(*given)], axis=1)
    return certified_error(*given, _inverse_root(rows)[0])


def primal(workload: Array, dual: DualPoint) -> Array:
    """X = C^T C at which the dual point is optimal, if it is: ``X W X = A^T diag(p) A``."""
    roots = np.sqrt(dual.steps)
    image = np.matmul(by_pattern(workload, dual.patterns), dual.factor)
    weighted = workload * roots[:, None]
    found: Array = weighted.T @ _inverse_root(_rows(image * roots[:, None]))[0] @ weighted
    return 0.5 * (found + found.T)


def _rows(image: Array) -> Array:
    """Return an image by patterns as one matrix."""
    return image.transpose(1, 0, 2).reshape(image.shape[1], -1)


def _inverse_root(rows: Array) -> tuple[Array, float]:
    """``(M M^T)^(-1/2)`` and the nuclear norm of M, in floating point."""
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    if squares[0] > _ILL_CONDITIONED * squares[-1]:
        values = np.sqrt(squares)
    else:
        # Singular values of M itself: those of the square have lost their digits.
        triangle: Array = np.asarray(np.linalg.qr(rows.T, mode="r"))
        vectors, values, _ = np.linalg.svd(triangle.T)
        values = np.maximum(values, _SMALLEST * values[0])
    found: Array = (vectors / values) @ vectors.T
    return found, float(values.sum())


def _stretched(values: Array, count: int) -> Array:
    """Values along the first axis at `count` places instead, linearly between the middles."""
    place = (np.arange(count) + 0.5) * len(values) / count - 0.5
    place = np.clip(place, 0.0, len(values) - 1.0)
    low = np.minimum(place.astype(np.intp), max(0, len(values) - 2))
    high = np.minimum(low + 1, len(values) - 1)
    share = (place - low).reshape((-1,) + (1,) * (values.ndim - 1))
    found: Array = values[low] * (1.0 - share) + values[high] * share
    return found


def _softmax(values: Array) -> Array:
    powers = np.exp(values - np.max(values))
    found: Array = powers / powers.sum()
    return found
