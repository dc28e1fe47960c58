"""Batches, epochs and steps: exact, and one of each pair."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mechanisms import Plan, PlanError
from tests.mechanisms.plans import plans


@pytest.mark.parametrize(
    ("dataset_size", "batch_size", "epochs", "steps"),
    [
        (60_000, 256, 60, 14_063),
        (7_500, 100, 3, 225),  # 3 epochs of 75 batches: a float quotient could say 226
        (60_000, 600, 0.1, 10),  # one tenth, not the double next to it
        (60_000, 600, 0.7, 70),
        (10, 10, 1, 1),
        (10, 10, 0.001, 1),
        (49, 1, 1, 49),
        (9_600_000_000, 517_989, 5.39571875, 100_000),
    ],
)
def test_steps_are_exact(dataset_size, batch_size, epochs, steps):
    plan = Plan(dataset_size=dataset_size, batch_size=batch_size, epochs=epochs)
    assert plan.steps == steps
    assert plan.fields.steps is None


@given(st.integers(1, 10**9), st.data(), st.floats(1e-6, 1e4))
def test_steps_are_the_ceiling_of_what_was_typed(size, data, epochs):
    batch = data.draw(st.integers(1, size))
    typed = Fraction(repr(epochs))
    steps = Plan(dataset_size=size, batch_size=batch, epochs=epochs).steps
    assert steps == math.ceil(typed * size / batch)


@given(st.integers(1, 10**6), st.integers(1, 1000), st.integers(1, 1000))
def test_whole_epochs_of_whole_batches_need_no_extra_step(batch, batches, epochs):
    plan = Plan(dataset_size=batch * batches, batch_size=batch, epochs=epochs)
    assert plan.steps == batches * epochs
    assert Plan(dataset_size=batch * batches, batch_size=batch, steps=plan.steps).epochs == epochs


def test_epochs_of_a_sampling_probability():
    assert Plan(sampling_probability=0.01, epochs=3).steps == 300
    assert Plan(sampling_probability=0.01, steps=300).epochs == 3
    assert Plan(sampling_probability=0.1, epochs=0.3).steps == 3


def test_what_follows_is_there_to_read():
    plan = Plan(dataset_size=60_000, batch_size=256, steps=1_000)
    assert plan.sampling_probability == 256 / 60_000
    assert plan.epochs == pytest.approx(1000 * 256 / 60_000, rel=1e-15)
    assert Plan(dataset_size=1_000, sampling_probability=0.05).batch_size == 50
    assert Plan(dataset_size=1_001, sampling_probability=0.05).batch_size == 50.05
    assert Plan(dataset_size=1_001).batch_size is None
    assert Plan(sampling_probability=0.05).batch_size is None


def test_of_two_that_agree_one_is_stored():
    both = Plan(dataset_size=60_000, batch_size=256, epochs=60, steps=14_063)
    assert both == Plan(dataset_size=60_000, batch_size=256, steps=14_063)
    twice = Plan(dataset_size=60_000, batch_size=256, sampling_probability=256 / 60_000)
    assert twice == Plan(dataset_size=60_000, batch_size=256)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        (
            {"dataset_size": 60_000, "batch_size": 256, "epochs": 60, "steps": 14_062},
            "steps",
            "14063",
        ),
        ({"epochs": 60, "steps": 10}, "steps", "left out"),
        ({"batch_size": 256}, "dataset_size", "together with batch_size"),
        ({"batch_size": 256, "dataset_size": 255}, "batch_size", "dataset_size=255"),
        (
            {"batch_size": 1, "dataset_size": 4, "sampling_probability": 0.3},
            "sampling_probability",
            "0.25",
        ),
        ({"group_size": 11, "dataset_size": 10}, "group_size", "dataset_size=10"),
        ({"group_size": 101}, "group_size", "at most 100"),
        ({"dataset_size": 10**15, "batch_size": 1, "epochs": 2}, "epochs", "steps"),
        ({"sampling_probability": 1e-15, "epochs": 2}, "epochs", "steps"),
        ({"sampler": "fixed_order"}, "neighboring_relation", "replace_special"),
        (
            {
                "sampler": "fixed_order",
                "neighboring_relation": "replace_one",
                "sampling_probability": 0.5,
            },
            "sampling_probability",
            "give batch_size",
        ),
        ({"sampler": "full_batch", "batch_size": 5, "dataset_size": 6}, "batch_size", "left out"),
        (
            {"sampler": "full_batch", "sampling_probability": 0.5},
            "sampling_probability",
            "left out",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, field, says):
    with pytest.raises(PlanError) as caught:
        Plan(**fields)
    assert caught.value.field == field
    assert says in str(caught.value)


def test_full_batches_use_everybody_in_every_step():
    plan = Plan(sampler="full_batch", dataset_size=100, epochs=2.5)
    assert (plan.steps, plan.batch_size, plan.sampling_probability) == (3, 100, 1.0)
    assert Plan(sampler="full_batch", steps=3).epochs == 3
    redundant = Plan(sampler="full_batch", dataset_size=9, batch_size=9, sampling_probability=1)
    assert redundant == Plan(sampler="full_batch", dataset_size=9)


def in_order(dataset_size: int, batch_size: int, steps: int) -> Plan:
    return Plan(
        sampler="fixed_order",
        neighboring_relation="replace_special",
        dataset_size=dataset_size,
        batch_size=batch_size,
        steps=steps,
    )


@given(st.integers(1, 40), st.data())
def test_no_order_uses_an_example_more_often_than_stated(size, data):
    batch = data.draw(st.integers(1, size))
    steps = data.draw(st.integers(1, 60))
    limit = in_order(size, batch, steps).max_participations
    whole, short = size // batch, -(-size // batch)
    # Round and round through the data, without regard to where it ends.
    cyclic = [sum(i % size == 0 for i in range(s * batch, (s + 1) * batch)) for s in range(steps)]
    assert max(cyclic) <= 1
    assert sum(cyclic) <= limit
    # Pass by pass in an order of its own: at worst once in each pass that was begun.
    for steps_per_pass in (whole, short):
        assert math.ceil(steps / steps_per_pass) <= limit


def test_passes_in_order_are_counted():
    assert in_order(100, 10, 30).max_participations == 3
    assert in_order(100, 10, 31).max_participations == 4
    assert in_order(100, 10, 30).sampling_probability is None


@given(plans)
def test_what_follows_agrees_with_what_was_given(plan):
    if plan.steps is not None and plan.fields.epochs is not None:
        assert plan.epochs == plan.fields.epochs
    if plan.fields.batch_size is not None and plan.sampler == "poisson":
        assert plan.dataset_size is not None
        assert plan.sampling_probability == plan.fields.batch_size / plan.dataset_size
