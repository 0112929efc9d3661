"""
WhiteBIT's wire language: JSON-RPC, where a repeated subscribe replaces the former one of its channel.

Facts are from docs.whitebit.com (its WebSocket pages, read 2026-11; the page in brackets) unless said to be observed with other
clients, or unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from operator import itemgetter
from typing import Any, Callable

import attrs

from exchange_ws.core.dialect import (
    FEW,
    CatchUp,
    Dialect,
    Direct,
    Found,
    Head,
    Reader,
    Reading,
    dump,
    head_of,
    parse,
    shown,
)
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
from exchange_ws.events import (
    Balance,
    BookTicker,
    BookUpdate,
    Candle,
    Event,
    Fill,
    LastPrice,
    Number,
    Numbers,
    Order,
    Other,
    Position,
    Ticker,
    Trade,
)

__all__ = [
    "ACCOUNT_CHANNELS",
    "ALIASES",
    "CHANNELS",
    "HEARTBEAT",
    "LIMITS",
    "ORDER_TYPES",
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
    "is_private",
    "queries",
    "read",
    "route",
    "state",
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
#: Those of the account, which need a login, and what they are subscribed to by.
ACCOUNT_CHANNELS = {
    "balanceSpot": "asset",
    "balanceMargin": "asset",
    "ordersPending": "market",
    "ordersExecuted": "market",
    "deals": "market",
    "positionsMargin": None,
    "positionsAccountMargin": None,
    "borrowsMargin": None,
    "borrowsAccountMargin": None,
}
#: Their names in Python's spelling, where it differs.
ALIASES = {
    "market_today": "marketToday",
    "book_ticker": "bookTicker",
    "premium_index": "premiumIndex",
    "adl_quantile": "ADLQuantile",
    "balance_spot": "balanceSpot",
    "balance_margin": "balanceMargin",
    "orders_pending": "ordersPending",
    "orders_executed": "ordersExecuted",
    "positions_margin": "positionsMargin",
    "positions_account_margin": "positionsAccountMargin",
    "borrows_margin": "borrowsMargin",
    "borrows_account_margin": "borrowsAccountMargin",
}
#: Channels that can be had for all markets or assets together, and the key under which such a topic is wanted.
WILDCARDS = {
    label: f"{label}_update*".encode()
    for label in ("trades", "bookTicker", "premiumIndex", "ADLQuantile", "balanceSpot", "balanceMargin", "deals")
}

#: Where an update's params name its market.
MARKET_AT = {"lastprice": 0, "market": 0, "marketToday": 0, "trades": 0, "depth": 2, "deals": 2}
#: Where the order stands in an update's params.
ORDER_AT = {"ordersPending": 1, "ordersExecuted": 0}
#: Where each row names its market, in channels whose params are rows.
ROW_MARKET_AT = {"bookTicker": 2, "premiumIndex": 0, "ADLQuantile": 0}

#: By the method of an update: its label, where its params name the market (None: not at one place), its key of all markets.
UPDATES = {f"{label}_update": (label, MARKET_AT.get(label), WILDCARDS.get(label)) for label in (*CHANNELS, *ACCOUNT_CHANNELS)}

#: Channels that say something at least so often, seconds, changed or not: a book is repeated after 10 s without a change
#: [Depth, keepalive]. Statistics, positions and loans come each second or so, but whether unchanged ones do is not said.
PACES_S = {"depth": 10.0}

#: Candle intervals of a day and more, seconds [Kline].
LONG_CANDLES = (86400, 172800, 259200, 604800, 2592000)
#: Codes of an order's type [Private WebSocket, order types; 203 observed].
ORDER_TYPES = {
    1: "limit",
    2: "market",
    202: "market stock",
    203: "stop market stock",
    3: "stop limit",
    4: "stop market",
    7: "margin limit",
    8: "margin market",
    9: "margin stop limit",
    10: "margin stop market",
    14: "margin normalization",
}
SIDES = {1: "sell", 2: "buy"}
ROLES = {1: "maker", 2: "taker"}
#: What an order's status is at its end [Private WebSocket, order statuses].
ENDED = ("FILLED", "CANCELED")
ORDER_FILTERS = (0, 1, 2)
RECORDS_LIMIT = 100  # the most that a query of orders or deals gives [Orders pending, Orders executed, Deals]
#: Types of executed orders to ask for, by the filter of their channel. That it means these is inferred from its description,
#: "limit and market", "limit", "market"; what was not meant would only be told in addition.
EXECUTED_TYPES = {0: tuple(ORDER_TYPES), 1: (1, 3, 7, 9), 2: (2, 202, 203, 4, 8, 10)}
#: Fields of a deal's record, in the order of an update's row [Deals].
DEAL_FIELDS = (
    "id",
    "time",
    "market",
    "order_id",
    "price",
    "amount",
    "fee",
    "client_order_id",
    "side",
    "role",
    "fee_asset",
)
#: A margin balance's names in updates, and in answers [Balance margin].
MARGIN_NAMES = {
    "B": "balance",
    "b": "borrow",
    "av": "available_without_borrow",
    "ab": "available_with_borrow",
}
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
    logins=Pace(10, 60.0, 'docs.whitebit.com, "WebSocket token", read 2026-11: each login takes a token'),
    source='docs.whitebit.com, "WebSocket Rate Limits", subscription limits, read 2026-11',
)

HEARTBEAT = Heartbeat(
    interval_s=50.0,
    command=Command("ping", kind=PING, replay=True),
    idle_limit_s=60.0,
    source='docs.whitebit.com, "WebSocket Rate Limits", best practices, read 2026-11',
)

# The key of an update is what its wire has from the method to the market, `trades_update","params":["BTC_USDT`, wherever the
# `id` stands. The alternatives: the market comes first; one row (any second "[" would begin another); no market.
_HEAD = re.compile(
    rb'\{(?:"id":null,)?"method":"(?:'
    rb'((?:trades|lastprice|market(?:Today)?|premiumIndex|ADLQuantile)_update","params":\["[^"\\]*)"'
    rb'|(bookTicker_update","params":\[)\[[^"\[\]{},]*,[^"\[\]{},]*,("[^"\\]*)"[^\[]*\Z'
    rb'|(candles_update)","params":)'
).match
# In a book's update the market comes last.
_BOOKS = tuple(
    begin + b'"method":"depth_update","params":[' + whole + b",{"
    for begin in (b'{"id":null,', b"{")
    for whole in (b"false", b"true")
)
# The end of a book's update, from the brace that closes the book. That is the first one: a book has no objects within, and
# where it has, or a brace in a text, this does not match.
_BOOK_TAIL = re.compile(rb'\},"([^"\\]*)"\](?:,"id":null)?\}').fullmatch
TAIL_LENGTH = 64  # bytes of such an end, at most; a market has some ten
TAILS_REMEMBERED = 1024  # the latest: one a market


@lru_cache(maxsize=TAILS_REMEMBERED)
def _book_key(tail: bytes) -> bytes | None:
    """What a book's update with this end is of; None if it is no such end."""
    found = _BOOK_TAIL(tail)
    return None if found is None else b'depth_update","params":["' + found[1]


# hot path: 320 ns a trade, 330 ns a book of 4 levels, 420 ns one of 200, 560 ns a bookTicker row, 250 ns to give up on a reply
# (CPython 3.11 on a shared 2-core machine; `python -m timeit` of `route(m)` on the documentation's examples without spaces).
def route(message: bytes) -> bytes | None:
    """
    Key of an update, found without parsing; None leaves it to `decode`.

    Both orders of the keys that occur are known here, `id` first and `id` last (both observed); any space, escape or second
    row makes it give up. Candles are one series for each connection, so their key is the channel alone.
    """
    head = None if message[21:26] == b"depth" else _HEAD(message)  # where the `id` is first, as it mostly is
    if head is None:
        if not message.startswith(_BOOKS):
            return None
        tail = message[message.find(b"}") :]
        return _book_key(tail) if len(tail) <= TAIL_LENGTH else None
    if head.lastindex == 3:
        return head[2] + head[3]
    return head[head.lastindex or 0]


def head(message: bytes) -> Head | None:
    """All up to the market, where that comes first, or to the rows of candles."""
    found = _HEAD(message)
    if found is None or found.lastindex not in (1, 4):
        return None
    return head_of(found[0], found[found.lastindex])


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
        elif label in ACCOUNT_CHANNELS:
            keys = tuple(_key(label, name) for name in dict.fromkeys(_names(label, params)))
    return Update(keys or (method.encode(),), label, params, wildcard)


def _names(label: str, params: list[Any]) -> list[str]:
    """The markets or assets that an account update has news of."""
    parts = [part for part in params if isinstance(part, dict)]
    if label == "balanceSpot":
        return [asset for part in parts for asset in part]
    field = "a" if label == "balanceMargin" else "market" if label in ORDER_AT else None
    return [part[field] for part in parts if field is not None and isinstance(part.get(field), str)]


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
        return Refusal(None, error if isinstance(error, str) and error else shown(error))
    code, message = error.get("code"), error.get("message")
    kind = REFUSALS.get(code, REJECTED) if type(code) is int else REJECTED
    text = message if isinstance(message, str) and message else shown(error)
    return Refusal(code if type(code) in (int, str) else None, text, kind)


def encode(command: Command, serial: int) -> Outgoing:
    """``{"id": serial, "method": ..., "params": [...]}``; its reply carries that id [WebSocket overview, message format]."""
    return Outgoing(dump({"id": serial, "method": command.method, "params": list(command.args)}), str(serial))


def is_private(method: str) -> bool:
    """Whether *method* needs a login: queries of account channels, and trading."""
    return method.rpartition("_")[0] in ACCOUNT_CHANNELS or method.startswith(("order_", "collateral_order_"))


def topics(channel: str, /, *markets: str, **params: Any) -> tuple[Topic, ...]:
    """
    The topics of *channel*, one for each market (of balances: asset); ``"*"`` is all of them, where the exchange has that.

    Parameters
    ----------
    channel
        The vendor's name, or the same in Python's spelling ("book_ticker").
    markets
        As the vendor spells them: "BTC_USDT", "BTC_PERP"; assets "BTC". Balances without any are those of all assets;
        positions and borrows take none.
    params
        candles: *interval* (seconds). depth: *limit* (levels a side, 100 if not told) and *interval* (price step, "0" if not
        told: none). ordersExecuted: *order_filter*, 0 limit and market orders (if not told), 1 limit, 2 market. Text is taken
        too, as a command line gives it.

    Raises
    ------
    UsageError
        Something is unknown, missing or impossible.
    """
    label = ALIASES.get(channel, channel) if isinstance(channel, str) else channel
    if label not in (*CHANNELS, *ACCOUNT_CHANNELS):
        raise UsageError(f"unknown channel {channel!r}: WhiteBIT has {', '.join((*CHANNELS, *ACCOUNT_CHANNELS))}")
    settings = _settings(label, params)
    if label in ACCOUNT_CHANNELS and ACCOUNT_CHANNELS[label] is None:
        if markets:
            raise UsageError(f"{label}: takes no markets, it is of the whole account")
        return (Topic(f"{label}_update".encode(), label, label, label=label, account=True),)
    if not markets and ACCOUNT_CHANNELS.get(label) == "asset":
        markets = ("*",)
    if not markets:
        every = ' or "*" for all of them' if label in WILDCARDS else ""
        raise UsageError(f'{label}: name at least one market, such as "BTC_USDT",{every}'.rstrip(","))
    names = tuple(dict.fromkeys([name if name == "*" else checked_market(name) for name in markets]))
    if "*" in names:
        if label not in WILDCARDS:
            raise UsageError(f'{label}: WhiteBIT has no subscription to all markets of it, so name them instead of "*"')
        if len(names) > 1:
            what = ACCOUNT_CHANNELS.get(label) or "market"
            raise UsageError(f'{label}: "*" has every {what} already, so name either it or {what}s')
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
        # Of orders and deals none stands for those before it either.
        standalone=label not in ("depth", "ordersPending", "ordersExecuted", "deals"),
        opens_with_snapshot=label in ("trades", "depth"),
        repeatable=label in ("trades", "depth"),
        replays=label == "trades",
        account=label in ACCOUNT_CHANNELS,
        pace_s=PACES_S.get(label),
    )


def _settings(label: str, params: dict[str, Any]) -> tuple[Any, ...]:
    """What stands behind the market in a subscribe; UsageError for what the channel does not take."""
    takes = {"candles": ("interval",), "depth": ("limit", "interval"), "ordersExecuted": ("order_filter",)}.get(label, ())
    unknown = [name for name in params if name not in takes]
    if unknown:
        names = ACCOUNT_CHANNELS.get(label, "market")
        other = "nothing" if names is None else f"{names}s only"
        raise UsageError(f"{label}: no parameter {', '.join(unknown)}; it takes {' and '.join(takes) or other}")
    if label == "ordersExecuted":
        chosen = _integer(params.get("order_filter", 0))
        if chosen not in ORDER_FILTERS:
            raise UsageError(f"ordersExecuted order_filter {params['order_filter']!r}: takes 0 (limit and market), 1 or 2")
        return (chosen,)
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
    names = [] if any(topic.symbol is None for topic in wanted) else sorted(topic.args[0] for topic in wanted)
    if label == "deals":
        return (names,)
    if label == "ordersExecuted":
        return names, next(iter(wanted)).args[1]
    return tuple(names)


def fits(others: Iterable[Topic], topic: Topic) -> bool:
    """
    May *topic* join these on one connection? Of other channels they do not matter.

    Candles are one market and interval for each connection [FAQ], since an update does not name its interval. Depth is one
    setting for each market, since an update names neither limit nor interval. Executed orders are one filter for each
    connection, since it is said once for all markets. The number of subscriptions is not limited [WebSocket Rate Limits,
    subscription limits].
    """
    if topic.label == "ordersExecuted":
        return all(other.args[1] == topic.args[1] for other in others if other.channel == topic.channel)
    if topic.label not in ("candles", "depth"):
        return True
    return all(other == topic for other in others if other.channel == topic.channel)


def interpret(update: Update, reading: Reading) -> list[Event]:
    """
    The events of an update, in order: one for each trade, candle or row.

    Raises
    ------
    ValueError, TypeError, LookupError
        The update has a shape that is not documented.
    """
    try:
        events = _READERS.get(update.label, _other)(update, reading)
        for event in events:
            if type(event.symbol) is not str and event.symbol is not None:
                raise ValueError(f"{update.label}: the name of a market is no text")
        return events
    except (ArithmeticError, AttributeError) as error:  # not a number; an object where a list was documented, or the reverse
        raise ValueError(f"{update.label}: {error}") from error


def _number(value: Any, numbers: Numbers) -> Number:
    if type(value) is str:
        return numbers(value)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ValueError(f"no number: {type(value).__name__}")
    return numbers(str(value))


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not isfinite(seconds):  # text can say so
        raise ValueError("a time that is no number")
    return seconds


def _time(value: Any) -> float | None:
    return None if value is None else _seconds(value)


FAR = 1e12  # seconds; a time beyond is for `_time` to judge
_trade_id = itemgetter("id")


# hot path: 1.1 us for two trades (as `route` was measured)
def _trades(params: Any, reading: Reading) -> list[Event]:
    """``[market, [{"id", "time", "price", "amount", "type", ...}, ...]]``, newest first [Market trades]."""
    market, trades = params[0], params[1]
    received, numbers = reading.received, reading.numbers
    if len(trades) > 1:
        trades = sorted(trades, key=_trade_id)
    events: list[Event] = []
    for trade in trades:
        time, price, amount = trade.get("time"), trade["price"], trade["amount"]
        events.append(
            Trade(
                NAME,
                "trades",
                market,
                time if time.__class__ is float and -FAR < time < FAR else _time(time),
                received,
                trade,
                None,
                trade["id"],
                numbers(price) if price.__class__ is str else _number(price, numbers),
                numbers(amount) if amount.__class__ is str else _number(amount, numbers),
                trade.get("type"),
            )
        )
    return events


def _last_price(params: Any, reading: Reading) -> list[Event]:
    """``[market, "price"]``, without a time [Last price]."""
    return [LastPrice(NAME, "lastprice", params[0], None, reading.received, params, None, _number(params[1], reading.numbers))]


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


def _levels(side: Any, reading: Reading) -> tuple[tuple[Number, Number], ...]:
    # hot path: a loop, which takes a sixth less than a comprehension (CPython 3.11)
    numbers = reading.numbers
    prices = reading.prices if side and len(side) <= FEW else numbers
    levels = []
    for price, size in side or ():
        levels.append(
            (
                prices(price) if price.__class__ is str else _number(price, numbers),
                numbers(size) if size.__class__ is str else _number(size, numbers),
            )
        )
    return tuple(levels)


def _book(params: Any, reading: Reading) -> list[Event]:
    """
    ``[full, {"timestamp", "update_id", "past_update_id", "asks", "bids", ...}, market]`` [Order Book Depth].

    A full book has no `past_update_id`; it comes first, and again when nothing was pushed for 10 s. A side without change may
    be absent. Asks ascend and bids descend.
    """
    full, book, market = params[0], params[1], params[2]
    return [
        BookUpdate(
            NAME,
            "depth",
            market,
            _time(book.get("timestamp")),
            reading.received,
            params,
            None,
            "snapshot" if full else "delta",
            _levels(book.get("bids"), reading),
            _levels(book.get("asks"), reading),
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
            _seconds(row[0]),
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


def _spot_balances(update: Update, reading: Reading) -> list[Event]:
    """``[{asset: {"available", "freeze"}, ...}]``: those that have changed [Balance spot]."""
    numbers = reading.numbers
    return [
        Balance(
            NAME,
            update.label,
            asset,
            None,
            reading.received,
            {asset: figures},
            None,
            asset,
            _number(figures["available"], numbers),
            _number(figures["freeze"], numbers),
        )
        for part in update.body
        for asset, figures in part.items()
    ]


def _margin_balances(update: Update, reading: Reading) -> list[Event]:
    """
    ``[{"a": asset, "B": balance, "b": borrow, "av": available without a borrow, "ab": available with one}, ...]``.

    [Balance margin]. What is locked is not told.
    """
    numbers = reading.numbers
    return [
        Balance(NAME, update.label, row["a"], None, reading.received, row, None, row["a"], _number(row["av"], numbers), None)
        for row in update.body
    ]


def _order(update: Update, reading: Reading) -> list[Event]:
    """
    ordersPending: ``[event, order]``, event 1 new, 2 changed, 3 finished; ordersExecuted: ``[order]``.

    [Orders pending, Orders executed]. `raw` has the event too. A modified order ends, and comes again with another id; a
    triggered one is new a second time, with the same id.
    """
    order = update.body[ORDER_AT[update.label]]
    numbers, kind = reading.numbers, order.get("type")
    return [
        Order(
            NAME,
            update.label,
            order["market"],
            _time(order.get("mtime")),
            reading.received,
            update.body if update.label == "ordersPending" else order,
            None,
            order["id"],
            order.get("client_order_id") or None,
            SIDES.get(order.get("side")),
            None if kind is None else ORDER_TYPES.get(kind, str(kind)),
            _number(order.get("price"), numbers),
            _number(order.get("amount"), numbers),
            _number(order.get("deal_stock"), numbers),
            order.get("status"),
        )
    ]


def _fill(update: Update, reading: Reading) -> list[Event]:
    """``[id, time, market, order_id, price, amount, fee, client_order_id, side, role, fee_asset]`` [Deals]."""
    deal, numbers = update.body, reading.numbers
    return [
        Fill(
            NAME,
            "deals",
            deal[2],
            _time(deal[1]),
            reading.received,
            deal,
            None,
            deal[0],
            deal[3],
            _number(deal[4], numbers),
            _number(deal[5], numbers),
            SIDES.get(deal[8]),
            _number(deal[6], numbers),
            deal[10],
            ROLES.get(deal[9]),
        )
    ]


def _position(label: str, position: Any, raw: Any, reading: Reading) -> Position:
    numbers = reading.numbers
    return Position(
        NAME,
        label,
        position["market"],
        _time(position.get("mtime")),
        reading.received,
        raw,
        None,
        _number(position.get("amount"), numbers),
        _number(position.get("base_price"), numbers),
        _number(position.get("pnl"), numbers),
        None,
    )


def _positions(update: Update, reading: Reading) -> list[Event]:
    """
    ``{"total", "records": [position, ...]}``: every open position, each time [Positions margin].

    Without any, an `Other`, so that it can be seen that they are closed.
    """
    events: list[Event] = [_position(update.label, record, record, reading) for record in update.body["records"]]
    return events or _other(update, reading)


def _margin_call(update: Update, reading: Reading) -> list[Event]:
    """``[event, position]``, event 1 a margin call, 2 a liquidation: in `raw` [Positions account margin]."""
    return [_position(update.label, update.body[1], update.body, reading)]


def _other(update: Update, reading: Reading) -> list[Event]:
    """A channel without a twin elsewhere (borrows), or one that is not known here."""
    return [Other(NAME, update.label, None, None, reading.received, update.body, None)]


def _read_with(read: Callable[[Any, Reading], list[Event]]) -> Callable[[Update, Reading], list[Event]]:
    return lambda update, reading: read(update.body, reading)


_READERS: dict[str, Callable[[Update, Reading], list[Event]]] = {
    "candles": _candles,
    "lastprice": _read_with(_last_price),
    "market": _ticker,
    "marketToday": _ticker,
    "trades": _read_with(_trades),
    "depth": _read_with(_book),
    "bookTicker": _book_ticker,
    "premiumIndex": _futures_row,
    "ADLQuantile": _futures_row,
    "balanceSpot": _spot_balances,
    "balanceMargin": _margin_balances,
    "ordersPending": _order,
    "ordersExecuted": _order,
    "deals": _fill,
    "positionsMargin": _positions,
    "positionsAccountMargin": _margin_call,
}


def _directly(read: Callable[[Any, Reading], list[Event]], market_at: int) -> Reader:
    def read_params(body: Any, reading: Reading) -> list[Event]:
        params = body["params"]
        if params[market_at].__class__ is not str:
            raise TypeError("the name of a market is no text")
        return read(params, reading)

    return read_params


# Of parsed messages: those that come often.
_OFTEN = {"trades": _directly(_trades, 0), "lastprice": _directly(_last_price, 0), "depth": _directly(_book, 2)}
DIRECT = Direct("method", {f"{label}_update": read for label, read in _OFTEN.items()}, frozenset(_OFTEN))


def queries(topic: Topic, first: bool) -> tuple[Command, ...]:
    """
    The queries that show what a topic missed; *first*, those that show what is older than it [Private WebSocket].

    Of orders and deals there is one for each market only. Positions and borrows have none, and come whole by themselves.
    """
    label, market = topic.label, topic.symbol
    if label in ("balanceSpot", "balanceMargin"):
        return (_query(label, *topic.args),)
    if market is None or label not in _ANSWERS:
        return ()
    chosen = topic.args[1] if label == "ordersExecuted" else 0
    executed = _query("ordersExecuted", {"market": market, "order_types": list(EXECUTED_TYPES[chosen])}, 0, RECORDS_LIMIT)
    if label == "ordersExecuted":
        return (executed,)
    page = _query(label, market, 0, RECORDS_LIMIT)
    # How orders have ended that are no longer pending, is among the executed ones, unless nothing of them was filled.
    return (page,) if first or label == "deals" else (page, executed)


def _query(label: str, *params: Any) -> Command:
    return Command(f"{label}_request", params, replay=True)


def read(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """What the answers to `queries` show; raises as `interpret` does."""
    try:
        return _ANSWERS[topic.label](topic, results, reading)
    except (ArithmeticError, AttributeError) as error:
        raise ValueError(f"{topic.label}: {error}") from error


def _balances_found(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """``{asset: figures}``; balanceMargin has long names here, and short ones in updates [Balance spot, Balance margin]."""
    (found,) = results
    if topic.label == "balanceMargin":
        params: Any = [
            {"a": asset, **{short: figures[name] for short, name in MARGIN_NAMES.items()}} for asset, figures in found.items()
        ]
        events = _margin_balances(Update((), topic.label, params), reading)
    else:
        events = _spot_balances(Update((), topic.label, [found]), reading)
    return Found(tuple(events), whole=True)


def _fills_found(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """``{"offset", "limit", "records": [deal, ...]}``, as objects here, and rows in updates [Deals]."""
    records = results[0]["records"]
    events = [
        attrs.evolve(fill, raw=record)
        for record in sorted(records, key=_trade_id)
        for fill in _fill(Update((), "deals", [record.get(name) for name in DEAL_FIELDS]), reading)
    ]
    # Which records a page has is not documented: the newest, if these come first.
    descending = all(former["id"] > later["id"] for former, later in zip(records, records[1:]))
    return Found(tuple(events), whole=len(records) < RECORDS_LIMIT, latest=descending)


def _executed_found(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """``{"offset", "limit", "records": [order, ...]}`` [Orders executed]."""
    records = results[0]["records"]
    # The newest are those that ended last. By their ids, an old order that ended lately could be beyond the page, and it is not
    # documented what the order is: so it has to be seen that it is not that of the ids.
    ended = [record["ftime"] for record in records]
    descending = all(former >= later for former, later in zip(ended, ended[1:]))
    by_id = all(former["id"] > later["id"] for former, later in zip(records, records[1:]))
    events = _orders_found(topic.label, sorted(records, key=itemgetter("ftime", "id")), reading)
    return Found(tuple(events), whole=len(records) < RECORDS_LIMIT, latest=descending and not by_id)


def _pending_found(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """``{"offset", "limit", "total", "records": [order, ...]}`` [Orders pending], and perhaps those that were executed."""
    page, *others = results
    records = page["records"]
    events = _orders_found(topic.label, sorted(records, key=itemgetter("mtime", "id")), reading)
    ended = [record for other in others for record in other["records"]]
    endings = _orders_found(topic.label, sorted(ended, key=itemgetter("ftime", "id")), reading)
    return Found(tuple(events), whole=page["total"] <= len(records), endings=tuple(endings))


def _orders_found(label: str, records: Sequence[Any], reading: Reading) -> list[Event]:
    """Orders as the channel *label* tells them; `raw` is the record, since no event was sent."""
    params: Callable[[Any], Any] = (lambda record: [None, record]) if label == "ordersPending" else (lambda record: [record])
    return [
        attrs.evolve(event, raw=record, time=_time(record.get("mtime", record.get("ftime"))))
        for record in records
        for event in _order(Update((), label, params(record)), reading)
    ]


def state(topic: Topic) -> Callable[[Event], tuple[Any, Any]] | None:
    """Balances and pending orders are states; deals and executed orders are told once each."""
    return _STATES.get(topic.label)


def _balance_state(event: Any) -> tuple[Any, Any]:
    # All that the vendor tells, since a margin balance has figures without a field of ours.
    return event.asset, event.raw


def _order_state(event: Any) -> tuple[Any, Any]:
    over = event.status in ENDED
    return event.id, None if over else (event.price, event.size, event.filled, event.status)


_ANSWERS: dict[str, Callable[[Topic, Sequence[Any], Reading], Found]] = {
    "balanceSpot": _balances_found,
    "balanceMargin": _balances_found,
    "ordersPending": _pending_found,
    "ordersExecuted": _executed_found,
    "deals": _fills_found,
}
_STATES: dict[str, Callable[[Event], tuple[Any, Any]]] = {
    "balanceSpot": _balance_state,
    "balanceMargin": _balance_state,
    "ordersPending": _order_state,
}

WHITEBIT = Dialect(
    name=NAME,
    route=route,
    head=head,
    decode=decode,
    encode=encode,
    changes=changes,
    fits=fits,
    limits=LIMITS,
    heartbeat=HEARTBEAT,
    interpret=interpret,
    catch_up=CatchUp(queries, read, state),
    direct=DIRECT,
)
