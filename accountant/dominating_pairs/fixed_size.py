"""Batches of fixed size, drawn without or with replacement."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import events
from accountant.dominating_pairs.mechanisms import (
    mixture_terms,
    of_curve,
)
from accountant.dominating_pairs.poisson import (
    leaves,
    merged_gaussians,
    poisson_of_one,
    refuse_sampled,
    shifted_pair,
)
from accountant.dominating_pairs.registry import rule, terms
from accountant.errors import UnsupportedEventError
from accountant.loss import loss_of_terms
from accountant.losses.compound import SymmetricPair, UnionPair, facing
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.location import LocationPair, Noise
from accountant.losses.pair import DominatingPair, MixturePair
from accountant.losses.renyi_sampling import (
    SampledWithoutReplacement,
)
from accountant.parameters import (
    ADD_OR_REMOVE,
    REPLACE,
    short,
    whole_count,
)
from accountant.terms import Terms

# Sampling with replacement: so unlikely numbers of copies of one record count as a release in the
# clear, and at most so many copies are told apart.
RARE = 1e-48
MOST_COPIES = 400
# The record is left out with at least this probability.
LEAST_LEFT_OUT = 1e-9


@rule(dp_event.SampledWithoutReplacementDpEvent)
def _without_replacement(
    event: dp_event.SampledWithoutReplacementDpEvent, relation: NeighboringRelation
) -> Terms:
    """Replace-one: the symmetric hull of the Poisson pair of the mechanism's replace-one pair.

    Add/remove: that Poisson pair (Zhu, Dong, Wang 2022, arXiv 2106.08567, Theorem 11); zero-out is
    at most replace-one.  docs/pairs.md.
    """
    size = whole_count(event.source_dataset_size, "source_dataset_size", 1)
    batch = whole_count(event.sample_size, "sample_size")
    if batch > size:
        raise ValueError(f"sample_size must be at most source_dataset_size={size}, got {batch}")
    whole = terms(event.event, relation)
    if batch == 0 or whole.is_empty:
        return Terms()
    if whole.non_private:
        return Terms(non_private=True)
    if batch == size:
        return whole
    refuse_sampled(event.event, "sampling without replacement")
    low, q = _enclosed(batch, size)
    apart = terms(event.event, REPLACE)
    if relation is not REPLACE:
        _require_known_apart(event.event, relation)
    sampled = poisson_of_one(_as_pairs(apart), q)
    if sampled is None or sampled.curves:
        if relation is not REPLACE:
            raise UnsupportedEventError(
                "sampling without replacement of several releases is supported under REPLACE_ONE "
                f"(by RDP), not under {relation.name}; use REPLACE_ONE"
            )
        known = next(iter(apart.curves)) if sampled is not None else loss_of_terms(apart, relation)
        return of_curve(SampledWithoutReplacement(known, q))
    if relation is ADD_OR_REMOVE:
        return sampled
    upper = Terms(pairs=Counter({SymmetricPair(_only_pair(sampled)): 1}))
    if relation is REPLACE:
        attained = poisson_of_one(_as_pairs(apart), low)
        upper.floor = attained.attained() if attained is not None else Terms()
    else:
        # all others zero: Poisson sampling of the record itself
        upper.floor = poisson_of_one(_as_pairs(whole), low) or Terms()
    return upper


def _enclosed(batch: int, size: int) -> tuple[float, float]:
    """The share of a batch, rounded down and up."""
    nearest, exact = batch / size, Fraction(batch, size)
    if Fraction(nearest) == exact:
        return nearest, nearest
    low = nearest if Fraction(nearest) < exact else math.nextafter(nearest, 0.0)
    return low, math.nextafter(low, 1.0)


def _as_pairs(found: Terms) -> Terms:
    """Several Gaussians from one batch as one."""
    if found.only_gaussians():
        return Terms(gaussians=Counter({merged_gaussians(found): 1}))
    return found


def _only_pair(found: Terms) -> DominatingPair:
    if found.mixtures:
        return MixturePair(next(iter(found.mixtures)))
    return facing(next(iter(found.pairs)), False)


def _require_known_apart(inner: dp_event.DpEvent, relation: NeighboringRelation) -> None:
    """Refuse mechanisms whose replace-one pair does not follow from the event."""
    known = (
        dp_event.NoOpDpEvent,
        dp_event.GaussianDpEvent,
        dp_event.LaplaceDpEvent,
        dp_event.DiscreteLaplaceDpEvent,
        events.DiscreteGaussianDpEvent,
    )
    for part in leaves(inner):
        if not isinstance(part, known):
            raise UnsupportedEventError(
                f"sampling without replacement of {type(part).__name__} needs its guarantee under "
                f"REPLACE_ONE, which does not follow from that under {relation.name}; use "
                "REPLACE_ONE"
            )


@rule(dp_event.SampledWithReplacementDpEvent)
def _with_replacement(
    event: dp_event.SampledWithReplacementDpEvent, relation: NeighboringRelation
) -> Terms:
    """A record is drawn k times with probability Binomial(b, 1/N): shifts 2k (docs/pairs.md)."""
    size = whole_count(event.source_dataset_size, "source_dataset_size", 1)
    batch = whole_count(event.sample_size, "sample_size")
    whole = terms(event.event, relation)
    if batch == 0 or whole.is_empty:
        return Terms()
    if whole.non_private:
        return Terms(non_private=True)
    refuse_sampled(event.event, "sampling with replacement")
    apart = terms(event.event, REPLACE)
    # replace-one noise was halved
    if apart.only_gaussians():
        noise_name: Noise = "gaussian"
        scale = 2.0 * merged_gaussians(apart)
    elif sum(apart.laplaces.values()) == 1 and not (apart.gaussians or apart.pairs or apart.curves):
        noise_name, scale = "laplace", 2.0 * next(iter(apart.laplaces))
    else:
        raise UnsupportedEventError(
            "sampling with replacement is supported for Gaussian releases, or one Laplace "
            f"release; got {short(event.event)}"
        )
    weights, lost = _multiplicities(batch, size)
    counts = range(len(weights))
    if relation is ADD_OR_REMOVE:
        found = _drawn(noise_name, scale, 2.0, weights, lost)
        if lost > 0.0:
            found.floor = _drawn(noise_name, scale, 2.0, weights, 0.0)
        return found
    q = (math.fsum(weights[1:]) + lost) * (1.0 + 2.0**-52)
    pairs: list[DominatingPair] = [_amplified(noise_name, scale, 2.0 * k, q) for k in counts[1:]]
    shares = [w / math.fsum(weights[1:]) for w in weights[1:]]
    upper = SymmetricPair(UnionPair(tuple(shares), tuple(pairs)))
    floor = _drawn(noise_name, scale, 2.0 if relation is REPLACE else 1.0, weights, 0.0)
    return Terms(pairs=Counter({upper: 1}), clear=Counter({lost: 1} if lost else {}), floor=floor)


def _multiplicities(batch: int, size: int) -> tuple[tuple[float, ...], float]:
    """Probabilities of 0, 1, ... copies of one record, and of more, those of some rounded up."""
    weights: list[float] = []
    lost = 0.0
    with localcontext() as context:
        context.prec = 50
        none = term = (Decimal(size - 1) / size) ** batch
        for k in range(batch):
            if none < LEAST_LEFT_OUT:
                break
            # Binomial(batch, 1/size): the next probability, and the ratio of all further ones
            term *= Decimal(batch - k) / ((k + 1) * (size - 1))
            ratio = Decimal(batch - k - 1) / ((k + 2) * (size - 1))
            weights.append(_rounded_up(term))
            rest = term * ratio / (1 - ratio) if ratio < 1 else Decimal(1)
            if (rest < RARE and k + 1 < batch) or k + 1 == MOST_COPIES:
                lost = _rounded_up(rest)
                break
    left_out = 1.0 - math.fsum((*weights, lost))
    if none < LEAST_LEFT_OUT or left_out <= 0.0:
        raise UnsupportedEventError(
            f"sampling {batch} of {size} records with replacement draws every record many times; "
            "leave the sampling out with a group of that size, or sample without replacement"
        )
    return (left_out, *weights), lost


def _rounded_up(value: Decimal) -> float:
    # 50 digits leave room for the errors of fewer than 1e9 multiplications
    bound = value * (1 + Decimal("1e-30"))
    nearest = float(bound)
    return nearest if Decimal(nearest) >= bound else math.nextafter(nearest, math.inf)


def _drawn(
    noise_name: Noise, scale: float, shift: float, weights: tuple[float, ...], lost: float
) -> Terms:
    """sum_k weights_k N(k shift) against N(0); what is lost is a release in the clear."""
    found = Terms()
    shifts = tuple(shift * k for k in range(len(weights)))
    total = math.fsum(weights)
    if noise_name == "gaussian":
        mixture = dict(zip(shifts, (weights[0] + (1.0 - total), *weights[1:]), strict=True))
        found.add(mixture_terms(scale, mixture))
    else:
        p = (1.0 - math.fsum(weights[1:]), *weights[1:])
        q = (1.0, *(0.0 for _ in weights[1:]))
        found.add(Terms(pairs=Counter({LocationPair(noise_name, scale, shifts, p, q): 1})))
    if lost > 0.0:
        found.clear[lost] += 1
    return found


def _amplified(noise_name: Noise, scale: float, shift: float, q: float) -> DominatingPair:
    """(1-q) N(0) + q N(shift) against N(0)."""
    if noise_name == "gaussian":
        return MixturePair(GaussianMixture(scale, (0.0, shift), (1.0 - q, q)))
    return shifted_pair(noise_name, scale, shift, q)
