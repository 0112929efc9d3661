# ruff: noqa: T201  (a command: its output is the point)
"""
How many messages a second reach the consumer's code, beside websocket-client's own loop and beside what Python can do at all.

    python tests/benchmarks/throughput.py [--rounds N] [--messages N] [--stream NAME] [--without NAME]

Every client runs in a process of its own, fed by a sender in another (`sender.py`) that says pushes of WhiteBIT over loopback
without a pause. A round has all of them, one after the other, in an order that rotates. Only ratios within a round are worth
anything, since the machine's speed changes between rounds: what is printed is their median, and in parentheses their least and
greatest. Each client must count exactly what was sent; ours subscribes with overflow="block", and must have dropped nothing.

The exit code is 0 if no message was lost.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any, Callable, NamedTuple

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import websocket
from sender import STREAMS

from exchange_ws.core.dialect import parse
from exchange_ws.errors import ConnectionLost
from exchange_ws.exchanges.whitebit.client import WhiteBIT

HERE = Path(__file__).resolve().parent
RUN_LIMIT_S = 120.0  # of one client with its sender: seconds unless something is broken


class Result(NamedTuple):
    """What one client's process measured."""

    messages: int
    seconds: float  # from the subscribe to the end of the stream
    cpu_seconds: float  # of all its threads, user and system


class Stopwatch:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def result(self, messages: int) -> Result:
        """The times, with what was counted meanwhile."""
        return Result(messages, time.perf_counter() - self._wall, time.process_time() - self._cpu)


# Clients: each connects, starts its watch, subscribes, and counts messages until the server says goodbye --------------------


def ours(url: str, stream: str, raw: bool = False, **options: Any) -> Result:
    """Ours: events, of which the fields that matter are read; or the vendor's JSON with *raw*."""
    topic, _, events, _ = STREAMS[stream]
    count = 0
    with WhiteBIT(url, reconnect=False, overflow="block", **options) as client:
        watch = Stopwatch()
        subscription = client.subscribe(*topic, raw=raw)
        try:
            if raw:
                for _ in subscription:
                    count += events
            elif stream == "trades":
                for event in subscription:
                    _ = event.price, event.size, event.side, event.time
                    count += 1
            elif stream == "lastprice":
                for event in subscription:
                    _ = event.price
                    count += 1
            else:
                for event in subscription:
                    _ = event.kind, event.bids, event.asks, event.sequence
                    count += 1
        except ConnectionLost:  # reconnect=False: the server's goodbye ends the subscription
            pass
        result = watch.result(count // events)
        if subscription.dropped:
            raise AssertionError(f"dropped {subscription.dropped} messages, though overflow is 'block'")
    return result


def ours_raw(url: str, stream: str) -> Result:
    """Ours, the vendor's JSON."""
    return ours(url, stream, raw=True)


def ours_recorded(url: str, stream: str, raw: bool = False) -> Result:
    """Ours, with all of it in a file, which must lack nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.jsonl"
        result = ours(url, stream, raw, record=path)
        if '"missed":0}' not in path.read_text().splitlines()[-1]:
            raise AssertionError("the recording lacks messages")
        return result


def ours_raw_recorded(url: str, stream: str) -> Result:
    """The same, the vendor's JSON."""
    return ours_recorded(url, stream, raw=True)


def their_loop(url: str, stream: str, **options: Any) -> Result:
    """websocket-client, as its documentation has it."""
    connection = websocket.create_connection(url, **options)
    count = 0
    watch = Stopwatch()
    connection.send(_subscribe(stream))
    connection.recv()
    while text := connection.recv():  # empty: a close frame
        _ = json.loads(text)["params"]
        count += 1
    result = watch.result(count)
    connection.close()
    return result


def their_best_loop(url: str, stream: str) -> Result:
    """The same without its UTF-8 check in Python, which takes most of its time."""
    return their_loop(url, stream, skip_utf8_validation=True)


def limit(url: str, stream: str) -> Result:
    """The least that one thread of Python can do: read, split, parse."""
    connection: Any = websocket.create_connection(url)  # reads nothing behind the handshake
    receive = connection.sock.recv
    count = -1  # the first message is the reply
    rest = b""
    watch = Stopwatch()
    connection.send(_subscribe(stream))
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


def _subscribe(stream: str) -> str:
    channel, *args = STREAMS[stream].topic
    return json.dumps({"id": 1, "method": f"{channel}_subscribe", "params": args})


class Client(NamedTuple):
    """One competitor; a slow one gets a share of the messages, as it would take minutes over all."""

    run: Callable[[str, str], Result]
    share: float = 1.0


CLIENTS = {
    "ours, events": Client(ours),
    "ours, raw=True": Client(ours_raw),
    "ours, events, recorded": Client(ours_recorded),
    "ours, raw=True, recorded": Client(ours_raw_recorded),
    "websocket-client + json": Client(their_loop, 0.1),
    "websocket-client + json, skip_utf8_validation": Client(their_best_loop),
    "limit: recv + split + orjson, one thread": Client(limit),
}
OURS = tuple(CLIENTS)[:2]

# Rounds -----------------------------------------------------------------------------------------------------------------------


def measure(name: str, stream: str, messages: int) -> Result:
    """One client with a sender of its own."""
    count = max(1000, int(messages * STREAMS[stream].share * CLIENTS[name].share))
    sender = subprocess.Popen([sys.executable, str(HERE / "sender.py"), stream, str(count)], stdout=subprocess.PIPE, text=True)
    try:
        assert sender.stdout is not None
        port = sender.stdout.readline().strip()
        command = [sys.executable, __file__, "--client", name, "--url", f"ws://127.0.0.1:{port}/", "--stream", stream]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RUN_LIMIT_S, check=True)
        sender.wait(RUN_LIMIT_S)
    finally:
        sender.kill()
        sender.communicate()
    result = Result(*json.loads(run.stdout))
    if result.messages != count:
        raise AssertionError(f"{name}, {stream}: {count} messages were sent, {result.messages} counted")
    return result


def compare(stream: str, names: list[str], rounds: int, messages: int) -> None:
    """All rounds of one stream, and its table."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    order = deque(names)
    for _ in range(rounds):
        for name in order:
            results[name].append(measure(name, stream, messages))
        order.rotate(1)
    reference = [name for name in OURS if name in names]
    print(f"\n{stream}, {rounds} rounds")
    print(f"{'':46}{'messages/s':>11}{'CPU s/1e6':>11}" + "".join(f"  {name + ' / it':>22}" for name in reference))
    for name in names:
        cpu = median(result.cpu_seconds / result.messages * 1e6 for result in results[name])
        line = f"{name:46}{median(map(_rate, results[name])):11,.0f}{cpu:11.2f}"
        for mine in reference:
            ratios = [_rate(us) / _rate(it) for us, it in zip(results[mine], results[name])]
            line += f"  {f'{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})':>22}"
        print(line, flush=True)


def _rate(result: Result) -> float:
    return result.messages / result.seconds


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Throughput beside websocket-client and beside the limit of Python.")
    parser.add_argument("--rounds", type=int, default=5, help="of all clients (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=200_000, help="of each run; large ones fewer (default: %(default)s)")
    parser.add_argument("--stream", choices=STREAMS, action="append", help="only this one; may be repeated")
    parser.add_argument("--without", choices=CLIENTS, action="append", default=[], help="leave it out; may be repeated")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)  # the process of one client
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    streams = given.stream or list(STREAMS)
    if given.client:
        logging.disable()  # that the server says goodbye is no news here
        print(json.dumps(CLIENTS[given.client].run(given.url, streams[0])))
        return
    for stream in streams:
        compare(stream, [name for name in CLIENTS if name not in given.without], given.rounds, given.messages)


if __name__ == "__main__":
    main()
