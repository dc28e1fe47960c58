"""Solve for one unknown parameter of an event, always ending on the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.calibration_target import Target, target
from accountant.errors import CalibrationError
from accountant.privacy_loss import PrivacyLoss, privacy_loss

# Width of the quick answers that a search begins with, where a lattice answers.
ROUGH = 1e-3
# Searched when no bracket is given: an unknown of any scale.
WIDEST = (1e-6, 1e12)


def calibrate(
    make_event: Callable[[float], dp_event.DpEvent],
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    advantage: float | None = None,
    tpr: float | None = None,
    fpr: float | None = None,
    bayes_accuracy: float | None = None,
    prior: float | None = None,
    mu: float | None = None,
    bracket: tuple[float, float] | None = None,
    integer: bool = False,
    rtol: float = 1e-6,
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
) -> float:
    """Find the cheapest parameter for which ``make_event(parameter)`` meets a target.

    "Cheapest" is the parameter closest to breaking the target: the smallest noise, the largest
    number of steps.  The cost must be monotone in the parameter; the direction is taken from the
    ends of the bracket.

    Exactly one target is given: ``epsilon`` with ``delta``; ``advantage``; ``tpr`` with ``fpr``;
    ``bayes_accuracy`` with ``prior``; or ``mu`` with ``delta``.

    Parameters
    ----------
    make_event
        From the parameter (positive) to an event.
    epsilon, delta
        (epsilon, delta)-DP.
    advantage
        Largest membership advantage, max(TPR - FPR).
    tpr, fpr
        Largest true positive rate, at a false positive rate.
    bayes_accuracy, prior
        Largest probability of a right guess, with a prior probability of membership; the worse
        direction counts.
    mu, delta
        Gaussian DP for all epsilons with delta(epsilon) >= delta: ``delta(epsilon) <=
        max(delta_mu(epsilon), delta)``.
    bracket
        Smallest and largest parameter to consider; by default 1 is widened until the target lies
        between, within [1e-6, 1e12].
    integer
        Whether the parameter is a whole number; the answer is then exact.
    rtol
        Relative distance of the answer from the boundary (of the certified bounds; that of mu is
        1e-5 above the smallest).
    neighboring_relation
        What "neighbouring data sets" means.

    Returns
    -------
    float or int
        A parameter at which the certified bound of what was asked is at most the target.

    Raises
    ------
    CalibrationError
        No parameter of the bracket meets the target; the message names the best reachable.
    ValueError
        None or more than one target is given, one lacks its other half, or a value is outside its
        domain.
    """
    goal = target(
        epsilon=epsilon,
        delta=delta,
        advantage=advantage,
        tpr=tpr,
        fpr=fpr,
        bayes_accuracy=bayes_accuracy,
        prior=prior,
        mu=mu,
    )
    if not 0.0 < rtol < 1.0:
        raise ValueError(f"rtol must be within (0, 1), got {rtol!r}")

    def loss(parameter: float) -> PrivacyLoss:
        event = make_event(round(parameter) if integer else parameter)
        return privacy_loss(event, neighboring_relation)

    def rough(parameter: float) -> float:
        return goal.excess(loss(parameter), ROUGH)

    @cache
    def excess(parameter: float) -> float:
        return goal.excess(loss(parameter))

    if bracket is None:
        low, high = _widen(rough, integer)
    else:
        low, high = bracket
        if not 0.0 < low <= high < math.inf:
            raise ValueError(f"bracket must be 0 < smallest <= largest, got {bracket!r}")
    nearer = low, high
    if not integer and goal.quantity == "epsilon" and (loss(low).pairs or loss(high).pairs):
        nearer = _narrowed(rough, excess, low, high)
    answer = solve(excess, *nearer, integer=integer, rtol=rtol)
    if answer is None:
        raise CalibrationError(_unreachable(goal, low, high, loss))
    return answer


def _narrowed(
    rough: Callable[[float], float], excess: Callable[[float], float], low: float, high: float
) -> tuple[float, float]:
    """A narrow bracket around the boundary, found with quick answers and checked with full ones."""
    found = solve(rough, low, high, rtol=ROUGH)
    if found is None:
        return low, high
    near = max(low, found * (1.0 - 5.0 * ROUGH)), min(high, found * (1.0 + 5.0 * ROUGH))
    met = [excess(end) <= 0.0 for end in near]
    return near if met[0] is not met[1] else (low, high)


def _unreachable(
    goal: Target, low: float, high: float, loss: Callable[[float], PrivacyLoss]
) -> str:
    best = min(goal.reached(loss(low)), goal.reached(loss(high)))
    return (
        f"no parameter within [{low:g}, {high:g}] reaches {goal}; the best reachable "
        f"{goal.quantity} there is {best:.6g}"
    )


def solve(
    excess: Callable[[float], float],
    low: float,
    high: float,
    *,
    integer: bool = False,
    rtol: float = 1e-6,
) -> float | None:
    """The parameter with ``excess <= 0`` next to the boundary of a monotone function.

    ``excess`` may be infinite; the search is by Illinois' rule in log(parameter), kept within the
    bracket.  None where both ends are positive; where neither is, the end nearer to the boundary.
    """
    if integer:
        low, high = math.ceil(low), math.floor(high)
        if low > high:
            return None
    f_low, f_high = excess(low), excess(high)
    if f_low > 0.0 and f_high > 0.0:
        return None
    if f_low <= 0.0 and f_high <= 0.0:
        return low if f_low > f_high else high
    safe, f_safe, bad, f_bad = low, f_low, high, f_high
    if f_low > 0.0:
        safe, f_safe, bad, f_bad = high, f_high, low, f_low
    last = 0
    for _ in range(300):
        if (integer and abs(safe - bad) <= 1) or abs(math.log(safe / bad)) <= rtol:
            if not integer or abs(safe - bad) <= 1:
                break
        x_safe, x_bad = math.log(safe), math.log(bad)
        middle = 0.5 * (x_safe + x_bad)
        if math.isfinite(f_safe) and math.isfinite(f_bad):
            secant = (x_safe * f_bad - x_bad * f_safe) / (f_bad - f_safe)
            # half a tolerance to the safe side, so that one step lands on it
            secant += math.copysign(0.4 * rtol, x_safe - x_bad)
            inner = 0.25 * rtol
            small, large = min(x_safe, x_bad) + inner, max(x_safe, x_bad) - inner
            middle = min(max(secant, small), large)
        there: float = math.exp(middle)
        if integer:
            there = min(max(round(there), min(safe, bad) + 1), max(safe, bad) - 1)
        value = excess(there)
        if value <= 0.0:
            safe, f_safe = there, value
            f_bad = 0.5 * f_bad if last == 1 else f_bad
            last = 1
        else:
            bad, f_bad = there, value
            f_safe = 0.5 * f_safe if last == 2 else f_safe
            last = 2
    return safe


def _widen(excess: Callable[[float], float], integer: bool) -> tuple[float, float]:
    """Two parameters with the boundary between them, found outwards from 1."""
    at_one = excess(1.0) <= 0.0
    floor = 1.0 if integer else WIDEST[0]
    up = down = 1.0
    while up < WIDEST[1] or down > floor:
        if up < WIDEST[1]:
            before, up = up, min(up * 4.0, WIDEST[1])
            if (excess(up) <= 0.0) is not at_one:
                return before, up
        if down > floor:
            before, down = down, max(down / 4.0, floor)
            if (excess(down) <= 0.0) is not at_one:
                return down, before
    return floor, WIDEST[1]
