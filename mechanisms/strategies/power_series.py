"""Products and quotients of power series, which is what lower triangular Toeplitz matrices are.

A lower triangular Toeplitz matrix of n steps is a power series modulo x^n: its first column holds
the coefficients, and matrices are multiplied and inverted as the series are.  What is computed here
is accurate to rounding, with no bound on it; only `enclosed_inverse` has one, for sensitivities.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.fft import irfft, next_fast_len, rfft

__all__ = ["correlate", "divide", "enclosed_inverse", "multiply", "of_poles", "square_root"]

Array = npt.NDArray[np.float64]

# Above, Newton's iteration is quicker than the recursion.
LONGEST_RECURSION: Final = 1024
_SMALLEST: Final = 2.0**-900


def multiply(first: Array, second: Array, length: int) -> Array:
    """First `length` coefficients of the product of two series."""
    first, second = first[:length], second[:length]
    size = next_fast_len(len(first) + len(second) - 1, real=True)
    product: Array = irfft(rfft(first, size) * rfft(second, size), size)
    found = np.zeros(length)
    found[: min(length, size)] = product[:length]
    return found


def divide(numerator: Array, denominator: Array) -> Array:
    """Coefficients of the quotient of two series, as many as the numerator has.

    In O(length * denominator) operations, or O(length log length) for long denominators; the first
    coefficient of the denominator is not 0.
    """
    length = len(numerator)
    denominator = denominator[:length]
    if len(denominator) <= LONGEST_RECURSION:
        found: Array = _recursion(numerator, denominator)
        return found
    return multiply(numerator, _inverse(denominator, length), length)


def correlate(values: Array, others: Array, lags: int) -> Array:
    """``sum_s values[s] others[s - j]`` for j = 0, ..., lags - 1, by fast Fourier transforms."""
    size = next_fast_len(len(values) + lags, real=True)
    found: Array = irfft(rfft(values, size) * np.conj(rfft(others, size)), size)[:lags]
    return found


def square_root(series: Array) -> Array:
    """Coefficients of the square root of a series that starts with a number above 0."""
    found: Array = _square_root(np.ascontiguousarray(series))
    return found


def of_poles(first: float, second: float, exponent: float, length: int) -> Array:
    """Coefficients of ``((1 - first x) (1 - second x))**exponent``.

    The series solves a linear differential equation, hence three terms in a row a recursion.
    """
    found: Array = _of_poles(first, second, exponent, length)
    return found


def enclosed_inverse(series: Array, length: int) -> tuple[Array, Array]:
    """Coefficients of 1 / series and how far off, at most, each of them is.

    In O(length * series) operations.  The bounds are those of the rounding errors, followed through
    the recursion (Higham, "Accuracy and stability of numerical algorithms", section 3.1).
    """
    found, radius = _enclosed_inverse(np.ascontiguousarray(series[:length]), length)
    return found, radius


@njit(cache=True, nogil=True, error_model="numpy")
def _recursion(numerator: Array, denominator: Array) -> Array:
    length = len(numerator)
    rest = denominator[1:]
    found = numerator.copy()
    for s in range(length):
        found[s] /= denominator[0]
        value = found[s]
        # each coefficient is taken from all later ones at once, which the compiler vectorizes
        ahead = found[s + 1 : s + 1 + min(len(rest), length - 1 - s)]
        for j in range(len(ahead)):
            ahead[j] -= rest[j] * value
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _square_root(series: Array) -> Array:
    found = np.zeros_like(series)
    found[0] = np.sqrt(series[0])
    for s in range(1, len(series)):
        rest = series[s]
        for j in range(1, s):
            rest -= found[j] * found[s - j]
        found[s] = rest / (2.0 * found[0])
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _of_poles(first: float, second: float, exponent: float, length: int) -> Array:
    found = np.zeros(length)
    found[0] = 1.0
    total, product = first + second, first * second
    for j in range(length - 1):
        value = total * (j - exponent) * found[j]
        if j > 0:
            value -= product * (j - 1.0 - 2.0 * exponent) * found[j - 1]
        found[j + 1] = value / (j + 1.0)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _enclosed_inverse(series: Array, length: int) -> tuple[Array, Array]:
    lead, rest = abs(series[0]), series[1:]
    found, radius = np.zeros(length), np.zeros(length)
    found[0] = 1.0
    # so many roundings of relative size 2^-53 befall each term, and as many its bound
    share = (len(series) + 6) * 2.0**-53
    for s in range(length):
        value = found[s] / series[0]
        bound = (radius[s] / lead) * (1.0 + 4.0 * share)
        if s == 0:
            bound = abs(value) * 2.0**-52
        # below, products underflow: 0 is as good
        if abs(value) < _SMALLEST:
            bound, value = bound + _SMALLEST, 0.0
        found[s], radius[s] = value, bound
        if value == 0.0 and bound == 0.0:
            continue
        carried = bound + 2.0 * share * abs(value)
        count = min(len(rest), length - 1 - s)
        ahead, around = found[s + 1 : s + 1 + count], radius[s + 1 : s + 1 + count]
        for j in range(count):
            ahead[j] -= rest[j] * value
            around[j] += abs(rest[j]) * carried
    return found, radius


def _inverse(series: Array, length: int) -> Array:
    """1 / series to `length` coefficients: Newton's e <- e (2 - series e) doubles their number."""
    found = np.array([1.0 / series[0]])
    while len(found) < length:
        known = min(2 * len(found), length)
        size = next_fast_len(2 * known, real=True)
        transform = rfft(found, size)
        rest: Array = -irfft(rfft(series[:known], size) * transform, size)[:known]
        rest[0] += 2.0
        found = irfft(rfft(rest, size) * transform, size)[:known]
    return found
