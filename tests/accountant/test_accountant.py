"""The exact engine behind dp_accounting's interface."""

import math

import dp_accounting as dp
import pytest
from dp_accounting.privacy_accountant import NeighboringRelation, UnsupportedEventError

from accountant import Accountant, privacy_loss


def poisson(q, sigma):
    return dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))


def test_it_is_a_privacy_accountant():
    accountant = Accountant()
    assert isinstance(accountant, dp.PrivacyAccountant)
    assert accountant.neighboring_relation is NeighboringRelation.ADD_OR_REMOVE_ONE
    assert accountant.get_epsilon(1e-5) == 0.0
    assert accountant.get_delta(0.0) == 0.0


def test_composition_and_ledger():
    accountant = Accountant().compose(poisson(0.01, 1.0), 600).compose(poisson(0.01, 1.0), 400)
    assert accountant.get_epsilon(1e-5) == pytest.approx(1.828236666516567, rel=1e-9)
    assert accountant.privacy_loss == 1000 * privacy_loss(poisson(0.01, 1.0))
    assert accountant.ledger == dp.SelfComposedDpEvent(poisson(0.01, 1.0), 1000)


def test_it_says_what_it_supports_without_composing():
    accountant = Accountant(NeighboringRelation.REPLACE_ONE)
    assert accountant.supports(dp.GaussianDpEvent(1.0))
    assert accountant.supports(poisson(0.1, 1.0))
    mixture = dp.dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5])
    assert not accountant.supports(mixture)
    with pytest.raises(UnsupportedEventError, match="REPLACE_ONE"):
        accountant.compose(mixture)
    assert accountant.get_epsilon(1e-5) == 0.0


def test_it_serves_dp_accounting_calibration():
    # that calibration starts at noise 0, and expects infinity there
    assert Accountant().compose(dp.GaussianDpEvent(0.0)).get_epsilon(1e-5) == math.inf
    sigma = dp.calibrate_dp_mechanism(
        Accountant,
        lambda noise: dp.SelfComposedDpEvent(poisson(0.01, noise), 1000),
        target_epsilon=1.0,
        target_delta=1e-5,
    )
    found = Accountant().compose(poisson(0.01, sigma), 1000)
    assert 0.99 < found.get_epsilon(1e-5) <= 1.0
