"""What one event costs in the quantities that privacy filters add."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError
from accountant.parameters import whole_count
from accountant.privacy_loss import PrivacyLoss, privacy_loss

__all__ = ["Cost", "gaussian_cost", "pure_divergence", "pure_variance", "renyi_cost"]

# Covers the rounding of sums of nonnegative terms and of a few operations.
UP: Final = 1.0 + 2.0**-48


@dataclass(frozen=True)
class Cost:
    """What releases add up to, each number rounded up.

    Attributes
    ----------
    divergences
        Renyi divergence at each order of a filter.
    pure
        Epsilon of pure DP; infinite where there is none.
    failure
        Sum of the deltas of mechanisms that are only approximately private.
    variance
        Sum of mu^2 of Gaussian DP; infinite where it is not known.
    """

    divergences: tuple[float, ...]
    pure: float = 0.0
    failure: float = 0.0
    variance: float = 0.0

    @staticmethod
    def total(parts: Iterable[tuple[Cost, float]], orders: int) -> Cost:
        """The sum of costs, each taken ``count`` times, at so many orders."""
        pairs = [(cost, count) for cost, count in parts if count]

        def add(values: Iterable[float]) -> float:
            return _sum_up([v * count for v, (_, count) in zip(values, pairs, strict=True)])

        return Cost(
            tuple(add([cost.divergences[j] for cost, _ in pairs]) for j in range(orders)),
            add([cost.pure for cost, _ in pairs]),
            add([cost.failure for cost, _ in pairs]),
            add([cost.variance for cost, _ in pairs]),
        )


def renyi_cost(
    event: dp_event.DpEvent, relation: NeighboringRelation, orders: Sequence[float]
) -> Cost:
    """Renyi divergences, pure epsilon and failure probability of an event; its variance is 0.

    Raises
    ------
    UnsupportedEventError
        A part of the event has no proven privacy loss.
    """
    loss = privacy_loss(event, relation)
    failure = _sum_up([delta * count for delta, count in loss.clear])
    # what is left when nothing goes out in the clear; lower bounds are of no use here
    rest = replace(loss, clear=(), floor=None)
    curve = tuple(map(float, rest.renyi(np.asarray(orders)))) if orders else ()
    return Cost(curve, float(rest.epsilon(0.0)), failure)


def gaussian_cost(event: dp_event.DpEvent, relation: NeighboringRelation) -> Cost:
    """Squared mu of an event that satisfies Gaussian DP, and its pure epsilon.

    Raises
    ------
    UnsupportedEventError
        A part of the event is neither Gaussian nor purely private.
    """
    parts = _flat_parts(event)
    return Cost.total(((_gaussian(part, relation), n) for part, n in parts), 0)


def _gaussian(event: Any, relation: NeighboringRelation) -> Cost:
    loss = privacy_loss(event, relation)
    pure = float(loss.epsilon(0.0))
    if _only_gaussians(loss):
        variance = _sum_up([n / (sigma * sigma) for sigma, n in loss.gaussians])
        return Cost((), pure, variance=variance)
    if math.isinf(pure) and not loss.non_private:
        raise UnsupportedEventError(
            f"{type(event).__name__} has no bound as Gaussian DP here: use Gaussian or purely "
            'private releases, or a budget with filter="renyi"'
        )
    return Cost((), pure, variance=pure_variance(pure))


def pure_divergence(epsilon: float, order: float) -> float:
    """Renyi divergence of randomized response, the largest under pure DP.

    ``log(cosh(s eps) + tanh(eps/2) sinh(s eps))/s`` with ``s = order - 1``, written so that small
    epsilons keep their digits and nothing overflows.
    """
    if math.isinf(epsilon):
        return math.inf
    s = order - 1.0
    if s * epsilon < 0.5:
        half = math.sinh(0.5 * s * epsilon)
        less_one = 2.0 * half * half + math.tanh(0.5 * epsilon) * math.sinh(s * epsilon)
        return math.log1p(less_one) / s * UP
    tail = math.log1p(math.exp(-(2.0 * s + 1.0) * epsilon)) - math.log1p(math.exp(-epsilon))
    return min(epsilon, (epsilon + tail / s) * UP)


def pure_variance(epsilon: float) -> float:
    """Squared mu of the Gaussian DP that follows from pure DP: ``mu = 2 Phi^-1(1/(1+e^-eps))``.

    The trade-off curve of pure DP is the two chords of that of mu-GDP through its fixed point.
    """
    if epsilon == 0.0:
        return 0.0
    if not epsilon < 60.0:
        return math.inf
    # erf(mu/sqrt(8)) = tanh(eps/2), or of the complements; erf and erfc are right to 1e-14
    low, high = 0.0, 10.0
    while high - low > 1e-14 * high:
        middle = 0.5 * (low + high)
        if epsilon < 1.0:
            enough = math.erf(middle) >= math.tanh(0.5 * epsilon) * (1.0 + 1e-13)
        else:
            enough = math.erfc(middle) <= 2.0 / (1.0 + math.exp(epsilon)) * (1.0 - 1e-13)
        low, high = (low, middle) if enough else (middle, high)
    return 8.0 * high * high * UP


def _only_gaussians(loss: PrivacyLoss) -> bool:
    """Whether Gaussians alone dominate the loss; its floor says only how tight that is."""
    rest = {field.name for field in fields(loss)} - {"neighboring_relation", "gaussians", "floor"}
    return not any(getattr(loss, name) for name in rest)


def _flat_parts(event: dp_event.DpEvent) -> list[tuple[dp_event.DpEvent, int]]:
    """The parts of a composition, nested or not, with their counts."""
    done: list[tuple[dp_event.DpEvent, int]] = []
    todo: list[tuple[Any, int]] = [(event, 1)]
    while todo:
        one, count = todo.pop()
        if type(one) is dp_event.ComposedDpEvent:
            todo += [(part, count) for part in one.events]
        elif type(one) is dp_event.SelfComposedDpEvent:
            todo.append((one.event, count * whole_count(one.count, "count")))
        else:
            done.append((one, count))
    return done


def _sum_up(terms: Sequence[float]) -> float:
    return math.inf if math.inf in terms else math.fsum(terms) * UP


def number(value: object, name: str) -> float:
    """``value`` as a float, if it is a number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)
