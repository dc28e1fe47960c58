"""What a strategy's error is: one judge for all contenders, which uses no formula of theirs.

Matrices are solved with as they are; banded Toeplitz ones are run as filters on a column of ones;
the recursion of a BLT's buffers is doubled with 50 digits, up to any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from mpmath import mp
from scipy.linalg import solve_banded, solve_triangular
from scipy.signal import lfilter

from benchmarks.matrix_tasks import Design

Array = npt.NDArray[np.float64]


def error_of(design: Design, answer: Sequence[float]) -> float:
    """Sensitivity times the root of the mean, or of the largest, squared error over prefix sums.

    Raises
    ------
    ValueError
        If the answer is no such strategy, or its sensitivity is not known.
    """
    values = np.array(answer, dtype=np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError("a strategy must be a list of finite numbers")
    find = {
        "dense": _of_dense,
        "banded": _of_banded,
        "banded Toeplitz": _of_toeplitz,
        "BLT": _of_blt,
    }[design.family]
    squared_sensitivity, squared_error = find(design, values)
    return math.sqrt(squared_sensitivity * squared_error)


def most_over_patterns(values: Array, separation: int, participations: int) -> Array:
    """Largest sum of entries so many and so far apart, for each row of values that are not < 0."""
    steps = values.shape[-1]
    best = np.zeros((*values.shape[:-1], steps + separation))
    for _ in range(participations):
        taken = values + best[..., separation:]
        best[..., :steps] = np.maximum.accumulate(taken[..., ::-1], axis=-1)[..., ::-1]
    return best[..., 0]


def _of_dense(design: Design, values: Array) -> tuple[float, float]:
    steps = design.steps
    if len(values) != steps * (steps + 1) // 2:
        raise ValueError(f"a triangle of {steps} steps was expected")
    matrix = np.zeros((steps, steps))
    matrix[np.tril_indices(steps)] = values
    workload = np.tri(steps)
    product = solve_triangular(matrix, workload.T, lower=True, trans="T").T
    gram = np.abs(matrix.T @ matrix)
    if design.participations == 1:
        squared_sensitivity = float(np.max(np.diagonal(gram)))
    else:
        # never below the sensitivity, and equal to it where columns of a pattern are orthogonal
        rows = most_over_patterns(gram, design.separation, design.participations)
        squared_sensitivity = float(
            most_over_patterns(rows, design.separation, design.participations)
        )
    return squared_sensitivity, _over_steps(design, np.square(product).sum(axis=1))


def _of_banded(design: Design, values: Array) -> tuple[float, float]:
    if len(values) != design.steps * design.size:
        raise ValueError(f"{design.size} bands of {design.steps} columns were expected")
    columns = values.reshape(design.steps, design.size)
    columns = np.where(
        np.arange(design.steps)[:, None] + np.arange(design.size) < design.steps, columns, 0.0
    )
    _require_orthogonal(design)
    squared_sensitivity = float(
        most_over_patterns(np.square(columns).sum(axis=1), design.separation, design.participations)
    )
    # C^T, whose bands are above the diagonal
    bands = np.zeros((design.size, design.steps))
    for i in range(design.size):
        bands[design.size - 1 - i, i:] = columns[: design.steps - i, i]
    product = solve_banded((0, design.size - 1), bands, np.tri(design.steps).T)
    return squared_sensitivity, _over_steps(design, np.square(product).sum(axis=0))


def _of_toeplitz(design: Design, values: Array) -> tuple[float, float]:
    if not 1 <= len(values) <= min(design.size, design.steps):
        raise ValueError(f"at most {design.size} coefficients were expected")
    _require_orthogonal(design)
    # the last columns are cut off
    norms = np.full(design.steps, np.sum(np.square(values)))
    norms[design.steps - len(values) :] = np.cumsum(np.square(values))[::-1]
    squared_sensitivity = float(most_over_patterns(norms, design.separation, design.participations))
    column = lfilter([1.0], values, np.ones(design.steps))
    return squared_sensitivity, _over_steps(design, np.cumsum(np.square(column)))


def _of_blt(design: Design, values: Array) -> tuple[float, float]:
    if len(values) != 2 * design.size:
        raise ValueError(f"{design.size} decays and as many weights were expected")
    decay, weights = values[: design.size], values[design.size :]
    # coefficients 1, sum w, sum w th, ... that decrease: taking part early and often is the worst
    if not (np.all((0.0 <= decay) & (decay <= 1.0)) and np.all(weights >= 0.0)):
        raise ValueError("decays must be within [0, 1] and weights not below 0")
    if design.participations > 1 and math.fsum(weights) > 1.0 + 1e-12:
        raise ValueError("coefficients must decrease for several participations")
    squared_sensitivity, last, mean = _run_blt(decay.tolist(), weights.tolist(), design)
    return squared_sensitivity, mean if design.objective == "mean" else last


def _require_orthogonal(design: Design) -> None:
    if design.participations > 1 and design.size > design.separation:
        raise ValueError("more bands than steps of separation: the sensitivity is not known")


def _over_steps(design: Design, squared_errors: Array) -> float:
    return float(np.mean(squared_errors) if design.objective == "mean" else np.max(squared_errors))


class _Recursion:
    """A linear recursion ``x -> M x`` that is seen as ``r x``, over any number of steps.

    With 50 digits, since the squaring of M loses as many as the number of steps has.
    """

    def __init__(self, step: list[list[float]], row: list[float]) -> None:
        self._row = mp.matrix([row])
        square = self._row.T * self._row
        # for 1, 2, 4, ... steps: M to that power, sums of what is seen, squared, and times the step
        self._doubled = [(mp.matrix(step), square, 0 * square)]

    def run(self, state: list[mp.mpf], steps: int) -> tuple[list[mp.mpf], mp.mpf, mp.mpf]:
        """Return the state after the steps, and the sums of y_t^2 and of t y_t^2."""
        now, squares, weighted, before = mp.matrix(state), mp.mpf(0), mp.mpf(0), 0
        for k in range(steps.bit_length()):
            if steps >> k & 1:
                power, gram, moment = self._after(k)
                seen = (now.T * gram * now)[0]
                squares += seen
                weighted += (now.T * moment * now)[0] + before * seen
                now, before = power * now, before + 2**k
        return list(now), squares, weighted

    def _after(self, k: int) -> tuple[mp.matrix, mp.matrix, mp.matrix]:
        while len(self._doubled) <= k:
            power, gram, moment = self._doubled[-1]
            length = 2 ** (len(self._doubled) - 1)
            later = moment + length * gram
            self._doubled.append(
                (
                    power * power,
                    gram + power.T * gram * power,
                    moment + power.T * later * power,
                )
            )
        return self._doubled[k]


def _run_blt(
    decay: list[float], weights: list[float], design: Design
) -> tuple[float, float, float]:
    """Squared sensitivity; error of the last step, the largest; mean error."""
    size, steps = len(decay), design.steps
    with mp.workdps(50):
        exact = [mp.mpf(value) for value in decay]
        keeps = [[exact[i] if i == j else mp.mpf(0) for j in range(size)] for i in range(size)]
        # the buffers of C, between the steps in which the example takes part
        contribution = _Recursion(keeps, weights)
        state, squared = [mp.mpf(0)] * size, mp.mpf(0)
        times = range(0, steps, design.separation)[: design.participations]
        for time, following in zip(times, (*times[1:], steps), strict=True):
            squared += (1 + mp.fdot(weights, state)) ** 2
            state = [kept * value + 1 for kept, value in zip(exact, state, strict=True)]
            state, seen, _ = contribution.run(state, following - time - 1)
            squared += seen
        # those of its inverse, given ones: y = 1 - w S, S <- decay S + y; the last entry is the one
        lessened = [
            [*(keeps[i][j] - mp.mpf(weights[j]) for j in range(size)), mp.mpf(1)]
            for i in range(size)
        ]
        steady = [mp.mpf(0)] * size + [mp.mpf(1)]
        noise = _Recursion([*lessened, steady], [*(-weight for weight in weights), 1.0])
        _, last, weighted = noise.run(steady, steps)
        return float(squared), float(last), float(last - weighted / steps)


def attained_by_tree(steps: int, separation: int, participations: int) -> int:
    """Squared norm of a tree's nodes for steps that far apart, at the worst first step.

    A pattern, so that no sensitivity is less.
    """
    participations = min(participations, -(-steps // separation))
    first = np.arange(steps - (participations - 1) * separation)
    taken = first + separation * np.arange(participations)[:, None]
    squared = np.zeros(len(first), dtype=np.int64)
    for height in range(steps.bit_length()):
        node = taken >> height
        complete = (node + 1) << height <= steps
        same = (node[:, None] == node) & complete
        squared += same.sum(axis=(0, 1))
    return int(np.max(squared))
