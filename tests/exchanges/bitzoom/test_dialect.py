"""Bitzoom's dialect against every message of its documentation's examples, however these are spelled; `*.txt` has talks."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exchange_ws.core.dialect import Reading, parse_with_json
from exchange_ws.core.messages import LOGIN, REJECTED, TOO_MANY, TRANSIENT, UNAUTHORIZED, Command, Reply, Update
from exchange_ws.errors import UsageError
from exchange_ws.events import Balance, BookUpdate, Candle, LastPrice, Order, Other, Position, Ticker, Trade
from exchange_ws.exchanges.bitzoom import dialect
from exchange_ws.exchanges.bitzoom.dialect import (
    CHANNELS,
    PRIVATE_CHANNELS,
    PUBLIC,
    changes,
    decode,
    encode,
    interpret,
    means,
    route,
    split,
    topic,
    topics,
)
from exchange_ws.wire.frames import Binary

#: Messages by channel, each with its source: the vendor's page, other pages of it, the server's framework, or made up.
EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))
FRAMES = EXAMPLES["_frames"]["frames"]


def examples(kind):
    return [(channel, example) for channel, kinds in EXAMPLES.items() for example in kinds[kind]]


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def reading(one=None):
    return Reading(0.0, Decimal, {} if one is None else {one.key: one})


def events_of(message, one=None):
    update = decode(compact(message))
    if one is not None:
        update.keys = (one.key,)
    return interpret(update, reading(one))


# Requests --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", [example["message"] for channel, example in examples("requests") if channel in CHANNELS], ids=str
)
def test_requests(message):
    """What we say is what the documentation shows, to the order of the parameters."""
    one = topic(message["channel"], message["data"], checked=False)
    stated, wanted = (frozenset(), {one}) if message["event"] == "sub" else ({one}, frozenset())
    (command,) = changes(frozenset(stated), frozenset(wanted))
    outgoing = encode(command, 1)
    assert (compact({key: message[key] for key in ("channel", "event", "data")}), message["channel"]) == (
        outgoing.data,
        outgoing.key,
    )


def test_logon():
    """The login as the page shows it; the example of the later pages, with a signature, is not spoken."""
    message = EXAMPLES["logon"]["requests"][0]["message"]
    outgoing = encode(Command("logon", (message["data"],), LOGIN, secret=True), 1)
    assert (compact(message), "logon", False) == (outgoing.data, outgoing.key, "jwt_token" in repr(outgoing))


def test_unsubscribe_repeats_its_data():
    """To the byte, whatever the order in which parameters were given."""
    one = topic("/api/v1/klines", {"limit": 100, "symbol": "é", "interval": "1M"})
    (sub,), (unsub,) = changes(frozenset(), frozenset({one})), changes(frozenset({one}), frozenset())
    first, second = encode(sub, 1).data, encode(unsub, 2).data
    assert first.replace(b'"sub"', b'"unsub"') == second
    assert topic("/api/v1/klines", {"symbol": "é", "interval": "1M", "limit": 100}) == one


def test_what_is_left_out():
    """None and empty text are the same as nothing; a number and its text are not the same."""
    bare = topic("/api/v1/balance", {})
    assert topic("/api/v1/openorders", {"symbol": None}) == topic("/api/v1/openorders", {"symbol": ""})
    assert bare.args == ("{}",)
    assert topic("/api/v1/depth", {"symbol": "A", "limit": 20}) != topic("/api/v1/depth", {"symbol": "A", "limit": "20"})


@pytest.mark.parametrize(
    ("channel", "params", "text"),
    [
        ("/api/v1/nosuch", {}, "unknown channel '/api/v1/nosuch': Bitzoom has /api/v1/ticker, "),
        ("ticker", {}, "unknown channel 'ticker'"),
        ("logon", {"token": "x"}, "unknown channel 'logon'"),
        (7, {}, "unknown channel 7"),
        ("/api/v1/ticker", {}, "/api/v1/ticker: needs symbol"),
        ("/api/v1/ticker", {"symbol": ""}, "/api/v1/ticker: needs symbol"),
        ("/api/v1/ticker", {"symbol": 7}, "/api/v1/ticker symbol=7: takes text"),
        ("/api/v1/ticker", {"symbol": "A", "limit": 5}, "/api/v1/ticker: no parameter limit; it takes symbol"),
        ("/api/v1/balance", {"symbol": "A"}, "/api/v1/balance: no parameter symbol; it takes none"),
        ("/api/v1/klines", {"symbol": "A"}, "/api/v1/klines: needs interval and limit"),
        ("/api/v1/klines", {"symbol": "A", "interval": "1H", "limit": 5}, "/api/v1/klines interval='1H': takes one of 1m, "),
        ("/api/v1/depth", {"symbol": "A", "limit": 0}, "/api/v1/depth limit=0: takes a whole number of 1 or more"),
        ("/api/v1/depth", {"symbol": "A", "limit": 5.0}, "/api/v1/depth limit=5.0: takes"),
        ("/api/v1/depth", {"symbol": "A", "limit": True}, "/api/v1/depth limit=True: takes"),
        ("/api/v1/margintype", {}, "/api/v1/margintype: needs symbol"),
    ],
)
def test_senseless_topics(channel, params, text):
    """What cannot be right says what it takes."""
    with pytest.raises(UsageError) as caught:
        topic(channel, params)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(("channel", "params"), [("/api/v1/\ud800", {}), ("/api/v1/new", {"symbol": "\ud800"})])
def test_what_has_no_json(channel, params):
    """Half a character is in nothing that is said, the channel included."""
    with pytest.raises(UsageError, match="cannot be said in JSON"):
        dialect.checked_data(channel, params, checked=False)


def test_several_words():
    """A subscription has one channel; parameters go by name."""
    with pytest.raises(UsageError):
        topics("/api/v1/ticker", "BTCUSDT")


@pytest.mark.parametrize("name", ["leverage", "Leverage", "marginType", "MARGINTYPE"])
@pytest.mark.parametrize("checked", [True, False])
def test_settings_are_never_said(name, checked):
    """Over REST these would set something, so they are refused even if nothing else is."""
    with pytest.raises(UsageError) as caught:
        topic("/api/v1/leverage", {"symbol": "A", name: 20}, checked=checked)
    assert "sets what it names" in str(caught.value)


def test_private_channels():
    """Six of the fourteen are of the account, which changes what a full buffer means."""
    accounts = {channel for channel in CHANNELS if topic(channel, {}, checked=False).account}
    assert (14, 6, PRIVATE_CHANNELS) == (len(CHANNELS), len(PRIVATE_CHANNELS), accounts)


# Answers ---------------------------------------------------------------------------------------------------------------------

IDS = {"sub": list, "unsub": lambda data: [data]}


@pytest.mark.parametrize(
    "message", [example["message"] for channel, example in examples("responses") if channel in CHANNELS], ids=str
)
def test_confirmations(message):
    """Ids as the exchange spells them, the data unchanged, and what is routed by them."""
    reply = decode(compact(message))
    ids = tuple(IDS[message["event"]](message["data"]))
    aliases = tuple(f'{message["channel"]}","event":"{one}'.encode() for one in ids)
    assert (message["channel"], True, message["data"], ids, aliases, message["event"]) == (
        reply.key,
        reply.ok,
        reply.result,
        reply.ids,
        reply.aliases,
        reply.method,
    )
    pushes = [compact({"channel": message["channel"], "event": one, "data": 1}) for one in ids]
    assert aliases == tuple(map(route, pushes))


def test_logon_success():
    """Whatever comes with it goes no further: it may be the token."""
    replies = [decode(compact(example["message"])) for example in EXAMPLES["logon"]["responses"]]
    assert [Reply("logon", True)] * 2 == replies


MESSAGES = [
    ("logon", {}, "refused without a reason", None, REJECTED),
    ("logon", "登录请求错误: Token is expired", "登录请求错误: Token is expired", None, REJECTED),
    ("/api/v1/ticker", None, "refused without a reason", None, REJECTED),
    ("/api/v1/ticker", {"code": -1120, "msg": "Invalid symbol"}, "Invalid symbol", -1120, REJECTED),
    ("/api/v1/ticker", {"errorCode": 700, "errorMessage": "invalid symbol", "success": False}, "invalid symbol", 700, REJECTED),
    ("/api/v1/ticker", {"code": "-1003", "message": "slowly"}, "slowly", -1003, TOO_MANY),
    ("/api/v1/ticker", {"code": -1008, "error": "busy"}, "busy", -1008, TRANSIENT),
    ("/api/v1/balance", {"code": -1002, "msg": "Unauthorized"}, "Unauthorized", -1002, UNAUTHORIZED),
    ("/api/v1/balance", "请先使用logon通道登录!", "请先使用logon通道登录!", None, UNAUTHORIZED),
    ("/api/v1/ticker", {"why": [1]}, '{"why":[1]}', None, REJECTED),
    ("/api/v1/ticker", [1, 2], "[1,2]", None, REJECTED),
    ("/api/v1/ticker", 7, "7", None, REJECTED),
    ("/api/v1/ticker", {"code": True, "msg": 7}, '{"code":true,"msg":7}', None, REJECTED),
    ("logon", "wrong: eyJhbGciOi.eyJleHAiOjF9.sig-sig", "wrong: (hidden)", None, REJECTED),
]


@pytest.mark.parametrize(("channel", "data", "text", "code", "kind"), MESSAGES)
def test_refusals(channel, data, text, code, kind):
    """Of every shape that occurs: words, code, and what kind of no it is."""
    reply = decode(compact({"channel": channel, "event": "error", "data": data}))
    assert (channel, False, None, text, code, kind) == (
        reply.key,
        reply.ok,
        reply.method,
        reply.error.message,
        reply.error.code,
        reply.error.kind,
    )


@pytest.mark.parametrize("message", [example["message"] for _, example in examples("errors")], ids=str)
def test_errors(message):
    """Each documented error is one, of its channel; of no channel that we know, it may be of any."""
    reply = decode(compact(message))
    known = message["channel"] in CHANNELS or message["channel"] == "logon"
    assert (Reply, message["channel"], False, not known) == (type(reply), reply.key, reply.ok, reply.alone)
    assert reply.error.message


def test_generic_success():
    """`success` outside of logon is enough for an unsubscribe only."""
    reply = decode(compact(EXAMPLES["_connection"]["responses"][0]["message"]))
    assert (True, "unsub") == (reply.ok, reply.method)


def test_answer_to_what_is_never_asked():
    """The framework's `get` is an update of nobody."""
    assert isinstance(decode(compact(EXAMPLES["_connection"]["responses"][1]["message"])), Update)


@pytest.mark.parametrize("message", [example["message"] for example in EXAMPLES["_connection"]["updates"]], ids=str)
def test_other_updates(message):
    """Pushes are known by channel and id; the reserved words are control, even with a push's data."""
    understood = decode(compact(message))
    control = message["event"] == "error"
    assert (Reply if control else Update) is type(understood)
    assert (None if control else understood.keys[0]) == route(compact(message))


@pytest.mark.parametrize(
    ("echo", "means_it"),
    [
        ({"symbol": "BTCUSDT", "limit": 20}, True),
        ({"Symbol": "BTCUSDT", "Limit": "20", "userid": "1"}, True),
        ({"symbol": "BTCUSDT", "limit": 5}, False),
        ({"symbol": "BTCUSDT"}, False),
        ({}, False),
        ({"symbol": ["BTCUSDT"], "limit": 20}, False),
        ({"symbol": "BTCUSDT", "limit": {}}, False),
        ("BTCUSDT", False),
    ],
)
def test_echoes(echo, means_it):
    """All parameters, whatever else; of those not given, none."""
    assert means_it is means(topic("/api/v1/depth", {"symbol": "BTCUSDT", "limit": 20}), echo)


def test_deep_data():
    """What is nested as deep as can be read is a refusal or an echo like others, and ends no connection."""
    deep = b"[" * 1020 + b"]" * 1020
    with contextlib.suppress(ValueError):  # as deep as some readers do not read
        reply = decode(b'{"channel":"/api/v1/ticker","event":"error","data":%s}' % deep)
        assert reply.error.message
        reply = decode(b'{"channel":"/api/v1/ticker","event":"sub","data":{"abc":{"symbol":%s}}}' % deep)
        assert not means(topic("/api/v1/ticker", {"symbol": "BTCUSDT"}), *reply.echoes)


def test_echo_of_an_optional_parameter():
    """All symbols are not one symbol; the framework has empty text for what was left out."""
    whole = topic("/api/v1/ticker/hr24", {})
    assert [True, False] == [means(whole, {"symbol": symbol}) for symbol in ("", "BTCUSDT")]


# Updates ---------------------------------------------------------------------------------------------------------------------

KINDS = {
    "/api/v1/ticker": LastPrice,
    "/api/v1/ticker/price": LastPrice,
    "/api/v1/premiumindex": Other,
    "/api/v1/ticker/hr24": Ticker,
    "/api/v1/depth": BookUpdate,
    "/api/v1/klines": Candle,
    "/api/v1/trades": Trade,
    "/api/v1/exchangeinfo": Other,
    "/api/v1/adlquantile": Other,
    "/api/v1/margintype": Other,
    "/api/v1/leverage": Other,
    "/api/v1/balance": Balance,
    "/api/v1/openorders": Order,
    "/api/v1/positionrisk": Position,
}


@pytest.mark.parametrize(
    ("channel", "message"), [(channel, e["message"]) for channel, e in examples("updates") if channel in CHANNELS], ids=str
)
def test_updates(channel, message):
    """Each documented push: its event, its exact numbers, its data unchanged."""
    events = events_of(message)
    rows = message["data"] if isinstance(message["data"], list) else [message["data"]]
    kind = KINDS[channel] if rows else Other
    assert events
    assert {(kind, "bitzoom", channel)} == {(type(event), event.exchange, event.channel) for event in events}
    assert len(events) == (1 if kind is Other else len(rows))
    assert all(event.raw == message["data"] for event in events)
    text = json.dumps(message["data"])
    numbers = [value for event in events for value in attrs.astuple(event, recurse=False) if isinstance(value, Decimal)]
    assert [] == [number for number in numbers if format(number, "f") not in text]


@pytest.mark.parametrize("data", [None, 7, "x", [], [1], [[]], {}, True])
@pytest.mark.parametrize("channel", list(CHANNELS))
def test_any_data(channel, data):
    """No shape of data costs more than its fields; it is handed on as it is. A candle without a start is none."""
    message = {"channel": channel, "event": "a", "data": data}
    if channel == "/api/v1/klines":
        try:
            events = events_of(message)
        except ValueError:
            return
    else:
        events = events_of(message)
    assert [data] == [event.raw for event in events]


def test_no_data():
    """Data that is missing is null."""
    (event,) = events_of({"channel": "/api/v1/ticker", "event": "a"})
    assert (Other, None) == (type(event), event.raw)


def test_symbol_and_interval_of_the_subscription():
    """What the push does not have, the subscription knows."""
    one = topic("/api/v1/klines", {"symbol": "BTCUSDT", "interval": "15m", "limit": 2})
    message = EXAMPLES["/api/v1/klines"]["updates"][0]["message"]
    assert [("BTCUSDT", 900, 1769999940.0), ("BTCUSDT", 900, 1770000000.0)] == [
        (event.symbol, event.interval, event.start) for event in events_of(message, one)
    ]
    month = topic("/api/v1/klines", {"symbol": "BTCUSDT", "interval": "1M", "limit": 2})
    assert {None} == {event.interval for event in events_of(message, month)}


@pytest.mark.parametrize(
    ("channel", "number", "fields"),
    [
        ("/api/v1/klines", 1, {"interval": 60, "closed": False, "symbol": "BTCUSDT"}),
        ("/api/v1/trades", 0, {"side": "sell", "time": 1770000000.0, "size": Decimal("0.100")}),
        ("/api/v1/trades", 1, {"side": "buy", "time": 1770000000.010, "size": Decimal("0.020")}),
        ("/api/v1/trades", 2, {"id": 9007199254740993}),
        ("/api/v1/ticker/hr24", 0, {"period": 86400, "last": Decimal("50000.00")}),
        ("/api/v1/depth", 0, {"kind": "snapshot", "sequence": 1027024, "time": 1770000000.0}),
        ("/api/v1/openorders", 3, {"id": 18446744073709551615, "side": "buy"}),
        ("/api/v1/openorders", 2, {"status": "partiallyFilled", "filled": None}),
        ("/api/v1/balance", 0, {"asset": "USDT", "available": Decimal("9000.00"), "locked": None}),
        ("/api/v1/positionrisk", 0, {"size": Decimal("0.100"), "leverage": Decimal(10)}),
    ],
)
def test_fields(channel, number, fields):
    """What the fields mean."""
    (event,) = events_of(EXAMPLES[channel]["updates"][number]["message"])
    assert fields == {name: getattr(event, name) for name in fields}


def test_order_of_trades():
    """Oldest first, whatever the order of the push."""
    rows = [{"id": number, "price": "1"} for number in (3, 1, 2)]
    assert [1, 2, 3] == [event.id for event in events_of({"channel": "/api/v1/trades", "event": "a", "data": rows})]


# Lines -----------------------------------------------------------------------------------------------------------------------

#: By the names of the examples: messages understood, and lines that are malformed.
UNDERSTOOD = {
    "one object": (1, 0),
    "two objects": (2, 0),
    "confirmation then push": (2, 0),
    "push then confirmation": (2, 0),
    "trailing newline": (1, 0),
    "CRLF and empty lines": (2, 0),
    "bad line between good ones": (2, 1),
    "cut object, first part": (1, 1),
    "cut object, second part": (1, 1),
    "pretty printed": (1, 0),
    "array line": (0, 1),
    "scalar line": (0, 1),
    "no event": (0, 1),
    "numeric event": (1, 0),
    "line separator U+2028 inside a string": (1, 0),
    "reserved and usable key": (1, 0),
    "confirmation without subId": (1, 0),
    "confirmation as string": (1, 0),
    "unsub naming several": (1, 0),
    "other key order and extra member": (1, 0),
    "missing data": (1, 0),
    "empty message": (0, 0),
}


def read(frame):
    """Messages that *frame* has, and the number of those that are malformed."""
    understood, malformed = [], 0
    for message in split([frame]):
        try:
            understood.append(decode(message))
        except ValueError:
            malformed += 1
    return understood, malformed


@pytest.mark.parametrize("example", FRAMES, ids=lambda example: example["name"])
def test_frames(example):
    """Each documented frame has the messages that it should."""
    understood, malformed = read(example["frame"].encode())
    assert UNDERSTOOD[example["name"]] == (len(understood), malformed)


def test_frames_are_all_known():
    """The table above is of the examples that there are."""
    assert set(UNDERSTOOD) == {example["name"] for example in FRAMES}


ONE_LINE = compact(EXAMPLES["/api/v1/ticker"]["updates"][0]["message"])


@pytest.mark.parametrize(
    ("frame", "lines"),
    [
        (ONE_LINE, [ONE_LINE]),
        (b"", []),
        (b" \t\r\n \n", []),
        (b" \t", []),
        (ONE_LINE + b"\n" + ONE_LINE, [ONE_LINE] * 2),
        (b"\r\n \t" + ONE_LINE + b"\t \r\n\n" + ONE_LINE + b"\n", [ONE_LINE] * 2),
        (b"\n".join([ONE_LINE] * 1000), [ONE_LINE] * 1000),
        (b"{\n}", [b"{\n}"]),
        (b'{"a":{\n"b":1}\n}', [b'{"a":{\n"b":1}\n}']),
        (b'{"a":[\n{"b":1}\n]}', [b'{"a":[', b'{"b":1}', b"]}"]),  # a line that is an object by itself
        (b"[\n1\n]", [b"[", b"1", b"]"]),
        (b"{\n1", [b"{", b"1"]),
        ('{"a":"\u2028\u0085\x0b"}'.encode(), ['{"a":"\u2028\u0085\x0b"}'.encode()]),
    ],
)
def test_split(frame, lines):
    """Lines are cut at newlines only, and stand for themselves; one object over several lines is one."""
    assert lines == list(split([frame]))


LINES = st.sampled_from([ONE_LINE, b"{}", b"{", b"}", b'{"a":{}', b'"b":{}}', b"1", b"", b" ", b"\r"])


@given(st.lists(st.lists(LINES, max_size=4).map(b"\n".join), max_size=4))
@example([b"{}\n{", b"}"])
@example([b'{"a":{}', b"{}}"])
def test_messages_of_a_read_are_split_each_by_itself(frames):
    """What is in one WebSocket message never changes what is in the next."""
    assert [line for frame in frames for line in split([frame])] == split(frames)


def test_large_line():
    """A megabyte is one message like others."""
    message = compact({"channel": "/api/v1/ticker", "event": "a", "data": "x" * 2**20})
    assert [message] == list(split([message]))
    assert route(message) == decode(message).keys[0]


def test_binary_message():
    """It is read as UTF-8; what is none is malformed."""
    two = Binary(ONE_LINE + b"\n" + ONE_LINE)
    assert ([1, 2], [0, 0]) == ([len(read(frame)[0]) for frame in (Binary(ONE_LINE), two)], [read(ONE_LINE)[1], read(two)[1]])
    assert ([], 1) == read(Binary(b'{"channel":"\xff"}'))


# Routing ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize("sub_id", ["abc123", "1849315537067129065", "é", "a b", "'", "subs", "errors", "success1"])
def test_route_knows_both_orders(event_first, sub_id):
    """Pushes in both orders that servers send are routed without parsing, to the same key."""
    order = ("event", "channel", "data") if event_first else ("channel", "event", "data")
    message = {"channel": "/api/v1/ticker", "event": sub_id, "data": {"symbol": "BTCUSDT"}}
    assert f'/api/v1/ticker","event":"{sub_id}'.encode() == route(compact({name: message[name] for name in order}))


@pytest.mark.parametrize(
    "message",
    [
        b'{"channel":"/api/v1/ticker","event":"sub","data":{}}',
        b'{"event":"error","channel":"/api/v1/ticker","data":{}}',
        b'{"channel":"/api/v1/ticker","event":"","data":{}}',
        b'{"channel":"","event":"abc","data":{}}',
        b'{"channel":"logon","event":"success","data":{}}',
        b'{"channel":"/api/v1/ticker", "event":"abc","data":{}}',
        b'{"channel":"/api/v1/ticker","event":7,"data":{}}',
        b'{"channel":"/api/v1/ticker","event":"a\\u0062c","data":{}}',
        b'{"channel":"/api/v1/ticker","event":"abc","ts":1,"data":{}}',
        b'{"data":{"channel":"/api/v1/ticker","event":"abc","data":1},"channel":"/a","event":"b"}',
        b'{"channel":"/api/v1/ticker","event":"abc"}',
        b'{"id":1,"result":null}',
    ],
)
def test_route_gives_up(message):
    """What is no push, or is spelled in another way, is left to `decode`."""
    assert None is route(message)


@pytest.mark.parametrize(
    "example", [e["message"] for kind in ("updates", "responses", "errors") for _, e in examples(kind)], ids=str
)
def test_standard_library(example, monkeypatch):
    """Where orjson is not to be had, the same comes out."""
    message = compact(example)
    expected = decode(message)
    monkeypatch.setattr(dialect, "parse", parse_with_json)
    assert expected == decode(message)


def test_dialect_declares_what_it_is():
    """Ids that only confirmations tell, several messages in a frame, no ping of its own."""
    assert ("bitzoom", True, None, 20.0) == (
        PUBLIC.name,
        PUBLIC.aliases,
        PUBLIC.heartbeat.command,
        PUBLIC.heartbeat.interval_s,
    )
