"""Where a cost crosses zero, found with few evaluations and never answered from the wrong side."""

import math
from collections.abc import Callable

__all__ = ["around", "boundary"]

_STEEPEST = 50.0  # costs are logarithms; beyond e^50 only the sign says anything


def boundary(
    cost: Callable[[float], float],
    admissible: float,
    inadmissible: float,
    *,
    whole: bool,
    rtol: float = 1e-6,
) -> float:
    """Return the last admissible value before a monotone cost turns positive.

    The ITP method (Oliveira and Takahashi 2020, doi:10.1145/3423597) on a logarithmic scale:
    superlinear where the cost is smooth, never more than two evaluations worse than bisection.

    Parameters
    ----------
    cost : callable
        Logarithm of what is reached over what is allowed; at most 0 where a value is admissible.
    admissible, inadmissible : float
        Positive values on either side of the boundary.
    whole : bool
        Search whole numbers, down to neighbours; otherwise down to `rtol`.
    rtol : float, default 1e-6
        Relative distance at which the two sides are close enough.

    Returns
    -------
    float
        An admissible value; an int where `whole` is set.
    """
    good, bad = math.log(admissible), math.log(inadmissible)
    at_good, at_bad = admissible, inadmissible
    cost_good = min(0.0, _clipped(cost(at_good)))
    cost_bad = max(0.0, _clipped(cost(at_bad)))
    tolerance = rtol / 2
    resolution = 1 / max(at_good, at_bad) / 2 if whole else tolerance
    budget = math.ceil(math.log2(max(1.0, abs(bad - good) / (2 * resolution)))) + 2
    spread = 0.2 / abs(bad - good)
    used = 0
    while abs(at_bad - at_good) > 1 if whole else abs(bad - good) > rtol:
        middle = (good + bad) / 2
        slope = cost_bad - cost_good
        falsi = (cost_bad * good - cost_good * bad) / slope if slope > 0 else middle
        towards = math.copysign(1.0, middle - falsi)
        nudge = max(spread * (bad - good) ** 2, tolerance / 2)
        truncated = falsi + towards * nudge if nudge <= abs(middle - falsi) else middle
        # Never so far from the middle that bisection could no longer finish within the budget.
        radius = max(0.0, resolution * 2.0 ** max(0, budget - used) - abs(bad - good) / 2)
        point = middle + max(-radius, min(radius, truncated - middle))
        used += 1
        value = math.exp(point)
        if whole:
            low, high = sorted((at_good, at_bad))
            value = min(max(round(value), low + 1), high - 1)
            point = math.log(value)
        elif not min(good, bad) < point < max(good, bad):
            break
        result = _clipped(cost(value))
        if result <= 0:
            good, at_good, cost_good = point, value, result
        else:
            bad, at_bad, cost_bad = point, value, result
    return at_good


def around(
    cost: Callable[[float], float],
    start: float,
    admissible_end: float,
    inadmissible_end: float,
    *,
    whole: bool,
) -> tuple[float | None, float | None]:
    """Return values close to `start` on either side of the boundary; see `boundary`.

    Steps grow from `start` until the cost changes sign.

    Parameters
    ----------
    cost : callable
        As of `boundary`.
    start : float
        Where the boundary is thought to be.
    admissible_end, inadmissible_end : float
        How far to look.
    whole : bool
        Whether values are whole numbers.

    Returns
    -------
    admissible, inadmissible : float or None
        None where there is none as far as that end.
    """
    value, good = start, cost(start) <= 0
    end = inadmissible_end if good else admissible_end
    width = 1e-4
    while value != end:
        last, value = value, _stepped(value, end, width, whole)
        if (cost(value) <= 0) is not good:
            return (last, value) if good else (value, last)
        width *= 4
    return (value, None) if good else (None, value)


def _stepped(value: float, end: float, width: float, whole: bool) -> float:
    """Return the value one step nearer to the end, by a relative width."""
    up = end > value
    there = value * math.exp(width if up else -width)
    if whole:
        there = max(math.ceil(there), value + 1) if up else min(math.floor(there), value - 1)
    return min(there, end) if up else max(there, end)


def _clipped(cost: float) -> float:
    return max(-_STEEPEST, min(_STEEPEST, cost))
