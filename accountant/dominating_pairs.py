"""From an event to the privacy losses that dominate it.

One small function per event class, in a registry; what has no proven pair here is refused with the
reason and an alternative.  Every function returns ``Terms``: the parts of a loss and their counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError
from accountant.losses.gaussian import GaussianMixture, poisson_gaussian

ONE_RECORD = (NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_SPECIAL)


@dataclass
class Terms:
    """Parts of a composed loss: noise multipliers, mixtures, Laplace scales, each with a count."""

    gaussians: Counter[float] = field(default_factory=Counter)
    mixtures: Counter[GaussianMixture] = field(default_factory=Counter)
    laplaces: Counter[float] = field(default_factory=Counter)
    non_private: bool = False

    def add(self, other: Terms, count: int = 1) -> None:
        """Compose ``count`` copies of other terms into these."""
        if count == 0:
            return
        for mine, theirs in (
            (self.gaussians, other.gaussians),
            (self.mixtures, other.mixtures),
            (self.laplaces, other.laplaces),
        ):
            for part, n in theirs.items():
                mine[part] += n * count  # type: ignore[index]
        self.non_private = self.non_private or other.non_private


Rule = Callable[[Any, NeighboringRelation], Terms]
_RULES: dict[type[dp_event.DpEvent], Rule] = {}


def rule(event_class: type[dp_event.DpEvent]) -> Callable[[Rule], Rule]:
    """Register the dominating pair of an event class."""

    def register(function: Rule) -> Rule:
        _RULES[event_class] = function
        return function

    return register


def terms(event: dp_event.DpEvent, relation: NeighboringRelation) -> Terms:
    """The parts of the privacy loss of ``event`` under ``relation``.

    Raises
    ------
    UnsupportedEventError
        The event, or a part of it, has no proven loss here under this relation.
    TypeError
        ``event`` is not a DpEvent.
    ValueError
        A parameter of the event is outside its domain.
    """
    if not isinstance(event, dp_event.DpEvent):
        raise TypeError(f"event must be a dp_accounting.DpEvent, got {type(event).__name__}")
    found = _RULES.get(type(event))
    if found is None:
        known = ", ".join(sorted(c.__name__ for c in _RULES))
        raise UnsupportedEventError(
            f"{type(event).__name__} has no proven privacy loss here; supported are {known}"
        )
    return found(event, relation)


@rule(dp_event.NoOpDpEvent)
def _no_op(event: dp_event.NoOpDpEvent, relation: NeighboringRelation) -> Terms:
    return Terms()


@rule(dp_event.NonPrivateDpEvent)
def _non_private(event: dp_event.NonPrivateDpEvent, relation: NeighboringRelation) -> Terms:
    return Terms(non_private=True)


@rule(dp_event.GaussianDpEvent)
def _gaussian(event: dp_event.GaussianDpEvent, relation: NeighboringRelation) -> Terms:
    """N(1, s^2) against N(0, s^2); under replace-one the means are 2 apart."""
    sigma = _noise(event.noise_multiplier, "noise_multiplier")
    if sigma == 0.0:
        return Terms(non_private=True)
    if math.isinf(sigma):
        return Terms()
    if relation is NeighboringRelation.REPLACE_ONE:
        sigma *= 0.5
    return Terms(gaussians=Counter({sigma: 1}))


@rule(dp_event.LaplaceDpEvent)
def _laplace(event: dp_event.LaplaceDpEvent, relation: NeighboringRelation) -> Terms:
    """Lap(1, b) against Lap(0, b)."""
    _require_one_record(event, relation)
    scale = _noise(event.noise_multiplier, "noise_multiplier")
    if scale == 0.0:
        return Terms(non_private=True)
    if math.isinf(scale):
        return Terms()
    return Terms(laplaces=Counter({scale: 1}))


@rule(dp_event.ComposedDpEvent)
def _composed(event: dp_event.ComposedDpEvent, relation: NeighboringRelation) -> Terms:
    total = Terms()
    for part in event.events:
        total.add(terms(part, relation))
    return total


@rule(dp_event.SelfComposedDpEvent)
def _self_composed(event: dp_event.SelfComposedDpEvent, relation: NeighboringRelation) -> Terms:
    total = Terms()
    total.add(terms(event.event, relation), whole_count(event.count, "count"))
    return total


@rule(dp_event.PoissonSampledDpEvent)
def _poisson(event: dp_event.PoissonSampledDpEvent, relation: NeighboringRelation) -> Terms:
    """(1-q) N(0, s^2) + q N(1, s^2) against N(0, s^2) (arXiv 1908.10530; 2106.08567, Thm 11).

    Gaussians composed inside the sampling see the same batch: together they are one Gaussian with
    1/s^2 the sum of theirs.  Sampling a sample multiplies the probabilities.
    """
    q = _probability(event.sampling_probability, "sampling_probability")
    inner = event.event
    if isinstance(inner, dp_event.PoissonSampledDpEvent):
        q *= _probability(inner.sampling_probability, "sampling_probability")
        inner = inner.event
    if q == 0.0:
        return Terms()
    found = terms(inner, relation)
    if q == 1.0:
        return found
    if found.non_private:
        return Terms(non_private=True)
    if found.mixtures or found.laplaces:
        raise UnsupportedEventError(
            "Poisson sampling is supported of Gaussian releases only: leave the sampling out "
            f"(a valid upper bound) or use GaussianDpEvent inside; got {_short(event.event)}"
        )
    if not found.gaussians:
        return Terms()
    if relation not in ONE_RECORD:
        raise UnsupportedEventError(
            "Poisson sampling under REPLACE_ONE has no proven dominating pair here; use "
            "ADD_OR_REMOVE_ONE or REPLACE_SPECIAL, or leave the sampling out (an upper bound)"
        )
    if len(found.gaussians) == 1 and sum(found.gaussians.values()) == 1:
        (sigma,) = found.gaussians
    else:
        sigma = 1.0 / math.sqrt(math.fsum(n / (s * s) for s, n in found.gaussians.items()))
        # rounded towards less noise
        sigma *= 1.0 - 2.0**-50
    return Terms(mixtures=Counter({poisson_gaussian(sigma, q): 1}))


@rule(dp_event.MixtureOfGaussiansDpEvent)
def _mixture(event: dp_event.MixtureOfGaussiansDpEvent, relation: NeighboringRelation) -> Terms:
    """sum_i p_i N(c_i, s^2) against N(0, s^2) (arXiv 2310.15526, Corollary 4.7)."""
    _require_one_record(event, relation)
    sigma = _noise(event.standard_deviation, "standard_deviation")
    c = np.asarray(event.sensitivities, dtype=float)
    p = np.asarray(event.sampling_probs, dtype=float)
    if c.ndim != 1 or c.shape != p.shape or c.size == 0:
        raise ValueError(
            "sensitivities and sampling_probs must be of one length, at least 1; got "
            f"{c.size} and {p.size}"
        )
    if not np.all((c >= 0.0) & np.isfinite(c)):
        raise ValueError(f"sensitivities must be finite and >= 0 (norms), got {_short(c.tolist())}")
    if not np.all((p >= 0.0) & (p <= 1.0)) or abs(math.fsum(p) - 1.0) > 1e-9:
        raise ValueError(f"sampling_probs must be >= 0 and sum to 1, got {_short(p.tolist())}")
    weights: dict[float, float] = {}
    for value in sorted(set(c[p > 0.0].tolist())):
        weights[value] = math.fsum(p[c == value])
    support = tuple(weights)
    if support == (0.0,):
        return Terms()
    if sigma == 0.0:
        return Terms(non_private=True)
    if math.isinf(sigma):
        return Terms()
    if len(support) == 1:
        return Terms(gaussians=Counter({sigma / support[0]: 1}))
    return Terms(mixtures=Counter({GaussianMixture(sigma, support, _normal(weights)): 1}))


def _normal(weights: dict[float, float]) -> tuple[float, ...]:
    """The weights with sum 1: a first one that dominates takes the rounding of all."""
    first, *rest = weights.values()
    if first >= 0.5:
        return (1.0 - math.fsum(rest), *rest)
    total = math.fsum(weights.values())
    return tuple(weight / total for weight in weights.values())


def whole_count(value: object, name: str) -> int:
    """``value`` as a whole number >= 0."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be a whole number >= 0, got {value!r}")
    return int(value)


def _noise(value: object, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number >= 0, got {value!r}")
    number = float(value)
    if not number >= 0.0:
        raise ValueError(f"{name} must be a number >= 0, got {value!r}")
    # below or above, 1/sigma^2 is not a double
    if 0.0 < number < 1e-100 or 1e100 < number < math.inf:
        raise UnsupportedEventError(f"{name} must be 0 or within [1e-100, 1e100], got {value!r}")
    return number


def _probability(value: object, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be within [0, 1], got {value!r}")
    number = float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must be within [0, 1], got {value!r}")
    return number


def _require_one_record(event: dp_event.DpEvent, relation: NeighboringRelation) -> None:
    if relation not in ONE_RECORD:
        raise UnsupportedEventError(
            f"{type(event).__name__} is supported under ADD_OR_REMOVE_ONE and REPLACE_SPECIAL, "
            f"not under {relation.name}"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
