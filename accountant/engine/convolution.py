"""Convolution powers by FFT, with bounds on their rounding.

The error bounds are proved in docs/lattice.md, section 5.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from accountant.losses.kernels import ULP

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

# Assumed normwise error of one FFT of length N: FFT_ULPS log2(N) ULP; tests measure it.
FFT_ULPS = 8.0


class Norms:
    """Bounds on the errors of the convolutions, in the tilted masses (section 5)."""

    def __init__(self, size: int) -> None:
        self._fft = FFT_ULPS * math.log2(size) * ULP
        self.upper = self.lower = self.change = self.inputs = 0.0
        self._least = [math.inf, math.inf]
        self._changes = self._kept = self._masses = self._shift = self._input = 0.0
        self._copies = 0

    def add(
        self,
        n: int,
        raised: Floats,
        kept: Floats,
        change: Floats,
        change_error: float,
        mass_error: float,
    ) -> None:
        """Take in ``n`` copies of one release, tilted."""
        f = self._fft
        upper, lower, moved = (math.sqrt(float(np.square(a).sum())) for a in (raised, kept, change))
        self.upper += 1.1 * n * (f + 4.0 * ULP) * upper
        self.lower += 1.1 * n * (f + 4.0 * ULP) * lower
        self._changes += n * moved
        self._kept += n * f * lower
        self._shift += n * float(np.abs(change).sum())
        self._input += n * change_error
        self._masses += n * mass_error
        self._copies += n
        self._least = [min(self._least[0], upper), min(self._least[1], lower)]

    def finish(self, stretch: float) -> None:
        """Add what depends on all releases together; ``stretch`` bounds the mass of P + v."""
        f = self._fft
        self.upper += 1.1 * f * self._least[0]
        self.lower += 1.1 * f * self._least[1]
        room = 1.4 * stretch
        self.change = room * (
            (2.0 * f + 8.0 * ULP * self._copies) * self._changes + self._shift * self._kept
        )
        # and the tilt factors' own rounding
        self._input += 16.0 * ULP * (1.0 + self._copies) * self._shift
        self.inputs = room * (self._input + self._shift * self._masses)

    @staticmethod
    def flat(tilt: float) -> float:
        """The norm of exp(-tilt j), j >= 0."""
        return 1.0 / math.sqrt(-math.expm1(-2.0 * tilt))

    @staticmethod
    def rising(tilt: float) -> float:
        """The norm of (j + 1) exp(-tilt j), j >= 0."""
        r = -math.expm1(-2.0 * tilt)
        return math.sqrt((2.0 - r) / r**3)


def fold(masses: Floats, first: int, size: int) -> Floats:
    """The array of masses at first, first + 1, ..., modulo ``size``."""
    start = first % size
    rows = -(-(start + len(masses)) // size)
    wide = np.zeros(rows * size)
    wide[start : start + len(masses)] = masses
    if rows == 1:
        return wide
    result: Floats = wide.reshape(rows, size).sum(axis=0)
    return result


def power(x: Complexes, n: int) -> Complexes:
    """x^n by squaring: n - 1 multiplications' worth of relative error."""
    result = x.copy()
    for bit in bin(n)[3:]:
        result *= result
        if bit == "1":
            result *= x
    return result


def powers(x: Complexes, v: Complexes, n: int) -> tuple[Complexes, Complexes]:
    """x^n and (x + v)^n - x^n, the latter without cancellation."""
    a, d = x.copy(), v.copy()
    both = x + v
    for bit in bin(n)[3:]:
        d *= 2.0 * a + d
        a *= a
        if bit == "1":
            d *= both
            d += a * v
            a *= x
    return a, d


def geometric(rate: float, first: int, count: int) -> Floats:
    """exp(rate k) for k = first, ..., to 4 ULP wherever it lies within e^-690 and e^690."""
    block = 1024
    rows = -(-count // block)
    coarse = np.exp(np.minimum(rate * (first + block * np.arange(rows)), 690.0))
    fine = np.exp(np.minimum(rate * np.arange(block), 690.0))
    with np.errstate(over="ignore", under="ignore"):
        result: Floats = np.minimum(np.multiply.outer(coarse, fine), 1e300).ravel()[:count]
    return result


def suffix(values: Floats) -> Floats:
    """Sums from each place to the end."""
    result: Floats = np.cumsum(values[::-1])[::-1]
    return result


def rising_sums(masses: Floats, decay: Floats, h: float) -> tuple[Floats, Floats]:
    """At m: the sums over k >= m of p(k) (exp(-m h) - exp(-k h)) and of p(k) exp(-k h)."""
    tails = suffix(masses)
    # sum over k >= m = (1 - e^-h) sum over j >= m of exp(-j h) P[> j]
    rising = np.append(tails[1:], 0.0) * decay
    return suffix(rising) * -math.expm1(-h), suffix(masses * decay)
