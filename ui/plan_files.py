"""Plan files on disk: read as data and bounded, written whole or not at all."""

import os
import sys
import tempfile
from pathlib import Path

import click

from mechanisms.plan import Plan

__all__ = ["read_plan", "write_text"]

_LARGEST = 1_000_000  # bytes; whatever is larger is not read to find out that it is no plan


def read_plan(name: str) -> Plan:
    """Read a plan from a JSON or YAML file, or from standard input for the name ``-``.

    Raises
    ------
    click.ClickException
        If there is no such file.
    PlanError
        If it holds no plan.
    """
    try:
        if name == "-":
            content = sys.stdin.buffer.read(_LARGEST)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_LARGEST)
    except OSError as error:
        raise click.ClickException(f"Cannot read {name}: {error.strerror}.") from None
    # YAML 1.2 can be written like JSON, but only JSON is read in a millisecond.
    is_json = name.endswith(".json") or (name == "-" and content.lstrip()[:1] == b"{")
    return Plan.from_json(content) if is_json else Plan.from_yaml(content)


def write_text(name: str, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    click.ClickException
        If it cannot be written.
    """
    path = Path(name)
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False
        ) as file:
            file.write(text)
        try:
            Path(file.name).chmod(mode)
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink()
            raise
    except OSError as error:
        raise click.ClickException(f"Cannot write {name}: {error.strerror}.") from None


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
