"""Buffered linear Toeplitz strategies: correlated noise from a few buffers, for any run length."""

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import toeplitz

from accountant.parameters import as_float_array, short, whole_count
from mechanisms.participation import (
    CyclicPoisson,
    Participation,
    SingleParticipation,
    checked,
)
from mechanisms.sensitivity import (
    DECREASING,
    MAJORANT,
    ONE_COLUMN,
    Sensitivity,
    UnsupportedParticipationError,
)
from mechanisms.strategies import blt_closed_forms as closed_forms
from mechanisms.strategies.base import ONE_PARTICIPATION, Array, Strategy
from mechanisms.strategies.blt_optimization import MOST_BUFFERS, optimal_parameters
from mechanisms.workloads import LARGEST_VECTOR, Workload

if TYPE_CHECKING:
    from mechanisms.noise.filters import NoiseFilter
    from mechanisms.optimization import Objective

__all__ = ["BLT"]

# Weights beyond have no squares that are doubles.
_LARGEST_WEIGHT: Final = 1e100


class BLT(Strategy):
    """Toeplitz matrix with the coefficients 1 and ``c_t = sum_i weights_i decay_i**(t - 1)``.

    Its noise needs one model-sized array for each of a few buffers (arXiv 2404.16706; for several
    participations arXiv 2408.08868).  Sensitivity and errors are closed forms: a run of 1e9 steps
    takes no longer than one of 1000 (docs/blt.md).

    Parameters
    ----------
    steps : int
        Steps of the run, at least 1.
    decay, weights : sequences of the same length, 1 to 64 numbers
        What each buffer keeps from one step to the next, within [0, 1], and how much of it the
        noise has subtracted.  With weights that are not negative and sum up to at most 1 the
        coefficients decrease and every sensitivity is exact; with others, that of one participation
        still is, those of several are upper bounds where the coefficients may rise.

    Raises
    ------
    ValueError
        A parameter is outside its domain.

    Examples
    --------
    >>> strategy = BLT(100_000, (0.9999528892, 0.9857068667), (0.0122853238, 0.1878393665))
    >>> round(strategy.max_error(), 4)
    5.2967
    """

    name: ClassVar[str] = "blt"
    decay: Array
    weights: Array

    def __init__(
        self,
        steps: int,
        decay: npt.ArrayLike,
        weights: npt.ArrayLike,
    ) -> None:
        count = whole_count(steps, "steps", 1)
        kept, given = as_float_array(decay, "decay") + 0.0, as_float_array(weights, "weights") + 0.0
        if len(kept) != len(given) or len(kept) > MOST_BUFFERS:
            raise ValueError(
                f"decay and weights must hold one number each for every buffer, of which there are "
                f"at most {MOST_BUFFERS}; got {len(kept)} and {len(given)}"
            )
        if not np.all((kept >= 0.0) & (kept <= 1.0)):
            raise ValueError(
                f"decay must be within [0, 1], or a buffer grows or alternates; got {short(decay)}"
            )
        if not np.all(np.abs(given) <= _LARGEST_WEIGHT):
            raise ValueError(
                f"weights must be within [-1e100, 1e100], so that their squares are doubles; got "
                f"{short(weights)}"
            )
        kept.flags.writeable = given.flags.writeable = False
        self._keep(steps=count, decay=kept, weights=given)

    @classmethod
    def optimize(
        cls,
        *,
        steps: int,
        buffers: int,
        participation: Participation = ONE_PARTICIPATION,
        objective: "Objective" = "mean",
        workload: Workload | None = None,
    ) -> Self:
        """Return the strategy of least error that was found for so many buffers.

        Minimizes squared sensitivity times squared error over all decays within (0, 1) and weights
        above 0, by BFGS on exact gradients of the closed forms, from several starts and from the
        best of one buffer less.  A local minimum; docs/blt.md says how often starts at random found
        a better one.

        Parameters
        ----------
        steps : int
        buffers : int
            Within [1, 16].
        participation : Participation
        objective : {"mean", "max"}
            Which squared error counts: their mean over steps, or the largest.
        workload : Workload, optional
            What is estimated; without it, prefix sums.  One without poles needs O(steps) time and
            memory, and may have at most 1e6 steps; one that is not Toeplitz, at most 4,096.

        Raises
        ------
        UnsupportedParticipationError
            If nothing is proved for this participation.
        ValueError
            A parameter is outside its domain, or the workload too long.
        """
        count = whole_count(steps, "steps", 1)
        plain = cls(count, [0.0], [0.0])
        plain._refuse_sampling(participation)
        found = optimal_parameters(
            plain._workload(workload),
            buffers,
            separation=participation.separation(count),
            count=participation.count(count),
            objective=objective,
        )
        return cls(count, *found)

    # -- the matrices ------------------------------------------------------------------------------

    def coefficients(self) -> Array:
        """Return the first column of C, of shape (steps,), of at most 1e8 steps."""
        self._refuse_long_column()
        found: Array = closed_forms.first_column(self.decay, self.weights, self.steps)
        return found

    def inverse_coefficients(self) -> Array:
        """Return the first column of C^{-1}, of shape (steps,), of at most 1e8 steps."""
        self._refuse_long_column()
        unit = np.zeros(self.steps)
        unit[0] = 1.0
        unit.flags.writeable = False
        found: Array = closed_forms.first_column_of_product(self.decay, self.weights, unit)
        return found

    def matrix(self) -> Array:
        """Return C, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return np.asarray(toeplitz(self.coefficients(), np.zeros(self.steps)))

    def decoder(self) -> Array:
        """Return C^{-1}, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return np.asarray(toeplitz(self.inverse_coefficients(), np.zeros(self.steps)))

    def inverse(self) -> tuple[Array, Array]:
        """Return decay and weights of C^{-1}, which is a BLT too; its weights are below 0.

        Buffers without weight are left out, those of equal decay joined: shape (at most buffers,).

        Raises
        ------
        ValueError
            If a weight of C is negative: the inverse's decays may then be complex.
        """
        if np.any(self.weights < 0.0):
            raise ValueError(
                "the inverse of a BLT with negative weights may have complex decays; use "
                "inverse_coefficients() instead"
            )
        poles = closed_forms.inverse_poles(tuple(self.decay.tolist()), tuple(self.weights.tolist()))
        decay = np.array([float(1 - gap) for gap in poles.gaps])
        return decay, np.array([-float(weight) for weight in poles.weights])

    # -- what it costs, and how well it does -------------------------------------------------------

    def sensitivity_bound(self, participation: Participation) -> Sensitivity:
        """Return the sensitivity, from a closed form.

        Exact for one participation, and where the coefficients decrease; else that of coefficients
        at least as large that do.  Cyclic Poisson sampling is refused, unless no example has a
        second turn: a BLT has as many bands as steps.
        """
        self._refuse_sampling(participation)
        count = participation.count(self.steps)
        weights, first, exact, method = self.weights, 1.0, True, ONE_COLUMN
        if count > 1:
            exact = closed_forms.is_decreasing(self.decay, self.weights)
            method = DECREASING if exact else MAJORANT
        if not exact:
            weights = np.abs(weights)
            first = max(1.0, math.nextafter(math.fsum(weights), math.inf))
        value, sharp = closed_forms.sensitivity_bound(
            self.decay, weights, first, self.steps, participation.separation(self.steps), count
        )
        return Sensitivity(value, exact and sharp, method)

    def squared_errors(self, workload: Workload) -> Array:
        """Return the variance of the noise on every row of A x, of shape (steps,)."""
        self._check_workload(workload)
        column = workload.coefficients
        if column is None:
            return super().squared_errors(workload)
        return np.cumsum(
            np.square(closed_forms.first_column_of_product(self.decay, self.weights, column))
        )

    def mean_squared_error(self, workload: Workload) -> float:
        """Return the mean of `squared_errors`: a closed form where the workload has poles."""
        found = self._closed_form(workload, mean=True)
        return super().mean_squared_error(workload) if found is None else found

    def max_squared_error(self, workload: Workload) -> float:
        """Return the largest of `squared_errors`: a closed form where the workload has poles."""
        found = self._closed_form(workload, mean=False)
        return super().max_squared_error(workload) if found is None else found

    def _closed_form(self, workload: Workload, *, mean: bool) -> float | None:
        self._check_workload(workload)
        poles = workload.poles
        if poles is None or np.any(self.weights < 0.0):
            return None
        if not all(0.0 <= pole <= 1.0 for pole, _ in poles):
            return None
        inverse = closed_forms.inverse_poles(
            tuple(self.decay.tolist()), tuple(self.weights.tolist())
        )
        return closed_forms.squared_error(inverse, poles, self.steps, mean)

    # -- its noise ---------------------------------------------------------------------------------

    @property
    def memory(self) -> int:
        """The number of buffers."""
        return len(self.decay)

    def noise_filter(self) -> "NoiseFilter":
        """Return the filter that subtracts the buffers."""
        from mechanisms.noise.filters import BufferFilter

        return BufferFilter(self.decay, self.weights)

    # -- as data -----------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        return {"decay": self.decay.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def _from_values(cls, steps: int, values: Mapping[str, Any]) -> Self:
        unknown = set(values) - {"decay", "weights"}
        if unknown:
            raise ValueError(f"a BLT has decay and weights, but no {short(min(map(str, unknown)))}")
        return cls(steps, values["decay"], values["weights"])

    def _content(self) -> Hashable:
        return self.decay.tobytes(), self.weights.tobytes()

    def __repr__(self) -> str:
        return f"BLT({self.steps}, {self.decay.tolist()}, {self.weights.tolist()})"

    def _refuse_long_column(self) -> None:
        if self.steps > LARGEST_VECTOR:
            raise ValueError(
                f"{self.steps} coefficients are too many to hold; at most {LARGEST_VECTOR} are, so "
                "use the closed forms for sensitivity and error, which need none"
            )

    def _refuse_sampling(self, participation: Participation) -> None:
        checked(participation)
        if isinstance(participation, SingleParticipation) or participation.count(self.steps) <= 1:
            return
        if isinstance(participation, CyclicPoisson):
            raise UnsupportedParticipationError(
                f"under cyclic Poisson sampling from {participation.groups} groups a strategy "
                "needs at most as many bands, and a BLT has one for each step: use a banded "
                f"strategy, or MinSeparation({participation.groups}) without the sampling"
            )
