"""The composed privacy loss: added, repeated and queried."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.bounds import Bounds
from accountant.engine.brackets import Bracket
from accountant.engine.composition import Composition, Direction
from accountant.engine.queries import Query
from accountant.errors import IncompatibleLossError
from accountant.losses.compound import DirectedPair, facing
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.pair import DominatingPair
from accountant.losses.renyi import RenyiCurve
from accountant.parameters import short, whole_count
from accountant.terms import Terms


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

    def epsilon(
        self, delta: Any, direction: Direction | None = None, *, rtol: float | None = None
    ) -> Any:
        """Smallest epsilon for which (epsilon, delta)-DP is proved: a certified upper bound.

        Parameters
        ----------
        delta
            In [0, inf); a number, or an array of any shape.  0 gives the pure-DP epsilon
            (infinite for Gaussian noise); 1 or more gives 0.
        direction
            None for the worse of both, or "add" or "remove".
        rtol
            Relative width between the bounds that is good enough, for losses that need a lattice;
            None: as narrow as promised, 1e-6.  A wider one is quicker, and as sound.

        Raises
        ------
        ValueError
            ``delta`` is negative or not a number, ``direction`` is unknown, or ``rtol`` is not
            within [1e-9, 1].
        """
        return self.epsilon_bounds(delta, direction, rtol=rtol).upper

    def epsilon_bounds(
        self, delta: Any, direction: Direction | None = None, *, rtol: float | None = None
    ) -> Bounds:
        """Bounds on epsilon(delta); see :meth:`epsilon`."""
        query = _query(self, direction, rtol)
        values = _numbers(delta, "delta")
        return _collect([query.epsilon(float(v)) for v in values.ravel()], values.shape)

    def delta(
        self, epsilon: Any, direction: Direction | None = None, *, rtol: float | None = None
    ) -> Any:
        """Smallest delta for which (epsilon, delta)-DP is proved: a certified upper bound.

        Parameters
        ----------
        epsilon
            >= 0; a number, or an array of any shape.
        direction, rtol
            As of :meth:`epsilon`; ``rtol`` is the width in delta.

        Raises
        ------
        ValueError
            ``epsilon`` is negative or not a number, ``direction`` is unknown, or ``rtol`` is not
            within [1e-9, 1].
        """
        return self.delta_bounds(epsilon, direction, rtol=rtol).upper

    def delta_bounds(
        self, epsilon: Any, direction: Direction | None = None, *, rtol: float | None = None
    ) -> Bounds:
        """Bounds on delta(epsilon); see :meth:`delta`."""
        query = _query(self, direction, rtol)
        values = _numbers(epsilon, "epsilon")
        if values.size > 2:
            return _collect(query.deltas(values.ravel()), values.shape)
        return _collect([query.delta(float(v)) for v in values.ravel()], values.shape)

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
        rates = _numbers(fpr, "fpr")
        if not np.all((rates >= 0.0) & (rates <= 1.0)):
            raise ValueError(f"fpr must be within [0, 1], got {short(fpr)}")
        result = _query(self, direction, None).fnr(rates.ravel()).reshape(rates.shape)
        return result if result.ndim else float(result)

    def renyi(self, alpha: Any, direction: Direction | None = None) -> Any:
        """Renyi differential privacy at real orders ``alpha`` > 1: a certified upper bound.

        ``RDP(alpha) = K(alpha - 1)/(alpha - 1)`` (Mironov 2017).

        Raises
        ------
        ValueError
            ``alpha`` is not above 1, or ``direction`` is unknown.
        """
        orders = _numbers(alpha, "alpha")
        if not np.all((orders > 1.0) & np.isfinite(orders)):
            raise ValueError(f"alpha must be finite and above 1, got {short(alpha)}")
        result = _query(self, direction, None).renyi(orders.ravel()).reshape(orders.shape)
        return result if result.ndim else float(result)

    # --- directions ------------------------------------------------------------------------------

    def without_clear(self) -> PrivacyLoss:
        """The same loss, given that nothing is released in the clear."""
        return replace(self, clear=())

    @cached_property
    def in_the_clear(self) -> float:
        """Probability that something is released in the clear."""
        if any(d >= 1.0 for d, _ in self.clear):
            return 1.0
        return -math.expm1(math.fsum(n * math.log1p(-d) for d, n in self.clear))

    def directed(self, direction: Direction | None) -> tuple[Composition, ...]:
        """The compositions that answer for a direction; one of them where both are alike."""
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

    def opposite(self, one: Composition) -> Composition:
        """The other direction of a composition of this loss."""
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


def _query(loss: PrivacyLoss, direction: Direction | None, rtol: float | None) -> Query:
    if direction is not None and not isinstance(direction, str):
        raise ValueError(f'direction must be "add", "remove" or None, got {short(direction)}')
    loss.directed(direction)
    if rtol is None:
        return Query(loss, direction)
    if not isinstance(rtol, (float, int, np.floating)) or not 1e-9 <= rtol <= 1.0:
        raise ValueError(f"rtol must be within [1e-9, 1], or None, got {short(rtol)}")
    return Query(loss, direction, float(rtol))


def _numbers(values: Any, name: str) -> npt.NDArray[np.float64]:
    """A number or an array of numbers, as an array."""
    try:
        array = np.asarray(values)
        real = array.dtype.kind in "fiu" or (
            array.dtype.kind == "O"
            and all(isinstance(v, (Real, Decimal)) and not isinstance(v, bool) for v in array.flat)
        )
        if real:
            with np.errstate(over="raise"):
                return array.astype(np.float64)
    except (TypeError, ValueError, ArithmeticError):
        pass
    raise ValueError(f"{name} must be a number or an array of numbers, got {short(values)}")


def _collect(found: list[Bracket], shape: tuple[int, ...]) -> Bounds:
    # no negative zeros
    if not shape:
        return Bounds(found[0].lower + 0.0, found[0].upper + 0.0, found[0].tight)
    return Bounds(
        np.array([f.lower + 0.0 for f in found]).reshape(shape),
        np.array([f.upper + 0.0 for f in found]).reshape(shape),
        np.array([f.tight for f in found]).reshape(shape),
    )
