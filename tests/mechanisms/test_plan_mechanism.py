"""Plans with correlated noise, and the samplers that say who takes part when."""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

from accountant import privacy_loss
from accountant.events import RandomAllocationDpEvent
from accountant.statement import statement
from mechanisms import (
    BallsInBins,
    FixedEpochOrder,
    Identity,
    MinSeparation,
    Plan,
    PlanError,
    Strategy,
)
from mechanisms.strategies import BLT, BandedToeplitz, BinaryTree

ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
FEDERATED = Plan(
    dataset_size=10**6,
    batch_size=1000,
    steps=2000,
    sampler="min_separation",
    min_separation=314,
    max_participations=6,
    neighboring_relation="replace_special",
    noise_multiplier=1.0,
    delta=1e-10,
)
TREE = BinaryTree(2000)


def epsilon_of(event, relation=ZERO_OUT, delta=1e-10):
    return privacy_loss(event, neighboring_relation=relation).epsilon(delta)


def test_the_published_tree_of_gboard():
    """es-ES: a tree with noise multiplier 7 per node, n = 2000, b = 314, k = 6."""
    plan = FEDERATED.replace(mechanism=TREE, noise_multiplier=7 / math.sqrt(79))
    assert plan.sensitivity == pytest.approx(math.sqrt(79), rel=1e-14)
    assert plan.sensitivity >= math.sqrt(79)
    assert plan.noise_stddev == pytest.approx(7.0)
    # The zCDP that was published is 79 / (2 * 49) = 0.81; the exact epsilon is lower than 8.90.
    assert plan.epsilon == pytest.approx(8.526, abs=1e-3)


def test_a_run_with_correlated_noise_is_one_gaussian_release():
    plan = FEDERATED.replace(mechanism=TREE)
    assert plan.event() == GaussianDpEvent(1.0)
    assert plan.epsilon == epsilon_of(GaussianDpEvent(1.0))
    assert plan.noise_stddev >= TREE.sensitivity(MinSeparation(314, 6))
    both = plan.replace(group_size=2)
    assert both.epsilon == epsilon_of(GaussianDpEvent(0.5))
    other = plan.replace(neighboring_relation="replace_one")
    assert other.epsilon == epsilon_of(GaussianDpEvent(0.5))
    found = plan.replace(noise_multiplier=None).calibrate(epsilon=8.0)
    assert 7.999 < found.epsilon <= 8.0
    assert found.mechanism == TREE


def test_independent_noise_is_composed_participation_by_participation():
    assert FEDERATED.sensitivity == 1.0
    assert FEDERATED.noise_stddev == 1.0
    assert FEDERATED.max_participations == 6
    assert FEDERATED.epsilon == epsilon_of(SelfComposedDpEvent(GaussianDpEvent(1.0), 6))
    assert FEDERATED.replace(mechanism=Identity(2000)) == FEDERATED.replace(mechanism="identity")
    as_often_as_fit = FEDERATED.replace(max_participations=None)
    assert as_often_as_fit.max_participations == 7


def test_patterns_follow_from_the_sampler():
    short = BinaryTree(60)
    plan = Plan(
        dataset_size=1000,
        batch_size=50,
        steps=60,
        sampler="fixed_order",
        neighboring_relation="replace_special",
        noise_multiplier=2.0,
        delta=1e-6,
        mechanism=short,
    )
    assert plan.sensitivity == short.sensitivity(FixedEpochOrder(20, 3))
    # 1,010 examples are no whole number of batches: an example comes back after 20 or 21 steps.
    uneven = plan.replace(dataset_size=1010)
    assert uneven.sensitivity == short.sensitivity(MinSeparation(20, 3))
    everyone = plan.replace(sampler="full_batch", batch_size=None)
    assert everyone.sensitivity == short.sensitivity(MinSeparation(1))
    shuffled = plan.replace(sampler="shuffled")
    assert shuffled.sensitivity == short.sensitivity(MinSeparation(1, 3))
    assert shuffled.event() == GaussianDpEvent(2.0)


def test_groups_in_turn_are_sampled_within_their_turns():
    plan = Plan(
        dataset_size=10_000,
        batch_size=100,
        steps=250,
        sampler="cyclic_poisson",
        groups=4,
        noise_multiplier=1.0,
        delta=1e-6,
    )
    assert plan.sampling_probability == 0.04
    assert plan.epochs == 2.5
    assert plan.max_participations == 63
    rounds = SelfComposedDpEvent(PoissonSampledDpEvent(0.04, GaussianDpEvent(1.0)), 63)
    add = NeighboringRelation.ADD_OR_REMOVE_ONE
    assert plan.epsilon == epsilon_of(rounds, add, 1e-6)
    same = plan.replace(sampling_probability=0.04)
    assert (same.batch_size, same.epochs) == (100, 2.5)
    # One group is Poisson sampling.
    assert plan.replace(groups=1).epsilon == plan.replace(sampler="poisson", groups=None).epsilon
    larger = plan.replace(batch_size=None, steps=250).calibrate(epsilon=3.0)
    assert larger.epsilon <= 3.0
    assert larger.replace(batch_size=larger.batch_size + 1).epsilon > 3.0
    with pytest.raises(PlanError, match="groups"):
        _ = plan.replace(mechanism=BinaryTree(250)).epsilon


def test_bins_that_are_drawn_once_move_the_same_batch_in_every_epoch():
    plan = Plan(
        dataset_size=1000,
        batch_size=100,
        epochs=4,
        sampler="balls_in_bins_once",
        noise_multiplier=4.0,
        delta=1e-6,
    )
    assert plan.steps == 40
    known = epsilon_of(
        RandomAllocationDpEvent(10, GaussianDpEvent(2.0)),
        NeighboringRelation.ADD_OR_REMOVE_ONE,
        1e-6,
    )
    assert plan.epsilon == pytest.approx(known, rel=1e-9)
    assert plan.replace(epochs=1).epsilon == plan.replace(epochs=1, sampler="balls_in_bins").epsilon
    # It may help or not that the batches are drawn anew, but one epoch's cost is exceeded.
    assert plan.epsilon > plan.replace(epochs=1).epsilon


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mechanism": BinaryTree(1999)}, "steps must be 1999, as in the mechanism"),
        ({"mechanism": "blt"}, "mechanism must be 'identity' or a strategy"),
        ({"mechanism": 3}, "mechanism must be 'identity' or a strategy"),
        ({"mechanism": {"strategy": "magic", "steps": 2000}}, "strategy must be one of"),
        ({"mechanism": {"strategy": "tree"}}, "steps must be a whole number"),
        ({"min_separation": None}, "min_separation must be given"),
        ({"min_separation": 1001}, "min_separation must be at most 1000"),
        ({"min_separation": 0}, "min_separation must be a whole number"),
        ({"groups": 3}, "groups must be left out"),
        ({"neighboring_relation": "add_or_remove_one"}, "'replace_special' or 'replace_one'"),
        ({"sampling_probability": 0.1, "batch_size": None}, "nothing is sampled"),
        ({"sampler": "fixed_order"}, "min_separation must be left out"),
        (
            {
                "sampler": "poisson",
                "min_separation": None,
                "max_participations": None,
                "mechanism": TREE,
            },
            "draw from groups in turn, with 'cyclic_poisson'",
        ),
        (
            {"sampler": "cyclic_poisson", "min_separation": None, "max_participations": None},
            "groups must be given",
        ),
        (
            {
                "sampler": "cyclic_poisson",
                "min_separation": None,
                "max_participations": None,
                "groups": 1001,
            },
            "groups must be at most 1000",
        ),
        ({"sampler": "min_separatoin"}, "'min_separation'"),
        ({"sampler": "federated"}, "'min_separation'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, says):
    with pytest.raises(PlanError, match=says):
        FEDERATED.replace(**changes)


def test_only_noise_is_solved_for_with_correlated_noise():
    plan = FEDERATED.replace(mechanism=TREE)
    with pytest.raises(PlanError, match="batch_size must be given with correlated noise"):
        plan.replace(batch_size=None).calibrate(epsilon=3)
    with pytest.raises(PlanError, match="steps must be 2000, as in the mechanism"):
        plan.replace(steps=None)


def test_a_plan_carries_its_strategy():
    plan = FEDERATED.replace(mechanism=TREE)
    for again in (Plan.from_json(plan.to_json()), Plan.from_yaml(plan.to_yaml())):
        assert again == plan
        assert isinstance(again.mechanism, Strategy)
        assert again.hash == plan.hash
    assert plan.hash != FEDERATED.hash
    assert plan.replace(mechanism=TREE.to_dict()) == plan


def test_the_statement_says_what_the_noise_is_and_who_takes_part():
    guarantee = FEDERATED.replace(mechanism=TREE).guarantee()
    said = " ".join(guarantee.assumptions)
    assert "fewer than 314 apart, nor in more than 6" in said
    assert "BinaryTree(2000" in said
    assert "sensitivity is exactly 8.888" in said
    assert "stay secret" in said
    assert "Independent Gaussian noise" not in said
    for language in ("markdown", "latex", "json"):
        assert "BinaryTree" in statement(guarantee, language)
    assert guarantee.command is not None
    assert '"strategy":"tree"' in guarantee.command


def test_error_is_compared_with_that_of_independent_noise():
    # The same noise on every prefix sum's mean squared error: what the ratio says.
    plan = FEDERATED.replace(mechanism=TREE)
    independent = Identity(2000).rmse()
    expected = TREE.rmse(participation=MinSeparation(314, 6)) / independent / 1000
    assert plan.noise_to_batch_ratio == pytest.approx(expected, rel=1e-12)
    assert FEDERATED.noise_to_batch_ratio == 1e-3


def test_numpy_numbers_are_numbers():
    assert FEDERATED.replace(min_separation=np.int64(314)) == FEDERATED


def test_a_bound_on_the_sensitivity_is_no_lower_bound_on_epsilon():
    rising = BandedToeplitz(2000, np.linspace(0.5, 1.0, 400))
    plan = FEDERATED.replace(mechanism=rising)
    assert not rising.sensitivity_bound(MinSeparation(314, 6)).exact
    bounds = plan.loss.epsilon_bounds(1e-10)
    assert bounds.lower == 0.0
    assert bounds.upper == epsilon_of(GaussianDpEvent(1.0))
    said = plan.guarantee()
    assert "the mechanism's sensitivity is one" in said.method
    assert any("sensitivity is at most" in sentence for sentence in said.assumptions)


def test_bins_that_are_drawn_once_amplify_correlated_noise():
    plan = Plan(
        dataset_size=80,
        batch_size=10,
        epochs=2,
        sampler="balls_in_bins_once",
        delta=1e-5,
        mechanism=BLT(16, (0.9,), (0.3,)),
    )
    found = plan.calibrate(epsilon=2.0)
    assert 1.99 < found.epsilon <= 2.0
    bins = BallsInBins(8, 2)
    assert found.noise_stddev == pytest.approx(
        found.noise_multiplier * found.mechanism.sensitivity(bins)
    )
    add = NeighboringRelation.ADD_OR_REMOVE_ONE
    # Less than if the bin were known, and no less than what the floor attains.
    assert found.epsilon < 0.9 * epsilon_of(GaussianDpEvent(found.noise_multiplier), add, 1e-5)
    assert 0 < found.loss.epsilon_bounds(1e-5).lower < 2.0
    # The event that stands for it is a bound as well, and a wider one.
    assert epsilon_of(found.event(), add, 1e-5) >= found.epsilon * (1 - 1e-9)
    with pytest.raises(PlanError, match="calibrated to an epsilon"):
        plan.calibrate(advantage=0.5)
