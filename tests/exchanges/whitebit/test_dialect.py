"""WhiteBIT's dialect against the messages of its documentation, however these are spelled; `*.txt` has the conversations."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_ws.core.dialect import Reading, parse_with_json
from exchange_ws.core.messages import SUBSCRIBE, Command, Notice, Reply, Topic, Update
from exchange_ws.errors import UsageError
from exchange_ws.events import (
    Balance,
    BookTicker,
    BookUpdate,
    Candle,
    Fill,
    LastPrice,
    Order,
    Other,
    Position,
    Ticker,
    Trade,
)
from exchange_ws.exchanges.whitebit import dialect
from exchange_ws.exchanges.whitebit.dialect import (
    ACCOUNT_CHANNELS,
    ALIASES,
    CHANNELS,
    TAIL_LENGTH,
    WHITEBIT,
    changes,
    checked_book_interval,
    checked_candle_interval,
    decode,
    encode,
    fits,
    interpret,
    route,
    topics,
)

#: The documentation's messages by channel: its requests, its responses and errors to them, its updates. Read 2026-11.
EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))
UPDATES = [(channel, message) for channel, example in EXAMPLES.items() for message in example["updates"]]
REPLIES = [message for example in EXAMPLES.values() for message in example["responses"] + example["errors"]]
REQUESTS = [message for example in EXAMPLES.values() for message in example["requests"]]
STATEMENTS = [
    message
    for channel in (*CHANNELS, *ACCOUNT_CHANNELS)
    for message in EXAMPLES[channel]["requests"]
    if "subscribe" in message["method"]
    and (message["method"], message["params"]) != ("depth_unsubscribe", [])  # we leave market by market
]

EVENTS = {
    "candles": Candle,
    "lastprice": LastPrice,
    "market": Ticker,
    "marketToday": Ticker,
    "trades": Trade,
    "depth": BookUpdate,
    "bookTicker": BookTicker,
    "balanceSpot": Balance,
    "balanceMargin": Balance,
    "ordersPending": Order,
    "ordersExecuted": Order,
    "deals": Fill,
    "positionsMargin": Position,
    "positionsAccountMargin": Position,
}

READING = Reading(0.0, Decimal, {})


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "message",
    [
        rb'{"id":null,"method":"trades_update","params":["ETH\u005fBTC",[]]}',
        rb'{"id":null,"method":"trades_update","params":["ETH\"BTC",[]]}',
        rb'{"id":null,"method":"trades_update", "params":["ETH_BTC",[]]}',
        rb'{"id": null,"method":"trades_update","params":["ETH_BTC",[]]}',
        rb'{"id":null,"method":"depth_update","params":[true,{},"ETH\u005fBTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{},"ETH},\"BTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{}, "ETH_BTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{},"ETH_BTC",7]}',
        rb'{"id":null,"method":"depth_update","params":[true,{},"' + b"A" * TAIL_LENGTH + b'"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{},7,{},"ETH_BTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{}],"more":[{},"ETH_BTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{"a":{}},"ETH_BTC"]}',
        rb'{"id":null,"method":"depth_update","params":[true,{"a":"}","b":{}},"ETH_BTC"]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[1,2,"ETH\u005fBTC",3]]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[1],2,"ETH_BTC",3]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[],2,"ETH_BTC",3]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[1,2,"ETH_BTC",3],[1,2,"BTC_USDT",3]]}',
        rb'{"id":null,"method":"bookTicker_update","params":[["1",2,"ETH_BTC",3]]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[[1,2],2,"ETH_BTC",3]]}',
        rb'{"id":null,"method":"bookTicker_update","params":[[{"a":1,"b":2},2,"ETH_BTC",3]]}',
        rb'{"params":["ETH_BTC",[]],"method":"trades_update","id":null}',
        rb'{"id":null,"method":"deals_update","params":["ETH_BTC"]}',
    ],
)
def test_route_gives_up(message):
    """Spaces, escapes, several rows and unknown shapes are left to `decode`, which understands them."""
    assert isinstance(decode(message), Update)
    assert None is route(message)


@pytest.mark.parametrize("order", [("id", "method", "params"), ("method", "params", "id")])
@pytest.mark.parametrize("channel", ["candles", "lastprice", "market", "marketToday", "trades", "depth", "bookTicker"])
def test_route_knows_both_orders(channel, order):
    """The updates that come often are routed without parsing, in both orders of keys that occur."""
    messages = [compact({key: message[key] for key in order}) for message in EXAMPLES[channel]["updates"]]
    assert messages
    assert [decode(message).keys[0] for message in messages] == [route(message) for message in messages]


@pytest.mark.parametrize("channel", [*CHANNELS, *ACCOUNT_CHANNELS])
def test_topics_are_wanted_by_the_keys_of_updates(channel):
    """A subscription's key is the key of the channel's updates."""
    settings = {"interval": 60} if channel == "candles" else {}
    updates = [decode(compact(message)) for message in EXAMPLES[channel]["updates"]]
    for update in updates:
        symbols = {event.symbol for event in interpret(update, READING)}
        wanted = topics(channel, *(symbols if ACCOUNT_CHANNELS.get(channel, "market") else ()), **settings)
        assert set(update.keys) == {topic.key for topic in wanted}
        assert {(update.label, update.wildcard)} == {(topic.label, topic.wildcard) for topic in wanted}


@pytest.mark.parametrize(("channel", "message"), UPDATES)
def test_updates_of_the_documentation(channel, message):
    """Each update becomes events of its channel's kind, with the vendor's own JSON in `raw`."""
    update = decode(compact(message))
    events = interpret(update, READING)
    assert (channel, message["params"]) == (update.label, update.body)
    assert events
    assert {EVENTS.get(channel, Other)} == {type(event) for event in events}
    assert all(event.raw is not None and compact(event.raw) in compact(message) for event in events)
    assert {("whitebit", channel, 0.0)} == {(event.exchange, event.channel, event.received) for event in events}


@pytest.mark.parametrize("message", [message for _, message in UPDATES] + REPLIES)
def test_both_json_readers(monkeypatch, message):
    """With orjson and with the standard library, a message means the same."""
    expected = decode(compact(message))
    monkeypatch.setattr(dialect, "parse", parse_with_json)
    assert expected == decode(compact(message))


@pytest.mark.parametrize("message", REPLIES)
def test_replies_of_the_documentation(message):
    """A response is the reply to the request of its id, refused if it has an error."""
    error = message["error"]
    reply = decode(compact(message))
    assert (str(message["id"]), error is None, message["result"]) == (reply.key, reply.ok, reply.result)
    assert (error is None) == (reply.error is None)
    assert error is None or (error["code"], error["message"]) == (reply.error.code, reply.error.message)


@pytest.mark.parametrize("message", REQUESTS)
def test_requests_of_the_documentation(message):
    """A command is encoded as the documentation's request, and awaits the reply with its id."""
    outgoing = encode(Command(message["method"], tuple(message["params"])), message["id"])
    assert (message, str(message["id"])) == (json.loads(outgoing.data), outgoing.key)


@pytest.mark.parametrize("message", STATEMENTS, ids=lambda message: compact(message).decode())
def test_statements_of_the_documentation(message):
    """What the documentation says to (un)subscribe is what `changes` says for those topics, markets in some order."""
    channel, _, verb = message["method"].rpartition("_")
    params = message["params"]
    if channel == "candles":
        named = topics("candles", params[0] if params else "BTC_USD", interval=params[1] if params else 900)
    elif channel == "depth":
        named = topics("depth", params[0], **dict(zip(("limit", "interval"), params[1:3])))
    elif channel == "ordersExecuted":
        named = topics(channel, *(params[0] if params else ["BTC_USDT"]), order_filter=params[1] if params else 0)
    elif channel == "deals":
        named = topics(channel, *(params[0] if params else ["*"]))
    elif channel in ACCOUNT_CHANNELS:
        named = topics(channel, *(params or (["BTC_USDT"] if channel == "ordersPending" else [])))
    else:
        named = topics(channel, *(params or ["BTC_USDT" if verb == "unsubscribe" or channel not in dialect.WILDCARDS else "*"]))
    stated, wanted = (frozenset(), frozenset(named)) if verb == "subscribe" else (frozenset(named), frozenset())
    (command,) = changes(stated, wanted)
    if channel == "bookTicker" and params and verb == "unsubscribe":
        params = []  # one market can leave by name, but the last one leaves by the same words as all of them
    said = [sorted(part) if isinstance(part, list) else part for part in params]
    assert (message["method"], sorted(said, key=str)) == (command.method, sorted(command.args, key=str))


NAMES = st.sampled_from(["BTC_USDT", "ETH_BTC", "SOL_USDT"])
TOPICS = (
    st.tuples(st.sampled_from(CHANNELS[1:5]), NAMES).map(lambda words: topics(*words)[0])
    | st.tuples(st.sampled_from(sorted(dialect.WILDCARDS)), st.just("*") | NAMES).map(lambda words: topics(*words)[0])
    | st.tuples(NAMES, st.sampled_from([60, 900])).map(lambda words: topics("candles", words[0], interval=words[1])[0])
    | st.tuples(NAMES, st.sampled_from([5, 100])).map(lambda words: topics("depth", words[0], limit=words[1])[0])
    | st.tuples(NAMES, st.sampled_from([0, 1])).map(lambda words: topics("ordersExecuted", words[0], order_filter=words[1])[0])
    | st.sampled_from(["positionsMargin", "borrowsMargin"]).map(lambda channel: topics(channel)[0])
)


def fitting(candidates):
    """Those of *candidates* that one connection can hold together."""
    held: frozenset[Topic] = frozenset()
    for topic in candidates:
        if fits(held, topic):
            held |= {topic}
    return held


@given(st.lists(TOPICS, max_size=8).map(fitting), st.lists(TOPICS, max_size=8).map(fitting))
def test_changes_lead_to_what_is_wanted(stated, wanted):
    """The commands together lead from stated to wanted, one a channel, and an empty subscribe is said only for all markets."""
    commands = list(changes(stated, wanted))
    reached = stated
    for command in commands:
        reached = reached - command.drops | command.states
        if command.kind == SUBSCRIBE and command.args in ((), ([],)):
            assert None in {topic.symbol for topic in command.states}
    assert wanted == reached
    touched = [{topic.channel for topic in command.states | command.drops} for command in commands]
    assert [1] * len(touched) == [len(channels) for channels in touched]
    assert len(touched) == len(set().union(*touched))


@pytest.mark.parametrize("parse", [dialect.parse, parse_with_json])
@pytest.mark.parametrize("message", [b"", b"{", b"nonsense", b'{"id":1}{"id":2}', b'"\xff"', b"NaN", b'{"id":NaN}'])
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
        {"id": 5},
        {"id": None, "result": None, "error": None},
        {"id": 1.5, "result": "pong"},
        {"id": True, "result": "pong"},
        {"id": [1], "result": "pong"},
        {"method": "trades_update"},
        {"method": 7, "params": []},
        {"id": 1, "method": "ping", "params": []},
    ],
)
def test_what_is_not_understood_is_a_notice(body):
    """JSON of an unknown shape is passed on as it is."""
    assert Notice(body) == decode(compact(body))


@pytest.mark.parametrize(
    "error", ["no", "", [], {}, 7, {"code": [1]}, {"code": None, "message": 7}, {"message": ""}, {"code": True}, {"code": "E1"}]
)
def test_error_of_any_shape_refuses(error):
    """An error is a refusal, whatever it looks like, with words in it."""
    reply = decode(compact({"id": 1, "result": None, "error": error}))
    assert isinstance(reply, Reply)
    assert not reply.ok
    assert "rejected" == reply.error.kind
    assert isinstance(reply.error.message, str) and reply.error.message


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (Decimal, [Decimal("0.1"), Decimal("0.10"), None]),
        (float, [0.1, 0.1, None]),
        (str, ["0.1", "0.10", None]),
    ],
)
def test_numbers(numbers, expected):
    """Numbers are made of the wire's text, of a JSON number's too; null stays None."""
    message = b'{"id":null,"method":"market_update","params":["ETH_BTC",{"last":0.1,"open":"0.10","high":null}]}'
    (event,) = interpret(decode(message), Reading(0.0, numbers, {}))
    assert expected == [event.last, event.open, event.high]
    assert [type(value) for value in expected] == [type(value) for value in (event.last, event.open, event.high)]


@pytest.mark.parametrize("error", [b"%s", b'{"message":%s}'])
def test_deep_refusal(error):
    """A refusal that is nested as deep as can be read is one like others, and ends no connection."""
    deep = b"[" * 1020 + b"]" * 1020
    with contextlib.suppress(ValueError):  # as deep as some readers do not read
        reply = decode(b'{"id":1,"result":null,"error":%s}' % (error % deep))
        assert not reply.ok and reply.error.message


@pytest.mark.parametrize(
    ("channel", "params"),
    [
        ("lastprice", '["ETH_BTC",["1"]]'),
        ("lastprice", '["ETH_BTC",{}]'),
        ("lastprice", '["ETH_BTC",true]'),
        ("lastprice", '[7,"1"]'),
        ("lastprice", '[["ETH_BTC"],"1"]'),
        ("trades", '["ETH_BTC",[{"id":1,"time":"Infinity","price":"1","amount":"1"}]]'),
        ("candles", '[["nan","1","1","1","1","1","1","ETH_BTC"]]'),
        ("premiumIndex", "[[0.1,2]]"),
    ],
)
def test_no_number_no_time_no_market(channel, params):
    """Whatever numbers are wanted as, lists, objects and the like are none; times are finite; markets are text."""
    update = decode(f'{{"id":null,"method":"{channel}_update","params":{params}}}'.encode())
    with pytest.raises(ValueError):
        interpret(update, Reading(0.0, str, {}))


def test_not_a_number():
    """A price that is no number makes the update malformed, rather than a price."""
    with pytest.raises(ValueError, match="lastprice"):
        interpret(decode(b'{"id":null,"method":"lastprice_update","params":["ETH_BTC","about 7"]}'), READING)


def test_candle_intervals():
    """Below a minute its divisors, below an hour minutes that divide it, below a day hours that divide it, five longer ones."""
    taken = []
    for seconds in [*range(-1, 90000), *range(90000, 31 * 86400, 3600)]:
        try:
            taken.append(checked_candle_interval(seconds))
        except UsageError:
            continue
    seconds = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]
    minutes = [60 * minute for minute in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)]
    hours = [3600 * hour for hour in (1, 2, 3, 4, 6, 8, 12)]
    days = [86400 * day for day in (1, 2, 3, 7, 30)]
    assert [*seconds, *minutes, *hours, *days] == taken


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (0, "0"),
        ("0", "0"),
        ("0.0", "0"),
        ("0.01", "0.01"),
        (Decimal("0.10"), "0.1"),
        (1e-08, "0.00000001"),
        ("1E-8", "0.00000001"),
    ],
)
def test_book_intervals(interval, expected):
    """Price steps are sent in the wire's own spelling."""
    assert expected == checked_book_interval(interval)


@pytest.mark.parametrize("interval", ["", "1", "0.2", 1, -0.1, "NaN", "sNaN", "Infinity", None, True, [0]])
def test_book_intervals_refused(interval):
    """A price step that WhiteBIT does not have is refused by name."""
    with pytest.raises(UsageError, match="depth interval"):
        checked_book_interval(interval)


@pytest.mark.parametrize(
    ("words", "params", "name"),
    [
        (("candles", "BTC_USDT"), {"interval": "60"}, "candles BTC_USDT 60"),
        (("depth", "BTC_USDT"), {}, "depth BTC_USDT 100 0"),
        (("depth", "BTC_USDT"), {"limit": "5", "interval": Decimal("0.1")}, "depth BTC_USDT 5 0.1"),
        (("trades", "*"), {}, "trades *"),
        (("ADLQuantile", "BTC_PERP"), {}, "ADLQuantile BTC_PERP"),
    ],
)
def test_topic_names(words, params, name):
    """A topic is called by its vendor's words, all settings told."""
    assert [name] == [topic.name for topic in topics(*words, **params)]


@pytest.mark.parametrize(("alias", "channel"), ALIASES.items())
def test_aliases(alias, channel):
    """Python's spelling of a channel gives the same topics."""
    names = ["BTC_PERP"] if ACCOUNT_CHANNELS.get(channel, "market") else []
    assert topics(channel, *names) == topics(alias, *names)


def test_same_market_twice_is_one_topic():
    """Naming a market twice is naming it."""
    assert topics("trades", "A_B", "C_D") == topics("trades", "A_B", "C_D", "A_B")


@pytest.mark.parametrize(
    ("words", "params", "says"),
    [
        (("klines", "BTC_USDT"), {}, "unknown channel 'klines': WhiteBIT has candles, lastprice"),
        ((None, "BTC_USDT"), {}, "unknown channel None"),
        ((["trades"], "BTC_USDT"), {}, "unknown channel"),
        (("trades", ["BTC_USDT"]), {}, r"market \['BTC_USDT'\]: takes a name"),
        (("trades", ""), {}, "market ''"),
        (("trades", "BTC USDT"), {}, "market 'BTC USDT'"),
        (("trades", 'BTC"USDT'), {}, "market"),
        (("trades", "BTC\\USDT"), {}, "market"),
        (("trades", "BTC\nUSDT"), {}, "market"),
        (("trades", "BTC\u2003USDT"), {}, "market"),
        (("trades", "BTC\ud800"), {}, "market"),
        (("trades", "BTC_USDT"), {"limit": 5}, "trades: no parameter limit; it takes markets only"),
        (("candles", "BTC_USDT"), {"interval": 60, "limit": 5}, "candles: no parameter limit; it takes interval"),
        (("candles", "BTC_USDT"), {"interval": 60.0}, "candles interval 60.0: takes seconds"),
        (("candles", "BTC_USDT"), {"interval": True}, "candles interval True"),
        (("depth", "BTC_USDT"), {"limit": True}, "depth limit True: takes one of 1, 5"),
        (("depth", "BTC_USDT"), {"limit": "many"}, "depth limit 'many'"),
        (("depth", "BTC_USDT", 100), {}, "market 100"),
        (("deals",), {}, "deals: name at least one market, such as"),
        (("ordersPending", "*"), {}, "ordersPending: WhiteBIT has no subscription to all markets"),
        (("balanceSpot", "*", "BTC"), {}, "balanceSpot: .* has every asset already, so name either it or assets"),
        (("balanceSpot",), {"limit": 5}, "balanceSpot: no parameter limit; it takes assets only"),
        (("positionsMargin", "BTC_PERP"), {}, "positionsMargin: takes no markets"),
        (("positionsMargin",), {"limit": 5}, "positionsMargin: no parameter limit; it takes nothing"),
        (("ordersExecuted", "BTC_USDT"), {"order_filter": 3}, "ordersExecuted order_filter 3: takes 0"),
    ],
)
def test_usage_errors(words, params, says):
    """What cannot be subscribed to is refused before anything is sent, with what would be taken."""
    with pytest.raises(UsageError, match=says):
        topics(*words, **params)


def test_ping_comes_before_idleness():
    """The heartbeat leaves time for a ping to arrive before the exchange closes an idle connection."""
    heartbeat = WHITEBIT.heartbeat
    assert heartbeat.interval_s + 5.0 <= heartbeat.idle_limit_s


#: What the examples of the account's channels say, read by hand: the fields beside the common ones.
ACCOUNT_EVENTS = {
    "balanceSpot": [
        ("USDT", None, {"asset": "USDT", "available": Decimal("100.1885"), "locked": Decimal(0)}),
        ("USDT", None, {"asset": "USDT", "available": Decimal("985.50"), "locked": Decimal("14.50")}),
    ],
    "balanceMargin": [
        ("BTC", None, {"asset": "BTC", "available": Decimal("0.0006092"), "locked": None}),
        ("USDT", None, {"asset": "USDT", "available": Decimal("0.00538073"), "locked": None}),
    ],
    "ordersPending": [
        (
            "BTC_USDT",
            1738250982.28914,
            {
                "id": 1212904480922,
                "client_id": None,
                "side": "buy",
                "type": "limit",
                "price": Decimal(90000),
                "size": Decimal(1),
                "filled": Decimal(0),
                "status": "OPEN",
            },
        )
    ]
    * 2,
    "ordersExecuted": [
        (
            "ETH_BTC",
            1738251048.4428461,
            {
                "id": 1212907216814,
                "client_id": None,
                "side": "buy",
                "type": "limit",
                "price": Decimal("0.030832"),
                "size": Decimal(1),
                "filled": Decimal(1),
                "status": "FILLED",
            },
        )
    ]
    * 2,
    "deals": [
        (
            "ETH_BTC",
            1738251095.345432,
            {
                "id": 13674578673,
                "order_id": 1212909726406,
                "price": Decimal("0.03084"),
                "size": Decimal("0.2625"),
                "side": "buy",
                "fee": Decimal("0.0002625"),
                "fee_asset": "ETH",
                "role": "taker",
            },
        )
    ],
    "positionsMargin": [
        (
            "BTC_USDT",
            1704067200.0,
            {
                "size": Decimal("-0.01"),
                "entry_price": Decimal(60000),
                "unrealized_pnl": Decimal("-0.47"),
                "leverage": None,
            },
        )
    ],
    "positionsAccountMargin": [
        (
            "BTC_USDT",
            1737731271.3069341,
            {
                "size": Decimal("-0.094048"),
                "entry_price": Decimal("105688.56"),
                "unrealized_pnl": Decimal("-1157.88"),
                "leverage": None,
            },
        )
    ],
    "borrowsMargin": [(None, None, {})],
    "borrowsAccountMargin": [(None, None, {})],
}
COMMON = {"exchange", "channel", "symbol", "time", "received", "raw", "gap"}


@pytest.mark.parametrize("channel", ACCOUNT_CHANNELS)
def test_account_events_of_the_documentation(channel):
    """Each field of an account event is the documentation's, exact, and the topics are of the account."""
    events = [event for message in EXAMPLES[channel]["updates"] for event in interpret(decode(compact(message)), READING)]
    told = [
        (event.symbol, event.time, {field.name: getattr(event, field.name) for field in attrs.fields(type(event))})
        for event in events
    ]
    assert ACCOUNT_EVENTS[channel] == [
        (symbol, time, {name: value for name, value in fields.items() if name not in COMMON}) for symbol, time, fields in told
    ]


@pytest.mark.parametrize("channel", ACCOUNT_CHANNELS)
def test_account_events_keep_everything(channel):
    """Together, the `raw` of a message's events is all of the message."""
    for message in EXAMPLES[channel]["updates"]:
        raws = [event.raw for event in interpret(decode(compact(message)), READING)]
        params = message["params"]
        parts = params["records"] if channel == "positionsMargin" else params
        whole = channel in ("ordersPending", "deals", "positionsAccountMargin", "borrowsMargin", "borrowsAccountMargin")
        assert ([params] if whole else parts) == raws


def test_no_position_is_news():
    """When the last position is closed, the snapshot without any is passed on."""
    (event,) = interpret(decode(compact({"method": "positionsMargin_update", "params": {"total": 0, "records": []}})), READING)
    assert (Other, {"total": 0, "records": []}) == (type(event), event.raw)


PRIVATE = [channel for channel in EXAMPLES if channel.startswith(("order_", "collateral_order_"))]
PRIVATE += [message["method"] for channel in ACCOUNT_CHANNELS for message in EXAMPLES[channel]["requests"]]
PUBLIC = [message["method"] for channel in ("ping", "time", *CHANNELS) for message in EXAMPLES[channel]["requests"]]


@pytest.mark.parametrize(("method", "private"), [*((m, True) for m in PRIVATE), *((m, False) for m in PUBLIC)])
def test_is_private(method, private):
    """Account channels and trading need a login, nothing else does."""
    assert private == dialect.is_private(method)


@pytest.mark.parametrize("kind", [*dialect.ORDER_TYPES, 99, None])
def test_order_types(kind):
    """Each documented type has a name; another one is shown by its number."""
    update = decode(
        compact({"id": None, "method": "ordersExecuted_update", "params": [{"id": 1, "market": "A_B", "type": kind}]})
    )
    (event,) = interpret(update, READING)
    assert (None if kind is None else dialect.ORDER_TYPES.get(kind, "99")) == event.type
