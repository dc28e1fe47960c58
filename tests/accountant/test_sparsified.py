"""The sparsified Gaussian's Renyi curve against quadrature, brute force and exact sums."""

import math
import pickle

import mpmath
import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from accountant import UnsupportedEventError, privacy_loss
from accountant.losses.sparsified import (
    LARGEST_ORDER,
    PoissonSampledSparsifiedGaussian,
    ReplaceOne,
    SparsifiedGaussian,
)

# A grid on which the trapezoidal rule is exact to 1e-13 for the shifts used here.
XI = np.linspace(-12.0, 26.0, 381)
WEIGHTS = np.exp(-0.5 * XI * XI) / math.sqrt(2.0 * math.pi) * (XI[1] - XI[0])


def ratio(keep, shift):
    """The likelihood ratio of one masked coordinate, at XI."""
    return 1.0 - keep + keep * np.exp(XI * shift - 0.5 * shift * shift)


def planar(noise, keep, x, q=1.0):
    """The ratio of a record x of two coordinates, and Q's weights, on a square grid."""
    r = np.multiply.outer(ratio(keep, x[0] / noise), ratio(keep, x[1] / noise))
    return 1.0 - q + q * r, np.multiply.outer(WEIGHTS, WEIGHTS)


def divergence(weights, w, order):
    """D_a(P || Q) of the density w = dP/dQ; order 1 - a gives D_a(Q || P) (a - 1)/(-a)."""
    return math.log(float((weights * w**order).sum()))


def exact_log_moment(noise, keep, squares, order, q=None):
    """log E_Q[r^a] for squared coordinates with multiplicities, in 60 digits."""
    with mpmath.workdps(60):
        s, g = mpmath.mpf(noise), mpmath.mpf(keep)

        def one(a, u):
            return mpmath.fsum(
                mpmath.binomial(a, k)
                * (1 - g) ** (a - k)
                * g**k
                * mpmath.exp(k * (k - 1) * u / (2 * s * s))
                for k in range(a + 1)
            )

        def record(a):
            return mpmath.exp(mpmath.fsum(n * mpmath.log(one(a, u)) for u, n in squares))

        if q is None:
            return mpmath.log(record(order))
        q = mpmath.mpf(q)
        return mpmath.log(
            mpmath.fsum(
                mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * record(k)
                for k in range(order + 1)
            )
        )


def worst_squares(largest, dimension):
    """The extreme point of {u <= c^2, sum u <= 1} with most coordinates at the bound."""
    with mpmath.workdps(60):
        square = mpmath.mpf(largest) ** 2
        count = int(mpmath.floor(1 / square))
        if count >= dimension:
            return [(square, dimension)]
        return [(square, count), (1 - count * square, 1)]


# --- values -------------------------------------------------------------------------------------

CONFIGURATIONS = [
    # noise, keep, largest coordinate, dimension
    (1.0, 0.1, 1.0, 10),
    (1.0, 0.1, 0.3, 10),
    (1.0, 0.1, 0.3, 10**9),
    (0.05, 0.01, 0.003, 10**7),
    (3.0, 0.5, 0.9, 2),
    (0.7, 0.999999, 0.6, 5),
    (1e-3, 1e-6, 1e-5, 10**12),
    (50.0, 0.3, 0.01, 100),
    (0.4, 1e-9, 0.5, 4),
    (1e-12, 0.1, 1e-13, 10**40),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("order", [2, 3, 7, 64])
def test_whole_orders_are_the_exact_sum_rounded_up(configuration, order):
    noise, keep, largest, dimension = configuration
    squares = worst_squares(largest, dimension)
    exact = exact_log_moment(noise, keep, squares, order) / (order - 1)
    found = float(SparsifiedGaussian(*configuration).divergences(order))
    assert exact <= found <= exact * (1 + mpmath.mpf(10) ** -10) + mpmath.mpf(10) ** -280


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("q", [0.9, 0.01, 1e-7])
@pytest.mark.parametrize("order", [2, 5, 24])
def test_sampled_whole_orders_are_the_exact_sum_rounded_up(configuration, q, order):
    noise, keep, largest, dimension = configuration
    squares = worst_squares(largest, dimension)
    exact = exact_log_moment(noise, keep, squares, order, q) / (order - 1)
    found = float(PoissonSampledSparsifiedGaussian(*configuration, q).divergences(order))
    assert exact <= found <= exact * (1 + mpmath.mpf(10) ** -10) + mpmath.mpf(10) ** -280


def test_the_geometry_as_the_coordinates_become_small():
    # the chord bound min(d, 1/c^2) R_a, which the extreme point improves where 1/c^2 is not whole
    bounds = {1.0: 1.378362, 0.3: 0.04417, 0.1: 0.04042, 0.01: 0.040005}
    for largest, bound in bounds.items():
        found = float(SparsifiedGaussian(1.0, 0.1, largest, 10**6).divergences(8))
        assert 8 * 0.1**2 / 2 <= found <= bound


@pytest.mark.parametrize("q", [1.0, 0.05])
def test_small_coordinates_approach_the_gaussian_without_masks(q):
    noise, keep = 0.1, 0.1
    found = PoissonSampledSparsifiedGaussian(noise, keep, 1e-6, 10**13, q).divergences([2, 5, 9])
    step = GaussianDpEvent(noise / keep)
    limit = privacy_loss(PoissonSampledDpEvent(q, step) if q < 1.0 else step).renyi([2, 5, 9])
    np.testing.assert_allclose(found, limit, rtol=1e-6)


def test_without_masks_it_is_the_sampled_gaussian():
    plain = SparsifiedGaussian(1.3, 1.0, 0.5, 100).divergences([1.5, 2, 30, 1e6])
    np.testing.assert_allclose(plain, np.array([1.5, 2, 30, 1e6]) / (2 * 1.3**2), rtol=1e-14)
    sampled = PoissonSampledSparsifiedGaussian(1.3, 1.0, 0.5, 100, 0.02)
    exact = privacy_loss(PoissonSampledDpEvent(0.02, GaussianDpEvent(1.3)))
    np.testing.assert_allclose(sampled.divergences([2, 3, 8]), exact.renyi([2, 3, 8]), rtol=1e-9)


def test_one_coordinate_is_what_dp_accounting_computes():
    accountant = RdpAccountant(orders=[2, 3, 10, 40])
    accountant.compose(PoissonSampledDpEvent(0.07, GaussianDpEvent(1.1)))
    found = SparsifiedGaussian(1.1, 0.07, 1.0, 1).divergences([2, 3, 10, 40])
    np.testing.assert_allclose(found, accountant._rdp, rtol=1e-9)


# --- the theorem ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [2, 3, 4])
@pytest.mark.parametrize("largest", [0.55, 0.8, 1.0])
@pytest.mark.parametrize("q", [1.0, 0.3])
def test_no_record_costs_more(dimension, largest, q):
    rng = np.random.default_rng(7)
    noise, keep = 0.6, 0.2
    x = rng.normal(size=(4000, dimension))
    x *= rng.random((4000, 1)) ** 0.2 / np.linalg.norm(x, axis=1, keepdims=True)
    # many of them pushed to the faces and edges
    x = np.where(rng.random(x.shape) < 0.3, np.sign(x), x * 1.5)
    x = np.clip(x, -largest, largest)
    x /= np.maximum(1.0, np.linalg.norm(x, axis=1, keepdims=True))
    loss = PoissonSampledSparsifiedGaussian(noise, keep, largest, dimension, q)
    for order in (2, 3, 6):
        k = np.arange(order + 1)
        binomial = np.array([math.comb(order, i) for i in k], dtype=float)

        def moment(a, x=x):
            j = np.arange(a + 1)
            p = np.array([math.comb(a, i) for i in j]) * (1 - keep) ** (a - j) * keep**j
            growth = np.exp(j * (j - 1) * (x[..., None] / noise) ** 2 / 2)
            return (growth @ p).prod(axis=1)

        inner = np.stack([moment(int(i)) for i in k], axis=1)
        costs = np.log(inner @ (binomial * (1 - q) ** (order - k) * q**k)) / (order - 1)
        bound = float(loss.divergences(order))
        assert costs.max() <= bound * (1 + 1e-12)
        # not vacuous: the search comes close to the bound
        assert costs.max() > 0.8 * bound


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.5, 3.0),
    st.floats(0.001, 1.0),
    st.floats(0.7072, 1.0),
    st.floats(0.001, 1.0),
    st.sampled_from([1.3, 2.0, 2.5, 3.0, 4.0]),
)
def test_both_directions_by_quadrature(noise, keep, largest, q, order):
    w, weights = planar(noise, keep, (largest, math.sqrt(1.0 - largest**2)), q)
    removed = divergence(weights, w, order)
    added = divergence(weights, w, 1.0 - order)
    found = float(PoissonSampledSparsifiedGaussian(noise, keep, largest, 2, q).divergences(order))
    grid = 1e-11
    assert removed <= found * (order - 1.0) + grid
    assert added <= found * (order - 1.0) + grid
    if order >= 2.0:
        assert added <= removed + grid
    if order == int(order):
        assert found * (order - 1.0) <= removed * (1 + 1e-9) + grid


@pytest.mark.parametrize("order", [1.001, 1.2, 1.5, 2.2, 3.7, 5.5])
@pytest.mark.parametrize("largest", [0.75, 0.9, 1.0])
def test_real_orders_by_quadrature_over_all_records_of_the_plane(order, largest):
    noise, keep = 0.9, 0.3
    found = (order - 1.0) * float(SparsifiedGaussian(noise, keep, largest, 2).divergences(order))
    removed, added = [], []
    for angle in np.linspace(0.0, math.pi / 4.0, 12):
        x = np.minimum([math.cos(angle), math.sin(angle)], largest)
        w, weights = planar(noise, keep, x)
        removed.append(divergence(weights, w, order))
        added.append(divergence(weights, w, 1.0 - order))
    w, weights = planar(noise, keep, (largest, math.sqrt(1.0 - largest**2)))
    worst = divergence(weights, w, order)
    grid = 1e-11
    assert max(added) <= max(removed) + grid
    assert max(removed) <= worst + grid
    assert worst <= found + grid
    assert found <= worst * (1 + 1e-9) + grid


@given(st.floats(1.0, 50.0), st.floats(0.0, 1.0))
def test_the_factorisation_behind_convexity(a, p):
    # section 4: K(p) - a(a-1)p^2 is a product of nonnegative factors
    bracket = (
        a * (a - 1)
        - 2 * (a - 1) * (a - 2) * (1 - p)
        + (a - 2) * (a - 3) * (1 - p) ** 2
        - a * (a - 1) * p * p
    )
    product = (1 - p) * (2 + (4 * a - 6) * p)
    assert product >= 0.0
    assert bracket == pytest.approx(product, abs=1e-11 * (1 + a * a))


@pytest.mark.parametrize("order", [1.05, 1.5, 2.5, 7.3])
@pytest.mark.parametrize("keep", [0.003, 0.3, 0.9])
def test_a_coordinate_costs_a_convex_function_of_its_square(order, keep):
    squares = np.linspace(0.0, 4.0, 41)
    costs = [divergence(WEIGHTS, ratio(keep, math.sqrt(u)), order) for u in squares]
    assert np.all(np.diff(costs, 2) >= -1e-13)
    assert np.all(np.diff(costs) >= -1e-13)


@given(
    st.floats(2.0, 60.0),
    st.one_of(st.floats(1e-4, 1.0), st.floats(0.99, 1.0)),
    st.floats(-8.0, 8.0),
)
def test_the_inequality_under_the_reverse_order(a, q, log_r):
    # section 5: h_a(1 - q + q r) >= eta h_b(r) + eta_1 (r - 1), tangent to third order at r = 1
    with mpmath.workdps(50):
        a, q, r = mpmath.mpf(a), mpmath.mpf(q), mpmath.exp(mpmath.mpf(log_r))

        def h(order, w):
            return w**order - w ** (1 - order)

        def third(order):
            return order * (order - 1) * (2 * order - 1)

        b = max(mpmath.mpf(2), q * (a + 1) - 1)
        eta = q**3 * third(a) / third(b)
        left = h(a, 1 - q + q * r)
        right = eta * h(b, r) + (q * (2 * a - 1) - eta * (2 * b - 1)) * (r - 1)
        assert left >= right - mpmath.mpf(10) ** -30 * (1 + abs(left))


def test_replacing_a_record_by_quadrature():
    noise, keep, q = 1.5, 0.4, 0.5
    x = (0.8, 0.6)
    w, weights = planar(noise, keep, x, q)
    mirrored = (
        1.0 - q + q * np.multiply.outer(ratio(keep, -x[0] / noise), ratio(keep, -x[1] / noise))
    )
    loss = ReplaceOne(PoissonSampledSparsifiedGaussian(noise, keep, 0.8, 2, q))
    for order in (1.5, 2.0, 3.0):
        moment = float((weights * w**order * mirrored ** (1.0 - order)).sum())
        assert 0.0 < math.log(moment) / (order - 1.0) <= float(loss.divergences(order))


def test_replacing_a_record_without_masks():
    # means 2 apart: 4a/(2 s^2); the bound is (2a - 1)^2/(a - 1)/(2 s^2)
    orders = np.array([1.5, 2.0, 10.0, 50.0])
    found = ReplaceOne(SparsifiedGaussian(3.0, 1.0, 1.0, 5)).divergences(orders)
    assert np.all(found >= 4.0 * orders / 18.0)
    np.testing.assert_allclose(found, (2 * orders - 1) ** 2 / (orders - 1) / 18.0, rtol=1e-12)


# --- streaming -----------------------------------------------------------------------------------


def test_one_participation_meets_the_largest_column():
    noise, keep = 1.4, 0.3
    columns = [(1.0, 0.5), (0.0, 0.9)]
    loss = SparsifiedGaussian(noise, keep, 1.0, 1)
    streamed = loss.streamed([math.hypot(*c) for c in columns])
    for order in (2, 4):
        costs = []
        for c in columns:
            # the pair itself: two correlated observations of one masked coordinate
            shift = np.add.outer(XI * c[0] / noise, XI * c[1] / noise)
            w = 1.0 - keep + keep * np.exp(shift - 0.5 * (c[0] ** 2 + c[1] ** 2) / noise**2)
            weights = np.multiply.outer(WEIGHTS, WEIGHTS)
            costs.append(divergence(weights, w, order) / (order - 1))
        assert max(costs) == pytest.approx(float(streamed.divergences(order)), rel=1e-9)


def test_several_participations_are_refused():
    loss = SparsifiedGaussian(1.0, 0.1, 0.1, 100)
    with pytest.raises(UnsupportedEventError, match="at most once"):
        loss.streamed([1.0, 1.0], participations=2)
    sampled = PoissonSampledSparsifiedGaussian(1.0, 0.1, 0.1, 100, 0.5)
    with pytest.raises(UnsupportedEventError, match="at most once"):
        sampled.streamed([1.0, 1.0])


@pytest.mark.parametrize("norms", [[], [math.inf], [math.nan], [-1.0], [True], ["1"]])
def test_column_norms_that_are_none_are_refused(norms):
    with pytest.raises(ValueError, match="column"):
        SparsifiedGaussian(1.0, 0.1, 0.1, 100).streamed(norms)


def test_no_column_no_loss():
    assert SparsifiedGaussian(1.0, 0.1, 0.1, 100).streamed([0.0]).divergences(2) == 0.0


# --- laws ----------------------------------------------------------------------------------------

PARAMETERS = st.tuples(
    st.floats(0.05, 20.0),
    st.floats(1e-4, 1.0),
    st.floats(1e-3, 1.0),
    st.integers(1, 10**7),
    st.floats(1e-4, 1.0),
)


@settings(max_examples=60, deadline=None)
@given(PARAMETERS, st.integers(2, 40), st.floats(1.0, 1.5), st.floats(0.0, 1.0))
def test_laws(parameters, order, factor, share):
    noise, keep, largest, dimension, q = parameters
    slack = 1.0 + 1e-9

    def cost(noise=noise, keep=keep, largest=largest, dimension=dimension, q=q, order=order):
        loss = PoissonSampledSparsifiedGaussian(
            noise, min(1.0, keep), min(1.0, largest), dimension, min(1.0, q)
        )
        return float(loss.divergences(order))

    here = cost()
    everyone = SparsifiedGaussian(noise, keep, largest, dimension)
    assert 0.0 <= here <= float(everyone.divergences(order)) * slack
    assert cost(q=1.0) == float(everyone.divergences(order))
    assert cost(noise=noise * factor) <= here * slack
    assert cost(keep=keep * factor) * slack >= here
    assert cost(largest=largest * factor) * slack >= here
    assert cost(q=q * factor) * slack >= here
    assert cost(dimension=dimension + 5) * slack >= here
    # RDP increases, (a - 1) RDP(a) is convex, and the unmasked Gaussian is above
    middle = cost(order=order + share)
    assert here <= middle * slack <= cost(order=order + 1) * slack**2
    chord = (1.0 - share) * (order - 1) * here + share * order * cost(order=order + 1)
    assert (order - 1.0 + share) * middle <= chord * slack
    assert middle <= (order + share) / (2.0 * noise**2) * slack


def test_beyond_the_largest_order():
    loss = SparsifiedGaussian(1.0, 0.01, 0.001, 10**6)
    orders = np.array([LARGEST_ORDER, LARGEST_ORDER + 0.5, LARGEST_ORDER + 1.0])
    np.testing.assert_allclose(loss.divergences(orders) / orders, 5.0002e-5, rtol=1e-5)
    # too far even for quadrature, or sampled: as if the masks were known
    sampled = PoissonSampledSparsifiedGaussian(1.0, 0.01, 0.001, 10**6, 0.5)
    for one in (loss, sampled):
        np.testing.assert_allclose(one.divergences([1e12]), [5e11], rtol=1e-12)
    np.testing.assert_allclose(sampled.divergences(5000.0), 2500.0, rtol=1e-12)


def test_no_release_and_no_noise():
    orders = [1.5, 8.0]
    assert np.all(SparsifiedGaussian(1.0, 0.0, 0.1, 10).divergences(orders) == 0.0)
    assert np.all(SparsifiedGaussian(math.inf, 0.5, 0.1, 10).divergences(orders) == 0.0)
    assert np.all(SparsifiedGaussian(0.0, 0.5, 0.1, 10).divergences(orders) == math.inf)
    sampled = PoissonSampledSparsifiedGaussian(0.0, 0.5, 0.1, 10, 0.0)
    assert np.all(sampled.divergences(orders) == 0.0)


def test_shapes_hash_and_pickle():
    loss = PoissonSampledSparsifiedGaussian(1.0, 0.1, 0.1, 1000, 0.2)
    assert loss.divergences(np.full((2, 3), 4.0)).shape == (2, 3)
    assert loss.divergences(4.0).shape == ()
    assert loss.divergences([]).shape == (0,)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    assert hash(again) == hash(loss)
    assert loss != SparsifiedGaussian(1.0, 0.1, 0.1, 1000)


# --- refusals ------------------------------------------------------------------------------------

GOOD = {
    "noise_multiplier": 1.0,
    "keep_probability": 0.1,
    "largest_coordinate": 0.1,
    "dimension": 1000,
    "sampling_probability": 0.5,
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [-1, math.nan, True, "1", None, 1j, [1.0], -math.inf])
def test_a_parameter_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        PoissonSampledSparsifiedGaussian(**(GOOD | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_multiplier", 1e-200),
        ("keep_probability", 1.5),
        ("largest_coordinate", 0.0),
        ("largest_coordinate", 1.01),
        ("dimension", 0),
        ("dimension", 2.0),
        ("sampling_probability", 1.0001),
    ],
)
def test_a_parameter_out_of_its_domain_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        PoissonSampledSparsifiedGaussian(**(GOOD | {name: value}))


@pytest.mark.parametrize("orders", [1.0, 0.5, math.nan, math.inf, [2.0, -1.0], "2", True, None])
def test_an_order_that_is_none_is_refused(orders):
    loss = SparsifiedGaussian(1.0, 0.1, 0.1, 1000)
    for one in (loss, ReplaceOne(loss)):
        with pytest.raises(ValueError, match="orders"):
            one.divergences(orders)
