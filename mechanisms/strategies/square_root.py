"""The square root of a workload, and how many of its bands are best."""

from collections.abc import Hashable, Iterable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from accountant.parameters import short, whole_count
from mechanisms import workloads
from mechanisms.optimization import Objective, checked_objective
from mechanisms.participation import Participation, checked
from mechanisms.sensitivity import Sensitivity, of_toeplitz
from mechanisms.strategies.base import ONE_PARTICIPATION, Array
from mechanisms.strategies.inverse_toeplitz import InverseBandedToeplitz
from mechanisms.strategies.power_series import multiply, of_poles
from mechanisms.strategies.toeplitz import (
    BandedToeplitz,
    ToeplitzStrategy,
    root_coefficients,
    root_poles,
)
from mechanisms.strategies.toeplitz_errors import Column, leading
from mechanisms.workloads import LARGEST_VECTOR, Workload

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter

__all__ = ["SquareRoot", "best_square_root"]

Banded = TypeVar("Banded", BandedToeplitz, InverseBandedToeplitz)


class SquareRoot(ToeplitzStrategy):
    """C with C C = A, for prefix sums, momentum and weight decay (arXiv 2202.11205, 2405.13763).

    For prefix sums entry j is ``binom(2 j, j) / 4^j``; no Toeplitz C has a smaller maximal error
    for one participation (arXiv 2404.16706).

    Parameters
    ----------
    steps : int
        Steps of the run, 1 to 10^8.
    momentum, weight_decay : float
        Within [0, 1), as `mechanisms.workloads.momentum` takes them; both 0: prefix sums.

    Examples
    --------
    >>> root = SquareRoot(1000)
    >>> round(root.rmse(), 3), round(root.max_error(), 3)
    (3.102, 3.265)
    """

    name: ClassVar[str] = "square_root"

    momentum: float
    weight_decay: float

    def __init__(self, steps: int, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        count = whole_count(steps, "steps", 1)
        if count > LARGEST_VECTOR:
            raise ValueError(
                f"steps must be at most {LARGEST_VECTOR}, got {count}: a square root has as many "
                "coefficients; a BLT or banded strategy has few"
            )
        poles = root_poles(momentum, weight_decay)
        self._keep(steps=count, momentum=poles[1], weight_decay=float(weight_decay), _poles=poles)

    @cached_property
    def coefficients(self) -> Array:
        """First column of C, of shape (steps,): decreasing, not negative."""
        found = root_coefficients(self.steps, *self.__dict__["_poles"])
        found.flags.writeable = False
        return found

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return how far one example can move C x: exact (arXiv 2405.13763)."""
        return of_toeplitz(self.coefficients, self.steps, participation)

    def _first_column(self) -> Array:
        return self.coefficients

    def _column(self, workload: Workload) -> Column:
        if workload == workloads.momentum(self.steps, self.momentum, self.weight_decay):
            return Column(self.steps, self.coefficients, 0.0)
        first, second = self.__dict__["_poles"]
        inverse = of_poles(first, second, 0.5, self.steps)
        entries = multiply(leading(workload, self.steps), inverse, self.steps)
        return Column(self.steps, entries, 0.0)

    @property
    def memory(self) -> int:
        """Rows of noise that the last row needs: all others, one less than there are steps."""
        return self.steps - 1

    def noise_filter(self) -> "NoiseFilter":
        """Return forward substitution with C, which remembers every row."""
        from mechanisms.noise.filters import BandedFilter

        return BandedFilter(self.coefficients)

    def _values(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "weight_decay": self.weight_decay}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"momentum", "weight_decay"}
        if unknown:
            raise ValueError(f"a square root has no {short(min(map(str, unknown)))}")
        return cls(steps, values["momentum"], values["weight_decay"])

    def _content(self) -> Hashable:
        return self.momentum, self.weight_decay

    def __repr__(self) -> str:
        return (
            f"SquareRoot({self.steps}, momentum={self.momentum}, weight_decay={self.weight_decay})"
        )


def best_square_root(
    kind: type[Banded],
    *,
    steps: int,
    participation: Participation = ONE_PARTICIPATION,
    objective: Objective = "mean",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    bands: Iterable[int] | None = None,
    finer: bool = False,
) -> Banded:
    """Return the banded square root, or banded inverse square root, with the best number of bands.

    Parameters
    ----------
    kind : type
        `BandedToeplitz` for BSR, `InverseBandedToeplitz` for BISR.
    steps : int
    participation : Participation
    objective : {"mean", "max"}
        Which squared error counts.
    momentum, weight_decay : float
        Of the workload that the root is taken of, and errors are measured on.
    bands : iterable of int, optional
        Numbers of bands to compare; without them powers of two below the number of steps, until the
        next two are worse, and the separation.
    finer : bool
        Whether to go on between the neighbours of the best, halving the distance.  Errors need not
        have one minimum only: better, perhaps not best.

    Notes
    -----
    Each number of bands takes O(steps * bands) operations for BISR: a second for 1e5 and 8,192.
    """
    checked(participation)
    checked_objective(objective)
    count = whole_count(steps, "steps", 1)
    workload = workloads.momentum(count, momentum, weight_decay)

    @cache
    def strategy(width: int) -> Banded:
        return kind.square_root(count, width, momentum, weight_decay)

    @cache
    def error(width: int) -> float:
        measure = strategy(width).rmse if objective == "mean" else strategy(width).max_error
        return measure(workload, participation)

    if bands is not None:
        widths = list(bands)
        if not widths:
            raise ValueError("bands must name at least one number of bands")
        return strategy(min(widths, key=error))
    best: int = 1
    width, worse = 2, 0
    while width <= count and worse < 2:
        if error(width) < error(best):
            best, worse = width, 0
        else:
            worse += 1
        width *= 2
    best = min(best, participation.separation(count), key=error)
    distance: int = max(best // 4, 1) if finer else 0
    while distance:
        near: list[int] = [best, max(1, best - distance), min(count, best + distance)]
        nearest = min(near, key=error)
        if nearest == best:
            distance //= 2
        best = nearest
    return strategy(best)
