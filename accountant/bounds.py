"""A certified pair of bounds on one number, or on an array of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """``lower <= truth <= upper``, proved in exact arithmetic and in floating point.

    Parameters
    ----------
    lower, upper
        The bounds: floats, or arrays of one shape where the query was array-valued.
    tight
        Whether the bracket is as narrow as docs/engine.md promises for its region.  False flags a
        wider bracket, still sound, where the declared number of nodes did not suffice.

    Notes
    -----
    Unpacks as a pair: ``lower, upper = loss.epsilon_bounds(1e-5)``.
    """

    lower: Any
    upper: Any
    tight: Any = True

    def __iter__(self) -> Iterator[Any]:
        yield self.lower
        yield self.upper

    def __contains__(self, value: float) -> bool:
        return bool(np.all((self.lower <= value) & (value <= self.upper)))

    @property
    def width(self) -> Any:
        """``upper - lower``; 0 where both are infinite."""
        with np.errstate(invalid="ignore"):
            gap = np.where(
                np.equal(self.upper, self.lower), 0.0, np.subtract(self.upper, self.lower)
            )
        return gap if np.ndim(gap) else float(gap)
