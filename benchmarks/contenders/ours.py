"""dp-planner, the library under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import dp_accounting
import numpy as np

from accountant import calibrate, events, privacy_loss
from benchmarks.compositions import (
    ApproximateDp,
    Composition,
    DiscreteGaussian,
    Mechanism,
    RandomAllocation,
)
from benchmarks.contenders.base import Contender, floats
from benchmarks.contenders.composition_events import relation_of, step_event
from benchmarks.contenders.events import event_of
from benchmarks.tasks import Phase, Run


def composed_event(composition: Composition) -> dp_accounting.DpEvent:
    """Compose everything that is released, with this library's words where others lack."""
    return dp_accounting.ComposedDpEvent(
        [
            dp_accounting.SelfComposedDpEvent(_step(mechanism), count)
            for mechanism, count in composition.parts
        ]
    )


def _step(mechanism: Mechanism) -> dp_accounting.DpEvent:
    match mechanism:
        case DiscreteGaussian(sigma):
            return events.DiscreteGaussianDpEvent(sigma, 1)
        case ApproximateDp(epsilon, delta):
            return events.ApproximateDpEvent(epsilon, delta)
        case RandomAllocation(steps, inner):
            return events.RandomAllocationDpEvent(steps, step_event(inner))
    return step_event(mechanism)


class Ours(Contender):
    """Certified on both sides, both directions: the bracket is part of what is timed."""

    # Relative width of what lattices answer; None: as narrow as promised.
    rtol: ClassVar[float | None] = None

    def epsilon(self, run: Run, delta: float) -> float:
        return float(privacy_loss(event_of(run)).epsilon_bounds(delta).upper)

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        loss = privacy_loss(composed_event(composition), relation_of(composition))
        return float(loss.epsilon_bounds(delta, rtol=self.rtol).upper)

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        return calibrate(
            lambda sigma: event_of(Run((Phase(sampling_probability, sigma, steps),))),
            epsilon=epsilon,
            delta=delta,
        )

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        return floats(privacy_loss(event_of(run)).delta_bounds(np.asarray(epsilons)).upper)

    def fnrs(self, run: Run, fprs: Sequence[float]) -> list[float]:
        return floats(privacy_loss(event_of(run)).fnr(np.asarray(fprs)))


class OursQuick(Ours):
    """Brackets one part in a thousand wide, where a lattice answers."""

    rtol = 1e-3
