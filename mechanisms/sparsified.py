"""Means of clients' vectors of which each client sends a random few coordinates.

Clip, mask in secret, sum, add Gaussian noise, rescale (Chen et al. 2024, arXiv 2405.02341; the
masks: Chen et al. 2023, arXiv 2304.01541).  Model, proofs and regime: docs/sparsified.md.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from dp_accounting import DpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

from accountant import CalibrationError
from accountant.calibration import solve
from accountant.events import SparsifiedGaussianDpEvent
from accountant.losses.sparsified import PoissonSampledSparsifiedGaussian, SparsifiedGaussian

__all__ = ["Positions", "SparsifiedGaussianMechanism"]

Floats = npt.NDArray[np.float64]
Positions = Literal["coded", "seed"]

SEED_BITS = 128
# An arithmetic coder's expected excess over the entropy (Cover, Thomas 2006, section 13.3).
CODER_EXCESS = 2.0
# Orders are tried block by block: their best is unimodal.
_BLOCKS = (16, 64, 256, 1024, 4096)


@dataclass(frozen=True)
class SparsifiedGaussianMechanism:
    """Private means, once a round, of vectors whose coordinates are masked at random.

    Every round each client takes part with ``client_sampling_probability``, clips its vector to
    ``clip_norm`` and each coordinate to ``coordinate_clip``, and keeps each coordinate with
    ``keep_probability``.  The sum of what is kept, plus Gaussian noise, is divided by the expected
    number of contributions to a coordinate.  Clients, draws, masks and noise are secret; the
    noisy means are released, and a round's vectors may depend on the earlier ones.

    Parameters
    ----------
    clip_norm
        Largest Euclidean norm, > 0.
    coordinate_clip
        Largest magnitude of a coordinate, > 0.
    keep_probability
        Within (0, 1]; 1 sends every coordinate.
    dimension
        Number of coordinates.
    clients
        The public number of clients by which the sum is divided.
    rounds
        Number of releases.
    client_sampling_probability
        Within (0, 1].
    noise_multiplier
        Standard deviation of the noise on the sum over ``clip_norm``, > 0; None until calibrated.

    Raises
    ------
    ValueError
        A parameter is outside its domain.

    Examples
    --------
    >>> mechanism = SparsifiedGaussianMechanism(
    ...     clip_norm=1.0, coordinate_clip=0.01, keep_probability=0.1, dimension=10**6, clients=1000
    ... ).calibrated(epsilon=1.0, delta=1e-6)
    >>> round(mechanism.noise_multiplier, 3)
    0.453
    >>> round(mechanism.bits_per_client() / (32 * 10**6), 4)
    0.1147
    """

    clip_norm: float
    coordinate_clip: float
    keep_probability: float
    dimension: int
    clients: int
    rounds: int = 1
    client_sampling_probability: float = 1.0
    noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        for name in ("clip_norm", "coordinate_clip"):
            if not 0.0 < _number(getattr(self, name), name) < math.inf:
                raise ValueError(f"{name} must be finite and > 0, got {getattr(self, name)!r}")
        for name in ("keep_probability", "client_sampling_probability"):
            if not 0.0 < _number(getattr(self, name), name) <= 1.0:
                raise ValueError(f"{name} must be within (0, 1], got {getattr(self, name)!r}")
        for name in ("dimension", "clients", "rounds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        noise = self.noise_multiplier
        if noise is not None and not 0.0 < _number(noise, "noise_multiplier") < math.inf:
            raise ValueError(f"noise_multiplier must be finite and > 0, or None, got {noise!r}")

    # --- privacy ---------------------------------------------------------------------------------

    @property
    def largest_coordinate(self) -> float:
        """The coordinates' bound over the norm's, at most 1, rounded up."""
        return min(1.0, math.nextafter(self.coordinate_clip / self.clip_norm, math.inf))

    def event(self) -> DpEvent:
        """What all rounds release.

        Raises
        ------
        ValueError
            The noise is not known yet.
        """
        event: DpEvent = SparsifiedGaussianDpEvent(
            self._noise, self.keep_probability, self.largest_coordinate, self.dimension
        )
        return self.over_rounds(event)

    def over_rounds(self, event: DpEvent) -> DpEvent:
        """All rounds, each releasing ``event`` of the clients that it draws."""
        if self.client_sampling_probability < 1.0:
            event = PoissonSampledDpEvent(self.client_sampling_probability, event)
        return SelfComposedDpEvent(event, self.rounds) if self.rounds > 1 else event

    def streaming_event(self, column_norms: Iterable[float], participations: int = 1) -> DpEvent:
        """What a matrix factorization ``C X + Z`` of the rounds' sums releases, all of it.

        Every client takes part in one round; the noise is i.i.d. with standard deviation
        ``noise_multiplier * clip_norm`` (docs/sparsified.md, section 7).

        Parameters
        ----------
        column_norms
            Euclidean norms of the columns of the strategy C, one a round.
        participations
            Most rounds in which one client takes part: 1, anything else is refused.

        Raises
        ------
        UnsupportedEventError
            More than one participation, or clients are sampled.
        ValueError
            ``column_norms`` is not one finite number >= 0 a round.
        """
        norms = list(column_norms)
        if len(norms) != self.rounds:
            raise ValueError(f"column_norms must be {self.rounds}, one a round, got {len(norms)}")
        noise = self._loss.streamed(norms, participations).noise_multiplier
        return SparsifiedGaussianDpEvent(
            noise, self.keep_probability, self.largest_coordinate, self.dimension
        )

    def epsilon(self, delta: float) -> float:
        """Upper bound of epsilon over all rounds, adding, removing or zeroing out one client.

        The better conversion of Renyi DP: Canonne, Kamath, Steinke 2020, arXiv 2004.00010,
        Proposition 12.

        Raises
        ------
        ValueError
            ``delta`` is outside (0, 1), or the noise is not known yet.
        """
        if not 0.0 < _number(delta, "delta") < 1.0:
            raise ValueError(f"delta must be within (0, 1), got {delta!r}")
        loss = self._loss
        best, low = math.inf, 1.25
        for high in _BLOCKS:
            orders = np.geomspace(low, high, 128)
            # steps below 1 only count where orders are small
            orders = np.unique(
                np.where(orders < 16.0, (4.0 * orders).round() / 4.0, orders.round())
            )
            epsilons = _epsilons(self.rounds * loss.divergences(orders), orders, delta)
            at = int(np.argmin(epsilons))
            best, low = min(best, float(epsilons[at])), float(high)
            if at < len(orders) - 1:
                break
        return best

    def calibrated(self, epsilon: float, delta: float) -> "SparsifiedGaussianMechanism":
        """This mechanism with the least noise for which (epsilon, delta)-DP is proved here.

        Raises
        ------
        CalibrationError
            No noise is proved to reach it.
        ValueError
            ``epsilon`` is not finite and > 0, or ``delta`` outside (0, 1).
        """
        if not 0.0 < _number(epsilon, "epsilon") < math.inf:
            raise ValueError(f"epsilon must be finite and > 0, got {epsilon!r}")

        if not 0.0 < _number(delta, "delta") < 1.0:
            raise ValueError(f"delta must be within (0, 1), got {delta!r}")

        def excess(noise: float) -> float:
            return replace(self, noise_multiplier=noise).epsilon(delta) - epsilon

        orders = np.arange(2.0, _BLOCKS[-1] + 1.0)
        floor = float(_epsilons(np.zeros(orders.shape), orders, delta).min())
        low = high = self.keep_probability * self.client_sampling_probability
        while floor >= epsilon or excess(high) > 0.0:
            low, high = high, 4.0 * high
            if floor >= epsilon or high > 1e12:
                raise CalibrationError(
                    f"no noise is proved to reach epsilon {epsilon:g} at delta {delta:g}: at the "
                    f"orders used, up to {_BLOCKS[-1]}, the conversion from Renyi DP alone costs "
                    f"{floor:.3g}; ask for more of either"
                )
        while excess(low) <= 0.0 and low > 1e-12:
            low, high = low / 4.0, low
        return replace(self, noise_multiplier=solve(excess, low, high))

    # --- the mechanism ---------------------------------------------------------------------------

    def sample(self, vectors: npt.ArrayLike, rng: np.random.Generator) -> Floats:
        """One round: an unbiased estimate of the mean of the clipped vectors.

        A simulation in floating point, not hardened against attacks on the sampling of its noise.

        Parameters
        ----------
        vectors
            One row for each client, ``dimension`` columns; finite.
        rng
            Draws participation, masks and noise.

        Returns
        -------
        ``dimension`` numbers: the noisy sum over ``clients`` * probability of a contribution.

        Raises
        ------
        ValueError
            ``vectors`` has another shape or is not finite, or the noise is not known yet.
        """
        x = np.asarray(vectors, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.dimension or not np.all(np.isfinite(x)):
            raise ValueError(
                f"vectors must be finite, one row of {self.dimension} numbers for each client, got "
                f"shape {x.shape}"
            )
        total = rng.normal(scale=self._noise * self.clip_norm, size=self.dimension)
        for row in x[rng.random(len(x)) < self.client_sampling_probability]:
            total += self.clip(row) * (rng.random(self.dimension) < self.keep_probability)
        share: Floats = total / (self.clients * self._contribution)
        return share

    def clip(self, vector: Floats) -> Floats:
        """Scale to ``clip_norm``, then clip the coordinates: both bounds hold, rounding too."""
        norm = float(np.linalg.norm(vector)) * (1.0 + (len(vector) + 8.0) * 2.0**-53)
        scaled = vector * min(1.0, self.clip_norm / norm) if norm > 0.0 else vector
        clipped: Floats = np.clip(scaled, -self.coordinate_clip, self.coordinate_clip)
        return clipped

    # --- what it costs and gives -----------------------------------------------------------------

    def mean_squared_error(self, mean_square_norm: float | None = None) -> float:
        """Expected squared Euclidean distance from the mean of the clipped vectors, in one round.

        ``(1/(q g) - 1) m / n + d s^2 / (n q g)^2`` with s the noise's standard deviation and m the
        mean squared norm of the n clipped vectors.

        Parameters
        ----------
        mean_square_norm
            m; None for the largest that clipping lets through.

        Raises
        ------
        ValueError
            ``mean_square_norm`` is not within what clipping lets through, or the noise is unknown.
        """
        largest = min(self.clip_norm**2, self.dimension * self.coordinate_clip**2)
        square = largest if mean_square_norm is None else _number(mean_square_norm, "the mean")
        if not 0.0 <= square <= largest * (1.0 + 1e-9):
            raise ValueError(f"mean_square_norm must be within [0, {largest:g}], got {square!r}")
        sampling = (1.0 / self._contribution - 1.0) * square / self.clients
        noise = self._noise * self.clip_norm / (self.clients * self._contribution)
        return sampling + self.dimension * noise * noise

    def bits_per_client(self, value_bits: float = 32.0, positions: Positions = "coded") -> float:
        """Expected bits that one participating client sends in one round.

        Parameters
        ----------
        value_bits
            Bits of one value.
        positions
            "coded": the mask by an arithmetic coder, dimension * H(keep_probability) + 2 bits;
            "seed": the 128-bit seed of the generator that draws the mask, known to client and
            aggregator alone: the masks are then secret only against bounded computation.

        Raises
        ------
        ValueError
            ``value_bits`` is not finite and > 0, or ``positions`` is unknown.
        """
        if not 0.0 < _number(value_bits, "value_bits") < math.inf:
            raise ValueError(f"value_bits must be finite and > 0, got {value_bits!r}")
        if positions not in ("coded", "seed"):
            raise ValueError(f'positions must be "coded" or "seed", got {positions!r}')
        g = self.keep_probability
        values = self.dimension * g * value_bits
        if g == 1.0:
            return values
        if positions == "seed":
            return values + SEED_BITS
        entropy = -(g * math.log2(g) + (1.0 - g) * math.log1p(-g) / math.log(2.0))
        return values + self.dimension * entropy + CODER_EXCESS

    # --- parts -----------------------------------------------------------------------------------

    @property
    def _noise(self) -> float:
        if self.noise_multiplier is None:
            raise ValueError(
                "the noise is not known yet: give noise_multiplier, or use calibrated(epsilon, "
                "delta)"
            )
        return self.noise_multiplier

    @property
    def _contribution(self) -> float:
        """Probability that a client contributes to a coordinate."""
        return self.client_sampling_probability * self.keep_probability

    @property
    def _loss(self) -> SparsifiedGaussian:
        record = (self._noise, self.keep_probability, self.largest_coordinate, self.dimension)
        if self.client_sampling_probability == 1.0:
            return SparsifiedGaussian(*record)
        return PoissonSampledSparsifiedGaussian(*record, self.client_sampling_probability)


def _epsilons(divergences: Floats, orders: Floats, delta: float) -> Floats:
    """Epsilon at ``delta`` from the Renyi divergence at each order, rounded up."""
    gain = np.log1p(-1.0 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1.0)
    # divergences are rounded up; what is added here has a few ULP of its size
    result: Floats = np.maximum(0.0, (divergences + gain) + 1e-14 * (divergences + np.abs(gain)))
    return result


def _number(value: Any, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if isinstance(value, np.complexfloating) or math.isnan(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)
