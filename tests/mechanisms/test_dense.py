"""Dense strategies against figures of other implementations, bounds and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mechanisms.lower_bounds import lower_bound
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.rate_schedules import cosine_rate
from mechanisms.strategies import BandedToeplitz, SquareRoot
from mechanisms.strategies.banded import Banded
from mechanisms.strategies.base import Strategy
from mechanisms.strategies.dense import Dense
from mechanisms.workloads import learning_rates, momentum, prefix_sum

ONE = SingleParticipation()


def random_triangle(rng, steps):
    return np.tril(rng.normal(size=(steps, steps)), -1) + np.diag(rng.uniform(0.5, 2.0, steps))


def test_single_participation_reaches_the_optimum():
    best = Dense.optimize(steps=256)
    # The dual bound is 2.524414; jax-privacy 2 stops at 2.5250.
    assert best.rmse() == pytest.approx(2.524414, abs=2e-6)
    norms = np.linalg.norm(best.matrix(), axis=0)
    assert_allclose(norms, 1.0, rtol=1e-12)
    # A Cholesky factor the other way round has rows of norm 1, and columns of up to twice that.
    assert np.max(np.linalg.norm(best.matrix(), axis=1)) > 1.05
    assert np.all(np.triu(best.matrix(), 1) == 0.0)


def test_the_largest_error_is_the_same_in_nearly_all_steps():
    best = Dense.optimize(steps=128, objective="max")
    bound = lower_bound(prefix_sum(128), ONE, "max")
    assert bound.gap(best.max_error()) < 0.02
    errors = best.squared_errors(prefix_sum(128))
    assert np.max(errors) < 1.01 * np.median(errors)


@pytest.mark.parametrize("objective", ["mean", "max"])
@pytest.mark.parametrize(
    ("participation", "percent"),
    [
        (FixedEpochOrder(24), 0.1),
        (BallsInBins(24, 4), 0.1),
        (MinSeparation(24, 4), 1.0),
        (MinSeparation(24), 1.0),
    ],
    ids=str,
)
def test_several_participations_come_close_to_the_bound(participation, percent, objective):
    best = Dense.optimize(steps=96, participation=participation, objective=objective)
    bound = lower_bound(prefix_sum(96), participation, objective)
    error = best.rmse if objective == "mean" else best.max_error
    gap = bound.gap(error(None, participation))
    assert 0.0 < gap < percent * (1 if objective == "mean" else 3)
    # What is claimed for nearly orthogonal columns is nothing but rounding above their norms.
    chosen = best.matrix()[:, ::24]
    assert np.linalg.norm(chosen) <= best.sensitivity(participation)
    assert best.sensitivity(participation) == pytest.approx(1.0, rel=1e-3)


def test_no_worse_than_bands_or_toeplitz_where_participations_are_few():
    participation = MinSeparation(8, 2)
    best = Dense.optimize(steps=64, participation=participation).rmse(None, participation)
    for strategy in (
        Banded.optimize(steps=64, bands=8, participation=participation),
        BandedToeplitz.optimize(steps=64, bands=32, participation=participation),
        SquareRoot(64),
    ):
        assert best <= strategy.rmse(None, participation)


@pytest.mark.parametrize(
    "workload", [momentum(60, 0.9), learning_rates(cosine_rate(60), 0.9, 0.01)]
)
def test_other_workloads_reach_the_optimum(workload):
    best = Dense.optimize(steps=60, workload=workload)
    assert lower_bound(workload).gap(best.rmse(workload)) < 0.01
    assert best.rmse(workload) < Dense.optimize(steps=60).rmse(workload)


def test_cyclic_poisson_keeps_as_many_bands_as_groups():
    best = Dense.optimize(steps=40, participation=CyclicPoisson(5, 0.1))
    assert best.sensitivity(CyclicPoisson(5, 0.1)) == pytest.approx(1.0)
    assert np.all(np.tril(best.matrix(), -5) == 0.0)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs(steps):
    for objective, participation in itertools.product(
        ("mean", "max"), (ONE, MinSeparation(1), FixedEpochOrder(2), MinSeparation(2, 5))
    ):
        best = Dense.optimize(steps=steps, objective=objective, participation=participation)
        error = best.rmse if objective == "mean" else best.max_error
        bound = lower_bound(prefix_sum(steps), participation, objective)
        assert bound.gap(error(None, participation)) > -1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_sensitivity_of_signed_matrices_is_never_below_any_pattern(seed):
    rng = np.random.default_rng(seed)
    strategy = Dense(random_triangle(rng, 7))
    for participation in (ONE, MinSeparation(2, 3), MinSeparation(2), FixedEpochOrder(2)):
        claimed = strategy.sensitivity(participation)
        apart = participation.separation(7)
        for size in range(1, participation.count(7) + 1):
            for chosen in itertools.combinations(range(7), size):
                gaps = np.diff(chosen)
                fixed = isinstance(participation, FixedEpochOrder)
                if np.any(gaps < apart) or (fixed and np.any(gaps % apart)):
                    continue
                columns = strategy.matrix()[:, chosen]
                vectors = rng.normal(size=(size, 3))
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                assert np.linalg.norm(columns @ vectors) <= claimed
                for signs in itertools.product([1.0, -1.0], repeat=size):
                    assert np.linalg.norm(columns @ np.array(signs)) <= claimed


def test_noise_is_that_of_the_inverse():
    strategy = Dense(random_triangle(np.random.default_rng(0), 12))
    assert_allclose(strategy.decoder() @ strategy.matrix(), np.eye(12), atol=1e-9)
    assert_allclose(strategy.noise_filter().decoder, strategy.decoder())
    assert strategy.memory == strategy.noise_filter().memory == 0


def test_files():
    strategy = Dense(random_triangle(np.random.default_rng(0), 15))
    read = Strategy.from_json(strategy.to_json())
    assert read == strategy
    assert hash(read) == hash(strategy)
    assert read != Dense(random_triangle(np.random.default_rng(1), 15))
    values = strategy.to_dict()
    for wrong in (
        {**values, "steps": 14},
        {**values, "steps": 10**7},
        {**values, "rows": 3},
        {**values, "entries": [1.0]},
        {**values, "entries": "abc"},
        {k: v for k, v in values.items() if k != "entries"},
    ):
        with pytest.raises(ValueError, match=r"entries|rows|too large"):
            Strategy.from_dict(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "abc",
        [1.0, 2.0],
        [[1.0, 1.0], [0.0, 1.0]],
        [[0.0, 0.0], [1.0, 1.0]],
        [[-1.0, 0.0], [1.0, 1.0]],
        [[math.nan, 0.0], [1.0, 1.0]],
        [[math.inf, 0.0], [1.0, 1.0]],
        [[True, False], [True, True]],
        [[1.0, 0.0]],
        [[1e-9, 0.0], [1.0, 1.0]],
        [[1e-300, 0.0], [1e300, 1.0]],
        np.eye(30) - 2.0 * np.tril(np.ones((30, 30)), -1),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_makes_no_strategy_is_refused(wrong):
    with pytest.raises(ValueError, match="matrix must"):
        Dense(wrong)


def test_what_cannot_be_optimized_is_refused():
    with pytest.raises(ValueError, match="too large"):
        Dense.optimize(steps=10_000)
    with pytest.raises(ValueError, match="objective"):
        Dense.optimize(steps=5, objective="median")
    with pytest.raises(ValueError, match="workload"):
        Dense.optimize(steps=5, workload=prefix_sum(6))
    with pytest.raises(ValueError, match="steps"):
        Dense.optimize(steps=0)
