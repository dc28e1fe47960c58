"""dp-planner, the library under test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accountant import calibrate, privacy_loss
from benchmarks.contenders.base import Contender, floats
from benchmarks.contenders.events import event_of
from benchmarks.tasks import Phase, Run


class Ours(Contender):
    """Certified on both sides, both directions: the bracket is part of what is timed."""

    def epsilon(self, run: Run, delta: float) -> float:
        return float(privacy_loss(event_of(run)).epsilon_bounds(delta).upper)

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
