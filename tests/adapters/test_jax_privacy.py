"""jax-privacy with the exact engine in place of its own."""

import dataclasses
import math

import dp_accounting as dp
import jax.numpy as jnp
import numpy as np
import pytest
from dp_accounting.privacy_accountant import NeighboringRelation
from jax_privacy import accounting
from jax_privacy.experimental import accounting as events
from jax_privacy.experimental.execution_plan import BandMFExecutionPlanConfig

from accountant import Accountant, privacy_loss
from accountant.adapters.jax_privacy import AccountantConfig, JaxPrivacyAccountant

RUN = {"noise_multipliers": 1.0, "num_samples": 10_000, "batch_size": 100, "delta": 1e-5}


def epsilon(config, steps=1000, analysis=accounting.DpsgdTrainingAccountant, **changes):
    return analysis(config).compute_epsilon(steps, accounting.DpParams(**RUN | changes))


def test_one_line_changes():
    config = AccountantConfig()
    assert isinstance(config, accounting.DpAccountantConfig)
    assert isinstance(config.create_accountant(), Accountant)
    assert epsilon(config) == pytest.approx(1.828236666516567, rel=1e-9)
    assert epsilon(config) <= epsilon(accounting.PldAccountantConfig()) <= 1.001 * epsilon(config)
    assert epsilon(config) < epsilon(accounting.RdpAccountantConfig())


def test_every_accountant_is_new():
    config = AccountantConfig()
    config.create_accountant().compose(dp.GaussianDpEvent(1.0))
    assert config.create_accountant().get_epsilon(1e-5) == 0.0


def test_there_is_one_parameter_the_relation():
    assert [f.name for f in dataclasses.fields(AccountantConfig) if f.init] == [
        "neighboring_relation"
    ]
    zero_out = AccountantConfig(neighboring_relation=NeighboringRelation.REPLACE_SPECIAL)
    made = zero_out.create_accountant()
    assert made.neighboring_relation is NeighboringRelation.REPLACE_SPECIAL
    assert epsilon(zero_out) == epsilon(AccountantConfig())


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multipliers": [(0, 1.0), (500, 1.3)]},
        {"cycle_length": 4},
        {"sampling_method": accounting.SamplingMethod.FIXED_BATCH_SIZE, "noise_multipliers": 2.0},
    ],
)
def test_it_agrees_with_the_discretised_accountant(changes):
    theirs = epsilon(accounting.PldAccountantConfig(), 100, **changes)
    assert epsilon(AccountantConfig(), 100, **changes) == pytest.approx(theirs, rel=2e-3)


def test_it_agrees_on_user_level_privacy():
    user = {"examples_per_user": 3, "analysis": accounting.DpsgdTrainingUserLevelAccountant}
    theirs = epsilon(accounting.PldAccountantConfig(value_discretization_interval=0.01), 5, **user)
    assert 0.98 * theirs <= epsilon(AccountantConfig(), 5, **user) <= theirs


def test_it_agrees_on_single_releases():
    single = {"analysis": accounting.SingleReleaseTrainingAccountant}
    theirs = epsilon(accounting.PldAccountantConfig(), 100, **single)
    assert epsilon(AccountantConfig(), 100, **single) == pytest.approx(theirs, rel=2e-3)


def test_truncated_batches_reach_the_engine():
    # jax-privacy lets only what calls itself a PldAccountantConfig analyse them
    event = dp.dp_event.TruncatedSubsampledGaussianDpEvent(10_000, 0.01, 150, 1.0)
    if AccountantConfig().create_accountant().supports(event):
        theirs = epsilon(accounting.PldAccountantConfig(), 100, truncated_batch_size=150)
        ours = epsilon(AccountantConfig(), 100, truncated_batch_size=150)
        assert ours == pytest.approx(theirs, rel=2e-3)
    else:
        with pytest.raises(dp.UnsupportedEventError, match="TruncatedSubsampledGaussian"):
            epsilon(AccountantConfig(), 100, truncated_batch_size=150)


def test_a_schedule_of_batch_sizes_brings_numbers_in_single_precision():
    schedule = {"batch_size_scale_schedule": {100: 3}}
    third = accounting.DpParams(**RUN | schedule).batch_sizes[1][1]
    assert third.dtype == jnp.float32
    before = 100 * privacy_loss(poisson(0.01, 1.0))
    exact = (before + 900 * privacy_loss(poisson(0.03, 1.0))).epsilon(1e-5)
    assert exact <= epsilon(AccountantConfig(), **schedule) <= exact * (1 + 1e-5)


def poisson(q, sigma):
    return dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))


def test_single_precision_is_covered_on_both_sides():
    made = JaxPrivacyAccountant()
    made.compose(poisson(jnp.float32(0.1), jnp.float32(1.1)), jnp.int32(7))
    ((mixture, count),) = made.privacy_loss.mixtures
    assert count == 7
    assert made.ledger == dp.SelfComposedDpEvent(
        poisson(mixture.probabilities[1], mixture.sigma), 7
    )
    assert made.supports(poisson(jnp.float32(0.1), jnp.float32(1.1)))
    assert float(np.float32(1.1)) > 1.1 > mixture.sigma > 1.1 - 2e-7
    assert mixture.probabilities[1] > float(np.float32(0.1)) > 0.1
    with pytest.raises(ValueError, match="noise_multiplier must be one number"):
        made.compose(dp.GaussianDpEvent(jnp.array([1.0, 2.0])))
    with pytest.raises(ValueError, match="count must be a whole number"):
        made.compose(dp.GaussianDpEvent(1.0), 1.5)


def test_no_steps_and_no_noise():
    assert epsilon(AccountantConfig(), 0) == 0.0
    assert epsilon(AccountantConfig(), noise_multipliers=0.0) == math.inf


def test_calibration_of_each_of_the_three():
    run = {
        "accountant": accounting.DpsgdTrainingAccountant(AccountantConfig()),
        "target_epsilon": 2.0,
        "target_delta": 1e-5,
        "num_samples": 10_000,
    }
    noise = accounting.calibrate_noise_multiplier(
        **run, batch_sizes=100, num_updates=1000, tol=1e-6
    )
    assert 1.999 < epsilon(AccountantConfig(), noise_multipliers=noise) <= 2.0
    steps = accounting.calibrate_num_updates(**run, batch_sizes=100, noise_multipliers=1.0)
    found = [epsilon(AccountantConfig(), steps + more) for more in (0, 1)]
    assert found[0] <= 2.0 < found[1]
    batch = accounting.calibrate_batch_size(**run, noise_multipliers=1.0, num_updates=1000)
    found = [epsilon(AccountantConfig(), batch_size=batch + more) for more in (0, 1)]
    assert found[0] <= 2.0 < found[1]


def test_execution_plans_take_the_accountant_itself():
    config = BandMFExecutionPlanConfig(
        iterations=20,
        strategy=np.array([1.0, 0.5]),
        epsilon=1.0,
        delta=1e-6,
        sampling_prob=0.1,
        accountant=Accountant(NeighboringRelation.REPLACE_SPECIAL),
    )
    event = config.plan.dp_event
    relation = NeighboringRelation.REPLACE_SPECIAL
    assert 0.99 < privacy_loss(event, relation).epsilon(1e-6) <= 1.0
    assert config.accountant.get_epsilon(1e-6) == 0.0


def test_the_events_that_it_writes_are_understood():
    event = events.dpsgd_event(1.0, 1000, sampling_prob=0.01)
    assert Accountant().compose(event).get_epsilon(1e-5) == epsilon(AccountantConfig())
