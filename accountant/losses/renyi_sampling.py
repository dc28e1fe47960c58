"""Renyi differential privacy amplified by sampling, for any inner mechanism.

``P = (1 - q) M(S) + q M(S + x)`` against ``Q = M(S)``, and its relatives, need nothing of M but its
RDP.  Throughout K(a) = (a - 1) RDP(a), and ``e^K - 1`` is called the excess.  The sums are over
whole orders; between them the chords of docs/renyi.md, section 1, hold.  Statements and proofs are
there, in sections 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import gammaln

from accountant.losses.renyi import (
    ULP,
    Floats,
    Mechanism,
    RenyiCurve,
    ZeroConcentrated,
    log_expm1,
)
from accountant.parameters import nonnegative, probability

# Whole orders at which the sums are evaluated; above, joint convexity alone answers.
LARGEST_SUM = 4096
# Orders of the Gaussian's central moments, and digits that they may need.
LARGEST_MOMENT = 256
MOST_DIGITS = 6000


@dataclass(frozen=True)
class PoissonSampled(RenyiCurve):
    """A mechanism that runs on a Poisson sample; add/remove, and zero-out.

    "Remove" is the binomial sum of Zhu and Wang (ICML 2019, Theorem 5) without its factor 3, which
    only "add" needed; "add" is bounded on its own (docs/renyi.md, section 4).

    Parameters
    ----------
    inner
        What runs on the sample, under the same relation.  Under zero-out, a record that is left
        out of the sample must be as good as zeroed.
    probability
        With which a record is in the sample, within [0, 1].
    """

    inner: Mechanism
    probability: float

    def __post_init__(self) -> None:
        probability(self.probability, "probability")

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        q = self.probability
        if q == 0.0:
            return np.zeros(orders.shape)
        whole = _renyi(self.inner, orders)
        if q == 1.0:
            return whole
        at_whole = _interpolated(orders, self._log_excess)
        x = orders - 1.0
        return _divided(np.minimum(at_whole, _convex(x * whole, q)), x)

    def _log_excess(self, orders: npt.NDArray[np.int64]) -> Floats:
        """Log of ``e^K - 1`` at whole orders above 1, for the worse of both directions."""
        q = self.probability
        largest = _block(int(orders[-1]))
        excess = log_expm1(np.arange(1.0, largest) * _whole_orders(self.inner, largest))
        terms = np.concatenate([[-math.inf, -math.inf], excess])
        remove = _log_sums(orders, q, math.log1p(-q), terms)
        return np.maximum(remove, _log_added(orders.astype(float), self.inner, q, excess[0]))


@dataclass(frozen=True)
class PoissonSampledReplaceOne(RenyiCurve):
    """A mechanism that runs on a Poisson sample; replace-one, by joint convexity alone.

    ``K(a) <= ln(1 - q + q e^(K_inner(a)))``: little is amplified at large orders.

    Parameters
    ----------
    inner
        What runs on the sample, under replace-one.
    probability
        With which a record is in the sample, within [0, 1].
    """

    inner: Mechanism
    probability: float

    def __post_init__(self) -> None:
        probability(self.probability, "probability")

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        if self.probability == 0.0:
            return np.zeros(orders.shape)
        x = orders - 1.0
        return _divided(_convex(x * _renyi(self.inner, orders), self.probability), x)


@dataclass(frozen=True)
class SampledWithoutReplacement(RenyiCurve):
    """A mechanism that runs on a uniform subset of fixed size; replace-one.

    Wang, Balle and Kasiviswanathan 2019 (arXiv 1808.00087), Theorem 9.

    Parameters
    ----------
    inner
        What runs on the subset, under replace-one.
    probability
        Size of the subset over that of the data set, within [0, 1].
    largest_loss
        Pure-DP epsilon of the inner mechanism, where it has one.
    """

    inner: Mechanism
    probability: float
    largest_loss: float = math.inf

    def __post_init__(self) -> None:
        probability(self.probability, "probability")
        nonnegative(self.largest_loss, "largest_loss")

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        q = self.probability
        if q == 0.0:
            return np.zeros(orders.shape)
        whole = _renyi(self.inner, orders)
        if q == 1.0:
            return whole
        x = orders - 1.0
        at_whole = _interpolated(orders, self._log_excess)
        return _divided(np.minimum(at_whole, _convex(x * whole, q)), x)

    def _log_excess(self, orders: npt.NDArray[np.int64]) -> Floats:
        return _log_sums(orders, self.probability, 0.0, self._log_terms(_block(int(orders[-1]))))

    def _log_terms(self, largest: int) -> Floats:
        """Log of the bound of ``E_r |p - q|^j / r^j`` for j = 0, 1, ..., ``largest``."""
        moments = np.arange(1.0, largest) * _whole_orders(self.inner, largest)
        orders = np.arange(2.0, largest + 1.0)
        log_ratio = float(log_expm1(np.array([self.largest_loss]))[0])
        terms = moments + np.minimum(math.log(2.0), orders * log_ratio)
        terms[0] = min(terms[0], math.log(4.0) + float(log_expm1(moments[:1])[0]))
        return np.concatenate([[-math.inf, -math.inf], terms])


@dataclass(frozen=True)
class GaussianSampledWithoutReplacement(RenyiCurve):
    """The Gaussian mechanism on a uniform subset of fixed size; replace-one.

    arXiv 1808.00087, Theorem 27: the central moments of the Gaussian's likelihood ratio are exact.

    Parameters
    ----------
    noise_multiplier
        Noise over the largest distance between the means of two neighbouring data sets; under
        replace-one this is twice the clipping norm.
    probability
        Size of the subset over that of the data set, within [0, 1].
    """

    noise_multiplier: float
    probability: float

    def __post_init__(self) -> None:
        probability(self.probability, "probability")
        nonnegative(self.noise_multiplier, "noise_multiplier")
        if not 1e-100 <= self.noise_multiplier <= 1e100:
            raise ValueError(
                f"noise_multiplier must be within [1e-100, 1e100], got {self.noise_multiplier!r}"
            )

    @property
    def _general(self) -> SampledWithoutReplacement:
        rho = 0.5 / (self.noise_multiplier * self.noise_multiplier) * (1.0 + 2.0 * ULP)
        return SampledWithoutReplacement(ZeroConcentrated(rho), self.probability)

    def divergences(self, orders: Floats) -> Floats:
        """See :class:`RenyiCurve`."""
        general = self._general
        if self.probability in (0.0, 1.0):
            return general.divergences(orders)
        at_whole = _interpolated(orders, self._log_excess)
        x = orders - 1.0
        return _divided(np.minimum(at_whole, x * general.divergences(orders)), x)

    def _log_excess(self, orders: npt.NDArray[np.int64]) -> Floats:
        largest = _block(int(orders[-1]))
        terms = self._general._log_terms(largest)
        central = np.array(log_central_moments(self.noise_multiplier))
        known = min(largest, LARGEST_MOMENT)
        j = np.arange(3, known + 1)
        # E|X|^j <= sqrt(E X^(j-1) E X^(j+1)) at odd j
        bound = math.log(4.0) + 0.5 * (central[j // 2] + central[(j + 1) // 2])
        terms[3 : known + 1] = np.minimum(terms[3 : known + 1], bound)
        return _log_sums(orders, self.probability, 0.0, terms)


# --- the pieces ----------------------------------------------------------------------------------


def _renyi(inner: Mechanism, orders: Floats) -> Floats:
    return np.asarray(inner.renyi(orders), dtype=float)


def _divided(cumulants: Floats, shifts: Floats) -> Floats:
    return np.maximum(cumulants, 0.0) / shifts * (1.0 + 8.0 * ULP)


def _convex(cumulants: Floats, q: float) -> Floats:
    """Joint convexity: ``ln(1 - q + q e^K)``, rounded up."""
    log_x = math.log(q) + log_expm1(cumulants)
    return np.logaddexp(0.0, log_x + 8.0 * ULP * (1.0 + abs(math.log(q)) + cumulants))


def _slack(orders: Floats, q: float) -> Floats:
    """Rounding of the logarithm of a binomial weight (docs/renyi.md, section 6)."""
    log_1mq = abs(math.log1p(-q)) if q < 1.0 else 0.0
    size: Floats = 2.0 * gammaln(orders + 2.0) + orders * (abs(math.log(q)) + log_1mq) + 64.0
    return 16.0 * ULP * np.abs(size)


def _log_added(orders: Floats, inner: Mechanism, q: float, log_chi: float) -> Floats:
    """Log excess of "add", ``E_mu0 (1 - q + q r)^(1-a)``: the least of four bounds."""
    x = orders - 1.0
    log_1mq = math.log1p(-q)
    bound = log_expm1(-x * log_1mq * (1.0 + 4.0 * ULP))
    log_pairs = np.log(0.5 * orders * x) + 2.0 * math.log(q) + log_chi + _slack(orders, q)
    bound = np.minimum(bound, log_pairs - (orders + 1.0) * log_1mq)
    balanced = q * (orders + 1.0) <= 3.0 * (1.0 - 4.0 * ULP)
    bound = np.where(balanced, np.minimum(bound, log_pairs), bound)
    rest = ~balanced
    if np.any(rest):
        # the order rounded up: RDP does not decrease
        geometric = (1.0 + q * x[rest]) * (1.0 + 2.0 * ULP)
        cumulant = (geometric - 1.0) * _renyi(inner, geometric) * (1.0 + 4.0 * ULP)
        bound[rest] = np.minimum(bound[rest], log_expm1(cumulant))
    return bound


def _log_sums(
    orders: npt.NDArray[np.int64], q: float, log_rest: float, log_terms: Floats
) -> Floats:
    log_factorials = gammaln(np.arange(len(log_terms)) + 1.0)
    found = binomial_sums(orders, math.log(q), log_rest, log_terms, log_factorials)
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(found), np.abs(found), 0.0)
    return found + _slack(orders.astype(float), q) + 64.0 * ULP * size


def _block(largest: int) -> int:
    """The next power of two, so that an inner curve is asked for few lists of orders."""
    return int(2 ** (largest - 1).bit_length())


def _interpolated(orders: Floats, log_excess: Callable[[npt.NDArray[np.int64]], Floats]) -> Floats:
    """K at real orders, between whole orders by the better of two chords."""
    low = np.floor(orders)
    inside = low + 1.0 <= LARGEST_SUM
    cumulants = np.full(orders.shape, math.inf)
    if not np.any(inside):
        return cumulants
    a, low = orders[inside], low[inside]
    part = a - low
    high = np.where(part > 0.0, low + 1.0, low)
    whole = np.unique(np.concatenate([low, high, [2.0]]))
    whole = whole[whole >= 2.0].astype(np.int64)
    excess = log_excess(whole)
    heights = excess - np.log(whole * (whole - 1.0))
    # below order 2, the height at 2 is that at -1 too
    left = np.searchsorted(whole, np.maximum(low, 2.0))
    right = np.searchsorted(whole, high)
    with np.errstate(invalid="ignore"):
        height = np.where(
            part > 0.0, (1.0 - part) * heights[left] + part * heights[right], heights[left]
        )
        size = np.abs(heights[left]) + np.abs(heights[right]) + 64.0
        slack = np.where(np.isfinite(size), 16.0 * ULP * size, 0.0)
        by_height = np.logaddexp(0.0, height + np.log(a) + np.log(a - 1.0) + slack)
        whole_cumulants = np.logaddexp(0.0, excess)
        below = np.where(low < 2.0, 0.0, whole_cumulants[left])
        chord = np.where(part > 0.0, (1.0 - part) * below + part * whole_cumulants[right], below)
    better = np.fmin(by_height, chord)
    cumulants[inside] = np.where(np.isnan(better), math.inf, better)
    return cumulants


@lru_cache(maxsize=64)
def _whole_orders(inner: Mechanism, largest: int) -> Floats:
    """RDP of the inner mechanism at the orders 2, ..., ``largest``."""
    found = _renyi(inner, np.arange(2.0, largest + 1.0))
    found.flags.writeable = False
    return found


@njit(cache=True, nogil=True)
def binomial_sums(
    orders: npt.NDArray[np.int64],
    log_q: float,
    log_rest: float,
    log_terms: Floats,
    log_factorials: Floats,
) -> Floats:
    """Log of ``sum_(l=2..n) C(n, l) q^l rest^(n-l) terms_l`` for each order n."""
    result = np.empty(len(orders))
    for i in range(len(orders)):
        n = orders[i]
        top = -np.inf
        for pass_ in range(2):
            total = 0.0
            for k in range(2, n + 1):
                value = (
                    log_factorials[n]
                    - log_factorials[k]
                    - log_factorials[n - k]
                    + k * log_q
                    + (n - k) * log_rest
                    + log_terms[k]
                )
                if pass_ == 0:
                    top = max(top, value)
                else:
                    total += math.exp(value - top)
            if pass_ == 0 and (top == -np.inf or top == np.inf):
                break
        result[i] = top + math.log(total) if -np.inf < top < np.inf else top
    return result


@lru_cache(maxsize=64)
def log_central_moments(noise_multiplier: float) -> tuple[float, ...]:
    """Log of ``E_Q (dP/dQ - 1)^(2k)``, N(1, s^2) against N(0, s^2), for k = 0, ..., rounded up.

    The 2k-th forward difference at 0 of ``i -> exp(i (i-1)/(2 s^2))``, with as many digits as the
    differences cancel; infinity for all k > 0 where that would be too many.
    """
    count = LARGEST_MOMENT + 1
    theta = noise_multiplier**-2
    i = np.arange(2.0, count + 1.0)
    # the l-th is at least max((e^theta - 1)^(l/2), (||r||_l - 1)^l), and no term exceeds 2^l M(l)
    log_low = np.maximum(
        0.5 * i * float(log_expm1(np.array([theta]))[0]),
        i * log_expm1(0.5 * theta * (i - 1.0)),
    )
    cancelled = np.max(0.5 * i * (i - 1.0) * theta + i * math.log(2.0) - log_low)
    digits = 40 + math.ceil(cancelled / math.log(10.0))
    moments = LARGEST_MOMENT // 2 + 1
    if digits > MOST_DIGITS:
        return (0.0,) + (math.inf,) * moments
    with localcontext(Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        step = 1 / (2 * Decimal(noise_multiplier) ** 2)
        row = [(k * (k - 1) * step).exp() for k in range(count + 1)]
        heads = []
        for _ in range(count + 1):
            heads.append(row[0])
            row = [b - a for a, b in pairwise(row)]
    with localcontext(Context(prec=30, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        found = [float(head.ln()) for head in heads[::2]]
    return tuple(f + 4.0 * ULP * (1.0 + abs(f)) for f in found)


__all__ = [
    "GaussianSampledWithoutReplacement",
    "PoissonSampled",
    "PoissonSampledReplaceOne",
    "SampledWithoutReplacement",
]
