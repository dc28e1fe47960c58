"""The file under a ledger: chained lines, one lock, and what a crash may leave at the end.

docs/budget.md gives the format and proves what is said here about crashes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from accountant.spending.ledger_lines import (
    FIRST,
    MAX_LINE,
    Entry,
    Scalar,
    is_beginning,
    read_line,
    write_line,
)

__all__ = ["LedgerError", "LedgerFile"]

MAX_SIZE: Final = 1 << 28
_FRAME_ROOM: Final = 200


class LedgerError(ValueError):
    """The file is not a ledger, or not a whole one, or not the one that was expected."""


class LedgerFile:
    """Entries in a file that other processes and threads may be writing to.

    Attributes
    ----------
    path
        The file, absolute.
    entries
        What has been read so far; to be used within :meth:`locked`, where it is up to date.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.entries: list[Entry] = []
        self._mutex = threading.Lock()
        self._end = 0  # where the next line begins
        self._ended = True  # whether the last line has its newline
        self._file: tuple[int, int] | None = None

    @contextmanager
    def locked(self, *, writing: bool, create: bool = False) -> Iterator[int]:
        """The open file, locked, with all that others have added read; repaired if for writing.

        Yields
        ------
        int
            The descriptor, for :meth:`write`.

        Raises
        ------
        LedgerError
            The file is damaged, or not the one that was read before.
        """
        # Opened anew each time: a lock belongs to the open file, which a fork would share.
        flags = (os.O_RDWR | os.O_APPEND if writing else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
        with self._mutex:
            descriptor = os.open(self.path, flags | (os.O_CREAT if create else 0), 0o666)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise LedgerError(f"{self.path} is not an ordinary file")
                fcntl.flock(descriptor, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
                tail = self._refresh(descriptor)
                if writing and tail:
                    self._repair(descriptor, tail)
                yield descriptor
            finally:
                os.close(descriptor)

    def write(
        self,
        descriptor: int,
        kind: str,
        data: Mapping[str, Any],
        label: str = "",
        time: datetime | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> Entry:
        """Append an entry, and return once it is on the disk."""
        sequence = len(self.entries)
        previous = self.entries[-1].checksum if sequence else FIRST
        line = write_line(sequence, previous, kind, data, label, time, metadata)
        entry = read_line(line[:-1], sequence, previous)
        rest = memoryview(line if self._ended else b"\n" + line)
        end = self._end + len(rest)
        if end > MAX_SIZE:
            raise LedgerError(f"{self.path} is full: a ledger has at most {MAX_SIZE} bytes")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        _sync(descriptor)
        if not sequence:
            _sync_folder(self.path)
        self.entries.append(entry)
        self._end, self._ended = end, True
        return entry

    # --- reading ---------------------------------------------------------------------------------

    def _refresh(self, descriptor: int) -> bytes:
        """Read what has been added, and return what was left at the end by a crash."""
        found = os.fstat(descriptor)
        if self._file not in (None, (found.st_dev, found.st_ino)) or found.st_size < self._end:
            raise LedgerError(f"{self.path} was replaced or cut off while it was in use")
        if found.st_size > MAX_SIZE:
            raise LedgerError(f"{self.path} has {found.st_size} bytes, a ledger at most {MAX_SIZE}")
        self._file = (found.st_dev, found.st_ino)
        *lines, tail = _read(descriptor, self._end, found.st_size).split(b"\n")
        if lines and not self._ended:
            if lines.pop(0):
                raise self._broken("something was written behind it")
            self._end, self._ended = self._end + 1, True
        for line in lines:
            self._take(line, 1)
        return self._last(tail)

    def _last(self, tail: bytes) -> bytes:
        """Take a last line that lacks only its newline; return a piece that is not a line."""
        text = tail.rstrip(b"\0")  # some file systems lengthen a file before they fill it
        if not tail or (not self._ended and not text):
            return tail
        if not self._ended or len(tail) > MAX_LINE + _FRAME_ROOM:
            raise self._broken("something was written behind it")
        if is_beginning(text) and (text or self.entries):
            return tail
        self._take(text, 0)
        self._ended = False
        return tail[len(text) :]

    def _take(self, line: bytes, newline: int) -> None:
        sequence = len(self.entries)
        try:
            entry = read_line(line, sequence, self.entries[-1].checksum if sequence else FIRST)
        except ValueError as error:
            raise LedgerError(
                f"{self.path}, line {sequence + 1} (at byte {self._end}) is damaged: {error}. "
                "Nothing from there on can be trusted; restore the file from a copy"
            ) from error
        self.entries.append(entry)
        self._end += len(line) + newline

    def _broken(self, why: str) -> LedgerError:
        return LedgerError(
            f"{self.path}, line {len(self.entries)} (ends at byte {self._end}) is damaged: {why}"
        )

    def _repair(self, descriptor: int, tail: bytes) -> None:
        """Cut off what a crash has left of a line, and keep account of it."""
        os.ftruncate(descriptor, self._end)
        if self.entries:
            cut = {
                "bytes": len(tail),
                "sha256": hashlib.sha256(tail).hexdigest(),
                "beginning": tail[:4096].decode("latin-1"),
            }
            self.write(descriptor, "recovery", cut, "cut off a line that was never finished")


def _read(descriptor: int, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        part = os.pread(descriptor, min(end - start, 1 << 24), start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _sync(descriptor: int) -> None:
    """Return when the file's contents are on the disk itself."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # macOS: fsync leaves them in the drive's cache
        fcntl.fcntl(descriptor, full)
    else:
        os.fsync(descriptor)


def _sync_folder(path: Path) -> None:
    """Return when the file's name is on the disk."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
