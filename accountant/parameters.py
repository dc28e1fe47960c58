"""Checks of the parameters of events, and what several rules need."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import attr
import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError

ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = NeighboringRelation.REPLACE_ONE
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
ONE_RECORD = (ADD_OR_REMOVE, ZERO_OUT)


# Whole numbers up to here are doubles.
LARGEST_COUNT = 2**53
# Numbers in one list.
MOST_NUMBERS = 100_000
# How deeply events may be nested: far more than any real run, far less than Python's stack.
DEEPEST = 60
# Events that an event may unfold into, those that it holds several times counted as often.
MOST_EVENTS = 1_000_000


def whole_count(value: object, name: str, least: int = 0) -> int:
    """``value`` as a whole number within [least, 2^53]."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not is_whole or value < least:  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number >= {least}, got {short(value)}")
    if value > LARGEST_COUNT:  # type: ignore[operator]
        raise ValueError(
            f"{name} must be at most 2^53, so that it is exact as a double, got {short(value)}"
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def noise(value: object, name: str) -> float:
    """A noise level: >= 0, infinity allowed."""
    number = nonnegative(value, name)
    # below or above, 1/sigma^2 is not a double
    if 0.0 < number < 1e-100 or 1e100 < number < math.inf:
        raise UnsupportedEventError(
            f"{name} must be 0, infinity or within [1e-100, 1e100] so that its square is a double, "
            f"got {short(value)}"
        )
    return number


def nonnegative(value: object, name: str) -> float:
    """A number >= 0, infinity allowed."""
    number = _double(value)
    if number is None or not number >= 0.0:
        raise ValueError(f"{name} must be a number >= 0{_exactly(value)}, got {short(value)}")
    return abs(number)


def probability(value: object, name: str) -> float:
    """A number within [0, 1]."""
    number = _double(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must be within [0, 1]{_exactly(value)}, got {short(value)}")
    return abs(number)


def _is_number(value: object) -> bool:
    if isinstance(value, (bool, np.bool_, complex)):
        return False
    return isinstance(value, (int, float, np.integer, np.floating))


def _double(value: object) -> float | None:
    """The same number as a double, NaN included; None where there is none."""
    if isinstance(value, float):
        return float(value)
    if not _is_number(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    # rounding may take away noise that is there, or sampling; NaN differs from itself
    return number if number == value or number != number else None


def _exactly(value: object) -> str:
    return " and exact as a double" if _is_number(value) and _double(value) is None else ""


def check_nesting(event: dp_event.DpEvent) -> None:
    """Refuse events that are nested too deeply, contain themselves, or unfold into too many.

    Raises
    ------
    ValueError
        The event cannot be walked through in a bounded time and depth.
    """
    # height and unfolded size of what has been gone through, by identity
    known: dict[int, tuple[int, int]] = {}
    inner = _inner_events(event)
    path = [(event, inner, iter(inner))]
    while path:
        top, inner, rest = path[-1]
        ahead = next((e for e in rest if id(e) not in known), None)
        height = size = 0
        if ahead is not None:
            below = _inner_events(ahead)
            path.append((ahead, below, iter(below)))
        else:
            path.pop()
            height = 1 + max((known[id(e)][0] for e in inner), default=0)
            size = 1 + sum(known[id(e)][1] for e in inner)
            known[id(top)] = height, size
        if len(path) + height > DEEPEST:
            raise ValueError(
                f"events may be nested at most {DEEPEST} deep, and must not contain themselves; "
                "flatten the composition"
            )
        if size > MOST_EVENTS:
            raise ValueError(
                f"an event may unfold into at most {MOST_EVENTS:,} events; use SelfComposedDpEvent "
                "for those that are repeated"
            )


def _inner_events(event: object) -> list[dp_event.DpEvent]:
    """What an event is made of, one level down."""
    parts = [getattr(event, "event", None)]
    several = getattr(event, "events", None)
    if isinstance(several, (list, tuple)):
        parts += several
    return [part for part in parts if isinstance(part, dp_event.DpEvent)]


def event_list(value: object, name: str) -> Sequence[Any]:
    """A sequence that can be gone through more than once; its parts are checked elsewhere."""
    if isinstance(value, (list, tuple)):
        return value
    raise ValueError(f"{name} must be a list or a tuple of DpEvents, got {short(value)}")


def require(
    event: dp_event.DpEvent, relation: NeighboringRelation, *allowed: NeighboringRelation, why: str
) -> None:
    """Refuse a relation under which the event has no proven loss."""
    if relation not in allowed:
        names = " and ".join(r.name for r in allowed)
        raise UnsupportedEventError(
            f"{type(event).__name__} is supported under {names}, not under {relation.name}: {why}"
        )


def short(value: object) -> str:
    """A value, fit for a sentence: bounded in length, time and depth."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # whatever the repr of a stranger raises
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


class _Short(reprlib.Repr):
    """``repr`` of bounded length, also of whole numbers, and of events within events."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = self.maxlist = self.maxtuple = 4
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        digits = x.bit_length()
        return repr(x) if digits <= 200 else f"a whole number of {digits} bits"

    def repr_instance(self, x: Any, level: int) -> str:
        if not isinstance(x, dp_event.DpEvent):
            return super().repr_instance(x, level)
        if level <= 0:
            return f"{type(x).__name__}(...)"
        fields = [(a.name, getattr(x, a.name)) for a in attr.fields(type(x))]
        inside = ", ".join(f"{name}={self.repr1(value, level - 1)}" for name, value in fields)
        return f"{type(x).__name__}({inside})"


_SHORT = _Short()


def binomial_weights(k: int, q: float) -> tuple[float, ...]:
    """The probabilities of Binomial(k, q), rounded so that no privacy is lost to rounding.

    Every probability of at least one participant is rounded up, and that of none is what is left:
    the rounded distribution is stochastically larger than the exact one, and a mixture of Gaussians
    with larger sensitivities dominates (arXiv 2310.15526).
    """
    exact_q = Fraction(q)
    exact = [math.comb(k, i) * exact_q**i * (1 - exact_q) ** (k - i) for i in range(1, k + 1)]
    some = [_rounded_up(p) for p in exact]
    none = 1 - sum(map(Fraction, some))
    return (max(0.0, float(none)), *some)


def hypergeometric_weights(size: int, group: int, batch: int) -> tuple[float, ...]:
    """The probabilities that a batch drawn without replacement holds 0, 1, ... of a group.

    Rounded as those of ``binomial_weights``.
    """
    total = math.comb(size, group)
    exact = [
        Fraction(math.comb(batch, x) * math.comb(size - batch, group - x), total)
        for x in range(1, min(group, batch) + 1)
    ]
    some = [_rounded_up(p) for p in exact]
    none = 1 - sum(map(Fraction, some))
    return (max(0.0, float(none)), *some)


def _rounded_up(value: Fraction) -> float:
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def divided_down(value: float, divisor: int) -> float:
    """``value / divisor``, rounded down: less noise than there is."""
    if not math.isfinite(value):
        return value
    nearest = float(Fraction(value) / divisor)
    return nearest if Fraction(nearest) * divisor <= Fraction(value) else math.nextafter(nearest, 0)


def as_float_array(value: Any, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A one-dimensional array of numbers."""
    entries = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(entries, (list, tuple, range)) or not entries:
        raise ValueError(f"{name} must be a sequence of at least one number, got {short(value)}")
    if len(entries) > MOST_NUMBERS:
        raise ValueError(f"{name} must be at most {MOST_NUMBERS:,} numbers, got {len(entries):,}")
    numbers = [_double(entry) for entry in entries]
    if None in numbers:
        wrong = short(entries[numbers.index(None)])
        raise ValueError(f"{name} must be a sequence of numbers, doubles exactly, got {wrong}")
    return np.array(numbers, dtype=np.float64)
