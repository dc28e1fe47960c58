"""Closed-form lower bounds for prefix sums, for any number of steps, without a matrix.

The polar factor of the lower triangle A of ones has the entries, with N = 2n + 1,

    U_ij = (csc((i - j + 1/2) pi/N) + csc((i + j - 1/2) pi/N)) / N,    i, j = 1, ..., n,

so that the column sums below the diagonal, which are the diagonal of ``(A^T A)^(1/2)``, are

    h_j = (1/N) sum_(m = 2j - 1)^(2n) csc((m + 1/2) pi/N),

and fall with j.  For steps in classes modulo a spacing, each class a pattern of participation,
``n S^2 mean(err) >= sum over classes of (sum of h_j in the class)^2`` (docs/lower-bounds.md,
section 4).  What is rounded is rounded down.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["column_sums", "nuclear_norm", "prefix_sum_bound"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Numbers whose cosecants are added one by one.
_DIRECT: Final = 2**16
# Places at which the column sums of a longer run are evaluated.
_MOST_PLACES: Final = 2_000_000
# Ratio of neighbouring places, as distances from the nearer end, where there is room for it.
_FINEST: Final = 1e-3
_FIRST: Final = 64
_ROUNDING: Final = 1e-11


def prefix_sum_bound(steps: int, spacing: int) -> float:
    """Lower bound of ``S sqrt(mean err)`` where steps equal modulo `spacing` are a pattern.

    Parameters
    ----------
    steps : int
    spacing : int
        Within [1, steps].
    """
    members = -(-steps // spacing)
    room = _MOST_PLACES // members
    if spacing <= min(_DIRECT, room):
        classes, sizes = np.arange(1, spacing + 1), np.ones(spacing)
    elif room >= 2000:
        classes, sizes = _places(spacing, room)
    else:
        # Equal weights on the classes: by Cauchy and Schwarz no more than the sum of squares.
        return _down(nuclear_norm(steps) / math.sqrt(float(spacing) * steps))
    sums = np.zeros(len(classes))
    for member in range(members):
        step = classes + member * spacing
        inside = step <= steps
        sums[inside] += column_sums(steps, step[inside])
    return _down(math.sqrt(math.fsum(sizes * sums**2) / steps))


def nuclear_norm(steps: int) -> float:
    """Lower bound of the sum of A's singular values, ``1 / (2 sin((2k - 1) pi / (4n + 2)))``."""
    low, _ = _cosecants(steps, np.array([steps]))
    return 0.5 * float(low[0])


def column_sums(steps: int, columns: Counts) -> Array:
    """Lower bounds of h_j for columns j within [1, steps]."""
    # The cosecants are symmetric about m = n, where they are 1.
    start = 2 * columns - 1
    early = start <= steps
    beyond, until = _cosecants(steps, np.where(early, start, 2 * steps + 1 - start))
    whole, _ = _cosecants(steps, np.array([steps]))
    found: Array = np.where(early, 2.0 * whole - until + 1.0, beyond) / (2.0 * steps + 1.0)
    return found


def _cosecants(steps: int, counts: Counts) -> tuple[Array, Array]:
    """Bounds of ``sum of csc((m + 1/2) pi/N) over m < count``, for counts up to the steps.

    Beyond the direct sums, csc x = 1/x + r(x), where r'' rises from 0 to 0.4841 at pi/2: the
    midpoint rule for r is below the integral by at most pi/2 * 0.4841 / 24 phi^2 < 0.032 phi^2,
    with phi = pi/N; and the sum of 1/(m + 1/2) is digamma(count + 1/2) - digamma(1/2), between
    consecutive partial sums of its asymptotic series.
    """
    phi = math.pi / (2.0 * steps + 1.0)
    if steps <= _DIRECT:
        terms = 1.0 / np.sin((np.arange(steps) + 0.5) * phi)
        sums = np.concatenate(([0.0], np.cumsum(terms)))[counts]
        return sums * (1.0 - _ROUNDING), sums * (1.0 + _ROUNDING)
    few = np.cumsum(np.concatenate(([0.0], 1.0 / (np.arange(_FIRST) + 0.5))))
    m = np.maximum(counts, _FIRST).astype(np.float64)
    digamma = np.log(m) + np.euler_gamma + 2.0 * math.log(2.0) + 1.0 / (24.0 * m * m)
    low = np.where(counts < _FIRST, few[np.minimum(counts, _FIRST)], digamma - 7.0 / 960.0 / m**4)
    high = np.where(counts < _FIRST, few[np.minimum(counts, _FIRST)], digamma)
    half = 0.5 * phi * np.maximum(counts, 1)
    rest = np.where(counts > 0, np.log(np.tan(half) / half), 0.0)
    # log and tan are good to a few units in the last place of numbers of this size.
    off = _ROUNDING * (1.0 + high)
    return (low + rest - off - 0.032 * phi * phi) / phi, (high + rest + off) / phi


def _places(spacing: int, room: int) -> tuple[Counts, Array]:
    """Places in [1, spacing], and for how many up to it each stands: the sums fall."""
    ratio = 1.0 + max(_FINEST, 4.0 * math.log(spacing) / room)
    near = np.unique(np.ceil(ratio ** np.arange(math.log(spacing) / math.log(ratio))))
    near = near[near < spacing / 2].astype(np.int64)
    places = np.unique(np.concatenate((near, spacing - near, [spacing])))
    return places, np.diff(places, prepend=0).astype(np.float64)


def _down(value: float) -> float:
    return value * (1.0 - 1e-12)
