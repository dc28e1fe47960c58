"""What surrounds a plan agrees with the plan."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms import Plan, PlanError
from mechanisms.exploration import (
    concerns,
    cost_after,
    frontier_grid,
    frontier_point,
    milestones,
    noise_saved_by_doubling,
    outlook,
    suggested_delta,
    written,
)

PLAN = Plan(
    dataset_size=60_000,
    batch_size=256,
    epochs=60,
    noise_multiplier=1.1,
    delta=1e-5,
    sampler="poisson",
)


def test_the_outlook_is_the_plans_own():
    found = outlook(PLAN)
    assert found.lower <= found.upper == PLAN.epsilon
    assert found.advantage == PLAN.loss.advantage()
    missed = float(PLAN.loss.fnr(0.01))
    assert 1 - missed <= found.true_positive_rate <= math.nextafter(1 - missed, 2)


def test_no_attack_beats_what_epsilon_and_delta_allow():
    # Both limits follow from (epsilon, delta) at any delta, so they hold for the curve.
    found = outlook(PLAN)
    assert PLAN.delta is not None
    allowed = math.exp(found.upper) * found.false_positive_rate + PLAN.delta
    assert found.false_positive_rate < found.true_positive_rate <= allowed
    assert found.true_positive_rate - found.false_positive_rate <= found.advantage


def test_an_outlook_needs_a_whole_plan():
    with pytest.raises(PlanError, match="delta"):
        outlook(PLAN.replace(delta=None))
    with pytest.raises(PlanError, match="noise_multiplier"):
        outlook(PLAN.replace(noise_multiplier=None))


# -- epsilon over the course of training -----------------------------------------------------------


@given(st.integers(1, 10**9), st.integers(1, 60))
def test_milestones_go_from_the_first_step_to_the_last(steps, points):
    found = milestones(PLAN.replace(steps=steps), points)
    assert found[0] == 1
    assert found[-1] == steps
    assert list(found) == sorted(set(found))
    assert len(found) <= points + 2


def test_milestones_need_a_length():
    with pytest.raises(PlanError, match="steps"):
        milestones(PLAN.replace(epochs=None))


def test_the_curve_rises_to_the_cost_of_the_whole_run():
    costs = [cost_after(PLAN, steps) for steps in milestones(PLAN, 12)]
    uppers = [cost.upper for cost in costs]
    assert uppers == sorted(uppers)
    assert uppers[-1] == pytest.approx(PLAN.epsilon, rel=1e-9)
    assert costs[-1].epochs == pytest.approx(60, rel=1e-3)
    assert all(cost.lower <= cost.upper for cost in costs)


def test_the_curve_needs_a_delta():
    with pytest.raises(PlanError, match="delta"):
        cost_after(PLAN.replace(delta=None), 10)


# -- other runs at the same price ------------------------------------------------------------------


def test_the_frontier_passes_through_the_plan():
    point = frontier_point(PLAN, PLAN.epsilon, 256, 60)
    assert point.noise_multiplier == pytest.approx(1.1, rel=1e-5)
    assert point.noise_to_batch_ratio == pytest.approx(1.1 / 256, rel=1e-5)
    assert point.steps == PLAN.steps


@pytest.mark.parametrize(("batch", "epochs"), [(64, 15.0), (1024, 60.0), (1024, 240.0)])
def test_no_run_on_the_frontier_costs_more_than_the_plan(batch, epochs):
    target = PLAN.epsilon
    point = frontier_point(PLAN, target, batch, epochs)
    other = PLAN.replace(batch_size=batch, epochs=epochs, noise_multiplier=point.noise_multiplier)
    assert other.epsilon <= target
    assert other.epsilon == pytest.approx(target, rel=1e-4)


def test_a_larger_batch_needs_more_noise_and_leaves_less_of_it():
    small, large = (frontier_point(PLAN, 2.0, batch, 60) for batch in (256, 512))
    assert small.noise_multiplier is not None
    assert large.noise_multiplier is not None
    assert small.noise_multiplier < large.noise_multiplier
    assert small.noise_to_batch_ratio is not None
    assert large.noise_to_batch_ratio is not None
    assert small.noise_to_batch_ratio > large.noise_to_batch_ratio


def test_doubling_the_batch_saves_a_share_of_the_noise():
    doubled = frontier_point(PLAN, PLAN.epsilon, 512, 60)
    saved = noise_saved_by_doubling(PLAN, (doubled,))
    assert doubled.noise_to_batch_ratio is not None
    assert saved == 1 - doubled.noise_to_batch_ratio / (1.1 / 256)
    assert 0.2 < saved < 0.5
    assert noise_saved_by_doubling(PLAN, ()) is None


def test_the_grid_holds_the_plan_and_stays_within_the_data():
    grid = dict(frontier_grid(PLAN))
    assert set(grid) == {15, 60, 240}
    assert 256 in grid[60]
    assert 512 in grid[60]
    small = Plan(dataset_size=100, batch_size=50, epochs=3, noise_multiplier=5, delta=1e-3)
    assert all(1 <= batch <= 100 for _, batches in frontier_grid(small) for batch in batches)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN.replace(sampler="full_batch", batch_size=None),
        PLAN.replace(sampler="fixed_order", neighboring_relation="replace_special"),
        Plan(sampling_probability=0.01, steps=100, noise_multiplier=1.0, delta=1e-5),
    ],
)
def test_without_random_batches_of_known_size_there_is_no_frontier(plan):
    assert frontier_grid(plan) == ()


# -- sound practice --------------------------------------------------------------------------------


@given(st.integers(1, 10**15))
def test_the_suggested_delta_is_well_below_one_in_n(size):
    delta = suggested_delta(size)
    assert 0 < delta <= 0.1
    assert delta <= size**-1.1 * (1 + 1e-12)
    assert len(written(delta).partition("e")[0].replace(".", "").strip("0")) == 1
    assert not list(concerns(Plan(dataset_size=size, delta=delta, sampler="poisson")))


def test_a_delta_above_one_in_n_is_a_concern_with_a_remedy():
    plan = PLAN.replace(delta=2e-5)
    (concern,) = concerns(plan)
    assert concern.field == "delta"
    assert "1/N" in concern.title
    ((_, better),) = concern.remedies
    assert not list(concerns(plan.replace(delta=better)))


def test_a_delta_of_exactly_one_in_n_is_none():
    assert not list(concerns(Plan(dataset_size=10**5, delta=1e-5, sampler="poisson")))


def test_a_sampler_that_nobody_stated_is_a_concern():
    (concern,) = concerns(PLAN.replace(sampler=None))
    assert concern.field == "sampler"
    assert [value for _, value in concern.remedies] == ["poisson", "fixed_order"]


def test_a_small_epsilon_is_no_concern():
    plan = PLAN.replace(noise_multiplier=100.0, delta=1e-8)
    assert plan.epsilon < 0.1
    assert not list(concerns(plan))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5e-06, "5e-6"),
        (1.1e-10, "1.1e-10"),
        (0.614, "0.614"),
        (1e22, "1e22"),
        (3.0, "3"),
        (1e-4, "1e-4"),
        (0.0, "0"),
    ],
)
def test_numbers_are_written_short_and_read_back(value, text):
    assert written(value) == text
    assert float(text) == value
