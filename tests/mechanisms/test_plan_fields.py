"""Every field says what it allows, and refuses everything else in one sentence."""

import math
import pickle
from decimal import Decimal
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from hypothesis import given

from mechanisms import Plan, PlanError
from mechanisms.planning.fields import DEFAULTS, FIELDS, LARGEST_COUNT, PlanFields

WHOLE = ("dataset_size", "batch_size", "steps", "group_size")
REAL = ("sampling_probability", "epochs", "noise_multiplier", "clip_norm", "delta")
NUMBERS = (*WHOLE, *REAL)
WORDS = ("sampler", "neighboring_relation", "release", "mechanism", "unit")

NO_NUMBERS = [
    True,
    np.True_,
    "5",
    b"5",
    math.nan,
    math.inf,
    -math.inf,
    np.float64("nan"),
    1 + 0j,
    Decimal(1),
    [1],
    {},
    np.array(5),
    np.array([5]),
    object(),
]


def refused(name: str, value: object) -> PlanError:
    with pytest.raises(PlanError) as caught:
        Plan(**{name: value})  # type: ignore[arg-type]
    error = caught.value
    message = str(error)
    assert error.field == name
    assert error.value is value
    assert message.startswith(f"{name} must be ")
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 400
    return error


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(name, value):
    refused(name, value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 0.0, -0.0, -1e-300, -(10**400)])
def test_what_is_not_positive_is_refused(name, value):
    refused(name, value)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [0.5, 1.5, 60_000.000001, LARGEST_COUNT + 1, 1e300, 10**400])
def test_whole_numbers_are_whole_and_bounded(name, value):
    refused(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_probability", 1.0000000001),
        ("sampling_probability", 2),
        ("delta", 1),
        ("delta", 1.0),
        ("sampling_probability", 9e-16),
        ("delta", 9e-301),
        ("noise_multiplier", 9e-4),
        ("noise_multiplier", 1.1e9),
        ("clip_norm", 1e101),
        ("noise_multiplier", 10**400),
        ("clip_norm", Fraction(10**400)),
        ("epochs", 2e15),
    ],
)
def test_numbers_stay_inside_their_interval(name, value):
    refused(name, value)


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3), np.uint8(3), np.float64(3), np.float32(3)])
@pytest.mark.parametrize("name", ["steps", "epochs", "group_size", "noise_multiplier", "clip_norm"])
def test_numbers_of_any_kind_are_the_same_number(name, value):
    plan = Plan(**{name: value})
    assert plan == Plan(**{name: 3})
    assert type(getattr(plan.fields, name)) in (int, float)


def test_a_whole_number_may_be_typed_as_a_float():
    assert Plan(dataset_size=9.6e9).dataset_size == 9_600_000_000
    assert Plan(dataset_size=1.27e10).dataset_size == 12_700_000_000
    assert isinstance(Plan(dataset_size=9.6e9).dataset_size, int)


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\x00b", "x" * 101, "a\u2028b", "\u202eb", 5])
def test_a_unit_is_a_printable_line(value):
    refused("unit", value)


@pytest.mark.parametrize("value", ["POISSON", "", "poisson ", 3, None.__class__, ["poisson"], True])
@pytest.mark.parametrize("name", ["sampler", "neighboring_relation", "release", "mechanism"])
def test_words_come_from_a_list(name, value):
    refused(name, value)


@pytest.mark.parametrize(
    ("value", "instead"),
    [
        ("shuffle", "called 'shuffled'"),
        ("shuffling", "understates"),
        ("none", "full_batch"),
        ("sampled without replacement", "called 'without_replacement'"),
        ("with_replacement", "so use 'without_replacement'"),
        ("uniform", "'without_replacement'"),
        ("random allocation", "called 'balls_in_bins'"),
        ("balls and bins", "called 'balls_in_bins'"),
        ("truncated_poisson", "'poisson' with max_batch_size"),
    ],
)
def test_a_sampler_that_is_not_on_offer_says_what_to_use(value, instead):
    assert instead in str(refused("sampler", value))


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("sampler", "poison", "poisson"),
        ("neighboring_relation", "zero_out", "replace_special"),
        ("neighboring_relation", "add_remove", "add_or_remove_one"),
        ("release", "all_checkpoint", "all_checkpoints"),
    ],
)
def test_a_slip_is_recognised(name, value, meant):
    assert repr(meant) in str(refused(name, value)).partition(": ")[2]


@pytest.mark.parametrize("relation", list(NeighboringRelation)[::2])
def test_neighboring_relations_of_dp_accounting_are_understood(relation):
    assert Plan(neighboring_relation=relation).neighboring_relation == relation.name.lower()


@pytest.mark.parametrize("cap", [0, -1, 0.5, True, "16", float("nan")])
def test_a_cap_on_the_batch_is_a_count(cap):
    refused("max_batch_size", cap)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("noise_multipler", "noise_multiplier"), ("data_size", "dataset_size"), ("epoch", "epochs")],
)
def test_an_unknown_field_is_refused_with_a_suggestion(typo, meant):
    with pytest.raises(PlanError, match=f"did you mean {meant}\\?") as caught:
        Plan(**{typo: 3})
    assert caught.value.field == typo


def test_an_unknown_field_that_resembles_none_lists_them():
    with pytest.raises(PlanError, match="noise_multiplier") as caught:
        Plan(zzz=None)
    assert str(caught.value).startswith("zzz must be left out")


@given(
    st.sampled_from(FIELDS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_nonsense_makes_a_plan_or_a_plan_error(name, value):
    try:
        plan = Plan(**{name: value})
    except PlanError as error:
        message = str(error)
    else:
        message = ""
        assert Plan.from_json(plan.to_json()) == plan
    assert "\n" not in message
    assert len(message) < 500


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")


def test_a_value_that_cannot_be_shown_is_refused_all_the_same():
    assert "a Hostile" in str(refused("steps", Hostile()))


def test_a_long_value_is_cut():
    assert len(str(refused("sampler", "x" * 10_000))) < 400


def test_none_is_nothing_given():
    assert Plan(**dict.fromkeys(FIELDS)) == Plan()


def test_the_defaults_are_what_the_plan_has():
    for name, value in DEFAULTS.items():
        assert getattr(Plan(), name) == value
    assert set(DEFAULTS) <= set(FIELDS) == set(PlanFields.__slots__)


def test_an_error_survives_pickling():
    error = refused("sampler", "shuffle")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.field, copy.value) == (str(error), error.field, error.value)
