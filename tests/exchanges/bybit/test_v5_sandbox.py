"""The sandbox's Bybit V5: its public sockets, asked without a network."""

from __future__ import annotations

import json
from collections import deque
from decimal import Decimal

import pytest
import websocket

from exchange_ws.errors import UsageError
from exchange_ws.exchanges.bybit.v5_markets import CATEGORIES, DEPTHS, FRAMES, V5Markets
from exchange_ws.exchanges.bybit.v5_sandbox import INTERVALS, PATHS, V5Spot
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.market import LEAST_PRICE, LEVELS, markets_at
from exchange_ws.sandbox.server import EPOCH_US, MANUAL_STEP_US, Credentials

EPOCH_MS = EPOCH_US // 1000
#: Seconds for one read; reached only when something is broken.
LIMIT_S = 5.0
#: A symbol of each category where a lot happens.
BUSY = {"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD", "option": "BTC-27DEC26-70000-C"}
OPTIONS = (
    "BTC-27DEC26-70000-C",
    "BTC-27DEC26-70000-P",
    "BTC-27DEC26-80000-C",
    "BTC-27DEC26-60000-P",
    "ETH-27DEC26-2600-C",
)
BOOKS = [(category, depth) for category in CATEGORIES for depth in DEPTHS[category]]


class Line:
    """A connection to one socket. `texts` are the pushes that have not been taken yet."""

    def __init__(self, side, serial):
        self.side = side
        self.state = side.open(serial)
        self.texts = []

    def answer(self, message):
        """The text of an answer."""
        text, pushes = self.side.answer(self.state, message)
        self.texts += pushes
        return text

    def ask(self, op, *args, **more):
        return json.loads(self.answer({"op": op, "args": list(args), **more}))

    def good(self, *names):
        """Subscribe to what there is."""
        said = self.ask("subscribe", *names)
        assert said["success"] is True and not said.get("data", {}).get("failTopics")
        return self

    def take(self, name=None):
        """Pushes until now, parsed (of one topic); the others are forgotten."""
        texts, self.texts = self.texts, []
        return [push for push in map(json.loads, texts) if name in (None, push["topic"])]


class Exchange:
    """All sockets of one sandbox over markets that are moved by hand."""

    def __init__(self, seed=5):
        self.markets = markets_at(EPOCH_US, seed)
        self.first = V5Spot(self.markets, Credentials("key", "secret", "token"), seed)
        self.sides = {side.path: side for side in (self.first, *self.first.further)}
        self.feeds = self.first._feeds
        self.lines = []

    def dial(self, kind):
        """A connection to the socket of a category, or to "status"."""
        self.lines.append(Line(self.sides[PATHS[kind]], len(self.lines) + 1))
        return self.lines[-1]

    def step(self, n=1, but=()):
        """Steps of the markets; connections in *but* are not told."""
        for _ in range(n):
            self.markets.step(self.markets.now_us + MANUAL_STEP_US)
            for side in self.sides.values():
                side.beat()
            for line in self.lines:
                if line not in but:
                    line.texts += line.side.publish(line.state)

    def market(self, category):
        """Where a lot happens."""
        return self.feeds.categories[category][BUSY[category]]


@pytest.fixture
def exchange():
    return Exchange()


@pytest.fixture(scope="module")
def still():
    """For tests that change nothing but connections of their own."""
    return Exchange()


@pytest.fixture(scope="module")
def moved():
    return Exchange()


@pytest.fixture
def passing(moved):
    """For tests to which it is all the same what time it is, and what happened before."""
    moved.lines.clear()
    return moved


def levels(rows):
    return [tuple(map(Decimal, row)) for row in rows]


def numbers(side):
    return list(side.items())


# Sockets ---------------------------------------------------------------------------------------------------------------------


def test_paths():
    """There is a socket for each category and one for the status; another path is refused with 404."""
    with Sandbox("bybit-v5", seed=5, tick=None) as box:
        root = box.url[: -len("/v5/public/spot")]
        assert "/v5/public/spot" == box.url[len(root) :]
        for path in ("spot", "linear", "inverse", "option", "misc/status"):
            peer = websocket.create_connection(f"{root}/v5/public/{path}", timeout=LIMIT_S)
            peer.send('{"op":"ping"}')
            assert "pong" in peer.recv()
            peer.shutdown()
        for path in ("/v5/public/spread", "/v5/public/spot/", "/spot/public/v3"):
            with pytest.raises(websocket.WebSocketBadStatusException) as caught:
                websocket.create_connection(root + path, timeout=LIMIT_S)
            assert 404 == caught.value.status_code


def test_idle_connection_is_dropped():
    """A silent client loses its TCP connection, without a close frame."""
    with Sandbox("bybit-v5", idle=0.1) as box:
        peer = websocket.create_connection(box.url, timeout=LIMIT_S)
        with pytest.raises(ConnectionResetError):
            peer.recv()
        peer.shutdown()
    assert 600.0 == V5Spot.idle_s


@pytest.mark.parametrize(
    ("kind", "ping", "pong"),
    [
        ("spot", {}, '{"success":true,"ret_msg":"pong","conn_id":"ID","op":"ping"}'),
        ("spot", {"req_id": "a"}, '{"success":true,"ret_msg":"pong","conn_id":"ID","req_id":"a","op":"ping"}'),
        ("linear", {}, '{"success":true,"ret_msg":"pong","conn_id":"ID","req_id":"","op":"ping"}'),
        ("inverse", {"req_id": 7}, '{"success":true,"ret_msg":"pong","conn_id":"ID","req_id":"7","op":"ping"}'),
        ("option", {"req_id": "a"}, f'{{"args":["{EPOCH_MS}"],"op":"pong"}}'),
        ("status", {}, '{"success":true,"ret_msg":"pong","conn_id":"ID","op":"ping"}'),
    ],
)
def test_pong(still, kind, ping, pong):
    """Each socket has its own shape, and sends an id back as text."""
    line = still.dial(kind)
    assert pong == line.answer({"op": "ping", **ping}).replace(line.state.conn_id, "ID")


@pytest.mark.parametrize(
    ("kind", "op", "more", "said"),
    [
        ("spot", "subscribe", {}, '{"success":true,"ret_msg":"subscribe","conn_id":"ID","op":"subscribe"}'),
        ("spot", "unsubscribe", {}, '{"success":true,"ret_msg":"unsubscribe","conn_id":"ID","op":"unsubscribe"}'),
        (
            "spot",
            "subscribe",
            {"req_id": 7},
            '{"success":true,"ret_msg":"subscribe","conn_id":"ID","req_id":"7","op":"subscribe"}',
        ),
        ("linear", "subscribe", {}, '{"success":true,"ret_msg":"","conn_id":"ID","req_id":"","op":"subscribe"}'),
        ("inverse", "unsubscribe", {}, '{"success":true,"ret_msg":"","conn_id":"ID","req_id":"","op":"unsubscribe"}'),
        ("linear", "subscribe", {"req_id": "x"}, '{"success":true,"ret_msg":"","conn_id":"ID","req_id":"x","op":"subscribe"}'),
        *(
            ("option", op, {"req_id": "x"}, f'{{"success":true,"conn_id":"ID","data":{lists},"type":"COMMAND_RESP"}}')
            for op in ("subscribe", "unsubscribe")
            for lists in ('{"failTopics":[],"successTopics":["tickers.BTC-27DEC26-70000-C"]}',)
        ),
    ],
)
def test_success(still, kind, op, more, said):
    """Each socket confirms in its own words; an option's answer tells neither what was asked nor by whom."""
    line = still.dial(kind)
    name = f"tickers.{BUSY[kind]}"
    assert said == line.answer({"op": op, "args": [name], **more}).replace(line.state.conn_id, "ID")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("spot", "publicTrade.NOSUCH", "Invalid symbol :[publicTrade.NOSUCH]"),
        ("spot", "nosuch.BTCUSDT", "error:handler not found,topic:nosuch.BTCUSDT"),
        ("spot", "orderbook.40.BTCUSDT", "error:handler not found,topic:orderbook.40.BTCUSDT"),
        ("spot", "allLiquidation.BTCUSDT", "error:handler not found,topic:allLiquidation.BTCUSDT"),
        ("spot", "tickers.ethusdt", "Invalid symbol :[tickers.ethusdt]"),
        ("linear", "publicTrade.NOSUCH", "error:handler not found,topic:publicTrade.NOSUCH"),
        ("linear", "orderbook.500.BTCUSDT", "error:handler not found,topic:orderbook.500.BTCUSDT"),
        ("linear", "liquidation.BTCUSDT", "error:handler not found,topic:liquidation.BTCUSDT"),
        ("linear", "orderbook.full.BTCUSDT", "error:handler not found,topic:orderbook.full.BTCUSDT"),
        ("linear", "kline.2.BTCUSDT", "error:handler not found,topic:kline.2.BTCUSDT"),
        ("linear", "insurance.inverse", "error:handler not found,topic:insurance.inverse"),
        ("linear", 7, "error:handler not found,topic:7"),
        ("linear", "tickers.ETHUSDT", "error:already subscribed,topic:tickers.ETHUSDT"),
        ("inverse", "publicTrade.BTCUSDT", "error:handler not found,topic:publicTrade.BTCUSDT"),
        ("status", "tickers.BTCUSDT", "error:handler not found,topic:tickers.BTCUSDT"),
    ],
)
def test_refused_topic(still, kind, name, said):
    """One bad topic is named, and nothing of its request is subscribed, before or behind it."""
    line = still.dial(kind)
    good = {"status": "system.status"}.get(kind, f"kline.D.{BUSY.get(kind)}")
    if "already" in said:
        line.good(name)
    before = dict(line.state.topics)
    answer = line.ask("subscribe", good, name, req_id=9)
    assert (False, said, "9", "subscribe") == tuple(answer[key] for key in ("success", "ret_msg", "req_id", "op"))
    assert before == line.state.topics
    line.good(good)


@pytest.mark.parametrize("kind", ["spot", "linear"])
def test_repeated_in_a_request(still, kind):
    """A topic twice in one request is one that is subscribed already."""
    answer = still.dial(kind).ask("subscribe", "tickers.BTCUSDT", "tickers.BTCUSDT")
    assert "error:already subscribed,topic:tickers.BTCUSDT" == answer["ret_msg"]


def test_not_atomic(exchange):
    """With the switch, spot refuses a request and has taken what was good of it."""
    exchange.first.atomic = False
    line = exchange.dial("spot")
    answer = line.ask("subscribe", "tickers.NOSUCH", "publicTrade.BTCUSDT", "tickers.NEITHER")
    assert (False, "Invalid symbol :[tickers.NOSUCH]") == (answer["success"], answer["ret_msg"])
    exchange.step(50)
    assert {"publicTrade.BTCUSDT"} == {push["topic"] for push in line.take()}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"op": "greet"}, "error:invalid op"),
        ({"op": 7}, "error:invalid op"),
        ({}, "error:invalid op"),
        ([], "error:invalid op"),
        ({"op": "subscribe"}, "Params Error"),
        ({"op": "subscribe", "args": []}, "Params Error"),
        ({"op": "unsubscribe", "args": "tickers.BTCUSDT"}, "Params Error"),
    ],
)
@pytest.mark.parametrize("kind", PATHS)
def test_not_a_request(still, kind, message, said):
    """What cannot be understood is refused in words, and so is what is not JSON; the connection stays."""
    line = still.dial(kind)
    answer = json.loads(line.answer(message))
    assert (False, said) == (answer["success"], answer["ret_msg"])
    assert "error:invalid op" == json.loads(line.side.malformed(line.state, "{"))["ret_msg"]


def test_ten_args(still):
    """More than ten topics are refused on spot, with an escaped `>`, and taken elsewhere."""
    names = [f"kline.{interval}.BTCUSDT" for interval in INTERVALS][:11]
    line = still.dial("spot")
    text = line.answer({"op": "subscribe", "args": names})
    assert r'"ret_msg":"args size \u003e10"' in text and {} == line.state.topics
    line.good(*names[:10]).good(names[10])
    still.dial("linear").good(*names)


@pytest.mark.parametrize("kind", ["spot", "linear", "inverse"])
def test_characters(still, kind):
    """All topics of a connection have at most 21,000 characters, with quotes and commas."""
    line = still.dial(kind)
    line.state.topics.update(dict.fromkeys(f"{n:097}" for n in range(208)))
    line.good("kline.15." + BUSY[kind])
    line.state.topics["x" * (21_000 - sum(len(name) + 3 for name in line.state.topics) - 3)] = None
    answer = line.ask("subscribe", "kline.1." + BUSY[kind])
    assert (False, True) == (answer["success"], "21000" in answer["ret_msg"])


# Options' own ways -----------------------------------------------------------------------------------------------------------


def test_option_lists(passing):
    """What is no topic fails, what other sockets have is taken and never pushed; the rest of the request is subscribed."""
    line = passing.dial("option")
    silent = [
        "kline.1.BTC-27DEC26-70000-C",
        "orderbook.50.BTC-27DEC26-70000-C",
        "orderbook.1.X",
        "publicTrade.BTC-27DEC26-70000-C",
    ]
    failing = ["orderbook.7.BTC-27DEC26-70000-C", "tickers.BTC-27DEC26-1-C", "tickers.BTC", "publicTrade", "nosuch.BTC", 7]
    good = ["tickers.BTC-27DEC26-70000-C", "orderbook.25.BTC-27DEC26-70000-C", "publicTrade.BTC"]
    answer = line.ask("subscribe", *failing, *good, *silent)
    assert (True, {"failTopics": failing, "successTopics": [*good, *silent]}) == (answer["success"], answer["data"])
    passing.step(50)
    assert set(good) == {push["topic"] for push in line.take()}
    assert [good[0], silent[0]] == line.ask("subscribe", good[0], silent[0])["data"]["successTopics"]
    line.ask("unsubscribe", *good, *silent)
    assert ({}, set()) == (line.state.topics, line.state.silent)


def test_option_topics_are_limited(still):
    """Topics beyond 2000, or 21,000 characters, of a connection fail."""
    line = still.dial("option")
    line.state.silent.update(f"{n}" for n in range(1999))
    answer = line.ask("subscribe", "publicTrade.BTC", "publicTrade.ETH")
    assert {"failTopics": ["publicTrade.ETH"], "successTopics": ["publicTrade.BTC"]} == answer["data"]
    other = still.dial("option")
    other.state.silent.add("x" * 20_970)
    assert ["publicTrade.ETH"] == other.ask("subscribe", "publicTrade.BTC", "publicTrade.ETH")["data"]["failTopics"]


# Books -----------------------------------------------------------------------------------------------------------------------


class Copy:
    """A book as a client keeps it, that finds fault with what no server may send."""

    def __init__(self):
        self.sides = None
        self.u = self.seq = 0

    def apply(self, push):
        data = push["data"]
        if push["type"] == "snapshot":
            self.sides = [{row[0]: row for row in levels(data[side])} for side in "ba"]
        else:
            assert self.u + 1 == data["u"]
            for side, rows in zip(self.sides, (data["b"], data["a"])):
                for row in levels(rows):
                    if any(row[1:]):
                        assert side.get(row[0]) != row
                        side[row[0]] = row
                    else:
                        del side[row[0]]
        assert data["seq"] >= self.seq and push["cts"] <= push["ts"]
        self.u, self.seq = data["u"], data["seq"]
        return self

    def best(self):
        """Both sides, the best first."""
        bids, asks = self.sides
        return [bids[price] for price in sorted(bids, reverse=True)], [asks[price] for price in sorted(asks)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_book(passing, category):
    """A snapshot, then changes: added up they are the market's window, after each pace; nothing comes where nothing changed."""
    market = passing.market(category)
    depths = {
        f"orderbook.{depth}.{BUSY[category]}": int(depth) for depth in DEPTHS[category] if depth.isdigit() and depth != "1"
    }
    line, copies = passing.dial(category).good(*depths), {name: Copy() for name in depths}
    kinds = {name: [] for name in depths}
    for _ in range(30):
        pushes = line.take()
        for name, copy in copies.items():
            before = copy.sides and copy.best()
            mine = [push for push in pushes if push["topic"] == name]
            for push in mine:
                kinds[name].append(push["type"])
                copy.apply(push)
            assert [numbers(side) for side in market.book(depths[name])] == list(copy.best())
            assert before is None or bool(mine) == (before != copy.best())
        passing.step(2)  # the longest pace
    for name, copy in copies.items():
        assert ("snapshot", {"delta"}) == (kinds[name][0], set(kinds[name][1:]))
        assert min(depths[name], LEVELS) <= len(copy.best()[0]) <= depths[name]


def test_book_envelopes(still):
    """The order of keys is the category's and the depth's; prices have the places of the tick, but for spot's."""
    futures, early = ["topic", "type", "ts", "data", "cts"], ["topic", "ts", "type", "data", "cts"]
    found = {}
    for category, depth in BOOKS:
        if depth == "full":
            continue
        line = still.dial(category).good(f"orderbook.{depth}.{BUSY[category]}")
        (push,) = line.take()
        found[category, depth] = list(push)
        assert (["s", "b", "a", "u", "seq"], BUSY[category]) == (list(push["data"]), push["data"]["s"])
    assert {
        **{("spot", depth): early for depth in ("1", "50", "200", "1000", "rpi")},
        **{(category, depth): early for category in ("linear", "inverse") for depth in ("1", "rpi")},
        **{(category, depth): futures for category in ("linear", "inverse") for depth in ("50", "200", "1000")},
        **{("option", depth): ["topic", "ts", "type", "id", "data", "cts"] for depth in ("25", "100")},
    } == found
    linear = json.loads(json.dumps(still.feeds.book("linear", "BTCUSDT", 50)))
    assert {(1, 3)} == {tuple(len(text.partition(".")[2]) for text in row) for row in linear["b"]}
    spot = still.feeds.book("spot", "BTCUSDT", 50)
    assert not [text for row in spot["b"] for text in row if "." in text and text.endswith("0")]


def test_first_level(exchange):
    """Depth 1 is always whole; it is sent again, with the same number, after three seconds without a change."""
    quiet = exchange.dial("spot").good("orderbook.1.DBTCDUSDT")
    (first,) = quiet.take()
    top = exchange.feeds.categories["spot"]["DBTCDUSDT"].top
    assert ([[top.bid, top.bid_size]], [[top.ask, top.ask_size]]) == tuple(
        [[Decimal(text) for text in row] for row in first["data"][side]] for side in "ba"
    )
    exchange.markets.step = lambda now_us: setattr(exchange.markets, "now_us", now_us)  # time passes, and nothing happens
    exchange.step(29)
    assert [] == quiet.take()
    exchange.step(31)
    again = quiet.take()
    assert [EPOCH_MS + 3000, EPOCH_MS + 6000] == [push["ts"] for push in again]
    assert [first["data"]] * 2 == [push["data"] for push in again]
    assert {"snapshot"} == {push["type"] for push in again}


def test_first_level_that_moves(passing):
    """Each change is a whole book of one level, with the next number."""
    line, market = passing.dial("linear").good("orderbook.1.BTCUSDT"), passing.market("linear")
    told = line.take()
    for _ in range(40):
        passing.step()
        told += line.take()
        assert [numbers(side) for side in market.book(1)] == [levels(told[-1]["data"][side]) for side in "ba"]
    assert len(told) > 10 and {"snapshot"} == {push["type"] for push in told}
    assert list(range(told[0]["data"]["u"], told[0]["data"]["u"] + len(told))) == [push["data"]["u"] for push in told]


def test_full_book(passing):
    """Changes only, of all levels there are: what REST had before, and these, are the market's book."""
    line, copy = passing.dial("spot").good("orderbook.full.BTCUSDT"), Copy()
    assert [] == line.take()
    told = passing.feeds.book("spot", "BTCUSDT", 10_000)
    copy.apply({"type": "snapshot", "data": told, "cts": told["cts"], "ts": told["cts"]})
    for _ in range(20):
        passing.step(2)
        for push in line.take():
            assert "delta" == push["type"]
            copy.apply(push)
    assert [numbers(side) for side in passing.market("spot").book(10_000)] == list(copy.best())


@pytest.mark.parametrize("category", ["spot", "linear", "inverse"])
def test_improved_book(passing, category):
    """Levels of three: what stands on the book, and what is added there or at prices of its own; 50 of them."""
    line, copy, market = passing.dial(category).good(f"orderbook.rpi.{BUSY[category]}"), Copy(), passing.market(category)
    for _ in range(30):
        for push in line.take():
            copy.apply(push)
        for rows, side in zip(copy.best(), market.book(50)):
            shared = [row for row in rows if row[1]]
            assert [(price, size) for price, size, _ in shared] == numbers(side)[: len(shared)]
            assert 50 == len(rows) and all(row[1] or row[2] for row in rows)
        passing.step()
    assert {(False, True), (True, False), (True, True)} >= {(bool(row[1]), bool(row[2])) for row in copy.best()[0]}
    assert any(not row[1] for row in (*copy.best()[0], *copy.best()[1]))


def test_books_share_their_time(passing):
    """All depths of a symbol have the same cross sequence, and numbers of their own; all connections hear the same."""
    names = [f"orderbook.{depth}.BTCUSDT" for depth in ("50", "200")]
    one, other = passing.dial("linear").good(*names), passing.dial("linear").good(*names)
    passing.step(30)
    assert one.texts == other.texts
    pushes = one.take()
    by_seq = {name: {push["data"]["seq"]: push["data"]["u"] for push in pushes if push["topic"] == name} for name in names}
    shared = set(by_seq[names[0]]) & set(by_seq[names[1]])
    assert len(shared) > 10
    assert not [seq for seq in shared if by_seq[names[0]][seq] == by_seq[names[1]][seq]]


def test_subscribed_again(passing):
    """A topic that was left and is subscribed again begins with a snapshot."""
    name = "orderbook.50.BTCUSDT"
    line = passing.dial("linear").good(name)
    passing.step(10)
    line.ask("unsubscribe", name)
    line.take()
    passing.step(10)
    assert [] == line.take()
    line.good(name)
    (push,) = line.take()
    copy = Copy().apply(push)
    assert "snapshot" == push["type"]
    assert [numbers(side) for side in passing.market("linear").book(50)] == list(copy.best())


def test_held_up(exchange):
    """Who is told late is told everything, with the times it happened at; who is told far too late gets a whole book."""
    name = "orderbook.50.BTCUSDT"
    line, other = exchange.dial("linear").good(name), exchange.dial("linear").good(name)
    exchange.step(20, but=[line])
    exchange.step()
    assert line.texts == other.texts and len(line.texts) > 5
    copy = Copy()
    for push in line.take():
        copy.apply(push)
    book = exchange.feeds.stream(exchange.feeds.listings["linear"]["BTCUSDT"], "50")
    assert FRAMES == book.frames.maxlen
    book.frames = deque(book.frames, maxlen=5)
    exchange.step(20, but=[line])
    exchange.step()
    (push,) = line.take(name)
    assert "snapshot" == push["type"]
    assert [numbers(side) for side in exchange.market("linear").book(50)] == list(copy.apply(push).best())


def test_full_book_held_up(passing):
    """The full book has no snapshots: who is told far too late gets the latest changes, with a hole in their numbers."""
    line, _ = (passing.dial("spot").good("orderbook.full.BTCUSDT") for _ in range(2))
    book = passing.feeds.stream(passing.feeds.listings["spot"]["BTCUSDT"], "full")
    kept, book.frames = book.frames, deque(maxlen=3)
    begun = book.u
    passing.step(20, but=[line])
    passing.step()
    pushes = line.take()
    book.frames = kept
    assert ({"delta"}, [book.u - 2, book.u - 1, book.u]) == (
        {push["type"] for push in pushes},
        [push["data"]["u"] for push in pushes],
    )
    assert book.u > begun + 4


def test_lost_update(passing):
    """One update is missing in every book that is streamed, and its number too; whoever subscribes later has no hole."""
    names = [f"orderbook.{depth}.BTCUSDT" for depth in ("50", "200")]
    line = passing.dial("linear").good(*names)
    passing.first.lose_book_updates()
    passing.step(40)
    pushes = line.take()
    for name in names:
        found = [push["data"]["u"] for push in pushes if push["topic"] == name]
        assert [2] + [1] * (len(found) - 2) == [after - before for before, after in zip(found, found[1:])]
    late, copy = passing.dial("linear").good(names[0]), Copy()
    passing.step(20)
    for push in late.take():
        copy.apply(push)


def test_restarted_books(passing):
    """Every book that is streamed comes whole with number 1, and goes on from there; the full one with an empty change."""
    names = [f"orderbook.{depth}.BTCUSDT" for depth in DEPTHS["spot"]]
    line = passing.dial("spot").good(*names)
    passing.step(5)
    line.take()
    passing.first.restart_books()
    passing.step(40)
    pushes = line.take()
    for name in names:
        mine = [push for push in pushes if push["topic"] == name]
        assert list(range(1, len(mine) + 1)) == [push["data"]["u"] for push in mine]
        assert ("delta" if "full" in name else "snapshot") == mine[0]["type"]
        assert ("full" in name) == ([[], []] == [mine[0]["data"][side] for side in "ba"])


# Trades ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "envelope", "keys"),
    [
        ("spot", "topic ts type data", "i T p v S seq s BT RPI"),
        ("linear", "topic type ts data", "T s S v p L i BT RPI seq"),
        ("inverse", "topic type ts data", "T s S v p L i BT RPI seq"),
        ("option", "topic ts type id data", "i T p v S seq s BT mP iP mIv iv"),
    ],
)
def test_trades(passing, category, envelope, keys):
    """Every trade since the subscription, once, the oldest first, as the market has it, with the keys of its category."""
    word = "BTC" if category == "option" else BUSY[category]
    line, market = passing.dial(category).good(f"publicTrade.{word}"), passing.market(category)
    last = market.trades[-1].id
    passing.step(60)
    pushes = line.take()
    rows = [row for push in pushes for row in push["data"]]
    assert ({tuple(envelope.split())}, {tuple(keys.split())}) == (
        {tuple(push) for push in pushes},
        {tuple(row) for row in rows},
    )
    assert {"snapshot"} == {push["type"] for push in pushes}
    mine = [row for row in rows if row["s"] == BUSY[category]]
    expected = [(t.time_us // 1000, t.price, t.size, t.side) for t in reversed(market.trades_after(last))]
    assert expected == [(row["T"], Decimal(row["p"]), Decimal(row["v"]), row["S"].lower()) for row in mine]
    assert len(rows) == len({row["i"] for row in rows}) > 10
    if category == "option":
        assert {name for name in OPTIONS if name.startswith("BTC")} == {row["s"] for row in rows}
        assert [row["T"] for row in rows] == sorted(row["T"] for row in rows) or len(pushes) > 1
    elif category != "spot":
        ups = {"PlusTick": 1, "ZeroPlusTick": 0, "MinusTick": -1, "ZeroMinusTick": 0}
        prices = [Decimal(row["p"]) for row in rows]
        moves = [(after > before) - (after < before) for before, after in zip(prices, prices[1:])]
        assert moves == [ups[row["L"]] for row in rows[1:]]
        assert {True, False} == {row["RPI"] for row in rows}


def test_many_trades(exchange):
    """A message has 1024 trades at most."""
    line, market = exchange.dial("spot").good("publicTrade.BTCUSDT"), exchange.market("spot")
    price = market.top.ask / market.instrument.tick
    for _ in range(1100):
        market.trade("buy", int(price), 1)
    exchange.step()
    pushes = line.take()
    assert [1024, len(pushes[1]["data"])] == [len(push["data"]) for push in pushes]
    assert 1100 <= sum(len(push["data"]) for push in pushes)


# Tickers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["linear", "inverse"])
def test_merged_ticker(passing, category):
    """A snapshot with every field, then changed ones only; some come late, prices never; added up they are the market's."""
    name = f"tickers.{BUSY[category]}"
    line, market = passing.dial(category).good(name), passing.market(category)
    (first,) = line.take()
    merged = dict(first["data"])
    assert (["topic", "type", "data", "cs", "ts"], "snapshot", 27) == (list(first), first["type"], len(merged))
    late, cs = 0, first["cs"]
    for _ in range(60):
        passing.step()
        for push in line.take():
            assert ("delta", list(first)) == (push["type"], list(push))
            assert push["cs"] >= cs and "symbol" in push["data"]
            assert not [key for key, value in push["data"].items() if key != "symbol" and merged[key] == value]
            merged.update(push["data"])
            cs = push["cs"]
        top = market.top
        assert (top.bid, top.ask, market.last) == tuple(Decimal(merged[key]) for key in ("bid1Price", "ask1Price", "lastPrice"))
        late += (top.bid_size, top.ask_size) != (Decimal(merged["bid1Size"]), Decimal(merged["ask1Size"]))
    assert 0 < late < 60
    day = market.statistics(passing.markets.now_us // 1_000_000 - 86400)
    assert (day.high, day.low) == (Decimal(merged["highPrice24h"]), Decimal(merged["lowPrice24h"]))
    assert ["8", "0.005", ""] == [merged[key] for key in ("fundingIntervalHour", "fundingCap", "preOpenPrice")]
    assert int(merged["nextFundingTime"]) % (8 * 3600_000) == 0


def test_inverse_is_worth_coins(still):
    """What was traded in contracts is told in them, and its worth in the base asset."""
    data = still.feeds.ticker("inverse", "BTCUSD")
    day = still.market("inverse").statistics(0)
    assert str(day.volume) == data["volume24h"]
    assert abs(Decimal(data["turnover24h"]) * day.last / day.volume - 1) < Decimal("0.001")


@pytest.mark.parametrize(
    ("category", "envelope", "keys"),
    [
        (
            "spot",
            "topic ts type cs data",
            "symbol lastPrice highPrice24h lowPrice24h prevPrice24h volume24h turnover24h price24hPcnt usdIndexPrice",
        ),
        (
            "option",
            "topic ts type id data",
            "symbol bidPrice bidSize bidIv askPrice askSize askIv lastPrice highPrice24h lowPrice24h markPrice indexPrice "
            "markPriceIv underlyingPrice openInterest turnover24h volume24h totalVolume totalTurnover delta gamma vega theta "
            "predictedDeliveryPrice change24h",
        ),
    ],
)
def test_whole_ticker(passing, category, envelope, keys):
    """Every message has every field, and comes when one of them has changed."""
    line, market = passing.dial(category).good(f"tickers.{BUSY[category]}"), passing.market(category)
    told = None
    for _ in range(60):
        passing.step()
        for push in line.take():
            assert (envelope.split(), "snapshot", keys.split()) == (list(push), push["type"], list(push["data"]))
            assert told != push["data"]
            told = push["data"]
        assert market.last == Decimal(told["lastPrice"])
    assert all(isinstance(value, str) for value in told.values())


def test_index_is_only_of_dollars(still):
    """A spot market against another asset has no price in dollars."""
    assert "" == still.feeds.ticker("spot", "ETHBTC")["usdIndexPrice"]


# Candles ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", INTERVALS)
def test_kline(passing, interval):
    """Candles are the market's: the present one each second that it changes, and the last word on it when it has ended."""
    line, market = passing.dial("linear").good(f"kline.{interval}.BTCUSDT"), passing.market("linear")
    present = passing.feeds.candle(passing.feeds.listings["linear"]["BTCUSDT"], INTERVALS[interval])
    passing.step(20)
    (end,) = {row["end"] + 1 for push in line.take() for row in push["data"]}
    passing.markets.step((end + 200) * 1000, busy=True)
    passing.step(20)
    pushes = line.take()
    assert {("topic", "data", "ts", "type")} == {tuple(push) for push in pushes}
    rows = [row for push in pushes for row in push["data"]]
    assert [True] + [False] * (len(rows) - 1) == [row["confirm"] for row in rows]
    assert (present.start * 1000, end - 1, end) == (rows[0]["start"], rows[0]["end"], rows[-1]["start"])
    assert {interval} == {row["interval"] for row in rows}
    ended = rows[0]
    parts = [candle for candle in market.candles(60, ended["start"] // 1000, end // 1000 - 1) if candle.volume]
    expected = (parts[0].open, parts[-1].close, max(part.high for part in parts), min(part.low for part in parts))
    assert expected == tuple(Decimal(ended[key]) for key in ("open", "close", "high", "low"))
    assert sum(part.volume for part in parts) == Decimal(ended["volume"])
    assert sum(part.quote_volume for part in parts) == Decimal(ended["turnover"])
    assert ended["start"] <= ended["timestamp"] <= ended["end"]


def test_kline_without_trades(exchange):
    """Nothing is said of candles in which nobody traded."""
    line = exchange.dial("spot").good("kline.1.DBTCDUSDT")
    market = exchange.feeds.categories["spot"]["DBTCDUSDT"]
    last = market.trades[-1].id
    exchange.markets.step = lambda now_us: setattr(exchange.markets, "now_us", now_us)  # time passes, and nothing happens
    exchange.step(700)
    assert [] == line.take()
    del exchange.markets.step
    exchange.markets.step(exchange.markets.now_us + 1, busy=True)
    exchange.step(10)
    minutes = {trade.time_us // 60_000_000 * 60_000 for trade in market.trades_after(last)}
    rows = [row for push in line.take() for row in push["data"]]
    assert minutes == {row["start"] for row in rows}


# The rest --------------------------------------------------------------------------------------------------------------------


def test_liquidations(passing):
    """Each is one of the market's trades, told by the side of the position that is lost."""
    line, market = passing.dial("linear").good("allLiquidation.BTCUSDT"), passing.market("linear")
    last = market.trades[-1].id
    passing.step(100)
    pushes = line.take()
    assert {("topic", "type", "ts", "data")} == {tuple(push) for push in pushes}
    rows = [row for push in pushes for row in push["data"]]
    assert {("T", "s", "S", "v", "p")} == {tuple(row) for row in rows}
    trades = {(trade.time_us // 1000, trade.size): trade for trade in market.trades_after(last)}
    for row in rows:
        trade = trades[row["T"], Decimal(row["v"])]
        assert ("Buy" if trade.side == "sell" else "Sell") == row["S"]
        assert (Decimal(row["p"]) < trade.price) == (row["S"] == "Buy")
    assert len(rows) > 1


def test_pools(passing):
    """An insurance pool is told whole, then where it has changed; alerts tell all of them each second, as numbers."""
    line = passing.dial("linear").good("insurance.USDT", "insurance.USDC", "adlAlert.USDT")
    passing.step(100)
    pushes = line.take()
    first, *deltas = [push for push in pushes if push["topic"] == "insurance.USDT"]
    assert ("snapshot", {"delta"}) == (first["type"], {push["type"] for push in deltas})
    assert {"BTCUSDT", "ETHUSDT", "SHIBUSDT"} == {row["symbols"] for row in first["data"]}
    assert {("coin", "symbols", "balance", "updateTime")} == {tuple(row) for push in (first, *deltas) for row in push["data"]}
    merged = {row["symbols"]: row["balance"] for row in first["data"]}
    for push in deltas:
        assert all(merged[row["symbols"]] != row["balance"] for row in push["data"])
        merged.update((row["symbols"], row["balance"]) for row in push["data"])
    alerts = [push for push in pushes if push["topic"] == "adlAlert.USDT"]
    assert 10 == len(alerts)
    assert {symbol: Decimal(balance) for symbol, balance in merged.items()} == {
        row["s"]: Decimal(str(row["b"])) for row in alerts[-1]["data"]
    }
    assert ["c", "s", "b", "mb", "i_pr", "pr", "adl_tt", "adl_sr"] == list(alerts[-1]["data"][0])
    inverse = passing.dial("inverse").good("insurance.inverse").take()
    assert {"BTC", "ETH"} == {row["coin"] for row in inverse[0]["data"]}


def test_price_limit(passing):
    """Five percent to either side of the mark price, without a type."""
    line = passing.dial("linear").good("priceLimit.BTCUSDT")
    passing.step(30)
    push = line.take()[-1]
    assert ["topic", "data", "ts"] == list(push)
    assert ["symbol", "buyLmt", "sellLmt"] == list(push["data"])
    highest, lowest = Decimal(push["data"]["buyLmt"]), Decimal(push["data"]["sellLmt"])
    assert abs(highest / lowest - Decimal("1.05") / Decimal("0.95")) < Decimal("0.00001")


def test_status(exchange):
    """Maintenance is announced, begins or is called off, and ends, in steps of five seconds."""
    line = exchange.dial("status").good("system.status")
    for _ in range(14):
        exchange.markets.now_us += 5_000_000 - MANUAL_STEP_US
        exchange.step()
    told = {}
    for push in line.take():
        assert ["topic", "ts", "data"] == list(push)
        (row,) = push["data"]
        told.setdefault(row["id"], []).append(row["state"])
        assert int(row["end"]) - int(row["begin"]) == 5000
    whole = [states for states in told.values() if len(states) == 3]
    assert {("scheduled", "ongoing", "completed"), ("scheduled", "canceled", "canceled")} == {tuple(states) for states in whole}


# Options' prices -------------------------------------------------------------------------------------------------------------


def test_options_agree(exchange):
    """A call less a put of the same strike is the index less the strike; makers quote around what an option is worth."""
    listings = exchange.feeds.listings["option"]
    call, put = listings["BTC-27DEC26-70000-C"], listings["BTC-27DEC26-70000-P"]
    for price in (67_000, 64_000, 30_000, 200_000):
        exchange.market("spot").trade("buy", price * 100, 1)
        exchange.step()
        index = exchange.feeds.index(call)
        assert abs(index - price) < 10
        assert index - 70_000 == exchange.feeds.mark(call) - exchange.feeds.mark(put)
        for listing in listings.values():
            top, mark = listing.market.top, exchange.feeds.mark(listing)
            least = LEAST_PRICE * listing.market.instrument.tick
            tick = listing.market.instrument.tick
            assert top.bid <= max(mark, least) <= top.ask + tick
            assert top.ask - top.bid < 200 * tick


def test_greeks(exchange):
    """They are the slopes of what an option is worth; far from its strike it moves with its underlying, or not at all."""
    listings = exchange.feeds.listings["option"]
    call, put = listings["BTC-27DEC26-70000-C"], listings["BTC-27DEC26-70000-P"]
    market = exchange.market("spot")
    marks = {}
    for price in (66_000, 67_000, 68_000):
        market.trade("buy", price * 100, 1)
        marks[price] = (exchange.feeds.index(call), exchange.feeds.mark(call), exchange.feeds.greeks(call))
    (low, lower, before), (_, _, here), (high, higher, _) = marks.values()
    assert abs((higher - lower) / (high - low) - here["delta"]) < Decimal("0.001")
    assert abs(here["delta"] - before["delta"] - here["gamma"] * 1000) < Decimal("0.01")
    assert here["theta"] < 0 < here["vega"]
    for price, slope in ((300_000, 1), (30_000, 0)):
        market.trade("buy", price * 100, 1)
        assert (slope, slope - 1) == (exchange.feeds.greeks(call)["delta"], exchange.feeds.greeks(put)["delta"])
        assert 0 == exchange.feeds.greeks(call)["gamma"] == exchange.feeds.greeks(call)["vega"]


# The whole -------------------------------------------------------------------------------------------------------------------


def test_symbols(still):
    """Spot and linear have the markets that every sandbox has; inverse and option have their own."""
    assert {
        "spot": ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ETHBTC", "DBTCDUSDT"],
        "linear": ["BTCUSDT", "ETHUSDT", "SHIBUSDT"],
        "inverse": ["BTCUSD", "ETHUSD"],
        "option": list(OPTIONS),
    } == {category: list(markets) for category, markets in still.feeds.categories.items()}
    assert set(still.markets.markets) < set(still.feeds.markets)


def test_same_seed():
    """The seed and the steps decide what is sent, to the last character; another seed says something else."""

    def heard(seed):
        exchange = Exchange(seed)
        lines = [exchange.dial(kind) for kind in PATHS]
        for line, category in zip(lines, CATEGORIES):
            depth = "25" if category == "option" else "50"
            line.good(f"orderbook.{depth}.{BUSY[category]}", f"tickers.{BUSY[category]}")
        exchange.step(10)
        return [line.texts for line in lines]

    assert heard(5) == heard(5) != heard(6)


def test_refusals_and_forgetting(passing):
    """A test's refusal has the shape of the socket's own; who is forgotten hears no more."""
    line = passing.dial("linear").good("tickers.BTCUSDT")
    request = {"op": "subscribe", "args": ["tickers.ETHUSDT"], "req_id": "3"}
    words = [
        json.loads(line.side.refuse(line.state, request, *told))["ret_msg"] for told in ((None, None), (7, None), (7, "no"))
    ]
    assert ["error:refused by the sandbox", "error:7", "no"] == words
    option = passing.dial("option").good("publicTrade.BTC", "kline.1.X")
    refused = json.loads(option.side.refuse(option.state, request, None, None))
    assert {"failTopics": ["tickers.ETHUSDT"], "successTopics": []} == refused["data"]
    for one in (line, option):
        one.take()
        one.side.forget(one.state)
    passing.step(20)
    assert ([], [], set()) == (line.take(), option.take(), option.state.silent)


@pytest.mark.parametrize(
    ("name", "kind", "topic", "price"),
    [
        ("BTCUSDT", "spot", "publicTrade.BTCUSDT", "70001.5"),
        ("linear/BTCUSDT", "linear", "publicTrade.BTCUSDT", "70002.5"),
        ("SHIBUSDT", "linear", "publicTrade.SHIBUSDT", "0.000012"),
        ("BTCUSD", "inverse", "publicTrade.BTCUSD", "70003.5"),
        ("option/BTC-27DEC26-70000-C", "option", "publicTrade.BTC", "4500"),
    ],
)
def test_trade(name, kind, topic, price):
    """Others trade where a test wants it; a name alone is of the first category that has it."""
    with Sandbox("bybit-v5", seed=5, tick=None) as box:
        peer = websocket.create_connection(box.url.replace("/spot", f"/{kind}"), timeout=LIMIT_S)
        peer.send(json.dumps({"op": "subscribe", "args": [topic]}))
        assert json.loads(peer.recv())["success"]
        box.trade(name, "sell", price, 1000 if "SHIB" in name else 3)
        last = json.loads(peer.recv())["data"][-1]
        symbol = name.rpartition("/")[2]
        assert (symbol, Decimal(price), "Sell") == (last["s"], Decimal(last["p"]), last["S"])
        peer.shutdown()


def test_names_of_no_market():
    """An unknown name is refused with those there are."""
    with Sandbox("bybit-v5", seed=5, tick=None) as box:
        with pytest.raises(UsageError, match="symbol='BTCUSDX': takes one of spot/BTCUSDT, "):
            box.trade("BTCUSDX", "buy", 70_000, 1)


@pytest.mark.parametrize("category", [None, *CATEGORIES, "status", ["spot"]])
def test_wiring(still, category):
    """A client's public address is that of its category, spot's if it has none; the others are the same for all."""
    options = {} if category is None else {"category": category}
    wiring = still.first.wiring("ws://h:1/v5/public/spot", "http://h:2", options)
    assert {
        "public_url": f"ws://h:1/v5/public/{category if category in CATEGORIES else 'spot'}",
        "private_url": "ws://h:1/v5/private",
        "trade_url": "ws://h:1/v5/trade",
        "status_url": "ws://h:1/v5/public/misc/status",
        "api_key": "key",
        "api_secret": "secret",
    } == wiring


def test_rows_for_rest(passing):
    """REST has the latest rows of the streams, and a book with the numbers of the stream of 1000 levels, of options of 100."""
    line = passing.dial("linear").good("orderbook.1000.BTCUSDT", "publicTrade.BTCUSDT")
    passing.step(20)
    pushes = line.take()
    trades = [row for push in pushes if push["topic"].startswith("publicTrade") for row in push["data"]]
    assert [{**row, "seq": 0} for row in trades] == [
        {**row, "seq": 0} for row in passing.feeds.trades("linear", "BTCUSDT", len(trades))
    ]
    copy = Copy()
    for push in pushes:
        if push["topic"].startswith("orderbook"):
            copy.apply(push)
    book = passing.feeds.book("linear", "BTCUSDT", 7)
    assert (copy.u, copy.seq) == (book["u"], book["seq"])
    assert [side[:7] for side in copy.best()] == [levels(book[side]) for side in "ba"]
    assert (
        passing.dial("option").good("orderbook.100." + OPTIONS[0]).take()[0]["data"]["u"]
        == passing.feeds.book("option", OPTIONS[0], 1)["u"]
    )
    assert 3 == len(passing.feeds.book("spot", "BTCUSDT", "rpi")["b"][0])


def test_two_views_of_the_same_markets():
    """The same markets asked for twice give the same further ones, so that what moves one of them is seen in the other."""
    markets = markets_at(EPOCH_US, 5)
    one, other = V5Markets(markets, 5), V5Markets(markets, 5)
    assert one.markets == other.markets
    assert one.markets != V5Markets(markets, 6).markets
