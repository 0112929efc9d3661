"""Bybit's V5 dialect against the messages of its documentation, however these are spelled; `v5_*.txt` has the
conversations."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from pathlib import Path
from unittest.mock import Mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_ws.core.client import Room
from exchange_ws.core.dialect import Reading, parse_with_json
from exchange_ws.core.messages import (
    ALREADY,
    LOGIN,
    REJECTED,
    SUBSCRIBE,
    TOO_MANY,
    TRANSIENT,
    UNAUTHORIZED,
    Command,
    Notice,
    Reply,
    Update,
)
from exchange_ws.errors import UsageError
from exchange_ws.events import Balance, BookUpdate, Candle, Fill, Order, Other, Position, Ticker, Trade
from exchange_ws.exchanges.bybit import v5_dialect as dialect
from exchange_ws.exchanges.bybit.v5_dialect import (
    ARGS_LENGTH,
    CATEGORIES,
    CHANNELS,
    DEPTHS,
    LINEAR,
    OPTION,
    POOLS,
    PRIVATE,
    PUBLIC,
    REFUSALS,
    SHAPES,
    SPOT,
    SPOT_ARGS,
    STATUS,
    TRADE,
    decode,
    encode,
    encode_trade,
    route,
    topics,
)
from exchange_ws.exchanges.bybit.v5_events import INTERVALS, TRADED

#: The documentation's messages by topic, read 2026-11; "trade:" before those of order entry, "spread:" before those of a socket
#: that we do not use, "rest:" before answers of REST. What is called synthetic was put together from known shapes.
EXAMPLES = json.loads((Path(__file__).parent / "v5_examples.json").read_text("utf-8"))

#: Dialects that differ in what they read.
READERS = [*PUBLIC.values(), PRIVATE]
#: A symbol of each category.
SYMBOLS = {"spot": "BTCUSDT", "linear": "BTC-26DEC25", "inverse": "BTCUSD", "option": "XRP-26DEC25-2.5-C"}


def examples(*kinds):
    return [
        (name, message)
        for name, example in EXAMPLES.items()
        for kind in kinds
        for message in example.get(kind, ())
        if not name.startswith("rest:")
    ]


REQUESTS = examples("requests", "requests_synthetic")
UPDATES = examples("updates")
GOOD = examples("responses", "responses_synthetic")
BAD = examples("errors", "errors_synthetic")
REST = [message for name, example in EXAMPLES.items() if name.startswith("rest:") for message in example["responses"]]

#: What becomes of updates; of other topics, `Other`.
EVENTS = {
    "orderbook": BookUpdate,
    "publicTrade": Trade,
    "tickers": Ticker,
    "kline": Candle,
    "position": Position,
    "execution": Fill,
    "execution.fast": Fill,
    "order": Order,
    "wallet": Balance,
    "spread.order": Order,
    "spread.execution": Fill,
}


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def reading(numbers=Decimal):
    return Reading(0.0, numbers, {})


def speaker(message):
    """The dialect of the socket on which this update comes."""
    if "creationTime" in message:
        return PRIVATE
    return OPTION if message["topic"].count("-") > 1 else LINEAR


def interpret(message, numbers=Decimal, spoken=None):
    return (spoken or speaker(message)).interpret(decode(compact(message)), reading(numbers))


def example(name, kind="updates"):
    return EXAMPLES[name][kind][0]


def test_examples_are_whole():
    """Every topic of ours has an update and a request, so that no test here is about nothing."""
    labels = {decode(compact(message)).label for _, message in UPDATES}
    assert {*SHAPES, *CHANNELS.values()} - labels == {"dcp"}  # nothing is ever pushed
    assert (36, 46, 18, 11, 14) == tuple(map(len, (UPDATES, REQUESTS, GOOD, BAD, REST)))


# Routes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        rb'{"topic":"tickers.BTC\u0055SDT","ts":1,"type":"snapshot","data":{}}',
        rb'{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot", "data":{}}',
        rb'{"topic": "tickers.BTCUSDT","ts":1,"type":"snapshot","data":{}}',
        rb'{"topic":"tickers.BTCUSDT","ts":1,"type":"new","data":{}}',
        rb'{"topic":"tickers.BTCUSDT","ts":"1","type":"snapshot","data":{}}',
        rb'{"topic":"tickers.BTCUSDT","new":1,"type":"snapshot","data":{}}',
        rb'{"ts":1,"topic":"tickers.BTCUSDT","type":"snapshot","data":{}}',
        rb'{"data":{},"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot"}',
        rb'{"data":{"x":{},"type":"snapshot","topic":"tickers.ETHUSDT","ts":1},"topic":"tickers.BTCUSDT"}',
        rb'{"id":"\"topic\":\"tickers.ETHUSDT\",\"data\":","topic":"tickers.BTCUSDT","ts":1,"data":{}}',
    ],
)
def test_route_gives_up(message):
    """Spaces, escapes and unknown shapes are left to `decode`, which understands them."""
    assert b"tickers.BTCUSDT" == decode(message).keys[0]
    assert None is route(message)


@pytest.mark.parametrize(
    "message",
    [
        rb'{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","x":{"data":{}}}',
        rb'{"topic":"tickers.BTCUSDT","success":true}',
        rb'{"x":{"topic":"tickers.BTCUSDT","data":{}}}',
        rb'[{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","data":{}}]',
        rb'{"op":"subscribe","success":true,"req_id":"{\"topic\":\"tickers.BTCUSDT\",\"data\":"}',
    ],
)
def test_route_knows_what_is_no_update(message):
    """What has no topic and no `data` of its own is no update, however much it looks like one."""
    assert not isinstance(decode(message), Update)
    assert None is route(message)


@pytest.mark.parametrize(("name", "message"), UPDATES)
def test_route_knows_the_documented_orders(name, message):
    """Every update of the documentation is routed without parsing, in whatever order its keys stand there."""
    assert message["topic"].encode() == route(compact(message))


@pytest.mark.parametrize(
    ("keys", "topic"),
    [
        ("topic type ts data", "publicTrade.BTCUSDT"),
        ("topic ts type data", "publicTrade.BTCUSDT"),
        ("topic ts type id data", "publicTrade.BTC"),
        ("topic type ts data cts", "orderbook.1.BTCUSDT"),
        ("topic ts type id data cts", "orderbook.25.XRP-26DEC25-2.5-C"),
        ("topic type data cs ts", "tickers.BTCUSDT"),
        ("topic ts type cs data", "tickers.BTCUSDT"),
        ("topic ts type id data", "tickers.BTC-6JAN23-17500-C"),
        ("id topic creationTime data", "order.linear"),
        ("topic id creationTime data", "order.linear"),
        ("topic creationTime data", "execution.fast.option"),
    ],
)
def test_route_knows_the_observed_orders(keys, topic):
    """So is what other clients saw on one socket or another, in one year or another."""
    values = {"topic": topic, "type": "delta", "id": f"{topic}-24803-1672917511074", "data": []}
    message = compact({key: values.get(key, 1672304484978) for key in keys.split()})
    assert topic.encode() == route(message) == decode(message).keys[0]


ANYTHING = st.sampled_from([None, True, 7, -1, "", "tickers.A", '"topic":"tickers.A","data":', "A", [], {}, {"topic": "A"}])
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t "])


@given(st.data())
def test_route_is_never_wrong(data):
    """However keys are ordered, spaced and added, and values changed: the topic that `decode` finds, or None."""
    _, message = data.draw(st.sampled_from(UPDATES + GOOD + BAD))
    changed = {**message, **data.draw(st.dictionaries(st.sampled_from([*message, "x", "data", "topic"]), ANYTHING, max_size=2))}
    keys = data.draw(st.permutations(list(changed)))
    left = keys[: len(keys) - data.draw(st.integers(0, 1))]
    spaces = data.draw(st.lists(SPACES, min_size=4, max_size=4))
    members = (f"{json.dumps(key)}{spaces[0]}:{spaces[1]}{json.dumps(changed[key], separators=(',', ':'))}" for key in left)
    text = "{" + spaces[2] + f",{spaces[3]}".join(members) + "}"
    understood = decode(text.encode())
    expected = understood.keys[0] if isinstance(understood, Update) else None
    assert route(text.encode()) in (None, expected)


# Messages --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "message"), UPDATES)
def test_updates_of_the_documentation(name, message):
    """Each update becomes events of its channel's kind, with the whole message in `raw`, and its numbers exactly."""
    update = decode(compact(message))
    events = interpret(message)
    assert ((message["topic"].encode(),), message) == (update.keys, update.body)
    assert {EVENTS.get(update.label, Other)} == {type(event) for event in events}
    told = set(texts_in(message["data"]))
    sent = message.get("ts", message.get("creationTime")) / 1000
    for event in events:
        assert message == event.raw
        assert ("bybit-v5", update.label, 0.0) == (event.exchange, event.channel, event.received)
        shown = [value for value in values_of(event) if isinstance(value, Decimal)]
        assert [] == [value for value in shown if format(value, "f") not in told and "rpi" not in name]
        assert abs(event.time - sent) < 0.5


def texts_in(value):
    """Every text within *value*."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for part in value for text in texts_in(part)]
    return [value]


def values_of(event):
    """The values of an event's fields, levels of books included."""
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if isinstance(value, tuple):
            yield from (number for level in value for number in level)
        else:
            yield value


@pytest.mark.parametrize("message", [message for _, message in UPDATES + GOOD + BAD])
def test_both_json_readers(monkeypatch, message):
    """With orjson and with the standard library, a message means the same."""
    expected = decode(compact(message))
    monkeypatch.setattr(dialect, "parse", parse_with_json)
    assert expected == decode(compact(message))


@pytest.mark.parametrize(("name", "message"), GOOD)
def test_responses_of_the_documentation(name, message):
    """An ack is the good reply to the request of its id; without one, to the oldest, on order entry to the only one."""
    reply = decode(compact(message))
    key = message.get("req_id") or message.get("reqId")
    if name.endswith("ping"):
        assert ("ping", False) == (reply.key, reply.alone)
    elif name.startswith("trade:"):
        assert (key or "", key is None) == (reply.key, reply.alone)
    else:
        assert (key, False) == (reply.key, reply.alone)
    assert (True, message, None, {}) == (reply.ok, reply.result, reply.error, reply.refused)


@pytest.mark.parametrize(("name", "message"), [entry for entry in BAD if "type" not in entry[1]])
def test_errors_of_the_documentation(name, message):
    """An error is a refusal, of its id if it has one, with the vendor's words, or what its code means, and code."""
    reply = decode(compact(message))
    words = message.get("ret_msg", message.get("retMsg"))
    assert (False, message.get("retCode")) == (reply.ok, reply.error.code)
    unsaid = "no such op, or no such category for it" if message.get("retCode") == 10404 else "refused without a reason"
    assert (words or unsaid) == reply.error.message
    assert message.get("req_id", message.get("reqId", "" if "retCode" in message else None)) == reply.key


def test_a_part_that_failed():
    """The answer of options in which one topic failed confirms the others."""
    message = next(message for _, message in BAD if "type" in message)
    reply = decode(compact(message))
    assert (None, True) == (reply.key, reply.ok)
    assert message["data"]["failTopics"] == [key.decode() for key in reply.refused]
    assert [REJECTED] == [refusal.kind for refusal in reply.refused.values()]


@pytest.mark.parametrize(("name", "message"), [entry for entry in REQUESTS if not entry[0].startswith("trade:")])
def test_requests_of_the_documentation(name, message):
    """A command is encoded as the documentation's request, and awaits the reply with its `req_id`; pings are without."""
    command = Command(message["op"], tuple(message.get("args", ())))
    outgoing = encode(command, 7)
    said = {key: value for key, value in message.items() if key not in ("id", "req_id")}
    expected = (said, "ping") if message["op"] == "ping" else ({**said, "req_id": "7"}, "7")
    assert expected == (json.loads(outgoing.data), outgoing.key)


@pytest.mark.parametrize(("name", "message"), [entry for entry in REQUESTS if entry[0].startswith("trade:")])
def test_order_entry_of_the_documentation(name, message):
    """So it is on order entry, with the header that holds at that moment."""
    header = message.get("header")
    moments = iter([header])
    command = Command(message["op"], tuple(message.get("args", ())), header=None if header is None else lambda: next(moments))
    outgoing = encode_trade(command, 7)
    said = {key: value for key, value in message.items() if key != "reqId"}
    expected = (said, "ping") if message["op"] == "ping" else ({**said, "reqId": "7"}, "7")
    assert expected == (json.loads(outgoing.data), outgoing.key)


@pytest.mark.parametrize("encode", [encode, encode_trade])
def test_nothing_secret_is_shown(encode):
    """Neither a login nor what is said of it shows key or signature."""
    login = Command("auth", ("the key", 1, "the signature"), LOGIN, secret=True)
    shown = repr(login) + repr(encode(login, 1))
    assert [] == [word for word in ("the key", "the signature") if word in shown]


@pytest.mark.parametrize("message", REST)
def test_rest_is_no_message_of_ours(message):
    """What REST answers, should it ever come here, is told to nobody who waits for something with an id."""
    reply = decode(compact(message))
    assert ("", True) == (reply.key, reply.alone)


@pytest.mark.parametrize("parse", [dialect.parse, parse_with_json])
@pytest.mark.parametrize("message", [b"", b"{", b"nonsense", b'{"op":1}{"op":2}', b'"\xff"', b"NaN", b'{"ts":NaN}'])
def test_not_json(monkeypatch, message, parse):
    """What is not JSON raises ValueError, with either reader."""
    monkeypatch.setattr(dialect, "parse", parse)
    with pytest.raises(ValueError):
        decode(message)


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        [],
        {},
        {"topic": "tickers.BTCUSDT"},
        {"topic": 7, "data": {}},
        {"data": {}},
        {"op": "subscribe", "req_id": "1"},
        {"success": 1, "req_id": "1"},
        {"type": "snapshot"},
    ],
)
def test_what_is_not_understood_is_a_notice(body):
    """JSON of an unknown shape is passed on as it is."""
    assert Notice(body) == decode(compact(body))


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "ret_msg": None},
        {"success": False, "ret_msg": [1], "req_id": True},
        {"success": False, "ret_msg": "partially succeeded"},
        {"success": False, "ret_msg": "partially succeeded [] []"},
        {"type": "COMMAND_RESP"},
        {"type": "COMMAND_RESP", "success": False, "data": [], "ret_msg": [1]},
        {"type": "COMMAND_RESP", "success": True, "data": {"failTopics": ["a"], "successTopics": {}}},
        {"retCode": 10001},
        {"retCode": False, "retMsg": 7},
        {"retCode": "ok"},
        {"retCode": None, "header": 7},
        {"retCode": [0], "reqId": [1]},
    ],
)
def test_error_of_any_shape_refuses(body):
    """An error is a refusal, whatever it looks like, with words in it, and nobody is confirmed."""
    reply = decode(compact(body))
    assert isinstance(reply, Reply)
    assert (False, "rejected") == (reply.ok, reply.error.kind)
    assert isinstance(reply.error.message, str) and reply.error.message
    assert reply.key in (None, "")


@pytest.mark.parametrize(
    ("lists", "ok", "refused"),
    [
        ("[order wallet] ... [dcp.spot]", True, ["dcp.spot"]),
        ("[order] ... [dcp.spot execution.x]", True, ["dcp.spot", "execution.x"]),
        ("[order,wallet] ... [a, b]", True, ["a", "b"]),
        ("[order] ... []", True, []),
        ("[] ... [order]", False, []),
        ("[order]", True, []),
        ("", False, []),
    ],
)
def test_partial_success(lists, ok, refused):
    """Topics that a private socket names as failed are refused, the others confirmed; with none of these all is refused."""
    text = f"Batch subscription partially succeeded and partially failed.{lists}."
    reply = decode(compact({"success": False, "ret_msg": text, "req_id": "3", "op": "subscribe"}))
    assert ("3", ok, refused) == (reply.key, reply.ok, [key.decode() for key in reply.refused])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("error:handler not found,topic:tickers.X", REJECTED),
        ("error:already subscribed,topic:tickers.X", ALREADY),
        ("Invalid symbol :[tickers.X]", REJECTED),
        ("args size >10", REJECTED),
        ("Request not authorized", UNAUTHORIZED),
        ("Params Error", REJECTED),
    ],
)
def test_kinds_of_refusals_by_their_words(text, kind):
    """Public and private sockets have no codes; a refusal of a login is about the login, whatever it says."""
    for op, expected in (("subscribe", kind), ("auth", UNAUTHORIZED if kind == REJECTED else kind)):
        reply = decode(compact({"success": False, "ret_msg": text, "conn_id": "x", "op": op}))
        assert (text, expected) == (reply.error.message, reply.error.kind)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, UNAUTHORIZED) for code in (10003, 10004, 10005, 10010, 33004)),
        *((code, TOO_MANY) for code in (10006, 10403, 10429, 20003)),
        *((code, TRANSIENT) for code in (10016, 10019)),
        *((code, REJECTED) for code in (10001, 10002, 10404, 20001, 20006, 110007, 170213, -1, 2**70)),
    ],
)
def test_kinds_of_refusals_by_their_codes(code, kind):
    """
    Order entry has codes. A login is refused for what it is, or later.

    10019 says that another connection is to be made, 10006 that there were too many operations of one kind, and not of others.
    """
    assert set(REFUSALS) <= {10003, 10004, 10005, 10010, 33004, 10006, 10403, 10429, 20003, 10016, 10019}
    body = {"reqId": "1", "retCode": code, "retMsg": "no", "op": "order.create", "connId": "x"}
    error = decode(compact(body)).error
    assert (kind, code == 10019, None) == (error.kind, error.renew, error.retry_after_s)
    assert (code == 10006) == error.narrow
    login = decode(compact({**body, "op": "auth"})).error
    assert (UNAUTHORIZED if kind == REJECTED else kind) == login.kind


@pytest.mark.parametrize(("code", "ok", "told"), [(0, True, None), ("0", True, None), ("10001", False, 10001)])
def test_codes_as_text(code, ok, told):
    """A code is what its digits say, so that no order that was taken is told to be refused."""
    reply = decode(compact({"reqId": "1", "retCode": code, "retMsg": "told", "op": "order.create", "connId": "x"}))
    assert ("1", ok, told) == (reply.key, reply.ok, reply.error and reply.error.code)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ({"X-Bapi-Limit-Reset-Timestamp": "1711001595709", "Timenow": "1711001595209"}, 0.5),
        ({"X-Bapi-Limit-Reset-Timestamp": "1711001595208", "Timenow": "1711001595209"}, None),
        ({"X-Bapi-Limit-Reset-Timestamp": "1711001595209", "Timenow": "1711001595209"}, None),
        ({"Timenow": "1711001595209"}, None),
        ({"X-Bapi-Limit-Reset-Timestamp": "1711001595709"}, None),
        ({"X-Bapi-Limit-Reset-Timestamp": "soon", "Timenow": "1711001595209"}, None),
        ({"X-Bapi-Limit-Reset-Timestamp": 1711001595709, "Timenow": 1711001595209}, None),
        ({"X-Bapi-Limit-Reset-Timestamp": "9" * 99, "Timenow": "0"}, None),
        (None, None),
        ([], None),
    ],
)
def test_when_to_try_again(header, wait_s):
    """Who was too fast is told when the window of its account ends, by the exchange's clock; others are told nothing."""
    body = {"reqId": "1", "retCode": 10006, "retMsg": "Too many visits!", "op": "order.create", "header": header}
    assert wait_s == decode(compact(body)).error.retry_after_s
    assert None is decode(compact({**body, "retCode": 10001})).error.retry_after_s


# Events ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (Decimal, [Decimal("0.1"), Decimal("0.10"), None, None]),
        (float, [0.1, 0.1, None, None]),
        (str, ["0.1", "0.10", None, None]),
    ],
)
def test_numbers(numbers, expected):
    """Numbers are made of the wire's text, of a JSON number's too; null, nothing and empty text are None."""
    figures = {"symbol": "A", "lastPrice": 0.1, "prevPrice24h": "0.10", "highPrice24h": None, "lowPrice24h": ""}
    (event,) = interpret({"topic": "tickers.A", "ts": 1, "type": "snapshot", "data": figures}, numbers)
    assert [*expected, None] == [event.last, event.open, event.high, event.low, event.volume]
    assert [type(value) for value in expected] == [type(value) for value in (event.last, event.open, event.high, event.low)]


@pytest.mark.parametrize("price", ["about 7", ["7"], {}, False])
@pytest.mark.parametrize("spoken", PUBLIC.values(), ids=list(PUBLIC))
def test_not_a_number(price, spoken):
    """A price that is no number makes the update malformed, rather than a price."""
    body = {"topic": "tickers.A", "ts": 1, "type": "snapshot", "data": {"symbol": "A", "lastPrice": price}}
    with pytest.raises((ValueError, TypeError)):
        interpret(body, spoken=spoken)


@pytest.mark.parametrize("name", ["publicTrade.{symbol}", "position", "execution", "order", "wallet"])
def test_symbol_that_is_no_text(name):
    """Whose something is must be text, or the update is unreadable."""
    text = json.dumps(example(name))
    for word in ("symbol", "s", "coin"):
        text = text.replace(f'"{word}": "BTC', f'"{word}": 7, "was": "BTC')
    text = text.replace('"symbol": "ETH', '"symbol": 7, "was": "ETH')
    assert json.loads(text) != example(name)
    with pytest.raises(ValueError):
        interpret(json.loads(text))


@pytest.mark.parametrize(
    "change", [{"type": "new"}, {"type": None}, {"data": []}, {"data": {"s": "A", "b": [], "a": [], "u": "1"}}]
)
def test_a_book_that_is_none(change):
    """An update that says neither that it is whole nor that it is a change, or has no number, is not taken for a book."""
    with pytest.raises((ValueError, TypeError, LookupError)):
        interpret({**example("orderbook.{depth}.{symbol}"), **change})


@given(st.decimals(0, 10**12, places=8), st.decimals(0, 10**12, places=10), st.sampled_from([Decimal, str]))
def test_both_sizes_of_a_level(size, rpi, numbers):
    """A level with orders for retail orders has the exact sum of both sizes, whatever the context of the thread says."""
    body = example("orderbook.rpi.{symbol}")
    book = {**body["data"], "b": [["7.5", format(size, "f"), format(rpi, "f")]], "a": []}
    with localcontext() as context:
        context.prec = 3
        (event,) = interpret({**body, "data": book}, numbers)
    with localcontext() as context:
        context.prec = 60
        assert ((size + rpi,), ()) == (tuple(Decimal(level[1]) for level in event.bids), event.asks)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["snapshot", "delta", "delta", "delta", "gap"]),
            st.dictionaries(
                st.sampled_from(["lastPrice", "highPrice24h", "volume24h", "fundingRate"]), st.sampled_from(["", "1", "2.5"])
            ),
        ),
        max_size=12,
    )
)
def test_tickers_add_up(messages):
    """A ticker of a contract tells all that was told since the last snapshot, or what came without one; `raw` is that."""
    read, whole = reading(), None
    for kind, figures in messages:
        if kind == "gap":
            read.states.clear()
            whole = None
            continue
        body = {"topic": "tickers.A", "type": kind, "data": {"symbol": "A", **figures}, "cs": 1, "ts": 1}
        (event,) = LINEAR.interpret(decode(compact(body)), read)
        if kind == "snapshot" or whole is not None:
            whole = {**({} if kind == "snapshot" else whole), **figures}
        known = figures if whole is None else whole
        shown = [None if value is None else str(value) for value in (event.last, event.high, event.volume)]
        assert [known.get(name) or None for name in ("lastPrice", "highPrice24h", "volume24h")] == shown
        assert body == event.raw
        assert (whole is None) == (not read.states)


def test_tickers_of_others_stay_apart():
    """What one symbol adds up to is its own."""
    read = reading()
    for symbol, price in (("A", "1"), ("B", "2")):
        body = {"topic": f"tickers.{symbol}", "type": "snapshot", "data": {"symbol": symbol, "lastPrice": price}, "ts": 1}
        LINEAR.interpret(decode(compact(body)), read)
    body = {"topic": "tickers.A", "type": "delta", "data": {"symbol": "A"}, "ts": 2}
    (event,) = LINEAR.interpret(decode(compact(body)), read)
    assert Decimal(1) == event.last


def test_reading_ahead_changes_nothing():
    """What was added up before is not changed by a delta: who reads ahead goes back to it."""
    read = reading()
    body = {"topic": "tickers.A", "type": "snapshot", "data": {"symbol": "A", "lastPrice": "1"}, "ts": 1}
    LINEAR.interpret(decode(compact(body)), read)
    before = dict(read.states)
    LINEAR.interpret(decode(compact({**body, "type": "delta", "data": {"symbol": "A", "lastPrice": "2"}})), read)
    assert {b"tickers.A": {"symbol": "A", "lastPrice": "1"}} == before


@pytest.mark.parametrize(
    ("category", "expected"), [("spot", ("7", "9")), ("linear", ("7", "9")), ("inverse", ("9", "7")), ("option", ("7", "9"))]
)
def test_volume_is_in_the_base_coin(category, expected):
    """Of inverse contracts the volume counts US dollars and the turnover the base coin; everywhere else it is the reverse."""
    figures = {"symbol": "A", "volume24h": "7", "turnover24h": "9"}
    candle = {"start": 1, "interval": "5", "open": "1", "close": "1", "high": "1", "low": "1", "volume": "7", "turnover": "9"}
    for body in (
        {"topic": "tickers.A", "type": "snapshot", "data": figures, "ts": 1},
        {"topic": "kline.5.A", "type": "snapshot", "data": [candle], "ts": 1},
    ):
        (event,) = interpret(body, str, PUBLIC[category])
        assert expected == (event.volume, event.quote_volume)


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        *((kind, Fill) for kind in TRADED),
        *(
            (kind, Other)
            for kind in ("Funding", "Delivery", "Settle", "MovePosition", "CorporateAction", "UNKNOWN", "new", None)
        ),
    ],
)
def test_what_is_a_fill(kind, event):
    """A fill is a trade of ours, an order's or a forced one; what is only booked is not, and keeps its symbol and time."""
    body = example("execution")
    (made,) = interpret({**body, "data": [{**body["data"][0], "execType": kind}]})
    assert (event, "BTCUSDT", 1746270400.353) == (type(made), made.symbol, made.time)


def test_a_fill_of_no_order():
    """What was executed without an order of ours, as a leg of a spread or a forced trade, names none."""
    body = example("execution")
    (fill,) = interpret({**body, "data": [{**body["data"][0], "execType": "FutureSpread", "orderId": ""}]})
    assert (Fill, None) == (type(fill), fill.order_id)


@pytest.mark.parametrize("numbers", [Decimal, str])
@pytest.mark.parametrize(
    ("side", "size", "expected"),
    [("Buy", "0.5", "0.5"), ("Sell", "0.50", "-0.50"), ("", "0", "0"), ("Sell", "0.00", "0.00"), ("Sell", 5, "-5")],
)
def test_size_of_a_position(side, size, expected, numbers):
    """Negative when short; there is no negative nothing."""
    body = example("position")
    (event,) = interpret({**body, "data": [{**body["data"][0], "side": side, "size": size}]}, numbers)
    assert (expected, numbers) == (str(event.size), type(event.size))


@pytest.mark.parametrize(
    ("balance", "locked", "available"),
    [
        ("10.00", "0", "10.00"),
        ("10.00", "0.25", "9.75"),
        ("123456789012345678901234567890", "0.1", "123456789012345678901234567889.9"),
        ("", "0", "None"),
        ("10", "", "None"),
        ("10", None, "None"),
    ],
)
@pytest.mark.parametrize("numbers", [Decimal, str])
def test_available_balance(balance, locked, available, numbers):
    """What no open order locks of a coin, exactly; None if one of the two is not told."""
    body = example("wallet")
    coin = {"coin": "BTC", "walletBalance": balance, "locked": locked}
    (event,) = interpret({**body, "data": [{"coin": [coin]}]}, numbers)
    assert available == str(event.available)


def test_an_order_says_what_it_tells():
    """Empty text is nothing told, such as the price of some market orders; the time is that of the change."""
    body = example("order")
    order = {**body["data"][0], "price": "", "orderLinkId": "mine-1", "cumExecQty": "0.50", "updatedTime": ""}
    (event,) = interpret({**body, "data": [order]})
    shown = (event.price, event.client_id, str(event.filled), event.status, event.time)
    assert (None, "mine-1", "0.50", "Filled", 1672364262.474) == shown


def test_unknown_topic_is_an_event():
    """A topic that came later is passed on whole, whoever reads it."""
    body = {"topic": "later.BTC", "ts": 2000, "type": "snapshot", "data": [1]}
    for spoken in READERS:
        assert [Other("bybit-v5", "later", None, 2.0, 0.0, body, None)] == interpret(body, spoken=spoken)


# Topics ----------------------------------------------------------------------------------------------------------------------


def names(category):
    """Every topic of a category, of one symbol each."""
    symbol = SYMBOLS[category]
    for label, (shape, categories) in SHAPES.items():
        if category in categories:
            for pool in POOLS.get(category, ()) if shape.endswith("POOL") else ("",):
                for depth in DEPTHS[category] if label == "orderbook" else INTERVALS if label == "kline" else ("",):
                    coin = "XRP" if (label, category) == ("publicTrade", "option") else symbol
                    yield shape.replace("POOL", pool).replace("DEPTH", depth).replace("INTERVAL", depth).replace("SYMBOL", coin)
    yield from CHANNELS


@pytest.mark.parametrize("category", CATEGORIES)
def test_topic_names(category):
    """A topic is called by its vendor's words, which are also its key, and is as its updates are routed and labelled."""
    for name in names(category):
        (topic,) = topics(category, name)
        update = decode(compact({"topic": name, "data": []}))
        assert (name, name.encode(), name, (name,)) == (topic.name, topic.key, topic.channel, topic.args)
        assert ((topic.key,), topic.label) == (update.keys, update.label)
        assert topic.symbol in (None, SYMBOLS[category])
        assert topic.account == (name in CHANNELS and name != "system.status")


@pytest.mark.parametrize("category", CATEGORIES)
def test_kinds_of_topics(category):
    """What begins with a snapshot that changes follow can be renewed, and no single update of it is enough."""
    found = [topic for name in names(category) for topic in topics(category, name)]
    opening = {topic.name for topic in found if topic.opens_with_snapshot}
    merged = ("tickers.",) if category in ("linear", "inverse") else ()
    expected = {
        topic.name
        for topic in found
        if topic.name.startswith(("insurance.", *merged))
        or (topic.label == "orderbook" and topic.name.split(".")[1] not in ("1", "full"))
    }
    assert expected == opening
    paced = {topic.name: topic.pace_s for topic in found if topic.pace_s is not None}
    assert ({} if category == "option" else {f"orderbook.1.{SYMBOLS[category]}": 3.0}) == paced
    assert expected | set(paced) == {topic.name for topic in found if topic.renewable}
    assert [] == [topic.name for topic in found if topic.repeatable or topic.replays]
    assert {name for name in expected if name.startswith("tickers.")} == {topic.name for topic in found if topic.merges}
    alone = {topic.label for topic in found if topic.standalone and topic.label != "orderbook"}
    whole = {label for label, (_, categories) in SHAPES.items() if category in categories} | {"system.status"}
    assert whole - {"orderbook", "insurance", "adlAlert"} - {name[:-1] for name in merged} == alone


def test_counts_of_topics():
    """As many as there are: the documentation has 13 intervals, and 31 topics without a symbol."""
    assert [31, 13] == [len(CHANNELS), len(INTERVALS)]
    assert [None] == [seconds for seconds in INTERVALS.values() if not isinstance(seconds, int)]
    assert {"spot": 53, "linear": 57, "inverse": 55, "option": 35} == {name: len([*names(name)]) for name in CATEGORIES}


def test_same_topic_twice_is_one_topic():
    """Naming a topic twice is naming it; topics keep the order in which they are named."""
    assert ["order", "tickers.AB"] == [topic.name for topic in topics("spot", "order", "tickers.AB", "order")]


@pytest.mark.parametrize(
    ("category", "named", "params", "says"),
    [
        ("futures", ("tickers.BTCUSDT",), {}, "category 'futures': takes spot, linear, inverse or option"),
        (None, ("tickers.BTCUSDT",), {}, "category None: takes"),
        (["spot"], ("tickers.BTCUSDT",), {}, r"category \['spot'\]: takes"),
        ("spot", ("trade.BTCUSDT",), {}, "unknown topic 'trade.BTCUSDT': spot of Bybit V5 has orderbook.DEPTH.SYMBOL"),
        ("spot", (None,), {}, "topic None: takes text"),
        ("spot", ([],), {}, r"topic \[\]: takes text"),
        ("spot", ("",), {}, "unknown topic ''"),
        ("spot", ("tickers",), {}, "takes a symbol in capitals, such as BTCUSDT"),
        ("spot", ("tickers.BTC USDT",), {}, "takes a symbol in capitals"),
        ("spot", ("tickers.BTCUSDT\n",), {}, "takes a symbol in capitals"),
        ("spot", ('tickers.BTC"USDT',), {}, "takes a symbol in capitals"),
        ("spot", ("tickers.BTC-26DEC25",), {}, "spot takes a symbol in capitals"),
        ("linear", ("tickers.BTC-",), {}, "linear takes a symbol in capitals"),
        ("inverse", ("tickers.btcusd",), {}, "such as BTCUSD$"),
        ("option", ("tickers.XRP-26DEC25-2.-C",), {}, "such as BTC-26DEC25-100000-C"),
        ("option", ("publicTrade.BTC-26DEC25-100000-C",), {}, "takes a base coin in capitals, such as publicTrade.BTC"),
        ("linear", ("kline.1m.BTCUSDT",), {}, "takes an interval of 1, 3, 5"),
        ("linear", ("orderbook.500.BTCUSDT",), {}, "linear takes a depth of 1, 50, 200, 1000, rpi"),
        ("linear", ("orderbook.full.BTCUSDT",), {}, "linear takes a depth of"),
        ("option", ("orderbook.1.BTC-26DEC25-100000-C",), {}, "option takes a depth of 25, 100"),
        ("linear", ("orderbook.50.btcusdt",), {}, "takes a symbol in capitals"),
        ("spot", ("allLiquidation.BTCUSDT",), {}, "spot has no allLiquidation; linear and inverse have"),
        ("inverse", ("insurance.USDC",), {}, "inverse takes inverse, as insurance.POOL"),
        ("linear", ("adlAlert.BTC",), {}, "linear takes USDT or USDC"),
        ("linear", ("position.spot",), {}, "'position.spot': takes the category linear, inverse or option behind position"),
        ("spot", ("execution.fast.USDT",), {}, "takes the category spot, linear, inverse or option behind execution.fast"),
        ("linear", ("dcp.linear",), {}, "topic 'dcp.linear': takes dcp.future, dcp.spot or dcp.option"),
        ("linear", ("rfq.open.public.trades",), {}, "unknown topic"),
        ("linear", (), {}, "name at least one topic"),
        ("linear", ("tickers.BTCUSDT",), {"limit": 5}, "no parameter limit"),
    ],
)
def test_usage_errors(category, named, params, says):
    """What cannot be subscribed to is refused before anything is sent, with what would be taken."""
    with pytest.raises(UsageError, match=says):
        topics(category, *named, **params)


# Statements ------------------------------------------------------------------------------------------------------------------

PUBLIC_TOPICS = st.tuples(st.sampled_from(["publicTrade", "orderbook.50", "tickers", "kline.1"]), st.integers(0, 30)).map(
    lambda words: topics("spot", f"{words[0]}.A{words[1]}USDT")[0]
)
PRIVATE_TOPICS = st.sampled_from(sorted(set(CHANNELS) - {"system.status"})).map(lambda name: topics("spot", name)[0])


@pytest.mark.parametrize("spoken", [SPOT, LINEAR, PRIVATE], ids=["spot", "linear", "private"])
@given(data=st.data())
def test_changes_lead_to_what_is_wanted(spoken, data):
    """The commands together lead from stated to wanted, say nothing twice, and no more at once than the exchange takes."""
    some = st.frozensets(PRIVATE_TOPICS if spoken is PRIVATE else PUBLIC_TOPICS, max_size=40)
    stated, wanted = data.draw(some), data.draw(some)
    commands = list(spoken.changes(stated, wanted))
    reached, said = stated, []
    for command in commands:
        reached = reached - command.drops | command.states
        said += command.args
        assert 0 < len(command.args) <= (SPOT_ARGS if spoken is SPOT else 40)
        assert sorted(command.args) == sorted(topic.name for topic in command.states | command.drops)
        assert (command.kind == SUBSCRIBE) == bool(command.states)
        assert command.replay and not command.replaces
        kinds = {(topic.name in (topic.label, "dcp"), topic.label == "dcp") for topic in command.states | command.drops}
        assert spoken is not PRIVATE or 1 == len(kinds)
    assert wanted == reached
    assert sorted(topic.name for topic in stated ^ wanted) == sorted(said)


@pytest.mark.parametrize(
    ("name", "message"), [entry for entry in REQUESTS if "subscribe" in entry[1]["op"] and "spread" not in entry[0]]
)
def test_statements_of_the_documentation(name, message):
    """What the documentation says to (un)subscribe is what `changes` says for those topics, where they are there still."""
    gone = "delisted" in name or "removed" in name or name == "rfq.open.public.trades"
    category = "spot" if ".full." in name else "linear"
    try:
        named = frozenset(topics(category, *message["args"]))
    except UsageError:
        assert gone
        return
    stated, wanted = (frozenset(), named) if message["op"] == "subscribe" else (named, frozenset())
    (command,) = PUBLIC[category].changes(stated, wanted)
    assert (message["op"], sorted(message["args"]), gone) == (command.method, sorted(command.args), False)


def test_length_of_all_topics():
    """As many topics fit on a public connection as have 21,000 characters with what stands between them, and no more."""
    room = Room(Mock(load=(0, 0), **{"holds.return_value": False, "held.return_value": ()}), LINEAR)
    for topic in topics("linear", *(f"publicTrade.A{number:05}USDT" for number in range(2000))):
        if room.fits(topic):
            room.take(topic)
    held = frozenset(room.placed)
    said = json.dumps([topic.name for topic in held], separators=(",", ":"))
    assert ARGS_LENGTH - len("publicTrade.A00000USDT") - 3 < len(said) <= ARGS_LENGTH
    commands = list(LINEAR.changes(frozenset(), held))
    assert len(held) == sum(len(command.args) for command in commands)
    assert 500 == max(len(command.args) for command in commands)


def test_a_request_has_no_more_than_a_connection():
    """However many topics are stated at once, each request is one that a connection could take."""
    some = frozenset(topics("linear", *(f"publicTrade.{'A' * 80}{number:05}" for number in range(400))))
    commands = list(LINEAR.changes(frozenset(), some))
    assert 400 == sum(len(command.args) for command in commands)
    assert ARGS_LENGTH >= max(len(json.dumps(command.args, separators=(",", ":"))) for command in commands)


@pytest.mark.parametrize(
    ("spoken", "connections", "count", "requests", "idle_limit_s"),
    [
        *((PUBLIC[category], 1000, None, None, None) for category in ("spot", "linear", "inverse")),
        (OPTION, 1000, 2000, None, None),
        (STATUS, None, None, None, None),
        (PRIVATE, None, None, None, 600.0),
        (TRADE, None, None, (3000, 1.0), 600.0),
    ],
)
def test_limits_and_heartbeat(spoken, connections, count, requests, idle_limit_s):
    """500 connections in 5 minutes for all; a JSON ping each 20 s; what else a socket asks of us; sources."""
    limits, heartbeat = spoken.limits, spoken.heartbeat
    assert "bybit-v5" == spoken.name
    assert (500, 300.0) == (limits.dials.count, limits.dials.window_s)
    assert (20.0, "ping", idle_limit_s) == (heartbeat.interval_s, heartbeat.command.method, heartbeat.idle_limit_s)
    assert (connections, count) == (limits.connections, limits.topics)
    assert requests == (None if limits.requests is None else (limits.requests.count, limits.requests.window_s))
    sources = [heartbeat.source, limits.dials.source, *([limits.source] if connections or count else [])]
    assert [] == [source for source in sources if "read 2026-11" not in source]
