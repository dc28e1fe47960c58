"""How a composed loss is queried: which engine answers, and how parts of different kinds join.

Exact parts go to the contour, or, where pairs are among them, to the lattice.  Curves leave RDP for
everything; what is released in the clear with probability D gives delta = D + (1 - D) delta of the
rest; where parts are upper bounds, the floor gives the lower ends.  docs/pairs.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from accountant.engine.brackets import SLOW_WIDTH, Bracket
from accountant.engine.composition import Composition, Direction
from accountant.engine.epsilon_search import epsilon_bracket
from accountant.engine.inversion import delta_bracket, delta_brackets, delta_from_contour
from accountant.engine.lattice_search import SCOUT_SIZE, delta_by_lattice
from accountant.engine.supporting_lines import Sandwich, Side
from accountant.engine.tradeoff import smallest_fnr
from accountant.losses.renyi import RenyiCurve
from accountant.renyi import delta_from_renyi, epsilon_from_renyi

Floats = npt.NDArray[np.float64]

ULP = 2.0**-52
# A cheap line that often shows that the other direction is not the worse one.
SCOUT_BUDGET = 1024


class Parts(Protocol):
    """What a query needs of a composed loss; see ``PrivacyLoss``."""

    @property
    def curves(self) -> tuple[tuple[RenyiCurve, int], ...]:
        """What is known by its RDP alone."""

    @property
    def clear(self) -> tuple[tuple[float, int], ...]:
        """Probabilities of releases in the clear."""

    @property
    def in_the_clear(self) -> float:
        """Probability that something is released in the clear."""

    @property
    def non_private(self) -> bool:
        """Whether something is released without any protection."""

    @property
    def floor(self) -> Parts | None:
        """What is attained, where these parts are only upper bounds."""

    def without_clear(self) -> Parts:
        """The same, given that nothing is released in the clear."""

    def directed(self, direction: Direction | None) -> tuple[Composition, ...]:
        """The compositions that answer for a direction."""

    def opposite(self, one: Composition) -> Composition:
        """The other direction of a composition."""


@dataclass(frozen=True)
class Query:
    """One loss, a direction (None: the worse of both), and the width asked of lattices."""

    loss: Parts
    direction: Direction | None = None
    rtol: float = SLOW_WIDTH

    # --- epsilon ---------------------------------------------------------------------------------

    def epsilon(self, delta: float) -> Bracket:
        """Bounds on epsilon(delta).

        Raises
        ------
        ValueError
            ``delta`` is negative or not a number.
        """
        if delta < 0.0 or math.isnan(delta):
            raise ValueError(f"delta must be a number >= 0, got {delta!r}")
        chosen = self.loss.directed(self.direction)
        if delta >= 1.0:
            return Bracket(0.0, 0.0, True)
        if self.loss.non_private:
            return Bracket(math.inf, math.inf, True)
        low, high = self._without_clear(delta)
        if self.loss.floor is not None:
            floor = replace(self, loss=self.loss.floor)
            return _span(floor.epsilon(delta).lower, self._upper_epsilon(low, chosen), self.rtol)
        if not self.loss.clear:
            return self._rest_epsilon(delta, chosen)
        if high < 0.0:
            return Bracket(math.inf, math.inf, True)
        lower = self._rest_epsilon(high, chosen)
        upper = self._rest_epsilon(low, chosen) if low >= 0.0 else Bracket(0.0, math.inf, False)
        return Bracket(lower.lower, upper.upper, lower.tight and upper.tight)

    def _upper_epsilon(self, rest: float, chosen: tuple[Composition, ...]) -> float:
        if rest < 0.0 or (self.loss.curves and rest == 0.0):
            return math.inf
        if not self.loss.curves:
            return self._rest_epsilon(rest, chosen).upper
        return float(epsilon_from_renyi(self._rest_renyi, rest).value)

    def _without_clear(self, delta: float) -> tuple[float, float]:
        """What remains of delta for the rest, rounded both ways; negative where nothing does."""
        if not self.loss.clear:
            return delta, delta
        clear = self.loss.in_the_clear
        if clear >= 1.0:
            return -1.0, -1.0 + ULP
        rest = (delta - clear) / (1.0 - clear)
        slack = 4.0 * ULP * (delta + clear) / (1.0 - clear)
        return rest - slack, rest + slack

    def _rest_epsilon(self, delta: float, chosen: tuple[Composition, ...]) -> Bracket:
        if delta >= 1.0:
            return Bracket(0.0, 0.0, True)
        if delta == 0.0:
            largest = max(one.largest_loss for one in chosen)
            lower = largest if math.isinf(largest) else largest * (1.0 - 1e-12)
            return Bracket(max(0.0, lower), max(0.0, largest), True)
        first = epsilon_bracket(chosen[0], delta, self.rtol)
        for other in chosen[1:]:
            if 0.0 < first.lower and self._settled(other, first.lower, delta):
                continue
            first = _worse(first, epsilon_bracket(other, delta, self.rtol))
        return first

    def _settled(self, other: Composition, epsilon: float, delta: float) -> bool:
        """Whether a cheap bound shows that the other direction's epsilon is not above this one."""
        if other.needs_lattice:
            return delta_by_lattice(other, epsilon, SCOUT_SIZE).upper <= delta
        return delta_from_contour(other, epsilon, SCOUT_BUDGET).upper <= delta

    # --- delta -----------------------------------------------------------------------------------

    def delta(self, epsilon: float) -> Bracket:
        """Bounds on delta(epsilon).

        Raises
        ------
        ValueError
            ``epsilon`` is negative or not a number.
        """
        if epsilon < 0.0 or math.isnan(epsilon):
            raise ValueError(f"epsilon must be a number >= 0, got {epsilon!r}")
        chosen = self.loss.directed(self.direction)
        if self.loss.non_private:
            return Bracket(1.0, 1.0, True)
        if self.loss.curves:
            upper = 0.0
            if math.isfinite(epsilon):
                upper = float(delta_from_renyi(self._rest_renyi, epsilon).value)
            found = Bracket(0.0, upper, False)
        else:
            found = self._rest_delta(epsilon, chosen)
        found = self._with_clear(found)
        if self.loss.floor is None:
            return found
        floor = replace(self, loss=self.loss.floor)
        return _span(floor.delta(epsilon).lower, found.upper, self.rtol)

    def _with_clear(self, rest: Bracket) -> Bracket:
        if not self.loss.clear:
            return rest
        clear = self.loss.in_the_clear
        lower, upper = clear + (1.0 - clear) * rest.lower, clear + (1.0 - clear) * rest.upper
        slack = 1.0 + 8.0 * ULP
        return Bracket(lower / slack, min(1.0, upper * slack), rest.tight)

    def _rest_delta(self, epsilon: float, chosen: tuple[Composition, ...]) -> Bracket:
        if math.isinf(epsilon):
            escaped = max(one.escaped for one in chosen)
            return Bracket(escaped * (1.0 - 1e-12), escaped, True)
        first = delta_bracket(chosen[0], epsilon, self.rtol)
        for other in chosen[1:]:
            if not self._settled(other, epsilon, first.lower):
                first = _worse(first, delta_bracket(other, epsilon, self.rtol))
        return first

    def deltas(self, epsilons: Floats) -> list[Bracket]:
        """``delta`` at many epsilons, shape (m,): neighbours share their work."""
        plain = not (self.loss.non_private or self.loss.curves)
        if not plain or not np.all(epsilons >= 0.0) or not np.all(np.isfinite(epsilons)):
            return [self.delta(float(e)) for e in epsilons]
        chosen = self.loss.directed(self.direction)
        curves = [delta_brackets(one, epsilons, self.rtol) for one in chosen]
        found = curves[0]
        for other in curves[1:]:
            found = [_worse(*pair) for pair in zip(found, other, strict=True)]
        found = [self._with_clear(one) for one in found]
        if self.loss.floor is None:
            return found
        lower = replace(self, loss=self.loss.floor).deltas(epsilons)
        both = zip(lower, found, strict=True)
        return [_span(low.lower, high.upper, self.rtol) for low, high in both]

    # --- RDP and the trade-off curve --------------------------------------------------------------

    def renyi(self, orders: Floats) -> Floats:
        """Upper bounds of RDP at orders above 1, shape (m,)."""
        if self.loss.non_private or self.loss.clear:
            return np.full(orders.shape, math.inf)
        return self._rest_renyi(orders)

    def _rest_renyi(self, orders: Floats) -> Floats:
        worst = np.zeros(orders.shape)
        for one in self.loss.directed(self.direction):
            values = np.array([_moment(one, a - 1.0) for a in orders])
            worst = np.maximum(worst, values / (orders - 1.0) * (1.0 + 1e-15))
        # a curve bounds both directions
        for curve, n in self.loss.curves:
            worst = worst + n * curve.divergences(orders) * (1.0 + 2.0 * ULP)
        return np.asarray(worst * (1.0 + len(self.loss.curves) * ULP))

    def fnr(self, rates: Floats) -> Floats:
        """Lower bounds of the false-negative rate at false-positive rates, shape (m,)."""
        if self.loss.non_private:
            return np.zeros(rates.shape)
        clear = self.loss.in_the_clear
        if clear >= 1.0:
            return np.zeros(rates.shape)
        if clear > 0.0:
            # what is in the clear is told apart: f(a) = (1 - D) f_rest(a/(1 - D))
            rest = replace(self, loss=self.loss.without_clear())
            stretched = np.minimum(1.0, rates / (1.0 - clear) * (1.0 + 8.0 * ULP))
            return rest.fnr(stretched) * (1.0 - clear) * (1.0 - 8.0 * ULP)
        if self.loss.curves:
            return self._fnr_by_deltas(rates)
        chosen = self.loss.directed(self.direction)
        curves = [smallest_fnr(one, self.loss.opposite(one), rates) for one in chosen]
        return np.asarray(np.minimum.reduce(curves))

    def _fnr_by_deltas(self, rates: Floats) -> Floats:
        """From supporting lines alone, where no engine has the curve itself."""
        directions: tuple[Direction, ...] = ("remove", "add")
        best = np.maximum(0.0, 1.0 - rates)
        inside = (rates > 0.0) & (rates < 1.0)
        best[rates == 0.0] = max(0.0, 1.0 - self.delta(math.inf).upper)
        for direction in directions if self.direction is None else (self.direction,):
            other: Direction = "add" if direction == "remove" else "remove"
            if not inside.any():
                break
            lines = Sandwich(self._side(direction), self._side(other))
            lines.refine(rates[inside])
            best[inside] = np.minimum(best[inside], lines.lower(rates[inside]))
        return best

    def _side(self, direction: Direction) -> Side:
        query = replace(self, direction=direction)

        def delta(epsilons: Floats) -> tuple[Floats, Floats]:
            found = query.deltas(epsilons)
            return np.array([f.lower for f in found]), np.array([f.upper for f in found])

        return Side(delta, lambda target: query.epsilon(target).upper, query.epsilon(0.0).upper)


def _moment(one: Composition, theta: float) -> float:
    """Upper bound of K(theta), infinite where the loss may be."""
    if one.escaped > 0.0:
        return math.inf
    k = one.log_moment(theta)
    return k if math.isfinite(k) else math.inf


def _worse(a: Bracket, b: Bracket) -> Bracket:
    tight = (a.tight or a.upper <= b.lower) and (b.tight or b.upper <= a.lower)
    return Bracket(max(a.lower, b.lower), max(a.upper, b.upper), tight)


def _span(lower: float, upper: float, rtol: float) -> Bracket:
    """Bounds that two different losses prove; tight where they meet."""
    if math.isinf(upper):
        return Bracket(lower, upper, math.isinf(lower))
    return Bracket(min(lower, upper), upper, upper - lower <= rtol * upper)
