"""What is wrong with the entries, in sentences, with buttons that mend it."""

import streamlit as st

from mechanisms.exploration import written
from ui.answers import Answer
from ui.drafts import CHOICES
from ui.entries import escaped
from ui.state import Question, current, is_correlated, question
from ui.words import SAID

__all__ = ["independent", "mend", "offer", "show_faults"]


def show_faults(asked: Question, answered: Answer | None, title: str) -> None:
    """Draw a title, and below it why there is no answer."""
    st.title(title, anchor=False)
    for name, sentence in asked.faults.items():
        st.error(escaped(sentence))
        offer(name, tuple(filter(None, CHOICES.get(name, ()))))
    if answered is not None and answered.refusal is not None:
        st.error(escaped(answered.refusal))
    if is_correlated(current().draft):
        st.button("Use independent noise", key="mend.mechanism", on_click=independent)


def offer(name: str, options: tuple[str, ...]) -> None:
    """Draw a button for every option of a field with which the draft would have no faults."""
    draft = current().draft
    mends = [
        option
        for option in options
        if option in SAID and not question(draft.with_(**{name: option})).faults
    ]
    with st.container(horizontal=True):
        for option in mends:
            st.button(
                f"Choose “{SAID[option]}”",
                key=f"mend.{name}.{option}",
                on_click=mend,
                args=(name, option),
            )


def mend(field: str, value: str | float) -> None:
    """Change one field of the draft."""
    current().change(**{field: written(value) if isinstance(value, float) else value})


def independent() -> None:
    """Take the mechanism out of the plan."""
    current().change(mechanism="")
