"""The best Toeplitz strategies of so many bands, by quasi-Newton steps on exact gradients.

What is minimized is the logarithm of ``squared sensitivity * (mean or largest) squared error``,
which does not change when C is multiplied by a number.  Starting from the square root of the
workload, ten to twenty steps of L-BFGS are enough.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import minimize
from scipy.special import logsumexp

from mechanisms.optimization import Objective
from mechanisms.strategies.power_series import correlate, divide, square_root
from mechanisms.strategies.toeplitz_errors import column_of, is_toeplitz, leading
from mechanisms.workloads import Workload

__all__ = ["optimal_coefficients", "starting_coefficients"]

Array = npt.NDArray[np.float64]
# From coefficients to a value and its gradient.
Function: TypeAlias = Callable[[Array], tuple[float, Array]]

# Steps whose rows are transformed one by one, for workloads that are not Toeplitz.
LARGEST_ROWS: Final = 4096
# Powers whose means tend to the largest row's error.
_POWERS: Final = (16.0, 256.0, 4096.0)
_TOLERANCE: Final = 1e-9
# Steps within which noise settles, for longer runs.
_LONGEST: Final = 2**22
# A workload's own root is a start only where it stays small.
_LARGEST_START: Final = 10.0
_FORBIDDEN: Final = 1e3


def optimal_coefficients(
    workload: Workload,
    bands: int,
    *,
    separation: int,
    count: int,
    objective: Objective = "mean",
) -> Array:
    """Coefficients of the banded Toeplitz C of least error, of shape (bands,), the first being 1.

    With more bands than the separation they are kept decreasing and not negative: only there is
    their sensitivity a formula (arXiv 2405.13763).

    Parameters
    ----------
    workload : Workload
    bands : int
        At most the workload's steps.
    separation, count : int
        Least distance between two participations, and the most of them.
    objective : {"mean", "max"}
        Which squared error counts.
    """
    if bands == 1:
        return np.ones(1)
    sensitivity = _squared_sensitivity(workload.steps, separation, count)
    errors = _errors(workload, objective)
    if count <= 1 or bands <= separation:
        found = starting_coefficients(workload, bands)
        if _loss(errors[0], sensitivity)(found)[0] == _FORBIDDEN:
            raise ValueError(
                f"the errors do not settle within {_LONGEST} steps, or overflow, so that nothing "
                "can be optimized: take fewer steps, or another workload"
            )
        for error in errors:
            found = _minimized(error, sensitivity, found)
        return found
    # From the square root the search often ends above what fewer bands reach, from these never.
    fewer = optimal_coefficients(
        workload, separation, separation=separation, count=count, objective=objective
    )
    found = _decreasing(np.pad(fewer, (0, bands - separation)))
    for error in errors:
        found = _minimized_decreasing(error, sensitivity, found)
    return found


def starting_coefficients(workload: Workload, bands: int) -> Array:
    """First coefficients of the square root of the workload, of shape (bands,), the first being 1.

    Of prefix sums' square root, where the workload is not Toeplitz or its own root is not finite.
    """
    if is_toeplitz(workload):
        series = leading(workload, bands)
        with np.errstate(all="ignore"):
            root = square_root(series / series[0])
        if np.all(np.isfinite(root)) and np.max(np.abs(root)) <= _LARGEST_START:
            return root
    return _prefix_root(bands)


def _prefix_root(bands: int) -> Array:
    lags = np.arange(1.0, bands)
    return np.concatenate([[1.0], np.cumprod((lags - 0.5) / lags)])


def _decreasing(c: Array) -> Array:
    """The least decreasing sequence above the coefficients."""
    return np.maximum.accumulate(np.maximum(c, 0.0)[::-1])[::-1]


def _loss(error: Function, sensitivity: Function) -> Function:
    """Logarithm of the product of two functions of the coefficients."""

    def function(c: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            if c[0] > 0.0:
                (squared_error, slope), (squared, other) = error(c), sensitivity(c)
                value = np.log(squared_error * squared)
                gradient = slope / squared_error + other / squared
                if np.isfinite(value) and np.all(np.isfinite(gradient)):
                    return float(value), gradient
        # where noise explodes: the line search comes back
        return _FORBIDDEN, np.zeros_like(c)

    return function


def _minimized(error: Function, sensitivity: Function, start: Array) -> Array:
    """Minimize the product over all coefficients."""
    best = minimize(_loss(error, sensitivity), start, **_quasi_newton(1e-14)).x
    scaled: Array = best / best[0]
    return scaled


def _minimized_decreasing(error: Function, sensitivity: Function, start: Array) -> Array:
    """Minimize the product over decreasing coefficients that are not negative.

    They are sums of all later falls, which floating point keeps decreasing; each fall is an unknown
    above 0, in units of the square root's.
    """
    loss = _loss(error, sensitivity)
    root = _prefix_root(len(start))
    units = root - np.append(root[1:], 0.0)

    def coefficients(x: Array) -> Array:
        return np.cumsum((units * x)[::-1])[::-1]

    def loss_of_falls(x: Array) -> tuple[float, Array]:
        value, gradient = loss(coefficients(x))
        return value, units * np.cumsum(gradient)

    falls = (start - np.append(start[1:], 0.0)) / units
    bounds = [(0.0, None)] * len(falls)
    best = coefficients(minimize(loss_of_falls, falls, bounds=bounds, **_quasi_newton(1e-11)).x)
    # division by one number keeps the order
    scaled: Array = best / best[0]
    return scaled


def _quasi_newton(tolerance: float) -> dict[str, Any]:
    limits = {"maxiter": 2000, "maxfun": 4000, "maxcor": 20, "ftol": tolerance, "gtol": 1e-10}
    return {"jac": True, "method": "L-BFGS-B", "options": limits}


# -- what is minimized -----------------------------------------------------------------------------


def _squared_sensitivity(steps: int, separation: int, count: int) -> Function:
    """Squared norm of C on the pattern 0, b, 2b, ..., the worst (see `mechanisms.sensitivity`).

    There its entry t is v_t = c_t + c_{t-b} + ..., at most `count` of them.
    """

    def disjoint(c: Array) -> tuple[float, Array]:
        times = np.minimum(count, (steps - 1 - np.arange(len(c))) // separation + 1)
        return float(np.sum(times * c * c)), 2.0 * times * c

    def function(c: Array) -> tuple[float, Array]:
        if len(c) <= separation:
            return disjoint(c)
        reach = min(steps, (count - 1) * separation + len(c))
        rows = -(-reach // separation)
        moved = np.zeros(rows * separation)
        moved[: len(c)] = c[:reach]
        moved = _window(moved.reshape(rows, separation), count).ravel()
        moved[reach:] = 0.0
        slope = _window(moved.reshape(rows, separation)[::-1], count)[::-1].ravel()
        gradient = np.zeros(len(c))
        gradient[: len(slope)] = 2.0 * slope[: len(c)]
        return float(np.sum(moved * moved)), gradient

    return function


def _window(rows: Array, count: int) -> Array:
    """Sum of each row and those before it, `count` in all."""
    sums = np.cumsum(rows, axis=0)
    sums[count:] -= sums[:-count].copy()
    return sums


def _errors(workload: Workload, objective: Objective) -> list[Function]:
    """What to minimize one after the other, the last being what is asked for, or next to it."""
    if is_toeplitz(workload):
        return [_column_error(workload, objective)]
    power_mean = _row_errors(workload)
    return [partial(power_mean, power) for power in ((1.0,) if objective == "mean" else _POWERS)]


def _column_error(workload: Workload, objective: Objective) -> Function:
    """Error of a Toeplitz workload: b = a / c, so that d b / d c_j = -x^j b / c."""
    steps, length = workload.steps, 0

    def function(c: Array) -> tuple[float, Array]:
        nonlocal length
        total = float(np.sum(c))
        gain = 1.0 / total if total else math.inf
        column = column_of(
            workload,
            lambda a: divide(a, c),
            gain=gain,
            taps=len(c),
            tolerance=_TOLERANCE,
            length=length,
            longest=_LONGEST,
        )
        if column is None:
            return math.inf, np.zeros_like(c)
        b, rest = column.values, column.rest
        length = max(length, len(b))
        if objective == "mean":
            weights, ending = 1.0 - np.arange(len(b)) / steps, rest * (rest + 1) / (2 * steps)
        else:
            weights, ending = np.ones(len(b)), float(rest)
        weighted = weights * b
        ends = ending * column.limit**2
        slope = -2.0 * correlate(weighted, divide(b, c), len(c))
        return float(np.sum(weighted * b)) + ends, slope - (2.0 * ends * gain if rest else 0.0)

    return function


def _row_errors(workload: Workload) -> Callable[[float, Array], tuple[float, Array]]:
    """Power means of the rows' errors of any workload, by Fourier transforms of its rows.

    Row i of A C^{-1} is B_it = sum_s A_{i,t+s} e_s with e = 1 / c; and d e / d c_j = -x^j e^2.
    """
    steps = workload.steps
    if steps > LARGEST_ROWS:
        raise ValueError(
            f"a workload that is not Toeplitz is optimized for at most {LARGEST_ROWS} steps, this "
            f"one has {steps}: optimize for a Toeplitz one, such as prefix sums, and compare errors"
        )
    size = next_fast_len(2 * steps, real=True)
    rows = rfft(workload.matrix(), size, axis=1)

    def function(power: float, c: Array) -> tuple[float, Array]:
        unit = np.zeros(steps)
        unit[0] = 1.0
        e = divide(unit, c)
        b = irfft(rows * np.conj(rfft(e, size)), size, axis=1)[:, :steps]
        errors = np.einsum("ij,ij->i", b, b)
        logs = np.log(errors)
        log_mean = (logsumexp(power * logs) - math.log(steps)) / power
        # of the mean with respect to each row's error
        shares = np.exp((power - 1.0) * (logs - log_mean)) / steps
        both = np.einsum("ij,ij->j", rows, np.conj(rfft(shares[:, None] * b, size, axis=1)))
        of_inverse = 2.0 * irfft(both, size)[:steps]
        return math.exp(log_mean), -correlate(of_inverse, divide(e, c), len(c))

    return function
