"""opake-accounting: privacy loss distributions in Rust."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

from opake.accounting import calibrate, epsilon_budget
from opake.api.accounting.core import opake_accounting as native
from opake.api.accounting.core._base import DpProcess

from benchmarks.contenders.base import Contender, floats, require_phases_only
from benchmarks.tasks import Phase, Run


def _composed(run: Run, grid: float) -> native.Pld:
    require_phases_only(run)
    config = native.DiscretizationConfig(discretization=grid)
    parts = [
        native.poisson_pld(
            native.gaussian_pld(phase.noise_multiplier, config), phase.sampling_probability
        ).self_compose(phase.steps)
        for phase in run.phases
    ]
    return reduce(lambda left, right: left.compose(right), parts)


class _Training(DpProcess):
    """A run for opake's calibration, without the torch that its DP-SGD package imports."""

    def __init__(self, run: Run, grid: float) -> None:
        self._run = run
        self._grid = grid

    def pld(self, **overrides: Any) -> native.Pld:
        return _composed(self._run, self._grid)


class _Opake(Contender):
    grid: ClassVar[float]

    def epsilon(self, run: Run, delta: float) -> float:
        return float(_composed(run, self.grid).epsilon_at(delta))

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        found = calibrate(
            epsilon_budget(epsilon, delta=delta),
            lambda sigma: _Training(Run((Phase(sampling_probability, sigma, steps),)), self.grid),
            param_min=0.3,
            param_max=10.0,
        )
        return float(found.param)

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        composed = _composed(run, self.grid)
        return floats(composed.delta_at(epsilon) for epsilon in epsilons)

    def fnrs(self, run: Run, fprs: Sequence[float]) -> list[float]:
        composed = _composed(run, self.grid)
        return floats(composed.beta_at(fpr) for fpr in fprs)


class FineGrid(_Opake):
    """Its default grid of 1e-4."""

    grid = 1e-4


class CoarseGrid(_Opake):
    """A grid of 1e-3."""

    grid = 1e-3
