"""Figures of mechanisms show what they were given, and say it in words."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mechanisms.design_pictures import Picture, picture
from mechanisms.design_views import Point
from mechanisms.designs import parse
from mechanisms.strategies import BLT, BinaryTree
from ui.charts import ticks
from ui.design_charts import heat_maps, size_chart, steps_chart


def choice(name, error, memory):
    correlated = SimpleNamespace(mechanism=None)
    return SimpleNamespace(design=parse(name), error=error, memory=memory, plan=correlated)


RECOMMENDATION = SimpleNamespace(
    choices=(
        choice("toeplitz:4", 3.5, 3),
        choice("blt:2", 4.0, 2),
        choice("blt:1", 5.0, 1),
        choice("identity", 40.0, 0),
    ),
    epsilon=8.0,
    objective="mean",
    gap=lambda choice: None if choice.error == 40.0 else 100.0 * (choice.error / 3.2 - 1.0),
)


def test_the_error_against_sizes():
    chart = size_chart(RECOMMENDATION, 10**9)
    traces = {trace.name: trace for trace in chart.figure.data}
    assert list(traces["BLT"].x) == [1, 2]
    assert list(traces["BLT"].y) == [5.0, 4.0]
    assert [text for (text,) in traces["BLT"].customdata] == [
        "1 copy, 4\u00a0GB",
        "2 copies, 8\u00a0GB",
    ]
    assert list(traces["independent noise"].y) == [40.0, 40.0]
    assert traces["no factorization is below"].y[0] == pytest.approx(3.2)
    assert len({(trace.line.color, trace.line.dash) for trace in traces.values()}) == len(traces)
    assert "BLT: 5 with 1 buffer (1 copy kept) and 4 with 2 buffers (2 copies kept)" in chart.words
    assert "No factorization is below 3.2." in chart.words


def test_the_error_over_steps():
    curves = {"A": [Point(1, 2.0), Point(1000, 5.0)], "B": [Point(1, 1.0), Point(1000, 9.0)]}
    chart = steps_chart(curves)
    first, second = chart.figure.data
    assert (list(first.x), list(first.y)) == ([1, 1000], [2.0, 5.0])
    assert first.line.dash != second.line.dash  # told apart without colour
    assert chart.figure.layout.xaxis.type == chart.figure.layout.yaxis.type == "log"
    assert "A: 2 clipping norms after step 1, 5 after step 1,000." in chart.words


@pytest.mark.parametrize("strategy", [BLT(300, (0.9,), (0.4,)), BinaryTree(300)])
def test_heat_maps_show_the_picture(strategy):
    seen = picture(strategy, 40)
    matrix, noise = heat_maps("it", seen)
    assert np.array_equal(matrix.figure.data[0].z, seen.matrix)
    assert np.array_equal(noise.figure.data[0].z, seen.correlation)
    assert list(noise.figure.data[0].x) == [f"{step:,}" for step in seen.steps]
    # The diagonal is 1: what is beside it decides what can be seen.
    assert noise.figure.data[0].zmax == -noise.figure.data[0].zmin == seen.strongest
    for chart in (matrix, noise):
        assert "http" not in json.dumps(chart.figure.to_plotly_json(), default=str)
        assert chart.words.endswith(".")


def test_a_picture_of_one_step():
    one = Picture((1,), (1,), np.ones((1, 1)), np.ones((1, 1)))
    assert "1 between the first two" in heat_maps("it", one)[1].words


@pytest.mark.parametrize(
    ("values", "step"), [([], "D2"), ([1, 100], "D2"), ([76, 92], None), ([2, 5], "D1")]
)
def test_a_logarithmic_axis_has_ticks_in_sight(values, step):
    assert ticks(values) == step
