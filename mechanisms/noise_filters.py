"""Filters that turn independent normal rows Z into the correlated rows of D Z, step by step.

A filter is an immutable value: what it remembers between steps, a few model-sized arrays, belongs
to the `mechanisms.noise.NoiseStream` that runs it, block of columns by block of columns.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["NoiseFilter", "digest_of"]

Floats = npt.NDArray[np.float64]
# float64 or float32: a stream's dtype
Values = npt.NDArray[Any]
# row -> that row of Z on the block: float64, (width,), writable, valid until the next call
Draw = Callable[[int], Floats]


class NoiseFilter(Protocol):
    """What turns rows of Z into rows of noise: y_t = sum_j D[t, j] Z[j].

    Columns never meet, so that a stream may cut them into blocks as it likes.
    """

    @property
    def memory(self) -> int:
        """Model-sized arrays kept between steps, >= 0."""

    @property
    def steps(self) -> int | None:
        """The number of rows that are defined, None where every number is."""

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """Write row ``step`` of the noise into ``out`` and bring ``state`` to the next step.

        Parameters
        ----------
        step
            0, 1, 2, ... in this order for each block.
        state
            Shape (memory, width), C-contiguous, of the stream's dtype; zeros before step 0.
        draw
            Row j >= 0 of Z on this block, standard normal, float64, shape (width,): always the
            same for the same j.  The array may be overwritten; the next call reuses it.
        out
            Shape (width,), contiguous, of the stream's dtype.
        """

    def digest(self) -> str:
        """A hash of the content, see `digest_of`: a saved state fits no other filter."""


def digest_of(name: str, *arrays: npt.ArrayLike) -> str:
    """SHA-256 of a filter's name and numbers, as hexadecimal digits."""
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        values = np.ascontiguousarray(array, dtype="<f8")
        digest.update(f";{values.shape};".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
