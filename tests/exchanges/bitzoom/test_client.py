"""Bitzoom's client against the sandbox, in both kinds of it: what the vendor's page says, and what the framework does."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback

import pytest

import exchange_ws
from exchange_ws import Backoff, Bitzoom
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    RequestRejected,
    RequestTimeout,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Balance, BookUpdate, Candle, LastPrice, Order, Other, Position, Ticker, Trade
from exchange_ws.exchanges.bitzoom.client import url_of
from exchange_ws.exchanges.bitzoom.dialect import CHANNELS
from exchange_ws.sandbox import Sandbox

LIMIT_S = 30.0

#: Every channel: how it is subscribed to, and what it gives.
CALLS = {
    "/api/v1/ticker": (lambda ws: ws.subscribe_ticker("BTCUSDT"), LastPrice),
    "/api/v1/ticker/price": (lambda ws: ws.subscribe_ticker_price("BTCUSDT"), LastPrice),
    "/api/v1/premiumindex": (lambda ws: ws.subscribe_premium_index("BTCUSDT"), Other),
    "/api/v1/ticker/hr24": (lambda ws: ws.subscribe_hr24(), Ticker),
    "/api/v1/depth": (lambda ws: ws.subscribe_depth("BTCUSDT", 20), BookUpdate),
    "/api/v1/klines": (lambda ws: ws.subscribe_klines("BTCUSDT", "1m", 3), Candle),
    "/api/v1/trades": (lambda ws: ws.subscribe_trades("BTCUSDT", 50), Trade),
    "/api/v1/exchangeinfo": (lambda ws: ws.subscribe_exchange_info(), Other),
    "/api/v1/adlquantile": (lambda ws: ws.subscribe_adl_quantile(), Other),
    "/api/v1/margintype": (lambda ws: ws.subscribe_margin_type("BTCUSDT"), Other),
    "/api/v1/leverage": (lambda ws: ws.subscribe_leverage("BTCUSDT"), Other),
    "/api/v1/balance": (lambda ws: ws.subscribe_balance(), Balance),
    "/api/v1/openorders": (lambda ws: ws.subscribe_open_orders(), Order),
    "/api/v1/positionrisk": (lambda ws: ws.subscribe_position_risk("BTCUSDT"), Position),
}
#: Those of which each push has one object or one list of candles, of this symbol.
OF_ONE_SYMBOL = {"/api/v1/ticker", "/api/v1/ticker/price", "/api/v1/premiumindex", "/api/v1/depth", "/api/v1/klines"}


@pytest.fixture
def box():
    with Sandbox("bitzoom", seed=5, tick=None, limits=False) as box:
        yield box


@pytest.fixture(params=["seed", "framework"])
def either(request, box):
    """The sandbox of the one kind and of the other."""
    box._exchange.mode = request.param
    return box


@pytest.fixture
def make(box):
    made = []

    def make(**options):
        made.append(box.client(**{"reconnect": Backoff(0.01, 0.02), "timeout": LIMIT_S, **options}))
        return made[-1]

    yield make
    for ws in made:
        ws.close()


def raised(call, *args, **params):
    with pytest.raises(exchange_ws.ExchangeError) as caught:
        call(*args, **params)
    return caught.value


def there(ws, subscription):
    """All that has come until now: the pong comes behind it."""
    ws.ping()
    try:
        return subscription.get_many(timeout=0.0)
    except (UpdateTimeout, SubscriptionClosed):
        return []


def reconnected(ws, before):
    """Wait until the connections of *ws* are whole again."""
    while ws.stats()["reconnects"] <= before:
        ws.connect()
    ws.connect()


def said(box, event, channel):
    return [message for message in box.received if (message["event"], message["channel"]) == (event, channel)]


# URL, token ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("119.8.50.236:8088", "ws://119.8.50.236:8088/ws"),
        ("119.8.50.236", "ws://119.8.50.236/ws"),
        ("[2001:db8::1]:8088", "ws://[2001:db8::1]:8088/ws"),
        ("[2001:db8::1]", "ws://[2001:db8::1]/ws"),
        ("2001:db8::1", "ws://[2001:db8::1]/ws"),
        ("api.example.com", "wss://api.example.com/ws"),
        ("API.example.com:8443", "wss://api.example.com:8443/ws"),
        ("localhost", "wss://localhost/ws"),
        (" api.example.com ", "wss://api.example.com/ws"),
        ("api.example.com/some/path?query#fragment", "wss://api.example.com/ws"),
        ("http://api.example.com", "wss://api.example.com/ws"),
        ("https://119.8.50.236:8088/docs", "ws://119.8.50.236:8088/ws"),
        ("ws://localhost:1234", "ws://localhost:1234"),
        ("wss://119.8.50.236/other", "wss://119.8.50.236/other"),
    ],
)
def test_url(host, url):
    """An address is spoken to in the clear, a name over TLS, a WebSocket URL as it is."""
    assert url == url_of(host)


@pytest.mark.parametrize(
    "host",
    ["", " ", None, 7, "999.1.1.1", "1.2.3", "1.2.3.4.5", "a b", "host:port", "host:70000", "[::1", "::1]:80", "[fe80::g]:1"]
    + ["ftp://host", "ws://", "://", ":8088", "user:secret@host", "ws://user:secret@host/ws", "-host", "hosté", "a\nb"],
)
def test_senseless_url(host):
    """What names no host is said to take one; what may be a password is not shown."""
    error = raised(Bitzoom, host)
    assert (UsageError, True, False) == (type(error), str(error).startswith("host: takes "), "secret" in str(error))


@pytest.mark.parametrize("host", ["119.8.50.236:8088", "ws://example.com/ws", "[2001:db8::1]"])
def test_token_in_the_clear(host, caplog):
    """A31: a token goes unencrypted only where that was asked for, and is told then, once."""
    error = raised(Bitzoom, host, token="a.jwt.token")
    assert (UsageError, True, False) == (type(error), "allow_insecure_token=True" in str(error), "jwt" in str(error))
    Bitzoom(host, token="a.jwt.token", allow_insecure_token=True).close()
    expected = f"bitzoom: the token travels unencrypted to {url_of(host)}, as allow_insecure_token allows"
    assert [expected] == caplog.messages


@pytest.mark.parametrize("host", ["127.0.0.1:1", "[::1]:1", "ws://localhost:1/ws", "wss://119.8.50.236/ws", "example.com"])
def test_token_out_of_sight(host, caplog):
    """A31: within this machine, and over TLS, it may."""
    Bitzoom(host, token="a.jwt.token").close()
    assert [] == caplog.messages


@pytest.mark.parametrize(
    "options",
    [
        {"token": ""},
        {"token": "  "},
        {"token": "Bearer "},
        {"token": 7},
        {"token": b"x"},
        {"allow_insecure_token": 1},
        {"check_parameters": None},
    ],
)
def test_senseless_options(options):
    """What they take is told, without what was given for a token."""
    assert str(raised(Bitzoom, "127.0.0.1", **options)).startswith(next(iter(options)))


# Channels --------------------------------------------------------------------------------------------------------------------


def test_every_channel_has_its_method():
    """The table of this file is the documentation's."""
    assert set(CHANNELS) == set(CALLS)


@pytest.mark.parametrize("channel", list(CALLS))
def test_channel(either, make, channel):
    """Each is subscribed to, gives its events with the vendor's data, and ends; its id is the exchange's."""
    subscribe, kind = CALLS[channel]
    ws = make()
    subscription = subscribe(ws)
    assert [channel] == [topic.partition(" ")[0] for topic in subscription.topics]
    (sub_id,) = subscription.sub_ids
    assert sub_id.isdigit() or either._exchange.mode == "seed"
    events = []
    while not any(isinstance(event, kind) for event in events):
        either.step(5)
        events += subscription.get_many(timeout=LIMIT_S) if subscription.qsize() else there(ws, subscription)
    assert {("bitzoom", channel)} == {(event.exchange, event.channel) for event in events}
    if channel in OF_ONE_SYMBOL:
        assert {"BTCUSDT"} == {event.symbol for event in events}
    subscription.unsubscribe()
    (request,), (end,) = said(either, "sub", channel), said(either, "unsub", channel)
    assert (request["data"], ()) == (end["data"], subscription.sub_ids)


def test_first_push_with_its_confirmation(box, make):
    """A14: in one message with it, behind it: it is bound before the next line is routed."""
    ws = make()
    subscription = ws.subscribe("/api/v1/ticker", symbol="BTCUSDT")
    (event,) = there(ws, subscription)
    stats = ws.stats()
    assert ({"symbol": "BTCUSDT", "price": str(event.price)}, 0, 1) == (event.raw, stats["unrouted"], stats["requests"])


def test_first_push_before_its_confirmation(box, make):
    """A13: as the framework may do it."""
    box._exchange.mode = "framework"
    ws = make()
    subscription = ws.subscribe_klines("BTCUSDT", "5m", 2)
    events = there(ws, subscription)
    assert [("BTCUSDT", 300)] * 2 == [(event.symbol, event.interval) for event in events]
    assert 0 == ws.stats()["unrouted"]


def test_same_id_on_two_channels(box, make):
    """A17: the framework's ids are the same wherever the parameters are."""
    box._exchange.mode = "framework"
    ws = make()
    ticker, price = ws.subscribe_ticker("BTCUSDT"), ws.subscribe_ticker_price("BTCUSDT")
    box.step(10)
    channels = [{event.channel for event in there(ws, one)} for one in (ticker, price)]
    assert (ticker.sub_ids, [{"/api/v1/ticker"}, {"/api/v1/ticker/price"}]) == (price.sub_ids, channels)


def test_cumulative_confirmations(box, make):
    """A2: each depth has its own levels, although every confirmation names all ids."""
    box._exchange.mode = "framework"
    ws = make()
    books = {limit: ws.subscribe_depth("BTCUSDT", limit) for limit in (20, 5, 10)}
    box.step(10)
    assert {20: {20}, 5: {5}, 10: {10}} == {
        limit: {len(event.bids) for event in there(ws, book)} for limit, book in books.items()
    }


def test_trades_come_once(box, make):
    """Pushes repeat trades; nobody is told twice. Only those of the first push are a replay."""
    ws = make()
    trades = ws.subscribe_trades("BTCUSDT", 50)
    first = there(ws, trades)
    pushes = ws.stats()["messages"]
    box.step(40)
    later = there(ws, trades)
    ids = [event.id for event in first + later]
    assert (50, sorted(set(ids)), True) == (len(first), ids, ws.stats()["messages"] > pushes + 2)
    assert ({True}, {False}) == ({event.snapshot for event in first}, {event.snapshot for event in later})


def test_shared_subscription(box, make):
    """A18: two of the same cost one request, and its end is said with the second's."""
    ws = make()
    one, two = (ws.subscribe_ticker("BTCUSDT") for _ in range(2))
    box.step(10)
    assert there(ws, one)[-1].price == there(ws, two)[-1].price
    one.close()
    assert [] == said(box, "unsub", "/api/v1/ticker")
    two.close()
    assert (1, 1) == (len(said(box, "sub", "/api/v1/ticker")), len(said(box, "unsub", "/api/v1/ticker")))


def test_joined_late(box, make):
    """Of a channel that may be silent for hours, the second one knows that it may have missed its only push."""
    ws = make()
    ws.subscribe_exchange_info()
    assert ["joined late"] == [gap.reason for gap in ws.subscribe_exchange_info().gaps]


@pytest.mark.parametrize("twist", [{}, {"error": {}}, None, []])
def test_confirmation_without_id(box, make, twist):
    """A24, A26: it could never be received, so it is a refusal."""
    box._exchange.twist = lambda request, lines: [json.dumps({"channel": request["channel"], "event": "sub", "data": twist})]
    assert SubscriptionRejected is type(raised(make().subscribe_ticker, "BTCUSDT"))


def test_delayed_confirmation(box, make):
    """A6: its caller has gone; nothing of it is left, and the next one on the channel gets its own answer."""
    ws = make()
    ws.connect()
    box.freeze()
    assert RequestTimeout is type(raised(ws.subscribe_ticker, "BTCUSDT", timeout=0.2))
    box.thaw()
    ticker = ws.subscribe_ticker("ETHUSDT")
    box.step(10)
    assert ({"ETHUSDT"}, 1) == ({event.symbol for event in there(ws, ticker)}, len(said(box, "unsub", "/api/v1/ticker")))


# Names of what comes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
def test_ids_that_change_hands(box, make, overflow):
    """A33: after a reconnect an id may mean another topic; what came before is read by what it meant then."""
    ids = {"BTCUSDT": "1", "ETHUSDT": "2"}

    def confirm(request, lines):
        name = ids[request["data"]["symbol"]]
        return [json.dumps({"channel": request["channel"], "event": request["event"], "data": {name: {}}})]

    def candle(event, start):
        body = {"channel": "/api/v1/klines", "event": event, "data": [[start, "1", "2", "1", "2", "5"]]}
        box.push(json.dumps(body, separators=(",", ":")))

    box._exchange.twist = confirm
    ws = make()
    kinds = [ws.subscribe_klines(symbol, "1m", 1, overflow=overflow) for symbol in ids]
    candle("1", 1000)
    candle("2", 2000)
    ws.ping()
    ids.update(BTCUSDT="2", ETHUSDT="1")
    box.drop()
    reconnected(ws, 0)
    candle("1", 3000)
    candle("2", 4000)
    assert ["ETHUSDT", "BTCUSDT"] == [_latest(ws, kind).symbol for kind in reversed(kinds)]
    assert [[("BTCUSDT", 1.0), ("BTCUSDT", 4.0)], [("ETHUSDT", 2.0), ("ETHUSDT", 3.0)]] == [
        [(event.symbol, event.start) for event in there(ws, kind)] for kind in kinds
    ]


def _latest(ws, subscription):
    ws.ping()
    return subscription.latest


def test_new_ids_after_a_reconnect(box, make):
    """A33: the former ones are forgotten, and what comes under them is nobody's."""
    ws = make()
    ticker = ws.subscribe_ticker("BTCUSDT")
    (former,) = ticker.sub_ids
    box.drop()
    reconnected(ws, 0)
    (new,) = ticker.sub_ids
    there(ws, ticker)
    for sub_id in (former, new):
        box.push(json.dumps({"channel": "/api/v1/ticker", "event": sub_id, "data": {"symbol": "BTCUSDT", "price": "1.5"}}))
    assert (True, ["1.5"], 1) == (former != new, [str(event.price) for event in there(ws, ticker)], ws.stats()["unrouted"])


@pytest.mark.parametrize("event_first", [True, False])
def test_batches(box, make, event_first):
    """A8, A9: a thousand objects in one message, with a malformed one, an empty line and a U+2028 among them."""
    ws = make()
    ticker = ws.subscribe_ticker("BTCUSDT")
    there(ws, ticker)
    order = ("event", "channel", "data") if event_first else ("channel", "event", "data")

    def line(number):
        body = {"channel": "/api/v1/ticker", "event": ticker.sub_ids[0], "data": {"price": str(number), "memo": "a\u2028b"}}
        return json.dumps({name: body[name] for name in order}, separators=(",", ":"), ensure_ascii=False)

    lines = [line(number) for number in range(1000)]
    lines[500:500] = ['{"channel":"/api/v1/ticker","event":', "", " \r"]
    box.push("\n".join(lines) + "\r\n")
    assert [str(number) for number in range(1000)] == [str(event.price) for event in there(ws, ticker)]
    assert (1, 0) == (ws.stats()["malformed"], ws.stats()["unrouted"])


# Requests --------------------------------------------------------------------------------------------------------------------


def test_request(either, make):
    """The answer's data; what it starts is nobody's, until the same data ends it."""
    ws = make()
    data = ws.request("/api/v1/ticker", data={"symbol": "BTCUSDT"})
    (sub_id,) = data
    before = ws.stats()["unrouted"]
    either.step(10)
    ws.ping()
    ended = ws.request("/api/v1/ticker", "unsub", {"symbol": "BTCUSDT"})
    assert (sub_id, True, ()) == (ended, ws.stats()["unrouted"] > before, ws.subscriptions)


def test_request_of_what_is_subscribed(box, make):
    """Its end would be silent, so it is refused; an answer that names its id hurts nothing."""
    ws = make()
    ticker = ws.subscribe_ticker("BTCUSDT")
    assert ticker.sub_ids == tuple(ws.request("/api/v1/ticker", "sub", {"symbol": "BTCUSDT"}))
    error = raised(ws.request, "/api/v1/ticker", "unsub", {"symbol": "BTCUSDT"})
    assert (UsageError, 0) == (type(error), len(said(box, "unsub", "/api/v1/ticker")))
    box.step(10)
    assert there(ws, ticker)


def test_refused_request(either, make):
    """The exchange's no: the page shows no words for it, the framework has some."""
    error = raised(make().request, "/api/v1/ticker", "sub", {"symbol": "NOSUCH"})
    assert (True, None) == (isinstance(error, RequestRejected), error.code)
    assert {"method": "sub", "params": ["/api/v1/ticker", {"symbol": "NOSUCH"}]} == error.request
    assert ("refused without a reason" in str(error)) is (either._exchange.mode == "seed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("logon", "sub", {"token": "x"}),
        ("/api/v1/Logon", "sub", {"token": "x"}),
        ("", "sub", {}),
        (None, "sub", {}),
        ("/api/v1/ticker", "call", {}),
        ("/api/v1/ticker", None, {}),
        ("/api/v1/ticker", "sub", [1]),
        ("/api/v1/ticker", "sub", {"symbol": {1}}),
        ("/api/v1/leverage", "sub", {"symbol": "BTCUSDT", "Leverage": 100}),
        ("/api/v1/margintype", "sub", {"symbol": "BTCUSDT", "marginType": "ISOLATED"}),
    ],
)
def test_senseless_requests(box, make, arguments):
    """They are refused here, those first that would set something."""
    ws = make()
    assert (UsageError, []) == (type(raised(ws.request, *arguments)), box.received)


def test_unchecked_parameters(box, make):
    """`check_parameters=False` sends what is given."""
    ws = make(check_parameters=False)
    ws.subscribe("/api/v1/ticker", symbol="BTCUSDT", venue="x").close()
    assert {"symbol": "BTCUSDT", "venue": "x"} == said(box, "sub", "/api/v1/ticker")[0]["data"]


# Login -----------------------------------------------------------------------------------------------------------------------


def test_private_needs_a_token(box, make):
    """A28: without one nothing is said; public channels need none."""
    ws = make(token=None)
    errors = [raised(ws.subscribe_balance), raised(ws.request, "/api/v1/balance")]
    assert ([UsageError] * 2, []) == ([type(error) for error in errors], box.received)
    assert ws.subscribe_ticker("BTCUSDT").sub_ids


def test_login_comes_first(box, make):
    """A28: once a connection, with the bare token; public channels are not on that one."""
    ws = make(token=f"Bearer {box.token}")
    ws.subscribe_balance()
    ws.subscribe_open_orders()
    ws.subscribe_ticker("BTCUSDT")
    first, *others = box.received
    assert {"channel": "logon", "event": "sub", "data": {"token": box.token}} == first
    assert (1, 2) == (len(said(box, "sub", "logon")), ws.stats()["connections"])


def wrong_signature(box):
    return box.token[:-4] + ("AAAA" if box.token[-4:] != "AAAA" else "BBBB")


def expired(box):
    return box._exchange.token_for("1", -1.0)


def nonsense(box):
    return "not.a.token"


@pytest.mark.parametrize("token", [wrong_signature, expired, nonsense])
def test_wrong_token(either, make, token):
    """It is `AuthenticationError`, without the token; public channels do not notice."""
    given = token(either)
    ws = make(token=given)
    ticker = ws.subscribe_ticker("BTCUSDT")
    error = raised(ws.subscribe_balance)
    assert (AuthenticationError, False) == (type(error), given in f"{error} {error.message} {error.request}")
    either.step(10)
    assert ("open", True) == (ws.state, bool(there(ws, ticker)))


class Tokens:
    """A user's function: gives what it is told to, and counts."""

    def __init__(self, *tokens):
        self.tokens = list(tokens)
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


@pytest.fixture
def live():
    """A sandbox that lives in the present, as the expiry of tokens does; it moves once an hour."""
    with Sandbox("bitzoom", seed=5, tick=3600.0, limits=False) as box:
        yield box


@pytest.fixture
def client(live):
    made = []

    def make(token):
        made.append(live.client(token=token, reconnect=Backoff(0.01, 0.02)))
        return made[-1]

    yield make
    for ws in made:
        ws.close()


def test_a_token_for_each_login(live, client):
    """The function is asked again when the connection is made again."""
    former = live.token
    live.expire_tokens()
    tokens = Tokens(live.token)
    ws = client(tokens)
    balances = ws.subscribe_balance()
    live.expire_tokens()
    tokens.tokens = [live.token]
    live.drop()
    reconnected(ws, 0)
    assert (2, 2, True, 1) == (tokens.asked, len(said(live, "sub", "logon")), former != live.token, len(balances.sub_ids))


def test_an_old_token_once_more(live, client):
    """A29: refused after a reconnect, the function is asked once more; the second token is good."""
    old = live.token
    tokens = Tokens(old)
    ws = client(tokens)
    balances = ws.subscribe_balance()
    live.expire_tokens()
    tokens.tokens = [old, live.token]
    live.drop()
    reconnected(ws, 0)
    assert (3, False, 1) == (tokens.asked, balances.closed, len(balances.sub_ids))


@pytest.mark.parametrize("function", [True, False])
def test_refused_again(live, client, function):
    """A29: a token that stays wrong ends private subscriptions, and no door is hammered; public ones go on."""
    tokens = Tokens(live.token)
    ws = client(tokens if function else live.token)
    balances, ticker = ws.subscribe_balance(), ws.subscribe_ticker("BTCUSDT")
    live.expire_tokens()
    live.drop()
    error = raised(lambda: list(balances))
    assert (AuthenticationError, 3 if function else 2) == (type(error), len(said(live, "sub", "logon")))
    reconnected(ws, 0)
    assert (False, True) == (ticker.closed, bool(ticker.sub_ids))


def test_asked_again_after_a_refusal(live, client):
    """A29: the client asks for no further token by itself; who needs the private channels again has one asked for."""
    tokens = Tokens(live.token)
    ws = client(tokens)
    balances = ws.subscribe_balance()
    live.expire_tokens()
    live.drop()
    assert AuthenticationError is type(raised(lambda: list(balances)))
    asked = tokens.asked
    assert AuthenticationError is type(raised(ws.subscribe_balance))
    tokens.tokens = [live.token]
    assert (asked + 1, 1) == (tokens.asked, len(ws.subscribe_balance().sub_ids))
    assert asked + 2 == tokens.asked


def test_an_expiring_token(live, client):
    """One with less than a minute left is asked for once more before it is used."""
    good = live.token
    tokens = Tokens(live._exchange.token_for("1", 30.0), good)
    client(tokens).subscribe_balance()
    assert (2, good) == (tokens.asked, said(live, "sub", "logon")[0]["data"]["token"])


def test_no_token_from_the_function(live, client):
    """It is as if there were no connection; the next call asks again."""
    tokens = Tokens(None, live.token)
    ws = client(tokens)
    assert ConnectFailed is type(raised(ws.subscribe_balance))
    assert ws.subscribe_balance().sub_ids


def test_no_secret_anywhere(either, make, caplog):
    """Token and secret are in no repr, no log line, no error and no traceback, although the framework repeats the token."""
    caplog.set_level(logging.DEBUG)
    ws = make()
    balances = ws.subscribe_balance()
    wrong = wrong_signature(either)
    other = make(token=wrong)
    traces = []
    calls = (other.subscribe_balance, lambda: ws.request("/api/v1/balance", "unsub"), lambda: ws.subscribe("/api/v1/nosuch"))
    for call in calls:
        try:
            call()
        except exchange_ws.ExchangeError:
            traces.append(traceback.format_exc())
    either.drop()
    there(ws, balances)
    endpoints = [repr(endpoint) for endpoint in ws._endpoints.values()]
    shown = "\n".join([repr(ws), repr(balances), repr(ws._options), repr(ws._login()), *endpoints, *traces, caplog.text])
    assert (3, []) == (len(traces), [secret for secret in (either.token, wrong, either.api_secret) if secret in shown])


def test_test_token(box):
    """The test environment's way to a token, as documented: an envelope with the token as its data."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{box.rest_url}/api/servermanage/testtoken?userid=77", timeout=LIMIT_S).json()
    assert (True, 200, 3) == (answer["success"], answer["errorCode"], len(answer["data"].split(".")))
    ws = box.client(token=answer["data"])
    assert ws.subscribe_balance().sub_ids
    ws.close()


# Command line ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "event"),
    [
        (["/api/v1/ticker", "symbol=BTCUSDT"], "LastPrice"),
        (["/api/v1/depth", "symbol=BTCUSDT", "limit=5"], "BookUpdate"),
        (["/api/v1/balance"], "Balance"),
    ],
)
def test_stream(words, event):
    """The command line prints parseable events, of a private channel too, and no token."""
    command = [sys.executable, "-m", "exchange_ws", "stream", "bitzoom", *words, "--sandbox", "--count", "5", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (0, "", [event] * 5) == (ended.returncode, ended.stderr, [line["event"] for line in lines])
