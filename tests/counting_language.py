"""
A tiny made-up language to test subscriptions with: pushes carry numbers, and each number is a trade with that id.

A topic is written ``"tape A"``, with the channel first; the channel ``replay`` replays recent numbers when it is stated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from exchange_ws.core.dialect import Dialect, Direct, Reading, parse
from exchange_ws.core.messages import Heartbeat, Limits, Message, Notice, Outgoing, Topic, Update
from exchange_ws.events import Event, Trade

OF = b'{"of":"'


def topic(name: str) -> Topic:
    """The topic written so; the symbol ``*`` stands for all of them."""
    channel, symbol = name.split(" ")
    return Topic(
        key=name.encode(),
        channel=channel,
        name=name,
        symbol=None if symbol == "*" else symbol,
        label=channel,
        wildcard=f"{channel} *".encode(),
        replays=channel == "replay",
    )


def push(name: str, *numbers: Any, **more: Any) -> bytes:
    """News of one topic."""
    return json.dumps({"of": name, "n": numbers, **more}, separators=(",", ":")).encode()


def unroutable(name: str, *numbers: int) -> bytes:
    """The same, written so that only a parser finds its topic."""
    return json.dumps({"n": numbers, "of": name}).encode()


def rows(*found: tuple[str, int]) -> bytes:
    """One push with news of several topics."""
    return json.dumps({"rows": found}).encode()


def route(message: bytes) -> bytes | None:
    return message[len(OF) : message.index(b'"', len(OF))] if message.startswith(OF) else None


def decode(message: bytes) -> Message:
    body = parse(message)
    if "of" in body:
        channel = body["of"].partition(" ")[0]
        return Update((body["of"].encode(),), channel, body, wildcard=f"{channel} *".encode())
    if "rows" in body:
        return Update(tuple(name.encode() for name, _ in body["rows"]), "rows", body)
    return Notice(body)


def interpret(update: Update, reading: Reading) -> Sequence[Event]:
    found = update.body.get("rows") or [(update.body["of"], number) for number in update.body["n"]]
    time = update.body.get("time")
    return [
        Trade(
            exchange="counting",
            channel=update.label,
            symbol=name.partition(" ")[2],
            time=time,
            received=reading.received,
            raw=number,
            gap=None,
            id=number,
            price=reading.numbers(str(number)),
            size=Decimal(1),
            side=None,
        )
        for name, number in found
    ]


def read(body: Any, reading: Reading) -> Sequence[Event]:
    """The short way, for pushes of one topic."""
    channel, _, symbol = body["of"].partition(" ")
    time, received, numbers = body.get("time"), reading.received, reading.numbers
    return [
        Trade("counting", channel, symbol, time, received, number, None, number, numbers(str(number)), Decimal(1), None)
        for number in body["n"]
    ]


COUNTING = Dialect(
    name="counting",
    route=route,
    decode=decode,
    encode=lambda command, serial: Outgoing(b"", None),
    changes=lambda stated, wanted: (),
    fits=lambda held, one: True,
    limits=Limits(),
    heartbeat=Heartbeat(10.0),
    interpret=interpret,
    direct=Direct("of", defaultdict(lambda: read), frozenset({"tape", "replay"})),
)
