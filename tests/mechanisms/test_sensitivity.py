"""Sensitivities against all patterns of participation, one by one."""

import itertools
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.participation import (
    BallsInBins,
    CyclicPoisson,
    FixedEpochOrder,
    MinSeparation,
    SingleParticipation,
)
from mechanisms.sensitivity import (
    UnsupportedParticipationError,
    of_columns,
    of_gram,
    of_matrix,
    of_toeplitz,
    separated_maximum,
)

PARTICIPATIONS = [
    SingleParticipation(),
    MinSeparation(1, 2),
    MinSeparation(2, 2),
    MinSeparation(1),
    MinSeparation(2),
    MinSeparation(3),
    MinSeparation(2, 3),
    MinSeparation(4),
    MinSeparation(20),
    FixedEpochOrder(2),
    FixedEpochOrder(3),
    FixedEpochOrder(3, 2),
    BallsInBins(4, 2),
    BallsInBins(2, 5),
]


def patterns(participation, steps):
    """All sets of steps that one example may take part in, from their definition alone."""
    if isinstance(participation, FixedEpochOrder | BallsInBins):
        length = (
            participation.epoch_length
            if isinstance(participation, FixedEpochOrder)
            else participation.bins
        )
        most = participation.count(steps)
        for start in range(min(length, steps)):
            steps_of = range(start, steps, length)
            yield from itertools.combinations(steps_of, min(most, len(steps_of)))
        return
    apart = 10**9 if isinstance(participation, SingleParticipation) else None
    apart = apart or participation.min_separation
    most = 1 if isinstance(participation, SingleParticipation) else participation.max_participations
    for chosen in itertools.product([False, True], repeat=steps):
        found = [i for i, taken in enumerate(chosen) if taken]
        if most is not None and len(found) > most:
            continue
        if all(b - a >= apart for a, b in itertools.pairwise(found)):
            yield tuple(found)


def reached(gram, pattern, rng):
    """The most that vectors of norm 1 reach for a pattern: coordinate ascent from many starts."""
    part = gram[np.ix_(pattern, pattern)]
    if len(pattern) == 0:
        return 0.0
    best = part.sum()
    for _ in range(4):
        vectors = rng.normal(size=(len(pattern), len(pattern)))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for _ in range(30):
            for i in range(len(pattern)):
                pull = part[i] @ vectors - part[i, i] * vectors[i]
                length = np.linalg.norm(pull)
                if length > 1e-12:
                    vectors[i] = pull / length
        best = max(best, float(np.sum(part * (vectors @ vectors.T))))
    return best


def truth(matrix, participation):
    rng = np.random.default_rng(1)
    gram = matrix.T @ matrix
    return math.sqrt(max(reached(gram, p, rng) for p in patterns(participation, matrix.shape[1])))


def toeplitz(coefficients, steps):
    c = np.zeros(steps)
    c[: len(coefficients)] = coefficients[:steps]
    return np.array([[c[i - j] if i >= j else 0.0 for j in range(steps)] for i in range(steps)])


@pytest.mark.parametrize("participation", PARTICIPATIONS, ids=repr)
@pytest.mark.parametrize("kind", ["nonnegative", "signed", "banded", "signed banded", "tall"])
def test_no_pattern_exceeds_the_claim_for_any_matrix(participation, kind):
    rng = np.random.default_rng([zlib.crc32(repr(participation).encode()), len(kind)])
    for steps in (1, 2, 6):
        rows = steps + 3 if kind == "tall" else steps
        matrix = rng.exponential(size=(rows, steps))
        if "signed" in kind:
            matrix = rng.normal(size=(rows, steps))
        if kind != "tall":
            matrix = np.tril(matrix) - np.tril(matrix, -2 if "banded" in kind else -steps)
        claimed = of_matrix(matrix, participation)
        true = truth(matrix, participation)
        assert true <= claimed.value * (1 + 1e-15)
        if claimed.exact:
            assert claimed.value <= true * (1 + 1e-9)


@pytest.mark.parametrize("participation", PARTICIPATIONS, ids=repr)
def test_no_pattern_exceeds_the_claim_for_any_toeplitz_matrix(participation):
    rng = np.random.default_rng(7)
    for bands, steps in itertools.product((1, 2, 3, 8), (1, 4, 7)):
        for coefficients in (
            rng.normal(size=bands),
            rng.exponential(size=bands),
            np.sort(rng.exponential(size=bands))[::-1],
        ):
            claimed = of_toeplitz(coefficients, steps, participation)
            true = truth(toeplitz(coefficients, steps), participation)
            assert true <= claimed.value * (1 + 1e-15)
            if claimed.exact:
                assert claimed.value <= true * (1 + 1e-9)


def test_decreasing_coefficients_are_exact_and_rising_ones_are_not():
    apart = MinSeparation(2, 3)
    assert of_toeplitz(np.array([1.0, 0.5, 0.25, 0.1]), 8, apart).exact
    # The formula for decreasing ones, used here, would claim less than the truth.
    matrix = toeplitz([1.0, 0.0, 0.0, 1.0], 8)
    early = np.linalg.norm(matrix[:, [0, 2]].sum(axis=1))
    claimed = of_toeplitz(matrix[:, 0], 8, MinSeparation(2, 2))
    assert early == pytest.approx(2.0)
    assert claimed.value >= truth(matrix, MinSeparation(2, 2)) == pytest.approx(6**0.5)


def test_signed_entries_need_vectors():
    # Neither the sum of the columns nor any choice of signs is the worst: vectors at 120 degrees.
    matrix = np.array([[1.0, 0.0, 0.0], [-1.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    everywhere = MinSeparation(1)
    signs = max(
        np.linalg.norm(matrix @ np.array(s)) for s in itertools.product([-1.0, 1.0], repeat=3)
    )
    assert signs == pytest.approx(11**0.5)
    assert truth(matrix, everywhere) == pytest.approx(12**0.5)
    assert of_matrix(matrix, everywhere).value == pytest.approx(15**0.5)


def test_cross_terms_of_a_pattern_count():
    """A peer adds up squared column norms alone: 3.00 for a sensitivity of 4.18."""
    coefficients = 1.0 / np.sqrt(np.arange(1.0, 65.0))
    apart = MinSeparation(8, 4)
    matrix = toeplitz(coefficients, 64)
    without_cross_terms = np.sqrt(np.sum(matrix[:, [0, 8, 16, 24]] ** 2))
    true = np.linalg.norm(matrix[:, [0, 8, 16, 24]].sum(axis=1))
    claimed = of_toeplitz(coefficients, 64, apart)
    assert claimed.exact
    assert claimed.value == pytest.approx(true, rel=1e-12)
    assert without_cross_terms < 0.8 * claimed.value


def test_the_norm_is_not_its_square():
    """A peer takes the squared sensitivity for the sensitivity: 9.17 where 8 was asked."""
    assert of_toeplitz(np.array([2.0]), 9, MinSeparation(3)).value == pytest.approx(12**0.5 * 1.0)
    assert of_toeplitz(np.array([2.0]), 9, SingleParticipation()).value == pytest.approx(2.0)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=9),
    st.integers(1, 10),
    st.integers(1, 10),
)
@settings(max_examples=200, deadline=None)
def test_the_largest_separated_sum_is_that_of_all_patterns(values, separation, count):
    x = np.array(values)
    claimed = separated_maximum(x, separation, count)
    true = max(math.fsum(x[list(p)]) for p in patterns(MinSeparation(separation, count), len(x)))
    assert true <= claimed <= true * (1 + 1e-14)


def test_long_runs_agree_with_matrices_and_are_rounded_up():
    rng = np.random.default_rng(3)
    coefficients = np.sort(rng.exponential(size=300))[::-1]
    for participation in (MinSeparation(50, 4), MinSeparation(50), FixedEpochOrder(70)):
        matrix = toeplitz(coefficients, 600)
        separation, count = participation.separation(600), participation.count(600)
        columns = matrix[:, : separation * count : separation]
        direct = math.sqrt(math.fsum(math.fsum(row) ** 2 for row in columns))
        claimed = of_toeplitz(coefficients, 600, participation)
        assert claimed.exact
        assert direct <= claimed.value <= direct * (1 + 1e-11)


def test_cyclic_sampling_needs_no_more_bands_than_groups():
    coefficients = np.array([1.0, 0.5, 0.25])
    cyclic = CyclicPoisson(3, 0.1)
    assert of_toeplitz(coefficients, 9, cyclic).value == pytest.approx(math.sqrt(1.3125))
    matrix = toeplitz(coefficients, 9)
    assert of_gram(matrix.T @ matrix, cyclic, bands=3).value == pytest.approx(math.sqrt(1.3125))
    for refused in (
        lambda: of_toeplitz(coefficients, 9, CyclicPoisson(2, 0.1)),
        lambda: of_gram(matrix.T @ matrix, CyclicPoisson(2, 0.1), bands=3),
        lambda: of_gram(matrix.T @ matrix, cyclic),
    ):
        with pytest.raises(UnsupportedParticipationError, match="take more groups"):
            refused()


def test_orthogonal_columns_add_their_squares():
    norms = np.array([1.0, 4.0, 9.0, 16.0, 25.0])
    assert of_columns(norms, MinSeparation(2, 2)).value == pytest.approx(34**0.5)
    assert of_columns(norms, FixedEpochOrder(2)).value == pytest.approx(35**0.5)
    assert of_columns(norms, SingleParticipation()).value == pytest.approx(5.0)
    assert of_columns(norms, CyclicPoisson(2, 0.5)).value == pytest.approx(5.0)
