"""Configurations in which a contour is asked far from where it was built.

A line whose aliases lie beyond the largest loss where it was built has them within reach at smaller
epsilons; a scale beyond doubles says nothing.  Both once gave an upper bound below the truth.
"""

import dp_accounting as dp
import pytest

from accountant import privacy_loss


def poisson(q, sigma, steps):
    return steps * privacy_loss(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)))


def test_two_different_bounded_losses_at_a_tiny_delta():
    loss = poisson(0.0055464741392185855, 0.34209638639897844, 1) + poisson(
        0.03840036128939623, 1.3031087223110782, 1
    )
    bounds = loss.epsilon_bounds(5.721682012693537e-77, "add")
    # at 0.02236 delta is still 0.00256 (ball arithmetic)
    assert bounds.lower >= 0.0223
    assert bounds.upper > 0.0225
    low, high = loss.delta_bounds(0.022359470757558352, "add")
    assert low <= 0.002562660679057153357 <= high


@pytest.mark.parametrize("steps", [2, 11, 30])
def test_rare_participation_next_to_the_largest_loss(steps):
    bounds = poisson(1e-9, 1.0, steps).epsilon_bounds(1.42e-97, "add")
    # one step alone costs 9.9999999e-10 there, and the losses add
    assert 9.99e-10 <= bounds.lower <= bounds.upper <= steps * 1.0000001e-9


def test_lines_claim_nothing_where_their_scale_overflows():
    loss = poisson(1e-9, 1.0, 11)
    for epsilon in (0.0, 1e-10, 1e-9, 5e-9):
        low, high = loss.delta_bounds(epsilon, "add")
        assert 0.0 <= low <= high <= 11e-9
