"""How far one example can move what a strategy releases, over all patterns of participation.

A strategy C releases C x + Z.  An example that takes part in the steps of a pattern, with a vector
of norm at most 1 in each, moves C x by at most the square root of ``sum of X_ij <v_i, v_j>`` over
the pattern, X = C^T C.  Where X >= 0 on it the worst vectors are all the same, and the sum of X_ij
is attained; with negative entries the sum of |X_ij| is an upper bound that signs alone need not
attain, nor does plus or minus one vector always come closest (docs/sensitivity.md).

Every value is rounded so that it is never below the truth in floating point either; `exact` says
that nothing but rounding has been given away.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    Participation,
    SingleParticipation,
    checked,
)

__all__ = [
    "Sensitivity",
    "UnsupportedParticipationError",
    "of_columns",
    "of_gram",
    "of_matrix",
    "of_toeplitz",
    "rounded_up",
    "separated_maximum",
]

Array = npt.NDArray[np.float64]

_UNIT: Final = 2.0**-53
# Additions of the longest sums, which take about a second.
_MOST_WORK: Final = 2e9
# Steps for which a square matrix may serve to sharpen a bound.
_SHARPENED: Final = 2048
# Steps that are walked through one by one: a few seconds.
_MOST_STEPS: Final = 10**8
# Squared norms within are doubles, and what underflows next to them is far below their rounding.
_SMALLEST, _LARGEST = 1e-240, 1e280

ONE_COLUMN: Final = "the largest column norm"
ORTHOGONAL: Final = "columns of one pattern are orthogonal (arXiv 2306.08153)"
DECREASING: Final = "non-negative decreasing Toeplitz: participation as early as can be is worst"
MAJORANT: Final = "bounded by the decreasing majorant of the coefficients' absolute values"
PAIRS: Final = "all pairs of steps were compared"
EPOCHS: Final = "all places in the epoch were compared"
ROWS: Final = "bounded by the worst pattern of the rows of |X| (arXiv 2306.08153)"


class UnsupportedParticipationError(ValueError):
    """No theorem bounds the sensitivity of the strategy for this participation."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """An upper bound of a sensitivity.

    Attributes
    ----------
    value : float
        Never below the sensitivity, in floating point too.
    exact : bool
        Whether it is attained, up to rounding.
    method : str
        What the value rests on.
    """

    value: float
    exact: bool
    method: str


def of_matrix(matrix: Array, participation: Participation) -> Sensitivity:
    """Bound the sensitivity of any matrix C, of shape (rows, steps)."""
    rows = np.arange(len(matrix))[:, None]
    columns = np.arange(matrix.shape[1])
    lowest = int(np.max(np.where(matrix != 0.0, rows - columns, 0), initial=0))
    is_triangular = not np.any(np.where(rows < columns, matrix, 0.0))
    bands = lowest + 1 if is_triangular else None
    with np.errstate(over="ignore", invalid="ignore"):
        gram = matrix.T @ matrix
    return of_gram(gram, participation, bands=bands, terms=len(matrix))


def of_gram(
    gram: Array,
    participation: Participation,
    *,
    bands: int | None = None,
    terms: int | None = None,
) -> Sensitivity:
    """Bound the sensitivity from X = C^T C.

    Parameters
    ----------
    gram : array of shape (steps, steps)
        X, computed in floating point.
    participation : Participation
    bands : int, optional
        Non-zero diagonals of C, the main one included, where C is lower triangular: columns that
        far apart are orthogonal.
    terms : int, optional
        Products that were added up for one entry of X; without it, `steps`.

    Raises
    ------
    UnsupportedParticipationError
        If nothing is proved for it.
    """
    checked(participation)
    steps = len(gram)
    # |X_ij| as computed is off by at most this share of |C_i| |C_j|.
    off = 2.0 * ((steps if terms is None else terms) + 4) * _UNIT
    norms = np.diagonal(gram) * (1.0 + off)
    _refuse_extreme(norms)
    separation, count = participation.separation(steps), participation.count(steps)
    if count <= 1 or (bands is not None and bands <= separation):
        return of_columns(norms, participation)
    if isinstance(participation, CyclicPoisson):
        raise UnsupportedParticipationError(_too_many_bands(participation, bands))
    root = np.sqrt(norms)
    sizes = np.abs(gram) + off * root[:, None] * root
    nonnegative = bool(np.all(gram >= 0.0))
    if isinstance(participation, FixedEpochOrder | BallsInBins):
        return _of_epochs(sizes, separation, count, nonnegative)
    if count == 2:
        squared = _worst_pair(sizes, separation)
        return Sensitivity(rounded_up(squared, 6), True, PAIRS)
    rows = _worst_rows(sizes, separation, count)
    squared = separated_maximum(rows, separation, count)
    return Sensitivity(rounded_up(squared, 2 * count), False, ROWS)


def of_columns(squared_norms: Array, participation: Participation) -> Sensitivity:
    """Return the sensitivity where the columns of every pattern are orthogonal.

    So they are where C has no more bands than the separation.  Under cyclic Poisson sampling it is
    the largest norm of one column: every participation is then priced with its sampling.

    Parameters
    ----------
    squared_norms : array of shape (steps,)
        Squared norms of the columns, rounded up.
    participation : Participation
    """
    checked(participation)
    _refuse_extreme(squared_norms)
    steps = len(squared_norms)
    count = participation.count(steps)
    if isinstance(participation, SingleParticipation | CyclicPoisson) or count <= 1:
        return Sensitivity(rounded_up(float(np.max(squared_norms)), 1), True, ONE_COLUMN)
    separation = participation.separation(steps)
    if isinstance(participation, FixedEpochOrder | BallsInBins):
        squared = _largest_of_epochs(squared_norms, separation, count)
    else:
        squared = separated_maximum(squared_norms, separation, count)
    return Sensitivity(rounded_up(squared, count), True, ORTHOGONAL)


def of_toeplitz(coefficients: Array, steps: int, participation: Participation) -> Sensitivity:
    """Bound the sensitivity of a lower triangular Toeplitz matrix.

    Exact where the coefficients decrease and are not negative (arXiv 2405.13763), and
    where there are no more of them than the separation; else an upper bound.

    Parameters
    ----------
    coefficients : array of shape (bands,)
        Start of the first column; the rest is 0.
    steps : int
    participation : Participation

    Raises
    ------
    UnsupportedParticipationError
        If nothing is proved for it.
    """
    checked(participation)
    c = np.ascontiguousarray(np.trim_zeros(coefficients[:steps], "b"), dtype=np.float64)
    with np.errstate(over="ignore"):
        _refuse_extreme(c * c)
    separation, count = participation.separation(steps), participation.count(steps)
    if count <= 1 or len(c) <= separation:
        return _of_early_columns(c, steps, separation, count, participation)
    if isinstance(participation, CyclicPoisson):
        raise UnsupportedParticipationError(_too_many_bands(participation, len(c)))
    if min(steps, (count - 1) * separation + len(c)) > _MOST_STEPS:
        raise UnsupportedParticipationError(
            f"with more bands ({len(c)}) than the separation of {separation} at most {_MOST_STEPS} "
            f"steps are walked through, got {steps}: take fewer bands, or a BLT strategy"
        )
    if np.all(c >= 0.0) and np.all(c[1:] <= c[:-1]):
        squared, terms, fully = _early_participations(c, steps, separation, count)
        return Sensitivity(rounded_up(squared, terms), fully, DECREASING)
    majorant = np.maximum.accumulate(np.abs(c)[::-1])[::-1]
    squared, terms, _ = _early_participations(majorant, steps, separation, count)
    bound = Sensitivity(rounded_up(squared, terms), False, MAJORANT)
    if steps > _SHARPENED:
        return bound
    matrix = np.zeros((steps, steps))
    for lag, value in enumerate(c):
        np.fill_diagonal(matrix[lag:], value)
    other = of_gram(matrix.T @ matrix, participation)
    return other if other.value < bound.value else bound


def separated_maximum(values: Array, separation: int, count: int) -> float:
    """Return the largest sum of at most `count` of the values that are `separation` apart.

    By dynamic programming (arXiv 2306.08153), in time O(steps count), and O(steps)
    where as many are allowed as fit.  Rounded up.

    Parameters
    ----------
    values : array of shape (steps,)
        Not negative.
    separation : int
        Least distance between two of them, at least 1.
    count : int
    """
    x = np.ascontiguousarray(values, dtype=np.float64)
    most = min(count, -(-len(x) // separation))
    if most <= 0:
        return 0.0
    if most == 1:
        return float(np.max(x))
    if most * separation >= len(x):
        return float(_all_that_fit(x, separation)) * (1.0 + 2.0 * most * _UNIT)
    if float(most) * len(x) > _MOST_WORK:
        # As many as fit are no fewer: still an upper bound.
        return float(_all_that_fit(x, separation)) * (1.0 + 2.0 * len(x) / separation * _UNIT)
    return float(_so_many(x, separation, most)) * (1.0 + 2.0 * most * _UNIT)


def rounded_up(squared: float, terms: float) -> float:
    """Return the root of a sum of so many products that are not negative, rounded up."""
    return math.nextafter(math.sqrt(squared * (1.0 + 2.0 * (terms + 4) * _UNIT)), math.inf)


def _refuse_extreme(squared_norms: Array) -> None:
    """Refuse a matrix whose squares underflow or overflow: sums of them would bound nothing."""
    largest = float(np.max(squared_norms, initial=0.0))
    if not _SMALLEST <= largest <= _LARGEST:
        raise ValueError(
            f"the largest column of C must have a norm within [{math.sqrt(_SMALLEST):g}, "
            f"{math.sqrt(_LARGEST):g}], so that its square is a double: multiply C by a number, "
            "which changes nothing that it is used for"
        )


def _too_many_bands(participation: CyclicPoisson, bands: int | None) -> str:
    has = "more bands than groups" if bands is None else f"{bands} bands"
    return (
        f"under cyclic Poisson sampling from {participation.groups} groups a strategy needs at "
        f"most as many bands, this one has {has}: take more groups, or fewer bands"
    )


# -- any matrix ------------------------------------------------------------------------------------


def _of_epochs(sizes: Array, separation: int, count: int, nonnegative: bool) -> Sensitivity:
    worst, terms, attained = 0.0, 0, nonnegative or count <= 2
    for start in range(min(separation, len(sizes))):
        part = sizes[start::separation, start::separation]
        if count < len(part):
            # Which of its epochs an example takes part in is not fixed: the largest, row by row.
            part = np.sort(np.sort(part, axis=1)[:, -count:].sum(axis=1))[-count:]
            attained = False
        terms = max(terms, part.size)
        worst = max(worst, float(part.sum()))
    return Sensitivity(rounded_up(worst, terms + count), attained, EPOCHS if attained else ROWS)


def _largest_of_epochs(norms: Array, separation: int, count: int) -> float:
    sums = []
    for start in range(min(separation, len(norms))):
        part = norms[start::separation]
        sums.append(float(np.sort(part)[-count:].sum()))
    return max(sums) * (1.0 + 2.0 * count * _UNIT)


@njit(cache=True, nogil=True)
def _worst_pair(sizes: Array, separation: int) -> float:
    steps = len(sizes)
    worst = 0.0
    for i in range(steps):
        worst = max(worst, sizes[i, i])
        for j in range(i + separation, steps):
            worst = max(worst, sizes[i, i] + sizes[j, j] + 2.0 * sizes[i, j])
    return worst


@njit(cache=True, nogil=True)
def _worst_rows(sizes: Array, separation: int, count: int) -> Array:
    """For each step, the largest sum of its row over the patterns that it belongs to."""
    steps = len(sizes)
    result = np.empty(steps)
    before = np.zeros((count, steps + 1))
    after = np.zeros((count, steps + 1))
    for i in range(steps):
        row = sizes[i]
        # before[m, j]: the most of m steps among the first j; after[m, j]: among those from j on
        last = max(0, i - separation + 1)
        first = min(steps, i + separation)
        for m in range(1, count):
            before[m, 0] = 0.0
            for j in range(last):
                taken = row[j] + before[m - 1, max(0, j - separation + 1)]
                before[m, j + 1] = max(before[m, j], taken)
            after[m, steps] = 0.0
            for j in range(steps - 1, first - 1, -1):
                taken = row[j] + after[m - 1, min(steps, j + separation)]
                after[m, j] = max(after[m, j + 1], taken)
        best = 0.0
        for m in range(count):
            best = max(best, before[m, last] + after[count - 1 - m, first])
        result[i] = row[i] + best
    return result


@njit(cache=True, nogil=True)
def _all_that_fit(x: Array, separation: int) -> float:
    steps = len(x)
    best = np.zeros(steps + 1)
    for i in range(steps - 1, -1, -1):
        best[i] = max(best[i + 1], x[i] + best[min(steps, i + separation)])
    return float(best[0])


@njit(cache=True, nogil=True)
def _so_many(x: Array, separation: int, count: int) -> float:
    steps = len(x)
    fewer = np.zeros(steps + 1)
    best = np.zeros(steps + 1)
    for _ in range(count):
        best[steps] = 0.0
        for i in range(steps - 1, -1, -1):
            best[i] = max(best[i + 1], x[i] + fewer[min(steps, i + separation)])
        fewer, best = best, fewer
    return float(fewer[0])


# -- Toeplitz matrices -----------------------------------------------------------------------------


def _of_early_columns(
    c: Array, steps: int, separation: int, count: int, participation: Participation
) -> Sensitivity:
    """Orthogonal columns: the norms decrease, so the earliest pattern is worst."""
    if count <= 1 or isinstance(participation, CyclicPoisson):
        return Sensitivity(rounded_up(math.fsum(c * c), 2), True, ONE_COLUMN)
    whole = max(0, min(count, (steps - len(c)) // separation + 1))
    squared = whole * math.fsum(c * c)
    for column in range(whole, count):
        part = c[: max(0, steps - column * separation)]
        squared += math.fsum(part * part)
    return Sensitivity(rounded_up(squared, count + 4), True, ORTHOGONAL)


def _early_participations(
    c: Array, steps: int, separation: int, count: int
) -> tuple[float, float, bool]:
    """Squared norm of C on steps 0, b, 2b, ...; what it takes to bound its rounding; if exact."""
    fits = -(-steps // separation)
    exactly = count >= fits or float(count) * steps <= _MOST_WORK
    most = count if exactly else fits
    squared = float(_early(c, steps, separation, most))
    return squared, 2.0 * most + 2.0 * math.sqrt(steps) + 4.0, exactly


@njit(cache=True, nogil=True)
def _early(c: Array, steps: int, separation: int, count: int) -> float:
    bands = len(c)
    fits = -(-steps // separation)
    # Nothing is left after the last participation's band.
    steps = min(steps, (count - 1) * separation + bands)
    # Sums of sums, so that the rounding error grows with the root of the number of steps.
    block = int(math.sqrt(steps)) + 1
    total = 0.0
    part = 0.0
    moved = np.zeros(steps if count >= fits else 0)
    for t in range(steps):
        here = 0.0
        if count >= fits:
            here = c[t] if t < bands else 0.0
            if t >= separation:
                here += moved[t - separation]
            moved[t] = here
        else:
            first = max(0, -((bands - 1 - t) // separation))
            for m in range(first, min(count - 1, t // separation) + 1):
                here += c[t - m * separation]
        part += here * here
        if t % block == block - 1:
            total += part
            part = 0.0
    return total + part
