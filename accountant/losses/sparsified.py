"""The sparsified Gaussian: each record's coordinates are masked at random, then summed with noise.

Known by its Renyi curve: exact at whole orders, chords between them.  Theorems, proofs and error
terms: docs/sparsified.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from accountant.errors import UnsupportedEventError

ULP = 2.0**-52
# Beyond it the curve is that of the unmasked Gaussian, an upper bound at every order.
LARGEST_ORDER = 4096

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SparsifiedGaussian:
    """Sum of masked vectors plus N(0, s^2 I), one record more or less; vectors of norm at most 1.

    The pair is ``prod_j ((1-g) N(0, s^2) + g N(x_j, s^2))`` against ``N(0, s^2 I)`` for the worst
    x (docs/sparsified.md, sections 2 to 4; after Chen et al. 2024, arXiv 2405.02341).  Zeroing a
    record out is the same pair; for replacing one see :class:`ReplaceOne`.

    Parameters
    ----------
    noise_multiplier
        s, >= 0, over the Euclidean clipping norm and before any rescaling by 1/g.
    keep_probability
        g, within [0, 1]: of each coordinate, independently, by secret masks drawn afresh.
    largest_coordinate
        Bound on the coordinates over the Euclidean clipping norm, within (0, 1].
    dimension
        Number of coordinates, a whole number >= 1.

    Raises
    ------
    ValueError
        A parameter is outside its domain.
    """

    noise_multiplier: float
    keep_probability: float
    largest_coordinate: float
    dimension: int

    def __post_init__(self) -> None:
        noise = _number(self.noise_multiplier, "noise_multiplier", 0.0, math.inf)
        _number(self.keep_probability, "keep_probability", 0.0, 1.0)
        largest = _number(self.largest_coordinate, "largest_coordinate", 0.0, 1.0)
        if not (noise == 0.0 or 1e-100 <= noise <= 1e100 or math.isinf(noise)):
            raise ValueError(
                "noise_multiplier must be 0, infinity or within [1e-100, 1e100] so that its square "
                f"is a double, got {noise!r}"
            )
        if largest < 1e-50:
            raise ValueError(f"largest_coordinate must be within [1e-50, 1], got {largest!r}")
        d = self.dimension
        if isinstance(d, (bool, np.bool_)) or not isinstance(d, (int, np.integer)) or d < 1:
            raise ValueError(f"dimension must be a whole number >= 1, got {d!r}")

    def divergences(self, orders: npt.ArrayLike) -> Floats:
        """Upper bounds of the Renyi divergence in both directions, at real orders above 1.

        At whole orders up to ``LARGEST_ORDER`` the supremum over all records, but for rounding;
        between them chords of the convex (a - 1) RDP(a); everywhere at most the unmasked Gaussian.

        Parameters
        ----------
        orders
            Above 1; a number or an array of any shape.

        Returns
        -------
        Array of the shape of ``orders``; infinite where nothing is known.

        Raises
        ------
        ValueError
            An order is not a finite number above 1.
        """
        a = _checked_orders(orders)
        flat = a.ravel()
        plain = self._unmasked(flat)
        if self._trivial or not flat.size:
            return plain.reshape(a.shape)
        below = np.floor(np.minimum(flat, LARGEST_ORDER)).astype(np.int64)
        above = np.ceil(np.minimum(flat, LARGEST_ORDER)).astype(np.int64)
        moments = self._log_moments(np.union1d(below, above))
        share = flat - below
        with np.errstate(invalid="ignore", over="ignore"):
            # order 1 has log moment 0, so that below order 2 the chord is RDP(2) itself
            chord = np.where(
                below == 1,
                moments[2],
                ((1.0 - share) * moments[below] + share * moments[above])
                / np.maximum(flat - 1.0, 0.5),
            )
        chord = np.where(flat <= LARGEST_ORDER, chord * (1.0 + 8.0 * ULP), np.inf)
        chord = np.where(np.isnan(chord), np.inf, chord)
        return np.minimum(chord, plain).reshape(a.shape)

    def streamed(
        self, column_norms: Iterable[float], participations: int = 1
    ) -> SparsifiedGaussian:
        """The loss of a matrix factorization in which every record takes part at most once.

        Released is ``C X + Z``: row t of X is round t's masked sum, Z has i.i.d. N(0, s^2) entries.
        A record of round t meets the noise s / |C[:, t]|_2 (section 7).

        Parameters
        ----------
        column_norms
            Euclidean norms of the columns of C, or upper bounds of them.
        participations
            Most rounds in which one record takes part.

        Raises
        ------
        UnsupportedEventError
            ``participations`` is not 1: every round draws a fresh mask, and no bound of the pair
            is proved.
        ValueError
            A norm is not finite and >= 0, or there is none.
        """
        if participations != 1 or isinstance(participations, bool):
            raise UnsupportedEventError(
                "a sparsified matrix factorization has a proven loss only where each record takes "
                f"part at most once, got participations {participations!r}: fresh masks in every "
                "round leave a mixture without a known worst case; use keep_probability 1 with a "
                "Gaussian matrix factorization, or rounds without correlated noise"
            )
        norms = [_number(c, "a column norm", 0.0, math.inf) for c in column_norms]
        if not norms or not max(norms) < math.inf:
            raise ValueError(f"column_norms must be finite, at least one, got {norms!r}")
        top = max(norms)
        noise = math.inf if top == 0.0 else self.noise_multiplier / top * (1.0 - 2.0 * ULP)
        return replace(self, noise_multiplier=noise)

    @property
    def _trivial(self) -> bool:
        """Whether the unmasked Gaussian's curve is all there is to say."""
        return self.noise_multiplier in (0.0, math.inf) or self.keep_probability in (0.0, 1.0)

    def _unmasked(self, orders: Floats) -> Floats:
        """RDP with the masks known: a |x|^2 / (2 s^2)."""
        if self.keep_probability == 0.0 or math.isinf(self.noise_multiplier):
            return np.zeros_like(orders)
        if self.noise_multiplier == 0.0:
            return np.full_like(orders, np.inf)
        count, rest = self._worst_record()
        squared = min(1.0, count * self.largest_coordinate**2 + rest)
        per_order = squared / (2.0 * self.noise_multiplier * self.noise_multiplier)
        with np.errstate(over="ignore"):
            return orders * (per_order * (1.0 + 8.0 * ULP))

    def _worst_record(self) -> tuple[int, float]:
        """Coordinates at the bound, and the square (rounded up) of one more."""
        square = Fraction(float(self.largest_coordinate)) ** 2
        count = math.floor(1 / square)
        if count >= self.dimension:
            return int(self.dimension), 0.0
        return count, _rounded_up(1 - count * square)

    def _log_moments(self, orders: npt.NDArray[np.int64]) -> Floats:
        """Upper bounds of log E_Q[r^l] of the worst record, at index l for l in ``orders``."""
        count, rest = self._worst_record()
        variance = self.noise_multiplier * self.noise_multiplier
        up = 1.0 + 8.0 * ULP
        keep = math.log(self.keep_probability)
        drop = math.log1p(-self.keep_probability)
        table = _log_factorials()
        square = self.largest_coordinate * self.largest_coordinate / variance * up
        found = np.zeros(int(orders.max()) + 1)
        found[orders] = count * _log_masked_moments(orders, square, keep, drop, table)
        if rest > 0.0:
            last = rest / variance * up
            found[orders] += _log_masked_moments(orders, last, keep, drop, table)
        result: Floats = found * up
        return result


@dataclass(frozen=True)
class PoissonSampledSparsifiedGaussian(SparsifiedGaussian):
    """The sparsified Gaussian of a Poisson sample of the records (section 5).

    Parameters
    ----------
    sampling_probability
        q, within [0, 1]: of each record, independently, in secret.
    """

    sampling_probability: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _number(self.sampling_probability, "sampling_probability", 0.0, 1.0)

    def streamed(
        self, column_norms: Iterable[float], participations: int = 1
    ) -> SparsifiedGaussian:
        """Refused: under sampling a record may take part in any round, so in several.

        Raises
        ------
        UnsupportedEventError
            Always.
        """
        raise UnsupportedEventError(
            "a sparsified matrix factorization has a proven loss only where each record takes part "
            "at most once, and Poisson sampling does not promise that; leave the sampling out"
        )

    @property
    def _trivial(self) -> bool:
        noise = self.noise_multiplier
        return noise in (0.0, math.inf) or self.keep_probability * self.sampling_probability == 0.0

    def _unmasked(self, orders: Floats) -> Floats:
        if self.sampling_probability == 0.0:
            return np.zeros_like(orders)
        return super()._unmasked(orders)

    def _log_moments(self, orders: npt.NDArray[np.int64]) -> Floats:
        highest = int(orders.max())
        # a few sizes, so that a search over orders or over q meets the cache
        size = min(LARGEST_ORDER, 1 << max(6, (highest - 1).bit_length()))
        inner = _record_moments(self._record, size)[: highest + 1]
        q = self.sampling_probability
        if q == 1.0:
            return inner
        found = np.zeros(highest + 1)
        found[orders] = _log_sampled_moments(
            orders, inner, math.log(q), math.log1p(-q), _log_factorials()
        )
        return found * (1.0 + 8.0 * ULP)

    @property
    def _record(self) -> SparsifiedGaussian:
        return SparsifiedGaussian(
            self.noise_multiplier,
            self.keep_probability,
            self.largest_coordinate,
            self.dimension,
        )


@dataclass(frozen=True)
class ReplaceOne:
    """One record replaced by another: removed, then the other one added (section 6).

    ``(a-1) RDP(a) <= (k(2a) + k(2a-1))/2`` with k(a) = (a-1) times the RDP of ``loss`` for adding
    or removing (Hoelder; Mironov 2017, Proposition 11, p = q = 2).

    Parameters
    ----------
    loss
        The loss of adding or removing a record, in both directions.
    """

    loss: SparsifiedGaussian

    def divergences(self, orders: npt.ArrayLike) -> Floats:
        """Upper bounds of the Renyi divergence at real orders above 1; see ``SparsifiedGaussian``.

        Raises
        ------
        ValueError
            An order is not a finite number above 1.
        """
        a = _checked_orders(orders)
        # 2a - 1 is exact below; above, 2a might not be a double
        known = np.where(a < 2.0**50, a, 2.0)
        with np.errstate(over="ignore"):
            removed = (known - 0.5) / (known - 1.0) * self.loss.divergences(2.0 * known)
            added = self.loss.divergences(2.0 * known - 1.0)
            total = (removed + added) * (1.0 + 16.0 * ULP)
        return np.where(known == a, total, np.inf)


def _number(value: object, name: str, low: float, high: float) -> float:
    wanted = f"{name} must be a number within [{low:g}, {high:g}], got {value!r}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(wanted)
    if isinstance(value, np.complexfloating) or not low <= value <= high:
        raise ValueError(wanted)
    return float(value)


def _checked_orders(orders: npt.ArrayLike) -> Floats:
    a = np.asarray(orders)
    if a.dtype.kind not in "iuf" or not np.all((a > 1) & np.isfinite(a)):
        raise ValueError(f"orders must be finite numbers above 1, got {orders!r}")
    return a.astype(float)


def _rounded_up(value: Fraction) -> float:
    near = float(value)
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


@lru_cache(maxsize=1)
def _log_factorials() -> Floats:
    """Log of n!, each from the integer itself: 2 ULP."""
    table = np.zeros(LARGEST_ORDER + 1)
    factorial = 1
    for n in range(1, LARGEST_ORDER + 1):
        factorial *= n
        table[n] = math.log(factorial)
    return table


@lru_cache(maxsize=256)
def _record_moments(loss: SparsifiedGaussian, highest: int) -> Floats:
    orders = np.arange(highest + 1)
    if loss.keep_probability == 1.0:
        return orders * loss._unmasked(np.maximum(orders - 1.0, 0.0))
    return loss._log_moments(orders)


@njit(cache=True, nogil=True, error_model="numpy")
def _log_binomial_mean(
    order: int, values: Floats, log_p: float, log_rest: float, log_factorials: Floats
) -> float:
    """Upper bound of log E[exp(values[K])], K ~ Binomial(order, p); values >= 0, [0] and [1] 0.

    ``log1p(sum_k P[K = k] expm1(values[k]))``: a sum of nonnegative terms, each rounded up.
    """
    top = -np.inf
    terms = np.empty(order + 1)
    for k in range(2, order + 1):
        terms[k] = -np.inf
        y = values[k]
        if y <= 0.0:
            continue
        if np.isinf(y):
            return np.inf
        factorials = log_factorials[order] + log_factorials[k] + log_factorials[order - k]
        binomial = log_factorials[order] - log_factorials[k] - log_factorials[order - k]
        weight = k * log_p + (order - k) * log_rest
        gain = y + math.log(-math.expm1(-y))
        size = factorials - weight + y + abs(gain) + 4.0
        terms[k] = binomial + weight + gain + 4.0 * ULP * size
        top = max(top, terms[k])
    if top == -np.inf:
        return 0.0
    total = 0.0
    for k in range(2, order + 1):
        total += math.exp(terms[k] - top)
    # the sum and its exponentials: order + 4 ULP, each exponent's rounding included
    total *= 1.0 + (order + 8.0) * ULP
    if top > 0.0:
        return (top + math.log(math.exp(-top) + total)) * (1.0 + 8.0 * ULP) + 1e-300
    return math.log1p(math.exp(top) * total) * (1.0 + 8.0 * ULP) + 1e-300


@njit(cache=True, nogil=True, error_model="numpy")
def _log_masked_moments(
    orders: npt.NDArray[np.int64],
    square: float,
    log_keep: float,
    log_drop: float,
    log_factorials: Floats,
) -> Floats:
    """Log E_Q[r^a] of one coordinate with (x/s)^2 = ``square``, at whole orders a."""
    found = np.zeros(orders.size)
    highest = orders.max()
    values = np.empty(highest + 1)
    for k in range(highest + 1):
        values[k] = 0.5 * k * (k - 1.0) * square
    for i in range(orders.size):
        found[i] = _log_binomial_mean(orders[i], values, log_keep, log_drop, log_factorials)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _log_sampled_moments(
    orders: npt.NDArray[np.int64],
    moments: Floats,
    log_q: float,
    log_rest: float,
    log_factorials: Floats,
) -> Floats:
    """Log E_Q[(1 - q + q r)^a] from the log moments of r, at whole orders a."""
    found = np.zeros(orders.size)
    for i in range(orders.size):
        found[i] = _log_binomial_mean(orders[i], moments, log_q, log_rest, log_factorials)
    return found
