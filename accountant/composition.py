"""One direction of a composed privacy loss, as the engine sees it.

Composition of releases adds their log moment generating functions K; that is all there is to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from accountant.kernels import ULP
from accountant.losses.gaussian import GaussianMixture, gaussian_delta
from accountant.losses.laplace import laplace_cumulants, laplace_delta


@dataclass(frozen=True)
class Composition:
    """One direction of a composed privacy loss, as the data of its moment generating function.

    Parameters
    ----------
    variance
        Sum of (sensitivity/sigma)^2 over all Gaussian releases.
    mixtures, laplaces
        Pairs (mixture, copies) and (scale, copies).
    add
        False: the numerator is the mixture ("remove"); True: it is the plain Gaussian ("add").
    """

    variance: float
    mixtures: tuple[tuple[GaussianMixture, int], ...]
    laplaces: tuple[tuple[float, int], ...]
    add: bool

    @property
    def empty(self) -> bool:
        """Nothing was released."""
        return self.variance == 0.0 and not self.mixtures and not self.laplaces

    @cached_property
    def largest_loss(self) -> float:
        """Supremum of the loss, rounded up; infinite where the loss is unbounded."""
        if self.variance > 0.0 or (self.mixtures and not self.add):
            return math.inf
        total = math.fsum(n / b for b, n in self.laplaces)
        total += math.fsum(-n * m.smallest_loss() for m, n in self.mixtures)
        return total * (1.0 + 16.0 * ULP)

    def exponent(self, theta: float) -> float:
        """The exponent a of dP/dQ under Q that stands for z = theta in this direction."""
        return -theta if self.add else theta + 1.0

    def cumulants(self, theta: float, target: float = 40.0) -> tuple[float, float, float, float]:
        """K(theta), K', K'' and a bound on the error of K."""
        k0 = 0.5 * self.variance * theta * (theta + 1.0)
        k1 = self.variance * (theta + 0.5)
        k2 = self.variance
        error = 4.0 * ULP * k0
        sign = -1.0 if self.add else 1.0
        a = self.exponent(theta)
        for mixture, n in self.mixtures:
            c0, c1, c2, e = mixture.cumulants(a, target + math.log(n))
            k0 += n * c0
            k1 += sign * n * c1
            k2 += n * c2
            error += n * (e + 2.0 * ULP * abs(c0))
        for scale, n in self.laplaces:
            c0, c1, c2, e = laplace_cumulants(scale, theta)
            k0 += n * c0
            k1 += n * c1
            k2 += n * c2
            error += n * (e + 2.0 * ULP * abs(c0))
        return k0, k1, k2, error

    def closed_form(self, epsilon: float) -> tuple[float, float] | None:
        """Delta of a single release, or of Gaussians alone; None where there is no closed form."""
        if not self.mixtures and not self.laplaces and self.variance > 0.0:
            return gaussian_delta(self.variance, epsilon)
        parts = (*self.mixtures, *self.laplaces)
        if self.variance > 0.0 or len(parts) != 1 or parts[0][1] != 1:
            return None
        if self.mixtures:
            return self.mixtures[0][0].delta(epsilon, self.add)
        return laplace_delta(self.laplaces[0][0], epsilon)

    @property
    def has_closed_form(self) -> bool:
        """Whether ``closed_form`` answers."""
        return self.closed_form(1.0) is not None

    def smoothed(self, variance: float) -> Composition:
        """This loss composed with one more, weak, Gaussian release (section 6)."""
        return replace(self, variance=self.variance + variance)
