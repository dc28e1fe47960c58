"""What a draft says that a mechanism is designed for, and compared at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mechanisms.design_views import PREFIX_SUMS, Purpose
from mechanisms.designs import Design, Objective, parse
from mechanisms.planning.fields import INDEPENDENT, LARGEST_COUNT
from ui.drafts import Draft
from ui.entries import EntryError, parse_number
from ui.words import LABELS

__all__ = ["PURPOSES", "Limits", "Wanted", "limits", "wanted"]

# The fields of a draft that say what a mechanism serves.
PURPOSES: Final = (
    "objective",
    "schedule",
    "momentum",
    "weight_decay",
    "final",
    "cooldown",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mechanism by its name, and what it is designed for.

    Attributes
    ----------
    design : Design or None
        None for independent noise, and where the name has faults.
    purpose : Purpose or None
        None where it has faults.
    faults : mapping of str to str
        For each field that does not hold, one sentence that says why.
    """

    design: Design | None
    purpose: Purpose | None
    faults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What mechanisms are compared at.

    Attributes
    ----------
    epsilon : float or None
        None for what the plan costs.
    memory : int or None
        Model copies that noise may keep; None for any number.
    parameters : int or None
        Of the model, to say what its copies take.
    faults : mapping of str to str
    """

    epsilon: float | None
    memory: int | None
    parameters: int | None
    faults: Mapping[str, str] = field(default_factory=dict)


def wanted(draft: Draft) -> Wanted:
    """Read which mechanism a draft has, and what for."""
    faults: dict[str, str] = {}
    terms = [draft.schedule] if draft.schedule in ("cosine", "linear") else []
    for name, usual in _terms(draft).items():
        text = getattr(draft, name).strip() or usual
        if not text:
            continue
        try:
            term = f"{name}={float(parse_number(text))!r}"
            Purpose(words=f"cosine,{term}" if name == "final" else term)
        except EntryError as error:
            faults[name] = f"{LABELS[name]}: {error}"
        except ValueError as error:
            # The sentence starts with the name of a parameter.
            faults[name] = f"{LABELS[name]} {str(error).partition(' ')[2]}."
        else:
            terms.append(term)
    objective: Objective = "max" if draft.objective == "max" else "mean"
    purpose = None if faults else Purpose(objective, ",".join(terms) or PREFIX_SUMS)
    design: Design | None = None
    try:
        design = named(draft)
    except ValueError as error:
        faults["mechanism"] = f"{LABELS['mechanism']}: {error}."
    return Wanted(design, purpose, faults)


def _terms(draft: Draft) -> dict[str, str]:
    """Return the numbers that a draft's workload has, and what they are where nothing is said."""
    terms = {"momentum": "", "weight_decay": ""}
    if draft.schedule:
        terms["final"] = ""
    if draft.schedule == "cooldown":
        terms["cooldown"] = "0.2"
    return terms


def named(draft: Draft) -> Design | None:
    """Return the design that a draft names; None for independent noise.

    Raises
    ------
    ValueError
        If it is not the name of one.
    """
    name = draft.mechanism.strip()
    return None if name in ("", INDEPENDENT) else parse(name)


def limits(draft: Draft) -> Limits:
    """Read what a draft compares mechanisms at."""
    faults: dict[str, str] = {}
    given: dict[str, Any] = {}
    for name in ("compare_at", "memory", "parameters"):
        text = getattr(draft, name).strip()
        if not text:
            continue
        try:
            value = _number(text)
        except EntryError as error:
            faults[name] = f"{LABELS[name]}: {error}"
            continue
        least = 0 if name == "memory" else 1
        if name == "compare_at" and not value > 0:
            faults[name] = f"{LABELS[name]} must be a number above 0, not {text}."
        elif name != "compare_at" and not _is_count(value, least):
            faults[name] = f"{LABELS[name]} must be a whole number from {least} on, not {text}."
        else:
            given[name] = value
    target = given.get("compare_at")
    return Limits(
        None if target is None else float(target),
        given.get("memory"),
        given.get("parameters"),
        faults,
    )


def _is_count(value: int | float, least: int) -> bool:
    return isinstance(value, int) and least <= value <= LARGEST_COUNT


def _number(text: str) -> int | float:
    value = parse_number(text)
    return value.numerator if value.denominator == 1 else float(value)
