"""The planner: navigation, and the Plan that all pages share."""

from pathlib import Path

import streamlit as st

from ui.answers import answer
from ui.app_pages import plan
from ui.entry_form import show_entries
from ui.state import question, session

st.set_page_config(
    page_title="dp-planner",
    page_icon=str(Path(__file__).with_name("icon.svg")),
    layout="wide",
    initial_sidebar_state=400,
)
page = st.navigation([st.Page(plan.show, title="Plan", icon="", default=True)], position="hidden")

mine = session()
asked = question(mine.draft)
answered = answer(asked)
with st.sidebar:
    show_entries(asked, answered)
page.run()
