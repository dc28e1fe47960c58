"""Binary trees, against explicit matrices, all patterns of participation and published figures."""

import itertools
import json
import math
import re

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent

from accountant import events, privacy_loss
from accountant.parameters import ZERO_OUT
from accountant.renyi import epsilon_from_renyi, epsilon_of_zcdp
from mechanisms.noise import NoiseStream
from mechanisms.noise.tree_filter import TreeFilter
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.rate_schedules import cosine_rate
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies import Strategy
from mechanisms.strategies.tree import BinaryTree
from mechanisms.workloads import from_matrix, learning_rates, momentum, prefix_sum, toeplitz

ESTIMATORS = ("plain", "online", "full")


def all_trees(steps, estimators=ESTIMATORS):
    """Every tree over so many steps: all restarts, with and without completion."""
    for estimator in estimators:
        yield BinaryTree(steps, estimator=estimator)
        for every in range(1, steps):
            for completed in (False, True):
                yield BinaryTree(steps, every, estimator=estimator, completed=completed)


def trees_of(tree):
    """First step, number of steps, and whether completed, of each of the trees."""
    every = tree.restart_every or tree.steps
    firsts = range(0, tree.steps, every)
    return [
        (first, min(every, tree.steps - first), tree.completed and first != firsts[-1])
        for first in firsts
    ]


def blocks_of(tree):
    """The definition: the real steps of each dyadic block that is released."""
    found = []
    for first, steps, completed in trees_of(tree):
        leaves = 2 ** (steps - 1).bit_length() if completed else steps
        for size in (2**level for level in range(leaves.bit_length())):
            for start in range(0, leaves - size + 1, size):
                if start < steps:
                    found.append((first + start, first + min(start + size, steps)))
    return found


def best_estimate(matrix, first, end):
    """Weights of the least-squares estimate of a sum of steps, from the nodes within it."""
    inside = matrix[:, first:end].sum(axis=1) == matrix.sum(axis=1)
    inside &= matrix.sum(axis=1) > 0
    weights = np.zeros(len(matrix))
    weights[inside] = np.linalg.pinv(matrix[inside][:, first:end]).sum(axis=0)
    return weights


def own_node(matrix, first, end):
    """Weight 1 of the highest node over these steps."""
    sums = matrix[:, first:end].sum(axis=1)
    over = np.flatnonzero((sums == end - first) & (matrix.sum(axis=1) == sums))
    return np.eye(len(matrix))[over[-1]]


def prefix_estimates(tree):
    """The definition of plain and online estimates: a row of weights for each prefix sum."""
    estimate = {"plain": own_node, "online": best_estimate}[tree.estimator]
    released = tree.matrix()
    spans = [(np.flatnonzero(row)[0], row.sum()) for row in released]
    # of a node and those with virtual steps above it, that have the same real ones, the first
    real = [span not in spans[:row] for row, span in enumerate(spans)]
    rows = []
    before = np.zeros(len(released))
    for first, steps, completed in trees_of(tree):
        for length in range(1, steps + 1):
            row, start = before.copy(), first
            for level in reversed(range(length.bit_length())):
                if length >> level & 1:
                    complete = [
                        is_real and span[1] in (2**k for k in range(level + 1))
                        for is_real, span in zip(real, spans, strict=True)
                    ]
                    row += estimate(released * np.c_[complete], start, start + 2**level)
                    start += 2**level
            rows.append(row)
        before = before + estimate(released, first, first + steps) if completed else rows[-1]
    return np.array(rows)


def covariance(tree):
    decoder = tree.decoder()
    return decoder @ decoder.T


def patterns(steps, participation):
    """All sets of steps that an example may take part in."""
    count = participation.count(steps)
    for size in range(1, count + 1):
        for pattern in itertools.combinations(range(steps), size):
            gaps = [b - a for a, b in itertools.pairwise(pattern)]
            if isinstance(participation, FixedEpochOrder | BallsInBins):
                allowed = all(gap % participation.separation(steps) == 0 for gap in gaps)
            else:
                allowed = all(gap >= participation.separation(steps) for gap in gaps)
            if allowed:
                yield list(pattern)


# -- matrices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 8, 11])
def test_the_matrix_has_a_row_for_each_block(steps):
    for tree in all_trees(steps, ["plain"]):
        rows = sorted(map(tuple, tree.matrix()))
        wanted = [[float(a <= i < b) for i in range(steps)] for a, b in blocks_of(tree)]
        assert rows == sorted(map(tuple, wanted))


def test_rows_are_in_the_order_in_which_blocks_end():
    ends = [np.flatnonzero(row)[-1] for row in BinaryTree(13, 6, completed=True).matrix()]
    assert ends == sorted(ends)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 12])
def test_decoders_are_what_the_estimators_say(steps):
    for tree in all_trees(steps, ["plain", "online"]):
        increments = np.diff(prefix_estimates(tree), axis=0, prepend=0.0)
        assert tree.decoder() == pytest.approx(increments, abs=1e-12), tree


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 12])
def test_all_nodes_by_least_squares(steps):
    for tree in all_trees(steps, ["full"]):
        assert tree.decoder() == pytest.approx(np.linalg.pinv(tree.matrix()), abs=1e-12)


@pytest.mark.parametrize("steps", [3, 8, 11])
def test_estimates_are_unbiased(steps):
    for tree in all_trees(steps):
        assert tree.decoder() @ tree.matrix() == pytest.approx(np.eye(steps), abs=1e-12)


def test_more_nodes_estimate_better():
    for steps, every in ((64, None), (100, None), (100, 30), (96, 24)):
        errors = [
            BinaryTree(steps, every, estimator=estimator).squared_errors(prefix_sum(steps))
            for estimator in ESTIMATORS
        ]
        assert np.all(errors[0] >= errors[1] - 1e-12)
        assert np.all(errors[1] >= errors[2] - 1e-12)
        assert errors[0].mean() > errors[1].mean() > errors[2].mean()


def test_what_completion_is_for():
    # after four epochs: 4 roots, instead of 4 x popcount(100) = 12 nodes
    plain = BinaryTree(500, 100).squared_errors(prefix_sum(500))
    completed = BinaryTree(500, 100, completed=True).squared_errors(prefix_sum(500))
    assert plain[400] == 13.0
    assert completed[400] == 5.0
    assert plain[99] == completed[99] == 3.0
    online = BinaryTree(500, 100, estimator="online", completed=True)
    assert np.all(online.squared_errors(prefix_sum(500)) <= completed)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 13])
def test_errors_are_those_of_the_matrices(steps):
    source = np.random.default_rng(steps)
    workloads = [
        prefix_sum(steps),
        momentum(steps, 0.9),
        momentum(steps, 0.5, 0.1),
        learning_rates(cosine_rate(steps), 0.8, 0.05),
        toeplitz(1.0 / np.arange(1.0, steps + 1.0)),
        from_matrix(np.tril(source.uniform(0.1, 1.0, (steps, steps)))),
    ]
    for tree in all_trees(steps):
        noise = covariance(tree)
        for workload in workloads:
            truth = np.diagonal(workload.matrix() @ noise @ workload.matrix().T)
            assert tree.squared_errors(workload) == pytest.approx(truth, rel=1e-9), (tree, workload)
            assert tree.mean_squared_error(workload) == pytest.approx(truth.mean(), rel=1e-9)
            assert tree.max_squared_error(workload) == pytest.approx(truth.max(), rel=1e-9)


@pytest.mark.parametrize("every", [None, 1000, 4097, 131_072])
@pytest.mark.parametrize("estimator", ["plain", "online"])
def test_closed_forms_of_many_steps(estimator, every):
    tree = BinaryTree(200_000, every, estimator=estimator, completed=every is not None)
    errors = tree.squared_errors(prefix_sum(200_000))
    assert tree.mean_squared_error(prefix_sum(200_000)) == pytest.approx(errors.mean(), rel=1e-12)
    assert tree.max_squared_error(prefix_sum(200_000)) == pytest.approx(errors.max(), rel=1e-12)


def test_recursions_of_many_steps():
    # without momentum and decay, the general way to prefix sums
    steps = 50_000
    for every, completed in ((None, False), (777, True)):
        tree = BinaryTree(steps, every, estimator="online", completed=completed)
        found = tree.squared_errors(learning_rates(np.ones(steps)))
        assert found == pytest.approx(tree.squared_errors(prefix_sum(steps)), rel=1e-9)


def test_the_published_variance_of_the_online_estimator():
    errors = BinaryTree(2**12, estimator="online").squared_errors(prefix_sum(2**12))
    for t in (1, 2, 3, 1000, 4095, 4096):
        assert errors[t - 1] == pytest.approx(
            sum(1 / (2 - 2.0**-h) for h in range(13) if t >> h & 1), rel=1e-14
        )


def test_the_published_variance_of_the_full_estimator():
    # the last prefix sum is the root's (Honaker 2015)
    errors = BinaryTree(2**8, estimator="full").squared_errors(prefix_sum(2**8))
    assert errors[-1] == pytest.approx(1 / (2 - 2.0**-8), rel=1e-14)
    assert errors == pytest.approx(
        np.diagonal(np.cumsum(np.cumsum(_inverse_gram(8), axis=0), axis=1)), rel=1e-9
    )


def _inverse_gram(height):
    gram = sum(np.kron(np.eye(2 ** (height - h)), np.ones((2**h, 2**h))) for h in range(height + 1))
    return np.linalg.inv(gram)


@pytest.mark.parametrize(
    ("steps", "count", "separation", "estimator", "rmse", "max_error"),
    [
        (256, 1, 1, "plain", "6.003", "8.485"),
        (1000, 1, 1, "plain", "7.027", "9.487"),
        (2048, 1, 1, "plain", "8.124", "11.489"),
        (1024, 4, 256, "plain", "17.322", "24.495"),
        (2052, 6, 342, "plain", "25.462", "36.028"),
        (100_000, 1, 1, "plain", "11.771", "16.492"),
        (256, 1, 1, "online", "4.650", "6.574"),
        (1000, 1, 1, "online", "5.357", "7.282"),
        (2048, 1, 1, "online", "6.150", "8.697"),
        (1024, 4, 256, "online", "13.195", "18.659"),
        (2052, 6, 342, "online", "19.275", "27.272"),
        (100_000, 1, 1, "online", "8.724", "12.233"),
    ],
)
def test_figures_of_error(steps, count, separation, estimator, rmse, max_error):
    participation = MinSeparation(separation, count)
    tree = BinaryTree(steps, estimator=estimator)
    assert f"{tree.rmse(participation=participation):.3f}" == rmse
    assert f"{tree.max_error(participation=participation):.3f}" == max_error


# -- sensitivity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(1, 13))
def test_no_pattern_exceeds_the_sensitivity(steps):
    kinds = [
        SingleParticipation(),
        *(MinSeparation(b, k) for b in (1, 2, 3, 5) for k in (2, 3, None)),
        *(FixedEpochOrder(b) for b in (1, 2, 3, 5)),
        FixedEpochOrder(2, 2),
        BallsInBins(3, 12),
    ]
    grams = {}
    for tree in all_trees(steps, ["plain"]):
        matrix = tree.matrix()
        grams[tree] = matrix.T @ matrix
    for kind in kinds:
        allowed = np.array([np.isin(range(steps), p) for p in patterns(steps, kind)], dtype=float)
        for tree, gram in grams.items():
            truth = float(np.max(np.sum((allowed @ gram) * allowed, axis=1)))
            found = tree.sensitivity_bound(kind)
            assert found.value**2 >= truth * (1 - 1e-15), (tree, kind)
            if found.exact:
                assert found.value == pytest.approx(math.sqrt(truth), rel=1e-15), (tree, kind)
            else:
                assert kind == FixedEpochOrder(2, 2)


def test_equal_contributions_are_worst():
    source = np.random.default_rng(5)
    tree = BinaryTree(12, 5, completed=True)
    matrix = tree.matrix()
    for kind in (MinSeparation(2, 4), MinSeparation(3), FixedEpochOrder(4)):
        for pattern in patterns(12, kind):
            vectors = source.normal(size=(len(pattern), 3))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            signs = source.choice([-1.0, 1.0], size=(len(pattern), 1))
            for contribution in (vectors, signs):
                moved = np.linalg.norm(matrix[:, pattern] @ contribution)
                assert moved <= tree.sensitivity(kind) * (1 + 1e-12)


def test_the_root_is_rounded_up():
    for steps, count in ((255, 1), (256, 1), (2000, 6), (100_000, 6)):
        tree = BinaryTree(steps)
        value = tree.sensitivity(MinSeparation(100, count))
        squared = int(value.as_integer_ratio()[0]) ** 2
        whole = round(value**2)
        assert squared >= whole * value.as_integer_ratio()[1] ** 2
        assert value == pytest.approx(math.sqrt(whole), rel=3e-16)
    assert BinaryTree(256).sensitivity(SingleParticipation()) == 3.0


def test_estimators_share_one_sensitivity():
    values = {
        BinaryTree(300, 70, estimator=estimator).sensitivity(MinSeparation(40, 5))
        for estimator in ESTIMATORS
    }
    assert len(values) == 1


def test_patterns_too_many_to_compare_are_bounded():
    tree = BinaryTree(2**30)
    found = tree.sensitivity_bound(MinSeparation(1_000_000, 1000))
    assert not found.exact
    # a pattern is no worse than the bound: as early as can be
    assert found.value**2 >= 20 * 1000
    epochs = tree.sensitivity_bound(FixedEpochOrder(1_000_000))
    assert not epochs.exact
    assert epochs.value <= found.value * 1.1


def test_cyclic_sampling_needs_few_bands():
    with pytest.raises(UnsupportedParticipationError, match="banded strategy"):
        BinaryTree(64).sensitivity(CyclicPoisson(8, 0.1))
    assert BinaryTree(64).sensitivity(CyclicPoisson(64, 0.1)) == math.sqrt(7)


# -- published deployments -------------------------------------------------------------------------


def test_gboard_with_a_tree():
    # Spain's Spanish: 2,000 rounds, a device again after 313 others at the earliest, noise 7
    sensitivity = BinaryTree(2000).sensitivity(MinSeparation(314, 6))
    assert sensitivity**2 == pytest.approx(79, rel=1e-15)
    rho = sensitivity**2 / (2 * 7.0**2)
    assert round(rho, 2) == 0.81
    assert round(epsilon_from_renyi(lambda orders: rho * orders, 1e-10).value, 2) == 8.90
    assert epsilon_of_zcdp(rho, 1e-10) == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e10)))
    event = events.TreeAggregationDpEvent(7.0, 2000, 6, 314)
    exact = privacy_loss(event, ZERO_OUT).epsilon(1e-10)
    assert exact == pytest.approx(8.526093, abs=2e-6)
    assert exact == pytest.approx(
        privacy_loss(GaussianDpEvent(7.0 / sensitivity)).epsilon(1e-10), rel=1e-9
    )


@pytest.mark.parametrize(
    ("rho", "published"),
    [
        (0.1506840301548885, 3.4240074094281336),
        (0.014342572340349278, 0.9935500950539097),
    ],
)
def test_gboard_with_banded_matrices(rho, published):
    # rounded up by at most a grid's cell there, to the last digits here
    exact = privacy_loss(GaussianDpEvent(1 / math.sqrt(2 * rho))).epsilon(1e-10)
    assert published - 2e-7 < exact <= published
    assert exact < epsilon_from_renyi(lambda orders: rho * orders, 1e-10).value


def test_gboard_brazil_takes_part_twice():
    # columns of norm 1 and no more bands than the separation: two participations add up
    assert 2 / (2 * 8.35**2) == pytest.approx(0.014342572340349278, rel=1e-12)


# -- noise -----------------------------------------------------------------------------------------


def run(tree_filter, rows, dtype=np.float64):
    """The noise from given rows of Z."""
    state = np.zeros((tree_filter.memory, rows.shape[1]), dtype)
    noise = np.empty((tree_filter.steps, rows.shape[1]), dtype)
    for step, out in enumerate(noise):
        tree_filter.advance(step, state, lambda j: rows[j].copy(), out)
    return noise


def draws(tree):
    trees = -(-tree.steps // (tree.restart_every or tree.steps))
    return tree.steps + (trees - 1 if tree.completed else 0)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 12, 33])
def test_streams_have_the_covariance_of_the_estimates(steps):
    for tree in all_trees(steps, ["plain", "online"]):
        weights = run(tree.noise_filter(), np.eye(draws(tree)))
        assert weights @ weights.T == pytest.approx(covariance(tree), abs=1e-12), tree


def test_a_row_uses_no_later_row_of_z():
    tree = BinaryTree(50, 12, estimator="online", completed=True)
    weights = tree.noise_filter().decoder()
    assert not np.any(np.triu(weights[:, :50], 1))
    for number in range(4):
        assert not np.any(weights[: 12 * (number + 1), 50 + number])
        assert weights[12 * (number + 1), 50 + number] > 0


def test_the_empirical_covariance():
    tree = BinaryTree(11, 5, estimator="online", completed=True)
    samples = 40_000
    noise = run(tree.noise_filter(), np.random.default_rng(3).normal(size=(draws(tree), samples)))
    sums = np.cumsum(noise, axis=0)
    truth = np.cumsum(np.cumsum(covariance(tree), axis=0), axis=1)
    found = sums @ sums.T / samples
    scale = np.sqrt(np.outer(np.diagonal(truth), np.diagonal(truth)))
    assert np.max(np.abs(found - truth) / scale) < 5 * math.sqrt(2 / samples)


@pytest.mark.parametrize("every", [None, 100, 128, 1])
def test_few_arrays_are_kept(every):
    tree = BinaryTree(1000, every, estimator="online")
    assert tree.memory == {None: 10, 100: 7, 128: 7, 1: 0}[every]
    assert tree.noise_filter().memory == tree.memory
    rows = np.random.default_rng(1).normal(size=(1000, 3))
    errors = tree.squared_errors(prefix_sum(1000))
    assert np.all(np.abs(np.cumsum(run(tree.noise_filter(), rows), axis=0).T) < 6 * np.sqrt(errors))


def test_single_precision():
    tree = BinaryTree(700, 300, estimator="online", completed=True)
    rows = np.random.default_rng(2).normal(size=(draws(tree), 4))
    single = run(tree.noise_filter(), rows, np.float32)
    assert single.dtype == np.float32
    assert single == pytest.approx(run(tree.noise_filter(), rows), abs=2e-5)


def test_a_stream_goes_on_where_it_was_saved(tmp_path):
    tree = BinaryTree(20, 6, estimator="online", completed=True)
    whole = np.array(list(tree.noise(5, rng=7)))
    assert whole.shape == (20, 5)
    first = tree.noise(5, rng=7)
    before = [next(first) for _ in range(12)]
    first.save(tmp_path / "state.npz")
    rest = NoiseStream.restore(tmp_path / "state.npz", tree.noise_filter())
    assert np.array_equal(whole, [*before, *rest])
    with pytest.raises(ValueError, match="filter"):
        NoiseStream.restore(tmp_path / "state.npz", BinaryTree(20, 6).noise_filter())


def test_a_stream_has_the_covariance_of_the_estimates():
    tree = BinaryTree(6, 3, estimator="online", completed=True)
    samples = 60_000
    sums = np.cumsum(list(tree.noise(samples, rng=11)), axis=0)
    truth = np.cumsum(np.cumsum(covariance(tree), axis=0), axis=1)
    scale = np.sqrt(np.outer(np.diagonal(truth), np.diagonal(truth)))
    assert np.max(np.abs(sums @ sums.T / samples - truth) / scale) < 5 * math.sqrt(2 / samples)


def test_filters_are_told_apart():
    filters = [
        TreeFilter(10, 10),
        TreeFilter(10, 10, "online"),
        TreeFilter(10, 5),
        TreeFilter(10, 5, completed=True),
        TreeFilter(11, 10),
    ]
    assert len({one.digest() for one in filters}) == len(filters)
    assert TreeFilter(10, 10).digest() == TreeFilter(10, 12).digest()


def test_the_reference_has_no_noise():
    with pytest.raises(ValueError, match="cannot be produced step by step"):
        BinaryTree(8, estimator="full").noise_filter()


# -- values ----------------------------------------------------------------------------------------


def test_trees_are_values_and_files():
    trees = [*all_trees(5), BinaryTree(10**9, 10**6, estimator="online", completed=True)]
    assert len(set(trees)) == len(trees)
    for tree in trees:
        assert Strategy.from_json(tree.to_json()) == tree
        assert eval(repr(tree)) == tree
    assert BinaryTree(8, 8) == BinaryTree(8) == BinaryTree(8, 9, completed=True)
    with pytest.raises(AttributeError):
        BinaryTree(8).steps = 9


@pytest.mark.parametrize(
    "change",
    [
        {"estimator": "best"},
        {"estimator": ["online"]},
        {"restart_every": 0},
        {"restart_every": 2.0},
        {"restart_every": True},
        {"completed": 1},
        {"completed": "no"},
        {"steps": 0},
        {"steps": 2**41},
        {"steps": None},
        {"fanout": 2},
    ],
)
def test_a_wrong_file_is_refused(change):
    values = json.loads(BinaryTree(8, 4, completed=True).to_json())
    with pytest.raises(ValueError, match=re.compile("must|has no")):
        Strategy.from_dict(values | change)
    missing = {key: value for key, value in values.items() if key not in change}
    if missing != values:
        with pytest.raises(ValueError, match=re.compile("missing|must")):
            Strategy.from_dict(missing)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((0,), {}),
        ((-1,), {}),
        ((2.5,), {}),
        ((True,), {}),
        (("8",), {}),
        ((math.nan,), {}),
        ((8, 0), {}),
        ((8, math.inf), {}),
        ((10**8, 10), {}),
        ((8,), {"completed": True}),
        ((8, 4), {"completed": None}),
        ((8,), {"estimator": "Online"}),
    ],
)
def test_unsound_input_is_refused(arguments, options):
    with pytest.raises(ValueError, match="must"):
        BinaryTree(*arguments, **options)


def test_large_trees():
    tree = BinaryTree(2**40, estimator="online")
    # 2^39 - 1 and half of the rest: 40 digits, and every second one is 1
    assert tree.mean_squared_error(prefix_sum(2**40)) == pytest.approx(
        sum(0.5 / (2 - 2.0**-h) for h in range(40)), rel=1e-9
    )
    assert tree.max_squared_error(prefix_sum(2**40)) == pytest.approx(
        sum(1 / (2 - 2.0**-h) for h in range(40)), rel=1e-12
    )
    assert tree.sensitivity(SingleParticipation()) ** 2 == pytest.approx(41)
    assert tree.memory == 40
    for refused in (tree.matrix, tree.decoder):
        with pytest.raises(ValueError, match="too large to form"):
            refused()
    with pytest.raises(ValueError, match="too many to hold"):
        tree.squared_errors(prefix_sum(2**40))
    with pytest.raises(ValueError, match="make both for the same run"):
        tree.rmse(prefix_sum(8))
