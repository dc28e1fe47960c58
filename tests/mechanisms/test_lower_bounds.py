"""Lower bounds against slow solvers, brute force, closed forms and many digits."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from mechanisms.lower_bounds import LowerBound, best_dual, lower_bound
from mechanisms.lower_bounds.certificate import by_pattern, certified_error
from mechanisms.lower_bounds.dual import certify, uniform
from mechanisms.lower_bounds.patterns import all_patterns, families, spacing_of
from mechanisms.lower_bounds.prefix_sums import column_sums, nuclear_norm, prefix_sum_bound
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.rate_schedules import cosine_rate
from mechanisms.strategies import BLT, BandedToeplitz, Identity, SquareRoot
from mechanisms.strategies.banded import Banded
from mechanisms.strategies.dense import Dense
from mechanisms.workloads import from_matrix, learning_rates, momentum, prefix_sum

ONE = SingleParticipation()
WORKLOADS = [
    prefix_sum(5),
    momentum(5, 0.9),
    learning_rates(cosine_rate(5, 0.1), 0.5, 0.01),
    from_matrix(np.tril(np.random.default_rng(3).normal(size=(5, 5))) + 2.0 * np.eye(5)),
]


def errors(matrix, workload):
    decoded = workload.matrix() @ np.linalg.inv(matrix)
    return np.sum(decoded**2, axis=1)


def slow_optimum(workload, power=1):
    """Least root of the power mean of errors of any square C with unit columns: quasi-Newton."""
    steps = workload.steps

    def loss(entries):
        matrix = entries.reshape(steps, steps)
        matrix = matrix / np.linalg.norm(matrix, axis=0)
        return np.log(np.mean(errors(matrix, workload) ** power)) / power

    found = [
        minimize(loss, start.ravel(), options={"gtol": 1e-9, "maxiter": 2000}).fun
        for start in (
            np.eye(steps) + 0.01 * np.arange(steps)[:, None],
            np.tril(np.ones((steps,) * 2)),
        )
    ]
    return math.exp(min(found) / 2)


@pytest.mark.parametrize("workload", WORKLOADS, ids=repr)
def test_the_optimum_lies_between_the_bound_and_the_strategy(workload):
    bound = lower_bound(workload).value
    reached = Dense.optimize(steps=5, workload=workload).rmse(workload)
    optimum = slow_optimum(workload)
    assert bound <= optimum * (1 + 1e-9)
    assert optimum <= reached * (1 + 1e-6)
    assert reached <= bound * (1 + 1e-5)


@pytest.mark.parametrize("workload", WORKLOADS, ids=repr)
def test_the_largest_error_is_bounded_too(workload):
    bound = lower_bound(workload, ONE, "max")
    mean = lower_bound(workload, ONE, "mean")
    assert mean.value <= bound.value * (1 + 1e-6)
    # A power mean is below the maximum, by at most a factor steps^(1 / power).
    assert bound.value <= slow_optimum(workload, 60) * 5 ** (1 / 120) * (1 + 1e-6)
    assert bound.value <= Dense.optimize(steps=5, workload=workload, objective="max").max_error(
        workload
    )


def patterns_of(participation, steps):
    if isinstance(participation, FixedEpochOrder):
        length = participation.epoch_length
        for start in range(min(length, steps)):
            places = range(start, steps, length)
            yield from itertools.combinations(places, min(len(places), participation.count(steps)))
        return
    for size in range(1, participation.count(steps) + 1):
        for chosen in itertools.combinations(range(steps), size):
            apart = participation.min_separation
            if all(b - a >= apart for a, b in itertools.pairwise(chosen)):
                yield chosen


MANY = [
    MinSeparation(2, 3),
    MinSeparation(2),
    MinSeparation(3),
    MinSeparation(2, 2),
    MinSeparation(1, 3),
    FixedEpochOrder(2),
    FixedEpochOrder(3),
    FixedEpochOrder(2, 2),
]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MANY), st.integers(0, 10**6), st.sampled_from(["mean", "max"]))
def test_no_random_factorization_beats_the_bound(participation, seed, objective):
    rng = np.random.default_rng(seed)
    workload = prefix_sum(6)
    bound = lower_bound(workload, participation, objective).value
    best = Dense.optimize(steps=6, participation=participation, objective=objective)
    change = np.tril(rng.normal(size=(6, 6))) * 10.0 ** rng.uniform(-5, 0)
    matrix = best.matrix() + change * (np.diag(np.full(6, 0.5)) + np.tril(np.ones((6, 6)), -1))
    np.fill_diagonal(matrix, np.maximum(np.diagonal(matrix), 1e-3))
    gram = matrix.T @ matrix
    # What signs alone reach is at most the sensitivity, and nearly all of it.
    squared = 0.0
    for chosen in patterns_of(participation, 6):
        part = gram[np.ix_(chosen, chosen)]
        for signs in itertools.product([-1.0, 1.0], repeat=len(chosen)):
            squared = max(squared, np.array(signs) @ part @ np.array(signs))
    found = errors(matrix, workload)
    error = np.mean(found) if objective == "mean" else np.max(found)
    # Vectors reach at most pi/2 times what signs do, on a positive semidefinite matrix (Nesterov).
    assert bound <= math.sqrt(math.pi / 2 * squared * error)
    assert bound <= Dense(matrix).rmse(workload, participation) or objective == "max"
    assert bound <= Dense(matrix).max_error(workload, participation)


def test_signed_patterns_count():
    bound = lower_bound(prefix_sum(6), MinSeparation(2, 3)).value
    assert 6 * bound**2 == pytest.approx(41.9424, abs=1e-3)
    found = list(patterns_of(MinSeparation(2, 3), 6))
    triangle = np.tril(np.ones((6, 6)))

    def total(logs):
        """Minus the bound with equal vectors in each pattern, from weights on all patterns."""
        v = np.exp(logs - logs.max())
        weight = np.zeros((6, 6))
        for share, pattern in zip(v / v.sum(), found, strict=True):
            weight[np.ix_(pattern, pattern)] += share
        values = np.linalg.eigvalsh(triangle @ weight @ triangle.T)
        return -(np.sqrt(np.maximum(values, 0)).sum() ** 2)

    equal = -minimize(total, np.zeros(len(found)), options={"gtol": 1e-7}).fun
    assert equal == pytest.approx(37.35, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_certificates_are_below_theorem_1_in_many_digits(seed, is_polar):
    rng = np.random.default_rng(seed)
    steps, spacing = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    workload = np.tril(rng.normal(size=(steps, steps)))
    patterns = families(MinSeparation(spacing), steps, min(spacing, steps), 1)[0].patterns
    members = patterns.shape[1]
    factor = rng.normal(size=(len(patterns), members, members))
    roots = rng.uniform(size=steps)
    image = np.matmul(by_pattern(workload, patterns), factor) * roots[:, None]
    rows = image.transpose(1, 0, 2).reshape(steps, -1)
    transform = rng.normal(size=(steps, steps))
    if is_polar:
        left, values, _ = np.linalg.svd(rows)
        transform = (left / np.maximum(values, 1e-8 * values[0])) @ left.T
    found = certified_error(workload, patterns, factor, roots, transform)
    mpmath.mp.dps = 40
    directions = np.matmul(transform, image)
    exact = mpmath.mpf(0)
    for i, pattern in enumerate(patterns):
        total = mpmath.mpf(0)
        for step in (int(t) for t in pattern if t >= 0):
            parts = [
                mpmath.fsum(
                    mpmath.mpf(workload[s, step]) * mpmath.mpf(roots[s]) * directions[i, s, m]
                    for s in range(steps)
                )
                for m in range(members)
            ]
            total += mpmath.sqrt(mpmath.fsum(x * x for x in parts))
        exact += total**2
    whole = directions.transpose(1, 0, 2).reshape(steps, -1)
    matrix = mpmath.matrix(whole.tolist())
    norm = max(mpmath.eigsy(matrix * matrix.T, eigvals_only=True))
    exact /= norm * mpmath.fsum(mpmath.mpf(r) ** 2 for r in roots)
    assert found <= mpmath.sqrt(exact)
    if is_polar and np.linalg.cond(rows @ rows.T) < 1e6:
        assert found >= mpmath.sqrt(exact) * (1 - mpmath.mpf(1e-7))


def test_column_sums_are_the_diagonal_of_the_root():
    triangle = np.tril(np.ones((40, 40)))
    values, vectors = np.linalg.eigh(triangle.T @ triangle)
    diagonal = np.diagonal((vectors * np.sqrt(values)) @ vectors.T)
    found = column_sums(40, np.arange(1, 41))
    assert_allclose(found, diagonal, rtol=1e-9)
    assert np.sum(diagonal) == pytest.approx(np.linalg.svd(triangle, compute_uv=False).sum())
    assert nuclear_norm(40) == pytest.approx(np.sum(diagonal))


def test_column_sums_of_long_runs_are_just_below_the_truth():
    steps = 70_001
    terms = 1.0 / np.sin((np.arange(2 * steps + 1) + 0.5) * np.pi / (2 * steps + 1))
    columns = np.array([1, 2, 31, 33, 500, 35_000, 35_001, 35_002, 69_000, 70_000, 70_001])
    exact = np.array([math.fsum(terms[2 * j - 1 :]) for j in columns]) / (2 * steps + 1)
    found = column_sums(steps, columns)
    assert np.all(found <= exact)
    assert np.all(found >= exact * (1 - 1e-9))


@pytest.mark.parametrize("steps", [10**6, 10**9])
def test_column_sums_of_very_long_runs_in_many_digits(steps):
    mpmath.mp.dps = 40
    phi = mpmath.pi / (2 * steps + 1)

    def rest(x):
        return 1 / mpmath.sin(x) - 1 / x

    def cosecants(count):
        end = count * phi
        harmonic = mpmath.digamma(count + mpmath.mpf(1) / 2) - mpmath.digamma(mpmath.mpf(1) / 2)
        slope = -mpmath.cos(end) / mpmath.sin(end) ** 2 + 1 / end**2 - mpmath.mpf(1) / 6
        smooth = mpmath.quad(rest, [mpmath.mpf(10) ** -30, end / 2, end])
        return (harmonic + smooth - phi**2 / 24 * slope) / phi

    whole = 2 * cosecants(steps) + 1
    for column in (1, 7, steps // 10, steps // 2 - 5):
        exact = (whole - cosecants(2 * column - 1)) / (2 * steps + 1)
        found = column_sums(steps, np.array([column]))[0]
        assert exact * (1 - mpmath.mpf(1e-9)) <= found <= exact


def test_closed_form_is_a_bound_of_the_same_kind():
    for steps, participation in [
        (7, MinSeparation(2, 3)),
        (60, MinSeparation(13)),
        (60, MinSeparation(7, 3)),
        (60, FixedEpochOrder(11, 2)),
        (50, ONE),
    ]:
        spacing = spacing_of(participation, steps)
        found = prefix_sum_bound(steps, spacing)
        triangle = np.tril(np.ones((steps, steps)))
        nuclear = np.linalg.svd(triangle, compute_uv=False).sum()
        assert nuclear / math.sqrt(steps * spacing) <= found * (1 + 1e-9)
        assert found <= certify(triangle, best_dual(prefix_sum(steps), participation, "mean"))


def test_places_lose_little():
    whole, few = prefix_sum_bound(2**16, 2**16), prefix_sum_bound(2**16 + 1, 2**16 + 1)
    assert whole * (1 - 2e-4) < few < whole * (1 + 1e-5)


def test_bounds_of_very_long_runs():
    one = prefix_sum_bound(10**9, 10**9)
    assert one == pytest.approx(7.315, abs=2e-3)
    assert one < lower_bound(prefix_sum(10**9), ONE, "max").value * (1 + 1e-12)
    many = prefix_sum_bound(10**9, 10**7)
    assert many == pytest.approx(10 * nuclear_norm(10**9) / 10**9, rel=1e-3)
    assert prefix_sum_bound(10**9, 1000) == pytest.approx(
        nuclear_norm(10**9) / math.sqrt(10**12), rel=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(1, 8))
def test_patterns_may_occur(steps, apart, most):
    for participation in (
        MinSeparation(apart, most),
        FixedEpochOrder(apart, most),
        BallsInBins(apart, most or 3),
        CyclicPoisson(apart, 0.5),
        ONE,
    ):
        spacing = spacing_of(participation, steps)
        found = families(participation, steps, spacing, 9)
        covered = np.sort(found[0].patterns.ravel())
        assert covered[covered >= 0].tolist() == list(range(steps))
        chosen = [family.patterns for family in found]
        every = all_patterns(participation, steps, 200)
        for pattern in itertools.chain(*chosen, () if every is None else every):
            places = pattern[pattern >= 0]
            assert len(places) <= max(1, participation.count(steps))
            if isinstance(participation, CyclicPoisson):
                assert len(places) == 1
            gaps = np.diff(places)
            assert np.all(gaps >= participation.separation(steps))
            if isinstance(participation, FixedEpochOrder | BallsInBins):
                assert np.all(gaps % apart == 0)
            assert np.all(places < steps)


def test_all_patterns_are_those_that_no_other_contains():
    for steps, participation in [
        (7, MinSeparation(2, 3)),
        (8, MinSeparation(3)),
        (6, MinSeparation(1, 2)),
    ]:
        sets = [frozenset(p) for p in patterns_of(participation, steps)]
        largest = {p for p in sets if not any(p < q for q in sets)}
        found = {frozenset(p[p >= 0].tolist()) for p in all_patterns(participation, steps, 500)}
        assert largest <= found <= set(sets)


@pytest.mark.parametrize(
    ("steps", "participation"),
    [(128, ONE), (100, MinSeparation(30)), (120, MinSeparation(20, 6)), (90, FixedEpochOrder(30))],
    ids=str,
)
@pytest.mark.parametrize("objective", ["mean", "max"])
def test_no_strategy_is_below(steps, participation, objective):
    bound = lower_bound(prefix_sum(steps), participation, objective)
    assert bound.certified
    for strategy in (
        Identity(steps),
        SquareRoot(steps),
        BLT.optimize(steps=steps, buffers=2, participation=participation, objective=objective),
        BandedToeplitz.optimize(
            steps=steps,
            bands=participation.separation(steps),
            participation=participation,
            objective=objective,
        ),
        Banded.optimize(
            steps=steps,
            bands=min(16, participation.separation(steps)),
            participation=participation,
            objective=objective,
        ),
    ):
        error = strategy.rmse if objective == "mean" else strategy.max_error
        assert bound.gap(error(None, participation)) > 0.0


def test_weights_carried_over_are_nearly_as_good():
    reached = Dense.optimize(steps=512).rmse()
    assert reached == pytest.approx(2.73939, abs=1e-5)
    bound = lower_bound(prefix_sum(512))
    assert 0.0 < bound.gap(reached) < 0.01
    assert LowerBound(2.0, True, "").gap(2.5) == 25.0


def test_any_dual_point_is_a_bound():
    start = uniform(np.arange(6)[:, None], 6)
    assert certify(np.tril(np.ones((6, 6))), start) < slow_optimum(prefix_sum(6))


def test_nothing_is_claimed_where_nothing_is_known():
    assert lower_bound(momentum(100_000, 0.9)) is None
    with pytest.raises(ValueError, match="objective must be"):
        lower_bound(prefix_sum(5), ONE, "median")
    with pytest.raises(ValueError, match="workload must be"):
        lower_bound(np.eye(3))


def test_rounding_alone_proves_nothing():
    """A certificate whose exact value is 0: x^T T x for a skew-symmetric T."""
    rng = np.random.default_rng(0)
    steps = 30
    workload = np.tril(rng.uniform(0.5, 1.5, (steps, steps)))
    skew = rng.normal(size=(steps, steps))
    skew -= skew.T
    found = certified_error(
        workload,
        np.arange(steps)[:, None],
        np.ones((steps, 1, 1)),
        np.full(steps, steps**-0.5),
        skew,
    )
    assert found == 0.0
