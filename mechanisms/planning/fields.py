"""The fields of a Plan as they are stored, and the checks that they pass.

`PlanFields` holds what was given and nothing else: exactly one of `epochs` and `steps`, exactly one
of `batch_size` and `sampling_probability`. What follows from them is worked out by
`mechanisms.plan.Plan`.

Whole numbers may be written as floats (`9.6e9`), numbers may be NumPy scalars. Booleans, strings,
infinities and not-a-numbers are refused: none of them is a number that somebody meant to plan with.
"""

import difflib
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mechanisms.strategies import Strategy

__all__ = [
    "DEFAULTS",
    "FIELDS",
    "INDEPENDENT",
    "LARGEST_COUNT",
    "NEIGHBORING_RELATIONS",
    "NOISE_RANGE",
    "RELEASES",
    "SAMPLERS",
    "PlanError",
    "PlanFields",
    "exact",
    "finite_number",
    "shown",
    "unknown_field",
    "validated",
]

LARGEST_COUNT: Final = 10**15  # below 2**53: every count is also exact as a float
LONGEST_TEXT: Final = 100
# Beyond these nobody trains, and they keep the accountant where its work is bounded.
NOISE_RANGE: Final = (1e-3, 1e9)

SAMPLERS: Final = (
    "poisson",
    "full_batch",
    "fixed_order",
    "without_replacement",
    "balls_in_bins",
    "shuffled",
    "min_separation",
    "cyclic_poisson",
    "balls_in_bins_once",
)
NEIGHBORING_RELATIONS: Final = ("add_or_remove_one", "replace_special", "replace_one")
RELEASES: Final = ("final_model", "all_checkpoints", "all_updates")
INDEPENDENT: Final = "identity"  # the mechanism that needs no strategy

# What is assumed where the person planning says nothing. A plan remembers which of these were not
# said, and so does every statement made from it.
DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "clip_norm": 1.0,
        "sampler": "poisson",
        "max_batch_size": None,
        "neighboring_relation": "add_or_remove_one",
        "unit": "example",
        "group_size": 1,
        "release": "final_model",
        "mechanism": INDEPENDENT,
    }
)

# What people write, and why it is not on offer.
_INSTEAD: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "sampler": {
            "shuf": "batches of a shuffled data set are called 'shuffled', for which no "
            "amplification is claimed, because accounting them as Poisson sampling understates "
            "epsilon",
            "without": "batches of fixed size, drawn anew for every step, are called "
            "'without_replacement'",
            "with": "sampling with replacement is not planned, so use 'without_replacement'",
            "uniform": "say which: 'poisson' takes each example on its own with one probability, "
            "'without_replacement' draws batches of fixed size",
            "none": "say which: 'full_batch' uses every example in every step, 'fixed_order' "
            "takes fixed batches in turn",
            "full": "every example in every step is 'full_batch'",
            "balls": "it is called 'balls_in_bins'",
            "alloc": "random allocation of examples to the batches of an epoch is called "
            "'balls_in_bins'",
            "trunc": "Poisson sampling with a cap on the batch is 'poisson' with max_batch_size",
            "separ": "a least distance between two steps of one example is 'min_separation'",
            "federat": "devices that wait for so many rounds are planned as 'min_separation'",
            "cycl": "Poisson sampling from groups that take turns is called 'cyclic_poisson'",
            "band": "Poisson sampling from groups that take turns is called 'cyclic_poisson'",
            "once": "random batches that are kept for all epochs are called 'balls_in_bins_once'",
        },
        "neighboring_relation": {
            "zero": "zero-out adjacency is called 'replace_special'",
            "add": "it is called 'add_or_remove_one'",
            "remove": "it is called 'add_or_remove_one'",
            "sub": "substitution is called 'replace_one'",
            "replace": "choose between 'replace_one' and 'replace_special' (zero-out)",
        },
    }
)


class PlanError(ValueError):
    """A field of a Plan does not hold: one sentence naming the field, the value, what is allowed.

    Attributes
    ----------
    field : str
        The field's name.
    value : object
        The value that was refused; None where one is missing.
    allowed : str
        What the field may be, as it reads after "must be".
    reason : str or None
        Why, and what to use instead, where the interval alone would not tell.
    """

    def __init__(self, field: str, value: object, allowed: str, reason: str | None = None) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        self.reason = reason
        sentence = f"{field} must be {allowed}"
        sentence += ", but is missing" if value is None else f", not {shown(value)}"
        sentence += f": {reason}" if reason else ""
        super().__init__(sentence if sentence.endswith("?") else f"{sentence}.")

    def __reduce__(self) -> tuple[type["PlanError"], tuple[object, ...]]:
        """Rebuild from the parts: exceptions otherwise unpickle from their message alone."""
        return PlanError, (self.field, self.value, self.allowed, self.reason)


@dataclass(frozen=True, slots=True)
class PlanFields:
    """What was given for each field; None where nothing was. See `mechanisms.plan.Plan`."""

    dataset_size: int | None
    batch_size: int | None
    sampling_probability: float | None
    epochs: int | float | None
    steps: int | None
    noise_multiplier: float | None
    clip_norm: float
    delta: float | None
    sampler: str
    max_batch_size: int | None
    min_separation: int | None
    max_participations: int | None
    groups: int | None
    neighboring_relation: str
    unit: str
    group_size: int
    release: str
    mechanism: "str | Strategy"


FIELDS: Final[tuple[str, ...]] = tuple(field.name for field in fields(PlanFields))


def shown(value: object) -> str:
    """Write a refused value so that it fits a one-line message, whatever it is."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def exact(value: int | float) -> Fraction:
    """Return the number a person typed: 0.1 is one tenth, not the double nearest to it."""
    return Fraction(repr(value))


def unknown_field(name: object, value: object) -> PlanError:
    """Return the error for a field that Plans do not have, with the likeliest one they do."""
    close = difflib.get_close_matches(str(name)[:LONGEST_TEXT].lower(), FIELDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(FIELDS)}"
    known = name if isinstance(name, str) and name.isidentifier() else shown(name)
    given = "null" if value is None else value
    return PlanError(str(known)[:60], given, "left out", f"a plan has no such field, {hint}")


def finite_number(name: str, value: object, allowed: str) -> int | float:
    """Return the value as a finite int or float of Python, or refuse it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise PlanError(name, value, allowed)
    if isinstance(value, Integral):
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        raise PlanError(name, value, allowed) from None
    if not math.isfinite(number):
        raise PlanError(name, value, allowed)
    return number


def _count(name: str, value: object) -> int:
    allowed = f"a whole number from 1 to {LARGEST_COUNT:.0e}".replace("e+", "e")
    number = finite_number(name, value, allowed)
    if not 1 <= number <= LARGEST_COUNT or number != int(number):
        raise PlanError(name, value, allowed)
    return int(number)


def _number(interval: str, least: float, most: float = math.inf) -> Callable[[str, object], float]:
    """Return the check of a number in an interval such as "(0, 1]", and within two limits."""
    allowed = f"a number in the interval {interval}"
    top = float(interval.strip("()[]").split(", ")[1])

    def check(name: str, value: object) -> float:
        number = finite_number(name, value, allowed)
        if not 0 < number <= top or (number == top and not interval.endswith("]")):
            raise PlanError(name, value, allowed)
        # The one is mathematics, the other what anybody trains with.
        if number < least:
            raise PlanError(name, value, f"at least {least}")
        if number > most:
            raise PlanError(
                name, value, f"at most {most:.0e}".replace("e+0", "e").replace("e+", "e")
            )
        return float(number)

    return check


def _epochs(name: str, value: object) -> int | float:
    allowed = f"a number in the interval (0, {LARGEST_COUNT:.0e}]".replace("e+", "e")
    number = finite_number(name, value, allowed)
    if not 0 < number <= LARGEST_COUNT:
        raise PlanError(name, value, allowed)
    return int(number) if number == int(number) else number


def _one_of(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    allowed = " or ".join(filter(None, [", ".join(map(repr, choices[:-1])), repr(choices[-1])]))

    def check(name: str, value: object) -> str:
        # dp_accounting's NeighboringRelation is welcome, without importing it to find out.
        if type(value).__name__ == "NeighboringRelation":
            value = str(getattr(value, "name", "")).lower()
        if isinstance(value, str) and value in choices:
            return str(value)
        word = value.lower() if isinstance(value, str) else None
        for beginning, reason in _INSTEAD.get(name, {}).items():
            if word is not None and beginning in word:
                raise PlanError(name, value, allowed, reason)
        close = difflib.get_close_matches(word[:LONGEST_TEXT], choices, n=1) if word else []
        raise PlanError(name, value, allowed, f"did you mean {close[0]!r}" if close else None)

    return check


def _text(name: str, value: object) -> str:
    allowed = f"a line of 1 to {LONGEST_TEXT} printable characters"
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        raise PlanError(name, value, allowed)
    # Control, format, surrogate, private and separator characters: invisible in a statement.
    if any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in "Zl Zp" for c in value):
        raise PlanError(name, value, allowed)
    return value.strip()


def _mechanism(name: str, value: object) -> "str | Strategy":
    allowed = f"'{INDEPENDENT}' or a strategy, such as BLT.optimize returns"
    if isinstance(value, str):
        if value == INDEPENDENT:
            return value
        reason = "correlated noise is designed first, with its numbers: see mechanisms.strategies"
        raise PlanError(name, value, allowed, reason)
    from mechanisms.strategies import Identity, Strategy

    if isinstance(value, Mapping):
        try:
            value = Strategy.from_dict(dict(value))
        except ValueError as error:
            raise PlanError(name, value, allowed, str(error).rstrip(".")) from None
    if not isinstance(value, Strategy):
        raise PlanError(name, value, allowed)
    return INDEPENDENT if isinstance(value, Identity) else value


_CHECKS: Final[Mapping[str, Callable[[str, object], Any]]] = MappingProxyType(
    {
        "dataset_size": _count,
        "batch_size": _count,
        "sampling_probability": _number("(0, 1]", 1e-15),
        "epochs": _epochs,
        "steps": _count,
        "noise_multiplier": _number("(0, inf)", *NOISE_RANGE),
        "clip_norm": _number("(0, inf)", 1e-100, 1e100),
        "delta": _number("(0, 1)", 1e-300),
        "sampler": _one_of(SAMPLERS),
        "max_batch_size": _count,
        "min_separation": _count,
        "max_participations": _count,
        "groups": _count,
        "neighboring_relation": _one_of(NEIGHBORING_RELATIONS),
        "unit": _text,
        "group_size": _count,
        "release": _one_of(RELEASES),
        "mechanism": _mechanism,
    }
)


def validated(given: Mapping[str, object]) -> tuple[dict[str, Any], frozenset[str]]:
    """Check every field on its own and fill in the defaults.

    Parameters
    ----------
    given : mapping of str to object
        Fields by name; None means that nothing was given.

    Returns
    -------
    values : dict
        A value, or None, for every name in `FIELDS`.
    stated : frozenset of str
        The fields for which a value was given.

    Raises
    ------
    PlanError
        For an unknown name, and for the first value that its field does not allow.
    """
    for name, value in given.items():
        if name not in _CHECKS:
            raise unknown_field(name, value)
    stated = frozenset(name for name, value in given.items() if value is not None)
    values = {
        name: _CHECKS[name](name, given[name]) if name in stated else DEFAULTS.get(name)
        for name in FIELDS
    }
    return values, stated
