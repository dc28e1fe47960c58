"""A guarantee in words: what a paper or a model card must say, with nothing left to guess.

The ten points are those that section 5.3 of "How to DP-fy ML" (arXiv 2303.00654) asks for. What
nobody said is written down as "not stated"; what nothing has done yet is written as what *would*
be guaranteed. Epsilon is only ever rounded up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal
from types import MappingProxyType
from typing import Any, Final, Literal

from accountant.document import (
    Block,
    Bullets,
    Code,
    Command,
    Document,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    Warned,
    latex,
    markdown,
    plain,
)
from accountant.guarantee import Guarantee

__all__ = ["DETAILS", "rounded_up", "statement"]

SCHEMA_VERSION = 1
NOT_STATED = "not stated"
_LONGEST_DETAIL = 1_000
_FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)

# What only the people behind a computation can say.
DETAILS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "setting": "Setting (central, local or distributed)",
        "trust": "Who is trusted with the data, and who sees which outputs",
        "data_accesses": "Preprocessing and evaluation on the same data",
        "tuning": "Hyper-parameter tuning on the same data",
        "dataset_size_public": "Whether the size of the data set is public",
        "delta_reason": "Why this delta",
        "code": "Code",
        "audit": "Empirical audit",
    }
)

_SAMPLERS: Final = {
    "poisson": "Poisson sampling: each example independently, with the sampling probability",
    "full_batch": "full batches: every example in every step",
    "fixed_order": "batches in a fixed order, or shuffled pass by pass, with no amplification",
    "without_replacement": "batches of fixed size, drawn afresh in every step without replacement",
    "balls_in_bins": "balls in bins: each example in one batch of every epoch, chosen at random",
    "shuffled": "batches of fixed size of data shuffled in every epoch, with no amplification",
    "min_separation": "any batches, as long as two with the same example are far enough apart",
    "cyclic_poisson": "Poisson sampling from groups that take turns",
    "balls_in_bins_once": "balls in bins: each example in one random batch, the same every epoch",
}
_RELATIONS: Final = {
    "ADD_OR_REMOVE_ONE": "one is the other with {one} added or removed",
    "REPLACE_SPECIAL": "one is the other with {one} zeroed out (replace-special adjacency)",
    "REPLACE_ONE": "one is the other with {one} replaced by anything else",
}
_RELEASES: Final = {
    "final_model": "the final model",
    "all_checkpoints": "any or all checkpoints",
    "all_updates": "every noisy update",
}


def statement(
    guarantee: Guarantee,
    format: Literal["markdown", "latex", "json"] = "markdown",
    *,
    details: Mapping[str, str] | None = None,
) -> str:
    """Write a guarantee down, with every condition of it.

    Parameters
    ----------
    guarantee : Guarantee
        From ``plan.guarantee()``, for example.
    format : {"markdown", "latex", "json"}, default "markdown"
        LaTeX is a document that compiles as it stands; JSON holds the exact numbers and the same
        sentences.
    details : mapping of str to str, optional
        What only you can say, by the names in `DETAILS`; the rest is "not stated".

    Raises
    ------
    ValueError
        If the format or a detail is unknown, or a detail is not a line of text.
    """
    document = _document(guarantee, _checked(details or {}))
    if format == "markdown":
        return markdown(document)
    if format == "latex":
        return latex(document)
    if format == "json":
        return _json(guarantee, document)
    raise ValueError(f"format must be 'markdown', 'latex' or 'json', not {format!r}.")


def rounded_up(value: float, digits: int = 4) -> str:
    """Return a non-negative number to so many significant digits, never below its value."""
    if math.isinf(value):
        return "∞"
    rounded = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(Decimal(value))
    plain_digits = rounded == 0 or rounded.adjusted() >= -4
    return f"{rounded.normalize():f}" if plain_digits else f"{rounded:e}"


def _checked(details: Mapping[str, str]) -> dict[str, str]:
    for name, words in details.items():
        if name not in DETAILS:
            raise ValueError(f"details may say {', '.join(DETAILS)}, not {name!r:.60}.")
        if not isinstance(words, str) or not words.isprintable() or not words.strip():
            raise ValueError(
                f"details: {name} must be a line of printable text, not {words!r:.60}."
            )
        if len(words) > _LONGEST_DETAIL:
            raise ValueError(f"details: {name} must be at most {_LONGEST_DETAIL} characters long.")
    return {name: words.strip() for name, words in details.items()}


def _document(guarantee: Guarantee, details: Mapping[str, str]) -> Document:
    title = "Privacy statement of a planned run" if guarantee.planned else "Privacy statement"
    warned = [Warned((sentence,)) for sentence in _warnings(guarantee)]
    return Document(title, (Paragraph(_claim(guarantee)), *warned), _sections(guarantee, details))


def _warnings(guarantee: Guarantee) -> tuple[str, ...]:
    ran, assumed = guarantee.sampler_ran, guarantee.sampler_assumed
    if ran is None or ran == assumed:
        return guarantee.warnings
    mismatch = (
        f"The accounting assumes {_said(_SAMPLERS, assumed)}; what ran is {_said(_SAMPLERS, ran)}. "
        "The guarantee below does not hold for what ran."
    )
    return (mismatch, *guarantee.warnings)


def _claim(guarantee: Guarantee) -> Text:
    upper = float(guarantee.epsilon.upper)
    if math.isinf(upper):
        return ("For no finite ε is ", Strong("any guarantee"), f" given at {_delta(guarantee)}.")
    claim = (
        Strong(f"(ε ≤ {rounded_up(upper)}, {_delta(guarantee)})"),
        f"-differential privacy for {_protected(guarantee)}",
    )
    if guarantee.planned:
        return ("Carried out as described here, this run would guarantee ", *claim, ".")
    return ("This computation guarantees ", *claim, ".")


def _sections(guarantee: Guarantee, details: Mapping[str, str]) -> tuple[Section, ...]:
    def told(*names: str) -> Bullets:
        return Bullets(tuple((f"{DETAILS[n]}: {details.get(n, NOT_STATED)}.",) for n in names))

    relation = _said(_RELATIONS, guarantee.neighboring_relation.name)
    run = "The run would release" if guarantee.planned else "The run releases"
    release = f"{run} {_said(_RELEASES, guarantee.released)}"
    adjacent = f"Two data sets are neighbours if {relation.format(one=_protected(guarantee))}"
    software = ", ".join(f"{name} {version}" for name, version in guarantee.versions)
    return (
        Section("Setting", (told("setting", "trust"),)),
        Section(
            "Data accesses covered",
            (
                Paragraph(("One training run is covered, and no other access to the data.",)),
                told("tuning", "data_accesses"),
            ),
        ),
        Section("What is released", (_sentence(guarantee, "release", release),)),
        Section("Privacy unit", _unit(guarantee)),
        Section(
            "Adjacency",
            (
                _sentence(guarantee, "neighboring_relation", adjacent),
                told("dataset_size_public"),
            ),
        ),
        Section(
            "Accounting",
            (
                Paragraph((f"{guarantee.method}.",)),
                Paragraph((f"Computed with {software}.",)),
            ),
        ),
        Section("Assumptions, and what ran", _assumptions(guarantee)),
        Section("Parameters", (_table(guarantee), told("delta_reason"))),
        Section("Guarantee", _formal(guarantee)),
        Section("Verification", (*_reproduction(guarantee), told("code", "audit"))),
    )


def _sentence(guarantee: Guarantee, name: str, sentence: str) -> Paragraph:
    """Return a sentence that says of itself where it rests on a default."""
    parameter = guarantee.parameter(name)
    unsaid = parameter is not None and not parameter.stated
    return Paragraph((f"{sentence} ({NOT_STATED}: the default)." if unsaid else f"{sentence}.",))


def _unit(guarantee: Guarantee) -> tuple[Block, ...]:
    k = guarantee.group_size
    rows = f"any {k} rows of the data set together" if k > 1 else "one row of the data set"
    return (
        _sentence(guarantee, "unit", f"One row of the data set is one {guarantee.unit}"),
        _sentence(guarantee, "group_size", f"The guarantee protects {rows}"),
    )


def _assumptions(guarantee: Guarantee) -> tuple[Block, ...]:
    assumed = f"Sampling assumed: {_said(_SAMPLERS, guarantee.sampler_assumed)}"
    ran = guarantee.sampler_ran
    return (
        _sentence(guarantee, "sampler", assumed),
        Paragraph(
            ("Nothing has run yet: whoever runs this must make sure that every point below holds.",)
            if ran is None
            else (f"Sampling that ran: {_said(_SAMPLERS, ran)}.",)
        ),
        Bullets(tuple((sentence,) for sentence in guarantee.assumptions)),
    )


def _table(guarantee: Guarantee) -> Table:
    rows: list[tuple[Text, ...]] = []
    for parameter in guarantee.parameters:
        said = parameter.note or ("stated" if parameter.stated else f"default, {NOT_STATED}")
        value = "none" if parameter.value is None else str(parameter.value)
        rows.append(((Code(parameter.name),), (value,), (said,)))
    return Table(("Parameter", "Value", "Source"), tuple(rows))


def _formal(guarantee: Guarantee) -> tuple[Block, ...]:
    lower, upper = map(float, guarantee.epsilon)
    blocks: list[Block] = [Paragraph(_claim(guarantee))]
    if math.isfinite(upper):
        bracket: Text = ("The exact ε lies in [", Code(repr(lower)), ", ", Code(repr(upper)), "]")
        if not guarantee.epsilon.tight:
            bracket += (", a bracket that is certified but wider than usual",)
        if not guarantee.loss.exact:
            bracket += (", for an upper bound on the privacy loss that need not be attained",)
        blocks.append(Paragraph((*bracket, ".")))
    blocks.append(
        Paragraph(
            (
                "Against every attack that decides whether the protected data took part, the true "
                "positive rate exceeds the false positive rate by at most "
                f"{rounded_up(float(guarantee.loss.advantage()), 3)}; it is at most:",
            )
        )
    )
    rows: list[tuple[Text, ...]] = []
    for rate in _FALSE_POSITIVE_RATES:
        rows.append(((str(rate),), (rounded_up(guarantee.true_positive_rate(rate), 3),)))
    blocks.append(Table(("False positive rate", "True positive rate at most"), tuple(rows)))
    return tuple(blocks)


def _reproduction(guarantee: Guarantee) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if guarantee.command is not None:
        blocks += [Paragraph(("This command computes ε again:",)), Command(guarantee.command)]
    if guarantee.plan_hash is not None:
        hashed: Text = ("SHA-256 of the plan's canonical JSON: ", Code(guarantee.plan_hash), ".")
        blocks.append(Paragraph(hashed))
    return tuple(blocks)


def _json(guarantee: Guarantee, document: Document) -> str:
    lower, upper = map(float, guarantee.epsilon)
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "planned": guarantee.planned,
        "claim": plain(_claim(guarantee)),
        "warnings": list(_warnings(guarantee)),
        "epsilon": {
            "lower": _finite(lower),
            "upper": _finite(upper),
            "tight": bool(guarantee.epsilon.tight),
        },
        "delta": guarantee.delta,
        "neighboring_relation": guarantee.neighboring_relation.name.lower(),
        "unit": guarantee.unit,
        "group_size": guarantee.group_size,
        "sampler_assumed": guarantee.sampler_assumed,
        "sampler_ran": guarantee.sampler_ran,
        "released": guarantee.released,
        "assumptions": list(guarantee.assumptions),
        "method": guarantee.method,
        "versions": dict(guarantee.versions),
        "parameters": {
            p.name: {"value": p.value, "stated": p.stated, "note": p.note}
            for p in guarantee.parameters
        },
        "plan_hash": guarantee.plan_hash,
        "command": guarantee.command,
        "points": {
            section.title: [line for block in section.blocks for line in _lines(block)]
            for section in document.sections
        },
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _lines(block: Block) -> list[str]:
    match block:
        case Bullets(items):
            return [plain(item) for item in items]
        case Table(_, rows):
            return [" | ".join(map(plain, row)) for row in rows]
        case Command(command):
            return [command]
        case _:
            return [plain(block.text)]


def _finite(value: float) -> float | str:
    """Return the number, or the word that JSON lacks."""
    return value if math.isfinite(value) else "infinity"


def _delta(guarantee: Guarantee) -> str:
    return f"δ = {guarantee.delta!r}"


def _protected(guarantee: Guarantee) -> str:
    if guarantee.group_size == 1:
        return f"one {guarantee.unit}"
    return f"a group of {guarantee.group_size} rows (each one {guarantee.unit})"


def _said(sayings: Mapping[str, str], name: str) -> str:
    return sayings.get(name, name)
