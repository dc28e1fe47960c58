"""What a published run released, in the terms its authors give, as events.

One number of a run may be missing from the publication: it is NaN here, and the event is made once
it has been found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import ClassVar

from dp_accounting import dp_event
from scipy import stats

from accountant import events
from accountant.tree_aggregation import cyclic_squared_sensitivity, squared_sensitivity

__all__ = [
    "CyclicTrees",
    "Gaussian",
    "Poisson",
    "RandomAllocation",
    "Release",
    "Tree",
    "ZeroConcentrated",
    "composed",
    "filled",
    "missing",
]


@dataclass(frozen=True, kw_only=True)
class Release:
    """One mechanism, or one training run."""

    kind: ClassVar[str]

    def event(self) -> dp_event.DpEvent:
        """The event, in dp_accounting's words and ours."""
        raise NotImplementedError

    def plain_event(self) -> dp_event.DpEvent:
        """The event in dp_accounting's words alone, for its own accountants."""
        return self.event()


@dataclass(frozen=True, kw_only=True)
class Gaussian(Release):
    """Releases with Gaussian noise, each record in all of them.

    Attributes
    ----------
    noise_multiplier
        Standard deviation over the clipping norm; or else
    rho
        that of a Gaussian with this parameter of zCDP.
    count
        How many.
    sensitivity
        Over the clipping norm; 2 with microbatches.
    group_size
        Records that enter or leave together.
    """

    kind = "gaussian"
    noise_multiplier: float = 1.0
    rho: float | None = None
    count: int = 1
    sensitivity: float = 1.0
    group_size: int = 1

    def event(self) -> dp_event.DpEvent:
        """A repeated Gaussian release; a group's sensitivity is that of one record times k."""
        sigma = self.noise_multiplier if self.rho is None else _sigma_of(self.rho)
        sigma = _divided(sigma, self.sensitivity * self.group_size)
        return dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(sigma), self.count)


@dataclass(frozen=True, kw_only=True)
class Poisson(Release):
    """DP-SGD on Poisson samples.

    Attributes
    ----------
    noise_multiplier
        Standard deviation over the clipping norm.
    steps
        Number of batches.
    dataset_size, batch_size
        Records, and expected records in a batch; or else
    sampling_probability
        the quotient.
    sensitivity, group_size
        As for :class:`Gaussian`.
    """

    kind = "poisson"
    noise_multiplier: float = 1.0
    steps: int = 1
    dataset_size: int = 0
    batch_size: int = 0
    sampling_probability: float | None = None
    sensitivity: float = 1.0
    group_size: int = 1

    def __post_init__(self) -> None:
        sizes = self.dataset_size > 0 and self.batch_size > 0
        if sizes is not (self.sampling_probability is None):
            raise ValueError(
                "a Poisson run needs dataset_size and batch_size, or else sampling_probability"
            )

    @property
    def rate(self) -> float:
        """The sampling probability."""
        if self.sampling_probability is not None:
            return self.sampling_probability
        return self.batch_size / self.dataset_size

    def _noise(self) -> float:
        return _divided(self.noise_multiplier, self.sensitivity)

    def event(self) -> dp_event.DpEvent:
        """Repeated Poisson-sampled Gaussian releases, priced for a group where it is one."""
        step = dp_event.PoissonSampledDpEvent(self.rate, dp_event.GaussianDpEvent(self._noise()))
        run = dp_event.SelfComposedDpEvent(step, self.steps)
        return run if self.group_size == 1 else events.GroupDpEvent(self.group_size, run)

    def plain_event(self) -> dp_event.DpEvent:
        """A group as a mixture with binomial weights (arXiv 2401.10294, Theorem 3.1)."""
        if self.group_size == 1:
            return self.event()
        members = list(range(self.group_size + 1))
        weights = stats.binom.pmf(members, self.group_size, self.rate)
        step = dp_event.MixtureOfGaussiansDpEvent(self._noise(), members, list(weights))
        return dp_event.SelfComposedDpEvent(step, self.steps)


@dataclass(frozen=True, kw_only=True)
class Tree(Release):
    """Prefix sums by one binary tree; ``min_separation`` is the least distance of two steps."""

    kind = "tree"
    noise_multiplier: float = 1.0
    steps: int = 1
    max_participations: int = 1
    min_separation: int = 1

    def squared_sensitivity(self) -> int:
        """Largest sum over nodes of the squared number of participations below."""
        return squared_sensitivity(self.steps, self.max_participations, self.min_separation)

    def event(self) -> dp_event.DpEvent:
        """The tree's own event."""
        return events.TreeAggregationDpEvent(
            self.noise_multiplier, self.steps, self.max_participations, self.min_separation
        )

    def plain_event(self) -> dp_event.DpEvent:
        """One Gaussian release."""
        return _one_gaussian(self.noise_multiplier, self.squared_sensitivity())


@dataclass(frozen=True, kw_only=True)
class CyclicTrees(Release):
    """Trees that follow one another, over epochs whose batches keep their order.

    Attributes
    ----------
    noise_multiplier
        Per node, over the clipping norm.
    steps_per_epoch
        After so many steps a record takes part again.
    epochs
        Of each tree.
    completed
        Whether each tree but the last is filled up to a power of two with virtual steps.
    """

    kind = "cyclic trees"
    noise_multiplier: float = 1.0
    steps_per_epoch: int = 1
    epochs: tuple[int, ...] = ()
    completed: bool = False

    def squared_sensitivity(self) -> int:
        """The sum over the trees: each has its own worst record, which bounds every record."""
        last = len(self.epochs) - 1
        return sum(
            cyclic_squared_sensitivity(
                n * self.steps_per_epoch, self.steps_per_epoch, self.completed and i < last
            )
            for i, n in enumerate(self.epochs)
        )

    def event(self) -> dp_event.DpEvent:
        """One Gaussian release."""
        return _one_gaussian(self.noise_multiplier, self.squared_sensitivity())


@dataclass(frozen=True, kw_only=True)
class ZeroConcentrated(Release):
    """A mechanism of which only rho-zCDP is known."""

    kind = "zcdp"
    rho: float = 1.0

    def event(self) -> dp_event.DpEvent:
        """What is known of it."""
        return dp_event.ZCDpEvent(self.rho)

    def plain_event(self) -> dp_event.DpEvent:
        """The Gaussian of the same rho, for which authors take it."""
        return dp_event.GaussianDpEvent(_sigma_of(self.rho))


@dataclass(frozen=True, kw_only=True)
class RandomAllocation(Release):
    """One epoch in which each record is in one batch, drawn uniformly.

    Against the data set in which the record is zeroed it is also one shuffled epoch, where every
    other record's gradient is known.
    """

    kind = "random allocation"
    noise_multiplier: float = 1.0
    steps: int = 1

    def event(self) -> dp_event.DpEvent:
        """Balls in bins."""
        gaussian = dp_event.GaussianDpEvent(self.noise_multiplier)
        return events.RandomAllocationDpEvent(self.steps, gaussian)


def composed(releases: Sequence[Release], plain: bool = False) -> dp_event.DpEvent:
    """All releases together."""
    parts = [one.plain_event() if plain else one.event() for one in releases]
    return parts[0] if len(parts) == 1 else dp_event.ComposedDpEvent(parts)


def missing(releases: Sequence[Release]) -> list[str]:
    """The names of the numbers that are missing."""
    return [name for one in releases for name in _unknown(one)]


def filled(releases: Sequence[Release], value: float) -> tuple[Release, ...]:
    """The releases with a number in the place of the missing one."""
    return tuple(replace(one, **dict.fromkeys(_unknown(one), value)) for one in releases)


def _unknown(release: Release) -> list[str]:
    values = ((one.name, getattr(release, one.name)) for one in fields(release))
    return [name for name, value in values if isinstance(value, float) and math.isnan(value)]


def _divided(value: float, divisor: float) -> float:
    """``value / divisor``, rounded down: less noise than there is."""
    nearest = value / divisor
    exact = Fraction(value) / Fraction(divisor) if math.isfinite(nearest) else nearest
    return nearest if nearest <= exact else math.nextafter(nearest, 0.0)


def _one_gaussian(noise_multiplier: float, squared: int) -> dp_event.DpEvent:
    # the root is rounded up
    root = math.nextafter(math.sqrt(squared), math.inf)
    return dp_event.GaussianDpEvent(_divided(noise_multiplier, root))


def _sigma_of(rho: float) -> float:
    """The noise multiplier ``1/sqrt(2 rho)``, rounded down."""
    return math.sqrt(0.5 / rho) * (1.0 - 2.0**-51)
