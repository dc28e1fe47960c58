"""The limits of shuffled DP-SGD: proved, below the truth, and the published figures."""

import math

import numpy as np
import pytest

from accountant.risk.sgd_limits import least_noise, separation_at_least, shuffled_limit


def monte_carlo(sigma, updates, samples, seed=0):
    """Separation of one shuffled epoch, and its standard error, from its likelihood ratio."""
    rng = np.random.default_rng(seed)
    x = sigma * rng.standard_normal((samples, updates))
    x[:, 0] += 1.0
    loss = np.logaddexp.reduce((2.0 * x - 1.0) / (2.0 * sigma**2), axis=1) - math.log(updates)
    gain = np.maximum(0.0, -np.expm1(-loss)) / math.sqrt(2.0)
    return gain.mean(), gain.std() / math.sqrt(samples)


@pytest.mark.parametrize(
    ("updates", "published", "simulated"),
    [(100, 0.3070776, 0.329), (1000, 0.315606, 0.334), (10_000, 0.32069, 0.338)],
)
def test_the_published_figures(updates, published, simulated):
    limit = shuffled_limit(updates)
    assert limit.noise == pytest.approx(1.0 / math.sqrt(2.0 * math.log(updates)), rel=1e-14)
    assert limit.separation == pytest.approx(published, abs=1e-6)
    sharper = separation_at_least(limit.noise, updates)
    assert limit.separation <= sharper <= simulated


@pytest.mark.parametrize("updates", [2, 3, 4, 5, 6, 7, 10, 30, 100, 10**4, 10**6, 10**12])
def test_the_theorem_follows_from_the_largest_coordinate(updates):
    limit = shuffled_limit(updates)
    for share in (1.0, 0.9, 0.5, 0.1):
        assert separation_at_least(share * limit.noise, updates) >= limit.separation


@pytest.mark.parametrize(("updates", "sigma"), [(2, 1.0), (10, 1.0), (100, 0.33), (100, 1.0)])
def test_the_bound_is_below_the_truth(updates, sigma):
    mean, error = monte_carlo(sigma, updates, 20_000)
    assert separation_at_least(sigma, updates) <= mean + 5.0 * error
    # and not far below where little noise leaves the largest coordinate in sight
    assert separation_at_least(0.25, updates) >= 0.95 * monte_carlo(0.25, updates, 4000)[0]


def test_two_updates_by_quadrature():
    from scipy import integrate

    def gain(y, x):
        q = math.exp(-(x * x + y * y) / 2.0) / (2.0 * math.pi)
        p = 0.5 * (
            math.exp(-((x - 1.0) ** 2 + y * y) / 2.0) + math.exp(-(x * x + (y - 1.0) ** 2) / 2.0)
        )
        return max(0.0, p / (2.0 * math.pi) - q)

    exact = integrate.dblquad(gain, -7.0, 8.0, -7.0, 8.0, epsabs=1e-4)[0] / math.sqrt(2.0)
    assert 0.9 * exact <= separation_at_least(1.0, 2) <= exact + 1e-4


@pytest.mark.parametrize("updates", [2, 100, 10**6])
def test_least_noise_is_where_the_bound_crosses(updates):
    for target in (0.01, 0.0707, 0.3, 0.6):
        sigma = least_noise(target, updates)
        assert separation_at_least(sigma, updates) > target
        assert separation_at_least(sigma * 1.0001, updates) <= target * 1.001


def test_no_noise_is_no_privacy():
    assert separation_at_least(0.0, 10) == pytest.approx(math.sqrt(0.5), rel=1e-14)
    assert separation_at_least(1e9, 10) >= 0.0


def test_other_samplers_and_nonsense_are_refused():
    for call in (
        lambda: shuffled_limit(100, "poisson"),
        lambda: separation_at_least(1.0, 100, "poisson"),
        lambda: least_noise(0.1, 100, "fixed_size"),
    ):
        with pytest.raises(ValueError, match="up to constants only"):
            call()
    for call in (
        lambda: shuffled_limit(1),
        lambda: shuffled_limit(2.5),
        lambda: shuffled_limit(True),
        lambda: separation_at_least(-1.0, 10),
        lambda: separation_at_least(float("nan"), 10),
        lambda: least_noise(0.0, 10),
        lambda: least_noise(0.8, 10),
        lambda: least_noise("x", 10),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()
