"""Noise of binary-tree aggregation, step by step, in logarithmically many model copies of memory.

A tree releases the noisy sum of every complete dyadic block of steps; the prefix sum of t steps is
estimated by the sum of one estimate for each block of t's binary expansion.  Before step t these
blocks are those of t - 1, and those smaller than the new one, of 2^h steps, merge into it: the
noise of step t is the new block's minus theirs.  Of what goes into the new estimate for the first
time nothing is used again, so that one normal row per step has the law of all released prefix sums.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from accountant.parameters import short, whole_count
from mechanisms.noise.filters import Draw, Floats, Values, digest_of

__all__ = ["MOST_STEPS", "MOST_TREES", "StreamedEstimator", "TreeFilter"]

StreamedEstimator = Literal["plain", "online"]

MOST_STEPS = 2**40
MOST_TREES = 1_000_000


@dataclass(frozen=True)
class TreeFilter:
    """The noise of one tree after another, as a filter of `mechanisms.noise.filters`.

    Attributes
    ----------
    steps
        Rows of noise, 1 to 2^40.
    restart_every
        Steps of a tree; the last tree may have fewer.
    estimator
        Of a block's sum: "plain", its own node; "online", all nodes below it too, weighted by
        their variances (Honaker 2015), which leaves 1/(2 - 2^-h) of a node's.
    completed
        Whether a tree is filled up to a power of two with virtual steps, known to be 0, before the
        next one starts: all its steps then count as one block, estimated in the same way.

    Raises
    ------
    ValueError
        An attribute is outside its domain.
    """

    steps: int
    restart_every: int
    estimator: StreamedEstimator = "plain"
    completed: bool = False

    def __post_init__(self) -> None:
        steps = whole_count(self.steps, "steps", 1)
        if steps > MOST_STEPS:
            raise ValueError(f"steps must be at most 2^40 for a tree, got {steps}")
        every = min(steps, whole_count(self.restart_every, "restart_every", 1))
        if -(-steps // every) > MOST_TREES:
            raise ValueError(
                f"restart_every must leave at most {MOST_TREES:,} trees, got {every} for {steps} "
                "steps; restart less often"
            )
        if self.estimator not in ("plain", "online"):
            raise ValueError(f'estimator must be "plain" or "online", got {short(self.estimator)}')
        if not isinstance(self.completed, bool):
            raise ValueError(f"completed must be True or False, got {short(self.completed)}")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "restart_every", every)

    @property
    def memory(self) -> int:
        """Arrays of the model's size: ceil(log2) of a tree's steps."""
        return (self.restart_every - 1).bit_length()

    @cached_property
    def own_weights(self) -> Floats:
        """Of a node in its block's estimate, for blocks of 2^h steps: shape (heights,).

        The halves' estimates have the rest.  It is the estimate's variance too.
        """
        heights = np.arange(self.restart_every.bit_length(), dtype=np.float64)
        if self.estimator == "plain":
            return np.ones_like(heights)
        weights: Floats = 1.0 / (2.0 - np.exp2(-heights))
        return weights

    @cached_property
    def merged_weights(self) -> Floats:
        """Of the block of 2^i steps in the one of 2^h that it merges into, at [h, i], i < h.

        The product of the halves' weights on the way: ``(2^(i+1) - 1)/(2^(h+1) - 1)`` online.
        """
        sizes = np.exp2(np.arange(1.0, len(self.own_weights) + 1.0)) - 1.0
        weights = np.tril(sizes / sizes[:, None], -1)
        return weights if self.estimator == "online" else np.zeros_like(weights)

    @cached_property
    def fresh_deviations(self) -> Floats:
        """Standard deviation of what is new in the estimate of a block of 2^h steps."""
        sizes = np.exp2(np.arange(1.0, len(self.own_weights) + 1.0))
        if self.estimator == "plain":
            return np.ones_like(sizes)
        deviations: Floats = np.sqrt((sizes + 1.0) / (3.0 * (sizes - 1.0)))
        return deviations

    @cached_property
    def root_weights(self) -> Floats:
        """Own weights of a completed tree's last nodes: [i] of the one over 2^(i+1) steps.

        They are those that virtual steps complete, from the smallest on; others have NaN.
        """
        every = self.restart_every
        weights = np.full((every - 1).bit_length(), np.nan)
        smallest = (every & -every).bit_length() - 1
        variance = self.own_weights[smallest]
        for i in range(smallest, len(weights)):
            if i > smallest and every >> i & 1:
                variance += self.own_weights[i]
            is_root = i == len(weights) - 1
            weights[i] = float(is_root) if self.estimator == "plain" else 1 / (1 + 1 / variance)
            variance = weights[i] ** 2 + (1.0 - weights[i]) ** 2 * variance
        return weights

    @cached_property
    def closing(self) -> tuple[Floats, float]:
        """How a tree's steps are estimated once it is over.

        The weight of each block of 2^i steps that is left, shape (heights,), 0 where there is none;
        and the standard deviation of what is new.
        """
        every = self.restart_every
        left = np.array([float(every >> i & 1) for i in range(every.bit_length())])
        if not self.completed or every & (every - 1) == 0:
            return left, 0.0
        smallest = (every & -every).bit_length() - 1
        fresh, seen = 0.0, np.zeros_like(left)
        seen[smallest] = 1.0
        for i in range(smallest, len(self.root_weights)):
            if i > smallest:
                seen[i] = left[i]
            own = self.root_weights[i]
            seen *= 1.0 - own
            fresh = own**2 + (1.0 - own) ** 2 * fresh
        return seen, float(np.sqrt(fresh))

    def advance(self, step: int, state: Values, draw: Draw, out: Values) -> None:
        """Write row ``step`` of the noise; see `mechanisms.noise.filters.NoiseFilter.advance`.

        Rows `steps`, `steps` + 1, ... of Z are for the completion of the first tree, the second.
        """
        tree, place = divmod(step, self.restart_every)
        out[:] = 0.0
        if place == 0 and tree > 0 and self.completed:
            weights, deviation = self.closing
            if deviation > 0.0:
                out += deviation * draw(self.steps + tree - 1)
            for i, weight in enumerate(weights):
                if weight < 1.0 and self.restart_every >> i & 1:
                    out -= (1.0 - weight) * state[i]
        height = (~place & (place + 1)).bit_length() - 1
        new = draw(step)
        new *= self.fresh_deviations[height]
        merged = self.merged_weights[height]
        for i in range(height):
            out -= state[i]
            if merged[i]:
                new += merged[i] * state[i]
        out += new
        if height < self.memory:
            state[height] = new

    def decoder(self) -> Floats:
        """The matrix from the rows of Z to those of noise, shape (steps, rows that are drawn)."""
        trees = -(-self.steps // self.restart_every)
        rows = np.eye(self.steps + (trees - 1 if self.completed else 0))
        state = np.zeros((self.memory, len(rows)))
        result = np.empty((self.steps, len(rows)))
        for step in range(self.steps):
            self.advance(step, state, lambda j: rows[j].copy(), result[step])
        return result

    def digest(self) -> str:
        """A hash of the content; see `mechanisms.noise.filters.digest_of`."""
        numbers = [self.steps, self.restart_every, self.estimator == "online", self.completed]
        return digest_of("tree", numbers)
