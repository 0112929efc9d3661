"""
Bybit's spot v3 wire language: `op`, `args` and `req_id` one way, `topic` and `data` the other.

Facts are from Bybit's documentation of spot v3 (the page in brackets; withdrawn in September 2024, read 2026-11 in its history,
github.com/bybit-exchange/docs) unless said to be observed with other clients, or unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from exchange_ws.core.dialect import FEW, Dialect, Head, Reader, Reading, dump, head_of, parse
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
    Pong,
    Refusal,
    Reply,
    Topic,
    Update,
)
from exchange_ws.errors import UsageError
from exchange_ws.events import (
    Balance,
    BookTicker,
    BookUpdate,
    Candle,
    Event,
    Fill,
    Number,
    Order,
    Other,
    Ticker,
    Trade,
)
from exchange_ws.exchanges.bybit.common_events import DAY, ROLES, direct, named, number, time_of

__all__ = [
    "BATCH",
    "HEARTBEAT",
    "INTERVALS",
    "PRIVATE",
    "PRIVATE_CHANNELS",
    "PRIVATE_LIMITS",
    "PUBLIC",
    "PUBLIC_CHANNELS",
    "PUBLIC_LIMITS",
    "changes",
    "decode",
    "encode",
    "fits",
    "interpret",
    "route",
    "topics",
]

NAME = "bybit-spot-v3"

#: How topics of the public endpoint are written, by channel.
PUBLIC_CHANNELS = {
    "trade": "trade.SYMBOL",
    "orderbook": "orderbook.40.SYMBOL",
    "tickers": "tickers.SYMBOL",
    "bookticker": "bookticker.SYMBOL",
    "kline": "kline.INTERVAL.SYMBOL",
}
#: Channels of the private endpoint: each is one topic, which has all symbols.
PRIVATE_CHANNELS = ("outboundAccountInfo", "order", "stopOrder", "ticketInfo")

#: What stands between channel and symbol: orderbook has one depth [Depth], and kline's intervals are told apart by case
#: [Kline].
DEPTHS = ("40",)
#: Seconds of a candle by the wire's name of its interval; None for a month, which has no fixed length.
INTERVALS = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "6h": 21600,
    "12h": 43200,
    "1d": 86400,
    "1w": 604800,
    "1M": None,
}

#: Who took, by a trade's `m`; sides of the account's own orders.
TAKERS: dict[Any, str] = {True: "buy", False: "sell"}
SIDES: dict[Any, str] = {"BUY": "buy", "SELL": "sell"}

BATCH = 10  # args of one request; more are refused, and then nothing is subscribed [Connect, "How to Subscribe"]

#: What kind of no an error code is [Error Codes]. The other documented ones say what is wrong with the request, as unknown ones
#: are taken to: 10001, 10002, 10008, 10024, 10029, 12800 to 12815, 12821 to 12825.
REFUSALS = {
    -1004: UNAUTHORIZED,  # not authenticated: a private topic before the login (observed; its frame is not)
    10003: UNAUTHORIZED,  # the key; observed for a wrong signature too, and it may be what a stale login gets
    10004: UNAUTHORIZED,  # the signature
    10005: UNAUTHORIZED,  # the key's permissions
    33004: UNAUTHORIZED,  # the key has expired
    10006: TOO_MANY,  # too many visits
    12816: TRANSIENT,  # timeout
    12818: TRANSIENT,  # client disconnected
    12940: TRANSIENT,  # connection reset
    12999: TRANSIENT,  # server error
}

_DIALS = Pace(500, 300.0, 'Bybit spot v3, "Connect", connection limits: each endpoint by itself; read 2026-11')

#: Not documented, hence None: requests on a connection, topics on a connection.
PUBLIC_LIMITS = Limits(dials=_DIALS)
#: Beside it, 100 connections of one API key.
PRIVATE_LIMITS = Limits(
    dials=_DIALS,
    connections=50,
    source='Bybit spot v3, "Connect", connection limits: private connections of an IP at once; read 2026-11',
)

HEARTBEAT = Heartbeat(
    interval_s=20.0,
    command=Command("ping", kind=PING, replay=True),
    idle_limit_s=600.0,
    source=(
        'Bybit spot v3, "Connect", heartbeat: {"op": "ping"} each 20 s; read 2026-11. Private connections without it, WebSocket'
        " pings or not, were observed to be dropped after about 10 minutes"
    ),
)

# Keys came in three orders: topic first (since 2023), type first (klines, and all private topics), and data first (2022). In
# the first two everything from the opening brace to `data` is matched, in the third everything from the brace that closes
# `data`. What a quote mark opens there is a key of the message itself: within a string it would end that string.
_HEAD = re.compile(
    rb'\{"(?:topic":"([\w.]+)","ts":[0-9]+,"type":"(?:snapshot|delta)"'
    rb'|type":"(?:snapshot|delta)","topic":"([\w.]+)"(?:,"ts":"[0-9]+")?),"data":'
).match
_TAIL = re.compile(rb'\},"type":"(?:snapshot|delta)","topic":"([\w.]+)","ts":[0-9]+\}').fullmatch


# hot path: 260 ns a public update of any length, 290 ns a private one, 510 ns one in the order of 2022, 160 ns to give up on a
# reply (CPython 3.11 on a shared 2-core machine; `python -m timeit` of `route(m)` on the documentation's examples, compact).
def route(message: bytes) -> bytes | None:
    """
    Key of an update, found without parsing: its topic. None leaves it to `decode`.

    Knows the three orders of keys that were documented or observed; any other order, space or escape makes it give up.
    """
    head = _HEAD(message)
    if head is not None:
        return head[1] or head[2]
    if message.startswith(b'{"data":'):
        tail = _TAIL(message, message.rfind(b'},"type":"'))
        if tail is not None:
            return tail[1]
    return None


def head(message: bytes) -> Head | None:
    """What stands before the data, but for the time stamp."""
    found = _HEAD(message)
    return None if found is None or not found[1] else head_of(found[0], found[1])


def decode(message: bytes) -> Message:
    """
    One wire message to an `Update`, a `Reply`, a `Pong` or a `Notice`.

    - ``{"topic", "ts", "type", "data"}`` is an update, whatever `type` says: all of them carry the full state.
    - ``{"op": "pong", "args": [server's ms], "conn_id"}`` is a pong; with `req_id`, the reply to the ping that had it.
    - ``{"op", "success", "req_id", "ret_msg", "conn_id"}`` is a reply. Of a good one `ret_msg` is the op on the public
      endpoint, and empty on the private one, so that it says nothing.
    - ``{"type": "error", "ret_code": "10003", "ret_msg"}`` is a refusal that does not say what it refuses (observed).

    A refusal is what has any of ``"success": false``, ``"type": "error"`` and a `ret_code` other than 0; its code is a number
    here also where the wire has it as text. A reply without `req_id` means, most likely, the oldest command that waits for one.

    Raises
    ------
    ValueError
        The message is not JSON.
    """
    body = parse(message)
    if not isinstance(body, dict):
        return Notice(body)
    topic = body.get("topic")
    if isinstance(topic, str) and "data" in body:
        return Update((topic.encode(),), topic.partition(".")[0], body)
    serial = body.get("req_id")
    key = str(serial) if type(serial) in (str, int) and serial != "" else None
    if body.get("op") == "pong":
        return Pong() if key is None else Reply(key, ok=True, result=body)
    refusal = _refusal(body)
    if refusal is not None:
        return Reply(key, False, body, refusal)
    return Reply(key, True, body) if body.get("success") is True else Notice(body)


def _refusal(body: dict[str, Any]) -> Refusal | None:
    """The exchange's no, in any of its three shapes; None if this is not one."""
    code = body.get("ret_code")
    if isinstance(code, str) and re.fullmatch("-?[0-9]{1,9}", code):
        code = int(code)
    if type(code) not in (int, str) or code == "":
        code = None
    if body.get("success") is not False and body.get("type") != "error" and code in (None, 0):
        return None
    message = body.get("ret_msg")
    text = message if isinstance(message, str) and message else "refused without a reason"
    return Refusal(code, text, REFUSALS.get(code, REJECTED) if isinstance(code, int) else REJECTED)


def encode(command: Command, serial: int) -> Outgoing:
    """``{"req_id", "op", "args"}``, of which a ping has no `args`; the answer carries the `req_id` [Connect]."""
    said: dict[str, Any] = {"req_id": str(serial), "op": command.method}
    if command.args or command.method != "ping":
        said["args"] = list(command.args)
    return Outgoing(dump(said), str(serial))


def topics(*names: str, **params: Any) -> tuple[Topic, ...]:
    """
    The topics of these *names*, which are the vendor's: "trade.BTCUSDT", "kline.30m.BTCUSDT", "order".

    Raises
    ------
    UsageError
        A name cannot be one; there are none; or there are *params*, which no topic takes.
    """
    if params:
        raise UsageError(f"no parameter {', '.join(params)}: topics say everything themselves, as {_known()}")
    if not names:
        raise UsageError(f"name at least one topic: {_known()}")
    return tuple(_topic(name) for name in dict.fromkeys(map(_checked, names)))


def _known() -> str:
    return ", ".join([*PUBLIC_CHANNELS.values(), *PRIVATE_CHANNELS])


def _checked(name: Any) -> str:
    """*name* if it is a topic's; UsageError if not. Whether its symbol exists, the exchange knows."""
    if not isinstance(name, str):
        raise UsageError(f"topic {name!r}: takes text, one of {_known()}")
    label, *words = name.split(".")
    if label in PRIVATE_CHANNELS and not words:
        return name
    shape = PUBLIC_CHANNELS.get(label)
    if shape is None or len(words) != shape.count("."):
        raise UsageError(f"unknown topic {name!r}: Bybit spot v3 has {_known()}")
    if label == "orderbook" and words[0] not in DEPTHS:
        raise UsageError(f"topic {name!r}: the only depth is {DEPTHS[0]}")
    if label == "kline" and words[0] not in INTERVALS:
        raise UsageError(f"topic {name!r}: takes an interval of {', '.join(INTERVALS)}")
    if not re.fullmatch("[0-9A-Z]+", words[-1]):
        raise UsageError(f"topic {name!r}: takes a symbol in capitals without a separator, such as BTCUSDT")
    return name


def _topic(name: str) -> Topic:
    label, *words = name.split(".")
    account = label in PRIVATE_CHANNELS
    return Topic(
        key=name.encode(),
        channel=name,  # topics are stated one by one, some of them in the same breath
        name=name,
        args=(name,),
        symbol=words[-1] if words else None,
        label=label,
        standalone=not account,  # a push is about some coins, some order or some fill, and the next one about others
        account=account,
    )


def changes(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """What is no longer wanted is unsubscribed, what is not stated yet subscribed, 10 topics at once [Connect]."""
    for batch in _batches(stated - wanted):
        yield Command("unsubscribe", _names(batch), UNSUBSCRIBE, replay=True, drops=frozenset(batch))
    for batch in _batches(wanted - stated):
        yield Command("subscribe", _names(batch), SUBSCRIBE, replay=True, states=frozenset(batch))


def _names(batch: Iterable[Topic]) -> tuple[str, ...]:
    return tuple(topic.name for topic in batch)


def _batches(some: frozenset[Topic]) -> Iterator[list[Topic]]:
    ordered = sorted(some, key=lambda topic: topic.name)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def fits(others: Iterable[Topic], topic: Topic) -> bool:
    """All topics fit on one connection: no limit of them is documented."""
    return True


def interpret(update: Update, reading: Reading) -> list[Event]:
    """
    The events of an update, in order. `raw` is the whole message, its topic and times included.

    `data` is one object on the public endpoint and a list of them on the private one, though the documentation says "array" of
    both; `ts` is a number on the one and text on the other. Either is understood on either.

    Raises
    ------
    ValueError, TypeError, LookupError
        The update has a shape that is not documented.
    """
    reader = _READERS.get(update.label)
    if reader is None:
        return [Other(NAME, update.label, None, time_of(update.body.get("ts")), reading.received, update.body, None)]
    data = update.body["data"]
    events: list[Event] = []
    try:
        for record in data if isinstance(data, list) else (data,):
            events += reader(update.body, record, reading)
    except (ArithmeticError, AttributeError) as error:  # not a number; text where an object was documented
        raise ValueError(f"{update.label}: {error}") from error
    return events


def _symbol(body: dict[str, Any]) -> str:
    """Of a public message; in a trade it stands nowhere else."""
    symbol: str = body["topic"].rpartition(".")[2]
    return symbol


# hot path: 0.6 us (as `route` was measured)
def _trade(body: dict[str, Any], trade: dict[str, Any], reading: Reading) -> Event:
    """
    ``{"v": id, "t": ms, "p": price, "q": quantity, "m": whether the buyer took, "type": "0"}`` [Trade].

    `m` is *not* "buyer is maker", as it is elsewhere. `type` is "1" for a block trade; absent before December 2022.
    """
    numbers = reading.numbers
    time, price, size = trade.get("t"), trade["p"], trade["q"]
    return Trade(
        NAME,
        "trade",
        _symbol(body),
        time / 1000 if time.__class__ is int else time_of(time),
        reading.received,
        body,
        None,
        trade["v"],
        numbers(price) if price.__class__ is str and price else number(price, numbers),
        numbers(size) if size.__class__ is str and size else number(size, numbers),
        TAKERS.get(trade.get("m")),
    )


def _levels(side: Any, reading: Reading) -> tuple[tuple[Number, Number], ...]:
    numbers = reading.numbers
    prices = reading.prices if len(side) <= FEW else numbers
    return tuple([(number(price, prices), number(size, numbers)) for price, size in side])


def _book(body: dict[str, Any], book: dict[str, Any], reading: Reading) -> Event:
    """
    ``{"s": symbol, "t": ms, "b": [[price, size], ...], "a": [[price, size], ...]}``: the best 40 of each side [Depth].

    Each message is the whole book, hence "snapshot" always. Before December 2022 its `type` was "delta", with the same content:
    merging those would leave levels standing that are gone. There is no sequence number.
    """
    return BookUpdate(
        NAME,
        "orderbook",
        _symbol(body),
        time_of(book.get("t")),
        reading.received,
        body,
        None,
        "snapshot",
        _levels(book["b"], reading),
        _levels(book["a"], reading),
        None,
        None,
    )


def _ticker(body: dict[str, Any], ticker: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"t", "s", "c": last, "h", "l", "o": price 24 h ago, "v": base volume, "qv": quote volume, "m": change, "xp"}`` [Tickers].

    The time of the event is the message's `ts`, of which the figures are: `t` is that of the last match, which on a quiet
    symbol is long past. `m` is a fraction, 0.0189 for +1.89 %; `xp` is an index price in USD, which may be empty or absent.
    """
    numbers = reading.numbers
    yield Ticker(
        NAME,
        "tickers",
        _symbol(body),
        time_of(body.get("ts")),
        reading.received,
        body,
        None,
        number(ticker.get("c"), numbers),
        number(ticker.get("o"), numbers),
        number(ticker.get("h"), numbers),
        number(ticker.get("l"), numbers),
        number(ticker.get("v"), numbers),
        number(ticker.get("qv"), numbers),
        DAY,
    )


def _book_ticker(body: dict[str, Any], best: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """``{"s", "bp": bid, "bq": its size, "ap": ask, "aq": its size, "t": ms}`` [Bookticker]."""
    numbers = reading.numbers
    yield BookTicker(
        NAME,
        "bookticker",
        _symbol(body),
        time_of(best.get("t")),
        reading.received,
        body,
        None,
        number(best["bp"], numbers),
        number(best["bq"], numbers),
        number(best["ap"], numbers),
        number(best["aq"], numbers),
    )


def _kline(body: dict[str, Any], candle: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"t": start in ms, "s", "c": close, "h", "l", "o", "v": base volume}``, in any order [Kline].

    The interval stands in the topic only. Whether a candle is closed is not told: the next one's first message says so.
    """
    numbers = reading.numbers
    yield Candle(
        NAME,
        "kline",
        _symbol(body),
        time_of(body.get("ts")),
        reading.received,
        body,
        None,
        int(candle["t"]) / 1000,
        number(candle["o"], numbers),
        number(candle["h"], numbers),
        number(candle["l"], numbers),
        number(candle["c"], numbers),
        number(candle.get("v"), numbers),
        None,
        INTERVALS.get(body["topic"].split(".")[1]),
        None,
    )


def _balances(body: dict[str, Any], account: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"e", "E": ms, "T", "W", "D", "B": [{"a": coin, "f": free, "l": locked}, ...]}`` [outboundAccountInfo].

    One event for each coin that changed, with what it has now; coins that are not listed have not changed. `T`, `W` and `D` say
    whether the account may trade, withdraw and deposit.
    """
    numbers = reading.numbers
    for row in account["B"]:
        yield Balance(
            NAME,
            "outboundAccountInfo",
            None,
            time_of(account.get("E")),
            reading.received,
            body,
            None,
            row["a"],
            number(row["f"], numbers),
            number(row["l"], numbers),
        )


def _order(body: dict[str, Any], order: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"e": "order", "E": ms, "s", "c": client id, "S", "o": type, "q", "p", "X": status, "i": id, "z": filled, ...}`` [order].

    `type` and `status` are the vendor's words. A market buy (MARKET_OF_QUOTE) has its *quote* amount for a size, and ends as
    CANCELED although it was filled, since what is left of that amount is returned: judge it by `filled`. Price 0: at the
    market. Its `m` says that it is a LIMIT_MAKER order, not that a fill was the maker's: that is in ticketInfo.
    """
    yield _state_of_order("order", body, order, order["z"], reading)


def _stop_order(body: dict[str, Any], order: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"e": "stopOrder", "E": ms, "s", "c", "S", "o", "q", "p", "X": status, "i", "eo": order it makes, "tp", ...}``
    [stopOrder].

    The state of a conditional order, with what an `Order` has; it is never filled itself, hence `filled` None: the order that
    it makes when it is triggered (`eo`) is, and tells so on `order` and `ticketInfo`. Its trigger price is `tp` (since March
    2023).
    """
    yield _state_of_order("stopOrder", body, order, None, reading)


def _state_of_order(channel: str, body: dict[str, Any], order: dict[str, Any], filled: Any, reading: Reading) -> Order:
    numbers = reading.numbers
    return Order(
        NAME,
        channel,
        named(order["s"]),
        time_of(order.get("E")),
        reading.received,
        body,
        None,
        order["i"],
        order.get("c"),
        SIDES.get(order.get("S")),
        order.get("o"),
        number(order.get("p"), numbers),
        number(order.get("q"), numbers),
        number(filled, numbers),
        order.get("X"),
    )


def _fill(body: dict[str, Any], fill: dict[str, Any], reading: Reading) -> Iterable[Event]:
    """
    ``{"e": "ticketInfo", "E", "s", "q", "t": ms, "p", "T": trade id, "o": order id, "m": whether maker, "S", ...}``
    [ticketInfo].

    The fee is not told here, but in the `order` push of the same fill (`n`, `N`).
    """
    numbers = reading.numbers
    yield Fill(
        NAME,
        "ticketInfo",
        named(fill["s"]),
        time_of(fill.get("t")),
        reading.received,
        body,
        None,
        fill["T"],
        fill["o"],
        number(fill["p"], numbers),
        number(fill["q"], numbers),
        SIDES.get(fill.get("S")),
        None,
        None,
        ROLES.get(fill.get("m")),
    )


_One = Callable[[dict[str, Any], dict[str, Any], Reading], Event]


def _read_with(one: _One) -> Callable[[dict[str, Any], dict[str, Any], Reading], Iterable[Event]]:
    return lambda body, record, reading: [one(body, record, reading)]


def _directly(one: _One) -> Reader:
    return lambda body, reading: [one(body, body["data"], reading)]


DIRECT = direct({"trade": _directly(_trade), "orderbook": _directly(_book)})

_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], Reading], Iterable[Event]]] = {
    "trade": _read_with(_trade),
    "orderbook": _read_with(_book),
    "tickers": _ticker,
    "bookticker": _book_ticker,
    "kline": _kline,
    "outboundAccountInfo": _balances,
    "order": _order,
    "stopOrder": _stop_order,
    "ticketInfo": _fill,
}

PUBLIC = Dialect(
    name=NAME,
    route=route,
    head=head,
    decode=decode,
    encode=encode,
    changes=changes,
    fits=fits,
    limits=PUBLIC_LIMITS,
    heartbeat=HEARTBEAT,
    interpret=interpret,
    direct=DIRECT,
)
PRIVATE = Dialect(
    name=NAME,
    route=route,
    head=head,
    decode=decode,
    encode=encode,
    changes=changes,
    fits=fits,
    limits=PRIVATE_LIMITS,
    heartbeat=HEARTBEAT,
    interpret=interpret,
)
