"""
Bybit V5's wire language: public topics of four categories, private topics, and order entry, each on a socket of its own.

Facts are from Bybit's documentation of V5 (the page in brackets, read 2026-11) unless said to be observed with other clients,
or unknown. What the data of updates mean is in `v5_events`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import attrs

from exchange_ws.core.dialect import Dialect, Head, dump, head_of, parse
from exchange_ws.core.messages import (
    ALREADY,
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
from exchange_ws.exchanges.bybit.common_events import TOPICS_REMEMBERED
from exchange_ws.exchanges.bybit.v5_events import DIRECT, INTERVALS, NAME, PRIVATE_READERS, READERS, interpreting

__all__ = [
    "ARGS_LENGTH",
    "CATEGORIES",
    "INVERSE",
    "LINEAR",
    "NAME",
    "OPTION",
    "PRIVATE",
    "PUBLIC",
    "SPOT",
    "SPOT_ARGS",
    "STATUS",
    "TRADE",
    "changes",
    "code_of",
    "decode",
    "encode",
    "encode_trade",
    "fits",
    "route",
    "spot_changes",
    "topics",
]

CATEGORIES = ("spot", "linear", "inverse", "option")

#: Depths of order books by category [Orderbook]; "rpi" has orders for retail orders too [RPI Orderbook], and "full" is every
#: level, in changes alone [Full Orderbook].
DEPTHS = {
    "spot": ("1", "50", "200", "1000", "rpi", "full"),
    "linear": ("1", "50", "200", "1000", "rpi"),
    "inverse": ("1", "50", "200", "1000", "rpi"),
    "option": ("25", "100"),
}
#: Pools of insurance funds, by the coin that settles, or all of inverse contracts [Insurance Pool, ADL Alert].
POOLS = {"linear": ("USDT", "USDC"), "inverse": ("inverse",)}
#: How public topics are written, by channel, and which categories have them.
SHAPES = {
    "orderbook": ("orderbook.DEPTH.SYMBOL", CATEGORIES),
    "publicTrade": ("publicTrade.SYMBOL", CATEGORIES),
    "tickers": ("tickers.SYMBOL", CATEGORIES),
    "kline": ("kline.INTERVAL.SYMBOL", ("spot", "linear", "inverse")),
    "allLiquidation": ("allLiquidation.SYMBOL", ("linear", "inverse")),
    "insurance": ("insurance.POOL", ("linear", "inverse")),
    "adlAlert": ("adlAlert.POOL", ("linear", "inverse")),
    "priceLimit": ("priceLimit.SYMBOL", ("spot", "linear", "inverse")),
}
#: Topics that are of one category where it is named behind them, and of all of them where not; `position` has no spot.
BY_CATEGORY = {
    "position": ("linear", "inverse", "option"),
    "execution": CATEGORIES,
    "execution.fast": CATEGORIES,
    "order": CATEGORIES,
}
DCP = ("dcp.future", "dcp.spot", "dcp.option")  # one for each product [DCP]
SYSTEM = "system.status"
#: The channels of topics without a symbol, by their names: all private ones, and that of the exchange's maintenance.
CHANNELS = {
    SYSTEM: SYSTEM,
    **{name: name for name in (*BY_CATEGORY, "wallet", "greeks", "strategy", "spread.order", "spread.execution")},
    **{f"{name}.{category}": name for name, categories in BY_CATEGORY.items() for category in categories},
    **dict.fromkeys(DCP, "dcp"),
    **{name: name for name in ("rfq.open.rfqs", "rfq.open.quotes", "rfq.open.trades")},
}

#: What a symbol looks like. A point is in the strike prices of some options.
_SYMBOLS = {
    "spot": re.compile("[0-9A-Z]+"),
    "linear": re.compile("[0-9A-Z]+(?:-[0-9A-Z]+)*"),
    "inverse": re.compile("[0-9A-Z]+(?:-[0-9A-Z]+)*"),
    "option": re.compile(r"[0-9A-Z]+(?:-[0-9A-Z]+(?:\.[0-9]+)?)+"),
}
_COIN = re.compile("[0-9A-Z]+")

SPOT_ARGS = 10  # topics of one request on spot; more are refused, and then nothing is subscribed [Connect, "Args limits"]
MOST_ARGS = 500  # of one request elsewhere, where nothing is documented: much longer ones made connections end (observed)
ARGS_LENGTH = 21_000  # characters of topics on one public connection, all together [Connect, "Args limits"]
# Characters around all of a list. Whether these, or those around each topic, count is unknown; with them it is the safe side.
AROUND = 1

#: What kind of no a code is [WebSocket Trade, "Error codes"]. Others say what is wrong with the request, as unknown ones are
#: taken to: parameters (10001), the time stamp (10002), operation or category (10404), an id twice (20006), orders (110xxx and
#: 170xxx).
REFUSALS = {
    10003: UNAUTHORIZED,  # the key; on order entry too many sessions of one account, which knocking makes no better
    10004: UNAUTHORIZED,  # the signature
    10005: UNAUTHORIZED,  # the key's permissions
    10010: UNAUTHORIZED,  # the key is for other addresses than ours
    33004: UNAUTHORIZED,  # the key has expired
    10006: TOO_MANY,  # of the account, on one endpoint
    10403: TOO_MANY,  # more than 3000 in a second from one address
    10429: TOO_MANY,  # protection of the system
    20003: TOO_MANY,  # on this connection
    10016: TRANSIENT,  # internal error, or restarting
    10019: TRANSIENT,  # restarting
}
BUSY_KIND = 10006  # each kind of operation is counted by itself: one may cancel when one may place no more
RESTARTING = 10019  # nothing new is taken on this connection, what is under way finishes, and a new one is to be made
#: What a code means whose refusal has no words [Error Codes].
_MEANINGS: dict[int | None, str] = {10404: "no such op, or no such category for it"}
#: The same by what a refusal says, where there are no codes (observed).
_TEXTS = {"already subscribed": ALREADY, "request not authorized": UNAUTHORIZED}

_READ = "read 2026-11"
_DIALS = Pace(500, 300.0, f'Bybit V5, "Connect", connection limits: 500 connections in 5 minutes for each domain; {_READ}')
_PUBLIC_CONNECTIONS = f'Bybit V5, "Connect", connection limits: of one address, for each category by itself; {_READ}'
#: Not documented, hence None: requests on a public or a private connection; topics beside those of options.
_PUBLIC_LIMITS = Limits(
    dials=_DIALS,
    dials_of_host=True,
    connections=1000,
    characters=ARGS_LENGTH,
    source=f'{_PUBLIC_CONNECTIONS}, and "Args limits": all topics of a connection',
)
_OPTION_LIMITS = Limits(
    dials=_DIALS,
    dials_of_host=True,
    connections=1000,
    topics=2000,
    characters=ARGS_LENGTH,
    source=f'{_PUBLIC_CONNECTIONS}, and "Args limits": topics of options on one connection',
)
#: All private topics together are far from `ARGS_LENGTH`.
_PRIVATE_LIMITS = Limits(dials=_DIALS, dials_of_host=True)
_TRADE_LIMITS = Limits(
    dials=_DIALS,
    dials_of_host=True,
    requests=Pace(3000, 1.0, f'Bybit V5, "WebSocket Trade", error 10403: requests from one address; {_READ}'),
)

_PING = Command("ping", kind=PING, replay=True)
_BEAT = f'Bybit V5, "Connect", heartbeat: {{"op": "ping"}} every 20 s on each connection; {_READ}'
#: Of public connections no limit is documented.
_PUBLIC_HEARTBEAT = Heartbeat(interval_s=20.0, command=_PING, source=_BEAT)
_PRIVATE_HEARTBEAT = Heartbeat(
    interval_s=20.0,
    command=_PING,
    idle_limit_s=600.0,
    source=f"{_BEAT}. Private connections and order entry are cut after about 10 minutes, or what `max_active_time` says",
)

# What stands before `data` differs by socket, topic and year; all of it is matched, from the opening brace on. What a quote
# mark opens there is a key of the message itself: within a string it would end that string. The letters are listed, since `re`
# looks up a set of them at once, and one with `\w` in it member by member: 25 ns a message.
_HEAD = re.compile(
    rb'\{(?:"topic":"([A-Za-z0-9_./-]+)",(?:'
    rb'"type":"(?:snapshot|delta)",(?:"ts":[0-9]+,)?'
    rb'|"ts":[0-9]+,(?:"type":"(?:snapshot|delta)",(?:"cs":[0-9]+,|"id":"[\w.-]*",)?)?'
    rb'|(?:"id":"[\w.-]*",)?"creationTime":[0-9]+,)?'
    rb'|"id":"[\w.-]*","topic":"([A-Za-z0-9_./-]+)","(?:ts|creationTime)":[0-9]+,'
    rb'|"type":"(?:snapshot|delta)","topic":"([A-Za-z0-9_./-]+)",)"data":'
).match


# hot path: 270 to 390 ns an update, whichever it is and however long, 100 ns to give up on a reply (CPython 3.11 on a shared
# 2-core machine; `python -m timeit` of `route(m)` on the documentation's examples, compact).
def route(message: bytes) -> bytes | None:
    """
    Key of an update, found without parsing: its topic. None leaves it to `decode`.

    Knows the orders of keys that were documented or observed: with `type` before and after `ts`, with `cs` or `id` between
    these and `data`, with nothing but the topic before `data`, and private messages with `id` first, second, or not at all. Any
    other order, space or escape makes it give up.
    """
    head = _HEAD(message)
    if head is None:
        return None
    return head[1] or head[2] or head[3]


PONG = "ping"  # the key that all pongs have: they come in the order of the pings, and half of the sockets repeat no id in them


def head(message: bytes) -> Head | None:
    """What stands before the data, but for the time stamp."""
    found = _HEAD(message)
    return None if found is None or not found[1] else head_of(found[0], found[1])


def decode(message: bytes) -> Message:
    """
    One wire message to an `Update`, a `Reply` or a `Notice`.

    - ``{"topic", "data", ...}`` is an update.
    - ``{"op": "pong", ...}`` and ``{"ret_msg": "pong", ...}`` are the pong, in its five shapes: the reply to the oldest ping.
    - ``{"success", "ret_msg", "req_id", "op", "conn_id"}`` is a reply on public and private sockets.
    - ``{"success", "data": {"failTopics", "successTopics"}, "type": "COMMAND_RESP"}`` is one on that of options: it names no
      request, and answers the oldest.
    - ``{"reqId", "retCode", "retMsg", "op", "data", "retExtInfo", "header", "connId"}`` is one on order entry. `reqId` is left
      out by some refusals and, for one client, by the answer to a login (observed): then it answers the one request that waits.
      If several do, or one that was given up may yet be answered, none: to take one order for the refused one could be to lose
      another that was placed.

    Raises
    ------
    ValueError
        The message is not JSON.
    """
    body = parse(message)
    if not isinstance(body, dict):
        return Notice(body)
    topic = body.get("topic")
    if topic.__class__ is str and "data" in body:
        keys, label = _labelled(topic)
        return Update(keys, label, body)
    if body.get("op") == "pong" or body.get("ret_msg") == "pong":
        return Reply(PONG, True, body)
    if "retCode" in body:
        return _traded(body)
    if body.get("type") == "COMMAND_RESP":
        return _responded(body)
    if body.get("success") is True:
        return Reply(_key(body.get("req_id")), True, body)
    if body.get("success") is False:
        return _refused(body)
    return Notice(body)


@lru_cache(maxsize=TOPICS_REMEMBERED)
def _labelled(topic: str) -> tuple[tuple[bytes], str]:
    """Keys and label of its updates: the same again and again, 0.2 us less of each when they are remembered."""
    channel = CHANNELS.get(topic)
    return (topic.encode(),), topic.partition(".")[0] if channel is None else channel


def _key(serial: Any) -> str | None:
    """Ids come back as text, whatever was sent (observed); empty where none was."""
    return str(serial) if type(serial) in (str, int) and serial != "" else None


def _reason(text: Any) -> str:
    return text if isinstance(text, str) and text else "refused without a reason"


_PARTLY = "partially succeeded"
_LISTS = re.compile(r"\[([^\[\]]*)\]").findall


def _refused(body: dict[str, Any]) -> Reply:
    """
    A public or private socket's no. It has no code, so its words tell what kind it is (observed).

    A private socket says no too where some topics of a request were refused, and the others are subscribed: "Batch subscription
    partially succeeded ...:[order wallet]. ... failed ...:[dcp.spot]." That is a yes with exceptions.
    """
    key, text = _key(body.get("req_id")), _reason(body.get("ret_msg"))
    if _PARTLY in text:
        succeeded, failed = [re.split(r"[\s,]+", names.strip()) for names in (*_LISTS(text), "", "")[:2]]
        if any(succeeded):
            return Reply(key, True, body, refused=_exceptions(failed, text))
    kind = next((kind for words, kind in _TEXTS.items() if words in text.lower()), REJECTED)
    if kind == REJECTED and body.get("op") == "auth":
        kind = UNAUTHORIZED
    return Reply(key, False, body, Refusal(None, text, kind))


def _exceptions(names: Iterable[Any], text: Any) -> dict[bytes, Refusal]:
    return {name.encode(): Refusal(None, _reason(text)) for name in names if isinstance(name, str) and name}


def _responded(body: dict[str, Any]) -> Reply:
    """The socket of options tells of each topic by itself. A topic that it never pushes it accepts too (observed)."""
    data = body.get("data")
    lists = data if isinstance(data, dict) else {}
    failed, succeeded = lists.get("failTopics"), lists.get("successTopics")
    text = body.get("ret_msg") or "listed in failTopics, without a reason"
    refused = _exceptions(failed, text) if isinstance(failed, list) else {}
    if succeeded or (body.get("success") is True and not refused):
        return Reply(None, True, body, refused=refused)
    return Reply(None, False, body, Refusal(None, _reason(text)))


def _traded(body: dict[str, Any]) -> Reply:
    key, number = _key(body.get("reqId")), code_of(body["retCode"])
    if number == 0:
        return Reply("" if key is None else key, True, body, alone=key is None)
    kind = REJECTED if number is None else REFUSALS.get(number, REJECTED)
    if kind == REJECTED and body.get("op") == "auth":
        kind = UNAUTHORIZED
    wait_s = _wait_s(body.get("header")) if kind == TOO_MANY else None
    text = _reason(body.get("retMsg") or _MEANINGS.get(number))
    refusal = Refusal(number, text, kind, wait_s, renew=number == RESTARTING, narrow=number == BUSY_KIND)
    return Reply("" if key is None else key, False, body, refusal, alone=key is None)


def code_of(value: Any) -> int | None:
    """
    A code as a number; None where it is neither that nor its digits.

    Documented as an integer, as others are that came as text (observed): 0 must not be taken for the refusal of an order.
    """
    if isinstance(value, str) and _CODE(value):
        return int(value)
    return value if type(value) is int else None


def _wait_s(header: Any) -> float | None:
    """
    Seconds until the account may say more, by the exchange's clock; None if it does not tell [WebSocket Trade, header].

    `X-Bapi-Limit-Reset-Timestamp` is when, and otherwise about now, which is `Timenow`; both are milliseconds as text.
    """
    if not isinstance(header, dict):
        return None
    until, now = header.get("X-Bapi-Limit-Reset-Timestamp"), header.get("Timenow")
    if not (isinstance(until, str) and isinstance(now, str) and _MS(until) and _MS(now)):
        return None
    return (int(until) - int(now)) / 1000 if int(until) > int(now) else None


_MS = re.compile("[0-9]{1,15}", re.ASCII).fullmatch
_CODE = re.compile("[0-9]{1,9}", re.ASCII).fullmatch


def encode(command: Command, serial: int) -> Outgoing:
    """
    ``{"req_id", "op", "args"}`` of public and private sockets [Connect].

    A ping is without id and `args`: see `PONG`. Options repeat no id in any answer.
    """
    if command.method == "ping":
        return Outgoing(dump({"op": "ping"}), PONG)
    return Outgoing(dump({"req_id": str(serial), "op": command.method, "args": list(command.args)}), str(serial))


def encode_trade(command: Command, serial: int) -> Outgoing:
    """
    ``{"reqId", "header", "op", "args"}`` of order entry [WebSocket Trade]; logins have no `header`, pings nothing but `op`.

    An id is of this connection: other clients count from 1 on each (observed), while the documentation says "unique", and not
    where. The header has what the exchange compares to its clock, so it is made at the last moment.
    """
    if command.method == "ping":
        return Outgoing(dump({"op": "ping"}), PONG)
    said: dict[str, Any] = {"reqId": str(serial)}
    if command.header is not None:
        said["header"] = dict(command.header())
    said["op"] = command.method
    said["args"] = list(command.args)
    return Outgoing(dump(said), str(serial))


# Topics -----------------------------------------------------------------------------------------------------------------------


def topics(category: str, *names: str, **params: Any) -> tuple[Topic, ...]:
    """
    The topics of these *names*, which are the vendor's: "publicTrade.BTCUSDT", "kline.30.BTCUSDT", "order.linear".

    Public topics are those of the *category*. Private ones and "system.status" are the same for all of them.

    Raises
    ------
    UsageError
        The category or a name cannot be one; there are no names; or there are *params*, which no topic takes.
    """
    if category not in CATEGORIES:
        raise UsageError(f"category {category!r}: takes {_listed(CATEGORIES, 'or')}")
    if params:
        raise UsageError(f"no parameter {', '.join(params)}: topics say everything themselves, as {_known(category)}")
    if not names:
        raise UsageError(f"name at least one topic: {_known(category)}")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise UsageError(f"topic {wrong[0]!r}: takes text, one of {_known(category)}")
    return tuple(_topic(category, name) for name in dict.fromkeys(names))


def _listed(words: Iterable[str], last: str) -> str:
    *others, one = words
    return f"{', '.join(others)} {last} {one}" if others else one


def _known(category: str) -> str:
    shapes = [shape for shape, categories in SHAPES.values() if category in categories]
    bare = [name for name, channel in CHANNELS.items() if name == channel or channel == "dcp"]
    return ", ".join([*shapes, *bare])


def _topic(category: str, name: str) -> Topic:
    if name in CHANNELS:
        account = name != SYSTEM
        # A push is about some coins, some order or some fill, and the next one about others.
        return _new_topic(name, CHANNELS[name], None, standalone=not account, account=account)
    label, _, rest = name.partition(".")
    channel = name.rpartition(".")[0]
    if channel in BY_CATEGORY:
        takes = _listed(BY_CATEGORY[channel], "or")
        raise UsageError(f"topic {name!r}: takes the category {takes} behind {channel}, or nothing, for all of them")
    if label == "dcp":
        raise UsageError(f"topic {name!r}: takes {_listed(DCP, 'or')}")
    if label not in SHAPES:
        raise UsageError(f"unknown topic {name!r}: {category} of Bybit V5 has {_known(category)}")
    shape, categories = SHAPES[label]
    if category not in categories:
        raise UsageError(f"topic {name!r}: {category} has no {label}; {_listed(categories, 'and')} have")
    if label == "orderbook":
        depth, _, symbol = rest.partition(".")
        return _book_topic(category, name, depth, symbol)
    if label == "kline":
        interval, _, symbol = rest.partition(".")
        if interval not in INTERVALS:
            raise UsageError(f"topic {name!r}: takes an interval of {', '.join(INTERVALS)}, as {shape}")
        return _new_topic(name, label, _symbol(category, name, symbol))
    if label in ("insurance", "adlAlert"):
        if rest not in POOLS[category]:
            raise UsageError(f"topic {name!r}: {category} takes {_listed(POOLS[category], 'or')}, as {shape}")
        # Rows are whole, but of some contracts only. Those of `insurance` begin with all.
        return _new_topic(name, label, None, standalone=False, opens=label == "insurance")
    if label == "publicTrade" and category == "option":
        if not _COIN.fullmatch(rest):
            raise UsageError(f"topic {name!r}: takes a base coin in capitals, such as publicTrade.BTC")
        return _new_topic(name, label, None)  # all contracts of that coin
    merged = label == "tickers" and category in ("linear", "inverse")
    return _new_topic(name, label, _symbol(category, name, rest), standalone=not merged, opens=merged, merges=merged)


def _symbol(category: str, name: str, symbol: str) -> str:
    """Whether it exists, the exchange knows."""
    if not _SYMBOLS[category].fullmatch(symbol):
        example = {"inverse": "BTCUSD", "option": "BTC-26DEC25-100000-C"}.get(category, "BTCUSDT")
        raise UsageError(f"topic {name!r}: {category} takes a symbol in capitals, such as {example}")
    return symbol


def _book_topic(category: str, name: str, depth: str, symbol: str) -> Topic:
    if depth not in DEPTHS[category]:
        raise UsageError(
            f"topic {name!r}: {category} takes a depth of {', '.join(DEPTHS[category])}, as {SHAPES['orderbook'][0]}"
        )
    _symbol(category, name, symbol)
    if depth == "1":  # the whole of it in each message, at least every 3 s [Orderbook, "Process snapshot/delta"]
        return _new_topic(name, "orderbook", symbol, renews=True, pace_s=3.0)
    if depth == "full":  # its snapshot is asked for by REST
        return _new_topic(name, "orderbook", symbol, standalone=False)
    return _new_topic(name, "orderbook", symbol, standalone=False, opens=True)


def _new_topic(
    name: str,
    label: str,
    symbol: str | None,
    *,
    standalone: bool = True,
    opens: bool = False,
    renews: bool = False,
    merges: bool = False,
    account: bool = False,
    pace_s: float | None = None,
) -> Topic:
    return Topic(
        key=name.encode(),
        channel=name,  # topics are stated one by one, some of them in the same breath
        name=name,
        args=(name,),
        symbol=symbol,
        label=label,
        standalone=standalone,
        opens_with_snapshot=opens,
        renewable=opens or renews,  # one that is subscribed already is refused (observed)
        merges=merges,
        account=account,
        pace_s=pace_s,
    )


# Statements -------------------------------------------------------------------------------------------------------------------


def changes(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """
    What is no longer wanted is unsubscribed, what is not stated yet subscribed, many topics at once.

    A request is refused whole for one of its topics (observed; of spot not known). Private topics of all categories and those
    of one are not said together [Private, "Topics"]. `dcp` ones are by themselves: they are refused where an account is without
    them.
    """
    return _changes(stated, wanted, MOST_ARGS)


def spot_changes(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """The same of spot, 10 topics at once [Connect, "Args limits"]."""
    return _changes(stated, wanted, SPOT_ARGS)


def _changes(stated: frozenset[Topic], wanted: frozenset[Topic], count: int) -> Iterator[Command]:
    for batch in _batches(stated - wanted, count):
        yield Command("unsubscribe", _names(batch), UNSUBSCRIBE, replay=True, drops=frozenset(batch))
    for batch in _batches(wanted - stated, count):
        yield Command("subscribe", _names(batch), SUBSCRIBE, replay=True, states=frozenset(batch))


def _names(batch: Iterable[Topic]) -> tuple[str, ...]:
    return tuple(topic.name for topic in batch)


def _batches(some: frozenset[Topic], count: int) -> Iterator[list[Topic]]:
    """In the order of their names, at most *count* of a kind, and no more characters than a connection may have."""
    kinds: dict[str, list[Topic]] = {}
    for topic in sorted(some, key=lambda topic: topic.name):
        kinds.setdefault(_kind(topic), []).append(topic)
    for kind in sorted(kinds):
        batch: list[Topic] = []
        length = AROUND
        for topic in kinds[kind]:
            length += topic.characters
            if batch and (len(batch) == count or length > ARGS_LENGTH):
                yield batch
                batch = []
                length = AROUND + topic.characters
            batch.append(topic)
        yield batch


def _kind(topic: Topic) -> str:
    """Topics of different kinds are not said together."""
    if not topic.account:
        return ""
    return "dcp" if topic.label == "dcp" else "of all categories" if topic.name == topic.label else "of one category"


def fits(others: Iterable[Topic], topic: Topic) -> bool:
    """Topics do not disturb each other; how many may be on one connection is in its limits."""
    return True


def _public(category: str, limits: Limits = _PUBLIC_LIMITS) -> Dialect:
    return Dialect(
        name=NAME,
        route=route,
        head=head,
        decode=decode,
        encode=encode,
        changes=spot_changes if category == "spot" else changes,
        fits=fits,
        limits=limits,
        heartbeat=_PUBLIC_HEARTBEAT,
        interpret=interpreting(READERS[category]),
        direct=DIRECT,
    )


SPOT, LINEAR, INVERSE, OPTION = _public("spot"), _public("linear"), _public("inverse"), _public("option", _OPTION_LIMITS)
#: Of market data, by category.
PUBLIC = {"spot": SPOT, "linear": LINEAR, "inverse": INVERSE, "option": OPTION}
#: Of `system.status`, which has a socket of its own.
STATUS = attrs.evolve(LINEAR, limits=Limits(dials=_DIALS, dials_of_host=True))
PRIVATE = attrs.evolve(
    LINEAR, limits=_PRIVATE_LIMITS, heartbeat=_PRIVATE_HEARTBEAT, interpret=interpreting(PRIVATE_READERS), direct=None
)
#: Order entry, which has no topics.
TRADE = attrs.evolve(PRIVATE, encode=encode_trade, limits=_TRADE_LIMITS)
