"""Measures one contender: reads tasks as JSON lines, answers with numbers and times.

``python -m benchmarks.peer_worker NAME``, run by ``worker_process.py`` in the environment in which
the contender is installed. The first line it writes says whether the contender imports.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from benchmarks import tasks
from benchmarks.contenders import registry
from benchmarks.contenders.base import Contender, NotOfferedError

# Repetitions stop after this much CPU time: enough for a median of what is quick. What takes this
# long the first time is asked no second time: code loading is a small part of it.
_REPETITION_SECONDS = 1.5
_MOST_REPETITIONS = 15
# A contender that asks for more than the machine has must not take the machine with it.
_ADDRESS_SPACE = 16 * 2**30


def main() -> None:
    """Serve tasks until the input closes."""
    replies = _claim_stdout()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, resource.RLIM_INFINITY))
    entry = registry.by_name(sys.argv[1])
    start = time.process_time()
    try:
        contender = entry.load()
    except Exception as error:
        _send(replies, {"error": _one_line(error), **_versions(entry.distribution)})
        return
    imported = time.process_time() - start
    _warm_up(contender)
    _send(replies, {"import_seconds": imported, **_versions(entry.distribution)})
    for line in sys.stdin:
        task = tasks.by_name(json.loads(line)["task"])
        _send(replies, _measure(contender, task))


def _warm_up(contender: Contender) -> None:
    """Let the library load what it loads at its first answer."""
    # Whatever is wrong with it comes to light when it is measured.
    with contextlib.suppress(Exception):
        tasks.EPSILON_TASKS[0].ask(contender, repetition=1)


def _measure(contender: Contender, task: tasks.Task) -> dict[str, Any]:
    _forget_peak_memory()
    seconds: list[float] = []
    compiling: list[float] = []
    answer: list[float] = []
    try:
        while not _enough(seconds, getattr(task, "again_within", 0.0)):
            start, compiled = time.process_time(), contender.compile_seconds
            numbers = task.ask(contender, repetition=len(seconds))
            seconds.append(time.process_time() - start)
            compiling.append(contender.compile_seconds - compiled)
            answer = answer or numbers
    except NotOfferedError as reason:
        return {"not_offered": str(reason)}
    except Exception as error:
        return {"error": _one_line(error)}
    # The first call loads code and fills caches; it counts only where it is all there is.
    warm = seconds[1:] or seconds
    return {
        "answer": answer,
        "cpu_seconds": warm,
        "first_seconds": seconds[0],
        "compile_seconds": compiling,
        "peak_bytes": _peak_memory(),
    }


def _enough(seconds: list[float], again_within: float) -> bool:
    """Whether these CPU times make a median; one alone does, of at least `again_within`."""
    if len(seconds) == 1 and seconds[0] < again_within:
        return False
    return sum(seconds) > _REPETITION_SECONDS or len(seconds) > _MOST_REPETITIONS


def _claim_stdout() -> IO[str]:
    """Keep the reply channel to ourselves: libraries print to standard output."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _send(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _versions(distribution: str) -> dict[str, str]:
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = "not installed"
    return {"version": version, "python": platform.python_version()}


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _forget_peak_memory() -> None:
    """Start the kernel's high-water mark again, where it can be (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_memory() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
