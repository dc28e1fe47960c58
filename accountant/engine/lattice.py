"""Two-sided inversion on a lattice: for few steps and rare participation, where a contour is slow.

One release is rounded to a lattice, the releases are convolved by FFT, exponentially tilted so that
round-off is relative to the answer, and delta(epsilon) is read off as a sum of positive terms.  The
upper bound composes a dominating discrete loss; the lower bound is the power of an explicit test.
Losses beyond a cut are counted apart, in closed form.  Every bound used here is stated and proved
in docs/lattice.md; "section n" refers to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from accountant.engine.composition import Composition
from accountant.engine.contour import Certificate, log_expm1
from accountant.engine.convolution import (
    Complexes,
    Norms,
    fold,
    geometric,
    power,
    powers,
    rising_sums,
    suffix,
)
from accountant.engine.lattice_scales import (
    WISH,
    LatticeError,
    choose_scales,
    pairs_of,
    reverse_cumulant,
)
from accountant.losses.cells import Cells, Floats
from accountant.losses.kernels import ULP
from accountant.losses.pair import DominatingPair

__all__ = ["Lattice", "LatticeError"]

# Largest number of lattice points, and of copies of a release.
SIZE = 1 << 19
MOST_COPIES = 100_000
# Largest number of releases times mesh width.
MOST_STRETCH = 2.0
# Cells of one release before they are folded: what memory holds.
MOST_CELLS = 1 << 24
# Above what is lost where untilting underflows (section 5).
UNDERFLOW = 1e-270


class Lattice:
    """Bounds on delta(epsilon), for the epsilons near one scale.

    Parameters
    ----------
    composition
        The loss; no empty one, and at most 1e5 releases.
    epsilon
        Where the lattice will be used: it is narrow from about 0.8 to 1.04 times this.
    log_delta
        Roughly log delta(epsilon); it sets the scales.
    size
        Largest number of lattice points, a power of two.
    wish
        Relative width of epsilon at which the mesh is fine enough.

    Raises
    ------
    LatticeError
        No lattice of this size resolves the loss.
    """

    def __init__(
        self,
        composition: Composition,
        epsilon: float,
        log_delta: float,
        size: int = SIZE,
        wish: float = WISH,
    ) -> None:
        self.composition = composition
        parts = pairs_of(composition)
        copies = sum(n for _, n in parts)
        if not parts or copies > MOST_COPIES:
            raise LatticeError(f"the lattice takes 1 to {MOST_COPIES} releases, got {copies}")
        if not 0.0 <= epsilon <= 300.0 or not -500.0 <= log_delta <= 0.0:
            raise LatticeError("epsilon or delta is out of the lattice's range")
        scales = choose_scales(composition, parts, epsilon, log_delta)
        count = 1 << 13
        while count < size:
            h = scales.width / count
            spread = copies * h * h * (1.0 + scales.slope) / 8.0
            resolved = 2 * copies < count and copies * h <= MOST_STRETCH
            if resolved and spread <= wish * max(epsilon, 0.1 / scales.slope):
                break
            count *= 2
        if 2 * copies >= count:
            raise LatticeError("more releases than lattice points")
        self.size = count
        self.theta = scales.slope
        # Few bits, so that k * step and k * tilt are exact (section 5)
        self.step = _short(scales.width / count)
        self.tilt = _short(scales.theta * self.step)
        self.cut = math.ceil(scales.cut / self.step)
        self._copies = copies
        self._base = math.floor(scales.base / self.step) - copies - 2
        self._middle = round(epsilon / self.step)
        cells = [
            (_cells(part, self.step, start, self.cut), n)
            for (part, n), start in zip(parts, scales.starts, strict=True)
        ]
        self._beyond_cut(cells, scales.reverse_theta)
        self._compose(cells, _short(scales.high_theta * self.step))

    def _beyond_cut(self, cells: list[tuple[Cells, int]], reverse_theta: float) -> None:
        """P - Q and Q of "some loss exceeds the cut" (section 2)."""
        stay_q = rise = gap = gap_error = q = q_error = 0.0
        for c, n in cells:
            if c.cut_q + c.cut_gap >= 1.0:
                raise LatticeError("a release exceeds the scale of epsilon at once")
            stay_q += n * math.log1p(-c.cut_q)
            rise += n * math.log1p(-c.cut_gap / (1.0 - c.cut_q))
            gap += n * c.cut_gap
            gap_error += n * c.cut_gap_error
            q += n * c.cut_q
            q_error += n * c.cut_q_error
        self._jump_gap = -math.exp(stay_q) * math.expm1(rise)
        self._jump_q = -math.expm1(stay_q)
        self._jump_gap_error = 1.01 * (gap_error + gap * q_error) + 64.0 * ULP * self._jump_gap
        self._jump_q_error = 1.01 * q_error + 64.0 * ULP * self._jump_q
        # Q-mass without P-mass never returns; it may be a part of Q(J)
        never = math.fsum(
            n * math.log1p(-min(pair.swapped.escaped, 1.0 - ULP))
            for pair, n in self.composition.pairs
        )
        self._never = -math.expm1(never) * (1.0 + 4.0 * ULP)
        # Q[some loss beyond the cut, sum below epsilon] <= q min(1, exp(K' + s (epsilon - cut)))
        self._log_cut_q = math.log(q + q_error) if q + q_error > 0.0 else -math.inf
        self._return_rate = reverse_theta
        edge = max(c.edge_error for c, _ in cells)
        shift = reverse_theta * (self.cut * self.step - edge)
        bound = reverse_cumulant(self.composition, reverse_theta) - shift
        self._log_return = bound + 1e-12 * (1.0 + shift)

    def _compose(self, cells: list[tuple[Cells, int]], high_tilt: float) -> None:
        """Convolve, untilt and sum (sections 3 to 6)."""
        size, h, tilt = self.size, self.step, self.tilt
        if self._copies * h > MOST_STRETCH:
            raise LatticeError("too many releases for this mesh")
        # how much larger P + v may be than P, over all releases (section 5)
        self._stretch = math.exp(self._copies * h)
        log_scale = high = loss = edge = centre = 0.0
        norms = Norms(size)
        spectra: list[tuple[Complexes, Complexes, Complexes]] = []
        for c, n in cells:
            count = len(c.masses) + 1
            weights = geometric(tilt, c.first, count)
            r = _rounded(c, h, weights)
            unit = float((r.upper * weights).sum()) * (1.0 + 2.0 * count * ULP)
            lift = float((r.upper * geometric(high_tilt, c.first, count)).sum())
            lift *= 1.0 + 2.0 * count * ULP
            if not (0.0 < unit < 1e290 and 0.0 < lift < 1e290):
                raise LatticeError("the tilt overflows")
            log_scale += n * math.log(unit)
            high += n * math.log(lift)
            loss += n * 16.0 * ULP
            edge += n * c.edge_error
            centre += n * r.centre
            weights /= unit
            raised = r.upper * weights
            kept, change = r.kept * weights[:-1], r.change * weights[:-1]
            change_error = float((r.change_errors * weights[:-1]).sum()) * (1.0 + 1e-9)
            mass_error = float((r.mass_errors * weights[:-1]).sum()) * (1.0 + 1e-9)
            norms.add(n, raised, kept, change, change_error, mass_error)
            u, x, v = (fft.rfft(fold(a, c.first, size)) for a in (raised, kept, change))
            spectra.append((power(u, n), *powers(x, v, n)))
        norms.finish(self._stretch)
        upper, plain, third = spectra[0]
        for u, a, d in spectra[1:]:
            upper, plain, third = upper * u, plain * a, third * (a + d) + plain * d
        if not edge <= self._copies * h:
            raise LatticeError("the loss is steeper than the lattice resolves")
        self._offset, self._centre_of_cells = edge, centre
        self._loss = 1.01 * loss + 4.0 * size * ULP
        log_scale -= tilt * self._middle
        if not -600.0 < log_scale < 50.0:
            raise LatticeError("the window is out of the range of doubles")
        self._scale = math.exp(log_scale)
        self._norms = norms
        self._high, self._high_tilt = high, high_tilt
        # untilted, relative to the scale, then summed from the top
        untilt = geometric(-tilt, self._base - self._middle, size)
        decay = geometric(-h, self._base - self._middle, size)
        turn = -(self._base % size)

        def read(spectrum: Complexes) -> Floats:
            result: Floats = np.roll(fft.irfft(spectrum, size), turn) * untilt
            return result

        self._upper_sums = rising_sums(np.maximum(read(upper), 0.0), decay, h)
        self._lower_sums = rising_sums(np.maximum(read(plain), 0.0), decay, h)
        decayed = read(third) * decay
        self._change_sums = suffix(decayed)
        self._change_sizes = suffix(np.abs(decayed))

    def certify(self, epsilon: float) -> Certificate:
        """Bounds on delta(epsilon), the estimate between them, and its logarithmic slope."""
        h = self.step
        lowest = (self._base + self._copies + 1) * h
        highest = (self._base + self.size - 2) * h
        if epsilon < lowest:
            return Certificate(self.certify(lowest).lower, 1.0, 0.0, 0.0)
        if epsilon > highest:
            return Certificate(0.0, self.certify(highest).upper, 0.0, 0.0)
        upper, mass = self._upper(epsilon)
        lower = min(self._lower(epsilon), upper)
        if not 0.0 <= lower <= upper:
            return Certificate(0.0, 1.0, 0.0, 0.0)
        # the rounding of the upper bound adds twice the variance that the test loses
        estimate = lower + (upper - lower) / 3.0
        return Certificate(lower, upper, estimate, -mass / upper)

    def _jump(self, epsilon: float) -> tuple[float, float]:
        """P - exp(epsilon) Q of "some loss exceeds the cut", and its error."""
        grow = math.expm1(epsilon)
        error = self._jump_gap_error + grow * self._jump_q_error
        error += 8.0 * ULP * (self._jump_gap + grow * self._jump_q)
        return self._jump_gap - grow * self._jump_q, error

    def _read(self, sums: tuple[Floats, Floats], level: float) -> tuple[float, float, int]:
        """Sums over k h >= level of p(k) (1 - e^(level - k h)) and p(k) e^(level - k h); and m."""
        h = self.step
        m = math.ceil(level / h)
        grow = self._scale * math.exp((m - self._middle) * h)
        rise = grow * float(sums[0][m - self._base])
        mass = grow * float(sums[1][m - self._base])
        rest = m * h - level
        return rise - math.expm1(-rest) * mass, mass * math.exp(-rest), m

    def _upper(self, epsilon: float) -> tuple[float, float]:
        """Upper bound of delta, and an estimate of exp(epsilon) Q[S > epsilon] (section 6)."""
        value, mass, m = self._read(self._upper_sums, epsilon - self._offset)
        peak = self._scale * math.exp(-self.tilt * (m - self._middle))
        noise = peak * self._norms.upper * self._norms.rising(self.tilt) * self.step
        missing = math.exp(min(0.0, self._high - self._high_tilt * (self._base + self.size)))
        jump, error = self._jump(epsilon)
        log_back = min(0.0, self._log_return + self._return_rate * epsilon)
        # not a probability: where epsilon is beyond the cut, P - e^epsilon Q of J is as negative
        back = math.exp(self._log_cut_q + epsilon) * min(1.0, math.exp(log_back) + self._never)
        total = (value + noise + missing) * math.exp(self._loss) + jump + error + back
        mass += math.exp(epsilon) * self._jump_q
        return min(1.0, total * (1.0 + 8.0 * ULP) + UNDERFLOW), mass

    def _lower(self, epsilon: float) -> float:
        """Power of the test "a loss beyond the cut, or a rounded sum of at least m" (section 3)."""
        level = epsilon - self._centre_of_cells
        value, _, m = self._read(self._lower_sums, level)
        peak = self._scale * math.exp(-self.tilt * (m - self._middle))
        norms, h = self._norms, self.step
        noise = peak * norms.lower * norms.rising(self.tilt) * h
        grow = self._scale * math.exp(level - self._middle * h)
        change = grow * float(self._change_sums[m - self._base])
        noise += grow * float(self._change_sizes[m - self._base]) * 8.0 * self.size * ULP
        noise += peak * (norms.change * norms.flat(self.tilt) + norms.inputs)
        # aliases from below, where P <= 1, and from above, by Chernoff (section 5)
        apart = (self._high_tilt - self.tilt) * self.size
        above = self._high - self._high_tilt * m - log_expm1(apart)
        alias = math.exp(-log_expm1(self.tilt * self.size)) + math.exp(min(0.0, above))
        alias *= 2.0 * (1.0 + self._stretch) * (1.0 + 1e-9)
        jump, error = self._jump(epsilon)
        total = value * (1.0 - self._loss) - change - noise - alias + jump - error
        return max(0.0, total - 16.0 * ULP * (value + abs(change) + jump))


@dataclass(frozen=True)
class _Rounding:
    upper: Floats  # masses of a dominating loss, at the lattice points
    kept: Floats  # masses of the cells, P
    change: Floats  # exp(g_i + centre) Q_i - P_i
    change_errors: Floats
    mass_errors: Floats
    centre: float  # where in its cell a loss lies on average, tilted


def _rounded(c: Cells, h: float, weights: Floats) -> _Rounding:
    """The two roundings of one release (sections 3 and 4)."""
    masses = np.maximum(c.masses, 0.0) + c.mass_errors
    right = (c.gaps + c.gap_errors + 1.01 * c.edge_error * masses) * (1.0 + 8.0 * ULP)
    right = np.clip(right / -math.expm1(-h), 0.0, masses)
    upper = np.append(masses - right, 0.0)
    upper[1:] += right
    upper[0] += c.below
    kept = np.maximum(c.masses - c.mass_errors, 0.0)
    tilted = kept * weights[:-1]
    mean = float((c.gaps * weights[:-1]).sum()) / max(float(tilted.sum()), 1e-300)
    centre = min(max(mean, 0.0), h)
    raw = math.expm1(centre) * kept - math.exp(centre) * c.gaps
    change = np.clip(raw, -kept, math.expm1(centre) * kept)
    mass_errors = 2.0 * c.mass_errors
    errors = 1.2 * c.gap_errors + np.abs(raw - change) + 1.2 * h * mass_errors
    errors += 8.0 * ULP * (math.expm1(centre) * kept + 1.2 * np.abs(c.gaps))
    return _Rounding(upper, kept, change, errors, mass_errors, centre)


def _cells(pair: DominatingPair, h: float, start: float, last: int) -> Cells:
    """The cells from the lowest loss that counts to the cut, or to where the pair ends."""
    largest, smallest = pair.largest_loss, -pair.swapped.largest_loss
    if math.isfinite(largest):
        last = min(last, math.floor(largest / h) + 2)
    first = min(math.floor(max(start, smallest) / h), last - 1)
    if last - first > MOST_CELLS:
        raise LatticeError("the losses reach too far for this mesh")
    return pair.cells(h, first, last)


def _short(x: float) -> float:
    """X rounded to 28 bits, so that its products with lattice indices are exact."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 2.0**28), exponent - 28)
