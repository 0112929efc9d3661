"""`BybitSpotV3` against its sandbox: every topic, the login, losses, and what is said for them."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import queue
import re
import threading
import time
import traceback
from decimal import Decimal

import pytest

import exchange_ws
from exchange_ws import Backoff, BybitSpotV3, cli
from exchange_ws.clock import SystemClock
from exchange_ws.errors import (
    AuthenticationError,
    ConnectionClosed,
    RequestRejected,
    SubscriptionRejected,
    UsageError,
)
from exchange_ws.events import Balance, BookTicker, BookUpdate, Candle, Fill, Order, Ticker, Trade
from exchange_ws.exchanges.bybit.base import LOGIN_VALID_S
from exchange_ws.exchanges.bybit.spot_v3_dialect import PUBLIC
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.server import Credentials

#: Seconds for what comes by itself; reached only when something is broken.
PATIENCE_S = 30.0
EPOCH_S = 1_700_000_000.0  # of markets that are moved by hand
#: Steps of the markets after which everything has happened at least once.
STEPS = 100
#: Symbols that no market has, hence never anything but refused.
NOWHERE = "AUSDT"

EVENTS = {
    "trade.BTCUSDT": Trade,
    "orderbook.40.BTCUSDT": BookUpdate,
    "tickers.BTCUSDT": Ticker,
    "bookticker.BTCUSDT": BookTicker,
    "kline.1m.BTCUSDT": Candle,
    "outboundAccountInfo": Balance,
    "order": Order,
    "stopOrder": Order,
    "ticketInfo": Fill,
}
METHODS = {
    "trade.BTCUSDT": lambda ws: ws.subscribe_trade("BTCUSDT"),
    "orderbook.40.BTCUSDT": lambda ws: ws.subscribe_orderbook("BTCUSDT"),
    "tickers.BTCUSDT": lambda ws: ws.subscribe_tickers("BTCUSDT"),
    "bookticker.BTCUSDT": lambda ws: ws.subscribe_bookticker("BTCUSDT"),
    "kline.1m.BTCUSDT": lambda ws: ws.subscribe_kline("BTCUSDT", interval="1m"),
    "outboundAccountInfo": lambda ws: ws.subscribe_outbound_account_info(),
    "order": lambda ws: ws.subscribe_order(),
    "stopOrder": lambda ws: ws.subscribe_stop_order(),
    "ticketInfo": lambda ws: ws.subscribe_ticket_info(),
}


class Clock(SystemClock):
    """Waits as ever, and shows a time of its own."""

    def __init__(self, seconds):
        self.seconds = seconds

    def time_ns(self):
        return int(self.seconds * 1e9)


@pytest.fixture
def box():
    """A Bybit that moves only by `step`, without limits."""
    with Sandbox("bybit-spot-v3", seed=11, tick=None, limits=False) as box:
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
        ws._call(PUBLIC.heartbeat.command, PATIENCE_S, endpoint)


def collect(box, ws, subscription):
    """All that comes while the markets move."""
    box.step(STEPS)
    settle(ws)
    subscription.unsubscribe()
    return list(subscription)


def error_of(call, *args, **params):
    with pytest.raises(exchange_ws.ExchangeError) as caught:
        call(*args, **params)
    return caught.value


def later(call):
    """Run *call* on a thread; the queue gets its result, or its error."""
    done = queue.SimpleQueue()

    def run():
        try:
            done.put(call())
        except exchange_ws.ExchangeError as error:
            done.put(error)

    threading.Thread(target=run).start()
    return done


# Topics ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", EVENTS)
def test_every_topic(box, ws, topic):
    """Each topic gives its events, by the vendor's name and by the method of its own, with the whole message in `raw`."""
    first, second = ws.subscribe(topic), METHODS[topic](ws)
    assert (topic,) == first.topics == second.topics
    assert [[topic]] == [message["args"] for message in said(box, "subscribe")]
    box.step(STEPS)
    settle(ws)
    second.unsubscribe()
    assert [] == said(box, "unsubscribe")
    first.unsubscribe()
    events = list(first)
    assert {EVENTS[topic]} == {type(event) for event in events}
    assert events == list(second)
    assert {topic} == {event.raw["topic"] for event in events}
    assert {"bybit-spot-v3"} == {event.exchange for event in events}
    assert all(EPOCH_S <= event.time <= EPOCH_S + STEPS for event in events)
    assert {None if topic == "outboundAccountInfo" else "BTCUSDT"} == {event.symbol for event in events}
    assert [[topic]] == [message["args"] for message in said(box, "unsubscribe")]


def test_every_topic_has_a_method():
    """No channel of the documentation is left out, and each method says where it is documented, with an example."""
    methods = {name for name in vars(BybitSpotV3) if name.startswith("subscribe_")}
    channels = {re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name.partition(".")[0]) for name in EVENTS}
    assert {f"subscribe_{channel}" for channel in channels} == methods
    for name in methods:
        text = inspect.getdoc(getattr(BybitSpotV3, name))
        assert re.search(r"\[\w+\]\.", text) and ">>>" in text


def test_trades_are_the_markets(box, ws):
    """Every trade of the market comes, once, in order, with exact numbers and the taker's side."""
    (market,) = [one for one in box.markets.markets if (one.instrument.base, one.instrument.quote) == ("SOL", "USDT")]
    last = market.trades[-1].id
    trades = ws.subscribe_trade("SOLUSDT")
    got = collect(box, ws, trades)
    expected = [(one.price, one.size, one.side) for one in reversed(market.trades_after(last))]
    assert expected
    assert expected == [(trade.price, trade.size, trade.side) for trade in got]


def test_books_are_whole(box, ws):
    """Every book is a snapshot of the best 40; the last one is the market's."""
    books = collect(box, ws, ws.subscribe_orderbook("BTCUSDT"))
    bids, asks = box.markets.markets[0].book(40)
    assert {("snapshot", 40, 40, None)} == {(book.kind, len(book.bids), len(book.asks), book.sequence) for book in books}
    assert (tuple(bids.items()), tuple(asks.items())) == (books[-1].bids, books[-1].asks)


def test_candles_know_their_interval(box, ws):
    """The interval of the topic is told in seconds; a month has none."""
    candles = ws.subscribe("kline.5m.BTCUSDT", "kline.1M.BTCUSDT")
    assert {300, None} == {candle.interval for candle in collect(box, ws, candles)}


def test_market_buys_end_cancelled_and_filled(box, ws):
    """A market buy ends as CANCELED although it was filled."""
    orders = collect(box, ws, ws.subscribe_order())
    last = {order.id: order for order in orders if order.type == "MARKET_OF_QUOTE"}.values()
    assert {("CANCELED", True)} == {(order.status, order.filled > 0) for order in last}


def test_balances_of_one_push_are_several(box, ws):
    """Coins that change together come in one message and become one event each."""
    balances = collect(box, ws, ws.subscribe_outbound_account_info())
    together = [balance for balance in balances if len(balance.raw["data"][0]["B"]) == 2]
    assert together
    assert {"BTC", "USDT"} == {balance.asset for balance in together[:2]}


def test_one_subscription_of_both_endpoints(box, ws):
    """Public and private topics may be subscribed to together; each goes to its endpoint."""
    both = ws.subscribe("trade.BTCUSDT", "order")
    assert 2 == box.connections
    assert {Trade, Order} == {type(event) for event in collect(box, ws, both)}
    assert 1 == len(said(box, "auth"))


def test_endpoints_open_as_topics_need_them(box, ws):
    """Public topics cost no login, private ones no public connection."""
    ws.subscribe("order")
    assert (1, 1) == (box.connections, len(said(box, "auth")))
    ws.subscribe("trade.BTCUSDT")
    assert 2 == box.connections


def test_another_connection_is_not_needed(box, ws):
    """All topics of an endpoint share its connection."""
    for topic in EVENTS:
        ws.subscribe(topic)
    assert 2 == box.connections


def test_account_topics_do_not_drop(box, ws):
    """Of account topics none is left out: LATEST is refused, and an overflow is an error."""
    with pytest.raises(UsageError, match="overflow='latest': order"):
        ws.subscribe("order", overflow="latest")
    orders = ws.subscribe("order", queue_size=1)
    box.step(STEPS)
    settle(ws)
    with pytest.raises(exchange_ws.ConsumerTooSlow):
        list(orders)


# Requests --------------------------------------------------------------------------------------------------------------------


def test_ping(box, ws):
    """A ping is the exchange's own; as a request it gives the whole reply. Every request has a `req_id`."""
    assert 0.0 <= ws.ping() < PATIENCE_S
    pong = ws.request("ping")
    assert ("pong", [EPOCH_S * 1000]) == (pong["op"], pong["args"])
    ws.subscribe("trade.BTCUSDT", "order").unsubscribe()
    assert ["ping", "ping", "auth", "subscribe", "subscribe", "unsubscribe", "unsubscribe"] == sorted(
        (message["op"] for message in box.received), key=["ping", "auth", "subscribe", "unsubscribe"].index
    )
    assert [] == [message for message in box.received if type(message.get("req_id")) is not str]
    assert [] == [message for message in said(box, "ping") if "args" in message]


def test_pong_without_an_id(box, ws):
    """A pong that does not say which ping it answers, answers the oldest."""
    ws.connect()
    box.reorder(100)
    waits = later(ws.ping)
    box.wait_received("ping")
    box.push('{"op":"pong","args":[1661741654529],"conn_id":"706b870c"}')
    assert waits.get(timeout=PATIENCE_S) >= 0.0


@pytest.mark.parametrize("topic", ["trade.BTCUSDT", "order"])
def test_heartbeat(box, make, topic):
    """Both endpoints are pinged in JSON."""
    ws = make(ping_interval=0.05)
    ws.subscribe(topic)
    assert {"req_id", "op"} == set(box.wait_received("ping", 3)[0])


def test_heartbeat_is_before_the_exchange_hangs_up(make):
    """A ping interval that is too long is refused."""
    with pytest.raises(UsageError, match="ping_interval=600.0: takes less than 600 s"):
        make(ping_interval=600.0)


def test_refused_request(ws):
    """A refused request raises with the vendor's code, as a number, and words."""
    error = error_of(ws.request, "greet", ["x"])
    assert (RequestRejected, 12802, "Invalid event") == (type(error), error.code, error.message)
    assert {"method": "greet", "params": ["x"]} == error.request


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe", "auth"])
def test_statements_are_not_requests(box, ws, op):
    """What would change what the client has stated is refused."""
    with pytest.raises(UsageError, match="use subscribe"):
        ws.request(op, ["trade.BTCUSDT"])
    assert [] == box.received


@pytest.mark.parametrize(
    "args",
    [("",), (None,), ("x", {1}), ("x", "text"), ("x", [object()]), ("x", [float("nan")]), ("\ud800",), ("x", ["\ud800"])],
)
def test_senseless_requests(box, ws, args):
    """What cannot be said is not said."""
    assert isinstance(error_of(ws.request, *args), UsageError)
    assert [] == box.received


def test_throttled(box, ws):
    """Too many visits is `RateLimited`."""
    box.reject(code=10006)
    error = error_of(ws.request, "ping")
    assert (exchange_ws.RateLimited, 10006) == (type(error), error.code)


# Batches ---------------------------------------------------------------------------------------------------------------------


def names(count):
    """Topics that the sandbox has."""
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ETHBTC"]
    shapes = ["trade.{}", "tickers.{}", "bookticker.{}", "orderbook.40.{}", "kline.1m.{}", "kline.5m.{}"]
    return [shape.format(symbol) for shape in shapes for symbol in symbols][:count]


def test_batches(box, ws):
    """25 topics are said in three requests of at most 10; so they are on the next connection, and when they are left."""
    some = ws.subscribe(*names(25))
    assert [10, 10, 5] == [len(message["args"]) for message in said(box, "subscribe")]
    box.drop()
    box.wait_received("subscribe", 6)
    assert [10, 10, 5] * 2 == [len(message["args"]) for message in said(box, "subscribe")]
    assert sorted(names(25) * 2) == sorted(name for message in said(box, "subscribe") for name in message["args"])
    ws.ping()
    some.unsubscribe()
    assert [10, 10, 5] == [len(message["args"]) for message in said(box, "unsubscribe")]


def test_a_refused_topic_ends_no_other(box, make):
    """Topics of several subscriptions that are refused together are tried one after the other; only the bad one ends."""
    ws = make(timeout=PATIENCE_S)
    ws.connect()
    good = [ws.subscribe(*names(25)[at : at + 5]) for at in range(0, 25, 5)]
    bad = later(lambda: ws.subscribe("trade.BTCUSDT", f"trade.{NOWHERE}"))
    error = bad.get(timeout=PATIENCE_S)
    assert (SubscriptionRejected, f"Invalid symbol :[trade.{NOWHERE}]") == (type(error), error.message)
    assert f"trade.{NOWHERE}" in error.topic
    box.step(STEPS)
    ws.ping()
    assert [True] * 5 == [bool(one.qsize()) and not one.closed for one in good]


@pytest.mark.parametrize("others", [3, 12])
def test_a_topic_refused_after_a_loss_ends_no_other(box, ws, others):
    """Said again together after a loss, a topic that is gone by now ends its own subscription; the others go on."""
    good = [ws.subscribe(name) for name in names(others)]
    gone = ws.subscribe("trade.DBTCDUSDT")
    box._call(box._exchange.names.pop, "DBTCDUSDT")
    box.drop()
    error = error_of(list, gone)
    assert (SubscriptionRejected, "trade.DBTCDUSDT") == (type(error), error.topic)
    deadline = time.monotonic() + PATIENCE_S
    while ws.state != "open" and time.monotonic() < deadline:
        ws.ping()
    box.step(STEPS)
    for one in good:
        event = one.get(PATIENCE_S)
        assert "reconnect" == event.gap.reason
    assert set(good) == set(ws.subscriptions)


# Login -----------------------------------------------------------------------------------------------------------------------


def test_login(box, make):
    """The login is signed with the secret, valid for half a minute, and said before anything else on its connection."""
    make(at=EPOCH_S + 5).subscribe("order", "ticketInfo")
    auth, subscribe = box.received
    key, expires, signature = auth["args"]
    assert ("auth", "subscribe") == (auth["op"], subscribe["op"])
    assert (box.api_key, (EPOCH_S + 5 + LOGIN_VALID_S) * 1000, 64) == (key, expires, len(signature))


def test_signature():
    """The signature is the one of the known example, and stands in no repr."""
    ws = BybitSpotV3(api_key="test-key", api_secret="test-secret")
    ws._clock = Clock(EPOCH_S - LOGIN_VALID_S)
    login = ws._login()
    known = "5e1a6810262f270b783cf759f856aadee413643be3c03d0fb89dd22261e41df0"
    assert ("auth", ("test-key", 1700000000000, known)) == (login.method, login.args)
    assert "test-key" not in repr(login) and known not in repr(login)


def test_fresh_login_on_each_connection(box, make):
    """After a loss the client logs in anew, with an `expires` of that moment, and subscribes again."""
    ws = make(at=EPOCH_S)
    orders = ws.subscribe("order")
    for number in range(1, 4):
        ws._clock.seconds = EPOCH_S + 7 * number
        box.drop()
        box.wait_received("subscribe", 1 + number)
    expires = [message["args"][1] for message in said(box, "auth")]
    assert [7000, 7000, 7000] == [after - before for before, after in zip(expires, expires[1:])]
    box.step(STEPS)
    assert "reconnect" == orders.get(PATIENCE_S).gap.reason


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_secret": "wrong"}, "Error sign (code 10003); the clocks agree, so look at the key and its secret"),
        ({"api_key": "wrong"}, "Invalid apikey (code 10003); the clocks agree, so look at the key and its secret"),
        ({"at": EPOCH_S - 100}, "Request expired (code 10003); our clock is 100.0 s behind the exchange's, so that the login"),
        ({"at": EPOCH_S - 30}, "our clock is 30.0 s behind the exchange's, so that the login, valid for 30 s, had expired"),
        ({"at": EPOCH_S + 9, "api_secret": "wrong"}, "our clock is 9.0 s ahead of the exchange's, which a login allows for"),
        ({"at": EPOCH_S - 9, "api_secret": "wrong"}, "our clock is 9.0 s behind the exchange's, which a login allows for"),
        (
            {"public_url": "ws://127.0.0.1:1/", "api_secret": "wrong"},
            "if the clock of this machine is wrong, that may be why: the login was valid until 30 s after it, and the",
        ),
    ],
)
def test_wrong_login(make, options, says):
    """A refused login is an `AuthenticationError` that names what the clocks have to do with it; and it is not repeated."""
    ws = make(**{"at": EPOCH_S, **options})
    error = error_of(ws.subscribe, "order")
    assert (AuthenticationError, 10003) == (type(error), error.code)
    assert says in str(error)
    assert {"method": "auth", "params": "(hidden)"} == error.request
    assert () == ws.subscriptions
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize(("code", "clocks"), [(10004, True), (10005, False), (33004, False), (10008, False)])
def test_codes_of_refused_logins(box, make, code, clocks):
    """Any refusal of a login is an `AuthenticationError`; clocks are spoken of only where they may be the reason."""
    box.reject(code=code, message="no")
    error = error_of(make(at=EPOCH_S).subscribe, "order")
    assert (AuthenticationError, code) == (type(error), error.code)
    assert clocks == ("clocks" in str(error))


@pytest.mark.parametrize("code", [10006, 12999])
def test_login_that_may_succeed_later(box, make, code):
    """A login that the exchange could not judge just now is tried again after a loss."""
    ws = make()
    orders = ws.subscribe("order")
    box.reject(code=code)
    box.drop()
    box.wait_received("subscribe", 2)
    box.step(STEPS)
    assert (3, "order") == (len(said(box, "auth")), orders.get(PATIENCE_S).channel)


def test_login_refused_after_a_loss(box, make):
    """A key that has become invalid ends the private subscriptions with that, and nothing else."""
    ws = make(at=EPOCH_S)
    trades, orders = ws.subscribe("trade.BTCUSDT"), ws.subscribe("order")
    box._call(setattr, box._exchange.further[0], "_credentials", Credentials("another", "another", "another"))
    box.drop()
    error = error_of(list, orders)
    assert (AuthenticationError, 10003) == (type(error), error.code)
    assert "the clocks agree" in str(error)
    box.wait_received(lambda message: message.get("args") == ["trade.BTCUSDT"], 2)
    box.step(STEPS)
    assert ("reconnect", (trades,)) == (trades.get(PATIENCE_S).gap.reason, ws.subscriptions)
    assert isinstance(error_of(ws.subscribe, "ticketInfo"), AuthenticationError)


def test_private_topic_without_a_key(box, make):
    """A private topic needs a login, which is said before anything is connected."""
    ws = make(api_key=None, api_secret=None)
    with pytest.raises(AuthenticationError, match="order: a private topic, which needs a login"):
        ws.subscribe("trade.BTCUSDT", "order")
    assert (0, "idle") == (box.connections, ws.state)
    assert ws.subscribe("trade.BTCUSDT")


def test_public_topics_need_no_good_key(make):
    """With a wrong key the public topics work, before and after it was refused."""
    ws = make(api_secret="wrong")
    ws.subscribe("trade.BTCUSDT")
    error_of(ws.subscribe, "order")
    ws.subscribe("trade.ETHUSDT")
    assert 2 == len(ws.subscriptions)


def test_close_while_a_refusal_is_explained(box, make):
    """Closing does not wait for an exchange that does not tell its time."""
    ws = make(api_secret="wrong")
    ws.connect()
    box.reject(code=10003)
    box.delay(60.0)
    waits = later(lambda: ws.subscribe("order"))
    box.wait_received("auth")
    began = time.monotonic()
    ws.close()
    assert isinstance(waits.get(timeout=PATIENCE_S), (ConnectionClosed, AuthenticationError))
    assert time.monotonic() - began < 9.0  # and not ten, or sixty


def test_no_secret_is_shown(box, make, caplog, capsys):
    """Key, secret and signatures are in no repr, log line, error or traceback, also when the exchange repeats them."""
    caplog.set_level(logging.DEBUG)
    shown = []
    for options in ({}, {"api_secret": "wrong" * 9}, {"api_key": "another" * 9}):
        ws = make(**options)
        if options:
            box.reject(code=10003, message=f"Invalid apikey {options.get('api_key', box.api_key)}")
        try:
            shown.append(repr(ws.subscribe("order")))
            box.drop()
            box.wait_received("subscribe", 2)
        except AuthenticationError as error:
            shown += [
                repr(error),
                str(error),
                repr(vars(error)),
                "".join(traceback.format_exception(None, error, error.__traceback__)),
            ]
        shown += [repr(ws), repr(ws._options), repr(ws._endpoints), repr(ws.stats())]
        with pytest.raises(UsageError) as caught:
            BybitSpotV3(api_key=box.api_key, api_secret=[box.api_secret])
        shown.append(str(caught.value))
    text = "\n".join([*shown, caplog.text, *capsys.readouterr()])
    assert "Invalid apikey (hidden)" in text
    signatures = [message["args"][2] for message in said(box, "auth")]
    assert len(signatures) >= 4
    secrets = [box.api_key, box.api_secret, "wrong" * 9, "another" * 9, *signatures]
    assert [] == [secret for secret in secrets if secret in text]


# Construction ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "urls"),
    [
        ({}, ["wss://stream.bybit.com/spot/public/v3", "wss://stream.bybit.com/spot/private/v3"]),
        ({"testnet": True}, [f"wss://stream-testnet.bybit.com/spot/{kind}/v3" for kind in ("public", "private")]),
        ({"public_url": "ws://a/", "private_url": "ws://b/"}, ["ws://a/", "ws://b/"]),
        ({"testnet": True, "private_url": "ws://b/"}, ["wss://stream-testnet.bybit.com/spot/public/v3", "ws://b/"]),
    ],
)
def test_urls(options, urls):
    """The endpoints are Bybit's, the testnet's, or those that are told."""
    assert urls == [endpoint.url for endpoint in BybitSpotV3(**options)._endpoints.values()]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"testnet": "yes"}, "testnet='yes': takes True or False"),
        ({"private_url": "https://host/"}, "private_url: takes the URL of a WebSocket"),
        ({"api_key": "key"}, "api_secret: is missing"),
        ({"api_secret": "secret"}, "api_key: is missing"),
        ({"api_key": "", "api_secret": "secret"}, "api_key: takes the text"),
        ({"api_key": "key", "api_secret": b"secret"}, "api_secret: takes the text"),
        ({"url": "ws://a/"}, "url: no such option"),
    ],
)
def test_senseless_options(options, says):
    """What makes no sense is refused at once, and secrets are not repeated."""
    error = error_of(BybitSpotV3, **options)
    assert isinstance(error, UsageError)
    assert says in str(error)


@pytest.mark.parametrize(
    "call",
    [
        lambda ws: ws.subscribe(),
        lambda ws: ws.subscribe("trades.BTCUSDT"),
        lambda ws: ws.subscribe("trade.BTCUSDT", limit=5),
        lambda ws: ws.subscribe_trade(),
        lambda ws: ws.subscribe_trade("btcusdt"),
        lambda ws: ws.subscribe_kline(interval="1m"),
        lambda ws: ws.subscribe_kline("BTCUSDT", interval="7m"),
        lambda ws: ws.subscribe_orderbook("BTC.USDT"),
        lambda ws: ws.subscribe_order(queue_size=0),
    ],
)
def test_senseless_subscriptions(box, ws, call):
    """What cannot be a topic costs no connection."""
    assert isinstance(error_of(call, ws), UsageError)
    assert 0 == box.connections


def test_found_by_name():
    """It is found by its exchange's name and by its own."""
    assert BybitSpotV3 is exchange_ws.clients()["bybit-spot-v3"]
    assert "BybitSpotV3" in dir(exchange_ws)


# Command line ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "event"),
    [("trade.BTCUSDT", "Trade"), ("order", "Order"), ("stopOrder", "Order"), ("outboundAccountInfo", "Balance")],
)
def test_command_line(capsys, topic, event):
    """The command line prints parseable events of public and private topics, though nobody trades."""
    assert 0 == cli.main(["stream", "bybit-spot-v3", topic, "--sandbox", "--count", "2", "--json"])
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert ([event] * 2, "") == ([line["event"] for line in lines], err)
    assert Decimal(lines[0]["available" if event == "Balance" else "price"]) >= 0


def test_command_line_request(capsys):
    """A request by the command line prints the reply."""
    assert 0 == cli.main(["request", "bybit-spot-v3", "ping", "--sandbox"])
    assert "pong" == json.loads(capsys.readouterr().out)["op"]
