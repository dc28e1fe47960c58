"""opake-accounting: privacy loss distributions in Rust."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

from opake.accounting import calibrate, epsilon_budget
from opake.api.accounting.core import opake_accounting as native
from opake.api.accounting.core._base import DpProcess

from benchmarks.compositions import (
    ApproximateDp,
    Composition,
    Gaussian,
    Mechanism,
    PoissonSampled,
    RandomAllocation,
    TruncatedPoissonSampled,
)
from benchmarks.contenders.base import Contender, NotOfferedError, floats, require_phases_only
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


def _step(mechanism: Mechanism, config: native.DiscretizationConfig) -> native.Pld:
    match mechanism:
        case Gaussian(sigma):
            return native.gaussian_pld(sigma, config)
        case PoissonSampled(probability, Gaussian(sigma)):
            return native.poisson_pld(native.gaussian_pld(sigma, config), probability)
        case TruncatedPoissonSampled(size, probability, largest, Gaussian(sigma)):
            return native.truncated_poisson_gaussian_pld(sigma, probability, largest, size, config)
        case RandomAllocation(steps, Gaussian(sigma)):
            return native.random_allocation_gaussian_pld(sigma, steps, 1, config)
        case ApproximateDp(epsilon, delta):
            return native.eps_delta_pld(epsilon, delta, config)
    raise NotOfferedError(type(mechanism).__name__)


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

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        if composition.replace_one:
            raise NotOfferedError("replace-one")
        config = native.DiscretizationConfig(discretization=self.grid)
        parts = [_step(m, config).self_compose(count) for m, count in composition.parts]
        return float(reduce(lambda left, right: left.compose(right), parts).epsilon_at(delta))

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
