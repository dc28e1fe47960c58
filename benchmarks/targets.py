"""The library's own targets, and where each stands in a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cold_start import ColdStart
from benchmarks.results import Results
from benchmarks.tasks import (
    CALIBRATION,
    EPSILON_TASKS,
    FIVE_PHASES,
    MANY,
    SLOW_TAIL_CALIBRATION,
    TRADE_OFF,
    Task,
)


@dataclass(frozen=True)
class Target:
    """A promise, what was measured (infinite where there was no answer), and its limit.

    Both are CPU seconds, or a plain ratio where ``ratio`` is set.
    """

    promise: str
    measured: float
    limit: float
    ratio: bool = False

    @property
    def met(self) -> bool:
        """Whether the measurement is within the limit."""
        return self.measured <= self.limit


def check(results: Results, cold_start: ColdStart) -> list[Target]:
    """Measure this run against every target of this library."""
    single = [task for task in EPSILON_TASKS if task.run is not FIVE_PHASES]
    ordinary = [task for task in single if not task.slow_tail]
    slow = [task for task in single if task.slow_tail]
    return [
        Target("one epsilon, the slowest of the ordinary runs", _slowest(results, ordinary), 0.003),
        Target("one epsilon, the slowest of the slow tails", _slowest(results, slow), 0.03),
        Target("calibrated noise multiplier", _slowest(results, [CALIBRATION]), 0.03),
        Target(
            "calibrated noise multiplier, slow tail",
            _slowest(results, [SLOW_TAIL_CALIBRATION]),
            0.3,
        ),
        Target("500 configurations", _all_of_many(results), 1.5),
        Target("trade-off curve of 1,000 points", _slowest(results, [TRADE_OFF]), 0.02),
        Target(
            "first answer of a second process, over the imports alone",
            cold_start.ratio,
            1.3,
            ratio=True,
        ),
    ]


def _all_of_many(results: Results) -> float:
    """CPU seconds of all configurations, also where the time limit left some out."""
    each = results.ours.seconds_per_answer(MANY.name)
    return math.inf if each is None else each * len(MANY.queries)


def _slowest(results: Results, tasks: Sequence[Task]) -> float:
    """Largest median, in CPU seconds."""
    measurements = [results.ours.measurements[task.name] for task in tasks]
    return max(m.seconds if m.answer is not None else math.inf for m in measurements)
