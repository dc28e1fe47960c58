"""The weights of a group are rounded so that rounding costs privacy, never epsilon."""

from fractions import Fraction
from math import comb

import hypothesis.strategies as st
from hypothesis import given

from accountant.parameters import binomial_weights


@given(st.integers(1, 30), st.floats(1e-12, 1))
def test_binomial_weights_are_stochastically_large_enough(k, q):
    weights = [Fraction(w) for w in binomial_weights(k, q)]
    exact_q = Fraction(q)
    exact = [comb(k, i) * exact_q**i * (1 - exact_q) ** (k - i) for i in range(k + 1)]
    assert len(weights) == k + 1
    for least in range(1, k + 1):
        assert sum(weights[least:]) >= sum(exact[least:])
    assert all(weight >= 0 for weight in weights)
    assert abs(sum(weights) - 1) < Fraction(1, 10**13)
    # Rounded, and not more than that; what is below the smallest double becomes that double.
    for weight, truth in zip(weights[1:], exact[1:], strict=True):
        assert weight - truth <= max(truth / 2**51, Fraction(5e-324))


def test_binomial_weights_by_hand():
    assert binomial_weights(2, 0.5) == (0.25, 0.5, 0.25)
    assert binomial_weights(3, 1.0) == (0.0, 0.0, 0.0, 1.0)
