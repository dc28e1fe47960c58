r"""Enclosures from closed forms: one release of any pair, and compositions of Gaussians.

Neyman-Pearson: delta(eps) is attained on the set where dP/dQ > e^eps (with P, Q in the order of
the direction). For mixtures the ratio increases with x, so that set is a half-line {x > x*}
(remove) or {x < x*} (add), and with y = e^eps

    remove: delta = P[x > x*] - y Q[x > x*],  r(x*) = y;   all of R if y <= p_0, the infimum of r;
    add:    delta = Q[x < x*] - y P[x < x*],  r(x*) = 1/y;  empty if 1/y <= p_0.

Gaussians compose to a Gaussian of mu^2 = sum n c^2/s^2: delta = G(eps/mu - mu/2) - e^eps
G(eps/mu + mu/2) with G the normal upper tail, in both directions.

Laplace, lam = 1/scale: the loss under P is (|x-1| - |x|)/scale, so for |eps| <= lam delta = 1 -
exp((eps - lam)/2): {x < x*} with x* = (1 - eps/lam)/2 has P-mass 1 - exp(-x*/scale)/2 and Q-mass
exp((x* - 1)/scale)/2, and the two exponentials agree after the factor e^eps.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import arb, ctx

from tests.enclosures.pairs import Composition, Exact, Laplace, Mixture, ball, width


def refined(evaluate: Callable[[], arb], digits: int, most: int = 8192) -> arb:
    """Evaluate at increasing precision until the ball is relatively 10^-digits narrow."""
    bits = max(128, 4 * digits)
    while True:
        with ctx.workprec(bits):
            value = evaluate()
        if width(value) < 10.0**-digits or value.is_zero() or bits >= most:
            return value
        bits *= 2


def upper_tail(z: arb) -> arb:
    """P[N(0, 1) > z]."""
    return (z / arb(2).sqrt()).erfc() / 2


def gaussian_delta(mu: arb, eps: arb) -> arb:
    """Delta of the Gaussian pair N(mu, 1) against N(0, 1)."""
    return upper_tail(eps / mu - mu / 2) - eps.exp() * upper_tail(eps / mu + mu / 2)


def _mu(composition: Composition) -> arb:
    total = arb(0)
    for pair, count in composition.terms:
        assert isinstance(pair, Mixture)
        total += count * (ball(pair.top) / ball(pair.sigma)) ** 2
    return total.sqrt()


def ratio(pair: Mixture, x: arb) -> arb:
    """The likelihood ratio r(x)."""
    two = 2 * ball(pair.sigma) ** 2
    return sum(
        (
            ball(p) * (ball(c) * (2 * x - ball(c)) / two).exp()
            for p, c in zip(pair.probabilities, pair.centers, strict=True)
        ),
        arb(0),
    )


def threshold(pair: Mixture, level: arb) -> arb:
    """An enclosure of the x* with r(x*) = level > p_0."""
    s, least = ball(pair.sigma), ball(pair.weight_at_zero)
    if len(pair.centers) - bool(pair.weight_at_zero) == 1:
        c = ball(pair.top)
        return s * s / c * ((level - least) / (1 - least)).log() + c / 2
    low, high = arb(-1), arb(1)
    while not ratio(pair, low) < level:
        low *= 2
    while not ratio(pair, high) > level:
        high *= 2
    while True:
        middle = arb(((low + high) / 2).mid())
        value = ratio(pair, middle)
        if value < level and middle > low:
            low = middle
        elif value > level and middle < high:
            high = middle
        else:  # as narrow as this precision can decide
            return low.union(high)


def _mixture_delta(pair: Mixture, removing: bool, eps: arb) -> arb:
    y, s, least = eps.exp(), ball(pair.sigma), ball(pair.weight_at_zero)
    level = y if removing else 1 / y
    if level <= least:
        return 1 - y if removing else arb(0)
    if not level > least:
        return arb("nan")  # refined() raises the precision
    at, sign = threshold(pair, level), 1 if removing else -1
    mixed = sum(
        (
            ball(p) * upper_tail(sign * (at - ball(c)) / s)
            for p, c in zip(pair.probabilities, pair.centers, strict=True)
        ),
        arb(0),
    )
    plain = upper_tail(sign * at / s)
    return mixed - y * plain if removing else plain - y * mixed


def has_closed_form(composition: Composition) -> bool:
    """Whether ``closed_form`` covers the composition."""
    return composition.is_gaussian or composition.is_single


def closed_form(composition: Composition, epsilon: Exact, digits: int = 30) -> arb:
    """Delta at epsilon, for one release or for Gaussians."""

    def evaluate() -> arb:
        eps = ball(epsilon)
        if composition.is_gaussian:
            return gaussian_delta(_mu(composition), eps)
        pair = composition.terms[0][0]
        if isinstance(pair, Laplace):
            lam = 1 / ball(pair.scale)
            return arb(0) if eps >= lam else 1 - ((eps - lam) / 2).exp()
        return _mixture_delta(pair, composition.direction == "remove", eps)

    if not has_closed_form(composition):
        raise ValueError(f"no closed form for {composition!r}")
    return refined(evaluate, digits)
