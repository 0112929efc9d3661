"""Each method of the client by its own name, against the sandbox: what it says on the wire, and what comes back."""

from __future__ import annotations

import inspect
from collections import Counter
from decimal import Decimal

import pytest

from exchange_ws import WhiteBIT
from exchange_ws.errors import SubscriptionRejected, UsageError
from exchange_ws.events import BookTicker, BookUpdate, Candle, LastPrice, Other, Ticker, Trade
from exchange_ws.exchanges.whitebit.client import REGIONS, URL
from exchange_ws.exchanges.whitebit.dialect import ACCOUNT_CHANNELS, ALIASES, CHANNELS
from exchange_ws.sandbox import Sandbox

LIMIT_S = 30.0  # reached only when something is broken
SECOND = 10  # steps of the sandbox


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=11, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def ws(box):
    with box.client() as ws:
        yield ws


@pytest.fixture
def btc(box):
    """The market BTC_USDT itself."""
    return box.markets.markets[0]


def said(box, method=None):
    """Parameters of what was said last, of *method*."""
    return [message for message in box.received if method in (None, message["method"])][-1]["params"]


def text(number):
    """A decimal as the wire has it."""
    return f"{number.normalize():f}"


def there(ws, subscription):
    """All events that the exchange has sent until now, one at least."""
    ws.ping()
    return subscription.get_many(timeout=LIMIT_S)


# Making it -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "url", "rest_url"),
    [
        ({}, "wss://api.whitebit.com/ws", "https://whitebit.com"),
        ({"region": "com"}, "wss://api.whitebit.com/ws", "https://whitebit.com"),
        ({"region": "eu"}, "wss://api.whitebit.eu/ws", "https://whitebit.eu"),
        ({"url": URL, "region": "eu"}, "wss://api.whitebit.eu/ws", "https://whitebit.eu"),
        ({"url": "ws://127.0.0.1:1/ws"}, "ws://127.0.0.1:1/ws", "https://whitebit.com"),
        ({"region": "eu", "rest_url": "http://127.0.0.1:1"}, "wss://api.whitebit.eu/ws", "http://127.0.0.1:1"),
    ],
)
def test_addresses(arguments, url, rest_url):
    """The region picks both addresses; one that is told wins."""
    ws = WhiteBIT(**arguments)
    assert (url, rest_url) == (ws._endpoints["public"].url, ws.rest_url)


def test_regions():
    """The default is one of the regions'; an unknown one is refused, whatever it is."""
    assert URL == REGIONS["com"][0]
    for region in ("mars", "", None, 1, ["com"]):
        with pytest.raises(UsageError, match="com, eu"):
            WhiteBIT(region=region)


def test_every_channel_has_its_methods():
    """Each channel of the documentation has a `subscribe_...`, and each that can be asked a `request_...`."""
    names = {ALIAS: name for name, ALIAS in ALIASES.items()}
    channels = {names.get(channel, channel) for channel in (*CHANNELS, *ACCOUNT_CHANNELS)}
    methods = [name for name, _ in inspect.getmembers(WhiteBIT, inspect.isfunction)]
    assert channels == {name[len("subscribe_") :] for name in methods if name.startswith("subscribe_")}
    told_only = {"positions_margin", "positions_account_margin", "borrows_margin", "borrows_account_margin"}
    asked = channels - {"book_ticker", "premium_index", "adl_quantile"} - told_only
    assert asked == {name[len("request_") :] for name in methods if name.startswith("request_")}


# Requests --------------------------------------------------------------------------------------------------------------------


def test_request(box, ws):
    """Any method, the vendor's own words and result."""
    assert "pong" == ws.request("ping")
    assert 3 == len(ws.request("trades_request", ("BTC_USDT", 3, 0)))
    assert ["BTC_USDT", 3, 0] == said(box)


@pytest.mark.parametrize(
    "arguments",
    [
        ("trades_subscribe", ["BTC_USDT"]),
        ("depth_unsubscribe", []),
        ("authorize", ["token", "public"]),
        ("", []),
        (5, []),
        ("lastprice_request", "BTC_USDT"),
        ("lastprice_request", {"market": "BTC_USDT"}),
        ("lastprice_request", [b"BTC_USDT"]),
        ("lastprice_request", [float("nan")]),
        ("lastprice_request", ["\ud800"]),
        ("\ud800", []),
    ],
)
def test_senseless_request(box, ws, arguments):
    """What would undo the subscriptions, or cannot be said, is refused, and nothing is sent."""
    with pytest.raises(UsageError):
        ws.request(*arguments)
    assert [] == box.received


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trades_subscribe", ["BTC_USDT"]), r"use subscribe\(\) or unsubscribe\(\) instead"),
        (("authorize", ["token", "public"]), r"authorize: .*; it logs in by itself"),
        (("order", [Decimal("0.1")]), r"order: params takes what JSON has \(write a Decimal as text\)"),
    ],
)
def test_senseless_request_is_explained(ws, arguments, said):
    """The message says what to do instead, and repeats no parameter."""
    with pytest.raises(UsageError, match=said) as caught:
        ws.request(*arguments)
    assert not {"token", "0.1"} & set(str(caught.value).replace("'", " ").split())


def test_time(box, ws):
    """The exchange's clock, whole Unix seconds."""
    assert box.markets.now_us // 1_000_000 == ws.time()


def test_request_lastprice(box, ws, btc):
    """A price, as text."""
    assert text(btc.last) == ws.request_lastprice("BTC_USDT")
    assert ["BTC_USDT"] == said(box, "lastprice_request")


def test_request_candles(box, ws, btc):
    """Rows with open, close, high, low in this order."""
    end = box.markets.now_us // 1_000_000
    rows = ws.request_candles("BTC_USDT", end - 7200, end, 3600)
    expected = [
        [candle.start, *map(text, (candle.open, candle.close, candle.high, candle.low))]
        for candle in btc.candles(3600, end - 7200, end)
    ]
    assert [row[:5] for row in rows] == expected != []
    assert (["BTC_USDT", end - 7200, end, 3600], "BTC_USDT") == (said(box, "candles_request"), rows[0][7])


def test_request_market(box, ws, btc):
    """Statistics of a period, a day if not told."""
    day, hour = ws.request_market("BTC_USDT"), ws.request_market("BTC_USDT", 3600)
    assert (86400, 3600) == (day["period"], hour["period"])
    assert (text(btc.last), ["BTC_USDT", 3600]) == (day["last"], said(box, "market_request"))


def test_request_market_today(box, ws, btc):
    """The method's name on the wire ends differently from all others."""
    assert text(btc.last) == ws.request_market_today("BTC_USDT")["last"]
    assert ["BTC_USDT"] == said(box, "marketToday_query")


def test_request_trades(box, ws, btc):
    """The latest, or those beyond an id; newest first."""
    ids = [trade["id"] for trade in ws.request_trades("BTC_USDT", 5)]
    assert [trade.id for trade in reversed(btc.trades)][:5] == ids
    assert ids[:2] == [trade["id"] for trade in ws.request_trades("BTC_USDT", largest_id=ids[2])]
    assert ["BTC_USDT", 100, ids[2]] == said(box, "trades_request")


def test_request_depth(box, ws, btc):
    """So many levels on each side, in price steps."""
    book = ws.request_depth("BTC_USDT", 3)
    bids, asks = btc.book(3)
    assert [[text(price), text(size)] for price, size in bids.items()] == book["bids"]
    assert [[text(price), text(size)] for price, size in asks.items()] == book["asks"]
    coarse = ws.request_depth("BTC_USDT", limit=2, interval=Decimal("0.1"))
    assert (["BTC_USDT", 2, "0.1"], 2) == (said(box, "depth_request"), len(coarse["asks"]))


@pytest.mark.parametrize(
    "call",
    [
        lambda ws: ws.request_lastprice(""),
        lambda ws: ws.request_lastprice("BTC USDT"),
        lambda ws: ws.request_lastprice(None),
        lambda ws: ws.request_candles("BTC_USDT", 0, 1, 7),
        lambda ws: ws.request_candles("BTC_USDT", -1, 1, 60),
        lambda ws: ws.request_candles("BTC_USDT", 0.0, 1, 60),
        lambda ws: ws.request_market("BTC_USDT", 0),
        lambda ws: ws.request_market("BTC_USDT", True),
        lambda ws: ws.request_trades("BTC_USDT", 0),
        lambda ws: ws.request_trades("BTC_USDT", 101),
        lambda ws: ws.request_trades("BTC_USDT", 1, -1),
        lambda ws: ws.request_depth("BTC_USDT", 101),
        lambda ws: ws.request_depth("BTC_USDT", 1, "0.5"),
        lambda ws: ws.request_depth("BTC_USDT", 1, "cheap"),
        lambda ws: ws.subscribe(),
        lambda ws: ws.subscribe("trades"),
        lambda ws: ws.subscribe("trade", "BTC_USDT"),
        lambda ws: ws.subscribe("trades", "BTC_USDT", limit=5),
        lambda ws: ws.subscribe_trades(),
        lambda ws: ws.subscribe_trades("*", "BTC_USDT"),
        lambda ws: ws.subscribe_lastprice("*"),
        lambda ws: ws.subscribe_candles("BTC_USDT", 61),
        lambda ws: ws.subscribe_candles("BTC_USDT", None),
        lambda ws: ws.subscribe_depth("BTC_USDT", limit=7),
        lambda ws: ws.subscribe_depth("BTC_USDT", interval="1"),
        lambda ws: ws.subscribe_depth(),
    ],
)
def test_arguments_that_cannot_be_right(box, ws, call):
    """They are refused here, and nothing is sent."""
    with pytest.raises(UsageError):
        call(ws)
    assert [] == box.received


# Subscriptions ---------------------------------------------------------------------------------------------------------------


def test_subscribe_candles(box, ws, btc):
    """Candles with the interval that only the subscription knows."""
    candles = ws.subscribe_candles("BTC_USDT", 60)
    box.step(SECOND)
    event = there(ws, candles)[-1]
    now = box.markets.now_us // 1_000_000
    (truth,) = btc.candles(60, now - now % 60, now)
    assert (Candle, "BTC_USDT", 60, None, None) == (type(event), event.symbol, event.interval, event.closed, event.time)
    assert (truth.start, truth.open, truth.high, truth.low) == (event.start, event.open, event.high, event.low)
    assert truth.volume == event.volume
    assert (["BTC_USDT", 60], ("candles BTC_USDT 60",)) == (said(box, "candles_subscribe"), candles.topics)


def test_subscribe_lastprice(box, ws, btc):
    """Prices of several markets, without an exchange time."""
    prices = ws.subscribe_lastprice("BTC_USDT", "BTC_PERP")
    box.step(SECOND)
    events = {event.symbol: event for event in there(ws, prices)}
    assert {"BTC_USDT", "BTC_PERP"} == set(events)
    assert (LastPrice, btc.last, None) == (type(events["BTC_USDT"]), events["BTC_USDT"].price, events["BTC_USDT"].time)
    assert ["BTC_PERP", "BTC_USDT"] == sorted(said(box, "lastprice_subscribe"))


@pytest.mark.parametrize(
    ("method", "channel", "period"), [("subscribe_market", "market", 86400), ("subscribe_market_today", "marketToday", None)]
)
def test_subscribe_statistics(box, ws, btc, method, channel, period):
    """Statistics of 24 hours, or of the day."""
    tickers = getattr(ws, method)("BTC_USDT", "ETH_USDT")
    box.step(SECOND)
    events = there(ws, tickers)
    event = next(event for event in events if event.symbol == "BTC_USDT")
    assert (Ticker, channel, period, btc.last) == (type(event), event.channel, event.period, event.last)
    assert event.low <= event.open <= event.high
    assert 0 < event.volume < event.quote_volume
    assert {"BTC_USDT", "ETH_USDT"} == {event.symbol for event in events}
    assert ["BTC_USDT", "ETH_USDT"] == said(box, f"{channel}_subscribe")


def test_subscribe_trades(box, ws, btc):
    """The replay first, oldest first and marked; then what happens; sides, prices and times as they were."""
    trades = ws.subscribe_trades("BTC_USDT")
    replayed = [trade.id for trade in btc.trades][-100:]
    box.step(2 * SECOND)
    events = there(ws, trades)
    truth = [trade for trade in btc.trades if trade.id >= replayed[0]]
    assert [trade.id for trade in truth] == [event.id for event in events]
    assert [trade.id in replayed for trade in truth] == [event.snapshot for event in events]
    for trade, event in zip(truth, events):
        assert (trade.price, trade.size, trade.side) == (event.price, event.size, event.side)
        assert trade.time_us == round(event.time * 1e6)
        assert (Trade, "trades", "BTC_USDT") == (type(event), event.channel, event.symbol)


def test_subscribe_all_trades(box, ws):
    """Of all markets, which an empty list says on the wire; leaving is said by its own word, not by an empty subscribe."""
    trades = ws.subscribe_trades("*")
    assert ([], ("trades *",)) == (said(box, "trades_subscribe"), trades.topics)
    box.step(2 * SECOND)
    counts = Counter(event.symbol for event in there(ws, trades))
    assert (9, True) == (len(counts), min(counts.values()) >= 100)
    trades.unsubscribe()
    assert ["trades_subscribe", "trades_unsubscribe"] == [
        message["method"] for message in box.received if message["method"].startswith("trades")
    ]


def test_all_trades_and_one_market(box, ws):
    """One subscription to all markets, and one to one of them: each gets its own, for as long as it is there."""
    every, one = ws.subscribe_trades("*"), ws.subscribe_trades("BTC_USDT")
    box.step(2 * SECOND)
    assert {"BTC_USDT"} == {event.symbol for event in there(ws, one)}
    assert 9 == len({event.symbol for event in there(ws, every)})
    every.unsubscribe()
    assert ["BTC_USDT"] == said(box, "trades_subscribe")
    box.step(2 * SECOND)
    assert {"BTC_USDT"} == {event.symbol for event in there(ws, one)}


def test_subscribe_depth(box, ws, btc):
    """A book and its changes, each linked to the one before; put together they are the exchange's book."""
    depth = ws.subscribe_depth("BTC_USDT", limit=20)
    assert (["BTC_USDT", 20, "0", True], ("depth BTC_USDT 20 0",)) == (said(box, "depth_subscribe"), depth.topics)
    box.step(3 * SECOND)
    events = there(ws, depth)
    assert (["snapshot"] + ["delta"] * (len(events) - 1), {BookUpdate}) == (
        [event.kind for event in events],
        {type(event) for event in events},
    )
    assert [event.previous for event in events[1:]] == [event.sequence for event in events[:-1]]
    bids, asks = {}, {}
    for event in events:
        for side, levels in ((bids, event.bids), (asks, event.asks)):
            for price, size in levels:
                side[price] = size
                if not size:
                    del side[price]
    assert btc.book(20) == (dict(sorted(bids.items(), reverse=True)), dict(sorted(asks.items())))


def test_depth_keepalive(box, ws):
    """Where nothing happens the whole book comes again, which is no gap."""
    depth = ws.subscribe_depth("DBTC_DUSDT", limit=1)
    box.step(30 * SECOND)
    kinds = Counter(event.kind for event in there(ws, depth))
    assert (True, []) == (kinds["snapshot"] > 1, depth.gaps)


def test_depth_of_several_markets(box, ws):
    """Markets are added one by one, and taken away one by one."""
    both = ws.subscribe_depth("BTC_USDT", "ETH_USDT", limit=1, interval="0.1")
    assert {"BTC_USDT", "ETH_USDT"} == {event.symbol for event in there(ws, both)}
    ws.unsubscribe("depth", "BTC_USDT", limit=1, interval="0.1")
    assert (["BTC_USDT"], ("depth ETH_USDT 1 0.1",)) == (said(box, "depth_unsubscribe"), both.topics)
    box.step(2 * SECOND)
    events = there(ws, both)
    assert ({"ETH_USDT"}, {"delta"}) == ({event.symbol for event in events}, {event.kind for event in events})


def test_subscribe_book_ticker(box, ws, btc):
    """The best prices and sizes."""
    best = ws.subscribe_book_ticker("BTC_USDT")
    box.step(2 * SECOND)
    event = there(ws, best)[-1]
    top = btc.top
    assert (BookTicker, "bookTicker", "BTC_USDT") == (type(event), event.channel, event.symbol)
    assert (top.bid, top.bid_size, top.ask, top.ask_size) == (event.bid, event.bid_size, event.ask, event.ask_size)
    assert ["BTC_USDT"] == said(box, "bookTicker_subscribe")


def test_subscribe_all_book_tickers(box, ws):
    """Of all markets; the newest of each, where that is asked for."""
    best = ws.subscribe_book_ticker("*", overflow="latest")
    box.step(5 * SECOND)
    symbols = [event.symbol for event in there(ws, best)]
    assert (True, []) == (len(symbols) >= 5, said(box, "bookTicker_subscribe"))
    assert sorted(set(symbols)) == sorted(symbols)


@pytest.mark.parametrize(
    ("method", "channel", "lengths"),
    [("subscribe_premium_index", "premiumIndex", {5, 6}), ("subscribe_adl_quantile", "ADLQuantile", {3})],
)
def test_subscribe_rows_of_futures(box, method, channel, lengths):
    """Rows of futures, one an event, in each shape in which the exchange sends them; of one market, or of all."""
    seen = set()
    for _ in range(8):  # the exchange chooses the shape for each connection
        with box.client() as ws:
            one, every = getattr(ws, method)("BTC_PERP"), getattr(ws, method)("*")
            box.step(SECOND)
            (event,) = there(ws, one)
            events = there(ws, every)
        assert (Other, channel, "BTC_PERP", "BTC_PERP") == (type(event), event.channel, event.symbol, event.raw[0])
        assert {"BTC_PERP", "ETH_PERP", "SHIB_PERP"} == {event.symbol for event in events}
        seen.add(len(event.raw))
    assert lengths == seen


def test_all_channels_at_once(box, ws):
    """One connection carries every channel; each subscription gets its own."""
    subscriptions = {
        "candles": ws.subscribe_candles("BTC_USDT", 60),
        "lastprice": ws.subscribe_lastprice("BTC_USDT"),
        "market": ws.subscribe_market("BTC_USDT"),
        "marketToday": ws.subscribe_market_today("BTC_USDT"),
        "trades": ws.subscribe_trades("BTC_USDT"),
        "depth": ws.subscribe_depth("BTC_USDT"),
        "bookTicker": ws.subscribe_book_ticker("BTC_USDT"),
        "premiumIndex": ws.subscribe_premium_index("BTC_PERP"),
        "ADLQuantile": ws.subscribe_adl_quantile("BTC_PERP"),
    }
    assert set(CHANNELS) == set(subscriptions)
    box.step(2 * SECOND)
    ws.ping()
    got = {name: {event.channel for event in subscription.get_many()} for name, subscription in subscriptions.items()}
    assert ({name: {name} for name in CHANNELS}, 1) == (got, box.connections)
    stats = ws.stats()
    assert (0, 0, 0) == (stats["unknown"], stats["unrouted"], stats["malformed"])


def test_subscribe_by_words(box, ws):
    """`subscribe` takes the vendor's words and Python's, and text for numbers, as a command line has them."""
    first = ws.subscribe("depth", "BTC_USDT", limit="10", interval="0")
    second = ws.subscribe("book_ticker", "BTC_USDT")
    third = ws.subscribe("candles", "BTC_USDT", interval="300")
    names = [one.topics[0] for one in (first, second, third)]
    assert ["depth BTC_USDT 10 0", "bookTicker BTC_USDT", "candles BTC_USDT 300"] == names


def test_one_bad_market_of_several(box, ws):
    """One market that does not exist refuses the whole subscribe; what was subscribed before goes on."""
    good = ws.subscribe_trades("BTC_USDT")
    with pytest.raises(SubscriptionRejected) as caught:
        ws.subscribe_trades("ETH_USDT", "NO_SUCH")
    assert (1, "trades ETH_USDT, trades NO_SUCH") == (caught.value.code, caught.value.topic)
    box.step(SECOND)
    assert {"BTC_USDT"} == {event.symbol for event in there(ws, good)}


def test_options_of_typed_subscriptions(box, ws):
    """What `subscribe` takes beside topics, each typed method takes."""
    trades = ws.subscribe_trades("BTC_USDT", timeout=LIMIT_S, queue_size=1, overflow="drop_newest", gaps=True, raw=True)
    box.step(2 * SECOND)
    assert ("trades_update", "overflow") == (there(ws, trades)[0]["method"], trades.gaps[0].reason)
    with pytest.raises(UsageError, match="limit: no such option"):
        ws.subscribe_trades("BTC_USDT", limit=5)
