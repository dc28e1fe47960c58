"""The smallest mu for which a loss's curves lie above G_mu, on the whole or on a stated region.

The lower bound of a curve is a polygon of supporting lines.  On each of its segments a convex
function such as G_mu is largest, relative to the line, at an end: that G_mu is below at the kinks
and at the ends of the region is therefore proof for the region (docs/tradeoff.md, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from accountant.engine.supporting_lines import LARGEST_EPSILON, Sandwich, Side
from accountant.privacy_loss import PrivacyLoss
from accountant.risk.gaussian_dp import GaussianDP, check_rate, compose_gdp, gdp_delta
from accountant.tradeoff import side_of

__all__ = ["gaussian_dp"]

Floats = npt.NDArray[np.float64]
Points = tuple[Floats, Floats]
Chord = tuple[float, float, float, float]

# Above the rounding of the few operations from deltas to a point of the polygon, relative.
ROUNDING = 1e-12
# The same of the inverse normal distribution function: 64 ULP and the subtraction.
QUANTILE = 2e-14
ROUNDS = 12
START = 33
MOST_SPLITS = 64
# Where the polygon of a bounded loss starts to be drawn.
LEAST_RATE = 1e-6
DIRECTIONS: tuple[Literal["remove", "add"], ...] = ("remove", "add")
# Where the search for mu ends, and its relative precision.
LARGEST_MU = 1e6
FINEST = 1e-9


def gaussian_dp(
    loss: PrivacyLoss,
    *,
    fpr: float | None = None,
    delta: float | None = None,
    rtol: float = 1e-4,
) -> GaussianDP:
    """The smallest mu for which both directions' curves are above G_mu.

    Parameters
    ----------
    loss
        The composed loss.
    fpr
        Asks for type I errors within [fpr, 1 - fpr], ``0 < fpr < 0.5``.
    delta
        Asks for all epsilons with delta(epsilon) >= delta, ``0 < delta < 1``.  With neither, the
        whole curve.
    rtol
        Relative width of the bracket [lower, mu] to aim for.

    Returns
    -------
    GaussianDP
        With the region.  ``mu`` holds for every mechanism that the loss describes; ``lower`` is of
        the loss's dominating pair.

    Raises
    ------
    ValueError
        Both regions are given, or one is outside its domain; or the whole curve is asked of a loss
        for which no finite mu is known to exist.

    Notes
    -----
    Subsampling does not amplify mu on the whole curve: its steep end belongs to the case that the
    record took part in every step, and the smallest mu is that of no sampling.
    """
    if fpr is not None and delta is not None:
        raise ValueError("give one region, fpr or delta, not both")
    if fpr is not None:
        check_rate("fpr", fpr, 0.0, 0.5)
        if not 0.0 < fpr < 0.5:
            raise ValueError(f"fpr must be within (0, 0.5), to leave a region, got {fpr!r}")
        return _over_rates(loss, float(fpr), rtol)
    if delta is not None:
        check_rate("delta", delta, 0.0, 1.0)
        if not 0.0 < delta < 1.0:
            raise ValueError(f"delta must be within (0, 1), got {delta!r}")
        return _over_deltas(loss, float(delta), rtol)
    return _whole_curve(loss, rtol)


def _whole_curve(loss: PrivacyLoss, rtol: float) -> GaussianDP:
    gaussians = PrivacyLoss(loss.neighboring_relation, loss.gaussians, loss.mixtures)
    if loss == gaussians:
        # the mixture's largest component rules alpha -> 0, whatever its weight
        variance = math.fsum(n / (s * s) for s, n in loss.gaussians)
        for mixture, n in loss.mixtures:
            variance += n * (mixture.sensitivities[-1] / mixture.sigma) ** 2
        mu = math.sqrt(variance)
        return GaussianDP(compose_gdp(mu, 0.0), mu * (1.0 - 1e-15))
    sides = side_of(loss, "remove"), side_of(loss, "add")
    if loss.non_private or not all(side.largest < LARGEST_EPSILON for side in sides):
        raise ValueError(
            "no finite mu is known for the whole curve of this loss: its largest losses are "
            "neither bounded nor those of Gaussians; ask for a region, with fpr or delta"
        )
    return GaussianDP(*_bracket_over_rates(sides, 0.0, rtol))


def _over_rates(loss: PrivacyLoss, smallest: float, rtol: float) -> GaussianDP:
    region = (smallest, 1.0 - smallest)
    if loss.non_private:
        return GaussianDP(math.inf, math.inf, region)
    sides = side_of(loss, "remove"), side_of(loss, "add")
    return GaussianDP(*_bracket_over_rates(sides, smallest, rtol), region)


def _bracket_over_rates(
    sides: tuple[Side, Side], smallest: float, rtol: float
) -> tuple[float, float]:
    """Upper and lower bound of mu over the type I errors within [smallest, 1 - smallest].

    Every kink counts: its coordinates are the errors of one direction and, exchanged, of the other.
    """
    mu, lower = math.inf, 0.0
    for side in sides:
        side.start(power=smallest or LEAST_RATE)
    for _ in range(ROUNDS):
        ends = 0.0
        for first, second in (sides, sides[::-1]):
            rates = _kinks(first)[0]
            rates = rates[(rates >= smallest) & (rates <= 0.5)]
            if smallest > 0.0:
                ends = max(ends, _mu_at_ends(first, second, smallest))
                rates = np.append(rates, [smallest, 1.0 - smallest])
            lower = max(lower, _mu_below(Sandwich(first, second), rates))
            lower = max(lower, _mu_of_tests(first, smallest))
        values = []
        for side in sides:
            x, y = _kinks(side)
            largest = 1.0 - smallest + 1e-15
            inside = (x >= smallest) & (x <= largest) | (y >= smallest) & (y <= largest)
            values.append(np.where(inside, _mu_at(x, y), 0.0))
        mu = min(mu, max(ends, *(float(v.max(initial=0.0)) for v in values)))
        if mu - lower <= rtol * mu or math.isinf(lower):
            break
        for side, value in zip(sides, values, strict=True):
            kept = _hull(side)
            if ends > lower * (1.0 + 0.5 * rtol):
                # the segments next to the end of the region, whichever side they are on
                x, y = _kinks(side)
                for at in (np.searchsorted(-x, -smallest), np.searchsorted(-y, -smallest)):
                    value[max(0, at - 1) : at + 1] = math.inf
            wide = np.flatnonzero(value > lower * (1.0 + 0.5 * rtol))
            wide = wide[np.argsort(-value[wide], kind="stable")][:MOST_SPLITS]
            side.ask(0.5 * (side.epsilons[kept[wide]] + side.epsilons[kept[wide + 1]]))
    return float(mu), float(min(lower, mu))


def _over_deltas(loss: PrivacyLoss, smallest: float, rtol: float) -> GaussianDP:
    if loss.non_private:
        return GaussianDP(math.inf, math.inf, smallest_delta=smallest)
    mu = lower = 0.0
    for direction in DIRECTIONS:
        found = loss.epsilon_bounds(smallest, direction)
        if float(loss.delta(0.0, direction)) < smallest:
            continue
        end = float(found.upper)
        if end > LARGEST_EPSILON:
            return GaussianDP(math.inf, lower, smallest_delta=smallest)
        side = side_of(loss, direction)
        side.ask(np.linspace(0.0, end, START))
        above, below = math.inf, 0.0
        for _ in range(ROUNDS):
            sure = side.epsilons <= found.lower
            below = max(below, _mu_of_deltas(side.epsilons[sure], side.lower[sure]))
            found_mu, wide = _mu_of_chords(side, end, below * (1.0 + 0.5 * rtol))
            above = min(above, found_mu)
            if above - below <= rtol * above or not len(wide):
                break
            side.ask(wide)
        mu, lower = max(mu, above), max(lower, below)
    return GaussianDP(mu, min(lower, mu), smallest_delta=smallest)


# --- the polygon of supporting lines -------------------------------------------------------------


def _hull(side: Side, end: float = math.inf) -> npt.NDArray[np.intp]:
    """Indices of the lines that form the polygon: the convex hull of delta over e^epsilon."""
    slopes, delta = side.slopes, side.upper
    kept: list[int] = []
    for i in range(len(slopes)):
        if side.epsilons[i] > end or (kept and delta[i] >= delta[kept[-1]]):
            continue
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            before = (delta[a] - delta[b]) / (slopes[b] - slopes[a])
            if before > (delta[b] - delta[i]) / (slopes[i] - slopes[b]):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept, dtype=np.intp)


def _kinks(side: Side) -> Points:
    """Kinks of the polygon, as (type I error, true positive rate), the latter rounded up."""
    kept = _hull(side)
    slopes, delta = side.slopes[kept], side.upper[kept]
    x = (delta[:-1] - delta[1:]) / (slopes[1:] - slopes[:-1])
    y = np.maximum(delta[:-1] + slopes[:-1] * x, delta[1:] + slopes[1:] * x)
    return x, np.minimum(1.0, y * (1.0 + ROUNDING))


def _mu_at_ends(ahead: Side, behind: Side, fpr: float) -> float:
    """Upper bound of mu at the type I errors fpr and 1 - fpr, from the better line at each."""
    rate = np.array([fpr])
    steep = (ahead.upper + ahead.slopes * fpr).min() * (1.0 + ROUNDING)
    # the same point from the lines behind, whose errors are exchanged
    flat = ((1.0 - fpr - behind.upper) / behind.slopes).max() * (1.0 - ROUNDING) - 2e-16
    last = ((fpr - behind.upper) / behind.slopes).max() * (1.0 - ROUNDING)
    start = min(_mu_at(rate, np.array([steep]))[0], _mu_at(np.array([flat]), 1.0 - rate)[0])
    return float(max(start, _mu_at(np.array([last]), rate)[0]))


def _mu_of_tests(side: Side, smallest: float) -> float:
    """Proved: no smaller mu holds, because of the tests one of whose errors is in the region.

    A test at epsilon is on its line, and G_mu passes below no point of it unless G_mu's delta there
    is as large.
    """
    slopes, least, most = side.slopes, side.lower, side.upper
    low = (least[:-1] - most[1:]) / (slopes[1:] - slopes[:-1])
    high = (most[:-1] - least[1:]) / (slopes[1:] - slopes[:-1])
    low, high = np.append(low, 0.0), np.append(1.0, high)
    missed = (1.0 - most - slopes * high) - ROUNDING, (1.0 - least - slopes * low) + ROUNDING
    inside = (low * (1.0 - ROUNDING) >= smallest) & (high * (1.0 + ROUNDING) <= 1.0 - smallest)
    # type II errors are the type I errors of the other direction
    inside |= (missed[0] >= smallest) & (missed[1] <= 1.0 - smallest)
    if smallest == 0.0:
        inside[:] = True
    return _mu_of_deltas(side.epsilons[inside], least[inside])


def _mu_at(x: Floats, y: Floats) -> Floats:
    """Upper bound of the mu at which G_mu passes through a point (error, true positive rate)."""
    with np.errstate(all="ignore"):
        right, left = special.ndtri(y), special.ndtri(x)
        mu = right - left + QUANTILE * (np.abs(right) + np.abs(left))
    result: Floats = np.maximum(np.where((x <= 0.0) | (y >= 1.0), math.inf, mu), 0.0)
    return result


def _mu_below(sandwich: Sandwich, rates: Floats) -> float:
    """Proved: no smaller mu holds, because a test exists at each of these type I errors."""
    if not len(rates):
        return 0.0
    fnr = np.minimum(sandwich.upper(rates), 1.0 - rates)
    with np.errstate(all="ignore"):
        right, left = special.ndtri(fnr), special.ndtri(rates)
        mu = -right - left - QUANTILE * (np.abs(right) + np.abs(left))
    return max(0.0, float(np.nan_to_num(mu, nan=0.0, posinf=math.inf).max()))


# --- regions of delta -----------------------------------------------------------------------------


def _mu_of_chords(side: Side, end: float, aim: float) -> tuple[float, Floats]:
    """A mu >= aim whose delta is above every chord of delta; the middles of those that aim fails.

    A chord of a convex function is above it.
    """
    kept = _hull(side, end)
    eps, delta = side.epsilons[kept], side.upper[kept] * (1.0 + 4.0 * ROUNDING)
    # delta is monotone: beyond the last line it may be continued as a constant
    if eps[-1] < end:
        eps, delta = np.append(eps, end), np.append(delta, delta[-1])
    mu, wide = aim, []
    for i in range(len(eps) - 1):
        chord = float(eps[i]), float(eps[i + 1]), float(delta[i]), float(delta[i + 1])
        if not _is_above(aim, chord):
            wide.append(0.5 * (chord[0] + chord[1]))
        if not _is_above(mu, chord):
            mu = _crossing(mu, partial(_is_above, chord=chord))[1]
    return mu, np.array(wide)


def _crossing(mu: float, holds: Callable[[float], bool]) -> tuple[float, float]:
    """Two close values above mu: what holds for large values fails at one, holds at the other."""
    low, high = mu, max(1.1 * mu, 1e-12)
    while not holds(high):
        low, high = high, 2.0 * high
        if high > LARGEST_MU:
            return low, math.inf
    while high - low > FINEST * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low, high


def _is_above(mu: float, chord: Chord) -> bool:
    """Whether G_mu's delta is above a chord: a line in e^epsilon, from its two ends' values.

    G_mu's delta is convex in e^epsilon, with slope -Phi(-epsilon/mu - mu/2): where that is the
    chord's slope the two are closest; else at an end.
    """
    eps0, eps1, delta0, delta1 = chord
    if mu == 0.0:
        return delta0 <= 0.0
    fall = (delta0 - delta1) / math.expm1(eps1 - eps0) if delta0 > delta1 else 0.0
    closest = eps0
    if fall > 0.0:
        closest = -mu * (float(special.ndtri(fall * math.exp(-eps0))) + 0.5 * mu)
        closest = min(max(closest, eps0), eps1)
    between = delta0 - fall * math.expm1(closest - eps0) + ROUNDING * delta0
    pairs = ((eps0, delta0), (closest, between), (eps1, delta1))
    return all(gdp_delta(mu, e).lower >= d for e, d in pairs)


def _mu_of_deltas(epsilons: Floats, delta: Floats) -> float:
    """Proved: no smaller mu has a delta of at least ``delta`` at every one of the epsilons."""
    mu = 0.0
    for e, d in zip(epsilons.tolist(), delta.tolist(), strict=True):
        if d > 0.0 and gdp_delta(mu, e).upper < d:
            mu = _crossing(mu, partial(_reaches, epsilon=e, delta=d))[0]
    return mu


def _reaches(mu: float, epsilon: float, delta: float) -> bool:
    return bool(gdp_delta(mu, epsilon).upper >= delta)
