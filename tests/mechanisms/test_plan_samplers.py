"""Every sampler: the event it stands for, its price, its conditions, and what is refused."""

import math
import shlex
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.dp_event import (
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SampledWithoutReplacementDpEvent,
    SelfComposedDpEvent,
    TruncatedSubsampledGaussianDpEvent,
)
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from scipy.stats import binom, norm

from accountant import privacy_loss
from accountant.events import RandomAllocationDpEvent, ShuffledDpEvent
from accountant.statement import statement
from mechanisms import Plan, PlanError
from mechanisms.planning.fields import FIELDS
from ui.cli import epsilon as command

ADD, ZERO, REPLACE = "add_or_remove_one", "replace_special", "replace_one"
CAPPED = Plan(
    dataset_size=1_000,
    sampling_probability=0.01,
    max_batch_size=16,
    noise_multiplier=1,
    steps=128,
    delta=1e-6,
)
DRAWN = Plan(
    sampler="without_replacement",
    dataset_size=1_000,
    batch_size=10,
    noise_multiplier=2,
    steps=100,
    delta=1e-5,
)
BINS = Plan(
    sampler="balls_in_bins",
    dataset_size=234 * 256,
    batch_size=256,
    noise_multiplier=1.1,
    epochs=60,
    delta=1e-5,
)
SHUFFLED = BINS.replace(sampler="shuffled", neighboring_relation=ZERO)


def of_gaussian(mu: float, epsilon: float) -> float:
    """The delta of a Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530, theorem 8)."""
    upper = norm.cdf(mu / 2 - epsilon / mu)
    return float(upper - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu))


def of_sample(q: float, shift: float, sigma: float, epsilon: float) -> float:
    """The delta of (1 - q) N(0, s^2) + q N(shift, s^2) against N(0, s^2)."""
    ratio = (math.expm1(epsilon) + q) / q
    edge = sigma * sigma * math.log(ratio) / shift + shift / 2
    mixed = (1 - q) * norm.sf(edge / sigma) + q * norm.sf((edge - shift) / sigma)
    return float(mixed - math.exp(epsilon) * norm.sf(edge / sigma))


# -- prices ----------------------------------------------------------------------------------------


def test_replace_one_under_poisson_sampling():
    plan = Plan(
        dataset_size=60_000,
        batch_size=256,
        steps=14_062,
        noise_multiplier=1.1,
        delta=1e-5,
        neighboring_relation=REPLACE,
    )
    assert plan.event() == SelfComposedDpEvent(
        PoissonSampledDpEvent(256 / 60_000, GaussianDpEvent(1.1)), 14_062
    )
    lower, upper = plan.loss.epsilon_bounds(1e-5)
    assert 4.22129 <= lower <= upper <= 4.22130
    assert plan.loss.exact


def test_a_cap_costs():
    step = TruncatedSubsampledGaussianDpEvent(1_000, 0.01, 16, 1.0)
    assert CAPPED.event() == SelfComposedDpEvent(step, 128)
    peer = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    known = peer.compose(CAPPED.event()).get_epsilon(1e-6)
    assert known == pytest.approx(5.105, abs=5e-4)
    assert 0.99 * known < CAPPED.epsilon <= known
    uncapped = CAPPED.replace(max_batch_size=None)
    assert uncapped.epsilon == pytest.approx(1.0152, abs=1e-4)
    assert CAPPED.replace(max_batch_size=1_000).epsilon == pytest.approx(uncapped.epsilon)
    lower, upper = CAPPED.guarantee().epsilon
    assert lower < uncapped.epsilon < upper == CAPPED.epsilon


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_one_capped_step_is_a_union(epsilon):
    full = binom.sf(15, 999, 0.01)  # the others fill the batch
    kept = binom.sf(16, 1_000, 0.01) * 16 / 1_000 / full
    expected = (1 - full) * of_sample(0.01, 1, 1, epsilon) + full * of_sample(kept, 2, 1, epsilon)
    assert CAPPED.replace(steps=1).loss.delta(epsilon) == pytest.approx(expected, rel=1e-5)


def test_a_lower_cap_costs_more_down_to_the_price_of_a_fixed_size():
    costs = [CAPPED.replace(max_batch_size=cap).epsilon for cap in (40, 20, 16, 10)]
    assert costs == sorted(costs)
    fixed = Plan(**kept(CAPPED, "sampling_probability", "max_batch_size"), batch_size=10)
    assert costs[-1] <= fixed.replace(sampler="without_replacement").epsilon * (1 + 1e-5)


def kept(plan: Plan, *without: str) -> dict[str, Any]:
    return {name: getattr(plan.fields, name) for name in plan.stated if name not in without}


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.0])
def test_a_batch_of_fixed_size_is_a_sample_of_twice_the_sensitivity(epsilon):
    once = DRAWN.replace(steps=1)
    assert DRAWN.event().event == SampledWithoutReplacementDpEvent(1_000, 10, GaussianDpEvent(2.0))
    assert once.loss.exact
    expected = of_sample(0.01, 2, 2, epsilon)
    assert once.loss.delta(epsilon) == pytest.approx(expected, rel=1e-6)
    assert not once.replace(neighboring_relation=REPLACE).loss.exact
    assert once.replace(neighboring_relation=REPLACE).loss.delta(epsilon) >= expected * (1 - 1e-6)


def test_drawing_everybody_is_a_full_batch():
    full = Plan(**kept(DRAWN, "sampler", "batch_size"), sampler="full_batch")
    assert DRAWN.replace(batch_size=1_000).epsilon == full.epsilon


def test_balls_in_bins():
    epoch = RandomAllocationDpEvent(234, GaussianDpEvent(1.1))
    assert BINS.event() == SelfComposedDpEvent(epoch, 60)
    lower, upper = BINS.guarantee().epsilon
    assert 2.3405 <= lower <= upper <= 2.3406
    assert upper - lower < 1e-6 * upper
    assert BINS.replace(neighboring_relation=ZERO).epsilon == upper


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_two_bins_by_quadrature(epsilon):
    plan = BINS.replace(dataset_size=512, epochs=1, noise_multiplier=1.0)
    assert plan.event().event.steps == 2
    h = 0.005
    x = np.arange(-9, 9, h)
    weight, ratio = norm.pdf(x) * h, np.exp(x - 0.5)
    mean = (ratio[:, None] + ratio) / 2
    excess = np.maximum(0.0, mean - math.exp(epsilon))
    assert plan.loss.delta(epsilon) == pytest.approx(weight @ excess @ weight, rel=1e-4)


def test_shuffled_batches_cost_what_no_amplification_costs():
    assert SHUFFLED.event() == SelfComposedDpEvent(ShuffledDpEvent(234, GaussianDpEvent(1.1)), 60)
    lower, upper = SHUFFLED.guarantee().epsilon
    assert of_gaussian(math.sqrt(60) / 1.1, upper) == pytest.approx(1e-5, rel=1e-6)
    assert BINS.epsilon * 4 < lower < upper / 4
    assert not SHUFFLED.loss.exact
    assert SHUFFLED.replace(neighboring_relation=REPLACE).epsilon > 2 * upper


def test_what_shuffling_costs_at_least_is_claimed_where_it_is_proved():
    whole = SHUFFLED.loss.epsilon_bounds(1e-5).lower
    part = SHUFFLED.replace(epochs=60.5)
    assert part.max_participations == 61
    assert part.loss.epsilon_bounds(1e-5).lower == whole
    assert part.epsilon == SHUFFLED.replace(epochs=61).epsilon
    for changes in ({"dataset_size": 60_000}, {"group_size": 2}, {"epochs": 0.5}):
        other = SHUFFLED.replace(**changes).loss
        assert not other.exact
        assert other.epsilon_bounds(1e-5).lower == 0
        assert other.epsilon(1e-5) > 0


def test_one_batch_that_is_shuffled_is_a_full_batch():
    alone = SHUFFLED.replace(batch_size=234 * 256)
    assert alone.loss.exact
    assert alone.epsilon == pytest.approx(SHUFFLED.epsilon)


def test_a_shuffled_group_keeps_together_at_worst():
    loss = privacy_loss(SelfComposedDpEvent(GaussianDpEvent(1.1 / 3), 60))
    three = SHUFFLED.replace(group_size=3)
    assert three.epsilon == pytest.approx(loss.epsilon(1e-5), rel=1e-9)


def test_epochs_of_batches_are_whole_batches():
    plan = SHUFFLED.replace(dataset_size=60_000)
    assert (plan.steps, plan.max_participations) == (60 * 235, 60)
    assert plan.replace(steps=235 * 60 + 1).max_participations == 61
    assert plan.sampling_probability is None
    bins = BINS.replace(dataset_size=60_000)
    assert (bins.steps, bins.sampling_probability) == (60 * 235, 1 / 235)
    assert bins.replace(steps=235 * 7).epochs == 7
    assert DRAWN.sampling_probability == 0.01
    assert DRAWN.max_participations is None


# -- guarantees ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (CAPPED, "16 examples is cut to that many of them, chosen uniformly at random"),
        (CAPPED, "has 1000 examples, the one in question included"),
        (DRAWN, "all batches of 10 of the 1000 examples"),
        (DRAWN, "The batch size and the number of steps do not change"),
        (BINS, "one of 234 batches, chosen uniformly"),
        (BINS, "No batch is cut short"),
        (BINS, "The number of batches in an epoch and the number of steps do not change"),
        (SHUFFLED, "cuts it into 234 batches"),
        (SHUFFLED, "more than 60 of the 14040 steps"),
        (SHUFFLED, "No amplification by shuffling is claimed"),
        (SHUFFLED, "at least epsilon=10.8"),
        (SHUFFLED.replace(dataset_size=60_000), "is not known either"),
    ],
)
def test_assumptions_name_the_sampler(plan, says):
    assert says in " ".join(plan.guarantee().assumptions)


def test_the_quoted_lower_bound_is_below_the_proved_one():
    guarantee = SHUFFLED.guarantee()
    (quoted,) = (s for s in guarantee.assumptions if "No amplification" in s)
    number = float(quoted.partition("epsilon=")[2].split()[0])
    assert number <= guarantee.epsilon.lower < number * 1.001


def test_a_capped_batch_is_not_said_to_be_whole():
    assert "No batch is cut short" not in " ".join(CAPPED.guarantee().assumptions)


@pytest.mark.parametrize(
    ("plan", "exact"),
    [
        (CAPPED, False),
        (CAPPED.replace(max_batch_size=1_000), True),
        (DRAWN, True),
        (DRAWN.replace(neighboring_relation=ZERO), False),
        (BINS, False),
        (SHUFFLED, False),
    ],
)
def test_an_upper_bound_is_called_one(plan, exact):
    guarantee = plan.guarantee()
    assert guarantee.loss.exact is exact
    assert ("upper bound" in guarantee.method) is not exact
    assert "amplification" in guarantee.method or plan.sampler != "shuffled"


def test_the_statement_says_what_it_rests_on():
    text = statement(SHUFFLED.guarantee())
    assert "with no amplification" in text
    assert "arXiv 2403.17673" in text
    assert "an upper bound on the privacy loss that need not be attained" in text
    assert "Sampling assumed: balls in bins" in statement(BINS.guarantee())


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (DRAWN, "Most training code shuffles"),
        (BINS, "Most training code shuffles"),
        (CAPPED.replace(max_batch_size=9), "max_batch_size=9 is below the mean batch of 10"),
    ],
)
def test_a_mismatch_is_warned_about(plan, says):
    assert says in " ".join(plan.guarantee().warnings)


def test_no_warning_without_cause():
    assert not SHUFFLED.guarantee().warnings
    assert "mean batch" not in " ".join(CAPPED.replace(max_batch_size=10).guarantee().warnings)


# -- calibration -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "target"),
    [
        (CAPPED.replace(steps=8), {"epsilon": 2.0}),
        (DRAWN, {"epsilon": 2.0}),
        (DRAWN.replace(neighboring_relation=REPLACE, steps=8), {"epsilon": 2.0}),
        (SHUFFLED, {"epsilon": 2.0}),
        (DRAWN, {"advantage": 0.05}),
        (SHUFFLED, {"advantage": 0.05}),
    ],
    ids=str,
)
def test_the_smallest_noise(plan, target):
    found = plan.replace(noise_multiplier=None).calibrate(**target)
    less = found.replace(noise_multiplier=found.noise_multiplier * (1 - 3e-6))
    if "epsilon" in target:
        assert 2 * (1 - 1e-4) < found.epsilon <= 2 < less.epsilon
    else:
        assert 0.05 * (1 - 1e-4) < found.loss.advantage() <= 0.05 < less.loss.advantage()


def test_the_smallest_noise_for_a_true_positive_rate():
    plan = DRAWN.replace(batch_size=100, steps=10, noise_multiplier=None)
    found = plan.calibrate(tpr=0.05, fpr=0.01)
    assert 0.05 * (1 - 1e-3) < found.guarantee().true_positive_rate(0.01) <= 0.05


def test_the_smallest_noise_in_bins():
    plan = BINS.replace(dataset_size=16 * 256, epochs=4, noise_multiplier=None)
    found = plan.calibrate(epsilon=1.0)
    less = found.replace(noise_multiplier=found.noise_multiplier * (1 - 3e-6))
    assert found.epsilon <= 1 < less.epsilon


def test_the_most_steps():
    for plan, unit in ((DRAWN, 1), (CAPPED, 1), (BINS.replace(dataset_size=16 * 256), 16)):
        found = plan.replace(steps=None).calibrate(epsilon=3.0)
        assert found.steps % unit == 0
        assert found.epsilon <= 3 < found.replace(steps=found.steps + unit).epsilon


def test_the_largest_batch():
    for plan in (DRAWN, DRAWN.replace(epochs=2), BINS.replace(dataset_size=1_000, epochs=2)):
        found = plan.replace(batch_size=None).calibrate(epsilon=2.0)
        assert found.epsilon <= 2 < found.replace(batch_size=found.batch_size + 1).epsilon


def test_the_largest_batch_under_a_cap():
    plan = Plan(**kept(CAPPED, "sampling_probability", "steps"), steps=8)
    found = plan.calibrate(epsilon=2.0)
    assert found.epsilon <= 2 < found.replace(batch_size=found.batch_size + 1).epsilon
    assert plan.calibrate(epsilon=100).batch_size == 16


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (BINS.replace(batch_size=None, steps=14_040), "epochs"),
        (SHUFFLED.replace(batch_size=None), "batch_size"),
        (Plan(**kept(DRAWN, "dataset_size", "batch_size")), "dataset_size"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(plan, field):
    with pytest.raises(PlanError) as caught:
        plan.calibrate(epsilon=1.0)
    assert caught.value.field == field


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"max_batch_size": 9}, "dataset_size", "given together with max_batch_size"),
        ({"max_batch_size": 9, "dataset_size": 99, "group_size": 2}, "group_size", "leave out"),
        ({"max_batch_size": 9, "dataset_size": 99, "sampler": "full_batch"}, "max_batch_size", ""),
        ({"neighboring_relation": REPLACE, "group_size": 2}, "group_size", "replace_special"),
        ({"sampler": "without_replacement", "group_size": 2}, "group_size", "use 'poisson'"),
        (
            {"sampler": "without_replacement", "sampling_probability": 0.1},
            "sampling_probability",
            "give batch_size",
        ),
        ({"sampler": "balls_in_bins", "group_size": 2}, "group_size", "use 'poisson'"),
        ({"sampler": "balls_in_bins", "epochs": 1.5}, "epochs", "whole"),
        ({"sampler": "balls_in_bins", "noise_multiplier": 0.05}, "noise_multiplier", "[0.1, 10000"),
        (
            {"sampler": "balls_in_bins", "neighboring_relation": REPLACE},
            "neighboring_relation",
            "replace_special",
        ),
        (
            {"sampler": "balls_in_bins", "dataset_size": 100, "batch_size": 9, "steps": 13},
            "steps",
            "a multiple of the 12 batches of an epoch, not 13",
        ),
        (
            {"sampler": "balls_in_bins", "dataset_size": 10**9, "batch_size": 9},
            "batch_size",
            "at least 1000",
        ),
        ({"sampler": "shuffled"}, "neighboring_relation", "replace_special"),
        (
            {"sampler": "shuffled", "neighboring_relation": ZERO, "sampling_probability": 0.1},
            "sampling_probability",
            "give batch_size",
        ),
    ],
)
def test_what_no_theorem_covers_is_refused(changes, field, says):
    with pytest.raises(PlanError) as caught:
        Plan(**changes)
    assert caught.value.field == field
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# -- as data ---------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    sampler = draw(st.sampled_from(["poisson", "without_replacement", "balls_in_bins", "shuffled"]))
    relations = {"balls_in_bins": [ADD, ZERO], "shuffled": [ZERO, REPLACE]}
    size = draw(st.integers(1, 10**6))
    epochs = draw(st.integers(1, 100))
    part = draw(st.sampled_from([0, 0.25])) if sampler != "balls_in_bins" else 0
    cap = draw(st.none() | st.integers(1, 10**6)) if sampler == "poisson" else None
    return Plan(
        sampler=sampler,
        neighboring_relation=draw(st.sampled_from(relations.get(sampler, [ADD, ZERO, REPLACE]))),
        dataset_size=size,
        batch_size=draw(st.integers(1, size)),
        epochs=epochs + part,
        noise_multiplier=draw(st.floats(0.1, 1e4)),
        delta=draw(st.floats(1e-30, 0.5)),
        max_batch_size=cap,
        group_size=draw(st.integers(1, size)) if sampler == "shuffled" else None,
    )


@settings(max_examples=50)
@given(plans())
def test_every_plan_survives_files_and_commands(plan):
    assert Plan.from_json(plan.to_json()) == plan == Plan.from_yaml(plan.to_yaml())
    _, name, *words = shlex.split(_command(plan))
    context = command.make_context(name, words)
    assert Plan(**{field: context.params[field] for field in FIELDS}) == plan
    assert plan.event().count >= 1
    assert plan.missing == ()


def _command(plan: Plan) -> str:
    from mechanisms.planning.guarantee import command as written

    return written(plan)
