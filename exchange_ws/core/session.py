"""
The one state machine: lifecycle, waiters, wanted and stated topics, routes, deadlines.

No I/O, no locks, no clock: it is told the time and the messages, and keeps what it decided until its driver takes it away
(`take_outbox`, `take_decisions`).
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Protocol

import attrs

from exchange_ws.core.budget import Budget
from exchange_ws.core.dialect import Dialect, refused
from exchange_ws.core.messages import (
    ALREADY,
    LOGIN,
    PING,
    REJECTED,
    SUBSCRIBE,
    TOO_MANY,
    TRANSIENT,
    UNAUTHORIZED,
    UNSUBSCRIBE,
    Command,
    Limits,
    Notice,
    Outgoing,
    Pace,
    Pong,
    Refusal,
    Reply,
    Topic,
    Update,
)
from exchange_ws.core.recovery import Answer, Asked, Inquiries, in_order
from exchange_ws.core.silence import LOOK_S, Watch
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ExchangeError,
    RequestTimeout,
    SubscriptionRejected,
    UsageError,
    WireError,
)

__all__ = [
    "CLOSED",
    "CONNECTING",
    "OPEN",
    "RECONNECTING",
    "TRANSITIONS",
    "Backoff",
    "Decisions",
    "Join",
    "Pending",
    "Session",
    "Sink",
]

log = logging.getLogger(__name__)

OPCODE_TEXT, OPCODE_PING = 1, 9  # RFC 6455, section 5.2

#: A ping frame of the WebSocket protocol, for exchanges that have no ping of their own.
PING_FRAME = Command("WebSocket ping", kind=PING, replay=True)

CONNECTING, OPEN, RECONNECTING, CLOSED = "connecting", "open", "reconnecting", "closed"
READY, LOST, TRY_AGAIN, REFUSED, GAVE_UP, CLOSE = "ready", "lost", "try again", "login refused", "gave up", "close"

#: (state, event) -> next state. Pairs that are not listed are errors; docs/design.rst shows them as a table made from here.
TRANSITIONS = {
    (CONNECTING, READY): OPEN,
    (CONNECTING, REFUSED): CLOSED,  # a wrong key does not get better by knocking
    (CONNECTING, GAVE_UP): CLOSED,  # the caller who opened it gets the error, at once
    (CONNECTING, CLOSE): CLOSED,
    (OPEN, LOST): RECONNECTING,
    (OPEN, GAVE_UP): CLOSED,  # reconnect=False: a loss ends everything
    (OPEN, CLOSE): CLOSED,
    (RECONNECTING, READY): OPEN,
    (RECONNECTING, TRY_AGAIN): RECONNECTING,
    (RECONNECTING, REFUSED): CLOSED,
    (RECONNECTING, GAVE_UP): CLOSED,
    (RECONNECTING, CLOSE): CLOSED,
    (CLOSED, CLOSE): CLOSED,
}

STEADY_S = 60.0  # OPEN for so long: the trouble is over, the next loss begins with the shortest wait again
RESERVE = 4  # places of the request budget that only pings may take: two of ours a minute, and some of the user's
THROTTLE_S = 5.0  # pause after "too many requests" without a hint: the window has moved on a little, and we may share it
RETRY_S = 1.0  # pause before a statement is said again that the exchange could not take just now
TOMBSTONES = 1024  # answers still awaited by nobody; beyond it the oldest are forgotten, and their replies are only counted
MALFORMED = Pace(100, 60.0, "ours")  # unreadable messages; more means that we do not speak the same language
EARLY = 256  # updates of a channel, kept while the statement that will tell their ids has no answer yet
EARLY_BYTES = 2**20  # of them together, so that a flood of large ones costs no memory either
GONE_S = 60.0  # for which updates under an id that was dropped are known as late: some are always on their way
GONE = 1024  # such ids, the latest
NOBODYS = 1024  # ids that calls were told and nobody here wants, the latest: none may be taken for another statement's
CROWDS = 64  # routes to several subscriptions that are remembered, to be one object where they are the same
LEARNED = 10_000  # symbols of all-symbols topics that get a route of their own; more are parsed twice, never lost
LATE_S = 3.0  # seen so long after a deadline: this process stood still, since no busy machine holds a thread up so long
RENEW_WAIT_S = 10.0  # for the answers that are on their way on a link that the exchange wants to be replaced
CLOSE_WAIT_S = 1.0  # for the peer's close frame; a healthy one answers in a round trip


@attrs.frozen
class Backoff:
    """
    How a lost connection is made again: full jitter, ``uniform(0, min(cap, base * 2 ** n))`` seconds before attempt ``n``.

    Parameters
    ----------
    base, cap
        Seconds.
    give_up_after
        Seconds without a connection after which everything ends with `ConnectFailed`; None: never.
    """

    base: float = 0.5
    cap: float = 30.0
    give_up_after: float | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in (("base", self.base), ("cap", self.cap), ("give_up_after", self.give_up_after)):
            if value is None and name == "give_up_after":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise UsageError(f"Backoff({name}={value!r}): takes seconds, a finite number of 0 or more")

    def delay(self, attempt: int, chance: Callable[[float, float], float]) -> float:
        """Seconds to wait before *attempt*, counted from 0."""
        return chance(0.0, min(self.cap, self.base * 2.0 ** min(attempt, 60)))


class Witness(Protocol):
    """Who is told what a session does by itself, as a recording needs it."""

    def said(self, command: Command, outgoing: Outgoing, within_s: float | None, asked: bool) -> None: ...

    def ticked(self) -> None: ...

    def looked(self, silent: Mapping[str, float]) -> None: ...


class Sink(Protocol):
    """What the session knows of a subscription: that it is one, and not another."""

    def __hash__(self) -> int: ...


class Pending:
    """A waiter: settled exactly once, with a result or an error. `ready` belongs to the driver."""

    __slots__ = ("command", "deadline", "error", "excused", "ready", "reply", "sent_at", "serial", "settled")

    def __init__(self, command: Command | None, serial: int, deadline: float) -> None:
        self.command = command  # None: waits for topics rather than for one reply
        self.serial = serial
        self.deadline = deadline
        self.sent_at: float | None = None
        self.settled = False
        self.excused = False  # its deadline was moved for a time that nobody saw pass; once only, or it might never end
        self.reply: Reply | None = None
        self.error: ExchangeError | None = None
        self.ready: Any = None


class Join:
    """One sink's wish for some topics: `needs` are those not confirmed yet, `held` keeps it off the wire for now."""

    __slots__ = ("alone", "asks", "held", "late", "needs", "number", "pending", "sink", "topics", "trial")

    def __init__(self, sink: Sink, topics: frozenset[Topic], pending: Pending, asks: bool) -> None:
        self.sink = sink
        self.topics = topics
        self.needs = topics
        self.late = NOTHING  # of those: their snapshot has gone to others, and what was said so far brings no other
        self.number = pending.serial  # in the order of which they came
        self.pending = pending  # `DONE` once that is settled: it has a latch
        self.held = False
        self.asks = asks  # answers to what was missed are of use to it
        self.trial = True  # not confirmed since it was made: the first to be suspected of a refusal
        self.alone = (sink,)  # the route of those that nobody else wants


#: Of joins, one for all of them: thousands that need nothing more have it.
NOTHING: frozenset[Topic] = frozenset()
DONE = Pending(None, 0, math.inf)
DONE.settled = True


class Leave:
    """Some topics that a sink wants no more, and who waits until those that nobody else wants are off the wire."""

    __slots__ = ("left", "pending", "topics")

    def __init__(self, topics: frozenset[Topic], pending: Pending) -> None:
        self.topics = topics
        self.left = list(topics)  # not yet seen to be off the wire, or wanted by others; looked at from its end
        self.pending = pending


@attrs.define
class Decisions:
    """What the driver has to do outside its lock, in this order."""

    renewals: list[tuple[Sink, tuple[Topic, ...]]] = attrs.Factory(list)  #: off the wire, to be stated again
    marks: list[tuple[Sink, tuple[Topic, ...], bool]] = attrs.Factory(list)  #: stated (True) or joined late (False)
    recoveries: list[tuple[tuple[Sink, ...], Asked | Answer]] = attrs.Factory(list)  #: of what was missed
    released: list[tuple[tuple[Sink, ...], bytes]] = attrs.Factory(list)  #: updates that came before their confirmation
    spoiled: list[Sink] = attrs.Factory(list)  #: a message that cannot be read came here, and may have been theirs
    silent: list[tuple[Sink, Topic, float]] = attrs.Factory(list)  #: nothing of this topic came since that moment
    resumed: list[tuple[Sink, Topic]] = attrs.Factory(list)  #: something comes again of a topic that was silent
    settled: list[Pending] = attrs.Factory(list)
    ended: list[tuple[Sink, ExchangeError]] = attrs.Factory(list)
    states: list[str] = attrs.Factory(list)
    lines: list[tuple[int, str, tuple[Any, ...]]] = attrs.Factory(list)  #: of the log: level, text, what to put into it

    def log(self) -> None:
        """Write the lines. Under no lock: a handler is a user's function, which may ask the client, or wait for who does."""
        for level, text, args in self.lines:
            log.log(level, text, *args)

    @property
    def about_sinks(self) -> bool:
        """Whether subscriptions have to be told anything."""
        told = self.marks or self.recoveries or self.released or self.spoiled or self.silent or self.resumed or self.ended
        return bool(told or self.renewals or OPEN in self.states)


class Session:
    """
    One connection's memory. Not thread-safe: its driver's lock guards it.

    Parameters
    ----------
    limits
        The budget of requests; `Limits()` for none.
    reply_limit
        Seconds that a statement of ours waits for its confirmation.
    """

    def __init__(
        self,
        dialect: Dialect,
        name: str,
        *,
        limits: Limits,
        ping_interval: float,
        pong_timeout: float,
        reply_limit: float,
        backoff: Backoff | None,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.dialect = dialect
        self.name = name
        self.state = CONNECTING
        self.step = "waiting"  #: what CONNECTING and RECONNECTING are at: waiting, dialling, logging in, restating
        #: What the reader may deliver without asking. It looks up one key at a time and holds no lock; who changes the topics
        #: changes one key at a time, for a copy of five thousand would be made for each of them.
        self.routes: dict[bytes, tuple[Sink, ...]] = {}
        self.doom: ExchangeError | None = None  #: why this link must be given up; its reader ends it
        self.error: ExchangeError | None = None  #: what ended the session
        self.ever_open = False
        self.counters: Counter[str] = Counter(bytes=0, messages=0)
        self.close_frame = False  #: the driver has to send a close frame
        self.witness: Witness | None = None
        self._ping_interval = ping_interval
        self._pong_timeout = pong_timeout
        self._reply_limit = reply_limit
        self._backoff = backoff
        self._chance = chance
        self._budget = Budget(limits.requests)
        self._reserve = RESERVE if limits.requests is None else min(RESERVE, limits.requests.count // 2)
        # Half of it is not for questions about what was missed: a hundred markets must not keep an order waiting for a minute.
        self._spare = self._reserve if limits.requests is None else max(self._reserve, limits.requests.count // 2)
        self._malformed = Budget(MALFORMED)
        self._serial = 0
        self._decisions = Decisions()
        # Lifecycle.
        self._attempt = 0
        self._opened_at = -math.inf
        self._down_since = math.nan
        self._linked = False
        self._closing_at = math.inf
        self._renew_by = math.inf  # finite: nothing more is said on this link, which is given up then at the latest
        self._renewing = False  # from there until the next one is open, or fails; calls that were not said wait for that
        # Conversation. What is empty as a rule is a list, since an empty deque has 0.7 KiB.
        self._urgent: list[Pending] = []  # logins and pings: before all else, and from the reserve
        self._calls: deque[Pending] = deque()  # not sent yet
        self._waiting: dict[int, Pending] = {}  # every unsettled one by serial
        self._awaited: dict[str, deque[Pending]] = {}  # sent, by the key that the reply will carry, in order
        self._tombstones: list[tuple[str, Pending]] = []
        self._ping: Pending | None = None  # our own heartbeat on its way
        self.round_trips: deque[float] = deque(maxlen=1024)  #: seconds from saying to the reply, the latest ones
        self._sent_at = 0.0
        self._heard_at = 0.0
        self._beaten_at = -math.inf  # one that has no reply is not said again before the next interval is over
        # Topics.
        self._joins: dict[Join, None] = {}  # in the order in which they came
        self._held_back: dict[Join, None] = {}  # those that are `held`
        self._leaves: list[Leave] = []
        self._stated: set[Topic] = set()
        self._unsure: set[Topic] = set()  # the wire may have them or not
        self._saying: Counter[str] = Counter()  # statements in flight by channel
        self._said: dict[int, Command] = {}  # the same by serial
        self._dirty: set[str] = set()
        self._pause_until = 0.0
        # What follows is brought up to date topic by topic: with a look through all of them for each that comes or goes, the
        # thousandth would cost what a thousand do.
        self._index: dict[bytes, list[tuple[Join, Topic]]] = {}  # every join by the keys of its topics
        self._channels: dict[str, set[Topic]] = {}  # what is wanted, or perhaps on the wire, by channel
        self.characters = 0  #: of the names of these as a list in JSON, but for what is around it
        self.topics = 0  #: how many these are
        self._learned: dict[bytes, bytes] = {}  # key of one symbol -> wildcard under which it is wanted
        self._aliases: dict[bytes, tuple[Topic, ...]] = {}  # replaced, never mutated; () is an id that nobody here wants
        self._gone: dict[bytes, tuple[tuple[Topic, ...], float]] = {}  # aliases dropped lately: their topics, known until when
        self._ids: dict[Topic, tuple[str, ...]] = {}  # the exchange's own, for users to see
        self._early: dict[str, deque[tuple[bytes, bytes]]] = {}  # key and message, by channel
        # Silence. A look takes all routes away: the first message of each comes to `receive`, which gives its route back.
        self._watch = Watch()
        self._look_at = math.inf
        self._unheard: set[bytes] = set()  # keys without news since the last look, hence not in `routes`
        self._every_route: dict[bytes, tuple[Sink, ...]] = {}
        self._crowds: dict[frozenset[int], tuple[Sink, ...]] = {}  # routes to several, made lately: one object for one set
        self._held_up = 0.0  # seconds since the last look in which the reader could not listen
        self._doubted: set[Topic] = set()  # to be stated again once: silent, perhaps forgotten there, or with a hole
        self._apart: set[Topic] = set()  # to be stated one by one: of several, refused together, some are subscribed already
        self._returning: set[Topic] = set()  # flowed, were taken off the wire, and are wanted: not confirmed there again yet
        self._login_retried = False  # a refused login was tried once more, and no other has succeeded since
        # What was missed.
        self._missed: set[Topic] = set()  # flowed on a link that was lost; to be asked for when they are confirmed again
        self._questions: list[Pending] = []  # not sent yet
        self._inquiries = Inquiries()

    # Lifecycle -----------------------------------------------------------------------------------------------------------

    def dialling(self) -> None:
        """The driver is about to dial."""
        self._log(logging.DEBUG, "%s: dialling", self.name)
        self.step = "dialling"

    def dialled(self, now: float, login: Command | None) -> None:
        """There is a link. *login* goes first where the exchange asks for one; then the topics are stated."""
        if self.state == CLOSED:
            self.doom = self._why_closed()  # closed while the driver was dialling: it has a link to end
            return
        self._linked = True
        self.doom = None
        self._sent_at = self._heard_at = now
        if login is None:
            self._restate(now)
        else:
            self.step = "logging in"
            self._urgent.insert(0, self._new_pending(login, math.inf))  # before the pings that waited for the link

    def lost(self, now: float, error: ExchangeError, retry_after_s: float = 0.0) -> float | None:
        """
        The link is gone, or could not be made. Returns the moment at which to dial again, or None if it is over.

        Every sent call is settled with *error* now: its outcome is unknown, and whoever waits learns it at once.
        """
        if self.state == CLOSED:
            return None
        was = self.state
        # A second loss in a row is an outage as any.
        self._renewing = self._renewing and was == OPEN and self._backoff is not None
        self._unlink(error)
        if was == CONNECTING or self._backoff is None:
            self._end(GAVE_UP, error)
            return None
        if was == OPEN:
            if now - self._opened_at >= STEADY_S:
                self._attempt = 0
            self._down_since = now
        self._step(LOST if was == OPEN else TRY_AGAIN)
        self.step = "waiting"
        wait = max(retry_after_s, self._backoff.delay(self._attempt, self._chance))
        self._attempt += 1
        limit = self._backoff.give_up_after
        if limit is not None and now + wait - self._down_since > limit:
            given_up = ConnectFailed(f"{self.name}: gave up after {now - self._down_since:.1f} s without a connection: {error}")
            given_up.__cause__ = error
            self._end(GAVE_UP, given_up)
            return None
        self._settle_leaves()
        return now + wait

    def refuse_login(self, error: ExchangeError) -> None:
        """The login was refused, or could not be made for lack of a valid key."""
        if self.state != CLOSED:
            self._unlink(error)
            self._end(REFUSED, error)

    def close(self, now: float, wait: float = CLOSE_WAIT_S) -> None:
        """End everything: waiters with `ConnectionClosed`; the peer has *wait* seconds to answer the close frame."""
        if self.state == CLOSED:
            return
        linked = self._linked
        closed = ConnectionClosed(f"{self.name}: closed")
        self._unlink(closed)
        self._end(CLOSE, closed)
        if linked:
            self.close_frame = True
            self._closing_at = now + wait

    @property
    def closing_overdue_at(self) -> float:
        """The moment at which a peer that did not answer our close frame is cut off."""
        return self._closing_at

    def fail(self, error: ExchangeError) -> None:
        """End everything with *error*, which no later try could mend."""
        if self.state != CLOSED:
            self._unlink(error)
            self._end(GAVE_UP, error)

    # Calls ---------------------------------------------------------------------------------------------------------------

    def submit(self, command: Command, now: float, deadline: float) -> Pending:
        """Say *command* when it may be said. The waiter is registered before a byte can leave."""
        pending = self._new_pending(command, deadline)
        if self.state == CLOSED:
            self._settle(pending, error=self._end_of(pending, self._why_closed()))
        elif self.state == RECONNECTING and not command.replay and not self._renewing:
            text = f"{command.method}: {self.name} is {self.state}; never sent"
            self._settle(pending, error=ConnectionLost(text, sent=False, request=command.shown()))
        elif command.kind == PING:
            self._urgent.append(pending)
        else:
            self._calls.append(pending)
        return pending

    @property
    def _spoken_for(self) -> int:
        """Places of the budget that others have a claim to: pings, calls, and one statement for each channel that differs."""
        return self._reserve + len(self._calls) + len(self._dirty)

    def headroom(self, now: float) -> int:
        """How many calls could be said now; below 1 they would wait."""
        return self._budget.room(now) - self._spoken_for

    def room_at(self, now: float) -> float:
        """The moment, *now* or later, at which one more thing could be said; infinity if that is not foreseen."""
        return self._budget.due(now, self._spoken_for)

    @property
    def busy(self) -> bool:
        """Whether anything is wanted of this connection."""
        return bool(self._joins or self._waiting)

    # Topics --------------------------------------------------------------------------------------------------------------

    def holds(self, topic: Topic) -> bool:
        """Whether *topic* is wanted here, or perhaps still on the wire."""
        return topic in self._channels.get(topic.channel, ())

    def held(self, channel: str | None = None) -> frozenset[Topic]:
        """Topics wanted here, or perhaps still on the wire; those of *channel*, all if None."""
        return frozenset().union(*self._channels.values()) if channel is None else frozenset(self._channels.get(channel, ()))

    def sinks(self) -> list[Sink]:
        """Those whose topics were confirmed here before: what they miss from now on is a gap."""
        # Not by `trial`: of a refusal that names no culprit, those that flowed are suspected again.
        return list({id(join.sink): join.sink for join in self._joins if join.pending.settled}.values())

    @property
    def aliases(self) -> Mapping[bytes, tuple[Topic, ...]]:
        """The topics that come under each id; replaced, never mutated, so that the reader needs no lock for it."""
        return self._aliases

    def ids(self, topics: Iterable[Topic]) -> tuple[str, ...]:
        """The ids that the exchange gave to *topics* on this link."""
        return tuple(name for topic in topics for name in self._ids.get(topic, ()))

    def wanted(self, sink: Sink, topics: Iterable[Topic] | None = None) -> frozenset[Topic]:
        """Those of *topics* that *sink* wants here; all that it does if None, for which everybody's are looked through."""
        if topics is None:
            return frozenset().union(*(join.topics for join in self._joins if join.sink is sink))
        return frozenset(topic for topic in topics if any(join.sink is sink for join in self._joins_of(topic)))

    def want(self, sink: Sink, topics: frozenset[Topic], now: float, deadline: float, *, asks: bool = True) -> Pending:
        """Deliver *topics* to *sink*; the pending is settled when all of them are confirmed. *asks*: what they miss, too."""
        pending = self._new_pending(None, deadline)
        if self.state == CLOSED:
            self._settle(pending, error=self._why_closed())
            return pending
        join = Join(sink, topics, pending, asks)
        self._joins[join] = None
        for topic in topics:
            self._index.setdefault(topic.key, []).append((join, topic))
        self._hold(topics)
        flowing = (topics & self._stated) - self._unsure
        if flowing:
            flowing = flowing.difference(*(command.drops for command in self._said.values()))
        opening = frozenset(topic for topic in flowing if topic.opens_with_snapshot)
        join.late = frozenset(topic for topic in opening if topic.repeatable or topic.renewable) or NOTHING
        join.needs -= flowing - join.late  # those are needed, hence stated again, which gives the snapshot again
        if opening - join.late:
            self._decisions.marks.append((sink, tuple(opening - join.late), False))
        self._dirty.update(topic.channel for topic in join.needs)
        self._advance(join)
        self._reroute(topics - join.needs)
        return pending

    def unwant(self, sink: Sink, topics: frozenset[Topic], now: float, deadline: float) -> Pending:
        """Deliver *topics* to *sink* no more; the pending is settled when those that nobody else wants are off the wire."""
        pending = self._new_pending(None, deadline)
        if self.state == CLOSED:
            self._settle(pending)
            return pending
        joins = [join for join in self._concerned(topics) if join.sink is sink]
        for join in joins:
            self._unindex(join, join.topics & topics)
            join.topics -= topics
            join.needs -= topics
            if not join.topics:
                del self._joins[join]
                self._settle(join.pending, error=ConnectionClosed("the subscription was closed meanwhile"))
            if join.trial and not join.held:
                self._release()  # the topic that it was tried for may be one of these
        self._missed -= {topic for topic in topics & self._missed if not self._is_wanted(topic)}  # anew, nothing was missed
        self._forget_unwanted(topics)
        self._dirty.update(topic.channel for topic in topics)
        self._leaves.append(Leave(topics, pending))
        for join in joins:
            self._advance(join)
        self._reroute(topics)
        self._settle_leaves()
        self._look_whether_open(now)
        return pending

    def restate(self, topics: frozenset[Topic]) -> None:
        """Say again those of *topics* that flow, for the snapshot that this brings: what was received of them has a hole."""
        if not topics:
            return
        on_its_way = frozenset().union(*(command.drops for command in self._said.values()))
        # One that is renewable was off the wire when that was said: if it flows, the snapshot has come, and is before the hole.
        on_its_way |= {topic for command in self._said.values() for topic in command.states if not topic.renewable}
        for topic in topics & (self._stated - on_its_way):
            self._doubted.add(topic)
            self._dirty.add(topic.channel)

    # What they say -------------------------------------------------------------------------------------------------------

    def receive(self, message: bytes, now: float) -> tuple[Sink, ...]:
        """Take a message that `routes` did not know. Returns the sinks that it has to be delivered to."""
        self._heard_at = now
        try:
            said = self.dialect.decode(message)
        except (ValueError, RecursionError):  # the latter where words are made of what a parser just allows to be nested so
            self._count_malformed(now)
            return ()
        if isinstance(said, Update):
            sinks = self._update(said, message)
            self._look_whether_open(now)
            return sinks
        if isinstance(said, Reply):
            self._reply(said, now)
        elif isinstance(said, Pong):
            self._pong(now)
        elif isinstance(said, Notice):
            self.counters["unknown"] += 1
            if said.text:
                self._log(logging.INFO, "%s: the exchange says: %s", self.name, said.text)
        return ()

    def heard(self, now: float, chunk_bytes: int, messages: int) -> None:
        """Bytes came; called once a chunk, and without the lock: only the reader writes these fields, and no two depend."""
        self._heard_at = now
        self.counters["bytes"] += chunk_bytes
        self.counters["messages"] += messages

    def pong_frame(self, payload: bytes, now: float) -> None:
        """A WebSocket pong frame came; those that nobody asked for are allowed [RFC 6455, section 5.5.3]."""
        key = payload.decode("ascii", "replace")
        if key in self._awaited:
            self._reply(Reply(key, ok=True), now)

    def excuse(self, seconds: float) -> None:
        """The reader was held up by a consumer for *seconds*: answers that were waiting meanwhile are not late."""
        if self._ping is not None:
            self._ping.deadline += seconds
        self._held_up += seconds

    def prove(self, now: float) -> None:
        """
        Find out now whether the link lives: time has passed that nobody saw, as the machine slept or the process stood still.

        A link is often dead after it, and the next heartbeat may be far. What the session itself waits for has its time anew:
        an answer may be in the socket's buffer, unread, and is not late for that.
        """
        if not self._speaks:
            return
        for pending in self._waiting.values():
            self._put_off(pending, now)
        if self._ping is None and self.step != "logging in":
            self._beat(now)

    # Time ----------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> float:
        """Do what is due. Returns the next moment at which something is, infinity if nothing."""
        overdue = [pending for pending in self._waiting.values() if pending.deadline <= now]
        if self.witness is not None and overdue:
            self.witness.ticked()
        for pending in overdue:
            if now <= pending.deadline + LATE_S or not self._put_off(pending, now):
                self._overdue(pending, now)
        if overdue:
            self._forget_settled()  # those of an hour without a link would all wait for it
        if self.state == CLOSED:
            return self._closing_at if now < self._closing_at else math.inf
        self._look_whether_to_renew(now)
        due = min((pending.deadline for pending in self._waiting.values()), default=math.inf)
        if self.doom is None:
            due = min(due, self._renew_by)
        if self._speaks:
            if now >= self._look_at:
                self._look(now)
            due = min(due, self._look_at)
            quiet_since = max(min(self._sent_at, self._heard_at), self._beaten_at)
            if self._ping is None and now >= quiet_since + self._ping_interval:
                self._beat(now)
            if self._ping is None:
                due = min(due, quiet_since + self._ping_interval)
            if self._urgent:
                due = min(due, self._budget.due(now))
            if self._questions:
                due = min(due, max(self._pause_until, self._budget.due(now, self._spare)))
            if self.step != "logging in" and (self._sayable() or (self.state == OPEN and self._has_sayable_call())):
                due = min(due, max(self._pause_until, self._budget.due(now, self._reserve)))
        return due

    @property
    def has_outbox(self) -> bool:
        """Whether `take_outbox` may have something, now or when its budget allows; or `tick` has, which ends that for good."""
        return self._renew_by < math.inf or self._speaks and bool(self._urgent or self._dirty or self._questions or self._calls)

    def take_outbox(self, now: float) -> list[tuple[int, bytes]]:
        """
        What may be said now, in order: opcodes and payloads.

        It counts as sent: from here on its outcome is unknown until a reply.
        """
        if not self._speaks:
            return []
        said: list[tuple[int, bytes]] = []
        while self._urgent and self._budget.room(now) > 0:
            pending = self._urgent.pop(0)
            if not pending.settled:
                said.append(self._say(pending, now))
        if self.step == "logging in" or now < self._pause_until:
            return said
        if self._dirty:
            said.extend(self._statements(now))
        while self._questions and self._budget.room(now) > self._spare:
            pending = self._questions.pop(0)
            if pending.serial in self._inquiries:
                said.append(self._say(pending, now))
        if self._calls and self.state == OPEN:
            said.extend(self._sayable_calls(now))
        return said

    @property
    def decided(self) -> bool:
        """Whether the driver has something to do."""
        decisions = self._decisions
        settled = decisions.settled or decisions.marks or decisions.released or decisions.ended or decisions.states
        news = decisions.recoveries or decisions.spoiled or decisions.silent or decisions.resumed or decisions.lines
        return bool(settled or news or decisions.renewals)

    def take_decisions(self) -> Decisions | None:
        """What the driver has to do, handed out once."""
        if not self.decided:
            return None
        decisions, self._decisions = self._decisions, Decisions()
        return decisions

    # Inside: lifecycle ---------------------------------------------------------------------------------------------------

    def _log(self, level: int, text: str, *args: Any) -> None:
        # No errors among *args*: who keeps the record of a line would keep the frames of their traces, with our client in them.
        if log.isEnabledFor(level):
            self._decisions.lines.append((level, text, args))

    def _step(self, event: str) -> None:
        now_in = TRANSITIONS[self.state, event]
        if now_in != self.state:
            self._log(logging.DEBUG, "%s: was %s, is %s", self.name, self.state, now_in)
            self.state = now_in
            self._decisions.states.append(now_in)

    def _restate(self, now: float) -> None:
        self.step = "restating"
        self._login_retried = False
        self._dirty = {topic.channel for join in self._joins for topic in join.topics}
        if not self._dirty:
            self._open(now)

    def _open(self, now: float) -> None:
        if self.state == RECONNECTING:
            self.counters["reconnects"] += 1
        self.step = ""
        self.ever_open = True
        self._opened_at = now
        self._renewing = False
        self._step(READY)

    def _unlink(self, error: ExchangeError) -> None:
        """Forget what only the lost link knew."""
        self._linked = False
        self._renew_by = math.inf
        heartbeat, self._ping = self._ping, None
        self._awaited.clear()
        self._tombstones.clear()
        self._missed |= self._inquiries.missed().union(*(join.topics for join in self._joins if join.pending.settled))
        self._missed &= set().union(*(join.topics for join in self._joins))
        for serial in self._inquiries.clear():
            question = self._waiting[serial]
            self._settle(question, error=self._loss_of(question, error))
        self._questions.clear()
        joins = {id(join.pending) for join in self._joins} | {id(leave.pending) for leave in self._leaves}
        for pending in list(self._waiting.values()):
            command = pending.command
            if id(pending) in joins or command is None:
                continue
            if pending.sent_at is not None or pending is heartbeat or command.kind == LOGIN:
                self._settle(pending, error=self._loss_of(pending, error))
            elif not command.replay and self.state != CONNECTING and not self._renewing:
                self._settle(pending, error=self._loss_of(pending, error))
        self._forget_settled()
        for known in (self._stated, self._unsure, self._dirty):
            known.clear()
        for said in (self._saying, self._said, self._gone, self._ids, self._early, self._learned):
            said.clear()
        self._aliases = {}
        self._channels.clear()
        self.topics = self.characters = 0
        for join in self._joins:
            join.needs = join.topics
            join.late = NOTHING
            join.held = False
            self._hold(join.topics)
        self._held_back.clear()
        self._watch.clear()
        self._reroute_all()  # nothing is known of the next link: there an id may be another topic's
        self._look_at = math.inf
        self._doubted.clear()
        self._apart.clear()
        self._returning.clear()
        self._pause_until = 0.0

    def _forget_settled(self) -> None:
        self._urgent = [pending for pending in self._urgent if not pending.settled]
        self._calls = deque(pending for pending in self._calls if not pending.settled)

    @staticmethod
    def _loss_of(pending: Pending, error: ExchangeError) -> ExchangeError:
        assert pending.command is not None
        sent = pending.sent_at is not None
        told = "its outcome is unknown" if sent else "it was never sent"
        text, shown = f"{pending.command.method}: {told}: {error}", pending.command.shown()
        if isinstance(error, ConnectionClosed):
            return ConnectionClosed(text, sent=sent, request=shown)
        lost = ConnectionLost(text, sent=sent, request=shown)
        if isinstance(error, ConnectionLost):
            lost.close_code, lost.close_reason = error.close_code, error.close_reason
        lost.__cause__ = error
        return lost

    @classmethod
    def _end_of(cls, pending: Pending, error: ExchangeError) -> ExchangeError:
        """What ended the session, as the error of *pending*: of a loss or a close, whether that had left."""
        is_call = pending.command is not None
        return cls._loss_of(pending, error) if is_call and isinstance(error, (ConnectionClosed, ConnectionLost)) else error

    def _end(self, event: str, error: ExchangeError) -> None:
        self._step(event)
        self.step = ""
        self.error = error
        for pending in list(self._waiting.values()):
            self._settle(pending, error=self._end_of(pending, error))
        for queue in (self._urgent, self._calls, self._leaves):
            queue.clear()
        self._decisions.ended.extend((sink, error) for sink in {id(join.sink): join.sink for join in self._joins}.values())
        for known in (self._joins, self._index, self._channels, self._missed):
            known.clear()
        self.topics = self.characters = 0
        self._reroute_all()  # or who has ended is kept here, with all in its buffer, for as long as the client lives

    def _why_closed(self) -> ExchangeError:
        return ConnectionClosed(f"{self.name}: closed") if self.error is None else self.error

    # Inside: saying ------------------------------------------------------------------------------------------------------

    @property
    def _speaks(self) -> bool:
        """Whether there is a link to say something on: an order that went out on a doomed one would have no known outcome."""
        return self._linked and self.state != CLOSED and self.doom is None and self._renew_by == math.inf

    def _new_pending(self, command: Command | None, deadline: float) -> Pending:
        self._serial += 1
        pending = Pending(command, self._serial, deadline)
        self._waiting[pending.serial] = pending
        return pending

    def _say(self, pending: Pending, now: float) -> tuple[int, bytes]:
        assert pending.command is not None
        pending.sent_at = self._sent_at = now
        # These are ours, and are due so long after they were said: a budget without room is no dead link.
        if pending is self._ping:
            pending.deadline = now + self._pong_timeout
        elif pending.command.kind == LOGIN:
            pending.deadline = now + self._reply_limit
        if pending.command is PING_FRAME:
            key = f"ping {pending.serial}"
            self._awaited[key] = deque([pending])
            return OPCODE_PING, key.encode()
        outgoing = self.dialect.encode(pending.command, pending.serial)
        self._log(logging.DEBUG, "%s: says %s", self.name, pending.command.method)
        self._budget.take(now)
        self.counters["requests"] += 1
        if self.witness is not None:
            # Whoever has something to wait on is a caller. Pings come by the clock, which a replay has not.
            within_s = None if pending.deadline == math.inf else pending.deadline - now
            self.witness.said(pending.command, outgoing, within_s, pending.ready is not None or pending.command.kind == PING)
        if outgoing.key is None:
            self._settle(pending)
            self._follow(pending, Reply("", ok=True), now)
        else:
            self._awaited.setdefault(outgoing.key, deque()).append(pending)
        return OPCODE_TEXT, outgoing.data

    def _is_blocked(self, pending: Pending) -> bool:
        """Whether something is in flight with whose answer that to *pending* could be confused."""
        command = pending.command
        return command is not None and command.channel is not None and self._saying[command.channel] > 0

    def _has_sayable_call(self) -> bool:
        return any(not self._is_blocked(pending) for pending in self._calls)

    def _sayable_calls(self, now: float) -> Iterator[tuple[int, bytes]]:
        blocked: list[Pending] = []
        while self._calls and self._budget.room(now) > self._reserve:
            pending = self._calls.popleft()
            if pending.settled:
                continue
            if self._is_blocked(pending):
                blocked.append(pending)
                continue
            assert pending.command is not None
            if pending.command.channel is not None:
                self._saying[pending.command.channel] += 1
            yield self._say(pending, now)
        self._calls.extendleft(reversed(blocked))

    def _sayable(self) -> set[str]:
        """Channels that something may have to be said of, and of which nothing is in flight."""
        return {channel for channel in self._dirty if not self._saying[channel]}

    def _statements(self, now: float) -> Iterator[tuple[int, bytes]]:
        """Computed when it can be said, so that many wishes become one statement, and no two of a channel ever cross."""
        channels = self._sayable()
        if not channels or self._budget.room(now) <= self._reserve:
            return
        there = [topic for channel in channels for topic in self._channels.get(channel, ())]
        joins = {topic: [join for join in self._joins_of(topic) if not join.held] for topic in there}
        wanted = frozenset(topic for topic in there if joins[topic])
        self._let_go(channels, wanted)
        # What may be on the wire is said again if it is wanted, and dropped if it is not. Said again is, too, what flows for
        # others and is still needed by someone: for its snapshot.
        doubtful = (
            self._unsure | self._doubted | {topic for topic in wanted if any(topic in join.needs for join in joins[topic])}
        )
        stated = frozenset(
            topic
            for topic in there
            if (topic in self._stated or topic in self._unsure) and (topic not in doubtful or topic not in wanted)
        )
        # Of those that come anew only after an unsubscribe, that is said now, and the rest when it is answered.
        renewed = frozenset(topic for topic in (wanted & doubtful & self._stated) - self._unsure if topic.renewable)
        for command in self._changes(stated | renewed, wanted - renewed):
            if self._budget.room(now) <= self._reserve:
                return
            yield from self._look_before(command, now)
            pending = self._new_pending(command, now + self._reply_limit)
            self._said[pending.serial] = command
            self._doubted -= command.states
            for join in self._concerned(command.states):
                if join.late:
                    join.late -= command.states
            self._saying.update({topic.channel for topic in command.states | command.drops})
            yield self._say(pending, now)
        self._dirty -= channels
        self._apart = {topic for topic in self._apart if topic.channel not in channels}

    def _changes(self, stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
        """The dialect's commands from *stated* to *wanted*, with those that are to be stated apart behind the others."""
        apart = (wanted - stated) & self._apart
        together = wanted - apart
        yield from self.dialect.changes(stated, together)
        for topic in in_order(apart):
            yield from self.dialect.changes(together, together | {topic})

    def _look_before(self, command: Command, now: float) -> Iterator[tuple[int, bytes]]:
        """
        Ask what there is of topics that *command* states for the first time: it is older than what they will bring.

        On the wire just before the statement, so that nothing can happen that is in the answer, and is an update too.
        """
        catch_up = self.dialect.catch_up
        if catch_up is None:
            return
        for topic in in_order(command.states - self._stated - self._unsure - self._missed):
            queries = catch_up.queries(topic, True)
            if self._budget.room(now) - len(queries) > self._spare:
                for pending in self._inquire(topic, True, queries, now):
                    yield self._say(pending, now)

    def _ask(self, topics: set[Topic], now: float) -> None:
        """*topics* are on the wire again: have it asked what they missed, now that nothing more can be missed."""
        self._missed -= topics
        if self.dialect.catch_up is not None:
            for topic in in_order(topics):
                self._questions.extend(self._inquire(topic, False, self.dialect.catch_up.queries(topic, False), now))

    def _inquire(self, topic: Topic, first: bool, queries: Iterable[Command], now: float) -> list[Pending]:
        """The waiters of these questions; none if nobody wants to know."""
        joins = [join for join in self._joins_of(topic) if join.asks]
        pendings = [self._new_pending(query, now + self._reply_limit) for query in queries] if joins else []
        if pendings:
            sinks = tuple({id(join.sink): join.sink for join in joins}.values())
            self._inquiries.put(topic, first, sinks, [pending.serial for pending in pendings])
            if not first:
                self._decisions.recoveries.append((sinks, Asked(topic)))
        return pendings

    def _learn(self, pending: Pending) -> None:
        """A question was answered, or will not be."""
        reply = pending.reply
        done = self._inquiries.settled(pending.serial, None if pending.error or reply is None else (reply.result,))
        if done is not None:
            self._decisions.recoveries.append(done)
            answer = done[1]
            if answer.results is None and not answer.first:
                self._log(
                    logging.WARNING,
                    "%s: %s: what was missed cannot be asked for: %s",
                    self.name,
                    answer.topic.name,
                    str(pending.error),
                )

    def _let_go(self, channels: set[str], wanted: frozenset[Topic]) -> None:
        """
        Forget topics that nobody wants any more, but whose id is another one's too: unsubscribing them would end both.

        The one that leaves last is unsubscribed.
        """
        shared = frozenset(
            topic
            for topics in self._aliases.values()
            if len(topics) > 1 and not wanted.isdisjoint(topics)
            for topic in topics
            if topic not in wanted and topic.channel in channels
        )
        if shared:
            self._off_wire(shared)
            self._settle_leaves()

    def _put_off(self, pending: Pending, now: float) -> bool:
        """Whether *pending* is what the session waits for itself, and has its time anew, for the first time."""
        login = pending.command is not None and pending.command.kind == LOGIN
        if pending.excused or not (login or pending is self._ping or pending.serial in self._said):
            return False
        pending.excused = True
        pending.deadline = max(pending.deadline, now + (self._pong_timeout if pending is self._ping else self._reply_limit))
        return True

    def _beat(self, now: float) -> None:
        self._beaten_at = now
        self._ping = self._new_pending(self.dialect.heartbeat.command or PING_FRAME, math.inf)
        self._urgent.append(self._ping)

    # Inside: hearing -----------------------------------------------------------------------------------------------------

    def _count_malformed(self, now: float) -> None:
        self.counters["malformed"] += 1
        self._log(logging.WARNING, "%s: a message that is not JSON, or not as documented, was ignored", self.name)
        if self._malformed.room(now) <= 0:
            self.doom = WireError(f"{self.name}: more than {MALFORMED.count} unreadable messages in {MALFORMED.window_s:.0f} s")
        else:
            self._malformed.take(now)
        self._decisions.spoiled.extend(self.sinks())  # nobody knows whose it was: it may have been anyone's

    def _update(self, update: Update, message: bytes) -> tuple[Sink, ...]:
        keys = update.keys if update.wildcard is None else (*update.keys, update.wildcard)
        found = [entry for key in keys for entry in self._entries(key)]
        self._seen(found, message)
        if not found and self.dialect.aliases and self._awaits_ids(update.label) and not self._aliases.get(update.keys[0]):
            early = self._early.setdefault(update.label, deque())
            early.append((update.keys[0], message))
            while len(early) > EARLY or sum(len(kept) for _, kept in early) > EARLY_BYTES:
                early.popleft()
                self.counters["unrouted"] += 1
            return ()
        # A topic that flows is on the wire, whatever became of the reply that should have said so.
        new = {
            topic
            for _, topic in found
            if topic in self._unsure
            or (topic not in self._stated and any(topic in command.states for command in self._said.values()))
        }
        if new and not self._ambiguous(update):
            self._stated |= new
            self._returning -= new & self._unsure  # too late to be of before
            self._unsure -= new
            self._confirm(new)
            self._renew_found(new & self._apart)
        sinks = {id(join.sink): join.sink for join, topic in found if topic not in join.needs}
        if not sinks:
            self._count_unrouted(update.keys[0])
        elif len(update.keys) == 1 and update.wildcard in self._index and len(self._learned) < LEARNED:
            key = update.keys[0]
            if key not in self._learned and self.dialect.route(message) == key:
                assert update.wildcard is not None
                self._learned[key] = update.wildcard
                self._add_route(key, update.wildcard)
        return tuple(sinks.values())

    def _seen(self, found: list[tuple[Join, Topic]], message: bytes) -> None:
        """There is news of these topics: their silence, if it was one, is over, and their route is open until the next look."""
        for topic in {topic for _, topic in found}:
            if self._watch.heard(topic, self._heard_at):
                self._decisions.resumed.extend((join.sink, topic) for join in self._joins_of(topic))
        if self._unheard:
            key = self.dialect.route(message)
            if key in self._unheard:
                self._unheard.discard(key)
                self.routes[key] = self._every_route[key]

    def _add_route(self, key: bytes, wildcard: bytes) -> None:
        """What `_reroute_all` would find for *key*, just learned. For each of ten thousand symbols that would take a minute."""
        sinks = self._every_route.get(wildcard)
        if sinks is None or key in self._index:
            self._reroute_all()
            return
        self._every_route[key] = sinks
        if self._watch.any_silent:
            self._unheard.add(key)
        else:
            self.routes[key] = sinks

    def _ambiguous(self, update: Update) -> bool:
        """Whether both the topic of one symbol and that of all may be on the wire: then the update tells of neither."""
        flowing = self._stated.union(self._unsure, *(command.states | command.drops for command in self._said.values()))
        keys = {topic.key for topic in flowing}
        return update.wildcard in keys and not keys.isdisjoint(update.keys)

    def _awaits_ids(self, channel: str) -> bool:
        return any(topic.channel == channel for command in self._said.values() for topic in command.states)

    def _count_unrouted(self, key: bytes) -> None:
        """Nobody takes an update; those of what was dropped just now are only late."""
        late = bool(self._aliases.get(key)) or self._gone.get(key, ((), -math.inf))[1] > self._heard_at
        self.counters["late" if late else "unrouted"] += 1

    def _pong(self, now: float) -> None:
        """It belongs to the oldest ping, which may have timed out."""
        for key, waiting in self._awaited.items():
            command = waiting[0].command
            if command is not None and command.kind == PING:
                self._reply(Reply(key, ok=True), now)
                return

    def _reply(self, reply: Reply, now: float) -> None:
        if reply.error is not None and reply.error.renew and self._renew_by == math.inf and self.step != "logging in":
            # Whoever it answers, be it nobody any more.
            self._log(logging.INFO, "%s: the exchange asks for a new connection", self.name)
            self._renewing = True
            self._renew_by = now + RENEW_WAIT_S
        self._answer(reply, now)
        self._look_whether_to_renew(now)

    def _answer(self, reply: Reply, now: float) -> None:
        """Give *reply* to whom it answers."""
        key = self._oldest() if reply.key is None else reply.key
        if reply.alone and key not in self._awaited:
            key = self._only()
        waiting = self._awaited.get(key, deque())
        if reply.method is not None:
            while waiting and waiting[0].settled and not self._answers(reply, waiting[0]):
                waiting.popleft()  # answers come in order, so one that was given up has none any more
            if not waiting:
                self._awaited.pop(key, None)
        if reply.remark is not None:
            self._log(logging.WARNING, "%s: %s: %s", self.name, reply.key, reply.remark)
        if not waiting or not self._answers(reply, waiting[0]):
            self.counters["unasked"] += 1
            if not reply.ok and reply.error is not None:
                self._log(
                    logging.WARNING, "%s: an error that answers no request: %s: %s", self.name, reply.key, reply.error.message
                )
            return
        pending = waiting.popleft()
        if not waiting:
            del self._awaited[key]
        if pending.settled:
            self.counters["late"] += 1
            return
        command = pending.command
        assert command is not None
        assert pending.sent_at is not None
        took = now - pending.sent_at
        self.round_trips.append(took)
        if reply.ok:
            self._log(logging.DEBUG, "%s: %s was answered after %.3f s", self.name, command.method, took)
            self._settle(pending, reply=reply)
        else:
            refusal = reply.error or Refusal(None, "refused without a reason")
            # Not its words: they may repeat what was said, a key perhaps.
            self._log(logging.DEBUG, "%s: %s was refused, code %s", self.name, command.method, refusal.code)
            self._settle(pending, error=refused(refusal, command), reply=reply)
            if refusal.kind == TOO_MANY and not refusal.narrow:
                self._pause_until = now + (refusal.retry_after_s or THROTTLE_S)
        self._follow(pending, reply, now)

    def _look_whether_to_renew(self, now: float) -> None:
        """Give up the link that the exchange wants to be replaced, once nothing is awaited there, or it is too late."""
        if self._renew_by == math.inf or self.doom is not None:
            return
        if now >= self._renew_by or all(pending.sent_at is None for pending in self._waiting.values()):
            self.doom = ConnectionLost(f"{self.name}: the exchange asks for a new connection", sent=True)

    def _follow(self, pending: Pending, reply: Reply, now: float) -> None:
        """Go on after the answer to a login, a statement or a question of ours."""
        command = pending.command
        assert command is not None
        if command.kind == LOGIN:
            self._logged_in(pending, reply, now)
        elif pending.serial in self._said:
            self._answered(pending, command, reply, now)
        elif pending.serial in self._inquiries:
            self._learn(pending)
        elif command.kind == SUBSCRIBE:
            # By a call: the ids are nobody's, and must not be taken for those of the next statement.
            self._rename({alias: () for alias in reply.aliases if alias not in self._aliases})
            nobodys = [alias for alias, bound in self._aliases.items() if not bound]
            if len(nobodys) > NOBODYS:
                forgotten = set(nobodys[:-NOBODYS])
                self._aliases = {alias: bound for alias, bound in self._aliases.items() if alias not in forgotten}
        elif command.kind == UNSUBSCRIBE:
            self._ended_too(reply, frozenset())

    @staticmethod
    def _answers(reply: Reply, pending: Pending) -> bool:
        return reply.method is None or pending.command is None or reply.method == pending.command.method

    def _only(self) -> str:
        """
        The key of the one command that waits for an answer; none if there are several. Of pings, answers tell.

        What may have an effect is not answered so while the answer to another one, which was given up, may yet come: that would
        be taken for its outcome.
        """
        said = [
            (key, pending, pending.command)
            for key, entries in self._awaited.items()
            for pending in entries
            if pending.command is not None and pending.command.kind != PING
        ]
        waiting = [(key, command) for key, pending, command in said if not pending.settled]
        if len(waiting) != 1:
            return ""
        key, command = waiting[0]
        return key if command.replay or len(said) == 1 else ""

    def _oldest(self) -> str:
        """
        The key of the command that has waited longest: what an answer that does not tell most likely means.

        A ping only if nothing else waits: of those, answers tell, and they are not refused.
        """
        waiting = []
        for key, entries in self._awaited.items():
            oldest = entries[0]
            if oldest.command is not None and oldest.command is not PING_FRAME:
                waiting.append((oldest.command.kind == PING, oldest.sent_at or 0.0, oldest.serial, key))
        return min(waiting, default=(False, 0.0, 0, ""))[3]

    def _logged_in(self, pending: Pending, reply: Reply, now: float) -> None:
        refusal = pending.error
        if refusal is None:
            self._restate(now)
        elif reply.error is not None and reply.error.kind in (TOO_MANY, TRANSIENT):
            self.doom = refusal  # a loss like others: our key was not judged, and may be tried again
        elif self.state == RECONNECTING and pending.command and pending.command.replay and not self._login_retried:
            # It is made anew for each link, and what it was made of may have expired on its way.
            self._login_retried = True
            self.doom = ConnectionLost(f"{self.name}: the login was refused; trying once more with a new one", sent=True)
        elif isinstance(refusal, AuthenticationError):
            self.doom = refusal
        else:
            self.doom = AuthenticationError(str(refusal), code=getattr(refusal, "code", None))

    def _end_statement(self, pending: Pending, command: Command) -> None:
        del self._said[pending.serial]
        touched = {topic.channel for topic in command.states | command.drops}
        self._end_saying(touched)
        self._dirty |= touched  # what was wished meanwhile may differ from what was said

    def _end_saying(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._saying[channel] -= 1
            if not self._saying[channel]:
                del self._saying[channel]

    def _answered(self, pending: Pending, command: Command, reply: Reply, now: float) -> None:
        """A statement of topics got its reply."""
        self._end_statement(pending, command)
        error = pending.error
        kind = REJECTED if reply.error is None else reply.error.kind
        known = error is not None and kind == ALREADY and not command.replaces
        if known and len(command.states) == 1:
            error = None
        refusals = self._refusals(reply, command) if error is None else {}
        confirmed = command.states.difference(refusals)
        there = confirmed if known else self._found_subscribed(reply, confirmed)
        found, kept = there - self._returning, there & self._returning
        # What came of them since was on its way when they were unsubscribed, and no sign that they are subscribed again.
        self._off_wire((command.states if error is not None else frozenset(refusals)) & self._returning & self._stated)
        places = self._own_places(reply, confirmed) if error is None and confirmed else []
        if places is None:
            error = self._unclear(command)
            self._doubt(command.states)
            self._blame(command, error)
            self._release_early()
        elif error is None:
            self._off_wire(command.drops)
            if command.states:
                self._bind(reply, places, confirmed)
            else:
                self._ended_too(reply, command.drops)
            self._stated |= confirmed
            self._unsure -= confirmed
            self._hold(confirmed)
            self._returning -= confirmed
            self._miss_snapshots(kept)
            self._mark(confirmed)
            self._confirm(confirmed)
            self._renew_found(found)
            if refusals:
                self._part_refused(command, refusals, now)
            self._release_early()
        elif known and command.states:
            # Some of them are, and perhaps not all: only of one alone that is told for sure.
            self._apart |= command.states
            self._doubt(command.states - self._stated)
            self._renew_found(command.states & self._stated)  # what came of these was not because of this statement
            self._release_early()
        elif reply.error is not None and reply.error.renew:
            self._release_early()  # it is said again on the next link, as all that is wanted is
        else:
            if command.replaces:
                channels = {topic.channel for topic in command.states}
                lost = {topic for channel in channels for topic in self._channels.get(channel, ()) if topic in self._stated}
                self._doubt(lost)
                self._need_again(lost)
            if kind in (REJECTED, UNAUTHORIZED, ALREADY):
                self._blame(command, error)
            else:
                self._pause_until = max(self._pause_until, now + RETRY_S)
                if kind == TRANSIENT:
                    for join in self._concerned(command.states):
                        if join.trial and join.needs & command.states:
                            self._reject(join, error)
                if any(join.needs & command.states for join in self._concerned(command.states)):
                    self._log(logging.WARNING, "%s: %s; trying again", self.name, str(error))
            self._release_early()
        self._settle_leaves()
        self._look_whether_open(now)

    def _refusals(self, reply: Reply, command: Command) -> dict[Topic, Refusal]:
        """What of a statement was refused, where the rest of it was done."""
        if not reply.refused:
            return {}
        named = {topic.key: topic for topic in command.states | command.drops}
        for key in reply.refused.keys() - named.keys():
            self._log(logging.WARNING, "%s: %s refuses %r, which was not asked for", self.name, command.method, key)
        parts = {named[key]: refusal for key, refusal in reply.refused.items() if key in named}
        return {topic: refusal for topic, refusal in parts.items() if refusal.kind != ALREADY}  # which is as good as done

    @staticmethod
    def _found_subscribed(reply: Reply, topics: frozenset[Topic]) -> frozenset[Topic]:
        """Those of *topics* that were subscribed before they were stated."""
        known = {key for key, refusal in reply.refused.items() if refusal.kind == ALREADY}
        return frozenset(topic for topic in topics if topic.key in known)

    def _renew_found(self, topics: Iterable[Topic]) -> None:
        """These were subscribed before they were stated: their snapshots were sent then, and are not sent again."""
        self.restate(frozenset(topic for topic in topics if topic.renewable and topic.opens_with_snapshot))

    def _miss_snapshots(self, topics: Iterable[Topic]) -> None:
        """
        These were to be renewed, and the exchange has kept them on: the snapshot does not come, and what came is lost.

        They are not renewed at once, or where no unsubscribe is done that would go on for ever. Books and readers of what adds
        up ask again in their own time.
        """
        opening = frozenset(topic for topic in topics if topic.opens_with_snapshot)
        for join in self._concerned(opening):
            self._decisions.marks.append((join.sink, tuple(join.topics & opening), False))

    def _part_refused(self, command: Command, refusals: Mapping[Topic, Refusal], now: float) -> None:
        """These topics of *command* were refused by name, so nobody has to be tried: who waits for one of them is told."""
        if command.replaces:
            self._off_wire(frozenset(refusals))  # what stood there before is replaced too
        for leave in self._leaves:
            for topic in leave.topics & command.drops & refusals.keys():
                self._settle(leave.pending, error=refused(refusals[topic], command))
        for join in self._concerned(command.states):
            hit = in_order(join.needs & command.states & refusals.keys())
            final = [topic for topic in hit if self._is_final(refusals[topic], join)]
            if final:
                self._reject(join, refused(refusals[final[0]], command), final)
            elif hit:
                refusal = refusals[hit[0]]
                pause = (refusal.retry_after_s or THROTTLE_S) if refusal.kind == TOO_MANY else RETRY_S
                self._pause_until = max(self._pause_until, now + pause)
                self._log(logging.WARNING, "%s: %s; trying again", self.name, str(refused(refusal, command)))

    @staticmethod
    def _is_final(refusal: Refusal, join: Join) -> bool:
        """Whether what was refused so is not said again for *join*: "not now" ends a new wish, whose caller can decide."""
        return refusal.kind in (REJECTED, UNAUTHORIZED) or (refusal.kind == TRANSIENT and join.trial)

    def _own_places(self, reply: Reply, topics: frozenset[Topic]) -> list[int] | None:
        """
        Which of the ids that a confirmation names are those of *topics*, by their places; None if that cannot be told.

        Some servers name all ids of the channel in each confirmation. Those known already are others', unless none is new: then
        it was subscribed before, or is another's stream too. Of several new ones, an echo of the parameters may tell whose they
        are, as may their being the ids of what was dropped just now.
        """
        echoes = dict(enumerate(reply.echoes))
        aliases = dict(enumerate(reply.aliases))

        def means(place: int, among: Iterable[Topic]) -> bool:
            echoed, echo = self.dialect.echoed, echoes.get(place)
            return echoed is not None and bool(echo) and any(echoed(topic, echo) for topic in among)

        if not aliases:
            return []
        matching = [place for place in aliases if means(place, topics)]
        new = [place for place, alias in aliases.items() if alias not in self._aliases]
        if not set(new).isdisjoint(matching):
            new = [place for place in new if place in matching or not echoes.get(place)]
        else:
            # By their keys, whose hashes are known: there may be a thousand that are gone.
            wanted = (join.topics for join in self._joins)
            gone = (bound for bound, _ in self._gone.values())
            others = {topic.key: topic for some in (self._stated, self._unsure, *wanted, *gone) for topic in some}
            for topic in topics:
                others.pop(topic.key, None)
            new = [place for place in new if not means(place, others.values())]
        if len(new) > 1:
            new = [p for p in new if aliases[p] not in self._gone or not topics.isdisjoint(self._gone[aliases[p]][0])] or new
        if new:
            return new
        if len(aliases) == 1:
            return list(aliases)
        return matching if len(matching) == 1 else None

    def _unclear(self, command: Command) -> ExchangeError:
        """It may flow under any of several ids, and another's data must not be delivered: only a fresh link is sure."""
        what = "the confirmation names several ids, and none that can be told to be its own"
        self.doom = ConnectionLost(f"{self.name}: {what}", sent=True)
        return refused(Refusal(None, what), command)

    def _bind(self, reply: Reply, places: list[int], topics: frozenset[Topic]) -> None:
        """Remember under which ids *topics* will come, at *places* of the confirmation."""
        bound: dict[bytes, tuple[Topic, ...]] = {}
        for place in places:
            alias = reply.aliases[place]
            there = bound.get(alias, self._aliases.get(alias, ()))
            bound[alias] = (*there, *(topic for topic in topics if topic not in there))
        for topic in topics:
            ids = tuple(reply.ids[place] for place in places if place < len(reply.ids))
            if ids or topic in self._ids:
                self._ids[topic] = ids
        self._rename(bound)

    def _rename(self, bound: Mapping[bytes, tuple[Topic, ...]]) -> None:
        if bound:
            self._aliases = {**self._aliases, **bound}

    def _ended_too(self, reply: Reply, meant: frozenset[Topic]) -> None:
        """The server's word counts on what an unsubscribe has ended: what it names beside *meant* has to be stated again."""
        named = {topic for alias in reply.aliases for topic in self._aliases.get(alias, ())} - meant
        if named:
            names = ", ".join(sorted(topic.name for topic in named))
            self._log(logging.WARNING, "%s: an unsubscribe has ended %s too; subscribing again", self.name, names)
            self._off_wire(frozenset(named))
            self._dirty.update(topic.channel for topic in named)
        else:
            nobodys = {alias for alias in reply.aliases if not self._aliases.get(alias, (None,))}
            self._aliases = {alias: topics for alias, topics in self._aliases.items() if alias not in nobodys}

    def _release_early(self) -> None:
        """Deliver what came before its confirmation; what stays unknown is nobody's."""
        for channel in [channel for channel in self._early if not self._saying[channel]]:
            for key, message in self._early.pop(channel):
                sinks = self.routes.get(key)
                if sinks is None:
                    self._count_unrouted(key)
                else:
                    self._decisions.released.append((sinks, message))

    def _blame(self, command: Command, error: ExchangeError) -> None:
        """
        A statement was refused, which names no culprit. The newest wish is the suspect; several are tried one at a time.
        """
        if command.kind != SUBSCRIBE:
            # An unsubscribe that the exchange does not know: what it names is as good as gone.
            self._off_wire(command.drops)
            for leave in self._leaves:
                if leave.topics & command.drops:
                    self._settle(leave.pending, error=error)
            return
        if any(all(join.held for join in self._joins_of(topic)) for topic in command.states):
            return  # one who wished for it has left or is held back, and may be the culprit: first the rest is said again
        # Not those who need nothing of it: what they have flows, whatever was said of stating it again.
        touching = [join for join in self._concerned(command.states) if not join.held and join.needs & command.states]
        suspects = [join for join in touching if join.trial] or touching
        if len(suspects) == 1 or len(command.states) == 1:  # one topic has one fate, whoever wishes for it
            for join in suspects:
                self._reject(join, error)
            return
        for join in suspects:
            join.trial = True
        for join in suspects[1:]:
            join.held = True
            self._held_back[join] = None
            self._dirty.update(topic.channel for topic in join.topics)

    def _reject(self, join: Join, refusal: ExchangeError, topics: Iterable[Topic] = ()) -> None:
        """*join* ends; *topics* are those that were refused, none if that is not known."""
        error = refusal
        if isinstance(refusal, SubscriptionRejected):  # it names all that was stated; this is what the culprit wished
            names = ", ".join(sorted(topic.name for topic in topics or join.topics))
            error = SubscriptionRejected(
                f"subscribe {names}: {refusal.message}" + ("" if refusal.code is None else f" (code {refusal.code})"),
                code=refusal.code,
                message=refusal.message,
                request=refusal.request,
                topic=names,
            )
        self._dismiss(join)
        self._settle(join.pending, error=error)
        self._decisions.ended.append((join.sink, error))
        self._release()
        self._reroute(join.topics)

    def _dismiss(self, join: Join) -> None:
        """*join* wants nothing any more."""
        del self._joins[join]
        self._unindex(join, join.topics)
        self._forget_unwanted(join.topics)
        self._dirty.update(topic.channel for topic in join.topics)

    def _release(self) -> None:
        """A trial is over: the next wish that was held back for one may be tried."""
        self._held_back = {join: None for join in self._held_back if join.held and join in self._joins}
        join = min(self._held_back, key=lambda held: held.number, default=None)
        if join is not None:
            del self._held_back[join]
            join.held = False
            self._dirty.update(topic.channel for topic in join.topics)

    def _off_wire(self, topics: frozenset[Topic]) -> None:
        if not topics:
            return  # as after nearly every answer: to look through all that is wanted, for nothing, is what costs
        flowed = {topic for topic in topics & self._stated if topic.renewable}
        for join in self._concerned(flowed):
            if join.pending.settled:
                self._decisions.renewals.append((join.sink, tuple(join.topics & flowed)))
                self._returning |= join.topics & flowed
        self._stated -= topics
        self._unsure -= topics
        self._doubted -= topics
        self._watch.end(topics - self._returning)  # or who was told of a silence would not be told of its end
        self._unbind(topics)
        self._let_loose(topics)
        self._need_again(topics)

    def _forget_unwanted(self, topics: Iterable[Topic]) -> None:
        """Those of *topics* that nobody wants any more do not return."""
        unwanted = {topic for topic in topics if topic in self._returning and not self._is_wanted(topic)}
        self._returning -= unwanted
        self._watch.end(unwanted)

    def _unbind(self, topics: frozenset[Topic]) -> None:
        """No update comes for *topics* any more, but for those on their way."""
        left: dict[bytes, tuple[Topic, ...]] = {}
        now = self._heard_at
        for alias, bound in self._aliases.items():
            rest = tuple(topic for topic in bound if topic not in topics)
            if rest or not bound:
                left[alias] = rest
            else:
                self._gone.pop(alias, None)  # for the order: what was dropped first stands first
                self._gone[alias] = bound, now + GONE_S
        while self._gone:
            oldest = next(iter(self._gone))
            if len(self._gone) <= GONE and self._gone[oldest][1] > now:
                break
            del self._gone[oldest]
        if left != self._aliases:
            self._aliases = left
            self._reroute_all()
        for topic in topics:
            self._ids.pop(topic, None)

    def _need_again(self, topics: Collection[Topic]) -> None:
        """Who wants *topics* has to wait for a reply or an update that confirms them anew."""
        for join in self._concerned(topics):
            join.needs |= join.topics.intersection(topics)
            if join.late:
                join.late = join.late.difference(topics)
        self._reroute(topics)

    def _mark(self, topics: frozenset[Topic]) -> None:
        for join in self._concerned(topics):
            self._decisions.marks.append((join.sink, tuple(join.topics & topics), True))  # which looks at the fewer of both

    def _confirm(self, topics: Iterable[Topic]) -> None:
        """*topics* are on the wire now; a join whose last need that was is settled, and its route open."""
        known = set(topics)
        self._watch.begin(known, self._heard_at)
        if self._watch and self._look_at == math.inf:
            self._look_at = self._heard_at + LOOK_S
        news: set[Topic] = set()
        for join in self._concerned(known):
            met = join.needs & (known - join.late if join.late else known)  # not all: a statement may repeat thousands
            join.needs -= met
            news |= met
            self._advance(join)
        if not self._missed.isdisjoint(known):
            self._ask(self._missed & known, self._heard_at)
        self._reroute(news)

    def _advance(self, join: Join) -> None:
        """If nothing that *join* wants is to be confirmed any more, it is settled, and no trial."""
        if not join.needs:
            join.needs = NOTHING
            self._settle(join.pending)
            join.pending = DONE
            if join.trial:
                join.trial = join.held = False
                self._release()

    def _settle_leaves(self) -> None:
        left = []
        for leave in self._leaves:
            while leave.left and (not self._linked or self._is_wanted(leave.left[-1]) or not self._may_flow(leave.left[-1])):
                leave.left.pop()
            if not leave.left:
                self._settle(leave.pending)
            if not leave.pending.settled:
                left.append(leave)
        self._leaves = left

    def _may_flow(self, topic: Topic) -> bool:
        """Whether *topic* is on the wire, or may be, or will be once we are answered."""
        if topic in self._stated or topic in self._unsure:
            return True
        return self._saying[topic.channel] > 0 and any(topic in command.states for command in self._said.values())

    def _look_whether_open(self, now: float) -> None:
        if self.step == "restating" and not any(join.needs for join in self._joins):
            self._open(now)

    def _joins_of(self, topic: Topic) -> list[Join]:
        """Those that want *topic*, in the order in which they came."""
        return [join for join, one in self._index.get(topic.key, ()) if one is topic or one == topic]

    def _concerned(self, topics: Iterable[Topic]) -> list[Join]:
        """Those that want any of *topics*, in the order in which they came."""
        found = {join.number: join for topic in topics for join in self._joins_of(topic)}
        return [found[serial] for serial in sorted(found)]

    def _is_wanted(self, topic: Topic) -> bool:
        return bool(self._joins_of(topic))

    def _unindex(self, join: Join, topics: Iterable[Topic]) -> None:
        """*join* does not want *topics* any more."""
        for topic in topics:
            entries = [entry for entry in self._index[topic.key] if entry[0] is not join or entry[1] != topic]
            if entries:
                self._index[topic.key] = entries
            else:
                del self._index[topic.key]
        self._let_loose(topics)

    def _entries(self, key: bytes) -> Sequence[tuple[Join, Topic]]:
        """Every join, with the topic that it wants, of which an update under *key* has news."""
        aliased = [entry for topic in self._aliases.get(key, ()) for entry in self._index.get(topic.key, ())]
        return aliased or self._index.get(key, ())

    def _hold(self, topics: Iterable[Topic]) -> None:
        """*topics* are wanted, or perhaps on the wire."""
        for topic in topics:
            there = self._channels.setdefault(topic.channel, set())
            if topic not in there:
                there.add(topic)
                self.topics += 1
                self.characters += topic.characters

    def _let_loose(self, topics: Iterable[Topic]) -> None:
        """Those of *topics* that are neither wanted nor perhaps on the wire are forgotten."""
        for topic in topics:
            if topic in self._stated or topic in self._unsure or self._is_wanted(topic):
                continue
            there = self._channels.get(topic.channel, set())
            if topic in there:
                there.remove(topic)
                self.topics -= 1
                self.characters -= topic.characters
                if not there:
                    del self._channels[topic.channel]

    def _doubt(self, topics: Iterable[Topic]) -> None:
        """The wire may have *topics* or not."""
        self._unsure.update(topics)
        self._hold(topics)

    def _reroute(self, topics: Collection[Topic]) -> None:
        """Bring the routes of *topics* up to date; all of them where some depend on others."""
        if self._aliases or any(topic.wildcard in self._index or topic.key == topic.wildcard for topic in topics):
            self._reroute_all()
            return
        for key in {topic.key for topic in topics}:
            joins = {id(join.sink): join for join, topic in self._index.get(key, ()) if topic not in join.needs}
            if not joins:
                self._every_route.pop(key, None)
                self._unheard.discard(key)
                self.routes.pop(key, None)
                continue
            if key not in self._every_route and self._watch.any_silent:  # what comes under a new key may be of one of those
                self._unheard.add(key)
            self._every_route[key] = self._route_to(joins)
            if key not in self._unheard:
                self.routes[key] = self._every_route[key]

    def _route_to(self, joins: Mapping[int, Join]) -> tuple[Sink, ...]:
        """One tuple for one set of sinks, so that the reader can compare by identity."""
        if len(joins) == 1:
            return next(iter(joins.values())).alone
        if len(self._crowds) >= CROWDS:
            self._crowds.clear()
        return self._crowds.setdefault(frozenset(joins), tuple(join.sink for join in joins.values()))

    def _reroute_all(self) -> None:
        """Make all routes anew: where one topic's are another's too."""
        found: dict[bytes, dict[int, Join]] = {}
        every: dict[bytes, dict[int, Join]] = {}
        for join in self._joins:
            for topic in join.topics - join.needs:
                found.setdefault(topic.key, {})[id(join.sink)] = join
                if topic.key == topic.wildcard:
                    every.setdefault(topic.key, {})[id(join.sink)] = join
        for alias, topics in self._aliases.items():
            for topic in topics:
                if topic.key in found:
                    found.setdefault(alias, {}).update(found[topic.key])
        if every:
            for key, wildcard in self._learned.items():
                found.setdefault(key, {}).update(every.get(wildcard, {}))
            for join in self._joins:
                for topic in join.topics - join.needs:
                    if topic.wildcard in every:
                        found[topic.key].update(every[topic.wildcard])
        before = self._every_route.keys()
        self._crowds = {}
        self._every_route = {key: self._route_to(joins) for key, joins in found.items() if joins}
        self._unheard &= self._every_route.keys()
        if self._watch.any_silent:  # what comes under a new id may be of one of those
            self._unheard |= self._every_route.keys() - before
        self.routes = {key: sinks for key, sinks in self._every_route.items() if key not in self._unheard}

    # Inside: settling and time -------------------------------------------------------------------------------------------

    def _settle(self, pending: Pending, *, reply: Reply | None = None, error: ExchangeError | None = None) -> None:
        if pending.settled:
            return
        pending.reply = reply
        pending.error = error
        pending.settled = True  # last: who waits looks at this without a lock
        self._waiting.pop(pending.serial, None)
        if pending is self._ping:
            self._ping = None
        command = pending.command
        if command is not None and command.channel is not None and pending.sent_at is not None:
            self._end_saying((command.channel,))
        self._decisions.settled.append(pending)

    def _overdue(self, pending: Pending, now: float) -> None:
        sent = pending.sent_at is not None
        command = pending.command
        if command is None:
            self._overdue_topics(pending, now)
            return
        was_heartbeat = pending is self._ping
        waited = "no answer in time" if sent else f"not sent in time: {self.name} is {self.state}{self._why_waiting(now)}"
        self._settle(pending, error=RequestTimeout(f"{command.method}: {waited}", sent=sent, request=command.shown()))
        if sent:
            self._bury(pending)
        if pending.serial in self._inquiries:
            self._learn(pending)
        if was_heartbeat or command.kind == LOGIN:
            what = "no pong" if was_heartbeat else "no answer to the login"
            self.doom = ConnectionLost(f"{self.name}: {what} within {now - (pending.sent_at or now):.1f} s", sent=True)
        elif pending.serial in self._said:
            self._unanswered(pending, command)
        elif sent and self._ping is None and self._heard_at <= (pending.sent_at or 0.0) and self._linked:
            self._beat(now)  # nothing came since we asked: find out now whether the link lives

    def _look(self, now: float) -> None:
        """Which topics have fallen silent? They are told, and stated again, in case that the exchange has forgotten them."""
        late = now - self._look_at
        # Much too late: the machine slept, and so did we.
        self._watch.excuse(self._held_up + (late if late > LOOK_S else 0.0))
        self._held_up = 0.0
        fallen = self._watch.silent(now)
        if fallen and self.witness is not None:
            self.witness.looked({topic.name: now - since for topic, since in fallen})
        for topic, since in fallen:
            sinks = [join.sink for join in self._joins_of(topic) if topic not in join.needs]
            if not sinks or topic not in self._stated:
                continue
            self._log(
                logging.WARNING, "%s: nothing of %s came for %.0f s; subscribing again", self.name, topic.name, now - since
            )
            self._decisions.silent.extend((sink, topic, since) for sink in sinks)
            self._doubted.add(topic)
            self._dirty.add(topic.channel)
        self._look_at = now + LOOK_S if self._watch else math.inf
        self._unheard = set(self._every_route)
        self.routes = {}

    def _why_waiting(self, now: float) -> str:
        return ", waiting for its request budget" if self.state == OPEN and self.headroom(now) <= 0 else ""

    def _why_unsaid(self, topics: Iterable[Topic], now: float) -> str:
        """Why nothing was said of *topics*, if that is for want of budget."""
        unsaid = self._speaks and not self._sayable().isdisjoint(topic.channel for topic in topics)
        return ", waiting for its request budget" if unsaid and self._budget.room(now) <= self._reserve else ""

    def _overdue_topics(self, pending: Pending, now: float) -> None:
        for join in [join for join in self._joins if join.pending is pending]:
            self._dismiss(join)
            names = ", ".join(sorted(topic.name for topic in join.needs))
            what = f"subscribe {names}: not confirmed in time{self._why_unsaid(join.topics, now)}"
            self._settle(pending, error=RequestTimeout(what, sent=self._linked))
            self._release()
            self._reroute(join.topics)
            self._look_whether_open(now)
            return
        topics = frozenset().union(*(leave.topics for leave in self._leaves if leave.pending is pending))
        what = f"unsubscribe: not confirmed in time{self._why_unsaid(topics, now)}"
        self._settle(pending, error=RequestTimeout(what, sent=self._linked))
        self._leaves = [leave for leave in self._leaves if leave.pending is not pending]

    def _unanswered(self, pending: Pending, command: Command) -> None:
        """A statement without a reply: what it asked for may be on the wire or not."""
        if command.kind == SUBSCRIBE:
            self._off_wire(command.states & self._returning & self._stated)  # as if refused, see there
            self._doubt(command.states - self._stated)
        self._off_wire(command.drops)
        self._end_statement(pending, command)
        self._release_early()
        self._settle_leaves()
        if self.step == "restating" or (self.dialect.aliases and command.kind == SUBSCRIBE):
            # Without its ids nothing of it can be delivered, and a late answer would be taken for that to another.
            self.doom = ConnectionLost(f"{self.name}: the exchange does not confirm subscriptions")

    def _bury(self, pending: Pending) -> None:
        """Its reply may still come, and must not be taken for the next one's where replies carry no ids."""
        for key, waiting in self._awaited.items():
            if pending in waiting:
                self._tombstones.append((key, pending))
                break
        if len(self._tombstones) > TOMBSTONES:
            key, oldest = self._tombstones.pop(0)
            waiting = self._awaited.get(key, deque())
            if oldest in waiting:
                waiting.remove(oldest)
                if not waiting:
                    del self._awaited[key]
