"""Sums of independent lognormal variables of mean 1, bounded from both sides in the convex order.

The law of ``S = X_1 + ... + X_t``, where ``log X_j ~ N(-1/(2 s^2), 1/s^2)``: t times the likelihood
ratio of random allocation.  Proofs: docs/random-allocation.md; "section n" refers to it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special

from accountant.losses.cells import normal_masses
from accountant.losses.kernels import ULP
from accountant.losses.nested_grids import Floats, Grid, K, Merged, Spread, repeated

__all__ = ["merged_sum", "place_error", "spread_sum"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@lru_cache(maxsize=8)
def spread_sum(s: float, steps: int, log_mass: float) -> Spread:
    """A law above that of the sum, of whose mean about ``exp(log_mass)`` is left out."""
    grid = _choose(s, steps, log_mass)
    cells, parts, errors, top = _cells(s, grid)
    masses = np.zeros((len(cells), 2 * K + 1))
    masses[:, :-1] = cells - parts + errors
    masses[:, :-1][cells == 0.0] = 0.0
    masses[:, 1:] += np.where(cells > 0.0, parts + errors, 0.0)
    lost_q = float(special.ndtr(-top)) * (1.0 + 1e-9)
    lost_p = float(special.ndtr(1.0 / s - top)) * (1.0 + 1e-9)
    one = Spread(1, grid.centre, grid.base, masses * (1.0 + 8.0 * ULP), lost_q, lost_p)
    return repeated(one, steps, grid)


@lru_cache(maxsize=8)
def merged_sum(s: float, steps: int, log_mass: float, up: bool) -> Merged:
    """Atoms below the law of the sum; their places rounded upwards if ``up``."""
    grid = _choose(s, steps, log_mass)
    cells, parts, errors, _ = _cells(s, grid)
    sign = 1.0 if up else -1.0
    held = cells > 4.0 * errors
    away = np.where(held, cells - sign * errors, 1.0)
    place = np.clip((parts + sign * errors) / away, 0.0, 1.0)
    masses = np.zeros((len(cells), 2 * K + 1))
    offsets = np.zeros((len(cells), 2 * K + 1))
    masses[:, :-1] = np.where(held, cells - errors, 0.0)
    offsets[:, :-1] = masses[:, :-1] * place
    one = Merged(1, grid.centre, grid.base, masses, offsets, up)
    return repeated(one, steps, grid)


def _choose(s: float, steps: int, log_mass: float) -> Grid:
    """Centre, finest spacing and number of levels for one term."""
    z = np.linspace(-9.0, 9.0, 2001)
    x, weights = np.exp(z / s - 0.5 / s**2), np.exp(-0.5 * z * z) * (z[1] - z[0])
    weights /= math.sqrt(2.0 * math.pi)
    # Chernoff's bound of Q[S <= t/4]: far below the mean nothing happens, then count from there
    rates = np.geomspace(1e-6, 1e6, 121)
    cumulants = np.log(np.exp(-np.multiply.outer(rates, x)) @ weights + 1e-300)
    concentrated = steps * float((0.25 * rates + cumulants).min()) < log_mass - 3.0
    top = 1.0 / s - special.ndtri_exp(log_mass - math.log(8.0))
    widest = math.exp(top / s - 0.5 / s**2)
    if concentrated:
        near = np.exp(special.ndtri(np.linspace(0.0005, 0.9995, 1000)) / s - 0.5 / s**2)
        reach = float(np.quantile(np.abs(near - 1.0), 0.25))
    else:
        low = special.ndtri_exp((log_mass - 7.0) / steps)
        reach = math.exp(low / s - 0.5 / s**2) / math.sqrt(steps)
    base = math.floor(math.log2(reach / K))
    levels = max(1, math.ceil(math.log2(max(widest, 1.0) / K) - base) + 1)
    return Grid(1.0 if concentrated else 0.0, base, levels, log_mass)


def _cells(s: float, grid: Grid) -> tuple[Floats, Floats, Floats, float]:
    """One lognormal variable X on the grid's cells [x_k, x_(k+1)] (section 5).

    Returns masses, ``E[(X - x_k)/(x_(k+1) - x_k); cell]``, a bound on the errors of both, each of
    shape (levels, 2 K), and the last cell's end as a normal quantile.
    """
    masses, parts, errors = np.zeros((3, grid.levels, 2 * K))
    top = -math.inf
    for level in range(grid.levels):
        spacing = math.ldexp(1.0, grid.base + level)
        lowest = max(-K, math.ceil(-grid.centre / spacing))
        runs = [(lowest, K)] if level == 0 else [(lowest, -K // 2), (K // 2, K)]
        for first, last in runs:
            if first >= last:
                continue
            x: Floats = grid.centre + spacing * np.arange(first, last + 1.0)
            with np.errstate(divide="ignore"):
                z = s * np.log(x) + 0.5 / s
            found = _by_tails(s, x, z), _by_quadrature(s, z)
            better = found[1][2] < found[0][2]
            cells = slice(first + K, last + K)
            for target, tails, finer in zip((masses, parts, errors), *found, strict=True):
                target[level, cells] = np.where(better, finer, tails)
            top = max(top, float(z[-1]))
    return masses, parts, errors, top


def _by_tails(s: float, x: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Masses and parts of the cells as differences of normal tails."""
    mass, mass_error = normal_masses(z)
    moment, moment_error = normal_masses(z - 1.0 / s, 1.0 / s)
    width = np.diff(x)
    part = np.clip((moment - x[:-1] * mass) / width, 0.0, np.maximum(mass, 0.0))
    error = (moment_error + x[1:] * (mass_error + 2.0 * place_error(s) * mass)) / width
    error += mass_error + 8.0 * ULP * mass
    # both lie between 0 and the mass
    return np.maximum(mass, 0.0), part, np.minimum(error, mass + mass_error) + 1e-300


def _by_quadrature(s: float, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Masses and parts of the cells by eight Gauss-Legendre nodes; infinite errors if wide."""
    inside = np.where(np.isfinite(z), z, 0.0)
    half = np.maximum(0.5 * np.diff(inside), 1e-300)
    middle = inside[:-1] + half
    radius = 0.5 / (1.0 + np.abs(middle) + 1.0 / s)
    usable = np.isfinite(z[:-1]) & (half < radius / 16.0) & (np.abs(middle) < 36.0)
    mass, part = np.zeros_like(half), np.zeros_like(half)
    error = np.full_like(half, math.inf)
    start, half = inside[:-1][usable], half[usable]
    total, share = np.zeros_like(half), np.zeros_like(half)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        reach = (1.0 + node) * half
        density = weight * np.exp(-0.5 * np.square(start + reach))
        total += density
        share += density * np.expm1(reach / s)
    scale = half / math.sqrt(2.0 * math.pi)
    mass[usable] = scale * total
    part[usable] = scale * share / np.expm1(2.0 * half / s)
    nearest = np.maximum(np.abs(start + half) - half, 0.0)
    rho = radius[usable] / half
    # Bernstein ellipse within the disc of this radius, where |phi| <= 2 phi(middle)
    remainder = 20.0 * scale * np.exp(-0.5 * np.square(nearest)) * rho**-13
    error[usable] = (32.0 + 4.0 * np.square(nearest + 2.0 * half)) * ULP * mass[usable]
    error[usable] += remainder + 1e-300
    return mass, part, error


def place_error(s: float) -> float:
    """Relative distance of the cells' ends, as the doubles have them, from the grid's points."""
    return 16.0 * ULP * (512.0 + 1.0 / s**2)
