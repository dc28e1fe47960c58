"""``python -m benchmarks``: measure, print, and with ``--write`` keep the report in the docs.

``--section`` measures a part of the page; the rest of it stays as it is.
"""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks import environments
from benchmarks.contenders.registry import BEYOND_TRAINING, JAX_PRIVACY, PEERS
from benchmarks.worker_process import ONE_THREAD

_REPORT = environments.ROOT / "docs" / "benchmarks.md"
_SECTIONS = ("training", "mechanisms", "matrix")


def main() -> int:
    """Run the command; returns its exit status."""
    arguments = _parser().parse_args()
    if arguments.setup:
        environments.set_up(arguments.opake_python)
        environments.set_up_jax()
        return 0
    wanted = set(arguments.section or _SECTIONS)
    if "matrix" in wanted and environments.python_for(JAX_PRIVACY.distribution) is None:
        environments.set_up_jax()
    if wanted - {"matrix"} and environments.python_for(PEERS[0].distribution) is None:
        environments.set_up(arguments.opake_python)
    # Judges compute on one thread too: on a busy machine several wait for each other.
    os.environ.update(ONE_THREAD)
    # Imported here, so that the set-up needs nothing that is not in the standard library.
    from benchmarks import page

    chosen = [name for name in _SECTIONS if name in wanted]
    sections = {name: page.measured(name, arguments.only, arguments.limit) for name in chosen}
    print("\n".join(sections.values()))
    if arguments.write:
        _REPORT.parent.mkdir(exist_ok=True)
        before = _REPORT.read_text(encoding="utf-8") if _REPORT.exists() else ""
        _REPORT.write_text(page.updated(before, sections), encoding="utf-8")
        print(f"written to {_REPORT.relative_to(environments.ROOT)}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--setup", action="store_true", help="make or complete the other libraries' environments"
    )
    parser.add_argument(
        "--opake-python",
        metavar="PATH",
        help="a Python 3.12 or 3.13 for opake-accounting, which does not import on 3.11",
    )
    parser.add_argument(
        "--section",
        action="append",
        default=[],
        choices=_SECTIONS,
        help="measure this section of the page only (may be repeated)",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[entry.name for entry in (*PEERS, *BEYOND_TRAINING, JAX_PRIVACY)],
        help="measure this peer only (may be repeated)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=35,
        metavar="SECONDS",
        help="CPU time that one task may take for one contender (default 35); tasks of the section "
        "on correlated noise have limits of their own",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
