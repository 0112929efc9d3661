"""
What is fuzzed, and what must hold whatever comes in: `fuzz/fuzz.py` runs these for minutes, `fuzz/test_fuzz.py` for a moment.

A `Target` has inputs to begin with (`seeds`, made of the documented messages beside the exchanges' tests), a way to change one
(`mutate`), and `run`, which takes any bytes and raises for a finding. The same bytes give the same outcome. Exchanges are found
by their clients, dialects by their clients' endpoints, the exchanges' own sides by the sandbox:

``wire/frames``
    The frame reader does not care where a stream is cut, agrees with the `websockets` library, and never raises.
``dialect/<exchange>``
    `split`, `route`, `decode`, `interpret` and `echoed` of each dialect, with either JSON reader.
``encode/<exchange>``
    What a client says is JSON to a strict reader, or is refused before it is said.
``engine/<exchange>``
    Connection, session and subscriptions, with wishes and answers under way; whatever is raised would have ended a thread.
``sandbox/<exchange>``
    The exchange's own side answers anything, and goes on after it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any, Callable
from urllib.parse import urlsplit

import attrs
from fuzz_mutations import changed, changed_bytes, changed_near, has_twins, parsed
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

import exchange_ws
from exchange_ws.clock import Deadline
from exchange_ws.core.client import Client, Endpoint
from exchange_ws.core.connection import Connection, Link
from exchange_ws.core.decoding import UNREADABLE
from exchange_ws.core.dialect import Dialect, Reading, parse, parse_with_json, refused
from exchange_ws.core.messages import SUBSCRIBE, Command, Limits, Notice, Pong, Reply, Topic, Update
from exchange_ws.core.session import CLOSED, Backoff, Session
from exchange_ws.core.subscription import DROP_NEWEST, DROP_OLDEST, LATEST, RAISE, Subscription
from exchange_ws.errors import ConnectionLost, ExchangeError, SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import Event
from exchange_ws.sandbox import server
from exchange_ws.sandbox.market import Markets
from exchange_ws.wire.frames import BINARY, TEXT, Binary, FrameReader, encode_close, encode_frame

__all__ = ["PARSERS", "Target", "dialects", "documented", "targets"]

HERE = Path(__file__).resolve().parent
BETWEEN = b"\x1e"  # between the messages of one input; a control character, which no JSON text has
MOST = 1 << 16  # bytes of an input
SMALL = 200  # bytes of a message, where many are to be too long
NUMBERS = {Decimal: Decimal, float: float, str: str}
PARSERS = {"the chosen reader": parse, "the standard library": parse_with_json}


@attrs.frozen
class Target:
    """One thing to fuzz. `seen` counts what is no finding and worth a line all the same."""

    name: str
    seeds: Sequence[bytes]
    run: Callable[[bytes], None]
    mutate: Callable[[bytes, Random, Sequence[bytes]], bytes]
    seen: Counter[str] = attrs.Factory(Counter)


# What is there ----------------------------------------------------------------------------------------------------------------


@cache
def client(name: str) -> Client:
    """A client of the exchange that never connects, with credentials that its sandbox would accept."""
    side = exchange(name)
    wiring = dict(side.wiring(f"ws://127.0.0.1:9{side.path}", "http://127.0.0.1:9", {}))
    made = exchange_ws.clients()[name]
    if "token" in inspect.signature(made).parameters:  # rather than one that would be fetched
        wiring = {key: value for key, value in wiring.items() if not key.startswith("api_")}
        wiring["token"] = side.token
    return made(**wiring)


def endpoints(name: str) -> list[Endpoint]:
    return list(client(name)._endpoints.values())


def abouts(name: str) -> list[dict[str, str]]:
    """What recordings of clients of the exchange say of their languages, if these differ between clients."""
    if "category" not in exchange_ws.clients()[name]._languages:
        return [{}]
    return [{"category": category} for category in ("spot", "linear", "inverse", "option")]


@cache
def dialects(name: str) -> tuple[Dialect, ...]:
    """The dialects of an exchange's endpoints that differ in what they do."""
    found: dict[tuple[Any, ...], Dialect] = {}
    for one in [one for about in abouts(name) for one in exchange_ws.clients()[name]._dialects(about).values()]:
        found.setdefault((one.split, one.route, one.decode, one.encode, one.interpret, one.echoed), one)
    return tuple(found.values())


@cache
def documented(name: str, *, ours: bool = False) -> tuple[bytes, ...]:
    """The messages of the exchange in its examples and transcripts; *ours*: those that clients say."""
    folder = HERE / "exchanges" / exchange_ws.clients()[name].__module__.split(".")[-2]
    found: dict[bytes, None] = {}
    for path in sorted(folder.glob("*.json")):
        for kinds in json.loads(path.read_text("utf-8")).values():
            for kind, entries in kinds.items():
                for entry in entries if kind.startswith("requests") == ours else ():
                    text = entry.get("frame", entry.get("message", entry)) if isinstance(entry, dict) else entry
                    if not isinstance(text, str):
                        text = json.dumps(text, separators=(",", ":"), ensure_ascii=False)
                    found[text.encode()] = None
    for path in sorted(folder.glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith(">   " if ours else "<   "):
                found[line[4:].encode()] = None
    assert found, f"{name}: no documented messages in {folder}"
    return tuple(found)


@cache
def topics(name: str) -> dict[str, list[Topic]]:
    """Topics that can be had together, by endpoint: those that the contract suite knows."""
    facts = json.loads((HERE / "contract" / "facts" / f"{name}.json").read_text("utf-8"))
    found: dict[str, list[Topic]] = {}
    for fact in ("topic", "same channel", "another channel", "deltas", "private topic"):
        words, params = facts[fact]
        for topic in client(name)._topics_of(tuple(words), params):
            there = found.setdefault(client(name)._endpoint_of(topic), [])
            if client(name)._endpoints[client(name)._endpoint_of(topic)].dialect.fits(frozenset(there), topic):
                there.append(topic)
    return found


def places(name: str) -> list[Endpoint]:
    """The endpoints at which there are these topics; at most four, for `Bench` to tell them apart."""
    return [endpoint for endpoint in endpoints(name) if endpoint.name in topics(name)][:4]


@contextlib.contextmanager
def reading_with(dialect: Dialect, parser: Callable[[bytes], Any]) -> Iterator[None]:
    """*dialect* reads JSON with *parser*."""
    module: Any = sys.modules[dialect.decode.__module__]
    former, module.parse = module.parse, parser
    try:
        yield
    finally:
        module.parse = former


def strictly(text: str) -> None:
    """*text*, one JSON text a line, read strictly: valid UTF-8, no halves of surrogate pairs, no NaN."""
    for line in text.split("\n"):
        parse_with_json(line.encode())


# Frames -----------------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """All that can be seen of a reader that has read a stream; payloads with their types, since Binary(b"x") == b"x"."""

    messages: list[tuple[type, bytes]]
    control: list[tuple[int, bytes]]
    close: tuple[int | None, str] | None
    failure: tuple[int | None, str] | None
    in_frame: bool


def read(chunks: Sequence[bytes], limit: int) -> Outcome:
    reader = FrameReader(limit)
    messages: list[tuple[type, bytes]] = []
    control: list[tuple[int, bytes]] = []
    fed = 0
    for chunk in chunks:
        ended = reader.close is not None or reader.failure is not None
        came = reader.feed(chunk)
        fed += len(chunk)
        assert not (ended and (came or reader.control)), "nothing is read behind the end"
        messages += [(type(message), message) for message in came]
        control += reader.control
        reader.control.clear()
        kept = len(reader._body) + len(reader._rest)
        assert kept <= min(fed, limit + 139), f"{kept} bytes kept of {fed}, with a limit of {limit}"
    assert all(len(message) <= limit for _, message in messages)
    for kind, message in messages:
        assert kind in (bytes, Binary)
        if kind is bytes:
            message.decode()
    assert all(opcode in (9, 10) and len(payload) <= 125 for opcode, payload in control)
    close, failure = reader.close, reader.failure
    assert close is None or failure is None, "a stream ends once"
    if close is not None or failure is not None:
        assert not reader.in_frame
    if failure is not None:
        encode_close(failure.close_code)
    if close is not None:
        encode_close(close.code, close.reason)
    return Outcome(
        messages,
        control,
        None if close is None else (close.code, close.reason),
        None if failure is None else (failure.close_code, str(failure)),
        reader.in_frame,
    )


def read_elsewhere(data: bytes, limit: int) -> tuple[list[tuple[type, bytes]], list[tuple[int, bytes]], Any, str | None]:
    """What the `websockets` library makes of the stream; it leaves the text of messages to its callers."""
    protocol = Protocol(CLIENT, max_size=limit)
    protocol.receive_data(data)
    messages: list[tuple[type, bytes]] = []
    control: list[tuple[int, bytes]] = []
    close: Any = None
    opcode, body = Opcode.CONT, b""
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            control.append((int(frame.opcode), bytes(frame.data)))
        elif frame.opcode is Opcode.CLOSE:
            close = protocol.close_rcvd
        else:
            opcode = opcode if frame.opcode is Opcode.CONT else frame.opcode
            body += frame.data
            if frame.fin:
                messages.append((bytes if opcode is Opcode.TEXT else Binary, body))
                body = b""
    return messages, control, close, None if protocol.parser_exc is None else repr(protocol.parser_exc)


#: What we refuse and the other reader does not: text that is no UTF-8, and lengths in more bytes than needed, which are too
#: long for a control frame whatever they say.
OURS_ALONE = ("not UTF-8", "not in the fewest", "is longer than 125 bytes")
#: What the other reader refuses and we do not: a close within a fragmented message, which may come at any time [RFC 6455,
#: section 5.4], and control frames that it counts as parts of the message that they come in.
THEIRS_ALONE = ("incomplete fragmented message", "PayloadTooBig")


def run_frames(data: bytes) -> None:
    random = Random(zlib.crc32(data))
    for limit in (SMALL, MOST):
        whole = read([data], limit)
        cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 9)))
        ways = [[data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]]
        if len(data) <= 4096:
            ways.append([data[at : at + 1] for at in range(len(data))])
        for chunks in ways:
            assert whole == read(chunks, limit), "it matters where the stream is cut"
        compare_frames(data, limit, whole)
    for kind, message in whole.messages[:20]:
        there = Protocol(SERVER, max_size=None)
        there.receive_data(encode_frame(BINARY if kind is Binary else TEXT, message))
        (frame,) = there.events_received()
        assert isinstance(frame, Frame)
        assert (message, kind is Binary, True) == (bytes(frame.data), frame.opcode is Opcode.BINARY, frame.fin)


def compare_frames(data: bytes, limit: int, ours: Outcome) -> None:
    messages, control, close, trouble = read_elsewhere(data, limit)
    if trouble is not None and any(words in trouble for words in THEIRS_ALONE):
        both = min(len(messages), len(ours.messages))
        assert messages[:both] == ours.messages[:both]
    elif ours.failure is None:
        assert trouble is None, f"refused elsewhere only: {trouble}"
        assert (ours.messages, ours.control) == (messages, control)
        code, reason = (None, "") if close is None or close.code == 1005 else (close.code, close.reason)
        assert (ours.close or (None, "")) == (code, reason)
        assert (ours.close is None) == (close is None)
    else:
        assert ours.messages == messages[: len(ours.messages)]
        assert ours.control == control[: len(ours.control)]
        if trouble is None and not any(words in ours.failure[1] for words in OURS_ALONE):
            # The other reader looks at some things when the whole frame is there.
            *_, trouble = read_elsewhere(data + bytes(limit), limit)
            assert trouble is not None, f"refused here only: {ours.failure[1]}"


def frame_of_server(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    return bytes(Frame(Opcode(opcode), payload, fin).serialize(mask=False))


def seeds_of_frames() -> list[bytes]:
    said = [message for name in exchange_ws.clients() for message in documented(name)[:6]]
    texts = [frame_of_server(TEXT, message) for message in said]
    odd = [
        frame_of_server(9, b"") + frame_of_server(10, b"x" * 125) + frame_of_server(TEXT, "é\U0001f600".encode()),
        frame_of_server(TEXT, "a€".encode()[:2], False) + frame_of_server(9, b"1") + frame_of_server(0, "a€".encode()[2:]),
        frame_of_server(BINARY, b"\0\xff", False) + frame_of_server(0, b"", False) + frame_of_server(0, b"\xc3"),
        *(frame_of_server(TEXT, b"x" * size) for size in (0, 63, 64, 65, 125, 126, 127, 300)),
        frame_of_server(BINARY, b"\0" * 65535),
        frame_of_server(BINARY, b"\0" * 65536) + frame_of_server(TEXT, b"after"),
        frame_of_server(8, b""),
        *(
            frame_of_server(8, code.to_bytes(2, "big") + "bye é".encode())
            for code in (1000, 1001, 1005, 1012, 2999, 3000, 5000)
        ),
        frame_of_server(TEXT, b"{}") + frame_of_server(8, b"\x03\xe8") + frame_of_server(TEXT, b"behind"),
        *(b"\x81\x7e\x00\x05hello", b"\x81\x7f" + bytes(7) + b"\x05hello", b"\x82\x7f\xff" + bytes(7), b"\x81\x85abcdhello"),
        *(b"\xc1\x00", b"\x83\x00", b"\x09\x00", b"\x89\x7e\x00\x80", b"\x80\x00", b"\x01\x01a\x01\x01b", b"\x81\x02\xed\xa0"),
    ]
    return [*texts, *odd, b"".join(texts[:9]), b"".join(odd[:4])]


def mutate_frames(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return data + random.choice(others)
    if kind == 1:
        opcode, size = random.choice((0, 1, 1, 2, 8, 9, 10)), random.choice((0, 1, 2, 9, 64, 125, 126, 200))
        body = bytes(random.choice(b"a\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80\x03\xe8") for _ in range(size))
        # Of control frames the other writer makes none that are too long.
        made = frame_of_server(opcode, body[:125] if opcode >= 8 else body, random.random() < 0.6 or opcode >= 8)
        return made + data if random.random() < 0.5 else data + made
    return changed_bytes(data, random, others)[:MOST]


# Dialects ---------------------------------------------------------------------------------------------------------------------


def check_dialect(dialect: Dialect, frame: bytes, known: Sequence[Topic] = (), seen: Counter[str] | None = None) -> None:
    """What every dialect owes for any *frame*; *known* are topics to read it for."""
    parts = [frame]
    if dialect.split is not None:
        parts = list(dialect.split([frame]))
        assert all(part and part in frame for part in parts)
    for part in parts:
        meant = {how: understood(dialect, part, parser, known) for how, parser in PARSERS.items()}
        first, second = meant.values()
        if not alike(first, second):
            why = differences(part)
            assert why, f"the JSON readers differ: {str(first)[:200]} and {str(second)[:200]}"
            if seen is not None:
                seen.update(f"the JSON readers differ: {reason}" for reason in why)


def understood(dialect: Dialect, part: bytes, parser: Callable[[bytes], Any], known: Sequence[Topic]) -> Any:
    """The message; a ValueError where there is none."""
    with reading_with(dialect, parser):
        key = dialect.route(part)
        try:
            message = dialect.decode(part)
        except ValueError as error:
            return error
        assert isinstance(message, (Update, Reply, Pong, Notice)), f"{type(message)} is no message"
        if isinstance(message, Update):
            assert message.keys and all(type(one) is bytes for one in message.keys)
            assert isinstance(message.label, str)
            if not has_twins(part):
                assert key is None or (key,) == message.keys, f"route gives {key!r}, decode {message.keys}"
            for numbers, kind in NUMBERS.items():
                check_events(dialect, dialect.decode(part), Reading(7.0, numbers, {}), kind)
            for topic in known:
                if topic.label == message.label:
                    update = dialect.decode(part)
                    check_events(dialect, update, Reading(7.0, Decimal, dict.fromkeys(update.keys, topic)), Decimal)
                    check_short_way(dialect, part, parser, topic)
        else:
            assert key is None or has_twins(part), f"route gives {key!r} for {type(message).__name__}"
            if isinstance(message, Reply):
                check_reply(dialect, message, known)
            elif isinstance(message, Notice):
                assert message.text is None or isinstance(message.text, str)
        return message


def check_events(dialect: Dialect, update: Update, reading: Reading, kind: type) -> None:
    try:
        events = dialect.interpret(update, reading)
    except UNREADABLE:
        return
    for event in events:
        assert isinstance(event, Event)
        assert (dialect.name, update.label, 7.0, None) == (event.exchange, event.channel, event.received, event.gap)
        assert event.symbol is None or isinstance(event.symbol, str), f"symbol={event.symbol!r}"
        for name in ("time", "start"):
            value = getattr(event, name, None)
            assert value is None or (isinstance(value, float) and math.isfinite(value)), f"{name}={value!r}"
        for field in attrs.fields(type(event)):
            if field.type == "Number":
                check_number(field.name, getattr(event, field.name), kind)
        for side in ("bids", "asks"):
            for price, size in getattr(event, side, ()):
                check_number(side, price, kind)
                check_number(side, size, kind)


def check_short_way(dialect: Dialect, part: bytes, parser: Callable[[bytes], Any], topic: Topic) -> bool:
    """Whether an update for *topic* may take it; then it leads to the same events."""
    body = parser(part)
    if dialect.direct is None or topic.label not in dialect.direct.labels:
        return False
    try:
        short = dialect.direct.readers[body[dialect.direct.field]]
    except UNREADABLE:
        return False
    for numbers in NUMBERS:
        try:
            events = short(body, Reading(7.0, numbers, {}))
        except UNREADABLE:
            return False
        update = dialect.decode(part)
        assert isinstance(update, Update)
        assert events == dialect.interpret(update, Reading(7.0, numbers, dict.fromkeys(update.keys, topic)))
    return True


def check_number(name: str, value: Any, kind: type) -> None:
    assert value is None or type(value) is kind, f"{name}={value!r} is no {kind.__name__}"


def check_reply(dialect: Dialect, reply: Reply, known: Sequence[Topic]) -> None:
    assert reply.key is None or isinstance(reply.key, str)
    assert type(reply.ok) is bool
    assert (reply.error is None) == reply.ok
    assert reply.method is None or isinstance(reply.method, str)
    assert all(type(alias) is bytes for alias in reply.aliases) and all(isinstance(one, str) for one in reply.ids)
    assert len(reply.ids) in (0, len(reply.aliases)) and len(reply.echoes) in (0, len(reply.aliases))
    if reply.error is not None:
        assert isinstance(reply.error.message, str) and reply.error.message
        assert type(reply.error.code) in (int, str, type(None))
        for secret in (False, True):
            error = refused(reply.error, Command("subscribe", ("a", {"token": "b"}), SUBSCRIBE, secret=secret))
            assert isinstance(error, ExchangeError) and str(error)
    for key, refusal in reply.refused.items():
        assert reply.ok and type(key) is bytes and isinstance(refusal.message, str) and refusal.message
    if dialect.echoed is not None:
        for echo in reply.echoes:
            for topic in known:
                assert type(dialect.echoed(topic, echo)) is bool


def alike(first: Any, second: Any) -> bool:
    if isinstance(first, ValueError) or isinstance(second, ValueError):
        return isinstance(first, ValueError) and isinstance(second, ValueError)
    try:
        return bool(first == second)
    except RecursionError:
        return True


def differences(message: bytes) -> list[str]:
    """Why the two JSON readers may differ about *message*, as the documentation of `parse_with_json` has it."""
    try:
        tree = parsed(message)
    except ValueError:
        return ["depth"] if max(message.count(b"["), message.count(b"{")) > 500 else []
    found = set()
    if has_twins(message) and b"\\ud" in message.lower():
        found.add("halves of surrogate pairs in a member that another replaces")
    todo = [(tree, 0)]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            found.add("whole numbers beyond 64 bits")
        elif depth > 500:
            found.add("depth")
        elif isinstance(value, (list, tuple)):
            todo.extend((inner, depth + 1) for inner in value)
    return sorted(found)


# What we say ------------------------------------------------------------------------------------------------------------------


class _Said(Exception):
    """Stops a request where it would be registered."""


def run_encode(name: str, message: bytes) -> None:
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        return
    values = list(body.values()) if isinstance(body, dict) else body if isinstance(body, list) else [body]
    said: list[tuple[str, Command]] = []
    ws = client(name)

    def submit(command: Command, timeout: Any, endpoint: str) -> Any:
        said.append((endpoint, command))
        raise _Said

    ws._run = submit  # type: ignore[method-assign]
    texts = [value for value in values if isinstance(value, str)]
    requests = [values[:3], values[1:4], *([text, values] for text in texts[:2])]
    params = next((value for value in values if isinstance(value, dict)), {})
    try:
        for arguments in requests:
            with contextlib.suppress(_Said, ExchangeError, TypeError):  # TypeError: of Python, for too many or too few of them
                ws.request(*arguments)  # type: ignore[attr-defined]
    finally:
        del ws._run
    for endpoint, command in said:
        check_said(ws._endpoints[endpoint].dialect, command)
    for words in ([text] for text in texts):
        try:
            wanted = ws._topics_of(tuple(words), params)
        except (UsageError, TypeError):
            continue
        dialect = ws._endpoints[ws._endpoint_of(wanted[0])].dialect
        for one in wanted[:20]:
            for command in (*dialect.changes(frozenset(), frozenset({one})), *dialect.changes(frozenset({one}), frozenset())):
                check_said(dialect, command)


def check_said(dialect: Dialect, command: Command) -> None:
    outgoing = dialect.encode(command, 7)
    assert outgoing.key is None or isinstance(outgoing.key, str)
    strictly(outgoing.data.decode())


# The engine -------------------------------------------------------------------------------------------------------------------


class Clock:
    """Time as it is told."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def time_ns(self) -> int:
        return int(self.at * 1e9)

    def wait(self, condition: Any, timeout: float | None) -> bool:
        raise AssertionError("nothing waits here")


class Unhurried:
    """A timer that is asked and does nothing: the time is told by `Bench`."""

    def schedule(self, entry: Any, due: float) -> None:
        assert not math.isnan(due)

    def forget(self, entry: Any) -> None:
        pass


STEPS = 40  # of the markets; some channels push each second
LONG = 4096  # bytes of a message; what is longer is more of the same
OVERFLOWS = (DROP_OLDEST, DROP_NEWEST, LATEST, RAISE)


class Bench:
    """One connection with subscriptions, driven as its threads would drive it; `how` chooses among ways to begin."""

    def __init__(self, name: str, how: int) -> None:
        self.endpoint = places(name)[how % len(places(name))]
        self.place = f"{name}/{self.endpoint.name}"
        self.dialect = self.endpoint.dialect
        self.confirms = bool(how & 4)
        self.clock = Clock()
        self.session = Session(
            self.dialect,
            name,
            limits=Limits(),
            ping_interval=20.0,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=Backoff(0.1, 0.1),
        )
        timer: Any = Unhurried()
        link = Link("ws://127.0.0.1:9", 1.0)
        self.connection = Connection(self.session, link, clock=self.clock, timer=timer, may_dial=lambda: 0.0)
        self.said: tuple[bytes, ...] = ()
        self.subscriptions: list[Subscription] = []
        wanted = topics(name).get(self.endpoint.name, [])
        overflow = OVERFLOWS[how >> 3 & 3]
        if overflow == LATEST:
            self.subscribe([topic for topic in wanted if topic.standalone], overflow)
        else:
            self.subscribe(wanted, overflow, gaps=True)
        self.subscribe(wanted[:1], DROP_OLDEST, raw=True)
        self.subscribe(wanted[1:], DROP_OLDEST, numbers=float)
        self.dial()

    def subscribe(
        self, wanted: list[Topic], overflow: str, *, gaps: bool = False, raw: bool = False, numbers: Any = Decimal
    ) -> None:
        if wanted:
            subscription = Subscription(
                "fuzzed",
                wanted,
                self.dialect,
                clock=self.clock,
                queue_size=5,
                overflow=overflow,
                gaps=gaps,
                raw=raw,
                numbers=numbers,
                block_limit=1.0,
                leave=lambda subscription, topics, timeout: None,
                forget=lambda subscription: None,
            )
            self.subscriptions.append(subscription)
            self.connection.want(subscription, frozenset(wanted), Deadline(self.clock, 60.0))

    def dial(self) -> None:
        self.said = ()
        self.session.dialled(self.clock.now(), None)
        if self.confirms:
            self.converse()

    def converse(self) -> None:
        """Have everything that we say answered as the exchange does."""
        while True:
            frames = tuple(payload for opcode, payload in self.session.take_outbox(self.clock.now()) if opcode == TEXT)
            if not frames:
                return
            before, self.said = self.said, self.said + frames
            for text in answers(self.place, self.said)[len(answers(self.place, before)) :]:
                self.hear(text)

    def hear(self, message: bytes) -> None:
        """As the reader does; and a consumer takes what there is."""
        self.clock.at += 0.01
        parts = [message] if self.dialect.split is None else list(self.dialect.split([message]))
        self.connection._deliver(parts, self.clock.time_ns())
        for subscription in self.subscriptions:
            with contextlib.suppress(UpdateTimeout, SubscriptionClosed, ExchangeError):
                assert subscription.latest is None or True
                subscription.get_many(timeout=0.0)

    def go_on(self, seconds: float) -> None:
        """The timer's turn, and a new link if this one had to be given up."""
        self.clock.at += seconds
        self.session.tick(self.clock.now())
        for opcode, payload in self.session.take_outbox(self.clock.now()):
            if opcode == TEXT:
                strictly(payload.decode())
        self.connection._act()
        if self.session.doom is not None:
            self.lose()

    def lose(self) -> None:
        self.connection._lost(self.session.doom or ConnectionLost("lost"))
        if self.session.state != CLOSED:
            self.dial()

    def end(self) -> None:
        self.session.close(self.clock.now())
        self.connection._act()
        self.connection._waker.close()
        assert not self.session.busy, "a wait has not ended"


@lru_cache(maxsize=4096)
def answers(place: str, said: tuple[bytes, ...]) -> list[bytes]:
    """What the exchange answers to all of *said* on one new connection, that its client has logged in on."""
    name, _, where = place.partition("/")
    side, state = logged_in(name, client(name)._endpoints[where])
    found = []
    for data in said:
        answer, pushes = side.answer(state, json.loads(data))
        found += [text.encode() for text in ((answer or ""), *pushes) if text]
    return found


def pushed(name: str) -> list[bytes]:
    """What the exchange tells somebody who has subscribed as `Bench` does, under the same ids."""
    found: dict[bytes, None] = {}
    for how, endpoint in enumerate(places(name)):
        bench = Bench(name, how | 4)
        side, state = logged_in(name, endpoint)
        for data in bench.said:
            answer, pushes = side.answer(state, json.loads(data))
            found.update(dict.fromkeys(text.encode() for text in (answer or "", *pushes) if text))
        for _ in range(STEPS):
            step_markets()
            side.beat()
            found.update(dict.fromkeys(text.encode() for text in side.publish(state)))
        bench.end()
    return [message for message in found if len(message) < LONG]


def run_engine(name: str, data: bytes) -> None:
    bench = Bench(name, data[0] if data else 0)
    try:
        for number, message in enumerate(data[1:].split(BETWEEN)[:40]):
            bench.hear(message)
            bench.go_on(0.0 if number % 3 else 0.7)
        bench.go_on(25.0)
        bench.lose()
        bench.go_on(25.0)
    finally:
        bench.end()


# The exchanges' own side ------------------------------------------------------------------------------------------------------


MARKETS_LAST = 2000  # runs: what is traded stays on their books, and the same bytes should have the same outcome


class _Shared:
    """Markets that many runs trade on, since making them takes longer than a run."""

    def __init__(self) -> None:
        self.runs = 0
        self.markets: Markets | None = None

    def get(self) -> Markets:
        self.runs += 1
        if self.markets is None or self.runs % MARKETS_LAST == 0:
            self.markets = Markets(server.EPOCH_US, seed=1)
        return self.markets


_shared = _Shared()


def step_markets() -> None:
    """A step of the markets of the exchange that was made last."""
    assert _shared.markets is not None
    _shared.markets.step(_shared.markets.now_us + server.MANUAL_STEP_US)


CREDENTIALS = server.Credentials("key", "secret", "token")


def exchange(name: str, mode: int = 0) -> Any:
    """The exchange's side; *mode* chooses among the kinds of it, where there are several."""
    made: Any = server._factories()[name](_shared.get(), CREDENTIALS, 1)
    if hasattr(made, "mode"):
        made.mode = ("seed", "framework")[mode % 2]
    return made


def logged_in(name: str, endpoint: Endpoint, mode: int = 0) -> tuple[Any, Any]:
    """An endpoint of the exchange, and a connection to it that has logged in where its client does."""
    first = exchange(name, mode)
    path = urlsplit(endpoint.url).path
    side = next(side for side in (first, *getattr(first, "further", ())) if side.path == path)
    state = side.open(1)
    if endpoint.login is not None:
        command = endpoint.login(client(name))
        assert command is not None
        side.answer(state, json.loads(endpoint.dialect.encode(command, 1).data))
    return side, state


def run_sandbox(name: str, data: bytes) -> None:
    how = data[0] if data else 0
    there = endpoints(name)
    side, state = logged_in(name, there[how % len(there)], how >> 2)
    with contextlib.suppress(server.Hangup):
        for text in data[1:].decode("utf-8", "replace").split(BETWEEN.decode())[:20]:
            try:
                message = server.read_json(text)
            except ValueError:
                check_answer(side.malformed(state, text))
                continue
            method = side.method(message)
            assert method is None or method == method
            answer, pushes = side.answer(state, message)
            for one in (answer, *pushes):
                check_answer(one)
            for code, words in ((None, None), (7, "no"), ("E", None)):
                check_answer(side.refuse(state, message, code, words))
            check_answer(side.too_many(state, message))
    step_markets()
    side.beat()
    for text in side.publish(state):
        check_answer(text)


def check_answer(text: Any) -> None:
    if text is not None:
        assert isinstance(text, str)
        strictly(text)


# All of them ------------------------------------------------------------------------------------------------------------------


def mutate_message(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    return changed(data, random, others)[:MOST]


def mutate_talk(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A talk is a byte that says how it begins, and messages."""
    how, messages = data[:1] or b"\0", data[1:].split(BETWEEN)
    single = [message for other in random.sample(list(others), min(8, len(others))) for message in other[1:].split(BETWEEN)]
    kind = random.randrange(8)
    at = random.randrange(len(messages))
    if kind == 0:
        how = bytes([random.randrange(32)])
    elif kind == 1:
        messages[at:at] = [random.choice(single)]
    elif kind == 2:
        messages[at:at] = [messages[at]]
    elif kind == 3:
        random.shuffle(messages)
    else:
        messages[at] = changed(messages[at], random, single)
    return (how + BETWEEN.join(messages))[:MOST]


def talks(messages: Sequence[bytes]) -> list[bytes]:
    """Talks of one to four of *messages*."""
    random = Random(1)
    found = [bytes([random.randrange(32)]) + message for message in messages]
    for _ in messages:
        some = random.sample(messages, min(len(messages), random.randrange(2, 5)))
        found.append(bytes([random.randrange(32)]) + BETWEEN.join(some))
    return found


def targets() -> dict[str, Target]:
    """Every target by name."""
    found = [Target("wire/frames", seeds_of_frames(), run_frames, mutate_frames)]
    for name in exchange_ws.clients():
        found += _targets_of(name)
    return {target.name: target for target in found}


def _targets_of(name: str) -> list[Target]:
    known = [topic for some in topics(name).values() for topic in some]
    seen: Counter[str] = Counter()

    def run_dialect(data: bytes) -> None:
        for dialect in dialects(name):
            check_dialect(dialect, data, known, seen)

    def mutate_dialect(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
        key = random.choice(dialects(name)).route(data)
        if key is not None and random.random() < 0.5:
            return changed_near(data, key, random, others)[:MOST]
        return mutate_message(data, random, others)

    heard, ours = documented(name), documented(name, ours=True)
    return [
        Target(f"dialect/{name}", heard, run_dialect, mutate_dialect, seen),
        Target(f"encode/{name}", ours, lambda data: run_encode(name, data), mutate_message),
        Target(f"engine/{name}", talks([*heard, *pushed(name)]), lambda data: run_engine(name, data), mutate_talk),
        Target(f"sandbox/{name}", talks(ours), lambda data: run_sandbox(name, data), mutate_talk),
    ]
