"""mu-GDP: never below the smallest mu on its region, close to it, and labelled."""

import math

import dp_accounting as dp
import numpy as np
import pytest
from scipy import optimize, stats

from accountant import privacy_loss
from accountant.risk.gaussian_dp import (
    GaussianDP,
    compose_gdp,
    gdp_delta,
    gdp_epsilon,
    gdp_fnr,
    poisson_limit_gdp,
)
from accountant.risk.gaussian_dp_fit import gaussian_dp

T2 = 256 / 60000, 1.1, 14_062


def poisson(q, sigma, steps):
    return steps * privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))


def one_release(q, sigma, fpr):
    x = sigma * stats.norm.isf(fpr)
    return (1.0 - q) * stats.norm.cdf(x / sigma) + q * stats.norm.cdf((x - 1.0) / sigma)


def mu_at(fpr, fnr):
    return -stats.norm.ppf(fnr) - stats.norm.ppf(fpr)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 30.0])
def test_gaussians_have_their_mu_everywhere(sigma):
    loss = 9 * privacy_loss(dp.GaussianDpEvent(sigma))
    mu = 3.0 / sigma
    whole = gaussian_dp(loss)
    assert whole.whole_curve
    assert whole.lower <= mu <= whole.mu
    assert whole.mu - whole.lower < 1e-13 * mu
    for region in ({"fpr": 1e-4}, {"delta": 1e-6}):
        found = gaussian_dp(loss, **region)
        assert found.lower <= mu * (1.0 + 1e-12)
        assert mu * (1.0 - 1e-12) <= found.mu <= mu * (1.0 + 2e-4)


@pytest.mark.parametrize("smallest", [0.2, 0.01, 1e-4])
@pytest.mark.parametrize(("q", "sigma"), [(0.3, 0.7), (0.05, 1.0)])
def test_one_subsampled_release_on_a_region(q, sigma, smallest):
    loss = privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))
    alpha = stats.norm.cdf(np.linspace(*stats.norm.ppf([smallest, 1.0 - smallest]), 4001))
    beta = one_release(q, sigma, alpha)
    # both directions: the inverse curve's points are the exchanged ones, with beta in the region
    low = optimize.brentq(lambda a: one_release(q, sigma, a) - smallest, 1e-300, 1.0)
    high = optimize.brentq(lambda a: one_release(q, sigma, a) - (1.0 - smallest), 1e-300, 1.0)
    inverse = np.linspace(high, low, 4001)
    exact = max(mu_at(alpha, beta).max(), mu_at(inverse, one_release(q, sigma, inverse)).max())
    found = gaussian_dp(loss, fpr=smallest)
    assert found.fpr == (smallest, 1.0 - smallest)
    assert not found.whole_curve
    assert found.lower <= exact * (1.0 + 1e-5)
    assert exact * (1.0 - 1e-12) <= found.mu <= exact * (1.0 + 3e-4)


@pytest.mark.parametrize("smallest", [0.1, 1e-3, 1e-6, 1e-12])
def test_deltas_above_the_smallest_are_below_those_of_mu(smallest):
    loss = poisson(*T2)
    found = gaussian_dp(loss, delta=smallest)
    end = loss.epsilon(smallest)
    grid = np.linspace(0.0, 1.2 * end, 301)
    deltas = loss.delta_bounds(grid)
    allowed = np.array([found.delta(float(e)) for e in grid])
    assert np.all(deltas.lower <= allowed)
    # and a smaller mu would not do: lower is proved
    smaller = np.array([gdp_delta(found.lower * 0.999, float(e)).upper for e in grid])
    inside = deltas.lower >= smallest
    assert np.any(smaller[inside] < deltas.upper[inside])
    assert found.mu - found.lower <= 2e-4 * found.mu
    assert found.epsilon(smallest) >= end * (1.0 - 1e-9)


def test_the_region_decides():
    loss = poisson(*T2)
    mu = [gaussian_dp(loss, fpr=a).mu for a in (0.1, 0.01, 1e-4, 1e-8)]
    assert mu == sorted(mu)
    assert 0.5762 < mu[0] < 0.5763
    # on the whole curve sampling amplifies nothing
    whole = gaussian_dp(loss)
    assert whole.lower <= math.sqrt(14_062) / 1.1 <= whole.mu < 107.81


def test_a_bounded_loss_has_a_whole_curve():
    loss = privacy_loss(dp.LaplaceDpEvent(1.0))
    x = np.linspace(1e-5, 0.5, 200_001)
    fnr = np.where(x * math.e < 0.5, 1.0 - math.e * x, math.exp(-1.0) / (4.0 * x))
    exact = mu_at(x, fnr).max()
    found = gaussian_dp(loss)
    assert found.lower - 1e-9 <= exact <= found.mu
    assert found.mu <= exact * (1.0 + 2e-4)
    # pure epsilon-DP alone would give 2 Phi^-1(e/(1+e))
    assert found.mu < 2.0 * stats.norm.ppf(math.e / (1.0 + math.e))


def test_no_finite_mu_is_refused_or_infinite():
    mixed = privacy_loss(dp.GaussianDpEvent(1.0)) + privacy_loss(dp.LaplaceDpEvent(1.0))
    with pytest.raises(ValueError, match=r"no finite mu is known .* ask for a region"):
        gaussian_dp(mixed)
    assert gaussian_dp(mixed, fpr=0.01).mu < 2.1
    everything = privacy_loss(dp.NonPrivateDpEvent())
    with pytest.raises(ValueError, match="no finite mu"):
        gaussian_dp(everything)
    assert gaussian_dp(everything, fpr=0.1).mu == math.inf
    assert gaussian_dp(everything, delta=0.1).mu == math.inf
    assert gaussian_dp(privacy_loss(dp.NoOpDpEvent())).mu == 0.0


def test_the_limit_theorem_is_an_approximation():
    found = poisson_limit_gdp(*T2)
    assert found.approximation
    assert found.lower is None
    assert not found.whole_curve
    # Opacus' compute_mu_poisson gives the same
    assert found.mu == pytest.approx(
        256 / 60000 * math.sqrt(14_062 * math.expm1(1.0 / 1.21)), rel=1e-12
    )
    # it is below what is proved on every region, so it is no bound
    assert found.mu < gaussian_dp(poisson(*T2), fpr=0.1).lower
    for query in (found.delta, found.epsilon):
        with pytest.raises(ValueError, match="limit theorem"):
            query(0.5)
    assert poisson_limit_gdp(0.0, 1.0, 5).mu == 0.0
    assert poisson_limit_gdp(0.5, 0.01, 5).mu == math.inf


def test_a_region_of_rates_gives_no_epsilon():
    found = GaussianDP(1.0, 0.9, fpr=(0.01, 0.99))
    with pytest.raises(ValueError, match="from which no"):
        found.epsilon(1e-5)
    with pytest.raises(ValueError, match="says nothing"):
        GaussianDP(1.0, 0.9, smallest_delta=1e-3).epsilon(1e-5)
    assert GaussianDP(1.0, 1.0).epsilon(1e-5) == gdp_epsilon(1.0, 1e-5).upper


@pytest.mark.parametrize("mu", [1e-9, 0.1, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("delta", [0.3, 1e-5, 1e-30])
def test_conversions_hold_the_closed_form(mu, delta):
    import mpmath

    with mpmath.workdps(60):
        bounds = gdp_epsilon(mu, delta)

        def exact(e):
            e, m = mpmath.mpf(e), mpmath.mpf(mu)
            second = mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)
            return mpmath.ncdf(-e / m + m / 2) - second

        assert exact(bounds.upper) <= delta
        assert bounds.lower == 0.0 or exact(bounds.lower) >= delta
        assert bounds.upper - bounds.lower <= (1e-9 if mu > 0.01 else 1e-3) * bounds.upper
        for epsilon in (0.0, 0.3, 3.0):
            found = gdp_delta(mu, epsilon)
            assert found.lower <= exact(epsilon) <= found.upper
        for fpr in (1e-12, 0.01, 0.5, 0.999):
            z = -mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(fpr) - 1)
            curve = mpmath.ncdf(z - mu)
            found = gdp_fnr(mu, fpr)
            assert found.lower <= curve <= found.upper
            assert found.width <= 1e-9 * curve + 1e-300


def test_mus_compose_like_lengths():
    assert 5.0 <= compose_gdp(3.0, 4.0) < 5.0 + 1e-13
    assert compose_gdp() == 0.0
    assert compose_gdp(2.5) == 2.5
    assert compose_gdp(1e-200, 1e-200) == pytest.approx(math.sqrt(2.0) * 1e-200)
    assert compose_gdp(1.0, math.inf) == math.inf


def test_nonsense_is_refused():
    loss = privacy_loss(dp.GaussianDpEvent(1.0))
    for region in ({"fpr": 0.5}, {"fpr": 0.0}, {"fpr": True}, {"fpr": "x"}, {"delta": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            gaussian_dp(loss, **region)
    with pytest.raises(ValueError, match="one region"):
        gaussian_dp(loss, fpr=0.1, delta=0.1)
    for call in (
        lambda: gdp_delta(-1.0, 1.0),
        lambda: gdp_delta(1.0, float("nan")),
        lambda: gdp_epsilon(True, 0.1),
        lambda: gdp_fnr(1.0, 1.5),
        lambda: compose_gdp(1.0, -2.0),
        lambda: poisson_limit_gdp(1.5, 1.0, 1),
        lambda: poisson_limit_gdp(0.5, 0.0, 1),
        lambda: poisson_limit_gdp(0.5, 1.0, 1.5),
        lambda: poisson_limit_gdp(0.5, 1.0, True),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()


def test_the_inverse_normal_is_as_accurate_as_assumed():
    import mpmath

    rng = np.random.default_rng(7)
    tails = 10.0 ** rng.uniform(-250, -0.31, 300)
    from scipy import special

    with mpmath.workdps(40):
        for x, p in zip(special.ndtri(tails), tails, strict=True):
            # one Newton step from the double is exact to its square
            density = mpmath.npdf(mpmath.mpf(float(x)))
            exact = mpmath.mpf(float(x)) - (mpmath.ncdf(float(x)) - mpmath.mpf(float(p))) / density
            assert abs(exact - float(x)) <= 64 * 2.0**-52 * abs(exact)
