"""Numbers and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table whose first column is text and whose others are numbers."""
    lines = [_row(header), _row(["---", *["---:"] * (len(header) - 1)])]
    return "\n".join([*lines, *(_row(row) for row in rows)]) + "\n"


def duration(seconds: float) -> str:
    """Write CPU time to three digits, in the unit that suits it."""
    if seconds < 1.0:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def multiple(ratio: float) -> str:
    """Write a ratio of times."""
    return f"{ratio:,.0f}x" if ratio >= 9.995 else f"{ratio:.3g}x"


def number(value: float) -> str:
    """Write an answer to six digits."""
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    return f"{value:.6g}"


def distance(fraction: float) -> str:
    """Write a relative distance to two digits."""
    if math.isinf(fraction):
        return "infinitely far"
    return f"{fraction:.1%}" if fraction >= 1e-3 else f"{fraction:.1e}"


def megabytes(size: int) -> str:
    """Write a memory size."""
    return f"{size / 1e6:,.0f} MB"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
