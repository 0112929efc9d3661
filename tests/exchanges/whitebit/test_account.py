"""WhiteBIT's account channels and trading through the client, against the sandbox."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import logging
import re
import threading
import traceback
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_ws import (
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    ExchangeError,
    RequestRejected,
    RequestTimeout,
    UsageError,
    WhiteBIT,
)
from exchange_ws.cli import main
from exchange_ws.core.session import Backoff
from exchange_ws.events import Balance, Fill, Order, Other, Position
from exchange_ws.exchanges.whitebit import client
from exchange_ws.exchanges.whitebit.dialect import ACCOUNT_CHANNELS
from exchange_ws.sandbox import Sandbox

EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))
#: Seconds for anything to come; reached only when something is broken.
LIMIT_S = 20.0
SOON = Backoff(base=0.01, cap=0.05)
GOOD = ("BTC_USDT", "buy", "0.01", "50000")

TRADING = [name for name in EXAMPLES if name.startswith(("order_", "collateral_order_"))]
CHANNEL_METHODS = {
    "balanceSpot": "balance_spot",
    "balanceMargin": "balance_margin",
    "ordersPending": "orders_pending",
    "ordersExecuted": "orders_executed",
    "deals": "deals",
    "positionsMargin": "positions_margin",
    "positionsAccountMargin": "positions_account_margin",
    "borrowsMargin": "borrows_margin",
    "borrowsAccountMargin": "borrows_account_margin",
}


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


@pytest.fixture
def ws(box):
    """A client with the sandbox's key and secret."""
    with box.client(reconnect=SOON) as ws:
        yield ws


def words(channel):
    """What it takes to subscribe to a channel."""
    return ["BTC_USDT"] if ACCOUNT_CHANNELS[channel] == "market" else []


def calls(box, method):
    return [message["params"] for message in box.received if message["method"] == method]


# Logins


def test_market_data_needs_no_login(box):
    """Without credentials it works; and with them nothing logs in before it must."""
    with WhiteBIT(box.url) as ws, box.client() as keyed:
        assert ws.request_lastprice("BTC_USDT") == keyed.request_lastprice("BTC_USDT")
    assert [] == calls(box, "authorize")


@pytest.mark.parametrize("way", ["text", "function", "key and secret"])
def test_login(box, way):
    """By a token, a function that gives one, or one fetched with key and secret; once, and on a connection of its own."""
    options = {
        "text": {"token": box.token},
        "function": {"token": lambda: box.token},
        "key and secret": {"api_key": box.api_key, "api_secret": box.api_secret, "rest_url": box.rest_url},
    }[way]
    with WhiteBIT(box.url, **options) as ws:
        ws.request_lastprice("BTC_USDT")
        assert {"USDT", "BTC"} == set(ws.request_balance_spot("USDT", "BTC"))
        assert 0 == ws.request_orders_pending("BTC_USDT")["total"]
        assert 2 == box.connections
    assert 1 == len(calls(box, "authorize"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "stale-t0ken"},
        {"token": lambda: "stale-t0ken"},
        {"api_secret": "gue55ed"},
        {"api_key": "n0b0dy", "api_secret": "gue55ed"},
    ],
)
def test_wrong_login(box, wrong):
    """`AuthenticationError` to whoever asks, without another try; the market data goes on. No secret is in it."""
    with box.client(**wrong) as ws:
        for ask in (ws.request_balance_spot, ws.subscribe_balance_spot, lambda: ws.order_limit_place(*GOOD)):
            with pytest.raises(AuthenticationError) as caught:
                ask()
            shown = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
            for secret in ("stale-t0ken", "gue55ed", "n0b0dy", box.api_secret, box.api_key):
                assert secret not in shown + repr(caught.value)
        assert ws.request_lastprice("BTC_USDT")


def test_token_function_that_fails(box):
    """Its error ends nothing for good: what it raised is the cause, and the next call asks it again."""
    answers = [ZeroDivisionError("no token today"), 7, box.token]

    def token():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with WhiteBIT(box.url, token=token) as ws:
        with pytest.raises(ConnectFailed) as caught:
            ws.request_balance_spot()
        assert "ZeroDivisionError" in "".join(traceback.format_exception(ConnectFailed, caught.value, None))
        with pytest.raises(ConnectFailed, match="UsageError"):
            ws.request_balance_spot()
        assert ws.request_balance_spot()
    assert [] == answers


def test_login_anew_after_a_loss(box, ws):
    """A token is fetched anew for each connection, so one that has expired does not matter; what is missing is a `Gap`."""
    orders = ws.subscribe_orders_pending("BTC_USDT")
    box.expire_tokens()
    box.drop()
    box.wait_received("ordersPending_subscribe", 2)
    ws.request_balance_spot()  # which waits until the connection is open, as orders do not
    placed = ws.order_limit_place(*GOOD)
    event = orders.get(LIMIT_S)
    assert (placed["id"], "reconnect") == (event.id, event.gap.reason)
    tokens = [params[0] for params in calls(box, "authorize")]
    assert 2 == len(tokens) == len(set(tokens))


def test_token_function_is_asked_at_each_login(box):
    """A fresh one each time."""
    asked = []

    def token():
        asked.append(box.token)
        return box.token

    with WhiteBIT(box.url, token=token, reconnect=SOON) as ws:
        ws.subscribe_balance_spot()
        box.expire_tokens()
        box.drop()
        box.wait_received("balanceSpot_subscribe", 2)
    assert 2 == len(set(asked)) == len(asked)


def test_text_token_is_good_once(box):
    """After a loss an expired one is refused, which ends the subscription with `AuthenticationError`."""
    with WhiteBIT(box.url, token=box.token, reconnect=SOON) as ws:
        balances = ws.subscribe_balance_spot()
        box.expire_tokens()
        box.drop()
        with pytest.raises(AuthenticationError):
            balances.get(LIMIT_S)


def test_no_rest_no_login(box):
    """Where REST cannot be reached, it is said where, without the request."""
    with box.client(rest_url="http://127.0.0.1:9") as ws:
        with pytest.raises(ConnectFailed) as caught:
            ws.request_balance_spot()
    shown = "".join(traceback.format_exception(ConnectFailed, caught.value, caught.value.__traceback__))
    assert "POST http://127.0.0.1:9/api/v4/profile/websocket_token" in shown
    assert box.api_key not in shown


def test_too_many_tokens():
    """The eleventh in a minute is refused by the exchange; that is a failure to connect, tried again later."""
    with Sandbox("whitebit", tick=None) as box:
        for _ in range(10):
            box._call(box._allowed, box._rest_times, (10, 60.0))
        with box.client() as ws:
            with pytest.raises(ConnectFailed) as caught:
                ws.request_balance_spot()
    assert "HTTP 429: too many requests" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "k"},
        {"api_secret": "s3cret"},
        {"api_key": "k", "api_secret": ""},
        {"api_key": 5, "api_secret": "s3cret"},
        {"api_key": "k", "api_secret": "s3cret\n"},
        {"token": ""},
        {"token": 5},
        {"rest_url": "whitebit.com"},
    ],
)
def test_senseless_credentials(options):
    """Refused at construction, by name and without their values."""
    with pytest.raises(UsageError) as caught:
        WhiteBIT(**options)
    assert "s3cret" not in str(caught.value)


def test_nothing_private_without_credentials(box):
    """Every account method says that it needs a login, and nothing is sent."""
    with WhiteBIT(box.url) as ws:
        for call in (
            *(functools.partial(ws.subscribe, channel, *words(channel)) for channel in ACCOUNT_CHANNELS),
            ws.subscribe_positions_margin,
            ws.subscribe_borrows_margin,
            ws.request_balance_spot,
            lambda: ws.request_deals("BTC_USDT"),
            lambda: ws.order_limit_place(*GOOD),
            lambda: ws.request("order_cancel_all", [{}]),
        ):
            with pytest.raises(UsageError, match="needs a login"):
                call()
    assert [] == box.received


# Requests as the vendor's


def typed_call(ws, method, params):
    """Our method for one of the documentation's requests, with its arguments."""
    channel, _, verb = method.rpartition("_")
    if channel in CHANNEL_METHODS:
        name = CHANNEL_METHODS[channel]
        if verb == "subscribe":
            if channel == "ordersExecuted":
                return ws.subscribe_orders_executed(*params[0], order_filter=params[1])
            return getattr(ws, f"subscribe_{name}")(*(params[0] if channel == "deals" else params))
        if channel == "ordersExecuted":
            return ws.request_orders_executed(params[0]["market"], params[0]["order_types"], *params[1:])
        return getattr(ws, f"request_{name}")(*params)
    body = dict(params[0])
    function = getattr(ws, method)
    positional = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name in body:
            positional.append(body.pop(name))
    if "type" in body:
        positional.append(body.pop("type"))
    return function(*positional, **body)


TYPED = [
    (message["method"], message["params"])
    for name in (*ACCOUNT_CHANNELS, *TRADING)
    for message in EXAMPLES[name]["requests"]
    if not message["method"].endswith("_unsubscribe")
]


@pytest.mark.parametrize(("method", "params"), TYPED, ids=lambda value: value if isinstance(value, str) else "")
def test_requests_are_the_vendors(box, ws, method, params):
    """Each example of the documentation can be said with the method of that name, and is said exactly so."""
    with contextlib.suppress(RequestRejected):  # its prices are not the sandbox's, or there is no such order
        typed_call(ws, method, params)
    (said,) = calls(box, method)
    if method.endswith("_subscribe"):  # markets in some order
        flat = [sorted(part) if isinstance(part, list) else part for part in params]
        assert sorted(map(str, flat)) == sorted(str(sorted(part) if isinstance(part, list) else part) for part in said)
    else:
        assert params == said


def test_every_method_has_its_name(ws):
    """One documented method for each account channel, query and trading method; trading says that it is not documented."""
    names = [f"subscribe_{name}" for name in CHANNEL_METHODS.values()]
    names += [f"request_{CHANNEL_METHODS[channel]}" for channel in ACCOUNT_CHANNELS if not channel.endswith("Margin")]
    names += ["request_balance_margin", *TRADING]
    for name in names:
        documentation = inspect.getdoc(getattr(ws, name))
        assert documentation and "Examples" in documentation, name
        assert ("Not on the WebSocket pages" in documentation) == (name in TRADING), name


def test_every_method_is_on_the_page():
    """The documentation's table has each channel and method of the examples, our methods, and tests that there are."""
    page = (Path(__file__).parents[3] / "docs" / "whitebit.rst").read_text("utf-8")
    table = page[page.index("Channel or method") : page.index("The class")]
    rows = [re.findall(r"``([\w.]+)``", line) for line in table.splitlines() if line.startswith("``")]
    assert sorted(set(EXAMPLES) - {"general"}) == sorted(row[0] for row in rows)
    tests = Path(__file__).read_text("utf-8")
    for name, *others in rows:
        assert others, name
        for other in others:
            known = (Path(__file__).parent / other).exists() or hasattr(WhiteBIT, other) or f"def {other}(" in tests
            assert known, f"{name}: {other}"


def test_further_fields_and_kinds_of_numbers(box, ws):
    """Any field is passed on; exact numbers become text, and a float is refused."""
    order = ws.order_limit_place("BTC_USDT", "buy", Decimal("0.010"), 50000, client_order_id="mine", ioc=False, new_field=[1])
    assert ("mine", "0.01") == (order["client_order_id"], order["amount"])
    ((said,),) = calls(box, "order_limit_place")
    assert {"amount": "0.010", "price": "50000", "new_field": [1]} == {
        name: said[name] for name in ("amount", "price", "new_field")
    }
    for call in (
        lambda: ws.order_limit_place("BTC_USDT", "buy", 0.01, "50000"),
        lambda: ws.order_limit_place("BTC_USDT", "buy", "0.01", "50000", trigger=1.5),
        lambda: ws.order_limit_place("BTC_USDT", "buy", "-1", "50000"),
        lambda: ws.order_limit_place("BTC_USDT", "buy", "x", "50000"),
        lambda: ws.order_limit_place("BTC_USDT", "buy", True, "50000"),
        lambda: ws.order_limit_place("BTC_USDT", "both", "1", "50000"),
        lambda: ws.order_limit_place("BTC USDT", "buy", "1", "50000"),
        lambda: ws.order_bbo_place("BTC_USDT", "buy", "1", 3),
        lambda: ws.order_cancel("BTC_USDT"),
        lambda: ws.order_cancel("BTC_USDT", 5, client_order_id="mine"),
        lambda: ws.order_modify("BTC_USDT", "5", price="1"),
        lambda: ws.order_cancel_all("BTC_USDT", "spot"),
        lambda: ws.collateral_order_tpsl_place("BTC_PERP"),
        lambda: ws.collateral_order_oto_place("BTC_PERP"),
        lambda: ws.request_orders_executed("BTC_USDT", limit=101),
    ):
        with pytest.raises(UsageError):
            call()
    assert 1 == sum(message["method"].startswith(("order_", "collateral_")) for message in box.received)


def test_a_refused_order(box, ws):
    """The exchange's code and words, and what was refused."""
    with pytest.raises(RequestRejected) as caught:
        ws.order_limit_place("BTC_USDT", "buy", "1000", "50000")
    error = caught.value
    assert (1, "invalid argument") == (error.code, error.message)
    assert {"market": "BTC_USDT", "side": "buy", "amount": "1000", "price": "50000"} == error.request["params"][0]
    box.reject(1, 3, "service unavailable")
    with pytest.raises(RequestRejected, match="service unavailable"):
        ws.order_cancel_all()


# Orders and losses


def test_an_order_that_was_sent_has_an_unknown_outcome(box, ws):
    """Its answer lost with the connection: `sent` is True, it is not sent again, and here it was even placed."""
    ws.request_balance_spot("USDT")
    box.delay(60.0)
    failed = []

    def place():
        try:
            ws.order_limit_place(*GOOD, client_order_id="mine")
        except ExchangeError as error:
            failed.append(error)

    thread = threading.Thread(target=place)
    thread.start()
    box.wait_received("order_limit_place")
    box.delay(0)
    box.drop()
    thread.join(LIMIT_S)
    assert [(ConnectionLost, True)] == [(type(error), error.sent) for error in failed]
    assert ["mine"] == [order["client_order_id"] for order in ws.request_orders_pending("BTC_USDT")["records"]]
    assert 1 == len(calls(box, "order_limit_place"))


def test_an_order_that_never_left_failed(box):
    """Without a connection it fails at once: `sent` is False, and it is not sent later."""
    lost = threading.Event()
    ws = box.client(reconnect=SOON, on_state=lambda state: lost.set() if state == "reconnecting" else None)
    try:
        ws.request_balance_spot("USDT")  # so that there is no connection but the private one
        box.restart(2 * LIMIT_S)
        assert lost.wait(LIMIT_S)
        with pytest.raises(ConnectionLost) as caught:
            ws.order_limit_place(*GOOD)
        assert caught.value.sent is False
        box.restart(0.05)
        assert 0 == ws.request_orders_pending("BTC_USDT")["total"]  # which waits for the connection
        assert [] == calls(box, "order_limit_place")
    finally:
        ws.close()


def test_an_order_without_an_answer(box, ws):
    """`RequestTimeout` tells that it was sent; a late answer harms nothing."""
    ws.request_balance_spot("USDT")
    box.freeze()
    with pytest.raises(RequestTimeout) as caught:
        ws.order_limit_place(*GOOD, timeout=0.2)
    assert caught.value.sent is True
    box.thaw()
    assert 1 == ws.request_orders_pending("BTC_USDT")["total"]


# Streams


def test_life_of_orders_in_the_streams(box, ws):
    """What is done is told as typed events, exact, in order, and in `raw` as the vendor has it."""
    orders, fills = ws.subscribe_orders_pending("BTC_USDT", "ETH_USDT"), ws.subscribe_deals("*")
    executed, balances = ws.subscribe_orders_executed("ETH_USDT", order_filter=2), ws.subscribe_balance_spot("USDT", "ETH")
    resting = ws.order_limit_place(*GOOD, client_order_id="mine")
    fresh = ws.order_modify("BTC_USDT", resting["id"], price="49000")
    ws.order_cancel("BTC_USDT", client_order_id="mine")
    bought = ws.order_market_stock_place("ETH_USDT", "buy", "0.05")
    told = [orders.get(LIMIT_S) for _ in range(5)]
    assert {(Order, "mine", "buy", "limit", Decimal("0.01"))} == {
        (type(event), event.client_id, event.side, event.type, event.size) for event in told[:4]
    }
    assert [
        (1, resting["id"], Decimal(50000), "OPEN"),
        (3, resting["id"], Decimal(50000), "CANCELED"),
        (1, fresh["id"], Decimal(49000), "OPEN"),
        (3, fresh["id"], Decimal(49000), "CANCELED"),
        (3, bought["id"], Decimal(0), "FILLED"),
    ] == [(event.raw[0], event.id, event.price, event.status) for event in told]
    done = executed.get(LIMIT_S)
    assert (bought["id"], "market stock", Decimal("0.05")) == (done.id, done.type, done.filled)
    parts = [fills.get(LIMIT_S)]
    while sum(fill.size for fill in parts) < Decimal("0.05"):
        parts.append(fills.get(LIMIT_S))
    assert {(Fill, bought["id"], "buy", "taker", "ETH")} == {
        (type(fill), fill.order_id, fill.side, fill.role, fill.fee_asset) for fill in parts
    }
    assert Decimal(bought["deal_money"]) == sum(fill.price * fill.size for fill in parts)
    assert Decimal(bought["deal_fee"]) == sum(fill.fee for fill in parts)
    box.step(10)
    changed = {event.asset: event for event in (balances.get(LIMIT_S), balances.get(LIMIT_S))}
    now = ws.request_balance_spot("USDT", "ETH")
    assert {Balance} == {type(event) for event in changed.values()}
    assert {asset: (Decimal(told["available"]), Decimal(told["freeze"])) for asset, told in now.items()} == {
        asset: (event.available, event.locked) for asset, event in changed.items()
    }


def test_positions_and_borrows_in_the_streams(box, ws):
    """Positions while there are any, then an `Other` without one; borrows, whole; margin balances."""
    positions, borrows = ws.subscribe_positions_margin(), ws.subscribe_borrows_margin()
    margin = ws.subscribe_balance_margin("USDT")
    ws.collateral_order_market_place("BTC_PERP", "sell", "0.02")
    box.step(15)
    position = positions.get(LIMIT_S)
    assert (Position, "BTC_PERP", Decimal("-0.02"), None) == (type(position), position.symbol, position.size, position.leverage)
    assert Decimal(position.raw["base_price"]) == position.entry_price
    borrow, balance = borrows.get(LIMIT_S), margin.get(LIMIT_S)
    assert (Other, ["BTC"]) == (type(borrow), [record["asset"] for record in borrow.raw["records"]])
    assert (Balance, "USDT", None) == (type(balance), balance.asset, balance.locked)
    ws.collateral_order_market_place("BTC_PERP", "buy", "0.02", reduce_only=True)
    box.step(10)
    assert (Other, []) == next((type(e), e.raw["records"]) for e in positions if type(e) is Other)


@pytest.mark.parametrize(("channel", "kind"), [("positionsAccountMargin", Position), ("borrowsAccountMargin", Other)])
def test_margin_calls_in_the_streams(box, ws, channel, kind):
    """The documentation's own message, since these come seldom; `raw` has the event's number."""
    calls_ = ws.subscribe(channel)
    (message,) = EXAMPLES[channel]["updates"]
    box.push(json.dumps(message))
    event = calls_.get(LIMIT_S)
    assert (kind, message["params"]) == (type(event), event.raw)


def test_two_subscribers_of_balances(box, ws):
    """One says USDT, the other ETH: on the wire it is both, and each gets its own."""
    dollars, ether = ws.subscribe_balance_spot("USDT"), ws.subscribe_balance_spot("ETH")
    assert [["USDT"], ["ETH", "USDT"]] == calls(box, "balanceSpot_subscribe")
    ws.order_market_place("ETH_USDT", "buy", "50")
    box.step(10)
    assert ("USDT", "ETH") == (dollars.get(LIMIT_S).asset, ether.get(LIMIT_S).asset)
    assert (0, 0) == (dollars.qsize(), ether.qsize())


def test_another_filter_takes_another_connection(box, ws):
    """Executed orders of two filters at once: each on its own connection, both logged in."""
    ws.subscribe_orders_executed("BTC_USDT")
    ws.subscribe_orders_executed("BTC_USDT", order_filter=1)
    assert 2 == len(calls(box, "authorize"))
    assert [[["BTC_USDT"], 0], [["BTC_USDT"], 1]] == calls(box, "ordersExecuted_subscribe")


def test_account_subscriptions_never_drop(box, ws):
    """Nobody reads and the buffer is full: the subscription ends with an error rather than a hole."""
    orders = ws.subscribe_orders_pending("BTC_USDT", queue_size=2)
    for number in range(4):
        ws.order_limit_place("BTC_USDT", "buy", "0.01", 50000 + number)
    with pytest.raises(ExchangeError, match=r".") as caught:
        for _ in orders:
            pass
    assert "ConsumerTooSlow" == type(caught.value).__name__
    for channel in ACCOUNT_CHANNELS:
        subscription = ws.subscribe(channel, *words(channel))
        assert all(topic.account for topic in subscription.wanted)


def test_leaving(box, ws):
    """The last one to leave unsubscribes; private requests go on."""
    with ws.subscribe_deals("*"), ws.subscribe_positions_margin():
        pass
    assert [[]] == calls(box, "deals_unsubscribe") == calls(box, "positionsMargin_unsubscribe")
    assert ws.request_balance_margin()


# Secrets


def test_secrets_are_nowhere(box, caplog, capsys, monkeypatch):
    """Neither key, secret, token, payload nor signature is in any repr, log, error, traceback or output of the command line."""
    caplog.set_level(logging.DEBUG)
    for name in ("exchange_ws", "urllib3", "requests", "websocket"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    shown = io.StringIO()
    issued = "t0k3n-of-a-function"
    sent = []
    genuine = client.post

    def spied(url, body, headers, **options):
        sent.extend(value for name, value in headers.items() if name.startswith("X-TXC-"))
        return genuine(url, body, headers, **options)

    monkeypatch.setattr(client, "post", spied)

    def note(thing):
        print(repr(thing), str(thing), file=shown)
        if isinstance(thing, BaseException):
            traceback.print_exception(type(thing), thing, thing.__traceback__, file=shown)
            print(vars(thing), file=shown)

    with box.client(reconnect=SOON) as ws:
        orders = ws.subscribe_orders_pending("BTC_USDT")
        order = ws.order_limit_place(*GOOD)
        box.drop()
        box.wait_received("authorize", 2)
        for thing in (ws, orders, order, orders.get(LIMIT_S), ws.stats(), vars(ws), ws._endpoints, ws._options, ws._pools):
            note(thing)
        box.reject(1, 1, "invalid argument")
        for call in (lambda: ws.request_orders_pending("BTC_USDT"), lambda: ws.order_cancel("BTC_USDT", 5)):
            try:
                call()
            except ExchangeError as error:
                note(error)
    for options in (
        {"token": issued},
        {"token": lambda: issued},
        {"api_secret": "wr0ng-s3cret"},
        {"rest_url": "http://127.0.0.1:9"},
    ):
        with box.client(**options) as ws:
            note(ws)
            try:
                ws.subscribe_balance_spot()
            except ExchangeError as error:
                note(error)
    monkeypatch.setenv("EXCHANGE_WS_WHITEBIT_TOKEN", issued)
    assert 1 == main(["stream", "whitebit", "balanceSpot", "--url", box.url, "--count", "1"])
    monkeypatch.setenv("EXCHANGE_WS_WHITEBIT_TOKEN", box.token)
    assert 0 == main(["request", "whitebit", "balanceSpot_request", "USDT", "--url", box.url])
    told = capsys.readouterr()
    everything = shown.getvalue() + caplog.text + "".join(repr(vars(record)) for record in caplog.records) + told.out + told.err
    secrets = {box.api_key, box.api_secret, box.token, issued, "wr0ng-s3cret", *sent}
    secrets |= {params[0] for params in calls(box, "authorize")}
    assert len(secrets) >= 12
    assert "authorize" in everything
    assert [] == [secret for secret in secrets if secret in everything]


# The command line


@pytest.mark.parametrize(
    ("words", "event", "channel"),
    [
        (["balanceSpot"], "Balance", "balanceSpot"),
        (["ordersPending", "BTC_USDT"], "Order", "ordersPending"),
        (["deals", "*"], "Fill", "deals"),
    ],
)
def test_command_line(capsys, words, event, channel):
    """A private channel of the sandbox prints events, since the account there trades by itself."""
    assert 0 == main(["stream", "whitebit", *words, "--sandbox", "--count", "1", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (event, channel) == (told["event"], told["channel"])


def test_command_line_without_credentials(box, capsys):
    """It says what is missing, as wrong usage."""
    assert 2 == main(["stream", "whitebit", "balanceSpot", "--url", box.url])
    assert "balanceSpot: needs a login" in capsys.readouterr().err
