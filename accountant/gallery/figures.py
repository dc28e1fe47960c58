"""Printed numbers, how they were computed, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

__all__ = ["Figure", "Method", "Quantity", "Sense", "Unknown", "Verdict"]

Quantity = Literal[
    "advantage",
    "epsilon",
    "noise multiplier",
    "none",
    "order",
    "rho",
    "sampling probability",
    "separation",
    "squared sensitivity",
]
Sense = Literal["at most", "at least", "value"]
Verdict = Literal[
    "met", "exceeded", "open", "conditional", "reproduced", "explained", "not reproduced"
]


@dataclass(frozen=True)
class Method:
    """How a figure was computed; names and settings are listed in `accountant.gallery.methods`."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A printed number.

    Attributes
    ----------
    printed
        Its digits; "inf" for infinity.
    quantity
        What it is a number of.
    sense
        "at most": a guarantee, taken literally; "at least": a lower bound; "value": a computed
        number, rounded to its digits.
    method
        How it was computed; None where nothing says so.
    name
        Where it stands.
    of
        The variant that it belongs to; None for the case itself.
    accounted_as
        The variant that its method prices, where that is not what was released.
    delta
        Where it is not the case's.
    within
        How far its own method is at most from it, where that is more than its digits say: the
        case's explanation has the reason.
    """

    printed: str
    quantity: Quantity = "epsilon"
    sense: Sense = "value"
    method: Method | None = None
    name: str = ""
    of: str | None = None
    accounted_as: str | None = None
    delta: float | None = None
    within: float | None = None

    @property
    def value(self) -> float:
        """The number."""
        return float(self.printed)

    @property
    def half_digit(self) -> float:
        """Half a unit of its last digit; 0 for infinity."""
        exponent = Decimal(self.printed).as_tuple().exponent
        return 0.5 * 10.0**exponent if isinstance(exponent, int) else 0.0

    def agrees(self, found: float) -> bool:
        """Whether a recomputed number has the printed digits."""
        return self._near(found, self.half_digit)

    def explained(self, found: float) -> bool:
        """Whether a recomputed number is as near as the explanation says."""
        return self.within is not None and self._near(found, self.within)

    def _near(self, found: float, allowed: float) -> bool:
        if math.isinf(self.value):
            return found == self.value
        return abs(found - self.value) <= allowed * (1.0 + 1e-9) + 1e-15 * abs(found)


@dataclass(frozen=True)
class Unknown:
    """A number that was not published, and the target that it has to meet.

    Attributes
    ----------
    parameter
        Which number of which release is NaN.
    epsilon
        The target, at the case's delta.
    bracket
        Where it is looked for.
    method
        Whose epsilon meets the target; None for the certified one.
    """

    parameter: str
    epsilon: float
    bracket: tuple[float, float]
    method: Method | None = None
