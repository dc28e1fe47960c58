"""The questions about mechanisms, samplers and neighbours beyond runs of DP-SGD."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.compositions import (
    ApproximateDp,
    Composition,
    DiscreteGaussian,
    DiscreteLaplace,
    Gaussian,
    Laplace,
    Mechanism,
    PoissonSampled,
    RandomAllocation,
    RandomizedResponse,
    TruncatedPoissonSampled,
)
from benchmarks.contenders.base import Contender


@dataclass(frozen=True)
class CompositionTask:
    """Epsilon of a composition at a delta; ``known`` is the exact value where one is on record."""

    name: str
    described: str
    composition: Composition
    delta: float
    known: float | None = None

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return [contender.epsilon_of(self.composition.nudged(repetition), self.delta)]


def _times(count: int, mechanism: Mechanism, *, replace_one: bool = False) -> Composition:
    return Composition(((mechanism, count),), replace_one)


_MIXED = Composition(
    (
        (PoissonSampled(0.01, Gaussian(1.0)), 1_000),
        (Laplace(10.0), 5),
        (DiscreteLaplace(0.1), 5),
        (ApproximateDp(0.1, 1e-7), 1),
    )
)

# The known values were computed with 40-digit arithmetic: those of discrete mechanisms are sums
# over the lattice of their losses.
MECHANISM_TASKS = (
    CompositionTask(
        "Laplace",
        "Laplace noise of scale 5, 100 times",
        _times(100, Laplace(5.0)),
        1e-6,
    ),
    CompositionTask(
        "sampled Laplace",
        "Laplace noise of scale 1 on Poisson samples, q = 0.01, 1,000 times",
        _times(1_000, PoissonSampled(0.01, Laplace(1.0))),
        1e-6,
        1.2864074,
    ),
    CompositionTask(
        "discrete Laplace",
        "discrete Laplace noise of parameter 0.2, 100 times",
        _times(100, DiscreteLaplace(0.2)),
        1e-6,
        10.676577200555866,
    ),
    CompositionTask(
        "discrete Gaussian",
        "discrete Gaussian noise of parameter 10, 100 times",
        _times(100, DiscreteGaussian(10.0)),
        1e-6,
        4.886570745861786,
    ),
    CompositionTask(
        "randomized response",
        "randomized response among 4 values, uniform with probability 0.5, 20 times; replace-one",
        _times(20, RandomizedResponse(0.5, 4), replace_one=True),
        1e-6,
        32.176595321062835,
    ),
    CompositionTask(
        "Poisson, replace-one",
        "Gaussian noise of multiplier 1.1 on Poisson samples, q = 256/60,000, 14,062 times; "
        "replace-one",
        _times(14_062, PoissonSampled(256 / 60_000, Gaussian(1.1)), replace_one=True),
        1e-5,
    ),
    CompositionTask(
        "truncated Poisson",
        "Gaussian noise of multiplier 1 on Poisson samples, q = 0.01, of 1,000 records, at most 16 "
        "of them kept, 128 times",
        _times(128, TruncatedPoissonSampled(1_000, 0.01, 16, Gaussian(1.0))),
        1e-6,
    ),
    CompositionTask(
        "random allocation",
        "Gaussian noise of multiplier 1.1, each record in one of 234 steps of an epoch, 60 epochs",
        _times(60, RandomAllocation(234, Gaussian(1.1))),
        1e-5,
    ),
    CompositionTask(
        "mixed",
        "Gaussian noise of multiplier 1 on Poisson samples, q = 0.01, 1,000 times; Laplace noise "
        "of scale 10 and discrete Laplace noise of parameter 0.1, 5 times each; a mechanism of "
        "which (0.1, 1e-7)-DP is known",
        _MIXED,
        1e-6,
    ),
)
