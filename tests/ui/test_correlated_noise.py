"""Mechanisms on the page: compared, carried into the plan and back, refused in words."""

import csv
import io
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from mechanisms import Plan
from mechanisms.design_views import Purpose
from mechanisms.designs import Design, Run, parse
from mechanisms.participation import MinSeparation
from mechanisms.recommendation import recommend
from ui.answers import answer
from ui.design_results import use
from ui.designing import Asked, Job, job_for
from ui.drafts import EXAMPLE, Draft, from_link, to_link
from ui.entries import rounded_up
from ui.purposes import limits, wanted
from ui.state import Session, active_fields, question

APP = Path(__file__).parent.parent.parent.joinpath("ui", "app.py")

SMALL = Draft(
    dataset_size="6400",
    batch_size="100",
    length_in="steps",
    steps="128",
    noise_multiplier="1",
    delta="1e-6",
    sampler="min_separation",
    min_separation="64",
    max_participations="2",
    neighboring_relation="replace_special",
    compare_at="8",
    memory="3",
)
PLAN = Plan(
    dataset_size=6400,
    batch_size=100,
    steps=128,
    noise_multiplier=1,
    delta=1e-6,
    sampler="min_separation",
    min_separation=64,
    max_participations=2,
    neighboring_relation="replace_special",
)
FEW = (
    Design("identity"),
    Design("tree"),
    Design("blt", 1),
    Design("blt", 2),
    Design("toeplitz", 4),
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Compare a few designs: how long all of them take is not what is looked at here."""
    monkeypatch.setattr("mechanisms.recommendation.suitable", lambda run, memory=None: FEW)


def run(draft, page=""):
    app = AppTest.from_file(APP, default_timeout=120)
    for name, text in to_link(draft).items():
        app.query_params[name] = text
    return turn(app, page)


def turn(app, page):
    app._page_hash = calc_hash(page)  # as the browser does where a page is chosen
    return checked(app.run())


def checked(app):
    assert not app.exception, [error.value for error in app.exception]
    return app


def press(app, label):
    button = next(button for button in app.button if button.label == label)
    return checked(button.click().run())


def compared(draft):
    return run(draft, "correlated-noise")


def title(app):
    (found,) = app.title
    return found.value


def said(app):
    return " ".join(text.value.replace("\\", "") for text in app.markdown)


# -- drafts, links and plans -----------------------------------------------------------------------


def test_a_link_carries_a_mechanism_and_what_it_is_for():
    draft = SMALL.with_(mechanism="blt:2", objective="max", schedule="cosine", momentum="0.9")
    link = to_link(draft)
    assert (link["mechanism"], link["objective"], link["schedule"]) == ("blt:2", "max", "cosine")
    assert from_link(link) == (draft, None, ())
    asked = question(draft)
    assert asked.design == Design("blt", 2)
    assert asked.purpose == Purpose("max", "cosine,momentum=0.9")


def test_without_a_mechanism_nothing_is_designed_and_its_purpose_does_not_matter():
    for name in ("", "identity", " "):
        asked = question(SMALL.with_(mechanism=name, momentum="nonsense"))
        assert asked.plan == PLAN
        assert asked.design is None
        assert not asked.faults


def test_what_one_sampler_alone_has_does_not_disturb_the_others():
    draft = EXAMPLE.with_(min_separation="nonsense", groups="-1")
    assert not question(draft).faults
    assert "min_separation" in question(draft.with_(sampler="min_separation")).faults
    assert "groups" in question(draft.with_(sampler="cyclic_poisson")).faults


def test_the_answer_is_that_of_the_plan_with_the_designed_mechanism():
    draft = SMALL.with_(mechanism="blt:2", objective="max", noise_multiplier="0.7")
    found = answer(question(draft)).outlook
    strategy = parse("blt:2").make(Run(128, MinSeparation(64, 2), None, "max"))
    expected = PLAN.replace(mechanism=strategy, noise_multiplier=0.7)
    assert found.plan == expected
    assert found.upper == expected.epsilon
    found = answer(question(draft.with_(solve="noise_multiplier", epsilon="8"))).outlook
    assert found.plan == expected.replace(noise_multiplier=None).calibrate(epsilon=8.0)


FAULTS = [
    ({"mechanism": "nonsense"}, "mechanism", "a design must be one of"),
    ({"mechanism": "blt"}, "mechanism", "needs its buffers"),
    ({"mechanism": "<img src=x>"}, "mechanism", "a design must be one of"),
    ({"mechanism": "blt:2", "momentum": "1"}, "momentum", "Momentum must be within [0, 1)"),
    ({"mechanism": "blt:2", "weight_decay": "x"}, "weight_decay", "is not a number"),
    (
        {"mechanism": "blt:2", "schedule": "cooldown", "cooldown": "2"},
        "cooldown",
        "Length of the cooldown must be within (0, 1]",
    ),
    ({"mechanism": "blt:2", "solve": "length", "epsilon": "8"}, "solve", "one length"),
    ({"mechanism": "blt:2", "solve": "batch_size", "epsilon": "8"}, "solve", "one length"),
    ({"sampler": "cyclic_poisson"}, "groups", "Groups is empty"),
    ({"min_separation": ""}, "min_separation", "Minimum separation is empty"),
    ({"max_participations": "0"}, "max_participations", "Most participations must be"),
]


@pytest.mark.parametrize(("changes", "name", "sentence"), FAULTS)
def test_nonsense_is_named_at_its_field(changes, name, sentence):
    draft = SMALL.with_(**changes)
    faults = question(draft).faults
    assert set(faults) == {name}
    assert sentence in faults[name]
    assert {"solve", *active_fields(draft)} >= {name}


def test_a_final_learning_rate_belongs_to_a_schedule():
    assert wanted(Draft(final="nonsense")).purpose == Purpose()
    assert "final" in wanted(Draft(final="nonsense", schedule="linear")).faults
    assert wanted(Draft(final="0.1", schedule="linear")).purpose.words == "linear,final=0.1"
    assert wanted(Draft(schedule="cooldown")).purpose.words == "cooldown=0.2"


@pytest.mark.parametrize(
    ("name", "text"),
    [("compare_at", "0"), ("memory", "-1"), ("memory", "1.5"), ("parameters", "0")],
)
def test_a_limit_that_means_nothing_is_named(name, text):
    assert set(limits(Draft(**{name: text})).faults) == {name}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mechanism": "toeplitz:999"}, "cannot be designed"),
        ({"mechanism": "blt:2", "sampler": "poisson"}, "Sampling must be"),
        ({"mechanism": "blt:2", "sampler": "without_replacement"}, "Sampling must be"),
        ({"mechanism": "bsr:9", "sampler": "cyclic_poisson", "groups": "2"}, "take more groups"),
    ],
)
def test_a_mechanism_that_does_not_fit_the_plan_is_refused(changes, sentence):
    found = answer(question(SMALL.with_(**changes)))
    assert found.outlook is None
    assert sentence in found.refusal


# -- pages and sessions ----------------------------------------------------------------------------


def test_another_page_shows_the_same_draft():
    mine = Session()
    mine.follow(to_link(SMALL), "")
    mine.address = mine.link()
    mine.follow({}, "correlated-noise")
    assert mine.draft == SMALL
    mine.follow({}, "correlated-noise")  # where the back button leads to the bare page
    assert mine.draft == EXAMPLE


def test_the_plan_page_with_a_mechanism():
    page = run(SMALL.with_(mechanism="blt:2", noise_multiplier="0.7"))
    plan = answer(question(SMALL.with_(mechanism="blt:2", noise_multiplier="0.7"))).outlook.plan
    assert title(page) == f"This run costs ε ≤ {rounded_up(plan.epsilon)} at δ = 1e-6"
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Correlated noise"] == "BLT, 2 buffers"
    assert metrics["Noise std. dev."] == rounded_up(plan.noise_stddev)
    assert not page.get("plotly_chart")  # neither a curve that there is not, nor a frontier
    assert "counts as one release" in said(page)
    assert "Designed for prefix sums; what counts\\: mean over the steps" in " ".join(
        c.value for c in page.caption
    )
    page = press(page, "Use independent noise")
    independent = PLAN.replace(noise_multiplier=0.7)
    assert title(page) == f"This run costs ε ≤ {rounded_up(independent.epsilon)} at δ = 1e-6"
    assert "mechanism" not in page.query_params
    assert page.get("plotly_chart")


def test_a_broken_mechanism_can_be_taken_out():
    page = run(SMALL.with_(mechanism="nonsense"))
    assert title(page) == "No answer yet"
    assert "a design must be one of" in page.error[0].value
    page = press(page, "Use independent noise")
    assert title(page).startswith("This run costs")


def test_a_pinned_plan_with_a_mechanism_has_no_curve():
    app = AppTest.from_file(APP, default_timeout=120)
    for name, text in to_link(SMALL, SMALL.with_(mechanism="blt:2")).items():
        app.query_params[name] = text
    page = turn(app, "")
    (chart,) = page.get("plotly_chart")
    assert "Pinned plan" not in chart.proto.alt
    rows = {row.iloc[0]: list(row.iloc[1:]) for _, row in page.table[0].value.iterrows()}
    assert rows["Noise over the steps"][0] == "independent"
    assert rows["Noise over the steps"][1].startswith("BLT(128")


# -- the comparison --------------------------------------------------------------------------------


def test_mechanisms_are_compared_and_the_best_one_is_recommended():
    page = compared(SMALL)
    expected = recommend(PLAN, epsilon=8.0, memory=3, designs=FEW)
    assert title(page) == f"Use {expected.best.title}"
    for words in expected.words:
        assert words.replace("epsilon", "ε") in said(page)
    (table,) = page.table
    columns = table.value
    titles = [text.strip("*") for text in columns["Mechanism"]]
    kinds = {choice.design.kind: choice for choice in reversed(expected.choices)}
    assert len(titles) == len(kinds) + (expected.best not in kinds.values())
    assert f"**{expected.best.title}**" in set(columns["Mechanism"])
    row = columns[columns["Mechanism"] == f"**{expected.best.title}**"].iloc[0]
    assert row["Noise multiplier"] == rounded_up(expected.best.plan.noise_multiplier)
    assert row["Noise std. dev."] == rounded_up(expected.best.plan.noise_stddev)
    assert row["Above the best possible"] == f"≤ {rounded_up(expected.gap(expected.best), 2)} %"
    assert row["Sensitivity"] == "exact"
    assert "no limit" not in said(page)
    charts = [element.proto.alt for element in page.get("plotly_chart")]
    assert len(charts) == 4
    assert all(alt.endswith(".") and len(alt) > 60 for alt in charts)


def test_every_size_can_be_shown():
    page = compared(SMALL)
    (toggle,) = page.toggle
    page = checked(toggle.set_value(True).run())
    within = [
        choice
        for choice in recommend(PLAN, epsilon=8.0, designs=FEW, quick=True).choices
        if choice.memory <= 3
    ]
    assert [t.strip("*") for t in page.table[0].value["Mechanism"]] == [c.title for c in within]


def test_what_the_copies_take_is_said():
    page = compared(SMALL.with_(parameters="1e8"))
    assert "One copy of the model takes 0.4 GB, 3 copies 1.2 GB" in " ".join(
        caption.value for caption in page.caption
    )
    copies = list(page.table[0].value["Model copies kept"])
    assert "3 copies, 1.2\u00a0GB" in copies
    assert "none" in copies


def test_a_mechanism_is_used_in_the_plan_and_stays_after_a_reload():
    page = compared(SMALL)
    best = title(page).removeprefix("Use ")
    page = press(page, f"Use {best} in the plan")
    assert title(page) == f"Use {best}"
    assert any(button.label == f"The plan uses {best}" for button in page.button)
    draft, _, _ = from_link(dict(page.query_params))
    assert draft.mechanism
    page = turn(page, "")
    assert title(page) == "This run costs ε ≤ 8.000 at δ = 1e-6"
    assert answer(question(draft)).outlook.upper <= 8.0
    assert title(run(draft)) == title(page)


def test_independent_noise_can_be_used_again():
    page = compared(SMALL.with_(mechanism="blt:2", noise_multiplier="0.653"))
    closely = next(box for box in page.selectbox if box.label == "Mechanism")
    page = checked(closely.set_value("identity").run())
    page = press(page, "Use independent noise in the plan")
    draft, _, _ = from_link(dict(page.query_params))
    assert draft.mechanism == ""
    assert answer(question(draft)).outlook.upper == pytest.approx(8.0, rel=1e-6)


def test_under_poisson_sampling_groups_in_turn_are_compared():
    draft = EXAMPLE.with_(dataset_size="640", batch_size="40", epochs="4", compare_at="4")
    page = compared(draft)
    assert any("groups of examples that take turns" in text.value for text in page.caption)
    assert "groups" in title(page)
    page = press(page, f"{title(page)} in the plan")
    used, _, _ = from_link(dict(page.query_params))
    assert used.sampler == "cyclic_poisson"
    assert used.mechanism == f"toeplitz:{used.groups}"
    found = answer(question(used)).outlook
    assert found.upper <= 4.0
    assert found.plan.steps == question(draft).plan.steps


@pytest.mark.parametrize("solve", ["noise_multiplier", "length", "batch_size"])
def test_what_is_solved_for_is_carried_over(monkeypatch, solve):
    ordered = SMALL.with_(sampler="fixed_order", noise_multiplier="2", compare_at="")
    mine = Session(draft=ordered.with_(solve=solve, epsilon="8"))
    monkeypatch.setattr("ui.design_results.current", lambda: mine)
    plan = answer(question(mine.draft)).outlook.plan
    base = plan.replace(noise_multiplier=None)
    asked = Asked(base.to_json(), 8.0, Purpose())
    job = Job(asked)
    job.future.result()
    one = next(one for one in job.found if one.choice.design == Design("blt", 1))
    use(one, 8.0)
    assert mine.draft.solve == ("noise_multiplier" if solve == "noise_multiplier" else "epsilon")
    found = answer(question(mine.draft)).outlook
    assert found.plan.steps == plan.steps
    assert found.plan.batch_size == plan.batch_size
    assert found.plan.mechanism == one.choice.plan.mechanism
    assert found.upper <= 8.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise_multiplier": "x"}, "is not a number"),
        ({"memory": "x"}, "is not a number"),
        ({"compare_at": "-1"}, "Compare at ε must be a number above 0"),
        ({"momentum": "2"}, "Momentum must be within"),
        ({"sampler": "without_replacement"}, "there is no pattern to design noise for"),
        ({"compare_at": "1e-9", "delta": "1e-300"}, "No mechanism meets"),
    ],
)
def test_what_cannot_be_compared_is_said(changes, sentence):
    page = compared(SMALL.with_(**changes))
    assert title(page) == "No comparison yet"
    (error,) = page.error
    assert sentence in error.value.replace("\\", "")


def test_no_memory_leaves_what_keeps_nothing():
    assert title(compared(SMALL.with_(memory="0"))) == "Use independent noise"


# -- jobs ------------------------------------------------------------------------------------------


def job(**changes):
    plan = PLAN.replace(noise_multiplier=None, **changes)
    return Job(Asked(plan.to_json(), 7.5, Purpose()))


def test_a_job_ends_with_what_recommend_returns():
    found = job()
    found.future.result()
    expected = recommend(PLAN, epsilon=7.5, designs=FEW)
    assert found.recommendation == expected
    assert [one.choice for one in found.found] == list(expected.choices)
    assert found.compared
    assert found.total == found.looked_at == len(FEW)


def test_a_job_that_is_stopped_begins_nothing_more_and_keeps_what_it_has(monkeypatch):
    made = []

    def kept(work, design, *rest):
        made.append(design)
        found.stop() if len(made) == 2 else None
        return work(design, *rest)

    monkeypatch.setattr("ui.designing.kept", kept)
    monkeypatch.setattr("ui.designing.Thread.start", lambda thread: None)
    found = job()
    found._run()
    assert made == list(FEW[:2])
    assert found.stopped
    assert not found.compared
    assert found.rows.done()
    assert [str(one.choice.design) for one in found.found] == ["tree", "identity"]
    assert len(found.recommendation.choices) == 2


def test_a_tab_keeps_its_job_and_stops_the_one_before():
    first = job_for(Asked(PLAN.replace(noise_multiplier=None).to_json(), 7.0, Purpose()), None)
    assert job_for(first.asked, first) is first
    other = job_for(Asked(first.asked.plan, 6.0, Purpose()), first)
    assert first.stopped or first.future.done()
    other.future.result()
    assert job_for(other.asked, None) is other  # of another tab


def test_what_nobody_foresaw_is_not_hidden(monkeypatch):
    monkeypatch.setattr("ui.designing.recommend", lambda *_, **__: 1 // 0)
    found = job()
    with pytest.raises(ZeroDivisionError):
        found.future.result()
    assert found.rows.done()


def test_the_table_as_csv_holds_every_digit():
    from mechanisms.design_views import measured
    from ui.design_table import mechanisms_csv

    found = recommend(PLAN, epsilon=8.0, designs=FEW)
    rows = [measured(choice, None) for choice in found.choices]
    read = list(csv.DictReader(io.StringIO(mechanisms_csv(rows, found, 10**8))))
    assert [row["design"] for row in read] == [str(choice.design) for choice in found.choices]
    for row, one in zip(read, rows, strict=True):
        assert float(row["rmse"]) == one.rmse
        assert float(row["noise_stddev"]) == one.noise_stddev
        assert float(row["memory_gigabytes"]) == pytest.approx(one.choice.memory * 0.4)
        assert float(row["gap_percent"]) == found.gap(one.choice)
