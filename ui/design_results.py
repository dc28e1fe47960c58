"""What a comparison came to: the recommendation in words, the table, the charts."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import streamlit as st

from mechanisms.design_views import (
    Measured,
    Point,
    best_of_each_kind,
    strategy_of,
)
from mechanisms.exploration import written
from mechanisms.recommendation import Recommendation
from ui.answers import CURVES, worked_out
from ui.design_charts import LINES, heat_maps, size_chart, steps_chart
from ui.design_table import mechanisms_csv, mechanisms_table, takes
from ui.designing import Job, curve, picture
from ui.downloads import as_csv, download_csv, show_files, show_share
from ui.entries import escaped, grouped, rounded, rounded_up
from ui.purposes import Limits
from ui.sections import draw, section
from ui.state import current, question

__all__ = ["show_results", "stopped", "use"]

# What a picture shows of a long run.
PARTS: Final = {"beginning": "The first ones", "sample": "Some of the whole run"}


def show_results(job: Job, shown: Recommendation, at: Limits, how: str, *, bounding: bool) -> None:
    """Draw what to use and why, what else there is, and what it looks like."""
    found = [one for one in job.found if one.choice in shown.choices]
    best = next(one for one in found if one.choice == shown.best)
    words = shown.words
    if bounding:
        words = tuple(word for word in words if "not known here" not in word)
    st.markdown(escaped(" ".join(words).replace("epsilon", "ε")))
    _facts(best, shown, at)
    _actions(best, job)
    if job.stopped:
        stopped(job)
    elif bounding:
        st.caption("How well any mechanism could do at best is being worked out …")
    _table(found, best, shown, at, how, bounding)
    _sizes(shown, at)
    _steps(found, best, job)
    _pictures(found, best, job)


def stopped(job: Job) -> None:
    """Say how far a comparison went, and offer to go on with it."""
    said = f"Stopped after {job.looked_at} of {job.total} mechanisms."
    if job.compared:
        said = "Stopped: what any mechanism could reach is known from closed forms alone."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(said)
        st.button("Go on", key="go on", icon=":material/play_arrow:", on_click=_go_on)


def _go_on() -> None:
    st.session_state["comparison"] = None


# -- what to use -----------------------------------------------------------------------------------


def _facts(best: Measured, shown: Recommendation, at: Limits) -> None:
    relative, gap = best.relative(shown), shown.gap(best.choice)
    facts = [
        (
            "Noise multiplier",
            rounded_up(best.noise_multiplier),
            "The least that keeps to this cost, in units of the mechanism's sensitivity.",
        ),
        (
            "Noise std. dev.",
            rounded_up(best.noise_stddev),
            "What the mechanism's noise is multiplied by before it is added to the sum of the "
            "clipped gradients.",
        ),
        (
            "Memory",
            takes(best.choice.memory, at.parameters),
            "Arrays of the model's size that the noise keeps from one step to the next.",
        ),
    ]
    if relative is not None and best.choice is not shown.independent:
        why = "Its error as a multiple of that of independent noise at the same cost."
        facts.append(("Of independent noise", f"× {rounded(relative)}", why))
    if gap is not None:
        why = (
            "No factorization of the workload, of whatever shape, has an error that this one "
            "exceeds by more."
        )
        facts.append(("Above the best", f"≤ {rounded_up(max(gap, 0.0), 2)} %", why))
    with st.container(key="facts", horizontal=True, gap="medium"):
        for label, value, why in facts:
            st.metric(label, value, help=why, width="content")


def _actions(best: Measured, job: Job) -> None:
    with st.container(horizontal=True, key="actions"):
        _use_button(best, job, "recommended", primary=True)
        show_share()
        with st.popover("Download", icon=":material/download:"):
            _files(best, "recommended")


def _files(one: Measured, key: str) -> None:
    plan = one.choice.plan
    show_files(
        (
            ("Strategy, JSON", strategy_of(plan).to_json, "strategy.json", "application/json"),
            ("Plan with it, JSON", plan.to_json, "plan.json", "application/json"),
        ),
        key,
    )


def _use_button(one: Measured, job: Job, key: str, *, primary: bool = False) -> None:
    title = one.choice.title
    if _is_used(one):
        st.button(
            f"The plan uses {title}", key=f"use.{key}", icon=":material/check:", disabled=True
        )
        return
    st.button(
        f"Use {title} in the plan",
        key=f"use.{key}",
        type="primary" if primary else "secondary",
        on_click=use,
        args=(one, job.asked.epsilon),
    )


def _is_used(one: Measured) -> bool:
    asked, plan = question(current().draft), one.choice.plan
    if asked.plan is None or asked.plan.groups != plan.groups:
        return False
    if one.choice.design.kind == "identity":
        return asked.design is None
    return asked.design == one.choice.design


def use(one: Measured, epsilon: float) -> None:
    """Carry a mechanism into the draft, with the noise that it needs at this cost."""
    mine, plan = current(), one.choice.plan
    is_independent = one.choice.design.kind == "identity"
    changes = {"mechanism": "" if is_independent else f"{one.choice.design}"}
    if plan.groups is not None:
        changes |= {"sampler": "cyclic_poisson", "groups": grouped(plan.groups)}
    if mine.draft.solve == "noise_multiplier":
        changes["epsilon"] = written(epsilon)
    else:
        changes |= {"solve": "epsilon", "noise_multiplier": written(one.noise_multiplier)}
    if mine.draft.solve == "batch_size" and plan.fields.batch_size is not None:
        changes |= {"batch_in": "batch_size", "batch_size": grouped(plan.fields.batch_size)}
    draft = mine.draft.with_(**changes)
    found = question(draft).plan
    if found is None or found.steps != plan.steps:
        # A mechanism is for one number of steps, and an epoch of groups may have another.
        changes |= {"length_in": "steps", "steps": grouped(plan.steps or 0)}
    mine.change(**changes)


# -- all of them -----------------------------------------------------------------------------------


def _table(
    found: Sequence[Measured],
    best: Measured,
    shown: Recommendation,
    at: Limits,
    how: str,
    bounding: bool,
) -> None:
    place = section(f"Mechanisms at ε = {rounded(shown.epsilon, 4)}")
    st.caption(escaped(how))
    kinds = best_of_each_kind(found)
    few = [one for one in found if one in kinds or one is best]
    everything = len(few) == len(found) or st.toggle(
        f"Show all {len(found)}, not only the best of each kind", key="every size"
    )
    columns = mechanisms_table(
        found if everything else few, shown, best, at.parameters, bounding=bounding
    )
    st.table(columns, border="horizontal", hide_index=True)
    st.caption(
        "Errors are those of what the run estimates, in clipping norms. The recommendation is bold."
    )
    if shown.refused:
        with st.expander(f"{len(shown.refused)} that do not fit", type="compact"):
            for title, reason in shown.refused:
                st.markdown(escaped(f"{title}: {reason}"))
    content = partial(mechanisms_csv, found, shown, at.parameters)
    download_csv(place, content, "mechanisms")


def _sizes(shown: Recommendation, at: Limits) -> None:
    section("Error against bands or buffers")
    draw(size_chart(shown, at.parameters))


def _steps(found: Sequence[Measured], best: Measured, job: Job) -> None:
    """Draw the error over steps of chosen mechanisms."""
    status = section("Error over the steps")
    by_name = {one.name: one for one in found}
    start = [best, *(one for one in best_of_each_kind(found) if _kind(one) != _kind(best))][:3]
    independent = [one for one in found if _kind(one) == "identity"]
    names = st.multiselect(
        "Mechanisms",
        tuple(by_name),
        tuple(dict.fromkeys(one.name for one in (*start, *independent))),
        format_func=lambda name: by_name[name].choice.title,
        max_selections=len(LINES),
        key="over steps",
    )
    curves: dict[str, Sequence[Point]] = {}
    for name in names:
        one = by_name[name].choice
        points = worked_out(
            CURVES,
            partial(curve, one.plan, job.asked.purpose),
            lambda: status.caption(f"{len(curves)} of {len(names)} lines"),
        )
        if isinstance(points, str):
            st.caption(escaped(f"{one.title}: {points}."))
        else:
            curves[one.title] = points
    if curves:
        draw(steps_chart(curves))
        download_csv(status, partial(_steps_csv, curves), "error-over-steps")


def _kind(one: Measured) -> str:
    return one.choice.design.kind


def _steps_csv(curves: dict[str, Sequence[Point]]) -> str:
    return as_csv(
        ("mechanism", "step", "error"),
        ((title, point.step, point.error) for title, points in curves.items() for point in points),
    )


def _pictures(found: Sequence[Measured], best: Measured, job: Job) -> None:
    """Draw the matrices of one mechanism, and offer it."""
    section("One mechanism, closely")
    by_name = {one.name: one for one in found}
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    name = left.selectbox(
        "Mechanism",
        tuple(by_name),
        tuple(by_name).index(best.name),
        format_func=lambda name: by_name[name].choice.title,
        key="closely",
    )
    part = right.segmented_control(
        "Steps",
        tuple(PARTS),
        default="beginning",
        format_func=lambda part: PARTS[part],
        required=True,
        key="part",
    )
    one = by_name[name]
    with st.container(horizontal=True):
        _use_button(one, job, "closely")
        with st.popover("Download", icon=":material/download:", key="files.closely"):
            _files(one, "closely")
    place = st.empty()
    strategy = strategy_of(one.choice.plan)
    drawn = worked_out(
        CURVES,
        partial(picture, strategy, part == "beginning"),
        lambda: place.caption("Working out the matrices …"),
    )
    place.empty()
    if isinstance(drawn, str):
        st.caption(escaped(f"No picture: {drawn}."))
        return
    titles = ("C, the strategy matrix", "Correlation of the noise between steps")
    charts = heat_maps(one.choice.title, drawn)
    for column, title, chart in zip(st.columns(2, gap="medium"), titles, charts, strict=True):
        with column:
            st.markdown(f"**{title}**")
            draw(chart)
