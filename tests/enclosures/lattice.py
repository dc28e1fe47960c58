r"""Two-sided enclosures of delta for one repeated mixture, by discretising the losses.

A discrete pair is two mass functions (p_j, q_j) with losses l_j = log p_j/q_j.

- *Merging* outcomes (adding their p and their q) is post-processing: delta can only fall.
- *Splitting* an outcome of loss l between l_a <= l <= l_b, with the same total p and q, is the
  reverse of merging: delta can only rise. The share of q that moves to l_b is
  (e^l - e^la)/(e^lb - e^la). Beyond the ends of the grid p moves to +infinity (counted apart) and
  q to -infinity (where it contributes nothing to delta).

Both orders are preserved by composition. The real line is cut into cells, whose masses are
enclosed in ball arithmetic; merged cells start the lower bound, cells split to the losses at their
ends the upper one. After each composition the losses are merged within, or split between, the
cells of one fixed grid. The masses are doubles; u = 2^-52, m = 4 * (number of outcomes)^2 bounds
the length of every sum, eta = m u.

*Lower.* p and q are sums of positive products, right to a relative eta per composition, so delta
is at least sum (p (1 - n eta) - e^eps q (1 + n eta))_+. Near eps = 0 nearly equal p and q cancel
there, so the excess x = p - q is kept as well: x_12 = x_1 q_2 + q_1 x_2 + x_1 x_2. In the L1 norm
its error grows by eta (|x_1| + |x_2| + |x_1| |x_2|) per composition (and err_1 (1 + |x_2|) + ...);
delta = sum (x - (e^eps - 1) q)_+ moves by at most that and (e^eps - 1) times the error of q on the
outcomes that count. The larger bound holds. Which outcomes are merged needs no accuracy.

*Upper.* Kept as q on the grid, p = q e^l by definition: a relative error of q is one of delta.
The loss of a product is off by u |l| and a share by a few u, which is the same as an exact split
of a loss that is off by e = 4 u (|l| + gap). Either these add up to an L1 error of p of at most
sum q e^l e, which delta inherits; or, with E a bound on all of them along any path, losses off by
E turn delta(eps) into at most e^E delta(eps - E). The smaller bound holds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flint import arb, ctx

from tests.enclosures.closed_forms import ratio, threshold, upper_tail
from tests.enclosures.pairs import Composition, Exact, Mixture, ball

CHUNK = 512
ULP = 2.0**-52
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lower:
    """Merged outcomes: masses under P and Q, excess of P, and the L1 error of the excess."""

    p: Array
    q: Array
    x: Array
    error: float
    steps: int


@dataclass(frozen=True)
class Upper:
    """Split outcomes: Q-masses on the grid, P-mass at infinite loss, and both error bounds."""

    q: Array
    infinite: float
    error: float
    shift: float  # E
    steps: int


def _grid(scale: float, reach: float, points: int) -> Array:
    """Losses spaced like asinh(l/scale) in [-reach, reach]: absolute near 0, relative beyond."""
    grid: Array = scale * np.sinh(np.linspace(-1, 1, 2 * points + 1) * math.asinh(reach / scale))
    return grid


def _blocks(one: Array, two: Array) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, len(one), CHUNK)] if len(two) else []


def _compose_lower(a: Lower, b: Lower, grid: Array) -> Lower:
    size = len(grid) + 1
    p, q, x = np.zeros(size), np.zeros(size), np.zeros(size)
    keep_a, keep_b = a.q > 0, b.q > 0
    pa, qa, xa = a.p[keep_a], a.q[keep_a], a.x[keep_a]
    pb, qb, xb = b.p[keep_b], b.q[keep_b], b.x[keep_b]
    floor = -1 + 1e-15
    loss_a, loss_b = (np.log1p(np.maximum(x / q, floor)) for x, q in ((xa, qa), (xb, qb)))
    outer = np.multiply.outer
    for part in _blocks(qa, qb):
        cell = np.searchsorted(grid, np.add.outer(loss_a[part], loss_b).ravel())
        excess = outer(xa[part], qb) + outer(qa[part], xb) + outer(xa[part], xb)
        p += np.bincount(cell, outer(pa[part], pb).ravel(), size)
        q += np.bincount(cell, outer(qa[part], qb).ravel(), size)
        x += np.bincount(cell, excess.ravel(), size)
    norm_a, norm_b = float(np.abs(xa).sum()), float(np.abs(xb).sum())
    error = a.error * (1 + norm_b + b.error) + b.error * (1 + norm_a)
    error += 8 * len(qa) * len(qb) * ULP * (norm_a + norm_b + norm_a * norm_b)
    return Lower(p, q, x, error * 1.01, a.steps + b.steps)


def _split(q: Array, loss: Array, grid: Array) -> tuple[Array, float, float]:
    """Split outcomes between their neighbours on the grid: masses, P-mass beyond, L1 error."""
    high, low = loss > grid[-1], loss < grid[0]
    infinite = float((q[high] * np.exp(loss[high])).sum()) * (1 + 1e-9)
    # p stays at the lowest loss with less of q; the rest of q goes to -infinity
    lowest = float((q[low] * np.exp(loss[low] - grid[0])).sum())
    inside = ~(high | low)
    q, loss = q[inside], loss[inside]
    left = np.clip(np.searchsorted(grid, loss, side="right") - 1, 0, len(grid) - 2)
    gap = grid[left + 1] - grid[left]
    share = np.clip(np.expm1(loss - grid[left]) / np.expm1(gap), 0.0, 1.0)
    masses = np.bincount(left, q * (1.0 - share), len(grid))
    masses += np.bincount(left + 1, q * share, len(grid))
    masses[0] += lowest
    error = 16 * ULP * float((q * np.exp(loss + gap)) @ (np.abs(loss) + gap))
    return masses, infinite, error + 1e-9 * lowest * math.exp(grid[0])


def _compose_upper(a: Upper, b: Upper, grid: Array) -> Upper:
    q = np.zeros(len(grid))
    infinite, error = a.infinite + b.infinite, a.error + b.error
    keep_a, keep_b = a.q > 0, b.q > 0
    qa, qb = a.q[keep_a], b.q[keep_b]
    loss_a, loss_b = grid[keep_a], grid[keep_b]
    for part in _blocks(qa, qb):
        masses = np.multiply.outer(qa[part], qb).ravel()
        losses = np.add.outer(loss_a[part], loss_b).ravel()
        more, lost, moved = _split(masses, losses, grid)
        q += more
        infinite += lost
        error += moved
    shift = a.shift + b.shift + 16 * ULP * float(grid[-1] - grid[0])
    return Upper(q, infinite * 1.000001, error * 1.01, shift, a.steps + b.steps)


def _power(one: Lower | Upper, count: int, grid: Array) -> Lower | Upper:
    def product(a: Lower | Upper, b: Lower | Upper) -> Lower | Upper:
        if isinstance(a, Lower) and isinstance(b, Lower):
            return _compose_lower(a, b, grid)
        assert isinstance(a, Upper)
        assert isinstance(b, Upper)
        return _compose_upper(a, b, grid)

    result: Lower | Upper | None = None
    while True:
        if count & 1:
            result = one if result is None else product(result, one)
        count >>= 1
        if not count:
            assert result is not None
            return result
        one = product(one, one)


def _cells(pair: Mixture, cuts: list[arb]) -> tuple[list[arb], list[arb]]:
    """P- and Q-masses of the cells between the cuts (with both unbounded ones)."""
    s = ball(pair.sigma)

    def masses(center: arb) -> list[arb]:
        z = [(x - center) / s for x in cuts]
        out = [upper_tail(-z[0])]
        for a, b in itertools.pairwise(z):  # from the tails on the cell's own side
            out.append(upper_tail(a) - upper_tail(b) if a > 0 else upper_tail(-b) - upper_tail(-a))
        return [*out, upper_tail(z[-1])]

    plain = masses(arb(0))
    mixed = [arb(0)] * len(plain)
    for weight, center in zip(pair.probabilities, pair.centers, strict=True):
        mixed = [m + ball(weight) * x for m, x in zip(mixed, masses(ball(center)), strict=True)]
    return mixed, plain


def _floats(values: list[arb]) -> Array:
    return np.array([float(v.mid()) for v in values])


def _start(pair: Mixture, removing: bool, grid: Array) -> tuple[Lower, Upper]:
    """One release: cells of the real line, cut where a loss lies on the grid."""
    least = ball(pair.weight_at_zero)
    top = 14 * ball(pair.sigma) + ball(pair.top)
    levels = [arb(float(level)).exp() for level in (grid if removing else -grid)]
    cuts = [arb(threshold(pair, x).mid()) for x in levels if x > least * (1 + arb("1e-15"))]
    cuts += [arb(x) * ball(pair.sigma) / 8 for x in range(-112, 112)]
    ordered = sorted((x for x in cuts if abs(x) < top), key=float)
    cuts = ordered[:1]
    for x in ordered[1:]:
        if x - cuts[-1] > arb(2) ** -40 * top:
            cuts.append(x)
    p, q = _cells(pair, cuts)
    ends = [ratio(pair, x) for x in cuts]
    low: list[arb] = [least, *ends]
    high: list[arb | None] = [*ends, None]
    if not removing:
        p, q = q, p
        ends = [1 / r for r in ends]
        low = [*ends, arb(0)]
        high = [None if not least else 1 / least, *ends]
    excess = _floats([a - b for a, b in zip(p, q, strict=True)])
    masses = _floats(q)
    lower = Lower(_floats(p), masses, excess, 4 * ULP * float(np.abs(excess).sum()), 1)
    infinite = 0.0
    losses: list[float] = []
    weights: list[float] = []
    for pj, qj, a, b in zip(p, q, low, high, strict=True):
        if b is None:
            infinite += float(pj.upper()) * (1 + ULP)
        elif not a > 0:
            losses.append(float(b.log().mid()))
            weights.append(float((pj / b).mid()))
        else:
            share = ((pj / qj - a) / (b - a)).max(arb(0)).min(arb(1))
            losses += [float(a.log().mid()), float(b.log().mid())]
            weights += [float((qj * (1 - share)).mid()), float((qj * share).mid())]
    spread, lost, error = _split(np.array(weights), np.array(losses), grid)
    shift = 16 * ULP * float(grid[-1] - grid[0])
    return lower, Upper(spread, infinite + lost, error, shift, 1)


def is_discretisable(composition: Composition) -> bool:
    """Whether ``discretised`` covers the composition in a reasonable time."""
    (pair, count), *more = composition.terms
    return not more and isinstance(pair, Mixture) and count <= 1000


def discretised(composition: Composition, epsilon: Exact, points: int = 1500) -> arb:
    """An enclosure of delta at epsilon; ``points`` cells on each side of loss 0."""
    (pair, count), *more = composition.terms
    if more or not isinstance(pair, Mixture):
        raise ValueError("one repeated mixture is supported")
    with ctx.workprec(512):
        sigma = float(pair.sigma)
        top = 12 * sigma + float(pair.top)
        ends = [abs(float(ratio(pair, arb(x)).log())) for x in (-top, top)]
        active = float(1 - pair.weight_at_zero)
        scale = 0.03 * active * min(float(pair.top) / sigma, 1.0)
        grid = _grid(scale, min(max(ends) * count, 200.0), points)
        one = _start(pair, composition.direction == "remove", grid)
    lower, upper = (_power(start, count, grid) for start in one)
    assert isinstance(lower, Lower)
    assert isinstance(upper, Upper)
    growth = math.expm1(float(epsilon))
    eta = 8.0 * (len(grid) + 300) ** 2 * ULP
    gains = lower.x - growth * lower.q
    counted = gains > 0
    low = float(gains[counted].sum()) * (1 - eta) - lower.error
    low -= lower.steps * eta * growth * float(lower.q[counted].sum())
    relative = lower.steps * eta
    plain = lower.p * (1 - relative) - (1 + growth) * lower.q * (1 + relative)
    low = max(low, float(plain[plain > 0].sum()) * (1 - eta))
    first = _above(upper, grid, float(epsilon)) * (1 + upper.steps * eta) + upper.error * 1.01
    second = _above(upper, grid, float(epsilon) - 1.01 * upper.shift) * (1 + upper.steps * eta)
    high = min(first, second * math.exp(1.01 * upper.shift)) + upper.infinite * 1.01
    return arb(max(low, 0.0)).union(arb(min(high, 1.0)))


def _above(upper: Upper, grid: Array, epsilon: float) -> float:
    """Delta of the masses on the grid, rounded up but for the errors of the masses."""
    above = grid > epsilon
    gains, growth = np.expm1(grid[above]), math.expm1(epsilon)
    total = float(upper.q[above] @ (gains - growth))
    return total + 8 * ULP * float(upper.q[above] @ (np.abs(gains) + abs(growth)))
