"""The entries of a plan, in the sidebar: plain words, exact numbers, a slider beside each."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mechanisms.design_views import PREFIX_SUMS
from mechanisms.exploration import suggested_delta, written
from ui.answers import Answer, answer
from ui.drafts import CHOICES
from ui.entries import EntryError, escaped, grouped, parse_number
from ui.mending import independent
from ui.state import Question, bind, current, is_correlated
from ui.words import ASSUMED, HELP, LABELS, SAID, SOLVE_FOR

__all__ = ["Unknown", "choice", "show_entries", "show_unknown", "text_entry"]

# What a slider offers: any number can be typed, a slider is for exploring.
_MANTISSAS: Final = ("1", "1.2", "1.5", "2", "2.5", "3", "4", "5", "6", "8")


def _decades(first: int, last: int) -> tuple[str, ...]:
    """Return round numbers from 10**first to 10**last, evenly spread on a logarithmic scale."""
    numbers = [
        written(float(f"{mantissa}e{exponent}"))
        for exponent in range(first, last)
        for mantissa in _MANTISSAS
    ]
    return (*(_short(number) for number in numbers), _short(written(float(f"1e{last}"))))


def _short(text: str) -> str:
    number = float(text)
    return grouped(int(number)) if number.is_integer() and number < 1e15 else text


SLIDERS: Final[Mapping[str, tuple[tuple[str, ...], str, str]]] = MappingProxyType(
    {
        # field: its options, and what the two ends mean
        "batch_size": (_decades(0, 6), "noisier", "smoother"),
        "sampling_probability": (_decades(-7, 0), "noisier", "smoother"),
        "epochs": (_decades(-2, 3), "shorter", "longer"),
        "steps": (_decades(0, 7), "shorter", "longer"),
        "noise_multiplier": (_decades(-1, 2)[3:], "accurate", "private"),
        "epsilon": (_decades(-2, 2), "private", "accurate"),
    }
)


@dataclass(frozen=True)
class Unknown:
    """Where the entry would be of the field that is solved for."""

    name: str
    place: DeltaGenerator


def show_entries(question: Question) -> Unknown | None:
    """Draw every entry of the draft, and leave a place for what is solved for."""
    draft = current().draft
    unknown: Unknown | None = None
    st.markdown("**dp-planner**")
    st.caption("Describe a DP-SGD run. Nothing that you enter leaves this machine.")
    st.segmented_control(
        LABELS["solve"],
        CHOICES["solve"],
        default=draft.solve,
        format_func=lambda option: SOLVE_FOR[option],
        help=HELP["solve"],
        required=True,
        width="stretch",
        **bind("solve"),
    )
    _fault("solve", question.faults)
    if draft.solve != "epsilon":
        _number("epsilon", question)
    _number("dataset_size", question, slider=False)
    if draft.solve == "batch_size":
        unknown = Unknown("batch_size", st.empty())
    elif draft.sampler != "full_batch":
        _either("batch_in", question)
    if draft.solve == "length":
        unknown = Unknown("steps", st.empty())
    else:
        _either("length_in", question)
    if draft.solve == "noise_multiplier":
        unknown = Unknown("noise_multiplier", st.empty())
    else:
        _number("noise_multiplier", question)
    _delta(question)
    choice("sampler", question.faults)
    if draft.sampler == "min_separation":
        left, right = st.columns(2, gap="medium", vertical_alignment="top")
        with left:
            _number("min_separation", question, slider=False)
        with right:
            text_entry("max_participations", "as many as fit", question.faults)
    if draft.sampler == "cyclic_poisson":
        _number("groups", question, slider=False)
    if is_correlated(draft):
        _mechanism(question)
    choice("neighboring_relation", question.faults)
    with st.expander("More that a statement needs"):
        for name, assumed in (
            ("unit", "example"),
            ("group_size", "1"),
            ("clip_norm", "1.0"),
            ("max_batch_size", "none"),
        ):
            text_entry(name, f"not stated ({assumed})", question.faults)
        choice("release", question.faults)
    return unknown


def show_unknown(unknown: Unknown | None, answered: Answer | None) -> None:
    """Draw, in its place, what was solved for."""
    if unknown is None:
        return
    found = None if answered is None else answered.outlook
    value = None if found is None else getattr(found.plan, unknown.name)
    # A key for every value: a widget's text is only taken when the widget is made.
    unknown.place.text_input(
        f"{LABELS[unknown.name]} (solved for)",
        "" if value is None else _shown(value),
        placeholder="no answer",
        help=HELP[unknown.name],
        disabled=True,
        key=f"found.{unknown.name}.{value}",
    )


def _shown(value: int | float) -> str:
    return grouped(value) if isinstance(value, int) else written(value)


def _number(name: str, question: Question, slider: bool = True, labelled: bool = True) -> None:
    """Draw an entry, and beside it a slider that writes into it."""
    label = LABELS[name]
    shown: Literal["visible", "collapsed"] = "visible" if labelled else "collapsed"
    text = getattr(current().draft, name)
    arguments = {"help": HELP[name], "max_chars": 40, "label_visibility": shown, **bind(name)}
    with st.container(key=f"row.{name}", gap=None):
        if slider:
            align: Literal["bottom", "center"] = "bottom" if labelled else "center"
            left, right = st.columns((4, 5), gap="medium", wrap=False, vertical_alignment=align)
            left.text_input(label, text, **arguments)
            with right:
                _slider(name)
        else:
            st.text_input(label, text, **arguments)
        _fault(name, question.faults)


def _slider(name: str) -> None:
    offered, low, high = SLIDERS[name]
    options, here = _with_entry(offered, getattr(current().draft, name))
    with st.container(gap=None):
        st.select_slider(
            f"{LABELS[name]}, from {options[0]} ({low}) to {options[-1]} ({high})",
            options,
            here,
            label_visibility="collapsed",
            **bind(name, "slider"),
        )
        with st.container(horizontal=True, horizontal_alignment="distribute", wrap=False):
            st.caption(low, width="content")
            st.caption(high, width="content")


def _with_entry(options: tuple[str, ...], text: str) -> tuple[tuple[str, ...], str]:
    """Put what was typed in its place among a slider's options, and return the slider's position.

    What cannot stand among them leaves the slider at its first option.
    """
    try:
        typed = float(parse_number(text))
    except EntryError:
        return options, options[0]
    if not typed > 0:
        return options, options[0]
    values = [float(parse_number(option)) for option in options]
    below, above = options[: bisect_left(values, typed)], options[bisect_right(values, typed) :]
    return (*below, text, *above), text


def _either(switch: str, question: Question) -> None:
    """Draw an entry that can be given in two ways, and the switch between them."""
    arguments = bind(switch)
    key = arguments["key"]
    record: Callable[[], None] = arguments.pop("on_change")

    def changed() -> None:
        # The other way of saying the same starts from the same run, not from an old number.
        answered = answer(question)
        record()
        name = st.session_state[key]
        found = None if answered is None else answered.outlook
        value = None if found is None else getattr(found.plan, name)
        if value is not None:
            current().change(**{name: _shown(value)})

    name = getattr(current().draft, switch)
    st.segmented_control(
        LABELS[switch],
        CHOICES[switch],
        default=name,
        format_func=lambda option: SAID[option],
        help=HELP[name],
        required=True,
        on_change=changed,
        **arguments,
    )
    _number(name, question, labelled=False)


def _delta(question: Question) -> None:
    better = _better_delta()
    if better is None:
        _number("delta", question, slider=False)
        return
    left, right = st.columns((4, 5), gap="medium", wrap=False, vertical_alignment="bottom")
    with left:
        _number("delta", question, slider=False)
    right.button(
        f"Suggested: {better}",
        key="suggest.delta",
        type="tertiary",
        on_click=lambda: current().change(delta=better),
        help="The data set's size to the power −1.1, rounded down: well below 1/N, so that not "
        "even one example is expected to slip through. Click to use it.",
    )


def _better_delta() -> str | None:
    """Return the delta to suggest, unless it is the one that is there."""
    draft = current().draft
    try:
        size = parse_number(draft.dataset_size)
        delta = None if not draft.delta.strip() else float(parse_number(draft.delta))
    except EntryError:
        return None
    if size.denominator != 1 or not size > 0:
        return None
    better = suggested_delta(size.numerator)
    return None if delta == better else written(better)


def _mechanism(question: Question) -> None:
    """Draw which mechanism the plan has, what it serves, and a way out."""
    title = current().draft.mechanism if question.design is None else question.design.title
    with st.container(key="mechanism", gap="xsmall"):
        st.markdown(f"{LABELS['mechanism']}: **{escaped(title)}**")
        words = question.purpose.words
        workload = "prefix sums" if words == PREFIX_SUMS else words
        if question.design is not None:
            counts = SAID[question.purpose.objective].lower()
            st.caption(escaped(f"Designed for {workload}; what counts: {counts}."))
        st.button(
            "Use independent noise",
            key="remove.mechanism",
            icon=":material/close:",
            type="tertiary",
            on_click=independent,
        )
        _fault("mechanism", question.faults)


def choice(name: str, faults: Mapping[str, str]) -> None:
    """Draw an entry that is one of a few words."""
    st.selectbox(
        LABELS[name],
        CHOICES[name],
        CHOICES[name].index(getattr(current().draft, name)),
        format_func=lambda option: SAID.get(option) or ASSUMED[name],
        help=HELP[name],
        **bind(name),
    )
    _fault(name, faults)


def text_entry(name: str, placeholder: str, faults: Mapping[str, str]) -> None:
    """Draw an entry that may be left empty."""
    st.text_input(
        LABELS[name],
        getattr(current().draft, name),
        help=HELP[name],
        placeholder=placeholder,
        max_chars=100,
        **bind(name),
    )
    _fault(name, faults)


def _fault(name: str, faults: Mapping[str, str]) -> None:
    if name in faults:
        st.caption(f":red[{escaped(faults[name])}]")
