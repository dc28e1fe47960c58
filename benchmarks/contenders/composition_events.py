"""A composition as a ``dp_accounting`` event, in its vocabulary alone."""

from __future__ import annotations

import dp_accounting

from benchmarks.compositions import (
    Composition,
    DiscreteLaplace,
    Gaussian,
    Laplace,
    Mechanism,
    PoissonSampled,
    RandomizedResponse,
    TruncatedPoissonSampled,
)
from benchmarks.contenders.base import NotOfferedError

_Relation = dp_accounting.NeighboringRelation


def relation_of(composition: Composition) -> dp_accounting.NeighboringRelation:
    """Return the neighbouring relation that the composition is to be priced under."""
    return _Relation.REPLACE_ONE if composition.replace_one else _Relation.ADD_OR_REMOVE_ONE


def step_event(mechanism: Mechanism) -> dp_accounting.DpEvent:
    """Return the event of one use of the mechanism; refuse what there is no word for."""
    match mechanism:
        case Gaussian(noise_multiplier):
            return dp_accounting.GaussianDpEvent(noise_multiplier)
        case Laplace(scale):
            return dp_accounting.LaplaceDpEvent(scale)
        case DiscreteLaplace(parameter):
            return dp_accounting.dp_event.DiscreteLaplaceDpEvent(parameter, 1)
        case RandomizedResponse(noise_parameter, buckets):
            return dp_accounting.dp_event.RandomizedResponseDpEvent(noise_parameter, buckets)
        case PoissonSampled(sampling_probability, inner):
            return dp_accounting.PoissonSampledDpEvent(sampling_probability, step_event(inner))
        case TruncatedPoissonSampled(size, sampling_probability, largest, inner):
            return dp_accounting.dp_event.TruncatedSubsampledGaussianDpEvent(
                size, sampling_probability, largest, inner.noise_multiplier
            )
    raise NotOfferedError(type(mechanism).__name__)
