"""Compiled kernels of the exact engine: the characteristic function of Gaussian mixtures.

All kernels that call each other live in this one file, because numba's cache does not notice a
changed callee in another file.  The mathematics, with the proof of every bound, is in
docs/engine.md; section numbers in the comments refer to it.

Throughout, a mixture is ``P = sum_i p_i N(c_i, sigma^2)`` against ``Q = N(0, sigma^2)`` with
``0 <= c_0 < c_1 < ...``; ``x = sigma * xi`` with ``xi ~ N(0, 1)`` under Q; ``L(xi) = log dP/dQ``;
and the object of interest is ``phi(a) = E_Q[exp(a L)]`` on a line ``a = a0 + i t``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]

ULP = 2.0**-52
LOG_SQRT_2PI = 0.9189385332046727
# Above this log phi(a0), phi is held as exp(shift) * number, and "phi - 1" no longer matters.
SCALED_ABOVE = 20.0
# Inner grids beyond this are refused: phi is then reported as infinite.
MOST_INNER_NODES = 60_000


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _expm1(z: complex) -> complex:
    s = math.sin(0.5 * z.imag)
    e = math.expm1(z.real)
    return complex(e * math.cos(z.imag) - 2.0 * s * s, (e + 1.0) * math.sin(z.imag))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _log1p(z: complex) -> complex:
    a, b = z.real, z.imag
    if a < -0.5:
        # 2a + a^2 + b^2 may round below -1 there, and loses nothing in the direct form
        return complex(math.log(math.hypot(1.0 + a, b)), math.atan2(b, 1.0 + a))
    return complex(0.5 * math.log1p(2.0 * a + a * a + b * b), math.atan2(b, 1.0 + a))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _exp_tail(z: complex) -> complex:
    """Return exp(z) - 1 - z without cancellation."""
    if abs(z.real) + abs(z.imag) < 0.3:
        total = z * 0.0
        for k in range(14, 1, -1):
            total = (total + 1.0) * z / k
        return total * z
    return _expm1(z) - z


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _log_ratio(p: Floats, c: Floats, sigma: float, re: float, im: float) -> complex:
    """Evaluate L at xi = re + i im, accurate where it is tiny and where it is huge."""
    top = c[-1] / sigma * re - 0.5 * (c[-1] / sigma) ** 2
    if top < 300.0:
        s = complex(0.0, 0.0)
        for i in range(len(p)):
            if c[i] == 0.0:
                continue
            d = c[i] / sigma
            s += p[i] * _expm1(complex(d * re - 0.5 * d * d, d * im))
        if s.real > -0.5:
            return _log1p(s)
    lead = -1e308
    for i in range(len(p)):
        d = c[i] / sigma
        lead = max(lead, d * re - 0.5 * d * d + math.log(p[i]))
    s = complex(0.0, 0.0)
    for i in range(len(p)):
        d = c[i] / sigma
        s += np.exp(complex(d * re - 0.5 * d * d + math.log(p[i]) - lead, d * im))
    far: complex = lead + np.log(s)
    return far


@njit(cache=True, nogil=True, error_model="numpy")
def _left_end(p: Floats, c: Floats, sigma: float, a0: float, tail: float) -> float:
    """Find a point left of which the integrand of phi weighs at most exp(-tail).  Section 3.

    r^a <= 1 for a >= 0; for a < 0 by convexity, or by one component alone, whichever is nearer.
    """
    left = -math.sqrt(2.0 * max(tail, 1.0))
    if a0 >= 0.0:
        return left
    b = -a0
    joint = 0.0
    single = -1e308
    for i in range(len(p)):
        d = c[i] / sigma
        lift = 0.5 * b * (b + 1.0) * d * d
        e = tail + math.log(p[i]) + lift
        if e > 0.0:
            joint = min(joint, -b * d - math.sqrt(2.0 * e))
        e = tail - b * math.log(p[i]) + lift
        single = max(single, -b * d - math.sqrt(2.0 * max(e, 1.0)))
    return min(left, max(joint, single))


@njit(cache=True, nogil=True, error_model="numpy")
def inner_grid(
    p: Floats,
    c: Floats,
    sigma: float,
    cut: float,
    a0: float,
    log_phi: float,
    target: float,
    on_line: bool,
) -> tuple[float, float, int, float, float]:
    """Choose strip, step and range of the trapezoid rule for phi.  docs/engine.md, section 3.

    Only losses at xi < cut count.  Returns (step, left, count, shift, edge): nodes
    left + j step + i shift, such that the error of the sum is at most
    ``8 (1 + |a|) max(1, phi(a0)) exp(-target) + (1 + |a|) edge``.
    """
    k = len(p)
    v = 1.0 / (sigma * sigma)
    reach = c[k - 1] / sigma
    slack = target + math.log(k + 1.0) + (2.0 * 1.2 * 1.2 if on_line else 0.0)
    tail = slack - max(0.0, log_phi) if log_phi > SCALED_ABOVE else slack
    # Right end: r^a <= sum p_i exp(a y_i) for a >= 1 (convexity); tilt 1 covers a < 1.
    ar = max(a0, 1.0)
    right = math.sqrt(2.0 * max(tail, 1.0))
    for i in range(k):
        e = tail + math.log(p[i]) + 0.5 * ar * (ar - 1.0) * c[i] * c[i] * v
        if e > 0.0:
            right = max(right, ar * c[i] / sigma + math.sqrt(2.0 * e))
    if a0 < 0.0:
        # beyond half the largest shift the loss is positive and r^a <= 1 (section 3)
        right = max(right, 0.5 * reach)
    # Strip: the step that the error bound allows, for the best half-width.  For a < 0 the growth
    # of |r|^a off the real axis also lengthens the left tail, hence the passes.
    widest = 1.2 if on_line else math.sqrt(target)
    sides = 2.0 if on_line else 1.0
    widest = min(widest, 3.0 / (sides * reach))
    step = 0.0
    shift = 0.0
    wide = 0.0
    stretch = 0.0
    left = 0.0
    for turn in range(3 if a0 < 0.0 else 1):
        left = _left_end(p, c, sigma, a0, tail + (1.1 * stretch + 1.0 if turn > 0 else 0.0))
        step = 0.0
        for i in range(1, 33):
            half = widest * i / 32.0
            phase = sides * half * reach
            growth = 0.0
            if a0 < 0.0:
                growth = a0 * math.log(math.cos(0.5 * phase))
                if phase < 1.5:
                    shifted = -math.log(math.cos(phase)) / reach
                    growth = min(growth, -shifted * left)
            total = target + growth + 0.5 * (sides * half) ** 2 + 1.4
            candidate = 2.0 * math.pi * half / total
            if candidate > step:
                step = candidate
                shift = half if on_line else 0.0
                wide = sides * half
                stretch = growth
    span = (min(cut, right) - left) / step
    if not span < MOST_INNER_NODES:
        return step, left, MOST_INNER_NODES + 1, shift, 0.0
    if cut >= right:
        return step, left, int(span) + 2, shift, 0.0
    # The last node lies half a step before the cut (section 3).
    count = int(span) + 2
    left = cut - (count - 0.5) * step
    u = _log_ratio(p, c, sigma, cut, 0.0).real
    beyond = 0.0
    for i in range(k):
        d = c[i] / sigma
        beyond += p[i] * math.exp(-0.5 * max(0.0, cut - d) ** 2)
    end = math.exp(min(700.0, max(0.0, u, a0 * u) - 0.5 * cut * cut - LOG_SQRT_2PI))
    edge = 3.0 * (step / math.pi + shift) * math.exp(0.5 * wide * wide) * end + 2.0 * beyond
    return step, left, count, shift, edge


@njit(cache=True, nogil=True, error_model="numpy")
def mixture_cumulants(
    p: Floats, c: Floats, sigma: float, cut: float, a: float, target: float
) -> tuple[float, float, float, float]:
    """Evaluate log phi(a) for real a: its value, two derivatives, a bound on its error."""
    step, left, count, _, edge = inner_grid(p, c, sigma, cut, a, 0.0, target, False)
    if count > MOST_INNER_NODES:
        return np.inf, np.inf, np.inf, np.inf
    us = np.empty(count)
    logw = np.empty(count)
    top = 0.0
    for j in range(count):
        xi = left + j * step
        us[j] = _log_ratio(p, c, sigma, xi, 0.0).real
        logw[j] = -0.5 * xi * xi - LOG_SQRT_2PI + math.log(step)
        top = max(top, logw[j] + a * us[j])
    if top > 300.0:
        m0 = m1 = m2 = scale = 0.0
        for j in range(count):
            e = math.exp(logw[j] + a * us[j] - top)
            m0 += e
            m1 += e * us[j]
            m2 += e * us[j] * us[j]
            scale += e * (64.0 + abs(logw[j]) + abs(a * us[j]))
        mean = m1 / m0
        error = ULP * scale / m0 * 2.0 + 8.0 * (1.0 + abs(a)) * math.exp(-target)
        error += (1.0 + abs(a)) * edge * math.exp(-top) / m0
        return top + math.log(m0), mean, m2 / m0 - mean * mean, error
    m0 = m1 = m2 = linear = scale = drift = 0.0
    for j in range(count):
        u = us[j]
        w = a * u
        weight = math.exp(logw[j])
        tail_u = _exp_tail(complex(u, 0.0)).real if u < 30.0 else 0.0
        if abs(w) < 0.3 and u < 30.0:
            e2 = weight * _exp_tail(complex(w, 0.0)).real
            e1 = e2 + weight * w
        else:
            ew = math.exp(logw[j] + w)
            e2 = ew - weight * (1.0 + w)
            e1 = ew - weight
        if u < 30.0:
            tail_u *= weight
        else:
            tail_u = math.exp(logw[j] + u) - weight * (1.0 + u)
        linear += tail_u
        m0 += e2
        m1 += e1 * u - tail_u
        m2 += (e1 + weight) * u * u
        x = abs(w)
        heavy = max(weight, math.exp(logw[j] + w)) * min(2.0 * x * x, 8.0 + 2.0 * x)
        scale += heavy * (64.0 + abs(logw[j]))
        drift += tail_u * (64.0 + abs(logw[j]))
    m0 -= a * linear
    mean = m1 / (1.0 + m0)
    error = 2.0 * ULP * (scale + abs(a) * drift)
    error += (1.0 + abs(a)) * (8.0 * max(1.0, 1.0 + m0) * math.exp(-target) + edge)
    error = error / (1.0 + m0) + 4.0 * ULP * abs(math.log1p(m0))
    return math.log1p(m0), mean, m2 / (1.0 + m0) - mean * mean, error


@njit(cache=True, nogil=True, error_model="numpy")
def mixture_line(
    p: Floats,
    c: Floats,
    sigma: float,
    cut: float,
    a0: float,
    dt: float,
    nodes: int,
    log_phi: float,
    target: float,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Evaluate log phi(a0 + i k dt), k = 0..nodes-1, with error bounds (docs/engine.md, 4).

    Giant steps g and baby steps b, k = g B + b: exp(w + d) - 1 - w - d is bilinear in quantities of
    g alone and of b alone, so each node costs one complex multiply-add per inner node.
    Returns real part, imaginary part, error bound and an upper bound of the real part, per copy.
    """
    step, left, total, shift, edge = inner_grid(p, c, sigma, cut, a0, log_phi, target, True)
    scaled = log_phi > SCALED_ABOVE
    re = np.empty(nodes)
    im = np.empty(nodes)
    err = np.empty(nodes)
    top = np.empty(nodes)
    if total > MOST_INNER_NODES:
        # nothing is known of phi but |phi(a0 + it)| <= phi(a0)
        re[:] = log_phi
        im[:] = 0.0
        err[:] = np.inf
        top[:] = log_phi + 1e-9 * (1.0 + abs(log_phi))
        return re, im, err, top
    us = np.empty(total, np.complex128)
    logw = np.empty(total, np.complex128)
    count = 0
    # A node whose terms are all below exp(-target)/total may be left out (section 3).
    floor = (log_phi if scaled else 0.0) - target - math.log(total + 1.0) - 3.0
    for j in range(total):
        xi = left + j * step
        u = _log_ratio(p, c, sigma, xi, shift)
        lw = complex(-0.5 * (xi * xi - shift * shift) - LOG_SQRT_2PI + math.log(step), -xi * shift)
        if lw.real + max(0.0, a0 * u.real, u.real) + 2.0 * math.log1p(abs(u)) > floor:
            us[count] = u
            logw[count] = lw
            count += 1
    baby = int(math.sqrt(nodes)) + 1
    giant = (nodes + baby - 1) // baby
    dre = np.empty((count, baby))
    dim = np.empty((count, baby))
    base_re = np.zeros(baby)
    base_im = np.zeros(baby)
    weights = np.exp(logw[:count])
    linear = complex(0.0, 0.0)
    drift = 0.0
    for j in range(count):
        for b in range(baby):
            d = complex(-us[j].imag, us[j].real) * (b * dt)
            if scaled:
                e = np.exp(d)
            else:
                tail = _exp_tail(d)
                e = tail + d
                term = weights[j] * tail
                base_re[b] += term.real
                base_im[b] += term.imag
            dre[j, b] = e.real
            dim[j, b] = e.imag
        if not scaled:
            u = us[j]
            if u.real < 30.0:
                term = weights[j] * _exp_tail(u)
            else:
                term = np.exp(logw[j] + u) - weights[j] * (1.0 + u)
            linear += term
            drift += abs(term) * (64.0 + abs(logw[j]))
    acc_re = np.empty(baby)
    acc_im = np.empty(baby)
    part_re = np.empty(baby)
    part_im = np.empty(baby)
    quadrature = 8.0 * math.exp(-target) * (1.0 if scaled else max(1.0, math.exp(log_phi)))
    quadrature += edge * math.exp(-log_phi) if scaled else edge
    for g in range(giant):
        t = g * baby * dt
        a = complex(a0, t)
        size = abs(a0) + t + baby * dt
        start = complex(0.0, 0.0)
        noise = 0.0
        acc_re[:] = 0.0
        acc_im[:] = 0.0
        part_re[:] = 0.0
        part_im[:] = 0.0
        for j in range(count):
            w = a * us[j]
            x = size * abs(us[j])
            lw = logw[j]
            if scaled:
                e1 = np.exp(lw + w - log_phi)
                noise += abs(e1) * (64.0 + abs(lw) + x + log_phi)
            else:
                if abs(w.real) + abs(w.imag) < 0.3:
                    tail = weights[j] * _exp_tail(w)
                    e1 = tail + weights[j] * w
                else:
                    ew = np.exp(lw + w)
                    tail = ew - weights[j] * (1.0 + w)
                    e1 = ew - weights[j]
                start += tail
                heavy = math.exp(lw.real + max(0.0, a0 * us[j].real))
                noise += heavy * min(2.0 * x * x, 8.0 + 2.0 * x) * (64.0 + abs(lw))
            ar = e1.real
            ai = e1.imag
            for b in range(baby):
                part_re[b] += ar * dre[j, b] - ai * dim[j, b]
                part_im[b] += ar * dim[j, b] + ai * dre[j, b]
            if (j & 15) == 15 or j == count - 1:
                for b in range(baby):
                    acc_re[b] += part_re[b]
                    acc_im[b] += part_im[b]
                    part_re[b] = 0.0
                    part_im[b] = 0.0
        noise = 2.0 * ULP * (noise + (0.0 if scaled else size * drift)) * (1.0 + count / 512.0)
        noise += quadrature * (1.0 + size)
        for b in range(baby):
            k = g * baby + b
            if k >= nodes:
                break
            if scaled:
                value = complex(acc_re[b], acc_im[b])
                log_value = np.log(value) + log_phi
                modulus = abs(value)
            else:
                rest = start + complex(acc_re[b] + base_re[b], acc_im[b] + base_im[b])
                rest -= complex(a0, k * dt) * linear
                log_value = _log1p(rest)
                modulus = abs(1.0 + rest)
            re[k] = log_value.real
            im[k] = log_value.imag
            relative = noise / modulus if modulus > 0.0 else np.inf
            # |log(1 + x)| <= -log(1 - |x|)
            err[k] = -math.log1p(-relative) if relative < 0.5 else np.inf
            if relative < 0.5:
                err[k] += 4.0 * ULP * abs(log_value)
            top[k] = math.log(modulus + noise)
            top[k] += 8.0 * ULP * (abs(top[k]) + abs(log_phi))
            if scaled:
                top[k] += log_phi
    return re, im, err, top


@njit(cache=True, nogil=True, error_model="numpy")
def mixture_envelope(
    p: Floats, c: Floats, sigma: float, cut: float, a0: float, log_phi: float, edges: Floats
) -> Floats:
    """Bound log|phi(a0+it)/phi(a0)| over the shells [edges[s], edges[s+1]] and beyond the last.

    docs/engine.md, section 5: the cap bound (total variation of the density cut at a level) and the
    pair bound (1 - cos over pairs of losses closer than kappa / t).
    """
    shells = len(edges)
    out = np.zeros(shells)
    k = len(p)
    reach = c[k - 1] / sigma
    step, left, count, _, _ = inner_grid(p, c, sigma, cut, a0, log_phi, 45.0, False)
    right = min(cut, left + count * step)
    curvature = max(0.0, 0.25 * max(0.0, a0) * reach * reach - 1.0)
    bend = 1.0 + 0.25 * abs(a0) * reach * reach + 2.0 * reach * reach
    h = max(min(0.15, math.sqrt(0.15 / bend)), (right - left) / 1500.0)
    n = int((right - left) / h) + 1
    ell = np.empty(n + 1)
    g = np.empty(n + 1)
    logf = np.empty(n + 1)
    slope = np.empty(n + 1)
    logd = np.empty(n + 1)
    for i in range(n + 1):
        xi = left + i * h
        lead = -1e308
        for m in range(k):
            d = c[m] / sigma
            lead = max(lead, d * xi - 0.5 * d * d + math.log(p[m]))
        s0 = s1 = s2 = 0.0
        for m in range(k):
            d = c[m] / sigma
            e = math.exp(d * xi - 0.5 * d * d + math.log(p[m]) - lead)
            s0 += e
            s1 += e * d
            s2 += e * d * d
        ell[i] = _log_ratio(p, c, sigma, xi, 0.0).real
        first = s1 / s0
        g[i] = -0.5 * xi * xi + a0 * ell[i] - LOG_SQRT_2PI - log_phi
        logd[i] = math.log(first)
        logf[i] = g[i] - logd[i]
        slope[i] = -xi + a0 * first - (s2 / s1 - first)
    # Pair bound: lower bounds of the cells' masses, and of the scatter within a window.
    p0 = np.zeros(n + 1)
    p1 = np.zeros(n + 1)
    p2 = np.zeros(n + 1)
    pe = np.zeros(n + 1)
    for i in range(n):
        mass = h * math.exp(0.5 * (g[i] + g[i + 1]) - curvature * h * h / 12.0) * (1.0 - 1e-12)
        middle = 0.5 * (ell[i] + ell[i + 1]) - ell[0]
        half = 0.5 * (ell[i + 1] - ell[i])
        p0[i + 1] = p0[i] + mass
        p1[i + 1] = p1[i] + mass * middle
        p2[i + 1] = p2[i] + mass * middle * middle
        pe[i + 1] = pe[i] + mass * half * half
    # Cap bound: for each level, mass under the cap and total variation of the capped density.
    levels = 48
    low = np.empty(levels)
    variation = np.empty(levels)
    peak = logf.max()
    for level in range(levels):
        log_cap = peak - 1.25 * level
        cap = math.exp(min(log_cap, 700.0))
        area = 0.0
        tv = min(math.exp(min(logf[0], 700.0)), cap) + min(math.exp(min(logf[n], 700.0)), cap)
        for i in range(n):
            f0 = logf[i]
            f1 = logf[i + 1]
            high = max(f0, f1) + bend * h * h / 8.0
            if min(f0, f1) - bend * h * h / 8.0 >= log_cap:
                area += cap * (ell[i + 1] - ell[i])
                continue
            if high <= log_cap:
                area += h * math.exp(0.5 * (g[i] + g[i + 1]) - curvature * h * h / 12.0)
            else:
                inside = min(g[i], g[i + 1]) - curvature * h * h / 8.0
                area += h * math.exp(min(inside, log_cap + logd[i]))
            if slope[i] * slope[i + 1] > 0.0 and abs(slope[i] + slope[i + 1]) > bend * h:
                tv += abs(math.exp(min(f0, log_cap)) - math.exp(min(f1, log_cap)))
            else:
                tv += math.exp(min(high, log_cap)) * bend * h * h
        low[level] = area * (1.0 - 1e-10)
        variation[level] = tv * (1.0 + 1e-10)
    for s in range(shells):
        t1 = edges[s]
        lost = 0.0
        for level in range(levels):
            lost = max(lost, low[level] - variation[level] / t1)
        out[s] = math.log1p(-min(lost, 1.0 - 1e-12))
        if s + 1 == shells:
            break
        scatter = 0.0
        for kappa in (0.6, 1.3, 2.6):
            width = kappa / edges[s + 1]
            rate = (1.0 - math.cos(kappa)) / (kappa * kappa) * t1 * t1
            i = 0
            for j in range(1, n + 1):
                while ell[j] - ell[i] > width:
                    i += 1
                if i >= j:
                    continue
                m0 = p0[j] - p0[i]
                m1 = p1[j] - p1[i]
                m2 = p2[j] - p2[i]
                spread = 2.0 * (m0 * m2 - m1 * m1) - 1e-12 * (p0[j] * p2[j] + p1[j] * p1[j])
                if spread <= 0.0:
                    continue
                # 1e-12 of the prefix covers the cancellation of the differences
                inner = 2.0 * m0 * (pe[j] - pe[i] + 1e-12 * pe[j])
                if spread > inner:
                    root = math.sqrt(spread) - math.sqrt(inner)
                    scatter = max(scatter, rate * root * root)
        scatter = min(scatter * (1.0 - 1e-10), 1.0 - 1e-12)
        out[s] = min(out[s], 0.5 * math.log1p(-scatter))
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def contour_sums(fre: Floats, fim: Floats, theta: float, dt: float, epsilons: Floats) -> Floats:
    """Sum over the line at each epsilon: with kernel 1/(z(z+1)), 1/(z+1) and 1.

    ``f`` holds Phi(theta + i k dt)/Phi(theta).  Compensated summation; the factor
    dt/(2 pi) * exp(K(theta) - theta * epsilon) is left to the caller.  Shape (len(epsilons), 3).
    """
    nodes = len(fre)
    baby = int(math.sqrt(nodes)) + 1
    cos_b = np.empty(baby)
    sin_b = np.empty(baby)
    out = np.empty((len(epsilons), 3))
    for e in range(len(epsilons)):
        turn = dt * epsilons[e]
        for b in range(baby):
            cos_b[b] = math.cos(b * turn)
            sin_b[b] = -math.sin(b * turn)
        delta = tail = density = 0.0
        comp_delta = comp_tail = 0.0
        cg = 1.0
        sg = 0.0
        for k in range(nodes):
            b = k % baby
            if b == 0:
                cg = math.cos(k * turn)
                sg = -math.sin(k * turn)
            er = cg * cos_b[b] - sg * sin_b[b]
            ei = cg * sin_b[b] + sg * cos_b[b]
            re = fre[k] * er - fim[k] * ei
            im = fre[k] * ei + fim[k] * er
            twice = 1.0 if k == 0 else 2.0
            t = k * dt
            # 1/(z+1), then 1/z
            n1 = twice / ((theta + 1.0) * (theta + 1.0) + t * t)
            qr = (re * (theta + 1.0) + im * t) * n1
            qi = (im * (theta + 1.0) - re * t) * n1
            n0 = 1.0 / (theta * theta + t * t)
            x = (qr * theta + qi * t) * n0
            y = delta + x
            comp_delta += (delta - y) + x if abs(delta) >= abs(x) else (x - y) + delta
            delta = y
            y = tail + qr
            comp_tail += (tail - y) + qr if abs(tail) >= abs(qr) else (qr - y) + tail
            tail = y
            density += twice * re
        out[e, 0] = delta + comp_delta
        out[e, 1] = tail + comp_tail
        out[e, 2] = density
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def line_values(
    kre: Floats, kim: Floats, kerr: Floats, ktop: Floats, theta: float, dt: float
) -> tuple[Floats, Floats, Floats]:
    """Turn log Phi and its error into Phi/Phi(theta) and the sums that bound the rounding.

    Returns f_re, f_im and five sums of |f_k| times: kernel * error, kernel * (1 + |K|),
    kernel * t, error + ULP (1 + |K|), t.
    """
    nodes = len(kre)
    fre = np.empty(nodes)
    fim = np.empty(nodes)
    sums = np.zeros(5)
    for k in range(nodes):
        t = k * dt
        twice = 1.0 if k == 0 else 2.0
        modulus = math.exp(kre[k] - kre[0])
        fre[k] = modulus * math.cos(kim[k])
        fim[k] = modulus * math.sin(kim[k])
        if kerr[k] < 1.0:
            error = modulus * math.expm1(kerr[k])
        else:
            # phi is lost in its own error: leave the node out and count its largest modulus
            fre[k] = fim[k] = 0.0
            modulus = 0.0
            kre[k] = kim[k] = 0.0
            error = math.exp(min(ktop[k] - kre[0], 0.0))
        kernel = twice / math.sqrt((theta * theta + t * t) * ((theta + 1.0) ** 2 + t * t))
        size = 1.0 + abs(kim[k]) + abs(kre[k]) + abs(kre[0])
        sums[0] += kernel * error
        sums[1] += kernel * modulus * size
        sums[2] += kernel * modulus * t
        sums[3] += twice * (error + ULP * modulus * size)
        sums[4] += twice * modulus * t
    return fre, fim, sums
