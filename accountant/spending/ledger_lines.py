"""One line of a ledger: a JSON object with its own length and checksum, chained to the line before.

A line is ``{"bytes":N,"sha256":"...","entry":{...}}`` and a newline, where ``entry`` takes N bytes
and has that SHA-256.  Within it, ``sequence`` counts from 0 and ``previous`` is the checksum of the
line before (64 zeros at first): a line that is changed, lost, added or moved does not fit.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from dp_accounting import dp_event

from accountant.spending.event_codec import decode_event

__all__ = ["FIRST", "KINDS", "MAX_LINE", "Entry", "is_beginning", "read_line", "write_line"]

FIRST: Final = "0" * 64
MAX_LINE: Final = 1 << 20
KINDS: Final = ("header", "budget", "release", "note", "recovery")

_FRAME: Final = re.compile(rb'\{"bytes":([1-9][0-9]{0,6}),"sha256":"([0-9a-f]{64})","entry":')
_SAMPLE: Final = b'{"bytes":1,"sha256":"' + b"0" * 64 + b'","entry":'
_KEYS: Final = {"sequence", "previous", "kind", "time", "label", "metadata", "data"}
_MAX_TEXT: Final = 10_000

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Entry:
    """One line of a ledger.

    Attributes
    ----------
    sequence
        Its place, from 0.
    kind
        "header", "budget", "release", "note" or "recovery".
    time
        When it was written, with a time zone; as given by the writer, so no proof of anything.
    label
        Free text.
    metadata
        Free names and values: text, numbers, truth values, None.
    data
        What the kind needs; of a release, the encoded event.
    checksum
        SHA-256 of the line, which vouches for all lines up to this one.
    event
        Of a release, what was released; else None.
    """

    sequence: int
    kind: str
    time: datetime
    label: str
    metadata: Mapping[str, Scalar]
    data: Mapping[str, Any] = field(repr=False)
    checksum: str = field(repr=False)
    event: dp_event.DpEvent | None = None


def write_line(
    sequence: int,
    previous: str,
    kind: str,
    data: Mapping[str, Any],
    label: str = "",
    time: datetime | None = None,
    metadata: Mapping[str, Scalar] | None = None,
) -> bytes:
    """The bytes of a line, newline included.

    Raises
    ------
    ValueError
        A label, a time or metadata that a line cannot hold, or a line that would be too long.
    """
    if time is None:
        time = datetime.now(UTC)
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ValueError(f"time must be a datetime with a time zone, got {time!r}")
    entry = {
        "sequence": sequence,
        "previous": previous,
        "kind": kind,
        "time": time.isoformat(),
        "label": _checked_label(label),
        "metadata": _checked_metadata({} if metadata is None else metadata),
        "data": data,
    }
    body = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(body) > MAX_LINE:
        raise ValueError(
            f"an entry of {len(body)} bytes is too long for a ledger, which holds {MAX_LINE}: "
            "record it in parts"
        )
    digest = hashlib.sha256(body).hexdigest().encode("ascii")
    return b'{"bytes":%d,"sha256":"%s","entry":%s}\n' % (len(body), digest, body)


def read_line(line: bytes, sequence: int, previous: str) -> Entry:
    """The entry of a line, given without its newline, at its place in the chain.

    Raises
    ------
    ValueError
        What is wrong with the line.
    """
    frame = _FRAME.match(line)
    if frame is None or int(frame[1]) > MAX_LINE:
        raise ValueError("it is not a line of a ledger")
    body = line[frame.end() : -1]
    if len(body) != int(frame[1]) or not line.endswith(b"}"):
        raise ValueError(f"its entry has {len(body)} bytes instead of {int(frame[1])}")
    checksum = hashlib.sha256(body).hexdigest()
    if checksum != frame[2].decode("ascii"):
        raise ValueError("its checksum does not agree")
    entry = _loads(body)
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise ValueError(f"its entry must have {', '.join(sorted(_KEYS))}, and nothing else")
    if type(entry["sequence"]) is not int or entry["sequence"] != sequence:
        raise ValueError(f"it should be number {sequence}, and says {entry['sequence']!r:.40}")
    if entry["previous"] != previous:
        raise ValueError("it does not follow the line before it: lines are missing or were moved")
    kind, data = entry["kind"], entry["data"]
    if kind not in KINDS or not isinstance(data, dict):
        # what is not understood might be a release
        raise ValueError(f"its kind, {kind!r:.40}, is not known to this version")
    if not isinstance(entry["time"], str):
        raise ValueError("its time must be text")
    time = datetime.fromisoformat(entry["time"])
    if time.tzinfo is None:
        raise ValueError("its time has no time zone")
    event = None
    if kind == "release":
        if data.keys() != {"event"}:
            raise ValueError("a release must have an event, and nothing else")
        event = decode_event(data["event"])
    label, metadata = _checked_label(entry["label"]), _checked_metadata(entry["metadata"])
    return Entry(sequence, kind, time, label, metadata, data, checksum, event)


def is_beginning(tail: bytes) -> bool:
    """Whether this may be the beginning of a line whose end was never written."""
    frame = _FRAME.match(tail)
    if frame is not None:
        return len(tail) - frame.end() <= int(frame[1])
    return any(_FRAME.fullmatch(tail + _SAMPLE[i:]) for i in range(len(_SAMPLE) + 1))


def _loads(text: bytes) -> Any:
    """JSON, strictly: no key twice, no NaN, no number that a double cannot hold."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("its entry has a key twice")
        return found

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number[:40]} is no finite number")
        return value

    try:
        return json.loads(
            text.decode("ascii"),
            object_pairs_hook=unique,
            parse_float=finite,
            parse_constant=finite,
        )
    except RecursionError:
        raise ValueError("its entry is nested too deeply") from None


def _checked_label(label: object) -> str:
    if not isinstance(label, str) or len(label) > _MAX_TEXT:
        raise ValueError(
            f"label must be text of at most {_MAX_TEXT} characters, got {str(label)[:40]!r}"
        )
    return label


def _checked_metadata(metadata: object) -> dict[str, Scalar]:
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a mapping, got {type(metadata).__name__}")
    for name, value in metadata.items():
        if not isinstance(name, str):
            raise ValueError(f"a name in metadata must be text, got {type(name).__name__}")
        if not (value is None or type(value) in (str, int, float, bool)):
            raise ValueError(
                f"metadata[{name[:40]!r}] must be text, a number, a truth value or None, got "
                f"{type(value).__name__}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"metadata[{name[:40]!r}] must be finite, got {value}")
    return dict(metadata)
