"""The file of a recording: who writes it, what is left of it when it is cut, and who reads it."""

from __future__ import annotations

import errno
import json
import sys
import threading
import zlib
from importlib.util import find_spec
from pathlib import Path

import pytest
from held_clock import LIMIT_S
from log_lines import Log

from exchange_ws.clock import SystemClock
from exchange_ws.errors import UsageError
from exchange_ws.wire import recording
from exchange_ws.wire.recording import Lines, Recorder, Recording, hidden, numbered, payload_of

HAS_ZSTD = sys.version_info >= (3, 14) or find_spec("zstandard") is not None
SUFFIXES = [".jsonl", ".jsonl.gz", pytest.param(".jsonl.zst", marks=pytest.mark.skipif(not HAS_ZSTD, reason="no zstandard"))]
ABOUT = {"exchange": "none", "id": "1"}


def recorder_of(path: Path, **options: float) -> Recorder:
    return Recorder(Recording(path, **options), ABOUT, SystemClock(), "test")


def read(path: Path) -> tuple[list[dict], str | None]:
    """All lines but the first, and what is said of a cut."""
    lines = Lines(path)
    try:
        return list(lines), lines.cut
    finally:
        lines.close()


def written(path: Path, messages: list[bytes], **options: float) -> dict:
    """A recording of *messages*, each by itself; its statistics."""
    recorder = recorder_of(path, **options)
    for number, message in enumerate(messages):
        recorder.received(1, [message], number)
    recorder.close(LIMIT_S)
    return recorder.stats()


# Writing and reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_payloads_are_read_as_they_came(tmp_path, suffix):
    """Whatever was received, text or not, comes back byte for byte, in order."""
    messages = [b"{}", b"", '{"a": "\u00e9 \u2028 \U0001f600 \\n\\u0000"}'.encode(), b"\xff\x00binary", b'"\n\r\t\x7f"']
    path = tmp_path / ("a" + suffix)
    stats = written(path, messages)
    lines, cut = read(path)
    assert (messages, None) == ([payload_of(line) for line in lines], cut)
    assert (len(messages), path.stat().st_size, 0, None) == tuple(
        stats[key] for key in ("messages", "bytes", "missed", "error")
    )


def test_lines_are_as_documented(tmp_path):
    """What other programs may rely on: lines of JSON in ASCII, the first with version, the last with the counts."""
    path = tmp_path / "a.jsonl"
    recorder = recorder_of(path)
    recorder.note({"t": 5, "c": 1, "up": True})
    recorder.received(1, [b'{"x":"\xc3\xa9"}'], 7)
    recorder.close(LIMIT_S)
    first, *others, last = [json.loads(line) for line in path.read_bytes().decode("ascii").split("\n")[:-1]]
    assert [{"t": 5, "c": 1, "up": True}, {"t": 7, "c": 1, "in": '{"x":"\u00e9"}'}] == others
    assert (1, 1, "none") == (first["exchange_ws recording"], first["part"], first["exchange"])
    assert (True, 1, 0) == (last["end"], last["messages"], last["missed"])


def test_nothing_is_overwritten(tmp_path):
    """A file that is there stays as it is, also one that came between the look and the first line."""
    path = tmp_path / "a.jsonl"
    with Log() as log:
        late = recorder_of(path)
        path.write_text("precious")
        with pytest.raises(UsageError, match="is there already"):
            recorder_of(path)
        late.note({"t": 1})
        late.close(LIMIT_S)
        log.wait("has ended early: File exists")
    assert ("precious", "File exists") == (path.read_text(), late.stats()["error"])


def test_second_file_of_a_former_recording(tmp_path):
    """Where another file is to follow, one that stands there is told of at once, and not when its turn has come."""
    (tmp_path / "a.2.jsonl").write_text("precious")
    for options in ({"rotate_bytes": 9}, {"rotate_s": 3600}):
        with pytest.raises(UsageError, match=r"a\.2\.jsonl': is there already"):
            Recording(tmp_path / "a.jsonl", **options).check()
    Recording(tmp_path / "a.jsonl").check()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recording(""),
        lambda: Recording(5),
        lambda: Recording("a", rotate_bytes=0),
        lambda: Recording("a", rotate_bytes=True),
        lambda: Recording("a", rotate_s=-1.0),
        lambda: Recording("a", rotate_s=float("nan")),
        lambda: Recording.of(7),
        lambda: Recording.of(""),
        lambda: Recording("no such directory/a.jsonl").check(),
    ],
)
def test_senseless_values_are_refused(make):
    """They are refused when the recording is made, with what they take, or what is missing."""
    with pytest.raises(UsageError, match="takes|there is no directory"):
        make()


def test_zstd_names_its_extra(tmp_path, monkeypatch):
    """Without what it needs, a .zst file is refused with the command that installs it."""
    for name in ("compression", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'exchange_ws\[zstd\]'"):
        Recording(tmp_path / "a.zst").check()


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("day.jsonl.gz", "day.2.jsonl.gz"),
        ("day", "day.2"),
        ("2026.11.21.zst", "2026.11.21.2.zst"),
        ("a.b.json", "a.b.2.json"),
        ("day.jsonl.part", "day.jsonl.part.2"),
        ("day.gz.old", "day.gz.old.2"),
    ],
)
def test_names_of_further_files(name, second):
    """The number stands before what tells the kind of file."""
    assert second == numbered(Path(name), 2).name


# Rotation --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("options", [{"rotate_bytes": 1}, {"rotate_s": 1e-9}])
def test_rotation(tmp_path, suffix, options):
    """A recording in several files is read as one, and says so if one of them is gone."""
    path = tmp_path / ("a" + suffix)
    recorder = recorder_of(path, **options)
    for number in range(3):  # a file each
        recorder.received(1, [b"%d" % number], number)
        wait_for(numbered(path, number + 2))
    recorder.close(LIMIT_S)
    lines, cut = read(path)
    assert ([b"0", b"1", b"2"], None) == ([payload_of(line) for line in lines], cut)
    with pytest.raises(UsageError, match="part 2 of a recording"):
        Lines(numbered(path, 2))
    numbered(path, 3).unlink()
    lines, cut = read(path)
    assert [b"0", b"1"] == [payload_of(line) for line in lines]
    assert cut is not None
    assert f"{numbered(path, 3).name}: No such file" in cut


def wait_for(path: Path) -> None:
    """Wait until *path* is there. Files tell nobody that they are, so it is looked at again and again."""
    look = threading.Event()
    for _ in range(int(LIMIT_S / 0.005)):
        if path.exists():
            return
        look.wait(0.005)
    raise AssertionError(f"there is no {path}")


# Cuts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_every_byte(tmp_path, suffix):
    """Cut anywhere, a recording is read up to there, and says that it was cut; but for the last byte, which says nothing."""
    plain, path, part = tmp_path / "plain", tmp_path / ("a" + suffix), tmp_path / ("b" + suffix)
    messages = [b'{"number": %d}' % number for number in range(6)]
    written(plain, messages)
    file = recording._File(path)
    for line in plain.read_bytes().splitlines(keepends=True):  # as if each had come in a second of its own
        file.write(line)
        file.flush()
    file.finish()
    whole = path.read_bytes()
    read_of_each = []
    for size in range(len(whole)):
        part.write_bytes(whole[:size])
        if not read_of_each and not has_first_line(part):
            with pytest.raises(UsageError, match="cut before its first line"):
                read(part)
            continue
        lines, cut = read(part)
        found = [payload_of(line) for line in lines]
        read_of_each.append(len(found))
        assert messages[: len(found)] == found
        # What the compression adds after the last line, and its line feed, can be missing without harm.
        assert cut is not None or len(found) == len(messages)
        assert cut is None or "it ends early; what follows is missing" in cut
    assert sorted(read_of_each) == read_of_each
    assert set(range(len(messages) + 1)) == set(read_of_each)


def has_first_line(path: Path) -> bool:
    """Whether the first line of *path* can be read."""
    try:
        Lines(path).close()
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_flushed_survives_a_kill(tmp_path, suffix, monkeypatch):
    """A process that dies leaves all that was written before the last moment, in a file that can be read."""
    monkeypatch.setattr(recording, "FLUSH_S", 0.05)
    path = tmp_path / ("a" + suffix)
    recorder = recorder_of(path)
    recorder.received(1, [b"1", b"2"], 5)
    end = threading.Event()
    for _ in range(int(LIMIT_S / 0.02)):
        if path.exists() and path.stat().st_size > 10:
            try:
                lines, cut = read(path)
            except UsageError:
                lines = []
            if len(lines) == 2:
                break
        end.wait(0.02)
    assert ([b"1", b"2"], True) == ([payload_of(line) for line in lines], "it ends early" in str(cut))
    recorder.close(LIMIT_S)
    assert None is read(path)[1]


@pytest.mark.parametrize(
    "damage", [b"{", b"[]\n", b"{}\n", b'{"t":"noon"}\n', b"\xff\n", b"nonsense\n", b"[" * 100_000 + b"\n"]
)
def test_damaged_line(tmp_path, damage):
    """What stands behind something that is no line is not read, and that is said."""
    path = tmp_path / "a.jsonl"
    written(path, [b"1", b"2"])
    head, one, two, end, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([head, one, damage + two, end, b""]))
    lines, cut = read(path)
    assert [b"1"] == [payload_of(line) for line in lines]
    assert "a line cannot be read; what follows is missing" in str(cut)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"nonsense", b"{}\n", b"\x1f\x8b", b"\x1f\x8bnonsense", zlib.compress(b"{}"), b"[" * 100_000]
)
def test_no_recording(tmp_path, content):
    """What is none is refused at once."""
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no recording"):
        Lines(path)


def test_missing_file(tmp_path):
    """A path without a file, and one of a directory, are refused in a line."""
    with pytest.raises(UsageError, match="No such file"):
        Lines(tmp_path / "a")
    with pytest.raises(UsageError, match="directory|denied"):
        Lines(tmp_path)


def test_another_version(tmp_path):
    """A format of the future is refused by its number."""
    path = tmp_path / "a"
    path.write_text('{"exchange_ws recording": 2, "part": 1}\n')
    with pytest.raises(UsageError, match="version 2; this package reads version 1"):
        Lines(path)


# Disks -----------------------------------------------------------------------------------------------------------------------


def test_disk_full(tmp_path, monkeypatch):
    """When the disk is full the recording ends with a warning, holds what was written, and what comes later costs nothing."""
    path = tmp_path / "a.jsonl"
    put, room = recording._File._put, [400]

    def put_on_full_disk(file, data):
        put(file, data[: room[0]])
        if len(data) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)

    monkeypatch.setattr(recording._File, "_put", put_on_full_disk)
    recorder = recorder_of(path)
    with Log() as log:
        for number in range(20):
            recorder.received(1, [b"0123456789"], number)
        log.wait("has ended early: No space left on device; the client goes on")
    recorder.received(1, [b"later"], 99)
    recorder.close(LIMIT_S)
    lines, cut = read(path)
    assert [b"0123456789"] * len(lines) == [payload_of(line) for line in lines]
    assert (True, "No space left on device") == (0 < len(lines) < 20, recorder.stats()["error"])
    assert "it ends early" in str(cut)


def test_slow_disk(tmp_path, monkeypatch):
    """While the disk does not take it, some is kept, the rest is counted where it is missing, and nobody waits."""
    path = tmp_path / "a.jsonl"
    put, stuck, goes_on = recording._File._put, threading.Event(), threading.Event()

    def put_slowly(file, data):
        if b'"in":"0"' in data:
            stuck.set()
            assert goes_on.wait(LIMIT_S)
        put(file, data)

    monkeypatch.setattr(recording._File, "_put", put_slowly)
    monkeypatch.setattr(recording, "BACKLOG", 3 * (recording.LINE_COST + 1))
    recorder = recorder_of(path)
    with Log() as log:
        recorder.received(1, [b"0"], 0)
        assert stuck.wait(LIMIT_S)
        for number in range(1, 6):
            recorder.received(1, [b"%d" % number], number)  # three are kept
        recorder.received(1, [b"answer"], 6, spare=False)  # and this
        recorder.received(1, [b"7"], 7)  # not this
        goes_on.set()
        recorder.close(LIMIT_S)
        log.wait("lacks 3 messages")
    lines, cut = read(path)
    told = [line.get("in", (line.get("missed"), line.get("since"))) for line in lines]
    assert (["0", "1", "2", "3", (2, 4), "answer", (1, 7)], None, 3) == (told, cut, recorder.stats()["missed"])


# Secrets ---------------------------------------------------------------------------------------------------------------------


def test_secrets_are_taken_out(tmp_path):
    """What is named as a secret with a message is in no byte of the file."""
    path = tmp_path / "a.jsonl"
    recorder = recorder_of(path)
    recorder.received(1, [b'{"token":"abc.def-ghi","price":"1"}'], 1, ["abc.def-ghi"])
    recorder.close(LIMIT_S)
    assert b"abc.def" not in path.read_bytes()
    assert b'{"token":"(hidden)","price":"1"}' == payload_of(read(path)[0][0])


def test_hidden_leaves_the_rest():
    """Text without a secret stays as it is."""
    assert ("a(hidden)b(hidden)", "none") == (hidden("asecretbsecret", ["secret"]), hidden("none", ["secret"]))
