"""One run of the section on correlated noise: measured, judged, and set side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import TracebackType
from typing import Protocol

from benchmarks.contenders.matrix_ours import claimed_error, participation
from benchmarks.contenders.registry import JAX_PRIVACY, OURS_DESIGNS, Entry
from benchmarks.matrix_evaluation import attained_by_tree, error_of
from benchmarks.matrix_tasks import DesignTask, MatrixTask
from benchmarks.worker_process import Measurement, Worker
from mechanisms.lower_bounds import lower_bound
from mechanisms.workloads import prefix_sum

_LIMIT = 60


class AnyWorker(Protocol):
    """What is needed of `benchmarks.worker_process.Worker`."""

    version: str
    import_seconds: float
    unavailable: str | None

    def __enter__(self) -> AnyWorker: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def measure(self, task_name: str, limit: int | None = None) -> Measurement: ...


Start = Callable[[Entry, int], AnyWorker]


@dataclass(frozen=True)
class Ratio:
    """A peer's CPU time as a multiple of ours; at least that, where the peer's was cut short."""

    value: float
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """A task, and what both made of it.

    Attributes
    ----------
    task : MatrixTask
    ours, peer : Measurement
    error, peer_error : float or None
        Of the strategies found, by the judge; for a tree, the squared sensitivity as answered.
    claimed : float or None
        What this library says the error of its strategy is.
    least : float or None
        Certified lower bound of the error of all strategies; for a tree, what a pattern attains.
    """

    task: MatrixTask
    ours: Measurement
    peer: Measurement
    error: float | None = None
    peer_error: float | None = None
    claimed: float | None = None
    least: float | None = None

    @property
    def excess(self) -> float | None:
        """How far our error is above the peer's, as a fraction; below 0 where it is less."""
        if self.error is None or self.peer_error is None:
            return None
        return self.error / self.peer_error - 1.0

    @property
    def stopped(self) -> bool:
        """Whether the peer was told to stop before it was done."""
        after = self.task.stop_after if isinstance(self.task, DesignTask) else None
        return after is not None and self.peer.first_seconds > after

    @property
    def first(self) -> Ratio | None:
        """Of the first calls in a process."""
        if self.ours.answer is None:
            return None
        if self.peer.answer is None:
            return self._ended(self.ours.first_seconds)
        return Ratio(self.peer.first_seconds / self.ours.first_seconds, self.stopped)

    @property
    def again(self) -> Ratio | None:
        """Of later calls; where there is none, at least of the first without compiling."""
        if self.ours.answer is None:
            return None
        if self.peer.answer is None:
            return self._ended(self.ours.seconds)
        if asked_again(self.peer):
            return Ratio(self.peer.seconds / self.ours.seconds)
        return Ratio(running(self.peer) / self.ours.seconds, at_least=True)

    @property
    def without_compiling(self) -> Ratio | None:
        """Of later calls, as if the peer had nothing to compile."""
        if self.ours.answer is None or self.peer.answer is None:
            return None
        return Ratio(running(self.peer) / self.ours.seconds, self.stopped)

    def _ended(self, seconds: float) -> Ratio | None:
        if self.peer.ended_after is None:
            return None
        return Ratio(self.peer.ended_after / seconds, at_least=True)


@dataclass(frozen=True)
class Results:
    """All rows, and who they are of."""

    rows: tuple[Row, ...]
    version: str
    peer_version: str
    peer_import_seconds: float
    unavailable: str | None


def asked_again(measurement: Measurement) -> bool:
    """Whether there was a second call."""
    return len(measurement.compile_seconds) > 1


def compiling(measurement: Measurement) -> float:
    """Median CPU seconds that went into compiling in later calls, or in the only one."""
    return median(measurement.compile_seconds[1:] or measurement.compile_seconds)


def running(measurement: Measurement) -> float:
    """Median CPU seconds of later calls, or of the only one, without compiling."""
    return measurement.seconds - compiling(measurement)


def median_of(ratios: Sequence[Ratio]) -> Ratio:
    """Median of ratios, some of which are known from below only: then so is it."""
    ordered = sorted(ratios, key=lambda ratio: ratio.value)
    middle = median(ratio.value for ratio in ordered)
    return Ratio(middle, any(ratio.at_least for ratio in ordered[: len(ordered) // 2 + 1]))


def run(tasks: Sequence[MatrixTask], *, with_peer: bool = True, start: Start = Worker) -> Results:
    """Measure us, the peer, and us again; judge what was answered."""
    before, _ = _measure(OURS_DESIGNS, tasks, start)
    theirs: dict[str, Measurement] = {}
    worker: AnyWorker | None = None
    if with_peer:
        theirs, worker = _measure(JAX_PRIVACY, tasks, start)
    # Its first calls count: code that is compiled once and for all is on disk by then.
    ours, own = _measure(OURS_DESIGNS, tasks, start)
    rows = []
    for task in tasks:
        _progress(f"judging {task.name}")
        both = (*before[task.name].cpu_seconds, *ours[task.name].cpu_seconds)
        mine = replace(ours[task.name], cpu_seconds=both)
        nobody = Measurement(failure="not asked", offered=False)
        rows.append(judged(task, mine, theirs.get(task.name, nobody)))
    return Results(
        tuple(rows),
        own.version,
        worker.version if worker else "not asked",
        worker.import_seconds if worker else 0.0,
        worker.unavailable if worker else None,
    )


def judged(task: MatrixTask, ours: Measurement, peer: Measurement) -> Row:
    """Judge both answers; one that cannot be judged is a failure."""
    if not isinstance(task, DesignTask):
        least = attained_by_tree(task.steps, task.separation, task.participations)
        values = [None if m.answer is None else m.answer[0] for m in (ours, peer)]
        return Row(task, ours, peer, values[0], values[1], least=float(least))
    ours, error = _error(task, ours)
    peer, peer_error = _error(task, peer)
    design = task.design
    bound = lower_bound(prefix_sum(design.steps), participation(design), design.objective)
    return Row(
        task,
        ours,
        peer,
        error,
        peer_error,
        None if ours.answer is None else claimed_error(design, ours.answer),
        None if bound is None else bound.value,
    )


def _error(task: DesignTask, measurement: Measurement) -> tuple[Measurement, float | None]:
    if measurement.answer is None:
        return measurement, None
    try:
        return measurement, error_of(task.design, measurement.answer)
    except ValueError as reason:
        return replace(measurement, answer=None, failure=f"not judged: {reason}"), None


def _measure(
    entry: Entry, tasks: Sequence[MatrixTask], start: Start
) -> tuple[dict[str, Measurement], AnyWorker]:
    found = {}
    with start(entry, _LIMIT) as worker:
        for task in tasks:
            _progress(f"{entry.name}: {task.name}")
            found[task.name] = worker.measure(task.name, task.limit)
    return found, worker


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
