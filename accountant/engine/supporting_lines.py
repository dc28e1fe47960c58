"""A trade-off curve between its supporting lines and its threshold tests.

Brackets of delta(epsilon) at some epsilons, in both directions of a pair, bound its trade-off
curve f on both sides (proofs: docs/tradeoff.md):

- from below, ``f(alpha) >= 1 - delta(epsilon) - e^epsilon alpha`` for every real epsilon;
- from above, the test that rejects where the loss exceeds epsilon is on that line, at a type I
  error which the neighbouring lines confine; mixing two tests at random gives every error between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Rounding of exp (4 ULP assumed) and of the few operations on it, relative and absolute.
RELATIVE = 4e-15
ABSOLUTE = 1e-15
LARGEST_EPSILON = 700.0
# Ladder of deltas from which the first epsilons are taken, as shares of delta(0).
LADDER = 0.1
SMALLEST_RUNG = 1e-290
# Rounds of refinement, and lines beside which one round may place new ones.
ROUNDS = 20
LINES = 12
MOST_LINES = 64
# A gap that shrinks by less than this is left as it is after so many rounds.
STALLED = 0.9
PATIENCE = 4
# How many tests further out a chord may start or end, where the nearest ones are too uncertain.
STRIDES = (0, 1, 3, 8)


@dataclass
class Side:
    """Brackets of delta at increasing epsilons >= 0, for one direction of a loss.

    Parameters
    ----------
    delta
        From epsilons (n,) to proved lower and upper bounds of delta, (n,) each.
    epsilon
        From a delta in (0, 1) to an epsilon near epsilon(delta); infinite or rough is allowed.
    largest
        Supremum of the loss, where delta ends: its line is the last one.
    """

    delta: Callable[[Floats], tuple[Floats, Floats]]
    epsilon: Callable[[float], float]
    largest: float = np.inf
    epsilons: Floats = field(default_factory=lambda: np.zeros(0))
    lower: Floats = field(default_factory=lambda: np.zeros(0))
    upper: Floats = field(default_factory=lambda: np.zeros(0))
    _rung: float = 0.0  # the ladder's next delta
    _last: float = 0.0  # and its last epsilon
    _corner: tuple[float, float] = (1.0, 1.0)  # type I error and power there, roughly

    def ask(self, epsilons: Floats) -> None:
        """Bound delta at more epsilons, and let monotonicity sharpen all of them."""
        new = np.setdiff1d(epsilons[epsilons <= LARGEST_EPSILON], self.epsilons)
        if not len(new):
            return
        lower, upper = self.delta(new)
        every = np.concatenate([self.epsilons, new])
        order = np.argsort(every)
        self.epsilons = every[order]
        self.lower = np.concatenate([self.lower, lower])[order]
        self.upper = np.concatenate([self.upper, upper])[order]
        self.lower = np.maximum.accumulate(self.lower[::-1])[::-1]
        self.upper = np.minimum.accumulate(self.upper)

    def start(self, error: float = 0.0, power: float = 0.0) -> None:
        """Ask a ladder of epsilons, to where the tests' type I error or their power is as small."""
        if not len(self.epsilons):
            self.ask(np.zeros(1))
            if self.largest <= LARGEST_EPSILON:
                self.ask(np.array([self.largest]))
            self._rung = 0.5 * float(self.upper[0])
        while self._corner[0] > error and self._corner[1] > power and self._rung > SMALLEST_RUNG:
            found = self.epsilon(self._rung)
            self._rung *= LADDER
            if found > min(LARGEST_EPSILON, self.largest):
                self._rung = 0.0
            elif math.exp(found) > math.exp(self._last):
                low, high = math.exp(self._last), math.exp(found)
                before = self.upper[np.searchsorted(self.epsilons, self._last)]
                self.ask(np.array([found]))
                after = self.lower[np.searchsorted(self.epsilons, found)]
                x = float(before - after) / (high - low)
                self._corner = x, float(before) + low * x
                self._last = found

    @property
    def slopes(self) -> Floats:
        """e^epsilon."""
        result: Floats = np.exp(self.epsilons)
        return result


class Sandwich:
    """Lower and upper bounds of the curve f of (Q, P), from deltas of (P, Q) and of (Q, P).

    Parameters
    ----------
    ahead, behind
        The two directions; the same twice for the convex envelope of both curves.
    """

    def __init__(self, ahead: Side, behind: Side) -> None:
        self.ahead, self.behind = ahead, behind

    def refine(self, fpr: Floats, rtol: float = 1e-5, atol: float = 1e-12) -> None:
        """Ask for deltas until the gap is within ``atol + rtol (1 - fpr - fnr)``, or is not closed.

        Parameters
        ----------
        fpr
            Where the curve will be asked, shape (m,), in (0, 1).
        rtol, atol
            Width to aim for, relative to the distance from guessing at random, and absolute.
        """
        self.ahead.start(error=float(fpr.min()))
        self.behind.start(power=float(1.0 - fpr.max()))
        last = np.full(fpr.shape, np.inf)
        idle = np.zeros(fpr.shape, dtype=int)
        for _ in range(ROUNDS):
            lower, best = self._lower(fpr)
            gap = self.upper(fpr) - lower
            excess = gap / (atol + rtol * (1.0 - fpr - lower))
            # where halving does not help, the brackets of delta themselves are too wide
            open_ = np.flatnonzero((excess > 1.0) & (idle < PATIENCE))
            split = self._split(best[open_][np.argsort(-excess[open_])])
            if not split:
                return
            halved = np.isin(best, split)
            idle[halved] = np.where(gap[halved] < STALLED * last[halved], 0, idle[halved] + 1)
            last[halved] = np.minimum(last[halved], gap[halved])

    def lower(self, fpr: Floats) -> Floats:
        """Proved lower bounds of f, shape (m,)."""
        return self._lower(fpr)[0]

    def upper(self, fpr: Floats) -> Floats:
        """Proved upper bounds of f, shape (m,)."""
        low, high, slopes, intercepts = self._tests()
        result = 1.0 - fpr
        left = np.searchsorted(high, fpr, side="right") - 1
        right = np.searchsorted(low, fpr, side="left")
        for before in STRIDES:
            i = np.maximum(left - before, 0)
            for after in STRIDES:
                j = np.minimum(right + after, len(low) - 1)
                worst = np.zeros(fpr.shape)
                for x1 in (low[i], high[i]):
                    y1 = np.maximum(intercepts[i] - slopes[i] * x1, 0.0)
                    for x2 in (low[j], high[j]):
                        y2 = np.maximum(intercepts[j] - slopes[j] * x2, 0.0)
                        share = (fpr - x1) / np.maximum(x2 - x1, 1e-300)
                        share = np.clip(share, 0.0, 1.0)
                        worst = np.maximum(worst, y1 * (1.0 - share) + y2 * share)
                result = np.minimum(result, worst)
        return np.clip(result * (1.0 + RELATIVE) + ABSOLUTE, 0.0, 1.0)

    def _lower(self, fpr: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
        """The best line's value at each error, and its index: negative ones are behind."""
        value = np.zeros(fpr.shape)
        best = np.zeros(fpr.shape, dtype=np.intp)
        for k, (slope, delta) in enumerate(zip(self.ahead.slopes, self.ahead.upper, strict=True)):
            line = (1.0 - delta) - slope * fpr * (1.0 + RELATIVE)
            best[line > value] = k
            value = np.maximum(value, line)
        for k, (slope, delta) in enumerate(zip(self.behind.slopes, self.behind.upper, strict=True)):
            line = ((1.0 - fpr) - delta) / slope * (1.0 - RELATIVE)
            best[line > value] = -k
            value = np.maximum(value, line)
        return np.clip(value - ABSOLUTE, 0.0, 1.0 - fpr), best

    def _split(self, ranked: npt.NDArray[np.intp]) -> list[int]:
        """Halve the intervals of epsilon next to the first lines; empty where none can be."""
        asked = False
        most = min(max(LINES, len(ranked) // 2), MOST_LINES)
        lines = list(dict.fromkeys(int(k) for k in ranked))[:most]
        for side, sign in ((self.ahead, 1), (self.behind, -1)):
            eps = side.epsilons
            firsts = {j for k in lines if k * sign >= 0 for j in (abs(k) - 1, abs(k))}
            firsts = {j for j in firsts if 0 <= j < len(eps) - 1}
            if 0 in lines and len(eps) > 1:
                firsts.add(0)
            middles = [
                0.5 * (eps[j] + eps[j + 1])
                for j in sorted(firsts)
                if eps[j + 1] - eps[j] > 1e-6 * eps[j + 1]
                and side.upper[j] - side.lower[j] <= 0.3 * (side.upper[j] - side.lower[j + 1])
            ]
            if middles:
                side.ask(np.array(middles))
                asked = True
        return lines if asked else []

    def _tests(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Threshold tests by increasing type I error.

        Bounds of the error, and the line that each test is on or below: type II error at most
        ``intercept - slope * error``.
        """
        ahead, behind = self.ahead, self.behind
        # by decreasing slope: losses ahead from the largest epsilon, then those behind
        one = np.concatenate([ahead.slopes[::-1], 1.0 / behind.slopes[1:]])
        least = np.concatenate(
            [1.0 - ahead.upper[::-1], (1.0 - behind.upper[1:]) / behind.slopes[1:]]
        )
        most = np.concatenate(
            [1.0 - ahead.lower[::-1], (1.0 - behind.lower[1:]) / behind.slopes[1:]]
        )
        least = least * (1.0 - RELATIVE) - ABSOLUTE
        most = most * (1.0 + RELATIVE) + ABSOLUTE
        # the error a_i of test i: (t_j - t_i) a_i >= least_j - most_i where t_j > t_i
        steeper = one[None, :] - one[:, None]
        room = least[None, :] - most[:, None]
        with np.errstate(all="ignore"):
            bound = room / steeper
        low = np.where(steeper > 0.0, bound, -np.inf).max(axis=1)
        high = np.where(steeper < 0.0, bound, np.inf).min(axis=1)
        low = np.maximum(low * (1.0 - RELATIVE), 0.0)
        high = np.minimum(high * (1.0 + RELATIVE), np.minimum(1.0, most / one * (1.0 + RELATIVE)))
        # errors increase along the list
        low = np.maximum.accumulate(low)
        high = np.minimum.accumulate(np.maximum(high, 0.0)[::-1])[::-1]
        low = np.minimum(low, high)
        # always rejecting and never rejecting are tests too
        low = np.concatenate([[0.0], low, [1.0]])
        high = np.concatenate([[0.0], high, [1.0]])
        slopes = np.concatenate([[1.0], one, [0.0]])
        intercepts = np.concatenate([[1.0], most, [0.0]])
        return low, high, slopes, intercepts
