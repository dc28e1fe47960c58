"""Certified privacy of correlated noise where each example's bin is drawn once (balls in bins).

An example's bin is uniform, secret, independent of all others', and kept in all epochs.  For any C
the run is dominated by the mixture over bins of the modes of |C| against noise alone (arXiv
2410.06266 for C >= 0; adaptive vectors and signs: docs/amplification.md, section 2), whose
likelihood ratio is a mean of correlated lognormal variables.  Larger correlations dominate
(Kahane's inequality, section 3): covariances of trees above the modes' Gram matrix are priced
exactly, and the best of them is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from dp_accounting import ComposedDpEvent, DpEvent, GaussianDpEvent
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.calibration import solve
from accountant.errors import CalibrationError, UnsupportedEventError
from accountant.events import RandomAllocationDpEvent
from accountant.parameters import ONE_RECORD, short
from accountant.privacy_loss import PrivacyLoss, privacy_loss
from mechanisms.amplification.modes import ModeGram, mode_gram, refuse_more_epochs
from mechanisms.amplification.tree_kernels import (
    Arrangement,
    Tree,
    arrangements,
    least_tree,
    neighbours,
)
from mechanisms.amplification.weighed_laws import directed_pair, rough_delta
from mechanisms.participation import BallsInBins
from mechanisms.strategies.base import Strategy

__all__ = [
    "balls_in_bins_epsilon",
    "balls_in_bins_event",
    "balls_in_bins_loss",
    "balls_in_bins_noise_multiplier",
]

ADD_OR_REMOVE: Final = NeighboringRelation.ADD_OR_REMOVE_ONE
ULP: Final = 2.0**-52
# Resolution of the laws and number of levels: while searching, of the best few, of the answer.
SEARCH: Final = (12, 10)
CLOSER: Final = (32, 16)
FINAL: Final = (96, 32)
# Noise multipliers that random allocation is priced for.
ALLOCATED: Final = (0.1, 1e4)
# Trees of less noise than this are not worth it: hardly anything is amplified.
SMALLEST_NOISE: Final = 0.15


def balls_in_bins_loss(
    strategy: Strategy,
    participation: BallsInBins,
    noise_multiplier: float,
    *,
    delta: float = 1e-6,
    relation: NeighboringRelation = ADD_OR_REMOVE,
) -> PrivacyLoss:
    """The certified privacy loss of a whole run.

    Every query of the loss is a bound; ``delta`` only says where it should be tight.

    Parameters
    ----------
    strategy
        Any: entries of C below 0 count with their size.
    participation
        Bins and epochs.
    noise_multiplier
        Noise over (clipping norm times ``strategy.sensitivity(participation)``): 1/mu without
        amplification.
    delta
        Where epsilon is to be small, within (0, 1).
    relation
        ADD_OR_REMOVE_ONE or REPLACE_SPECIAL (zero-out): the others' bins do not depend on the
        record.

    Raises
    ------
    ValueError
        A parameter is outside its domain, or there are too many bins or steps.
    UnsupportedEventError
        Under REPLACE_ONE.
    """
    problem = _Problem.of(strategy, participation, noise_multiplier, relation)
    arrangement = problem.best(_probability(delta))
    return problem.loss(arrangement)


def balls_in_bins_epsilon(
    strategy: Strategy,
    participation: BallsInBins,
    noise_multiplier: float,
    delta: float,
    *,
    relation: NeighboringRelation = ADD_OR_REMOVE,
) -> float:
    """The certified epsilon of a whole run at one delta: parameters as of `balls_in_bins_loss`."""
    loss = balls_in_bins_loss(
        strategy, participation, noise_multiplier, delta=delta, relation=relation
    )
    return float(loss.epsilon(delta))


def balls_in_bins_noise_multiplier(
    strategy: Strategy,
    participation: BallsInBins,
    *,
    epsilon: float,
    delta: float,
    relation: NeighboringRelation = ADD_OR_REMOVE,
    rtol: float = 1e-3,
) -> float:
    """The least noise multiplier that is certified to meet (epsilon, delta).

    Parameters
    ----------
    strategy, participation, relation
        As of `balls_in_bins_loss`.
    epsilon, delta
        The target; epsilon above 0, delta within (0, 1).
    rtol
        Relative distance from the least.

    Returns
    -------
    float
        A noise multiplier at which the certified delta is at most the target.

    Raises
    ------
    CalibrationError
        No noise multiplier within [1e-2, 1e6] meets the target.
    """
    if not (isinstance(epsilon, (int, float)) and 0.0 < epsilon < math.inf):
        raise ValueError(f"epsilon must be a finite number above 0, got {short(epsilon)}")
    target = _probability(delta)
    gram = mode_gram(strategy, participation)
    refuse_more_epochs(strategy, participation)
    unit = strategy.sensitivity(participation)

    def at(noise: float) -> _Problem:
        return _Problem(gram, unit, noise, relation)

    def unamplified(noise: float) -> float:
        reached = float(privacy_loss(GaussianDpEvent(noise)).delta(epsilon))
        return math.log(max(reached, 1e-300) / target)

    plain = solve(unamplified, 1e-2, 1e6, rtol=1e-3)
    if plain is None:
        raise CalibrationError(
            f"no noise multiplier within [0.01, 1e6] reaches epsilon {epsilon:g} at delta "
            f"{target:g}"
        )
    # what is best for the noise that is needed without amplification, then for less; the first
    # answer comes from coarse laws, which are bounds too, only less tight
    found = plain
    for effort, accuracy in ((CLOSER, 0.01), (FINAL, rtol)):
        best = at(found).best(target)

        def excess(
            noise: float, chosen: Arrangement | None = best, effort: tuple[int, int] = effort
        ) -> float:
            reached = float(at(noise).loss(chosen, effort).delta(epsilon))
            return math.log(max(reached, 1e-300) / target)

        low = 0.05 * plain if effort is CLOSER else 0.9 * found
        answer = solve(excess, low, found * (1.0 + accuracy), rtol=accuracy)
        found = found if answer is None else min(found, answer)
    return found


def balls_in_bins_event(
    strategy: Strategy,
    participation: BallsInBins,
    noise_multiplier: float,
    *,
    delta: float = 1e-6,
) -> DpEvent:
    """A composition of events that dominates the run: for ledgers and whatever takes a DpEvent.

    A Gaussian that is common to the bins of one class, and a random allocation among them
    (docs/amplification.md, section 4); `balls_in_bins_loss` is below it.  Parameters as there.
    """
    problem = _Problem.of(strategy, participation, noise_multiplier, ADD_OR_REMOVE)
    return problem.best_event(_probability(delta))


@dataclass(frozen=True, eq=False)
class _Problem:
    """A Gram matrix of modes, the sensitivity without amplification, and the noise over that."""

    gram: ModeGram
    unit: float
    multiplier: float
    relation: NeighboringRelation

    @classmethod
    def of(
        cls,
        strategy: Strategy,
        participation: BallsInBins,
        noise_multiplier: float,
        relation: NeighboringRelation,
    ) -> _Problem:
        number = noise_multiplier
        real = isinstance(number, (int, float, np.floating)) and not isinstance(number, bool)
        if not (real and 1e-3 <= number <= 1e6):
            raise ValueError(
                f"noise_multiplier must be a number within [1e-3, 1e6], got {short(number)}"
            )
        if relation not in ONE_RECORD:
            raise UnsupportedEventError(
                "balls in bins is supported under ADD_OR_REMOVE_ONE and REPLACE_SPECIAL, not under "
                f"{short(relation)}: no theorem covers a record that changes at a place that is "
                "hidden"
            )
        gram = mode_gram(strategy, participation)
        refuse_more_epochs(strategy, participation)
        return cls(gram, strategy.sensitivity(participation), float(number), relation)

    @property
    def scale(self) -> float:
        """The noise's standard deviation over the clipping norm."""
        return self.unit * self.multiplier

    @property
    def variance(self) -> float:
        """The square of ``scale``, rounded down."""
        return self.scale * self.scale * (1.0 - 8.0 * ULP)

    @property
    def plain(self) -> DpEvent:
        """As if the bin were known: what the sensitivity says."""
        return GaussianDpEvent(self.multiplier)

    # -- what dominates ----------------------------------------------------------------------------

    def best(self, delta: float) -> Arrangement | None:
        """The arrangement of the smallest epsilon, None where nothing is amplified."""
        matrix = self.gram.upper
        if len(matrix) == 1 or self.scale < SMALLEST_NOISE * math.sqrt(float(matrix.max())):
            return None
        epsilons = {one: self._rough(one, delta, SEARCH) for one in arrangements(len(matrix))}
        for one in sorted(epsilons, key=epsilons.__getitem__)[:3]:
            for other in neighbours(one, len(matrix)):
                if other not in epsilons:
                    epsilons[other] = self._rough(other, delta, SEARCH)
        few = sorted(epsilons, key=epsilons.__getitem__)[:8]
        closer = {one: self._rough(one, delta, CLOSER) for one in few}
        for other in neighbours(min(few, key=closer.__getitem__), len(matrix)):
            if other not in closer:
                closer[other] = self._rough(other, delta, CLOSER)
        best = min(closer, key=closer.__getitem__)
        return best if closer[best] < float(privacy_loss(self.plain).epsilon(delta)) else None

    def loss(self, arrangement: Arrangement | None, effort: tuple[int, int] = FINAL) -> PrivacyLoss:
        """The loss for one arrangement, with the floor that is attained."""
        if arrangement is None:
            return self._floored(privacy_loss(self.plain, self.relation))
        resolution, levels = effort
        trees = self._trees(arrangement, levels)
        flat = trees[0][1].flat if len(trees) == 1 else None
        if flat is not None:
            event = self._allocated(*flat, trees[0][1].leaves)
            if event is not None:
                return self._floored(privacy_loss(event, self.relation))
        laws = [
            (weight, tree.law(self.variance, tree.mesh(self.variance, resolution)))
            for weight, tree in trees
        ]
        pair = directed_pair(laws)
        return self._floored(PrivacyLoss(self.relation, pairs=((pair, 1),)))

    def best_event(self, delta: float) -> DpEvent:
        """Of Gaussians composed with random allocations, that of the smallest epsilon."""
        matrix = self.gram.upper
        bins = len(matrix)
        candidates = [self.plain]
        for distance in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024):
            size = bins // distance
            if size < 2:
                break
            # classes: size bins, so far from one to the next, from each bin on, around the end
            first = np.arange(bins)[:, None]
            common = matrix[first, (first + distance * np.arange(1, size)) % bins].max()
            event = self._allocated(float(matrix.max()), float(common), size)
            if event is not None:
                candidates.append(event)
        return min(candidates, key=lambda one: float(privacy_loss(one).epsilon(delta, rtol=1e-3)))

    def _trees(self, arrangement: Arrangement, levels: int) -> list[tuple[float, Tree]]:
        """For the classes of one shape: their share of the bins, and a tree above all of them."""
        matrix = self.gram.upper
        return [
            (
                math.fsum(len(one) for one in group) / len(matrix),
                least_tree(np.max([matrix[np.ix_(c, c)] for c in group], axis=0), levels),
            )
            for group in arrangement.groups(len(matrix))
        ]

    def _rough(self, arrangement: Arrangement, delta: float, effort: tuple[int, int]) -> float:
        """About epsilon at ``delta``: an order among arrangements, nothing is proved with it."""
        resolution, levels = effort
        try:
            laws = [
                (weight, tree.law(self.variance, tree.mesh(self.variance, resolution)))
                for weight, tree in self._trees(arrangement, levels)
            ]
        except ValueError:
            return math.inf
        low, high = 0.0, 0.5 * float(self.gram.upper.max()) / self.variance + 200.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            if max(rough_delta(laws, middle)) > delta:
                low = middle
            else:
                high = middle
        return high

    # -- Gaussians and allocations -----------------------------------------------------------------

    def _gaussian(self, squared: float) -> DpEvent:
        return GaussianDpEvent(self.scale / math.sqrt(squared) * (1.0 - 4.0 * ULP))

    def _allocated(self, diagonal: float, common: float, bins: int) -> DpEvent | None:
        """The events of a matrix of two entries, one on the diagonal and one off it."""
        if diagonal <= common:
            return self._gaussian(common)
        sigma = self.scale / math.sqrt((diagonal - common) * (1.0 + 4.0 * ULP)) * (1.0 - 4.0 * ULP)
        if not ALLOCATED[0] <= sigma <= ALLOCATED[1]:
            return None
        event: DpEvent = RandomAllocationDpEvent(bins, GaussianDpEvent(sigma))
        return ComposedDpEvent([self._gaussian(common), event]) if common > 0.0 else event

    def _floored(self, above: PrivacyLoss) -> PrivacyLoss:
        """The same with what is attained by contributions that are all alike, from below."""
        lower = self.gram.lower
        parts: list[DpEvent] = []
        if lower is not None:
            least = float(lower.min()) / self.variance * (1.0 - 16.0 * ULP)
            rest = float(np.diagonal(lower).min()) / self.variance * (1.0 - 16.0 * ULP) - least
            if least > 0.0:
                parts.append(GaussianDpEvent(1.0 / math.sqrt(least) * (1.0 + 4.0 * ULP)))
            if rest > 0.0 and len(lower) > 1:
                sigma = max(ALLOCATED[0], (1.0 + 1e-12) / math.sqrt(rest))
                if sigma <= ALLOCATED[1]:
                    parts.append(RandomAllocationDpEvent(len(lower), GaussianDpEvent(sigma)))
        attained = privacy_loss(ComposedDpEvent(parts), self.relation)
        return replace(above, floor=attained.floor or attained)


def _probability(delta: object) -> float:
    real = isinstance(delta, (int, float, np.floating)) and not isinstance(delta, bool)
    if not (real and 0.0 < delta < 1.0):  # type: ignore[operator]
        raise ValueError(f"delta must be a number within (0, 1), got {short(delta)}")
    return float(delta)  # type: ignore[arg-type]
