"""Two plans side by side."""

from collections.abc import Callable, Mapping
from typing import Final

import streamlit as st

from mechanisms.exploration import Outlook, written
from ui.entries import grouped, percent_up, rounded, rounded_up
from ui.words import SAID

__all__ = ["show_comparison", "table"]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return grouped(value) if isinstance(value, int) else written(value)


ROWS: Final[tuple[tuple[str, Callable[[Outlook], str]], ...]] = (
    ("ε (rounded up)", lambda found: rounded_up(found.upper)),
    ("δ", lambda found: _number(found.plan.delta)),
    ("Noise-to-batch ratio", lambda found: _ratio(found)),
    ("Detected at 1 % false alarms", lambda found: percent_up(found.true_positive_rate)),
    ("Attack advantage", lambda found: percent_up(found.advantage)),
    ("Data set size", lambda found: _number(found.plan.dataset_size)),
    ("Batch size", lambda found: _number(found.plan.batch_size)),
    ("Sampling probability", lambda found: _rounded(found.plan.sampling_probability)),
    ("Epochs", lambda found: _rounded(found.plan.epochs)),
    ("Steps", lambda found: _number(found.plan.steps)),
    ("Noise multiplier", lambda found: _number(found.plan.noise_multiplier)),
    ("Clipping norm", lambda found: _number(found.plan.clip_norm)),
    ("Noise over the steps", lambda found: _mechanism(found)),
    ("Cap on the batch", lambda found: _number(found.plan.max_batch_size)),
    ("Sampling", lambda found: SAID[found.plan.sampler]),
    ("Minimum separation", lambda found: _number(found.plan.min_separation)),
    ("Groups", lambda found: _number(found.plan.groups)),
    ("Neighbouring data sets", lambda found: SAID[found.plan.neighboring_relation]),
    ("Privacy unit", lambda found: found.plan.unit),
    ("Group size", lambda found: _number(found.plan.group_size)),
    ("What is released", lambda found: SAID[found.plan.release]),
)
ALWAYS: Final = 5  # rows that are shown even where they are equal


def _ratio(found: Outlook) -> str:
    return "–" if found.plan.batch_size is None else rounded(found.plan.noise_to_batch_ratio)


def _mechanism(found: Outlook) -> str:
    mechanism = found.plan.mechanism
    return "independent" if isinstance(mechanism, str) else repr(mechanism)


def _rounded(value: float | None) -> str:
    return "–" if value is None else rounded(value, 4)


def table(outlooks: Mapping[str, Outlook]) -> dict[str, list[str]]:
    """Return the columns of the comparison: the answers, and the inputs that differ."""
    rows = [
        (label, *(read(found) for found in outlooks.values()))
        for index, (label, read) in enumerate(ROWS)
        if index < ALWAYS or len({read(found) for found in outlooks.values()}) > 1
    ]
    return {
        heading: list(column)
        for heading, column in zip(("", *outlooks), zip(*rows, strict=True), strict=True)
    }


def show_comparison(outlooks: Mapping[str, Outlook]) -> None:
    """Draw the comparison."""
    st.subheader("Side by side", anchor=False)
    st.table(table(outlooks), border="horizontal", hide_index=True)
    st.caption("Entries that are the same in both are left out.")
