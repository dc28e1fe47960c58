"""Discrete mechanisms composed with smooth ones: the contour against sums of closed forms."""

import math

import mpmath
import pytest
from dp_accounting import dp_event

from accountant import privacy_loss
from accountant.engine.brackets import WIDTH
from accountant.engine.lattice_search import epsilon_by_lattice
from accountant.events import ApproximateDpEvent, DiscreteGaussianDpEvent


def gaussian_delta(mu, epsilon):
    """H_epsilon(N(mu, 1) || N(0, 1)) at any real epsilon (Balle, Wang 2018)."""
    return mpmath.ncdf(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * mpmath.ncdf(
        -mu / 2 - epsilon / mu
    )


def binary_sums(epsilon, count):
    """Losses and masses of ``count`` randomized responses."""
    p = 1 / (1 + mpmath.exp(-mpmath.mpf(epsilon)))
    for wins in range(count + 1):
        mass = mpmath.binomial(count, wins) * p**wins * (1 - p) ** (count - wins)
        yield mpmath.mpf(epsilon) * (2 * wins - count), mass


@pytest.mark.parametrize("sigma", [0.7, 3.0, 40.0])
@pytest.mark.parametrize(("pure", "count"), [(0.3, 1), (0.05, 40), (2.0, 3)])
@pytest.mark.parametrize("delta", [1e-3, 1e-9, 1e-30])
def test_gaussian_and_randomized_response(sigma, pure, count, delta):
    event = dp_event.ComposedDpEvent(
        [
            dp_event.GaussianDpEvent(sigma),
            dp_event.SelfComposedDpEvent(ApproximateDpEvent(pure), count),
        ]
    )
    found = privacy_loss(event).epsilon_bounds(delta)
    with mpmath.workdps(60):
        sums = list(binary_sums(pure, count))

        def exact(epsilon):
            parts = (m * gaussian_delta(1 / mpmath.mpf(sigma), epsilon - s) for s, m in sums)
            return mpmath.fsum(parts)

        assert exact(mpmath.mpf(found.upper)) <= delta
        assert found.lower == 0.0 or exact(mpmath.mpf(found.lower)) >= delta
    assert found.upper - found.lower <= max(WIDTH, 1e-6) * found.upper


def test_the_part_in_the_clear_is_added_exactly():
    sigma, failure = 2.0, 1e-4
    event = dp_event.ComposedDpEvent(
        [dp_event.GaussianDpEvent(sigma), ApproximateDpEvent(0.0, failure)]
    )
    loss = privacy_loss(event)
    assert loss.epsilon(0.5 * failure) == math.inf
    for epsilon in (0.0, 0.5, 2.0):
        bounds = loss.delta_bounds(epsilon)
        exact = failure + (1 - failure) * gaussian_delta(1 / mpmath.mpf(sigma), epsilon)
        assert bounds.lower <= exact <= bounds.upper
        assert bounds.upper - bounds.lower <= 1e-12
    assert loss.renyi(2.0) == math.inf


@pytest.mark.parametrize("delta", [1e-5, 1e-12])
def test_contour_and_lattice_agree_on_sampled_gaussians_with_a_discrete_one(delta):
    step = dp_event.PoissonSampledDpEvent(0.01, dp_event.GaussianDpEvent(1.0))
    event = dp_event.ComposedDpEvent(
        [
            dp_event.SelfComposedDpEvent(step, 300),
            dp_event.SelfComposedDpEvent(DiscreteGaussianDpEvent(6.0, 1), 3),
        ]
    )
    loss = privacy_loss(event)
    for direction in ("remove", "add"):
        (composition,) = loss.directed(direction)
        assert not composition.needs_lattice
        contour = loss.epsilon_bounds(delta, direction)
        lattice = epsilon_by_lattice(composition, delta)
        assert max(contour.lower, lattice.lower) <= min(contour.upper, lattice.upper)
        assert lattice.upper - lattice.lower <= 2e-6 * lattice.upper
