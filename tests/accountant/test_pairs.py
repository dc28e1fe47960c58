"""Cells, deltas and moments of dominating pairs against 60 digits and brute force."""

import itertools
import math

import mpmath
import numpy as np
import pytest

from accountant.engine.composition import Composition
from accountant.engine.lattice_search import delta_by_lattice
from accountant.losses.atoms import Atoms, atoms_of
from accountant.losses.bounded_range import BoundedRangePair
from accountant.losses.compound import SymmetricPair, UnionPair
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.location import LocationPair
from accountant.losses.pair import MixturePair

mp = mpmath.mp.clone()
mp.dps = 60
ONE = mp.mpf(1)


class Exact:
    """Tails of a loss under P and Q in 60 digits: ``tails(l)`` = P[L > l], Q[L > l]."""

    def tails(self, loss):
        raise NotImplementedError

    def delta(self, epsilon):
        p, q = self.tails(mp.mpf(epsilon))
        return p - mp.exp(epsilon) * q


class ExactLocation(Exact):
    def __init__(self, pair):
        self.scale, self.gaussian = mp.mpf(pair.scale), pair.noise == "gaussian"
        self.shifts = [mp.mpf(c) for c in pair.shifts]
        self.p, self.q = (self.weights(w, pair.shifts.index(0.0)) for w in (pair.p, pair.q))

    @staticmethod
    def weights(given, zero):
        w = [mp.mpf(x) for x in given]
        w[zero] = 1 - (mp.fsum(w) - w[zero])
        return w

    def exponent(self, x, c):
        if self.gaussian:
            return c * (2 * x - c) / (2 * self.scale**2)
        return (abs(x) - abs(x - c)) / self.scale

    def loss(self, x):
        rows = [mp.exp(self.exponent(x, c)) for c in self.shifts]
        return mp.log(mp.fdot(self.p, rows) / mp.fdot(self.q, rows))

    def tail(self, x):
        if self.gaussian:
            return mp.erfc(x / self.scale / mp.sqrt(2)) / 2
        return mp.exp(-x / self.scale) / 2 if x > 0 else 1 - mp.exp(x / self.scale) / 2

    def inverse(self, loss):
        reach = 60 * self.scale if self.gaussian else 0
        low, high = self.shifts[0] - reach, self.shifts[-1] + reach
        if self.loss(high) <= loss:
            return mp.inf
        if self.loss(low) > loss:
            return -mp.inf
        for _ in range(130):
            middle = (low + high) / 2
            low, high = (middle, high) if self.loss(middle) <= loss else (low, middle)
        return low

    def tails(self, loss):
        x = self.inverse(loss)
        if mp.isinf(x):
            return (0 * ONE, 0 * ONE) if x > 0 else (ONE, ONE)
        rows = [self.tail(x - c) for c in self.shifts]
        return mp.fdot(self.p, rows), mp.fdot(self.q, rows)


class ExactSampled(Exact):
    """(1-q) Q + q P against Q, for P, Q with the given tails; or the other way round."""

    def __init__(self, inner, q, add=False):
        self.inner, self.q, self.add = inner, mp.mpf(q), add

    def tails(self, loss):
        ratio = (mp.expm1(-loss if self.add else loss) + self.q) / self.q
        p, q = self.inner(mp.log(ratio)) if ratio > 0 else (ONE, ONE)
        mixed = (1 - self.q) * q + self.q * p
        return (1 - q, 1 - mixed) if self.add else (mixed, q)


def gaussian_tails(shift):
    return lambda loss: tuple(
        mp.erfc((loss / shift + s * shift / 2) / mp.sqrt(2)) / 2 for s in (-1, 1)
    )


def bounded_tails(epsilon):
    e = mp.mpf(epsilon)

    def tails(loss):
        x = min(max(loss, -e), e)
        whole = -mp.expm1(-e)
        return -mp.expm1((x - e) / 2) / whole, (mp.exp(-(x + e) / 2) - mp.exp(-e)) / whole

    return tails


class ExactSymmetric(Exact):
    def __init__(self, inner):
        self.inner = inner

    def tails(self, loss):
        if loss >= 0:
            return self.inner.tails(loss)
        p, q = self.inner.tails(-loss)
        return 1 - q, 1 - p


class ExactUnion(Exact):
    def __init__(self, weights, parts):
        self.weights, self.parts = weights, parts

    def tails(self, loss):
        both = [part.tails(loss) for part in self.parts]
        return tuple(mp.fdot(self.weights, [b[i] for b in both]) for i in (0, 1))


def poisson(sigma, q, shift=1.0, add=False):
    pair = MixturePair(GaussianMixture(sigma, (0.0, shift), (1.0 - q, q)), add)
    return pair, ExactSampled(gaussian_tails(mp.mpf(shift) / mp.mpf(sigma)), q, add)


def located(noise, scale, shifts, p, q):
    pair = LocationPair(noise, scale, shifts, p, q)
    return pair, ExactLocation(pair)


def three_point(noise, scale, q):
    return located(noise, scale, (-1.0, 0.0, 1.0), (0.0, 1 - q, q), (q, 1 - q, 0.0))


def swapped(case):
    return case[0].swapped, ExactLocation(case[0].swapped)


def symmetric(case):
    return SymmetricPair(case[0]), ExactSymmetric(case[1])


def union(weights, *cases):
    return UnionPair(weights, tuple(c[0] for c in cases)), ExactUnion(
        weights, [c[1] for c in cases]
    )


def bounded(epsilon, q=1.0, add=False):
    return BoundedRangePair(epsilon, q, add), ExactSampled(bounded_tails(epsilon), q, add)


CASES = {
    "three points": three_point("gaussian", 1.0, 0.1),
    "hardly sampled": three_point("gaussian", 0.7, 1e-9),
    "hardly left out": three_point("gaussian", 0.2, 0.9),
    "wide": three_point("gaussian", 10.0, 0.3),
    "Laplace": three_point("laplace", 0.6, 0.2),
    "Laplace added": swapped(
        located("laplace", 2.0, (0.0, 1.0, 3.0), (0.5, 0.3, 0.2), (1.0, 0.0, 0.0))
    ),
    "shifts": located("gaussian", 1.5, (0.0, 2.0, 4.0), (0.9, 0.09, 0.01), (1.0, 0.0, 0.0)),
    "hull": symmetric(poisson(1.0, 0.3)),
    "hull of few": symmetric(poisson(0.5, 1e-4, 2.0)),
    "hull of three": symmetric(three_point("gaussian", 2.0, 0.9)),
    "union": union((0.25, 0.75), poisson(1.0, 0.1), symmetric(poisson(1.0, 0.05, 2.0))),
    "union added": union((0.5, 0.5), poisson(1.0, 0.1, add=True), poisson(2.0, 0.5, 2.0, add=True)),
    "hull of union": symmetric(union((0.9, 0.1), poisson(1.0, 0.2, 2.0), poisson(1.0, 0.2, 4.0))),
    "range": bounded(0.7),
    "wide range": bounded(40.0),
    "wide sampled range": bounded(29.0, 0.3),
    "sampled range": bounded(3.0, 1e-6),
    "added range": bounded(10.0, 0.01, add=True),
    "hardly sampled range": bounded(2.0, 1e-9, add=True),
    "hull of range": symmetric(bounded(1.0, 0.4)),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def top_of(pair, exact):
    if math.isfinite(pair.largest_loss):
        return pair.largest_loss
    top = 0.25
    while exact.tails(mp.mpf(top))[0] > 1e-26:
        top *= 2.0
    return top


@cases
def test_one_release(case):
    pair, exact = case
    top = min(top_of(pair, exact), 590.0)
    for share in (0.0, 1e-9, 0.03, 0.4, 0.9, 0.999, 1.0 - 1e-9):
        lower, upper = pair.delta(share * top)
        truth = exact.delta(mp.mpf(share * top))
        if truth > 1e-250:
            assert lower <= truth <= upper
            assert upper - lower <= 1e-9 * truth or share > 0.95 or upper < 1e-14


@cases
@pytest.mark.parametrize(("low", "high"), [(-1.1, 1.1), (0.1, 0.6), (-0.7, -0.2), (-0.05, 0.05)])
def test_cells(case, low, high):
    pair, exact = case
    top = min(top_of(pair, exact), 100.0)
    if pair.swapped.largest_loss < 0.01 * top:
        top = top if low >= 0.0 else 1.5 * pair.swapped.largest_loss
    step = (high - low) * top / 7
    first = math.floor(low * top / step)
    last = first + 7
    c = pair.cells(step, first, last)
    assert c.edge_error < 1e-6 * step
    grid = [mp.mpf(step) * k for k in range(first, last + 1)]
    # the true edges are within the slack: tails there bracket those at the cells' own edges
    outer = [exact.tails(g - c.edge_error) for g in grid]
    inner = [exact.tails(g + c.edge_error) for g in grid]

    def between(value, error, *ends):
        # 60 digits of a tail next to 1 are no more
        room = error + mp.mpf(10) ** -45
        assert min(ends) - room <= mp.mpf(value) <= max(ends) + room

    for i in range(7):
        p = [outer[i][0] - inner[i + 1][0], inner[i][0] - outer[i + 1][0]]
        between(c.masses[i], mp.mpf(c.mass_errors[i]), *p)
        slack = 2 * mp.mpf(c.edge_error) * (1 + mp.exp(grid[i])) * p[0]
        gaps = [
            a[i][0] - b[i + 1][0] - mp.exp(grid[i]) * (a[i][1] - b[i + 1][1])
            for a, b in itertools.product((outer, inner), repeat=2)
        ]
        between(c.gaps[i], mp.mpf(c.gap_errors[i]) + slack, *gaps)
    between(c.cut_q, mp.mpf(c.cut_q_error), outer[-1][1], inner[-1][1])
    beyond = [t[-1][0] - t[-1][1] for t in (outer, inner)]
    between(c.cut_gap, mp.mpf(c.cut_gap_error), *beyond)
    assert c.below >= 1 - outer[0][0] - mp.mpf(10) ** -45
    total = c.below + math.fsum(c.masses) + c.cut_q + c.cut_gap
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("theta", [0.01, 3.0, 100.0])
@pytest.mark.parametrize(
    ("shifts", "p", "q"),
    [
        ((-1.0, 0.0, 1.0), (0.0, 0.9, 0.1), (0.1, 0.9, 0.0)),
        ((-1.0, 0.0, 1.0), (0.0, 1.0 - 1e-9, 1e-9), (1e-9, 1.0 - 1e-9, 0.0)),
    ],
)
def test_moments_are_upper_bounds(shifts, p, q, theta):
    pair, exact = located("gaussian", 0.8, shifts, p, q)
    zero = shifts.index(0.0)

    def integrand(x):
        rows = [mp.exp(exact.exponent(x, c)) for c in exact.shifts]
        upper, lower = mp.fdot(exact.p, rows), mp.fdot(exact.q, rows)
        return upper * (upper / lower) ** theta * mp.exp(-((x / exact.scale) ** 2) / 2)

    with mp.workdps(25):
        far = shifts[-1] * (1 + theta) + 12
        points = [-12, *np.linspace(-3, far, 12)]
        whole = mp.quad(integrand, points, maxdegree=6) / (exact.scale * mp.sqrt(2 * mp.pi))
        truth = float(mp.log(whole))
    assert exact.p[zero] > 0
    bound = pair.log_moment(theta)
    assert truth - 1e-15 <= bound <= truth * (1.0 + 1e-2) + 1e-4


def brute(profile, atoms, copies, epsilon):
    """Delta of one release with the given profile, composed with ``copies`` of atoms."""
    total = 1 - (1 - mp.mpf(atoms.p_only)) ** copies
    listed = [
        (mp.mpf(float(x)), mp.mpf(float(w))) for x, w in zip(atoms.losses, atoms.p, strict=True)
    ]
    for choice in itertools.product(listed, repeat=copies):
        loss, mass = mp.fsum(c[0] for c in choice), mp.fprod(c[1] for c in choice)
        total += mass * max(0, profile.delta(epsilon - loss))
    return total


ATOMS = {
    "tiny losses": Atoms(np.array([-1e-9, 1e-9]), np.array([0.5 - 2.5e-10, 0.5 + 2.5e-10])),
    "in the clear": atoms_of(np.array([0.2, 0.7, 0.1, 0.0]), np.array([0.7, 0.2, 0.0, 0.1])),
    "sampled": atoms_of(np.array([0.9, 0.1, 0.0]), np.array([0.1, 0.85, 0.05])).poisson(0.1),
    "added": atoms_of(np.array([0.9, 0.0, 0.1]), np.array([0.1, 0.1, 0.8])).poisson(0.2).swapped,
}


@pytest.mark.parametrize("atoms", ATOMS.values(), ids=ATOMS.keys())
@pytest.mark.parametrize("name", ["three points", "hull", "union", "added range"])
def test_compositions(name, atoms):
    pair, exact = CASES[name]
    whole = Composition(0.0, (), (), False, ((pair, 1), (atoms, 2)))
    epsilon = 0.4
    with mp.workdps(30):
        truth = brute(exact, atoms, 2, mp.mpf(epsilon))
    found = delta_by_lattice(whole, epsilon, 1 << 14)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower <= 1e-3 * truth + 1e-12


def test_atoms_keep_the_digits_of_small_sampled_losses():
    q, loss = 1e-20, 31.0
    sampled = Atoms(np.array([-loss, loss]), np.array([math.exp(-31.0), 1.0])).poisson(q)
    truth = mp.log1p(mp.mpf(q) * mp.expm1(mp.mpf(loss)))
    assert abs(sampled.losses[1] / truth - 1) < 1e-15
    assert abs(sampled.losses[1] - truth) <= sampled.loss_error


@pytest.mark.parametrize("loss", [300.0, 700.0])
@pytest.mark.parametrize("q", [1e-250, 1e-9, 0.999])
def test_atoms_of_large_losses(loss, q):
    p = 1.0 / (1.0 + math.exp(-loss))
    sampled = Atoms(np.array([-loss, loss]), np.array([math.exp(-loss), p])).poisson(q)
    for place, sign in enumerate((-1, 1)):
        truth = mp.log1p(mp.mpf(q) * mp.expm1(sign * mp.mpf(loss)))
        assert abs(sampled.losses[place] - truth) <= sampled.loss_error
    lower, upper = sampled.delta(0.0)
    assert lower <= mp.mpf(q) * (p - mp.mpf(math.exp(-loss))) <= upper
