"""Where to put a lattice: cut, tilt, window and mesh, from sketches of the releases.

Any choice is sound; a good one is narrow and fast.  docs/lattice.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from accountant.engine.composition import Composition
from accountant.losses.cells import Floats, Sketch
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.pair import DominatingPair, LaplacePair, MixturePair

# Minus the logarithm of the relative size that truncation and aliases aim at.
AIM = 20.0
# Relative width of epsilon at which the mesh is fine enough, as predicted.
WISH = 1.5e-7


def pairs_of(composition: Composition) -> list[tuple[DominatingPair, int]]:
    """Every release as a pair, in the composition's direction; plain Gaussians are one."""
    add = composition.add
    found: list[tuple[DominatingPair, int]] = []
    if composition.variance > 0.0:
        gaussian = GaussianMixture(1.0, (math.sqrt(composition.variance),), (1.0,))
        found.append((MixturePair(gaussian, add), 1))
    found += [(MixturePair(mixture, add), n) for mixture, n in composition.mixtures]
    found += [(LaplacePair(scale), n) for scale, n in composition.laplaces]
    found += composition.pairs
    return found


class LatticeError(ArithmeticError):
    """No lattice resolves this loss; the caller keeps the bracket that it has."""


@dataclass(frozen=True)
class Scales:
    """What a lattice is built on; any values are sound, good ones are narrow."""

    theta: float
    cut: float
    width: float
    base: float  # lowest epsilon to be asked for
    starts: tuple[float, ...]  # lowest loss kept, per part
    high_theta: float  # for the Chernoff bounds above the window
    reverse_theta: float  # for the Chernoff bound behind the cut
    slope: float  # the saddle: about -d log(delta) / d epsilon


def choose_scales(
    composition: Composition,
    parts: list[tuple[DominatingPair, int]],
    epsilon: float,
    log_delta: float,
) -> Scales:
    """Cut, tilt and window from sketches of the releases; nothing rests on them (section 7)."""
    aim = AIM - log_delta
    reach = math.sqrt(2.0 * aim) + 4.0
    sketches = [(pair.sketch(reach), n) for pair, n in parts]
    cut, reverse_theta = _choose_cut(composition, sketches, 1.05 * epsilon, aim)
    kept = [(s, s.losses <= cut, n) for s, n in sketches]
    if not all(inside.any() for _, inside, _ in kept):
        raise LatticeError("a release exceeds the scale of epsilon at once")

    def cumulant(thetas: Floats) -> Floats:
        total = np.zeros_like(thetas)
        for s, inside, n in kept:
            exponents = np.multiply.outer(thetas, s.losses[inside])
            top = np.maximum(exponents.max(axis=1), 0.0)
            mass = np.exp(exponents - top[:, None]) @ s.weights[inside]
            total += n * (top + np.log(np.maximum(mass, 1e-300)))
        return total

    unit = max(cut, 1e-300)
    thetas = np.geomspace(1e-2, 5e2, 121) / unit
    values = cumulant(thetas)
    excess = values - thetas * epsilon - np.log(thetas) - np.log1p(thetas)
    best = int(np.argmin(excess))
    # a Newton step away, or more, downwards
    base = min(epsilon - 3.0 / float(thetas[best]), 0.75 * epsilon)
    # the window: aliases from below need aim/theta, those from above a Chernoff bound
    choice = None
    # round-off grows like exp(K - theta epsilon): stay near its least
    noise = values - thetas * epsilon
    for i in np.flatnonzero(noise[:-2] <= noise.min() + 3.0):
        ahead = (values[i + 1 :] - thetas[i + 1 :] * base + aim) / (thetas[i + 1 :] - thetas[i])
        j = int(np.argmin(ahead))
        width = max(aim / thetas[i], float(ahead[j]))
        if choice is None or width < choice[0]:
            choice = width, thetas[i], thetas[i + 1 + j]
    if choice is None or not math.isfinite(choice[0]):
        raise LatticeError("no window holds this loss")
    width, theta, high = choice
    starts = []
    for s, inside, n in kept:
        tilted = s.weights[inside] * np.exp(theta * (s.losses[inside] - cut))
        below = np.cumsum(tilted) <= 1e-13 / n * tilted.sum()
        starts.append(float(s.losses[inside][max(0, int(below.sum()) - 1)]))
    return Scales(
        theta=float(theta),
        cut=cut,
        width=1.02 * float(width),
        base=base,
        starts=tuple(starts),
        high_theta=float(high),
        reverse_theta=reverse_theta,
        slope=float(thetas[best]),
    )


def sketched_cumulant(composition: Composition, log_delta: float) -> tuple[Floats, Floats]:
    """Exponents, and about K at each: nothing is proved with it."""
    reach = math.sqrt(2.0 * (AIM - log_delta)) + 4.0
    sketches = [(pair.sketch(reach), n) for pair, n in pairs_of(composition)]
    spread = sum(n * float((s.weights * np.square(s.losses)).sum()) for s, n in sketches)
    thetas = np.geomspace(1e-3, 1e4, 141) / max(math.sqrt(spread), 1e-300)
    total = np.zeros_like(thetas)
    for s, n in sketches:
        # without the large losses that delta hardly notices: they would rule every moment
        rarer = np.cumsum((n * s.weights)[::-1])[::-1] < math.exp(log_delta - 5.0)
        exponents = np.multiply.outer(thetas, s.losses[~rarer])
        top = np.maximum(exponents.max(axis=1, initial=0.0), 0.0)
        mass = np.exp(exponents - top[:, None]) @ s.weights[~rarer]
        total += n * (top + np.log(np.maximum(mass, 1e-300)))
    return thetas, total


def reverse_cumulant(composition: Composition, rate: float) -> float:
    """Upper bound of log E_Q[exp(-rate S)] over the finite losses, or infinity.

    By quadrature, or by the smallest loss.  Q-mass without P-mass may be absent from the losses
    left out in section 2: the bound is raised by what that could change.
    """
    if rate == 0.0:
        return 0.0
    reverse = replace(composition, add=not composition.add, pairs=())
    others = [(pair.swapped, n) for pair, n in composition.pairs]
    largest = reverse.largest_loss + math.fsum(n * pair.largest_loss for pair, n in others)
    largest *= rate * (1.0 + 1e-12)
    k = math.inf
    # further out the quadrature is not to be relied on, and would say little
    if largest <= 1e6 or rate <= 1e4:
        k, _, _, error = reverse.cumulants(rate)
        k += error + math.fsum(n * pair.log_moment(rate) for pair, n in others)
        k += 1e-12 * (1.0 + abs(k))
    bound = min(largest, k)
    escaped = max((pair.escaped for pair, _ in others), default=0.0)
    if escaped == 0.0:
        bound = bound if k >= 0.0 else largest
    elif escaped < 1.0:
        bound = max(bound, 0.0) - (1.0 + rate) * math.log1p(-escaped)
    return bound if bound <= 1e6 else math.inf


def _choose_cut(
    composition: Composition,
    sketches: list[tuple[Sketch, int]],
    epsilon: float,
    aim: float,
) -> tuple[float, float]:
    """The smallest cut behind which the sum hardly returns below epsilon, and the exponent."""
    losses = np.concatenate([s.losses for s, _ in sketches])
    order = np.argsort(losses)
    losses = losses[order]
    mass = np.concatenate([n * s.weights * np.exp(-s.losses) for s, n in sketches])[order]
    beyond = np.append(np.cumsum(mass[::-1])[::-1][1:], 0.0)
    start = int(np.searchsorted(losses, epsilon))
    candidates, beyond = losses[start:], beyond[start:]
    # no loss reaches epsilon by itself, or nothing is lost by cutting at the last
    if len(candidates) == 0:
        return float(losses[-1]) + 1e-9, 0.0
    rare = epsilon + np.log(np.maximum(beyond, 1e-320)) <= -aim
    if composition.pairs and rare.any() and candidates[np.argmax(rare)] <= 2.0 * epsilon + 20.0:
        # the moments of pairs take time, and are not needed where this is near
        return float(candidates[np.argmax(rare)]), 0.0
    spread = math.sqrt(float((mass * np.square(np.clip(losses, -1.0, 1.0))).sum()))
    rates = np.geomspace(1e-1, 1e5, 41) / max(epsilon, spread, 1e-300)
    k = np.array([reverse_cumulant(composition, float(rate)) for rate in rates])
    back = k[None, :] - np.multiply.outer(candidates - epsilon, rates)
    best = np.argmin(back, axis=1)
    logs = epsilon + np.log(np.maximum(beyond, 1e-320))
    # a probability is at most 1, whatever is known of the moments
    logs += np.minimum(back[np.arange(len(best)), best], 0.0)
    good = np.flatnonzero(logs <= -aim)
    i = int(good[0]) if len(good) else len(candidates) - 1
    return float(candidates[i]), float(rates[best[i]])
