"""Figures show what they were given, and say it in words."""

import csv
import io
import json

import pytest

from mechanisms import Plan
from mechanisms.exploration import Cost, FrontierPoint, outlook
from ui.charts import Curve, Scenario, camera, frontier_charts, training_chart
from ui.comparison import table
from ui.downloads import frontier_csv, training_csv

PLAN = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1, delta=1e-5)
OTHER = PLAN.replace(noise_multiplier=2.0)

MINE = Curve(
    "This plan",
    (Cost(1, 0.004, 0.01, 0.015625), Cost(500, 2.1, 1.0, 1.00004), Cost(1000, 4.3, 2.0, 2.00004)),
)
THEIRS = Curve("Pinned plan", (Cost(1, 0.1, 0.2, 0.21), Cost(40, 4.0, 3.0, 3.1)))
FRONTIER = {
    15.0: (
        FrontierPoint(128, 15.0, 7032, 0.75, 0.0055),
        FrontierPoint(256, 15.0, 3516, None, None),
    ),
    60.0: (
        FrontierPoint(128, 60.0, 28125, 0.875, 0.007),
        FrontierPoint(256, 60.0, 14063, 1.1, 0.0043),
        FrontierPoint(512, 60.0, 7032, 1.3751, 0.0028),
    ),
}


def test_the_training_curve_shows_the_upper_bounds():
    chart = training_chart([MINE, THEIRS])
    mine, theirs = chart.figure.data
    assert list(mine.y) == [0.015625, 1.00004, 2.00004]
    assert list(mine.x) == [0.004, 2.1, 4.3]
    assert list(theirs.y) == [0.21, 3.1]
    assert (mine.name, theirs.name) == ("This plan", "Pinned plan")
    assert mine.line.dash != theirs.line.dash  # told apart without colour
    assert chart.figure.layout.xaxis.title.text == "epochs"


def test_the_training_curve_falls_back_to_steps():
    nameless = Curve("This plan", (Cost(1, None, 0.1, 0.2), Cost(9, None, 0.3, 0.4)))
    chart = training_chart([nameless])
    assert list(chart.figure.data[0].x) == [1, 9]
    assert chart.figure.layout.xaxis.title.text == "steps"
    assert chart.figure.layout.showlegend is False


def test_the_training_curve_in_words_rounds_up():
    words = training_chart([MINE, THEIRS]).words
    assert "This plan: ε is at most 0.01563 after 1 step" in words
    assert "1.001 after 500 steps" in words
    assert "2.001 after all 1,000 steps" in words
    assert "Pinned plan" in words


def test_the_frontier_leaves_out_what_is_not_reachable():
    noise, ratio = frontier_charts(FRONTIER, 2.0, Scenario("This plan", PLAN))
    assert [list(trace.x) for trace in noise.figure.data] == [[128], [128, 256, 512], [256]]
    assert [list(trace.y) for trace in noise.figure.data] == [[0.75], [0.875, 1.1, 1.3751], [1.1]]
    assert [list(t.y) for t in ratio.figure.data] == [
        [0.0055],
        [0.007, 0.0043, 0.0028],
        [1.1 / 256],
    ]
    assert noise.figure.layout.xaxis.type == "log"


def test_the_pinned_plan_is_on_the_frontier_chart():
    mine, pinned = Scenario("This plan", PLAN), Scenario("Pinned plan", OTHER)
    noise, _ = frontier_charts(FRONTIER, 2.0, mine, pinned)
    assert [trace.name for trace in noise.figure.data[-2:]] == ["This plan", "Pinned plan"]
    assert list(noise.figure.data[-1].y) == [2.0]
    assert noise.figure.data[-1].marker.symbol != noise.figure.data[-2].marker.symbol


def test_the_frontier_in_words():
    noise, ratio = frontier_charts(FRONTIER, 2.0, Scenario("This plan", PLAN))
    assert noise.words.startswith("The noise multiplier of runs that cost ε ≤ 2.")
    assert "With 15 epochs it is 0.75 for batches of 128." in noise.words
    assert "With 60 epochs it is 0.875 for batches of 128 and 1.376 for batches of 512." in (
        noise.words
    )
    assert ratio.words.startswith("The noise-to-batch ratio of runs")


def test_the_camera_saves_a_named_png_and_nothing_is_sent_anywhere():
    chart = training_chart([MINE])
    config = camera(chart)
    assert config["toImageButtonOptions"]["format"] == "png"
    assert config["toImageButtonOptions"]["filename"] == chart.name
    assert config["toImageButtonOptions"]["scale"] >= 2
    assert config["showSendToCloud"] is False
    assert "http" not in json.dumps(config)


def test_figures_are_json_without_addresses():
    charts = (training_chart([MINE]), *frontier_charts(FRONTIER, 2.0, Scenario("This plan", PLAN)))
    for chart in charts:
        assert "http" not in chart.figure.to_json()
        assert chart.words.strip()


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_every_digit():
    rows = read(training_csv([MINE, THEIRS]))
    assert len(rows) == 5
    assert rows[1] == {
        "scenario": "This plan",
        "steps": "500",
        "epochs": "2.1",
        "epsilon_lower": "1.0",
        "epsilon_upper": "1.00004",
    }
    rows = read(frontier_csv(FRONTIER))
    assert len(rows) == 5
    assert rows[1]["noise_multiplier"] == ""
    assert float(rows[3]["noise_to_batch_ratio"]) == 0.0043


@pytest.mark.parametrize("same", [True, False])
def test_the_comparison_shows_answers_and_differences(same):
    columns = table({"This plan": outlook(PLAN), "Pinned plan": outlook(PLAN if same else OTHER)})
    labels = columns[""]
    assert labels[0] == "ε (rounded up)"
    assert columns["This plan"][0] == "2.382"
    assert ("Noise multiplier" in labels) is not same
    assert "Clipping norm" not in labels
