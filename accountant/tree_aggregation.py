"""Squared sensitivity of binary-tree aggregation over all patterns of participation.

A tree over T steps releases one noisy sum per complete dyadic block ``[j 2^k, (j+1) 2^k)`` within
``[0, T)`` (arXiv 2103.00039, Appendix D; TF-Privacy's convention).  A record that takes part in
``n_v`` steps below node v, each time with a vector of norm at most 1, moves that node by at most
``n_v``; all nodes together are one Gaussian release of squared sensitivity ``sum_v n_v^2``, so that
``rho = z / (2 noise_multiplier^2)`` with z the maximum over patterns.  The dynamic programme is
described and proved in docs/renyi.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
from numba import njit

from accountant.errors import UnsupportedEventError
from accountant.parameters import short, whole_count
from accountant.tree_patterns import Blocks, Integers

Flags = npt.NDArray[np.bool_]

MOST_STEPS = 2**40
# Joins of two sub-patterns; about ten seconds.
MOST_WORK = 2.0e9
# Of one table; some hundred bytes each while two are joined.
MOST_CELLS = 4_000_000
# Steps that are walked through one by one; some seconds.
MOST_WALKED = 2**27


def squared_sensitivity(
    steps: int | Sequence[int],
    max_participations: int = 1,
    min_separation: int = 1,
    completed: bool | Sequence[bool] = False,
    prefix_nodes: bool = False,
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
    prefix_nodes
        Whether only those nodes are released that prefix sums are added up from: no right child
        is, as its parent is used instead.  Not of completed trees.

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
    trees, full = _trees(steps, completed, prefix_nodes)
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
    _refuse_too_much(runs, most, gap, prefix_nodes)
    blocks = Blocks(gap, most, prefix_nodes)
    result = blocks.nothing
    for leaves, is_full, times in reversed(runs):
        result = blocks.repeated(blocks.forest(leaves, is_full), leaves, times, result)
    return int(np.max(result[0][0]))


def cyclic_squared_sensitivity(
    steps: int | Sequence[int],
    cycle_length: int,
    completed: bool | Sequence[bool] = False,
    prefix_nodes: bool = False,
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
    trees, full = _trees(steps, completed, prefix_nodes)
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
    return int(_worst_phase(ends, np.array(full, dtype=np.bool_), min(cycle, leaves), prefix_nodes))


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
    steps: int | Sequence[int], completed: bool | Sequence[bool], prefix_nodes: bool = False
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
    if prefix_nodes and any(full):
        raise ValueError("completed must be False with prefix_nodes: all nodes of it are released")
    return [t for t in trees if t], [f for t, f in zip(trees, full, strict=True) if t]


def _depth(leaves: int, completed: bool) -> int:
    """Nodes above a leaf of the largest block, itself included."""
    return (leaves - 1).bit_length() + 1 if completed else leaves.bit_length()


def _refuse_too_much(
    runs: list[tuple[int, bool, int]], most: int, gap: int, prefix_nodes: bool
) -> None:
    work = 0.0
    for level in range(gap.bit_length(), max(leaves for leaves, _, _ in runs).bit_length() + 1):
        here = min(most, -(-(2**level) // gap))
        work += 4.0 * gap * here * min(here, most)
    joins = sum(2 * times.bit_length() for _, _, times in runs)
    work += 4.0 * joins * gap * most * most
    if prefix_nodes:
        # a later place within a small block may be worth more, so that the tables' lists are longer
        work *= max(1.0, math.log2(gap) ** 2 / 8.0)
    if work > MOST_WORK or gap * (most + 1) > MOST_CELLS:
        raise UnsupportedEventError(
            f"the worst pattern of {most} participations at least {gap} steps apart takes too "
            "long to find; use level_bound or a smaller min_separation, which are upper bounds, or "
            "cyclic_squared_sensitivity where the order of the data is fixed"
        )


@njit(cache=True, nogil=True)
def _worst_phase(ends: Integers, completed: Flags, phases: int, prefix_nodes: bool) -> int:
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
                if not prefix_nodes or place >> level & 1 == 0:
                    total += 2 * below[level] - 1
            before = place
        worst = max(worst, total)
    return worst


__all__ = ["cyclic_squared_sensitivity", "level_bound", "squared_sensitivity"]
