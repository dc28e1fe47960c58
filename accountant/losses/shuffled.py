"""One epoch over shuffled batches of fixed size: a pair that the privacy loss dominates.

The adversary of arXiv 2403.17673, section 4: every other record contributes -1 to its batch, the
record in question +1, or 0 once it is zeroed out.  Up to a shift by the size of the batches the
epoch's output is then

    P = 1/t sum_j N(2 e_j, s^2 I_t)   or   Q = 1/t sum_j N(e_j, s^2 I_t).

Of it only the bin is kept into which the largest coordinate falls: post-processing, hence a lower
bound, and in each of several epochs (arXiv 2411.04205).  Proofs: docs/random-allocation.md.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special

from accountant.losses.gaussian import TAIL_ULPS
from accountant.losses.kernels import ULP
from accountant.losses.nested_grids import Floats
from accountant.losses.random_allocation import DiscretePair, check_epoch

__all__ = ["shuffled_floor"]

_BINS = 4096


def shuffled_floor(
    noise_multiplier: float, steps: int, log_mass: float = -40.0, *, add: bool = False
) -> DiscretePair:
    """A discrete pair that one epoch of shuffled batches dominates, under zero-out.

    For every c >= 0, ``sum (p - c q)_+ <= sup_A P(A) - c Q(A)``, and products likewise.

    Parameters
    ----------
    noise_multiplier
        Noise of each step over the clipping norm, within [0.1, 1e4].
    steps
        Number t of batches, 1 to 1e6.
    log_mass
        About the logarithm of the mass that is left out at either end, within [-400, -5].
    add
        Numerator: the mixture of N(e_j, s^2 I) (the record is zeroed out in it).

    Returns
    -------
    DiscretePair
        Some 4,000 atoms, read-only, kept for the next call; ``p_infinite`` is 0.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """
    check_epoch(noise_multiplier, steps, log_mass)
    return _floor(float(noise_multiplier), int(steps), float(log_mass), bool(add))


@lru_cache(maxsize=32)
def _floor(s: float, steps: int, log_mass: float, add: bool) -> DiscretePair:
    x = _edges(s, steps, log_mass)
    p, p_error = _masses(s, steps, x, 2.0)
    q, q_error = _masses(s, steps, x, 1.0)
    if add:
        p, p_error, q, q_error = q, q_error, p, p_error
    # less in the numerator, more in the denominator
    p, q = p - p_error, q + q_error
    kept = p > 0.0
    p, q = p[kept], q[kept]
    losses = np.log(p / q)
    losses -= 8.0 * ULP * (1.0 + np.abs(losses))
    order = np.argsort(losses)
    losses, p, q = losses[order], p[order], q[order]
    for values in (losses, p, q):
        values.flags.writeable = False
    return DiscretePair(losses, p, q, 0.0)


def _edges(s: float, steps: int, log_mass: float) -> Floats:
    """Ends of the bins: half of them equally probable, half at equal distances in the loss."""
    reach = float(-special.ndtri_exp(log_mass))
    # Q[max > x] <= t Phi(-x/s); below, the mixtures' other coordinates decide
    low = s * float(special.ndtri_exp(max(log_mass, -700.0) / steps))
    high = 2.0 + s * reach
    low = min(low, 2.0 - s * reach) if steps == 1 else max(low, -s * reach)
    x = np.linspace(low, high, 40_001)
    log_two, log_one = _log_density(s, steps, x, 2.0), _log_density(s, steps, x, 1.0)
    weights = np.exp(log_two - log_two.max()) / np.exp(log_two - log_two.max()).sum()
    weights += np.exp(log_one - log_one.max()) / np.exp(log_one - log_one.max()).sum()
    travelled = np.append(0.0, np.cumsum(np.abs(np.diff(log_two - log_one))))
    share = np.cumsum(weights) / weights.sum() + travelled / max(travelled[-1], 1e-300)
    edges = np.interp(np.linspace(share[0], share[-1], _BINS - 1), share, x)
    return np.concatenate(([-math.inf], np.unique(edges), [math.inf]))


def _log_density(s: float, steps: int, x: Floats, mean: float) -> Floats:
    """Log density of the largest coordinate, up to a constant: to choose the bins by."""
    a, b = (x - mean) / s, x / s
    own = -0.5 * a * a + special.log_ndtr(b)
    others = math.log(steps - 1) if steps > 1 else -math.inf
    rest = np.logaddexp(own, others - 0.5 * b * b + special.log_ndtr(a))
    result: Floats = (steps - 2) * special.log_ndtr(b) + rest
    return result


def _masses(s: float, steps: int, x: Floats, mean: float) -> tuple[Floats, Floats]:
    """Masses of the largest coordinate between consecutive ends, and bounds on their errors.

    ``P[max <= x] = Phi((x - mean)/s) Phi(x/s)^(t-1)``.
    """
    log_below, relative = np.zeros_like(x), np.full_like(x, 8.0 * ULP)
    for shift, power in ((mean, 1.0), (0.0, steps - 1.0)):
        if power == 0.0:
            continue
        with np.errstate(over="ignore"):
            a = (x - shift) / s
        tail = special.ndtr(-np.abs(a))
        with np.errstate(divide="ignore"):
            log_tail = special.log_ndtr(a)
        log_below += power * np.where(a > 0.0, np.log1p(-tail), log_tail)
        # a is off by (|x| + shift)/s ULP, and a tail's logarithmic slope is at most |a| + 1
        size = np.minimum(np.abs(a), 1e3)
        off = TAIL_ULPS + 16.0 + (size + 1.0) * (size + 2.0 * shift / s)
        relative = np.maximum(relative, 4.0 * off * ULP)
    with np.errstate(invalid="ignore"):
        below, above = np.exp(log_below), -np.expm1(log_below)
        below_error = below * (relative * np.abs(log_below) + 4.0 * ULP)
    below_error[~np.isfinite(log_below)] = 0.0
    above_error = above * (relative + 4.0 * ULP)
    right = below > 0.5
    masses = np.where(right[:-1], above[:-1] - above[1:], below[1:] - below[:-1])
    errors = np.where(
        right[:-1], above_error[:-1] + above_error[1:], below_error[1:] + below_error[:-1]
    )
    errors += 2.0 * ULP * np.abs(masses) + 1e-300
    return masses, errors
