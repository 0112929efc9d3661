"""
Bitzoom's wire language: ``{"channel", "event", "data"}``, several to a message, without request ids.

Where a fact comes from is said in brackets:

* [Streams]: the vendor's page "WebSocket Streams", state of 2026-02-13. It is the authority.
* [Docs]: the vendor's other pages of that date: guides, errors page, OpenAPI files, the playground of the documentation.
* [Framework]: read in the public server framework that the vendor's server is built on, state of 2026-02; which build is
  deployed is not known, so nothing that [Streams] allows is refused because of it.
* [Analogy]: names of fields as Binance's endpoints of the same names have them; the vendor documents no payload but the
  ticker's.

What is not established at all: the payloads' shapes (hence every field may be missing, and `raw` has all of it), whether a push
follows a subscription at once, how often channels push, and whether errors carry codes on this socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Callable

import attrs

from exchange_ws.core.dialect import Dialect, Direct, Head, Reading, dump, head_of, parse, shown
from exchange_ws.core.messages import (
    LOGIN,
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
    BookUpdate,
    Candle,
    Event,
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
    "CHANNELS",
    "HEARTBEAT",
    "INTERVALS",
    "LOGON",
    "PRIVATE",
    "PRIVATE_CHANNELS",
    "PUBLIC",
    "changes",
    "checked_data",
    "decode",
    "encode",
    "fits",
    "interpret",
    "means",
    "route",
    "split",
    "topic",
    "topics",
]

NAME = "bitzoom"

LOGON, SUB, UNSUB, SUCCESS, ERROR = "logon", "sub", "unsub", "success", "error"
#: Events that are no subscription ids, compared with regard to case [Streams].
RESERVED = frozenset({SUB, UNSUB, SUCCESS, ERROR})

TICKER, TICKER_PRICE, PREMIUM_INDEX = "/api/v1/ticker", "/api/v1/ticker/price", "/api/v1/premiumindex"
HR24, DEPTH, KLINES, TRADES = "/api/v1/ticker/hr24", "/api/v1/depth", "/api/v1/klines", "/api/v1/trades"
EXCHANGE_INFO = "/api/v1/exchangeinfo"
ADL_QUANTILE, MARGIN_TYPE, LEVERAGE = "/api/v1/adlquantile", "/api/v1/margintype", "/api/v1/leverage"
BALANCE, OPEN_ORDERS, POSITION_RISK = "/api/v1/balance", "/api/v1/openorders", "/api/v1/positionrisk"

#: Channels with the parameters that they take, True for the required ones, in the order of the vendor's page [Streams].
CHANNELS: Mapping[str, Mapping[str, bool]] = {
    TICKER: {"symbol": True},
    TICKER_PRICE: {"symbol": True},
    PREMIUM_INDEX: {"symbol": True},
    HR24: {"symbol": False},
    DEPTH: {"symbol": True, "limit": True},
    KLINES: {"symbol": True, "interval": True, "limit": True},
    TRADES: {"symbol": True, "limit": True},
    EXCHANGE_INFO: {},
    ADL_QUANTILE: {"symbol": False},
    MARGIN_TYPE: {"symbol": True},
    LEVERAGE: {"symbol": False},
    BALANCE: {},
    OPEN_ORDERS: {"symbol": False},
    POSITION_RISK: {"symbol": False},
}
#: Those that need `logon` first [Streams]. The first three were public until 2026-02-13, and the playground asks for no login
#: on them [Docs]; where a server still sees it so, logging in does no harm.
PRIVATE_CHANNELS = frozenset({ADL_QUANTILE, MARGIN_TYPE, LEVERAGE, BALANCE, OPEN_ORDERS, POSITION_RISK})
#: Those that may stay silent for hours, so that whoever comes second to one may have missed the only push for long.
SELDOM = PRIVATE_CHANNELS | {EXCHANGE_INFO}

#: Seconds of a candle by the vendor's word for it [Docs]; a month has no fixed number.
INTERVALS: Mapping[str, int | None] = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "6h": 21600,
    "8h": 28800,
    "12h": 43200,
    "1d": 86400,
    "3d": 259200,
    "1w": 604800,
    "1M": None,
}

#: Parameters with which the REST twins of two channels *set* something [Docs]: never said, whatever is asked for. The server
#: reads keys without regard to case [Framework].
SETTINGS = frozenset({"leverage", "margintype"})

#: What kind of no a code is, REJECTED where it is not here [Docs, errors page, and the HTTP statuses listed there]. None was
#: seen on this socket; [Streams] shows errors with ``{}``.
REFUSALS = {
    -1: TRANSIENT,  # unknown
    -1000: TRANSIENT,  # unknown
    -1001: TRANSIENT,  # internal disconnect
    -1002: UNAUTHORIZED,  # token invalid or expired
    -1003: TOO_MANY,  # rate limit
    -1006: TRANSIENT,  # bad upstream answer
    -1007: TRANSIENT,  # timeout
    -1008: TRANSIENT,  # busy
    401: UNAUTHORIZED,
    403: UNAUTHORIZED,
    429: TOO_MANY,
    500: TRANSIENT,
    502: TRANSIENT,
    503: TRANSIENT,
    504: TRANSIENT,
}
TOO_MANY_PAUSE_S = 60.0  # suggested for code -1003 [Docs, errors page]

_SOURCE = "Bitzoom documentation, FAQ, state of 2026-02-13; written for the protocol before this one, kept as a ceiling"
#: 10 messages a second [Docs, FAQ]. More than 5 new connections a second from one address are refused [Framework]. 200 streams
#: a connection and 5 connections an address [Docs, FAQ]: one of them is the private one's.
LIMITS = Limits(
    requests=Pace(10, 1.0, _SOURCE),
    dials=Pace(5, 1.0, "the server framework's default, read 2026-02; the vendor documents nothing"),
    topics=200,
    connections=4,
    source=_SOURCE,
)

#: The vendor documents no keepalive. Its server framework pings every 54 s and hangs up 60 s after the last pong [Framework];
#: `{"event": "ping"}` is an error there, so ours are ping frames, which every server must answer [RFC 6455, section 5.5.2].
HEARTBEAT = Heartbeat(interval_s=20.0, source="ours: the vendor documents none")

BLANKS = b" \t\r"

# The channel comes first [Streams], or the event does [Framework]. Events that are no subscription ids are for `decode`, as is
# everything of `logon`, which is no path.
_HEAD = re.compile(
    rb'\{"channel":"(/[^"\\]*","event":"(?!(?:sub|unsub|success|error)")[^"\\]+)","data":'
    rb'|\{"event":"(?!(?:sub|unsub|success|error)")([^"\\]+)","channel":"(/[^"\\]*)","data":'
).match
_SEPARATOR = b'","event":"'


_FIRST, _LAST = itemgetter(0), itemgetter(-1)


# hot path: 90 ns a message of a busy read, 1 us a read of one (see `route`)
def split(frames: Sequence[bytes]) -> list[bytes]:
    r"""
    The messages of some WebSocket messages: their lines [Streams].

    They are cut at ``\n`` alone, since U+2028 and others that `bytes.splitlines` and its like know may stand inside JSON text;
    blanks, tabs and ``\r`` around a line and empty lines are left out. Each line stands for itself: what is cut off at the end
    is never glued to the next message, whose first one that could spoil.

    One object over several lines, as the documentation prints its examples, is taken as one if no line of it is an object by
    itself. A binary message is read as if it were text; what of it is no UTF-8 is no JSON either.
    """
    lines = b"\n".join(frames).split(b"\n")
    try:
        # As servers write them; and never one object over several lines, for in no object a "{" comes next to a "}".
        if len(lines) == bytes(map(_FIRST, lines)).count(b"{") == bytes(map(_LAST, lines)).count(b"}"):
            return lines
    except IndexError:
        pass  # an empty line
    return [line for frame in frames for line in _lines(bytes(frame))]


def _lines(frame: bytes) -> Sequence[bytes]:
    """Those of one WebSocket message."""
    lines = [line for line in [part.strip(BLANKS) for part in frame.split(b"\n")] if line]
    if len(lines) > 1 and not any(map(_is_object, lines)) and _is_object(frame):
        return (frame,)
    return lines


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(parse(text), dict)
    except ValueError:
        return False


# hot path: 320 ns with the channel first, 430 ns with the event first, 350 ns to give up on a reply (CPython 3.11 on a shared
# 2-core machine; `python -m timeit` of `route(m)` on the documentation's messages).
def route(message: bytes) -> bytes | None:
    """
    Channel and subscription id of a push, found without parsing; None leaves it to `decode`.

    The key is what the wire has from the one to the other, ``/api/v1/ticker","event":"abc123``, put together where the event
    comes first. Both are needed: the framework's ids are computed from the parameters alone, so that ticker and price of one
    symbol share theirs [Framework]. Any space, escape or other member before the data makes it give up. A member that occurs
    twice, for which JSON has no rule, is not looked for.
    """
    head = _HEAD(message)
    if head is None:
        return None
    if head.lastindex == 1:
        return head[1]
    return head[3] + _SEPARATOR + head[2]


def head(message: bytes) -> Head | None:
    """All before the data."""
    found, key = _HEAD(message), route(message)
    return None if found is None or key is None else head_of(found[0], key)


def _key(channel: str, event: str) -> bytes:
    return f'{channel}","event":"{event}'.encode()


def decode(message: bytes) -> Message:
    """
    One wire message to an `Update` or a `Reply`.

    ``event`` says what it is: "sub" and "unsub" confirm, "success" and "error" answer, anything else is the id of the
    subscription that the data belongs to [Streams]. A number there is taken by its digits, if it is a whole one: the
    framework's ids are numbers of 64 bits, as text [Framework]. No `data` is the same as null.

    Answers carry no id: they belong to what was asked on their channel, and "sub" and "unsub" to their like only.

    Raises
    ------
    ValueError
        Not JSON, no object, or no channel and event in it.
    """
    body = parse(message)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    channel, event = body.get("channel"), body.get("event")
    if type(event) is int:
        event = str(event)
    if not isinstance(channel, str) or not isinstance(event, str) or not event:
        raise ValueError("no channel or no event")
    data = body.get("data")
    if channel == LOGON:
        return _logged_on(event, data)
    if event == SUB:
        return _confirmed(channel, data)
    if event == UNSUB:
        return _ended(channel, data)
    if event == SUCCESS:  # "generic" [Streams]: enough for an unsubscribe, while a subscribe needs the id that follows
        return Reply(channel, True, data, method=UNSUB)
    if event == ERROR:
        # A server that could not read a request cannot name its channel [Framework].
        return Reply(channel, False, None, _refusal(data), alone=channel not in CHANNELS)
    return Update((_key(channel, event),), channel, data)


def _logged_on(event: str, data: Any) -> Reply:
    """The answer to `logon`, never "sub" as the request is. Its data may repeat the token [Framework], so it ends here."""
    if event == SUCCESS:
        return Reply(LOGON, True)
    if event == ERROR:
        refusal = _refusal(data)
        return Reply(LOGON, False, None, attrs.evolve(refusal, message=_LIKE_A_TOKEN.sub("(hidden)", refusal.message)))
    raise ValueError("logon is answered by success or error")


_LIKE_A_TOKEN = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*|[\w+/=-]{40,}", re.ASCII)


def _confirmed(channel: str, data: Any) -> Reply:
    """
    ``{subscription id: anything}`` [Streams]: the ids of this subscription, or of all that the connection has on the channel.

    The framework lists all, with the parameters of each as its value [Framework]. Words that are reserved cannot be ids. A
    bare id and a list of ids are understood too, though documented nowhere; without any id there is nothing to be received,
    hence no success.
    """
    remark = None
    if isinstance(data, dict):
        found = [(str(name), echo) for name, echo in data.items()]
    else:
        listed = data if isinstance(data, list) else [data]
        found = [(str(name), None) for name in listed if type(name) in (str, int)]
        remark = "a confirmation whose data is no object"
    ids = {name: echo for name, echo in found if name and name not in RESERVED}
    if len(ids) < len(found):
        remark = "a confirmation names an id that is a reserved word; it is left out"
    if not ids:
        refusal = Refusal(None, "the confirmation names no subscription id")
        return Reply(channel, False, data, refusal, method=SUB, remark=remark)
    aliases = tuple(_key(channel, name) for name in ids)
    return Reply(channel, True, data, None, aliases, tuple(ids), tuple(ids.values()), method=SUB, remark=remark)


def _ended(channel: str, data: Any) -> Reply:
    """The id that has ended, as a string [Streams]; keys of an object, a list or a number are understood too, and null."""
    listed = list(data) if isinstance(data, (dict, list)) else [data]
    ids = tuple(str(name) for name in listed if type(name) in (str, int))
    remark = None if isinstance(data, str) else "the answer to an unsubscribe whose data is no text"
    return Reply(channel, True, data, None, tuple(_key(channel, name) for name in ids), ids, method=UNSUB, remark=remark)


def _refusal(data: Any) -> Refusal:
    """
    The exchange's no, of any shape: ``{}`` [Streams], a text [Framework], ``{"code", "msg"}`` or the envelope of REST [Docs].

    The text of one who has to log in first names that channel [Framework], whatever its language.
    """
    if isinstance(data, str):
        return Refusal(None, data or _NO_REASON, UNAUTHORIZED if LOGON in data else REJECTED)
    if not isinstance(data, dict):
        return Refusal(None, _NO_REASON if data is None else shown(data))
    texts = (data.get(name) for name in ("msg", "errorMessage", "message", "error"))
    text = next((text for text in texts if isinstance(text, str) and text), None)
    numbers = (_whole(data.get(name)) for name in ("code", "errorCode"))
    code = next((number for number in numbers if number is not None), None)
    if text is None:
        text = shown(data) if data else _NO_REASON
    kind = REJECTED if code is None else REFUSALS.get(code, REJECTED)
    return Refusal(code, text, kind, TOO_MANY_PAUSE_S if kind == TOO_MANY else None)


_NO_REASON = "refused without a reason"


def _whole(value: Any) -> int | None:
    """A whole number, which may come as text."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return value if type(value) is int else None


def encode(command: Command, serial: int) -> Outgoing:
    """
    ``{"channel", "event", "data"}``, one object a message: of several the framework reads the first only [Framework].

    Its answer carries nothing but the channel [Streams].
    """
    if command.kind == LOGIN:
        channel, event, data = LOGON, SUB, command.args[0]
    else:
        event = command.method
        channel, data = command.args
    return Outgoing(dump({"channel": channel, "event": event, "data": data}), channel)


def topics(channel: str, /, *others: str, **params: Any) -> tuple[Topic, ...]:
    """
    The topic of *channel* with *params*, which are checked.

    Raises
    ------
    UsageError
        Something is unknown, missing or impossible.
    """
    if others:
        raise UsageError(f"{channel}: takes parameters by name, such as symbol={others[0]!r}; a subscription has one channel")
    return (topic(channel, params),)


def topic(channel: Any, params: Mapping[str, Any], *, checked: bool = True) -> Topic:
    """
    What subscribing to *channel* with *params* is. None and empty text are the same as leaving a parameter out.

    Topics are the same if their channels and parameters are, in any order; ``20`` and ``"20"`` are not the same.

    Parameters
    ----------
    checked
        False lets parameters pass that are missing, impossible or not documented, but never one that would set something.
    """
    if channel not in CHANNELS:
        raise UsageError(f"unknown channel {channel!r}: Bitzoom has {', '.join(CHANNELS)}")
    data = checked_data(channel, params, checked=checked)
    text = dump(data).decode()
    symbol = data.get("symbol")
    return Topic(
        key=f"{channel} {json.dumps(data, sort_keys=True)}".encode(),
        channel=channel,
        name=" ".join([channel, *(f"{name}={value}" for name, value in data.items())]),
        args=(text,),
        symbol=symbol if isinstance(symbol, str) else None,
        label=channel,
        standalone=channel != OPEN_ORDERS,
        opens_with_snapshot=channel in SELDOM,
        replays=channel == TRADES,
        repeats=channel == TRADES,
        account=channel in PRIVATE_CHANNELS,
    )


def checked_data(channel: str, params: Mapping[str, Any], *, checked: bool = True) -> dict[str, Any]:
    """*params* as the request's `data` has them, in the documented order; see `topic`."""
    known = CHANNELS.get(channel, {})
    given = {name: value for name, value in params.items() if value is not None and value != ""}
    for name in given:
        if not isinstance(name, str) or name.lower() in SETTINGS:
            raise UsageError(f"{channel}: {name!r} is never sent with a subscription: over REST it sets what it names")
    data = {name: given[name] for name in [*known, *sorted(given)] if name in given}
    if checked:
        _check(channel, known, data)
    try:
        dump([channel, data])
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{channel}: parameters that cannot be said in JSON: {error}") from None
    return data


def _check(channel: str, known: Mapping[str, bool], data: Mapping[str, Any]) -> None:
    unknown = [name for name in data if name not in known]
    if unknown:
        raise UsageError(f"{channel}: no parameter {', '.join(unknown)}; it takes {' and '.join(known) or 'none'}")
    missing = [name for name, required in known.items() if required and name not in data]
    if missing:
        raise UsageError(f"{channel}: needs {' and '.join(missing)}")
    symbol, interval, limit = data.get("symbol"), data.get("interval"), data.get("limit")
    if symbol is not None and not isinstance(symbol, str):
        raise UsageError(f"{channel} symbol={symbol!r}: takes text, as exchangeinfo spells it")
    if interval is not None and (not isinstance(interval, str) or interval not in INTERVALS):
        raise UsageError(f"{channel} interval={interval!r}: takes one of {', '.join(INTERVALS)}")
    # The vendor's playground sends one limit as text [Docs], while the framework refuses that [Framework]: who has reasons for
    # it may send it.
    if limit is not None and not isinstance(limit, str) and (type(limit) is not int or limit < 1):
        raise UsageError(f"{channel} limit={limit!r}: takes a whole number of 1 or more")


def changes(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """
    One command for each channel that differs, what has to go first: answers tell the channel and nothing else.

    The next one of the channel is said when this one is answered. An unsubscribe repeats the data of its subscribe, to the byte
    [Streams]; ids do not occur in requests.
    """
    for channel in sorted({topic.channel for topic in stated ^ wanted}):
        gone = _of(channel, stated - wanted)
        if gone:
            yield Command(UNSUB, _args(gone[0]), UNSUBSCRIBE, replay=True, drops=frozenset(gone[:1]))
        else:
            new = _of(channel, wanted - stated)
            yield Command(SUB, _args(new[0]), SUBSCRIBE, replay=True, states=frozenset(new[:1]))


def _of(channel: str, found: Iterable[Topic]) -> list[Topic]:
    return sorted((one for one in found if one.channel == channel), key=lambda one: one.name)


def _args(one: Topic) -> tuple[str, Any]:
    return one.channel, json.loads(one.args[0])


def fits(others: Iterable[Topic], one: Topic) -> bool:
    """Topics do not disturb each other; their number is in `LIMITS`."""
    return True


def means(one: Topic, echo: Any) -> bool:
    """
    Is *echo*, the value of an id in a confirmation, made of the parameters of this topic?

    It has each parameter, whatever the case of its name and whether it is text or a number, may have others that the server
    adds, and has none that the topic leaves out [Framework].
    """
    if not isinstance(echo, dict):
        return False
    told = {name.lower(): value for name, value in echo.items()}
    data = json.loads(one.args[0])
    return all(
        told.get(name.lower()) in (None, "") if name not in data else _alike(told.get(name.lower()), data[name])
        for name in {*data, *CHANNELS[one.channel]}
    )


def _alike(told: Any, said: Any) -> bool:
    """Whether these are the same, be they text or numbers. What is neither may be nested too deeply to make text of it."""
    return str(told) == str(said) if isinstance(told, (str, int, float)) else bool(told == said)


# Events --------------------------------------------------------------------------------------------------------------------


def interpret(update: Update, reading: Reading) -> list[Event]:
    """
    The events of a push, in order; `raw` is its whole data, unchanged.

    Data may be one object or a list of them wherever that is not documented. What is neither, an empty list among them (no
    open orders, no position), is an `Other`: nothing is kept from who reads.

    Raises
    ------
    ValueError
        A field has something that cannot be what it is called.
    """
    reader = _READERS.get(update.label)
    one = reading.topics.get(update.keys[0])
    body = update.body
    rows = body if isinstance(body, list) else [body]
    try:
        if reader is not None and rows and (update.label == KLINES or all(isinstance(row, dict) for row in rows)):
            events = [reader(_Push(update, reading, one), row) for row in _rows_of(update.label, rows)]
            return sorted(events, key=_trade_id) if update.label == TRADES and _are_numbered(events) else events
    except (ArithmeticError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(f"{update.label}: {error}") from error
    row = body if isinstance(body, dict) else {}
    push = _Push(update, reading, one)
    return [Other(*push.head(row))]


def _rows_of(channel: str, rows: list[Any]) -> list[Any]:
    """Candles are lists of figures [Analogy], so a list of such is several of them, and a bare one is one."""
    return [rows] if channel == KLINES and not isinstance(rows[0], (list, dict)) else rows


def _trade_id(event: Any) -> Any:
    return event.id


def _are_numbered(events: Sequence[Any]) -> bool:
    return len(events) > 1 and all(type(event.id) is int for event in events)


class _Push:
    """What is the same for all rows of one push."""

    __slots__ = ("one", "reading", "update")

    def __init__(self, update: Update, reading: Reading, one: Topic | None) -> None:
        self.update = update
        self.reading = reading
        self.one = one

    def head(self, row: Mapping[str, Any], *times: str) -> tuple[str, str, str | None, float | None, float, Any, None]:
        """Exchange, channel, symbol, time, received, raw, gap: the row's own symbol, or that of the subscription."""
        symbol = row.get("symbol", row.get("s"))
        if not isinstance(symbol, str):
            symbol = None if self.one is None else self.one.symbol
        time = next((row[name] for name in (*times, "time") if row.get(name) is not None), None)
        return NAME, self.update.label, symbol, _seconds(time), self.reading.received, self.update.body, None

    def number(self, row: Mapping[str, Any], *names: str) -> Number:
        """The first of *names* that the row has; None for none."""
        return _number(next((row[name] for name in names if row.get(name) is not None), None), self.reading.numbers)


def _number(value: Any, numbers: Numbers) -> Number:
    """Prices and sizes are text [Streams]; numbers are taken by their digits."""
    if type(value) is str:
        return numbers(value) if value else None
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ValueError(f"no number: {type(value).__name__}")
    return numbers(str(value))


def _seconds(value: Any) -> float | None:
    """Times are milliseconds since 1970 [Docs]."""
    return value / 1000 if type(value) in (int, float) else None


def _last_price(push: _Push, row: Any) -> Event:
    """``{"symbol", "price"}`` [Streams]; ticker/price has `time` too [Analogy]."""
    return LastPrice(*push.head(row), push.number(row, "price"))


def _ticker(push: _Push, row: Any) -> Event:
    """
    ``{"symbol", "lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume", "openTime", "closeTime", ...}``.

    [Analogy]; the same notions were on the page before this one [Docs]. The period is what lies between its two times.
    """
    opened, closed = row.get("openTime"), row.get("closeTime")
    return Ticker(
        *push.head(row, "closeTime"),
        push.number(row, "lastPrice"),
        push.number(row, "openPrice"),
        push.number(row, "highPrice"),
        push.number(row, "lowPrice"),
        push.number(row, "volume"),
        push.number(row, "quoteVolume"),
        round((closed - opened) / 1000) if type(opened) is int and type(closed) is int else None,
    )


def _book(push: _Push, row: Any) -> Event:
    """
    ``{"lastUpdateId", "E", "T", "bids": [[price, quantity], ...], "asks": ...}``, milliseconds, best first [Analogy].

    The playground calls these pushes snapshots, and the changelog lists differences as planned [Docs]: each is the whole book.
    """
    sequence = row.get("lastUpdateId")
    return BookUpdate(
        *push.head(row, "E", "T"),
        "snapshot",
        _levels(row.get("bids"), push.reading.numbers),
        _levels(row.get("asks"), push.reading.numbers),
        sequence if type(sequence) is int else None,
        None,
    )


def _levels(side: Any, numbers: Numbers) -> tuple[tuple[Number, Number], ...]:
    return tuple([(_number(level[0], numbers), _number(level[1], numbers)) for level in side or ()])


#: A candle's figures as a list: start, open, high, low, close, volume, end, quote volume, and more [Analogy]; as an object, by
#: their letters on the page before this one [Docs].
_CANDLE_LETTERS = ("t", "o", "h", "l", "c", "v", "T", "q")


def _candle(push: _Push, row: Any) -> Event:
    """Start and end are milliseconds. The interval is that of the subscription; whether it is closed, only objects tell."""
    told = row if isinstance(row, dict) else {}
    figures = [row.get(letter) for letter in _CANDLE_LETTERS] if isinstance(row, dict) else [*row, *[None] * 8][:8]
    interval = told.get("i") or (None if push.one is None else json.loads(push.one.args[0]).get("interval"))
    numbers = push.reading.numbers
    start = _seconds(figures[0])
    if start is None:
        raise ValueError("a candle without its start")
    closed = told.get("x")
    return Candle(
        *push.head(told, "E"),
        start,
        _number(figures[1], numbers),
        _number(figures[2], numbers),
        _number(figures[3], numbers),
        _number(figures[4], numbers),
        _number(figures[5], numbers),
        _number(figures[7], numbers),
        INTERVALS.get(interval) if isinstance(interval, str) else None,
        closed if isinstance(closed, bool) else None,
    )


def _trade(push: _Push, row: Any) -> Event:
    """
    ``{"id", "price", "qty", "time", "isBuyerMaker", ...}`` [Analogy], or as the vendor's own trades are named:
    ``{"id", "price", "amount", "trade_time", "is_buyer_maker", ...}`` [Docs, internal OpenAPI].

    A push may repeat trades of the one before.
    """
    buyer_made = row.get("isBuyerMaker", row.get("is_buyer_maker"))
    return Trade(
        *push.head(row, "trade_time"),
        row.get("id"),
        push.number(row, "price"),
        push.number(row, "qty", "amount"),
        ("sell" if buyer_made else "buy") if isinstance(buyer_made, bool) else None,
    )


def _balance(push: _Push, row: Any) -> Event:
    """``{"asset", "balance", "availableBalance", "updateTime", ...}`` [Analogy]; what is locked is not told."""
    return Balance(*push.head(row, "updateTime"), row.get("asset"), push.number(row, "availableBalance"), None)


def _order(push: _Push, row: Any) -> Event:
    """
    ``{"orderId", "symbol", "side", "type", "price", "quantity", "status", "createTime"}`` [Docs, guide]; more of it [Analogy].

    A list is taken for all open orders of the subscription, an object for one that has changed; which of both the server sends
    is not known. Status and type are the vendor's words, in a case that its pages do not agree on.
    """
    order_side, client_id = row.get("side"), row.get("clientOrderId")
    side = order_side.lower() if isinstance(order_side, str) and order_side.lower() in ("buy", "sell") else None
    return Order(
        *push.head(row, "updateTime", "createTime"),
        row.get("orderId"),
        client_id if isinstance(client_id, str) else None,
        side,
        row.get("type") if isinstance(row.get("type"), str) else None,
        push.number(row, "price"),
        push.number(row, "quantity", "origQty"),
        push.number(row, "executedQty"),
        row.get("status") if isinstance(row.get("status"), str) else None,
    )


def _position(push: _Push, row: Any) -> Event:
    """``{"symbol", "positionAmt", "entryPrice", "unrealizedProfit", "leverage", ...}`` [Docs, guide]; negative when short."""
    return Position(
        *push.head(row, "updateTime"),
        push.number(row, "positionAmt"),
        push.number(row, "entryPrice"),
        push.number(row, "unrealizedProfit", "unRealizedProfit"),
        push.number(row, "leverage"),
    )


_READERS: dict[str, Callable[[_Push, Any], Event]] = {
    TICKER: _last_price,
    TICKER_PRICE: _last_price,
    HR24: _ticker,
    DEPTH: _book,
    KLINES: _candle,
    TRADES: _trade,
    BALANCE: _balance,
    OPEN_ORDERS: _order,
    POSITION_RISK: _position,
}


# hot path: 0.5 us (as `route` was measured)
def _price(body: Any, reading: Reading) -> list[Event]:
    """What `_last_price` makes of a message with one row that names its symbol."""
    row = body["data"]
    symbol, price, time = row["symbol"], row["price"], row.get("time")
    if symbol.__class__ is not str or price.__class__ is not str:
        raise TypeError("no text")
    return [
        LastPrice(
            NAME,
            body["channel"],
            symbol,
            None if time is None else _seconds(time),
            reading.received,
            row,
            None,
            reading.numbers(price) if price else None,
        )
    ]


DIRECT = Direct("channel", dict.fromkeys((TICKER, TICKER_PRICE), _price), frozenset({TICKER, TICKER_PRICE}))

PUBLIC = Dialect(
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
    split=split,
    aliases=True,
    echoed=means,
    direct=DIRECT,
)
PRIVATE = attrs.evolve(PUBLIC, limits=attrs.evolve(LIMITS, connections=1))
