"""
The exchange's side of a benchmark: a process that says the pushes of one case, as fast as the socket takes them, to one client.

    python -m exchange_ws.bench.sender CASE MESSAGES

It prints its port, makes the WebSocket handshake, confirms one subscribe, sends MESSAGES pushes that were built beforehand and
a close frame, and ends when the client has gone. A plain socket and blocks of 256 KiB: it is never what is measured.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import sys
from typing import Any

from exchange_ws.bench.cases import CASES, Case

BLOCK = 256 * 1024  # bytes of one sendall
STEP_LIMIT_S = 120.0  # for one step of the conversation: a client that takes longer is stuck
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CLOSE = b"\x88\x02\x03\xe8"  # code 1000


def frame(text: bytes) -> bytes:
    """A server's frame of text, below 64 KiB."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


class Peer:
    """What the client says, read in the sizes that are asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._bytes = sock.makefile("rb")

    def handshake(self) -> None:
        """Answer the client's."""
        key = b""
        while line := self._bytes.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def command(self) -> Any:
        """The client's next short text frame, parsed."""
        size = self._bytes.read(2)[1] & 0x7F
        mask = self._bytes.read(4)
        return json.loads(bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._bytes.read(size))))

    def wait_for_end(self) -> None:
        """Until the client has gone."""
        while self._bytes.read(1):
            pass


def serve(case: Case, messages: int) -> None:
    """Say *messages* pushes of *case* to one client."""
    blast = memoryview(b"".join(map(frame, case.pushes(messages))))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(STEP_LIMIT_S)
        print(listener.getsockname()[1], flush=True)  # noqa: T201  (who started this reads it)
        sock, _ = listener.accept()
    with sock:
        sock.settimeout(STEP_LIMIT_S)
        peer = Peer(sock)
        peer.handshake()
        command = peer.command()
        sock.sendall(frame(json.dumps(case.confirmation(command)).encode()))
        for at in range(0, len(blast), BLOCK):
            sock.sendall(blast[at : at + BLOCK])
        sock.sendall(CLOSE)
        peer.wait_for_end()


if __name__ == "__main__":
    serve(CASES[sys.argv[1]], int(sys.argv[2]))
