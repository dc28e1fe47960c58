"""One direction of a composed privacy loss, as the engine sees it.

Composition of releases adds their log moment generating functions K; that is all there is to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from accountant.losses.atoms import Atoms
from accountant.losses.gaussian import GaussianMixture, gaussian_delta
from accountant.losses.kernels import ULP
from accountant.losses.laplace import laplace_cumulants, laplace_delta
from accountant.losses.pair import DominatingPair

Direction = Literal["add", "remove"]


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
    pairs
        Further pairs and their copies, each already in this direction: for the lattice, but for
        short lists of atoms.
    cuts, lost
        Each mixture counts only xi below its cut; ``lost`` bounds the probability of the rest.
    """

    variance: float
    mixtures: tuple[tuple[GaussianMixture, int], ...]
    laplaces: tuple[tuple[float, int], ...]
    add: bool
    pairs: tuple[tuple[DominatingPair, int], ...] = ()
    cuts: tuple[float, ...] = ()
    lost: float = 0.0

    @property
    def empty(self) -> bool:
        """Nothing was released."""
        return self.variance == 0.0 and not (self.mixtures or self.laplaces or self.pairs)

    @cached_property
    def needs_lattice(self) -> bool:
        """Whether no contour can answer.

        A few atoms may join smooth losses on a contour, where these make the integrand decay.
        """
        smooth = self.variance > 0.0 or bool(self.mixtures)
        return bool(self.pairs) and not (smooth and len(self.atoms) == len(self.pairs))

    @cached_property
    def atoms(self) -> tuple[tuple[Atoms, int], ...]:
        """The pairs that a contour may hold."""
        found = ((pair, n) for pair, n in self.pairs if isinstance(pair, Atoms))
        return tuple((pair, n) for pair, n in found if pair.on_contour)

    @cached_property
    def largest_loss(self) -> float:
        """Supremum of the loss, rounded up; infinite where the loss is unbounded."""
        if self.variance > 0.0 or (self.mixtures and not self.add):
            return math.inf
        total = math.fsum(n / b for b, n in self.laplaces)
        total += math.fsum(-n * m.smallest_loss() for m, n in self.mixtures)
        total += math.fsum(n * pair.largest_loss for pair, n in self.pairs)
        if any(pair.escaped > 0.0 for pair, _ in self.pairs):
            return math.inf
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
        for mixture, n, cut in self.cut_mixtures:
            c0, c1, c2, e = mixture.cumulants(a, target + math.log(n), cut)
            k0 += n * c0
            k1 += sign * n * c1
            k2 += n * c2
            error += n * (e + 2.0 * ULP * abs(c0) + abs(a) * mixture.ratio_error)
        for atoms, n in self.atoms:
            c0, c1, c2, e = atoms.cumulants(theta)
            k0 += n * c0
            k1 += n * c1
            k2 += n * c2
            error += n * (e + 2.0 * ULP * abs(c0))
        for scale, n in self.laplaces:
            c0, c1, c2, e = laplace_cumulants(scale, theta)
            k0 += n * c0
            k1 += n * c1
            k2 += n * c2
            error += n * (e + 2.0 * ULP * abs(c0))
        return k0, k1, k2, error

    @cached_property
    def escaped(self) -> float:
        """Mass of P where Q has none, rounded up: delta(infinity)."""
        stay = math.fsum(n * math.log1p(-min(p.escaped, 1.0 - ULP)) for p, n in self.pairs)
        return -math.expm1(stay) * (1.0 + 4.0 * ULP)

    def log_moment(self, theta: float) -> float:
        """Upper bound of log E[exp(theta S)] over the finite losses."""
        k, _, _, error = replace(self, pairs=()).cumulants(theta)
        total = k + error + math.fsum(n * pair.log_moment(theta) for pair, n in self.pairs)
        return total + 4.0 * ULP * abs(total) if math.isfinite(total) else math.inf

    def closed_form(self, epsilon: float) -> tuple[float, float] | None:
        """Delta of a single release, or of Gaussians alone; None where there is no closed form."""
        parts = (*self.mixtures, *self.laplaces, *self.pairs)
        if not parts and self.variance > 0.0:
            return gaussian_delta(self.variance, epsilon)
        if self.variance > 0.0 or len(parts) != 1 or parts[0][1] != 1:
            return None
        if self.pairs:
            return self.pairs[0][0].delta(epsilon)
        if self.mixtures:
            return self.mixtures[0][0].delta(epsilon, self.add)
        return laplace_delta(self.laplaces[0][0], epsilon)

    def total_variation(self) -> float:
        """Upper bound of delta(0): the releases differ with at most 1 - prod (1 - TV_i)."""
        each: list[tuple[float, int]] = []
        if self.variance > 0.0:
            each.append((gaussian_delta(self.variance, 0.0)[1], 1))
        for m, n in self.mixtures:
            # no more than the probability that the record takes part
            taking_part = math.fsum(
                p for c, p in zip(m.sensitivities, m.probabilities, strict=True) if c > 0.0
            )
            single = m.delta(0.0, self.add)[1]
            each.append((min(single, taking_part) if single >= 0.0 else taking_part, n))
        each += [(laplace_delta(b, 0.0)[1], n) for b, n in self.laplaces]
        each += [(pair.delta(0.0)[1], n) for pair, n in self.pairs]
        if any(single >= 1.0 for single, _ in each):
            return 1.0
        alike = math.fsum(n * math.log1p(-single) for single, n in each)
        return min(1.0, -math.expm1(alike) * (1.0 + 16.0 * ULP))

    @property
    def has_closed_form(self) -> bool:
        """Whether ``closed_form`` answers."""
        return self.closed_form(1.0) is not None

    @property
    def _no_cuts(self) -> tuple[float, ...]:
        return (math.inf,) * len(self.mixtures)

    @property
    def cut_mixtures(self) -> list[tuple[GaussianMixture, int, float]]:
        """Mixture, copies and cut of each part."""
        cuts = self.cuts or self._no_cuts
        return [(m, n, cut) for (m, n), cut in zip(self.mixtures, cuts, strict=True)]

    def truncated(self, log_mass: float) -> Composition:
        """Without the large losses whose total probability is at most exp(log_mass) (section 2).

        What they cost in delta is at most ``lost``; what they would do to the moments of a rare
        participation is out of all proportion.
        """
        if self.add or not self.mixtures or math.isinf(log_mass):
            return self
        copies = math.fsum(n for _, n in self.mixtures)
        cuts = tuple(m.cut_at(log_mass - math.log(copies)) for m, _ in self.mixtures)
        beyond = zip(self.mixtures, cuts, strict=True)
        lost = math.fsum(n * m.mass_beyond(cut) for (m, n), cut in beyond)
        return replace(self, cuts=cuts, lost=lost * (1.0 + 1e-12))

    def log_edge(self, theta: float) -> float:
        """Log of the error that the cuts cause in K(theta), roughly; minus infinity uncut."""
        a = self.exponent(theta)
        edges = [
            math.log(n) + m.log_edge(a, c) for m, n, c in self.cut_mixtures if math.isfinite(c)
        ]
        return max(edges, default=-math.inf)

    def smoothed(self, variance: float) -> Composition:
        """This loss composed with one more, weak, Gaussian release (section 6)."""
        return replace(self, variance=self.variance + variance)
