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
from accountant.losses.listed_sums import ListedPair, is_listed, two_point_epoch
from accountant.losses.pair import LaplacePair
from accountant.losses.random_allocation import (
    LARGEST_NOISE,
    MOST_STEPS,
    SMALLEST_NOISE,
    DiscretePair,
    allocation_floor,
    allocation_floor_of,
    allocation_pair,
    allocation_pair_of,
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
LEFT_OUT = "leave the allocation out (an upper bound): one release for each selection"


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
    if found.only_gaussians():
        found = Terms(gaussians=Counter({merged_gaussians(found): 1}))
    total = Terms()
    for copies, size in allocation_reduction(steps, selections):
        total.add(found if size == 1 else _one_place(found, size, event.event), copies)
    if steps > selections > 1:
        total.floor = Terms()
    return total


def _one_place(found: Terms, steps: int, step: dp_event.DpEvent) -> Terms:
    """One epoch of ``steps`` steps of which the record is in one."""
    above = _bounded(found.without_floor(), steps, step)
    if found.floor is not None:
        above.floor = _bounded(found.attained(), steps, step).attained()
    return above


def _bounded(found: Terms, steps: int, step: dp_event.DpEvent) -> Terms:
    """Of exact terms: the pair itself, or one above, in both directions, and two below.

    That all is released in the clear with some probability is no better hidden by the allocation:
    docs/random-allocation.md, section 7.
    """
    hidden = found.without_floor()
    hidden.clear.clear()
    total, floor = Terms(clear=Counter(found.clear)), Terms()
    if not hidden.is_empty:
        one = _one_release(hidden, step)
        if steps > MOST_STEPS:
            raise UnsupportedEventError(
                f"random allocation is supported for at most {MOST_STEPS:,} steps, got {steps}; "
                + LEFT_OUT
            )
        exact = None if isinstance(one, float) else two_point_epoch(one, steps)
        if exact is not None and not total.clear:
            return Terms(pairs=Counter({exact: 1}))
        try:
            total.pairs[_allocation_upper(one, steps)] += 1
            floor.pairs[_allocation_lower(one, steps)] += 1
        except ValueError as error:
            raise UnsupportedEventError(
                f"random allocation of {short(step)} is not supported: {error}"
            ) from error
    total.floor = floor
    return total


def _one_release(found: Terms, step: dp_event.DpEvent) -> float | ListedPair:
    """The noise multiplier or the pair of a step."""
    if found.only_gaussians():
        sigma = merged_gaussians(found)
        if SMALLEST_NOISE <= sigma <= LARGEST_NOISE:
            return sigma
        raise UnsupportedEventError(
            f"random allocation is supported for noise multipliers within [{SMALLEST_NOISE}, "
            f"{LARGEST_NOISE:g}], got {sigma:g}; {LEFT_OUT}"
        )
    if found.count() == 1 and not found.non_private:
        pair = found.only_pair()
        if found.laplaces:
            pair = LaplacePair(next(iter(found.laplaces)))
        if is_listed(pair):
            return pair  # type: ignore[return-value]
    raise UnsupportedEventError(
        "random allocation is supported for Gaussian releases, several from one batch too, and of "
        "one release of Laplace, discrete Laplace or discrete Gaussian noise, of a black box or of "
        f"the exponential mechanism; got {short(step)}; {LEFT_OUT}"
    )


@lru_cache(maxsize=64)
def _allocation_upper(one: float | ListedPair, steps: int) -> Atoms | DirectedPair:
    """One listed pair that dominates in both directions, or one for each."""
    if isinstance(one, float):
        up, down = (allocation_pair(one, steps, LOG_ALLOCATED, add=add) for add in (False, True))
        return Atoms(up.losses, up.p, up.p_infinite, down.p_infinite, 4e-12, 4e-12)
    up, down = (allocation_pair_of(one, steps, LOG_ALLOCATED, add=add) for add in (False, True))
    return DirectedPair(
        Atoms(up.losses, up.p, up.p_infinite, down.p_infinite, 4e-12, 4e-12),
        Atoms(down.losses, down.p, down.p_infinite, up.p_infinite, 4e-12, 4e-12),
    )


@lru_cache(maxsize=64)
def _allocation_lower(one: float | ListedPair, steps: int) -> DirectedPair:
    if isinstance(one, float):
        return _directed(
            *(allocation_floor(one, steps, LOG_ALLOCATED, add=add) for add in (False, True))
        )
    return _directed(
        *(allocation_floor_of(one, steps, LOG_ALLOCATED, add=add) for add in (False, True))
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
