"""Squared sensitivity of binary-tree aggregation over all patterns of participation.

A tree over T steps releases one noisy sum per complete dyadic block ``[j 2^k, (j+1) 2^k)`` within
``[0, T)`` (arXiv 2103.00039, Appendix D; TF-Privacy's convention).  A record that takes part in
``n_v`` steps below node v, each time with a vector of norm at most 1, moves that node by at most
``n_v``; all nodes together are one Gaussian release of squared sensitivity ``sum_v n_v^2``, so that
``rho = z / (2 noise_multiplier^2)`` with z the maximum over patterns.  The dynamic programme is
described and proved in docs/renyi.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
from numba import njit

from accountant.errors import UnsupportedEventError
from accountant.parameters import short, whole_count

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Table = tuple[Integers, Integers, Integers]

MOST_STEPS = 2**40
# Joins of two sub-patterns; about ten seconds.
MOST_WORK = 2.0e9
# Of one table; some hundred bytes each while two are joined.
MOST_CELLS = 4_000_000
# Steps that are walked through one by one; some seconds.
MOST_WALKED = 2**27
UNREACHABLE = -1


def squared_sensitivity(
    steps: int | Sequence[int],
    max_participations: int = 1,
    min_separation: int = 1,
    completed: bool | Sequence[bool] = False,
) -> int:
    """Largest ``sum over nodes of (participations below the node)^2``, exactly.

    Parameters
    ----------
    steps
        Leaves of the tree, or those of each tree where trees follow one another (restarts).
    max_participations
        Most steps in which one record takes part, over all trees together.
    min_separation
        Least distance between two of them: steps i and i + min_separation may both be its, also
        across trees.  TF-Privacy counts the steps in between: its argument plus 1.
    completed
        Whether a tree is filled up to a power of two with virtual steps, in which no record takes
        part, so that its root is released too; one answer, or one for each tree.

    Returns
    -------
    int
        0 where nothing is released or no record takes part.

    Raises
    ------
    ValueError
        An argument is outside its domain.
    UnsupportedEventError
        The patterns are too many; the message says what to ask instead.

    Examples
    --------
    >>> squared_sensitivity(2000, max_participations=6, min_separation=314)
    79
    """
    trees, full = _trees(steps, completed)
    most = whole(max_participations, "max_participations")
    gap = _distance(min_separation, "min_separation")
    total = sum(trees)
    most = min(most, -(-total // gap))
    if most == 0:
        return 0
    if most == 1:
        return max(_depth(t, f) for t, f in zip(trees, full, strict=True))
    gap = min(gap, total)
    runs = [(*tree, len(list(run))) for tree, run in groupby(zip(trees, full, strict=True))]
    _refuse_too_much(runs, most, gap)
    blocks = _Blocks(gap, most)
    result = blocks.nothing
    for leaves, is_full, times in reversed(runs):
        result = blocks.repeated(blocks.forest(leaves, is_full), leaves, times, result)
    return int(np.max(result[0][0]))


def cyclic_squared_sensitivity(
    steps: int | Sequence[int], cycle_length: int, completed: bool | Sequence[bool] = False
) -> int:
    """The same where a record takes part in every ``cycle_length``-th step.

    The order of the data is the same in every epoch, as in arXiv 2103.00039, Appendix D.3: the
    maximum is over the first step only.  Trees that follow one another leave the order as it is.

    Raises
    ------
    ValueError
        ``steps`` is negative, ``cycle_length`` is below 1, or either is not a whole number.
    UnsupportedEventError
        There are too many steps to walk through.
    """
    trees, full = _trees(steps, completed)
    cycle = _distance(cycle_length, "cycle_length")
    leaves = sum(trees)
    if leaves == 0:
        return 0
    if leaves > MOST_WALKED:
        raise UnsupportedEventError(
            f"a tree of {leaves} steps is too large to walk; use squared_sensitivity with "
            "min_separation=cycle_length, an upper bound"
        )
    ends = np.cumsum(np.array(trees, dtype=np.int64))
    return int(_worst_phase(ends, np.array(full, dtype=np.bool_), min(cycle, leaves)))


def level_bound(
    steps: int | Sequence[int],
    max_participations: int = 1,
    min_separation: int = 1,
    completed: bool | Sequence[bool] = False,
) -> int:
    """An upper bound of ``squared_sensitivity`` for trees of any size, at once.

    A node over m steps has at most ``c = ceil(m/min_separation)`` participations below it, so that
    the nodes of one level add at most as much as full ones: ``(E // c) c^2 + (E mod c)^2`` for E
    participations.  The arguments and errors are those of ``squared_sensitivity``.
    """
    trees, full = _trees(steps, completed)
    gap = _distance(min_separation, "min_separation")
    most = min(whole(max_participations, "max_participations"), -(-sum(trees) // gap))
    if most == 0:
        return 0
    levels = max(_depth(t, f) for t, f in zip(trees, full, strict=True))
    below = [min(most, -(-(2**level) // gap)) for level in range(levels)]
    return sum((most // c) * c * c + (most % c) ** 2 for c in below)


def whole(value: object, name: str) -> int:
    """``value`` as a whole number within [0, 2^40]."""
    number = whole_count(value, name)
    if number > MOST_STEPS:
        raise ValueError(f"{name} must be a whole number within [0, 2^40], got {number}")
    return number


def _distance(value: object, name: str) -> int:
    distance = whole(value, name)
    if distance == 0:
        raise ValueError(f"{name} must be a whole number >= 1, got 0")
    return distance


def _trees(
    steps: int | Sequence[int], completed: bool | Sequence[bool]
) -> tuple[list[int], list[bool]]:
    """The trees that have any steps, and whether each is completed."""
    if np.isscalar(steps) or steps is None:
        trees = [whole(steps, "steps")]
    elif isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence | np.ndarray):
        raise ValueError(f"steps must be a whole number, or one for each tree; got {short(steps)}")
    else:
        trees = [whole(one, "steps") for one in steps]
    if sum(trees) > MOST_STEPS:
        raise ValueError(f"steps must be at most 2^40 over all trees, got {sum(trees)}")
    if isinstance(completed, (bool, np.bool_)):
        full = [bool(completed)] * len(trees)
    else:
        full = [bool(one) for one in completed]
        if len(full) != len(trees):
            raise ValueError(
                f"completed must be one bool, or one for each tree; got {len(full)} for "
                f"{len(trees)} trees"
            )
    return [t for t in trees if t], [f for t, f in zip(trees, full, strict=True) if t]


def _depth(leaves: int, completed: bool) -> int:
    """Nodes above a leaf of the largest block, itself included."""
    return (leaves - 1).bit_length() + 1 if completed else leaves.bit_length()


def _refuse_too_much(runs: list[tuple[int, bool, int]], most: int, gap: int) -> None:
    work = 0.0
    for level in range(gap.bit_length(), max(leaves for leaves, _, _ in runs).bit_length() + 1):
        here = min(most, -(-(2**level) // gap))
        work += 4.0 * gap * here * min(here, most)
    joins = sum(2 * times.bit_length() for _, _, times in runs)
    work += 4.0 * joins * gap * most * most
    if work > MOST_WORK or gap * (most + 1) > MOST_CELLS:
        raise UnsupportedEventError(
            f"the worst pattern of {most} participations at least {gap} steps apart takes too "
            "long to find; use level_bound or a smaller min_separation, which are upper bounds, or "
            "cyclic_squared_sensitivity where the order of the data is fixed"
        )


class _Blocks:
    """Tables of what patterns within a block can reach.

    A table has, for each number of steps to wait at the block's start (0 to gap - 1) and each
    number of participations, the pairs (value, steps to wait after the block's end) of which no
    other is better in both: values increase, and so do the waits.
    """

    def __init__(self, gap: int, most: int) -> None:
        self.gap = gap
        self.most = most
        self._complete: dict[int, Table] = {}

    @property
    def nothing(self) -> Table:
        """An empty block: nobody takes part, and the wait stays."""
        return _leaf(self.gap, 0, 0)

    def complete(self, level: int) -> Table:
        """The block of 2^level steps, all its nodes released."""
        if level not in self._complete:
            size = 2**level
            if size <= self.gap:
                table = _leaf(self.gap, size, level + 1)
            else:
                half = self.complete(level - 1)
                table = _lifted(self.before(half, size // 2, half), 1)
            self._complete[level] = table
        return self._complete[level]

    def forest(self, steps: int, completed: bool) -> Table:
        """The first ``steps`` leaves of a tree: its complete blocks, the largest first."""
        levels = [k for k in range(steps.bit_length()) if steps >> k & 1]
        reached, table = levels[0], self.complete(levels[0])
        for level in levels[1:]:
            if completed:
                table = _lifted(table, level - reached)
            table = self.before(self.complete(level), 2**level, table)
            if completed:
                reached, table = level + 1, _lifted(table, 1)
        return table

    def repeated(self, tree: Table, size: int, times: int, rest: Table) -> Table:
        """So many trees of one size, and the rest after them."""
        while True:
            if times & 1:
                rest = self.before(tree, size, rest)
            times >>= 1
            if times == 0:
                return rest
            tree = self.before(tree, size, tree)
            size *= 2

    def before(self, left: Table, size: int, right: Table) -> Table:
        """Two neighbouring blocks as one, without a node above them."""
        capacity = max(left[0].shape[2], right[0].shape[2])
        while True:
            values, waits, lengths, fits = _join(*left, *right, self.most, capacity)
            if fits:
                return values, waits, lengths
            capacity *= 2


def _leaf(gap: int, size: int, nodes: int) -> Table:
    """A block no longer than the gap: at most one participation, as early as it may be."""
    counts = 2 if size else 1
    values = np.full((gap, counts, 1), UNREACHABLE, dtype=np.int64)
    waits = np.zeros((gap, counts, 1), dtype=np.int64)
    wait = np.arange(gap)
    values[:, 0, 0] = 0
    waits[:, 0, 0] = np.maximum(0, wait - size)
    if size:
        free = wait < size
        values[free, 1, 0] = nodes
        waits[free, 1, 0] = wait[free] + gap - size
    return values, waits, (values >= 0).sum(axis=2).astype(np.int64)


def _lifted(table: Table, nodes: int) -> Table:
    """The table with ``nodes`` more nodes above the whole block."""
    values, waits, lengths = table
    count = np.arange(values.shape[1], dtype=np.int64)
    more = nodes * (count * count)[None, :, None]
    return np.where(values >= 0, values + more, values), waits, lengths


@njit(cache=True, nogil=True)
def _join(
    left_values: Integers,
    left_waits: Integers,
    left_lengths: Integers,
    right_values: Integers,
    right_waits: Integers,
    right_lengths: Integers,
    most: int,
    capacity: int,
) -> tuple[Integers, Integers, Integers, bool]:
    """The pairs of two neighbouring blocks; False where ``capacity`` is too small for them."""
    gap, left_counts, _ = left_values.shape
    right_counts = right_values.shape[1]
    counts = min(most + 1, left_counts + right_counts - 1)
    values = np.full((gap, counts, capacity), UNREACHABLE, dtype=np.int64)
    waits = np.zeros((gap, counts, capacity), dtype=np.int64)
    lengths = np.zeros((gap, counts), dtype=np.int64)
    # the lists are short, so a new pair is compared with all of them
    for start in range(gap):
        for e in range(counts):
            length = 0
            for left in range(max(0, e - right_counts + 1), min(e, left_counts - 1) + 1):
                right = e - left
                for i in range(left_lengths[start, left]):
                    between = left_waits[start, left, i]
                    base = left_values[start, left, i]
                    for j in range(right_lengths[between, right]):
                        value = base + right_values[between, right, j]
                        wait = right_waits[between, right, j]
                        worse = False
                        kept = 0
                        for k in range(length):
                            if values[start, e, k] >= value and waits[start, e, k] <= wait:
                                worse = True
                                break
                        if worse:
                            continue
                        for k in range(length):
                            if values[start, e, k] <= value and waits[start, e, k] >= wait:
                                continue
                            values[start, e, kept] = values[start, e, k]
                            waits[start, e, kept] = waits[start, e, k]
                            kept += 1
                        if kept == capacity:
                            return values, waits, lengths, False
                        values[start, e, kept] = value
                        waits[start, e, kept] = wait
                        length = kept + 1
            lengths[start, e] = length
            for k in range(length, capacity):
                values[start, e, k] = UNREACHABLE
    return values, waits, lengths, True


@njit(cache=True, nogil=True)
def _worst_phase(ends: Integers, completed: Flags, phases: int) -> int:
    """Largest sum of squares over the first steps; a new participation adds 2 n_v - 1 to node v."""
    most_levels = 0
    for tree in range(len(ends)):
        leaves = ends[tree] - (ends[tree - 1] if tree else 0)
        levels = 1
        while 1 << (levels - 1) < leaves:
            levels += 1
        most_levels = max(most_levels, levels)
    below = np.zeros(most_levels, dtype=np.int64)
    worst = 0
    for phase in range(phases):
        total, tree, first, before = 0, 0, 0, -1
        for step in range(phase, ends[-1], phases):
            while step >= ends[tree]:
                first = ends[tree]
                tree += 1
                before = -1
            place, leaves = step - first, ends[tree] - first
            for level in range(most_levels):
                size = 1 << level
                if completed[tree]:
                    if size >= 2 * leaves:
                        break
                elif ((place >> level) + 1) << level > leaves:
                    break
                if before >= 0 and place >> level == before >> level:
                    below[level] += 1
                else:
                    below[level] = 1
                total += 2 * below[level] - 1
            before = place
        worst = max(worst, total)
    return worst


__all__ = ["cyclic_squared_sensitivity", "level_bound", "squared_sensitivity"]
