"""The report: what was measured, in words and tables."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import markdown as md
from benchmarks import report_answers as answers
from benchmarks import report_fastest as fastest
from benchmarks import targets
from benchmarks.cold_start import ColdStart
from benchmarks.results import Record, Results
from benchmarks.tasks import EPSILON_TASKS, EVENTS_TASKS, STEPS_TASKS

_INTRODUCTION = """\
Every contender answered the same questions in the same run, one process and one thread at a time,
each from the bare parameters. Times are CPU time, medians of warm repetitions (of one where an
answer takes over 1.5 s); on a shared machine trust the ratios rather than the times. Sampling is
Poisson, adjacency is add/remove.

Answers are judged against this library's certified bracket, which contains the exact value. A
dagger ({unsound}) marks an answer **below the certified lower bound**: less epsilon (or delta, or
noise) than there is, so a promise that does not hold. A dash means that the library has no such
query, "over {limit} s" that it was stopped after that much CPU time.
"""


def render(results: Results, cold_start: ColdStart, limit: int) -> str:
    """Return the report of the training runs as Markdown."""
    records = (results.ours, *results.peers)
    sections = [
        f"Measured on {datetime.date.today():%Y-%m-%d} by `python -m benchmarks --write` "
        f"({machine()}). `make bench` measures without writing.\n",
        _INTRODUCTION.format(unsound=answers.UNSOUND, limit=limit),
        "## Contenders\n",
        contenders(results, records),
        "## One epsilon\n",
        answers.configuration_table(results),
        "Epsilon:\n",
        answers.epsilon_table(records, EPSILON_TASKS, answers.answer_cell),
        "Relative distance from the certified bracket, 0 inside it:\n",
        answers.epsilon_table(records, EPSILON_TASKS, answers.distance_cell),
        "CPU time as a multiple of this library's, whose own time is in the first row:\n",
        answers.epsilon_table(
            records, EPSILON_TASKS, lambda record, task: answers.time_cell(results, record, task)
        ),
        "## Calibration, curves and many runs\n",
        answers.other_task_tables(results, records),
        "## Against the fastest sound peer\n",
        fastest.table(results),
        "## Answers that are unsound, infinite or missing\n",
        answers.defect_list(results),
        "## This library's targets\n",
        _targets(results, cold_start),
    ]
    return "\n".join(sections)


def machine() -> str:
    """Return cores, processor and Python of this machine."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def contenders(results: Results, records: Sequence[Record]) -> str:
    """Say who took part: versions, memory and time over all tasks."""
    rows = []
    for record in records:
        ratios = [results.ratio(record, task.name) for task in results.tasks]
        known = [ratio for ratio in ratios if ratio is not None]
        peak = max((m.peak_bytes for m in record.measurements.values()), default=0)
        rows.append(
            [
                record.name,
                record.version,
                record.python or "–",
                md.duration(record.import_seconds) if record.unavailable is None else "–",
                md.megabytes(peak) if peak else "–",
                md.multiple(median(known)) if known else "–",
            ]
        )
    header = ["", "version", "Python", "import", "peak memory", "median time ratio"]
    remarks = [f"{record.name} {record.unavailable}." for record in records if record.unavailable]
    # Contenders of one library share their note.
    remarks += dict.fromkeys(record.note for record in records if record.note)
    return md.table(header, rows) + "".join(f"\n{remark}\n" for remark in remarks)


def _targets(results: Results, cold: ColdStart) -> str:
    rows = [
        [
            target.promise,
            md.multiple(target.measured) if target.ratio else md.duration(target.measured),
            md.multiple(target.limit) if target.ratio else md.duration(target.limit),
            "met" if target.met else "**missed**",
        ]
        for target in targets.check(results, cold)
    ]
    growth = [[task.name, _own_time(results, task.name)] for task in (*STEPS_TASKS, *EVENTS_TASKS)]
    return "\n".join(
        [
            "Warm, one core, both directions, certified; medians.\n",
            md.table(["", "measured", "at most", ""], rows),
            f"A second process has its first answer after {md.duration(cold.first_answer)} of CPU "
            f"time; importing dp_accounting and numba alone costs {md.duration(cold.imports)}.\n",
            "How the cost of one epsilon grows with the number of steps, and with that of distinct "
            "phases:\n",
            md.table(["", "CPU time"], growth),
        ]
    )


def _own_time(results: Results, task_name: str) -> str:
    measurement = results.ours.measurements[task_name]
    if measurement.answer is None:
        return measurement.failure or ""
    return md.duration(measurement.seconds)
