"""Compositions of mechanisms, as data that every contender can read.

Like ``tasks``, this needs nothing but the standard library. Sensitivities are 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian release."""

    noise_multiplier: float


@dataclass(frozen=True)
class Laplace:
    """A Laplace release of this scale."""

    scale: float


@dataclass(frozen=True)
class DiscreteLaplace:
    """Noise k on the integers with probability proportional to exp(-parameter |k|)."""

    parameter: float


@dataclass(frozen=True)
class DiscreteGaussian:
    """Noise k on the integers with probability proportional to exp(-k^2 / (2 sigma^2))."""

    sigma: float


@dataclass(frozen=True)
class RandomizedResponse:
    """One of ``buckets`` values: the true one, or with ``noise_parameter`` a uniform one."""

    noise_parameter: float
    buckets: int


@dataclass(frozen=True)
class ApproximateDp:
    """A mechanism of which only (epsilon, delta)-DP is known."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class PoissonSampled:
    """A release on a Poisson sample."""

    sampling_probability: float
    mechanism: Gaussian | Laplace


@dataclass(frozen=True)
class TruncatedPoissonSampled:
    """A release on a Poisson sample, of which at most ``largest_batch`` records are kept."""

    dataset_size: int
    sampling_probability: float
    largest_batch: int
    mechanism: Gaussian


@dataclass(frozen=True)
class RandomAllocation:
    """An epoch of ``steps`` releases; each record is in one of them, chosen at random."""

    steps: int
    mechanism: Gaussian


Noise = Gaussian | Laplace | DiscreteLaplace | DiscreteGaussian | RandomizedResponse | ApproximateDp
Sampled = PoissonSampled | TruncatedPoissonSampled | RandomAllocation
Mechanism = Noise | Sampled


@dataclass(frozen=True)
class Composition:
    """Mechanisms and how often each is used; neighbours by add/remove or by replacing a record."""

    parts: tuple[tuple[Mechanism, int], ...]
    replace_one: bool = False

    def nudged(self, repetition: int) -> Composition:
        """Return the same composition with the noise changed in the ninth digit."""
        factor = 1.0 + 1e-9 * repetition
        parts = tuple((_nudged(mechanism, factor), count) for mechanism, count in self.parts)
        return replace(self, parts=parts)


def _nudged(mechanism: Mechanism, factor: float) -> Mechanism:
    if isinstance(mechanism, Sampled):
        changes: dict[str, Any] = {"mechanism": _nudged(mechanism.mechanism, factor)}
    else:
        # The first parameter of each is the one that sets the noise.
        name = fields(mechanism)[0].name
        changes = {name: getattr(mechanism, name) * factor}
    return replace(mechanism, **changes)
