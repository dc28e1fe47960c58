"""What the lattice engine needs to know of one release: a dominating pair of distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from accountant.losses.cells import (
    Cells,
    Floats,
    Sketch,
    laplace_cells,
    log_ratio,
    mixture_cells,
    sketch_laplace,
    sketch_mixture,
)
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.kernels import ULP
from accountant.losses.laplace import laplace_cumulants, laplace_delta

# Cells of a moment: the chords that replace a convex function are off by (theta width)^2/8.
MOMENT_CELLS = 1 << 14


@runtime_checkable
class DominatingPair(Protocol):
    """A pair (P, Q) and its loss L = log dP/dQ; immutable, hashable, picklable.

    P may have mass where Q has none (loss plus infinity), and the other way round.
    """

    @property
    def swapped(self) -> DominatingPair:
        """The pair (Q, P)."""

    @property
    def largest_loss(self) -> float:
        """Supremum of the finite losses, rounded up."""

    @property
    def escaped(self) -> float:
        """Mass of P where Q has none, rounded up."""

    @property
    def order(self) -> tuple[Any, ...]:
        """A sort key, so that equal compositions are equal objects."""

    def cells(self, step: float, first: int, last: int) -> Cells:
        """The cells first..last-1 of the loss, each ``step`` wide; docs/lattice.md, section 4."""

    def sketch(self, reach: float) -> Sketch:
        """A coarse picture of the finite losses under P; nothing is proved with it."""

    def delta(self, epsilon: float) -> tuple[float, float]:
        """Bounds on the hockey-stick divergence of this one release, epsilon >= 0."""

    def log_moment(self, theta: float) -> float:
        """Upper bound of log E_P[exp(theta L)] over the finite losses, theta >= 0."""

    def level(self, theta: float) -> float:
        """A loss above which little of E_P[exp(theta L)] lies."""

    def tail_moment(self, theta: float, level: float) -> float:
        """Upper bound of log E_P[exp(theta L); L > level] over the finite losses."""


def log_upper_moment(
    pair: DominatingPair, theta: float, low: float, high: float, count: int = MOMENT_CELLS
) -> float:
    """Upper bound of log E_P[exp(theta L); L <= high]: chords of a convex function (section 3).

    Losses below ``low`` are counted as if they were ``low``.
    """
    step = max((high - low) / count, 1e-290)
    first = math.floor(low / step)
    c = pair.cells(step, first, math.ceil(high / step) + 1)
    masses = np.maximum(c.masses, 0.0) + c.mass_errors
    right = c.gaps + c.gap_errors + 1.01 * c.edge_error * masses
    right = np.clip(right * (1.0 + 8.0 * ULP) / -math.expm1(-step), 0.0, masses)
    points = step * np.arange(c.first, c.first + len(masses) + 1)
    weights = np.append(masses - right, 0.0)
    weights[1:] += right
    weights[0] += c.below
    exponents = theta * points
    top = float(exponents.max())
    total = float((weights * np.exp(exponents - top)).sum())
    if total <= 0.0:
        return -math.inf
    reach = theta * max(abs(low), abs(high))
    return top + math.log(total) + theta * c.edge_error + 1e-12 + 8.0 * ULP * reach


def log_add(*logs: float) -> float:
    """Log of the sum of exponentials, rounded up."""
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(x - top) for x in logs)) + 4.0 * ULP * (1.0 + abs(top))


@dataclass(frozen=True)
class MixturePair:
    """A mixture of Gaussians against one Gaussian, or (``add``) the other way round."""

    mixture: GaussianMixture
    add: bool = False

    @property
    def swapped(self) -> MixturePair:
        """See ``DominatingPair``."""
        return MixturePair(self.mixture, not self.add)

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        if not self.add:
            return math.inf
        return -self.mixture.smallest_loss() * (1.0 + 16.0 * ULP)

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return 0.0

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        m = self.mixture
        return ("mixture", m.sigma, m.sensitivities, m.probabilities, self.add)

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        return mixture_cells(self.mixture, self.add, step, first, last)

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        return sketch_mixture(self.mixture, self.add, reach)

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        return self.mixture.delta(epsilon, self.add)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return _mixture_moment(self.mixture, -theta if self.add else theta + 1.0)

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        if self.add:
            return self.largest_loss
        m = self.mixture
        last = m.sensitivities[-1]
        # further out no mass is a normal double
        x = last + min(last * theta + 12.0 * m.sigma, 36.0 * m.sigma)
        return float(log_ratio(m, np.array([x]))[0])

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        if level >= self.largest_loss:
            return -math.inf
        # Markov, at larger exponents
        exponents = (theta, theta + 1.0, 1.2 * theta + 2.0, 1.5 * theta + 4.0, 2.0 * theta + 8.0)
        return min(self.log_moment(s) - (s - theta) * level for s in exponents)


@lru_cache(maxsize=4096)
def _mixture_moment(mixture: GaussianMixture, exponent: float) -> float:
    k, _, _, error = mixture.cumulants(exponent, 40.0)
    # Rounding of the weights counts with the exponent
    error += abs(exponent) * mixture.ratio_error
    return k + error + 1e-12 * (1.0 + abs(k)) if math.isfinite(k) else math.inf


@dataclass(frozen=True)
class LaplacePair:
    """Laplace noise against the same shifted by 1."""

    scale: float

    @property
    def swapped(self) -> LaplacePair:
        """See ``DominatingPair``."""
        return self

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        return (1.0 + 4.0 * ULP) / self.scale

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return 0.0

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("laplace", self.scale)

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        return laplace_cells(self.scale, step, first, last)

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        return sketch_laplace(self.scale)

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        return laplace_delta(self.scale, epsilon)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        k, _, _, error = laplace_cumulants(self.scale, theta)
        return k + error

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return self.largest_loss

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        return -math.inf if level >= self.largest_loss else self.log_moment(theta)


def bounded_moment(pair: DominatingPair, theta: float, count: int = MOMENT_CELLS) -> float:
    """Upper bound of log E_P[exp(theta L)] over the finite losses, from cells."""
    high = pair.level(theta)
    low = -min(pair.swapped.largest_loss, max(40.0, 2.0 * abs(high)))
    body = log_upper_moment(pair, theta, low, high, count)
    return log_add(body, pair.tail_moment(theta, high))


__all__ = [
    "DominatingPair",
    "Floats",
    "LaplacePair",
    "MixturePair",
    "bounded_moment",
    "log_add",
    "log_upper_moment",
]
