"""The server: its life, what it shows to tests, its limits, and each fault."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest
import trustme
import websocket

from exchange_ws.errors import ConnectFailed, UpdateTimeout, UsageError
from exchange_ws.exchanges.whitebit.sandbox import WhiteBITExchange
from exchange_ws.sandbox import Sandbox, server

#: Seconds; reached only when something is broken.
LIMIT_S = 20.0
#: Seconds in which something is expected not to come.
QUIET_S = 0.1
#: Seconds without a message after which a connection is closed: longer than a busy machine may hold a thread up.
IDLE_S = 2.5


def close_frame(peer):
    """Code and reason with which the server closes."""
    opcode, data = peer.ws.recv_data()
    assert websocket.ABNF.OPCODE_CLOSE == opcode
    return struct.unpack("!H", data[:2])[0], data[2:].decode()


def assert_silent(peer):
    """Nothing comes, and nothing ends."""
    peer.ws.settimeout(QUIET_S)
    with pytest.raises(websocket.WebSocketTimeoutException):
        peer.ws.recv()
    peer.ws.settimeout(LIMIT_S)


def assert_reset(peer):
    """The connection ends by RST, without a close frame."""
    with pytest.raises(ConnectionResetError):
        peer.ws.recv()


# Life.


def test_life():
    """Constructed, it listens nowhere; started, it has addresses; stopped, it is gone for good."""
    box = Sandbox("whitebit")
    with pytest.raises(UsageError, match="before start"):
        _ = box.url
    with pytest.raises(UsageError, match="not running"):
        box.drop()
    box.stop()
    assert box is box.start() is box.start()
    host = "127.0.0.1"
    port, rest_port = (int(re.search(r"127\.0\.0\.1:(\d+)", url)[1]) for url in (box.url, box.rest_url))
    assert (f"ws://{host}:{port}/ws", f"http://{host}:{rest_port}") == (box.url, box.rest_url)
    box.stop()
    box.stop()
    for gone in (port, rest_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, gone), LIMIT_S)
    with pytest.raises(UsageError, match="not running"):
        box.step()
    with pytest.raises(UsageError, match="make a new one"):
        box.start()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"exchange": "nasdaq"}, r"exchange='nasdaq': takes one of .*whitebit"),
        ({"exchange": "whitebit", "tick": 0}, r"tick=0"),
        ({"exchange": "whitebit", "tick": -1}, r"tick=-1"),
        ({"exchange": "whitebit", "idle": 0}, r"idle=0"),
        ({"exchange": "whitebit", "token_lifetime": 0}, r"token_lifetime=0"),
        ({"exchange": "whitebit", "port": 70000}, r"port=70000"),
    ],
)
def test_wrong_arguments(arguments, said):
    """What makes no sense is refused at construction, by name."""
    with pytest.raises(UsageError, match=said):
        Sandbox(**arguments)


def test_taken_port():
    """A port in use is an error of `start`, and leaves no thread."""
    with Sandbox("whitebit") as box:
        other = Sandbox("whitebit", port=int(box.url.rpartition(":")[2].partition("/")[0]))
        with pytest.raises(ConnectFailed, match="cannot listen on 127.0.0.1"):
            other.start()
        other.stop()


def test_stop_closes_connections(dial):
    """A server that goes down says so, without waiting for its clients."""
    box = Sandbox("whitebit", tick=None).start()
    peer = dial(box.url)
    peer.result("ping")
    box.stop()
    assert (1001, "going away") == close_frame(peer)


def test_moves_by_itself(dial):
    """With a tick the market lives, and its time is ours."""
    with Sandbox("whitebit", tick=0.02) as box:
        peer = dial(box.url)
        peer.result("bookTicker_subscribe", "BTC_USDT")
        for _ in range(5):
            ((_, sent, *_),) = peer.read()["params"]
            assert abs(sent - time.time()) < LIMIT_S
        assert abs(peer.result("time") - time.time()) < LIMIT_S


def test_tls(dial):
    """``wss://`` with the caller's certificate; faults work on it too."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with Sandbox("whitebit", tick=None, tls=server) as box:
        assert box.url.startswith("wss://127.0.0.1:") and box.rest_url.startswith("https://")
        peer = dial(box.url, sslopt={"context": client})
        assert "pong" == peer.result("ping")
        box.freeze()
        peer.send("ping")
        assert_silent(peer)
        box.thaw()
        assert "pong" == peer.read()["result"]
        box.drop()
        with pytest.raises((ConnectionResetError, ssl.SSLError, websocket.WebSocketConnectionClosedException)):
            peer.ws.recv()


def test_other_paths(box, dial):
    """Only the exchange's endpoint is served."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        dial(box.url + "s")
    assert 404 == caught.value.status_code


# What it shows.


def test_received(box, dial):
    """Messages of all connections, parsed, in order; waiting for one by method or predicate."""
    one, other = dial(box.url), dial(box.url)
    one.result("ping")
    other.result("time")
    one.result("ping")
    assert ["ping", "time", "ping"] == [message["method"] for message in box.received]
    assert [{"id": 1, "method": "time", "params": []}] == box.wait_received("time")
    assert [1, 2] == [message["id"] for message in box.wait_received("ping", 2)]
    assert 2 == len(box.wait_received(lambda message: message["id"] == 1, count=2))
    with pytest.raises(UpdateTimeout, match=r"saw 2 of 3 messages 'ping', 3 in all within 0\.05 s"):
        box.wait_received("ping", 3, timeout=0.05)


def test_connections(box, dial):
    """The count of open connections, and waiting for it."""
    assert 0 == box.connections
    one, _ = dial(box.url), dial(box.url)
    box.wait_connections(2)
    one.ws.close()
    box.wait_connections(1)
    assert 1 == box.connections
    with pytest.raises(UpdateTimeout, match="1 connections, not 2"):
        box.wait_connections(2, timeout=0.05)


def test_push(box, dial):
    """Any text, to everyone."""
    peers = [dial(box.url), dial(box.url)]
    box.wait_connections(2)
    box.push('{"any":"thing"}')
    assert [{"any": "thing"}] * 2 == [peer.read() for peer in peers]


def test_step_hands_over(box, dial):
    """When `step` returns, what it caused is on its way before any later answer."""
    peer = dial(box.url)
    peer.result("market_subscribe", "BTC_USDT")
    box.step(1200)
    assert 120 == len(peer.take("market"))


@pytest.mark.parametrize(
    ("exchange", "symbol", "topic", "params"),
    [
        ("whitebit", "BTC_USDT", ("trades", "BTC_USDT"), {}),
        ("bybit-spot-v3", "BTCUSDT", ("trade.BTCUSDT",), {}),
        ("bitzoom", "BTCUSDT", ("/api/v1/trades",), {"symbol": "BTCUSDT", "limit": 50}),
    ],
)
def test_trade(exchange, symbol, topic, params):
    """It is the last trade of one step, at the price and size that were told, by the exchange's name of the market."""
    with Sandbox(exchange, tick=None) as box, box.client() as ws:
        trades = ws.subscribe(*topic, **params)
        before = box.markets.now_us
        box.trade(symbol, "buy", "70000", "0.5")
        box.trade(symbol, "sell", 60000, Decimal("0.25"))
        box.step(10)  # Bitzoom tells of them each second
        assert 12 * server.MANUAL_STEP_US == box.markets.now_us - before
        told = []
        while ("sell", 60000, Decimal("0.25")) not in told:
            trade = trades.get(LIMIT_S)
            told.append((trade.side, trade.price, trade.size))
        assert ("buy", 70000, Decimal("0.5")) in told


def test_trade_fills_what_rests(box, dial):
    """Orders of the account in its reach share its size; the others rest on."""
    peer = dial(box.url)
    peer.result("authorize", box.token, "public")
    peer.result("deals_subscribe", ["BTC_USDT"])
    for price in ("60000", "59000", "58000"):
        peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": price})
    box.trade("BTC_USDT", "sell", "59000", "0.015")
    assert [("60000", "0.01"), ("59000", "0.005")] == [tuple(params[4:6]) for params in peer.take("deals")]
    rest = peer.result("ordersPending_request", "BTC_USDT", 0, 100)["records"]
    assert {"59000": "0.005", "58000": "0.01"} == {order["price"]: order["left"] for order in rest}


# Limits.


def test_request_limit(dial):
    """The 201st request within a minute gets code 7, pings counted; each connection has its own count."""
    with Sandbox("whitebit", tick=None) as box:
        peer, other = dial(box.url), dial(box.url)
        for number in range(200):
            assert "pong" == peer.result("ping"), number
        expected = {"code": 7, "message": "too many requests"}
        assert expected == peer.ask("time")["error"] == peer.ask("ping")["error"]
        assert "pong" == other.result("ping")


def test_no_limits(box, dial):
    """`limits=False` takes any number."""
    peer = dial(box.url)
    for _ in range(250):
        peer.result("ping")


def test_dial_limit(dial, monkeypatch):
    """Beyond the number of new connections a minute a handshake gets HTTP 429."""
    assert (1000, 60.0) == WhiteBITExchange.dials
    monkeypatch.setattr(WhiteBITExchange, "dials", (2, 60.0))
    with Sandbox("whitebit", tick=None) as box:
        dial(box.url)
        dial(box.url)
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            dial(box.url)
        assert 429 == caught.value.status_code


def test_idle(dial):
    """A connection on which the client says nothing is closed, whatever flows the other way."""
    assert 60.0 == WhiteBITExchange.idle_s
    with Sandbox("whitebit", tick=0.05, idle=IDLE_S) as box:
        peer = dial(box.url)
        asked = time.monotonic()
        peer.send("trades_subscribe", "BTC_USDT")
        while True:
            opcode, data = peer.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                break
        assert 1000 == struct.unpack("!H", data[:2])[0]
        assert IDLE_S - 0.01 < time.monotonic() - asked < LIMIT_S


def test_not_idle(dial):
    """Messages keep a connection open beyond the limit."""
    with Sandbox("whitebit", tick=0.2, idle=IDLE_S) as box:
        peer = dial(box.url)
        peer.result("lastprice_subscribe", "BTC_USDT", "ETH_USDT")
        end = time.monotonic() + IDLE_S + 0.3
        while time.monotonic() < end:
            peer.read()  # in step with the markets, which do not wait for the client
            assert "pong" == peer.result("ping")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"\\ud800"', '{"id":NaN}'], ids=lambda text: text[:10])
def test_invalid_json(box, dial, text):
    """Text that is not JSON, or too deep to be read, closes the connection at once; others live."""
    peer, other = dial(box.url), dial(box.url)
    peer.ws.send(text)
    assert (1007, "invalid JSON") == close_frame(peer)
    assert "pong" == other.result("ping")


# Faults.


def test_drop(box, dial):
    """Every connection is reset when the call returns; new ones are welcome, with no subscriptions."""
    peers = [dial(box.url), dial(box.url)]
    for peer in peers:
        peer.result("trades_subscribe", "BTC_USDT")
        peer.take()
    box.drop()
    assert 0 == box.connections
    for peer in peers:
        assert_reset(peer)
    again = dial(box.url)
    box.step(20)
    assert [] == again.take()


def test_freeze_and_thaw(box, dial):
    """Frozen: no answer, no push, not even a pong, but the connection stays. Then all goes on, with no hole in the trades."""
    peer = dial(box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    ((_, snapshot),) = peer.take("trades")
    box.freeze()
    number = peer.send("time")
    peer.ws.ping()
    box.step(30)
    box.push("{}")
    assert_silent(peer)
    assert "pong" == dial(box.url).result("ping"), "a new connection is not frozen"
    box.thaw()
    assert number == peer.read()["id"]
    box.step()
    live = [trade for _, trades in peer.take("trades") for trade in reversed(trades)]
    assert peer.result("trades_request", "BTC_USDT", 100, snapshot[0]["id"]) == live[::-1]


def test_frozen_connections_end(box, dial):
    """A frozen connection can be dropped, and does not hold up the end."""
    peer = dial(box.url)
    peer.result("ping")
    box.freeze()
    peer.send("ping")
    box.drop()
    assert_reset(peer)
    last = dial(box.url)
    last.result("ping")
    box.freeze()
    box.stop()
    assert_reset(last)


def test_freeze_stops_the_idle_clock(dial):
    """A frozen server does not close anything; after the thaw it does."""
    with Sandbox("whitebit", tick=None, idle=IDLE_S) as box:
        peer = dial(box.url)
        peer.result("ping")
        box.freeze()
        peer.ws.settimeout(IDLE_S + 0.2)
        with pytest.raises(websocket.WebSocketTimeoutException):
            peer.ws.recv()
        peer.ws.settimeout(LIMIT_S)
        box.thaw()
        assert (1000, "") == close_frame(peer)


def test_close(box, dial):
    """A close frame with the code and reason that were asked for."""
    peer = dial(box.url)
    peer.result("ping")
    box.close(4001, "maintenance")
    assert (4001, "maintenance") == close_frame(peer)
    peer.ws.shutdown()
    box.wait_connections(0)


def test_close_without_answer(box, dial):
    """A client that does not answer the close frame is cut off."""
    peer = dial(box.url)
    peer.result("ping")
    box.close()
    box.wait_connections(0)


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("close", (5,), r"code=5: takes a code that a close frame may have: 1000 to 1003, 1007 to 1014, 3000 to 4999"),
        ("close", (1005,), r"code=1005: takes a code"),
        ("close", (5000,), r"code=5000: takes a code"),
        ("close", ("1000",), r"code='1000': takes a code"),
        ("close", (1000, "x" * 124), r"reason='x+': takes text of at most 123 bytes"),
        ("reject", ("x",), r"next='x': takes a whole number of 1 or more"),
        ("reject", (0,), r"next=0: takes a whole number of 1 or more"),
        ("reject", (1, [3]), r"code=\[3\]: takes a whole number or text"),
        ("reject", (1, 3, 4), r"message=4: takes text"),
        ("refuse", (1, 5), r"status=5: takes an HTTP status from 300 to 511"),
        ("refuse", (1, 101), r"status=101: takes an HTTP status"),
        ("refuse", (-1,), r"next=-1: takes a whole number of 1 or more"),
        ("step", (-1,), r"n=-1: takes a whole number of 0 or more"),
        ("step", (1.5,), r"n=1\.5: takes a whole number of 0 or more"),
        ("reorder", (True,), r"n=True: takes a whole number of 0 or more"),
        ("delay", (-1,), r"seconds=-1: takes seconds"),
        ("delay", (None,), r"seconds=None: takes seconds, a finite number of 0 or more"),
        ("restart", (float("inf"),), r"seconds=inf: takes seconds"),
        ("garbage", (5,), r"text=5: takes the text of a message"),
        ("push", (b"x",), r"text=b'x': takes the text of a message"),
        ("trade", ("BTCUSDT", "buy", 1, 1), r"symbol='BTCUSDT': takes one of BTC_USDT, "),
        ("trade", ("BTC_USDT", "bid", 1, 1), r"side='bid': takes 'buy' or 'sell'"),
        ("trade", ("BTC_USDT", "buy", 60000.5, 1), r"price=60000\.5: takes a multiple of 0\.01, 24\.00 or more"),
        ("trade", ("BTC_USDT", "buy", "60000.005", 1), r"price='60000\.005': takes a multiple of 0\.01"),
        ("trade", ("BTC_USDT", "buy", "much", 1), r"price='much': takes a multiple"),
        ("trade", ("BTC_USDT", "buy", "NaN", 1), r"price='NaN': takes a multiple"),
        ("trade", ("BTC_USDT", "buy", True, 1), r"price=True: takes a multiple"),
        ("trade", ("BTC_USDT", "buy", 23, 1), r"price=23: takes a multiple of 0\.01, 24\.00 or more"),
        ("trade", ("BTC_USDT", "buy", 60000, 0), r"size=0: takes a multiple of 0\.000001, 0\.000001 or more"),
    ],
)
def test_senseless_faults(still_box, method, arguments, said):
    """What no fault can be made of is refused on the caller's thread, with what it takes, though nobody is connected."""
    with pytest.raises(UsageError, match=said):
        getattr(still_box, method)(*arguments)


def test_reject(box, dial):
    """The next requests, however many connections they come on, get the error and do nothing."""
    peer, other = dial(box.url), dial(box.url)
    box.reject(2, code=2)
    box.reject(code=99, message="as you like")
    assert {"code": 2, "message": "internal error"} == peer.ask("trades_subscribe", "BTC_USDT")["error"]
    assert {"code": 2, "message": "internal error"} == other.ask("ping")["error"]
    assert {"code": 99, "message": "as you like"} == peer.ask("ping")["error"]
    box.step(20)
    assert [] == peer.take()
    box.reject()
    assert {"code": 1, "message": "invalid argument"} == peer.ask("ping")["error"]


def test_delay(box, dial):
    """Answers wait, in order, and pushes overtake them; 0 ends it."""
    peer = dial(box.url)
    box.delay(0.1)
    began = time.monotonic()
    numbers = [peer.send("trades_subscribe", "BTC_USDT"), peer.send("ping")]
    messages = [peer.read() for _ in range(3)]
    assert 0.1 <= time.monotonic() - began < LIMIT_S
    assert [None, *numbers] == [message["id"] for message in messages]
    box.delay(0)
    assert "pong" == peer.result("ping")


def test_garbage(box, dial):
    """Not JSON; or what was asked for."""
    peer = dial(box.url)
    peer.result("ping")
    box.garbage()
    with pytest.raises(json.JSONDecodeError):
        peer.read()
    box.garbage('{"hello":1}')
    assert {"hello": 1} == peer.read()
    assert "pong" == peer.result("ping")


def test_split(box, dial):
    """Messages come in fragments and are whole; switched off, in one frame."""
    peer = dial(box.url)
    box.split()
    peer.send("trades_subscribe", "BTC_USDT")
    frames = [peer.ws.recv_frame() for _ in range(6)]
    text, continuation = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_CONT
    assert [(text, 0), (continuation, 0), (continuation, 1)] * 2 == [(frame.opcode, frame.fin) for frame in frames]
    update = json.loads(b"".join(frame.data for frame in frames[3:]))
    assert (100, "BTC_USDT") == (len(update["params"][1]), update["params"][0])
    box.split(False)
    peer.send("ping")
    assert (text, 1) == (lambda frame: (frame.opcode, frame.fin))(peer.ws.recv_frame())


def test_forget_subscriptions(box, dial):
    """Nothing comes any more, and nothing is said; subscribing again helps."""
    peer = dial(box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    peer.result("depth_subscribe", "BTC_USDT", 10, "0", True)
    peer.take()
    box.forget_subscriptions()
    box.step(20)
    assert [] == peer.take()
    peer.result("trades_subscribe", "BTC_USDT")
    assert 1 == len(peer.take())


def test_books_without_numbers(still_box):
    """Where books have no numbers, none is lost, and none begins anew."""
    for method in ("lose_book_updates", "restart_books"):
        with pytest.raises(UsageError, match="whitebit has no books that are numbered"):
            getattr(still_box, method)()


def test_books_with_numbers():
    """One update of a book is lost with its number; a book that begins anew comes whole, with number one."""
    with Sandbox("bybit-v5", seed=5, tick=None) as box:
        peer = websocket.create_connection(box.url, timeout=LIMIT_S)
        peer.send('{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}')
        assert json.loads(peer.recv())["success"]
        numbers = []
        for act in (lambda: None, box.lose_book_updates, box.restart_books):
            act()
            box.step(20)
            peer.send('{"op":"ping"}')
            while "topic" in (message := json.loads(peer.recv())):
                numbers.append(message["data"]["u"])
        begin = numbers.index(1)
        steps = [after - before for before, after in zip(numbers[:begin], numbers[1:begin])]
        assert {1: len(steps) - 1, 2: 1} == Counter(steps)
        assert list(range(1, len(numbers) - begin + 1)) == numbers[begin:]
        peer.shutdown()


def test_restart(box, dial):
    """Everyone is reset, and the same address works again when the call returns."""
    url, peer = box.url, dial(box.url)
    box.restart()
    assert_reset(peer)
    assert (url, "pong") == (box.url, dial(url).result("ping"))


def test_restart_later(box, dial):
    """Until the time is over, nobody listens; the market is still the same one."""
    peer = dial(box.url)
    before = peer.result("trades_request", "BTC_USDT", 1, 0)
    box.restart(LIMIT_S)
    with pytest.raises(ConnectionRefusedError):
        dial(box.url)
    box.restart(0.05)
    again = None
    end = time.monotonic() + LIMIT_S
    while again is None and time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            again = dial(box.url)
    assert before == again.result("trades_request", "BTC_USDT", 1, 0)


def test_restarts_that_overlap(box, dial, monkeypatch):
    """A restart while another one comes to listen again takes its place, and one server listens afterwards."""
    shut = server.Sandbox._shut

    async def until_due(box, end):
        await shut(box, end)
        box._listen_again()
        await asyncio.sleep(0)

    box.restart(LIMIT_S)
    with monkeypatch.context() as patch:
        patch.setattr(server.Sandbox, "_shut", until_due)
        box.restart()
    assert "pong" == dial(box.url).result("ping")


def test_restart_while_clients_dial(box):
    """Whoever dials at the wrong moment is refused or reset, never left on a socket that nobody serves."""
    over = threading.Event()
    silent = []

    def dial_on():
        while not over.is_set():
            try:
                websocket.create_connection(box.url, timeout=LIMIT_S).shutdown()
            except websocket.WebSocketTimeoutException as error:
                silent.append(error)
            except (OSError, websocket.WebSocketException):
                pass  # refused, reset, or 503: as it should be

    threads = [threading.Thread(target=dial_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        box.restart()
    over.set()
    for thread in threads:
        thread.join(LIMIT_S)
    gc.collect()  # a socket left behind tells of itself when it is collected: a warning, hence an error
    assert [] == silent


def test_stop_during_a_restart(box):
    """The end does not wait for a server that is to come back."""
    box.restart(60)
    box.stop()


def test_reorder(box, dial):
    """Answers are held until there are enough, and come in reverse; then all is as before."""
    peer = dial(box.url)
    peer.result("ping")
    box.reorder(3)
    numbers = [peer.send("time") for _ in range(2)]
    assert_silent(peer)
    numbers.append(peer.send("time"))
    assert numbers[::-1] == [peer.read()["id"] for _ in numbers]
    assert "pong" == peer.result("ping")
    box.reorder(5)
    number = peer.send("ping")
    assert number == box.wait_received(lambda message: message["id"] == number)[0]["id"]
    box.reorder(0)
    assert number == peer.read()["id"]


def test_refuse(box, dial):
    """The next handshakes get the HTTP status and headers; the one after them succeeds."""
    box.refuse(2, status=429, headers=[("Retry-After", "7")])
    for _ in range(2):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            dial(box.url)
        assert (429, "7") == (caught.value.status_code, caught.value.resp_headers["retry-after"])
    assert "pong" == dial(box.url).result("ping")
