"""dp-accounting: privacy loss distributions and Renyi DP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import dp_accounting
import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

from benchmarks.compositions import (
    ApproximateDp,
    Composition,
    DiscreteGaussian,
    DiscreteLaplace,
    Gaussian,
    Laplace,
    Mechanism,
    PoissonSampled,
    RandomizedResponse,
    TruncatedPoissonSampled,
)
from benchmarks.contenders.base import Contender, NotOfferedError, floats
from benchmarks.contenders.composition_events import relation_of, step_event
from benchmarks.contenders.events import event_of
from benchmarks.tasks import Phase, Run

_ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE


class _EventAccountant(Contender):
    def _empty(
        self, relation: NeighboringRelation = _ADD_OR_REMOVE
    ) -> dp_accounting.PrivacyAccountant:
        raise NotImplementedError

    def epsilon(self, run: Run, delta: float) -> float:
        return float(self._empty().compose(event_of(run)).get_epsilon(delta))

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        accountant = self._empty(relation_of(composition))
        for mechanism, count in composition.parts:
            event = step_event(mechanism)
            if not accountant.supports(event):
                raise NotOfferedError(type(mechanism).__name__)
            accountant.compose(event, count)
        return float(accountant.get_epsilon(delta))

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        return float(
            dp_accounting.calibrate_dp_mechanism(
                self._empty,
                lambda sigma: event_of(Run((Phase(sampling_probability, sigma, steps),))),
                epsilon,
                delta,
            )
        )


class PrivacyLossDistributions(_EventAccountant):
    """Connect-the-dots on the default grid of 1e-4."""

    def _empty(
        self, relation: NeighboringRelation = _ADD_OR_REMOVE
    ) -> dp_accounting.PrivacyAccountant:
        return PLDAccountant(neighboring_relation=relation)

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        accountant = self._empty().compose(event_of(run))
        return floats(accountant.get_delta(np.asarray(epsilons)))


class RenyiDp(_EventAccountant):
    """Renyi DP at the default orders."""

    def _empty(
        self, relation: NeighboringRelation = _ADD_OR_REMOVE
    ) -> dp_accounting.PrivacyAccountant:
        return RdpAccountant(neighboring_relation=relation)

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        accountant = self._empty().compose(event_of(run))
        return floats(accountant.get_delta(epsilon) for epsilon in epsilons)


class ComposedByHand(Contender):
    """The distributions that the accountant is made of, on its grid, composed without it."""

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        relation = relation_of(composition)
        parts = [
            distribution(mechanism, relation).self_compose(count)
            for mechanism, count in composition.parts
        ]
        composed = reduce(lambda left, right: left.compose(right), parts)
        return float(composed.get_epsilon_for_delta(delta))


def distribution(
    mechanism: Mechanism, relation: NeighboringRelation
) -> pld.PrivacyLossDistribution:
    """Return the privacy loss distribution of one use of the mechanism."""
    match mechanism:
        case RandomizedResponse(noise_parameter, buckets):
            return pld.from_randomized_response(
                noise_parameter, buckets, neighboring_relation=relation
            )
        case Gaussian(sigma):
            return pld.from_gaussian_mechanism(sigma, neighboring_relation=relation)
        case PoissonSampled(probability, Gaussian(sigma)):
            return pld.from_gaussian_mechanism(
                sigma, sampling_prob=probability, neighboring_relation=relation
            )
        case TruncatedPoissonSampled(size, probability, largest, Gaussian(sigma)):
            return pld.from_truncated_subsampled_gaussian_mechanism(
                size, probability, largest, sigma, neighboring_relation=relation
            )
        case ApproximateDp(epsilon, delta):
            promised = dp_accounting.pld.common.DifferentialPrivacyParameters(epsilon, delta)
            return pld.from_privacy_parameters(promised)
    if relation is not _ADD_OR_REMOVE:
        raise NotOfferedError(f"{type(mechanism).__name__}, {relation.name}")
    match mechanism:
        case Laplace(scale):
            return pld.from_laplace_mechanism(scale)
        case PoissonSampled(probability, Laplace(scale)):
            return pld.from_laplace_mechanism(scale, sampling_prob=probability)
        case DiscreteLaplace(parameter):
            return pld.from_discrete_laplace_mechanism(parameter)
        case DiscreteGaussian(sigma):
            # The tighter of its two roundings, which it does not take unless it is asked to.
            return pld.from_discrete_gaussian_mechanism(sigma, use_connect_dots=True)
    raise NotOfferedError(type(mechanism).__name__)
