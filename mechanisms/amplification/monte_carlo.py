"""Privacy of balls in bins by sampling, with a stated confidence (arXiv 2410.06266).

The dominating pair of a run is the mixture over bins of N(mode, s^2) against noise alone.  Only the
inner products u of the output with the modes matter, and they are Gaussian of covariance s^2 G: one
number for each bin.  Both divergences are means of variables within a known range; an upper
confidence bound of the mean is a bound on delta that fails with at most the stated probability.
Statements and proofs: docs/amplification.md, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import linalg

from accountant.errors import CalibrationError
from accountant.parameters import short, whole_count
from mechanisms.amplification.confidence import upper_confidence_bound
from mechanisms.amplification.modes import mode_gram, refuse_more_epochs
from mechanisms.amplification.tilted_samples import (
    Floats,
    draws,
    gain,
    largest_weight,
    moments,
    shared,
)
from mechanisms.participation import BallsInBins
from mechanisms.strategies.base import Strategy

__all__ = ["SampledDelta", "SampledEpsilon", "sampled_delta", "sampled_epsilon"]

ULP: Final = 2.0**-52
# Covers the rounding of a loss: epsilon is lowered by it before losses are compared.
ROUNDED: Final = 1e-9
# Rounds of a search for epsilon; each may fail with half the probability of the one before.
MOST_ROUNDS: Final = 40


@dataclass(frozen=True)
class SampledDelta:
    """What sampling says of delta at one epsilon.

    Attributes
    ----------
    epsilon
        Where delta was asked for.
    estimate
        Mean of the samples, in the worse order: no bound of anything.
    upper
        Above delta, but for the probability 1 - confidence that these samples mislead.
    confidence
        Of ``upper``, for both orders together, over the draw of the samples.
    samples
        In each order.
    """

    epsilon: float
    estimate: float
    upper: float
    confidence: float
    samples: int


@dataclass(frozen=True)
class SampledEpsilon:
    """What sampling says of epsilon at one delta.

    Attributes
    ----------
    delta
        Where epsilon was asked for.
    estimate
        Epsilon at which the samples' mean is delta: no bound of anything.
    upper
        Above epsilon(delta), but for the probability 1 - confidence that the samples mislead.
    confidence
        Of ``upper``, over the draw of all samples.
    samples
        In each order, all rounds together.
    """

    delta: float
    estimate: float
    upper: float
    confidence: float
    samples: int


def sampled_delta(
    strategy: Strategy,
    participation: BallsInBins,
    noise_multiplier: float,
    epsilon: float,
    *,
    samples: int = 200_000,
    confidence: float = 1.0 - 1e-6,
    seed: int = 0,
    executor: Executor | None = None,
) -> SampledDelta:
    """Bound delta by sampling, in both orders.

    Parameters
    ----------
    strategy, participation, noise_multiplier
        As of `mechanisms.amplification.balls_in_bins.balls_in_bins_loss`; under ADD_OR_REMOVE_ONE
        and REPLACE_SPECIAL.
    epsilon
        At least 0.
    samples
        In each order.
    confidence
        Within (0, 1).
    seed
        Of the samples: the result does not depend on the executor.
    executor
        Where the samples are drawn; without it, here.

    Raises
    ------
    ValueError
        A parameter is outside its domain, or there are too many bins or steps.
    """
    level = _number(epsilon, "epsilon", 0.0, 700.0)
    problem = _Sampler.of(strategy, participation, noise_multiplier)
    count = whole_count(samples, "samples", 100)
    return problem.delta(level, count, _confidence(confidence), _seed(seed), executor)


def sampled_epsilon(
    strategy: Strategy,
    participation: BallsInBins,
    noise_multiplier: float,
    delta: float,
    *,
    samples: int = 200_000,
    confidence: float = 1.0 - 1e-6,
    seed: int = 0,
    executor: Executor | None = None,
) -> SampledEpsilon:
    """Bound epsilon by sampling.

    A guess is checked with samples of its own; where they do not confirm it, a larger one is, each
    round with half the probability of failing of the one before, so that all together fail with at
    most 1 - confidence.  Parameters and errors as of `sampled_delta`.

    Raises
    ------
    CalibrationError
        So few samples cannot confirm so small a delta with this confidence at any epsilon tried.
    """
    target = _number(delta, "delta", 1e-300, 1.0)
    sure = _confidence(confidence)
    problem = _Sampler.of(strategy, participation, noise_multiplier)
    count = whole_count(samples, "samples", 100)
    streams = _seed(seed).spawn(MOST_ROUNDS + 1)
    estimate, bound = problem.guess(target, count, 0.25 * (1.0 - sure), streams[0], executor)
    tried, used = 1.005 * max(bound, 1e-3), count // 2
    for i in range(MOST_ROUNDS):
        rate = 0.5 ** (i + 1) * (1.0 - sure)
        found = problem.delta(tried, count, 1.0 - rate, streams[i + 1], executor, failing=rate)
        used += count
        if found.upper <= target:
            return SampledEpsilon(target, estimate, tried, sure, used)
        # log delta falls by about 1 to 10 for each unit
        tried += max(0.01 * tried, 0.1 * min(tried, math.log(found.upper / target)))
    raise CalibrationError(
        f"{count} samples a round do not confirm delta = {target:g} with this confidence up to "
        f"epsilon = {tried:.4g}: use more samples, or balls_in_bins_loss, which needs none"
    )


@dataclass(frozen=True)
class _Sampler:
    """u/s^2 is N(0, K) under noise alone, K = factor @ factor.T, and N(K e_i, K) in bin i."""

    factor: Floats

    @classmethod
    def of(
        cls, strategy: Strategy, participation: BallsInBins, noise_multiplier: float
    ) -> _Sampler:
        multiplier = _number(noise_multiplier, "noise_multiplier", 1e-2, 1e6)
        gram = mode_gram(strategy, participation).upper
        refuse_more_epochs(strategy, participation)
        scale = multiplier * strategy.sensitivity(participation)
        kernel = gram / (scale * scale) * (1.0 + 8.0 * ULP)
        # the factor's product is then nowhere below the kernel, and a larger kernel dominates
        raised = 8.0 * (len(kernel) + 2.0) ** 2 * ULP * float(kernel.max())
        kernel = kernel + raised
        np.fill_diagonal(kernel, np.diagonal(kernel) + raised)
        return cls(linalg.cholesky(kernel, lower=True))

    @property
    def kernel(self) -> Floats:
        return self.factor @ self.factor.T

    def delta(
        self,
        epsilon: float,
        samples: int,
        confidence: float,
        seed: np.random.SeedSequence,
        executor: Executor | None,
        *,
        failing: float | None = None,
    ) -> SampledDelta:
        """Bounds for both orders, each of which may fail with half the probability."""
        rate = 1.0 - confidence if failing is None else failing
        (remove, largest_remove), (add, largest_add) = self.tilting(epsilon)
        tasks = [
            (self.factor, epsilon - ROUNDED, remove, add, size, child)
            for size, child in shared(samples, len(self.factor), seed)
        ]
        found = list((executor.map if executor else map)(moments, tasks))
        sums = [math.fsum(column) for column in zip(*found, strict=True)]
        estimate = max(sums[0], sums[2]) / samples
        upper = max(
            upper_confidence_bound(sums[0], sums[1], samples, largest_remove, 0.5 * rate),
            upper_confidence_bound(sums[2], sums[3], samples, largest_add, 0.5 * rate),
        )
        return SampledDelta(epsilon, estimate, min(1.0, upper), confidence, samples)

    def tilting(self, epsilon: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """How far samples are drawn towards large losses, and the largest that one may weigh.

        Section 6 of the page.  Remove draws modes ``tilt`` times as long, add shifts all u by
        ``-tilt`` times the modes' mean; every other sample, on average, is drawn without.
        """
        kernel = self.kernel
        top, diagonal = float(np.diagonal(kernel).max()), float(np.diagonal(kernel).mean())
        common = float(kernel.mean())
        longer = max(1.0, epsilon / top + 0.5)
        weight = (longer - 1.0) * (0.5 * longer * top - epsilon + ROUNDED)
        reach = epsilon - 0.5 * diagonal - ROUNDED
        shift = max(0.0, reach / common)
        other = shift * (0.5 * shift * common - reach)
        return (longer, largest_weight(weight)), (shift, largest_weight(other))

    def guess(
        self,
        delta: float,
        samples: int,
        rate: float,
        seed: np.random.SeedSequence,
        executor: Executor | None,
    ) -> tuple[float, float]:
        """Where the samples' mean, and where their bound, is about delta: from a quarter of them.

        The second draw is tilted to where the first one says.
        """
        few = max(100, samples // 4)
        mean = bound = 0.5 * float(self.kernel.max())
        for stream in seed.spawn(2):
            tilts = self.tilting(bound)
            tasks = [
                (self.factor, bound, tilts[0][0], tilts[1][0], size, child)
                for size, child in shared(few, len(self.factor), stream)
            ]
            found = list((executor.map if executor else map)(draws, tasks))
            orders = [
                tuple(np.concatenate(parts) for parts in zip(*one, strict=True))
                for one in zip(*found, strict=True)
            ]
            sampled = _Sampled(orders, few)
            mean = _crossing(sampled.mean, delta)
            bound = _crossing(
                lambda epsilon, drawn=sampled: drawn.bound(  # type: ignore[misc]
                    epsilon, samples, [largest for _, largest in self.tilting(epsilon)], rate
                ),
                delta,
            )
        return mean, bound


@dataclass(frozen=True)
class _Sampled:
    """Losses and weights, for remove and for add, of so many samples."""

    orders: list[tuple[Floats, ...]]
    count: int

    def sums(self, epsilon: float) -> list[tuple[float, float]]:
        """Sums of the variables whose mean is delta, and of their squares."""
        gains = [weights * gain(losses, epsilon) for losses, weights in self.orders]
        return [(float(x.sum()), float(x @ x)) for x in gains]

    def mean(self, epsilon: float) -> float:
        """Estimate of delta."""
        return max(total for total, _ in self.sums(epsilon)) / self.count

    def bound(self, epsilon: float, samples: int, largest: list[float], rate: float) -> float:
        """What the bound would be, had so many samples the same moments."""
        more = samples / self.count
        return max(
            upper_confidence_bound(more * x, more * xx, samples, top, rate)
            for (x, xx), top in zip(self.sums(epsilon), largest, strict=True)
        )


def _crossing(function: Callable[[float], float], level: float) -> float:
    """Where a decreasing function falls to a level."""
    low, high = 0.0, 1.0
    while function(high) > level and high < 500.0:
        low, high = high, 2.0 * high
    for _ in range(20):
        middle = 0.5 * (low + high)
        if function(middle) > level:
            low = middle
        else:
            high = middle
    return high


def _seed(seed: object) -> np.random.SeedSequence:
    return np.random.SeedSequence(whole_count(seed, "seed"))


def _confidence(value: object) -> float:
    number = _number(value, "confidence", 0.0, 1.0)
    if number <= 0.0 or number >= 1.0:
        raise ValueError(f"confidence must be within (0, 1), got {short(value)}")
    return number


def _number(value: object, name: str, least: float, most: float) -> float:
    real = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not (real and least <= value <= most):  # type: ignore[operator]
        raise ValueError(
            f"{name} must be a number within [{least:g}, {most:g}], got {short(value)}"
        )
    return float(value)  # type: ignore[arg-type]
