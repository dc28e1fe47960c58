"""The shuffle's floor against closed forms, simulated outputs and published values."""

import math

import mpmath
import numpy as np
import pytest
from scipy import special

from accountant.losses.gaussian import gaussian_delta
from accountant.losses.random_allocation import allocation_floor, allocation_pair
from accountant.losses.shuffled import shuffled_floor

BOTH = (False, True)


def exact_mass_above(sigma, steps, mean, cut):
    """1 - Phi((cut - mean)/sigma) Phi(cut/sigma)^(t-1), in 60 digits."""
    mpmath.mp.dps = 60
    s, x = mpmath.mpf(sigma), mpmath.mpf(cut)
    return 1 - mpmath.ncdf((x - mean) / s) * mpmath.ncdf(x / s) ** (steps - 1)


@pytest.mark.parametrize(
    ("sigma", "steps", "epsilon"),
    [(0.4, 10_000, 4.0), (0.5, 10_000, 1.0), (0.8, 10_000, 0.5), (1.0, 1000, 2.0), (2.0, 50, 0.2)],
)
def test_hardly_below_the_best_cube(sigma, steps, epsilon):
    """The bound of arXiv 2403.17673, section 4: one threshold on the largest coordinate."""
    cuts = np.linspace(-4.0 * sigma, 2.0 + 9.0 * sigma, 3001)
    with np.errstate(divide="ignore"):
        logs = [
            special.log_ndtr((cuts - m) / sigma) + (steps - 1) * special.log_ndtr(cuts / sigma)
            for m in (2.0, 1.0)
        ]
    best = cuts[np.argmax(-np.expm1(logs[0]) + math.exp(epsilon) * np.expm1(logs[1]))]
    value = exact_mass_above(sigma, steps, 2, best)
    value -= mpmath.exp(epsilon) * exact_mass_above(sigma, steps, 1, best)
    assert float(value) * (1.0 - 2e-4) < shuffled_floor(sigma, steps).delta(epsilon)


def test_published_values():
    """sigma = 0.4, 10,000 steps: not (4, delta)-DP for delta < 0.226, nor (12, 7.5e-5)."""
    pair = shuffled_floor(0.4, 10_000)
    assert pair.delta(4.0) == pytest.approx(0.226, abs=5e-4)
    assert pair.delta(12.0) == pytest.approx(7.5e-5, rel=0.01)


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize(
    ("sigma", "steps", "epsilon"), [(0.4, 10, 2.0), (1.0, 2, 1.0), (0.5, 60, 0.3)]
)
def test_below_the_whole_output(sigma, steps, epsilon, add):
    generator = np.random.default_rng(5)
    y = sigma * generator.standard_normal((50_000, steps))
    y[:, 0] += 1.0 if add else 2.0
    plain, doubled = (
        special.logsumexp(m * y / sigma**2 - 0.5 * m * m / sigma**2, axis=1) for m in (1.0, 2.0)
    )
    losses = plain - doubled if add else doubled - plain
    gains = np.maximum(0.0, -np.expm1(epsilon - losses))
    reach = 5.0 * gains.std() / math.sqrt(len(gains))
    found = shuffled_floor(sigma, steps, add=add).delta(epsilon)
    assert 0.0 < found < gains.mean() + reach
    # the largest coordinate tells most of it
    assert found > 0.3 * (gains.mean() - reach)


@pytest.mark.parametrize("add", BOTH)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 10.0])
def test_one_step_is_the_gaussian(sigma, add):
    pair = shuffled_floor(sigma, 1, add=add)
    for epsilon in (0.0, 0.5 / sigma, 2.0 / sigma, 4.0 / sigma):
        low, high = gaussian_delta(sigma**-2, epsilon)
        assert low * (1.0 - 1e-3) < pair.delta(epsilon) <= high


@pytest.mark.parametrize("steps", [1, 3, 1000])
@pytest.mark.parametrize("add", BOTH)
def test_bins_hold_what_they_should(steps, add):
    """Every event of the bins, by its exact masses: at most P less, at least Q more."""
    sigma = 0.6
    pair = shuffled_floor(sigma, steps, add=add)
    top, bottom = (1.0, 2.0) if add else (2.0, 1.0)
    for cut in (0.5, 1.0, 2.0, 3.5):
        p, q = (exact_mass_above(sigma, steps, m, cut) for m in (top, bottom))
        p, q = (1 - p, 1 - q) if add else (p, q)
        # the best event has at least the power of this one, but for the bin that the cut divides
        for epsilon in (0.0, 1.0):
            assert pair.delta(epsilon) > float(p - mpmath.exp(epsilon) * q) * (1.0 - 1e-3) - 1e-4
    assert 1.0 - 1e-8 < pair.p.sum() <= 1.0
    assert 1.0 <= pair.q.sum() < 1.0 + 1e-8


def test_much_more_than_random_allocation():
    """What the others' records add: the same steps, with the others at zero, tell far less."""
    assert shuffled_floor(0.8, 10_000).delta(1.0) > 10.0 * allocation_pair(0.8, 10_000).delta(1.0)


@pytest.mark.parametrize(
    ("steps", "sigma", "simulated", "spread"),
    [(100, 0.3295051, 0.4657, 0.004), (1000, 0.2690398, 0.4723, 0.004)],
)
def test_limits_of_dp_sgd(steps, sigma, simulated, spread):
    """Noise on the bound of arXiv 2601.10237: with the others at zero the total variation is as
    simulated, and above the bound sqrt(2) kappa; with the others at -1 it is far larger."""
    low, high = (f(sigma, steps).delta(0.0) for f in (allocation_floor, allocation_pair))
    assert high - low < 1e-6
    assert low == pytest.approx(simulated, abs=spread)
    bound = 0.5 * (1.0 - 1.0 / math.sqrt(4.0 * math.pi * math.log(steps)))
    assert bound < low < shuffled_floor(sigma, steps).delta(0.0)


@pytest.mark.parametrize("add", BOTH)
def test_order_and_sizes(add):
    pair = shuffled_floor(0.7, 500, add=add)
    assert np.all(np.diff(pair.losses) >= 0.0)
    assert np.all(np.abs(np.log(pair.p / pair.q) - pair.losses) < 1e-12)
    assert pair.p_infinite == 0.0
    assert pair is shuffled_floor(0.7, 500, add=add)


@pytest.mark.parametrize(
    "arguments", [(math.nan, 10), (-1.0, 10), (0.0, 10), (True, 10), (1.0, 0), (1.0, 2.5), ("1", 3)]
)
def test_unsound_input_is_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        shuffled_floor(*arguments)
