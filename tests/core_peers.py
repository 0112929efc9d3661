"""
Raw peers that speak WebSocket message by message, for the tests of the connection and the client: what the sandbox is too well
behaved for. Their language is `SWAP` of `core_languages` where they have one.
"""

from __future__ import annotations

import json
import queue
import struct
from collections.abc import Callable
from typing import Any

from core_languages import wire
from wire_peers import LIMIT_S, Connection, Peer

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole frame of a server."""
    if len(payload) < 126:
        head = struct.pack("!BB", 0x80 | opcode, len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 126, len(payload))
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, len(payload))
    return head + payload


def closing(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code) + reason.encode(), CLOSE)


class Talk:
    """One WebSocket connection, after its handshake."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the client's next frame; EOFError at the end."""
        first, second = self.connection.read(2)
        assert second & 0x80, "a client masks its frames"
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self.connection.read(2 if length == 126 else 8), "big")
        mask = self.connection.read(4)
        payload = self.connection.read(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        return first & 0x0F, (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")

    def ask(self) -> Any:
        """The client's next text message, parsed; EOFError at its close frame, or at the end."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                raise EOFError
            if opcode == TEXT:
                return json.loads(payload)

    def say(self, body: Any) -> None:
        """Send one text message: *body* as JSON, bytes as they are."""
        self.connection.send(frame(body if isinstance(body, bytes) else wire(body)))

    def agree(self, request: Any, result: Any = None) -> None:
        """Answer *request* with a yes."""
        self.say({"id": request["id"], "ok": True, "result": result})

    def serve(self) -> None:
        """Say yes to everything, with the parameters as the result, until the client goes."""
        while True:
            request = self.ask()
            self.agree(request, request["params"])


class Exchange(Peer):
    """
    A peer with a script for each connection: the first one's, the second one's, and the last one's for all that follow.

    A script gets a `Talk` and this. What it puts into `told` is for the test to `hear`.
    """

    def __init__(self, *scripts: Callable[[Talk, Exchange], object], after: bytes = b"") -> None:
        super().__init__(self._play)
        self._scripts = scripts
        self._after = after  # of the first handshake, in the same segment
        self.dials = 0  # the peer's thread only, until the test has heard of it
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def _play(self, connection: Connection) -> None:
        script = self._scripts[min(self.dials, len(self._scripts) - 1)]
        after = b"" if self.dials else self._after
        self.dials += 1
        connection.accept(after)
        script(Talk(connection), self)

    def hear(self) -> Any:
        """What a script told next."""
        return self.told.get(timeout=LIMIT_S)

    @property
    def address(self) -> str:
        """URL without a name to look up."""
        return self.url(host="127.0.0.1")


def serve(talk: Talk, exchange: Exchange) -> None:
    """A script: say yes to everything."""
    talk.serve()


def hold(talk: Talk, exchange: Exchange) -> None:
    """A script: read nothing, say nothing."""
    talk.connection.hold()


def mute(talk: Talk, exchange: Exchange) -> None:
    """A script: read all, say nothing."""
    while True:
        talk.read_frame()
