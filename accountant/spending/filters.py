"""Privacy filters and odometers: what stays proved when each release is chosen after the last.

Composition theorems for privacy losses need the parameters of all releases to be fixed in advance.
Here they may depend on everything released so far.  The theorems and proofs are in docs/budget.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.privacy_loss import privacy_loss
from accountant.spending.adaptive_costs import UP, Cost, gaussian_cost, number, renyi_cost

__all__ = ["Filter", "GaussianFilter", "RenyiFilter"]

# A filter's position may pass its target by this much, which is part of what it guarantees: ten
# releases of 0.1 fit into 1.
TOLERANCE: Final = 2.0**-40


@dataclass(frozen=True)
class RenyiFilter:
    """A mixture of Renyi filters at several orders; with one order, that of arXiv 2008.11193.

    Mechanisms that are only approximately private are paid from ``failure_delta``, as in arXiv
    2203.05481; where that is all of delta, this is basic composition.

    Attributes
    ----------
    epsilon, delta
        What all releases together will satisfy, each up to ``1 + 2^-40``.
    orders
        Renyi orders, each above 1; none where nothing of delta is left for them.
    weights
        Of the orders: positive, with sum at most 1.
    failure_delta
        The part of delta for mechanisms that are only approximately private.
    """

    epsilon: float
    delta: float
    orders: tuple[float, ...]
    weights: tuple[float, ...]
    failure_delta: float = 0.0

    def __post_init__(self) -> None:
        _check_target(self.epsilon, self.delta)
        if not 0.0 <= number(self.failure_delta, "failure_delta") <= self.delta:
            raise ValueError(
                "failure_delta is a part of delta: it must be within "
                f"[0, {self.delta!r}], got {self.failure_delta!r}"
            )
        if not all(1.0 < number(order, "an order") < math.inf for order in self.orders):
            raise ValueError(f"orders must be finite and above 1, got {self.orders!r}")
        if len(self.orders) != len(self.weights) or not all(
            0.0 < number(weight, "a weight") <= 1.0 for weight in self.weights
        ):
            raise ValueError(f"every order needs a weight within (0, 1], got {self.weights!r}")
        if sum(map(Fraction, self.weights)) > 1:
            raise ValueError(f"weights must have sum at most 1, got {self.weights!r}")

    @classmethod
    def at(
        cls,
        epsilon: float,
        delta: float,
        orders: Sequence[float] | None = None,
        failure_delta: float = 0.0,
    ) -> RenyiFilter:
        """A filter with equal weights of the given orders, or with some around the best for noise.

        The latter are half an octave apart, around the order at which most Gaussian noise fits.
        """
        _check_target(epsilon, delta)
        if number(failure_delta, "failure_delta") == delta:
            return cls(epsilon, delta, (), (), failure_delta)
        if orders is not None:
            if len(orders) == 0:
                raise ValueError("orders must not be empty; leave them out to have some chosen")
            chosen, weights = np.asarray(orders, dtype=float), np.ones(len(orders))
        else:
            octaves = np.arange(-8, 7) * 0.5
            best = _gaussian_order(epsilon, max(delta - failure_delta, 1e-300))
            chosen = 1.0 + (best - 1.0) * 2.0**octaves
            weights = np.exp(-2.0 * octaves**2) + 0.02
        shares = weights / (math.fsum(weights) * UP) if len(weights) > 1 else weights
        return cls(epsilon, delta, tuple(chosen.tolist()), tuple(shares.tolist()), failure_delta)

    def price(self, event: dp_event.DpEvent, relation: NeighboringRelation) -> Cost:
        """The cost of one event; see :func:`accountant.spending.adaptive_costs.renyi_cost`."""
        return renyi_cost(event, relation, self.orders)

    def position(self, cost: Cost) -> float:
        """The least epsilon whose filter would admit ``cost`` (Theorem 2)."""
        if cost.failure > self.failure_delta * (1.0 + TOLERANCE):
            return math.inf
        return min(cost.pure, self._mixture(cost, time_uniform=False))

    def odometer(self, cost: Cost) -> float:
        """A bound on the realised privacy loss that holds after every release at once (Theorem 4).

        The probability that it ever fails is at most delta.
        """
        if cost.failure > self.failure_delta * (1.0 + TOLERANCE):
            return math.inf
        return min(cost.pure, self._mixture(cost, time_uniform=True))

    def _mixture(self, cost: Cost, *, time_uniform: bool) -> float:
        """The bound of an average order, at the price of its divergence from the weights.

        The best average is that at the loss l where ``g(l) + log a(l) = log(1/delta)`` (for the
        odometer, without ``log a``); the bound holds for any.
        """
        delta = (self.delta - self.failure_delta) * (1.0 - 2.0**-50)
        used = [j for j, total in enumerate(cost.divergences) if math.isfinite(total)]
        if not delta > 0.0 or not used:
            return math.inf
        log_delta = math.log(delta)
        slopes = np.array([self.orders[j] for j in used]) - 1.0
        sums = np.array([cost.divergences[j] for j in used])
        log_weights = np.log([self.weights[j] for j in used])

        def average(loss: float) -> tuple[npt.NDArray[np.float64], float]:
            exponents = log_weights + slopes * (loss - sums)
            largest = float(np.max(exponents))
            parts = np.exp(exponents - largest)
            return parts / np.sum(parts), largest + math.log(float(np.sum(parts)))

        high = float(np.min(sums + (-log_delta - log_weights) / slopes))
        low = float(np.min(sums)) - math.log1p(float(np.max(slopes))) / float(np.min(slopes))
        for _ in range(100):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            parts, g = average(middle)
            gain = 0.0 if time_uniform else math.log1p(float(parts @ slopes))
            low, high = (middle, high) if g + gain + log_delta < 0.0 else (low, middle)
        parts, _ = average(high)
        kept = parts > 0.0
        p, s = parts[kept], slopes[kept]
        slope = float(p @ s)
        terms = [
            *(p * s * sums[kept]).tolist(),
            *(p * (np.log(p) - log_weights[kept])).tolist(),
            -log_delta,
        ]
        if not time_uniform:
            # (a - 1) log(1 - 1/a) - log a
            terms += [-slope * math.log1p(1.0 / slope), -math.log1p(slope)]
        # p has sum 1 up to 2^-48; logarithms, exponents and products err by a few roundings
        slack = 2.0**-44 * (1.0 + math.fsum(map(abs, terms)))
        return max(0.0, (math.fsum(terms) + slack) / slope * UP)


@dataclass(frozen=True)
class GaussianFilter:
    """The filter of Gaussian DP (arXiv 2210.17520): sums of mu^2 up to the target's (Theorem 3).

    Nothing is lost against releases that are fixed in advance.  A release must be Gaussian, or
    purely private.

    Attributes
    ----------
    epsilon, delta
        What all releases together will satisfy, epsilon up to ``1 + 2^-40``; delta is above 0.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        _check_target(self.epsilon, self.delta)
        if not self.delta > 0.0:
            raise ValueError('a Gaussian filter needs a delta above 0: use filter="renyi"')

    @property
    def orders(self) -> tuple[float, ...]:
        """None: its costs have no divergences."""
        return ()

    def price(self, event: dp_event.DpEvent, relation: NeighboringRelation) -> Cost:
        """The cost of one event; see :func:`accountant.spending.adaptive_costs.gaussian_cost`."""
        return gaussian_cost(event, relation)

    def position(self, cost: Cost) -> float:
        """Epsilon of one Gaussian release of this variance, or of pure DP if that is less."""
        if cost.variance == 0.0:
            return 0.0
        if not cost.variance < 1e12:
            return cost.pure  # no epsilon of use
        # beyond these bounds a Gaussian of more privacy loss is taken
        sigma = 1.0 / math.sqrt(max(cost.variance, 1e-30)) * (1.0 - 2.0**-50)
        loss = privacy_loss(dp_event.GaussianDpEvent(sigma))
        return min(cost.pure, float(loss.epsilon(self.delta)))

    def odometer(self, cost: Cost) -> float:
        """See :meth:`RenyiFilter.odometer`; mu-GDP has Renyi divergence ``a mu^2/2`` at order a."""
        if not cost.variance < math.inf:
            return cost.pure
        renyi = RenyiFilter.at(self.epsilon, self.delta)
        curve = tuple(0.5 * order * cost.variance * UP for order in renyi.orders)
        return renyi.odometer(Cost(curve, cost.pure))


Filter: TypeAlias = RenyiFilter | GaussianFilter


def _gaussian_order(epsilon: float, delta: float) -> float:
    """The order at which a filter at (epsilon, delta) admits most Gaussian noise."""
    orders = 1.0 + np.geomspace(1e-2, 1e4, 2000)
    conversion = np.log1p(-1.0 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1.0)
    return float(orders[np.argmax((epsilon - conversion) / orders)])


def _check_target(epsilon: float, delta: float) -> None:
    if not 0.0 <= number(epsilon, "epsilon") < math.inf:
        raise ValueError(f"epsilon must be a finite number >= 0, got {epsilon!r}")
    if not 0.0 <= number(delta, "delta") < 1.0:
        raise ValueError(f"delta must be within [0, 1), got {delta!r}")
