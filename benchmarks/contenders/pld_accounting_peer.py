"""PLD_accounting: its own subsampling of dp-accounting's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld
from PLD_accounting import (
    DEFAULT_TAIL_TRUNCATION,
    BoundType,
    Direction,
    compose_full_pld,
    dp_accounting_pmf_to_pld_realization,
    rediscretize_dist_by_bound,
    subsample_pld,
    subsample_pld_realization,
)

from benchmarks.contenders.base import Contender, floats
from benchmarks.tasks import Phase, Run

_GRID = 1e-4


class SubsampledPlds(Contender):
    """``subsample_pld`` of the Gaussian's distribution on a grid of 1e-4, then composed."""

    def _composed(self, run: Run) -> pld.PrivacyLossDistribution:
        # subsample_pld chooses a grid for each phase; only equal grids compose.
        releases = (run.laplace_scale, run.gaussian_noise_multiplier)
        alone = len(run.phases) == 1 and releases == (None, None)
        step = _one_step if alone else _one_step_on_the_common_grid
        parts = [step(phase).self_compose(phase.steps) for phase in run.phases]
        if run.laplace_scale is not None:
            parts.append(
                pld.from_laplace_mechanism(run.laplace_scale, value_discretization_interval=_GRID)
            )
        if run.gaussian_noise_multiplier is not None:
            parts.append(_gaussian(run.gaussian_noise_multiplier))
        return reduce(lambda left, right: left.compose(right), parts)

    def epsilon(self, run: Run, delta: float) -> float:
        return float(self._composed(run).get_epsilon_for_delta(delta))

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        return floats(self._composed(run).get_delta_for_epsilon(np.asarray(epsilons)))


def _gaussian(noise_multiplier: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(noise_multiplier, value_discretization_interval=_GRID)


def _one_step(phase: Phase) -> pld.PrivacyLossDistribution:
    return subsample_pld(
        pld=_gaussian(phase.noise_multiplier), sampling_probability=phase.sampling_probability
    )


def _one_step_on_the_common_grid(phase: Phase) -> pld.PrivacyLossDistribution:
    # The Gaussian's two directions are the same, so that one distribution stands for both.
    base = dp_accounting_pmf_to_pld_realization(pmf=_gaussian(phase.noise_multiplier)._pmf_remove)
    remove, add = (
        rediscretize_dist_by_bound(
            dist=subsample_pld_realization(
                base_pld=base, sampling_prob=phase.sampling_probability, direction=direction
            ),
            tail_truncation=DEFAULT_TAIL_TRUNCATION,
            loss_discretization=_GRID,
            bound_type=BoundType.DOMINATES,
        )
        for direction in (Direction.REMOVE, Direction.ADD)
    )
    return compose_full_pld(remove_dist=remove, add_dist=add, bound_type=BoundType.DOMINATES)
