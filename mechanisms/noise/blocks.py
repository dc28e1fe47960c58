"""How a stream's rows are computed: block by block of columns, here or by an executor."""

import os
from collections import deque
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import numpy.typing as npt

from mechanisms.noise.filters import NoiseFilter, Values
from mechanisms.noise.random_source import CELL, NormalSource

__all__ = ["Blocks"]

# Blocks in flight for each processor.
_AHEAD = 2


class Blocks:
    """The buffers of a stream, and the blocks of the row that is under way.

    Not safe for threads: `mechanisms.noise.NoiseStream` holds a lock around each call.

    Parameters
    ----------
    noise_filter, source, executor
        As in `mechanisms.noise.NoiseStream`.
    dimension
        Columns.
    width
        Columns of a block, a multiple of `CELL`.
    buffers
        Shape (memory * dimension,), cell by cell, each (memory, its width): what is used together
        lies together.  Its dtype is the stream's.
    step
        The next row.
    """

    def __init__(
        self,
        noise_filter: NoiseFilter,
        source: NormalSource,
        dimension: int,
        width: int,
        executor: Executor | None,
        buffers: Values,
        step: int = 0,
    ) -> None:
        self.noise_filter = noise_filter
        self.source = source
        self.buffers = buffers
        self._dimension = dimension
        self._width = width
        self._executor = executor
        self.step = step
        self._starts: deque[int] = deque()
        self._running: deque[tuple[slice, Values, Future[tuple[Values, Values]]]] = deque()
        self._torn = False

    @property
    def unfinished(self) -> bool:
        """Whether a row is under way."""
        return bool(self._starts or self._running)

    def begin(self) -> None:
        """Put the blocks of the next row into the queue."""
        self.check_whole()
        self._starts.extend(range(0, self._dimension, self._width))

    def check_whole(self) -> None:
        """Refuse to go on where some columns may have taken a step and others not."""
        if self._torn:
            raise RuntimeError(
                f"row {self.step} was interrupted and parts of it are lost: go on from a saved "
                "state, NoiseStream.restore(path, noise_filter)"
            )

    def take(self, row: Values | None) -> tuple[slice, Values]:
        """Return the next block of the row, (columns, values): parts of ``row`` if it is given."""
        self.check_whole()
        self._torn = True
        if self._executor is None:
            columns, state, out = self._next(row)
            advance(self.noise_filter, self.source, self.step, columns.start, state, out)
        else:
            most = _AHEAD * (os.cpu_count() or 1)
            while self._starts and len(self._running) < most:
                columns, state, out = self._next(row)
                future = self._executor.submit(
                    advance, self.noise_filter, self.source, self.step, columns.start, state, out
                )
                self._running.append((columns, out, future))
            columns, out, future = self._running.popleft()
            new_state, values = future.result()
            if values is not out:  # another process worked on copies
                self._state(columns)[:] = new_state
                out[:] = values
        if not self.unfinished:
            self.step += 1
        self._torn = False
        return columns, out

    def _next(self, row: Values | None) -> tuple[slice, Values, Values]:
        start = self._starts.popleft()
        columns = slice(start, min(start + self._width, self._dimension))
        if row is None:
            out = np.empty(columns.stop - columns.start, self.buffers.dtype)
        else:
            out = row[columns]
        return columns, self._state(columns), out

    def _state(self, columns: slice) -> Values:
        memory = self.noise_filter.memory
        return self.buffers[memory * columns.start : memory * columns.stop]


def advance(
    noise_filter: NoiseFilter,
    source: NormalSource,
    step: int,
    start: int,
    state: Values,
    out: Values,
) -> tuple[Values, Values]:
    """One step on a block of columns from ``start`` on; return what was given, now changed."""
    normals = np.empty(min(CELL, out.size))
    memory = noise_filter.memory
    for low in range(0, out.size, CELL):
        high = min(low + CELL, out.size)
        z = normals[: high - low]
        cell = (start + low) // CELL

        def draw(row: int, z: npt.NDArray[np.float64] = z, cell: int = cell) -> Any:
            source.normals(row, cell, z)
            return z

        kept = state[memory * low : memory * high].reshape(memory, high - low)
        noise_filter.advance(step, kept, draw, out[low:high])
    return state, out
