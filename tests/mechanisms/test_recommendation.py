"""Which mechanism to use: equal privacy, errors from matrices, limits kept, reasons given."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from accountant import CalibrationError
from mechanisms import Plan, PlanError
from mechanisms.comparison import compare
from mechanisms.designs import Run, parse
from mechanisms.participation import MinSeparation
from mechanisms.recommendation import recommend
from mechanisms.strategies import Strategy
from mechanisms.workloads import momentum, prefix_sum

FEDERATED = Plan(
    dataset_size=8_000,
    batch_size=1_000,
    steps=24,
    clip_norm=0.5,
    sampler="min_separation",
    min_separation=8,
    max_participations=3,
    neighboring_relation="replace_special",
    delta=1e-6,
)
POISSON = Plan(dataset_size=60_000, batch_size=600, epochs=10, noise_multiplier=1.0, delta=1e-5)
NAMES = ("identity", "tree-online", "blt:2", "toeplitz:8", "dense")


def designs(*names: str):
    return [parse(name) for name in names]


@pytest.fixture(scope="module")
def federated():
    return recommend(FEDERATED, epsilon=4.0)


@pytest.fixture(scope="module")
def poisson():
    return recommend(POISSON)


def by_name(found):
    return {str(choice.design): choice for choice in found.choices}


# -- equal privacy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["federated", "poisson"])
def test_every_choice_meets_the_target(name, request):
    found = request.getfixturevalue(name)
    assert len(found.choices) >= 5
    for choice in found.choices:
        assert 0.9999 * found.epsilon < choice.plan.epsilon <= found.epsilon
        # Less noise would not do.
        noise = choice.plan.noise_multiplier
        assert choice.plan.replace(noise_multiplier=noise * 0.9999).epsilon > found.epsilon


@pytest.mark.parametrize("objective", ["mean", "max"])
def test_errors_are_those_of_the_plans(objective):
    found = recommend(
        FEDERATED, epsilon=4.0, objective=objective, designs=designs(*NAMES), quick=True
    )
    for choice in found.choices:
        decoder = np.eye(24)
        if isinstance(choice.plan.mechanism, Strategy):
            decoder = choice.plan.mechanism.decoder()
        squared = np.square(prefix_sum(24).matrix() @ decoder).sum(axis=1)
        worst = squared.mean() if objective == "mean" else squared.max()
        scale = choice.plan.noise_stddev / choice.plan.clip_norm
        assert choice.error == pytest.approx(scale * math.sqrt(worst), rel=1e-9)


def test_the_least_error_comes_first(federated, poisson):
    for found in (federated, poisson):
        errors = [choice.error for choice in found.choices]
        assert errors == sorted(errors)
        as_good = [c for c in found.choices if c.error <= 1.01 * errors[0]]
        assert found.best in as_good
        others = [choice.memory for choice in as_good if choice.design.kind != "dense"]
        assert found.best.design.kind == "dense" if not others else found.best.memory == min(others)


def test_correlated_noise_ranks_as_its_errors_at_noise_multiplier_1(federated):
    compared = compare(Run(24, MinSeparation(8, 3)), quick=True)
    order = [str(row.design) for row in compared.rows if row.design.kind != "identity"]
    found = [str(choice.design) for choice in federated.choices]
    assert [name for name in found if name != "identity"] == order


def test_gaps_are_those_of_the_strategies(federated):
    compared = compare(Run(24, MinSeparation(8, 3)))
    assert federated.bound == compared.bound
    rows = {str(row.design): row for row in compared.rows}
    for name, choice in by_name(federated).items():
        # Composed step by step or as one release, independent noise costs the same.
        assert federated.gap(choice) == pytest.approx(compared.gap(rows[name]), rel=1e-6)
        assert federated.gap(choice) >= 0


def test_at_a_given_noise_the_cost_of_the_plan_is_the_target(federated):
    plan = FEDERATED.replace(noise_multiplier=2.0)
    found = recommend(plan, designs=designs(*NAMES), quick=True)
    assert found.epsilon == plan.epsilon
    assert by_name(found)["identity"].plan.noise_multiplier == pytest.approx(2.0, rel=1e-6)
    assert found.best.plan.epsilon <= plan.epsilon
    # A plan that has a strategy costs what it costs with it.
    again = recommend(federated.best.plan, designs=designs(*NAMES), quick=True)
    assert again.epsilon == federated.best.plan.epsilon


def test_plans_come_back_whole(federated):
    best = federated.best.plan
    assert Plan.from_json(best.to_json()) == best
    kept = ("dataset_size", "batch_size", "steps", "clip_norm", "delta", "min_separation")
    assert all(getattr(best, name) == getattr(FEDERATED, name) for name in kept)


# -- Poisson sampling ------------------------------------------------------------------------------


def test_groups_in_turn_are_recommended_for_poisson_sampling(poisson):
    best = poisson.best.plan
    assert poisson.epsilon == POISSON.epsilon
    assert best.sampler == "cyclic_poisson"
    assert best.groups > 1
    assert best.steps == POISSON.steps
    assert len(best.mechanism.coefficients) == best.groups
    assert best.sampling_probability == pytest.approx(0.01 * best.groups)
    assert f"{best.groups} groups" in poisson.best.title
    assert poisson.independent.plan.sampler == "poisson"
    assert poisson.independent.plan.noise_multiplier == pytest.approx(1.0, rel=1e-6)
    assert poisson.independent.error > 1.1 * poisson.best.error
    # Neither the least nor the most groups: correlation is bought with amplification.
    groups = [choice.plan.groups or 1 for choice in poisson.choices]
    assert min(groups) < best.groups < max(groups)


def test_where_noise_is_large_independent_noise_stays():
    # With much noise, sampling from a group that is half as large takes as much noise again as two
    # bands save.
    rare = Plan(dataset_size=10**4, batch_size=100, steps=16, noise_multiplier=30, delta=1e-6)
    found = recommend(rare)
    assert found.best.design == parse("identity")
    assert found.best.plan.sampler == "poisson"
    assert found.best is found.independent
    assert found.words[0].startswith("Use independent noise: ")
    assert not any("times as much" in sentence for sentence in found.words)


def test_a_number_of_groups_that_was_given_is_tried():
    plan = Plan(
        dataset_size=6_000,
        batch_size=100,
        steps=60,
        sampler="cyclic_poisson",
        groups=5,
        noise_multiplier=1.0,
        delta=1e-6,
    )
    found = recommend(plan)
    assert 5 in {choice.plan.groups for choice in found.choices}
    assert {choice.plan.sampler for choice in found.choices} == {"cyclic_poisson"}


@pytest.mark.parametrize(
    "changes", [{"max_batch_size": 700}, {"group_size": 2}, {"neighboring_relation": "replace_one"}]
)
def test_what_groups_in_turn_cannot_have_leaves_independent_noise(changes):
    plan = POISSON.replace(steps=20, noise_multiplier=2.0, **changes)
    found = recommend(plan)
    sampled = {choice.plan.sampler for choice in found.choices}
    if "neighboring_relation" in changes:
        assert sampled <= {"poisson", "cyclic_poisson"}
    else:
        assert sampled == {"poisson"}
    assert found.independent.plan.noise_multiplier == pytest.approx(2.0, rel=1e-4)
    assert all(choice.plan.epsilon <= found.epsilon for choice in found.choices)


# -- words -----------------------------------------------------------------------------------------


def test_words_say_what_to_use_and_why(federated):
    best, words = federated.best, federated.words
    assert words[0].startswith(f"Use {best.title}: at epsilon = 4 the root mean square error")
    assert f"is {best.error:.4g} clipping norms" in words[0]
    times = federated.independent.error / best.error
    assert f"Independent noise has {times:.3g} times as much." in words
    (said,) = [sentence for sentence in words if "any factorization can reach" in sentence]
    shown = float(said.removeprefix("That is at most ").split()[0])
    assert federated.gap(best) <= shown <= 1.1 * federated.gap(best)


def test_words_name_what_less_memory_would_cost():
    found = recommend(
        FEDERATED, epsilon=4.0, designs=designs("toeplitz:8", "blt:1", "blt:2"), quick=True
    )
    assert found.best.design == parse("toeplitz:8")
    assert "Its noise keeps 7 model copies between steps." in found.words
    (said,) = [sentence for sentence in found.words if sentence.startswith("With less memory")]
    # Two buffers are hardly better than one.
    other = by_name(found)["blt:1"]
    percent = 100 * (other.error / found.best.error - 1)
    assert f"BLT, 1 buffer (one model copy) has {percent:.2g} % more error." in said


def test_words_name_what_more_memory_would_gain():
    # The first of them is better by less than a percent.
    plan = FEDERATED.replace(dataset_size=10**6, steps=1000, min_separation=200)
    found = recommend(plan, epsilon=4.0, designs=designs("blt:2", "blt:4"), quick=True)
    assert found.best.design == parse("blt:2")
    assert found.choices[0].design == parse("blt:4")
    assert "and keep 4 model copies instead of 2." in " ".join(found.words)


def test_words_own_up():
    trees = recommend(FEDERATED, epsilon=4.0, designs=designs("prefix-tree"), quick=True)
    assert not trees.best.sensitivity_exact
    assert "Its sensitivity is an upper bound: its true cost may be lower." in trees.words
    largest = recommend(
        FEDERATED, epsilon=4.0, objective="max", designs=designs("dense"), quick=True
    )
    assert "the largest error of what is estimated" in largest.words[0]
    assert "Instead, every step draws the random numbers of earlier ones again." in largest.words
    both = recommend(FEDERATED, epsilon=4.0, designs=designs("dense", "blt:2"), quick=True)
    percent = 100 * (both.choices[1].error / both.choices[0].error - 1)
    said = f"Without that, BLT, 2 buffers (2 model copies) has {percent:.2g} % more error."
    assert said in both.words
    unknown = recommend(POISSON, designs=designs("identity"))
    assert "How much better another mechanism could do is not known here." in unknown.words


# -- limits, workloads, other samplers -------------------------------------------------------------


def test_memory_is_kept_to():
    found = recommend(FEDERATED, epsilon=4.0, memory=2, quick=True)
    assert max(choice.memory for choice in found.choices) == 2
    asked = recommend(
        FEDERATED, epsilon=4.0, memory=2, designs=designs("blt:2", "blt:3"), quick=True
    )
    assert set(by_name(asked)) == {"blt:2"}
    assert asked.refused == (
        ("BLT, 3 buffers", "its noise keeps 3 model copies, more than the 2 allowed"),
    )
    few = recommend(POISSON, memory=3)
    assert max(choice.memory for choice in few.choices) == 3


def test_what_is_estimated_counts():
    workload = momentum(24, 0.9)
    found = recommend(
        FEDERATED, epsilon=4.0, workload=workload, designs=designs(*NAMES), quick=True
    )
    for choice in found.choices:
        strategy = choice.plan.mechanism
        decoder = np.eye(24) if isinstance(strategy, str) else strategy.decoder()
        squared = np.square(workload.matrix() @ decoder).sum(axis=1).mean()
        scale = choice.plan.noise_stddev / choice.plan.clip_norm
        assert choice.error == pytest.approx(scale * math.sqrt(squared), rel=1e-9)
    assert found.bound is None


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "fixed_order"},
        {"sampler": "fixed_order", "dataset_size": 8_500},
        {"sampler": "full_batch", "batch_size": None},
        {"sampler": "shuffled"},
        {"sampler": "fixed_order", "group_size": 3},
        {"sampler": "fixed_order", "neighboring_relation": "replace_one"},
    ],
)
def test_all_samplers_with_patterns_have_choices(changes):
    plan = FEDERATED.replace(min_separation=None, max_participations=None, **changes)
    found = recommend(plan, epsilon=8.0, designs=designs("identity", "blt:2"), quick=True)
    assert set(by_name(found)) == {"identity", "blt:2"}
    for choice in found.choices:
        assert 7.99 < choice.plan.epsilon <= 8.0
        assert found.gap(choice) >= 0


def test_balls_in_bins_that_are_drawn_once():
    plan = Plan(
        dataset_size=400, batch_size=100, epochs=2, sampler="balls_in_bins_once", delta=1e-5
    )
    found = recommend(plan, epsilon=4.0, designs=designs("identity", "blt:2"))
    assert set(by_name(found)) == {"identity", "blt:2"}
    assert all(choice.plan.epsilon <= 4.0 for choice in found.choices)
    assert found.best.error < 0.9 * found.independent.error
    assert found.gap(found.best) is None


def test_an_executor_gives_the_same_answer():
    here = recommend(FEDERATED, epsilon=4.0, designs=designs(*NAMES), quick=True)
    with ThreadPoolExecutor(2) as executor:
        there = recommend(
            FEDERATED, epsilon=4.0, designs=designs(*NAMES), quick=True, executor=executor
        )
    assert there == here


def test_reports_come_as_they_are_ready():
    said = []
    found = recommend(
        FEDERATED, epsilon=4.0, designs=designs("identity", "toeplitz:99"), report=said.append
    )
    assert said == [*found.choices, *found.refused]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "options", "says"),
    [
        (FEDERATED.replace(steps=None), {"epsilon": 4}, "steps must be given"),
        (FEDERATED.replace(delta=None), {"epsilon": 4}, "delta must be given"),
        (FEDERATED, {}, "epsilon must be given, or noise_multiplier"),
        (FEDERATED, {"epsilon": 0}, "epsilon must be a number in the interval"),
        (FEDERATED, {"epsilon": -1}, "epsilon must be a number in the interval"),
        (FEDERATED, {"epsilon": math.nan}, "epsilon must be a number in the interval"),
        (FEDERATED, {"epsilon": math.inf}, "epsilon must be a number in the interval"),
        (FEDERATED, {"epsilon": True}, "epsilon must be a number in the interval"),
        (FEDERATED, {"epsilon": "4"}, "epsilon must be a number in the interval"),
        (POISSON.replace(sampler="without_replacement"), {}, "every step draws from all examples"),
        (POISSON.replace(batch_size=None, steps=9), {"epsilon": 4}, "batch_size must be given"),
    ],
)
def test_an_open_question_is_refused(plan, options, says):
    with pytest.raises(PlanError, match=says):
        recommend(plan, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"memory": -1}, "memory must be a whole number"),
        ({"objective": "median"}, "objective must be .mean. or .max."),
        ({"workload": prefix_sum(23)}, "the workload has 23 steps"),
    ],
)
def test_what_is_no_limit_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        recommend(FEDERATED, epsilon=4.0, **options)


def test_where_nothing_fits_the_reasons_are_named():
    with pytest.raises(CalibrationError, match=r"No mechanism meets .*Toeplitz, 99 bands"):
        recommend(FEDERATED, epsilon=4.0, designs=designs("toeplitz:99"), quick=True)
    found = recommend(POISSON, designs=designs("identity", "blt:2"))
    assert all(choice.design == parse("identity") for choice in found.choices)
    assert {name for name, _ in found.refused} == {"BLT, 2 buffers"}
    assert all(reason for _, reason in found.refused)
