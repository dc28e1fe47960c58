"""What mechanisms are compared at, and for: the entries of the page *Correlated noise*."""

from collections.abc import Mapping

import streamlit as st

from mechanisms.design_views import gigabytes
from ui.design_table import copies
from ui.entries import rounded
from ui.entry_form import choice, text_entry
from ui.purposes import Limits
from ui.state import current

__all__ = ["show_choices"]


def show_choices(limits: Limits, target: str, faults: Mapping[str, str]) -> None:
    """Draw the entries.

    Parameters
    ----------
    limits : Limits
        What was read from them.
    target : str
        What the plan costs, where it is compared unless told.
    faults : mapping of str to str
        What does not hold, by field.
    """
    with st.container(border=True, key="choices"):
        first, second, third, fourth = st.columns(4, gap="medium")
        with first:
            text_entry("compare_at", f"{target} (the plan's)", faults)
        with second:
            text_entry("memory", "no limit", faults)
        with third:
            text_entry("parameters", "not stated", faults)
        with fourth:
            choice("objective", faults)
        _memory(limits)
        schedule = current().draft.schedule
        names = {"momentum": "0", "weight_decay": "0"}
        if schedule == "cooldown":
            names["cooldown"] = "0.2"
        if schedule:
            names["final"] = "0.01"
        left, *columns = st.columns((2, *(1 for _ in names)), gap="medium")
        with left:
            choice("schedule", faults)
        for column, (name, usual) in zip(columns, names.items(), strict=True):
            with column:
                text_entry(name, usual, faults)


def _memory(limits: Limits) -> None:
    """Say what the limit means for the model."""
    if limits.parameters is None:
        return
    one = f"One copy of the model takes {rounded(gigabytes(1, limits.parameters))} GB"
    if limits.memory:
        took = rounded(gigabytes(limits.memory, limits.parameters))
        one = f"{one}, {copies(limits.memory)} {took} GB"
    st.caption(f"{one}, in single precision.")
