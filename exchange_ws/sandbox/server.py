"""
The sandbox: an exchange's WebSocket server on loopback, over seeded markets, with switches for what goes wrong in life.

It knows no exchange. What one says is in ``exchanges/<name>/sandbox.py``, which declares ``SANDBOXES``, a dictionary from the
exchange's name to a factory of `Exchange`; listing the packages finds them. No dialect is used here, nor our own frame reader:
both sides would share a bug. The WebSocket protocol is spoken by the `websockets` library.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import importlib
import json
import logging
import pkgutil
import random
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from types import TracebackType
from typing import Any, Callable, NoReturn, Protocol, TypeVar, Union, runtime_checkable

import attrs

import exchange_ws.exchanges
from exchange_ws.clock import Deadline, SystemClock, checked_timeout
from exchange_ws.errors import ConnectFailed, InternalError, UpdateTimeout, UsageError
from exchange_ws.sandbox.market import LEAST_PRICE, Market, Markets, markets_at

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.protocol import State
except ImportError as error:  # an extra of the package, since only demos and tests need a server
    raise ImportError("the sandbox needs the websockets library, 15 or newer: pip install 'exchange_ws[sandbox]'") from error

__all__ = [
    "Books",
    "Causes",
    "Credentials",
    "Endpoints",
    "Exchange",
    "Farewell",
    "Hangup",
    "HttpAnswer",
    "Patience",
    "Quotas",
    "Rest",
    "Sandbox",
    "Tokens",
    "read_json",
]

logger = logging.getLogger(__name__)
# The library's own log tells of every refused handshake and reset, most of them made on purpose here: only for who asks.
_library_logger = logging.getLogger(f"{__name__}.websockets")
_library_logger.addHandler(logging.NullHandler())
_library_logger.setLevel(logging.INFO)  # below, it shows what is in the frames: tokens too

EPOCH_US = 1_700_000_000_000_000  # where a market that is moved by hand begins: 2023-11-14 22:13:20 UTC
MANUAL_STEP_US = 100_000  # time of one step by hand; divides every pace that exchanges document
CALL_LIMIT_S = 10.0  # the server thread answers at once; only a bug or a stopped machine reaches this
CLOSE_LIMIT_S = 1.0  # for the peer's part of the closing handshake, and for unsent bytes when the server stops
RECEIVED_KEPT = 10_000  # messages from clients
BUFFER_LIMIT = 64 * 2**20  # bytes unsent to a client that does not read; then it is cut off
HTTP_LIMIT_S = 5.0  # for one HTTP request to arrive
HTTP_MOST = 2**16  # bytes of its head, and of its body
GARBAGE = '{"id":null,"method":"'  # cut in the middle of a message
CLOSE_CODES = ((1000, 1003), (1007, 1014), (3000, 4999))  # first and last of what a close frame may have [RFC 6455, 7.4]
REASON_LIMIT = 123  # bytes: a control frame has 125, two of them for the code [RFC 6455, 5.5]
REFUSING = frozenset(int(status) for status in HTTPStatus if status >= 300)  # a handshake succeeds with 101 only

Result = TypeVar("Result")
Predicate = Union[str, Callable[[Any], object]]
#: Status, headers and body of an HTTP response.
HttpAnswer = tuple[int, Mapping[str, str], bytes]


class Hangup(Exception):
    """What `Exchange` raises to close the connection, with a WebSocket close *code* and *reason*."""

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@attrs.frozen
class Credentials:
    """What the sandbox accepts for a login."""

    api_key: str
    api_secret: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)


class Exchange(Protocol):
    """
    One exchange's side of its language, made by ``factory(markets, credentials, seed)``.

    All methods but `wiring` are called on the server's thread. `state` is whatever `open` returned for the connection.

    An exchange with a REST side is a `Rest` too, one whose tokens can expire a `Tokens`, one with several WebSocket endpoints
    an `Endpoints`, one that hangs up in a way of its own a `Farewell`, one that lets clients choose when a `Patience`, one with
    numbered order books a `Books`, one that counts some requests by itself a `Quotas`, one that tells other connections what a
    request has caused a `Causes`.
    """

    #: Path of the WebSocket endpoint, such as "/ws".
    path: str
    #: Seconds without a message from the client after which the server closes; None: never.
    idle_s: float | None

    @property
    def names(self) -> Mapping[str, Market]:
        """The markets that it has, by the names that clients write."""

    @property
    def requests(self) -> tuple[int, float] | None:
        """Requests allowed on one connection: count, and the window in seconds; None: any number."""

    @property
    def dials(self) -> tuple[int, float]:
        """New connections allowed at this endpoint: count, and the window in seconds."""

    def open(self, serial: int) -> Any:
        """State of a new connection, the *serial*-th of this server."""

    def answer(self, state: Any, message: Any) -> tuple[str | None, Sequence[str]]:
        """Do what *message* (parsed) says: the answer, and pushes that follow it. May raise `Hangup`."""

    def malformed(self, state: Any, text: str) -> str | None:
        """The answer to a *text* that is not JSON. May raise `Hangup`."""

    def refuse(self, state: Any, message: Any, code: int | str | None, text: str | None) -> str:
        """The answer that refuses *message*; None stands for what the exchange says most often."""

    def too_many(self, state: Any, message: Any) -> str:
        """The answer to a request beyond the limit."""

    def beat(self) -> None:
        """The markets have made a step; called once for each, before `publish`."""

    def publish(self, state: Any) -> Iterable[str]:
        """What the connection is to be told after a step, in order."""

    def forget(self, state: Any) -> None:
        """Drop the connection's subscriptions without a word."""

    def method(self, message: Any) -> str | None:
        """Name of what *message* asks for."""

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments that make a client with these *options* talk to the sandbox at these addresses."""


@runtime_checkable
class Rest(Protocol):
    """What an `Exchange` has that answers plain HTTP too, at an address of its own. Called on the server's thread."""

    #: HTTP requests allowed, all together: count, and the window in seconds.
    rest_requests: tuple[int, float]

    def rest(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """The answer to one HTTP request; the names of *headers* are in lower case, *path* has its query."""

    def rest_too_many(self) -> HttpAnswer:
        """The answer to a request beyond the limit."""


@runtime_checkable
class Tokens(Protocol):
    """What an `Exchange` has whose tokens can expire."""

    #: One that is accepted now.
    token: str
    #: Seconds of market time for which one that it issues is accepted.
    token_s: float

    def expire_tokens(self) -> None:
        """Accept none of those that there are, and make another `token`. On the server's thread."""


@runtime_checkable
class Endpoints(Protocol):
    """What an `Exchange` has that is the first of several WebSocket endpoints; it answers for all in `method` and `wiring`."""

    #: The others, each with a path of its own.
    further: Sequence[Exchange]


@runtime_checkable
class Farewell(Protocol):
    """What an `Exchange` has that does not say 1000 to a client that was silent for `idle_s`."""

    #: Code of the close frame; None: TCP is reset without one.
    idle_code: int | None


@runtime_checkable
class Books(Protocol):
    """What an `Exchange` has whose order books are streams of numbered updates. Called on the server's thread."""

    def lose_book_updates(self) -> None:
        """Count the next update of every book, and do not send it."""

    def restart_books(self) -> None:
        """Send every book whole, and count its updates from one."""


@runtime_checkable
class Patience(Protocol):
    """What an `Exchange` has whose clients say in the query of the URL how long they may be silent."""

    def idle_of(self, query: str) -> float | None:
        """Seconds for a connection with this *query* ("" without one), instead of `idle_s`."""


@runtime_checkable
class Quotas(Protocol):
    """What an `Exchange` has that counts some requests by itself, beside `requests`."""

    #: Whether it refuses those beyond; set by the sandbox, as it was made.
    limits: bool


@runtime_checkable
class Causes(Protocol):
    """What an `Exchange` has whose requests are news to the connections of another endpoint, which then `publish` at once."""

    @property
    def audience(self) -> Exchange:
        """That endpoint, of the same sandbox."""

    @property
    def told_first(self) -> bool:
        """Whether it is told before the last request is answered, or after."""


def _factories() -> dict[str, Callable[[Markets, Credentials, int], Exchange]]:
    """Every exchange's sandbox by name, found by listing the packages."""
    found: dict[str, Callable[[Markets, Credentials, int], Exchange]] = {}
    for package in pkgutil.iter_modules(exchange_ws.exchanges.__path__, "exchange_ws.exchanges."):
        name = f"{package.name}.sandbox"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue  # an exchange without a sandbox
        found.update(module.SANDBOXES)
    return found


def read_json(text: str) -> Any:
    """
    One JSON text, read as strictly as servers do: no NaN, no halves of surrogate pairs, no nest that is too deep to be read.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # what has no UTF-8 could not be repeated in an answer
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_count(name: str, value: Any, least: int) -> None:
    if not _is_whole(value) or value < least:
        raise UsageError(f"{name}={value!r}: takes a whole number of {least} or more")


def _multiple(name: str, value: Any, unit: Decimal, least: int) -> int:
    """How many times *unit* there is in *value*, without a remainder."""
    takes = f"takes a multiple of {unit:f}, {least * unit:f} or more, as text, Decimal or int"
    if not isinstance(value, (str, Decimal)) and not _is_whole(value):
        raise UsageError(f"{name}={value!r}: {takes}")
    try:
        count, rest = divmod(Decimal(value), unit)
    except InvalidOperation:
        raise UsageError(f"{name}={value!r}: {takes}") from None
    if rest or count < least:
        raise UsageError(f"{name}={value!r}: {takes}")
    return int(count)


def _check_seconds(seconds: float | None) -> None:
    if seconds is None:
        raise UsageError("seconds=None: takes seconds, a finite number of 0 or more")
    checked_timeout("seconds", seconds)


class _Link:
    """One open connection. Server thread only."""

    def __init__(self, connection: ServerConnection, exchange: Exchange, query: str, state: Any, now: float) -> None:
        self.connection = connection
        self.exchange = exchange  # the endpoint that it came to
        self.query = query  # of the URL
        self.state = state
        self.gone = asyncio.Event()  # its handler has ended
        self.frozen = False
        self.moved = asyncio.Event()  # set unless frozen
        self.moved.set()
        self.cut = False  # dropped on purpose: no message is handled any more
        self.requests: deque[float] = deque()  # loop times of the requests within the window
        self.heard = now  # loop time of the client's last message
        self.idle_timer: asyncio.TimerHandle | None = None
        self.delayed: deque[tuple[float, str]] = deque()  # answers, with the loop time when due
        self.delay_timer: asyncio.TimerHandle | None = None
        self.hold = 0  # answers to hold before they go in reverse; 0: none
        self.held: list[str] = []

    @property
    def is_open(self) -> bool:
        return self.connection.protocol.state is State.OPEN

    def cancel_timers(self) -> None:
        for timer in (self.idle_timer, self.delay_timer):
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        """Reset the TCP connection: with a linger time of 0 the kernel sends RST and forgets what is unsent."""
        self.cut = True
        self.moved.set()
        raw = self.connection.transport.get_extra_info("socket")
        if raw is not None and not self.connection.transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.transport.abort()


class Sandbox:
    """
    An exchange on loopback: ``with Sandbox("whitebit", seed=1) as box: WhiteBIT(box.url)``.

    One thread, "exchange-ws sandbox", runs everything; `stop` (or leaving the ``with``) joins it. Methods may be called from
    any thread, and what they do is done when they return. A stopped sandbox does not start again.

    Parameters
    ----------
    exchange
        Which one, e.g. "whitebit".
    seed
        Same seed, same markets, credentials and quirks of each connection (in the order in which they are opened).
    host, port
        Where to listen; port 0 lets the system choose.
    tick
        Seconds between two steps of the markets, which then live in the present. None: only `step` moves them, 0.1 s of their
        own time at once, from a fixed date on; then what is sent depends on seed, steps and requests only.
    tls
        A server's `ssl.SSLContext` for ``wss://``.
    limits
        Enforce the exchange's limits: requests, new connections, idle time.
    idle
        Seconds without a message from the client after which the connection is closed; None: the exchange's own.
    token_lifetime
        Seconds of market time for which a token that the sandbox issues is accepted; None: the exchange's own.

    Raises
    ------
    UsageError
        An unknown exchange, or a value that makes no sense.
    """

    def __init__(
        self,
        exchange: str,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        tick: float | None = 0.1,
        tls: ssl.SSLContext | None = None,
        limits: bool = True,
        idle: float | None = None,
        token_lifetime: float | None = None,
    ) -> None:
        factories = _factories()
        if exchange not in factories:
            raise UsageError(f"exchange={exchange!r}: takes one of {', '.join(sorted(factories))}")
        for name, value in (("tick", tick), ("idle", idle), ("token_lifetime", token_lifetime)):
            checked_timeout(name, value)
            if value == 0:
                raise UsageError(f"{name}=0: takes seconds above 0, or None")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise UsageError(f"port={port!r}: takes a port from 1 to 65535, or 0 for one that is free")
        self.exchange = exchange
        self._host = host
        self._port = port  # server thread only, once it runs
        self._tick = tick
        self._tls = tls
        self._limits = limits
        rng = random.Random(f"{seed}/credentials")
        self._credentials = Credentials(
            f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(256):064x}", f"{rng.getrandbits(256):064x}"
        )
        #: The markets themselves, to compare with; look only while nothing moves them (`tick=None`).
        self.markets = markets_at(EPOCH_US, seed) if tick is None else Markets(time.time_ns() // 1000, seed=seed)
        self._exchange = factories[exchange](self.markets, self._credentials, seed)
        if token_lifetime is not None:
            if not isinstance(self._exchange, Tokens):
                raise UsageError(f"token_lifetime={token_lifetime!r}: {exchange} issues no tokens")
            self._exchange.token_s = token_lifetime
        further = self._exchange.further if isinstance(self._exchange, Endpoints) else ()
        self._endpoints: dict[str, Exchange] = {endpoint.path: endpoint for endpoint in (self._exchange, *further)}
        for endpoint in self._endpoints.values():
            if isinstance(endpoint, Quotas):
                endpoint.limits = limits
        self._idle_s = idle  # for all endpoints; None: as each has it

        self._changed = threading.Condition()  # guards the next two
        self._received: deque[Any] = deque(maxlen=RECEIVED_KEPT)
        self._live = 0  # open connections

        # Server thread only, from here to the thread itself.
        self._server: Server | None = None
        self._shutting = False  # between two lives of _server: whoever comes late is turned away
        self._links: dict[_Link, None] = {}  # in order of opening
        self._serial = 0  # connections opened so far
        self._dials: dict[str, deque[float]] = {path: deque() for path in self._endpoints}  # handshakes' loop times by path
        self._refusals: deque[tuple[int, Sequence[tuple[str, str]]]] = deque()  # for the next handshakes
        self._rejections: deque[tuple[int | str | None, str | None]] = deque()  # for the next requests
        self._delay_s = 0.0
        self._split = False
        self._ticker: asyncio.TimerHandle | None = None
        self._relisten: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

        self._rest_times: deque[float] = deque()  # loop times of the HTTP requests within the window
        self._rest_writers: set[asyncio.StreamWriter] = set()  # of the HTTP connections that there are
        self._rest_port: int | None = None  # set before _ready is done; None: no REST side

        self._loop: asyncio.AbstractEventLoop | None = None  # set by the thread before _ready is done
        self._stopping: asyncio.Event | None = None  # the same
        self._restarting: asyncio.Lock | None = None  # the same; held while the server ends and begins to listen
        self._ready: Future[int] = Future()  # the port
        self._thread = threading.Thread(target=self._run, name="exchange-ws sandbox", daemon=True)

    def __repr__(self) -> str:
        return f"<Sandbox {self.exchange} {self.url if self._ready.done() and not self._ready.exception() else 'not started'}>"

    # Life

    def start(self) -> Sandbox:
        """Listen. Raises `ConnectFailed` if the port cannot be had; while it runs, does nothing."""
        if self._thread.ident is None:
            self._thread.start()
        elif not self._thread.is_alive():
            raise UsageError("a sandbox that was stopped does not start again: make a new one")
        try:
            self._ready.result(CALL_LIMIT_S)
        except OSError as error:
            raise ConnectFailed(f"the sandbox cannot listen on {self._host}:{self._port}: {error.strerror or error}") from error
        return self

    def stop(self) -> None:
        """Close every connection with code 1001, stop listening, join the thread. Safe to repeat."""
        if self._thread.ident is None:
            return
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop was closed since: the thread ends by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(CALL_LIMIT_S)
        if self._thread.is_alive():
            raise InternalError(f"the sandbox's thread did not end within {CALL_LIMIT_S:g} s")

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """WebSocket address; of the first endpoint, where there are several."""
        return f"{'ws' if self._tls is None else 'wss'}://{self._address}{self._exchange.path}"

    @property
    def rest_url(self) -> str:
        """Address that REST paths are appended to; the faults of the WebSocket side do not concern it."""
        host, _, port = self._address.rpartition(":")
        port = port if self._rest_port is None else str(self._rest_port)
        return f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    @property
    def _address(self) -> str:
        if not self._ready.done():
            raise UsageError("the sandbox has no address before start()")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._ready.result()}"

    @property
    def api_key(self) -> str:
        """Key that the sandbox accepts."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """Secret of `api_key`."""
        return self._credentials.api_secret

    @property
    def token(self) -> str:
        """Token that the sandbox accepts until `expire_tokens`; then there is another."""
        return self._exchange.token if isinstance(self._exchange, Tokens) else self._credentials.token

    def client(self, **options: Any) -> Any:
        """A client of this exchange, wired to the sandbox and not connected yet; *options* as for its class, and go first."""
        wiring = self._exchange.wiring(self.url, self.rest_url, options)
        return exchange_ws.clients()[self.exchange](**{**wiring, **options})

    # What tests ask

    @property
    def received(self) -> list[Any]:
        """Messages from clients so far, parsed, in order of arrival; the last 10,000."""
        with self._changed:
            return list(self._received)

    @property
    def connections(self) -> int:
        """Number of open connections, frozen ones included."""
        with self._changed:
            return self._live

    def wait_received(self, wanted: Predicate, count: int = 1, timeout: float = 10.0) -> list[Any]:
        """
        Wait until *count* of the `received` messages are *wanted*; returns all that are.

        Parameters
        ----------
        wanted
            Name of a method (as the exchange spells it), or a function of a parsed message.
        timeout
            Seconds; then `UpdateTimeout`.
        """
        accepts = (lambda message: self._exchange.method(message) == wanted) if isinstance(wanted, str) else wanted
        found: list[Any] = []

        def enough() -> bool:
            found[:] = [message for message in self._received if accepts(message)]
            return len(found) >= count

        self._wait(enough, timeout, lambda: f"{len(found)} of {count} messages {wanted!r}, {len(self._received)} in all")
        return found

    def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Wait until *count* connections are open; `UpdateTimeout` after *timeout* seconds."""
        self._wait(lambda: self._live == count, timeout, lambda: f"{self._live} connections, not {count}")

    def _wait(self, reached: Callable[[], bool], timeout: float, seen: Callable[[], str]) -> None:
        clock = SystemClock()
        deadline = Deadline(clock, checked_timeout("timeout", timeout))
        with self._changed:
            while not reached():
                if deadline.over:
                    raise UpdateTimeout(f"the sandbox saw {seen()} within {timeout:g} s")
                clock.wait(self._changed, deadline.remaining())

    def step(self, n: int = 1) -> None:
        """Move the markets by *n* steps and hand what follows to the sockets."""
        _check_count("n", n, 0)
        while n > 0:
            # In parts, so that a long walk is not taken for a thread that is stuck.
            self._call(self._steps, min(n, 500))
            n -= 500

    def trade(self, symbol: str, side: str, price: Decimal | str | int, size: Decimal | str | int) -> None:
        """
        Let others trade at a price of your choice: one step of all markets, and a last trade in it.

        Orders of the account that rest in its reach are filled by it, as by any public trade, up to *size* all together, and
        the market goes on from *price*. What stands on the book at a better one is taken back before.

        Parameters
        ----------
        symbol
            As the exchange spells it, e.g. "BTC_USDT". One that several categories have is the first's; another's is named with
            the category, e.g. "linear/BTCUSDT".
        side
            The taker's: "buy" or "sell". A "sell" fills buy orders at *price* and above, a "buy" sell orders at *price* and
            below.
        price, size
            Multiples of the market's tick and lot: text, `Decimal` or int.
        """
        names = self._exchange.names
        if not isinstance(symbol, str) or symbol not in names:
            raise UsageError(f"symbol={symbol!r}: takes one of {', '.join(names)}")
        if side not in ("buy", "sell"):
            raise UsageError(f"side={side!r}: takes 'buy' or 'sell'")
        market = names[symbol]
        at = _multiple("price", price, market.instrument.tick, LEAST_PRICE)
        amount = _multiple("size", size, market.instrument.lot, 1)
        self._call(self._steps, 1, lambda: market.trade(side, at, amount))

    def push(self, text: str) -> None:
        """Send *text* as it is to every connection."""
        if not isinstance(text, str):
            raise UsageError(f"text={text!r}: takes the text of a message")
        self._call(self._push, text)

    # Faults

    def drop(self) -> None:
        """Reset every TCP connection, as a broken network does; new ones are welcome."""
        self._await(self._drop())

    def freeze(self) -> None:
        """
        Make every open connection half-open: TCP stays, the server neither reads nor writes on it, not even a close.

        Connections made later are not frozen. A client that leaves is noticed after `thaw`.
        """
        self._call(self._freeze)

    def thaw(self) -> None:
        """Go on with frozen connections: what clients sent meanwhile is read now, and pushes continue from where they were."""
        self._call(self._thaw)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send every connection a close frame with *code* and *reason*; TCP ends when the client has answered, or after 1 s."""
        if not _is_whole(code) or not any(low <= code <= high for low, high in CLOSE_CODES):
            ranges = ", ".join(f"{low} to {high}" for low, high in CLOSE_CODES)
            raise UsageError(f"code={code!r}: takes a code that a close frame may have: {ranges}")
        if not isinstance(reason, str) or len(reason.encode()) > REASON_LIMIT:
            raise UsageError(f"reason={reason!r}: takes text of at most {REASON_LIMIT} bytes")
        self._call(self._close, code, reason)

    def reject(self, next: int = 1, code: int | str | None = None, message: str | None = None) -> None:
        """Answer the *next* requests (any kind, any connection, pings too) with this error; None: the exchange's usual one."""
        _check_count("next", next, 1)
        if code is not None and not _is_whole(code) and not isinstance(code, str):
            raise UsageError(f"code={code!r}: takes a whole number or text, as the exchange has it, or None for its usual one")
        if message is not None and not isinstance(message, str):
            raise UsageError(f"message={message!r}: takes text, or None for the exchange's usual one")
        self._call(self._rejections.extend, [(code, message)] * next)

    def delay(self, seconds: float) -> None:
        """Let every answer from now on wait; 0 ends it. Pushes do not wait: a first update may come before its answer."""
        _check_seconds(seconds)
        self._call(setattr, self, "_delay_s", seconds)

    def garbage(self, text: str | None = None) -> None:
        """Send every connection *text*, or a message that is not JSON."""
        self.push(GARBAGE if text is None else text)

    def split(self, on: bool = True) -> None:
        """From now on send each message in fragments (up to three), and these byte by byte; False ends it."""
        self._call(setattr, self, "_split", on)

    def forget_subscriptions(self) -> None:
        """Drop the subscriptions of every open connection without telling it."""
        self._call(self._forget)

    def lose_book_updates(self) -> None:
        """
        Lose the next update of every order book that is subscribed: the one after it has the number that it would have had.

        `UsageError` if the exchange's books have no numbers.
        """
        self._call(self._books.lose_book_updates)

    def restart_books(self) -> None:
        """
        Send every order book that is subscribed whole with the next step, its updates numbered from one.

        As when the exchange's service has restarted; `UsageError` if its books have no numbers.
        """
        self._call(self._books.restart_books)

    @property
    def _books(self) -> Books:
        if not isinstance(self._exchange, Books):
            raise UsageError(f"{self.exchange} has no books that are numbered")
        return self._exchange

    def expire_tokens(self) -> None:
        """
        Refuse every token that there is at the next login; `token` is another one then. Who is logged in stays so.

        `UsageError` if the exchange has no tokens.
        """
        if not isinstance(self._exchange, Tokens):
            raise UsageError(f"{self.exchange} has no tokens that could expire")
        self._call(self._exchange.expire_tokens)

    def restart(self, seconds: float = 0) -> None:
        """
        Reset every connection, stop listening, and listen on the same port again after *seconds*.

        With 0 it listens when the call returns. The markets go on meanwhile.
        """
        _check_seconds(seconds)
        self._await(self._restart(seconds))

    def reorder(self, n: int) -> None:
        """Hold the next *n* answers on each open connection and send them in reverse when all are there; 0 releases them."""
        _check_count("n", n, 0)
        self._call(self._reorder, n)

    def refuse(self, next: int = 1, status: int = 503, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse the *next* handshakes with this HTTP *status* and further *headers*."""
        _check_count("next", next, 1)
        if not _is_whole(status) or status not in REFUSING:
            raise UsageError(f"status={status!r}: takes an HTTP status from {min(REFUSING)} to {max(REFUSING)} that has a name")
        self._call(self._refusals.extend, [(status, tuple(headers))] * next)

    # To the server's thread

    def _call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run *function* on the server's thread; returns or raises what it does."""

        async def run() -> Result:
            return function(*args)

        return self._await(run())

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise UsageError("the sandbox is not running: start() it, or use it in a with statement")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(CALL_LIMIT_S)
        except FutureTimeout:
            if future.done():
                raise
            future.cancel()
            raise InternalError(f"the sandbox's thread did not answer within {CALL_LIMIT_S:g} s") from None

    # On the server's thread

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._port = await self._listen()
        rest = await self._listen_rest()
        if self._tick is not None:
            self._ticker = self._loop.call_later(self._tick, self._on_tick, self._loop.time() + self._tick)
        self._ready.set_result(self._port)
        await self._stopping.wait()
        for timer in (self._ticker, self._relisten):
            if timer is not None:
                timer.cancel()
        await self._shut(self._leave)
        if rest is not None:
            rest.close()
            for writer in self._rest_writers:
                writer.transport.abort()
            await rest.wait_closed()

    async def _listen(self) -> int:
        self._shutting = False
        self._server = await serve(
            self._serve,
            self._host,
            self._port,
            ssl=self._tls,
            process_request=self._handshake,
            compression=None,
            ping_interval=None,  # the exchange's own heartbeat is what counts
            open_timeout=2.0,  # bounds how long a client that never finishes its handshake can keep stop() waiting
            close_timeout=CLOSE_LIMIT_S,
            max_queue=None,  # the library must not pause and resume reading: freezing does
            logger=_library_logger,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def _listen_rest(self) -> asyncio.Server | None:
        """Answer HTTP too, where the exchange does, on a port of its own: the WebSocket library reads GET only."""
        if not isinstance(self._exchange, Rest):
            return None
        rest = await asyncio.start_server(self._serve_rest, self._host, 0, ssl=self._tls, limit=HTTP_MOST)
        self._rest_port = int(rest.sockets[0].getsockname()[1])
        return rest

    async def _serve_rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One HTTP request, its answer, and the end of the connection [RFC 9112]."""
        self._rest_writers.add(writer)
        try:
            status, headers, body = await asyncio.wait_for(self._rest_answer(reader), HTTP_LIMIT_S)
            head = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", f"Content-Length: {len(body)}", "Connection: close"]
            head += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass  # no request, or nobody who waits for the answer
        except Exception:
            logger.exception("sandbox %s: an HTTP request could not be answered", self.exchange)
        finally:
            self._rest_writers.discard(writer)
            writer.close()

    async def _rest_answer(self, reader: asyncio.StreamReader) -> HttpAnswer:
        assert isinstance(self._exchange, Rest)
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        words = request.split(" ")
        if len(words) != 3 or not length.isdecimal() or int(length) > HTTP_MOST:
            return 400, {}, b""
        body = await reader.readexactly(int(length))
        if self._limits and not self._allowed(self._rest_times, self._exchange.rest_requests):
            return self._exchange.rest_too_many()
        return self._exchange.rest(words[0], words[1], headers, body)

    async def _shut(self, end: Callable[[_Link], None]) -> None:
        """Stop listening, and *end* every connection."""
        if self._server is None:
            return
        assert self._loop is not None
        server, self._server = self._server, None
        self._shutting = True
        # asyncio loses a connection that it has accepted and not yet attached when the server closes: its socket stays open
        # and silent. So accepting ends first, and what was accepted gets the turns of the loop that attaching takes.
        for listener in server.sockets:
            with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
                self._loop.remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        links = list(self._links)
        for link in links:
            end(link)
        server.close(close_connections=False)
        await asyncio.gather(*(link.gone.wait() for link in links))
        await server.wait_closed()

    def _leave(self, link: _Link) -> None:
        """Close as a server that goes down: a close frame if it can be written, and the end of TCP without waiting."""
        assert self._loop is not None
        if link.frozen or not link.is_open:
            link.abort()
            return
        link.cut = True
        link.connection.protocol.send_close(1001, "going away")
        self._flush(link)
        link.connection.transport.close()
        self._loop.call_later(CLOSE_LIMIT_S, link.connection.transport.abort)

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        assert self._loop is not None
        if self._refusals:
            status, headers = self._refusals.popleft()
            response = connection.respond(status, "refused by the sandbox\n")
            for name, value in headers:
                response.headers[name] = value
            return response
        endpoint = self._endpoint_of(request)
        if endpoint is None:
            return connection.respond(404, f"here is {' and '.join(self._endpoints)}\n")
        if self._limits and not self._allowed(self._dials[endpoint.path], endpoint.dials):
            return connection.respond(429, "too many connections\n")
        return None

    def _endpoint_of(self, request: Request) -> Exchange | None:
        return self._endpoints.get(request.path.partition("?")[0])

    def _allowed(self, times: deque[float], limit: tuple[int, float] | None) -> bool:
        """Whether one more fits into a sliding window; if so it is counted. What is refused is not counted."""
        assert self._loop is not None
        if limit is None:
            return True
        count, window_s = limit
        now = self._loop.time()
        while times and times[0] <= now - window_s:
            times.popleft()
        if len(times) >= count:
            return False
        times.append(now)
        return True

    async def _serve(self, connection: ServerConnection) -> None:
        assert self._loop is not None
        if self._shutting:
            # Its handshake was under way when the others were ended; left alone, it would keep the server from closing.
            connection.transport.abort()
            return
        assert connection.request is not None, "the handshake has looked at it"
        endpoint = self._endpoint_of(connection.request)
        assert endpoint is not None, "the same"
        self._serial += 1
        query = connection.request.path.partition("?")[2]
        link = _Link(connection, endpoint, query, endpoint.open(self._serial), self._loop.time())
        self._links[link] = None
        self._watch_idle(link)
        with self._changed:
            self._live += 1
            self._changed.notify_all()
        try:
            async for data in connection:
                await link.moved.wait()
                if link.cut:
                    break
                self._receive(link, data)
        except Hangup as hangup:
            await connection.close(hangup.code, hangup.reason)
        except ConnectionClosed:
            pass  # with another code than 1000 and 1001, or none: the client's affair
        except Exception:
            logger.exception("sandbox %s: a message could not be handled", self.exchange)
            await connection.close(1011, "internal error")
        finally:
            link.cancel_timers()
            del self._links[link]
            link.gone.set()
            with self._changed:
                self._live -= 1
                self._changed.notify_all()

    def _receive(self, link: _Link, data: str | bytes) -> None:
        """One message from the client, answered before this returns."""
        assert self._loop is not None
        link.heard = self._loop.time()
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        try:
            message = read_json(text)
        except ValueError:
            self._answer(link, link.exchange.malformed(link.state, text))
            return
        with self._changed:
            self._received.append(message)
            self._changed.notify_all()
        pushes: Sequence[str] = ()
        answer: str | None
        if self._limits and not self._allowed(link.requests, link.exchange.requests):
            answer = link.exchange.too_many(link.state, message)
        elif self._rejections:
            answer = link.exchange.refuse(link.state, message, *self._rejections.popleft())
        else:
            answer, pushes = link.exchange.answer(link.state, message)
        causes = link.exchange if isinstance(link.exchange, Causes) else None
        if causes is not None and causes.told_first:
            self._publish(causes.audience)
        self._answer(link, answer)
        for push in pushes:
            self._send(link, push)
        if causes is not None:
            self._publish(causes.audience)  # what was told already is news no more

    def _answer(self, link: _Link, text: str | None) -> None:
        if text is None:
            return
        if link.hold:
            link.held.append(text)
            if len(link.held) >= link.hold:
                self._release(link)
        else:
            self._later(link, text)

    def _release(self, link: _Link) -> None:
        """Send held answers, the last one first."""
        held, link.held, link.hold = link.held, [], 0
        for text in reversed(held):
            self._later(link, text)

    def _later(self, link: _Link, text: str) -> None:
        """Send an answer when its delay is over; answers stay in order when the delay changes."""
        assert self._loop is not None
        if not self._delay_s and not link.delayed:
            self._send(link, text)
            return
        due = self._loop.time() + self._delay_s
        link.delayed.append((max(due, link.delayed[-1][0]) if link.delayed else due, text))
        if link.delay_timer is None:
            self._send_delayed(link)

    def _send_delayed(self, link: _Link) -> None:
        assert self._loop is not None
        link.delay_timer = None
        if link.frozen:
            return  # thaw() comes back here
        while link.delayed and link.delayed[0][0] <= self._loop.time():
            self._send(link, link.delayed.popleft()[1])
        if link.delayed:
            link.delay_timer = self._loop.call_at(link.delayed[0][0], self._send_delayed, link)

    def _watch_idle(self, link: _Link) -> None:
        """Close the connection when its client has been silent for too long; else look again when it could be."""
        assert self._loop is not None
        idle_s = self._idle_s if self._idle_s is not None else self._patience(link) if self._limits else None
        if idle_s is None or not link.is_open:
            return
        due = link.heard + idle_s
        if link.frozen:
            link.idle_timer = None  # thaw() comes back here
        elif self._loop.time() < due:
            link.idle_timer = self._loop.call_at(due, self._watch_idle, link)
        else:
            code = link.exchange.idle_code if isinstance(link.exchange, Farewell) else 1000
            if code is None:
                link.abort()
            else:
                self._say_goodbye(link, code, "")

    def _patience(self, link: _Link) -> float | None:
        """Seconds that its endpoint lets a connection be silent."""
        exchange = link.exchange
        return exchange.idle_of(link.query) if isinstance(exchange, Patience) else exchange.idle_s

    def _send(self, link: _Link, text: str) -> None:
        """Hand one text message to the socket, without waiting."""
        if not link.is_open:
            return
        protocol = link.connection.protocol
        data = text.encode()
        if self._split and len(data) > 2:
            third = len(data) // 3
            protocol.send_text(data[:third], fin=False)
            protocol.send_continuation(data[third : 2 * third], fin=False)
            protocol.send_continuation(data[2 * third :], fin=True)
        else:
            protocol.send_text(data)
        self._flush(link)

    def _flush(self, link: _Link) -> None:
        """Write what the protocol has ready."""
        transport = link.connection.transport
        for data in link.connection.protocol.data_to_send():
            if self._split:
                # Each write goes to the kernel by itself, since Nagle's algorithm is off for asyncio's sockets.
                for at in range(len(data)):
                    transport.write(data[at : at + 1])
            elif data:
                transport.write(data)
        if transport.get_write_buffer_size() > BUFFER_LIMIT:
            logger.warning("sandbox %s: a client does not read, %d bytes wait: cut off", self.exchange, BUFFER_LIMIT)
            link.abort()

    def _say_goodbye(self, link: _Link, code: int, reason: str) -> None:
        assert self._loop is not None
        if not link.is_open:
            return
        link.connection.protocol.send_close(code, reason)
        self._flush(link)
        self._loop.call_later(CLOSE_LIMIT_S, link.connection.transport.abort)

    def _on_tick(self, due: float) -> None:
        assert self._loop is not None and self._tick is not None
        self._steps(1)
        # From the due time, so that lateness does not add up; but a machine that slept does not make up for it.
        due = max(due + self._tick, self._loop.time())
        self._ticker = self._loop.call_at(due, self._on_tick, due)

    def _steps(self, n: int, then: Callable[[], None] = lambda: None) -> None:
        """*n* steps; *then* is done in each, before anybody is told of it."""
        for _ in range(n):
            if self._tick is None:
                now_us = self.markets.now_us + MANUAL_STEP_US
            else:
                now_us = max(time.time_ns() // 1000, self.markets.now_us + 1)
            self.markets.step(now_us)
            then()
            for endpoint in self._endpoints.values():
                endpoint.beat()
            self._publish()

    def _publish(self, endpoint: Exchange | None = None) -> None:
        """Tell the connections, or those of one *endpoint*, what is news to them."""
        for link in list(self._links):
            if not link.frozen and link.is_open and endpoint in (None, link.exchange):
                for text in link.exchange.publish(link.state):
                    self._send(link, text)

    def _push(self, text: str) -> None:
        for link in list(self._links):
            if not link.frozen:
                self._send(link, text)

    async def _drop(self) -> None:
        links = list(self._links)
        for link in links:
            link.abort()
        await asyncio.gather(*(link.gone.wait() for link in links))

    def _freeze(self) -> None:
        for link in self._links:
            link.frozen = True
            link.moved.clear()
            link.connection.transport.pause_reading()

    def _thaw(self) -> None:
        for link in list(self._links):
            if link.frozen:
                link.frozen = False
                link.moved.set()
                link.connection.transport.resume_reading()
                if link.delay_timer is None:
                    self._send_delayed(link)
                if link.idle_timer is None:
                    self._watch_idle(link)

    def _close(self, code: int, reason: str) -> None:
        for link in list(self._links):
            self._say_goodbye(link, code, reason)

    def _forget(self) -> None:
        for link in self._links:
            link.exchange.forget(link.state)

    def _reorder(self, n: int) -> None:
        for link in list(self._links):
            self._release(link)
            link.hold = n

    async def _restart(self, seconds: float) -> None:
        assert self._loop is not None
        assert self._restarting is not None
        async with self._restarting:
            if self._relisten is not None:
                self._relisten.cancel()  # of a former restart: this one decides
            await self._shut(_Link.abort)
            if seconds:
                self._relisten = self._loop.call_later(seconds, self._listen_again)
            else:
                await self._listen()

    def _listen_again(self) -> None:
        task = asyncio.ensure_future(self._listen_or_log())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen_or_log(self) -> None:
        assert self._restarting is not None
        try:
            async with self._restarting:
                if self._server is None:  # a restart that came meanwhile may listen already
                    await self._listen()
        except OSError:
            logger.exception("sandbox %s: cannot listen again on port %d", self.exchange, self._port)
