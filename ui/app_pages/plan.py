"""The page *Plan*: what a run costs, or what it takes to cost no more."""

from collections.abc import Sequence
from functools import partial
from math import inf

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
)
from ui.answers import ANSWERS, CURVES, answer, cost, price_like, worked_out
from ui.charts import Curve, Scenario, frontier_charts, training_chart
from ui.comparison import show_comparison
from ui.downloads import download_csv, frontier_csv, show_downloads, show_share, training_csv
from ui.entries import escaped, grouped, rounded_up
from ui.headline import show_headline
from ui.mending import mend, show_faults
from ui.sections import draw, section
from ui.state import current, question

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
        show_faults(asked, answered, "No answer yet")
        return
    pinned = _pinned()
    mechanism = None if asked.design is None else asked.design.title
    show_headline(found, mine.draft.solve, asked.epsilon, mechanism)
    _concerns(found)
    _actions(found)
    if pinned is not None:
        show_comparison({MINE: found, PINNED: pinned})
    _training(found, pinned)
    _frontier(found, pinned)


def _pinned() -> Outlook | None:
    draft = current().pinned
    if draft is None:
        return None
    place = st.empty()
    answered = worked_out(
        ANSWERS,
        partial(answer, question(draft)),
        lambda: place.caption("Pricing the pinned plan …"),
    )
    place.empty()
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
                        on_click=mend,
                        args=(concern.field, value),
                    )


def _actions(found: Outlook) -> None:
    mine = current()
    with st.container(horizontal=True, key="actions"):
        if mine.pinned is None:
            st.button("Pin to compare", icon=":material/keep:", on_click=mine.pin)
        else:
            st.button("Pin this instead", icon=":material/keep:", on_click=mine.pin)
            st.button("Swap the two", icon=":material/swap_horiz:", on_click=mine.swap)
            st.button("Unpin", icon=":material/keep_off:", on_click=mine.unpin)
        show_share()
        with st.popover("Download", icon=":material/download:"):
            show_downloads(found.plan)


# -- charts ----------------------------------------------------------------------------------------


def _training(found: Outlook, pinned: Outlook | None) -> None:
    if not isinstance(found.plan.mechanism, str):
        _one_release(found)
        return
    status = section("ε over the course of training")
    curves = [Curve(MINE, _costs(found, status))]
    if pinned is not None and isinstance(pinned.plan.mechanism, str):
        curves.append(Curve(PINNED, _costs(pinned, status)))
    chart = training_chart(curves)
    draw(chart)
    download_csv(status, partial(training_csv, curves), chart.name)


def _one_release(found: Outlook) -> None:
    st.subheader("ε over the course of training", anchor=False)
    st.markdown(
        "With correlated noise the whole run counts as one release: "
        f"ε ≤ {rounded_up(found.upper)} holds for all {grouped(found.plan.steps or 0)} steps "
        "together, however many of their updates are seen. A run that stops early costs at most "
        "the same, so there is no curve to show."
    )


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
    status = section(f"Other runs that cost ε ≤ {rounded_up(found.upper)}")
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
            draw(chart)
    download_csv(status, partial(frontier_csv, frontier), "frontier")


def _advice(saved: float) -> str:
    return (
        "What decides utility is the noise-to-batch ratio, the noise left in the average gradient. "
        f"Doubling the batch at the same epochs and ε would cut it by about {saved:.0%}."
    )
