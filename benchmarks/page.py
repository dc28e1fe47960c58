"""The page of the report: its sections, each measured by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks import matrix_results, noise, report, report_matrix, report_mechanisms, results
from benchmarks.cold_start import measure_cold_start
from benchmarks.contenders.registry import BEYOND_TRAINING, JAX_PRIVACY, OURS_QUICK, PEERS
from benchmarks.matrix_tasks import MATRIX_TASKS
from benchmarks.mechanism_tasks import MECHANISM_TASKS
from benchmarks.tasks import COMPARED, OURS_ONLY

SECTIONS = ("training", "mechanisms", "matrix")
_TITLE = "# Benchmarks\n"


def measured(section: str, only: Sequence[str], limit: int) -> str:
    """Measure one section with the peers named in ``only`` (none: all); return its Markdown."""
    if section == "mechanisms":
        everyone = (*BEYOND_TRAINING, *PEERS)
        peers = [entry for entry in everyone if not only or entry.name in only]
        # As if it were a peer: its time is given as a multiple of ours at full width.
        found = results.run(MECHANISM_TASKS, (OURS_QUICK, *peers), limit)
        return report_mechanisms.render(found, limit)
    if section == "matrix":
        with_peer = not only or JAX_PRIVACY.name in only
        designs = matrix_results.run(MATRIX_TASKS, with_peer=with_peer)
        return report_matrix.render(designs, list(noise.speed_rows(["float64"])))
    peers = [entry for entry in PEERS if not only or entry.name in only]
    cold_start = measure_cold_start()
    found = results.run(COMPARED, peers, limit, ours_only=OURS_ONLY)
    return report.render(found, cold_start, limit)


def updated(document: str, sections: Mapping[str, str]) -> str:
    """Put ``sections`` in their places in ``document``; its other sections stay as they are."""
    parts = [_TITLE]
    for name in SECTIONS:
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        _, _, rest = document.partition(start)
        body = f"\n{sections[name]}\n" if name in sections else rest.partition(end)[0]
        parts += ["\n", start, body, end]
    return "".join(parts)
