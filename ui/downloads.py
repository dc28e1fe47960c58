"""What can be taken away: the plan, its statement, the points of the curves.

A file is written when somebody asks for it, not at every change of an input.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from accountant.statement import statement
from mechanisms.exploration import FrontierPoint
from mechanisms.plan import Plan
from ui.charts import Curve
from ui.state import current

__all__ = [
    "as_csv",
    "download_csv",
    "frontier_csv",
    "show_downloads",
    "show_files",
    "show_share",
    "training_csv",
]

File: TypeAlias = tuple[str, Callable[[], str], str, str]  # label, content, name, type


def show_downloads(plan: Plan) -> None:
    """Draw the buttons that download a complete plan and its statement."""

    def said(form: Literal["markdown", "latex"]) -> str:
        return statement(plan.guarantee(), form)

    files: tuple[File, ...] = (
        ("Plan, JSON", plan.to_json, "plan.json", "application/json"),
        ("Plan, YAML", plan.to_yaml, "plan.yaml", "application/yaml"),
        ("Statement, Markdown", partial(said, "markdown"), "statement.md", "text/markdown"),
        ("Statement, LaTeX", partial(said, "latex"), "statement.tex", "application/x-tex"),
    )
    show_files(files, "plan")


def show_files(files: Iterable[File], key: str) -> None:
    """Draw the buttons that download some files."""
    for label, content, name, mime in files:
        st.download_button(
            label,
            content,
            name,
            mime,
            on_click="ignore",
            width="stretch",
            key=f"download.{key}.{name}",
        )
    st.caption("Each chart saves as PNG with the camera at its corner, its points as CSV.")


def show_share() -> None:
    """Draw the button that shows a link to what this tab shows."""
    here, link = (st.context.url or "").partition("?")[0].rstrip("/"), current().link()
    with st.popover("Share", icon=":material/link:"):
        st.markdown(
            "This link restores everything on this page, the pinned plan included. For a "
            "planner that runs elsewhere, change what stands before the question mark."
        )
        # The page that opens first is at the address's root.
        root = "" if here.rpartition("/")[2] == current().page else "/"
        st.code(f"{here}{root}?{urlencode(link, safe=',')}", language=None, wrap_lines=True)


def download_csv(place: DeltaGenerator, content: Callable[[], str], name: str) -> None:
    """Draw, in a place, the button that downloads a chart's points."""
    place.download_button(
        "CSV",
        content,
        f"{name}.csv",
        "text/csv",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
        key=f"download.{name}",
    )


def training_csv(curves: Sequence[Curve]) -> str:
    """Write the points of the training curves, every digit of them."""
    return as_csv(
        ("scenario", "steps", "epochs", "epsilon_lower", "epsilon_upper"),
        (
            (curve.label, point.steps, point.epochs, point.lower, point.upper)
            for curve in curves
            for point in curve.points
        ),
    )


def frontier_csv(frontier: Mapping[float, Sequence[FrontierPoint]]) -> str:
    """Write the points of the frontier, every digit of them."""
    return as_csv(
        ("epochs", "batch_size", "steps", "noise_multiplier", "noise_to_batch_ratio"),
        (
            (p.epochs, p.batch_size, p.steps, p.noise_multiplier, p.noise_to_batch_ratio)
            for points in frontier.values()
            for p in points
        ),
    )


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table, every digit of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
