"""The sparsified Gaussian: each record's coordinates are masked at random, then summed with noise.

Known by its Renyi curve.  Theorems, proofs and error terms: docs/sparsified.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from accountant.errors import UnsupportedEventError
from accountant.losses.binomial_moments import (
    LARGEST_ORDER,
    ULP,
    Floats,
    Orders,
    masked_log_moments,
    mixed_log_moments,
)
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.renyi import RenyiCurve


@dataclass(frozen=True)
class SparsifiedGaussian(RenyiCurve):
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

        The supremum over all records, but for rounding.  With Poisson sampling only at whole
        orders up to ``LARGEST_ORDER``; between them chords of the convex (a - 1) RDP(a), and
        beyond them the unmasked Gaussian's, an upper bound everywhere.

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
        chord = np.fmin(chord, self._otherwise(flat))
        return np.fmin(chord, plain).reshape(a.shape)

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

    def _worst_record(self) -> tuple[float, float]:
        """Coordinates at the bound, and the square of one more; rounded up."""
        square = Fraction(float(self.largest_coordinate)) ** 2
        count = math.floor(1 / square)
        if count >= self.dimension:
            return _rounded_up(Fraction(int(self.dimension))), 0.0
        return _rounded_up(Fraction(count)), _rounded_up(1 - count * square)

    def _scaled_squares(self) -> list[tuple[float, float]]:
        """The worst record: counts of coordinates, and their squares over s^2, rounded up."""
        count, rest = self._worst_record()
        variance = self.noise_multiplier * self.noise_multiplier
        up = 1.0 + 8.0 * ULP
        bound = self.largest_coordinate * self.largest_coordinate / variance * up
        return [(count, bound), (1.0, rest / variance * up)] if rest > 0.0 else [(count, bound)]

    def _log_moments(self, orders: Orders) -> Floats:
        """Upper bounds of log E_Q[r^l] of the worst record, at index l for l in ``orders``."""
        found = np.zeros(int(orders.max()) + 1)
        for count, square in self._scaled_squares():
            found[orders] += count * masked_log_moments(orders, square, self.keep_probability)
        result: Floats = found * (1.0 + 8.0 * ULP)
        return result

    def _otherwise(self, orders: Floats) -> Floats:
        """Upper bounds of RDP, by quadrature, where the sum over l does not give it."""
        g = self.keep_probability
        summed = (orders == np.floor(orders)) & (orders <= LARGEST_ORDER)
        total = np.where(summed, np.inf, 0.0)
        for count, square in self._scaled_squares():
            shift = math.sqrt(square) * (1.0 + 2.0 * ULP)
            mixture = GaussianMixture(1.0, (0.0, shift), (1.0 - g, g))
            for i in np.flatnonzero(np.isfinite(total)):
                a = float(orders[i])
                k, _, _, error = mixture.cumulants(a, 40.0 + math.log(count))
                error += 2.0 * ULP * abs(k) + a * mixture.ratio_error
                total[i] += count * (max(k, 0.0) + error)
        return total / (orders - 1.0) * (1.0 + 16.0 * ULP)


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

    def _log_moments(self, orders: Orders) -> Floats:
        highest = int(orders.max())
        # a few sizes, so that a search over orders or over q meets the cache
        size = min(LARGEST_ORDER, 1 << max(6, (highest - 1).bit_length()))
        inner = _record_moments(self._record, size)[: highest + 1]
        q = self.sampling_probability
        if q == 1.0:
            return inner
        found = np.zeros(highest + 1)
        found[orders] = mixed_log_moments(orders, inner, q) * (1.0 + 8.0 * ULP)
        return found

    def _otherwise(self, orders: Floats) -> Floats:
        if self.sampling_probability == 1.0 and self.keep_probability < 1.0:
            return super()._otherwise(orders)
        return np.full_like(orders, np.inf)

    @property
    def _record(self) -> SparsifiedGaussian:
        return SparsifiedGaussian(
            self.noise_multiplier,
            self.keep_probability,
            self.largest_coordinate,
            self.dimension,
        )


@dataclass(frozen=True)
class ReplaceOne(RenyiCurve):
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


@lru_cache(maxsize=256)
def _record_moments(loss: SparsifiedGaussian, highest: int) -> Floats:
    orders = np.arange(highest + 1)
    if loss.keep_probability == 1.0:
        return orders * loss._unmasked(np.maximum(orders - 1.0, 0.0))
    return loss._log_moments(orders)
