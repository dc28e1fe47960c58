"""The command: the library's numbers, one line for every error, everything documented."""

import dataclasses
import json
import math
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import hypothesis.strategies as st
import pytest
from click.testing import CliRunner, Result
from hypothesis import given

from accountant import Bounds
from accountant.statement import DETAILS, statement
from mechanisms import Plan
from mechanisms.planning.fields import FIELDS, SAMPLERS
from tests.mechanisms.plans import complete_plans
from ui.cli import main
from ui.plan_files import read_plan, write_text

ROOT = Path(__file__).parent.parent.parent
MNIST = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1, delta=1e-5)
FLAGS = "--dataset-size 60000 --batch-size 256 --epochs 60 --noise-multiplier 1.1 --delta 1e-5"


def run(*words: str, stdin: str | None = None) -> Result:
    line = [part for word in words for part in (word.split() if word == FLAGS else [word])]
    return CliRunner().invoke(main, line, input=stdin, prog_name="dp-planner")


def said(*words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def answer(*words: str) -> dict:
    return json.loads(said(*words, "--json"))


def complaint(*words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 2, (result.stdout, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dp-planner: ")
    return lines[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(MNIST.to_json())
    Path("plan.yaml").write_text(MNIST.to_yaml())
    Path("plan.yml").write_text(MNIST.to_yaml())
    return tmp_path


# -- answers ---------------------------------------------------------------------------------------


def test_epsilon_as_json_is_the_librarys():
    content = answer("epsilon", FLAGS)
    lower, upper = MNIST.guarantee().epsilon
    assert content["epsilon"] == {"lower": lower, "upper": upper, "tight": True}
    assert content["schema_version"] == 1
    assert content["delta"] == 1e-5
    assert content["plan"] == json.loads(MNIST.to_json())
    assert content["plan_hash"] == MNIST.hash
    assert "dp-planner" in content["versions"]
    assert content["warnings"] == list(MNIST.guarantee().warnings)


def test_epsilon_for_people():
    text = said("epsilon", FLAGS)
    assert text.startswith("epsilon <= 2.382 at delta = 1e-05\n")
    assert repr(MNIST.epsilon) in text
    assert "certified" in text
    assert "an attack that takes 0.01" in text
    assert "14063 steps" in text
    assert MNIST.hash in text
    assert "Poisson sampling is assumed, and was not stated" in text


@pytest.mark.parametrize("size", ["9.6e9", "9,600,000,000", "9_600_000_000", "9600000000"])
def test_numbers_as_people_type_them(size):
    words = ["--dataset-size", size, "--batch-size", "517,989", "--steps", "1e5"]
    plan = answer("epsilon", *words, "--noise-multiplier", ".614", "--delta", "1.1e-10")["plan"]
    assert plan["dataset_size"] == 9_600_000_000
    assert (plan["batch_size"], plan["steps"], plan["delta"]) == (517_989, 100_000, 1.1e-10)


def test_a_fraction_is_a_number():
    words = ["--sampling-probability", "1/100", "--steps", "1000", "--noise-multiplier", "1"]
    assert answer("epsilon", *words, "--delta", "1e-5")["plan"]["sampling_probability"] == 0.01


def test_delta_as_json_is_the_librarys():
    content = answer("delta", FLAGS, "--epsilon", "3")
    lower, upper = MNIST.loss.delta_bounds(3.0)
    assert content["delta"] == {"lower": lower, "upper": upper, "tight": True}
    assert content["epsilon"] == 3


def test_delta_for_people_needs_no_delta():
    text = said("delta", *FLAGS.split()[:8], "--epsilon", "3")
    upper = MNIST.loss.delta(3.0)
    (shown,) = re.findall(r"^delta <= (\S+) at epsilon = 3\n", text)
    assert upper <= float(shown) < upper * 1.001
    assert repr(upper) in text
    assert "Poisson sampling is assumed" in text


@pytest.mark.parametrize("missing", ["noise-multiplier", "batch-size", "epochs"])
@pytest.mark.parametrize("target", ["--epsilon 3", "--advantage 0.1", "--tpr 0.05 --fpr 0.01"])
def test_calibrate_finds_what_is_missing(missing, target):
    words = re.sub(rf"--{missing} \S+", "", FLAGS).split()
    content = answer("calibrate", *words, *target.split())
    pairs = zip(target.split()[::2], target.split()[1::2], strict=True)
    asked = {name.removeprefix("--"): float(value) for name, value in pairs}
    field = missing.replace("-", "_")
    found = MNIST.replace(**{field: None}).calibrate(**asked)
    assert content["plan_hash"] == found.hash
    assert content["solved"] == {"epochs": "steps"}.get(field, field)
    assert content["value"] == content["plan"][content["solved"]]
    assert content["target"] == asked
    assert content["epsilon"]["upper"] == found.epsilon


@pytest.mark.parametrize(
    ("solve", "solved"),
    [("noise-multiplier", "noise_multiplier"), ("batch-size", "batch_size"), ("steps", "steps")],
)
def test_calibrate_solves_for_what_it_is_told(folder, solve, solved):
    words = ["calibrate", "--plan", "plan.json", "--epsilon", "3", "--solve-for", solve]
    assert answer(*words)["solved"] == solved
    assert said(*words).startswith(f"{solved} = ")


def test_calibrate_without_a_delta():
    text = said("calibrate", *FLAGS.split()[:6], "--advantage", "0.1")
    assert text.startswith("noise_multiplier = ")
    assert "epsilon <=" not in text
    assert answer("calibrate", *FLAGS.split()[:6], "--advantage", "0.1")["epsilon"] is None


@pytest.mark.parametrize("name", ["found.yaml", "found.yml", "found.json"])
def test_calibrate_writes_the_plan(folder, name):
    words = ["calibrate", "--plan", "plan.yaml", "--solve-for", "steps", "--epsilon", "3"]
    content = answer(*words, "--output", name)
    assert read_plan(name).hash == content["plan_hash"]
    assert answer("epsilon", "--plan", name)["plan_hash"] == content["plan_hash"]


@pytest.mark.parametrize("language", ["markdown", "latex", "json"])
def test_statement_is_the_librarys(folder, language):
    words = ["statement", "--plan", "plan.json", "--format", language]
    details = {"tuning": "a = b", "code": "https://example.org/"}
    told = ["--detail", "tuning=a = b", "--detail", "code=https://example.org/"]
    wanted = statement(MNIST.guarantee(), language, details=details)
    assert said(*words, *told) == wanted
    assert said(*words, *told, "--output", "statement.txt") == ""
    assert Path("statement.txt").read_text(encoding="utf-8") == wanted


def test_statement_as_json_for_machines():
    assert answer("statement", FLAGS)["plan_hash"] == MNIST.hash


def test_an_infinite_epsilon_is_said_in_words(monkeypatch):
    nothing = dataclasses.replace(MNIST.guarantee(), epsilon=Bounds(0.5, math.inf, False))
    monkeypatch.setattr(Plan, "guarantee", lambda _: nothing)
    text = said("epsilon", FLAGS)
    assert text.startswith("epsilon is infinite")
    assert "wider than usual" in text
    content = answer("epsilon", FLAGS)["epsilon"]
    assert content == {"lower": 0.5, "upper": "infinity", "tight": False}


# -- plan files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan.json", "plan.yaml", "plan.yml"])
def test_a_plan_file_with_flags_on_top(folder, name):
    assert answer("epsilon", "--plan", name)["plan_hash"] == MNIST.hash
    content = answer("epsilon", "--plan", name, "--steps", "100", "--unit", "user")
    assert content["plan_hash"] == MNIST.replace(steps=100, unit="user").hash


@pytest.mark.parametrize("text", [MNIST.to_json(), MNIST.to_yaml(), "\n" + MNIST.to_json()])
def test_a_plan_on_standard_input(text):
    assert MNIST.hash in said("epsilon", "--plan", "-", stdin=text)


def test_the_written_json_hashes_to_the_hash(folder):
    done = subprocess.run(["sha256sum", "plan.json"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == MNIST.hash


def test_a_file_is_written_whole_or_not_at_all(folder, monkeypatch):
    target = Path("kept.txt")
    target.write_text("before")
    target.chmod(0o640)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(click.ClickException, match="No space left"):
            write_text("kept.txt", "after")
    assert target.read_text() == "before"
    assert {path.name for path in Path().iterdir()} == {
        "kept.txt",
        "plan.json",
        "plan.yaml",
        "plan.yml",
    }
    write_text("kept.txt", "after")
    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@given(complete_plans)
def test_every_plan_can_be_typed(plan):
    words = [
        word
        for name in FIELDS
        if name in plan.stated
        for word in (f"--{name.replace('_', '-')}", str(getattr(plan.fields, name)))
    ]
    context = main.commands["delta"].make_context("delta", [*words, "--epsilon", "1"])
    assert Plan(**{name: context.params[name] for name in FIELDS}) == plan


# -- samplers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--max-batch-size 16", {"max_batch_size": 16}),
        ("--sampler without_replacement", {"sampler": "without_replacement"}),
        ("--sampler balls_in_bins", {"sampler": "balls_in_bins"}),
        (
            "--sampler shuffled --neighboring-relation replace_one",
            {"sampler": "shuffled", "neighboring_relation": "replace_one"},
        ),
        ("--neighboring-relation replace_one", {"neighboring_relation": "replace_one"}),
    ],
)
def test_every_sampler_has_the_librarys_number(words, changes):
    small = "--dataset-size 1000 --batch-size 10 --epochs 1 --noise-multiplier 2 --delta 1e-5"
    plan = Plan(dataset_size=1_000, batch_size=10, epochs=1, noise_multiplier=2, delta=1e-5)
    plan = plan.replace(**changes)
    found = answer("epsilon", *small.split(), *words.split())
    assert found["epsilon"]["upper"] == plan.epsilon
    assert found["plan_hash"] == plan.hash


def test_help_says_in_one_sentence_what_each_sampler_does():
    text = " ".join(said("epsilon", "--help").split())
    for name in SAMPLERS:
        assert re.search(rf"{name}: [a-z, ]+\.", text)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["epsilon", FLAGS, "--sampler", "shuffle"], "understates epsilon"),
        (["epsilon", FLAGS, "--noise-multiplier", "0"], "noise_multiplier must be a number"),
        (["epsilon", FLAGS, "--noise-multiplier", "-1"], "noise_multiplier must be a number"),
        (["epsilon", FLAGS, "--dataset-size", "60000.5"], "whole number"),
        (["epsilon", FLAGS, "--epochs", "sixty"], "--epochs"),
        (["epsilon", FLAGS, "--epochs", "nan"], "--epochs"),
        (["epsilon", FLAGS, "--epochs", ""], "--epochs"),
        (["epsilon", FLAGS, "--steps", "5"], "steps must be left out, or 14063"),
        (["epsilon", FLAGS, "--max-batch-size", "0"], "max_batch_size must be a whole number"),
        (["epsilon", FLAGS, "--max-batch-size", "300", "--sampler", "shuffled"], "left out for"),
        (["epsilon", FLAGS, "--sampler", "balls_in_bins", "--steps", "14063"], "multiple of the"),
        (["epsilon", FLAGS, "--sampler", "shuffled"], "'replace_special' or 'replace_one'"),
        (["epsilon", FLAGS, "--mechanism", "blt"], "mechanism must be 'identity'"),
        (["epsilon", *FLAGS.split()[:6], "--delta", "0.1"], "noise_multiplier must be given"),
        (["epsilon", *FLAGS.split()[:8]], "delta must be given"),
        (["epsilon", FLAGS, "--noise-multiplyer", "1"], "--noise-multiplier"),
        (["epsilon", FLAGS, "surplus"], "surplus"),
        (["epsilon", "--plan"], "--plan"),
        (["epsilon", "--plan", "no-such-file.json"], "Cannot read no-such-file.json"),
        (["epsilon", "--plan", "/"], "Cannot read /"),
        (["delta", FLAGS], "--epsilon"),
        (["delta", FLAGS, "--epsilon", "-1"], "epsilon must be a number"),
        (["calibrate", FLAGS, "--epsilon", "3"], "noise_multiplier must be left out"),
        (["calibrate", *FLAGS.split()[:6], "--epsilon", "3"], "delta must be given"),
        (["calibrate", FLAGS, "--solve-for", "steps"], "target must be one of"),
        (["calibrate", FLAGS, "--solve-for", "delta", "--epsilon", "3"], "--solve-for"),
        (
            ["calibrate", FLAGS, "--solve-for", "steps", "--epsilon", "3", "--output", "plan.txt"],
            "--output must be",
        ),
        (
            ["calibrate", FLAGS, "--solve-for", "steps", "--epsilon", "3", "--output", "no/x.json"],
            "Cannot write no/x.json",
        ),
        (
            ["calibrate", FLAGS, "--solve-for", "batch-size", "--epsilon", "0.001"],
            "the best is epsilon=",
        ),
        (["statement", FLAGS, "--format", "html"], "--format"),
        (["statement", FLAGS, "--detail", "colour=blue"], "colour"),
        (["statement", FLAGS, "--detail", "setting"], "setting must be a line"),
        (["ui", "--port", "0"], "--port"),
        (["ui", "--port", "http"], "--port"),
        (["bogus"], "bogus"),
        (["--bogus"], "bogus"),
    ],
)
def test_an_error_is_one_line_and_status_2(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complaint(*words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "plan file must be"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"{" * 70_000_000, "at most"),
        (b"x" * 90_000_000, "at most"),
        (b'{"schema_version": 9}', "schema_version"),
    ],
)
@pytest.mark.parametrize("name", ["bad.json", "bad.yaml"])
def test_a_bad_file_is_one_line(folder, name, content, says):
    Path(name).write_bytes(content)
    assert says in complaint("epsilon", "--plan", name)


def test_a_bug_is_not_dressed_up_as_a_mistake_of_the_user(monkeypatch):
    def broken(_: Plan) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(Plan, "guarantee", broken)
    assert isinstance(run("epsilon", FLAGS).exception, ValueError)


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from ui.cli import main; main(prog_name='dp-planner')"
    return subprocess.run(
        f"set -o pipefail; '{sys.executable}' -c \"{code}\" {command}",
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    done = shell(f"statement {FLAGS} | true")
    assert done.stderr == ""


def test_an_encoding_without_the_letters_is_one_line():
    done = shell(f"statement {FLAGS}", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "dp-planner: latin-1 lacks a character of the answer: set PYTHONIOENCODING=utf-8."
    ]


def test_help_is_there_at_once():
    code = (
        "import sys; from ui.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    heavy = {"numpy", "numba", "scipy", "streamlit", "plotly", "pydantic", "ruamel"}
    assert not heavy & set(done.stderr.split())


def test_the_version():
    assert re.fullmatch(r"dp-planner, version \d+\.\d+\.\d+\n", said("--version"))


# -- documentation ---------------------------------------------------------------------------------

DOCUMENTATION = (ROOT / "docs" / "command-line.md").read_text()
FLAG_NAMES = sorted(
    {
        (name, flag)
        for name, command in main.commands.items()
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
)


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_documented(name):
    assert f"\n## `dp-planner {name}`\n" in DOCUMENTATION
    assert said(name, "--help").startswith("Usage: dp-planner ")


def section(name: str) -> str:
    """What is written under a command's heading."""
    return DOCUMENTATION.split(f"\n## `dp-planner {name}`\n")[1].split("\n## ")[0]


COMMON = DOCUMENTATION.split("\n## Describing a run\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("name", "flag"), FLAG_NAMES)
def test_every_flag_is_documented_where_it_belongs(name, flag):
    shared = {"--plan", *(f"--{field.replace('_', '-')}" for field in FIELDS)}
    assert f"`{flag}" in (COMMON if flag in shared else section(name))


def test_every_flag_has_help():
    for command in main.commands.values():
        for parameter in command.params:
            assert isinstance(parameter, click.Option)
            assert parameter.help


def test_no_flag_is_documented_that_is_not_there():
    documented = set(re.findall(r"`(--[a-z-]+)", DOCUMENTATION))
    assert documented <= {flag for _, flag in FLAG_NAMES} | {"--help", "--version"}


def test_every_detail_is_documented():
    for name in DETAILS:
        assert f"`{name}`" in section("statement")


@given(st.floats(1e-6, 1e6))
def test_numbers_survive_being_typed(value):
    words = ["--noise-multiplier", repr(value), "--epsilon", "1"]
    context = main.commands["delta"].make_context("delta", words)
    assert context.params["noise_multiplier"] == value
    assert math.isfinite(value)
