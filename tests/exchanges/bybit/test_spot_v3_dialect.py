"""Bybit's spot v3 dialect against the messages of its documentation, however these are spelled; `*.txt` has the
conversations."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_ws.core.dialect import Reading, parse_with_json
from exchange_ws.core.messages import LOGIN, SUBSCRIBE, Command, Notice, Pong, Reply, Update
from exchange_ws.errors import UsageError
from exchange_ws.events import Balance, BookTicker, BookUpdate, Candle, Fill, Order, Other, Ticker, Trade
from exchange_ws.exchanges.bybit import spot_v3_dialect as dialect
from exchange_ws.exchanges.bybit.spot_v3_dialect import (
    BATCH,
    INTERVALS,
    PRIVATE,
    PRIVATE_CHANNELS,
    PUBLIC,
    PUBLIC_CHANNELS,
    changes,
    decode,
    encode,
    fits,
    interpret,
    route,
    topics,
)

#: The documentation's messages by topic: its requests, responses, updates and errors, read 2026-11. What is called synthetic
#: was put together from frames as other clients observed them.
EXAMPLES = json.loads((Path(__file__).parent / "spot_v3_examples.json").read_text("utf-8"))


def examples(*kinds):
    return [(name, message) for name, example in EXAMPLES.items() for kind in kinds for message in example.get(kind, ())]


REQUESTS = examples("requests")
UPDATES = examples("updates")
GOOD = examples("responses", "responses_synthetic")
BAD = examples("errors", "errors_synthetic")

EVENTS = {
    "trade": Trade,
    "orderbook": BookUpdate,
    "tickers": Ticker,
    "bookticker": BookTicker,
    "kline": Candle,
    "outboundAccountInfo": Balance,
    "order": Order,
    "stopOrder": Order,
    "ticketInfo": Fill,
}

READING = Reading(0.0, Decimal, {})


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def test_examples_are_whole():
    """Every channel has requests and updates, so that no test here is about nothing."""
    labels = {name.partition(".")[0] for name, _ in UPDATES}
    assert set(EVENTS) == labels == {*PUBLIC_CHANNELS, *PRIVATE_CHANNELS}
    assert (21, 19, 6, 3) == tuple(map(len, (UPDATES, REQUESTS, GOOD, BAD)))


# Routes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        rb'{"topic":"trade.BTC\u0055SDT","ts":1,"type":"snapshot","data":{}}',
        rb'{"topic":"trade.BTCUSDT","ts":1,"type":"snapshot", "data":{}}',
        rb'{"topic": "trade.BTCUSDT","ts":1,"type":"snapshot","data":{}}',
        rb'{"topic":"trade.BTCUSDT","ts":1,"type":"new","data":{}}',
        rb'{"ts":1,"topic":"trade.BTCUSDT","type":"snapshot","data":{}}',
        rb'{"data":{},"type":"snapshot","topic":"trade.BTC\u0055SDT","ts":1}',
        rb'{"data":{},"type":"snapshot","topic":"trade.BTCUSDT","ts":1} ',
        rb'{"data":{},"type":"snapshot","topic":"trade.BTCUSDT","ts":1,"x":{}}',
        rb'{"data":{},"topic":"trade.BTCUSDT","ts":1,"type":"snapshot"}',
        rb'{"data":{"x":{},"type":"snapshot","topic":"trade.ETHUSDT","ts":1},"topic":"trade.BTCUSDT"}',
    ],
)
def test_route_gives_up(message):
    """Spaces, escapes and unknown shapes are left to `decode`, which understands them."""
    assert b"trade.BTCUSDT" == decode(message).keys[0]
    assert None is route(message)


@pytest.mark.parametrize(
    "message",
    [
        rb'{"x":{},"type":"snapshot","topic":"trade.BTCUSDT","ts":1}',
        rb'{"x":"","data2":{},"type":"delta","topic":"trade.BTCUSDT","ts":1}',
        rb'[{"data":{},"type":"snapshot","topic":"trade.BTCUSDT","ts":1}]',
        rb'{"op":"subscribe","success":true,"req_id":"},\"type\":\"snapshot"}',
    ],
)
def test_route_knows_what_is_no_update(message):
    """What has no `data` is no update, however much its end looks like one."""
    assert not isinstance(decode(message), Update)
    assert None is route(message)


@pytest.mark.parametrize(("name", "message"), UPDATES)
def test_route_knows_the_documented_orders(name, message):
    """Every update of the documentation is routed without parsing, in whatever order its keys stand there."""
    assert message["topic"].encode() == route(compact(message))


# Messages --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "message"), UPDATES)
def test_updates_of_the_documentation(name, message):
    """Each update becomes events of its channel's kind, with the whole message in `raw`, and its numbers exactly."""
    update = decode(compact(message))
    events = interpret(update, READING)
    label = name.partition(".")[0]
    assert ((message["topic"].encode(),), label, message) == (update.keys, update.label, update.body)
    assert [EVENTS[label]] == [type(event) for event in events]
    (event,) = events
    assert message == event.raw
    assert ("bybit-spot-v3", label, 0.0) == (event.exchange, event.channel, event.received)
    records = message["data"] if isinstance(message["data"], list) else [message["data"]]
    told = {number for record in records for number in numbers_in(record)}
    shown = [value for value in vars_of(event) if isinstance(value, Decimal)]
    assert [] == [value for value in shown if format(value, "f") not in told]
    assert abs(event.time - float(message["ts"]) / 1000) < 0.1


def numbers_in(value):
    """Every text within *value*."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for part in value for text in numbers_in(part)]
    return [value]


def vars_of(event):
    """The values of an event's fields, levels of books included."""
    for field in event.__attrs_attrs__:
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
    """An ack or a pong is the good reply to the request of its `req_id`; a pong without one is a pong."""
    expected = Reply(message["req_id"], True, message) if "req_id" in message else Pong()
    assert expected == decode(compact(message))


@pytest.mark.parametrize(("name", "message"), BAD)
def test_errors_of_the_documentation(name, message):
    """An error is a refusal, of its `req_id` if it has one, with the vendor's words and its code as a number."""
    reply = decode(compact(message))
    code = message.get("ret_code")
    assert (message.get("req_id"), False, message["ret_msg"]) == (reply.key, reply.ok, reply.error.message)
    assert (None if code is None else int(code)) == reply.error.code


@pytest.mark.parametrize(("name", "message"), REQUESTS)
def test_requests_of_the_documentation(name, message):
    """A command is encoded as the documentation's request, and awaits the reply with its `req_id`, which we never leave out."""
    command = Command(message["op"], tuple(message.get("args", ())), secret=message["op"] == "auth")
    outgoing = encode(command, 7)
    assert ({**message, "req_id": "7"}, "7") == (json.loads(outgoing.data), outgoing.key)
    assert "signature" not in repr(outgoing) + repr(Command("auth", ("key", 1, "signature"), LOGIN, secret=True))


@pytest.mark.parametrize(("name", "message"), [(name, message) for name, message in REQUESTS if "subscribe" in message["op"]])
def test_statements_of_the_documentation(name, message):
    """What the documentation says to (un)subscribe is what `changes` says for those topics, in some order."""
    named = frozenset(topics(*message["args"]))
    stated, wanted = (frozenset(), named) if message["op"] == "subscribe" else (named, frozenset())
    (command,) = changes(stated, wanted)
    assert (message["op"], sorted(message["args"])) == (command.method, sorted(command.args))


@pytest.mark.parametrize(("name", "message"), UPDATES)
def test_topics_are_wanted_by_the_keys_of_updates(name, message):
    """A subscription's key is the key of the topic's updates, and account topics are those of the private endpoint."""
    (topic,) = topics(message["topic"])
    update = decode(compact(message))
    assert (update.keys[0], update.label) == (topic.key, topic.label)
    assert isinstance(message["data"], list) == topic.account
    assert topic.account != topic.standalone


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
        {"topic": "trade.BTCUSDT"},
        {"topic": 7, "data": {}},
        {"data": {}},
        {"op": "subscribe", "req_id": "1"},
        {"success": 1, "req_id": "1"},
        {"ret_code": "0", "req_id": "1"},
        {"ret_code": [1]},
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
        {"success": False, "ret_code": True},
        {"type": "error", "ret_code": [1], "ret_msg": ["no"]},
        {"type": "error", "ret_code": "", "req_id": [1]},
        {"type": "error", "ret_code": "9" * 99, "req_id": True},
        {"ret_code": -1},
    ],
)
def test_error_of_any_shape_refuses(body):
    """An error is a refusal, whatever it looks like, with words in it."""
    reply = decode(compact(body))
    assert isinstance(reply, Reply)
    assert (None, False, "rejected") == (reply.key, reply.ok, reply.error.kind)
    assert isinstance(reply.error.message, str) and reply.error.message


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
    message = b'{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","data":{"c":0.1,"o":"0.10","h":null,"l":""}}'
    (event,) = interpret(decode(message), Reading(0.0, numbers, {}))
    assert [*expected, None] == [event.last, event.open, event.high, event.low, event.volume]
    assert [type(value) for value in expected] == [type(value) for value in (event.last, event.open, event.high, event.low)]


def test_not_a_number():
    """A price that is no number makes the update malformed, rather than a price."""
    with pytest.raises(ValueError, match="tickers"):
        interpret(decode(b'{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","data":{"c":"about 7"}}'), READING)


@pytest.mark.parametrize(
    ("topic", "data"),
    [("tickers.BTCUSDT", {"c": ["7"]}), ("tickers.BTCUSDT", {"c": {}}), ("tickers.BTCUSDT", {"c": False})],
)
def test_no_number(topic, data):
    """Whatever numbers are wanted as, lists, objects and the like are none."""
    with pytest.raises(ValueError):
        interpret(decode(compact({"topic": topic, "ts": 1, "data": data})), Reading(0.0, str, {}))


@pytest.mark.parametrize("channel", ["order", "stopOrder", "ticketInfo"])
def test_symbol_that_is_no_text(channel):
    """The symbol of an order or a fill is text, or the update is unreadable."""
    (message,) = [message for name, message in UPDATES if name == channel][:1]
    record = {**message["data"][0], "s": ["BTCUSDT"]}
    with pytest.raises(ValueError):
        interpret(decode(compact({**message, "data": [record]})), READING)


def test_unknown_topic_is_an_event():
    """A topic that came later is passed on whole."""
    body = {"topic": "greeks.BTC", "ts": 2000, "type": "snapshot", "data": [1]}
    assert [Other("bybit-spot-v3", "greeks", None, 2.0, 0.0, body, None)] == interpret(decode(compact(body)), READING)


# Topics ----------------------------------------------------------------------------------------------------------------------

SYMBOLS = st.integers(0, 30).map(lambda number: f"A{number}USDT")
TOPICS = st.tuples(st.sampled_from(["trade", "orderbook.40", "tickers", "bookticker", "kline.1m", "kline.1M"]), SYMBOLS).map(
    lambda words: topics(".".join(words))[0]
) | st.sampled_from(PRIVATE_CHANNELS).map(lambda name: topics(name)[0])


@given(st.frozensets(TOPICS, max_size=40), st.frozensets(TOPICS, max_size=40))
def test_changes_lead_to_what_is_wanted(stated, wanted):
    """The commands together lead from stated to wanted, say nothing twice, and no more than 10 topics at once."""
    commands = list(changes(stated, wanted))
    reached = stated
    said = []
    for command in commands:
        reached = reached - command.drops | command.states
        said += command.args
        assert 0 < len(command.args) <= BATCH
        assert sorted(command.args) == sorted(topic.name for topic in command.states | command.drops)
        assert (command.kind == SUBSCRIBE) == bool(command.states)
        assert command.replay and not command.replaces
    assert wanted == reached
    assert sorted(topic.name for topic in stated ^ wanted) == sorted(said)
    assert all(fits(stated, topic) for topic in wanted)


@pytest.mark.parametrize(
    "name",
    [*(shape.replace("SYMBOL", "BTCUSDT").replace("INTERVAL", "1w") for shape in PUBLIC_CHANNELS.values()), *PRIVATE_CHANNELS],
)
def test_topic_names(name):
    """A topic is called by its vendor's words, which are also its key."""
    (topic,) = topics(name)
    assert (name, name.encode(), (name,)) == (topic.name, topic.key, topic.args)
    assert (None if topic.account else "BTCUSDT") == topic.symbol


def test_intervals():
    """13 intervals, in seconds but for the month."""
    assert 13 == len(INTERVALS)
    assert [None] == [seconds for seconds in INTERVALS.values() if not isinstance(seconds, int)]
    names = [f"kline.{interval}.BTCUSDT" for interval in INTERVALS]
    assert names == [topic.name for topic in topics(*names)]


def test_same_topic_twice_is_one_topic():
    """Naming a topic twice is naming it; topics keep the order in which they are named."""
    assert ["order", "trade.AB"] == [topic.name for topic in topics("order", "trade.AB", "order")]


@pytest.mark.parametrize(
    ("names", "params", "says"),
    [
        (("klines.1m.BTCUSDT",), {}, "unknown topic 'klines.1m.BTCUSDT': Bybit spot v3 has trade.SYMBOL, orderbook.40.SYMBOL"),
        ((None,), {}, "topic None: takes text"),
        (([],), {}, r"topic \[\]: takes text"),
        (("",), {}, "unknown topic ''"),
        (("trade",), {}, "unknown topic 'trade'"),
        (("trade.",), {}, "takes a symbol in capitals"),
        (("trade.BTC USDT",), {}, "takes a symbol in capitals"),
        (("trade.BTCUSDT\n",), {}, "takes a symbol in capitals"),
        (('trade.BTC"USDT',), {}, "takes a symbol in capitals"),
        (("kline.1y.BTCUSDT",), {}, "takes an interval of 1m, 3m"),
        (("order.BTCUSDT",), {}, "unknown topic"),
        ((), {}, "name at least one topic"),
        (("trade.BTCUSDT",), {"limit": 5}, "no parameter limit"),
    ],
)
def test_usage_errors(names, params, says):
    """What cannot be subscribed to is refused before anything is sent, with what would be taken."""
    with pytest.raises(UsageError, match=says):
        topics(*names, **params)


@pytest.mark.parametrize("spoken", [PUBLIC, PRIVATE])
def test_limits_and_heartbeat(spoken):
    """500 connections in 5 minutes at each endpoint; a JSON ping each 20 s, long before the drop at 10 minutes; sources."""
    limits, heartbeat = spoken.limits, spoken.heartbeat
    assert (500, 300.0) == (limits.dials.count, limits.dials.window_s)
    assert (20.0, 600.0, "ping") == (heartbeat.interval_s, heartbeat.idle_limit_s, heartbeat.command.method)
    assert all("read 2026-11" in source for source in (limits.dials.source, heartbeat.source))
    assert (None, None) == (limits.requests, limits.topics)
    assert (None if spoken is PUBLIC else 50) == limits.connections
