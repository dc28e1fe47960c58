"""Independent noise in every step: what DP-SGD does."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from accountant.parameters import whole_count
from mechanisms.participation import Participation
from mechanisms.sensitivity import Sensitivity, of_toeplitz
from mechanisms.strategies.base import Array, Strategy
from mechanisms.workloads import Workload

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["Identity"]


class Identity(Strategy):
    """Independent noise: C is the identity.

    Parameters
    ----------
    steps : int
        Steps of the run, at least 1.

    Examples
    --------
    >>> round(Identity(256).rmse(), 3)
    11.336
    """

    name: ClassVar[str] = "identity"

    def __init__(self, steps: int) -> None:
        self._keep(steps=whole_count(steps, "steps", 1))

    def matrix(self) -> Array:
        """Return the identity, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return np.eye(self.steps)

    def decoder(self) -> Array:
        """Return the identity, of shape (steps, steps)."""
        return self.matrix()

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return the root of the number of participations; 1 where sampling prices each of them."""
        return of_toeplitz(np.ones(1), self.steps, participation)

    def squared_errors(self, workload: Workload) -> Array:
        """Return the squared norms of the workload's rows, of shape (steps,)."""
        self._check_workload(workload)
        if workload.coefficients is not None:
            return np.cumsum(np.square(workload.coefficients))
        return super().squared_errors(workload)

    def mean_squared_error(self, workload: Workload) -> float:
        """Return the mean squared error; for prefix sums ``(steps + 1) / 2``, however many."""
        self._check_workload(workload)
        if workload.poles == ((1.0, 1.0),):
            return (self.steps + 1) / 2
        return super().mean_squared_error(workload)

    def max_squared_error(self, workload: Workload) -> float:
        """Return the largest squared error; for prefix sums the number of steps."""
        self._check_workload(workload)
        if workload.poles == ((1.0, 1.0),):
            return float(self.steps)
        return super().max_squared_error(workload)

    @property
    def memory(self) -> int:
        """Nothing is kept."""
        return 0

    def noise_filter(self) -> "NoiseFilter":
        """Return the filter that leaves noise as it is."""
        from mechanisms.noise.filters import Independent

        return Independent()

    def _values(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        if values:
            raise ValueError("independent noise has no parameters but its steps")
        return cls(steps)

    def _content(self) -> Hashable:
        return ()

    def __repr__(self) -> str:
        return f"Identity({self.steps})"
