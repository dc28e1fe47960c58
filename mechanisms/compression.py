"""What compression by masked coordinates costs, against sending every coordinate."""

import math
from dataclasses import dataclass, replace

from dp_accounting import DpEvent, GaussianDpEvent

from accountant import calibrate
from accountant.calibration import solve
from mechanisms.sparsified import Positions, SparsifiedGaussianMechanism

__all__ = ["Comparison", "compare", "sparsest"]


@dataclass(frozen=True)
class Comparison:
    """A sparsified Gaussian and the uncompressed one, at one epsilon and delta.

    Parameters
    ----------
    compressed, uncompressed
        Both mechanisms, with their noise.
    error_ratio
        Mean squared error of the first over that of the second, for the worst of the vectors that
        the first leaves unclipped.
    bits_per_client, uncompressed_bits
        Expected bits that one participating client sends in one round.
    """

    compressed: SparsifiedGaussianMechanism
    uncompressed: SparsifiedGaussianMechanism
    error_ratio: float
    bits_per_client: float
    uncompressed_bits: float

    @property
    def compression(self) -> float:
        """How many times fewer bits a client sends."""
        return self.uncompressed_bits / self.bits_per_client


def compare(
    mechanism: SparsifiedGaussianMechanism,
    epsilon: float,
    delta: float,
    *,
    positions: Positions = "coded",
    value_bits: float = 32.0,
    same_accounting: bool = False,
) -> Comparison:
    """Set a mechanism against the uncompressed Gaussian at equal epsilon and delta.

    Parameters
    ----------
    mechanism
        Its noise is not used, but calibrated.
    epsilon, delta
        What both are calibrated to.
    positions, value_bits
        See :meth:`SparsifiedGaussianMechanism.bits_per_client`.
    same_accounting
        False: the uncompressed Gaussian's noise is that of exact accounting; True: of Renyi DP,
        as the mechanism's, so that the ratio shows what the masks cost and not what the method
        does.

    Raises
    ------
    CalibrationError, ValueError
        See :meth:`SparsifiedGaussianMechanism.calibrated`.
    """
    compressed = mechanism.calibrated(epsilon, delta)
    plain = replace(mechanism, keep_probability=1.0, coordinate_clip=mechanism.clip_norm)
    if same_accounting:
        plain = plain.calibrated(epsilon, delta)
    else:

        def gaussian(noise: float) -> DpEvent:
            return mechanism.over_rounds(GaussianDpEvent(noise))

        plain = replace(plain, noise_multiplier=calibrate(gaussian, epsilon=epsilon, delta=delta))
    # the same vectors in both
    square = min(mechanism.clip_norm**2, mechanism.dimension * mechanism.coordinate_clip**2)
    return Comparison(
        compressed,
        plain,
        compressed.mean_squared_error(square) / plain.mean_squared_error(square),
        compressed.bits_per_client(value_bits, positions),
        plain.bits_per_client(value_bits, positions),
    )


def sparsest(
    mechanism: SparsifiedGaussianMechanism,
    epsilon: float,
    delta: float,
    *,
    within: float = 0.01,
    positions: Positions = "coded",
    value_bits: float = 32.0,
) -> Comparison:
    """The least keep_probability whose error is within a factor of the uncompressed one's.

    Both under the same accounting.

    Parameters
    ----------
    mechanism
        Its noise and its keep_probability are not used.
    epsilon, delta, positions, value_bits
        See :func:`compare`.
    within
        The error ratio is at most 1 + within; > 0.

    Raises
    ------
    CalibrationError, ValueError
        See :meth:`SparsifiedGaussianMechanism.calibrated`.
    """
    if isinstance(within, (bool, str)) or not 0.0 < within < math.inf:
        raise ValueError(f"within must be finite and > 0, got {within!r}")

    def at(keep: float) -> Comparison:
        return compare(
            replace(mechanism, keep_probability=keep),
            epsilon,
            delta,
            positions=positions,
            value_bits=value_bits,
            same_accounting=True,
        )

    def excess(keep: float) -> float:
        return math.log(at(keep).error_ratio / (1.0 + within))

    # one coordinate in expectation is as sparse as is of use
    keep = solve(excess, 1.0 / mechanism.dimension, 1.0, rtol=1e-4)
    return at(1.0 if keep is None else keep)
