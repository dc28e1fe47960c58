"""calibrate ends on the safe side, next to the boundary."""

import dp_accounting as dp
import pytest

from accountant import CalibrationError, calibrate, privacy_loss


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
