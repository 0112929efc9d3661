"""
The clients of a benchmark. Each connects, starts its watch, subscribes, and counts messages until the server says goodbye.

    python -m exchange_ws.bench.competitors NAME CASE URL

It prints the figures of its `Result` as a JSON list.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs

from exchange_ws.bench.cases import CASES, Case
from exchange_ws.errors import InternalError

__all__ = ["COMPETITORS", "OURS", "Competitor", "Result"]


@attrs.frozen
class Result:
    """What one client's process measured."""

    messages: int
    seconds: float  #: from the subscribe to the end of the stream
    cpu_seconds: float  #: of all its threads, user and system

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """Seconds of CPU for a million messages."""
        return self.cpu_seconds / self.messages * 1e6


class Stopwatch:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def result(self, messages: int) -> Result:
        """The times, with what was counted meanwhile."""
        return Result(messages, time.perf_counter() - self._wall, time.process_time() - self._cpu)


def ours(url: str, case: Case, raw: bool = False, **options: Any) -> Result:
    """Ours: events, of which the fields that matter are read; or the vendor's JSON with *raw*."""
    import exchange_ws

    read = attrgetter(*case.fields)
    count = 0
    make: Callable[..., Any] = exchange_ws.clients()[case.exchange]
    with make(url, reconnect=False, overflow="block", **options) as client:
        watch = Stopwatch()
        subscription = client.subscribe(*case.topic, raw=raw)
        try:
            if raw:
                for _ in subscription:
                    count += case.events
            else:
                for event in subscription:
                    read(event)
                    count += 1
        except exchange_ws.ConnectionLost:  # reconnect=False: the server's goodbye ends the subscription
            pass
        return watch.result(count // case.events)


def ours_raw(url: str, case: Case) -> Result:
    """Ours, the vendor's JSON."""
    return ours(url, case, raw=True)


def ours_recorded(url: str, case: Case, raw: bool = False) -> Result:
    """Ours, with all of it in a file, which must lack nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.jsonl"
        result = ours(url, case, raw, record=path)
        if '"missed":0}' not in path.read_text().splitlines()[-1]:
            raise InternalError("the recording lacks messages")
        return result


def ours_raw_recorded(url: str, case: Case) -> Result:
    """The same, the vendor's JSON."""
    return ours_recorded(url, case, raw=True)


def their_loop(url: str, case: Case, **options: Any) -> Result:
    """websocket-client, as its documentation has it."""
    import websocket

    connection = websocket.create_connection(url, **options)
    count = 0
    watch = Stopwatch()
    connection.send(json.dumps(case.command))
    connection.recv()
    while text := connection.recv():  # empty: a close frame
        _ = json.loads(text)["params"]
        count += 1
    result = watch.result(count)
    connection.close()
    return result


def their_best_loop(url: str, case: Case) -> Result:
    """The same without its UTF-8 check in Python, which takes most of its time."""
    return their_loop(url, case, skip_utf8_validation=True)


def limit(url: str, case: Case) -> Result:
    """The least that one thread of Python can do: read, split, parse."""
    import websocket

    parse: Callable[[bytes], Any]
    try:
        from orjson import loads as parse
    except ImportError:
        from json import loads as parse
    connection: Any = websocket.create_connection(url)  # reads nothing behind the handshake
    receive = connection.sock.recv
    count = -1  # the first message is the reply
    rest = b""
    watch = Stopwatch()
    connection.send(json.dumps(case.command))
    while True:
        data = rest + receive(65536)
        at, size = 0, len(data)
        while at + 4 <= size:
            if data[at] != 0x81:  # no whole frame of text: the close frame
                result = watch.result(count)
                connection.shutdown()
                return result
            start, length = at + 2, data[at + 1]
            if length == 126:
                start, length = at + 4, data[at + 2] * 256 + data[at + 3]
            end = start + length
            if end > size:
                break
            parse(data[start:end])
            count += 1
            at = end
        rest = data[at:]


@attrs.frozen
class Competitor:
    """One client, and what it is in words."""

    run: Callable[[str, Case], Result]
    words: str
    share: float = 1.0  #: of the messages: a slow one would take minutes over all
    in_short: bool = True  #: whether the short form has it too


COMPETITORS = {
    "events": Competitor(ours, "exchange_ws, typed events"),
    "raw": Competitor(ours_raw, "exchange_ws, raw=True"),
    "events-recorded": Competitor(ours_recorded, "exchange_ws, typed events, recorded", in_short=False),
    "raw-recorded": Competitor(ours_raw_recorded, "exchange_ws, raw=True, recorded", in_short=False),
    "websocket-client": Competitor(their_loop, "websocket-client, recv and json.loads", 0.1),
    "websocket-client-skip-utf8": Competitor(their_best_loop, "the same with skip_utf8_validation"),
    "limit": Competitor(limit, "limit: recv, split, orjson, one thread"),
}
#: Those of them that the others are compared with.
OURS = ("events", "raw")


if __name__ == "__main__":
    logging.disable()  # that the server says goodbye is no news here
    print(json.dumps(attrs.astuple(COMPETITORS[sys.argv[1]].run(sys.argv[3], CASES[sys.argv[2]]))))  # noqa: T201
