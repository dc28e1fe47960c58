r"""Ball enclosures of the moment generating function E_Q[r^e], e = e0 + i t, of one loss.

Mixtures
--------
With Q = N(0, s^2), r(x) = sum_i p_i exp((2 x c_i - c_i^2) / (2 s^2)), c_i >= 0, top = max c_i, and
g(x) = N(x; 0, s^2) r(x)^e we want A(t) = integral of g over the real line, for e0 > 1 or e0 < 0
and t >= 0. Write x = u + i b and alpha = b top / s^2. For 0 <= alpha < pi every term of r(u + ib)
has its argument b c_i / s^2 in [0, alpha], hence

(1) r(u + ib) is not zero, its argument lies in [0, alpha], |r(u + ib)| <= r(u), and, projecting
    on the direction alpha/2, |r(u + ib)| >= cos(alpha/2) r(u);
(2) g is analytic there and |g(u + ib)| = exp(b^2/2s^2) N(u) |r(u+ib)|^e0 exp(-t arg r(u+ib))
    <= exp(b^2/2s^2) cos(alpha/2)^min(e0, 0) N(u) r(u)^e0, whose integral over u is
    W(b) A(0) with W(b) = exp(b^2/2s^2) cos(alpha/2)^min(e0, 0).

Quadrature. By Cauchy A(t) is also the integral over the line Im x = v. The trapezoid sum S on that
line with step h is, by Poisson summation, A(t) plus the sum over k != 0 of the Fourier transform
of g(. + iv) at 2 pi k / h; moving the line down to b = 0 for one sign of k and up to b = 2v for
the other (both inside the strip) bounds them by exp(-2 pi |k| v / h) times W(0) A(0) or
W(2v) A(0). So

(3) |S - A(t)| <= A(0) (W(0) + W(2v)) / (exp(2 pi v / h) - 1).

Shifting the line by v > 0 makes |g| *decrease* with t, so the same few hundred nodes serve every
t; on the real line the step would have to shrink like 1/t.

Truncation of the sum. For u >= top, all exponents 2 u c - c^2 are non-negative and increase with
c, so 1 <= r(u) <= exp((2 u top - top^2)/2s^2); for u <= 0, exp((2 u top - top^2)/2s^2) <= r(u) <=
1 and r(u) >= p_0, the weight at zero. With N(u) exp(e0 (2 u top - top^2)/2s^2)
= E N(u - e0 top), E = exp((e0^2 - e0) top^2/2s^2), this gives Gaussian bounds for N(u) r(u)^e0:

(4) right, u >= max(top, e0 top): E N(u - e0 top) if e0 > 1, N(u) if e0 < 0;
    left,  u <= 0:                N(u) if e0 > 1; p_0^e0 N(u) if e0 < 0, and also
                                  E N(u - e0 top) where u <= e0 top;

each monotone there, so that a sum beyond a node is at most the integral from that node.

Decay in t. From (1), |A(t)| <= B(t) = exp(v^2/2s^2) * integral of
N(u) |r(u+iv)|^e0 exp(-t arg r(u+iv)) du for *any* 0 < v < pi s^2/top, and B decreases with t:
a bound at one t holds for every larger t. B is bounded by A(0) minus a sum over cells:

(5) B(t) exp(-v^2/2s^2) = A(0) - integral of N r^e0 c,  c(u) = 1 - |r(u+iv)/r(u)|^e0
    exp(-t arg r(u+iv)), good where B is near A(0), or the integral of N r^e0 (1 - c), good where
    it is far below; c is enclosed on cells; outside the cells c >= 0 if e0 > 1 and
    c >= 1 - cos(alpha/2)^e0 if e0 < 0, against the tail mass of (4).

Gaussians: A(t) = exp(e (e-1) c^2 / 2s^2), |A| = A(0) exp(-t^2 c^2/2s^2). Laplace with
lam = 1/scale: A(t) = (e exp((e-1) lam) + (e-1) exp(-e lam)) / (2e - 1), |A(t)| <= A(0).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from flint import acb, acb_mat, arb, ctx

from tests.enclosures.pairs import Laplace, Mixture, Pair, ball

BLOCK = 128
"""Number of outer nodes of one matrix product: BLOCK large steps times BLOCK small ones."""


def normal_tail(z: arb) -> arb:
    """P[N(0, 1) > z]."""
    return (z / arb(2).sqrt()).erfc() / 2


def rough_cumulant(pair: Pair, e0: float) -> tuple[float, float]:
    """log E_Q[r^e0] and its derivative in floating point: to choose from, proves nothing."""
    if isinstance(pair, Laplace):
        lam = 1 / float(pair.scale)
        top, low = (e0 - 1) * lam, -e0 * lam
        up, down = e0 / (2 * e0 - 1), (e0 - 1) / (2 * e0 - 1)
        most = max(top, low)
        a, b = up * math.exp(top - most), down * math.exp(low - most)
        change = -1 / (2 * e0 - 1) ** 2
        slope = change * math.exp(top - most) + a * lam
        slope += -change * math.exp(low - most) - b * lam
        return most + math.log(a + b), slope / (a + b)
    s, top = float(pair.sigma), float(pair.top)
    if pair.is_gaussian:
        curvature = (top / s) ** 2
        return e0 * (e0 - 1) * curvature / 2, (2 * e0 - 1) * curvature / 2
    low, high = min(0.0, e0 * top) - 12 * s, max(top, e0 * top) + 12 * s
    if e0 < 0 and pair.weight_at_zero:
        low = max(low, -s * math.sqrt(2 * (72 + e0 * math.log(float(pair.weight_at_zero)))))
    u = np.linspace(low, high, min(max(1001, int((high - low) / s * 12)), 20_001))
    p = np.array([float(x) for x in pair.probabilities])
    c = np.array([float(x) for x in pair.centers])
    exponent = (2 * u[:, None] * c - c * c) / (2 * s * s)
    scale = exponent.max(axis=1)
    loss = np.log((p * np.exp(exponent - scale[:, None])).sum(axis=1)) + scale
    weight = e0 * loss - u * u / (2 * s * s)
    most = float(weight.max())
    weight = np.exp(weight - most)
    total = float(weight.sum())
    size = total * (u[1] - u[0]) / (s * math.sqrt(2 * math.pi))
    return most + math.log(size), float(weight @ loss) / total


class MixtureTransform:
    """A(t) = E_Q[r^(e0 + i t)] for one mixture and one e0, at any number of t (module proof)."""

    def __init__(self, pair: Mixture, e0: arb) -> None:
        self.pair, self.e0 = pair, e0
        self.s, self.top = ball(pair.sigma), ball(pair.top)
        self.p = [ball(x) for x in pair.probabilities]
        self.c = [ball(x) for x in pair.centers]
        self.digits = ctx.prec * math.log(2) * 0.8  # wanted: errors of exp(-digits)
        self.v, self.h = self._line_and_step()
        self.left, self.right = self._ends()
        self._sample()

    def _line_and_step(self) -> tuple[arb, arb]:
        """The height of the line and the step (any choice is sound, this one is economical)."""
        s, top, e0 = float(self.s), float(self.top), float(self.e0)
        best = (0.0, 0.0)
        for alpha in np.geomspace(1e-6, 0.98, 120) * math.pi:  # on the upper edge, Im x = 2 v
            v = alpha * s * s / (2 * top)
            if v < 12 * s:
                grown = (2 * v) ** 2 / (2 * s * s) + min(e0, 0.0) * math.log(math.cos(alpha / 2))
                best = max(best, (2 * math.pi * v / (self.digits + grown), v))
        return arb(best[1]), arb(best[0])

    def _ends(self) -> tuple[float, float]:
        """Ends of the sum beyond which the bounds (4) are below exp(-digits)."""
        s, top, e0 = float(self.s), float(self.top), float(self.e0)
        logs = [math.log(p) for p in self.pair.probabilities]
        shifted = (e0 * e0 - e0) / (2 * s * s)  # log E of (4) per squared center
        v = float(self.v)
        grown = v * v / (2 * s * s) + min(e0, 0.0) * math.log(math.cos(v * top / (2 * s * s)))
        digits = self.digits + grown  # the bounds hold on the real line, the sum runs at height v
        reach = s * math.sqrt(2 * digits + 20)
        if e0 > 1:  # A(0) >= 1 and A(0) >= p_top^e0 E
            spare = min(shifted * top * top, -e0 * logs[self.pair.centers.index(self.pair.top)])
            return -reach, e0 * top + s * math.sqrt(2 * (digits + spare) + 20) + top
        least = float(min(self.pair.centers))
        spare = shifted * (top * top - least * least)
        left = e0 * top - s * math.sqrt(2 * (digits + spare) + 20)
        if least == 0:
            left = max(left, -s * math.sqrt(2 * (digits + e0 * logs[0]) + 20))
        return left, reach + top

    def tail(self, left: arb, right: arb) -> arb:
        """Bound (4) on the integral of N r^e0 outside [left, right]."""
        s, top, e0 = self.s, self.top, self.e0
        shifted = ((e0 * e0 - e0) * top * top / (2 * s * s)).exp()
        if not (left < 0 and right > top and right > e0 * top):
            raise ValueError("the bounds (4) do not hold at these ends")
        if e0 > 1:
            return normal_tail(-left / s) + shifted * normal_tail((right - e0 * top) / s)
        bounds = []
        if self.pair.weight_at_zero:
            bounds.append(ball(self.pair.weight_at_zero) ** e0 * normal_tail(-left / s))
        if left < e0 * top:
            bounds.append(shifted * normal_tail((e0 * top - left) / s))
        return min(bounds, key=float) + normal_tail(right / s)

    def ratio(self, x: acb) -> acb:
        """r(x)."""
        two = 2 * self.s * self.s
        total = acb(0)
        for p, c in zip(self.p, self.c, strict=True):
            total += p * ((2 * x - c) * c / two).exp()
        return total

    def _sample(self) -> None:
        """Nodes, weights and the error bounds; A(0) first, since everything is relative to it."""
        s, h, v, e0 = self.s, self.h, self.v, self.e0
        first = math.floor(self.left / float(h)) - 1
        last = math.ceil(self.right / float(h)) + 1
        scale = h / (s * (2 * arb.pi()).sqrt())
        self.logs: list[acb] = []
        self.weights: list[acb] = []
        for j in range(first, last + 1):
            x = acb(j * h, v)
            log_r = self.ratio(x).log()
            self.logs.append(log_r)
            self.weights.append((e0 * log_r - x * x / (2 * s * s)).exp() * scale)

        def growth(b: arb) -> arb:  # W(b) of (2)
            half = b * self.top / (2 * s * s)
            if not half < arb.pi() / 2:
                raise ValueError("the strip is too wide")
            grown = (b * b / (2 * s * s)).exp()
            return grown if e0 > 1 else grown * half.cos() ** e0

        relative = (1 + growth(2 * v)) / ((2 * arb.pi() * v / h).exp() - 1)
        truncated = growth(v) * self.tail(first * h, last * h)
        total = sum(self.weights, acb(0)).real
        # A(0) <= total + relative A(0) + truncated
        self.at_zero_upper = (total + truncated) / (1 - relative)
        self.error = (relative * self.at_zero_upper + truncated).upper()
        self.at_zero = total + arb(0, self.error)

    def values(self, step: arb, count: int) -> Iterator[acb]:
        """A(k step) for k = 0, ..., count - 1, by blocks: one matrix product for many values."""
        noise = acb(arb(0, self.error), arb(0, self.error))
        turns = [acb(-x.imag, x.real) * step for x in self.logs]  # i step log r
        width = min(BLOCK, math.isqrt(count - 1) + 1)
        small = acb_mat([[(turn * b).exp() for b in range(width)] for turn in turns])
        pairs = list(zip(self.weights, turns, strict=True))
        for start in range(0, count, width * width):
            rows = min(width, -(-(count - start) // width))
            large = acb_mat(
                [[w * (turn * (start + width * a)).exp() for w, turn in pairs] for a in range(rows)]
            )
            for value in (large * small).entries()[: count - start]:
                yield value + noise

    def decay(self, t: float, height: float, cells: int = 600) -> arb:
        """B(t) / A(0) of (5) on the line Im x = height: holds for every larger t too."""
        s, e0, v = self.s, self.e0, arb(height)
        alpha = v * self.top / (s * s)
        if not (0 < alpha < arb.pi()):
            raise ValueError("the line lies outside the strip")
        lowest = arb(1) - (alpha / 2).cos() ** e0 if e0 < 0 else arb(0)
        lost, kept = arb(0), arb(0)
        left, right = self.left, self.right
        if e0 < 0:  # far enough out for the larger integrand on this line
            spare = float(e0) * math.log(math.cos(float(alpha) / 2))
            wider = float(s) * math.sqrt(2 * (self.digits + spare) + 20)
            left, right = min(left, -wider), max(right, wider)
        edges = [arb(x) for x in np.linspace(left, right, cells + 1)]
        for a, b in itertools.pairwise(edges):
            cell = a.union(b)
            r = self.ratio(acb(cell)).real
            density = (e0 * r.log() - cell * cell / (2 * s * s)).exp()
            c = self._lost(cell, v, t)
            c = c.max(lowest) if c.is_finite() else lowest
            mass = (b - a) * density.nonnegative_part()
            lost += (mass.lower() if c >= 0 else mass.upper()) * c.lower()
            kept += mass.upper() * (1 - c.lower())
        outside = self.tail(edges[0], edges[-1])
        norm = s * (2 * arb.pi()).sqrt()
        lost = lost / norm + lowest * outside
        kept = kept / norm + (1 - lowest) * outside
        grown = (v * v / (2 * s * s)).exp()
        first = grown * (1 - (lost / self.at_zero_upper if lost >= 0 else lost))
        return first.upper().min((grown * kept / self.at_zero).upper())

    def _lost(self, u: arb, v: arb, t: float) -> arb:
        """c(u) of (5) over a cell, written with the shares omega_i of the terms in r(u).

        |r(u+iv)/r(u)|^2 = 1 - sum_{i<k} 2 omega_i omega_k (1 - cos(a_i - a_k)), a_i = v c_i/s^2:
        this form keeps the small differences that plain interval quotients would lose.
        """
        two = 2 * self.s * self.s
        p, c = self.p, self.c
        angles = [2 * v * x / two for x in c]
        indices = range(len(p))
        shares = [
            1
            / sum(
                (
                    p[k] / p[i] * ((c[k] - c[i]) * (2 * u - c[k] - c[i]) / two).exp()
                    for k in indices
                ),
                arb(0),
            )
            for i in indices
        ]
        missing = sum(
            (
                2 * shares[i] * shares[k] * (1 - (angles[i] - angles[k]).cos())
                for i in indices
                for k in range(i)
            ),
            arb(0),
        )
        sine = sum((x * a.sin() for x, a in zip(shares, angles, strict=True)), arb(0))
        cosine = sum((x * a.cos() for x, a in zip(shares, angles, strict=True)), arb(0))
        size = (1 - missing).max(arb(0)).min(arb(1))
        return 1 - (self.e0 * size.log() / 2 - t * arb.atan2(sine, cosine)).exp()

    def rough_decay(self, t: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """log(B(t)/A(0)) in floating point, shape (heights, t): to choose from, proves nothing."""
        s, e0 = float(self.s), float(self.e0)
        u = np.linspace(self.left, self.right, 1001)
        p = np.array([float(x) for x in self.pair.probabilities])
        c = np.array([float(x) for x in self.pair.centers])
        exponent = (2 * u[:, None] * c - c * c) / (2 * s * s)
        scale = exponent.max(axis=1)
        r = (p * np.exp(exponent - scale[:, None])).sum(axis=1)
        weight = e0 * (np.log(r) + scale) - u * u / (2 * s * s)
        weight = np.exp(weight - weight.max())
        weight /= weight.sum()
        out = np.empty((len(heights), len(t)))
        for i, v in enumerate(heights):
            turned = (p * np.exp(exponent - scale[:, None] + 1j * v * c / s**2)).sum(axis=1)
            size = e0 * np.log(np.abs(turned) / r)
            angle = np.angle(turned)
            change = np.minimum(size[:, None] - angle[:, None] * t[None, :], 500.0)
            lost = -np.expm1(change)
            out[i] = v * v / (2 * s * s) + np.log1p(-np.minimum(weight @ lost, 1 - 1e-15))
        return out


class GaussianTransform:
    """A(t) in closed form for a single Gaussian."""

    def __init__(self, pair: Mixture, e0: arb) -> None:
        self.e0, self.curvature = e0, (ball(pair.top) / ball(pair.sigma)) ** 2
        self.at_zero = self._at(acb(e0)).real

    def _at(self, e: acb) -> acb:
        return (e * (e - 1) * self.curvature / 2).exp()

    def values(self, step: arb, count: int) -> Iterator[acb]:
        for k in range(count):
            yield self._at(acb(self.e0, k * step))

    def decay(self, t: float, height: float = 0.0) -> arb:
        return (-(arb(t) ** 2) * self.curvature / 2).exp()

    def rough_decay(self, t: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return np.tile(-(t**2) * float(self.curvature) / 2, (len(heights), 1))


class LaplaceTransform:
    """A(t) in closed form for Laplace noise: it does not decay, others must."""

    def __init__(self, pair: Laplace, e0: arb) -> None:
        self.e0, self.lam = e0, 1 / ball(pair.scale)
        self.at_zero = self._at(acb(e0)).real

    def _at(self, e: acb) -> acb:
        upper, lower = ((e - 1) * self.lam).exp(), (-e * self.lam).exp()
        return (e * upper + (e - 1) * lower) / (2 * e - 1)

    def values(self, step: arb, count: int) -> Iterator[acb]:
        for k in range(count):
            yield self._at(acb(self.e0, k * step))

    def decay(self, t: float, height: float = 0.0) -> arb:
        return arb(1)

    def rough_decay(self, t: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return np.zeros((len(heights), len(t)))


Transform = MixtureTransform | GaussianTransform | LaplaceTransform


def transform(pair: Pair, e0: arb) -> Transform:
    """The transform of one pair at the real exponent e0 > 1 or e0 < 0."""
    if not (e0 > 1 or e0 < 0):
        raise ValueError(f"the bounds need an exponent above 1 or below 0: {e0}")
    if isinstance(pair, Laplace):
        return LaplaceTransform(pair, e0)
    return GaussianTransform(pair, e0) if pair.is_gaussian else MixtureTransform(pair, e0)
