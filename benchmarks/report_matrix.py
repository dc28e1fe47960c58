"""The section of the report about correlated noise."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import markdown as md
from benchmarks.matrix_results import (
    Ratio,
    Results,
    Row,
    asked_again,
    compiling,
    median_of,
    running,
)
from benchmarks.matrix_tasks import DesignTask, MatrixTask, TreeTask
from benchmarks.report import machine

# Errors that differ by less are equal: that is where optimizers stop.
SAME = 1e-6
# A figure on record is met to four digits.
_FOUR_DIGITS = 5e-5

_INTRODUCTION = """\
Measured on {date} by `python -m benchmarks --section matrix --write`, which leaves the other
sections as they are ({machine}; load {load:.1f} when the report was written; dp-planner {version},
jax-privacy {peer_version}). Everybody finds the strategy of least error for prefix sums: dense,
banded, banded Toeplitz, or a BLT of so many buffers. “6 x 342” are six participations, 342 steps
apart or more; where nothing is said, an example takes part once. Errors are root mean squares over
steps, or the largest, at noise multiplier 1; one judge evaluates both contenders' strategies,
without a formula of theirs: dense matrices are solved with, Toeplitz strategies run as filters, and
the recursion of a BLT is doubled with 50 digits.

jax-privacy is asked by its documented optimizers with their defaults, in double precision, on one
core, in a process of its own{imports}. Its optimizers compile anew at every call. “First” is the
first call for a task, ours with the machine code on disk that an earlier process left there;
“again” is the median of later calls, the fair comparison; “running” is that less all of the peer's
tracing and compiling. Times are CPU time. What took {again:g} s or more was asked once, and its
“again”, in brackets, is the first call less its compiling. Dense and banded optimizers not
done after {stop:g} s were told to stop where they were, which callbacks allow; “over” is the
time after which a process was ended.
"""


@dataclass(frozen=True)
class Promise:
    """What was promised, what was measured, and whether that holds."""

    promise: str
    measured: str
    asked: str
    met: bool


def render(results: Results, noise: Sequence[Sequence[str]]) -> str:
    """Return the section as Markdown; `noise` are rows of `benchmarks.noise.speed_rows`."""
    designs = [row for row in results.rows if isinstance(row.task, DesignTask)]
    trees = [row for row in results.rows if isinstance(row.task, TreeTask)]
    stops = {row.task.stop_after for row in designs if isinstance(row.task, DesignTask)} - {None}
    imports = ""
    if results.peer_import_seconds:
        imports = f", which takes {md.duration(results.peer_import_seconds)} to import it"
    sections = [
        "## Correlated noise\n",
        _INTRODUCTION.format(
            date=f"{datetime.date.today():%Y-%m-%d}",
            machine=machine(),
            load=os.getloadavg()[0],
            version=results.version,
            peer_version=results.peer_version,
            imports=imports,
            again=DesignTask.again_within,
            stop=max((stop for stop in stops if stop is not None), default=math.inf),
        ),
        f"jax-privacy: {results.unavailable}.\n" if results.unavailable else "",
        summary(designs),
        "### Errors of the strategies found\n",
        _errors(designs),
        "### CPU time to find them\n",
        _times(designs),
        "### Squared sensitivity of binary trees\n",
        _trees(trees),
        "### Noise\n",
        "Rows of 10 million numbers in float64, beside NumPy's generator alone.\n",
        md.table(["noise", "model copies", "per number", "generator", "speed over it"], noise),
        "### Targets of correlated noise\n",
        _promises(promises(results.rows, noise)),
    ]
    return "\n".join(section for section in sections if section)


def summary(rows: Sequence[Row]) -> str:
    """Say how much quicker than the peer this library is, and name what it is slower in."""
    compared = [row for row in rows if _counts(row.task)]
    if not _known(row.again for row in compared):
        return "No peer was measured beside it.\n"
    parts = [
        f"{_ratio(median_of(found))} {words}"
        for words, found in (
            ("at the first call", _known(row.first for row in compared)),
            ("again", _known(row.again for row in compared)),
            ("without its compiling", _known(row.without_compiling for row in compared)),
        )
        if found
    ]
    slower = ", ".join(row.task.name for row in _slower(rows)) or "none"
    higher = ", ".join(row.task.name for row in _higher(rows)) or "none"
    return (
        f"**Median over the rows of BLTs and Toeplitz strategies, jax-privacy's time over ours: "
        f"{', '.join(parts)}.** Rows in which this library is the slower one, compiling left out: "
        f"{slower}; in which its error is higher by more than {SAME:g}: {higher}.\n"
    )


def promises(rows: Sequence[Row], noise: Sequence[Sequence[str]]) -> list[Promise]:
    """Measure this run against every target of correlated noise."""
    designs = [row for row in rows if isinstance(row.task, DesignTask)]
    return [
        *_bound_promises(designs),
        *_record_promises(rows),
        *_time_promises(rows),
        *_noise_promises(noise),
        *_peer_promises(designs),
    ]


def _bound_promises(rows: Sequence[Row]) -> list[Promise]:
    found = []
    for row in rows:
        assert isinstance(row.task, DesignTask)
        if row.task.within is not None:
            gap = math.inf if row.error is None or row.least is None else row.error / row.least - 1
            promise = f"{row.task.name}: above the certified lower bound"
            asked = f"at most {_percent(row.task.within)}"
            found.append(Promise(promise, _percent(gap), asked, gap <= row.task.within))
    return found


def _record_promises(rows: Sequence[Row]) -> list[Promise]:
    known = [row for row in rows if row.task.known is not None]
    if not known:
        return []
    above = {row.task.name: _above(row.error, row.task.known) for row in known}
    worst = max(above, key=lambda name: above[name])
    return [
        Promise(
            f"figures on record, {len(known)}: met or beaten; the furthest above is {worst}",
            _signed(above[worst]),
            f"at most {_FOUR_DIGITS:g}",
            above[worst] <= _FOUR_DIGITS,
        )
    ]


def _time_promises(rows: Sequence[Row]) -> list[Promise]:
    found = []
    for row in rows:
        most = row.task.most_seconds
        if most is not None:
            seconds = math.inf if row.ours.answer is None else row.ours.seconds
            measured = md.duration(seconds) if math.isfinite(seconds) else row.ours.failure or ""
            asked = f"at most {md.duration(most)}"
            found.append(Promise(row.task.name, measured, asked, seconds <= most))
    return found


def _noise_promises(noise: Sequence[Sequence[str]]) -> list[Promise]:
    return [
        Promise(f"noise: {row[0]}, speed over the generator's", row[-1], "at least 1/3", met)
        for row in noise
        if row[0].startswith("BLT")
        for met in [3.0 * float(row[-1]) >= 1.0]
    ]


def _peer_promises(rows: Sequence[Row]) -> list[Promise]:
    ratios = _known(row.again for row in rows if _counts(row.task))
    if not ratios:
        return []
    middle = median_of(ratios)
    excess = max((row.excess for row in rows if row.excess is not None), default=math.inf)
    least = min(_known(row.without_compiling or row.again for row in rows), key=lambda r: r.value)
    return [
        Promise(
            "jax-privacy's time over ours, again, median of BLTs and Toeplitz strategies",
            _ratio(middle),
            "at least 20x",
            middle.value >= 20.0,
        ),
        Promise(
            "the least such ratio of any row, compiling left out",
            _ratio(least),
            "at least 1x",
            least.value >= 1.0,
        ),
        Promise(
            "error over jax-privacy's, the worst row", _signed(excess), "equal", excess <= SAME
        ),
    ]


def _errors(rows: Sequence[Row]) -> str:
    header = ["", "dp-planner", "jax-privacy", "ours over theirs", "on record", "above the bound"]
    table = md.table(
        header,
        [
            [
                row.task.name,
                _number(row.error) or row.ours.failure or "",
                _peer_error(row),
                "–" if row.excess is None else _signed(row.excess),
                _number(row.task.known) or "–",
                "–" if row.error is None or row.least is None else _percent(_gap(row)),
            ]
            for row in rows
        ],
    )
    return table + (
        "\n“Above the bound”: above a certified lower bound of every factorization's error, beyond "
        "2,560 steps a closed form. “On record”: published, or found by jax-privacy in earlier "
        f"runs that were not stopped. This library's own figures differ from the judge's by "
        f"{_claims(rows):.0e} at most.\n"
    )


def _times(rows: Sequence[Row]) -> str:
    header = ["", "ours, first", "again", "jax-privacy, first", "again", "of it compiling"]
    header += ["ratio, first", "again", "running"]
    body = []
    for row in rows:
        ours = _ours(row)
        ratios = [_ratio(r) if r else "–" for r in (row.first, row.again, row.without_compiling)]
        body.append([row.task.name, *ours, *_theirs(row), *ratios])
    return md.table(header, body)


def _ours(row: Row) -> list[str]:
    if row.ours.answer is None:
        return [row.ours.failure or "", ""]
    return [md.duration(row.ours.first_seconds), md.duration(row.ours.seconds)]


def _theirs(row: Row) -> list[str]:
    peer = row.peer
    if peer.answer is None:
        return ["–" if not peer.offered else peer.failure or "", "–", "–"]
    again = md.duration(peer.seconds) if asked_again(peer) else f"({md.duration(running(peer))})"
    first = md.duration(peer.first_seconds) + (", stopped" if row.stopped else "")
    return [first, again, md.duration(compiling(peer))]


def _trees(rows: Sequence[Row]) -> str:
    return md.table(
        ["", "dp-planner", "attained", "on record", "first", "again", "jax-privacy"],
        [
            [
                row.task.name,
                _number(row.error) or row.ours.failure or "",
                _number(row.least) or "",
                _number(row.task.known) or "–",
                *_ours(row),
                row.peer.failure or _number(row.peer_error) or "",
            ]
            for row in rows
        ],
    )


def _promises(found: Iterable[Promise]) -> str:
    rows = [[p.promise, p.measured, p.asked, "met" if p.met else "**missed**"] for p in found]
    return md.table(["", "measured", "asked", ""], rows)


def _peer_error(row: Row) -> str:
    if row.peer_error is None:
        return "–" if not row.peer.offered else row.peer.failure or ""
    return _number(row.peer_error) + (", stopped" if row.stopped else "")


def _counts(task: MatrixTask) -> bool:
    return isinstance(task, DesignTask) and task.in_median


def _slower(rows: Iterable[Row]) -> list[Row]:
    """Rows whose ratio may be below 1, compiling left out where it is known."""
    found = []
    for row in rows:
        ratio = row.without_compiling or row.again
        if ratio is not None and ratio.value < 1.0:
            found.append(row)
    return found


def _higher(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.excess is not None and row.excess > SAME]


def _known(ratios: Iterable[Ratio | None]) -> list[Ratio]:
    return [ratio for ratio in ratios if ratio is not None]


def _gap(row: Row) -> float:
    assert row.error is not None
    assert row.least is not None
    return row.error / row.least - 1.0


def _claims(rows: Iterable[Row]) -> float:
    pairs = [(row.claimed, row.error) for row in rows]
    return max(
        (abs(c / e - 1.0) for c, e in pairs if c is not None and e is not None), default=math.inf
    )


def _above(error: float | None, known: float | None) -> float:
    return math.inf if error is None or known is None else error / known - 1.0


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def _ratio(ratio: Ratio) -> str:
    return ("at least " if ratio.at_least else "") + md.multiple(ratio.value)


def _percent(fraction: float) -> str:
    percent = 100.0 * fraction
    return f"{percent:,.0f} %" if percent >= 999.5 else f"{percent:.3g} %"


def _signed(fraction: float) -> str:
    if abs(fraction) < 1e-9:
        return "equal"
    return ("+" if fraction > 0.0 else "-") + md.distance(abs(fraction))
