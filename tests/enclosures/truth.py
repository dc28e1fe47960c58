"""Exact delta and epsilon, as balls, by the first method that covers the composition."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flint import arb, ctx

from tests.enclosures.closed_forms import closed_form, has_closed_form
from tests.enclosures.convolution import convolved, is_convolvable
from tests.enclosures.inversion import invert, rough
from tests.enclosures.pairs import Composition, Exact, ball


def beyond_reach(composition: Composition, epsilon: Exact) -> bool:
    """Whether epsilon is at or above the largest possible loss, so that delta is exactly 0."""
    with ctx.workprec(512):
        largest = composition.largest_loss()
        return largest is not None and bool(ball(epsilon) >= largest)


def deltas(
    composition: Composition, epsilons: list[Exact], *, digits: int = 16, budget: int = 20_000
) -> list[arb]:
    """Enclosures of delta at neighbouring epsilons, relatively about 10^-digits wide."""
    if has_closed_form(composition):
        return [closed_form(composition, eps, digits) for eps in epsilons]
    if any(beyond_reach(composition, eps) for eps in epsilons):
        return [
            arb(0) if beyond_reach(composition, eps) else deltas(composition, [eps])[0]
            for eps in epsilons
        ]
    if is_convolvable(composition):
        return [convolved(composition, eps, digits + 5) for eps in epsilons]
    return invert(composition, epsilons, digits=digits, budget=budget)


def delta(composition: Composition, epsilon: Exact, **options: int) -> arb:
    """An enclosure of delta at epsilon."""
    return deltas(composition, [epsilon], **options)[0]


@dataclass(frozen=True)
class Interval:
    """An interval with exact ends that contains the true epsilon."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the interval."""
        return (self.low + self.high) / 2


def _rough_epsilon(composition: Composition, target: float) -> float:
    """A Chernoff bound on epsilon, or the mean loss where that is larger, to start from."""
    best = math.inf
    mean = rough(composition, 1e-3)[1]
    for theta in (2.0**k for k in range(-6, 12)):
        cumulant = rough(composition, theta)[0]
        eps = cumulant - math.log(target) - math.log1p(1 / theta) - math.log1p(theta)
        best = min(best, eps / theta)
    return max(best, mean, 1e-6)


def epsilon(
    composition: Composition,
    target: float,
    *,
    rtol: float = 1e-13,
    guess: float | None = None,
    budget: int = 20_000,
) -> Interval:
    """An interval of relative width about 2 rtol that contains epsilon at delta = target.

    Newton's method in log delta finds a candidate; the interval around it is accepted only where
    the enclosures of delta at its two ends lie on the two sides of the target. Where delta at 0
    is at most the target, epsilon is 0.
    """
    digits = math.ceil(-math.log10(rtol)) + 4
    with ctx.workprec(256):
        goal = ball(target)
        eps = guess if guess is not None else _rough_epsilon(composition, target)
        largest = composition.largest_loss()
        limit = math.inf if largest is None else float(largest)
        low, high = 0.0, limit
        for attempt in range(80):
            eps = eps if low < eps < high else (low + min(high, 2 * low + 1)) / 2
            if attempt == 3 and low == 0.0 and delta(composition, 0, budget=budget) <= goal:
                return Interval(0.0, 0.0)
            wide = max(rtol * eps, 5e-324)
            ends = [eps - wide, eps + wide] if attempt > 1 else [eps, eps * (1 + 1e-6)]
            first, second = deltas(
                composition, ends, digits=digits if attempt > 1 else 8, budget=budget
            )
            if attempt > 1 and first >= goal >= second:
                return Interval(ends[0], ends[1])
            if first > goal:
                low = max(low, ends[0])
            elif first < goal:
                high = min(high, ends[1])
            if not (first > 0 and second > 0 and first.mid() > second.mid()):
                eps = (low + min(high, 2 * eps)) / 2
                continue
            slope = float((second.mid().log() - first.mid().log()) / (ends[1] - ends[0]))
            eps = ends[0] - float(first.mid().log() - goal.log()) / slope
    raise ArithmeticError(f"no convergence for {composition!r} at {target}")
