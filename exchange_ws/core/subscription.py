"""The consumer's end of a stream: a bounded buffer with an overflow policy, iterated."""

from __future__ import annotations

import functools
import logging
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, Union

import attrs

from exchange_ws.clock import Clock, Deadline, Latch, checked_timeout
from exchange_ws.core.decoding import UNREADABLE, Ahead, Decoder
from exchange_ws.core.dialect import Dialect, parse
from exchange_ws.core.errand import join, start
from exchange_ws.core.messages import Topic
from exchange_ws.core.recovery import Answer, Asked
from exchange_ws.errors import (
    ConnectionClosed,
    ConsumerTooSlow,
    ExchangeError,
    SubscriptionClosed,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Event, Gap, Numbers

if TYPE_CHECKING:
    from types import TracebackType

    import pandas

    from exchange_ws.wire.transport import Waker

__all__ = [
    "BLOCK",
    "DROP_NEWEST",
    "DROP_OLDEST",
    "LATEST",
    "OVERFLOWS",
    "RAISE",
    "Forked",
    "Listener",
    "Signal",
    "Stream",
    "Subscription",
    "check_limit",
    "check_number",
    "percentiles",
]

log = logging.getLogger(__name__)

DROP_OLDEST, DROP_NEWEST, LATEST, RAISE, BLOCK = "drop_oldest", "drop_newest", "latest", "raise", "block"
#: What a subscription may do when its buffer is full.
OVERFLOWS = (DROP_OLDEST, DROP_NEWEST, LATEST, RAISE, BLOCK)

GAPS_KEPT = 10_000  # of one subscription, the newest: a consumer that has stopped must not cost memory for ever
WARN_EVERY_S = 60.0  # one line of log for an overflow that goes on, not one a message
GAPS_SHOWN = 3  # in a notebook, the newest
LAG_EVERY = 64  # messages for each sample of the lag, after as many of which each is one: a short script wants to see it too
LAGS = 256  # samples that a subscription keeps, the latest: enough for a p99
LOOK_EVERY = 256  # events that `get_many` takes between two looks at whether it has had what was there
JOIN_LIMIT_S = 5.0  # for a callback that is under way when its subscription is closed
SIDE_BY_SIDE = 64  # gaps without a message between them that wait one by one; of more the oldest become one
STATES_TOLD = 1000  # that wait for a function which has not returned, the newest
RECOVERIES = 64  # questions about what was missed, and answers, that wait: each of these may have a hundred records
RENEW_EVERY_S = 10.0  # between two requests for the snapshots of topics that lack theirs; a minute has no more than six
AHEAD = 32  # small messages read in one go: raw ones cost 0.1 us each instead of 0.5 beside the JSON; 256 gain no more
SMALL = 1024  # bytes of a message that may be followed by others so; parsed, a large one is tens of KB that have to stay warm
SLOTS = 10_000  # of LATEST, or as many as the buffer's limit: there are fewer markets, but a push may name any set of them

NOBODY: frozenset[Any] = frozenset()  # one for all subscriptions: there may be thousands, and few ever have another

#: Reasons of gaps in which messages of any topic may be missing, and what the first of them means holds of the others too.
LOSSES = ("reconnect", "overflow", "malformed", "joined late")

Self = TypeVar("Self", bound="Stream")

#: Under which ids the exchange sends topics, as their keys.
Names = Mapping[bytes, "tuple[bytes, ...]"]


class Stated:
    """In the buffer: these topics were confirmed at this point of the stream; *names* hold from here on, None: as before."""

    __slots__ = ("names", "topics")

    def __init__(self, topics: tuple[Topic, ...], names: Names | None) -> None:
        self.topics = topics
        self.names = names


class Recovery:
    """In the buffer: here a question was asked about what was missed, or its answer came."""

    __slots__ = ("received_ns", "what")

    def __init__(self, what: Asked | Answer, received_ns: int) -> None:
        self.what = what
        self.received_ns = received_ns

    @property
    def telling(self) -> bool:
        """Whether there may be events in it, or behind it."""
        return isinstance(self.what, Answer) and not self.what.first


class Renewal:
    """In the buffer: topics were taken off the wire here, and are subscribed again. What they bring next begins anew."""

    __slots__ = ()


#: What stands in the buffer beside messages.
Marker = Union[Gap, Stated, Recovery, Renewal]


class Slot:
    """In the buffer under LATEST: the newest message of one topic, and a gap for those it replaced unparsed."""

    __slots__ = ("gap", "key", "message", "names", "received_ns")

    def __init__(self, key: Any, message: bytes, received_ns: int, names: Names) -> None:
        self.key = key
        self.message = message
        self.received_ns = received_ns
        self.names = names
        self.gap: Gap | None = None


class Signal(Protocol):
    """Somebody to be told whether a subscription has something to read. Both may be called again and again, and never wait."""

    def wake(self) -> None:
        """Something waits, or the end does."""

    def clear(self) -> None:
        """Nothing does any more."""


def check_limit(limit: int | None) -> None:
    """`UsageError` if `get_many` does not take that."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UsageError(f"limit={limit!r}: takes a whole number of 1 or more, or None")


def check_number(n: int | None) -> None:
    """`UsageError` if `collect` does not take that."""
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
        raise UsageError(f"n={n!r}: takes a whole number of 0 or more")


class Stream:
    """
    All the ways to take from a buffer or from several, made of what stands at the end of this class.

    `_take` and `_park` are a race that is won like this: who finds nothing to take says that it waits, and looks again, under
    the lock under which things are put there.
    """

    # A dict of so many names takes 2 KiB, and there may be thousands of subscriptions. Users' own attributes are in one.
    __slots__ = "__dict__ __weakref__ _at_hand _caller _clock _ended _guard _pid _raw _stopped error name".split()

    _raw: bool  # whether items are the vendor's JSON
    _guard: threading.Lock  # guards the three that `__init__` says, and what a subclass does

    def __init__(self, name: str, clock: Clock) -> None:
        """To be called when all else is there: a child of a fork goes through all streams that it finds."""
        self.name = name
        self._clock = clock
        self._pid = os.getpid()
        # Guarded by _guard.
        self._ended = False  # nothing more will come; read without the lock too
        self._caller: threading.Thread | None = None  # set once, by `call`
        self._stopped = False  # that thread is to end after its present event; it reads this without the lock
        # Items that come next and wait for nothing but to be taken: any consumer pops them from the left, without a lock.
        self._at_hand: deque[Any] = deque()
        self.error: BaseException | None = None  #: what the callback of `call` raised last, or what ended the subscription
        _everyone.add(self)

    def __iter__(self) -> Iterator[Any]:
        take, park = self._take, self._park
        at_hand = self._at_hand
        pop = at_hand.popleft
        while True:
            while at_hand:  # hot path: 0.1 us an item
                try:
                    item = pop()
                except IndexError:
                    break  # another consumer was faster
                yield item
            ended = self._ended
            try:
                item = take()
            except LookupError:
                self._caught_up()
                if ended:
                    self._raise_error()
                    return
                park(None)
            else:
                yield item

    def __next__(self) -> Any:
        try:
            return self.get()
        except SubscriptionClosed:
            raise StopIteration from None

    def get(self, timeout: float | None = None) -> Any:
        """
        One event.

        Parameters
        ----------
        timeout
            Seconds; None waits until there is one or the subscription ends.

        Raises
        ------
        UpdateTimeout
            None came in time. It is a `queue.Empty` and a `TimeoutError` too.
        SubscriptionClosed
            The subscription has ended, and all of it was read.
        """
        deadline = Deadline(self._clock, checked_timeout("timeout", timeout))
        while True:
            ended = self._ended
            try:
                return self._take()
            except LookupError:
                self._caught_up()
                if ended:
                    self._raise_error()
                    raise SubscriptionClosed(f"{self.name}: the subscription has ended") from None
                if not self._park(deadline.remaining()):
                    raise UpdateTimeout(f"{self.name}: no update within {timeout} s") from None

    def get_nowait(self) -> Any:
        """One event that is there already; `UpdateTimeout` if there is none."""
        return self.get(0.0)

    def get_many(self, limit: int | None = None, timeout: float | None = None) -> list[Any]:
        """
        All events that are there, waiting for the first of them as `get` does; some that come meanwhile may be among them.

        Parameters
        ----------
        limit
            At most so many.
        """
        check_limit(limit)
        events = [self.get(timeout)]
        over = self._read_so_far() + self.qsize()  # what comes from here on is for the next call, or a flood would never end
        while limit is None or len(events) < limit:
            if not len(events) % LOOK_EVERY and self._read_so_far() > over:
                break
            try:
                events.append(self._take())
            except LookupError:
                self._caught_up()
                self._park(0.0)  # who waits for room is told that there is some
                break
            except ExchangeError as error:
                self._put_back(error)
                break
        return events

    def collect(self, n: int | None = None, seconds: float | None = None) -> list[Any]:
        """
        Events as a list: *n* of them, or those of so many *seconds*, or what comes first of both.

        It ends early, with what there is, when the subscription ends.
        """
        if n is None and seconds is None:
            raise UsageError("collect: takes n (events), seconds, or both; without an end it would never return")
        check_number(n)
        deadline = Deadline(self._clock, checked_timeout("seconds", seconds))
        events: list[Any] = []
        while n is None or len(events) < n:
            left = deadline.remaining()
            try:
                if left == 0.0:  # what there is, at once: who is slower than a flood would never come to an end
                    events += self.get_many(None if n is None else n - len(events), left)
                    break
                events.append(self.get(left))
            except (UpdateTimeout, SubscriptionClosed):
                break
            except ExchangeError as error:
                if not events:
                    raise
                self._put_back(error)
                break
        return events

    def to_dataframe(self, n: int | None = None, seconds: float | None = None, numbers: Any = None) -> pandas.DataFrame:
        """
        `collect` as a pandas DataFrame, one row an event; needs pandas.

        Columns and their types are those of `exchange_ws.to_dataframe`. Where nothing comes, the table is empty, with the
        columns of what came last before.

        Parameters
        ----------
        numbers
            None keeps prices and sizes as the events have them; ``float`` makes them ``float64``.
        """
        from exchange_ws import dataframes

        dataframes.check(numbers)
        if self._raw:
            raise UsageError("to_dataframe makes rows of events; this subscription was made with raw=True")
        events = self.collect(n, seconds)
        return dataframes.to_dataframe(events, numbers=numbers, like=self.latest if not events else None)

    def call(self, callback: Callable[[Any], object]) -> None:
        """
        Deliver each event to *callback*, on a thread of this subscription's own, until it ends.

        The callback may call the client. What it raises is logged and kept in `error`, and the next event comes all the same.
        """
        if not callable(callback):
            raise UsageError(f"callback={callback!r}: takes a function of one event")
        with self._guard:
            if self._caller is not None:
                raise UsageError(f"{self.name}: has a callback already; make another subscription for another one")
            caller = threading.Thread(target=self._deliver, args=(callback,), name=f"exchange-ws call {self.name}", daemon=True)
            caller.start()  # before it can be found: who finds it joins it
            self._caller = caller

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except ExchangeError as failed:
            if error is None:
                raise
            log.warning("%s: %s", self.name, failed)  # what the body raised says more

    @property
    def _foreign(self) -> bool:
        """
        Whether this is a child of the process that made it, where nobody puts anything into the buffer.

        To be asked where that is no error; elsewhere the locks say it: see `Forked`.
        """
        return os.getpid() != self._pid

    def _deliver(self, callback: Callable[[Any], object]) -> None:
        """The thread of `call`."""
        going = True
        while going:
            try:
                for event in self:
                    try:
                        callback(event)
                    except Exception as error:
                        self.error = error
                        log.exception("%s: the callback raised", self.name)
                    if self._stopped:
                        return
                going = False
            except ExchangeError as error:
                going = not self.closed
                log.error("%s: %s: %s", self.name, "goes on without one" if going else "ended", str(error))

    def _raise_error(self) -> None:
        """All was read, and nothing more will come: raise what ended it, if that was an error."""

    def _put_back(self, error: ExchangeError) -> None:
        """*error* came behind events that must not be lost: the next call has to raise it."""

    @property
    def latest(self) -> Any:
        """The newest event that came, or None. Consumes nothing."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether it has ended, but for what is still to be read."""
        raise NotImplementedError

    def close(self) -> None:
        """Take no more."""
        raise NotImplementedError

    def _take(self) -> Any:
        """The next item; LookupError if there is none."""
        raise NotImplementedError

    def _park(self, timeout: float | None) -> bool:
        """Wait for something to take, or the end; False if *timeout* seconds are over. May return early."""
        raise NotImplementedError

    def qsize(self) -> int:
        """Messages that wait to be read, and events of messages that were read in part."""
        raise NotImplementedError

    def _read_so_far(self) -> int:
        """Messages that were taken."""
        raise NotImplementedError

    def _caught_up(self) -> None:
        """All that had come was taken. Under no lock."""
        self._log()  # not in `take`, which is too hot: who puts, or finds nothing more, tells of what was skipped

    def _log(self) -> None:
        """Write what it has for the log; under no lock."""
        raise NotImplementedError

    def _forked(self) -> None:
        """This is a child of the process that made it: every method that needs a lock has to raise."""
        raise NotImplementedError


class Subscription(Stream):
    """
    Updates of some topics, in the order in which they came. Made by a client's `subscribe`.

    Iterate it, or call `get`, `get_many`, `collect` or `call`. It may be shared between threads: each event goes to one of
    them. What goes missing is told: the first event after a `Gap` carries it as `event.gap`, and `gaps` keeps all of them.

    Threads: *readers* put (one for each connection that has some of its topics), any number of *consumers* take. `_guard`
    guards what the two share; `_consuming` guards what consumers share, and is held while one message is decoded. Order:
    `_guard`, then `_consuming`.
    """

    __slots__ = (
        "_ahead _ahead_had _ahead_of _aliased _all_lags _answers _block_limit _blocked _buffer _consuming _decoded _decoder "
        "_down _error _forget _gaps _head _ids _known _lag_due _lags _leave _limit _looked_at _markers _met _names _newest "
        "_open_gap _overflow _parked _parse _placed _ready _recoveries _renew _renew_at _renewed _route _signal _signals "
        "_silences _skipped _skipped_at _slots _spoiled_gap _taken _tells_renewals _topics _unasked _unreadable_told "
        "_wants_gaps _warned_at _warnings tally"
    ).split()

    def __init__(
        self,
        name: str,
        topics: Sequence[Topic],
        dialect: Dialect,
        *,
        clock: Clock,
        queue_size: int,
        overflow: str,
        gaps: bool,
        raw: bool,
        numbers: Numbers,
        block_limit: float,
        leave: Callable[[Subscription, frozenset[Topic], float | None], None],
        forget: Callable[[Subscription], None],
        ids: Callable[[Subscription], tuple[str, ...]] = lambda _: (),
        lags: deque[float] | None = None,
        renew: Callable[[Subscription, frozenset[Topic]], None] = lambda _, __: None,
    ) -> None:
        self._route = dialect.route
        self._aliased = dialect.aliases
        self._limit = queue_size
        self._overflow = overflow
        self._wants_gaps = gaps
        self._raw = raw
        self._parse = parse
        self._block_limit = block_limit
        self._leave = leave  # for users: waits for the exchange
        self._forget = forget  # for readers: does not wait
        self._ids = ids
        self._renew = renew  # for consumers: does not wait
        # Guards the fields up to the next comment. Taken by itself and not through its condition, whose own `__enter__` is
        # Python: Ctrl-C between its taking the lock and the body would leave that taken, and the reader waiting for ever.
        self._guard = threading.Lock()
        self._ready: threading.Condition | None = None  # at which readers wait for room; made by the first one that does
        # Items are (received_ns, payload); bytes as a payload are a message, anything else is a marker of ours. Readers append
        # under _guard. Consumers pop under _consuming; a reader that drops or marks takes that too.
        self._buffer: deque[tuple[int, Any]] = deque()
        self._slots: dict[Any, Slot] = {}  # LATEST: the last slot of each topic, while it waits and may be replaced
        self._newest: tuple[bytes, int, Names] | None = None
        # What each connection's ids mean, made of its `aliases`, and what they mean where the buffer ends.
        self._known: dict[object, tuple[object, Names]] = {}
        self._names: Names = {}
        self._parked: list[Latch] = []  # at which consumers wait
        self._blocked = 0  # readers that wait for room
        self._error: ExchangeError | None = None
        self._down: dict[object, Gap] = {}  # connections that are lost or not whole again, with their open gaps
        self._placed: frozenset[object] = NOBODY  # those of _down whose gap has its place in the buffer
        self._silences: dict[tuple[object, Topic], Gap] = {}  # open gaps of topics that have fallen silent
        self._renewed: dict[tuple[object, Topic], int] = {}  # taken off the wire then, and not confirmed there again
        self._open_gap: Gap | None = None  # of an overflow that goes on: the consumer has not come to it yet
        self._spoiled_gap: Gap | None = None  # the last one of messages that no connection could read
        self._warned_at = float("-inf")
        self._warnings: list[tuple[Any, ...]] = []  # lines for the log, added to under either lock: few, see `_log`
        self._topics = tuple(topics)
        self._signal: Waker | None = None  # of `fileno`
        self._signals: tuple[weakref.ref[Signal], ...] = ()  # that one's, and those of merged streams; replaced, not changed
        # Guarded by _consuming.
        self._consuming = threading.Lock()
        self._decoder = Decoder(dialect, topics, numbers)
        self.tally = self._decoder.tally
        self._decoded: list[Any] = []  # after what is at hand; no deque: an empty one has 0.7 KiB
        # The last messages that were read ahead, and how many items each of them had: what is at hand are the last of those.
        # Empty where what is at hand is the rest of one message.
        self._ahead_of: list[tuple[int, bytes]] = []
        self._ahead_had: list[int] = []
        # Markers that an overflow pushed out of the buffer: they stand before it.
        self._head: list[Marker] = []
        self._markers = 0  # in the buffer: its limit is one of messages
        self._recoveries = 0  # questions and answers in the buffer or the head
        self._answers = 0  # of them, those that may have events
        self._unasked: frozenset[Topic] = NOBODY  # whose last question found no place, nor shall its answer
        self._tells_renewals = False  # as items, to the book that is its consumer
        self._met: list[Gap] = []  # for the next event to carry, as one: by then some may have turned out repaired
        self._taken = 0
        self._gaps: list[Gap] = []
        self._skipped: Gap | None = None  # of updates that could not be read, as long as nothing else was met and it can grow
        self._skipped_at = 0  # `_taken` as of the last of them
        self._unreadable_told = False
        self._lags: deque[float] | None = None  # received minus exchange time, seconds; None before the first
        self._all_lags = lags  # the client's, which all of its subscriptions add to: one step of the interpreter
        self._lag_due = 1  # the `_taken` from which on there is to be another sample
        self._ahead: Ahead | None = None  # of what waits, where events tell what all of it adds up to
        self._looked_at: Any = None  # the item of the buffer up to which that knows
        self._renew_at = float("-inf")  # when snapshots may be asked for again
        super().__init__(name, clock)

    # For users ------------------------------------------------------------------------------------------------------------

    @property
    def latest(self) -> Any:
        """The newest event that came, or None. Consumes nothing."""
        newest = self._newest
        if newest is None:
            return None
        with self._consuming:
            try:
                if self._decoder.merging and not self._raw:
                    return self._look_ahead()
                return self._parse(newest[0]) if self._raw else self._decoder.peek(*newest)
            except UNREADABLE:
                return None

    def __del__(self) -> None:
        signal: Waker | None = getattr(self, "_signal", None)  # __init__ may have failed
        if signal is not None:
            signal.close()

    def fileno(self) -> int:
        """A descriptor that is readable while events wait, or the end does: for `select`, Tk, Qt and other event loops."""
        from exchange_ws.wire.transport import Waker

        with self._guard:
            if self._signal is None:
                self._signal = Waker()
                self._add_signal(self._signal)
            return self._signal.fileno()

    def unsubscribe(self, timeout: float | None = None) -> None:
        """
        Receive no more, and wait until the exchange confirms it. What is buffered can still be read; then iteration ends.

        Raises
        ------
        RequestTimeout
            No confirmation in time; nothing more is delivered all the same.
        """
        deadline = Deadline(self._clock, checked_timeout("timeout", timeout))
        if self._foreign:
            return
        self._leave(self, frozenset(self._topics), timeout)
        with self._guard:
            caller = self._caller
        if caller is not None and caller is not threading.current_thread():
            left = deadline.remaining()
            caller.join(JOIN_LIMIT_S if left is None else left)

    def close(self) -> None:
        """`unsubscribe`; twice is allowed."""
        self.unsubscribe()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics, as users write them: "trades BTC_USDT"."""
        return tuple(topic.name for topic in self._topics)

    @property
    def sub_ids(self) -> tuple[str, ...]:
        """Ids that the exchange gave to the topics on the present connection; empty where it gives none."""
        return self._ids(self)

    def _read_so_far(self) -> int:
        return self._taken - self._whole()[0]

    def qsize(self) -> int:
        """Messages that wait to be read, and events of a message that was read in part."""
        return max(0, len(self._buffer) - self._markers) + len(self._decoded) + sum(self._whole())

    @property
    def dropped(self) -> int:
        """Messages that an overflow cost so far, those included that LATEST replaced."""
        return self.tally.dropped

    def stats(self) -> dict[str, Any]:
        """
        What it has counted since it was made. The end of the subscription, and of its client, changes nothing of it.

        Returns
        -------
        dict
            Whole numbers, and `lag`:

            - ``delivered``: messages that were taken out to be read; one may have several events
            - ``waiting``: as `qsize`
            - ``dropped``: messages, by overflows
            - ``gaps``: all of them; ``repaired``: those of which it turned out that nothing is missing
            - ``malformed``: updates that could not be read
            - ``lag``: seconds from the exchange's time to ours, of messages that were read lately: a dict with "p50" and "p99",
              None without samples: with raw=True, or where the exchange tells no time
        """
        with self._consuming:
            counters = {"delivered": self._read_so_far(), "waiting": self.qsize(), **self.tally.counters()}
            return {**counters, "lag": percentiles(self._lags or ())}

    @property
    def gaps(self) -> list[Gap]:
        """Every gap so far, open ones included; of very many, the newest."""
        with self._consuming:
            return list(self._gaps)

    @property
    def closed(self) -> bool:
        """Whether nothing more will be received; what is buffered can still be read."""
        return self._ended or self._foreign

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self.name}: a subscription is a buffer that its client's threads fill, which cannot be copied or sent to another"
            " process; make a client there and subscribe, or send the events"
        )

    def __repr__(self) -> str:
        state = "closed, " if self.closed else ""
        return f"<Subscription {self.name}: {state}{self.qsize()} waiting, {self.dropped} dropped>"

    def _repr_html_(self) -> str:
        """What a notebook shows. Waits for nothing, takes no event, and goes on after the end and in a forked child."""
        from exchange_ws import display

        facts = [f"waiting: {self.qsize()}", f"dropped: {self.dropped}"]
        state = "closed" if self.closed else "open"
        if self._foreign:  # the locks are the parent's
            return display.card(self.name, [*facts, "of another process"], state=state)
        gaps, latest = self.gaps, self.latest
        parts = [] if latest is None else [display.newest(latest)]
        parts += [display.note(display.gap_text(gap)) for gap in gaps[-GAPS_SHOWN:]]
        return display.card(self.name, [*facts, f"gaps: {len(gaps)}"], *parts, state=state)

    # For readers ----------------------------------------------------------------------------------------------------------

    def put(self, source: object, messages: list[bytes], received_ns: int) -> float:
        """Take *messages* of one read; returns the seconds that the reader was made to wait (BLOCK only)."""
        waited = 0.0
        with self._guard:
            if self._ended:
                return 0.0
            if self._down:
                self._resume(source, received_ns)
            if self._aliased:
                self._rename(source, received_ns)
            self._newest = (messages[-1], received_ns, self._names)
            if self._overflow == LATEST:
                self._conflate(messages, received_ns)
            elif len(self._buffer) + len(self._at_hand) + len(messages) > self._limit:
                waited = self._overflowing(messages, received_ns)
            else:
                self._buffer.extend(zip(repeat(received_ns), messages))
            self._announce()
            ended = self._ended
        if ended:
            self._forget(self)
        if self._warnings:
            self._log()
        return waited

    def stated(self, source: object, topics: tuple[Topic, ...], received_ns: int) -> None:
        """*topics* were confirmed at this point of the stream."""
        with self._guard:
            if self._ended:
                return
            self._resume(source, received_ns)
            for topic in topics if self._renewed else ():
                self._renewed.pop((source, topic), None)
            # Of use to who decodes only where a replay follows, or ids changed; of others there may be thousands.
            told = topics if self._aliased else tuple(topic for topic in topics if topic.replays)
            if self._aliased:
                self._names = self._names_of(source)
            if told:
                with self._consuming:
                    self._mark(Stated(told, self._names if self._aliased else None), received_ns)
            self._announce()  # the gap of a loss may have come before it

    def renewing(self, source: object, topics: tuple[Topic, ...], received_ns: int) -> None:
        """*topics* do not come any more from here on; they are subscribed again, and then begin anew, with a snapshot."""
        with self._guard:
            if self._ended:
                return
            wanted = {topic.key for topic in self._topics}  # not what is being given up: that is not confirmed any more
            self._renewed.update(((source, topic), received_ns) for topic in topics if topic.key in wanted)
            with self._consuming:
                if self._tells_renewals:
                    self._mark(Renewal(), received_ns)
            self._announce()

    @property
    def asks(self) -> bool:
        """Whether answers to what was missed are of use here: of the vendor's JSON none can be made."""
        return not self._raw

    def recovers(self, what: Asked | Answer, received_ns: int) -> None:
        """At this point of the stream a question was asked about what was missed, or its answer came."""
        with self._guard:
            if self._ended:
                return
            with self._consuming:
                self._place(Recovery(what, received_ns))
            self._announce()

    def joined_late(self, source: object, topics: tuple[Topic, ...], received_ns: int) -> None:
        """
        The snapshots with which *topics* begin have gone to others, and the exchange does not repeat them.

        Nor may it where they were to be renewed: then something is missing since they were taken off the wire.
        """
        with self._guard:
            if not self._ended:
                since_ns = min((self._renewed.get((source, topic), received_ns) for topic in topics), default=received_ns)
                with self._consuming:
                    self._gap_here("joined late", received_ns).since = since_ns / 1e9
                self._announce()

    def spoiled(self, source: object, received_ns: int) -> None:
        """A message that cannot be read came at this point of the stream, and may have been an update of these topics."""
        with self._guard:
            if self._ended or (source in self._down and source not in self._placed):
                return  # nothing has come again since a loss, whose gap is open
            with self._consuming:
                gap = self._spoiled_gap
                if gap is not None and self._buffer and self._buffer[-1][1] is gap:
                    gap.until = received_ns / 1e9  # several in a row are one: a flood of them must not fill the buffer
                else:
                    self._spoiled_gap = self._gap_here("malformed", received_ns)
            self._announce()

    def lost(self, source: object, since_ns: int) -> None:
        """The connection *source* is lost; nothing came from it since *since_ns*."""
        with self._guard:
            if self._ended:
                return
            for key in [key for key in self._renewed if key[0] is source]:
                since_ns = min(since_ns, self._renewed.pop(key))  # the snapshot that would have healed this will not come
            former = self._down.get(source)
            if former is not None:
                if source not in self._placed:
                    return
                # Lost again before it was whole. What came between stands before another gap, which may be repaired or not by
                # what comes after it.
                former.until = since_ns / 1e9
                self._placed -= {source}
            self._down[source] = gap = Gap("reconnect", since_ns / 1e9)
            with self._consuming:
                self._keep_gap(gap)
            for of, topic in [key for key in self._silences if key[0] is source]:
                self._silences.pop((of, topic)).until = since_ns / 1e9

    def restored(self, source: object, now_ns: int) -> None:
        """All topics of *source* are confirmed again."""
        with self._guard:
            if not self._ended and source in self._down:
                self._resume(source, now_ns)
                self._placed -= {source}
                self._down.pop(source).until = now_ns / 1e9
                self._announce()

    def silent(self, source: object, topic: Topic, since_ns: int) -> None:
        """Nothing of *topic* came since then, for longer than that can be by chance."""
        with self._guard:
            if not self._ended:
                self._silences[source, topic] = gap = Gap("silent", since_ns / 1e9)
                with self._consuming:
                    self._keep_gap(gap)
                    self._mark(gap, self._clock.time_ns())
                self._announce()

    def resumed(self, source: object, topic: Topic, received_ns: int) -> None:
        """Something of *topic*, which was silent, has come."""
        with self._guard:
            gap = self._silences.pop((source, topic), None)
            if gap is not None:
                gap.until = received_ns / 1e9

    def end(self, error: ExchangeError | None) -> None:
        """Nothing more will come; *error* is raised once the buffer is read."""
        with self._guard:
            self._end(error)
        self._forget(self)

    def finish(self) -> None:
        """The same without an error, for who forgets it by himself."""
        with self._guard:
            self._end(None)

    # For the client -------------------------------------------------------------------------------------------------------

    def keep(self, topics: Sequence[Topic]) -> None:
        """Only these topics are left."""
        with self._guard:
            self._topics = tuple(topics)
            kept = {topic.key for topic in topics} if self._renewed else ()
            self._renewed = {place: since_ns for place, since_ns in self._renewed.items() if place[1].key in kept}
            with self._consuming:
                self._give_back()  # what was read with the others
                self._complete(self._decoder.keep(topics))
            self._announce()

    def left(self, source: object) -> None:
        """None of its topics comes from *source* any more: nothing is missed there from now on."""
        now = self._clock.time_ns() / 1e9
        with self._guard:
            self._known.pop(source, None)
            self._placed -= {source}
            gaps = [self._down.pop(source, None)]
            gaps += [self._silences.pop(key) for key in list(self._silences) if key[0] is source]
            self._renewed = {key: since for key, since in self._renewed.items() if key[0] is not source}
            for gap in gaps:
                if gap is not None:
                    gap.until = now

    @property
    def wanted(self) -> tuple[Topic, ...]:
        """The topics themselves."""
        return self._topics

    def join(self, timeout: float, closing: Collection[threading.Thread] = ()) -> None:
        """Let the thread of `call` end after its present event, and wait for it, unless it is this one, or among *closing*."""
        with self._guard:
            self._stopped = True
            caller = self._caller
        if caller is not None:
            join(caller, timeout, closing)

    # For merged streams ---------------------------------------------------------------------------------------------------

    def watch(self, signal: Signal) -> None:
        """Tell *signal* from now on whether something is readable, as long as somebody keeps it; it is a lock below ours."""
        with self._guard:
            self._add_signal(signal)

    @property
    def interrupted(self) -> bool:
        """Whether some topic is not coming: its connection is lost and nothing came again, or it has fallen silent."""
        if not (self._down or self._silences):  # in any thread, and nearly always
            return False
        with self._guard:
            return bool(self._silences or self._down.keys() - self._placed)

    def hole(self) -> Gap:
        """Who reads it found that something is missing where he is, by the exchange's own numbers; the gap is his to end."""
        gap = Gap("sequence", self._clock.time_ns() / 1e9)
        with self._consuming:
            self._keep_gap(gap)
        return gap

    def tell_renewals(self) -> None:
        """Give its consumer a `Renewal` where topics begin anew: what he has made of them is out of date until they do."""
        with self._guard, self._consuming:
            self._tells_renewals = True

    def unwatch(self, signal: Signal) -> None:
        """Tell *signal* no more."""
        with self._guard:
            self._signals = tuple(known for known in self._signals if known() not in (None, signal))

    # Inside: putting ------------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Requires `_guard`."""
        if self._parked:
            self._wake()
        if self._signals and self._readable():
            self._tell(True)

    def _wake(self) -> None:
        """Requires `_guard`. Let all consumers look that wait."""
        while self._parked:
            self._parked[-1].open()  # before it is forgotten: Ctrl-C may come between
            self._parked.pop()

    def _wake_readers(self) -> None:
        """Requires `_guard`. Let all readers look that wait for room."""
        if self._ready is not None:
            self._ready.notify_all()

    def _tell(self, readable: bool) -> None:
        """Requires `_guard`, so that each signal hears what is so in the order in which it was."""
        for reference in self._signals:
            signal = reference()
            if signal is not None:
                if readable:
                    signal.wake()
                else:
                    signal.clear()

    def _add_signal(self, signal: Signal) -> None:
        """Requires `_guard`."""
        # Those that are gone are left out here, where others come: in what the garbage collector calls no lock can be taken.
        self._signals = (*(known for known in self._signals if known() is not None), weakref.ref(signal))
        with self._consuming:
            self._give_back()  # from here on who takes the last item has to tell
            if self._readable():
                signal.wake()

    def _readable(self) -> bool:
        """Requires `_guard`. Whether something waits that a consumer gets, or the end does: markers are ours."""
        waits = len(self._buffer) > self._markers or bool(self._decoded or self._answers)
        return waits or self._ended or (self._wants_gaps and self._gap_waits())

    def _gap_waits(self) -> bool:
        """Whether a gap is among the markers, where there is nothing else: a few. Copied, for consumers take from them."""
        markers = [*(payload for _, payload in self._buffer.copy()), *self._head.copy()]
        return any(isinstance(marker, (Gap, Renewal)) for marker in markers)

    def _end(self, error: ExchangeError | None) -> None:
        """Requires `_guard`."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._slots.clear()
            if error is not None:
                self.error = error
            self._wake_readers()
            self._wake()
            self._tell(True)

    def _keep_gap(self, gap: Gap) -> None:
        """Requires `_consuming`."""
        self._gaps.append(gap)
        if len(self._gaps) > GAPS_KEPT:
            del self._gaps[0]
        self.tally.gaps += 1

    def _gap_here(self, reason: str, now_ns: int) -> Gap:
        """Requires `_guard` and `_consuming`. Of how many messages cannot be known, and over when it begins."""
        gap = Gap(reason, now_ns / 1e9, now_ns / 1e9)
        self._keep_gap(gap)
        self._mark(gap, now_ns)
        return gap

    def _names_of(self, source: Any) -> Names:
        """Requires `_guard`. What the ids of *source* mean here: the same object as long as they mean the same."""
        aliases: Mapping[bytes, tuple[Topic, ...]] = source.aliases
        known = self._known.get(source)
        if known is not None and known[0] is aliases:
            return known[1]
        topics = set(self._topics)
        names: Names = {alias: (topic.key,) for alias, bound in aliases.items() for topic in bound if topic in topics}
        if known is not None and known[1] == names:
            names = known[1]
        self._known[source] = aliases, names
        return names

    def _rename(self, source: object, received_ns: int) -> None:
        """Requires `_guard`. What comes now from *source* has to be read by its ids: not by another's, nor by former ones."""
        names = self._names_of(source)
        if names is not self._names:
            self._names = names
            if self._overflow != LATEST:  # whose slots have them
                with self._consuming:
                    self._mark(Stated((), names), received_ns)

    def _resume(self, source: object, now_ns: int) -> None:
        """Requires `_guard`. The gap stands where the stream goes on, and is open until all of its topics do."""
        gap = self._down.get(source)
        if gap is not None and source not in self._placed:
            self._placed |= {source}
            gap.until = now_ns / 1e9
            with self._consuming:
                self._mark(gap, now_ns)

    def _place(self, marker: Recovery) -> None:
        """Requires `_guard` and `_consuming`. A consumer that has stopped is told of so many only; the gap stays unrepaired."""
        topic = marker.what.topic
        if self._recoveries >= RECOVERIES:
            if isinstance(marker.what, Asked):
                self._unasked |= {topic}
            elif marker.what.first:
                return
        elif isinstance(marker.what, Asked):
            self._unasked -= {topic}
        if topic not in self._unasked:
            self._recoveries += 1
            self._answers += marker.telling
            self._mark(marker, marker.received_ns)

    def _mark(self, marker: Marker, now_ns: int) -> None:
        """Requires `_guard` and `_consuming`. This stands after all that has come, and before all that will."""
        self._slots.clear()  # LATEST: else what comes next could take a place before it
        buffer = self._buffer
        run: list[Marker] = [marker]
        while not isinstance(marker, Recovery) and buffer and isinstance(buffer[-1][1], (Gap, Stated, Renewal)):
            run.append(buffer.pop()[1])
        self._markers -= len(run) - 1
        run = _folded([*reversed(run)])  # or the markers of a consumer that has stopped would fill the memory
        self._markers += len(run)
        buffer.extend(zip(repeat(now_ns), run))

    def _room(self) -> int:
        """Requires `_consuming`. How many messages fit into the buffer."""
        return max(0, self._limit - len(self._buffer) + self._markers)

    def _conflate(self, messages: list[bytes], received_ns: int) -> None:
        """
        Requires `_guard`. LATEST: one slot a topic; who comes too late for its slot begins a new one.

        # hot path: 0.4 us for all of one topic, else 0.3 to 0.9 us a message
        """
        newest: dict[Any, bytes] = {}
        replaced: dict[Any, int] = {}  # how many of these messages, where some are
        only = self._topics[0] if len(self._topics) == 1 else None
        if only is not None and only.symbol is not None and self._route(messages[-1]) == only.key:
            # If there are others among them, these are of a topic that was just given up.
            newest[only.key] = messages[-1]
            replaced[only.key] = len(messages) - 1
        else:
            for message in messages:
                key: Any = self._route(message)
                if key is None:
                    keys = self._decoder.keys_of(message)
                    key = keys[0] if len(keys) == 1 else keys
                if key in newest:
                    replaced[key] = replaced.get(key, 0) + 1
                newest[key] = message
        with self._consuming:  # or the consumer could take a slot between our look and our change
            for key, message in newest.items():
                self._put_in_slot(key, message, replaced.get(key, 0), received_ns)

    def _put_in_slot(self, key: Any, message: bytes, replaced: int, received_ns: int) -> None:
        """Requires `_guard` and `_consuming`. LATEST: *message* is the newest of its topic, and has *replaced* so many."""
        if self._aliased:
            key = id(self._names), key  # two connections may give the same id
        slot = self._slots.get(key)
        if slot is None or slot.names is not self._names:
            if len(self._buffer) - self._markers >= max(self._limit, SLOTS):
                self._drop_slot(received_ns)
            self._slots[key] = slot = Slot(key, message, received_ns, self._names)
            self._buffer.append((received_ns, slot))
        else:
            replaced += 1
        if replaced:
            slot.gap = self._count_drop(replaced, received_ns, slot.gap, slot.received_ns)
            slot.message, slot.received_ns = message, received_ns

    def _drop_slot(self, now_ns: int) -> None:
        """Requires `_guard` and `_consuming`. LATEST: make room by the message that has waited longest."""
        moved: list[Marker] = []
        gap: Gap | None = None
        while True:
            since_ns, payload = self._buffer.popleft()
            if isinstance(payload, (Gap, Stated, Recovery)):
                self._markers -= 1
                moved.append(payload)
                continue
            if isinstance(payload, Slot):  # else bytes, of one that a consumer has begun to take
                self._let_go(payload)
                gap = payload.gap
            break
        before = self._open_gap if gap is None and any(marker is self._open_gap for marker in self._head) else gap
        self._open_gap = self._count_drop(1, now_ns, before, since_ns)
        if before is None or before is gap:
            moved.append(self._open_gap)
        if moved:
            self._head = _folded([*self._head, *moved])

    def _let_go(self, slot: Slot) -> None:
        """Requires `_consuming`. *slot* waits no more; a newer one of its topic may."""
        if self._slots.get(slot.key) is slot:
            del self._slots[slot.key]

    def _overflowing(self, messages: list[bytes], received_ns: int) -> float:
        """Requires `_guard`. The buffer cannot take all of *messages*, or so it seems while there are markers in it."""
        if self._overflow == BLOCK:
            return self._wait_for_room(messages, received_ns)
        with self._consuming:  # no consumer takes what we look at: the gap has to stand exactly where the dropped ones did
            self._give_back()
            room = self._room()
            if len(messages) <= room:
                self._buffer.extend(zip(repeat(received_ns), messages))
                return 0.0
            if self._overflow == DROP_OLDEST:
                self._drop_oldest(messages, received_ns)
            else:
                self._buffer.extend(zip(repeat(received_ns), messages[:room]))
                over = len(messages) - room
                if self._overflow == RAISE:
                    self._too_slow(over, received_ns)
                    return 0.0
                self._drop_newest(over, received_ns)
        self._warn()
        return 0.0

    def _drop_newest(self, dropped: int, received_ns: int) -> None:
        """Requires `_guard` and `_consuming`."""
        # What was stated meanwhile stands behind the gap, which goes on: no message stands between.
        tail = [payload for _, payload in islice(reversed(self._buffer), 2)]
        last = tail[-1] if len(tail) == 2 and isinstance(tail[0], Stated) else tail[0] if tail else None
        known = last if last is self._open_gap else None
        self._open_gap = self._count_drop(dropped, received_ns, known, received_ns)
        if known is None:
            self._mark(self._open_gap, received_ns)

    def _drop_oldest(self, messages: list[bytes], received_ns: int) -> None:
        """Requires `_guard` and `_consuming`."""
        buffer = self._buffer
        moved: list[Marker] = []
        dropped, since_ns = 0, received_ns
        keep = max(0, self._limit - len(messages))
        while buffer and (not keep or len(buffer) - self._markers > keep):
            item_ns, payload = buffer.popleft()
            if isinstance(payload, bytes):
                if not dropped:
                    since_ns = item_ns
                dropped += 1
            else:
                self._markers -= 1
                moved.append(payload)
        if moved:
            self._head = _folded([*self._head, *moved])
        if len(messages) > self._limit:
            dropped += len(messages) - self._limit
            messages = messages[-self._limit :]
        if dropped:
            known = next((marker for marker in self._head if marker is self._open_gap), None)
            self._open_gap = self._count_drop(dropped, received_ns, self._open_gap if known else None, since_ns)
            if known is None:
                self._head.append(self._open_gap)
        buffer.extend(zip(repeat(received_ns), messages))

    def _count_drop(self, dropped: int, now_ns: int, gap: Gap | None, since_ns: int) -> Gap:
        """Requires `_guard` and `_consuming`. The gap for what was dropped: *gap* made longer, or another."""
        self.tally.dropped += dropped
        if gap is None:
            gap = Gap("overflow", since_ns / 1e9, dropped=0)
            self._keep_gap(gap)
        gap.dropped = (gap.dropped or 0) + dropped
        gap.until = now_ns / 1e9
        return gap

    def _too_slow(self, dropped: int, now_ns: int) -> None:
        """Requires `_guard` and `_consuming`."""
        self.tally.dropped += dropped
        oldest_ns = self._buffer[0][0] if self._buffer else now_ns
        age = max(0.0, (now_ns - oldest_ns) / 1e9)
        text = f"{self.name}: {dropped} messages did not fit into a buffer of {self._limit}; the oldest waited {age:.1f} s"
        self._end(ConsumerTooSlow(text, dropped=dropped, oldest_age_s=age))

    def _wait_for_room(self, messages: list[bytes], received_ns: int) -> float:
        """Requires `_guard`. BLOCK: the reader waits, but less long than its heartbeat."""
        began = self._clock.now()
        deadline = Deadline(self._clock, self._block_limit)
        put = 0
        self._blocked += 1  # before the look at the room: a consumer that takes something after it sees this, and tells us
        while not self._ended:
            with self._consuming:
                self._give_back()
                room = self._room()
                self._buffer.extend(zip(repeat(received_ns), messages[put : put + room]))
            put = min(len(messages), put + room)
            self._announce()
            if put == len(messages):
                break
            remaining = deadline.remaining()
            if remaining == 0.0:
                with self._consuming:
                    self._too_slow(len(messages) - put, self._clock.time_ns())
                break
            self._ready = self._ready or threading.Condition(self._guard)
            self._clock.wait(self._ready, remaining)
        self._blocked -= 1
        return self._clock.now() - began

    def _warn(self) -> None:
        """Requires `_guard`."""
        now = self._clock.now()
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            self._warnings.append(("%s: buffer of %d full, %d messages dropped so far", self._limit, self.tally.dropped))

    def _log(self) -> None:
        """Log the warnings that have come up. Under no lock: a handler is a user's function, and may ask this subscription."""
        while self._warnings:
            try:
                text, *details = self._warnings.pop(0)
            except IndexError:  # another thread has told it
                return
            log.warning(text, self.name, *details)

    # Inside: taking -------------------------------------------------------------------------------------------------------

    def _take(self) -> Any:
        """The next item; LookupError if there is none."""
        # hot path: 0.6 us an update beside its JSON; most of it is one with-statement and the names looked up, hence no calls
        # between them, and the messages at hand (CPython 3.11; tests/benchmarks/throughput.py measures all).
        small = False  # whether what is taken are the events of a small message, and others may be read with it
        with self._consuming:
            decoded = self._decoded
            while True:
                if self._at_hand:
                    try:
                        return self._at_hand.popleft()
                    except IndexError:
                        pass  # another consumer was faster
                if decoded:
                    item = decoded.pop(0)
                    if decoded and not self._signals:
                        self._ahead_of = []
                        self._at_hand.extend(decoded)
                        decoded.clear()
                    if small:
                        self._read_ahead()
                    break
                if self._head:
                    self._meet(self._head.pop(0))
                    continue
                try:
                    received_ns, payload = self._buffer.popleft()
                except IndexError:
                    if self._ended:  # what waits for an answer has waited for long enough
                        self._complete(self._decoder.release())
                        if decoded:
                            continue
                    raise
                if not isinstance(payload, bytes):
                    if isinstance(payload, Slot):
                        self._unwrap(payload)
                    else:
                        self._markers -= 1
                        self._meet(payload)
                    continue
                self._taken += 1
                try:
                    if self._raw:
                        item = self._parse(payload)
                        if len(payload) < SMALL and not self._signals:
                            self._read_ahead()
                        break
                    events = self._decoder.decode(payload, received_ns)
                except UNREADABLE as error:
                    self._decoder.skip(payload)
                    self._skip(error, received_ns)
                    continue
                if events:
                    self._complete(events)
                    small = len(payload) < SMALL and not self._signals
                    if self._taken >= self._lag_due:
                        self._sample(events[-1])
        if self._blocked and len(self._buffer) <= self._limit // 2:
            with self._guard:
                self._wake_readers()
        # Who takes the last of what is readable sees here that nothing is left.
        if self._signals and not decoded and len(self._buffer) <= self._markers:
            with self._guard:
                self._quiet()
        return item

    def _take_several(self, most: int) -> Sequence[Any]:
        """
        The next items, of *most* messages, which are taken with that; LookupError if there is none.

        For who applies them under a lock of his own: nothing of them goes back into the buffer.
        """
        if most > 1 and self._decoder.reads_on and not self._raw:
            told: deque[Sequence[Any]] = deque()
            with self._consuming:
                buffer = self._buffer
                waiting = self._at_hand or self._decoded or self._head or self._met or self._blocked
                first = buffer[0][1] if buffer and not waiting else None
                if isinstance(first, bytes) and len(first) < SMALL:
                    run = list(islice(iter(buffer.popleft, None), min(most, AHEAD, len(buffer))))
                    try:
                        self._decoder.read_on(run, told, False)
                    except UNREADABLE:
                        pass  # as in `_read_ahead`
                    finally:
                        self._taken += len(told)
                        buffer.extendleft(reversed(run[len(told) :]))
                    if told and self._taken >= self._lag_due:
                        self._sample(told[-1][-1])
            if told:
                if self._signals and len(self._buffer) <= self._markers:
                    with self._guard:
                        self._quiet()
                return [*chain.from_iterable(told)]
        return (self._take(),)

    def _read_ahead(self) -> None:
        """
        Requires `_consuming`. Have what the next messages tell at hand.

        They count as waiting, and go back into the buffer as they were where that is short of room, so that nothing is seen of
        this: what the decoder remembers of having told them it forgets then. Where it could not, nothing is read ahead.
        """
        buffer = self._buffer
        count = min(AHEAD, len(buffer))
        if self._blocked:
            count = min(count, len(buffer) - self._limit // 2 - 1)  # it is woken at half, no earlier
        due = self._lag_due - self._taken  # none of these is a sample of the lag: that one comes by itself
        if not self._raw:
            if not self._decoder.reads_on or (due <= 1 and self._taken < LAG_EVERY):
                return
            if due > 0:
                count = min(count, due - 1)
        if count <= 0 or self._overflow == LATEST:
            return
        run = list(islice(iter(buffer.popleft, None), count))  # in one step: Ctrl-C in a loop would lose some
        told: deque[Any] = deque()  # items with raw=True, else the events of each message
        try:
            if self._raw:
                told.extend(map(self._parse, [payload for _, payload in run]))
            else:
                self._decoder.read_on(run, told, due <= 0)
        except UNREADABLE:
            pass  # what stands there, be it a marker of ours, is for who comes to it
        finally:
            read = len(told)
            self._at_hand.extend(told if self._raw else chain.from_iterable(told))  # first: Ctrl-C may come between these
            self._taken += read
            self._ahead_of, self._ahead_had = run[:read], [1] * read if self._raw else list(map(len, told))
            if read < len(run):
                buffer.extendleft(reversed(run[read:]))

    def _whole(self) -> tuple[int, int]:
        """Of what is at hand: how many messages of which nothing was taken, and how many other items."""
        left, whole = len(self._at_hand), 0
        for had in reversed(self._ahead_had if self._ahead_of else ()):
            if had > left:
                break
            left -= had
            whole += 1
        return whole, left

    def _give_back(self) -> None:
        """Requires `_consuming`. Leave nothing at hand: whole messages go back into the buffer, other items to `_decoded`."""
        items: deque[Any] = deque()
        try:
            while True:
                items.appendleft(self._at_hand.pop())  # one by one: consumers pop at the other end, without the lock
        except IndexError:
            pass
        finally:  # with Ctrl-C too
            while self._ahead_of and self._ahead_had[-1] <= len(items):
                self._buffer.appendleft(self._ahead_of.pop())
                self._taken -= 1
                events = [items.pop() for _ in range(self._ahead_had.pop())]
                if not self._raw:
                    self._decoder.unread(events)
            self._ahead_of = []
            self._decoded[:0] = items

    def _sample(self, event: Event) -> None:
        """Requires `_consuming`. How old was *event* when it came? What is replayed was old before it was sent."""
        if event.time is None or getattr(event, "snapshot", False):
            return
        self._lag_due = self._taken + (1 if self._taken < LAG_EVERY else LAG_EVERY)
        lag = event.received - event.time
        if self._lags is None:
            self._lags = deque(maxlen=LAGS)
        self._lags.append(lag)
        if self._all_lags is not None:
            self._all_lags.append(lag)

    def _quiet(self) -> bool:
        """Requires `_guard`. Whether nothing waits, nor all is over; keeps the signals true to that."""
        with self._consuming:  # or another consumer could be just between taking a message and having its events
            quiet = not (self._buffer or self._head or self._decoded or self._at_hand or self._ended)
            if self._signals and not self._readable():
                self._tell(False)
            return quiet

    def _complete(self, events: Sequence[Any]) -> None:
        """Requires `_consuming`. *events* are the next ones; the first carries what is missing before it."""
        if events and self._met:
            events[0].gap, self._met = functools.reduce(_both, self._met), []
        self._decoded.extend(events)

    def _skip(self, error: Exception, received_ns: int) -> None:
        """Requires `_consuming`. A message could not be read; several in a row are one gap, so that a flood costs no memory."""
        self._count_unreadable(error)
        one = Gap("malformed", received_ns / 1e9, received_ns / 1e9, 1)
        # One that was handed out as an item is not changed any more: who got it may have added it up.
        gap = None if self._wants_gaps or self._taken != self._skipped_at + 1 else self._skipped
        if gap is None:
            self._skipped = one
            self._keep_gap(one)
            self._come_to(one)
        else:
            gap.until, gap.dropped = one.until, (gap.dropped or 0) + 1
        self._skipped_at = self._taken

    def _count_unreadable(self, error: Exception) -> None:
        """Requires `_consuming`."""
        self.tally.malformed += 1
        if not self._unreadable_told:
            self._unreadable_told = True
            self._warnings.append(("%s: an update that cannot be read is skipped, as later ones will be: %s", type(error)))

    def _unwrap(self, slot: Slot) -> None:
        """Requires `_consuming`. Put what LATEST kept where it stood, and leave the slot to no reader."""
        self._let_go(slot)
        self._decoder.name(slot.names)
        self._buffer.appendleft((slot.received_ns, slot.message))
        if slot.gap is not None:
            self._meet(slot.gap)

    def _meet(self, marker: Marker) -> None:
        """Requires `_consuming`. Something other than a message stands here."""
        self._skipped = None
        if isinstance(marker, Stated):
            if marker.names is not None:
                self._decoder.name(marker.names)
            self._decoder.stated(marker.topics)
            return
        if isinstance(marker, Recovery):
            self._recoveries -= 1
            self._answers -= marker.telling
            self._recover(marker)
            return
        if isinstance(marker, Renewal):
            self._decoded.append(marker)
            return
        if marker.reason == "reconnect":
            self._complete(self._decoder.lost(marker))
        elif marker.reason in LOSSES:
            self._decoder.forget()
        self._come_to(marker)

    def _come_to(self, gap: Gap) -> None:
        """Requires `_consuming`. *gap* is the next thing in the stream."""
        if self._wants_gaps:
            self._decoded.append(gap)
        self._met.append(gap)
        if len(self._met) > SIDE_BY_SIDE:  # raw events never carry them
            self._met[:2] = [_both(*self._met[:2])]

    def _recover(self, marker: Recovery) -> None:
        """Requires `_consuming`."""
        what = marker.what
        if isinstance(what, Asked):
            self._decoder.asked(what)
            return
        try:
            events = self._decoder.answered(what, marker.received_ns)
        except UNREADABLE as error:
            self._count_unreadable(error)
            events = self._decoder.answered(attrs.evolve(what, results=None), marker.received_ns)
        self._complete(events)

    def _look_ahead(self) -> Any:
        """Requires `_consuming`. The newest event, made of all that waits, without taking it."""
        decoder, items = self._decoder, self._buffer.copy()  # in one step, since readers append meanwhile
        new: deque[tuple[int, Any]] = deque()
        for item in reversed(items):
            if item is self._looked_at:
                break
            new.appendleft(item)
        else:  # for the first time, or that was taken, or dropped
            self._ahead = None
            new.extendleft((0, marker) for marker in reversed(self._head))
        if self._ahead is None:
            self._ahead = decoder.ahead()
        ahead = self._ahead
        for received_ns, payload in new:
            if isinstance(payload, bytes):
                decoder.look(ahead, payload, received_ns)
            elif isinstance(payload, Gap) and payload.reason in LOSSES:
                ahead.states = {}
            elif isinstance(payload, Stated) and payload.names is not None:
                ahead.names = payload.names
        self._looked_at = items[-1] if items else None
        return ahead.event

    def _caught_up(self) -> None:
        """
        All that had come was taken. Under no lock.

        Then it is time to have topics stated again whose deltas were told without what they add to: who is behind, and loses
        something again, would lose that snapshot too.
        """
        self._log()
        if self._decoder.lacking and not self._ended:
            now = self._clock.now()
            with self._consuming:
                due = now >= self._renew_at
                topics = frozenset(self._decoder.merging[key] for key in self._decoder.lacking) if due else frozenset()
                if due:
                    self._renew_at = now + RENEW_EVERY_S
            if topics:
                log.info("%s: deltas are missing; asking for a snapshot of %d topics", self.name, len(topics))
                self._renew(self, topics)

    def _park(self, timeout: float | None) -> bool:
        """Wait for something to take, or the end; False if *timeout* seconds are over. May return early."""
        with self._guard:
            if not self._quiet():
                return True
            if self._blocked:  # what was taken last may have been no event, and told nobody
                self._wake_readers()
            if timeout == 0.0:
                return False
            latch = Latch()
            self._parked.append(latch)
        # Without the lock: who puts would still have it when we are woken, and we would wait once more.
        try:
            return self._clock.wait(latch, timeout) or bool(self._buffer or self._ended)
        finally:
            if latch in self._parked:  # else it was opened
                with self._guard:
                    if latch in self._parked:
                        self._parked.remove(latch)

    def _forked(self) -> None:
        """This is a child: let every method that needs a lock raise, and no other thread is left here to hold one."""
        self._guard = self._consuming = Forked(self.name)  # type: ignore[assignment]
        self._at_hand.clear()
        if self._signal is not None:
            self._signal.forked()

    def _raise_error(self) -> None:
        if self._error is not None:
            # The same error each time, so without the traces of the former ones.
            raise self._error.with_traceback(None) from self._error.__cause__


class Forked:
    """
    Stands where a subscription's locks were, in a child of the process that made it.

    There a lock may be taken for ever, by a thread that did not come along. Asking for the process's id before each message is
    a system call, here as dear as taking the message itself (0.8 against 0.7 us, CPython 3.11); this costs nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> NoReturn:
        raise ConnectionClosed(f"{self._name}: the process was forked since; make a client of your own in the child")

    def __exit__(self, *details: object) -> None:
        """Never reached."""


#: Every subscription and merged stream of this process.
_everyone: weakref.WeakSet[Stream] = weakref.WeakSet()


def _after_fork() -> None:
    for stream in list(_everyone):
        stream._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Listener:
    """
    Calls a user's function with what it is told, in order, on a thread of its own: the function may block, ours may not.

    While it waits, that thread holds the queue alone: the function may hold its client, which would never become garbage.
    """

    def __init__(self, callback: Callable[[Any], object], name: str, limit: float = STATES_TOLD) -> None:
        self._callback = callback
        self._limit = limit  # of what waits to be told
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()  # the function and what to tell it; None at the end
        self._thread = threading.Thread(target=_tell, args=(self._told, name), name=name, daemon=True)
        self._begun = threading.Lock()  # taken once, for the thread's start; never given back
        self._left_out: deque[Any] = deque()  # since `warn` was called last

    def tell(self, what: Any) -> None:
        """Have the function called with *what*. Any thread, one at a time, with any lock; never waits. `warn` may be due."""
        if self._told.qsize() >= self._limit:
            try:
                self._told.get_nowait()
            except queue.Empty:
                pass  # the function has returned just now
            else:
                self._left_out.append(what)
        self._told.put((self._callback, what))
        if self._begun.acquire(blocking=False):
            start(self._thread)

    def warn(self) -> None:
        """Log what was left out. Under no lock, as `Subscription._log`."""
        while self._left_out:
            try:
                self._left_out.popleft()
            except IndexError:  # another thread has told it
                return
            log.warning("%s: the callback does not return; the oldest news for it is left out", self._thread.name)

    def end(self) -> None:
        """Let the thread end after what it was told. Any thread, with any lock: such a queue may be put into from `__del__`."""
        self._told.put(None)

    def close(self, timeout: float, closing: Collection[threading.Thread] = ()) -> None:
        """`end`, and wait for the thread, unless it is this one, or among *closing*."""
        self.end()
        join(self._thread, timeout, closing)


def _tell(told: queue.SimpleQueue[Any], name: str) -> None:
    """The thread of a `Listener`."""
    while True:
        item = told.get()
        if item is None:
            return
        callback, what = item
        try:
            callback(what)
        except Exception:
            log.exception("%s: the callback raised", name)
        del item, callback, what  # before the next wait


def percentiles(samples: Iterable[float]) -> dict[str, float | None]:
    """Those that `stats` tells of, by name; None without samples."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {f"p{share}": ordered[last * share // 100] if ordered else None for share in (50, 99)}


def _folded(markers: Sequence[Marker]) -> list[Marker]:
    """*markers* with no message between, as few that mean the same; questions and answers keep their place."""
    folded: list[Marker] = []
    run: list[Marker] = []
    for marker in markers:
        if isinstance(marker, Recovery):
            folded += [*_as_few(run), marker]
            run = []
        else:
            run.append(marker)
    return folded + _as_few(run)


def _as_few(markers: Iterable[Marker]) -> list[Marker]:
    """The gaps in order, whether something begins anew, then what was stated since the last loss."""
    gaps: list[Gap] = []
    topics: dict[Topic, None] = {}
    names: Names | None = None
    renewal: Renewal | None = None
    for marker in markers:
        if isinstance(marker, Renewal):
            renewal = marker
        elif isinstance(marker, Gap):
            gaps.append(marker)
            if marker.reason == "reconnect":
                topics.clear()  # nothing is owed any more for what was stated on a link that is gone
        elif isinstance(marker, Stated):
            topics.update(dict.fromkeys(marker.topics))
            names = names if marker.names is None else marker.names
    while len(gaps) > SIDE_BY_SIDE:
        gaps[:2] = [_both(*gaps[:2])]
    stated = [Stated(tuple(topics), names)] if topics or names is not None else []
    return [*gaps, *([] if renewal is None else [renewal]), *stated]


def _both(first: Gap, second: Gap) -> Gap:
    """Two gaps with nothing between, as one for the event that follows: what the decoder has to be told of one holds of it."""
    since = min(first.since, second.since)
    until = None if first.until is None or second.until is None else max(first.until, second.until)
    dropped = None if first.dropped is None or second.dropped is None else first.dropped + second.dropped
    reason = next((reason for reason in LOSSES if reason in (first.reason, second.reason)), first.reason)
    return Gap(reason, since, until, dropped, first.repaired and second.repaired)
