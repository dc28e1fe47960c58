"""calibrate ends on the safe side, next to the boundary."""

import math

import dp_accounting as dp
import pytest
from scipy import stats

from accountant import CalibrationError, calibrate, privacy_loss
from accountant.calibration_target import target


def training(sigma, q=0.004, steps=20_000):
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)), steps)


def epsilon(event, delta=1e-6):
    return privacy_loss(event).epsilon(delta)


@pytest.mark.parametrize("target", [0.05, 0.5, 3.0, 20.0])
def test_noise_is_safe_and_nearly_as_small_as_it_can_be(target):
    sigma = calibrate(training, epsilon=target, delta=1e-6)
    assert epsilon(training(sigma)) <= target
    assert epsilon(training(sigma * (1.0 - 3e-6))) > target


def test_a_published_calibration_is_met():
    # dp_accounting's own calibration gives 1.108 here
    assert calibrate(training, epsilon=3.0, delta=1e-6) == pytest.approx(1.108, abs=5e-4)


def test_whole_numbers_are_exact():
    def steps(count):
        return training(1.0, 0.01, count)

    found = calibrate(steps, epsilon=2.0, delta=1e-6, integer=True)
    assert isinstance(found, int)
    assert epsilon(steps(found)) <= 2.0 < epsilon(steps(found + 1))


def test_the_direction_comes_from_the_bracket():
    def batch(q):
        return training(1.0, q, 1000)

    q = calibrate(batch, epsilon=1.0, delta=1e-6, bracket=(1e-6, 1.0))
    assert epsilon(batch(q)) <= 1.0 < epsilon(batch(q * 1.00001))


def test_a_bracket_that_meets_the_target_throughout_gives_its_cheaper_end():
    assert calibrate(training, epsilon=8.0, delta=1e-6, bracket=(2.0, 9.0)) == 2.0


def test_an_unreachable_target_names_the_best():
    with pytest.raises(CalibrationError, match=r"best reachable epsilon there is \d"):
        calibrate(training, epsilon=0.001, delta=1e-6, bracket=(0.5, 2.0))


def test_rtol_is_honoured():
    rough = calibrate(training, epsilon=3.0, delta=1e-6, rtol=1e-2)
    fine = calibrate(training, epsilon=3.0, delta=1e-6, rtol=1e-9)
    assert fine <= rough <= fine * 1.02
    assert epsilon(training(fine)) <= 3.0 < epsilon(training(fine * (1.0 - 3e-9)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"delta": 0.0},
        {"delta": 1.0},
        {"rtol": 0.0},
        {"bracket": (2.0, 1.0)},
        {"bracket": (-1.0, 1.0)},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        calibrate(training, **({"epsilon": 1.0, "delta": 1e-6} | wrong))


# --- to a risk -----------------------------------------------------------------------------------


def gaussian(sigma):
    return dp.GaussianDpEvent(sigma)


CLOSED_FORMS = [
    ({"advantage": 0.1}, 2.0 * stats.norm.ppf(0.55)),
    ({"tpr": 0.02, "fpr": 0.01}, stats.norm.ppf(0.02) - stats.norm.ppf(0.01)),
    ({"bayes_accuracy": 0.6, "prior": 0.5}, 2.0 * stats.norm.ppf(0.6)),
    ({"mu": 0.5, "delta": 1e-6}, 0.5),
]


@pytest.mark.parametrize(("asked", "mu"), CLOSED_FORMS)
def test_a_risk_of_gaussian_noise_has_a_closed_form(asked, mu):
    # mu is bracketed to 1e-5, the other risks to 1e-9
    slack = 3e-5 if "mu" in asked else 3e-6
    assert 1.0 / mu <= calibrate(gaussian, **asked) * (1.0 + 1e-12)
    assert calibrate(gaussian, **asked) <= (1.0 + slack) / mu


@pytest.mark.parametrize(
    "asked",
    [
        {"advantage": 0.1},
        {"tpr": 0.02, "fpr": 0.01},
        {"bayes_accuracy": 0.95, "prior": 0.1},
        {"mu": 0.6, "delta": 1e-5},
    ],
)
def test_a_risk_is_met_and_nearly_not(asked):
    goal = target(**asked)
    sigma = calibrate(training, **asked)
    assert goal.reached(privacy_loss(training(sigma))) <= goal.limit
    less = sigma * (1.0 - (5e-5 if "mu" in asked else 5e-6))
    assert goal.reached(privacy_loss(training(less))) > goal.limit


def test_whole_numbers_of_steps_for_a_risk():
    def steps(count):
        return training(1.0, 0.01, count)

    found = calibrate(steps, tpr=0.02, fpr=0.01, integer=True)
    assert isinstance(found, int)
    rates = [1.0 - privacy_loss(steps(n)).fnr(0.01) for n in (found, found + 1)]
    assert rates[0] <= 0.02 < rates[1]


def test_an_unreachable_risk_names_the_best():
    with pytest.raises(CalibrationError, match=r"advantage 0.001; the best .* there is 0.1"):
        calibrate(training, advantage=0.001, bracket=(0.5, 2.0))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "exactly one target .* got none"),
        ({"fpr": 0.1}, "exactly one target .* got none"),
        ({"epsilon": 1.0, "delta": 1e-5, "advantage": 0.1}, "got epsilon and advantage"),
        ({"epsilon": 1.0}, "epsilon needs delta"),
        ({"tpr": 0.1}, "tpr needs fpr"),
        ({"mu": 1.0}, "mu needs delta"),
        ({"advantage": 0.1, "delta": 1e-5}, "delta does not belong to advantage"),
        ({"tpr": 0.1, "fpr": 0.01, "prior": 0.5}, "prior does not belong to tpr"),
        ({"tpr": 0.01, "fpr": 0.02}, "which guessing reaches"),
        ({"bayes_accuracy": 0.8, "prior": 0.1}, "which guessing reaches"),
        ({"advantage": 0.0}, "must be above 0"),
        ({"advantage": 1.0}, "must be within"),
        ({"advantage": True}, "must be within"),
        ({"advantage": float("nan")}, "must be within"),
        ({"mu": math.inf, "delta": 1e-5}, "must be a finite number"),
        ({"tpr": "high", "fpr": 0.01}, "must be within"),
    ],
)
def test_contradictory_targets_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        calibrate(training, **asked)
