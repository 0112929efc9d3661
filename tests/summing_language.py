"""
A tiny made-up language whose deltas add up: an event tells all that was told of its topic, as far as that is known.

A push has the figures that changed, ``{"of":"sum A","d":{"last":"2"}}``; one with ``"all":1`` is a snapshot. Topics of the
channel ``sum`` merge, those of ``tape`` tell what each push has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
from counting_language import COUNTING, route

from exchange_ws.core.dialect import Reading, parse
from exchange_ws.core.messages import Message, Notice, Topic, Update
from exchange_ws.events import Event, Ticker


def topic(name: str) -> Topic:
    """The topic written so."""
    channel, symbol = name.split(" ")
    merges = channel == "sum"
    return Topic(
        name.encode(),
        channel,
        name,
        symbol=symbol,
        label=channel,
        merges=merges,
        standalone=not merges,
        opens_with_snapshot=merges,
    )


def snapshot(name: str, **figures: Any) -> bytes:
    """All figures of one topic."""
    return json.dumps({"of": name, "d": figures, "all": 1}, separators=(",", ":")).encode()


def delta(name: str, **figures: Any) -> bytes:
    """Those that changed."""
    return json.dumps({"of": name, "d": figures}, separators=(",", ":")).encode()


def decode(message: bytes) -> Message:
    body = parse(message)
    return Update((body["of"].encode(),), body["of"].partition(" ")[0], body) if "of" in body else Notice(body)


def interpret(update: Update, reading: Reading) -> Sequence[Event]:
    key, body = update.keys[0], update.body
    figures = dict(body["d"])
    if update.label == "sum":
        former = reading.states.get(key)
        if "all" in body:
            reading.states[key] = figures
        elif former is not None:
            reading.states[key] = figures = {**former, **figures}
    found = [None if (text := figures.get(name)) is None else reading.numbers(text) for name in ("last", "open", "high")]
    symbol = key.decode().partition(" ")[2]
    return [Ticker("summing", update.label, symbol, None, reading.received, body, None, *found, None, None, None, 86400)]


SUMMING = attrs.evolve(COUNTING, name="summing", route=route, decode=decode, interpret=interpret)
