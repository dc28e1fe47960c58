"""One run of the benchmark: everything measured, before it is put into words."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.contenders.registry import OURS, Entry
from benchmarks.tasks import Task
from benchmarks.verdicts import Certificate, Verdict, certify, judge
from benchmarks.worker_process import Measurement, Worker


@dataclass
class Record:
    """One contender and what it made of each task."""

    name: str
    note: str
    distribution: str = ""
    version: str = "not installed"
    python: str = ""
    import_seconds: float = 0.0
    unavailable: str | None = None
    measurements: dict[str, Measurement] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def seconds_per_answer(self, task_name: str) -> float | None:
        """CPU seconds of a task divided by its answers, since one may be answered in part."""
        measurement = self.measurements.get(task_name)
        if measurement is None or measurement.answer is None:
            return None
        return measurement.seconds / len(measurement.answer)


@dataclass(frozen=True)
class Results:
    """What was measured on ``tasks``, the tasks that everybody is asked."""

    ours: Record
    peers: tuple[Record, ...]
    tasks: tuple[Task, ...]
    certificates: dict[str, Certificate]

    def ratio(self, record: Record, task_name: str) -> float | None:
        """CPU time of ``record`` as a multiple of ours, per answer."""
        theirs, ours = record.seconds_per_answer(task_name), self.ours.seconds_per_answer(task_name)
        return None if theirs is None or ours is None else theirs / ours


def run(
    tasks: Sequence[Task], peers: Sequence[Entry], limit: int, *, ours_only: Sequence[Task] = ()
) -> Results:
    """Measure us, the peers, and us again; ``ours_only`` is asked of us alone."""
    certificates = {}
    for task in tasks:
        _progress(f"certifying {task.name}")
        certificates[task.name] = certify(task)
    ours = _measure(OURS, (*tasks, *ours_only), limit)
    others = tuple(_measure(entry, tasks, limit) for entry in peers)
    # Once before and once after, so that a machine that slows down in between shows in ours too.
    again = _measure(OURS, (*tasks, *ours_only), limit)
    for name, measurement in ours.measurements.items():
        later = again.measurements[name].cpu_seconds
        both = replace(measurement, cpu_seconds=measurement.cpu_seconds + later)
        ours.measurements[name] = both
    for record in (ours, *others):
        for task in tasks:
            answer = record.measurements[task.name].answer
            if answer is not None:
                record.verdicts[task.name] = judge(task, answer, certificates[task.name])
    return Results(ours, others, tuple(tasks), certificates)


def _measure(entry: Entry, tasks: Iterable[Task], limit: int) -> Record:
    record = Record(entry.name, entry.note, entry.distribution)
    with Worker(entry, limit) as worker:
        for task in tasks:
            _progress(f"{entry.name}: {task.name}")
            record.measurements[task.name] = worker.measure(task.name)
        record.version, record.python = worker.version, worker.python
        record.import_seconds, record.unavailable = worker.import_seconds, worker.unavailable
    return record


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
