"""The accountant where the answer is known in closed form, to many digits."""

import math

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation
from flint import arb

from accountant import Bounds, privacy_loss
from tests.enclosures.closed_forms import closed_form
from tests.enclosures.pairs import (
    DIRECTIONS,
    Composition,
    Direction,
    compose,
    gaussian,
    laplace,
    mixture,
    poisson_gaussian,
)

EPSILONS = [0.0, 1e-3, 0.1, 1.0, 5.0, 30.0]


def assert_encloses(bounds: Bounds, exact: arb, relative: float, absolute: float = 1e-290) -> None:
    assert arb(bounds.lower) <= exact.upper()
    assert arb(bounds.upper) >= exact.lower()
    assert bounds.upper - bounds.lower <= relative * bounds.upper + absolute


@pytest.mark.parametrize("epsilon", [*EPSILONS, 300.0])
@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 4.0, 100.0, 1000.0])
@pytest.mark.parametrize("steps", [1, 7, 10**6])
def test_gaussian_delta(sigma: float, steps: int, epsilon: float) -> None:
    loss = steps * privacy_loss(dp_event.GaussianDpEvent(sigma))
    for direction in DIRECTIONS:
        composition = compose((gaussian(sigma), steps), direction=direction)
        exact = closed_form(composition, epsilon)
        assert_encloses(loss.delta_bounds(epsilon, direction), exact, 1e-8)


@pytest.mark.parametrize("delta", [1e-100, 1e-40, 1e-10, 1e-5, 0.1, 0.5])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 4.0, 1000.0])
def test_gaussian_epsilon(sigma: float, delta: float) -> None:
    bounds = privacy_loss(dp_event.GaussianDpEvent(sigma)).epsilon_bounds(delta)
    composition = compose((gaussian(sigma), 1), direction="remove")
    assert closed_form(composition, bounds.upper).lower() <= delta
    if bounds.lower > 0:
        assert closed_form(composition, bounds.lower).upper() >= delta
    assert bounds.tight
    assert bounds.upper - bounds.lower <= 1e-9 * bounds.upper


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("sigma", [0.2, 1.0, 50.0])
@pytest.mark.parametrize("q", [1e-9, 1e-4, 0.01, 0.3, 0.999, 1.0])
def test_one_poisson_step(q: float, sigma: float, epsilon: float, direction: Direction) -> None:
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))
    composition = compose((poisson_gaussian(q, sigma), 1), direction=direction)
    exact = closed_form(composition, epsilon)
    assert_encloses(privacy_loss(event).delta_bounds(epsilon, direction), exact, 1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.5, 3.0])
@pytest.mark.parametrize(
    ("sigma", "centers", "weights"),
    [
        (2.0, [0.0, 1.0, 2.0, 4.0], [0.5, 0.25, 0.125, 0.125]),
        (0.5, [0.25, 1.0], [0.75, 0.25]),
        (1.0, [0.0, 3.0], [1 - 2.0**-20, 2.0**-20]),
        (3.0, [2.0], [1.0]),
    ],
)
def test_one_mixture(
    sigma: float, centers: list[float], weights: list[float], epsilon: float, direction: Direction
) -> None:
    event = dp_event.MixtureOfGaussiansDpEvent(sigma, centers, weights)
    composition = compose((mixture(sigma, centers, weights), 1), direction=direction)
    exact = closed_form(composition, epsilon)
    assert_encloses(privacy_loss(event).delta_bounds(epsilon, direction), exact, 1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.4999, 0.5, 0.6])
def test_one_laplace(epsilon: float, direction: Direction) -> None:
    composition = compose((laplace(2.0), 1), direction=direction)
    bounds = privacy_loss(dp_event.LaplaceDpEvent(2.0)).delta_bounds(epsilon, direction)
    assert_encloses(bounds, closed_form(composition, epsilon), 1e-9, 1e-14)


@pytest.mark.parametrize("q", [1e-6, 0.01, 0.5])
@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_nothing_leaks_beyond_the_largest_loss_of_the_add_direction(q: float, steps: int) -> None:
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(1.0))
    loss = steps * privacy_loss(event)
    largest = -steps * math.log1p(-q)
    assert loss.delta(largest * (1 + 1e-12), "add") == 0.0
    assert loss.epsilon(0.0, "add") == pytest.approx(largest, rel=1e-12)
    assert loss.epsilon(0.0, "add") >= -steps * mpmath.log1p(-mpmath.mpf(q))
    assert loss.epsilon(0.0, "remove") == math.inf


@pytest.mark.parametrize("alpha", [1.01, 1.5, 2.0, 3.0, 17.0, 64.0])
def test_renyi_of_the_gaussian_is_alpha_over_two_sigma_squared(alpha: float) -> None:
    found = (10 * privacy_loss(dp_event.GaussianDpEvent(3.0))).renyi(alpha)
    exact = 10 * alpha / 18
    assert exact <= found <= exact * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [2, 3, 8, 32])
@pytest.mark.parametrize(("q", "sigma"), [(0.01, 1.0), (0.3, 2.0), (1e-6, 0.7)])
def test_renyi_of_poisson_at_whole_orders_is_the_binomial_sum(
    alpha: int, q: float, sigma: float
) -> None:
    # E_Q[r^alpha] = sum_k binom(alpha, k) (1-q)^(alpha-k) q^k exp((k^2 - k)/(2 sigma^2)):
    # Mironov, Talwar and Zhang 2019, section 3.3
    with mpmath.workdps(60):
        p, s = mpmath.mpf(q), mpmath.mpf(sigma)
        moment = mpmath.fsum(
            mpmath.binomial(alpha, k)
            * (1 - p) ** (alpha - k)
            * p**k
            * mpmath.exp((k * k - k) / (2 * s * s))
            for k in range(alpha + 1)
        )
        exact = mpmath.log(moment) / (alpha - 1)
    event = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))
    found = privacy_loss(event).renyi(float(alpha), "remove")
    assert exact <= found
    assert found <= exact * (1 + mpmath.mpf("1e-6")) + mpmath.mpf("1e-15")


def test_advantage_of_the_gaussian_is_the_total_variation() -> None:
    advantage = privacy_loss(dp_event.GaussianDpEvent(2.0)).advantage()
    exact = math.erf(0.25 / math.sqrt(2))
    assert exact <= advantage * (1 + 1e-15)
    assert advantage == pytest.approx(exact, rel=1e-12)


def test_trade_off_curve_of_the_gaussian() -> None:
    # Dong, Roth and Su 2022: G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu)
    mu = 0.8
    rates = np.array([1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
    found = privacy_loss(dp_event.GaussianDpEvent(1 / mu)).fnr(rates)
    with mpmath.workdps(40):
        exact = [
            float(mpmath.ncdf(-mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(x) - 1) - mu))
            for x in rates
        ]
    assert np.all(found <= np.array(exact) * (1 + 1e-14))
    np.testing.assert_allclose(found, exact, rtol=2e-3)


@pytest.mark.parametrize("sigma", [0.7, 3.0])
@pytest.mark.parametrize("epsilon", [0.1, 2.0])
def test_replace_one_doubles_the_sensitivity_of_the_gaussian(sigma: float, epsilon: float) -> None:
    loss = privacy_loss(dp_event.GaussianDpEvent(sigma), NeighboringRelation.REPLACE_ONE)
    exact = closed_form(compose((gaussian(sigma, 2), 1), direction="remove"), epsilon)
    assert_encloses(loss.delta_bounds(epsilon), exact, 1e-9)


def test_zero_out_is_the_same_pair_as_add_or_remove() -> None:
    event = dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(0.01, dp_event.GaussianDpEvent(1.0)), 100
    )
    special = privacy_loss(event, NeighboringRelation.REPLACE_SPECIAL)
    plain = privacy_loss(event)
    assert special.epsilon_bounds(1e-5) == plain.epsilon_bounds(1e-5)


@pytest.mark.parametrize(
    ("event", "epsilon", "delta"),
    [
        (dp_accounting.GaussianDpEvent(0.0), math.inf, 1.0),
        (dp_accounting.NonPrivateDpEvent(), math.inf, 1.0),
        (dp_accounting.NoOpDpEvent(), 0.0, 0.0),
        (dp_event.PoissonSampledDpEvent(0.0, dp_event.GaussianDpEvent(1.0)), 0.0, 0.0),
        (dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(1.0), 0), 0.0, 0.0),
    ],
)
def test_degenerate_events(event: dp_event.DpEvent, epsilon: float, delta: float) -> None:
    loss = privacy_loss(event)
    assert loss.epsilon(1e-5) == epsilon
    assert loss.delta(1.0) == delta


def direct_delta(composition: Composition, epsilon: float) -> float:
    return float(closed_form(composition, epsilon).mid())


def test_the_closed_form_of_poisson_is_the_integral_of_the_definition() -> None:
    # an oracle for the oracle: delta = integral of (p - e^eps q)_+ by mpmath's quadrature
    q, sigma, eps = 0.2, 0.8, 0.3
    with mpmath.workdps(30):

        def p(x: mpmath.mpf) -> mpmath.mpf:
            return (1 - mpmath.mpf(q)) * mpmath.npdf(x, 0, sigma) + q * mpmath.npdf(x, 1, sigma)

        def base(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.npdf(x, 0, sigma)

        turn = mpmath.findroot(lambda x: p(x) / base(x) - mpmath.exp(eps), 1)
        remove = mpmath.quad(lambda x: p(x) - mpmath.exp(eps) * base(x), [turn, 2, 5, 12])
        turn = mpmath.findroot(lambda x: p(x) / base(x) - mpmath.exp(-0.1), 0)
        add = mpmath.quad(lambda x: base(x) - mpmath.exp(0.1) * p(x), [-12, -5, -2, turn])
    pair = poisson_gaussian(q, sigma)
    assert direct_delta(compose((pair, 1), direction="remove"), eps) == pytest.approx(
        float(remove), rel=1e-13
    )
    assert direct_delta(compose((pair, 1), direction="add"), 0.1) == pytest.approx(
        float(add), rel=1e-13
    )
