"""The REST side of V5's sandbox: what it makes of the markets and the account that it is given, and what it refuses."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from decimal import Decimal
from urllib.parse import urlencode

import pytest
import requests

from exchange_ws.exchanges.bybit.v5_account import V5Account
from exchange_ws.exchanges.bybit.v5_markets import V5Markets
from exchange_ws.exchanges.bybit.v5_rest import CLOSED_MOST, V5Rest
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.market import markets_at
from exchange_ws.sandbox.server import Credentials

NOW_MS = 1_700_000_000_000
KEY, SECRET = "key-of-the-test", "secret-of-the-test"
LIMIT_S = 20.0  # for one answer over HTTP; reached only when something is broken
OPTION = "BTC-27DEC26-70000-C"


class Records:
    """An account with many orders, the newest first."""

    def __init__(self):
        statuses = ["New", "Filled", "PartiallyFilled", "Cancelled", "Untriggered", "Rejected"]
        self.rows = [
            {
                "orderId": f"id-{n}",
                "orderLinkId": f"link-{n}",
                "symbol": "ETHUSDT" if n % 3 else "BTCUSDT",
                "orderStatus": statuses[n % 6],
            }
            for n in range(60)
        ]

    def orders(self, category):
        return self.rows if category == "linear" else []

    def executions(self, category):
        return self.rows if category == "linear" else []

    def positions(self, category, symbol):
        rows = [{"symbol": "BTCUSDT", "size": "1"}]
        return rows if symbol in (None, "BTCUSDT") else [{"symbol": symbol, "size": "0"}]

    def wallet(self):
        return {"accountType": "UNIFIED", "coin": [{"coin": "BTC"}, {"coin": "USDT"}, {"coin": "ETH"}]}


@pytest.fixture(scope="module")
def markets():
    """Nobody moves them."""
    return V5Markets(markets_at(NOW_MS * 1000, 1), 1)


@pytest.fixture
def rest(markets):
    return V5Rest(Credentials(KEY, SECRET, "token"), markets, Records())


def signed(query, *, key=KEY, secret=SECRET, stamp=NOW_MS, window="5000"):
    """Headers of a private request."""
    text = f"{stamp}{key}{window}{query}".encode()
    names = {"api-key": key, "timestamp": str(stamp), "recv-window": window}
    return {
        **{f"x-bapi-{name}": value for name, value in names.items() if value},
        "x-bapi-sign": hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(),
    }


def ask(rest, path, **params):
    """`result` of a good answer."""
    query = urlencode(params)
    status, _, body = rest.answer("GET", f"{path}?{query}" if query else path, signed(query))
    answer = json.loads(body)
    assert (200, 0, "OK", NOW_MS) == (status, answer["retCode"], answer["retMsg"], answer["time"])
    return answer["result"]


def refusal(rest, path, headers=None, **params):
    """`retCode` and `retMsg` of a refusal."""
    query = urlencode(params)
    status, _, body = rest.answer("GET", f"{path}?{query}", signed(query) if headers is None else headers)
    answer = json.loads(body)
    assert (200, {}) == (status, answer["result"])
    return answer["retCode"], answer["retMsg"]


def test_time(rest):
    """The time is the markets', in seconds and in nanoseconds, both as text."""
    assert {"timeSecond": "1700000000", "timeNano": "1700000000000000000"} == ask(rest, "/v5/market/time")


@pytest.mark.parametrize(
    ("category", "params", "symbols"),
    [
        ("spot", {"symbol": "ETHBTC"}, ["ETHBTC"]),
        ("linear", {}, ["BTCUSDT", "ETHUSDT", "SHIBUSDT"]),
        ("linear", {"status": ""}, ["BTCUSDT", "ETHUSDT", "SHIBUSDT"]),
        ("linear", {"status": "PreLaunch"}, []),
        ("linear", {"baseCoin": "ETH"}, ["ETHUSDT"]),
        ("linear", {"symbol": "BTCUSDT"}, ["BTCUSDT"]),
        ("linear", {"limit": 2}, ["BTCUSDT", "ETHUSDT"]),
        ("inverse", {}, ["BTCUSD", "ETHUSD"]),
        ("option", {"limit": 2}, [OPTION, "BTC-27DEC26-70000-P"]),
        ("option", {"baseCoin": "ETH"}, ["ETH-27DEC26-2600-C"]),
    ],
)
def test_instruments(rest, category, params, symbols):
    """Instruments are those of the category that were asked for; options are BTC's when nothing is said."""
    result = ask(rest, "/v5/market/instruments-info", category=category, **params)
    assert (category, symbols) == (result["category"], [row["symbol"] for row in result["list"]])


def test_pages_of_instruments(rest, markets):
    """The cursor leads to the next page and is empty on the last one; spot has no pages."""
    pages, cursor = [], "0"
    while cursor:
        page = ask(rest, "/v5/market/instruments-info", category="linear", limit=2, cursor=cursor)
        pages.append([row["symbol"] for row in page["list"]])
        cursor = page["nextPageCursor"]
    spot = ask(rest, "/v5/market/instruments-info", category="spot", limit=1)
    assert [["BTCUSDT", "ETHUSDT"], ["SHIBUSDT"]] == pages
    assert (["category", "list"], len(markets.listings["spot"])) == (sorted(spot), len(spot["list"]))


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("spot", ("BTC", "USDT", None, None, None)),
        ("linear", ("BTC", "USDT", "USDT", "LinearPerpetual", "0")),
        ("inverse", ("BTC", "USD", "BTC", "InversePerpetual", "0")),
        ("option", ("BTC", "USD", "USDC", None, "1798358400000")),  # 2026-12-27 08:00 UTC
    ],
)
def test_coins(rest, category, expected):
    """Each category has the coins, the kind of contract and the day of delivery that its contracts have."""
    row = ask(rest, "/v5/market/instruments-info", category=category)["list"][0]
    names = ("baseCoin", "quoteCoin", "settleCoin", "contractType", "deliveryTime")
    assert expected == tuple(row.get(name) for name in names)


@pytest.mark.parametrize("category", ["spot", "linear", "inverse", "option"])
def test_steps_are_the_instruments(rest, markets, category):
    """Prices and sizes go in the steps of the market itself, and no number is written with an exponent."""
    rows = ask(rest, "/v5/market/instruments-info", category=category, limit=1000)["list"]
    name = "basePrecision" if category == "spot" else "qtyStep"
    steps = {row["symbol"]: (Decimal(row["priceFilter"]["tickSize"]), Decimal(row["lotSizeFilter"][name])) for row in rows}
    instruments = {symbol: markets.categories[category][symbol].instrument for symbol in steps}
    assert {symbol: (instrument.tick, instrument.lot) for symbol, instrument in instruments.items()} == steps
    numbers = [text for row in rows for part in ("priceFilter", "lotSizeFilter") for text in row[part].values()]
    assert [] == [text for text in numbers if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)]


@pytest.mark.parametrize(
    ("path", "params", "stream", "levels"),
    [
        ("orderbook", {"category": "spot"}, "1000", 1),
        ("orderbook", {"category": "linear"}, "1000", 25),
        ("orderbook", {"category": "linear", "limit": 30}, "1000", 30),
        ("full_orderbook", {"category": "spot"}, "full", None),
        ("rpi_orderbook", {"category": "linear", "limit": 3}, "rpi", 3),
    ],
)
def test_books(rest, markets, path, params, stream, levels):
    """A book has the levels asked for, or the usual number, of the stream that has its numbers; it is stamped with the time."""
    book = ask(rest, f"/v5/market/{path}", symbol="BTCUSDT", **params)
    streamed = markets.stream(markets.listings[params["category"]]["BTCUSDT"], stream).snapshot(markets.now_us)
    expected = ("BTCUSDT", streamed.bids[:levels], streamed.asks[:levels], streamed.u, streamed.seq, streamed.cts, NOW_MS)
    assert expected == tuple(book[name] for name in ("s", "b", "a", "u", "seq", "cts", "ts"))


def test_tickers(rest, markets):
    """Tickers are the stream's; those of spot have the best prices too."""
    linear = ask(rest, "/v5/market/tickers", category="linear")["list"]
    option = ask(rest, "/v5/market/tickers", category="option", baseCoin="ETH")["list"]
    spot = ask(rest, "/v5/market/tickers", category="spot", symbol="BTCUSDT")["list"][0]
    bid, ask_ = (ask(rest, "/v5/market/orderbook", category="spot", symbol="BTCUSDT")[side][0] for side in ("b", "a"))
    assert [markets.ticker("linear", symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SHIBUSDT")] == linear
    assert ["ETH-27DEC26-2600-C"] == [row["symbol"] for row in option]
    best = {"bid1Price": bid[0], "bid1Size": bid[1], "ask1Price": ask_[0], "ask1Size": ask_[1]}
    assert {**markets.ticker("spot", "BTCUSDT"), **best} == spot


@pytest.mark.parametrize(("category", "symbol"), [("spot", "BTCUSDT"), ("inverse", "BTCUSD"), ("option", OPTION)])
def test_trades(rest, markets, category, symbol):
    """Trades are the stream's, newest first, under the names that REST has for them."""
    rows = ask(rest, "/v5/market/recent-trade", category=category, symbol=symbol, limit=20)["list"]
    names = {"execId": "i", "symbol": "s", "price": "p", "size": "v", "side": "S", "isBlockTrade": "BT"}
    expected = [
        {
            **{name: row[key] for name, key in names.items()},
            "time": str(row["T"]),
            "isRPITrade": row.get("RPI", False),
            "seq": str(row["seq"]),
        }
        for row in markets.trades(category, symbol, 20)
    ]
    assert expected[::-1] == rows


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({"settleCoin": "USDT"}, [n for n in range(60) if n % 6 in (0, 2, 4)][:20]),
        ({"settleCoin": "USDT", "cursor": 20}, [n for n in range(60) if n % 6 in (0, 2, 4)][20:]),
        ({"settleCoin": "USDC"}, []),
        ({"baseCoin": "BTC"}, [n for n in range(60) if n % 6 == 0]),
        ({"symbol": "BTCUSDT", "limit": 2}, [0, 6]),
        ({"symbol": "BTCUSDT", "orderLinkId": "link-2"}, [2]),
        ({"symbol": "BTCUSDT", "orderLinkId": "link-2", "orderId": "id-4"}, [4]),
        ({"symbol": "BTCUSDT", "orderLinkId": "link-1"}, []),
        ({"symbol": "BTCUSDT", "orderLinkId": "link-1", "openOnly": 1}, [1]),
        ({"symbol": "ETHUSDT", "openOnly": 1, "limit": 3}, [1, 5, 7]),
    ],
)
def test_orders(rest, params, ids):
    """Orders are the open ones, or the finished ones, that the first of id, link id, symbol and coin tells; in pages."""
    result = ask(rest, "/v5/order/realtime", category="linear", **params)
    assert [f"id-{n}" for n in ids] == [row["orderId"] for row in result["list"]]


def test_old_orders_are_history(rest):
    """`realtime` remembers so many finished orders, `history` all of them."""
    row = {"orderLinkId": "", "symbol": "BTCUSDT", "orderStatus": "Filled"}
    rest._records.rows = [{"orderId": str(n), **row} for n in range(CLOSED_MOST + 1)]
    asked = {"category": "linear", "symbol": "BTCUSDT", "cursor": CLOSED_MOST - 1}
    recent, every = (
        ask(rest, f"/v5/order/{name}", **asked, **more) for name, more in (("realtime", {"openOnly": 1}), ("history", {}))
    )
    assert (1, 2) == (len(recent["list"]), len(every["list"]))


def test_executions_come_in_pages(rest):
    """The cursor of a page of fills gives the next one, until it is empty; no fill is told twice or left out."""
    rows, cursor = [], None
    while cursor != "":
        page = ask(rest, "/v5/execution/list", category="linear", limit=25, **({"cursor": cursor} if cursor else {}))
        rows += page["list"]
        cursor = page["nextPageCursor"]
    assert [f"id-{n}" for n in range(60)] == [row["orderId"] for row in rows]


def test_positions(rest):
    """Positions that there are, or the one of a symbol, be it of size 0."""
    some = ask(rest, "/v5/position/list", category="linear", settleCoin="USDT")["list"]
    none = ask(rest, "/v5/position/list", category="linear", symbol="ETHUSDT")["list"]
    assert [] == ask(rest, "/v5/position/list", category="linear", settleCoin="USDT", orderId="id-1")["list"]
    assert ([("BTCUSDT", "1")], [("ETHUSDT", "0")]) == tuple(
        [(row["symbol"], row["size"]) for row in rows] for rows in (some, none)
    )


def test_wallet(rest):
    """The wallet has every coin, or those asked for."""
    whole = ask(rest, "/v5/account/wallet-balance", accountType="UNIFIED")["list"]
    part = ask(rest, "/v5/account/wallet-balance", accountType="UNIFIED", coin="ETH,BTC")["list"]
    assert (["BTC", "USDT", "ETH"], ["BTC", "ETH"]) == tuple([row["coin"] for row in rows[0]["coin"]] for rows in (whole, part))


def test_account(rest):
    """The account is a unified one of today, whose key may trade, and no secret is told."""
    key = ask(rest, "/v5/user/query-api")
    assert (1, 0, KEY, "", 6) == (
        key["uta"],
        key["readOnly"],
        key["apiKey"],
        key["secret"],
        ask(rest, "/v5/account/info")["unifiedMarginStatus"],
    )


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v5/market/instruments-info", {}),
        ("/v5/market/instruments-info", {"category": "futures"}),
        ("/v5/market/instruments-info", {"category": "linear", "limit": 1001}),
        ("/v5/market/instruments-info", {"category": "linear", "limit": 0}),
        ("/v5/market/instruments-info", {"category": "linear", "cursor": "x"}),
        ("/v5/market/orderbook", {"category": "spot"}),
        ("/v5/market/orderbook", {"category": "spot", "symbol": "BTC_USDT"}),
        ("/v5/market/orderbook", {"category": "option", "symbol": OPTION, "limit": 26}),
        ("/v5/market/orderbook", {"category": "spot", "symbol": "BTCUSDT", "limit": "9" * 5000}),
        ("/v5/market/full_orderbook", {"category": "linear", "symbol": "BTCUSDT"}),
        ("/v5/market/rpi_orderbook", {"category": "option", "symbol": OPTION}),
        ("/v5/market/tickers", {"category": "option"}),
        ("/v5/market/tickers", {"category": "linear", "symbol": "NONE"}),
        ("/v5/order/realtime", {"category": "linear"}),
        ("/v5/order/realtime", {"category": "linear", "symbol": "BTCUSDT", "openOnly": "9"}),
        ("/v5/order/realtime", {"category": "linear", "symbol": "BTCUSDT", "limit": 51}),
        ("/v5/position/list", {"category": "spot"}),
        ("/v5/position/list", {"category": "linear"}),
        ("/v5/position/list", {"category": "linear", "symbol": "NONE"}),
        ("/v5/account/wallet-balance", {}),
    ],
)
def test_wrong_parameters(rest, path, params):
    """A parameter that is missing, or takes something else, is refused with 10001."""
    assert 10001 == refusal(rest, path, **params)[0]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (0, {}),
        (0, {"window": ""}),
        (0, {"stamp": NOW_MS - 5000}),
        (0, {"stamp": NOW_MS + 999}),
        (0, {"stamp": NOW_MS - 9000, "window": "9000"}),
        (10002, {"stamp": NOW_MS - 5001}),
        (10002, {"stamp": NOW_MS + 1000}),
        (10003, {"key": "another"}),
        (10003, {"key": ""}),
        (10004, {"secret": "another"}),
        (10001, {"stamp": "now"}),
        (10001, {"window": "-1"}),
    ],
)
def test_signatures(rest, code, changes):
    """What is private is told to the account's key only, in time and signed with its secret."""
    query = "accountType=UNIFIED"
    _, _, body = rest.answer("GET", f"/v5/account/wallet-balance?{query}", signed(query, **changes))
    assert code == json.loads(body)["retCode"]


def test_a_signature_is_for_one_query(rest):
    """A signature of another query, or none, is refused; what is public needs none."""
    other = refusal(rest, "/v5/order/realtime", headers=signed("category=spot"), category="linear", symbol="BTCUSDT")
    bare = {name: value for name, value in signed("").items() if name != "x-bapi-sign"}
    none = refusal(rest, "/v5/user/query-api", headers=bare)
    status, _, _ = rest.answer("GET", "/v5/market/time", {})
    assert (10004, 10004, 200) == (other[0], none[0], status)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v5/else"), ("POST", "/v5/market/time"), ("GET", "/")])
def test_other_paths(rest, method, path):
    """A path that there is not, or not for that method, is not found."""
    assert 404 == rest.answer(method, path, {})[0]


def test_rest_has_what_the_account_has():
    """Orders that rest and orders that are filled, their fills, positions and balances are found, as the streams tell them."""
    shared = markets_at(NOW_MS * 1000, 1)
    markets = V5Markets(shared, 1)
    account = V5Account(shared, markets, 1)
    rest = V5Rest(Credentials(KEY, SECRET, "token"), markets, account)
    common = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "qty": "0.01"}
    low = str(int(shared.markets[5].last * Decimal("0.97")))
    resting = account.do("order.create", {**common, "orderType": "Limit", "price": low, "orderLinkId": "rests"}, limited=False)
    taking = account.do("order.create", {**common, "orderType": "Market", "orderLinkId": "takes"}, limited=False)

    asked = {"category": "linear", "symbol": "BTCUSDT"}
    opened = ask(rest, "/v5/order/realtime", **asked)["list"]
    closed = ask(rest, "/v5/order/realtime", category="linear", symbol="BTCUSDT", orderLinkId="takes", openOnly=1)["list"]
    assert [(resting.data["orderId"], "rests", "New")] == [
        (row["orderId"], row["orderLinkId"], row["orderStatus"]) for row in opened
    ]
    assert [(taking.data["orderId"], "Filled")] == [(row["orderId"], row["orderStatus"]) for row in closed]

    fills = ask(rest, "/v5/execution/list", category="linear", orderId=taking.data["orderId"])["list"]
    positions = ask(rest, "/v5/position/list", **asked)["list"]
    coins = ask(rest, "/v5/account/wallet-balance", accountType="UNIFIED", coin="USDT")["list"][0]["coin"]
    assert Decimal("0.01") == sum(Decimal(row["execQty"]) for row in fills)
    assert [("Buy", Decimal("0.01"))] == [(row["side"], Decimal(row["size"])) for row in positions]
    assert [("USDT", True)] == [(row["coin"], Decimal(row["totalPositionIM"]) > 0) for row in coins]
    assert ([], []) == tuple(ask(rest, f"/v5/{name}/list", category="inverse")["list"] for name in ("execution", "position"))


def test_every_symbol_can_be_asked_for():
    """All markets have a book, a ticker and trades, and the account tells of a position of each that can have one."""
    shared = markets_at(NOW_MS * 1000, 1)
    markets = V5Markets(shared, 1)
    rest = V5Rest(Credentials(KEY, SECRET, "token"), markets, V5Account(shared, markets, 1))
    told = []
    for category, listings in markets.listings.items():
        for symbol in listings:
            asked = {"category": category, "symbol": symbol}
            book = ask(rest, "/v5/market/orderbook", **asked)
            rows = [ask(rest, f"/v5/market/{name}", **asked)["list"] for name in ("tickers", "recent-trade")]
            size = None if category == "spot" else ask(rest, "/v5/position/list", **asked)["list"][0]["size"]
            told.append((symbol, book["s"], rows[0][0]["symbol"], rows[1][0]["symbol"], size is None or Decimal(size) == 0))
    assert [(symbol, symbol, symbol, symbol, True) for listings in markets.listings.values() for symbol in listings] == told


def test_over_http():
    """The sandbox answers at its `rest_url`: what is public, what is signed with its key, and no other path."""
    with Sandbox("bybit-v5", seed=1, tick=None) as box, requests.Session() as session:
        time_ = session.get(f"{box.rest_url}/v5/market/time", timeout=LIMIT_S).json()
        stamp = time_["time"]
        headers = signed("", key=box.api_key, secret=box.api_secret, stamp=stamp)
        mine = session.get(f"{box.rest_url}/v5/user/query-api", headers=headers, timeout=LIMIT_S).json()
        other = session.get(f"{box.rest_url}/v5/user/query-api", headers=signed("", stamp=stamp), timeout=LIMIT_S).json()
        missing = session.get(f"{box.rest_url}/v5/nothing", timeout=LIMIT_S)
        assert (0, box.api_key, 10003, 404) == (
            mine["retCode"],
            mine["result"]["apiKey"],
            other["retCode"],
            missing.status_code,
        )
