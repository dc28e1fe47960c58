"""The composed privacy loss: what an event costs, added, repeated and queried."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.bounds import Bounds
from accountant.composition import Composition
from accountant.dominating_pairs import Terms, terms, whole_count
from accountant.epsilon_search import epsilon_bracket
from accountant.errors import IncompatibleLossError
from accountant.inversion import Bracket, delta_bracket, delta_brackets, delta_from_contour
from accountant.losses.gaussian import GaussianMixture
from accountant.tradeoff import smallest_fnr

Direction = Literal["add", "remove"]

# A cheap line that often shows that the other direction is not the worse one.
SCOUT_BUDGET = 1024


@dataclass(frozen=True)
class PrivacyLoss:
    """A composed privacy loss under one neighbouring relation.

    Immutable, hashable, picklable and safe to share between threads.  Equal parts are merged, so
    the cost of a query grows with the number of distinct events, not with the number of releases.
    Made by :func:`privacy_loss`, by ``a + b`` and by ``n * a``.

    Every query answers for the worse direction; ``direction="add"`` or ``"remove"`` selects one.
    ``epsilon``, ``delta``, ``advantage`` and ``renyi`` round up, ``fnr`` rounds down.
    """

    neighboring_relation: NeighboringRelation
    gaussians: tuple[tuple[float, int], ...] = ()
    mixtures: tuple[tuple[GaussianMixture, int], ...] = ()
    laplaces: tuple[tuple[float, int], ...] = ()
    non_private: bool = False

    @property
    def exact(self) -> bool:
        """Whether every part is priced by its exact dominating pair, not by an upper bound."""
        return True

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
        return _from_terms(total, self.neighboring_relation)

    def __mul__(self, count: object) -> PrivacyLoss:
        if isinstance(count, (float, str)) or not isinstance(count, (int, np.integer)):
            return NotImplemented
        total = Terms()
        total.add(self._terms(), whole_count(count, "the number of repetitions"))
        return _from_terms(total, self.neighboring_relation)

    __rmul__ = __mul__

    def _terms(self) -> Terms:
        return Terms(
            Counter(dict(self.gaussians)),
            Counter(dict(self.mixtures)),
            Counter(dict(self.laplaces)),
            self.non_private,
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
        result = np.array([self._renyi(a, direction) for a in orders.ravel()]).reshape(orders.shape)
        return result if result.ndim else float(result)

    # --- one number at a time --------------------------------------------------------------------

    def _renyi(self, alpha: float, direction: Direction | None) -> float:
        if self.non_private:
            return math.inf
        worst = 0.0
        for one in self._chosen(direction):
            k, _, _, error = one.cumulants(alpha - 1.0)
            value = (k + error) / (alpha - 1.0) * (1.0 + 1e-15)
            worst = max(worst, value if math.isfinite(value) else math.inf)
        return worst

    def _epsilon(self, delta: float, direction: Direction | None) -> Bracket:
        if delta < 0.0 or math.isnan(delta):
            raise ValueError(f"delta must be a number >= 0, got {delta!r}")
        chosen = self._chosen(direction)
        if delta >= 1.0:
            return Bracket(0.0, 0.0, True)
        if self.non_private:
            return Bracket(math.inf, math.inf, True)
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
        return delta_from_contour(other, epsilon, SCOUT_BUDGET).upper <= delta

    def _delta(self, epsilon: float, direction: Direction | None) -> Bracket:
        if epsilon < 0.0 or math.isnan(epsilon):
            raise ValueError(f"epsilon must be a number >= 0, got {epsilon!r}")
        chosen = self._chosen(direction)
        if self.non_private:
            return Bracket(1.0, 1.0, True)
        if math.isinf(epsilon):
            return Bracket(0.0, 0.0, True)
        first = delta_bracket(chosen[0], epsilon)
        for other in chosen[1:]:
            if delta_from_contour(other, epsilon, SCOUT_BUDGET).upper > first.lower:
                first = _worse(first, delta_bracket(other, epsilon))
        return first

    def _delta_curve(
        self, epsilons: npt.NDArray[np.float64], direction: Direction | None
    ) -> Bounds:
        """Many epsilons at once: neighbours share a contour."""
        finite = np.isfinite(epsilons.ravel())
        if self.non_private or not np.all(finite):
            return _over(epsilons, "epsilon", lambda e: self._delta(e, direction))
        curves = [delta_brackets(one, epsilons.ravel()) for one in self._chosen(direction)]
        worst = (
            curves[0] if len(curves) == 1 else [_worse(*pair) for pair in zip(*curves, strict=True)]
        )
        return _collect(worst, epsilons.shape)

    # --- directions ------------------------------------------------------------------------------

    def _chosen(self, direction: Direction | None) -> tuple[Composition, ...]:
        if direction is None:
            # without mixtures both directions are the same loss
            return (self._remove, self._add) if self.mixtures else (self._remove,)
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
        return Composition(variance, self.mixtures, self.laplaces, add)


def privacy_loss(
    event: dp_event.DpEvent,
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
) -> PrivacyLoss:
    """The exact privacy loss of an event.

    Parameters
    ----------
    event
        A dp_accounting ``DpEvent``, composed and nested at will.
    neighboring_relation
        What "neighbouring data sets" means.

    Raises
    ------
    UnsupportedEventError
        A part of the event has no proven loss here; the message says which, why, and what to use.
    ValueError
        A parameter of the event is outside its domain.

    Examples
    --------
    >>> from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    >>> step = privacy_loss(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)))
    >>> round((1000 * step).epsilon(1e-5), 9)
    1.828236667
    """
    if not isinstance(neighboring_relation, NeighboringRelation):
        raise ValueError(
            f"neighboring_relation must be a NeighboringRelation, got {neighboring_relation!r}"
        )
    return _from_terms(terms(event, neighboring_relation), neighboring_relation)


def _from_terms(total: Terms, relation: NeighboringRelation) -> PrivacyLoss:
    def order(mixture: GaussianMixture) -> tuple[Any, ...]:
        return (mixture.sigma, mixture.sensitivities, mixture.probabilities)

    return PrivacyLoss(
        relation,
        tuple(sorted((s, n) for s, n in total.gaussians.items() if n)),
        tuple(
            sorted(
                ((m, n) for m, n in total.mixtures.items() if n), key=lambda part: order(part[0])
            )
        ),
        tuple(sorted((b, n) for b, n in total.laplaces.items() if n)),
        total.non_private,
    )


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
