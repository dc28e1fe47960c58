"""Log moments of a likelihood ratio 1 - p + p r from those of r, at whole orders, rounded up.

Both the masks of a coordinate and Poisson sampling are of this form.  Error terms:
docs/sparsified.md, section 8.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

ULP = 2.0**-52
LARGEST_ORDER = 4096

Floats = npt.NDArray[np.float64]
Orders = npt.NDArray[np.int64]


def mixed_log_moments(orders: Orders, moments: Floats, p: float) -> Floats:
    """Upper bounds of log E_Q[(1 - p + p r)^a] at whole orders a.

    Parameters
    ----------
    orders
        Whole numbers from 0 to ``LARGEST_ORDER``.
    moments
        Upper bounds >= 0 of log E_Q[r^k] at index k = 0 to the highest order; those at 0 and 1
        count as 0.
    p
        Within (0, 1).
    """
    found: Floats = _mixed(orders, moments, math.log(p), math.log1p(-p), _log_factorials())
    return found


def masked_log_moments(orders: Orders, square: float, p: float) -> Floats:
    """Upper bounds of log E_Q[(1 - p + p rho)^a], rho = dN(x, 1)/dN(0, 1), x^2 = ``square``."""
    k = np.arange(int(orders.max()) + 1)
    return mixed_log_moments(orders, 0.5 * k * (k - 1.0) * square, p)


@lru_cache(maxsize=1)
def _log_factorials() -> Floats:
    """Log of n!, each from the integer itself: 2 ULP."""
    table = np.zeros(LARGEST_ORDER + 1)
    factorial = 1
    for n in range(1, LARGEST_ORDER + 1):
        factorial *= n
        table[n] = math.log(factorial)
    return table


@njit(cache=True, nogil=True, error_model="numpy")
def _log_binomial_mean(
    order: int, values: Floats, log_p: float, log_rest: float, log_factorials: Floats
) -> float:
    """Upper bound of log E[exp(values[K])], K ~ Binomial(order, p); values >= 0, [0] and [1] 0.

    ``log1p(sum_k P[K = k] expm1(values[k]))``: a sum of nonnegative terms, each rounded up.
    """
    top = -np.inf
    terms = np.empty(order + 1)
    for k in range(2, order + 1):
        terms[k] = -np.inf
        y = values[k]
        if y <= 0.0:
            continue
        if np.isinf(y):
            return np.inf
        factorials = log_factorials[order] + log_factorials[k] + log_factorials[order - k]
        binomial = log_factorials[order] - log_factorials[k] - log_factorials[order - k]
        weight = k * log_p + (order - k) * log_rest
        gain = y + math.log(-math.expm1(-y))
        size = factorials - weight + y + abs(gain) + 4.0
        terms[k] = binomial + weight + gain + 4.0 * ULP * size
        top = max(top, terms[k])
    if top == -np.inf:
        return 0.0
    total = 0.0
    for k in range(2, order + 1):
        total += math.exp(terms[k] - top)
    # the sum and its exponentials: order + 4 ULP, each exponent's rounding included
    total *= 1.0 + (order + 8.0) * ULP
    if top > 0.0:
        return (top + math.log(math.exp(-top) + total)) * (1.0 + 8.0 * ULP) + 1e-300
    return math.log1p(math.exp(top) * total) * (1.0 + 8.0 * ULP) + 1e-300


@njit(cache=True, nogil=True, error_model="numpy")
def _mixed(
    orders: Orders,
    moments: Floats,
    log_p: float,
    log_rest: float,
    log_factorials: Floats,
) -> Floats:
    found = np.zeros(orders.size)
    for i in range(orders.size):
        found[i] = _log_binomial_mean(orders[i], moments, log_p, log_rest, log_factorials)
    return found
