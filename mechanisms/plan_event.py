"""What a planned run releases, as mathematics.

========================  ============  =========================================================
sampler                   group_size    one step, and how many
========================  ============  =========================================================
poisson(q)                1             Poisson-sampled Gaussian(s), `steps` times
poisson(q)                k             mixture of Gaussians with sensitivities 0..k, weights
                                        Binomial(k, q) (arXiv 2401.10294), `steps` times
full_batch                k             Gaussian(s / k), `steps` times
fixed_order               k             Gaussian(s / k), as often as one example takes part at most
========================  ============  =========================================================

s is the noise multiplier. Group privacy under Poisson sampling covers k examples that are added
together or removed together (under zero-out: k examples that are zeroed out together).

For fixed_order, which example is in which batch does not depend on the data, so the steps that none
of the k examples takes part in have the same distribution on both data sets. In the others, c_t of
the k take part and the sum moves by at most c_t clip norms; c_t <= k, and the c_t add up to at most
k times the number of participations m, so the sum of c_t^2 is at most k^2 m: no more than m
Gaussians with sensitivity k.
"""

from typing import TYPE_CHECKING, Any

from mechanisms.plan_fields import PlanError

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

    from accountant import PrivacyLoss
    from mechanisms.plan import Plan

__all__ = ["event", "given", "loss", "relation"]

_NEEDED = {
    "dataset_size": "given, to know the batch size",
    "noise_multiplier": "given, or found by calibrate",
    "batch_size": "given, or found by calibrate",
    "steps": "given, or found by calibrate; so may epochs",
    "sampling_probability": "given, or found by calibrate; so may batch_size",
    "delta": "given: a small probability, well below 1 / dataset_size",
}


def given(plan: "Plan", name: str) -> Any:
    """Return the plan's value of a field, or say that it is missing."""
    value = getattr(plan, name)
    if value is None:
        raise PlanError(name, None, _NEEDED[name])
    return value


def event(plan: "Plan") -> "DpEvent":
    """Return the event of a whole run; see the table above."""
    from dp_accounting.dp_event import (
        DpEvent,
        GaussianDpEvent,
        MixtureOfGaussiansDpEvent,
        PoissonSampledDpEvent,
        SelfComposedDpEvent,
    )

    sigma = given(plan, "noise_multiplier")
    k = plan.group_size
    count = given(plan, "steps")
    from accountant.parameters import binomial_weights, divided_down

    step: DpEvent
    if plan.sampler != "poisson":
        step = GaussianDpEvent(divided_down(sigma, k))
        count = plan.max_participations
        if count is None:
            raise PlanError("batch_size", None, _NEEDED["batch_size"])
    elif k == 1:
        step = PoissonSampledDpEvent(given(plan, "sampling_probability"), GaussianDpEvent(sigma))
    else:
        weights = binomial_weights(k, given(plan, "sampling_probability"))
        step = MixtureOfGaussiansDpEvent(sigma, tuple(map(float, range(k + 1))), weights)
    return SelfComposedDpEvent(step, count)


def relation(plan: "Plan") -> "NeighboringRelation":
    """Return the plan's neighbouring relation as dp_accounting's."""
    from dp_accounting import NeighboringRelation

    return NeighboringRelation[plan.neighboring_relation.upper()]


def loss(plan: "Plan") -> "PrivacyLoss":
    """Return the privacy loss of the whole run."""
    from accountant import privacy_loss

    return privacy_loss(event(plan), neighboring_relation=relation(plan))
