"""What a planned run would guarantee, and under which conditions."""

import hashlib
import json
import shlex
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING

from mechanisms.planning.event import given, relation
from mechanisms.planning.fields import FIELDS
from mechanisms.planning.samplers import ALLOCATED, IN_WORDS, batches

if TYPE_CHECKING:
    from accountant.guarantee import Guarantee, Parameter
    from mechanisms.plan import Plan

__all__ = ["command", "guarantee", "warnings"]

LONGEST_COMMAND = 2000  # characters; a longer one reads the plan from its file

_METHOD = (
    "Exact composition of the privacy loss by contour inversion of its moment generating function, "
    "with a certified bound on both sides; no conversion from Rényi or concentrated privacy is "
    "involved"
)

_METHOD_OF_PAIRS = (
    "Composition of the privacy loss on a lattice or by contour inversion, with a certified bound "
    "on both sides that covers discretisation, truncation and rounding; no conversion from Rényi "
    "or concentrated privacy is involved"
)

# Why the loss is an upper bound, where it is one.
_BOUND = {
    "poisson": "it is treated as known whether the other examples fill a batch up to the cap (a "
    "bound at most that of arXiv 2508.15089)",
    "without_replacement": "the pair of arXiv 2106.08567 is closed under exchange of the two data "
    "sets",
    "balls_in_bins": "a discrete pair stands for that of random allocation (arXiv 2412.16802), "
    "which it dominates",
    "shuffled": "the order of every epoch is treated as known, so that no amplification by "
    "shuffling is claimed",
    "balls_in_bins_once": "a discrete pair stands for that of random allocation (arXiv 2412.16802),"
    " which it dominates, and correlations between batches are bounded from above",
}

_SAMPLING = {
    "poisson": "Every step draws its batch by Poisson sampling: each example takes part "
    "independently with the sampling probability, and the batch size varies. Shuffling the data "
    "and cutting it into batches of fixed size is not Poisson sampling, and this guarantee does "
    "not hold for it.",
    "full_batch": "Every step uses every example of the data set.",
    "fixed_order": "Batches are taken in an order that does not depend on the examples' contents, "
    "each example at most once per pass over the data.",
    "without_replacement": "Every step draws its batch afresh and uniformly among all batches of "
    "{batch} of the {size} examples, independently of the other steps. Going through the data in "
    "passes, shuffled or not, is not that, and this guarantee does not hold for it.",
    "balls_in_bins": "In every epoch each example is put into one of {batches} batches, chosen "
    "uniformly, afresh and independently of the other examples; the batches' sizes vary. "
    "Shuffling the data and cutting it into batches of fixed size is not that, and this guarantee "
    "does not hold for it.",
    "shuffled": "Every epoch shuffles the data, independently of what the examples are, and cuts "
    "it into {batches} batches, the last of which may be shorter; none is dropped.",
    "min_separation": "No example takes part in two steps that are fewer than {separation} apart, "
    "nor in more than {participations} of them: whoever draws the batches keeps it out until then. "
    "When it is asked does not depend on what it holds.",
    "cyclic_poisson": "The examples are partitioned into {groups} groups that take turns; each "
    "example of the group whose turn it is takes part independently with the sampling probability, "
    "and the batch size varies. Shuffling a group and cutting it into batches of fixed size is not "
    "that, and this guarantee does not hold for it.",
    "balls_in_bins_once": "Each example is put into one of {batches} batches, chosen uniformly and "
    "independently of the other examples, once, and every epoch takes the batches in the same "
    "order; their sizes vary. Shuffling the data and cutting it into batches of fixed size is not "
    "that, and this guarantee does not hold for it.",
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
    epsilon = plan.loss.epsilon_bounds(delta)
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        loss=plan.loss,
        neighboring_relation=relation(plan),
        unit=plan.unit,
        group_size=plan.group_size,
        sampler_assumed=plan.sampler,
        sampler_ran=None,
        released=plan.release,
        assumptions=_assumptions(plan, float(epsilon.lower)),
        warnings=warnings(plan),
        method=_method(plan),
        versions=versions(),
        parameters=_parameters(plan),
        plan_hash=plan.hash,
        command=command(plan),
    )


def _method(plan: "Plan") -> str:
    method = _METHOD_OF_PAIRS if plan.loss.pairs else _METHOD
    if plan.loss.exact:
        return method
    why = _BOUND.get(plan.sampler, "the mechanism's sensitivity is one")
    return (
        f"{method}. The privacy loss that is composed is an upper bound: {why}. "
        "The lower end of the bracket is proved for the worst of the runs that fit this "
        "description, and is 0 where nothing is"
    )


def command(plan: "Plan") -> str:
    """Return the command line that computes the plan's epsilon, from a plan with the same hash."""
    words = ["dp-planner", "epsilon"]
    for name in FIELDS:
        if name in plan.stated:
            value = getattr(plan.fields, name)
            if name == "mechanism" and not isinstance(value, str):
                value = json.dumps(value.to_dict(), separators=(",", ":"))
            words += [f"--{name.replace('_', '-')}", str(value)]
    line = shlex.join(words)
    return line if len(line) <= LONGEST_COMMAND else "dp-planner epsilon --plan plan.json"


def _assumptions(plan: "Plan", lower: float) -> tuple[str, ...]:
    size, batch = plan.dataset_size, plan.fields.batch_size
    count = batches({"dataset_size": size, "batch_size": batch})
    sampling = _SAMPLING[plan.sampler].format(
        size=size,
        batch=batch,
        batches=count,
        groups=plan.groups,
        separation=plan.min_separation,
        participations=plan.max_participations,
    )
    sentences = [sampling]
    if plan.sampler == "shuffled":
        sentences.append(_shuffled(plan, lower))
    if plan.max_batch_size is not None:
        sentences.append(
            f"A batch of more than {plan.max_batch_size} examples is cut to that many of them, "
            "chosen uniformly at random; the sum is divided by a number that does not depend on "
            "the data."
        )
    elif plan.sampler in ("poisson", "cyclic_poisson", *ALLOCATED):
        sentences.append(
            "No batch is cut short: a step processes every example that was drawn, and its sum is "
            "divided by a number that does not depend on the data, such as the expected batch size."
        )
    sentences += [
        f"Each example's gradient is computed on its own and clipped to norm {plan.clip_norm!r} "
        "before the sum; nothing else, such as batch normalisation, lets examples mix.",
        *_noise(plan),
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
        "Random numbers come from a generator that an adversary cannot predict, fresh for "
        f"{'every step' if isinstance(plan.mechanism, str) else 'the run'}; the noise is sampled "
        "in floating point and is taken to be Gaussian.",
        "Hyper-parameters, and this plan among them, were chosen without looking at the data, or "
        "at a cost that is accounted elsewhere.",
    ]
    if plan.max_participations is not None and plan.sampler in ("fixed_order", "shuffled"):
        sentences.append(
            f"No example takes part in more than {plan.max_participations} of the {plan.steps} "
            "steps, however the data was ordered."
        )
    if plan.neighboring_relation == "add_or_remove_one" and plan.sampler in _KEPT:
        sentences.append(
            f"{_KEPT[plan.sampler]} and the number of steps do not change when an example is "
            "added or removed."
        )
    if plan.sampler == "without_replacement" or plan.max_batch_size is not None:
        sentences.append(f"The data set has {size} examples, the one in question included.")
    return tuple(sentences)


# What an example more or less must leave as it is.
_KEPT = {
    "poisson": "The sampling probability",
    "without_replacement": "The batch size",
    "balls_in_bins": "The number of batches in an epoch",
    "balls_in_bins_once": "The number of batches in an epoch",
    "cyclic_poisson": "Which group every other example is in, the sampling probability",
}


def _shuffled(plan: "Plan", lower: float) -> str:
    sentence = "No amplification by shuffling is claimed, because no tight bound with it is known"
    if not lower > 0:
        return f"{sentence}; how much less than stated the run may cost is not known either."
    least = Context(prec=4, rounding=ROUND_FLOOR).create_decimal(Decimal(lower))
    return (
        f"{sentence}; the worst of the runs that fit this description is proved to cost at least "
        f"epsilon={least} at delta={plan.delta!r} (arXiv 2403.17673), so that no accounting of "
        "shuffled batches may state less."
    )


def warnings(plan: "Plan") -> tuple[str, ...]:
    """Return what a reader of any number of this plan should be wary of."""
    sentences = []
    if plan.sampler == "poisson":
        how = "stated" if "sampler" in plan.stated else "assumed, and was not stated"
        sentences.append(
            f"Poisson sampling is {how}. Most training code shuffles instead; then epsilon can be "
            "far higher than this. Check the data loader."
        )
    if plan.sampler in ("without_replacement", "cyclic_poisson", *ALLOCATED):
        sentences.append(
            f"The accounting assumes {IN_WORDS[plan.sampler]}. Most training code shuffles "
            "instead; then epsilon can be far higher than this. Check the data loader."
        )
    cap, batch = plan.max_batch_size, plan.batch_size
    if cap is not None and batch is not None and cap < batch:
        sentences.append(
            f"max_batch_size={cap} is below the mean batch of {batch}: most batches are cut short, "
            "and a step costs up to what batches of fixed size cost, more than Poisson sampling."
        )
    delta, size = plan.delta, plan.dataset_size
    if delta is not None and size is not None and delta * size > 1:
        sentences.append(
            f"delta={delta!r} is larger than 1/dataset_size={1 / size:.3g}: "
            "publishing whole examples at random would meet such a delta."
        )
    return tuple(sentences)


def _noise(plan: "Plan") -> list[str]:
    scale, mechanism = plan.noise_stddev, plan.mechanism
    if isinstance(mechanism, str):
        return [
            f"Independent Gaussian noise of standard deviation {scale!r} is added to every "
            "coordinate of every sum, also where a batch is empty."
        ]
    from mechanisms.planning.participation import participation

    patterns = participation(plan)
    bound = mechanism.sensitivity_bound(patterns)
    known = "exactly" if bound.exact else "at most"
    digest = hashlib.sha256(mechanism.to_json().encode()).hexdigest()
    sentences = [
        f"Step t adds {scale!r} times row t of the mechanism's noise to every coordinate of its "
        "sum, also where a batch is empty. Its noise is D Z: Z holds independent standard Gaussian "
        "numbers, one for each coordinate and row, and D is the inverse of C (of a tree, the "
        "estimates of prefix sums from its nodes, differenced).",
        f"The mechanism is {mechanism!r}; the SHA-256 of its JSON is {digest}.",
        f"The mechanism's sensitivity is {known} {bound.value!r} for these patterns of "
        f"participation: {patterns} ({bound.method}).",
        "The mechanism was chosen without looking at the data. What its noise was made from, and "
        "the state of the generator, stay secret after the run too.",
    ]
    if plan.sampler == "fixed_order":
        sentences.append("The order of the examples is the same in every pass over the data.")
    return sentences


def _parameters(plan: "Plan") -> tuple["Parameter", ...]:
    from accountant.guarantee import Parameter

    rows = []
    for name in FIELDS:
        stored, value = getattr(plan.fields, name), getattr(plan, name)
        if not isinstance(stored, int | float | str | None):
            stored = repr(stored)
        if name in plan.stated or name in plan.defaulted:
            rows.append(Parameter(name, stored, name in plan.stated))
        elif value is not None:
            rows.append(Parameter(name, value, False, "follows from the others"))
    if not isinstance(plan.mechanism, str):
        rows.append(Parameter("sensitivity", plan.sensitivity, False, "follows from the others"))
    rows.append(Parameter("noise_stddev", plan.noise_stddev, False, "follows from the others"))
    return tuple(rows)
