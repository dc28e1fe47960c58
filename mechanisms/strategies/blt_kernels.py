"""Compiled closed forms of buffered linear Toeplitz strategies, with their derivatives.

Everything is in rates, ``rate = -log(decay)``: the product of two decays is the sum of their rates,
and a decay near 1 keeps all its digits.  The sums of docs/blt.md, sections 2 and 3; where weights
are not negative all terms are positive, and nothing cancels.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "exponential_norm",
    "geometric",
    "mean_geometric",
    "sensitivity_squared",
    "strategy_loss",
]

Array = npt.NDArray[np.float64]

_CLOSEST: Final = 1e-6  # logits are at least so far apart
_FARTHEST: Final = 80.0  # free variables beyond are not tried
_LARGEST: Final = 34.0  # nor are logits
_SMALL: Final = 0.25  # below it, 1/expm1(y) - 1/y is summed as a series


@njit(cache=True, nogil=True)
def _bernoulli(y: float) -> float:
    """``1/expm1(y) - 1/y``, for y >= 0: from -1/2 up to 0."""
    if y < _SMALL:
        s = y * y
        return -0.5 + y * (
            1.0 / 12.0
            - s * (1.0 / 720.0 - s * (1.0 / 30240.0 - s * (1.0 / 1209600.0 - s / 47900160.0)))
        )
    if y > 700.0:
        return -1.0 / y
    return 1.0 / math.expm1(y) - 1.0 / y


@njit(cache=True, nogil=True)
def geometric(rate: float, count: float) -> tuple[float, float]:
    """The sum of ``exp(-s rate)`` over s = 0, ..., count - 1, and its derivative by the rate."""
    if count <= 0.0:
        return 0.0, 0.0
    if rate == 0.0:
        return count, -0.5 * count * (count - 1.0)
    value = math.expm1(-count * rate) / math.expm1(-rate)
    return value, value * (count * _bernoulli(count * rate) - _bernoulli(rate))


@njit(cache=True, nogil=True)
def mean_geometric(rate: float, count: float) -> tuple[float, float]:
    """The sum of ``(1 - s/count) exp(-s rate)`` over the same s, and its derivative by the rate."""
    if count <= 0.0:
        return 0.0, 0.0
    gap = -math.expm1(-rate)
    decay = math.exp(-rate)
    if count * gap < 1.0:
        term = 0.5 * (count + 1.0)
        value, slope = term, 0.0
        for k in range(1, 40):
            slope_term = -term * (count - k) / (k + 2.0)
            term = slope_term * gap
            value += term
            slope += k * slope_term
            if abs(term) <= 1e-18 * value:
                break
        return value, slope * decay
    sum_, slope = geometric(rate, count)
    value = (1.0 - decay * sum_ / count) / gap
    return value, (decay * (sum_ - slope) / count - decay * value) / gap


@njit(cache=True, nogil=True)
def _power(rate: float, count: float) -> float:
    """``exp(-count rate)``, 1 for count = 0 whatever the rate."""
    return 1.0 if count <= 0.0 else math.exp(-count * rate)


@njit(cache=True, nogil=True)
def sensitivity_squared(
    rates: Array, weights: Array, first: float, steps: float, separation: float, count: float
) -> tuple[float, Array, Array, float]:
    """Squared norm of C on steps 0, b, 2b, ..., and its gradients.

    C has the coefficients ``first`` and ``sum of weights exp(-(t - 1) rates)``, t >= 1.

    Parameters
    ----------
    rates, weights
        Shape (buffers,); rates are within [0, infinity].
    first
        The coefficient on the diagonal.
    steps, separation, count
        Whole numbers >= 1, with ``(count - 1) separation < steps``.

    Returns
    -------
    tuple
        The value; its derivatives by the rates and by the weights, both of shape (buffers,), and by
        the first coefficient.
    """
    d = len(rates)
    blocks = count - 1.0
    # over the blocks m = 1, ..., blocks: G(m) sums up geometrically, H sums G(m), F_ij sums G_i G_j
    pairs = np.zeros((d, d))
    pair_slopes = np.zeros((d, d))  # derivative by the first index's block rate
    if blocks >= 1.0:
        pairs[:] = 1.0
        sums, sum_slopes = np.empty(d), np.empty(d)
        totals, total_slopes = np.empty(d), np.empty(d)
        decays = np.empty(d)
        bit = 1.0
        while 2.0 * bit <= blocks:
            bit *= 2.0
        done = 1.0
        left = blocks - bit
        while bit > 1.0:
            bit *= 0.5
            for i in range(d):
                rate = separation * rates[i]
                sums[i], sum_slopes[i] = geometric(rate, done)
                mean, mean_slope = mean_geometric(rate, done)
                totals[i], total_slopes[i] = done * mean, done * mean_slope
                decays[i] = math.exp(-done * rate)
            for i in range(d):
                for j in range(d):
                    both = decays[i] * decays[j]
                    slope = pair_slopes[i, j] * (1.0 + both) - done * both * pairs[i, j]
                    slope += sum_slopes[i] * (done * sums[j] + decays[j] * totals[j])
                    slope += sums[j] * decays[i] * (total_slopes[i] - done * totals[i])
                    pair_slopes[i, j] = slope
            for i in range(d):
                for j in range(d):
                    value = pairs[i, j] * (1.0 + decays[i] * decays[j]) + done * sums[i] * sums[j]
                    value += sums[i] * decays[j] * totals[j] + sums[j] * decays[i] * totals[i]
                    pairs[i, j] = value
            done *= 2.0
            if left >= bit:
                left -= bit
                done += 1.0
                for i in range(d):
                    sums[i], sum_slopes[i] = geometric(separation * rates[i], done)
                for i in range(d):
                    for j in range(d):
                        pairs[i, j] += sums[i] * sums[j]
                        pair_slopes[i, j] += sum_slopes[i] * sums[j]
    by_rate, by_weight = np.zeros(d), np.zeros(d)
    last = steps - 1.0 - blocks * separation
    value = count * first * first
    by_first = 2.0 * count * first
    ends, end_slopes = np.empty(d), np.empty(d)
    for i in range(d):
        ends[i], end_slopes[i] = geometric(separation * rates[i], count)
    for i in range(d):
        cross, cross_slope = 0.0, 0.0
        if blocks >= 1.0:
            mean, mean_slope = mean_geometric(separation * rates[i], blocks)
            decay = _power(rates[i], separation - 1.0)
            cross = blocks * decay * mean
            cross_slope = blocks * decay * (separation * mean_slope - (separation - 1.0) * mean)
        value += 2.0 * first * weights[i] * cross
        by_first += 2.0 * weights[i] * cross
        by_weight[i] += 2.0 * first * cross
        by_rate[i] += 2.0 * first * weights[i] * cross_slope
        for j in range(d):
            block, block_slope = geometric(rates[i] + rates[j], separation)
            tail, tail_slope = geometric(rates[i] + rates[j], last)
            both = ends[i] * ends[j]
            gram = block * pairs[i, j] + tail * both
            slope = block_slope * pairs[i, j] + block * separation * pair_slopes[i, j]
            slope += tail_slope * both + tail * separation * end_slopes[i] * ends[j]
            value += weights[i] * weights[j] * gram
            by_weight[i] += 2.0 * weights[j] * gram
            by_rate[i] += 2.0 * weights[i] * weights[j] * slope
    return value, by_rate, by_weight, by_first


@njit(cache=True, nogil=True)
def _sum_of_powers(gap: float, count: float, mean: bool) -> tuple[float, float]:
    """`geometric` or `mean_geometric` of the ratio 1 - gap, and its derivative by the gap."""
    if gap < 0.5:
        rate = -math.log1p(-gap)
        value, slope = mean_geometric(rate, count) if mean else geometric(rate, count)
        return value, slope / (1.0 - gap)
    # from here on the ratio may be negative, and 1 - ratio loses nothing
    ratio = 1.0 - gap
    power = ratio ** (count - 1.0)
    total = (1.0 - power * ratio) / gap
    slope = (count * power - total) / gap
    if not mean:
        return total, slope
    value = (1.0 - ratio * total / count) / gap
    return value, ((total - ratio * slope) / count - value) / gap


@njit(cache=True, nogil=True)
def exponential_norm(
    gaps: Array, weights: Array, steps: float, mean: bool
) -> tuple[float, Array, Array]:
    """Sum of ``u_s (sum of weights (1 - gaps)**s)**2`` over s < steps, and its gradients.

    ``u_s`` is 1, or ``1 - s/steps`` where ``mean``; gaps are within [0, 2].

    Returns
    -------
    tuple
        The value; its derivatives by the gaps and by the weights, both of the same shape (terms,).
    """
    d = len(gaps)
    by_gap, by_weight = np.zeros(d), np.zeros(d)
    value = 0.0
    for i in range(d):
        for j in range(d):
            gap = gaps[i] + gaps[j] * (1.0 - gaps[i])
            gram, slope = _sum_of_powers(gap, steps, mean)
            value += weights[i] * weights[j] * gram
            by_weight[i] += 2.0 * weights[j] * gram
            by_gap[i] += 2.0 * weights[i] * weights[j] * slope * (1.0 - gaps[j])
    return value, by_gap, by_weight


@njit(cache=True, nogil=True)
def streamed_norm(
    rates: Array, weights: Array, coefficients: Array, gram: Array, mean: bool
) -> tuple[float, Array, Array]:
    """Squared norm of the last row of A D, or the mean over rows, and its gradients.

    By the recurrence itself, in time and memory O(steps buffers), and its adjoint.  With a gram
    matrix Q it is the quadratic form ``x^T Q x`` of the first column x instead.

    Parameters
    ----------
    rates, weights
        Those of C, of shape (buffers,).
    coefficients
        First column of the workload A, of shape (steps,); of the identity where Q is given.
    gram
        Q, symmetric, of shape (steps, steps), or (0, 0).
    mean
        As in `exponential_norm`, without Q.
    """
    n, d = len(coefficients), len(rates)
    decay = np.exp(-rates)
    buffers = np.zeros((n, d))
    column = np.empty(n)
    for t in range(n):
        column[t] = coefficients[t]
        for j in range(d):
            column[t] -= weights[j] * buffers[t, j]
        if t + 1 < n:
            for j in range(d):
                buffers[t + 1, j] = decay[j] * buffers[t, j] + column[t]
    pulls = column.copy()
    if len(gram) > 0:
        for t in range(n):
            pulls[t] = 0.0
            for other in range(n):
                pulls[t] += gram[t, other] * column[other]
    elif mean:
        pulls *= 1.0 - np.arange(n) / n
    value = np.sum(pulls * column)
    by_rate, by_weight, carried = np.zeros(d), np.zeros(d), np.zeros(d)
    for t in range(n - 1, -1, -1):
        back = 2.0 * pulls[t]
        for j in range(d):
            back += carried[j]
        for j in range(d):
            by_rate[j] -= decay[j] * carried[j] * buffers[t, j]
            by_weight[j] -= back * buffers[t, j]
            carried[j] = decay[j] * carried[j] - weights[j] * back
    return value, by_rate, by_weight


@njit(cache=True, nogil=True)
def _pole_error(
    gaps: Array,
    residues: Array,
    pole_gaps: Array,
    pole_weights: Array,
    steps: float,
    mean: bool,
    by_residue: Array,
    by_gap: Array,
) -> float:
    """Squared error of a workload with poles; adds its logarithm's derivatives to the last two.

    The first column of A D is a sum of exponentials: the workload's poles and the decays of the
    inverse (odd places).
    """
    d, poles = len(gaps) // 2, len(pole_gaps)
    distances = np.empty((poles, 2 * d))
    for p in range(poles):
        for k in range(2 * d):
            distance = gaps[k] - pole_gaps[p]
            distances[p, k] = distance if distance != 0.0 else 1e-30
    term_gaps, term_weights = np.empty(poles + d), np.empty(poles + d)
    for p in range(poles):
        term_gaps[p] = pole_gaps[p]
        term_weights[p] = pole_weights[p]
        for j in range(d):
            term_weights[p] *= distances[p, 2 * j] / distances[p, 2 * j + 1]
    for j in range(d):
        total = 0.0
        for p in range(poles):
            total += pole_weights[p] / distances[p, 2 * j + 1]
        term_gaps[poles + j] = gaps[2 * j + 1]
        term_weights[poles + j] = residues[2 * j + 1] * total
    error, error_by_gap, error_by_weight = exponential_norm(term_gaps, term_weights, steps, mean)
    if not error > 0.0:
        return error
    for j in range(d):
        down = error_by_weight[poles + j] / error
        by_residue[2 * j + 1] += down * term_weights[poles + j]
        by_gap[2 * j + 1] += error_by_gap[poles + j] / error
        for p in range(poles):
            to_decay, to_zero = distances[p, 2 * j + 1], distances[p, 2 * j]
            by_pole = error_by_weight[p] / error * term_weights[p]
            by_gap[2 * j] += by_pole / to_zero
            by_gap[2 * j + 1] -= by_pole / to_decay
            by_gap[2 * j + 1] -= down * residues[2 * j + 1] * pole_weights[p] / to_decay**2
    return error


@njit(cache=True, nogil=True)
def chain(free: Array) -> tuple[Array, Array, Array, Array]:
    """Interlacing gaps ``1 - decay`` of a strategy and of its inverse, from free variables.

    Parameters
    ----------
    free
        Shape (2 buffers,): the logit of the first gap; the logarithms of the steps to the logits of
        the next ones; last, that of the distance of the last gap to the one before.

    Returns
    -------
    tuple
        Gaps, those of C at even places, shape (2 buffers,); ``-log(1 - gap)`` of all but the last;
        differences ``gaps[k] - gaps[i]``, shape (2 buffers, 2 buffers); residues: the weights of C
        at even places, those of the inverse, without their sign, at odd ones.
    """
    m = len(free)
    logits, gaps, rates = np.empty(m), np.empty(m), np.zeros(m)
    for k in range(m - 1):
        logits[k] = free[0] if k == 0 else logits[k - 1] + math.exp(free[k]) + _CLOSEST
        small = math.exp(-abs(logits[k]))
        gaps[k] = (small if logits[k] < 0.0 else 1.0) / (1.0 + small)
        rates[k] = max(logits[k], 0.0) + math.log1p(small)
    beyond = math.exp(free[m - 1])
    gaps[m - 1] = gaps[m - 2] + beyond
    apart = np.zeros((m, m))
    for k in range(m):
        for i in range(k):
            if k < m - 1:
                apart[k, i] = gaps[k] * math.exp(-rates[i]) * -math.expm1(logits[i] - logits[k])
            else:
                apart[k, i] = apart[m - 2, i] + beyond
            apart[i, k] = -apart[k, i]
    residues = np.ones(m)
    for k in range(m):
        for i in range(1 - k % 2, m, 2):
            residues[k] *= abs(apart[i, k])
        for i in range(k % 2, m, 2):
            if i != k:
                residues[k] /= abs(apart[i, k])
    return gaps, rates, apart, residues


@njit(cache=True, nogil=True)
def strategy_loss(
    free: Array,
    pole_gaps: Array,
    pole_weights: Array,
    coefficients: Array,
    gram: Array,
    steps: float,
    separation: float,
    count: float,
    mean: bool,
) -> tuple[float, Array]:
    """Logarithm of squared sensitivity times squared error, and its gradient.

    Where the weights of C sum up to more than 1, its first coefficient is taken as large as the
    second for the sensitivity to several participations: an upper bound.

    Parameters
    ----------
    free
        As `chain` takes them.
    pole_gaps, pole_weights
        The workload's: ``1 - pole`` and weight; empty where `coefficients` are used.
    coefficients
        The workload's first column, shape (steps,), where it has no poles; else empty.
    gram
        As `streamed_norm` takes it, where the workload is not Toeplitz; else of shape (0, 0).
    steps, separation, count
        As in `sensitivity_squared`.
    mean
        Whether the squared errors are averaged; else the last, the largest, counts.
    """
    m = len(free)
    # the last logit; beyond, the gap rounds to 1, and to 0 below
    if np.max(np.abs(free)) > _FARTHEST or free[0] + np.sum(np.exp(free[1 : m - 1])) > _LARGEST:
        return math.inf, np.zeros(m)
    gaps, rates, apart, residues = chain(free)
    if not gaps[m - 1] < 2.0:
        return math.inf, np.zeros(m)
    weights = residues[::2].copy()
    first = max(1.0, np.sum(weights)) if count > 1.0 else 1.0
    squared, by_rate, by_weight, by_first = sensitivity_squared(
        rates[::2].copy(), weights, first, steps, separation, count
    )
    if first > 1.0:
        by_weight += by_first
    # backwards: derivatives by log residue and gap, both of shape (m,)
    by_residue, by_gap = np.zeros(m), np.zeros(m)
    by_gap[::2] = by_rate / squared * np.exp(rates[::2])
    by_residue[::2] = by_weight * weights / squared
    if len(pole_gaps) == 0:
        error, by_rate, by_weight = streamed_norm(
            rates[::2].copy(), weights, coefficients, gram, mean
        )
        by_gap[::2] += by_rate / error * np.exp(rates[::2])
        by_residue[::2] += by_weight * weights / error
    else:
        error = _pole_error(
            gaps, residues, pole_gaps, pole_weights, steps, mean, by_residue, by_gap
        )
    # where poles nearly meet, cancellation may leave nothing
    if not (0.0 < error < math.inf and squared < math.inf):
        return math.inf, np.zeros(m)
    for k in range(m):
        for i in range(m):
            if i != k:
                sign = 1.0 if (i + k) % 2 == 1 else -1.0
                pull = sign * by_residue[k] / apart[i, k]
                by_gap[i] += pull
                by_gap[k] -= pull
    gradient = np.empty(m)
    gradient[m - 1] = by_gap[m - 1] * math.exp(free[m - 1])
    by_gap[m - 2] += by_gap[m - 1]
    by_logit = 0.0
    for k in range(m - 2, -1, -1):
        by_logit += by_gap[k] * gaps[k] * math.exp(-rates[k])
        gradient[k] = by_logit * (math.exp(free[k]) if k > 0 else 1.0)
    return math.log(squared) + math.log(error), gradient


@njit(cache=True, nogil=True)
def minimize_loss(
    start: Array,
    pole_gaps: Array,
    pole_weights: Array,
    coefficients: Array,
    gram: Array,
    steps: float,
    separation: float,
    count: float,
    mean: bool,
    tolerance: float,
    iterations: int,
) -> tuple[float, Array, int]:
    """Minimise `strategy_loss` by BFGS with a bisection for the weak Wolfe conditions.

    Nocedal and Wright, Numerical Optimization, section 6.1; Lewis and Overton, 2013, section 2.

    Parameters
    ----------
    start
        First logit, then the logarithms of the steps to the next ones: shape (2 buffers,).
    tolerance
        Of the gradient's entries, and of what an iteration gains.
    iterations
        At most so many.

    Returns
    -------
    tuple
        The loss, the point, of the shape of `start`, and how often the loss was evaluated.
    """
    m = len(start)
    x = start.copy()
    f, g = strategy_loss(
        x, pole_gaps, pole_weights, coefficients, gram, steps, separation, count, mean
    )
    evaluations = 1
    inverse = np.eye(m)
    idle = 0
    for iteration in range(iterations):
        if not math.isfinite(f) or np.max(np.abs(g)) <= tolerance:
            break
        direction = np.zeros(m)
        for i in range(m):
            for j in range(m):
                direction[i] -= inverse[i, j] * g[j]
        slope = np.sum(direction * g)
        if not slope < 0.0:
            inverse = np.eye(m)
            direction = -g
            slope = -np.sum(g * g)
        largest = 2.0 / np.max(np.abs(direction))
        size = min(1.0, largest)
        low, high = 0.0, math.inf
        next_x, next_f, next_g = x, f, g
        for _ in range(30):
            trial = x + size * direction
            trial_f, trial_g = strategy_loss(
                trial, pole_gaps, pole_weights, coefficients, gram, steps, separation, count, mean
            )
            evaluations += 1
            if not trial_f <= f + 1e-4 * size * slope:
                high = size
            else:
                next_x, next_f, next_g = trial, trial_f, trial_g
                if np.sum(trial_g * direction) >= 0.9 * slope or size >= largest:
                    break
                low = size
            size = 0.5 * (low + high) if math.isfinite(high) else min(2.0 * size, largest)
        moved, turned = next_x - x, next_g - g
        gained = f - next_f
        x, f, g = next_x, next_f, next_g
        idle = idle + 1 if gained <= tolerance * max(1.0, abs(f)) else 0
        if idle == 3:
            break
        curvature = np.sum(moved * turned)
        if curvature > 1e-14 * math.sqrt(np.sum(moved * moved) * np.sum(turned * turned)):
            if iteration == 0:
                inverse *= curvature / np.sum(turned * turned)
            turned_by = np.zeros(m)
            for i in range(m):
                for j in range(m):
                    turned_by[i] += inverse[i, j] * turned[j]
            both = 1.0 + np.sum(turned * turned_by) / curvature
            for i in range(m):
                for j in range(m):
                    inverse[i, j] += both * moved[i] * moved[j] / curvature
                    inverse[i, j] -= (turned_by[i] * moved[j] + moved[i] * turned_by[j]) / curvature
    return f, x, evaluations
