"""The measuring side of a worker: starts it, asks it, and ends it when it takes too long."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any

from benchmarks import environments
from benchmarks.contenders.registry import Entry

_START_SECONDS = 120.0
# One core for everybody, and no help from threads that another contender does not have.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_ONE_THREAD = dict.fromkeys(_THREADS, "1")


@dataclass(frozen=True)
class Measurement:
    """What a contender made of a task.

    Exactly one of ``answer`` and ``failure`` is set. ``offered`` is False where the contender's
    library has no such query, which is not a failure of it.
    """

    answer: list[float] | None = None
    failure: str | None = None
    offered: bool = True
    cpu_seconds: tuple[float, ...] = ()
    peak_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Median CPU seconds of one answer."""
        return median(self.cpu_seconds)


class Worker:
    """A contender in a process of its own; started on entry and again after it was ended."""

    def __init__(self, entry: Entry, limit: float) -> None:
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

    def measure(self, task_name: str) -> Measurement:
        """Ask for one task, within the time limit."""
        if self.unavailable is None and self._process is None:
            self._start()
        if self.unavailable is not None:
            return Measurement(failure=self.unavailable)
        reply = self._exchange({"task": task_name}, self._limit)
        if isinstance(reply, str):
            return Measurement(failure=reply)
        if "not_offered" in reply:
            return Measurement(failure=f"no {reply['not_offered']}", offered=False)
        if "error" in reply:
            return Measurement(failure=reply["error"])
        return Measurement(
            answer=reply["answer"],
            cpu_seconds=tuple(reply["cpu_seconds"]),
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
            env={**os.environ, **_ONE_THREAD},
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

    def _exchange(self, message: dict[str, Any] | None, limit: float) -> dict[str, Any] | str:
        """Send a line, and return the reply or in a few words why there is none."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        if message is not None:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        # A reply is one flushed line, so that once it has begun to arrive it is all there.
        ready, _, _ = select.select([process.stdout], [], [], limit)
        line = process.stdout.readline() if ready else ""
        if line:
            reply = json.loads(line)
            assert isinstance(reply, dict)
            return reply
        self._stop()
        return "process died" if ready else f"over {limit:.0f} s"

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
