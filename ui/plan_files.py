"""Plan files on disk: read as data and bounded, written whole or not at all."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mechanisms.plan import Plan
from mechanisms.planning.fields import INDEPENDENT, PlanError

__all__ = ["read_mechanism", "read_plan", "write_text"]

# Bytes; whatever is larger is not read to find out that it is no plan.
_LARGEST = 70_000_000


def read_plan(name: str) -> Plan:
    """Read a plan from a JSON or YAML file, or from standard input for the name ``-``.

    Raises
    ------
    click.ClickException
        If there is no such file.
    PlanError
        If it holds no plan.
    """
    content = _content(name)
    # YAML 1.2 can be written like JSON, but only JSON is read in a millisecond.
    is_json = name.endswith(".json") or (name == "-" and content.lstrip()[:1] == b"{")
    return Plan.from_json(content) if is_json else Plan.from_yaml(content)


def read_mechanism(text: str) -> "str | Mapping[str, Any]":
    """Return a mechanism from its name, from its JSON, or from a file that holds this.

    Raises
    ------
    click.ClickException
        If there is no such file.
    PlanError
        If it holds no JSON object.
    """
    if text.strip() == INDEPENDENT:
        return INDEPENDENT
    is_json = text.lstrip().startswith("{")
    wrong = PlanError("mechanism", text, "'identity', the JSON of a strategy, or its file's name")
    if not is_json and not text.endswith(".json"):
        raise wrong
    try:
        found = json.loads(text if is_json else _content(text))
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(found, Mapping):
        raise wrong
    return found


def _content(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_LARGEST)
        with Path(name).open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise click.ClickException(f"Cannot read {name}: {error.strerror}.") from None


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
