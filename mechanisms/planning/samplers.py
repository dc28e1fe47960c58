"""Ways of drawing batches: what each of them needs, and what no theorem covers.

A sampler is refused together with whatever the accountant cannot price, and the sentence names what
to use instead.
"""

from collections.abc import Mapping
from typing import Any, Final

from mechanisms.planning.fields import INDEPENDENT, NOISE_RANGE, PlanError, shown

__all__ = [
    "ALLOCATED",
    "BY_EPOCHS",
    "COUNTED",
    "IN_WORDS",
    "LARGEST_GROUP",
    "batches",
    "check_mechanism",
    "check_sampler",
    "noise_range",
    "smallest_batch",
]

LARGEST_GROUP: Final = 100  # the mixture of a group has as many components

# Batches of a given number of examples: no probability says how they are drawn.
COUNTED: Final = (
    "fixed_order",
    "without_replacement",
    "balls_in_bins",
    "shuffled",
    "min_separation",
    "balls_in_bins_once",
)
# One random batch of every epoch.
ALLOCATED: Final = ("balls_in_bins", "balls_in_bins_once")
# Every example once in each epoch, which has ceil(dataset_size / batch_size) batches.
BY_EPOCHS: Final = (*ALLOCATED, "shuffled")

IN_WORDS: Final = {
    "poisson": "Poisson sampling",
    "full_batch": "full batches",
    "fixed_order": "batches in a fixed order",
    "without_replacement": "batches of fixed size without replacement",
    "balls_in_bins": "balls in bins",
    "shuffled": "shuffled batches",
    "min_separation": "a least distance between participations",
    "cyclic_poisson": "Poisson sampling from groups in turn",
    "balls_in_bins_once": "balls in bins that are drawn once",
}
# Where the accountant has random allocation (docs/random-allocation.md).
_ALLOCATED_NOISE: Final = (0.1, 1e4)
_MOST_BINS: Final = 10**6


def batches(values: Mapping[str, Any]) -> int | None:
    """Return the number of batches that one epoch is cut into; None where it is not known yet."""
    size, batch = values["dataset_size"], values["batch_size"]
    return None if size is None or batch is None else -(-size // batch)


def noise_range(sampler: str) -> tuple[float, float]:
    """Return the noise multipliers for which the sampler is priced."""
    return _ALLOCATED_NOISE if sampler in ALLOCATED else NOISE_RANGE


def smallest_batch(sampler: str, dataset_size: int) -> int:
    """Return the smallest batch size for which the sampler is priced."""
    return -(-dataset_size // _MOST_BINS) if sampler in ALLOCATED else 1


def check_sampler(values: dict[str, Any]) -> None:
    """Refuse what the sampler cannot go together with, and drop what it implies anyway.

    Raises
    ------
    PlanError
        If the sampler excludes another field's value.
    """
    _check_cap(values)
    _check_patterns(values)
    _check_relation(values)
    _check_group(values)
    sampler, batch = values["sampler"], values["batch_size"]
    probability = values["sampling_probability"]
    if sampler == "full_batch":
        if batch is not None and batch != values["dataset_size"]:
            raise PlanError("batch_size", batch, "left out for full batches, or dataset_size")
        if probability is not None and probability != 1:
            raise PlanError("sampling_probability", probability, "left out for full batches, or 1")
        values["batch_size"] = values["sampling_probability"] = None
    if sampler in COUNTED and probability is not None:
        reason = "batches are counted and not sampled by a probability, so give batch_size"
        if sampler in ("fixed_order", "min_separation"):
            reason = "nothing is sampled, so give batch_size"
        allowed = f"left out for {IN_WORDS[sampler]}"
        raise PlanError("sampling_probability", probability, allowed, reason)
    if sampler in ALLOCATED:
        _check_bins(values)


def _check_patterns(values: Mapping[str, Any]) -> None:
    """What only some samplers have: a distance between participations, and groups."""
    sampler, size, batch = values["sampler"], values["dataset_size"], values["batch_size"]
    for name, owner, needed in (
        ("min_separation", "min_separation", True),
        ("max_participations", "min_separation", False),
        ("groups", "cyclic_poisson", True),
    ):
        if values[name] is not None and sampler != owner:
            reason = f"it belongs to sampler={owner!r}"
            raise PlanError(name, values[name], f"left out for {IN_WORDS[sampler]}", reason)
        if needed and values[name] is None and sampler == owner:
            raise PlanError(name, None, f"given for {IN_WORDS[sampler]}")
    if size is None or batch is None:
        return
    distance, groups = values["min_separation"], values["groups"]
    if groups is not None and groups * batch > size:
        reason = "a group has to have the examples of a batch, on average"
        raise PlanError("groups", groups, f"at most {size // batch}", reason)
    longest = size // batch
    if distance is not None and distance > longest and distance < (values["steps"] or 0):
        reason = f"{size} examples, {batch} a step, are used up by then"
        raise PlanError("min_separation", distance, f"at most {longest}", reason)


def _check_cap(values: Mapping[str, Any]) -> None:
    cap, sampler = values["max_batch_size"], values["sampler"]
    if cap is None:
        return
    if sampler != "poisson":
        raise PlanError(
            "max_batch_size",
            cap,
            f"left out for {IN_WORDS[sampler]}",
            "what a cap costs is known for 'poisson' alone, so process every example of a batch, "
            "in several passes if memory is short",
        )
    if values["dataset_size"] is None:
        raise PlanError(
            "dataset_size",
            None,
            "given together with max_batch_size",
            "it decides how often a batch is cut short, so give it, or leave out the cap and "
            "process every example that was drawn",
        )


def _check_relation(values: Mapping[str, Any]) -> None:
    sampler, relation = values["sampler"], values["neighboring_relation"]
    ordered = ("fixed_order", "shuffled", "min_separation")
    if sampler in ordered and relation == "add_or_remove_one":
        raise PlanError(
            "neighboring_relation",
            relation,
            f"'replace_special' or 'replace_one' for {IN_WORDS[sampler]}",
            "an example more or less would move the others to other batches",
        )
    if sampler in ALLOCATED and relation == "replace_one":
        raise PlanError(
            "neighboring_relation",
            relation,
            f"'add_or_remove_one' or 'replace_special' for {IN_WORDS[sampler]}",
            "no theorem covers an example that is replaced in a batch that is hidden",
        )


def _check_group(values: Mapping[str, Any]) -> None:
    k, sampler = values["group_size"], values["sampler"]
    if k == 1:
        return
    if sampler in ("without_replacement", "cyclic_poisson", *ALLOCATED):
        reason = "the examples of a group are drawn in dependence on each other, so use 'poisson'"
        raise PlanError("group_size", k, f"1 for {IN_WORDS[sampler]}", reason)
    if sampler != "poisson":
        return
    if values["max_batch_size"] is not None:
        reason = "which of a group survive the cut is not worked out, so leave out max_batch_size"
        raise PlanError("group_size", k, "1 where batches are capped", reason)
    if values["neighboring_relation"] == "replace_one":
        reason = "the loss of a group that is replaced is not worked out, so use 'replace_special'"
        raise PlanError("group_size", k, "1 for Poisson sampling under 'replace_one'", reason)
    if k > LARGEST_GROUP:
        reason = "the loss of a larger group is not worked out under Poisson sampling"
        raise PlanError("group_size", k, f"at most {LARGEST_GROUP}", reason)


def _check_bins(values: Mapping[str, Any]) -> None:
    """Whole epochs, and what random allocation is priced for."""
    epochs, steps, noise = values["epochs"], values["steps"], values["noise_multiplier"]
    why = "a part of an epoch of balls in bins is not priced"
    if epochs is not None and epochs != int(epochs):
        raise PlanError("epochs", epochs, "a whole number", f"{why}, so plan the whole epoch")
    bins = batches(values)
    if bins is not None:
        if bins > _MOST_BINS:
            least = smallest_batch("balls_in_bins", values["dataset_size"])
            reason = f"balls in bins is priced for at most {_MOST_BINS} batches in an epoch"
            raise PlanError("batch_size", values["batch_size"], f"at least {least}", reason)
        if steps is not None and steps % bins:
            instead = f"so give epochs, or {max(bins, steps - steps % bins)} steps"
            allowed = f"a multiple of the {bins} batches of an epoch"
            raise PlanError("steps", steps, allowed, f"{why}, {instead}")
    least_noise, most_noise = noise_range("balls_in_bins")
    if noise is not None and not least_noise <= noise <= most_noise:
        allowed = f"a number in the interval [{least_noise:g}, {shown(most_noise)}]"
        reason = "balls in bins is priced for no other, so sample with 'poisson'"
        raise PlanError("noise_multiplier", noise, allowed, reason)


# -- correlated noise ------------------------------------------------------------------------------

_CORRELATED_INSTEAD: Final = {
    "poisson": "steps of one example would be next to each other by chance, so draw from groups in "
    "turn, with 'cyclic_poisson'",
    "without_replacement": "no theorem joins it with correlated noise, so use 'cyclic_poisson' or "
    "'fixed_order'",
    "balls_in_bins": "no theorem covers a batch that is drawn anew in every epoch, so draw it "
    "once, with 'balls_in_bins_once'",
}


def check_mechanism(values: Mapping[str, Any], steps: int | None) -> None:
    """Refuse correlated noise where nothing says what it costs, or that has another length.

    Raises
    ------
    PlanError
        If the plan's strategy does not fit the rest.
    """
    mechanism, sampler = values["mechanism"], values["sampler"]
    if mechanism == INDEPENDENT:
        return
    if sampler in _CORRELATED_INSTEAD:
        raise PlanError("sampler", sampler, "another one", _CORRELATED_INSTEAD[sampler])
    if getattr(mechanism, "estimator", None) == "full":
        reason = "its estimates use nodes of later steps, so that no run can add its noise"
        raise PlanError("mechanism", mechanism, "a strategy whose noise is made in order", reason)
    if steps is None or steps != mechanism.steps:
        if steps is None:
            raise PlanError("steps", None, f"{mechanism.steps}, as in the mechanism")
        reason = "design the mechanism anew for another length"
        raise PlanError("steps", steps, f"{mechanism.steps}, as in the mechanism", reason)
