"""The command `design`, and strategies from files in all the others."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from accountant.statement import statement
from mechanisms import FixedEpochOrder, Identity, MinSeparation, Plan, SingleParticipation, Strategy
from mechanisms import participation as patterns
from mechanisms.comparison import compare
from mechanisms.designs import Run, parse, parse_workload
from mechanisms.recommendation import recommend
from mechanisms.strategies import BLT, BinaryTree
from tests.ui.test_cli import answer, complaint, run, said
from ui.plan_files import read_plan

PATTERNS = MinSeparation(8, 3)
FLAGS = ["--steps", "24", "--min-separation", "8", "--max-participations", "3"]
FEDERATED = Plan(
    dataset_size=8_000,
    batch_size=1_000,
    steps=24,
    sampler="min_separation",
    min_separation=8,
    max_participations=3,
    neighboring_relation="replace_special",
    delta=1e-6,
)
PRIVATE = [
    "--dataset-size",
    "8000",
    "--batch-size",
    "1000",
    "--sampler",
    "min_separation",
    "--delta",
    "1e-6",
    "--neighboring-relation",
    "replace_special",
    "--epsilon",
    "4",
]
FEW = ["--design", "identity", "--design", "blt:2", "--design", "toeplitz:8"]
TRIED = [parse(name) for name in ("identity", "blt:2", "toeplitz:8")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(FEDERATED.to_json())
    return tmp_path


# -- at noise multiplier 1 -------------------------------------------------------------------------


def test_a_comparison_as_json_is_the_librarys():
    content = answer("design", *FLAGS)
    compared = compare(Run(24, PATTERNS))
    assert content["schema_version"] == 1
    assert patterns.from_dict(content["participation"]) == PATTERNS
    assert (content["steps"], content["workload"], content["objective"]) == (24, "prefix", "mean")
    assert content["lower_bound"] == {
        "value": compared.bound.value,
        "certified": True,
        "method": compared.bound.method,
    }
    assert content["preferred"] == str(compared.preferred.design)
    assert [found["design"] for found in content["designs"]] == [
        str(r.design) for r in compared.rows
    ]
    for found, row in zip(content["designs"], compared.rows, strict=True):
        assert (found["rmse"], found["max_error"]) == (row.rmse, row.max_error)
        assert (found["memory"], found["gap_percent"]) == (row.memory, compared.gap(row))
        assert found["sensitivity"]["value"] == row.sensitivity.value
        assert found["sensitivity"]["exact"] is row.sensitivity.exact
    assert "dp-planner" in content["versions"]


def test_a_comparison_for_people():
    text = said("design", *FLAGS, *FEW, "--design", "prefix-tree", "--design", "toeplitz:99")
    compared = compare(Run(24, PATTERNS), [*TRIED, parse("prefix-tree")])
    lines = text.splitlines()
    assert lines[0] == f"24 steps, {PATTERNS}; root mean square over steps"
    rows = [re.sub(r" {2,}", "|", line.strip()).split("|") for line in lines[1:6]]
    assert rows[0] == ["design", "rmse", "max error", "memory", "above best possible"]
    assert [row[0] for row in rows[1:]] == [str(row.design) for row in compared.rows]
    for shown, row in zip(rows[1:], compared.rows, strict=True):
        assert float(shown[1].rstrip("*")) == pytest.approx(row.rmse, rel=1e-5)
        assert shown[1].endswith("*") is not row.sensitivity.exact
        assert float(shown[2]) == pytest.approx(row.max_error, rel=1e-5)
        assert shown[3] == str(row.memory)
        gap = float(shown[4].removesuffix(" %"))
        assert compared.gap(row) <= gap <= compared.gap(row) * 1.01
    (least,) = re.findall(r"best possible: at least (\S+) at noise multiplier 1 \(proved\)", text)
    assert compared.bound.value * (1 - 1e-5) < float(least) <= compared.bound.value
    assert "* its sensitivity is an upper bound" in text
    assert "not toeplitz:99: banded Toeplitz, 99 bands are more than the 24 steps" in text
    assert lines[-1].startswith(f"prefer {compared.preferred.design}: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--steps 24", SingleParticipation()),
        ("--steps 24 --clip-norm 2 --delta 1e-5 --unit user", SingleParticipation()),
        ("--steps 24 --min-separation 5", MinSeparation(5)),
        (
            "--steps 24 --dataset-size 600 --batch-size 100 --sampler fixed_order",
            FixedEpochOrder(6, 4),
        ),
        (
            "--epochs 4 --dataset-size 600 --batch-size 100 --sampler fixed_order",
            FixedEpochOrder(6, 4),
        ),
        ("--steps 24 --sampler full_batch", MinSeparation(1)),
        ("--population 6000 --report-goal 1000 --rounds 24", MinSeparation(6, 4)),
        (
            "--population 6000 --report-goal 1000 --rounds 24 --min-rounds-between 5",
            MinSeparation(5, 5),
        ),
    ],
)
def test_who_takes_part_when(words, expected):
    content = answer("design", *words.split(), "--design", "blt:2", "--quick")
    assert patterns.from_dict(content["participation"]) == expected
    (found,) = content["designs"]
    assert found["rmse"] == compare(Run(24, expected), [parse("blt:2")], quick=True).rows[0].rmse


def test_groups_in_turn():
    words = ["--steps", "24", "--groups", "4", "--sampling-probability", "0.1", "--quick"]
    content = answer("design", *words, "--design", "toeplitz:4", "--design", "blt:2")
    assert content["participation"]["participation"] == "cyclic_poisson"
    assert [found["design"] for found in content["designs"]] == ["toeplitz:4"]
    assert content["refused"][0]["design"] == "blt:2"
    assert content["refused"][0]["reason"]


def test_what_counts_and_what_is_estimated():
    words = ["--objective", "max", "--workload", "cosine,momentum=0.9", "--quick"]
    content = answer("design", *FLAGS, *FEW, *words)
    run_ = Run(24, PATTERNS, parse_workload("cosine,momentum=0.9", 24), "max")
    compared = compare(run_, TRIED, quick=True)
    assert [row["max_error"] for row in content["designs"]] == [r.max_error for r in compared.rows]
    assert content["lower_bound"] is None
    assert content["designs"][0]["gap_percent"] is None
    text = said("design", *FLAGS, *FEW, *words)
    assert "the largest of all steps" in text
    assert "best possible: nothing is proved here" in text
    assert "unknown" in text


def test_memory_is_kept_to():
    content = answer("design", *FLAGS, "--memory", "2", "--quick")
    assert max(found["memory"] for found in content["designs"]) == 2


def test_a_billion_steps():
    content = answer("design", "--steps", "1e9", "--design", "blt:3", "--quick")
    assert content["designs"][0]["gap_percent"] < 30


def test_the_preferred_strategy_is_written(folder):
    content = answer("design", *FLAGS, "--quick", "--output", "strategy.json")
    strategy = Strategy.from_json(Path("strategy.json").read_text())
    best = compare(Run(24, PATTERNS), quick=True).preferred
    assert content["preferred"] == str(best.design)
    assert strategy == best.strategy
    said("design", *FLAGS, "--design", "tree", "--quick", "--output", "tree.json")
    assert Strategy.from_json(Path("tree.json").read_text()) == BinaryTree(24)


# -- at equal privacy ------------------------------------------------------------------------------


def test_a_recommendation_as_json_is_the_librarys():
    content = answer("design", *FLAGS, *PRIVATE, *FEW, "--design", "toeplitz:99")
    found = recommend(FEDERATED, epsilon=4.0, designs=TRIED)
    assert content["epsilon"] == 4
    assert content["recommended"] == str(found.best.design)
    assert content["recommendation"] == list(found.words)
    assert content["plan_hash"] == found.best.plan.hash
    assert content["plan"] == json.loads(found.best.plan.to_json())
    assert content["lower_bound"]["value"] == found.bound.value
    assert [one["design"] for one in content["choices"]] == [str(c.design) for c in found.choices]
    for one, choice in zip(content["choices"], found.choices, strict=True):
        assert one["noise_multiplier"] == choice.plan.noise_multiplier
        assert one["noise_stddev"] == choice.plan.noise_stddev
        assert (one["error"], one["memory"]) == (choice.error, choice.memory)
        assert one["gap_percent"] == found.gap(choice)
        assert one["plan_hash"] == choice.plan.hash
    assert content["refused"][0]["design"] == "banded Toeplitz, 99 bands"


def test_a_recommendation_for_people():
    text = said("design", *FLAGS, *PRIVATE, *FEW)
    found = recommend(FEDERATED, epsilon=4.0, designs=TRIED)
    lines = text.splitlines()
    assert lines[0] == ("24 steps at epsilon <= 4 and delta = 1e-06; root mean square over steps")
    assert lines[2].split("  ")[1] == found.choices[0].title
    assert f"{found.choices[0].plan.noise_multiplier:.6g}" in lines[2]
    first = lines.index(found.words[0])
    assert tuple(lines[first : first + len(found.words)]) == found.words
    # What it is that was recommended, and for whom it holds.
    rest = "\n".join(lines[first + len(found.words) :])
    assert f"rows multiplied by {found.best.plan.noise_stddev!r}" in rest
    assert "protects  one example, replace_special" in rest
    assert found.best.plan.hash in rest


def test_federated_terms_make_the_plan():
    terms = [
        "--population",
        "8000",
        "--report-goal",
        "1000",
        "--rounds",
        "24",
        "--delta",
        "1e-6",
        "--epsilon",
        "4",
    ]
    relation = ["--neighboring-relation", "replace_special"]
    content = answer("design", *terms, *relation, "--design", "blt:2", "--quick")
    found = recommend(FEDERATED, epsilon=4.0, designs=[parse("blt:2")], quick=True)
    assert content["plan_hash"] == found.best.plan.hash
    # Which data sets are neighbours is for people to say.
    assert "'replace_special' or 'replace_one'" in complaint("design", *terms)


def test_poisson_sampling_gets_groups_in_turn():
    words = "--dataset-size 6000 --batch-size 100 --steps 60 --noise-multiplier 1 --delta 1e-6"
    content = answer("design", *words.split())
    assert content["plan"]["sampler"] == "cyclic_poisson"
    assert content["plan"]["groups"] > 1
    assert any("groups in turn" in warning for warning in content["warnings"])
    assert "groups" in content["recommendation"][0]
    assert content["lower_bound"] is None
    text = said("design", *words.split(), "--design", "identity")
    assert "Poisson sampling is assumed, and was not stated" in text


def test_plans_and_strategies_are_written(folder):
    words = ["design", "--plan", "plan.json", "--epsilon", "4", *FEW, "--quick"]
    for name in ("found.yaml", "found.yml", "found.json"):
        content = answer(*words, "--plan-output", name, "--output", "strategy.json")
        plan = read_plan(name)
        assert plan.hash == content["plan_hash"]
        assert plan.epsilon <= 4
        assert plan.mechanism == Strategy.from_json(Path("strategy.json").read_text())
    # What was found is what the other commands price, and what can be looked at again.
    assert answer("epsilon", "--plan", "found.yaml")["epsilon"]["upper"] == plan.epsilon
    again = answer("design", "--plan", "found.json", *FEW, "--quick")
    assert again["epsilon"] == plan.epsilon
    longer = ["--steps", "30", "--epsilon", "4", "--max-participations", "4"]
    assert answer("design", "--plan", "found.json", *longer, *FEW, "--quick")["plan"]["steps"] == 30
    said(*words[:5], "--design", "identity", "--quick", "--output", "identity.json")
    assert Strategy.from_json(Path("identity.json").read_text()) == Identity(24)


def test_a_plan_on_standard_input():
    words = ["design", "--plan", "-", "--epsilon", "4", "--design", "blt:2", "--quick"]
    assert "Use BLT, 2 buffers" in said(*words, stdin=FEDERATED.to_yaml())


def test_a_strategy_too_long_for_yaml_is_written_as_json(folder, monkeypatch):
    monkeypatch.setattr("mechanisms.planning.file.LARGEST_YAML", 1000)
    words = ["design", "--plan", "plan.json", "--epsilon", "4", "--design", "dense", "--quick"]
    assert "too many for YAML" in complaint(*words, "--plan-output", "found.yaml")
    said(*words, "--plan-output", "found.json")
    assert not Path("found.yaml").exists()


# -- the other commands, with a strategy from a file -----------------------------------------------


@pytest.fixture
def correlated(folder) -> Plan:
    """A plan with a strategy, and this in strategy.json."""
    strategy = BLT.optimize(steps=24, buffers=2, participation=PATTERNS)
    Path("strategy.json").write_text(strategy.to_json())
    return FEDERATED.replace(mechanism=strategy, noise_multiplier=1.5)


WITH = ["--plan", "plan.json", "--mechanism", "strategy.json"]


def test_epsilon_with_a_strategy(correlated):
    content = answer("epsilon", *WITH, "--noise-multiplier", "1.5")
    assert content["plan_hash"] == correlated.hash
    assert content["epsilon"]["upper"] == correlated.epsilon
    text = said("epsilon", *WITH, "--noise-multiplier", "1.5")
    assert f"sensitivity {correlated.sensitivity!r}" in text
    assert f"rows multiplied by {correlated.noise_stddev!r}" in text
    assert repr(correlated.mechanism) in text
    # The JSON itself may stand for its file.
    written = json.dumps(correlated.mechanism.to_dict())
    words = ["--plan", "plan.json", "--mechanism", written, "--noise-multiplier", "1.5"]
    assert answer("epsilon", *words)["plan_hash"] == correlated.hash


def test_delta_with_a_strategy(correlated):
    content = answer("delta", *WITH, "--noise-multiplier", "1.5", "--epsilon", "2")
    assert content["delta"]["upper"] == correlated.loss.delta(2.0)
    assert "BLT(24" in said("delta", *WITH, "--noise-multiplier", "1.5", "--epsilon", "2")


def test_calibrate_with_a_strategy(correlated):
    found = correlated.replace(noise_multiplier=None).calibrate(epsilon=3.0)
    content = answer("calibrate", *WITH, "--epsilon", "3", "--output", "found.yaml")
    assert content["value"] == found.noise_multiplier
    assert content["epsilon"]["upper"] <= 3
    assert read_plan("found.yaml") == found
    by_risk = answer("calibrate", *WITH, "--advantage", "0.2")
    assert (
        by_risk["value"]
        == correlated.replace(noise_multiplier=None).calibrate(advantage=0.2).noise_multiplier
    )


@pytest.mark.parametrize("language", ["markdown", "latex", "json"])
def test_statement_with_a_strategy(correlated, language):
    words = ["statement", *WITH, "--noise-multiplier", "1.5", "--format", language]
    text = said(*words)
    assert text == statement(correlated.guarantee(), language)
    assert "BLT(24" in text


def test_a_strategy_of_another_length_is_refused(correlated):
    words = [*WITH, "--noise-multiplier", "1.5", "--steps", "20"]
    assert "steps must be 24, as in the mechanism" in complaint("epsilon", *words)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "steps must be given, to design a mechanism"),
        ("--steps 0", "steps must be a whole number"),
        ("--steps 24 --design magic", "a design must be one of identity"),
        ("--steps 24 --design blt", "blt needs its buffers, as in blt:4"),
        ("--steps 24 --design toeplitz:99", "No design fits this run: toeplitz:99: banded"),
        ("--steps 24 --design blt:3 --memory 2", "keeps 3 model copies, more than the 2 allowed"),
        ("--steps 24 --memory -1", "memory must be a whole number"),
        ("--steps 24 --memory 1.5", "memory must be a whole number"),
        ("--steps 24 --objective median", "--objective"),
        ("--steps 24 --workload adam", "a workload must be prefix, or any of"),
        ("--steps 24 --workload momentum=2", "within [0, 1)"),
        ("--steps 24 --mechanism identity", "mechanism must be left out"),
        ("--steps 24 --dataset-size 600 --batch-size 10", "every step draws from all examples"),
        ("--steps 24 --groups 4", "batch_size must be given"),
        ("--steps 24 --epsilon 4", "delta must be given"),
        ("--steps 24 --epsilon 0 --delta 1e-5", "epsilon must be a number in the interval"),
        ("--steps 24 --epsilon nan --delta 1e-5", "--epsilon"),
        ("--steps 24 --output strategy.yaml", "--output must be a file name ending in .json"),
        ("--steps 24 --plan-output plan.txt", "--plan-output must be a file name ending in"),
        ("--steps 24 --plan-output plan.yaml", "epsilon must be given, or noise_multiplier"),
        ("--steps 24 --design blt:2 --quick --output no/x.json", "Cannot write no/x.json"),
        ("--plan no.yaml", "Cannot read no.yaml"),
        ("--rounds 24", "--population must be given with the other terms"),
        ("--population 100 --rounds 24", "--report-goal must be given with the other terms"),
        ("--population 10 --report-goal 100 --rounds 24", "report_goal must be at most"),
        ("--population 100.5 --report-goal 10 --rounds 24", "population must be a whole number"),
        (
            "--population 100 --report-goal 10 --rounds 24 --min-rounds-between 11",
            "min_rounds_between must be at most 10",
        ),
        (
            "--population 100 --report-goal 10 --rounds 24 --steps 25",
            "steps must be left out, not 25: the terms of federated learning make it 24",
        ),
        (
            f"{' '.join(FLAGS)} {' '.join(PRIVATE)} --design toeplitz:99",
            "No mechanism meets epsilon=4.0",
        ),
    ],
)
def test_an_error_is_one_line_and_status_2(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complaint("design", *words.split())
    assert not list(tmp_path.iterdir())


def test_a_bug_is_not_dressed_up_as_a_mistake_of_the_user(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("mechanisms.comparison.compare", broken)
    assert isinstance(run("design", "--steps", "24").exception, KeyError)


# -- progress --------------------------------------------------------------------------------------


def test_progress_is_shown_where_somebody_looks():
    code = "from ui.cli import main; main(prog_name='dp-planner')"
    words = ["design", *FLAGS, *FEW, "--quick", "--json"]
    main, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        check=True,
    )
    os.close(terminal)
    shown = os.read(main, 65536).decode()
    os.close(main)
    assert "1 tried, the last identity" in shown
    assert "3 tried, the last toeplitz:8" in shown
    assert shown.endswith("\r\x1b[K")
    # Nothing of it is in the answer; and a file gets none (see `said`).
    assert len(json.loads(done.stdout)["designs"]) == 3
