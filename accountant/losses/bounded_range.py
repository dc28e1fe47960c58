"""The exponential mechanism and all others of bounded range: the envelope of their losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from accountant.losses.cells import Cells, Floats, Sketch
from accountant.losses.kernels import ULP
from accountant.losses.pair import bounded_moment


@dataclass(frozen=True)
class BoundedRangePair:
    """The envelope of all pairs whose loss has range ``epsilon``, Poisson-sampled with ``q``.

    ``delta(x) = (1 - e^((x-epsilon)/2))^2/(1 - e^(-epsilon))`` for |x| <= epsilon is the largest
    hockey-stick divergence over all of them; it belongs to a pair without atoms, which is its own
    mirror image (docs/pairs.md).  ``add`` is the pair (Q, (1-q) Q + q P).
    """

    epsilon: float
    q: float = 1.0
    add: bool = False

    @property
    def swapped(self) -> BoundedRangePair:
        """See ``DominatingPair``."""
        return self if self.q == 1.0 else replace(self, add=not self.add)

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        inner = -self.epsilon if self.add else self.epsilon
        return float(abs(self._outer(np.array([inner]))[0])) * (1.0 + 16.0 * ULP)

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return 0.0

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("bounded range", self.epsilon, self.q, self.add)

    def _outer(self, loss: Floats) -> Floats:
        """The sampled release's loss, of (1-q) Q + q P over Q, where that of P over Q is given."""
        if self.q == 1.0:
            return loss
        result: Floats = np.log1p(self.q * np.expm1(loss))
        return result

    def _inner(self, loss: Floats) -> Floats:
        if self.q == 1.0:
            return loss
        inside = np.expm1(np.minimum(loss, 700.0)) / self.q
        lowest = math.expm1(-self.epsilon)
        within = inside > lowest
        result: Floats = np.full_like(inside, -self.epsilon)
        result[within] = np.log1p(inside[within])
        return result

    def _between(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """P- and Q-mass of inner losses within [low, high], both within [-epsilon, epsilon]."""
        # P[L > x] = (1 - e^((x-epsilon)/2))/(1 - e^-epsilon), Q[L > x] = e^(-(x+epsilon)/2) - ...
        whole = -math.expm1(-self.epsilon)
        half = 0.5 * (high - low)
        p = np.exp(0.5 * (low - self.epsilon)) * np.expm1(half) / whole
        q = -np.exp(-0.5 * (low + self.epsilon)) * np.expm1(-half) / whole
        return p, q

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        g: Floats = step * np.arange(first, last + 1, dtype=np.float64)
        edges = np.clip(self._inner(-g if self.add else g), -self.epsilon, self.epsilon)
        if self.add:
            p, q = (a for a in self._between(edges[1:], edges[:-1]))
        else:
            p, q = self._between(edges[:-1], edges[1:])
        lift = np.expm1(g[:-1])
        # (1-q) Q + q P over Q, or Q over it; rise is their difference without cancellation
        mixed_rise = self.q * (p - q)
        if self.add:
            numerator, gaps = q, -mixed_rise - lift * (q + mixed_rise)
            size = np.abs(lift) * ((1.0 - self.q) * q + self.q * (p + q))
        else:
            numerator, gaps = q + mixed_rise, mixed_rise - lift * q
            size = np.abs(lift) * q
        size += np.abs(mixed_rise) + self.q * (p + q)
        relative = 16.0 * ULP * (1.0 + self.epsilon)
        end = float(edges[-1])
        lowest, highest = np.array([-self.epsilon]), np.array([self.epsilon])
        if self.add:
            cut_p, cut_q = (float(a[0]) for a in self._between(lowest, np.array([end])))
            below_p, below_q = (float(a[0]) for a in self._between(edges[:1], highest))
            below, cut_gap = below_q, -self.q * (cut_p - cut_q)
            cut_q += self.q * (cut_p - cut_q)
        else:
            cut_p, cut_q = (float(a[0]) for a in self._between(np.array([end]), highest))
            below_p, below_q = (float(a[0]) for a in self._between(lowest, edges[:1]))
            below, cut_gap = below_q + self.q * (below_p - below_q), self.q * (cut_p - cut_q)
        tail_error = 4.0 * relative * (cut_p + cut_q)
        return Cells(
            first=first,
            masses=np.maximum(numerator, 0.0),
            mass_errors=relative * (p + q),
            gaps=np.maximum(gaps, 0.0),
            gap_errors=relative * size + np.maximum(-gaps, 0.0),
            # the edges, doubles, define the cells; the losses at them are off by this
            edge_error=16.0
            * ULP
            * (1.0 + self.epsilon)
            * max(self.largest_loss, self.swapped.largest_loss),
            below=below * (1.0 + 1e-12) + relative,
            cut_q=max(0.0, cut_q),
            cut_gap=max(0.0, cut_gap),
            cut_q_error=tail_error,
            cut_gap_error=self.q * tail_error + max(0.0, -cut_gap),
        )

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        edges = np.linspace(-self.epsilon, self.epsilon, 1001)
        p, q = self._between(edges[:-1], edges[1:])
        # with both ends, so that no cut falls short of them
        p, q = (np.concatenate(([0.0], a, [0.0])) for a in (p, q))
        losses = self._outer(
            np.concatenate((edges[:1], 0.5 * (edges[1:] + edges[:-1]), edges[-1:]))
        )
        if self.add:
            return Sketch(-losses[::-1], q[::-1])
        return Sketch(losses, q + self.q * (p - q))

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        if epsilon >= self.largest_loss:
            return 0.0, 0.0
        rise = math.expm1(epsilon)
        if self.add:
            # H_u(Q || M) with M = (1-q) Q + q P: (1 - u (1-q)) H_k(Q || P), k = u q/(1 - u (1-q))
            scale = self.q - (1.0 - self.q) * rise
            slip = 4.0 * ULP * (self.q + rise)
            if scale <= slip:
                return 0.0, max(0.0, scale) + slip
            inner, scale_error = epsilon + math.log(self.q / scale), slip / scale
        else:
            inner, scale, scale_error = math.log1p(rise / self.q), self.q, 0.0
        # the inner loss is off by this at most; the divergence falls with it
        off = 8.0 * ULP * (1.0 + abs(inner)) + 2.0 * scale_error
        low, high = (scale * self._plain(inner + move) for move in (off, -off))
        relative = 32.0 * ULP + scale_error
        return low * (1.0 - relative), min(1.0, high * (1.0 + relative) + 1e-300)

    def _plain(self, loss: float) -> float:
        """The divergence of the release of everything."""
        if loss >= self.epsilon:
            return 0.0
        if loss <= -self.epsilon:
            return -math.expm1(loss)
        return math.expm1(0.5 * (loss - self.epsilon)) ** 2 / -math.expm1(-self.epsilon)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return _moment(self, theta)

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return self.largest_loss

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        return -math.inf if level >= self.largest_loss else self.log_moment(theta)


@lru_cache(maxsize=4096)
def _moment(pair: BoundedRangePair, theta: float) -> float:
    return bounded_moment(pair, theta)
