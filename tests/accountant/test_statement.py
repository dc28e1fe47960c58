"""A statement says everything a paper must, claims nothing it cannot, and rounds up only."""

import dataclasses
import json
import math
import re
import subprocess
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation
from hypothesis import given

from accountant import Bounds, privacy_loss
from accountant.guarantee import Guarantee, Parameter, versions
from accountant.statement import DETAILS, rounded_up, statement
from tests.accountant.test_document import NASTY, check_latex
from tests.needs import needs

# Made by hand: the accountant knows nothing of plans.
LOSS = privacy_loss(GaussianDpEvent(2.0))
PLANNED = Guarantee(
    epsilon=LOSS.epsilon_bounds(1e-5),
    delta=1e-5,
    loss=LOSS,
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    unit="patient",
    group_size=1,
    sampler_assumed="poisson",
    sampler_ran=None,
    released="final_model",
    assumptions=("The earth is round.",),
    warnings=("Mind the gap.",),
    method="By hand",
    versions=versions(),
    parameters=(
        Parameter("noise_multiplier", 2.0),
        Parameter("sampler", "poisson", stated=False),
        Parameter("release", "final_model"),
        Parameter("steps", 1, stated=False, note="follows from the others"),
        Parameter("max_batch_size", None, stated=False),
    ),
    plan_hash="c0ffee",
    command="dp-planner epsilon --noise-multiplier 2.0",
)
RAN = dataclasses.replace(PLANNED, sampler_ran="poisson")
FORMATS = ("markdown", "latex", "json")

HEADINGS = (
    "Setting",
    "Data accesses covered",
    "What is released",
    "Privacy unit",
    "Adjacency",
    "Accounting",
    "Assumptions, and what ran",
    "Parameters",
    "Guarantee",
    "Verification",
)


def test_the_ten_points_are_there_in_order():
    found = re.findall(r"^## (\d+)\. (.*)$", statement(PLANNED), flags=re.M)
    assert found == [(str(i), title) for i, title in enumerate(HEADINGS, 1)]
    assert list(json.loads(statement(PLANNED, "json"))["points"]) == list(HEADINGS)
    for title in HEADINGS:
        assert title in statement(PLANNED, "latex")


@pytest.mark.parametrize("language", FORMATS)
@pytest.mark.parametrize(
    "words",
    [
        "patient",
        "added or removed",
        "The earth is round",
        "Mind the gap",
        "By hand",
        "c0ffee",
        "dp-planner epsilon",
        "not stated",
        "1e-05",
        repr(float(PLANNED.epsilon.lower)),
        repr(float(PLANNED.epsilon.upper)),
        "dp-planner 0",
    ],
)
def test_a_statement_says(language, words):
    text = statement(PLANNED, language).replace("-{}-", "--")
    assert words in text or words.replace("dp-planner 0", '"dp-planner": "0') in text


def test_a_plan_would_and_a_run_does():
    assert "this run would guarantee" in statement(PLANNED)
    assert "Nothing has run yet" in statement(PLANNED)
    assert "planned" in statement(PLANNED).splitlines()[0]
    assert "would" not in statement(RAN)
    assert "This computation guarantees" in statement(RAN)
    assert json.loads(statement(PLANNED, "json"))["planned"] is True
    assert json.loads(statement(RAN, "json"))["planned"] is False


@pytest.mark.parametrize("language", FORMATS)
def test_a_sampler_that_was_not_accounted_is_loud(language):
    shuffled = dataclasses.replace(PLANNED, sampler_ran="shuffled batches")
    text = statement(shuffled, language)
    assert "what ran is shuffled batches" in text
    assert "does not hold for what ran" in text
    assert "does not hold for what ran" not in statement(RAN, language)


@pytest.mark.parametrize("language", FORMATS)
def test_defaults_that_nobody_stated_say_so(language):
    text = statement(PLANNED, language)
    assert re.search(r"sampling probability \(not stated: the default\)", text)
    assert "final model (not stated" not in text


def test_what_nobody_said_is_not_stated():
    for heading in DETAILS.values():
        assert f"{heading}: not stated." in statement(PLANNED)


@pytest.mark.parametrize("name", DETAILS)
@pytest.mark.parametrize("language", FORMATS)
def test_what_somebody_says_is_in_the_statement(name, language):
    text = statement(PLANNED, language, details={name: "so and so"})
    assert f"{DETAILS[name]}: so and so." in text
    assert f"{DETAILS[name]}: not stated" not in text


@pytest.mark.parametrize(
    "details",
    [{"settings": "x"}, {"setting": ""}, {"setting": "a\nb"}, {"code": "x" * 1001}, {"code": 3}],
)
def test_details_are_checked(details):
    with pytest.raises(ValueError, match="details") as caught:
        statement(PLANNED, details=details)
    assert "\n" not in str(caught.value)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'markdown', 'latex' or 'json', not 'html'"):
        statement(PLANNED, "html")


@pytest.mark.parametrize("relation", NeighboringRelation)
@pytest.mark.parametrize("language", FORMATS)
def test_every_relation_and_group_has_words(relation, language):
    guarantee = dataclasses.replace(PLANNED, neighboring_relation=relation, group_size=3)
    text = statement(guarantee, language)
    assert "a group of 3 rows (each one patient)" in text
    assert "{one}" not in text


def test_a_wide_bracket_and_a_mere_bound_are_named():
    lower, upper = PLANNED.epsilon
    wide = dataclasses.replace(PLANNED, epsilon=Bounds(lower * 0.9, upper, False))
    assert "wider than usual" in statement(wide)
    assert "wider than usual" not in statement(PLANNED)


@pytest.mark.parametrize("language", FORMATS)
def test_an_infinite_epsilon_is_no_guarantee(language):
    nothing = dataclasses.replace(PLANNED, epsilon=Bounds(0.0, math.inf, False))
    text = statement(nothing, language)
    assert "any guarantee" in text
    assert "inf," not in text
    if language == "json":
        assert json.loads(text)["epsilon"]["upper"] == "infinity"


@given(st.floats(0, 1e6), st.integers(1, 8))
def test_numbers_are_rounded_up_and_no_further(value, digits):
    shown = Fraction(rounded_up(value, digits))
    exact = Fraction(value)
    assert shown >= exact
    assert shown - exact <= exact / 10 ** (digits - 1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (2.0, "2"),
        (2.38159692, "2.382"),
        (1.99999999, "2"),
        (324.28, "324.3"),
        (12345.6, "12350"),
        (1.2344e-9, "1.235e-9"),
        (math.inf, "∞"),
        (0.1, "0.1001"),  # the double is a little more than a tenth
    ],
)
def test_rounded_numbers_by_hand(value, shown):
    assert rounded_up(value) == shown


def test_the_claim_is_never_below_the_bound():
    claim = json.loads(statement(PLANNED, "json"))["claim"]
    (shown,) = re.findall(r"ε ≤ ([0-9.]+)", claim)
    assert Fraction(shown) >= Fraction(float(PLANNED.epsilon.upper))


@pytest.mark.parametrize("words", NASTY)
def test_hostile_words_stay_words(words):
    guarantee = dataclasses.replace(PLANNED, unit=words, command=words, assumptions=(words,))
    details = dict.fromkeys(DETAILS, words)
    check_latex(statement(guarantee, "latex", details=details))
    assert "<script" not in re.sub(r"\\<script|```sh\n.*\n```", "", statement(guarantee))
    json.loads(statement(guarantee, "json", details=details))


@needs("latex")
def test_the_latex_statement_compiles(tmp_path):
    (tmp_path / "statement.tex").write_text(statement(PLANNED, "latex"))
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "statement.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
