"""What a buffered linear Toeplitz strategy costs and how well it does, independent of the steps.

C has the coefficients 1 and ``c_t = sum_i weights_i decay_i**(t-1)``; see docs/blt.md.  The
sensitivity is a sum of terms that are not negative, in float64, with a proved margin (section 3).
The error needs the poles of C^{-1}; they and the sums are computed with 160 digits (section 4),
which makes room for poles that nearly meet.
"""

from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    localcontext,
)
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from mechanisms.sensitivity import rounded_up
from mechanisms.strategies.blt_kernels import sensitivity_squared

__all__ = [
    "InversePoles",
    "first_column",
    "first_column_of_product",
    "inverse_poles",
    "is_decreasing",
    "sensitivity_bound",
    "squared_error",
]

Array = npt.NDArray[np.float64]
Poles = tuple[tuple[float, float], ...]

_UNIT: Final = 2.0**-53
_DIGITS: Final = 160
# Roots are right to so much, relatively; the working precision is far beyond.
_ROOT: Final = Decimal("1e-110")
# Buffers of less weight change no error by 1e-20; poles closer to each other are moved apart.
_NOTHING: Final = Decimal("1e-40")
_CLOSE: Final = Decimal("1e-25")
# Share of a squared sensitivity that rounding may take if the value still counts as exact.
_SHARP: Final = 1e-9


# -- sensitivity -----------------------------------------------------------------------------------


def is_decreasing(decay: Array, weights: Array) -> bool:
    """Whether 1 = c_0 >= c_1 >= c_2 >= ... >= 0 follows, in exact arithmetic (docs/blt.md, 3).

    It does where the weights sum up to at most 1 and, in the order of falling decay, the partial
    sums of ``weights (1 - decay)`` are not negative, nor is the weight of decay 1.
    """
    ordered = sorted(zip(decay.tolist(), weights.tolist(), strict=True), reverse=True)
    exact = [(Fraction(theta), Fraction(weight)) for theta, weight in ordered]
    if sum(weight for _, weight in exact) > 1:
        return False
    if sum(weight for theta, weight in exact if theta == 1) < 0:
        return False
    falls = Fraction(0)
    for position, (theta, weight) in enumerate(exact):
        falls += weight * (1 - theta)
        last_of_its_decay = position + 1 == len(exact) or exact[position + 1][0] < theta
        if last_of_its_decay and falls < 0:
            return False
    return True


def sensitivity_bound(
    decay: Array, weights: Array, first: float, steps: int, separation: int, count: int
) -> tuple[float, bool]:
    """Norm of C on the steps 0, b, 2b, ..., never too small; whether it is right to nine digits.

    Weights of both signs may cancel, so that the margin for rounding is most of the value.

    In time O(buffers^2 log(count)), however many steps.

    Parameters
    ----------
    decay, weights : arrays of shape (buffers,)
        Decays are within [0, 1].
    first : float
        The coefficient on the diagonal, above 0.
    steps, separation, count : int
        With ``(count - 1) * separation < steps``.
    """
    rates = rates_of(decay)
    pattern = float(steps), float(separation), float(count)
    sizes = np.abs(weights)
    largest = sensitivity_squared(rates, sizes, first, *pattern)[0]
    value = largest
    if np.any(weights < 0.0):
        value = sensitivity_squared(rates, weights.copy(), first, *pattern)[0]
    margin = (4200.0 + (len(decay) + 2.0) ** 2) * _UNIT
    value = max(value, 0.0)
    return rounded_up(value + margin * largest, 2), 2.0 * margin * largest <= _SHARP * value


def rates_of(decay: Array) -> Array:
    """``-log(decay)``, of shape (buffers,), to two units in the last place."""
    with np.errstate(divide="ignore"):
        return np.where(decay >= 0.5, -np.log1p(-(1.0 - decay)), -np.log(decay)) + 0.0


# -- error -----------------------------------------------------------------------------------------


class InversePoles(NamedTuple):
    """The inverse of C, to a hundred digits: 1 and ``-sum of weights_i (1 - gaps_i)**(t-1)``.

    Attributes
    ----------
    decays : tuple of Decimal
        ``1 - decay`` of C itself, without buffers of no weight, equal ones joined.
    gaps, weights : tuple of Decimal
        Interlacing with `decays`; weights are above 0.
    """

    decays: tuple[Decimal, ...]
    gaps: tuple[Decimal, ...]
    weights: tuple[Decimal, ...]


def _digits() -> Context:
    traps = [InvalidOperation, DivisionByZero]
    return Context(prec=_DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=traps)


@lru_cache(maxsize=256)
def inverse_poles(decay: tuple[float, ...], weights: tuple[float, ...]) -> InversePoles:
    """Poles and residues of C^{-1}, for weights that are not negative.

    The poles' gaps x solve ``sum of weights_i / (x - (1 - decay_i)) = 1``, one above each of C's.
    """
    with localcontext(_digits()):
        joined: dict[Decimal, Decimal] = {}
        for theta, weight in zip(decay, weights, strict=True):
            gap = 1 - Decimal(theta)
            joined[gap] = joined.get(gap, Decimal(0)) + Decimal(weight)
        poles = sorted(gap for gap, weight in joined.items() if weight > _NOTHING)
        sizes = [joined[gap] for gap in poles]
        gaps, residues = [], []
        for i, pole in enumerate(poles):
            offsets = [pole - other for other in poles]
            distance = _root(offsets, sizes, i)
            gaps.append(pole + distance)
            slope = sum(w / (distance + o) ** 2 for w, o in zip(sizes, offsets, strict=True))
            residues.append(1 / Decimal(slope))
        return InversePoles(tuple(poles), tuple(gaps), tuple(residues))


def _root(offsets: list[Decimal], sizes: list[Decimal], i: int) -> Decimal:
    """The x > 0 below the next pole with ``sum of sizes / (x + offsets) = 1``; offsets[i] = 0."""
    after = [-offset for offset in offsets[i + 1 :]]
    high = min(after) if after else sum(sizes, Decimal(0))
    # up to half way to the next pole the terms beyond are at most twice what they are at 0
    beyond = sum((2 * w / o for w, o in zip(sizes[i + 1 :], after, strict=True)), Decimal(1))
    low = min(sizes[i] / beyond, high / 2)
    x = low
    for _ in range(2000):
        terms = [w / (x + o) for w, o in zip(sizes, offsets, strict=True)]
        excess = sum(terms, Decimal(-1))
        if excess >= 0:
            low = x
        else:
            high = x
        slope = sum((t * t / w for t, w in zip(terms, sizes, strict=True)), Decimal(0))
        step = excess / slope
        following = x + step
        if abs(step) <= _ROOT * x or high - low <= _ROOT * low:
            return following if low < following < high else x
        if not low < following < high:
            following = (low * high).sqrt() if high > 4 * low else (low + high) / 2
        x = following
    return x


def squared_error(inverse: InversePoles, poles: Poles, steps: int, mean: bool) -> float:
    """Squared norm of the last row of A C^{-1}, or the mean over all rows, to float precision.

    Parameters
    ----------
    inverse : InversePoles
    poles : tuple of (pole, weight)
        The workload A: ``sum of weight * pole**t`` on diagonal t, poles within [0, 1].
    steps : int
    mean : bool
    """
    with localcontext(_digits()):
        gaps = inverse.gaps
        given = [(_apart(1 - Decimal(pole), gaps), Decimal(weight)) for pole, weight in poles]
        terms = []
        for pole, weight in given:
            for decay, gap in zip(inverse.decays, gaps, strict=True):
                weight *= (decay - pole) / (gap - pole)
            terms.append((pole, weight))
        for gap, residue in zip(gaps, inverse.weights, strict=True):
            total = sum((weight / (gap - pole) for pole, weight in given), Decimal(0))
            terms.append((gap, residue * total))
        value = Decimal(0)
        for i, (gap, weight) in enumerate(terms):
            for j, (other, factor) in enumerate(terms[: i + 1]):
                both = gap + other - gap * other
                value += weight * factor * _powers(both, steps, mean) * (1 if i == j else 2)
        return float(value)


def _apart(pole: Decimal, gaps: tuple[Decimal, ...]) -> Decimal:
    """A workload's pole, moved where it meets one of the inverse: their residues are infinite."""
    while pole > 0 and (near := [gap for gap in gaps if abs(gap - pole) < _CLOSE]):
        pole = max(near) + 2 * _CLOSE
    return pole


def _powers(gap: Decimal, steps: int, mean: bool) -> Decimal:
    """The sum of ``(1 - gap)**s`` over s < steps, each times ``1 - s/steps`` where `mean`."""
    if steps * abs(gap) < _CLOSE:
        if mean:
            return Decimal(steps + 1) / 2 - gap * (steps * steps - 1) / 6
        return steps - gap * (steps * (steps - 1) // 2)
    ratio = 1 - gap
    power = ratio**steps if ratio else Decimal(0)
    total = (1 - power) / gap
    return (1 - ratio * total / steps) / gap if mean else total


# -- step by step ----------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def first_column(decay: Array, weights: Array, steps: int) -> Array:
    """The first column of C, of shape (steps,), from decay and weights of shape (buffers,)."""
    column, powers = np.ones(steps), np.ones(len(decay))
    for t in range(1, steps):
        column[t] = np.sum(weights * powers)
        powers *= decay
    return column


@njit(cache=True, nogil=True)
def first_column_of_product(decay: Array, weights: Array, given: Array) -> Array:
    """The first column of A C^{-1}, from that of A: both of shape (steps,)."""
    column, buffers = np.empty(len(given)), np.zeros(len(decay))
    for t in range(len(given)):
        column[t] = given[t] - np.sum(weights * buffers)
        buffers = decay * buffers + column[t]
    return column
