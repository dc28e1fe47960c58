r"""Enclosures of delta for two releases, as one-dimensional integrals over the first.

With y = e^eps and D the delta of the second release as a function of its threshold,

    remove:  delta = E_{x ~ Q1}[ r(x) D(y / r(x)) ],      add:  delta = E_{x ~ Q1}[ D(y r(x)) ].

The second pair is a Poisson-subsampled Gaussian, (p, 1 - p) at (0, c): its D is in closed form
with the threshold x2*(x) = s^2/c log((level - p)/(1 - p)) + c/2, level = y/r(x) (remove) or
1/(y r(x)) (add), which decreases with x and reaches -infinity where level = p. The line is cut
at -X and at b, where x2*(b) = -X:

    x < -X:  remove: r D <= r, so at most the P1-mass; add: D <= 1, so at most the Q1-mass;
    x > b:   remove: D(y') = 1 - y' + E_Q2[(y' - r2)_+] and the last term lies between 0 and
             y' Q2[x2 < -X]; so r D = r - y + [0, y Q2[x2 < -X]], in closed form;
             add: D <= Q2[x2 < -X];
    between: the integrand is analytic, and flint's adaptive quadrature (``acb.integral``,
             Petras' algorithm) returns a rigorous enclosure.

Laplace with Gaussians: under P the Laplace loss is lam = 1/scale with probability 1/2, -lam with
probability exp(-lam)/2, and lam (1 - 2x) with density lam exp(-lam x)/2 for 0 < x < 1; delta is
the expectation of the Gaussian delta at eps minus that loss. Both directions agree.
"""

from __future__ import annotations

import math

from flint import acb, arb, ctx

from tests.enclosures.closed_forms import gaussian_delta, ratio, threshold, upper_tail
from tests.enclosures.pairs import Composition, Exact, Laplace, Mixture, ball, width


def _tail(z: acb) -> acb:
    return (z / acb(2).sqrt()).erfc() / 2


def _ratio(pair: Mixture, x: acb) -> acb:
    two = 2 * ball(pair.sigma) ** 2
    return sum(
        (
            ball(p) * (ball(c) * (2 * x - ball(c)) / two).exp()
            for p, c in zip(pair.probabilities, pair.centers, strict=True)
        ),
        acb(0),
    )


def two_releases(first: Mixture, second: Mixture, removing: bool, eps: arb, digits: int) -> arb:
    """Delta of the two releases (module proof)."""
    if len(second.centers) != 2 or not second.weight_at_zero:
        raise ValueError("the second release must be a Poisson-subsampled Gaussian")
    y, s, s2 = eps.exp(), ball(first.sigma), ball(second.sigma)
    p, c = ball(second.weight_at_zero), ball(second.top)
    reach = math.sqrt(2 * digits * math.log(10)) + 1
    far2 = arb(-reach) * s2
    left = arb(-reach) * s
    # x2*(b) = -X where level = r2(-X)
    level = ratio(second, far2)
    wall = y / level if removing else 1 / (y * level)
    least = ball(first.weight_at_zero)
    # a wall below the infimum of r means that every x lies beyond b
    end = left if not wall > least else threshold(first, wall)
    end = arb(end.mid())
    if removing:
        # beyond the largest x that matters only the right tail of P1 and Q1 is left
        end = end.min(ball(first.top) + reach * s)
    else:
        end = end.min(reach * s)
    end = arb(end.max(left).mid())
    # the midpoint may lie on either side of b: enclose what the cut really is
    turn = y / ratio(first, end) if removing else 1 / (y * ratio(first, end))

    def integrand(x: acb, analytic: bool) -> acb:
        r = _ratio(first, x)
        argument = ((y / r if removing else 1 / (y * r)) - p) / (1 - p)
        at = s2 * s2 / c * argument.log(analytic) + c / 2
        density = (-x * x / (2 * s * s)).exp()
        plain, moved = _tail(at / s2), _tail((at - c) / s2)
        if removing:
            return density * (r * (p * plain + (1 - p) * moved) - y * plain)
        return density * ((1 - plain) - y * r * (p * (1 - plain) + (1 - p) * (1 - moved)))

    scale = s * (2 * arb.pi()).sqrt()
    middle = arb(0)
    if end > left:
        goal = arb(10) ** (-digits)
        value = acb.integral(
            integrand, acb(left), acb(end), rel_tol=goal, abs_tol=goal**4, eval_limit=10**6
        )
        middle = value.real / scale
    mass_p = sum(
        (
            ball(w) * upper_tail((end - ball(m)) / s)
            for w, m in zip(first.probabilities, first.centers, strict=True)
        ),
        arb(0),
    )
    mass_q = upper_tail(end / s)
    # where the cut lies right of the chosen end, level is above p there: bound by monotonicity
    cut2 = threshold(second, turn) if turn > p else arb("-inf")
    tiny = upper_tail(-cut2 / s2) if turn > p else arb(0)
    if removing:
        low = sum(
            (
                ball(w) * upper_tail((ball(m) - left) / s)
                for w, m in zip(first.probabilities, first.centers, strict=True)
            ),
            arb(0),
        )
        right = (mass_p - y * mass_q).union(mass_p - y * mass_q + y * mass_q * tiny)
    else:
        low = upper_tail(-left / s)
        right = arb(0).union(mass_q * tiny)
    return middle + right + arb(0).union(low)


def laplace_with_gaussians(lam: arb, mu: arb, eps: arb, digits: int) -> arb:
    """Delta of one Laplace release of epsilon lam with Gaussians that compose to mu."""

    def delta(e: acb) -> acb:
        return _tail(e / mu - mu / 2) - e.exp() * _tail(e / mu + mu / 2)

    def integrand(x: acb, analytic: bool) -> acb:
        return lam / 2 * (-lam * x).exp() * delta(eps - lam * (1 - 2 * x))

    goal = arb(10) ** (-digits)
    inside = acb.integral(integrand, acb(0), acb(1), rel_tol=goal, abs_tol=goal**6)
    atoms = gaussian_delta(mu, eps - lam) / 2 + (-lam).exp() / 2 * gaussian_delta(mu, eps + lam)
    return inside.real + atoms


def convolved(composition: Composition, epsilon: Exact, digits: int = 30) -> arb:
    """Delta at epsilon of two Poisson-subsampled Gaussians, or of one Laplace with Gaussians."""
    tried = digits
    while True:  # the integrals are cut off absolutely, delta is wanted relatively
        value = _convolved(composition, epsilon, tried)
        if width(value) < 10.0**-digits or tried > 8 * digits:
            return value
        tried *= 2


def _convolved(composition: Composition, epsilon: Exact, digits: int) -> arb:
    pairs = [pair for pair, count in composition.terms for _ in range(min(count, 3))]
    removing = composition.direction == "remove"
    with ctx.workprec(8 * digits + 64):
        eps = ball(epsilon)
        laplaces = [pair for pair in pairs if isinstance(pair, Laplace)]
        if len(laplaces) == 1:
            square = arb(0)
            for pair, count in composition.terms:
                if isinstance(pair, Mixture):
                    if not pair.is_gaussian:
                        raise ValueError("the Laplace case needs Gaussians")
                    square += count * (ball(pair.top) / ball(pair.sigma)) ** 2
            return laplace_with_gaussians(1 / ball(laplaces[0].scale), square.sqrt(), eps, digits)
        if len(pairs) != 2 or laplaces:
            raise ValueError(f"not two releases: {composition!r}")
        first, second = pairs
        assert isinstance(first, Mixture)
        assert isinstance(second, Mixture)
        return two_releases(first, second, removing, eps, digits)


def is_convolvable(composition: Composition) -> bool:
    """Whether ``convolved`` covers the composition."""
    counts = [count for _, count in composition.terms]
    kinds = [pair for pair, _ in composition.terms]
    if sum(counts) == 2 and all(
        isinstance(pair, Mixture) and len(pair.centers) == 2 and pair.weight_at_zero
        for pair in kinds
    ):
        return True
    laplaces = [n for pair, n in composition.terms if isinstance(pair, Laplace)]
    return (
        laplaces == [1]
        and len(kinds) > 1
        and all(isinstance(pair, Laplace) or pair.is_gaussian for pair in kinds)
    )
