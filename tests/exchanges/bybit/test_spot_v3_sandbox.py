"""The sandbox's Bybit spot v3, looked at with a client that shares nothing with ours."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal

import pytest
import websocket

from exchange_ws.exchanges.bybit.sandbox import PRIVATE_TOPICS, SPANS, SpotV3Public
from exchange_ws.sandbox import Sandbox

#: Seconds for one read; reached only when something is broken.
PATIENCE_S = 20.0
PUBLIC, PRIVATE = "/spot/public/v3", "/spot/private/v3"
EPOCH_MS = 1_700_000_000_000  # of markets that are moved by hand
PAIRS = {"BTCUSDT": ("BTC", "USDT"), "ETHBTC": ("ETH", "BTC"), "XRPUSDT": ("XRP", "USDT"), "DBTCDUSDT": ("DBTC", "DUSDT")}


class Bybit:
    """One connection by websocket-client; `pushes` are those that came before the last answer."""

    def __init__(self, box, path):
        self.box = box
        self.ws = websocket.create_connection(box.rest_url.replace("http", "ws", 1) + path, timeout=PATIENCE_S)
        self.pushes = []

    def read(self):
        return json.loads(self.ws.recv())

    def ask(self, op, args=None, req_id="7"):
        """Send a request and read on to its answer."""
        message = {"req_id": req_id, "op": op, "args": args}
        self.ws.send(json.dumps({key: value for key, value in message.items() if value is not None}))
        while True:
            message = self.read()
            if "topic" not in message:
                return message
            self.pushes.append(message)

    def good(self, op, *args):
        assert self.ask(op, list(args))["success"] is True

    def login(self):
        self.good("auth", *credentials(self.box))
        return self

    def take(self):
        """All pushes sent until now."""
        self.ask("ping")
        pushes, self.pushes = self.pushes, []
        return pushes


def credentials(box, *, key=None, secret=None, expires=EPOCH_MS + 3_600_000):
    """The arguments of a login."""
    message = f"GET/realtime{expires}".encode()
    signature = hmac.new((secret or box.api_secret).encode(), message, hashlib.sha256).hexdigest()
    return [key or box.api_key, expires, signature]


@pytest.fixture
def box():
    with Sandbox("bybit-spot-v3", seed=5, tick=None) as box:
        yield box


@pytest.fixture
def dial(box):
    peers = []

    def dial(path=PUBLIC):
        peers.append(Bybit(box, path))
        return peers[-1]

    yield dial
    for peer in peers:
        peer.ws.shutdown()


@pytest.fixture
def public(dial):
    return dial()


@pytest.fixture
def private(dial):
    return dial(PRIVATE).login()


def market(box, symbol):
    """The market behind a spot symbol."""
    for found in box.markets.markets:
        what = found.instrument
        if (what.base, what.quote) == PAIRS[symbol] and not what.perpetual:
            return found
    raise LookupError(symbol)


def numbers(value):
    return tuple(tuple(map(Decimal, level)) for level in value)


# Connections -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ws", "/spot/public/v2", "/spot/public/v3/", "/v5/public/spot"])
def test_two_paths(box, dial, path):
    """There are exactly two endpoints."""
    assert dial(PUBLIC).ask("ping")["op"] == dial(PRIVATE).ask("ping")["op"] == "pong"
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Bybit(box, path)
    assert 404 == caught.value.status_code


def test_connections_are_limited_by_endpoint(monkeypatch, dial):
    """New connections are counted for each endpoint by itself."""
    assert (500, 300.0) == SpotV3Public.dials
    monkeypatch.setattr(SpotV3Public, "dials", (2, 300.0))
    for _ in range(2):
        dial(PUBLIC)
        dial(PRIVATE)
    dial(PRIVATE)
    with pytest.raises(websocket.WebSocketBadStatusException):
        dial(PUBLIC)


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE])
def test_idle_connection_is_dropped(path):
    """A silent client loses its TCP connection, without a close frame."""
    with Sandbox("bybit-spot-v3", idle=1.0) as box:  # enough for the handshake on a busy machine
        peer = Bybit(box, path)
        with pytest.raises(ConnectionResetError):
            peer.ws.recv()
        peer.ws.shutdown()
    assert 600.0 == SpotV3Public.idle_s


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE])
def test_pong(dial, path):
    """A pong has the server's time as a number, and `req_id` only if the ping had one."""
    peer = dial(path)
    pong = peer.ask("ping")
    assert (["op", "args", "req_id", "conn_id"], [EPOCH_MS], "7") == (list(pong), pong["args"], pong["req_id"])
    assert ["op", "args", "conn_id"] == list(peer.ask("ping", req_id=None))
    assert "12" == peer.ask("ping", req_id=12)["req_id"]


def test_conn_ids(dial):
    """One a connection: 8 hex digits at the public endpoint, four or more parts at the private one."""
    ids = [dial(path).ask("ping")["conn_id"] for path in (PUBLIC, PUBLIC, PRIVATE)]
    assert (3, [8, 8], 5) == (len(set(ids)), [len(name) for name in ids[:2]], len(ids[2].split("-")))


def test_acks(public, private):
    """Keys, and what `ret_msg` says, differ between the endpoints."""
    said = [public.ask(op, ["trade.BTCUSDT"]) for op in ("subscribe", "unsubscribe")]
    conn_id = public.ask("ping")["conn_id"]
    assert [
        {"op": op, "success": True, "req_id": "7", "ret_msg": op, "conn_id": conn_id} for op in ("subscribe", "unsubscribe")
    ] == said
    assert ["op", "success", "req_id", "ret_msg", "conn_id"] == list(said[0])
    said = private.ask("subscribe", ["order"])
    assert ["success", "ret_msg", "conn_id", "req_id", "op"] == list(said)
    assert (True, "", "subscribe") == (said["success"], said["ret_msg"], said["op"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["trade.NOSUCH"], "Invalid symbol :[trade.NOSUCH]"),
        (["trade.BTCUSDT", "trade.btcusdt", "trade.NOSUCH"], "Invalid symbol :[trade.btcusdt]"),
        (["kline.2m.BTCUSDT"], "Invalid symbol :[kline.2m.BTCUSDT]"),
        (["orderbook.50.BTCUSDT"], "Invalid symbol :[orderbook.50.BTCUSDT]"),
        (["orderbook.BTCUSDT"], "Invalid symbol :[orderbook.BTCUSDT]"),
        (["trade.BTCUSDT.x"], "Invalid symbol :[trade.BTCUSDT.x]"),
        (["order"], "Invalid symbol :[order]"),
        ([None], "Invalid symbol :[None]"),
        ([{}], "Invalid symbol :[{}]"),
        (["trade.BTCUSDT"] * 11, "args size >10"),
    ],
)
def test_refused_subscribe(box, public, args, says):
    """`success` is false, the reason names the first bad topic, and nothing of it is subscribed."""
    for op in ("subscribe", "unsubscribe"):
        said = public.ask(op, args)
        assert (op, False, "7", says) == (said["op"], said["success"], said["req_id"], said["ret_msg"])
    box.step(50)
    assert [] == public.take()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "12801"),
        ('{"op":"auth","args":[]}', "12802"),
        ('{"op":"greet"}', "12802"),
        ("{}", "12803"),
        ("[]", "12803"),
        ('{"op":"subscribe"}', "12805"),
        ('{"op":"subscribe","args":[]}', "12805"),
        ('{"op":"subscribe","args":"order"}', "12805"),
    ],
)
def test_errors(public, text, code):
    """What cannot be understood is refused with a documented code, as text, and without `req_id`."""
    public.ws.send(text)
    said = public.read()
    assert (["ret_code", "type", "ret_msg"], code, "error") == (list(said), said["ret_code"], said["type"])
    assert "pong" == public.ask("ping")["op"]


def test_escapes(public):
    """`>` is sent escaped."""
    public.ws.send(json.dumps({"op": "subscribe", "args": ["x"] * 11}))
    assert r"args size \u003e10" in public.ws.recv()


# Login -----------------------------------------------------------------------------------------------------------------------


def test_login(box, dial):
    """`expires` may be a number or text; a second login is as good as the first."""
    peer = dial(PRIVATE)
    said = peer.ask("auth", credentials(box))
    assert ["success", "ret_msg", "conn_id", "req_id", "op"] == list(said)
    assert (True, "", "7", "auth") == (said["success"], said["ret_msg"], said["req_id"], said["op"])
    peer.good("auth", *credentials(box, expires=str(EPOCH_MS + 1)))
    peer.good("subscribe", *PRIVATE_TOPICS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "another"},
        {"secret": "another"},
        {"expires": EPOCH_MS},
        {"expires": EPOCH_MS - 60_000},
        {"expires": "soon"},
        {"expires": "٣" * 13},
        {"expires": -EPOCH_MS * 2},
    ],
)
def test_wrong_login(box, dial, wrong):
    """A wrong key or secret, and an `expires` that is over by the server's clock, get the one code; nothing is pushed."""
    peer = dial(PRIVATE)
    said = peer.ask("auth", credentials(box, **wrong))
    assert ({"ret_code", "type", "ret_msg"}, "10003", "error") == (set(said), said["ret_code"], said["type"])
    assert "-1004" == peer.ask("subscribe", ["order"])["ret_code"]
    box.step(50)
    assert [] == peer.take()
    assert peer.login().ask("subscribe", ["order"])["success"]


@pytest.mark.parametrize("args", [None, [], ["key"], [1, 2, 3, 4], [None, None, None], ["key", EPOCH_MS + 1000, "é"], "key"])
def test_malformed_login(dial, args):
    """A login of another shape is refused like a wrong one."""
    assert "10003" == dial(PRIVATE).ask("auth", args)["ret_code"]


def test_vector(box, dial):
    """The signature is the one of the known example."""
    known = "5e1a6810262f270b783cf759f856aadee413643be3c03d0fb89dd22261e41df0"
    assert known == credentials(box, secret="test-secret", expires=1700000000000)[2]


def test_rejections(box, dial):
    """`reject` refuses a login in the shape of logins, with the code that it is told, and a subscribe in its own."""
    peer = dial(PRIVATE)
    box.reject()
    box.reject(code=33004)
    assert ["10003", "33004"] == [peer.ask("auth", credentials(box))["ret_code"] for _ in range(2)]
    peer.login()
    box.reject(message="no")
    said = peer.ask("subscribe", ["order"])
    assert (False, "no") == (said["success"], said["ret_msg"])


# Public topics ---------------------------------------------------------------------------------------------------------------


def pushed(box, peer, topic, steps=60):
    """What comes of a topic, after it was looked at that nothing comes because of the subscribe."""
    peer.good("subscribe", topic)
    assert [] == peer.take()
    box.step(steps)
    found = peer.take()
    assert {topic} == {push["topic"] for push in found}
    assert {"snapshot"} == {push["type"] for push in found}
    assert all(type(push["ts"]) is int and type(push["data"]) is dict for push in found)
    return found


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHBTC"])
def test_trades(box, public, symbol):
    """One message a trade, just those of the market; `m` is whether the buyer took."""
    last = market(box, symbol).trades[-1].id
    pushes = pushed(box, public, f"trade.{symbol}")
    expected = [
        (trade.time_us // 1000, trade.price, trade.size, trade.side == "buy", "0")
        for trade in reversed(market(box, symbol).trades_after(last))
    ]
    assert expected
    got = [push["data"] for push in pushes]
    assert expected == [(row["t"], Decimal(row["p"]), Decimal(row["q"]), row["m"], row["type"]) for row in got]
    assert {("v", "t", "p", "q", "m", "type")} == {tuple(row) for row in got}
    ids = [int(row["v"]) for row in got]
    assert ids == sorted(set(ids))


def test_trade_ids_are_shared(box, public):
    """Ids are handed out over all symbols."""
    public.good("subscribe", "trade.BTCUSDT", "trade.XRPUSDT")
    box.step(100)
    ids = [push["data"]["v"] for push in public.take()]
    assert len(ids) == len(set(ids)) > 50


def test_orderbook(box, public):
    """The whole best 40 of each side, whenever they changed, not else."""
    public.good("subscribe", "orderbook.40.DBTCDUSDT", "orderbook.40.BTCUSDT")
    for _ in range(20):
        before = {symbol: market(box, symbol).book(40) for symbol in ("DBTCDUSDT", "BTCUSDT")}
        box.step()
        got = {push["data"]["s"]: push["data"] for push in public.take()}
        after = {symbol: market(box, symbol).book(40) for symbol in before}
        assert {symbol for symbol in before if before[symbol] != after[symbol]} == set(got)
        for symbol, data in got.items():
            assert ("s", "t", "b", "a") == tuple(data)
            assert data["t"] == market(box, symbol).book_us // 1000
            bids, asks = after[symbol]
            assert (tuple(bids.items()), tuple(asks.items())) == (numbers(data["b"]), numbers(data["a"]))
            assert 40 == len(data["b"]) == len(data["a"])


def test_bookticker(box, public):
    """The best of both sides, whenever it changed."""
    public.good("subscribe", "bookticker.BTCUSDT")
    for _ in range(20):
        before = market(box, "BTCUSDT").top
        box.step()
        top = market(box, "BTCUSDT").top
        got = [push["data"] for push in public.take()]
        best = [(top.bid, top.bid_size, top.ask, top.ask_size)] if top != before else []
        assert best == [tuple(Decimal(row[key]) for key in ("bp", "bq", "ap", "aq")) for row in got]
        assert all(("s", "bp", "bq", "ap", "aq", "t") == tuple(row) for row in got)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHBTC"])
def test_tickers(box, public, symbol):
    """The last 24 hours, after each step with a trade."""
    data = pushed(box, public, f"tickers.{symbol}")[-1]["data"]
    day = market(box, symbol).statistics(box.markets.now_us // 1_000_000 - 86400)
    expected = (day.last, day.high, day.low, day.volume, day.quote_volume)
    assert ["t", "s", "c", "h", "l", "o", "v", "qv", "m", "xp"] == list(data)
    assert expected == tuple(Decimal(data[key]) for key in ("c", "h", "l", "v", "qv"))
    assert round((day.last - day.open) / day.open, 4) == Decimal(data["m"])
    assert (symbol == "BTCUSDT") == (data["xp"] != "")


@pytest.fixture(scope="module")
def klines():
    """All candles of more than a minute, by interval, and the market that they are of."""
    with Sandbox("bybit-spot-v3", seed=5, tick=None) as box:
        peer = Bybit(box, PUBLIC)
        names = [f"kline.{interval}.BTCUSDT" for interval in SPANS]
        peer.good("subscribe", *names[:10])
        peer.good("subscribe", *names[10:])
        assert [] == peer.take()
        box.step(700)
        pushes = peer.take()
        peer.ws.shutdown()
    found = {}
    for push in pushes:
        found.setdefault(push["topic"].split(".")[1], []).append(push["data"])
    return found, market(box, "BTCUSDT")


@pytest.mark.parametrize("interval", SPANS)
def test_klines(klines, interval):
    """Each candle is the market's; the last word on one comes before the next; weeks begin on Monday, months on the first."""
    found, traded = klines
    rows = found[interval]
    starts = list(dict.fromkeys(row["t"] // 1000 for row in rows))
    assert {("t", "s", "c", "h", "l", "o", "v")} == {tuple(row) for row in rows}
    assert starts == sorted(starts)
    assert (interval == "1m") == (len(starts) > 1)
    for start in starts:
        begun = datetime.fromtimestamp(start, timezone.utc)
        if interval in ("1w", "1M"):
            assert (0, 0, 0) == (begun.hour, begun.minute, begun.weekday() if interval == "1w" else begun.day - 1)
            end = start + 40 * 86400
        else:
            assert 0 == start % SPANS[interval]
            end = start + SPANS[interval]
        final = [row for row in rows if row["t"] == start * 1000][-1]
        parts = [candle for candle in traded.candles(60, start, end - 1) if candle.volume]
        expected = (parts[0].open, max(part.high for part in parts), min(part.low for part in parts), parts[-1].close)
        assert expected == tuple(Decimal(final[key]) for key in ("o", "h", "l", "c"))
        assert sum(part.volume for part in parts) == Decimal(final["v"])


def test_unsubscribe(box, public):
    """After the ack nothing more comes of what was left, and everything of the rest; repeating either is no mistake."""
    public.good("subscribe", "trade.BTCUSDT", "trade.ETHUSDT")
    public.good("subscribe", "trade.BTCUSDT")
    public.good("unsubscribe", "trade.BTCUSDT")
    public.good("unsubscribe", "trade.BTCUSDT")
    box.step(30)
    assert {"trade.ETHUSDT"} == {push["topic"] for push in public.take()}
    box.forget_subscriptions()
    box.step(30)
    assert [] == public.take()


def test_orders_of_keys(box, dial):
    """Public updates come with their keys in three orders: two of 2023, one of 2022."""
    seen = set()
    for _ in range(10):
        peer = dial()
        peer.good("subscribe", "trade.BTCUSDT", "kline.1m.BTCUSDT")
        box.step(10)
        seen |= {tuple(push) for push in peer.take()}
    assert {
        ("topic", "ts", "type", "data"),
        ("type", "topic", "data", "ts"),
        ("data", "type", "topic", "ts"),
    } == seen


# Private topics --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def story():
    """Records of all private topics over some minutes, with their topics."""
    pushes = []
    with Sandbox("bybit-spot-v3", seed=5, tick=None) as box:
        peer = Bybit(box, PRIVATE).login()
        peer.good("subscribe", *PRIVATE_TOPICS)
        assert [] == peer.take()
        for _ in range(20):
            box.step(100)
            pushes += peer.take()
        peer.ws.shutdown()
    assert {("type", "topic", "ts", "data")} == {tuple(push) for push in pushes}
    assert all(type(push["ts"]) is str and type(push["data"]) is list for push in pushes)
    assert set(PRIVATE_TOPICS) == {push["topic"] for push in pushes}
    return [(push["topic"], record) for push in pushes for record in push["data"]]


def test_fields(story):
    """Records have the documented fields in their order; an order without a fill has no trade id."""
    fields = {
        "outboundAccountInfo": "e E T W D B",
        "ticketInfo": "e E s q t p T o c O a A m S b",
        "stopOrder": "e E s c S o f q p X i T t C qp eo ti si tp",
        "order": "e E s c S o f q p X i M l z L n N u w m O Z A C v d t sg st ct so b",
    }
    for topic, record in story:
        expected = fields[topic].split()
        if topic == "order" and record["z"] == "0":
            expected.remove("t")
        assert expected == list(record)
        assert topic == record["e"]
        odd = {key: value for key, value in record.items() if not isinstance(value, str)}
        assert set(odd) == {"outboundAccountInfo": {*"TWDB"}, "ticketInfo": {"m"}, "stopOrder": set()}.get(
            topic, {"u", "w", "m", "C", "sg"}
        )


def test_fills_and_orders_agree(story):
    """Each fill comes before the order's push that tells of it; what is filled adds up; ends are ends."""
    orders, fills = {}, []
    ended = set()
    for topic, record in story:
        if topic == "ticketInfo":
            fills.append(record)
        elif topic == "order":
            assert record["i"] not in ended
            before = orders.get(record["i"])
            filled = Decimal(record["z"]) - Decimal("0" if before is None else before["z"])
            if filled:
                fill = fills.pop(0)
                assert (record["i"], record["t"], record["L"], record["l"]) == (fill["o"], fill["T"], fill["p"], fill["q"])
                assert Decimal(fill["q"]) == filled
                assert (fill["S"] == "BUY") == (record["N"] == "BTC")
            orders[record["i"]] = record
            if record["X"] in ("FILLED", "CANCELED"):
                ended.add(record["i"])
    assert [] == fills
    by_type = {kind: [order for order in orders.values() if order["o"] == kind] for kind in ("LIMIT", "MARKET_OF_BASE")}
    assert {"FILLED"} == {order["X"] for order in by_type["MARKET_OF_BASE"]}
    assert "FILLED" in {order["X"] for order in by_type["LIMIT"]}
    bought = [order for order in orders.values() if order["o"] == "MARKET_OF_QUOTE"]
    assert {("CANCELED", True)} == {(order["X"], Decimal(order["z"]) > 0) for order in bought}
    assert all(Decimal(order["Z"]) <= Decimal(order["q"]) for order in bought)


def test_stop_orders(story):
    """A conditional order is new, and then cancelled, or triggered: then the order that it makes is told of."""
    lives, made = {}, set()
    for topic, record in story:
        if topic == "stopOrder":
            lives.setdefault(record["i"], []).append(record)
            if record["X"] == "ORDER_FILLED":
                made.add(record["eo"])
        elif topic == "order" and record["c"] in {one[0]["c"] for one in lives.values()}:
            assert record["i"] in made
    statuses = Counter(tuple(record["X"] for record in life) for life in lives.values())
    assert {("ORDER_NEW", "ORDER_FILLED"), ("ORDER_NEW", "ORDER_CANCELED")} <= set(statuses)
    assert set(statuses) <= {("ORDER_NEW",), ("ORDER_NEW", "ORDER_FILLED"), ("ORDER_NEW", "ORDER_CANCELED")}
    for life in lives.values():
        assert all((record["X"] == "ORDER_FILLED") == (record["t"] != "0") for record in life)


def test_balances(story):
    """Balances are whole, never negative, and follow the fills."""
    have = {}
    for topic, record in story:
        if topic == "outboundAccountInfo":
            assert len(record["B"]) == len({row["a"] for row in record["B"]}) > 0
            for row in record["B"]:
                have[row["a"]] = Decimal(row["f"]) + Decimal(row["l"])
                assert min(Decimal(row["f"]), Decimal(row["l"])) >= 0
    expected = {"BTC": Decimal(1_000), "USDT": Decimal(1_000_000)}
    spent = {}
    for topic, record in story:
        if topic == "order" and record["z"] != "0":
            spent[record["i"]] = record
        if topic == "order" and "t" in record and Decimal(record["l"]) and record["X"] != "CANCELED":
            expected[record["N"]] -= Decimal(record["n"])
            sign = 1 if record["S"] == "BUY" else -1
            expected["BTC"] += sign * Decimal(record["l"])
            expected["USDT"] -= sign * Decimal(record["l"]) * Decimal(record["L"])
    assert expected == have


def test_nobody_trades_unwatched(box, private, dial):
    """The account does nothing while nobody is subscribed, and tells only of the topics that a connection has."""
    box.step(100)
    other = dial(PRIVATE).login()
    other.good("subscribe", "ticketInfo")
    box.step(100)
    assert [] == private.take()
    assert {"ticketInfo"} == {push["topic"] for push in other.take()}


def test_own_trades_are_public(box, private, public):
    """What the account takes from the market is traded there."""
    public.good("subscribe", "trade.BTCUSDT")
    private.good("subscribe", "ticketInfo")
    box.step(100)
    trades = {push["data"]["v"] for push in public.take()}
    fills = [record for push in private.take() for record in push["data"]]
    assert fills
    assert {record["T"] for record in fills} <= trades
    assert {True, False} == {record["m"] for record in fills}
