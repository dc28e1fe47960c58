"""Numbers of other libraries as Python's own, on the safe side of their rounding.

An array library hands over numbers in single precision: ``float32(1.1)`` is above 1.1.  The number
that was meant lies within one step of the number that arrived, so one step towards more privacy
loss covers it.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import attr
import numpy as np
from dp_accounting import dp_event

# Where a field of an event moves when it has to be covered: less noise, more sampling.
TOWARDS = {"noise_multiplier": 0.0, "standard_deviation": 0.0, "sampling_probability": 1.0}
WHOLE = {"count", "source_dataset_size", "sample_size", "dataset_size", "truncated_batch_size"}


def safe_scalar(value: Any, name: str, towards: float) -> float:
    """A number of NumPy, JAX, TensorFlow or PyTorch as a float that covers its rounding.

    Python's numbers and double precision are taken as they are.

    Parameters
    ----------
    value
        A number, or an array of no dimensions.
    name
        What the number is, for the error message.
    towards
        The limit in whose direction a number of less than double precision moves by one step.

    Raises
    ------
    ValueError
        ``value`` is not one number.
    """
    array = None if isinstance(value, (bool, str)) or value is None else np.asarray(value)
    if array is None or array.ndim or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be one number, got {value!r}")
    if array.dtype.kind != "f" or array.dtype.itemsize >= 8 or array == 0.0:
        return float(array)
    return float(np.nextafter(array, array.dtype.type(towards)))


def whole_number(value: Any, name: str) -> int:
    """A whole number >= 0 of any library as an int.

    Raises
    ------
    ValueError
        ``value`` is not a whole number, or negative.
    """
    try:
        found = -1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise ValueError(f"{name} must be a whole number >= 0, got {value!r}")
    return found


def plain_event(event: dp_event.DpEvent) -> dp_event.DpEvent:
    """The event with numbers of Python's own in it, at every depth; see :func:`safe_scalar`."""
    if not attr.has(type(event)):
        return event
    found: dict[str, Any] = {}
    for field in attr.fields(type(event)):
        value = getattr(event, field.name)
        if field.name in TOWARDS:
            found[field.name] = safe_scalar(value, field.name, TOWARDS[field.name])
        elif field.name in WHOLE:
            found[field.name] = whole_number(value, field.name)
        elif field.name == "event":
            found[field.name] = plain_event(value)
        elif field.name == "events":
            found[field.name] = [plain_event(part) for part in value]
    return attr.evolve(event, **found)


def divided_down(numerator: float, denominator: float) -> float:
    """``numerator / denominator`` of numbers >= 0, rounded down: a noise multiplier."""
    return math.nextafter(numerator / denominator, 0.0)
