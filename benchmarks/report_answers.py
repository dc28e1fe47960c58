"""The report's tables of answers: epsilons, the other tasks, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks import markdown as md
from benchmarks.results import Record, Results
from benchmarks.tasks import (
    CALIBRATION,
    DELTA_CURVE,
    EPSILON_TASKS,
    MANY,
    TRADE_OFF,
    Task,
)
from benchmarks.verdicts import Verdict
from benchmarks.worker_process import Measurement

UNSOUND = "†"


def configuration_table(results: Results) -> str:
    """Say what the runs are, with the certified bracket of each and the known value."""
    rows = []
    for task in EPSILON_TASKS:
        certificate = results.certificates[task.name]
        lower, upper = certificate.lower[0], certificate.upper[0]
        phase = task.run.phases[0]
        several = len(task.run.phases) > 1
        rows.append(
            [
                task.name,
                "several" if several else f"{phase.sampling_probability:.4g}",
                "several" if several else f"{phase.noise_multiplier:g}",
                f"{sum(phase.steps for phase in task.run.phases):,}",
                f"{task.delta:g}",
                f"{lower:.13g} to {upper:.13g}",
                f"{upper / lower - 1.0:.0e}" + ("" if certificate.tight else " (flagged)"),
                known_cell(lower, upper, task.known),
            ]
        )
    header = [
        "",
        "q",
        "noise multiplier",
        "steps",
        "delta",
        "certified epsilon",
        "width",
        "known value",
    ]
    mixed = next(task for task in EPSILON_TASKS if len(task.run.phases) > 1)
    phases = ", ".join(
        f"({phase.sampling_probability:g}, {phase.noise_multiplier:g}, {phase.steps:,})"
        for phase in mixed.run.phases
    )
    return md.table(header, rows) + (
        f"\nWidth is relative. The known values come from 40-digit arithmetic. “{mixed.name}” is "
        f"(q, noise multiplier, steps) = {phases}, a Laplace release of scale "
        f"{mixed.run.laplace_scale:g} and a Gaussian one of noise multiplier "
        f"{mixed.run.gaussian_noise_multiplier:g}.\n"
    )


def known_cell(lower: float, upper: float, known: float | None) -> str:
    """Say whether the known value lies within the bracket."""
    if known is None:
        return "–"
    # The known values are rounded to the digits on record, nine at least.
    slack = 2e-9 * known
    agrees = lower - slack <= known <= upper + slack
    return f"{known:.13g} ({'agrees' if agrees else 'DISAGREES'})"


def epsilon_table(
    records: Sequence[Record], tasks: Sequence[Task], cell: Callable[[Record, Task], str]
) -> str:
    """Put contenders down and tasks across; those that answer none are left out."""
    rows = [
        [record.name, *(cell(record, task) for task in tasks)]
        for record in answering(records, tasks)
    ]
    return md.table(["", *(task.name for task in tasks)], rows)


def answering(records: Iterable[Record], tasks: Sequence[Task]) -> list[Record]:
    """Return those whose library has the query for one of ``tasks`` at least."""
    return [
        record
        for record in records
        if record.unavailable is None
        and any(record.measurements[task.name].offered for task in tasks)
    ]


def answer_cell(record: Record, task: Task) -> str:
    """Write the epsilon itself."""
    measurement = record.measurements[task.name]
    if measurement.answer is None:
        return _missing(measurement)
    mark = f" {UNSOUND}" if record.verdicts[task.name].unsound else ""
    return md.number(measurement.answer[0]) + mark


def distance_cell(record: Record, task: Task) -> str:
    """Write how far from the bracket it is."""
    measurement = record.measurements[task.name]
    if measurement.answer is None:
        return _missing(measurement)
    verdict = record.verdicts[task.name]
    if verdict.unsound:
        return f"-{md.distance(verdict.worst_below)} {UNSOUND}"
    if verdict.infinite:
        return "infinity"
    return f"+{md.distance(verdict.worst_above)}" if verdict.above else "0"


def _missing(measurement: Measurement) -> str:
    if not measurement.offered:
        return "–"
    failure = measurement.failure or ""
    return failure if failure.startswith("over ") else "error"


def time_cell(results: Results, record: Record, task: Task) -> str:
    """Write how long it took, against us."""
    measurement = record.measurements[task.name]
    if measurement.answer is None:
        return _missing(measurement)
    ratio = results.ratio(record, task.name)
    if record is results.ours or ratio is None:
        return md.duration(measurement.seconds)
    return md.multiple(ratio)


def other_task_tables(results: Results, records: Sequence[Record]) -> str:
    """Write one table for each task that is not a single epsilon."""
    calibration = results.certificates[CALIBRATION.name]
    deltas = results.certificates[DELTA_CURVE.name]
    parts = [
        f"The smallest noise multiplier for epsilon {CALIBRATION.epsilon:g} at delta "
        f"{CALIBRATION.delta:g}, q = {CALIBRATION.sampling_probability:g} and "
        f"{CALIBRATION.steps:,} steps; it lies between {calibration.lower[0]:.9g} and "
        f"{calibration.upper[0]:.9g}. Each library's own calibration, with its own tolerance:\n",
        _task_table(results, records, CALIBRATION.name, _one_answer),
        f"delta at {len(DELTA_CURVE.epsilons):,} values of epsilon from "
        f"{DELTA_CURVE.epsilons[0]:g} to {DELTA_CURVE.epsilons[-1]:g}, run T2, from "
        f"{deltas.lower[0]:.2g} down to {deltas.lower[-1]:.1g}:\n",
        _task_table(results, records, DELTA_CURVE.name, _many_answers),
        f"The trade-off curve at {len(TRADE_OFF.fprs):,} false positive rates, run T2; judged by "
        "the attacker's power, 1 - false negative rate:\n",
        _task_table(results, records, TRADE_OFF.name, _many_answers),
        f"{len(MANY.queries)} different runs of 20 to 200 epochs, q from 0.002 to 0.05, noise "
        "multiplier from 0.7 to 2, delta from 1e-8 to 1e-5. A contender was stopped after "
        f"{MANY.seconds:g} s of CPU time; its time for all is then extrapolated from those it "
        "reached:\n",
        _task_table(results, records, MANY.name, _many_answers),
    ]
    return "\n".join(parts)


def _task_table(
    results: Results,
    records: Sequence[Record],
    task_name: str,
    describe: Callable[[Measurement, Verdict], str],
) -> str:
    rows = []
    for record in records:
        measurement = record.measurements[task_name]
        if record.unavailable is not None or not measurement.offered:
            continue
        each, ratio = record.seconds_per_answer(task_name), results.ratio(record, task_name)
        if measurement.answer is None or each is None:
            rows.append([record.name, _missing(measurement), "–", "–"])
            continue
        whole = each * len(results.certificates[task_name].lower)
        said = describe(measurement, record.verdicts[task_name])
        times = "–" if ratio is None else md.multiple(ratio)
        rows.append([record.name, said, md.duration(whole), times])
    return md.table(["", "answer", "CPU time", "ratio"], rows)


def _one_answer(measurement: Measurement, verdict: Verdict) -> str:
    assert measurement.answer is not None
    mark = f" {UNSOUND}" if verdict.unsound else ""
    return f"{measurement.answer[0]:.7g}{mark}"


def _many_answers(measurement: Measurement, verdict: Verdict) -> str:
    said = f"{verdict.answers:,} answered"
    if verdict.unsound:
        said += f", {verdict.unsound:,} unsound {UNSOUND}"
    if verdict.infinite:
        said += f", {verdict.infinite:,} infinite"
    if verdict.above:
        said += f", above by {md.distance(verdict.median_above)} (median)"
    return said


def defect_list(results: Results) -> str:
    """List every answer of the others that is unsound, infinite or missing."""
    lines = []
    for record in results.peers:
        if record.unavailable is not None:
            lines.append(f"- **{record.name}** {record.unavailable}")
            continue
        tasks_with: dict[str, list[str]] = {}
        for task in results.tasks:
            if complaint := _complaint(record, task.name):
                tasks_with.setdefault(complaint, []).append(task.name)
        if tasks_with:
            said = (f"{', '.join(names)}: {what}" for what, names in tasks_with.items())
            lines.append(f"- **{record.name}**. " + "; ".join(said))
    return "\n".join(lines) + "\n" if lines else "None.\n"


def _complaint(record: Record, task_name: str) -> str:
    """Say what is wrong with an answer; nothing where it is sound and finite."""
    measurement = record.measurements[task_name]
    if measurement.answer is None:
        return (measurement.failure or "") if measurement.offered else ""
    verdict = record.verdicts[task_name]
    many = verdict.answers > 1
    parts = []
    if verdict.below:
        count = f"{len(verdict.below):,} of {verdict.answers:,} " if many else ""
        most = "up to " if many else ""
        parts.append(f"{count}unsound by {most}{md.distance(verdict.worst_below)}")
    if verdict.infinite:
        parts.append(
            f"{verdict.infinite:,} of {verdict.answers:,} infinite" if many else "infinite"
        )
    if verdict.undefined:
        parts.append(f"{verdict.undefined:,} of {verdict.answers:,} not a number")
    return ", ".join(parts)
