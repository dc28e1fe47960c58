"""Epsilon and delta from lattices: where to build them, and what they prove together."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from accountant.engine.brackets import SLOW_WIDTH, Bracket, narrow_delta
from accountant.engine.composition import Composition
from accountant.engine.contour import SMALLEST, log_kernel_peak
from accountant.engine.lattice import SIZE, Lattice
from accountant.engine.lattice_scales import WISH, LatticeError, pairs_of, sketched_cumulant
from accountant.losses.cells import Floats

# Lattices for pairs of which only lattices are known may be larger: a second or two.
LARGEST_SIZE = 1 << 21
# Largest epsilon of a lattice.
LARGEST_EPSILON = 290.0
# Enough to tell on which side of a number an answer is, unless it is close.
SCOUT_SIZE = 1 << 14
# Of the width that is asked for: what the mesh alone may take, as predicted.
SHARE = 0.15
# A lattice is narrow for epsilons between these multiples of its own (section 7).
NARROW = (0.8, 1.04)


def epsilon_by_lattice(composition: Composition, delta: float, rtol: float = SLOW_WIDTH) -> Bracket:
    """Proved bounds on epsilon(delta), 0 < delta < 1, one direction; ``rtol`` wide, if possible."""
    escaped = composition.escaped
    if delta <= escaped * (1.0 - 1e-9):
        return Bracket(math.inf, math.inf, True)
    lower, upper = 0.0, composition.largest_loss if escaped == 0.0 else math.inf
    # seldom close: where a coarse bracket tells, a narrow one is not worth its time
    for size, width in ((SCOUT_SIZE, 1e-2), (LARGEST_SIZE, 1e-2), (LARGEST_SIZE, rtol)):
        zero = delta_by_lattice(composition, 0.0, size, width)
        if zero.upper <= delta:
            return Bracket(0.0, 0.0, True)
        if zero.lower > delta:
            break
    with np.errstate(all="ignore"):
        if delta > escaped:
            theta, guess = _chernoff_guess(composition, math.log(delta - escaped))
            upper = min(upper, _chernoff_epsilon(composition, theta, delta - escaped))
            guess = min(guess, upper)
            for factor in (1.0, 0.3, 0.05):
                if math.isfinite(upper) and upper - lower <= rtol * upper:
                    break
                if not 0.0 < guess < math.inf:
                    break
                found = lattice_epsilon(
                    composition, delta, factor * guess, size=LARGEST_SIZE, wish=SHARE * rtol
                )
                lower, upper = max(lower, found[0]), min(upper, found[1])
    lower = min(lower, upper)
    tight = math.isfinite(upper) and upper - lower <= rtol * upper
    return Bracket(lower, upper, tight)


def delta_by_lattice(
    composition: Composition, epsilon: float, size: int = LARGEST_SIZE, rtol: float = SLOW_WIDTH
) -> Bracket:
    """Proved bounds on delta(epsilon), epsilon >= 0, one direction."""
    closed = composition.closed_form(epsilon)
    if closed is not None:
        return Bracket(*closed, narrow_delta(*closed, rtol))
    escaped = composition.escaped
    if epsilon >= composition.largest_loss:
        return Bracket(0.0, 0.0, True)
    lower, upper = 0.0, min(1.0, composition.total_variation())
    # beyond the lattice's range delta is at most what it is at its end
    within = min(epsilon, LARGEST_EPSILON)
    with np.errstate(all="ignore"):
        theta, log_delta = _saddle_guess(composition, epsilon)
        upper = min(upper, escaped + _chernoff_delta(composition, theta, epsilon))
        log_delta = max(log_delta, math.log(escaped) if escaped > 0.0 else -math.inf)
        for _ in range(3):
            if upper <= SMALLEST:
                break
            log_delta = min(-1e-3, max(-499.0, min(log_delta, math.log(upper))))
            try:
                lattice = Lattice(composition, within, log_delta, size, SHARE * rtol)
                proved = lattice.certify(within)
            except LatticeError:
                break
            upper = min(upper, proved.upper)
            lower = max(lower, proved.lower) if within == epsilon else lower
            if narrow_delta(lower, upper, rtol) or math.log(upper) > log_delta - 3.0:
                break
            log_delta = math.log(upper)
    return Bracket(min(lower, upper), upper, narrow_delta(lower, upper, rtol))


def deltas_by_lattice(
    composition: Composition, epsilons: Floats, rtol: float = SLOW_WIDTH
) -> list[Bracket]:
    """``delta_by_lattice`` at many epsilons, which share lattices, also with later calls."""
    found: list[Bracket | None] = [None] * len(epsilons)
    if len(epsilons) > 1 and composition.closed_form(0.0) is None:
        unit = _spread(composition)
        for i, epsilon in enumerate(epsilons):
            if epsilon < composition.largest_loss:
                found[i] = _by_shared_lattice(composition, float(epsilon), unit, rtol)
    return [
        delta_by_lattice(composition, float(e), LARGEST_SIZE, rtol) if known is None else known
        for e, known in zip(epsilons, found, strict=True)
    ]


def _by_shared_lattice(
    composition: Composition, epsilon: float, unit: float, rtol: float
) -> Bracket | None:
    """From the lattice of a grid of epsilons: 0, then growing by a quarter."""
    first = 0.2 * unit
    middle = 0.0
    if epsilon > NARROW[1] * first > 0.0:
        steps = math.ceil(math.log(epsilon / (NARROW[1] * first)) / math.log(1.25))
        middle = first * 1.25**steps
    lattice = _shared_lattice(composition, middle, rtol)
    if lattice is None:
        return None
    with np.errstate(all="ignore"):
        proved = lattice.certify(epsilon)
    if not narrow_delta(proved.lower, proved.upper, rtol):
        return None
    return Bracket(proved.lower, proved.upper, True)


@lru_cache(maxsize=24)
def _shared_lattice(composition: Composition, middle: float, rtol: float) -> Lattice | None:
    with np.errstate(all="ignore"):
        log_delta = min(-1e-3, max(-499.0, _saddle_guess(composition, middle)[1]))
        try:
            return Lattice(composition, middle, log_delta, SIZE, SHARE * rtol)
        except LatticeError:
            return None


@lru_cache(maxsize=64)
def _spread(composition: Composition) -> float:
    """About the standard deviation of the composed loss."""
    sketches = [(pair.sketch(8.0), n) for pair, n in pairs_of(composition)]
    square = sum(n * float((s.weights * np.square(s.losses)).sum()) for s, n in sketches)
    return math.sqrt(square)


def _chernoff_guess(composition: Composition, log_delta: float) -> tuple[float, float]:
    """About the best exponent, and its Chernoff epsilon; nothing rests on them."""
    thetas, values = sketched_cumulant(composition, log_delta)
    peaks = np.array([log_kernel_peak(float(t)) for t in thetas])
    epsilons = (values + peaks - log_delta) / thetas
    best = int(np.argmin(epsilons))
    return float(thetas[best]), max(1e-12, float(epsilons[best]))


def _saddle_guess(composition: Composition, epsilon: float) -> tuple[float, float]:
    """About the best exponent for an epsilon, and its bound of log delta."""
    thetas, values = sketched_cumulant(composition, -40.0)
    peaks = np.array([log_kernel_peak(float(t)) for t in thetas])
    logs = values + peaks - thetas * epsilon
    best = int(np.argmin(logs))
    return float(thetas[best]), min(0.0, float(logs[best]))


def _chernoff_epsilon(composition: Composition, theta: float, delta: float) -> float:
    """A proved upper end of epsilon(delta), whatever theta is."""
    best = math.inf
    for scale in (1.0, 0.7, 0.4, 0.1):
        t = scale * theta
        k = composition.log_moment(t)
        if math.isfinite(k):
            bound = (k + log_kernel_peak(t) - math.log(delta)) / t
            best = min(best, max(0.0, bound) * (1.0 + 1e-12) + 1e-12 * abs(k) / t)
    return best


def _chernoff_delta(composition: Composition, theta: float, epsilon: float) -> float:
    """A proved upper end of what delta(epsilon) is above the escaped mass."""
    best = 1.0
    for scale in (1.0, 0.7, 0.4, 0.1):
        t = scale * theta
        k = composition.log_moment(t)
        if math.isfinite(k):
            exponent = k + log_kernel_peak(t) - t * epsilon
            exponent += 1e-12 * (1.0 + abs(k) + t * epsilon)
            best = min(best, math.exp(min(0.0, exponent)) * (1.0 + 1e-12) + SMALLEST)
    return best


def lattice_epsilon(
    composition: Composition,
    delta: float,
    guess: float,
    *,
    size: int = SIZE,
    wish: float = WISH,
) -> tuple[float, float]:
    """Proved bounds on epsilon(delta), one direction; (0, inf) where no lattice resolves it.

    Parameters
    ----------
    composition
        The loss.
    delta
        In (0, 1), and less than delta(0).
    guess
        Where to look first, positive; within a factor of 10 is good enough.
    size
        Largest number of lattice points.
    """
    log_delta = math.log(delta)
    lower, upper = 0.0, math.inf
    # what is searched: above the largest loss delta is 0
    highest = composition.largest_loss * (1.0 - 1e-9)
    epsilon = min(guess, highest)
    count = min(size, 1 << 13)
    for _ in range(16):
        try:
            lattice = Lattice(composition, epsilon, log_delta, count, wish)
        except LatticeError:
            if count == size:
                break
            count = min(size, 8 * count)
            continue
        start = epsilon
        for _ in range(30):
            proved = lattice.certify(epsilon)
            if proved.lower >= delta:
                lower = max(lower, epsilon)
            if proved.upper <= delta:
                upper = min(upper, epsilon)
            if not (proved.estimate > 0.0 and proved.log_slope < 0.0):
                epsilon = min(epsilon * (1.25 if proved.lower >= delta else 0.8), highest)
                break
            move = (math.log(proved.estimate) - log_delta) / -proved.log_slope
            epsilon = min(max(epsilon + move, 0.3 * epsilon), 3.0 * epsilon, highest)
            # beyond, the cut is too near or the window too high
            near = 0.8 * start <= epsilon <= 1.04 * start
            if abs(move) <= 1e-12 * epsilon or not near:
                break
        near = 0.8 * start <= epsilon <= 1.04 * start
        if proved.estimate > 0.0 and near and count == size:
            slack = (proved.upper - proved.lower) / proved.estimate / -proved.log_slope
            for reach in (0.7, 1.1, 2.0):
                low, high = max(0.0, epsilon - reach * slack), epsilon + reach * slack
                if lattice.certify(low).lower >= delta:
                    lower = max(lower, low)
                if lattice.certify(high).upper <= delta:
                    upper = min(upper, high)
        if near and proved.estimate > 0.0:
            if count == size:
                break
            count = size
    return min(lower, upper), upper


def lattice_delta(
    composition: Composition,
    epsilon: float,
    *,
    target_delta: float | None = None,
    size: int = SIZE,
) -> tuple[float, float]:
    """Proved bounds on delta(epsilon), one direction; (0, 1) where no lattice resolves it.

    Parameters
    ----------
    composition
        The loss.
    epsilon
        Not negative.
    target_delta
        Roughly the delta expected, where it is known: saves a first pass.
    size
        Largest number of lattice points.
    """
    try:
        guess = -40.0 if target_delta is None else math.log(target_delta)
        found = Lattice(composition, epsilon, guess, 1 << 14 if target_delta is None else size)
        proved = found.certify(epsilon)
        if target_delta is None and proved.upper > 0.0:
            guess = max(-500.0, math.log(max(proved.estimate, 1e-3 * proved.upper)))
            proved = Lattice(composition, epsilon, guess, size).certify(epsilon)
    except LatticeError:
        return 0.0, 1.0
    return proved.lower, proved.upper
