"""Bounds of a mean from independent samples, with a stated probability of failing."""

from __future__ import annotations

import math

__all__ = ["upper_confidence_bound"]


def upper_confidence_bound(
    total: float, squares: float, samples: int, largest: float, failing: float
) -> float:
    """Above the mean of independent variables within [0, largest], but for a probability.

    The smaller of two bounds, each of which fails with at most half of ``failing``: Hoeffding's
    (1963, inequality 2.1), ``n KL(mean || bound) = log(1/failing)``, and the empirical Bernstein
    bound of Maurer and Pontil (2009, Theorem 4).

    Parameters
    ----------
    total, squares
        Sums of the variables and of their squares.
    samples
        How many.
    largest
        Above every variable.
    failing
        Probability, within (0, 1).
    """
    n = samples
    cost = math.log(2.0 / failing)
    mean = min(1.0, total / (n * largest) * (1.0 + 1e-12))
    low, high = mean, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if n * _divergence(mean, middle) < cost:
            low = middle
        else:
            high = middle
    spread = max(0.0, squares - total * total / n) / (n - 1.0) + 1e-12 * squares / n
    bernstein = total / n + math.sqrt(2.0 * spread * (cost + math.log(2.0)) / n)
    bernstein += 7.0 * largest * (cost + math.log(2.0)) / (3.0 * (n - 1.0))
    return min(high * largest, bernstein) * (1.0 + 1e-9)


def _divergence(p: float, q: float) -> float:
    """KL(p || q) of two coins."""
    if q >= 1.0:
        return math.inf if p < 1.0 else 0.0
    first = p * math.log(p / q) if p > 0.0 else 0.0
    rest = (1.0 - p) * (math.log1p(-p) - math.log1p(-q)) if p < 1.0 else 0.0
    return first + rest
