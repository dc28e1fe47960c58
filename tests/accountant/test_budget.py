import itertools
import math
import multiprocessing
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import rdp
from dp_accounting.dp_event import (
    ComposedDpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
    UnsupportedDpEvent,
)
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from accountant import UnsupportedEventError, privacy_loss
from accountant.budget import PrivacyBudget
from accountant.events import ApproximateDpEvent
from accountant.ledger import Ledger, LedgerError
from accountant.spending import ledger_file
from accountant.spending.adaptive_costs import Cost, pure_divergence, pure_variance, renyi_cost
from accountant.spending.budget_report import BudgetExceededError
from accountant.spending.filters import TOLERANCE, GaussianFilter, RenyiFilter
from accountant.spending.ledger_lines import write_line

ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_file.os, "fsync", lambda descriptor: None)
        yield


# --- costs ---------------------------------------------------------------------------------------


def renyi_of_two_points(p, q, order):
    """Renyi divergence between Bernoulli laws, the worse direction."""

    def one(p, q):
        first = order * math.log(p) + (1 - order) * math.log(q)
        second = order * math.log1p(-p) + (1 - order) * math.log1p(-q)
        return float(np.logaddexp(first, second)) / (order - 1)

    return max(one(p, q), one(q, p))


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.7, 1.0, 5.0, 12.0])
@pytest.mark.parametrize("order", [1.1, 2.0, 7.5, 30.0])
def test_pure_privacy_costs_what_randomized_response_does(epsilon, order):
    p = 1 / (1 + math.exp(-epsilon))
    exact = renyi_of_two_points(p, 1 - p, order)
    found = pure_divergence(epsilon, order)
    assert exact * (1 - 1e-8) <= found <= exact * (1 + 1e-8)
    assert found <= min(epsilon, order * epsilon**2 / 2) * (1 + 1e-12)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-3, 0.5, 0.99, 1.0, 3.0, 20.0, 50.0])
def test_pure_privacy_implies_gaussian_privacy(epsilon):
    mu = -2 * special.ndtri(1 / (1 + math.exp(epsilon)))
    assert math.sqrt(pure_variance(epsilon)) == pytest.approx(mu, rel=1e-7, abs=1e-15)
    mu = math.sqrt(pure_variance(epsilon))
    # at its fixed point the trade-off curve of pure DP is not below that of mu-GDP
    rate = 1 / (1 + math.exp(epsilon))
    assert stats.norm.cdf(stats.norm.isf(rate) - mu) <= rate * (1 + 1e-9)


def test_approximate_privacy_is_split_wherever_it_is_composed():
    event = ComposedDpEvent(
        [SelfComposedDpEvent(ApproximateDpEvent(0.5, 1e-7), 3), GaussianDpEvent(2.0)]
    )
    cost = renyi_cost(event, ADD_OR_REMOVE, (4.0,))
    assert cost.failure == pytest.approx(3e-7)
    assert cost.pure == math.inf
    assert cost.divergences[0] == pytest.approx(3 * pure_divergence(0.5, 4.0) + 4 / 2 / 4)
    with pytest.raises(ValueError, match="delta"):
        renyi_cost(ApproximateDpEvent(0.5, 2.0), ADD_OR_REMOVE, (4.0,))


# --- filters against independent values ----------------------------------------------------------


def test_one_order_is_the_filter_of_feldman_and_zrnic():
    order, delta = 12.0, 1e-6
    rule = RenyiFilter.at(1.0, delta, [order])
    accountant = rdp.RdpAccountant([order])
    total = Cost((0.0,))
    for sigma, count in ((10.0, 3), (20.0, 1)):
        event = SelfComposedDpEvent(GaussianDpEvent(sigma), count)
        accountant.compose(event)
        total = Cost.total([(total, 1), (rule.price(event, ADD_OR_REMOVE), 1)], 1)
    assert rule.position(total) == pytest.approx(accountant.get_epsilon(delta), rel=1e-12)
    assert rule.position(total) >= accountant.get_epsilon(delta)


@pytest.mark.parametrize("epsilon", [0.02, 0.3])
@pytest.mark.parametrize("count", [1, 30, 900])
def test_it_is_never_worse_than_the_filter_of_whitehouse_and_others(epsilon, count):
    # arXiv 2203.05481, Theorem 1: sqrt(2 log(1/delta) V) + V/2 with V the sum of squares
    delta, squares = 1e-6, count * epsilon**2
    theirs = math.sqrt(2 * math.log(1 / delta) * squares) + squares / 2
    rule = RenyiFilter.at(theirs, delta, [1 + math.sqrt(2 * math.log(1 / delta) / squares)])
    cost = rule.price(SelfComposedDpEvent(ApproximateDpEvent(epsilon), count), ADD_OR_REMOVE)
    assert 0.5 * theirs < rule.position(cost) <= theirs or cost.pure <= theirs


def brute_force(rule, sums, time_uniform):
    """The definition in docs/budget.md, on a fine grid of losses."""
    delta = rule.delta - rule.failure_delta
    orders, weights = np.array(rule.orders), np.array(rule.weights)

    def g(loss):
        return special.logsumexp(np.log(weights) + (orders - 1) * (loss - sums))

    def inverse(value):
        return optimize.brentq(lambda loss: g(loss) - value, -1e4, 1e4, xtol=1e-12)

    if time_uniform:
        return inverse(-math.log(delta))
    found = optimize.minimize_scalar(
        lambda u: u - inverse(math.log(-math.expm1(-u)) - math.log(delta)),
        bounds=(1e-9, 20),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return -found.fun


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1.05, 200), st.floats(1e-3, 1), st.floats(0, 5)),
        min_size=1,
        max_size=5,
    ),
    st.floats(1e-10, 0.3),
    st.booleans(),
)
def test_the_mixture_is_what_its_definition_says(parts, delta, time_uniform):
    orders, weights, sums = zip(*parts, strict=True)
    weights = np.array(weights) / sum(weights) * (1 - 1e-12)
    rule = RenyiFilter(1.0, delta, orders, tuple(weights.tolist()))
    cost = Cost(sums, pure=math.inf)
    exact = brute_force(rule, np.array(sums), time_uniform)
    found = rule.odometer(cost) if time_uniform else rule.position(cost)
    assert found >= exact - 1e-9 * (1 + abs(exact))
    assert found == pytest.approx(max(0.0, exact), rel=1e-6, abs=1e-6)


def gaussian_delta(mu, epsilon):
    tail = stats.norm.cdf(-mu / 2 - epsilon / mu)
    return stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * tail


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 6.0])
def test_the_gaussian_filter_uses_up_exactly_what_there_is(epsilon):
    delta = 1e-5
    rule = GaussianFilter(epsilon, delta)
    mu = optimize.brentq(lambda mu: gaussian_delta(mu, epsilon) - delta, 1e-3, 50)
    parts = [(rule.price(GaussianDpEvent(s), ADD_OR_REMOVE), 1) for s in (3 / mu, 4 / mu)]
    rest = 1 / (1 - 1 / 9 - 1 / 16)
    for factor, fits in ((1 - 1e-7, True), (1 + 1e-7, False)):
        last = rule.price(GaussianDpEvent(math.sqrt(rest) / (mu * factor)), ADD_OR_REMOVE)
        assert (rule.position(Cost.total([*parts, (last, 1)], 0)) <= epsilon) is fits
    assert rule.position(Cost.total([], 0)) == 0.0


# --- soundness, by enumeration -------------------------------------------------------------------


def hockey_stick(outcomes, epsilon):
    return math.fsum(max(0.0, p - math.exp(epsilon) * q) for p, q in outcomes)


def two_points(p, q, orders):
    """A mechanism with two outcomes, and what a filter knows of it."""
    curve = tuple(renyi_of_two_points(p, q, order) * (1 + 1e-12) for order in orders)
    ratios = [math.log(p / q), math.log((1 - p) / (1 - q))]
    return [(p, q), (1 - p, 1 - q)], Cost(curve, max(map(abs, ratios)))


def worst_last(rule, spent, past_p, past_q, admits):
    """Outcomes after one more release: rare ones with the loss at which an order's bound is met."""
    best = [(past_p, past_q)]
    for order in rule.orders:
        loss = rule.epsilon + math.log(order / (order - 1)) - math.log(past_p / past_q)
        low, high = 1e-30, 0.4
        while loss > 0.0 and high / low > 1 + 1e-7:
            p = math.sqrt(low * high)
            outcomes, cost = two_points(p, p * math.exp(-loss), rule.orders)
            if admits(spent, cost):
                low = p
                after = [(past_p * p, past_q * q) for p, q in outcomes]
            else:
                high = p
        if low > 1e-30:
            best = max(best, after, key=lambda one: hockey_stick(one, rule.epsilon))
    return best


def attack(rule, firsts, admits):
    """Exact delta of: some releases, then the most harmful that still fits, outcome by outcome."""

    def choose(spent, cost):
        return admits(Cost.total([(spent, 1), (cost, 1)], len(rule.orders)))

    spent, law = Cost((0.0,) * len(rule.orders)), [(1.0, 1.0)]
    for p, q in firsts:
        outcomes, cost = two_points(p, q, rule.orders)
        if choose(spent, cost):
            spent = Cost.total([(spent, 1), (cost, 1)], len(rule.orders))
            law = [(a * p, b * q) for (a, b), (p, q) in itertools.product(law, outcomes)]
    after = [worst_last(rule, spent, p, q, choose) for p, q in law]
    return hockey_stick(itertools.chain(*after), rule.epsilon)


def some_order_admits(rule):
    """Whether some order, each with all of delta for itself, would admit a cost."""
    alone = [RenyiFilter.at(rule.epsilon, rule.delta, [order]) for order in rule.orders]
    return lambda cost: any(
        one.position(Cost((total,), cost.pure)) <= one.epsilon
        for one, total in zip(alone, cost.divergences, strict=True)
    )


COIN = 1 / (1 + math.exp(-1.0))


def test_any_order_at_full_delta_is_unsound():
    # Randomized response, and then whatever hurts most: every path is within budget at an order
    # of its own, and still delta is exceeded.
    rule = RenyiFilter.at(12.0, 1e-5, [2.0, 8.0])
    assert attack(rule, [(COIN, 1 - COIN)], some_order_admits(rule)) > 1.02e-5


@pytest.mark.parametrize("orders", [[2.0, 8.0], [8.0], [2.0, 3.0, 5.0, 8.0, 30.0]])
@pytest.mark.parametrize("firsts", [[(COIN, 1 - COIN)], [(0.6, 0.4), (0.3, 0.5), (0.1, 0.05)]])
def test_the_filter_withstands_the_same_attack(orders, firsts):
    rule = RenyiFilter.at(12.0, 1e-5, orders)
    delta = attack(rule, firsts, lambda cost: rule.position(cost) <= rule.epsilon)
    # and little is given away
    assert 0.25e-5 < delta <= 1e-5


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)), max_size=3),
    st.lists(st.floats(1.2, 40), min_size=1, max_size=3),
    st.floats(1.0, 15.0),
    st.floats(1e-9, 1e-2),
)
def test_no_adaptive_attack_exceeds_delta(firsts, orders, epsilon, delta):
    rule = RenyiFilter.at(epsilon, delta, orders)
    found = attack(rule, firsts, lambda cost: rule.position(cost) <= epsilon)
    assert found <= delta * (1 + 1e-9)


def test_the_odometer_holds_at_all_times_at_once():
    # A Gaussian walk whose steps double when the loss is high: adaptive noise, checked always.
    rule = RenyiFilter.at(1.0, 0.05, [3.0, 6.0, 12.0])
    rng = np.random.default_rng(7)
    walks, orders = 4000, np.array(rule.orders)
    loss, variance = np.zeros(walks), np.zeros(walks)
    broken = np.zeros(walks, dtype=bool)
    bound = {}
    for _ in range(25):
        mu = np.where(loss > 0.5 * variance, 0.4, 0.2)
        loss += mu * rng.standard_normal(walks) + mu**2 / 2
        variance = np.round(variance + mu**2, 6)
        for value in np.unique(variance):
            if value not in bound:
                bound[value] = rule.odometer(Cost(tuple(orders * value / 2), math.inf))
        broken |= loss > np.array([bound[value] for value in variance])
    rate = np.mean(broken)
    assert 0.001 < rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / walks)


# --- budgets -------------------------------------------------------------------------------------


def test_a_budget_is_spent_written_down_and_kept(tmp_path):
    path = tmp_path / "a"
    budget = PrivacyBudget.open(path, epsilon=1.0, delta=1e-6, dataset="census")
    with pytest.raises(BudgetExceededError):
        budget.spend(GaussianDpEvent(1.0))
    entry = budget.spend(GaussianDpEvent(10.0), label="ages", metadata={"query": 1})
    assert (entry.event, entry.label) == (GaussianDpEvent(10.0), "ages")
    assert [e.kind for e in Ledger.load(path).entries()] == ["header", "budget", "release"]
    again = PrivacyBudget.open(path)
    assert again.spent() == budget.spent()
    assert (again.rule, again.ledger.dataset) == (budget.rule, "census")
    spent = again.spent()
    assert spent.releases == 1
    assert spent.fixed_epsilon == privacy_loss(GaussianDpEvent(10.0)).epsilon(1e-6)
    assert spent.fixed_epsilon < spent.filter_epsilon < spent.odometer_epsilon < 1.0
    assert 1.0 < again.epsilon < 1.0 + 1e-11
    assert 1e-6 < again.delta < 1e-6 * (1 + 1e-11)


def test_what_does_not_fit_is_not_written_and_what_would_is_said(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=1e-6)
    budget.spend(GaussianDpEvent(6.0))
    before = budget.ledger.path.read_bytes()
    many = SelfComposedDpEvent(GaussianDpEvent(40.0), 1000)
    assert not budget.can_spend(many)
    with pytest.raises(BudgetExceededError, match=r"does not fit: .* at delta 1e-06") as caught:
        budget.spend(many)
    assert budget.ledger.path.read_bytes() == before
    error = caught.value
    assert error.event == many
    assert error.remaining == budget.remaining()
    assert error.repetitions == budget.repetitions(GaussianDpEvent(40.0)) > 0
    noise, pure = error.remaining.noise_multiplier, error.remaining.pure_epsilon
    for event, fits in (
        (GaussianDpEvent(noise), True),
        (GaussianDpEvent(noise * (1 - 1e-5)), False),
        (ApproximateDpEvent(pure), True),
        (ApproximateDpEvent(pure * (1 + 1e-5)), False),
        (SelfComposedDpEvent(GaussianDpEvent(40.0), error.repetitions), True),
        (SelfComposedDpEvent(GaussianDpEvent(40.0), error.repetitions + 1), False),
    ):
        assert budget.can_spend(event) is fits
    budget.spend(GaussianDpEvent(noise))
    assert budget.remaining().noise_multiplier > 1e3


def test_pure_budgets_add_epsilons(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=0.0)
    for _ in range(10):
        budget.spend(LaplaceDpEvent(10.0))
    assert budget.spent().filter_epsilon == pytest.approx(1.0, rel=1e-12)
    assert not budget.can_spend(LaplaceDpEvent(1e6))
    assert not budget.can_spend(GaussianDpEvent(1e6))
    assert budget.can_spend(NoOpDpEvent())
    assert budget.repetitions(NoOpDpEvent()) == 10**12
    nothing = budget.remaining()
    assert (nothing.noise_multiplier, nothing.pure_epsilon) == (math.inf, 0.0)
    with pytest.raises(BudgetExceededError, match="nothing more"):
        budget.spend(NonPrivateDpEvent())


def test_failures_are_paid_from_their_own_part_of_delta(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=2.0, delta=1e-5, failure_delta=3e-6)
    for _ in range(3):
        budget.spend(ApproximateDpEvent(0.1, 1e-6))
    assert not budget.can_spend(ApproximateDpEvent(0.0, 1e-9))
    assert budget.can_spend(GaussianDpEvent(10.0))
    assert budget.remaining().failure_delta == pytest.approx(0.0, abs=1e-18)
    basic = PrivacyBudget.open(tmp_path / "b", epsilon=1.0, delta=1e-5, failure_delta=1e-5)
    basic.spend(SelfComposedDpEvent(ApproximateDpEvent(0.25, 2.5e-6), 4))
    assert basic.spent().filter_epsilon == pytest.approx(1.0)
    assert not PrivacyBudget.open(tmp_path / "c", epsilon=9.0, delta=0.1).can_spend(
        ApproximateDpEvent(0.0, 1e-12)
    )


def test_gaussian_budgets_lose_nothing_and_say_what_they_cannot_take(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=1e-6, filter="gaussian")
    noise = budget.remaining().noise_multiplier
    assert gaussian_delta(1 / noise, 1.0) == pytest.approx(1e-6, rel=1e-4)
    for _ in range(4):
        budget.spend(GaussianDpEvent(2.0001 * noise))
    spent = budget.spent()
    assert spent.filter_epsilon == pytest.approx(spent.fixed_epsilon, rel=1e-9)
    with pytest.raises(UnsupportedEventError, match="Gaussian DP"):
        budget.spend(PoissonSampledDpEvent(0.01, GaussianDpEvent(10.0)))
    pure = PrivacyBudget.open(tmp_path / "b", epsilon=1.0, delta=1e-6, filter="gaussian")
    pure.spend(SelfComposedDpEvent(LaplaceDpEvent(10.0), 10))
    assert pure.spent().filter_epsilon == pytest.approx(1.0)


def test_relations_reach_the_prices(tmp_path):
    relation = NeighboringRelation.REPLACE_ONE
    budget = PrivacyBudget.open(
        tmp_path / "a",
        epsilon=1.0,
        delta=1e-6,
        neighboring_relation=relation,
        filter="gaussian",
    )
    other = PrivacyBudget.open(tmp_path / "b", epsilon=1.0, delta=1e-6, filter="gaussian")
    assert budget.remaining().noise_multiplier == pytest.approx(
        2 * other.remaining().noise_multiplier, rel=1e-6
    )
    assert PrivacyBudget.open(tmp_path / "a").ledger.neighboring_relation is relation


@pytest.mark.parametrize(
    "other",
    [
        {"epsilon": 2.0, "delta": 1e-6},
        {"epsilon": 1.0, "delta": 1e-5},
        {"epsilon": 1.0, "delta": 1e-6, "filter": "gaussian"},
        {"epsilon": 1.0, "delta": 1e-6, "orders": [8.0]},
        {"epsilon": 1.0, "delta": 1e-6, "failure_delta": 1e-7},
        {"epsilon": 1.0, "delta": 1e-6, "neighboring_relation": NeighboringRelation.REPLACE_ONE},
        {"epsilon": 1.0, "delta": 1e-6, "dataset": "other"},
        {"epsilon": 2.0},
        {"neighboring_relation": NeighboringRelation.REPLACE_ONE},
        {"dataset": "other"},
    ],
    ids=str,
)
def test_a_budget_is_never_changed(tmp_path, other):
    PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=1e-6, dataset="census")
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(LedgerError, match=r"not|has"):
        PrivacyBudget.open(tmp_path / "a", **other)
    assert (tmp_path / "a").read_bytes() == before
    same = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=1e-6, dataset="census")
    assert same.epsilon >= 1.0


def test_a_budget_comes_before_the_first_release_and_is_not_passed_by(tmp_path):
    ledger = Ledger.create(tmp_path / "a")
    with pytest.raises(LedgerError, match="keeps no budget"):
        PrivacyBudget.open(tmp_path / "a")
    ledger.record(GaussianDpEvent(1.0))
    with pytest.raises(LedgerError, match="before the first"):
        PrivacyBudget.open(tmp_path / "a", epsilon=100.0, delta=1e-6)
    Ledger.create(tmp_path / "b").note("a note is no release")
    budget = PrivacyBudget.open(tmp_path / "b", epsilon=1.0, delta=1e-6)
    with pytest.raises(LedgerError, match="PrivacyBudget"):
        Ledger.load(tmp_path / "b").record(GaussianDpEvent(100.0))
    assert budget.spent().releases == 0
    with pytest.raises(FileNotFoundError):
        PrivacyBudget.open(tmp_path / "c", epsilon=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": math.nan},
        {"epsilon": -1.0},
        {"epsilon": math.inf},
        {"epsilon": "1"},
        {"epsilon": True},
        {"delta": 1.0},
        {"delta": -1e-9},
        {"delta": math.nan},
        {"delta": None, "epsilon": [1]},
        {"filter": "best"},
        {"filter": "gaussian", "delta": 0.0},
        {"filter": "gaussian", "orders": [2.0]},
        {"orders": []},
        {"orders": [1.0]},
        {"orders": [math.inf]},
        {"orders": [math.nan, 2.0]},
        {"failure_delta": 1e-5},
        {"failure_delta": -1e-9},
        {"neighboring_relation": "add"},
        {"dataset": 3},
    ],
    ids=str,
)
def test_unsound_targets_are_refused(tmp_path, wrong):
    with pytest.raises((ValueError, FileNotFoundError)):
        PrivacyBudget.open(tmp_path / "a", **({"epsilon": 1.0, "delta": 1e-6} | wrong))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "budget",
    [
        {},
        {"filter": "gaussian", "epsilon": 1.0, "delta": 0.0},
        {"filter": "gaussian", "epsilon": True, "delta": 0.1},
        {"filter": "gaussian", "epsilon": 1.0, "delta": 0.1, "orders": []},
        {"filter": "all"},
        {"weights": [0.6, 0.6]},
        {"weights": [1.0]},
        {"weights": [1.0, 0.0]},
        {"weights": ["1", "0"]},
        {"orders": 3},
        {"orders": [0.5, 2.0]},
        {"delta": 2.0},
        {"failure_delta": "0"},
    ],
    ids=str,
)
def test_what_a_file_says_of_a_budget_is_checked(tmp_path, budget):
    Ledger.create(tmp_path / "a")
    header = Ledger.load(tmp_path / "a").entries()[0]
    good = {
        "filter": "renyi",
        "epsilon": 1.0,
        "delta": 1e-6,
        "orders": [2.0, 3.0],
        "weights": [0.5, 0.5],
        "failure_delta": 0.0,
    }
    data = budget if not budget or budget.get("filter") == "gaussian" else good | budget
    with (tmp_path / "a").open("ab") as file:
        file.write(write_line(1, header.checksum, "budget", data))
    with pytest.raises(LedgerError, match="not valid"):
        PrivacyBudget.open(tmp_path / "a")


def test_an_event_without_a_price_is_not_written(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=1e-6)
    before = budget.ledger.path.read_bytes()
    for event in (UnsupportedDpEvent(), GaussianDpEvent(-1.0), GaussianDpEvent(math.nan), 3):
        with pytest.raises(ValueError):  # noqa: PT011
            budget.spend(event)
    assert budget.ledger.path.read_bytes() == before
    # but one that was recorded elsewhere stops everything: it may have cost anything
    ledger = Ledger.load(budget.ledger.path)
    ledger.append("release", {"event": {"type": "UnsupportedDpEvent"}})
    with pytest.raises(UnsupportedEventError):
        budget.can_spend(GaussianDpEvent(1000.0))
    with pytest.raises(UnsupportedEventError):
        budget.spend(GaussianDpEvent(1000.0))


EVENTS = st.one_of(
    st.floats(3.0, 100.0).map(GaussianDpEvent),
    st.floats(3.0, 100.0).map(LaplaceDpEvent),
    st.floats(0.0, 0.4).map(ApproximateDpEvent),
    st.builds(SelfComposedDpEvent, st.floats(3.0, 100.0).map(GaussianDpEvent), st.integers(0, 9)),
)


def divergence(event, order):
    """Renyi divergences from the papers' closed forms."""
    match event:
        case GaussianDpEvent(noise_multiplier=sigma):
            return order / (2 * sigma**2)
        case LaplaceDpEvent(noise_multiplier=b):
            first = order / (2 * order - 1) * math.exp((order - 1) / b)
            second = (order - 1) / (2 * order - 1) * math.exp(-order / b)
            return math.log(first + second) / (order - 1)
        case ApproximateDpEvent(epsilon=epsilon):
            p = 1 / (1 + math.exp(-epsilon))
            return renyi_of_two_points(p, 1 - p, order)
        case SelfComposedDpEvent(event=inner, count=count):
            return count * divergence(inner, order)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.booleans()), max_size=25))
def test_no_sequence_exceeds_the_budget(sequence):
    order, delta, epsilon = 20.0, 1e-6, 1.0
    limit = epsilon - (math.log(1 - 1 / order) - math.log(delta * order) / (order - 1))
    total, pure = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        budget = PrivacyBudget.open(path, epsilon=epsilon, delta=delta, orders=[order])
        for event, reopen in sequence:
            if reopen:
                budget = PrivacyBudget.open(path)
            after = total + divergence(event, order)
            after_pure = pure + privacy_loss_bound(event)
            before = path.read_bytes()
            try:
                budget.spend(event)
            except BudgetExceededError:
                assert after > limit * (1 - 1e-9)
                assert after_pure > epsilon
                assert path.read_bytes() == before
            else:
                total, pure = after, after_pure
                assert total <= limit * (1 + 1e-9) or pure <= epsilon * (1 + 1e-9)
        assert budget.spent().filter_epsilon <= epsilon * (1 + TOLERANCE)


def privacy_loss_bound(event):
    match event:
        case LaplaceDpEvent(noise_multiplier=b):
            return 1 / b
        case ApproximateDpEvent(epsilon=epsilon):
            return epsilon
        case SelfComposedDpEvent(count=0):
            return 0.0
    return math.inf


# --- together ------------------------------------------------------------------------------------


def spend_all(path, name):
    budget = PrivacyBudget.open(path, epsilon=1.0, delta=0.0)
    for i in range(40):
        try:
            budget.spend(LaplaceDpEvent(30.0), label=f"{name} {i}")
        except BudgetExceededError:
            return


def test_two_processes_spend_one_budget_once(tmp_path):
    path = tmp_path / "a"
    spawn = multiprocessing.get_context("spawn")
    spenders = [spawn.Process(target=spend_all, args=(path, name)) for name in "xy"]
    for spender in spenders:
        spender.start()
    for spender in spenders:
        spender.join()
    assert [spender.exitcode for spender in spenders] == [0, 0]
    assert PrivacyBudget.open(path).spent().releases == 30


def test_two_budgets_on_one_file_see_each_other(tmp_path):
    one = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=0.0)
    two = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=0.0)
    one.spend(LaplaceDpEvent(2.0))
    assert two.remaining().pure_epsilon == pytest.approx(0.5)
    two.spend(LaplaceDpEvent(4.0))
    with pytest.raises(BudgetExceededError):
        one.spend(LaplaceDpEvent(3.0))
    one.spend(LaplaceDpEvent(4.0))
    assert one.spent() == two.spent()


def test_threads_spend_one_budget_once(tmp_path):
    budget = PrivacyBudget.open(tmp_path / "a", epsilon=1.0, delta=0.0)

    def try_one(_):
        try:
            budget.spend(LaplaceDpEvent(8.0))
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(try_one, range(12))) == 8
