"""What no factorization can do better: certified lower bounds of rmse and of the largest error.

Every factorization A = B C of a workload, of whatever shape, with sensitivity S for its
participation, has ``S sqrt(mean err)`` and ``S sqrt(max err)`` at least the bounds given here; they
come from points of the dual problem (docs/lower-bounds.md).  Rounding is subtracted, so that they
hold for the matrix of doubles that a workload is; that they are the best possible is not claimed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from accountant.parameters import short
from mechanisms.lower_bounds.dual import DualPoint, ascend, certify, lift, uniform
from mechanisms.lower_bounds.patterns import all_patterns, families, spacing_of
from mechanisms.lower_bounds.prefix_sums import prefix_sum_bound
from mechanisms.optimization import Objective, checked_objective
from mechanisms.participation import Participation, SingleParticipation, checked
from mechanisms.workloads import Workload

__all__ = ["LARGEST_NUMERICAL", "LowerBound", "best_dual", "lower_bound"]

# Steps for which a matrix is decomposed: half a minute.
LARGEST_NUMERICAL: Final = 2560

CLOSED_FORM: Final = "closed form for prefix sums"
DUAL: Final = "dual point, certified without eigenvalues"

Array = npt.NDArray[np.float64]

_ONE: Final = SingleParticipation()
_PREFIX_SUMS: Final = ((1.0, 1.0),)
# Steps for which the dual problem is solved, where there is one family of patterns, and several;
# longer runs take over the weights of one so short.
_COARSE: Final = 256
_COARSEST: Final = 128
# All patterns are taken where they are at most so many.
_ALL: Final = 128
# Numbers in U: patterns * members * steps, on which the time of a certificate depends.
_LARGEST_DIRECTIONS: Final = 3e7
_MOST_FAMILIES: Final = 25


@dataclass(frozen=True, slots=True)
class LowerBound:
    """A number that no factorization's error is below.

    Attributes
    ----------
    value : float
        Of `Strategy.rmse` or `Strategy.max_error`.
    certified : bool
        Whether rounding is accounted for.
    method : str
        What it comes from.
    """

    value: float
    certified: bool
    method: str

    def gap(self, reached: float) -> float:
        """Return by how many percent an error is above the bound."""
        return 100.0 * (reached / self.value - 1.0)


def lower_bound(
    workload: Workload,
    participation: Participation = _ONE,
    objective: Objective = "mean",
    *,
    quick: bool = False,
) -> LowerBound | None:
    """Bound the error of all factorizations of a workload from below.

    Parameters
    ----------
    workload : Workload
    participation : Participation
        Cyclic Poisson sampling counts as a single participation, as its sensitivity does.
    objective : {"mean", "max"}
        Whether `Strategy.rmse` or `Strategy.max_error` is bounded.
    quick : bool
        By the closed form alone, in no time; else by the dual problem too, which is nearer to the
        truth and takes up to a minute.

    Returns
    -------
    LowerBound or None
        None where none is known: for workloads other than prefix sums beyond `LARGEST_NUMERICAL`
        steps, and for all of them where it has to be quick.

    Raises
    ------
    ValueError
        If the objective is neither.
    """
    checked(participation)
    goal = checked_objective(objective)
    if not isinstance(workload, Workload):
        raise ValueError(f"workload must be one of mechanisms.workloads, got {short(workload)}")
    return _lower_bound(workload, participation, goal, quick)


@lru_cache(maxsize=64)
def _lower_bound(
    workload: Workload, participation: Participation, objective: Objective, quick: bool
) -> LowerBound | None:
    found = []
    if workload.poles == _PREFIX_SUMS:
        spacing = spacing_of(participation, workload.steps)
        # The largest error is at least the mean.
        found.append(LowerBound(prefix_sum_bound(workload.steps, spacing), True, CLOSED_FORM))
    if workload.steps <= LARGEST_NUMERICAL and not quick:
        dual = best_dual(workload, participation, objective)
        found.append(LowerBound(certify(workload.matrix(), dual), True, DUAL))
    return max(found, key=lambda bound: bound.value, default=None)


def best_dual(workload: Workload, participation: Participation, objective: Objective) -> DualPoint:
    """Weights on chosen patterns, and on steps, that bound the error well.

    Solved as it is for few steps; for more, solved for `_COARSE` and carried over.
    """
    steps, matrix = workload.steps, workload.matrix()
    every = all_patterns(participation, steps, _ALL)
    if every is not None:
        return _ascend(matrix, uniform(every, steps), objective, 500, 1e-10)
    spacing = spacing_of(participation, steps)
    members = -(-steps // spacing)
    most = int(min(_MOST_FAMILIES, 3000 / members**2 + 1, _LARGEST_DIRECTIONS / steps**2))
    several = len(families(participation, steps, spacing, most)) > 1
    length = _COARSEST if several else _COARSE
    short_spacing = min(spacing, max(1, round(length / members)))
    short_steps = steps
    if short_spacing < spacing:
        short_steps = max((members - 1) * short_spacing + 1, round(steps * short_spacing / spacing))
    coarse = families(participation, short_steps, short_spacing, most)
    patterns = np.concatenate([family.patterns for family in coarse])
    chosen = ((np.arange(short_steps) + 0.5) * steps / short_steps).astype(np.intp)
    start = uniform(patterns, short_steps)
    iterations = 60 if short_steps <= _COARSE else 15
    found = _ascend(matrix[np.ix_(chosen, chosen)], start, objective, iterations, 1e-8)
    if short_steps == steps:
        return found
    return lift(found, coarse, [family.of(steps, spacing) for family in coarse], steps)


def _ascend(
    matrix: Array, start: DualPoint, objective: Objective, iterations: int, tolerance: float
) -> DualPoint:
    """Ascend with equal weights of steps first: the largest error is at least the mean."""
    found = ascend(matrix, start, "mean", iterations=iterations, tolerance=tolerance)
    if objective == "mean":
        return found
    return ascend(matrix, found, objective, iterations=iterations, tolerance=tolerance)
