"""A connection and its threads, over real sockets: against peers that do what no good server does, and against the sandbox."""

from __future__ import annotations

import json
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Callable

import attrs
import pytest
from core_languages import LOGIN_COMMAND, SWAP, topics, update, wire
from core_peers import CLOSE, PING, PONG, Exchange, Talk, closing, frame, hold, mute, serve
from held_clock import Aside, HeldClock
from log_lines import Log
from short_limits import hurried
from wire_peers import LIMIT_S, Peer

from exchange_ws.clock import Clock, Deadline, SystemClock
from exchange_ws.core import connection as connection_module
from exchange_ws.core import session as session_module
from exchange_ws.core.connection import PONGS, STUCK_RETRY_S, Connection, Link
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.messages import Command, Limits
from exchange_ws.core.session import CLOSED, OPEN, RECONNECTING, Backoff, Pending, Session
from exchange_ws.core.timer import Timer
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ExchangeError,
    InternalError,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    WireError,
)
from exchange_ws.exchanges.whitebit.dialect import WHITEBIT
from exchange_ws.sandbox import Sandbox

QUERY = Command("query", ("it",), replay=True)
ORDER = Command("order", ("it",))
SOON = Backoff(0.01, 0.01)
LARGE = "x" * 15_000_000  # more than the kernel's buffers of both sides hold, and less than a message may have
#: Seconds in which something that does not wait is done, on a machine that has other things to do; far below `LIMIT_S`.
SOON_S = 8.0
CLOCK = SystemClock()


class Sink:
    """A subscription's place: tells what it is told, in order."""

    asks = False

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def put(self, source: object, messages: list[bytes], received_ns: int) -> float:
        for message in messages:
            self.told.put(("put", bytes(message)))
        return 0.0

    def stated(self, source: object, stated: tuple[Any, ...], received_ns: int) -> None:
        self.told.put(("stated", *sorted(topic.name for topic in stated)))

    def joined_late(self, source: object, late: tuple[Any, ...], received_ns: int) -> None:
        self.told.put(("joined late",))

    def spoiled(self, source: object, received_ns: int) -> None:
        self.told.put(("spoiled",))

    def lost(self, source: object, since_ns: int) -> None:
        self.told.put(("lost",))

    def restored(self, source: object, now_ns: int) -> None:
        self.told.put(("restored",))

    def end(self, error: ExchangeError | None) -> None:
        self.told.put(("end", type(error)))

    def hear(self, *skip: str) -> tuple[Any, ...]:
        """What it was told next, leaving out the kinds in *skip*."""
        while True:
            told = self.told.get(timeout=LIMIT_S)
            if told[0] not in skip:
                return told

    def hear_until(self, kind: str) -> list[tuple[Any, ...]]:
        """All that it is told up to the first of *kind*, each thing once."""
        told = [self.hear()]
        while told[-1][0] != kind:
            told.append(self.hear())
        return list(dict.fromkeys(told))


class Line:
    """A connection with all that it needs, and the calls that a client makes of it."""

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect = SWAP,
        backoff: Backoff | None = SOON,
        ping_interval: float = 50.0,
        pong_timeout: float = 10.0,
        timeout: float = LIMIT_S,
        max_message_size: int = 16 * 2**20,
        may_dial: Callable[[], float] = CLOCK.now,
        login: Callable[[], Command | None] | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        self.clock = clock
        self.timer = Timer(clock)
        self.states: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.session = Session(
            dialect,
            "line #1",
            limits=Limits(),
            ping_interval=ping_interval,
            pong_timeout=pong_timeout,
            reply_limit=timeout,
            backoff=backoff,
            chance=random.uniform,
        )
        self.connection = Connection(
            self.session,
            Link(url, timeout, max_message_size=max_message_size),
            clock=clock,
            timer=self.timer,
            may_dial=may_dial,
            login=login,
            on_state=lambda: self.states.put(self.connection.state),
        )

    def start(self) -> Line:
        self.connection.start()
        return self

    def opened(self) -> Line:
        """Started, and open."""
        self.start().connection.wait_open(Deadline(self.clock, LIMIT_S))
        return self

    def submit(self, command: Command, timeout: float = LIMIT_S) -> Pending:
        """*command* on its way."""
        pending = self.connection.submit(command, Deadline(self.clock, timeout))
        self.connection.push(pending)
        return pending

    def call(self, command: Command = QUERY, timeout: float = LIMIT_S) -> Any:
        """The result of *command*."""
        reply = self.connection.wait(self.submit(command, timeout))
        return None if reply is None else reply.result

    def want(self, *names: str, timeout: float = LIMIT_S) -> Sink:
        """A sink that gets these topics from now on, confirmed."""
        sink = Sink()
        pending = self.connection.want(sink, topics(*names), Deadline(self.clock, timeout))  # type: ignore[arg-type]
        self.connection.push(pending)
        self.connection.wait(pending)
        return sink

    def wait_state(self, state: str) -> None:
        """Wait until the connection says that it came to *state*."""
        while self.states.get(timeout=LIMIT_S) != state:
            pass

    def counters(self) -> Counter[str]:
        return Counter(self.connection.stats()["counters"])

    def end(self, wait: float = 1.0) -> bool:
        """Close it; whether its reader has ended in time."""
        self.connection.close(wait)
        ended = self.connection.join(SOON_S)
        self.timer.close(SOON_S)
        return ended


@pytest.fixture
def line() -> Iterator[Callable[..., Line]]:
    """Makes a `Line`, and ends it."""
    made: list[Line] = []

    def make(url: str, **options: Any) -> Line:
        made.append(Line(url, **options))
        return made[-1]

    yield make
    for one in made:
        assert one.end()


def raised(call: Callable[..., object], *arguments: Any) -> ExchangeError:
    """The error that *call* raises."""
    with pytest.raises(ExchangeError) as caught:
        call(*arguments)
    return caught.value


# Reading ---------------------------------------------------------------------------------------------------------------------


def test_first_frames_come_with_the_handshake(line):
    """Frames in the segment of the 101 are read, and a ping among them is answered."""

    def script(talk, exchange):
        exchange.told.put(talk.read_frame())
        talk.serve()

    after = frame(wire({"note": "welcome"})) + frame(b"are you there", PING)
    with Exchange(script, after=after) as peer:
        one = line(peer.address).opened()
        assert (PONG, b"are you there") == peer.hear()
        counters = one.counters()
        assert (1, 1) == (counters["messages"], counters["unknown"])


def test_close_comes_with_the_handshake(line):
    """A close frame in the segment of the 101 is a loss like any other: the next connection serves."""
    with Exchange(lambda talk, exchange: None, serve, after=closing(1013, "later")) as peer:
        one = line(peer.address).start()
        one.wait_state(RECONNECTING)
        assert ["it"] == one.call()


def test_pings_of_the_server_are_answered(line):
    """Each WebSocket ping gets its pong, with its payload, in order; also one between the fragments of a message."""

    def script(talk, exchange):
        first, second = b"\x01\x04" + b'{"no', b"\x80\x0f" + b'te":"in parts"}'
        talk.connection.send(frame(b"one", PING) + first + frame(b"two", PING) + second)
        exchange.told.put([talk.read_frame(), talk.read_frame()])
        talk.serve()

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        assert [(PONG, b"one"), (PONG, b"two")] == peer.hear()
        one.call()
        assert 1 == one.counters()["unknown"]


def test_flood_of_pings(line):
    """Of a flood of pings the latest are answered: what waits to be written is bounded."""
    pings = [str(number).encode() for number in range(10 * PONGS)]

    def script(talk, exchange):
        talk.connection.send(b"".join(frame(ping, PING) for ping in pings))
        pongs = [talk.read_frame()]
        while pongs[-1] != (PONG, pings[-1]):
            pongs.append(talk.read_frame())
        exchange.told.put([payload for _, payload in pongs])
        talk.serve()

    with Exchange(script) as peer:
        line(peer.address).opened()
        pongs = peer.hear()
    assert pongs == [ping for ping in pings if ping in pongs]
    assert pings[-PONGS:] == pongs[-PONGS:]


def test_messages_reach_their_sinks_in_order(line):
    """A burst in one segment goes to the sinks that want it, in order; what nobody wants is counted."""
    names = ["price A", "price B", "price C"]

    def script(talk, exchange):
        talk.agree(talk.ask())
        talk.agree(talk.ask())
        talk.connection.send(b"".join(frame(update(name)) for name in names * 50))
        talk.serve()

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        first = one.want("price A")
        both = one.want("price B", "price A")
        assert [("put", update("price A"))] * 50 == [first.hear("stated") for _ in range(50)]
        assert [("put", update(name)) for name in ["price A", "price B"] * 50] == [both.hear("stated") for _ in range(100)]
        assert 50 == one.counters()["unrouted"]


def test_binary_and_unreadable_messages(line):
    """What is not JSON, text or binary, is counted and drops nothing."""

    def script(talk, exchange):
        talk.connection.send(frame(b"\x00\xff\x00", 2) + frame(b'{"of":"pri') + frame(b""))
        talk.serve()

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        assert ["it"] == one.call()
        assert 3 == one.counters()["malformed"]


def test_unreadable_message_in_its_place(line):
    """Between two updates of one segment, what cannot be read is told to the sink between the two."""

    def script(talk, exchange):
        talk.agree(talk.ask())
        talk.connection.send(b"".join(frame(message) for message in (update("price A"), b"}", update("price A"))))
        talk.serve()

    with Exchange(script) as peer:
        sink = line(peer.address).opened().want("price A")
        assert ["put", "spoiled", "put"] == [sink.hear("stated")[0] for _ in range(3)]


def test_too_large_a_message(line, caplog):
    """A message above the bound ends the connection with code 1009, from its header alone; the next connection serves."""

    def script(talk, exchange):
        talk.ask()
        talk.connection.send(b"\x81\x7e\x10\x00")  # 4096 bytes will follow
        exchange.told.put(talk.read_frame())

    with Exchange(script, serve) as peer:
        one = line(peer.address, max_message_size=4095).opened()
        error = raised(one.call, ORDER)
        assert (CLOSE, 1009) == (lambda opcode, payload: (opcode, int.from_bytes(payload[:2], "big")))(*peer.hear())
        assert (ConnectionLost, True, WireError) == (type(error), error.sent, type(error.__cause__))
        assert ["it"] == one.call()


def test_broken_protocol(line):
    """A masked frame of a server ends the connection with code 1002."""

    def script(talk, exchange):
        talk.connection.send(b"\x81\x80\x00\x00\x00\x00")
        exchange.told.put(talk.read_frame())

    with Exchange(script, serve) as peer:
        line(peer.address).opened()
        assert (CLOSE, (1002).to_bytes(2, "big")) == peer.hear()


def test_close_code_and_reason_are_kept(line):
    """The peer's close is answered with its code; the waiting caller learns code and reason."""

    def script(talk, exchange):
        talk.ask()
        assert written.wait(LIMIT_S)
        talk.connection.send(closing(4321, "maintenance"))
        exchange.told.put(talk.read_frame())

    written = threading.Event()  # a writer that is held up for long is not waited for
    with Exchange(script, serve) as peer:
        one = line(peer.address).opened()
        asked = one.submit(ORDER)
        written.set()
        error = raised(one.connection.wait, asked)
        assert (CLOSE, (4321).to_bytes(2, "big")) == peer.hear()
        assert (True, 4321, "maintenance") == (error.sent, error.close_code, error.close_reason)
        assert "maintenance" in str(error)


def test_close_frame_comes_while_somebody_writes(line, monkeypatch):
    """A writer that is at work when the peer closes takes the answer to that with it."""

    def script(talk, exchange):
        talk.ask()
        talk.connection.send(closing(4321))
        exchange.told.put(talk.read_frame())

    with Exchange(script, serve) as peer:
        one = line(peer.address).opened()
        taken = one.connection._transport.write

        def slow(data: bytes, timeout: float) -> bool:
            monkeypatch.undo()
            done = taken(data, timeout)
            until = time.monotonic() + LIMIT_S
            while not one.connection._control and time.monotonic() < until:
                pass  # until the reader has put the answer there
            return done

        monkeypatch.setattr(one.connection._transport, "write", slow)
        assert ConnectionLost is type(raised(one.call, ORDER))
        assert (CLOSE, (4321).to_bytes(2, "big")) == peer.hear()


def test_end_without_a_close_frame(line):
    """The end of the stream is a loss, which the waiting caller learns at once."""

    def script(talk, exchange):
        talk.ask()

    with Exchange(script, serve) as peer:
        one = line(peer.address).opened()
        began = time.monotonic()
        error = raised(one.call, ORDER)
        assert (ConnectionLost, True, None) == (type(error), error.sent, error.close_code)
        assert time.monotonic() - began < SOON_S


def test_bug_of_a_dialect_ends_every_wait(line, caplog):
    """An error that nobody expected ends the connection: waits raise `InternalError` with it as the cause, none hangs."""

    def broken(message: bytes) -> Any:
        raise ZeroDivisionError

    with Exchange(serve) as peer:
        one = line(peer.address, dialect=attrs.evolve(SWAP, decode=broken)).opened()
        lost = raised(one.call)
        assert (ConnectionLost, True, InternalError) == (type(lost), lost.sent, type(lost.__cause__))
        error = raised(one.call)
        assert (InternalError, ZeroDivisionError, CLOSED) == (type(error), type(error.__cause__), one.connection.state)


# Writing ---------------------------------------------------------------------------------------------------------------------


def test_many_threads(line):
    """Threads that call at once each get the answer to their own command."""

    def caller(number: int) -> None:
        barrier.wait(LIMIT_S)
        for turn in range(20):
            asked = f"{number}/{turn}"
            got.put((asked, one.call(Command("query", (asked,), replay=True))))

    got: queue.SimpleQueue[tuple[str, list[str]]] = queue.SimpleQueue()
    barrier = threading.Barrier(20)
    with Exchange(serve) as peer:
        one = line(peer.address).opened()
        threads = [threading.Thread(target=caller, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        answers = [got.get(timeout=LIMIT_S) for _ in range(400)]
        for thread in threads:
            thread.join(LIMIT_S)
    assert [] == [pair for pair in answers if [pair[0]] != pair[1]]


def test_answer_comes_with_the_next_segment_cut_anywhere(line):
    """Answers that arrive byte by byte are whole when they are handed over."""

    def script(talk, exchange):
        while True:
            request = talk.ask()
            for byte in frame(wire({"id": request["id"], "ok": True, "result": request["params"]})):
                talk.connection.send(bytes([byte]))

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        assert [["it"]] * 3 == [one.call() for _ in range(3)]


def test_peer_that_stops_reading_does_not_stop_us_from_reading(line):
    """While a peer reads nothing, what it says is delivered; when it reads again, it gets all of what was said, once."""
    written, read_on = threading.Event(), threading.Event()

    def script(talk, exchange):
        talk.agree(talk.ask())
        assert written.wait(LIMIT_S)
        for _ in range(100):
            talk.say(update("price A"))
        assert read_on.wait(LIMIT_S)
        talk.serve()

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        sink = one.want("price A")
        large = one.submit(Command("query", (LARGE,), replay=True))
        small = one.submit(QUERY)
        written.set()
        assert [("put", update("price A"))] * 100 == [sink.hear("stated") for _ in range(100)]
        assert not small.settled
        read_on.set()
        assert len(LARGE) == len(one.connection.wait(large).result[0])
        assert ["it"] == one.connection.wait(small).result


def test_timer_does_not_spin_while_the_peer_reads_nothing(line):
    """What a peer does not take is tried again after a pause, whatever else waits to be said."""

    def script(talk, exchange):
        talk.connection.hold()

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        for _ in range(2):
            one.submit(Command("query", (LARGE,), replay=True))
        began = CLOCK.now()
        assert began + STUCK_RETRY_S <= one.connection.tick()


def test_peer_that_reads_nothing_for_too_long_is_given_up(line):
    """After the time that a dial may take, a peer that reads nothing is lost."""
    with Exchange(hold) as peer:
        one = line(peer.address, backoff=None).opened()
        with hurried(one.connection, write=0.3):
            error = raised(one.call, Command("order", (LARGE,)), LIMIT_S)
        assert (ConnectionLost, True) == (type(error), error.sent)
        assert "read nothing" in str(error)


def test_interrupted_write_does_not_end_all_writes(line, monkeypatch):
    """
    Ctrl-C in the middle of a write: it may have left half a frame, so the connection is made again; then all goes on.
    """
    with Exchange(serve) as peer:
        one = line(peer.address).opened()
        transport = one.connection._transport
        taken = transport.write

        def interrupted(data: bytes, timeout: float) -> bool:
            done = taken(data, timeout)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return done

        def call_often() -> None:
            for _ in range(100):  # the timer may be quicker with the first ones
                one.call()

        monkeypatch.setattr(transport, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call_often()
        one.wait_state(RECONNECTING)
        assert ["it"] == one.call()
        assert 2 == peer.dials


def test_writer_of_a_lost_link_goes_on_with_the_next_one(line, monkeypatch):
    """
    A writer is held up until its link is lost and the next one stands; what others left to it meanwhile is not forgotten.
    """
    held, go_on = threading.Event(), threading.Event()
    end = threading.Event()

    def script(talk, exchange):
        assert end.wait(LIMIT_S)

    with Exchange(script, serve) as peer:
        one = line(peer.address).opened()

        def slow(data: bytes, timeout: float) -> bool:
            held.set()
            assert go_on.wait(LIMIT_S)
            raise ConnectionResetError

        monkeypatch.setattr(one.connection._transport, "write", slow)
        writer = threading.Thread(target=one.submit, args=(ORDER,))
        writer.start()
        assert held.wait(LIMIT_S)
        end.set()
        one.wait_state(RECONNECTING)
        one.wait_state(OPEN)
        one.timer.close(SOON_S)  # which would come by again, later
        pending = one.connection.submit(QUERY, Deadline(CLOCK, LIMIT_S))
        one.connection.drain()  # the writer will take it
        go_on.set()
        assert ["it"] == one.connection.wait(pending).result
        writer.join(LIMIT_S)


# Heartbeat -------------------------------------------------------------------------------------------------------------------


def test_heartbeat_counts_from_our_last_message(line):
    """Our ping comes when we said nothing for its interval, also while updates flow in all the time."""
    interval = 0.3

    def script(talk, exchange):
        while (request := talk.ask())["method"] == "ping":  # who was to subscribe was held up
            talk.agree(request)
        talk.agree(request)
        talk.connection.socket.settimeout(0.01)
        while True:
            talk.say(update("price A"))
            try:
                data = talk.connection.recv()
            except TimeoutError:
                continue
            except OSError as error:  # socket.timeout is no TimeoutError before Python 3.10
                if "timed out" in str(error):
                    continue
                raise
            talk.connection._buffer = data
            exchange.told.put((talk.ask()["method"], time.monotonic()))
            return

    with Exchange(script, serve) as peer:
        one = line(peer.address, ping_interval=interval).opened()
        since = time.monotonic()
        one.want("price A")
        method, heard = peer.hear()
    assert "ping" == method
    assert interval <= heard - since < SOON_S


def test_silent_peer_is_found_by_its_pong(line):
    """A half-open link looks alive: only the missing pong tells. Callers learn it, and the next connection serves."""
    with Exchange(mute, serve) as peer:
        one = line(peer.address).opened()
        with hurried(one.connection, ping_interval=0.1, pong_timeout=0.2):
            error = raised(one.call, ORDER)
        assert (ConnectionLost, True) == (type(error), error.sent)
        assert "no pong" in str(error)
        assert ["it"] == one.call()
        assert 1 == one.counters()["reconnects"]


def test_idle_connection_is_kept():
    """Against an exchange that closes idle connections, the heartbeat keeps one open."""
    with Sandbox("whitebit", idle=2.0, tick=None) as box:  # longer than a busy machine may hold a thread up
        one = Line(box.url, dialect=WHITEBIT, ping_interval=0.3).opened()
        try:
            assert 8 <= len(box.wait_received("ping", 8))
            assert (OPEN, 0, 1) == (one.connection.state, one.counters()["reconnects"], box.connections)
        finally:
            assert one.end()


class Woken(SystemClock):
    """The machine's clocks, set ahead by a test: the wall's alone, as after a sleep on Linux, or both."""

    def __init__(self) -> None:
        self.slept = 0.0  # seconds by the wall's clock; replaced by the test, read by any thread
        self.jumped = 0.0  # and by the monotonic one

    def now(self) -> float:
        return super().now() + self.jumped

    def time_ns(self) -> int:
        return super().time_ns() + int(self.slept * 1e9)


@pytest.mark.parametrize("jumped", [0.0, 3600.0])
def test_link_that_outlived_a_sleep(line, jumped):
    """After a sleep the link is pinged at once, long before the heartbeat is due; it lives, and nothing else happens."""
    clock = Woken()

    def script(talk, exchange):
        while True:
            request = talk.ask()
            exchange.told.put(request["method"])
            talk.agree(request, ["it"])

    with Exchange(script) as peer:
        one = line(peer.address, ping_interval=7200.0, clock=clock).opened()
        one.call()
        clock.slept, clock.jumped = 3600.0, jumped
        one.timer.schedule(one.connection, 0.0)  # whatever makes the timer look; it does so by itself every few seconds
        assert ["query", "ping"] == [peer.hear(), peer.hear()]
        assert (["it"], 0) == (one.call(), one.counters()["reconnects"])


def test_link_that_died_in_a_sleep(line):
    """The ping after a sleep is not answered: the link is lost after the pong's time, not after the heartbeat's."""
    clock = Woken()

    def script(talk, exchange):
        talk.agree(talk.ask())
        mute(talk, exchange)

    with Exchange(script, serve) as peer:
        one = line(peer.address, ping_interval=7200.0, clock=clock).opened()
        one.call()
        clock.slept = 3600.0
        with hurried(one.connection, pong_timeout=0.2):  # which makes the timer look, too
            one.wait_state(RECONNECTING)
        one.wait_state(OPEN)
        assert ["it"] == one.call()


def test_pong_that_waits_in_the_buffer_after_a_jump(line):
    """The pong came while the process stood still: it is read, and not judged late by whoever looks at the clock first."""
    clock = Woken()
    woken = threading.Event()

    def script(talk, exchange):
        ping = talk.ask()
        exchange.told.put(ping["method"])
        assert woken.wait(LIMIT_S)
        talk.agree(ping)
        talk.serve()

    with Exchange(script) as peer:
        one = line(peer.address, ping_interval=0.05, clock=clock).opened()
        assert "ping" == peer.hear()
        clock.slept = clock.jumped = 3600.0
        one.connection.tick()
        woken.set()
        assert (["it"], 0) == (one.call(), one.counters()["reconnects"])


@pytest.mark.parametrize("hours", [-5, 5])
def test_clock_of_the_wall_is_set(line, hours):
    """Set by hours, back or ahead, it costs no connection and moves no deadline: those are the other clock's."""
    clock = Woken()

    def script(talk, exchange):
        while True:
            request = talk.ask()
            if request["method"] != "order":
                talk.agree(request, ["it"])

    with Exchange(script) as peer:
        one = line(peer.address, clock=clock).opened()
        one.call()
        clock.slept = hours * 3600.0
        assert RequestTimeout is type(raised(one.call, ORDER, 0.05))
        assert (["it"], 0) == (one.call(), one.counters()["reconnects"])


# Loss and return -------------------------------------------------------------------------------------------------------------


def test_topics_are_stated_again(line):
    """After a loss the sinks are told, the topics stated together, and the end of the gap told when they are confirmed."""

    def script(talk, exchange):
        for _ in range(2):
            talk.agree(talk.ask())

    def again(talk, exchange):
        request = talk.ask()
        exchange.told.put((request["method"], request["params"]))
        talk.say(update("price A"))
        talk.agree(request)
        talk.serve()

    with Exchange(script, again) as peer:
        one = line(peer.address).opened()
        sink = one.want("price A")
        one.want("price B")
        assert ("price_subscribe", ["A", "B"]) == peer.hear()
        expected = [("stated", "price A"), ("lost",), ("put", update("price A")), ("stated", "price A"), ("restored",)]
        told = [sink.hear() for _ in range(6)]
        assert expected == [one for number, one in enumerate(told) if number != 1]  # stated again with B


class Meanwhile(Sink):
    """Does something while it is told of a loss, once, as another thread may do at that moment."""

    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__()
        self._does: list[Callable[[], object]] = [does]

    def lost(self, source: object, since_ns: int) -> None:
        super().lost(source, since_ns)
        while self._does:
            self._does.pop()()


class Leaver(Sink):
    """Tells, too, that it was told to have left."""

    def left(self, source: object) -> None:
        self.told.put(("left",))


def test_who_subscribes_while_a_loss_is_told(line):
    """A topic that is believed to flow is confirmed at once; what is missed of it is a gap for the newcomer too."""
    newcomer, deadline = Sink(), Deadline(CLOCK, LIMIT_S)
    with Exchange(lambda talk, exchange: talk.agree(talk.ask()), serve) as peer:
        one = line(peer.address)
        first = Meanwhile(lambda: one.connection.want(newcomer, topics("price A"), deadline))
        one.connection.want(first, topics("price A"), deadline)
        one.opened()
        assert [("lost",), ("stated", "price A"), ("restored",)] == [newcomer.hear() for _ in range(3)]


def test_who_leaves_while_a_loss_is_told(line):
    """Whoever was told of the loss after having left is told again that nothing is missed any more."""
    leaver, deadline = Leaver(), Deadline(CLOCK, LIMIT_S)
    with Exchange(lambda talk, exchange: talk.agree(talk.ask()), serve) as peer:
        one = line(peer.address)
        first = Meanwhile(lambda: one.connection.unwant(leaver, topics("price A"), deadline))
        for sink in (first, leaver):
            one.connection.want(sink, topics("price A"), deadline)
        one.opened()
        assert [("lost",), ("left",)] == [leaver.hear("stated", "restored") for _ in range(2)]


def test_calls_of_a_loss(line):
    """A loss ends at once what was sent; a query that waits goes to the next connection, an order is not kept for it."""
    end = threading.Event()

    def script(talk, exchange):
        talk.ask()
        exchange.told.put("asked")

    def again(talk, exchange):
        assert end.wait(LIMIT_S)
        talk.serve()

    places = queue.SimpleQueue()

    def may_dial() -> float:
        """The second dial waits until the test lets it."""
        return places.get() if not places.empty() else CLOCK.now() + 0.01

    places.put(0.0)
    with Exchange(script, again) as peer:
        one = line(peer.address, may_dial=may_dial).opened()
        sent = one.submit(ORDER)
        assert "asked" == peer.hear()
        lost = raised(one.connection.wait, sent)
        one.wait_state(RECONNECTING)
        waits = one.submit(QUERY)
        kept_from = raised(one.call, ORDER)
        assert not waits.settled
        places.put(0.0)
        end.set()
        assert ["it"] == one.connection.wait(waits).result
    assert [(ConnectionLost, True), (ConnectionLost, False)] == [(type(error), error.sent) for error in (lost, kept_from)]


def test_connection_that_the_exchange_wants_replaced(line):
    """What is under way has its answer; an order that comes meanwhile, or while the next link is made, goes there, once."""
    went_on = threading.Event()

    def script(talk, exchange):
        first, second = talk.ask(), talk.ask()
        talk.say({"id": first["id"], "ok": False, "error": {"message": "restarting", "renew": True}})
        assert went_on.wait(LIMIT_S)
        talk.agree(second, "the last")
        with pytest.raises(EOFError):
            talk.ask()
        exchange.told.put("nothing more was said")

    places = queue.SimpleQueue()
    places.put(0.0)

    def may_dial() -> float:
        """The second dial waits until the test lets it."""
        return places.get() if not places.empty() else CLOCK.now() + 0.01

    with Exchange(script, serve) as peer:
        one = line(peer.address, may_dial=may_dial).opened()
        first, second = one.submit(ORDER), one.submit(ORDER)
        error = raised(one.connection.wait, first)
        waits = [one.submit(ORDER)]
        went_on.set()
        assert "the last" == one.connection.wait(second).result
        assert "nothing more was said" == peer.hear()
        one.wait_state(RECONNECTING)
        waits.append(one.submit(ORDER))
        places.put(0.0)
        assert [["it"], ["it"]] == [one.connection.wait(pending).result for pending in waits]
    assert ({"method": "order", "params": ["it"]}, 2) == (error.request, peer.dials)


def test_connection_to_be_replaced_that_owes_an_answer(line, monkeypatch):
    """The answer that does not come is waited for as long as the session says, without anybody's turn: the timer ends it."""
    monkeypatch.setattr(session_module, "RENEW_WAIT_S", 0.1)
    left = threading.Event()

    def script(talk, exchange):
        first = talk.ask()
        talk.ask()
        talk.say({"id": first["id"], "ok": False, "error": {"message": "restarting", "renew": True}})
        assert left.wait(LIMIT_S)

    with Exchange(script, serve) as peer:
        one = line(peer.address).opened()
        first, second = one.submit(ORDER), one.submit(ORDER)
        errors = [raised(one.connection.wait, pending) for pending in (first, second)]
        left.set()
        assert [(RequestRejected, None), (ConnectionLost, True)] == [
            (type(error), getattr(error, "sent", None)) for error in errors
        ]
        assert ["it"] == one.call()


def test_retry_after(line):
    """A handshake that is refused with `Retry-After` is not tried again before that."""
    moments: list[float] = []

    def script(connection):
        request = connection.head()
        moments.append(time.monotonic())
        if len(moments) == 2:
            connection.send(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            return
        connection.accept(request=request)
        if len(moments) == 3:
            Talk(connection).serve()

    with Peer(script) as peer:
        one = line(peer.url(host="127.0.0.1")).opened()
        one.wait_state(RECONNECTING)
        one.wait_state(OPEN)
        assert ["it"] == one.call()
    assert 1.0 <= moments[2] - moments[1] < 1.0 + SOON_S


@pytest.mark.parametrize(
    ("error", "least"),
    [
        (RateLimited("too many tokens", retry_after_s=7.0), 7.0),
        (RateLimited("too many tokens"), 10.0),
        (ConnectFailed("too many", status=429), 10.0),
        (ConnectFailed("not now", status=503, retry_after_s=7.0), 7.0),
        (ConnectFailed("not now", status=503), 0.0),
    ],
)
def test_retry_after_of_a_login(line, error, least):
    """What REST asks us to wait holds for the next login too; after a "too many" without a number, these are 10 s."""
    turns = iter([LOGIN_COMMAND, error, LOGIN_COMMAND])

    def login() -> Command:
        turn = next(turns)
        if isinstance(turn, ExchangeError):
            raise turn
        return turn

    def script(talk, exchange):
        talk.agree(talk.ask())

    with Exchange(script, hold) as peer, Log() as log:
        line(peer.address, login=login).start()
        assert log.wait("the login could not be made").endswith(f"; next try in {least:.1f} s")


def test_gives_up(line):
    """Without a connection for the time that was allowed, everything ends with `ConnectFailed` and its cause."""

    def script(connection):
        if connection is not None and not peer_done.is_set():
            peer_done.set()
            connection.accept()
            talk = Talk(connection)
            talk.agree(talk.ask())

    peer_done = threading.Event()
    with Peer(script) as peer:
        one = line(peer.url(host="127.0.0.1"), backoff=Backoff(0.01, 0.01, give_up_after=0.2)).opened()
        sink = one.want("price A")
        assert [("stated", "price A"), ("lost",), ("end", ConnectFailed)] == sink.hear_until("end")
        error = raised(one.call)
        assert (ConnectFailed, ConnectFailed) == (type(error), type(error.__cause__))
        assert "gave up" in str(error)
        assert CLOSED == one.connection.state


def test_no_reconnect(line):
    """With `reconnect=False` the first loss is the end."""

    def script(talk, exchange):
        talk.ask()

    with Exchange(script) as peer:
        one = line(peer.address, backoff=None).opened()
        assert [ConnectionLost, ConnectionLost] == [type(raised(one.call)), type(raised(one.call))]
        assert (CLOSED, 1) == (one.connection.state, peer.dials)


def test_first_dial_that_fails(line):
    """The first dial is not repeated: who waits for it gets `ConnectFailed`, at once."""
    with Exchange(serve) as peer:
        url = peer.address
    one = line(url).start()
    errors = [raised(one.connection.wait_open, Deadline(CLOCK, LIMIT_S)), raised(one.call)]
    assert [ConnectFailed, ConnectFailed] == [type(error) for error in errors]


def test_states_are_told(line):
    """Each new state is told once, in order."""
    with Exchange(lambda talk, exchange: talk.ask(), serve) as peer:
        one = line(peer.address).opened()
        raised(one.call, ORDER)
        one.wait_state(RECONNECTING)
        one.wait_state(OPEN)
        one.end()
    assert CLOSED == one.states.get(timeout=LIMIT_S)
    assert one.states.empty()


# Login -----------------------------------------------------------------------------------------------------------------------


def test_login_goes_first(line):
    """The login is made anew for each connection, and said before all else."""
    made = iter(range(10))

    def script(talk, exchange):
        for _ in range(2):
            request = talk.ask()
            exchange.told.put(request["method"])
            talk.agree(request, "done")

    def login() -> Command:
        return attrs.evolve(LOGIN_COMMAND, args=(next(made),))

    def again(talk, exchange):
        exchange.told.put(talk.ask()["params"])

    with Exchange(script, again) as peer:
        one = line(peer.address, login=login).start()
        assert "done" == one.call()
        assert ["login", "query", [1]] == [peer.hear() for _ in range(3)]


def test_login_that_is_refused(line, caplog):
    """A refused login ends the connection for good with `AuthenticationError`, which tells no secret."""

    def script(talk, exchange):
        talk.say({"id": talk.ask()["id"], "ok": False, "error": {"message": "bad token", "code": 1}})
        mute(talk, exchange)

    with Exchange(script) as peer, caplog.at_level(logging.DEBUG):
        one = line(peer.address, login=lambda: attrs.evolve(LOGIN_COMMAND, args=("s3cret",))).start()
        error = raised(one.connection.wait_open, Deadline(CLOCK, LIMIT_S))
        assert (AuthenticationError, CLOSED, 1) == (type(error), one.connection.state, peer.dials)
    assert "s3cret" not in f"{error} {error.request} {one.connection!r} {caplog.text}"


@pytest.mark.parametrize(
    ("error", "expected", "cause"),
    [
        (AuthenticationError("the token was refused"), AuthenticationError, None),
        (OSError("no token today"), ConnectFailed, OSError),
    ],
    ids=["no", "trouble"],
)
def test_login_that_cannot_be_made(line, error, expected, cause):
    """A login that was refused before it could be said ends everything; other trouble fails this connection only."""

    def login() -> Command:
        raise error

    with Exchange(serve) as peer:
        one = line(peer.address, login=login).start()
        found = raised(one.connection.wait_open, Deadline(CLOCK, LIMIT_S))
    assert (expected, cause) == (type(found), None if found.__cause__ is None else type(found.__cause__))


def test_trouble_with_a_later_login_is_tried_again(line, caplog):
    """Once it was open, a login that cannot be made just now is made again, as a dial is."""
    turns = iter([LOGIN_COMMAND, OSError("no token today"), LOGIN_COMMAND])

    def login() -> Command:
        turn = next(turns)
        if isinstance(turn, OSError):
            raise turn
        return turn

    def script(talk, exchange):
        talk.agree(talk.ask())

    with Exchange(script, serve) as peer:
        one = line(peer.address, login=login).opened()
        one.wait_state(RECONNECTING)
        assert ["it"] == one.call()
        assert [] == list(turns)


def test_close_during_the_login(line, caplog):
    """Closed while a login is being made: the link that stands already is given back, and nothing is taken for a bug."""
    asked, go_on = threading.Event(), threading.Event()

    def login() -> Command:
        asked.set()
        assert go_on.wait(LIMIT_S)
        return LOGIN_COMMAND

    def script(talk, exchange):
        try:
            exchange.told.put(talk.read_frame())
        except EOFError:
            exchange.told.put("gone")

    with Exchange(script) as peer:
        one = line(peer.address, login=login).start()
        assert asked.wait(LIMIT_S)
        one.connection.close(1.0)
        go_on.set()
        assert one.connection.join(SOON_S)
        assert "gone" == peer.hear()
    assert [] == [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# Close -----------------------------------------------------------------------------------------------------------------------


def test_close_says_goodbye(line):
    """Closing says 1000 and waits for the answer; waits end with `ConnectionClosed`, at once."""

    def script(talk, exchange):
        talk.ask()
        exchange.told.put("asked")
        exchange.told.put(talk.read_frame())
        talk.connection.send(closing(1000))

    with Exchange(script) as peer:
        one = line(peer.address).opened()
        pending = one.submit(ORDER)
        assert "asked" == peer.hear()
        began = time.monotonic()
        assert one.end(wait=LIMIT_S)
        assert time.monotonic() - began < SOON_S
        assert (CLOSE, (1000).to_bytes(2, "big")) == peer.hear()
        assert ConnectionClosed is type(raised(one.connection.wait, pending))
        assert ConnectionClosed is type(raised(one.call))


@pytest.mark.parametrize("large", [False, True], ids=["idle", "unsent bytes"])
def test_close_of_a_peer_that_does_not_read(line, large):
    """A peer that neither reads nor answers is cut off after the wait, also with unsent bytes before our goodbye."""
    with Exchange(hold) as peer:
        one = line(peer.address).opened()
        if large:
            one.submit(Command("query", (LARGE,), replay=True))
        began = time.monotonic()
        assert one.end(wait=0.3)
        assert 0.3 <= time.monotonic() - began < SOON_S


def test_close_during_the_dial(line):
    """A dial that waits for a silent peer ends at once."""
    with Peer(lambda connection: connection.hold()) as peer:
        one = line(peer.url(host="127.0.0.1")).start()
        assert peer.arrived.wait(LIMIT_S)
        began = time.monotonic()
        assert one.end()
        assert time.monotonic() - began < SOON_S


def test_close_during_the_wait_for_a_dial(line):
    """A connection that waits for its next dial ends at once."""
    with Exchange(serve) as peer:
        one = line(peer.address, may_dial=lambda: CLOCK.now() + 100.0).start()
        assert one.end()
        assert (CLOSED, 0) == (one.connection.state, peer.dials)


def test_close_from_many_threads(line):
    """Closing at once from several threads, and again, is one close."""
    with Exchange(serve) as peer:
        one = line(peer.address).opened()
        threads = [threading.Thread(target=one.end) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        assert (True, CLOSED) == (one.end(), one.connection.state)


def test_wait_without_a_timer(line, monkeypatch):
    """Should the timer be dead, a wait ends all the same, and says that this is a bug."""
    monkeypatch.setattr(connection_module, "GRACE_S", 0.1)
    with Exchange(mute) as peer:
        one = line(peer.address).opened()
        one.timer.close(SOON_S)
        assert InternalError is type(raised(one.call, QUERY, 0.1))


def test_wait_after_the_process_was_stopped(line):
    """Who wakes long after his deadline, before the timer had its turn, is not told that the timer is dead."""
    clock = HeldClock()
    one = line("ws://127.0.0.1:1/", clock=clock, may_dial=lambda: clock.now() + LIMIT_S).start()
    clock.until_waited(1)
    pending = one.connection.submit(QUERY, Deadline(clock, 5.0))
    caller = Aside(one.connection.wait, pending)
    clock.until_waited(2)
    waits = clock.waits
    clock.move(clock.now() + 3600.0)
    clock.until_waited(waits + 2)
    one.connection.tick()
    assert RequestTimeout is type(raised(caller.result))


# What it says of itself ------------------------------------------------------------------------------------------------------


def test_repr_says_state_and_step(line):
    """The repr has name, state and step; a link's has neither headers nor the proxy, which may be secret."""
    link = Link("ws://127.0.0.1:1/", 1.0, {"Authorization": "s3cret"}, proxy="http://me:s3cret@127.0.0.1:1")
    assert "s3cret" not in repr(link)
    one = line("ws://127.0.0.1:1/", may_dial=lambda: CLOCK.now() + 100.0).start()
    assert "<Connection line #1: connecting (waiting)>" == repr(one.connection)


def test_stats(line):
    """Counters of messages, bytes and requests, and the round trips of what was answered."""
    with Exchange(serve) as peer:
        one = line(peer.address).opened()
        for _ in range(3):
            one.call()
        stats = one.connection.stats()
    assert (3, 3) == (stats["counters"]["messages"], stats["counters"]["requests"])
    answers = [frame(wire({"id": number, "ok": True, "result": ["it"]})) for number in (1, 2, 3)]
    assert sum(map(len, answers)) == stats["counters"]["bytes"]
    assert 3 == len(stats["round_trips"])
    assert all(0.0 <= seconds < SOON_S for seconds in stats["round_trips"])


def test_sandbox_serves(line):
    """Over the sandbox, with a real dialect, in fragments byte by byte."""
    with Sandbox("whitebit", tick=None, limits=False) as box:
        box.split()
        one = line(box.url, dialect=WHITEBIT).opened()
        assert "pong" == one.call(Command("ping", replay=True))
        assert json.dumps(box.markets.now_us // 1_000_000) == json.dumps(one.call(Command("time", replay=True)))
        assert one.end()
