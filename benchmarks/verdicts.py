"""Which answers are right: every contender against the certified bracket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from accountant import PrivacyLoss, calibrate, privacy_loss
from benchmarks.contenders.composition_events import relation_of
from benchmarks.contenders.events import event_of
from benchmarks.contenders.ours import composed_event
from benchmarks.mechanism_tasks import CompositionTask
from benchmarks.tasks import (
    CalibrationTask,
    DeltaCurveTask,
    EpsilonTask,
    ManyTask,
    Task,
    TradeOffTask,
)
from benchmarks.tradeoff_bound import largest_fnrs


@dataclass(frozen=True)
class Certificate:
    """Brackets that contain the exact answers of a task.

    An answer below ``lower`` is unsound. For a trade-off curve the quantity is the power 1 - fnr,
    so that smaller is the unsound side there too.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    tight: bool = True


@dataclass(frozen=True)
class Verdict:
    """How a contender's answers to one task lie to their brackets.

    ``below`` and ``above`` hold the relative distances of the answers that lie outside.
    """

    answers: int
    infinite: int
    undefined: int
    below: tuple[float, ...]
    above: tuple[float, ...]

    @property
    def unsound(self) -> int:
        """Number of answers that promise more privacy than there is, or are not numbers."""
        return len(self.below) + self.undefined

    @property
    def worst_below(self) -> float:
        """Largest relative understatement."""
        return max(self.below, default=0.0)

    @property
    def worst_above(self) -> float:
        """Largest relative overstatement."""
        return max(self.above, default=0.0)

    @property
    def median_above(self) -> float:
        """Median relative overstatement of the sound, finite answers."""
        inside = self.answers - self.infinite - self.undefined - len(self.below) - len(self.above)
        distances = (*self.above, *([0.0] * inside))
        return median(distances) if distances else math.inf


def certify(task: Task) -> Certificate:
    """Brackets of the exact answers to ``task``, computed here."""
    if isinstance(task, EpsilonTask):
        return _certify_epsilons([(privacy_loss(event_of(task.run)), task.delta)])
    if isinstance(task, CompositionTask):
        composition = task.composition
        loss = privacy_loss(composed_event(composition), relation_of(composition))
        return _certify_epsilons([(loss, task.delta)])
    if isinstance(task, ManyTask):
        losses = [(privacy_loss(event_of(run)), delta) for run, delta in task.queries]
        return _certify_epsilons(losses)
    if isinstance(task, CalibrationTask):
        return _certify_calibration(task)
    if isinstance(task, DeltaCurveTask):
        bounds = privacy_loss(event_of(task.run)).delta_bounds(np.asarray(task.epsilons))
        tight = bool(np.all(bounds.tight))
        return Certificate(_floats(bounds.lower), _floats(bounds.upper), tight)
    if isinstance(task, TradeOffTask):
        loss = privacy_loss(event_of(task.run))
        fprs = np.asarray(task.fprs)
        return Certificate(
            _floats(1.0 - largest_fnrs(loss, fprs)), _floats(1.0 - np.asarray(loss.fnr(fprs)))
        )
    raise TypeError(f"no certificate for a {type(task).__name__}")


def judge(task: Task, answer: Sequence[float], certificate: Certificate) -> Verdict:
    """Compare answers with their brackets; a task may have been answered in part."""
    quantities = [1.0 - fnr for fnr in answer] if isinstance(task, TradeOffTask) else answer
    infinite = sum(math.isinf(value) for value in quantities)
    undefined = sum(math.isnan(value) for value in quantities)
    below: list[float] = []
    above: list[float] = []
    for value, lower, upper in zip(quantities, certificate.lower, certificate.upper, strict=False):
        if not math.isfinite(value):
            continue
        if value < lower:
            below.append(1.0 - value / lower if lower > 0.0 else math.inf)
        elif value > upper:
            above.append(value / upper - 1.0 if upper > 0.0 else math.inf)
    return Verdict(len(quantities), infinite, undefined, tuple(below), tuple(above))


def _certify_epsilons(queries: Sequence[tuple[PrivacyLoss, float]]) -> Certificate:
    bounds = [loss.epsilon_bounds(delta) for loss, delta in queries]
    return Certificate(
        tuple(float(bound.lower) for bound in bounds),
        tuple(float(bound.upper) for bound in bounds),
        all(bool(bound.tight) for bound in bounds),
    )


def _certify_calibration(task: CalibrationTask) -> Certificate:
    """Bracket of the smallest noise multiplier that meets the target.

    The calibrated one meets it; one at which even the lower bound of epsilon is above the target
    does not.
    """
    enough = calibrate(
        lambda sigma: event_of(task.run_with(sigma)), epsilon=task.epsilon, delta=task.delta
    )
    for exponent in range(-9, 0):
        too_little = enough * (1.0 - 10.0**exponent)
        bounds = privacy_loss(event_of(task.run_with(too_little))).epsilon_bounds(task.delta)
        if bounds.lower > task.epsilon:
            return Certificate((too_little,), (enough,))
    return Certificate((0.0,), (enough,), tight=False)


def _floats(values: object) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values, dtype=float))
