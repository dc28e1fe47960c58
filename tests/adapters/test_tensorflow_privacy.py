"""TensorFlow Privacy's ledgers, held against its own formula and against the definitions."""

import math
from collections import namedtuple
from fractions import Fraction

import attr
import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountant import Accountant, UnsupportedEventError, privacy_loss
from accountant.adapters.tensorflow_privacy import event_from_ledger, event_from_query

# As privacy_ledger.py of TensorFlow Privacy 0.2 to 0.6 defines them.
SampleEntry = namedtuple("SampleEntry", ["population_size", "selection_probability", "queries"])
GaussianSumQueryEntry = namedtuple("GaussianSumQueryEntry", ["l2_norm_bound", "noise_stddev"])


def step(q, *queries, size=60_000):
    return SampleEntry(size, q, [GaussianSumQueryEntry(*query) for query in queries])


def poisson(q, sigma):
    return dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))


def epsilon(event, delta=1e-5):
    return privacy_loss(event).epsilon(delta)


def test_training_is_one_event():
    event = event_from_ledger(1000 * [step(0.01, (2.0, 2.0))])
    assert isinstance(event, dp.SelfComposedDpEvent)
    assert event.count == 1000
    assert epsilon(event) == pytest.approx(1.828236666516567, rel=1e-9)
    assert Accountant().compose(event).get_epsilon(1e-5) == epsilon(event)


def test_nothing_recorded_costs_nothing():
    for ledger in ([], [step(0.01)], [step(0.0, (1.0, 1.0))], [step(0.1, (0.0, 1.0))]):
        assert epsilon(event_from_ledger(ledger)) == 0.0


@pytest.mark.parametrize("query", [(1.0, 0.0), (math.inf, 1.0), (1e300, 1e-300)])
def test_no_noise_costs_everything(query):
    assert epsilon(event_from_ledger([step(0.1, (1.0, 1.0), query)])) == math.inf


def test_infinite_noise_costs_nothing():
    both = event_from_ledger([step(0.1, (1.0, 1.0), (1.0, math.inf))])
    assert epsilon(both) == epsilon(event_from_ledger([step(0.1, (1.0, 1.0))]))


def test_changes_during_training_are_kept_in_order():
    event = event_from_ledger([step(0.1, (1.0, 1.0))] * 2 + [step(0.2, (1.0, 2.0))])
    assert [part.count if hasattr(part, "count") else 1 for part in event.events] == [2, 1]
    exact = 2 * privacy_loss(poisson(0.1, 1.0)) + privacy_loss(poisson(0.2, 2.0))
    assert epsilon(event) == pytest.approx(exact.epsilon(1e-5), rel=1e-12)


def test_several_queries_of_one_batch_share_its_sampling():
    # by hand: 1/1.2^2 + 1/2.5^2 + 1/10^2, in the units of each query's bound
    together = (1 / 1.44 + 1 / 6.25 + 1 / 100) ** -0.5
    event = event_from_ledger(100 * [step(0.05, (2.0, 2.4), (1.0, 2.5), (0.5, 5.0))])
    assert event.event.event.noise_multiplier == pytest.approx(together, rel=1e-14)
    # an account that sampled each query anew would be too low: the sampling is shared
    anew = sum(
        (100 * privacy_loss(poisson(0.05, s)) for s in (2.5, 10.0)),
        start=100 * privacy_loss(poisson(0.05, 1.2)),
    )
    assert anew.epsilon(1e-5) < epsilon(event)


def test_it_is_what_tensorflow_privacy_computed_but_exact():
    # compute_rdp_from_ledger: the same effective noise, by RDP at its orders
    ledger = 500 * [step(0.02, (1.0, 1.1), (0.5, 4.0))]
    effective = (1.1**-2 + (4.0 / 0.5) ** -2) ** -0.5
    theirs = dp.rdp.RdpAccountant().compose(poisson(0.02, effective), 500).get_epsilon(1e-5)
    assert 0.75 * theirs < epsilon(event_from_ledger(ledger)) < theirs


def test_a_full_batch_is_not_sampled():
    event = event_from_ledger([step(1.0, (1.0, 2.0))])
    assert isinstance(event, dp.GaussianDpEvent)
    assert 2.0 * (1 - 1e-15) < event.noise_multiplier <= 2.0


@given(
    st.lists(
        st.tuples(st.floats(1e-200, 1e200), st.floats(1e-200, 1e200)).filter(
            lambda pair: 1e-300 < pair[1] / pair[0] < 1e300
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_common_noise_is_rounded_towards_less(queries):
    event = event_from_ledger([step(0.1, *queries)])
    found = Fraction(event.event.noise_multiplier)
    exact = sum((Fraction(c) / Fraction(s)) ** 2 for c, s in queries)
    assert found**2 * exact <= 1
    assert found**2 * exact > 1 - Fraction(1, 10**12)


def test_single_precision_is_covered_on_both_sides():
    # what TensorFlow stores of 0.1, 1.1 and 0.7
    q, noise, bound = (np.float32(x) for x in (0.1, 1.1, 0.7))
    event = event_from_ledger([step(q, (bound, noise), size=np.float32(60_000))])
    assert 0.1 <= event.sampling_probability < 0.1 * (1 + 3e-7)
    assert 1.1 / 0.7 * (1 - 5e-7) < event.event.noise_multiplier < 1.1 / 0.7
    full = event_from_ledger([step(np.float32(1.0), (np.float32(1.0), np.float32(1.0)))])
    assert isinstance(full, dp.GaussianDpEvent)
    assert type(full.noise_multiplier) is float


@pytest.mark.parametrize("x", [0.1, 1 / 3, 1e-6, 0.99999999])
def test_the_number_that_was_rounded_is_covered(x):
    event = event_from_ledger([step(np.float32(x), (1.0, np.float32(x)))])
    sampled = isinstance(event, dp.PoissonSampledDpEvent)
    assert (event.sampling_probability if sampled else 1.0) >= x
    assert (event.event if sampled else event).noise_multiplier <= x


MALFORMED = [
    step(-0.1, (1.0, 1.0)),
    step(1.1, (1.0, 1.0)),
    step(math.nan, (1.0, 1.0)),
    step("0.1", (1.0, 1.0)),
    step(True, (1.0, 1.0)),
    step(None, (1.0, 1.0)),
    step(0.1, (-1.0, 1.0)),
    step(0.1, (1.0, -1.0)),
    step(0.1, (math.nan, 1.0)),
    step(0.1, (1.0, math.nan)),
    step(0.1, (math.inf, math.inf)),
    step(0.1, ([1.0, 2.0], 1.0)),
    SampleEntry(10, 0.1, None),
    SampleEntry(10, 0.1, [3.0]),
    (10, 0.1, []),
]


@pytest.mark.parametrize("entry", MALFORMED)
def test_an_entry_that_is_none_is_refused_with_its_place(entry):
    with pytest.raises(ValueError, match="entry 1 of the ledger: "):
        event_from_ledger([step(0.1, (1.0, 1.0)), entry])


class Tensor:
    """What an evaluated tensor of TensorFlow has: an array's interface."""

    def __init__(self, value):
        self.value = np.asarray(value, dtype=np.float32)

    def __array__(self, dtype=None, copy=None):
        return self.value if dtype is None else self.value.astype(dtype)


def test_events_of_queries_get_numbers_for_tensors():
    found = event_from_query(
        dp.ComposedDpEvent(
            [
                dp.GaussianDpEvent(Tensor(1.1)),
                dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(2.0)), 3),
                dp.NoOpDpEvent(),
            ]
        )
    )
    one, three, _ = found.events
    assert 1.1 - 3e-7 < one.noise_multiplier < 1.1
    assert three == dp.SelfComposedDpEvent(poisson(0.1, 2.0), 3)
    assert epsilon(found) > epsilon(one)


# TensorFlow Privacy 0.7 had classes of its own, with dp_accounting's names or its own.
def own(name, *fields):
    return attr.make_class(name, list(fields), frozen=True, slots=True)


Gaussian = own("GaussianDpEvent", "noise_multiplier")
Composed = own("ComposedDpEvent", "events")
SelfComposed = own("SelfComposedDpEvent", "event", "count")
Poisson = own("PoissonSampledDpEvent", "sampling_probability", "event")
FixedWr = own("FixedBatchSampledWrDpEvent", "dataset_size", "batch_size", "event")
FixedWor = own("FixedBatchSampledWorDpEvent", "dataset_size", "batch_size", "event")


def test_events_of_its_early_versions_become_those_of_dp_accounting():
    parts = [
        SelfComposed(Poisson(0.1, Composed([Gaussian(1.0), own("NoOpDpEvent")()])), 5),
        FixedWr(100, 10, Gaussian(2.0)),
        FixedWor(100, 10, Gaussian(3.0)),
        own("NonPrivateDpEvent")(),
    ]
    inner = dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), dp.NoOpDpEvent()])
    assert event_from_query(Composed(parts)) == dp.ComposedDpEvent(
        [
            dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, inner), 5),
            dp.SampledWithReplacementDpEvent(100, 10, dp.GaussianDpEvent(2.0)),
            dp.SampledWithoutReplacementDpEvent(100, 10, dp.GaussianDpEvent(3.0)),
            dp.NonPrivateDpEvent(),
        ]
    )


@pytest.mark.parametrize("name", ["ShuffledDatasetDpEvent", "TreeAggregationDpEvent", "str"])
def test_what_has_no_counterpart_is_refused_by_name(name):
    event = "text" if name == "str" else own(name)()
    with pytest.raises(UnsupportedEventError, match=f"^{name} has no counterpart"):
        event_from_query(event)


def test_an_event_with_an_array_in_it_is_refused():
    with pytest.raises(ValueError, match="noise_multiplier must be one number"):
        event_from_query(dp.GaussianDpEvent(Tensor([1.0, 2.0])))
    for count in (1.5, True, "3"):
        with pytest.raises(ValueError, match="count must be a whole number"):
            event_from_query(dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), count))
