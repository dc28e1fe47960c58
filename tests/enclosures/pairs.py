"""The pairs of distributions whose privacy loss the enclosures bound, from their definitions.

Nothing here comes from the accountant: a pair is stated as densities, and every other module of
this package derives what it needs from this one. A pair (P, Q) has the likelihood ratio
r = dP/dQ; in direction ``"remove"`` the loss is log r under P, in direction ``"add"`` it is
log 1/r under Q, so that delta(eps) is

    remove:  E_Q[(r - e^eps)_+]            add:  E_Q[(1 - e^eps r)_+].

All parameters are exact: a float stands for the rational number it is, so that the enclosures
speak about precisely the number that the accountant is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flint import arb, fmpq

Direction = Literal["remove", "add"]
DIRECTIONS: tuple[Direction, Direction] = ("remove", "add")
Exact = int | float | Fraction


def ball(value: Exact | arb) -> arb:
    """The ball around an exact number, at the working precision."""
    if isinstance(value, arb):
        return value
    exact = Fraction(value)
    return arb(fmpq(exact.numerator, exact.denominator))


@dataclass(frozen=True)
class Mixture:
    """P = sum_i probabilities[i] N(centers[i], sigma^2) against Q = N(0, sigma^2), centers >= 0.

    The ratio r(x) = sum_i p_i exp((2 x c_i - c_i^2) / (2 sigma^2)) increases with x.
    """

    sigma: Fraction
    probabilities: tuple[Fraction, ...]
    centers: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if self.sigma <= 0 or sum(self.probabilities) != 1 or max(self.centers) <= 0:
            raise ValueError(f"not a mixture of Gaussians: {self!r}")
        if len(set(self.centers)) < len(self.centers) or min(*self.centers, 0) < 0:
            raise ValueError(f"centers must be distinct and non-negative: {self!r}")
        if min(self.probabilities) <= 0:
            raise ValueError(f"probabilities must be positive: {self!r}")

    @property
    def is_gaussian(self) -> bool:
        """Whether P is a single Gaussian, so that the loss is Gaussian too."""
        return len(self.centers) == 1

    @property
    def top(self) -> Fraction:
        """The largest center."""
        return max(self.centers)

    @property
    def weight_at_zero(self) -> Fraction:
        """The infimum of r: the weight of the component that equals Q."""
        return dict(zip(self.centers, self.probabilities, strict=True)).get(
            Fraction(0), Fraction(0)
        )


@dataclass(frozen=True)
class Laplace:
    """P = Laplace(0, scale) against Q = Laplace(1, scale): the loss lies in [-1/scale, 1/scale]."""

    scale: Fraction


Pair = Mixture | Laplace


def gaussian(sigma: Exact, shift: Exact = 1) -> Mixture:
    """The Gaussian mechanism with the given sensitivity."""
    return Mixture(Fraction(sigma), (Fraction(1),), (Fraction(shift),))


def poisson_gaussian(q: Exact, sigma: Exact) -> Mixture:
    """The Gaussian mechanism on a Poisson sample: (1-q) N(0, s^2) + q N(1, s^2)."""
    q = Fraction(q)
    if q == 1:
        return gaussian(sigma)
    return Mixture(Fraction(sigma), (1 - q, q), (Fraction(0), Fraction(1)))


def mixture(sigma: Exact, centers: list[float], probabilities: list[float]) -> Mixture:
    """A mixture given in floats; the probabilities are normalised exactly."""
    weights: dict[Fraction, Fraction] = {}
    for center, probability in zip(centers, probabilities, strict=True):
        weights[Fraction(center)] = weights.get(Fraction(center), Fraction(0)) + Fraction(
            probability
        )
    weights = {center: weight for center, weight in sorted(weights.items()) if weight}
    total = sum(weights.values())
    return Mixture(Fraction(sigma), tuple(w / total for w in weights.values()), tuple(weights))


def laplace(scale: Exact) -> Laplace:
    """The Laplace mechanism with sensitivity one."""
    return Laplace(Fraction(scale))


@dataclass(frozen=True)
class Composition:
    """A composition of pairs, each repeated, in one direction."""

    terms: tuple[tuple[Pair, int], ...]
    direction: Direction

    def __post_init__(self) -> None:
        if not self.terms or min(count for _, count in self.terms) < 1:
            raise ValueError(f"nothing to compose: {self!r}")

    @property
    def is_gaussian(self) -> bool:
        """Whether every loss is Gaussian, so that the composed one is."""
        return all(isinstance(pair, Mixture) and pair.is_gaussian for pair, _ in self.terms)

    @property
    def is_single(self) -> bool:
        """Whether a single pair is released once."""
        return len(self.terms) == 1 and self.terms[0][1] == 1

    def largest_loss(self) -> arb | None:
        """The largest possible loss, or None where the loss is unbounded above."""
        total = arb(0)
        for pair, count in self.terms:
            if isinstance(pair, Laplace):
                total += count / ball(pair.scale)
            elif self.direction == "add" and pair.weight_at_zero:
                total -= count * ball(pair.weight_at_zero).log()
            else:
                return None
        return total


def compose(*terms: tuple[Pair, int], direction: Direction) -> Composition:
    """The composition of (pair, count) terms; equal pairs are merged."""
    merged: dict[Pair, int] = {}
    for pair, count in terms:
        merged[pair] = merged.get(pair, 0) + count
    return Composition(tuple(merged.items()), direction)


def width(value: arb) -> float:
    """The width of a ball relative to its magnitude (infinity for a ball around zero)."""
    low = float(value.abs_lower())
    return math.inf if low == 0 else 2 * float(value.rad()) / low
