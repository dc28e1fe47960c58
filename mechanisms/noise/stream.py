"""Streams of correlated noise: the rows of C^{-1} Z one after the other.

What a stream keeps between steps is its filter's few model-sized arrays; Z itself is drawn from
counters, `mechanisms.noise.random_source`.  docs/noise.md says what may be relied on.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from accountant.parameters import whole_count
from mechanisms.noise.blocks import Blocks
from mechanisms.noise.filters import NoiseFilter, Values
from mechanisms.noise.random_source import (
    CELL,
    PhiloxSource,
    SecureSource,
    as_source,
    sampler_digest,
    source_of,
)
from mechanisms.noise.state import NoiseState, read_state, write_state

__all__ = ["NoiseStream"]


class NoiseStream:
    """Rows of noise of a filter, one a step, of unit scale: not multiplied by a sensitivity.

    Iterating gives a fresh array of shape (dimension,) for each step; `next_row` fills one of the
    caller's; `next_blocks` cuts a row that should not exist as a whole.  One row of one stream
    goes with one step: whoever sees two releases with the same noise can subtract it.

    Parameters
    ----------
    noise_filter
        What correlates the rows, from `mechanisms.noise.filters`.
    dimension
        Columns: the parameters of the model, all of its tensors together.
    steps
        Rows in all; None for as many as the filter defines.
    rng
        None: a fresh key from the operating system, which is what a release needs.  "secure": the
        same, and normals from AES-256 instead of Philox.  A whole number or a SeedSequence: the
        same noise each time, for tests only, as whoever knows the seed knows the noise.  A
        Generator: a key drawn from it.  Or a source of `mechanisms.noise.random_source`.
    dtype
        float64, or float32 for half the memory: what is kept and given out is then rounded, to
        the nearest, to 24 bits; normals and sums are float64 all the same.
    block
        Columns worked on at a time, rounded up to a multiple of `CELL`, 32768.  The noise does
        not depend on it.
    executor
        Anything with ``submit``, as in `concurrent.futures`, to map blocks of a row; None works in
        the calling thread.  Threads share the buffers, processes send them to and fro.  The noise
        does not depend on it.

    Raises
    ------
    ValueError
        A parameter is outside its domain.
    ImportError
        "secure" without the package cryptography.

    Examples
    --------
    >>> from mechanisms.noise.filters import BufferFilter
    >>> stream = NoiseStream(BufferFilter(decay=[0.9], weights=[0.5]), 1000, steps=3)
    >>> [row.shape for row in stream]
    [(1000,), (1000,), (1000,)]
    """

    def __init__(
        self,
        noise_filter: NoiseFilter,
        dimension: int,
        *,
        steps: int | None = None,
        rng: Any = None,
        dtype: npt.DTypeLike = np.float64,
        block: int = 8 * CELL,
        executor: Executor | None = None,
    ) -> None:
        _check_filter(noise_filter)
        _check_executor(executor)
        self._dimension = whole_count(dimension, "dimension", 1)
        self._steps = _rows(noise_filter, steps)
        width = _block_width(block)
        buffers = np.zeros(noise_filter.memory * self._dimension, _dtype(dtype))
        self._blocks = Blocks(
            noise_filter, as_source(rng), self._dimension, width, executor, buffers
        )
        self._lock = threading.Lock()

    # --- what it is ------------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """Columns."""
        return self._dimension

    @property
    def steps(self) -> int:
        """Rows in all."""
        return self._steps

    @property
    def step(self) -> int:
        """Rows given in full, and the index of the next."""
        return self._blocks.step

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows and of what is kept."""
        return self._blocks.buffers.dtype

    @property
    def nbytes(self) -> int:
        """Bytes kept between steps."""
        return self._blocks.buffers.nbytes

    def __repr__(self) -> str:
        return (
            f"NoiseStream({type(self._blocks.noise_filter).__name__}, "
            f"dimension={self.dimension}, step {self.step} of {self.steps}, dtype={self.dtype})"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a noise stream is neither copied nor pickled, as two would give the same noise: "
            "use save(path) and NoiseStream.restore(path, noise_filter)"
        )

    # --- rows ------------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Values:
        with self._lock:
            if self.step < self.steps:
                return self._row(np.empty(self._dimension, self.dtype))
        raise StopIteration

    def next_row(self, out: Values | None = None) -> Values:
        """Return the next row, in ``out`` where one is given: shape (dimension,), of the dtype.

        Raises
        ------
        ValueError
            ``out`` does not fit, or all rows have been given.
        RuntimeError
            A row is unfinished, or was interrupted.
        """
        if out is None:
            out = np.empty(self._dimension, self.dtype)
        else:
            self._check_fits(out)
        with self._lock:
            return self._row(out)

    def next_blocks(self) -> Iterator[tuple[slice, Values]]:
        """Return an iterator over the next row in pieces: (columns, their values), left to right.

        A row left in the middle is unfinished: another call goes on with the rest of it.

        Raises
        ------
        ValueError
            All rows have been given.
        RuntimeError
            A row was interrupted.
        """
        with self._lock:
            self._blocks.check_whole()
            if not self._blocks.unfinished:
                self._begin()
        return self._rest_of(self.step)

    def _rest_of(self, step: int) -> Iterator[tuple[slice, Values]]:
        while True:
            with self._lock:
                if self.step != step:
                    return
                piece = self._blocks.take(None)
            yield piece

    def _row(self, out: Values) -> Values:
        self._check_between_rows()
        self._begin()
        step = self.step
        while self.step == step:
            self._blocks.take(out)
        return out

    def _begin(self) -> None:
        if self.step >= self.steps:
            raise ValueError(
                f"the stream has given all of its {self.steps} rows, which is what the privacy "
                "of the run counts on: state the steps in full when the stream is made"
            )
        self._blocks.begin()

    def _check_between_rows(self) -> None:
        self._blocks.check_whole()
        if self._blocks.unfinished:
            raise RuntimeError(
                f"row {self.step} is unfinished: take the rest of it from next_blocks() first"
            )

    def _check_fits(self, out: object) -> None:
        fits = isinstance(out, np.ndarray) and out.shape == (self._dimension,)
        if not fits or out.dtype != self.dtype or not out.flags.carray:  # type: ignore[attr-defined]
            raise ValueError(
                f"out must be a writable contiguous array of shape ({self._dimension},) and type "
                f"{self.dtype}; without out, a fresh one is returned"
            )

    # --- saving ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what the remaining rows depend on to an .npz file, readable by its owner alone.

        The file holds the key: whoever reads it knows all of the noise, past and future.

        Raises
        ------
        ValueError
            The source is one of the caller's own.
        RuntimeError
            A row is unfinished, or was interrupted.
        """
        source = self._blocks.source
        if not isinstance(source, (PhiloxSource, SecureSource)):
            raise ValueError(
                "only streams of PhiloxSource and SecureSource are saved: the key of a "
                f"{type(source).__name__} is not known"
            )
        with self._lock:
            self._check_between_rows()
            state = NoiseState(
                dimension=self.dimension,
                steps=self.steps,
                step=self.step,
                dtype=self.dtype.name,
                source=source.kind,
                key=source.key.hex(),
                sampler=sampler_digest(source.kind),
                filter=self._blocks.noise_filter.digest(),
            )
            write_state(path, state, self._blocks.buffers)

    @classmethod
    def restore(
        cls,
        path: str | os.PathLike[str],
        noise_filter: NoiseFilter,
        *,
        block: int = 8 * CELL,
        executor: Executor | None = None,
    ) -> Self:
        """Return the stream that was saved, at the row where it stood.

        Restored twice, it gives the same noise twice: one run goes on from one file.

        Raises
        ------
        ValueError
            The file is no state of a stream of this filter, or the installed libraries draw other
            normals than those that the stream began with.
        """
        _check_filter(noise_filter)
        _check_executor(executor)
        width = _block_width(block)
        state, buffers = read_state(path, noise_filter)
        try:
            source = source_of(state.source, bytes.fromhex(state.key))
        except ValueError:
            raise ValueError(
                f"{os.fspath(path)} is not the saved state of a noise stream: its source and key "
                "do not go together"
            ) from None
        if sampler_digest(state.source) != state.sampler:
            raise ValueError(
                f"{os.fspath(path)} was saved where {state.source} drew other normals: go on with "
                f"the NumPy and numba of that time (here, NumPy is {np.__version__})"
            )
        stream = cls.__new__(cls)
        stream._dimension = state.dimension
        stream._steps = _rows(noise_filter, state.steps)
        stream._blocks = Blocks(
            noise_filter, source, state.dimension, width, executor, buffers, state.step
        )
        stream._lock = threading.Lock()
        return stream


def _check_filter(value: object) -> None:
    if isinstance(value, type) or not isinstance(value, NoiseFilter):
        raise ValueError(
            "noise_filter must be a filter, such as those of mechanisms.noise.filters, "
            f"got a {type(value).__name__}"
        )


def _check_executor(value: object) -> None:
    if value is not None and not callable(getattr(value, "submit", None)):
        raise ValueError("executor must have submit, as those of concurrent.futures, or be None")


def _block_width(block: object) -> int:
    return -(-whole_count(block, "block", 1) // CELL) * CELL


def _rows(noise_filter: NoiseFilter, steps: object) -> int:
    defined = noise_filter.steps
    if steps is None:
        if defined is None:
            raise ValueError("steps must be given: this filter defines any number of rows")
        return defined
    rows = whole_count(steps, "steps", 1)
    if defined is not None and rows > defined:
        raise ValueError(f"steps must be at most {defined}, which the filter defines, got {rows}")
    return rows


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(object if value is None else value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.float64, np.float32):
        raise ValueError(f"dtype must be float64 or float32, got {value!r}")
    return dtype
