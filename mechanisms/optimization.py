"""Band matrices of least error, for any workload: analytic gradients and L-BFGS.

The loss is the squared sensitivity times the mean, or the largest, squared error, for a lower
triangular C with p non-zero diagonals, p at most the separation of participations.  The columns
of a pattern are then orthogonal, and the squared sensitivity is the largest sum, over patterns,
of their squared norms r_j (arXiv 2306.08153).  Norms that are all 1 are the best for a single
participation alone; for more they lose up to several percent, so r is optimized too, within a
family for which the sensitivity is known and smooth (docs/lower-bounds.md, section 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.optimize import minimize

from accountant.parameters import short
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    Participation,
    SingleParticipation,
)
from mechanisms.workloads import Workload

__all__ = [
    "Objective",
    "band_matrix",
    "band_row_errors",
    "checked_objective",
    "descend",
    "refuse_unseparated",
]

Array = npt.NDArray[np.float64]
Objective: TypeAlias = Literal["mean", "max"]

# Powers of the means over steps that tend to the largest error, each from where the last stopped.
POWERS: Final = (4.0, 32.0, 256.0, 2048.0)
# Rows of the workload that are solved for together, in eights.
_LANES: Final = 64


def checked_objective(objective: object) -> Objective:
    """Return "mean" or "max", or refuse what was given."""
    if objective == "mean":
        return "mean"
    if objective == "max":
        return "max"
    raise ValueError(
        f'objective must be "mean" or "max" (of the squared errors over steps), '
        f"got {short(objective)}"
    )


def descend(
    loss: Callable[[Array], tuple[float, Array]], start: Array, *, iterations: int, tolerance: float
) -> Array:
    """Return where L-BFGS stops: a step gains less than `tolerance` of the (logarithmic) loss."""
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": iterations,
            "maxfun": 2 * iterations,
            "maxcor": 10,
            "ftol": tolerance,
            "gtol": 1e-8,
        },
    )
    return np.asarray(found.x)


def band_matrix(
    workload: Workload,
    bands: int,
    participation: Participation,
    objective: Objective,
    *,
    iterations: int = 500,
    tolerance: float = 1e-8,
) -> Array:
    """Find a band matrix of small loss.

    Parameters
    ----------
    workload : Workload
    bands : int
        Non-zero diagonals p, at most the separation of participations.
    participation : Participation
    objective : {"mean", "max"}
    iterations : int
        At most, for each power of the norm over steps.
    tolerance : float
        Relative gain below which a step is the last.

    Returns
    -------
    array of shape (steps, bands)
        C[t, t - i] at [t, i], 0 where t < i; the diagonal is positive.
    """
    steps = workload.steps
    inside = np.arange(steps)[:, None] + np.arange(bands) < steps
    norms = _norms_of(participation, steps)
    problem = _Problem(np.ascontiguousarray(workload.matrix()), inside, norms)
    # The first coefficients of 1/sqrt(1 - x): the best Toeplitz matrix, nearly, for prefix sums.
    shape = np.cumprod(np.concatenate(([1.0], 1.0 - 0.5 / np.arange(1, bands))))
    start = np.where(inside, shape, 0.0)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    point = np.concatenate((start[inside], norms.start()))
    for power in POWERS if objective == "max" else (1.0,):
        point = descend(
            lambda x, q=power: problem.loss(x, q),  # type: ignore[misc]
            point,
            iterations=iterations,
            tolerance=tolerance,
        )
    by_column = problem.columns(point)
    by_column *= np.sign(by_column[:, :1])
    by_row = np.zeros((steps, bands))
    for i in range(bands):
        by_row[i:, i] = by_column[: steps - i, i]
    return by_row


class _Problem:
    """The loss as a function of unscaled columns and of what sets their norms, with gradient.

    Columns are held as [t, i] = C[t + i, t], which is used where `inside`.
    """

    def __init__(self, workload: Array, inside: npt.NDArray[np.bool_], norms: "_Norms") -> None:
        self._workload, self._inside, self._norms = workload, inside, norms
        self._free = int(inside.sum())

    def columns(self, point: Array) -> Array:
        """C of sensitivity 1, column by column."""
        directions, _ = self._directions(point)
        squared, sensitivity = self._norms.of(point[self._free :])
        return directions * np.sqrt(squared / sensitivity)[:, None]

    def loss(self, point: Array, power: float) -> tuple[float, Array]:
        """Log of squared sensitivity times the power mean of squared errors; its gradient."""
        directions, lengths = self._directions(point)
        squared, sensitivity = self._norms.of(point[self._free :])
        roots = np.sqrt(squared)[:, None]
        columns = directions * roots
        errors = np.empty(len(columns))
        _row_errors(self._workload, columns, errors)
        worst = float(np.max(errors))
        if not (np.all(lengths > 0.0) and np.isfinite(worst)):
            return 1e10, np.zeros_like(point)
        relative = errors / worst
        weights = relative ** (power - 1.0)
        value = np.log(worst) + np.log(np.mean(relative**power)) / power + np.log(sensitivity)
        gradient = np.zeros_like(columns)
        _row_gradient(self._workload, columns, weights / (weights @ errors), gradient)
        gradient[~self._inside] = 0.0
        radial = np.sum(gradient * directions, axis=1, keepdims=True)
        across = (gradient - directions * radial) * roots / lengths
        of_norms = self._norms.gradient(point[self._free :], radial[:, 0] / (2.0 * roots[:, 0]))
        return float(value), np.concatenate((across[self._inside], of_norms))

    def _directions(self, point: Array) -> tuple[Array, Array]:
        columns = np.zeros(self._inside.shape)
        columns[self._inside] = point[: self._free]
        lengths = np.linalg.norm(columns, axis=1, keepdims=True)
        return columns / np.maximum(lengths, np.finfo(float).tiny), lengths


def band_row_errors(workload: Array, columns: Array) -> Array:
    """Squared norms of the rows of A C^-1, with C[t + i, t] at [t, i] of `columns`."""
    errors = np.empty(len(columns))
    _row_errors(np.ascontiguousarray(workload), np.ascontiguousarray(columns), errors)
    return errors


# -- norms of columns ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Norms:
    """Squared norms ``cover @ exp(y)`` of the columns; squared sensitivity ``costs @ exp(y)``.

    A row of `cover` says which windows of steps hold a step.  An example is in every window at
    most as often as the window costs, so no pattern's sum of r exceeds the sum of costs.
    """

    cover: Array
    costs: Array

    def start(self) -> Array:
        """Norms that are nearly the same for all columns."""
        return np.full(len(self.costs), -np.log(max(1, len(self.costs))))

    def of(self, y: Array) -> tuple[Array, float]:
        """r, and the squared sensitivity."""
        if len(self.costs) == 0:
            return np.ones(len(self.cover)), 1.0
        weights = np.exp(y)
        return self.cover @ weights, float(self.costs @ weights)

    def gradient(self, y: Array, by_norms: Array) -> Array:
        """Gradient by y of the loss, given that of the errors by r."""
        if len(self.costs) == 0:
            return np.empty(0)
        weights = np.exp(y)
        return weights * (by_norms @ self.cover + self.costs / (self.costs @ weights))


def _norms_of(participation: Participation, steps: int) -> _Norms:
    """Windows for a participation: blocks of steps, from the first step on and from the last."""
    separation, count = participation.separation(steps), participation.count(steps)
    if count <= 1 or isinstance(participation, SingleParticipation | CyclicPoisson):
        return _Norms(np.zeros((steps, 0)), np.zeros(0))
    blocks = -(-steps // separation)
    step = np.arange(steps)
    index = [step // separation]
    if steps % separation and isinstance(participation, MinSeparation):
        index.append((step[::-1]) // separation)
    cover = np.concatenate([of[:, None] == np.arange(blocks) for of in index], axis=1)
    costs = np.ones(cover.shape[1])
    if count < blocks:
        cover = np.concatenate((cover, np.ones((steps, 1), dtype=bool)), axis=1)
        costs = np.append(costs, float(count))
    return _Norms(cover.astype(np.float64), costs)


def refuse_unseparated(bands: int, participation: Participation, steps: int) -> None:
    """Refuse more bands than the separation: columns of a pattern would not be orthogonal."""
    separation = participation.separation(steps)
    if bands > separation:
        named = "groups" if isinstance(participation, CyclicPoisson) else "steps of separation"
        if isinstance(participation, FixedEpochOrder | BallsInBins):
            named = "steps of an epoch"
        raise ValueError(
            f"bands must be at most the {separation} {named}, got {bands}: with more, columns that "
            "one example reaches overlap; take fewer bands, or optimize a Dense strategy"
        )


# -- errors and their gradient ---------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _solve_rows(workload: Array, columns: Array, first: int, top: int, rows: Array) -> None:
    """Rows [first, top) of B with B C = A, transposed: rows[t, l] = B[first + l, t]."""
    bands = columns.shape[1]
    lanes = rows.shape[1]
    rows[:] = 0.0
    for t in range(top - 1, -1, -1):
        for lane in range(top - first):
            rows[t, lane] = workload[first + lane, t]
        for i in range(1, min(bands, top - t)):
            entry = columns[t, i]
            for lane in range(lanes):
                rows[t, lane] -= entry * rows[t + i, lane]
        scale = 1.0 / columns[t, 0]
        for lane in range(lanes):
            rows[t, lane] *= scale


@njit(cache=True, nogil=True)
def _row_errors(workload: Array, columns: Array, errors: Array) -> None:
    """Squared norms of the rows of A C^-1."""
    steps = len(columns)
    rows = np.zeros((steps, _LANES))
    for first in range(0, steps, _LANES):
        top = min(steps, first + _LANES)
        _solve_rows(workload, columns, first, top, rows)
        errors[first:top] = 0.0
        for t in range(top):
            for lane in range(top - first):
                errors[first + lane] += rows[t, lane] ** 2


@njit(cache=True, nogil=True)
def _row_gradient(workload: Array, columns: Array, weights: Array, gradient: Array) -> None:
    """Gradient of the weighted sum of errors by the columns: -2 times the band of B^T L.

    B C = A and L C^T = diag(weights) B.
    """
    steps, bands = columns.shape
    rows = np.zeros((steps, _LANES))
    duals = np.zeros((steps, _LANES))
    for first in range(0, steps, _LANES):
        top = min(steps, first + _LANES)
        _solve_rows(workload, columns, first, top, rows)
        for t in range(top):
            duals[t] = 0.0
            for lane in range(top - first):
                duals[t, lane] = weights[first + lane] * rows[t, lane]
            for i in range(1, min(bands, t + 1)):
                entry = columns[t - i, i]
                for lane in range(_LANES):
                    duals[t, lane] -= entry * duals[t - i, lane]
            scale = 1.0 / columns[t, 0]
            for lane in range(_LANES):
                duals[t, lane] *= scale
            for i in range(min(bands, t + 1)):
                gradient[t - i, i] -= 2.0 * _dot(rows[t], duals[t - i])


@njit(cache=True, nogil=True)
def _dot(x: Array, y: Array) -> float:
    """Scalar product in eight sums, which the processor adds at once."""
    a = b = c = d = e = f = g = h = 0.0
    for k in range(0, len(x), 8):
        a += x[k] * y[k]
        b += x[k + 1] * y[k + 1]
        c += x[k + 2] * y[k + 2]
        d += x[k + 3] * y[k + 3]
        e += x[k + 4] * y[k + 4]
        f += x[k + 5] * y[k + 5]
        g += x[k + 6] * y[k + 6]
        h += x[k + 7] * y[k + 7]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))
