"""Groups of records that enter or leave together."""

from __future__ import annotations

import math
from collections import Counter

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import events
from accountant.dominating_pairs.mechanisms import (
    gaussian_terms,
    mixture_terms,
)
from accountant.dominating_pairs.poisson import merged_gaussians, refuse_sampled, times
from accountant.dominating_pairs.registry import rule, terms
from accountant.errors import UnsupportedEventError
from accountant.losses.location import LocationPair
from accountant.parameters import (
    ADD_OR_REMOVE,
    REPLACE,
    binomial_weights,
    divided_down,
    event_list,
    hypergeometric_weights,
    noise,
    nonnegative,
    probability,
    short,
    whole_count,
)
from accountant.terms import Terms


@rule(events.GroupDpEvent)
def _group(event: events.GroupDpEvent, relation: NeighboringRelation) -> Terms:
    """The event of a group: larger sensitivities, or binomial weights under Poisson sampling."""
    k = whole_count(event.group_size, "group_size", 1)
    return terms(event.event, relation) if k == 1 else _of_group(event.event, k, relation)


def _of_group(event: dp_event.DpEvent, k: int, relation: NeighboringRelation) -> Terms:
    found = Terms()
    match event:
        case dp_event.ComposedDpEvent():
            for part in event_list(event.events, "events"):
                found.add(_of_group(part, k, relation))
        case dp_event.SelfComposedDpEvent():
            count = whole_count(event.count, "count")
            found.add(_of_group(event.event, k, relation), count)
        case dp_event.NoOpDpEvent() | dp_event.NonPrivateDpEvent():
            found = terms(event, relation)
        case dp_event.GaussianDpEvent():
            sigma = noise(event.noise_multiplier, "noise_multiplier")
            found = gaussian_terms(divided_down(sigma, k), relation)
        case dp_event.LaplaceDpEvent():
            scale = noise(event.noise_multiplier, "noise_multiplier")
            found = terms(dp_event.LaplaceDpEvent(divided_down(scale, k)), relation)
        case dp_event.DiscreteLaplaceDpEvent():
            c = whole_count(event.sensitivity, "sensitivity")
            found = terms(dp_event.DiscreteLaplaceDpEvent(event.noise_parameter, k * c), relation)
        case events.DiscreteGaussianDpEvent():
            c = whole_count(event.sensitivity, "sensitivity")
            larger = events.DiscreteGaussianDpEvent(event.standard_deviation, k * c)
            found = terms(larger, relation)
        case dp_event.ZCDpEvent() if nonnegative(event.xi, "xi") == 0.0:
            # (Bun, Steinke 2016, Proposition 1.9)
            rho = nonnegative(event.rho, "rho") * k * k
            found = terms(dp_event.ZCDpEvent(rho * (1.0 + 2.0**-51)), relation)
        case events.ApproximateDpEvent():
            found = _approximate_group(event, k, relation)
        case dp_event.PoissonSampledDpEvent():
            found = _poisson_group(event, k, relation)
        case dp_event.SampledWithoutReplacementDpEvent() if relation is ADD_OR_REMOVE:
            found = _fixed_size_group(event, k)
        case _:
            # refuses what no event may hold
            terms(event, relation)
            raise UnsupportedEventError(
                f"no proven loss of {type(event).__name__} for a group of {k} records that enter "
                "or leave together; use group_size=1, or the guarantee that the mechanism has for "
                "a group as ApproximateDpEvent"
            )
    return found


def _approximate_group(
    event: events.ApproximateDpEvent, k: int, relation: NeighboringRelation
) -> Terms:
    """(k epsilon, delta (e^(k epsilon) - 1)/(e^epsilon - 1)) (Vadhan 2017, Lemma 2.2)."""
    epsilon, delta = nonnegative(event.epsilon, "epsilon"), probability(event.delta, "delta")
    if delta == 1.0 or k * epsilon > 700.0:
        return Terms(non_private=True)
    grown = delta * k
    if epsilon > 0.0:
        grown = delta * math.expm1(k * epsilon) / math.expm1(epsilon)
    grown = min(1.0, grown * (1.0 + 2.0**-48 * k)) if delta > 0.0 else 0.0
    larger = k * epsilon * (1.0 + 2.0**-51)
    found = terms(events.ApproximateDpEvent(larger, grown), relation)
    if delta > 0.0:
        found.floor = terms(event, relation)
    return found


def _poisson_group(
    event: dp_event.PoissonSampledDpEvent, k: int, relation: NeighboringRelation
) -> Terms:
    """Binomial(k, q) members in the sample: a mixture of Gaussians (arXiv 2401.10294)."""
    q = probability(event.sampling_probability, "sampling_probability")
    inner = event.event
    while isinstance(inner, dp_event.PoissonSampledDpEvent):
        q = times(q, probability(inner.sampling_probability, "sampling_probability"))
        inner = inner.event
    if q in (0.0, 1.0):
        return Terms() if q == 0.0 else _of_group(inner, k, relation)
    if relation is REPLACE:
        raise UnsupportedEventError(
            f"Poisson sampling for a group of {k} records has no proven loss under REPLACE_ONE; "
            "use ADD_OR_REMOVE_ONE or REPLACE_SPECIAL"
        )
    if k > 1000:
        raise UnsupportedEventError(f"group_size must be at most 1000 under sampling, got {k}")
    refuse_sampled(inner, "Poisson sampling")
    found = terms(inner, relation)
    if found.is_empty or found.non_private:
        return found
    if found.only_gaussians():
        weights = dict(enumerate(binomial_weights(k, q)))
        sensitivities = {float(c): p for c, p in weights.items() if p > 0.0}
        return mixture_terms(merged_gaussians(found), sensitivities)
    if sum(found.laplaces.values()) == 1 and not (found.gaussians or found.pairs or found.curves):
        p = binomial_weights(k, q)
        shifts = tuple(map(float, range(k + 1)))
        plain = (1.0, *(0.0 for _ in range(k)))
        pair = LocationPair("laplace", next(iter(found.laplaces)), shifts, p, plain)
        return Terms(pairs=Counter({pair: 1}))
    raise UnsupportedEventError(
        f"Poisson sampling for a group of {k} records is supported for Gaussian "
        f"releases, or one Laplace release; got {short(inner)}"
    )


def _fixed_size_group(event: dp_event.SampledWithoutReplacementDpEvent, k: int) -> Terms:
    """A batch of b holds x members with a hypergeometric chance; x other records make room.

    Given the batch of the others, the sum moves by a vector of norm at most 2x (docs/pairs.md).
    The data set with the group has ``source_dataset_size`` records.
    """
    size = whole_count(event.source_dataset_size, "source_dataset_size", 1)
    batch = whole_count(event.sample_size, "sample_size")
    if batch > size or k > min(size, 1000):
        raise ValueError(
            "sample_size and the group's size must be at most source_dataset_size (the group at "
            f"most 1000), got {batch} and {k} of {size}"
        )
    refuse_sampled(event.event, "sampling without replacement")
    found = terms(event.event, ADD_OR_REMOVE)
    if found.is_empty or found.non_private or batch == 0:
        return Terms() if batch == 0 else found
    if not found.only_gaussians():
        raise UnsupportedEventError(
            f"batches of fixed size for a group of {k} records are supported for Gaussian "
            f"releases; got {short(event.event)}"
        )
    if batch > size - k:
        # too few others for a batch: no pair of batches to compare
        raise UnsupportedEventError(
            f"a batch of {batch} without the group needs as many other records; got {size - k}"
        )
    weights = enumerate(hypergeometric_weights(size, k, batch))
    return mixture_terms(merged_gaussians(found), {2.0 * x: p for x, p in weights if p > 0.0})
