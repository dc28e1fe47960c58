"""Sums of independent likelihood ratios of one step, bounded on both sides in the convex order.

The law of ``S = X_1 + ... + X_t``, where ``X_j = dP/dQ`` of a step's dominating pair, drawn from Q:
of listed pairs, and of those whose loss has the density ``exp(-loss/2)``, up to a factor, between
two ends (Laplace noise, bounded range).  Proofs: docs/random-allocation.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from accountant.losses.atoms import Atoms
from accountant.losses.bounded_range import BoundedRangePair
from accountant.losses.kernels import ULP
from accountant.losses.nested_grids import Floats, Grid, K, Merged, Spread, repeated
from accountant.losses.pair import LaplacePair

__all__ = [
    "LARGEST_LOSS",
    "SMALLEST_LOSS",
    "ListedPair",
    "Ratio",
    "is_listed",
    "merged_sum",
    "ratio",
    "spread_sum",
    "two_point_epoch",
]

Places = npt.NDArray[np.intp]
ListedPair = Atoms | LaplacePair | BoundedRangePair

# Largest loss of a step: below, nothing is left of the doubles; above, of the levels.
SMALLEST_LOSS, LARGEST_LOSS = 1e-6, 100.0
# Steps of which the sums of two-valued ratios are listed: the largest binomials are doubles.
MOST_LISTED = 1000
# What P and Q need not share.
FAINT = 1e-100
# Cells of a loss that has a density, about.
CELLS = 1 << 16


@dataclass(frozen=True, eq=False)
class Ratio:
    """A listed law of ``X = dP/dQ`` under Q.

    Parameters
    ----------
    values, masses
        Shape (m,), values positive and increasing.
    value_error, mass_error
        Bounds on the relative errors of every value and of every mass.
    lost_q, lost_p
        Mass that is not listed, and the mean of X on it; rounded up.
    """

    values: Floats
    masses: Floats
    value_error: float
    mass_error: float
    lost_q: float = 0.0
    lost_p: float = 0.0


def is_listed(pair: object) -> bool:
    """Whether the pair is one of this module's, without losses that are infinite."""
    if isinstance(pair, Atoms):
        return max(pair.p_only, pair.q_only) <= FAINT and len(pair.losses) > 0
    return isinstance(pair, LaplacePair) or (isinstance(pair, BoundedRangePair) and pair.q == 1.0)


@lru_cache(maxsize=16)
def ratio(pair: ListedPair, steps: int, log_mass: float, above: bool) -> Ratio:
    """A listed law above or below that of a step's ratio.

    Raises
    ------
    ValueError
        The pair is none of ``ListedPair``, has mass that P and Q do not share, or its largest loss
        is not within [1e-6, 100].
    """
    if not is_listed(pair):
        raise ValueError(
            f"pair must be a list of losses, Laplace noise or of bounded range, P and Q of the "
            f"same support, got {type(pair).__name__}; leave the allocation out (an upper bound)"
        )
    if isinstance(pair, Atoms):
        found = _of_atoms(pair, steps, log_mass)
    elif isinstance(pair, LaplacePair):
        # less noise dominates
        end = 1.0 / pair.scale * (1.0 + (2.0 if above else -2.0) * ULP)
        _check_loss(end)
        found = _of_density(end, 0.25 * math.exp(-0.5 * end), 0.5, above)
    else:
        _check_loss(pair.epsilon)
        height = math.exp(-0.5 * pair.epsilon) / (-2.0 * math.expm1(-pair.epsilon))
        found = _of_density(pair.epsilon, height, 0.0, above)
    return found


def two_point_epoch(pair: ListedPair, steps: int) -> Atoms | None:
    """The pair of an epoch itself, where a step has two losses; None where it is not listed.

    The sum of t ratios has t + 1 values, with binomial masses.
    """
    if not isinstance(pair, Atoms) or len(pair.losses) != 2 or steps > MOST_LISTED:
        return None
    q = pair.p * np.exp(-pair.losses)
    largest = float(np.abs(pair.losses).max())
    shared = pair.p_only == pair.q_only == 0.0
    if not shared or steps * float(np.abs(np.log(q)).max()) > 600.0 or largest > 100.0:
        return None
    k = np.arange(steps + 1.0)
    ways = np.array([float(math.comb(steps, i)) for i in range(steps + 1)])
    masses = ways * q[1] ** k * q[0] ** (steps - k)
    ratios = (k * math.exp(pair.losses[1]) + (steps - k) * math.exp(pair.losses[0])) / steps
    off = pair.loss_error + 4.0 * ULP * (4.0 + largest)
    error = (steps + 2.0) * (pair.error + 2.0 * off)
    return Atoms(np.log(ratios), ratios * masses, 0.0, 0.0, error, off + 4.0 * ULP * largest)


def _check_loss(size: float) -> None:
    if not SMALLEST_LOSS <= size <= LARGEST_LOSS:
        raise ValueError(
            f"the largest loss of a step must be within [{SMALLEST_LOSS}, {LARGEST_LOSS:.0f}], got "
            f"{size:.6g}; leave the allocation out (an upper bound), as if the place were known"
        )


def _of_atoms(pair: Atoms, steps: int, log_mass: float) -> Ratio:
    """Of listed losses: tails that weigh nothing are left out, so that what is left is finite."""
    losses = pair.losses
    logs = np.log(pair.p) - losses  # of Q's masses
    least = math.exp(log_mass) / 16.0
    low = int(np.searchsorted(np.cumsum(np.exp(logs)), least / steps))
    high = len(losses) - int(np.searchsorted(np.cumsum(pair.p[::-1]), least))
    kept = slice(low, high)
    largest = float(np.abs(losses[kept]).max())
    _check_loss(largest)
    off = pair.loss_error + 4.0 * ULP * (1.0 + largest)
    mass_error = pair.error + 2.0 * off + 4.0 * ULP * (1.0 + float(np.abs(logs).max()))
    lost = np.ones(len(losses), dtype=bool)
    lost[kept] = False
    slack = 1.0 + mass_error + len(losses) * ULP
    return Ratio(
        np.exp(losses[kept]),
        np.exp(logs[kept]),
        off,
        mass_error,
        (float(np.exp(logs[lost]).sum()) + pair.q_only) * slack,
        (float(pair.p[lost].sum()) + pair.p_only) * slack,
    )


def _of_density(end: float, height: float, atom: float, above: bool) -> Ratio:
    """Loss within [-end, end] of Q-density height exp(-loss/2), and atoms at both ends.

    The atom at -end has Q-mass ``atom``, that at end ``atom exp(-end)``.  Of a cell [a, a + w] the
    mean ratio is ``exp(a + w/2)``: it is merged there, or spread to its ends.
    """
    width = math.ldexp(1.0, math.ceil(math.log2(2.0 * end / CELLS)))
    inner = math.ceil(end / width) - 1
    # their differences are exact
    edges = np.concatenate(([-end], width * np.arange(-inner, inner + 1.0), [end]))
    widths = np.diff(edges)
    cells = -2.0 * height * np.exp(-0.5 * edges[:-1]) * np.expm1(-0.5 * widths)
    if above:
        losses, masses = edges, np.zeros(len(edges))
        share = 1.0 / (np.exp(0.5 * widths) + 1.0)
        masses[1:] += cells * share
        masses[:-1] += cells * np.exp(0.5 * widths) * share
        masses[0] += atom
        masses[-1] += atom * math.exp(-end)
    else:
        losses = np.concatenate(([-end], edges[:-1] + 0.5 * widths, [end]))
        masses = np.concatenate(([atom], cells, [atom * math.exp(-end)]))
    kept = masses > 0.0
    error = 16.0 * ULP * (1.0 + end)
    return Ratio(np.exp(losses[kept]), masses[kept], error, 2.0 * error)


@lru_cache(maxsize=8)
def spread_sum(pair: ListedPair, steps: int, log_mass: float) -> Spread:
    """A law above that of the sum, of whose mean about ``exp(log_mass)`` is left out."""
    one = ratio(pair, steps, log_mass, True)
    grid = _choose(one, steps, log_mass)
    level, place, share, error = _cells(one, grid)
    mass = one.masses * (1.0 + one.mass_error)
    masses = np.zeros((grid.levels, 2 * K + 1))
    np.add.at(masses, (level, place), mass * (1.0 - share + error))
    np.add.at(masses, (level, place + 1), mass * (share + error))
    masses *= 1.0 + (len(mass) + 8.0) * ULP
    law = Spread(1, grid.centre, grid.base, masses, one.lost_q, one.lost_p)
    return repeated(law, steps, grid)


@lru_cache(maxsize=8)
def merged_sum(pair: ListedPair, steps: int, log_mass: float, up: bool) -> Merged:
    """Atoms below the law of the sum; their places rounded upwards if ``up``."""
    one = ratio(pair, steps, log_mass, False)
    grid = _choose(one, steps, log_mass)
    level, place, share, error = _cells(one, grid)
    masses, offsets = np.zeros((2, grid.levels, 2 * K + 1))
    np.add.at(masses, (level, place), one.masses)
    # the weights of the mean place are off by the masses' errors
    moved = share + (1.0 if up else -1.0) * (error + 2.0 * one.mass_error + len(share) * ULP)
    np.add.at(offsets, (level, place), one.masses * moved)
    less = 1.0 - one.mass_error - (len(share) + 8.0) * ULP
    law = Merged(1, grid.centre, grid.base, masses * less, offsets * less, up)
    return repeated(law, steps, grid)


def _cells(one: Ratio, grid: Grid) -> tuple[Places, Places, Floats, Floats]:
    """Level and first point of each value's cell, its share of the cell, and that share's error."""
    z = one.values - grid.centre
    _, exponent = np.frexp(np.abs(z) / ((K - 1.0) * math.ldexp(1.0, grid.base)))
    level = np.maximum(exponent, 0).astype(np.intp)
    scaled = np.ldexp(z, -(grid.base + level).astype(np.intc))
    below = np.floor(scaled)
    # the difference from the centre may be rounded, nothing else
    rounded = (one.values < 0.5) | (one.values > 2.0) if grid.centre > 0.0 else z < 0.0
    error = ULP * (2.0 + np.where(rounded, np.abs(scaled), 0.0))
    return level, below.astype(np.intp) + K, scaled - below, error


def _choose(one: Ratio, steps: int, log_mass: float) -> Grid:
    """Centre, finest spacing and number of levels for one term."""
    x, q = one.values, one.masses
    if len(x) > 4096:
        edges = np.linspace(0, len(x), 2049).astype(np.int64)[:-1]
        q = np.add.reduceat(one.masses, edges)
        x = np.add.reduceat(one.masses * one.values, edges) / q
    # Chernoff's bound of Q[S <= t/4]: far below the mean nothing happens, then count from there
    rates = np.geomspace(1e-6, 1e6, 121) / float(x[0])
    rows = [float(np.exp(-rate * (x - x[0])) @ q) for rate in rates]
    cumulants = np.log(np.maximum(rows, 1e-300)) - rates * x[0]
    concentrated = steps * float((0.25 * rates + cumulants).min()) < log_mass - 3.0
    if concentrated:
        # half of the mean distance: all of the bulk, and what a few atoms there are
        reach = 0.5 * float(np.abs(x - 1.0) @ q) / float(q.sum())
        widest = float(np.abs(one.values - 1.0).max())
    else:
        rarest = math.exp((log_mass - 7.0) / steps)
        low = int(np.searchsorted(np.cumsum(q), rarest))
        reach = float(x[min(low, len(x) - 1)]) / math.sqrt(steps)
        widest = float(one.values[-1])
    base = math.floor(math.log2(reach / K))
    levels = max(1, math.ceil(math.log2(widest / K) - base) + 2)
    return Grid(1.0 if concentrated else 0.0, base, levels, log_mass)
