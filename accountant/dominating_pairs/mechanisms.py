"""Releases of the whole data set: the mechanisms, and their composition."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant import events
from accountant.dominating_pairs.registry import rule, terms
from accountant.errors import UnsupportedEventError
from accountant.loss import loss_of_terms
from accountant.losses.atoms import Atoms, atoms_of
from accountant.losses.bounded_range import BoundedRangePair
from accountant.losses.cells import Floats
from accountant.losses.gaussian import GaussianMixture
from accountant.losses.renyi import RenyiCurve, RepeatAndSelect, Tabulated, ZeroConcentrated
from accountant.losses.sparsified import ReplaceOne, SparsifiedGaussian
from accountant.parameters import (
    ONE_RECORD,
    REPLACE,
    ZERO_OUT,
    as_float_array,
    event_list,
    noise,
    nonnegative,
    probability,
    require,
    short,
    whole_count,
)
from accountant.terms import Terms
from accountant.tree_aggregation import squared_sensitivity

# Outcomes of a discrete mechanism that are listed one by one.
MOST_ATOMS = 100_000
# Largest epsilon of a black box that is priced at all; e^epsilon must be a double.
LARGEST_EPSILON = 700.0


@rule(dp_event.NoOpDpEvent)
def _no_op(event: dp_event.NoOpDpEvent, relation: NeighboringRelation) -> Terms:
    return Terms()


@rule(dp_event.NonPrivateDpEvent)
def _non_private(event: dp_event.NonPrivateDpEvent, relation: NeighboringRelation) -> Terms:
    return Terms(non_private=True)


@rule(dp_event.ComposedDpEvent)
def _composed(event: dp_event.ComposedDpEvent, relation: NeighboringRelation) -> Terms:
    # a log of many steps lists few different ones; not by equality, to which True is 1
    known: dict[str, Terms] = {}
    counts: Counter[str] = Counter()
    for part in event_list(event.events, "events"):
        key = _key(part)
        if key not in known:
            known[key] = terms(part, relation)
        counts[key] += 1
    total = Terms()
    for key, count in counts.items():
        total.add(known[key], count)
    return total


def _key(part: object) -> str:
    try:
        return repr(part)
    except Exception:  # a stranger inside: its rule refuses it
        return f"{id(part)}"


@rule(dp_event.SelfComposedDpEvent)
def _self_composed(event: dp_event.SelfComposedDpEvent, relation: NeighboringRelation) -> Terms:
    total = Terms()
    total.add(terms(event.event, relation), whole_count(event.count, "count"))
    return total


@rule(dp_event.GaussianDpEvent)
def _gaussian(event: dp_event.GaussianDpEvent, relation: NeighboringRelation) -> Terms:
    """N(1, s^2) against N(0, s^2); under replace-one the means are 2 apart."""
    return gaussian_terms(noise(event.noise_multiplier, "noise_multiplier"), relation)


def gaussian_terms(sigma: float, relation: NeighboringRelation) -> Terms:
    """One Gaussian release of unit sensitivity."""
    if sigma == 0.0:
        return Terms(non_private=True)
    if math.isinf(sigma):
        return Terms()
    return Terms(gaussians=Counter({0.5 * sigma if relation is REPLACE else sigma: 1}))


@rule(dp_event.LaplaceDpEvent)
def _laplace(event: dp_event.LaplaceDpEvent, relation: NeighboringRelation) -> Terms:
    """Lap(1, b) against Lap(0, b), also of a vector with L1 norm 1; replace-one: 2 apart."""
    scale = noise(event.noise_multiplier, "noise_multiplier")
    if scale == 0.0:
        return Terms(non_private=True)
    if math.isinf(scale):
        return Terms()
    return Terms(laplaces=Counter({0.5 * scale if relation is REPLACE else scale: 1}))


@rule(dp_event.DiscreteLaplaceDpEvent)
def _discrete_laplace(
    event: dp_event.DiscreteLaplaceDpEvent, relation: NeighboringRelation
) -> Terms:
    """DLap(a) against the same shifted by the sensitivity; twice that under replace-one."""
    return _discrete(discrete_laplace_masses(event), relation)


@rule(events.DiscreteGaussianDpEvent)
def _discrete_gaussian(
    event: events.DiscreteGaussianDpEvent, relation: NeighboringRelation
) -> Terms:
    """The discrete Gaussian against the same shifted; twice as far under replace-one."""
    return _discrete(discrete_gaussian_masses(event), relation)


def _discrete(rows: Terms | list[Floats], relation: NeighboringRelation) -> Terms:
    if isinstance(rows, Terms):
        return rows
    high, low = (rows[0], rows[2]) if relation is REPLACE else (rows[0], rows[1])
    return Terms(pairs=Counter({atoms_of(high, low, 2e-13): 1}))


def discrete_laplace_masses(
    event: dp_event.DiscreteLaplaceDpEvent,
) -> Terms | list[Floats]:
    """Masses of DLap(a) shifted by C, 0 and -C on classes of outcomes; or the answer at once.

    Outcomes beyond the outermost shifts are one class each: there all losses are constant.
    """
    a = nonnegative(event.noise_parameter, "noise_parameter")
    c = whole_count(event.sensitivity, "sensitivity")
    if c == 0:
        return Terms()
    # exp(-0 |x|) is no distribution: dp_accounting counts it as no protection
    if a == 0.0 or math.isinf(a):
        return Terms(non_private=True)
    if 2 * c > MOST_ATOMS or a * 2 * c > LARGEST_EPSILON:
        raise UnsupportedEventError(
            f"a discrete Laplace mechanism of sensitivity {c} and parameter {a:g} has more "
            "outcomes or a larger loss than can be listed; use ApproximateDpEvent(parameter * "
            "sensitivity), an upper bound"
        )
    x = np.arange(-c, c + 1)
    rows = []
    for shift in (c, 0, -c):
        row = np.exp(-a * np.abs(x - shift)) * math.tanh(0.5 * a)
        # everything at or beyond +-c: 1/(1 + e^-a) times the decay from the shift to there
        ends = np.exp(-a * np.abs(np.array([-c, c]) - shift)) / (1.0 + math.exp(-a))
        row[[0, -1]] = ends
        rows.append(row)
    return rows


def discrete_gaussian_masses(
    event: events.DiscreteGaussianDpEvent,
) -> Terms | list[Floats]:
    """Masses of the discrete Gaussian shifted by C, 0 and -C; or the answer at once."""
    s = noise(event.standard_deviation, "standard_deviation")
    c = whole_count(event.sensitivity, "sensitivity")
    if c == 0 or math.isinf(s):
        return Terms()
    if s == 0.0:
        return Terms(non_private=True)
    if c + 37.0 * s > MOST_ATOMS / 2 or c / s > 18.0:
        raise UnsupportedEventError(
            f"a discrete Gaussian of standard deviation {s:g} and sensitivity {c} has too many "
            "outcomes to be listed, or hardly any noise; use ZCDpEvent(sensitivity^2 / (2 "
            "standard_deviation^2)), an upper bound"
        )
    edge = c + math.ceil(37.0 * s)
    x = np.arange(-edge - c, edge + c + 1)
    rows = [np.exp(-0.5 * np.square((x - shift) / s)) for shift in (c, 0, -c)]
    # the same normalisation for all; what lies beyond the edges is below 1e-296
    total = float(np.exp(-0.5 * np.square(np.arange(-edge, edge + 1) / s)).sum())
    return [row / total for row in rows]


@rule(dp_event.RandomizedResponseDpEvent)
def _randomized_response(
    event: dp_event.RandomizedResponseDpEvent, relation: NeighboringRelation
) -> Terms:
    """k buckets, uniform with probability p: against another bucket, or against uniform."""
    require(
        event,
        relation,
        REPLACE,
        ZERO_OUT,
        why="every record answers, so that adding one adds an answer that all can see",
    )
    p = probability(event.noise_parameter, "noise_parameter")
    k = whole_count(event.num_buckets, "num_buckets", 1)
    if k == 1 or p == 1.0:
        return Terms()
    if p == 0.0:
        return Terms(non_private=True)
    share = p / k
    own = 1.0 - p + share
    if relation is REPLACE:
        rest = (k - 2) * share
        pair = atoms_of(np.array([own, share, rest]), np.array([share, own, rest]))
    else:
        rest = (k - 1) * share
        pair = atoms_of(np.array([own, rest]), np.array([1.0 / k, (k - 1) / k]))
    return Terms(pairs=Counter({pair: 1}))


@rule(events.ExponentialMechanismDpEvent)
def _exponential(event: events.ExponentialMechanismDpEvent, relation: NeighboringRelation) -> Terms:
    """The envelope of all mechanisms of this range; floor: randomized response of half of it."""
    epsilon = nonnegative(event.epsilon, "epsilon")
    if epsilon == 0.0:
        return Terms()
    if epsilon > LARGEST_EPSILON:
        return Terms(non_private=True)
    floor = Terms(pairs=Counter({pure_pair(0.5 * epsilon): 1}))
    return Terms(pairs=Counter({BoundedRangePair(epsilon): 1}), floor=floor)


@rule(events.ApproximateDpEvent)
def _approximate(event: events.ApproximateDpEvent, relation: NeighboringRelation) -> Terms:
    """(epsilon, delta): a release in the clear with probability delta, or randomized response."""
    epsilon = nonnegative(event.epsilon, "epsilon")
    delta = probability(event.delta, "delta")
    if delta == 1.0 or epsilon > LARGEST_EPSILON:
        return Terms(non_private=True)
    if epsilon == 0.0 and delta == 0.0:
        return Terms()
    found = Terms(clear=Counter({delta: 1} if delta > 0.0 else {}))
    if epsilon > 0.0:
        found.pairs[pure_pair(epsilon)] += 1
    return found


def pure_pair(epsilon: float) -> Atoms:
    """Randomized response, which dominates every epsilon-DP mechanism (arXiv 1311.0776)."""
    p, q = 1.0 / (1.0 + math.exp(-epsilon)), 1.0 / (1.0 + math.exp(epsilon))
    return Atoms(np.array([-epsilon, epsilon]), np.array([q, p]))


def of_curve(curve: RenyiCurve) -> Terms:
    """A mechanism that is known by its RDP alone: nothing is known to be attained."""
    return Terms(curves=Counter({curve: 1}), floor=Terms())


@rule(dp_event.ZCDpEvent)
def _zcdp(event: dp_event.ZCDpEvent, relation: NeighboringRelation) -> Terms:
    """RDP(a) = xi + rho a."""
    rho, xi = nonnegative(event.rho, "rho"), nonnegative(event.xi, "xi")
    if rho == 0.0 and xi == 0.0:
        return Terms()
    if math.isinf(rho) or math.isinf(xi):
        return Terms(non_private=True)
    return of_curve(ZeroConcentrated(rho, xi))


@rule(events.RenyiDpEvent)
def _renyi(event: events.RenyiDpEvent, relation: NeighboringRelation) -> Terms:
    """Points of a curve."""
    orders = as_float_array(event.orders, "orders")
    known = as_float_array(event.divergences, "divergences")
    if orders.shape != known.shape:
        raise ValueError(
            f"orders and divergences must be of one length, got {orders.size} and {known.size}"
        )
    return of_curve(Tabulated(tuple(orders.tolist()), tuple(known.tolist())))


@rule(dp_event.RepeatAndSelectDpEvent)
def _repeat_and_select(
    event: dp_event.RepeatAndSelectDpEvent, relation: NeighboringRelation
) -> Terms:
    """The theorems of arXiv 2110.03620 on RDP; one run with probability 1 is that run."""
    inner = terms(event.event, relation)
    mean, shape = nonnegative(event.mean, "mean"), nonnegative(event.shape, "shape")
    if inner.is_empty:
        return Terms()
    if inner.non_private:
        return Terms(non_private=True)
    return of_curve(RepeatAndSelect(loss_of_terms(inner, relation), mean, shape))


@rule(dp_event.MixtureOfGaussiansDpEvent)
def _mixture(event: dp_event.MixtureOfGaussiansDpEvent, relation: NeighboringRelation) -> Terms:
    """sum_i p_i N(c_i, s^2) against N(0, s^2) (arXiv 2310.15526, Corollary 4.7)."""
    require(
        event,
        relation,
        *ONE_RECORD,
        why="its contract names the distributions with and without the record only",
    )
    sigma = noise(event.standard_deviation, "standard_deviation")
    c = as_float_array(event.sensitivities, "sensitivities")
    p = as_float_array(event.sampling_probs, "sampling_probs")
    if c.shape != p.shape:
        raise ValueError(
            "sensitivities and sampling_probs must be of one length, at least 1; got "
            f"{c.size} and {p.size}"
        )
    if not np.all((c >= 0.0) & np.isfinite(c)):
        raise ValueError(f"sensitivities must be finite and >= 0 (norms), got {short(c.tolist())}")
    if not np.all((p >= 0.0) & (p <= 1.0)) or abs(math.fsum(p) - 1.0) > 1e-9:
        raise ValueError(f"sampling_probs must be >= 0 and sum to 1, got {short(p.tolist())}")
    weights: dict[float, float] = {}
    for value in sorted(set(c[p > 0.0].tolist())):
        weights[value] = math.fsum(p[c == value])
    return mixture_terms(sigma, weights)


def mixture_terms(sigma: float, weights: dict[float, float]) -> Terms:
    """A mixture of Gaussians: weights by sensitivity, increasing."""
    support = tuple(weights)
    if support == (0.0,) or math.isinf(sigma):
        return Terms()
    if sigma == 0.0:
        return Terms(non_private=True)
    if len(support) == 1:
        return Terms(gaussians=Counter({sigma / support[0]: 1}))
    return Terms(mixtures=Counter({GaussianMixture(sigma, support, _normal(weights)): 1}))


def _normal(weights: dict[float, float]) -> tuple[float, ...]:
    """The weights with sum 1: a first one that dominates takes the rounding of all."""
    first, *rest = weights.values()
    if first >= 0.5:
        return (1.0 - math.fsum(rest), *rest)
    total = math.fsum(weights.values())
    return tuple(weight / total for weight in weights.values())


@rule(dp_event.SingleEpochTreeAggregationDpEvent)
def _single_epoch_tree(
    event: dp_event.SingleEpochTreeAggregationDpEvent, relation: NeighboringRelation
) -> Terms:
    """One Gaussian: a record is in at most one leaf, so in floor(log2 T) + 1 nodes."""
    _require_places(event, relation)
    sigma = noise(event.noise_multiplier, "noise_multiplier")
    counts = event.step_counts
    listed = counts.tolist() if isinstance(counts, np.ndarray) else counts
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    steps = [whole_count(count, "step_counts") for count in listed]
    if not any(steps):
        return Terms()
    return _tree(sigma, max(steps).bit_length(), relation)


@rule(events.TreeAggregationDpEvent)
def _tree_aggregation(event: events.TreeAggregationDpEvent, relation: NeighboringRelation) -> Terms:
    """One Gaussian with the tree's squared sensitivity (arXiv 2103.00039, appendix D)."""
    _require_places(event, relation)
    sigma = noise(event.noise_multiplier, "noise_multiplier")
    steps = whole_count(event.steps, "steps")
    most = whole_count(event.max_participations, "max_participations")
    gap = whole_count(event.min_separation, "min_separation", 1)
    if steps == 0 or most == 0:
        return Terms()
    return _tree(sigma, squared_sensitivity(steps, most, gap), relation)


def _tree(sigma: float, squared: int, relation: NeighboringRelation) -> Terms:
    if sigma in (0.0, math.inf):
        return gaussian_terms(sigma, relation)
    # rounded towards less noise
    return gaussian_terms(sigma / math.sqrt(squared) * (1.0 - 2.0**-51), relation)


def _require_places(event: dp_event.DpEvent, relation: NeighboringRelation) -> None:
    require(
        event,
        relation,
        ZERO_OUT,
        REPLACE,
        why="a record that is added moves the others to other leaves; zero it out in its place",
    )


@rule(events.SparsifiedGaussianDpEvent)
def _sparsified(event: events.SparsifiedGaussianDpEvent, relation: NeighboringRelation) -> Terms:
    """The RDP theorem of docs/sparsified.md."""
    curve = sparsified_curve(event)
    if curve.noise_multiplier == 0.0:
        return Terms() if curve.keep_probability == 0.0 else Terms(non_private=True)
    return of_curve(ReplaceOne(curve) if relation is REPLACE else curve)


def sparsified_curve(event: events.SparsifiedGaussianDpEvent) -> SparsifiedGaussian:
    """The curve of one round."""
    return SparsifiedGaussian(
        noise(event.noise_multiplier, "noise_multiplier"),
        probability(event.keep_probability, "keep_probability"),
        nonnegative(event.largest_coordinate, "largest_coordinate"),
        whole_count(event.dimension, "dimension", 1),
    )
