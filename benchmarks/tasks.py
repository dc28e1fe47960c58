"""What is measured: the questions, as data that every contender can read.

This module is imported by the environments of all contenders, so it needs nothing but the standard
library.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks.contenders.base import Contender
from benchmarks.matrix_tasks import MATRIX_TASKS
from benchmarks.mechanism_tasks import MECHANISM_TASKS


@dataclass(frozen=True)
class Phase:
    """``steps`` releases of the Poisson-subsampled Gaussian mechanism."""

    sampling_probability: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True)
class Run:
    """Phases of DP-SGD, followed by at most one Laplace and one Gaussian release."""

    phases: tuple[Phase, ...]
    laplace_scale: float | None = None
    gaussian_noise_multiplier: float | None = None

    def nudged(self, repetition: int) -> Run:
        """Return the same run with the noise changed in the ninth digit.

        Repetitions ask for nudged runs, so that no contender is timed looking up an answer it
        has already given.
        """
        factor = 1.0 + 1e-9 * repetition
        phases = tuple(
            replace(phase, noise_multiplier=phase.noise_multiplier * factor)
            for phase in self.phases
        )
        return replace(self, phases=phases)


class Task(Protocol):
    """One question; ``ask`` puts it to a contender and returns the numbers it answers."""

    @property
    def name(self) -> str: ...

    def ask(self, contender: Contender, repetition: int) -> list[float]: ...


@dataclass(frozen=True)
class EpsilonTask:
    """Epsilon of a run at a delta; ``known`` is the exact value where one is on record.

    ``slow_tail`` marks the runs with few effective steps, whose loss is nearly an atom with a thin
    tail: the hard case for an exact inversion.
    """

    name: str
    run: Run
    delta: float
    known: float | None = None
    slow_tail: bool = False

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return [contender.epsilon(self.run.nudged(repetition), self.delta)]


@dataclass(frozen=True)
class CalibrationTask:
    """The smallest noise multiplier that meets a target epsilon."""

    name: str
    sampling_probability: float
    steps: int
    epsilon: float
    delta: float

    def run_with(self, noise_multiplier: float) -> Run:
        """Return the run that is being calibrated, at one noise multiplier."""
        return Run((Phase(self.sampling_probability, noise_multiplier, self.steps),))

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        epsilon = self.epsilon * (1.0 + 1e-9 * repetition)
        return [
            contender.noise_multiplier(self.sampling_probability, self.steps, epsilon, self.delta)
        ]


@dataclass(frozen=True)
class DeltaCurveTask:
    """delta at many values of epsilon."""

    name: str
    run: Run
    epsilons: tuple[float, ...]

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return contender.deltas(self.run.nudged(repetition), self.epsilons)


@dataclass(frozen=True)
class TradeOffTask:
    """The smallest type II error at many type I errors."""

    name: str
    run: Run
    fprs: tuple[float, ...]

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        return contender.fnrs(self.run.nudged(repetition), self.fprs)


@dataclass(frozen=True)
class ManyTask:
    """Epsilons of many different runs: those reached within ``seconds`` of CPU time."""

    name: str
    queries: tuple[tuple[Run, float], ...]
    seconds: float

    def ask(self, contender: Contender, repetition: int) -> list[float]:
        end = time.process_time() + self.seconds
        answers: list[float] = []
        for run, delta in self.queries:
            answers.append(contender.epsilon(run.nudged(repetition), delta))
            if time.process_time() > end:
                break
        return answers


def _single(sampling_probability: float, noise_multiplier: float, steps: int) -> Run:
    return Run((Phase(sampling_probability, noise_multiplier, steps),))


def _grid(low: float, high: float, points: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * i / (points - 1) for i in range(points))


def _ordinary_queries(count: int) -> tuple[tuple[Run, float], ...]:
    """Different runs of the usual size: 20 to 200 epochs, batches of 0.2 % to 5 % of the data."""
    draw = random.Random(20261122)
    queries = []
    for _ in range(count):
        sampling_probability = 0.002 * 25.0 ** draw.random()
        steps = round(20.0 * 10.0 ** draw.random() / sampling_probability)
        noise_multiplier = 0.7 + 1.3 * draw.random()
        delta = 10.0 ** -draw.uniform(5.0, 8.0)
        queries.append((_single(sampling_probability, noise_multiplier, steps), delta))
    return tuple(queries)


MNIST = _single(256 / 60_000, 1.1, 14_062)
LONG_RUN = _single(1e-3, 0.8, 50_000)
VAULTGEMMA = _single(4.08e-5, 0.614, 100_000)
FIVE_PHASES = Run(
    phases=(
        Phase(0.002, 1.0, 5_000),
        Phase(0.004, 0.9, 5_000),
        Phase(0.008, 1.0, 4_000),
        Phase(0.010, 1.1, 3_000),
        Phase(0.016, 1.2, 2_000),
    ),
    laplace_scale=20.0,
    gaussian_noise_multiplier=15.0,
)

# The known values were computed with 40-digit arithmetic, independently of this library; they are
# given to the digits on record.
EPSILON_TASKS = (
    EpsilonTask("T1", _single(0.01, 1.0, 1_000), 1e-5, 1.828236666516567),
    EpsilonTask("T2", MNIST, 1e-5, 2.381596921424816),
    EpsilonTask("T3", VAULTGEMMA, 1.1e-10, 1.7104978318, slow_tail=True),
    EpsilonTask("T4", _single(0.05, 0.5, 10_000), 1e-6, 324.2810981595076),
    EpsilonTask("T5 at 1e-10", LONG_RUN, 1e-10, 3.049714706589199),
    EpsilonTask("T5 at 1e-12", LONG_RUN, 1e-12, 3.76703010),
    EpsilonTask("T5 at 1e-15", LONG_RUN, 1e-15, 4.857853892208793),
    EpsilonTask("T5 at 1e-20", LONG_RUN, 1e-20, 6.537362640421002),
    EpsilonTask("T5 at 1e-40", LONG_RUN, 1e-40, 12.83355108146),
    EpsilonTask("T6", _single(2e-4, 0.6, 100_000), 1e-10, 4.005889621928, slow_tail=True),
    EpsilonTask("T7", _single(1e-4, 0.5, 100_000), 1e-11, 6.611644036203, slow_tail=True),
    EpsilonTask("five phases", FIVE_PHASES, 1e-6),
)
CALIBRATION = CalibrationTask("calibration", 0.004, 20_000, 3.0, 1e-6)
DELTA_CURVE = DeltaCurveTask("delta curve", MNIST, _grid(0.0, 5.0, 1_000))
TRADE_OFF = TradeOffTask("trade-off curve", MNIST, _grid(1e-3, 0.999, 1_000))
MANY = ManyTask("500 configurations", _ordinary_queries(500), seconds=10.0)

COMPARED: tuple[Task, ...] = (*EPSILON_TASKS, CALIBRATION, DELTA_CURVE, TRADE_OFF, MANY)

# Asked of this library alone: how its cost grows, and the slow tails.
SLOW_TAIL_CALIBRATION = CalibrationTask("slow-tail calibration", 4.08e-5, 100_000, 2.0, 1.1e-10)
STEPS_TASKS = tuple(
    EpsilonTask(f"{steps:,} steps", _single(q, sigma, steps), 1e-6)
    for steps, q, sigma in ((10**3, 0.01, 1.0), (10**6, 0.001, 3.0), (10**9, 0.001, 100.0))
)
EVENTS_TASKS = tuple(
    EpsilonTask(
        "1 phase" if count == 1 else f"{count} distinct phases",
        Run(tuple(Phase(0.004, 1.0 + 0.01 * i, 20_000 // count) for i in range(count))),
        1e-6,
    )
    for count in (1, 10, 100)
)
OURS_ONLY: tuple[Task, ...] = (SLOW_TAIL_CALIBRATION, *STEPS_TASKS, *EVENTS_TASKS)


def by_name(name: str) -> Task:
    """Return the task called ``name``."""
    tasks: Sequence[Task] = (*COMPARED, *OURS_ONLY, *MECHANISM_TASKS, *MATRIX_TASKS)
    return next(task for task in tasks if task.name == name)
