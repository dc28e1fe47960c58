"""Which steps of a plan one example takes part in, and how far it can move correlated noise."""

import math
from typing import TYPE_CHECKING

from mechanisms.planning.fields import INDEPENDENT, PlanError

if TYPE_CHECKING:
    from mechanisms.participation import Participation
    from mechanisms.plan import Plan

__all__ = ["noise_stddev", "noise_to_batch_ratio", "participation", "sensitivity"]


def participation(plan: "Plan") -> "Participation":
    """Return which patterns of participation the plan's sampler allows.

    Fixed batches in turn bring an example back after an epoch; where the data set is no whole
    number of batches, after one step less or more.

    Raises
    ------
    PlanError
        If they follow from nothing that the plan says: every step draws from all examples.
    """
    from mechanisms.participation import (
        BallsInBins,
        CyclicPoisson,
        FixedEpochOrder,
        MinSeparation,
    )

    if plan.sampler == "full_batch":
        return MinSeparation(1)
    if plan.sampler == "min_separation" and plan.min_separation is not None:
        return MinSeparation(plan.min_separation, plan.fields.max_participations)
    if plan.sampler == "cyclic_poisson" and plan.groups is not None:
        probability = plan.sampling_probability
        if probability is None:
            raise PlanError("batch_size", None, "given; so may sampling_probability")
        return CyclicPoisson(plan.groups, probability)
    if plan.sampler not in ("fixed_order", "shuffled", "balls_in_bins_once"):
        reason = "every step draws from all examples, so there is no pattern to design noise for"
        allowed = "'cyclic_poisson', 'fixed_order', 'min_separation' or 'balls_in_bins_once'"
        raise PlanError("sampler", plan.sampler, allowed, reason)
    size, batch = plan.dataset_size, plan.fields.batch_size
    if size is None or batch is None:
        raise PlanError("batch_size", None, "given with dataset_size, to know an epoch's steps")
    if plan.sampler == "balls_in_bins_once":
        return BallsInBins(-(-size // batch), plan.max_participations or 1)
    if plan.sampler == "shuffled":
        # The last batch of one epoch and the first of the next are neighbours.
        return MinSeparation(1, plan.max_participations)
    whole = size // batch
    if size % batch:
        return MinSeparation(whole, plan.max_participations)
    return FixedEpochOrder(whole, plan.max_participations)


def sensitivity(plan: "Plan") -> float:
    """Return how far one example can move the mechanism's release, in clipping norms.

    1 for independent noise, whose steps are composed one by one.

    Raises
    ------
    PlanError
        If nothing is proved for the mechanism under the plan's sampler.
    """
    mechanism = plan.mechanism
    if isinstance(mechanism, str):
        return 1.0
    try:
        return mechanism.sensitivity(participation(plan))
    except PlanError:
        raise
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise PlanError("mechanism", mechanism, f"'{INDEPENDENT}', or another", reason) from None


def noise_stddev(plan: "Plan", noise_multiplier: float) -> float:
    """Return the noise on the sum for a noise multiplier, rounded up where noise is correlated."""
    if isinstance(plan.mechanism, str):
        return noise_multiplier * plan.clip_norm
    # Not less than the product: each of its roundings takes at most half a unit.
    scale = noise_multiplier * plan.clip_norm * plan.sensitivity
    return scale * (1.0 + 4.0 * math.ulp(1.0))


def noise_to_batch_ratio(plan: "Plan", noise_multiplier: float, batch_size: float) -> float:
    """Return the noise per example of the batch, of independent noise that does as well.

    Correlated noise counts as the independent noise with the same mean squared error over the steps
    on prefix sums, which is what SGD with a constant learning rate adds up.
    """
    mechanism = plan.mechanism
    if isinstance(mechanism, str):
        return noise_multiplier / batch_size
    from mechanisms.workloads import prefix_sum

    error = mechanism.mean_squared_error(prefix_sum(mechanism.steps))
    independent = (mechanism.steps + 1) / 2
    return noise_multiplier * plan.sensitivity * math.sqrt(error / independent) / batch_size
