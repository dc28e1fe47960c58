"""Buffered linear Toeplitz strategies against matrices, all patterns, and many digits."""

import itertools
import json
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.rate_schedules import cosine_rate
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies import Strategy
from mechanisms.strategies.blt import BLT
from mechanisms.strategies.blt_closed_forms import is_decreasing, rates_of
from mechanisms.strategies.blt_kernels import (
    chain,
    exponential_norm,
    geometric,
    mean_geometric,
    minimize_loss,
    sensitivity_squared,
    strategy_loss,
)
from mechanisms.workloads import ToeplitzWorkload, learning_rates, momentum, prefix_sum, toeplitz

SINGLE = SingleParticipation()
SIX = MinSeparation(342, 6)
# jax-privacy's BLT for 1e5 steps and the largest error
PUBLISHED = (0.9999528892, 0.9857068667), (0.0122853238, 0.1878393665)
NO_GRAM = np.empty((0, 0))
PREFIX = (np.zeros(1), np.ones(1), np.empty(0), NO_GRAM)
MOMENTUM = (np.array([0.0, 0.1]), np.array([10.0, -9.0]), np.empty(0), NO_GRAM)


def random_parameters(rng, buffers, total=None):
    """Decays, the ends of [0, 1] among them, and weights above 0 that sum up to at most 1."""
    decay = rng.uniform(0.0, 1.0, buffers)
    decay[rng.random(buffers) < 0.1] = 1.0
    decay[rng.random(buffers) < 0.1] = 0.0
    weights = rng.uniform(0.01, 1.0, buffers)
    return decay, weights * (rng.uniform(0.1, 0.99) if total is None else total) / weights.sum()


def coefficients(decay, weights, steps, first=1.0):
    lags = [float(np.sum(weights * decay ** (t - 1))) for t in range(1, steps)]
    return np.array([first, *lags])


def lower(column):
    steps = len(column)
    return np.array(
        [[column[i - j] if i >= j else 0.0 for j in range(steps)] for i in range(steps)]
    )


def patterns(steps, separation, count):
    for size in range(1, count + 1):
        for chosen in itertools.combinations(range(steps), size):
            if all(b - a >= separation for a, b in itertools.pairwise(chosen)):
                yield list(chosen)


# -- many digits -----------------------------------------------------------------------------------


def digits_of_sums(ratio, count):
    return mpmath.mpf(count) if ratio == 1 else (1 - ratio**count) / (1 - ratio)


def true_sensitivity(decay, weights, steps, separation=1, count=1):
    """From the plain formulas, in 150 digits."""
    with mpmath.workdps(150):
        blocks, last = count - 1, steps - 1 - (count - 1) * separation
        thetas, sizes = [mpmath.mpf(float(x)) for x in decay], [mpmath.mpf(w) for w in weights]
        total = mpmath.mpf(count)
        for theta, weight in zip(thetas, sizes, strict=True):
            block = theta**separation
            if block != 1:
                sums = (blocks - block * digits_of_sums(block, blocks)) / (1 - block)
            else:
                sums = mpmath.mpf(blocks * (blocks + 1)) / 2
            total += 2 * weight * theta ** (separation - 1) * sums
            for other, factor in zip(thetas, sizes, strict=True):
                b, both = other**separation, theta * other
                products = blocks - block * digits_of_sums(block, blocks)
                products += block * b * digits_of_sums(block * b, blocks)
                products -= b * digits_of_sums(b, blocks)
                products = products / ((1 - block) * (1 - b)) if blocks else mpmath.mpf(0)
                ends = digits_of_sums(block, count) * digits_of_sums(b, count)
                gram = digits_of_sums(both, separation) * products
                total += weight * factor * (gram + digits_of_sums(both, last) * ends)
        return mpmath.sqrt(total)


def true_errors(decay, weights, steps):
    """Largest and mean squared error of prefix sums, by polynomial roots in 150 digits."""
    with mpmath.workdps(150):
        thetas, sizes = [mpmath.mpf(x) for x in decay], [mpmath.mpf(w) for w in weights]
        matrix = mpmath.diag(thetas) - mpmath.matrix([list(sizes) for _ in range(len(sizes))])
        roots = [mpmath.re(root) for root in mpmath.eig(matrix, left=False, right=False)]
        terms = []
        for i, root in enumerate(roots):
            weight = mpmath.fprod(root - theta for theta in thetas) / mpmath.fprod(
                root - other for j, other in enumerate(roots) if j != i
            )
            terms.append((root, -weight / (1 - root)))
        terms.append((mpmath.mpf(1), 1 - sum(weight for _, weight in terms)))
        largest, mean = mpmath.mpf(0), mpmath.mpf(0)
        for root, weight in terms:
            for other, factor in terms:
                both = root * other
                sums = digits_of_sums(both, steps)
                averaged = (1 - both * sums / steps) / (1 - both) if both != 1 else (steps + 1) / 2
                largest += weight * factor * sums
                mean += weight * factor * averaged
        return largest, mean


# -- sensitivity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_no_pattern_exceeds_the_sensitivity_and_the_worst_attains_it(seed):
    rng = np.random.default_rng(seed)
    steps, separation, count = int(rng.integers(4, 9)), int(rng.integers(1, 4)), 3
    strategy = BLT(steps, *random_parameters(rng, 1 + seed % 3))
    gram = strategy.matrix().T @ strategy.matrix()
    worst = max(
        math.sqrt(gram[np.ix_(chosen, chosen)].sum())
        for chosen in patterns(steps, separation, count)
    )
    found = strategy.sensitivity_bound(MinSeparation(separation, count))
    assert found.exact
    assert worst * (1.0 - 1e-14) <= found.value <= worst * (1.0 + 1e-11)
    orders = [list(range(i, steps, separation))[:count] for i in range(min(separation, steps))]
    worst = max(math.sqrt(gram[np.ix_(chosen, chosen)].sum()) for chosen in orders)
    for participation in (FixedEpochOrder(separation, count), BallsInBins(separation, count)):
        value = strategy.sensitivity(participation)
        assert worst * (1.0 - 1e-14) <= value <= worst * (1.0 + 1e-11)


@pytest.mark.parametrize("seed", range(8))
def test_signed_weights_and_signed_contributions_never_exceed_the_bound(seed):
    rng = np.random.default_rng(seed)
    steps, separation, count = 7, int(rng.integers(1, 4)), 3
    decay, weights = rng.uniform(0.0, 1.0, 3), rng.normal(size=3)
    strategy = BLT(steps, decay, weights)
    matrix = strategy.matrix()
    worst = 0.0
    for chosen in patterns(steps, separation, count):
        for signs in itertools.product((-1.0, 1.0), repeat=len(chosen)):
            worst = max(worst, float(np.linalg.norm(matrix[:, chosen] @ np.array(signs))))
    assert strategy.sensitivity(MinSeparation(separation, count)) >= worst * (1.0 - 1e-14)
    one = strategy.sensitivity_bound(SINGLE)
    assert one.exact
    assert one.value == pytest.approx(float(np.linalg.norm(matrix[:, 0])), rel=1e-10)


def test_rising_coefficients_are_not_priced_as_if_they_fell():
    # 1, 0.5, 0.95, 0.93, ...: earliest participation is not worst
    strategy = BLT(8, (0.99, 0.0), (0.97, -0.47))
    participation = MinSeparation(3, 2)
    found = strategy.sensitivity_bound(participation)
    assert not found.exact
    gram = strategy.matrix().T @ strategy.matrix()
    worst = max(gram[np.ix_(chosen, chosen)].sum() for chosen in patterns(8, 3, 2))
    assert found.value >= math.sqrt(worst)
    # c_1 > c_0
    tall = BLT(8, (0.5,), (1.5,))
    assert not tall.sensitivity_bound(participation).exact
    assert tall.sensitivity_bound(SINGLE).exact


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(-0.5, 0.6)), min_size=1, max_size=4),
)
def test_what_is_called_decreasing_decreases(buffers):
    decay, weights = np.array(buffers).T
    if is_decreasing(decay, weights):
        column = coefficients(decay, weights, 200)
        assert np.all(column >= -1e-15)
        assert np.all(np.diff(column) <= 1e-15)


def test_decreasing_coefficients_with_a_negative_weight_are_exact():
    decay, weights = np.array([0.9, 0.5]), np.array([0.4, -0.05])
    assert is_decreasing(decay, weights)
    strategy = BLT(9, decay, weights)
    gram = strategy.matrix().T @ strategy.matrix()
    worst = max(gram[np.ix_(chosen, chosen)].sum() for chosen in patterns(9, 2, 3))
    found = strategy.sensitivity_bound(MinSeparation(2, 3))
    assert found.exact
    assert found.value == pytest.approx(math.sqrt(worst), rel=1e-12)
    assert not is_decreasing(decay, np.array([0.04, -0.3]))
    assert not is_decreasing(np.array([1.0, 0.5]), np.array([-0.1, 0.5]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-12.0, -0.3), st.floats(0.05, 1.0)), min_size=1, max_size=4),
    st.integers(1, 10**12),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_sensitivity_is_never_below_its_value_in_many_digits(buffers, steps, place, share):
    decay = np.array([1.0 - 10.0**exponent for exponent, _ in buffers])
    weights = (1.0 - decay) * np.array([size for _, size in buffers]) / len(buffers)
    separation = max(1, int(steps**place))
    count = max(1, int((-(-steps // separation)) ** share))
    truth = true_sensitivity(decay, weights, steps, separation, count)
    value = BLT(steps, decay, weights).sensitivity(MinSeparation(separation, count))
    assert truth <= value <= truth * (1 + mpmath.mpf("1e-12"))


def test_single_participation_of_a_billion_steps_keeps_its_digits():
    for steps in (10**6, 10**9, 10**12):
        truth = true_sensitivity(*PUBLISHED, steps)
        value = BLT(steps, *PUBLISHED).sensitivity(SINGLE)
        assert truth <= value <= truth * (1 + mpmath.mpf("1e-12"))


def test_constant_buffers_are_summed_up():
    # decay 1: coefficients 1, 0.5, 0.5, ...
    strategy = BLT(50, (1.0,), (0.5,))
    column = coefficients(np.array([1.0]), np.array([0.5]), 50)
    moved = sum(np.concatenate((np.zeros(10 * m), column[: 50 - 10 * m])) for m in range(5))
    assert strategy.sensitivity(MinSeparation(10)) == pytest.approx(
        float(np.linalg.norm(moved)), rel=1e-12
    )


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_matrices_errors_and_inverse_agree_with_linear_algebra(seed):
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 30))
    decay, weights = random_parameters(rng, 1 + seed % 4)
    if seed % 4 == 2:
        decay[1] = decay[0]
    strategy = BLT(steps, decay, weights)
    matrix = lower(coefficients(decay, weights, steps))
    np.testing.assert_allclose(strategy.matrix(), matrix, atol=1e-14)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(strategy.decoder(), inverse, atol=1e-13)
    np.testing.assert_allclose(coefficients(*strategy.inverse(), steps), inverse[:, 0], atol=1e-13)
    for workload in (
        prefix_sum(steps),
        momentum(steps, 0.9),
        momentum(steps, 0.5, 0.01),
        toeplitz(1.0 / np.arange(1, steps + 1)),
        learning_rates(cosine_rate(steps), 0.9),
    ):
        errors = np.square(workload.matrix() @ inverse).sum(axis=1)
        np.testing.assert_allclose(strategy.squared_errors(workload), errors, rtol=1e-11)
        assert strategy.mean_squared_error(workload) == pytest.approx(errors.mean(), rel=1e-11)
        assert strategy.max_squared_error(workload) == pytest.approx(errors.max(), rel=1e-11)


@pytest.mark.parametrize("steps", [1000, 10**9, 10**12])
@pytest.mark.parametrize(
    ("decay", "weights"),
    [PUBLISHED, ((1.0 - 2.0**-33, 0.999, 0.5, 0.0), (1e-9, 0.01, 0.2, 0.3))],
)
def test_errors_of_long_runs_agree_with_many_digits(decay, weights, steps):
    strategy = BLT(steps, decay, weights)
    largest, mean = true_errors(decay, weights, steps)
    assert strategy.max_squared_error(prefix_sum(steps)) == pytest.approx(float(largest), rel=1e-13)
    assert strategy.mean_squared_error(prefix_sum(steps)) == pytest.approx(float(mean), rel=1e-13)


@pytest.mark.parametrize("nudge", [0.0, 1e-17, 1e-12, 1e-6, 1e-2])
def test_poles_of_the_workload_may_meet_those_of_the_inverse(nudge):
    # the inverse's decay is 0.5, up to the nudge
    strategy = BLT(300, (0.75,), (0.25 + nudge,))
    workload = ToeplitzWorkload(300, poles=((0.5, 3.0), (1.0, 2.0)))
    errors = strategy.squared_errors(workload)
    assert strategy.mean_squared_error(workload) == pytest.approx(errors.mean(), rel=1e-12)
    assert strategy.max_squared_error(workload) == pytest.approx(errors[-1], rel=1e-12)


def test_negative_weights_are_streamed():
    strategy = BLT(40, (0.9, 0.5), (0.4, -0.05))
    inverse = np.linalg.inv(strategy.matrix())
    errors = np.square(prefix_sum(40).matrix() @ inverse).sum(axis=1)
    assert strategy.mean_squared_error(prefix_sum(40)) == pytest.approx(errors.mean(), rel=1e-12)
    np.testing.assert_allclose(strategy.inverse_coefficients(), inverse[:, 0], atol=1e-14)
    with pytest.raises(ValueError, match="complex decays"):
        strategy.inverse()


def test_published_strategy_has_its_published_error():
    assert BLT(100_000, *PUBLISHED).max_error() == pytest.approx(5.29675, abs=6e-6)


# -- sums and gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 1e-12, 1e-4, 0.01, 0.3, 2.0, 800.0, math.inf])
@pytest.mark.parametrize("count", [1, 2, 17, 400])
def test_sums_of_powers_and_their_slopes(rate, count):
    s = np.arange(count)
    with np.errstate(invalid="ignore"):
        powers = np.where(s == 0, 1.0, np.exp(-s * rate))
    value, slope = geometric(rate, float(count))
    assert value == pytest.approx(powers.sum(), rel=1e-14)
    assert slope == pytest.approx(-(s * powers).sum(), rel=1e-11, abs=1e-13)
    value, slope = mean_geometric(rate, float(count))
    assert value == pytest.approx(((1 - s / count) * powers).sum(), rel=1e-14)
    assert slope == pytest.approx(-((1 - s / count) * s * powers).sum(), rel=1e-10, abs=1e-13)


def test_sums_of_exponentials_take_any_sign():
    gaps, weights = np.array([0.0, 0.3, 1.2, 1.9]), np.array([0.5, -1.0, 2.0, 0.3])
    for steps, mean in itertools.product((1, 2, 31), (False, True)):
        s = np.arange(steps)
        column = ((1.0 - gaps[:, None]) ** s * weights[:, None]).sum(axis=0)
        share = 1.0 - s / steps if mean else np.ones(steps)
        value = exponential_norm(gaps, weights, float(steps), mean)[0]
        assert value == pytest.approx((share * column**2).sum(), rel=1e-13)


def central_differences(function, x, step=1e-6):
    return np.array(
        [(function(x + h) - function(x - h)) / (2.0 * step) for h in step * np.eye(len(x))]
    )


@pytest.mark.parametrize(
    ("steps", "separation", "count"), [(1, 1, 1), (40, 40, 1), (40, 7, 2), (100, 7, 15), (90, 1, 9)]
)
def test_gradient_of_the_sensitivity(steps, separation, count):
    pattern = float(steps), float(separation), float(count)
    rates, weights = np.array([0.002, 0.1, 0.9]), np.array([0.05, 0.2, 0.3])
    value, by_rate, by_weight, by_first = sensitivity_squared(rates, weights, 1.2, *pattern)
    column = coefficients(np.exp(-rates), weights, steps, 1.2)
    moved = np.zeros(steps)
    for m in range(count):
        moved[m * separation :] += column[: steps - m * separation]
    assert value == pytest.approx(float(moved @ moved), rel=1e-13)
    parts = [
        central_differences(lambda x: sensitivity_squared(x, weights, 1.2, *pattern)[0], rates),
        central_differences(lambda x: sensitivity_squared(rates, x, 1.2, *pattern)[0], weights),
        central_differences(
            lambda x: sensitivity_squared(rates, weights, x[0], *pattern)[0], np.array([1.2])
        ),
    ]
    for found, expected in zip((by_rate, by_weight, [by_first]), parts, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("workload", ["prefix", "momentum", "column", "gram"])
@pytest.mark.parametrize("last", [-1.0, 0.1, 0.25])
def test_gradient_of_the_loss(workload, count, mean, last):
    # the last one puts a decay of the inverse below 0, and then lets c_1 exceed c_0
    column = 10.0 - 9.0 * 0.9 ** np.arange(60)
    rows = lower(column)
    gram = sum(
        np.pad(part := rows[:, s:].T @ rows[:, s:], (0, 60 - len(part))) for s in range(60)
    ) / (60 if mean else 1)
    terms = {
        "prefix": PREFIX,
        "momentum": MOMENTUM,
        "column": (np.empty(0), np.empty(0), column, NO_GRAM),
        "gram": (np.empty(0), np.empty(0), np.eye(1, 60)[0], gram),
    }[workload]
    free = np.array([-5.0, 0.1, 0.4, -0.5, 0.3, last])

    def loss(x):
        return strategy_loss(x, *terms, 60.0, 11.0, float(count), mean)

    expected = central_differences(lambda x: loss(x)[0], free)
    np.testing.assert_allclose(loss(free)[1], expected, rtol=1e-6, atol=1e-7)
    if workload == "column" or (workload == "gram" and mean):
        assert loss(free)[0] == pytest.approx(
            strategy_loss(free, *MOMENTUM, 60.0, 11.0, float(count), mean)[0], rel=1e-11
        )


def test_the_loss_is_that_of_the_strategy():
    free = np.array([-8.0, 0.3, 0.4, 0.1, 0.3, -1.0])
    gaps, rates, apart, residues = chain(free)
    np.testing.assert_allclose(apart, gaps[:, None] - gaps, atol=1e-15)
    np.testing.assert_allclose(rates_of(1.0 - gaps[:-1]), rates[:-1], rtol=1e-12)
    strategy = BLT(10**6, 1.0 - gaps[::2], residues[::2])
    np.testing.assert_allclose(strategy.inverse()[1], -residues[1::2], rtol=1e-9)
    for mean in (False, True):
        loss = strategy_loss(free, *PREFIX, 1e6, 1e5, 4.0, mean)[0]
        participation = MinSeparation(10**5, 4)
        error = strategy.rmse if mean else strategy.max_error
        assert math.exp(loss / 2) == pytest.approx(error(None, participation), rel=1e-10)


# -- the best strategies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "participation", "objective", "buffers", "figure"),
    [
        (1000, SINGLE, "max", 2, 3.32126),
        (1000, SINGLE, "max", 3, 3.26992),
        (1000, SINGLE, "max", 4, 3.26538),
        (1000, SINGLE, "max", 5, 3.26503),
        (1000, SINGLE, "mean", 2, 3.07584),
        (1000, SINGLE, "mean", 3, 3.05108),
        (1000, SINGLE, "mean", 4, 3.04983),
        (1000, SINGLE, "mean", 5, 3.04982),
        (2052, SIX, "max", 2, 10.80627),
        (2052, SIX, "max", 3, 10.75138),
        (2052, SIX, "max", 4, 10.73409),
        (2052, SIX, "max", 5, 10.73409),
        (2052, SIX, "mean", 2, 9.18275),
        (2052, SIX, "mean", 3, 9.17130),
        (10**5, SINGLE, "max", 2, 5.29675),
        (10**5, SINGLE, "max", 3, 4.85347),
        (10**5, SINGLE, "max", 4, 4.75768),
        (10**5, SINGLE, "max", 5, 4.73641),
        (10**6, SINGLE, "max", 5, 5.48648),
    ],
)
def test_best_strategies_reach_the_known_figures(steps, participation, objective, buffers, figure):
    strategy = BLT.optimize(
        steps=steps, buffers=buffers, participation=participation, objective=objective
    )
    assert strategy.memory == buffers
    assert strategy.sensitivity_bound(participation).exact
    error = strategy.rmse if objective == "mean" else strategy.max_error
    # the figures have five decimals
    assert error(None, participation) <= figure + 6e-6


def test_a_billion_steps_gain_by_every_buffer():
    errors = [
        BLT.optimize(steps=10**9, buffers=d, participation=SINGLE, objective="max").max_error()
        for d in (1, 3, 5)
    ]
    assert errors[0] > errors[1] > errors[2]
    # no strategy does better than 1/pi log n + 1, which the square root reaches (arXiv 2202.11205)
    assert 1.0 + math.log(10**9) / math.pi < errors[2] < 8.0


def test_no_strategy_nearby_is_better():
    participation = MinSeparation(20, 4)
    workload = momentum(100, 0.9)
    best = BLT.optimize(
        steps=100, buffers=2, participation=participation, objective="mean", workload=workload
    )
    least = best.rmse(workload, participation)
    rng = np.random.default_rng(0)
    for scale in 10.0 ** rng.uniform(-4, -1, 200):
        other = BLT(
            100,
            1.0 - np.minimum(1.0, (1.0 - best.decay) * np.exp(scale * rng.normal(size=2))),
            best.weights * np.exp(scale * rng.normal(size=2)),
        )
        assert other.rmse(workload, participation) >= least * (1.0 - 1e-9)


def test_a_column_gives_the_strategy_that_its_poles_give():
    steps, participation = 120, MinSeparation(30, 3)
    by_poles = momentum(steps, 0.9)
    by_column = toeplitz(by_poles.coefficients)
    errors = [
        BLT.optimize(steps=steps, buffers=2, participation=participation, workload=workload).rmse(
            workload, participation
        )
        for workload in (by_poles, by_column)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-8)


@pytest.mark.parametrize("objective", ["mean", "max"])
def test_learning_rates_have_a_strategy_of_their_own(objective):
    steps, participation = 150, MinSeparation(40, 3)
    workload = learning_rates(cosine_rate(steps), 0.9)

    def error(strategy):
        found = strategy.rmse if objective == "mean" else strategy.max_error
        return found(workload, participation)

    best, plain = (
        BLT.optimize(
            steps=steps, buffers=2, participation=participation, objective=objective, workload=given
        )
        for given in (workload, None)
    )
    assert error(best) < 0.995 * error(plain)
    rng = np.random.default_rng(0)
    for scale in 10.0 ** rng.uniform(-2.5, -1, 50):
        other = BLT(
            steps,
            1.0 - np.minimum(1.0, (1.0 - best.decay) * np.exp(scale * rng.normal(size=2))),
            best.weights * np.exp(scale * rng.normal(size=2)),
        )
        # rows are weighted a few times only
        assert error(other) >= error(best) * (1.0 - (1e-9 if objective == "mean" else 1e-3))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("objective", ["mean", "max"])
def test_very_short_runs_have_strategies_too(steps, objective):
    participation = MinSeparation(1)
    strategy = BLT.optimize(
        steps=steps, buffers=3, participation=participation, objective=objective
    )
    assert strategy.sensitivity_bound(participation).exact
    errors = strategy.squared_errors(prefix_sum(steps))
    # independent noise is among the limits
    plain = np.arange(1, steps + 1) * steps
    found, known = strategy.sensitivity(participation) ** 2 * errors, plain
    if objective == "mean":
        found, known = found.mean(), known.mean()
    assert np.max(found) <= np.max(known) * (1.0 + 1e-9)


def test_minimization_ends_where_the_gradient_does():
    start = np.array([-6.0, 0.5, 0.5, -1.0])
    settings_ = *PREFIX, 1000.0, 1000.0, 1.0, False
    loss, free, evaluations = minimize_loss(start, *settings_, 1e-11, 300)
    assert loss < strategy_loss(start, *settings_)[0]
    assert np.max(np.abs(strategy_loss(free, *settings_)[1])) < 1e-5
    assert 1 < evaluations < 2000


# -- noise, data, refusals -------------------------------------------------------------------------


def test_noise_has_the_decoder_as_its_matrix():
    steps = 12
    strategy = BLT(steps, (0.9, 0.4), (0.2, 0.3))
    noise_filter = strategy.noise_filter()
    state, rows = np.zeros((strategy.memory, steps)), np.zeros((steps, steps))
    for step in range(steps):
        noise_filter.advance(step, state, lambda j: np.eye(steps)[j], rows[step])
    np.testing.assert_allclose(rows, strategy.decoder(), atol=1e-15)


def test_json_round_trip_is_exact():
    strategy = BLT(10**9, (1.0 - 2.0**-50, 0.1), (1e-17, 1.0 / 3.0))
    again = Strategy.from_json(strategy.to_json())
    assert again == strategy
    assert hash(again) == hash(strategy)
    assert json.loads(strategy.to_json())["decay"] == [1.0 - 2.0**-50, 0.1]


@pytest.mark.parametrize(
    "values",
    [
        {"decay": [0.5]},
        {"decay": [0.5], "weights": [True]},
        {"decay": [0.5], "weights": ["0.5"]},
        {"decay": [0.5, 0.4], "weights": [0.5]},
        {"decay": 0.5, "weights": 0.5},
        {"decay": [[0.5]], "weights": [[0.5]]},
        {"decay": [0.5], "weights": [0.5], "rows": 3},
        {"decay": {"shape": [1], "float64": "AA=="}, "weights": [0.5]},
    ],
)
def test_hostile_files_are_refused(values):
    with pytest.raises(ValueError, match=r"."):
        Strategy.from_dict({"strategy": "blt", "steps": 10, **values})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, [0.5], [0.5]), "steps"),
        ((10, [], []), "decay"),
        ((10, [0.5], [math.nan]), "weights"),
        ((10, [0.5], [math.inf]), "weights"),
        ((10, [0.5], [1e101]), "weights"),
        ((10, [1.0 + 2.0**-52], [0.5]), "decay must be within"),
        ((10, [-0.1], [0.5]), "decay must be within"),
        ((10, [math.nan], [0.5]), "decay must be within"),
        ((10, [0.5] * 65, [0.01] * 65), "at most 64"),
        ((10, "0.5", "0.5"), "decay"),
    ],
)
def test_parameters_outside_their_domain_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        BLT(*arguments)


def test_what_cannot_be_done_is_refused():
    strategy = BLT(100, [0.5], [0.5])
    with pytest.raises(UnsupportedParticipationError, match="banded"):
        strategy.sensitivity(CyclicPoisson(10, 0.1))
    assert strategy.sensitivity(CyclicPoisson(100, 0.1)) == strategy.sensitivity(SINGLE)
    with pytest.raises(UnsupportedParticipationError, match="banded"):
        BLT.optimize(steps=100, buffers=1, participation=CyclicPoisson(10, 0.1))
    with pytest.raises(ValueError, match="too many to hold"):
        BLT(10**9, [0.5], [0.5]).coefficients()
    with pytest.raises(ValueError, match="too large"):
        BLT(10**5, [0.5], [0.5]).matrix()
    with pytest.raises(ValueError, match="objective"):
        BLT.optimize(steps=10, buffers=1, objective="least")
    for buffers in (0, 17, True, 2.0):
        with pytest.raises(ValueError, match="buffers"):
            BLT.optimize(steps=10, buffers=buffers)
    with pytest.raises(ValueError, match="at most 1000000"):
        BLT.optimize(steps=10**6 + 1, buffers=1, workload=toeplitz(np.ones(10**6 + 1)))
    with pytest.raises(ValueError, match="at most 4096"):
        BLT.optimize(steps=4097, buffers=1, workload=learning_rates(cosine_rate(4097)))
    with pytest.raises(AttributeError):
        strategy.decay = np.ones(1)
    with pytest.raises(ValueError, match="read-only"):
        strategy.decay[0] = 0.1
