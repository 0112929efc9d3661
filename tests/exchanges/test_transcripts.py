"""
Conversations with an exchange, written down: ``tests/exchanges/<folder of the exchange>/*.txt``.

A transcript is replayed through the exchange's dialect alone, and must come out as it was written. Its lines::

    # a comment: the exchange, the page of its documentation, what the case is about
    in  v5_dialect.TRADE                      the dialect that speaks; only where the exchange has more than one
    do  subscribe trades BTC_USDT             what a user does (see below)
    >   {"id":1,"method":"trades_subscribe","params":["BTC_USDT"]}
    <   {"error":null,"result":{"status":"success"},"id":1}
    =   Reply(key='1', ok=True, result={'status': 'success'})

``>`` is what we say because of the line above, ``<`` a frame that comes in, ``=`` what it means: one line for each event of an
update, else the message, with the fields that are not at their defaults and without `raw`. Nothing said and nothing meant is
left out. The user can

- ``do subscribe WORDS NAME=VALUE...`` and ``do unsubscribe WORDS NAME=VALUE...``: arguments of the dialect module's `topics`;
  a value that is no text is written as JSON, ``NAME:=20``;
- ``do request METHOD [JSON]``: one call, with its arguments;
- ``do ping``: the heartbeat's command;
- ``do reconnect``: on a new connection nothing is stated and no reply is awaited.

A reply that names no request answers the oldest one.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shlex
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

from exchange_ws.core.dialect import Dialect, Reading
from exchange_ws.core.messages import SUBSCRIBE, Command, Reply, Update
from exchange_ws.errors import UsageError

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*/*.txt"))


def dialects(folder):
    """The dialects of an exchange's package and their modules, by the names that ``in`` takes."""
    package = importlib.import_module(f"exchange_ws.exchanges.{folder}")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.endswith("dialect"):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            records = {f"{info.name}.{name}": value for name, value in vars(module).items() if isinstance(value, Dialect)}
            found.update({name: (record, module) for name, record in records.items()})
    return found


def shown(value):
    """Like the repr of *value*, without the fields that are at their defaults."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {shown(part)}" for name, part in value.items()) + "}"
    if not attrs.has(type(value)):
        return repr(value)
    fields = [field for field in attrs.fields(type(value)) if field.repr and getattr(value, field.name) != default(field)]
    return f"{type(value).__name__}({', '.join(f'{field.name}={shown(getattr(value, field.name))}' for field in fields)})"


def default(field):
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default


def channels(command):
    return {topic.channel for topic in command.states | command.drops}


def parameter(word):
    """Name and value of ``NAME=TEXT`` or ``NAME:=JSON``."""
    name, value = word.split("=", 1)
    return (name[:-1], json.loads(value)) if name.endswith(":") else (name, value)


class Conversation:
    """As much of a session's memory as a transcript needs; each method gives the lines that it causes."""

    def __init__(self, dialect, topics):
        self.dialect = dialect
        self.topics = topics
        self.wanted = frozenset()
        self.stated = frozenset()
        self.waiting = []
        self.aliases = {}
        self.states = {}
        self.serial = 0

    def do(self, verb, rest):
        words = shlex.split(rest)
        if verb in ("subscribe", "unsubscribe"):
            params = dict(parameter(word) for word in words if "=" in word)
            try:
                topics = self.topics(*[word for word in words if "=" not in word], **params)
            except UsageError as error:
                yield f"=   UsageError: {error}"
                return
            for topic in topics:
                if verb == "unsubscribe":
                    self.wanted -= {topic}
                elif self.dialect.fits(self.wanted, topic):
                    self.wanted |= {topic}
                else:
                    yield f"=   does not fit: {topic.name}"
        elif verb == "request":
            method, _, args = rest.partition(" ")
            yield self.say(Command(method, json.loads(args or "[]")))
        elif verb == "ping":
            yield self.say(self.dialect.heartbeat.command)
        elif verb == "reconnect":
            self.stated, self.waiting, self.aliases, self.states = frozenset(), [], {}, {}
        else:
            raise ValueError(f"do {verb}: takes subscribe, unsubscribe, request, ping or reconnect")
        yield from self.state()

    def state(self):
        """Statements due, except of channels of which one is on its way."""
        busy = {channel for _, command in self.waiting for channel in channels(command)}
        for command in self.dialect.changes(self.stated, self.wanted):
            if not busy & channels(command):
                yield self.say(command)

    def say(self, command):
        self.serial += 1
        outgoing = self.dialect.encode(command, self.serial)
        self.waiting.append((outgoing.key, command))
        return f">   {outgoing.data.decode()}"

    def receive(self, frame):
        for message in [frame] if self.dialect.split is None else self.dialect.split([frame]):
            understood = self.dialect.decode(message)
            if isinstance(understood, Update):
                assert self.dialect.route(message) in (None, understood.keys[0])
                topics = {**{topic.key: topic for topic in self.wanted}, **self.aliases}
                for event in self.dialect.interpret(understood, Reading(0.0, Decimal, topics, self.states)):
                    yield f"=   {shown(event)}"
            else:
                assert self.dialect.route(message) is None
                yield f"=   {shown(understood)}"
            if isinstance(understood, Reply):
                self.settle(understood)
                yield from self.state()

    def settle(self, reply):
        at = next((at for at, (key, _) in enumerate(self.waiting) if key == reply.key), None)
        if at is None and self.waiting and (reply.key is None or (reply.alone and len(self.waiting) == 1)):
            at = 0
        if at is None:
            return
        command = self.waiting.pop(at)[1]
        if reply.ok:
            refused = {topic for topic in command.states if topic.key in reply.refused}
            self.wanted -= refused
            self.stated = self.stated - command.drops | (command.states - refused)
            self.aliases.update({alias: topic for alias in reply.aliases for topic in command.states})
        elif command.kind == SUBSCRIBE:
            self.wanted -= command.states - self.stated
            if command.replaces:
                self.stated = frozenset(topic for topic in self.stated if topic.channel not in channels(command))


def replay(lines, folder):
    """The transcript that the dialect makes of what was done and of what came in, as *lines* have it."""
    known = dialects(folder)
    speakers = [line[4:] for line in lines if line.startswith("in  ")] or list(known)
    assert 1 == len(speakers), f"begin with a line 'in  ...' naming one of {', '.join(known)}"
    dialect, module = known[speakers[0]]
    conversation = Conversation(dialect, module.topics)
    for line in lines:
        mark, rest = line[:4].rstrip(), line[4:]
        if mark in (">", "="):
            continue
        yield line
        if mark == "do":
            verb, _, rest = rest.partition(" ")
            yield from conversation.do(verb, rest)
        elif mark == "<":
            yield from conversation.receive(rest.encode())
        else:
            assert not line or line.startswith("#") or mark == "in", f"not a line of a transcript: {line}"


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_transcript(path):
    """What we say, and how we understand what is said, is as written."""
    expected = path.read_text("utf-8").splitlines()
    assert expected == list(replay(expected, path.parent.name))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('>   {"id":1,', '>   {"id":2,'),
        ("ok=True", "ok=False"),
        ("=   Reply", "=   Notice"),
        ("do  subscribe", "do  unsubscribe"),
    ],
)
def test_wrong_transcript_is_seen(wrong, right):
    """A transcript with one wrong word does not come out as written."""
    path = HERE / "whitebit" / "trades.txt"
    text = path.read_text("utf-8")
    lines = text.replace(wrong, right, 1).splitlines()
    assert text.splitlines() != lines
    assert lines != list(replay(lines, "whitebit"))
