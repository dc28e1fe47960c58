"""Toeplitz strategies: each diagonal of C is one number, and few are not 0."""

import math
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from accountant.parameters import short, whole_count
from mechanisms.optimization import Objective, checked_objective
from mechanisms.participation import CyclicPoisson, Participation, checked
from mechanisms.sensitivity import Sensitivity, of_toeplitz
from mechanisms.strategies.base import (
    ONE_PARTICIPATION,
    Array,
    Strategy,
    array_from_json,
    array_to_json,
)
from mechanisms.strategies.power_series import divide, of_poles
from mechanisms.strategies.toeplitz_errors import Column, column_of, is_toeplitz
from mechanisms.strategies.toeplitz_optimization import optimal_coefficients
from mechanisms.workloads import LARGEST_VECTOR, Workload, refuse_large_matrix

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = [
    "LARGEST",
    "TOLERANCE",
    "BandedToeplitz",
    "ToeplitzStrategy",
    "checked_bands",
    "checked_coefficients",
    "only_field",
    "padded",
    "root_coefficients",
    "root_poles",
    "triangle",
]

# A column has settled when so near to its limit: errors are then right to many more digits.
TOLERANCE: Final = 1e-9
# Coefficients whose squares are doubles.
LARGEST: Final = 1e100


class ToeplitzStrategy(Strategy):
    """A lower triangular Toeplitz C: errors follow from one column (arXiv 2405.15913)."""

    @abstractmethod
    def _column(self, workload: Workload) -> Column | None:
        """Return the first column of A C^{-1}, for a Toeplitz A; None if it is too long."""

    def _finite_column(self, workload: Workload) -> Column:
        with np.errstate(over="ignore", invalid="ignore"):
            column = self._column(workload)
        if column is None:
            raise ValueError(
                f"the errors of this strategy do not settle within {LARGEST_VECTOR} steps, the "
                f"most that are followed, and the run has {self.steps}: take a BLT strategy"
            )
        if not np.all(np.abs(column.values) <= LARGEST):
            raise ValueError(
                "the noise of this strategy grows beyond what a double holds: take coefficients "
                "whose inverse stays bounded, such as decreasing ones"
            )
        return column

    @abstractmethod
    def _first_column(self) -> Array:
        """Return the first column of C, of shape (steps,)."""

    def matrix(self) -> Array:
        """Return C, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return triangle(self._first_column())

    def decoder(self) -> Array:
        """Return the inverse of C, of shape (steps, steps)."""
        self._refuse_large_matrix()
        unit = np.zeros(self.steps)
        unit[0] = 1.0
        return triangle(divide(unit, self._first_column()))

    def squared_errors(self, workload: Workload) -> Array:
        """Return the variance of the noise on every row of A x, of shape (steps,).

        In time and memory O(steps) for a Toeplitz A; for others C^{-1} is formed.
        """
        self._check_workload(workload)
        if is_toeplitz(workload):
            return self._finite_column(workload).squared_rows()
        refuse_large_matrix(self.steps)
        return super().squared_errors(workload)

    def mean_squared_error(self, workload: Workload) -> float:
        """Return the mean of `squared_errors`."""
        self._check_workload(workload)
        if is_toeplitz(workload):
            return self._finite_column(workload).mean_squared_row()
        return super().mean_squared_error(workload)

    def max_squared_error(self, workload: Workload) -> float:
        """Return the largest of `squared_errors`; for a Toeplitz A that of the last step."""
        self._check_workload(workload)
        if is_toeplitz(workload):
            return self._finite_column(workload).last_squared_row()
        return super().max_squared_error(workload)


class BandedToeplitz(ToeplitzStrategy):
    """C has so many diagonals, each of one number (arXiv 2306.08153, 2405.15913).

    Parameters
    ----------
    steps : int
        Steps of the run, at least 1.
    coefficients : array_like of shape (bands,)
        Start of the first column of C, the rest of which is 0: entry j is on diagonal j.  At most
        `steps` of them; the first is above 0.  With more of them than the separation of two
        participations, a sensitivity is exact only where they decrease and are not negative.

    Examples
    --------
    >>> best = BandedToeplitz.optimize(steps=1000, bands=16)
    >>> round(best.rmse(), 5), best.memory
    (6.27816, 15)
    """

    name: ClassVar[str] = "banded_toeplitz"

    coefficients: Array

    def __init__(self, steps: int, coefficients: npt.ArrayLike) -> None:
        count = whole_count(steps, "steps", 1)
        self._keep(
            steps=count, coefficients=checked_coefficients(coefficients, count, "coefficients")
        )

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
        """Return the strategy of least error among those of so many bands.

        Minimizes squared sensitivity times squared error, by L-BFGS on exact gradients.  With at
        most as many bands as the separation, all coefficients are tried; with more, decreasing ones
        that are not negative, whose sensitivity is exact: a local minimum, below what fewer reach.

        Parameters
        ----------
        steps : int
        bands : int
            Within [1, steps].
        participation : Participation
        objective : {"mean", "max"}
            Which squared error counts: their mean over steps, or the largest.
        workload : Workload, optional
            What is estimated; without it, prefix sums.  Of at most 4,096 steps where it is not
            Toeplitz.

        Raises
        ------
        UnsupportedParticipationError
            If nothing is proved about so many bands for this participation.
        """
        checked(participation)
        checked_objective(objective)
        count = whole_count(steps, "steps", 1)
        width = checked_bands(bands, count)
        # refuses what has no theorem, before any work
        of_toeplitz(np.ones(width), width, participation)
        best = optimal_coefficients(
            cls(count, [1.0])._workload(workload),
            width,
            separation=participation.separation(count),
            count=1 if isinstance(participation, CyclicPoisson) else participation.count(count),
            objective=objective,
        )
        return cls(count, best)

    @classmethod
    def square_root(
        cls, steps: int, bands: int, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> Self:
        """Return the banded square root: the first bands of the square root of a workload.

        BSR in arXiv 2405.13763; the workload is `mechanisms.workloads.momentum`'s.
        """
        count = whole_count(steps, "steps", 1)
        poles = root_poles(momentum, weight_decay)
        return cls(count, root_coefficients(checked_bands(bands, count), *poles))

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move C x; see `mechanisms.sensitivity.of_toeplitz`."""
        return of_toeplitz(self.coefficients, self.steps, participation)

    def _first_column(self) -> Array:
        return padded(self.coefficients, self.steps)

    def _column(self, workload: Workload) -> Column | None:
        total = math.fsum(self.coefficients)
        return column_of(
            workload,
            lambda a: divide(a, self.coefficients),
            gain=1.0 / total if total else math.inf,
            taps=len(self.coefficients),
            tolerance=TOLERANCE,
        )

    @property
    def memory(self) -> int:
        """Rows of noise that the next row needs: one less than there are bands."""
        return len(self.coefficients) - 1

    def noise_filter(self) -> "NoiseFilter":
        """Return forward substitution with C."""
        from mechanisms.noise.filters import BandedFilter

        return BandedFilter(self.coefficients)

    def _values(self) -> dict[str, Any]:
        return {"coefficients": array_to_json(self.coefficients)}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        return cls(steps, only_field(values, "coefficients"))

    def _content(self) -> Hashable:
        return self.coefficients.tobytes()

    def __repr__(self) -> str:
        return f"BandedToeplitz({self.steps}, <{len(self.coefficients)} coefficients>)"


# -- what they share -------------------------------------------------------------------------------


def root_poles(momentum: float, weight_decay: float) -> tuple[float, float]:
    """Poles of the workload ``momentum(steps, momentum, weight_decay)``, checked."""
    poles = []
    for value, name in ((weight_decay, "weight_decay"), (momentum, "momentum")):
        is_number = isinstance(value, (int, float, np.integer, np.floating))
        if not is_number or isinstance(value, bool) or not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must be within [0, 1), got {short(value)}")
        poles.append(float(value))
    return 1.0 - poles[0], poles[1]


def root_coefficients(length: int, first: float, second: float) -> Array:
    """Coefficients of ``((1 - first x) (1 - second x))**(-1/2)``, which decrease.

    Rounding is kept from making them rise: then the sensitivity is exact.
    """
    return np.minimum.accumulate(of_poles(first, second, -0.5, length))


def checked_coefficients(coefficients: npt.ArrayLike, steps: int, name: str) -> Array:
    """Return a checked copy, read-only, without zeros at its end."""
    try:
        given = np.asarray(coefficients)
        if given.dtype.kind not in "iuf":
            raise TypeError
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {short(coefficients)}") from None
    if found.ndim != 1 or not 1 <= len(found) <= steps:
        raise ValueError(
            f"{name} must have one dimension and 1 to {steps} numbers, one for each step at most, "
            f"got shape {found.shape}"
        )
    if not np.all(np.abs(found) <= LARGEST) or not found[0] >= 1.0 / LARGEST:
        raise ValueError(
            f"{name} must be within [-{LARGEST:g}, {LARGEST:g}] and start with a number of at "
            f"least {1.0 / LARGEST:g}, so that their squares are doubles: divide by the first"
        )
    found = np.trim_zeros(found, "b")
    found.flags.writeable = False
    return found


def checked_bands(bands: object, steps: int) -> int:
    """Return a checked number of bands, at most as many as there are steps."""
    found = whole_count(bands, "bands", 1)
    if found > steps:
        raise ValueError(f"bands must be at most the {steps} steps, got {found}")
    return found


def only_field(values: Mapping[str, Any], name: str) -> Array:
    """Return the one field of such a strategy in a file."""
    unknown = set(values) - {name}
    if unknown:
        raise ValueError(f"this strategy has no {short(min(map(str, unknown)))}")
    return array_from_json(values[name], name)


def padded(coefficients: Array, steps: int) -> Array:
    """Return a whole first column, of shape (steps,)."""
    return np.pad(coefficients, (0, steps - len(coefficients)))


def triangle(column: Array) -> Array:
    """Return the lower triangular Toeplitz matrix with a first column."""
    matrix = np.zeros((len(column), len(column)))
    for lag, value in enumerate(column):
        np.fill_diagonal(matrix[lag:], value)
    return matrix
