"""Laws of sums of independent nonnegative variables, on grids that widen with the distance.

Level l holds masses at the 2 K + 1 points ``k h 2^l``, ``|k| <= K``, around the centre ``n c`` of a
sum of n terms.  Two laws are convolved level by level, by FFTs whose round-off is relative to each
level.  ``Spread`` laws are larger than the truth in the convex order, ``Merged`` ones smaller;
every statement used is proved in docs/random-allocation.md, and "section n" refers to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import fft

from accountant.convolution import FFT_ULPS
from accountant.kernels import ULP

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
        da, va = _Transform(a.masses), _Transform(_coarser(a.masses))
        if b is a:
            terms = [(1.0, da, da), (2.0, da, va)]
        else:
            db, vb = _Transform(b.masses), _Transform(_coarser(b.masses))
            terms = [(1.0, da, db), (1.0, da, vb), (1.0, va, db)]
        found, noise, reached = _products(terms)
        if a.centre > 0.0:
            _bound(found, noise, reached, terms)
        else:
            found = np.where(reached, np.maximum(found, 0.0) + noise[:, None] + 1e-300, 0.0)
        masses = _padded(found[:, K : 3 * K + 1], len(found) + 1)
        found[:, K : 3 * K + 1] = 0.0
        for level, outer in enumerate(found):
            masses[level + 1] += halved(outer)
        masses *= 1.0 + 16.0 * ULP
        lost_p = a.lost_p + b.lost_p + a.lost_q * b.mean_size() + b.lost_q * a.mean_size()
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
        da, fa = _Transform(a.masses), _Transform(a.offsets)
        va, ga = (_Transform(x) for x in _coarser_atoms(a.masses, a.offsets))
        if b is a:
            masses = [(1.0, da, da), (2.0, da, va)]
            offsets = [(2.0, fa, da), (2.0, fa, va), (2.0, da, ga)]
        else:
            db, fb = _Transform(b.masses), _Transform(b.offsets)
            vb, gb = (_Transform(x) for x in _coarser_atoms(b.masses, b.offsets))
            masses = [(1.0, da, db), (1.0, da, vb), (1.0, va, db)]
            offsets = [(1.0, fa, db), (1.0, fa, vb), (1.0, ga, db)]
            offsets += [(1.0, da, fb), (1.0, da, gb), (1.0, va, fb)]
        mass, noise, _ = _products(masses)
        offset, blur, _ = _products(offsets)
        noise, blur = noise[:, None] + 1e-280, blur[:, None] + 1e-280
        held = mass > _FAINT * noise
        sign = 1.0 if self.up else -1.0
        offset += sign * blur
        away = np.where(offset * sign > 0.0, -1.0, 1.0)
        place = offset / np.where(held, mass + away * noise, 1.0)
        mass = np.where(held, mass - noise, 0.0)
        offset = mass * place
        wide, wide_offsets = (_padded(x[:, K : 3 * K + 1], len(x) + 1) for x in (mass, offset))
        mass[:, K : 3 * K + 1] = 0.0
        offset[:, K : 3 * K + 1] = 0.0
        for level in range(len(mass)):
            outer = paired(mass[level], offset[level])
            wide[level + 1] += outer[0]
            wide_offsets[level + 1] += outer[1]
        return replace(a, count=a.count + b.count, masses=wide, offsets=wide_offsets)


Law = TypeVar("Law", Spread, Merged)


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

    def __init__(self, levels: Floats) -> None:
        self._levels = levels
        self.spectra = fft.rfft(levels, SIZE, axis=1)
        self.sums = np.abs(levels).sum(axis=1)
        self.norms = np.sqrt(np.square(levels).sum(axis=1))
        held = levels != 0.0
        self.held = held.any(axis=1)
        self.first = held.argmax(axis=1)
        self.last = 2 * K - held[:, ::-1].argmax(axis=1)

    def moments(self) -> Floats:
        """Sums of masses times exp(rate k), by levels and rates."""
        result: Floats = self._levels @ _EXPONENTIALS
        return result


def _bound(
    found: Floats,
    noise: Floats,
    reached: npt.NDArray[np.bool_],
    terms: list[tuple[float, _Transform, _Transform]],
) -> None:
    """Round what was found upwards: by its round-off, or to Chernoff's bound where that is less."""
    places = np.arange(-2.0 * K, 2.0 * K + 1.0)
    log_size = np.zeros((len(noise), len(_RATES)))
    for weight, x, y in terms:
        log_size += weight * x.moments() * y.moments()
    with np.errstate(divide="ignore"):
        log_size = np.log(log_size) + 1e-9
    for values, blur, inside, logs in zip(found, noise, reached, log_size, strict=True):
        unclear = inside & (values * _CLEAR < blur)
        values += blur
        values[~inside] = 0.0
        bound = (logs[:, None] - np.multiply.outer(_RATES, places[unclear])).min(axis=0)
        values[unclear] = np.minimum(np.maximum(values[unclear], blur), np.exp(bound)) + 1e-300


def _products(
    terms: list[tuple[float, _Transform, _Transform]],
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Weighted sums of convolutions: values, bounds on their errors, and their supports."""
    total = np.zeros_like(terms[0][1].spectra)
    noise = np.zeros(len(total))
    places = np.arange(4 * K + 1)
    reached = np.zeros((len(noise), 4 * K + 1), dtype=bool)
    for weight, x, y in terms:
        total += weight * x.spectra * y.spectra
        noise += weight * _NOISE * (x.sums * y.norms + x.norms * y.sums)
        first, last = (x.first + y.first)[:, None], (x.last + y.last)[:, None]
        reached |= (places >= first) & (places <= last) & (x.held & y.held)[:, None]
    found: Floats = fft.irfft(total, SIZE, axis=1)[:, : 4 * K + 1]
    return found, noise, reached
