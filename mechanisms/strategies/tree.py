"""Binary trees: the noisy sums of dyadic blocks of steps (arXiv 2103.00039)."""

import math
from collections.abc import Hashable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from accountant.errors import UnsupportedEventError
from accountant.parameters import short
from accountant.tree_aggregation import (
    cyclic_squared_sensitivity,
    level_bound,
    squared_sensitivity,
)
from mechanisms.noise.tree_filter import StreamedEstimator, TreeFilter
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    Participation,
    checked,
)
from mechanisms.sensitivity import ONE_COLUMN, Sensitivity, UnsupportedParticipationError
from mechanisms.strategies.base import Array, Strategy
from mechanisms.strategies.tree_errors import (
    largest_within,
    least_squares_variances,
    recursion_of,
    recursive_errors,
    total_within,
    variances_within,
)
from mechanisms.workloads import LARGEST_VECTOR, Workload, refuse_large_matrix

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["BinaryTree", "Estimator"]

Estimator = Literal["plain", "online", "full"]

PATTERNS: Final = "all patterns of participation were compared (docs/renyi.md, section 7)"
EPOCHS: Final = "all places in the epoch were compared (docs/renyi.md, section 7)"
LEVELS: Final = "bounded level by level of the tree (docs/renyi.md, section 7)"

_PREFIX_SUM: Final = ((1.0, 1.0),)


class BinaryTree(Strategy):
    """The noisy sum of every complete dyadic block of steps, and prefix sums estimated from them.

    C has a row for each block, in the order in which blocks end; all of them are released, also
    those that an estimator does not use, as in arXiv 2103.00039 and in TF-Privacy.

    Parameters
    ----------
    steps : int
        Steps of the run, 1 to 2^40.
    restart_every : int, optional
        Steps of a tree, after which the next one starts; without it, one tree.
    estimator : {"plain", "online", "full"}
        How a prefix sum is estimated: "plain" adds one node for each binary digit of its length;
        "online" estimates the sum of each of these blocks from all nodes within it, with weights
        that make its variance least (Honaker 2015); "full" is the least-squares estimate from all
        nodes of all steps, which no run can have before its end: a reference.
    completed : bool
        Whether a tree is filled up to a power of two with virtual steps, in which nobody takes
        part, before the next one starts, so that all its steps count as one block from then on
        (arXiv 2103.00039, appendix D.3).  That virtual steps are 0 is used.

    Examples
    --------
    >>> tree = BinaryTree(256, estimator="online")
    >>> round(tree.rmse(), 3), round(tree.max_error(), 3), tree.memory
    (4.65, 6.574, 8)
    """

    name: ClassVar[str] = "tree"

    restart_every: int | None
    estimator: Estimator
    completed: bool

    def __init__(
        self,
        steps: int,
        restart_every: int | None = None,
        *,
        estimator: Estimator = "plain",
        completed: bool = False,
    ) -> None:
        if estimator not in ("plain", "online", "full"):
            raise ValueError(
                f'estimator must be "plain", "online" or "full", got {short(estimator)}'
            )
        streamed: StreamedEstimator = "online" if estimator == "full" else estimator
        every = steps if restart_every is None else restart_every
        tree = TreeFilter(steps, every, streamed, completed)
        if completed and restart_every is None:
            raise ValueError(
                "completed must be False without restart_every: a tree is completed before a "
                "restart, and there is none"
            )
        several = tree.restart_every < tree.steps
        self._keep(
            steps=tree.steps,
            restart_every=tree.restart_every if several else None,
            estimator=estimator,
            completed=completed and several,
            _tree=tree if several else TreeFilter(tree.steps, tree.steps, streamed),
        )

    # -- the matrices ------------------------------------------------------------------------------

    def matrix(self) -> Array:
        """Return C, of shape (nodes, steps)."""
        spans = self._spans()
        rows = np.zeros((len(spans), self.steps))
        for row, (first, end) in enumerate(spans):
            rows[row, first:end] = 1.0
        return rows

    def decoder(self) -> Array:
        """Return D, of shape (steps, nodes)."""
        spans = self._spans()
        if self.estimator == "full":
            matrix = self.matrix()
            return np.asarray(cho_solve(cho_factor(matrix.T @ matrix), matrix.T))
        tree = self._tree
        estimates = np.zeros((tree.memory + 1, len(spans)))
        result = np.zeros((self.steps, len(spans)))
        finished, sum_before, row = np.zeros(len(spans)), np.zeros(len(spans)), 0
        for step in range(self.steps):
            place = step % tree.restart_every
            if place == 0 and step > 0:
                finished, row = self._closed(finished, estimates, row)
            new, height = np.zeros(len(spans)), 0
            new[row] = 1.0
            while place >> height & 1:
                own = tree.own_weights[height + 1]
                new = (1.0 - own) * (new + estimates[height])
                new[row + height + 1] += own
                height += 1
            row += height + 1
            estimates[height] = new
            left = [h for h in range(len(estimates)) if (place + 1) >> h & 1]
            prefix = finished + estimates[left].sum(axis=0)
            result[step], sum_before = prefix - sum_before, prefix
        return result

    def _closed(self, finished: Array, estimates: Array, row: int) -> tuple[Array, int]:
        """The sum of all trees that are over, the last one included, and the next node."""
        tree = self._tree
        left = [i for i in range(len(estimates)) if tree.restart_every >> i & 1]
        if not self.completed:
            return finished + estimates[left].sum(axis=0), row
        last = estimates[left[0]]
        for i in range(left[0], len(tree.root_weights)):
            if i > left[0] and i in left:
                last = last + estimates[i]
            last = (1.0 - tree.root_weights[i]) * last
            last[row] += tree.root_weights[i]
            row += 1
        return finished + last, row

    def _spans(self) -> list[tuple[int, int]]:
        """First step and end of each node's real steps."""
        refuse_large_matrix(self.steps)
        return list(self._nodes())

    def _nodes(self) -> Iterator[tuple[int, int]]:
        first = 0
        for leaves, completed in self._trees():
            for end in range(1, leaves + 1):
                for height in range((end & -end).bit_length()):
                    yield first + end - 2**height, first + end
            for height in range(1, leaves.bit_length() + 1) if completed else ():
                if leaves & (2**height - 1) and 2 ** (height - 1) < leaves:
                    yield first + (leaves >> height << height), first + leaves
            first += leaves

    def _trees(self) -> list[tuple[int, bool]]:
        """Steps of each tree, and whether it is completed: the last one never is."""
        whole, rest = divmod(self.steps, self._tree.restart_every)
        trees = [(self._tree.restart_every, self.completed)] * whole + [(rest, False)] * (rest > 0)
        return [*trees[:-1], (trees[-1][0], False)]

    # -- what it costs -----------------------------------------------------------------------------

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move all nodes together.

        Exact for one participation, for a separation, and for epochs in a fixed order that are all
        taken part in: nodes are sums, so that equal contributions are worst.
        """
        checked(participation)
        return self._of_nodes(participation, prefix_nodes=False)

    def _of_nodes(self, participation: Participation, prefix_nodes: bool) -> Sensitivity:
        """How far one example can move all nodes, or those that prefix sums are added up from."""
        trees, completed = map(list, zip(*self._trees(), strict=True))
        count, gap = participation.count(self.steps), participation.separation(self.steps)
        if count <= 1:
            squared = squared_sensitivity(trees, 1, 1, completed)
            return Sensitivity(_root_up(squared), True, ONE_COLUMN)
        if isinstance(participation, CyclicPoisson):
            raise UnsupportedParticipationError(
                "under cyclic Poisson sampling a strategy needs at most as many bands as there are "
                f"groups, and a tree relates all steps: take a banded strategy of at most "
                f"{participation.groups} bands"
            )
        in_epochs = isinstance(participation, FixedEpochOrder | BallsInBins)
        if in_epochs and count == -(-self.steps // gap):
            try:
                squared = cyclic_squared_sensitivity(trees, gap, completed, prefix_nodes)
                return Sensitivity(_root_up(squared), True, EPOCHS)
            except UnsupportedEventError:
                pass
        try:
            squared = squared_sensitivity(trees, count, gap, completed, prefix_nodes)
            return Sensitivity(_root_up(squared), not in_epochs, PATTERNS)
        except UnsupportedEventError:
            squared = level_bound(trees, count, gap, completed)
            return Sensitivity(_root_up(squared), False, LEVELS)

    # -- how well it does --------------------------------------------------------------------------

    def squared_errors(self, workload: Workload) -> Array:
        """Return the variance of the noise on every row of A x, of shape (steps,)."""
        self._check_workload(workload)
        if workload.poles == _PREFIX_SUM:
            return self._prefix_variances()
        if self.estimator == "full":
            return super().squared_errors(workload)
        recursion = recursion_of(workload)
        if recursion is not None:
            self._refuse_long_vector()
            return recursive_errors(self._tree, recursion)
        refuse_large_matrix(self.steps)
        found: Array = np.square(workload.apply(self._tree.decoder())).sum(axis=1)
        return found

    def mean_squared_error(self, workload: Workload) -> float:
        """Return the mean squared error; for prefix sums in closed form, unless from all nodes."""
        self._check_workload(workload)
        if workload.poles != _PREFIX_SUM or self.estimator == "full":
            return super().mean_squared_error(workload)
        heights, every = self._tree.own_weights, self._tree.restart_every
        whole, rest = divmod(self.steps, every)
        before = self._closing_variance() * (every * (whole * (whole - 1) // 2) + rest * whole)
        within = whole * total_within(heights, every) + total_within(heights, rest)
        return (before + within) / self.steps

    def max_squared_error(self, workload: Workload) -> float:
        """Return the largest squared error; for prefix sums in closed form, as the mean."""
        self._check_workload(workload)
        if workload.poles != _PREFIX_SUM or self.estimator == "full":
            return super().max_squared_error(workload)
        heights, every = self._tree.own_weights, self._tree.restart_every
        whole, rest = divmod(self.steps, every)
        closing = self._closing_variance()
        in_whole = closing * (whole - 1) + largest_within(heights, every)
        return max(in_whole, closing * whole + largest_within(heights, rest)) if rest else in_whole

    def _prefix_variances(self) -> Array:
        self._refuse_long_vector()
        every = self._tree.restart_every
        if self.estimator == "full":
            within = least_squares_variances(every, self.completed)
            last = least_squares_variances(self.steps % every or every, False)
            closing = float(within[-1])
            trees = -(-self.steps // every)
            return np.concatenate(
                [
                    *(tree * closing + within for tree in range(trees - 1)),
                    (trees - 1) * closing + last,
                ]
            )
        step = np.arange(self.steps)
        within = variances_within(self._tree.own_weights, every)
        return within[step % every] + self._closing_variance() * (step // every)

    def _closing_variance(self) -> float:
        """Variance of the sum of a tree that is over."""
        weights, deviation = self._tree.closing
        return float(np.sum(np.square(weights) * self._tree.own_weights)) + deviation**2

    def _refuse_long_vector(self) -> None:
        if self.steps > LARGEST_VECTOR:
            raise ValueError(
                f"{self.steps} squared errors are too many to hold; at most {LARGEST_VECTOR} are: "
                "ask for the mean or the largest, which have closed forms for prefix sums"
            )

    # -- its noise ---------------------------------------------------------------------------------

    @property
    def memory(self) -> int:
        """ceil(log2) of a tree's steps; all rows of D Z where it is estimated from all nodes."""
        return self.steps if self.estimator == "full" else self._tree.memory

    def noise_filter(self) -> "NoiseFilter":
        """Return the filter that has one normal row per step, and one per completed tree.

        Its rows of D Z have the law of `decoder`'s, which has a row of Z for each node.

        Raises
        ------
        ValueError
            The estimator is "full".
        """
        if self.estimator == "full":
            raise ValueError(
                'noise of the estimator "full" cannot be produced step by step, because every '
                'estimate uses nodes of later steps; use "online"'
            )
        return self._tree

    # -- as data -----------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        return {
            "restart_every": self.restart_every,
            "estimator": self.estimator,
            "completed": self.completed,
        }

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"restart_every", "estimator", "completed"}
        if unknown:
            raise ValueError(f"a tree has no {short(min(map(str, unknown)))}")
        return cls(
            steps,
            values["restart_every"],
            estimator=values["estimator"],
            completed=values["completed"],
        )

    def _content(self) -> Hashable:
        return self.restart_every, self.estimator, self.completed

    def __repr__(self) -> str:
        return (
            f"BinaryTree({self.steps}, {self.restart_every}, estimator={self.estimator!r}, "
            f"completed={self.completed})"
        )

    _tree: TreeFilter


def _root_up(squared: int) -> float:
    """The root of a whole number, exact or rounded up."""
    root = math.sqrt(squared)
    return root if Fraction(root) ** 2 >= squared else math.nextafter(root, math.inf)
