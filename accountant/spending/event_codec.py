"""Events as JSON values and back: what a file may say, and nothing else.

Reading never imports, looks up or calls anything that the file names: a name is looked for in the
table below, whose fields and their kinds are fixed.  (``DpEvent.from_named_tuple`` of dp_accounting
imports the module that its argument names, so it is not for files.)
"""

from __future__ import annotations

import math
import reprlib
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from dp_accounting import dp_event

from accountant import events

__all__ = ["decode_event", "encode_event"]

Kind: TypeAlias = Literal["number", "numbers", "number or numbers", "event", "events"]

# Deeper nesting has no use, and reading it would exhaust the stack.
MAX_DEPTH: Final = 64
MAX_INTEGER: Final = 2**63 - 1

_CLASSES: Final[dict[type[dp_event.DpEvent], dict[str, Kind]]] = {
    dp_event.NoOpDpEvent: {},
    dp_event.NonPrivateDpEvent: {},
    dp_event.UnsupportedDpEvent: {},
    dp_event.RandomizedResponseDpEvent: {"noise_parameter": "number", "num_buckets": "number"},
    dp_event.GaussianDpEvent: {"noise_multiplier": "number"},
    dp_event.LaplaceDpEvent: {"noise_multiplier": "number"},
    dp_event.DiscreteLaplaceDpEvent: {"noise_parameter": "number", "sensitivity": "number"},
    dp_event.SelfComposedDpEvent: {"event": "event", "count": "number"},
    dp_event.ComposedDpEvent: {"events": "events"},
    dp_event.PoissonSampledDpEvent: {"sampling_probability": "number", "event": "event"},
    dp_event.SampledWithReplacementDpEvent: {
        "source_dataset_size": "number",
        "sample_size": "number",
        "event": "event",
    },
    dp_event.SampledWithoutReplacementDpEvent: {
        "source_dataset_size": "number",
        "sample_size": "number",
        "event": "event",
    },
    dp_event.SingleEpochTreeAggregationDpEvent: {
        "noise_multiplier": "number",
        "step_counts": "number or numbers",
    },
    dp_event.RepeatAndSelectDpEvent: {"event": "event", "mean": "number", "shape": "number"},
    dp_event.MixtureOfGaussiansDpEvent: {
        "standard_deviation": "number",
        "sensitivities": "numbers",
        "sampling_probs": "numbers",
    },
    dp_event.ZCDpEvent: {"rho": "number", "xi": "number"},
    dp_event.TruncatedSubsampledGaussianDpEvent: {
        "dataset_size": "number",
        "sampling_probability": "number",
        "truncated_batch_size": "number",
        "noise_multiplier": "number",
    },
    events.ApproximateDpEvent: {"epsilon": "number", "delta": "number"},
    events.DiscreteGaussianDpEvent: {"standard_deviation": "number", "sensitivity": "number"},
    events.ExponentialMechanismDpEvent: {"epsilon": "number"},
    events.RenyiDpEvent: {"orders": "numbers", "divergences": "numbers"},
    events.SparsifiedGaussianDpEvent: {
        "noise_multiplier": "number",
        "keep_probability": "number",
        "largest_coordinate": "number",
        "dimension": "number",
    },
    events.TreeAggregationDpEvent: {
        "noise_multiplier": "number",
        "steps": "number",
        "max_participations": "number",
        "min_separation": "number",
    },
    events.CyclicPoissonSampledDpEvent: {
        "steps": "number",
        "cycle_length": "number",
        "sampling_probability": "number",
        "event": "event",
    },
    events.RandomAllocationDpEvent: {"steps": "number", "event": "event", "selections": "number"},
    events.ShuffledDpEvent: {"steps": "number", "event": "event"},
    events.GroupDpEvent: {"group_size": "number", "event": "event"},
}
_BY_NAME: Final = {event_class.__name__: event_class for event_class in _CLASSES}
_NON_FINITE: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_DTYPES: Final = ("float64", "float32", "int64", "int32")


def encode_event(event: dp_event.DpEvent) -> dict[str, Any]:
    """The JSON value of an event; :func:`decode_event` gives an equal event back.

    An event is an object whose "type" is the name of its class.  Finite floats are JSON numbers in
    their shortest exact form, so that every bit comes back; others are ``{"float": "inf"}``,
    ``"-inf"`` or ``"nan"``.  A list is an array, a tuple ``{"tuple": [...]}``, a one-dimensional
    NumPy array ``{"array": [...], "dtype": "float64"}``.

    Raises
    ------
    ValueError
        The event's class is not in the table, or a field holds something else than what its class
        says: a truth value, text, a number beyond 64 bits; or events are nested too deeply.
    """
    return _encode(event, 0)


def decode_event(value: object) -> dp_event.DpEvent:
    """The event that a JSON value describes.

    Raises
    ------
    ValueError
        The value is not what :func:`encode_event` writes; the message says where it differs.
    """
    return _decode(value, 0)


# --- writing -------------------------------------------------------------------------------------


def _encode(event: object, depth: int) -> dict[str, Any]:
    fields = _CLASSES.get(type(event))
    if fields is None:
        raise ValueError(
            f"{type(event).__name__} has no place in a file: the events that have are "
            f"{', '.join(sorted(_BY_NAME))}"
        )
    _check_depth(depth)
    encoded: dict[str, Any] = {"type": type(event).__name__}
    for name, kind in fields.items():
        value = getattr(event, name)
        where = f"{type(event).__name__}.{name}"
        if kind == "event":
            encoded[name] = _encode(value, depth + 1)
        elif kind == "events":
            encoded[name] = _encode_sequence(value, where, lambda v: _encode(v, depth + 1))
        elif kind == "numbers" or (kind == "number or numbers" and not _is_number(value)):
            encoded[name] = _encode_sequence(value, where, lambda v, w=where: _encode_number(v, w))
        else:
            encoded[name] = _encode_number(value, where)
    return encoded


def _encode_sequence(values: Any, where: str, encode: Any) -> Any:
    if type(values) is list:
        return [encode(value) for value in values]
    if type(values) is tuple:
        return {"tuple": [encode(value) for value in values]}
    if isinstance(values, np.ndarray) and values.ndim == 1 and str(values.dtype) in _DTYPES:
        return {"array": [encode(v) for v in values.tolist()], "dtype": str(values.dtype)}
    raise ValueError(
        f"{where} must be a list, a tuple or a one-dimensional array of {', '.join(_DTYPES)} to be "
        f"written, got {type(values).__name__}"
    )


def _is_number(value: object) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.integer, np.float64, np.float32, np.float16))


def _encode_number(value: Any, where: str) -> Any:
    if not _is_number(value):
        raise ValueError(f"{where} must be a number to be written, got {_short(value)}")
    if isinstance(value, (int, np.integer)):
        return _bounded(int(value), where)
    number = float(value)
    if math.isfinite(number):
        return number
    return {"float": str(number)}


# --- reading -------------------------------------------------------------------------------------


def _decode(value: object, depth: int) -> dp_event.DpEvent:
    _check_depth(depth)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ValueError(f'an event must be an object with a "type", got {_short(value)}')
    event_class = _BY_NAME.get(value["type"])
    if event_class is None:
        raise ValueError(
            f"{_short(value['type'])} is not an event that a file may name; those are "
            f"{', '.join(sorted(_BY_NAME))}"
        )
    fields = _CLASSES[event_class]
    unknown = sorted(value.keys() - fields.keys() - {"type"})
    if unknown:
        raise ValueError(f"{event_class.__name__} has no field {_short(unknown[0])}")
    arguments = {
        name: _decode_field(value[name], kind, f"{event_class.__name__}.{name}", depth)
        for name, kind in fields.items()
        if name in value
    }
    try:
        return event_class(**arguments)
    except TypeError:
        missing = ", ".join(sorted(fields.keys() - arguments.keys()))
        raise ValueError(f"of {event_class.__name__}, {missing} is missing") from None


def _decode_field(value: object, kind: Kind, where: str, depth: int) -> Any:
    if kind == "event":
        return _decode(value, depth + 1)
    if kind == "events":
        return _decode_sequence(value, where, lambda v: _decode(v, depth + 1))
    if kind == "numbers" or (
        kind == "number or numbers"
        and (isinstance(value, list) or (isinstance(value, dict) and "float" not in value))
    ):
        return _decode_sequence(value, where, lambda v: _decode_number(v, where))
    return _decode_number(value, where)


def _decode_sequence(value: object, where: str, decode: Any) -> Any:
    match value:
        case list():
            return [decode(one) for one in value]
        case {"tuple": list(values), **rest} if not rest:
            return tuple(decode(one) for one in values)
        case {"array": list(values), "dtype": str(dtype), **rest} if not rest and dtype in _DTYPES:
            numbers = [decode(one) for one in values]
            array = np.asarray(numbers, dtype=dtype) if _fits(numbers, dtype) else None
            if array is not None:
                return array
    raise ValueError(f"{where} must be an array, a tuple or a NumPy array, got {_short(value)}")


def _fits(numbers: list[Any], dtype: str) -> bool:
    """Whether an array of this type holds these very numbers."""
    if dtype.startswith("int"):
        limit = np.iinfo(dtype)
        return all(isinstance(n, int) and limit.min <= n <= limit.max for n in numbers)
    if not all(isinstance(n, float) for n in numbers):
        return False
    with np.errstate(over="ignore"):
        return bool(np.array_equal(np.asarray(numbers, dtype=dtype), numbers, equal_nan=True))


def _decode_number(value: object, where: str) -> float | int:
    match value:
        case bool():
            pass
        case int():
            return _bounded(value, where)
        case float() if math.isfinite(value):
            return value
        case {"float": str(name), **rest} if not rest and name in _NON_FINITE:
            return _NON_FINITE[name]
    raise ValueError(f"{where} must be a number, got {_short(value)}")


def _bounded(value: int, where: str) -> int:
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"{where} must be a whole number of at most 64 bits, got {_short(value)}")
    return value


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(
            f"events are nested more than {MAX_DEPTH} deep: compose them in one flat list instead"
        )


def _short(value: object) -> str:
    return reprlib.repr(value)
