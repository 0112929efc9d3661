"""
Recordings: the format of the file, who writes it, and who reads it.

A recording is lines of JSON, `docs/recording.rst` says what stands in them. Nothing here knows what the lines mean, beside the
first one and the last one of a file, and those that hold what was received, of which there are millions.
"""

from __future__ import annotations

import base64
import logging
import os
import threading
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from json import JSONDecoder, dumps
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, Callable, Union

import attrs

from exchange_ws.clock import Clock
from exchange_ws.errors import UsageError

__all__ = ["HIDDEN", "Lines", "Recorder", "Recording", "hidden", "payload_of"]

log = logging.getLogger(__name__)

VERSION = 1
MARK = "exchange_ws recording"  # first name of the first line, its value is the version

HIDDEN = "(hidden)"  # what stands where a secret was
#: Text that is shorter than this is no secret: it would be found, and made unreadable, in the midst of prices.
SECRET_LENGTH = 6

SETTLE_S = 0.05  # for which what comes is gathered before it is written: one turn of the interpreter for many messages
FLUSH_S = 1.0  # a compressed file is made readable so far this often; each time costs some bytes
#: Bytes received that may wait to be written: half a minute of a busy market, and no harm to a small machine.
BACKLOG = 64 * 2**20
LINE_COST = 100  # bytes that a waiting message takes beside its own
READ_SIZE = 2**18
PACKED_SIZE = 2**14  # bytes of a compressed file that are read at once: they may become a thousand times as many
HEAD_LIMIT = 2**16  # bytes in which the first line ends, or the file is something else
CLOSE_LIMIT_S = 5.0

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how such files begin [RFC 1952, section 2.3.1; RFC 8878, section 3.1.1]
SUFFIXES = {".gz": GZIP, ".zst": ZSTD}

_decode_line = JSONDecoder().raw_decode


def _count(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"Recording({field.name}={value!r}): takes a whole number of 1 or more, or None")


def _seconds(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf")):
        raise UsageError(f"Recording({field.name}={value!r}): takes seconds, a finite number above 0, or None")


def _path(value: Any) -> Path:
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return Path(value)
    raise UsageError(f"Recording(path={value!r}): takes the path of a file that does not exist yet")


@attrs.frozen
class Recording:
    """
    Where and how a client records, for its option `record`.

    Parameters
    ----------
    path
        A file that does not exist yet. One that ends in ``.gz`` or ``.zst`` is compressed; the latter needs Python 3.14, or
        zstandard.
    rotate_bytes
        Begin another file once one has so many bytes. The second of ``day.jsonl.gz`` is ``day.2.jsonl.gz``.
    rotate_s
        The same after so many seconds.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    path: Path = attrs.field(converter=_path)
    rotate_bytes: int | None = attrs.field(default=None, kw_only=True, validator=_count)
    rotate_s: float | None = attrs.field(default=None, kw_only=True, validator=_seconds)

    @classmethod
    def of(cls, value: Any) -> Recording | None:
        """The recording that *value*, a path, a recording or None, asks for."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, (str, os.PathLike)) and os.fspath(value):
            return cls(value)
        raise UsageError(f"record={value!r}: takes the path of a file that does not exist yet, a Recording, or None")

    def check(self) -> None:
        """`UsageError` if it cannot be made, as far as can be seen without making it."""
        path = self.path
        rotates = self.rotate_bytes is not None or self.rotate_s is not None
        # The second file too: what was removed of a former recording may have been only the first.
        for there in (path, self.part(2)) if rotates else (path,):
            if there.exists():
                raise UsageError(f"record={str(there)!r}: is there already; take another name, or remove it")
        if not path.parent.is_dir():
            raise UsageError(f"record={str(path)!r}: there is no directory {str(path.parent)!r}")
        if path.suffix == ".zst":
            _zstd()

    def part(self, number: int) -> Path:
        """The path of the file *number*, counted from 1."""
        return self.path if number == 1 else numbered(self.path, number)


def numbered(path: Path, number: int) -> Path:
    """*path* with *number* before its suffixes."""
    ending = ""
    for suffix in reversed(path.suffixes):
        if suffix not in (*SUFFIXES, ".jsonl", ".json"):
            break
        ending = suffix + ending
    return path.with_name(f"{path.name[: len(path.name) - len(ending)]}.{number}{ending}")


def hidden(text: str, secrets: Collection[str]) -> str:
    """*text* without any of *secrets*."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def payload_of(line: Mapping[str, Any]) -> bytes:
    """What was received, of a line that has it."""
    text = line.get("in")
    return base64.b64decode(line["in64"]) if text is None else text.encode()


def _zstd() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What compresses, and what reads it, with the names of the standard library's."""
    try:
        from compression import zstd
    except ImportError:  # before Python 3.14
        try:
            import zstandard
        except ImportError:
            raise UsageError("a .zst file needs zstandard: pip install 'exchange_ws[zstd]'") from None
        return (lambda: _Zstandard(zstandard)), (lambda: zstandard.ZstdDecompressor().decompressobj())
    return (lambda: _StandardZstd(zstd)), zstd.ZstdDecompressor


class _Zstandard:
    """zstandard's compressor, with zlib's names."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._compressor = library.ZstdCompressor().compressobj()

    def compress(self, data: bytes) -> bytes:
        return bytes(self._compressor.compress(data))

    def flush(self, mode: int = zlib.Z_FINISH) -> bytes:
        library = self._library
        return bytes(
            self._compressor.flush(
                library.COMPRESSOBJ_FLUSH_FINISH if mode == zlib.Z_FINISH else library.COMPRESSOBJ_FLUSH_BLOCK
            )
        )


class _StandardZstd:
    """The standard library's, with zlib's names."""

    def __init__(self, library: Any) -> None:
        self._compressor = library.ZstdCompressor()

    def compress(self, data: bytes) -> bytes:
        return bytes(self._compressor.compress(data))

    def flush(self, mode: int = zlib.Z_FINISH) -> bytes:
        compressor = self._compressor
        return bytes(compressor.flush(compressor.FLUSH_FRAME if mode == zlib.Z_FINISH else compressor.FLUSH_BLOCK))


class _File:
    """One file of a recording. What was written and flushed is there whatever becomes of this process."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", buffering=0)
        self.size = 0
        self._compressor: Any = None
        if path.suffix == ".gz":
            self._compressor = zlib.compressobj(wbits=31)
        elif path.suffix == ".zst":
            self._compressor = _zstd()[0]()

    @property
    def compressed(self) -> bool:
        return self._compressor is not None

    def write(self, data: bytes) -> None:
        self._put(data if self._compressor is None else self._compressor.compress(data))

    def flush(self) -> None:
        if self._compressor is not None:
            self._put(self._compressor.flush(zlib.Z_SYNC_FLUSH))

    def finish(self) -> None:
        if self._compressor is not None:
            self._put(self._compressor.flush())
        self.close()

    def close(self) -> None:
        self._file.close()

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0  # a disk that is nearly full takes a part
            self.size += written
            view = view[written:]


#: What waits to be written: a line, or messages with connection, time and secrets.
Waiting = Union[dict[str, Any], "tuple[int, int, Sequence[bytes], Collection[str]]"]


class Recorder:
    """
    Writes a recording, on a thread of its own, which begins with the first line.

    Threads: anyone notes, holding any lock of ours but a leaf; nobody waits for the disk. What does not fit into `BACKLOG` is
    counted, and the recording says so in its place. After an error of the disk nothing more is written; a warning says so.
    """

    def __init__(self, recording: Recording, about: Mapping[str, Any], clock: Clock, name: str) -> None:
        recording.check()
        self._recording = recording
        self._about = dict(about)
        self._clock = clock
        self._name = name
        self._guard = threading.Lock()  # a leaf; guards the fields up to the next comment
        self._due = threading.Condition(self._guard)
        self._waiting: deque[Waiting] = deque()
        self._bytes_waiting = 0
        self._missing: dict[int, list[int]] = {}  # by connection: messages left out since a line for it, and when it began
        self._missed = 0
        self._parked = False
        self._closed = False
        self._thread: threading.Thread | None = None
        # The thread's; anyone reads.
        self._file: _File | None = None
        self._part = 0
        self._part_began = 0.0
        self._flushed_at = 0.0
        self._past_bytes = 0
        self._messages = 0
        self._error: str | None = None

    # Anyone ---------------------------------------------------------------------------------------------------------------

    def note(self, line: dict[str, Any]) -> None:
        """Write *line*, soon; it is not changed any more."""
        with self._guard:
            if self._closed or self._error is not None:
                return
            self._settle_missing(line)
            self._put(line)

    def received(
        self, connection: int, messages: Sequence[bytes], received_ns: int, secrets: Collection[str] = (), spare: bool = True
    ) -> None:
        """Write *messages*, soon; *spare*: they may be left out where there are too many."""
        # hot path: with one call a chunk, nothing of it is done for each message but its length.
        size = sum(map(len, messages)) + LINE_COST * len(messages)
        with self._guard:
            if self._closed or self._error is not None:
                return
            if spare and self._bytes_waiting + size > BACKLOG:
                missing = self._missing.setdefault(connection, [0, received_ns])
                missing[0] += len(messages)
                self._missed += len(messages)
                return
            if self._missing:
                self._settle_missing({"c": connection, "t": received_ns})
            self._bytes_waiting += size
            self._put((received_ns, connection, messages, secrets))

    def close(self, timeout: float) -> None:
        """Write what waits, and the last line; wait for it at most *timeout* seconds."""
        with self._guard:
            if not self._closed:
                for connection in list(self._missing):
                    self._settle_missing({"c": connection, "t": self._clock.time_ns()})
            self._closed = True
            self._due.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                log.warning("%s: the recording %s is not written in time; its end will come late", self._name, self._path)

    def stats(self) -> dict[str, Any]:
        """
        What became of it so far: `path`, `messages` and `bytes` written, messages `missed`, and the `error` that ended it.
        """
        file = self._file
        return {
            "path": str(self._recording.path),
            "messages": self._messages,
            "bytes": self._past_bytes + (0 if file is None else file.size),
            "missed": self._missed,
            "error": self._error,
        }

    @property
    def begun(self) -> bool:
        """Whether there is a thread that `close` has to end."""
        return self._thread is not None

    @property
    def _path(self) -> Path:
        return self._recording.part(max(1, self._part))

    def _settle_missing(self, line: Mapping[str, Any]) -> None:
        """Requires `_guard`. What was left out of a connection stands before the next line of it."""
        missing = self._missing.pop(line.get("c", 0), None)
        if missing is not None:
            self._put({"t": line["t"], "c": line["c"], "missed": missing[0], "since": missing[1]})

    def _put(self, what: Waiting) -> None:
        """Requires `_guard`."""
        self._waiting.append(what)
        if self._parked:
            self._parked = False
            self._due.notify_all()
        elif self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"exchange-ws record {self._name}", daemon=True)
            self._thread.start()

    # The thread -----------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._begin_part()
            closed = False
            while not closed:
                taken, closed = self._take()
                self._write(taken)
            self._end_part({"end": True, "messages": self._messages, "missed": self._missed})
            if self._missed:
                log.warning("%s: the recording %s lacks %d messages", self._name, self._path, self._missed)
        except Exception as error:  # the disk's, as a rule; whatever it is, the streams must go on, and somebody be told
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            with self._guard:
                self._error = reason
                self._waiting.clear()
                self._bytes_waiting = 0
            log.warning("%s: the recording %s has ended early: %s; the client goes on", self._name, self._path, reason)
            if self._file is not None:
                self._file.close()

    def _take(self) -> tuple[list[Waiting], bool]:
        """What waits, gathered for a moment; whether that is all there will be."""
        with self._guard:
            while not self._waiting and not self._closed:
                left = self._flush_in()
                if left <= 0.0:
                    break
                self._parked = True
                self._clock.wait(self._due, None if left == float("inf") else left)
                self._parked = False
            if not self._closed:
                self._clock.wait(self._due, SETTLE_S)
            taken = list(self._waiting)
            self._waiting.clear()
            self._bytes_waiting = 0
            return taken, self._closed

    def _flush_in(self) -> float:
        """Seconds until what is in the compressor has to be in the file; infinity if nothing is."""
        return float("inf") if self._flushed_at == float("inf") else self._flushed_at + FLUSH_S - self._clock.now()

    def _write(self, taken: list[Waiting]) -> None:
        assert self._file is not None
        lines: list[str] = []
        for what in taken:
            if isinstance(what, dict):
                lines.append(dumps(what, separators=(",", ":")))
                continue
            received_ns, connection, messages, secrets = what
            head = f'{{"t":{received_ns},"c":{connection},"in'
            self._messages += len(messages)
            for message in messages:
                try:
                    text = message.decode()
                except UnicodeDecodeError:  # a binary message; no exchange sends one
                    lines.append(f'{head}64":{quoted(base64.b64encode(message).decode())}}}')
                    continue
                lines.append(f'{head}":{quoted(hidden(text, secrets) if secrets else text)}}}')
        if lines:
            if self._flushed_at == float("inf"):
                self._flushed_at = self._clock.now()
            lines.append("")
            self._file.write("\n".join(lines).encode())
        if not self._file.compressed:
            self._flushed_at = float("inf")
        elif self._flush_in() <= 0.0:
            self._file.flush()
            self._flushed_at = float("inf")
        rotate_bytes, rotate_s = self._recording.rotate_bytes, self._recording.rotate_s
        if (rotate_bytes is not None and self._file.size >= rotate_bytes) or (
            rotate_s is not None and lines and self._clock.now() - self._part_began >= rotate_s
        ):
            self._end_part({"next": self._recording.part(self._part + 1).name})
            self._begin_part()

    def _begin_part(self) -> None:
        self._part += 1
        self._file = _File(self._path)
        self._part_began = self._clock.now()
        self._flushed_at = self._part_began if self._file.compressed else float("inf")
        first = {MARK: VERSION, "part": self._part, **self._about, "t": self._clock.time_ns()}
        self._file.write(dumps(first, separators=(",", ":")).encode() + b"\n")

    def _end_part(self, last: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(dumps({"t": self._clock.time_ns(), **last}, separators=(",", ":")).encode() + b"\n")
        self._file.finish()
        self._past_bytes += self._file.size
        self._file = None


class Lines:
    """
    The lines of a recording, one file after the other, in memory for one line.

    Parameters
    ----------
    path
        Its first file.

    Raises
    ------
    UsageError
        There is no such file, or it is no recording, or none that begins there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        #: Why what there is of it is not all of it; None as long as it is, or may be.
        self.cut: str | None = None
        self._read = self._size = 0  # bytes of the present file
        self._plain = self._used = 0  # bytes that they made, and of these the bytes of the lines until now
        self._rest = b""
        self._open(self.path, 1)

    @property
    def fraction(self) -> float:
        """How much of the present file was read, 0 to 1."""
        return self._read / max(self._size, self._read, 1) * self._used / max(self._plain, 1)

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self.cut is None:
            begin = 0
            data = self._rest
            while (end := data.find(b"\n", begin)) >= 0:
                line = _line(data[begin:end])
                self._used += end + 1 - begin
                begin = end + 1
                if line is None or type(line.get("t")) is not int:
                    return self._cut_here("a line cannot be read")
                if "end" in line:
                    return None
                if "next" in line:
                    if not self._go_on(str(line["next"])):
                        return None
                    break
                yield line
            else:
                more = self._more()
                if more is None:
                    return None
                self._rest = data[begin:] + more
        return None

    def _cut_here(self, why: str) -> None:
        self.cut = f"{self._present}: {why}; what follows is missing"

    def _open(self, path: Path, part: int) -> None:
        self._present, self._part = path, part
        try:
            self._file = open(path, "rb")
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
        try:
            self._begin(path, part)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, path: Path, part: int) -> None:
        """Read the first line."""
        try:
            head = self._file.read(4)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
        self._file.seek(0)
        self._read = self._plain = 0
        self._decompressor: Any = None
        if head.startswith(GZIP):
            self._decompressor = zlib.decompressobj(31)
        elif head == ZSTD:
            self._decompressor = _zstd()[1]()
        self._rest = b""
        while b"\n" not in self._rest and len(self._rest) < HEAD_LIMIT:
            more = self._more()
            if more is None:
                break
            self._rest += more
        first, newline, self._rest = self._rest.partition(b"\n")
        self._used = len(first) + len(newline)
        line = _line(first) if newline else None
        if line is None or MARK not in line:
            raise UsageError(f"{path}: is no recording, or one that was cut before its first line was written")
        if line[MARK] != VERSION:
            raise UsageError(f"{path}: a recording of version {line[MARK]!r}; this package reads version {VERSION}")
        if line.get("part") != part:
            raise UsageError(f"{path}: part {line.get('part')!r} of a recording; a replay begins with the first")
        if part == 1:
            #: The first line.
            self.about = line
        elif line.get("id") != self.about.get("id"):
            raise UsageError(f"{path}: belongs to another recording")

    def _go_on(self, name: str) -> bool:
        """Go on with the next file; False if there is none."""
        self._file.close()
        try:
            self._open(self.path.with_name(Path(name).name), self._part + 1)
        except UsageError as error:
            self.cut = f"{error}; what follows is missing"
            return False
        return True

    def _more(self) -> bytes | None:
        """Further bytes, None at the end of the file, which is then too early."""
        while True:
            try:
                data = self._file.read(READ_SIZE if self._decompressor is None else PACKED_SIZE)
            except OSError as error:
                self._cut_here(error.strerror or type(error).__name__)
                return None
            if not data:
                self._cut_here("it ends early")
                return None
            self._read += len(data)
            if self._decompressor is None:
                self._plain += len(data)
                return data
            try:
                plain: bytes = self._decompressor.decompress(data)
            except Exception as error:  # zlib.error, or one of several libraries' own
                self._cut_here(f"its compression is broken ({type(error).__name__})")
                return None
            if plain:
                self._plain += len(plain)
                return plain


def _line(data: bytes) -> dict[str, Any] | None:
    """One line, None if it is none."""
    try:
        text = data.decode()
        value, end = _decode_line(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None
