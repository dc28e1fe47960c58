"""Random allocation of other noise than the Gaussian: enumeration, quadrature and simulation."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event as dp
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accountant import events
from accountant.dominating_pairs.mechanisms import (
    discrete_gaussian_masses,
    discrete_laplace_masses,
    pure_pair,
)
from accountant.errors import UnsupportedEventError
from accountant.losses.atoms import Atoms, atoms_of
from accountant.losses.bounded_range import BoundedRangePair
from accountant.losses.laplace import laplace_delta
from accountant.losses.listed_sums import ratio, two_point_epoch
from accountant.losses.pair import LaplacePair
from accountant.losses.random_allocation import allocation_floor_of, allocation_pair_of
from accountant.privacy_loss import privacy_loss

BOTH = (False, True)
ADD_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
REPLACE = NeighboringRelation.REPLACE_ONE


def bracket(pair, steps, epsilon, add, log_mass=-60.0):
    lower = allocation_floor_of(pair, steps, log_mass, add=add).delta(epsilon)
    return lower, allocation_pair_of(pair, steps, log_mass, add=add).delta(epsilon)


def divergence(ratios, masses, epsilon, add):
    """Of the law of dP/dQ under Q."""
    if add:
        return float(masses @ np.maximum(1.0 - math.exp(epsilon) * ratios, 0.0))
    return float(masses @ np.maximum(ratios - math.exp(epsilon), 0.0))


DISCRETE = {
    "discrete Laplace": atoms_of(
        *discrete_laplace_masses(dp.DiscreteLaplaceDpEvent(0.4, 3))[:2], 2e-13
    ),
    "discrete Gaussian": atoms_of(
        *discrete_gaussian_masses(events.DiscreteGaussianDpEvent(1.5, 1))[:2], 2e-13
    ),
    "black box": pure_pair(1.2),
}


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("name", DISCRETE)
def test_one_step_is_the_mechanism(name, add):
    pair = DISCRETE[name]
    for epsilon in (0.0, 0.3, 0.8, 1.1):
        low, high = (pair.swapped if add else pair).delta(epsilon)
        below, above = bracket(pair, 1, epsilon, add)
        assert below <= high
        assert above >= low
        assert above <= below * (1.0 + 1e-6) + 1e-12


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("scale", [0.05, 0.4, 1.0, 7.0, 1e4])
def test_one_step_is_laplace_noise(scale, add):
    for share in (0.0, 0.3, 0.9):
        low, high = laplace_delta(scale, share / scale)
        below, above = bracket(LaplacePair(scale), 1, share / scale, add)
        assert below <= high
        assert above >= low
        assert above <= below * (1.0 + 1e-6)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 6.0])
def test_one_step_is_the_exponential_mechanism(epsilon):
    pair = BoundedRangePair(epsilon)
    for share in (0.0, 0.3, 0.9):
        low, high = pair.delta(share * epsilon)
        for add in BOTH:
            below, above = bracket(pair, 1, share * epsilon, add)
            assert below <= high
            assert above >= low
            assert above <= below * (1.0 + 1e-4)


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("name", DISCRETE)
def test_few_steps_by_enumeration(name, steps, add):
    pair = DISCRETE[name]
    # outcomes that are rarer than 1e-17 are left out, and cannot be seen below
    q = pair.p * np.exp(-pair.losses)
    kept = (q > 1e-17) | (pair.p > 1e-17)
    x, q = np.exp(pair.losses[kept]), q[kept]
    ratios = sum(np.meshgrid(*[x] * steps)).ravel() / steps
    masses = math.prod(np.meshgrid(*[q] * steps)).ravel()
    for epsilon in (0.0, 0.2, 0.7):
        exact = divergence(ratios, masses, epsilon, add)
        below, above = bracket(pair, steps, epsilon, add)
        assert below <= exact * (1.0 + 1e-12) + 1e-15
        assert above >= exact * (1.0 - 1e-12) - 1e-15
        assert above <= below * (1.0 + 1e-6) + 1e-12


def laplace_of_two(scale, epsilon, add):
    """Given one ratio, the divergence of the other is that of Laplace noise, 30 digits."""
    mpmath.mp.dps = 30
    b, c = mpmath.mpf(scale), mpmath.exp(-epsilon if add else epsilon)
    top = 1 / b

    def profile(u):
        """E(X - u)_+ for any u."""
        if u <= mpmath.exp(-top):
            return 1 - u
        return mpmath.mpf(0) if u >= mpmath.exp(top) else 1 - mpmath.sqrt(u * mpmath.exp(-top))

    def given_first(x):
        rest = 2 * c - x
        gain = profile(rest) / 2  # E(r - c)_+; and (c - r)_+ = (r - c)_+ - r + c
        return (gain - (x + 1) / 2 + c) / c if add else gain

    kinks = [mpmath.log(2 * c - e) for e in (mpmath.exp(top), mpmath.exp(-top)) if 2 * c > e]
    points = sorted({-top, top, *(k for k in kinks if -top < k < top)})
    inside = mpmath.quad(
        lambda loss: given_first(mpmath.exp(loss)) * mpmath.exp(-(loss + top) / 2) / 4, points
    )
    atoms = given_first(mpmath.exp(-top)) / 2 + given_first(mpmath.exp(top)) * mpmath.exp(-top) / 2
    return inside + atoms


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize(("scale", "share"), [(0.3, 0.1), (1.0, 0.0), (1.0, 0.4), (4.0, 0.6)])
def test_two_steps_of_laplace_noise_by_quadrature(scale, share, add):
    exact = laplace_of_two(scale, share / scale, add)
    below, above = bracket(LaplacePair(scale), 2, share / scale, add)
    assert below <= exact <= above
    assert above <= below * (1.0 + 1e-5)


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize(
    ("epsilon", "steps"), [(1e-4, 30), (0.5, 7), (1.0, 234), (3.0, 10_000), (9.0, 5), (40.0, 3)]
)
def test_black_boxes_are_binomial(epsilon, steps, add):
    k = np.arange(steps + 1.0)
    ratios = (k * math.exp(epsilon) + (steps - k) * math.exp(-epsilon)) / steps
    masses = stats.binom.pmf(k, steps, 1.0 / (1.0 + math.exp(epsilon)))
    for at in (0.0, 0.3 * min(epsilon, 1.0) / math.sqrt(steps)):
        exact = divergence(ratios, masses, at, add)
        below, above = bracket(pure_pair(epsilon), steps, at, add)
        assert below <= exact * (1.0 + 1e-9)
        assert exact * (1.0 - 1e-9) <= above
        assert above <= below * (1.0 + 5e-5) + 1e-9


@pytest.mark.parametrize("steps", [2, 5, 100])
def test_listed_black_boxes_lie_within_their_bounds(steps):
    exact = two_point_epoch(pure_pair(0.8), steps)
    assert exact.p.sum() == pytest.approx(1.0, abs=1e-11)
    for epsilon in (0.0, 0.1, 0.4):
        for add in BOTH:
            low, high = (exact.swapped if add else exact).delta(epsilon)
            below, above = bracket(pure_pair(0.8), steps, epsilon, add)
            assert below <= high
            assert low <= above


STEPS = {
    "Laplace": (LaplacePair(1.0), lambda rng, n: rng.laplace(size=n)),
    **{name: (pair, None) for name, pair in DISCRETE.items()},
}


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("name", STEPS)
def test_fifty_steps_by_simulation(name, add):
    pair, draw = STEPS[name]
    rng = np.random.default_rng(5)
    shape = (40_000, 50)
    if draw is not None:
        y = draw(rng, shape)
        if not add:
            y[:, 0] += 1.0
        x = np.exp(np.abs(y) - np.abs(y - 1.0))
    else:
        q = pair.p * np.exp(-pair.losses)
        x = np.exp(rng.choice(pair.losses, shape, p=q / q.sum()))
        if not add:
            x[:, 0] = np.exp(rng.choice(pair.losses, shape[0], p=pair.p / pair.p.sum()))
    losses = np.log(x.mean(axis=1)) * (-1.0 if add else 1.0)
    for epsilon in (0.0, 0.1):
        gains = np.maximum(0.0, -np.expm1(epsilon - losses))
        reach = 5.0 * gains.std() / math.sqrt(len(gains))
        below, above = bracket(pair, 50, epsilon, add)
        assert below < gains.mean() + reach
        assert above > gains.mean() - reach
        assert above <= below * (1.0 + 1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_more_steps_hide_more(name):
    pair = STEPS[name][0]
    for add in BOTH:
        found = [bracket(pair, t, 0.05, add) for t in (1, 2, 4, 40, 1000)]
        for (before, _), (_, after) in itertools.pairwise(found):
            assert after < before


@settings(max_examples=15, deadline=None)
@given(
    losses=st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=6, unique=True),
    weights=st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6),
    steps=st.integers(1, 300),
    epsilon=st.floats(0.0, 1.0),
    add=st.booleans(),
)
def test_any_list_of_losses(losses, weights, steps, epsilon, add):
    """Against the mean of the ratio and the laws of one step."""
    x = np.exp(np.sort(losses))
    q = np.array(weights[: len(x)]) / sum(weights[: len(x)])
    p = x * q / (x @ q)
    pair = atoms_of(p, q)
    if np.abs(pair.losses).max() < 1e-3:
        return
    below, above = bracket(pair, steps, epsilon, add)
    assert below <= above <= below * (1.0 + 1e-4) + 1e-9
    assert below <= (pair.swapped if add else pair).delta(epsilon)[1]
    upper = allocation_pair_of(pair, steps, -60.0)
    assert 0.0 <= upper.p.sum() + upper.p_infinite - 1.0 < 1e-6
    variance = float(upper.q @ np.square(upper.p / upper.q - 1.0))
    exact = float(q @ np.square(p / q - 1.0)) / steps
    assert exact * (1.0 - 1e-9) <= variance <= exact * (1.0 + 1e-4)


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("steps", [1, 2, 3, 40])
@pytest.mark.parametrize("name", STEPS)
def test_an_epoch_has_no_larger_loss_than_a_step(name, steps, add):
    pair = STEPS[name][0]
    largest = (pair.swapped if add else pair).largest_loss
    upper = allocation_pair_of(pair, steps, -60.0, add=add)
    assert upper.losses[-1] <= largest + 1e-11
    # where a single step of two already is the most that can be seen
    near = largest - 1e-4
    assert (
        upper.delta(near) <= (pair.swapped if add else pair).delta(near)[1] * (1.0 + 1e-4) + 1e-15
    )


def test_ratios_keep_the_mean():
    for pair in (LaplacePair(0.7), BoundedRangePair(2.0), pure_pair(1.0)):
        for above in BOTH:
            one = ratio(pair, 10, -40.0, above)
            assert one.masses.sum() == pytest.approx(1.0, abs=1e-12)
            assert one.masses @ one.values == pytest.approx(1.0, abs=1e-12)


# --- events -------------------------------------------------------------------------------------

LAPLACE = dp.LaplaceDpEvent(1.0)
PRICED = {
    "Laplace": LAPLACE,
    "discrete Laplace": dp.DiscreteLaplaceDpEvent(0.5, 2),
    "discrete Gaussian": events.DiscreteGaussianDpEvent(2.0, 1),
    "pure": events.ApproximateDpEvent(1.0, 0.0),
    "approximate": events.ApproximateDpEvent(1.0, 1e-6),
    "exponential": events.ExponentialMechanismDpEvent(1.0),
    "a sample's": dp.PoissonSampledDpEvent(0.5, dp.DiscreteLaplaceDpEvent(0.5, 2)),
}


@pytest.mark.parametrize("relation", [ADD_REMOVE, ZERO_OUT])
@pytest.mark.parametrize("name", PRICED)
def test_events(name, relation):
    step = PRICED[name]
    known = privacy_loss(step, relation).epsilon_bounds(1e-3)
    for steps, selections in ((2, 1), (30, 1), (7, 2)):
        event = events.RandomAllocationDpEvent(steps, step, selections)
        found = privacy_loss(event, relation).epsilon_bounds(1e-3)
        assert 0.0 <= found.lower <= found.upper
        assert found.upper <= selections * known.upper + 1e-9
        if selections == 1 and name not in ("approximate", "exponential"):
            assert found.upper <= found.lower * (1.0 + 1e-5)


def test_two_epochs_cost_no_more_than_known_places():
    for step, delta in itertools.product(PRICED.values(), (1e-2, 1e-5)):
        epoch = events.RandomAllocationDpEvent(2, step)
        found, known = (
            privacy_loss(dp.SelfComposedDpEvent(one, 2), ADD_REMOVE).epsilon(delta)
            for one in (epoch, step)
        )
        assert found <= known


@pytest.mark.parametrize("name", PRICED)
def test_one_place_and_all_places_are_the_composition(name):
    step = PRICED[name]
    for k in (1, 3):
        event = events.RandomAllocationDpEvent(k, step, k)
        assert privacy_loss(event, ADD_REMOVE) == k * privacy_loss(step, ADD_REMOVE)


def test_epochs_of_laplace_noise():
    """Twenty epochs of a hundred steps: about what Poisson sampling of as many steps costs."""
    epoch = events.RandomAllocationDpEvent(100, LAPLACE)
    found = privacy_loss(dp.SelfComposedDpEvent(epoch, 20), ADD_REMOVE).epsilon_bounds(1e-5)
    assert found.upper <= found.lower * (1.0 + 1e-6)
    sampled = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.01, LAPLACE), 2000)
    assert found.upper == pytest.approx(privacy_loss(sampled, ADD_REMOVE).epsilon(1e-5), rel=0.02)
    assert found.upper == pytest.approx(1.662625, abs=2e-6)


def test_clear_releases_stay_clear():
    """Of two steps, by enumeration: public coins and randomized response."""
    chance, epsilon = 0.01, 1.0
    exact_pair = DirectEnumeration(chance, epsilon)
    event = events.RandomAllocationDpEvent(2, events.ApproximateDpEvent(epsilon, chance))
    loss = privacy_loss(event, ADD_REMOVE)
    for at in (0.0, 0.3, 0.8):
        found = loss.delta_bounds(at)
        assert found.lower <= exact_pair.delta(at) <= found.upper


class DirectEnumeration:
    """The larger divergence of both directions, over all outcomes of two steps."""

    def __init__(self, chance, epsilon):
        high, low = math.exp(epsilon) / (1.0 + math.exp(epsilon)), 1.0 / (1.0 + math.exp(epsilon))
        # outcomes: two answers, seen to be there, seen to be away
        there = [(1.0 - chance) * high, (1.0 - chance) * low, chance, 0.0]
        away = [(1.0 - chance) * low, (1.0 - chance) * high, 0.0, chance]
        self.p = 0.5 * (np.outer(there, away) + np.outer(away, there))
        self.q = np.outer(away, away)

    def delta(self, epsilon):
        c = math.exp(epsilon)
        pairs = ((self.p, self.q), (self.q, self.p))
        return max(float(np.maximum(a - c * b, 0.0).sum()) for a, b in pairs)


@pytest.mark.parametrize(
    "step",
    [
        dp.ZCDpEvent(0.1),
        dp.ComposedDpEvent([LAPLACE, LAPLACE]),
        dp.ComposedDpEvent([LAPLACE, dp.GaussianDpEvent(1.0)]),
        dp.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5]),
        dp.LaplaceDpEvent(1e-3),
        dp.LaplaceDpEvent(1e8),
        dp.GaussianDpEvent(0.01),
        events.DiscreteGaussianDpEvent(1.0, 15),
        dp.RandomizedResponseDpEvent(0.5, 4),
    ],
)
def test_other_steps_are_refused(step):
    with pytest.raises(UnsupportedEventError, match=r"leave the (allocation|sampling) out"):
        privacy_loss(events.RandomAllocationDpEvent(4, step), ADD_REMOVE)


def test_replacing_a_record_is_refused():
    with pytest.raises(UnsupportedEventError, match="ADD_OR_REMOVE_ONE"):
        privacy_loss(events.RandomAllocationDpEvent(4, LAPLACE), REPLACE)


@pytest.mark.parametrize("function", [allocation_pair_of, allocation_floor_of])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pair", 10), "pair must be a list of losses"),
        ((1.0, 10), "pair must be a list of losses"),
        ((Atoms(np.array([-1.0, 1.0]), np.array([0.2, 0.7]), 0.1), 10), "same support"),
        ((BoundedRangePair(1.0, 0.5), 10), "same support"),
        ((LaplacePair(1e-3), 10), "largest loss"),
        ((LaplacePair(1e9), 10), "largest loss"),
        ((LaplacePair(1.0), 0), "steps must be a whole number"),
        ((LaplacePair(1.0), True), "steps must be a whole number"),
        ((LaplacePair(1.0), 10**7), "steps must be at most"),
        ((LaplacePair(1.0), 10, math.nan), "log_mass must be within"),
    ],
)
def test_unsound_input_is_refused(function, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        function(*arguments)
