"""Attempts to make a strategy, or a plan that has one, state something false."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from mechanisms import Plan
from mechanisms.amplification import balls_in_bins_loss
from mechanisms.participation import (
    BallsInBins,
    FixedEpochOrder,
    MinSeparation,
    Participation,
    SingleParticipation,
)
from mechanisms.recommendation import recommend
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies import (
    BLT,
    Banded,
    BandedToeplitz,
    BinaryTree,
    Dense,
    InverseBandedToeplitz,
    PrefixTree,
)
from mechanisms.strategies.base import Strategy

DELTA = 1e-5


def gaussian_epsilon(mu: float) -> float:
    """Of N(mu, 1) against N(0, 1), at `DELTA`: the closed form of arXiv 1805.06530."""

    def excess(epsilon: float) -> float:
        above = np.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(norm.cdf(mu / 2 - epsilon / mu) - above - DELTA)

    return float(brentq(excess, 0.0, mu * mu + 40.0 * mu, xtol=1e-12))


def patterns(participation: Participation, steps: int):
    """All sets of steps of one example."""
    count = participation.count(steps)
    if isinstance(participation, FixedEpochOrder):
        for first in range(participation.separation(steps)):
            places = range(first, steps, participation.separation(steps))
            for size in range(1, min(count, len(places)) + 1):
                yield from itertools.combinations(places, size)
        return
    gap = participation.separation(steps)
    for size in range(1, count + 1):
        for chosen in itertools.combinations(range(steps), size):
            if all(b - a >= gap for a, b in itertools.pairwise(chosen)):
                yield chosen


def squared_norm(matrix, pattern, signs) -> Fraction:
    """Of the sum of signed columns, in exact arithmetic."""
    rows = [
        sum((Fraction(float(row[j])) * s for j, s in zip(pattern, signs, strict=True)), Fraction())
        for row in matrix
    ]
    return sum((value * value for value in rows), Fraction())


def worst(matrix, participation: Participation) -> Fraction:
    """The largest squared norm over all patterns and all signs: no more than the sensitivity's."""
    return max(
        squared_norm(matrix, pattern, (1, *signs))
        for pattern in patterns(participation, matrix.shape[1])
        for signs in itertools.product((1, -1), repeat=len(pattern) - 1)
    )


PARTICIPATIONS = [
    SingleParticipation(),
    MinSeparation(1),
    MinSeparation(2, 2),
    MinSeparation(2),
    MinSeparation(9),
    MinSeparation(1, 99),
    FixedEpochOrder(2),
    FixedEpochOrder(2, 2),
]


@pytest.mark.parametrize("participation", PARTICIPATIONS, ids=str)
@pytest.mark.parametrize("kind", ["signed", "positive", "sparse", "spread", "signs"])
def test_no_signs_in_exact_arithmetic_exceed_a_claim(kind, participation):
    rng = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(6):
        steps = int(rng.integers(1, 6))
        matrix = rng.normal(size=(steps, steps))
        if kind == "positive":
            matrix = np.abs(matrix)
        if kind == "sparse":
            matrix *= rng.random(matrix.shape) < 0.4
        if kind == "spread":
            matrix *= 10.0 ** rng.uniform(-100, 3, size=matrix.shape)
        if kind == "signs":
            matrix = np.sign(matrix)
        matrix = np.tril(matrix)
        np.fill_diagonal(matrix, 0.5 + rng.random(steps))
        bands = np.zeros((steps, steps))
        for i in range(steps):
            bands[i:, i] = np.diagonal(matrix, -i)
        column = matrix[:, 0]
        strategies = [Dense(matrix), Banded(bands), BandedToeplitz(steps, column)]
        for strategy in strategies:
            claimed = strategy.sensitivity_bound(participation)
            true = worst(strategy.matrix(), participation)
            assert Fraction(claimed.value) ** 2 >= true
            if claimed.exact and participation.count(steps) <= 2:
                assert claimed.value**2 <= float(true) * (1 + 1e-12)


@pytest.mark.parametrize("participation", PARTICIPATIONS, ids=str)
def test_no_inverse_in_exact_arithmetic_exceeds_a_claim(participation):
    rng = np.random.default_rng(8)
    for _ in range(8):
        steps = int(rng.integers(2, 6))
        inverse = rng.normal(size=steps) * 10.0 ** rng.uniform(-4, 1, size=steps)
        inverse[0] = 0.3 + rng.random()
        strategy = InverseBandedToeplitz(steps, inverse)
        exact: list[Fraction] = []
        for s in range(steps):
            rest = Fraction(int(s == 0))
            for j in range(1, s + 1):
                rest -= Fraction(float(inverse[j])) * exact[s - j]
            exact.append(rest / Fraction(float(inverse[0])))
        claimed = Fraction(strategy.sensitivity(participation)) ** 2
        for pattern in patterns(participation, steps):
            for signs in itertools.product((1, -1), repeat=len(pattern) - 1):
                moved = dict(zip(pattern, (1, *signs), strict=True))
                rows = [
                    sum((exact[t - i] * g for i, g in moved.items() if t >= i), Fraction())
                    for t in range(steps)
                ]
                assert claimed >= sum((value * value for value in rows), Fraction())


@pytest.mark.parametrize("scale", [1e-200, 1e-165, 1e200])
@pytest.mark.parametrize("participation", [SingleParticipation(), MinSeparation(2)], ids=str)
def test_a_scale_whose_squares_are_no_doubles_is_refused(scale, participation):
    with pytest.raises(ValueError, match="double"):
        Banded(scale * np.ones((4, 2))).sensitivity(participation)
    with pytest.raises(ValueError, match="double"):
        Dense(scale * np.tril(np.ones((4, 4)))).sensitivity(participation)


@pytest.mark.parametrize("scale", [1e-100, 1e-60, 1e60, 1e100])
def test_a_scale_changes_nothing_but_the_scale(scale):
    matrix = np.tril(np.ones((6, 6))) - 0.3 * np.eye(6)
    for participation in PARTICIPATIONS:
        unit = Dense(matrix).sensitivity(participation)
        assert Dense(scale * matrix).sensitivity(participation) / scale == pytest.approx(unit)


@pytest.mark.parametrize("weight", [1e3, 1e6, 1e9])
def test_an_exact_sensitivity_is_one_though_weights_cancel(weight):
    strategy = BLT(1000, [1.0, 1.0 - 1e-13], [weight, -weight])
    claimed = strategy.sensitivity_bound(SingleParticipation())
    # c_t = weight * (1 - (1 - gap)**(t - 1)) is within [0, weight * t * gap]
    largest = 1.0 + 1000 * (weight * 1000 * (1.0 - strategy.decay[1])) ** 2
    assert 1.0 <= claimed.value
    assert not claimed.exact or claimed.value**2 <= largest


def fixed_order(mechanism, **others):
    return Plan(
        dataset_size=64,
        batch_size=4,
        steps=64,
        noise_multiplier=1.0,
        delta=DELTA,
        sampler="fixed_order",
        neighboring_relation="replace_special",
        mechanism=mechanism,
        **others,
    )


@pytest.mark.parametrize("estimator", ["plain", "online"])
def test_a_tree_whose_prefix_sums_alone_are_shown_costs_no_more_than_stated(estimator):
    tree, shown = BinaryTree(64, estimator=estimator), PrefixTree(64, estimator=estimator)
    plan = fixed_order(tree)
    # what the steps of the run show is the release of a square C
    assert np.allclose(np.linalg.inv(shown.matrix()) @ shown.matrix(), np.eye(64))
    covariance = tree.decoder() @ tree.decoder().T
    assert np.allclose(covariance, shown.decoder() @ shown.decoder().T)
    moved = shown.sensitivity(FixedEpochOrder(16, 4))
    assert gaussian_epsilon(moved / plan.noise_stddev) < plan.epsilon


@pytest.mark.parametrize("estimator", ["plain", "online"])
def test_what_a_run_with_a_tree_costs_at_least_is_not_above_what_it_costs(estimator):
    plan = fixed_order(BinaryTree(64, estimator=estimator))
    moved = PrefixTree(64, estimator=estimator).sensitivity(FixedEpochOrder(16, 4))
    true = gaussian_epsilon(moved / plan.noise_stddev)
    assert float(plan.guarantee().epsilon.lower) <= true * (1 + 1e-9)


def test_a_plan_refuses_noise_that_depends_on_later_steps():
    with pytest.raises(ValueError, match="later"):
        fixed_order(BinaryTree(64, estimator="full"))


def test_a_long_file_is_refused_and_not_walked_through():
    strategy = Strategy.from_dict(
        {"strategy": "banded_toeplitz", "steps": 2**53, "coefficients": [1.0, 0.5]}
    )
    assert strategy.sensitivity(MinSeparation(2)) > 0.0
    with pytest.raises(UnsupportedParticipationError, match="steps"):
        strategy.sensitivity(MinSeparation(1))


@pytest.mark.parametrize("text", [None, 5, '{"strategy": "identity", "steps": 5, "steps": 6}'])
def test_what_is_no_text_or_says_a_thing_twice_is_refused(text):
    try:
        Strategy.from_json(text)
    except ValueError:
        return
    except TypeError as error:
        raise AssertionError from error
    raise AssertionError


def test_the_words_bound_the_gap_to_the_least_noise():
    plan = Plan(dataset_size=20, steps=24, sampler="full_batch", delta=DELTA)
    found = recommend(plan, epsilon=2.0, memory=3)
    assert found.bound is not None
    least = 1.0 / brentq(lambda mu: gaussian_epsilon(mu) - 2.0, 0.1, 3.0, xtol=1e-13)
    stated = re.search(r"at most (\S+) % above", " ".join(found.words))
    assert stated is not None
    allowed = least * found.bound.value * (1 + float(stated.group(1)) / 100)
    assert found.best.error <= allowed * (1 + 1e-11)


@pytest.mark.parametrize("seed", range(8))
def test_no_samples_of_balls_in_bins_exceed_the_bound(seed):
    rng = np.random.default_rng(seed)
    bins, epochs = int(rng.integers(2, 12)), int(rng.integers(1, 5))
    steps = bins * epochs
    rising = BandedToeplitz(steps, 0.01 + rng.random(min(steps, 5)))
    root = BandedToeplitz.square_root(steps, int(rng.integers(1, steps + 1)))
    strategy = (rising, root, BLT(steps, rng.random(2), 0.4 * rng.random(2)))[seed % 3]
    participation, noise = BallsInBins(bins, epochs), float(rng.uniform(0.4, 3.0))
    loss = balls_in_bins_loss(strategy, participation, noise, delta=1e-3)
    matrix = strategy.matrix()
    modes = np.stack([matrix[:, i::bins].sum(axis=1) for i in range(bins)], axis=1)
    gram = modes.T @ modes / (noise * strategy.sensitivity(participation)) ** 2
    values, vectors = np.linalg.eigh(gram)
    half = 0.5 * np.diagonal(gram)
    samples = 30_000
    plain = rng.standard_normal((samples, bins)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    shifted = plain + gram[rng.integers(0, bins, samples)]
    epsilon = float(loss.epsilon(1e-3))
    for u, sign in ((shifted, 1.0), (plain, -1.0)):
        losses = sign * np.log(np.mean(np.exp(u - half), axis=1))
        gains = -np.expm1(np.minimum(epsilon - losses, 0.0))
        assert gains.mean() - 5.0 * gains.std() / samples**0.5 <= float(loss.delta(epsilon))
