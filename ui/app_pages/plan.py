"""The page *Plan*: what a run costs, or what it takes to cost no more."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import inf
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mechanisms.exploration import (
    Cost,
    FrontierPoint,
    Outlook,
    concerns,
    frontier_grid,
    milestones,
    noise_saved_by_doubling,
    written,
)
from ui.answers import CURVES, Answer, answer, cost, price_like, worked_out
from ui.charts import Chart, Curve, Scenario, camera, frontier_charts, training_chart
from ui.comparison import show_comparison
from ui.downloads import download_csv, frontier_csv, show_downloads, training_csv
from ui.drafts import CHOICES
from ui.entries import escaped, rounded_up
from ui.headline import show_headline
from ui.state import Question, current, question
from ui.words import SAID

__all__ = ["show"]

MINE = "This plan"
PINNED = "Pinned plan"


def show() -> None:
    """Draw the page: the answer first, what takes longer after it."""
    mine = current()
    for complaint in mine.complaints:
        st.warning(escaped(complaint))
    asked = question(mine.draft)
    answered = answer(asked)
    found = None if answered is None else answered.outlook
    if found is None:
        _no_answer(asked, answered)
        return
    pinned = _pinned()
    show_headline(found, mine.draft.solve, asked.epsilon)
    _concerns(found)
    _actions(found)
    if pinned is not None:
        show_comparison({MINE: found, PINNED: pinned})
    _training(found, pinned)
    _frontier(found, pinned)


def _no_answer(asked: Question, answered: Answer | None) -> None:
    st.title("No answer yet", anchor=False)
    draft = current().draft
    for name, sentence in asked.faults.items():
        st.error(escaped(sentence))
        mends = [
            option
            for option in filter(None, CHOICES.get(name, ()))
            if option in SAID and not question(draft.with_(**{name: option})).faults
        ]
        with st.container(horizontal=True):
            for option in mends:
                st.button(
                    f"Choose “{SAID[option]}”",
                    key=f"mend.{name}.{option}",
                    on_click=_mend,
                    args=(name, option),
                )
    if answered is not None and answered.refusal is not None:
        st.error(escaped(answered.refusal))


def _pinned() -> Outlook | None:
    draft = current().pinned
    answered = None if draft is None else answer(question(draft))
    return None if answered is None else answered.outlook


def _concerns(found: Outlook) -> None:
    for concern in concerns(found.plan):
        with st.container(key=f"concern.{concern.field}", gap="xsmall"):
            text = f"**{escaped(concern.title)}** {escaped(concern.reason)}"
            st.warning(text, icon=":material/warning:")
            with st.container(horizontal=True):
                for label, value in concern.remedies:
                    st.button(
                        label,
                        key=f"mend.{concern.field}.{value}",
                        on_click=_mend,
                        args=(concern.field, value),
                    )


def _mend(field: str, value: str | float) -> None:
    current().change(**{field: written(value) if isinstance(value, float) else value})


def _actions(found: Outlook) -> None:
    mine = current()
    with st.container(horizontal=True, key="actions"):
        if mine.pinned is None:
            st.button("Pin to compare", icon=":material/keep:", on_click=mine.pin)
        else:
            st.button("Pin this instead", icon=":material/keep:", on_click=mine.pin)
            st.button("Swap the two", icon=":material/swap_horiz:", on_click=mine.swap)
            st.button("Unpin", icon=":material/keep_off:", on_click=mine.unpin)
        with st.popover("Share", icon=":material/link:"):
            st.markdown(
                "This link restores everything on this page, the pinned plan included. For a "
                "planner that runs elsewhere, change what stands before the question mark."
            )
            st.code(_address(mine.link()), language=None, wrap_lines=True)
        with st.popover("Download", icon=":material/download:"):
            show_downloads(found.plan)


def _address(link: Mapping[str, str]) -> str:
    here = (st.context.url or "").rstrip("/")
    return f"{here}/?{urlencode(link, safe=',')}"


# -- charts ----------------------------------------------------------------------------------------


def _training(found: Outlook, pinned: Outlook | None) -> None:
    status = _section("ε over the course of training")
    curves = [Curve(MINE, _costs(found, status))]
    if pinned is not None:
        curves.append(Curve(PINNED, _costs(pinned, status)))
    chart = training_chart(curves)
    _draw(chart)
    download_csv(status, partial(training_csv, curves), chart.name)


def _costs(found: Outlook, status: DeltaGenerator) -> Sequence[Cost]:
    plan, costs = found.plan.to_json(), list[Cost]()
    steps = milestones(found.plan)

    def report() -> None:
        # A call of Streamlit is also where a script stops when an input has changed meanwhile.
        status.caption(f"{len(costs)} of {len(steps)} points")

    for step in steps:
        costs.append(worked_out(CURVES, partial(cost, plan, step), report))
        report()
    return costs


def _frontier(found: Outlook, pinned: Outlook | None) -> None:
    grid = frontier_grid(found.plan)
    if not grid or found.upper in (0.0, inf):
        return
    status = _section(f"Other runs that cost ε ≤ {rounded_up(found.upper)}")
    plan, frontier = found.plan.to_json(), dict[float, list[FrontierPoint]]()

    def report() -> None:
        status.caption(f"{len(frontier)} of {len(grid)} lines")

    for epochs, batches in grid:
        points = frontier.setdefault(epochs, [])
        for batch in batches:
            point = partial(price_like, plan, found.upper, batch, epochs)
            points.append(worked_out(CURVES, point, report))
            report()
    own = tuple(frontier.get(found.plan.epochs or 0, ()))
    saved = noise_saved_by_doubling(found.plan, own)
    if saved is not None and saved > 0:
        st.markdown(_advice(saved))
    other = None if pinned is None else Scenario(PINNED, pinned.plan)
    charts = frontier_charts(frontier, found.upper, Scenario(MINE, found.plan), other)
    for column, chart in zip(st.columns(2, gap="medium"), charts, strict=True):
        with column:
            _draw(chart)
    download_csv(status, partial(frontier_csv, frontier), "frontier")


def _advice(saved: float) -> str:
    return (
        "What decides utility is the noise-to-batch ratio, the noise left in the average gradient. "
        f"Doubling the batch at the same epochs and ε would cut it by about {saved:.0%}."
    )


def _section(title: str) -> DeltaGenerator:
    """Write a heading, and return a place beside it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(title, anchor=False)
        return st.empty()


def _draw(chart: Chart) -> None:
    st.plotly_chart(chart.figure, config=camera(chart), alt=chart.words, key=chart.name)
    with st.expander("The chart in words", type="compact"):
        st.markdown(escaped(chart.words))
