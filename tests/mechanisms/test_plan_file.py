"""Plans as files: they come back as they went, and a hostile file is one sentence."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mechanisms import Plan, PlanError
from mechanisms.planning.fields import FIELDS
from mechanisms.planning.file import LARGEST_FILE, LARGEST_YAML
from tests.mechanisms.plans import plans

MNIST = Plan(dataset_size=60_000, batch_size=256, epochs=60, noise_multiplier=1.1, delta=1e-5)


@given(plans)
def test_json_round_trip(plan):
    text = plan.to_json()
    again = Plan.from_json(text)
    assert again == plan
    assert again.to_json() == text
    assert Plan.from_json(text.encode()) == plan
    assert Plan.from_json(text.encode("utf-8-sig")) == plan


@given(plans)
def test_yaml_round_trip(plan):
    assert Plan.from_yaml(plan.to_yaml()) == plan
    # YAML 1.2 reads JSON too.
    assert Plan.from_yaml(plan.to_json()) == plan


def test_json_holds_every_field():
    document = json.loads(MNIST.to_json())
    # Those that came later are left out where nothing was given: older plans keep their hash.
    later = {"min_separation", "max_participations", "groups"}
    first = [name for name in FIELDS if name not in later]
    assert list(document) == ["schema_version", *first, "not_stated"]
    assert document["schema_version"] == 1
    assert document["steps"] is None
    assert document["not_stated"] == list(MNIST.defaulted)


def test_a_file_written_by_hand_states_what_it_says():
    plan = Plan.from_yaml(
        """
        # Seven lines by hand.
        dataset_size: 9.6e9
        batch_size: 517989
        steps: 1e5
        noise_multiplier: 0.614
        delta: 1.1e-10
        clip_norm: 1.0
        unit: sequence of 1024 tokens
        """
    )
    assert (plan.dataset_size, plan.steps, plan.delta) == (9_600_000_000, 100_000, 1.1e-10)
    assert {"clip_norm", "unit"} <= plan.stated
    assert "sampler" not in plan.stated


def test_a_default_that_was_edited_is_stated():
    text = MNIST.to_json().replace('"clip_norm": 1.0', '"clip_norm": 0.5')
    plan = Plan.from_json(text)
    assert plan == MNIST.replace(clip_norm=0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a JSON object"),
        ("[]", "a mapping"),
        ("3", "a mapping"),
        ("null", "a mapping"),
        ("{", "a JSON object"),
        ('{"delta": NaN}', "finite"),
        ('{"delta": -Infinity}', "finite"),
        ('{"delta": 1e-5, "delta": 1e-6}', "duplicate"),
        ('{"delta": "1e-5"}', "delta must be"),
        ('{"delta": true}', "delta must be"),
        ('{"delta": {"a": 1}}', "delta must be"),
        ('{"dataset_size": 1e400}', "dataset_size must be"),
        ('{"clip_norm": true, "not_stated": ["clip_norm"]}', "clip_norm must be"),
        ('{"noise_multipler": 1}', "did you mean noise_multiplier?"),
        ('{"__class__": 1}', "no such field"),
        ('{"self": 1}', "no such field"),
        ('{"schema_version": 2}', "schema_version must be 1"),
        ('{"schema_version": true}', "schema_version must be 1"),
        ('{"schema_version": "1"}', "schema_version must be 1"),
        ('{"not_stated": "sampler"}', "a list of field names"),
        ('{"not_stated": [1]}', "a list of field names"),
        ('{"not_stated": ["clip_nrom"]}', "did you mean clip_norm?"),
        ('{"not_stated": ["delta"]}', "fields that have a default"),
        ("[" * 60_000, "plan file must be"),
        ('{"a":' * 10_000, "plan file must be"),
        ('{"dataset_size": ' + "9" * 5_000 + "}", "plan file must be"),
        (" " * (LARGEST_FILE + 1), "at most 67108864 characters"),
        ('{"unit": "\\ud800"}', "unit must be"),
    ],
)
def test_json_that_is_no_plan_is_one_sentence(text, says):
    with pytest.raises(PlanError) as caught:
        Plan.from_json(text)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a mapping"),
        ("- 1", "a mapping"),
        ("a: [", "one flat YAML mapping"),
        ("delta: .inf", "delta must be"),
        ("delta: .nan", "delta must be"),
        ("delta: '1e-5'", "delta must be"),
        ("delta: yes", "delta must be"),
        ("delta: 2001-01-01", "delta must be"),
        ("delta: 1e-5\ndelta: 1e-5", "plan file must be"),
        ("1: 2", "no such field"),
        ("? [a]\n: 1", "plan file must be|no such field"),
        ("a: &x 1\nb: *x", "anchors"),
        ("a: &x [1]\n", "anchors"),
        ("<<: {a: 1}", "no such field|plan file"),
        ("a: !!python/object/apply:os.system ['true']", "without tags"),
        ("!!python/object:mechanisms.Plan {}", "without tags"),
        ("!!set {a}", "without tags"),
        ("a: !!binary aGk=", "without tags"),
        ("a: {b: {c: {d: {e: 1}}}}", "one YAML mapping with a mechanism"),
        ("[" * 5_000, "one YAML mapping with a mechanism"),
        ("---\ndelta: 1e-5\n---\ndelta: 1e-6", "one YAML 1.2 document"),
        ("%YAML 1.1\n---\ndelta: 1e-5", "one YAML 1.2 document"),
        ("%TAG ! tag:example.org,2000:\n---\ndelta: 1e-5", "one YAML 1.2 document"),
        ("schema_version: 1.0", "schema_version must be 1"),
        ("\x00", "one flat YAML mapping"),
        ("a: \t- b", "plan file|no such field"),
        ("#" * (LARGEST_YAML + 1), "at most 1048576 characters"),
    ],
)
def test_yaml_that_is_no_plan_is_one_sentence(text, says):
    with pytest.raises(PlanError, match=says) as caught:
        Plan.from_yaml(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500


def test_many_aliases_are_not_expanded():
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12)
    )
    with pytest.raises(PlanError, match="anchors"):
        Plan.from_yaml(laughs)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x80abc", b'{"unit": "\xe9"}'])
def test_bytes_are_utf_8(content):
    for read in (Plan.from_json, Plan.from_yaml):
        with pytest.raises(PlanError, match="UTF-8"):
            read(content)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_anything_is_a_plan_or_a_plan_error(text):
    for read in (Plan.from_json, Plan.from_yaml):
        try:
            plan = read(text)
        except PlanError as error:
            message = str(error)
            assert "\n" not in message
        else:
            assert isinstance(plan, Plan)


@given(st.data())
def test_a_damaged_plan_is_a_plan_or_a_plan_error(data):
    text = MNIST.to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    damaged = text[:start] + data.draw(st.text(max_size=5)) + text[end:]
    for read in (Plan.from_json, Plan.from_yaml):
        try:
            plan = read(damaged)
        except PlanError:
            continue
        assert Plan.from_json(plan.to_json()) == plan


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "schema_version", "not_stated"]), json_values))
def test_any_values_for_the_fields_are_a_plan_or_a_plan_error(document):
    text = json.dumps(document)
    try:
        plan = Plan.from_json(text)
    except PlanError:
        return
    assert Plan.from_json(plan.to_json()) == plan
