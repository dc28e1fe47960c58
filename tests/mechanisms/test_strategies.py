"""What holds for every strategy, whatever its kind."""

import contextlib
import json
import math

import numpy as np
import pytest

from mechanisms import (
    BLT,
    Banded,
    BandedToeplitz,
    BinaryTree,
    Dense,
    FixedEpochOrder,
    Identity,
    InverseBandedToeplitz,
    MinSeparation,
    Plan,
    PrefixTree,
    SingleParticipation,
    SquareRoot,
    Strategy,
    momentum,
    prefix_sum,
)
from mechanisms.lower_bounds import lower_bound
from mechanisms.rate_schedules import cosine_rate
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.workloads import learning_rates
from tests.mechanisms.test_sensitivity import truth

STEPS = 7
APART = MinSeparation(2, 3)

STRATEGIES = [
    Identity(STEPS),
    BinaryTree(STEPS),
    BinaryTree(STEPS, 3, completed=True),
    BinaryTree(STEPS, estimator="online"),
    PrefixTree(STEPS),
    PrefixTree(STEPS, 4, estimator="online"),
    SquareRoot(STEPS),
    SquareRoot(STEPS, momentum=0.9, weight_decay=0.01),
    BandedToeplitz(STEPS, [1.0, -0.4, 0.3]),
    BandedToeplitz.square_root(STEPS, 3),
    BandedToeplitz.optimize(steps=STEPS, bands=2, participation=APART),
    InverseBandedToeplitz.square_root(STEPS, 3),
    BLT.optimize(steps=STEPS, buffers=2, participation=APART),
    BLT(STEPS, (0.9, 0.5), (0.3, -0.1)),
    Banded.optimize(steps=STEPS, bands=2, participation=APART),
    Dense.optimize(steps=STEPS, participation=SingleParticipation()),
    Dense(np.tril(np.random.default_rng(0).normal(size=(STEPS, STEPS))) + 3 * np.eye(STEPS)),
]
WORKLOADS = [prefix_sum(STEPS), momentum(STEPS, 0.9, 0.1), learning_rates(cosine_rate(STEPS), 0.5)]

every = pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)


@every
def test_noise_has_the_covariance_of_the_decoder(strategy):
    """Of (C^T C)^{-1} for a square C, at every pair of steps, within five standard errors."""
    rows = np.array(list(strategy.noise(150_000, rng=11)))
    assert rows.shape == (STEPS, 150_000)
    expected = strategy.decoder() @ strategy.decoder().T
    if len(strategy.matrix()) == STEPS:
        gram = strategy.matrix().T @ strategy.matrix()
        assert np.allclose(expected, np.linalg.inv(gram), rtol=1e-9, atol=1e-12)
    found = rows @ rows.T / rows.shape[1]
    variances = np.diagonal(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / rows.shape[1])
    assert np.all(np.abs(found - expected) <= 5 * error)


@every
def test_the_decoder_undoes_the_matrix(strategy):
    product = strategy.decoder() @ strategy.matrix()
    assert np.allclose(product, np.eye(STEPS), atol=1e-10)


@every
@pytest.mark.parametrize("workload", WORKLOADS, ids=repr)
def test_errors_are_those_of_the_matrices(strategy, workload):
    direct = np.square(workload.matrix() @ strategy.decoder()).sum(axis=1)
    assert np.allclose(strategy.squared_errors(workload), direct, rtol=1e-9)
    assert strategy.mean_squared_error(workload) == pytest.approx(direct.mean(), rel=1e-9)
    assert strategy.max_squared_error(workload) == pytest.approx(direct.max(), rel=1e-9)
    scale = strategy.sensitivity(APART)
    assert strategy.rmse(workload, APART) == pytest.approx(scale * math.sqrt(direct.mean()))
    assert strategy.max_error(workload, APART) == pytest.approx(scale * math.sqrt(direct.max()))


@every
@pytest.mark.parametrize(
    "participation",
    [
        SingleParticipation(),
        APART,
        MinSeparation(1),
        MinSeparation(3),
        FixedEpochOrder(2),
        FixedEpochOrder(3, 2),
    ],
    ids=repr,
)
def test_no_pattern_of_vectors_exceeds_a_sensitivity(strategy, participation):
    try:
        claimed = strategy.sensitivity_bound(participation)
    except UnsupportedParticipationError:
        return
    true = truth(strategy.matrix(), participation)
    assert true <= claimed.value * (1 + 1e-15)
    if claimed.exact:
        assert claimed.value <= true * (1 + 1e-6)


@every
@pytest.mark.parametrize("objective", ["mean", "max"])
@pytest.mark.parametrize("participation", [SingleParticipation(), APART], ids=repr)
def test_no_strategy_beats_the_lower_bound(strategy, objective, participation):
    for workload in WORKLOADS:
        bound = lower_bound(workload, participation, objective)
        reached = strategy.rmse if objective == "mean" else strategy.max_error
        assert bound is not None
        assert bound.value <= reached(workload, participation) * (1 + 1e-12)
    assert strategy.gap(objective, participation=participation) >= -1e-9


@every
def test_a_strategy_is_a_value_and_survives_as_json(strategy):
    again = Strategy.from_json(strategy.to_json())
    assert type(again) is type(strategy)
    assert again == strategy
    assert hash(again) == hash(strategy)
    assert again.to_json() == strategy.to_json()
    assert type(strategy).from_dict(json.loads(strategy.to_json())) == strategy
    assert len({strategy, again, Identity(STEPS + 1)}) == 2
    assert len(repr(strategy)) < 300
    with pytest.raises(AttributeError, match="does not change"):
        strategy.steps = 3
    with pytest.raises(AttributeError, match="does not change"):
        del strategy.steps


@every
@pytest.mark.parametrize("wrong", [None, "single", 3, MinSeparation])
def test_what_is_no_participation_is_refused(strategy, wrong):
    for ask in (strategy.sensitivity, strategy.sensitivity_bound):
        with pytest.raises(ValueError, match="participation must be one of"):
            ask(wrong)
    with pytest.raises(ValueError, match="participation must be one of"):
        strategy.rmse(participation=wrong)


@pytest.mark.parametrize(
    "optimize",
    [
        lambda wrong: BLT.optimize(steps=7, buffers=2, participation=wrong),
        lambda wrong: BandedToeplitz.optimize(steps=7, bands=2, participation=wrong),
        lambda wrong: Banded.optimize(steps=7, bands=2, participation=wrong),
        lambda wrong: Dense.optimize(steps=7, participation=wrong),
        lambda wrong: lower_bound(prefix_sum(7), wrong),
    ],
)
def test_nothing_is_designed_for_what_is_no_participation(optimize):
    with pytest.raises(ValueError, match="participation must be one of"):
        optimize("single")


@every
def test_a_workload_of_another_length_is_refused(strategy):
    with pytest.raises(ValueError, match="make both"):
        strategy.rmse(prefix_sum(STEPS + 1))
    with pytest.raises(ValueError, match="workload must be one of"):
        strategy.rmse("prefix sums")


@every
def test_what_is_no_such_strategy_is_refused(strategy):
    document = strategy.to_dict()
    for key in set(document) - {"strategy"}:
        for wrong in (None, "7", -1, True, [], {}, [None], float("nan"), [[1]], 10**400, "é" * 99):
            if wrong == document[key]:
                continue
            with contextlib.suppress(ValueError):
                # what is allowed instead, such as no restart, is another strategy
                assert Strategy.from_dict(document | {key: wrong}) != strategy
    with pytest.raises(ValueError, match=r"\bhas\b|\bhave\b|\bno\b"):
        Strategy.from_dict(document | {"surprise": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be JSON"),
        ("[]", "must be a mapping"),
        ("{}", "must be one of"),
        ('{"strategy": "dense"}', "steps must be a whole number"),
        ('{"strategy": ["dense"], "steps": 3}', "must be one of"),
        ("[" * 100_000, "must be JSON"),
        (b"\xff\xfe{", "must be JSON"),
        ('{"strategy": "blt", "steps": 3, "decay": [0.5]}', "missing or wrong"),
        ('{"strategy": "blt", "steps": 3, "decay": [NaN], "weights": [1]}', "decay"),
    ],
)
def test_text_that_is_no_strategy_is_one_sentence(text, says):
    with pytest.raises(ValueError, match=says):
        Strategy.from_json(text)


def test_a_strategy_of_another_kind_is_refused_where_one_is_asked_for():
    with pytest.raises(ValueError, match="this is a strategy of kind identity, not blt"):
        BLT.from_json(Identity(3).to_json())


def test_columns_are_normalised_and_not_rows():
    """A peer factors X by the plain Cholesky, and normalises rows: 1.4 to 2 times too little."""
    best = Dense.optimize(steps=64, participation=SingleParticipation())
    columns = np.linalg.norm(best.matrix(), axis=0)
    assert best.sensitivity(SingleParticipation()) == pytest.approx(columns.max(), rel=1e-10)
    assert np.allclose(columns, columns[0], rtol=1e-6)
    other = np.linalg.cholesky(best.matrix().T @ best.matrix())
    assert np.linalg.norm(other, axis=0).max() > 1.3 * columns.max()


def test_epsilon_is_not_rho():
    """A peer takes the one for the other: 30.9 where 8 was asked."""
    plan = Plan(
        dataset_size=700,
        batch_size=100,
        steps=7,
        sampler="fixed_order",
        neighboring_relation="replace_special",
        delta=1e-7,
        mechanism=STRATEGIES[2],
    )
    assert plan.calibrate(epsilon=8).epsilon <= 8.0
    assert plan.replace(noise_multiplier=1 / math.sqrt(2 * 8)).epsilon > 25
