"""Groups in batches of fixed size, against all batches of a small data set."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting import dp_event
from scipy import integrate, stats

from accountant import UnsupportedEventError, privacy_loss
from accountant.events import GroupDpEvent
from accountant.parameters import hypergeometric_weights


def densities(vectors, group, batch, sigma):
    """The density of a batch's noisy sum with the group's records, and without them."""
    rest = [v for i, v in enumerate(vectors) if i not in group]

    def mixture(records):
        sums = [sum(chosen) for chosen in itertools.combinations(records, batch)]
        return lambda x: np.mean([stats.norm.pdf(x, s, sigma) for s in sums])

    return mixture(vectors), mixture(rest)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.5])
@pytest.mark.parametrize(
    ("vectors", "attained"),
    [((1.0, 1.0, -1.0, -1.0, -1.0, -1.0), True), ((0.3, -1.0, 0.5, 1.0, -0.7, 0.1), False)],
)
def test_no_small_data_set_does_worse_and_one_does_as_badly(vectors, attained, epsilon):
    sigma, batch, group = 1.3, 3, (0, 1)
    event = GroupDpEvent(
        2, dp_event.SampledWithoutReplacementDpEvent(6, batch, dp_event.GaussianDpEvent(sigma))
    )
    loss = privacy_loss(event)
    with_group, without = densities(vectors, group, batch, sigma)
    for direction, (p, q) in {
        "remove": (with_group, without),
        "add": (without, with_group),
    }.items():
        true, _ = integrate.quad(
            lambda x, p=p, q=q: max(0.0, p(x) - math.exp(epsilon) * q(x)), -15.0, 15.0, limit=400
        )
        bounds = loss.delta_bounds(epsilon, direction)
        assert true <= bounds.upper + 1e-7
        if attained:
            assert true == pytest.approx(bounds.lower, abs=1e-6)


def test_the_weights_are_hypergeometric_and_large_enough():
    weights = hypergeometric_weights(60_000, 5, 256)
    exact = stats.hypergeom(60_000, 5, 256).pmf(range(6))
    assert np.allclose(weights, exact, rtol=1e-9)
    assert sum(weights) == pytest.approx(1.0, abs=1e-15)


def test_one_record_is_the_batch_itself_and_too_few_others_are_refused():
    batch = dp_event.SampledWithoutReplacementDpEvent(1000, 10, dp_event.GaussianDpEvent(1.0))
    assert privacy_loss(GroupDpEvent(1, batch)) == privacy_loss(batch)
    crowded = dp_event.SampledWithoutReplacementDpEvent(10, 9, dp_event.GaussianDpEvent(1.0))
    with pytest.raises(UnsupportedEventError, match="other records"):
        privacy_loss(GroupDpEvent(3, crowded))
