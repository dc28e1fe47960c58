r"""Enclosures of delta(eps) for any composition, by inverting the characteristic function.

Let S be the composed loss, D(s) = delta(s) for every real s, and Phi(z) = E[exp(z S)]. Then
integral of D(s) exp(z s) ds = Phi(z) / (z (z+1)) for theta = Re z > 0: write D(s) as
E[(1 - exp(s - S))_+] and exchange the integrals. G(x) = exp(theta x) D(eps + x) is continuous, of
bounded variation and integrable (D <= 1 on the left, Chernoff on the right), and its Fourier
transform is bounded by C/t^2, so Poisson's summation formula holds at 0 with period tau = 2 pi/h:

    S_h = (h / 2 pi) sum_k f(theta + i k h) = sum_m exp(m tau theta) D(eps + m tau),
    f(z) = Phi(z) exp(-z eps) / (z (z+1)).

Every term on the right is >= 0 and the one with m = 0 is delta(eps): S_h bounds it above. Below,

    m < 0:  D <= 1, so the terms add up to at most 1/(exp(tau theta) - 1);
    m > 0:  D(s) <= E[exp(theta' (S - s))] = Phi(theta') exp(-theta' s) for theta' > theta, so they
            add up to at most Phi(theta') exp(-theta' eps) / (exp(tau (theta' - theta)) - 1).

The sum over |k| > N is at most Phi(theta) exp(-theta eps) R(t_N) / (pi t_N) with t_N = N h, where
R(t) = prod (B_i(t) / A_i(0))^n_i decreases with t (module ``transforms``, (5)) and
h * sum_{k > N} 1/t_k^2 <= 1/t_N.

In direction "remove" the losses are log r under P and Phi(z) = prod E_Q[r^(z+1)]^n; in direction
"add" they are -log r under Q and Phi(z) = prod E_Q[r^(-z)]^n, sampled below the real axis, where
-z = -theta + i t with t >= 0; f(conj z) = conj f(z) gives the other half. The choice of theta,
theta', h and N decides the width, never the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from flint import acb, arb, ctx

from tests.enclosures.pairs import Composition, Exact, ball, width
from tests.enclosures.transforms import MixtureTransform, Transform, rough_cumulant, transform


class TooManyNodesError(Exception):
    """The characteristic function decays too slowly for this method."""


class Line:
    """The transforms of a composition on the line Re z = theta."""

    def __init__(self, composition: Composition, theta: float) -> None:
        self.composition, self.theta = composition, arb(theta)
        self.removing = composition.direction == "remove"
        e0 = self.theta + 1 if self.removing else -self.theta
        self.parts: list[tuple[Transform, int]] = [
            (transform(pair, e0), count) for pair, count in composition.terms
        ]

    def cumulant(self) -> arb:
        """log Phi(theta)."""
        return sum((n * part.at_zero.log() for part, n in self.parts), arb(0))


def rough(composition: Composition, theta: float) -> tuple[float, float]:
    """log Phi(theta) and its derivative in floating point, to choose lines by."""
    removing = composition.direction == "remove"
    value = slope = 0.0
    for pair, count in composition.terms:
        k, k1 = rough_cumulant(pair, theta + 1 if removing else -theta)
        value += count * k
        slope += count * k1 if removing else -count * k1
    return value, slope


def saddle(composition: Composition, eps: float) -> float:
    """Nearly the minimum over theta of log Phi(theta) - theta eps - log theta - log(1 + theta)."""

    def slope(theta: float) -> float:
        return rough(composition, theta)[1] - eps - 1 / theta - 1 / (1 + theta)

    low, high = 1.0, 1.0
    if slope(1.0) > 0:
        while slope(low) > 0 and low > 1e-12:
            high, low = low, low / 4
    else:
        while slope(high) < 0 and high < 1e8:
            low, high = high, high * 4
    for _ in range(12):
        middle = math.sqrt(low * high)
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _chernoff(
    composition: Composition, theta: float, eps: float, log_delta: float, digits: float
) -> tuple[float, float]:
    """(theta', largest h) that make the aliases m > 0 negligible."""
    best = (0.0, 0.0)
    for rise in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0):
        upper = theta * (1 + rise)
        exponent = rough(composition, upper)[0] - upper * eps
        needed = max(exponent - log_delta, 0.0) + digits
        h = 2 * math.pi * (upper - theta) / needed
        if h < best[1]:
            break
        best = (upper, h)
    return best


def _cut(
    line: Line, log_peak: float, log_delta: float, digits: float, h: float, budget: int
) -> tuple[int, list[float]]:
    """The number of nodes, and the height of the line on which each part's decay is proved."""
    goal = log_delta - digits
    t = h * np.geomspace(4, budget, 40)
    best = np.zeros((len(line.parts), len(t)))
    heights = np.zeros((len(line.parts), len(t)))
    for i, (part, count) in enumerate(line.parts):
        choice = np.array([0.0])
        if isinstance(part, MixtureTransform):
            strip = math.pi * float(part.s) ** 2 / float(part.top)
            choice = min(strip, 12 * float(part.s)) * np.geomspace(1e-6, 0.95, 40)
        rough = count * part.rough_decay(t, choice)
        best[i] = rough.min(axis=0)
        heights[i] = choice[rough.argmin(axis=0)]
    reached = log_peak + 0.75 * best.sum(axis=0) - np.log(math.pi * t) < goal
    if not reached.any():
        raise TooManyNodesError(f"more than {budget} nodes are needed")
    first = int(reached.argmax())
    return math.ceil(t[first] / h), [float(x) for x in heights[:, first]]


def invert(
    composition: Composition,
    epsilons: Exact | Sequence[Exact],
    *,
    digits: int = 20,
    budget: int = 200_000,
    theta: float | None = None,
) -> list[arb]:
    """Enclosures of delta at each epsilon (nearby ones share the line chosen for the first).

    ``digits`` decimal digits relative to delta are aimed at; more than ``budget`` nodes raise
    ``TooManyNodesError``.
    """
    exact = [epsilons] if not isinstance(epsilons, Sequence) else list(epsilons)
    steps = sum(count for _, count in composition.terms)
    theta = theta or saddle(composition, float(exact[0]))
    value, mean = rough(composition, theta)
    bend = (rough(composition, 1.001 * theta)[1] - mean) / (0.001 * theta)
    log_peak = value - theta * float(exact[0]) - math.log(theta * (1 + theta))
    # the peak times the width of the saddle; wrong where the loss has a far, thin second bump
    log_delta = log_peak - math.log(2 * math.pi * (max(bend, 0.0) + theta**-2)) / 2
    while True:
        bits = math.ceil(
            (digits + 12 + math.log10(steps)) * 3.33 + max(log_peak - log_delta, 0.0) * 1.45
        )
        with ctx.workprec(bits):
            results = _invert(composition, theta, exact, log_delta, digits * math.log(10), budget)
        if width(results[0]) < 10.0 ** (2 - digits):
            return results
        better = float(results[0].upper().log())
        if not better < log_delta - 1:
            return results
        log_delta = better


def _power(value: acb, count: int) -> acb:
    """value ** count, also where the ball contains 0 and a logarithm would not exist."""
    result = value**count
    if result.is_finite():
        return result
    size = arb(0, (abs(value).upper() ** count).upper())
    return acb(size, size)


def _invert(
    composition: Composition,
    theta: float,
    epsilons: Sequence[Exact],
    log_delta: float,
    wanted: float,
    budget: int,
) -> list[arb]:
    """One pass of ``invert`` with errors of about exp(log_delta - wanted)."""
    exact = [ball(eps) for eps in epsilons]
    line = Line(composition, theta)
    cumulant = line.cumulant()
    log_peak = float(cumulant - line.theta * exact[0])
    chernoff, h = _chernoff(composition, theta, float(exact[0]), log_delta, wanted)
    h = min(h, 2 * math.pi * theta / (wanted - min(log_delta, 0.0)))
    count, heights = _cut(line, log_peak, log_delta, wanted, h, budget)
    step = arb(h)
    sums = [acb(0) for _ in exact]
    streams = [(part.values(step, count + 1), n) for part, n in line.parts]
    for k in range(count + 1):
        value = acb(1)
        for stream, n in streams:
            value *= _power(next(stream), n)
        z = acb(line.theta, k * step if line.removing else -k * step)
        value /= z * (z + 1) * (1 if k else 2)
        for i, eps in enumerate(exact):
            sums[i] += value * (-z * eps).exp()
    last = count * step
    decay = arb(1)
    for (part, n), height in zip(line.parts, heights, strict=True):
        decay *= part.decay(float(last.lower()) * (1 - 1e-12), height) ** n
    far = Line(composition, chernoff).cumulant()
    tau = 2 * arb.pi() / step
    results = []
    for total, eps in zip(sums, exact, strict=True):
        trapezoid = step / arb.pi() * total.real
        cut = ((cumulant - line.theta * eps).exp() * decay / (arb.pi() * last)).upper()
        below = 1 / ((tau * line.theta).exp() - 1)
        above = (far - chernoff * eps).exp() / ((tau * (chernoff - line.theta)).exp() - 1)
        if not (trapezoid - cut - below - above).is_finite():
            raise ArithmeticError("the precision does not suffice")
        low = (trapezoid - cut - (below + above).upper()).lower()
        high = (trapezoid + cut).upper()
        results.append(low.max(arb(0)).union(high.min(arb(1))))
    return results
