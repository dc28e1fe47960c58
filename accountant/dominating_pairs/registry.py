"""The registry of rules: one function per event class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.errors import UnsupportedEventError
from accountant.terms import Terms

Rule = Callable[[Any, NeighboringRelation], Terms]
_RULES: dict[type[dp_event.DpEvent], Rule] = {}


def rule(event_class: type[dp_event.DpEvent]) -> Callable[[Rule], Rule]:
    """Register the dominating pair of an event class."""

    def register(function: Rule) -> Rule:
        _RULES[event_class] = function
        return function

    return register


def supported_events() -> tuple[str, ...]:
    """Names of the event classes that have a rule."""
    return tuple(sorted(c.__name__ for c in _RULES))


def terms(event: dp_event.DpEvent, relation: NeighboringRelation) -> Terms:
    """The parts of the privacy loss of ``event`` under ``relation``.

    Raises
    ------
    UnsupportedEventError
        The event, or a part of it, has no proven loss here under this relation.
    TypeError
        ``event`` is not a DpEvent.
    ValueError
        A parameter of the event is outside its domain.
    """
    if not isinstance(event, dp_event.DpEvent):
        raise TypeError(f"event must be a dp_accounting.DpEvent, got {type(event).__name__}")
    found = _RULES.get(type(event))
    if found is None:
        raise UnsupportedEventError(
            f"{type(event).__name__} has no proven privacy loss here; supported are "
            + ", ".join(supported_events())
        )
    return found(event, relation)
