"""An upper bound on a trade-off curve, from lower bounds on delta.

The library's ``fnr`` is a lower bound, the safe side; calling somebody else's curve unsound takes
the other side. With delta_1(eps) the curve of one direction and delta_2(eps) that of the other, the
smallest type II error of the first is

    f(fpr) = sup over eps >= 0 of max(0, g(e^eps), h(e^-eps)),
    g(y) = 1 - delta_1(log y) - y fpr,         h(w) = w (1 - delta_2(-log w) - fpr)

(the primal-dual view of Dong, Roth and Su, Gaussian differential privacy, 2022, with delta_1(-eps)
written as delta_2(eps)), and that of the worse direction the smaller of the two. delta is convex as
a function of e^eps, so g is concave, and h, the perspective of a concave function, is concave too.
Between two neighbouring points of a grid a concave function lies below its secants prolonged from
either side, which bounds the supremum over all eps from finitely many values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from accountant import Bounds, PrivacyLoss

Array = NDArray[np.float64]

_POINTS = 6_001
_LARGEST_EPSILON = 12.0
# Far above the rounding of the double-precision arithmetic here, far below what is looked for.
_MARGIN = 1e-9


def largest_fnrs(loss: PrivacyLoss, fprs: Array) -> Array:
    """Upper bounds on the smallest type II errors at ``fprs``, all of them at least 1e-3.

    Beyond the grid g is at most 1 - e^12 * 1e-3 < 0 and h at most e^-12, which is below 1e-5.
    """
    epsilons = np.linspace(0.0, _LARGEST_EPSILON, _POINTS)
    add = loss.delta_bounds(epsilons, direction="add")
    remove = loss.delta_bounds(epsilons, direction="remove")
    one_way = _largest_of_direction(epsilons, add, remove, fprs)
    other_way = _largest_of_direction(epsilons, remove, add, fprs)
    return np.minimum(np.minimum(one_way, other_way) + _MARGIN, 1.0)


def _largest_of_direction(epsilons: Array, own: Bounds, other: Bounds, fprs: Array) -> Array:
    steep, flat = np.exp(epsilons), np.exp(-epsilons)[::-1]
    own_low, own_high = np.asarray(own.lower), np.asarray(own.upper)
    other_low, other_high = np.asarray(other.lower)[::-1], np.asarray(other.upper)[::-1]
    largest = np.empty_like(fprs)
    for i, fpr in enumerate(fprs):
        g = _supremum(steep, 1.0 - own_high - steep * fpr, 1.0 - own_low - steep * fpr)
        h = _supremum(flat, flat * (1.0 - other_high - fpr), flat * (1.0 - other_low - fpr))
        largest[i] = max(g, h, flat[0])
    return largest


def _supremum(x: Array, at_least: Array, at_most: Array) -> float:
    """Bound a concave function over [x[0], x[-1]] from brackets of its values at ``x``."""
    width = np.diff(x)
    beyond = np.full(len(width), np.inf)
    from_left, from_right = beyond.copy(), beyond
    # The secant before an interval at its steepest, prolonged over it; then the one after.
    steepest = (at_most[1:-1] - at_least[:-2]) / width[:-1]
    from_left[1:] = at_most[1:-1] + np.maximum(steepest * width[1:], 0.0)
    flattest = (at_least[2:] - at_most[1:-1]) / width[1:]
    from_right[:-1] = at_most[1:-1] + np.maximum(-flattest * width[:-1], 0.0)
    return float(np.max(np.minimum(from_left, from_right)))
