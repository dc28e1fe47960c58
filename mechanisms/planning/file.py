"""Plans as files: JSON and YAML 1.2, read as data from whoever sent them.

Reading never imports or runs anything. What is read is bounded in size and has no nesting beyond a
mechanism and its lists of numbers; YAML's anchors, aliases and tags are refused, so nothing
expands. Duplicate keys are errors. What remains are plain values for the checks in
`mechanisms.planning.fields`.

`to_json` is canonical: every field in a fixed order, `null` where nothing was given, floats in
their shortest form. Fields that came later are left out where nothing was given. A plan's hash is
the SHA-256 of exactly this text, so ``sha256sum plan.json`` checks it.
"""

import difflib
import json
from typing import TYPE_CHECKING, Any, NoReturn

from mechanisms.planning.fields import DEFAULTS, FIELDS, PlanError, unknown_field

if TYPE_CHECKING:
    from mechanisms.plan import Plan

__all__ = ["SCHEMA_VERSION", "read_json", "read_yaml", "to_json", "to_yaml"]

SCHEMA_VERSION = 1
# Characters; a plan takes about 500, and a mechanism that is a matrix of 2,000 steps 43 million.
LARGEST_FILE = 2**26
LARGEST_YAML = 2**20  # YAML is read slowly
_NOT_STATED = "not_stated"
# Not written where nothing was given: plans from before they came keep their hash.
_LATER = ("min_separation", "max_participations", "groups")
_DEEPEST = 4  # the plan, its mechanism, the mechanism's numbers, their shape

Document = tuple[dict[str, Any], frozenset[str]]


def to_json(plan: "Plan") -> str:
    """Return the canonical JSON of a plan, ending in a newline."""
    return json.dumps(_document(plan), indent=2, allow_nan=False) + "\n"


def to_yaml(plan: "Plan") -> str:
    """Return a plan as YAML 1.2; what nobody gave is left out."""
    from io import StringIO

    document = {name: value for name, value in _document(plan).items() if value is not None}
    document[_NOT_STATED] = [name for name in plan.defaulted if name in document]
    stream = StringIO()
    yaml = _yaml()
    yaml.default_flow_style = False
    yaml.width = 4 * LARGEST_YAML  # one field, one line
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(document, stream)
    return stream.getvalue()


def read_json(text: str | bytes) -> Document:
    """Return the fields that a JSON text gives, and the names it marks as not stated.

    Raises
    ------
    PlanError
        If the text is not a JSON object with the fields of a plan.
    """

    def refuse_constant(name: str) -> NoReturn:
        raise PlanError("plan file", name, "JSON with finite numbers")

    try:
        document = json.loads(
            _decoded(text, "JSON"), object_pairs_hook=_unique, parse_constant=refuse_constant
        )
    except PlanError:
        raise
    except RecursionError:
        raise PlanError("plan file", "deeply nested JSON", "a flat JSON object") from None
    except ValueError as error:  # malformed, or a whole number of thousands of digits
        raise PlanError("plan file", _line(error), "a JSON object") from None
    return _fields(document)


def read_yaml(text: str | bytes) -> Document:
    """Return the fields that a YAML 1.2 text gives, and the names it marks as not stated.

    Raises
    ------
    PlanError
        If the text is not one flat YAML mapping with the fields of a plan.
    """
    from ruamel.yaml.error import YAMLError

    decoded = _decoded(text, "YAML", LARGEST_YAML)
    try:
        _check_yaml_events(decoded)
        document = _yaml().load(decoded)
    except PlanError:
        raise
    except RecursionError:
        raise PlanError("plan file", "deeply nested YAML", "one flat YAML mapping") from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise PlanError("plan file", _line(error), "one flat YAML mapping") from None
    return _fields(document)


def _document(plan: "Plan") -> dict[str, Any]:
    values = {name: getattr(plan.fields, name) for name in FIELDS}
    for name in _LATER:
        if values[name] is None:
            del values[name]
    if not isinstance(plan.mechanism, str):
        values["mechanism"] = plan.mechanism.to_dict()
    return {"schema_version": SCHEMA_VERSION} | values | {_NOT_STATED: list(plan.defaulted)}


def _yaml() -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)


def _check_yaml_events(text: str) -> None:
    """Refuse, before anything is built, whatever is not needed to write a plan."""
    from ruamel.yaml import events

    depth = documents = 0
    for event in _yaml().parse(text):
        if isinstance(event, events.DocumentStartEvent):
            documents += 1
            if documents > 1 or event.version not in (None, (1, 2)) or event.tags:
                allowed = "one YAML 1.2 document without directives"
                raise PlanError("plan file", "a directive or a second document", allowed)
        if isinstance(event, events.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise PlanError("plan file", "nested YAML", "one YAML mapping with a mechanism")
        if isinstance(event, events.CollectionEndEvent):
            depth -= 1
        if isinstance(event, events.NodeEvent) and event.anchor is not None:
            allowed = "YAML without anchors and aliases"
            raise PlanError("plan file", f"{event.anchor}", allowed)
        if getattr(event, "tag", None) is not None:
            raise PlanError("plan file", f"{event.tag}", "YAML without tags")


def _decoded(text: str | bytes, language: str, most: int = LARGEST_FILE) -> str:
    if len(text) > most:
        allowed = f"at most {most} characters of {language}"
        raise PlanError("plan file", f"{len(text)} characters", allowed)
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return bytes(text).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError("plan file", _line(error), f"{language} in UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise PlanError("plan file", twice, "JSON without duplicate keys")
    return document


def _fields(document: object) -> Document:
    """Split a document into its fields and what it says about them."""
    if not isinstance(document, dict):
        raise PlanError("plan file", type(document).__name__, "a mapping from fields to values")
    given = dict(document)
    version = given.pop("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version != SCHEMA_VERSION:
        raise PlanError("schema_version", version, f"{SCHEMA_VERSION}")
    unstated = given.pop(_NOT_STATED, [])
    if unstated is None:
        unstated = []
    if not isinstance(unstated, list) or not all(isinstance(name, str) for name in unstated):
        raise PlanError(_NOT_STATED, unstated, "a list of field names")
    for name in unstated:
        if name not in DEFAULTS:
            close = difflib.get_close_matches(name[:100], DEFAULTS, n=1)
            hint = f"did you mean {close[0]}?" if close else None
            raise PlanError(_NOT_STATED, name, "a list of fields that have a default", hint)
    for name, value in given.items():
        if name not in FIELDS:
            raise unknown_field(name, value)
    return given, frozenset(unstated)


def _line(error: Exception) -> str:
    """Return what a parser said, without the picture that some draw."""
    problem = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{' '.join(str(problem).split())}{place}"
