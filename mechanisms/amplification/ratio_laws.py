"""Laws of likelihood ratios that are sums and products of lognormal variables, from above.

A law stands for a nonnegative variable R by masses on the geometric grid ``exp(mesh k)`` and at 0:
for every convex, nonnegative f that is needed, the integral of f over the masses is at least
E f(R), up to an event of stated size.  Products with lognormal variables of mean 1 stay on the
grid; sums are spread to the neighbouring points.  Everything is positive, so that rounding is
relative and can be added once.  Statements and proofs: docs/amplification.md, section 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import special

from accountant.losses.cells import normal_masses

__all__ = ["RatioLaw", "lognormal"]

Floats = npt.NDArray[np.float64]

ULP: Final = 2.0**-52
# What one operation may leave out, of the mass and of the mean.
_LOST: Final = 1e-24
# Quantile, in standard deviations, beyond which a normal variable has less mass than that.
_QUANTILE: Final = -float(special.ndtri(_LOST / 8.0))
# Covers every product of masses that underflows.
_LEAST: Final = 1e-290
# Points of a law: half a second for a sum.
MOST_POINTS: Final = 20_000


@dataclass(frozen=True, eq=False)
class RatioLaw:
    """A measure above the law of a variable R >= 0.

    Attributes
    ----------
    mesh
        Logarithmic spacing of the grid, a power of two.
    first
        The first point is ``exp(mesh * first)``.
    masses
        Shape (points,), of consecutive grid points.
    at_zero
        Mass at 0.
    mean
        E R, a whole number: how many variables of mean 1 were summed.
    lost_q, lost_p
        Probability of the event that is left out, and the mean of R on it; rounded up.
    place_error
        R itself is within this relative distance of the variable that is represented.
    """

    mesh: float
    first: int
    masses: Floats
    at_zero: float
    mean: int
    lost_q: float
    lost_p: float
    place_error: float

    @property
    def logs(self) -> Floats:
        """Logarithms of the grid points, exact."""
        return self.mesh * np.arange(self.first, self.first + len(self.masses), dtype=np.float64)

    def times(self, other: RatioLaw) -> RatioLaw:
        """The law of the product with an independent variable of mean 1."""
        masses = np.convolve(self.masses, other.masses)
        zero = self.at_zero * other._total + other.at_zero * self._total
        return replace(
            self,
            first=self.first + other.first,
            masses=self._raised(masses, min(len(self.masses), len(other.masses))),
            at_zero=zero * (1.0 + 1e-9),
            lost_q=self.lost_q + other.lost_q,
            lost_p=(self.lost_p + other.lost_p * self.mean) * (1.0 + 1e-9),
            place_error=self.place_error + other.place_error,
        )._trimmed()

    def plus(self, other: RatioLaw) -> RatioLaw:
        """The law of the sum with an independent variable; both on grids of one mesh."""
        x, y = self, other
        length = max(x.first + len(x.masses), y.first + len(y.masses)) - min(x.first, y.first)
        places, low, high = _shares(self.mesh, length)
        first = min(x.first, y.first)
        out = np.zeros(length + math.ceil(math.log(2.0) / self.mesh) + 2)
        _add_pairs(x.masses, x.first - first, y.masses, y.first - first, places, low, high, out)
        for one, rest in ((x, y), (y, x)):
            start = one.first - first
            out[start : start + len(one.masses)] += rest.at_zero * one.masses
        return RatioLaw(
            self.mesh,
            first,
            self._raised(out, 4 * length),
            x.at_zero * y.at_zero * (1.0 + 1e-9) + _LEAST,
            x.mean + y.mean,
            (x.lost_q + y.lost_q) * (1.0 + 1e-9),
            (x.lost_p + y.lost_p + x.lost_q * y.mean + y.lost_q * x.mean) * (1.0 + 1e-9),
            max(x.place_error, y.place_error) + 8.0 * ULP,
        )._trimmed()

    def repeated(self, count: int) -> RatioLaw:
        """The law of the sum of so many independent copies."""
        total: RatioLaw | None = None
        power = self
        while True:
            if count & 1:
                total = power if total is None else total.plus(power)
            count >>= 1
            if not count:
                assert total is not None
                return total
            power = power.plus(power)

    @property
    def _total(self) -> float:
        return (float(self.masses.sum()) + self.at_zero) * (1.0 + 1e-9)

    @staticmethod
    def _raised(masses: Floats, terms: int) -> Floats:
        """Masses, each a sum of so many products of positive numbers, rounded up."""
        raised: Floats = masses * (1.0 + (terms + 16.0) * ULP) + _LEAST
        return raised

    def _trimmed(self) -> RatioLaw:
        """Without ends that weigh nothing: the right one counts as lost, the left one is spread.

        A value below the first point that stays is spread to that point and to 0.
        """
        # Infinite where it overflows: such points stay.
        with np.errstate(over="ignore"):
            values = np.exp(self.logs)
            weighed = self.masses * values
        right = np.cumsum(weighed[::-1])[::-1]
        last = max(1, len(values) - int(np.searchsorted(right[::-1], _LOST * self.mean)))
        start = min(last - 1, int(np.searchsorted(np.cumsum(self.masses), _LOST)))
        masses = self.masses[start:last].copy()
        slack = 1.0 + 1e-9
        masses[0] += float(weighed[:start].sum()) / float(values[start]) * slack
        return replace(
            self,
            first=self.first + start,
            masses=masses,
            at_zero=self.at_zero + float(self.masses[:start].sum()) * slack,
            lost_q=self.lost_q + float(self.masses[last:].sum()) * slack,
            lost_p=self.lost_p + float(weighed[last:].sum()) * slack,
        )


def lognormal(variance: float, mesh: float) -> RatioLaw:
    """The law of ``exp(N(-variance/2, variance))``, the variance rounded up.

    A cell's mass goes to both its ends, so that its mean stays.

    Raises
    ------
    ValueError
        The grid would have too many points.
    """
    sigma = math.sqrt(variance) * (1.0 + 2.0 * ULP)
    if sigma == 0.0:
        return RatioLaw(mesh, 0, np.ones(1), 0.0, 1, 0.0, 0.0, 0.0)
    half = 0.5 * sigma * sigma
    low = math.floor((-half - sigma * _QUANTILE) / mesh)
    high = math.ceil((half + sigma * _QUANTILE) / mesh)
    if high - low > MOST_POINTS:
        raise ValueError(
            f"the noise is too small for so fine a grid: {high - low} points, at most "
            f"{MOST_POINTS:,} are supported; use the bound without amplification"
        )
    logs = mesh * np.arange(low, high + 1.0)
    z = (logs + half) / sigma
    mass, mass_error = normal_masses(z)
    moment, moment_error = normal_masses(z - sigma, sigma)
    off = 8.0 * ULP * (abs(low) * mesh + abs(high) * mesh + half + 1.0)
    scale = np.exp(-logs[:-1])
    mass = np.maximum(mass, 0.0)
    share = np.clip((moment * scale - mass) / math.expm1(mesh), 0.0, mass)
    error = moment_error * scale + mass_error + (2.0 * off + 32.0 * ULP) * mass
    error = np.minimum(error / math.expm1(mesh), mass + mass_error) + mass_error + _LEAST
    masses = np.zeros(len(logs))
    masses[:-1] += mass - share + error
    masses[1:] += share + error
    below = float(special.ndtr(z[0])) * (1.0 + 1e-9)
    above = float(special.ndtr(-z[-1])) * (1.0 + 1e-9)
    above_p = float(special.ndtr(sigma - z[-1])) * (1.0 + 1e-9)
    # what lies below the first point is spread to it and to 0
    masses[0] += below
    return RatioLaw(mesh, low, masses * (1.0 + 8.0 * ULP), below, 1, above, above_p, off)


def _shares(mesh: float, length: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Where ``1 + exp(-mesh d)`` lies on the grid: its cell, and the shares of the cell's ends."""
    small = np.exp(-mesh * np.arange(length, dtype=np.float64))
    cell = np.floor(np.log1p(small) / mesh)
    start = np.expm1(mesh * cell)
    high = np.clip((small - start) / (1.0 + start) / math.expm1(mesh), 0.0, 1.0)
    # relative where the cell is the first one, else that of a difference of numbers of at most 1
    error = np.where(cell == 0.0, 16.0 * ULP * high, 32.0 * ULP / math.expm1(mesh))
    return cell.astype(np.int64), 1.0 - high + error + ULP, high + error


@njit(cache=True, nogil=True)
def _add_pairs(
    x: Floats,
    x_first: int,
    y: Floats,
    y_first: int,
    places: npt.NDArray[np.int64],
    low: Floats,
    high: Floats,
    out: Floats,
) -> None:
    """Add to ``out`` the masses of all pairs, spread by the distance between their points."""
    for sign in range(2):
        a, b, a_first, b_first = (x, y, x_first, y_first) if sign == 0 else (y, x, y_first, x_first)
        # pairs whose greater point is a's, by the distance d; ties belong to the first turn
        for d in range(sign, a_first + a.size - b_first):
            start = max(a_first, b_first + d)
            end = min(a_first + a.size, b_first + d + b.size)
            if start >= end:
                continue
            left = a[start - a_first : end - a_first]
            right = b[start - d - b_first : end - d - b_first]
            near = out[start + places[d] : end + places[d]]
            for i in range(end - start):
                near[i] += left[i] * right[i] * low[d]
            far = out[start + places[d] + 1 : end + places[d] + 1]
            for i in range(end - start):
                far[i] += left[i] * right[i] * high[d]
