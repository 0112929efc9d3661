"""A client that nobody has any more: its threads and sockets end, and one warning tells of it."""

from __future__ import annotations

import gc
import queue
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from life_helpers import EXCHANGES, SOON_S, Child, collect, facts_of, wait_no_threads
from log_lines import Log
from wire_peers import LIMIT_S, Peer

from exchange_ws import Backoff, WhiteBIT
from exchange_ws.core import client as client_module
from exchange_ws.errors import ConnectFailed, ExchangeError, UsageError
from exchange_ws.sandbox import Sandbox


@pytest.fixture(params=EXCHANGES)
def every(request):
    """A sandbox of each exchange, and its words."""
    with Sandbox(request.param, seed=3, tick=None, limits=False) as box:
        yield box, facts_of(request.param)


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


def told(caught: Any) -> list[str]:
    """The warnings, and that they are ours."""
    assert {ResourceWarning} >= {warning.category for warning in caught}
    return [str(warning.message) for warning in caught]


def collect_until(reached: Callable[[], object]) -> None:
    """
    Have the collector come by until *reached*.

    Once is not enough: a reader may have a subscription in its hands just then, and who was revived by a record of its warning
    is seen as gone the next time only.
    """
    end = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < end
        collect()


# What ends it ----------------------------------------------------------------------------------------------------------------


def test_forgotten(every):
    """Without subscriptions, the last reference ends it: no collector is needed."""
    box, _ = every
    ws = box.client().connect()
    name = type(ws).__name__
    gc.disable()
    try:
        with pytest.warns(ResourceWarning) as caught:
            del ws
    finally:
        gc.enable()
    assert ([f"unclosed <{name} open, 0 subscriptions>"], []) == (told(caught), wait_no_threads(SOON_S))
    box.wait_connections(0)


def test_forgotten_with_subscriptions(every):
    """With subscriptions, public and private, the collector does; and the exchange hears a goodbye."""
    box, facts = every
    ws = box.client()
    names = [f"<{type(ws).__name__} open, 2 subscriptions>"]
    for words, params in (facts["topic"], facts["private topic"]):
        ws.subscribe(*words, **params)
    box.wait_connections(2)
    reference = weakref.ref(ws)
    del ws
    with pytest.warns(ResourceWarning) as caught:
        collect_until(lambda: len(caught))
    assert ([f"unclosed {name}" for name in names], [], None) == (told(caught), wait_no_threads(SOON_S), reference())
    box.wait_connections(0)


def test_subscription_keeps_its_client(every):
    """Whoever has a subscription has the client; it goes on, through a loss too."""
    box, facts = every
    words, params = facts["topic"]
    subscription = box.client(reconnect=Backoff(0.01, 0.02)).subscribe(*words, **params)
    collect()
    box.step(40)
    before = subscription.get(LIMIT_S)
    box.drop()
    box.wait_connections(1)
    box.wait_received(facts["subscribe"], 2)
    collect()
    box.step(40)
    while subscription.get(LIMIT_S).gap is None:
        pass
    assert before.symbol == facts["symbol"]
    del subscription, before
    with pytest.warns(ResourceWarning) as caught:
        collect_until(lambda: len(caught))


def test_loop_keeps_its_client(box):
    """A loop over a subscription that has no other name is enough."""
    seen = 0
    for _ in box.client().subscribe("trades", "BTC_USDT"):
        seen += 1
        if seen == 50:
            collect()
        if seen == 100:
            break
    with pytest.warns(ResourceWarning) as caught:
        collect_until(lambda: len(caught))
    assert (100, 1) == (seen, len(told(caught)))


def test_callback_keeps_its_client(box):
    """The thread of a `call` keeps the client, as nobody else could end it; the callback may."""
    called: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def callback(event: Any) -> None:
        called.put(event)
        if called.qsize() == 100:
            client[0]().close()

    ws = box.client()
    client = [weakref.ref(ws)]
    ws.subscribe("trades", "BTC_USDT").call(callback)
    del ws
    collect()
    assert [] == wait_no_threads()
    assert 100 == called.qsize()


def test_forgotten_subscription(box):
    """A subscription that is dropped while the client is kept stays subscribed; the client has it."""
    with box.client() as ws:
        ws.subscribe("trades", "BTC_USDT")
        collect()
        assert [("trades BTC_USDT",)] == [subscription.topics for subscription in ws.subscriptions]
        (trades,) = ws.subscriptions
        assert "BTC_USDT" == trades.get(LIMIT_S).symbol


# In which state it is --------------------------------------------------------------------------------------------------------


def test_while_it_reconnects(box):
    """A reader that waits for its next dial does not keep the client."""
    states: queue.SimpleQueue[str] = queue.SimpleQueue()
    ws = box.client(on_state=states.put).connect()
    ws.subscribe("trades", "BTC_USDT")
    box.restart(60.0)
    while states.get(timeout=LIMIT_S) != "reconnecting":
        pass
    del ws
    with pytest.warns(ResourceWarning, match="unclosed <WhiteBIT reconnecting, 1 subscriptions>") as caught:
        collect_until(lambda: len(caught))
    assert [] == wait_no_threads(SOON_S)


def test_while_it_dials():
    """Nor does one that dials a silent peer."""
    with Peer(lambda connection: connection.hold()) as peer:
        ws = WhiteBIT(peer.url(host="127.0.0.1"))
        with pytest.raises(ConnectFailed):
            ws.connect(0.1)
        assert peer.arrived.wait(LIMIT_S)
        with pytest.warns(ResourceWarning, match="unclosed <WhiteBIT connecting, 0 subscriptions>"):
            del ws
        assert [] == wait_no_threads(SOON_S)


def test_while_it_logs_in(box):
    """A login that is under way keeps the client; when it returns, the client ends."""
    asked, go_on = threading.Event(), threading.Event()

    def token() -> str:
        asked.set()
        assert go_on.wait(LIMIT_S)
        return str(box.token)

    ws = box.client(token=token, api_key=None, api_secret=None)
    with pytest.raises(ExchangeError):
        ws.subscribe_balance_spot("BTC", timeout=0.1)
    assert asked.wait(LIMIT_S)
    reference = weakref.ref(ws)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del ws
        collect()
        kept = reference() is not None
        go_on.set()
        collect_until(lambda: caught)
        assert [] == wait_no_threads(SOON_S)
    assert (True, 1) == (kept, len(told(caught)))


def test_after_a_failed_login(box, caplog):
    """The error of a login that could not be made, which has the client in its traces, keeps it nowhere, nor in the log."""
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    tokens = [str(box.token)]

    def token():
        asked.put(len(tokens))
        return tokens.pop()

    ws = box.client(token=token, api_key=None, api_secret=None, reconnect=Backoff(0.05, 0.5))
    with Log() as log:
        ws.subscribe_balance_spot("BTC")
        asked.get(timeout=LIMIT_S)
        box.drop()
        assert 0 == asked.get(timeout=LIMIT_S)
        log.wait("the login could not be made: IndexError; next try", SOON_S)
        del ws
        with pytest.warns(ResourceWarning) as caught:
            collect_until(lambda: len(caught))
    assert (True, []) == ("IndexError" in caplog.text, wait_no_threads(SOON_S))


def test_with_a_full_buffer(box):
    """A reader that waits for room keeps the client for as long as that may take, and no longer."""
    ws = box.client(ping_interval=0.4)  # half of it is what BLOCK waits at most
    ws.subscribe("trades", "BTC_USDT", queue_size=1, overflow="block")
    box.step(100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del ws
        collect_until(lambda: caught)
        assert [] == wait_no_threads(SOON_S)
    assert 1 == len(told(caught))


def test_callback_of_states_holds_the_client(box):
    """An `on_state` that has the client in its hands, as most have, keeps it only while it runs."""
    running: queue.SimpleQueue[str] = queue.SimpleQueue()

    def make() -> None:
        ws = box.client(on_state=lambda state: running.put(ws.state))
        ws.connect()

    make()
    while running.get(timeout=LIMIT_S) != "open":
        pass
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        collect_until(lambda: caught)
        assert [] == wait_no_threads(SOON_S)
    assert 1 == len(told(caught))


def test_linger(box, monkeypatch):
    """The timer's turn at a client with several connections does not keep it."""
    monkeypatch.setattr(client_module, "LINGER_S", 0.01)
    ws = box.client()
    ws.subscribe_candles("BTC_USDT", 60)
    ws.subscribe_candles("BTC_USDT", 300)
    box.wait_connections(2)
    del ws
    with pytest.warns(ResourceWarning) as caught:
        collect_until(lambda: len(caught))
    assert [] == wait_no_threads(SOON_S)


# What does not warn ----------------------------------------------------------------------------------------------------------


def never_connected(box: Sandbox) -> None:
    box.client(on_state=print)


def closed(box: Sandbox) -> None:
    box.client().connect().close()


def closed_with(box: Sandbox) -> None:
    with box.client() as ws:
        ws.subscribe("trades", "BTC_USDT")


def refused(box: Sandbox) -> None:
    with pytest.raises(ConnectFailed):
        box.client(url="ws://127.0.0.1:9").connect()


def senseless(box: Sandbox) -> None:
    with pytest.raises(UsageError):
        box.client(timeout=-1)


@pytest.mark.parametrize("life", [never_connected, closed, closed_with, refused, senseless])
def test_nothing_to_warn_of(box, life):
    """Who has no connection, not any more or not yet, ends without a word, and leaves no thread."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        life(box)
        collect()
        assert [] == wait_no_threads(SOON_S)
    assert [] == told(caught)


def test_on_state_ends_without_connections(box):
    """The thread of `on_state` ends with a client whose connections have all failed."""
    states: queue.SimpleQueue[str] = queue.SimpleQueue()
    ws = box.client(url="ws://127.0.0.1:9", on_state=states.put)
    with pytest.raises(ConnectFailed):
        ws.connect()
    assert "connecting" == states.get(timeout=LIMIT_S)
    del ws
    collect()
    assert [] == wait_no_threads(SOON_S)


# Where it happens ------------------------------------------------------------------------------------------------------------


def test_with_every_lock_taken(box):
    """The collector may come by in the middle of anything: with all of the client's own locks taken, it waits for none."""
    ws = box.client(on_state=lambda state: None).connect()
    trades = ws.subscribe("trades", "BTC_USDT")
    ws.ping()  # the reader has done with the subscription, which it would keep while it waits for one of these locks
    (connection,) = ws._pools["public"]
    locks = [ws._lock, ws._timer._guard, ws._dials["public"]._lock, trades._guard, trades._consuming]
    locks += [connection._lock, connection._waker._lock, threading._active_limbo_lock]
    for lock in locks:
        lock.acquire()
    try:
        del ws, trades, connection
        with pytest.warns(ResourceWarning) as caught:
            collect_until(lambda: len(caught))
    finally:
        for lock in locks:
            lock.release()
    assert (1, []) == (len(told(caught)), wait_no_threads(SOON_S))


CHURN = """
import faulthandler, gc, logging, sys, threading, warnings
from exchange_ws import WhiteBIT

faulthandler.dump_traceback_later(25, exit=True)
warnings.simplefilter("ignore")
logging.getLogger("exchange_ws").setLevel(logging.ERROR)  # overflows are logged, which is not what this is about
sys.setswitchinterval(1e-5)
url = sys.argv[1]
kept = WhiteBIT(url).connect()
trades = kept.subscribe("trades", "*", queue_size=64)

def forget():
    for _ in range(8):
        ws = WhiteBIT(url, on_state=lambda state: ws)
        quotes = ws.subscribe("bookTicker", "BTC_USDT")
        ws.ping()
        ws = quotes = None

gc.set_threshold(20, 2, 2)  # the collector comes by at nearly every step, on every thread
threads = [threading.Thread(target=forget) for _ in range(4)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    trades.get(20)
gc.collect()
print(kept.ping(20) > 0)
kept.close()
print("closed")
"""


def test_collected_on_any_thread(box):
    """Clients that become garbage while others work, found by whichever thread allocates next, block nobody."""
    with Sandbox("whitebit", seed=3, tick=0.005, limits=False) as busy, Child(CHURN, busy.url, flags=()) as child:
        out, err, code = child.end()
        assert (["True", "closed"], "", 0) == (out, err, code)
        busy.wait_connections(0)


def test_warning_as_an_error(box, monkeypatch):
    """Where the warning is an error, nobody can catch it, and the client ends all the same."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(told.exc_type))
    ws = box.client().connect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del ws
    assert ([ResourceWarning], []) == (seen, wait_no_threads(SOON_S))


def test_no_secret(box):
    """The warning tells no key, secret or token."""
    secrets = {"api_key": "the-key", "api_secret": "the-secret"}
    ws = box.client(**secrets, proxy=None).connect()
    with pytest.warns(ResourceWarning) as caught:
        del ws
    assert ["unclosed <WhiteBIT open, 0 subscriptions>"] == told(caught)
    assert [] == wait_no_threads(SOON_S)
