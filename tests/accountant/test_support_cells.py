"""Every supported cell of the support table, against a value that the accountant has no part in.

A case gives two functions of epsilon: ``attained``, the delta of some mechanism that fits the
event, and ``known``, a delta that another theorem or accountant proves.  Where the accountant says
"exact" they are the same function.
"""

import math

import numpy as np
import pytest
from dp_accounting import dp_event as dp
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy import special, stats

from accountant import privacy_loss
from accountant.parameters import REPLACE, ZERO_OUT
from accountant.support import Verdict, cells
from tests.accountant import support_truth as truth
from tests.accountant.support_truth import (
    BATCH,
    GROUP,
    LOCATION,
    SIZE,
    TREES,
    WHOLE,
    Q,
    amplified,
    binomial,
    black_box,
    bounded_range,
    composed,
    from_rdp,
    gaussian,
    mixed,
    worst,
)

RHO = 0.1
# Mechanisms of which a guarantee is known, and no more.
BLACK_BOXES = ("exponential (bounded range)", "(epsilon, delta) black box", "pure-DP black box")
COARSE = {
    "Gaussian": truth.on_cells(lambda x: special.ndtr(x / 1.1), 12.0, 0.04),
    "Laplace": truth.on_cells(truth.laplace_cdf, 50.0, 0.1),
}


# --- one record: laws with it, without it, and with another in its place -------------------------


def laws(mechanism, relation):
    """Pairs of laws with and without the record, or, under replace-one, with one or another."""
    replaced = relation is REPLACE
    if mechanism in LOCATION:
        law = LOCATION[mechanism]
        return [(law(1), law(-1 if replaced else 0))]
    if mechanism == "randomized response":
        return [truth.randomized_response(relation is ZERO_OUT)]
    if mechanism == "mixture of Gaussians":
        return [truth.mixture_law()]
    if mechanism == "exponential (bounded range)":
        return list(bounded_range(1.0))
    if mechanism == "sparsified Gaussian":
        with_it, without, other = truth.sparsified_law()
        return [(with_it, other if replaced else without)]
    if mechanism in ("zCDP", "RDP curve"):
        # a Gaussian release of rho = 0.1: all that is known of both fits it
        law = truth.on_cells(lambda x: special.ndtr(x / math.sqrt(5.0)), 40.0, 0.005)
        return [(law(0.5), law(-0.5))]
    if mechanism == "repeat and select":
        # the score may ignore the output: then the best run is one run
        return laws("Gaussian", relation)
    return [black_box(0.5, 1e-6 if mechanism.startswith("(") else 0.0)]


def centred(mechanism):
    """Laws of x, of nothing and of -x, for mechanisms whose sample shows no more than a shift."""
    if mechanism == "sparsified Gaussian":
        return [truth.sparsified_law()]
    law = {**LOCATION, "repeat and select": LOCATION["Gaussian"]}.get(mechanism)
    if mechanism in ("zCDP", "RDP curve"):
        law = truth.on_cells(lambda x: special.ndtr(x / math.sqrt(20.0)), 80.0, 0.005)
    if law is not None:
        return [(law(1), law(0), law(-1))]
    # a guarantee under replace-one only: without the record, an outcome that tells of it
    padded = [tuple(np.append(one, 0.0) for one in pair) for pair in laws(mechanism, REPLACE)]
    absent = np.zeros(padded[0][0].size)
    absent[-1] = 1.0
    return [(p, absent, q) for p, q in padded]


def product_of_two(shift):
    """The Gaussian and the Laplace release of one batch, on coarse cells."""
    return np.outer(COARSE["Gaussian"](shift), COARSE["Laplace"](shift)).ravel()


def sampled_pairs(mechanism, relation, q):
    """Poisson: without the record with probability 1 - q."""
    if mechanism == "several releases of a batch":
        p, none, other = (product_of_two(s) for s in (1, 0, -1))
        last = (1 - q) * none + q * other if relation is REPLACE else none
        return [((1 - q) * none + q * p, last)]
    if relation is REPLACE:
        return [
            ((1 - q) * none + q * p, (1 - q) * none + q * other)
            for p, none, other in centred(mechanism)
        ]
    found = laws(mechanism, relation)
    return [
        pair
        for p, none in found
        for pair in (((1 - q) * none + q * p, none), ((1 - q) * p + q * none, p))
    ]


# --- what is proved elsewhere --------------------------------------------------------------------


def curve(mechanism, relation):
    """RDP by formula, of mechanisms that are priced by RDP."""
    if mechanism == "zCDP":
        return lambda a: RHO * a
    if mechanism == "RDP curve":
        return lambda a: RHO * a if a in (2.0, 4.0, 16.0) else math.inf
    if mechanism == "exponential (bounded range)":
        return truth.pure_rdp(1.0)
    if mechanism == "pure-DP black box":
        return truth.pure_rdp(0.5)
    if mechanism == "sparsified Gaussian":
        # keeping every coordinate costs more
        kept = truth.gaussian_rdp(1.0)
        return truth.apart_rdp(kept) if relation is REPLACE else kept
    if mechanism == "several releases of a batch":
        shift = 2.0 if relation is REPLACE else 1.0
        return truth.both(truth.gaussian_rdp(shift / 1.1), truth.laplace_rdp(shift))
    assert mechanism == "repeat and select"
    noise = 0.55 if relation is REPLACE else 1.1  # theirs does not double the sensitivity
    theirs = RdpAccountant(ORDERS_OF_PEER)
    theirs.compose(dp.RepeatAndSelectDpEvent(dp.GaussianDpEvent(noise), 3.0, 1.0))
    values = dict(zip(ORDERS_OF_PEER, theirs.rdp, strict=True))
    return lambda a: values.get(a, math.inf)


ORDERS_OF_PEER = [1.0 + 2.0**k for k in range(-5, 1)] + [float(a) for a in range(3, 65)]


def by_rdp(mechanism, relation, change=lambda one: one):
    """The best conversion at the orders at which the curve is known."""
    orders = {
        "RDP curve": (2.0, 4.0, 16.0),
        "repeat and select": ORDERS_OF_PEER,
    }.get(mechanism, truth.ORDERS)
    return from_rdp(change(curve(mechanism, relation)), orders)


# --- the cases -----------------------------------------------------------------------------------


def unsampled(mechanism, relation):
    if mechanism in TREES:
        mu = math.sqrt(TREES[mechanism]) / 5.0
        exact = gaussian(2 * mu if relation is REPLACE else mu)
        return exact, exact
    if mechanism == "several releases of a batch":
        exact = composed(*(laws(one, relation)[0] for one in ("Gaussian", "Laplace")))
        return exact, exact
    attained = worst(*laws(mechanism, relation))
    if mechanism == "Gaussian":
        attained = gaussian((2 if relation is REPLACE else 1) / 1.1)
    if mechanism in ("zCDP", "RDP curve", "repeat and select", "sparsified Gaussian"):
        return attained, by_rdp(mechanism, relation)
    return attained, attained


def poisson(mechanism, relation):
    attained = worst(*sampled_pairs(mechanism, relation, Q))
    if mechanism in LOCATION or mechanism == "mixture of Gaussians":
        return attained, attained
    if mechanism in BLACK_BOXES:
        return attained, attained
    if mechanism == "several releases of a batch" and relation is not REPLACE:
        return attained, from_rdp(truth.sampled_rdp(curve(mechanism, relation)), WHOLE)
    if mechanism == "sparsified Gaussian":
        whole = truth.sampled_rdp(truth.gaussian_rdp(1.0))
        if relation is not REPLACE:
            return attained, from_rdp(whole, WHOLE)
        return attained, from_rdp(truth.apart_rdp(whole), WHOLE)
    if relation is REPLACE:
        return attained, by_rdp(mechanism, relation, truth.joint_rdp)
    return attained, by_rdp(mechanism, relation)


def truncated(mechanism, relation):
    kept = truth.kept_probability(100, Q, 12)
    attained = worst(*sampled_pairs(mechanism, relation, kept))
    event = dp.TruncatedSubsampledGaussianDpEvent(100, Q, 12, 1.1)
    theirs = PLDAccountant(relation, value_discretization_interval=5e-4).compose(event)
    return attained, theirs.get_delta


def without_replacement(mechanism, relation):
    q = BATCH / SIZE
    if mechanism in LOCATION:
        law = LOCATION[mechanism]
        apart = worst((law(1), law(-1)))
        exact = worst(((1 - q) * law(-1) + q * law(1), law(-1)))
        if relation is not ZERO_OUT:
            return exact, amplified(apart, q) if relation is REPLACE else exact
        return worst(((1 - q) * law(0) + q * law(1), law(0))), amplified(apart, q)
    if mechanism in BLACK_BOXES:
        apart = worst(*laws(mechanism, REPLACE))
        return amplified(apart, q), amplified(apart, q)
    attained = (
        amplified(composed(*(laws(one, REPLACE)[0] for one in ("Gaussian", "Laplace"))), q)
        if mechanism == "several releases of a batch"
        else amplified(worst(*laws(mechanism, REPLACE)), q)
    )
    return attained, by_rdp(mechanism, REPLACE)


def with_replacement(mechanism, relation):
    law = LOCATION[mechanism]
    drawn = binomial(BATCH, 1.0 / SIZE)
    shift = 1 if relation is ZERO_OUT else 2
    mixture = mixed(law, drawn, shift)
    attained = worst((mixture, law(0)))
    if relation is not REPLACE and relation is not ZERO_OUT:
        return attained, attained
    some = 1.0 - drawn[0]
    profiles = [(w, worst((law(k), law(-k)))) for k, w in drawn.items() if k and w > 1e-12]

    def known(epsilon):
        # Balle, Barthe, Gaboardi 2018, Theorem 10
        inner = math.log1p(math.expm1(epsilon) / some)
        return sum(w * delta(inner) for w, delta in profiles)

    return attained, known


GRID = {
    2: truth.on_cells(lambda x: special.ndtr(x / 1.1), 11.0, 0.01),
    3: truth.on_cells(lambda x: special.ndtr(x / 1.1), 8.0, 0.1),
}


def placed(pair, places):
    """The record in one of these sets of steps against in none, outcomes of one loss as one."""
    seen = pair[0] + pair[1] > 0.0
    pair = pair[0][seen], pair[1][seen]
    values, index = np.unique(np.round(truth.losses(*pair), 9), return_inverse=True)
    there, away = (np.bincount(index, law, len(values)) for law in pair)
    steps = len(places[0])
    uniform = truth.cube(
        lambda at: there if at else away, places, [1.0 / len(places)] * len(places)
    )
    return uniform, truth.cube(lambda _: away, [(0,) * steps], [1.0])


def one_place(mechanism, relation):
    places = [(1, 0), (0, 1)]
    if mechanism == "Gaussian":
        exact = worst(placed((GRID[2](1), GRID[2](0)), places))
        return exact, exact
    attained = worst(*(placed(pair, places) for pair in laws(mechanism, relation)))
    if mechanism in LOCATION or mechanism == "pure-DP black box":
        return attained, attained
    return attained, unsampled(mechanism, relation)[1]


def several_places(mechanism, relation):
    """Two of three, at most two releases."""
    places = [(1, 1, 0), (1, 0, 1), (0, 1, 1)]
    if mechanism == "Gaussian":
        attained = worst(placed((GRID[3](1), GRID[3](0)), places))
        return attained, gaussian(math.sqrt(2.0) / 1.1)
    pairs = laws(mechanism, relation)
    if mechanism == "Laplace":
        pairs = [(COARSE["Laplace"](1), COARSE["Laplace"](0))]
    attained = worst(*(placed(pair, places) for pair in pairs))
    known = (
        black_box(1.0, 0.0) if mechanism.startswith("exponential") else laws(mechanism, relation)[0]
    )
    return attained, composed(known, known)


def cyclic(mechanism, relation):
    """Steps 10, cycle 5: two Poisson samples."""
    if curve_priced(mechanism, relation):
        # the second step may be ignored
        attained = worst(*sampled_pairs(mechanism, relation, Q))
        if mechanism == "several releases of a batch" and relation is not REPLACE:
            one = truth.sampled_rdp(curve(mechanism, relation))
            return attained, from_rdp(truth.both(one, one), WHOLE)
        if relation is REPLACE and mechanism != "sparsified Gaussian":
            one = truth.joint_rdp(curve(mechanism, relation))
            return attained, by_rdp(mechanism, relation, lambda _: truth.both(one, one))
        return attained, by_rdp(mechanism, relation, lambda one: truth.both(one, one))
    if mechanism == "exponential (bounded range)":
        # losses of 1/2 and -1/2 have a range of 1, and a range of 1 is 1-DP
        boxes = black_box(0.5, 0.0), black_box(1.0, 0.0)
        below, above = (((1 - Q) * q + Q * p, q) for p, q in boxes)
        if relation is REPLACE:
            # a sample without the record may be told by an outcome of its own
            below, above = (tuple(np.append(Q * law, 1 - Q) for law in box) for box in boxes)
        single, twice = worst(*sampled_pairs(mechanism, relation, Q)), composed(below, below)
        return lambda epsilon: max(single(epsilon), twice(epsilon)), composed(above, above)
    p, q = sampled_pairs(mechanism, relation, Q)[0]
    exact = composed((p, q), (p, q))
    return exact, exact


def curve_priced(mechanism, relation):
    return mechanism in (
        "zCDP",
        "RDP curve",
        "repeat and select",
        "sparsified Gaussian",
        "several releases of a batch",
    )


def shuffled(mechanism, relation):
    """Two batches: whether the first holds the record is a fair coin; nothing gains from it."""
    known = unsampled(mechanism, relation)[1]
    if mechanism == "several releases of a batch":
        return worst(*sampled_pairs(mechanism, relation, 0.5)), known
    if mechanism == "randomized response":
        own, other = laws(mechanism, relation)[0]
        third = own[[1, 2, 0, 3]]
        return worst(((own + third) / 2, (other + third) / 2)), known
    attained = worst(*sampled_pairs(mechanism, relation, 0.5))
    if mechanism == "Gaussian" and relation is ZERO_OUT:
        # every other record contributes -1: arXiv 2403.17673, section 4
        corners = [truth.cube(GRID[2], [(s, 0), (0, s)], [0.5, 0.5]) for s in (2, 1)]
        cubes = worst(tuple(corners))
        return lambda epsilon: max(attained(epsilon), cubes(epsilon)), known
    return attained, known


def group(mechanism, relation):
    k = GROUP
    if mechanism in LOCATION:
        law = LOCATION[mechanism]
        exact = worst((law(k), law(-k if relation is REPLACE else 0)))
        return exact, exact
    if mechanism == "several releases of a batch":
        shifts = (k, -k if relation is REPLACE else 0)
        parts = [tuple(LOCATION[m](s) for s in shifts) for m in ("Gaussian", "Laplace")]
        exact = composed(*parts)
        return exact, exact
    if mechanism == "zCDP":
        return gaussian(k * math.sqrt(2 * RHO)), from_rdp(lambda a: k * k * RHO * a)
    if mechanism == "pure-DP black box":
        exact = worst(black_box(k * 0.5, 0.0))
        return exact, exact
    delta = 1e-6 * math.expm1(k * 0.5) / math.expm1(0.5)
    return worst(black_box(0.5, 1e-6)), worst(black_box(k * 0.5, delta))


def poisson_group(mechanism, relation):
    law = LOCATION[mechanism]
    exact = worst((mixed(law, binomial(GROUP, Q)), law(0)))
    return exact, exact


def fixed_size_group(mechanism, relation):
    law = LOCATION[mechanism]
    chances = stats.hypergeom(SIZE, GROUP, BATCH)
    weights = {x: float(chances.pmf(x)) for x in range(GROUP + 1)}
    exact = worst((mixed(law, weights, 2), law(0)))
    return exact, exact


CASES = {
    "none": unsampled,
    "Poisson": poisson,
    "truncated Poisson": truncated,
    "without replacement": without_replacement,
    "with replacement": with_replacement,
    "random allocation, one place": one_place,
    "random allocation, several": several_places,
    "cyclic Poisson": cyclic,
    "shuffled": shuffled,
    "group of 3": group,
    "group of 3, Poisson": poisson_group,
    "group of 3, without replacement": fixed_size_group,
}
# Relative error of listed laws; of the accountant's lists and of a peer's grid.
TOLERANCE = 2e-4
LOOSER = {"random allocation, one place": 1e-3, "truncated Poisson": 2e-3}


def label(cell):
    return f"{cell.sampler}-{cell.mechanism}-{cell.relation.name}"


SUPPORTED = [cell for cell in cells() if cell.verdict.supported]


@pytest.mark.parametrize("cell", SUPPORTED, ids=label)
def test_cell(cell):
    attained, known = CASES[cell.sampler](cell.mechanism, cell.relation)
    if cell.verdict is Verdict.EXACT:
        assert known is attained
    loss = privacy_loss(cell.event, cell.relation)
    slack = LOOSER.get(cell.sampler, TOLERANCE)
    for delta in (1e-2, 1e-4):
        found = loss.epsilon_bounds(delta)
        assert attained(found.upper) <= delta * (1.0 + TOLERANCE)
        assert found.upper == 0.0 or known(found.upper) >= delta * (1.0 - slack)
        assert found.lower == 0.0 or attained(found.lower) >= delta * (1.0 - TOLERANCE)
