"""Words that dp_accounting's vocabulary of events lacks.

An event says what is released, as mathematics; its docstring is its contract: the pair of
distributions, or the theorem, that its privacy loss rests on.  Which of them is exact under which
neighbouring relation is listed in docs/support.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import attr
from dp_accounting.dp_event import DpEvent

__all__ = [
    "ApproximateDpEvent",
    "CyclicPoissonSampledDpEvent",
    "DiscreteGaussianDpEvent",
    "ExponentialMechanismDpEvent",
    "GroupDpEvent",
    "RandomAllocationDpEvent",
    "RenyiDpEvent",
    "ShuffledDpEvent",
    "SparsifiedGaussianDpEvent",
    "TreeAggregationDpEvent",
]


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ApproximateDpEvent(DpEvent):
    """Any mechanism of which only (epsilon, delta)-DP is known, under the relation in use.

    Dominated by: with probability delta a release in the clear, else randomized response with
    parameter epsilon (Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 3.3 and section 5).
    ``delta = 0`` is a pure-DP mechanism.

    Attributes
    ----------
    epsilon
        >= 0; infinity only together with delta = 1, or as NonPrivateDpEvent.
    delta
        Within [0, 1].
    """

    epsilon: float
    delta: float = 0.0


@attr.s(frozen=True, slots=True, auto_attribs=True)
class DiscreteGaussianDpEvent(DpEvent):
    """An integer-valued query plus noise of the discrete Gaussian distribution.

    ``P[x] ~ exp(-x^2 / (2 s^2))`` on the integers against the same shifted by the sensitivity
    (Canonne, Kamath, Steinke 2020, arXiv 2004.00010).  One-dimensional: a vector has no such pair;
    use ``ZCDpEvent(sensitivity^2 / (2 s^2))`` for it.

    Attributes
    ----------
    standard_deviation
        The parameter s, >= 0.
    sensitivity
        Most that one record changes the query by, a whole number >= 0.
    """

    standard_deviation: float
    sensitivity: int = 1


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ExponentialMechanismDpEvent(DpEvent):
    """The exponential mechanism, or any other whose loss has range at most epsilon.

    Bounded range: for neighbours D, D' there is a t with log P[M(D) = y]/P[M(D') = y] within
    [t - epsilon, t] for every y (Dong, Durfee, Rogers 2020, arXiv 1909.13830); report-noisy-max
    with Gumbel noise and permute-and-flip included.  The relation is the one under which the
    quality score's sensitivity was taken.  The pair is the envelope over all t, attained by some
    such mechanism at every epsilon, an upper bound under composition.

    Attributes
    ----------
    epsilon
        The range: 2 * score sensitivity * (1/temperature), or half of that for a monotone score.
    """

    epsilon: float


@attr.s(frozen=True, slots=True, auto_attribs=True)
class RenyiDpEvent(DpEvent):
    """Any mechanism of which only a few points of its Renyi DP curve are known.

    Between given orders (alpha - 1) RDP(alpha) is convex in alpha, and RDP is nondecreasing: both
    extend the points to a curve (van Erven, Harremoes 2014, Corollary 2 and Theorem 3; a sharper
    form is proved in docs/renyi.md).  Above the greatest order nothing is known.

    Attributes
    ----------
    orders
        Increasing, each above 1.
    divergences
        RDP at each order, >= 0; infinity allowed.
    """

    orders: Sequence[float]
    divergences: Sequence[float]


@attr.s(frozen=True, slots=True, auto_attribs=True)
class SparsifiedGaussianDpEvent(DpEvent):
    """The coordinate-subsampled Gaussian mechanism, one round (arXiv 2304.01541, 2405.02341).

    Every vector has Euclidean norm at most 1 and no coordinate above ``largest_coordinate``
    in magnitude; each coordinate is kept with probability ``keep_probability``, by secret masks
    drawn afresh; N(0, noise_multiplier^2 I) is added to the sum.  Known by its RDP curve: the
    theorem and its proof are in docs/sparsified.md.

    Attributes
    ----------
    noise_multiplier
        Noise over the Euclidean clipping norm, before any rescaling by 1/keep_probability.
    keep_probability
        Within [0, 1].
    largest_coordinate
        Bound on the coordinates over the Euclidean clipping norm, within (0, 1].
    dimension
        Number of coordinates, at least 1.
    """

    noise_multiplier: float
    keep_probability: float
    largest_coordinate: float
    dimension: int


@attr.s(frozen=True, slots=True, auto_attribs=True)
class TreeAggregationDpEvent(DpEvent):
    """Prefix sums by a binary tree with Gaussian noise in every node (arXiv 2103.00039).

    One Gaussian release whose squared sensitivity is the largest, over participation patterns, of
    the sum over nodes of (participations below the node)^2.  A record keeps its places: adding or
    removing means to zero it out (REPLACE_SPECIAL); REPLACE_ONE doubles the sensitivity.

    Attributes
    ----------
    noise_multiplier
        Noise per node over the clipping norm.
    steps
        Leaves of the tree; no restart.
    max_participations
        Most steps in which one record takes part.
    min_separation
        Least distance between two of them: steps i and i + min_separation may both be its.
    """

    noise_multiplier: float
    steps: int
    max_participations: int = 1
    min_separation: int = 1


@attr.s(frozen=True, slots=True, auto_attribs=True)
class CyclicPoissonSampledDpEvent(DpEvent):
    """A fixed partition into groups that take turns; the group's records are Poisson-sampled.

    Step t releases ``event`` on a Poisson sample of group t mod ``cycle_length`` (arXiv 2306.08153,
    section 4).  A record is at risk in its group's steps only, at most
    ceil(steps/cycle_length) of them: that many Poisson-sampled releases.

    Attributes
    ----------
    steps, cycle_length
        Whole numbers, at least 0 and 1.
    sampling_probability
        Of a record of the group whose turn it is.
    event
        What is released of the sample.
    """

    steps: int
    cycle_length: int
    sampling_probability: float
    event: DpEvent


@attr.s(frozen=True, slots=True, auto_attribs=True)
class RandomAllocationDpEvent(DpEvent):
    """Each record takes part in a random set of ``selections`` out of ``steps`` releases.

    Balls in bins (``selections = 1``): one epoch in which every record chooses its batch
    uniformly, independently of the others (arXiv 2412.16802, 2502.08202).

    Attributes
    ----------
    steps
        Releases in the epoch, at least 1.
    event
        What each step releases of its batch: Gaussian releases, or one release of Laplace, discrete
        Laplace or discrete Gaussian noise, of a black box or of the exponential mechanism.
    selections
        How many of the steps a record takes part in, 0 to ``steps``.
    """

    steps: int
    event: DpEvent
    selections: int = 1


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ShuffledDpEvent(DpEvent):
    """One epoch over a shuffled data set in batches of fixed size.

    No tight upper bound is known.  Upper: the shuffle's order may as well be known, so that each
    record is in one release, without amplification.  Lower: the adversary of arXiv 2403.17673,
    section 4, who sees far more than Poisson accounting says.

    Attributes
    ----------
    steps
        Batches in the epoch, at least 1.
    event
        What each step releases of its batch.
    """

    steps: int
    event: DpEvent


@attr.s(frozen=True, slots=True, auto_attribs=True)
class GroupDpEvent(DpEvent):
    """``event``, priced for a group of records that enter or leave together.

    Under Poisson sampling the Gaussian's pair is a mixture with binomial weights (arXiv
    2401.10294); without sampling the sensitivity grows by the group's size.

    Attributes
    ----------
    group_size
        Records in the group, at least 1.
    event
        What is released.
    """

    group_size: int
    event: DpEvent
