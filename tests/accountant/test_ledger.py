import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import attr
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.dp_event import (
    ComposedDpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    MixtureOfGaussiansDpEvent,
    PoissonSampledDpEvent,
    RepeatAndSelectDpEvent,
    SelfComposedDpEvent,
    SingleEpochTreeAggregationDpEvent,
)
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st

from accountant import events
from accountant.ledger import Ledger, LedgerError
from accountant.spending import ledger_file
from accountant.spending.event_codec import MAX_DEPTH, decode_event, encode_event
from accountant.spending.ledger_lines import MAX_LINE, read_line, write_line

ROOT = Path(__file__).parent.parent.parent

# --- events as data ------------------------------------------------------------------------------


def sample(event_class):
    """An event with a telling value in every field."""
    inner = GaussianDpEvent(0.1 + 0.2)
    values = {
        "event": PoissonSampledDpEvent(1 / 3, inner),
        "events": [inner, LaplaceDpEvent(5e-324)],
        "step_counts": [1, 2, 3],
        "sensitivities": [0.0, 1.0],
        "sampling_probs": [0.5, 0.5],
        "orders": (2.0, 3.5),
        "divergences": (0.1, math.inf),
    }
    given = {}
    for number, field in enumerate(attr.fields(event_class)):
        whole = field.type in (int, "int")
        given[field.name] = values.get(field.name, number + 1 if whole else number + 0.1)
    return event_class(**given)


CLASSES = [
    one
    for module in (dp_event, events)
    for one in vars(module).values()
    if isinstance(one, type)
    and issubclass(one, dp_event.DpEvent)
    and one is not dp_event.DpEvent
    and one.__module__ == module.__name__
]


def through_text(event):
    return decode_event(json.loads(json.dumps(encode_event(event), allow_nan=False)))


@pytest.mark.parametrize("event_class", CLASSES, ids=lambda one: one.__name__)
def test_every_event_comes_back_equal(event_class):
    event = sample(event_class)
    assert through_text(event) == event
    assert repr(through_text(event)) == repr(event)


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False))
def test_every_float_comes_back_bit_by_bit(number):
    back = through_text(GaussianDpEvent(number)).noise_multiplier
    assert type(back) is float
    assert np.float64(back).tobytes() == np.float64(number).tobytes()


def test_what_json_has_no_word_for_comes_back():
    assert math.isnan(through_text(GaussianDpEvent(math.nan)).noise_multiplier)
    event = RepeatAndSelectDpEvent(GaussianDpEvent(-math.inf), 2, math.inf)
    assert through_text(event) == event
    assert type(through_text(event).mean) is int
    assert through_text(SingleEpochTreeAggregationDpEvent(1.0, 8)).step_counts == 8
    assert through_text(GaussianDpEvent(np.float32(0.1))).noise_multiplier == float(np.float32(0.1))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_arrays_come_back(dtype):
    event = MixtureOfGaussiansDpEvent(1.0, np.arange(3).astype(dtype), (0.5, 0.25, 0.25))
    back = through_text(event)
    assert back.sensitivities.dtype == dtype
    assert np.array_equal(back.sensitivities, event.sensitivities)
    assert back.sampling_probs == event.sampling_probs


class Stranger(GaussianDpEvent):
    pass


def nested(depth):
    event = GaussianDpEvent(1.0)
    for _ in range(depth):
        event = SelfComposedDpEvent(event, 1)
    return event


@pytest.mark.parametrize(
    "event",
    [
        Stranger(1.0),
        GaussianDpEvent("1.0"),
        GaussianDpEvent(True),
        GaussianDpEvent(None),
        GaussianDpEvent(10**20),
        GaussianDpEvent(GaussianDpEvent(1.0)),
        SelfComposedDpEvent(1.0, 3),
        ComposedDpEvent(GaussianDpEvent(1.0)),
        ComposedDpEvent({"a": GaussianDpEvent(1.0)}),
        MixtureOfGaussiansDpEvent(1.0, np.ones((2, 2)), [1.0]),
        MixtureOfGaussiansDpEvent(1.0, ["1"], [1.0]),
        nested(MAX_DEPTH + 1),
        object(),
    ],
)
def test_what_is_no_event_is_not_written(event):
    with pytest.raises(ValueError, match=r"must be|no place in a file|nested"):
        encode_event(event)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "GaussianDpEvent",
        {},
        {"type": "os.system"},
        {"type": "Stranger", "noise_multiplier": 1.0},
        {"type": "GaussianDpEvent"},
        {"type": "GaussianDpEvent", "noise_multiplier": "1"},
        {"type": "GaussianDpEvent", "noise_multiplier": True},
        {"type": "GaussianDpEvent", "noise_multiplier": None},
        {"type": "GaussianDpEvent", "noise_multiplier": math.inf},
        {"type": "GaussianDpEvent", "noise_multiplier": [1.0]},
        {"type": "GaussianDpEvent", "noise_multiplier": {"float": "1.0"}},
        {"type": "GaussianDpEvent", "noise_multiplier": 10**400},
        {"type": "GaussianDpEvent", "noise_multiplier": 1.0, "also": 1},
        {"type": "ComposedDpEvent", "events": 1},
        {"type": "ComposedDpEvent", "events": {"tuple": [], "array": []}},
        {"type": "RenyiDpEvent", "orders": {"array": [0.1], "dtype": "float32"}, "divergences": []},
        {"type": "RenyiDpEvent", "orders": {"array": [0.1], "dtype": "O"}, "divergences": []},
        {"type": "RenyiDpEvent", "orders": [[[[]]]], "divergences": []},
    ],
)
def test_what_is_no_event_is_not_read(value):
    with pytest.raises(ValueError, match=r"must be|may name|is missing|no field"):
        decode_event(value)


def test_a_file_cannot_nest_events_without_end():
    value = {"type": "GaussianDpEvent", "noise_multiplier": 1.0}
    for _ in range(MAX_DEPTH + 1):
        value = {"type": "SelfComposedDpEvent", "count": 1, "event": value}
    with pytest.raises(ValueError, match="nested"):
        decode_event(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "event", "events", "count", "tuple", "array", "float", "dtype"]
            ),
            inner | st.sampled_from(["ComposedDpEvent", "SelfComposedDpEvent", "NoOpDpEvent"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_value_is_an_event_or_a_clear_error(value):
    try:
        event = decode_event(value)
    except ValueError:
        return
    assert isinstance(event, dp_event.DpEvent)


# --- the log -------------------------------------------------------------------------------------


def small(path):
    ledger = Ledger.create(path, dataset="census")
    ledger.record(GaussianDpEvent(2.0), label="first é", metadata={"step": 1, "plan": None})
    ledger.note("hello")
    ledger.record(PoissonSampledDpEvent(0.1, GaussianDpEvent(1.5)))
    return ledger


def test_what_is_written_is_read(tmp_path):
    when = datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    ledger = Ledger.open(
        tmp_path / "a", neighboring_relation=NeighboringRelation.REPLACE_SPECIAL, dataset="census"
    )
    before = datetime.now(UTC)
    ledger.record(GaussianDpEvent(2.0), label='a "b"\n\u2028', time=when, metadata={"x": 0.1})
    ledger.note("hello")
    again = Ledger.load(tmp_path / "a")
    assert again.neighboring_relation is NeighboringRelation.REPLACE_SPECIAL
    assert again.dataset == "census"
    assert again.events() == [GaussianDpEvent(2.0)]
    header, release, note = again.entries()
    assert again.entries() == ledger.entries()
    assert [header.kind, release.kind, note.kind] == ["header", "release", "note"]
    assert (release.label, release.time, release.metadata) == ('a "b"\n\u2028', when, {"x": 0.1})
    assert before <= note.time <= datetime.now(UTC)
    assert [e.sequence for e in again.entries()] == [0, 1, 2]


def test_a_ledger_is_created_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        Ledger.load(tmp_path / "a")
    Ledger.create(tmp_path / "a", dataset="x")
    with pytest.raises(FileExistsError, match="load it"):
        Ledger.create(tmp_path / "a")
    with pytest.raises(LedgerError, match="REPLACE_ONE"):
        Ledger.open(tmp_path / "a", neighboring_relation=NeighboringRelation.REPLACE_ONE)
    with pytest.raises(LedgerError, match="'y'"):
        Ledger.open(tmp_path / "a", dataset="y")
    assert Ledger.open(tmp_path / "a").dataset == "x"


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": 3},
        {"label": "x" * 20_000},
        {"time": datetime(2031, 1, 1)},
        {"time": "now"},
        {"metadata": []},
        {"metadata": {1: 2}},
        {"metadata": {"a": [1]}},
        {"metadata": {"a": math.nan}},
        {"metadata": {"a": "x" * MAX_LINE}},
    ],
)
def test_what_has_no_place_in_a_line_is_refused_and_nothing_written(tmp_path, wrong):
    ledger = Ledger.create(tmp_path / "a")
    before = ledger.path.read_bytes()
    with pytest.raises(ValueError, match=r"must be|too long"):
        ledger.record(GaussianDpEvent(1.0), **wrong)
    assert ledger.path.read_bytes() == before


# --- crashes -------------------------------------------------------------------------------------


def complete_lines(whole, length):
    """How many lines are there whole, with or without the newline, in the first bytes of a file."""
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    return sum(end <= length for end in ends)


@pytest.mark.parametrize("rest", [b"", b"\0\0\0"], ids=["cut", "zeros"])
def test_every_truncation_recovers_all_that_was_whole(tmp_path, monkeypatch, rest):
    monkeypatch.setattr(ledger_file.os, "fsync", lambda descriptor: None)  # for speed
    small(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    every = Ledger.load(tmp_path / "whole").entries()
    for length in range(1 if rest else 0, len(whole), 5 if rest else 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length] + rest)
        kept = every[: complete_lines(whole, length)]
        if kept:
            # a reader counts what is whole and changes nothing
            assert Ledger.load(path).entries() == kept
            assert path.read_bytes() == whole[:length] + rest
        ledger = Ledger.open(path, dataset="census")
        ledger.record(LaplaceDpEvent(1.0))
        found = Ledger.load(path)
        assert found.entries() == ledger.entries()
        assert found.entries()[1 : len(kept)] == kept[1:]
        expected = [e.event for e in kept if e.event is not None] + [LaplaceDpEvent(1.0)]
        assert found.events() == expected
        cuts = [e for e in found.entries() if e.kind == "recovery"]
        starts = whole.rfind(b"\n", 0, length) + 1
        piece = (
            whole[starts:length]
            if complete_lines(whole, length) == whole[:starts].count(b"\n")
            else b""
        )
        if kept and (piece or rest):
            assert [e.data["bytes"] for e in cuts] == [len(piece + rest)]
            assert cuts[0].data["beginning"].encode("latin-1") == piece + rest
        else:
            assert not cuts
        path.unlink()


CHILD = """
import os, sys
from dp_accounting import GaussianDpEvent
from accountant.ledger import Ledger

real = os.write
# A line takes many writes, so that the process dies within one.
os.write = lambda descriptor, data: real(descriptor, bytes(data[:7]))
ledger = Ledger.open(sys.argv[1])
while True:
    entry = ledger.record(GaussianDpEvent(1.0 + len(ledger.entries())))
    real(1, b"%d\\n" % entry.sequence)
"""


def test_a_killed_writer_loses_nothing_that_it_was_told_was_written(tmp_path):
    path = tmp_path / "a"
    child = subprocess.Popen([sys.executable, "-c", CHILD, path], cwd=ROOT, stdout=subprocess.PIPE)
    with child:
        for _ in range(7):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        last = [7, *map(int, child.stdout.read().split())][-1]
    entries = Ledger.load(path).entries()
    # at most one entry was whole without having been acknowledged
    assert last + 1 <= len(entries) <= last + 2
    assert [e.event.noise_multiplier for e in entries[1:]] == list(range(2, len(entries) + 1))
    Ledger.open(path).record(LaplaceDpEvent(1.0))
    assert Ledger.load(path).entries()[: len(entries)] == entries


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_disk_that_refuses_never_loses_a_release(tmp_path, monkeypatch, fails):
    ledger = small(tmp_path / "a")
    events = ledger.events()

    def refuse(descriptor, data=b""):
        real(descriptor, *([bytes(data[:40])] if fails == "write" else []))
        raise OSError(28, "No space left on device")

    real = getattr(os, fails)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_file.os, fails, refuse)
        with pytest.raises(OSError, match="No space"):
            ledger.record(GaussianDpEvent(7.0))
    ledger.record(LaplaceDpEvent(1.0))
    # fsync failed behind a line that is whole: that is counted, although nothing was released
    counted = [GaussianDpEvent(7.0)] if fails == "fsync" else []
    assert ledger.events() == [*events, *counted, LaplaceDpEvent(1.0)]
    assert Ledger.load(ledger.path).entries() == ledger.entries()


# --- damage --------------------------------------------------------------------------------------


def test_every_changed_byte_is_noticed(tmp_path):
    small(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "changed"
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ (0x01, 0x20, 0x80)[place % 3]]), place)
            line = whole[:place].count(b"\n") + 1
            with pytest.raises(LedgerError, match=rf"line {line} \(at byte"):
                Ledger.load(path)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert len(Ledger.load(path).entries()) == 4


def test_lost_repeated_and_moved_lines_are_noticed(tmp_path):
    small(tmp_path / "whole")
    a, b, c, d = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    small(tmp_path / "other")
    x = (tmp_path / "other").read_bytes().splitlines(keepends=True)[1]
    path = tmp_path / "changed"
    for lines in ([a, c, d], [b, c, d], [a, b, b, c], [a, c, b, d], [a, b, d], [a, x, c], [a, a]):
        path.write_bytes(b"".join(lines))
        with pytest.raises(LedgerError, match="is damaged"):
            Ledger.load(path)


def test_a_damaged_ledger_is_not_written_to(tmp_path):
    ledger = small(tmp_path / "a")
    whole = ledger.path.read_bytes()
    damaged = whole.replace(b"hello", b"hallo")
    ledger.path.write_bytes(damaged)
    with pytest.raises(LedgerError, match="checksum"):
        Ledger.open(ledger.path)
    assert ledger.path.read_bytes() == damaged


def test_a_file_that_is_replaced_or_cut_off_in_use_is_noticed(tmp_path):
    ledger = small(tmp_path / "a")
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-20])
    with pytest.raises(LedgerError, match="cut off"):
        ledger.record(GaussianDpEvent(1.0))
    (tmp_path / "b").write_bytes(whole)
    os.replace(tmp_path / "b", ledger.path)
    with pytest.raises(LedgerError, match="replaced"):
        ledger.entries()


@pytest.mark.parametrize(
    "content",
    [b"my only copy", b"\0" * 100, b"{}\n", b"[" * 5000 + b"\n", b"\n", b"x" * (MAX_LINE + 500)],
    ids=["text", "zeros", "json", "deep", "newline", "long"],
)
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    for attempt in (Ledger.load, Ledger.open, Ledger.create):
        with pytest.raises(LedgerError):
            attempt(path)
    assert path.read_bytes() == content
    with pytest.raises((LedgerError, OSError)):
        Ledger.open(tmp_path)


def test_a_file_is_read_only_so_far(tmp_path, monkeypatch):
    ledger = small(tmp_path / "a")
    monkeypatch.setattr(ledger_file, "MAX_SIZE", ledger.path.stat().st_size)
    with pytest.raises(LedgerError, match="full"):
        ledger.note("one too many")
    assert len(ledger.entries()) == 4
    monkeypatch.setattr(ledger_file, "MAX_SIZE", ledger.path.stat().st_size - 1)
    with pytest.raises(LedgerError, match="at most"):
        Ledger.load(ledger.path)


def forged(body):
    import hashlib

    digest = hashlib.sha256(body).hexdigest().encode()
    return b'{"bytes":%d,"sha256":"%s","entry":%s}' % (len(body), digest, body)


def body_of(**changes):
    line = write_line(0, "0" * 64, "note", {}, time=datetime(2031, 1, 1, tzinfo=UTC))
    return json.dumps(json.loads(line)["entry"] | changes).encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 100_000, "nested"),
        (b"[1]", "must have"),
        (b"{" + b'"sequence":0,' * 2 + b'"kind":1}', "twice"),
        (b"NaN", "finite"),
        (b"1e999", "finite"),
        (b'"\xff"', "codec"),
        (body_of(kind="overdraft"), "not known"),
        (body_of(kind=[]), "not known"),
        (body_of(sequence=True), "should be number"),
        (body_of(sequence=1), "should be number"),
        (body_of(previous="1" * 64), "follow"),
        (body_of(time="yesterday"), "isoformat"),
        (body_of(time="2031-01-01"), "time zone"),
        (body_of(time=3), "text"),
        (body_of(label=None), "text"),
        (body_of(metadata={"a": {}}), "metadata"),
        (body_of(also=1), "nothing else"),
        (body_of(kind="release"), "an event"),
        (body_of(kind="release", data={"event": {"type": "os.system"}}), "may name"),
    ],
)
def test_a_line_with_a_right_checksum_can_still_be_wrong(body, says):
    assert read_line(forged(body_of()), 0, "0" * 64).kind == "note"
    with pytest.raises(ValueError, match=says):
        read_line(forged(body), 0, "0" * 64)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"version": 2}, "version is 2"),
        ({"format": "other"}, "not the header"),
        ({"neighboring_relation": "SOME"}, "SOME"),
        ({"neighboring_relation": []}, "relation"),
        ({"dataset": 3}, "text"),
        ({"more": 3}, "no more"),
    ],
)
def test_a_header_of_another_kind_is_refused(tmp_path, header, says):
    Ledger.create(tmp_path / "a")
    data = dict(Ledger.load(tmp_path / "a").entries()[0].data) | header
    (tmp_path / "b").write_bytes(write_line(0, "0" * 64, "header", data))
    with pytest.raises(LedgerError, match=says):
        Ledger.load(tmp_path / "b")


# --- together ------------------------------------------------------------------------------------

ENTRIES = 200


def write_many(path, name):
    ledger = Ledger.open(path)
    for i in range(ENTRIES):
        ledger.record(GaussianDpEvent(1.0), label=f"{name} {i}")


def test_two_processes_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(tmp_path / "a", name)) for name in "xy"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    labels = [e.label for e in Ledger.load(tmp_path / "a").entries()[1:]]
    # each writer's own order is kept, too
    for name in "xy":
        own = [label for label in labels if label.startswith(name)]
        assert own == [f"{name} {i}" for i in range(ENTRIES)]
    assert len(labels) == 2 * ENTRIES


def test_threads_with_one_ledger_lose_nothing(tmp_path):
    ledger = Ledger.create(tmp_path / "a")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: ledger.note(str(i)), range(40)))
        seen = list(pool.map(lambda _: len(ledger.entries()), range(8)))
    assert seen == [41] * 8
    assert {e.label for e in Ledger.load(ledger.path).entries()[1:]} == set(map(str, range(40)))


def test_an_entry_is_on_the_disk_before_it_is_acknowledged(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        ledger_file.os,
        "fsync",
        lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), real(descriptor)),
    )
    ledger = Ledger.create(tmp_path / "a")
    file, folder = ledger.path.stat().st_ino, tmp_path.stat().st_ino
    assert synced == [file, folder]
    ledger.record(GaussianDpEvent(1.0))
    assert synced == [file, folder, file]
