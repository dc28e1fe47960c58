"""A planned guarantee carries every condition of its number."""

import pickle
import shlex

import pytest
from click.testing import CliRunner
from dp_accounting import NeighboringRelation
from hypothesis import given

from accountant.guarantee import Parameter
from mechanisms import Plan, PlanError
from mechanisms.planning.fields import FIELDS
from mechanisms.planning.guarantee import command
from tests.mechanisms.plans import plans
from ui.cli import epsilon

MNIST = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1, delta=1e-5)


def test_a_plan_would_guarantee():
    guarantee = MNIST.guarantee()
    assert guarantee.planned
    assert guarantee.sampler_ran is None
    assert guarantee.sampler_assumed == "poisson"
    assert guarantee.epsilon.upper == MNIST.epsilon
    assert guarantee.loss == MNIST.loss
    assert guarantee.neighboring_relation is NeighboringRelation.ADD_OR_REMOVE_ONE
    assert guarantee.plan_hash == MNIST.hash
    assert (guarantee.unit, guarantee.group_size, guarantee.released) == (
        "example",
        1,
        "final_model",
    )
    assert dict(guarantee.versions)["dp-planner"]
    assert pickle.loads(pickle.dumps(guarantee)) == guarantee
    with pytest.raises(AttributeError):
        guarantee.delta = 1.0


def test_parameters_say_where_they_come_from():
    guarantee = MNIST.replace(clip_norm=0.5).guarantee()
    assert guarantee.parameter("clip_norm") == Parameter("clip_norm", 0.5)
    assert guarantee.parameter("sampler") == Parameter("sampler", "poisson", stated=False)
    steps = guarantee.parameter("steps")
    assert steps is not None
    assert (steps.value, steps.stated, steps.note) == (14_063, False, "follows from the others")
    assert guarantee.parameter("learning_rate") is None
    not_of_this_sampler = {"min_separation", "max_participations", "groups"}
    named = {parameter.name for parameter in guarantee.parameters}
    assert named == {*FIELDS, "noise_stddev"} - not_of_this_sampler


def test_an_attack_finds_no_more_than_the_trade_off_curve_says():
    guarantee = MNIST.guarantee()
    for rate in (1e-6, 0.001, 0.01, 0.1, 0.5):
        found = guarantee.true_positive_rate(rate)
        assert rate < found <= 1
        assert 0 <= found - (1 - guarantee.loss.fnr(rate)) < 1e-15
        assert found <= rate + guarantee.loss.advantage() * (1 + 1e-9)


def warnings(**changes: object) -> str:
    return " ".join(MNIST.replace(**changes).guarantee().warnings)


def test_poisson_sampling_is_warned_about():
    assert "was not stated" in warnings()
    assert "shuffles" in warnings(sampler="poisson")
    assert "was not stated" not in warnings(sampler="poisson")
    assert not warnings(sampler="full_batch", batch_size=None)


def test_a_delta_above_one_over_the_size_is_warned_about():
    assert "larger than 1/dataset_size=1.67e-05" in warnings(delta=1.7e-5)
    assert "1/dataset_size" not in warnings(delta=1.6e-5)
    assert "1/dataset_size" not in warnings(delta=1 / 60_000)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "is not Poisson sampling"),
        ({}, "No batch is cut short"),
        ({}, "taken to be Gaussian"),
        ({}, "an adversary cannot predict"),
        ({}, "standard deviation 1.1"),
        ({}, "does not rely on this"),
        ({"release": "all_checkpoints"}, "covers every noisy update"),
        ({"group_size": 4, "unit": "user"}, "at most 4 rows, added together or removed together"),
        ({"unit": "user"}, "One user is one row"),
        (
            {"sampler": "fixed_order", "neighboring_relation": "replace_one"},
            "more than 61 of the 14063 steps",
        ),
        ({"sampler": "full_batch", "batch_size": None}, "Every step uses every example"),
    ],
)
def test_assumptions_are_spelled_out(changes, says):
    assert says in " ".join(MNIST.replace(**changes).guarantee().assumptions)


def test_an_incomplete_plan_guarantees_nothing():
    for name in ("delta", "noise_multiplier", "batch_size", "steps"):
        with pytest.raises(PlanError, match="is missing"):
            MNIST.replace(**{name: None}).guarantee()


@given(plans)
def test_the_command_rebuilds_the_plan(plan):
    program, name, *words = shlex.split(command(plan))
    assert (program, name) == ("dp-planner", "epsilon")
    context = epsilon.make_context(name, words)
    given = {field: context.params[field] for field in FIELDS}
    assert Plan(**given) == plan


def test_the_command_computes_the_number():
    plan = MNIST.replace(unit="don't; echo $HOME `id`", noise_multiplier=1.0000000000000002)
    _, _, *words = shlex.split(command(plan))
    result = CliRunner().invoke(epsilon, [*words, "--json"])
    assert result.exit_code == 0
    assert plan.hash in result.output
    assert repr(plan.epsilon) in result.output
