"""Widgets <-> Plan <-> link.

The draft in the session is the one truth. A widget's callback writes what was typed into it; before
a widget is drawn it is given the draft's text; the address bar always holds the draft's link, so
that a reload loses nothing, the back button undoes, and whoever gets the link sees the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import streamlit as st

from mechanisms.design_views import Purpose
from mechanisms.designs import Design
from mechanisms.plan import Plan
from mechanisms.planning.fields import INDEPENDENT, PlanError, validated
from ui.drafts import EXAMPLE, Draft, from_link, to_link
from ui.entries import EntryError, parse_number
from ui.purposes import PURPOSES, wanted
from ui.words import LABELS, in_words

__all__ = [
    "Question",
    "Session",
    "active_fields",
    "bind",
    "current",
    "is_correlated",
    "question",
    "session",
    "spoken",
]

_FRESH: Final = count()  # numbers for keys that no widget has had

_NUMBERS: Final = (
    "dataset_size",
    "batch_size",
    "sampling_probability",
    "epochs",
    "steps",
    "noise_multiplier",
    "delta",
    "group_size",
    "clip_norm",
    "max_batch_size",
)
# What one sampler alone has.
_OWNED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "min_separation": ("min_separation", "max_participations"),
        "cyclic_poisson": ("groups",),
    }
)
_TEXTS: Final = ("sampler", "neighboring_relation", "unit", "release")


@dataclass(frozen=True, slots=True)
class Question:
    """What a draft asks.

    Attributes
    ----------
    plan : Plan or None
        The plan, incomplete where something is to be solved for, and without its mechanism, which
        takes time to design; None where the draft has faults.
    epsilon : float or None
        The target, where something is to be solved for.
    faults : mapping of str to str
        For each field that does not hold, one sentence that says why.
    design : Design or None
        The mechanism that the plan has, to be designed; None for independent noise.
    purpose : Purpose
        What it is designed for.
    """

    plan: Plan | None
    epsilon: float | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    design: Design | None = None
    purpose: Purpose = Purpose()  # noqa: RUF009 (immutable)


def active_fields(draft: Draft) -> tuple[str, ...]:
    """Name the fields that count: not the unknown one, nor the other way of saying the same."""
    skipped = {
        {"batch_size": "sampling_probability"}.get(draft.batch_in, "batch_size"),
        {"epochs": "steps"}.get(draft.length_in, "epochs"),
        "epsilon",
    }
    if draft.sampler == "full_batch":
        skipped |= {"batch_size", "sampling_probability"}
    if draft.solve != "epsilon":
        skipped.discard("epsilon")
        skipped |= {
            "noise_multiplier": {"noise_multiplier"},
            "length": {"epochs", "steps"},
            "batch_size": {"batch_size", "sampling_probability"},
        }[draft.solve]
    designed = ("mechanism", *PURPOSES) if is_correlated(draft) else ()
    names = (*_NUMBERS, *_OWNED.get(draft.sampler, ()), *_TEXTS, *designed, "epsilon")
    return tuple(name for name in names if name not in skipped)


def is_correlated(draft: Draft) -> bool:
    """Whether a draft names a mechanism, be it one that there is or not."""
    return draft.mechanism.strip() not in ("", INDEPENDENT)


# What a field that may not be left out is for: the rest have defaults, or follow from others.
_NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dataset_size": "how many examples the training set has, such as 60,000 or 9.6e9",
        "batch_size": "how many examples one step uses on average, such as 256",
        "sampling_probability": "the chance that one example is in one step, such as 0.004",
        "epochs": "how often an example is used on average, such as 60",
        "steps": "how many updates the run makes, such as 14,063",
        "noise_multiplier": "the noise's standard deviation over the clipping norm, such as 1.1",
        "epsilon": "the cost that may not be exceeded, such as 3",
        "delta": "a probability well below one in the number of examples, such as 1e-6",
        "min_separation": "how many steps after one an example may come back, such as 342",
        "groups": "how many groups of examples take turns, such as 4",
    }
)


def question(draft: Draft) -> Question:
    """Read a draft into a Plan, or say of every entry that cannot be read what is wrong."""
    faults: dict[str, str] = {}
    given: dict[str, Any] = {}
    mechanism = wanted(draft) if is_correlated(draft) else None
    if mechanism is not None:
        faults |= mechanism.faults
    for name in active_fields(draft):
        if name == "mechanism" or name in PURPOSES:
            continue
        text = getattr(draft, name).strip()
        if not text:
            optional = name == "dataset_size" and _needs_no_size(draft)
            if name in _NEEDED and not optional:
                faults[name] = f"{LABELS[name]} is empty: enter {_NEEDED[name]}."
            continue
        if name in _TEXTS:
            given[name] = text
            continue
        try:
            given[name] = _plain(parse_number(text))
            if name != "epsilon":
                validated({name: given[name]})
        except EntryError as error:
            faults[name] = f"{LABELS[name]}: {error}"
        except PlanError as error:
            faults[name] = spoken(error)
    epsilon = given.pop("epsilon", None)
    if epsilon is not None and not epsilon > 0:
        faults["epsilon"] = f"Target ε must be a number above 0, not {epsilon}."
    if draft.solve == "batch_size" and draft.sampler == "full_batch":
        faults["solve"] = "Full batches leave no batch size to solve for: solve for another one."
    if mechanism is not None and draft.solve in ("length", "batch_size"):
        faults["solve"] = (
            "Correlated noise is designed for one length and one order of the batches: solve for "
            "the cost or the noise, or use independent noise."
        )
    if faults:
        return Question(None, None, faults)
    try:
        plan = Plan(**given)
    except PlanError as error:
        name = error.field if error.field in LABELS else "solve"
        return Question(None, None, {name: spoken(error)})
    target = None if epsilon is None else float(epsilon)
    if mechanism is None or mechanism.purpose is None:
        return Question(plan, target)
    return Question(plan, target, {}, mechanism.design, mechanism.purpose)


def spoken(error: PlanError) -> str:
    """Say what a Plan refuses in the page's words: its field by the label that is on the page."""
    text = in_words(str(error))
    label = LABELS.get(error.field)
    if label is not None and text.startswith(error.field):
        return f"{label}{text.removeprefix(error.field)}"
    return text


def _needs_no_size(draft: Draft) -> bool:
    return draft.batch_in == "sampling_probability" or draft.sampler == "full_batch"


def _plain(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


@dataclass
class Session:
    """What one browser tab holds."""

    draft: Draft = EXAMPLE
    pinned: Draft | None = None
    complaints: tuple[str, ...] = ()
    address: Mapping[str, str] | None = None  # the link that was last written to the address bar
    keys: dict[tuple[str, str], str] = field(default_factory=dict)  # of the widgets; see `bind`
    page: str | None = None  # the page that was shown last

    def change(self, **changes: str) -> None:
        """Change some of the draft's text."""
        self.draft = self.draft.with_(**changes)

    def pin(self) -> None:
        """Keep the draft as it is now, to compare with."""
        self.pinned = self.draft

    def unpin(self) -> None:
        """Let go of the pinned draft."""
        self.pinned = None

    def swap(self) -> None:
        """Exchange the draft and the pinned one."""
        if self.pinned is not None:
            self.draft, self.pinned = self.pinned, self.draft

    def follow(self, parameters: Mapping[str, str], page: str = "") -> None:
        """Take over the address bar's link, if it is news.

        It is news in a new tab, and after the browser's back button. It is not where the draft was
        changed since the link was written: then the browser only has not heard of it yet. Nor is it
        where another page was chosen, whose address starts without a link.
        """
        turned, self.page = self.page not in (None, page), page
        if turned and not parameters:
            return
        changed = self.address is not None and self.link() != (self.address or to_link(EXAMPLE))
        if changed:
            self.complaints = ()
        elif dict(parameters) != self.address:
            self.draft, self.pinned, self.complaints = from_link(parameters)

    def link(self) -> dict[str, str]:
        """Return the query parameters that restore this session."""
        return to_link(self.draft, self.pinned)


def session(page: str = "") -> Session:
    """Return this tab's session, brought up to date with the address bar of a page."""
    mine: Session = st.session_state.setdefault("planner", Session())
    mine.follow(st.query_params.to_dict(), page)
    link = mine.link()
    bare = not st.query_params and link == to_link(EXAMPLE)
    if not bare and st.query_params.to_dict() != link:
        st.query_params.from_dict(link)
    mine.address = st.query_params.to_dict()
    return mine


def current() -> Session:
    """Return this tab's session as it is, for callbacks."""
    mine: Session = st.session_state["planner"]
    return mine


def bind(name: str, kind: str = "entry") -> dict[str, Any]:
    """Return the arguments that tie a widget to a field of the draft.

    While a widget and the draft agree the widget keeps its key, and with it the keyboard's focus.
    Where the draft was changed by something else (a slider, a button, a link), the widget is made
    anew, under a new key. It is never told a new value: as long as the browser has not heard of
    that, everything it sends says the old value again, and that would look like another change.
    """
    mine, text = current(), getattr(current().draft, name)
    key = mine.keys.get((kind, name))
    if key is None or st.session_state.get(key) != text:
        key = mine.keys[kind, name] = f"{kind}.{name}.{next(_FRESH)}"

    def changed() -> None:
        if mine.keys.get((kind, name)) != key:
            return  # the browser has not heard yet that this widget was replaced
        mine.change(**{name: st.session_state[key] or ""})

    return {"key": key, "on_change": changed}
