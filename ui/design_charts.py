"""Figures of mechanisms, each with a text alternative."""

from collections.abc import Mapping, Sequence
from typing import Final

import plotly.graph_objects as go

from mechanisms.design_pictures import Picture
from mechanisms.design_views import Point, SizePoint, best_possible, by_size
from mechanisms.designs import DESIGNS
from mechanisms.recommendation import Recommendation
from ui.charts import LONGER, MINE, PINNED, SHORTER, Chart, quiet, ticks
from ui.design_table import copies, takes
from ui.entries import grouped, rounded

__all__ = ["LINES", "heat_maps", "size_chart", "steps_chart"]

_WARM: Final = "#d97706"
# Colour, dash and marker, so that lines are told apart without colour too.
_SIZED: Final[Mapping[str, tuple[str, str, str]]] = {
    "toeplitz": (MINE, "solid", "circle"),
    "blt": (LONGER, "solid", "diamond"),
    "bsr": (PINNED, "dash", "triangle-down"),
    "bisr": (SHORTER, "dash", "square"),
    "banded": (_WARM, "dot", "triangle-up"),
}
LINES: Final = (
    (MINE, "solid"),
    (LONGER, "dash"),
    (SHORTER, "dot"),
    (_WARM, "dashdot"),
    (PINNED, "longdash"),
)
_DASHES: Final = ("dot", "dash", "dashdot", "longdash", "longdashdot", "dot")
# From red over nothing to blue: nothing is what is behind, be it light or dark.
_SIGNED: Final = ((0.0, "#dc2626"), (0.5, "rgba(128, 128, 128, 0.06)"), (1.0, "#2563eb"))
_SQUARE: Final = 380


def size_chart(recommendation: Recommendation, parameters: int | None) -> Chart:
    """Draw the error against bands or buffers, and what has neither as a level."""
    figure, said = go.Figure(), [_error(recommendation)]
    points, levels = by_size(recommendation), list(_DASHES)
    sizes = sorted({point.size for found in points.values() for point in found if point.size})
    for kind, found in points.items():
        title = DESIGNS[kind].title
        if kind in _SIZED:
            figure.add_trace(_sized(kind, found, parameters))
            said.append(_sized_words(kind, found))
        else:
            (level,) = found[:1]
            said.append(f"{title}: {rounded(level.error, 4)}.")
            if sizes and levels:
                figure.add_trace(_level(title, level.error, sizes, PINNED, levels.pop(0)))
    best = best_possible(recommendation)
    if best is not None:
        said.append(f"No factorization is below {rounded(best, 4)}.")
        if sizes:
            figure.add_trace(_level("no factorization is below", best, sizes, "#dc2626", "solid"))
    figure.update_xaxes(
        title="bands (which keep one copy less) or buffers", type="log", dtick="D2", tickformat="~s"
    )
    _errors(figure, [height for trace in figure.data for height in trace.y])
    quiet(figure, 420)
    figure.update_layout(hovermode="closest")
    return Chart(figure, " ".join(said), "error-against-size")


def _errors(figure: go.Figure, heights: Sequence[float]) -> None:
    title = "error, in clipping norms"
    figure.update_yaxes(title=title, type="log", dtick=ticks(heights), tickformat="~g")


def _error(recommendation: Recommendation) -> str:
    how = "Root mean square" if recommendation.objective == "mean" else "Largest"
    return f"{how} error at ε = {rounded(recommendation.epsilon, 4)}, in clipping norms."


def _sized(kind: str, found: Sequence[SizePoint], parameters: int | None) -> go.Scatter:
    colour, dash, symbol = _SIZED[kind]
    unit = DESIGNS[kind].sized
    return go.Scatter(
        x=[point.size for point in found],
        y=[point.error for point in found],
        customdata=[[takes(point.memory, parameters)] for point in found],
        mode="lines+markers",
        name=DESIGNS[kind].title,
        line={"color": colour, "dash": dash, "width": 2.5},
        marker={"symbol": symbol, "size": 8},
        hovertemplate=f"%{{y:.4g}} with %{{x}} {unit}, which keep %{{customdata[0]}}",
    )


def _sized_words(kind: str, found: Sequence[SizePoint]) -> str:
    unit = DESIGNS[kind].sized or ""
    ends = found if len(found) == 1 else (found[0], found[-1])
    each = " and ".join(
        f"{rounded(point.error, 4)} with {grouped(point.size)} "
        f"{unit if point.size > 1 else unit.removesuffix('s')} ({copies(point.memory)} kept)"
        for point in ends
    )
    return f"{DESIGNS[kind].title}: {each}."


def _level(name: str, error: float, sizes: Sequence[int], colour: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=[sizes[0], sizes[-1]],
        y=[error, error],
        mode="lines",
        name=name,
        line={"color": colour, "dash": dash, "width": 1.5},
        hovertemplate="%{y:.4g}",
    )


def steps_chart(curves: Mapping[str, Sequence[Point]]) -> Chart:
    """Draw how the error grows over the steps of a run, for some mechanisms."""
    figure, said = go.Figure(), []
    for (title, points), (colour, dash) in zip(curves.items(), LINES, strict=False):
        figure.add_trace(
            go.Scatter(
                x=[point.step for point in points],
                y=[point.error for point in points],
                mode="lines",
                name=title,
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate="%{y:.4g}",
            )
        )
        first, last = points[0], points[-1]
        said.append(
            f"{title}: {rounded(first.error, 4)} clipping norms after step {grouped(first.step)}, "
            f"{rounded(last.error, 4)} after step {grouped(last.step)}."
        )
    figure.update_xaxes(title="step", type="log", dtick=1, tickformat="~s", hoverformat=",d")
    _errors(figure, [point.error for points in curves.values() for point in points])
    quiet(figure, 400)
    words = f"Standard error of what is estimated, step by step. {' '.join(said)}"
    return Chart(figure, words, "error-over-steps")


def heat_maps(title: str, picture: Picture) -> tuple[Chart, Chart]:
    """Draw C, and the correlation of the noise between steps."""
    is_square = picture.rows == picture.steps
    down = "step" if is_square else "row: a sum that is released"
    shown = _shown(picture)
    matrix = _heat(picture.matrix, picture.steps, picture.rows, "step", down, None)
    noise = _heat(
        picture.correlation, picture.steps, picture.steps, "step", "step", picture.strongest
    )
    values = picture.matrix
    matrix_words = (
        f"C of {title}, {shown}: entries from {rounded(float(values.min()))} to "
        f"{rounded(float(values.max()))}, {rounded(float(values[0, 0]), 4)} in the first row and "
        f"column and {rounded(float(values[-1, 0]), 4)} in the last row of the first column."
    )
    correlation = picture.correlation
    near = correlation[0, :2][-1]
    noise_words = (
        f"Correlation of the noise of {title} between steps, {shown}: "
        f"{rounded(float(near))} between the first two that are shown, "
        f"{rounded(float(correlation[0, -1]))} between the first and the last, "
        f"{rounded(float(correlation.min()))} at the least."
    )
    return (
        Chart(matrix, matrix_words, "matrix"),
        Chart(noise, noise_words, "noise-correlation"),
    )


def _shown(picture: Picture) -> str:
    first, last = grouped(picture.steps[0]), grouped(picture.steps[-1])
    return f"{len(picture.steps)} steps from {first} to {last}"


def _heat(
    values: object,
    across: Sequence[int],
    downwards: Sequence[int],
    title: str,
    other: str,
    most: float | None,
) -> go.Figure:
    figure = go.Figure(
        go.Heatmap(
            z=values,
            # As text, so that samples of a long run stand side by side.
            x=[grouped(step) for step in across],
            y=[grouped(step) for step in downwards],
            zmid=0.0,
            zmin=None if most is None else -most,
            zmax=most,
            colorscale=[list(stop) for stop in _SIGNED],
            colorbar={"thickness": 10, "outlinewidth": 0},
            hovertemplate="%{y}, %{x}: %{z:.4g}<extra></extra>",
        )
    )
    figure.update_xaxes(title=title, type="category", nticks=6, showgrid=False)
    figure.update_yaxes(
        title=other, type="category", nticks=6, autorange="reversed", showgrid=False
    )
    quiet(figure, _SQUARE)
    figure.update_layout(hovermode="closest")
    return figure
