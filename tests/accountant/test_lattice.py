"""The lattice against closed forms, arbitrary-precision quadrature and the contour."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from scipy import fft

from accountant.engine.composition import Composition
from accountant.engine.contour import Line, saddle_at
from accountant.engine.convolution import FFT_ULPS, power, powers
from accountant.engine.lattice import Lattice, LatticeError
from accountant.engine.lattice_search import lattice_delta, lattice_epsilon
from accountant.losses.cells import laplace_cells, mixture_cells, normal_masses, quadrature
from accountant.losses.gaussian import GaussianMixture, poisson_gaussian
from accountant.losses.kernels import ULP
from accountant.losses.laplace import laplace_delta

mpmath.mp.dps = 30


def poisson(q, sigma, steps, add=False):
    return Composition(0.0, ((poisson_gaussian(sigma, q), steps),), (), add)


def normal_tail(x):
    return mpmath.erfc(x / mpmath.sqrt(2)) / 2


class Exact:
    """Poisson Gaussian in 30 digits: loss at x, hockey-stick of one release."""

    def __init__(self, q, sigma, add):
        self.q, self.sigma, self.add = mpmath.mpf(q), mpmath.mpf(sigma), add

    def loss(self, x):
        y = (2 * x - 1) / (2 * self.sigma**2)
        value = mpmath.log1p(self.q * mpmath.expm1(y))
        return -value if self.add else value

    def inverse(self, loss):
        loss = -loss if self.add else loss
        y = mpmath.log1p(mpmath.expm1(loss) / self.q)
        return y * self.sigma**2 + mpmath.mpf(1) / 2

    def density(self, x):
        plain = mpmath.npdf(x, 0, self.sigma)
        return (
            plain
            if self.add
            else plain * (1 + self.q * mpmath.expm1((2 * x - 1) / (2 * self.sigma**2)))
        )

    def masses(self, a, b):
        """P and Q of the cell between x = a and x = b."""

        def plain(shift):
            return normal_tail((a - shift) / self.sigma) - normal_tail((b - shift) / self.sigma)

        mixed = (1 - self.q) * plain(0) + self.q * plain(1)
        return (plain(0), mixed) if self.add else (mixed, plain(0))

    def delta(self, epsilon):
        edge = mpmath.log1p(-self.q)
        if self.add and epsilon >= -edge:
            return mpmath.mpf(0)
        if not self.add and epsilon <= edge:
            return -mpmath.expm1(epsilon)
        x = self.inverse(epsilon)
        p, q = self.masses(-mpmath.inf, x) if self.add else self.masses(x, mpmath.inf)
        return p - mpmath.exp(epsilon) * q

    def delta_of_two(self, epsilon):
        kinks = []
        for t in (epsilon, epsilon + mpmath.log1p(-self.q), -mpmath.log1p(-self.q)):
            inside = mpmath.expm1(-t if self.add else t) / self.q > -1
            if inside:
                kinks.append(self.inverse(t))
        reach = 14 * self.sigma
        points = sorted([-reach, reach + 1, *[k for k in kinks if -reach < k < reach + 1]])
        grid = [a + (b - a) * i / 6 for a, b in itertools.pairwise(points) for i in range(6)]
        return mpmath.quad(
            lambda x: self.density(x) * self.delta(epsilon - self.loss(x)), [*grid, points[-1]]
        )


def contains(bounds, truth, width):
    lower, upper = bounds
    assert lower <= truth <= upper
    assert upper - lower <= width * upper


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("q", "share"), [(1e-9, 0.6), (1e-4, 0.6), (1e-2, 0.3), (0.3, 0.5)])
def test_one_release_agrees_with_its_closed_form(q, share, add):
    epsilon = share * -math.log1p(-q) if add else 20.0 * share * q
    composition = poisson(q, 1.0, 1, add)
    lower, upper = composition.closed_form(epsilon)
    found = lattice_delta(composition, epsilon, target_delta=upper)
    assert found[0] <= upper
    assert found[1] >= lower
    assert found[1] - found[0] <= 3e-6 * upper


@pytest.mark.parametrize(
    ("q", "sigma", "epsilon", "add"),
    [
        (1e-9, 1.0, 4e-9, False),
        (1e-9, 0.5, 8e-5, False),
        (1e-9, 1.0, 1e-9, True),
        (1e-4, 1.0, 2.8e-3, False),
        (1e-2, 1.0, 0.65, False),
        (1e-2, 1.0, 0.01, True),
        (0.2, 0.8, 3.0, False),
    ],
)
def test_two_releases_agree_with_quadrature(q, sigma, epsilon, add):
    truth = Exact(q, sigma, add).delta_of_two(mpmath.mpf(epsilon))
    contains(lattice_delta(poisson(q, sigma, 2, add), epsilon), truth, 3e-6)


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "epsilon", "add"),
    [
        (1e-2, 1.0, 30, 1.0, False),
        (1e-2, 1.0, 1000, 1.8, False),
        (1e-4, 1.0, 100, 2e-3, True),
        (0.5, 2.0, 10, 2.0, False),
        (0.5, 2.0, 10, 2.0, True),
    ],
)
def test_many_releases_agree_with_the_contour(q, sigma, steps, epsilon, add):
    composition = poisson(q, sigma, steps, add)
    theta, log_delta = saddle_at(composition, epsilon)
    line = Line(composition, theta, epsilon, log_delta).certify(epsilon)
    found = lattice_delta(composition, epsilon, target_delta=line.upper)
    assert found[0] <= line.upper
    assert found[1] >= line.lower
    assert found[1] - found[0] <= 5e-6 * line.upper


@pytest.mark.parametrize("scale", [0.7, 3.0])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.4])
def test_two_laplace_releases_agree_with_quadrature(scale, share):
    top = 1 / mpmath.mpf(scale)
    epsilon = share / scale

    def one(e):
        if e >= top:
            return mpmath.mpf(0)
        return -mpmath.expm1(e) if e <= -top else -mpmath.expm1((e - top) / 2)

    kinks = sorted({-top, top, *(k for k in (epsilon - top, epsilon + top) if -top < k < top)})
    inner = mpmath.quad(lambda t: mpmath.exp((t - top) / 2) / 4 * one(epsilon - t), kinks)
    truth = inner + one(epsilon - top) / 2 + mpmath.exp(-top) / 2 * one(epsilon + top)
    composition = Composition(0.0, (), ((scale, 2),), False)
    contains(lattice_delta(composition, epsilon), truth, 2e-5)
    single = Composition(0.0, (), ((scale, 1),), True)
    low, high = laplace_delta(scale, 0.5 * epsilon)
    found = lattice_delta(single, 0.5 * epsilon)
    assert found[0] <= high
    assert found[1] >= low


def test_parts_of_every_kind_together():
    mixture = GaussianMixture(1.5, (0.0, 1.0, 2.0), (0.9, 0.08, 0.02))
    composition = Composition(0.05, ((mixture, 3), (poisson_gaussian(1.0, 1e-3), 20)), (), False)
    theta, log_delta = saddle_at(composition, 0.8)
    line = Line(composition, theta, 0.8, log_delta).certify(0.8)
    found = lattice_delta(composition, 0.8)
    assert found[0] <= line.upper
    assert found[1] >= line.lower
    assert found[1] - found[0] <= 5e-6 * line.upper


def test_gaussian_with_laplace_agrees_with_quadrature():
    top, epsilon, mu = mpmath.mpf(1) / 2, mpmath.mpf("0.9"), mpmath.sqrt(mpmath.mpf("0.1"))

    def gaussian(e):
        return normal_tail(e / mu - mu / 2) - mpmath.exp(e) * normal_tail(e / mu + mu / 2)

    truth = mpmath.quad(
        lambda t: mpmath.exp((t - top) / 2) / 4 * gaussian(epsilon - t), [-top, 0, top]
    )
    truth += gaussian(epsilon - top) / 2 + mpmath.exp(-top) / 2 * gaussian(epsilon + top)
    composition = Composition(float(mu) ** 2, (), ((2.0, 1),), False)
    contains(lattice_delta(composition, float(epsilon)), truth, 5e-6)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("q", "sigma", "step"), [(1e-9, 1.0, 3e-12), (1e-2, 0.7, 2e-5)])
def test_every_cell_holds_its_mass_and_gap(q, sigma, step, add):
    step = math.ldexp(round(math.ldexp(step, 50)), -50)
    first, last = -40, 400
    mixture = poisson_gaussian(sigma, q)
    cells = mixture_cells(mixture, add, step, first, last)
    exact = Exact(q, sigma, add)
    checked = 0
    for i in range(0, last - first, 37):
        low, high = step * (first + i), step * (first + i + 1)
        if any(mpmath.expm1(-e if add else e) / mpmath.mpf(q) <= -1 for e in (low, high)):
            continue
        a, b = sorted((exact.inverse(mpmath.mpf(low)), exact.inverse(mpmath.mpf(high))))
        p, dominated = exact.masses(a, b)
        gap = p - mpmath.exp(mpmath.mpf(low)) * dominated
        # the edges themselves are off by edge_error in loss, which moves mass by the density
        shift = 2 * cells.edge_error / step * max(p, abs(cells.masses[i]))
        assert abs(p - cells.masses[i]) <= cells.mass_errors[i] + 2 * shift
        assert abs(gap - cells.gaps[i]) <= cells.gap_errors[i] + 2 * shift * step
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("q", [1e-9, 1e-2, 0.5])
@pytest.mark.parametrize("width", [1e-6, 1e-3, 3e-2])
def test_quadrature_and_tails_keep_their_error_bounds(q, width, add):
    sigma = 0.8
    mixture = poisson_gaussian(sigma, q)
    tight = 0
    for start in (-6.0, -2.0, 0.0, 1.3, 4.0, 9.0):
        xi = start + width * np.arange(2)
        xi = xi[::-1] if add else xi
        # the lattice point just below the losses of the cell
        low = mpmath.log1p(q * mpmath.expm1(xi[0] / sigma - mpmath.mpf(1) / 2 / sigma**2))
        g = float(-low if add else low)
        lift = np.expm1(np.array([g]))
        a, b = sorted(mpmath.mpf(float(e)) for e in xi)
        shift = mpmath.mpf(1 / sigma)
        plain = normal_tail(a) - normal_tail(b)
        mixed = plain + q * (normal_tail(a - shift) - normal_tail(b - shift) - plain)
        p, other = (plain, mixed) if add else (mixed, plain)
        gap = p - (1 + mpmath.mpf(float(lift[0]))) * other
        (mass, difference), (mass_error, gap_error) = quadrature(mixture, add, xi, lift)
        assert abs(mass[0] - p) <= mass_error[0]
        assert abs(difference[0] - gap) <= gap_error[0]
        tight += bool(mass_error[0] <= 1e-11 * p)
        found, error = normal_masses(xi)
        assert abs(found[0] - plain) <= error[0]
        found, error = normal_masses(xi - 1 / sigma, 1 / sigma)
        assert abs(found[0] - (normal_tail(a - shift) - normal_tail(b - shift))) <= error[0]
    assert tight >= 4 or width > 1e-3


def test_laplace_cells_add_up():
    cells = laplace_cells(0.5, 2.0**-8, -520, 520)
    assert float(cells.masses.sum()) == pytest.approx(1.0, abs=1e-13)
    g = 2.0**-8 * np.arange(-520, 520)
    # sum of Q = sum of exp(-g) (P - gap) = 1
    assert float((np.exp(-g) * (cells.masses - cells.gaps)).sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("guess", "log_delta"), [(2e-3, -5.0), (8e-3, -40.0), (7e-3, -16.0)])
def test_poor_scales_widen_the_bracket_but_keep_the_truth(guess, log_delta):
    composition = poisson(1e-4, 1.0, 100)
    lattice = Lattice(composition, guess, log_delta, 1 << 14)
    for epsilon in (0.0, 4e-3, 8e-3, 9e-3, 0.05, 3.0):
        proved = lattice.certify(epsilon)
        better = lattice_delta(composition, epsilon)
        assert proved.lower <= better[1]
        assert proved.upper >= better[0]


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("q", [1e-9, 1e-4, 1e-2])
@pytest.mark.parametrize("steps", [2, 5, 30, 100])
def test_epsilon_is_narrow_and_brackets_its_delta(q, steps, add):
    composition = poisson(q, 1.0, steps, add)
    delta = 0.1 * q if q < 1e-8 else 1e-7
    guess = min(20.0 * q, 0.5 * composition.largest_loss)
    lower, upper = lattice_epsilon(composition, delta, guess)
    assert 0.0 < lower <= upper
    assert upper - lower <= 1e-6 * upper
    assert lattice_delta(composition, 0.999 * lower, target_delta=delta)[1] >= delta
    assert lattice_delta(composition, 1.001 * upper, target_delta=delta)[0] <= delta


def test_one_lattice_answers_many_epsilons_consistently():
    composition = poisson(1e-4, 1.0, 100)
    lattice = Lattice(composition, 8e-3, math.log(1.4e-7), 1 << 15)
    proved = [lattice.certify(e) for e in np.linspace(6.5e-3, 8.3e-3, 60)]
    for a, b in itertools.pairwise(proved):
        assert a.upper >= b.lower
        assert 0.0 < b.lower <= b.estimate <= b.upper
        assert b.estimate < a.estimate


def test_what_it_cannot_resolve_is_refused():
    with pytest.raises(LatticeError, match="releases"):
        Lattice(poisson(1e-3, 1.0, 10**6), 1.0, -12.0)
    with pytest.raises(LatticeError, match="range"):
        Lattice(poisson(1e-3, 1.0, 2), 1e4, -12.0)
    assert lattice_delta(poisson(1e-3, 1.0, 10**6), 1.0) == (0.0, 1.0)
    assert lattice_epsilon(poisson(1e-3, 1.0, 10**6), 1e-6, 1.0) == (0.0, math.inf)


@pytest.mark.parametrize("size", [1 << 13, 1 << 16, 1 << 19])
def test_an_fft_is_as_accurate_as_assumed(size):
    rng = np.random.default_rng(size)
    spiky = np.zeros(size)
    spiky[7] = 1.0
    for x in (rng.random(size), rng.standard_normal(size) * np.exp(-1e-3 * np.arange(size)), spiky):
        fine = fft.rfft(x.astype(np.longdouble))
        found = fft.rfft(x)
        assumed = FFT_ULPS * math.log2(size) * ULP
        assert np.linalg.norm(found - fine) <= assumed * np.linalg.norm(fine)
        back = fft.irfft(found, size)
        exact = fft.irfft(found.astype(np.clongdouble), size)
        assert np.linalg.norm(back - exact) <= assumed * np.linalg.norm(exact)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 9999])
def test_powers_without_cancellation(n):
    rng = np.random.default_rng(n)
    x = np.exp(2j * np.pi * rng.random(200)) * (1.0 - 1e-5 * rng.random(200))
    v = 1e-9 * rng.random(200) * np.exp(2j * np.pi * rng.random(200))
    a, d = powers(x, v, n)
    assert np.array_equal(power(x, n), a)
    for i in range(0, 200, 23):
        xi, vi = mpmath.mpc(complex(x[i])), mpmath.mpc(complex(v[i]))
        assert abs(xi**n - complex(a[i])) <= 4.0 * ULP * n
        change = (xi + vi) ** n - xi**n
        assert abs(change - complex(d[i])) <= 8.0 * ULP * n * n * abs(vi)
