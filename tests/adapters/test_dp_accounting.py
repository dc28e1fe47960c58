"""The exact engine under dp_accounting's own calibration."""

import copy
import functools
import pickle

import dp_accounting as dp
import pytest
from dp_accounting.mechanism_calibration import ExplicitBracketInterval, LowerEndpointAndGuess
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import Accountant, calibrate

TARGET = {"target_epsilon": 1.0, "target_delta": 1e-5}


def training(noise, steps=1000):
    step = dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(noise))
    return dp.SelfComposedDpEvent(step, steps)


@pytest.mark.parametrize(
    "bracket",
    [None, LowerEndpointAndGuess(0.0, 1.0), ExplicitBracketInterval(0.1, 10.0)],
    ids=["default", "guess", "explicit"],
)
def test_its_calibration_finds_what_ours_finds(bracket):
    found = dp.calibrate_dp_mechanism(
        Accountant, training, **TARGET, bracket_interval=bracket, tol=1e-9
    )
    ours = calibrate(training, epsilon=1.0, delta=1e-5, rtol=1e-9)
    assert found == pytest.approx(ours, rel=1e-7)
    assert Accountant().compose(training(found)).get_epsilon(1e-5) <= 1.0


def test_its_calibration_is_below_that_with_its_own_accountants():
    found = dp.calibrate_dp_mechanism(Accountant, training, **TARGET)
    assert found < dp.calibrate_dp_mechanism(dp.rdp.RdpAccountant, training, **TARGET)


def test_it_calibrates_whole_numbers():
    steps = dp.calibrate_dp_mechanism(
        Accountant,
        lambda steps: training(1.3, steps),
        **TARGET,
        bracket_interval=LowerEndpointAndGuess(1, 100),
        discrete=True,
    )
    found = [Accountant().compose(training(1.3, steps + more)).get_epsilon(1e-5) for more in (0, 1)]
    assert found[0] <= 1.0 < found[1]


def test_it_calibrates_under_another_relation():
    make = functools.partial(Accountant, NeighboringRelation.REPLACE_ONE)
    one = dp.calibrate_dp_mechanism(Accountant, dp.GaussianDpEvent, **TARGET, tol=1e-9)
    two = dp.calibrate_dp_mechanism(make, dp.GaussianDpEvent, **TARGET, tol=1e-9)
    assert two == pytest.approx(2.0 * one, rel=1e-7)


def test_copies_go_their_own_way():
    first = Accountant().compose(training(1.0))
    spent = first.get_epsilon(1e-5)
    for copied in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert copied.get_epsilon(1e-5) == spent
        copied.compose(training(1.0))
        assert copied.get_epsilon(1e-5) > spent
    assert first.get_epsilon(1e-5) == spent


@pytest.mark.parametrize("count", [-1, 1.5, True, "2", None])
def test_a_count_that_is_none_is_refused(count):
    accountant = Accountant()
    with pytest.raises(ValueError, match="count must be a whole number >= 0"):
        accountant.compose(training(1.0), count)
    assert accountant.get_epsilon(1e-5) == 0.0
