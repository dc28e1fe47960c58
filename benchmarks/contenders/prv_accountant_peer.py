"""prv-accountant: privacy random variables."""

from __future__ import annotations

from collections.abc import Sequence

from prv_accountant import (
    GaussianMechanism,
    LaplaceMechanism,
    PoissonSubsampledGaussianMechanism,
    PRVAccountant,
)
from prv_accountant.dpsgd import find_noise_multiplier
from prv_accountant.privacy_random_variables import PrivacyRandomVariable

from benchmarks.compositions import Composition, Gaussian, Laplace, Mechanism, PoissonSampled
from benchmarks.contenders.base import Contender, NotOfferedError
from benchmarks.tasks import Run

_EPSILON_ERROR = 0.01


def _variable(mechanism: Mechanism) -> PrivacyRandomVariable:
    match mechanism:
        case Gaussian(sigma):
            return GaussianMechanism(sigma)
        case Laplace(scale):
            return LaplaceMechanism(mu=1.0 / scale)
        case PoissonSampled(probability, Gaussian(sigma)):
            return PoissonSubsampledGaussianMechanism(
                noise_multiplier=sigma, sampling_probability=probability
            )
    raise NotOfferedError(type(mechanism).__name__)


class PrivacyRandomVariables(Contender):
    """Upper end of its interval, with an error of 0.01 in epsilon and delta/1000 in delta."""

    def _accountant(self, run: Run, delta_error: float) -> tuple[PRVAccountant, list[int]]:
        variables = [
            PoissonSubsampledGaussianMechanism(
                noise_multiplier=phase.noise_multiplier,
                sampling_probability=phase.sampling_probability,
            )
            for phase in run.phases
        ]
        counts = [phase.steps for phase in run.phases]
        if run.laplace_scale is not None:
            variables.append(LaplaceMechanism(mu=1.0 / run.laplace_scale))
            counts.append(1)
        if run.gaussian_noise_multiplier is not None:
            variables.append(GaussianMechanism(run.gaussian_noise_multiplier))
            counts.append(1)
        accountant = PRVAccountant(
            prvs=variables,
            max_self_compositions=counts,
            eps_error=_EPSILON_ERROR,
            delta_error=delta_error,
        )
        return accountant, counts

    def epsilon(self, run: Run, delta: float) -> float:
        accountant, counts = self._accountant(run, delta / 1000.0)
        _, _, upper = accountant.compute_epsilon(delta, counts)
        return float(upper)

    def epsilon_of(self, composition: Composition, delta: float) -> float:
        if composition.replace_one:
            raise NotOfferedError("replace-one")
        counts = [count for _, count in composition.parts]
        accountant = PRVAccountant(
            prvs=[_variable(mechanism) for mechanism, _ in composition.parts],
            max_self_compositions=counts,
            eps_error=_EPSILON_ERROR,
            delta_error=delta / 1000.0,
        )
        _, _, upper = accountant.compute_epsilon(delta, counts)
        return float(upper)

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        return float(
            find_noise_multiplier(
                sampling_probability=sampling_probability,
                num_steps=steps,
                target_epsilon=epsilon,
                target_delta=delta,
            )
        )

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        delta_error = 1e-10
        accountant, counts = self._accountant(run, delta_error)
        # compute_delta repeats the whole composition at every point; the upper end that it
        # returns is this one.
        composed = accountant.compute_composition(counts)
        return [
            float(composed.compute_delta_estimate(epsilon - _EPSILON_ERROR)) + delta_error
            for epsilon in epsilons
        ]
