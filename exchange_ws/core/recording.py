"""
What of a connection is recorded: what was said and heard, and what else its session was told.

A session does nothing by itself, so a replay that tells the same to another one, in the same order, has the same updates go to
the same subscriptions, with the same gaps. `core/replay.py` reads what is written here.

Secrets are never given to the recorder. Of a login nothing is written but that it was said, of its answer nothing but that it
was accepted, since there are exchanges that repeat the token there. Wherever else a secret of a login should come up, or a key
or token that the client was given, it is replaced: also in a request that its user makes, and on its other connections.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import attrs

from exchange_ws.core.messages import LOGIN, Command, Outgoing, Topic
from exchange_ws.errors import ExchangeError
from exchange_ws.wire.recording import SECRET_LENGTH, Recorder, hidden

__all__ = ["Secrets", "Tap", "fields_of", "topic_of"]

SECRETS = 64  # that are looked for, those of the latest logins: a token of an hour ago is of no use to anybody

_defaults = {field.name: field.default for field in attrs.fields(Topic)}


def fields_of(topic: Topic) -> dict[str, Any]:
    """*topic* as JSON has it, without what is as usual."""
    found = attrs.asdict(topic, recurse=False)
    return {
        name: value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in found.items()
        if value != _defaults[name]
    }


def topic_of(fields: Mapping[str, Any]) -> Topic:
    """The topic of which `fields_of` made *fields*; ValueError or TypeError if it did not."""
    known: dict[str, Any] = {name: value for name, value in fields.items() if name in _defaults}
    for name in ("key", "wildcard"):
        if known.get(name) is not None:
            known[name] = known[name].encode("latin-1")
    return Topic(**{**known, "args": _tuples(known.get("args", ()))})


def _tuples(value: Any) -> Any:
    """*value* as it was before JSON made lists of its tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _written(secret: str) -> str:
    """*secret* as many servers write it in JSON."""
    return json.dumps(secret)[1:-1].replace("/", "\\/")


class Secrets:
    """
    What one client must not write, whichever of its connections says or hears it: what it was given, and of its logins.

    Threads: connections add under their locks; `_guard`, a leaf, guards it all.
    """

    def __init__(self, given: Iterable[str] = ()) -> None:
        self._guard = threading.Lock()
        self._given = tuple(given)
        self._latest: deque[str] = deque(maxlen=SECRETS)
        self.texts: tuple[str, ...] = ()  #: replaced, never mutated: anyone reads, and the recorder's thread has former ones
        self.add(())

    def add(self, secrets: Iterable[str]) -> None:
        with self._guard:
            self._latest.extend(secrets)
            known = (*self._given, *self._latest)
            texts = {text for secret in known for text in (secret, _written(secret)) if len(text) >= SECRET_LENGTH}
            self.texts = tuple(sorted(texts, key=len, reverse=True))  # one may be a part of another


class Tap:
    """
    One connection's end of a recorder.

    All of it is called with the connection's lock held, so that the lines stand in the order in which the session was told.
    """

    def __init__(
        self,
        recorder: Recorder,
        number: int,
        number_of: Callable[[object], int],
        time_ns: Callable[[], int],
        secrets: Secrets,
    ) -> None:
        self._recorder = recorder
        self._number = number
        self._number_of = number_of  # of a subscription
        self._time_ns = time_ns
        self._secrets = secrets

    def made(self, name: str, endpoint: str, host: str | None) -> None:
        """The connection is there, and starts to dial."""
        self._note(connection=name, endpoint=endpoint, host=host)

    def dialled(self, login: Command | None) -> None:
        """There is a link."""
        line: dict[str, Any] = {"up": True}
        if login is not None:
            self._secrets.add(login.secrets)
            line.update(login=login.method, again=login.replay)
        self._note(**line)

    def said(self, command: Command, outgoing: Outgoing, within_s: float | None, asked: bool) -> None:
        """*command* is on its way, its answer is waited for so long; *asked*: the session has not thought of it by itself."""
        text = None if command.kind == LOGIN or command.secret else hidden(outgoing.data.decode(), self._secrets.texts)
        line: dict[str, Any] = {"out": text, "kind": command.kind, "method": command.method, "key": outgoing.key}
        if command.channel is not None:
            line["channel"] = command.channel
        if asked:
            line["asked"] = True
        if within_s is not None:
            line["within"] = round(within_s, 6)
        self._note(**line)

    def received(self, messages: Sequence[bytes], received_ns: int, spare: bool) -> None:
        """*messages* came; *spare*: none of them is more than an update."""
        self._recorder.received(self._number, messages, received_ns, self._secrets.texts, spare)

    def answered(self, accepted: bool, received_ns: int) -> None:
        """Something came while the login was waiting for its answer, and was that if *accepted*."""
        self._recorder.note({"t": received_ns, "c": self._number, "in": None, **({"login": True} if accepted else {})})

    def wants(self, sink: object, topics: Iterable[Topic], within_s: float | None) -> None:
        """*sink* wants *topics*, and gives up after so many seconds without a confirmation."""
        line: dict[str, Any] = {} if within_s is None else {"within": round(within_s, 6)}
        self._note(sub=self._number_of(sink), want=sorted(topic.name for topic in topics), **line)

    def unwants(self, sink: object, topics: Iterable[Topic]) -> None:
        self._note(sub=self._number_of(sink), unwant=sorted(topic.name for topic in topics))

    def restates(self, topics: Iterable[Topic]) -> None:
        """*topics* are to be stated again, for their snapshots."""
        self._note(restate=sorted(topic.name for topic in topics))

    def ticked(self) -> None:
        """The session's deadlines were looked at, and one was over."""
        self._note(tick=True)

    def looked(self, silent: Mapping[str, float]) -> None:
        """It was looked which topics have fallen silent: these, for so many seconds."""
        self._note(look={name: round(seconds, 6) for name, seconds in silent.items()})

    def acted(self, now_ns: int) -> None:
        """What the session decided by itself was carried out."""
        self._recorder.note({"t": now_ns, "c": self._number, "act": True})

    def lost(self, error: ExchangeError, since_ns: int, over: bool) -> None:
        """The link is gone. Not in the error's words: they may be the exchange's, about a login."""
        line: dict[str, Any] = {"lost": type(error).__name__, "since": since_ns, "over": over}
        code = getattr(error, "close_code", None)
        if code is not None:
            line["code"] = code
        self._note(**line)

    def closed(self) -> None:
        self._note(close=True)

    def _note(self, **line: Any) -> None:
        self._recorder.note({"t": self._time_ns(), "c": self._number, **line})
