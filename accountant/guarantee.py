"""What is promised, with every condition of it: a number never travels alone.

A `Guarantee` is made by whatever knows the conditions (a plan, a pipeline, a run that has ended)
and read by `accountant.statement`, which needs to know none of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from accountant.bounds import Bounds

if TYPE_CHECKING:
    from dp_accounting import NeighboringRelation

    from accountant.privacy_loss import PrivacyLoss

__all__ = ["Guarantee", "Parameter", "true_positive_rate", "versions"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number or choice that the guarantee rests on.

    Parameters
    ----------
    name : str
        The field's name, such as "noise_multiplier".
    value : int, float, str or None
        Its value; None where it is not known.
    stated : bool
        Whether somebody gave it. A default that nobody stated is False.
    note : str
        How the value came about, where it was not given: "follows from ...".
    """

    name: str
    value: int | float | str | None
    stated: bool = True
    note: str = ""


@dataclass(frozen=True)
class Guarantee:
    """Differential privacy of one computation, planned or done.

    Parameters
    ----------
    epsilon : Bounds
        Certified bracket of epsilon at `delta`. Publish its upper end.
    delta : float
        The probability that epsilon leaves out.
    loss : PrivacyLoss
        What the bracket was computed from: ask it for other deltas and for the trade-off curve.
    neighboring_relation : NeighboringRelation
        Which data sets are told apart.
    unit : str
        What one row of the data set is.
    group_size : int
        How many rows are protected together.
    sampler_assumed : str
        How the accounting assumes that batches are drawn.
    sampler_ran : str or None
        How batches were drawn; None where nothing ran, as for a plan.
    released : str
        What leaves the computation.
    assumptions : tuple of str
        What must hold for the guarantee to hold, a sentence each.
    warnings : tuple of str
        What a reader should be wary of, a sentence each.
    method : str
        How the bracket was computed.
    versions : tuple of (str, str)
        The software that computed it.
    parameters : tuple of Parameter
        The numbers and choices that it rests on.
    plan_hash : str or None
        SHA-256 of the plan's canonical JSON.
    command : str or None
        A command that computes the number again.
    """

    epsilon: Bounds
    delta: float
    loss: PrivacyLoss
    neighboring_relation: NeighboringRelation
    unit: str
    group_size: int
    sampler_assumed: str
    sampler_ran: str | None
    released: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    method: str
    versions: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]
    plan_hash: str | None = None
    command: str | None = None

    def true_positive_rate(self, false_positive_rate: float) -> float:
        """Return the largest share of members that any attack finds, rounded up.

        Parameters
        ----------
        false_positive_rate : float
            The share of non-members that the attack takes for members.
        """
        return true_positive_rate(self.loss, false_positive_rate)

    @property
    def planned(self) -> bool:
        """Whether this is what a run would guarantee, rather than what one does."""
        return self.sampler_ran is None

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or None."""
        return next((entry for entry in self.parameters if entry.name == name), None)


def true_positive_rate(loss: PrivacyLoss, false_positive_rate: float) -> float:
    """Return the largest true positive rate of any attack, rounded up; see `Guarantee`."""
    found = 1 - Fraction(float(loss.fnr(false_positive_rate)))
    nearest = float(found)
    return nearest if Fraction(nearest) >= found else math.nextafter(nearest, 2.0)


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of this library and of those that compute with it."""
    found = []
    for distribution in ("dp-planner", "dp-accounting", "numpy", "scipy", "numba"):
        try:
            found.append((distribution, metadata.version(distribution)))
        except metadata.PackageNotFoundError:  # run from a checkout that was never installed
            found.append((distribution, "not installed"))
    return tuple(found)
