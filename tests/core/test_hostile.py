"""
Exchanges that mean us harm: what is no JSON, no number, no text or no end, through each dialect and over real sockets.

Each is a `WireError` that ends the link, after which there is another one, or a message that is counted and left out. No thread
dies of it, and who iterates gets events, or one of our errors. What breaks RFC 6455 in a single frame is in
``tests/wire/test_frames.py``.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from core_peers import CLOSE, Exchange, Talk, frame
from wire_peers import LIMIT_S

from exchange_ws import Backoff, WhiteBIT
from exchange_ws.cli.common import to_json
from exchange_ws.clock import SystemClock
from exchange_ws.core.dialect import Dialect, parse, parse_with_json
from exchange_ws.core.messages import Limits, Topic, Update
from exchange_ws.core.session import MALFORMED, Session
from exchange_ws.core.subscription import DROP_OLDEST, LATEST, Subscription
from exchange_ws.errors import RequestRejected, RequestTimeout, UpdateTimeout, WireError
from exchange_ws.events import LastPrice
from exchange_ws.exchanges.bitzoom import dialect as bitzoom
from exchange_ws.exchanges.bybit import spot_v3_dialect as bybit
from exchange_ws.exchanges.bybit import v5_dialect as bybit_v5
from exchange_ws.exchanges.whitebit import dialect as whitebit
from exchange_ws.sandbox import Sandbox

TESTS = Path(__file__).parents[1]
PARSERS = list(dict.fromkeys([parse, parse_with_json]))  # one without orjson
#: What stands on the wire in the place of a value.
HOSTILE = [
    b"null", b"true", b"0", b"-1", b'""', b'"x"', b'"NaN"', b"[]", b"{}", b"[[]]", b"[null]", b'{"a":null}', b"1e999", b"1e308",
    b"-1e-999999999", b"9" * 400, b"9" * 5000, b"NaN", b"-Infinity", rb'"\ud800"', rb'"\u0000"', b'"1e999999999"',
    b'"' + b"9" * 5000 + b'"', b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900, b"[" * 1020 + b"]" * 1020, b"",
]  # fmt: skip
SHARE = 8  # of these, each place of a message has every eighth
SOON = Backoff(0.01, 0.02)


# JSON ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "message",
    [
        b"", b" ", b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1e999", b"-1e999",
        b'{"a":1e400}',
        b"9" * 5000, b"-" + b"9" * 10_000, b"NaN", b"[Infinity]", b"[-Infinity]", rb'"\ud800"', rb'{"\udc00":1}',
        rb'["\\\ud800"]', rb'"\ud800\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'{"a":"\xc3"}', b'"\n"', b"\xef\xbb\xbf{}",
        b"{} {}",
        b"01", b".5", b"1.", b"'a'", b"{a:1}", b"[1,]",
    ],
)  # fmt: skip
def test_no_json(parse, message):
    """What is no JSON, or none that can be kept, is a ValueError of whichever parser reads it."""
    with pytest.raises(ValueError):
        parse(message)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("message", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),  # a key that occurs twice: the last one, as most parsers do
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\\ud800"', r"\ud800"),
        (b"1e-999999999", 0.0),
        (b"-0", 0),
        (b"[" * 100 + b"]" * 100, json.loads("[" * 100 + "]" * 100)),
    ],
)
def test_odd_json(parse, message, value):
    """What is JSON, however odd, is read as others read it."""
    assert value == parse(message)


# Dialects --------------------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in *value*, itself included; of a list the first two and the last."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for at in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from places(value[at], (*path, at))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """*value* with another one at *path*."""
    if not path:
        return by
    inner = replaced(value[path[0]], path[1:], by)
    if isinstance(value, dict):
        return {**value, path[0]: inner}
    return [*value[: path[0]], inner, *value[path[0] + 1 :]]


def spoiled(messages: list[Any]) -> Iterator[bytes]:
    """*messages* with something hostile in each place: some of all there is, and all of it over a few places."""
    number = 0
    for message in messages:
        for path in places(message):
            text = json.dumps(replaced(message, path, "the place"), separators=(",", ":")).encode()
            for hostile in HOSTILE[number % SHARE :: SHARE]:
                yield text.replace(b'"the place"', hostile)
            number += 1


def whitebit_topics() -> list[Topic]:
    wild = [label for label in whitebit.WILDCARDS if label not in whitebit.ACCOUNT_CHANNELS]
    named = [label for label in whitebit.CHANNELS if label not in wild]
    params: dict[str, Any] = {"candles": {"interval": 60}}
    account = whitebit.ACCOUNT_CHANNELS
    return [
        *(topic for label in wild for topic in whitebit.topics(label, "*")),
        *(topic for label in named for topic in whitebit.topics(label, "ETH_BTC", **params.get(label, {}))),
        *(topic for label, what in account.items() for topic in whitebit.topics(label, *["BTC_USDT"] * bool(what))),
    ]


def bitzoom_topics() -> list[Topic]:
    given = {"symbol": "BTCUSDT", "limit": 20, "interval": "1m"}
    return [
        bitzoom.topic(channel, {name: value for name, value in given.items() if name in params})
        for channel, params in bitzoom.CHANNELS.items()
    ]


#: Examples, dialect, its module, and topics of all its channels.
LANGUAGES: dict[str, tuple[str, Dialect, Any, list[Topic]]] = {
    "whitebit": ("whitebit/examples", whitebit.WHITEBIT, whitebit, whitebit_topics()),
    "bybit-spot-v3": (
        "bybit/spot_v3_examples",
        bybit.PUBLIC,
        bybit,
        list(bybit.topics("trade.BTCUSDT", "orderbook.40.BTCUSDT", "kline.1m.BTCUSDT", "order", "ticketInfo")),
    ),
    "bybit-v5": (
        "bybit/v5_examples",
        bybit_v5.PUBLIC["linear"],
        bybit_v5,
        list(
            bybit_v5.topics(
                "linear", "publicTrade.BTCUSDT", "orderbook.50.BTCUSDT", "tickers.BTCUSDT", "kline.5.BTCUSDT", "insurance.USDT"
            )
        ),
    ),
    "bitzoom": ("bitzoom/examples", bitzoom.PUBLIC, bitzoom, bitzoom_topics()),
}


def examples(name: str) -> list[Any]:
    """Everything that the exchange says in its documentation's examples, each kind of message once or twice."""
    path = TESTS / "exchanges" / f"{LANGUAGES[name][0]}.json"
    kinds = ("responses", "updates", "errors")
    channels = json.loads(path.read_text("utf-8")).values()
    found = [example for channel in channels for kind in kinds for example in channel.get(kind, ())[:2]]
    return [example.get("message", example) if isinstance(example, dict) else example for example in found]


class Source:
    """A connection, as a subscription knows it."""

    def __init__(self) -> None:
        self.aliases: dict[bytes, tuple[Topic, ...]] = {}


class Reader:
    """A session that is open, and subscriptions to everything, which are iterated."""

    def __init__(self, dialect: Dialect, topics: list[Topic]) -> None:
        self.dialect = dialect
        self.topics = topics
        self.now = 0.0
        self.session = Session(
            dialect,
            "hostile",
            limits=Limits(),
            ping_interval=50.0,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=SOON,
        )
        self.session.dialled(0.0, None)
        for topic in topics:
            self.session.want("sink", frozenset({topic}), 0.0, 1e9)
        self.source = Source()
        self.subscriptions = [
            Subscription(
                "hostile",
                [topic for topic in topics if topic.standalone or overflow != LATEST],
                dialect,
                clock=SystemClock(),
                queue_size=1000,
                overflow=overflow,
                gaps=False,
                raw=raw,
                numbers=Decimal,
                block_limit=LIMIT_S,
                leave=lambda subscription, topics, timeout: None,
                forget=lambda subscription: None,
            )
            for overflow, raw in ((DROP_OLDEST, False), (LATEST, True))
        ]

    def read(self, message: bytes) -> None:
        """What the exchange says, to the session, and to the subscriptions as if it had been routed to them."""
        self.now += MALFORMED.window_s
        self.session.take_outbox(self.now)
        self.session.receive(message, self.now)
        self.session.doom = None  # of what a real driver would end; here the next message is the next case
        self.session.take_decisions()
        if self.dialect.aliases:
            self.source.aliases = dict(self.aliases(message))
        for subscription in self.subscriptions:
            subscription.put(self.source, [message], 1)
            _ = subscription.latest
            try:
                while True:
                    subscription.get_nowait()
            except UpdateTimeout:
                pass

    def aliases(self, message: bytes) -> Iterator[tuple[bytes, tuple[Topic, ...]]]:
        """That the id of this message stands for our topic of its channel."""
        try:
            update = self.dialect.decode(message)
        except (ValueError, RecursionError):
            return
        if isinstance(update, Update):
            yield update.keys[0], tuple(topic for topic in self.topics if topic.label == update.label)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_no_message_raises(name, parser, monkeypatch, caplog):
    """Whatever stands in the place of anything that the exchange says, no reader and no loop ends of it."""
    caplog.set_level("CRITICAL")
    _, dialect, module, topics = LANGUAGES[name]
    monkeypatch.setattr(module, "parse", parser)
    monkeypatch.setattr("exchange_ws.core.subscription.parse", parser)
    reader = Reader(dialect, topics)
    for message in spoiled(examples(name)):
        reader.read(message)
    counters = reader.session.counters
    good, raw = (subscription.stats() for subscription in reader.subscriptions)
    assert (True, True, True) == (counters["malformed"] > 100, good["malformed"] > 100, raw["malformed"] > 100)
    assert not any(subscription.closed for subscription in reader.subscriptions)


def test_deep_echo(monkeypatch):
    """A confirmation that repeats parameters nested as deeply as JSON may be is compared with another topic's all the same."""
    orjson = pytest.importorskip("orjson", reason="the standard library refuses to read what is nested so deeply")
    monkeypatch.setattr(bitzoom, "parse", orjson.loads)
    reader = Reader(bitzoom.PUBLIC, [])
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        reader.session.want("sink", frozenset({bitzoom.topic(bitzoom.TICKER, {"symbol": symbol})}), 0.0, 1e9)
        reader.session.take_outbox(0.0)
        echo = b"[" * 1000 + b"]" * 1000
        head = b'{"channel":"/api/v1/ticker","event":"sub","data":{"id' + str(number).encode()
        reader.session.receive(head + b'":{"symbol":' + echo + b"}}}", 0.0)
    assert ["id0", "id1"] == [key.decode().rpartition('"')[2] for key in reader.session.aliases]


def test_enormous_number_is_shown():
    """A number of a billion digits is a Decimal, and a line of JSON that says so in a few characters."""
    event = LastPrice("x", "x", "A", None, 0.0, None, None, Decimal("1e999999999"))
    assert "1E+999999999" == json.loads(to_json(event))["price"]


# Over sockets ----------------------------------------------------------------------------------------------------------------


def update(price: str) -> bytes:
    """WhiteBIT's last price of BTC_USDT."""
    return b'{"id":null,"method":"lastprice_update","params":["BTC_USDT","' + price.encode() + b'"]}'


def subscribed(talk: Talk) -> None:
    """WhiteBIT's side of one subscribe."""
    talk.say({"id": talk.ask()["id"], "result": {"status": "success"}, "error": None})


def until_closed(talk: Talk) -> bytes:
    """What the client's close frame says."""
    opcode, payload = talk.read_frame()
    while opcode != CLOSE:
        opcode, payload = talk.read_frame()
    return payload


def going_on(talk: Talk, exchange: Exchange) -> None:
    """A link on which the price is 2."""
    subscribed(talk)
    talk.say(update("2"))
    until_closed(talk)


LIMIT = 4096  #: max_message_size of these tests
HEAD = b"\x01\x01x"  # the first fragment of a text

ATTACKS = {
    "a message of 2**62 bytes": (b"\x81\x7f" + (2**62).to_bytes(8, "big"), 1009),
    "a message of one byte too many": (b"\x81\x7e" + (LIMIT + 1).to_bytes(2, "big"), 1009),
    "fragments that are too long together": (HEAD + b"\x00\x7e\x0f\xff" + b"x" * 4095 + b"\x80\x01x", 1009),
    "fragments of a byte without end": (HEAD + b"\x00\x01x" * 2 * LIMIT, 1009),
    "text that is not UTF-8": (frame(b'{"id":1,"x":"\xff"}'), 1007),
    "text that is not UTF-8 in its middle, of which the end never comes": (b"\x81\x7e\x0f\x00" + b"x" * 10 + b"\xc3(", 1007),
    "half a character at the end of a text": (b"\x01\x01\xe2\x80\x01\x82", 1007),
    "a surrogate": (frame(b'"\xed\xa0\x80"'), 1007),
    "a compressed frame": (b"\xc1\x00", 1002),
    "a ping of 126 bytes": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    "a close frame of one byte": (b"\x88\x01\x03", 1002),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_on_the_wire(attack):
    """The link ends with the close code for it; another one takes its place, and the next event has the gap."""
    data, code = ATTACKS[attack]

    def script(talk: Talk, exchange: Exchange) -> None:
        subscribed(talk)
        talk.say(update("1"))
        talk.connection.send(data)
        exchange.told.put(int.from_bytes(until_closed(talk)[:2], "big"))

    with Exchange(script, going_on) as peer, WhiteBIT(peer.address, reconnect=SOON, max_message_size=LIMIT) as ws:
        prices = ws.subscribe_lastprice("BTC_USDT", timeout=LIMIT_S)
        first, second = prices.get(LIMIT_S), prices.get(LIMIT_S)
        told = peer.hear()
        assert (code, Decimal(1), Decimal(2)) == (told, first.price, second.price)
        assert (None, "reconnect") == (first.gap, second.gap.reason)


@pytest.mark.parametrize("attack", ["a message of 2**62 bytes", "text that is not UTF-8"])
def test_attack_without_reconnect(attack):
    """Who did not want another link gets the `WireError` in the loop, after what came before it."""
    data, code = ATTACKS[attack]

    def script(talk: Talk, exchange: Exchange) -> None:
        subscribed(talk)
        talk.connection.send(frame(update("1")) + data)
        until_closed(talk)

    with Exchange(script) as peer, WhiteBIT(peer.address, reconnect=False, max_message_size=LIMIT) as ws:
        prices = ws.subscribe_lastprice("BTC_USDT", timeout=LIMIT_S)
        read: list[Any] = []
        with pytest.raises(WireError) as caught:
            read.extend(event.price for event in prices)
        assert ([Decimal(1)], code) == (read, caught.value.close_code)


def test_size_is_refused_before_memory_is_taken():
    """A header that promises fifteen megabytes takes no memory; nor does one that promises more than is allowed."""
    links = [b"\x81\x7f" + (15 * 2**20).to_bytes(8, "big"), b"\x81\x7f" + (2**40).to_bytes(8, "big")]

    def script(talk: Talk, exchange: Exchange) -> None:
        subscribed(talk)
        talk.say(update(str(exchange.dials)))
        talk.connection.send(links[exchange.dials - 1])
        exchange.told.put("sent")
        if exchange.dials == 1:
            exchange.hear()  # the test has looked
            return
        until_closed(talk)

    tracemalloc.start()
    try:
        with Exchange(script, script, going_on) as peer, WhiteBIT(peer.address, reconnect=SOON) as ws:
            prices = ws.subscribe_lastprice("BTC_USDT", timeout=LIMIT_S)
            prices.get(LIMIT_S)
            assert "sent" == peer.hear()
            ws_bytes = tracemalloc.get_traced_memory()[0]
            peer.told.put("looked")
            prices.get(LIMIT_S)
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ws_bytes + 2**21


def test_fragments_and_duplicate_keys():
    """What is odd but allowed is delivered: ten thousand empty fragments, a byte each, a key twice; binary is left out."""
    text = b'{"id":null,"method":"lastprice_update","params":["BTC_USDT","8"],"params":["BTC_USDT","1"]}'

    def script(talk: Talk, exchange: Exchange) -> None:
        subscribed(talk)
        parts = b"".join(b"\x00\x01" + bytes([byte]) for byte in text)
        talk.connection.send(b"\x01\x00" + b"\x00\x00" * 10_000 + parts + b"\x80\x00" + b"\x82\x02\xff\xfe" + frame(b""))
        talk.say(update("2"))
        until_closed(talk)

    with Exchange(script) as peer, WhiteBIT(peer.address) as ws:
        prices = ws.subscribe_lastprice("BTC_USDT", timeout=LIMIT_S)
        events = [prices.get(LIMIT_S), prices.get(LIMIT_S)]
        assert [Decimal(1), Decimal(2)] == [event.price for event in events]
        assert (2, 0) == (ws.stats()["malformed"], ws.stats()["reconnects"])


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_hostile_messages_of_a_sandbox(name):
    """Between them the stream goes on, on the same connection; and the client answers."""
    facts = json.loads((TESTS / "contract" / "facts" / f"{name}.json").read_text("utf-8"))
    words, params = facts["topic"]
    texts = [hostile.decode() for hostile in HOSTILE if hostile]
    with Sandbox(name, seed=7, tick=None, limits=False) as box, box.client(reconnect=SOON) as ws:
        stream = ws.subscribe(*words, **params)
        for text in texts:
            box.push(text)
        box.step(40)
        event = stream.get(LIMIT_S)
        ws.request(*facts["query"])
        stats = ws.stats()
        assert facts["event"] == type(event).__name__
        assert (len(texts), 0, "open") == (stats["malformed"] + stats["unknown"], stats["reconnects"], ws.state)


def test_flood_of_unreadable_messages(caplog):
    """
    More than so many in a minute, and the exchange speaks another language: the link ends, and nothing behind them is read, or
    a single read of them would keep the reader and the log busy for minutes.
    """

    def script(talk: Talk, exchange: Exchange) -> None:
        subscribed(talk)
        talk.connection.send((frame(b"{") * 1000 + frame(update("1"))) * 10)
        until_closed(talk)

    with Exchange(script, going_on) as peer, WhiteBIT(peer.address, reconnect=SOON) as ws:
        prices = ws.subscribe_lastprice("BTC_USDT", timeout=LIMIT_S)
        event = prices.get(LIMIT_S)
        assert (Decimal(2), True) == (event.price, any(gap.reason == "reconnect" for gap in prices.gaps))
        assert (MALFORMED.count + 1, 1) == (ws.stats()["malformed"], ws.stats()["reconnects"])


def test_reader_outlives_a_refusal_without_words():
    """A refusal with an error nested too deeply to be written is counted; its request times out, the next is answered."""
    deep = "[" * 1000 + "]" * 1000

    def script(talk: Talk, exchange: Exchange) -> None:
        request = talk.ask()
        talk.say(b'{"id":%d,"result":null,"error":%s}' % (request["id"], deep.encode()))
        talk.say({"id": talk.ask()["id"], "result": 7, "error": None})
        until_closed(talk)

    with Exchange(script) as peer, WhiteBIT(peer.address) as ws:
        with pytest.raises((RequestTimeout, RequestRejected)):  # some versions of Python write it all the same
            ws.request("first", timeout=0.2)
        assert (7, 0) == (ws.request("second", timeout=LIMIT_S), ws.stats()["reconnects"])
