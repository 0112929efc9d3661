"""
The shape of a wire language, the JSON reader that all languages share, and what a refusal becomes.

A dialect is functions: no state, no clock, no I/O. What must be remembered, the session and the decoder remember.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NoReturn

import attrs

from exchange_ws.core.messages import (
    SUBSCRIBE,
    TOO_MANY,
    UNAUTHORIZED,
    Command,
    Heartbeat,
    Limits,
    Message,
    Outgoing,
    Refusal,
    Topic,
    Update,
)
from exchange_ws.errors import AuthenticationError, RateLimited, RequestRejected, SubscriptionRejected
from exchange_ws.events import Event, Numbers

try:
    import orjson
except ImportError:  # no wheel for this interpreter
    orjson = None  # type: ignore[assignment]

__all__ = [
    "FEW",
    "CatchUp",
    "Dialect",
    "Direct",
    "Found",
    "Head",
    "Prices",
    "Reader",
    "Reading",
    "dump",
    "head_of",
    "parse",
    "parse_with_json",
    "refused",
    "shown",
]

#: Levels of a side that are more likely a change, or a small book, than all of a large one: their prices are worth remembering.
FEW = 64
PRICES = 1024  # that a reader remembers: of the best few hundred levels of a book


class Prices(dict[str, Any]):
    """
    Numbers by their text: deltas of a book name the same prices again and again.

    To find one takes 0.04 us, to make a Decimal 0.1, one that is new 0.25. So it is not for sizes, nor for whole books.
    """

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, text: str) -> Any:
        number = self._numbers(text)
        if len(self) >= PRICES:
            self.clear()
        self[text] = number
        return number


@attrs.define
class Reading:
    """What `interpret` may know beside the update: when it was received, how numbers are wanted, who reads it. One a reader."""

    received: float  #: Unix seconds by our clock
    numbers: Numbers
    topics: Mapping[bytes, Topic]  #: the reading subscription's topics by key
    #: What the deltas of a topic that `merges` have added up to, by its key. At a snapshot `interpret` puts a new value there,
    #: and at a delta too, never changing the former one. A key is missing before the first snapshot, and anew where deltas may
    #: be missing. Then a delta leaves it so, and tells what it has itself; the topic is stated again when all was read.
    states: dict[bytes, dict[str, Any]] = attrs.Factory(dict)
    #: As `numbers`, for prices of changes; what is read with it may be remembered.
    prices: Callable[[str], Any] = attrs.Factory(lambda reading: reading.numbers, takes_self=True)


#: The events of a parsed message.
Reader = Callable[[Any, Reading], Sequence[Event]]


@attrs.frozen
class Found:
    """
    What an exchange's answers show of one topic.

    `events` are what there is, oldest first. `whole`: nothing else is there. `latest`: more is there, but all of it is older.
    `endings`, of topics whose events are states: how things have ended that may have been there; None where nothing ends.
    """

    events: tuple[Event, ...]
    whole: bool
    latest: bool = False
    endings: tuple[Event, ...] | None = None


@attrs.frozen
class CatchUp:
    """
    How to learn what a topic missed while the connection was lost, where the exchange does not replay it but can be asked.

    `queries` are calls that change nothing, none where a topic cannot be asked for; with True as the second argument, those to
    be said before the topic is stated for the first time, which show what is older than the stream.
    """

    queries: Callable[[Topic, bool], Sequence[Command]]
    read: Callable[[Topic, Sequence[Any], Reading], Found]  #: their results, in order; raises as `interpret` does
    #: For topics whose events are states: what an event is of, and in which state that is, None if it has ended. None for those
    #: whose events are records, each told once and known by its `id`.
    state: Callable[[Topic], Callable[[Event], tuple[Any, Any]] | None]


@attrs.frozen
class Direct:
    """
    The short way from a message that looks as usual to its events, with no `Update` between.

    A reader makes of a parsed message what `decode` and `interpret` would, or raises as `interpret` does; then these are asked,
    so that it need not know what is rare, nor say what is wrong.
    """

    field: str  #: whose value tells what a message is
    readers: Mapping[str, Reader]  #: by that value
    labels: frozenset[str]  #: of the topics that have some


@attrs.frozen
class Head:
    """
    How the messages of one topic begin.

    One that has `start` at its start, and `rest` between `at` and `end`, is an update of the topic `key`, or is not JSON. (A
    member that occurs twice, for which JSON has no rule, is not looked for.)
    """

    start: bytes
    at: int
    end: int
    rest: bytes
    key: bytes

    def fits(self, message: bytes) -> bool:
        """Whether *message* begins so."""
        return message.startswith(self.start) and message[self.at : self.end] == self.rest


@attrs.frozen
class Dialect:
    """A wire language: functions and declared limits. Plain functions, so that a hot call is a call, not a look-up."""

    name: str  #: of the exchange, as `exchange_ws.connect` takes it
    route: Callable[[bytes], bytes | None]  #: cheap: the key of an update; None if unsure, never wrong
    decode: Callable[[bytes], Message]  #: full parse; raises ValueError for what is not JSON
    encode: Callable[[Command, int], Outgoing]  #: command and serial in; bytes, and the key of its reply, out
    changes: Callable[[frozenset[Topic], frozenset[Topic]], Iterable[Command]]  #: from (stated, wanted)
    #: May this topic join these on one connection? It is asked with those of its channel; how many may be there is in `limits`.
    fits: Callable[[Iterable[Topic], Topic], bool]
    limits: Limits
    heartbeat: Heartbeat
    interpret: Callable[[Update, Reading], Sequence[Event]]  #: an update in the users' vocabulary; on the consumer's thread
    #: How messages like this update, whose key `route` tells, begin; None where each begins in its own way.
    head: Callable[[bytes], Head | None] | None = None
    split: Callable[[Sequence[bytes]], list[bytes]] | None = None  #: WebSocket messages into those of the language
    #: Updates carry ids that only the confirmation tells. Then `Update.label` is the `channel` of its topic, and updates that
    #: come before their confirmation are kept for it.
    aliases: bool = False
    #: Does this echo in a confirmation (`Reply.echoes`) mean that topic? For servers that name ids of other topics too.
    echoed: Callable[[Topic, Any], bool] | None = None
    catch_up: CatchUp | None = None  #: None: no topic can be asked for what it missed
    direct: Direct | None = None  #: None: there is no short way


#: Digits of a long number that is a member's value, without the first five. Eight at most: in nine characters there would be
#: room for another object to begin, `,"":{"":1`, which would make the rest of the head its members; in ten, for `,"topic":1`.
_CHANGING = re.compile(rb'":[0-9]{5}([0-9]{1,8})(?![0-9])').finditer


def head_of(whole: bytes, key: bytes) -> Head | None:
    """
    The head of messages that begin with *whole*, in which one number may change, a time stamp; None if there are several.

    *whole* has all that proves their key, and ends outside of strings.
    """
    numbers = list(_CHANGING(whole))
    if not numbers:
        return Head(whole, len(whole), len(whole), b"", key)
    if len(numbers) > 1:
        return None
    at, end = numbers[0].span(1)
    return Head(whole[:at], end, len(whole), whole[end:], key)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is beyond what a float can be")
    return value


_scan = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant).raw_decode
_SURROGATE = "\\ud"  # how the escape of half a character begins, unless it is written in capitals


def parse_with_json(message: bytes) -> Any:
    """
    One JSON text with the standard library, as strict as orjson; ValueError for anything else.

    Three differences are left. Whole numbers beyond 64 bits are exact here, and the nearest float with orjson. Nesting ends at
    1024 levels with orjson, and here at what the interpreter has room for. Of a name that occurs twice the last one counts, and
    what is wrong with the characters of the others is seen by orjson only.
    """
    text = message.decode().strip(" \t\r\n")
    try:
        value, end = _scan(text)
        if _SURROGATE in text or "\\uD" in text:
            _check_characters(value)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if end != len(text):
        raise ValueError("more than one JSON text")
    return value


def _check_characters(value: Any) -> None:
    """ValueError if text within *value* has half a surrogate pair, which no UTF-8 can carry on."""
    json.dumps(value, ensure_ascii=False).encode()


parse: Callable[[bytes], Any] = parse_with_json if orjson is None else orjson.loads


# Made once: `json.dumps` makes an encoder for each call, a third of what it takes.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dump(value: Any) -> bytes:
    """Compact JSON of what we say: small, seldom and ours, so the standard library does. ValueError for what has no JSON."""
    text = _encode(value)
    if _SURROGATE in text:  # the escapes of the encoder are in small letters
        _check_characters(value)
    return text.encode()


def shown(value: Any) -> str:
    """*value*, of a shape that nobody documented, as text for an error; a refusal must not end a connection by its looks."""
    try:
        return dump(value).decode()
    except (ValueError, RecursionError):
        return "(too deeply nested to be shown)"


def refused(refusal: Refusal, command: Command) -> RequestRejected:
    """The error that a refused command raises on the thread that asked."""
    shown = command.shown()
    message = _without_secrets(refusal.message, command.args) if command.secret else refusal.message
    text = f"{command.method}: {message}" + ("" if refusal.code is None else f" (code {refusal.code})")
    told: dict[str, Any] = {"code": refusal.code, "message": message, "request": shown}
    if refusal.kind == TOO_MANY:
        return RateLimited(text, retry_after_s=refusal.retry_after_s, **told)
    if refusal.kind == UNAUTHORIZED:
        return AuthenticationError(text, **told)
    if command.kind == SUBSCRIBE:
        names = sorted(topic.name for topic in command.states)
        return SubscriptionRejected(text, topic=", ".join(names) or None, **told)
    return RequestRejected(text, **told)


def _without_secrets(text: str, args: Any) -> str:
    """*text* without any string of *args*: an exchange may repeat in its refusal what it was told."""
    if isinstance(args, str):
        return text.replace(args, "(hidden)") if args else text
    values: Iterable[Any] = args.values() if isinstance(args, Mapping) else args if isinstance(args, (list, tuple)) else ()
    for value in values:
        text = _without_secrets(text, value)
    return text
