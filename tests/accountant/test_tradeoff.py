"""Trade-off curves: below the truth everywhere, and close to it."""

import dp_accounting as dp
import numpy as np
import pytest
from scipy import optimize, stats

from accountant import privacy_loss
from accountant.engine.supporting_lines import Sandwich, Side
from accountant.tradeoff import TradeoffCurve


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


# --- bounds on both sides, and every curve -------------------------------------------------------

KINDS = ("remove", "add", "worst", "envelope")
SPREAD = np.array([1e-9, 1e-5, 0.003, 0.05, 0.2, 0.5, 0.8, 0.99, 0.9999])


def laplace_curve(scale, fpr):
    """The exact curve of Laplace noise of sensitivity 1: a threshold test on x."""
    e = np.exp(1.0 / scale)
    middle = np.exp(-1.0 / scale) / (4.0 * np.maximum(fpr, 1e-300))
    return np.where(fpr * e < 0.5, 1.0 - e * fpr, np.where(fpr <= 0.5, middle, (1.0 - fpr) / e))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mu", [1e-3, 0.3, 1.0, 4.0])
def test_a_gaussian_curve_is_within_its_bracket(kind, mu):
    exact = stats.norm.cdf(-stats.norm.ppf(SPREAD) - mu)
    found = TradeoffCurve(privacy_loss(dp.GaussianDpEvent(1.0 / mu)), kind).fnr_bounds(SPREAD)
    assert np.all(found.lower <= exact + 1e-15)
    assert np.all(exact <= found.upper + 1e-15)
    assert np.all(found.tight)
    assert np.all(found.width <= 2e-5 * (1.0 - SPREAD - exact) + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_a_laplace_curve_with_its_kinks_is_within_its_bracket(kind, scale):
    exact = laplace_curve(scale, SPREAD)
    found = TradeoffCurve(privacy_loss(dp.LaplaceDpEvent(scale)), kind).fnr_bounds(SPREAD)
    assert np.all(found.lower <= exact + 1e-15)
    assert np.all(exact <= found.upper + 1e-15)
    assert np.all(found.tight)


@pytest.mark.parametrize(("q", "sigma"), [(0.3, 0.7), (0.05, 1.0), (0.9, 2.0), (1e-7, 1.0)])
def test_the_curves_of_one_subsampled_release(q, sigma):
    loss = privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))
    remove = one_release(q, sigma, SPREAD)
    found = {kind: TradeoffCurve(loss, kind).fnr_bounds(SPREAD) for kind in KINDS}
    # f's inverse, by its own definition
    add = np.array(
        [optimize.brentq(lambda a, y=y: one_release(q, sigma, a) - y, 0.0, 1.0) for y in SPREAD]
    )
    for kind, exact in (("remove", remove), ("add", add), ("worst", np.minimum(remove, add))):
        # brentq is good to 4e-12
        slack = 1e-15 if kind == "remove" else 1e-11
        assert np.all(found[kind].lower <= exact + slack)
        assert np.all(exact <= found[kind].upper + slack)
        assert np.all(found[kind].tight)
    assert np.all(found["envelope"].lower <= found["worst"].upper)


def test_the_envelope_is_below_the_worst_curve_where_they_cross():
    # near the fixed point of f, between the two curves' tangents, no single test attains it
    loss = privacy_loss(dp.PoissonSampledDpEvent(0.3, dp.GaussianDpEvent(0.7)))
    worst = TradeoffCurve(loss, "worst").fnr_bounds(0.33)
    envelope = TradeoffCurve(loss, "envelope").fnr_bounds(0.33)
    assert envelope.upper < worst.lower - 1e-4
    # the advantage is seen on both
    assert 1.0 - 0.33 - envelope.lower <= loss.advantage() + 1e-12


def test_the_envelope_is_the_convex_hull_of_both_curves():
    loss = privacy_loss(dp.PoissonSampledDpEvent(0.3, dp.GaussianDpEvent(0.7)))
    x = np.linspace(1e-4, 1.0 - 1e-4, 4001)
    curve = one_release(0.3, 0.7, x)
    points = np.concatenate([np.stack([x, curve], 1), np.stack([curve, x], 1)])
    for alpha in (0.05, 0.25, 0.33, 0.42, 0.7):
        # the lowest chord over alpha
        left, right = points[points[:, 0] <= alpha], points[points[:, 0] > alpha]
        lines = linear_hull(left, right, alpha)
        found = TradeoffCurve(loss, "envelope").fnr_bounds(alpha)
        assert found.lower - 1e-15 <= lines
        assert lines <= found.upper + 1e-6


def linear_hull(left, right, alpha):
    share = (alpha - left[:, None, 0]) / (right[None, :, 0] - left[:, None, 0])
    return float((left[:, None, 1] * (1.0 - share) + right[None, :, 1] * share).min())


def test_a_published_bracket_meets_the_bracket():
    curve = TradeoffCurve(poisson(256 / 60000, 1.1, 14_062), "remove")
    for fpr, low, high in ((0.01, 0.959795, 0.959825), (0.3, 0.481353, 0.481601)):
        found = curve.fnr_bounds(fpr)
        assert low <= found.upper
        assert found.lower <= high
        assert found.width < 2e-6


def test_the_inverse_exchanges_the_errors():
    curve = TradeoffCurve(poisson(0.02, 0.9, 200), "remove")
    fpr = np.linspace(0.02, 0.9, 12)
    back = curve.inverse()
    assert back.kind == "add"
    assert back.inverse() == curve
    # f^-1(f(a)) = a, and the bounds keep their sides: f^-1 falls
    assert np.all(back.fnr_bounds(curve.fnr_bounds(fpr).upper).lower <= fpr + 1e-12)
    assert np.all(back.fnr_bounds(curve.fnr_bounds(fpr).lower).upper >= fpr - 1e-12)
    for kind in ("worst", "envelope"):
        assert TradeoffCurve(curve.loss, kind).inverse().kind == kind


def test_only_the_envelope_is_not_attained():
    loss = privacy_loss(dp.GaussianDpEvent(1.0))
    assert [TradeoffCurve(loss, kind).attained for kind in KINDS] == [True, True, True, False]


def test_products_of_curves_are_curves_of_sums():
    # Gaussian curves multiply to the Gaussian curve of the root of the sum of squares
    a, b = (privacy_loss(dp.GaussianDpEvent(s)) for s in (1.0, 0.75))
    found = TradeoffCurve(a + b).fnr_bounds(SPREAD)
    exact = stats.norm.cdf(-stats.norm.ppf(SPREAD) - np.hypot(1.0, 1.0 / 0.75))
    assert np.all((found.lower <= exact + 1e-15) & (exact <= found.upper + 1e-15))


def test_the_ends_of_a_curve():
    for kind in KINDS:
        curve = TradeoffCurve(poisson(0.01, 1.0, 100), kind)
        ends = curve.fnr_bounds(np.array([[0.0, 1.0]]))
        assert ends.lower.shape == (1, 2)
        assert ends.lower.tolist() == [[1.0, 0.0]]
        assert ends.upper.tolist() == [[1.0, 0.0]]
        assert isinstance(curve.fnr(0.5), float)
        nothing = TradeoffCurve(privacy_loss(dp.NoOpDpEvent()), kind)
        np.testing.assert_allclose(nothing.fnr(SPREAD), 1.0 - SPREAD, atol=1e-13)
        everything = TradeoffCurve(privacy_loss(dp.NonPrivateDpEvent()), kind)
        assert everything.fnr_bounds(0.1).upper == 0.0


def test_where_no_contour_is_precise_the_curve_is_still_close():
    # few steps of rare participation: the truth is within 1e-7 of guessing
    loss = poisson(4.139937718785167e-08, 1.0, 2)
    found = float(loss.fnr(0.5))
    assert 0.5 - 2 * 4.2e-8 <= found <= 0.5
    assert found >= 0.5 - loss.advantage() - 1e-12


@pytest.mark.parametrize("wrong", [True, "0.1", None, [0.1, "x"], -0.1, float("nan"), [[0.1], 2]])
def test_curves_refuse_what_is_no_rate(wrong):
    with pytest.raises(ValueError, match=r"fpr must be a number within \[0, 1\]"):
        TradeoffCurve(privacy_loss(dp.GaussianDpEvent(1.0))).fnr_bounds(wrong)


def test_curves_refuse_what_is_no_curve():
    with pytest.raises(ValueError, match="kind must be"):
        TradeoffCurve(privacy_loss(dp.GaussianDpEvent(1.0)), "both")
    with pytest.raises(ValueError, match="of a PrivacyLoss"):
        TradeoffCurve(1.0)


# --- the dual itself, on random pairs of distributions -------------------------------------------


def exact_curve(p, q, alpha):
    """Type II error of the optimal, randomised test of Q against P, by sorting the outcomes."""
    order = np.argsort(-p / q)
    errors = np.concatenate([[0.0], np.cumsum(q[order])])
    power = np.concatenate([[0.0], np.cumsum(p[order])])
    return 1.0 - np.interp(alpha, errors, power)


def discrete_side(p, q, noise, rng):
    def delta(epsilons):
        exact = np.maximum(p[None, :] - np.exp(epsilons)[:, None] * q[None, :], 0.0).sum(axis=1)
        spread = noise * rng.random((2, len(epsilons)))
        return np.maximum(exact - spread[0], 0.0), np.minimum(exact + spread[1], 1.0)

    def epsilon(target):
        grid = np.linspace(0.0, 10.0, 2001)
        return float(grid[np.argmax(delta(grid)[1] <= target)])

    return Side(delta, epsilon, float(np.log(p / q).max()))


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-4])
@pytest.mark.parametrize("seed", range(12))
def test_the_sandwich_holds_the_curve_of_random_pairs(seed, noise):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(2 + seed, 0.7), size=2) + 1e-6
    p, q = p / p.sum(), q / q.sum()
    sandwich = Sandwich(discrete_side(p, q, noise, rng), discrete_side(q, p, noise, rng))
    alpha = np.concatenate([rng.random(20), 10.0 ** rng.uniform(-6, -1, 10)])
    sandwich.refine(alpha, rtol=1e-4)
    exact = exact_curve(p, q, alpha)
    assert np.all(sandwich.lower(alpha) <= exact + 1e-14)
    assert np.all(exact <= sandwich.upper(alpha) + 1e-14)
    if noise < 1e-5:
        gap = sandwich.upper(alpha) - sandwich.lower(alpha)
        assert np.all(gap <= 2e-4 * (1.0 - alpha - exact) + 1e-5)
