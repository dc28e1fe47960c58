"""What patterns of participation can reach within blocks of a tree: tables, and how they join.

The dynamic programme of `accountant.tree_aggregation`, proved in docs/renyi.md, section 7.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Integers = npt.NDArray[np.int64]
Table = tuple[Integers, Integers, Integers]

UNREACHABLE = -1


class Blocks:
    """Tables of what patterns within a block can reach.

    A table has, for each number of steps to wait at the block's start (0 to gap - 1) and each
    number of participations, the pairs (value, steps to wait after the block's end) of which no
    other is better in both: values increase, and so do the waits.
    """

    def __init__(self, gap: int, most: int, prefix_nodes: bool = False) -> None:
        self.gap = gap
        self.most = most
        self.prefix_nodes = prefix_nodes
        self._complete: dict[int, Table] = {}

    @property
    def nothing(self) -> Table:
        """An empty block: nobody takes part, and the wait stays."""
        return _leaf(self.gap, 0, 0)

    def complete(self, level: int) -> Table:
        """The block of 2^level steps, its nodes released: where prefix sums use it, a left one."""
        if level not in self._complete:
            size = 2**level
            if size == 1 or (size <= self.gap and not self.prefix_nodes):
                table = _leaf(self.gap, size, level + 1)
            else:
                half = self.complete(level - 1)
                right = self._right(level - 1) if self.prefix_nodes else half
                table = _lifted(self.before(half, size // 2, right), 1)
            self._complete[level] = table
        return self._complete[level]

    def _right(self, level: int) -> Table:
        """A right block of 2^level steps: no prefix sum uses its own node."""
        table = _leaf(self.gap, 1, 0)
        for below in range(level):
            table = self.before(self.complete(below), 2**below, table)
        return table

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
