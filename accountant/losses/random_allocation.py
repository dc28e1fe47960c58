"""Random allocation, balls in bins: the privacy loss of one epoch as finite discrete pairs.

Each record takes part in one of t releases, chosen uniformly and independently of the others.
Under add/remove and zero-out an epoch of Gaussian releases is dominated by

    P = 1/t sum_j N(e_j, s^2 I_t)   against   Q = N(0, s^2 I_t),

adaptive queries included (arXiv 2412.16802; 2502.08202, section 3).  ``dP/dQ`` is the mean of t
independent lognormal variables, and of any other mechanism that of t independent ratios of a step's
dominating pair; its law is bounded from both sides in the convex order on nested grids.
Statements, proofs and rounding: docs/random-allocation.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from accountant.losses import listed_sums, lognormal_sums
from accountant.losses.kernels import ULP
from accountant.losses.listed_sums import ListedPair
from accountant.losses.nested_grids import LOWEST, Floats, K, Merged, Spread

__all__ = [
    "DiscretePair",
    "allocation_floor",
    "allocation_floor_of",
    "allocation_pair",
    "allocation_pair_of",
    "allocation_reduction",
]

SMALLEST_NOISE, LARGEST_NOISE = 0.1, 1e4
MOST_STEPS = 1_000_000
MOST_ATOMS = 50_000


@dataclass(frozen=True)
class DiscretePair:
    """Atoms of a numerator P and a denominator Q, finite measures.

    Attributes
    ----------
    losses
        log(p/q) of each atom, nondecreasing.  For an upper bound rounded up, for a lower bound
        rounded down: the statements below hold for ``q`` and for ``p exp(-losses)`` alike.
    p, q
        Masses, shape of ``losses``; their sums are about 1, not exactly.
    p_infinite
        Mass of P where Q has none; 0 in a lower bound.
    """

    losses: Floats
    p: Floats
    q: Floats
    p_infinite: float

    def delta(self, epsilon: float) -> float:
        """The divergence ``sum (p - exp(epsilon) q)_+ + p_infinite``, unrounded."""
        above = self.losses > epsilon
        gain = -np.expm1(epsilon - self.losses[above])
        return float(self.p[above] @ gain) + self.p_infinite


def allocation_pair(
    noise_multiplier: float, steps: int, log_mass: float = -40.0, *, add: bool = False
) -> DiscretePair:
    """A discrete pair that dominates one epoch.

    For every c >= 0, ``sum (p - c q)_+ + p_infinite >= sup_A P(A) - c Q(A)``: of these measures,
    whose masses need not sum to 1, products dominate products (section 2 of the page).

    Parameters
    ----------
    noise_multiplier
        Noise of each step over the sensitivity, within [0.1, 1e4].
    steps
        Number t of steps, 1 to 1e6.
    log_mass
        About the logarithm of what ``p_infinite`` may be, within [-400, -5].
    add
        Numerator: the plain Gaussian (the record is in the denominator's data set).

    Returns
    -------
    DiscretePair
        At most 50,000 atoms, read-only, kept for the next call.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """
    check_epoch(noise_multiplier, steps, log_mass)
    return _pair(float(noise_multiplier), int(steps), float(log_mass), bool(add))


def allocation_floor(
    noise_multiplier: float, steps: int, log_mass: float = -40.0, *, add: bool = False
) -> DiscretePair:
    """A discrete pair that one epoch dominates: parameters as of :func:`allocation_pair`.

    For every c >= 0, ``sum (p - c q)_+ <= sup_A P(A) - c Q(A)``, and products likewise: each is the
    value of a test that looks only at the atoms and counts what is missing as lost.
    """
    check_epoch(noise_multiplier, steps, log_mass)
    return _floor(float(noise_multiplier), int(steps), float(log_mass), bool(add))


def allocation_pair_of(
    pair: ListedPair, steps: int, log_mass: float = -40.0, *, add: bool = False
) -> DiscretePair:
    """A discrete pair that dominates one epoch of steps that ``pair`` dominates.

    Parameters
    ----------
    pair
        Dominates a step's release with the record against that without it, for every c >= 0:
        listed losses, Laplace noise or bounded range, with losses of at most 100.
    steps, log_mass, add
        As of :func:`allocation_pair`; ``add``: the numerator is the release without the record.

    Raises
    ------
    ValueError
        A parameter is out of its range, or the pair is none of these.
    """
    _check_steps(steps, log_mass)
    return _pair_of(pair, int(steps), float(log_mass), bool(add))


def allocation_floor_of(
    pair: ListedPair, steps: int, log_mass: float = -40.0, *, add: bool = False
) -> DiscretePair:
    """A discrete pair that one epoch dominates: parameters as of :func:`allocation_pair_of`.

    Of an epoch whose steps have the loss of ``pair`` itself, not less.
    """
    _check_steps(steps, log_mass)
    return _floor_of(pair, int(steps), float(log_mass), bool(add))


def allocation_reduction(steps: int, selections: int) -> tuple[tuple[int, int], ...]:
    """Epochs that together dominate ``selections`` steps out of ``steps``: (copies, steps) each.

    A random set of k out of t steps is one step out of each block of a random partition of the
    steps into k blocks.  Publishing the partition only helps the adversary: k allocations of one
    step out of floor(t/k), or of ceil(t/k), dominate (arXiv 2502.08202, and 2602.17284 with both
    block sizes).  Exact for k = 1 and k = t.

    Raises
    ------
    ValueError
        Not whole numbers with ``0 <= selections <= steps``, ``steps >= 1``.
    """
    _whole(steps, "steps", 1)
    _whole(selections, "selections", 0)
    if selections > steps:
        raise ValueError(
            f"selections must be at most steps, got {selections} of {steps}: a record takes part "
            "at most once in a step"
        )
    if selections == 0:
        return ()
    short, larger = divmod(int(steps), int(selections))
    blocks = ((int(selections) - larger, short), (larger, short + 1))
    return tuple((copies, length) for copies, length in blocks if copies)


@lru_cache(maxsize=16)
def _pair(s: float, steps: int, log_mass: float, add: bool) -> DiscretePair:
    law = lognormal_sums.spread_sum(s, steps, log_mass)
    return _above(law, lognormal_sums.place_error(s), add)


@lru_cache(maxsize=16)
def _pair_of(pair: ListedPair, steps: int, log_mass: float, add: bool) -> DiscretePair:
    one = listed_sums.ratio(pair, steps, log_mass, True)
    ends = float(one.values[0]), float(one.values[-1])
    return _above(listed_sums.spread_sum(pair, steps, log_mass), one.value_error, add, ends)


@lru_cache(maxsize=16)
def _floor(s: float, steps: int, log_mass: float, add: bool) -> DiscretePair:
    law = lognormal_sums.merged_sum(s, steps, log_mass, add)
    return _below(law, lognormal_sums.place_error(s), add)


@lru_cache(maxsize=16)
def _floor_of(pair: ListedPair, steps: int, log_mass: float, add: bool) -> DiscretePair:
    error = listed_sums.ratio(pair, steps, log_mass, False).value_error
    return _below(listed_sums.merged_sum(pair, steps, log_mass, add), error, add)


def _above(
    law: Spread, place_error: float, add: bool, ends: tuple[float, float] | None = None
) -> DiscretePair:
    """The pair of the law of a sum; the terms are off by ``place_error`` relatively.

    ``ends``: where they lie, if that is bounded.
    """
    steps = law.count
    z, masses = _flat(law)
    ratios = (steps * law.centre + z) / steps
    missing: float = law.lost_p / steps
    if add:
        missing = law.lost_q
        if law.centre > 0.0:
            # ratios are never negative, nodes may be (section 3)
            near = np.maximum(2.0 * LOWEST - ratios, 0.0)
            missing += float(masses @ near) / LOWEST
        missing += float(masses[ratios <= 0.0].sum())
    kept = (ratios > 0.0) & (masses > 0.0)
    ratios, masses = _thinned(ratios[kept], masses[kept])
    if ends is not None and add:
        ratios, masses = (a[::-1] for a in (-ratios, masses))
        ratios, masses = _capped(ratios, masses, -ends[0] * (1.0 - 4.0 * place_error))
        ratios, masses = (a[::-1] for a in (-ratios, masses))
    elif ends is not None:
        ratios, masses = _capped(ratios, masses, ends[1] * (1.0 + 4.0 * place_error))
    log_ratios, off = np.log(ratios), place_error + 8.0 * ULP
    slack = off + 8.0 * ULP * np.abs(log_ratios)
    if add:
        return _read_only(
            slack[::-1] - log_ratios[::-1],
            masses[::-1] * 1.0,
            (ratios * masses)[::-1] * (1.0 - off),
            missing * (1.0 + 1e-9),
        )
    return _read_only(
        log_ratios + slack, ratios * masses * (1.0 + off), masses, missing * (1.0 + 1e-9)
    )


def _below(law: Merged, place_error: float, add: bool) -> DiscretePair:
    """The pair of atoms of a sum; the terms are off by ``place_error`` relatively."""
    steps = law.count
    places = np.arange(-K, K + 1.0)
    values, masses = [], []
    for level, (mass, offset) in enumerate(zip(law.masses, law.offsets, strict=True)):
        some = mass > 0.0
        spacing = math.ldexp(1.0, law.base + level)
        values.append(steps * law.centre + (places[some] + offset[some] / mass[some]) * spacing)
        masses.append(mass[some])
    ratios, q = np.concatenate(values) / steps, np.concatenate(masses)
    order = np.argsort(ratios)
    order = order[ratios[order] > 0.0]
    ratios, q = ratios[order], q[order]
    p = ratios * q
    # consecutive atoms as one: the adversary sees less
    starts = np.arange(0, len(q), -(-len(q) // MOST_ATOMS))
    p, q = np.add.reduceat(p, starts), np.add.reduceat(q, starts)
    # of the atoms' places, and of sums on the way (section 5)
    slack = place_error + 1e-12
    if add:
        p, q = q[::-1], p[::-1]
    # places of one atom and the next may tie: in order by lowering, again
    losses = np.minimum.accumulate((np.log(p / q) - slack)[::-1])[::-1].copy()
    return _read_only(losses, p * (1.0 - slack), q * (1.0 + 4.0 * slack), 0.0)


def _read_only(losses: Floats, p: Floats, q: Floats, p_infinite: float) -> DiscretePair:
    for values in (losses, p, q):
        values.flags.writeable = False
    return DiscretePair(losses, p, q, p_infinite)


def _flat(law: Spread) -> tuple[Floats, Floats]:
    """Distinct nodes Z, increasing, and their masses."""
    masses = law.masses.copy()
    inner = slice(K // 2, 3 * K // 2 + 1)  # these points are on the finer level, too
    for level in range(len(masses) - 1, 0, -1):
        masses[level - 1, ::2] += masses[level, inner]
        masses[level, inner] = 0.0
    masses *= 1.0 + 64.0 * ULP
    places = np.arange(-K, K + 1.0)
    left, right = slice(0, K // 2), slice(3 * K // 2 + 1, 2 * K + 1)
    nodes = [places * math.ldexp(1.0, law.base)]
    found = [masses[0]]
    for level in range(1, len(masses)):
        spacing = math.ldexp(1.0, law.base + level)
        nodes = [places[left] * spacing, *nodes, places[right] * spacing]
        found = [masses[level, left], *found, masses[level, right]]
    return np.concatenate(nodes), np.concatenate(found)


def _thinned(ratios: Floats, masses: Floats) -> tuple[Floats, Floats]:
    """At most MOST_ATOMS nodes: the others are spread to the neighbours that stay."""
    stride = -(-len(ratios) // (MOST_ATOMS - 1))
    if stride == 1:
        return ratios, masses
    kept = np.append(np.arange(0, len(ratios) - 1, stride), len(ratios) - 1)
    nodes = ratios[kept]
    cell = np.minimum(
        np.searchsorted(kept, np.arange(len(ratios)), side="right") - 1, len(kept) - 2
    )
    low, high = nodes[cell], nodes[cell + 1]
    width = high - low
    # differences of the nodes are exact up to their own rounding
    error = 8.0 * ULP * high / width
    up, down = (ratios - low) / width, (high - ratios) / width
    result = np.zeros(len(nodes))
    np.add.at(result, cell, masses * (down + np.where(down > 0.0, error, 0.0)))
    np.add.at(result, cell + 1, masses * (up + np.where(up > 0.0, error, 0.0)))
    return nodes, result * (1.0 + 64.0 * ULP)


def _capped(places: Floats, masses: Floats, end: float) -> tuple[Floats, Floats]:
    """Nothing beyond ``end``, where the truth has nothing: a chord there (section 7)."""
    if not places[-1] > end:
        return places, masses
    last = int(np.searchsorted(places, end, side="right")) - 1
    best = places, masses
    least = math.inf
    for i in (last - 1, last):
        if i < 0 or end - places[i] < 1e-6 * abs(end):
            continue
        rest = masses[i + 1 :]
        # the distances are exact up to the rounding of both ends
        error = 16.0 * ULP * (1.0 + abs(end) / (end - places[i]))
        moved = float(rest @ (places[i + 1 :] - places[i])) / (end - places[i])
        moved *= 1.0 + error + len(rest) * ULP
        stays = max(
            0.0, (float(masses[i]) + float(rest.sum())) * (1.0 + error) - moved * (1.0 - error)
        )
        if moved + stays < least:
            least = moved + stays
            best = np.append(places[: i + 1], end), np.append(masses[:i], (stays, moved))
    places, masses = best
    some = masses > 0.0
    return places[some], masses[some]


def check_epoch(noise_multiplier: object, steps: object, log_mass: object) -> None:
    """Refuse what no pair of this module or of the shuffle's is built for."""
    number = _real(noise_multiplier, "noise_multiplier")
    if not SMALLEST_NOISE <= number <= LARGEST_NOISE:
        raise ValueError(
            f"noise_multiplier must be within [{SMALLEST_NOISE}, {LARGEST_NOISE:.0f}] here, got "
            f"{noise_multiplier!r}; an upper bound is the Gaussian, as if the batch were known"
        )
    _check_steps(steps, log_mass)


def _check_steps(steps: object, log_mass: object) -> None:
    _whole(steps, "steps", 1)
    if steps > MOST_STEPS:  # type: ignore[operator]
        raise ValueError(
            f"steps must be at most {MOST_STEPS} here, got {steps}; an upper bound is an epoch of "
            "fewer steps"
        )
    if not -400.0 <= _real(log_mass, "log_mass") <= -5.0:
        raise ValueError(f"log_mass must be within [-400, -5], got {log_mass!r}")


def _real(value: object, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)


def _whole(value: object, name: str, least: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not whole or value < least:  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
