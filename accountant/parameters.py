"""Checks of the parameters of events, and what several rules need."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError

ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = NeighboringRelation.REPLACE_ONE
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL
ONE_RECORD = (ADD_OR_REMOVE, ZERO_OUT)


def whole_count(value: object, name: str, least: int = 0) -> int:
    """``value`` as a whole number >= ``least``."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not is_whole or value < least:  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number >= {least}, got {short(value)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def noise(value: object, name: str) -> float:
    """A noise level: >= 0, infinity allowed."""
    number = nonnegative(value, name)
    # below or above, 1/sigma^2 is not a double
    if 0.0 < number < 1e-100 or 1e100 < number < math.inf:
        raise UnsupportedEventError(f"{name} must be 0 or within [1e-100, 1e100], got {value!r}")
    return number


def nonnegative(value: object, name: str) -> float:
    """A number >= 0, infinity allowed."""
    if not _is_number(value) or not float(value) >= 0.0:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a number >= 0, got {short(value)}")
    return float(value)  # type: ignore[arg-type]


def probability(value: object, name: str) -> float:
    """A number within [0, 1]."""
    if not _is_number(value) or not 0.0 <= float(value) <= 1.0:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be within [0, 1], got {short(value)}")
    return float(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    if isinstance(value, (bool, np.bool_, complex)):
        return False
    return isinstance(value, (int, float, np.integer, np.floating))


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
    """A value, fit for a sentence."""
    text = repr(value) if not isinstance(value, dp_event.DpEvent) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


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
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a sequence of numbers, got {short(value)}") from None
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a sequence of at least one number, got {short(value)}")
    return array
