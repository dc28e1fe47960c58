"""Laws of sums of independent nonnegative variables, on grids that widen with the distance.

Level l holds masses at the 2 K + 1 points ``k h 2^l``, ``|k| <= K``, around the centre ``n c`` of a
sum of n terms.  Two laws are convolved level by level, by FFTs whose round-off is relative to each
level.  ``Spread`` laws are larger than the truth in the convex order, ``Merged`` ones smaller;
every statement used is proved in docs/random-allocation.md, and "section n" refers to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import fft

from accountant.engine.convolution import FFT_ULPS
from accountant.losses.kernels import ULP

Floats = npt.NDArray[np.float64]

SIZE = 1 << 14
# Even, and 4 K + 1 <= SIZE: a level's convolution does not wrap around.
K = (SIZE - 1) // 8 * 2
# FFTs, and what is summed before them (section 5).
_NOISE = 1.1 * (1.5 * FFT_ULPS * math.log2(SIZE) + 4.0 + 128.0) * ULP
# Rates, times K, of the exponential bounds on a level's convolution.
_RATES = np.array([2.0**i * sign for i in range(1, 9) for sign in (1.0, -1.0)]) / K
_EXPONENTIALS = np.exp(np.multiply.outer(np.arange(-K, K + 1.0), _RATES))
# Where round-off is below this share of what was found, it is not worth bounding better.
_CLEAR = 1e-4
# Merged atoms lighter than this many times their noise are left out.
_FAINT = 64.0
# Share of exp(log_mass) that one convolution may leave out.
_SHARE = 1.0 / 64.0
# Where sums are counted from their mean, nothing is resolved below this share of it.
LOWEST = 0.125


@dataclass(frozen=True)
class Grid:
    """Choices of the grids: nothing is proved with them."""

    centre: float
    base: int
    levels: int
    log_mass: float


@dataclass(frozen=True)
class Spread:
    """A measure above which nothing is missing but an event of given size (section 3).

    ``masses`` has the shape (levels, 2 K + 1); the finest spacing is ``2^base``.
    """

    count: int  # n, the number of terms
    centre: float  # c
    base: int
    masses: Floats
    lost_q: float  # mass of what was left out, rounded up
    lost_p: float  # E|S| on it, rounded up

    @cached_property
    def mean_size(self) -> float:
        """Above E|S|."""
        sizes = np.abs(np.arange(-K, K + 1.0))
        spacings = np.ldexp(1.0, self.base + np.arange(len(self.masses)))
        total = self.count * self.centre * self.masses.sum() + spacings @ (self.masses @ sizes)
        return float(total) * (1.0 + 1e-9)

    def raised(self) -> Spread:
        """The same law without its finest level."""
        masses = _padded(self.masses[1:], max(1, len(self.masses) - 1))
        masses[0] += _within(halved(self.masses[0]))
        masses[0] *= 1.0 + 4.0 * ULP
        return replace(self, base=self.base + 1, masses=masses)

    def with_levels(self, count: int) -> Spread:
        """The same law with empty levels on top."""
        return replace(self, masses=_padded(self.masses, count))

    def without_top(self) -> Spread:
        """The same law without its widest level, which counts as lost."""
        top = self.masses[-1]
        spacing = math.ldexp(1.0, self.base + len(self.masses) - 1)
        q = float(top.sum()) * (1.0 + 1e-9)
        p = float(top @ np.abs(np.arange(-K, K + 1.0))) * spacing * (1.0 + 1e-9)
        return replace(
            self,
            masses=self.masses[:-1],
            lost_q=self.lost_q + q,
            lost_p=self.lost_p + p + q * self.count * self.centre,
        )

    def plus(self, other: Spread) -> Spread:
        """The law of the sum of two independent variables."""
        a, b = _aligned(self, other)
        half = a.centre == 0.0
        da, va = _Transform(a.masses, half), _Transform(_coarser(a.masses), half)
        if b is a:
            terms = [(1.0, da, da), (2.0, da, va)]
        else:
            db, vb = _Transform(b.masses, half), _Transform(_coarser(b.masses), half)
            terms = [(1.0, da, db), (1.0, da, vb), (1.0, va, db)]
        found = _products(terms)
        moments = None if half else _moments(terms)
        masses = np.zeros((len(a.masses) + 1, 2 * K + 1))
        for level, (values, noise, first) in enumerate(found):
            # round-off upwards, but not above Chernoff's bound
            row = np.zeros(4 * K + 1)
            inside = row[first : first + len(values)]
            inside += np.maximum(values, 0.0) + noise + 1e-300
            if moments is not None:
                _cut(inside, first, noise, moments[level])
            masses[level] += row[K : 3 * K + 1]
            row[K : 3 * K + 1] = 0.0
            masses[level + 1] += halved(row)
        masses *= 1.0 + 16.0 * ULP
        lost_p = a.lost_p + b.lost_p + a.lost_q * b.mean_size + b.lost_q * a.mean_size
        return Spread(
            a.count + b.count, a.centre, a.base, masses, a.lost_q + b.lost_q, lost_p * (1.0 + 1e-9)
        )


@dataclass(frozen=True)
class Merged:
    """Atoms below a law: ``masses`` at the mean places ``(k + offsets/masses) h`` (section 4).

    Places are rounded downwards, or upwards if ``up``; masses downwards.
    """

    count: int
    centre: float
    base: int
    masses: Floats
    offsets: Floats
    up: bool

    def raised(self) -> Merged:
        """The same law without its finest level."""
        size = max(1, len(self.masses) - 1)
        masses, offsets = _padded(self.masses[1:], size), _padded(self.offsets[1:], size)
        mass, offset = paired(self.masses[0], self.offsets[0])
        masses[0] += _within(mass)
        offsets[0] += _within(offset)
        return replace(self, base=self.base + 1, masses=masses, offsets=offsets)

    def with_levels(self, count: int) -> Merged:
        """The same law with empty levels on top."""
        masses, offsets = _padded(self.masses, count), _padded(self.offsets, count)
        return replace(self, masses=masses, offsets=offsets)

    def without_top(self) -> Merged:
        """The same law without its widest level."""
        return replace(self, masses=self.masses[:-1], offsets=self.offsets[:-1])

    def plus(self, other: Merged) -> Merged:
        """The law of the sum of two independent variables."""
        a, b = _aligned(self, other)
        half = a.centre == 0.0
        da, fa = _Transform(a.masses, half), _Transform(a.offsets, half)
        va, ga = (_Transform(x, half) for x in _coarser_atoms(a.masses, a.offsets))
        if b is a:
            masses = [(1.0, da, da), (2.0, da, va)]
            offsets = [(2.0, fa, da), (2.0, fa, va), (2.0, da, ga)]
        else:
            db, fb = _Transform(b.masses, half), _Transform(b.offsets, half)
            vb, gb = (_Transform(x, half) for x in _coarser_atoms(b.masses, b.offsets))
            masses = [(1.0, da, db), (1.0, da, vb), (1.0, va, db)]
            offsets = [(1.0, fa, db), (1.0, fa, vb), (1.0, ga, db)]
            offsets += [(1.0, da, fb), (1.0, da, gb), (1.0, va, fb)]
        sign = 1.0 if self.up else -1.0
        wide, wide_offsets = np.zeros((2, len(a.masses) + 1, 2 * K + 1))
        found = zip(_products(masses), _products(offsets, masses), strict=True)
        for level, ((mass, noise, first), (offset, blur, _)) in enumerate(found):
            held = mass > _FAINT * noise + 1e-280
            offset = offset + sign * (blur + 1e-280)
            away = np.where(offset * sign > 0.0, -1.0, 1.0)
            place = offset / np.where(held, mass + away * noise, 1.0)
            row, row_offsets = np.zeros((2, 4 * K + 1))
            inside = slice(first, first + len(mass))
            row[inside] = np.where(held, mass - noise, 0.0)
            row_offsets[inside] = row[inside] * place
            for target, source in ((wide, row), (wide_offsets, row_offsets)):
                target[level] += source[K : 3 * K + 1]
                source[K : 3 * K + 1] = 0.0
            outer = paired(row, row_offsets)
            wide[level + 1] += outer[0]
            wide_offsets[level + 1] += outer[1]
        return replace(a, count=a.count + b.count, masses=wide, offsets=wide_offsets)


Law = TypeVar("Law", Spread, Merged)


def repeated(one: Law, steps: int, grid: Grid) -> Law:
    """The law of a sum of ``steps`` terms, by doubling."""
    law = one
    for bit in bin(steps)[3:]:
        law = _tidy(law.plus(law), grid, steps)
        if bit == "1":
            law = _tidy(law.plus(one), grid, steps)
    return law


def _tidy(law: Law, grid: Grid, steps: int) -> Law:
    """Leave out levels on top that hold next to nothing, and at the bottom that are needless."""
    share = law.count / steps
    places = np.abs(np.arange(-K, K + 1.0))
    while len(law.masses) > 1:
        top = law.masses[-1]
        spacing = math.ldexp(1.0, law.base + len(law.masses) - 1)
        q, p = float(top.sum()), float(top @ places) * spacing + float(top.sum()) * law.count
        if p / law.count + q / share > _SHARE * math.exp(grid.log_mass):
            break
        law = law.without_top()
    enough = 0.2 if grid.centre > 0.0 else min(0.05, math.exp((grid.log_mass - 7.0) * share))
    while len(law.masses) > 1 and law.masses[0].sum() < enough:
        law = law.raised()
    return law


def halved(masses: Floats) -> Floats:
    """Masses on every second point: the others' go to both neighbours, half and half."""
    result: Floats = masses[0::2].copy()
    odd = 0.5 * masses[1::2]
    result[:-1] += odd
    result[1:] += odd
    return result


def paired(masses: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """Atoms 2 k and 2 k + 1 as one, at the mean of their places, in units twice as wide."""
    mass, offset = masses[0::2].copy(), offsets[0::2].copy()
    mass[:-1] += masses[1::2]
    offset[:-1] += offsets[1::2] + masses[1::2]
    return mass, 0.5 * offset


def _within(values: Floats) -> Floats:
    """A halved level, -K/2..K/2, as one of -K..K."""
    wide = np.zeros(2 * K + 1)
    wide[K // 2 : K // 2 + len(values)] = values
    return wide


def _padded(levels: Floats, count: int) -> Floats:
    result = np.zeros((count, 2 * K + 1))
    result[: len(levels)] = levels
    return result


def _coarser(levels: Floats) -> Floats:
    """At each level all that the finer ones hold."""
    result = np.zeros_like(levels)
    for level in range(1, len(levels)):
        result[level] = _within(halved(levels[level - 1] + result[level - 1]))
    return result


def _coarser_atoms(masses: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    mass, offset = np.zeros_like(masses), np.zeros_like(offsets)
    for level in range(1, len(masses)):
        below = masses[level - 1] + mass[level - 1], offsets[level - 1] + offset[level - 1]
        pair = paired(*below)
        mass[level], offset[level] = _within(pair[0]), _within(pair[1])
    return mass, offset


def _aligned(a: Law, b: Law) -> tuple[Law, Law]:
    """The laws with one finest spacing and one number of levels."""
    if a is b:
        return a, b
    while a.base < b.base:
        a = a.raised()
    while b.base < a.base:
        b = b.raised()
    count = max(len(a.masses), len(b.masses))
    return a.with_levels(count), b.with_levels(count)


class _Transform:
    """The Fourier transforms of levels, with what bounds the errors of their products."""

    def __init__(self, levels: Floats, half: bool) -> None:
        self.half = half  # nothing below the centre
        self.levels = levels
        kept = levels[:, K:] if half else levels
        self.spectra = fft.rfft(kept, SIZE // 2 if half else SIZE, axis=1)
        self.sums = np.abs(kept).sum(axis=1)
        self.norms = np.sqrt(np.einsum("ij,ij->i", kept, kept))
        held = kept != 0.0
        self.held = held.any(axis=1)
        start = K if half else 0
        self.first = held.argmax(axis=1) + start
        self.last = 2 * K - held[:, ::-1].argmax(axis=1)


Term = tuple[float, _Transform, _Transform]


def _products(
    terms: list[Term], reached: list[Term] | None = None
) -> Iterator[tuple[Floats, float, int]]:
    """Weighted sums of convolutions, level by level.

    Values where the terms (or those of ``reached``) may be other than 0, a bound on their errors,
    and the place of the first of them, from 0 for k = -2 K.
    """
    half = terms[0][1].half
    start = 2 * K if half else 0
    total = np.zeros_like(terms[0][1].spectra)
    noise = np.zeros(len(total))
    for weight, x, y in terms:
        total += weight * x.spectra * y.spectra
        noise += weight * _NOISE * (x.sums * y.norms + x.norms * y.sums)
    found = fft.irfft(total, SIZE // 2 if half else SIZE, axis=1)
    for level, values in enumerate(found):
        spans = [
            (x.first[level] + y.first[level], x.last[level] + y.last[level] + 1)
            for _, x, y in reached or terms
            if x.held[level] and y.held[level]
        ]
        first = min((a for a, _ in spans), default=start)
        end = max((b for _, b in spans), default=start)
        yield values[first - start : end - start], float(noise[level]), int(first)


def _moments(terms: list[Term]) -> Floats:
    """Logarithms of the sums of products times exp(rate k), by levels and rates, rounded up."""
    total = np.zeros((len(terms[0][1].levels), len(_RATES)))
    for weight, x, y in terms:
        total += weight * (x.levels @ _EXPONENTIALS) * (y.levels @ _EXPONENTIALS)
    with np.errstate(divide="ignore"):
        result: Floats = np.log(total) + 1e-9
    return result


def _cut(values: Floats, first: int, noise: float, moments: Floats) -> None:
    """Cut at Chernoff's bound what is hardly more than round-off."""
    (unclear,) = np.nonzero(values * _CLEAR < noise)
    places = unclear + (first - 2.0 * K)
    bound = (moments[:, None] - np.multiply.outer(_RATES, places)).min(axis=0)
    values[unclear] = np.minimum(values[unclear], np.exp(bound) + 1e-300)
