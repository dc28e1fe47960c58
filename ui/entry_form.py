"""The entries of a plan, in the sidebar: plain words, exact numbers, a slider beside each."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import streamlit as st

from mechanisms.exploration import suggested_delta, written
from ui.answers import Answer
from ui.drafts import CHOICES
from ui.entries import EntryError, escaped, grouped, parse_number
from ui.state import LABELS, Question, bind, current

__all__ = ["show_entries"]

SOLVE_FOR: Final[Mapping[str, str]] = MappingProxyType(
    {
        "epsilon": "Cost ε",
        "noise_multiplier": "Noise",
        "length": "Length",
        "batch_size": "Batch",
    }
)

HELP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "solve": "What should the planner work out? **Cost**: what the run you describe costs. "
        "**Noise**, **Length**, **Batch**: what meets a target ε, given all the rest.",
        "dataset_size": "How many examples (more exactly: privacy units) the training set has. "
        "Scientific notation works: `9.6e9`.",
        "batch_size": "How many examples one step uses **on average**. With Poisson sampling every "
        "step has a different number; divide by this one all the same.",
        "sampling_probability": "The chance that one example takes part in one step.",
        "epochs": "How often one example is used, on average, in the whole run.",
        "steps": "How many noisy updates the run makes.",
        "noise_multiplier": "Standard deviation of the noise on the sum of the clipped gradients, "
        "divided by the clipping norm. More noise, more privacy.",
        "epsilon": "The cost that the run may not exceed. The answer is on the safe side of it.",
        "delta": "The probability that the guarantee ε does not cover. Keep it well below 1/N.",
        "sampler": "How a step chooses its examples. **Poisson**: each one independently, by the "
        "toss of a coin: the sampling that makes runs cheap. **Shuffled or in order**: passes over "
        "the data, as most data loaders do it; no cheaper bound is proved that holds in general. "
        "**Full batch**: every example in every step.",
        "neighboring_relation": "Which two data sets the guarantee makes hard to tell apart: with "
        "and without one example, or with one example zeroed out or replaced by another.",
        "unit": "What one row of the data set is: an example, a document, a user. It is what the "
        "guarantee protects, and the statement says so.",
        "group_size": "How many rows one protected person may have contributed. All are protected "
        "together.",
        "clip_norm": "The largest norm that one example's gradient may have. ε does not depend on "
        "it; the noise that you add does.",
        "release": "What leaves the run. ε covers every noisy update in any case.",
    }
)

SAID: Final[Mapping[str, str]] = MappingProxyType(
    {
        "poisson": "Poisson sampling",
        "fixed_order": "Shuffled or in order, pass by pass",
        "full_batch": "Full batch",
        "add_or_remove_one": "Add or remove one",
        "replace_special": "Zero out one",
        "replace_one": "Replace one by another",
        "final_model": "The final model",
        "all_checkpoints": "All checkpoints",
        "all_updates": "Every update",
        "batch_size": "examples",
        "sampling_probability": "probability",
        "epochs": "epochs",
        "steps": "steps",
    }
)
ASSUMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sampler": "Not stated (Poisson assumed)",
        "neighboring_relation": "Not stated (add or remove one)",
        "release": "Not stated (the final model)",
    }
)

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
        "noise_multiplier": (_decades(-1, 2), "accurate", "private"),
        "epsilon": (_decades(-2, 2), "private", "accurate"),
    }
)


def show_entries(question: Question, answer: Answer | None) -> None:
    """Draw every entry of the draft."""
    draft = current().draft
    st.markdown("**dp-planner**")
    st.caption("Describe a DP-SGD run. Nothing that you enter leaves this machine.")
    st.segmented_control(
        LABELS["solve"],
        CHOICES["solve"],
        format_func=lambda option: SOLVE_FOR[option],
        help=HELP["solve"],
        required=True,
        width="stretch",
        **bind("solve"),
    )
    found = answer.outlook.plan if answer and answer.outlook else None
    if draft.solve != "epsilon":
        _number("epsilon", question)
    _number("dataset_size", question, slider=False)
    if draft.sampler != "full_batch":
        if draft.solve == "batch_size":
            _found("batch_size", None if found is None else found.batch_size)
        else:
            _either("batch_in", question, found)
    if draft.solve == "length":
        _found("steps", None if found is None else found.steps)
    else:
        _either("length_in", question, found)
    if draft.solve == "noise_multiplier":
        _found("noise_multiplier", None if found is None else found.noise_multiplier)
    else:
        _number("noise_multiplier", question)
    _delta(question)
    _choice("sampler", question)
    _choice("neighboring_relation", question)
    with st.expander("More that a statement needs"):
        _text("unit", "example", question)
        _text("group_size", "1", question)
        _text("clip_norm", "1.0", question)
        _choice("release", question)


def _number(name: str, question: Question, slider: bool = True, labelled: bool = True) -> None:
    """Draw an entry, and beside it a slider that writes into it."""
    label = LABELS[name]
    shown: Literal["visible", "collapsed"] = "visible" if labelled else "collapsed"
    arguments = {"help": HELP[name], "max_chars": 40, "label_visibility": shown, **bind(name)}
    with st.container(key=f"row.{name}", gap=None):
        if slider:
            align: Literal["bottom", "center"] = "bottom" if labelled else "center"
            left, right = st.columns((4, 5), gap="medium", wrap=False, vertical_alignment=align)
            left.text_input(label, **arguments)
            with right:
                _slider(name)
        else:
            st.text_input(label, **arguments)
        _fault(name, question)


def _slider(name: str) -> None:
    offered, low, high = SLIDERS[name]
    options, here = _with_entry(offered, getattr(current().draft, name))
    key = f"slider.{name}"
    if st.session_state.get(key) != here:
        st.session_state[key] = here

    def moved() -> None:
        current().change(**{name: st.session_state[key]})

    with st.container(gap=None):
        st.select_slider(
            f"{LABELS[name]}, from {options[0]} ({low}) to {options[-1]} ({high})",
            options,
            key=key,
            on_change=moved,
            label_visibility="collapsed",
        )
        with st.container(horizontal=True, horizontal_alignment="distribute", wrap=False):
            st.caption(low, width="content")
            st.caption(high, width="content")


def _with_entry(options: tuple[str, ...], text: str) -> tuple[tuple[str, ...], str]:
    """Put what was typed in its place among a slider's options, and return it as its position."""
    try:
        typed = float(parse_number(text))
    except EntryError:
        return options, options[0]
    if not typed > 0:
        return options, options[0]
    values = [float(parse_number(option)) for option in options]
    index = bisect_left(values, typed)
    if index < len(options) and values[index] == typed:
        return options, options[index]
    return (*options[:index], text.strip(), *options[index:]), text.strip()


def _either(switch: str, question: Question, found: Any) -> None:
    """Draw an entry that can be given in two ways, and the switch between them."""
    key = f"entry.{switch}"
    arguments = bind(switch)
    record: Callable[[], None] = arguments.pop("on_change")

    def changed() -> None:
        # The other way of saying the same starts from the same run, not from an old number.
        record()
        name = st.session_state[key]
        value = None if found is None else getattr(found, name)
        if value is not None:
            current().change(**{name: written(value) if isinstance(value, float) else f"{value:,}"})

    name = getattr(current().draft, switch)
    st.segmented_control(
        LABELS[switch],
        CHOICES[switch],
        format_func=lambda option: SAID[option],
        help=HELP[name],
        required=True,
        on_change=changed,
        **arguments,
    )
    _number(name, question, labelled=False)


def _found(name: str, value: float | None) -> None:
    """Draw, where an entry would be, what was found."""
    text = "…" if value is None else f"{value:,}" if isinstance(value, int) else written(value)
    st.text_input(
        f"{LABELS[name]} (solved for)", text, help=HELP[name], disabled=True, key=f"found.{name}"
    )


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


def _choice(name: str, question: Question) -> None:
    st.selectbox(
        LABELS[name],
        CHOICES[name],
        format_func=lambda option: SAID.get(option) or ASSUMED[name],
        help=HELP[name],
        **bind(name),
    )
    _fault(name, question)


def _text(name: str, assumed: str, question: Question) -> None:
    st.text_input(
        LABELS[name],
        help=HELP[name],
        placeholder=f"not stated ({assumed})",
        max_chars=100,
        **bind(name),
    )
    _fault(name, question)


def _fault(name: str, question: Question) -> None:
    if name in question.faults:
        st.caption(f":red[{escaped(question.faults[name])}]")
