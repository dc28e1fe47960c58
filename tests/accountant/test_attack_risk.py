"""Attack risk: bounds on both sides of closed forms and of brute force over all tests."""

import math

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from accountant import privacy_loss
from accountant.risk import attack_risk
from accountant.risk.attack_risk import (
    advantage,
    balanced_accuracy,
    bayes_accuracy,
    bayes_error,
    positive_predictive_value,
    separation,
)

PRIORS = (1e-6, 0.01, 0.3, 0.5, 0.77, 0.999)


def gaussian(mu):
    return privacy_loss(dp.GaussianDpEvent(1.0 / mu))


def subsampled(q=0.3, sigma=0.7):
    return privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))


def subsampled_tests(q=0.3, sigma=0.7):
    """Errors of the threshold tests of one Poisson-sampled release, null: without the record."""
    x = np.linspace(-14.0, 14.0, 200_001)
    fpr = stats.norm.sf(x / sigma)
    fnr = (1.0 - q) * stats.norm.cdf(x / sigma) + q * stats.norm.cdf((x - 1.0) / sigma)
    return fpr, fnr


def holds(bounds, exact, slack=1e-12):
    assert bounds.lower - slack <= exact <= bounds.upper + slack
    assert bounds.upper - bounds.lower <= 1e-5 * max(exact, 1e-3)


@pytest.mark.parametrize("mu", [1e-3, 0.2, 1.0, 5.0])
def test_gaussian_closed_forms(mu):
    loss = gaussian(mu)
    gap = 2.0 * stats.norm.cdf(0.5 * mu) - 1.0
    holds(advantage(loss), gap)
    holds(balanced_accuracy(loss), stats.norm.cdf(0.5 * mu))
    holds(separation(loss), gap / math.sqrt(2.0))
    for fpr in (1e-6, 0.01, 0.4):
        power = stats.norm.cdf(stats.norm.ppf(fpr) + mu)
        for direction in ("add", "remove", None):
            holds(attack_risk.true_positive_rate(loss, fpr, direction), power)
        holds(positive_predictive_value(loss, 0.2, fpr), 0.2 * power / (0.2 * power + 0.8 * fpr))
    for prior in PRIORS:
        # likelihood ratio test at log((1-p)/p)
        odds = math.log((1.0 - prior) / prior)
        miss = stats.norm.cdf(odds / mu - 0.5 * mu)
        false = stats.norm.sf(odds / mu + 0.5 * mu)
        exact = prior * miss + (1.0 - prior) * false
        found = bayes_error(loss, prior)
        assert found.lower - 1e-15 <= exact <= found.upper + 1e-15
        holds(bayes_accuracy(loss, prior), 1.0 - exact)
        assert bayes_accuracy(loss, prior).upper >= max(prior, 1.0 - prior)


@pytest.mark.parametrize("prior", PRIORS)
def test_bayes_risk_by_brute_force_in_both_directions(prior):
    loss = subsampled()
    fpr, fnr = subsampled_tests()
    # the best of all thresholds, and of deciding without looking
    blind = min(prior, 1.0 - prior)
    member = min(float((prior * fnr + (1.0 - prior) * fpr).min()), blind)
    absent = min(float((prior * fpr + (1.0 - prior) * fnr).min()), blind)
    for direction, exact in (("remove", member), ("add", absent)):
        found = bayes_error(loss, prior, direction)
        # the grid of thresholds is above the minimum by a second order
        assert found.lower <= exact + 1e-15
        assert exact <= found.upper + 1e-8
    worst = bayes_error(loss, prior)
    assert worst.lower <= min(member, absent) <= worst.upper + 1e-8
    # exchanging the hypotheses exchanges the priors
    other = bayes_error(loss, 1.0 - prior, "add")
    # up to the rounding of 1 - prior
    assert other.lower <= bayes_error(loss, prior, "remove").upper * (1.0 + 1e-9)
    assert bayes_error(loss, prior, "remove").lower <= other.upper * (1.0 + 1e-9)


def test_advantage_and_separation_by_brute_force():
    fpr, fnr = subsampled_tests()
    holds(advantage(subsampled()), float((1.0 - fpr - fnr).max()), 1e-9)
    # the distance of a point from the line a + b = 1, by projection
    points = np.stack([fpr, fnr], axis=1) - np.array([1.0, 0.0])
    normal = np.array([1.0, 1.0]) / math.sqrt(2.0)
    holds(separation(subsampled()), float(np.abs(points @ normal).max()), 1e-9)


@pytest.mark.parametrize("direction", ["remove", "add"])
@pytest.mark.parametrize("smallest", [1e-4, 0.02, 0.6])
def test_no_test_with_more_false_alarms_accuses_better(direction, smallest):
    fpr, fnr = subsampled_tests()
    if direction == "add":
        fpr, fnr = fnr, fpr
    for prior in (0.01, 0.5):
        found = positive_predictive_value(subsampled(), prior, smallest, direction)
        allowed = fpr >= smallest
        right = prior * (1.0 - fnr[allowed])
        exact = (right / (right + (1.0 - prior) * fpr[allowed])).max()
        assert exact <= found.upper
        assert found.lower <= exact * (1.0 + 1e-3)


def test_accusations_under_pure_dp():
    loss = privacy_loss(dp.LaplaceDpEvent(0.5))
    for prior in (0.0, 0.01, 0.5, 1.0):
        exact = prior * math.exp(2.0) / (prior * math.exp(2.0) + 1.0 - prior)
        holds(positive_predictive_value(loss, prior), exact)
    # unbounded losses accuse with certainty, ever more rarely
    assert positive_predictive_value(gaussian(0.1), 0.01).upper == 1.0


def test_tpr_at_many_rates():
    rates = np.array([[0.0, 0.01], [0.5, 1.0]])
    found = attack_risk.true_positive_rate(subsampled(), rates)
    assert found.lower.shape == found.upper.shape == (2, 2)
    assert np.all(found.lower <= found.upper)
    assert found.upper[1, 1] == 1.0
    assert np.all(found.upper >= rates)
    exact = 1.0 - float(subsampled().fnr(0.01))
    assert found.lower[0, 1] <= exact <= found.upper[0, 1] * (1.0 + 1e-5)


def test_nothing_and_everything():
    nothing = privacy_loss(dp.NoOpDpEvent())
    everything = privacy_loss(dp.NonPrivateDpEvent())
    for prior in PRIORS:
        blind = max(prior, 1.0 - prior)
        assert bayes_accuracy(nothing, prior).upper == pytest.approx(blind, abs=1e-14)
        assert bayes_accuracy(everything, prior).upper == 1.0
        assert bayes_error(everything, prior).upper == 0.0
        assert positive_predictive_value(nothing, prior, 0.1).upper == pytest.approx(prior, 1e-12)
    assert advantage(nothing).upper == 0.0
    assert advantage(everything).lower == 1.0
    for prior in (0.0, 1.0):
        assert bayes_error(gaussian(1.0), prior).upper == 0.0


@pytest.mark.parametrize("wrong", [True, "0.5", None, -0.1, 1.1, float("nan"), [0.5]])
def test_nonsense_is_refused(wrong):
    loss = gaussian(1.0)
    for call in (
        lambda: bayes_error(loss, wrong),
        lambda: bayes_accuracy(loss, wrong),
        lambda: positive_predictive_value(loss, wrong),
        lambda: positive_predictive_value(loss, 0.5, wrong),
    ):
        with pytest.raises(ValueError, match=r"must be a number within \[0, 1\]"):
            call()


def test_an_unknown_direction_is_refused():
    for call in (
        lambda: bayes_error(gaussian(1.0), 0.5, "both"),
        lambda: bayes_error(gaussian(1.0), 0.0, "both"),
        lambda: attack_risk.true_positive_rate(gaussian(1.0), 0.5, "both"),
        lambda: positive_predictive_value(gaussian(1.0), 0.5, 0.0, "both"),
    ):
        with pytest.raises(ValueError, match=r"direction must be|kind must be"):
            call()
