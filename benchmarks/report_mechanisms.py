"""The section of the report about mechanisms, samplers and neighbours beyond DP-SGD."""

from __future__ import annotations

import datetime
import os

from benchmarks import markdown as md
from benchmarks import report_answers as answers
from benchmarks import report_fastest as fastest
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
Why: what has atoms, or no smooth density, is answered by a lattice. It is built for one epsilon,
tilted towards it, and made finer until the proved bracket, rounding errors included, is 1e-6 wide;
a first, coarse one finds the epsilon, and a second direction that differs has to be bounded as
well. The others round the losses to a fixed grid of 1e-4, transform once, and prove nothing from
below. So a peer is faster where that grid happens to do, most of all where q is small and the
second direction differs, which asks the most points of us; we are faster where the grid is finer
than it need be, where one step alone is costly to tabulate, or where nothing but smooth parts and
few atoms meet, which the contour answers. `rtol=1e-3` is the like-for-like width, and as sound;
Renyi DP is a formula, quicker than anything where it is offered, and as wide as its conversion.
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
        width = f"{upper / lower - 1.0:.0e}" if certificate.two_sided else "upper bound only"
        bracket = f"{lower:.12g} to {upper:.12g}" if certificate.two_sided else f"{upper:.12g}"
        rows.append(
            [
                f"**{task.name}**: {task.described}",
                f"{task.delta:g}",
                bracket,
                width + (" (flagged)" if certificate.two_sided and not certificate.tight else ""),
                answers.known_cell(lower, upper, task.known),
            ]
        )
    return md.table(["", "delta", "certified epsilon", "width", "known value"], rows)


def _one_sided(results: Results) -> list[CompositionTask]:
    return [task for task in MECHANISM_TASKS if not results.certificates[task.name].two_sided]


def _from_above_only(results: Results) -> str:
    names = ", ".join(task.name for task in _one_sided(results))
    return f" ({names}: from our upper bound, the exact value is not known)" if names else ""


def _distance_cell(results: Results, record: Record, task: Task) -> str:
    answer = record.measurements[task.name].answer
    certificate = results.certificates[task.name]
    if answer is None or certificate.two_sided:
        return answers.distance_cell(record, task)
    distance = answer[0] / certificate.upper[0] - 1.0
    sign = "-" if distance < 0.0 else "+"
    return f"{sign}{md.distance(abs(distance))}" if distance else "0"


def _where_slower(results: Results) -> str:
    """Name the tasks in which a peer within 1 % is faster."""
    slower = []
    for task in MECHANISM_TASKS:
        found = fastest.fastest_sound(results, task, fastest.CLOSE)
        if found is not None and found[1] < 1.0:
            slower.append(f"{task.name} ({1.0 / found[1]:.2g} times the time of {found[0].name})")
    if not slower:
        return "Among answers within 1 % no peer is faster.\n"
    return f"Among answers within 1 % this library is the slower one in: {', '.join(slower)}.\n"


def _notes(records: list[Record]) -> str:
    return "".join(f"{note}\n" for note in dict.fromkeys(r.note for r in records if r.note))
