"""Random events over every class that is priced, within domains where a query is quick."""

from __future__ import annotations

import math
from collections.abc import Callable

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import reject
from hypothesis import strategies as st

from accountant import PrivacyLoss, UnsupportedEventError, events, privacy_loss

ADD_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = NeighboringRelation.REPLACE_ONE
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
DIRECTIONS = (None, "add", "remove")

Event = dp_event.DpEvent
Events = st.SearchStrategy[Event]


def log_floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats whose logarithms are spread evenly."""
    return st.floats(math.log(low), math.log(high)).map(lambda x: min(high, max(low, math.exp(x))))


relations = st.sampled_from([ADD_REMOVE, REPLACE, ZERO_OUT])
directions = st.sampled_from(DIRECTIONS)
deltas = log_floats(1e-10, 0.3)
epsilons = log_floats(0.01, 20.0)
rates = log_floats(1e-4, 0.9)
orders = log_floats(1.05, 200.0)
multipliers = log_floats(0.3, 20.0)
probabilities = log_floats(1e-4, 0.5)
counts = st.integers(1, 200)

gaussians = st.builds(dp_event.GaussianDpEvent, multipliers)
laplaces = st.builds(dp_event.LaplaceDpEvent, multipliers)
discrete_laplaces = st.builds(
    dp_event.DiscreteLaplaceDpEvent, log_floats(0.05, 2.0), st.integers(1, 4)
)
discrete_gaussians = st.builds(
    events.DiscreteGaussianDpEvent, log_floats(0.5, 20.0), st.integers(1, 3)
)
exponentials = st.builds(events.ExponentialMechanismDpEvent, log_floats(0.01, 3.0))
black_boxes = st.builds(
    events.ApproximateDpEvent,
    log_floats(0.01, 3.0),
    st.one_of(st.just(0.0), log_floats(1e-12, 1e-6)),
)
zero_concentrated = st.builds(
    dp_event.ZCDpEvent, log_floats(1e-3, 2.0), st.sampled_from([0.0, 0.01])
)


@st.composite
def renyi_points(draw: st.DrawFn) -> Event:
    """Points of the curve of a Gaussian, so that some mechanism has them."""
    at = sorted(draw(st.sets(st.sampled_from([1.5, 2.0, 4.0, 8.0, 32.0, 128.0]), min_size=1)))
    rho = draw(log_floats(1e-3, 2.0))
    return events.RenyiDpEvent(at, [rho * a for a in at])


@st.composite
def gaussian_mixtures(draw: st.DrawFn) -> Event:
    """Two to four sensitivities, none among them at times."""
    chosen = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=2, unique=True))
    weights = [draw(st.integers(1, 100)) for _ in chosen]
    shares = [w / sum(weights) for w in weights]
    return dp_event.MixtureOfGaussiansDpEvent(draw(log_floats(0.7, 20.0)), chosen, shares)


responses = st.builds(dp_event.RandomizedResponseDpEvent, st.floats(0.05, 1.0), st.integers(1, 50))
trees = st.one_of(
    st.builds(dp_event.SingleEpochTreeAggregationDpEvent, multipliers, st.integers(1, 500)),
    st.builds(
        events.TreeAggregationDpEvent,
        multipliers,
        st.integers(1, 200),
        st.integers(1, 3),
        st.integers(20, 60),
    ),
)
sparsified = st.builds(
    events.SparsifiedGaussianDpEvent,
    log_floats(0.5, 20.0),
    st.floats(0.01, 1.0),
    st.floats(0.1, 1.0),
    st.integers(1, 1000),
)
# one release whose pair is known on the line
additive = st.one_of(gaussians, laplaces, discrete_laplaces, discrete_gaussians)
atomic = st.one_of(additive, exponentials, black_boxes)
curves = st.one_of(zero_concentrated, renyi_points(), sparsified)


def unsampled(relation: NeighboringRelation) -> Events:
    """One release of the whole data set."""
    choices = [additive, exponentials, black_boxes, zero_concentrated, renyi_points(), sparsified]
    choices += [gaussian_mixtures()] if relation is not REPLACE else []
    choices += [responses, trees] if relation is not ADD_REMOVE else []
    return st.one_of(*choices)


batches = st.tuples(st.integers(20, 100_000), st.integers(1, 20))


def fixed_size(sampler: Callable[..., Event], inner: Events) -> Events:
    """A batch of at most 20 of 20 to 100,000 records."""
    return st.builds(lambda sizes, event: sampler(*sizes, event), batches, inner)


poisson_samples = st.builds(
    dp_event.PoissonSampledDpEvent,
    probabilities,
    st.one_of(
        atomic,
        zero_concentrated,
        st.lists(gaussians, min_size=2, max_size=3).map(dp_event.ComposedDpEvent),
    ),
)
without_replacement = fixed_size(dp_event.SampledWithoutReplacementDpEvent, additive)
with_replacement = fixed_size(
    dp_event.SampledWithReplacementDpEvent,
    st.one_of(
        st.builds(dp_event.GaussianDpEvent, log_floats(0.7, 20.0)),
        st.builds(dp_event.LaplaceDpEvent, log_floats(0.7, 20.0)),
    ),
)
truncated = st.builds(
    dp_event.TruncatedSubsampledGaussianDpEvent,
    st.integers(50, 10_000),
    log_floats(1e-4, 0.1),
    st.integers(5, 2000),
    log_floats(0.7, 20.0),
)
cyclic = st.builds(
    events.CyclicPoissonSampledDpEvent,
    st.integers(0, 200),
    st.integers(1, 20),
    probabilities,
    st.one_of(gaussians, laplaces),
)
shuffled = st.builds(events.ShuffledDpEvent, st.integers(1, 50), gaussians)
allocated = st.builds(
    events.RandomAllocationDpEvent,
    st.integers(1, 20),
    st.builds(dp_event.GaussianDpEvent, log_floats(0.7, 20.0)),
)
grouped = st.builds(
    events.GroupDpEvent,
    st.integers(1, 4),
    st.one_of(
        additive,
        black_boxes,
        st.builds(dp_event.ZCDpEvent, log_floats(1e-3, 0.5)),
        st.builds(dp_event.PoissonSampledDpEvent, probabilities, st.one_of(gaussians, laplaces)),
    ),
)


def releases(relation: NeighboringRelation) -> Events:
    """One release, sampled or not."""
    samplers = [poisson_samples, without_replacement, truncated, cyclic, grouped]
    if relation is REPLACE:
        samplers.append(with_replacement)
    if relation is not ADD_REMOVE:
        samplers.append(shuffled)
    return st.one_of(unsampled(relation), *samplers)


def nested(relation: NeighboringRelation) -> Events:
    """Compositions of compositions of up to four different releases."""
    return st.recursive(
        releases(relation),
        lambda inner: st.one_of(
            st.builds(dp_event.SelfComposedDpEvent, inner, st.integers(0, 14)),
            st.lists(inner, max_size=2).map(dp_event.ComposedDpEvent),
        ),
        max_leaves=3,
    )


def priced(event: Event, relation: NeighboringRelation) -> PrivacyLoss:
    """The loss of an event; another example where it is refused for want of a theorem."""
    try:
        return privacy_loss(event, relation)
    except UnsupportedEventError:
        reject()


@st.composite
def losses(draw: st.DrawFn, of: Callable[[NeighboringRelation], Events] = nested) -> PrivacyLoss:
    """A loss under any of the three relations."""
    relation = draw(relations)
    return priced(draw(of(relation)), relation)
