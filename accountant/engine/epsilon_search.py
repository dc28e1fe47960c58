"""From one direction of a loss to certified epsilon(delta).

A query keeps a proved bracket at all times and only narrows it, so that stopping early is sound.
Which engine answers is decided by the width that it certifies: a small contour, then the lattice,
then the contour with its full budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from accountant.engine.brackets import SLOW_WIDTH, WIDTH, WIDTH_OF_DELTA, Bracket
from accountant.engine.composition import Composition
from accountant.engine.contour import (
    NODE_BUDGET,
    SMALLEST,
    ContourError,
    Line,
    log_kernel_peak,
    saddle_at,
    saddle_for,
)
from accountant.engine.inversion import DEPTHS, SCOUT_BUDGET, SHALLOW, slow_tail, truncate
from accountant.engine.lattice_search import epsilon_by_lattice, lattice_epsilon
from accountant.losses.gaussian import LARGEST_EPSILON
from accountant.losses.kernels import ULP

# A bracket this much narrower than it must be ends the search (relative, in epsilon).
FINEST = 1e-13


def epsilon_bracket(composition: Composition, delta: float, rtol: float = SLOW_WIDTH) -> Bracket:
    """Proved bounds on epsilon(delta), 0 < delta < 1, for one direction.

    ``rtol`` is the relative width asked of a lattice where pairs are among the parts.
    """
    if composition.empty:
        return Bracket(0.0, 0.0, True)
    if composition.needs_lattice and not composition.has_closed_form:
        return epsilon_by_lattice(composition, delta, rtol)
    search = EpsilonSearch(composition, delta)
    search.at_zero()
    if composition.has_closed_form:
        search.by_closed_form()
    if not search.tight and search.upper > 0.0 and not composition.needs_lattice:
        search.by_contour(SCOUT_BUDGET)
        if not search.tight and search.contour_suffices():
            search.by_contour(NODE_BUDGET)
        if not search.tight:
            search.by_lattice()
        for depths in (DEPTHS, SHALLOW) if composition.mixtures else (DEPTHS,):
            if not search.tight:
                search.found = 0.0
                search.by_contour(NODE_BUDGET, depths)
        search.by_domination()
    if search.lower > search.upper:
        # two proofs that contradict each other would be a fault: keep what is safe to publish
        return Bracket(0.0, max(search.lower, search.upper), False)
    return Bracket(search.lower, search.upper, search.tight)


class EpsilonSearch:
    """The proved bracket of one epsilon query, and the ways to narrow it."""

    def __init__(self, composition: Composition, delta: float) -> None:
        self.delta = delta
        self.log_delta = math.log(delta)
        self.composition = composition
        self.lower = 0.0
        self.upper = composition.largest_loss
        self.spread = math.inf  # narrowest relative bracket of delta that straddles the target
        self.slow = False
        self.found = 0.0  # where the last contour's estimate was

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
        if self.composition.needs_lattice:
            return
        # delta(0) <= sqrt(chi-square)/2 = sqrt(expm1(K(1)))/2, and total variation is subadditive:
        # either decides tiny losses at once
        k, _, _, error = self.composition.cumulants(1.0)
        bound = 0.5 * math.sqrt(math.expm1(k + error)) if k + error < 1.0 else 1.0
        if min(bound, self.composition.total_variation()) * (1.0 + 1e-9) <= self.delta:
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
                if high > 1e300 or (self.composition.mixtures and high > LARGEST_EPSILON):
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

    def by_contour(self, budget: int, depths: tuple[float, ...] = DEPTHS) -> None:
        """Newton on one line; a new line at the saddle where the old one is too far away."""
        composition, theta, guess = self._start(depths)
        # A proved upper end before anything else
        self._chernoff(composition, theta)
        best = math.inf
        for _ in range(6):
            try:
                line = Line(composition, theta, guess, self.log_delta, budget)
            except ContourError:
                return
            self.slow = self.slow or slow_tail(line)
            found = self._newton(line, guess)
            width = self.upper - self.lower
            self.found = found or 0.0
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

    def _start(self, depths: tuple[float, ...]) -> tuple[Composition, float, float]:
        """The loss kept, a saddle, and the epsilon to begin with."""
        if self.found > 0.0:
            guess = self.found
            kept, theta, _ = truncate(
                self.composition, self.log_delta, lambda one: saddle_at(one, guess), depths
            )
            return kept, theta, guess
        kept, theta, guess = truncate(
            self.composition, self.log_delta, lambda one: saddle_for(one, self.log_delta), depths
        )
        if not 0.0 < guess < math.inf:
            guess = 0.0
            theta = saddle_at(kept, 0.0)[0]
        if math.isfinite(self.upper):
            guess = min(guess, self.upper * (1.0 - 1e-3))
        return kept, theta, guess

    def contour_suffices(self) -> bool:
        """Whether the full budget needs no smoothing where the answer seems to be."""
        kept, theta, guess = self._start(DEPTHS)
        try:
            return Line(kept, theta, guess, self.log_delta).smoothing == 0.0
        except ContourError:
            return False

    def by_lattice(self) -> None:
        """The lattice, from guesses of epsilon that get rougher until one is good enough."""
        self.slow = True
        if self.composition.pairs:
            found = epsilon_by_lattice(self.composition, self.delta)
            self.lower, self.upper = max(self.lower, found.lower), min(self.upper, found.upper)
            return
        for guess in (self._one_release_of(), self.found, math.sqrt(self.lower * self.upper)):
            if 0.0 < guess < math.inf and not self.tight:
                with np.errstate(all="ignore"):
                    lower, upper = lattice_epsilon(self.composition, self.delta, guess)
                self.lower, self.upper = max(self.lower, lower), min(self.upper, upper)

    def _one_release_of(self) -> float:
        """The epsilon of one release at delta/T: close where participation is rare."""
        composition = self.composition
        others = composition.variance > 0.0 or composition.laplaces or composition.pairs
        if len(composition.mixtures) != 1 or others:
            return 0.0
        ((mixture, n),) = composition.mixtures
        if self.delta / n < SMALLEST:
            return 0.0
        alone = EpsilonSearch(replace(composition, mixtures=((mixture, 1),)), self.delta / n)
        alone.by_closed_form()
        return alone.upper

    @property
    def tight(self) -> bool:
        """Whether the bracket is as narrow as promised."""
        if not math.isfinite(self.upper):
            return False
        promised = SLOW_WIDTH if self.slow else WIDTH
        narrow = self.upper - self.lower <= promised * self.upper
        return narrow or self.spread <= WIDTH_OF_DELTA

    def by_domination(self) -> None:
        """A finite upper end, where nothing else has found one.

        A mixture is dominated by its largest shift alone (joint convexity), and a Laplace release
        adds at most 1/b, a list of atoms its largest loss.
        """
        if math.isfinite(self.upper):
            return
        composition = self.composition
        parts = [n * (m.sensitivities[-1] / m.sigma) ** 2 for m, n in composition.mixtures]
        variance = math.fsum([composition.variance, *parts]) * (1.0 + 8.0 * ULP)
        gaussian = EpsilonSearch(Composition(variance, (), (), composition.add), self.delta)
        gaussian.by_closed_form()
        pure = math.fsum(n / b for b, n in composition.laplaces)
        pure += math.fsum(n * pair.largest_loss for pair, n in composition.pairs)
        self.upper = (gaussian.upper + pure) * (1.0 + 16.0 * ULP)

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
