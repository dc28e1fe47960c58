"""Variances of what binary-tree aggregation estimates, without its matrices.

Blocks of different heights that are left after a step share no noise.  So the state of the noise
is their variances; that of a workload which is a linear recursion has in addition its covariances
with them, and all of it costs O(log steps) per step.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from mechanisms.noise.tree_filter import TreeFilter
from mechanisms.workloads import ScheduledWorkload, Workload

__all__ = [
    "Recursion",
    "largest_within",
    "least_squares_variances",
    "recursion_of",
    "recursive_errors",
    "total_within",
    "variances_within",
]

Array = npt.NDArray[np.float64]

_NO_RATE: Final = np.zeros(1)


# -- prefix sums of one tree -----------------------------------------------------------------------


def variances_within(heights: Array, steps: int) -> Array:
    """Of the prefix sums of 1, ..., `steps` steps of a tree, shape (steps,).

    `heights` are the variances of the estimates of blocks of 2^h steps.
    """
    place = np.arange(1, steps + 1)
    total = np.zeros(steps)
    for height, variance in enumerate(heights[: steps.bit_length()]):
        total += variance * (place >> height & 1)
    return total


def total_within(heights: Array, steps: int) -> float:
    """Return the sum of `variances_within`, in closed form."""
    total = 0.0
    for height, variance in enumerate(heights[: steps.bit_length()]):
        rounds, rest = divmod(steps + 1, 2 ** (height + 1))
        total += float(variance) * (rounds * 2**height + max(0, rest - 2**height))
    return total


def largest_within(heights: Array, steps: int) -> float:
    """Return the largest of `variances_within`, in closed form.

    It is at `steps` itself, or where one of its binary digits is 0 instead and all lower ones 1.
    """
    above = largest = 0.0
    for height in range(steps.bit_length() - 1, -1, -1):
        if steps >> height & 1:
            largest = max(largest, above + float(np.sum(heights[:height])))
            above += float(heights[height])
    return max(largest, above)


def least_squares_variances(steps: int, completed: bool) -> Array:
    """Of the prefix sums of 1, ..., `steps` steps, estimated by least squares from all nodes.

    Shape (steps,).  With X = C^T C of a block, u the prefix and 1 all of its steps: f = u X^-1 u,
    g = u X^-1 1 and s = 1 X^-1 1 of two neighbours without a node above them are those of the first
    and, after it, those of the second plus s of the first; a node above takes g^2/(1 + s) from f
    and divides g and s by 1 + s (Sherman and Morrison).
    """
    blocks = [(np.ones(1), np.ones(1), 1.0)]
    while 2 ** len(blocks) <= steps:
        blocks.append(_topped(_beside(blocks[-1], blocks[-1])))
    heights = [h for h in range(len(blocks)) if steps >> h & 1]
    result, reached = blocks[heights[0]], heights[0]
    for height in heights[1:]:
        for _ in range(height - reached if completed else 0):
            result = _topped(result)
        result = _beside(blocks[height], result)
        if completed:
            result, reached = _topped(result), height + 1
    return result[0]


_Block = tuple[Array, Array, float]


def _beside(left: _Block, right: _Block) -> _Block:
    f = np.concatenate([left[0], left[2] + right[0]])
    g = np.concatenate([left[1], left[2] + right[1]])
    return f, g, left[2] + right[2]


def _topped(block: _Block) -> _Block:
    f, g, s = block
    return f - g * g / (1.0 + s), g / (1.0 + s), s / (1.0 + s)


# -- workloads that are recursions -----------------------------------------------------------------


class Recursion(NamedTuple):
    """A workload whose row t of A y is ``output @ q_t``, ``q_t = F_t q_(t-1) + f_t y_t``, q_0 = 0.

    ``F_t = fixed + rates[t] * scaled`` and ``f_t = entry + rates[t] * scaled_entry``; without
    rates, of shape (1,), these are 0.
    """

    fixed: Array
    scaled: Array
    entry: Array
    scaled_entry: Array
    rates: Array
    output: Array


def recursion_of(workload: Workload) -> Recursion | None:
    """Return the workload as a recursion; None where it is none that is known."""
    if workload.poles is not None:
        poles, weights = np.array(workload.poles, dtype=np.float64).T
        size = len(poles)
        none = np.zeros((size, size))
        return Recursion(np.diag(poles), none, np.ones(size), np.zeros(size), _NO_RATE, weights)
    if isinstance(workload, ScheduledWorkload):
        return Recursion(
            fixed=np.diag([workload.beta, 1.0 - workload.weight_decay]),
            scaled=np.array([[0.0, 0.0], [workload.beta, 0.0]]),
            entry=np.array([1.0, 0.0]),
            scaled_entry=np.array([0.0, 1.0]),
            rates=np.ascontiguousarray(workload.rates),
            output=np.array([0.0, 1.0]),
        )
    return None


def recursive_errors(tree: TreeFilter, recursion: Recursion) -> Array:
    """Variances of the noise on every row of a recursive workload, shape (steps,)."""
    closing, deviation = tree.closing
    if not tree.completed:
        # the blocks that are left stay in the sum: nothing is taken back
        closing = np.ones_like(closing)
    return np.asarray(
        _propagate(
            tree.steps,
            tree.restart_every,
            tree.own_weights,
            tree.merged_weights,
            np.square(tree.fresh_deviations),
            closing,
            deviation * deviation,
            *(np.ascontiguousarray(part) for part in recursion),
        )
    )


@njit(cache=True, nogil=True)
def _propagate(
    steps: int,
    every: int,
    variances: Array,
    merged: Array,
    fresh: Array,
    closing: Array,
    closing_fresh: float,
    fixed: Array,
    scaled: Array,
    entry: Array,
    scaled_entry: Array,
    rates: Array,
    output: Array,
) -> Array:
    size = len(entry)
    heights = len(variances)
    errors = np.empty(steps)
    # covariances of q with the blocks that are left, and of q with itself
    blocks = np.zeros((heights, size))
    inner = np.zeros((size, size))
    moved = np.zeros((size, size))
    new = np.zeros(size)
    with_noise = np.zeros(size)
    matrix = fixed.copy()
    into = entry.copy()
    for step in range(steps):
        place = step % every
        if len(rates) > 1 or step == 0:
            matrix[:] = fixed + rates[step] * scaled
            into[:] = entry + rates[step] * scaled_entry
        # the noise of this step: its variance, covariance with q, and what stays of it in a block
        variance = 0.0
        with_noise[:] = 0.0
        new[:] = 0.0
        if place == 0 and step > 0:
            variance += closing_fresh
            for h in range(heights):
                if every >> h & 1 and closing[h] < 1.0:
                    variance += (1.0 - closing[h]) ** 2 * variances[h]
                    for i in range(size):
                        with_noise[i] -= (1.0 - closing[h]) * blocks[h, i]
        height = 0
        while (place + 1) >> height & 1 == 0:
            height += 1
        variance += fresh[height]
        shared = fresh[height]
        for h in range(height):
            kept = merged[height, h]
            variance += (1.0 - kept) ** 2 * variances[h]
            shared -= (1.0 - kept) * kept * variances[h]
            for i in range(size):
                with_noise[i] -= (1.0 - kept) * blocks[h, i]
                new[i] += kept * blocks[h, i]
        for i in range(size):
            blocks[height, i] = new[i]
        for h in range(height, heights):
            if (place + 1) >> h & 1:
                _apply(matrix, blocks[h], new)
                for i in range(size):
                    blocks[h, i] = new[i]
        for i in range(size):
            blocks[height, i] += into[i] * shared
            _apply(matrix, inner[i], moved[i])
        # moved is inner F^T, and becomes F inner F^T column by column
        _apply(matrix, with_noise, new)
        error = 0.0
        for j in range(size):
            for i in range(size):
                total = new[i] * into[j] + into[i] * new[j] + into[i] * into[j] * variance
                for k in range(size):
                    total += matrix[i, k] * moved[k, j]
                inner[i, j] = total
                error += output[i] * total * output[j]
        errors[step] = error
    return errors


@njit(cache=True, nogil=True)
def _apply(matrix: Array, vector: Array, result: Array) -> None:
    for i in range(len(result)):
        total = 0.0
        for j in range(len(vector)):
            total += matrix[i, j] * vector[j]
        result[i] = total
