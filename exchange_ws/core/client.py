"""What every client has: connections by endpoint, blocking calls, subscriptions, and their options."""

from __future__ import annotations

import functools
import logging
import math
import os
import ssl as tls
import sys
import threading
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypedDict, TypeVar
from urllib.parse import urlsplit

import attrs

from exchange_ws.clock import Clock, Deadline, SystemClock
from exchange_ws.core.budget import Budget
from exchange_ws.core.connection import Connection, Link
from exchange_ws.core.decoding import Tally
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.errand import Errand
from exchange_ws.core.messages import Command, Limits, Pace, Topic
from exchange_ws.core.recording import Secrets, Tap, fields_of
from exchange_ws.core.session import CLOSE_WAIT_S, CLOSED, CONNECTING, OPEN, PING_FRAME, RECONNECTING, Backoff, Pending, Session
from exchange_ws.core.subscription import DROP_OLDEST, LATEST, OVERFLOWS, RAISE, Listener, Subscription, percentiles
from exchange_ws.core.timer import Timer
from exchange_ws.errors import (
    AuthenticationError,
    ConnectionClosed,
    LimitExceeded,
    RateLimited,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Numbers
from exchange_ws.wire.recording import Recorder, Recording

if TYPE_CHECKING:
    from types import TracebackType

    from exchange_ws.core.livebook import OrderBook
    from exchange_ws.orderbook import Rule

__all__ = ["Client", "Endpoint", "Options", "SubscribeOptions"]

log = logging.getLogger(__name__)

IDLE = "idle"
#: States from the worst to the best.
WORST_FIRST = (CLOSED, RECONNECTING, CONNECTING, OPEN, IDLE)

CLOSE_LIMIT_S = 5.0  # for all threads to end; a healthy peer needs a round trip, and a silent one is cut off after a second
CLOSE_GRACE_S = 1.0  # beyond that, for who closes to come back from the last of its waits
SPREAD = 10  # connections over which requests may spread when the budget of the first is spent; a guard, not a vendor's limit
LINGER_S = 60.0  # an emptied connection is kept for so long: the next topic or request may want it
JITTER_S, JITTER_SHARE = 1.0, 0.2  # by how much our windows are longer than the exchange's: seconds, less for short ones
ENDED = 64  # subscriptions that have ended, whose counters are kept one by one before it is looked which of them are gone
SAMPLES = 4096  # of how long things take, the latest: enough for a p99, and sorted in a millisecond
BLOCK_LIMIT_S = 10.0  # for which BLOCK holds a reader up at most; half the ping interval where that is less

Self = TypeVar("Self", bound="Client")


def _seconds(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None and field.name == "ping_interval":
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise UsageError(f"{field.name}={value!r}: takes seconds, a finite number above 0")


def _whole(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{field.name}={value!r}: takes a whole number of 1 or more")


def _truth(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{field.name}={value!r}: takes True or False")


def _policy(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and value not in OVERFLOWS:
        raise UsageError(f"{field.name}={value!r}: takes one of {', '.join(OVERFLOWS)}")


def _retry(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, (bool, Backoff)):
        raise UsageError(f"{field.name}={value!r}: takes True, False or a Backoff")


def _proxy(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    # The value may hold a password, so it is not shown.
    if value is not None and (not isinstance(value, str) or not value.startswith(("http://", "socks4", "socks5"))):
        raise UsageError(f"{field.name}: takes a URL of http://, socks4:// or socks5://, or None for the environment's")


def _context(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, tls.SSLContext):
        raise UsageError(f"{field.name}={value!r}: takes an ssl.SSLContext, or None for the system's certificates")


def _function(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise UsageError(f"{field.name}={value!r}: takes a function of one state, or None")


def _converter(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value not in (Decimal, float, str):
        raise UsageError(f"{field.name}={value!r}: takes Decimal, float or str")


def _recording(value: Any) -> Recording | None:
    return Recording.of(value)


def check_url(url: Any, name: str = "url") -> None:
    """`UsageError` if the parameter *name* was given what is no URL of a WebSocket. It may hold a token, so it is not shown."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        right = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        right = False
    if not right:
        raise UsageError(f"{name}: takes the URL of a WebSocket, wss://host/path or ws://host:port/path")


@attrs.frozen(kw_only=True)
class Options:
    """Options that every client takes, by keyword; the docstring of `Client` says what each means, and a test compares them."""

    timeout: float = attrs.field(default=10.0, validator=_seconds)
    queue_size: int = attrs.field(default=65536, validator=_whole)
    overflow: str | None = attrs.field(default=None, validator=_policy)
    reconnect: bool | Backoff = attrs.field(default=True, validator=_retry)
    ping_interval: float | None = attrs.field(default=None, validator=_seconds)
    pong_timeout: float = attrs.field(default=10.0, validator=_seconds)
    max_message_size: int = attrs.field(default=16 * 2**20, validator=_whole)
    proxy: str | None = attrs.field(default=None, validator=_proxy, repr=False)
    ssl: tls.SSLContext | None = attrs.field(default=None, validator=_context)
    rate_limit: bool = attrs.field(default=True, validator=_truth)
    record: Recording | None = attrs.field(default=None, converter=_recording)
    on_state: Callable[[str], object] | None = attrs.field(default=None, validator=_function)
    numbers: Numbers = attrs.field(default=Decimal, validator=_converter)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """The options of *given*; `UsageError` for names that are none."""
        known = [field.name for field in attrs.fields(cls)]
        for name in given:
            if name not in known:
                raise UsageError(f"{name}: no such option; there are {', '.join(known)}")
        return cls(**given)


class SubscribeOptions(TypedDict, total=False):
    """What every ``subscribe_...`` method takes beside its topics, as `subscribe` does; None is the client's default."""

    timeout: float | None  #: seconds until the exchange has confirmed
    queue_size: int | None  #: messages that wait for their reader
    overflow: str | None  #: what to do when these are too many: "drop_oldest", "drop_newest", "latest", "raise" or "block"
    gaps: bool  #: yield a `Gap` where something is missing, as an item of its own
    raw: bool  #: yield the vendor's JSON instead of events


@attrs.frozen
class Endpoint:
    """
    One address of an exchange, the language spoken there, and the login that it asks for.

    `login` makes the command that logs in, anew for each connection; `explain` may say more about why that was refused, before
    anybody is told. The connection's reader calls both with the client first, and with no lock held: they may do REST, or ask
    another endpoint. They are functions of the client's class and not its bound methods: an endpoint holds no client.
    """

    name: str
    url: str
    dialect: Dialect
    login: Callable[[Any], Command | None] | None = None
    explain: Callable[[Any, AuthenticationError], AuthenticationError] | None = None


def _without_jitter(pace: Pace | None) -> Pace | None:
    """
    *pace* as we have to keep it for the exchange to see it kept.

    It counts arrivals. What was slow on its way and what was quick may arrive closer together than they left.
    """
    return pace and attrs.evolve(pace, window_s=pace.window_s + min(JITTER_S, pace.window_s * JITTER_SHARE))


def _kept(limits: Limits) -> Limits:
    """*limits*, with paces as we have to keep them."""
    requests, dials, logins = (_without_jitter(pace) for pace in (limits.requests, limits.dials, limits.logins))
    return attrs.evolve(limits, requests=requests, dials=dials, logins=logins)


class Dials:
    """The budgets of connections and logins at one address, shared by all connections there. Its lock is a leaf."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._lock = threading.Lock()  # guards the two budgets
        self._dials = Budget(limits.dials)
        self._logins = Budget(limits.logins)
        self._clock = clock

    def take(self, *, logs_in: bool) -> float:
        """Take a place now, or say when there is one: the moment, in the past or present if it was taken."""
        now = self._clock.now()
        with self._lock:
            due = max(self._dials.due(now), self._logins.due(now) if logs_in else now)
            if due <= now:
                self._dials.take(now)
            return due

    def log_in(self) -> None:
        """Take a place for a login: not with that of its dial, since many a dial does not come so far."""
        now = self._clock.now()
        with self._lock:
            due = self._logins.due(now)
            if due > now:  # several dialled when there was one place
                raise RateLimited("no more logins are allowed just now", retry_after_s=due - now)
            self._logins.take(now)


class Client:
    """
    A blocking client of one exchange, safe to share between threads. Base of all of them.

    Nothing connects before the first call that needs it, `connect` or ``with``. A client that is not used any more should be
    closed: until then it keeps its connections, and what is subscribed stays so. One that nobody has any more, nor any of its
    subscriptions, ends by itself when Python finds that out, with a `ResourceWarning`.

    Parameters
    ----------
    timeout
        Default 10.0. Seconds that a blocking call waits when it is not told.
    queue_size
        Default 65536. Messages that a subscription keeps for a consumer that is behind.
    overflow
        Default None. What a subscription does when these are too many: "drop_oldest", "drop_newest", "latest", "raise" or
        "block", as `subscribe` says. None is "drop_oldest", and "raise" for account topics.
    reconnect
        Default True. Make a lost connection again; False: a loss ends everything; or a `Backoff`.
    ping_interval
        Default None. Seconds of silence after which the client pings; None: as the exchange asks.
    pong_timeout
        Default 10.0. Seconds without an answer to such a ping after which the connection is lost.
    max_message_size
        Default 16777216 bytes. A longer message ends the connection before memory is taken for it.
    proxy
        Default None. URL of a proxy, ``http://``, ``socks4://`` or ``socks5://``; None: the environment's.
    ssl
        Default None. An `ssl.SSLContext`; None: certificates are checked against the system's.
    rate_limit
        Default True. Keep the limits that the exchange documents, by waiting or by another connection.
    record
        Default None. Path of a file to record to, for `exchange_ws.replay`, or a `Recording`; no secret is in it.
    on_state
        Default None. A function that is called with each new `state`, on a thread of its own.
    numbers
        Default Decimal. What prices and sizes become: `decimal.Decimal`, `float` or `str`.

    Raises
    ------
    UsageError
        An option is unknown or makes no sense; the message names it, and what it takes.
    """

    # Threads: any. `_lock` guards what this holds, and is the outermost: connections are placed and registered with under it,
    # nothing waits or writes under it.

    #: The exchange's name, as `exchange_ws.connect` and the command line take it.
    name: ClassVar[str]
    #: Parameters of the constructor's on which the languages depend, and attributes that have them; recordings tell them.
    _languages: ClassVar[tuple[str, ...]] = ()
    #: Of a client with several URLs: the parameters that take them, and the path of each where all are on one host.
    paths: ClassVar[Mapping[str, str]] = MappingProxyType({})

    _closed = True  # guarded by _lock
    _given: Secrets | None = None  # what it was given to log in with; set before the constructor here

    def __init__(self, endpoints: Mapping[str, Endpoint], **options: Any) -> None:
        self._options = Options.of(options)
        self._endpoints = dict(endpoints)
        for endpoint in self._endpoints.values():
            check_url(endpoint.url)
        self._clock: Clock = SystemClock()
        for endpoint in self._endpoints.values():
            limit = endpoint.dialect.heartbeat.idle_limit_s
            interval = self._options.ping_interval
            if limit is not None and interval is not None and interval >= limit:
                raise UsageError(f"ping_interval={interval!r}: takes less than {limit:.0f} s, when {self.name} hangs up")
        self._pid = os.getpid()
        self._timer = Timer(self._clock)
        self._sweep = Sweep(self)
        self._limits = {
            name: _kept(endpoint.dialect.limits) if self._options.rate_limit else Limits()
            for name, endpoint in self._endpoints.items()
        }
        counted: dict[str, Dials] = {}  # two endpoints may be one address, or on one host, and are one to those who count there
        self._dials = {
            name: counted.setdefault(
                urlsplit(endpoint.url).netloc if self._limits[name].dials_of_host else endpoint.url,
                Dials(self._limits[name], self._clock),
            )
            for name, endpoint in self._endpoints.items()
        }
        self._lock = threading.Lock()  # guards everything below
        self._pools: dict[str, list[Connection]] = {name: [] for name in self._endpoints}
        self._leaving: list[Connection] = []  # closed, their readers perhaps not ended yet
        self._subscriptions: dict[Subscription, None] = {}  # in the order in which they were made
        self._books: list[OrderBook] = []  # that have not ended: nobody else may have them, and they keep up
        self._keeper: Listener | None = None  # its thread keeps up all of them; none before the first
        self._made = self._subscribed = 0
        self._past: Counter[str] = Counter()  # counters of connections and subscriptions that are gone
        # Of subscriptions that have ended: what is in their buffers may still be read, and found to be malformed.
        self._ended: list[tuple[weakref.ref[Subscription], Tally]] = []
        self._ended_limit = ENDED
        self._round_trips: list[float] = []  # of connections that are gone, the latest
        self._lags: deque[float] = deque(maxlen=SAMPLES)  # not guarded: subscriptions add to it, in one step of the interpreter
        self._told_state = IDLE
        on_state = self._options.on_state
        self._listener = None if on_state is None else Listener(on_state, f"exchange-ws states {self.name}")
        self._closing: set[threading.Thread] = set()  # who called `close`; added to by anyone, in one step of the interpreter
        self._errands: set[Errand] = set()  # of closes that have not come to their end; changed as `_closing` is
        self._recorder = None if self._options.record is None else self._new_recorder(self._options.record)
        if self._recorder is not None:
            # Of subscriptions, and what is hidden, in the recording.
            self._numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
            self._hidden = self._given or Secrets()
        self._closed = False  # last: until here there is nothing to close
        if "IPython" in sys.modules:
            from exchange_ws import notebook

            notebook.client_made()

    def _new_recorder(self, recording: Recording) -> Recorder:
        about = {"exchange": self.name, "timeout": self._options.timeout, "id": os.urandom(8).hex()}
        about.update((name, getattr(self, name)) for name in self._languages)
        return Recorder(recording, about, self._clock, self.name)

    # Lifecycle ------------------------------------------------------------------------------------------------------------

    def connect(self: Self, timeout: float | None = None) -> Self:
        """
        Connect now, if it is not yet, and wait until it is open. Returns the client.

        Raises
        ------
        ConnectFailed
            Refused, not found, not in time; a later call tries anew.
        ConnectionClosed
            `close` was called.
        """
        deadline = self._deadline(timeout)
        self._check_process()
        with self._lock:
            connection = self._first(next(iter(self._endpoints)))
        self._tell_state()
        connection.wait_open(deadline)
        self._tell_state()  # by ourselves: the reader, who woke us, may come to it only after our caller has closed
        return self

    def close(self, timeout: float | None = None) -> None:
        """
        End everything: connections, waits, iterators, threads. Idempotent.

        Anybody may call it anywhere: any thread, a consumer's or a callback's too, a signal's function, ``__del__``.

        Parameters
        ----------
        timeout
            Seconds to wait for the threads; a silent peer is cut off after one second, or half of these.
        """
        deadline = Deadline(self._clock, CLOSE_LIMIT_S if timeout is None else self._deadline(timeout).remaining())
        if self._foreign:
            return  # the connection is the parent's
        if sys.is_finalizing():
            self._closed = True  # no other thread runs any more, and the system takes all of it back in a moment
            return
        self._closing.add(threading.current_thread())
        try:
            # Not here: a signal's function, or `__del__`, may have interrupted this very thread where it holds a lock of ours.
            # Who closes would wait for that for ever; this way it is waited for as long as *timeout* says, and ends afterwards.
            Errand(lambda: self._close(deadline), f"exchange-ws close {self.name}", self._errands)
        except RuntimeError:  # the system gives no further thread
            self._close(deadline)
            return
        grace = Deadline(self._clock, (deadline.remaining() or 0.0) + CLOSE_GRACE_S)
        for one in list(self._errands):  # that of a close which was interrupted too: it is a thread of ours
            if one.wait(grace):
                self._errands.discard(one)
            else:
                log.warning("%s: not closed in time; it will be when this thread goes on with what it was at", self.name)

    def _close(self, deadline: Deadline) -> None:
        """`close`, on a thread of its own."""
        with self._lock:
            self._closed = True
            connections = [connection for pool in self._pools.values() for connection in pool] + self._leaving
            subscriptions = list(self._subscriptions)
            if self._recorder is not None and connections:
                self._recorder.note({"t": self._clock.time_ns(), "finish": True})
        for subscription in subscriptions:
            subscription.finish()
        with self._lock:
            for subscription in self._subscriptions:
                self._keep_tally(subscription)
            self._books.clear()
            self._subscriptions.clear()  # not before they are closed: `unsubscribe` takes those that are neither for another's
        _end(connections, self._timer, self._clock, deadline, self._closing, self._recorder)
        self._tell_state()
        for subscription in subscriptions:
            subscription.join(deadline.remaining() or 0.0, self._closing)
        for listener in (self._keeper, self._listener):
            if listener is not None:
                listener.close(deadline.remaining() or 0.0, self._closing)

    def __enter__(self: Self) -> Self:
        try:
            return self.connect()
        except BaseException:
            self.close()  # nobody else will: the body and its end are not reached
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn, exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        # Any thread comes here, in the middle of anything, with any lock of ours in its hands: nothing here waits for one. That
        # nobody else has the client is what this is called for, so its fields may be read without.
        if self._closed or self._foreign:
            return
        shown = self._shown()
        self._closed = True  # for whoever revives it
        left = [connection for pool in self._pools.values() for connection in pool if connection.state != CLOSED]
        if not exiting():  # else the system takes everything back in a moment
            for listener in (self._keeper, self._listener):
                if listener is not None:
                    listener.end()
            if left or (self._recorder is not None and self._recorder.begun):
                timer, clock, recorder = self._timer, self._clock, self._recorder
                deadline = Deadline(clock, CLOSE_LIMIT_S)
                try:
                    Errand(lambda: _end(left, timer, clock, deadline, (), recorder), f"exchange-ws close {self.name}")
                except RuntimeError:
                    pass  # exiting, since a moment ago
        if left:
            warn(f"unclosed {shown}", ResourceWarning, source=self)

    @property
    def state(self) -> str:
        """The worst of its connections' states: "idle", "connecting", "open", "reconnecting" or "closed"."""
        if self._foreign:
            return CLOSED
        with self._lock:
            return self._state()

    # Calls ----------------------------------------------------------------------------------------------------------------

    def ping(self, timeout: float | None = None) -> float:
        """
        Ask the exchange for a sign of life: its own ping, or a WebSocket ping where it has none.

        Returns
        -------
        float
            Seconds of round trip.

        Raises
        ------
        RequestTimeout, ConnectionLost, ConnectFailed
            As for any request.
        """
        endpoint = next(iter(self._endpoints))
        command = self._endpoints[endpoint].dialect.heartbeat.command or PING_FRAME
        pending = self._run(command, timeout, endpoint)
        assert pending.sent_at is not None
        return self._clock.now() - pending.sent_at

    def _call(self, command: Command, timeout: float | None = None, endpoint: str | None = None) -> Any:
        """
        Say *command*, wait for its answer, and return the result of that.

        A command that may be said again (`replay`) goes to another connection when the request budget of the first is spent.
        """
        reply = self._run(command, timeout, next(iter(self._endpoints)) if endpoint is None else endpoint).reply
        return None if reply is None else reply.result

    def _run(self, command: Command, timeout: float | None, endpoint: str) -> Pending:
        deadline = self._deadline(timeout)
        self._check_process()
        with self._lock:
            connection = self._for_call(endpoint, command)
            pending = connection.submit(command, deadline)
        self._tell_state()
        connection.push(pending)
        connection.wait(pending)
        return pending

    # Subscriptions --------------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        *topic: str,
        timeout: float | None = None,
        queue_size: int | None = None,
        overflow: str | None = None,
        gaps: bool = False,
        raw: bool = False,
        **params: Any,
    ) -> Subscription:
        """
        Receive updates, and wait until the exchange confirms it.

        Parameters
        ----------
        topic
            As the exchange names it; the client of each exchange says how. **params** are options of its channel.
        timeout
            Seconds to wait for the confirmation; None: the client's.
        queue_size
            Messages to keep for a consumer that is behind; None: the client's.
        overflow
            What to do when they are too many: "drop_oldest" (a `Gap` stands where they were), "drop_newest", "latest" (one slot
            a topic; refused where updates are deltas), "raise" (ends with `ConsumerTooSlow`), or "block" (holds up all that
            comes on the same connection, for at most 10 s, then ends as "raise" does). None: the client's.
        gaps
            Also yield each `Gap` itself, where it is; the event after it carries it in any case.
        raw
            Yield the exchange's messages, parsed and otherwise as they came, instead of events.

        Raises
        ------
        SubscriptionRejected
            The exchange refused it, `code` and `message` say why.
        RequestTimeout
            No confirmation in time. Nothing stays subscribed.
        ConnectFailed, ConnectionLost, AuthenticationError
            There is no connection.
        UsageError, LimitExceeded
            It cannot be right, or more than the exchange allows; nothing was sent.
        """
        topics = self._topics_of(topic, params)
        return self._subscribe(topics, timeout=timeout, queue_size=queue_size, overflow=overflow, gaps=gaps, raw=raw)

    def unsubscribe(self, *what: Subscription | str, timeout: float | None = None, **params: Any) -> None:
        """
        End subscriptions, or take topics out of all that have them, and wait until the exchange confirms it.

        What is buffered can still be read; then iteration ends.

        Parameters
        ----------
        what
            Subscriptions, or one topic in the words of `subscribe`.
        """
        self._deadline(timeout)
        self._check_process()
        if not what:
            raise UsageError("unsubscribe: takes subscriptions, or a topic as subscribe does")
        given = [item for item in what if isinstance(item, Subscription)]
        if given:
            if len(given) < len(what):
                raise UsageError("unsubscribe: takes subscriptions or the words of a topic, not both")
            with self._lock:
                others = [one for one in given if one not in self._subscriptions]
            for subscription in others:
                if not subscription.closed:
                    raise UsageError(f"unsubscribe: {subscription!r} belongs to another client")
            for subscription in given:
                subscription.unsubscribe(timeout)
            return
        topics = frozenset(self._topics_of(tuple(str(word) for word in what), params))
        for subscription in self.subscriptions:
            mine = topics & frozenset(subscription.wanted)
            if mine:
                self._leave(subscription, mine, timeout)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What is subscribed."""
        self._check_process()
        with self._lock:
            # Who was told the end of one may ask before its thread has come to take it out.
            return tuple(subscription for subscription in self._subscriptions if not subscription.closed)

    def _topics_of(self, words: tuple[str, ...], params: Mapping[str, Any]) -> Sequence[Topic]:
        """The topics that *words* and *params* of `subscribe` name; `UsageError` if they name none."""
        raise NotImplementedError

    def _subscribe(
        self,
        topics: Sequence[Topic],
        *,
        timeout: float | None = None,
        queue_size: int | None = None,
        overflow: str | None = None,
        gaps: bool = False,
        raw: bool = False,
        **unknown: Any,
    ) -> Subscription:
        """Subscribe to *topics*, which are not empty; see `subscribe`."""
        for name in unknown:
            raise UsageError(f"{name}: no such option of a subscription; there are timeout, queue_size, overflow, gaps and raw")
        deadline = self._deadline(timeout)
        topics = tuple(dict.fromkeys(topics))
        by_endpoint: dict[str, list[Topic]] = {}
        for topic in topics:
            by_endpoint.setdefault(self._endpoint_of(topic), []).append(topic)
        dialects = [self._endpoints[where].dialect for where in by_endpoint]
        if any(dialect.interpret is not dialects[0].interpret for dialect in dialects):
            each = " and ".join(found[0].name for found in by_endpoint.values())
            raise UsageError(f"subscribe: {each} come from different endpoints; make a subscription for each, and merge these")
        options = self._options
        if queue_size == 0:
            raise UsageError("queue_size=0: takes a whole number of 1 or more")
        account = any(topic.account for topic in topics)
        policy = overflow or options.overflow or (RAISE if account else DROP_OLDEST)
        size = attrs.evolve(options, overflow=policy, queue_size=queue_size or options.queue_size).queue_size
        if policy == LATEST and not all(topic.standalone for topic in topics):
            deltas = ", ".join(topic.name for topic in topics if not topic.standalone)
            raise UsageError(f"overflow='latest': {deltas} comes as deltas, of which none may be left out; take another policy")
        for name, flag in (("gaps", gaps), ("raw", raw)):
            if not isinstance(flag, bool):
                raise UsageError(f"{name}={flag!r}: takes True or False")
        shown = [topic.name for topic in topics[:3]] + (["..."] if len(topics) > 3 else [])
        subscription = Subscription(
            f"{self.name} {', '.join(shown)}",
            topics,
            dialects[0],
            clock=self._clock,
            queue_size=size,
            overflow=policy,
            gaps=gaps,
            raw=raw,
            numbers=options.numbers,
            block_limit=min(BLOCK_LIMIT_S, *(self._ping_interval(dialect) / 2 for dialect in dialects)),
            leave=self._leave,
            forget=self._forget,
            ids=self._ids_of,
            lags=self._lags,
            renew=self._restate,
        )
        self._check_process()
        with self._lock:
            if self._recorder is not None:
                self._record(subscription)
            placed = [part for where, there in by_endpoint.items() for part in self._place(where, there, deadline)]
            waits = [(connection, connection.want(subscription, frozenset(part), deadline)) for connection, part in placed]
            self._subscriptions[subscription] = None
        self._tell_state()
        try:
            for connection, pending in waits:
                connection.push(pending)
            for connection, pending in waits:
                connection.wait(pending)
            with self._lock:
                self._check_usable()  # it may have been confirmed while somebody closed
        except BaseException:
            subscription.end(None)  # and nothing of it stays on the wire
            raise
        return subscription

    def _record(self, subscription: Subscription) -> None:
        """Requires `_lock`. The recording says what *subscription* is."""
        assert self._recorder is not None
        number = self._numbers[subscription] = self._subscribed = self._subscribed + 1
        topics = [fields_of(topic) for topic in subscription.wanted]
        endpoint = self._endpoint_of(subscription.wanted[0])
        line = {"t": self._clock.time_ns(), "sub": number, "name": subscription.name, "endpoint": endpoint, "topics": topics}
        self._recorder.note({**line, **({} if subscription.asks else {"asks": False})})

    @classmethod
    def _dialects(cls, about: Mapping[str, Any]) -> dict[str, Dialect]:
        """
        The language of each endpoint, for the replay of a recording that tells this *about* itself.

        Without credentials, since nothing is asked for.
        """
        make: Callable[..., Client] = cls  # whose own constructor needs no argument, as that of every exchange
        ws = make(**{name: about[name] for name in cls._languages if name in about})
        return {name: endpoint.dialect for name, endpoint in ws._endpoints.items()}

    def order_book(self, symbol: str, *args: Any, **options: Any) -> OrderBook:
        """
        A live order book of *symbol*, once its first snapshot is there. The client of each exchange says what it takes.

        Raises
        ------
        UpdateTimeout
            No snapshot in time. Nothing stays subscribed.
        SubscriptionRejected, RequestTimeout, ConnectFailed, ConnectionLost, UsageError, LimitExceeded
            As `subscribe`.
        """
        raise NotImplementedError

    def _order_book(self, topic: Topic, follows: Rule, *, limit: int | None, timeout: float | None) -> OrderBook:
        """The live book that the updates of *topic* make, each following the one before it as *follows* says."""
        from exchange_ws.core.livebook import OrderBook  # here, since most programs have none
        from exchange_ws.orderbook import Book

        deadline = self._deadline(timeout)
        # Whatever the client's policy is: what a book misses it finds out, and gets anew.
        subscription = self._subscribe([topic], timeout=timeout, overflow=DROP_OLDEST, gaps=True)
        try:
            with self._lock:
                self._check_usable()
                if self._keeper is None:
                    self._keeper = Listener(OrderBook.keep, f"exchange-ws books {self.name}", math.inf)
                book = OrderBook(
                    topic,
                    Book(follows, limit=limit),
                    subscription,
                    clock=self._clock,
                    text=self._options.numbers is str,
                    tell=self._keeper.tell,
                    restate=self._restate,
                )
                self._books = [known for known in self._books if not known.closed] + [book]
            book.begin(deadline.remaining() or 0.0)
        except BaseException as error:
            subscription.end(None)
            if isinstance(error, UpdateTimeout):
                raise UpdateTimeout(f"{subscription.name}: confirmed, but no snapshot of the book came in time") from None
            raise
        return book

    def _restate(self, subscription: Subscription, topics: frozenset[Topic] | None = None) -> None:
        """Have what *subscription* has, or these *topics* of it, stated again, for the snapshot. Does not wait."""
        with self._lock:
            connections = [connection for pool in self._pools.values() for connection in pool]
        for connection in connections:
            there = connection.wanted(subscription, subscription.wanted if topics is None else topics)
            if there:
                connection.restate(there)

    def _endpoint_of(self, topic: Topic) -> str:
        """Where *topic* is subscribed to: the first endpoint, if the client of the exchange does not know better."""
        return next(iter(self._endpoints))

    def _ids_of(self, subscription: Subscription) -> tuple[str, ...]:
        self._check_process()
        with self._lock:
            connections = [connection for pool in self._pools.values() for connection in pool]
        return tuple(name for connection in connections for name in connection.ids(subscription.wanted))

    def _leave(self, subscription: Subscription, topics: frozenset[Topic], timeout: float | None) -> None:
        """Take *topics* out of *subscription*, and wait for the exchange."""
        deadline = self._deadline(timeout)
        if self._foreign:
            return
        waits = self._drop(subscription, topics, deadline)
        for connection, pending in waits:
            connection.push(pending)
        for connection, pending in waits:
            try:
                connection.wait(pending)
            except ConnectionClosed:
                continue  # the client is closed: what was to be reached

    def _forget(self, subscription: Subscription) -> None:
        """*subscription* has ended by itself; its topics leave the wire without anybody waiting for it."""
        waits = self._drop(subscription, frozenset(subscription.wanted), Deadline(self._clock, self._options.timeout))
        for connection, _ in waits:
            connection.nudge()

    def _drop(
        self, subscription: Subscription, topics: frozenset[Topic], deadline: Deadline
    ) -> list[tuple[Connection, Pending]]:
        rest = [topic for topic in subscription.wanted if topic not in topics]
        if rest:
            subscription.keep(rest)
        else:
            subscription.finish()
        with self._lock:
            if not rest and self._subscriptions.pop(subscription, self) is None:
                self._keep_tally(subscription)
            if self._closed:
                return []
            waits = [
                (connection, connection.unwant(subscription, topics, deadline))
                for pool in self._pools.values()
                for connection in pool
                if connection.wanted(subscription, topics)
            ]
        for connection, _ in waits:
            if not connection.wanted(subscription, rest):
                subscription.left(connection)
        return waits

    # Watching -------------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """
        Counters since the client was made, how it is, and how long things take. After `close` too: as they were then.

        Returns
        -------
        dict
            Of what JSON has words for. Whole numbers that only grow, over losses and ends of subscriptions:

            - ``messages``, ``bytes``: received; answers are messages too, and bytes are those of whole frames
            - ``requests``: sent, those included that the client makes by itself: logins, subscribing again, pings
            - ``reconnects``: connections that were made again
            - ``dropped``: messages, by overflows
            - ``gaps``: in all subscriptions; ``repaired``: those of which it turned out that nothing is missing
            - ``unknown``: messages of a kind that the client does not know
            - ``unrouted``: updates that nobody wants
            - ``unasked``: answers that belong to no request
            - ``malformed``: messages that are not JSON, or not as documented
            - ``late``: answers after their timeout, and updates after their unsubscribing

            What is at present:

            - ``state``: as the attribute
            - ``connections``: not closed; ``subscriptions``
            - ``waiting``: messages in the buffers of these, for who is behind

            Of the latest samples, seconds as floats in a dict with "p50" and "p99", None without samples:

            - ``round_trip``: from a request to its answer
            - ``lag``: from the exchange's time to ours, of messages that were read; not of those with raw=True

            And ``recording``: None without one; else a dict with "path", what was written so far ("messages", "bytes"),
            "missed" (messages that came faster than the disk took them), and the "error" that ended it early, or None.
        """
        self._check_process()
        with self._lock:
            state = self._state()
            present = [connection for pool in self._pools.values() for connection in pool]
            leaving = list(self._leaving)
            subscriptions = list(self._subscriptions)
            totals = Counter(self._past)
            tallies = [tally for _, tally in self._ended]
            round_trips = list(self._round_trips)
        for connection in present + leaving:
            told = connection.stats()
            totals.update(told["counters"])
            round_trips += told["round_trips"]
        for tally in (*tallies, *(subscription.tally for subscription in subscriptions)):
            totals.update(tally.counters())
        names = "messages bytes requests reconnects dropped gaps repaired unknown unrouted unasked malformed late".split()
        stats: dict[str, Any] = {name: totals[name] for name in names}
        stats.update(
            state=state,
            connections=sum(connection.state != CLOSED for connection in present),
            subscriptions=len(subscriptions),
            waiting=sum(subscription.qsize() for subscription in subscriptions),
            round_trip=percentiles(round_trips),
            lag=percentiles(self._lags.copy()),
            recording=None if self._recorder is None else self._recorder.stats(),
        )
        return stats

    def __repr__(self) -> str:
        if self._foreign:
            return f"<{type(self).__name__} of another process>"
        with self._lock:
            return self._shown()

    def _repr_html_(self) -> str:
        """What a notebook shows: no address and no key. Waits for nothing, and goes on after the end and in a forked child."""
        from exchange_ws import display

        title = type(self).__name__
        if self._foreign:
            return display.card(title, ["of another process"], state=CLOSED)
        with self._lock:
            state, subscriptions = self._state(), list(self._subscriptions)
        told = self.stats()
        facts = [f"{name}: {told[name]}" for name in ("messages", "requests", "reconnects", "dropped", "gaps")]
        if told["round_trip"]["p50"] is not None:
            facts.append(f"round trip: {told['round_trip']['p50'] * 1e3:.1f} ms")
        columns = ("subscription", "waiting", "dropped", "gaps")
        counted = [(subscription.name, subscription.stats()) for subscription in subscriptions]
        rows = [[name, *(counters[column] for column in columns[1:])] for name, counters in counted]
        return display.card(title, facts, *([display.table(columns, rows, columns[:1])] if rows else []), state=state)

    def _shown(self) -> str:
        """Requires `_lock`, or that nobody else has the client."""
        return f"<{type(self).__name__} {self._state()}, {len(self._subscriptions)} subscriptions>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__}: a client is connections and threads, which cannot be copied or sent to another process;"
            " send what it is made from, and make one there"
        )

    # Inside ---------------------------------------------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> Deadline:
        if timeout is None:
            timeout = self._options.timeout
        elif isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise UsageError(f"timeout={timeout!r}: takes seconds, a finite number above 0, or None for the client's")
        return Deadline(self._clock, timeout)

    def _ping_interval(self, dialect: Dialect) -> float:
        return self._options.ping_interval or dialect.heartbeat.interval_s

    @property
    def _foreign(self) -> bool:
        """
        Whether this is a child of the process that made the client: without its threads, and with its connections.

        To be asked before `_lock` is taken: a thread that does not exist here may have held it at the moment of the fork.
        """
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        if self._foreign:
            raise ConnectionClosed(f"{self.name}: the process was forked since; make a client of your own in the child")

    def _check_usable(self) -> None:
        """Requires `_lock`."""
        if self._closed:
            raise ConnectionClosed(f"{self.name}: closed; make another client")

    def _pool(self, endpoint: str) -> list[Connection]:
        """
        Requires `_lock`. Connections of *endpoint*, without those that were never made, or whose login was refused.

        For both the caller who asks decides whether it is worth another try.
        """
        self._check_usable()
        pool = self._pools[endpoint]
        for connection in list(pool):
            if connection.state == CLOSED and not (connection.ever_open and connection.was_admitted):
                self._retire(pool, connection)
        return pool

    def _retire(self, pool: list[Connection], connection: Connection) -> None:
        """Requires `_lock`."""
        pool.remove(connection)
        leaving, self._leaving = self._leaving, [connection]
        for left in leaving:
            if left.join(0.0):
                told = left.stats()
                self._past.update(told["counters"])
                self._round_trips = [*self._round_trips, *told["round_trips"]][-SAMPLES:]
            else:
                self._leaving.append(left)

    def _keep_tally(self, subscription: Subscription) -> None:
        """Requires `_lock`. *subscription* has ended. Those that nobody has any more count nothing further, and become sums."""
        self._ended.append((weakref.ref(subscription), subscription.tally))
        if len(self._ended) < self._ended_limit:
            return
        ended, self._ended = self._ended, []
        for reference, tally in ended:
            if reference() is None:
                self._past.update(tally.counters())
            else:
                self._ended.append((reference, tally))
        self._ended_limit = max(ENDED, 2 * len(self._ended))  # or those that somebody keeps would be looked at each time

    def _open(self, endpoint: str) -> Connection:
        """Requires `_lock`. Another connection; its reader starts to dial."""
        where = self._endpoints[endpoint]
        limits, options = where.dialect.limits, self._options
        pool = self._pools[endpoint]
        if limits.connections is not None and len(pool) >= limits.connections:
            raise LimitExceeded(
                f"{self.name}: {limits.connections} connections are allowed, and a further one is needed",
                limit="connections",
                source=limits.source,
            )
        self._made += 1
        backoff = options.reconnect if isinstance(options.reconnect, Backoff) else Backoff() if options.reconnect else None
        session = Session(
            where.dialect,
            f"{self.name}{'' if len(self._endpoints) == 1 else '/' + where.name} #{self._made}",
            limits=self._limits[endpoint],
            ping_interval=self._ping_interval(where.dialect),
            pong_timeout=options.pong_timeout,
            reply_limit=options.timeout,
            backoff=backoff,
        )
        link = Link(where.url, options.timeout, {}, options.proxy, options.ssl, options.max_message_size)
        reach = Reach(self, where)
        tap = None
        if self._recorder is not None:
            tap = Tap(self._recorder, self._made, self._numbers.__getitem__, self._clock.time_ns, self._hidden)
            tap.made(session.name, where.name, urlsplit(where.url).hostname)
        connection = Connection(
            session,
            link,
            clock=self._clock,
            timer=self._timer,
            may_dial=functools.partial(self._dials[endpoint].take, logs_in=where.login is not None),
            login=None if where.login is None else reach.login,
            explain=reach.explain,
            on_state=reach.tell_state,
            tap=tap,
        )
        pool.append(connection)
        self._told(self._state())  # now, or it may be open before anybody hears that it was connecting
        connection.start()
        if len(pool) > 1:
            self._timer.schedule(self._sweep, self._clock.now() + LINGER_S)
        return connection

    def _first(self, endpoint: str) -> Connection:
        """Requires `_lock`."""
        pool = self._pool(endpoint)
        return pool[0] if pool else self._open(endpoint)

    def _for_call(self, endpoint: str, command: Command) -> Connection:
        """Requires `_lock`, and that the command is submitted under the same hold: the room that is seen may be the last."""
        first = self._first(endpoint)
        if not command.replay or first.headroom() > 0 or first.state == CLOSED:
            return first
        pool = self._pools[endpoint]
        for connection in pool:
            if connection.state != CLOSED and connection.headroom() > 0:
                return connection
        most = self._endpoints[endpoint].dialect.limits.connections
        if len(pool) < SPREAD and (most is None or len(pool) < most):
            return self._open(endpoint)
        return max(pool, key=Connection.headroom)

    def _place(self, endpoint: str, topics: Iterable[Topic], deadline: Deadline) -> list[tuple[Connection, list[Topic]]]:
        """
        Requires `_lock`, as `_for_call` does. Which connection gets which topics; opens what is missing.

        One that has a topic gets it again. One whose request budget has no room before *deadline* gets no other, as long as
        further ones may be opened.
        """
        self._first(endpoint)
        dialect = self._endpoints[endpoint].dialect
        limits = dialect.limits
        # The first one is taken even when it is lost for good: it says why.
        pool = self._pools[endpoint]
        there = [Room(connection, dialect) for connection in pool if connection.state != CLOSED or connection is pool[0]]
        spent = {room for room in there if room.connection.state != CLOSED and room.connection.room_at() > deadline.at}
        for topic in topics:
            chosen = next((room for room in there if room.has(topic)), None)
            if chosen is None:
                # Those with room go first; of the others the first one is for the case that no more may be opened.
                chosen = min((room for room in there if room.fits(topic)), key=spent.__contains__, default=None)
                may_open = len(pool) < SPREAD and (limits.connections is None or len(pool) < limits.connections)
                if chosen is None or (chosen in spent and may_open):
                    chosen = Room(self._open(endpoint), dialect)
                    there.append(chosen)
            chosen.take(topic)
        return [(room.connection, room.placed) for room in there if room.placed]

    def _let_go(self, endpoint: str) -> None:
        """Close what *endpoint* has, unless somebody else is at it; who asks there again opens another."""
        with self._lock:
            pool = self._pools[endpoint]
            left = [connection for connection in pool if not connection.busy]
            for connection in left:
                self._retire(pool, connection)
        for connection in left:
            connection.close(CLOSE_WAIT_S)
        self._tell_state()

    def tick(self) -> float:
        """The timer's turn: close connections beyond the first that nobody has used for a while."""
        now = self._clock.now()
        idle: list[Connection] = []
        due = math.inf
        with self._lock:
            for pool in self._pools.values():
                for connection in pool[1:]:
                    if connection.busy:
                        due = min(due, now + LINGER_S)
                    elif now - connection.used_at < LINGER_S:
                        due = min(due, connection.used_at + LINGER_S)
                    else:
                        self._retire(pool, connection)
                        idle.append(connection)
        for connection in idle:
            connection.close(CLOSE_WAIT_S)
        return due

    def _state(self) -> str:
        """Requires `_lock`."""
        if self._closed:
            return CLOSED
        states = {
            connection.state
            for pool in self._pools.values()
            for connection in pool
            if connection.state != CLOSED or connection.ever_open
        }
        return next(state for state in WORST_FIRST if state in states or state == IDLE)

    def _tell_state(self) -> None:
        """With no lock held."""
        if self._listener is not None:
            with self._lock:
                self._told(self._state())
            self._listener.warn()

    def _told(self, state: str) -> None:
        """Requires `_lock`. The listener hears of *state*, if it is news."""
        if self._listener is not None and state != self._told_state:
            self._told_state = state
            self._listener.tell(state)


def _end(
    connections: Sequence[Connection],
    timer: Timer,
    clock: Clock,
    deadline: Deadline,
    closing: Collection[threading.Thread] = (),
    recorder: Recorder | None = None,
) -> None:
    """End what a client has begun, and wait for it until *deadline*, except for the threads that are *closing*."""
    # Half of the time is for the peer, so that there is some left for the reader that cuts a silent one off.
    wait = min(CLOSE_WAIT_S, (deadline.remaining() or 0.0) / 2)
    for connection in connections:
        connection.close(wait)
    if deadline.over:  # held up by a lock of somebody who was interrupted, and has stopped waiting for us
        deadline = Deadline(clock, CLOSE_LIMIT_S)
    for connection in connections:
        if not connection.join(deadline.remaining() or 0.0, closing):
            log.warning("%s: its reader has not ended in time; it is in a call that cannot be interrupted", connection.name)
    timer.close(deadline.remaining() or 0.0, closing)
    if recorder is not None:
        recorder.close(deadline.remaining() or 0.0)


class Room:
    """What a connection has room for while topics are placed, none of which it has been told of yet."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.placed: list[Topic] = []
        self._fits = dialect.fits
        self._limits = dialect.limits
        self._topics, self._characters = connection.load
        self._new: dict[str, set[Topic]] = {}  # of those placed, what the connection has not, by channel

    def has(self, topic: Topic) -> bool:
        """Whether it is on the connection, or was placed there."""
        return topic in self._new.get(topic.channel, ()) or self.connection.holds(topic)

    def fits(self, topic: Topic) -> bool:
        """Whether the exchange lets it join what is there."""
        topics, characters = self._limits.topics, self._limits.characters
        if topics is not None and self._topics >= topics:
            return False
        # As JSON a list of names has its brackets, and one comma less.
        if characters is not None and self._characters + topic.characters + 1 > characters:
            return False
        return self._fits(self._alike(topic.channel), topic)

    def take(self, topic: Topic) -> None:
        """Place it here."""
        if not self.has(topic):
            self._new.setdefault(topic.channel, set()).add(topic)
            self._topics += 1
            self._characters += topic.characters
        self.placed.append(topic)

    def _alike(self, channel: str) -> Iterator[Topic]:
        """Those of *channel*; a generator, for few languages look at any, and a channel may have thousands."""
        yield from self.connection.held(channel)
        yield from self._new.get(channel, ())


class Sweep:
    """What the timer ticks for a client, and does not keep it alive by."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)

    def tick(self) -> float:
        client = self._client()
        return math.inf if client is None else client.tick()

    def resumed(self) -> float:
        """Nothing is known to a client that may be old."""
        return math.inf


class Reach:
    """How a connection's threads reach its client: as long as that is there, and without keeping it there."""

    def __init__(self, client: Client, endpoint: Endpoint) -> None:
        self._client = weakref.ref(client)
        self._endpoint = endpoint

    def login(self) -> Command | None:
        client, login = self._client(), self._endpoint.login
        if client is None:
            raise ConnectionClosed(f"{self._endpoint.name}: nobody has the client any more")
        if login is None:
            return None
        client._dials[self._endpoint.name].log_in()
        return login(client)

    def explain(self, error: AuthenticationError) -> AuthenticationError:
        client, explain = self._client(), self._endpoint.explain
        return error if client is None or explain is None else explain(client, error)

    def tell_state(self) -> None:
        client = self._client()
        if client is not None:
            client._tell_state()
