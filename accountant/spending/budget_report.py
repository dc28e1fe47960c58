"""What a privacy budget says about itself: spent, remaining, exceeded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dp_accounting import dp_event

__all__ = ["BudgetExceededError", "Remaining", "Spent", "largest", "most_copies"]


@dataclass(frozen=True)
class Spent:
    """What has been spent, in three senses that must not be confused.

    Attributes
    ----------
    releases
        How many entries of the ledger are releases.
    filter_epsilon
        The filter's position: nothing more fits where it reaches the budget's epsilon.  The
        guarantee is the budget's epsilon, and never this number.
    odometer_epsilon
        A bound on the realised privacy loss, for releases chosen adaptively: with probability at
        least ``1 - delta`` it has held after every release so far, and will.
    fixed_epsilon
        The exact epsilon at delta if all releases had been fixed in advance.  Where one was chosen
        after seeing another it proves nothing.  None where it is not known.
    delta
        That of the budget.
    """

    releases: int
    filter_epsilon: float
    odometer_epsilon: float
    fixed_epsilon: float | None
    delta: float


@dataclass(frozen=True)
class Remaining:
    """What one more release may cost.

    Attributes
    ----------
    noise_multiplier
        The least of one more Gaussian release; infinite where none fits.
    pure_epsilon
        The most of one more release of pure DP; 0 where none fits.
    failure_delta
        What is left for mechanisms that are only approximately private.
    """

    noise_multiplier: float
    pure_epsilon: float
    failure_delta: float


class BudgetExceededError(RuntimeError):
    """A release does not fit; nothing was written, and nothing may be released.

    Attributes
    ----------
    event
        What does not fit.
    remaining
        What would.
    repetitions
        Of a SelfComposedDpEvent: how many of its repetitions would fit; else 0.
    """

    def __init__(
        self,
        event: dp_event.DpEvent,
        positions: str,
        remaining: Remaining,
        repetitions: int,
    ) -> None:
        fitting = []
        if repetitions:
            fitting.append(f"{repetitions} of its repetitions")
        if math.isfinite(remaining.noise_multiplier):
            fitting.append(
                f"a Gaussian release of noise multiplier {remaining.noise_multiplier:.6g} or more"
            )
        if remaining.pure_epsilon > 0.0:
            fitting.append(f"a pure release of epsilon up to {remaining.pure_epsilon:.6g}")
        super().__init__(
            f"{type(event).__name__} does not fit: {positions}; nothing was written. "
            f"What fits: {', or '.join(fitting) if fitting else 'nothing more'}"
        )
        self.event = event
        self.remaining = remaining
        self.repetitions = repetitions


def most_copies(fits: Callable[[int], bool]) -> int:
    """The largest whole number up to 10^12 that fits, of a rule that refuses all larger ones."""
    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
        if low >= 10**12:
            return 10**12
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number in a range that fits, to nine digits; 0 where none does."""
    if not fits(low):
        return 0.0
    if fits(high):
        return high
    while high / low > 1.0 + 1e-9:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
