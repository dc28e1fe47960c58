"""Widgets, Plan and link: what goes in comes out again."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms import Plan
from mechanisms.planning.fields import DEFAULTS
from ui.drafts import CHOICES, EXAMPLE, MEANT, NAMES, VERSION, Draft, from_link, to_link
from ui.state import Session, active_fields, question

VAULTGEMMA = Draft(
    dataset_size="1.27e10",
    batch_size="517,989",
    length_in="steps",
    steps="100,000",
    noise_multiplier="0.614",
    delta="1.1e-10",
)

line = st.text(st.characters(blacklist_categories=("C", "Z")), max_size=40)
drafts = st.builds(
    Draft,
    **{name: st.sampled_from(CHOICES[name]) if name in CHOICES else line for name in NAMES},
)


# -- links -----------------------------------------------------------------------------------------


@given(drafts, st.none() | drafts)
def test_a_link_restores_everything(draft, pinned):
    assert from_link(to_link(draft, pinned)) == (draft, pinned, ())


def test_a_link_says_its_version_and_speaks_in_words():
    link = to_link(VAULTGEMMA)
    assert link["v"] == VERSION == "1"
    assert link["dataset_size"] == "1.27e10"
    assert link["delta"] == "1.1e-10"
    assert link["length_in"] == "steps"


def test_no_link_is_the_example():
    assert from_link({}) == (EXAMPLE, None, ())


# This link was made when version 1 was: it has to keep its meaning for ever.
OLD_LINK = {
    "v": "1",
    "solve": "noise_multiplier",
    "dataset_size": "60,000",
    "batch_in": "batch_size",
    "batch_size": "256",
    "length_in": "epochs",
    "epochs": "60",
    "epsilon": "3",
    "delta": "1e-5",
}


def test_an_old_link_keeps_its_meaning():
    draft, pinned, complaints = from_link(OLD_LINK)
    assert not complaints
    assert pinned is None
    asked = question(draft)
    assert asked.epsilon == 3.0
    assert asked.plan is not None
    assert asked.plan.sampler == "poisson"
    assert asked.plan.neighboring_relation == "add_or_remove_one"
    assert asked.plan.stated == {"dataset_size", "batch_size", "epochs", "delta"}


def test_an_old_link_keeps_its_meaning_when_a_default_changes(monkeypatch):
    changed = dict(DEFAULTS) | {"neighboring_relation": "replace_special"}
    monkeypatch.setattr("ui.drafts.DEFAULTS", changed)
    draft, _, _ = from_link(OLD_LINK)
    assert draft.neighboring_relation == "add_or_remove_one"
    assert draft.sampler == ""


def test_what_was_meant_is_what_the_defaults_are():
    # If this fails a default has changed: raise VERSION, and keep MEANT for version 1.
    assert {name: str(DEFAULTS[name]) for name in MEANT} == dict(MEANT)
    # Nothing is meant by a field whose default is that there is none of it.
    assert set(MEANT) == {n for n, value in DEFAULTS.items() if n in NAMES and value is not None}


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({"v": "2"}, "says version “2”"),
        ({"delta": "1e-5"}, "does not say its version"),
        ({"v": "1", "sigma": "1"}, "“sigma” is no field"),
        ({"v": "1", "sampler": "shuffle"}, "it can be poisson, full_batch, fixed_order"),
        ({"v": "1", "unit": "x" * 101}, "not a line of at most 100 characters"),
        ({"v": "1", "unit": "a\x1b[2Jb"}, "not a line of at most 100 characters"),
        ({"v": "1", "pinned.solve": "everything"}, "“everything” is left out"),
        ({"v": "1", "pinned.<script>": "1"}, "is no field"),
    ],
)
def test_what_a_link_gets_wrong_is_said_and_left_out(link, said):
    draft, _, complaints = from_link(link)
    assert len(complaints) == 1
    assert said in complaints[0]
    assert complaints[0].isprintable()
    assert isinstance(draft, Draft)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=150), max_size=5))
def test_no_link_breaks_the_page(parameters):
    draft, pinned, complaints = from_link({"v": "1"} | parameters)
    for one in (draft, *([pinned] if pinned else [])):
        question(one)
    assert all(len(complaint) < 250 for complaint in complaints)


# -- drafts become plans ---------------------------------------------------------------------------


def test_the_example_is_a_complete_plan():
    assert question(EXAMPLE).plan == Plan(
        dataset_size=60_000,
        batch_size=256,
        epochs=60,
        noise_multiplier=1.1,
        delta=1e-5,
        sampler="poisson",
        neighboring_relation="add_or_remove_one",
    )


def test_scientific_notation_is_exact():
    plan = question(VAULTGEMMA).plan
    assert plan is not None
    assert (plan.dataset_size, plan.batch_size) == (12_700_000_000, 517_989)
    assert (plan.steps, plan.noise_multiplier, plan.delta) == (100_000, 0.614, 1.1e-10)


def test_nothing_is_stated_that_was_not_said():
    plan = question(VAULTGEMMA).plan
    assert plan is not None
    assert "sampler" in plan.defaulted
    assert "clip_norm" in plan.defaulted


@pytest.mark.parametrize(
    ("solve", "missing"),
    [
        ("noise_multiplier", ("noise_multiplier",)),
        ("length", ("steps",)),
        ("batch_size", ("batch_size",)),
    ],
)
def test_what_is_solved_for_is_left_out(solve, missing):
    asked = question(EXAMPLE.with_(solve=solve))
    assert asked.plan is not None
    assert asked.plan.missing == missing
    assert asked.epsilon == 3.0


def test_what_is_solved_for_may_hold_nonsense():
    assert not question(EXAMPLE.with_(solve="noise_multiplier", noise_multiplier="abc")).faults


def test_only_one_of_two_ways_counts():
    draft = EXAMPLE.with_(steps="nonsense", sampling_probability="nonsense")
    assert not question(draft).faults
    assert "steps" in question(draft.with_(length_in="steps")).faults
    assert "sampling_probability" in question(draft.with_(batch_in="sampling_probability")).faults


def test_a_sampling_probability_needs_no_data_set_size():
    draft = EXAMPLE.with_(
        dataset_size="",
        batch_in="sampling_probability",
        sampling_probability="0.01",
        length_in="steps",
        steps="1000",
    )
    assert question(draft).plan is not None


def test_full_batches_need_no_batch_size():
    plan = question(EXAMPLE.with_(sampler="full_batch", batch_size="")).plan
    assert plan is not None
    assert plan.batch_size == 60_000


def test_every_fault_is_named_at_once():
    draft = EXAMPLE.with_(dataset_size="2.5", noise_multiplier="0", delta="2", batch_size="")
    faults = question(draft).faults
    assert set(faults) == {"dataset_size", "noise_multiplier", "delta", "batch_size"}
    assert faults["dataset_size"].startswith("Data set size must be a whole number")
    assert faults["noise_multiplier"].startswith("Noise multiplier must be")
    assert faults["delta"] == "δ must be a number in the interval (0, 1), not 2."
    assert faults["batch_size"].startswith("Batch size is empty: enter how many examples")


@pytest.mark.parametrize("text", ["0", "-1", "abc", "", "inf"])
def test_a_target_has_to_be_above_zero(text):
    faults = question(EXAMPLE.with_(solve="noise_multiplier", epsilon=text)).faults
    assert set(faults) == {"epsilon"}
    assert faults["epsilon"].startswith("Target ε")


def test_fields_that_contradict_each_other_are_named():
    faults = question(EXAMPLE.with_(batch_size="100,000")).faults
    assert faults == {"batch_size": "Batch size must be at most dataset_size=60000, not 100000."}
    faults = question(EXAMPLE.with_(sampler="fixed_order")).faults
    assert "“Zero out one”" in faults["neighboring_relation"]


def test_full_batches_cannot_be_solved_for():
    assert "solve" in question(EXAMPLE.with_(solve="batch_size", sampler="full_batch")).faults


@given(drafts)
def test_every_draft_is_a_plan_or_has_faults(draft):
    asked = question(draft)
    assert (asked.plan is None) == bool(asked.faults)
    assert set(asked.faults) <= {field.name for field in fields(Draft)}
    assert {"solve", *active_fields(draft)} >= set(asked.faults)


# -- the session and its address bar ---------------------------------------------------------------


def test_a_new_tab_follows_its_link():
    mine = Session()
    mine.follow(to_link(VAULTGEMMA, EXAMPLE))
    assert (mine.draft, mine.pinned) == (VAULTGEMMA, EXAMPLE)


def test_the_back_button_is_followed():
    mine = Session(draft=VAULTGEMMA, address=to_link(VAULTGEMMA))
    mine.follow(to_link(EXAMPLE))
    assert mine.draft == EXAMPLE


def test_a_change_is_not_undone_by_an_address_bar_that_lags_behind():
    mine = Session(draft=VAULTGEMMA, address=to_link(VAULTGEMMA))
    mine.change(delta="1e-11")
    mine.follow(to_link(EXAMPLE))
    assert mine.draft == VAULTGEMMA.with_(delta="1e-11")


def test_pin_swap_unpin():
    mine = Session()
    mine.swap()
    assert (mine.draft, mine.pinned) == (EXAMPLE, None)
    mine.pin()
    mine.change(noise_multiplier="2")
    mine.swap()
    assert mine.draft == EXAMPLE
    assert mine.pinned == EXAMPLE.with_(noise_multiplier="2")
    mine.unpin()
    assert mine.pinned is None
