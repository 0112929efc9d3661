"""A client that is used and closed from anywhere: callbacks, signals, collected objects, a hundred threads at once."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
from life_helpers import EXCHANGES, SOON_S, Child, collect, facts_of, wait_no_threads
from wire_peers import LIMIT_S

from exchange_ws import Backoff
from exchange_ws.core import client as client_module
from exchange_ws.errors import ConnectionClosed, ExchangeError, SubscriptionClosed, UpdateTimeout
from exchange_ws.sandbox import Sandbox

needs_signals = pytest.mark.skipif(os.name == "nt", reason="signals of another process")


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def ws(box):
    with box.client(reconnect=Backoff(0.01, 0.02)) as ws:
        yield ws


# Callbacks -------------------------------------------------------------------------------------------------------------------


def test_callback_calls_the_client(box, ws):
    """A callback may ask, subscribe and unsubscribe, its own subscription too; then its thread ends, and the client goes on."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    trades = ws.subscribe("trades", "BTC_USDT")

    def callback(trade: Any) -> None:
        try:
            answers.put(ws.request("ping"))
            with ws.subscribe("trades", "ETH_USDT") as others:
                answers.put(others.get(LIMIT_S).symbol)
            trades.unsubscribe()
            answers.put(trades.closed)
        except Exception as error:
            answers.put(error)

    trades.call(callback)
    assert ["pong", "ETH_USDT", True] == [answers.get(timeout=LIMIT_S) for _ in range(3)]
    # What was buffered is still delivered, and the callback tries the same at each of these.
    ws.close()
    assert [] == wait_no_threads(SOON_S)


def test_states_call_the_client(box):
    """`on_state` may ask and subscribe, at each new state."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def on_state(state: str) -> None:
        if state == "open":
            told.put(ws.ping() > 0)
            told.put(ws.subscribe("trades", "BTC_USDT").get(LIMIT_S).symbol)

    ws = box.client(on_state=on_state, reconnect=Backoff(0.01, 0.02))
    with ws:
        assert [True, "BTC_USDT"] == [told.get(timeout=LIMIT_S) for _ in range(2)]
        box.drop()
        assert [True, "BTC_USDT"] == [told.get(timeout=LIMIT_S) for _ in range(2)]


def test_callbacks_that_raise(box, ws, caplog):
    """A callback that raises at each event gets all of them, through a loss too, and hurts no other subscription."""
    called: queue.SimpleQueue[Any] = queue.SimpleQueue()
    others = ws.subscribe("trades", "ETH_USDT")

    def callback(trade: Any) -> None:
        called.put(trade)
        raise ZeroDivisionError

    trades = ws.subscribe("trades", "BTC_USDT")
    trades.call(callback)
    for _ in range(100):
        called.get(timeout=LIMIT_S)
    box.drop()
    box.wait_received("trades_subscribe", 3)
    box.step(20)
    while called.get(timeout=LIMIT_S).gap is None:
        pass
    assert (ZeroDivisionError, 100) == (type(trades.error), len(others.collect(100, LIMIT_S)))


# Closing ---------------------------------------------------------------------------------------------------------------------


def test_close_in_a_token_function(box):
    """A function for tokens, which the connection's own thread calls, may close the client."""
    closed = threading.Event()

    def token() -> str:
        ws.close()
        closed.set()
        return str(box.token)

    ws = box.client(token=token, api_key=None, api_secret=None)
    with pytest.raises(ConnectionClosed):
        ws.subscribe_balance_spot("BTC")
    assert closed.wait(SOON_S)
    assert ("closed", []) == (ws.state, wait_no_threads(SOON_S))


def test_close_in_a_handler_of_logs(box):
    """A handler of log records, which is called on the connection's own thread at a loss, may close the client."""

    class Closing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if threading.current_thread().name.startswith("exchange-ws whitebit"):
                ws.close()

    ws = box.client().connect()
    handler = Closing(logging.WARNING)
    logging.getLogger("exchange_ws.core.connection").addHandler(handler)
    try:
        box.drop()
        assert [] == wait_no_threads(SOON_S)
    finally:
        logging.getLogger("exchange_ws.core.connection").removeHandler(handler)
    assert "closed" == ws.state


class Bot:
    """A user's object that closes its client when it is collected, and is found by the collector alone."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.me = self

    def __del__(self) -> None:
        self.ws.close(0.1)


@pytest.mark.parametrize("lock", ["client", "connection", "subscription", "timer", "none"])
def test_close_in_del(box, ws, lock, caplog, monkeypatch):
    """
    An object that closes the client in `__del__` may be collected by a thread that is in the middle of using the same client:
    it waits no longer than its timeout, and the client is closed as soon as that thread goes on.
    """
    monkeypatch.setattr(client_module, "CLOSE_GRACE_S", 0.1)
    trades = ws.subscribe("trades", "BTC_USDT")
    (connection,) = ws._pools["public"]
    taken = {
        "client": ws._lock,
        "connection": connection._lock,
        "subscription": trades._guard,
        "timer": ws._timer._guard,
        "none": threading.Lock(),
    }[lock]
    gc.disable()  # or another thread's collection may find it first
    try:
        Bot(ws)
        with taken:
            began = time.monotonic()
            collect()
            seconds = time.monotonic() - began
    finally:
        gc.enable()
    assert [] == wait_no_threads(SOON_S)
    assert (True, "closed") == (seconds < SOON_S, ws.state)
    assert (lock != "none") == ("not closed in time" in caplog.text)


SIGNALLED = """
import faulthandler, os, signal, sys, threading
from exchange_ws import WhiteBIT
from exchange_ws.core import client as client_module
from exchange_ws.errors import ConnectionClosed, SubscriptionClosed

faulthandler.dump_traceback_later(25, exit=True)
sys.setswitchinterval(1e-5)
ws = WhiteBIT(sys.argv[1], rate_limit=False).connect()
trades = ws.subscribe("trades", "*", queue_size=16)
others = ws.subscribe("trades", "*", queue_size=16)
signal.signal(signal.SIGTERM, lambda *_: ws.close(0.5))

turns = 0

def busy():
    global turns
    turns += 1
    if turns == 20:
        print("busy", flush=True)

def loop():
    for trade in trades:
        busy()

def get():
    while True:
        trades.get()
        busy()

def ask():
    while True:
        ws.ping()
        busy()

def subscribe():
    while True:
        ws.subscribe("bookTicker", "BTC_USDT").unsubscribe()
        busy()

calls = {"loop": loop, "get": get, "ask": ask, "subscribe": subscribe}
try:
    calls[sys.argv[2]]()
except (ConnectionClosed, SubscriptionClosed):
    pass
print("ended", flush=True)
ws.close()
print(ws.state, threading.active_count(), flush=True)
"""


@needs_signals
@pytest.mark.parametrize("call", ["loop", "get", "ask", "subscribe"])
def test_close_in_a_signal(call):
    """The function of a signal may close the client, whatever the main thread was in the middle of; its call ends then."""
    with Sandbox("whitebit", seed=3, tick=0.002, limits=False) as busy, Child(SIGNALLED, busy.url, call, flags=()) as child:
        assert "busy" == child.line()
        child.process.send_signal(signal.SIGTERM)
        out, err, code = child.end()
    said = [line for line in err.splitlines() if "buffer of" not in line and "in time" not in line]
    assert (["ended", "closed 1"], [], 0) == (out, said, code)


def test_close_from_everywhere_at_once(box):
    """A consumer's loop, a callback, `on_state` and three further threads close at the same time: all of them come back."""
    closing = threading.Barrier(6)
    closed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def close(who: str) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            closing.wait(LIMIT_S)
        ws.close()
        closed.put(who)

    ws = box.client(on_state=lambda state: state == "open" and close("on_state"))
    looped, called = ws.subscribe("trades", "BTC_USDT"), ws.subscribe("trades", "ETH_USDT")
    begun = threading.Event()

    def callback(trade: Any) -> None:
        if not begun.is_set():
            begun.set()
            close("callback")

    def loop() -> None:
        for index, _ in enumerate(looped):
            if not index:
                close("loop")

    called.call(callback)
    threads = [threading.Thread(target=target) for target in (loop, *[lambda: close("thread")] * 3)]
    for thread in threads:
        thread.start()
    who = Counter(closed.get(timeout=LIMIT_S) for _ in range(6))
    for thread in threads:
        thread.join(LIMIT_S)
    assert {"on_state": 1, "callback": 1, "loop": 1, "thread": 3} == who
    assert ("closed", []) == (ws.state, wait_no_threads(SOON_S))


# Threads ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_hundred_threads(name):
    """
    A hundred threads use one client at once, in every way, through two losses: each call returns, or raises an error of ours;
    then the client still works, and closes.
    """
    facts = facts_of(name)
    words, params = facts["topic"]
    problems: list[BaseException] = []
    turns: Counter[str] = Counter()

    def use(number: int) -> None:
        try:
            barrier.wait(LIMIT_S)
            for turn in range(3):
                kind = ("ask", "look", "read", "come and go", "share")[(number + turn) % 5]
                with contextlib.suppress(UpdateTimeout, SubscriptionClosed, ExchangeError):
                    if kind == "ask":
                        ws.ping()
                    elif kind == "look":
                        assert ws.stats()["connections"] >= 1
                        assert ws.state in ("open", "connecting", "reconnecting")
                        assert type(ws).__name__ in repr(ws)
                    elif kind == "read":
                        shared.get_many(5, timeout=0.05)
                    elif kind == "come and go":
                        ws.subscribe(*words, **params).unsubscribe()
                    else:
                        shared.collect(3, 0.05)
                turns[kind] += 1
        except BaseException as error:
            problems.append(error)

    def strike() -> None:
        barrier.wait(LIMIT_S)
        for _ in range(2):
            box.step(10)
            box.drop()

    with Sandbox(name, seed=3, tick=None, limits=False) as box:
        with box.client(reconnect=Backoff(0.01, 0.02), rate_limit=False, timeout=5.0) as ws:
            shared = ws.subscribe(*words, **params)
            barrier = threading.Barrier(101)
            threads = [threading.Thread(target=use, args=(number,)) for number in range(100)]
            threads.append(threading.Thread(target=strike))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT_S)
            assert ([], 300, [shared]) == (problems, sum(turns.values()), list(ws.subscriptions))
            ws.connect(LIMIT_S)
            assert ws.ping() > 0
