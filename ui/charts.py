"""Plotly figures, each with a text alternative.

Colours are set here only where they carry meaning, in tones that are readable on light and on dark;
everything else follows Streamlit's theme.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from mechanisms.exploration import Cost, FrontierPoint
from mechanisms.plan import Plan
from ui.entries import grouped, rounded, rounded_up

__all__ = [
    "Chart",
    "Curve",
    "Scenario",
    "camera",
    "frontier_charts",
    "quiet",
    "ticks",
    "training_chart",
]

MINE: Final = "#3b82f6"
PINNED: Final = "#8b8f97"
SHORTER: Final = "#0ea5a4"
LONGER: Final = "#a855f7"
EPOCH_COLOURS: Final = (SHORTER, MINE, LONGER)


@dataclass(frozen=True)
class Chart:
    """A figure, what it shows in words, and the name of the files made from it."""

    figure: go.Figure
    words: str
    name: str


@dataclass(frozen=True)
class Curve:
    """Epsilon over the course of one scenario's run."""

    label: str
    points: Sequence[Cost]


@dataclass(frozen=True)
class Scenario:
    """A complete plan and what it is called in a legend."""

    label: str
    plan: Plan


def camera(chart: Chart) -> dict[str, Any]:
    """Return Plotly's configuration: a camera button that saves a PNG fit for print."""
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
        "toImageButtonOptions": {
            "format": "png",
            "filename": chart.name,
            "width": 800,
            "height": 480,
            "scale": 3,
        },
        "showSendToCloud": False,
        "plotlyServerURL": "",
    }


def quiet(figure: go.Figure, height: int) -> go.Figure:
    """Set a figure's height and margins, and its legend below it."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        # Below, where the buttons that Plotly shows at the top do not cover it.
        legend={"orientation": "h", "x": 0, "y": -0.26, "yanchor": "top", "title": None},
        hovermode="x unified",
    )
    return figure


def ticks(values: Sequence[float]) -> str | None:
    """Return the step between ticks of a logarithmic axis: None, where few powers are in sight."""
    if not values or max(values) > 4 * min(values):
        return "D2"
    return "D1" if max(values) > 1.6 * min(values) else None


def training_chart(curves: Sequence[Curve]) -> Chart:
    """Draw epsilon over the course of training, the first curve being the plan at hand."""
    in_epochs = all(point.epochs is not None for curve in curves for point in curve.points)
    unit = "epochs" if in_epochs else "steps"
    figure = go.Figure()
    for curve, colour, dash in zip(curves, (MINE, PINNED), ("solid", "dash"), strict=False):
        figure.add_trace(
            go.Scatter(
                x=[point.epochs if in_epochs else point.steps for point in curve.points],
                y=[point.upper for point in curve.points],
                customdata=[[grouped(point.steps)] for point in curve.points],
                mode="lines",
                name=curve.label,
                line={"color": colour, "dash": dash, "width": 2.5},
                hovertemplate="ε ≤ %{y:.4g} after %{customdata[0]} steps",
            )
        )
    figure.update_xaxes(title=unit, rangemode="tozero", hoverformat=",.4~g")
    figure.update_yaxes(title="ε spent so far", rangemode="tozero")
    quiet(figure, 340)
    figure.update_layout(showlegend=len(curves) > 1)
    words = " ".join(_training_words(curve) for curve in curves)
    return Chart(figure, words, "epsilon-over-training")


def _training_words(curve: Curve) -> str:
    last = curve.points[-1]
    half = min(curve.points, key=lambda point: abs(point.steps - last.steps / 2))
    first = curve.points[0]
    return (
        f"{curve.label}: ε is at most {rounded_up(first.upper)} after {_steps(first.steps)}, "
        f"{rounded_up(half.upper)} after {_steps(half.steps)} "
        f"and {rounded_up(last.upper)} after all {_steps(last.steps)}."
    )


def _steps(steps: int) -> str:
    return "1 step" if steps == 1 else f"{grouped(steps)} steps"


def frontier_charts(
    frontier: Mapping[float, Sequence[FrontierPoint]],
    epsilon: float,
    mine: Scenario,
    pinned: Scenario | None = None,
) -> tuple[Chart, Chart]:
    """Draw the noise that each batch size needs at one epsilon, and its ratio to the batch.

    Parameters
    ----------
    frontier : mapping of float to sequence of FrontierPoint
        The points for each number of epochs.
    epsilon : float
        What every run on the frontier costs at most.
    mine, pinned : Scenario
        The plan at hand, which the frontier goes through, and another one to show beside it.
    """
    scenarios = [mine] if pinned is None else [mine, pinned]
    noise = _frontier_figure(
        frontier,
        scenarios,
        "noise multiplier σ",
        lambda point: point.noise_multiplier,
        lambda plan: plan.noise_multiplier,
    )
    ratio = _frontier_figure(
        frontier,
        scenarios,
        "noise-to-batch ratio σ / B",
        lambda point: point.noise_to_batch_ratio,
        lambda plan: plan.noise_to_batch_ratio,
    )
    return (
        Chart(
            noise,
            _frontier_words(frontier, epsilon, "noise multiplier", lambda p: p.noise_multiplier),
            "noise-against-batch-size",
        ),
        Chart(
            ratio,
            _frontier_words(
                frontier, epsilon, "noise-to-batch ratio", lambda p: p.noise_to_batch_ratio
            ),
            "noise-to-batch-ratio",
        ),
    )


def _frontier_figure(
    frontier: Mapping[float, Sequence[FrontierPoint]],
    scenarios: Sequence[Scenario],
    title: str,
    of_point: Callable[[FrontierPoint], float | None],
    of_plan: Callable[[Plan], float | None],
) -> go.Figure:
    figure = go.Figure()
    heights: list[float] = []
    for (epochs, points), colour in zip(frontier.items(), EPOCH_COLOURS, strict=False):
        met = [(point.batch_size, value) for point in points if (value := of_point(point))]
        heights += [value for _, value in met]
        figure.add_trace(
            go.Scatter(
                x=[batch for batch, _ in met],
                y=[value for _, value in met],
                mode="lines",
                name=f"{rounded(epochs)} epochs",
                line={"color": colour, "width": 2.5},
                hovertemplate="%{y:.4g}",
            )
        )
    marks = (("circle", MINE, 11), ("diamond-open", PINNED, 15))
    for scenario, (symbol, colour, size) in zip(scenarios, marks, strict=False):
        if scenario.plan.batch_size is None:
            continue
        figure.add_trace(
            go.Scatter(
                x=[scenario.plan.batch_size],
                y=[of_plan(scenario.plan)],
                mode="markers",
                name=scenario.label,
                marker={"color": colour, "size": size, "symbol": symbol, "line": {"width": 2}},
                hovertemplate="%{y:.4g}",
            )
        )
    figure.update_xaxes(title="batch size B", type="log", tickformat="~s", hoverformat=",d")
    wide = not heights or max(heights) > 8 * min(heights)
    small = bool(heights) and min(heights) < 1e-4
    figure.update_xaxes(dtick="D2")
    figure.update_yaxes(title=title, type="log", dtick="D2" if wide else "D1")
    figure.update_yaxes(tickformat="~e" if small else "~g")
    return quiet(figure, 360)


def _frontier_words(
    frontier: Mapping[float, Sequence[FrontierPoint]],
    epsilon: float,
    quantity: str,
    of_point: Callable[[FrontierPoint], float | None],
) -> str:
    said = [f"The {quantity} of runs that cost ε ≤ {rounded_up(epsilon)}."]
    for epochs, points in frontier.items():
        met = [(point.batch_size, value) for point in points if (value := of_point(point))]
        ends = met if len(met) == 1 else [*met[:1], *met[-1:]]
        if ends:
            needs = " and ".join(
                f"{rounded_up(value)} for batches of {grouped(batch)}" for batch, value in ends
            )
            said.append(f"With {rounded(epochs)} epochs it is {needs}.")
    return " ".join(said)
