"""One release on a lattice: the masses of the cells g_i <= loss < g_{i+1}, with their errors.

The lattice engine (accountant/engine/lattice.py) composes them.  Every statement used is proved in
docs/lattice.md; "section n" refers to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from accountant.losses.gaussian import TAIL_ULPS, ULP, GaussianMixture

Floats = npt.NDArray[np.float64]

_NODES = (-math.sqrt(0.6), 0.0, math.sqrt(0.6))
_WEIGHTS = (5.0 / 9.0, 8.0 / 9.0, 5.0 / 9.0)


@dataclass(frozen=True)
class Cells:
    """Masses of the cells of one release, numerator P and denominator Q of its loss log dP/dQ.

    ``gaps`` are ``P_i - exp(g_i) Q_i``, ``below`` is P below the first cell, rounded up; the upper
    end of the last cell is the cut: ``cut_q`` is Q beyond it, ``cut_gap`` is P minus Q beyond it.
    """

    first: int  # index of the first lattice point
    masses: Floats  # P_i
    mass_errors: Floats
    gaps: Floats
    gap_errors: Floats
    edge_error: float  # losses in cell i lie in [g_i - e, g_{i+1} + e]
    below: float
    cut_q: float
    cut_gap: float
    cut_q_error: float
    cut_gap_error: float


@dataclass(frozen=True)
class Sketch:
    """A coarse picture of one release, to choose scales by: nothing is proved with it."""

    losses: Floats  # increasing
    weights: Floats  # of P


def sketch_mixture(mixture: GaussianMixture, add: bool, reach: float) -> Sketch:
    """Nodes of the trapezoid rule over ``reach`` standard deviations on either side."""
    last = mixture.sensitivities[-1] / mixture.sigma
    left, right = -reach, reach + (0.0 if add else last)
    xi = np.linspace(left, right, 1201)
    losses = log_ratio(mixture, mixture.sigma * xi)
    log_weights = -0.5 * xi * xi + math.log((xi[1] - xi[0]) / math.sqrt(2.0 * math.pi))
    if add:
        return Sketch(-losses[::-1], np.exp(log_weights[::-1]))
    return Sketch(losses, np.exp(log_weights + losses))


def sketch_laplace(scale: float) -> Sketch:
    """Nodes of the Laplace loss: 1000 midpoints between its two atoms."""
    top = 1.0 / scale
    edges = np.linspace(-top, top, 1001)
    below = 0.5 * np.exp(0.5 * (edges - top))
    losses = np.concatenate(([-top], 0.5 * (edges[1:] + edges[:-1]), [top]))
    return Sketch(losses, np.concatenate(([below[0]], np.diff(below), [0.5])))


def log_ratio(mixture: GaussianMixture, x: Floats) -> Floats:
    """log dP/dQ at x (of the mixture over the plain Gaussian)."""
    s2 = mixture.sigma**2
    c, p = mixture.sensitivities, mixture.probabilities
    if len(c) == 1:
        result: Floats = x * (c[0] / s2) - 0.5 * c[0] * c[0] / s2
        return result
    parts = [(b, w) for b, w in zip(c, p, strict=True) if b > 0.0]
    total, far = np.zeros_like(x), np.zeros(x.shape, dtype=bool)
    for b, w in parts:
        y = x * (b / s2) - 0.5 * b * b / s2
        far |= y > 690.0
        total += w * np.expm1(np.minimum(y, 690.0))
    # Far out, and where log(1 + total) cancels, by the largest exponent
    hard = far | (total < -0.9) if c[0] > 0.0 else far
    result = np.log1p(np.maximum(total, -0.99999999999999))
    if c[0] == 0.0:
        result = np.maximum(result, mixture.smallest_loss())
    if hard.any():
        y = np.multiply.outer(x[hard], np.array(c) / s2) - 0.5 * np.array(c) ** 2 / s2
        result[hard] = special.logsumexp(y, b=np.array(p), axis=1)
    return result


def _ratio_error(mixture: GaussianMixture, x: Floats, losses: Floats) -> Floats:
    """Bound on the rounding of ``log_ratio`` at finite x (section 4)."""
    s2 = mixture.sigma**2
    error = np.zeros_like(x)
    for b, w in zip(mixture.sensitivities, mixture.probabilities, strict=True):
        if b == 0.0:
            continue
        size = np.abs(x) * (b / s2) + 0.5 * b * b / s2
        y = x * (b / s2) - 0.5 * b * b / s2
        share = w * (np.exp(np.minimum(y - losses, 700.0)) + np.exp(np.minimum(-losses, 700.0)))
        error += np.minimum(share, 12.0) * (4.0 + size)
    return 8.0 * ULP * (error + np.abs(losses))


def _invert(mixture: GaussianMixture, losses: Floats) -> Floats:
    """An x at which log_ratio is about each of the losses; not proved, ``_edges`` measures it."""
    s2 = mixture.sigma**2
    c, p = mixture.sensitivities, mixture.probabilities
    if len(c) == 1:
        x: Floats = losses * (s2 / c[0]) + 0.5 * c[0]
        return x
    if len(c) == 2 and c[0] == 0.0:
        q = p[1]
        small = np.minimum(losses, 30.0)
        y = np.log1p(np.maximum(np.expm1(small) / q, -0.9999999999999999))
        large = losses > 30.0
        if large.any():
            y[large] = losses[large] - math.log(q)
        x = y * (s2 / c[1]) + 0.5 * c[1]
        return x
    low, high = -40.0 * mixture.sigma, 1.0
    while log_ratio(mixture, np.array([high]))[0] < losses[-1]:
        high *= 2.0
    while c[0] > 0.0 and log_ratio(mixture, np.array([low]))[0] > losses[0]:
        low *= 2.0
    grid = np.linspace(low, high, 8193)
    on_grid = log_ratio(mixture, grid)
    x = np.interp(losses, on_grid, grid)
    start, room = x, grid[1] - grid[0]
    weighted = np.array(c) / s2
    for _ in range(3):
        value = log_ratio(mixture, x)
        slope = np.zeros_like(x)
        for d, b, w in zip(weighted, c, p, strict=True):
            slope += d * w * np.exp(np.minimum(x * d - 0.5 * b * d - value, 50.0))
        step = (value - losses) / np.maximum(slope, 1e-300)
        x = np.clip(x - step, start - room, start + room)
    return x


def mixture_cells(mixture: GaussianMixture, add: bool, step: float, first: int, last: int) -> Cells:
    """Cells first..last-1 of the mixture's loss (section 4)."""
    g = step * np.arange(first, last + 1)
    losses = -g if add else g
    smallest = mixture.smallest_loss()
    xi = np.full(len(g), -math.inf)  # x/sigma at the edges: these doubles define the cells
    inside = losses > smallest
    edge_error = 4.0 * ULP * abs(smallest) if math.isfinite(smallest) else 0.0
    if inside.any():
        wanted = np.asarray(losses[inside], dtype=np.float64)
        # increasing losses, for the inversion's grid
        found = _invert(mixture, wanted[::-1])[::-1] if add else _invert(mixture, wanted)
        order = np.minimum.accumulate if add else np.maximum.accumulate
        xi[inside] = order(found / mixture.sigma)
        x = mixture.sigma * xi[inside]
        measured = log_ratio(mixture, x)
        off = np.abs(measured - wanted) + _ratio_error(mixture, x, measured)
        edge_error += float(off.max()) * (1.0 + 1e-9)
    sign = 1.0 if add else -1.0
    plain, plain_errors = normal_masses(xi)
    cut, cut_error = normal_tail(sign * xi[-1:])
    excess = excess_error = 0.0
    rise, rise_errors = np.zeros_like(plain), np.zeros_like(plain)
    for c, p in zip(mixture.sensitivities, mixture.probabilities, strict=True):
        if c == 0.0:
            continue
        offset = c / mixture.sigma
        mass, errors = normal_masses(xi - offset, offset)
        rise += p * (mass - plain)
        rise_errors += p * (errors + plain_errors)
        tail, tail_error = normal_tail(sign * (xi[-1:] - offset), offset)
        excess += p * float(tail[0] - cut[0])
        excess_error += p * float(tail_error[0] + cut_error[0])
    lift = np.expm1(g[:-1])
    cut_q, cut_q_error = float(cut[0]), float(cut_error[0])
    masses, mass_errors = plain, plain_errors
    gap_errors = np.abs(lift) * plain_errors
    if add:
        cut_q, cut_q_error = cut_q + excess, cut_q_error + excess_error
        gaps = -lift * plain - (1.0 + lift) * rise
        gap_errors += (1.0 + lift) * rise_errors
    else:
        gaps = rise - lift * plain
        gap_errors += rise_errors
        masses, mass_errors = masses + rise, mass_errors + rise_errors
    size = (1.0 + np.maximum(lift, 0.0)) * np.abs(rise) + np.abs(lift) * plain
    gap_errors += 8.0 * ULP * size
    mass_errors += 8.0 * ULP * np.abs(masses)
    for values, errors, finer, finer_errors in zip(
        (masses, gaps), (mass_errors, gap_errors), *quadrature(mixture, add, xi, lift), strict=True
    ):
        better = finer_errors < errors
        values[better] = finer[better]
        errors[better] = finer_errors[better]
        errors *= 1.0 + 1e-9
    return Cells(
        first=first,
        masses=masses,
        mass_errors=mass_errors,
        gaps=gaps,
        gap_errors=gap_errors,
        edge_error=edge_error,
        below=_below(mixture, float(xi[0]), add),
        cut_q=max(0.0, cut_q),
        cut_gap=max(0.0, -excess if add else excess),
        cut_q_error=cut_q_error * (1.0 + 1e-9),
        cut_gap_error=excess_error * (1.0 + 1e-9),
    )


def quadrature(
    mixture: GaussianMixture, add: bool, xi: Floats, lift: Floats
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Masses and gaps by three Gauss-Legendre nodes per cell, and their errors (section 4).

    On narrow cells the differences of tails lose their digits; the integrands do not.
    """
    edges = np.where(np.isfinite(xi), xi, 0.0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    half = np.maximum(0.5 * np.abs(np.diff(edges)), 1e-300)
    largest = mixture.sensitivities[-1] / mixture.sigma
    radius = 0.5 / (1.0 + np.abs(middle) + largest)
    usable = (half < 0.25 * radius) & np.isfinite(xi[1:]) & np.isfinite(xi[:-1])
    usable &= np.abs(middle) < 35.0
    found = np.zeros((2, len(lift)))
    errors = np.full((2, len(lift)), math.inf)
    middle, half, radius, lift = (a[usable] for a in (middle, half, radius, lift))
    turn = 1.0 + lift
    total, gap, size = np.zeros_like(middle), np.zeros_like(middle), np.zeros_like(middle)
    spread, ratio_bound = np.zeros_like(middle), np.zeros_like(middle)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        at = middle + node * half
        density = np.exp(-0.5 * at * at)
        ratio = np.zeros_like(at)
        for c, p in zip(mixture.sensitivities, mixture.probabilities, strict=True):
            if c == 0.0:
                continue
            d = c / mixture.sigma
            rise = p * np.expm1(at * d - 0.5 * d * d)
            ratio += rise
            if node == 0.0:
                terms = np.abs(rise) + p
                spread += terms * math.expm1(min(1.0, d / (1.0 + largest)))
                ratio_bound += terms
                size += (terms + p) * (8.0 + np.abs(at) * d + d * d)
        density *= weight
        gap += density * (-turn * ratio - lift if add else ratio - lift)
        total += density if add else density * (1.0 + ratio)
    scale = half / math.sqrt(2.0 * math.pi)
    density = np.exp(-0.5 * np.square(np.maximum(np.abs(middle) - half, 0.0)))
    relative = (16.0 + 4.0 * np.square(np.abs(middle) + half)) * ULP
    # Bernstein ellipse within the disc of this radius, where |phi| <= 2 phi(middle)
    remainder = 10.0 * np.square(half / radius) ** 3 * density
    rounding = 16.0 * ULP * density
    if add:
        size *= turn
        mass_errors = remainder + relative * total
    else:
        mass_errors = remainder * (1.0 + ratio_bound + spread) + rounding * size + relative * total
    spread *= 2.0 * turn if add else 2.0
    gap_errors = (
        remainder * spread + rounding * (size + 4.0 * np.abs(lift)) + relative * np.abs(gap)
    )
    found[:, usable] = scale * total, scale * gap
    errors[:, usable] = scale * mass_errors + 1e-300, scale * gap_errors + 1e-300
    return (found[0], found[1]), (errors[0], errors[1])


def normal_tail(argument: Floats, offset: float = 0.0) -> tuple[Floats, Floats]:
    """Phi(argument) and its error: of ndtr, of the argument's rounding and that of ``offset``."""
    tail = special.ndtr(argument)
    # |argument| pdf <= 1/4 <= Phi where the argument is positive; infinite ones give exactly 0
    size = -np.clip(argument, -1e3, 0.0)
    ulps = TAIL_ULPS + 2.0 * offset + (2.0 * offset + 2.0 * size) * size
    # below the normal range no relative accuracy is claimed
    return tail, ULP * ulps * tail + 1e-300


def normal_masses(edges: Floats, offset: float = 0.0) -> tuple[Floats, Floats]:
    """Normal masses between consecutive edges, from the tails on their own side, and errors."""
    tail, error = normal_tail(-np.abs(edges), offset)
    right = edges > 0.0
    apart = right[1:] != right[:-1]
    masses = np.abs(tail[1:] - tail[:-1])
    masses[apart] = 1.0 - tail[1:][apart] - tail[:-1][apart]
    errors = error[1:] + error[:-1]
    errors[apart] += 2.0 * ULP
    return masses, errors


def _below(mixture: GaussianMixture, xi: float, add: bool) -> float:
    """The numerator's mass on the far side of the lowest edge, rounded up."""
    if add:
        tail, error = normal_tail(np.array([-xi]))
        return float(tail[0] + error[0])
    total = 0.0
    for c, p in zip(mixture.sensitivities, mixture.probabilities, strict=True):
        tail, error = normal_tail(np.array([xi - c / mixture.sigma]), c / mixture.sigma)
        total += p * float(tail[0] + error[0])
    return total * (1.0 + 16.0 * ULP)


def laplace_cells(scale: float, step: float, first: int, last: int) -> Cells:
    """Cells of the Laplace loss, in closed form (section 4); both directions are alike."""
    top = 1.0 / scale
    g = step * np.arange(first, last + 1)
    tails = np.where(g <= -top, 1.0, -np.expm1(0.5 * np.minimum(g - top, 0.0) - math.log(2.0)))
    tails[g > top] = 0.0
    below = np.where(g <= -top, 1.0, 0.5 * np.exp(-0.5 * (top + g)))
    below[g > top] = 0.0
    low = np.clip(g[:-1], -top, top)
    width = np.clip(g[1:], -top, top) - low
    lead = 0.5 * np.exp(0.5 * (low - top))
    drop = np.expm1(np.minimum(g[:-1] - low, 0.0))
    gaps = lead * (4.0 * np.sinh(0.25 * width) ** 2 + drop * np.expm1(-0.5 * width))
    # the atoms, of P-mass 1/2 at the top and exp(-top)/2 at the bottom
    high_atom = (g[:-1] <= top) & (top < g[1:])
    low_atom = (g[:-1] <= -top) & (-top < g[1:])
    gaps -= np.where(high_atom, 0.5 * np.expm1(g[:-1] - top), 0.0)
    gaps -= np.where(low_atom, 0.5 * math.exp(-top) * np.expm1(g[:-1] + top), 0.0)
    masses = tails[:-1] - tails[1:]
    relative = (32.0 + 8.0 * top) * ULP
    return Cells(
        first=first,
        masses=masses,
        mass_errors=relative * (tails[:-1] + tails[1:]),
        gaps=gaps,
        gap_errors=relative * (gaps + masses * min(1.0, top)),
        edge_error=8.0 * ULP * top,
        below=float(1.0 - tails[0]) + relative,
        cut_q=float(below[-1]),
        cut_gap=max(0.0, float(tails[-1] - below[-1])),
        cut_q_error=relative * float(below[-1]),
        cut_gap_error=relative * float(tails[-1] + below[-1]),
    )
