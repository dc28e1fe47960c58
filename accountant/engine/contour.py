"""Exact inversion of analytic privacy losses on a vertical contour, with a certificate.

One direction of a composed loss is a ``Composition``; ``Line`` holds its moment generating function
on one vertical line and answers with proved lower and upper bounds for any epsilon near the saddle.
Every bound used here is stated and proved in docs/engine.md; "section n" refers to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accountant.engine.composition import Composition
from accountant.losses import kernels
from accountant.losses.laplace import laplace_line

ULP = kernels.ULP
# Keeps an upper bound above 0 where exp underflows.
SMALLEST = 1e-307
Floats = npt.NDArray[np.float64]

# The declared node budget of one line (section 7): beyond it, the bracket widens instead.
NODE_BUDGET = 1 << 16
# Nodes times inner nodes, over all mixtures: some 50 ms.
WORK_BUDGET = 40_000_000
# Minus the natural logarithm of the relative size that each of the bracket's error terms aims at;
# where smoothing widens the bracket anyway, less is asked of the others.
AIM = 32.0
SMOOTHED_AIM = 23.0
FAR_SHELLS = 40
# How much larger than at the saddle the integrand may get, as a logarithm.
MOST_CANCELLATION = 3.0


@dataclass(frozen=True)
class Certificate:
    """What one line proves at one epsilon."""

    lower: float
    upper: float
    estimate: float
    log_slope: float  # d log(delta) / d epsilon, an estimate


def log_kernel_peak(theta: float) -> float:
    """Log of sup_x (1 - e^{-x})_+ e^{-theta x} = theta log theta - (theta+1) log(theta+1)."""
    return -theta * math.log1p(1.0 / theta) - math.log1p(theta)


class Line:
    """Phi on Re z = theta, and the bounds on delta(epsilon) that follow.

    Parameters
    ----------
    composition
        The loss.
    theta
        Abscissa, > 0; best near the saddle of the epsilons asked for.
    epsilon, log_delta
        Roughly where the line will be used, and the size of delta there: they set the step.
    budget
        Largest number of nodes.
    """

    def __init__(
        self,
        composition: Composition,
        theta: float,
        epsilon: float,
        log_delta: float,
        budget: int = NODE_BUDGET,
    ) -> None:
        for aim in (AIM, SMOOTHED_AIM):
            self.aim = aim
            self._choose_step(composition, theta, epsilon, log_delta)
            if self._choose_nodes(composition, epsilon, log_delta, budget):
                break
        if self.smoothing > 0.0:
            composition = composition.smoothed(self.smoothing)
            # the Chernoff bound is that of the smoothed loss
            if math.isfinite(self._alias_theta):
                t = self._alias_theta
                self._alias_k += 0.5 * self.smoothing * t * (t + 1.0)
        self._composition = composition
        self._filled = False

    def _choose_step(
        self, composition: Composition, theta: float, epsilon: float, log_delta: float
    ) -> None:
        """Abscissa and step for which the aliases on both sides are negligible (section 2).

        The step starts as the largest that the aliases below epsilon allow.  Where those above
        would then count (a skewed loss), theta moves left of the saddle as long as the integrand
        does not grow by more than MOST_CANCELLATION there; after that the step shrinks alone.
        """
        height = self._height(composition, theta, epsilon)
        shrink = 1.0
        for _ in range(80):
            self.theta = theta
            self.step = shrink * 2.0 * math.pi * theta / (max(-log_delta, 0.0) + self.aim)
            if self._aliases_vanish(composition, epsilon, log_delta):
                return
            left = 0.85 * theta
            if self._height(composition, left, epsilon) <= height + MOST_CANCELLATION:
                theta = left
            else:
                shrink *= 0.8
        raise ContourError("no step resolves the aliases")

    def _height(self, composition: Composition, theta: float, epsilon: float) -> float:
        """Log of the integrand on the real axis."""
        k = composition.cumulants(theta, 12.0)[0]
        return k - theta * epsilon - math.log(theta) - math.log1p(theta)

    def _aliases_vanish(self, composition: Composition, epsilon: float, log_delta: float) -> bool:
        """Find a Chernoff exponent that bounds the aliases above epsilon by the aim."""
        if not self.step > 0.0:
            raise ContourError("the step underflows")
        ahead = epsilon + 2.0 * math.pi / self.step
        if ahead >= composition.largest_loss:
            self._alias_theta, self._alias_k = math.inf, 0.0
            return True
        # The best theta' solves K' = ahead; K can explode within a percent of theta (rare
        # participation), so search on the scale of theta' - theta.
        best = math.inf
        low, high = -8.0, 3.0
        for _ in range(9):
            middle = 0.5 * (low + high)
            t = self.theta * (1.0 + math.exp(middle))
            k, k1, _, e = composition.cumulants(t, 20.0)
            bound = self._alias_above(epsilon, t, k + e) if math.isfinite(k) else math.inf
            if bound < best:
                best = bound
                self._alias_theta, self._alias_k = t, k + e
            if best <= log_delta - self.aim:
                return True
            if math.isfinite(k1) and k1 < ahead:
                low = middle
            else:
                high = middle
        return best <= log_delta - self.aim + 2.0

    def _alias_above(self, epsilon: float, theta: float, k: float) -> float:
        """Log of the bound on the aliases m > 0, by Chernoff at theta (section 2)."""
        gap = 2.0 * math.pi * (theta - self.theta) / self.step
        return k - theta * epsilon + log_kernel_peak(theta) - log_expm1(gap)

    def _choose_nodes(
        self,
        composition: Composition,
        epsilon: float,
        log_delta: float,
        budget: int,
    ) -> bool:
        """Number of nodes by the proved envelope of |Phi|; smoothing where they do not suffice.

        Returns whether the budget sufficed without smoothing.
        """
        inner = self._inner_nodes(composition)
        budget = min(budget, max(256, WORK_BUDGET // inner))
        counts = [4]
        while counts[-1] < budget:
            counts.append(min(budget, counts[-1] + 1 + counts[-1] // 7))
        # Shells beyond the budget only bound what is neglected; far out the cap bound takes over.
        far = [counts[-1] * 1.4 ** (s + 1) for s in range(FAR_SHELLS)]
        edges = self.step * np.array(counts + far, dtype=float)
        logs = np.zeros(len(edges))
        a = composition.exponent(self.theta)
        for mixture, n, cut in composition.cut_mixtures:
            log_phi, _, _, e = mixture.cumulants(a, 40.0 + math.log(n), cut)
            logs += n * mixture.envelope(a, log_phi + e, edges, cut)
        # relative to exp(K - theta eps)
        k0 = composition.cumulants(self.theta)[0]
        if not math.isfinite(k0):
            raise ContourError(f"the moment generating function is infinite at {self.theta}")
        aim = log_delta - (k0 - self.theta * epsilon) - self.aim
        tails = tail_logs(edges, logs, composition.variance)[: len(counts)]
        good = np.flatnonzero(tails <= aim)
        last = int(good[0]) if len(good) else len(counts) - 1
        self.smoothing = 0.0
        if not len(good):
            # Section 6: with smoothing any number of nodes suffices.  Its cost in epsilon is
            # smoothing * theta; 1e-9 of epsilon is enough, the budget may allow less.
            wish = 1e-9 * max(epsilon, 1e-3) / (1.0 + self.theta)
            # every shell that is left out must be small, not just the first
            excess = logs - np.log(math.pi * edges) - aim + 4.0
            need = 2.0 * np.maximum(0.0, excess) / edges**2
            need = np.maximum.accumulate(need[::-1])[::-1]
            for last in range(len(counts)):
                self.smoothing = max(float(need[last]) - composition.variance, 1e-300)
                if self.smoothing <= wish:
                    break
        self.nodes = counts[last] + 1
        self.work = self.nodes * inner
        self._edges, self._logs = edges[last:], logs[last:]
        return len(good) > 0

    def _inner_nodes(self, composition: Composition) -> int:
        a = composition.exponent(self.theta)
        total = 1
        for mixture, n, cut in composition.cut_mixtures:
            log_phi = mixture.cumulants(a, 12.0, cut)[0]
            if not math.isfinite(log_phi):
                raise ContourError(f"the moment generating function is infinite at {self.theta}")
            total += mixture.inner_nodes(a, log_phi, AIM + math.log(8.0 * n) + 12.0, cut)
        return total

    def _fill(self, composition: Composition) -> None:
        """Log Phi at every node, summed over the parts, with its error."""
        theta, h, nodes = self.theta, self.step, self.nodes
        t: Floats = h * np.arange(nodes, dtype=np.float64)
        v = composition.variance
        real = 0.5 * v * (theta * (theta + 1.0) - t * t)
        imag = 0.5 * v * (2.0 * theta + 1.0) * t
        error = 8.0 * ULP * (np.abs(real) + np.abs(imag) + 0.5 * v * t * t)
        upper = real + error
        a = composition.exponent(theta)
        reach = abs(a) + t[-1] + 1.0
        for mixture, n, cut in composition.cut_mixtures:
            target = AIM + math.log(8.0 * reach * n)
            log_phi, _, _, _ = mixture.cumulants(a, target, cut)
            re, im, err, top = mixture.line(a, h, nodes, log_phi, target, cut)
            real += n * re
            imag += (-n if composition.add else n) * im
            weights = (abs(a) + t) * mixture.ratio_error
            error += n * (err + weights)
            upper += n * (top + weights)
        for scale, n in composition.laplaces:
            re, im, err = laplace_line(scale, theta, t)
            real += n * re
            imag += n * im
            error += n * err
            upper += n * (re + err)
        for atoms, n in composition.atoms:
            re, im, err = atoms.line(theta, t)
            real += n * re
            imag += n * im
            error += n * err
            upper += n * (re + err)
        self.log_phi = float(real[0])
        self._fre, self._fim, self._sums = kernels.line_values(real, imag, error, upper, theta, h)

    def _bound_truncation(self, variance: float) -> None:
        """Bounds on what lies beyond the last node, relative to exp(K - theta eps) (section 5)."""
        edges = self._edges
        shells = np.exp(self._logs - 0.5 * variance * edges * edges)
        inverse = np.append(1.0 / edges, 0.0)
        self._truncation = float(shells @ (inverse[:-1] - inverse[1:])) / math.pi * (1.0 + 1e-9)
        self._density_truncation = 0.0
        if self.smoothing > 0.0:
            tail = float(shells[:-1] @ np.diff(edges)) + float(shells[-1]) / (variance * edges[-1])
            self._density_truncation = tail / math.pi * (1.0 + 1e-9)

    def certify(self, epsilon: float) -> Certificate:
        """Bounds on delta(epsilon) at one epsilon."""
        lower, upper, estimate, tail = self.certify_many(np.array([epsilon]))
        usable = 0.0 < estimate[0] < math.inf
        slope = -float(tail[0] / estimate[0]) if usable else 0.0
        return Certificate(float(lower[0]), float(upper[0]), float(estimate[0]), slope)

    def certify_many(self, epsilons: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Lower bound, upper bound and estimate of delta, estimate of -d delta/d epsilon.

        Sections 2 (aliases), 5 (truncation), 4 and 7 (rounding) and 6 (smoothing) of
        docs/engine.md.
        """
        if not self._filled:
            # only now, so that a line can be planned, and judged, without its cost
            self._fill(self._composition)
            self._bound_truncation(self._composition.variance)
            self._filled = True
        # Where the line is of no use the arithmetic may overflow; the bounds are then 0 and 1.
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper, estimate, fall = self._bounds(epsilons)
        lower = np.where(np.isnan(lower), 0.0, lower)
        upper = np.where(np.isnan(upper), 1.0, upper)
        return lower, upper, estimate, fall

    def _bounds(self, epsilons: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        theta, h, s = self.theta, self.step, self._sums
        sums = kernels.contour_sums(self._fre, self._fim, theta, h, epsilons)
        total, tail, density = sums[:, 0], sums[:, 1], sums[:, 2]
        log_scale = self.log_phi - theta * epsilons
        scale = np.exp(np.minimum(log_scale, 700.0))
        unit = h / (2.0 * math.pi)
        size = np.abs(epsilons)
        relative = 8.0 * ULP * (4.0 + abs(self.log_phi) + theta * size)
        rounding = unit * (
            s[0] + ULP * (16.0 * s[1] + 16.0 * size * s[2]) + np.abs(total) * relative
        )
        error = scale * (rounding + self._truncation)
        estimate = scale * unit * total
        below = math.exp(-log_expm1(2.0 * math.pi * theta / h))
        # no alias above the largest loss; short of it, nothing was bounded
        ahead = epsilons + 2.0 * math.pi / h
        above = np.where(ahead >= self._composition.largest_loss, 0.0, math.inf)
        if math.isfinite(self._alias_theta):
            start = self._alias_above(0.0, self._alias_theta, self._alias_k)
            above = np.exp(np.minimum(start - self._alias_theta * epsilons, 700.0))
        gap = np.zeros_like(estimate)
        if self.smoothing > 0.0:
            w = math.sqrt(self.smoothing)
            mass = np.maximum(0.0, density) + s[3] + 16.0 * ULP * size * s[4]
            mass = unit * (mass + np.abs(density) * relative) + self._density_truncation
            gap = self.smoothing * (1.0 + w) * scale * mass if w <= 1.0 else gap + math.inf
        upper = np.minimum(
            1.0, (estimate + error) * (1.0 + 4.0 * ULP) + self._composition.lost + SMALLEST
        )
        lower = estimate - error - (below + above + gap) * (1.0 + 1e-9)
        lower = np.maximum(0.0, lower * (1.0 - 4.0 * ULP))
        # Far from the line's own epsilon the scale is no double, or the sum is lost in its error.
        usable = (log_scale < 690.0) & np.isfinite(estimate + error) & (upper > 0.0)
        lower = np.where(usable, np.minimum(lower, upper), 0.0)
        upper = np.where(usable, upper, 1.0)
        return lower, upper, estimate - 0.5 * gap, scale * unit * tail


class ContourError(ArithmeticError):
    """No line could be built; the caller falls back to a Chernoff bound."""


def log_expm1(x: float) -> float:
    """Log of (e^x - 1), x > 0, rounded to the safe side by its use with generous aims."""
    return x + math.log(-math.expm1(-x))


def tail_logs(edges: Floats, logs: Floats, variance: float) -> Floats:
    """Log of the sum over shells s' >= s of exp(logs - v t^2/2) (1/t - 1/t'), over pi."""
    exponents = logs - 0.5 * variance * edges * edges
    inverse = np.append(1.0 / edges, 0.0)
    weights = exponents + np.log(inverse[:-1] - inverse[1:]) - math.log(math.pi)
    result: Floats = np.logaddexp.accumulate(weights[::-1])[::-1]
    return result


def saddle_at(composition: Composition, epsilon: float) -> tuple[float, float]:
    """The saddle theta of delta(epsilon), and the saddle-point approximation of log delta."""

    def excess(log_theta: float) -> float:
        theta = math.exp(log_theta)
        _, k1, _, _ = composition.cumulants(theta, 12.0)
        value = k1 - 1.0 / theta - 1.0 / (theta + 1.0) - epsilon
        return value if math.isfinite(value) else math.inf

    theta = math.exp(increasing_root(excess, 0.0, 1e-3))
    return theta, saddle_log_delta(composition, theta)[1]


def saddle_for(composition: Composition, log_delta: float) -> tuple[float, float]:
    """The saddle theta of the epsilon at which delta is about exp(log_delta), and that epsilon."""

    def excess(log_theta: float) -> float:
        theta = math.exp(log_theta)
        value = log_delta - saddle_log_delta(composition, theta)[1]
        return value if math.isfinite(value) else math.inf

    theta = math.exp(increasing_root(excess, 0.0, 1e-2))
    return theta, saddle_log_delta(composition, theta)[0]


def saddle_log_delta(composition: Composition, theta: float) -> tuple[float, float]:
    """(epsilon, approximate log delta) of which theta is the saddle."""
    k0, k1, k2, _ = composition.cumulants(theta, 12.0)
    if not (math.isfinite(k0) and math.isfinite(k1)):
        return math.inf, -math.inf
    epsilon = k1 - 1.0 / theta - 1.0 / (theta + 1.0)
    curvature = max(k2, 0.0) + 1.0 / theta**2 + 1.0 / (theta + 1.0) ** 2
    log_delta = k0 - theta * epsilon - math.log(theta) - math.log1p(theta)
    return epsilon, log_delta - 0.5 * math.log(2.0 * math.pi * curvature)


def saddle_width(composition: Composition, theta: float) -> float:
    """Deviation of the tilted loss: how far from its epsilon a line at theta stays good."""
    k2 = composition.cumulants(theta, 12.0)[2]
    return math.sqrt(max(k2, 0.0) + 1.0 / theta**2 + 1.0 / (theta + 1.0) ** 2)


def increasing_root(function: Callable[[float], float], start: float, tolerance: float) -> float:
    """Root of an increasing function by secants and halving, within +-40."""
    low = high = start
    f_low = f_high = function(start)
    width = 1.0
    while f_low > 0.0 and low > -40.0:
        high, f_high = low, f_low
        low -= width
        width *= 1.6
        f_low = function(low)
    while f_high < 0.0 and high < 40.0:
        low, f_low = high, f_high
        high += width
        width *= 1.6
        f_high = function(high)
    repeated = 0
    for _ in range(60):
        if high - low < 1e-4 or f_low >= 0.0 or f_high <= 0.0:
            break
        middle = 0.5 * (low + high)
        # halve where the secant has moved the same end twice
        if math.isfinite(f_high) and abs(repeated) < 2:
            secant = (low * f_high - high * f_low) / (f_high - f_low)
            margin = 0.02 * (high - low)
            middle = min(max(secant, low + margin), high - margin)
        value = function(middle)
        if abs(value) <= tolerance:
            return middle
        if value < 0.0:
            low, f_low = middle, value
            repeated = min(repeated, 0) - 1
        else:
            high, f_high = middle, value
            repeated = max(repeated, 0) + 1
        if abs(repeated) > 2:
            repeated = 0
    return low if abs(f_low) < abs(f_high) else high
