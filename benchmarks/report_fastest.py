"""The report's comparison with the fastest peer whose answer holds."""

from __future__ import annotations

from benchmarks import markdown as md
from benchmarks.results import Record, Results
from benchmarks.tasks import Task

# What is published as an epsilon is seldom read more closely.
CLOSE = 0.01


def table(results: Results) -> str:
    """One row for each task: our time, and the fastest sound peer, at all and among the close."""
    rows = []
    for task in results.tasks:
        own = results.ours.seconds_per_answer(task.name)
        if own is None:
            rows.append([task.name, "–", "–", "–"])
            continue
        whole = own * len(results.certificates[task.name].lower)
        cells = [_cell(results, task, within) for within in (float("inf"), CLOSE)]
        rows.append([task.name, md.duration(whole), *cells])
    return _EXPLANATION + md.table(
        ["", "this library", "fastest sound peer", f"fastest within {CLOSE:.0%}"], rows
    )


_EXPLANATION = (
    "Of the others' answers, those that are finite and that the certified bracket does not refute; "
    f"in the last column those of them that are also at most {CLOSE:.0%} too high. The time is a "
    "multiple of this library's: below 1x the peer is faster.\n\n"
)


def fastest_sound(results: Results, task: Task, within: float) -> tuple[Record, float] | None:
    """Return the fastest sound peer that is at most ``within`` too high, and its time ratio."""
    best: tuple[Record, float] | None = None
    for record in results.peers:
        ratio = results.ratio(record, task.name)
        verdict = record.verdicts.get(task.name)
        # This library at another width is no peer.
        own = record.distribution == results.ours.distribution
        if own or ratio is None or verdict is None or verdict.unsound or verdict.infinite:
            continue
        if verdict.median_above <= within and (best is None or ratio < best[1]):
            best = record, ratio
    return best


def _cell(results: Results, task: Task, within: float) -> str:
    found = fastest_sound(results, task, within)
    if found is None:
        return "none"
    record, ratio = found
    above = record.verdicts[task.name].median_above
    high = f", {md.distance(above)} too high" if above > 0.0 else ""
    return f"{record.name}: {md.multiple(ratio)}{high}"
