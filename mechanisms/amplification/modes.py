"""Balls in bins seen by a strategy: one mode for each bin, and the Gram matrix of the modes.

Bin i holds the steps i, i + bins, i + 2 bins, ...; its mode is the sum of these columns of |C|.
For a Toeplitz C all modes are shifts of one vector, and nothing of size steps x steps is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from accountant.parameters import short
from mechanisms.participation import BallsInBins
from mechanisms.strategies.base import Strategy
from mechanisms.strategies.identity import Identity
from mechanisms.strategies.power_series import enclosed_inverse

__all__ = ["ModeGram", "first_column", "mode_gram", "refuse_more_epochs"]

Floats = npt.NDArray[np.float64]

ULP: Final = 2.0**-52
# Of bins, whose square is held, and of steps, for which one number each is.
MOST_BINS: Final = 4096
MOST_STEPS: Final = 10**7
# Relative error that entries of C may have, where a strategy computes them.
ROUNDING: Final = 2.0**-44
# Below this, relative to 1, an entry's sign may be round-off.
FAINT: Final = 1e-12


@dataclass(frozen=True, eq=False)
class ModeGram:
    """Inner products of the modes, from both sides.

    Attributes
    ----------
    upper
        Shape (bins, bins), symmetric; entries never below those of the modes of |C|.
    lower
        The same from below; None where C has negative entries, for then |C| is no floor.
    """

    upper: Floats
    lower: Floats | None


def first_column(strategy: Strategy) -> tuple[Floats, Floats] | None:
    """Bounds of the first column of C up to its last non-zero entry, where C is Toeplitz.

    Returns
    -------
    tuple of arrays of shape (bands,), or None
        Below and above the entries; None where C is not known to be Toeplitz.
    """
    if isinstance(strategy, Identity):
        return np.ones(1), np.ones(1)
    coefficients = getattr(strategy, "coefficients", None)
    inverse = getattr(strategy, "inverse_coefficients", None)
    if strategy.steps > MOST_STEPS and (callable(coefficients) or inverse is not None):
        raise ValueError(_too_long(strategy.steps))
    if callable(coefficients):
        coefficients = coefficients()
    if coefficients is None and isinstance(inverse, np.ndarray):
        found, off = enclosed_inverse(inverse, strategy.steps)
        off = off * (1.0 + 4.0 * ULP) + 4.0 * ULP * np.abs(found)
        return found - off, found + off
    if coefficients is None or np.ndim(coefficients) != 1:
        return None
    column: Floats = np.asarray(coefficients, dtype=np.float64)
    column = column[: int(np.max(np.flatnonzero(column), initial=0)) + 1]
    # powers and sums of a few positive terms, where the noise is not made from these numbers
    radius = ROUNDING * np.abs(column)
    return column - radius, column + radius


def mode_gram(strategy: Strategy, participation: BallsInBins) -> ModeGram:
    """The Gram matrix of the modes of a strategy.

    Raises
    ------
    ValueError
        There are too many bins or steps.
    """
    if not isinstance(participation, BallsInBins):
        raise ValueError(
            "balls in bins need a participation of the class BallsInBins, got "
            f"{short(participation)}"
        )
    bins, steps = participation.bins, strategy.steps
    if bins > MOST_BINS:
        raise ValueError(
            f"at most {MOST_BINS} bins are supported, got {bins}: their Gram matrix is formed; "
            "without amplification any number is"
        )
    column = first_column(strategy)
    if column is None:
        return _of_matrix(strategy.matrix(), participation)
    if steps > MOST_STEPS:
        raise ValueError(_too_long(steps))
    below, above = (one[:steps] for one in column)
    sizes = np.maximum(np.abs(below), np.abs(above))
    upper, roundings = _of_toeplitz(sizes, steps, participation)
    lower = None
    # entries that round-off alone may make negative count as 0 from below
    if np.all((below >= 0.0) | (above - below > 1e-3 * sizes) & (sizes < FAINT)):
        lower = _of_toeplitz(np.maximum(below, 0.0), steps, participation)[0]
    return _bounded(upper, lower, roundings)


def refuse_more_epochs(strategy: Strategy, participation: BallsInBins) -> None:
    """Refuse a run that goes on after the last epoch: nobody would be in its last steps."""
    most = participation.bins * participation.epochs
    if strategy.steps > most:
        raise ValueError(
            f"{participation.epochs} epochs of {participation.bins} bins are {most} steps, and the "
            f"strategy has {strategy.steps}: give BallsInBins as many epochs as the run has"
        )


def _of_matrix(matrix: Floats, participation: BallsInBins) -> ModeGram:
    rows, steps = matrix.shape
    bins = participation.bins
    used = min(steps, bins * participation.epochs)
    modes = np.zeros((rows, bins))
    for start in range(0, used, bins):
        part = np.abs(matrix[:, start : min(start + bins, used)])
        modes[:, : part.shape[1]] += part
    gram = modes.T @ modes
    lower = gram if np.all(matrix >= 0.0) else None
    roundings = rows + 2 * participation.count(steps) + 2 * round(ROUNDING / ULP)
    return _bounded(gram, lower, roundings)


def _of_toeplitz(column: Floats, steps: int, participation: BallsInBins) -> tuple[Floats, int]:
    """The Gram matrix as computed, and how many roundings its entries went through."""
    bins = participation.bins
    epochs = participation.count(steps)
    wave = np.zeros(steps)
    for start in range(0, bins * epochs, bins):
        end = min(steps, start + len(column))
        wave[start:end] += column[: end - start]
    gram = np.zeros((bins, bins))
    held = min(bins, steps)  # bins beyond hold no step
    common = steps - held + 1
    for distance in range(held):
        # bins i and j = i + distance: products u and u + distance for all u < steps - j
        base = float(wave[:common] @ wave[distance : distance + common])
        rest = wave[common : steps - distance] * wave[common + distance :]
        sums = base + np.concatenate(([0.0], np.cumsum(rest)))
        later = np.arange(distance, held)
        gram[later - distance, later] = gram[later, later - distance] = sums[held - 1 - later]
    return gram, steps + 2 * epochs


def _bounded(upper: Floats, lower: Floats | None, roundings: int) -> ModeGram:
    """All terms are positive, so that errors are relative."""
    error = (roundings + 8.0) * ULP
    if lower is not None:
        lower = np.minimum(lower, lower.T) * (1.0 - error)
    return ModeGram(np.maximum(upper, upper.T) * (1.0 + error), lower)


def _too_long(steps: int) -> str:
    return (
        f"at most {MOST_STEPS:,} steps are supported with sampling, got {steps}: one number for "
        "each is held; without amplification any number is"
    )
