"""Laws of every mechanism, sampler and relation, hunted by hypothesis in random compositions.

As in test_laws.py: exact quantities are monotone, brackets need not be, so that "x costs at most y"
is stated as lower(x) <= upper(y).  Brackets as wide as 1e-3 are as sound, and quicker.
"""

import math
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from hypothesis import given, settings
from hypothesis import strategies as st

from accountant import IncompatibleLossError, PrivacyLoss, events, privacy_loss
from tests.accountant import event_strategies as random_events
from tests.accountant.event_strategies import (
    ADD_REMOVE,
    REPLACE,
    ZERO_OUT,
    Event,
    additive,
    atomic,
    batches,
    counts,
    curves,
    deltas,
    directions,
    epsilons,
    gaussians,
    laplaces,
    log_floats,
    losses,
    multipliers,
    nested,
    orders,
    priced,
    probabilities,
    rates,
    relations,
    unsampled,
)

RTOL = 1e-3


def share(divisor: int) -> settings:
    """A share of the profile's examples, for laws that many others check in part."""
    return settings(max_examples=max(3, settings.default.max_examples // divisor))


SOME, FEW, LEAST = share(4), share(8), share(16)


def at_most(one: PrivacyLoss, other: PrivacyLoss, delta: float, direction: Any = None) -> bool:
    """Whether nothing shows that ``one`` costs more than ``other``: by epsilon and by delta."""
    low = one.epsilon_bounds(delta, direction, rtol=RTOL).lower
    high = other.epsilon_bounds(delta, direction, rtol=RTOL).upper
    at = min(max(low, 0.01), 50.0)
    deltas_low = one.delta_bounds(at, direction, rtol=RTOL).lower
    deltas_high = other.delta_bounds(at, direction, rtol=RTOL).upper
    return bool(low <= high and deltas_low <= deltas_high)


def costs_more(one: PrivacyLoss, other: PrivacyLoss, delta: float) -> bool:
    """Whether the brackets prove it."""
    high = other.epsilon_bounds(delta, rtol=RTOL).upper
    return bool(one.epsilon_bounds(delta, rtol=RTOL).lower > high)


def alike(one: PrivacyLoss, other: PrivacyLoss, delta: float) -> bool:
    return at_most(one, other, delta) and at_most(other, one, delta)


# --- brackets -------------------------------------------------------------------------------------
@SOME
@given(losses(), deltas, directions)
def test_epsilon_is_bracketed(loss: PrivacyLoss, delta: float, direction: Any) -> None:
    bounds = loss.epsilon_bounds(delta, direction, rtol=RTOL)
    assert 0.0 <= bounds.lower <= bounds.upper
    if bounds.tight and math.isfinite(bounds.upper):
        assert bounds.upper - bounds.lower <= max(RTOL * bounds.upper, 1e-9)
    assert loss.epsilon(delta, direction, rtol=RTOL) == bounds.upper


@SOME
@given(losses(), epsilons, directions)
def test_delta_is_bracketed(loss: PrivacyLoss, epsilon: float, direction: Any) -> None:
    bounds = loss.delta_bounds(epsilon, direction, rtol=RTOL)
    assert 0.0 <= bounds.lower <= bounds.upper <= 1.0


@SOME
@given(losses(), deltas, epsilons)
def test_what_is_attained_is_below_what_is_proved(
    loss: PrivacyLoss, delta: float, epsilon: float
) -> None:
    # the brackets of an inexact loss are cut to be ordered: ask its floor itself
    assert loss.exact == (loss.floor is None)
    if loss.floor is not None:
        assert loss.floor.exact
        assert at_most(loss.floor, loss, delta)
        low = loss.floor.delta_bounds(epsilon, rtol=RTOL).lower
        assert low <= loss.delta_bounds(epsilon, rtol=RTOL).upper


@SOME
@given(losses(), deltas, directions)
def test_epsilon_and_delta_are_each_other_s_inverse(
    loss: PrivacyLoss, delta: float, direction: Any
) -> None:
    low, high = loss.epsilon_bounds(delta, direction, rtol=RTOL)
    if math.isfinite(high):
        assert loss.delta_bounds(high, direction, rtol=RTOL).lower <= delta
    if low > 0.0:
        # of upper bounds that a curve or a union gives only their own order is known
        assert loss.delta_bounds(low, direction, rtol=RTOL).upper >= delta * (1.0 - 1e-12)


@SOME
@given(losses(), deltas, deltas, epsilons, epsilons)
def test_curves_fall(loss: PrivacyLoss, one: float, two: float, near: float, far: float) -> None:
    small, large = sorted((one, two))
    looser, stricter = (loss.epsilon_bounds(d, rtol=RTOL) for d in (large, small))
    assert looser.lower <= stricter.upper
    at_small, at_large = (loss.delta_bounds(e, rtol=RTOL) for e in sorted((near, far)))
    assert at_large.lower <= at_small.upper


@SOME
@given(losses(), deltas)
def test_both_directions_together_are_the_worse(loss: PrivacyLoss, delta: float) -> None:
    both = loss.epsilon_bounds(delta, rtol=RTOL)
    add, remove = (loss.epsilon_bounds(delta, d, rtol=RTOL) for d in ("add", "remove"))
    assert max(add.lower, remove.lower) <= both.upper
    assert both.lower <= max(add.upper, remove.upper)


@SOME
@given(losses())
def test_advantage_is_delta_at_zero(loss: PrivacyLoss) -> None:
    assert loss.advantage() == loss.delta(0.0)
    assert 0.0 <= loss.delta_bounds(0.0).lower <= loss.advantage() <= 1.0


# --- composition ----------------------------------------------------------------------------------
@SOME
@given(relations, st.data())
def test_composition_commutes_and_associates(relation: Any, data: st.DataObject) -> None:
    parts = [data.draw(nested(relation)) for _ in range(3)]
    a, b, c = (priced(part, relation) for part in parts)
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert hash((a + b) + c) == hash(c + (b + a))
    assert privacy_loss(dp_event.ComposedDpEvent(parts), relation) == a + b + c
    paired = dp_event.ComposedDpEvent([parts[2], dp_event.ComposedDpEvent(parts[:2])])
    assert privacy_loss(paired, relation) == a + b + c


@SOME
@given(relations, st.data(), st.integers(0, 6), st.integers(0, 6))
def test_repeating_is_composing(relation: Any, data: st.DataObject, n: int, m: int) -> None:
    event = data.draw(nested(relation))
    loss = priced(event, relation)
    repeated = privacy_loss(dp_event.SelfComposedDpEvent(event, n), relation)
    # nothing at all is exact, and so is what is composed of nothing
    assert n * loss == repeated == privacy_loss(dp_event.ComposedDpEvent([event] * n), relation)
    assert n * loss + m * loss == (n + m) * loss
    assert n * (m * loss) == (n * m) * loss == loss * (n * m)


@SOME
@given(losses(), losses())
def test_only_losses_of_one_relation_add(one: PrivacyLoss, other: PrivacyLoss) -> None:
    if one.neighboring_relation is other.neighboring_relation:
        assert (one + other).neighboring_relation is one.neighboring_relation
    else:
        with pytest.raises(IncompatibleLossError, match=one.neighboring_relation.name):
            one + other


@SOME
@given(losses())
def test_losses_survive_pickling(loss: PrivacyLoss) -> None:
    copy = pickle.loads(pickle.dumps(loss))
    assert copy == loss
    assert hash(copy) == hash(loss)
    assert repr(copy) == repr(loss)


@SOME
@given(relations, st.data(), deltas, directions)
def test_one_more_release_never_helps(
    relation: Any, data: st.DataObject, delta: float, direction: Any
) -> None:
    loss, more = (priced(data.draw(nested(relation)), relation) for _ in range(2))
    assert at_most(loss, loss + more, delta, direction)


@SOME
@given(relations, st.data(), counts, counts, deltas)
def test_epsilon_rises_with_the_number_of_releases(
    relation: Any, data: st.DataObject, one: int, two: int, delta: float
) -> None:
    loss = priced(data.draw(random_events.releases(relation)), relation)
    short, long = sorted((one, two))
    assert at_most(short * loss, long * loss, delta)


# --- noise, sampling, relations -------------------------------------------------------------------
RELEASES_BY_NOISE = {
    "gaussian": dp_event.GaussianDpEvent,
    "laplace": dp_event.LaplaceDpEvent,
    "discrete Laplace": lambda s: dp_event.DiscreteLaplaceDpEvent(1.0 / s, 2),
    "mixture": lambda s: dp_event.MixtureOfGaussiansDpEvent(s, [0.0, 1.0, 2.0], [0.8, 0.1, 0.1]),
    "response": lambda s: dp_event.RandomizedResponseDpEvent(s / (1.0 + s), 5),
    "exponential": lambda s: events.ExponentialMechanismDpEvent(1.0 / s),
    "black box": lambda s: events.ApproximateDpEvent(1.0 / s, 1e-7 / s),
    "zcdp": lambda s: dp_event.ZCDpEvent(0.5 / s**2),
    "renyi": lambda s: events.RenyiDpEvent([2.0, 8.0], [1.0 / s**2, 4.0 / s**2]),
    "sparsified": lambda s: events.SparsifiedGaussianDpEvent(s, 0.3, 0.2, 100),
    "tree": lambda s: events.TreeAggregationDpEvent(s, 100, 2, 30),
    "truncated": lambda s: dp_event.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 20, s),
    "poisson": lambda s: dp_event.PoissonSampledDpEvent(0.05, dp_event.GaussianDpEvent(s)),
    "poisson laplace": lambda s: dp_event.PoissonSampledDpEvent(0.05, dp_event.LaplaceDpEvent(s)),
    "without replacement": lambda s: dp_event.SampledWithoutReplacementDpEvent(
        100, 3, dp_event.GaussianDpEvent(s)
    ),
    "with replacement": lambda s: dp_event.SampledWithReplacementDpEvent(
        100, 3, dp_event.GaussianDpEvent(s)
    ),
    "allocation": lambda s: events.RandomAllocationDpEvent(6, dp_event.GaussianDpEvent(s)),
    "shuffled": lambda s: events.ShuffledDpEvent(6, dp_event.GaussianDpEvent(s)),
    "group": lambda s: events.GroupDpEvent(
        3, dp_event.PoissonSampledDpEvent(0.05, dp_event.GaussianDpEvent(s))
    ),
    "repeated": lambda s: dp_event.RepeatAndSelectDpEvent(dp_event.GaussianDpEvent(s), 5.0, 1.0),
}


@pytest.mark.parametrize("kind", RELEASES_BY_NOISE)
@LEAST
@given(relations, log_floats(0.7, 20.0), log_floats(1.01, 4.0), st.integers(1, 30), deltas)
def test_epsilon_falls_with_the_noise(
    kind: str, relation: Any, noise: float, factor: float, count: int, delta: float
) -> None:
    release = RELEASES_BY_NOISE[kind]
    clear, noisy = (priced(release(s), relation) for s in (noise, factor * noise))
    assert at_most(count * noisy, count * clear, delta)


@SOME
@given(relations, atomic, probabilities, probabilities, st.integers(1, 50), deltas)
def test_epsilon_rises_with_the_sampling_probability(
    relation: Any, event: Event, one: float, two: float, count: int, delta: float
) -> None:
    rarely, often = (
        count * priced(dp_event.PoissonSampledDpEvent(q, event), relation)
        for q in sorted((one, two))
    )
    assert at_most(rarely, often, delta)


@SOME
@given(relations, st.data(), probabilities, st.integers(1, 50), deltas)
def test_poisson_sampling_never_costs(
    relation: Any, data: st.DataObject, q: float, count: int, delta: float
) -> None:
    event = data.draw(unsampled(relation))
    sampled = priced(dp_event.PoissonSampledDpEvent(q, event), relation)
    assert at_most(count * sampled, count * privacy_loss(event, relation), delta)


@SOME
@given(relations, st.data())
def test_sampling_with_certainty_is_no_sampling(relation: Any, data: st.DataObject) -> None:
    event = data.draw(unsampled(relation))
    loss = privacy_loss(event, relation)
    assert priced(dp_event.PoissonSampledDpEvent(1.0, event), relation) == loss
    assert priced(dp_event.PoissonSampledDpEvent(0.0, event), relation) == 0 * loss
    assert priced(dp_event.SampledWithoutReplacementDpEvent(7, 7, event), relation) == loss


@SOME
@given(relations, st.one_of(additive, curves), batches, st.integers(1, 50), deltas)
def test_a_batch_without_replacement_costs_at_most_a_replacement(
    relation: Any, event: Event, sizes: tuple[int, int], count: int, delta: float
) -> None:
    sampled = priced(dp_event.SampledWithoutReplacementDpEvent(*sizes, event), relation)
    assert at_most(count * sampled, count * privacy_loss(event, REPLACE), delta)


def test_a_batch_with_replacement_may_cost_more_than_all_records() -> None:
    # a record that is drawn three times counts thrice
    gaussian = dp_event.GaussianDpEvent(3.0)
    drawn = privacy_loss(dp_event.SampledWithReplacementDpEvent(4, 6, gaussian), REPLACE)
    assert costs_more(drawn, privacy_loss(gaussian, REPLACE), 1e-6)


def test_a_batch_that_is_cut_may_cost_more_than_all_records() -> None:
    # a record that is drawn into a batch that is cut takes the place of another one
    cut = dp_event.TruncatedSubsampledGaussianDpEvent(1000, 0.5, 400, 3.0)
    all_records = privacy_loss(dp_event.GaussianDpEvent(3.0), ZERO_OUT)
    high = all_records.epsilon_bounds(1e-6).upper
    assert privacy_loss(cut, ZERO_OUT).epsilon_bounds(1e-6).upper > high


@SOME
@given(relations, st.integers(1, 500), st.integers(0, 100), probabilities, multipliers)
def test_a_cap_that_no_batch_reaches_is_none(
    relation: Any, size: int, more: int, q: float, sigma: float
) -> None:
    cut = dp_event.TruncatedSubsampledGaussianDpEvent(size, q, size + more, sigma)
    plain = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))
    assert privacy_loss(cut, relation) == privacy_loss(plain, relation)


@FEW
@given(relations, st.integers(50, 2000), log_floats(1e-3, 0.1), log_floats(0.8, 10.0), deltas)
def test_a_cap_costs_at_least_nothing(
    relation: Any, size: int, q: float, sigma: float, delta: float
) -> None:
    # a cap that is hardly ever reached: close to Poisson, from above
    cap = min(size - 1, math.ceil(size * q + 12.0 * math.sqrt(size * q) + 12.0))
    cut = dp_event.TruncatedSubsampledGaussianDpEvent(size, q, cap, sigma)
    plain = dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))
    assert at_most(privacy_loss(plain, relation), privacy_loss(cut, relation), delta)


@SOME
@given(relations, st.data())
def test_a_group_of_one_is_no_group(relation: Any, data: st.DataObject) -> None:
    event = data.draw(nested(relation))
    assert priced(events.GroupDpEvent(1, event), relation) == priced(event, relation)


@FEW
@given(relations, st.data(), st.integers(1, 5), st.integers(1, 5), st.integers(1, 20), deltas)
def test_larger_groups_cost_more(
    relation: Any, data: st.DataObject, one: int, two: int, count: int, delta: float
) -> None:
    release = st.one_of(atomic, random_events.zero_concentrated)
    sampled = st.builds(
        dp_event.PoissonSampledDpEvent, probabilities, st.one_of(gaussians, laplaces)
    )
    event = data.draw(st.one_of(release, sampled))
    few, many = (priced(events.GroupDpEvent(k, event), relation) for k in sorted((one, two)))
    assert at_most(count * few, count * many, delta)


@SOME
@given(relations, st.one_of(additive, random_events.black_boxes), probabilities, counts)
def test_a_cycle_of_one_group_is_poisson_sampling(
    relation: Any, event: Event, q: float, steps: int
) -> None:
    cycle = partial(events.CyclicPoissonSampledDpEvent, sampling_probability=q, event=event)
    step = priced(dp_event.PoissonSampledDpEvent(q, event), relation)
    assert privacy_loss(cycle(steps=steps, cycle_length=1), relation) == steps * step
    assert privacy_loss(cycle(steps=7 * steps, cycle_length=7), relation) == steps * step
    assert (
        privacy_loss(cycle(steps=3, cycle_length=steps + 2), relation)
        == -(-3 // (steps + 2)) * step
    )


@SOME
@given(st.sampled_from([ADD_REMOVE, ZERO_OUT]), multipliers, st.integers(0, 4), deltas)
def test_an_allocation_without_choice_is_none(
    relation: Any, sigma: float, k: int, delta: float
) -> None:
    gaussian = dp_event.GaussianDpEvent(sigma)
    allocated = privacy_loss(events.RandomAllocationDpEvent(max(k, 1), gaussian, k), relation)
    assert allocated == k * privacy_loss(gaussian, relation)


@LEAST
@given(st.sampled_from([ADD_REMOVE, ZERO_OUT]), log_floats(0.8, 10.0), st.integers(2, 20), deltas)
def test_an_allocation_never_costs_more_than_a_known_place(
    relation: Any, sigma: float, steps: int, delta: float
) -> None:
    gaussian = dp_event.GaussianDpEvent(sigma)
    allocated = privacy_loss(events.RandomAllocationDpEvent(steps, gaussian), relation)
    assert at_most(allocated, privacy_loss(gaussian, relation), delta)


@SOME
@given(st.sampled_from([REPLACE, ZERO_OUT]), gaussians, st.integers(1, 100), deltas)
def test_a_shuffle_lies_between_its_attack_and_a_known_place(
    relation: Any, event: Event, steps: int, delta: float
) -> None:
    shuffle = privacy_loss(events.ShuffledDpEvent(steps, event), relation)
    assert at_most(shuffle, privacy_loss(event, relation), delta)
    assert shuffle.epsilon(delta) == privacy_loss(event, relation).epsilon(delta)


@LEAST
@given(atomic, st.integers(1, 50), deltas)
def test_replacing_costs_at_least_adding_or_zeroing_out(
    event: Event, count: int, delta: float
) -> None:
    replaced = count * privacy_loss(event, REPLACE)
    for relation in (ADD_REMOVE, ZERO_OUT):
        assert at_most(count * privacy_loss(event, relation), replaced, delta)


@LEAST
@given(st.one_of(gaussians, laplaces), probabilities, st.integers(1, 50), deltas)
def test_replacing_in_a_sample_costs_at_least_zeroing_out(
    event: Event, q: float, count: int, delta: float
) -> None:
    step = dp_event.PoissonSampledDpEvent(q, event)
    zeroed, replaced = (count * privacy_loss(step, r) for r in (ZERO_OUT, REPLACE))
    assert at_most(zeroed, replaced, delta)


@FEW
@given(relations, st.one_of(gaussians, laplaces), log_floats(1.0, 30.0), deltas)
def test_the_best_of_several_costs_at_least_one(
    relation: Any, event: Event, mean: float, delta: float
) -> None:
    best = priced(dp_event.RepeatAndSelectDpEvent(event, mean, 1.0), relation)
    assert at_most(privacy_loss(event, relation), best, delta)


# --- RDP and the trade-off curve ------------------------------------------------------------------
@SOME
@given(losses(), orders, orders, directions)
def test_rdp_rises_with_the_order(
    loss: PrivacyLoss, one: float, two: float, direction: Any
) -> None:
    small, large = loss.renyi(np.array(sorted((one, two))), direction)
    assert 0.0 <= small <= large * (1.0 + 1e-6) + 1e-9


@SOME
@given(losses(), orders, deltas, directions)
def test_renyi_accounting_is_never_better(
    loss: PrivacyLoss, alpha: float, delta: float, direction: Any
) -> None:
    # Mironov 2017, Proposition 3: epsilon <= RDP(alpha) + log(1/delta)/(alpha - 1)
    bound = loss.renyi(alpha, direction) - math.log(delta) / (alpha - 1.0)
    bounds = loss.epsilon_bounds(delta, direction, rtol=RTOL)
    assert bounds.lower <= bound
    if loss.curves and not loss.clear:
        # what is known by its curve is at least as good as this one point of it
        assert bounds.upper <= bound * (1.0 + 1e-3) + 1e-9


@LEAST
@given(losses(random_events.releases), epsilons)
def test_the_trade_off_curve_is_the_other_face_of_delta(loss: PrivacyLoss, epsilon: float) -> None:
    fpr = np.concatenate(([0.0], np.geomspace(1e-4, 1.0, 5)))
    fnr = loss.fnr(fpr)
    assert np.all((fnr >= 0.0) & (fnr <= 1.0 - fpr))
    assert np.all(np.diff(fnr) <= 1e-6)
    bounds = loss.delta_bounds(epsilon, rtol=RTOL)
    # every line of an (epsilon, delta) is below the curve, which lies between fnr and fnr + 0.05
    lines = 1.0 - bounds.upper - math.exp(epsilon) * fpr
    assert np.all(fnr >= lines - 5e-2)
    # the curve is at least fnr, and falls: 1 - f(a) - e^epsilon a is at most this in each interval
    most = float(np.max(1.0 - fnr[1:] - math.exp(epsilon) * fpr[:-1]))
    assert bounds.lower <= most * (1.0 + 1e-12)


@LEAST
@given(losses(random_events.releases), rates, directions)
def test_single_rates_are_answered(loss: PrivacyLoss, fpr: float, direction: Any) -> None:
    assert 0.0 <= loss.fnr(fpr, direction) <= 1.0 - fpr
    for few in (np.array([]), np.array([0.0, 1.0])):
        assert loss.fnr(few, direction).shape == few.shape
    assert loss.fnr(1.0, direction) == 0.0
    assert 0.0 <= loss.fnr(0.0, direction) <= 1.0
