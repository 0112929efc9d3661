# ruff: noqa: T201  (a command: its output is the point)
"""
The exchange's side of those benchmarks that are no blast on one connection.

    python server.py MODE COUNT [RATE]

It prints its port, and serves until it is killed. MODE is one of

``paced``
    trades of Bybit V5 to one client, RATE a second, one in each send; the id of a trade is when it left, in ns since 1970;
``answers``
    an answer to whatever is asked, on as many connections as there are;
``watched``
    the same, and COUNT trades behind the subscribe of the topic that is benchmarked;
``book``
    the same, and the snapshot of a book behind that of its topic, and COUNT - 1 deltas behind the next ping;
``crowd``
    COUNT trades on each of RATE connections, once all of them have subscribed.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.bench.cases import CASES
from exchange_ws.bench.sender import CLOSE, STEP_LIMIT_S, Peer, frame

CASE = CASES["v5-trades"]


def paced(peer: Peer, count: int, rate: int) -> None:
    """Who is behind with sending sends at once: a stamp says when a message left, not when it should have."""
    (text,) = CASE.pushes(1)
    head, found, tail = text.partition(b'"i":"')
    head, tail = head + found, tail[tail.index(b'"') :]
    peer.subscribe(CASE)
    began = time.perf_counter()
    for number in range(count):
        left = began + number / rate - time.perf_counter()
        if left > 0:
            time.sleep(left)
        peer.send(frame(head + str(time.time_ns()).encode() + tail))
    peer.send(CLOSE)
    peer.wait_for_end()


def answers(peer: Peer, behind: Callable[[dict[str, Any]], memoryview] = lambda _: memoryview(b"")) -> None:
    """All that a client asks, and what is to be sent *behind* the answer."""
    peer.handshake()
    while (command := peer.command()) is not None:
        peer.send(frame(json.dumps(_answer(command)).encode()))
        peer.blast(behind(command))


def _answer(command: dict[str, Any]) -> dict[str, Any]:
    if command.get("op") == "subscribe":
        return CASE.confirmation(command)
    if "op" in command:
        return {"success": True, "ret_msg": "pong", "conn_id": "1", "req_id": command.get("req_id", ""), "op": command["op"]}
    return {"id": command["id"], "result": "pong", "error": None}


def crowd(peer: Peer, together: threading.Barrier, wire: memoryview) -> None:
    """One of several."""
    peer.subscribe(CASE)
    together.wait(STEP_LIMIT_S)
    peer.blast(wire)
    peer.wait_for_end()


def main() -> None:
    """The command."""
    mode, count = sys.argv[1], int(sys.argv[2])
    rate = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    case = CASES["v5-deltas"] if mode == "book" else CASE
    frames = [*map(frame, case.pushes(count)), CLOSE] if mode in ("watched", "book", "crowd") else []
    first, wire = (memoryview(b"".join(part)) for part in (frames[:1], frames[1:] if mode == "book" else frames))
    nothing, together = memoryview(b""), threading.Barrier(max(1, rate))
    talks = {
        "paced": lambda peer: paced(peer, count, rate),
        "answers": lambda peer: answers(peer),
        "watched": lambda peer: answers(peer, lambda command: wire if command.get("args") == [*CASE.topic] else nothing),
        "book": lambda peer: answers(peer, lambda command: wire if command["op"] == "ping" else first),
        "crowd": lambda peer: crowd(peer, together, wire),
    }
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=talks[mode], args=(Peer(sock),), daemon=True).start()


if __name__ == "__main__":
    main()
