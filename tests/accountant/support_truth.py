"""Independent values of the support table's cells: listed laws, closed forms, RDP by formula.

Nothing of the accountant is used. A law is an array of masses on a fine partition of the outcomes;
merging outcomes is post-processing, so that what a listed pair attains is attained.
"""

import itertools
import math

import numpy as np
from scipy import special, stats

Q = 0.1
GROUP = 3
BATCH, SIZE = 10, 100


# --- hockey-stick divergences --------------------------------------------------------------------


def hockey(p, q, epsilon):
    return float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum())


def worst(*pairs):
    """The larger of both orders, over pairs of laws."""
    both = [*pairs, *((q, p) for p, q in pairs)]
    return lambda epsilon: max(hockey(p, q, epsilon) for p, q in both)


def losses(p, q):
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log(q)


def composed(first, second):
    """Two releases: sum over the outcomes of the first of a hockey-stick of the second."""

    def delta(epsilon, one, two):
        one, two = ([law[pair[0] > 0.0] for law in pair] for pair in (one, two))
        other = losses(*two)
        order = np.argsort(-other)
        above = [np.concatenate([[0.0], np.cumsum(law[order])]) for law in two]
        left = epsilon - losses(*one)
        count = np.searchsorted(-other[order], -left)
        # where e^left is no double, no loss is as large
        rest = np.exp(np.minimum(left, 700.0)) * above[1][count]
        return float((one[0] * (above[0][count] - rest)).sum())

    def turned(pair):
        return pair[1], pair[0]

    return lambda epsilon: max(
        delta(epsilon, first, second), delta(epsilon, turned(first), turned(second))
    )


def gaussian(mu):
    """Balle, Wang 2018, Theorem 8: means mu standard deviations apart."""

    def delta(epsilon):
        high, low = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
        return float(special.ndtr(high) - math.exp(epsilon + special.log_ndtr(low)))

    return delta


def amplified(delta, q):
    """Balle, Barthe, Gaboardi 2018, Theorems 8 and 9: q delta(ln(1 + (e^epsilon - 1)/q))."""
    return lambda epsilon: q * delta(math.log1p(math.expm1(epsilon) / q))


# --- laws on the line ----------------------------------------------------------------------------


def on_cells(cdf, width, step):
    """Masses of shifted noise on cells; the outermost ones reach to infinity."""
    inner = np.arange(-round(width / step), round(width / step) + 1) * step

    def law(shift):
        x = np.concatenate([[-math.inf], inner - shift, [math.inf]])
        # above the centre the noise's mirror image: small masses keep their digits
        return np.where(x[1:] <= 0.0, np.diff(cdf(x)), -np.diff(cdf(-x)))

    return law


def on_integers(weight, reach):
    points = np.arange(-reach, reach + 1)

    def law(shift):
        masses = weight(np.abs(points - shift))
        return masses / masses.sum()

    return law


def laplace_cdf(x):
    return np.where(x < 0.0, 0.5 * np.exp(-np.abs(x) / 2.0), 1.0 - 0.5 * np.exp(-np.abs(x) / 2.0))


LOCATION = {
    "Gaussian": on_cells(lambda x: special.ndtr(x / 1.1), 20.0, 0.002),
    "Laplace": on_cells(laplace_cdf, 40.0, 0.001),
    "discrete Gaussian": on_integers(lambda x: np.exp(-(x**2) / 8.0), 60),
    "discrete Laplace": on_integers(lambda x: np.exp(-0.5 * x), 200),
}


def mixed(law, weights, step=1.0):
    """A mixture of shifted noise: weights by shift, in units of ``step``."""
    return sum(w * law(step * shift) for shift, w in weights.items())


def binomial(n, q):
    return {k: math.comb(n, k) * q**k * (1.0 - q) ** (n - k) for k in range(n + 1)}


# --- mechanisms with few outcomes, or none but a guarantee ---------------------------------------


def black_box(epsilon, delta):
    own, other = (1.0 - delta) * special.expit(epsilon), (1.0 - delta) * special.expit(-epsilon)
    return np.array([own, other, delta, 0.0]), np.array([other, own, 0.0, delta])


def bounded_range(epsilon):
    """All pairs of two outcomes with losses t and t - epsilon (arXiv 1909.13830, Lemma 3.2)."""
    for t in np.linspace(0.0, epsilon, 3001)[1:-1]:
        p = math.expm1(epsilon - t) / (math.exp(epsilon - t) - math.exp(-t))
        yield (
            np.array([p, 1.0 - p]),
            np.array([p * math.exp(-t), (1.0 - p) * math.exp(epsilon - t)]),
        )


def randomized_response(zero_out):
    own = np.array([0.625, 0.125, 0.125, 0.125])
    return own, np.full(4, 0.25) if zero_out else own[[1, 0, 2, 3]]


def mixture_law():
    law = on_cells(lambda x: special.ndtr(x / 2.0), 40.0, 0.004)
    return mixed(law, {0: 0.5, 1: 0.25, 2: 0.25}), law(0)


def sparsified_law():
    """The sum over 100 coordinates of 0.1, each kept with probability 0.1: post-processing."""
    law = on_cells(special.ndtr, 20.0, 0.004)
    weights = binomial(100, 0.1)
    return tuple(mixed(law, weights, step) for step in (0.01, 0.0, -0.01))


def tree_nodes(steps, patterns):
    """The largest sum over nodes of (participations below)^2, by listing all."""
    nodes = [range(i, i + 2**k) for k in range(steps.bit_length()) for i in range(0, steps, 2**k)]
    nodes = [node for node in nodes if node.stop <= steps]
    return max(sum(sum(s in node for s in steps_) ** 2 for node in nodes) for steps_ in patterns)


def separated(steps, most, gap):
    for count in range(1, most + 1):
        for one in itertools.combinations(range(steps), count):
            if all(b - a >= gap for a, b in itertools.pairwise(one)):
                yield one


TREES = {
    "tree aggregation": tree_nodes(16, [(s,) for s in range(16)]),
    "tree, several participations": tree_nodes(16, list(separated(16, 3, 4))),
}


# --- Renyi DP by formula -------------------------------------------------------------------------

ORDERS = np.concatenate([np.geomspace(1e-3, 1.0, 200) + 1.0, np.linspace(2.0, 128.0, 2000)])


def from_rdp(curve, orders=ORDERS):
    """Canonne, Kamath, Steinke 2020, Proposition 12, at its best order."""
    values = np.array([curve(float(a)) for a in orders])

    def delta(epsilon):
        a = np.asarray(orders)
        logs = (a - 1.0) * (values - epsilon) + a * np.log1p(-1.0 / a) - np.log(a - 1.0)
        return float(np.exp(min(0.0, np.min(logs))))

    return delta


def gaussian_rdp(mu):
    return lambda a: a * mu * mu / 2.0


def pure_rdp(epsilon):
    def curve(a):
        high = (a - 1.0) * epsilon + special.log_expit(epsilon)
        low = -(a - 1.0) * epsilon + special.log_expit(-epsilon)
        return np.logaddexp(high, low) / (a - 1.0)

    return curve


def laplace_rdp(shift, scale=2.0):
    """Mironov 2017, Proposition 6."""
    t = shift / scale

    def curve(a):
        high = math.log(a / (2 * a - 1)) + (a - 1) * t
        low = math.log((a - 1) / (2 * a - 1)) - a * t
        return np.logaddexp(high, low) / (a - 1)

    return curve


def both(*curves):
    return lambda a: sum(curve(a) for curve in curves)


def sampled_rdp(curve, q=Q):
    """E_Q[(1 - q + q dP/dQ)^a] at whole orders, by the binomial theorem."""

    def sampled(a):
        k = np.arange(2, int(a) + 1)
        logs = special.gammaln(a + 1) - special.gammaln(k + 1) - special.gammaln(a - k + 1)
        logs += k * math.log(q) + (a - k) * math.log1p(-q)
        logs += [(j - 1.0) * curve(float(j)) for j in k]
        rest = a * math.log1p(-q) + math.log1p(a * q / (1.0 - q))
        return special.logsumexp([rest, *logs]) / (a - 1.0)

    return sampled


def joint_rdp(curve, q=Q):
    """Joint convexity: log(1 - q + q e^((a-1) R(a)))/(a-1)."""
    return lambda a: np.logaddexp(math.log1p(-q), math.log(q) + (a - 1) * curve(a)) / (a - 1)


def apart_rdp(curve):
    """Mironov 2017, Proposition 11 with p = q = 2: from add/remove to replace-one."""
    return lambda a: (a - 0.5) / (a - 1.0) * curve(2 * a) + curve(2 * a - 1)


WHOLE = range(2, 65)


def kept_probability(size, q, cap):
    """A record of a truncated Poisson batch: drawn, and not cut."""
    others = np.arange(size)
    return q * float(
        np.sum(stats.binom.pmf(others, size - 1, q) * np.minimum(1.0, cap / (others + 1)))
    )


def cube(law, shifts, weights):
    """Product laws: a mixture over the corners of shifted noise, flattened."""
    total = 0.0
    for corner, weight in zip(shifts, weights, strict=True):
        parts = np.ix_(*(law(s) for s in corner))
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        total = total + weight * product
    return np.ravel(total)
