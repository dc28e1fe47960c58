"""A missing need is skipped with a clear line, unless REQUIRE names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

EXAMPLE = """
from tests.needs import needs

@needs("browser")
def test_that_needs_a_browser():
    pass
"""


@pytest.fixture
def run(tmp_path):
    def run(**environment):
        (tmp_path / "test_example.py").write_text(EXAMPLE)
        (tmp_path / "conftest.py").write_text("from tests.conftest import *")
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    needs(name): as here\n")
        inherited = {k: v for k, v in os.environ.items() if k not in ("REQUIRE", "SEED", "PATH")}
        empty = tmp_path / "empty"  # a PATH without any browser
        empty.mkdir()
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", tmp_path],
            env=inherited | {"PATH": str(empty), "PYTHONPATH": str(ROOT)} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def test_what_is_missing_is_skipped_with_a_clear_line(run):
    result = run()
    assert result.returncode == 0
    assert "1 skipped" in result.stdout
    assert "needs browser: install chromium or google-chrome on the PATH" in result.stdout


def test_what_is_required_and_missing_fails(run):
    result = run(REQUIRE="browser")
    assert result.returncode == 1
    assert "REQUIRE names browser, which is missing" in result.stdout


def test_an_unknown_requirement_is_an_error(run):
    result = run(REQUIRE="browsr")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "REQUIRE names browsr, but only browser" in result.stderr


def test_the_seed_is_printed_and_can_be_chosen(run):
    assert "seed: 7 (" in run(SEED="7").stdout
