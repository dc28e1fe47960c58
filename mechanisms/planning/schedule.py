"""How often examples are used: batches, sampling probability, epochs, steps, and how they relate.

All arithmetic is exact, on the numbers as they were typed: 3 epochs of a data set of 75 batches are
225 steps, and 60 epochs of 60,000 examples in batches of 256 are 14,063, the last of which goes a
little beyond the sixtieth epoch.

The sampling probability that belongs to a batch size is the double nearest to
``batch_size / dataset_size``. That double *is* the plan's sampling probability: it is what a
training loop compares random numbers with and what is accounted, so no rounding stands between.

Groups that take turns are sampled with so many times the probability, each in its own steps only.

Samplers that use every example once in every epoch, balls in bins and shuffled batches, cut it into
``ceil(dataset_size / batch_size)`` batches: 60 epochs of 60,000 examples in batches of 256 are
60 * 235 = 14,100 steps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mechanisms.planning.fields import LARGEST_COUNT, PlanError, PlanFields, exact
from mechanisms.planning.samplers import BY_EPOCHS, batches, check_mechanism, check_sampler

__all__ = ["Schedule", "schedule", "settled"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What follows from a plan's fields; None where they do not say enough.

    Attributes
    ----------
    sampling_probability : float or None
        Probability that one example takes part in one step; 1 for full batches, None where nothing
        is sampled at random.
    batch_size : int or float or None
        Expected number of examples in one step.
    steps : int or None
        Number of noisy steps.
    epochs : int or float or None
        Expected number of times that one example takes part.
    participations : int or None
        The largest number of steps in which one example takes part, where that is bounded.
    """

    sampling_probability: float | None
    batch_size: int | float | None
    steps: int | None
    epochs: int | float | None
    participations: int | None


def schedule(values: Mapping[str, Any]) -> Schedule:
    """Work out what follows from the given fields, which need not be complete.

    Raises
    ------
    PlanError
        If the fields ask for more than `LARGEST_COUNT` steps.
    """
    sampler, size = values["sampler"], values["dataset_size"]
    fraction = _fraction(values)
    steps = values["steps"]
    if steps is None and values["epochs"] is not None and fraction is not None:
        steps = math.ceil(exact(values["epochs"]) / fraction)
        if steps > LARGEST_COUNT:
            allowed = f"few enough for at most {LARGEST_COUNT:.0e} steps".replace("e+", "e")
            raise PlanError("epochs", values["epochs"], allowed)
    epochs = values["epochs"]
    if epochs is None and steps is not None and fraction is not None:
        epochs = _plain(steps * fraction)
    batch_size = values["batch_size"]
    if batch_size is None and fraction is not None and size is not None:
        batch_size = _plain(fraction * size)

    probability = values["sampling_probability"]
    participations = None
    if sampler == "fixed_order":
        probability = None
        if steps is not None and fraction is not None:
            # Batches that follow each other through the data, in any order of the examples that is
            # kept or drawn anew in every pass, bring an example back at most once in every
            # floor(dataset_size / batch_size) steps.
            participations = -(-steps // math.floor(1 / fraction))
    elif sampler == "min_separation":
        probability = None
        if steps is not None:
            fit = -(-steps // values["min_separation"])
            participations = min(fit, values["max_participations"] or fit)
    elif sampler == "cyclic_poisson":
        if probability is None and fraction is not None:
            probability = float(fraction * values["groups"])
        if steps is not None:
            participations = -(-steps // values["groups"])
    elif sampler in BY_EPOCHS:
        if sampler == "shuffled":
            probability = None
        elif fraction is not None:
            probability = float(fraction)
        if steps is not None and fraction is not None:
            participations = math.ceil(steps * fraction)
    elif sampler == "full_batch":
        probability = 1.0
        participations = steps
    elif probability is None and fraction is not None:
        probability = float(fraction)
    return Schedule(probability, batch_size, steps, epochs, participations)


def settled(values: dict[str, Any]) -> PlanFields:
    """Check the fields against each other and keep one of each pair that says the same.

    Raises
    ------
    PlanError
        If two fields contradict each other, or one needs another that is missing.
    """
    values = dict(values)
    size, batch = values["dataset_size"], values["batch_size"]
    if batch is not None:
        if size is None:
            raise PlanError("dataset_size", None, "given together with batch_size")
        if batch > size:
            raise PlanError("batch_size", batch, f"at most dataset_size={size}")
    check_sampler(values)
    batch = values["batch_size"]
    if size is not None and values["group_size"] > size:
        raise PlanError("group_size", values["group_size"], f"at most dataset_size={size}")

    probability = values["sampling_probability"]
    if batch is not None and probability is not None:
        share = float(Fraction(batch, size) * (values["groups"] or 1))
        if share != probability:
            expected = f"left out, or {share!r} as batch_size={batch} says"
            raise PlanError("sampling_probability", probability, expected)
        values["sampling_probability"] = None
    if values["epochs"] is not None and values["steps"] is not None:
        from_epochs = schedule(values | {"steps": None}).steps
        if from_epochs is None:
            reason = "without a batch size there is no telling whether they agree"
            raise PlanError("steps", values["steps"], "left out where epochs is given", reason)
        if from_epochs != values["steps"]:
            expected = f"left out, or {from_epochs} as epochs={values['epochs']} says"
            raise PlanError("steps", values["steps"], expected)
        values["epochs"] = None
    check_mechanism(values, schedule(values).steps)
    return PlanFields(**values)


def _fraction(values: Mapping[str, Any]) -> Fraction | None:
    """Return the share of the data set that one step uses, exactly: on average, over an epoch."""
    if values["sampler"] == "full_batch":
        return Fraction(1)
    if values["sampler"] in BY_EPOCHS:
        count = batches(values)
        return None if count is None else Fraction(1, count)
    if values["sampling_probability"] is not None:
        return exact(values["sampling_probability"]) / (values["groups"] or 1)
    if values["batch_size"] is not None and values["dataset_size"] is not None:
        return Fraction(values["batch_size"], values["dataset_size"])
    return None


def _plain(value: Fraction) -> int | float:
    """Return an int where the fraction is whole, else the nearest float."""
    return value.numerator if value.denominator == 1 else float(value)
