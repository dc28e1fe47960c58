"""Streams of noise: what they are a sample of, and that nothing but the key decides it."""

import copy
import hashlib
import io
import json
import math
import os
import pickle
import stat
import tracemalloc
import zipfile
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular, toeplitz
from scipy.stats import chi2, kstest

from mechanisms.noise import NoiseStream
from mechanisms.noise.filters import (
    BandedFilter,
    BufferFilter,
    DenseFilter,
    Independent,
    InverseBandedFilter,
)
from mechanisms.noise.random_source import CELL, PhiloxSource, SecureSource, as_source
from mechanisms.noise.tree_filter import TreeFilter
from tests.needs import needs

needs_cryptography = needs("cryptography")
SOURCES = [
    pytest.param(PhiloxSource(b"\x07" * 16), id="philox"),
    *(
        [pytest.param(SecureSource(b"\x07" * 32), id="secure")]
        if find_spec("cryptography")
        else [pytest.param(None, id="secure", marks=needs_cryptography)]
    ),
]

N = 12
RANDOM = np.random.default_rng(20240607)
TRIANGLE = np.tril(RANDOM.normal(size=(N, N))) + 3.0 * np.eye(N)
DECAY, WEIGHTS = np.array([0.97, 0.6, 0.2]), np.array([0.1, 0.3, -0.2])
TOEPLITZ = np.array([2.0, 1.0, -0.5, 0.25])
BANDS = np.where(np.arange(4) > np.arange(N)[:, None], 0.0, RANDOM.normal(size=(N, 4)))
BANDS[:, 0] = 1.0 + np.abs(BANDS[:, 0])


def lower(column):
    return np.tril(toeplitz(np.pad(np.asarray(column, dtype=float), (0, N))[:N]))


def inverse(matrix):
    return solve_triangular(matrix, np.eye(N), lower=True)


def band_matrix(bands):
    return sum(np.diag(bands[i:, i], -i) for i in range(bands.shape[1]))


def blt_matrix(decay, weights):
    powers = decay ** np.arange(N - 1)[:, None]
    return lower([1.0, *(powers @ weights)])


TREE = TreeFilter(N, N, "online")
# filter, D
CASES = {
    "independent": (Independent(), np.eye(N)),
    "banded_toeplitz": (BandedFilter(TOEPLITZ), inverse(lower(TOEPLITZ))),
    "one_band": (BandedFilter(np.array([4.0])), np.eye(N) / 4.0),
    "more_bands_than_steps": (
        BandedFilter(1 / np.arange(1, 30)),
        inverse(lower(1 / np.arange(1, 30))),
    ),
    "banded": (BandedFilter(BANDS), inverse(band_matrix(BANDS))),
    "inverse_banded": (InverseBandedFilter(TOEPLITZ), lower(TOEPLITZ)),
    "inverse_banded_rows": (InverseBandedFilter(BANDS), band_matrix(BANDS)),
    "inverse_banded_drawn_again": (InverseBandedFilter(BANDS, True), band_matrix(BANDS)),
    "inverse_one_band": (InverseBandedFilter(np.array([3.0])), 3.0 * np.eye(N)),
    "buffers": (BufferFilter(DECAY, WEIGHTS), inverse(blt_matrix(DECAY, WEIGHTS))),
    "dense": (DenseFilter(inverse(TRIANGLE)), inverse(TRIANGLE)),
    "tree": (TREE, TREE.decoder()),
}
EACH = pytest.mark.parametrize("name", CASES)
FILTERS = {name: case[0] for name, case in CASES.items()}


class Rows:
    """Given vectors instead of normals: Z[j] is row j, repeated over cells."""

    def __init__(self, rows):
        self.rows = np.asarray(rows, dtype=float)

    def normals(self, row, cell, out):
        out[:] = self.rows[row, : out.size]


DIMENSION, STEPS = CELL + 5, 6  # two cells, and more steps than rows that are kept


def rows_of(name, *, dimension=DIMENSION, steps=STEPS, rng=1, **options):
    return np.array(list(NoiseStream(FILTERS[name], dimension, steps=steps, rng=rng, **options)))


# --- which matrix --------------------------------------------------------------------------------


@EACH
def test_unit_vectors_show_the_inverse_of_the_strategy(name):
    noise_filter, decoder = CASES[name]
    source = Rows(np.eye(decoder.shape[1]))
    stream = NoiseStream(noise_filter, decoder.shape[1], steps=N, rng=source)
    np.testing.assert_allclose(np.array(list(stream)), decoder, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_coefficients_give_their_own_inverse(data):
    p = data.draw(st.integers(1, N))
    numbers = st.floats(-1.0, 1.0)
    rest = data.draw(st.lists(numbers, min_size=p - 1, max_size=p - 1))
    column = [data.draw(st.floats(0.5, 2.0)), *rest]
    unit = Rows(np.eye(N))
    found = np.array(list(NoiseStream(BandedFilter(column), N, steps=N, rng=unit)))
    assert np.abs(lower(column) @ found - np.eye(N)).max() < 1e-12 * max(1.0, np.abs(found).max())
    found = np.array(list(NoiseStream(InverseBandedFilter(column), N, steps=N, rng=unit)))
    np.testing.assert_allclose(found, lower(column), rtol=0, atol=0)


def test_what_lies_left_of_the_first_column_is_ignored():
    filled = np.where(np.arange(4) > np.arange(N)[:, None], 99.0, BANDS)
    for kind in (BandedFilter, InverseBandedFilter):
        assert kind(filled) == kind(BANDS)
        assert hash(kind(filled)) == hash(kind(BANDS))
        assert kind(filled) != kind(BANDS + 1e-9)
    assert BandedFilter(BANDS) != InverseBandedFilter(BANDS)


def test_memory_is_what_is_kept():
    kept = {name: FILTERS[name].memory for name in CASES}
    assert kept["independent"] == kept["dense"] == kept["inverse_banded_drawn_again"] == 0
    assert kept["banded"] == kept["inverse_banded"] == kept["buffers"] == 3
    for name, noise_filter in FILTERS.items():
        for dtype in (np.float64, np.float32):
            stream = NoiseStream(noise_filter, 1000, steps=N, dtype=dtype)
            assert stream.nbytes == kept[name] * 1000 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("by_blocks", [False, True])
def test_a_million_columns_need_no_more_than_is_said(by_blocks):
    columns, noise_filter = 10**6, BufferFilter([0.999, 0.9, 0.5, 0.1], [0.1] * 4)
    next(NoiseStream(noise_filter, 10, steps=1))  # compile first
    tracemalloc.start()
    stream = NoiseStream(noise_filter, columns, steps=2)
    if by_blocks:
        for _ in stream.next_blocks():
            pass
        row = 0
    else:
        row = next(stream).nbytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.nbytes == 4 * 8 * columns
    # two blocks of 2 MiB, a cell of normals, and small change
    assert stream.nbytes + row <= peak < stream.nbytes + row + 5 * 2**20


# --- which distribution --------------------------------------------------------------------------


def whitened_deviations(rows, decoder):
    """Standardised entries of the whitened sample covariance, N(0, 1) each for many columns."""
    columns = rows.shape[1]
    white = np.linalg.solve(decoder, rows)
    covariance = white @ white.T / columns
    scale = np.sqrt((1.0 + np.eye(N)) / columns)
    return ((covariance - np.eye(N)) / scale)[np.tril_indices(N)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@EACH
def test_the_covariance_is_that_of_the_strategy(name, dtype):
    decoder = CASES[name][1]
    rows = rows_of(name, dimension=100_000, steps=N, dtype=dtype)
    deviations = whitened_deviations(rows, decoder)
    # 78 entries: each bound fails once in 1e4 seeds
    assert np.abs(deviations).max() < 4.9
    assert deviations @ deviations < chi2.isf(1e-4, deviations.size)


def test_the_covariance_test_sees_two_percent():
    rows = rows_of("buffers", dimension=100_000, steps=N)
    other = inverse(blt_matrix(DECAY, WEIGHTS + np.array([0.02, 0.0, 0.0])))
    assert np.abs(whitened_deviations(rows, other)).max() > 4.9
    assert np.abs(whitened_deviations(1.02 * rows, CASES["buffers"][1])).max() > 4.9


@needs_cryptography
def test_the_covariance_of_secure_noise():
    source = SecureSource(b"\x03" * 32)
    rows = rows_of("buffers", dimension=100_000, steps=N, rng=source)
    deviations = whitened_deviations(rows, CASES["buffers"][1])
    assert np.abs(deviations).max() < 4.9
    assert deviations @ deviations < chi2.isf(1e-4, deviations.size)


@EACH
def test_each_row_is_normal(name):
    decoder = CASES[name][1]
    rows = rows_of(name, dimension=20_000, steps=N) / np.linalg.norm(decoder, axis=1)[:, None]
    assert min(kstest(row, "norm").pvalue for row in rows) > 1e-5


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_standard_normal(source):
    values = np.empty(40 * CELL)
    for cell in range(40):
        source.normals(3, cell, values[cell * CELL : (cell + 1) * CELL])
    assert kstest(values, "norm").pvalue > 1e-4
    count = values.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(values**power) - moment) < 4.5 * math.sqrt(variance / count)
    for threshold in (2.5, 3.5, 4.0):
        expected = count * math.erfc(threshold / math.sqrt(2.0))
        assert abs((np.abs(values) > threshold).sum() - expected) < 4.5 * math.sqrt(expected) + 1
    assert np.unique(values).size > count - 3


@pytest.mark.parametrize("source", SOURCES)
def test_rows_cells_and_keys_are_independent(source):
    near = type(source)(source.key[:-1] + b"\x06")
    parts = [np.empty(CELL) for _ in range(7)]
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (2**40, 0), (0, 2**40), (0, 0)]
    for i, (row, cell) in enumerate(places):
        (near if i == 6 else source).normals(row, cell, parts[i])
    for shift in (0, 1, 2, 4):
        shifted = np.array([np.roll(part, shift) for part in parts])
        correlations = np.array(parts) @ shifted.T / math.sqrt(CELL)
        if shift == 0:
            np.fill_diagonal(correlations, 0.0)
        assert np.abs(correlations).max() < 4.9


def test_streams_of_fresh_entropy_differ_and_are_uncorrelated():
    rows = np.array([next(NoiseStream(Independent(), CELL, steps=1)) for _ in range(4)])
    correlations = rows @ rows.T / math.sqrt(CELL)
    np.fill_diagonal(correlations, 0.0)
    assert np.abs(correlations).max() < 7.0  # by chance once in 1e11


# --- sources -------------------------------------------------------------------------------------


def test_philox_is_numpys_with_the_counter_that_is_documented():
    key = bytes(range(16))
    row = next(NoiseStream(Independent(), 2 * CELL + 9, steps=1, rng=PhiloxSource(key)))
    for cell in range(3):
        words = np.frombuffer(key, dtype=np.uint64)
        counter = np.array([0, 0, cell, 0], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=words, counter=counter))
        expected = generator.standard_normal(CELL)[: 2 * CELL + 9 - cell * CELL]
        assert np.array_equal(row[cell * CELL : (cell + 1) * CELL], expected)


def upper_quantile(p):
    return mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * p)


def quantile_of(word):
    p = (mpmath.mpf(word & (2**63 - 1)) + 0.5) / mpmath.mpf(2) ** 64
    return upper_quantile(p) * (1 if word >> 63 else -1)


@needs_cryptography
def test_secure_normals_are_quantiles_of_the_key_stream():
    # AES-256 of a block of zeros under a key of zeros (NIST, AES known answer tests)
    block = bytes.fromhex("dc95c078a2408989ad48a21492842087")
    found = np.empty(2)
    SecureSource(bytes(32)).normals(0, 0, found)
    with mpmath.workdps(50):
        for i in range(2):
            exact = quantile_of(int.from_bytes(block[8 * i : 8 * i + 8], "little"))
            assert abs(found[i] - exact) < 1e-15 * abs(exact)


@needs_cryptography
def test_secure_normals_begin_where_the_column_is_in_the_key_stream():
    ciphers = import_module("cryptography.hazmat.primitives.ciphers")

    key, row, cell = bytes(range(32)), 5, 3
    counter = (row << 64) + cell * CELL // 2
    mode = ciphers.modes.CTR(counter.to_bytes(16, "big"))
    cipher = ciphers.Cipher(ciphers.algorithms.AES(key), mode)
    stream = cipher.encryptor().update(bytes(80))
    found = np.empty(10)
    SecureSource(key).normals(row, cell, found)
    for i, value in enumerate(found):
        exact = quantile_of(int.from_bytes(stream[8 * i : 8 * i + 8], "little"))
        assert abs(value - exact) < 1e-14 * abs(exact)


def test_quantiles_of_all_magnitudes():
    from mechanisms.noise.random_source import _normal_quantiles

    half = 2**63
    edge = round(0.075 * 2**64)  # between two of the approximations
    near = [half - 1 - 2**k for k in range(62)] + [half - 1]
    middle = [edge + k for k in (-(10**6), -1, 0, 1, 10**6)]
    far = [0, 1, 2, 3] + [2**k for k in range(2, 63)] + [round(math.exp(-25) * 2**64)]
    magnitudes = np.array(near + middle + far, dtype=np.uint64)
    upper, below = np.empty(magnitudes.size), np.empty(magnitudes.size)
    _normal_quantiles(magnitudes + np.uint64(half), upper)
    _normal_quantiles(magnitudes, below)
    assert np.array_equal(upper, -below)
    with mpmath.workdps(60):
        for m, value in zip(magnitudes.tolist(), upper.tolist(), strict=True):
            exact = quantile_of(m + half)
            assert abs(value - exact) < 1e-15 * exact
    assert 9.15 < upper.max() < 9.16
    assert 6.7e-20 < upper.min() < 6.9e-20
    order = np.argsort(magnitudes)
    assert np.all(np.diff(upper[order]) <= 0.0)


def test_seeds_are_reproducible_and_distinct():
    def first(rng):
        return next(NoiseStream(Independent(), 50, steps=1, rng=rng))

    assert np.array_equal(first(5), first(5))
    assert np.array_equal(first(5), first(np.int64(5)))
    assert np.array_equal(first(5), first(np.random.SeedSequence(5)))
    assert np.array_equal(first(np.random.default_rng(5)), first(np.random.default_rng(5)))
    assert not np.array_equal(first(5), first(6))
    assert not np.array_equal(first(None), first(None))
    generator = np.random.default_rng(5)
    assert not np.array_equal(first(generator), first(generator))
    parts = np.random.SeedSequence(5).spawn(2)
    assert not np.array_equal(first(parts[0]), first(parts[1]))


@needs_cryptography
def test_secure_noise_is_fresh():
    rows = [next(NoiseStream(Independent(), 50, steps=1, rng="secure")) for _ in range(2)]
    assert not np.array_equal(*rows)
    assert isinstance(as_source("secure"), SecureSource)
    assert as_source("secure") != as_source("secure")


def test_secure_noise_says_what_to_install(monkeypatch):
    import mechanisms.noise.random_source as module

    def missing(name):
        raise ImportError(name)

    module._ciphers.cache_clear()
    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(ImportError, match=r"dp-planner\[secure\]"):
        NoiseStream(Independent(), 5, steps=1, rng="secure")
    module._ciphers.cache_clear()


@pytest.mark.parametrize(
    "rng",
    [True, -1, 1.5, "fast", b"key", (1, 2), np.random.RandomState(1), PhiloxSource, np.nan],
)
def test_other_seeds_are_refused_without_being_shown(rng):
    with pytest.raises(ValueError, match=r"rng must be None.*got something else") as refusal:
        NoiseStream(Independent(), 5, steps=1, rng=rng)
    assert repr(rng) not in str(refusal.value)


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(33), "0" * 16, bytearray(16), None])
def test_keys_of_another_size_are_refused(key):
    for kind in (PhiloxSource, SecureSource):
        with pytest.raises(ValueError, match="secret random bytes"):
            kind(key)


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@EACH
def test_blocks_of_any_size_give_the_same_bits(name, dtype):
    rows = rows_of(name, dtype=dtype)
    assert rows.dtype == dtype
    stream = NoiseStream(FILTERS[name], DIMENSION, steps=STEPS, rng=1, block=1, dtype=dtype)
    for row in rows:
        found = list(stream.next_blocks())
        assert [columns for columns, _ in found] == [slice(0, CELL), slice(CELL, DIMENSION)]
        assert np.array_equal(np.concatenate([values for _, values in found]), row)


def test_blocks_are_whole_cells():
    rows = rows_of("buffers", dimension=5 * CELL + 1)
    for block in (1, CELL, CELL + 1, 3 * CELL, 10**9):
        assert np.array_equal(rows, rows_of("buffers", dimension=5 * CELL + 1, block=block))
    stream = NoiseStream(Independent(), 5 * CELL + 1, steps=1, block=CELL + 1)
    starts = [columns.start for columns, _ in stream.next_blocks()]
    assert starts == [0, 2 * CELL, 4 * CELL]


@EACH
def test_more_columns_leave_the_first_as_they_were(name):
    assert np.array_equal(rows_of(name, dimension=CELL + 1), rows_of(name)[:, : CELL + 1])


def test_drawing_again_gives_the_same_bits_as_keeping():
    assert np.array_equal(rows_of("inverse_banded_rows"), rows_of("inverse_banded_drawn_again"))


class ByCopies(Executor):
    """What processes do: arguments and results are copies."""

    def submit(self, function, /, *arguments):
        future = Future()
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        return future


@EACH
def test_an_executor_gives_the_same_bits(name):
    rows = rows_of(name)
    with ThreadPoolExecutor(3) as threads:
        for executor in (threads, ByCopies()):
            assert np.array_equal(rows, rows_of(name, block=1, executor=executor))
            stream = NoiseStream(
                FILTERS[name], DIMENSION, steps=STEPS, rng=1, block=1, executor=executor
            )
            for row in rows:
                found = [values for _, values in stream.next_blocks()]
                assert np.array_equal(np.concatenate(found), row)


def test_an_executor_is_given_a_few_blocks_at_a_time():
    class Counting(Executor):
        open = most = 0

        def submit(self, function, /, *arguments):
            Counting.open += 1
            Counting.most = max(Counting.most, Counting.open)
            future = Future()
            future.set_result(function(*arguments))
            return future

    stream = NoiseStream(Independent(), 200 * CELL, steps=1, block=1, executor=Counting())
    for _ in stream.next_blocks():
        Counting.open -= 1
    assert 1 < Counting.most <= 2 * os.cpu_count()


def test_a_row_into_an_array_of_the_callers():
    stream, other = (NoiseStream(FILTERS["buffers"], 100, steps=2, rng=1) for _ in range(2))
    out = np.full(100, np.nan)
    assert stream.next_row(out) is out
    assert np.array_equal(out, next(other))
    read_only = np.zeros(100)
    read_only.setflags(write=False)
    wrong = [np.zeros(99), np.zeros((1, 100)), np.zeros(100, np.float32), np.zeros(200)[::2]]
    for bad in [*wrong, read_only, [0.0] * 100, "row"]:
        with pytest.raises(ValueError, match="out must be a writable contiguous array"):
            stream.next_row(bad)
    assert stream.step == 1
    assert np.array_equal(stream.next_row(), next(other))


# --- the end, and rows in the middle --------------------------------------------------------------


def test_a_stream_ends():
    stream = NoiseStream(Independent(), 4, steps=3)
    assert len(list(stream)) == 3
    assert next(stream, None) is None
    for more in (stream.next_row, stream.next_blocks):
        with pytest.raises(ValueError, match="has given all of its 3 rows"):
            more()
    assert len(list(NoiseStream(FILTERS["dense"], 4))) == N


def test_a_row_left_in_the_middle_is_finished_first(tmp_path):
    rows = rows_of("buffers")
    with ThreadPoolExecutor(2) as threads:
        for executor in (None, threads):
            stream = NoiseStream(
                FILTERS["buffers"], DIMENSION, steps=STEPS, rng=1, block=1, executor=executor
            )
            next(stream)
            found = [next(iter(stream.next_blocks()))]
            for refused in (stream.next_row, lambda: stream.save(tmp_path / "s")):  # noqa: B023
                with pytest.raises(RuntimeError, match="row 1 is unfinished"):
                    refused()
            assert stream.step == 1
            found += stream.next_blocks()
            assert np.array_equal(np.concatenate([values for _, values in found]), rows[1])
            assert np.array_equal(next(stream), rows[2])


def test_an_iterator_of_one_row_does_not_run_into_the_next():
    stream = NoiseStream(Independent(), 2 * CELL, steps=2, block=1)
    first, second = stream.next_blocks(), stream.next_blocks()
    assert len([next(first), next(second)]) == 2
    assert stream.step == 1
    assert list(first) == list(second) == []
    assert stream.step == 1


class Failing:
    """Breaks in the second cell of row 1."""

    def normals(self, row, cell, out):
        if (row, cell) == (1, 1):
            raise KeyboardInterrupt
        out[:] = 1.0


def test_an_interrupted_row_is_never_gone_on_with():
    with ThreadPoolExecutor(2) as threads:
        for executor in (None, threads):
            stream = NoiseStream(
                FILTERS["buffers"], 3 * CELL, steps=5, rng=Failing(), block=1, executor=executor
            )
            next(stream)
            with pytest.raises(KeyboardInterrupt):
                next(stream)
            for refused in (stream.next_row, stream.next_blocks, lambda: next(stream)):  # noqa: B023
                with pytest.raises(RuntimeError, match="row 1 was interrupted"):
                    refused()


def test_threads_share_a_stream_row_by_row():
    rows = rows_of("buffers")
    stream = NoiseStream(FILTERS["buffers"], DIMENSION, steps=STEPS, rng=1)
    with ThreadPoolExecutor(4) as threads:
        found = [future.result() for future in [threads.submit(next, stream) for _ in range(STEPS)]]
    assert {row.tobytes() for row in found} == {row.tobytes() for row in rows}


# --- saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@EACH
def test_resumed_at_any_step_bit_for_bit(name, dtype, tmp_path):
    path, dimension = tmp_path / "state.npz", 1000
    rows = rows_of(name, dimension=dimension, steps=N, dtype=dtype)
    stream = NoiseStream(FILTERS[name], dimension, steps=N, rng=1, dtype=dtype)
    for step in range(N + 1):
        stream.save(path)
        resumed = NoiseStream.restore(path, FILTERS[name], block=1)
        assert (resumed.step, resumed.steps, resumed.dtype) == (step, N, dtype)
        # its buffers are as they were, so one row shows that all others follow
        assert np.array_equal(resumed._blocks.buffers, stream._blocks.buffers)
        if step < N:
            assert np.array_equal(next(resumed), rows[step])
            assert np.array_equal(next(stream), rows[step])
        else:
            assert next(resumed, None) is None


@needs_cryptography
def test_secure_noise_is_resumed_too(tmp_path):
    path = tmp_path / "state.npz"
    stream = NoiseStream(FILTERS["buffers"], 1000, steps=4, rng="secure")
    next(stream)
    stream.save(path)
    rest = np.array(list(stream))
    assert np.array_equal(np.array(list(NoiseStream.restore(path, FILTERS["buffers"]))), rest)


def test_the_key_is_kept_to_the_file_and_the_file_to_its_owner(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    key = bytes(range(100, 116))
    source = PhiloxSource(key)
    stream = NoiseStream(FILTERS["buffers"], 10, steps=4, rng=source)
    for text in (repr(source), repr(stream), str(stream), repr(vars(source).keys())):
        assert not any(shown in text for shown in (repr(key), key.hex(), str(list(key))))
    path.write_text("older")
    path.chmod(0o644)
    stream.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with np.load(path, allow_pickle=False) as arrays:
        assert json.loads(arrays["header"].tobytes())["key"] == key.hex()
        assert arrays["buffers"].shape == (30,)

    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        stream.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_a_stream_is_not_copied():
    stream = NoiseStream(Independent(), 5, steps=2)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            attempt(stream)


def test_a_source_of_the_callers_own_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="the key of a Rows is not known"):
        NoiseStream(Independent(), 5, steps=2, rng=Rows(np.eye(5))).save(tmp_path / "s.npz")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A state's bytes, and the header and buffers in it."""
    path = tmp_path_factory.mktemp("noise") / "state.npz"
    stream = NoiseStream(FILTERS["buffers"], 20, steps=5, rng=1)
    next(stream)
    stream.save(path)
    with np.load(path) as arrays:
        return path.read_bytes(), json.loads(arrays["header"].tobytes()), arrays["buffers"]


def archive(members, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def header_bytes(header):
    return npy(np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))


def refuse(tmp_path, content, match=""):
    path = tmp_path / "hostile.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as refusal:
        NoiseStream.restore(path, FILTERS["buffers"])
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_hostile_states_are_refused(saved, tmp_path):
    content, header, buffers = saved
    good = {"header.npy": header_bytes(header), "buffers.npy": npy(buffers)}
    path = tmp_path / "again.npz"
    path.write_bytes(archive(good))
    NoiseStream.restore(path, FILTERS["buffers"])

    refuse(tmp_path, b"", "not the saved state")
    refuse(tmp_path, b"\x80\x04N.", "not the saved state")
    refuse(tmp_path, content[:-1], "not the saved state")
    refuse(tmp_path, archive(good | {"more.npy": b""}), "exactly")
    refuse(tmp_path, archive({"header.npy": good["header.npy"]}), "exactly")
    refuse(tmp_path, archive(good, compression=zipfile.ZIP_DEFLATED), "compressed")
    objects = npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    refuse(tmp_path, archive(good | {"buffers.npy": objects}), "does not fit")
    refuse(tmp_path, archive(good | {"header.npy": objects}), "does not fit")
    for other in (buffers[:-1], buffers.astype(np.float32), buffers.reshape(1, -1)):
        refuse(tmp_path, archive(good | {"buffers.npy": npy(other)}), "does not fit")
    refuse(tmp_path, archive(good | {"buffers.npy": npy(buffers)[:-8]}), "ends early")
    refuse(tmp_path, archive(good | {"buffers.npy": npy(buffers) + b"0"}), "longer")
    refuse(tmp_path, archive(good | {"buffers.npy": npy(buffers + 1e-9)}), "checksum")
    huge = npy(buffers).replace(b"(60,), }" + b" " * 12, b"(3000000000000,), }" + b" ")
    assert huge != npy(buffers)
    refuse(tmp_path, archive(good | {"buffers.npy": huge}), "does not fit")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"format": "another"}, "format"),
        ({"sha256": 5}, "header must give"),
        ({"more": 5}, "header must give"),
        ({"dimension": 10**12}, "does not fit"),
        ({"dimension": 2**60}, "out of range"),
        ({"dimension": -1}, "out of range"),
        ({"dimension": True}, "wrong type"),
        ({"dimension": 20.0}, "wrong type"),
        ({"step": 6}, "out of range"),
        ({"step": -1}, "out of range"),
        ({"step": 2}, "checksum"),
        ({"steps": 6}, "checksum"),
        ({"dtype": "object"}, "dtype must be"),
        ({"dtype": "float32"}, "does not fit"),
        ({"key": "00" * 16}, "checksum"),
        ({"filter": "0" * 64}, "another filter"),
    ],
)
def test_hostile_headers_are_refused(values, match, saved, tmp_path):
    _, header, buffers = saved
    content = archive({"header.npy": header_bytes(header | values), "buffers.npy": npy(buffers)})
    refuse(tmp_path, content, match)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"key": "zz" * 16}, "not the saved state"),
        ({"key": "00"}, "not the saved state"),
        ({"source": "xor"}, "not the saved state"),
        ({"sampler": "0" * 64}, "drew other normals"),
    ],
)
def test_forged_states_are_refused_where_they_make_no_sense(values, match, saved, tmp_path):
    _, header, buffers = saved
    fields = {k: v for k, v in (header | values).items() if k not in ("format", "sha256")}
    checksum = hashlib.sha256(json.dumps(fields).encode() + buffers.tobytes()).hexdigest()
    forged = header_bytes(header | values | {"sha256": checksum})
    refuse(tmp_path, archive({"header.npy": forged, "buffers.npy": npy(buffers)}), match)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_states_are_refused(saved, tmp_path_factory, data):
    content, _, _ = saved
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged)
    # dates and the like of the archive do not matter; anything that does is found
    try:
        stream = NoiseStream.restore(path, FILTERS["buffers"])
    except ValueError:
        return
    with np.load(path) as arrays:
        assert np.array_equal(arrays["buffers"], saved[2])
    assert next(stream).shape == (20,)


def test_another_filter_is_refused(saved, tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(saved[0])
    for other in (BufferFilter(DECAY, WEIGHTS + 1e-12), BandedFilter([1.0, 0.5, 0.3, 0.1])):
        with pytest.raises(ValueError, match="another filter"):
            NoiseStream.restore(path, other)
    with pytest.raises(FileNotFoundError):
        NoiseStream.restore(tmp_path / "missing.npz", FILTERS["buffers"])


# --- single precision ----------------------------------------------------------------------------

U = 2.0**-24


def test_single_precision_of_a_band_matrix_is_one_rounding_of_each_row():
    for bands in (TOEPLITZ, BANDS):
        noise_filter = BandedFilter(bands)
        matrix = lower(bands) if bands.ndim == 1 else band_matrix(bands)
        options = {"steps": N, "rng": 4}
        rows = np.array(list(NoiseStream(noise_filter, 5000, dtype=np.float32, **options)))
        z = np.array(list(NoiseStream(Independent(), 5000, **options)))
        error = matrix @ rows.astype(float) - z
        assert np.all(np.abs(error) <= U * np.diag(matrix)[:, None] * np.abs(rows) + 1e-13)
        assert np.abs(error).max() > 0.1 * U


def test_single_precision_of_buffers_is_within_the_documented_bound():
    decay, weights, steps = np.array([0.999, 0.9]), np.array([0.02, 0.2]), 400
    options = {"steps": steps, "rng": 4}
    noise_filter = BufferFilter(decay, weights)
    rows = np.array(list(NoiseStream(noise_filter, 500, dtype=np.float32, **options)))
    z = np.array(list(NoiseStream(Independent(), 500, **options)))
    exact, found, bound = np.zeros((2, 500)), np.zeros((2, 500)), np.zeros((2, 500))
    worst = 0.0
    for y, fresh in zip(rows.astype(float), z, strict=True):
        error = np.abs(y + weights @ exact - fresh)
        limit = U * np.abs(y) + weights @ bound + 1e-13
        assert np.all(error <= limit)
        worst = max(worst, error.max())
        exact = decay[:, None] * exact + y
        found = (decay[:, None] * found + y).astype(np.float32).astype(float)
        bound = decay[:, None] * bound + U * np.abs(found) + 1e-13
    assert worst > U


def test_single_precision_of_kept_normals_rounds_them_once():
    stream = NoiseStream(FILTERS["inverse_banded"], 5000, steps=N, rng=4, dtype=np.float32)
    rows = np.array(list(stream)).astype(float)
    z = np.array(list(NoiseStream(Independent(), 5000, steps=N, rng=4, dtype=np.float32)))
    expected = lower(TOEPLITZ) @ z.astype(float)
    assert np.all(np.abs(rows - expected) <= U * np.abs(expected) + 1e-13)


# --- what is refused -----------------------------------------------------------------------------


def unsound():
    return [
        (lambda: BandedFilter([]), "axes and no empty one"),
        (lambda: BandedFilter([[[1.0]]]), "1 or 2 axes"),
        (lambda: BandedFilter([0.0, 1.0]), "diagonal > 0"),
        (lambda: BandedFilter([-1.0]), "diagonal > 0"),
        (lambda: BandedFilter([[1.0, 0.0], [0.0, 1.0]]), "diagonal > 0"),
        (lambda: BandedFilter([1.0, np.nan]), "finite"),
        (lambda: BandedFilter([1.0, np.inf]), "finite"),
        (lambda: BandedFilter([True]), "real numbers"),
        (lambda: BandedFilter(["1"]), "real numbers"),
        (lambda: BandedFilter([1j]), "real numbers"),
        (lambda: BandedFilter([[1.0], [1.0, 2.0]]), "real numbers"),
        (lambda: BandedFilter(None), "real numbers"),
        (lambda: InverseBandedFilter([np.inf]), "finite"),
        (lambda: InverseBandedFilter([1.0], 1), "regenerate must be True or False"),
        (lambda: BufferFilter([0.5], [1.0, 2.0]), "one number for each buffer"),
        (lambda: BufferFilter([1.5], [1.0]), "decay must be within"),
        (lambda: BufferFilter([-0.5], [1.0]), "decay must be within"),
        (lambda: BufferFilter([np.nan], [1.0]), "finite"),
        (lambda: BufferFilter(0.5, 1.0), "1 axes"),
        (lambda: DenseFilter([1.0]), "2 axes"),
        (lambda: DenseFilter([[np.nan]]), "finite"),
        (lambda: NoiseStream(Independent(), 0, steps=1), "dimension"),
        (lambda: NoiseStream(Independent(), 1.5, steps=1), "dimension"),
        (lambda: NoiseStream(Independent(), True, steps=1), "dimension"),
        (lambda: NoiseStream(Independent(), 5), "steps must be given"),
        (lambda: NoiseStream(Independent(), 5, steps=0), "steps"),
        (lambda: NoiseStream(BandedFilter(BANDS), 5, steps=N + 1), f"at most {N}"),
        (lambda: NoiseStream(Independent(), 5, steps=1, block=0), "block"),
        (lambda: NoiseStream(Independent(), 5, steps=1, dtype=np.float16), "dtype must be"),
        (lambda: NoiseStream(Independent(), 5, steps=1, dtype=">f8"), "dtype must be"),
        (lambda: NoiseStream(Independent(), 5, steps=1, dtype=None), "dtype must be"),
        (lambda: NoiseStream(Independent(), 5, steps=1, dtype="normal"), "dtype must be"),
        (lambda: NoiseStream(Independent(), 5, steps=1, executor=map), "executor must have"),
        (lambda: NoiseStream(np.eye(3), 5, steps=1), "noise_filter must be a filter"),
        (lambda: NoiseStream(Independent, 5, steps=1), "noise_filter must be a filter"),
    ]


@pytest.mark.parametrize(("make", "match"), unsound())
def test_unsound_input_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_filters_do_not_change():
    coefficients = np.array([1.0, 0.5])
    noise_filter = BandedFilter(coefficients)
    coefficients[0] = 7.0
    assert noise_filter.coefficients[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        noise_filter.coefficients[0] = 2.0
    for case in FILTERS.values():
        assert pickle.loads(pickle.dumps(case)) == case
    copied = pickle.loads(pickle.dumps(noise_filter))
    assert not copied.coefficients.flags.writeable
    with pytest.raises(AttributeError):
        noise_filter.coefficients = coefficients
