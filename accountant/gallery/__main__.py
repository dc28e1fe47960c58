"""The gallery as a page: ``python -m accountant.gallery`` prints it, ``--write`` updates docs/."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from accountant.bounds import Bounds
from accountant.gallery.cases import Case, Recomputation, RecomputedFigure
from accountant.gallery.loading import cases

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gallery.md"
DIGITS = 5

MARK = "<!-- What follows is written by python -m accountant.gallery --write -->\n\n"
COLUMNS = ("case", "paper", "published", "as published", "certified", "verdict")

QUANTITIES = {
    "epsilon": "ε",
    "separation": "κ",
    "rho": "ρ",
    "noise multiplier": "σ",
    "squared sensitivity": "squared sensitivity",
    "order": "order",
}


def tables(found: Sequence[Recomputation]) -> str:
    """The written part of docs/gallery.md: a row for each figure, a note for each case."""
    rows = [_row(*COLUMNS), "|---" * len(COLUMNS) + "|"]
    rows += [row for one in found for row in _rows(one)]
    notes = [_note(one) for one in found]
    return "\n".join(rows) + "\n\n## Notes\n\n" + "\n".join(notes) + "\n"


def _rows(found: Recomputation) -> Iterator[str]:
    one = found.case
    if not found.figures:
        yield _row(one.id, one.paper, "none", "", _bracket(found.bounds), "no figure")
    for i, figure in enumerate(found.figures):
        head = (one.id, one.paper) if i == 0 else ("", "")
        own = "" if figure.as_published is None else _number(figure.as_published)
        if figure.reproduced is False:
            own += " (explained)" if figure.explained else " (differs)"
        yield _row(*head, _published(figure), own, _bracket(figure.exact), figure.verdict)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _published(found: RecomputedFigure) -> str:
    figure = found.figure
    sign = {"at most": "≤", "at least": "≥", "value": "="}[figure.sense]
    return f"{figure.name}: {QUANTITIES[figure.quantity]} {sign} {figure.printed}"


def _note(found: Recomputation) -> str:
    one = found.case
    facts = [f"{one.unit}, {one.relation.name}"]
    if not math.isnan(one.delta):
        facts.append(f"δ = {one.delta:.4g}")
    parts = [f"- **{one.id}** ({'; '.join(facts)}; {one.source}).", one.assumption, found.verdict]
    if found.condition and "Met if" not in found.verdict:
        parts.append(f"Solved for: {_solved(one, found)}.")
    if one.unverified:
        names = ", ".join(name.replace("_", " ") for name in one.unverified)
        parts.append(f"Not verified: {names}.")
    return " ".join(parts)


def _solved(one: Case, found: Recomputation) -> str:
    assert one.unknown is not None
    return f"{one.unknown.parameter.replace('_', ' ')} {found.solved:.6g}"


def _bracket(bounds: Bounds | None) -> str:
    if bounds is None:
        return ""
    if bounds.lower == bounds.upper == round(bounds.lower):
        return f"{bounds.lower:.0f}"
    scale = 10**DIGITS
    low = math.floor(bounds.lower * scale) / scale
    high = math.ceil(bounds.upper * scale) / scale
    return f"[{low:.{DIGITS}f}, {high:.{DIGITS}f}]"


def _number(value: float) -> str:
    if math.isinf(value):
        return "inf"
    return f"{value:.0f}" if value == round(value) else f"{value:.{DIGITS}f}"


def main(arguments: list[str] | None = None) -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m accountant.gallery", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    write = parser.parse_args(arguments).write
    if write and not PAGE.is_file():
        print("there is no docs/ beside this package: run it in a checkout", file=sys.stderr)
        return 1
    text = tables([one.recompute() for one in cases()])
    if write:
        head, mark, _ = PAGE.read_text("utf-8").partition(MARK)
        if not mark:
            print(f"{PAGE} lacks the line {MARK.strip()}", file=sys.stderr)
            return 1
        PAGE.write_text(head + mark + text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
