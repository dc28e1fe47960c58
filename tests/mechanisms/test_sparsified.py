"""The mechanism with masked coordinates: its samples, noise, error, bits, and the docs' tables."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import compute_epsilon
from scipy import stats

from accountant import CalibrationError, UnsupportedEventError, privacy_loss
from accountant.events import SparsifiedGaussianDpEvent
from accountant.losses.sparsified import PoissonSampledSparsifiedGaussian, SparsifiedGaussian
from benchmarks import sparsified_table
from mechanisms.compression import compare, sparsest
from mechanisms.sparsified import SparsifiedGaussianMechanism

GOOD = {
    "clip_norm": 2.0,
    "coordinate_clip": 0.7,
    "keep_probability": 0.3,
    "dimension": 20,
    "clients": 40,
    "rounds": 5,
    "client_sampling_probability": 0.5,
    "noise_multiplier": 0.8,
}


@pytest.fixture
def mechanism():
    return SparsifiedGaussianMechanism(**GOOD)


# --- sampling ------------------------------------------------------------------------------------


def test_estimates_are_unbiased_with_the_error_that_is_promised(mechanism):
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(40, 20))
    clipped = np.array([mechanism.clip(v) for v in vectors])
    square = float((clipped**2).sum(axis=1).mean())
    mean = clipped.mean(axis=0)
    draws = np.array([mechanism.sample(vectors, rng) for _ in range(1500)])
    errors = ((draws - mean) ** 2).sum(axis=1)
    expected = mechanism.mean_squared_error(square)
    assert abs(errors.mean() - expected) < 4.0 * errors.std() / math.sqrt(1500)
    assert errors.std() / math.sqrt(1500) < 0.02 * expected
    bias = (draws.mean(axis=0) - mean) / (draws.std(axis=0) / math.sqrt(1500))
    assert stats.chi2.sf(float((bias**2).sum()), 20) > 1e-4


def test_a_coordinate_is_the_masked_gaussian_that_is_accounted():
    # one client, its coordinate known: the law of the noisy sum before it is divided
    one = SparsifiedGaussianMechanism(1.0, 1.0, 0.3, 4000, 1, noise_multiplier=0.4)
    total = 0.3 * one.sample(np.full((1, 4000), 1.0), np.random.default_rng(3))
    x = 1.0 / math.sqrt(4000)
    assert (
        stats.kstest(
            total, lambda t: 0.7 * stats.norm.cdf(t / 0.4) + 0.3 * stats.norm.cdf((t - x) / 0.4)
        ).pvalue
        > 1e-4
    )
    loud = replace(one, noise_multiplier=1e-6, dimension=1)
    sums = [0.3 * float(loud.sample([[5.0]], np.random.default_rng(i))[0]) for i in range(400)]
    kept = np.isclose(sums, 1.0, atol=1e-4)
    assert np.all(kept | np.isclose(sums, 0.0, atol=1e-4))
    assert stats.binomtest(int(kept.sum()), 400, 0.3).pvalue > 1e-4


def test_clipping_keeps_both_bounds(mechanism):
    rng = np.random.default_rng(5)
    for scale in (1e-3, 1.0, 1e6, 1e150):
        for _ in range(50):
            clipped = mechanism.clip(scale * rng.standard_cauchy(20))
            assert math.fsum(c * c for c in clipped) <= 4.0
            assert np.abs(clipped).max() <= 0.7
    np.testing.assert_array_equal(mechanism.clip(np.full(20, 0.01)), np.full(20, 0.01))
    assert not mechanism.clip(np.zeros(20)).any()


@pytest.mark.parametrize(
    "vectors", [np.ones(20), np.ones((3, 19)), np.full((3, 20), np.nan), np.full((3, 20), np.inf)]
)
def test_vectors_of_another_shape_or_not_finite_are_refused(mechanism, vectors):
    with pytest.raises(ValueError, match="vectors must be finite"):
        mechanism.sample(vectors, np.random.default_rng(0))


# --- privacy -------------------------------------------------------------------------------------


def test_events_say_what_is_released(mechanism):
    inner = SparsifiedGaussianDpEvent(0.8, 0.3, math.nextafter(0.35, 1.0), 20)
    assert mechanism.event() == SelfComposedDpEvent(PoissonSampledDpEvent(0.5, inner), 5)
    once = replace(mechanism, rounds=1, client_sampling_probability=1.0, coordinate_clip=9.0)
    assert once.event() == SparsifiedGaussianDpEvent(0.8, 0.3, 1.0, 20)


def test_epsilon_is_the_best_conversion_of_the_curve(mechanism):
    orders = np.arange(1.25, 200, 0.25)
    loss = PoissonSampledSparsifiedGaussian(0.8, 0.3, mechanism.largest_coordinate, 20, 0.5)
    theirs, _ = compute_epsilon(orders, 5 * loss.divergences(orders), 1e-5)
    assert mechanism.epsilon(1e-5) == pytest.approx(theirs, rel=1e-9)


def test_epsilon_without_masks_is_close_above_the_exact_one():
    plain = SparsifiedGaussianMechanism(1.0, 1.0, 1.0, 9, 100, 50, 0.1, noise_multiplier=1.2)
    step = PoissonSampledDpEvent(0.1, GaussianDpEvent(1.2))
    exact = (50 * privacy_loss(step)).epsilon(1e-6)
    assert exact < plain.epsilon(1e-6) < 1.12 * exact


@pytest.mark.parametrize("q", [1.0, 0.02])
@pytest.mark.parametrize("epsilon", [0.05, 1.0, 20.0])
def test_calibration_is_safe_and_leaves_nothing(mechanism, q, epsilon):
    found = replace(mechanism, client_sampling_probability=q).calibrated(epsilon, 1e-6)
    assert 0.999 * epsilon < found.epsilon(1e-6) <= epsilon
    less = replace(found, noise_multiplier=0.999 * found.noise_multiplier)
    assert less.epsilon(1e-6) > epsilon


def test_what_no_order_reaches_is_said(mechanism):
    with pytest.raises(CalibrationError, match="no noise is proved to reach"):
        mechanism.calibrated(1e-5, 1e-12)


def test_streaming_divides_the_noise_by_the_largest_column(mechanism):
    everyone = replace(mechanism, client_sampling_probability=1.0)
    event = everyone.streaming_event([1.0, 1.6, 0.4, 1.0, 1.0])
    assert event.noise_multiplier == pytest.approx(0.5, rel=1e-14)
    assert event.noise_multiplier <= 0.5
    with pytest.raises(ValueError, match="one a round"):
        everyone.streaming_event([1.0])
    with pytest.raises(UnsupportedEventError, match="at most once"):
        everyone.streaming_event([1.0] * 5, participations=2)
    with pytest.raises(UnsupportedEventError, match="sampling"):
        mechanism.streaming_event([1.0] * 5)


# --- error and bits ------------------------------------------------------------------------------


def test_bits_are_what_an_ideal_coder_of_the_masks_needs(mechanism):
    large = replace(mechanism, dimension=200_000, keep_probability=0.02)
    mask = np.random.default_rng(2).random(200_000) < 0.02
    ideal = -float(np.where(mask, math.log2(0.02), math.log2(0.98)).sum())
    assert large.bits_per_client(16) == pytest.approx(ideal + 16 * mask.sum(), rel=0.05)
    assert large.bits_per_client(16, "seed") == pytest.approx(200_000 * 0.02 * 16 + 128)
    assert replace(large, keep_probability=1.0).bits_per_client() == 32 * 200_000


def test_comparing_holds_epsilon_and_vectors_equal():
    wanted = SparsifiedGaussianMechanism(3.0, 0.03, 0.05, 10**5, 1000, 10)
    found = compare(wanted, 2.0, 1e-6, same_accounting=True)
    assert found.compressed.epsilon(1e-6) == pytest.approx(2.0, rel=1e-4)
    assert found.uncompressed.epsilon(1e-6) == pytest.approx(2.0, rel=1e-4)
    assert found.uncompressed.keep_probability == 1.0
    errors = [m.mean_squared_error(9.0) for m in (found.compressed, found.uncompressed)]
    assert found.error_ratio == pytest.approx(errors[0] / errors[1])
    exact = compare(wanted, 2.0, 1e-6)
    step = GaussianDpEvent(exact.uncompressed.noise_multiplier)
    assert (10 * privacy_loss(step)).epsilon(1e-6) == pytest.approx(2.0, rel=1e-4)
    assert exact.error_ratio > found.error_ratio > 1.0


def test_the_sparsest_is_on_the_edge():
    wanted = SparsifiedGaussianMechanism(1.0, 0.006, 0.5, 10**6, 1000, 100)
    found = sparsest(wanted, 4.0, 1e-6, within=0.03)
    assert 1.029 < found.error_ratio <= 1.03
    # where vectors are not flat, nothing can be left out
    spiky = replace(wanted, coordinate_clip=1.0, dimension=10)
    assert sparsest(spiky, 4.0, 1e-6, within=1e-4).compressed.keep_probability > 0.9


# --- the documented tables -----------------------------------------------------------------------

DOCUMENT = sparsified_table.DOCUMENT.read_text()


def cells(line):
    return [cell.strip() for cell in line.strip("| \n").split("|")]


@pytest.mark.parametrize("setting", [1, 3, 5], ids=lambda i: sparsified_table.SETTINGS[i].name)
def test_documented_compression_is_what_is_computed(setting):
    row = sparsified_table.sparsest_row(sparsified_table.SETTINGS[setting], 0.01)
    assert row in [cells(line) for line in DOCUMENT.splitlines()]


def test_documented_flatness_is_what_is_computed():
    for peak, keep in ((6.0, 0.01), (1_000.0, 0.1)):
        row = sparsified_table.flatness_row(peak, keep)
        assert row in [cells(line) for line in DOCUMENT.splitlines()]


def test_a_hundredfold_compression_at_an_error_within_one_percent():
    setting = sparsified_table.SETTINGS[1]
    found = sparsest(setting.mechanism(), setting.epsilon, sparsified_table.DELTA, within=0.01)
    assert found.compression > 200.0
    assert found.error_ratio <= 1.01
    assert found.compressed.epsilon(sparsified_table.DELTA) <= setting.epsilon
    # the guarantee rests on the masks: without them the noise would not do
    unmasked = SparsifiedGaussian(found.compressed.noise_multiplier, 1.0, 1.0, 10**6)
    orders = np.arange(2, 64)
    exposed, _ = compute_epsilon(orders, 100 * unmasked.divergences(orders), 1e-6)
    assert exposed > 1000.0


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [-1, 0, math.nan, math.inf, True, "1", 1j, [1.0]])
def test_a_parameter_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        SparsifiedGaussianMechanism(**(GOOD | {name: value}))


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("epsilon", (0.0,)),
        ("epsilon", (1.0,)),
        ("epsilon", ("1e-5",)),
        ("calibrated", (0.0, 1e-5)),
        ("calibrated", (math.nan, 1e-5)),
        ("calibrated", (1.0, True)),
        ("mean_squared_error", (-1.0,)),
        ("mean_squared_error", (4.1,)),
        ("bits_per_client", (0,)),
        ("bits_per_client", (32, "free")),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(mechanism, query, arguments):
    with pytest.raises(ValueError, match="must be"):
        getattr(mechanism, query)(*arguments)


@pytest.mark.parametrize("query", ["event", "mean_squared_error"])
def test_what_needs_the_noise_says_so(mechanism, query):
    with pytest.raises(ValueError, match="noise is not known yet"):
        getattr(replace(mechanism, noise_multiplier=None), query)()


def test_it_is_a_value(mechanism):
    again = pickle.loads(pickle.dumps(mechanism))
    assert again == mechanism
    assert hash(again) == hash(mechanism)


@pytest.mark.parametrize("within", [0.0, -1.0, math.nan, math.inf, True, "0.01"])
def test_an_error_that_is_none_is_refused(mechanism, within):
    with pytest.raises(ValueError, match="within must be"):
        sparsest(mechanism, 1.0, 1e-6, within=within)
