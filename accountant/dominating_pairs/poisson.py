"""Poisson samples, also those that are cut at a largest size."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation
from scipy import stats

from accountant import events
from accountant.dominating_pairs.mechanisms import (
    discrete_gaussian_masses,
    discrete_laplace_masses,
    mixture_terms,
    of_curve,
    sparsified_curve,
)
from accountant.dominating_pairs.registry import rule, terms
from accountant.errors import UnsupportedEventError
from accountant.loss import loss_of_terms
from accountant.losses.atoms import Atoms, atoms_of
from accountant.losses.bounded_range import BoundedRangePair
from accountant.losses.cells import Floats
from accountant.losses.compound import SymmetricPair, UnionPair, facing
from accountant.losses.gaussian import GaussianMixture, poisson_gaussian
from accountant.losses.location import LocationPair, Noise
from accountant.losses.pair import DominatingPair, MixturePair
from accountant.losses.renyi_sampling import (
    PoissonSampled,
    PoissonSampledReplaceOne,
)
from accountant.losses.sparsified import PoissonSampledSparsifiedGaussian, ReplaceOne
from accountant.parameters import (
    ADD_OR_REMOVE,
    REPLACE,
    noise,
    probability,
    whole_count,
)
from accountant.terms import Terms

# Above the relative error of binomial tails; tests measure it.
BINOMIAL_MARGIN = 1e-10


def merged_gaussians(found: Terms) -> float:
    """The noise of several Gaussians that see the same batch: 1/s^2 is the sum of theirs."""
    if sum(found.gaussians.values()) == 1:
        return next(iter(found.gaussians))
    sigma = 1.0 / math.sqrt(math.fsum(n / (s * s) for s, n in found.gaussians.items()))
    # rounded towards less noise
    return sigma * (1.0 - 2.0**-50)


@rule(dp_event.PoissonSampledDpEvent)
def _poisson(event: dp_event.PoissonSampledDpEvent, relation: NeighboringRelation) -> Terms:
    """((1-q) Q + q P, Q) where (P, Q) dominates the release of the sample (docs/pairs.md).

    Sampling a sample multiplies the probabilities.
    """
    q, inner = probability(event.sampling_probability, "sampling_probability"), event.event
    while isinstance(inner, dp_event.PoissonSampledDpEvent):
        q = times(q, probability(inner.sampling_probability, "sampling_probability"))
        inner = inner.event
    if q == 0.0:
        # refuses what no event may hold
        terms(inner, relation)
        return Terms()
    if relation is REPLACE:
        return _poisson_replace_one(inner, q)
    if isinstance(inner, events.SparsifiedGaussianDpEvent) and q < 1.0:
        sampled = _sampled_sparsified(inner, q)
        if sampled.noise_multiplier > 0.0:
            return of_curve(sampled)
    found = terms(inner, relation)
    if q == 1.0 or found.is_empty:
        return found
    if found.non_private:
        return Terms(non_private=True)
    refuse_sampled(inner, "Poisson sampling")
    exact = poisson_of_one(found, q)
    if exact is not None:
        return exact
    # several releases from one sample: the theorem on RDP; at least one of them is seen
    return of_curve(PoissonSampled(loss_of_terms(found, relation), q))


def times(p: float, q: float) -> float:
    """The product of two probabilities, rounded up."""
    product = p * q
    exact = Fraction(p) * Fraction(q)
    return product if Fraction(product) >= exact else math.nextafter(product, 1.0)


def _sampled_sparsified(
    event: events.SparsifiedGaussianDpEvent, q: float
) -> PoissonSampledSparsifiedGaussian:
    c = sparsified_curve(event)
    return PoissonSampledSparsifiedGaussian(
        c.noise_multiplier, c.keep_probability, c.largest_coordinate, c.dimension, q
    )


def poisson_of_one(found: Terms, q: float) -> Terms | None:
    """The sampled release, where what is sampled is one pair."""
    if found.floor is not None:
        above = poisson_of_one(found.without_floor(), q)
        if above is not None:
            above.floor = poisson_of_one(found.floor, q) or Terms()
        return above
    if found.only_gaussians():
        return Terms(mixtures=Counter({poisson_gaussian(merged_gaussians(found), q): 1}))
    if found.clear and found.count() == 2 and sum(found.pairs.values()) == 1:
        return _poisson_of_black_box(found, q)
    if found.count() != 1:
        return None
    if found.mixtures:
        m = next(iter(found.mixtures))
        weights = {0.0: 0.0}
        for c, p in zip(m.sensitivities, m.probabilities, strict=True):
            weights[c] = q * p
        weights[0.0] = 1.0 - math.fsum(w for c, w in weights.items() if c > 0.0)
        return mixture_terms(m.sigma, weights)
    if found.laplaces:
        pair: DominatingPair = shifted_pair("laplace", next(iter(found.laplaces)), 1.0, q)
        return Terms(pairs=Counter({pair: 1}))
    if found.pairs:
        inner = next(iter(found.pairs))
        if isinstance(inner, Atoms):
            return Terms(pairs=Counter({inner.poisson(q): 1}))
        if isinstance(inner, BoundedRangePair):
            return Terms(pairs=Counter({BoundedRangePair(inner.epsilon, inner.q * q): 1}))
    if found.curves:
        return of_curve(PoissonSampled(next(iter(found.curves)), q))
    if found.clear:
        return Terms(clear=Counter({q * next(iter(found.clear)): 1}))
    return None


def _poisson_of_black_box(found: Terms, q: float) -> Terms | None:
    """An (epsilon, delta) mechanism: its clear part and its pair are one pair."""
    joint = _joint(found)
    return Terms(pairs=Counter({joint.poisson(q): 1})) if isinstance(joint, Atoms) else None


def _joint(found: Terms) -> DominatingPair | None:
    """One release as one pair: what may go out in the clear is a part of it."""
    if found.count() == sum(found.pairs.values()) == 1:
        return facing(next(iter(found.pairs)), False)
    if found.clear and found.count() == 2 and sum(found.pairs.values()) == 1:
        inner, delta = next(iter(found.pairs)), next(iter(found.clear))
        if isinstance(inner, Atoms):
            p = inner.p * (1.0 - delta)
            return Atoms(inner.losses, p, delta, delta, inner.error, inner.loss_error)
    return None


def shifted_pair(noise_name: Noise, scale: float, shift: float, q: float) -> LocationPair:
    """(1-q) N(0) + q N(shift) against N(0)."""
    return LocationPair(noise_name, scale, (0.0, shift), (1.0 - q, q), (1.0, 0.0))


def _poisson_replace_one(inner: dp_event.DpEvent, q: float) -> Terms:
    """(1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1), N log-concave noise on the line.

    For vectors too, and in both orders: docs/pairs.md, the three-point lemma.
    """
    found = terms(inner, REPLACE)
    if q == 1.0 or found.is_empty:
        return found
    if found.non_private:
        return Terms(non_private=True)
    refuse_sampled(inner, "Poisson sampling")
    if isinstance(inner, events.SparsifiedGaussianDpEvent):
        return of_curve(ReplaceOne(_sampled_sparsified(inner, q)))
    rows: Terms | list[Floats] | None = None
    if isinstance(inner, dp_event.DiscreteLaplaceDpEvent):
        rows = discrete_laplace_masses(inner)
    elif isinstance(inner, events.DiscreteGaussianDpEvent):
        rows = discrete_gaussian_masses(inner)
    if isinstance(rows, list):
        up, middle, down = rows
        pair: DominatingPair = atoms_of(
            (1.0 - q) * middle + q * up, (1.0 - q) * middle + q * down, 2e-13
        )
        return Terms(pairs=Counter({pair: 1}))
    single = not (found.pairs or found.mixtures or found.curves)
    if single and found.only_gaussians():
        # under replace-one the noise was halved; the shifts are 1 here
        noise_name: Noise = "gaussian"
        scale = 2.0 * merged_gaussians(found)
    elif single and not found.gaussians and sum(found.laplaces.values()) == 1:
        noise_name, scale = "laplace", 2.0 * next(iter(found.laplaces))
    else:
        # of anything else the replace-one loss says nothing of a sample without the record: some
        # such mechanism tells, so that whether it was drawn may as well be seen
        if _joint(found.without_floor()) is not None:
            seen = _seen(found.without_floor(), q)
            seen.floor = None if found.floor is None else _seen(found.floor, q)
            return seen
        return of_curve(PoissonSampledReplaceOne(loss_of_terms(found, REPLACE), q))
    weights = (0.0, 1.0 - q, q)
    pair = LocationPair(noise_name, scale, (-1.0, 0.0, 1.0), weights, weights[::-1])
    return Terms(pairs=Counter({pair: 1}))


def _seen(found: Terms, q: float) -> Terms:
    """One release with probability q, and none else."""
    whole = _joint(found)
    if whole is None:
        return Terms()
    unseen = Atoms(np.array([0.0]), np.array([1.0]))
    return Terms(pairs=Counter({UnionPair((1.0 - q, q), (unseen, whole)): 1}))


def refuse_sampled(inner: dp_event.DpEvent, sampling: str) -> None:
    """Refuse mechanisms of which no theorem on sampling speaks."""
    undefined = {
        dp_event.RandomizedResponseDpEvent: "every record answers for itself, so that a sample "
        "shows who was in it",
        dp_event.SingleEpochTreeAggregationDpEvent: "the leaves of a tree are steps, not samples",
        events.TreeAggregationDpEvent: "the leaves of a tree are steps, not samples",
        dp_event.TruncatedSubsampledGaussianDpEvent: "its contract contains the sampling",
        dp_event.SampledWithoutReplacementDpEvent: "no theorem covers a sample of a sample",
        dp_event.SampledWithReplacementDpEvent: "no theorem covers a sample of a sample",
        events.CyclicPoissonSampledDpEvent: "its contract contains the sampling",
        events.RandomAllocationDpEvent: "its contract contains the sampling",
        events.ShuffledDpEvent: "its contract contains the sampling",
        events.GroupDpEvent: "sample inside the group, not the group inside the sample",
    }
    for part in leaves(inner):
        why = undefined.get(type(part))
        if why is not None:
            raise UnsupportedEventError(
                f"{sampling} of {type(part).__name__} is not supported: {why}; leave the sampling "
                "out where that is an upper bound"
            )


def leaves(event: dp_event.DpEvent) -> list[dp_event.DpEvent]:
    """The releases that a composition is made of."""
    if isinstance(event, dp_event.ComposedDpEvent):
        return [leaf for part in event.events for leaf in leaves(part)]
    if isinstance(
        event,
        (
            dp_event.SelfComposedDpEvent,
            dp_event.RepeatAndSelectDpEvent,
            dp_event.PoissonSampledDpEvent,
        ),
    ):
        return leaves(event.event)
    return [event]


@rule(dp_event.TruncatedSubsampledGaussianDpEvent)
def _truncated(
    event: dp_event.TruncatedSubsampledGaussianDpEvent, relation: NeighboringRelation
) -> Terms:
    """Whether the others fill the batch is seen: a Poisson pair, or that of a fixed-size batch.

    docs/pairs.md derives it, for a data set of ``dataset_size`` records with the one in question;
    it is at most that of arXiv 2508.15089.  Floor: all others are zero.
    """
    size = whole_count(event.dataset_size, "dataset_size")
    q = probability(event.sampling_probability, "sampling_probability")
    cap = whole_count(event.truncated_batch_size, "truncated_batch_size")
    sigma = noise(event.noise_multiplier, "noise_multiplier")
    if q == 0.0 or cap == 0 or size == 0 or math.isinf(sigma):
        return Terms()
    if sigma == 0.0:
        return Terms(non_private=True)
    if cap >= size:
        inner = dp_event.GaussianDpEvent(sigma)
        return terms(dp_event.PoissonSampledDpEvent(q, inner), relation)
    room, full, kept, attained = _truncation(size, q, cap)
    batch: DominatingPair = MixturePair(GaussianMixture(sigma, (0.0, 2.0), (1.0 - kept, kept)))
    if relation is not ADD_OR_REMOVE:
        batch = SymmetricPair(batch)
    replaced = relation is REPLACE
    pair = batch
    if room > 0.0:
        pair = UnionPair((room, full), (_poisson_pair(sigma, q, replaced), batch))
    return Terms(pairs=Counter({pair: 1}), floor=_all_others_zero(sigma, attained, replaced))


def _all_others_zero(sigma: float, q: float, replaced: bool) -> Terms:
    """Poisson sampling of the record with the probability that it is kept."""
    if q <= 0.0:
        return Terms()
    if replaced or q >= 1.0:
        return Terms(pairs=Counter({_poisson_pair(sigma, q, replaced): 1}))
    return Terms(mixtures=Counter({poisson_gaussian(sigma, q): 1}))


def _truncation(size: int, q: float, cap: int) -> tuple[float, float, float, float]:
    """Chances, with a margin that covers the binomial tails' error.

    P[the others leave room], P[they fill the batch] and P[the record is kept | they fill it], each
    rounded up, and P[the record is kept], rounded down.
    """
    low, high = 1.0 - BINOMIAL_MARGIN, 1.0 + BINOMIAL_MARGIN
    # below the normal range tails have no relative accuracy
    full = max(float(stats.binom.sf(cap - 1, size - 1, q)), 1e-290)
    room = max(float(stats.binom.cdf(cap - 1, size - 1, q)), 1e-290) if q < 1.0 else 0.0
    both = float(stats.binom.sf(cap, size, q)) * cap / size
    # q cap/(m + 1), m >= cap, is averaged
    kept = q * cap / (cap + 1) * (1.0 + 2.0**-50)
    if min(full, both) > 1e-280:
        kept = min(kept, both / full * high * high)
    attained = q * room + both if min(room, both) > 1e-280 else max(q * room, both)
    return min(1.0, room * high), min(1.0, full * high), kept, max(0.0, attained * low - 1e-280)


def _poisson_pair(sigma: float, q: float, replaced: bool) -> DominatingPair:
    """Poisson sampling of a Gaussian of unit sensitivity."""
    if replaced:
        return _replace_pair(sigma, q)
    return MixturePair(poisson_gaussian(sigma, q)) if q < 1.0 else _gaussian_pair(sigma, 1.0)


def _replace_pair(sigma: float, q: float) -> DominatingPair:
    """(1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1)."""
    if q >= 1.0:
        return _gaussian_pair(sigma, 2.0)
    weights = (0.0, 1.0 - q, q)
    return LocationPair("gaussian", sigma, (-1.0, 0.0, 1.0), weights, weights[::-1])


def _gaussian_pair(sigma: float, shift: float) -> DominatingPair:
    return MixturePair(GaussianMixture(sigma, (shift,), (1.0,)))
