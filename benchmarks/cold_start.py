"""What the first answer of a new process costs, against importing the dependencies alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

from benchmarks.environments import ROOT

_REPETITIONS = 7
_IMPORTS = "import dp_accounting, numba"
_FIRST_ANSWER = """
import dp_accounting as dp
from accountant import privacy_loss
step = dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(1.0))
print(privacy_loss(dp.SelfComposedDpEvent(step, 1000)).epsilon(1e-5))
"""


@dataclass(frozen=True)
class ColdStart:
    """CPU seconds of two whole processes."""

    imports: float
    first_answer: float

    @property
    def ratio(self) -> float:
        """First answer over the imports alone."""
        return self.first_answer / self.imports


def measure_cold_start() -> ColdStart:
    """Medians over alternating processes; compiled code is in the cache before the first counts."""
    _cpu_seconds(_FIRST_ANSWER)
    pairs = [(_cpu_seconds(_IMPORTS), _cpu_seconds(_FIRST_ANSWER)) for _ in range(_REPETITIONS)]
    return ColdStart(median(pair[0] for pair in pairs), median(pair[1] for pair in pairs))


def _cpu_seconds(code: str) -> float:
    before = _children()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
