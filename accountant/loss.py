"""The composed privacy loss: added, repeated and queried."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.bounds import Bounds
from accountant.brackets import SLOW_WIDTH, Bracket
from accountant.composition import Composition
from accountant.epsilon_search import epsilon_bracket
from accountant.errors import IncompatibleLossError
from accountant.inversion import delta_bracket, delta_brackets, delta_from_contour
from accountant.lattice_search import SCOUT_SIZE, delta_by_lattice
from accountant.losses.compound import DirectedPair, facing
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.pair import DominatingPair
from accountant.losses.renyi import RenyiCurve
from accountant.parameters import whole_count
from accountant.renyi import delta_from_renyi, epsilon_from_renyi
from accountant.terms import Terms
from accountant.tradeoff import smallest_fnr

Direction = Literal["add", "remove"]

# A cheap line that often shows that the other direction is not the worse one.
SCOUT_BUDGET = 1024


@dataclass(frozen=True)
class PrivacyLoss:
    """A composed privacy loss under one neighbouring relation.

    Immutable, hashable, picklable and safe to share between threads.  Equal parts are merged, so
    the cost of a query grows with the number of distinct events, not with the number of releases.
    Made by ``privacy_loss``, by ``a + b`` and by ``n * a``.

    Every query answers for the worse direction; ``direction="add"`` or ``"remove"`` selects one.
    ``epsilon``, ``delta``, ``advantage`` and ``renyi`` round up, ``fnr`` rounds down.
    """

    neighboring_relation: NeighboringRelation
    gaussians: tuple[tuple[float, int], ...] = ()
    mixtures: tuple[tuple[GaussianMixture, int], ...] = ()
    laplaces: tuple[tuple[float, int], ...] = ()
    pairs: tuple[tuple[DominatingPair | DirectedPair, int], ...] = ()
    curves: tuple[tuple[RenyiCurve, int], ...] = ()
    clear: tuple[tuple[float, int], ...] = ()
    non_private: bool = False
    floor: PrivacyLoss | None = None

    @property
    def exact(self) -> bool:
        """Whether every part is priced by its exact dominating pair, not by an upper bound.

        Where it is not, the lower ends of bounds are those of ``floor``: what is proved to be
        attained by some mechanism that fits the events.
        """
        return self.floor is None

    # --- composition -----------------------------------------------------------------------------

    def __add__(self, other: object) -> PrivacyLoss:
        if not isinstance(other, PrivacyLoss):
            return NotImplemented
        if other.neighboring_relation is not self.neighboring_relation:
            raise IncompatibleLossError(
                "losses under different neighbouring relations do not add: "
                f"{self.neighboring_relation.name} and {other.neighboring_relation.name}"
            )
        total = self._terms()
        total.add(other._terms())
        return loss_of_terms(total, self.neighboring_relation)

    def __mul__(self, count: object) -> PrivacyLoss:
        if isinstance(count, (float, str)) or not isinstance(count, (int, np.integer)):
            return NotImplemented
        total = Terms()
        total.add(self._terms(), whole_count(count, "the number of repetitions"))
        return loss_of_terms(total, self.neighboring_relation)

    __rmul__ = __mul__

    def _terms(self) -> Terms:
        return Terms(
            Counter(dict(self.gaussians)),
            Counter(dict(self.mixtures)),
            Counter(dict(self.laplaces)),
            Counter(dict(self.pairs)),
            Counter(dict(self.curves)),
            Counter(dict(self.clear)),
            self.non_private,
            None if self.floor is None else self.floor._terms(),
        )

    # --- queries ---------------------------------------------------------------------------------

    def epsilon(self, delta: Any, direction: Direction | None = None) -> Any:
        """Smallest epsilon for which (epsilon, delta)-DP is proved: a certified upper bound.

        Parameters
        ----------
        delta
            In [0, inf); a number, or an array of any shape.  0 gives the pure-DP epsilon
            (infinite for Gaussian noise); 1 or more gives 0.
        direction
            None for the worse of both, or "add" or "remove".

        Raises
        ------
        ValueError
            ``delta`` is negative or not a number, or ``direction`` is unknown.
        """
        return self.epsilon_bounds(delta, direction).upper

    def epsilon_bounds(self, delta: Any, direction: Direction | None = None) -> Bounds:
        """Bounds on epsilon(delta); see :meth:`epsilon`."""
        return _over(delta, "delta", lambda d: self._epsilon(d, direction))

    def delta(self, epsilon: Any, direction: Direction | None = None) -> Any:
        """Smallest delta for which (epsilon, delta)-DP is proved: a certified upper bound.

        Parameters
        ----------
        epsilon
            >= 0; a number, or an array of any shape.
        direction
            None for the worse of both, or "add" or "remove".

        Raises
        ------
        ValueError
            ``epsilon`` is negative or not a number, or ``direction`` is unknown.
        """
        return self.delta_bounds(epsilon, direction).upper

    def delta_bounds(self, epsilon: Any, direction: Direction | None = None) -> Bounds:
        """Bounds on delta(epsilon); see :meth:`delta`."""
        if np.size(epsilon) > 2:
            self._delta(float(np.min(epsilon)), direction)  # refuses what no query accepts
            return self._delta_curve(np.asarray(epsilon, dtype=float), direction)
        return _over(epsilon, "epsilon", lambda e: self._delta(e, direction))

    def advantage(self) -> float:
        """Largest advantage of a membership-inference attack: delta(0), the total variation."""
        return float(self.delta(0.0))

    def fnr(self, fpr: Any, direction: Direction | None = None) -> Any:
        """The trade-off curve: a certified lower bound of the false-negative rate at each FPR.

        Parameters
        ----------
        fpr
            Type I errors in [0, 1]; a number, or an array of any shape.
        direction
            "remove": the attacker's null hypothesis is the data set without the record; "add": with
            it; None: the smaller of both at each FPR.

        Raises
        ------
        ValueError
            ``fpr`` is outside [0, 1], or ``direction`` is unknown.
        """
        rates = np.asarray(fpr, dtype=float)
        if not np.all((rates >= 0.0) & (rates <= 1.0)):
            raise ValueError(f"fpr must be within [0, 1], got {fpr!r}")
        if self.non_private:
            result = np.zeros(rates.shape)
        elif self.curves or self.clear:
            result = self._fnr_by_deltas(rates.ravel(), direction).reshape(rates.shape)
        else:
            curves = [
                smallest_fnr(one, self._flip(one), rates.ravel()) for one in self._chosen(direction)
            ]
            result = np.minimum.reduce(curves).reshape(rates.shape)
        return result if result.ndim else float(result)

    def renyi(self, alpha: Any, direction: Direction | None = None) -> Any:
        """Renyi differential privacy at real orders ``alpha`` > 1: a certified upper bound.

        ``RDP(alpha) = K(alpha - 1)/(alpha - 1)`` (Mironov 2017).

        Raises
        ------
        ValueError
            ``alpha`` is not above 1, or ``direction`` is unknown.
        """
        orders = np.asarray(alpha, dtype=float)
        if not np.all((orders > 1.0) & np.isfinite(orders)):
            raise ValueError(f"alpha must be finite and above 1, got {alpha!r}")
        result = self._renyi(orders.ravel(), direction).reshape(orders.shape)
        return result if result.ndim else float(result)

    def _fnr_by_deltas(
        self, rates: npt.NDArray[np.float64], direction: Direction | None
    ) -> npt.NDArray[np.float64]:
        """``f(a) >= 1 - delta(e) - e^epsilon a`` and its inverse's, at a grid of epsilons."""
        best = np.zeros(rates.shape)
        for epsilon in (0.0, *np.geomspace(1e-3, 30.0, 120)):
            delta = self._delta(float(epsilon), direction).upper
            grow = math.exp(epsilon) * (1.0 + 1e-15)
            best = np.maximum(best, (1.0 - delta - grow * rates) * (1.0 - 4e-16))
            best = np.maximum(best, (1.0 - delta - rates) / grow * (1.0 - 4e-16))
        return np.clip(best - 2e-16, 0.0, 1.0 - rates)

    # --- one number at a time --------------------------------------------------------------------

    def _renyi(self, orders: npt.NDArray[np.float64], direction: Direction | None) -> Any:
        """RDP at an array of orders; a curve bounds both directions."""
        if self.non_private or self.clear:
            return np.full(orders.shape, math.inf)
        return self._rest_renyi(orders, direction)

    def _rest_renyi(
        self, orders: npt.NDArray[np.float64], direction: Direction | None
    ) -> npt.NDArray[np.float64]:
        worst = np.zeros(orders.shape)
        for one in self._chosen(direction):
            values = np.array([_moment(one, a - 1.0) for a in orders])
            worst = np.maximum(worst, values / (orders - 1.0) * (1.0 + 1e-15))
        for curve, n in self.curves:
            worst = worst + n * curve.divergences(orders) * (1.0 + 2.0**-51)
        return worst * (1.0 + len(self.curves) * 2.0**-52)

    def _epsilon(self, delta: float, direction: Direction | None) -> Bracket:
        if delta < 0.0 or math.isnan(delta):
            raise ValueError(f"delta must be a number >= 0, got {delta!r}")
        chosen = self._chosen(direction)
        if delta >= 1.0:
            return Bracket(0.0, 0.0, True)
        if self.non_private:
            return Bracket(math.inf, math.inf, True)
        if self.floor is not None:
            lower = self.floor._epsilon(delta, direction).lower
            upper = self._upper_epsilon(delta, direction, chosen)
            return _span(lower, upper)
        return self._exact_epsilon(delta, chosen)

    def _upper_epsilon(
        self, delta: float, direction: Direction | None, chosen: tuple[Composition, ...]
    ) -> float:
        """Where parts are not exact: by the pairs, or, where curves are among them, by RDP."""
        rest = self._without_clear(delta)[0]
        if rest < 0.0 or (self.curves and rest == 0.0):
            return math.inf
        if not self.curves:
            return self._rest_epsilon(rest, chosen).upper
        return float(epsilon_from_renyi(lambda a: self._rest_renyi(a, direction), rest).value)

    def _exact_epsilon(self, delta: float, chosen: tuple[Composition, ...]) -> Bracket:
        if not self.clear:
            return self._rest_epsilon(delta, chosen)
        low, high = self._without_clear(delta)
        if high < 0.0:
            return Bracket(math.inf, math.inf, True)
        lower = self._rest_epsilon(high, chosen)
        upper = self._rest_epsilon(low, chosen) if low >= 0.0 else Bracket(0.0, math.inf, False)
        return Bracket(lower.lower, upper.upper, lower.tight and upper.tight)

    def _without_clear(self, delta: float) -> tuple[float, float]:
        """What remains of delta for the rest, rounded both ways: delta = D + (1 - D) rest."""
        clear = self._in_the_clear
        if not self.clear or clear >= 1.0:
            return (delta, delta) if not self.clear else (-1.0, -1.0)
        rest = (delta - clear) / (1.0 - clear)
        slack = 4.0 * 2.0**-52 * (delta + clear) / (1.0 - clear)
        return rest - slack, rest + slack

    def _rest_epsilon(self, delta: float, chosen: tuple[Composition, ...]) -> Bracket:
        if delta >= 1.0:
            return Bracket(0.0, 0.0, True)
        if delta == 0.0:
            largest = max(one.largest_loss for one in chosen)
            return Bracket(
                largest * (1.0 - 1e-14) if largest < math.inf else largest, largest, True
            )
        first = epsilon_bracket(chosen[0], delta)
        for other in chosen[1:]:
            if 0.0 < first.lower and self._settled(other, first.lower, delta):
                continue
            first = _worse(first, epsilon_bracket(other, delta))
        return first

    def _settled(self, other: Composition, epsilon: float, delta: float) -> bool:
        """Whether a cheap bound shows that the other direction's epsilon is not above this one."""
        if other.pairs:
            return delta_by_lattice(other, epsilon, SCOUT_SIZE).upper <= delta
        return delta_from_contour(other, epsilon, SCOUT_BUDGET).upper <= delta

    def _delta(self, epsilon: float, direction: Direction | None) -> Bracket:
        if epsilon < 0.0 or math.isnan(epsilon):
            raise ValueError(f"epsilon must be a number >= 0, got {epsilon!r}")
        chosen = self._chosen(direction)
        if self.non_private:
            return Bracket(1.0, 1.0, True)
        if self.floor is not None:
            lower = self.floor._delta(epsilon, direction).lower
            return _span(lower, self._upper_delta(epsilon, direction, chosen))
        return self._exact_delta(epsilon, chosen)

    def _upper_delta(
        self, epsilon: float, direction: Direction | None, chosen: tuple[Composition, ...]
    ) -> float:
        if not self.curves:
            return self._exact_delta(epsilon, chosen).upper
        if math.isinf(epsilon):
            return self._in_the_clear
        rest = delta_from_renyi(lambda a: self._rest_renyi(a, direction), epsilon).value
        clear = self._in_the_clear
        return min(1.0, (clear + (1.0 - clear) * float(rest)) * (1.0 + 8.0 * 2.0**-52))

    def _exact_delta(self, epsilon: float, chosen: tuple[Composition, ...]) -> Bracket:
        rest = self._rest_delta(epsilon, chosen)
        if not self.clear:
            return rest
        clear = self._in_the_clear
        lower, upper = clear + (1.0 - clear) * rest.lower, clear + (1.0 - clear) * rest.upper
        slack = 1.0 + 8.0 * 2.0**-52
        return Bracket(lower / slack, min(1.0, upper * slack), rest.tight)

    def _rest_delta(self, epsilon: float, chosen: tuple[Composition, ...]) -> Bracket:
        if math.isinf(epsilon):
            escaped = max(one.escaped for one in chosen)
            return Bracket(escaped * (1.0 - 1e-12), escaped, True)
        first = delta_bracket(chosen[0], epsilon)
        for other in chosen[1:]:
            if not self._settled(other, epsilon, first.lower):
                first = _worse(first, delta_bracket(other, epsilon))
        return first

    def _delta_curve(
        self, epsilons: npt.NDArray[np.float64], direction: Direction | None
    ) -> Bounds:
        """Many epsilons at once: neighbours share a contour."""
        finite = np.isfinite(epsilons.ravel())
        if self.non_private or self.floor is not None or self.clear or not np.all(finite):
            return _over(epsilons, "epsilon", lambda e: self._delta(e, direction))
        curves = [delta_brackets(one, epsilons.ravel()) for one in self._chosen(direction)]
        worst = (
            curves[0] if len(curves) == 1 else [_worse(*pair) for pair in zip(*curves, strict=True)]
        )
        return _collect(worst, epsilons.shape)

    @cached_property
    def _in_the_clear(self) -> float:
        """Probability that something is released in the clear."""
        if any(d >= 1.0 for d, _ in self.clear):
            return 1.0
        return -math.expm1(math.fsum(n * math.log1p(-d) for d, n in self.clear))

    # --- directions ------------------------------------------------------------------------------

    def _chosen(self, direction: Direction | None) -> tuple[Composition, ...]:
        if direction is None:
            # without mixtures and the like both directions are the same loss
            turned = self.mixtures or any(
                facing(p, True) != facing(p, False) for p, _ in self.pairs
            )
            return (self._remove, self._add) if turned else (self._remove,)
        if direction == "remove":
            return (self._remove,)
        if direction == "add":
            return (self._add,)
        raise ValueError(f'direction must be "add", "remove" or None, got {direction!r}')

    def _flip(self, one: Composition) -> Composition:
        return self._remove if one.add else self._add

    @cached_property
    def _remove(self) -> Composition:
        return self._composition(False)

    @cached_property
    def _add(self) -> Composition:
        return self._composition(True)

    def _composition(self, add: bool) -> Composition:
        variance = math.fsum(n / (sigma * sigma) for sigma, n in self.gaussians)
        pairs = tuple((facing(pair, add), n) for pair, n in self.pairs)
        return Composition(variance, self.mixtures, self.laplaces, add, pairs)


def loss_of_terms(total: Terms, relation: NeighboringRelation) -> PrivacyLoss:
    """The loss with these parts, in a canonical order."""

    def order(mixture: GaussianMixture) -> tuple[Any, ...]:
        return (mixture.sigma, mixture.sensitivities, mixture.probabilities)

    mixtures = [(m, n) for m, n in total.mixtures.items() if n]
    pairs = [(p, n) for p, n in total.pairs.items() if n]
    curves = [(c, n) for c, n in total.curves.items() if n]
    return PrivacyLoss(
        relation,
        tuple(sorted((s, n) for s, n in total.gaussians.items() if n)),
        tuple(sorted(mixtures, key=lambda part: order(part[0]))),
        tuple(sorted((b, n) for b, n in total.laplaces.items() if n)),
        tuple(sorted(pairs, key=lambda part: repr(part[0].order))),
        tuple(sorted(curves, key=lambda part: repr(part[0]))),
        tuple(sorted((d, n) for d, n in total.clear.items() if n)),
        total.non_private,
        None if total.floor is None else loss_of_terms(total.floor, relation),
    )


def _moment(one: Composition, theta: float) -> float:
    """Upper bound of K(theta), infinite where the loss may be."""
    if one.escaped > 0.0:
        return math.inf
    k = one.log_moment(theta)
    return k if math.isfinite(k) else math.inf


def _span(lower: float, upper: float) -> Bracket:
    """Bounds that two different losses prove; tight where they meet."""
    if math.isinf(upper):
        return Bracket(lower, upper, math.isinf(lower))
    return Bracket(min(lower, upper), upper, upper - lower <= SLOW_WIDTH * upper)


def _worse(a: Bracket, b: Bracket) -> Bracket:
    tight = (a.tight or a.upper <= b.lower) and (b.tight or b.upper <= a.lower)
    return Bracket(max(a.lower, b.lower), max(a.upper, b.upper), tight)


def _over(values: Any, name: str, query: Callable[[float], Bracket]) -> Bounds:
    """Answer a query for a number or for every element of an array."""
    if isinstance(values, (bool, str)) or values is None:
        raise ValueError(f"{name} must be a number or an array of numbers, got {values!r}")
    array = np.asarray(values, dtype=float)
    found = [query(float(v)) for v in array.ravel()]
    if array.ndim == 0:
        return Bounds(found[0].lower, found[0].upper, found[0].tight)
    return _collect(found, array.shape)


def _collect(found: list[Bracket], shape: tuple[int, ...]) -> Bounds:
    return Bounds(
        np.array([f.lower for f in found]).reshape(shape),
        np.array([f.upper for f in found]).reshape(shape),
        np.array([f.tight for f in found]).reshape(shape),
    )
