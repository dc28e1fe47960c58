"""Laws of likelihood ratios, drawn with given weights, as pairs that the accountant prices.

The draw is seen: by joint convexity the pair dominates the run in which it stays hidden.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from accountant.losses.atoms import Atoms
from accountant.losses.compound import DirectedPair
from mechanisms.amplification.ratio_laws import Floats, RatioLaw

__all__ = ["WeighedLaws", "directed_pair", "rough_delta"]

ULP: Final = 2.0**-52
# Weights of sum 1, each with the law of a sum whose mean over its terms is the ratio.
WeighedLaws = list[tuple[float, RatioLaw]]


def directed_pair(laws: WeighedLaws) -> DirectedPair:
    """Pairs for both directions, everything rounded up."""
    return DirectedPair(_removed(laws), _added(laws))


def rough_delta(laws: WeighedLaws, epsilon: float) -> tuple[float, float]:
    """About delta, for remove and for add, unrounded."""
    remove = add = 0.0
    for weight, law in laws:
        losses = law.logs - math.log(law.mean)
        above, below = losses > epsilon, losses < -epsilon
        p = law.masses[above] * np.exp(losses[above])
        remove += weight * float(-p @ np.expm1(epsilon - losses[above]))
        add += weight * float(-law.masses[below] @ np.expm1(epsilon + losses[below]))
    return remove, add


def _removed(laws: WeighedLaws) -> Atoms:
    """The record's data set in the numerator."""
    losses, masses, rest = [], [], 1e-300
    for weight, law in laws:
        logs = law.logs - math.log(law.mean)
        losses.append(logs + _slack(law, logs))
        with np.errstate(over="ignore"):
            weighed = law.masses * np.exp(losses[-1]) * (1.0 + 64.0 * ULP)
        # No point has more than all; what masses are raised by weighs much far out.
        masses.append(weight * np.minimum(weighed, 2.0))
        rest += weight * law.lost_p / law.mean * (1.0 + 1e-9)
    return _listed(np.concatenate(losses), np.concatenate(masses), rest)


def _added(laws: WeighedLaws) -> Atoms:
    """The other data set in the numerator."""
    losses, masses, rest = [], [], 1e-300
    for weight, law in laws:
        logs = law.logs - math.log(law.mean)
        losses.append(_slack(law, logs) - logs)
        masses.append(weight * law.masses * (1.0 + 64.0 * ULP))
        rest += weight * (law.lost_q + law.at_zero) * (1.0 + 1e-9)
    return _listed(np.concatenate(losses), np.concatenate(masses), rest)


def _slack(law: RatioLaw, logs: Floats) -> Floats:
    """What losses are raised by: where the points are, and the logarithm's rounding."""
    slack: Floats = law.place_error + 16.0 * ULP * (1.0 + np.abs(logs) + math.log(law.mean))
    return slack


def _listed(losses: Floats, masses: Floats, rest: float) -> Atoms:
    """Atoms in order; those of one loss together, masses that underflow as infinite losses."""
    some = masses > 0.0
    values, places = np.unique(losses[some], return_inverse=True)
    total: Floats = np.bincount(places, masses[some], len(values)).astype(np.float64)
    return Atoms(values, total * (1.0 + 4.0 * ULP), rest, 0.0, 4.0 * ULP, 0.0)
