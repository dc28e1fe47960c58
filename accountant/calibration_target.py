"""What a parameter is calibrated to: one quantity, its limit, and where it is read off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from accountant.privacy_loss import PrivacyLoss
from accountant.risk import attack_risk
from accountant.risk.gaussian_dp_fit import gaussian_dp

__all__ = ["Target", "target"]

Quantity = Literal["epsilon", "advantage", "tpr", "bayes_accuracy", "mu"]

# Each quantity, and the condition at which it is read off.
CONDITIONS: dict[Quantity, str | None] = {
    "epsilon": "delta",
    "advantage": None,
    "tpr": "fpr",
    "bayes_accuracy": "prior",
    "mu": "delta",
}
CHOICES = "epsilon with delta, advantage, tpr with fpr, bayes_accuracy with prior, or mu with delta"
# Relative width to which mu is bracketed.
MU_RTOL = 1e-5


@dataclass(frozen=True)
class Target:
    """An upper limit on one quantity.

    Parameters
    ----------
    quantity : str
        "epsilon", "advantage", "tpr", "bayes_accuracy" or "mu".
    limit : float
        Its largest allowed value.
    at : float or None
        The delta, false positive rate or prior at which it is read off.
    """

    quantity: Quantity
    limit: float
    at: float | None = None

    def reached(self, loss: PrivacyLoss) -> float:
        """The quantity's certified upper bound for a loss."""
        at = self.at or 0.0
        if self.quantity == "epsilon":
            return float(loss.epsilon(at))
        if self.quantity == "advantage":
            return float(loss.advantage())
        if self.quantity == "tpr":
            return min(1.0, math.nextafter(1.0 - float(loss.fnr(at)), 2.0))
        if self.quantity == "bayes_accuracy":
            return float(attack_risk.bayes_accuracy(loss, at).upper)
        return gaussian_dp(loss, delta=at, rtol=MU_RTOL).mu

    def excess(self, loss: PrivacyLoss, rtol: float | None = None) -> float:
        """Log of what is reached over what is allowed: at most 0 only where the target is met.

        For epsilon both are deltas at that epsilon, which is quicker and as strict.  ``rtol`` is
        the width that is good enough, where a lattice answers.
        """
        if self.quantity == "epsilon":
            reached, limit = float(loss.delta(self.limit, rtol=rtol)), self.at or 0.0
        else:
            reached, limit = self.reached(loss), self.limit
        if reached == 0.0:
            return -math.inf
        gap = math.log(reached) - math.log(limit) if limit > 0.0 else math.inf
        # the difference of logarithms could round a narrow miss to 0
        return min(gap, 0.0) if reached <= limit else max(gap, 5e-324)

    def __str__(self) -> str:
        condition = CONDITIONS[self.quantity]
        where = "" if condition is None else f" at {condition} {self.at:g}"
        return f"{self.quantity} {self.limit:g}{where}"


def target(**given: float | None) -> Target:
    """The one target among the keywords of `accountant.calibrate`, checked.

    Raises
    ------
    ValueError
        None or more than one is given, one lacks its other half or has another's, or a value is
        outside its domain; or the target asks for less than guessing at random reaches.
    """
    asked = [name for name in CONDITIONS if given.get(name) is not None]
    if len(asked) != 1:
        found = " and ".join(asked) if asked else "none"
        raise ValueError(f"calibrate needs exactly one target ({CHOICES}), got {found}")
    quantity = asked[0]
    condition = CONDITIONS[quantity]
    for name in sorted({one for one in CONDITIONS.values() if one is not None}):
        if name == condition and given.get(name) is None:
            raise ValueError(f"{quantity} needs {name}: the targets are {CHOICES}")
        if name != condition and given.get(name) is not None:
            raise ValueError(f"{name} does not belong to {quantity}: the targets are {CHOICES}")
    limit = _number(quantity, given[quantity], 1.0 if quantity in PROBABILITIES else math.inf)
    if condition is None:
        return Target(quantity, limit)
    at = _number(condition, given[condition], 1.0)
    if at == 0.0:
        raise ValueError(f"{condition} must be within (0, 1), got {given[condition]!r}")
    blind = {"tpr": at, "bayes_accuracy": max(at, 1.0 - at)}.get(quantity)
    if blind is not None and limit <= blind:
        raise ValueError(
            f"{quantity} must be above {blind:g}, which guessing reaches at {condition} = {at:g}; "
            f"got {limit:g}"
        )
    return Target(quantity, limit, at)


PROBABILITIES = ("advantage", "tpr", "bayes_accuracy")


def _number(name: str, value: Any, end: float) -> float:
    """Refuse what is no number in its domain: [0, end), but epsilon alone may be 0."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (real and 0.0 <= value < end):
        wanted = "a finite number >= 0" if end == math.inf else "within (0, 1)"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    if value == 0.0 and name != "epsilon":
        raise ValueError(f"{name} must be above 0, got {value!r}: nothing that is released meets 0")
    return float(value)
