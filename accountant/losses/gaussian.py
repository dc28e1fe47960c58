"""Gaussian losses: the plain Gaussian, and a mixture of Gaussians against one Gaussian.

The mixture covers Poisson sampling (weights 1-q, q at 0 and 1), groups, user-level units and
MixtureOfGaussiansDpEvent.  Proofs and error terms: docs/engine.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from accountant.losses import kernels

ULP = kernels.ULP
# Assumed accuracy of exp, expm1, log, log1p and of the normal tail, in ULP; tests measure it.
TAIL_ULPS = 64.0
# Beyond this a single release is left to the contour.
LARGEST_EPSILON = 600.0
# Keeps an upper bound above 0 where the truth underflows.
TINY = 1e-300

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GaussianMixture:
    """``P = sum_i p_i N(c_i, sigma^2)`` against ``Q = N(0, sigma^2)``, ``0 <= c_0 < c_1 < ...``.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, in units in which the sensitivities are given.
    sensitivities, probabilities
        Support (distinct, increasing, last one positive) and weights (positive, sum 1).
    """

    sigma: float
    sensitivities: tuple[float, ...]
    probabilities: tuple[float, ...]
    _c: Floats = field(init=False, repr=False, compare=False)
    _p: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_c", np.array(self.sensitivities))
        object.__setattr__(self, "_p", np.array(self.probabilities))

    def smallest_loss(self) -> float:
        """Infimum of log dP/dQ: log p_0 if c_0 = 0, else minus infinity."""
        if self.sensitivities[0] > 0.0:
            return -math.inf
        if self.probabilities[0] < 0.5:
            return math.log(self.probabilities[0])
        # through the complement, so that log(1 - q) keeps its digits
        return math.log1p(-math.fsum(self.probabilities[1:]))

    @property
    def ratio_error(self) -> float:
        """Absolute error of log dP/dQ that the rounding of the weights causes.

        None where the first weight is at least half: it is then never used, but is by definition
        what the others leave.
        """
        held = self.sensitivities[0] == 0.0 and self.probabilities[0] >= 0.5
        return 0.0 if held else 4.0 * ULP * len(self.probabilities)

    def cut_at(self, log_mass: float) -> float:
        """A point xi beyond which P has at most mass exp(log_mass)."""
        d = self._c / self.sigma
        need = np.log(self._p * len(self._p)) - log_mass
        reach: Floats = np.where(need > 0.0, d + np.sqrt(2.0 * np.maximum(need, 0.0)), 0.0)
        return float(reach.max())

    def log_edge(self, a: float, cut: float) -> float:
        """Log of the tilted density at the cut, which limits the precision of a truncated phi."""
        loss = self._loss(cut * self.sigma)
        return max(0.0, loss, a * loss) - 0.5 * cut * cut + math.log1p(abs(a))

    def mass_beyond(self, cut: float) -> float:
        """Upper bound of P[xi > cut]."""
        gap = np.maximum(0.0, cut - self._c / self.sigma)
        return float(self._p @ np.exp(-0.5 * gap * gap)) * (1.0 + 1e-12)

    def cumulants(
        self, a: float, target: float, cut: float = math.inf
    ) -> tuple[float, float, float, float]:
        """Log phi(a) = log E_Q[exp(a L)], its two derivatives, and a bound on its error."""
        result: tuple[float, float, float, float] = kernels.mixture_cumulants(
            self._p, self._c, self.sigma, cut, a, target
        )
        return result

    def line(
        self, a: float, step: float, nodes: int, log_phi: float, target: float, cut: float
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Log phi(a + i k step): real and imaginary part, error, upper bound of the real part."""
        result: tuple[Floats, Floats, Floats, Floats] = kernels.mixture_line(
            self._p, self._c, self.sigma, cut, a, step, nodes, log_phi, target
        )
        return result

    def inner_nodes(self, a: float, log_phi: float, target: float, cut: float) -> int:
        """Number of inner nodes that ``line`` will use."""
        found: tuple[float, float, int, float, float] = kernels.inner_grid(
            self._p, self._c, self.sigma, cut, a, log_phi, target, True
        )
        return found[2]

    def envelope(self, a: float, log_phi: float, edges: Floats, cut: float) -> Floats:
        """Upper bounds of log|phi(a+it)/phi(a)| on the shells between the edges, and beyond."""
        result: Floats = kernels.mixture_envelope(
            self._p, self._c, self.sigma, cut, a, log_phi, edges
        )
        return result

    def delta(self, epsilon: float, add: bool) -> tuple[float, float]:
        """Bounds on the hockey-stick divergence of one release, by the optimal threshold.

        ``delta = sup_A P(A) - e^eps Q(A)`` (or with P and Q exchanged, ``add``); the supremum is
        attained at a threshold on x because the loss increases in x.
        """
        if epsilon > LARGEST_EPSILON:
            # e^eps is hardly a double there; delta decreases
            return 0.0, self.delta(LARGEST_EPSILON, add)[1]
        sign = -1.0 if add else 1.0
        loss = sign * epsilon
        if loss <= self.smallest_loss():
            # the whole line belongs to A (not add), or none of it does
            value = 0.0 if add else -math.expm1(epsilon)
            return max(0.0, value * (1.0 - 4.0 * ULP)), max(0.0, value * (1.0 + 4.0 * ULP))
        x = self._threshold(loss)
        tails = special.ndtr(-sign * (x - self._c) / self.sigma)
        plain = float(special.ndtr(-sign * x / self.sigma))
        # P(A) - Q(A) by components, so that q = 1e-9 cancels nothing
        shift = sign * float(self._p @ (tails - plain))
        spread = float(self._p[self._c > 0.0] @ (tails + plain)[self._c > 0.0])
        if add:
            growth = math.exp(epsilon)
            value = growth * shift - math.expm1(epsilon) * plain
            size = growth * spread + math.expm1(epsilon) * plain
        else:
            value = shift - math.expm1(epsilon) * plain
            size = spread + math.expm1(epsilon) * plain
        # A threshold off by a relative 1e-13 costs a second order of it.  Rounding of the
        # arguments moves the tails by |argument| ULP^2-relative amounts, hence 1 + argument^2.
        argument = (abs(x) + self.sensitivities[-1]) / self.sigma
        error = size * ULP * (TAIL_ULPS + 4.0 * argument * argument + 4.0 * epsilon)
        return max(0.0, value - error), min(1.0, max(0.0, value) + error + TINY)

    def _threshold(self, loss: float) -> float:
        """The x at which log dP/dQ equals ``loss``."""
        s2 = self.sigma * self.sigma
        if len(self.sensitivities) == 1:
            c = self.sensitivities[0]
            return loss * s2 / c + 0.5 * c
        if len(self.sensitivities) == 2 and self.sensitivities[0] == 0.0:
            q, c = self.probabilities[1], self.sensitivities[1]
            # log((e^loss - 1 + q)/q)
            if loss > 1.0:
                ratio = loss - math.log(q) + math.log1p((q - 1.0) * math.exp(-loss))
            else:
                # next to the smallest loss rounding may leave the domain; any threshold is valid
                ratio = math.log1p(max(math.expm1(loss) / q, -1.0 + ULP))
            return ratio * s2 / c + 0.5 * c
        low, high = -1.0, 1.0
        while self._loss(low) > loss:
            low *= 2.0
        while self._loss(high) < loss:
            high *= 2.0
        for _ in range(200):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            if self._loss(middle) < loss:
                low = middle
            else:
                high = middle
        return low

    def _loss(self, x: float) -> float:
        y = (x * self._c - 0.5 * self._c * self._c) / (self.sigma * self.sigma)
        if y.max() < 300.0:
            excess = float(self._p @ np.expm1(y))
            if excess > -0.5:
                return math.log1p(excess)
        return float(special.logsumexp(y, b=self._p))


def gaussian_delta(variance: float, epsilon: float) -> tuple[float, float]:
    """Bounds on delta of a Gaussian loss with ``variance`` = sum of (sensitivity/sigma)^2.

    Balle and Wang 2018, Theorem 8, written as phi(d1) (m(-d1) - m(-d2)) with Mills ratios m, so
    that nothing underflows before delta does.
    """
    mu = math.sqrt(variance)
    d1 = epsilon / mu - 0.5 * mu
    d2 = epsilon / mu + 0.5 * mu
    if d1 < -20.0:
        first = float(special.ndtr(-d1))
        exponent = min(0.0, epsilon + float(special.log_ndtr(-d2)))
        second = math.exp(exponent)
        # first is 1 but for its own rounding; second is below e^-200, relative errors and all
        slack = TAIL_ULPS * ULP + second * ULP * (TAIL_ULPS + 8.0 * (d2 * d2 + epsilon))
        return max(0.0, first - second - slack), min(1.0, first - second + slack)
    root = math.sqrt(0.5)
    first = float(special.erfcx(d1 * root))
    second = float(special.erfcx(d2 * root))
    log_half_density = -0.5 * d1 * d1 - math.log(2.0)
    scale = math.exp(log_half_density)
    value = scale * (first - second)
    # d1 and d2 carry 4 ULP; x m(x) <= 1 bounds the derivative of log m; exp carries d1^2
    error = scale * (first + second) * ULP * (TAIL_ULPS + 8.0 * abs(d1) * (abs(d1) + mu))
    error += 1e-320
    return max(0.0, value - error), min(1.0, max(0.0, value) + error)


@lru_cache(maxsize=4096)
def poisson_gaussian(sigma: float, q: float) -> GaussianMixture:
    """The pair of the Poisson-subsampled Gaussian with unit sensitivity."""
    return GaussianMixture(sigma, (0.0, 1.0), (1.0 - q, q))
