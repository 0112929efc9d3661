"""
What is said on the wire, as values: topics, commands, messages, and what an exchange asks of its clients.

Dialects make them, the session remembers them; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import attrs

__all__ = [
    "ALREADY",
    "CALL",
    "LOGIN",
    "PING",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "Command",
    "Heartbeat",
    "Limits",
    "Message",
    "Notice",
    "Outgoing",
    "Pace",
    "Pong",
    "Refusal",
    "Reply",
    "Topic",
    "Update",
]

CALL, SUBSCRIBE, UNSUBSCRIBE, LOGIN, PING = "call", "subscribe", "unsubscribe", "login", "ping"

#: Why an exchange said no: the request itself, too many of them, the lack of a login, or a trouble of its own that may pass.
REJECTED, TOO_MANY, UNAUTHORIZED, TRANSIENT = "rejected", "too many", "unauthorized", "transient"
#: The topic that was to be subscribed is subscribed. Of a statement of several it need not be each of them.
ALREADY = "already"


@attrs.frozen(cache_hash=True)  # sets of thousands of them are made of others
class Topic:
    """What one may subscribe to."""

    key: bytes  #: what updates are routed by: a slice of the wire where the language allows it
    channel: str  #: the unit that one statement covers: nothing else is said of it while a statement is in flight
    name: str  #: as users write it, parts separated by a space: "depth BTC_USDT 100 0"
    args: tuple[Any, ...] = ()  #: what the dialect needs to say it
    symbol: str | None = None  #: None: all symbols
    label: str = ""  #: the vendor's name of the channel, as events carry it
    wildcard: bytes | None = None  #: key under which this channel's topic of all symbols is wanted
    standalone: bool = True  #: False where an update means nothing without those before it (deltas)
    merges: bool = False  #: its updates are deltas, and its events tell the whole that they add up to: see `Reading.states`
    opens_with_snapshot: bool = False  #: the stream begins with a snapshot that a late joiner would miss
    repeatable: bool = False  #: stating it again gives that snapshot again
    renewable: bool = False  #: unsubscribing it and subscribing it again does, and nothing else
    replays: bool = False  #: the snapshot replays recent events, known by their ids
    repeats: bool = False  #: so may any update, with events among them that are new
    account: bool = False  #: private: orders, fills, balances, positions
    pace_s: float | None = None  #: something comes at least so often, says the vendor, whether anything changed or not

    @property
    def characters(self) -> int:
        """Of its name in a list of JSON: with two quotes and a comma."""
        return len(self.name) + 3


@attrs.frozen
class Command:
    """Something we say. `replay`: it may wait for the connection, and may be sent again, without harm."""

    method: str
    args: Any = ()
    kind: str = CALL
    replay: bool = False
    states: frozenset[Topic] = frozenset()  #: topics on the wire once it is confirmed
    drops: frozenset[Topic] = frozenset()  #: topics off the wire once it is confirmed
    replaces: bool = False  #: a subscribe after which nothing else of its channel is left; refused, it may have taken all of it
    secret: bool = attrs.field(default=False, repr=False)  #: its arguments must not be shown
    #: Texts of a login that must not be recorded, wherever they come up: tokens, keys, signatures.
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    #: A call that is said only while nothing else of this channel is in flight, where replies do not tell which they answer.
    channel: str | None = None
    #: What is true only at the moment of saying, a time stamp as a rule: `encode` calls it, once for each time that it is said.
    header: Callable[[], Mapping[str, str]] | None = attrs.field(default=None, repr=False, eq=False)

    def __repr__(self) -> str:
        args = "(hidden)" if self.secret else repr(self.args)
        return f"Command({self.method!r}, {args}, kind={self.kind!r}, replay={self.replay!r})"

    def shown(self) -> dict[str, Any]:
        """For errors and logs: method and arguments, without secrets."""
        return {"method": self.method, "params": "(hidden)" if self.secret else list(self.args)}


@attrs.frozen
class Outgoing:
    """One encoded command, and the `key` that its reply will carry (None: it has no reply)."""

    data: bytes = attrs.field(repr=False)
    key: str | None


@attrs.define
class Update:
    """
    A push. One is made for each message of market data, hence not frozen; read-only all the same.

    `keys` are the topics that it has news of: one as a rule, several where one push carries rows of several symbols.
    """

    keys: tuple[bytes, ...]
    label: str
    body: Any
    wildcard: bytes | None = None


@attrs.frozen
class Refusal:
    """The exchange's own code and words, and what `kind` of no it is."""

    code: int | str | None
    message: str
    kind: str = REJECTED
    retry_after_s: float | None = None
    renew: bool = False  #: nothing new may be said on this connection; what is under way finishes, and another takes its place
    narrow: bool = False  #: too many of this kind of call: calls of other kinds are not meant, and are said meanwhile


@attrs.frozen
class Reply:
    """An answer to one command; `key` is what `encode` promised that it would carry, None if it does not tell."""

    key: str | None
    ok: bool
    result: Any = None
    error: Refusal | None = None
    aliases: tuple[bytes, ...] = ()  #: keys under which the exchange will send the topics of the command that it answers
    ids: tuple[str, ...] = ()  #: the exchange's own ids for them, one for each alias
    echoes: tuple[Any, ...] = ()  #: what is repeated of the parameters of each alias, None for nothing; see `Dialect.echoed`
    method: str | None = None  #: of the command that it answers, where replies carry no ids: another's is not answered by it
    alone: bool = False  #: if nothing awaits its key, it answers the one command that waits, and none if there are several
    remark: str | None = None  #: what of it is not as documented, for the log
    #: Topics of a statement, by their keys, that were refused while the rest of it was confirmed (`ok`).
    refused: Mapping[bytes, Refusal] = attrs.field(factory=dict)


@attrs.frozen
class Pong:
    """The answer to the exchange's own ping, where it is not a `Reply`."""


@attrs.frozen
class Notice:
    """Anything else that could be read: exchanges add kinds on any day, and that must not drop a connection."""

    body: Any
    text: str | None = None  #: what the exchange wants its client to know, for the log


Message = Any  # Update | Reply | Pong | Notice; a real union needs Python 3.10


@attrs.frozen
class Pace:
    """At most `count` in any `window_s` seconds; `source` says where that is documented."""

    count: int
    window_s: float
    source: str


@attrs.frozen
class Limits:
    """What an exchange asks of its clients; None where nothing is documented."""

    requests: Pace | None = None  #: on one connection, all commands together
    dials: Pace | None = None  #: new connections to one address, all together
    dials_of_host: bool = False  #: `dials` counts those to all addresses of one host together
    logins: Pace | None = None  #: logins, all together
    topics: int | None = None  #: on one connection
    characters: int | None = None  #: of the names of these as one list in JSON
    connections: int | None = None
    source: str = ""


@attrs.frozen
class Heartbeat:
    """
    How a connection is kept and watched.

    `command` is said when we said nothing, or heard nothing, for `interval_s` seconds (None: a WebSocket ping frame).
    `idle_limit_s`: the exchange closes a connection on which *we* said nothing for so long (None: unknown).
    """

    interval_s: float
    command: Command | None = None
    idle_limit_s: float | None = None
    source: str = ""
