"""Trade-off curves: below the truth everywhere, and close to it."""

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from accountant import privacy_loss


def poisson(q, sigma, steps):
    return steps * privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))


def one_release(q, sigma, fpr):
    """The exact curve of one Poisson-sampled Gaussian: a threshold test on x."""
    x = sigma * stats.norm.isf(fpr)
    return (1.0 - q) * stats.norm.cdf(x / sigma) + q * stats.norm.cdf((x - 1.0) / sigma)


FPR = np.concatenate([np.logspace(-9, -2, 40), np.linspace(0.01, 0.99, 99)])


@pytest.mark.parametrize("mu", [0.01, 0.5, 1.0, 3.0])
def test_gaussians_have_a_closed_form(mu):
    exact = stats.norm.cdf(stats.norm.isf(FPR) - mu)
    found = privacy_loss(dp.GaussianDpEvent(1.0 / mu)).fnr(FPR)
    assert np.all(found <= exact + 1e-15)
    np.testing.assert_allclose(found, exact, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(("q", "sigma"), [(0.3, 0.7), (0.05, 1.0), (0.9, 2.0)])
def test_one_subsampled_release_has_a_closed_form(q, sigma):
    loss = privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))
    exact = one_release(q, sigma, FPR)
    found = loss.fnr(FPR, "remove")
    assert np.all(found <= exact + 1e-15)
    np.testing.assert_allclose(found, exact, atol=2e-7)


def test_a_published_bracket_contains_the_curve():
    # independent two-sided discretisations give these for T2 (256/60000, 1.1, 14,062 steps)
    loss = poisson(256 / 60000, 1.1, 14_062)
    assert 0.959790 <= loss.fnr(0.01) <= 0.959825
    assert 0.4813535 <= loss.fnr(0.3) <= 0.4816005


def test_the_curve_is_decreasing_convex_and_below_guessing():
    grid = np.linspace(0.0, 1.0, 501)
    for direction in ("add", "remove"):
        curve = poisson(0.01, 1.0, 1000).fnr(grid, direction)
        assert curve[0] == pytest.approx(1.0)
        assert curve[-1] == 0.0
        assert np.all(np.diff(curve) <= 1e-15)
        assert np.all(np.diff(curve, 2) >= -1e-8)
        assert np.all(curve <= 1.0 - grid)


def test_the_directions_are_inverse_to_each_other():
    loss = poisson(0.02, 0.9, 200)
    fpr = np.linspace(0.02, 0.9, 45)
    back = loss.fnr(loss.fnr(fpr, "remove"), "add")
    np.testing.assert_allclose(back, fpr, atol=1e-7)


def test_the_largest_gap_to_guessing_is_the_advantage():
    loss = poisson(0.01, 1.0, 1000)
    grid = np.linspace(0.2, 0.6, 2001)
    gap = 1.0 - grid - loss.fnr(grid, "remove")
    assert gap.max() == pytest.approx(loss.advantage(), abs=1e-7)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, float("nan")])
def test_rates_are_rates(fpr):
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        privacy_loss(dp.GaussianDpEvent(1.0)).fnr(fpr)
