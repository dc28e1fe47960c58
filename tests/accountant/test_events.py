"""Which events are priced, how they compose, and what is refused with which words."""

import math

import dp_accounting as dp
import pytest
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import IncompatibleLossError, UnsupportedEventError, privacy_loss

ADD_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE_ONE = NeighboringRelation.REPLACE_ONE
REPLACE_SPECIAL = NeighboringRelation.REPLACE_SPECIAL
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL


def poisson(q, sigma):
    return dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))


def same(a, b, delta=1e-6):
    """The brackets of two losses overlap, and both are narrow."""
    x, y = a.epsilon_bounds(delta), b.epsilon_bounds(delta)
    assert x.tight
    assert y.tight
    return x.lower <= y.upper and y.lower <= x.upper


@pytest.mark.parametrize("relation", [ADD_REMOVE, ZERO_OUT, REPLACE_ONE])
def test_nothing_released_costs_nothing(relation):
    for event in (
        dp.NoOpDpEvent(),
        dp.ComposedDpEvent([]),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 0),
        dp.PoissonSampledDpEvent(0.0, dp.GaussianDpEvent(1.0)),
        dp.GaussianDpEvent(math.inf),
    ):
        loss = privacy_loss(event, relation)
        assert loss.epsilon(1e-9) == 0.0
        assert loss.delta(0.0) == 0.0
        assert loss.epsilon(0.0) == 0.0
        assert loss.fnr(0.25) == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize(
    "event",
    [
        dp.NonPrivateDpEvent(),
        dp.GaussianDpEvent(0.0),
        dp.LaplaceDpEvent(0.0),
        dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(0.0)),
        dp_event.MixtureOfGaussiansDpEvent(0.0, [0.0, 1.0], [0.5, 0.5]),
        dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), dp.NonPrivateDpEvent()]),
    ],
)
def test_no_noise_is_no_privacy(event):
    loss = privacy_loss(event)
    assert loss.epsilon(1e-5) == math.inf
    assert loss.epsilon(1.0) == 0.0
    assert loss.delta(3.0) == 1.0
    assert loss.advantage() == 1.0
    assert loss.renyi(2.0) == math.inf
    assert loss.fnr(0.1) == 0.0


def test_gaussians_of_one_batch_are_one_gaussian():
    pair = dp.ComposedDpEvent([dp.GaussianDpEvent(1.5), dp.GaussianDpEvent(1.5)])
    together = 500 * privacy_loss(dp.PoissonSampledDpEvent(0.02, pair))
    assert same(together, 500 * privacy_loss(poisson(0.02, 1.5 / math.sqrt(2.0))))
    # not twice the subsampled release: that would be too cheap by far
    apart = 1000 * privacy_loss(poisson(0.02, 1.5))
    assert together.epsilon(1e-6) > apart.epsilon(1e-6)


def test_a_sample_of_a_sample_multiplies_the_probabilities():
    twice = dp.PoissonSampledDpEvent(0.2, dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.1)))
    assert same(300 * privacy_loss(twice), 300 * privacy_loss(poisson(0.02, 1.1)))


def test_sampling_with_certainty_is_no_sampling():
    assert same(privacy_loss(poisson(1.0, 2.0)), privacy_loss(dp.GaussianDpEvent(2.0)))


def test_replace_one_doubles_the_sensitivity_of_a_gaussian():
    replaced = privacy_loss(dp.GaussianDpEvent(3.0), REPLACE_ONE)
    assert same(replaced, privacy_loss(dp.GaussianDpEvent(1.5)))


def test_zero_out_prices_like_add_or_remove():
    event = dp.SelfComposedDpEvent(poisson(0.01, 1.0), 1000)
    assert privacy_loss(event, ZERO_OUT).epsilon(1e-5) == privacy_loss(event).epsilon(1e-5)


def test_a_mixture_with_two_components_is_poisson_sampling():
    mixture = dp_event.MixtureOfGaussiansDpEvent(1.2, [0.0, 1.0], [0.97, 0.03])
    assert same(200 * privacy_loss(mixture), 200 * privacy_loss(poisson(0.03, 1.2)))


def test_a_mixture_merges_equal_sensitivities_and_drops_impossible_ones():
    plain = dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0, 2.0], [0.9, 0.09, 0.01])
    odd = dp_event.MixtureOfGaussiansDpEvent(
        1.0, [2.0, 0.0, 5.0, 1.0, 1.0], [0.01, 0.9, 0.0, 0.04, 0.05]
    )
    assert same(50 * privacy_loss(plain), 50 * privacy_loss(odd))


def test_a_mixture_at_one_sensitivity_is_a_gaussian():
    only = dp_event.MixtureOfGaussiansDpEvent(3.0, [2.0], [1.0])
    assert same(privacy_loss(only), privacy_loss(dp.GaussianDpEvent(1.5)))


def test_equal_events_merge_however_they_are_written():
    a = 10 * privacy_loss(poisson(0.1, 1.0)) + privacy_loss(dp.GaussianDpEvent(5.0))
    nested = dp.ComposedDpEvent(
        [
            dp.GaussianDpEvent(5.0),
            dp.SelfComposedDpEvent(poisson(0.1, 1.0), 4),
            poisson(0.1, 1.0),
            dp.SelfComposedDpEvent(poisson(0.1, 1.0), 5),
        ]
    )
    assert a == privacy_loss(nested)
    assert hash(a) == hash(privacy_loss(nested))


@pytest.mark.parametrize(
    ("event", "relation", "words"),
    [
        (dp_event.UnsupportedDpEvent(), ADD_REMOVE, "UnsupportedDpEvent"),
        (dp_event.RandomizedResponseDpEvent(0.5, 2), ADD_REMOVE, "every record answers"),
        (dp_event.SingleEpochTreeAggregationDpEvent(1.0, 8), ADD_REMOVE, "zero it out"),
        (dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5]), REPLACE_ONE, "Mixture"),
        (
            dp.PoissonSampledDpEvent(0.5, dp_event.RandomizedResponseDpEvent(0.5, 2)),
            REPLACE_SPECIAL,
            "who was in it",
        ),
        (
            dp.SampledWithoutReplacementDpEvent(9, 3, dp_event.ZCDpEvent(1.0)),
            ADD_REMOVE,
            "REPLACE_ONE",
        ),
        (dp.GaussianDpEvent(1e-200), ADD_REMOVE, "1e-200"),
    ],
)
def test_what_is_not_proved_is_refused(event, relation, words):
    with pytest.raises(UnsupportedEventError, match=words):
        privacy_loss(dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), event]), relation)


@pytest.mark.parametrize(
    "event",
    [
        dp.GaussianDpEvent(-1.0),
        dp.GaussianDpEvent(math.nan),
        dp.GaussianDpEvent(True),
        dp.GaussianDpEvent("1"),
        poisson(1.5, 1.0),
        poisson(-0.1, 1.0),
        poisson(math.nan, 1.0),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), -1),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 2.5),
        dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, -1.0], [0.5, 0.5]),
        dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.4]),
        dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [1.0]),
        dp_event.MixtureOfGaussiansDpEvent(1.0, [], []),
    ],
)
def test_parameters_outside_their_domain_are_refused(event):
    with pytest.raises(ValueError, match="must be"):
        privacy_loss(event)


def test_an_event_must_be_an_event():
    with pytest.raises(TypeError, match="DpEvent"):
        privacy_loss(1.0)
    with pytest.raises(ValueError, match="NeighboringRelation"):
        privacy_loss(dp.GaussianDpEvent(1.0), "add")


def test_losses_of_different_relations_do_not_add():
    with pytest.raises(IncompatibleLossError, match="REPLACE_ONE"):
        privacy_loss(dp.GaussianDpEvent(1.0)) + privacy_loss(dp.GaussianDpEvent(1.0), REPLACE_ONE)


@pytest.mark.parametrize("count", [1.5, "2", None])
def test_only_whole_numbers_repeat(count):
    with pytest.raises(TypeError):
        count * privacy_loss(dp.GaussianDpEvent(1.0))


@pytest.mark.parametrize("count", [-1, True])
def test_repetitions_are_counted_from_zero(count):
    with pytest.raises(ValueError, match="whole number"):
        count * privacy_loss(dp.GaussianDpEvent(1.0))
