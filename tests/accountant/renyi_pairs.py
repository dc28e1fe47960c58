"""Discrete distributions, whose Renyi divergences are sums: what curves are held against."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from accountant.losses.renyi import RenyiCurve

real_orders = st.one_of(st.floats(1.001, 3.0), st.floats(3.0, 40.0), st.integers(2, 40).map(float))


def divergence(p, q, orders):
    """Renyi divergence of real orders above 1; q has no zeros."""
    shifts = np.asarray(orders, dtype=float) - 1.0
    exponents = np.multiply.outer(shifts, np.log(p / q))
    top = np.maximum(0.0, np.max(exponents, axis=-1))
    large = top + np.log(np.sum(p * np.exp(exponents - top[..., None]), axis=-1))
    # log(1 + sum p (e^x - 1)) keeps what is small
    small = np.log1p(np.sum(p * np.expm1(np.minimum(exponents, 30.0)), axis=-1))
    return np.maximum(0.0, np.where(top > 20.0, large, small)) / shifts


@dataclass(frozen=True)
class Pair(RenyiCurve):
    """The curve of a few distributions: the largest divergence between any two of them."""

    laws: tuple[tuple[float, ...], ...]

    @property
    def _both(self):
        laws = [np.array(law) for law in self.laws]
        return [(p, q) for p in laws for q in laws if p is not q]

    def divergences(self, orders):
        return np.max([divergence(p, q, orders) for p, q in self._both], axis=0)

    def delta(self, epsilon):
        factor = np.exp(np.asarray(epsilon, dtype=float))[..., None]
        return np.max(
            [np.sum(np.maximum(0.0, p - factor * q), axis=-1) for p, q in self._both], axis=0
        )


@st.composite
def pairs(draw, laws=2):
    """That many distributions on 2 to 5 points, near each other or far apart."""
    size = draw(st.integers(2, 5))
    spread = draw(st.sampled_from([0.01, 0.3, 1.0, 3.0]))
    base = np.array(draw(st.lists(st.floats(-2.0, 2.0), min_size=size, max_size=size)))
    found = []
    for _ in range(laws):
        shift = np.array(draw(st.lists(st.floats(-1.0, 1.0), min_size=size, max_size=size)))
        weights = np.exp(base + spread * shift)
        found.append(weights / weights.sum())
    return tuple(found)
