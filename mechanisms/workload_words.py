"""Workloads in words, such as "momentum=0.9,weight_decay=0.01" or "cosine,momentum=0.9"."""

import math
from collections.abc import Callable
from typing import Final

from accountant.parameters import short, whole_count
from mechanisms.rate_schedules import cooldown_rate, cosine_rate, linear_decay_rate
from mechanisms.workloads import Array, Workload, learning_rates, momentum

__all__ = ["WORKLOAD_WORDS", "parse_workload"]

WORKLOAD_WORDS: Final = (
    "prefix, or any of momentum=0.9, weight_decay=0.01 and one of cosine, linear and cooldown=0.2 "
    "(with final=0.01)"
)

_RATES: Final[dict[str, Callable[[int, float], Array]]] = {
    "cosine": cosine_rate,
    "linear": linear_decay_rate,
}
_NUMBERS: Final = ("momentum", "weight_decay", "cooldown", "final")
_FINAL: Final = 0.01


def parse_workload(text: str, steps: int) -> Workload:
    """Read what a run estimates from a few words.

    Parameters
    ----------
    text : str
        Parted by commas: ``prefix`` for SGD with a constant learning rate, the default;
        ``momentum=`` and ``weight_decay=``, within [0, 1); and a schedule, ``cosine``, ``linear``
        or ``cooldown=`` with the share of the steps that it takes, within (0, 1]; a schedule ends
        at ``final=`` times the first learning rate, 0.01 unless told.
    steps : int
        Of the run, at least 1.

    Raises
    ------
    ValueError
        If the words are none of these, or a number is out of its range.

    Examples
    --------
    >>> parse_workload("momentum=0.5", 3).matrix()[2].tolist()
    [1.75, 1.5, 1.0]
    >>> parse_workload("cooldown=0.5,final=0.1", 4).matrix()[3].round(2).tolist()
    [1.0, 1.0, 0.55, 0.1]
    """
    count = whole_count(steps, "steps", 1)
    words, numbers = _terms(text)
    schedules = [name for name in (*_RATES, "cooldown") if name in words or name in numbers]
    if len(schedules) > 1:
        raise ValueError(f"a workload has one schedule, not {' and '.join(schedules)}")
    if "prefix" in words and len(words) + len(numbers) > 1:
        raise ValueError(f"prefix is a workload of its own, without other words, got {short(text)}")
    beta, decay = numbers.get("momentum", 0.0), numbers.get("weight_decay", 0.0)
    if not schedules:
        if "final" in numbers:
            raise ValueError("final belongs to a schedule: cosine, linear or cooldown")
        return momentum(count, beta, decay)
    final = numbers.get("final", _FINAL)
    if "cooldown" in numbers:
        share = numbers["cooldown"]
        if not 0.0 < share <= 1.0:
            raise ValueError(f"cooldown must be within (0, 1], a share of the steps, got {share!r}")
        return learning_rates(
            cooldown_rate(count, max(1, round(share * count)), final), beta, decay
        )
    return learning_rates(_RATES[schedules[0]](count, final), beta, decay)


def _terms(text: str) -> tuple[set[str], dict[str, float]]:
    """Split into words and numbers, each of which may occur once."""
    wrong = ValueError(f"a workload must be {WORKLOAD_WORDS}, got {short(text)}")
    if not isinstance(text, str):
        raise wrong
    words: set[str] = set()
    numbers: dict[str, float] = {}
    for term in text.split(","):
        name, mark, number = (part.strip() for part in term.partition("="))
        if name in words or name in numbers:
            raise ValueError(f"a workload says {name} once, got {short(text)}")
        if name in _NUMBERS and mark:
            try:
                numbers[name] = float(number)
            except ValueError:
                raise ValueError(f"{name} must be a number, got {short(number)}") from None
            if not math.isfinite(numbers[name]):
                raise ValueError(f"{name} must be a finite number, got {short(number)}")
        elif name in ("prefix", *_RATES) and not mark:
            words.add(name)
        else:
            raise wrong
    return words, numbers
