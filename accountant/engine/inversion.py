"""From one direction of a loss to certified delta(epsilon); what counts as tight; the cuts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from accountant.engine.brackets import (
    DELTA_WIDTH,
    SLOW_NODES,
    SLOW_WIDTH,
    UNRESOLVED,
    Bracket,
    meet,
    narrow_delta,
)
from accountant.engine.composition import Composition
from accountant.engine.contour import (
    NODE_BUDGET,
    SMALLEST,
    ContourError,
    Line,
    log_kernel_peak,
    saddle_at,
    saddle_width,
)
from accountant.engine.lattice import Lattice
from accountant.engine.lattice_scales import LatticeError
from accountant.engine.lattice_search import delta_by_lattice, deltas_by_lattice

Floats = npt.NDArray[np.float64]

# Nodes of a first contour: enough unless the tail is slow, and then the lattice is often quicker.
SCOUT_BUDGET = 4096


# Losses rarer than exp(-depth) delta are cut off and charged to the upper bound.  The shallowest
# depth is taken at which the tilted density at the cut is below exp(EDGE); the shallow ones cost
# some width and are for losses whose rare events swamp every moment.
DEPTHS = (80.0, 130.0, 220.0, 400.0, math.inf)
SHALLOW = (22.0, 30.0, 40.0, 55.0)
EDGE = -36.0


def delta_bracket(composition: Composition, epsilon: float, rtol: float = SLOW_WIDTH) -> Bracket:
    """Proved bounds on delta(epsilon), epsilon >= 0, for one direction."""
    if composition.needs_lattice:
        return delta_by_lattice(composition, epsilon, rtol=rtol)
    found = delta_from_contour(composition, epsilon, SCOUT_BUDGET)
    if not found.tight and not composition.has_closed_form:
        found = meet(found, delta_from_lattice(composition, epsilon, found), SLOW_WIDTH)
    if not found.tight and not composition.has_closed_form:
        found = meet(found, delta_from_contour(composition, epsilon, NODE_BUDGET), SLOW_WIDTH)
    if not found.tight:
        found = meet(found, Bracket(0.0, composition.total_variation(), False), SLOW_WIDTH)
    return found


def delta_from_lattice(composition: Composition, epsilon: float, known: Bracket) -> Bracket:
    """Proved bounds on delta(epsilon) from the lattice, on the scale of what is known."""
    log_delta = math.log(max(known.upper, SMALLEST))
    for _ in range(3):
        try:
            with np.errstate(all="ignore"):
                proved = Lattice(composition, epsilon, log_delta).certify(epsilon)
        except LatticeError:
            break
        known = meet(known, Bracket(proved.lower, proved.upper, False), SLOW_WIDTH)
        found = math.log(max(known.upper, SMALLEST))
        if known.tight or found > log_delta - 3.0:
            break
        log_delta = found
    return known


def delta_from_contour(composition: Composition, epsilon: float, budget: int) -> Bracket:
    """Proved bounds on delta(epsilon) from closed forms, Chernoff and contours."""
    if composition.empty or epsilon >= composition.largest_loss:
        return Bracket(0.0, 0.0, True)
    closed = composition.closed_form(epsilon)
    if closed is not None:
        return Bracket(*closed, narrow_delta(*closed, DELTA_WIDTH))
    lower, upper = 0.0, 1.0
    log_delta = -16.0
    slow = False
    for _ in range(6):
        kept, theta, log_delta = saddle_of_kept(composition, epsilon, log_delta)
        upper = min(upper, chernoff(kept, theta, epsilon))
        if upper <= UNRESOLVED:
            return Bracket(lower, upper, True)
        log_delta = min(log_delta, math.log(upper))
        try:
            line = Line(kept, theta, epsilon, log_delta, budget)
        except ContourError:
            break
        slow = slow_tail(line)
        proved = line.certify(epsilon)
        lower, upper = max(lower, proved.lower), min(upper, proved.upper)
        # the saddle's guess of delta set the step and the cut: again where it was far too large
        log_found = math.log(max(upper, SMALLEST))
        if upper - lower <= 1e-10 * upper or log_found > log_delta - 2.0:
            break
        log_delta = log_found
    return Bracket(lower, upper, narrow_delta(lower, upper, SLOW_WIDTH if slow else DELTA_WIDTH))


def truncate(
    composition: Composition,
    log_delta: float,
    saddle: Callable[[Composition], tuple[float, float]],
    depths: tuple[float, ...] = DEPTHS,
) -> tuple[Composition, float, float]:
    """The shallowest cut whose edge does not show at the saddle: the loss kept, and its saddle."""
    for depth in depths:
        kept = composition.truncated(log_delta - depth)
        theta, found = saddle(kept)
        if kept.log_edge(theta) <= EDGE:
            break
    return kept, theta, found


def saddle_of_kept(
    composition: Composition, epsilon: float, log_delta: float
) -> tuple[Composition, float, float]:
    """Truncate below delta(epsilon), not knowing it: the loss kept, its saddle, and log delta."""
    for _ in range(12):
        kept, theta, found = truncate(composition, log_delta, lambda one: saddle_at(one, epsilon))
        if composition.add or found > log_delta - 2.0:
            break
        log_delta = max(found, log_delta - 60.0)
    return kept, theta, found


def delta_brackets(
    composition: Composition, epsilons: Floats, rtol: float = SLOW_WIDTH
) -> list[Bracket]:
    """``delta_bracket`` at many epsilons, sharing lines between neighbours."""
    if composition.needs_lattice:
        return deltas_by_lattice(composition, epsilons, rtol)
    found: list[Bracket | None] = [None] * len(epsilons)
    if not (composition.empty or composition.has_closed_form):
        order = np.argsort(epsilons)
        while len(order) > 1 and epsilons[order[0]] < composition.largest_loss:
            first = float(epsilons[order[0]])
            kept, theta, _ = saddle_of_kept(composition, first, -16.0)
            reach = saddle_width(kept, theta)
            group = order[epsilons[order] <= first + reach]
            group = group[epsilons[group] < composition.largest_loss]
            order = order[len(group) :]
            if len(group) > 1:
                _share_line(composition, epsilons, group, found)
    return [
        delta_bracket(composition, float(e)) if known is None else known
        for e, known in zip(epsilons, found, strict=True)
    ]


def _share_line(
    composition: Composition,
    epsilons: Floats,
    group: npt.NDArray[np.intp],
    found: list[Bracket | None],
) -> None:
    """Answer a group of epsilons from one line, where it is precise enough for them."""
    middle = 0.5 * float(epsilons[group[0]] + epsilons[group[-1]])
    # the cut and the step must resolve the smallest delta of the group
    kept, _, log_delta = saddle_of_kept(composition, float(epsilons[group[-1]]), -16.0)
    theta, log_middle = saddle_at(kept, middle)
    try:
        line = Line(kept, theta, middle, min(log_delta, log_middle))
    except ContourError:
        return
    promised = SLOW_WIDTH if slow_tail(line) else DELTA_WIDTH
    lower, upper, _, _ = line.certify_many(epsilons[group])
    for index, low, high in zip(group, lower, upper, strict=True):
        if narrow_delta(low, high, promised):
            found[index] = Bracket(float(low), float(high), True)


def slow_tail(line: Line) -> bool:
    """Whether |Phi| decays so slowly on the line that the wider promise applies."""
    return line.smoothing > 0.0 or line.nodes > SLOW_NODES


def chernoff(composition: Composition, theta: float, epsilon: float) -> float:
    """delta(epsilon) <= exp(K(theta) - theta epsilon) sup (1-e^-x)_+ e^(-theta x).

    Any exponent is valid: where theta is beyond what the inner grid resolves, smaller ones follow.
    """
    for _ in range(12):
        k, _, _, error = composition.cumulants(theta)
        if math.isfinite(k):
            slack = error + 1e-13 * (abs(k) + theta * epsilon + 1.0)
            exponent = k - theta * epsilon + log_kernel_peak(theta) + slack
            if exponent < 0.0:
                return min(1.0, math.exp(exponent) + composition.lost + SMALLEST)
        theta *= 0.1
    return 1.0
