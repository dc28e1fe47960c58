"""dp-accounting's own accountants, as a second opinion to about three digits."""

from functools import cache

import dp_accounting
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import rdp_privacy_accountant

from accountant import Accountant, privacy_loss


def steps(q: float, sigma: float, count: int) -> dp_event.DpEvent:
    return dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)), count
    )


EVENTS = {
    "DP-SGD": steps(0.01, 1.0, 1000),
    "MNIST": steps(256 / 60_000, 1.1, 14_062),
    "few steps": steps(0.2, 1.0, 5),
    "Gaussian": dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(5.0), 10),
    "heterogeneous": dp_event.ComposedDpEvent(
        [steps(0.01, 1.0, 200), steps(0.02, 1.5, 300), dp_event.GaussianDpEvent(6.0)]
    ),
    "Laplace with Gaussian": dp_event.ComposedDpEvent(
        [
            dp_event.SelfComposedDpEvent(dp_event.LaplaceDpEvent(10.0), 3),
            dp_event.GaussianDpEvent(2.0),
        ]
    ),
    "mixture": dp_event.SelfComposedDpEvent(
        dp_event.MixtureOfGaussiansDpEvent(2.0, [0.0, 1.0, 2.0], [0.75, 0.1875, 0.0625]), 50
    ),
    "replace one": dp_event.GaussianDpEvent(4.0),
}
RELATIONS = {"replace one": NeighboringRelation.REPLACE_ONE}


@cache
def second_opinion(name: str) -> pld_privacy_accountant.PLDAccountant:
    other = pld_privacy_accountant.PLDAccountant(relation(name), value_discretization_interval=1e-4)
    other.compose(EVENTS[name])
    return other


def relation(name: str) -> NeighboringRelation:
    return RELATIONS.get(name, NeighboringRelation.ADD_OR_REMOVE_ONE)


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
@pytest.mark.parametrize("name", EVENTS)
def test_epsilon_agrees_with_privacy_loss_distributions(name: str, delta: float) -> None:
    other = second_opinion(name)
    found = privacy_loss(EVENTS[name], relation(name)).epsilon(delta)
    assert found == pytest.approx(other.get_epsilon(delta), rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", EVENTS)
def test_delta_agrees_with_privacy_loss_distributions(name: str, epsilon: float) -> None:
    other = second_opinion(name)
    found = privacy_loss(EVENTS[name], relation(name)).delta(epsilon)
    assert found == pytest.approx(other.get_delta(epsilon), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("name", ["DP-SGD", "MNIST", "Gaussian", "heterogeneous"])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12])
def test_epsilon_is_below_renyi_accounting(name: str, delta: float) -> None:
    other = rdp_privacy_accountant.RdpAccountant()
    other.compose(EVENTS[name])
    assert privacy_loss(EVENTS[name]).epsilon(delta) <= other.get_epsilon(delta)


@pytest.mark.parametrize("alpha", [2.0, 8.0, 33.0])
def test_renyi_agrees(alpha: float) -> None:
    other = rdp_privacy_accountant.RdpAccountant([alpha])
    other.compose(EVENTS["heterogeneous"])
    found = privacy_loss(EVENTS["heterogeneous"]).renyi(alpha)
    # theirs answers for the remove direction alone, by series
    assert found == pytest.approx(float(other._rdp[0]), rel=1e-6)


@pytest.mark.parametrize("name", EVENTS)
def test_the_accountant_is_a_drop_in(name: str) -> None:
    ours = Accountant(neighboring_relation=relation(name))
    assert isinstance(ours, dp_accounting.PrivacyAccountant)
    assert ours.supports(EVENTS[name])
    ours.compose(EVENTS[name])
    loss = privacy_loss(EVENTS[name], relation(name))
    assert ours.get_epsilon(1e-6) == loss.epsilon(1e-6)
    assert ours.get_delta(1.0) == loss.delta(1.0)


def test_their_calibration_runs_on_the_accountant() -> None:
    def make(sigma: float) -> dp_event.DpEvent:
        return steps(0.01, sigma, 500)

    found = dp_accounting.calibrate_dp_mechanism(
        Accountant, make, target_epsilon=2.0, target_delta=1e-6
    )
    assert privacy_loss(make(found)).epsilon(1e-6) <= 2.0
    assert privacy_loss(make(found * 0.999)).epsilon(1e-6) > 2.0
