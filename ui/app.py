"""The planner: navigation, and the Plan that its pages share."""

from functools import partial
from pathlib import Path

import streamlit as st

from ui.answers import ANSWERS, answer, worked_out
from ui.app_pages import correlated_noise, plan
from ui.entry_form import show_entries, show_unknown
from ui.state import question, session

st.set_page_config(
    page_title="dp-planner",
    page_icon=str(Path(__file__).with_name("icon.svg")),
    layout="wide",
    initial_sidebar_state=400,
)
page = st.navigation(
    [
        st.Page(plan.show, title="Plan", icon="", default=True),
        st.Page(
            correlated_noise.show, title="Correlated noise", icon="", url_path="correlated-noise"
        ),
    ],
    position="top",
)

asked = question(session(page.url_path).draft)
with st.sidebar:
    place_of_unknown = show_entries(asked)
waiting = st.empty()
answered = worked_out(
    ANSWERS, partial(answer, asked), lambda: waiting.caption("Working out the answer …")
)
waiting.empty()
show_unknown(place_of_unknown, answered)
page.run()
