"""Discrete pairs: losses with finitely many values, listed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from accountant.losses.cells import Cells, Floats, Sketch
from accountant.losses.kernels import ULP

# Atoms that are summed at every node of a contour.
MOST_ON_CONTOUR = 1024


@dataclass(frozen=True, eq=False)
class Atoms:
    """Finitely many outcomes with loss ``losses[i]`` and P-mass ``p[i]``; Q-mass p exp(-loss).

    Parameters
    ----------
    losses, p
        Shape (m,), losses increasing and finite; masses positive.
    p_only, q_only
        Mass of P where Q has none, and of Q where P has none.
    error
        Bound on the relative error of every mass.
    loss_error
        Bound on the absolute error of every loss.
    """

    losses: Floats
    p: Floats
    p_only: float = 0.0
    q_only: float = 0.0
    error: float = 16.0 * ULP
    loss_error: float = 0.0
    _key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        scalars = np.array([self.p_only, self.q_only, self.error, self.loss_error])
        digest = hashlib.sha256()
        for array in (self.losses, self.p, scalars):
            array.setflags(write=False)
            digest.update(np.ascontiguousarray(array).tobytes())
        object.__setattr__(self, "_key", digest.digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atoms) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("atoms", self._key)

    @cached_property
    def swapped(self) -> Atoms:
        """See ``DominatingPair``."""
        q = self.p * np.exp(-self.losses)
        keep = q > 0.0
        error = self.error + 4.0 * ULP * (1.0 + float(np.abs(self.losses).max(initial=0.0)))
        return Atoms(
            np.ascontiguousarray(-self.losses[keep][::-1]),
            np.ascontiguousarray(q[keep][::-1]),
            self.q_only + (1e-300 if not keep.all() else 0.0),
            self.p_only,
            error + self.loss_error,
            self.loss_error,
        )

    @property
    def _edge(self) -> float:
        return self.loss_error + 4.0 * ULP * float(np.abs(self.losses).max(initial=0.0))

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        return float(self.losses[-1]) + self._edge if len(self.losses) else -math.inf

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return self.p_only * (1.0 + self.error)

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        places = np.floor(self.losses / step)
        below = places < first
        beyond = places >= last
        inside = ~(below | beyond)
        index = (places[inside] - first).astype(np.int64)
        count = last - first
        losses, p = self.losses[inside], self.p[inside]
        masses: Floats = np.bincount(index, p, count).astype(np.float64)
        lower_ends = step * (first + index)
        rises = np.maximum(-p * np.expm1(lower_ends - losses), 0.0)
        gaps: Floats = np.bincount(index, rises, count).astype(np.float64)
        far, far_p = self.losses[beyond], self.p[beyond]
        q = far_p * np.exp(-far)
        relative = (self.error + 8.0 * ULP) * (1.0 + len(p) * ULP)
        spread = self._edge
        cut_gap = float((-far_p * np.expm1(-far)).sum()) + self.p_only
        cut_q = float(q.sum())
        return Cells(
            first=first,
            masses=masses,
            mass_errors=relative * masses,
            gaps=gaps,
            # losses that are off move Q against P
            gap_errors=relative * gaps + 1.01 * spread * masses,
            edge_error=spread,
            below=float(self.p[below].sum()) * (1.0 + relative),
            cut_q=cut_q,
            cut_gap=max(0.0, cut_gap),
            cut_q_error=(relative + 2.0 * spread) * cut_q,
            cut_gap_error=relative * abs(cut_gap) + 2.0 * spread * cut_q,
        )

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        if len(self.losses) <= 4096:
            return Sketch(self.losses, self.p)
        # thin out by summing neighbours
        edges = np.linspace(0, len(self.losses), 2049).astype(np.int64)[:-1]
        p = np.add.reduceat(self.p, edges)
        # with both ends, so that no cut falls short of them
        middle = np.add.reduceat(self.p * self.losses, edges) / p
        losses = np.concatenate((self.losses[:1], middle, self.losses[-1:]))
        return Sketch(losses, np.concatenate(([0.0], p, [0.0])))

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        above = self.losses > epsilon
        losses, p = self.losses[above], self.p[above]
        value = self.p_only + float((-p * np.expm1(epsilon - losses)).sum())
        moved = self._edge + 2.0 * ULP * epsilon
        error = (self.error + 8.0 * ULP) * value + moved * float(p.sum())
        # atoms within rounding of epsilon
        near = self.p[(self.losses <= epsilon) & (self.losses > epsilon - 2.0 * moved)]
        error += 2.0 * moved * float(near.sum())
        return max(0.0, value - error), min(1.0, value + error)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        if not len(self.losses):
            return -math.inf
        exponents = theta * self.losses
        top = float(exponents.max())
        total = float((self.p * np.exp(exponents - top)).sum())
        slack = self.error + len(self.p) * ULP + theta * self._edge + 8.0 * ULP * (1.0 + abs(top))
        return top + math.log(total) + slack + 1e-14

    @property
    def on_contour(self) -> bool:
        """Whether its moment generating function is summed atom by atom on a contour."""
        return len(self.losses) <= MOST_ON_CONTOUR and self.p_only == 0.0 and self.q_only == 0.0

    def cumulants(self, theta: float) -> tuple[float, float, float, float]:
        """K(theta) = log E_P[exp(theta L)], two derivatives, and an error bound; theta >= 0."""
        exponents = theta * self.losses
        top = float(exponents.max())
        weights = self.p * np.exp(exponents - top)
        total = float(weights.sum())
        mean = float(weights @ self.losses) / total
        variance = float(weights @ np.square(self.losses - mean)) / total
        k = top + math.log(total)
        # what the sum gains on 1 is small where the losses are: no digits are claimed beyond it
        error = self.error + len(self.p) * ULP + theta * self._edge + 8.0 * ULP * (1.0 + abs(top))
        return k, mean, variance, error

    def line(self, theta: float, t: Floats) -> tuple[Floats, Floats, Floats]:
        """Log phi(theta + i t): real part, imaginary part (up to 2 pi), error bound."""
        exponents = theta * self.losses
        weights = self.p * np.exp(exponents - exponents.max())
        angles = np.multiply.outer(t, self.losses)
        values = np.exp(1j * angles) @ weights
        total = float(weights.sum())
        relative = self.error + len(self.p) * ULP + 8.0 * ULP
        reach = (theta + t) * (self._edge + ULP * float(np.abs(self.losses).max()))
        size = np.abs(values)
        absolute = total * (relative + 2.0 * reach)
        error = absolute / np.maximum(size - absolute, 1e-300)
        real = float(exponents.max()) + np.log(np.maximum(size, absolute))
        return real, np.angle(values), error + 8.0 * ULP * (1.0 + np.abs(real))

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return self.largest_loss

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        return -math.inf if level >= self.largest_loss else self.log_moment(theta)

    def poisson(self, q: float) -> Atoms:
        """The pair ((1-q) Q + q P, Q) of the Poisson-sampled release."""
        q_mass = self.p * np.exp(-self.losses)
        rise = q * np.expm1(self.losses)
        losses = np.log1p(rise)
        # where e^loss may overflow, or its complement cancels: by the logarithms
        far = (self.losses > 30.0) & (rise > 1.0)
        rest = (1.0 - q) / q * np.exp(-self.losses[far])
        losses[far] = self.losses[far] + math.log(q) + np.log1p(rest)
        low = rise < -0.5
        losses[low] = np.log(1.0 - q + q * np.exp(self.losses[low]))
        p = q_mass * (1.0 - q) + q * self.p
        scale = 1.0 + float(np.abs(self.losses).max(initial=0.0))
        if self.q_only > 0.0:
            losses = np.concatenate(([math.log1p(-q)], losses))
            p = np.concatenate(([(1.0 - q) * self.q_only], p))
        keep = p > 0.0
        # d loss'/d loss = q e^loss / (1 - q + q e^loss) <= min(1, q e^largest)
        slope = min(1.0, q * math.exp(min(self.losses.max(initial=0.0), 700.0)))
        largest = float(np.abs(losses).max(initial=0.0))
        return Atoms(
            np.ascontiguousarray(losses[keep]),
            np.ascontiguousarray(p[keep]),
            q * self.p_only,
            0.0,
            self.error + 1.01 * self.loss_error + 16.0 * ULP * scale,
            self._edge * slope + 16.0 * ULP * largest,
        )


def atoms_of(p: Floats, q: Floats, error: float = 16.0 * ULP, loss_error: float = 0.0) -> Atoms:
    """Atoms from the masses of two distributions on the same outcomes; equal losses are merged."""
    both = (p > 0.0) & (q > 0.0)
    losses = np.log(p[both]) - np.log(q[both])
    values, places = np.unique(losses, return_inverse=True)
    masses: Floats = np.bincount(places, p[both], len(values)).astype(np.float64)
    logs = np.abs(np.log(np.concatenate((p[both], q[both]))))
    return Atoms(
        values,
        masses,
        float(p[q <= 0.0].sum()),
        float(q[p <= 0.0].sum()),
        error,
        loss_error + 4.0 * ULP * float(logs.max(initial=0.0)),
    )


__all__ = ["Atoms", "atoms_of"]
