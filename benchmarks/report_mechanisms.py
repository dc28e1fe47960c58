"""The section of the report about mechanisms, samplers and neighbours beyond DP-SGD."""

from __future__ import annotations

import datetime
import os

from benchmarks import markdown as md
from benchmarks import report_answers as answers
from benchmarks import report_fastest as fastest
from benchmarks.contenders.registry import OURS_QUICK
from benchmarks.mechanism_tasks import MECHANISM_TASKS, CompositionTask
from benchmarks.report import machine
from benchmarks.results import Record, Results
from benchmarks.tasks import Task

_INTRODUCTION = """\
Measured as above, on {date}, by `python -m benchmarks --section mechanisms --write`, which leaves
the other sections as they are ({machine}; load {load:.1f} when the report was written). The machine
is shared with other work: the ratios count, not the times. Adjacency is add/remove unless a task
says replace-one, sensitivities are 1. A contender was stopped after {limit} s.
"""

_WHY = """\
Why: what has atoms, or no smooth density, is answered by a lattice, built for one epsilon, tilted
towards it, and made finer until the proved bracket, rounding errors included, is 1e-6 wide; where
the two directions differ both are bounded. dp-accounting and opake round the losses up to a fixed
grid, and prove nothing from below. The error of a grid grows with the number of releases, and with
it the number of points that a narrow bracket needs: two million for the 14,062 releases of
“Poisson, replace-one”, the slowest answer here. `rtol=1e-3` asks for a bracket wider than most of
the others' errors, and as sound; it is no quicker for random allocation, whose time goes
into the pair of one epoch, the same for every width. Renyi DP is a formula: nothing is quicker
where it is offered, and it is as wide as its conversion to epsilon. “Mixed” is quick because its
atoms are few and the rest is smooth, so that the contour answers.

dp-accounting's accountant composes a repeated randomized response once, whatever the count of the
event; its distribution, composed by hand, is right.
"""


def render(results: Results, limit: int) -> str:
    """Return the section as Markdown."""
    records = answers.answering((results.ours, *results.peers), results.tasks)
    sections = [
        "## Other mechanisms, samplers and neighbours\n",
        _INTRODUCTION.format(
            date=f"{datetime.date.today():%Y-%m-%d}",
            machine=machine(),
            load=os.getloadavg()[0],
            limit=limit,
        ),
        _tasks(results),
        "Epsilon:\n",
        answers.epsilon_table(records, MECHANISM_TASKS, answers.answer_cell),
        f"Relative distance from the certified bracket, 0 inside it{_from_above_only(results)}:\n",
        answers.epsilon_table(
            records, MECHANISM_TASKS, lambda record, task: _distance_cell(results, record, task)
        ),
        "CPU time as a multiple of this library's, whose own time is in the first row:\n",
        answers.epsilon_table(
            records, MECHANISM_TASKS, lambda record, task: answers.time_cell(results, record, task)
        ),
        "### Against the fastest sound peer, beyond DP-SGD\n",
        fastest.table(results),
        _where_slower(results),
        _WHY,
        "### Unsound, infinite or missing, beyond DP-SGD\n",
        answers.defect_list(results),
        _notes(records),
    ]
    return "\n".join(sections)


def _tasks(results: Results) -> str:
    rows = []
    for task in MECHANISM_TASKS:
        certificate = results.certificates[task.name]
        lower, upper = certificate.lower[0], certificate.upper[0]
        rows.append(
            [
                f"**{task.name}**: {task.described}",
                f"{task.delta:g}",
                f"{lower:.12g} to {upper:.12g}",
                f"{upper / lower - 1.0:.0e}" if certificate.tight else "upper bound",
                answers.known_cell(lower, upper, task.known),
            ]
        )
    return md.table(["", "delta", "certified epsilon", "width", "known value"], rows)


def _one_sided(results: Results) -> list[CompositionTask]:
    return [task for task in MECHANISM_TASKS if not results.certificates[task.name].tight]


def _from_above_only(results: Results) -> str:
    names = ", ".join(task.name for task in _one_sided(results))
    return f" ({names}: from our upper bound, the exact value is not known)" if names else ""


def _distance_cell(results: Results, record: Record, task: Task) -> str:
    answer = record.measurements[task.name].answer
    certificate = results.certificates[task.name]
    if answer is None or certificate.tight:
        return answers.distance_cell(record, task)
    distance = answer[0] / certificate.upper[0] - 1.0
    sign = "-" if distance < 0.0 else "+"
    return f"{sign}{md.distance(abs(distance))}" if distance else "0"


def _where_slower(results: Results) -> str:
    """Name the tasks in which a peer within 1 % is faster, at either width."""
    quick = next(record for record in results.peers if record.name == OURS_QUICK.name)
    told = []
    for record in (results.ours, quick):
        slower = []
        for task in MECHANISM_TASKS:
            found = fastest.fastest_sound(results, task, fastest.CLOSE)
            own = results.ratio(record, task.name)
            if found is not None and own is not None and found[1] < own:
                slower.append(f"{task.name} ({own / found[1]:.2g} times {found[0].name})")
        told.append(f"{record.name} is the slower one in: {', '.join(slower) or 'none'}.\n")
    wide = [
        task.name
        for task in MECHANISM_TASKS
        if (verdict := quick.verdicts.get(task.name)) and verdict.worst_above > fastest.CLOSE
    ]
    if wide:
        told.append(f"{quick.name} is too wide, and says so, in: {', '.join(wide)}.\n")
    return "Beside peers within 1 %, " + "\n".join(told)


def _notes(records: list[Record]) -> str:
    return "".join(f"{note}\n" for note in dict.fromkeys(r.note for r in records if r.note))
