"""The short way from a message to its events, which is that of most market data."""

from __future__ import annotations

import pytest
from fuzz_targets import check_short_way, client, dialects, documented

from exchange_ws.bench.cases import CASES
from exchange_ws.core.decoding import UNREADABLE
from exchange_ws.core.dialect import parse
from exchange_ws.core.messages import Topic, Update

#: The topics that have one, by exchange, as `Client.subscribe` takes them.
TOPICS = {
    "whitebit": [(("trades", "ETH_BTC"), {}), (("lastprice", "BTC_USDT"), {}), (("depth", "BTC_USDT"), {})],
    "bybit-spot-v3": [(("trade.BTCUSDT",), {}), (("orderbook.40.BTCUSDT",), {})],
    "bybit-v5": [(("publicTrade.BTCUSDT",), {}), (("orderbook.50.BTCUSDT",), {})],
    "bitzoom": [(("/api/v1/ticker",), {"symbol": "BTCUSDT"}), (("/api/v1/ticker/price",), {"symbol": "BTCUSDT"})],
}


def topic_of(exchange: str, words: tuple[str, ...], params: dict[str, str]) -> Topic:
    (topic,) = client(exchange)._topics_of(words, params)
    return topic


def dialect_of(exchange):
    return next(one for one in dialects(exchange) if one.direct is not None)


@pytest.mark.parametrize("case", [name for name in CASES if "deep" not in name])
def test_taken(case):
    """What comes often may take it, and has the same events as the long way."""
    one = CASES[case]
    dialect, topic = dialect_of(one.exchange), topic_of(one.exchange, one.topic, one.params)
    parts = [part for frame in one.pushes(10) for part in (dialect.split([frame]) if dialect.split else [frame])]
    assert [True] * 10 * one.objects == [check_short_way(dialect, part, parse, topic) for part in parts]


@pytest.mark.parametrize(("exchange", "words", "params"), [(name, *topic) for name, some in TOPICS.items() for topic in some])
def test_documented(exchange, words, params):
    """The vendor's own examples of these channels, whichever market they are of, have the same events on both ways."""
    dialect, topic = dialect_of(exchange), topic_of(exchange, words, params)
    found = []
    for message in documented(exchange):
        for part in dialect.split([message]) if dialect.split else [message]:
            try:
                update = dialect.decode(part)
            except UNREADABLE:
                continue
            if isinstance(update, Update) and update.label == topic.label:
                found.append(check_short_way(dialect, part, parse, topic))
    assert found


@pytest.mark.parametrize(
    ("exchange", "words", "message"),
    [
        ("whitebit", ("trades", "ETH_BTC"), b'{"method":"trades_update","params":[7,[]],"id":null}'),
        ("whitebit", ("lastprice", "BTC_USDT"), b'{"method":"lastprice_update","params":["BTC_USDT","a lot"],"id":null}'),
        ("bybit-v5", ("publicTrade.BTCUSDT",), b'{"topic":"kline.1.BTCUSDT","ts":1,"type":"snapshot","data":[]}'),
        (
            "bybit-v5",
            ("orderbook.50.BTCUSDT",),
            b'{"topic":"orderbook.50.BTCUSDT","type":"whole","data":{"s":"B","b":[],"a":[],"u":1}}',
        ),
        ("bybit-spot-v3", ("trade.BTCUSDT",), b'{"topic":"trade.BTCUSDT","ts":1,"type":"snapshot","data":[{"p":"1","q":"1"}]}'),
        ("bitzoom", ("/api/v1/ticker",), b'{"channel":"/api/v1/ticker","event":"7","data":[{"symbol":"A","price":"1"}]}'),
    ],
)
def test_not_taken(exchange, words, message):
    """What is not as usual, or cannot be read, is left to the long way."""
    params = {"symbol": "BTCUSDT"} if exchange == "bitzoom" else {}
    assert not check_short_way(dialect_of(exchange), message, parse, topic_of(exchange, words, params))
