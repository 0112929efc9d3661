"""What `Client.stats` tells: each counter is right and never falls, whatever ends or is lost; over real sockets."""

from __future__ import annotations

import json
import threading
import time

import pytest
from life_helpers import collect
from wire_peers import LIMIT_S

from exchange_ws import Backoff
from exchange_ws.core import client as client_module
from exchange_ws.errors import ExchangeError
from exchange_ws.sandbox import Sandbox

#: What never falls; the rest is what is so at present.
COUNTERS = "messages bytes requests reconnects dropped gaps repaired unknown unrouted unasked malformed late".split()


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=5, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def ws(box):
    with box.client(reconnect=Backoff(0.01, 0.02)) as ws:
        yield ws


def wait_until(condition):
    """Wait until *condition* holds: for what only the client's own threads do."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def counters(stats):
    return {name: stats[name] for name in COUNTERS}


def fallen(before, after):
    """The counters that are less than they were."""
    return {name: (before[name], after[name]) for name in COUNTERS if after[name] < before[name]}


def test_before_the_first_call(box):
    """A client that has done nothing has counted nothing, and all of it can be written as JSON."""
    with Sandbox("whitebit") as box:
        ws = box.client()
        stats = ws.stats()
        ws.close()
    nothing = {"p50": None, "p99": None}
    expected = {"state": "idle", "connections": 0, "subscriptions": 0, "waiting": 0, "round_trip": nothing, "lag": nothing}
    expected["recording"] = None
    assert {**dict.fromkeys(COUNTERS, 0), **expected} == stats == json.loads(json.dumps(stats))


def test_over_a_loss(box, ws):
    """While a connection is made again the counters stand; then they go on, with a repaired gap, from where they were."""
    trades = ws.subscribe("trades", "BTC_USDT", gaps=True)
    box.step(20)
    ws.ping()
    trades.get_many()
    before = ws.stats()
    box.refuse(20)
    box.drop()
    wait_until(lambda: ws.state == "reconnecting")
    during = ws.stats()
    wait_until(lambda: ws.state == "open")
    ws.ping()
    trades.get_many(timeout=LIMIT_S)
    after = ws.stats()
    assert ("open", "reconnecting", "open") == (before["state"], during["state"], after["state"])
    assert (1, 1) == (during["connections"], during["subscriptions"])
    assert {**counters(before), "gaps": 1} == counters(during)
    assert (1, 1, 1) == tuple(after[name] for name in ("reconnects", "gaps", "repaired"))
    assert {} == fallen(before, after)
    # What was said again is counted too: one subscribe, and the query for what was missed or none; and the ping.
    assert after["requests"] > during["requests"] + 1


def test_after_close(box, ws):
    """Closing changes no counter, and how long things took is still told: scripts look at it last."""
    ws.subscribe("depth", "BTC_USDT", limit=5, interval="0").collect(1, LIMIT_S)
    ws.subscribe("trades", "BTC_USDT", queue_size=1)
    box.step(20)
    ws.ping()
    before = ws.stats()
    ws.close()
    after = ws.stats()
    assert {} == fallen(before, after)
    assert [before[name] for name in ("dropped", "gaps", "requests")] == [
        after[name] for name in ("dropped", "gaps", "requests")
    ]
    assert ("closed", 0, 0, 0) == tuple(after[name] for name in ("state", "connections", "subscriptions", "waiting"))
    assert before["round_trip"] == after["round_trip"]
    assert before["lag"] == after["lag"] != {"p50": None, "p99": None}


@pytest.mark.parametrize("kept", [1, 1000])
def test_read_after_the_end(box, ws, monkeypatch, kept):
    """What turns out when a buffer is read after its subscription has ended is counted, and stays so when that is garbage."""
    monkeypatch.setattr(client_module, "ENDED", kept)
    ws._ended_limit = kept
    trades = ws.subscribe("trades", "BTC_USDT")
    box.push('{"id":null,"method":"trades_update","params":["BTC_USDT",[{"id":"x"}]]}')
    ws.ping()
    trades.unsubscribe()
    before = ws.stats()
    trades.collect(1000)
    read = ws.stats()
    del trades
    collect()
    for _ in range(3):
        ws.subscribe("trades", "BTC_USDT").unsubscribe()
    assert (0, 1, 1) == (before["malformed"], read["malformed"], ws.stats()["malformed"])
    assert (kept == 1) == (len(ws._ended) < 4)


def test_waiting(box, ws):
    """What waits for its reader is seen before it is too much."""
    trades = ws.subscribe("trades", "BTC_USDT")
    prices = ws.subscribe("lastprice", "BTC_USDT")
    box.step(20)
    ws.ping()
    assert trades.qsize() + prices.qsize() == ws.stats()["waiting"] > 2
    trades.collect(1000, 0.001)
    prices.unsubscribe()
    assert 0 == ws.stats()["waiting"]


def test_unasked(box, ws):
    """An answer that belongs to no request is no answer, and is counted."""
    ws.connect()
    box.push('{"id":4711,"result":"pong","error":null}')
    ws.ping()
    assert 1 == ws.stats()["unasked"]


def test_retired_connection(box, ws, monkeypatch):
    """A connection that nobody needs any more takes none of what it counted with it, nor how long its requests took."""
    monkeypatch.setattr(client_module, "LINGER_S", 0.0)
    ws.subscribe_candles("BTC_USDT", 60)
    for interval in (300, 900):
        ws.subscribe_candles("BTC_USDT", interval).unsubscribe()
        before = ws.stats()
        ws.tick()
        box.wait_connections(1)
        wait_until(lambda: ws.stats()["connections"] == 1)
        assert {} == fallen(before, ws.stats())
    assert 5 == ws.stats()["requests"] == len(box.received)
    wait_until(lambda: all(left.join(0.0) for left in ws._leaving))
    ws.subscribe_candles("BTC_USDT", 1800).unsubscribe()
    ws.tick()  # the next one that goes makes those before it a sum
    box.wait_connections(1)
    assert (7, 7) == (ws.stats()["requests"], len(box.received))
    assert None is not ws.stats()["round_trip"]["p99"]


def test_endpoints():
    """The connections to all endpoints of an exchange are counted together."""
    with Sandbox("bybit-spot-v3", seed=5, tick=None, limits=False) as box, box.client() as ws:
        ws.subscribe("trade.BTCUSDT")
        one = ws.stats()
        ws.subscribe("order")
        two = ws.stats()
        assert (1, 2) == (one["connections"], two["connections"])
        assert len(box.received) == two["requests"] > one["requests"] > 0


def test_nothing_is_counted_twice(box, ws, monkeypatch):
    """Whoever looks while subscriptions come and go and connections are lost never sees a counter fall."""
    monkeypatch.setattr(client_module, "ENDED", 2)
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(ws.stats())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for round_ in range(20):
            try:
                trades = ws.subscribe("trades", "BTC_USDT", queue_size=1)
                box.step(2)
                ws.ping()
                if round_ % 5 == 0:
                    box.drop()
                trades.unsubscribe()
            except ExchangeError:  # the loss came in between
                continue
    finally:
        done.set()
        watcher.join(LIMIT_S)
    assert len(seen) > 20
    assert [] == [fall for fall in map(fallen, seen, seen[1:]) if fall]
    assert ws.stats()["dropped"] > 5
