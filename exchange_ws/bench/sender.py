"""
The exchange's side of a benchmark: a process that says the pushes of one case, as fast as the socket takes them, to one client.

    python -m exchange_ws.bench.sender CASE MESSAGES [CERTIFICATE]

It prints its port, makes the WebSocket handshake, confirms one subscribe, sends MESSAGES pushes that were built beforehand and
a close frame, and ends when the client has gone. Blocks of 256 KiB: it is never what is measured. With a CERTIFICATE, a file
with its key too, it speaks TLS, and each message is a record of its own, as exchanges have it; those are encrypted before the
first one leaves.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from exchange_ws.bench.cases import CASES, Case

BLOCK = 256 * 1024  # bytes of one sendall
STEP_LIMIT_S = 120.0  # for one step of the conversation: a client that takes longer is stuck
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
#: Before a confirmation. pybit notes only behind its subscribe what that was for, and fails at an answer within microseconds.
ANSWER_S = 0.02
CLOSE = b"\x88\x02\x03\xe8"  # code 1000


def frame(text: bytes) -> bytes:
    """A server's frame of text, below 64 KiB."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


class _Tls(io.RawIOBase):
    """What a client says over TLS; what it is told is encrypted at once and sent when that is asked for."""

    def __init__(self, sock: socket.socket, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._sock = sock
        self._in, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self.out, server_side=True)
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._more()

    def _more(self) -> None:
        self._sock.sendall(self.out.read())
        data = self._sock.recv(65536)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while True:
            try:
                return cast(int, self.tls.read(len(into), into))
            except ssl.SSLWantReadError:
                self._more()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return 0


class Peer:
    """One client, of which is read what is asked for."""

    def __init__(self, sock: socket.socket, certificate: Path | None = None) -> None:
        self._sock = sock
        self._tls = None if certificate is None else _Tls(sock, certificate)
        self._bytes: Any = sock.makefile("rb") if self._tls is None else io.BufferedReader(self._tls)

    def wire(self, frames: Iterable[bytes]) -> memoryview:
        """*frames* as they go to the socket, in this order and once; with TLS a record each."""
        if self._tls is None:
            return memoryview(b"".join(frames))
        for one in frames:
            self._tls.tls.write(one)
        return memoryview(self._tls.out.read())

    def send(self, data: bytes) -> None:
        """Frames, or what the handshake says."""
        self._sock.sendall(self.wire([data]))

    def blast(self, wire: memoryview) -> None:
        """Send what `wire` gave."""
        for at in range(0, len(wire), BLOCK):
            self._sock.sendall(wire[at : at + BLOCK])

    def handshake(self) -> None:
        """Answer the client's."""
        key = b""
        while line := self._bytes.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def command(self) -> Any:
        """The client's next text frame below 64 KiB, parsed; None behind its last one."""
        while head := self._bytes.read(2):
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(self._bytes.read(2), "big")
            mask = self._bytes.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._bytes.read(size)))
            if head[0] == 0x81:  # and no ping or close
                return json.loads(text)
        return None

    def subscribe(self, case: Case) -> None:
        """The handshake, and everything up to what asks for a topic."""
        self.handshake()
        command = self.command()
        while command.get("op") == "ping":  # pybit's first word
            self.send(frame(b'{"success":true,"ret_msg":"pong","conn_id":"46f097b7","op":"ping"}'))
            command = self.command()
        time.sleep(ANSWER_S)
        self.send(frame(json.dumps(case.confirmation(command)).encode()))

    def wait_for_end(self) -> None:
        """Until the client has gone."""
        try:
            while self._bytes.read(1):
                pass
        except ConnectionError:  # it may go without a word
            pass


def serve(case: Case, messages: int, certificate: Path | None = None) -> None:
    """Say *messages* pushes of *case* to one client."""
    frames = [*map(frame, case.pushes(messages)), CLOSE]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(STEP_LIMIT_S)
        print(listener.getsockname()[1], flush=True)  # noqa: T201  (who started this reads it)
        sock, _ = listener.accept()
    with sock:
        sock.settimeout(STEP_LIMIT_S)
        peer = Peer(sock, certificate)
        peer.subscribe(case)
        peer.blast(peer.wire(frames))
        peer.wait_for_end()


if __name__ == "__main__":
    serve(CASES[sys.argv[1]], int(sys.argv[2]), *map(Path, sys.argv[3:]))
