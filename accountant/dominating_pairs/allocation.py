"""Batches that depend on one another: cyclic, allocated at random, shuffled."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import events
from accountant.dominating_pairs.poisson import merged_gaussians, refuse_sampled
from accountant.dominating_pairs.registry import rule, terms
from accountant.errors import UnsupportedEventError
from accountant.losses.atoms import Atoms
from accountant.losses.compound import DirectedPair
from accountant.losses.random_allocation import (
    DiscretePair,
    allocation_floor,
    allocation_pair,
    allocation_reduction,
)
from accountant.losses.shuffled import shuffled_floor
from accountant.parameters import (
    ONE_RECORD,
    REPLACE,
    ZERO_OUT,
    require,
    short,
    whole_count,
)
from accountant.terms import Terms

# Probability that random allocation may count as a release in the clear.
LOG_ALLOCATED = -75.0


@rule(events.CyclicPoissonSampledDpEvent)
def _cyclic(event: events.CyclicPoissonSampledDpEvent, relation: NeighboringRelation) -> Terms:
    """A record is at risk in ceil(steps/cycle_length) steps at most."""
    steps = whole_count(event.steps, "steps")
    cycle = whole_count(event.cycle_length, "cycle_length", 1)
    step = dp_event.PoissonSampledDpEvent(event.sampling_probability, event.event)
    found = Terms()
    found.add(terms(step, relation), -(-steps // cycle))
    return found


@rule(events.RandomAllocationDpEvent)
def _allocation(event: events.RandomAllocationDpEvent, relation: NeighboringRelation) -> Terms:
    """The mixture over the places of one record against none (docs/random-allocation.md).

    Several places: blocks of steps with one place each, an upper bound (arXiv 2502.08202).
    """
    steps = whole_count(event.steps, "steps", 1)
    selections = whole_count(event.selections, "selections")
    if selections > steps:
        raise ValueError(f"selections must be at most steps={steps}, got {selections}")
    require(
        event,
        relation,
        *ONE_RECORD,
        why="no theorem covers a record that changes at a place that is hidden",
    )
    refuse_sampled(event.event, "random allocation")
    found = terms(event.event, relation)
    if selections == 0 or found.is_empty or found.non_private:
        return found if selections else Terms()
    if not found.only_gaussians():
        raise UnsupportedEventError(
            "random allocation is supported of Gaussian releases, or several from one batch; got "
            + short(event.event)
        )
    sigma = merged_gaussians(found)
    if steps == selections:
        return Terms(gaussians=Counter({sigma: selections}))
    if not 0.1 <= sigma <= 1e4 or steps > 1_000_000:
        raise UnsupportedEventError(
            "random allocation is supported for noise multipliers within [0.1, 1e4] and at most "
            f"1,000,000 steps, got {sigma:g} and {steps}; leave the allocation out (an upper "
            "bound): one Gaussian release for each selection"
        )
    total = Terms()
    for copies, size in allocation_reduction(steps, selections):
        one = Terms(gaussians=Counter({sigma: 1}))
        if size > 1:
            one = Terms(pairs=Counter({_allocation_upper(sigma, size): 1}))
            one.floor = Terms(pairs=Counter({_allocation_lower(sigma, size): 1}))
        total.add(one, copies)
    if selections > 1:
        total.floor = Terms()
    return total


@lru_cache(maxsize=64)
def _allocation_upper(sigma: float, steps: int) -> Atoms:
    """One listed pair that dominates in both directions."""
    up = allocation_pair(sigma, steps, LOG_ALLOCATED)
    down = allocation_pair(sigma, steps, LOG_ALLOCATED, add=True)
    return Atoms(up.losses, up.p, up.p_infinite, down.p_infinite, 4e-12, 4e-12)


@lru_cache(maxsize=64)
def _allocation_lower(sigma: float, steps: int) -> DirectedPair:
    return _directed(
        allocation_floor(sigma, steps, LOG_ALLOCATED),
        allocation_floor(sigma, steps, LOG_ALLOCATED, add=True),
    )


def _directed(remove: DiscretePair, add: DiscretePair) -> DirectedPair:
    """Listed pairs of both directions, as lower bounds of the truth."""
    return DirectedPair(*(Atoms(one.losses, one.p, 0.0, 0.0, 1e-15) for one in (remove, add)))


@rule(events.ShuffledDpEvent)
def _shuffled(event: events.ShuffledDpEvent, relation: NeighboringRelation) -> Terms:
    """Upper: no amplification.  Lower: the adversary of arXiv 2403.17673."""
    steps = whole_count(event.steps, "steps", 1)
    require(
        event,
        relation,
        ZERO_OUT,
        REPLACE,
        why="a record that is added moves the others to other batches; zero it out in its place",
    )
    refuse_sampled(event.event, "shuffling")
    found = terms(event.event, relation)
    if steps == 1 or found.is_empty or found.non_private:
        return found
    upper = found.without_floor()
    upper.floor = Terms()
    if relation is ZERO_OUT and found.only_gaussians():
        sigma = merged_gaussians(found)
        if 0.1 <= sigma <= 1e4 and steps <= 1_000_000:
            floors = (shuffled_floor(sigma, steps, add=add) for add in (False, True))
            upper.floor = Terms(pairs=Counter({_directed(*floors): 1}))
    return upper
