"""
Four tiny made-up languages to test the session with, and what stands on it.

`SWAP` is of the replacing kind: a repeated subscribe replaces the channel's former one, and replies carry ids. `DELTA` says
only what differs, batches several channels in one command, and its replies carry no ids. Between them they have all that a
dialect can ask of the session: wildcards, aliases, snapshots, rows of several symbols, commands without a reply. `IDS` names
its topics by ids, and its replies hardly tell what they answer. `STRICT` says what `DELTA` does, with ids and headers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

from exchange_ws.core.dialect import Dialect
from exchange_ws.core.messages import (
    LOGIN,
    PING,
    REJECTED,
    SUBSCRIBE,
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

BATCH = 3  #: topics in one subscribe of DELTA
PACE = Pace(10, 60.0, "made up")  #: what both languages declare; a session is told its limits apart
SEPARATORS = (",", ":")

#: Channels of DELTA whose stream begins with a snapshot, and what gives that again: stating "book" again, unsubscribing "chain"
#: and subscribing it, nothing for "feed".
SNAPSHOTS = {"book": "repeatable", "chain": "renewable", "feed": None}


def wire(body: Any) -> bytes:
    """*body* as it stands on the wire of both languages."""
    return json.dumps(body, separators=SEPARATORS).encode()


def topic(name: str) -> Topic:
    """The topic that is written ``"channel symbol"``; the symbol ``*`` stands for all of them."""
    channel, symbol = name.split(" ")
    return Topic(
        key=name.encode(),
        channel=channel,
        name=name,
        args=(symbol,),
        symbol=None if symbol == "*" else symbol,
        label=channel,
        wildcard=f"{channel} *".encode(),
        standalone=channel not in SNAPSHOTS,
        opens_with_snapshot=channel in SNAPSHOTS,
        repeatable=SNAPSHOTS.get(channel) == "repeatable",
        renewable=SNAPSHOTS.get(channel) == "renewable",
    )


def topics(*names: str) -> frozenset[Topic]:
    """Several topics at once."""
    return frozenset(map(topic, names))


# What both languages push ----------------------------------------------------------------------------------------------------


def update(name: str, *others: str) -> bytes:
    """A push with news of one topic, or of several in rows; *name* may be an alias."""
    return wire({"of": name, "also": others} if others else {"of": name})


OF = b'{"of":"'


def route(message: bytes) -> bytes | None:
    """The key of a push; pushes in rows, and those written with spaces, are for `decode`."""
    if message.startswith(OF) and message.endswith(b'"}') and message.count(b'"') == 4:
        return message[len(OF) : -2]
    return None


def _update(body: dict[str, Any]) -> Update:
    names = (body["of"], *body.get("also", ()))
    channel, _, _ = names[0].partition(" ")
    return Update(tuple(name.encode() for name in names), channel, body, wildcard=f"{channel} *".encode())


def _refusal(error: dict[str, Any] | None) -> Refusal | None:
    if error is None:
        return None
    return Refusal(
        error.get("code"),
        error["message"],
        error.get("kind", REJECTED),
        error.get("retry_after_s"),
        renew="renew" in error,
        narrow="narrow" in error,
    )


def _parts(errors: dict[str, dict[str, Any]]) -> dict[bytes, Refusal]:
    """What was refused of a command of which the rest was done, by topic."""
    return {name.encode(): refusal for name, error in errors.items() if (refusal := _refusal(error)) is not None}


def _by_name(found: frozenset[Topic]) -> list[Topic]:
    return sorted(found, key=lambda one: one.name)


# SWAP ------------------------------------------------------------------------------------------------------------------------


def decode_swap(message: bytes) -> Message:
    """Replies: ``{"id":1,"ok":true,"result":...}`` or ``{"id":1,"ok":false,"error":{"message":"no"}}``; `not` as in DELTA."""
    body = json.loads(message)
    if "of" in body:
        return _update(body)
    if "id" in body:
        parts = _parts(body.get("not", {}))
        return Reply(str(body["id"]), body["ok"], body.get("result"), _refusal(body.get("error")), refused=parts)
    return Notice(body, body.get("note"))


def encode_swap(command: Command, serial: int) -> Outgoing:
    """Commands: ``{"id":1,"method":"price_subscribe","params":["A"]}``; the method ``tell`` has no reply."""
    key = None if command.method == "tell" else str(serial)
    return Outgoing(wire({"id": serial, "method": command.method, "params": list(command.args)}), key)


def changes_swap(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """One command for each channel that differs: the whole of it anew, or its unsubscribe."""
    for channel in sorted({one.channel for one in stated ^ wanted}):
        before = frozenset(one for one in stated if one.channel == channel)
        after = frozenset(one for one in wanted if one.channel == channel)
        symbols = tuple(one.args[0] for one in _by_name(after))
        if after:
            method = f"{channel}_subscribe"
            yield Command(method, symbols, SUBSCRIBE, replay=True, states=after, drops=before - after, replaces=True)
        else:
            yield Command(f"{channel}_unsubscribe", (), UNSUBSCRIBE, replay=True, drops=before)


SWAP = Dialect(
    name="swap",
    route=route,
    decode=decode_swap,
    encode=encode_swap,
    changes=changes_swap,
    fits=lambda held, one: True,
    limits=Limits(requests=PACE),
    heartbeat=Heartbeat(50.0, Command("ping", kind=PING, replay=True), idle_limit_s=60.0),
    interpret=lambda update, reading: (),
)


# DELTA -----------------------------------------------------------------------------------------------------------------------


def decode_delta(message: bytes) -> Message:
    """
    Replies: ``{"to":"sub","ok":true}``; a pong is ``{"pong":1}``.

    A reply has ``"as":["x1"]`` where the topic flows under another name, and ``"not":{"tick X":{"message":"no"}}`` where only
    these topics are refused.
    """
    body = json.loads(message)
    if "of" in body:
        return _update(body)
    if "pong" in body:
        return Pong()
    if "to" in body:
        aliases = tuple(alias.encode() for alias in body.get("as", ()))
        parts = _parts(body.get("not", {}))
        return Reply(body["to"], body["ok"], body.get("result"), _refusal(body.get("error")), aliases, refused=parts)
    return Notice(body, body.get("note"))


def encode_delta(command: Command, serial: int) -> Outgoing:
    """Commands: ``{"op":"sub","args":["tick A"]}``; all replies to one kind of command look alike."""
    key = None if command.method == "tell" else command.method
    return Outgoing(wire({"op": command.method, "args": list(command.args)}), key)


def changes_delta(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """What is no more wanted, then what is new, in batches over all channels; those with aliases one at a time."""
    for group in _batches(stated - wanted):
        yield Command("unsub", tuple(one.name for one in group), UNSUBSCRIBE, replay=True, drops=frozenset(group))
    for group in _batches(wanted - stated):
        yield Command("sub", tuple(one.name for one in group), SUBSCRIBE, replay=True, states=frozenset(group))


def _batches(found: frozenset[Topic]) -> Iterator[list[Topic]]:
    together = [one for one in _by_name(found) if one.channel != "alias"]
    yield from (together[at : at + BATCH] for at in range(0, len(together), BATCH))
    yield from ([one] for one in _by_name(found) if one.channel == "alias")


DELTA = Dialect(
    name="delta",
    route=route,
    decode=decode_delta,
    encode=encode_delta,
    changes=changes_delta,
    fits=lambda held, one: True,
    limits=Limits(requests=PACE),
    heartbeat=Heartbeat(20.0, Command("ping", kind=PING, replay=True)),
    interpret=lambda update, reading: (),
)

# IDS -------------------------------------------------------------------------------------------------------------------------


def decode_ids(message: bytes) -> Message:
    """
    Pushes are ``{"of":"price x1"}``, channel and id; replies ``{"re":"sub","ok":true,"ids":{"x1":"A"}}``.

    They tell the kind of command at most, and for each id what is repeated of its topic. ``"alone":1`` and ``"remark"`` are
    what `Reply` has.
    """
    body = json.loads(message)
    if "of" in body:
        return _update(body)
    ids = body.get("ids", {})
    return Reply(
        body.get("to", "any"),
        body["ok"],
        body.get("result"),
        _refusal(body.get("error")),
        tuple(f"price {one}".encode() for one in ids),
        tuple(ids),
        tuple(ids.values()),
        method=body.get("re"),
        alone="alone" in body,
        remark=body.get("remark"),
    )


def encode_ids(command: Command, serial: int) -> Outgoing:
    """As in DELTA, but all replies look alike."""
    return Outgoing(wire({"op": command.method, "args": list(command.args)}), command.channel or "any")


def changes_ids(stated: frozenset[Topic], wanted: frozenset[Topic]) -> Iterator[Command]:
    """One topic at a time, what is no more wanted first."""
    for one in _by_name(stated - wanted)[:1]:
        yield Command("unsub", (one.name,), UNSUBSCRIBE, replay=True, drops=frozenset({one}))
        return
    for one in _by_name(wanted - stated)[:1]:
        yield Command("sub", (one.name,), SUBSCRIBE, replay=True, states=frozenset({one}))


#: Topics come under ids that only the confirmation tells, which may name those of other topics too.
IDS = Dialect(
    name="ids",
    route=route,
    decode=decode_ids,
    encode=encode_ids,
    changes=changes_ids,
    fits=lambda held, one: True,
    limits=Limits(requests=PACE),
    heartbeat=Heartbeat(20.0),
    interpret=lambda update, reading: (),
    aliases=True,
    echoed=lambda one, echo: bool(echo == one.args[0]),
)

# STRICT ----------------------------------------------------------------------------------------------------------------------


def encode_strict(command: Command, serial: int) -> Outgoing:
    """As in DELTA, with an id, and the header where there is one: ``{"id":1,"op":"sub","args":["tick A"],"head":{}}``."""
    said = {"id": serial, "op": command.method, "args": list(command.args)}
    if command.header is not None:
        said["head"] = dict(command.header())
    return Outgoing(wire(said), None if command.method == "tell" else str(serial))


#: What DELTA says, and replies as in SWAP. Its exchange subscribes nothing twice.
STRICT = attrs.evolve(DELTA, name="strict", decode=decode_swap, encode=encode_strict)

#: The login of all languages.
LOGIN_COMMAND = Command("login", ("key",), LOGIN, secret=True)
