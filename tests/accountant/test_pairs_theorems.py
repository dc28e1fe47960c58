"""The claims of docs/pairs.md against brute force: two dimensions, small data sets, fractions."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from scipy import stats

from accountant import privacy_loss
from accountant.dominating_pairs.fixed_size import _enclosed, _multiplicities
from accountant.dominating_pairs.poisson import BINOMIAL_MARGIN, _truncation, times
from accountant.errors import UnsupportedEventError
from accountant.events import ExponentialMechanismDpEvent

ADD, REPLACE = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE
ZERO = NeighboringRelation.REPLACE_SPECIAL
GAUSSIAN = dp_event.GaussianDpEvent(1.0)


class Plane:
    """Gaussian noise in two dimensions on a grid; kinks cost a relative 2e-4."""

    axis = np.linspace(-9.0, 9.0, 301)
    x, y = np.meshgrid(axis, axis, sparse=True)
    area = (axis[1] - axis[0]) ** 2 / (2.0 * math.pi)

    def __call__(self, v):
        square = (self.x - v[0]) ** 2 + (self.y - v[1]) ** 2
        return self.area * np.exp(-0.5 * square)

    @staticmethod
    def delta(p, q, epsilon):
        return float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum())


class Line(Plane):
    axis = np.linspace(-16.0, 16.0, 8001)
    width = axis[1] - axis[0]

    def __init__(self, sigma=1.0):
        self.sigma = sigma

    def __call__(self, v):
        scale = self.width / (self.sigma * math.sqrt(2.0 * math.pi))
        return scale * np.exp(-0.5 * ((self.axis - v) / self.sigma) ** 2)


def in_the_disc(rng, count):
    radius, angle = np.sqrt(rng.random(count)), 2.0 * math.pi * rng.random(count)
    radius[rng.random(count) < 0.6] = 1.0
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)


@pytest.mark.parametrize("q", [0.02, 0.4, 0.9])
def test_three_points_dominate_in_the_plane(q):
    rng, noise = np.random.default_rng(7), Plane()
    loss = privacy_loss(dp_event.PoissonSampledDpEvent(q, GAUSSIAN), REPLACE)
    bounds = {e: loss.delta_bounds(e) for e in (0.0, 0.1, 0.5, 1.5)}
    largest = dict.fromkeys(bounds, 0.0)
    opposite = (np.array([1.0, 0.0]), np.array([-1.0, 0.0]))
    for x, y in [opposite, *(in_the_disc(rng, 2) for _ in range(40))]:
        p, r = ((1.0 - q) * noise((0.0, 0.0)) + q * noise(v) for v in (x, y))
        for epsilon in bounds:
            largest[epsilon] = max(largest[epsilon], Plane.delta(p, r, epsilon))
    for epsilon, (lower, upper) in bounds.items():
        assert largest[epsilon] <= upper * (1.0 + 4e-4) + 1e-8
        # and the opposite ones attain it
        assert largest[epsilon] >= lower * (1.0 - 1e-3) - 1e-8


def batches(values, size, noise):
    """The release of a uniformly random batch."""
    sets = list(itertools.combinations(values, size))
    return sum(noise(sum(s)) for s in sets) / len(sets)


@pytest.mark.parametrize("relation", [ADD, REPLACE, ZERO])
def test_batches_without_replacement_dominate(relation):
    rng, noise = np.random.default_rng(5), Plane()
    event = dp_event.SampledWithoutReplacementDpEvent(4, 2, GAUSSIAN)
    loss = privacy_loss(event, relation)
    epsilons = (0.0, 0.2, 1.0, 2.0)
    largest = dict.fromkeys(epsilons, 0.0)
    one, minus = np.array([1.0, 0.0]), np.array([-1.0, 0.0])
    draws = [in_the_disc(rng, 5) for _ in range(25)]
    for x, y, *others in [[one, minus, minus, minus, minus], *draws]:
        with_x = batches([x, *others], 2, noise)
        other = {ADD: others, REPLACE: [y, *others], ZERO: [0.0 * x, *others]}[relation]
        without = batches(other, 2, noise)
        for epsilon in epsilons:
            both = Plane.delta(with_x, without, epsilon), Plane.delta(without, with_x, epsilon)
            largest[epsilon] = max(largest[epsilon], *both)
    for epsilon in epsilons:
        lower, upper = loss.delta_bounds(epsilon)
        assert largest[epsilon] <= upper * (1.0 + 4e-4) + 1e-8
        if relation is not ZERO:
            assert largest[epsilon] >= lower * (1.0 - 1e-3) - 1e-8


def drawn(values, size, noise):
    """The release of a batch drawn with replacement."""
    sums = [round(sum(s), 9) for s in itertools.product(values, repeat=size)]
    return sum(sums.count(v) * noise(v) for v in set(sums)) / len(sums)


@pytest.mark.parametrize("relation", [ADD, REPLACE, ZERO])
def test_batches_with_replacement_dominate(relation):
    rng, noise = np.random.default_rng(5), Line(1.5)
    inner = dp_event.GaussianDpEvent(1.5)
    loss = privacy_loss(dp_event.SampledWithReplacementDpEvent(4, 3, inner), relation)
    values = [np.array([1.0, -1.0, -1.0, -1.0, -1.0])]
    values += [rng.choice([-1.0, -0.5, 0.0, 1.0], 5) for _ in range(12)]
    for epsilon in (0.0, 0.3, 1.5):
        lower, upper = loss.delta_bounds(epsilon)
        largest = 0.0
        for x, y, *others in values:
            other = {ADD: others, REPLACE: [y, *others], ZERO: [0.0, *others]}[relation]
            p, q = drawn([x, *others], 3, noise), drawn(other, 3, noise)
            largest = max(largest, Line.delta(p, q, epsilon), Line.delta(q, p, epsilon))
        assert largest <= upper * (1.0 + 1e-5)
        if relation is ADD:
            assert largest >= lower * (1.0 - 1e-5)


def cut_sample(values, q, most, noise):
    """The release of a Poisson sample of which a random ``most`` are kept."""
    masses = {}
    for drawn_ones in itertools.product((False, True), repeat=len(values)):
        sample = list(itertools.compress(values, drawn_ones))
        share = q ** len(sample) * (1.0 - q) ** (len(values) - len(sample))
        kept = list(itertools.combinations(sample, min(most, len(sample))))
        for one in kept:
            place = round(sum(one), 9)
            masses[place] = masses.get(place, 0.0) + share / len(kept)
    return sum(mass * noise(v) for v, mass in masses.items())


@pytest.mark.parametrize("relation", [ADD, REPLACE, ZERO])
@pytest.mark.parametrize(
    ("size", "most", "q"), [(2, 1, 0.5), (4, 1, 0.2), (5, 3, 0.7), (3, 2, 1.0)]
)
def test_cut_samples_dominate(size, most, q, relation):
    rng, noise = np.random.default_rng(3), Line()
    event = dp_event.TruncatedSubsampledGaussianDpEvent(size, q, most, 1.0)
    loss = privacy_loss(event, relation)
    values = [np.array([1.0, -1.0, *([0.0] * (size - 1))]), np.array([1.0, *([-1.0] * size)])]
    values += [rng.choice([-1.0, -1.0, 0.5, 1.0], size + 1) for _ in range(6)]
    for epsilon in (0.0, 0.1, 0.7, 2.0):
        lower, upper = loss.delta_bounds(epsilon)
        largest = 0.0
        for x, y, *others in values:
            other = {ADD: others, REPLACE: [y, *others], ZERO: [0.0, *others]}[relation]
            p, r = cut_sample([x, *others], q, most, noise), cut_sample(other, q, most, noise)
            largest = max(largest, Line.delta(p, r, epsilon), Line.delta(r, p, epsilon))
        assert lower * (1.0 - 1e-5) <= largest <= upper * (1.0 + 1e-5)


@pytest.mark.parametrize("relation", [ADD, REPLACE])
@pytest.mark.parametrize(
    ("size", "q", "most", "sigma", "steps"),
    [(100, 0.5, 20, 2.0, 10), (1000, 0.01, 16, 1.0, 128), (1000, 0.01, 60, 1.0, 128)],
)
def test_cut_samples_cost_no_more_than_the_published_bound(size, q, most, sigma, steps, relation):
    theirs = pld.from_truncated_subsampled_gaussian_mechanism(
        size, q, most, sigma, 1e-3, neighboring_relation=pld.NeighborRel[relation.name]
    )
    published = theirs.self_compose(steps).get_epsilon_for_delta(1e-6)
    event = dp_event.TruncatedSubsampledGaussianDpEvent(size, q, most, sigma)
    lower, upper = privacy_loss(
        dp_event.SelfComposedDpEvent(event, steps), relation
    ).epsilon_bounds(1e-6)
    assert lower <= upper <= published * (1.0 + 1e-4)
    if size == 100 and relation is ADD:
        # as docs/pairs.md says
        assert upper == pytest.approx(5.86, abs=0.005)
        assert published == pytest.approx(7.42, abs=0.005)


def binomial_tail(k, n, q):
    """P[X > k] in 40 digits, summed away from the mean."""
    with mpmath.workdps(40):
        q = mpmath.mpf(q)
        up = k >= n * q
        j = k + 1 if up else k
        term = total = mpmath.binomial(n, j) * q**j * (1 - q) ** (n - j)
        while 0 < j < n and term > total * mpmath.mpf(10) ** -30:
            term *= q * (n - j) / ((1 - q) * (j + 1)) if up else (1 - q) * j / (q * (n - j + 1))
            j += 1 if up else -1
            total += term
        return total if up else 1 - total


@pytest.mark.parametrize(
    ("size", "q", "most"),
    [
        (1000, 0.01, 16),
        (60_000, 0.004, 300),
        (10**7, 1e-5, 400),
        (50, 0.5, 20),
        (10**6, 0.3, 299_000),
    ],
)
def test_chances_of_a_full_batch_are_rounded_outwards(size, q, most):
    room, full, kept, attained = _truncation(size, q, most)
    exact = binomial_tail(most - 1, size - 1, q)
    both = binomial_tail(most, size, q) * most / size
    near = 1.0 + 3.0 * BINOMIAL_MARGIN
    assert exact <= full <= exact * near
    assert 1 - exact <= room <= (1 - exact) * near
    assert both / exact <= kept <= both / exact * near
    truth = q * (1 - exact) + both
    assert truth / near <= attained <= truth
    assert abs(stats.binom.sf(most - 1, size - 1, q) / exact - 1) < 1e-2 * BINOMIAL_MARGIN * 10


def test_chances_beyond_the_range_of_doubles():
    room, full, kept, attained = _truncation(10**6, 1e-4, 5000)
    assert 0.0 < full <= 1e-289
    assert 1e-4 * 5000 / 5001 <= kept <= 1e-4
    assert room == 1.0
    assert 0.0 < 1e-4 - attained < 1e-13


@pytest.mark.parametrize(("batch", "size"), [(3, 2), (10, 10), (40, 5), (256, 60_000), (500, 100)])
def test_multiplicities_are_rounded_up(batch, size):
    (none, *some), lost = _multiplicities(batch, size)
    exact = [
        Fraction(math.comb(batch, k) * (size - 1) ** (batch - k), size**batch)
        for k in range(batch + 1)
    ]
    for k, weight in enumerate(some, 1):
        assert exact[k] <= Fraction(weight) <= exact[k] * (1 + Fraction(1, 2**51))
    rest = sum(exact[len(some) + 1 :])
    assert rest <= Fraction(lost)
    assert lost < 1e-47
    assert none == pytest.approx(float(exact[0]), rel=1e-6)


def test_records_that_are_always_drawn_are_refused():
    with pytest.raises(UnsupportedEventError, match="draws every record many times"):
        _multiplicities(1000, 10)
    with pytest.raises(UnsupportedEventError, match="draws every record many times"):
        _multiplicities(1, 1)


def test_shares_and_products_are_rounded_outwards():
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = int(rng.integers(2, 10**6))
        batch = int(rng.integers(1, size))
        low, high = _enclosed(batch, size)
        assert Fraction(low) <= Fraction(batch, size) <= Fraction(high) <= Fraction(low) * 2
        p, q = (float(v) for v in rng.random(2))
        exact = Fraction(p) * Fraction(q)
        assert exact <= Fraction(times(p, q)) <= exact * (1 + Fraction(1, 2**51))


def test_samples_of_samples_of_samples():
    event = GAUSSIAN
    for q in (0.5, 0.5, 0.2):
        event = dp_event.PoissonSampledDpEvent(q, event)
    for relation in (ADD, REPLACE):
        once = privacy_loss(dp_event.PoissonSampledDpEvent(0.05, GAUSSIAN), relation)
        assert privacy_loss(event, relation).delta(0.3) == pytest.approx(once.delta(0.3), rel=1e-12)


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_what_has_loss_0_is_counted_once(noise):
    # a batch of 9 of 10 hides next to nothing, but cannot cost more than all 10
    inner = dp_event.DiscreteLaplaceDpEvent(noise, 1)
    batch = dp_event.SampledWithoutReplacementDpEvent(10, 9, inner)
    sampled, whole = (
        privacy_loss(dp_event.SelfComposedDpEvent(e, 30), REPLACE).epsilon(1e-6)
        for e in (batch, inner)
    )
    assert sampled < 0.97 * whole


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_no_range_exceeds_the_envelope(epsilon):
    loss = privacy_loss(ExponentialMechanismDpEvent(epsilon), ADD)
    for x in np.linspace(0.0, 0.99, 7) * epsilon:
        t = np.linspace(x, epsilon, 20_001)
        divergences = (math.exp(epsilon) - np.exp(t)) * -np.expm1(x - t) / math.expm1(epsilon)
        best = float(divergences.max())
        assert best <= loss.delta(float(x)) * (1.0 + 1e-12)
        assert best == pytest.approx(loss.delta(float(x)), rel=1e-6)


@pytest.mark.parametrize("vector", [(0.5, 0.5), (0.9, 0.1), (0.3, -0.3), (0.2, 0.3)])
@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_laplace_vectors_cost_no_more_than_numbers(vector, scale):
    a, b = (abs(v) / scale for v in vector)
    loss = privacy_loss(dp_event.LaplaceDpEvent(scale), ADD)
    for epsilon in (0.0, 0.3, 0.9 / scale):
        # the first coordinate's loss has atoms at +-a and density e^((l-a)/2)/4 between them
        node, weight = np.polynomial.legendre.leggauss(100)
        density = 0.25 * a * np.exp(0.5 * a * (node - 1.0))
        value = float((weight * density) @ laplace_delta(b, epsilon - a * node))
        value += 0.5 * laplace_delta(b, epsilon - a)
        value += 0.5 * math.exp(-a) * laplace_delta(b, epsilon + a)
        assert value <= loss.delta(epsilon) + 1e-4


def laplace_delta(top, epsilon):
    value = -np.expm1(0.5 * (np.minimum(epsilon, top) - top))
    return np.where(epsilon < -top, -np.expm1(epsilon), value)
