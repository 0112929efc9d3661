"""
The frame reader and writer, against literals of RFC 6455, against every way to cut a stream, and against other implementations.

Bytes of the server are written by hand or built by `frame` below, which shares nothing with the module under test.
"""

from __future__ import annotations

import gc
import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

from exchange_ws.errors import UsageError, WireError
from exchange_ws.wire import frames
from exchange_ws.wire.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Binary,
    Close,
    FrameReader,
    encode_close,
    encode_frame,
)

SMALL = 64  # max_message_size where a test wants to go over it


class Outcome(NamedTuple):
    """All that can be seen of a reader; the type beside each message, since Binary(b"x") == b"x"."""

    messages: list[tuple[type, bytes]]
    control: list[tuple[int, bytes]]
    close: Close | None
    failure: tuple[int, str] | None


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, form: int | None = None) -> bytes:
    """A server's frame; *form* forces the length field's 0, 2 or 8 further bytes."""
    length = len(payload)
    if form is None:
        form = 0 if length <= 125 else 2 if length <= 65535 else 8
    head = struct.pack("!B", final << 7 | reserved << 4 | opcode)
    if form == 0:
        return head + struct.pack("!B", length) + payload
    if form == 2:
        return head + struct.pack("!BH", 126, length) + payload
    return head + struct.pack("!BQ", 127, length) + payload


def read(*chunks: bytes, limit: int = 2**20) -> Outcome:
    """What one reader makes of *chunks*, the control frames taken after each as a caller does."""
    reader = FrameReader(limit)
    messages, control = [], []
    for chunk in chunks:
        messages += [(type(message), message) for message in reader.feed(chunk)]
        control += reader.control
        reader.control.clear()
    failure = reader.failure
    return Outcome(messages, control, reader.close, failure and (failure.close_code, str(failure)))


def drip(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def failed(*chunks: bytes, limit: int = 2**20) -> tuple[int, list[bytes]]:
    """Close code of the failure that *chunks* must end in, and the messages before it."""
    outcome = read(*chunks, limit=limit)
    assert outcome.failure is not None
    assert outcome == read(*drip(b"".join(chunks)), limit=limit)
    return outcome.failure[0], [message for _, message in outcome.messages]


def unmasked(data: bytes) -> tuple[int, bytes, bytes]:
    """Opcode, mask and payload of one client frame, decoded byte by byte as RFC 6455 section 5.3 puts it."""
    assert 0x80 == data[0] & 0x80
    assert 0x80 == data[1] & 0x80
    length, at = data[1] & 0x7F, 2
    if length == 126:
        (length,), at = struct.unpack_from("!H", data, at), 4
    elif length == 127:
        (length,), at = struct.unpack_from("!Q", data, at), 10
    mask, body = data[at : at + 4], data[at + 4 :]
    assert len(body) == length
    return data[0] & 0x0F, mask, bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


# Messages


def test_examples_of_the_rfc():
    """The unmasked examples of RFC 6455 section 5.7: a text, the same in two fragments, a ping, 256 B and 64 KiB of binary."""
    kib = bytes(256) * 256

    actual = read(
        bytes.fromhex("810548656c6c6f"),
        bytes.fromhex("010348656c80026c6f"),
        bytes.fromhex("890548656c6c6f"),
        bytes.fromhex("827e0100") + kib[:256],
        bytes.fromhex("827f0000000000010000") + kib,
    )

    messages = [(bytes, b"Hello"), (bytes, b"Hello"), (Binary, kib[:256]), (Binary, kib)]
    assert Outcome(messages, [(PING, b"Hello")], None, None) == actual


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 65537])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_each_length_form(opcode, length):
    """Each length is read from its shortest form, between two other messages."""
    payload = b"x" * length

    actual = read(frame(TEXT, b"before") + frame(opcode, payload) + frame(TEXT, b"after"))

    kind = bytes if opcode == TEXT else Binary
    assert Outcome([(bytes, b"before"), (kind, payload), (bytes, b"after")], [], None, None) == actual


def test_control_frames_between_fragments():
    """Pings and pongs within a fragmented message are given in order and leave it whole (RFC 6455, section 5.4)."""
    actual = read(
        frame(TEXT, b"a", final=False)
        + frame(PING, b"1")
        + frame(CONT, b"", final=False)
        + frame(PONG, b"")
        + frame(CONT, b"b")
        + frame(PING, b"x" * 125)
    )

    assert Outcome([(bytes, b"ab")], [(PING, b"1"), (PONG, b""), (PING, b"x" * 125)], None, None) == actual


def test_character_cut_between_fragments():
    """Only the whole message need be UTF-8: a fragment may end within a character (RFC 6455, section 5.6)."""
    euro = "€".encode()

    actual = read(*(frame(opcode, euro[at : at + 1], final=at == 2) for at, opcode in enumerate([TEXT, CONT, CONT])))

    assert Outcome([(bytes, euro)], [], None, None) == actual


def test_in_frame():
    """`in_frame` is true from a frame's first byte, or a message's first fragment, to its last byte."""
    reader = FrameReader()
    stream = frame(TEXT, b"ab", final=False) + frame(PING, b"p") + frame(CONT) + frame(TEXT, b"x" * 200) + frame(PONG)
    inside = []
    for byte in drip(stream):
        reader.feed(byte)
        inside.append(reader.in_frame)

    # The last byte of each message's last frame (offsets 8, 8 + 204, then the pong's two bytes).
    assert [8, 212, 214] == [at for at, value in enumerate(inside) if not value]


def test_empty_chunk():
    """An empty chunk is nothing."""
    assert Outcome([(bytes, b"a")], [], None, None) == read(b"", b"\x81", b"", b"\x01", b"", b"a", b"")


# What the peer may not do: each refused alike whole and byte by byte, after the message before it

BEFORE = frame(TEXT, b"before")
WRONG = {
    "reserved bit 1": frame(TEXT, b"a", reserved=4),
    "reserved bit 2": frame(TEXT, b"a", reserved=2),
    "reserved bit 3": frame(PING, b"a", reserved=1),
    "reserved opcode 3": frame(3),
    "reserved opcode 7": frame(7),
    "reserved opcode 11": frame(11),
    "reserved opcode 15": frame(15),
    "masked text": bytes.fromhex("818537fa213d7f9f4d5158"),
    "masked ping": bytes.fromhex("898037fa213d"),
    "ping of 126 bytes": frame(PING, b"x" * 126),
    "pong of 126 bytes": frame(PONG, b"x" * 126),
    "close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "ping without FIN": frame(PING, b"a", final=False),
    "pong without FIN": frame(PONG, final=False),
    "close without FIN": frame(CLOSE, b"\x03\xe8", final=False),
    "length 125 in 2 bytes": frame(TEXT, b"x" * 125, form=2),
    "length 0 in 2 bytes": frame(BINARY, b"", form=2),
    "length 65535 in 8 bytes": frame(TEXT, b"x" * 65535, form=8),
    "length 5 in 8 bytes": frame(BINARY, b"12345", form=8),
    "length with the top bit": bytes.fromhex("817f8000000000000005") + b"abcde",
    "continuation of nothing": frame(CONT, b"a"),
    "continuation of nothing, not final": frame(CONT, b"a", final=False),
    "continuation of a finished message": frame(TEXT, b"a", final=False) + frame(CONT, b"b", final=False) + b"\x80\x00\x80\x00",
    "text within a message": frame(TEXT, b"a", final=False) + frame(TEXT, b"b"),
    "binary within a message": frame(BINARY, b"a", final=False) + frame(BINARY, b"b", final=False),
    "close of 1 byte": frame(CLOSE, b"\x03"),
}
WRONG_CODES = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
RIGHT_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]


@pytest.mark.parametrize("case", WRONG)
def test_protocol_error(case):
    """What RFC 6455 forbids a server ends the stream with 1002; what came before is given, what comes after is not."""
    code, messages = failed(BEFORE + WRONG[case] + frame(TEXT, b"after"))

    whole = [b"before", b"ab"] if case == "continuation of a finished message" else [b"before"]
    assert (1002, whole) == (code, messages)


@pytest.mark.parametrize("case", ["ping of 126 bytes", "masked text", "reserved opcode 3"])
def test_refused_at_the_second_byte(case):
    """What two bytes give away is not waited for any longer."""
    assert 1002 == failed(WRONG[case][:2])[0]


@pytest.mark.parametrize("code", WRONG_CODES)
def test_close_code_that_may_not_be_sent(code):
    """Codes outside RFC 6455 section 7.4 are refused."""
    assert (1002, [b"before"]) == failed(BEFORE + frame(CLOSE, struct.pack("!H", code)))


@pytest.mark.parametrize("code", RIGHT_CODES)
def test_close_with_code(code):
    """Code and reason of a close frame are kept; nothing behind it is read."""
    actual = read(BEFORE + frame(CLOSE, struct.pack("!H", code) + "ciao €".encode()) + frame(TEXT, b"after"), BEFORE)

    assert Outcome([(bytes, b"before")], [], Close(code, "ciao €"), None) == actual


def test_close_without_code():
    """An empty close frame is allowed; it ends a fragmented message too."""
    actual = read(frame(TEXT, b"a", final=False) + frame(CLOSE) + frame(CONT, b"b"))

    assert Outcome([], [], Close(None, ""), None) == actual


def test_close_reason_not_utf8():
    """A reason that is not UTF-8 is refused with 1007."""
    assert (1007, []) == failed(frame(CLOSE, b"\x03\xe8" + b"\xed\xa0\x80"))


@pytest.mark.parametrize("end", [frame(CLOSE), frame(CLOSE, b"\x03\xe8"), frame(3), frame(CONT, b"\xff")])
def test_deaf_after_the_end(end):
    """After a close frame or a failure nothing is read, kept or changed."""
    reader = FrameReader()
    reader.feed(frame(TEXT, b"a", final=False) + end)
    ended = reader.close, reader.failure

    messages = reader.feed(frame(TEXT, b"after") + frame(PING) + frame(CLOSE, b"\x03\xe8") + b"\x81")

    assert ([], [], ended, False) == (messages, reader.control, (reader.close, reader.failure), reader.in_frame)


# UTF-8

NOT_UTF8 = {
    "lone continuation": b"\x80",
    "never a byte": b"\xff",
    "over-long slash": b"\xc0\xaf",
    "over-long nul in 3": b"\xe0\x80\x80",
    "over-long in 4": b"\xf0\x8f\xbf\xbf",
    "surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "broken off by a letter": b"\xe2\x82a",
}


@pytest.mark.parametrize("case", NOT_UTF8)
def test_text_not_utf8(case):
    """Text that is not UTF-8 is refused with 1007, in one frame or over fragments."""
    wrong = "κόσμε".encode() + NOT_UTF8[case] + b"edited"
    halves = frame(TEXT, wrong[:12], final=False) + frame(CONT, wrong[12:])

    assert [(1007, [b"before"])] * 2 == [failed(BEFORE + frame(TEXT, wrong)), failed(BEFORE + halves)]


@pytest.mark.parametrize(
    "character", ["\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
)
def test_text_at_the_edges_of_utf8(character):
    """The first and last characters of each length, and those beside the surrogates, are text, also while they still arrive."""
    stream = frame(TEXT, character.encode())

    expected = Outcome([(bytes, character.encode())], [], None, None)
    assert [expected] * 2 == [read(stream), read(*drip(stream))]


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_text_ends_within_a_character(character):
    """A message that ends within a character is not UTF-8."""
    cut = character.encode()[:-1]

    assert [(1007, [])] * 2 == [failed(frame(TEXT, cut)), failed(frame(TEXT, cut, final=False) + frame(CONT))]


@pytest.mark.parametrize("case", [case for case in NOT_UTF8 if case != "broken off by a letter"])
def test_text_refused_at_its_first_wrong_byte(case):
    """While a frame still arrives, no byte is waited for beyond the one after which it can never be UTF-8 (Autobahn 6.4.3)."""
    good, wrong = "κόσμε".encode(), NOT_UTF8[case]
    # By the table of RFC 3629 section 4: the lead bytes that never occur, or the second byte outside its range.
    fatal = 1 if wrong[0] in b"\x80\xff\xc0\xf8" else 2
    stream = frame(TEXT, good + wrong + b"x" * 5)

    accepted = [read(*drip(stream[:end])).failure is None for end in range(len(stream) + 1)]

    assert 2 + len(good) + fatal == accepted.index(False)


def test_binary_is_not_text():
    """Binary need not be UTF-8, and comes marked."""
    assert Outcome([(Binary, b"\xff\xfe")], [], None, None) == read(frame(BINARY, b"\xff", final=False) + frame(CONT, b"\xfe"))


def test_failure_holds_no_payload():
    """Neither the text of a failure nor what is chained to it holds what the peer sent."""
    reader = FrameReader()
    reader.feed(frame(TEXT, b"hunter2\xff"))
    failure = reader.failure

    assert (False, None, None) == ("hunter2" in repr(failure), failure.__cause__, failure.__context__)


# Sizes


@pytest.mark.parametrize(
    "stream",
    [
        frame(TEXT, b"x" * (SMALL + 1)),
        frame(BINARY, b"x" * 70000),
        frame(TEXT, b"x" * 60, final=False) + frame(CONT, b"x" * 5),
        frame(BINARY, b"x" * SMALL, final=False) + frame(CONT, final=False) + frame(PING) + frame(CONT, b"x"),
    ],
)
def test_over_max_message_size(stream):
    """A message over the limit, in one frame or in all its fragments, ends the stream with 1009."""
    assert (1009, [b"before"]) == failed(BEFORE + stream, limit=SMALL)


def test_at_max_message_size():
    """A message of just the limit passes, and the sum begins anew with each message."""
    fits = frame(TEXT, b"x" * SMALL) + frame(BINARY, b"x" * 60, final=False) + frame(CONT, b"x" * 4)

    assert [bytes, Binary] * 3 == [kind for kind, _ in read(fits * 3, limit=SMALL).messages]


@pytest.mark.parametrize("length", [2**24 + 1, 2**40, 2**63 - 1])
def test_size_refused_at_the_header(length):
    """A header that announces too much fails at once, before a byte of payload has come and with no memory taken."""
    reader = FrameReader()
    tracemalloc.start()
    try:
        reader.feed(b"\x82\x7f" + length.to_bytes(8, "big"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (1009, True) == (reader.failure and reader.failure.close_code, peak < 10_000)


def test_memory_of_a_dripping_message():
    """A message that comes in pieces of two bytes costs about its size, not a Python object a piece."""
    size = 200_000
    reader = FrameReader()
    reader.feed(frame(BINARY, b"x" * size)[:-size])
    tracemalloc.start()
    try:
        for _ in range(size // 2 - 1):
            reader.feed(b"xx")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert ([b"x" * size], True) == (reader.feed(b"xx"), size / 2 < held < 2 * size)


def test_fragments_of_nothing_take_no_memory():
    """An endless row of empty fragments is not kept."""
    reader = FrameReader()
    reader.feed(frame(TEXT, b"", final=False))
    chunk = frame(CONT, b"", final=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            reader.feed(chunk)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (True, [b"a"]) == (held < 10_000, reader.feed(frame(CONT, b"a")))


# Every way to cut a stream

PAYLOADS = st.one_of(
    st.text(max_size=200).map(str.encode),
    st.binary(max_size=140),
    st.sampled_from([0, 125, 126, 300, 65535, 65536]).map(lambda length: b"x" * length),
)
FRAMES = st.one_of(
    st.builds(frame, st.sampled_from([TEXT, BINARY, CONT, PING, PONG]), PAYLOADS, final=st.booleans()),
    st.text(max_size=100).map(lambda text: frame(TEXT, text.encode())),
    st.builds(frame, st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=125)),
    st.binary(max_size=20),
)
STREAMS = st.lists(FRAMES, max_size=8).map(b"".join)


@given(STREAMS, st.data())
def test_cuts_do_not_matter(stream, data):
    """Any bytes, right or wrong, give the same outcome whole and in any pieces, and no exception."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20), label="cuts"))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)])]

    assert read(stream, limit=1000) == read(*pieces, limit=1000)


@given(st.lists(FRAMES, max_size=4).map(b"".join).filter(lambda stream: len(stream) < 1500))
def test_one_byte_at_a_time_and_cut_at_each_place(stream):
    """The same, one byte at a time and cut in two at each place."""
    whole = read(stream)

    cut = [read(stream[:at], stream[at:]) for at in range(len(stream))]

    assert [whole] * (len(stream) + 1) == [read(*drip(stream)), *cut]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(max_size=300), st.binary(max_size=300)),
            st.lists(st.integers(0, 300), max_size=4),
            st.binary(max_size=125),
        ),
        max_size=6,
    )
)
def test_any_fragmentation(said):
    """A message is the same in whatever fragments it comes, a ping between any two of them."""
    stream, messages, pings = b"", [], []
    for message, cuts, ping in said:
        payload = message.encode() if isinstance(message, str) else message
        messages.append((bytes if isinstance(message, str) else Binary, payload))
        ends = [*sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
        opcodes = itertools.chain([TEXT if isinstance(message, str) else BINARY], itertools.repeat(CONT))
        for nth, (start, end, opcode) in enumerate(zip([0, *ends], ends, opcodes), start=1):
            stream += frame(opcode, payload[start:end], final=nth == len(ends)) + frame(PING, ping)
            pings.append((PING, ping))

    assert [Outcome(messages, pings, None, None)] * 2 == [read(stream), read(*drip(stream))]


# What we send


def test_masked_example_of_the_rfc():
    """The masked "Hello" of RFC 6455 section 5.7, and its masked pong."""
    mask = bytes.fromhex("37fa213d")

    actual = [encode_frame(TEXT, b"Hello", mask).hex(), encode_frame(PONG, b"Hello", mask).hex()]

    assert ["818537fa213d7f9f4d5158", "8a8537fa213d7f9f4d5158"] == actual


@given(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking(opcode, payload, mask):
    """A decoder that unmasks byte by byte gets back what was masked."""
    assert (opcode, mask, payload) == unmasked(encode_frame(opcode, payload, mask))


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 100_003])
def test_same_bytes_as_websocket_client(length):
    """websocket-client makes the same frame of each length form."""
    payload = bytes(at * 7 % 256 for at in range(length))
    oracle = websocket.ABNF(1, 0, 0, 0, websocket.ABNF.OPCODE_BINARY, 1, payload)
    oracle.get_mask_key = lambda n: b"\x00\x81\xfe\x37"[:n]

    assert oracle.format() == encode_frame(BINARY, payload, b"\x00\x81\xfe\x37")


def test_masks_are_random():
    """Each frame has a mask of its own, so that it cannot be foreseen (RFC 6455, section 5.3)."""
    assert 100 == len({unmasked(encode_frame(TEXT, b"x"))[1] for _ in range(100)})


def test_masks_are_not_shared(monkeypatch):
    """Threads that make frames at the same time use each mask once."""
    numbers = itertools.count()
    monkeypatch.setattr(frames, "_masks", deque())
    monkeypatch.setattr(frames.os, "urandom", lambda size: b"".join(next(numbers).to_bytes(4, "big") for _ in range(size // 4)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            masks = list(threads.map(lambda _: unmasked(encode_frame(TEXT, b"x"))[1], range(4 * frames.MASKS)))
    finally:
        sys.setswitchinterval(before)

    assert 4 * frames.MASKS == len(set(masks))


FORKED = """
import os
from exchange_ws.wire.frames import TEXT, encode_frame

masks = lambda: {encode_frame(TEXT, b"")[2:6] for _ in range(20)}
masks()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, b"".join(masks()))
    os._exit(0)
os.waitpid(child, 0)
told = os.read(reading, 80)
print({told[at : at + 4] for at in range(0, 80, 4)} & masks())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_masks_are_not_those_of_a_child():
    """A child of a fork, and the process that made it, do not use the same masks."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)

    assert ("set()\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_close_frames():
    """A close frame holds code and reason, or nothing."""
    frames = [encode_close(None), encode_close(1000), encode_close(4999, "ciao €")]

    expected = [(CLOSE, b""), (CLOSE, b"\x03\xe8"), (CLOSE, b"\x13\x87" + "ciao €".encode())]
    assert expected == [(opcode, payload) for opcode, _, payload in map(unmasked, frames)]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("x" * 123, "x" * 123), ("x" * 124, "x" * 123), ("€" * 50, "€" * 41), ("x" + "€" * 41, "x" + "€" * 40), ("a\ud800", "a?")],
)
def test_close_reason_is_cut_between_characters(reason, kept):
    """A reason is cut to the 123 bytes that there is room for, and stays UTF-8."""
    assert b"\x03\xe8" + kept.encode() == unmasked(encode_close(1000, reason))[2]


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode_frame(PING, b"x" * 126),
        lambda: encode_frame(TEXT, b"x", b"123"),
        lambda: encode_close(None, "why"),
        *(lambda code=code: encode_close(code) for code in WRONG_CODES),
    ],
)
def test_wrong_use(call):
    """What may not be sent is not made."""
    with pytest.raises(UsageError, match="takes"):
        call()


def test_failure_is_a_wire_error():
    """A failure can be raised as it is."""
    reader = FrameReader()
    reader.feed(frame(3))

    assert WireError is type(reader.failure)
