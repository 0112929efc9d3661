"""
The exchange's side of the benchmarks: a process that says one stream, as fast as the socket takes it, to one client.

    python sender.py STREAM MESSAGES

It prints its port, makes the WebSocket handshake, answers one subscribe with success, sends MESSAGES pushes built beforehand
and a close frame, and ends when the client has gone. A plain socket and blocks of 256 KiB: it is never what is measured.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import sys
from typing import Any, Callable, NamedTuple

BLOCK = 256 * 1024  # bytes of one sendall
STEP_LIMIT_S = 120.0  # for one step of the conversation: a client that takes longer is stuck
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CLOSE = b"\x88\x02\x03\xe8"  # code 1000


class Stream(NamedTuple):
    """One kind of push."""

    topic: tuple[str, ...]  #: as `Client.subscribe` takes it
    push: Callable[[int], Any]  #: params of the nth push
    events: int  #: in each push
    share: float  #: of the messages asked for: large ones need fewer


def _trades(n: int) -> Any:
    """Two trades, newest first; ids only ever grow, so that telling new from known is work as it is live."""
    pair = [
        {
            "id": 41358530 + 2 * n + late,
            "time": 1580905394.70332 + n / 1000 + late / 10000,
            "price": f"0.0208{n % 89 + 10}",
            "amount": f"{n % 7 + 1}.5{n % 83 + 10}",
            "type": "sell" if (n + late) % 3 else "buy",
            "rpi": False,
        }
        for late in (1, 0)
    ]
    return ["ETH_BTC", pair]


def _lastprice(n: int) -> Any:
    return ["BTC_USDT", f"675{n % 89 + 10}.{n % 83 + 10}"]


def _levels(n: int, count: int, step: int) -> list[list[str]]:
    return [[f"{67500 + step * (level + n % 5)}.{n % 83 + 10}", f"0.{n % 89 + 10}{level + 10}5"] for level in range(count)]


def _depth_delta(n: int) -> Any:
    if n == 0:
        return _depth_snapshot(n)  # a delta before the first whole book would mean nothing
    book = {
        "timestamp": 1689600180.516447 + n / 1000,
        "update_id": 214403 + n,
        "past_update_id": 214402 + n,
        "event_time": 1689600180.516512 + n / 1000,
        "asks": _levels(n, 3, 1),
        "bids": _levels(n, 2, -1),
    }
    return [False, book, "BTC_USDT"]


def _depth_snapshot(n: int) -> Any:
    book = {
        "timestamp": 1689600180.516447 + n / 1000,
        "update_id": 214403 + n,
        "event_time": 1689600180.516512 + n / 1000,
        "asks": _levels(n, 90, 1),
        "bids": _levels(n, 90, -1),
    }
    return [True, book, "BTC_USDT"]


STREAMS = {
    "trades": Stream(("trades", "ETH_BTC"), _trades, 2, 1.0),
    "lastprice": Stream(("lastprice", "BTC_USDT"), _lastprice, 1, 1.0),
    "depth deltas": Stream(("depth", "BTC_USDT"), _depth_delta, 1, 1.0),
    "depth snapshots": Stream(("depth", "BTC_USDT"), _depth_snapshot, 1, 0.1),
}


def frame(text: bytes) -> bytes:
    """A server's frame of text, below 64 KiB."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


def pushes(stream: Stream, messages: int) -> list[bytes]:
    """The pushes, without frames."""
    method = f"{stream.topic[0]}_update"
    return [
        json.dumps({"id": None, "method": method, "params": stream.push(n)}, separators=(",", ":")).encode()
        for n in range(messages)
    ]


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


def main(stream: str, messages: int) -> None:
    """Say *stream* to one client."""
    blast = memoryview(b"".join(map(frame, pushes(STREAMS[stream], messages))))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(STEP_LIMIT_S)
        print(listener.getsockname()[1], flush=True)  # noqa: T201  (who started this reads it)
        sock, _ = listener.accept()
    with sock:
        sock.settimeout(STEP_LIMIT_S)
        peer = Peer(sock)
        peer.handshake()
        command = peer.command()
        sock.sendall(frame(json.dumps({"id": command["id"], "result": {"status": "success"}, "error": None}).encode()))
        for at in range(0, len(blast), BLOCK):
            sock.sendall(blast[at : at + BLOCK])
        sock.sendall(CLOSE)
        peer.wait_for_end()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
