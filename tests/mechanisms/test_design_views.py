"""Views of designs: small, and the same numbers as the matrices they stand for."""

import math

import numpy as np
import pytest

from mechanisms import Plan
from mechanisms.comparison import Row, entry
from mechanisms.design_pictures import picture
from mechanisms.design_views import (
    Measured,
    Purpose,
    best_of_each_kind,
    best_possible,
    by_size,
    error_over_steps,
    gigabytes,
    measured,
    run_of,
    strategy_of,
    within,
)
from mechanisms.designs import Design, parse
from mechanisms.participation import CyclicPoisson, MinSeparation
from mechanisms.planning.fields import PlanError
from mechanisms.recommendation import recommend
from mechanisms.strategies import BLT, BandedToeplitz, BinaryTree, Identity, InverseBandedToeplitz
from mechanisms.workloads import momentum, prefix_sum

PLAN = Plan(
    dataset_size=1600,
    batch_size=100,
    steps=64,
    noise_multiplier=1.0,
    clip_norm=0.5,
    delta=1e-6,
    sampler="min_separation",
    min_separation=16,
    max_participations=4,
    neighboring_relation="replace_special",
)
DESIGNS = tuple(map(parse, ("identity", "tree", "blt:1", "blt:2", "toeplitz:4", "toeplitz:16")))
BUFFERS = BLT(300, (0.99, 0.7), (0.1, 0.3))
FAR = 3_000_000_000


@pytest.fixture(scope="module")
def found():
    return recommend(PLAN, epsilon=8.0, designs=DESIGNS, quick=True)


# -- what a run estimates --------------------------------------------------------------------------


def test_prefix_sums_need_no_workload():
    assert Purpose().workload(10**15) is None
    assert Purpose(words="momentum=0.9").workload(10**9).steps == 10**9


def test_a_purpose_makes_the_workload_that_it_names():
    made = Purpose(words="momentum=0.9,weight_decay=0.1").workload(20)
    assert np.allclose(made.matrix(), momentum(20, 0.9, 0.1).matrix())


@pytest.mark.parametrize(
    "wrong", [{"objective": "median"}, {"words": "momentum=1.5"}, {"words": "sine"}]
)
def test_a_purpose_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be"):
        Purpose(**wrong)


def test_learning_rates_are_not_listed_for_ever():
    with pytest.raises(ValueError, match="at most 1000000 steps"):
        Purpose(words="cosine").workload(10**7)


def test_a_run_follows_from_a_plan():
    run = run_of(PLAN, Purpose("max"))
    assert (run.steps, run.objective, run.workload) == (64, "max", None)
    assert run.participation == MinSeparation(16, 4)
    groups = PLAN.replace(
        sampler="cyclic_poisson", groups=4, min_separation=None, max_participations=None
    )
    assert run_of(groups, Purpose()).participation == CyclicPoisson(4, 0.25)


def test_a_run_without_steps_or_patterns_is_refused():
    with pytest.raises(PlanError, match="steps must be given"):
        run_of(PLAN.replace(steps=None), Purpose())
    poisson = {"sampler": "poisson", "min_separation": None, "max_participations": None}
    with pytest.raises(PlanError, match="sampler must be"):
        run_of(PLAN.replace(**poisson), Purpose())


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["prefix", "momentum=0.9"])
@pytest.mark.parametrize("objective", ["mean", "max"])
def test_both_errors_are_those_of_the_matrices(words, objective):
    purpose = Purpose(objective, words)
    workload = purpose.workload(64)
    goal = (prefix_sum(64) if workload is None else workload).matrix()
    result = recommend(
        PLAN, epsilon=8.0, objective=objective, workload=workload, designs=DESIGNS, quick=True
    )
    for choice in result.choices:
        one = measured(choice, workload)
        errors = np.square(goal @ strategy_of(choice.plan).decoder()).sum(axis=1)
        scale = choice.plan.noise_stddev / 0.5
        assert one.rmse == pytest.approx(scale * math.sqrt(errors.mean()), rel=1e-9)
        assert one.max_error == pytest.approx(scale * math.sqrt(errors.max()), rel=1e-9)
        counted = one.rmse if objective == "mean" else one.max_error
        assert counted == pytest.approx(choice.error, rel=1e-9)
        assert one.relative(result) == choice.error / result.independent.error


def test_a_limit_leaves_out_what_keeps_more(found):
    few = within(found, 1)
    assert {str(choice.design) for choice in few.choices} == {"identity", "blt:1"}
    assert few.bound == found.bound
    assert within(found, None).choices == found.choices
    only = recommend(PLAN, epsilon=8.0, designs=(Design("blt", 2),), quick=True)
    assert within(only, 1) is None


def test_the_best_possible_is_below_all_and_what_the_gaps_are_from(found):
    least = best_possible(found)
    for choice in found.choices:
        assert choice.error >= least
        if not isinstance(choice.plan.mechanism, str):
            gap = 100.0 * (choice.error / least - 1.0)
            assert gap == pytest.approx(found.gap(choice), rel=1e-9)


def test_points_by_size(found):
    points = by_size(found)
    assert [point.size for point in points["toeplitz"]] == [4, 16]
    assert [point.memory for point in points["toeplitz"]] == [3, 15]
    assert [point.size for point in points["blt"]] == [1, 2]
    assert [point.size for point in points["identity"]] == [0]


def test_the_best_of_each_kind(found):
    rows = [measured(choice, None) for choice in found.choices]
    best = best_of_each_kind(rows)
    assert [row.choice.design.kind for row in best] == list(
        dict.fromkeys(row.choice.design.kind for row in rows)
    )
    assert all(isinstance(row, Measured) for row in best)


def test_memory_of_a_model():
    assert gigabytes(4, 10**8) == 1.6


# -- curves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "tree-online", "blt:2", "toeplitz:4", "bisr:4"])
def test_the_error_over_steps_is_that_of_the_rows(name):
    row = entry(parse(name), run_of(PLAN, Purpose()))
    assert isinstance(row, Row)
    plan = PLAN.replace(mechanism=row.strategy)
    points = error_over_steps(plan)
    errors = np.square(prefix_sum(64).matrix() @ row.strategy.decoder()).sum(axis=1)
    scale = plan.noise_stddev / plan.clip_norm
    assert [point.step for point in points] == list(range(1, 65))
    assert np.allclose([point.error for point in points], scale * np.sqrt(errors), rtol=1e-9)


def test_long_curves_are_thinned_and_keep_their_ends():
    plan = PLAN.replace(steps=100_000, min_separation=16, mechanism=BLT(100_000, (0.99,), (0.2,)))
    points = error_over_steps(plan)
    steps = [point.step for point in points]
    assert 300 <= len(points) <= 400
    assert (steps[0], steps[-1]) == (1, 100_000)
    assert steps == sorted(set(steps))
    whole = plan.mechanism.squared_errors(prefix_sum(100_000))
    scale = plan.noise_stddev / plan.clip_norm
    middle = points[200]
    assert middle.error == pytest.approx(scale * math.sqrt(whole[middle.step - 1]), rel=1e-9)


@pytest.mark.parametrize("beta", [None, 0.9])
def test_beyond_what_is_held_closed_forms_draw_the_same_curve(monkeypatch, beta):
    workload = None if beta is None else momentum(300, beta)
    plan = PLAN.replace(steps=300, min_separation=16, mechanism=BUFFERS)
    whole = {point.step: point.error for point in error_over_steps(plan, workload)}
    monkeypatch.setattr("mechanisms.design_views._LONGEST_VECTOR", 100)
    closed = error_over_steps(plan, workload)
    assert 30 <= len(closed) <= 100
    for point in closed:
        assert point.error == pytest.approx(whole[point.step], rel=1e-9)


def test_a_run_of_billions_of_steps_is_drawn_where_closed_forms_are():
    strategy = BLT(FAR, (1 - 1e-9, 0.99), (1e-4, 0.1))
    plan = Plan(
        sampler="full_batch",
        dataset_size=10,
        steps=FAR,
        noise_multiplier=1e3,
        mechanism=strategy,
        neighboring_relation="replace_special",
    )
    points = error_over_steps(plan)
    assert points[-1].step == FAR
    assert points[-1].error == pytest.approx(
        plan.noise_stddev * math.sqrt(strategy.max_squared_error(prefix_sum(FAR))), rel=1e-12
    )
    assert picture(strategy, beginning=True).matrix.shape == (96, 96)
    with pytest.raises(ValueError, match="drawn for at most"):
        error_over_steps(plan.replace(mechanism=BinaryTree(FAR)))


# -- pictures --------------------------------------------------------------------------------------

STRATEGIES = (
    Identity(300),
    BUFFERS,
    BandedToeplitz(300, (1.0, 0.5, 0.375)),
    InverseBandedToeplitz(300, (1.0, -0.5, -0.125)),
    BinaryTree(300),
)


@pytest.mark.parametrize("beginning", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_a_picture_is_a_sample_of_the_matrices(strategy, beginning):
    seen = picture(strategy, 48, beginning=beginning)
    shown, rows = np.array(seen.steps) - 1, np.array(seen.rows) - 1
    decoder = strategy.decoder()
    covariance = decoder @ decoder.T
    spread = np.sqrt(np.diagonal(covariance))
    expected = (covariance / np.outer(spread, spread))[np.ix_(shown, shown)]
    assert np.allclose(seen.matrix, strategy.matrix()[np.ix_(rows, shown)], atol=1e-12)
    assert np.allclose(seen.correlation, expected, atol=1e-9)
    assert len(shown) <= 48
    assert shown[-1] == 47 if beginning else shown[-1] >= 290
    apart = expected[~np.eye(len(expected), dtype=bool)]
    assert seen.strongest == pytest.approx(np.abs(apart).max() or 1.0, rel=1e-6)


def test_short_runs_are_shown_whole():
    seen = picture(BLT(5, (0.9,), (0.3,)))
    assert seen.steps == seen.rows == (1, 2, 3, 4, 5)
    assert picture(Identity(1)).strongest == 1.0


def test_a_long_run_of_a_filter_is_sampled_and_of_a_tree_is_refused():
    seen = picture(BLT(200_000, (0.999, 0.7), (0.05, 0.3)))
    assert seen.matrix.shape == seen.correlation.shape
    assert len(seen.steps) <= 96
    with pytest.raises(ValueError, match="too large for a picture"):
        picture(BinaryTree(200_000))
