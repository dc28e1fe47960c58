"""What calibrate finds meets the target, and the next best does not."""

import math
import random
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from accountant import CalibrationError
from mechanisms import Plan, PlanError
from mechanisms.planning.search import boundary
from tests.mechanisms.plans import complete_plans

MNIST = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1, delta=1e-5)
IN_ORDER: dict[str, Any] = {"sampler": "fixed_order", "neighboring_relation": "replace_special"}
TARGETS = [
    {"epsilon": 3.0},
    {"epsilon": 0.3},
    {"epsilon": 20},
    {"advantage": 0.1},
    {"tpr": 0.05, "fpr": 0.01},
]


def reached(plan: Plan, target: dict[str, float]) -> float:
    if "epsilon" in target:
        return plan.epsilon / target["epsilon"]
    if "advantage" in target:
        return plan.loss.advantage() / target["advantage"]
    return plan.guarantee().true_positive_rate(target["fpr"]) / target["tpr"]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    "changes",
    [{}, {"group_size": 3}, {"sampler": "full_batch", "batch_size": None}, IN_ORDER],
    ids=str,
)
def test_the_smallest_noise(target, changes):
    found = MNIST.replace(noise_multiplier=None, **changes).calibrate(**target)
    assert found.fields.epochs == 60
    assert 1 - 1e-4 < reached(found, target) <= 1
    less = found.replace(noise_multiplier=found.noise_multiplier * (1 - 2e-6))
    assert reached(less, target) > 1


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("changes", [{}, {"group_size": 3}], ids=str)
def test_the_most_steps(target, changes):
    found = MNIST.replace(epochs=None, **changes).calibrate(**target)
    assert found.stated >= {"steps", "batch_size"}
    assert reached(found, target) <= 1
    assert reached(found.replace(steps=found.steps + 1), target) > 1


def test_the_most_steps_in_a_fixed_order_are_whole_passes():
    plan = Plan(dataset_size=1_000, batch_size=10, noise_multiplier=5, delta=1e-5, **IN_ORDER)
    found = plan.calibrate(epsilon=3)
    assert found.steps % 100 == 0
    assert found.epsilon <= 3 < found.replace(steps=found.steps + 1).epsilon


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_largest_batch_of_so_many_steps(target):
    found = MNIST.replace(batch_size=None, steps=14_063).calibrate(**target)
    assert reached(found, target) <= 1
    assert reached(found.replace(batch_size=found.batch_size + 1), target) > 1


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_largest_batch_of_so_many_epochs(target):
    found = MNIST.replace(batch_size=None).calibrate(**target)
    assert found.fields.epochs == 60
    assert reached(found, target) <= 1
    for more in (1, 2, 3, 10, 100):
        assert reached(found.replace(batch_size=found.batch_size + more), target) > 1


def test_the_largest_batch_is_the_largest_of_all():
    # Few steps make a coarse sawtooth, and little noise makes it fall: every size is tried.
    generator = random.Random(20261122)
    checked = 0
    while checked < 12:
        size = generator.choice([20, 37, 60])
        plan = Plan(
            dataset_size=size,
            epochs=generator.choice([0.3, 1, 1.5, 3.7, 10, 20.25]),
            noise_multiplier=10 ** generator.uniform(-0.7, 1),
            delta=10 ** generator.uniform(-12, -2),
        )
        cost = {b: plan.replace(batch_size=b).epsilon for b in range(1, size + 1)}
        target = generator.choice(sorted(cost.values())) * generator.choice([1, 1.001, 1.05])
        if target > 0:
            want = max(b for b in cost if cost[b] <= target)
            assert plan.calibrate(epsilon=target).batch_size == want
            checked += 1


def test_the_whole_data_set_is_the_largest_batch():
    assert MNIST.replace(batch_size=None, epochs=1).calibrate(epsilon=100).batch_size == 60_000


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_largest_probability(target):
    plan = Plan(steps=1_000, noise_multiplier=1.0, delta=1e-5)
    found = plan.calibrate(**target)
    assert found.stated >= {"sampling_probability"}
    assert reached(found, target) <= 1
    if found.sampling_probability < 1:
        more = found.replace(sampling_probability=found.sampling_probability * (1 + 2e-6))
        assert reached(more, target) > 1


def test_a_probability_of_one_is_the_largest():
    assert Plan(steps=1, noise_multiplier=10, delta=1e-5).calibrate(epsilon=5).batch_size is None


def quick(plan: Plan) -> bool:
    return plan.sampler != "poisson" or (plan.group_size == 1 and (plan.steps or 0) < 10**6)


@settings(max_examples=20)
@given(
    complete_plans.filter(quick),
    st.sampled_from(["noise_multiplier", "steps"]),
    st.floats(0.05, 50),
)
def test_an_answer_is_on_the_safe_side_or_there_is_none(plan, unknown, epsilon):
    asked = plan.replace(**{unknown: None})
    try:
        found = asked.calibrate(epsilon=epsilon)
    except CalibrationError:
        return
    assert found.epsilon <= epsilon
    assert found.stated == asked.stated | {unknown}
    assert found.replace(**{unknown: None}) == asked


def test_a_calibrated_plan_can_be_calibrated_back():
    noise = MNIST.replace(noise_multiplier=None).calibrate(epsilon=3).noise_multiplier
    again = MNIST.replace(noise_multiplier=noise, steps=None).calibrate(epsilon=3)
    # Noise was rounded up by at most a millionth, which leaves room for a few steps more.
    assert 14_063 <= again.steps <= 14_064


@pytest.mark.parametrize(
    ("plan", "target", "says"),
    [
        (
            MNIST.replace(steps=None, noise_multiplier=0.2, batch_size=60_000),
            {"epsilon": 0.1},
            r"No steps reaches epsilon=0\.1: the best is epsilon=[0-9.]+, at steps=1\.",
        ),
        (
            MNIST.replace(batch_size=None, steps=10**6, epochs=None, noise_multiplier=0.3),
            {"epsilon": 0.1},
            r"No batch_size reaches epsilon=0\.1: the best is epsilon=[0-9.]+, at batch_size=1\.",
        ),
        (
            MNIST.replace(batch_size=None, noise_multiplier=0.3),
            {"epsilon": 0.1},
            r"No batch_size reaches epsilon=0\.1",
        ),
        (
            Plan(dataset_size=10**9, batch_size=1, steps=1, delta=0.1),
            {"epsilon": 1},
            r"Every noise_multiplier .* no smallest one",
        ),
    ],
)
def test_a_target_out_of_reach_names_the_best(plan, target, says):
    with pytest.raises(CalibrationError, match=says) as caught:
        plan.calibrate(**target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "target", "field"),
    [
        (MNIST, {"epsilon": 3}, "noise_multiplier"),
        (Plan(delta=1e-5), {"epsilon": 3}, "batch_size"),
        (MNIST.replace(steps=None, delta=None), {"epsilon": 3}, "delta"),
        (MNIST.replace(steps=None), {}, "target"),
        (MNIST.replace(steps=None), {"epsilon": 3, "advantage": 0.1}, "target"),
        (MNIST.replace(steps=None), {"fpr": 0.1}, "target"),
        (MNIST.replace(steps=None), {"tpr": 0.1}, "fpr"),
        (MNIST.replace(steps=None), {"tpr": 0.1, "fpr": 0.1}, "tpr"),
        (MNIST.replace(steps=None), {"tpr": 0.1, "fpr": 2}, "fpr"),
        (MNIST.replace(steps=None), {"epsilon": 3, "fpr": 0.1}, "fpr"),
        *((MNIST.replace(steps=None), {"epsilon": x}, "epsilon") for x in (0, -1, math.inf)),
        *((MNIST.replace(steps=None), {"epsilon": x}, "epsilon") for x in (True, "3", math.nan)),
        (MNIST.replace(steps=None), {"advantage": 1}, "advantage"),
        (Plan(epochs=3, noise_multiplier=1, delta=1e-5), {"epsilon": 3}, "dataset_size"),
        (
            Plan(epochs=3, noise_multiplier=1, delta=1e-5, **IN_ORDER),
            {"epsilon": 3},
            "dataset_size",
        ),
        (MNIST.replace(batch_size=None, **IN_ORDER), {"epsilon": 3}, "batch_size"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(plan, target, field):
    with pytest.raises(PlanError) as caught:
        plan.calibrate(**target)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_numpy_targets():
    plan = MNIST.replace(noise_multiplier=None)
    assert plan.calibrate(epsilon=np.float64(3)) == plan.calibrate(epsilon=3)


def test_without_a_delta_other_targets_can_be_met():
    plan = MNIST.replace(noise_multiplier=None, delta=None).calibrate(advantage=0.2)
    assert plan.delta is None
    assert plan.loss.advantage() <= 0.2


# -- the search ------------------------------------------------------------------------------------


@given(
    st.integers(1, 10**12),
    st.integers(1, 10**12),
    st.integers(1, 10**12),
    st.sampled_from([1e-9, 0.5, 1, 7, 1e9]),
    st.booleans(),
)
def test_whole_numbers_are_searched_to_the_neighbour(a, b, c, power, falling):
    low, edge, high = sorted((a, b, c))
    high += 1
    calls = []

    def cost(value: float) -> float:
        calls.append(value)
        assert low <= value <= high
        assert value == int(value)
        if falling:
            return power * math.log((edge + 0.5) / value)
        return power * math.log(value / (edge + 0.5))

    if falling:
        assert boundary(cost, high, low, whole=True) == edge + 1 if low <= edge else True
    else:
        assert boundary(cost, low, high, whole=True) == edge
    assert len(calls) <= math.log2(high) + 10


@given(st.floats(1e-9, 1e9), st.sampled_from([1e-6, 1, 20]), st.sampled_from(["step", "smooth"]))
def test_numbers_are_searched_to_the_tolerance(edge, power, shape):
    calls = []

    def cost(value: float) -> float:
        calls.append(value)
        if shape == "step":
            return math.inf if value < edge else -math.inf
        return power * math.log(edge / value)

    found = boundary(cost, edge * 300, edge / 77, whole=False)
    assert edge <= found <= edge * (1 + 1.1e-6)
    assert len(calls) <= (30 if shape == "step" else 14)
