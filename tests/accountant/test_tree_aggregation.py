"""Worst patterns of participation in trees, against all patterns and published values."""

import itertools
import math
import random

import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from accountant.errors import UnsupportedEventError
from accountant.tree_aggregation import (
    cyclic_squared_sensitivity,
    level_bound,
    squared_sensitivity,
)
from accountant.tree_patterns import Blocks


def value(pattern, trees, completed, prefix_nodes=False):
    """Sum over the released nodes of all trees of the squared number of participations below."""
    total, first = 0, 0
    for steps, full in zip(trees, completed, strict=True):
        leaves = 2 ** (steps - 1).bit_length() if full else steps
        for size in (2**k for k in range(leaves.bit_length())):
            apart = 2 * size if prefix_nodes else size
            for start in range(first, first + leaves - size + 1, apart):
                end = min(start + size, first + steps)
                total += sum(start <= p < end for p in pattern) ** 2
        first += steps
    return total


def patterns(steps, most, gap):
    """All sets of at most ``most`` steps that are at least ``gap`` apart."""
    for count in range(most + 1):
        for pattern in itertools.combinations(range(steps), count):
            if all(b - a >= gap for a, b in itertools.pairwise(pattern)):
                yield pattern


def by_recursion(steps, most, gap):
    """The recursion of arXiv 2103.00039, Appendix D.2, written as it is stated there."""
    seen = {}

    def best(count, start, end, size):
        # steps free at the start, and free beyond the end of the subtree
        key = count, start, end, size
        if key not in seen:
            seen[key] = compute(*key)
        return seen[key]

    def compute(count, start, end, size):
        if start + gap * count > size + end:
            return -math.inf
        if count == 0:
            return 0
        if size == 1:
            return 1 if count == 1 else -math.inf
        left = 2 ** ((size - 1).bit_length() - 1)
        own = count**2 if left * 2 == size else 0
        return own + max(
            best(count - right, start, between, left) + best(right, between, end, size - left)
            for right in range(count + 1)
            for between in range(gap)
        )

    return max(best(count, 0, gap - 1, steps) for count in range(most + 1))


@pytest.mark.parametrize(
    ("participations", "steps_between", "steps", "published"),
    [(1, 7, 8, 4), (3, 3, 9, 11), (3, 2, 7, 9), (6, 313, 2000, 79)],
)
def test_published_values(participations, steps_between, steps, published):
    assert squared_sensitivity(steps, participations, steps_between + 1) == published


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 9, 1600, 2**20 - 1, 2**20])
def test_one_participation(steps):
    assert squared_sensitivity(steps) == math.floor(math.log2(steps)) + 1
    assert squared_sensitivity(steps, completed=True) == math.ceil(math.log2(steps)) + 1


@pytest.mark.parametrize("counts", [[1], [8], [3, 9, 4], [100, 0, 7], [1023, 1024]])
def test_restarted_trees_in_which_a_record_occurs_once(counts):
    theirs = peer._compute_rdp_single_epoch_tree_aggregation(1.0, counts, [2.0])
    assert squared_sensitivity(counts) == theirs[0]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=3).filter(lambda x: 0 < sum(x) <= 14),
    st.integers(0, 6),
    st.integers(1, 7),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_all_patterns(trees, most, gap, completed):
    completed = completed[: len(trees)]
    truth = max(
        value(
            pattern,
            [t for t in trees if t],
            [c for t, c in zip(trees, completed, strict=True) if t],
        )
        for pattern in patterns(sum(trees), most, gap)
    )
    assert squared_sensitivity(trees, most, gap, completed) == truth
    if len(trees) == 1:
        assert squared_sensitivity(trees[0], most, gap, completed[0]) == truth


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3).filter(lambda x: sum(x) <= 14),
    st.integers(1, 6),
    st.integers(1, 7),
)
@settings(max_examples=100, deadline=None)
def test_all_patterns_and_the_nodes_of_prefix_sums(trees, most, gap):
    some = [False] * len(trees)
    truth = max(value(pattern, trees, some, True) for pattern in patterns(sum(trees), most, gap))
    assert squared_sensitivity(trees, most, gap, prefix_nodes=True) == truth
    assert truth <= squared_sensitivity(trees, most, gap)
    phases = range(min(gap, sum(trees)))
    in_order = max(value(range(i, sum(trees), gap), trees, some, True) for i in phases)
    assert cyclic_squared_sensitivity(trees, gap, prefix_nodes=True) == in_order


def test_prefix_sums_reveal_less_than_all_nodes():
    # 9 levels up to 2^8, whose nodes two of four use; then two left ones, and the root
    assert squared_sensitivity(1024, 4, 256, prefix_nodes=True) == 4 * 8 + 2 + 2**2 + 4**2
    assert squared_sensitivity(1024, 4, 256) == 60
    for steps in (1, 2, 1000, 1024):
        assert squared_sensitivity(steps, prefix_nodes=True) == steps.bit_length()


def test_the_recursion_of_the_paper():
    source = random.Random(1)
    for _ in range(30):
        steps, most, gap = source.randint(1, 40), source.randint(0, 6), source.randint(1, 9)
        assert squared_sensitivity(steps, most, gap) == max(0, by_recursion(steps, most, gap))


@given(st.integers(1, 300), st.integers(1, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_fixed_order(steps, cycle, completed):
    truth = max(
        value(range(first, steps, cycle), [steps], [completed])
        for first in range(min(cycle, steps))
    )
    found = cyclic_squared_sensitivity(steps, cycle, completed)
    assert found == truth
    assert found <= squared_sensitivity(steps, steps, cycle, completed)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(sum),
    st.integers(1, 12),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_fixed_order_across_trees(trees, cycle, completed):
    some = [t for t in trees if t]
    truth = max(
        value(range(first, sum(trees), cycle), some, [completed] * len(some))
        for first in range(min(cycle, sum(trees)))
    )
    found = cyclic_squared_sensitivity(trees, cycle, completed)
    assert found == truth
    assert found <= squared_sensitivity(trees, sum(trees), cycle, completed)


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(1, 5),
    st.integers(1, 20),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_equal_trees_are_joined_by_doubling(steps, times, last, most, gap, completed):
    trees = [steps] * times + [last]
    blocks = Blocks(min(gap, sum(trees)), min(most, -(-sum(trees) // gap)))
    one_by_one = blocks.nothing
    for tree in reversed([t for t in trees if t]):
        one_by_one = blocks.before(blocks.forest(tree, completed), tree, one_by_one)
    assert squared_sensitivity(trees, most, gap, completed) == one_by_one[0][0].max()


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
    st.integers(0, 8),
    st.integers(1, 30),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_a_bound_for_trees_of_any_size(trees, most, gap, completed):
    bound = level_bound(trees, most, gap, completed)
    assert bound >= squared_sensitivity(trees, most, gap, completed)
    if most <= 1:
        assert bound == squared_sensitivity(trees, most, gap, completed)


def test_the_bound_by_levels():
    # 2^8 < 314: at most one below a node; 2 below 512 steps, 4 below 1024
    assert level_bound(2000, 6, 314) == 9 * 6 + 3 * 2**2 + (4**2 + 2**2)
    assert level_bound(4096, 4096) == squared_sensitivity(4096, 4096)
    assert level_bound(10**12, 10**6, 999) < 40 * 10**12


def test_dp_ftrl_on_cifar():
    # 5 trees of 20 epochs of 100 steps; all but the last completed; noise 46.3
    z = 4 * cyclic_squared_sensitivity(2000, 100, True) + cyclic_squared_sensitivity(2000, 100)
    assert 46.3 / math.sqrt(z) == pytest.approx(0.72054075, abs=5e-9)
    free = squared_sensitivity([2000] * 5, 100, 100, [True] * 4 + [False])
    assert free >= z


def test_monotone():
    for steps, most, gap in ((100, 4, 9), (77, 5, 3), (64, 3, 20)):
        z = squared_sensitivity(steps, most, gap)
        assert z <= squared_sensitivity(steps + 1, most, gap)
        assert z <= squared_sensitivity(steps, most + 1, gap)
        assert z <= squared_sensitivity(steps, most, gap - 1)
        assert z <= squared_sensitivity(steps, most, gap, completed=True)


@pytest.mark.parametrize(
    ("participations", "separation", "expected"),
    [(6, 1, 542), (6, 100, 358), (6, 342, 298), (6, 16_666, 118), (5, 20_000, 100)],
)
def test_a_hundred_thousand_steps(participations, separation, expected):
    found = squared_sensitivity(100_000, participations, separation)
    # as early as can be: one pattern of those that the maximum is over
    earliest = range(0, participations * separation, separation)
    levels = (np.array(earliest) >> level for level in range(17))
    counts = [np.unique(blocks, return_counts=True) for blocks in levels]
    released = [np.sum(n[(b + 1) << level <= 100_000] ** 2) for level, (b, n) in enumerate(counts)]
    assert sum(released) <= found == expected
    assert found <= level_bound(100_000, participations, separation)


def test_large_trees():
    every = squared_sensitivity(4096, 4096)
    assert every == sum(4**k * 4096 // 2**k for k in range(13))
    assert squared_sensitivity(20_000, 40, 500) >= cyclic_squared_sensitivity(20_000, 500)
    assert squared_sensitivity(2**40, 1, 10**9) == 41
    with pytest.raises(UnsupportedEventError, match="upper bound"):
        squared_sensitivity(10**9, 10**6, 999)
    with pytest.raises(UnsupportedEventError, match="upper bound"):
        cyclic_squared_sensitivity(10**9, 10)


@pytest.mark.parametrize("steps", [0, [], [0, 0]])
def test_nothing_is_released(steps):
    assert squared_sensitivity(steps, 3) == 0
    assert squared_sensitivity(10, 0) == 0
    assert cyclic_squared_sensitivity(0, 3) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (-1,),
        (2.0,),
        (True,),
        ("8",),
        (None,),
        (math.nan,),
        ([4, -1],),
        ([4, 2.5],),
        (2**41,),
        (8, -1),
        (8, 1.5),
        (8, True),
        (8, 2, -1),
        (8, 2, 0),
        (8, 2, math.inf),
        (8, 2, 1, [True, False]),
        (8, 2, 1, True, True),
    ],
)
def test_unsound_input_is_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        squared_sensitivity(*arguments)


@pytest.mark.parametrize("arguments", [(-1, 2), (8, 0), (8, 1.5), (8.0, 2), (8, True)])
def test_an_unsound_cycle_is_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        cyclic_squared_sensitivity(*arguments)


def test_numpy_integers_are_integers():
    assert squared_sensitivity(np.int64(9), np.int32(3), np.int64(4)) == 11
    assert squared_sensitivity(np.array([9, 9]), 1) == 4
