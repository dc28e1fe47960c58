"""The data file, read and checked: nothing in it is looked up, imported or run."""

from __future__ import annotations

import functools
import json
import math
import reprlib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any, Final, get_args

from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.gallery.cases import Case
from accountant.gallery.figures import Figure, Method, Quantity, Sense, Unknown
from accountant.gallery.methods import SETTINGS
from accountant.gallery.releases import (
    CyclicTrees,
    Gaussian,
    Poisson,
    RandomAllocation,
    Release,
    Tree,
    ZeroConcentrated,
    missing,
)

__all__ = ["case", "cases", "read"]

SCHEMA_VERSION: Final = 1

# Methods of independent figures that are not the gallery's own.
_STORED: Final[dict[str, dict[str, str]]] = {
    "dp-accounting rdp classic": {},
    "effective noise": {},
    "gaussian": {},
    "monte carlo": {},
    "prv-accountant estimate": {"epsilon_error": "number"},
    "prv-accountant upper": {"epsilon_error": "number"},
    "solved": {},
    "solved by pld": {"interval": "number"},
}
_RELEASES: Final[dict[str, tuple[type[Release], dict[str, str]]]] = {
    "gaussian": (
        Gaussian,
        {
            "noise_multiplier": "positive or null",
            "rho": "positive or null",
            "count": "whole",
            "sensitivity": "positive",
            "group_size": "whole",
        },
    ),
    "poisson": (
        Poisson,
        {
            "noise_multiplier": "positive or null",
            "steps": "whole",
            "dataset_size": "whole",
            "batch_size": "whole",
            "sampling_probability": "positive or null",
            "sensitivity": "positive",
            "group_size": "whole",
        },
    ),
    "tree": (
        Tree,
        {
            "noise_multiplier": "positive",
            "steps": "whole",
            "max_participations": "whole",
            "min_separation": "whole",
        },
    ),
    "cyclic trees": (
        CyclicTrees,
        {
            "noise_multiplier": "positive",
            "steps_per_epoch": "whole",
            "epochs": "wholes",
            "completed": "truth",
        },
    ),
    "zcdp": (ZeroConcentrated, {"rho": "positive or null"}),
    "random allocation": (
        RandomAllocation,
        {"noise_multiplier": "positive", "steps": "whole"},
    ),
}


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of the gallery, in the order of the file."""
    return read(resources.files("accountant.gallery").joinpath("cases.json").read_text("utf-8"))


def case(identifier: str) -> Case:
    """The case with this id.

    Raises
    ------
    ValueError
        There is none.
    """
    for one in cases():
        if one.id == identifier:
            return one
    raise ValueError(
        f"the gallery has no case {reprlib.repr(identifier)}; its cases are "
        f"{', '.join(one.id for one in cases())}"
    )


def read(text: str) -> tuple[Case, ...]:
    """The cases of a data file.

    Raises
    ------
    ValueError
        The text is not such a file; the message says where it differs.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("a gallery file must not be nested deeply") from None
    top = _object(value, "the file", {"schema_version", "about", "cases"})
    if type(top["schema_version"]) is not int or top["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version must be {SCHEMA_VERSION}, got {_short(top['schema_version'])}"
        )
    _text(top["about"], "about")
    found = tuple(_case(one) for one in _list(top["cases"], "cases"))
    names = [one.id for one in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two cases have the id {twice!r}")
    return found


def _case(value: object) -> Case:
    needed = {"id", "paper", "source", "unit", "relation", "quantity", "releases", "figures"}
    needed |= {"independent", "assumption", "explanation"}
    table = _object(value, "a case", needed, {"delta", "variants", "unknown", "unverified"})
    identifier = _text(table["id"], "id")
    try:
        return _checked_case(identifier, table)
    except ValueError as error:
        raise ValueError(f"{identifier}: {error}") from None


def _checked_case(identifier: str, table: dict[str, Any]) -> Case:
    variants = {
        name: tuple(_release(one) for one in _list(releases, name))
        for name, releases in _mapping(table.get("variants", {}), "variants").items()
    }
    releases = tuple(_release(one) for one in _list(table["releases"], "releases"))
    unknown = _unknown(table["unknown"]) if "unknown" in table else None
    if missing(releases) != ([] if unknown is None else [unknown.parameter]):
        raise ValueError("the parameter of unknown, and nothing else, must be null in one release")
    if any(missing(one) for one in variants.values()):
        raise ValueError("a variant must not lack a number")
    names = {one.name for one in NeighboringRelation}
    relation = NeighboringRelation[_one_of(table["relation"], "relation", names)]
    found = Case(
        id=identifier,
        **{name: _text(table[name], name) for name in ("paper", "source", "unit")},
        relation=relation,
        quantity=_one_of(table["quantity"], "quantity", get_args(Quantity)),
        delta=_number(table["delta"], "delta") if "delta" in table else math.nan,
        releases=releases,
        variants=variants,
        unknown=unknown,
        figures=tuple(_figure(one) for one in _list(table["figures"], "figures")),
        independent=tuple(_independent(one) for one in _list(table["independent"], "independent")),
        unverified=tuple(_text(v, "unverified") for v in _list(table.get("unverified", []), "it")),
        assumption=_text(table["assumption"], "assumption"),
        explanation=_text(table["explanation"], "explanation"),
    )
    for figure in (*found.figures, *found.independent):
        for name in (figure.of, figure.accounted_as):
            if name is not None and name not in variants:
                raise ValueError(f"a figure is of {name!r}, which is no variant")
    return found


def _figure(value: object) -> Figure:
    needed = {"name", "printed", "quantity", "sense"}
    table = _object(value, "a figure", needed, {"method", "of", "accounted_as", "delta", "within"})
    return _any_figure(table, SETTINGS | {"solved": {}})


def _independent(value: object) -> Figure:
    table = _object(
        value, "an independent figure", {"printed", "quantity", "method"}, {"of", "delta", "within"}
    )
    return _any_figure(table, SETTINGS | _STORED)


def _any_figure(table: dict[str, Any], methods: dict[str, dict[str, str]]) -> Figure:
    printed = _text(table["printed"], "printed")
    if printed != "inf" and not set(printed) <= set("0123456789.e-"):
        raise ValueError(f"printed must be a number as it was printed, got {_short(printed)}")
    if not float(printed) >= 0.0 or (math.isinf(float(printed)) and printed != "inf"):
        raise ValueError(
            f"printed must be a number >= 0 that a double holds, got {_short(printed)}"
        )
    return Figure(
        printed=printed,
        quantity=_one_of(table["quantity"], "quantity", get_args(Quantity)),
        sense=_one_of(table.get("sense", "value"), "sense", get_args(Sense)),
        method=_method(table["method"], methods) if "method" in table else None,
        name=_text(table["name"], "name") if "name" in table else "",
        of=_text(table["of"], "of") if "of" in table else None,
        accounted_as=_text(table["accounted_as"], "it") if "accounted_as" in table else None,
        delta=_number(table["delta"], "delta") if "delta" in table else None,
        within=_number(table["within"], "within") if "within" in table else None,
    )


def _method(value: object, methods: dict[str, dict[str, str]]) -> Method:
    name = _one_of(_mapping(value, "a method").get("name"), "a method's name", methods)
    table = _object(value, f"the method {name!r}", {"name", *methods[name]})
    settings = {key: _KINDS[kind](table[key], key) for key, kind in methods[name].items()}
    return Method(name, settings)


def _unknown(value: object) -> Unknown:
    table = _object(value, "unknown", {"parameter", "epsilon", "bracket"}, {"method"})
    bracket = [_number(one, "bracket") for one in _list(table["bracket"], "bracket")]
    if len(bracket) != 2 or not bracket[0] < bracket[1]:
        raise ValueError(f"bracket must be a smaller and a larger number, got {_short(bracket)}")
    method = _method(table["method"], SETTINGS) if "method" in table else None
    parameter = _text(table["parameter"], "parameter")
    low, high = bracket
    return Unknown(parameter, _number(table["epsilon"], "epsilon"), (low, high), method)


def _release(value: object) -> Release:
    kind = _one_of(_mapping(value, "a release").get("kind"), "a release's kind", _RELEASES)
    made, kinds = _RELEASES[kind]
    table = _object(value, f"the release {kind!r}", {"kind"}, set(kinds))
    values = {name: _KINDS[kinds[name]](table[name], name) for name in table if name != "kind"}
    return made(**values)


# --- kinds of values -----------------------------------------------------------------------------


def _object(
    value: object, where: str, needed: set[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    table = _mapping(value, where)
    unknown = sorted(table.keys() - needed - set(optional))
    if unknown:
        raise ValueError(f"{where} has no field {_short(unknown[0])}")
    absent = sorted(needed - table.keys())
    if absent:
        raise ValueError(f"of {where}, {', '.join(absent)} is missing")
    return table


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {_short(value)}")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be an array, got {_short(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where} must be a text that is not empty, got {_short(value)}")
    return value


def _one_of(value: object, where: str, names: Iterable[str]) -> Any:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{where} must be one of {', '.join(sorted(names))}, got {_short(value)}")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e300:
        raise ValueError(f"{where} must be a number within (0, 1e300], got {_short(value)}")
    return float(value)


def _number_or_null(value: object, where: str) -> float:
    return math.nan if value is None else _number(value, where)


def _whole(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**53:
        raise ValueError(f"{where} must be a whole number within [0, 2^53], got {_short(value)}")
    return value


def _wholes(value: object, where: str) -> tuple[int, ...]:
    return tuple(_whole(one, where) for one in _list(value, where))


def _truth(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, got {_short(value)}")
    return value


def _conversion(value: object, where: str) -> str:
    return str(_one_of(value, where, ("classic", "improved")))


def _ranges(value: object, where: str) -> tuple[tuple[float, ...], ...]:
    found = tuple(
        tuple(_number(one, where) for one in _list(part, where)) for part in _list(value, where)
    )
    if not found or not all(len(r) == 3 and 1.0 < r[0] <= r[1] for r in found):
        raise ValueError(f"{where} must be [first, last, step] ranges above 1, got {_short(value)}")
    return found


_KINDS: Final[dict[str, Callable[[object, str], Any]]] = {
    "number": _number,
    "positive": _number,
    "positive or null": _number_or_null,
    "whole": _whole,
    "wholes": _wholes,
    "truth": _truth,
    "conversion": _conversion,
    "ranges": _ranges,
}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("an object names a field twice")
    return table


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of a gallery file")


def _short(value: object) -> str:
    return reprlib.repr(value)
