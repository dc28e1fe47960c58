"""From a Renyi DP curve to (epsilon, delta), at the best order of a continuum.

RDP(a) is an upper bound of the Renyi divergence of order a between the outputs on neighbouring
data sets, in both orders of the two.  Every order gives a valid bound, so a search is sound
wherever it stops.  Statements and proofs are in docs/renyi.md, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accountant.parameters import nonnegative

ULP = 2.0**-52
Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Any]
Rule = Literal["improved", "classic"]

# Orders searched without asking: a - 1 = 2^k, four to the octave; on request down to and up to.
FIRST, LAST = -6, 6
SMALLEST, LARGEST = -40, 40
ZOOMS = 7
# Where the total variation is bounded: RDP is least near 1, and its bounds are good farther off.
NEAR_ONE = 1.0 + np.exp2(-np.arange(0.0, 33.0, 4.0))


class Conversion(NamedTuple):
    """A bound and the order that gives it; the order is NaN where no order was needed."""

    value: float
    order: float


def epsilon_from_renyi(
    curve: Curve,
    delta: float,
    conversion: Rule = "improved",
    orders: Sequence[float] | Floats | None = None,
) -> Conversion:
    """Smallest epsilon that the curve proves at ``delta``, rounded up.

    Parameters
    ----------
    curve
        From an array of orders above 1 to upper bounds of RDP there; infinity where unknown.
    delta
        >= 0.  At 0 nothing finite is proved unless the curve is 0; from 1 on epsilon is 0.
    conversion
        "improved": ``RDP(a) + ln(1 - 1/a) - (ln delta + ln a)/(a - 1)`` (arXiv 2004.00010,
        Proposition 12; arXiv 2001.05990) and 0 where the total variation is at most ``delta``;
        "classic": ``RDP(a) + ln(1/delta)/(a - 1)`` (Mironov 2017, Proposition 3) alone.
    orders
        Only these, as a published figure may have it; None searches a continuum.

    Raises
    ------
    ValueError
        An argument is outside its domain, or the curve answers with a negative number or NaN.
    """
    target = nonnegative(delta, "delta")
    _known(conversion)
    if target >= 1.0:
        return Conversion(0.0, math.nan)

    def epsilons(at: Floats, divergences: Floats) -> Floats:
        if target == 0.0:
            return np.where(divergences == 0.0, 0.0, math.inf)
        return np.maximum(divergences + _penalty(at, math.log(target), conversion), 0.0)

    if conversion == "improved":
        variation = _least(_total_variation, curve, NEAR_ONE if orders is None else orders)
        if variation.value <= target:
            return Conversion(0.0, variation.order)
    best = _least(epsilons, curve, orders)
    return Conversion(_up(best.value), best.order)


def delta_from_renyi(
    curve: Curve,
    epsilon: float,
    conversion: Rule = "improved",
    orders: Sequence[float] | Floats | None = None,
) -> Conversion:
    """Smallest delta that the curve proves at ``epsilon`` >= 0, rounded up and at most 1.

    The arguments are those of :func:`epsilon_from_renyi`.
    """
    target = nonnegative(epsilon, "epsilon")
    _known(conversion)
    if math.isinf(target):
        return Conversion(0.0, math.nan)

    def log_deltas(at: Floats, divergences: Floats) -> Floats:
        # the penalty at log_delta = 0 is that of delta = 1
        exponent = divergences + _penalty(at, 0.0, conversion)
        slack = 4.0 * ULP * (np.abs(exponent) + target)
        with np.errstate(over="ignore"):
            return np.where(divergences == 0.0, -math.inf, (at - 1.0) * (exponent - target + slack))

    best = _least(log_deltas, curve, orders)
    found = Conversion(1.0, best.order)
    if best.value < 0.0:
        # a delta that is too small for a double is not 0
        least = 5e-324 if best.value > -math.inf else 0.0
        size = 8.0 * ULP * (1.0 - max(best.value, -1e3))
        found = Conversion(min(1.0, math.exp(best.value) * (1.0 + size) + least), best.order)
    if conversion == "improved":
        variation = _least(_total_variation, curve, NEAR_ONE if orders is None else orders)
        if variation.value < found.value:
            return variation
    return found


def epsilon_of_zcdp(rho: float, delta: float, xi: float = 0.0) -> float:
    """``xi + rho + 2 sqrt(rho ln(1/delta))``, rounded up (arXiv 1605.02065, Proposition 1.3).

    The classic conversion at its best order, in closed form; ``epsilon_from_renyi`` with
    ``ZeroConcentrated(rho, xi)`` is smaller.

    Raises
    ------
    ValueError
        ``rho`` or ``xi`` is negative or not finite, or ``delta`` is not within (0, 1].
    """
    for value, name in ((rho, "rho"), (xi, "xi")):
        if not math.isfinite(nonnegative(value, name)):
            raise ValueError(f"{name} must be finite, got {value!r}")
    if not 0.0 < nonnegative(delta, "delta") <= 1.0:
        raise ValueError(f"delta must be within (0, 1], got {delta!r}")
    if rho == 0.0 and xi == 0.0:
        return 0.0
    value = xi + rho + 2.0 * math.sqrt(rho * -math.log(delta))
    return _up(value * (1.0 + 16.0 * ULP))


def minimise(function: Callable[[Floats], Floats]) -> Conversion:
    """Least value found of a function of the order, over orders above 1, and its place.

    The functions that occur are quasi-convex in the order (docs/renyi.md, section 2), so the
    search ends at the minimum; where one is not, what it returns is a value all the same.
    """
    exponents = np.arange(4 * FIRST, 4 * LAST + 1) / 4.0
    values = _evaluate(function, exponents)
    low, high = FIRST, LAST
    while values[-1] == values.min() and values[-1] < math.inf and high < LARGEST:
        more = high + np.arange(1, 9) / 4.0
        exponents = np.append(exponents, more)
        values = np.append(values, _evaluate(function, more))
        high += 2
    while values[0] == values.min() and low > SMALLEST:
        more = low - np.arange(8, 0, -1) / 4.0
        exponents = np.append(more, exponents)
        values = np.append(_evaluate(function, more), values)
        low -= 2
    if not values.min() < math.inf:
        return Conversion(math.inf, math.nan)
    step = 0.25
    best = int(np.argmin(values))
    place, least = float(exponents[best]), float(values[best])
    for _ in range(ZOOMS):
        near = place + step * np.array([-0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8])
        found = _evaluate(function, near)
        if found.min() < least:
            place, least = float(near[np.argmin(found)]), float(found.min())
        step *= 0.2
    order = 1.0 + 2.0**place
    if order < 2.0**40:
        # a curve that interpolates whole orders has its corners there
        corners = np.unique([max(2.0, math.floor(order)), math.floor(order) + 1.0])
        found = np.asarray(function(corners), dtype=float)
        if found.min() < least:
            order, least = float(corners[np.argmin(found)]), float(found.min())
    return Conversion(least, order)


def _evaluate(function: Callable[[Floats], Floats], exponents: Floats) -> Floats:
    return np.asarray(function(1.0 + np.exp2(exponents)), dtype=float)


def _least(
    objective: Callable[[Floats, Floats], Floats],
    curve: Curve,
    orders: Sequence[float] | Floats | None,
) -> Conversion:
    def function(at: Floats) -> Floats:
        divergences = np.asarray(curve(at), dtype=float)
        if divergences.shape != at.shape or not np.all(divergences >= 0.0):
            raise ValueError(
                "the curve must answer with one number >= 0 for each order; got "
                f"{np.array2string(divergences, threshold=6)}"
            )
        return objective(at, divergences)

    if orders is None:
        return minimise(function)
    at = np.asarray(orders, dtype=float)
    if at.ndim != 1 or at.size == 0 or not np.all((at > 1.0) & np.isfinite(at)):
        raise ValueError(f"orders must be a list of finite numbers above 1, got {orders!r}")
    values = function(at)
    best = int(np.argmin(values))
    if not values[best] < math.inf:
        return Conversion(math.inf, math.nan)
    return Conversion(float(values[best]), float(at[best]))


def _penalty(orders: Floats, log_delta: float, conversion: Rule) -> Floats:
    """What epsilon exceeds RDP by, rounded up."""
    if conversion == "classic":
        return -log_delta / (orders - 1.0) * (1.0 + 4.0 * ULP)
    # for orders below 2 the difference is exact, so the quotient is accurate
    parts = np.log(orders - 1.0) - np.log(orders), -(log_delta + np.log(orders)) / (orders - 1.0)
    shrinking = np.log1p(-1.0 / orders)
    first = np.where(orders < 2.0, parts[0], shrinking)
    sizes = np.abs(first) + (abs(log_delta) + np.log(orders)) / (orders - 1.0)
    sizes += np.where(orders < 2.0, np.log(orders), 0.0)
    return first + parts[1] + 8.0 * ULP * sizes


def _total_variation(orders: Floats, divergences: Floats) -> Floats:
    """Pinsker's and Bretagnolle and Huber's bounds, by KL <= RDP at any order above 1."""
    bound = np.minimum(np.sqrt(0.5 * divergences), np.sqrt(-np.expm1(-divergences)))
    return np.minimum(1.0, bound * (1.0 + 4.0 * ULP))


def _up(value: float) -> float:
    return value * (1.0 + 4.0 * ULP)


def _known(conversion: object) -> None:
    if conversion not in ("improved", "classic"):
        raise ValueError(f'conversion must be "improved" or "classic", got {conversion!r}')


__all__ = [
    "Conversion",
    "delta_from_renyi",
    "epsilon_from_renyi",
    "epsilon_of_zcdp",
    "minimise",
]
