"""What a run estimates: a lower triangular matrix A that is applied to the gradients' sums.

Row t of A x is what the run holds after step t, as a linear function of the sums x of all steps.
Plain SGD with a constant rate holds prefix sums, the lower triangle of ones; momentum, weight decay
and a learning rate that changes make other matrices.  A mechanism's error is the noise on A x
(arXiv 2202.08312, section 4 and appendix B).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter

from accountant.parameters import short, whole_count

__all__ = [
    "LARGEST_DENSE",
    "LARGEST_VECTOR",
    "MatrixWorkload",
    "ScheduledWorkload",
    "ToeplitzWorkload",
    "Workload",
    "from_matrix",
    "learning_rates",
    "momentum",
    "prefix_sum",
    "toeplitz",
]

Array = npt.NDArray[np.float64]

LARGEST_DENSE: Final = 8192  # steps whose square matrix is formed: half a gigabyte
_SMALLEST, _LARGEST = 1e-100, 1e100
LARGEST_VECTOR: Final = 10**8  # steps for which one number each is held


class Workload(ABC):
    """A lower triangular matrix, steps x steps, with no zero on its diagonal.

    Immutable; equal to another one of the same kind and content.
    """

    steps: int

    @property
    def coefficients(self) -> Array | None:
        """First column, of shape (steps,), where the matrix is Toeplitz; else None."""
        return None

    @property
    def poles(self) -> tuple[tuple[float, float], ...] | None:
        """Pairs (pole, weight) with entry ``sum of weight * pole**t`` on diagonal t; or None."""
        return None

    @abstractmethod
    def matrix(self) -> Array:
        """Return A, of shape (steps, steps).

        Raises
        ------
        ValueError
            If there are too many steps to form it.
        """

    @abstractmethod
    def apply(self, x: npt.ArrayLike) -> Array:
        """Return ``A @ x``, along the first axis of an array of shape (steps, ...)."""

    @abstractmethod
    def apply_transpose(self, x: npt.ArrayLike) -> Array:
        """Return ``A.T @ x``, along the first axis of an array of shape (steps, ...)."""

    @abstractmethod
    def _content(self) -> Hashable:
        """Return what tells this one from others of its kind."""

    def _given(self, x: npt.ArrayLike) -> Array:
        values = np.asarray(x, dtype=np.float64)
        if values.ndim == 0 or values.shape[0] != self.steps:
            raise ValueError(
                f"x must have {self.steps} rows, one for each step, got shape {values.shape}"
            )
        return values

    def _refuse_large_matrix(self) -> None:
        refuse_large_matrix(self.steps)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._content() == other._content()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._content()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A workload does not change: make a new one.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A workload does not change: make a new one.")


def refuse_large_matrix(steps: int) -> None:
    """Refuse to form a matrix of more than `LARGEST_DENSE` steps."""
    if steps > LARGEST_DENSE:
        raise ValueError(
            f"a matrix of {steps} x {steps} numbers is too large to form; at most {LARGEST_DENSE} "
            "steps are, so use a Toeplitz or BLT strategy, which need no matrix"
        )


class ToeplitzWorkload(Workload):
    """A workload that treats every step alike; see `prefix_sum`, `momentum` and `toeplitz`."""

    def __init__(
        self,
        steps: int,
        coefficients: Array | None = None,
        poles: tuple[tuple[float, float], ...] | None = None,
    ) -> None:
        if (coefficients is None) == (poles is None):
            raise ValueError("give either coefficients or poles")
        self.__dict__.update(steps=steps, _poles=poles)
        if coefficients is not None:
            self.__dict__["coefficients"] = coefficients

    @property
    def poles(self) -> tuple[tuple[float, float], ...] | None:
        """Pairs (pole, weight) with entry ``sum of weight * pole**t`` on diagonal t; or None."""
        found: tuple[tuple[float, float], ...] | None = self.__dict__["_poles"]
        return found

    @cached_property
    def coefficients(self) -> Array:
        """First column, of shape (steps,).

        Raises
        ------
        ValueError
            If there are more steps than numbers that can be held.
        """
        if self.steps > LARGEST_VECTOR:
            raise ValueError(
                f"{self.steps} coefficients are too many to hold; at most {LARGEST_VECTOR} are, so "
                "use a BLT strategy, whose closed forms need none"
            )
        values = np.zeros(self.steps)
        for pole, weight in self.poles or ():
            values += weight if pole == 1.0 else weight * pole ** np.arange(self.steps)
        values.flags.writeable = False
        return values

    def matrix(self) -> Array:
        """Return A, of shape (steps, steps)."""
        self._refuse_large_matrix()
        rows = np.zeros((self.steps, self.steps))
        for t, value in enumerate(self.coefficients):
            np.fill_diagonal(rows[t:], value)
        return rows

    def apply(self, x: npt.ArrayLike) -> Array:
        """Return ``A @ x``, along the first axis of an array of shape (steps, ...)."""
        values = self._given(x)
        if self.poles is not None:
            parts = [w * lfilter([1.0], [1.0, -p], values, axis=0) for p, w in self.poles]
            return np.asarray(sum(parts))
        kernel = self.coefficients.reshape((-1,) + (1,) * (values.ndim - 1))
        return np.asarray(fftconvolve(values, kernel, axes=0)[: self.steps])

    def apply_transpose(self, x: npt.ArrayLike) -> Array:
        """Return ``A.T @ x``, along the first axis of an array of shape (steps, ...)."""
        return self.apply(self._given(x)[::-1])[::-1]

    def _content(self) -> Hashable:
        return self.steps, self.poles if self.poles is not None else self.coefficients.tobytes()

    def __repr__(self) -> str:
        said = f"poles={self.poles}" if self.poles is not None else "coefficients=..."
        return f"ToeplitzWorkload(steps={self.steps}, {said})"


class ScheduledWorkload(Workload):
    """SGD with a learning rate that changes; see `learning_rates`."""

    def __init__(self, rates: Array, beta: float, weight_decay: float) -> None:
        self.__dict__.update(steps=len(rates), rates=rates, beta=beta, weight_decay=weight_decay)

    rates: Array
    beta: float
    weight_decay: float

    def matrix(self) -> Array:
        """Return A, of shape (steps, steps)."""
        self._refuse_large_matrix()
        return self.apply(np.eye(self.steps))

    def apply(self, x: npt.ArrayLike) -> Array:
        """Return ``A @ x``, along the first axis of an array of shape (steps, ...)."""
        values = self._given(x)
        moved = lfilter([1.0], [1.0, -self.beta], values, axis=0)
        moved = moved * self.rates.reshape((-1,) + (1,) * (values.ndim - 1))
        return np.asarray(lfilter([1.0], [1.0, self.weight_decay - 1.0], moved, axis=0))

    def apply_transpose(self, x: npt.ArrayLike) -> Array:
        """Return ``A.T @ x``, along the first axis of an array of shape (steps, ...)."""
        values = self._given(x)[::-1]
        kept = lfilter([1.0], [1.0, self.weight_decay - 1.0], values, axis=0)
        kept = kept * self.rates[::-1].reshape((-1,) + (1,) * (values.ndim - 1))
        return np.asarray(lfilter([1.0], [1.0, -self.beta], kept, axis=0))[::-1]

    def _content(self) -> Hashable:
        return self.rates.tobytes(), self.beta, self.weight_decay

    def __repr__(self) -> str:
        return (
            f"ScheduledWorkload(steps={self.steps}, beta={self.beta}, "
            f"weight_decay={self.weight_decay})"
        )


class MatrixWorkload(Workload):
    """Any lower triangular matrix; see `from_matrix`."""

    def __init__(self, matrix: Array) -> None:
        self.__dict__.update(steps=len(matrix), _matrix=matrix)

    def matrix(self) -> Array:
        """Return A, of shape (steps, steps), not to be written to."""
        found: Array = self.__dict__["_matrix"]
        return found

    def apply(self, x: npt.ArrayLike) -> Array:
        """Return ``A @ x``, along the first axis of an array of shape (steps, ...)."""
        return np.asarray(np.tensordot(self.matrix(), self._given(x), axes=1))

    def apply_transpose(self, x: npt.ArrayLike) -> Array:
        """Return ``A.T @ x``, along the first axis of an array of shape (steps, ...)."""
        return np.asarray(np.tensordot(self.matrix().T, self._given(x), axes=1))

    def _content(self) -> Hashable:
        return self.steps, self.matrix().tobytes()

    def __repr__(self) -> str:
        return f"MatrixWorkload(steps={self.steps})"


# -- the workloads people have ---------------------------------------------------------------------


def prefix_sum(steps: int) -> Workload:
    """SGD with a constant learning rate: every step counts once, from then on.

    Parameters
    ----------
    steps : int
        Steps of the run, at least 1.

    Examples
    --------
    >>> prefix_sum(3).matrix().tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return ToeplitzWorkload(whole_count(steps, "steps", 1), poles=((1.0, 1.0),))


def momentum(steps: int, beta: float, weight_decay: float = 0.0) -> Workload:
    """SGD with momentum and weight decay, at a constant learning rate of 1.

    ``m_t = beta m_{t-1} + x_t`` and ``theta_t = (1 - weight_decay) theta_{t-1} + m_t``.

    Parameters
    ----------
    steps : int
        At least 1.
    beta : float
        Momentum, within [0, 1).
    weight_decay : float
        Share of the model that every step forgets, within [0, 1): the learning rate times the
        coefficient of the penalty.
    """
    count = whole_count(steps, "steps", 1)
    rate = _share(beta, "beta")
    kept = 1.0 - _share(weight_decay, "weight_decay")
    if rate == 0.0:
        return ToeplitzWorkload(count, poles=((kept, 1.0),))
    # Weights that nearly cancel lose digits; then the coefficients themselves are kept.
    if abs(kept - rate) > 1e-3:
        weights = (kept / (kept - rate), -rate / (kept - rate))
        return ToeplitzWorkload(count, poles=((kept, weights[0]), (rate, weights[1])))
    if count > LARGEST_VECTOR:
        raise ValueError(
            f"beta = {rate} too near to 1 - weight_decay = {kept} for {count} steps in closed "
            "form; use other values, or fewer steps"
        )
    values = np.zeros(count)
    values[0] = 1.0
    values = lfilter([1.0], [1.0, -kept], lfilter([1.0], [1.0, -rate], values))
    return toeplitz(values)


def learning_rates(
    rates: npt.ArrayLike, beta: float = 0.0, weight_decay: float = 0.0
) -> ScheduledWorkload:
    """SGD whose step t has its own learning rate.

    ``m_t = beta m_{t-1} + x_t`` and ``theta_t = (1 - weight_decay) theta_{t-1} + rates[t] m_t``.

    Parameters
    ----------
    rates : array_like of shape (steps,)
        Above 0; see `mechanisms.rate_schedules`.
    beta : float
        Momentum, within [0, 1).
    weight_decay : float
        Share of the model that every step forgets, within [0, 1).
    """
    values = _vector(rates, "rates")
    if not np.all(values > 0.0):
        raise ValueError("rates must be above 0: a step that changes nothing needs no release")
    return ScheduledWorkload(values, _share(beta, "beta"), _share(weight_decay, "weight_decay"))


def toeplitz(coefficients: npt.ArrayLike) -> ToeplitzWorkload:
    """Any workload that treats every step alike, from its first column.

    Parameters
    ----------
    coefficients : array_like of shape (steps,)
        Entry t is on diagonal t; the first is not 0.
    """
    values = _vector(coefficients, "coefficients")
    if values[0] == 0.0:
        raise ValueError("coefficients must not start with 0: every step's own sum must count")
    return ToeplitzWorkload(len(values), coefficients=values)


def from_matrix(matrix: npt.ArrayLike) -> MatrixWorkload:
    """Any lower triangular workload.

    Parameters
    ----------
    matrix : array_like of shape (steps, steps)
        Zero above the diagonal and nowhere on it.

    Raises
    ------
    ValueError
        If it is not such a matrix.
    """
    values = lower_triangular(matrix, "matrix")
    return MatrixWorkload(values)


def lower_triangular(matrix: npt.ArrayLike, name: str) -> Array:
    """Return a checked copy, read-only, of a lower triangular matrix without a zero diagonal."""
    try:
        values = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {short(matrix)}") from None
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] == 0:
        raise ValueError(f"{name} must be square, with a row for each step, not {values.shape}")
    refuse_large_matrix(len(values))
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must hold finite numbers only")
    _refuse_extreme(values, name)
    if np.any(np.triu(values, 1)):
        raise ValueError(f"{name} must be lower triangular: a step cannot use later ones")
    if not np.all(np.diagonal(values)):
        raise ValueError(f"{name} must have no 0 on its diagonal, or it has no inverse")
    values.flags.writeable = False
    return values


def _share(value: float, name: str) -> float:
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be within [0, 1), got {short(value)}")
    return float(value)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return is_number and not isinstance(value, bool) and math.isfinite(value)


def _refuse_extreme(values: Array, name: str) -> None:
    """Refuse numbers whose squares underflow or overflow."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if not _SMALLEST <= largest <= _LARGEST:
        raise ValueError(
            f"the largest of {name} must have a size within [{_SMALLEST:g}, {_LARGEST:g}], so that "
            f"its square is a double, got {largest:g}: choose other units"
        )


def _vector(values: npt.ArrayLike | Sequence[float], name: str) -> Array:
    """Return a checked copy, read-only, of finite numbers in one dimension."""
    try:
        given = np.asarray(values)
        if given.dtype.kind not in "iuf":
            raise TypeError
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {short(values)}") from None
    if found.ndim != 1 or not 1 <= len(found) <= LARGEST_VECTOR:
        raise ValueError(
            f"{name} must have one dimension and 1 to {LARGEST_VECTOR} numbers, got shape "
            f"{found.shape}"
        )
    if not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be finite numbers")
    _refuse_extreme(found, name)
    found.flags.writeable = False
    return found
