"""The page, run by Streamlit's own test driver: no browser, every branch."""

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mechanisms import Plan
from ui.drafts import EXAMPLE, from_link, to_link
from ui.entries import rounded_up
from ui.state import question

APP = Path(__file__).parent.parent.parent.joinpath("ui", "app.py")


def run(**link):
    app = AppTest.from_file(APP, default_timeout=120)
    for name, text in link.items():
        app.query_params[name] = text
    return checked(app.run())


def checked(app):
    assert not app.exception, [error.value for error in app.exception]
    return app


def widget(app, kind, name):
    """The widget that is bound to a field; its key has a number that changes with every new one."""
    (found,) = (w for w in app.get(kind) if w.key and re.fullmatch(rf"{name}\.\d+", w.key))
    return found


def entry(app, name):
    return widget(app, "text_input", f"entry.{name}")


def type_in(app, name, text):
    return checked(entry(app, name).set_value(text).run())


def choose(app, name, option):
    return checked(widget(app, "button_group", f"entry.{name}").set_value(option).run())


def select(app, name, option):
    return checked(widget(app, "selectbox", f"entry.{name}").set_value(option).run())


def press(app, label):
    button = next(button for button in app.button if button.label == label)
    return checked(button.click().run())


def title(app):
    assert len(app.title) == 1
    return app.title[0].value


def charts(app):
    return [element.proto.alt for element in app.get("plotly_chart")]


@pytest.fixture
def page():
    return run()


# -- the first view --------------------------------------------------------------------------------


def test_the_first_view_is_a_complete_example_with_its_answer(page):
    plan = question(EXAMPLE).plan
    assert plan is not None
    assert title(page) == f"This run costs ε ≤ {rounded_up(plan.epsilon)} at δ = 1e-5"
    assert "2.382" in title(page)
    assert repr(plan.epsilon) in page.caption[-1].value or any(
        repr(plan.epsilon) in caption.value for caption in page.caption
    )
    assert any("In plain words" in text.value for text in page.markdown)
    assert len(charts(page)) == 3
    assert not page.warning
    assert not page.error


def test_every_chart_has_a_text_alternative(page):
    assert all(alt.endswith(".") and len(alt) > 60 for alt in charts(page))


def test_a_small_epsilon_is_no_warning():
    page = run(**to_link(EXAMPLE.with_(noise_multiplier="100", delta="1e-8")))
    assert "ε ≤ 0.0" in title(page)
    assert not page.warning
    assert not page.error


# -- entries, sliders, choices ---------------------------------------------------------------------


def test_what_is_typed_is_answered(page):
    page = type_in(page, "noise_multiplier", "2")
    plan = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=2, delta=1e-5)
    assert rounded_up(plan.epsilon) in title(page)
    assert page.query_params["noise_multiplier"] == "2"


def test_a_slider_writes_into_its_entry_and_the_entry_moves_the_slider(page):
    page = checked(widget(page, "select_slider", "slider.noise_multiplier").set_value("2").run())
    assert entry(page, "noise_multiplier").value == "2"
    assert page.query_params["noise_multiplier"] == "2"
    page = type_in(page, "noise_multiplier", "0.614")
    slider = widget(page, "select_slider", "slider.noise_multiplier")
    assert slider.value == "0.614"
    assert slider.options.index("0.6") + 1 == slider.options.index("0.614")


def test_nonsense_gets_one_sentence_and_keeps_what_was_typed(page):
    page = type_in(page, "dataset_size", "sixty thousand")
    assert title(page) == "No answer yet"
    assert len(page.error) == 1
    assert "sixty thousand" in page.error[0].value
    assert entry(page, "dataset_size").value == "sixty thousand"
    assert not charts(page)
    page = type_in(page, "dataset_size", "60_000")
    assert "2.382" in title(page)


@pytest.mark.parametrize(
    ("solve", "expected"),
    [
        ("noise_multiplier", "ε ≤ 3 at δ = 1e-5 needs noise multiplier 0."),
        ("length", "ε ≤ 3 at δ = 1e-5 allows "),
        ("batch_size", "ε ≤ 3 at δ = 1e-5 allows batches of "),
    ],
)
def test_any_one_of_them_can_be_solved_for(page, solve, expected):
    page = choose(page, "solve", solve)
    assert title(page).startswith(expected)
    draft, _, _ = from_link(page.query_params)
    asked = question(draft)
    assert asked.plan is not None
    found = asked.plan.calibrate(epsilon=3.0)
    assert found.epsilon <= 3.0
    number = {
        "noise_multiplier": rounded_up(found.noise_multiplier or 0),
        "length": f"{found.steps:,}",
        "batch_size": f"{found.batch_size:,}",
    }[solve]
    assert number in title(page)
    name = {"length": "steps"}.get(solve, solve)
    (shown,) = (w for w in page.text_input if w.key and w.key.startswith(f"found.{name}"))
    assert shown.disabled
    assert float(shown.value.replace(",", "")) == getattr(found, name)
    page = choose(page, "solve", "epsilon")
    assert "2.382" in title(page)


def test_a_target_out_of_reach_says_what_is_reachable():
    page = run(**to_link(EXAMPLE.with_(solve="length", epsilon="1e-9")))
    assert title(page) == "No answer yet"
    assert len(page.error) == 1
    assert "best" in page.error[0].value


def test_the_other_way_of_saying_the_same_starts_from_the_same_run(page):
    page = choose(page, "length_in", "steps")
    assert entry(page, "steps").value == "14,063"
    assert "2.382" in title(page)
    page = choose(page, "batch_in", "sampling_probability")
    assert float(entry(page, "sampling_probability").value) == 256 / 60_000
    assert "2.382" in title(page)


def test_the_suggested_delta_can_be_taken(page):
    page = press(page, "Suggested: 5e-6")
    assert entry(page, "delta").value == "5e-6"
    assert "δ = 5e-6" in title(page)
    assert not [button for button in page.button if button.label.startswith("Suggested")]


# -- unsound practice ------------------------------------------------------------------------------


def test_a_delta_above_one_in_n_is_a_warning_with_a_reason_and_a_mend(page):
    page = type_in(page, "delta", "1e-4")
    (warning,) = page.warning
    assert "above 1/N" in warning.value
    page = press(page, "Use δ = 5e-6")
    assert not page.warning
    assert "δ = 5e-6" in title(page)


def test_an_unstated_sampler_is_a_warning_and_can_be_stated(page):
    page = select(page, "sampler", "")
    (warning,) = page.warning
    assert "shuffle" in warning.value
    assert "2.382" in title(page)
    page = press(page, "It is Poisson sampling")
    assert not page.warning


def test_a_run_that_shuffles_is_never_accounted_as_poisson(page):
    page = select(page, "sampler", "")
    page = press(page, "It shuffles")
    assert title(page) == "No answer yet"
    page = press(page, "Choose “Zero out one”")
    plan = Plan(
        dataset_size=60_000,
        batch_size=256,
        epochs=60,
        noise_multiplier=1.1,
        delta=1e-5,
        sampler="fixed_order",
        neighboring_relation="replace_special",
    )
    assert plan.epsilon > 10
    assert rounded_up(plan.epsilon) in title(page)
    assert len(charts(page)) == 1  # no random batches, no frontier


# -- pinning, links --------------------------------------------------------------------------------


def test_a_pinned_plan_is_compared(page):
    page = press(page, "Pin to compare")
    page = type_in(page, "noise_multiplier", "2")
    (table,) = page.table
    rows = {row.iloc[0]: list(row.iloc[1:]) for _, row in table.value.iterrows()}
    assert rows["Noise multiplier"] == ["2", "1.1"]
    assert rows["ε (rounded up)"][1] == "2.382"
    assert "Pinned plan" in charts(page)[0]
    page = press(page, "Swap the two")
    assert "2.382" in title(page)
    page = press(page, "Unpin")
    assert not page.table
    assert "pinned.delta" not in page.query_params


def test_a_link_restores_everything():
    pinned = EXAMPLE.with_(noise_multiplier="0.9", unit="document")
    link = to_link(EXAMPLE.with_(solve="noise_multiplier", epsilon="2", delta="1.1e-6"), pinned)
    first = run(**link)
    again = dict(first.query_params)
    assert again == link
    assert entry(first, "delta").value == "1.1e-6"
    assert len(first.table) == 1
    assert title(first) == title(run(**again))


def test_a_link_that_is_wrong_is_said_and_the_rest_works():
    page = run(v="1", dataset_size="60,000", batch_size="256", epochs="60", sigma="1.1")
    assert any("sigma" in warning.value for warning in page.warning)
    assert title(page) == "No answer yet"
    page = type_in(page, "noise_multiplier", "1.1")
    page = type_in(page, "delta", "1e-5")
    assert "2.382" in title(page)
    assert not any("sigma" in warning.value for warning in page.warning)


def test_markup_in_a_link_stays_text():
    page = run(**to_link(EXAMPLE.with_(unit="<b>*x*</b>")))
    text = next(text.value for text in page.markdown if "In plain words" in text.value)
    assert r"\<b\>\*x\*\</b\>" in text


def test_an_upper_bound_is_called_one():
    link = {"sampler": "shuffled", "neighboring_relation": "replace_special", "epochs": "3"}
    page = run(**to_link(EXAMPLE.with_(**link)))
    assert any("Certified" in c.value and "An upper bound" in c.value for c in page.caption)
    page = run(**to_link(EXAMPLE))
    assert not any("upper bound" in c.value for c in page.caption)


# -- extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": "0.35", "epochs": "1"},
        {"noise_multiplier": "1e6"},
        {"delta": "1e-300"},
        {"dataset_size": "1", "batch_size": "1", "epochs": "1"},
        {"dataset_size": "1e15", "batch_size": "1"},
        {"group_size": "3"},
        {"unit": "user", "group_size": "2", "release": "all_checkpoints", "clip_norm": "0.5"},
        {"neighboring_relation": "replace_special"},
        {"sampler": "full_batch", "neighboring_relation": "replace_one", "epochs": "3"},
        {"dataset_size": "", "batch_in": "sampling_probability", "sampling_probability": "0.01"},
        {"sampler": "fixed_order", "solve": "batch_size"},
        {"sampler": "full_batch", "solve": "batch_size"},
        {"sampler": "without_replacement", "epochs": "1"},
        {"sampler": "without_replacement", "sampling_probability": "0.1", "batch_in": "batch_size"},
        {"sampler": "balls_in_bins", "epochs": "1.5"},
        {"sampler": "balls_in_bins", "epochs": "3"},
        {
            "dataset_size": "1000",
            "batch_size": "10",
            "epochs": "1",
            "max_batch_size": "16",
        },
        {"sampler": "shuffled", "neighboring_relation": "replace_special", "epochs": "3"},
        {"sampler": "shuffled", "neighboring_relation": "add_or_remove_one"},
    ],
)
def test_extremes_get_an_answer_or_a_sentence(changes):
    page = run(**to_link(EXAMPLE.with_(**changes)))
    if title(page) == "No answer yet":
        assert page.error
    else:
        assert "ε ≤" in title(page)
        assert charts(page)
