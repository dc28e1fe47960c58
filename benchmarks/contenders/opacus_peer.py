"""Opacus's three accountants."""

from __future__ import annotations

import warnings
from typing import ClassVar

from opacus.accountants import create_accountant
from opacus.accountants.utils import get_noise_multiplier

from benchmarks.contenders.base import Contender, require_phases_only
from benchmarks.tasks import Run

warnings.filterwarnings("ignore")


class _Opacus(Contender):
    mechanism: ClassVar[str]

    def epsilon(self, run: Run, delta: float) -> float:
        require_phases_only(run)
        accountant = create_accountant(mechanism=self.mechanism)
        accountant.history = [
            (phase.noise_multiplier, phase.sampling_probability, phase.steps)
            for phase in run.phases
        ]
        return float(accountant.get_epsilon(delta=delta))

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sampling_probability,
                steps=steps,
                accountant=self.mechanism,
            )
        )


class Prv(_Opacus):
    """Privacy random variables, error 0.01."""

    mechanism = "prv"


class Rdp(_Opacus):
    """Renyi DP."""

    mechanism = "rdp"


class Gdp(_Opacus):
    """The central-limit approximation."""

    mechanism = "gdp"
