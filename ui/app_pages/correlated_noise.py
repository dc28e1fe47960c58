"""The page *Correlated noise*: which mechanism a run should use, and what each comes to."""

from math import isfinite

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mechanisms.design_views import run_of, within
from mechanisms.exploration import written
from mechanisms.planning.fields import PlanError
from ui.answers import Answer, answer, waited
from ui.design_form import show_choices
from ui.design_results import show_results, stopped
from ui.design_table import mechanisms_table
from ui.designing import Asked, Job, job_for
from ui.entries import escaped, parse_number, rounded_up
from ui.mending import offer, show_faults
from ui.purposes import Limits, limits, wanted
from ui.state import Question, current, question, spoken
from ui.words import COMPARED

__all__ = ["show"]

NO_COMPARISON = "No comparison yet"
_LOOK = 0.1  # seconds between two looks at a comparison


def show() -> None:
    """Draw the page: the recommendation first, then what it rests on."""
    for complaint in current().complaints:
        st.warning(escaped(complaint))
    draft = current().draft
    asked = question(draft)
    answered = answer(asked)
    if answered is None or answered.outlook is None:
        show_faults(asked, answered, NO_COMPARISON)
        return
    plan, purpose, at = answered.outlook.plan, wanted(draft), limits(draft)
    own = _own_cost(asked, answered)
    title = st.empty()
    title.title("Comparing mechanisms …", anchor=False)
    faults = {**at.faults, **purpose.faults}
    show_choices(at, own, faults)
    target = at.epsilon
    if target is None and isfinite(answered.outlook.upper):
        target = float(parse_number(own))
    if faults or purpose.purpose is None:
        title.title(NO_COMPARISON, anchor=False)
        for sentence in faults.values():
            st.error(escaped(sentence))
        return
    try:
        patterns = None
        if plan.sampler != "poisson":
            patterns = f"{run_of(plan, purpose.purpose).participation}"
    except (PlanError, ValueError) as error:
        title.title(NO_COMPARISON, anchor=False)
        st.error(escaped(spoken(error) if isinstance(error, PlanError) else f"{error}."))
        offer("sampler", ("cyclic_poisson", "balls_in_bins_once", "fixed_order", "poisson"))
        return
    if target is None or not target > 0:
        title.title(NO_COMPARISON, anchor=False)
        st.error(f"This plan costs ε ≤ {own}: enter another cost to compare mechanisms at.")
        return
    base = plan.replace(mechanism=None, noise_multiplier=None)
    last = st.session_state.get("comparison")
    job = job_for(Asked(base.to_json(), target, purpose.purpose), last)
    st.session_state["comparison"] = job
    how = COMPARED if patterns is None else f"How often one example takes part: {patterns}."
    _compare(job, at, title, how)


def _own_cost(asked: Question, answered: Answer) -> str:
    """Return what the plan costs: its target where it keeps to one."""
    if asked.epsilon is not None:
        return written(asked.epsilon)
    return "∞" if answered.outlook is None else rounded_up(answered.outlook.upper)


# -- while it is worked out ------------------------------------------------------------------------


def _compare(job: Job, at: Limits, title: DeltaGenerator, how: str) -> None:
    # In the order in which they come to be: what is drawn may be out of date, but never unnoticed.
    compared = job.compared
    bounding = job.bounding and not job.stopped
    whole = job.recommendation
    if not (compared or job.stopped or job.refusal is not None):
        _under_way(job, how)
        st.rerun()
    elif whole is None:
        title.title(NO_COMPARISON, anchor=False)
        if job.refusal is not None:
            st.error(escaped(job.refusal))
        else:
            stopped(job)
    elif (shown := within(whole, at.memory)) is None:
        title.title(NO_COMPARISON, anchor=False)
        st.error("Every mechanism keeps more model copies than that: allow more of them.")
    else:
        title.title(f"Use {shown.best.title}", anchor=False)
        show_results(job, shown, at, how, bounding=bounding)
        if bounding:
            place = st.empty()  # where nothing is drawn, and an input's change is heard
            waited(job.future, lambda: place.empty(), _LOOK)
            st.rerun()


def _under_way(job: Job, how: str) -> None:
    """Draw each mechanism as it is ready, until all are."""
    with st.container(horizontal=True, vertical_alignment="center", key="progress"):
        progress = st.empty()
        st.button("Stop", key="stop", icon=":material/stop:", on_click=job.stop)
    st.caption(escaped(how))
    table, drawn = st.empty(), set[int]()

    def report() -> None:
        progress.caption(f"{job.looked_at} of {job.total} mechanisms")
        found, so_far = job.found, job.recommendation
        if so_far is not None and len(found) not in drawn:
            drawn.add(len(found))
            columns = mechanisms_table(found, so_far, None, None, bounding=True)
            table.table(columns, border="horizontal", hide_index=True)

    waited(job.rows, report, _LOOK)
    if not (job.compared or job.stopped or job.refusal is not None):
        job.future.result()  # raises what nobody foresaw
