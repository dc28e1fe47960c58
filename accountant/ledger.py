"""The append-only log of what was released from one data set.

What is written here is on disk before the release happens; docs/budget.md gives the format and
proves that no crash, and no second writer, lets a release go uncounted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation

from accountant.spending.event_codec import encode_event
from accountant.spending.ledger_file import LedgerError, LedgerFile
from accountant.spending.ledger_lines import Entry, Scalar

__all__ = ["Entry", "Ledger", "LedgerError"]

FORMAT: Final = "dp-planner ledger"
VERSION: Final = 1

Guard = Callable[[Sequence[Entry]], None]


class Ledger:
    """The append-only log of releases from one data set, in one file.

    Made by :meth:`create`, :meth:`load` or :meth:`open`.  Any number of processes and threads may
    hold the same file: every operation takes the file's lock, reads what others have added, and
    only then writes.

    Attributes
    ----------
    path
        The file.
    neighboring_relation
        What the costs of its releases refer to.
    dataset
        The name of the data set, or None.
    """

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        header = file.entries[0]
        try:
            self.neighboring_relation, self.dataset = _read_header(header)
        except ValueError as error:
            raise LedgerError(f"{file.path}, line 1 is no header: {error}") from error

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    # --- opening ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
        dataset: str | None = None,
    ) -> Ledger:
        """A new ledger, where there is none.

        Raises
        ------
        FileExistsError
            There is one: use :meth:`load`, or :meth:`open` for either case.
        """
        file = LedgerFile(path)
        if not _begin(file, neighboring_relation, dataset):
            raise FileExistsError(f"{file.path} exists: load it, or choose another name")
        return cls(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ledger:
        """A ledger that exists.

        Raises
        ------
        FileNotFoundError
            There is none: use :meth:`create`, or :meth:`open` for either case.
        LedgerError
            The file is not a ledger, or it is damaged.
        """
        file = LedgerFile(path)
        with file.locked(writing=False):
            if not file.entries:
                raise LedgerError(f"{file.path} is empty: create it anew")
        return cls(file)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
        dataset: str | None = None,
    ) -> Ledger:
        """The ledger at ``path``, which is created where there is none.

        Raises
        ------
        LedgerError
            The file is damaged, or it is kept for another neighbouring relation or data set.
        """
        file = LedgerFile(path)
        _begin(file, neighboring_relation, dataset)
        ledger = cls(file)
        if ledger.neighboring_relation is not neighboring_relation:
            raise LedgerError(
                f"{ledger.path} is kept under {ledger.neighboring_relation.name}, not under "
                f"{neighboring_relation.name}: use one file for each"
            )
        if dataset is not None and ledger.dataset != dataset:
            raise LedgerError(
                f"{ledger.path} is kept for the data set {ledger.dataset!r}, not for {dataset!r}: "
                "use one file for each"
            )
        return ledger

    # --- reading ---------------------------------------------------------------------------------

    def entries(self) -> tuple[Entry, ...]:
        """Everything that is in the file now, the header included."""
        with self._file.locked(writing=False):
            return tuple(self._file.entries)

    def events(self) -> list[dp_event.DpEvent]:
        """What has been released so far."""
        return [entry.event for entry in self.entries() if entry.event is not None]

    # --- writing ---------------------------------------------------------------------------------

    def record(
        self,
        event: dp_event.DpEvent,
        *,
        label: str = "",
        time: datetime | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> Entry:
        """Write down a release; release only after this has returned.

        Parameters
        ----------
        event
            What will be released.
        label, metadata
            Free text, and free names with text, numbers, truth values or None.
        time
            With a time zone; now, if None.

        Raises
        ------
        LedgerError
            The file is damaged; or a budget is kept in it, which must be asked:
            ``PrivacyBudget.open(path).spend(event)``.
        ValueError
            The event, or something else, has no place in a file.
        OSError
            The disk refused.  Do not release; the entry may be counted all the same.
        """

        def no_budget(entries: Sequence[Entry]) -> None:
            if any(entry.kind == "budget" for entry in entries):
                raise LedgerError(
                    f"{self.path} keeps a budget, which a release must not pass by: use "
                    "PrivacyBudget.open(path).spend(event)"
                )

        data = {"event": encode_event(event)}
        return self.append(
            "release", data, label=label, time=time, metadata=metadata, guard=no_budget
        )

    def note(
        self,
        label: str,
        *,
        time: datetime | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> Entry:
        """Write down something that is no release; see :meth:`record`."""
        return self.append("note", {}, label=label, time=time, metadata=metadata)

    def append(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        label: str = "",
        time: datetime | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        guard: Guard | None = None,
    ) -> Entry:
        """Write an entry that ``guard`` agrees to; for budgets, which :meth:`record` leaves out.

        ``guard`` is called with all entries while nobody else can write, and refuses by raising.
        It must not use the ledger.
        """
        if kind == "header":
            raise ValueError("a ledger has one header, its first line")
        with self._file.locked(writing=True) as descriptor:
            if guard is not None:
                guard(self._file.entries)
            return self._file.write(descriptor, kind, data, label, time, metadata)


def _begin(file: LedgerFile, relation: NeighboringRelation, dataset: str | None) -> bool:
    """Write the header where there is none yet; whether that was so."""
    if not isinstance(relation, NeighboringRelation):
        raise ValueError(f"neighboring_relation must be a NeighboringRelation, got {relation!r}")
    if dataset is not None and not isinstance(dataset, str):
        raise ValueError(f"dataset must be text or None, got {dataset!r}")
    with file.locked(writing=True, create=True) as descriptor:
        if file.entries:
            return False
        header = {
            "format": FORMAT,
            "version": VERSION,
            "neighboring_relation": relation.name,
            "dataset": dataset,
        }
        file.write(descriptor, "header", header)
        return True


def _read_header(entry: Entry) -> tuple[NeighboringRelation, str | None]:
    data = entry.data
    if entry.kind != "header" or data.get("format") != FORMAT:
        raise ValueError("it is not the header of a ledger")
    if type(data.get("version")) is not int or data["version"] != VERSION:
        raise ValueError(f"its version is {data.get('version')!r:.40}, and {VERSION} is known")
    if data.keys() != {"format", "version", "neighboring_relation", "dataset"}:
        raise ValueError("it must have a neighbouring relation and a data set, and no more")
    name, dataset = data["neighboring_relation"], data["dataset"]
    if not isinstance(name, str) or name not in NeighboringRelation.__members__:
        raise ValueError(f"no neighbouring relation is called {name!r:.40}")
    if not (dataset is None or isinstance(dataset, str)):
        raise ValueError("the data set's name must be text")
    return NeighboringRelation[name], dataset
