"""Amplified correlated noise: theorems against brute force, bounds against samples."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accountant import CalibrationError, UnsupportedEventError, calibrate, privacy_loss
from accountant.engine.composition import Direction
from accountant.events import RandomAllocationDpEvent
from accountant.losses.random_allocation import allocation_pair
from mechanisms.amplification import (
    balls_in_bins_epsilon,
    balls_in_bins_event,
    balls_in_bins_loss,
    balls_in_bins_noise_multiplier,
    cyclic_poisson_event,
    optimal_bands,
    sampled_delta,
    sampled_epsilon,
)
from mechanisms.amplification.balls_in_bins import _Problem
from mechanisms.amplification.confidence import upper_confidence_bound
from mechanisms.amplification.modes import _of_matrix, mode_gram
from mechanisms.amplification.monte_carlo import _Sampler
from mechanisms.amplification.ratio_laws import lognormal
from mechanisms.amplification.tilted_samples import draws, gain
from mechanisms.amplification.tree_kernels import arrangements, least_tree, neighbours
from mechanisms.amplification.weighed_laws import directed_pair, rough_delta
from mechanisms.participation import BallsInBins, CyclicPoisson
from mechanisms.sensitivity import UnsupportedParticipationError
from mechanisms.strategies.identity import Identity
from mechanisms.strategies.toeplitz import BandedToeplitz

REPLACE = NeighboringRelation.REPLACE_ONE
ORDERS: tuple[Direction, Direction] = ("remove", "add")


def hockey_sticks(
    modes: np.ndarray, weights: np.ndarray, s: float, epsilon: float, seed: int
) -> list[tuple[float, float]]:
    """Delta in both orders of a mixture of N(mode, s^2 I) against N(0, s^2 I), with its error."""
    rng = np.random.default_rng(seed)
    count, rows = 200_000, modes.shape[1]

    def log_ratio(y: np.ndarray) -> np.ndarray:
        exponents = (y @ modes.T - 0.5 * np.sum(modes * modes, axis=1)) / s**2
        return np.log(np.exp(exponents) @ weights)

    noise = s * rng.standard_normal((count, rows))
    drawn = rng.choice(len(modes), count, p=weights)
    remove = np.maximum(0.0, -np.expm1(epsilon - log_ratio(noise + modes[drawn])))
    add = np.maximum(0.0, -np.expm1(epsilon + log_ratio(noise)))
    return [(float(x.mean()), float(x.std()) / math.sqrt(count)) for x in (remove, add)]


def modes_of(matrix: np.ndarray, bins: int, epochs: int) -> np.ndarray:
    held = [
        [i + j * bins for j in range(epochs) if i + j * bins < len(matrix.T)] for i in range(bins)
    ]
    return np.array([matrix[:, steps].sum(axis=1) for steps in held])


# -- cyclic Poisson sampling -----------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.2, 1.0])
def test_banded_cyclic_poisson_is_the_mixture_over_all_samples(epsilon: float, seed: int) -> None:
    strategy, q, multiplier = BandedToeplitz(12, [1.0, 0.6, -0.3]), 0.3, 1.2
    matrix = strategy.matrix()
    subsets = np.array([[(k >> j) & 1 for j in range(4)] for k in range(16)])
    # the group of steps 0, 3, 6, 9, whose columns are all complete
    modes = subsets @ matrix[:, 0:12:3].T
    weights = np.prod(np.where(subsets == 1, q, 1.0 - q), axis=1)
    participation = CyclicPoisson(3, q)
    event = cyclic_poisson_event(strategy, participation, multiplier)
    s = multiplier * strategy.sensitivity(participation)
    loss = privacy_loss(event)
    for direction, (mean, error) in zip(
        ORDERS, hockey_sticks(modes, weights, s, epsilon, seed), strict=True
    ):
        assert abs(loss.delta(epsilon, direction) - mean) < 5.0 * error
    # replacing a record costs more than zeroing it out
    assert privacy_loss(event, REPLACE).epsilon(1e-5) > loss.epsilon(1e-5)


def test_more_bands_than_groups_are_refused() -> None:
    dense = BandedToeplitz(12, [1.0, 0.5, 0.25, 0.1])
    with pytest.raises(
        UnsupportedParticipationError, match="at most 3 bands, and the strategy has 4"
    ):
        cyclic_poisson_event(dense, CyclicPoisson(3, 0.1), 1.0)
    assert cyclic_poisson_event(dense, CyclicPoisson(4, 0.1), 1.0).cycle_length == 4
    with pytest.raises(ValueError, match="CyclicPoisson"):
        cyclic_poisson_event(dense, BallsInBins(4), 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise_multiplier"):
        cyclic_poisson_event(dense, CyclicPoisson(4, 0.1), math.nan)


def test_bands_and_noise_are_chosen_together() -> None:
    table = optimal_bands(100, 3000, 60, epsilon=2.0, delta=1e-6, rtol=1e-3)
    errors = {choice.bands: choice.error for choice in table.choices}
    best = table.best
    assert errors[best.bands] == min(errors.values())
    assert best.error < 0.85 * errors[1]
    assert best.error < 0.95 * errors[max(errors)]
    assert max(errors) == 50  # 3000 // 60
    assert best.sampling_probability == pytest.approx(best.bands / 50)
    event = cyclic_poisson_event(table.strategy, table.participation, best.noise_multiplier)
    epsilon = privacy_loss(event, NeighboringRelation.REPLACE_SPECIAL).epsilon(1e-6)
    assert 1.99 < epsilon <= 2.0
    assert best.unit_error == table.strategy.rmse(None, table.participation)


def test_bands_can_be_given_with_another_strategy() -> None:
    table = optimal_bands(
        64,
        1000,
        50,
        epsilon=1.0,
        delta=1e-5,
        bands=(1, 4),
        objective="max",
        make_strategy=lambda p: BandedToeplitz.square_root(64, p),
    )
    assert [choice.bands for choice in table.choices] == [1, 4]
    assert table.choices[0].unit_error == pytest.approx(8.0)
    for wrong in ({"bands": (21,)}, {"bands": ()}, {"objective": "least"}, {"batch_size": 1001}):
        given_values = {"batch_size": 50, "epsilon": 1.0, "delta": 1e-5, **wrong}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            optimal_bands(64, 1000, **given_values)  # type: ignore[arg-type]


# -- modes -----------------------------------------------------------------------------------------


@given(
    steps=st.integers(1, 14),
    bins=st.integers(1, 6),
    epochs=st.integers(1, 4),
    coefficients=st.lists(st.floats(-1.0, 1.0), max_size=13),
)
def test_gram_of_modes_is_that_of_the_matrix(
    steps: int, bins: int, epochs: int, coefficients: list[float]
) -> None:
    strategy = BandedToeplitz(steps, [1.0, *coefficients][:steps])
    modes = modes_of(np.abs(strategy.matrix()), bins, epochs)
    found = mode_gram(strategy, BallsInBins(bins, epochs))
    np.testing.assert_allclose(found.upper, modes @ modes.T, rtol=1e-10, atol=1e-300)
    assert np.all(found.upper >= modes @ modes.T)
    of_matrix = _of_matrix(strategy.matrix(), BallsInBins(bins, epochs))
    np.testing.assert_allclose(of_matrix.upper, found.upper, rtol=1e-10, atol=1e-300)
    assert (of_matrix.lower is None) == bool(np.any(strategy.matrix() < 0.0))
    assert (found.lower is None) == any(c < 0.0 for c in coefficients[: steps - 1])
    if found.lower is not None:
        assert np.all(found.lower <= modes @ modes.T)


# -- laws and trees --------------------------------------------------------------------------------


def test_laws_of_sums_lie_above_random_allocation_and_close_to_it() -> None:
    for multiplier, steps, epsilon in ((1.0, 8, 1.0), (0.5, 16, 3.0), (2.0, 5, 0.3)):
        law = lognormal(1.0 / multiplier**2, 2.0**-8 / multiplier).repeated(steps)
        found = rough_delta([(1.0, law)], epsilon)
        for value, add in zip(found, (False, True), strict=True):
            exact = allocation_pair(multiplier, steps, add=add).delta(epsilon)
            assert exact * (1.0 - 1e-6) <= value <= exact * 1.003


@pytest.mark.parametrize("variances", [(1.0,), (0.5, 0.3), (0.01, 0.02, 0.03), (4.0, 1e-6)])
def test_products_of_lognormal_variables_are_gaussian(variances: tuple[float, ...]) -> None:
    law = lognormal(variances[0], 2.0**-8)
    for variance in variances[1:]:
        law = law.times(lognormal(variance, 2.0**-8))
    exact = privacy_loss(GaussianDpEvent(1.0 / math.sqrt(math.fsum(variances))))
    pair = directed_pair([(1.0, law)])
    for epsilon in (0.0, 0.5, 2.0):
        for one, direction in zip((pair.remove, pair.add), ORDERS, strict=True):
            truth = exact.delta_bounds(epsilon, direction)
            assert truth.lower <= one.delta(epsilon)[1]
            assert one.delta(epsilon)[1] <= 1.002 * truth.upper + 1e-9


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_the_least_tree_is_the_closure_by_smallest_steps(bins: int, seed: int) -> None:
    gram = np.random.default_rng(seed).random((bins, bins))
    gram = np.maximum(gram, gram.T)
    np.fill_diagonal(gram, 1.0 + np.diagonal(gram))
    closure = gram.copy()
    for k in range(bins):
        closure = np.maximum(closure, np.minimum(closure[:, k : k + 1], closure[k : k + 1]))
    np.fill_diagonal(closure, np.maximum(np.diagonal(gram), 0.0))
    tree = least_tree(gram, 100)
    assert tree.leaves == bins
    assert tree.mean == pytest.approx(closure.mean(), rel=1e-9)
    coarse = least_tree(gram, 4)
    assert tree.mean <= coarse.mean * (1.0 + 1e-12)
    assert len(coarse.levels) <= 7


@given(st.integers(2, 40), st.integers(0, 30))
def test_arrangements_partition_the_bins(bins: int, which: int) -> None:
    known = arrangements(bins)
    one = known[which % len(known)]
    for arrangement in (one, *neighbours(one, bins)):
        classes = [c for group in arrangement.groups(bins) for c in group]
        assert sorted(np.concatenate(classes).tolist()) == list(range(bins))
        for group in arrangement.groups(bins):
            assert len({len(c) for c in group}) == 1


def test_a_tree_is_priced_as_its_variables_are_drawn(seed: int) -> None:
    # a caterpillar, by covariances min(rank)
    levels = np.array([2.0, 1.2, 0.7, 0.3])
    gram = levels[np.maximum(np.arange(4)[:, None], np.arange(4))]
    np.fill_diagonal(gram, [2.5, 2.5, 1.0, 0.9])
    tree = least_tree(gram, 100)
    law = tree.law(1.0, tree.mesh(1.0, 128))
    factor = np.linalg.cholesky(gram)
    noise = np.random.default_rng(seed).standard_normal((400_000, 4)) @ factor.T
    ratios = np.exp(noise - 0.5 * np.diagonal(gram)).mean(axis=1)
    for epsilon in (0.5, 1.5):
        for found, gains in zip(
            rough_delta([(1.0, law)], epsilon),
            (
                np.maximum(ratios - math.exp(epsilon), 0.0),
                np.maximum(1.0 - math.exp(epsilon) * ratios, 0.0),
            ),
            strict=True,
        ):
            assert abs(found - gains.mean()) < 6.0 * gains.std() / math.sqrt(len(gains)) + 1e-4


# -- balls in bins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3])
def test_independent_noise_is_random_allocation(epochs: int) -> None:
    loss = balls_in_bins_loss(Identity(20 * epochs), BallsInBins(20, epochs), 0.9)
    exact = privacy_loss(RandomAllocationDpEvent(20, GaussianDpEvent(0.9)))
    assert loss.epsilon(1e-5) == pytest.approx(exact.epsilon(1e-5), rel=1e-5)
    assert loss.epsilon_bounds(1e-5).lower == pytest.approx(exact.epsilon(1e-5), rel=1e-5)
    known = balls_in_bins_loss(Identity(epochs), BallsInBins(1, epochs), 0.9)
    plain = privacy_loss(GaussianDpEvent(0.9))
    assert known.epsilon(1e-5) == pytest.approx(plain.epsilon(1e-5), rel=1e-12)


@pytest.mark.parametrize("order", [(4, 1, 4), (8, 2, 16), (8, 3, 3), (12, 1, 5)])
def test_bounds_enclose_direct_samples_of_the_full_mixture(order: tuple, seed: int) -> None:
    bins, epochs, bands = order
    strategy = BandedToeplitz.square_root(bins * epochs, bands)
    participation = BallsInBins(bins, epochs)
    modes = modes_of(strategy.matrix(), bins, epochs)
    s = 1.1 * strategy.sensitivity(participation)
    loss = balls_in_bins_loss(strategy, participation, 1.1, delta=1e-3)
    drawn = sampled_delta(strategy, participation, 1.1, 0.8, samples=40_000, seed=seed)
    found = hockey_sticks(modes, np.full(bins, 1.0 / bins), s, 0.8, seed)
    for direction, (mean, error) in zip(ORDERS, found, strict=True):
        bounds = loss.delta_bounds(0.8, direction)
        assert bounds.lower - 5.0 * error <= mean <= bounds.upper + 5.0 * error
    mean, error = max(found)
    assert abs(drawn.estimate - mean) < 12.0 * error
    assert mean - 5.0 * error <= drawn.upper <= 1.5 * mean
    assert loss.delta(0.8) < 0.9 * privacy_loss(GaussianDpEvent(1.1)).delta(0.8)


def test_one_tree_is_above_all_classes_of_a_shape() -> None:
    strategy, participation = BandedToeplitz.square_root(21, 21), BallsInBins(21)
    problem = _Problem.of(strategy, participation, 1.0, NeighboringRelation.ADD_OR_REMOVE_ONE)
    gram = problem.gram.upper
    for arrangement in arrangements(21):
        groups = list(arrangement.groups(21))
        trees = problem._trees(arrangement, 100)
        assert math.fsum(weight for weight, _ in trees) == pytest.approx(1.0)
        for group, (_, tree) in zip(groups, trees, strict=True):
            assert all(tree.mean >= gram[np.ix_(c, c)].mean() for c in group)


def test_signs_are_priced_by_their_sizes(seed: int) -> None:
    strategy, participation = BandedToeplitz(12, [1.0, -0.8, 0.4, -0.2]), BallsInBins(6, 2)
    signs = np.where(np.arange(12) % 2, -1.0, 1.0)
    s = strategy.sensitivity(participation)
    loss = balls_in_bins_loss(strategy, participation, 1.0, delta=1e-3)
    for vectors in (np.ones(12), signs, np.cos(np.arange(12.0))):
        modes = modes_of(strategy.matrix() * vectors, 6, 2)
        for mean, error in hockey_sticks(modes, np.full(6, 1 / 6), s, 1.0, seed):
            assert mean - 5.0 * error <= loss.delta(1.0)
    assert loss.delta_bounds(1.0).lower == 0.0
    assert loss.delta(1.0) <= privacy_loss(GaussianDpEvent(1.0)).delta(1.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_vectors_that_look_at_what_was_released_cost_no_more(sign: float) -> None:
    strategy, participation, s = BandedToeplitz(2, [1.0, sign * 0.8]), BallsInBins(2), 1.0
    multiplier = s / strategy.sensitivity(participation)
    loss = balls_in_bins_loss(strategy, participation, multiplier, delta=1e-2)
    grid = np.linspace(-9.0, 9.0, 1201)
    y0, y1 = grid[:, None], grid[None]
    q = np.exp(-0.5 * (y0**2 + y1**2)) / (2.0 * math.pi) * (grid[1] - grid[0]) ** 2
    looks: list[Callable[[np.ndarray], np.ndarray]] = [
        np.sign,
        lambda y: (y > 1.0) * 1.0,
        lambda y: np.clip(y, -1.0, 1.0),
        np.ones_like,
    ]
    for second in looks:
        # bin 0: the vector 1 in both rows' share; bin 1: a vector that depends on the first row
        first = np.exp(y0 - 0.5 + sign * 0.8 * y1 - 0.32)
        v = second(y0)
        ratio = 0.5 * (first + np.exp(v * y1 - 0.5 * v * v))
        for epsilon in (0.1, 0.6, 1.2):
            remove = float((q * np.maximum(ratio - math.exp(epsilon), 0.0)).sum())
            add = float((q * np.maximum(1.0 - math.exp(epsilon) * ratio, 0.0)).sum())
            assert remove <= loss.delta(epsilon, "remove") + 1e-6
            assert add <= loss.delta(epsilon, "add") + 1e-6


def test_the_event_is_above_the_loss_and_below_no_amplification() -> None:
    strategy, participation = BandedToeplitz.square_root(48, 48), BallsInBins(24, 2)
    event = balls_in_bins_event(strategy, participation, 1.0, delta=1e-5)
    epsilon = balls_in_bins_epsilon(strategy, participation, 1.0, 1e-5)
    plain = privacy_loss(GaussianDpEvent(1.0)).epsilon(1e-5)
    assert epsilon < 0.95 * privacy_loss(event).epsilon(1e-5)
    assert privacy_loss(event).epsilon(1e-5) < 0.95 * plain


def test_noise_meets_its_target_and_hardly_more() -> None:
    strategy, participation = BandedToeplitz.square_root(16, 3), BallsInBins(8, 2)
    found = balls_in_bins_noise_multiplier(
        strategy, participation, epsilon=1.0, delta=1e-5, rtol=0.01
    )
    assert found < 0.8 * calibrate(GaussianDpEvent, epsilon=1.0, delta=1e-5)
    assert balls_in_bins_loss(strategy, participation, found, delta=1e-5).delta(1.0) <= 1.02e-5
    less = balls_in_bins_loss(strategy, participation, 0.96 * found, delta=1e-5)
    assert less.delta(1.0) > 1e-5


def test_what_has_no_theorem_is_refused() -> None:
    strategy, participation = Identity(8), BallsInBins(4, 2)
    with pytest.raises(UnsupportedEventError, match="REPLACE_ONE"):
        balls_in_bins_loss(strategy, participation, 1.0, relation=REPLACE)
    for noise in (0.0, -1.0, math.nan, math.inf, True, "1"):
        with pytest.raises(ValueError, match="noise_multiplier"):
            balls_in_bins_loss(strategy, participation, noise)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="noise_multiplier"):
            sampled_delta(strategy, participation, noise, 1.0)  # type: ignore[arg-type]
    for delta in (0.0, 1.0, math.nan, False):
        with pytest.raises(ValueError, match="delta"):
            balls_in_bins_loss(strategy, participation, 1.0, delta=delta)
    with pytest.raises(ValueError, match="BallsInBins"):
        balls_in_bins_loss(strategy, CyclicPoisson(4, 0.5), 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bins"):
        balls_in_bins_loss(strategy, BallsInBins(5000), 1.0)
    with pytest.raises(ValueError, match="confidence"):
        sampled_delta(strategy, participation, 1.0, 1.0, confidence=1.0)


# -- sampling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "samples"), [(0, 100), (3, 1000), (500, 1000), (1000, 1000)])
@pytest.mark.parametrize("failing", [0.05, 1e-6])
def test_the_confidence_bound_is_above_that_of_clopper_and_pearson(
    hits: int, samples: int, failing: float
) -> None:
    exact = 1.0 if hits == samples else stats.beta.ppf(1.0 - failing, hits + 1, samples - hits)
    found = upper_confidence_bound(float(hits), float(hits), samples, 1.0, failing)
    assert exact <= found * (1.0 + 1e-6)
    assert found <= hits / samples + math.sqrt(math.log(2.0 / failing) / samples) + 1e-6
    # small variables within a wide range: their own variance counts
    narrow = upper_confidence_bound(hits * 1e-3, hits * 1e-6, samples, 1.0, failing)
    wide = upper_confidence_bound(hits * 1e-3, hits * 1e-3, samples, 1.0, failing)
    assert narrow <= wide


def test_tilted_samples_are_unbiased_and_bounded(seed: int) -> None:
    strategy, participation, epsilon = Identity(4), BallsInBins(4), 1.6
    sampler = _Sampler.of(strategy, participation, 1.0)
    (longer, heaviest), (shift, lightest) = sampler.tilting(epsilon)
    assert longer > 1.5
    assert shift > 1.0
    stream = np.random.SeedSequence(seed)
    drawn = draws((sampler.factor, epsilon, longer, shift, 400_000, stream))
    for (losses, weights), largest, add in zip(
        drawn, (heaviest, lightest), (False, True), strict=True
    ):
        values = weights * gain(losses, epsilon)
        assert float(values.max()) <= largest < 1.0
        exact = allocation_pair(1.0, 4, add=add).delta(epsilon)
        assert abs(values.mean() - exact) < 5.0 * values.std() / math.sqrt(len(values)) + 1e-12


def test_sampling_gives_the_same_on_any_executor() -> None:
    strategy, participation = BandedToeplitz.square_root(40, 10), BallsInBins(20, 2)
    here = sampled_delta(strategy, participation, 1.0, 1.0, samples=30_000, seed=7)
    with ThreadPoolExecutor(2) as executor:
        there = sampled_delta(
            strategy, participation, 1.0, 1.0, samples=30_000, seed=7, executor=executor
        )
    assert here == there
    assert here != sampled_delta(strategy, participation, 1.0, 1.0, samples=30_000, seed=8)
    assert here.estimate < here.upper


def test_sampled_epsilon_is_confirmed_or_refused() -> None:
    strategy, participation = BandedToeplitz.square_root(16, 16), BallsInBins(8, 2)
    found = sampled_epsilon(strategy, participation, 1.0, 1e-3, samples=30_000)
    loss = balls_in_bins_loss(strategy, participation, 1.0, delta=1e-3)
    assert loss.epsilon_bounds(1e-3).lower <= found.upper
    assert found.estimate <= found.upper <= 1.2 * found.estimate
    assert found.estimate <= loss.epsilon(1e-3) * 1.02
    assert found.samples % 30_000 == 15_000 or found.samples > 30_000
    with pytest.raises(CalibrationError, match="use more samples"):
        sampled_epsilon(Identity(64), BallsInBins(64), 100.0, 1e-280, samples=100)
