"""
WhiteBIT's wire language: JSON-RPC, where a repeated subscribe replaces the former one of its channel.

Facts are from docs.whitebit.com (its WebSocket pages, read 2026-11; the page in brackets) unless said to be observed with other
clients, or unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from operator import itemgetter
from typing import Any, Callable

from exchange_ws.core.dialect import Dialect, Reading, dump, parse
from exchange_ws.core.messages import (
    PING,
    REJECTED,
    SUBSCRIBE,
    TOO_MANY,
    TRANSIENT,
    UNAUTHORIZED,
    UNSUBSCRIBE,
    Command,
    Heartbeat,
    Limits,
    Message,
    Notice,
    Outgoing,
    Pace,
    Refusal,
    Reply,
    Topic,
    Update,
)
from exchange_ws.errors import UsageError
from exchange_ws.events import BookTicker, BookUpdate, Candle, Event, LastPrice, Number, Numbers, Other, Ticker, Trade

__all__ = [
    "ALIASES",
    "CHANNELS",
    "HEARTBEAT",
    "LIMITS",
    "WHITEBIT",
    "changes",
    "checked_book_interval",
    "checked_book_limit",
    "checked_candle_interval",
    "checked_market",
    "decode",
    "encode",
    "fits",
    "interpret",
    "route",
    "topics",
]

NAME = "whitebit"

#: The public channels, by the vendor's names.
CHANNELS = (
    "candles",
    "lastprice",
    "market",
    "marketToday",
    "trades",
    "depth",
    "bookTicker",
    "premiumIndex",
    "ADLQuantile",
)
#: Their names in Python's spelling, where it differs.
ALIASES = {
    "market_today": "marketToday",
    "book_ticker": "bookTicker",
    "premium_index": "premiumIndex",
    "adl_quantile": "ADLQuantile",
}
#: Channels that can be had for all markets together, and the key under which such a topic is wanted.
WILDCARDS = {label: f"{label}_update*".encode() for label in ("trades", "bookTicker", "premiumIndex", "ADLQuantile")}

#: Where an update's params name its market.
MARKET_AT = {"lastprice": 0, "market": 0, "marketToday": 0, "trades": 0, "depth": 2}
#: Where each row names its market, in channels whose params are rows.
ROW_MARKET_AT = {"bookTicker": 2, "premiumIndex": 0, "ADLQuantile": 0}

#: By the method of an update: its label, where its params name the market (None: not at one place), its key of all markets.
UPDATES = {f"{label}_update": (label, MARKET_AT.get(label), WILDCARDS.get(label)) for label in CHANNELS}

#: Candle intervals of a day and more, seconds [Kline].
LONG_CANDLES = (86400, 172800, 259200, 604800, 2592000)
BOOK_LIMITS = (1, 5, 10, 20, 30, 50, 100)
BOOK_INTERVALS = ("0", "0.00000001", "0.0000001", "0.000001", "0.00001", "0.0001", "0.001", "0.01", "0.1")

#: What kind of no an error code is [WebSocket overview, error codes]; 6 and 7 are on the newer page only.
REFUSALS = {
    1: REJECTED,  # invalid argument
    2: TRANSIENT,  # internal error
    3: TRANSIENT,  # service unavailable
    4: REJECTED,  # method not found
    5: TRANSIENT,  # service timeout
    6: UNAUTHORIZED,  # require authentication
    7: TOO_MANY,  # too many requests
}

#: Not documented, hence None: the number of connections. Stated not to exist: a limit of subscriptions on a connection.
LIMITS = Limits(
    requests=Pace(200, 60.0, 'docs.whitebit.com, "WebSocket Rate Limits", read 2026-11'),
    dials=Pace(1000, 60.0, 'docs.whitebit.com, "WebSocket Rate Limits", read 2026-11'),
    source='docs.whitebit.com, "WebSocket Rate Limits", subscription limits, read 2026-11',
)

HEARTBEAT = Heartbeat(
    interval_s=50.0,
    command=Command("ping", kind=PING, replay=True),
    idle_limit_s=60.0,
    source='docs.whitebit.com, "WebSocket Rate Limits", best practices, read 2026-11',
)

# The key of an update is what its wire has from the method to the market, `trades_update","params":["BTC_USDT`, wherever the
# `id` stands. The alternatives: the market comes first; it comes last; one row (any second "[" would begin another); no market.
_HEAD = re.compile(
    rb'\{(?:"id":null,)?"method":"(?:'
    rb'((?:trades|lastprice|market(?:Today)?|premiumIndex|ADLQuantile)_update","params":\["[^"\\]*)"'
    rb'|(depth_update","params":\[)(?:true|false),\{'
    rb'|(bookTicker_update","params":\[)\[[^"\[{,]*,[^"\[{,]*,("[^"\\]*)"[^\[]*\Z'
    rb'|(candles_update)","params":)'
).match
# The end of a book's update, behind the brace that closes the book.
_BOOK_TAIL = re.compile(rb'([^"\\]*)"\](?:,"id":null)?\}').fullmatch


# hot path: 250 ns a trade, 560 ns a book of 4 levels, 620 ns one of 200, 500 ns a bookTicker row, 100 ns to give up on a reply
# (CPython 3.11 on a shared 2-core machine; `python -m timeit` of `route(m)` on the documentation's examples without spaces).
def route(message: bytes) -> bytes | None:
    """
    Key of an update, found without parsing; None leaves it to `decode`.

    Both orders of the keys that occur are known here, `id` first and `id` last (both observed); any space, escape or second
    row makes it give up. Candles are one series for each connection, so their key is the channel alone.
    """
    head = _HEAD(message)
    if head is None:
        return None
    if head.lastindex == 2:
        tail = _BOOK_TAIL(message, message.rfind(b'},"') + 3)
        return None if tail is None else head[2] + b'"' + tail[1]
    if head.lastindex == 4:
        return head[3] + head[4]
    return head[head.lastindex or 0]


def decode(message: bytes) -> Message:
    """
    One wire message to an `Update`, a `Reply` or a `Notice`.

    ``{"id": null, "method": "<channel>_update", "params": ...}`` is an update, also of channels that are not known here;
    ``{"id": ours, "result": ..., "error": null or {"code", "message"}}`` is a reply [WebSocket overview, message format].

    Raises
    ------
    ValueError
        The message is not JSON.
    """
    body = parse(message)
    if not isinstance(body, dict):
        return Notice(body)
    method = body.get("method")
    if isinstance(method, str) and method.endswith("_update") and "params" in body:
        return _update(method, body["params"])
    serial = body.get("id")
    refusal = _refusal(body.get("error"))
    if ("result" in body or "error" in body) and type(serial) in (int, str):
        return Reply(str(serial), refusal is None, body.get("result"), refusal)
    return Notice(body, None if refusal is None else refusal.message)  # an error, but of no request in particular


def _update(method: str, params: Any) -> Update:
    label, at, wildcard = UPDATES.get(method) or (method[: -len("_update")], None, None)
    keys: tuple[bytes, ...] = ()
    if isinstance(params, list):
        if at is not None:
            if len(params) > at and isinstance(params[at], str):
                keys = (_key(label, params[at]),)
        elif label in ROW_MARKET_AT:
            at = ROW_MARKET_AT[label]
            markets = dict.fromkeys(row[at] for row in _rows(params) if len(row) > at and isinstance(row[at], str))
            keys = tuple(_key(label, market) for market in markets)
    return Update(keys or (method.encode(),), label, params, wildcard)


def _rows(params: list[Any]) -> list[list[Any]]:
    """Rows of an update; one alone may come without the outer list, as premiumIndex has in one of the vendor's examples."""
    if params and not isinstance(params[0], list):
        return [params]
    return [row for row in params if isinstance(row, list)]


def _key(label: str, market: str) -> bytes:
    return f'{label}_update","params":["{market}'.encode()


def _refusal(error: Any) -> Refusal | None:
    """The exchange's no; None for its yes. An error of a shape that is not documented is a no in its own words."""
    if error is None:
        return None
    if not isinstance(error, dict):
        return Refusal(None, str(error))
    code, message = error.get("code"), error.get("message")
    kind = REFUSALS.get(code, REJECTED) if type(code) is int else REJECTED
    text = message if isinstance(message, str) else str(error)
    return Refusal(code if type(code) in (int, str) else None, text, kind)


def encode(command: Command, serial: int) -> Outgoing:
    """``{"id": serial, "method": ..., "params": [...]}``; its reply carries that id [WebSocket overview, message format]."""
    return Outgoing(dump({"id": serial, "method": command.method, "params": list(command.args)}), str(serial))


def topics(channel: str, /, *markets: str, **params: Any) -> tuple[Topic, ...]:
    """
    The topics of *channel*, one for each market; ``"*"`` is all markets, where the exchange has that.

    Parameters
    ----------
    channel
        The vendor's name, or the same in Python's spelling ("book_ticker").
    markets
        As the vendor spells them: "BTC_USDT", "BTC_PERP".
    params
        candles: *interval* (seconds). depth: *limit* (levels a side, 100 if not told) and *interval* (price step, "0" if not
        told: none). Text is taken too, as a command line gives it.

    Raises
    ------
    UsageError
        Something is unknown, missing or impossible.
    """
    label = ALIASES.get(channel, channel) if isinstance(channel, str) else channel
    if label not in CHANNELS:
        raise UsageError(f"unknown channel {channel!r}: WhiteBIT has {', '.join(CHANNELS)}")
    settings = _settings(label, params)
    if not markets:
        every = ' or "*" for all of them' if label in WILDCARDS else ""
        raise UsageError(f'{label}: name at least one market, such as "BTC_USDT",{every}'.rstrip(","))
    names = tuple(dict.fromkeys([name if name == "*" else checked_market(name) for name in markets]))
    if "*" in names:
        if label not in WILDCARDS:
            raise UsageError(f'{label}: WhiteBIT has no subscription to all markets of it, so name them instead of "*"')
        if len(names) > 1:
            raise UsageError(f'{label}: "*" has every market already, so name either it or markets')
    return tuple(_topic(label, name, settings) for name in names)


def _topic(label: str, market: str, settings: tuple[Any, ...]) -> Topic:
    whole = market == "*"
    return Topic(
        key=WILDCARDS[label] if whole else b"candles_update" if label == "candles" else _key(label, market),
        # Of depth, each market is stated by itself.
        channel=f"depth {market}" if label == "depth" else label,
        name=" ".join([label, market, *map(str, settings)]),
        args=() if whole else (market, *settings),
        symbol=None if whole else market,
        label=label,
        wildcard=WILDCARDS.get(label),
        standalone=label != "depth",
        opens_with_snapshot=label in ("trades", "depth"),
        repeatable=label in ("trades", "depth"),
        replays=label == "trades",
    )


def _settings(label: str, params: dict[str, Any]) -> tuple[Any, ...]:
    """What stands behind the market in a subscribe; UsageError for what the channel does not take."""
    takes = {"candles": ("interval",), "depth": ("limit", "interval")}.get(label, ())
    unknown = [name for name in params if name not in takes]
    if unknown:
        raise UsageError(f"{label}: no parameter {', '.join(unknown)}; it takes {' and '.join(takes) or 'markets only'}")
    if label == "candles":
        if "interval" not in params:
            raise UsageError("candles: needs an interval in seconds, such as interval=60")
        return (checked_candle_interval(params["interval"]),)
    if label == "depth":
        return checked_book_limit(params.get("limit", 100)), checked_book_interval(params.get("interval", "0"))
    return ()


def checked_market(market: Any) -> str:
    """*market* if it can be the name of one; UsageError if not."""
    if not isinstance(market, str) or not market or not market.isprintable() or any(char in " \"'\\" for char in market):
        raise UsageError(f'market {market!r}: takes a name such as "BTC_USDT", without spaces and quotes')
    return market


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if type(value) is int else None


def checked_candle_interval(interval: Any) -> int:
    """
    Seconds of a candle; UsageError for what WhiteBIT does not have [Kline].

    Below 60 a divisor of 60; below 3600 a multiple of 60 that divides 3600; below 86400 a multiple of 3600 that divides 86400;
    or one of 86400, 172800, 259200, 604800 and 2592000.
    """
    seconds = _integer(interval)
    if seconds is not None and seconds > 0:
        if seconds in LONG_CANDLES:
            return seconds
        for unit, whole in ((1, 60), (60, 3600), (3600, 86400)):
            if seconds < whole and seconds % unit == 0 and whole % seconds == 0:
                return seconds
    raise UsageError(
        f"candles interval {interval!r}: takes seconds: a divisor of 60; or a multiple of 60 that divides 3600;"
        f" or a multiple of 3600 that divides 86400; or {', '.join(map(str, LONG_CANDLES))}"
    )


def checked_book_limit(limit: Any) -> int:
    """Levels on each side of a book subscription; UsageError for what WhiteBIT does not have [Order Book Depth]."""
    levels = _integer(limit)
    if levels not in BOOK_LIMITS or levels is None:
        raise UsageError(f"depth limit {limit!r}: takes one of {', '.join(map(str, BOOK_LIMITS))}")
    return levels


def checked_book_interval(interval: Any) -> str:
    """Price step of a book, as the wire spells it; UsageError for what WhiteBIT does not have [Order Book Depth]."""
    try:
        step = Decimal(str(interval))
        for spelling in BOOK_INTERVALS:
            if step == Decimal(spelling):
                return spelling
    except ArithmeticError:
        pass
    raise UsageError(f"depth interval {interval!r}: takes one of {', '.join(BOOK_INTERVALS)}")


def changes(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """
    One command for each channel that differs: the whole of it anew, or the unsubscribe when nothing of it is left.

    A new subscribe replaces the channel's former one on its connection [WebSocket Rate Limits, subscription limits], hence the
    union each time. Depth is kept apart by market: its last parameter, true, adds to the markets subscribed; the same market
    with other settings replaces its former ones [Order Book Depth]. An empty list subscribes to *all* markets, so it is said
    only when that is meant. Several markets of bookTicker in one subscribe were observed; the documentation shows one or all.
    """
    for channel in sorted({topic.channel for topic in stated ^ wanted}):
        before = frozenset(topic for topic in stated if topic.channel == channel)
        after = frozenset(topic for topic in wanted if topic.channel == channel)
        label = next(iter(before | after)).label
        if after:
            args = _statement(label, after)
            drops = before - after
            yield Command(f"{label}_subscribe", args, SUBSCRIBE, replay=True, states=after, drops=drops, replaces=True)
        else:
            market = {topic.symbol for topic in before} if label == "depth" else ()
            yield Command(f"{label}_unsubscribe", tuple(market), UNSUBSCRIBE, replay=True, drops=before)


def _statement(label: str, wanted: frozenset[Topic]) -> tuple[Any, ...]:
    """Parameters of the one subscribe that has all of *wanted*, which are topics of one channel."""
    if label in ("candles", "depth"):
        (topic,) = wanted  # `fits` keeps a second one away
        return topic.args if label == "candles" else (*topic.args, True)
    if any(topic.symbol is None for topic in wanted):
        return ()
    return tuple(sorted(topic.args[0] for topic in wanted))


def fits(held: frozenset[Topic], topic: Topic) -> bool:
    """
    May *topic* join those on one connection?

    Candles are one market and interval for each connection [FAQ], since an update does not name its interval. Depth is one
    setting for each market, since an update names neither limit nor interval. The number of subscriptions is not limited
    [WebSocket Rate Limits, subscription limits].
    """
    if topic.label not in ("candles", "depth"):
        return True
    return all(other == topic for other in held if other.channel == topic.channel)


def interpret(update: Update, reading: Reading) -> list[Event]:
    """
    The events of an update, in order: one for each trade, candle or row.

    Raises
    ------
    ValueError, TypeError, LookupError
        The update has a shape that is not documented.
    """
    try:
        return _READERS.get(update.label, _other)(update, reading)
    except (ArithmeticError, AttributeError) as error:  # not a number; an object where a list was documented, or the reverse
        raise ValueError(f"{update.label}: {error}") from error


def _number(value: Any, numbers: Numbers) -> Number:
    if type(value) is str:
        return numbers(value)
    return None if value is None else numbers(str(value))


def _time(value: Any) -> float | None:
    return None if value is None else float(value)


_trade_id = itemgetter("id")


def _trades(update: Update, reading: Reading) -> list[Event]:
    """``[market, [{"id", "time", "price", "amount", "type", ...}, ...]]``, newest first [Market trades]."""
    market, trades = update.body[0], update.body[1]
    received, numbers = reading.received, reading.numbers
    if len(trades) > 1:
        trades = sorted(trades, key=_trade_id)
    return [
        Trade(
            NAME,
            "trades",
            market,
            _time(trade.get("time")),
            received,
            trade,
            None,
            trade["id"],
            _number(trade["price"], numbers),
            _number(trade["amount"], numbers),
            trade.get("type"),
        )
        for trade in trades
    ]


def _last_price(update: Update, reading: Reading) -> list[Event]:
    """``[market, "price"]``, without a time [Last price]."""
    body = update.body
    return [LastPrice(NAME, "lastprice", body[0], None, reading.received, body, None, _number(body[1], reading.numbers))]


def _ticker(update: Update, reading: Reading) -> list[Event]:
    """
    ``[market, {"last", "open", "high", "low", "volume", "deal", ...}]`` [Market statistics].

    `deal` is the volume in the quote asset. marketToday counts since 00:00 UTC, and so has no `period`.
    """
    body, figures, numbers = update.body, update.body[1], reading.numbers
    return [
        Ticker(
            NAME,
            update.label,
            body[0],
            None,
            reading.received,
            body,
            None,
            _number(figures.get("last"), numbers),
            _number(figures.get("open"), numbers),
            _number(figures.get("high"), numbers),
            _number(figures.get("low"), numbers),
            _number(figures.get("volume"), numbers),
            _number(figures.get("deal"), numbers),
            figures.get("period"),
        )
    ]


def _levels(side: Any, numbers: Numbers) -> tuple[tuple[Number, Number], ...]:
    # hot path
    return tuple(
        [
            (numbers(price), numbers(size))
            if type(price) is str and type(size) is str
            else (_number(price, numbers), _number(size, numbers))
            for price, size in side or ()
        ]
    )


def _book(update: Update, reading: Reading) -> list[Event]:
    """
    ``[full, {"timestamp", "update_id", "past_update_id", "asks", "bids", ...}, market]`` [Order Book Depth].

    A full book has no `past_update_id`; it comes first, and again when nothing was pushed for 10 s. A side without change may
    be absent. Asks ascend and bids descend.
    """
    full, book, market = update.body[0], update.body[1], update.body[2]
    numbers = reading.numbers
    return [
        BookUpdate(
            NAME,
            "depth",
            market,
            _time(book.get("timestamp")),
            reading.received,
            update.body,
            None,
            "snapshot" if full else "delta",
            _levels(book.get("bids"), numbers),
            _levels(book.get("asks"), numbers),
            book.get("update_id"),
            book.get("past_update_id"),
        )
    ]


def _book_ticker(update: Update, reading: Reading) -> list[Event]:
    """
    ``[[transaction_time, message_time, market, update_id, bid, bid_amount, ask, ask_amount], ...]``.

    [Book Ticker]
    """
    numbers = reading.numbers
    return [
        BookTicker(
            NAME,
            "bookTicker",
            row[2],
            _time(row[0]),
            reading.received,
            row,
            None,
            _number(row[4], numbers),
            _number(row[5], numbers),
            _number(row[6], numbers),
            _number(row[7], numbers),
        )
        for row in _rows(update.body)
    ]


def _candles(update: Update, reading: Reading) -> list[Event]:
    """
    ``[[time, open, close, high, low, volume, deal, market], ...]``: *close* before high and low [Kline].

    The interval is known only from the subscription. Whether a candle is closed is not told.
    """
    numbers = reading.numbers
    topic = reading.topics.get(update.keys[0])
    interval = None if topic is None else topic.args[1]
    return [
        Candle(
            NAME,
            "candles",
            row[7],
            None,
            reading.received,
            row,
            None,
            float(row[0]),
            _number(row[1], numbers),
            _number(row[3], numbers),
            _number(row[4], numbers),
            _number(row[2], numbers),
            _number(row[5], numbers),
            _number(row[6], numbers),
            interval,
            None,
        )
        for row in _rows(update.body)
    ]


def _futures_row(update: Update, reading: Reading) -> list[Event]:
    """
    premiumIndex and ADLQuantile: rows that begin with the market; what the further fields mean is partly unknown.

    [Market Streams, premium index and ADL quantile]
    """
    return [Other(NAME, update.label, row[0], None, reading.received, row, None) for row in _rows(update.body)]


def _other(update: Update, reading: Reading) -> list[Event]:
    """A channel that is not known here."""
    return [Other(NAME, update.label, None, None, reading.received, update.body, None)]


_READERS: dict[str, Callable[[Update, Reading], list[Event]]] = {
    "candles": _candles,
    "lastprice": _last_price,
    "market": _ticker,
    "marketToday": _ticker,
    "trades": _trades,
    "depth": _book,
    "bookTicker": _book_ticker,
    "premiumIndex": _futures_row,
    "ADLQuantile": _futures_row,
}

WHITEBIT = Dialect(
    name=NAME,
    route=route,
    decode=decode,
    encode=encode,
    changes=changes,
    fits=fits,
    limits=LIMITS,
    heartbeat=HEARTBEAT,
    interpret=interpret,
)
