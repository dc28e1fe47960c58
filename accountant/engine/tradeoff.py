"""f-DP: the trade-off curve of a composed loss, from its exact delta(epsilon).

For every real epsilon, ``f(alpha) >= 1 - delta(epsilon) - e^epsilon alpha`` (Dong, Roth, Su 2022,
Proposition 2.12); with an upper bound of delta the right-hand side stays a lower bound of f.  The
best epsilon for an alpha is the threshold of the optimal test, and a small error in it costs only
the second order.  It is read off a contour; where no contour is precise, supporting lines from any
engine are placed until they close on the curve (docs/tradeoff.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from accountant.engine.composition import Composition
from accountant.engine.contour import ContourError, Line, saddle_at, saddle_width
from accountant.engine.epsilon_search import epsilon_bracket
from accountant.engine.inversion import delta_bracket, delta_brackets
from accountant.engine.supporting_lines import Sandwich, Side

Floats = npt.NDArray[np.float64]
Level = Callable[[Floats, Floats, Floats], Floats]

# Lines are placed this many standard deviations of the tilted loss apart.
SPACING = 2.0
LARGEST_LINES = 64
# Nodes of one line: a curve needs many lines.
BUDGET = 1 << 14
# Smoothed lines dearer than this (nodes times inner nodes) are left to the supporting lines.
MOST_WORK = 8_000_000
GRID = 24
# A contour's line that is uncertain by more than this, relative to the distance from guessing,
# gives way to supporting lines from every engine, which are placed to the same width.
LOOSE = 3e-4
# Errors at which every engine is asked whether the contour lost anything, before lines are placed.
SAMPLE = 4
# Logarithm of the probability that may be charged to the bounds instead of being computed.
LOG_LOST = -75.0


# Relative width of a lattice's deltas: an error in a line counts at first order.
WIDTH_OF_LINES = 1e-5


def smallest_fnr(forward: Composition, backward: Composition, fpr: Floats) -> Floats:
    """Lower bound of the trade-off function f of the pair (Q, P), P the numerator of ``forward``.

    Parameters
    ----------
    forward, backward
        The loss of (P, Q) and of (Q, P).
    fpr
        Type I errors, shape (m,), each in [0, 1].
    """
    if forward.empty:
        return np.maximum(0.0, (1.0 - fpr) * (1.0 - 1e-15))
    result = np.zeros(fpr.shape)
    # what only P can produce is found without any false alarm
    escaped = forward.escaped
    result[fpr == 0.0] = max(0.0, 1.0 - escaped - 2e-16) if escaped > 0.0 else 1.0
    inside = (fpr > 0.0) & (fpr < 1.0)
    if not np.any(inside):
        return result
    alpha = fpr[inside]
    if forward.needs_lattice or backward.needs_lattice:
        best = _by_supporting_lines(forward, backward, alpha)
        result[inside] = np.clip(best, 0.0, 1.0 - alpha)
        return result
    best, doubt, threshold = _by_contour(forward, backward, alpha)
    doubt /= np.maximum(1.0 - alpha - best, 1e-13)
    poor = (best <= 0.0) | (doubt > LOOSE)
    if np.any(poor) and not _confirmed(forward, backward, alpha, best, doubt, threshold):
        best[poor] = np.maximum(best[poor], _by_supporting_lines(forward, backward, alpha[poor]))
    result[inside] = np.clip(best - 2e-16, 0.0, 1.0 - fpr[inside])
    return result


def _by_contour(
    forward: Composition, backward: Composition, alpha: Floats
) -> tuple[Floats, Floats, Floats]:
    """The bound at thresholds read off a contour, how uncertain it is, and the thresholds."""
    best = np.zeros(alpha.shape)
    doubt = np.full(alpha.shape, np.inf)
    threshold = np.zeros(alpha.shape)
    # epsilon >= 0: the threshold has Q[S > epsilon] = alpha
    right = _Side(forward)
    low = alpha <= right.tail_at_zero()
    if np.any(low):
        for e in right.thresholds(np.log(alpha[low]), log_of_tail):
            least, delta = right.deltas(e)
            value = _line(alpha[low], e, delta)
            better = value > best[low]
            doubt[low] = np.where(better, delta - least, doubt[low])
            threshold[low] = np.where(better, e, threshold[low])
            best[low] = np.maximum(best[low], value)
        for e in right.neighbours(threshold[low]):
            value = _line(alpha[low], e, right.deltas(e)[1])
            doubt[low] = np.where(_missed(alpha[low], best[low], value), np.inf, doubt[low])
    if not np.all(low):
        # epsilon < 0: delta(-e) = 1 - exp(-e) + exp(-e) delta_backward(e)
        left = _Side(backward)
        rest = alpha[~low]
        for e in left.thresholds(np.log1p(-rest), log_of_head):
            least, delta = left.deltas(e)
            value = _line(rest, -e, delta)
            better = value > best[~low]
            doubt[~low] = np.where(better, np.exp(-e) * (delta - least), doubt[~low])
            threshold[~low] = np.where(better, -e, threshold[~low])
            best[~low] = np.maximum(best[~low], value)
        for e in left.neighbours(-threshold[~low]):
            value = _line(rest, -e, left.deltas(e)[1])
            doubt[~low] = np.where(_missed(rest, best[~low], value), np.inf, doubt[~low])
    return best, doubt, threshold


def _missed(alpha: Floats, best: Floats, value: Floats) -> npt.NDArray[np.bool_]:
    """Whether another line is much better: the threshold that was found is not the best one."""
    result: npt.NDArray[np.bool_] = value > best + LOOSE * (1.0 - alpha - best)
    return result


def _line(alpha: Floats, epsilon: Floats, delta: Floats) -> Floats:
    """The supporting line of a real epsilon; delta is the forward one, or backward at -epsilon."""
    slope = np.exp(np.minimum(epsilon, 709.0))
    ahead = (1.0 - delta) - slope * alpha * (1.0 + 2e-15)
    behind = slope * ((1.0 - alpha) - delta) * (1.0 - 2e-15)
    result: Floats = np.where(epsilon >= 0.0, ahead, behind)
    return result


def _confirmed(
    forward: Composition,
    backward: Composition,
    alpha: Floats,
    best: Floats,
    doubt: Floats,
    threshold: Floats,
) -> bool:
    """Whether every engine finds that a contour of wide brackets lost next to nothing."""
    poor = np.flatnonzero((best <= 0.0) | (doubt > LOOSE))
    if np.any(doubt[poor] > 1.0):
        return False
    # the most doubtful ones
    asked = poor[np.argsort(-doubt[poor])][:SAMPLE]
    for i in asked:
        ahead = threshold[i] >= 0.0
        found = delta_bracket(forward if ahead else backward, abs(float(threshold[i])))
        value = _line(alpha[[i]], threshold[[i]], np.array([found.upper]))
        if value[0] - best[i] > 0.1 * LOOSE * (1.0 - alpha[i] - best[i]):
            return False
    return True


def _by_supporting_lines(forward: Composition, backward: Composition, alpha: Floats) -> Floats:
    """The bound from lines of every engine's deltas, placed until they close on the curve."""
    sandwich = Sandwich(_side(forward), _side(backward))
    sandwich.refine(alpha, rtol=LOOSE)
    return sandwich.lower(alpha)


def _side(composition: Composition) -> Side:
    """Deltas of a composition from whichever engine is precise."""

    def delta(epsilons: Floats) -> tuple[Floats, Floats]:
        found = delta_brackets(composition, epsilons, WIDTH_OF_LINES)
        return np.array([f.lower for f in found]), np.array([f.upper for f in found])

    return Side(
        delta,
        lambda target: epsilon_bracket(composition, target, 1e-3).upper,
        composition.largest_loss,
    )


def log_of_tail(epsilon: Floats, delta: Floats, fall: Floats) -> Floats:
    """Log Q[S > epsilon] = log(-delta'(epsilon)) - epsilon."""
    with np.errstate(divide="ignore"):
        result: Floats = np.log(np.maximum(fall, 0.0)) - epsilon
    return result


def log_of_head(epsilon: Floats, delta: Floats, fall: Floats) -> Floats:
    """Log Q[S <= -epsilon], from the backward loss: delta - delta'."""
    with np.errstate(divide="ignore"):
        result: Floats = np.log(np.maximum(delta + fall, 0.0))
    return result


class _Side:
    """Lines that cover epsilon from 0 up to wherever it is asked."""

    def __init__(self, composition: Composition) -> None:
        self.composition = composition.truncated(LOG_LOST)
        self.lines: list[Line] = []
        self.starts: list[float] = []
        self._deviation = 1.0
        self._extend()

    def _extend(self) -> bool:
        """Append the line of the next epsilon; False where the loss ends or no line is found."""
        epsilon = 0.0
        if self.lines:
            epsilon = self.starts[-1] + SPACING * self._deviation
        if epsilon >= self.composition.largest_loss or len(self.lines) >= LARGEST_LINES:
            return False
        theta, log_delta = saddle_at(self.composition, epsilon)
        self._deviation = saddle_width(self.composition, theta)
        try:
            line = Line(self.composition, theta, epsilon, min(log_delta, -0.1), BUDGET)
        except ContourError:
            return False
        if line.smoothing > 0.0 and line.work > MOST_WORK:
            return False
        self.lines.append(line)
        self.starts.append(epsilon)
        return True

    def tail_at_zero(self) -> float:
        """Q[S > 0]."""
        if not self.lines:
            return 0.5
        _, _, _, fall = self.lines[0].certify_many(np.zeros(1))
        return float(fall[0])

    def thresholds(self, targets: Floats, level: Level) -> list[Floats]:
        """Two rounds of approximate thresholds at which ``level`` equals the targets."""
        if not self.lines:
            return [np.zeros(targets.shape)]
        grid, values = self._sample(0, level)
        wanted = float(targets.min())
        while not (len(values) and values[-1] < wanted):
            if not self._extend():
                break
            more, found = self._sample(len(self.lines) - 1, level)
            grid, values = np.append(grid, more), np.append(values, found)
        keep = np.isfinite(values)
        grid, values = grid[keep], values[keep]
        if len(grid) < 2:
            return [np.zeros(targets.shape)]
        # decreasing in epsilon; the running minimum removes rounding's ripples
        values = np.minimum.accumulate(values)
        first = np.interp(-targets, -values, grid)
        slope = np.interp(first, grid, np.minimum(np.gradient(values, grid), -1e-300))
        level_first = level(first, *self._evaluate(first))
        second = self._step(first, targets - level_first, slope, grid[-1])
        level_second = level(second, *self._evaluate(second))
        with np.errstate(all="ignore"):
            slope = (level_second - level_first) / (second - first)
        return [second, self._step(second, targets - level_second, slope, grid[-1])]

    def neighbours(self, thresholds: Floats) -> list[Floats]:
        """Epsilons half a line further out and in."""
        half = 0.5 * SPACING * self._deviation
        return [thresholds + half, np.maximum(thresholds - half, 0.0)]

    def _step(self, start: Floats, gap: Floats, slope: Floats, last: float) -> Floats:
        with np.errstate(all="ignore"):
            end = start + gap / slope
        return np.clip(np.where(np.isfinite(end), end, start), 0.0, last)

    def _sample(self, index: int, level: Level) -> tuple[Floats, Floats]:
        start = self.starts[index]
        grid = start + SPACING * self._deviation * np.arange(GRID) / GRID
        grid = grid[grid < self.composition.largest_loss]
        _, _, estimate, fall = self.lines[index].certify_many(grid)
        return grid, level(grid, estimate, fall)

    def _evaluate(self, epsilons: Floats) -> tuple[Floats, Floats]:
        estimate = np.zeros(epsilons.shape)
        fall = np.zeros(epsilons.shape)
        for line, chosen in self._by_line(epsilons):
            _, _, estimate[chosen], fall[chosen] = line.certify_many(epsilons[chosen])
        return estimate, fall

    def deltas(self, epsilons: Floats) -> tuple[Floats, Floats]:
        """Certified lower and upper bounds of delta."""
        if self.composition.has_closed_form:
            pairs = np.array([self._closed_form(float(e)) for e in epsilons])
            return pairs[:, 0], pairs[:, 1]
        lower, upper = np.zeros(epsilons.shape), np.ones(epsilons.shape)
        for line, chosen in self._by_line(epsilons):
            lower[chosen], upper[chosen], _, _ = line.certify_many(epsilons[chosen])
        lower[epsilons >= self.composition.largest_loss] = 0.0
        upper[epsilons >= self.composition.largest_loss] = 0.0
        return lower, upper

    def _closed_form(self, epsilon: float) -> tuple[float, float]:
        found = self.composition.closed_form(epsilon)
        assert found is not None
        return found[0], found[1] + self.composition.lost

    def _by_line(self, epsilons: Floats) -> list[tuple[Line, npt.NDArray[np.intp]]]:
        nearest = np.searchsorted(self.starts, epsilons, side="right") - 1
        pairs = []
        for index, line in enumerate(self.lines):
            chosen = np.flatnonzero(nearest == index)
            if len(chosen):
                pairs.append((line, chosen))
        return pairs
