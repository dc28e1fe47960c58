"""Kernels of the filters: one step on a cell of columns, state and row in one pass over memory.

Sums are float64, in the same order for every column.  What is stored is rounded to the stream's
dtype once, and later steps use it as it was stored.  ``z`` may be overwritten.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["add", "banded", "buffered", "inverse_banded"]

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[Any]

# Columns taken at a time, so that they stay in the first-level cache.  The loops run over slices,
# whose indices start at 0: only then are they vectorised.
TILE = 512


@njit(cache=True, nogil=True)
def add(weight: float, z: Floats, total: Floats) -> None:
    """``total`` <- total + weight z."""
    for j in range(z.size):
        total[j] += weight * z[j]


@njit(cache=True, nogil=True)
def banded(step: int, coefficients: Floats, rows: Values, z: Floats, out: Values) -> None:
    """``out`` <- (z - sum_i c[i] y_{step-i}) / c[0], c the coefficients; rows[t % kept] = y_t."""
    kept = rows.shape[0]
    for start in range(0, z.size, TILE):
        rest, y = z[start : start + TILE], out[start : start + TILE]
        for i in range(1, min(step, kept) + 1):
            c, row = coefficients[i], rows[(step - i) % kept, start : start + TILE]
            for j in range(rest.size):
                rest[j] -= c * row[j]
        for j in range(rest.size):
            y[j] = rest[j] / coefficients[0]
        if kept > 0:
            rows[step % kept, start : start + TILE] = y


@njit(cache=True, nogil=True)
def inverse_banded(step: int, coefficients: Floats, rows: Values, z: Floats, out: Values) -> None:
    """``out`` <- sum_i coefficients[i] z_{step-i}; rows[t % kept] = z_t."""
    kept = rows.shape[0]
    total = np.empty(TILE)
    for start in range(0, z.size, TILE):
        fresh, y = z[start : start + TILE], out[start : start + TILE]
        for j in range(fresh.size):
            y[j] = fresh[j]  # rounded as the rows that are kept
            total[j] = coefficients[0] * y[j]
        for i in range(1, min(step, kept) + 1):
            d, row = coefficients[i], rows[(step - i) % kept, start : start + TILE]
            for j in range(fresh.size):
                total[j] += d * row[j]
        if kept > 0:
            rows[step % kept, start : start + TILE] = y
        for j in range(fresh.size):
            y[j] = total[j]


@njit(cache=True, nogil=True)
def buffered(decay: Floats, weights: Floats, buffers: Values, z: Floats, out: Values) -> None:
    """``out`` <- z - weights . buffers, then buffers <- decay buffers + out."""
    for start in range(0, z.size, TILE):
        rest, y = z[start : start + TILE], out[start : start + TILE]
        for i in range(decay.size):
            w, row = weights[i], buffers[i, start : start + TILE]
            for j in range(rest.size):
                rest[j] -= w * row[j]
        for j in range(rest.size):
            y[j] = rest[j]
        for i in range(decay.size):
            r, row = decay[i], buffers[i, start : start + TILE]
            for j in range(rest.size):
                row[j] = r * row[j] + y[j]
