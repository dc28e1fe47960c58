"""dp-accounting: privacy loss distributions and Renyi DP."""

from __future__ import annotations

from collections.abc import Sequence

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from benchmarks.contenders.base import Contender, floats
from benchmarks.contenders.events import event_of
from benchmarks.tasks import Phase, Run


class _EventAccountant(Contender):
    def _empty(self) -> dp_accounting.PrivacyAccountant:
        raise NotImplementedError

    def epsilon(self, run: Run, delta: float) -> float:
        return float(self._empty().compose(event_of(run)).get_epsilon(delta))

    def noise_multiplier(
        self, sampling_probability: float, steps: int, epsilon: float, delta: float
    ) -> float:
        return float(
            dp_accounting.calibrate_dp_mechanism(
                self._empty,
                lambda sigma: event_of(Run((Phase(sampling_probability, sigma, steps),))),
                epsilon,
                delta,
            )
        )


class PrivacyLossDistributions(_EventAccountant):
    """Connect-the-dots on the default grid of 1e-4."""

    def _empty(self) -> dp_accounting.PrivacyAccountant:
        return PLDAccountant()

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        accountant = self._empty().compose(event_of(run))
        return floats(accountant.get_delta(np.asarray(epsilons)))


class RenyiDp(_EventAccountant):
    """Renyi DP at the default orders."""

    def _empty(self) -> dp_accounting.PrivacyAccountant:
        return RdpAccountant()

    def deltas(self, run: Run, epsilons: Sequence[float]) -> list[float]:
        accountant = self._empty().compose(event_of(run))
        return floats(accountant.get_delta(epsilon) for epsilon in epsilons)
