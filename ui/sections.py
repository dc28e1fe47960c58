"""How a chart stands on a page."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui.charts import Chart, camera
from ui.entries import escaped

__all__ = ["draw", "section"]


def section(title: str) -> DeltaGenerator:
    """Write a heading, and return a place beside it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(title, anchor=False)
        return st.empty()


def draw(chart: Chart) -> None:
    """Draw a chart, and below it the same in words."""
    st.plotly_chart(chart.figure, config=camera(chart), alt=chart.words, key=chart.name)
    with st.expander("The chart in words", type="compact"):
        st.markdown(escaped(chart.words))
