"""Mixtures of shifted noise on the line, one against the other, with a monotone loss.

``P = sum_k w_k N(c_k)`` against ``Q = sum_k v_k N(c_k)``, N a centred log-concave noise of one
scale: Poisson sampling under replace-one, and of Laplace noise (docs/pairs.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from scipy import special

from accountant.losses.cells import Cells, Floats, Sketch, normal_masses, normal_tail
from accountant.losses.kernels import ULP
from accountant.losses.pair import bounded_moment, log_add

Noise = Literal["gaussian", "laplace"]

# Points at which the loss is tabulated before it is inverted.
TABLE = (1 << 16) + 1
# Beyond this no exponential of a loss is taken.
LARGEST_EXPONENT = 600.0


@dataclass(frozen=True)
class LocationPair:
    """Weights ``p`` of P and ``q`` of Q on the same shifts of one noise.

    Parameters
    ----------
    noise
        "gaussian" or "laplace".
    scale
        Standard deviation, or Laplace parameter.
    shifts
        Increasing, one of them 0.
    p, q
        Weights >= 0, each of sum 1.  p/q must not decrease with the shift, so that the loss does
        not decrease (a log-concave noise has a monotone likelihood ratio).
    """

    noise: Noise
    scale: float
    shifts: tuple[float, ...]
    p: tuple[float, ...]
    q: tuple[float, ...]

    @cached_property
    def swapped(self) -> LocationPair:
        """See ``DominatingPair``."""
        turned = tuple(-c if c else 0.0 for c in reversed(self.shifts))
        return LocationPair(self.noise, self.scale, turned, self.q[::-1], self.p[::-1])

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("location", self.noise, self.scale, self.shifts, self.p, self.q)

    @cached_property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        if self.noise == "laplace":
            # constant above the largest shift
            x = np.array([self.shifts[-1]])
            return float((self._loss(x) + self._loss_error(x))[0])
        if self.q[-1] > 0.0:
            return max(0.0, math.log(self.p[-1] / self.q[-1])) + 8.0 * ULP
        return math.inf

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return 0.0

    def _exponents(self, x: Floats, c: float) -> Floats:
        """Log of the density at x of the noise shifted by c, over that of the noise at 0."""
        if self.noise == "gaussian":
            result: Floats = x * (c / self.scale**2) - 0.5 * c * c / self.scale**2
            return result
        result = np.minimum(np.maximum(2.0 * x - c, -abs(c)), abs(c)) * (math.copysign(1.0, c))
        # (|x| - |x - c|)/b
        return result / self.scale

    def _log_sum(self, x: Floats, weights: tuple[float, ...]) -> Floats:
        """Log of sum_k weights_k exp(exponent_k), small ones without cancellation."""
        total, top = np.zeros_like(x), np.zeros_like(x)
        parts = [(w, self._exponents(x, c)) for c, w in zip(self.shifts, weights, strict=True) if c]
        parts = [(w, y) for w, y in parts if w > 0.0]
        for w, y in parts:
            total += w * np.expm1(np.minimum(y, 600.0))
            top = np.maximum(top, y)
        hard = (top > 600.0) | (total < -0.9)
        result: Floats = np.log1p(np.where(hard, 0.0, total))
        if hard.any():
            at_zero = weights[self.shifts.index(0.0)]
            rows = [math.log(at_zero) + 0.0 * x[hard]] if at_zero > 0.0 else []
            rows += [math.log(w) + y[hard] for w, y in parts]
            result[hard] = special.logsumexp(np.array(rows), axis=0)
        return result

    def _loss(self, x: Floats) -> Floats:
        result: Floats = self._log_sum(x, self.p) - self._log_sum(x, self.q)
        return result

    def _loss_error(self, x: Floats) -> Floats:
        """Bound on the rounding of ``_loss`` at finite x."""
        error = np.zeros_like(x)
        for weights in (self.p, self.q):
            value = self._log_sum(x, weights)
            for c, w in zip(self.shifts, weights, strict=True):
                if c == 0.0 or w == 0.0:
                    continue
                y = self._exponents(x, c)
                size = np.abs(y) + (np.abs(x * c) + c * c) / self.scale**2 * (
                    self.noise == "gaussian"
                )
                size += (abs(c) / self.scale) * (self.noise == "laplace")
                share = w * (np.exp(np.minimum(y - value, 3.0)) + np.exp(np.minimum(-value, 3.0)))
                error += np.minimum(share, 12.0) * (4.0 + size)
            error += np.abs(value)
        return 8.0 * ULP * error

    @cached_property
    def _table(self) -> tuple[Floats, Floats, Floats]:
        """Points, the loss at them, and its slope."""
        low, high = self.shifts[0], self.shifts[-1]
        if self.noise == "gaussian":
            low, high = low - 39.0 * self.scale, high + 60.0 * self.scale
        x = np.linspace(low, high, TABLE)
        values = np.maximum.accumulate(self._loss(x))
        return x, values, np.gradient(values, x)

    def _invert(self, losses: Floats) -> Floats:
        """An x with about each of the losses; ``cells`` measures how good it is."""
        x, values, slopes = self._table
        found: Floats = np.interp(losses, values, x)
        slope = np.interp(found, x, slopes)
        room = 2.0 * (x[1] - x[0])
        left, right = np.maximum(found - room, x[0]), np.minimum(found + room, x[-1])
        for _ in range(3):
            step = (self._loss(found) - losses) / np.where(slope > 0.0, slope, np.inf)
            found = np.clip(found - step, left, right)
        return found

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        g = step * np.arange(first, last + 1)
        _, values, _ = self._table
        # beyond the table lies no mass that a double can hold, or the loss is constant
        x = np.where(g > values[-1], math.inf, -math.inf)
        edge_error = 0.0
        if self.noise == "laplace":
            ends = np.array([self.shifts[0], self.shifts[-1]])
            edge_error = float(self._loss_error(ends).max())
        inside = (g > values[0]) & (g <= values[-1])
        if inside.any():
            found = np.maximum.accumulate(self._invert(g[inside]))
            x[inside] = found
            off = np.abs(self._loss(found) - g[inside]) + self._loss_error(found)
            edge_error += float(off.max()) * (1.0 + 1e-9)
        base, base_errors = self._masses(x, 0.0)
        base_tail, base_tail_error = self._tail(float(x[-1]), 0.0)
        p_masses, q_masses, rise = base.copy(), base.copy(), np.zeros_like(base)
        p_errors, q_errors, rise_errors = base_errors.copy(), base_errors.copy(), 0.0 * base
        tail, tail_error, excess, excess_error = base_tail, base_tail_error, 0.0, 0.0
        below = 0.0
        for c, p, q in zip(self.shifts, self.p, self.q, strict=True):
            ahead, ahead_error = self._tail(-float(x[0]), -c)
            below += p * (ahead + ahead_error)
            if c == 0.0:
                continue
            # the weight at 0 is what the others leave: differences from it lose nothing
            mass, errors = self._masses(x, c)
            mass, errors = mass - base, errors + base_errors
            beyond, beyond_error = self._tail(float(x[-1]), c)
            beyond, beyond_error = beyond - base_tail, beyond_error + base_tail_error
            p_masses += p * mass
            q_masses += q * mass
            rise += (p - q) * mass
            p_errors += p * errors
            q_errors += q * errors
            rise_errors += abs(p - q) * errors + 4.0 * ULP * abs(p - q) * np.abs(mass)
            tail += q * beyond
            tail_error += q * beyond_error
            excess += (p - q) * beyond
            excess_error += abs(p - q) * beyond_error + 4.0 * ULP * abs((p - q) * beyond)
        lift = np.expm1(np.minimum(g[:-1], LARGEST_EXPONENT))
        gaps = rise - lift * q_masses
        gap_errors = rise_errors + np.abs(lift) * q_errors
        gap_errors += 8.0 * ULP * (np.abs(rise) + np.abs(lift * q_masses)) + np.maximum(-gaps, 0.0)
        mass_errors = p_errors + 8.0 * ULP * np.abs(p_masses) + np.maximum(-p_masses, 0.0)
        # where e^g overflows: the gap is between 0 and P
        far = g[:-1] > LARGEST_EXPONENT
        gaps[far] = 0.5 * np.maximum(p_masses[far], 0.0)
        gap_errors[far] = gaps[far] + mass_errors[far]
        return Cells(
            first=first,
            masses=np.maximum(p_masses, 0.0),
            mass_errors=mass_errors * (1.0 + 1e-9) + 1e-300,
            gaps=np.maximum(gaps, 0.0),
            gap_errors=gap_errors * (1.0 + 1e-9) + 1e-300,
            edge_error=edge_error,
            below=below * (1.0 + 1e-12),
            cut_q=max(0.0, tail),
            cut_gap=max(0.0, excess),
            cut_q_error=(tail_error + 8.0 * ULP * abs(tail)) * (1.0 + 1e-9),
            cut_gap_error=(excess_error + max(0.0, -excess)) * (1.0 + 1e-9),
        )

    def _masses(self, x: Floats, c: float) -> tuple[Floats, Floats]:
        """Masses of the noise shifted by c between consecutive edges, and their errors."""
        if self.noise == "gaussian":
            return normal_masses((x - c) / self.scale, abs(c) / self.scale)
        z = (x - c) / self.scale
        left, right = z[:-1], z[1:]
        with np.errstate(invalid="ignore"):
            width = np.where(right == left, 0.0, np.diff(x) / self.scale)
        near = np.where(left > 0.0, left, -np.minimum(right, 0.0))
        one_side = -0.5 * np.exp(-near) * np.expm1(-width)
        across = -0.5 * np.expm1(np.minimum(left, 0.0)) - 0.5 * np.expm1(-np.maximum(right, 0.0))
        masses = np.where((left < 0.0) & (right > 0.0), across, one_side)
        finite = np.where(np.isfinite(near), near, 0.0)
        relative = 8.0 + 4.0 * (finite + 2.0 * abs(c) / self.scale)
        return masses, ULP * relative * masses

    def _tail(self, x: float, c: float) -> tuple[float, float]:
        """Mass of the noise shifted by c above x, and its error."""
        if self.noise == "gaussian":
            tail, error = normal_tail(np.array([-(x - c) / self.scale]), abs(c) / self.scale)
            return float(tail[0]), float(error[0])
        z = (x - c) / self.scale
        value = 0.5 * math.exp(-z) if z > 0.0 else 1.0 - 0.5 * math.exp(z)
        size = abs(z) if math.isfinite(z) else 0.0
        return value, ULP * (8.0 + 4.0 * (size + 2.0 * abs(c) / self.scale)) * value

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        if self.noise == "gaussian":
            low = self.shifts[0] - reach * self.scale
            high = self.shifts[-1] + reach * self.scale
        else:
            low, high = self.shifts[0], self.shifts[-1]
        x = np.linspace(low, high, 1201)
        edges = np.concatenate(([-math.inf], 0.5 * (x[1:] + x[:-1]), [math.inf]))
        weights = np.zeros(len(x))
        for c, p in zip(self.shifts, self.p, strict=True):
            weights += p * self._masses(edges, c)[0]
        return Sketch(np.maximum.accumulate(self._loss(x)), weights)

    def delta(self, epsilon: float) -> tuple[float, float]:
        """By a threshold: any gives a lower bound, and the loss tells how much more there is."""
        points, values, _ = self._table
        if epsilon >= self.largest_loss:
            return 0.0, 0.0
        if epsilon > min(values[-1], 600.0):
            # at most P beyond a point where the loss is less
            x = self._below(min(epsilon, values[-1], 600.0), float(points[-1]))
            return 0.0, min(1.0, self._p_tail(x) + 1e-300)
        x = -math.inf
        if epsilon > values[0]:
            x = float(self._invert(np.array([epsilon]))[0])
        lift = math.expm1(epsilon)
        base, base_error = self._tail(x, 0.0)
        value, error, size = -lift * base, lift * base_error, lift * base
        for c, p, q in zip(self.shifts, self.p, self.q, strict=True):
            if c == 0.0:
                continue
            tail, tail_error = self._tail(x, c)
            weight = (p - q) - lift * q
            value += weight * (tail - base)
            error += (abs(p - q) + lift * q) * (tail_error + base_error)
            size += (abs(p - q) + lift * q) * (tail + base)
        error += 8.0 * ULP * (1.0 + epsilon) * size
        lower, upper = max(0.0, value - error), max(0.0, value) + error
        if math.isfinite(x):
            # another threshold adds at most (1 - e^(epsilon - L)) P between the two
            at = np.array([x])
            off = abs(float(self._loss(at)[0]) - epsilon) + float(self._loss_error(at)[0])
            upper += 2.0 * off * self._p_tail(self._below(epsilon, x))
        return lower, min(1.0, upper * (1.0 + 8.0 * ULP) + 1e-300)

    def _below(self, epsilon: float, x: float) -> float:
        """A point next to x at which the loss is proved to be less than epsilon."""
        step = 1e-9 * self.scale
        for _ in range(60):
            at = np.array([x])
            if float(self._loss(at)[0] + self._loss_error(at)[0]) < epsilon:
                return x
            x -= step
            step *= 2.0
        return -math.inf

    def _p_tail(self, x: float) -> float:
        """Upper bound of P beyond x."""
        tails = [(p, self._tail(x, c)) for c, p in zip(self.shifts, self.p, strict=True)]
        return math.fsum(p * (tail + error) for p, (tail, error) in tails) * (1.0 + 8.0 * ULP)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return _moment(self, theta)

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        if math.isfinite(self.largest_loss):
            return self.largest_loss
        # further out no mass is a normal double
        x = min(self._far(theta), self.shifts[-1] + 36.0 * self.scale)
        return float(self._loss(np.array([x]))[0])

    def _far(self, theta: float) -> float:
        """Beyond the bulk of P^(theta+1) Q^(-theta) on the right."""
        top = self.shifts[-1]
        last = max(c for c, q in zip(self.shifts, self.q, strict=True) if q > 0.0)
        return top + theta * (top - last) + 12.0 * self.scale

    def tail_moment(self, theta: float, level: float) -> float:
        """Above x, beyond the largest shift, P <= w N(top) and Q >= q N(last): a Gaussian tail."""
        if level >= self.largest_loss:
            return -math.inf
        if self.noise == "laplace":
            return self.log_moment(theta)
        top = self.shifts[-1]
        last, q = max((c, q) for c, q in zip(self.shifts, self.q, strict=True) if q > 0.0)
        s = self.scale
        # an x at or below where the loss reaches the level
        x = min(self._far(theta), float(self._invert(np.array([level]))[0])) - 1e-6 * s
        while x > top and float(self._loss(np.array([x]))[0]) > level:
            x -= 1e-3 * s
        if x < top:
            return math.inf
        move = top + theta * (top - last)
        parts = [(c, p) for c, p in zip(self.shifts, self.p, strict=True) if p > 0.0]
        above = [math.log(p) - (top - c) * (x - 0.5 * (top + c)) / (s * s) for c, p in parts]
        value = (theta + 1.0) * log_add(*above) - theta * math.log(q)
        value += 0.5 * theta * (theta + 1.0) * ((top - last) / s) ** 2
        tail = float(special.log_ndtr((move - x) / s))
        size = abs(theta * math.log(q)) + (theta + 1.0) * (1.0 + max(map(abs, above)))
        return value + min(0.0, tail) + 1e-12 * (size + abs(value) + abs(tail))


@lru_cache(maxsize=4096)
def _moment(pair: LocationPair, theta: float) -> float:
    return bounded_moment(pair, theta)
