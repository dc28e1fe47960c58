"""The environments of the other accountants: made once, under ``benchmarks/.peers``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PEERS = Path(__file__).resolve().parent / ".peers"
_PINS = Path(__file__).resolve().parent / "peers.txt"
_MAIN = _PEERS / "main"
_OPAKE = _PEERS / "opake"
_OPAKE_DISTRIBUTION = "opake-accounting"
_JAX = _PEERS / "jax"
_JAX_DISTRIBUTION = "jax-privacy"


def python_for(distribution: str) -> Path | None:
    """Return the interpreter for contenders of ``distribution``, ``None`` before the set-up."""
    if distribution == "dp-planner":
        return Path(sys.executable)
    if distribution == _JAX_DISTRIBUTION:
        python = _JAX / "bin" / "python"
        return python if python.exists() else None
    own = _OPAKE / "bin" / "python"
    if distribution == _OPAKE_DISTRIBUTION and own.exists():
        return own
    python = _MAIN / "bin" / "python"
    return python if python.exists() else None


def set_up(opake_python: str | None) -> None:
    """Make the environments, or complete them.

    Parameters
    ----------
    opake_python
        A Python from 3.12 on, in which opake-accounting gets an environment of its own; it
        installs under 3.11 but cannot be imported there. ``None`` looks for one on the path.
    """
    requirements = [line for line in _requirements() if not line.startswith("jax")]
    _install(_MAIN, sys.executable, requirements)
    newer = opake_python or _newer_python()
    if newer is not None:
        ours = [line for line in requirements if line.startswith(_OPAKE_DISTRIBUTION)]
        _install(_OPAKE, newer, ours)


def set_up_jax() -> None:
    """Make or complete the environment of jax-privacy, which needs none of the others."""
    _install(_JAX, sys.executable, [line for line in _requirements() if line.startswith("jax")])


def _requirements() -> list[str]:
    lines = (line.strip() for line in _PINS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _newer_python() -> str | None:
    if sys.version_info >= (3, 12):
        return None
    for name in ("python3.13", "python3.12"):
        path = shutil.which(name)
        # A launcher on the path need not have an interpreter behind it.
        if path is not None and subprocess.run([path, "-V"], capture_output=True).returncode == 0:
            return path
    return None


def _install(environment: Path, python: str, requirements: list[str]) -> None:
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    for requirement in requirements:
        print(f"installing {requirement}", flush=True)
        # One by one, so that an accountant that does not install leaves the others in place.
        done = subprocess.run(
            [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            print(f"  {requirement} does not install here: {reason[0]}", flush=True)
