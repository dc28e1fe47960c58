"""What no analysis of shuffled DP-SGD can get around: noise, or separation from guessing.

Shuffled DP-SGD draws a random order once per epoch and cuts it into M batches.  Against the worst
neighbouring data sets (every other gradient known; the record's of the clipping norm, or absent,
that is replaced by one without gradient) one epoch releases N(0, sigma^2 I_M) against
N(e_J, sigma^2 I_M), J uniform in 1..M.  The test whether the largest coordinate exceeds c proves

    advantage >= Phi(c)^(M-1) (Phi(c) - Phi(c - 1/sigma))        for every c,

also for more epochs, whose outputs an attacker may ignore, and for replace-one, which contains this
pair.  At c = sqrt(2 ln M) it gives the theorem of arXiv 2601.10237 (proof: docs/tradeoff.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from accountant.risk.gaussian_dp import check_number, check_rate

__all__ = ["ShuffledLimit", "least_noise", "separation_at_least", "shuffled_limit"]

# Of ndtr, log_ndtr (64 ULP each) and the operations on them: relative to 1, as all factors are.
ROUNDING = 1e-13


@dataclass(frozen=True)
class ShuffledLimit:
    """For M updates per epoch: ``sigma >= noise`` or ``kappa >= separation``.

    Parameters
    ----------
    updates : int
        M.
    noise : float
        ``1/sqrt(2 ln M)``, rounded down.
    separation : float
        ``(1/sqrt 8)(1 - 1/sqrt(4 pi ln M))``, rounded down: every noise multiplier up to ``noise``
        has at least this distance from guessing.
    """

    updates: int
    noise: float
    separation: float


def shuffled_limit(updates: int, sampler: str = "shuffled") -> ShuffledLimit:
    """The limit of shuffled DP-SGD with M updates per epoch (arXiv 2601.10237).

    Parameters
    ----------
    updates
        M, at least 2.
    sampler
        "shuffled"; any other is refused.

    Raises
    ------
    ValueError
        ``updates`` is no whole number >= 2, or the sampler is another.
    """
    m = _updates(updates)
    _shuffled(sampler)
    noise = (1.0 - 1e-15) / math.sqrt(2.0 * math.log(m))
    separation = math.sqrt(0.125) * (1.0 - 1.0 / math.sqrt(4.0 * math.pi * math.log(m)))
    return ShuffledLimit(m, noise, separation * (1.0 - 4e-15))


def separation_at_least(sigma: float, updates: int, sampler: str = "shuffled") -> float:
    """A proved lower bound of the separation kappa of shuffled DP-SGD; sharper than the theorem.

    Parameters
    ----------
    sigma
        Noise multiplier, above 0.
    updates
        M, at least 2.
    sampler
        "shuffled"; any other is refused.

    Raises
    ------
    ValueError
        An argument is outside its domain, or the sampler is another.
    """
    m = _updates(updates)
    _shuffled(sampler)
    check_number("sigma", sigma)
    if sigma == 0.0:
        return math.sqrt(0.5) * (1.0 - 1e-15)
    best = optimize.minimize_scalar(
        lambda c: -_gain(c, sigma, m), bounds=_thresholds(sigma, m), method="bounded"
    )
    # any threshold proves a bound; a poor one only proves less
    return max(0.0, math.sqrt(0.5) * (_gain(float(best.x), sigma, m) - ROUNDING) * (1.0 - 1e-15))


def least_noise(separation: float, updates: int, sampler: str = "shuffled") -> float:
    """The noise multiplier that a separation needs at least: with less, kappa is proved larger.

    Necessary, not sufficient: what suffices says `accountant.risk.attack_risk.separation` of a
    loss.

    Parameters
    ----------
    separation
        Target for kappa, within (0, 1/sqrt 2); 0.0707 is an advantage of 0.1.
    updates
        M, at least 2.
    sampler
        "shuffled"; any other is refused.

    Raises
    ------
    ValueError
        An argument is outside its domain, or the sampler is another.
    """
    _updates(updates)
    _shuffled(sampler)
    check_rate("separation", separation, 0.0, math.sqrt(0.5))
    if not 0.0 < separation < math.sqrt(0.5):
        raise ValueError(f"separation must be within (0, 1/sqrt 2), got {separation!r}")
    low, high = 1e-3, 1e3
    if separation_at_least(low, updates) <= separation:
        return 0.0
    while separation_at_least(high, updates) > separation:
        low, high = high, 10.0 * high
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (
            (middle, high) if separation_at_least(middle, updates) > separation else (low, middle)
        )
    return low


def _gain(c: float, sigma: float, updates: int) -> float:
    """Advantage of the test that the largest coordinate exceeds c (in units of sigma)."""
    others = math.exp((updates - 1) * float(special.log_ndtr(c)))
    return others * float(special.ndtr(c) - special.ndtr(c - 1.0 / sigma))


def _thresholds(sigma: float, updates: int) -> tuple[float, float]:
    """Where to look for the best threshold: a grid's best point, and its neighbours."""
    grid = np.linspace(-2.0, 2.0 + 2.0 * math.sqrt(2.0 * math.log(updates)), 200)
    values = [_gain(float(c), sigma, updates) for c in grid]
    best = min(max(int(np.argmax(values)), 1), len(grid) - 2)
    return float(grid[best - 1]), float(grid[best + 1])


def _updates(updates: Any) -> int:
    whole = isinstance(updates, (int, np.integer)) and not isinstance(updates, bool)
    if not (whole and updates >= 2):
        raise ValueError(
            f"updates must be a whole number >= 2, got {updates!r}: with one update per epoch "
            "there is no shuffle"
        )
    return int(updates)


def _shuffled(sampler: str) -> None:
    if sampler != "shuffled":
        raise ValueError(
            f"the limit is known for shuffled batches, got {sampler!r}: for Poisson sampling it is "
            "published up to constants only; accountant.risk.attack_risk.separation bounds the "
            "separation of its loss on both sides"
        )
