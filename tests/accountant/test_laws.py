"""Laws that every privacy loss obeys, hunted by hypothesis over the whole promised domain.

Exact quantities are monotone; brackets need not be. So each law is stated for what it implies of
brackets: if x <= y then lower(x) <= upper(y).
"""

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from hypothesis import assume, given
from hypothesis import strategies as st

from accountant import PrivacyLoss, privacy_loss
from tests.sweep import narrow

DIRECTIONS = (None, "add", "remove")


def log_floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(math.log(low), math.log(high)).map(lambda x: min(high, max(low, math.exp(x))))


probabilities = st.one_of(log_floats(1e-9, 1.0), st.sampled_from([1e-9, 1e-4, 0.01, 0.5, 1.0]))
multipliers = log_floats(0.2, 1e3)
counts = st.one_of(st.integers(1, 30), log_floats(1, 1e9).map(int))
deltas = st.one_of(log_floats(1e-14, 0.5), log_floats(1e-100, 0.5))
epsilons = log_floats(1e-3, 1e3)
directions = st.sampled_from(DIRECTIONS)


def poisson(q: float, sigma: float) -> dp_event.DpEvent:
    return dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))


steps = st.builds(poisson, probabilities, multipliers)
gaussians = st.builds(dp_event.GaussianDpEvent, multipliers)
laplaces = st.builds(dp_event.LaplaceDpEvent, log_floats(0.5, 100.0))
events = st.one_of(steps, gaussians)
losses = st.builds(lambda event, count: count * privacy_loss(event), events, counts)


@given(losses, deltas, directions)
def test_brackets_are_ordered_and_finite(loss: PrivacyLoss, delta: float, direction: Any) -> None:
    low, high = loss.epsilon_bounds(delta, direction)
    assert 0.0 <= low <= high < math.inf


@given(losses, epsilons, directions)
def test_delta_is_a_probability(loss: PrivacyLoss, epsilon: float, direction: Any) -> None:
    low, high = loss.delta_bounds(epsilon, direction)
    assert 0.0 <= low <= high <= 1.0


@given(losses, deltas, directions)
def test_tight_brackets_are_tight(loss: PrivacyLoss, delta: float, direction: Any) -> None:
    assume(direction is not None)
    bounds = loss.epsilon_bounds(delta, direction)
    assert narrow(loss, direction, bounds) or not bounds.tight


@given(losses, deltas, deltas, directions)
def test_epsilon_falls_with_delta(
    loss: PrivacyLoss, one: float, two: float, direction: Any
) -> None:
    small, large = sorted((one, two))
    looser, stricter = (loss.epsilon_bounds(d, direction) for d in (large, small))
    assert looser.lower <= stricter.upper


@given(losses, epsilons, epsilons, directions)
def test_delta_falls_with_epsilon(
    loss: PrivacyLoss, one: float, two: float, direction: Any
) -> None:
    small, large = sorted((one, two))
    assert loss.delta_bounds(large, direction).lower <= loss.delta_bounds(small, direction).upper


@given(probabilities, probabilities, multipliers, counts, deltas)
def test_epsilon_rises_with_the_sampling_probability(
    one: float, two: float, sigma: float, count: int, delta: float
) -> None:
    small, large = sorted((one, two))
    rarely, often = (count * privacy_loss(poisson(q, sigma)) for q in (small, large))
    assert rarely.epsilon_bounds(delta).lower <= often.epsilon_bounds(delta).upper


@given(probabilities, multipliers, multipliers, counts, deltas)
def test_epsilon_falls_with_the_noise(
    q: float, one: float, two: float, count: int, delta: float
) -> None:
    small, large = sorted((one, two))
    noisy, clear = (count * privacy_loss(poisson(q, s)) for s in (large, small))
    assert noisy.epsilon_bounds(delta).lower <= clear.epsilon_bounds(delta).upper


@given(events, counts, counts, deltas)
def test_epsilon_rises_with_the_number_of_steps(
    event: dp_event.DpEvent, one: int, two: int, delta: float
) -> None:
    short, long = (n * privacy_loss(event) for n in sorted((one, two)))
    assert short.epsilon_bounds(delta).lower <= long.epsilon_bounds(delta).upper


@given(events, st.integers(1, 1000), deltas)
def test_one_more_part_never_helps(event: dp_event.DpEvent, count: int, delta: float) -> None:
    loss = count * privacy_loss(event)
    more = loss + privacy_loss(dp_event.GaussianDpEvent(3.0))
    assert loss.epsilon_bounds(delta).lower <= more.epsilon_bounds(delta).upper


@given(losses, deltas, directions)
def test_epsilon_and_delta_are_each_other_s_inverse(
    loss: PrivacyLoss, delta: float, direction: Any
) -> None:
    low, high = loss.epsilon_bounds(delta, direction)
    assert loss.delta_bounds(high, direction).lower <= delta
    if low > 0.0:
        assert loss.delta_bounds(low, direction).upper >= delta


@given(losses, epsilons, directions)
def test_delta_and_epsilon_are_each_other_s_inverse(
    loss: PrivacyLoss, epsilon: float, direction: Any
) -> None:
    low, high = loss.delta_bounds(epsilon, direction)
    if 1e-300 < high < 1.0:
        assert loss.epsilon_bounds(high, direction).lower <= epsilon
    if 1e-300 < low < 1.0:
        assert loss.epsilon_bounds(low, direction).upper >= epsilon


@given(losses, deltas)
def test_both_directions_together_are_the_worse(loss: PrivacyLoss, delta: float) -> None:
    both = loss.epsilon_bounds(delta)
    add, remove = (loss.epsilon_bounds(delta, d) for d in ("add", "remove"))
    assert max(add.lower, remove.lower) <= both.upper
    assert both.lower <= max(add.upper, remove.upper)


@given(st.lists(st.tuples(st.one_of(events, laplaces), st.integers(1, 50)), min_size=2, max_size=4))
def test_composition_commutes(parts: list[tuple[dp_event.DpEvent, int]]) -> None:
    losses = [n * privacy_loss(event) for event, n in parts]
    forward = sum(losses[1:], losses[0])
    backward = sum(losses[-2::-1], losses[-1])
    assert forward == backward
    assert hash(forward) == hash(backward)
    nested = privacy_loss(
        dp_event.ComposedDpEvent(
            [dp_event.SelfComposedDpEvent(event, n) for event, n in reversed(parts)]
        )
    )
    assert nested == forward


@given(losses, st.integers(0, 40), st.integers(0, 40))
def test_repeating_is_adding(loss: PrivacyLoss, one: int, two: int) -> None:
    assert one * loss + two * loss == (one + two) * loss
    assert one * (two * loss) == (one * two) * loss
    assert loss * two == two * loss


@given(losses, deltas)
def test_nothing_is_the_identity(loss: PrivacyLoss, delta: float) -> None:
    nothing = 0 * loss
    assert loss + nothing == loss
    assert nothing.epsilon(delta) == 0.0
    assert nothing.delta(0.0) == 0.0
    assert nothing == privacy_loss(dp_event.NoOpDpEvent())


@given(losses, deltas)
def test_losses_survive_pickling(loss: PrivacyLoss, delta: float) -> None:
    copy = pickle.loads(pickle.dumps(loss))
    assert copy == loss
    assert hash(copy) == hash(loss)
    assert copy.epsilon_bounds(delta) == loss.epsilon_bounds(delta)


@given(losses)
def test_losses_are_immutable(loss: PrivacyLoss) -> None:
    name = next(iter(dataclasses.fields(loss))).name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(loss, name, ())


@given(losses, st.lists(deltas, min_size=3, max_size=6))
def test_arrays_are_answered_element_by_element(loss: PrivacyLoss, values: list[float]) -> None:
    array = loss.epsilon_bounds(np.array(values))
    single = [loss.epsilon_bounds(d) for d in values]
    for i, bounds in enumerate(single):
        assert array.lower[i] <= bounds.upper
        assert bounds.lower <= array.upper[i]


@given(losses, st.lists(epsilons, min_size=3, max_size=6))
def test_curves_of_delta_agree_with_single_answers(loss: PrivacyLoss, values: list[float]) -> None:
    curve = loss.delta_bounds(np.array(values))
    for i, epsilon in enumerate(values):
        bounds = loss.delta_bounds(epsilon)
        assert curve.lower[i] <= bounds.upper
        assert bounds.lower <= curve.upper[i]


@given(losses, st.floats(1e-12, 1 - 1e-12), epsilons)
def test_the_trade_off_curve_lies_above_the_lines_of_each_epsilon(
    loss: PrivacyLoss, fpr: float, epsilon: float
) -> None:
    # fnr is a lower bound of the curve, which lies above 1 - delta - e^eps fpr and below 1 - fpr
    fnr = float(loss.fnr(fpr))
    assert 0.0 <= fnr <= 1.0 - fpr + 1e-12
    # the lower bound is no better than the exact curve at any certified lower delta: it must not
    # claim more than 1 - fpr everywhere, nor less than the best of the lines by much
    line = 1.0 - loss.delta(epsilon) - math.exp(min(epsilon, 700.0)) * fpr
    assert fnr >= line - 5e-2


@given(losses, st.floats(1.001, 200.0), deltas)
def test_renyi_accounting_is_never_better(loss: PrivacyLoss, alpha: float, delta: float) -> None:
    # Mironov 2017, Proposition 3: epsilon <= RDP(alpha) + log(1/delta)/(alpha - 1)
    bound = loss.renyi(alpha) - math.log(delta) / (alpha - 1)
    assert loss.epsilon_bounds(delta).lower <= bound


@given(losses)
def test_the_ends_of_delta(loss: PrivacyLoss) -> None:
    assert loss.epsilon(1.0) == 0.0
    assert loss.epsilon(2.0) == 0.0
    assert loss.epsilon(0.0, "remove") == math.inf
    assert loss.delta(math.inf) == 0.0
    assert 0.0 <= loss.advantage() <= 1.0
