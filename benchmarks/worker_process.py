"""The measuring side of a worker: starts it, asks it, and ends it when it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from benchmarks import environments
from benchmarks.contenders.registry import Entry

_START_SECONDS = 60
# Limits are CPU time, looked up this often. RLIMIT_CPU would do it for us, but while it is set
# Linux counts a process's CPU time in ticks of milliseconds, too coarse for what is measured.
_LOOK_EVERY = 0.2
# A process that neither works nor answers is given up after this many times the limit by the clock.
_PATIENCE = 4.0
# One core for everybody, and no help from threads that another contender does not have.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
ONE_THREAD = dict.fromkeys(_THREADS, "1")


@dataclass(frozen=True)
class Measurement:
    """What a contender made of a task.

    Exactly one of ``answer`` and ``failure`` is set. ``offered`` is False where the contender's
    library has no such query, which is not a failure of it. ``cpu_seconds`` leaves the first of
    several calls out, which ``first_seconds`` has; ``compile_seconds`` are of all calls, the first
    included. ``ended_after`` is the limit that a contender went over.
    """

    answer: list[float] | None = None
    failure: str | None = None
    offered: bool = True
    ended_after: int | None = None
    cpu_seconds: tuple[float, ...] = ()
    first_seconds: float = 0.0
    compile_seconds: tuple[float, ...] = ()
    peak_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Median CPU seconds of one answer."""
        return median(self.cpu_seconds)


class Worker:
    """A contender in a process of its own; started on entry and again after it was ended."""

    def __init__(self, entry: Entry, limit: int) -> None:
        self._entry = entry
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None
        self.version = "not installed"
        self.python = ""
        self.import_seconds = 0.0
        self.unavailable: str | None = None

    def __enter__(self) -> Worker:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def measure(self, task_name: str, limit: int | None = None) -> Measurement:
        """Ask for one task, within the limit of CPU time; another one than usual if given."""
        if self.unavailable is None and self._process is None:
            self._start()
        if self.unavailable is not None:
            return Measurement(failure=self.unavailable)
        allowed = self._limit if limit is None else limit
        reply = self._exchange({"task": task_name}, allowed)
        if isinstance(reply, str):
            late = reply == _over(allowed)
            return Measurement(failure=reply, ended_after=allowed if late else None)
        if "not_offered" in reply:
            return Measurement(failure=f"no {reply['not_offered']}", offered=False)
        if "error" in reply:
            return Measurement(failure=reply["error"])
        return Measurement(
            answer=reply["answer"],
            cpu_seconds=tuple(reply["cpu_seconds"]),
            first_seconds=reply["first_seconds"],
            compile_seconds=tuple(reply["compile_seconds"]),
            peak_bytes=reply["peak_bytes"],
        )

    def _start(self) -> None:
        python = environments.python_for(self._entry.distribution)
        if python is None:
            self.unavailable = "not installed"
            return
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", "benchmarks.peer_worker", self._entry.name],
            cwd=environments.ROOT,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        reply = self._exchange(None, _START_SECONDS)
        if isinstance(reply, str):
            self.unavailable = f"does not start: {reply}"
            return
        self.version, self.python = reply["version"], reply["python"]
        if "error" in reply:
            self.unavailable = f"does not import: {reply['error']}"
            self._stop()
            return
        self.import_seconds = reply["import_seconds"]

    def _exchange(self, message: dict[str, Any] | None, limit: int) -> dict[str, Any] | str:
        """Send a line, and return the reply or in a few words why there is none."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        if message is not None:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        if not _readable(process, limit):
            self._stop()
            return _over(limit)
        # A reply is one flushed line, so that once it has begun to arrive it is all there.
        line = process.stdout.readline()
        if not line:
            return f"process ended with status {self._stop()}"
        reply = json.loads(line)
        assert isinstance(reply, dict)
        return reply

    def _stop(self) -> int:
        """End the process if there is one; return the status it ended with."""
        if self._process is None:
            return 0
        # A worker that closed its side is about to end by itself, with a status worth knowing.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=1.0)
        self._process.kill()
        self._process.communicate()
        status, self._process = self._process.returncode, None
        return status


def _over(limit: int) -> str:
    return f"over {limit} s"


def _readable(process: subprocess.Popen[str], limit: int) -> bool:
    """Wait until the process has said something; False once it has used up its CPU time."""
    assert process.stdout is not None
    used_before, start = _cpu_seconds(process.pid), time.monotonic()
    while True:
        ready, _, _ = select.select([process.stdout], [], [], _LOOK_EVERY)
        if ready:
            return True
        used = _cpu_seconds(process.pid) - used_before
        if used > limit or time.monotonic() - start > _PATIENCE * limit:
            return False


def _cpu_seconds(pid: int) -> float:
    """CPU time of another process; the clock's time where the system does not say (not Linux)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return time.monotonic()
    # The second field is a name in parentheses; user and system time are the 14th and 15th.
    fields = status.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
