"""Any lower triangular matrix, and the best of them."""

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from accountant.parameters import short, whole_count
from mechanisms.lower_bounds import best_dual
from mechanisms.lower_bounds.dual import ascend, primal
from mechanisms.optimization import Objective, band_matrix, checked_objective
from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    Participation,
    checked,
)
from mechanisms.sensitivity import Sensitivity, UnsupportedParticipationError, of_matrix
from mechanisms.strategies.banded import Banded
from mechanisms.strategies.base import (
    ONE_PARTICIPATION,
    Array,
    Strategy,
    array_from_json,
    array_to_json,
)
from mechanisms.strategies.identity import Identity
from mechanisms.strategies.toeplitz import BandedToeplitz
from mechanisms.workloads import Workload, lower_triangular, refuse_large_matrix

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["Dense"]

# |C| |C^-1| in the maximum norm, beyond which the noise C^-1 Z as computed loses half its digits.
LARGEST_CONDITION: Final = 1e8
# Relative gain of the dual bound below which a step is the last.
_TOLERANCE: Final = 1e-11
_UNIT: Final = 2.0**-53
# Share of a sensitivity that the inverse's rounding may add.
_LARGEST_ERROR: Final = 1e-6


class Dense(Strategy):
    """A lower triangular C, each entry its own: the least error, and a row of noise for every step.

    Parameters
    ----------
    matrix : array_like of shape (steps, steps)
        C: finite, lower triangular, its diagonal above 0; entries below may be negative.

    Raises
    ------
    ValueError
        If it is not such a matrix, or so ill-conditioned that its inverse is not known to eight
        digits.

    Examples
    --------
    >>> round(Dense.optimize(steps=64).rmse(), 4)
    2.0999
    """

    name: ClassVar[str] = "dense"

    def __init__(self, matrix: npt.ArrayLike) -> None:
        if np.asarray(matrix).dtype.kind not in "iuf":
            raise ValueError(f"matrix must be an array of numbers, got {short(matrix)}")
        values = lower_triangular(matrix, "matrix")
        if not np.all(np.diagonal(values) > 0.0):
            raise ValueError(
                "matrix must have a diagonal above 0: change the signs of its rows, which changes "
                "neither its sensitivity nor its noise"
            )
        with np.errstate(all="ignore"):
            inverse = solve_triangular(values, np.eye(len(values)), lower=True, check_finite=False)
            condition = np.linalg.norm(values, np.inf) * np.linalg.norm(inverse, np.inf)
        if not condition <= LARGEST_CONDITION:
            raise ValueError(
                f"matrix must have a condition number of at most {LARGEST_CONDITION:g}, got "
                f"{condition:.3g}: its noise would not be accurate; scale its rows alike, or use a "
                "banded strategy"
            )
        inverse.flags.writeable = False
        self._keep(steps=len(values), _matrix=values, _decoder=inverse)

    _matrix: Array
    _decoder: Array

    @classmethod
    def optimize(
        cls,
        *,
        steps: int,
        participation: Participation = ONE_PARTICIPATION,
        objective: Objective = "mean",
        workload: Workload | None = None,
    ) -> Self:
        """Return a strategy whose error is the least known for any.

        For one participation, and for a fixed order of epochs, it comes from the dual problem and
        is the optimum, up to where the iteration stops.  For a minimum separation b it has b bands,
        with norms of columns that differ: the columns of every pattern are orthogonal, so that its
        sensitivity is exact; or it is Toeplitz, with more bands, where participations are few.
        `mechanisms.lower_bounds.lower_bound` says how far it can be from the best possible.

        Parameters
        ----------
        steps : int
            At most `LARGEST_DENSE`; a thousand take some seconds, two thousand a minute.
        participation : Participation
        objective : {"mean", "max"}
            Which squared error counts: their mean over steps, or the largest.
        workload : Workload, optional
            What is estimated; without it, prefix sums.
        """
        checked(participation)
        goal = checked_objective(objective)
        count = whole_count(steps, "steps", 1)
        refuse_large_matrix(count)
        target = Identity(count)._workload(workload)
        found: list[Strategy] = []
        if _is_solved_by_dual(participation, count):
            found.append(cls(_optimal(target, participation, goal)))
        if not found or (goal == "max" and participation.count(count) > 1):
            width = participation.separation(count)
            found.append(Banded(band_matrix(target, width, participation, goal)))
        found += _toeplitz(target, participation, goal)
        error = Strategy.rmse if goal == "mean" else Strategy.max_error
        best = min(found, key=lambda strategy: error(strategy, target, participation))
        return best if isinstance(best, cls) else cls(best.matrix())

    def matrix(self) -> Array:
        """Return C, of shape (steps, steps), not to be written to."""
        return self._matrix

    def decoder(self) -> Array:
        """Return C^-1, of shape (steps, steps), not to be written to."""
        return self._decoder

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return what `mechanisms.sensitivity.of_matrix` proves of any matrix.

        Noise is drawn with an inverse D in floating point, whose product with C is off the identity
        by at most ``steps * 2**-53 * |C| |D|`` in Frobenius norm (Higham, "Accuracy and Stability
        of Numerical Algorithms", section 14.2): the inverse of what is drawn may be that much more
        sensitive than C, and the bound covers it.

        Raises
        ------
        UnsupportedParticipationError
            If nothing is proved for it.
        """
        found = of_matrix(self._matrix, participation)
        norms = float(np.linalg.norm(self._matrix)) * float(np.linalg.norm(self._decoder))
        off = 2.0 * (self.steps + 4) * _UNIT * norms
        if not off <= _LARGEST_ERROR:
            raise UnsupportedParticipationError(
                f"the inverse of this matrix is not accurate enough to draw noise with: {off:.2g} "
                "of its sensitivity may be added; use a matrix with a lower condition number"
            )
        value = math.nextafter(found.value * (1.0 + 2.0 * off), math.inf)
        return Sensitivity(value, found.exact, found.method)

    @property
    def memory(self) -> int:
        """Nothing is kept: all independent rows up to a step are drawn again for it."""
        return 0

    def noise_filter(self) -> "NoiseFilter":
        """Return the inverse, whose rows are summed over independent noise drawn again."""
        from mechanisms.noise.filters import DenseFilter

        return DenseFilter(self._decoder)

    def _values(self) -> dict[str, Any]:
        # row after row, without what is above the diagonal
        return {"entries": array_to_json(self._matrix[np.tril_indices(self.steps)])}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"entries"}
        if unknown:
            raise ValueError(f"a dense strategy has no {short(min(map(str, unknown)))}")
        refuse_large_matrix(steps)
        entries = array_from_json(values["entries"], "entries")
        if len(entries) != steps * (steps + 1) // 2:
            raise ValueError(
                f"entries must be the {steps * (steps + 1) // 2} on and below the diagonal, got "
                f"{len(entries)}"
            )
        matrix = np.zeros((steps, steps))
        matrix[np.tril_indices(steps)] = entries
        return cls(matrix)

    def _content(self) -> Hashable:
        return self._matrix.tobytes()

    def __repr__(self) -> str:
        return f"Dense(<{self.steps} steps>)"


def _toeplitz(
    workload: Workload, participation: Participation, objective: Objective
) -> list[Strategy]:
    """Toeplitz strategies with more bands than the separation, where that leaves steps unused.

    An example that takes part k times in n > k b steps has patterns of many shapes: orthogonal
    columns for all of them ask for too much.
    """
    steps = workload.steps
    count, separation = participation.count(steps), participation.separation(steps)
    if not isinstance(participation, MinSeparation) or count <= 1 or count * separation >= steps:
        return []
    share = -(-steps // count)
    return [
        BandedToeplitz.optimize(
            steps=steps,
            bands=bands,
            participation=participation,
            objective=objective,
            workload=workload,
        )
        for bands in (share, min(steps, 2 * share))
    ]


def _is_solved_by_dual(participation: Participation, steps: int) -> bool:
    """Whether the patterns are disjoint, so that the dual problem has them all."""
    if isinstance(participation, CyclicPoisson):
        return participation.groups >= steps
    epochs = -(-steps // participation.separation(steps))
    count = participation.count(steps)
    fixed = isinstance(participation, FixedEpochOrder | BallsInBins)
    return count <= 1 or (fixed and count >= epochs)


def _optimal(workload: Workload, participation: Participation, objective: Objective) -> Array:
    """C of the dual problem's solution, with sensitivity 1 on every pattern."""
    matrix = workload.matrix()
    start = best_dual(workload, participation, objective)
    dual = ascend(matrix, start, objective, tolerance=_TOLERANCE)
    gram = primal(matrix, dual)
    # At the solution columns of a pattern are orthogonal, and their squared norms add up to 1.
    spacing = len(dual.patterns)
    sums = np.bincount(np.arange(len(gram)) % spacing, weights=np.diagonal(gram))
    scale = 1.0 / np.sqrt(sums[np.arange(len(gram)) % spacing])
    gram *= scale[:, None] * scale
    # X = C^T C with C lower triangular: the Cholesky factor from the last step to the first.
    factor = cholesky(gram[::-1, ::-1], lower=True, check_finite=False)
    return np.tril(factor.T[::-1, ::-1])
