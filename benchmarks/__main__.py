"""``python -m benchmarks``: measure, print, and with ``--write`` keep the report in the docs."""

from __future__ import annotations

import argparse
import sys

from benchmarks import environments
from benchmarks.contenders.registry import PEERS

_REPORT = environments.ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Run the command; returns its exit status."""
    arguments = _parser().parse_args()
    if arguments.setup:
        environments.set_up(arguments.opake_python)
        return 0
    if environments.python_for(PEERS[0].distribution) is None:
        environments.set_up(arguments.opake_python)
    # Imported here, so that the set-up needs nothing that is not in the standard library.
    from benchmarks import report, results

    measured = results.run(arguments.only, arguments.limit)
    text = report.render(measured, arguments.limit)
    print(text)
    if arguments.write:
        _REPORT.parent.mkdir(exist_ok=True)
        _REPORT.write_text(text, encoding="utf-8")
        print(f"written to {_REPORT.relative_to(environments.ROOT)}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--setup", action="store_true", help="make or complete the other accountants' environment"
    )
    parser.add_argument(
        "--opake-python",
        metavar="PATH",
        help="a Python 3.12 or 3.13 for opake-accounting, which does not import on 3.11",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[entry.name for entry in PEERS],
        help="measure this peer only (may be repeated)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=35,
        metavar="SECONDS",
        help="CPU time that one task may take for one contender (default 35)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
