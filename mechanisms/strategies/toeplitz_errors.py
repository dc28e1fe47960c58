"""Errors of Toeplitz strategies, from the first column of A C^{-1} alone.

With A and C lower triangular Toeplitz, A C^{-1} is, too: the squared error of step t is the sum of
the first t + 1 squared entries of its first column.  Where A's coefficients end in a constant, as
those of prefix sums and of momentum do, and a banded C or C^{-1} is stable, the column settles: its
first entries and the limit say it all, and no more is computed for 1e9 steps than for 1e5.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mechanisms.workloads import LARGEST_VECTOR, Workload

__all__ = ["Column", "column_of", "is_toeplitz", "leading"]

Array = npt.NDArray[np.float64]

# Entries computed at first, before it is known how many it takes.
_FEWEST: Final = 1024


@dataclass(frozen=True)
class Column:
    """First column of a lower triangular Toeplitz matrix of `steps` steps.

    Attributes
    ----------
    steps : int
    values : array of shape (at most steps,)
        Its first entries.
    limit : float
        Each of the others.
    """

    steps: int
    values: Array
    limit: float

    @property
    def rest(self) -> int:
        """How many entries equal the limit."""
        return self.steps - len(self.values)

    def squared_rows(self) -> Array:
        """Squared norms of the matrix's rows, of shape (steps,)."""
        if self.steps > LARGEST_VECTOR:
            raise ValueError(
                f"the errors of {self.steps} steps are too many to list; at most {LARGEST_VECTOR} "
                "are, so ask for mean_squared_error or max_squared_error"
            )
        settled = np.full(self.rest, self.limit)
        return np.cumsum(np.square(np.concatenate([self.values, settled])))

    def mean_squared_row(self) -> float:
        """Mean of `squared_rows`."""
        weights = 1.0 - np.arange(len(self.values)) / self.steps
        ending = self.rest * (self.rest + 1) / (2 * self.steps)
        return float(np.sum(weights * np.square(self.values))) + ending * self.limit**2

    def last_squared_row(self) -> float:
        """Last of `squared_rows`, and the largest."""
        return math.fsum(np.square(self.values)) + self.rest * self.limit**2


def column_of(
    workload: Workload,
    filtered: Callable[[Array], Array],
    *,
    gain: float,
    taps: int,
    tolerance: float,
    length: int = _FEWEST,
    longest: int = LARGEST_VECTOR,
) -> Column | None:
    """First column of A D, for a Toeplitz decoder D that forgets.

    Parameters
    ----------
    workload : Workload
        A, Toeplitz.
    filtered : callable
        From the first coefficients of A to as many of A D.
    gain : float
        Sum of all coefficients of D, of as many steps as there may be.
    taps : int
        Once so many entries in a row are the limit, all later ones are.
    tolerance : float
        How near to the limit counts as equal, as a share of the limit, or of the largest entry
        where the limit is 0.
    length : int
        Entries to begin with; four times as many until the column has settled.
    longest : int
        The most entries to follow; None is returned where that is not enough.
    """
    steps = workload.steps
    ending, settled_from = _ending(workload)
    limit = ending * gain
    length = max(length, 4 * taps, settled_from + taps)
    while length < min(steps, longest) and math.isfinite(limit):
        values = filtered(leading(workload, length))
        scale = abs(limit) if limit != 0.0 else float(np.max(np.abs(values)))
        if np.all(np.abs(values[-taps:] - limit) <= tolerance * scale):
            return Column(steps, values, limit)
        length *= 4
    return Column(steps, filtered(leading(workload, steps)), 0.0) if steps <= longest else None


def is_toeplitz(workload: Workload) -> bool:
    """Whether the workload treats every step alike."""
    return workload.poles is not None or workload.coefficients is not None


def leading(workload: Workload, length: int) -> Array:
    """First coefficients of a Toeplitz workload, of shape (length,), at most its steps."""
    if workload.poles is None:
        assert workload.coefficients is not None
        return workload.coefficients[:length]
    powers = np.arange(length)
    return np.asarray(sum(weight * pole**powers for pole, weight in workload.poles))


def _ending(workload: Workload) -> tuple[float, int]:
    """The constant that the coefficients end in, and from where on (0 where poles tell)."""
    if workload.poles is not None:
        return sum(weight for pole, weight in workload.poles if pole == 1.0), 0
    assert workload.coefficients is not None
    last = workload.coefficients[-1]
    others = np.flatnonzero(workload.coefficients != last)
    return float(last), int(others[-1]) + 1 if len(others) else 0
