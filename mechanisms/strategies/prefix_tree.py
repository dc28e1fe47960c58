"""Binary trees of which nothing but the estimated prefix sums is released."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np

from accountant.parameters import short
from mechanisms.participation import Participation, checked
from mechanisms.sensitivity import ONE_COLUMN, Sensitivity, of_gram, rounded_up
from mechanisms.strategies.base import Array
from mechanisms.strategies.tree import BinaryTree
from mechanisms.workloads import LARGEST_VECTOR, refuse_large_matrix

__all__ = ["PrefixTree"]

# Of C^T C, which bounds several participations: some seconds.
_MOST_STEPS: Final = 4096
_MOST_WORK: Final = 1e9


class PrefixTree(BinaryTree):
    """The prefix sums that a binary tree estimates, and nothing else of it.

    The noise is that of `BinaryTree`, and so are the errors; but what a run shows are its prefix
    sums, which reveal less than all nodes do, so that the same noise costs less.  As functions of
    independent normals, one per step, they are a square C: with the plain estimator its rows add up
    the blocks of 2^h steps that end at t, 2^h the largest power of two that divides t; with the
    online one they weight what is new at t by its precision.

    Parameters
    ----------
    steps : int
        Steps of the run, 1 to 2^40.
    restart_every : int, optional
        Steps of a tree, after which the next one starts; without it, one tree.
    estimator : {"plain", "online"}
        As in `BinaryTree`.

    Examples
    --------
    >>> round(BinaryTree(256, estimator="online").rmse(), 3)
    4.65
    >>> round(PrefixTree(256, estimator="online").rmse(), 3)
    4.323
    """

    name: ClassVar[str] = "prefix_tree"

    def __init__(
        self,
        steps: int,
        restart_every: int | None = None,
        *,
        estimator: Literal["plain", "online"] = "plain",
    ) -> None:
        if estimator not in ("plain", "online"):
            raise ValueError(
                f'estimator must be "plain" or "online", got {short(estimator)}: the prefix sums '
                "of others are not released one by one"
            )
        super().__init__(steps, restart_every, estimator=estimator)

    def matrix(self) -> Array:
        """Return C, of shape (steps, steps): lower triangular, with no negative entry."""
        refuse_large_matrix(self.steps)
        result = np.zeros((self.steps, self.steps))
        for step in range(self.steps):
            length = step % self._tree.restart_every + 1
            size = length & -length
            result[step, step + 1 - size : step + 1] = self._row(size.bit_length() - 1)
        return result

    def decoder(self) -> Array:
        """Return the inverse of C, of shape (steps, steps)."""
        refuse_large_matrix(self.steps)
        return self._tree.decoder()

    def _row(self, height: int) -> Array:
        """The row of C that ends a block of 2^height steps, within the block."""
        merged, deviation = self._tree.merged_weights[height], self._tree.fresh_deviations[height]
        row = np.ones(2**height)
        for left in range(height):
            row[2**height - 2 ** (left + 1) : 2**height - 2**left] = 1.0 - merged[left]
        row /= deviation
        return row

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move C x.

        Exact with the plain estimator where it is for `BinaryTree`, and for one participation; else
        an upper bound from C^T C or, of many steps, that of all nodes, which prefix sums are
        functions of.
        """
        checked(participation)
        if self.estimator == "plain":
            return self._of_nodes(participation, prefix_nodes=True)
        nodes = super().sensitivity_bound(participation)
        count = participation.count(self.steps)
        if count <= 1:
            if self._tree.restart_every > LARGEST_VECTOR:
                return Sensitivity(nodes.value, False, nodes.method)
            # each norm: at most 41 squares, of numbers right to a few units in the last place
            value = min(nodes.value, rounded_up(self._largest_squared_norm(), 128))
            return Sensitivity(value, True, ONE_COLUMN)
        bounds = [Sensitivity(nodes.value, False, nodes.method)]
        if self.steps <= _MOST_STEPS and self.steps**2 * count <= _MOST_WORK:
            matrix = self.matrix()
            bounds.append(of_gram(matrix.T @ matrix, participation))
        return min(bounds, key=lambda bound: bound.value)

    def _largest_squared_norm(self) -> float:
        """The largest of a column: blocks begin at the multiples of twice their size."""
        steps = self._tree.restart_every
        norms = np.zeros(steps)
        for height in range(steps.bit_length()):
            size, row = 2**height, np.square(self._row(height))
            whole = steps // (2 * size)
            norms[: whole * 2 * size].reshape(whole, 2 * size)[:, :size] += row
            if steps - whole * 2 * size >= size:
                norms[whole * 2 * size :][:size] += row
        return float(np.max(norms))

    def _values(self) -> dict[str, Any]:
        return {"restart_every": self.restart_every, "estimator": self.estimator}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"restart_every", "estimator"}
        if unknown:
            raise ValueError(f"a tree of prefix sums has no {short(min(map(str, unknown)))}")
        return cls(steps, values["restart_every"], estimator=values["estimator"])

    def __repr__(self) -> str:
        return f"PrefixTree({self.steps}, {self.restart_every}, estimator={self.estimator!r})"
