"""A draft: what somebody has typed so far, and the links that carry it.

A draft holds text, not numbers. It can be half-finished or nonsense, it survives being hidden and
shown again, and a link gives back exactly what was typed. `ui.state` turns it into a Plan.

A link names every choice and every number in plain words, under a version. An optional field that
was left empty is not in the link; what that meant in version 1 is written down here, so that a link
keeps its meaning should a default ever change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

from mechanisms.design_views import SCHEDULES
from mechanisms.planning.fields import DEFAULTS, NEIGHBORING_RELATIONS, RELEASES, SAMPLERS

__all__ = ["CHOICES", "EXAMPLE", "VERSION", "Draft", "from_link", "to_link"]

VERSION: Final = "1"
PINNED: Final = "pinned."
LONGEST: Final = 100  # characters of any value in a link


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of every entry, and what is asked.

    `solve` names the unknown: "epsilon" for the cost, else the field to be found so that the cost
    is at most `epsilon`. `batch_in` and `length_in` say which of two ways of saying the same is
    used. An empty optional field means that nothing was said about it.

    `mechanism` is the name of a design, such as "blt:4": a link carries no matrices, and the design
    is made anew, for the plan and for what the fields from `objective` on say that it serves. The
    last three are what mechanisms are compared at.
    """

    solve: str = "epsilon"
    dataset_size: str = ""
    batch_in: str = "batch_size"
    batch_size: str = ""
    sampling_probability: str = ""
    length_in: str = "epochs"
    epochs: str = ""
    steps: str = ""
    noise_multiplier: str = ""
    epsilon: str = ""
    delta: str = ""
    sampler: str = ""
    neighboring_relation: str = ""
    unit: str = ""
    group_size: str = ""
    clip_norm: str = ""
    release: str = ""
    max_batch_size: str = ""
    min_separation: str = ""
    max_participations: str = ""
    groups: str = ""
    mechanism: str = ""
    objective: str = ""
    schedule: str = ""
    momentum: str = ""
    weight_decay: str = ""
    final: str = ""
    cooldown: str = ""
    compare_at: str = ""
    memory: str = ""
    parameters: str = ""

    def with_(self, **changes: str) -> "Draft":
        """Return a draft with some of its text changed."""
        return replace(self, **changes)


NAMES: Final = tuple(field.name for field in fields(Draft))

# The choices that a field has; every other field is free text.
CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "solve": ("epsilon", "noise_multiplier", "length", "batch_size"),
        "batch_in": ("batch_size", "sampling_probability"),
        "length_in": ("epochs", "steps"),
        "sampler": ("", *SAMPLERS),
        "neighboring_relation": ("", *NEIGHBORING_RELATIONS),
        "release": ("", *RELEASES),
        "objective": ("", "max"),
        "schedule": ("", *SCHEDULES),
    }
)

# What an empty field meant when version 1 of the links was made.
MEANT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sampler": "poisson",
        "neighboring_relation": "add_or_remove_one",
        "unit": "example",
        "group_size": "1",
        "clip_norm": "1.0",
        "release": "final_model",
        "mechanism": "identity",
    }
)

# The first thing that anybody sees: a complete run with a known answer.
EXAMPLE: Final = Draft(
    dataset_size="60,000",
    batch_size="256",
    epochs="60",
    noise_multiplier="1.1",
    epsilon="3",
    delta="1e-5",
    sampler="poisson",
    neighboring_relation="add_or_remove_one",
)


def to_link(draft: Draft, pinned: Draft | None = None) -> dict[str, str]:
    """Return the query parameters that restore a draft, and the pinned one with it."""
    link = {"v": VERSION, **_said(draft)}
    if pinned is not None:
        link |= {f"{PINNED}{name}": text for name, text in _said(pinned).items()}
    return link


def _said(draft: Draft) -> dict[str, str]:
    return {name: text for name in NAMES if (text := getattr(draft, name))}


def from_link(parameters: Mapping[str, str]) -> tuple[Draft, Draft | None, tuple[str, ...]]:
    """Read a link; whatever it holds, this returns something to go on with.

    Returns
    -------
    draft : Draft
    pinned : Draft or None
    complaints : tuple of str
        One sentence for each part of the link that was not understood and is left out.
    """
    if not parameters:
        return EXAMPLE, None, ()
    version = parameters.get("v", "")
    if version != VERSION:
        said = f"says version “{_short(version)}”" if version else "does not say its version"
        complaint = (
            f"This link {said}, and this planner reads version {VERSION}: here is the example."
        )
        return EXAMPLE, None, (complaint,)
    complaints: list[str] = []
    mine = {name: text for name, text in parameters.items() if name != "v"}
    theirs = {
        name.removeprefix(PINNED): mine.pop(name) for name in tuple(mine) if name.startswith(PINNED)
    }
    draft = _read(mine, complaints)
    pinned = _read(theirs, complaints) if theirs else None
    return draft, pinned, tuple(complaints)


def _read(parameters: Mapping[str, str], complaints: list[str]) -> Draft:
    known: dict[str, str] = {}
    for name, text in parameters.items():
        if name not in NAMES:
            complaints.append(f"The link's “{_short(name)}” is no field of a plan and is left out.")
        elif name in CHOICES and text not in CHOICES[name]:
            options = ", ".join(filter(None, CHOICES[name]))
            complaints.append(
                f"The link's {name} “{_short(text)}” is left out: it can be {options}."
            )
        elif len(text) > LONGEST or not text.isprintable():
            complaints.append(
                f"The link's {name} is left out: it is not a line of at most {LONGEST} characters."
            )
        else:
            known[name] = text
    for name, meant in MEANT.items():
        default = DEFAULTS[name]
        if name not in known and str(default) != meant:
            known[name] = meant
    return Draft(**known)


def _short(text: str) -> str:
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= 40 else f"{line[:37]}…"
