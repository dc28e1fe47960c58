"""Samples of the privacy loss of balls in bins, drawn towards large losses and weighed.

Section 6 of docs/amplification.md says how, and proves that means stay and weights are bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Task", "draws", "gain", "largest_weight", "moments", "shared"]

Floats = npt.NDArray[np.float64]

# Numbers that one task draws: samples times bins.
TASK: Final = 1 << 17
# Factor of the covariance, epsilon, tilts of remove and of add, samples, seed.
Task = tuple[Floats, float, float, float, int, np.random.SeedSequence]


def moments(task: Task) -> tuple[float, float, float, float]:
    """Of one task's variables: sums, and sums of squares, for remove and for add."""
    (removed, heavy), (added, light) = draws(task)
    x, y = heavy * gain(removed, task[1]), light * gain(added, task[1])
    return float(x.sum()), float(x @ x), float(y.sum()), float(y @ y)


def draws(task: Task) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Losses and weights, for remove and for add; one draw of the noise serves both."""
    factor, _, longer, shift, samples, seed = task
    generator = np.random.Generator(np.random.SFC64(seed))
    kernel = factor @ factor.T
    half = 0.5 * np.diagonal(kernel)
    noise = generator.standard_normal((samples, len(factor))) @ factor.T

    length = np.where(generator.random(samples) < 0.5, longer, 1.0)
    u = kernel[generator.integers(0, len(factor), samples)]
    u *= length[:, None]
    u += noise
    u -= half
    removed = _log_mean(u.copy() if longer > 1.0 else u)
    heavy = np.ones(samples)
    if longer > 1.0:
        u += (1.0 - longer) * half
        u *= longer
        heavy = _weights(removed - _log_mean(u))

    light = np.ones(samples)
    if shift > 0.0:
        distance = np.where(generator.random(samples) < 0.5, shift, 0.0)
        noise -= distance[:, None] * kernel.mean(axis=1)
        light = shift * noise.mean(axis=1) + 0.5 * shift * shift * float(kernel.mean())
        light = _weights(light)
    noise -= half
    return (removed, heavy), (-_log_mean(noise), light)


def gain(losses: Floats, epsilon: float) -> Floats:
    """``(1 - exp(epsilon - loss))_+``."""
    gain: Floats = -np.expm1(np.minimum(epsilon - losses, 0.0))
    return gain


def largest_weight(log_ratio: float) -> float:
    """Above every weight, where the density without tilting over that with it is at most this."""
    return 2.0 / (1.0 + math.exp(min(-log_ratio, 600.0))) * (1.0 + 1e-6)


def _weights(logs: Floats) -> Floats:
    """Density of the plain law over that of the even mixture, from its logarithm over the other."""
    result: Floats = 2.0 / (1.0 + np.exp(np.minimum(-logs, 700.0)))
    return result


def _log_mean(exponents: Floats) -> Floats:
    """Logarithm of the mean of exponentials over the last axis; overwrites its argument."""
    top = exponents.max(axis=1, initial=-math.inf)
    exponents -= top[:, None]
    np.exp(exponents, out=exponents)
    result: Floats = top + np.log(exponents.mean(axis=1))
    return result


def shared(
    samples: int, bins: int, seed: np.random.SeedSequence
) -> Iterator[tuple[int, np.random.SeedSequence]]:
    """Samples of each task, with a seed of its own."""
    size = max(TASK // bins, 8 * bins)
    counts = [size] * (samples // size) + ([samples % size] if samples % size else [])
    yield from zip(counts, seed.spawn(len(counts)), strict=True)
