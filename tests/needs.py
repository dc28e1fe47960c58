"""What some tests need beyond `.[ui,test]`, how to find it, and what happens where it is missing.

A test that needs a browser says `@needs("browser")`. Where none is found it is skipped, with a
line that says what to install; where the environment says `REQUIRE=browser`, as CI does, a
missing one is a failure, so that nothing can be skipped there without anybody noticing.
"""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import pytest


def browser_path() -> str | None:
    """Where the browser is that the tests drive, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def _module(name: str) -> Callable[[], bool]:
    return lambda: find_spec(name) is not None


# name -> (is it there?, what to install)
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "browser": (lambda: browser_path() is not None, "chromium or google-chrome on the PATH"),
    "torch": (_module("torch"), "the Python package torch"),
    "jax": (_module("jax"), "the Python package jax"),
    "cryptography": (_module("cryptography"), "the Python package cryptography"),
    "dask": (_module("dask"), "the Python package dask"),
    "latex": (lambda: shutil.which("pdflatex") is not None, "pdflatex on the PATH"),
}


def required() -> set[str]:
    """The needs that must be there, from the comma-separated variable REQUIRE."""
    names = {name.strip() for name in os.environ.get("REQUIRE", "").split(",") if name.strip()}
    if unknown := names - NEEDS.keys():
        raise pytest.UsageError(
            f"REQUIRE names {', '.join(sorted(unknown))}, but only {', '.join(NEEDS)} are known."
        )
    return names


def needs(name: str) -> pytest.MarkDecorator:
    """Mark a test, or with `pytestmark` a module, as needing one of NEEDS."""
    if name not in NEEDS:
        raise ValueError(f"needs({name!r}): only {', '.join(NEEDS)} are known.")
    return pytest.mark.needs(name)


def check(item: pytest.Item) -> None:
    """Skip or fail a test about to run, if what it needs is missing."""
    for mark in item.iter_markers("needs"):
        name = mark.args[0]
        is_there, what = NEEDS[name]
        if is_there():
            continue
        if name in required():
            pytest.fail(f"REQUIRE names {name}, which is missing: install {what}.", pytrace=False)
        pytest.skip(f"needs {name}: install {what}")
