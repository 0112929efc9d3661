"""One WebSocket connection and the threads that serve it."""

from __future__ import annotations

import copy
import logging
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from exchange_ws.clock import Clock, Deadline, Latch
from exchange_ws.core.dialect import Head
from exchange_ws.core.errand import join
from exchange_ws.core.messages import Command, Reply, Topic
from exchange_ws.core.session import CLOSED, OPEN, Decisions, Pending, Session
from exchange_ws.core.timer import Timer
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ExchangeError,
    InternalError,
    RateLimited,
    WireError,
)
from exchange_ws.wire.frames import PING, PONG, FrameReader, encode_close, encode_frame
from exchange_ws.wire.transport import Transport, Waker, dial

if TYPE_CHECKING:
    import ssl

    from exchange_ws.core.recording import Tap
    from exchange_ws.core.subscription import Subscription

__all__ = ["Connection", "Link"]

log = logging.getLogger(__name__)

GRACE_S = 5.0  # beyond its deadline, for the timer to settle a wait; longer, and the timer must be dead
STUCK_RETRY_S = 0.05  # between two tries to write to a peer that does not read: rare, and short beside any deadline
FAREWELL_S = 1.0  # for a writer that is at work to take our last frame: microseconds, unless it waits for the processor
TOO_MANY_S = 10.0  # after HTTP 429 without a `Retry-After`: enough for the windows of all exchanges that count in seconds
BUSY = 8  # messages of one read, from which on it pays to look at how most of them begin
NO_HEAD = Head(b"", 0, 0, b"{", b"")  # fits nothing
PONGS = 64  # waiting to be written; a peer that pings faster than it reads gets the latest ones [RFC 6455, section 5.5.3]


@attrs.frozen
class Link:
    """Where to dial, and how."""

    url: str
    timeout: float  #: seconds for name, TCP, proxy, TLS and handshake together
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    proxy: str | None = attrs.field(default=None, repr=False)
    context: ssl.SSLContext | None = None
    max_message_size: int = 16 * 2**20


class Connection:
    """
    One WebSocket connection and the threads that serve it.

    Threads: *callers* register under `_lock` and wait outside it; one *reader* dials, logs in, reads, and alone closes the
    socket; it never waits to write. The client's *timer* ticks, and never waits on a socket. Callers and timer drain the
    outbox, one at a time.

    Lock order: the client's, `_lock`, then one leaf (a subscription's, the timer's, the transport's).

    A thread that waits holds neither the client nor a subscription, or these would live as long as it does: the session's sinks
    are weak references to subscriptions (the same object for the same one), and what belongs to the client is given to this as
    functions that hold it weakly.
    """

    def __init__(
        self,
        session: Session,
        link: Link,
        *,
        clock: Clock,
        timer: Timer,
        may_dial: Callable[[], float],
        login: Callable[[], Command | None] | None = None,
        explain: Callable[[AuthenticationError], AuthenticationError] | None = None,
        on_state: Callable[[], None] = lambda: None,
        tap: Tap | None = None,
    ) -> None:
        self.name = session.name
        self._link = link
        self._clock = clock
        self._timer = timer
        self._may_dial = may_dial  # takes a place in the dial budget, or says when there is one; any thread
        self._login = login  # called by the reader with no lock held: it may do REST
        self._explain = explain  # the same
        self._on_state = on_state
        self._tap = session.witness = tap  # told under _lock what is recorded; None: nothing is
        self._write_limit = link.timeout
        self._lock = threading.Lock()  # dictionary work only: no I/O, no user code
        self._changed = threading.Condition(self._lock)  # session.state changed, or nobody writes any more, see _leaving
        self._session = session  # guarded by _lock; its `routes` are read by the reader without
        self._control: deque[bytes] = deque(maxlen=PONGS)  # guarded by _lock: whole frames, before what the session says
        self._writing = 0  # guarded by _lock; the ident of the thread that is draining the outbox, 0 for none
        self._leaving = False  # guarded by _lock; True: the reader waits until nobody writes
        self._torn = False  # the writer's; True: interrupted here, half a frame may be out, and what was taken is lost
        self._stuck_since = math.inf  # guarded by _lock; when the peer was first seen not to read
        self._transport: Transport | None = None  # set by the reader under _lock; a writer uses the one that it took there
        self._heard_ns = clock.time_ns()  # reader only: when bytes came last
        self._head = NO_HEAD  # reader only: how most messages begin
        self.used_at = clock.now()  # guarded by _lock: when a caller asked for something last
        self._waker = Waker()
        self._reader = threading.Thread(target=self._run, name=f"exchange-ws {session.name}", daemon=True)

    # Callers --------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start to dial. Once."""
        self._reader.start()

    @property
    def state(self) -> str:
        """The session's: "connecting", "open", "reconnecting" or "closed"."""
        return self._session.state

    @property
    def ever_open(self) -> bool:
        """Whether it was open at any time."""
        return self._session.ever_open

    @property
    def was_admitted(self) -> bool:
        """Whether it was not a refused login that ended it."""
        return not isinstance(self._session.error, AuthenticationError)

    @property
    def step(self) -> str:
        """What "connecting" and "reconnecting" are at."""
        return self._session.step

    @property
    def aliases(self) -> Mapping[bytes, tuple[Topic, ...]]:
        """The topics that come under each id that the exchange gave; replaced, never mutated."""
        return self._session.aliases

    @property
    def busy(self) -> bool:
        """Whether anything is wanted of this connection."""
        with self._lock:
            return self._session.busy

    def headroom(self) -> int:
        """How many calls could be said now without a wait for the request budget."""
        with self._lock:
            return self._session.headroom(self._clock.now())

    def room_at(self) -> float:
        """The moment (the clock's) at which one more thing could be said."""
        with self._lock:
            return self._session.room_at(self._clock.now())

    def holds(self, topic: Topic) -> bool:
        """Whether *topic* is wanted here, or perhaps still on the wire."""
        with self._lock:
            return self._session.holds(topic)

    def held(self, channel: str | None = None) -> frozenset[Topic]:
        """Topics wanted here, or perhaps still on the wire; those of *channel*, all if None."""
        with self._lock:
            return self._session.held(channel)

    @property
    def load(self) -> tuple[int, int]:
        """Of topics wanted here, or perhaps still on the wire, the number and the characters, as a session has them."""
        with self._lock:
            return self._session.topics, self._session.characters

    def ids(self, topics: Iterable[Topic]) -> tuple[str, ...]:
        """The ids that the exchange gave to *topics*."""
        with self._lock:
            return self._session.ids(topics)

    def wanted(self, sink: Subscription, topics: Iterable[Topic] | None = None) -> frozenset[Topic]:
        """Those of *topics* that *sink* wants here, as the session has it."""
        with self._lock:
            return self._session.wanted(weakref.ref(sink), topics)

    def submit(self, command: Command, deadline: Deadline) -> Pending:
        """Register *command*; `push` lets it leave."""
        with self._lock:
            return self._used(self._session.submit(command, self._clock.now(), deadline.at))

    def want(self, sink: Subscription, topics: frozenset[Topic], deadline: Deadline) -> Pending:
        """Deliver *topics* to *sink*; `push` lets them be stated."""
        with self._lock:
            reference = weakref.ref(sink)
            if self._tap is not None:
                self._tap.wants(sink, topics, deadline.remaining())
            return self._used(self._session.want(reference, topics, self._clock.now(), deadline.at, asks=sink.asks))

    def unwant(self, sink: Subscription, topics: frozenset[Topic], deadline: Deadline) -> Pending:
        """Deliver *topics* to *sink* no more; `push` lets it be said."""
        with self._lock:
            if self._tap is not None:
                self._tap.unwants(sink, topics)
            return self._used(self._session.unwant(weakref.ref(sink), topics, self._clock.now(), deadline.at))

    def restate(self, topics: frozenset[Topic]) -> None:
        """Have *topics* stated again, soon, for their snapshots. Neither writes nor waits."""
        with self._lock:
            if self._tap is not None:
                self._tap.restates(topics)
            self._session.restate(topics)
        self.nudge()

    def _used(self, pending: Pending) -> Pending:
        """Requires `_lock`. Makes *pending* one that can be waited for."""
        self.used_at = self._clock.now()
        pending.ready = Latch()
        return pending

    def push(self, pending: Pending) -> None:
        """Let what was registered leave, as far as it may. With no lock held."""
        self._act()
        self.drain()
        self._timer.schedule(self, pending.deadline)  # meanwhile it is on its way

    def nudge(self) -> None:
        """Have the timer do what `push` does, soon: for threads that must not write."""
        self._timer.schedule(self, self._clock.now())

    def wait(self, pending: Pending) -> Reply | None:
        """Wait until *pending* is settled; raises its error."""
        ready: Latch = pending.ready
        end, over = pending.deadline, False
        while not pending.settled:
            now = self._clock.now()
            if now >= end:
                if over:
                    raise InternalError(f"{self.name}: a wait was not ended at its deadline; please report this")
                # The grace begins when we see that the deadline is over. The process may have been stopped until long after
                # it; then the timer, which could not settle this either, may come to its turn after us.
                end, over = now + GRACE_S, True
            self._clock.wait(ready, None if end == math.inf else end - now)
        if pending.error is not None:
            error = copy.copy(pending.error)  # one error may have ended several waits, each raised with its own traceback
            raise error from pending.error.__cause__
        return pending.reply

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until the state is open; raises what ended it, `ConnectFailed` at the deadline."""
        with self._lock:
            while self._session.state != OPEN:
                if self._session.state == CLOSED:
                    error = self._session.error or ConnectionClosed(f"{self.name}: closed")
                    raise copy.copy(error) from error.__cause__
                left = deadline.remaining()
                if left == 0.0:
                    raise ConnectFailed(f"{self.name}: not connected in time ({self._session.state}: {self._session.step})")
                self._clock.wait(self._changed, left)

    def close(self, wait: float) -> None:
        """Begin to close: every wait ends now; the peer has *wait* seconds to say goodbye; `join` waits for the reader."""
        with self._lock:
            if self._tap is not None and self._session.state != CLOSED:
                self._tap.closed()
            self._session.close(self._clock.now(), wait)
            if self._session.close_frame:
                self._session.close_frame = False
                self._control.append(encode_close(1000))
            overdue = self._session.closing_overdue_at
        self._act()
        self.drain()
        self._timer.schedule(self, overdue)
        self._waker.wake()

    def join(self, timeout: float, closing: Collection[threading.Thread] = ()) -> bool:
        """Wait for the reader, unless this is it, or it is *closing* us; whether it has ended."""
        return join(self._reader, timeout, closing)

    def stats(self) -> dict[str, Any]:
        """Counters, and the latest round trips in seconds."""
        with self._lock:
            return {"counters": dict(self._session.counters), "round_trips": list(self._session.round_trips)}

    def __repr__(self) -> str:
        return f"<Connection {self.name}: {self.state}{' (' + self.step + ')' if self.step else ''}>"

    # Callers and timer: writing -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """
        Write what may be said; whoever finds no writer becomes it. Waits for nothing.

        What the peer does not take stays with the transport, and the timer tries again.
        """
        # hot path: a request that is written at once takes the lock twice, before and behind the write, and the timer's never.
        try:
            due = self._write_all()
        except BaseException:  # Ctrl-C, on a caller's thread
            with self._lock:
                if self._writing == threading.get_ident():
                    self._let_go()
                    if self._torn:
                        self._doom(ConnectionLost(f"{self.name}: a write was interrupted", sent=True))
            self._timer.schedule(self, self._clock.now())  # it says what is left to say
            raise
        self._act()
        if due < math.inf:
            self._timer.schedule(self, due)

    def _write_all(self) -> float:
        """The writer's loop, if there is no other writer. Returns when to come again."""
        begun = False
        while True:
            with self._lock:
                transport = self._transport
                if not begun:
                    if self._writing or transport is None:
                        return math.inf  # the present writer takes our frames too
                    self._writing, begun = threading.get_ident(), True
                now = self._clock.now()
                data = b""
                self._torn = True
                if transport is not None and not transport.unsent and (self._control or self._session.has_outbox):
                    data = self._take_frames(now)
                if transport is None or not (data or transport.unsent):
                    self._torn = False
                    self._let_go()
                    self._stuck_since = math.inf
                    return self._session.tick(now) if self._session.has_outbox else math.inf
            error: OSError | None = None
            try:
                done = transport.write(data, 0.0)
            except OSError as caught:
                done, error = False, caught
            self._torn = False
            if done:
                continue
            with self._lock:
                if transport is not self._transport:
                    # Its reader has given it up. Another one may stand already, and who wanted to write to that left it to us.
                    continue
                self._let_go()
                self._stuck_since = min(self._stuck_since, now)
                if error is not None:
                    self._doom(ConnectionLost(f"{self.name}: the connection is dead: {_reason(error)}", sent=True))
                    return math.inf
                if now - self._stuck_since >= self._write_limit:
                    what = f"{self.name}: the peer has read nothing for {now - self._stuck_since:.1f} s"
                    self._doom(ConnectionLost(what, sent=True))
                    return math.inf
            return now + STUCK_RETRY_S

    def _let_go(self) -> None:
        """Requires `_lock`. Somebody else may write."""
        self._writing = 0
        if self._leaving:
            self._changed.notify_all()

    def _take_frames(self, now: float) -> bytes:
        """Requires `_lock`."""
        frames = [*self._control]
        self._control.clear()
        frames += [encode_frame(opcode, payload) for opcode, payload in self._session.take_outbox(now)]
        return b"".join(frames)

    def _doom(self, error: ExchangeError) -> None:
        """Requires `_lock`. Give this link up; the reader does so."""
        if self._session.doom is None:
            self._session.doom = error
        self._waker.wake()

    # Timer ----------------------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """The timer's turn: deadlines, pings, what is left to write."""
        now = self._clock.now()
        with self._lock:
            self._session.tick(now)
            cut = self._transport if now >= self._session.closing_overdue_at else None
        self._act()
        self.drain()
        if cut is not None:
            cut.abort()
            return math.inf
        with self._lock:
            due = self._session.tick(now)
            # What is to be said cannot be said before the peer reads on, or another writer lets go.
            busy = self._writing or self._stuck_since < math.inf
            return max(due, now + STUCK_RETRY_S) if busy else due

    def resumed(self) -> float:
        """The timer's turn after a time that nobody saw pass: what is true of the link is to be found out now."""
        with self._lock:
            self._session.prove(self._clock.now())
        return self.tick()

    # Reader ---------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """The reader's thread."""
        try:
            due: float | None = self._clock.now()
            while due is not None and self._rest(due):
                due = self._live()
        except BaseException as error:
            log.exception("%s: a bug of this package ended the connection", self.name)
            bug = InternalError(f"{self.name}: a bug of this package ended the connection: {type(error).__name__}")
            bug.__cause__ = error
            with self._lock:
                if self._tap is not None and self._session.state != CLOSED:
                    self._tap.lost(bug, self._heard_ns, over=True)
                self._session.fail(bug)
            self._act()
        finally:
            self._hang_up()
            self._timer.forget(self)
            self._waker.close()

    def _rest(self, due: float) -> bool:
        """Wait until *due* and until the dial budget has a place; False if closed meanwhile."""
        with self._lock:
            while self._session.state != CLOSED:
                left = due - self._clock.now()
                if left <= 0:
                    due = self._may_dial()
                    left = due - self._clock.now()
                    if left <= 0:
                        self._session.dialling()
                        self._waker.clear()  # what it was set for is over; who closes sets it after the state that we see
                        return True
                self._clock.wait(self._changed, left)
            return False

    def _live(self) -> float | None:
        """One link from dial to loss. Returns when to dial again, None when it is over."""
        link = self._link
        try:
            transport = dial(
                link.url,
                timeout=link.timeout,
                waker=self._waker,
                headers=link.headers,
                proxy=link.proxy,
                context=link.context,
            )
        except ExchangeError as error:
            return self._lost(error)
        with self._lock:
            self._transport = transport
            self._stuck_since = math.inf
            self._control.clear()
        self._heard_ns = self._clock.time_ns()
        try:
            login = None if self._login is None else self._login()
        except AuthenticationError as error:
            return self._lost(error)
        except Exception as error:  # the user's own callable, or REST
            status, wait = (429, error.retry_after_s) if isinstance(error, RateLimited) else (None, None)
            if isinstance(error, ConnectFailed):
                status, wait = error.status, error.retry_after_s
            what = f"{self.name}: the login could not be made: {type(error).__name__}"
            failed = ConnectFailed(what, status=status, retry_after_s=wait)
            failed.__cause__ = error
            return self._lost(failed)
        with self._lock:
            if self._tap is not None and self._session.state != CLOSED:
                self._tap.dialled(login)
            self._session.dialled(self._clock.now(), login)
        self._act()
        self._timer.schedule(self, self._clock.now())  # it writes what is to be said first, and sets the ping's time
        return self._lost(self._read(transport))

    def _lost(self, error: ExchangeError) -> float | None:
        """The link is gone; tell everyone. Returns as `_live` does."""
        self._hang_up()
        if self._explain is not None and isinstance(error, AuthenticationError):
            error = self._explain(error)
        told: dict[int, Any] = {}
        due: float | None = None
        while True:
            with self._lock:
                # Until the session knows, who comes is told that his topics flow, and who leaves that nothing more is missed.
                sinks = {id(sink): sink for sink in self._session.sinks()}
                new = [sink for key, sink in sinks.items() if key not in told]
                if not new:
                    was_open, was_closed = self._session.state == OPEN, self._session.state == CLOSED
                    if isinstance(error, AuthenticationError):
                        self._session.refuse_login(error)
                    else:
                        due = self._session.lost(self._clock.now(), error, _asked_wait(error))
                    if self._tap is not None and not was_closed:
                        self._tap.lost(error, self._heard_ns, over=due is None)
                    break
            for sink in _there(new):
                sink.lost(self, self._heard_ns)
            told.update((id(sink), sink) for sink in new)
        for sink in _there(sink for key, sink in told.items() if key not in sinks):
            sink.left(self)
        if was_open or due is not None:
            self._warn(error, due)
        self._act()
        return due

    def _warn(self, error: ExchangeError, due: float | None) -> None:
        """Of a loss, and when the next dial is."""
        if due is None:
            log.warning("%s; it is not made again", str(error))
        else:
            log.warning("%s; next try in %.1f s", str(error), max(0.0, due - self._clock.now()))

    def _hang_up(self) -> None:
        """Give the socket back, with what farewell goes without waiting."""
        farewell_by = self._clock.now() + FAREWELL_S
        with self._lock:
            # A writer may have taken what there was just before our answer to the peer's close was put there. It waits for no
            # peer, and takes the answer when it comes back to this lock.
            self._leaving = True
            while self._writing and self._control and self._clock.now() < farewell_by:
                self._clock.wait(self._changed, farewell_by - self._clock.now())
            self._leaving = False
            transport, self._transport = self._transport, None
            farewell = b"" if self._writing else b"".join(self._control)
            self._control.clear()
        if transport is not None:
            try:
                if farewell and not transport.unsent:
                    transport.write(farewell, 0.0)
            except OSError:
                log.debug("%s: no farewell, the peer is gone", self.name)
            transport.close()

    def _read(self, transport: Transport) -> ExchangeError:
        """Read until the link ends, and say why it did."""
        session, clock = self._session, self._clock
        split = session.dialect.split
        frames = FrameReader(self._link.max_message_size)
        while True:
            try:
                chunk = transport.read()
            except OSError as error:
                return ConnectionLost(f"{self.name}: the connection broke: {_reason(error)}", sent=True)
            if chunk is None:
                self._waker.clear()
                with self._lock:
                    if session.doom is not None:
                        return session.doom
                continue
            if not chunk:
                return ConnectionLost(f"{self.name}: the peer ended the connection without a close frame", sent=True)
            received_ns = clock.time_ns()
            messages = frames.feed(chunk)
            self._heard_ns = received_ns
            if split is not None:
                messages = split(messages)
            session.heard(clock.now(), len(chunk), len(messages))
            if self._tap is None:
                self._deliver(messages, received_ns)
            else:
                self._deliver_recorded(messages, received_ns, self._tap)
            if frames.control:
                self._answer_control(frames)
            if frames.close is not None:
                return self._peer_closed(frames)
            if frames.failure is not None:
                code = frames.failure.close_code
                with self._lock:
                    self._control.append(encode_close(code))
                return WireError(f"{self.name}: {frames.failure}", close_code=code)
            if transport.unsent:  # TLS has something to say by itself
                self._timer.schedule(self, clock.now())

    def _deliver(self, messages: list[bytes], received_ns: int) -> None:
        """
        Hand over each run of messages that go to the same sinks, and hear what `routes` does not know in its place.

        # hot path: 0.1 us a message that begins as most do, beside 0.1 us and what `route` takes for any other (CPython 3.11)
        """
        session, head = self._session, self._head
        route = session.dialect.route
        routes: Mapping[Any, tuple[Any, ...]] = session.routes
        size, start, at, end, rest = len(head.start), head.start, head.at, head.end, head.rest
        whole = not rest
        alike = routes.get(head.key)
        sinks: tuple[Any, ...] | None = None
        run: list[bytes] = []
        for message in messages:
            if alike is not None and message[:size] == start and (whole or message[at:end] == rest):
                found: tuple[Any, ...] | None = alike
            else:
                found = routes.get(route(message))
                if found is None:
                    if run:
                        self._put(sinks or (), run, received_ns)
                        run = []
                    sinks = None
                    self._hear(message, received_ns)
                    if isinstance(session.doom, WireError):
                        return  # too much of it could not be read: what is behind may be endless, and a gap will cover it
                    routes = session.routes
                    alike = routes.get(head.key)
                    continue
            if found is sinks:
                run.append(message)
            else:
                if run:
                    self._put(sinks or (), run, received_ns)
                sinks, run = found, [message]
        if run:
            self._put(sinks or (), run, received_ns)
        if len(messages) >= BUSY:
            self._look_how_they_begin(messages)

    def _look_how_they_begin(self, messages: list[bytes]) -> None:
        """After a busy read: what the next one's messages begin with, if that is the same for most."""
        dialect, last = self._session.dialect, messages[-1]
        if dialect.head is not None and not self._head.fits(last):
            key = dialect.route(last)
            same = key is not None and key == dialect.route(messages[-2])
            self._head = (dialect.head(last) if same else None) or NO_HEAD

    def _deliver_recorded(self, messages: list[bytes], received_ns: int, tap: Tap) -> None:
        """
        `_deliver`, with the messages in the recording where the session is at that moment.

        Another thread may change the routes at any time. Where that happened must be the same in the recording, so the lock is
        taken: once a chunk, as a rule.
        """
        session = self._session
        route = session.dialect.route
        begin = 0
        while begin < len(messages):
            end = begin
            runs: list[tuple[tuple[Any, ...], list[bytes]]] = []
            with self._lock:
                routes: Mapping[Any, tuple[Any, ...]] = session.routes
                while end < len(messages):
                    found = routes.get(route(messages[end]))
                    if found is None:
                        break
                    if runs and runs[-1][0] is found:
                        runs[-1][1].append(messages[end])
                    else:
                        runs.append((found, [messages[end]]))
                    end += 1
                if runs:
                    tap.received(messages[begin:end], received_ns, spare=True)
            for sinks, run in runs:
                self._put(sinks, run, received_ns)
            if end < len(messages):
                self._hear(messages[end], received_ns)
                if isinstance(session.doom, WireError):
                    return  # as in `_deliver`
                end += 1
            begin = end

    def _put(self, sinks: tuple[Any, ...], messages: list[bytes], received_ns: int) -> None:
        for reference in sinks:  # not through `_there`: a generator costs more than all the rest of this
            sink = reference()
            waited = 0.0 if sink is None else sink.put(self, messages, received_ns)
            if waited:
                with self._lock:
                    self._session.excuse(waited)

    def _hear(self, message: bytes, received_ns: int) -> None:
        """A message for the session: an answer, or an update on its first sight."""
        now = self._clock.now()
        with self._lock:
            tap = self._tap
            logging_in = tap is not None and self._session.step == "logging in"
            if tap is not None and not logging_in:
                tap.received([message], received_ns, spare=False)
            sinks = self._session.receive(message, now)
            if tap is not None and logging_in:
                tap.answered(self._session.step != "logging in", received_ns)
            asks = self._session.has_outbox
            # Under the same hold: another thread could take the marks that this message made, and place them after the updates
            # that follow it.
            decided = self._decided()
        self._carry_out(decided, received_ns)
        if sinks:
            self._put(sinks, [message], received_ns)
        if asks:
            self._timer.schedule(self, now)

    def _answer_control(self, frames: FrameReader) -> None:
        control, frames.control = frames.control, []
        with self._lock:
            for opcode, payload in control:
                if opcode == PING:
                    self._control.append(encode_frame(PONG, payload))
                elif opcode == PONG:
                    self._session.pong_frame(payload, self._clock.now())
        self._act()
        self._timer.schedule(self, self._clock.now())

    def _peer_closed(self, frames: FrameReader) -> ExchangeError:
        assert frames.close is not None
        code, reason = frames.close.code, frames.close.reason
        with self._lock:
            if self._session.state != CLOSED:
                self._control.append(encode_close(code))
        said = "" if code is None else f" with code {code}" + (f": {reason}" if reason else "")
        text = f"{self.name}: the peer closed the connection{said}"
        return ConnectionLost(text, sent=True, close_code=code, close_reason=reason or None)

    # Everyone -------------------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        """Do what the session decided, with no lock held."""
        # hot path: without the lock, 0.2 us. What this thread had decided is seen, or another one has taken it away.
        if not self._session.decided and self._session.doom is None:
            return
        with self._lock:
            decided = self._decided()
            now_ns = self._clock.time_ns()
            if self._tap is not None and decided is not None and decided[0].about_sinks:
                self._tap.acted(now_ns)
        self._carry_out(decided, now_ns)

    def _decided(self) -> tuple[Decisions, list[Any]] | None:
        """Requires `_lock`. What the session decided, and the sinks that are whole again."""
        if self._session.doom is not None and self._transport is not None:
            self._waker.wake()  # whoever found that this link must end, ending it is the reader's
        decisions = self._session.take_decisions()
        if decisions is None:
            return None
        if decisions.states:
            self._changed.notify_all()
        return decisions, list(self._session.sinks()) if OPEN in decisions.states else []

    def _carry_out(self, decided: tuple[Decisions, list[Any]] | None, received_ns: int) -> None:
        """With no lock held."""
        if decided is None:
            return
        decisions, restored = decided
        for pending in decisions.settled:
            if pending.ready is not None:
                pending.ready.open()
            else:  # our own, a heartbeat perhaps: the time of the next one depends on it
                self._timer.schedule(self, self._clock.now())
        if not (decisions.about_sinks or decisions.states or decisions.lines):
            return  # hot path: the answer to a request, and nothing else
        for sink, topics in _addressed(decisions.renewals):
            sink.renewing(self, topics, received_ns)
        for sink, topics, stated in _addressed(decisions.marks):
            if stated:
                sink.stated(self, topics, received_ns)
            else:
                sink.joined_late(self, topics, received_ns)
        for sink, topic in _addressed(decisions.resumed):
            sink.resumed(self, topic, received_ns)
        for sink, topic, since in _addressed(decisions.silent):
            sink.silent(self, topic, received_ns - int(1e9 * (self._clock.now() - since)))
        for sinks, what in decisions.recoveries:
            for sink in _there(sinks):
                sink.recovers(what, received_ns)
        for sinks, message in decisions.released:
            self._put(sinks, [message], received_ns)
        for sink in _there(decisions.spoiled):
            sink.spoiled(self, received_ns)
        for sink in _there(restored):
            sink.restored(self, received_ns)
        for sink, error in _addressed(decisions.ended):
            sink.end(error)
        if decisions.states:
            self._on_state()
        # Last: what a handler does, or Ctrl-C in it, must not keep the others waiting.
        if OPEN in decisions.states:
            log.info("%s: open", self.name)
        decisions.log()


def _asked_wait(error: ExchangeError) -> float:
    """Seconds that must pass before the next dial, whatever the backoff says."""
    told: float | None = getattr(error, "retry_after_s", None)
    if told is None and isinstance(error, ConnectFailed) and error.status == 429:
        return TOO_MANY_S
    return told or 0.0


def _there(references: Iterable[Any]) -> Iterator[Any]:
    """The subscriptions of *references* that are still there: one that is not has no reader, and nobody misses anything."""
    for reference in references:
        sink = reference()
        if sink is not None:
            yield sink


def _addressed(decided: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """What was *decided* about subscriptions, with those that are still there in the place of the references to them."""
    for reference, *rest in decided:
        sink = reference()
        if sink is not None:
            yield (sink, *rest)


def _reason(error: OSError) -> str:
    """What the system says, without addresses or paths."""
    return error.strerror or type(error).__name__
