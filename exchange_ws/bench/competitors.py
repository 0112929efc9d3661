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
    seconds: float  #: from the first push to the end of the stream
    cpu_seconds: float  #: of all its threads, user and system, meanwhile
    peak_mib: float = 0.0  #: memory of the process at its highest, resident; 0 where the system does not tell (not Linux)
    delivered: float = 1.0  #: share of the messages that the consumer was shown: some clients leave out what they are late with

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
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Result(messages, wall, cpu, _peak_mib())


def _peak_mib() -> float:
    """Of this process, without what it inherited from the one that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def ours(url: str, case: Case, raw: bool = False, **options: Any) -> Result:
    """Ours: events, of which the fields that matter are read; or the vendor's JSON with *raw*."""
    from exchange_ws import ConnectionLost

    read = attrgetter(*case.fields)
    with case.client(url, reconnect=False, overflow="block", **options) as client:
        subscription = client.subscribe(*case.topic, raw=raw, **case.params)
        count = 1
        read(next(subscription)) if not raw else next(subscription)
        watch = Stopwatch()
        try:
            if raw:
                for _ in subscription:
                    count += 1
            else:
                for event in subscription:
                    read(event)
                    count += 1
        except ConnectionLost:  # reconnect=False: the server's goodbye ends the subscription
            pass
        return watch.result(count // (case.objects if raw else case.events))


def ours_called(url: str, case: Case) -> Result:
    """Ours, events, through `Subscription.call`."""
    with case.client(url, reconnect=False, overflow="block") as client:
        read = attrgetter(*case.fields)
        watch, count = Stopwatch(), 0

        def take(event: Any) -> None:
            nonlocal watch, count
            if not count:
                watch = Stopwatch()
            count += 1
            read(event)

        subscription = client.subscribe(*case.topic, **case.params)
        subscription.call(take)
        while not subscription.closed or subscription.qsize():
            time.sleep(0.001)  # beside hundreds of them; the thread that counts is not held up
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
    connection.send(json.dumps(case.command))
    connection.recv()  # the reply
    text = connection.recv()
    count = 0
    watch = Stopwatch()
    while text:  # empty: a close frame
        for line in text.splitlines() if case.objects > 1 else (text,):
            json.loads(line)
        count += 1
        text = connection.recv()
    result = watch.result(count)
    connection.close()
    return result


def their_app(url: str, case: Case) -> Result:
    """websocket-client's `WebSocketApp` and its callbacks, without the UTF-8 check."""
    import websocket

    watch, count = Stopwatch(), -1  # the first message is the reply

    def take(_: Any, text: str) -> None:
        nonlocal watch, count
        if count == 0:
            watch = Stopwatch()
        for line in text.splitlines() if case.objects > 1 else (text,):
            json.loads(line)
        count += 1

    app = websocket.WebSocketApp(url, on_open=lambda app: app.send(json.dumps(case.command)), on_message=take)
    app.run_forever(skip_utf8_validation=True)
    return watch.result(count)


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
    connection.send(json.dumps(case.command))
    data = receive(65536)
    watch = Stopwatch()
    several = case.objects > 1
    while True:
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
            if several:
                for line in data[start:end].split(b"\n"):
                    parse(line)
            else:
                parse(data[start:end])
            count += 1
            at = end
        data = data[at:] + receive(65536)


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
    "called": Competitor(ours_called, "exchange_ws, typed events, call", in_short=False),
    "events-recorded": Competitor(ours_recorded, "exchange_ws, typed events, recorded", in_short=False),
    "raw-recorded": Competitor(ours_raw_recorded, "exchange_ws, raw=True, recorded", in_short=False),
    "websocket-client": Competitor(their_loop, "websocket-client, recv and json.loads", 0.1),
    "websocket-client-skip-utf8": Competitor(their_best_loop, "the same with skip_utf8_validation"),
    "websocketapp": Competitor(their_app, "its WebSocketApp, the same", 0.1, in_short=False),
    "limit": Competitor(limit, "limit: recv, split, orjson, one thread"),
}
#: Those of them that the others are compared with.
OURS = ("events", "raw")


if __name__ == "__main__":
    logging.disable()  # that the server says goodbye is no news here
    print(json.dumps(attrs.astuple(COMPETITORS[sys.argv[1]].run(sys.argv[3], CASES[sys.argv[2]]))))  # noqa: T201
