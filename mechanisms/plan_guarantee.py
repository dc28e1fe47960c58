"""What a planned run would guarantee, and under which conditions."""

import shlex
from typing import TYPE_CHECKING

from mechanisms.plan_event import given, relation
from mechanisms.plan_fields import FIELDS

if TYPE_CHECKING:
    from accountant.guarantee import Guarantee, Parameter
    from mechanisms.plan import Plan

__all__ = ["command", "guarantee", "warnings"]

_METHOD = (
    "Exact composition of the privacy loss by contour inversion of its moment generating function, "
    "with a certified bound on both sides; no conversion from Rényi or concentrated privacy is "
    "involved"
)

_SAMPLING = {
    "poisson": "Every step draws its batch by Poisson sampling: each example takes part "
    "independently with the sampling probability, and the batch size varies. Shuffling the data "
    "and cutting it into batches of fixed size is not Poisson sampling, and this guarantee does "
    "not hold for it.",
    "full_batch": "Every step uses every example of the data set.",
    "fixed_order": "Batches are taken in an order that does not depend on the examples' contents, "
    "each example at most once per pass over the data.",
}

_RELEASE = {
    "final_model": "Only the final model leaves the run. The accounting does not rely on this: it "
    "covers every noisy update.",
    "all_checkpoints": "Any or all of the checkpoints may be released: the accounting covers every "
    "noisy update.",
    "all_updates": "Every noisy update may be released.",
}


def guarantee(plan: "Plan") -> "Guarantee":
    """Return what the run would guarantee.

    Raises
    ------
    PlanError
        If something that an epsilon needs is missing.
    """
    from accountant.guarantee import Guarantee, versions

    delta = given(plan, "delta")
    return Guarantee(
        epsilon=plan.loss.epsilon_bounds(delta),
        delta=delta,
        loss=plan.loss,
        neighboring_relation=relation(plan),
        unit=plan.unit,
        group_size=plan.group_size,
        sampler_assumed=plan.sampler,
        sampler_ran=None,
        released=plan.release,
        assumptions=_assumptions(plan),
        warnings=warnings(plan),
        method=_METHOD,
        versions=versions(),
        parameters=_parameters(plan),
        plan_hash=plan.hash,
        command=command(plan),
    )


def command(plan: "Plan") -> str:
    """Return the command line that computes the plan's epsilon, from a plan with the same hash."""
    words = ["dp-planner", "epsilon"]
    for name in FIELDS:
        if name in plan.stated:
            words += [f"--{name.replace('_', '-')}", str(getattr(plan.fields, name))]
    return shlex.join(words)


def _assumptions(plan: "Plan") -> tuple[str, ...]:
    sentences = [_SAMPLING[plan.sampler]]
    if plan.sampler == "poisson":
        sentences.append(
            "No batch is cut short: a step processes every example that was drawn, and its sum is "
            "divided by a number that does not depend on the data, such as the expected batch size."
        )
    sentences += [
        f"Each example's gradient is computed on its own and clipped to norm {plan.clip_norm!r} "
        "before the sum; nothing else, such as batch normalisation, lets examples mix.",
        f"Independent Gaussian noise of standard deviation {plan.noise_stddev!r} is added to every "
        "coordinate of every sum, also where a batch is empty.",
    ]
    if plan.group_size > 1:
        together = (
            "added together or removed together"
            if plan.neighboring_relation == "add_or_remove_one"
            else "replaced together"
        )
        sentences.append(
            f"Whoever is protected contributes at most {plan.group_size} rows, {together}."
        )
    else:
        sentences.append(f"One {plan.unit} is one row of the data set and occurs in it once.")
    sentences += [
        "Whoever runs the training sees the data, and is trusted to do what is described here.",
        _RELEASE[plan.release],
        "Random numbers come from a generator that an adversary cannot predict, fresh for every "
        "step; the noise is sampled in floating point and is taken to be Gaussian.",
        "Hyper-parameters, and this plan among them, were chosen without looking at the data, or "
        "at a cost that is accounted elsewhere.",
    ]
    if plan.max_participations is not None and plan.sampler == "fixed_order":
        sentences.append(
            f"No example takes part in more than {plan.max_participations} of the {plan.steps} "
            "steps, however the data was ordered."
        )
    if plan.neighboring_relation == "add_or_remove_one" and plan.sampler == "poisson":
        sentences.append(
            "The sampling probability and the number of steps do not change when an example is "
            "added or removed."
        )
    return tuple(sentences)


def warnings(plan: "Plan") -> tuple[str, ...]:
    """Return what a reader of any number of this plan should be wary of."""
    sentences = []
    if plan.sampler == "poisson":
        how = "stated" if "sampler" in plan.stated else "assumed, and was not stated"
        sentences.append(
            f"Poisson sampling is {how}. Most training code shuffles instead; then epsilon can be "
            "far higher than this. Check the data loader."
        )
    delta, size = plan.delta, plan.dataset_size
    if delta is not None and size is not None and delta * size > 1:
        sentences.append(
            f"delta={delta!r} is larger than 1/dataset_size={1 / size:.3g}: "
            "publishing whole examples at random would meet such a delta."
        )
    return tuple(sentences)


def _parameters(plan: "Plan") -> tuple["Parameter", ...]:
    from accountant.guarantee import Parameter

    rows = []
    for name in FIELDS:
        stored, value = getattr(plan.fields, name), getattr(plan, name)
        if name in plan.stated or name in plan.defaulted:
            rows.append(Parameter(name, stored, name in plan.stated))
        elif value is not None:
            rows.append(Parameter(name, value, False, "follows from the others"))
    rows.append(Parameter("noise_stddev", plan.noise_stddev, False, "follows from the others"))
    return tuple(rows)
