"""What every client has: options, life, calls, placement, subscriptions, loss and return; over real sockets."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from core_languages import SWAP, topic, update
from core_peers import Exchange, hold, serve
from held_clock import HeldClock
from short_limits import connections_of, hurried
from wire_peers import LIMIT_S, Peer

import exchange_ws
from exchange_ws import Backoff, WhiteBIT
from exchange_ws.core import client as client_module
from exchange_ws.core.client import Client, Endpoint
from exchange_ws.core.messages import Command, Limits, Pace
from exchange_ws.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ExchangeError,
    LimitExceeded,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
    WireError,
)
from exchange_ws.events import Gap
from exchange_ws.sandbox import Sandbox

ROOT = Path(exchange_ws.__file__).parents[1]
#: Seconds in which something that does not wait is done, on a machine that has other things to do; far below `LIMIT_S`.
SOON_S = 8.0
#: Seconds for which a fault lasts that the test ends itself.
LONG_S = 60.0
QUICK = Backoff(0.01, 0.02)
#: How `Sandbox.markets.markets` are called.
MARKETS = ("BTC_USDT", "ETH_USDT", "SOL_USDT", "XRP_USDT", "ETH_BTC", "BTC_PERP", "ETH_PERP", "SHIB_PERP", "DBTC_DUSDT")


class Swap(Client):
    """A client of the made-up exchange."""

    name = "swap"

    def __init__(self, url: str, dialect: Any = SWAP, **options: Any) -> None:
        super().__init__({"public": Endpoint("public", url, dialect)}, **options)

    def _topics_of(self, words: tuple[str, ...], params: Any) -> Any:
        return tuple(topic(word) for word in words)

    def request(self, method: str, *args: Any, timeout: float | None = None, replay: bool = True) -> Any:
        return self._call(Command(method, args, replay=replay), timeout)


class States:
    """A user's `on_state`, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self, state: str) -> None:
        self.told.append(state)
        self._new.put(state)

    def wait(self, *states: str) -> None:
        """Wait until each of *states* was told, in order, whatever comes between."""
        for state in states:
            while self._new.get(timeout=LIMIT_S) != state:
                pass


class Later:
    """A call on a thread of its own, for calls that wait."""

    def __init__(self, call: Any, *args: Any, **params: Any) -> None:
        self._done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()

        def run() -> None:
            try:
                self._done.put((call(*args, **params), None))
            except BaseException as error:
                self._done.put((None, error))

        self._thread = threading.Thread(target=run)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._done.empty()

    def outcome(self) -> tuple[Any, Any]:
        """Result and error."""
        outcome = self._done.get(timeout=LIMIT_S)
        self._thread.join(LIMIT_S)
        return outcome

    def result(self) -> Any:
        result, error = self.outcome()
        if error is not None:
            raise error
        return result

    def error(self) -> Any:
        """The error that it raises."""
        result, error = self.outcome()
        assert error is not None, f"it returned {result!r}"
        return error


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=5, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def states():
    return States()


@pytest.fixture
def make(box):
    """Makes clients of the sandbox that reconnect quickly, and closes them."""
    made = []

    def make(**options):
        made.append(box.client(**{"reconnect": QUICK, **options}))
        return made[-1]

    yield make
    for ws in made:
        ws.close()


@pytest.fixture
def ws(make, states):
    """One of them, connected."""
    ws = make(on_state=states).connect()
    states.wait("open")
    return ws


def raised(call: Any, *args: Any, **params: Any) -> Any:
    """The error of ours that *call* raises."""
    with pytest.raises(ExchangeError) as caught:
        call(*args, **params)
    return caught.value


def said(box: Sandbox, method: str) -> list[Any]:
    """Parameters of all requests of *method* so far."""
    return [message["params"] for message in box.received if message["method"] == method]


def ids(box: Sandbox, name: str) -> list[int]:
    """Ids of all trades of a market, oldest first: the truth."""
    return [trade.id for trade in box.markets.markets[MARKETS.index(name)].trades]


def all_there(ws: Client, *subscriptions: Any) -> list[list[Any]]:
    """All events that the exchange has sent: what it sent before the answer to a ping is buffered when the answer comes."""
    ws.ping()
    events = []
    for subscription in subscriptions:
        try:
            events.append(subscription.get_many(timeout=0.0))
        except (UpdateTimeout, SubscriptionClosed):
            events.append([])
    return events


# Options ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("timeout", "10"),
        ("timeout", True),
        ("timeout", None),
        ("queue_size", 0),
        ("queue_size", 1.5),
        ("queue_size", True),
        ("overflow", "drop"),
        ("overflow", 1),
        ("reconnect", "yes"),
        ("reconnect", None),
        ("ping_interval", 0),
        ("ping_interval", 60.0),
        ("ping_interval", "50"),
        ("pong_timeout", 0),
        ("pong_timeout", None),
        ("max_message_size", 0),
        ("max_message_size", 2.0**20),
        ("proxy", "ftp://127.0.0.1:21"),
        ("proxy", 8080),
        ("ssl", True),
        ("rate_limit", 1),
        ("on_state", "print"),
        ("numbers", int),
        ("time_out", 10),
        ("region", "mars"),
    ],
)
def test_senseless_option(option, value):
    """A value that makes no sense is refused when the client is made, by name, and nothing is begun."""
    before = threading.active_count()
    with pytest.raises(UsageError, match=option):
        WhiteBIT(**{option: value})
    assert before == threading.active_count()


def test_sensible_options():
    """The ends of what is allowed, and every option at once."""
    ws = WhiteBIT(
        timeout=0.001,
        queue_size=1,
        overflow="block",
        reconnect=Backoff(0, 0, None),
        ping_interval=59.9,
        pong_timeout=1,
        max_message_size=1,
        proxy="socks5://127.0.0.1:1",
        ssl=None,
        rate_limit=False,
        on_state=print,
        numbers=str,
    )
    ws.close()
    assert "closed" == ws.state


@pytest.mark.parametrize("url", ["x", "http://127.0.0.1/ws", "ws://", "ws://[::1", "ws://host:port/", 5, None])
def test_senseless_url(url):
    """What is no URL of a WebSocket is refused at construction, without being shown: it may hold a token."""
    with pytest.raises(UsageError, match="^url: takes the URL of a WebSocket"):
        Swap(url)


def test_unsubscribe_from_another_client(box, make):
    """A subscription of another client is nobody's business here, and goes on."""
    with make() as one, make() as another, one.subscribe("lastprice", "BTC_USDT") as prices:
        with pytest.raises(UsageError, match="belongs to another client"):
            another.unsubscribe(prices)
        assert not prices.closed


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1", True])
def test_senseless_timeout_of_a_call(box, make, timeout):
    """Each call refuses a timeout that is none, and sends nothing."""
    ws = make()
    calls = [
        lambda: ws.connect(timeout),
        lambda: ws.ping(timeout),
        lambda: ws.request("time", (), timeout),
        lambda: ws.subscribe("trades", "BTC_USDT", timeout=timeout),
        lambda: ws.unsubscribe("trades", "BTC_USDT", timeout=timeout),
        lambda: ws.close(timeout),
    ]
    assert ["timeout"] * 6 == [str(raised(call)).partition("=")[0] for call in calls]
    assert ("idle", 0) == (ws.state, box.connections)


@pytest.mark.parametrize(
    "params",
    [{"queue_size": 0}, {"queue_size": -1}, {"overflow": "all"}, {"gaps": 1}, {"raw": None}],
    ids=lambda params: next(iter(params)),
)
def test_senseless_option_of_a_subscription(box, make, params):
    """A subscription refuses them by name, and nothing is connected for it."""
    ws = make()
    with pytest.raises(UsageError, match=next(iter(params))):
        ws.subscribe("trades", "BTC_USDT", **params)
    assert (0, ()) == (box.connections, ws.subscriptions)


def test_latest_is_refused_for_deltas(box, make):
    """Of a book that comes as deltas none may be left out."""
    assert "deltas" in str(raised(make().subscribe_depth, "BTC_USDT", overflow="latest"))


def test_no_secret_is_shown(caplog):
    """A proxy's password is in no repr, error, cause or log line, also when the proxy refuses us."""

    def script(connection):
        connection.head()
        connection.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    shown = []
    with Peer(script) as peer, caplog.at_level(logging.DEBUG):
        ws = WhiteBIT("ws://exchange.example/ws", proxy=f"http://me:s3cret@127.0.0.1:{peer.port}")
        error: BaseException | None = raised(ws.connect)
        shown.append(repr(ws._options))
        with pytest.raises(UsageError) as refused:
            WhiteBIT(proxy="https://me:s3cret@127.0.0.1:1")
        shown.append(str(refused.value))
        ws.close()
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert [] == [text for text in [*shown, repr(ws), caplog.text] if "s3cret" in text]


# Life ------------------------------------------------------------------------------------------------------------------------


def test_nothing_begins_by_itself(box, make):
    """A client that is only made has no thread and no connection; closing it is nothing special."""
    before = threading.active_count()
    ws = make(on_state=print)
    assert ("idle", before, 0) == (ws.state, threading.active_count(), box.connections)
    assert "<WhiteBIT idle, 0 subscriptions>" == repr(ws)
    ws.close()
    assert "closed" == ws.state


def test_life(box, states):
    """`with` connects and closes; each new state is told once, in order; no thread is left."""
    before = set(threading.enumerate())
    with box.client(on_state=states) as ws:
        assert ("open", ws) == (ws.state, ws.connect())
    box.wait_connections(0)
    assert ["connecting", "open", "closed"] == states.told
    assert set() == set(threading.enumerate()) - before


def test_connect_by_name(box):
    """`exchange_ws.connect` makes and connects the client of that name; it says which names there are."""
    with exchange_ws.connect("whitebit", url=box.url) as ws:
        assert ("open", WhiteBIT) == (ws.state, type(ws))
    with pytest.raises(UsageError, match="whitebit"):
        exchange_ws.connect("nasdaq")


def test_first_call_connects(box, make):
    """Each call connects if nobody has; many at once share one connection."""
    ws = make()
    calls = [Later(ws.request, "time") for _ in range(10)] + [Later(ws.connect), Later(ws.subscribe, "trades", "BTC_USDT")]
    for call in calls:
        call.result()
    assert 1 == box.connections


@pytest.mark.parametrize(
    "call",
    [
        lambda ws: ws.connect(),
        lambda ws: ws.request("time"),
        lambda ws: ws.ping(),
        lambda ws: ws.subscribe("trades", "BTC_USDT"),
        lambda ws: ws.request("order_cancel_all", []),
    ],
    ids=["connect", "request", "ping", "subscribe", "order"],
)
def test_first_connect_that_fails(box, make, states, call):
    """Nobody listens: each call says so at once, and begins anew when somebody does."""
    box.restart(LONG_S)
    ws = make(on_state=states, timeout=LIMIT_S)
    began = time.monotonic()
    error = raised(call, ws)
    assert time.monotonic() - began < SOON_S
    assert (ConnectFailed, ConnectionRefusedError) == (type(error), type(error.__cause__))
    assert ("idle", ()) == (ws.state, ws.subscriptions)
    states.wait("connecting", "idle")  # the reader tells it, and may come to that only after another begins
    box.restart()
    with contextlib.suppress(RequestRejected):  # orders are not served, which is an answer too
        call(ws)
    assert "open" == ws.state
    states.wait("connecting", "open")


@pytest.mark.parametrize(("status", "headers", "seconds"), [(503, [], None), (429, [("Retry-After", "7")], 7.0)])
def test_refused_handshake(box, make, status, headers, seconds):
    """The status with which the server refuses, and the wait that it asks for, are in the error."""
    box.refuse(1, status, headers)
    error = raised(make().connect)
    assert (ConnectFailed, status, seconds) == (type(error), error.status, error.retry_after_s)


def test_connect_in_time():
    """A peer that accepts and says nothing: the call ends at its own timeout, and says what the connection is at."""
    with Peer(lambda connection: connection.hold()) as peer:
        ws = WhiteBIT(peer.url(host="127.0.0.1"))
        began = time.monotonic()
        error = raised(ws.connect, 0.2)
        assert 0.2 <= time.monotonic() - began < SOON_S
        assert (ConnectFailed, "connecting") == (type(error), ws.state)
        assert "dialling" in str(error)
        error = raised(ws.request, "time", timeout=0.1)
        assert (RequestTimeout, False) == (type(error), error.sent)
        ws.close()


def test_tls():
    """Over TLS, with a context that knows the authority; without one the certificate is refused."""
    authority = trustme.CA()
    server, client = (client_module.tls.SSLContext(protocol) for protocol in (17, 16))
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with Sandbox("whitebit", tick=None, tls=server) as box:
        with box.client(ssl=client) as ws:
            assert "pong" == ws.request("ping")
        ws = box.client()
        error = raised(ws.connect)
        ws.close()
    assert (ConnectFailed, True) == (type(error), "certificate" in str(error).lower())


# Close -----------------------------------------------------------------------------------------------------------------------


def test_after_close(ws):
    """Every call of a closed client raises `ConnectionClosed`; closing twice, and leaving its subscriptions, is allowed."""
    trades = ws.subscribe("trades", "BTC_USDT")
    ws.close()
    ws.close()
    trades.close()
    ws.unsubscribe(trades)
    calls = [ws.connect, ws.ping, lambda: ws.request("time"), lambda: ws.subscribe("trades", "BTC_USDT")]
    assert [ConnectionClosed] * 4 == [type(raised(call)) for call in calls]
    assert ("closed", ()) == (ws.state, ws.subscriptions)


def test_close_ends_every_wait(box, ws):
    """A request, a subscribe, an iteration, a get and a collect that wait are ended by a close on another thread, at once."""
    quiet = [ws.subscribe_book_ticker("BTC_USDT") for _ in range(3)]
    raised(ws.request, "order_cancel_all", [])  # the connection of orders is there now, and logged in
    box.reorder(100)  # no answer from now on, on the connections that there are
    calls = {
        "request": Later(ws.request, "time", (), LONG_S),
        "order": Later(ws.request, "order_cancel_all", [], LONG_S),
        "ping": Later(ws.ping, LONG_S),
        "subscribe": Later(ws.subscribe, "lastprice", "BTC_USDT", timeout=LONG_S),
        "iteration": Later(list, quiet[0]),
        "get": Later(quiet[1].get),
        "collect": Later(quiet[2].collect, 5),
    }
    box.wait_received("lastprice_subscribe")
    began = time.monotonic()
    ws.close()
    outcomes = {name: call.outcome() for name, call in calls.items()}
    assert time.monotonic() - began < SOON_S
    closed = {"request", "order", "ping", "subscribe"}
    assert closed == {name for name, (_, error) in outcomes.items() if type(error) is ConnectionClosed}
    assert SubscriptionClosed is type(outcomes["get"][1])
    assert ([], []) == (outcomes["iteration"][0], outcomes["collect"][0])


def test_close_in_the_body_of_a_loop(ws):
    """A consumer may close the client in its loop: it reads on what is buffered, and the loop ends."""
    trades = ws.subscribe("trades", "BTC_USDT")
    seen = 0
    for _ in trades:
        seen += 1
        ws.close()
    assert (100, True) == (seen, trades.closed)


def test_close_in_a_callback(ws, states):
    """A callback may close the client; its thread ends after the event that it was at."""
    trades = ws.subscribe("trades", "BTC_USDT")
    called: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def callback(event: Any) -> None:
        ws.close()
        called.put(event)

    trades.call(callback)
    assert "BTC_USDT" == called.get(timeout=LIMIT_S).symbol
    states.wait("closed")
    assert (called.empty(), trades.error) == (True, None)


def test_connect_tells_that_it_is_open(box, states, monkeypatch):
    """The state "open" is told before `connect` returns, however late the reader is to tell it."""
    tell = Client._tell_state

    def tell_unless_reader(self):
        if " #" not in threading.current_thread().name:  # as those of readers have
            tell(self)

    monkeypatch.setattr(Client, "_tell_state", tell_unless_reader)
    with box.client(on_state=states):
        pass
    assert ["connecting", "open", "closed"] == states.told


def test_close_in_on_state(box, make):
    """`on_state` may close the client."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_state(state: str) -> None:
        if state == "open":
            ws.close()
        told.put(state)

    ws = make(on_state=on_state)
    with contextlib.suppress(ConnectionClosed):
        ws.connect()
    assert ["connecting", "open", "closed"] == [told.get(timeout=LIMIT_S) for _ in range(3)]


def test_on_state_that_raises(box, make, caplog):
    """What `on_state` raises is logged, and hurts nobody; it may call the client."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def on_state(state: str) -> None:
        if state == "open":
            told.put(ws.request("ping"))
        raise ZeroDivisionError

    ws = make(on_state=on_state)
    ws.connect()
    assert "pong" == told.get(timeout=LIMIT_S)
    ws.close()
    assert 3 == sum("the callback raised" in record.message for record in caplog.records)


def test_unsubscribe_while_somebody_closes(ws, monkeypatch):
    """Between the first and the last step of a close, a subscription of this client is no other client's."""
    trades, close = ws.subscribe("trades", "BTC_USDT"), client_module.Subscription.finish

    def finish(subscription: Any) -> None:
        monkeypatch.undo()
        ws.unsubscribe(subscription)
        close(subscription)

    monkeypatch.setattr(client_module.Subscription, "finish", finish)
    ws.close()
    assert (True, ()) == (trades.closed, ws.subscriptions)


def test_close_from_many_threads(ws):
    """Closing at once from several threads is one close."""
    for call in [Later(ws.close) for _ in range(10)]:
        call.result()
    assert "closed" == ws.state


def test_close_during_the_dial():
    """Closing ends a dial to a silent peer, and the calls that wait for it."""
    with Peer(lambda connection: connection.hold()) as peer:
        ws = WhiteBIT(peer.url(host="127.0.0.1"))
        calls = [Later(ws.connect), Later(ws.request, "time"), Later(ws.subscribe, "trades", "BTC_USDT")]
        assert peer.arrived.wait(LIMIT_S)
        while ws.stats()["subscriptions"] == 0:  # the last of the calls has come
            pass
        began = time.monotonic()
        ws.close()
        errors = [call.error() for call in calls]
        assert time.monotonic() - began < SOON_S
    assert [ConnectionClosed] * 3 == [type(error) for error in errors]


@pytest.mark.parametrize("kind", ["frozen", "reads nothing"])
def test_close_with_a_silent_peer(box, kind):
    """A peer that does not answer our goodbye, or reads nothing at all, is cut off after about a second."""
    with contextlib.ExitStack() as stack:
        if kind == "frozen":
            ws = box.client().connect()
            ws.subscribe("trades", "*")
            box.freeze()
        else:
            peer = stack.enter_context(Exchange(hold))
            ws = Swap(peer.address).connect()
            call = Later(ws.request, "query", "x" * 15_000_000)
            stack.callback(call.outcome)
            while ws.stats()["requests"] == 0:
                pass
        began = time.monotonic()
        ws.close()
        assert 0.9 < time.monotonic() - began < SOON_S


def test_close_in_time(box, caplog):
    """Closing with a short timeout ends all threads within it, also with a peer that is silent."""
    ws = box.client().connect()
    before = set(threading.enumerate())
    box.freeze()
    began = time.monotonic()
    ws.close(1.6)  # which leaves the reader 0.8 s to see that it is cut off
    assert time.monotonic() - began < SOON_S
    assert [] == [thread.name for thread in before if thread.name.startswith("exchange-ws whitebit") and thread.is_alive()]
    assert "has not ended in time" not in caplog.text


def test_close_while_reconnecting(box, ws, states):
    """A client that waits for its next dial closes at once."""
    box.restart(LONG_S)
    states.wait("reconnecting")
    began = time.monotonic()
    ws.close()
    assert time.monotonic() - began < SOON_S


# Other processes -------------------------------------------------------------------------------------------------------------


def child(source: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python that runs *source*, with warnings as errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


INTERRUPTED = """
import sys, threading
from exchange_ws import ConnectionLost, WhiteBIT

url, case = sys.argv[1:]
ws = WhiteBIT(url, timeout=60)
if case == "to_dataframe":
    import pandas  # it takes its time
if case not in ("connect", "with"):
    ws.connect()
    quiet = ws.subscribe_book_ticker("BTC_USDT")
calls = {
    "connect": lambda: ws.connect(),
    "with": lambda: ws.__enter__(),
    "close": lambda: ws.close(),
    "request": lambda: ws.request("time"),
    "ping": lambda: ws.ping(),
    "subscribe": lambda: ws.subscribe("lastprice", "BTC_USDT"),  # no update comes of it, which would confirm it
    "unsubscribe": lambda: quiet.unsubscribe(),
    "client's unsubscribe": lambda: ws.unsubscribe(quiet),
    "get": lambda: quiet.get(),
    "get in time": lambda: quiet.get(60),
    "get_many": lambda: quiet.get_many(),
    "iteration": lambda: next(iter(quiet)),
    "collect": lambda: quiet.collect(5),
    "to_dataframe": lambda: quiet.to_dataframe(5),
}
print("ready", flush=True)
try:
    sys.stdin.readline()
    print("calling", flush=True)
    calls[case]()
except KeyboardInterrupt:
    print("interrupted", flush=True)
if case not in ("connect", "with", "close"):
    try:
        ws.ping(5)
    except ConnectionLost:  # Ctrl-C came in the middle of a write: the connection is made again
        pass
    print(ws.ping(5) >= 0, flush=True)
ws.close()
print("closed", threading.active_count(), flush=True)
"""
#: What the exchange gets from a call that is to be interrupted.
SAYS = {
    "request": "time",
    "ping": "ping",
    "subscribe": "lastprice_subscribe",
    "unsubscribe": "bookTicker_unsubscribe",
    "client's unsubscribe": "bookTicker_unsubscribe",
}
WAITS = ("get", "get in time", "get_many", "iteration", "collect", "to_dataframe")


@pytest.mark.skipif(os.name == "nt", reason="SIGINT of another process")
@pytest.mark.parametrize("case", ["connect", "with", *SAYS, *WAITS, "close"])
def test_interrupted(box, case):
    """Ctrl-C ends each call that waits, at once, with KeyboardInterrupt; the client goes on, and closes."""
    if case == "to_dataframe":
        pytest.importorskip("pandas")
    dials = case in ("connect", "with")
    with contextlib.ExitStack() as stack:
        url = box.url
        if dials:
            peer = stack.enter_context(Peer(lambda connection: connection.hold()))
            url = peer.url(host="127.0.0.1")
        process = stack.enter_context(child(INTERRUPTED, url, case))
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        if case == "close":
            box.freeze()  # a goodbye that nobody answers is waited for, for a second
        box.reorder(2)  # the answer waits for that to the next ping
        process.stdin.write("\n")
        process.stdin.flush()
        assert "calling\n" == process.stdout.readline()
        if dials:
            assert peer.arrived.wait(LIMIT_S)
        elif case in SAYS:
            box.wait_received(SAYS[case])
        process.send_signal(signal.SIGINT)
        if case in WAITS:
            # Nothing else is to be answered: let the ping's answer go when it comes.
            assert "interrupted\n" == process.stdout.readline()
            box.reorder(0)
        out, err = process.communicate(timeout=LIMIT_S)
    usable = "" if dials or case == "close" else "True\n"
    told = "" if case in WAITS else "interrupted\n"
    assert (f"{told}{usable}closed 1\n", False) == (out, "Traceback" in err)


class InterruptedOnce(set):
    """A set whose first addition by the main thread is cut short by Ctrl-C."""

    ready = True

    def add(self, item):
        if self.ready and threading.current_thread() is threading.main_thread():
            self.ready = False
            raise KeyboardInterrupt
        super().add(item)


class Threads:
    """The module `_thread` while Ctrl-C comes before or after the main thread begins another."""

    def __init__(self, begins: bool) -> None:
        self.begins = begins
        self.ready = True

    def start_new_thread(self, call, arguments):
        if self.ready:
            self.ready = False
            if self.begins:
                _thread.start_new_thread(call, arguments)
            raise KeyboardInterrupt
        _thread.start_new_thread(call, arguments)


@pytest.mark.parametrize("place", ["before it is noted", "before it begins", "after it began"])
def test_close_after_an_interrupted_one(ws, monkeypatch, place):
    """A close that Ctrl-C ended as its thread began, or was about to, is made, once, and the next close waits for it too."""
    began, never, threads = threading.Event(), threading.Event(), []

    def close(deadline):
        threads.append(threading.current_thread())
        if len(threads) == 1:
            began.set()
            never.wait(0.3)  # it takes its time
        Client._close(ws, deadline)

    monkeypatch.setattr(ws, "_close", close)
    if place == "before it is noted":
        monkeypatch.setattr(ws, "_errands", InterruptedOnce())
    else:
        monkeypatch.setattr("exchange_ws.core.errand._thread", Threads(begins=place == "after it began"))
    with pytest.raises(KeyboardInterrupt):
        ws.close()
    ws.close()
    assert (True, [False, False]) == (began.is_set(), [thread.is_alive() for thread in threads])


# Calls -----------------------------------------------------------------------------------------------------------------------


def ask_all(box: Sandbox, ws: Client, before_each_turn: Any = None) -> list[tuple[Any, Any]]:
    """50 threads with 20 requests each, no two alike; what each was to get, and what it got."""

    def caller(number: int) -> None:
        try:
            for turn in range(20):
                barrier.wait(LIMIT_S)
                market, limit = (number * 20 + turn) % 9, (number * 20 + turn) // 9 % 100 + 1
                trades = ws.request("trades_request", [MARKETS[market], limit, 0])
                expected = [trade.id for trade in box.markets.markets[market].trades_after(0)[:limit]]
                got.put((expected, [trade["id"] for trade in trades]))
        except BaseException as error:
            barrier.abort()
            got.put((None, error))

    got: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    barrier = threading.Barrier(50, action=before_each_turn)
    threads = [threading.Thread(target=caller, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    return [got.get_nowait() for _ in range(got.qsize())]


@pytest.mark.parametrize("reordered", [False, True], ids=["in order", "out of order"])
def test_every_caller_gets_its_own_answer(box, make, reordered):
    """50 threads with 20 requests each share one connection, also when the answers come in another order."""
    ws = make(rate_limit=False).connect()
    answers = ask_all(box, ws, (lambda: box.reorder(50)) if reordered else None)
    assert (1000, []) == (len(answers), [pair for pair in answers if pair[0] != pair[1]])
    assert (1000, 1) == (len(said(box, "trades_request")), box.connections)


def test_requests_spread_when_a_budget_is_spent():
    """
    1000 requests at once: the exchange, which allows 200 a minute on a connection, refuses none, and none is asked twice.
    """
    with Sandbox("whitebit", seed=5, tick=None) as box, box.client() as ws:
        answers = ask_all(box, ws)
        assert (1000, []) == (len(answers), [pair for pair in answers if pair[0] != pair[1]])
        assert 1000 == len(said(box, "trades_request"))
        # Each connection has its own numbers, so no number is said more often than there are connections.
        numbers = Counter(message["id"] for message in box.received)
        assert (6, 6, True) == (box.connections, max(numbers.values()), max(numbers) <= 200)


def test_orders_do_not_spread():
    """What may not be said twice stays on the first connection, and waits for its budget."""
    dialect = attrs.evolve(SWAP, limits=Limits(requests=Pace(6, LONG_S, "made up")))
    with Exchange(serve) as peer:
        ws = Swap(peer.address, dialect)
        for _ in range(3):  # half of a budget as small as this is kept for pings
            ws.request("order", replay=False)
        error = raised(ws.request, "order", replay=False, timeout=0.1)
        assert (RequestTimeout, False, 1) == (type(error), error.sent, peer.dials)
        assert "budget" in str(error)
        ws.close()


def test_rate_limited():
    """Without our limits the exchange says code 7, which is `RateLimited`."""
    with Sandbox("whitebit", tick=None) as box, box.client(rate_limit=False) as ws:
        for _ in range(200):
            ws.request("ping")
        error = raised(ws.request, "time")
    assert (RateLimited, 7, "too many requests") == (type(error), error.code, error.message)
    assert {"method": "time", "params": []} == error.request


def test_request_rejected(ws):
    """The exchange's own code and words, and what it refused."""
    error = raised(ws.request, "lastprice_request", ["NO_SUCH"])
    assert (RequestRejected, 1, "invalid argument") == (type(error), error.code, error.message)
    assert {"method": "lastprice_request", "params": ["NO_SUCH"]} == error.request
    assert "lastprice_request" in str(error)


def test_request_timeout(box, ws):
    """No answer in time is `RequestTimeout`, a `TimeoutError`; the answer that comes late is counted, and taken by nobody."""
    box.reorder(2)
    error = raised(ws.request, "time", timeout=0.1)
    assert (RequestTimeout, True, True) == (type(error), error.sent, isinstance(error, TimeoutError))
    assert "pong" == ws.request("ping")
    ws.ping()
    assert 1 == ws.stats()["late"]


def test_ping(box, ws):
    """Seconds of round trip, by the exchange's own ping."""
    box.delay(0.2)
    seconds = ws.ping()
    assert 0.2 <= seconds < 0.2 + SOON_S
    assert [[]] == said(box, "ping")


def test_ping_by_a_frame():
    """Where an exchange has no ping of its own, a WebSocket ping does."""
    dialect = attrs.evolve(SWAP, heartbeat=attrs.evolve(SWAP.heartbeat, command=None))

    def script(talk, exchange):
        opcode, payload = talk.read_frame()
        exchange.told.put(opcode)
        talk.connection.send(b"\x8a" + bytes([len(payload)]) + payload)
        talk.serve()

    with Exchange(script) as peer:
        ws = Swap(peer.address, dialect)
        assert 0.0 <= ws.ping() < SOON_S
        assert 9 == peer.hear()
        ws.close()


def test_heartbeat(make):
    """An exchange that closes idle connections is kept by our pings, though its updates flow all the time."""
    # An idle time that is longer than a busy machine may hold a thread up.
    with Sandbox("whitebit", tick=0.05, idle=2.0) as box, box.client(ping_interval=0.3) as ws:
        trades = ws.subscribe("trades", "*")
        box.wait_received("ping", 8)
        assert (1, 0, []) == (box.connections, ws.stats()["reconnects"], trades.gaps)
        assert trades.qsize() > 0


# Subscriptions ---------------------------------------------------------------------------------------------------------------


def test_union_of_two_subscriptions(box, ws):
    """
    Two subscriptions share a channel: the wire states the union, then the rest; each gets every trade of its markets for as
    long as it is there, each once, none of another market, and nothing twice for the snapshots in between.
    """
    snapshot = {name: ids(box, name)[-100:] for name in MARKETS}
    first = ws.subscribe("trades", "BTC_USDT", "ETH_USDT")
    box.step(20)
    until = {name: ids(box, name) for name in MARKETS}
    second = ws.subscribe("trades", "ETH_USDT", "SOL_USDT")
    box.step(20)
    ws.ping()
    while_both = {name: ids(box, name) for name in MARKETS}
    second.unsubscribe()
    box.step(20)
    got_first, got_second = all_there(ws, first, second)
    first.unsubscribe()
    statements = [["BTC_USDT", "ETH_USDT"], ["BTC_USDT", "ETH_USDT", "SOL_USDT"], ["BTC_USDT", "ETH_USDT"]]
    assert (statements, [[]]) == (said(box, "trades_subscribe"), said(box, "trades_unsubscribe"))
    for name in ("BTC_USDT", "ETH_USDT"):
        expected = [number for number in ids(box, name) if number >= snapshot[name][0]]
        assert expected == [event.id for event in got_first if event.symbol == name]
    for name in ("ETH_USDT", "SOL_USDT"):
        expected = [number for number in while_both[name] if number >= until[name][-100:][0]]
        assert expected == [event.id for event in got_second if event.symbol == name]
    assert {"BTC_USDT", "ETH_USDT"} == {event.symbol for event in got_first}
    assert {"ETH_USDT", "SOL_USDT"} == {event.symbol for event in got_second}
    assert ([], []) == (first.gaps, second.gaps)


def test_who_was_told_the_end_of_a_subscription_sees_it_gone(ws):
    """One that has ended by itself is no more among the client's, before its thread has come to take it out."""
    prices = ws.subscribe("lastprice", "BTC_USDT")
    seen, forget = [], prices._forget
    prices._forget = lambda subscription: (seen.append(ws.subscriptions), forget(subscription))
    prices.end(None)
    assert [()] == seen


def test_second_subscription_to_the_same(box, ws):
    """Two subscriptions to one topic: both get all; the first that leaves says nothing on the wire, the last does."""
    first, second = ws.subscribe("lastprice", "BTC_USDT"), ws.subscribe("lastprice", "BTC_USDT")
    box.step(30)
    got = all_there(ws, first, second)
    assert [event.price for event in got[0]] == [event.price for event in got[1]] != []
    first.unsubscribe()
    assert ([["BTC_USDT"]], []) == (said(box, "lastprice_subscribe"), said(box, "lastprice_unsubscribe"))
    assert (second,) == ws.subscriptions
    second.unsubscribe()
    assert [[]] == said(box, "lastprice_unsubscribe")


def test_subscribe_from_many_threads(box, ws):
    """Subscriptions made and left at once from many threads: what the wire states at the end is what is wanted then."""

    def come_and_go(market: str) -> Any:
        for _ in range(5):
            ws.subscribe("lastprice", market).unsubscribe()
        return ws.subscribe("lastprice", market)

    kept = [call.result() for call in [Later(come_and_go, market) for market in MARKETS]]
    assert sorted(MARKETS) == sorted(said(box, "lastprice_subscribe")[-1])
    box.step(10)
    assert list(MARKETS) == [all_there(ws, one)[0][0].symbol for one in kept]


def test_second_series_of_candles(box, ws):
    """Candles are one series a connection: another one opens a connection; the same one does not; each gets its own."""
    minute, hour = ws.subscribe_candles("BTC_USDT", 60), ws.subscribe_candles("BTC_USDT", 3600)
    again = ws.subscribe_candles("BTC_USDT", 60)
    assert 2 == box.connections
    box.step(10)
    minutes, same = all_there(ws, minute, again)
    ws.ping()
    hours = [hour.get(LIMIT_S)]
    assert ({60}, {60}, {3600}) == tuple({event.interval for event in events} for events in (minutes, same, hours))
    assert [[["BTC_USDT", 60], ["BTC_USDT", 3600]]] == [said(box, "candles_subscribe")]
    assert {0} == {event.start % event.interval for event in minutes + hours}


def test_depth_with_other_settings(box, ws):
    """One market's depth with other settings takes another connection; with the same ones it is shared, with its snapshot."""
    ten, five = ws.subscribe_depth("BTC_USDT", limit=10), ws.subscribe_depth("BTC_USDT", limit=5)
    again, other = ws.subscribe_depth("BTC_USDT", limit=10), ws.subscribe_depth("ETH_USDT", limit=1)
    assert 2 == box.connections
    books = [one.get(LIMIT_S) for one in (ten, five, again, other)]
    assert ["snapshot"] * 4 == [book.kind for book in books]
    assert [10, 5, 10, 1] == [len(book.bids) for book in books]


def test_limit_of_connections():
    """Where an exchange allows so many topics on so many connections, one more is refused, and says where that is written."""
    dialect = attrs.evolve(SWAP, limits=Limits(topics=2, connections=1, source="made up, section 1"))
    with Exchange(serve) as peer:
        ws = Swap(peer.address, dialect)
        ws.subscribe("price A", "price B")
        error = raised(ws.subscribe, "price C")
        assert (LimitExceeded, "connections", "made up, section 1") == (type(error), error.limit, error.source)
        ws.subscribe("price B").unsubscribe()
        ws.unsubscribe("price A")
        assert ("price C",) == ws.subscribe("price C").topics
        ws.close()


def test_dials_of_a_host():
    """Where an exchange counts the dials of a whole host, all endpoints there share them, whatever their path and query."""
    dialect = attrs.evolve(SWAP, limits=Limits(dials=Pace(3, 60.0, "made up"), dials_of_host=True))
    urls = {
        "public": "ws://127.0.0.1:1/public",
        "private": "ws://127.0.0.1:1/private?max=1",
        "elsewhere": "ws://127.0.0.1:2/public",
    }
    ws = Client({name: Endpoint(name, url, dialect) for name, url in urls.items()})
    assert ws._dials["public"] is ws._dials["private"] is not ws._dials["elsewhere"]


def test_budgets_of_an_address():
    """Two endpoints at one address share its dials; logins have a budget of their own, kept longer than the exchange counts."""
    clock = HeldClock()
    limits = Limits(dials=Pace(3, 60.0, "made up"), logins=Pace(2, 60.0, "made up"))
    url = "ws://127.0.0.1:1/"
    dialect = attrs.evolve(SWAP, limits=limits)
    ws = Client(
        {
            "public": Endpoint("public", url, dialect),
            "private": Endpoint("private", url, dialect, lambda: None),
            "elsewhere": Endpoint("elsewhere", f"{url}else", dialect),
        }
    )
    assert ws._dials["public"] is ws._dials["private"] is not ws._dials["elsewhere"]
    dials = client_module.Dials(ws._limits["private"], clock)
    for _ in range(2):
        assert 100.0 == dials.take(logs_in=True)
        dials.log_in()
    assert (161.0, 100.0, 161.0) == (dials.take(logs_in=True), dials.take(logs_in=False), dials.take(logs_in=False))
    error = raised(dials.log_in)
    assert (RateLimited, 61.0) == (type(error), error.retry_after_s)
    clock.move(161.0)
    assert 161.0 == dials.take(logs_in=True)
    dials.log_in()


def test_failed_dials_cost_no_login(box, make):
    """What does not come as far as a login takes no place of its budget, or a short outage would cost a minute."""
    ws = make()
    box.restart(LONG_S)
    for _ in range(20):
        assert ConnectFailed is type(raised(ws.subscribe_balance_spot))
    box.restart()
    assert ws.subscribe_balance_spot()


def test_emptied_connection_is_closed(box, make, monkeypatch):
    """A connection beyond the first that nobody uses any more is closed after a while; the first stays."""
    monkeypatch.setattr(client_module, "LINGER_S", 0.2)
    ws = make()
    ws.subscribe_candles("BTC_USDT", 60)
    ws.subscribe_candles("BTC_USDT", 300).unsubscribe()
    box.wait_connections(1)
    assert (1, "open", [["BTC_USDT", 60], ["BTC_USDT", 300]]) == (
        ws.stats()["connections"],
        ws.state,
        said(box, "candles_subscribe"),
    )
    ws.subscribe_candles("BTC_USDT", 300)
    assert 2 == box.connections


def test_rejected_subscription(box, ws):
    """A refused topic raises `SubscriptionRejected` with code, words and topic; it stays with the former statement."""
    trades = ws.subscribe("trades", "BTC_USDT")
    error = raised(ws.subscribe, "trades", "NO_SUCH")
    assert (SubscriptionRejected, 1, "invalid argument", "trades NO_SUCH") == (
        type(error),
        error.code,
        error.message,
        error.topic,
    )
    assert (trades,) == ws.subscriptions
    box.wait_received(lambda message: (message["method"], message["params"]) == ("trades_subscribe", ["BTC_USDT"]), 2)
    box.step(20)
    assert ids(box, "BTC_USDT")[-1] == all_there(ws, trades)[0][-1].id
    assert ["BTC_USDT"] == said(box, "trades_subscribe")[-1]


def test_subscribe_that_times_out(box, ws):
    """A subscribe without a confirmation in time leaves nothing behind, also when the confirmation comes later."""
    box.reorder(2)
    error = raised(ws.subscribe, "lastprice", "BTC_USDT", timeout=0.1)
    assert (RequestTimeout, ()) == (type(error), ws.subscriptions)
    ws.ping()
    box.wait_received("lastprice_unsubscribe")


def test_subscribe_that_is_interrupted(box, ws, monkeypatch):
    """An exception of another kind in the wait leaves nothing behind either."""

    def interrupted(connection: Any, pending: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(client_module.Connection, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ws.subscribe("trades", "BTC_USDT")
    assert () == ws.subscriptions
    box.wait_received("trades_unsubscribe")


def test_unsubscribe(box, ws):
    """By subscription, or by words, from all that have the topic; what was received can still be read, then all ends."""
    both, one = ws.subscribe("trades", "BTC_USDT", "ETH_USDT"), ws.subscribe("trades", "BTC_USDT")
    all_there(ws, both, one)
    box.step(20)
    ws.ping()
    ws.unsubscribe("trades", "BTC_USDT")
    assert (("trades ETH_USDT",), True, ["ETH_USDT"]) == (both.topics, one.closed, said(box, "trades_subscribe")[-1])
    assert {"BTC_USDT"} == {event.symbol for event in one}
    before = ids(box, "BTC_USDT")[-1]
    box.step(20)
    got = all_there(ws, both)[0]
    assert [] == [event for event in got if event.symbol == "BTC_USDT" and event.id > before]
    assert ids(box, "ETH_USDT")[-1] == [event.id for event in got if event.symbol == "ETH_USDT"][-1]
    ws.unsubscribe(both)
    assert ([[]], ()) == (said(box, "trades_unsubscribe"), ws.subscriptions)


def test_senseless_unsubscribe(ws):
    """Nothing, or a mixture, is refused; what is not subscribed is no error."""
    trades = ws.subscribe("trades", "BTC_USDT")
    assert [UsageError] * 3 == [
        type(raised(call))
        for call in (ws.unsubscribe, lambda: ws.unsubscribe(trades, "BTC_USDT"), lambda: ws.unsubscribe("trade", "BTC_USDT"))
    ]
    ws.unsubscribe("trades", "ETH_USDT")
    assert ("trades BTC_USDT",) == trades.topics


def test_unsubscribe_without_confirmation(box, ws):
    """Unconfirmed in time it raises `RequestTimeout`, and the subscription has ended all the same."""
    trades = ws.subscribe("trades", "BTC_USDT")
    box.reorder(2)
    error = raised(trades.unsubscribe, 0.1)
    assert (RequestTimeout, True, ()) == (type(error), trades.closed, ws.subscriptions)
    ws.ping()


def test_unsubscribe_in_flight_while_subscribing_again(box, ws):
    """A subscribe that comes while the unsubscribe of its channel is under way is stated after it, and gets its updates."""
    trades = ws.subscribe("trades", "BTC_USDT")
    box.reorder(2)
    leaving = Later(trades.unsubscribe)
    box.wait_received("trades_unsubscribe")
    coming = Later(ws.subscribe, "trades", "BTC_USDT")
    while not ws.subscriptions:
        pass
    assert [["BTC_USDT"]] == said(box, "trades_subscribe")
    ws.ping()
    leaving.result()
    again = coming.result()
    assert [["BTC_USDT"]] * 2 == said(box, "trades_subscribe")
    box.step(20)
    assert ids(box, "BTC_USDT")[-1] == all_there(ws, again)[0][-1].id


# Loss and return -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop", "close", "close 1013", "freeze", "restart", "restart later"])
def test_loss_and_return(box, make, states, fault):
    """
    However a connection is lost, it is made again and its topics stated; the gap stands where it was, and is closed; a replay
    that reaches back to what was delivered proves that nothing is missing: no trade is missing or told twice.
    """
    ws = make(on_state=states).connect()
    trades = ws.subscribe("trades", "BTC_USDT", "ETH_USDT", gaps=True)
    prices = ws.subscribe("lastprice", "BTC_USDT")
    first = all_there(ws, trades)[0]
    faults = {
        "drop": box.drop,
        "close": box.close,
        "close 1013": lambda: box.close(1013, "try again later"),
        "freeze": box.freeze,
        "restart": box.restart,
        "restart later": lambda: box.restart(0.2),
    }
    faults[fault]()
    with hurried(*connections_of(ws), **({"ping_interval": 0.2, "pong_timeout": 0.3} if fault == "freeze" else {})):
        states.wait("reconnecting")
    box.step(5)
    states.wait("open")
    box.step(15)
    got, last = all_there(ws, trades, prices)
    assert isinstance(got[0], Gap), "the gap stands before what came after it"
    assert ("reconnect", None, True) == (got[0].reason, got[0].dropped, got[0].repaired)
    assert 0 <= got[0].until - got[0].since < LIMIT_S
    assert (trades.gaps, 1) == (got[:1], len(prices.gaps))
    assert got[0] is got[1].gap is not None
    for name in ("BTC_USDT", "ETH_USDT"):
        told = [event.id for event in first + got[1:] if event.symbol == name]
        assert ids(box, name)[-len(told) :] == told
    assert [["BTC_USDT", "ETH_USDT"]] * 2 == said(box, "trades_subscribe")
    assert (box.markets.markets[0].last, 1) == (last[-1].price, ws.stats()["reconnects"])
    assert last[0].gap is prices.gaps[0]


def test_gap_that_is_not_repaired(box, ws, states):
    """More happened meanwhile than the exchange replays: the gap stays a gap."""
    trades = ws.subscribe("trades", "BTC_USDT")
    all_there(ws, trades)
    box.restart(LONG_S)
    states.wait("reconnecting")
    gap = trades.gaps[0]
    assert (None, False) == (gap.until, gap.repaired)
    box.step(300)
    box.restart()
    states.wait("open")
    got = all_there(ws, trades)[0]
    assert (gap, False, True) == (got[0].gap, gap.repaired, gap.until is not None)
    assert ids(box, "BTC_USDT")[-100:] == [event.id for event in got]


def test_left_while_it_reconnects(box, ws, states):
    """A topic that is left while its connection is lost misses nothing any more: its gap has an end."""
    prices, books = ws.subscribe("lastprice", "BTC_USDT"), ws.subscribe("bookTicker", "ETH_USDT")
    box.restart(LONG_S)
    states.wait("reconnecting")
    before = [gap.until for gap in (*prices.gaps, *books.gaps)]
    ws.unsubscribe("bookTicker", "ETH_USDT")
    assert ([None, None], True, None) == (before, books.gaps[0].until is not None, prices.gaps[0].until)


def test_request_under_way_when_the_connection_is_lost(box, ws):
    """It ends at once, and not at its timeout: its outcome is unknown."""
    raised(ws.request, "order_cancel_all", [])  # the connection of orders is there now, and logged in
    box.reorder(100)
    calls = [Later(ws.request, "time", (), LONG_S), Later(ws.request, "order_cancel_all", [], LONG_S)]
    box.wait_received(lambda message: message["method"] in ("time", "order_cancel_all"), 3)
    began = time.monotonic()
    box.close(1012, "deploy")
    errors = [call.error() for call in calls]
    assert time.monotonic() - began < SOON_S
    assert [(ConnectionLost, True, 1012, "deploy")] * 2 == [
        (type(error), error.sent, error.close_code, error.close_reason) for error in errors
    ]


def test_request_while_reconnecting(box, ws, states):
    """What can be said again waits for the connection; what cannot is refused at once, and was never sent."""
    box.restart(LONG_S)
    states.wait("reconnecting")
    calls = [
        Later(ws.request, "time", (), LONG_S),
        Later(ws.subscribe, "trades", "BTC_USDT", timeout=LONG_S),
        Later(ws.ping, LONG_S),
    ]
    error = raised(ws.request, "of_unknown_effect", [])
    assert (ConnectionLost, False) == (type(error), error.sent)
    waited = raised(ws.request, "time", timeout=0.1)
    assert (RequestTimeout, False) == (type(waited), waited.sent)
    assert [False, False, False] == [call.done for call in calls]
    box.restart()
    assert box.markets.now_us // 1_000_000 == calls[0].result()
    assert ("trades BTC_USDT",) == calls[1].result().topics
    assert calls[2].result() < SOON_S
    assert ([], [[]]) == (said(box, "of_unknown_effect"), said(box, "time"))


def test_refused_handshakes_while_reconnecting(box, ws, states):
    """Refused handshakes are tried again until one is accepted."""
    trades = ws.subscribe("trades", "BTC_USDT")
    box.refuse(2, 503)
    box.refuse(1, 403)
    box.drop()
    states.wait("reconnecting", "open")
    assert ("open", 1, 1) == (ws.state, ws.stats()["reconnects"], len(trades.gaps))


@pytest.mark.parametrize("refusals", [1, 2], ids=["another channel", "same channel"])
def test_refused_resubscribe(box, ws, states, refusals):
    """A topic that is refused after a reconnect ends its own subscription with `SubscriptionRejected`; the others live on."""
    other = "lastprice" if refusals == 1 else "trades"
    refused, lives = ws.subscribe(other, "BTC_USDT"), ws.subscribe("trades", "ETH_USDT")
    box.reject(refusals, 1, "not any more")
    box.drop()
    states.wait("reconnecting", "open")
    all_there(ws, lives)
    error = raised(lambda: list(refused))
    assert (SubscriptionRejected, 1, "not any more", f"{other} BTC_USDT") == (
        type(error),
        error.code,
        error.message,
        error.topic,
    )
    box.step(20)
    assert ids(box, "ETH_USDT")[-1] == all_there(ws, lives)[0][-1].id
    assert ((lives,), "open") == (ws.subscriptions, ws.state)


def test_gives_up(box, make, states):
    """After the time that was allowed everything ends with `ConnectFailed`, its cause chained, at whatever waits."""
    ws = make(on_state=states, reconnect=Backoff(0.01, 0.02, give_up_after=0.3)).connect()
    quiet = ws.subscribe_book_ticker("BTC_USDT")
    iteration = Later(list, quiet)
    box.restart(LONG_S)
    states.wait("reconnecting")
    call = Later(ws.request, "time", (), LONG_S)
    errors = [iteration.error(), call.error(), raised(ws.subscribe, "trades", "BTC_USDT"), raised(ws.connect)]
    assert [(ConnectFailed, ConnectFailed)] * 4 == [(type(error), type(error.__cause__)) for error in errors]
    assert [] == [error for error in errors if "gave up" not in str(error)]
    states.wait("closed")
    assert ["connecting", "open", "reconnecting", "closed"] == states.told


def test_no_reconnect(box, make, states):
    """With `reconnect=False` the first loss ends everything, with what was lost."""
    ws = make(on_state=states, reconnect=False).connect()
    quiet = ws.subscribe_book_ticker("BTC_USDT")
    box.close(1001, "going away")
    errors = [raised(lambda: list(quiet)), raised(ws.request, "time")]
    assert [(ConnectionLost, 1001)] * 2 == [(type(error), error.close_code) for error in errors]
    states.wait("closed")
    ws.close()
    assert ["connecting", "open", "closed"] == states.told


def test_too_large_a_message(box, make):
    """A message above the bound is a loss by their fault; who does not reconnect gets it as the reason."""
    ws = make(max_message_size=5000, reconnect=False)
    trades = ws.subscribe("trades", "BTC_USDT")
    error = raised(lambda: list(trades))
    assert (WireError, 1009) == (type(error), error.close_code)
    assert "5000" in str(error)


def test_state_is_the_worst_of_all_connections(states):
    """One connection is open and another one is being made: the state is the worse of the two."""
    dialect = attrs.evolve(SWAP, limits=Limits(topics=1))
    with Exchange(serve) as peer:  # which serves one connection after the other
        ws = Swap(peer.address, dialect, on_state=states)
        ws.subscribe("price A")
        second = Later(ws.subscribe, "price B")
        states.wait("connecting", "open", "connecting")
        assert ("connecting", 2) == (ws.state, ws.stats()["connections"])
        assert ["it"] == ws.request("query", "it")
        ws.close()
        assert ConnectionClosed is type(second.error())
    states.wait("closed")


# Watching --------------------------------------------------------------------------------------------------------------------


def test_stats(box, ws):
    """Counters of what came and went, of the connections and subscriptions that are gone too."""
    trades = ws.subscribe("trades", "BTC_USDT", queue_size=1)
    box.push('{"hello":"world"}')
    box.push('{"id":null,"method":"trades_update","params":["DOGE_USDT",[]]}')
    box.garbage()
    box.step(20)
    ws.ping()
    before = ws.stats()
    trades.unsubscribe()
    ws.request("time")
    stats = ws.stats()
    expected = {"requests": 4, "reconnects": 0, "unknown": 1, "unrouted": 1, "malformed": 1, "late": 0, "gaps": 2}
    expected.update(connections=1, subscriptions=0, dropped=before["dropped"])
    assert expected == {name: stats[name] for name in expected}
    assert (True, True) == (stats["dropped"] > 3, stats["bytes"] > 100 * stats["messages"] > 0)
    assert 0 <= stats["round_trip"]["p50"] <= stats["round_trip"]["p99"] < SOON_S


def test_lag_is_seen():
    """The lag of events is the exchange's time against ours."""
    with Sandbox("whitebit", tick=0.005) as box, box.client() as ws:
        trades = ws.subscribe("trades", "*")
        trades.collect(2000, LIMIT_S)
        lag = ws.stats()["lag"]
    assert -SOON_S < lag["p50"] <= lag["p99"]


def test_descriptor_wakes_a_select_loop(box, ws):
    """A select loop sees events over the whole stack."""
    quiet = ws.subscribe_book_ticker("BTC_USDT")
    descriptor = quiet.fileno()
    all_there(ws, quiet)
    assert ([], [], []) == select.select([descriptor], [], [], 0)
    box.step(20)
    assert [descriptor] == select.select([descriptor], [], [], LIMIT_S)[0]
    assert "BTC_USDT" == quiet.get_nowait().symbol


def test_updates_in_pushes_of_several_topics():
    """A push in rows goes to each subscription that wants one of its topics, and to both if they want both."""

    def script(talk, exchange):
        for _ in range(2):
            talk.agree(talk.ask())
        talk.say(update("price A", "price B"))
        talk.say(update("price C"))
        talk.serve()

    with Exchange(script) as peer:
        ws = Swap(peer.address)
        first = ws.subscribe("price A", raw=True)
        second = ws.subscribe("price B", raw=True)
        rows = {"of": "price A", "also": ["price B"]}
        assert [rows, rows] == [first.get(LIMIT_S), second.get(LIMIT_S)]
        ws.ping()
        assert (0, 1) == (first.qsize(), ws.stats()["unrouted"])
        ws.close()
