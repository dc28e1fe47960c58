"""The tables of docs/noise.md: speed, memory and single precision of streams of noise.

``python -m benchmarks.noise --write`` measures anew in place; with names, those tables alone.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.markdown import table
from mechanisms.noise import NoiseStream
from mechanisms.noise.filters import (
    BandedFilter,
    BufferFilter,
    Independent,
    InverseBandedFilter,
    NoiseFilter,
)
from mechanisms.noise.tree_filter import TreeFilter

DOCUMENT = Path(__file__).parent.parent / "docs" / "noise.md"
COLUMNS, ROWS = 10**7, 8
LARGE = 10**8

BUFFERS = BufferFilter(
    decay=np.array([0.9999, 0.99, 0.9, 0.5]), weights=np.array([0.01, 0.05, 0.1, 0.2])
)
BANDS = np.array([math.comb(2 * j, j) / 4.0**j for j in range(16)])
FILTERS: dict[str, NoiseFilter] = {
    "independent": Independent(),
    "BLT, 4 buffers": BUFFERS,
    "16 bands": BandedFilter(BANDS),
    "16 bands of the inverse": InverseBandedFilter(BANDS),
    "tree of 1,024 steps, online": TreeFilter(1024, 1024, "online"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "float64": {},
    "float32": {"dtype": np.float32},
    "secure, float64": {"rng": "secure"},
}
# jax-privacy's published BLT for 100,000 steps, whose largest error was optimised.
LONG = BufferFilter(
    decay=np.array([0.9999528892, 0.9857068667]), weights=np.array([0.0122853238, 0.1878393665])
)
LONG_COLUMNS, LONG_STEPS = 128, (100, 10_000, 100_000)


def speed_rows(kinds: Iterable[str] = OPTIONS) -> Iterator[list[str]]:
    """Each filter's CPU time for a number, and its speed over that of the generator alone."""
    generator, normals = np.random.default_rng(), np.empty(COLUMNS)

    def alone() -> object:
        return generator.standard_normal(out=normals)

    for kind in kinds:
        options = OPTIONS[kind]
        for name, noise_filter in FILTERS.items():
            stream = NoiseStream(noise_filter, COLUMNS, steps=1024, **options)
            out = np.empty(COLUMNS, stream.dtype)
            for _ in range(16):  # until bands are full; compiling is in the first
                stream.next_row(out)
            took, reference = 0.0, 0.0
            for _ in range(ROWS):
                reference += _cpu_seconds(alone)
                took += _cpu_seconds(lambda stream=stream, out=out: stream.next_row(out))  # type: ignore[misc]
            per_number = took / ROWS / COLUMNS * 1e9
            alone_per_number = reference / ROWS / COLUMNS * 1e9
            yield [
                f"{name}, {kind}",
                f"{noise_filter.memory}",
                f"{per_number:.1f} ns",
                f"{alone_per_number:.1f} ns",
                f"{reference / took:.2f}",
            ]


def _cpu_seconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def memory_rows() -> list[list[str]]:
    """What processes grow by that take two rows of 1e8 numbers, block by block."""
    return [memory_row(kind) for kind in ("float32", "float64")]


def memory_row(kind: str) -> list[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "benchmarks.noise", "--rows-of-1e8", kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kept, growth = (float(word) for word in done.stdout.split())
    return [
        f"BLT, 4 buffers, {kind}",
        f"{kept / 1e9:.2f} GB",
        f"{growth / 1e9:.2f} GB",
        f"{(growth - kept) / 1e6:.0f} MB",
    ]


def take_rows(kind: str) -> None:
    """Print the bytes that a stream keeps, and by how much two rows raised the process's peak."""
    for _ in NoiseStream(BUFFERS, 1, steps=1, dtype=kind):  # compiled before the count
        before = _peak()
    stream = NoiseStream(BUFFERS, LARGE, steps=2, dtype=kind)
    for _ in range(2):
        for _block in stream.next_blocks():
            pass
    print(stream.nbytes, _peak() - before)


def _peak() -> int:
    # not getrusage's, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def precision_rows() -> Iterator[list[str]]:
    """The whitened error of a long run in single precision, and its bound, in root mean squares."""
    steps = max(LONG_STEPS)
    rows = NoiseStream(LONG, LONG_COLUMNS, steps=steps, rng=1, dtype=np.float32)
    normals = NoiseStream(Independent(), LONG_COLUMNS, steps=steps, rng=1)
    decay = LONG.decay[:, None]
    exact = np.zeros((2, LONG_COLUMNS))
    kept, bound = np.zeros_like(exact), np.zeros_like(exact)
    unit = 2.0**-24
    for step, (row, z) in enumerate(zip(rows, normals, strict=True), start=1):
        y = row.astype(np.float64)
        if step in LONG_STEPS:
            error = y + LONG.weights @ exact - z
            limit = unit * np.abs(y) + LONG.weights @ bound
            yield [f"{step:,}", f"{_rms(error):.1e}", f"{_rms(limit):.1e}"]
        exact = decay * exact + y
        kept = (decay * kept + y).astype(np.float32).astype(np.float64)
        bound = decay * bound + unit * np.abs(kept)


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


TABLES: dict[str, Callable[[], str]] = {
    "speed": lambda: table(
        ["noise", "model copies", "per number", "generator", "speed over it"], speed_rows()
    ),
    "memory": lambda: table(["noise", "kept", "growth", "beyond what is kept"], memory_rows()),
    "precision": lambda: table(["after steps", "whitened error", "its bound"], precision_rows()),
}


def written(document: str, name: str, text: str) -> str:
    """The document with one of its tables replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = document.split(start)
    return before + start + text + end + rest.split(end)[1]


def main(arguments: list[str]) -> None:
    """Measure; write or print."""
    if arguments[:1] == ["--rows-of-1e8"]:
        take_rows(arguments[1])
        return
    for name in [each for each in arguments if each in TABLES] or TABLES:
        text = TABLES[name]()
        if "--write" in arguments:
            DOCUMENT.write_text(written(DOCUMENT.read_text(), name, text))
        else:
            print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
