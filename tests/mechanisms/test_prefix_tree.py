"""Trees of which only prefix sums are released, against the law of what they release."""

import itertools
import json
import math

import numpy as np
import pytest

from accountant.tree_aggregation import squared_sensitivity
from mechanisms.participation import (
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies import Strategy
from mechanisms.strategies.prefix_tree import PrefixTree
from mechanisms.strategies.tree import BinaryTree
from mechanisms.workloads import momentum, prefix_sum


def all_trees(steps):
    for estimator in ("plain", "online"):
        for every in [None, *range(1, steps)]:
            yield PrefixTree(steps, every, estimator=estimator)


def information(tree):
    """X = C^T C of the release: the inverse covariance of the noise that the nodes leave on it."""
    decoder = BinaryTree(tree.steps, tree.restart_every, estimator=tree.estimator).decoder()
    return np.linalg.inv(decoder @ decoder.T)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 12, 20])
def test_the_matrix_is_that_of_what_is_released(steps):
    for tree in all_trees(steps):
        matrix = tree.matrix()
        assert matrix.T @ matrix == pytest.approx(information(tree), abs=1e-9), tree
        assert matrix @ tree.decoder() == pytest.approx(np.eye(steps), abs=1e-12)
        assert not np.any(np.triu(matrix, 1))
        assert np.all(matrix >= 0.0)


@pytest.mark.parametrize("steps", range(1, 13))
def test_no_pattern_exceeds_the_sensitivity(steps):
    kinds = [SingleParticipation(), FixedEpochOrder(3)]
    kinds += [MinSeparation(b, k) for b in (1, 2, 3, 5) for k in (2, 3, None)]
    for kind in kinds:
        count, gap = kind.count(steps), kind.separation(steps)
        patterns = [
            np.isin(range(steps), pattern)
            for size in range(1, count + 1)
            for pattern in itertools.combinations(range(steps), size)
            if all(
                b - a == gap if isinstance(kind, FixedEpochOrder) else b - a >= gap
                for a, b in itertools.pairwise(pattern)
            )
        ]
        taken = np.array(patterns, dtype=float)
        for tree in all_trees(steps):
            truth = float(np.max(np.sum((taken @ information(tree)) * taken, axis=1)))
            found = tree.sensitivity_bound(kind)
            assert found.value**2 >= truth * (1 - 1e-12), (tree, kind)
            if found.exact:
                assert found.value**2 == pytest.approx(truth, rel=1e-9), (tree, kind)
            assert found.exact or tree.estimator == "online"
            nodes = BinaryTree(steps, tree.restart_every, estimator=tree.estimator)
            assert found.value <= nodes.sensitivity(kind) * (1 + 1e-14)


def test_one_participation_in_many_steps():
    for steps in (1000, 1024, 3001):
        tree = PrefixTree(steps, estimator="online")
        truth = float(np.max(np.sum(np.square(tree.matrix()), axis=0)))
        assert truth <= tree.sensitivity(SingleParticipation()) ** 2 <= truth * (1 + 1e-12)
        restarted = PrefixTree(3 * steps + 5, steps, estimator="online")
        assert restarted.sensitivity(SingleParticipation()) == tree.sensitivity(
            SingleParticipation()
        )


def test_two_prefix_sums_by_hand():
    # noise z, and z/3 + z' with variances 1 and 5/9: 1 + (1 - 1/3)^2/(5/9) = 9/5
    tree = PrefixTree(2, estimator="online")
    assert tree.sensitivity(SingleParticipation()) ** 2 == pytest.approx(9 / 5, rel=1e-14)
    # both steps: the second sum moves by 2, a third of 1 is known
    both = 1 + (2 - 1 / 3) ** 2 / (5 / 9)
    assert tree.sensitivity(MinSeparation(1, 2)) ** 2 == pytest.approx(both, rel=1e-14)
    assert both == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("steps", "count", "separation", "rmse", "max_error"),
    [
        (256, 1, 1, "4.323", "6.111"),
        (1000, 1, 1, "4.956", "6.736"),
        (1024, 4, 256, "12.701", "17.961"),
        (2052, 6, 342, "18.711", "26.474"),
        (100_000, 1, 1, "8.065", "11.309"),
    ],
)
def test_less_error_than_with_all_nodes_at_equal_privacy(steps, count, separation, rmse, max_error):
    participation = MinSeparation(separation, count)
    tree = PrefixTree(steps, estimator="online")
    assert f"{tree.rmse(participation=participation):.3f}" == rmse
    assert f"{tree.max_error(participation=participation):.3f}" == max_error
    assert tree.rmse(participation=participation) < 0.98 * BinaryTree(
        steps, estimator="online"
    ).rmse(participation=participation)


def test_errors_memory_and_noise_are_the_trees():
    for every in (None, 30):
        mine = PrefixTree(100, every, estimator="online")
        nodes = BinaryTree(100, every, estimator="online")
        assert mine.noise_filter() == nodes.noise_filter()
        assert mine.memory == nodes.memory
        for workload in (prefix_sum(100), momentum(100, 0.9)):
            assert np.array_equal(mine.squared_errors(workload), nodes.squared_errors(workload))


def test_many_steps_fall_back_on_all_nodes():
    participation = MinSeparation(16_666, 6)
    online = PrefixTree(100_000, estimator="online").sensitivity_bound(participation)
    plain = PrefixTree(100_000).sensitivity_bound(participation)
    assert not online.exact
    assert plain.exact
    assert online.value**2 == pytest.approx(118)
    assert plain.value**2 == pytest.approx(
        squared_sensitivity(100_000, 6, 16_666, prefix_nodes=True)
    )


def test_cyclic_sampling_needs_few_bands():
    for estimator in ("plain", "online"):
        with pytest.raises(UnsupportedParticipationError, match="banded strategy"):
            PrefixTree(64, estimator=estimator).sensitivity(CyclicPoisson(8, 0.1))


def test_values_and_files():
    trees = list(all_trees(5))
    assert len(set(trees)) == len(trees)
    for tree in trees:
        assert Strategy.from_json(tree.to_json()) == tree
        assert eval(repr(tree)) == tree
        assert tree != BinaryTree(5, tree.restart_every, estimator=tree.estimator)
    values = json.loads(trees[0].to_json())
    for change in ({"estimator": "full"}, {"completed": True}, {"steps": math.inf}):
        with pytest.raises(ValueError, match=r"must|has no"):
            Strategy.from_dict(values | change)


@pytest.mark.parametrize("estimator", ["full", None, "Plain", 1])
def test_unsound_input_is_refused(estimator):
    with pytest.raises(ValueError, match="must"):
        PrefixTree(8, estimator=estimator)
