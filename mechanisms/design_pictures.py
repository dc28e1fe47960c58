"""Small pictures of large matrices: a strategy's C, and the correlation of its noise."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from accountant.parameters import whole_count
from mechanisms.strategies import BLT, BandedToeplitz, Identity, InverseBandedToeplitz, Strategy

__all__ = ["Picture", "picture"]

Array: TypeAlias = npt.NDArray[np.float64]

_LONGEST_VECTOR: Final = 10**7  # steps for which one number each is formed
_LONGEST_MATRIX: Final = 2560  # steps for which whole matrices are formed


@dataclass(frozen=True, slots=True)
class Picture:
    """C and the correlation of the noise, small enough to look at.

    Attributes
    ----------
    steps : tuple of int
        The steps that are shown, counted from 1.
    rows : tuple of int
        The rows of C that are shown, counted from 1: its steps, unless C is a tree's.
    matrix : array of shape (rows, steps)
        C at these rows and steps.
    correlation : array of shape (steps, steps)
        Correlation of the noise between these steps: ``D D^T`` divided by the roots of its
        diagonal.
    """

    steps: tuple[int, ...]
    rows: tuple[int, ...]
    matrix: Array
    correlation: Array

    @property
    def strongest(self) -> float:
        """Largest absolute correlation between two different steps; 1 where there is none."""
        apart = ~np.eye(len(self.correlation), dtype=bool)
        return float(np.max(np.abs(self.correlation[apart]), initial=0.0)) or 1.0


def picture(strategy: Strategy, size: int = 96, *, beginning: bool = False) -> Picture:
    """Return a picture of a strategy's matrices, at most `size` steps wide.

    Parameters
    ----------
    strategy : Strategy
    size : int
        At least 1. Longer runs are sampled: every so many steps, one is shown.
    beginning : bool
        Show the first steps instead, every one of them.

    Raises
    ------
    ValueError
        If the matrices are too large to form, and not those of a filter that treats all steps
        alike.
    """
    count = min(strategy.steps, whole_count(size, "size", 1))
    stride = 1 if beginning else -(-strategy.steps // count)
    shown = np.arange(count if beginning else -(-strategy.steps // stride)) * stride
    last = int(shown[-1]) + 1
    columns = _columns(strategy, last) if last <= _LONGEST_VECTOR else None
    if columns is not None:
        first, inverse = columns
        lags = shown[:, None] - shown[None, :]
        matrix = np.where(lags >= 0, first[np.maximum(lags, 0)], 0.0)
        covariance = _covariance(inverse, shown, stride)
        rows = shown
    else:
        if strategy.steps > _LONGEST_MATRIX:
            raise ValueError(
                f"the matrices of {strategy.steps} steps are too large for a picture; this "
                f"mechanism's are drawn for at most {_LONGEST_MATRIX} steps"
            )
        whole = strategy.matrix()
        # A tree's rows are its nodes.
        rows = shown if len(whole) == strategy.steps else _evenly(len(whole), count)
        matrix = whole[np.ix_(rows, shown)]
        decoder = strategy.decoder()[shown]
        covariance = decoder @ decoder.T
    spread = np.sqrt(np.diagonal(covariance))
    return Picture(
        steps=tuple((shown + 1).tolist()),
        rows=tuple((rows + 1).tolist()),
        matrix=np.ascontiguousarray(matrix),
        correlation=np.clip(covariance / np.outer(spread, spread), -1.0, 1.0),
    )


def _columns(strategy: Strategy, length: int) -> tuple[Array, Array] | None:
    """Return the beginnings of the first columns of C and of its inverse; None without those."""
    unit = np.zeros(length)
    unit[0] = 1.0
    if isinstance(strategy, Identity):
        return unit, unit
    if isinstance(strategy, BLT):
        shorter = BLT(length, strategy.decay, strategy.weights)
        return shorter.coefficients(), shorter.inverse_coefficients()
    if isinstance(strategy, BandedToeplitz):
        coefficients = np.asarray(strategy.coefficients)
        return lfilter(coefficients, [1.0], unit), lfilter([1.0], coefficients, unit)
    if isinstance(strategy, InverseBandedToeplitz):
        coefficients = np.asarray(strategy.inverse_coefficients)
        return lfilter([1.0], coefficients, unit), lfilter(coefficients, [1.0], unit)
    return None


def _covariance(inverse: Array, shown: npt.NDArray[np.intp], stride: int) -> Array:
    """Return D D^T at evenly spaced steps, D Toeplitz: one sum along the run for every distance."""
    count = len(shown)
    found = np.empty((count, count))
    for apart in range(count):
        lag = apart * stride
        products = np.cumsum(inverse[: len(inverse) - lag] * inverse[lag:])
        values = products[shown[: count - apart]]
        near = np.arange(count - apart)
        found[near, near + apart] = found[near + apart, near] = values
    return found


def _evenly(length: int, count: int) -> npt.NDArray[np.intp]:
    """Return about `count` indices below a length, evenly spaced and starting at 0."""
    return np.arange(0, length, -(-length // count))
