"""PLD_accounting: its own subsampling of dp-accounting's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution as pld
from PLD_accounting import (
    DEFAULT_TAIL_TRUNCATION,
    AllocationSchemeConfig,
    BoundType,
    ConvolutionMethod,
    Direction,
    compose_full_pld,
    dp_accounting_pmf_to_pld_realization,
    gaussian_allocation_epsilon_configurable,
    rediscretize_dist_by_bound,
    subsample_pld,
    subsample_pld_realization,
)
from PLD_accounting.types import PrivacyParams

from benchmarks.compositions import (
    Composition,
    Mechanism,
    PoissonSampled,
    RandomAllocation,
)
from benchmarks.contenders.base import Contender, NotOfferedError, floats
from benchmarks.contenders.dp_accounting_peer import distribution
from benchmarks.tasks import Run

_GRID = 1e-4


class SubsampledPlds(Contender):
    """``subsample_pld`` of the Gaussian's distribution on a grid of 1e-4, then composed."""

    def _composed(self, run: Run) -> pld.PrivacyLossDistribution:
        # subsample_pld chooses a grid for each phase; only equal grids compose.
        releases = (run.laplace_scale, run.gaussian_noise_multiplier)
        alone = len(run.phases) == 1 and releases == (None, None)
        step = _one_step if alone else _one_step_on_the_common_grid
        parts = [
            step(_gaussian(phase.noise_multiplier), phase.sampling_probability).self_compose(
                phase.steps
            )
            for phase in run.phases
        ]
        if run.laplace_scale is not None:
            parts.append(
                pld.from_laplace_mechanism(run.laplace_scale, value_discretization_interval=_GRID)
            )
        if run.gaussian_noise_multiplier is not None:
            parts.append(_gaussian(run.gaussian_noise_multiplier))
        return reduce(lambda left, right: left.compose(right), parts)

    def epsilon(self, run: Run, delta: float) -> float:
        return float(self._composed(run).get_epsilon_for_delta(delta))

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        if composition.replace_one:
            raise NotOfferedError("replace-one")
        if not any(isinstance(m, PoissonSampled | RandomAllocation) for m, _ in composition.parts):
            raise NotOfferedError("mechanisms of its own")
        alone = len(composition.parts) == 1
        first, count = composition.parts[0]
        if alone and isinstance(first, RandomAllocation):
            return _allocated_epsilon(first, count, delta, AllocationSchemeConfig())
        parts = [_step(m, alone).self_compose(count) for m, count in composition.parts]
        composed = reduce(lambda left, right: left.compose(right), parts)
        return float(composed.get_epsilon_for_delta(delta))

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        return floats(self._composed(run).get_delta_for_epsilon(np.asarray(epsilons)))


def _gaussian(noise_multiplier: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(noise_multiplier, value_discretization_interval=_GRID)


class AllocationByFft(Contender):
    """Random allocation by the quicker of its methods."""

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        first, count = composition.parts[0]
        if len(composition.parts) > 1 or not isinstance(first, RandomAllocation):
            raise NotOfferedError("anything but random allocation")
        config = AllocationSchemeConfig(convolution_method=ConvolutionMethod.FFT)
        return _allocated_epsilon(first, count, delta, config)


def _allocated_epsilon(
    allocation: RandomAllocation, epochs: int, delta: float, config: AllocationSchemeConfig
) -> float:
    params = PrivacyParams(
        sigma=allocation.mechanism.noise_multiplier,
        num_steps=allocation.steps,
        num_epochs=epochs,
        delta=delta,
    )
    return float(gaussian_allocation_epsilon_configurable(params=params, config=config))


def _step(mechanism: Mechanism, alone: bool) -> pld.PrivacyLossDistribution:
    if not isinstance(mechanism, PoissonSampled):
        return distribution(mechanism, NeighboringRelation.ADD_OR_REMOVE_ONE)
    base = distribution(mechanism.mechanism, NeighboringRelation.ADD_OR_REMOVE_ONE)
    step = _one_step if alone else _one_step_on_the_common_grid
    return step(base, mechanism.sampling_probability)


def _one_step(
    base: pld.PrivacyLossDistribution, sampling_probability: float
) -> pld.PrivacyLossDistribution:
    return subsample_pld(pld=base, sampling_probability=sampling_probability)


def _one_step_on_the_common_grid(
    unsampled: pld.PrivacyLossDistribution, sampling_probability: float
) -> pld.PrivacyLossDistribution:
    # Both directions of Gaussian and of Laplace noise are the same: one stands for both.
    base = dp_accounting_pmf_to_pld_realization(pmf=unsampled._pmf_remove)
    remove, add = (
        rediscretize_dist_by_bound(
            dist=subsample_pld_realization(
                base_pld=base, sampling_prob=sampling_probability, direction=direction
            ),
            tail_truncation=DEFAULT_TAIL_TRUNCATION,
            loss_discretization=_GRID,
            bound_type=BoundType.DOMINATES,
        )
        for direction in (Direction.REMOVE, Direction.ADD)
    )
    return compose_full_pld(remove_dist=remove, add_dist=add, bound_type=BoundType.DOMINATES)
