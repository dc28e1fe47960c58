"""Gaussian differential privacy: a trade-off curve summed up by one number.

A mechanism is mu-GDP where its curve lies above ``G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu)``, the
curve of N(mu, 1) against N(0, 1) (Dong, Roth, Su 2022, Definition 2.6).  A number that holds only
on a part of the curve, or only in a limit, is a `GaussianDP` that says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy import special

from accountant.bounds import Bounds
from accountant.losses.gaussian import TAIL_ULPS, gaussian_delta
from accountant.losses.kernels import ULP

__all__ = [
    "GaussianDP",
    "compose_gdp",
    "gdp_delta",
    "gdp_epsilon",
    "gdp_fnr",
    "poisson_limit_gdp",
]


@dataclass(frozen=True)
class GaussianDP:
    """The smallest mu for which a curve is above G_mu, and where it is.

    Parameters
    ----------
    mu : float
        Proved to hold on the region (rounded up); infinite where none does.  For an approximation,
        its value, proved for nothing.
    lower : float or None
        Proved: no smaller mu holds on the region.  None for an approximation.
    fpr : (float, float) or None
        The region, as type I errors: between the two both directions' curves are above G_mu.
    smallest_delta : float or None
        The region, as deltas: ``delta(epsilon) <= max(G_mu's delta(epsilon), smallest_delta)`` for
        every epsilon >= 0.
    approximation : bool
        True: the value of a limit theorem, which bounds nothing for a finite number of steps.
    """

    mu: float
    lower: float | None
    fpr: tuple[float, float] | None = None
    smallest_delta: float | None = None
    approximation: bool = False

    @property
    def whole_curve(self) -> bool:
        """Whether the mechanism is mu-GDP, with no restriction."""
        return not self.approximation and self.fpr is None and self.smallest_delta is None

    def delta(self, epsilon: float) -> float:
        """A delta for which (epsilon, delta)-DP follows, rounded up.

        Raises
        ------
        ValueError
            ``epsilon`` is not a number >= 0; the value is an approximation, or holds on a region of
            type I errors, from which no (epsilon, delta) follows.
        """
        self._refuse()
        return max(float(gdp_delta(self.mu, epsilon).upper), self.smallest_delta or 0.0)

    def epsilon(self, delta: float) -> float:
        """An epsilon for which (epsilon, delta)-DP follows, rounded up.

        Raises
        ------
        ValueError
            As for `delta`; or ``delta`` is below the region's smallest.
        """
        self._refuse()
        if self.smallest_delta is not None and not delta >= self.smallest_delta:
            raise ValueError(
                f"mu = {self.mu:g} is proved for delta >= {self.smallest_delta!r} and says nothing "
                f"at delta = {delta!r}: ask the loss, or find mu on a larger region"
            )
        return float(gdp_epsilon(self.mu, delta).upper)

    def _refuse(self) -> None:
        if self.approximation:
            raise ValueError(
                "a limit theorem's mu bounds nothing at a finite number of steps: ask the loss for "
                "a bound, or gdp_delta and gdp_epsilon for what the limit itself would have"
            )
        if self.fpr is not None:
            raise ValueError(
                f"mu = {self.mu:g} holds for type I errors within {self.fpr}, from which no "
                "(epsilon, delta) follows: ask the loss, or find mu for deltas above a smallest one"
            )


def gdp_delta(mu: float, epsilon: float) -> Bounds:
    """Delta of N(mu, 1) against N(0, 1) (Balle and Wang 2018, Theorem 8; DRS 2022, Corollary 2.13).

    Parameters
    ----------
    mu, epsilon
        Numbers >= 0.

    Raises
    ------
    ValueError
        One of them is negative or not a number.
    """
    check_number("mu", mu)
    check_number("epsilon", epsilon)
    if mu == 0.0 or math.isinf(epsilon):
        return Bounds(0.0, 0.0)
    if math.isinf(mu):
        return Bounds(1.0, 1.0)
    if mu * mu == 0.0:
        # delta <= delta(0) <= mu phi(0)
        return Bounds(0.0, mu)
    return Bounds(*gaussian_delta(mu * mu, epsilon))


def gdp_epsilon(mu: float, delta: float) -> Bounds:
    """Epsilon of N(mu, 1) against N(0, 1): the inverse of `gdp_delta`.

    Parameters
    ----------
    mu, delta
        Numbers >= 0.

    Raises
    ------
    ValueError
        One of them is negative or not a number.
    """
    check_number("mu", mu)
    check_number("delta", delta)
    if mu == 0.0 or delta >= 1.0:
        return Bounds(0.0, 0.0)
    if delta == 0.0 or math.isinf(mu):
        return Bounds(math.inf, math.inf)
    # Chernoff: delta(epsilon) <= exp(-(epsilon - mu^2/2)^2 / (2 mu^2))
    end = mu * (0.5 * mu + math.sqrt(2.0 * math.log(1.0 / delta) + 1.0))

    def last(holds: Callable[[float], bool]) -> tuple[float, float]:
        """Neighbouring doubles: at the first it does not hold, at the second it does."""
        low, high = 0.0, end
        if holds(low):
            return low, low
        while not holds(high):
            low, high = high, 2.0 * high
        while (middle := 0.5 * (low + high)) not in (low, high):
            low, high = (low, middle) if holds(middle) else (middle, high)
        return low, high

    lower = last(lambda e: gdp_delta(mu, e).lower < delta)[0]
    return Bounds(lower, last(lambda e: gdp_delta(mu, e).upper <= delta)[1])


def gdp_fnr(mu: float, fpr: float) -> Bounds:
    """The curve ``G_mu(fpr) = Phi(Phi^-1(1 - fpr) - mu)``.

    Parameters
    ----------
    mu
        A number >= 0.
    fpr
        A type I error in [0, 1].

    Raises
    ------
    ValueError
        An argument is outside its domain.
    """
    check_number("mu", mu)
    check_rate("fpr", fpr, 0.0, 1.0)
    if fpr in (0.0, 1.0):
        return Bounds(1.0 - fpr, 1.0 - fpr)
    if math.isinf(mu):
        return Bounds(0.0, 0.0)
    z = -float(special.ndtri(fpr)) - mu
    value = float(special.ndtr(z))
    # the argument carries TAIL_ULPS of each term; x Phi(-x)'s relative slope is below |x| + 1
    argument = TAIL_ULPS * ULP * (abs(z + mu) + mu)
    relative = TAIL_ULPS * ULP + argument * (abs(z) + 1.0) * 2.0 + 4.0 * z * z * ULP
    slack = min(value, 1.0) * relative + 1e-320
    return Bounds(max(0.0, value - slack), min(1.0 - fpr, value + slack))


def compose_gdp(*mu: float) -> float:
    """Mu of the composition, ``sqrt(sum mu_i^2)``, rounded up (DRS 2022, Corollary 3.3).

    Gaussian curves compose exactly; of mechanisms that are mu_i-GDP it is a valid upper bound.
    Every mu_i must hold for the whole curve.

    Raises
    ------
    ValueError
        A mu is negative or not a number.
    """
    for one in mu:
        check_number("mu", one)
    largest = max(mu, default=0.0)
    if largest in (0.0, math.inf):
        return largest
    total = math.fsum((one / largest) ** 2 for one in mu)
    return largest * math.sqrt(total) * (1.0 + 8.0 * ULP) if len(mu) > 1 else largest


def poisson_limit_gdp(q: float, sigma: float, steps: int) -> GaussianDP:
    """The central limit theorem's mu of Poisson-sampled DP-SGD: an approximation, never a bound.

    ``mu = q sqrt(steps (exp(1/sigma^2) - 1))``, the limit for q sqrt(steps) held and steps to
    infinity (Bu, Dong, Long, Su 2020, "Deep learning with Gaussian differential privacy",
    Theorem 5 and Corollary 2 there).  The error at finite steps has either sign.

    Parameters
    ----------
    q
        Sampling probability, in [0, 1].
    sigma
        Noise multiplier, > 0.
    steps
        A whole number >= 0.

    Raises
    ------
    ValueError
        An argument is outside its domain.
    """
    check_rate("q", q, 0.0, 1.0)
    check_number("sigma", sigma)
    if sigma == 0.0:
        raise ValueError("sigma must be above 0: without noise there is no Gaussian limit")
    if isinstance(steps, bool) or not (isinstance(steps, int) and steps >= 0):
        raise ValueError(f"steps must be a whole number >= 0, got {steps!r}")
    exponent = 1.0 / (sigma * sigma) if sigma * sigma > 0.0 else math.inf
    spread = math.expm1(exponent) if exponent < 700.0 else math.inf
    if q == 0.0 or steps == 0:
        return GaussianDP(0.0, None, approximation=True)
    return GaussianDP(q * math.sqrt(steps * spread), None, approximation=True)


def check_number(name: str, value: Any) -> None:
    """Refuse what is no number >= 0."""
    if isinstance(value, (bool, str, bytes)) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number >= 0, got {value!r}")
    if not value >= 0.0:
        raise ValueError(f"{name} must be a number >= 0, got {value!r}")


def check_rate(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is no number within [low, high]."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (real and low <= value <= high):
        raise ValueError(f"{name} must be a number within [{low:g}, {high:g}], got {value!r}")
