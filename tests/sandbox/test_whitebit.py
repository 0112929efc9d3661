"""WhiteBIT's side: each method and channel as documented, and all of them over one market."""

from __future__ import annotations

import collections
import json
from decimal import Decimal

import pytest

from exchange_ws.sandbox import Sandbox

MARKETS = ["BTC_USDT", "ETH_USDT", "SOL_USDT", "XRP_USDT", "ETH_BTC", "BTC_PERP", "ETH_PERP", "SHIB_PERP", "DBTC_DUSDT"]
FUTURES = ["BTC_PERP", "ETH_PERP", "SHIB_PERP"]
SUCCESS = {"status": "success"}


class Depth:
    """The book that a client makes of `depth_update`, checking the chain of ids on the way."""

    def __init__(self):
        self.bids, self.asks = {}, {}
        self.update_id = None
        self.kinds = []

    def apply(self, full, book, market):
        self.kinds.append(full)
        if full:
            assert "past_update_id" not in book
            self.bids, self.asks = dict(book["bids"]), dict(book["asks"])
        else:
            assert book["past_update_id"] == self.update_id < book["update_id"]
            assert book.get("bids") or book.get("asks")
            for side, changes in ((self.bids, book.get("bids", [])), (self.asks, book.get("asks", []))):
                for price, amount in changes:
                    if amount == "0":
                        del side[price]
                    else:
                        side[price] = amount
        for key, reverse in (("asks", False), ("bids", True)):
            prices = [Decimal(price) for price, _ in book.get(key, [])]
            assert sorted(prices, reverse=reverse) == prices
        self.update_id = book["update_id"]

    def as_requested(self):
        def by_price(level):
            return Decimal(level[0])

        return {
            "asks": sorted(([price, amount] for price, amount in self.asks.items()), key=by_price),
            "bids": sorted(([price, amount] for price, amount in self.bids.items()), key=by_price, reverse=True),
        }


def without_time(book):
    return {key: book[key] for key in ("asks", "bids")}


# Service, envelope, errors.


def test_ping_and_time(box, dial):
    """`ping` and `time` as documented; the time is the market's."""
    peer = dial(box.url)
    assert "pong" == peer.result("ping")
    assert 1_700_000_000 == peer.result("time")
    box.step(25)
    assert 1_700_000_002 == peer.result("time")


def test_id_zero(still_box, dial):
    """0 is an id like any other."""
    peer = dial(still_box.url)
    peer.ws.send('{"id":0,"method":"ping","params":[]}')
    assert {"id": 0, "result": "pong", "error": None} == peer.read()


def test_key_order_differs_between_connections(still_box, dial):
    """Both documented orders occur, for answers and for updates, and no space between tokens."""
    answers, updates = set(), set()
    for _ in range(12):
        peer = dial(still_box.url)
        peer.ws.send('{"id":1,"method":"trades_subscribe","params":["BTC_USDT"]}')
        answer, update = peer.ws.recv(), peer.ws.recv()
        answers.add(tuple(json.loads(answer)))
        updates.add(tuple(json.loads(update)))
        assert not {" ", "\n"} & set(answer + update)
    assert {("id", "result", "error"), ("error", "result", "id")} == answers
    assert {("id", "method", "params"), ("method", "params", "id")} == updates


@pytest.mark.parametrize(
    ("code", "method", "params"),
    [
        (4, "no_such_method", []),
        (4, "server.time", []),
        (4, "marketToday_request", ["BTC_USDT"]),
        (4, "bookTicker_request", ["BTC_USDT"]),
        (1, "ping", ["x"]),
        (1, "candles_request", ["BTC_USDT", 0, 100]),
        (1, "candles_request", ["BTC_USDT", 100, 0, 60]),
        (1, "candles_request", ["BTC_USDT", 0, 100, 7]),
        (1, "candles_request", ["BTC_USDT", "0", 100, 60]),
        (1, "candles_subscribe", ["BTC_USDT"]),
        (1, "candles_subscribe", ["NO_SUCH", 60]),
        (1, "candles_subscribe", ["BTC_USDT", 0]),
        (1, "candles_subscribe", ["BTC_USDT", 90]),
        (1, "candles_subscribe", ["BTC_USDT", 5000]),
        (1, "candles_subscribe", ["BTC_USDT", 86401]),
        (1, "candles_subscribe", ["BTC_USDT", True]),
        (1, "lastprice_request", []),
        (1, "lastprice_request", ["BTC_USDT", "ETH_USDT"]),
        (1, "lastprice_subscribe", []),
        (1, "lastprice_subscribe", ["BTC_USDT", "NO_SUCH"]),
        (1, "lastprice_subscribe", [["BTC_USDT"]]),
        (1, "lastprice_unsubscribe", ["BTC_USDT"]),
        (1, "market_request", ["BTC_USDT"]),
        (1, "market_request", ["BTC_USDT", 0]),
        (1, "market_subscribe", []),
        (1, "marketToday_query", ["BTC_USDT", "ETH_USDT"]),
        (1, "marketToday_subscribe", []),
        (1, "trades_request", ["BTC_USDT", 101, 0]),
        (1, "trades_request", ["BTC_USDT", 100]),
        (1, "trades_subscribe", ["NO_SUCH"]),
        (1, "trades_unsubscribe", ["BTC_USDT"]),
        (1, "depth_request", ["BTC_USDT", 101, "0"]),
        (1, "depth_request", ["BTC_USDT", 0, "0"]),
        (1, "depth_request", ["BTC_USDT", 10, 0]),
        (1, "depth_subscribe", ["BTC_USDT", 10, "0"]),
        (1, "depth_subscribe", ["BTC_USDT", 7, "0", True]),
        (1, "depth_subscribe", ["BTC_USDT", 10, "0.3", True]),
        (1, "depth_subscribe", ["BTC_USDT", 10, "1", True]),
        (1, "depth_subscribe", ["SHIB_PERP", 10, "0.1", True]),
        (1, "depth_subscribe", ["BTC_USDT", 10, "0", 1]),
        (1, "depth_unsubscribe", ["BTC_USDT", "ETH_USDT"]),
        (1, "bookTicker_subscribe", ["NO_SUCH"]),
        (1, "premiumIndex_subscribe", ["BTC_USDT"]),
        (1, "ADLQuantile_subscribe", ["BTC_USDT"]),
        (1, "authorize", ["wrong", "public"]),
        (6, "balanceSpot_request", ["BTC"]),
        (6, "deals_subscribe", [[]]),
        (6, "positionsMargin_subscribe", []),
        (6, "borrowsAccountMargin_unsubscribe", []),
        (6, "order_limit_place", [{}]),
        (6, "collateral_order_oto_place", [{}]),
        (6, "order_cancel_all", [{}]),
    ],
)
def test_errors(still_box, dial, code, method, params):
    """A bad request gets the documented code, and the connection lives."""
    messages = {1: "invalid argument", 4: "method not found", 6: "require authentication"}
    peer = dial(still_box.url)
    answer = peer.ask(method, *params)
    assert (None, {"code": code, "message": messages[code]}) == (answer["result"], answer["error"])
    assert "pong" == peer.result("ping")


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ("[]", None),
        ('{"method":"ping","params":[]}', None),
        ('{"id":"1","method":"ping","params":[]}', None),
        ('{"id":5,"method":"ping"}', 5),
        ('{"id":5,"method":"ping","params":{}}', 5),
        ('{"id":5,"method":null,"params":[]}', 5),
    ],
)
def test_wrong_envelopes(still_box, dial, sent, number):
    """JSON that is no request gets code 1, with its id where it has one."""
    peer = dial(still_box.url)
    peer.ws.send(sent)
    answer = peer.read()
    assert (number, 1) == (answer["id"], answer["error"]["code"])


def test_authorize(still_box, dial):
    """The token opens the private methods, on this connection only, and once; a wrong one is an invalid argument."""
    peer, other = dial(still_box.url), dial(still_box.url)
    assert SUCCESS == peer.result("authorize", still_box.token, "public")
    assert 1 == peer.ask("authorize", still_box.token, "public")["error"]["code"]
    assert {"BTC"} == set(peer.result("balanceSpot_request", "BTC"))
    for wrong in (["nonsense", "public"], [still_box.token, "private"], [still_box.token], [None, "public"]):
        assert 1 == other.ask("authorize", *wrong)["error"]["code"]
    assert 6 == other.ask("balanceSpot_request")["error"]["code"]


def test_same_seed_same_messages(dial):
    """With a market moved by hand, seed, requests and steps decide every byte."""

    def session(seed):
        with Sandbox("whitebit", seed=seed, tick=None) as box:
            peer = dial(box.url)
            for method, params in (("trades_subscribe", []), ("depth_subscribe", ["BTC_USDT", 20, "0", True])):
                peer.send(method, *params)
            peer.send("candles_subscribe", "BTC_USDT", 60)
            box.wait_received("candles_subscribe")
            box.step(20)
            last = peer.send("ping")
            texts = []
            while not texts or json.loads(texts[-1])["id"] != last:
                texts.append(peer.ws.recv())
            return texts, (box.api_key, box.api_secret, box.token)

    one, other = session(11), session(12)
    assert one == session(11)
    assert len(one[0]) > 50 and one[0] != other[0] and not set(one[1]) & set(other[1])


# Replacing.


@pytest.mark.parametrize(
    ("channel", "verb"),
    [("lastprice", "lastprice"), ("market", "market"), ("marketToday", "marketToday"), ("trades", "trades")],
)
def test_subscribe_replaces(box, dial, channel, verb):
    """A second subscribe is the whole list; `[]` of unsubscribe ends it; a refused one changes nothing."""
    peer = dial(box.url)

    def told():
        box.step(60)
        return {params[0] for params in peer.take(channel)}

    assert SUCCESS == peer.result(f"{verb}_subscribe", "BTC_USDT", "ETH_USDT")
    assert {"BTC_USDT", "ETH_USDT"} == told()
    assert SUCCESS == peer.result(f"{verb}_subscribe", "SOL_USDT")
    assert {"SOL_USDT"} == told()
    assert 1 == peer.ask(f"{verb}_subscribe", "BTC_USDT", "NO_SUCH")["error"]["code"]
    assert {"SOL_USDT"} == told()
    assert SUCCESS == peer.result(f"{verb}_unsubscribe")
    assert set() == told()


def test_connections_are_apart(box, dial):
    """What one connection subscribes does not reach another."""
    peer, other = dial(box.url), dial(box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    other.result("lastprice_subscribe", "ETH_USDT")
    box.step(20)
    assert {"BTC_USDT"} == {params[0] for params in peer.take()}
    assert {"ETH_USDT"} == {params[0] for params in other.take()}


# Candles.


def test_candles_agree_with_trades(box, dial):
    """A candle is the sum of the trades that the trades channel sent, in the order open, close, high, low."""
    peer = dial(box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    peer.take()
    start = 1_700_000_000
    box.step(100)
    by_start = collections.defaultdict(list)
    for _, trades in peer.take("trades"):
        for trade in reversed(trades):
            by_start[int(trade["time"]) // 5 * 5].append(trade)
    candles = peer.result("candles_request", "BTC_USDT", start, start + 9, 5)
    assert [start, start + 5] == [candle[0] for candle in candles]
    for candle in candles:
        trades = by_start[candle[0]]
        prices = [Decimal(trade["price"]) for trade in trades]
        amounts = [Decimal(trade["amount"]) for trade in trades]
        deal = sum(price * amount for price, amount in zip(prices, amounts))
        expected = [prices[0], prices[-1], max(prices), min(prices), sum(amounts), deal]
        assert expected == [Decimal(number) for number in candle[1:7]]
        assert (8, "BTC_USDT") == (len(candle), candle[7])


def test_candles_stream(box, dial):
    """Updates carry the candle as it is; the one that closes comes a last time, complete, before the next."""
    peer = dial(box.url)
    assert SUCCESS == peer.result("candles_subscribe", "BTC_USDT", 5)
    last = {}
    both = 0
    for _ in range(24):
        box.step(5)
        for params in peer.take("candles"):
            assert [candle[0] for candle in params] == sorted(candle[0] for candle in params)
            both += len(params) == 2
            last.update((candle[0], candle) for candle in params)
    expected = peer.result("candles_request", "BTC_USDT", 1_700_000_000, 1_700_000_012, 5)
    assert expected == [last[start] for start in sorted(last)]
    assert (3, 2) == (len(last), both)


def test_candles_one_series(box, dial):
    """A connection has one series: the second kills the first."""
    peer = dial(box.url)
    peer.result("candles_subscribe", "BTC_USDT", 60)
    peer.result("candles_subscribe", "ETH_USDT", 300)
    box.step(30)
    assert {"ETH_USDT"} == {candle[7] for params in peer.take("candles") for candle in params}
    peer.result("candles_unsubscribe")
    box.step(30)
    assert [] == peer.take()


def test_candles_pace(box, dial):
    """At most every half second, and nothing while nothing happens."""
    peer = dial(box.url)
    peer.result("candles_subscribe", "BTC_USDT", 60)
    box.step(40)
    assert 6 <= len(peer.take("candles")) <= 8
    peer.result("candles_subscribe", "DBTC_DUSDT", 3600)
    box.step(40)
    assert len(peer.take("candles")) < 4


@pytest.mark.parametrize("interval", [1, 2, 30, 60, 900, 1800, 3600, 43200, 86400, 172800, 259200, 604800, 2592000])
def test_candles_intervals(still_box, dial, interval):
    """The documented intervals are taken."""
    peer = dial(still_box.url)
    assert SUCCESS == peer.result("candles_subscribe", "BTC_USDT", interval)
    candles = peer.result("candles_request", "BTC_USDT", 1_699_990_000, 1_700_000_000, interval)
    assert all(candle[0] % interval == 0 for candle in candles)


# Last price and statistics.


def test_lastprice_agrees(box, dial):
    """The last price is that of the last trade, in the update, the query and the statistics."""
    peer = dial(box.url)
    peer.result("lastprice_subscribe", *MARKETS)
    ever: set[str] = set()
    for _ in range(5):
        box.step(10)
        told = dict(peer.take("lastprice"))
        for market in MARKETS:
            last = peer.result("trades_request", market, 1, 0)[0]["price"]
            assert last == peer.result("lastprice_request", market) == peer.result("market_request", market, 86400)["last"]
            assert told.get(market, last) == last
        ever.update(told)
    assert set(MARKETS) == ever


def test_lastprice_only_when_changed(box, dial):
    """A market whose price stands still is told once; a second has at most one update."""
    peer = dial(box.url)
    peer.result("lastprice_subscribe", "DBTC_DUSDT")
    box.step(100)
    prices = [price for _, price in peer.take("lastprice")]
    assert 1 <= len(prices) < 10
    assert all(one != other for one, other in zip(prices, prices[1:]))


def test_statistics_fields(still_box, dial):
    """The documented fields, in the documented order; `period` and `close` in the first kind only."""
    peer = dial(still_box.url)
    fields = ["last", "open", "high", "low", "volume", "deal"]
    of_period = peer.result("market_request", "ETH_BTC", 86400)
    assert ["period", "last", "open", "close", "high", "low", "volume", "deal"] == list(of_period)
    assert (86400, of_period["last"]) == (of_period["period"], of_period["close"])
    assert fields == list(peer.result("marketToday_query", "ETH_BTC"))


def test_statistics_stream(box, dial):
    """One full update a second for each market, which is what the query answers at that moment."""
    peer = dial(box.url)
    peer.result("market_subscribe", "BTC_USDT", "BTC_PERP")
    peer.result("marketToday_subscribe", "BTC_USDT")
    box.step(10)
    expected = [
        ["BTC_USDT", peer.result("market_request", "BTC_USDT", 86400)],
        ["BTC_PERP", peer.result("market_request", "BTC_PERP", 86400)],
        ["BTC_USDT", peer.result("marketToday_query", "BTC_USDT")],
    ]
    assert expected == peer.take()
    box.step(50)
    assert 5 * 3 == len(peer.take())


def test_statistics_agree_with_trades(box, dial):
    """The volume grows by what was traded."""
    peer = dial(box.url)
    peer.result("trades_subscribe", "ETH_USDT")
    peer.take()
    before = peer.result("marketToday_query", "ETH_USDT")
    box.step(100)
    traded = [trade for _, trades in peer.take("trades") for trade in trades]
    after = peer.result("marketToday_query", "ETH_USDT")
    assert Decimal(after["volume"]) - Decimal(before["volume"]) == sum(Decimal(trade["amount"]) for trade in traded)
    assert Decimal(after["high"]) == max(Decimal(before["high"]), *(Decimal(trade["price"]) for trade in traded))
    assert Decimal(after["low"]) == min(Decimal(before["low"]), *(Decimal(trade["price"]) for trade in traded))
    assert before["open"] == after["open"]


# Trades.


def test_trades_snapshot(still_box, dial):
    """Every subscribe begins with up to 100 trades of each stated market, newest first, carried over or not."""
    peer = dial(still_box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    peer.result("trades_subscribe", "BTC_USDT", "ETH_PERP")
    snapshots = peer.take("trades")
    assert ["BTC_USDT", "BTC_USDT", "ETH_PERP"] == [market for market, _ in snapshots]
    for market, trades in snapshots:
        ids = [trade["id"] for trade in trades]
        assert (100, sorted(ids, reverse=True)) == (len(ids), ids)
        assert peer.result("trades_request", market, 100, 0) == trades


def test_trades_of_all_markets(still_box, dial):
    """An empty list means all."""
    peer = dial(still_box.url)
    peer.result("trades_subscribe")
    assert MARKETS == [market for market, _ in peer.take("trades")]


def test_trades_stream_has_no_hole(box, dial):
    """Snapshot and updates together are all trades, each once."""
    peer = dial(box.url)
    peer.result("trades_subscribe", "BTC_USDT")
    ((_, snapshot),) = peer.take("trades")
    box.step(60)
    live = [trade for _, trades in peer.take("trades") for trade in reversed(trades)]
    expected = peer.result("trades_request", "BTC_USDT", 100, snapshot[0]["id"])
    assert expected == live[::-1]
    assert 12 < len(live) < 100
    assert {"id", "time", "price", "amount", "type", "rpi"} == set(live[0])
    assert {"buy", "sell"} == {trade["type"] for trade in live}


def test_prices_are_plain_strings(still_box, dial):
    """Tiny prices have no exponent."""
    peer = dial(still_box.url)
    trades = peer.result("trades_request", "SHIB_PERP", 100, 0)
    assert all(trade["price"].startswith("0.0000") and "E" not in trade["amount"] for trade in trades)


# Depth.


@pytest.mark.parametrize(
    ("market", "limit", "interval"),
    [
        ("BTC_USDT", 100, "0"),
        ("BTC_USDT", 20, "0.1"),
        ("BTC_USDT", 1, "0"),
        ("ETH_BTC", 10, "0.00001"),
        ("SHIB_PERP", 10, "0.00000001"),
        ("DBTC_DUSDT", 5, "0"),
    ],
)
def test_depth_adds_up(box, dial, market, limit, interval):
    """The first book and the chained changes give, after each step, what `depth_request` answers."""
    peer, depth = dial(box.url), Depth()
    assert SUCCESS == peer.result("depth_subscribe", market, limit, interval, True)
    for _ in range(60):
        for params in peer.take("depth"):
            depth.apply(*params)
        assert without_time(peer.result("depth_request", market, limit, interval)) == depth.as_requested()
        box.step()
    assert depth.kinds[0] and not any(depth.kinds[1:])
    assert (limit, limit) == (len(depth.bids), len(depth.asks))


def test_depth_ids_jump(box, dial):
    """The id counts changes of the whole book, so that it jumps, and the chain of a cut book passes over changes below it."""
    peer = dial(box.url)
    peer.result("depth_subscribe", "BTC_USDT", 1, "0", True)
    box.step(50)
    updates = peer.take("depth")
    jumps = [book["update_id"] - book["past_update_id"] for full, book, _ in updates if not full]
    assert len(updates) < 51 and max(jumps) > 10


def test_depth_keepalive(box, dial):
    """After 10 s without an update the whole book comes, and then the chain goes on from there."""
    peer, depth = dial(box.url), Depth()
    peer.result("depth_subscribe", "DBTC_DUSDT", 100, "0", True)
    times = []
    box.step(600)
    for params in peer.take("depth"):
        depth.apply(*params)
        times.append(params[1]["event_time"])
    pauses = [later - earlier for earlier, later in zip(times, times[1:])]
    assert max(pauses) <= 10.0001
    assert [10.0] * depth.kinds[1:].count(True) == [round(pause, 3) for pause, full in zip(pauses, depth.kinds[1:]) if full]
    assert 2 <= depth.kinds.count(True) < len(depth.kinds)


def test_depth_multiple(box, dial):
    """True adds the market, false drops the others; the same market again changes its settings."""
    peer = dial(box.url)

    def told():
        box.step(10)
        return {market for _, _, market in peer.take("depth")}

    peer.result("depth_subscribe", "BTC_USDT", 10, "0", True)
    peer.result("depth_subscribe", "ETH_USDT", 10, "0", True)
    assert {"BTC_USDT", "ETH_USDT"} == told()
    peer.result("depth_subscribe", "SOL_USDT", 10, "0", False)
    assert {"SOL_USDT"} == told()
    peer.result("depth_subscribe", "SOL_USDT", 5, "0", True)
    (full, book, _), *_ = peer.take("depth")
    assert (True, 5, 5) == (full, len(book["asks"]), len(book["bids"]))
    peer.result("depth_subscribe", "BTC_USDT", 10, "0", True)
    peer.result("depth_unsubscribe", "SOL_USDT")
    peer.take()
    assert {"BTC_USDT"} == told()
    peer.result("depth_unsubscribe")
    assert set() == told()


# Book ticker.


def test_book_ticker_is_the_top(box, dial):
    """An update at each change, and none without; always the first levels of the book."""
    peer = dial(box.url)
    peer.result("bookTicker_subscribe", "BTC_USDT", "SHIB_PERP")
    tops = {}

    def first_levels(market):
        book = peer.result("depth_request", market, 1, "0")
        return [*book["bids"][0], *book["asks"][0]]

    for market in ("BTC_USDT", "SHIB_PERP"):
        tops[market] = first_levels(market)
    assert [] == peer.take()
    count = 0
    for _ in range(40):
        box.step()
        for ((transaction, sent, market, update_id, *numbers),) in peer.take("bookTicker"):
            assert transaction <= sent and isinstance(update_id, int)
            assert tops[market] != numbers
            tops[market] = numbers
            count += 1
        assert {market: first_levels(market) for market in tops} == tops
    assert 20 < count < 80


def test_book_ticker_of_all(box, dial):
    """An empty list means all; one market can leave, or all."""
    peer = dial(box.url)

    def told():
        box.step(100)
        return {row[2] for rows in peer.take("bookTicker") for row in rows}

    peer.result("bookTicker_subscribe")
    assert set(MARKETS) >= told() >= set(MARKETS) - {"DBTC_DUSDT"}
    peer.result("bookTicker_unsubscribe", "BTC_USDT")
    assert "BTC_USDT" not in told()
    peer.result("bookTicker_subscribe", "ETH_BTC")
    assert {"ETH_BTC"} == told()
    peer.result("bookTicker_unsubscribe")
    assert set() == told()


# Futures.


def test_premium_index(box, dial):
    """Both documented shapes occur, one for each connection; every second, for all futures or those listed."""
    shapes = set()
    for _ in range(12):
        peer = dial(box.url)
        assert SUCCESS == peer.result("premiumIndex_subscribe")
        box.step(10)
        updates = peer.take("premiumIndex")
        flat = not isinstance(updates[0][0], list)
        shapes.add(flat)
        rows = [row[:-1] for row in updates] if flat else updates[0]
        assert FUTURES == [row[0] for row in rows]
        assert all(5 == len(row) and isinstance(row[4], int) for row in rows)
        assert peer.result("lastprice_request", "BTC_USDT") == rows[0][1]
        peer.result("premiumIndex_unsubscribe")
        box.step(10)
        assert [] == peer.take()
    assert {True, False} == shapes


def test_quantiles(box, dial):
    """A row for each market that is asked for: long and short, null where there is none."""
    peer = dial(box.url)
    assert SUCCESS == peer.result("ADLQuantile_subscribe", "BTC_PERP")
    box.step(10)
    (((market, *quantiles),),) = peer.take("ADLQuantile")
    assert ("BTC_PERP", 2) == (market, len(quantiles))
    assert all(quantile is None or 1 <= quantile <= 5 for quantile in quantiles)
    peer.result("ADLQuantile_unsubscribe")
    box.step(10)
    assert [] == peer.take()
