"""Strategies whose inverse is Toeplitz with few diagonals: noise is a moving average."""

import math
from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from accountant.parameters import whole_count
from mechanisms.participation import Participation, checked
from mechanisms.sensitivity import Sensitivity, of_toeplitz
from mechanisms.strategies.base import Array, array_to_json
from mechanisms.strategies.power_series import enclosed_inverse, multiply, of_poles
from mechanisms.strategies.toeplitz import (
    LARGEST,
    TOLERANCE,
    ToeplitzStrategy,
    checked_bands,
    checked_coefficients,
    only_field,
    padded,
    root_poles,
    triangle,
)
from mechanisms.strategies.toeplitz_errors import Column, column_of
from mechanisms.workloads import LARGEST_VECTOR, Workload

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["InverseBandedToeplitz"]

ENCLOSED: Final = "coefficients of C enclosed"

# Shares below which rounding alone parts two bounds of a sensitivity.
_ROUNDING: Final = 1e-7
_NEGLIGIBLE: Final = 1e-150


class InverseBandedToeplitz(ToeplitzStrategy):
    """The inverse of C has so many diagonals, each of one number (arXiv 2505.12128).

    Noise is then a moving average of independent noise.

    Parameters
    ----------
    steps : int
        Steps of the run, at least 1.
    inverse_coefficients : array_like of shape (bands,)
        Start of the first column of C^{-1}, the rest of which is 0.  At most `steps` of them; the
        first is above 0.

    Examples
    --------
    >>> bisr = InverseBandedToeplitz.square_root(1000, 256)
    >>> round(bisr.rmse(), 3), round(bisr.max_error(), 3)
    (3.051, 3.362)
    """

    name: ClassVar[str] = "inverse_banded_toeplitz"

    inverse_coefficients: Array

    def __init__(self, steps: int, inverse_coefficients: npt.ArrayLike) -> None:
        count = whole_count(steps, "steps", 1)
        if count > LARGEST_VECTOR:
            raise ValueError(
                f"steps must be at most {LARGEST_VECTOR}, got {count}: all coefficients of C are "
                "needed for its sensitivity; a BLT or banded strategy has few"
            )
        found = checked_coefficients(inverse_coefficients, count, "inverse_coefficients")
        self._keep(steps=count, inverse_coefficients=found)

    @classmethod
    def square_root(
        cls, steps: int, bands: int, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> Self:
        """Return the banded inverse square root: the first bands of the square root's inverse.

        BISR in arXiv 2505.12128; the workload is `mechanisms.workloads.momentum`'s.
        """
        count = whole_count(steps, "steps", 1)
        poles = root_poles(momentum, weight_decay)
        return cls(count, of_poles(*poles, 0.5, checked_bands(bands, count)))

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move C x.

        From bounds of the absolute values of C's coefficients; exact where these are not negative
        and decrease, as those of `square_root` do (Kaluza's theorem: the sums of the inverse's
        coefficients are log-convex).

        Raises
        ------
        ValueError
            If C's coefficients grow beyond what floating point can bound.
        """
        checked(participation)
        values, radius = self._enclosure
        sizes = np.abs(values)
        above = np.nextafter(sizes + radius, np.inf)
        if not np.all(above <= LARGEST):
            raise ValueError(
                "the coefficients of C, the inverse of these, grow beyond what can be bounded: "
                "take inverse_coefficients for which C decays, such as those of square_root"
            )
        below = np.maximum(np.nextafter(sizes - radius, -np.inf), 0.0)
        upper = above
        if participation.count(self.steps) > 1:
            upper = np.maximum.accumulate(above[::-1])[::-1]
            is_nonnegative = bool(np.all(values - radius > -_NEGLIGIBLE))
            below = np.minimum.accumulate(below) * is_nonnegative
        bound = of_toeplitz(upper, self.steps, participation)
        least = of_toeplitz(below, self.steps, participation) if below[0] else None
        if least and bound.exact and least.value >= bound.value * (1.0 - _ROUNDING):
            return Sensitivity(bound.value, True, f"{bound.method}; {ENCLOSED}")
        bound = of_toeplitz(above, self.steps, participation)
        return Sensitivity(bound.value, False, f"{bound.method}; {ENCLOSED}")

    @cached_property
    def _enclosure(self) -> tuple[Array, Array]:
        return enclosed_inverse(self.inverse_coefficients, self.steps)

    def _first_column(self) -> Array:
        return self._enclosure[0]

    def decoder(self) -> Array:
        """Return the inverse of C, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return triangle(padded(self.inverse_coefficients, self.steps))

    def _column(self, workload: Workload) -> Column | None:
        return column_of(
            workload,
            lambda a: multiply(a, self.inverse_coefficients, len(a)),
            gain=math.fsum(self.inverse_coefficients),
            taps=len(self.inverse_coefficients),
            tolerance=TOLERANCE,
        )

    @property
    def memory(self) -> int:
        """Independent rows that a row of noise needs besides its own, unless drawn again."""
        return len(self.inverse_coefficients) - 1

    def noise_filter(self) -> "NoiseFilter":
        """Return the moving average."""
        from mechanisms.noise.filters import InverseBandedFilter

        return InverseBandedFilter(self.inverse_coefficients)

    def _values(self) -> dict[str, Any]:
        return {"inverse_coefficients": array_to_json(self.inverse_coefficients)}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        return cls(steps, only_field(values, "inverse_coefficients"))

    def _content(self) -> Hashable:
        return self.inverse_coefficients.tobytes()

    def __repr__(self) -> str:
        bands = len(self.inverse_coefficients)
        return f"InverseBandedToeplitz({self.steps}, <{bands} coefficients>)"
