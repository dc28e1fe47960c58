"""RDP curves and their conversions, against discrete pairs, closed forms, peers and papers."""

import math
import pickle

import dp_accounting as dp
import mpmath
import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from accountant.losses.renyi import PureDp, RepeatAndSelect, Tabulated, ZeroConcentrated
from accountant.losses.renyi_sampling import PoissonSampled
from accountant.privacy_loss import privacy_loss
from accountant.renyi import (
    delta_from_renyi,
    epsilon_from_renyi,
    epsilon_of_zcdp,
    minimise,
)
from tests.accountant.renyi_pairs import Pair, divergence, pairs, real_orders

DEFAULT = np.array(peer.DEFAULT_RDP_ORDERS)
BLOG = np.array([1 + x / 10 for x in range(1, 100)] + list(range(12, 64)))


# --- conversions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rho", "delta", "orders", "conversion", "published", "places"),
    [
        (0.81, 1e-10, BLOG, "improved", 8.922258, 6),  # TF-Privacy's own test
        (79 / (2 * 7.0**2), 1e-10, BLOG, "improved", 8.898605, 6),  # Gboard, Spanish
        (79 / (2 * 7.0**2), 1e-10, BLOG, "classic", 9.423072, 6),
        (11 / (2 * 1.13**2), 1e-6, BLOG, "classic", 19.735743, 6),  # DP-FTRL, StackOverflow
        (11 / (2 * 1.13**2), 1e-6, BLOG, "improved", 18.70961, 5),
        (11 / (2 * 8.83**2), 1e-6, BLOG, "classic", 2.044936, 6),
        (11 / (2 * 8.83**2), 1e-6, BLOG, "improved", 1.773192, 6),
        (0.96305902, 1e-5, np.arange(1, 200, 0.1)[1:], "improved", 6.922239, 6),  # DP-FTRL, CIFAR
    ],
)
def test_published_figures(rho, delta, orders, conversion, published, places):
    curve = ZeroConcentrated(rho).divergences
    found = epsilon_from_renyi(curve, delta, conversion, orders)
    assert round(found.value, places) == published
    assert found.order in orders
    assert epsilon_from_renyi(curve, delta, conversion).value <= found.value


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 0.1, 2.0, 40.0])
@pytest.mark.parametrize("delta", [1e-30, 1e-10, 1e-5, 0.01, 0.4])
def test_dp_accounting_agrees_at_the_same_orders(rho, delta):
    curve = ZeroConcentrated(rho).divergences
    theirs, _ = peer.compute_epsilon(DEFAULT, rho * DEFAULT, delta)
    ours = epsilon_from_renyi(curve, delta, orders=DEFAULT).value
    # Pinsker's bound is smaller than theirs, so that 0 is reached earlier
    assert ours == pytest.approx(theirs, rel=1e-9) or (ours == 0.0 and 0.5 * rho * 1.1 < delta**2)
    epsilon = 1.3 * ours + 0.01
    theirs, _ = peer.compute_delta(DEFAULT, rho * DEFAULT, epsilon)
    found = delta_from_renyi(curve, epsilon, orders=DEFAULT).value
    assert theirs * (1 - 1e-9) <= found * (1 if found < theirs else 1 + 1e-9) or found < theirs


@given(st.floats(1e-9, 1e6), st.floats(1e-200, 0.9))
@settings(max_examples=60, deadline=None)
def test_the_classic_conversion_of_zcdp_is_the_closed_form(rho, delta):
    found = epsilon_from_renyi(ZeroConcentrated(rho).divergences, delta, "classic").value
    closed = epsilon_of_zcdp(rho, delta)
    assert found == pytest.approx(closed, rel=1e-7)
    assert found >= closed * (1 - 1e-13)
    assert epsilon_from_renyi(ZeroConcentrated(rho).divergences, delta).value <= found


@given(st.floats(1e-6, 1e3), st.floats(1e-100, 0.5))
@settings(max_examples=60, deadline=None)
def test_the_continuum_is_no_worse_than_a_fine_grid(rho, delta):
    curve = ZeroConcentrated(rho).divergences
    grid = 1.0 + np.exp2(np.linspace(-12, 22, 3000))
    on_grid = epsilon_from_renyi(curve, delta, orders=grid).value
    found = epsilon_from_renyi(curve, delta).value
    assert found <= on_grid * (1 + 1e-9)
    assert found >= on_grid * (1 - 1e-3) or on_grid < 1e-3
    assert delta_from_renyi(curve, found).value <= delta * (1 + 1e-9)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 5.0, 80.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.05])
def test_no_conversion_beats_the_exact_gaussian(sigma, delta):
    loss = privacy_loss(dp.GaussianDpEvent(sigma))
    exact = loss.epsilon(delta)
    curve = ZeroConcentrated(0.5 / sigma**2).divergences
    found = epsilon_from_renyi(curve, delta).value
    assert exact * (1 - 1e-9) <= found
    assert delta_from_renyi(curve, exact).value >= loss.delta(exact) * (1 - 1e-9)
    assert found <= epsilon_from_renyi(curve, delta, "classic").value


@given(pairs(), st.floats(0.0, 6.0))
@settings(max_examples=150, deadline=None)
def test_conversions_hold_for_discrete_pairs(pair, epsilon):
    p, q = pair
    curve = Pair((tuple(p), tuple(q)))
    true = max(
        float(np.sum(np.maximum(0.0, a - math.exp(epsilon) * b))) for a, b in ((p, q), (q, p))
    )
    for conversion in ("improved", "classic"):
        assert delta_from_renyi(curve.divergences, epsilon, conversion).value >= true * (1 - 1e-9)
    if true > 1e-300:
        assert epsilon_from_renyi(curve.divergences, true * (1 - 1e-9)).value >= epsilon * (
            1 - 1e-6
        )


@pytest.mark.parametrize("order", [1.0 + 2.0**-20, 1.01, 1.5, 2.0, 7.3, 1e5])
@pytest.mark.parametrize("delta", [1e-250, 1e-5, 0.7])
def test_conversions_round_up(order, delta):
    with mpmath.workdps(60):
        a, d, r = mpmath.mpf(order), mpmath.mpf(delta), mpmath.mpf(5)
        improved = r + mpmath.log(1 - 1 / a) - (mpmath.log(d) + mpmath.log(a)) / (a - 1)
        classic = r - mpmath.log(d) / (a - 1)
    curve = lambda at: np.full(at.shape, 5.0)  # noqa: E731
    for name, true in (("improved", improved), ("classic", classic)):
        found = epsilon_from_renyi(curve, delta, name, orders=[order]).value
        assert found >= max(0, true)
        assert found <= max(0, true) + 1e-13 * (1 + abs(math.log(delta)) / (order - 1) + 40)


def test_the_ends_of_the_range():
    curve = ZeroConcentrated(0.1).divergences
    nothing = ZeroConcentrated(0.0).divergences
    assert epsilon_from_renyi(curve, 0.0).value == math.inf
    assert epsilon_from_renyi(nothing, 0.0).value == 0.0
    assert epsilon_from_renyi(nothing, 1e-300).value == 0.0
    assert epsilon_from_renyi(curve, 1.0).value == 0.0
    assert delta_from_renyi(nothing, 0.0).value == 0.0
    assert delta_from_renyi(curve, math.inf).value == 0.0
    assert 0.0 < delta_from_renyi(curve, 1e6).value < 1e-300
    unknown = lambda at: np.full(at.shape, math.inf)  # noqa: E731
    assert epsilon_from_renyi(unknown, 1e-5).value == math.inf
    assert delta_from_renyi(unknown, 1.0).value == 1.0
    # total variation of a Gaussian of separation 1e-4 is 4e-5
    assert epsilon_from_renyi(ZeroConcentrated(0.5e-8).divergences, 1e-4).value == 0.0
    assert delta_from_renyi(ZeroConcentrated(0.5e-8).divergences, 0.0).value < 5.1e-5


@pytest.mark.parametrize(
    "call",
    [
        lambda c: epsilon_from_renyi(c, -1e-9),
        lambda c: epsilon_from_renyi(c, math.nan),
        lambda c: epsilon_from_renyi(c, True),
        lambda c: epsilon_from_renyi(c, "0.1"),
        lambda c: epsilon_from_renyi(c, 1e-5, "new"),
        lambda c: epsilon_from_renyi(c, 1e-5, orders=[]),
        lambda c: epsilon_from_renyi(c, 1e-5, orders=[1.0, 2.0]),
        lambda c: epsilon_from_renyi(c, 1e-5, orders=[2.0, math.inf]),
        lambda c: epsilon_from_renyi(lambda a: -a, 1e-5),
        lambda c: epsilon_from_renyi(lambda a: a * math.nan, 1e-5),
        lambda c: epsilon_from_renyi(lambda a: 1.0, 1e-5),
        lambda c: delta_from_renyi(c, -1.0),
        lambda c: delta_from_renyi(c, None),
        lambda c: epsilon_of_zcdp(-1.0, 1e-5),
        lambda c: epsilon_of_zcdp(math.inf, 1e-5),
        lambda c: epsilon_of_zcdp(1.0, 0.0),
        lambda c: epsilon_of_zcdp(1.0, 1.5),
        lambda c: ZeroConcentrated(-1.0),
        lambda c: ZeroConcentrated(1.0, math.nan),
        lambda c: ZeroConcentrated(True),
        lambda c: ZeroConcentrated(1.0).renyi(1.0),
        lambda c: ZeroConcentrated(1.0).renyi([2.0, math.inf]),
        lambda c: PureDp("1"),
        lambda c: Tabulated((), ()),
        lambda c: Tabulated((2.0,), (1.0, 2.0)),
        lambda c: Tabulated((1.0, 2.0), (1.0, 2.0)),
        lambda c: Tabulated((3.0, 2.0), (1.0, 2.0)),
        lambda c: Tabulated((2.0, 3.0), (1.0, -2.0)),
        lambda c: Tabulated((2.0, 3.0), (1.0, math.nan)),
        lambda c: RepeatAndSelect(PureDp(1.0), 0.5, 1.0),
        lambda c: RepeatAndSelect(PureDp(1.0), 0.0, math.inf),
        lambda c: RepeatAndSelect(PureDp(1.0), math.inf, 1.0),
        lambda c: RepeatAndSelect(PureDp(1.0), 2.0, -1.0),
    ],
)
def test_unsound_input_is_refused(call):
    with pytest.raises(ValueError, match="must"):
        call(ZeroConcentrated(0.1).divergences)


def test_the_search_ends_at_the_minimum_at_any_scale():
    for place in (1 + 1e-9, 1.003, 2.0, 17.3, 4e5, 3e9):
        found = minimise(lambda a, p=place: np.abs(np.log((a - 1) / (p - 1))))
        assert found.order - 1 == pytest.approx(place - 1, rel=1e-4)
    assert minimise(lambda a: np.full(a.shape, math.inf)).value == math.inf


# --- curves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1e-9, 1e-3, 0.5, 3.0, 60.0, 800.0])
def test_pure_dp_is_randomized_response(epsilon):
    orders = np.array([1 + 1e-6, 1.001, 1.5, 2.0, 10.0, 1e4])
    found = PureDp(epsilon).divergences(orders)
    with mpmath.workdps(1000):
        e = mpmath.mpf(epsilon)
        for a, value in zip(orders, found, strict=True):
            s = mpmath.mpf(float(a))
            moment = (mpmath.exp(s * e) + mpmath.exp((1 - s) * e)) / (1 + mpmath.exp(e))
            true = mpmath.log(moment) / (s - 1)
            assert true <= value <= min(epsilon, a * epsilon**2 / 2) * (1 + 1e-12)
            if a >= 1.5 and epsilon > 1e-2:
                assert value <= true * (1 + 1e-10)


@given(pairs(), st.lists(real_orders, min_size=1, max_size=6, unique=True), real_orders)
@settings(max_examples=200, deadline=None)
def test_a_table_bounds_the_curve_between_and_below_its_orders(pair, orders, at):
    curve = Pair((tuple(pair[0]), tuple(pair[1])))
    orders = np.sort(np.array(orders))
    table = Tabulated(tuple(orders), tuple(curve.divergences(orders)))
    found = table.divergences(np.array([at]))[0]
    if at > orders[-1]:
        assert found == math.inf
    else:
        assert found >= curve.divergences(np.array([at]))[0] * (1 - 1e-9) - 1e-15 / (at - 1.0)
        next_given = orders[np.searchsorted(orders, at)]
        assert found <= curve.divergences(np.array([next_given]))[0] * (1 + 1e-12)


def test_a_sparse_table_of_a_gaussian_is_nearly_the_gaussian():
    rho = 0.01
    table = Tabulated((4.0, 8.0, 64.0), (4 * rho, 8 * rho, 64 * rho))
    for order in (1.5, 2.0, 5.0, 6.5):
        assert table.renyi(order) / (rho * order) < 1.13
        assert table.renyi(order) >= rho * order
    assert table.renyi(64.0) == pytest.approx(64 * rho)
    assert Tabulated((2.0, 3.0), (1.0, math.inf)).renyi(2.5) == math.inf
    assert Tabulated((2.0,), (math.inf,)).renyi(1.5) == math.inf
    # a point above a chord of the others teaches nothing
    loose = Tabulated((2.0, 3.0, 4.0), (1.0, 50.0, 2.0))
    assert loose.renyi(3.0) <= Tabulated((2.0, 4.0), (1.0, 2.0)).renyi(3.0) * (1 + 1e-12)


# --- repeat and select ---------------------------------------------------------------------------


def selected(law, generating):
    """Law of the best of K runs: the outcomes are ordered, the last is best."""
    below = np.concatenate([[0.0], np.cumsum(law)])
    below[-1] = 1.0
    best = np.diff([generating(x) for x in below])
    return best if generating(0.0) == 0.0 else np.append(best, generating(0.0))


def generating_function(mean, shape, log_inverse_gamma):
    if math.isinf(shape):
        return lambda x: math.exp(mean * (x - 1.0))
    gamma = math.exp(-log_inverse_gamma)
    if shape == 0.0:
        return lambda x: math.log1p(-(1.0 - gamma) * x) / math.log(gamma)
    return lambda x: ((1.0 - (1.0 - gamma) * x) ** -shape - 1.0) / (gamma**-shape - 1.0)


@given(
    pairs(),
    st.floats(1.05, 30.0),
    st.sampled_from([0.0, 0.3, 1.0, 4.0, math.inf]),
    real_orders,
)
@settings(max_examples=120, deadline=None)
def test_selection_holds_for_discrete_pairs(pair, mean, shape, order):
    from accountant.losses.renyi import _log_inverse_gamma

    gamma = 0.0 if math.isinf(shape) else _log_inverse_gamma(mean, shape)
    law = generating_function(mean, shape, gamma)
    p, q = (selected(one, law) for one in pair)
    assert sum(p) == pytest.approx(1.0)
    curve = RepeatAndSelect(Pair((tuple(pair[0]), tuple(pair[1]))), mean, shape)
    found = curve.renyi(order)
    assert found >= max(divergence(p, q, order), divergence(q, p, order)) * (1 - 1e-8) - 1e-12


@pytest.mark.parametrize("shape", [0.0, 1e-9, 0.5, 1.0, 3.0, 1e4])
@pytest.mark.parametrize("mean", [1.0, 1.0 + 1e-9, 1.5, 10.0, 1e6])
def test_gamma_has_the_mean_that_was_asked_for(mean, shape):
    from accountant.losses.renyi import _log_inverse_gamma

    with mpmath.workdps(60):
        t, eta = mpmath.mpf(_log_inverse_gamma(mean, shape)), mpmath.mpf(shape)
        if t == 0:
            assert mean == 1.0
            return
        of = lambda s: mpmath.expm1(s) / (-mpmath.expm1(-eta * s) / eta if eta else s)  # noqa: E731
        assert of(t) >= mean
        assert of(t * (1 - mpmath.mpf("1e-6"))) < mean or mean - 1 < 1e-8


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("mean", [1.0, 2.5, 20.0])
def test_dp_accounting_agrees_on_selection(mean, shape):
    rho = 0.02
    inner = ZeroConcentrated(rho)
    theirs = peer._compute_rdp_repeat_and_select(DEFAULT, rho * DEFAULT, mean, shape)
    curve = RepeatAndSelect(inner, mean, shape)
    ours = curve.divergences(DEFAULT)
    known = np.isfinite(theirs)
    # the runs that never start, which their formula leaves out, and little else
    extra = math.exp(-mean) / (DEFAULT - 1.0) if math.isinf(shape) else 0.0
    assert np.all((ours <= theirs * (1 + 2e-3) + extra)[known])
    for delta in (1e-9, 1e-4):
        best = epsilon_from_renyi(curve.divergences, delta, orders=DEFAULT).value
        assert best == pytest.approx(peer.compute_epsilon(DEFAULT, theirs, delta)[0], rel=0.02)


def test_an_exact_delta_makes_poisson_selection_cheaper():
    loss = privacy_loss(dp.GaussianDpEvent(4.0))
    exact = RepeatAndSelect(loss, 10.0, math.inf)
    from_curve = RepeatAndSelect(ZeroConcentrated(1 / 32), 10.0, math.inf)
    delta = 1e-6
    better = epsilon_from_renyi(exact.divergences, delta).value
    worse = epsilon_from_renyi(from_curve.divergences, delta).value
    assert loss.epsilon(delta) < better < worse


def test_one_run_costs_what_it_costs():
    orders = np.array([1.5, 2.0, 30.0])
    one = RepeatAndSelect(ZeroConcentrated(0.1), 1.0, 1.0).divergences(orders)
    assert one == pytest.approx(0.1 * orders, rel=1e-12)


@pytest.mark.parametrize(
    "curve",
    [
        ZeroConcentrated(0.3, 0.1),
        PureDp(0.7),
        Tabulated((2.0, 5.0), (0.2, 0.5)),
        RepeatAndSelect(ZeroConcentrated(0.3), 5.0, 1.0),
        RepeatAndSelect(PoissonSampled(PureDp(1.0), 0.1), 5.0, math.inf),
    ],
)
def test_curves_are_values(curve):
    again = pickle.loads(pickle.dumps(curve))
    assert again == curve
    assert hash(again) == hash(curve)
    orders = np.array([[1.25, 2.0], [3.0, 4.5]])
    found = curve.renyi(orders)
    assert found.shape == orders.shape
    assert np.all(np.diff(found.ravel()) >= -1e-12)
    assert curve.renyi(2.0) == found[0, 1]
    assert isinstance(curve.renyi(2.0), float)
    assert np.all(np.diff(curve.delta(np.array([0.5, 1.0, 2.0]))) <= 0.0)
    assert isinstance(curve.delta(0.5), float)
