"""Curves of Renyi differential privacy: what remains where only RDP is known.

A curve bounds, at every real order above 1, the Renyi divergence between the outputs on any two
neighbouring data sets, in both orders of the two.  Statements and proofs: docs/renyi.md.

``inner``, where a curve is made of another mechanism, is a ``PrivacyLoss``, a curve of this module,
or anything hashable with their ``renyi(alpha)`` and ``delta(epsilon)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from accountant.parameters import nonnegative
from accountant.renyi import delta_from_renyi, minimise

ULP = 2.0**-52
# Beyond it the products of orders and divergences are no doubles, and say nothing more.
LARGEST_ORDER = 1e12
Floats = npt.NDArray[np.float64]

# Orders at which a curve is asked for many deltas at once.
GRID = 1.0 + np.exp2(np.arange(-128.0, 193.0) / 16.0)


class Mechanism(Protocol):
    """What a curve needs to know of an inner mechanism."""

    def __hash__(self) -> int:
        """Equal mechanisms share what was computed of them."""

    def renyi(self, alpha: Any) -> Any:
        """RDP at orders above 1, rounded up."""

    def delta(self, epsilon: Any) -> Any:
        """Delta at epsilons >= 0, rounded up."""


class RenyiCurve:
    """Base of the curves: frozen, hashable, picklable dataclasses with ``divergences``."""

    def divergences(self, orders: Floats) -> Floats:
        """Upper bounds of RDP at an array of orders above 1; infinity where nothing is known."""
        raise NotImplementedError

    def renyi(self, alpha: Any) -> Any:
        """RDP at a number or an array of orders, as of a ``PrivacyLoss``.

        Raises
        ------
        ValueError
            ``alpha`` is not finite and above 1.
        """
        orders = np.asarray(alpha, dtype=float)
        if not np.all((orders > 1.0) & np.isfinite(orders)):
            raise ValueError(f"alpha must be finite and above 1, got {alpha!r}")
        found = self.divergences(np.atleast_1d(orders).ravel()).reshape(orders.shape)
        return found if found.ndim else float(found)

    def delta(self, epsilon: Any) -> Any:
        """Delta that follows from the curve at a number or an array of epsilons >= 0.

        The epsilons of an array share one grid of orders.
        """
        at = np.asarray(epsilon, dtype=float)
        if at.size <= 2:
            values = [delta_from_renyi(self.divergences, float(e)).value for e in at.ravel()]
        else:
            once = self.divergences(GRID)
            values = [
                delta_from_renyi(lambda _: once, float(e), orders=GRID).value for e in at.ravel()
            ]
        return np.array(values).reshape(at.shape) if at.ndim else values[0]


@dataclass(frozen=True)
class ZeroConcentrated(RenyiCurve):
    """(xi, rho)-zCDP: RDP(a) = xi + rho a (arXiv 1605.02065, Definition 1.1)."""

    rho: float
    xi: float = 0.0

    def __post_init__(self) -> None:
        nonnegative(self.rho, "rho")
        nonnegative(self.xi, "xi")

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        with np.errstate(over="ignore"):  # infinity is what it says
            return (self.xi + self.rho * orders) * (1.0 + 2.0 * ULP)


@dataclass(frozen=True)
class PureDp(RenyiCurve):
    """Any epsilon-DP mechanism: the divergence of randomized response, which dominates it.

    ``RDP(a) = epsilon - (ln(1 + e^-epsilon) - ln(1 + e^((1-2a) epsilon)))/(a - 1)`` (Mironov 2017,
    Proposition 5; Kairouz, Oh, Viswanath 2015), and at most ``min(epsilon, a epsilon^2/2)``.
    """

    epsilon: float

    def __post_init__(self) -> None:
        nonnegative(self.epsilon, "epsilon")

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        e = self.epsilon
        if math.isinf(e):
            return np.full(orders.shape, math.inf)
        gap = math.log1p(math.exp(-e)) - np.log1p(np.exp((1.0 - 2.0 * orders) * e))
        response = e - gap / (orders - 1.0)
        response += 8.0 * ULP * (e + 1.0 / (orders - 1.0))
        return np.minimum(np.minimum(response, e), 0.5 * orders * e * e * (1.0 + 4.0 * ULP))


@dataclass(frozen=True)
class Tabulated(RenyiCurve):
    """RDP known at some orders only, for neighbours in both orders of the two.

    Two functions of the order are convex, and lie below the chords between known orders: K(a) =
    (a - 1) RDP(a), and ``ln((e^K(a) - 1)/(a (a - 1)))``, which 1 - a has in common with a for the
    neighbours swapped.  Above the greatest order nothing is known.

    Parameters
    ----------
    orders
        Increasing, each above 1 and at most 1e12.
    known
        RDP at each order, >= 0; infinity allowed.

    Raises
    ------
    ValueError
        The lists are empty, of different lengths, or outside their domains.
    """

    orders: tuple[float, ...]
    known: tuple[float, ...]

    def __post_init__(self) -> None:
        a, d = np.asarray(self.orders, dtype=float), np.asarray(self.known, dtype=float)
        if a.ndim != 1 or a.shape != d.shape or a.size == 0:
            raise ValueError(
                f"orders and known must be of one length, at least 1; got {a.size} and {d.size}"
            )
        if not np.all((a > 1.0) & (a <= LARGEST_ORDER)) or not np.all(np.diff(a) > 0.0):
            raise ValueError(
                f"orders must be above 1, at most 1e12 and increasing, got {self.orders!r}"
            )
        if not np.all(d >= 0.0):
            raise ValueError(f"divergences must be >= 0, got {self.known!r}")
        object.__setattr__(self, "orders", tuple(a.tolist()))
        object.__setattr__(self, "known", tuple(d.tolist()))

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        a, d = np.array(self.orders), np.array(self.known)
        a, d = a[d < math.inf], d[d < math.inf]
        if not a.size:
            return np.full(orders.shape, math.inf)
        x = orders - 1.0
        cumulants = np.interp(x, *_hull([0.0, *(a - 1.0)], [0.0, *((a - 1.0) * d)]))
        d, points = d[d > 0.0], a[d > 0.0]
        if points.size:
            heights = log_expm1((points - 1.0) * d) - np.log(points * (points - 1.0))
            known = [*(1.0 - points[::-1]), *points], [*heights[::-1], *heights]
            height = np.interp(orders, *_hull(*known))
            size = np.abs(height) + np.abs(np.log(x)) + np.log(orders) + 64.0
            excess = height + np.log(x) + np.log(orders) + 16.0 * ULP * size
            below = np.where(orders <= points[-1], np.logaddexp(0.0, excess), math.inf)
            cumulants = np.minimum(cumulants, below)
        return np.where(orders <= a[-1], cumulants / x * (1.0 + 32.0 * ULP), math.inf)


def _hull(xs: Iterable[float], ys: Iterable[float]) -> tuple[list[float], list[float]]:
    """Corners of the lower convex hull of points from left to right."""
    corners: list[tuple[float, float]] = []
    for point in zip(xs, ys, strict=True):
        while len(corners) > 1 and _above(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    return [x for x, _ in corners], [y for _, y in corners]


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the chord from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def log_expm1(y: Floats) -> Floats:
    """Log(e^y - 1) for y >= 0, minus infinity at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.log(np.expm1(np.minimum(y, 1.0)))
        large = y + np.log1p(-np.exp(-y))
    return np.where(y < 1.0, small, large)


@dataclass(frozen=True)
class RepeatAndSelect(RenyiCurve):
    """The best of a random number K of runs (Papernot, Steinke 2022, arXiv 2110.03620).

    Parameters
    ----------
    inner
        One run.
    mean
        Expectation of K: at least 1, for a Poisson number above 0.
    shape
        0: logarithmic; 1: geometric; otherwise truncated negative binomial (Theorem 2), all with
        K >= 1; infinity: Poisson (Theorem 6, with the runs that never start counted).

    Raises
    ------
    ValueError
        ``mean`` or ``shape`` is outside its domain.
    """

    inner: Mechanism
    mean: float
    shape: float

    def __post_init__(self) -> None:
        nonnegative(self.mean, "mean")
        nonnegative(self.shape, "shape")
        poisson = math.isinf(self.shape)
        if math.isinf(self.mean) or self.mean <= 0.0 or (self.mean < 1.0 and not poisson):
            raise ValueError(
                "mean must be finite and at least 1, or above 0 for a Poisson number of runs "
                f"(shape=inf), got {self.mean!r}"
            )

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        found = self._theorem(orders)
        least, order = _least_of_selection(self)
        # RDP does not decrease in the order
        return np.where(orders <= order, np.minimum(found, least), found)

    def _theorem(self, orders: Floats) -> Floats:
        runs = np.asarray(self.inner.renyi(orders), dtype=float)
        x = orders - 1.0
        log_mean = math.log(self.mean)
        if math.isinf(self.shape):
            deltas = _delta_chords(self.inner, 1.0 / x)
            exponent = x * (runs + self.mean * deltas) + log_mean
            slack = 8.0 * ULP * (x * (runs + self.mean * deltas) + abs(log_mean) + self.mean)
            return (np.logaddexp(exponent, -self.mean) + slack) / x * (1.0 + 4.0 * ULP)
        return (runs + _selection_cost(self) + log_mean / x) * (1.0 + 8.0 * ULP)


@lru_cache(maxsize=256)
def _least_of_selection(curve: RepeatAndSelect) -> tuple[float, float]:
    least, order = minimise(curve._theorem)
    return least, order


def _delta_chords(inner: Mechanism, excess: Floats) -> Floats:
    """Delta at epsilons given by ``e^epsilon - 1``: delta is convex in e^epsilon, and decreases."""
    places, deltas = _known_deltas(inner)
    # at a smaller epsilon delta is larger
    found = np.interp(excess * (1.0 - 4.0 * ULP), places, deltas)
    return np.minimum(1.0, found * (1.0 + 8.0 * ULP))


@lru_cache(maxsize=64)
def _known_deltas(inner: Mechanism) -> tuple[Floats, Floats]:
    # a curve is asked for less than a lattice is
    octave = 8 if isinstance(inner, RenyiCurve) else 2
    places = np.exp2(np.arange(-10 * octave, 2 * octave + 1) / octave)
    places = np.concatenate([[0.0], places])
    # epsilons rounded down, so that the deltas hold at the places
    return places, np.asarray(inner.delta(np.log1p(places) * (1.0 - 4.0 * ULP)), dtype=float)


@lru_cache(maxsize=256)
def _selection_cost(curve: RepeatAndSelect) -> float:
    """``(1 + shape) min over b of (1 - 1/b) RDP(b) + ln(1/gamma)/b``, b = 1 included."""
    log_inverse = _log_inverse_gamma(curve.mean, curve.shape)
    if log_inverse == 0.0:
        return 0.0

    def cost(orders: Floats) -> Floats:
        runs = np.asarray(curve.inner.renyi(orders), dtype=float)
        found: Floats = ((orders - 1.0) * runs + log_inverse) / orders
        return found

    least = min(log_inverse, minimise(cost).value)
    return (1.0 + curve.shape) * least * (1.0 + 16.0 * ULP)


def _log_inverse_gamma(mean: float, shape: float) -> float:
    """Ln(1/gamma) for which the truncated negative binomial has this mean, rounded up.

    With t = ln(1/gamma) the mean is ``shape (e^t - 1)/(1 - e^(-shape t))`` (arXiv 2110.03620,
    Definition 1), ``(e^t - 1)/t`` at shape 0; it increases in t.
    """
    if mean == 1.0:
        return 0.0

    def log_mean(t: float) -> float:
        rest = t if shape * t < 1e-300 else -math.expm1(-shape * t) / shape
        return t + math.log(-math.expm1(-t) / rest)

    target = math.log(mean) + 8.0 * ULP * (1.0 + math.log(mean))
    low, high = 0.0, 1.0
    while log_mean(high) <= target:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if log_mean(middle) <= target else (low, middle)
    return high


__all__ = ["Mechanism", "PureDp", "RenyiCurve", "RepeatAndSelect", "Tabulated", "ZeroConcentrated"]
