"""
A recording, played: what was told to sessions is told to others, whose subscriptions are read here.

No threads, and no clock but the recording's. Who asks for the next event reads the lines up to it, on his own thread, and
waits as long as they took, if that is wanted. So nothing depends on which thread comes first, and nothing waits in memory.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs

from exchange_ws.clock import Clock, Deadline, SystemClock, Waitable, checked_timeout
from exchange_ws.core.connection import Connection, Link
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.messages import CALL, LOGIN, PING, Command, Limits, Message, Outgoing, Reply, Topic
from exchange_ws.core.recording import topic_of
from exchange_ws.core.recovery import Answer, Asked
from exchange_ws.core.session import CLOSED, Backoff, Session
from exchange_ws.core.silence import Watch
from exchange_ws.core.subscription import DROP_OLDEST, Subscription, check_limit, check_number
from exchange_ws.core.timer import Timer
from exchange_ws.errors import (
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    ExchangeError,
    SubscriptionClosed,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Gap, Numbers
from exchange_ws.wire.recording import Lines, payload_of

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Replay"]

log = logging.getLogger(__name__)

GROUP = 256  # messages of one read that are played at once
LINE_S = 0.5  # longer than anybody else plays one line
ROOM = 2**40  # messages that a subscription here may have: all are read before the next line is, so there are few
SLACK_S = 0.005  # by which a deadline of the recording may seem not to be over yet: two clocks were read, one after the other
FIRST_SERIAL = 10**9  # ids of what is said here are above those in the recording, where the language has ids
ACCEPTED = b"\0accepted"  # stands for the answer to a login, which is in no recording


class RecordedClock:
    """The time of the line that is played. Nothing waits for it."""

    def __init__(self) -> None:
        self.ns = 0
        self._latest_ns = 0

    def set(self, ns: int) -> None:
        self.ns = ns
        self._latest_ns = max(self._latest_ns, ns)

    def now(self) -> float:
        return self._latest_ns / 1e9

    def time_ns(self) -> int:
        return self.ns

    def wait(self, condition: Waitable, timeout: float | None) -> bool:
        raise AssertionError("nothing waits in a replay")


class Tongue:
    """
    The language of one connection, for a session that says again what is in the recording.

    The answers there carry the ids of what was said then: each of them becomes that of what is said now in its place.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._encode, self._decode = dialect.encode, dialect.decode
        self._unsaid: deque[tuple[Command, Outgoing]] = deque()  # said by the session, and not by the recording yet
        self._calls: dict[int, str | None] = {}  # keys of what callers said, by the id of the command
        self._keys: dict[str, str] = {}  # ours by the recording's, where they differ
        self.dialect = attrs.evolve(dialect, encode=self.encode, decode=self.decode)

    def call(self, command: Command, key: str | None) -> None:
        """*command* is a caller's, of which the recording has the *key* of its answer, and the arguments as text only."""
        self._calls[id(command)] = key

    def matched(self, line: Mapping[str, Any]) -> bool:
        """The recording says something; whether the session said it too."""
        found = None
        for said in self._unsaid:
            command, outgoing = said
            if (command.kind, command.method) != (line["kind"], line["method"]):
                continue
            text = outgoing.data.decode()
            if text == line["out"] or text.replace(f"{outgoing.key}", f"{line['key']}") == line["out"]:
                found = said
                break
            found = found or said
        if found is None:
            return False
        self._unsaid.remove(found)
        key = found[1].key
        if key is not None and key != line["key"]:
            self._keys[line["key"]] = key
        return True

    def forget(self) -> None:
        """The link is gone."""
        self._unsaid.clear()
        self._calls.clear()
        self._keys.clear()

    def encode(self, command: Command, serial: int) -> Outgoing:
        if id(command) in self._calls:
            return Outgoing(b"", self._calls.pop(id(command)))
        if command.kind == LOGIN:
            return Outgoing(b"", "login")
        outgoing = self._encode(command, serial)
        self._unsaid.append((command, outgoing))
        return outgoing

    def decode(self, message: bytes) -> Message:
        if message is ACCEPTED:
            return Reply("login", ok=True)
        said = self._decode(message)
        if isinstance(said, Reply) and said.key in self._keys:
            said = attrs.evolve(said, key=self._keys.pop(said.key))
        return said


class Played(Subscription):
    """A subscription of the recording. What comes is read by its replay at once, in the order of the lines."""

    def __init__(
        self, name: str, topics: Sequence[Topic], *args: Any, asked: bool, touched: dict[Played, None], **options: Any
    ) -> None:
        self._asked = asked
        self._touched = touched
        self._by_name = {topic.name: topic for topic in topics}
        super().__init__(name, topics, *args, **options)

    def named(self, names: Iterable[str]) -> frozenset[Topic]:
        """The topics of these names, that it has or had."""
        return frozenset(self._by_name[name] for name in names)

    @property
    def asks(self) -> bool:
        """As it was then: the session would ask more, or less, than is in the recording."""
        return self._asked

    def recovers(self, what: Asked | Answer, received_ns: int) -> None:
        if not self._raw:
            super().recovers(what, received_ns)

    def missing(self, count: int | None, since_ns: int, until_ns: int) -> None:
        """So many messages came here that the recording had no room for, None if it is not known how many."""
        with self._guard:
            if not self._ended:
                with self._consuming:
                    gap = self._gap_here("overflow", since_ns)
                    gap.until, gap.dropped = until_ns / 1e9, count
                self._announce()

    def _announce(self) -> None:
        self._touched[self] = None

    def _end(self, error: ExchangeError | None) -> None:
        super()._end(error)
        self._touched[self] = None

    def read(self) -> Iterator[Any]:
        """What is there."""
        while True:
            try:
                yield self._take()
            except LookupError:
                return


class Told(Watch):
    """Which topics had fallen silent is in the recording: it was judged by a clock that is not read here."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Mapping[str, float] = {}  # seconds, by the names of topics

    def silent(self, now: float) -> list[tuple[Topic, float]]:
        """Those that the next look is to find."""
        told, self.told = self.told, {}
        found = [(topic, now - told[topic.name]) for topic in self._pulses if topic.name in told]
        for topic, _ in found:
            self._fall(self._pulses[topic])
        return found


class Line(Connection):
    """A connection of the recording: no threads, no socket."""

    def __init__(self, name: str, dialect: Dialect, clock: RecordedClock, timer: Timer, reply_limit: float) -> None:
        self._tongue = Tongue(dialect)
        session = Session(
            self._tongue.dialect,
            name,
            limits=Limits(),  # they were kept then
            ping_interval=math.inf,  # as are the pings, in the recording
            pong_timeout=math.inf,
            reply_limit=reply_limit,
            backoff=Backoff(),
        )
        session._serial = FIRST_SERIAL
        session._watch = self._told = Told()
        super().__init__(session, Link("", 1.0), clock=clock, timer=timer, may_dial=clock.now)
        self._played = clock
        self._waker.close()
        self.unsaid = 0  #: what the recording said and the session did not

    def heard(self, messages: list[bytes], received_ns: int) -> None:
        self._heard_ns = received_ns
        self._session.heard(self._played.now(), sum(map(len, messages)), len(messages))
        self._deliver(messages, received_ns)

    def accepted(self, received_ns: int) -> None:
        self._hear(ACCEPTED, received_ns)

    def dialled(self, line: Mapping[str, Any]) -> None:
        login = None
        if "login" in line:
            login = Command(line["login"], (), LOGIN, replay=line["again"], secret=True)
        self._session.dialling()
        self._session.dialled(self._played.now(), login)

    def said(self, line: Mapping[str, Any]) -> None:
        now = self._played.now()
        if line.get("asked"):
            kind = CALL if line["kind"] == LOGIN else line["kind"]
            command = Command(line["method"], (), kind, replay=True, channel=line.get("channel"))
            self._tongue.call(command, line["key"])
            self._session.submit(command, now, now + line.get("within", math.inf))
        self._session.take_outbox(now + SLACK_S)
        if not line.get("asked") and line["kind"] not in (LOGIN, PING) and not self._tongue.matched(line):
            self.unsaid += 1
            log.debug("%s: %s is in the recording, and was not said again", self.name, line["method"])

    def ticked(self) -> None:
        self._session.tick(self._played.now() + SLACK_S)

    def looked(self, silent: Mapping[str, float]) -> None:
        self._told.told = silent
        self._session._look(self._played.now())

    def acted(self) -> None:
        self._act()

    def wants(self, sink: Subscription, topics: frozenset[Topic], within_s: float | None) -> None:
        self.want(sink, topics, Deadline(self._played, within_s))

    def unwants(self, sink: Subscription, topics: frozenset[Topic]) -> None:
        self.unwant(sink, topics, Deadline(self._played, None))
        if not self.wanted(sink):
            sink.left(self)

    def restates(self, names: Iterable[str]) -> None:
        known = {topic.name: topic for topic in self.held()}
        self.restate(frozenset(known[name] for name in names if name in known))

    def losing(self, line: Mapping[str, Any]) -> None:
        self._heard_ns = line["since"]
        what = f"{self.name}: lost, as recorded: {line['lost']}"
        error: ExchangeError = ConnectionLost(what, sent=True, close_code=line.get("code"))
        if line["lost"] == AuthenticationError.__name__:
            error = AuthenticationError(what)
        elif line["over"]:
            self._session._backoff = None
        self._tongue.forget()
        self._lost(error)

    def _warn(self, error: ExchangeError, due: float | None) -> None:
        log.debug("%s", str(error))  # it was warned of then

    def end(self) -> None:
        if self._session.state != CLOSED:
            self._session.close(self._played.now())


class Replay:
    """
    What a client received, once more: the events of all its subscriptions, in the order in which they came.

    Iterate it, or call `get`, `get_many` or `collect`; threads may share it, and each event goes to one of them. It is read
    from its file as it goes on, so that the length of a recording costs no memory.

    Events and gaps are those of the recording, but for gaps that were due to a consumer which was too slow then: nothing
    overflows here. Made by `exchange_ws.replay`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dialects: Callable[[Mapping[str, Any]], Mapping[str, Dialect]],
        *,
        speed: float | None = 1.0,
        numbers: Numbers = Decimal,
        raw: bool = False,
        gaps: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise UsageError(f"path={path!r}: takes the path of a recording")
        if speed is not None and (isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 < speed < math.inf):
            raise UsageError(f"speed={speed!r}: takes a finite number above 0, or None for as fast as possible")
        if numbers not in (Decimal, float, str):
            raise UsageError(f"numbers={numbers!r}: takes Decimal, float or str")
        for name, flag in (("raw", raw), ("gaps", gaps)):
            if not isinstance(flag, bool):
                raise UsageError(f"{name}={flag!r}: takes True or False")
        self._pid = os.getpid()
        self._speed = speed
        self._numbers, self._raw, self._wants_gaps = numbers, raw, gaps
        self._clock: Clock = SystemClock() if clock is None else clock
        self._guard = threading.Lock()  # guards all below; held while lines are played, given back while one is waited for
        self._changed = threading.Condition(self._guard)
        self._source = Lines(path)
        about = self._source.about
        #: Name of the exchange.
        self.exchange: str = str(about.get("exchange"))
        try:
            self._dialects = dialects(about)
        except BaseException:
            self._source.close()
            raise
        self._reply_limit = float(about.get("timeout", 10.0))
        self._first_ns: int | None = None
        self._began = 0.0
        self._given = 0  # events
        self._torn = False  # True: something is halfway; see `_mend`
        self._closing = False  # not guarded: set by `close`, and looked at by who plays
        self._begin()

    def _begin(self) -> None:
        """As if nothing of the recording were played yet."""
        self._time = RecordedClock()
        self._timer = Timer(self._time)
        self._timer.close(0.0)  # nothing is due but by the recording
        self._lines: Iterator[dict[str, Any]] = iter(self._source)
        self._ahead: dict[str, Any] | None = None
        self._connections: dict[int, Line] = {}
        self._subscriptions: dict[int, Played] = {}
        self._known: list[Played] = []
        self._touched: dict[Played, None] = {}
        self._events: deque[Any] = deque()
        self._messages = 0
        self._ended = False

    # For users ------------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self.get()
        except SubscriptionClosed:
            raise StopIteration from None

    def get(self, timeout: float | None = None) -> Any:
        """
        The next event.

        Parameters
        ----------
        timeout
            Seconds, of the machine's time; None waits until there is one or the recording ends.

        Raises
        ------
        UpdateTimeout
            None was due in time.
        SubscriptionClosed
            The recording has ended; `cut` says if that was too early.
        """
        with self._guard:
            self._until_due(timeout)
            return self._give(1)[0]

    def get_nowait(self) -> Any:
        """One event that is due already; `UpdateTimeout` if there is none."""
        return self.get(0.0)

    def get_many(self, limit: int | None = None, timeout: float | None = None) -> list[Any]:
        """
        Events that were read together, at least one, waiting for it as `get` does.

        Parameters
        ----------
        limit
            At most so many.
        """
        check_limit(limit)
        with self._guard:
            self._until_due(timeout)
            return self._give(limit)

    def collect(self, n: int | None = None, seconds: float | None = None) -> list[Any]:
        """Events as a list: *n* of them, those of so many *seconds* of the machine's time, or all that are left."""
        check_number(n)
        deadline = Deadline(self._clock, checked_timeout("seconds", seconds))
        events: list[Any] = []
        while n is None or len(events) < n:
            left = deadline.remaining()
            try:
                events += self.get_many(None if n is None else n - len(events), left)
            except (UpdateTimeout, SubscriptionClosed):
                break
            if left == 0.0:  # without a speed there is always more that is due
                break
        return events

    def close(self) -> None:
        """Read no more. Twice is allowed; anybody may call it anywhere, in a signal's function too."""
        self._closing = True
        # Who has the lock for longer is this very thread, which a signal has interrupted as it played; it looks at that later.
        if self._guard.acquire(timeout=LINE_S):
            try:
                self._shut()
            finally:
                self._guard.release()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        source: Lines | None = getattr(self, "_source", None)  # __init__ may have failed
        if source is not None:
            source.close()

    @property
    def cut(self) -> str | None:
        """Why the recording ends before its end, or before one of its lines could be read; None if it does not."""
        return self._source.cut

    @property
    def gaps(self) -> list[Gap]:
        """Every gap so far, of all subscriptions."""
        return list(chain.from_iterable(subscription.gaps for subscription in self._known))

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What was subscribed so far, for `topics` and `gaps` of each; their events are had from the replay."""
        return tuple(self._known)

    @property
    def time(self) -> float | None:
        """Unix seconds at which the latest line was recorded; None before the first one."""
        return self._time.ns / 1e9 if self._time.ns else None

    @property
    def fraction(self) -> float:
        """How much of the file was read, 0 to 1; of a recording in several files, of the present one."""
        return self._source.fraction

    def stats(self) -> dict[str, Any]:
        """
        What was played so far: `messages`, `subscriptions`, `connections`, and what was `unsaid`.

        The latter are lines in which the client says something to the exchange that it did not say again here. What follows
        from them may be missing; there are none, unless the recording is of another version of this package.
        """
        unsaid = sum(line.unsaid for line in self._connections.values())
        counts = {"subscriptions": len(self._known), "connections": len(self._connections)}
        return {"messages": self._messages, **counts, "unsaid": unsaid}

    def __repr__(self) -> str:
        state = "closed" if self._ended else f"{100 * self.fraction:.0f} % read"
        return f"<Replay of {self._source.path}: {self.exchange}, {self._messages} messages, {state}>"

    # Inside; all requires `_guard` ----------------------------------------------------------------------------------------

    def _until_due(self, timeout: float | None) -> None:
        """Play until there is an event; raises as `get` does."""
        deadline = Deadline(self._clock, checked_timeout("timeout", timeout))
        if self._torn and not self._closing:
            self._mend()
        if self._closing:
            self._shut()
        while not self._events:
            if self._ended:
                raise SubscriptionClosed(f"{self._source.path}: the recording has ended")
            if os.getpid() != self._pid:  # what a child reads of the file that it shares, its parent would miss
                raise ConnectionClosed(f"{self._source.path}: the process was forked since; open it anew in the child")
            self._torn = True
            due = self._next_due()
            self._torn = False
            now = self._clock.now()
            if due > now:
                if now >= deadline.at:
                    raise UpdateTimeout(f"{self._source.path}: no event is due within {timeout} s")
                self._clock.wait(self._changed, min(due, deadline.at) - now)
                continue
            self._torn = True
            self._play()
            self._torn = False
            if self._closing:
                self._shut()

    def _shut(self) -> None:
        """`close`. What is halfway is not to be read, nor to be mended."""
        if self._torn:
            self._ended, self._torn = True, False
            self._source.close()
        self._finish()
        self._events.clear()
        self._changed.notify_all()

    def _give(self, limit: int | None) -> list[Any]:
        """What there is, at most *limit* events."""
        self._torn = True  # until they are counted
        count = len(self._events) if limit is None else min(limit, len(self._events))
        events = [self._events.popleft() for _ in range(count)]
        self._given, self._torn = self._given + count, False  # in one line: Ctrl-C between the two would cost all of them
        return events

    def _mend(self) -> None:
        """
        After Ctrl-C in the midst of a line, which is neither played nor not played then: play all again up to what was given.

        So nothing is left out, and nothing given twice. It is seldom needed: while a line is waited for, nothing is halfway.
        """
        self._source.close()
        try:
            self._source = Lines(self._source.path)
        except UsageError as error:
            self._source.cut = f"{error}; it was to be read again after an interrupt, what follows is missing"
            self._events.clear()
            self._ended, self._torn = True, False
            log.warning("%s", self._source.cut)
            return
        self._begin()
        left = self._given
        while left > 0 and not self._ended:
            if not self._events:
                self._ahead = self._ahead or next(self._lines, None)
                self._play()
            while self._events and left > 0:
                self._events.popleft()
                left -= 1
        self._torn = False

    def _next_due(self) -> float:
        """The moment (the clock's) of the next line."""
        if self._ahead is None:
            self._ahead = next(self._lines, None)
        if self._ahead is None or self._speed is None:
            return -math.inf
        if self._first_ns is None:
            self._began, self._first_ns = self._clock.now(), self._ahead["t"]
        passed_ns: int = self._ahead["t"] - self._first_ns
        return self._began + passed_ns / 1e9 / self._speed

    def _play(self) -> None:
        """Play the next line, or the next ones if they are of one read."""
        line, self._ahead = self._ahead, None
        if line is None:
            self._finish()
            return
        try:
            self._time.set(line["t"])
            if "in" in line or "in64" in line:
                self._play_received(line)
            elif "connection" in line:
                self._connect(line)
            elif "topics" in line:
                self._subscribe(line)
            elif "finish" in line:
                for subscription in self._subscriptions.values():
                    subscription.finish()
            elif "c" in line:
                self._play_other(self._connections[line["c"]], line)
        except (LookupError, TypeError, ValueError) as error:
            # A later version may write more; but not what this one reads in another form.
            self._source.cut = (
                f"{self._source.path}: a line that is not understood ({type(error).__name__}); what follows is missing"
            )
            self._finish()
            return
        self._read()

    def _play_received(self, line: dict[str, Any]) -> None:
        connection, now_ns = self._connections[line["c"]], line["t"]
        if line.get("in", "") is None:
            if line.get("login"):
                connection.accepted(now_ns)
            return
        messages = [payload_of(line)]
        number = line["c"]
        while len(messages) < GROUP:
            line = self._ahead = next(self._lines, None)  # type: ignore[assignment]
            if line is None or line.get("c") != number or line["t"] != now_ns or line.get("in") is None:
                break
            messages.append(payload_of(line))
            self._ahead = None
        self._messages += len(messages)
        connection.heard(messages, now_ns)

    def _play_other(self, connection: Line, line: Mapping[str, Any]) -> None:
        if "out" in line:
            connection.said(line)
        elif "up" in line:
            connection.dialled(line)
        elif "want" in line:
            sink = self._subscriptions[line["sub"]]
            connection.wants(sink, sink.named(line["want"]), line.get("within"))
        elif "unwant" in line:
            self._unwant(connection, self._subscriptions[line["sub"]], line)
        elif "restate" in line:
            connection.restates(line["restate"])
        elif "tick" in line:
            connection.ticked()
        elif "look" in line:
            connection.looked(line["look"])
        elif "act" in line:
            connection.acted()
        elif "lost" in line:
            connection.losing(line)
        elif "missed" in line:
            concerned = [sink for sink in self._subscriptions.values() if connection.wanted(sink)]
            for sink in concerned:
                sink.missing(line["missed"] if len(concerned) == 1 else None, line["since"], line["t"])
        elif "close" in line:
            connection.end()

    def _connect(self, line: Mapping[str, Any]) -> None:
        name, endpoint = line["connection"], line["endpoint"]
        self._connections[line["c"]] = Line(name, self._dialects[endpoint], self._time, self._timer, self._reply_limit)

    def _subscribe(self, line: Mapping[str, Any]) -> None:
        topics = [topic_of(fields) for fields in line["topics"]]
        subscription = Played(
            line["name"],
            topics,
            self._dialects[line["endpoint"]],
            asked=line.get("asks", True),
            touched=self._touched,
            clock=self._time,
            queue_size=ROOM,
            overflow=DROP_OLDEST,
            gaps=self._wants_gaps,
            raw=self._raw,
            numbers=self._numbers,
            block_limit=1.0,
            leave=lambda *_: None,
            forget=lambda _: None,
        )
        self._subscriptions[line["sub"]] = subscription
        self._known.append(subscription)

    def _unwant(self, connection: Line, sink: Played, line: Mapping[str, Any]) -> None:
        topics = sink.named(line["unwant"])
        rest = [topic for topic in sink.wanted if topic not in topics]
        if rest:
            sink.keep(rest)
        else:
            sink.finish()
        connection.unwants(sink, topics)

    def _read(self) -> None:
        """Take what has come to subscriptions."""
        while self._touched:
            subscription = next(iter(self._touched))
            del self._touched[subscription]
            self._events.extend(subscription.read())

    def _finish(self) -> None:
        if self._ended:
            return
        self._ended = True
        for subscription in self._subscriptions.values():
            subscription.finish()
        self._read()
        for connection in self._connections.values():
            connection.end()
        self._source.close()
        if self.cut is not None:
            log.warning("%s", self.cut)
