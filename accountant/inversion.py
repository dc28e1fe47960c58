"""From one direction of a loss to certified delta(epsilon) and epsilon(delta).

A query keeps a proved bracket at all times and only narrows it, so that stopping early is sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accountant.composition import Composition
from accountant.contour import (
    NODE_BUDGET,
    SMALLEST,
    ContourError,
    Line,
    log_kernel_peak,
    saddle_at,
    saddle_for,
    saddle_width,
)

Floats = npt.NDArray[np.float64]

# A bracket this much narrower than it must be ends the search (relative, in epsilon).
FINEST = 1e-13


# Promised widths (docs/engine.md, section 7): relative, in epsilon; in delta where epsilon is
# ill-conditioned; and for slow tails, those that need more nodes than SLOW_NODES.
WIDTH = 1e-9
WIDTH_OF_DELTA = 1e-12
SLOW_WIDTH = 1e-6
# Losses rarer than exp(-depth) delta are cut off and charged to the upper bound.  The shallowest
# depth is taken at which the tilted density at the cut is below exp(EDGE); the shallow ones cost
# some width and are for losses whose rare events swamp every moment.
DEPTHS = (80.0, 130.0, 220.0, 400.0, math.inf)
SHALLOW = (22.0, 30.0, 40.0, 55.0)
EDGE = -36.0
# The same of a delta query: relative, and below UNRESOLVED not at all.
DELTA_WIDTH = 1e-8
UNRESOLVED = 1e-290
SLOW_NODES = 512


@dataclass(frozen=True)
class Bracket:
    """Proved bounds, and whether they are as narrow as promised."""

    lower: float
    upper: float
    tight: bool


def delta_bracket(composition: Composition, epsilon: float, budget: int = NODE_BUDGET) -> Bracket:
    """Proved bounds on delta(epsilon), epsilon >= 0, for one direction."""
    if composition.empty or epsilon >= composition.largest_loss:
        return Bracket(0.0, 0.0, True)
    closed = composition.closed_form(epsilon)
    if closed is not None:
        return Bracket(*closed, narrow_delta(*closed, DELTA_WIDTH))
    lower, upper = 0.0, 1.0
    log_delta = -16.0
    slow = False
    for _ in range(6):
        kept, theta, log_delta = saddle_of_kept(composition, epsilon, log_delta)
        upper = min(upper, chernoff(kept, theta, epsilon))
        if upper <= UNRESOLVED:
            return Bracket(lower, upper, True)
        log_delta = min(log_delta, math.log(upper))
        try:
            line = Line(kept, theta, epsilon, log_delta, budget)
        except ContourError:
            break
        slow = slow_tail(line)
        proved = line.certify(epsilon)
        lower, upper = max(lower, proved.lower), min(upper, proved.upper)
        # the saddle's guess of delta set the step and the cut: again where it was far too large
        log_found = math.log(max(upper, SMALLEST))
        if upper - lower <= 1e-10 * upper or log_found > log_delta - 2.0:
            break
        log_delta = log_found
    return Bracket(lower, upper, narrow_delta(lower, upper, SLOW_WIDTH if slow else DELTA_WIDTH))


def truncate(
    composition: Composition,
    log_delta: float,
    saddle: Callable[[Composition], tuple[float, float]],
    depths: tuple[float, ...] = DEPTHS,
) -> tuple[Composition, float, float]:
    """The shallowest cut whose edge does not show at the saddle: the loss kept, and its saddle."""
    for depth in depths:
        kept = composition.truncated(log_delta - depth)
        theta, found = saddle(kept)
        if kept.log_edge(theta) <= EDGE:
            break
    return kept, theta, found


def saddle_of_kept(
    composition: Composition, epsilon: float, log_delta: float
) -> tuple[Composition, float, float]:
    """Truncate below delta(epsilon), not knowing it: the loss kept, its saddle, and log delta."""
    for _ in range(12):
        kept, theta, found = truncate(composition, log_delta, lambda one: saddle_at(one, epsilon))
        if composition.add or found > log_delta - 2.0:
            break
        log_delta = max(found, log_delta - 60.0)
    return kept, theta, found


def delta_brackets(composition: Composition, epsilons: Floats) -> list[Bracket]:
    """``delta_bracket`` at many epsilons, sharing lines between neighbours."""
    found: list[Bracket | None] = [None] * len(epsilons)
    if not (composition.empty or composition.has_closed_form):
        order = np.argsort(epsilons)
        while len(order) > 1 and epsilons[order[0]] < composition.largest_loss:
            first = float(epsilons[order[0]])
            kept, theta, _ = saddle_of_kept(composition, first, -16.0)
            reach = saddle_width(kept, theta)
            group = order[epsilons[order] <= first + reach]
            group = group[epsilons[group] < composition.largest_loss]
            order = order[len(group) :]
            if len(group) > 1:
                _share_line(composition, epsilons, group, found)
    return [
        delta_bracket(composition, float(e)) if known is None else known
        for e, known in zip(epsilons, found, strict=True)
    ]


def _share_line(
    composition: Composition,
    epsilons: Floats,
    group: npt.NDArray[np.intp],
    found: list[Bracket | None],
) -> None:
    """Answer a group of epsilons from one line, where it is precise enough for them."""
    middle = 0.5 * float(epsilons[group[0]] + epsilons[group[-1]])
    # the cut and the step must resolve the smallest delta of the group
    kept, _, log_delta = saddle_of_kept(composition, float(epsilons[group[-1]]), -16.0)
    theta, log_middle = saddle_at(kept, middle)
    try:
        line = Line(kept, theta, middle, min(log_delta, log_middle))
    except ContourError:
        return
    promised = SLOW_WIDTH if slow_tail(line) else DELTA_WIDTH
    lower, upper, _, _ = line.certify_many(epsilons[group])
    for index, low, high in zip(group, lower, upper, strict=True):
        if narrow_delta(low, high, promised):
            found[index] = Bracket(float(low), float(high), True)


def narrow_delta(lower: float, upper: float, promised: float) -> bool:
    """Whether a bracket of delta is as narrow as promised."""
    return bool(upper - lower <= promised * upper or upper <= UNRESOLVED)


def slow_tail(line: Line) -> bool:
    """Whether |Phi| decays so slowly on the line that the wider promise applies."""
    return line.smoothing > 0.0 or line.nodes > SLOW_NODES


def chernoff(composition: Composition, theta: float, epsilon: float) -> float:
    """delta(epsilon) <= exp(K(theta) - theta epsilon) sup (1-e^-x)_+ e^(-theta x).

    Any exponent is valid: where theta is beyond what the inner grid resolves, smaller ones follow.
    """
    for _ in range(12):
        k, _, _, error = composition.cumulants(theta)
        if math.isfinite(k):
            slack = error + 1e-13 * (abs(k) + theta * epsilon + 1.0)
            exponent = k - theta * epsilon + log_kernel_peak(theta) + slack
            if exponent < 0.0:
                return min(1.0, math.exp(exponent) + composition.lost + SMALLEST)
        theta *= 0.1
    return 1.0


def epsilon_bracket(composition: Composition, delta: float, budget: int = NODE_BUDGET) -> Bracket:
    """Proved bounds on epsilon(delta), 0 < delta < 1, for one direction."""
    if composition.empty:
        return Bracket(0.0, 0.0, True)
    search = _Search(composition, delta, budget)
    search.at_zero()
    if composition.has_closed_form:
        search.by_closed_form()
    elif search.upper > 0.0:
        search.by_contour()
        if not search.tight and composition.mixtures and not composition.add:
            search.by_contour(SHALLOW)
    return Bracket(search.lower, search.upper, search.tight)


class _Search:
    """The proved bracket of one epsilon query, and the ways to narrow it."""

    def __init__(self, composition: Composition, delta: float, budget: int) -> None:
        self.delta = delta
        self.log_delta = math.log(delta)
        self.composition = composition
        self.budget = budget
        self.lower = 0.0
        self.upper = composition.largest_loss
        self.spread = math.inf  # narrowest relative bracket of delta that straddles the target
        self.slow = False

    def learn(self, epsilon: float, lower: float, upper: float) -> None:
        """Take in proved bounds on delta(epsilon)."""
        if upper <= self.delta:
            self.upper = max(min(self.upper, epsilon), self.lower)
        if lower >= self.delta:
            self.lower = min(max(self.lower, epsilon), self.upper)
        if upper > 0.0 and lower <= self.delta <= upper:
            self.spread = min(self.spread, (upper - lower) / upper)

    def at_zero(self) -> None:
        """Settle epsilon = 0 where delta >= delta(0), cheaply where it is clear."""
        if self.composition.has_closed_form:
            closed = self.composition.closed_form(0.0)
            assert closed is not None
            self.learn(0.0, *closed)
        # delta(0) <= sqrt(chi-square)/2 <= sqrt(expm1(K(1)))/2: decides tiny losses at once
        k, _, _, error = self.composition.cumulants(1.0)
        if k < 1.0 and 0.5 * math.sqrt(math.expm1(k + error)) * (1.0 + 1e-9) <= self.delta:
            self.upper = 0.0
            self.spread = 0.0

    def by_closed_form(self) -> None:
        """Bisect between proved sides of a closed form."""

        def bounds(epsilon: float) -> tuple[float, float]:
            found = self.composition.closed_form(epsilon)
            assert found is not None
            self.learn(epsilon, *found)
            return found

        if self.upper <= 0.0:
            return
        low, high = self.lower, self.upper
        if not math.isfinite(high):
            high = 1.0
            while bounds(high)[1] > self.delta:
                low, high = high, 2.0 * high
                if high > 1e300:
                    return
        # a proved lower side at low and a proved upper side at high: narrow each to its own edge
        self._edge(low, high, lambda e: bounds(e)[1] <= self.delta)
        self._edge(self.lower, self.upper, lambda e: bounds(e)[0] < self.delta)

    def _edge(self, low: float, high: float, beyond: Callable[[float], bool]) -> None:
        for _ in range(200):
            if high - low <= 1e-15 * high:
                return
            middle = 0.5 * (low + high) if low > 0.1 * high else max(0.3 * high, 1e-300)
            if middle <= 1e-290:
                return
            if beyond(middle):
                high = middle
            else:
                low = middle

    def by_contour(self, depths: tuple[float, ...] = DEPTHS) -> None:
        """Newton on one line; a new line at the saddle where the old one is too far away."""
        composition, theta, guess = truncate(
            self.composition, self.log_delta, lambda one: saddle_for(one, self.log_delta), depths
        )
        if not math.isfinite(guess) or guess <= 0.0:
            guess = 0.0
            theta = saddle_at(composition, 0.0)[0]
        if math.isfinite(self.upper):
            guess = min(guess, self.upper * (1.0 - 1e-3))
        # A proved upper end before anything else
        self._chernoff(composition, theta)
        best = math.inf
        for _ in range(6):
            try:
                line = Line(composition, theta, guess, self.log_delta, self.budget)
            except ContourError:
                return
            self.slow = self.slow or slow_tail(line)
            found = self._newton(line, guess)
            width = self.upper - self.lower
            if found is None or width <= FINEST * self.upper:
                return
            near = abs(found - guess) * max(theta, 1.0) < 0.5
            if near and (width > 0.25 * best or width <= 1e-10 * self.upper):
                return
            best = min(best, width)
            guess = found
            composition, theta, _ = truncate(
                self.composition,
                self.log_delta,
                lambda one, at=found: saddle_at(one, at),  # type: ignore[misc]
                depths,
            )

    @property
    def tight(self) -> bool:
        """Whether the bracket is as narrow as promised."""
        promised = SLOW_WIDTH if self.slow else WIDTH
        narrow = self.upper - self.lower <= promised * self.upper
        return narrow or self.spread <= WIDTH_OF_DELTA

    def _chernoff(self, kept: Composition, theta: float) -> None:
        k, _, _, error = kept.cumulants(theta)
        if math.isfinite(k) and kept.lost < self.delta:
            target = math.log(self.delta - kept.lost)
            bound = (k + error + log_kernel_peak(theta) - target) / theta
            bound = max(0.0, bound) * (1.0 + 1e-12) + 1e-12 * abs(k) / theta
            self.upper = min(self.upper, bound)

    def _newton(self, line: Line, start: float) -> float | None:
        """Solve delta(epsilon) = delta on one line and learn both sides of the answer."""
        epsilon = start
        proved = line.certify(epsilon)
        self.learn(epsilon, proved.lower, proved.upper)
        for _ in range(30):
            if not (proved.estimate > 0.0 and proved.log_slope < 0.0):
                # lost in the line's error: halve towards the proved side
                move = 0.5 * (epsilon + (self.lower if epsilon > self.lower else self.upper))
            else:
                move = epsilon - (math.log(proved.estimate) - self.log_delta) / proved.log_slope
            move = min(max(move, self.lower), self.upper)
            if math.isinf(move) or math.isnan(move):
                return None
            done = abs(move - epsilon) <= 1e-13 * max(move, 1e-300)
            far = abs(move - start) * line.theta > 12.0
            epsilon = move
            proved = line.certify(epsilon)
            self.learn(epsilon, proved.lower, proved.upper)
            if done or far:
                break
        if not (proved.estimate > 0.0 and proved.log_slope < 0.0):
            return epsilon
        # step out to both proved sides
        slack = (proved.upper - proved.lower) / proved.estimate / -proved.log_slope
        slack = max(slack, 2e-15 * epsilon)
        for side in (1.0, -1.0):
            reach = 0.5
            for _ in range(6):
                there = epsilon + side * reach * slack
                if there <= 0.0:
                    there = 0.0
                at = line.certify(there)
                self.learn(there, at.lower, at.upper)
                if there == 0.0 or (self.upper <= there if side > 0 else self.lower >= there):
                    break
                reach *= 1.6
        return epsilon
