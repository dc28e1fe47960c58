"""Pairs made of pairs: one for each direction, a choice that is seen, a symmetric hull."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from accountant.losses.cells import Cells, Floats, Sketch
from accountant.losses.kernels import ULP
from accountant.losses.pair import DominatingPair, bounded_moment, log_add


@dataclass(frozen=True)
class DirectedPair:
    """Two pairs, one for each direction, where neither is the other's mirror image."""

    remove: DominatingPair
    add: DominatingPair

    @property
    def order(self) -> tuple[Any, ...]:
        """A sort key."""
        return ("directed", *self.remove.order, *self.add.order)


def facing(pair: DominatingPair | DirectedPair, add: bool) -> DominatingPair:
    """The pair of one direction."""
    if isinstance(pair, DirectedPair):
        return pair.add if add else pair.remove
    return pair.swapped if add else pair


@dataclass(frozen=True)
class UnionPair:
    """One of several pairs, drawn with the given weights, and the draw is seen.

    By joint convexity it dominates the release in which the draw stays hidden.

    Parameters
    ----------
    weights, pairs
        Positive weights of sum 1, and as many pairs.
    """

    weights: tuple[float, ...]
    pairs: tuple[DominatingPair, ...]

    @cached_property
    def swapped(self) -> UnionPair:
        """See ``DominatingPair``."""
        return UnionPair(self.weights, tuple(pair.swapped for pair in self.pairs))

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        return max(pair.largest_loss for pair in self.pairs)

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return self._sum([pair.escaped for pair in self.pairs])

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("union", self.weights, *(pair.order for pair in self.pairs))

    def _sum(self, values: list[float]) -> float:
        total = math.fsum(w * v for w, v in zip(self.weights, values, strict=True))
        return total * (1.0 + 4.0 * ULP)

    def cells(self, step: float, first: int, last: int) -> Cells:
        """See ``DominatingPair``."""
        found = [pair.cells(step, first, last) for pair in self.pairs]

        def total(name: str) -> Any:
            return sum(w * getattr(c, name) for w, c in zip(self.weights, found, strict=True))

        masses, gaps = total("masses"), total("gaps")
        return Cells(
            first=first,
            masses=masses,
            mass_errors=total("mass_errors") + 8.0 * ULP * masses,
            gaps=gaps,
            gap_errors=total("gap_errors") + 8.0 * ULP * gaps,
            edge_error=max(c.edge_error for c in found),
            below=total("below") * (1.0 + 8.0 * ULP),
            cut_q=total("cut_q"),
            cut_gap=total("cut_gap"),
            cut_q_error=total("cut_q_error") + 8.0 * ULP * total("cut_q"),
            cut_gap_error=total("cut_gap_error") + 8.0 * ULP * total("cut_gap"),
        )

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        found = [pair.sketch(reach) for pair in self.pairs]
        losses = np.concatenate([s.losses for s in found])
        weights = np.concatenate([w * s.weights for w, s in zip(self.weights, found, strict=True)])
        order = np.argsort(losses, kind="stable")
        return Sketch(losses[order], weights[order])

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        found = [pair.delta(epsilon) for pair in self.pairs]
        lower = self._sum([f[0] for f in found]) * (1.0 - 16.0 * ULP)
        return lower, min(1.0, self._sum([f[1] for f in found]) * (1.0 + 8.0 * ULP))

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return self._log_sum([pair.log_moment(theta) for pair in self.pairs])

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return max(pair.level(theta) for pair in self.pairs)

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        return self._log_sum([pair.tail_moment(theta, level) for pair in self.pairs])

    def _log_sum(self, logs: list[float]) -> float:
        return log_add(*(math.log(w) + x for w, x in zip(self.weights, logs, strict=True)))


@dataclass(frozen=True)
class SymmetricPair:
    """The smallest symmetric pair above one whose positive losses are the larger.

    For u >= 1 its divergence H_u is that of ``pair``; H_u = 1 - u + u H_(1/u) gives the rest.  The
    mass that is left has loss 0: the segment of slope -1 of a fixed-size batch (docs/pairs.md).
    """

    pair: DominatingPair

    @property
    def swapped(self) -> SymmetricPair:
        """See ``DominatingPair``."""
        return self

    @property
    def largest_loss(self) -> float:
        """See ``DominatingPair``."""
        return self.pair.largest_loss

    @property
    def escaped(self) -> float:
        """See ``DominatingPair``."""
        return self.pair.escaped

    @property
    def order(self) -> tuple[Any, ...]:
        """See ``DominatingPair``."""
        return ("symmetric", *self.pair.order)

    def cells(self, step: float, first: int, last: int) -> Cells:
        """Cells of both signs: those of positive loss, their mirror images, and what is left."""
        most = max(last, -first, 1)
        c = self.pair.cells(step, 0, most)
        masses, q, rise, idle = self._halves(c, step)
        down = -math.expm1(-step)
        decay = np.exp(-step * np.arange(most))
        # the image of cell k lies in [-(k+1) h, -k h]: P and Q change places
        image_gaps = decay * np.maximum(down * masses - c.gaps, 0.0)
        image_gap_errors = decay * (down * c.mass_errors + c.gap_errors)
        image_gap_errors += 4.0 * ULP * decay * (down * masses + c.gaps)
        q_errors = (c.mass_errors + c.gap_errors) * decay + 4.0 * ULP * q
        error = float(c.mass_errors.sum() + q_errors.sum()) + 2.0 * c.cut_q_error + c.cut_gap_error
        error += 16.0 * ULP * (1.0 + most * ULP)
        all_p = np.concatenate((q[::-1], masses))
        all_q = np.concatenate((masses[::-1], q))
        all_errors = np.concatenate((q_errors[::-1], c.mass_errors))
        gaps = np.concatenate((image_gaps[::-1], c.gaps))
        gap_errors = np.concatenate((image_gap_errors[::-1], c.gap_errors))
        rises = np.concatenate((-rise[::-1], rise))
        rise_errors = c.gap_errors - np.expm1(-step * np.arange(most)) * c.mass_errors
        rise_errors = np.concatenate((rise_errors[::-1], rise_errors))
        # what never shows: P and Q alike
        for array, value in ((all_p, idle), (all_q, idle), (all_errors, error)):
            array[most] += value
        begin, end = most + first, most + last
        cut_q = float(all_q[end:].sum()) + c.cut_q
        cut_gap = float(rises[end:].sum()) + c.cut_gap
        q_error = float((all_errors[end:] + rise_errors[end:]).sum()) + c.cut_q_error
        gap_error = float(rise_errors[end:].sum()) + c.cut_gap_error
        below = float(all_p[:begin].sum() + all_errors[:begin].sum()) + c.cut_q + c.cut_q_error
        return Cells(
            first=first,
            masses=all_p[begin:end],
            mass_errors=all_errors[begin:end],
            gaps=gaps[begin:end],
            gap_errors=gap_errors[begin:end],
            edge_error=c.edge_error,
            below=below * (1.0 + 1e-12),
            cut_q=cut_q,
            cut_gap=max(0.0, cut_gap),
            cut_q_error=q_error + 8.0 * ULP * cut_q,
            cut_gap_error=gap_error + 8.0 * ULP * (float(np.abs(rises[end:]).sum()) + c.cut_gap),
        )

    @staticmethod
    def _halves(c: Cells, step: float) -> tuple[Floats, Floats, Floats, float]:
        """P, Q and P - Q of the cells of positive loss, and the mass that is left for loss 0.

        What the pair itself has at loss 0 is in its first cell and in the mirror image of that:
        where all masses exceed 1, it is counted too often by the excess (docs/pairs.md).
        """
        turned = np.maximum(c.masses - c.gaps, 0.0)
        masses, q = c.masses.copy(), turned * np.exp(-step * np.arange(len(c.masses)))
        rise: Floats = c.gaps - turned * np.expm1(-step * np.arange(len(c.masses)))
        idle = 1.0 - (float(masses.sum() + q.sum()) + 2.0 * c.cut_q + c.cut_gap)
        twice = min(max(0.0, -0.5 * idle), float(masses[0]), float(q[0]))
        masses[0] -= twice
        q[0] -= twice
        return masses, q, rise, max(0.0, idle)

    def sketch(self, reach: float) -> Sketch:
        """See ``DominatingPair``."""
        found = self.pair.sketch(reach)
        up = found.losses > 0.0
        losses, p = found.losses[up], found.weights[up]
        q = p * np.exp(-losses)
        idle = max(0.0, 1.0 - float(p.sum() + q.sum()))
        return Sketch(
            np.concatenate((-losses[::-1], [0.0], losses)), np.concatenate((q[::-1], [idle], p))
        )

    def delta(self, epsilon: float) -> tuple[float, float]:
        """See ``DominatingPair``."""
        return self.pair.delta(epsilon)

    def log_moment(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return _moment(self, theta)

    def level(self, theta: float) -> float:
        """See ``DominatingPair``."""
        return self.pair.level(theta)

    def tail_moment(self, theta: float, level: float) -> float:
        """See ``DominatingPair``."""
        return self.pair.tail_moment(theta, level)


@lru_cache(maxsize=4096)
def _moment(pair: SymmetricPair, theta: float) -> float:
    return bounded_moment(pair, theta)
