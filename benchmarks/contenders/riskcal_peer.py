"""riskcal: trade-off curves from dp-accounting's distributions.

Its epsilons are dp-accounting's own, so only the curve is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from riskcal.accountants import CTDAccountant

from benchmarks.contenders.base import Contender, floats, require_phases_only
from benchmarks.tasks import Run


class ConnectTheDots(Contender):
    """``CTDAccountant`` on its default grid of 1e-4."""

    def fnrs(self, run: Run, fprs: Sequence[float]) -> list[float]:
        require_phases_only(run)
        accountant = CTDAccountant()
        accountant.history = [
            (phase.noise_multiplier, phase.sampling_probability, phase.steps)
            for phase in run.phases
        ]
        return floats(accountant.get_beta(alpha=np.asarray(fprs)))
