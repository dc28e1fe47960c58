"""Lower triangular matrices with a few diagonals, each entry its own."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from accountant.parameters import short, whole_count
from mechanisms.optimization import (
    Objective,
    band_matrix,
    band_row_errors,
    checked_objective,
    refuse_unseparated,
)
from mechanisms.participation import CyclicPoisson, Participation, checked
from mechanisms.sensitivity import Sensitivity, of_columns, of_matrix
from mechanisms.strategies.base import (
    ONE_PARTICIPATION,
    Array,
    Strategy,
    array_from_json,
    array_to_json,
)
from mechanisms.strategies.identity import Identity
from mechanisms.workloads import LARGEST_DENSE, LARGEST_VECTOR, Workload

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["Banded"]

_UNIT: Final = 2.0**-53


class Banded(Strategy):
    """A lower triangular C whose entries differ along its few diagonals.

    Its noise keeps p - 1 of its own last rows.  Forward substitution makes exactly the noise of a
    matrix that differs from C by a few units in the last place of each entry, however C is
    conditioned.

    Parameters
    ----------
    coefficients : array_like of shape (steps, bands)
        C[t, t - i] at [t, i]; what lies left of column 0 is ignored.  The diagonal, [:, 0], is
        above 0.

    Examples
    --------
    >>> best = Banded.optimize(steps=64, bands=8)
    >>> round(best.rmse(), 4)
    2.6205
    """

    name: ClassVar[str] = "banded"

    coefficients: Array

    def __init__(self, coefficients: npt.ArrayLike) -> None:
        try:
            given = np.asarray(coefficients)
            if given.dtype.kind not in "iuf":
                raise TypeError
            values = np.array(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"coefficients must be an array of numbers, got {short(coefficients)}"
            ) from None
        if values.ndim != 2 or values.size == 0 or values.size > LARGEST_VECTOR:
            raise ValueError(
                "coefficients must have a row for each step and a column for each diagonal, at "
                f"most {LARGEST_VECTOR} numbers, got shape {values.shape}"
            )
        steps, bands = values.shape
        if bands > steps:
            raise ValueError(f"there must be at most as many bands as the {steps} steps: {bands}")
        if not np.all(np.isfinite(values)):
            raise ValueError("coefficients must be finite numbers")
        if not np.all(values[:, 0] > 0.0):
            raise ValueError(
                "coefficients must have a diagonal above 0, [:, 0]: a matrix without has no inverse"
            )
        values[_outside(steps, bands)] = 0.0
        values.flags.writeable = False
        self._keep(steps=steps, coefficients=values)

    @classmethod
    def optimize(
        cls,
        *,
        steps: int,
        bands: int,
        participation: Participation = ONE_PARTICIPATION,
        objective: Objective = "mean",
        workload: Workload | None = None,
    ) -> Self:
        """Return the strategy of (nearly) least error among those of so many bands.

        Minimizes squared sensitivity times squared error, by L-BFGS on exact gradients, over the
        entries and the norms of columns.  For one participation, and the mean error, the problem is
        convex in C^T C.

        Parameters
        ----------
        steps : int
            At most `LARGEST_DENSE`.
        bands : int
            Within [1, steps], and at most the separation of participations.
        participation : Participation
        objective : {"mean", "max"}
            Which squared error counts: their mean over steps, or the largest.
        workload : Workload, optional
            What is estimated; without it, prefix sums.

        Raises
        ------
        ValueError
            If there are too many bands or steps.
        """
        checked(participation)
        goal = checked_objective(objective)
        count, width = whole_count(steps, "steps", 1), whole_count(bands, "bands", 1)
        if width > count:
            raise ValueError(f"bands must be at most the {count} steps, got {width}")
        if count > LARGEST_DENSE:
            raise ValueError(
                f"steps must be at most {LARGEST_DENSE} to optimize every entry, got {count}: "
                "optimize a BandedToeplitz or BLT strategy, which take any number"
            )
        refuse_unseparated(width, participation, count)
        target = Identity(count)._workload(workload)
        return cls(band_matrix(target, width, participation, goal))

    @property
    def bands(self) -> int:
        """Diagonals that may differ from 0, the main one included."""
        return int(self.coefficients.shape[1])

    def matrix(self) -> Array:
        """Return C, of shape (steps, steps)."""
        self._refuse_large_matrix()
        rows = np.zeros((self.steps, self.steps))
        for i in range(self.bands):
            np.fill_diagonal(rows[i:], self.coefficients[i:, i])
        return rows

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return the sensitivity: exact where there are at most as many bands as the separation.

        With more, what `mechanisms.sensitivity.of_matrix` proves of any matrix.

        Raises
        ------
        UnsupportedParticipationError
            If there are more bands than groups of cyclic Poisson sampling.
        ValueError
            If there are too many steps to form the matrix, where it is needed.
        """
        checked(participation)
        separated = self.bands <= participation.separation(self.steps)
        once = participation.count(self.steps) <= 1 and not isinstance(participation, CyclicPoisson)
        if separated or once:
            return of_columns(self._column_norms(), participation)
        return of_matrix(self.matrix(), participation)

    def squared_errors(self, workload: Workload) -> Array:
        """Return the squared norms of the rows of A C^-1, of shape (steps,)."""
        self._check_workload(workload)
        return band_row_errors(workload.matrix(), self._by_column())

    @property
    def memory(self) -> int:
        """Rows of noise that are kept, one less than the bands."""
        return self.bands - 1

    def noise_filter(self) -> "NoiseFilter":
        """Return forward substitution over the bands."""
        from mechanisms.noise.filters import BandedFilter

        return BandedFilter(self.coefficients)

    def _by_column(self) -> Array:
        """C[t + i, t] at [t, i]."""
        columns = np.zeros_like(self.coefficients)
        for i in range(self.bands):
            columns[: self.steps - i, i] = self.coefficients[i:, i]
        return columns

    def _column_norms(self) -> Array:
        """Squared norms of the columns, rounded up."""
        columns = self._by_column()
        with np.errstate(over="ignore"):
            squares = np.sum(columns * columns, axis=1)
        found: Array = squares * (1.0 + 2.0 * (self.bands + 4) * _UNIT)
        return np.nextafter(found, np.inf)

    def _values(self) -> dict[str, Any]:
        return {"coefficients": array_to_json(self.coefficients)}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"coefficients"}
        if unknown:
            raise ValueError(f"a banded strategy has no {short(min(map(str, unknown)))}")
        found = cls(array_from_json(values["coefficients"], "coefficients", 2))
        if found.steps != steps:
            raise ValueError(f"there are coefficients for {found.steps} steps, not for {steps}")
        return found

    def _content(self) -> Hashable:
        return self.coefficients.shape, self.coefficients.tobytes()

    def __repr__(self) -> str:
        return f"Banded(<{self.steps} steps, {self.bands} bands>)"


def _outside(steps: int, bands: int) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.arange(steps)[:, None] < np.arange(bands)
    return found
