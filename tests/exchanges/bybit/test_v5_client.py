"""`BybitV5` against its sandbox: what its methods say, its logins, its orders, and what is said of them."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import re
import traceback
from decimal import Decimal

import pytest
from exchange_facts import LIMIT_S, later, raised, there

import exchange_ws
from exchange_ws import Backoff, BybitV5, cli
from exchange_ws.clock import SystemClock
from exchange_ws.errors import (
    AuthenticationError,
    ConnectionLost,
    LimitExceeded,
    RateLimited,
    RequestRejected,
    UsageError,
    WireError,
)
from exchange_ws.events import Balance, BookUpdate, Candle, Fill, Order, Other, Position, Ticker, Trade
from exchange_ws.exchanges.bybit.base import LOGIN_VALID_S
from exchange_ws.exchanges.bybit.v5_client import AMEND, CANCEL, CREATE, _results
from exchange_ws.exchanges.bybit.v5_dialect import TRADE
from exchange_ws.sandbox import Sandbox

EPOCH_S = 1_700_000_000.0  # of markets that are moved by hand
#: Steps of the markets after which everything has happened at least once.
STEPS = 100
MAINNET, TESTNET, DEMO = "wss://stream.bybit.com/v5", "wss://stream-testnet.bybit.com/v5", "wss://stream-demo.bybit.com/v5"
BUY = {"symbol": "BTCUSDT", "side": "buy", "order_type": "limit", "qty": "0.01", "price": "20000"}


class Clock(SystemClock):
    """Waits as ever, and shows a time of its own."""

    def __init__(self, seconds):
        self.seconds = seconds

    def time_ns(self):
        return int(self.seconds * 1e9)


# Construction ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options", "urls"),
    [
        ((), {}, [f"{MAINNET}/public/spot", f"{MAINNET}/private", f"{MAINNET}/trade", f"{MAINNET}/public/misc/status"]),
        (
            ("linear",),
            {"testnet": True},
            [f"{TESTNET}/public/linear", f"{TESTNET}/private", f"{TESTNET}/trade", f"{TESTNET}/public/misc/status"],
        ),
        (
            ("inverse",),
            {"demo": True},
            [f"{MAINNET}/public/inverse", f"{DEMO}/private", f"{MAINNET}/trade", f"{MAINNET}/public/misc/status"],
        ),
        (
            ("option",),
            {"public_url": "ws://a/", "private_url": "ws://b/", "trade_url": "ws://c/", "status_url": "ws://d/"},
            ["ws://a/", "ws://b/", "ws://c/", "ws://d/"],
        ),
        (
            (),
            {"max_active_time": 30},
            [
                f"{MAINNET}/public/spot",
                f"{MAINNET}/private?max_active_time=30s",
                f"{MAINNET}/trade?max_active_time=30s",
                f"{MAINNET}/public/misc/status",
            ],
        ),
    ],
)
def test_urls(args, options, urls):
    """The endpoints are those of the category, of the testnet or the demo, or those that are told."""
    endpoints = BybitV5(*args, **options)._endpoints
    assert urls == [endpoints[name].url for name in ("public", "private", "trade", "status")]


def test_active_time_of_a_url_with_a_query():
    """The time is added to what a URL has already, and what it limits is checked as the exchange's own limit is."""
    ws = BybitV5(private_url="ws://b/?x=1", max_active_time=600)
    assert "ws://b/?x=1&max_active_time=600s" == ws._endpoints["private"].url
    with pytest.raises(UsageError, match="ping_interval=40.0: takes less than 35 s, when bybit-v5 hangs up"):
        BybitV5(max_active_time=35, ping_interval=40.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"category": "futures"}, "category='futures': takes one of spot, linear, inverse, option"),
        ({"category": ["spot"]}, "category=['spot']: takes one of"),
        ({"testnet": "yes"}, "testnet='yes': takes True or False"),
        ({"demo": 1}, "demo=1: takes True or False"),
        ({"demo": True, "testnet": True}, "testnet and demo: takes one of them"),
        ({"recv_window": 0}, "recv_window 0: takes an integer, 1 or more"),
        ({"recv_window": 0.5}, "recv_window 0.5: takes an integer"),
        ({"max_active_time": 29}, "max_active_time 29: takes an integer, 30 to 600"),
        ({"max_active_time": "1m"}, "max_active_time '1m': takes an integer, 30 to 600"),
        ({"max_active_time": 30, "trade_url": 5}, "trade_url: takes the URL of a WebSocket"),
        ({"public_url": "https://host/key"}, "public_url: takes the URL of a WebSocket, wss://host/path"),
        ({"private_url": ""}, "private_url: takes"),
        ({"status_url": "ws://"}, "status_url: takes"),
        ({"api_key": "key"}, "api_secret: is missing"),
        ({"api_key": "key", "api_secret": b"secret"}, "api_secret: takes the text"),
        ({"url": "ws://a/"}, "url: no such option"),
    ],
)
def test_senseless_options(options, says):
    """What makes no sense is refused at once, by name, and secrets are not repeated."""
    error = raised(BybitV5, **options)
    assert (UsageError, True) == (type(error), says in str(error))


def test_found_by_name():
    """It is found by its name beside the other client of the same exchange."""
    assert BybitV5 is exchange_ws.clients()["bybit-v5"]
    assert {"BybitSpotV3", "BybitV5"} <= set(dir(exchange_ws))


# What calls say, value by value ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "given", "said"),
    [
        (
            CREATE,
            {**BUY, "client_id": "a"},
            {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "20000", "orderLinkId": "a"},
        ),
        (
            CREATE,
            {
                "symbol": "ETHPERP",
                "side": "Sell",
                "order_type": "Market",
                "qty": Decimal("1E+2"),
                "price": None,
                "time_in_force": "IOC",
                "client_id": "x_Y-9",
                "reduce_only": True,
                "close_on_trigger": False,
                "position_idx": 2,
                "trigger_price": 1700,
                "trigger_direction": 1,
                "trigger_by": "MarkPrice",
                "take_profit": "1800.50",
                "stop_loss": Decimal(0),
                "slippageTolerance": Decimal("0.5"),
                "tpLimitPrice": 1801,
                "isLeverage": 1,
                "mmp": True,
            },
            {
                "symbol": "ETHPERP",
                "side": "Sell",
                "orderType": "Market",
                "qty": "100",
                "timeInForce": "IOC",
                "orderLinkId": "x_Y-9",
                "reduceOnly": True,
                "closeOnTrigger": False,
                "positionIdx": 2,
                "triggerPrice": "1700",
                "triggerDirection": 1,
                "triggerBy": "MarkPrice",
                "takeProfit": "1800.50",
                "stopLoss": "0",
                "slippageTolerance": "0.5",
                "tpLimitPrice": "1801",
                "isLeverage": 1,
                "mmp": True,
            },
        ),
        (
            CREATE,
            {
                **BUY,
                "price": None,
                "order_type": "market",
                "market_unit": "quoteCoin",
                "order_filter": "Order",
                "client_id": "a",
            },
            {
                "symbol": "BTCUSDT",
                "side": "Buy",
                "orderType": "Market",
                "qty": "0.01",
                "marketUnit": "quoteCoin",
                "orderFilter": "Order",
                "orderLinkId": "a",
            },
        ),
        (
            AMEND,
            {"symbol": "BTCUSDT", "order_id": "17", "qty": 2, "take_profit": 0, "orderIv": "0.1"},
            {"symbol": "BTCUSDT", "orderId": "17", "qty": "2", "takeProfit": "0", "orderIv": "0.1"},
        ),
        (
            AMEND,
            {"symbol": "XRP-27DEC26-0.55-C", "order_id": "17", "take_profit": "-0", "price": Decimal("1E-8"), "qty": 10**30},
            {
                "symbol": "XRP-27DEC26-0.55-C",
                "orderId": "17",
                "takeProfit": "0",
                "price": "0.00000001",
                "qty": "1" + 30 * "0",
            },
        ),
        (
            CANCEL,
            {"symbol": "BTC-27DEC26-70000-C", "client_id": "a", "order_id": None},
            {"symbol": "BTC-27DEC26-70000-C", "orderLinkId": "a"},
        ),
    ],
)
def test_fields(form, given, said):
    """Keywords become the vendor's names, numbers their exact text; the vendor's own names stay as they are."""
    assert said == form.fields(given)


def test_generated_client_ids():
    """Every new order has an id of its own that the exchange takes."""
    made = {CREATE.fields(BUY)["orderLinkId"] for _ in range(100)}
    assert (100, set()) == (len(made), {name for name in made if not re.fullmatch("[A-Za-z0-9_-]{1,36}", name)})


@pytest.mark.parametrize(
    ("form", "given", "says"),
    [
        (CREATE, {**BUY, "symbol": "btcusdt"}, "symbol 'btcusdt': takes a symbol in capitals"),
        (CREATE, {**BUY, "symbol": None}, "an order: needs symbol"),
        (CREATE, {"symbol": "BTCUSDT"}, "an order: needs side, order_type, qty"),
        (CREATE, {**BUY, "side": "long"}, "side 'long': takes one of buy, sell"),
        (CREATE, {**BUY, "order_type": 1}, "order_type 1: takes one of limit, market"),
        (CREATE, {**BUY, "qty": 0.01}, "qty 0.01: takes a number above 0, as text, Decimal or int (a float is not exact)"),
        (CREATE, {**BUY, "price": "0"}, "price '0': takes a number above 0"),
        (CREATE, {**BUY, "client_id": "a" * 37}, "takes 1 to 36 letters, digits, - and _"),
        (CREATE, {**BUY, "client_id": ""}, "client_id '': takes 1 to 36"),
        (CREATE, {**BUY, "client_id": "a.b"}, "client_id 'a.b': takes 1 to 36"),
        (CREATE, {**BUY, "reduce_only": "yes"}, "reduce_only='yes': takes True or False"),
        (CREATE, {**BUY, "position_idx": 3}, "position_idx 3: takes an integer, 0 to 2"),
        (CREATE, {**BUY, "trigger_direction": 0}, "trigger_direction 0: takes an integer, 1 to 2"),
        (CREATE, {**BUY, "time_in_force": 5}, "time_in_force 5: takes text in the vendor's words"),
        (CREATE, {**BUY, "reduce_onyl": True}, "'reduce_onyl': no such field of an order; there are client_id, close_on"),
        (CREATE, {**BUY, "order_id": "17"}, "'order_id': no such field of an order"),
        (CREATE, {**BUY, 5: "x"}, "5: no such field of an order"),
        (CREATE, {**BUY, "orderLinkId": "mine"}, "orderLinkId: say client_id"),
        (CREATE, {**BUY, "category": "linear"}, "category: of the whole call"),
        (CREATE, {**BUY, "timeout": 5}, "timeout: of the whole call"),
        (CREATE, {**BUY, "slippageTolerance": 0.5}, "slippageTolerance 0.5: takes a number of 0 or more, as text"),
        (CREATE, {**BUY, "tpLimitPrice": "-1"}, "tpLimitPrice '-1': takes a number of 0 or more"),
        (CREATE, {**BUY, "smpGroup": 0.5}, "smpGroup 0.5: takes text, a Decimal or an integer"),
        (CREATE, ["BTCUSDT"], "an order: takes a dict of its fields, not list"),
        (AMEND, {"symbol": "BTCUSDT", "price": 1}, "an order is named by either its order_id or its client_id"),
        (AMEND, {"symbol": "BTCUSDT", "order_id": "1", "client_id": "a"}, "an order is named by either"),
        (AMEND, {"symbol": "BTCUSDT", "order_id": 17}, "order_id 17: takes text"),
        (CANCEL, {"order_id": "17"}, "an order: needs symbol"),
        (CANCEL, {"symbol": "BTCUSDT", "order_id": "17", "price": "5"}, "'price': no such field"),
    ],
)
def test_senseless_fields(form, given, says):
    """What cannot be right, and a name that the exchange would not know and say nothing of, is refused by name."""
    error = raised(form.fields, given)
    assert (UsageError, True) == (type(error), says in str(error))


@pytest.mark.parametrize("code", [0, "0"])
def test_results_of_a_batch(code):
    """Each order has its own result, in the order said; the id of one that was refused raises the exchange's no."""
    said = [{"symbol": "BTCUSDT", "orderLinkId": "a"}, {"symbol": "BTCUSDT", "orderLinkId": "b"}]
    rows = [
        {"category": "spot", "symbol": "BTCUSDT", "orderId": "", "orderLinkId": "a", "createAt": ""},
        {"category": "spot", "symbol": "BTCUSDT", "orderId": "17", "orderLinkId": "b", "createAt": "1711001595207"},
    ]
    codes = [{"code": 170131, "msg": "Insufficient balance."}, {"code": code, "msg": "OK"}]
    first, second = _results("order.create-batch", said, {"data": {"list": rows}, "retExtInfo": {"list": codes}})
    assert ("BTCUSDT", "b", None, "17") == (second.symbol, second.client_id, second.error, second.order_id)
    assert ("BTCUSDT", "a", 170131) == (first.symbol, first.client_id, first.error.code)
    assert {"method": "order.create-batch", "params": [said[0]]} == first.error.request
    assert first.error is raised(lambda: first.order_id)
    again = pickle.loads(pickle.dumps(first))
    assert (first.client_id, str(first.error), first.raw) == (again.client_id, str(again.error), again.raw)


@pytest.mark.parametrize("row", [{}, {"orderId": ""}, {"orderId": None}])
def test_result_without_an_id(row):
    """An order that is accepted, of which no id is told, is to be looked up, by the name that it has."""
    said = [{"symbol": "BTCUSDT", "orderLinkId": "a"}]
    (result,) = _results("order.create-batch", said, {"data": {"list": [row]}, "retExtInfo": {"list": [{"code": 0}]}})
    error = raised(lambda: result.order_id)
    assert (None, WireError, True) == (result.error, type(error), "look it up by 'a'" in str(error))


def test_results_without_codes():
    """As it was before the exchange told codes: an order without an id was refused."""
    rows = [{"orderId": "", "orderLinkId": ""}, {"orderId": "17", "orderLinkId": ""}]
    first, second = _results(
        "order.cancel-batch", [{"symbol": "A", "orderLinkId": "a"}, {"symbol": "A", "orderId": "17"}], {"data": {"list": rows}}
    )
    assert (None, "refused without a reason", "a") == (first.error.code, first.error.message, first.client_id)
    assert ("17", None) == (second.order_id, second.client_id)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"data": {}},
        {"data": {"list": [{"orderId": "1"}]}},
        {"data": {"list": [{"orderId": "1"}, {"orderId": "2"}]}, "retExtInfo": {"list": [{"code": 0}]}},
        {"data": {"list": [{"orderId": "1"}, "2"]}},
        {"data": {"list": [{"orderId": "2", "orderLinkId": "b"}, {"orderId": "", "orderLinkId": "a"}]}},
        {"data": {"list": [{"orderId": "2", "orderLinkId": "b"}, {"orderId": "", "orderLinkId": ""}]}},
    ],
)
def test_results_that_cannot_be_told_apart(reply):
    """An answer that does not say which order it means is no success, and says to look for the orders."""
    said = [{"symbol": "A", "orderLinkId": "a"}, {"symbol": "A", "orderLinkId": "b"}]
    error = raised(_results, "order.create-batch", said, reply)
    assert (WireError, True) == (type(error), str(error).endswith("look for these before placing them again: a, b"))


# Topics ----------------------------------------------------------------------------------------------------------------------

#: By category: what a topic's events are, and the method that has it.
PUBLIC = {
    "spot": {
        "publicTrade.BTCUSDT": (Trade, lambda ws: ws.subscribe_public_trade("BTCUSDT")),
        "orderbook.1.BTCUSDT": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSDT", depth=1)),
        "orderbook.50.BTCUSDT": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSDT")),
        "orderbook.rpi.BTCUSDT": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSDT", depth="rpi")),
        "orderbook.full.BTCUSDT": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSDT", depth="full")),
        "tickers.BTCUSDT": (Ticker, lambda ws: ws.subscribe_tickers("BTCUSDT")),
        "kline.1.BTCUSDT": (Candle, lambda ws: ws.subscribe_kline("BTCUSDT", interval=1)),
        "priceLimit.BTCUSDT": (Other, lambda ws: ws.subscribe_price_limit("BTCUSDT")),
    },
    "linear": {
        "publicTrade.BTCUSDT": (Trade, lambda ws: ws.subscribe_public_trade("BTCUSDT")),
        "orderbook.200.BTCUSDT": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSDT", depth=200)),
        "tickers.BTCUSDT": (Ticker, lambda ws: ws.subscribe_tickers("BTCUSDT")),
        "allLiquidation.BTCUSDT": (Other, lambda ws: ws.subscribe_all_liquidation("BTCUSDT")),
        "insurance.USDT": (Other, lambda ws: ws.subscribe_insurance("USDT")),
        "adlAlert.USDT": (Other, lambda ws: ws.subscribe_adl_alert("USDT")),
    },
    "inverse": {
        "publicTrade.BTCUSD": (Trade, lambda ws: ws.subscribe_public_trade("BTCUSD")),
        "orderbook.1000.BTCUSD": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTCUSD", depth=1000)),
        "tickers.BTCUSD": (Ticker, lambda ws: ws.subscribe_tickers("BTCUSD")),
        "kline.D.BTCUSD": (Candle, lambda ws: ws.subscribe_kline("BTCUSD", interval="D")),
    },
    "option": {
        "publicTrade.BTC": (Trade, lambda ws: ws.subscribe_public_trade("BTC")),
        "orderbook.25.BTC-27DEC26-70000-C": (BookUpdate, lambda ws: ws.subscribe_orderbook("BTC-27DEC26-70000-C")),
        "tickers.BTC-27DEC26-70000-C": (Ticker, lambda ws: ws.subscribe_tickers("BTC-27DEC26-70000-C")),
        "system.status": (Other, lambda ws: ws.subscribe_system_status()),
    },
}
PRIVATE = {
    "order": (Order, lambda ws: ws.subscribe_order()),
    "order.linear": (Order, lambda ws: ws.subscribe_order(category="linear")),
    "execution": (Fill, lambda ws: ws.subscribe_execution()),
    "execution.spot": (Fill, lambda ws: ws.subscribe_execution(category="spot")),
    "execution.fast": (Fill, lambda ws: ws.subscribe_execution_fast()),
    "position": (Position, lambda ws: ws.subscribe_position()),
    "wallet": (Balance, lambda ws: ws.subscribe_wallet()),
    "greeks": (Other, lambda ws: ws.subscribe_greeks()),
}
#: Those of which the sandbox has nothing to tell.
SILENT = {
    "dcp.future": lambda ws: ws.subscribe_dcp("future"),
    "strategy": lambda ws: ws.subscribe_strategy(),
    "spread.order": lambda ws: ws.subscribe_spread_order(),
    "spread.execution": lambda ws: ws.subscribe_spread_execution(),
    "rfq.open.rfqs": lambda ws: ws.subscribe_rfq_open_rfqs(),
    "rfq.open.quotes": lambda ws: ws.subscribe_rfq_open_quotes(),
    "rfq.open.trades": lambda ws: ws.subscribe_rfq_open_trades(),
}


@pytest.fixture
def box():
    """A Bybit that moves only by `step`, without limits."""
    with Sandbox("bybit-v5", seed=11, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def make(box):
    made = []

    def make(*, at=None, **options):
        made.append(box.client(**{"reconnect": Backoff(0.01, 0.02), **options}))
        if at is not None:
            made[-1]._clock = Clock(at)
        return made[-1]

    yield make
    for ws in made:
        ws.close()


@pytest.fixture
def ws(make):
    return make()


def said(box, op):
    return [message for message in box.received if message.get("op") == op]


def settle(ws):
    """Until everything that was sent on any connection has been received: a pong comes after it."""
    for endpoint in [name for name, pool in ws._pools.items() if pool]:
        ws._call(ws._endpoints[endpoint].dialect.heartbeat.command, LIMIT_S, endpoint)


@pytest.mark.parametrize("category", [*PUBLIC, "private"])
def test_every_topic(box, make, category):
    """Each topic gives its events, by the vendor's name and by the method of its own, with the whole message in `raw`."""
    cases = PUBLIC.get(category, PRIVATE)
    ws = make(category="spot" if category == "private" else category)
    subscriptions = {name: (ws.subscribe(name), method(ws)) for name, (_, method) in cases.items()}
    box.step(STEPS)
    settle(ws)
    for name, (first, second) in subscriptions.items():
        assert (name,) == first.topics == second.topics
        events, others = first.get_many(timeout=LIMIT_S), second.get_many(timeout=LIMIT_S)
        assert {cases[name][0]} == {type(event) for event in events}, name
        assert {name} == {event.raw["topic"] for event in events}
        assert {"bybit-v5"} == {event.exchange for event in events}
        assert all(event.time is None or EPOCH_S <= event.time <= EPOCH_S + STEPS for event in events)
        assert events[-1].raw == others[-1].raw


def test_topics_without_news(ws):
    """What the sandbox has nothing to tell of is subscribed to all the same, by name and by its method."""
    for topic, method in SILENT.items():
        assert (topic,) == ws.subscribe(topic).topics == method(ws).topics


def test_every_topic_has_a_method():
    """No channel of the documentation is left out, and each method says where it is documented, with an example."""
    names = [*SILENT, *PRIVATE, *(name for topics in PUBLIC.values() for name in topics)]
    bare = {re.sub(r"^(\w+)\.(?:[0-9A-Zu-v].*|rpi.*|full.*|linear|spot|future|inverse)$", r"\1", name) for name in names}
    words = {re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name).replace(".", "_") for name in bare}
    methods = {name for name in vars(BybitV5) if name.startswith("subscribe_")}
    assert {f"subscribe_{word}" for word in words} == methods
    for name in sorted(methods):
        text = inspect.getdoc(getattr(BybitV5, name))
        assert re.search(r"\[[\w -]+\]\.", text) and ">>>" in text, name


def test_depths_of_books(make):
    """Where no depth is told, it is one that the category has."""
    assert ("orderbook.50.ETHUSDT",) == make().subscribe_orderbook("ETHUSDT").topics
    with pytest.raises(UsageError, match="option takes a depth of 25, 100"):
        make(category="option").subscribe_orderbook("BTC-27DEC26-70000-C", depth=50)


@pytest.mark.parametrize(
    ("category", "call", "says"),
    [
        ("spot", lambda ws: ws.subscribe_all_liquidation("BTCUSDT"), "spot has no allLiquidation; linear and inverse have"),
        ("option", lambda ws: ws.subscribe_kline("BTC-27DEC26-70000-C", interval=1), "option has no kline"),
        ("linear", lambda ws: ws.subscribe_insurance("inverse"), "linear takes USDT or USDC"),
        ("spot", lambda ws: ws.subscribe_kline("BTCUSDT", interval=7), "takes an interval of 1, 3, 5"),
        ("spot", lambda ws: ws.subscribe_position(category="spot"), "position.spot"),
        ("spot", lambda ws: ws.subscribe_dcp("linear"), "dcp.linear"),
        ("spot", lambda ws: ws.subscribe_tickers(), "name at least one symbol"),
        ("spot", lambda ws: ws.subscribe_tickers("BTCUSDT", limit=5), "limit: no such option"),
        ("spot", lambda ws: ws.subscribe("order", overflow="latest"), "overflow='latest': order"),
        (
            "spot",
            lambda ws: ws.subscribe("tickers.BTCUSDT", "tickers.ETHUSDT", "wallet"),
            "subscribe: tickers.BTCUSDT and wallet come from different endpoints",
        ),
    ],
)
def test_senseless_subscriptions(box, make, category, call, says):
    """What cannot be a topic of the category costs no connection."""
    error = raised(call, make(category=category))
    assert (UsageError, True, 0) == (type(error), says in str(error), box.connections)


def test_endpoints_open_as_they_are_needed(box, ws):
    """Public topics cost no login, private ones no public connection, orders have one of their own, and so has the status."""
    ws.subscribe("order")
    assert (1, 1) == (box.connections, len(said(box, "auth")))
    ws.order_create(**BUY)
    assert (2, 2) == (box.connections, len(said(box, "auth")))
    ws.subscribe("publicTrade.BTCUSDT", "tickers.BTCUSDT")
    ws.subscribe("system.status")
    assert (4, 2) == (box.connections, len(said(box, "auth")))


def test_merged_tickers_of_a_recording(box, make, tmp_path):
    """A recording knows the category, so that its replay merges the tickers of linear as the client did."""
    path = tmp_path / "linear.jsonl"
    with make(category="linear", record=str(path)) as ws:
        tickers = ws.subscribe("tickers.BTCUSDT")
        box.step(STEPS)
        events = there(ws, tickers)
    with exchange_ws.replay(path, speed=None) as replay:
        again = list(replay)
    assert {"snapshot", "delta"} == {event.raw["type"] for event in events}
    assert [None] * len(events) == [event.gap for event in events] and None not in {event.open for event in events}
    assert [(event.last, event.open, event.time) for event in events] == [
        (event.last, event.open, event.time) for event in again
    ]
    assert "linear" == json.loads(path.read_text().splitlines()[0])["category"]


# Requests --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", list(PUBLIC))
def test_ping(box, make, category):
    """A ping is the exchange's own; as a request it gives the whole reply."""
    ws = make(category=category)
    assert 0.0 <= ws.ping() < LIMIT_S
    assert "pong" in ws.request("ping").values()
    assert [{"op": "ping"}] * 2 == box.received


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe", "auth"])
def test_statements_are_not_requests(box, ws, op):
    """What would change what the client has stated is refused."""
    with pytest.raises(UsageError, match="use subscribe"):
        ws.request(op, ["tickers.BTCUSDT"])
    assert [] == box.received


def test_trading_request(box, make):
    """A trading op as a request goes to the endpoint of orders, with its header, and gives the whole reply."""
    ws = make(recv_window=8000)
    body = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "20000"}
    reply = ws.request("order.create", [body])
    assert (0, "order.create") == (reply["retCode"], reply["op"])
    (message,) = said(box, "order.create")
    assert ([body], "8000") == (message["args"], message["header"]["X-BAPI-RECV-WINDOW"])


@pytest.mark.parametrize("topic", ["publicTrade.BTCUSDT", "order"])
def test_heartbeat(box, make, topic):
    """Endpoints are pinged in JSON."""
    ws = make(ping_interval=0.05)
    ws.subscribe(topic)
    assert [{"op": "ping"}] * 3 == box.wait_received("ping", 3)[:3]


# Login -----------------------------------------------------------------------------------------------------------------------


def test_signature():
    """The signature is the one of the known example, and stands in no repr."""
    ws = BybitV5(api_key="test-key", api_secret="test-secret")
    ws._clock = Clock(EPOCH_S - LOGIN_VALID_S)
    login = ws._login()
    known = "5e1a6810262f270b783cf759f856aadee413643be3c03d0fb89dd22261e41df0"
    assert ("auth", ("test-key", 1700000000000, known)) == (login.method, login.args)
    assert "test-key" not in repr(login) and known not in repr(login)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_secret": "wrong"}, "; the clocks agree, so look at the key and its secret"),
        ({"at": EPOCH_S - 100}, "; our clock is 100.0 s behind the exchange's, so that the login, valid for 30 s, had expired"),
        ({"at": EPOCH_S + 9, "api_secret": "wrong"}, "; our clock is 9.0 s ahead of the exchange's, which a login allows for"),
    ],
)
@pytest.mark.parametrize(
    "call", [lambda ws: ws.subscribe("order"), lambda ws: ws.order_create(**BUY)], ids=["private", "trade"]
)
def test_wrong_login(box, make, options, says, call):
    """
    A refused login of either endpoint is an `AuthenticationError` that names what the clocks have to do with it.

    The connection on which the exchange was asked for its time is closed again.
    """
    ws = make(**{"at": EPOCH_S, **options})
    error = raised(call, ws)
    assert (AuthenticationError, True) == (type(error), says in str(error)), str(error)
    assert {"method": "auth", "params": "(hidden)"} == error.request
    assert (str(error), 1) == (str(pickle.loads(pickle.dumps(error))), len(said(box, "ping")))
    box.wait_connections(0)
    assert [] == ws._pools["clock"]


def test_wrong_logins_of_both_at_once(box, make):
    """Two refused logins may ask for the exchange's time at once; neither closes the other's connection."""
    ws = make(at=EPOCH_S, api_secret="wrong")
    errors = [later(call) for call in (lambda: ws.subscribe("order"), lambda: ws.order_create(**BUY))]
    told = [str(error.get(timeout=LIMIT_S)) for error in errors]
    assert [True, True] == ["the clocks agree" in text for text in told], told
    box.wait_connections(0)
    assert [] == ws._pools["clock"]


def test_wrong_login_without_a_clock(make, box):
    """Where the exchange does not tell its time, the login's refusal says so."""
    ws = make(at=EPOCH_S, api_secret="wrong", private_url="ws://127.0.0.1:1/")
    error = raised(ws.order_create, **BUY)
    assert "if the clock of this machine is wrong, that may be why" in str(error)


@pytest.mark.parametrize(
    "call", [lambda ws: ws.subscribe("order"), lambda ws: ws.order_create(**BUY)], ids=["private", "trade"]
)
def test_login_is_needed(box, make, call):
    """A private topic, and an order, need a login, which is said before anything is connected."""
    error = raised(call, make(api_key=None, api_secret=None))
    assert (AuthenticationError, 0) == (type(error), box.connections)
    assert "needs a login: give the client api_key and api_secret" in str(error)


def test_fresh_logins_after_a_loss(box, make):
    """After a loss both endpoints log in anew, with an `expires` of that moment."""
    ws = make(at=EPOCH_S)
    orders = ws.subscribe("order")
    ws.order_create(**BUY)
    ws._clock.seconds = EPOCH_S + 7
    box.drop()
    box.wait_received("auth", 4)
    expires = sorted(message["args"][1] for message in said(box, "auth"))
    assert [0, 0, 7000, 7000] == [moment - expires[0] for moment in expires]
    box.wait_received("subscribe", 2)
    settle(ws)
    ws._clock.seconds = EPOCH_S  # an order of the future is refused
    ws.order_create(**BUY)
    settle(ws)
    assert ["reconnect"] == [order.gap.reason for order in orders.get_many(timeout=LIMIT_S) if order.gap is not None]


def test_no_secret_is_shown(box, make, caplog, capsys):
    """Key, secret and signatures are in no repr, log line, error or traceback."""
    caplog.set_level(logging.DEBUG)
    shown = []
    for options in ({}, {"api_secret": "wrong" * 9}, {"api_key": "another" * 9}):
        ws = make(**options)
        if "api_key" in options:
            box.reject(message=f"Invalid apikey {'another' * 9}")
        for call in (lambda ws: ws.subscribe("order"), lambda ws: ws.order_create(**BUY)):
            try:
                shown.append(repr(call(ws)))
            except AuthenticationError as error:
                shown += [
                    repr(error),
                    str(error),
                    repr(vars(error)),
                    "".join(traceback.format_exception(None, error, error.__traceback__)),
                ]
        shown += [repr(ws), repr(ws._options), repr(ws._endpoints), repr(ws.stats())]
    text = "\n".join([*shown, caplog.text, *capsys.readouterr()])
    assert "Invalid apikey (hidden)" in text
    signatures = [message["args"][2] for message in said(box, "auth")]
    assert len(signatures) == 6
    secrets = [box.api_key, box.api_secret, "wrong" * 9, "another" * 9, *signatures]
    assert [] == [secret for secret in secrets if secret in text]


# Trading ---------------------------------------------------------------------------------------------------------------------


def test_order(box, ws):
    """
    An order is accepted, seen on the order stream under its client id, amended and cancelled.

    Each request has one object, with the client's category, and a header of that moment.
    """
    orders = ws.subscribe_order()
    placed = ws.order_create(**BUY, client_id="mine-1", time_in_force="PostOnly")
    assert {"orderId", "orderLinkId"} == set(placed)
    assert placed == ws.order_amend("BTCUSDT", placed["orderId"], price="19000")
    assert placed == ws.order_cancel("BTCUSDT", client_id="mine-1")
    settle(ws)
    seen = [order for order in there(ws, orders) if order.client_id == "mine-1"]
    assert [("New", Decimal(20000)), ("New", Decimal(19000)), ("Cancelled", Decimal(19000))] == [
        (order.status, order.price) for order in seen
    ]
    assert {placed["orderId"]} == {order.id for order in seen}
    (create,), (amend,), (cancel,) = (said(box, op) for op in ("order.create", "order.amend", "order.cancel"))
    assert [
        {
            "category": "spot",
            "symbol": "BTCUSDT",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.01",
            "price": "20000",
            "timeInForce": "PostOnly",
            "orderLinkId": "mine-1",
        }
    ] == create["args"]
    assert [{"category": "spot", "symbol": "BTCUSDT", "orderId": placed["orderId"], "price": "19000"}] == amend["args"]
    assert [{"category": "spot", "symbol": "BTCUSDT", "orderLinkId": "mine-1"}] == cancel["args"]
    for message in (create, amend, cancel):
        assert {"reqId", "header", "op", "args"} == set(message)
        assert {"X-BAPI-TIMESTAMP", "X-BAPI-RECV-WINDOW"} == set(message["header"])
        assert "5000" == message["header"]["X-BAPI-RECV-WINDOW"]


def test_generated_client_id(ws):
    """An order without a client id gets one, which the answer and the stream have."""
    orders = ws.subscribe_order()
    placed = ws.order_create(**BUY)
    assert re.fullmatch("[0-9a-f]{32}", placed["orderLinkId"])
    settle(ws)
    assert placed["orderLinkId"] in {order.client_id for order in there(ws, orders)}


def test_order_of_another_category(box, ws):
    """Orders of any category go over the same connection."""
    ws.order_create("BTCUSDT", "sell", "limit", "0.01", "90000", category="linear", position_idx=0)
    ((body,),) = (message["args"] for message in said(box, "order.create"))
    assert ("linear", 0) == (body["category"], body["positionIdx"])


def test_refused_orders(ws):
    """A refusal has the exchange's code and words, and the request, with the client id."""
    error = raised(ws.order_cancel, "BTCUSDT", client_id="nobody")
    assert (RequestRejected, 170213) == (type(error), error.code)
    error = raised(ws.order_create, "NOSUCHUSDT", "buy", "limit", "0.01", "1")
    assert (170121, True) == (error.code, bool(error.request["params"][0]["orderLinkId"]))


@pytest.mark.parametrize(("code", "kind"), [(10429, RateLimited), (20003, RateLimited), (10016, RequestRejected)])
def test_codes_of_refusals(box, ws, code, kind):
    """Codes become the errors that a program can act upon."""
    ws.order_create(**BUY)
    box.reject(code=code)
    error = raised(ws.order_create, **BUY)
    assert (kind, code) == (type(error), error.code)


def test_too_many_orders():
    """More orders in a second than an account may place are refused, with the wait that the exchange asks for."""
    with Sandbox("bybit-v5", seed=11, tick=None) as box, box.client() as ws:
        error = raised(lambda: [ws.order_create(**BUY) for _ in range(100)])
    assert (RateLimited, 10006, True) == (type(error), error.code, 0.0 < error.retry_after_s <= 1.0)


def test_stale_order(box, make):
    """The time of an order is that at which it is said, by the client's clock; the exchange refuses what is too old for it."""
    ws = make(at=EPOCH_S)
    ws.order_create(**BUY)
    ws._clock.seconds = EPOCH_S - 6
    assert 10002 == raised(ws.order_create, **BUY).code
    stamps = [message["header"]["X-BAPI-TIMESTAMP"] for message in said(box, "order.create")]
    assert [str(int(EPOCH_S * 1000)), str(int((EPOCH_S - 6) * 1000))] == stamps


def test_batches(box, ws):
    """Each order of a batch has its result; those that were refused are told in the log as well."""
    good, bad = {**BUY, "client_id": "good"}, {**BUY, "client_id": "bad", "qty": "999999999"}
    placed = ws.order_create_batch([good, bad])
    assert [("good", False), ("bad", True)] == [(result.client_id, result.error is not None) for result in placed]
    assert RequestRejected is type(placed[1].error)
    amended = ws.order_amend_batch([{"symbol": "BTCUSDT", "client_id": "good", "price": "19000"}])
    assert [placed[0].order_id] == [result.order_id for result in amended]
    gone = ws.order_cancel_batch({"symbol": "BTCUSDT", "client_id": name} for name in ("bad", "good"))
    assert [170213, placed[0].order_id] == [gone[0].error.code, gone[1].order_id]
    (message,) = said(box, "order.create-batch")
    (body,) = message["args"]
    assert ("spot", ["good", "bad"]) == (body["category"], [order["orderLinkId"] for order in body["request"]])


def test_refused_orders_of_a_batch_are_logged(ws, caplog):
    """Who looks at no result finds the refusals in the log."""
    with caplog.at_level(logging.WARNING):
        ws.order_cancel_batch([{"symbol": "BTCUSDT", "client_id": "nobody"}])
    assert ["bybit-v5: order.cancel-batch: 1 of 1 orders were refused"] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("orders", "kind", "says"),
    [
        ([], UsageError, "takes at least one order"),
        (BUY, UsageError, "takes a list of orders, each a dict, not dict"),
        ("BTCUSDT", UsageError, "takes a list of orders, each a dict, not str"),
        (None, UsageError, "takes a list of orders, each a dict, not NoneType"),
        ([BUY] * 11, LimitExceeded, "takes 10 orders of spot at most, not 11"),
    ],
)
def test_senseless_batches(box, ws, orders, kind, says):
    """What cannot be a batch is not sent."""
    error = raised(ws.order_create_batch, orders)
    assert (kind, True, 0) == (type(error), says in str(error), box.connections)


def test_an_order_of_unknown_outcome(box, ws):
    """An order whose answer is lost is not said again, and its error has the client id to look it up by."""
    ws.order_create(**BUY)
    box.delay(60.0)
    waits = later(lambda: ws.order_create(**BUY))
    box.wait_received("order.create", 2)
    box.delay(0.0)
    box.drop()
    error = waits.get(timeout=LIMIT_S)
    assert (ConnectionLost, True) == (type(error), error.sent)
    box.wait_received("auth", 2)
    ws._call(TRADE.heartbeat.command, LIMIT_S, "trade")  # the connection is there again, and has said what it had to say
    messages = said(box, "order.create")
    assert 2 == len(messages)
    assert messages[1]["args"][0]["orderLinkId"] == error.request["params"][0]["orderLinkId"]


@pytest.mark.parametrize("what", [object(), {1}, float("nan"), "\ud800", [b""]], ids=["object", "set", "nan", "half", "bytes"])
def test_orders_without_json_are_not_sent(box, ws, what):
    """What cannot be said is found before it is tried: it costs neither the connection nor the orders on their way there."""
    order = {**BUY, "smpType": [what]}
    for call in (lambda: ws.order_create(**order), lambda: ws.order_create_batch([order])):
        error = raised(call)
        assert (UsageError, 0) == (type(error), box.connections)


def test_demo_has_no_orders(make):
    """Demo trading has no orders over WebSocket: nothing is sent to where real ones are placed."""
    ws = BybitV5(demo=True, api_key="key", api_secret="secret")
    for call in (lambda: ws.order_create(**BUY), lambda: ws.request("order.cancel", [{}]), lambda: ws.order_cancel_batch([])):
        assert isinstance(raised(call), UsageError)
    with pytest.raises(UsageError, match="order.create: demo trading has no orders over WebSocket"):
        ws.order_create(**BUY)


# Command line ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "event", "count"),
    [
        (["orderbook.50.BTCUSDT"], "BookUpdate", 5),
        (["tickers.BTCUSDT", "--category", "linear"], "Ticker", 1),
        (["order"], "Order", 1),
    ],
)
def test_command_line(capsys, words, event, count):
    """The command line prints parseable events of public and private topics, though nobody trades."""
    assert 0 == cli.main(["stream", "bybit-v5", *words, "--sandbox", "--count", str(count), "--json"])
    out, err = capsys.readouterr()
    assert ([event] * count, "") == ([json.loads(line)["event"] for line in out.splitlines()], err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bybit-v5", "tickers.BTCUSDT", "--category", "futures"], "category='futures': takes one of spot, linear, inverse"),
        (["bybit-spot-v3", "tickers.BTCUSDT", "--category", "spot"], "--category: bybit-spot-v3 has none"),
    ],
)
def test_wrong_category_on_the_command_line(capsys, words, says):
    """A category that is none, or where there are none, is wrong usage."""
    assert 2 == cli.main(["stream", *words, "--sandbox"])
    assert says in capsys.readouterr().err
