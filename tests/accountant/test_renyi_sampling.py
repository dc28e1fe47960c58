"""Amplification of RDP curves by sampling, against discrete pairs, quadrature and peers."""

import itertools
import math
import pickle

import dp_accounting as dp
import mpmath
import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, logsumexp

from accountant.losses.renyi import PureDp, Tabulated, ZeroConcentrated
from accountant.losses.renyi_sampling import (
    LARGEST_SUM,
    GaussianSampledWithoutReplacement,
    PoissonSampled,
    PoissonSampledReplaceOne,
    SampledWithoutReplacement,
    log_central_moments,
)
from accountant.privacy_loss import privacy_loss
from accountant.renyi import epsilon_from_renyi
from tests.accountant.renyi_pairs import Pair, divergence, pairs, real_orders

DEFAULT = np.array(peer.DEFAULT_RDP_ORDERS)
rates = st.one_of(st.floats(1e-4, 0.05), st.floats(0.05, 0.999))


def zhu_wang(inner, q, order):
    """Theorem 5 of Zhu and Wang 2019, as printed, at one whole order."""
    ell = np.arange(3, order + 1)
    binomial = gammaln(order + 1) - gammaln(ell + 1) - gammaln(order - ell + 1)
    terms = [
        (order - 1) * math.log1p(-q) + math.log(order * q - q + 1),
        math.log(order * (order - 1) / 2)
        + 2 * math.log(q)
        + (order - 2) * math.log1p(-q)
        + inner.renyi(2.0),
        *(
            math.log(3)
            + binomial
            + (order - ell) * math.log1p(-q)
            + ell * math.log(q)
            + (ell - 1) * inner.divergences(ell.astype(float))
        ),
    ]
    return logsumexp(terms) / (order - 1)


@given(pairs(), rates, real_orders)
@settings(max_examples=200, deadline=None)
def test_poisson_sampling_holds_for_discrete_pairs(pair, q, order):
    base, with_record = pair
    mixed = (1 - q) * base + q * with_record
    inner = Pair((tuple(base), tuple(with_record)))
    true = max(divergence(mixed, base, order), divergence(base, mixed, order))
    found = PoissonSampled(inner, q).renyi(order)
    assert found >= true * (1 - 1e-8) - 4e-15 / (order - 1)
    assert found <= inner.renyi(order) * (1 + 1e-12)


@given(pairs(3), rates, real_orders)
@settings(max_examples=200, deadline=None)
def test_sampling_under_replace_one_holds_for_discrete_triples(triple, q, order):
    without, one, other = triple
    mixtures = [(1 - q) * without + q * law for law in (one, other)]
    true = max(divergence(*mixtures, order), divergence(*mixtures[::-1], order))
    inner = Pair(tuple(tuple(law) for law in triple))
    largest = float(max(np.max(np.log(p / r)) for p in triple for r in triple))
    slack = 4e-15 / (order - 1)
    assert SampledWithoutReplacement(inner, q).renyi(order) >= true * (1 - 1e-8) - slack
    found = SampledWithoutReplacement(inner, q, largest * (1 + 1e-12)).renyi(order)
    assert found >= true * (1 - 1e-8) - slack
    pair = Pair(tuple(tuple(law) for law in triple[1:]))
    poisson = PoissonSampledReplaceOne(pair, q).renyi(order)
    assert poisson >= true * (1 - 1e-8) - slack
    assert poisson <= pair.renyi(order) * (1 + 1e-12)


@pytest.mark.parametrize("inner", [ZeroConcentrated(0.02), ZeroConcentrated(0.5), PureDp(0.8)])
@pytest.mark.parametrize("q", [1e-4, 0.01, 0.2])
def test_the_factor_three_is_gone(inner, q):
    curve = PoissonSampled(inner, q)
    for order in (2, 3, 4, 8, 32, 128):
        assert curve.renyi(float(order)) <= zhu_wang(inner, q, order) * (1 + 1e-9) + 1e-14
    # what their lower bound, the "remove" direction alone, says
    for order in (2, 3, 8, 32):
        ell = np.arange(2, order + 1)
        weight = gammaln(order + 1) - gammaln(ell + 1) - gammaln(order - ell + 1)
        weight += ell * math.log(q) + (order - ell) * math.log1p(-q)
        moments = np.expm1((ell - 1) * inner.divergences(ell.astype(float)))
        exact = math.log1p(np.sum(np.exp(weight) * moments)) / (order - 1)
        if q * (order + 1) <= 3:
            assert curve.renyi(float(order)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.01), (4.0, 0.05), (0.7, 0.3), (2.0, 1e-5)])
def test_the_general_theorem_meets_the_sampled_gaussian(sigma, q):
    inner = privacy_loss(dp.GaussianDpEvent(sigma))
    theirs = peer._compute_rdp_poisson_subsampled_gaussian(q, sigma, np.arange(2, 60))
    ours = PoissonSampled(inner, q).divergences(np.arange(2.0, 60.0))
    balanced = q * np.arange(3, 61) < 2.99
    assert ours[balanced] == pytest.approx(theirs[balanced], rel=1e-6, abs=1e-14)
    assert np.all(ours >= theirs * (1 - 1e-6) - 1e-14)


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.01), (3.0, 0.2)])
@pytest.mark.parametrize("order", [1.2, 2.0, 2.5, 7.5])
def test_poisson_sampling_bounds_the_quadrature_of_the_gaussian(sigma, q, order):
    with mpmath.workdps(30):
        s = mpmath.mpf(sigma)

        def ratio(x):
            return 1 - q + q * mpmath.exp((2 * x - 1) / (2 * s * s))

        def moment(a):
            points = [-mpmath.inf, -5, 0, 1, a, 2 * a, mpmath.inf]
            return mpmath.quad(lambda x: mpmath.npdf(x, 0, s) * ratio(x) ** a, points)

        true = max(mpmath.log(moment(order)), mpmath.log(moment(1 - order))) / (order - 1)
    found = PoissonSampled(ZeroConcentrated(0.5 / sigma**2), q).renyi(order)
    assert found >= true * (1 - mpmath.mpf(10) ** -12)
    if order >= 2 and q * (order + 1) <= 3:
        assert found <= true * 1.15


def test_a_laplace_inner_mechanism():
    inner = privacy_loss(dp.LaplaceDpEvent(2.0))
    curve = PoissonSampled(inner, 0.02)
    orders = np.array([1.5, 2.0, 8.0, 64.0])
    sampled = curve.divergences(orders)
    assert np.all(sampled < inner.renyi(orders))
    # E[(1 - q + q r)^2] = 1 + q^2 chi^2 exactly
    chi = math.expm1(inner.renyi(2.0))
    assert sampled[1] == pytest.approx(math.log1p(0.02**2 * chi), rel=1e-9)


# --- fixed-size subsets --------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "q"), [(1.1, 256 / 60000), (4.0, 0.1), (0.6, 0.01)])
def test_dp_accounting_agrees_without_replacement(sigma, q):
    orders = np.array([*range(2, 64), 128, 256], dtype=float)
    theirs = peer._compute_rdp_sample_wor_gaussian(q, sigma, orders)
    ours = GaussianSampledWithoutReplacement(sigma, q).divergences(orders)
    assert np.all(ours <= theirs * (1 + 1e-9))
    # joint convexity is better at the large orders only
    small = orders**2 / (2 * sigma**2) < math.log(0.1 / q)
    assert ours[small] == pytest.approx(theirs[small], rel=1e-9)


@pytest.mark.parametrize(
    ("sigma", "q", "order"), [(9.0, 0.5, 128), (9.0, 0.5, 256), (4.0, 0.1, 64), (1.1, 0.004, 30)]
)
def test_theorem_27_in_many_digits(sigma, q, order):
    # dp_accounting's differences cancel: .498391 and .935104 in the first two cases
    with mpmath.workdps(400):
        theta, rate = 1 / mpmath.mpf(sigma) ** 2, mpmath.mpf(q)
        moments = [mpmath.exp(theta * i * (i - 1) / 2) for i in range(order + 3)]

        def central(j):
            signed = [(-1) ** i * mpmath.binomial(j, i) * moments[i] for i in range(j + 1)]
            return mpmath.fsum(signed)

        even = {j: central(j) for j in range(2, order + 3, 2)}
        total = 1 + rate**2 * mpmath.binomial(order, 2) * min(4 * even[2], 2 * moments[2])
        for j in range(3, order + 1):
            pair = 4 * mpmath.sqrt(even[j // 2 * 2] * even[(j + 1) // 2 * 2])
            total += rate**j * mpmath.binomial(order, j) * min(pair, 2 * moments[j])
        true = mpmath.log(total) / (order - 1)
    found = GaussianSampledWithoutReplacement(sigma, q).renyi(float(order))
    assert true <= found <= true * (1 + mpmath.mpf(10) ** -11)


def test_the_published_figure_without_replacement():
    curve = GaussianSampledWithoutReplacement(1.1, 256 / 60000)
    found = epsilon_from_renyi(lambda a: 14062 * curve.divergences(a), 1e-5, orders=DEFAULT)
    assert round(found.value, 4) == 5.2433
    best = epsilon_from_renyi(lambda a: 14062 * curve.divergences(a), 1e-5)
    assert 5.24 < best.value <= found.value


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 20.0, 200.0])
def test_central_moments_are_integrals(sigma):
    found = log_central_moments(sigma)
    with mpmath.workdps(400 if sigma < 100 else 600):
        theta = 1 / mpmath.mpf(sigma) ** 2
        for k in (1, 2, 5, 40):
            terms = [
                (-1) ** i * mpmath.binomial(2 * k, i) * mpmath.exp(theta * i * (i - 1) / 2)
                for i in range(2 * k + 1)
            ]
            true = mpmath.log(mpmath.fsum(terms))
            assert true <= found[k] <= true + mpmath.mpf(10) ** -13 * (1 + abs(true))
    if sigma <= 2.0:
        with mpmath.workdps(30):
            s = mpmath.mpf(sigma)
            fourth = mpmath.quad(
                lambda x: mpmath.npdf(x, 0, s) * (mpmath.exp((2 * x - 1) / (2 * s * s)) - 1) ** 4,
                [-mpmath.inf, -3, 0, 2, 4, 6, mpmath.inf],
            )
        assert float(found[2]) == pytest.approx(float(mpmath.log(fourth)), abs=1e-8)


def test_a_pure_inner_mechanism_is_cheaper_with_its_epsilon():
    orders = np.array([2.0, 3.5, 10.0])
    inner = PureDp(0.1)
    plain = SampledWithoutReplacement(inner, 0.05).divergences(orders)
    known = SampledWithoutReplacement(inner, 0.05, 0.1).divergences(orders)
    assert np.all(known <= plain)
    assert known[1] < 0.9 * plain[1]


# --- every sampler -------------------------------------------------------------------------------

SAMPLED = [
    lambda inner, q: PoissonSampled(inner, q),
    lambda inner, q: PoissonSampledReplaceOne(inner, q),
    lambda inner, q: SampledWithoutReplacement(inner, q),
    lambda inner, q: SampledWithoutReplacement(inner, q, 3.0),
]


@pytest.mark.parametrize("make", SAMPLED)
def test_sampling_laws(make):
    inner = PureDp(3.0)
    orders = np.array([1.001, 1.5, 2.0, 2.7, 9.0, 40.5, 1000.0, LARGEST_SUM + 0.5, 1e7])
    curves = [make(inner, q).divergences(orders) for q in (0.0, 1e-6, 0.01, 0.4, 1.0)]
    assert np.all(curves[0] == 0.0)
    assert curves[-1] == pytest.approx(inner.divergences(orders))
    for cheaper, dearer in itertools.pairwise(curves):
        assert np.all(cheaper <= dearer * (1 + 1e-9))
    for curve in curves:
        assert np.all(np.diff(curve) >= -1e-9 * curve[1:])
    again = pickle.loads(pickle.dumps(make(inner, 0.01)))
    assert again == make(inner, 0.01)
    assert hash(again) == hash(make(inner, 0.01))
    assert again.renyi(2.0) == curves[2][2]


@pytest.mark.parametrize("make", SAMPLED)
def test_unknown_orders_and_silent_mechanisms(make):
    table = Tabulated((2.0, 4.0), (0.1, 0.3))
    found = make(table, 0.1).divergences(np.array([1.5, 2.0, 3.0, 4.0, 4.5, 5.0]))
    assert np.all(np.isfinite(found[:4]))
    assert not np.isnan(found).any()
    assert np.all(make(ZeroConcentrated(0.0), 0.1).divergences(DEFAULT) == 0.0)


@pytest.mark.parametrize("make", SAMPLED)
@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, True, "0.1", None])
def test_a_probability_is_a_probability(make, q):
    with pytest.raises(ValueError, match="probability must be"):
        make(PureDp(1.0), q)


def test_the_gaussian_has_noise():
    for sigma in (0.0, -1.0, math.inf, math.nan, True):
        with pytest.raises(ValueError, match="noise_multiplier must be"):
            GaussianSampledWithoutReplacement(sigma, 0.1)
    orders = np.array([1.5, 2.0, 300.0])
    whole = GaussianSampledWithoutReplacement(2.0, 1.0).divergences(orders)
    assert whole == pytest.approx(orders / 8.0)
    assert np.all(GaussianSampledWithoutReplacement(2.0, 0.0).divergences(orders) == 0.0)
    assert np.all(GaussianSampledWithoutReplacement(1e80, 0.1).divergences(orders) < 1e-150)
    with pytest.raises(ValueError, match="largest_loss"):
        SampledWithoutReplacement(PureDp(1.0), 0.1, -1.0)
