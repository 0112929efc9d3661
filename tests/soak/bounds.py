# ruff: noqa: T201  (a command: its output is the point)
"""
Whether memory stays flat, whatever the exchange or the user does for however long.

    python tests/soak/bounds.py [--quick] [CASE...]

Each case runs in processes of its own: one that does the thing a million times (or as the table says) and looks at its
resident memory, and one that does it a tenth as often under `tracemalloc`, which sees what RSS hides. The exchange is
a process too, so that its memory is not counted. A case first warms up, until the buffers that have a limit have come
to it; then it goes on, and what it has grown by must stay below its bound. ``--quick`` does a fiftieth.

The exit code is 0 if every case passed. Linux only: RSS is read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import queue
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, NamedTuple

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core_languages import IDS, SWAP, topics, wire
from counting_language import COUNTING, push, topic

from exchange_ws import Backoff, WhiteBIT
from exchange_ws.clock import SystemClock
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.messages import Command, Limits
from exchange_ws.core.session import Session
from exchange_ws.core.subscription import DROP_NEWEST, DROP_OLDEST, LATEST, Subscription
from exchange_ws.errors import ExchangeError

HERE = Path(__file__).resolve().parent
RUN_LIMIT_S = 1800.0  # of one process: minutes unless something is broken
STEP_LIMIT_S = 600.0  # of one step of a conversation with the peer
RSS_BOUND = 6 * 2**20  # bytes: a million of anything that stays is at least eight; less is the allocator's
TRACED_BOUND = 512 * 2**10  # bytes for a tenth as many
FIRST_SHARE = 0.3  # of the whole that is done to warm up

Do = Callable[[int], None]


class Case(NamedTuple):
    """What is done, how often, and how often at least before it is measured."""

    make: Callable[[], contextlib.AbstractContextManager[Do]]
    count: int
    least: int
    what: str


# In one process: the session and the subscription, told the time --------------------------------------------------------------


class Driver:
    """A session that is open, and what plays its driver and the exchange."""

    def __init__(self, dialect: Dialect) -> None:
        self.session = Session(
            dialect,
            "soak",
            limits=Limits(),
            ping_interval=1e9,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=Backoff(0.0, 0.0),
        )
        self.session.dialled(0.0, None)
        self.now = 0.0

    def say(self) -> list[Any]:
        """What leaves, as values."""
        self.session.tick(self.now)
        said = [json.loads(data) for opcode, data in self.session.take_outbox(self.now) if opcode == 1]
        self.session.take_decisions()
        return said

    def hear(self, body: Any) -> None:
        self.session.receive(wire(body) if isinstance(body, dict) else body, self.now)
        self.session.take_decisions()


@contextlib.contextmanager
def session_rounds(dialect: Dialect) -> Iterator[Do]:
    """Subscribe and unsubscribe, each time under another id where the exchange gives ids."""
    driver = Driver(dialect)
    ids = iter(range(1 << 60))

    def answer() -> None:
        for request in driver.say():
            if dialect is SWAP:
                driver.hear({"id": request["id"], "ok": True})
            else:
                driver.hear({"re": request["op"], "ok": True, "ids": {f"x{next(ids)}": None}})

    def do(count: int) -> None:
        wanted = topics("price A")
        for _ in range(count):
            driver.now += 0.001
            driver.session.want("sink", wanted, driver.now, driver.now + 10.0)
            answer()
            driver.session.unwant("sink", wanted, driver.now, driver.now + 10.0)
            answer()

    yield do


@contextlib.contextmanager
def session_requests() -> Iterator[Do]:
    """Requests and their answers."""
    driver = Driver(SWAP)

    def do(count: int) -> None:
        for _ in range(count):
            driver.now += 0.001
            driver.session.submit(Command("query", replay=True), driver.now, driver.now + 10.0)
            for request in driver.say():
                driver.hear({"id": request["id"], "ok": True})

    yield do


@contextlib.contextmanager
def session_timeouts(dialect: Dialect) -> Iterator[Do]:
    """Requests that are never answered."""
    driver = Driver(dialect)

    def do(count: int) -> None:
        for _ in range(count):
            driver.now += 1.0
            driver.session.submit(Command("query", replay=True), driver.now, driver.now + 2.0)
            driver.say()

    yield do


@contextlib.contextmanager
def session_unreadable() -> Iterator[Do]:
    """Messages that are no JSON, not more in a minute than a link may have."""
    driver = Driver(SWAP)

    def do(count: int) -> None:
        for _ in range(count):
            driver.now += 1.0
            driver.hear(b"{")

    yield do


def subscription(overflow: str, size: int = 1000) -> Subscription:
    """One whose consumer has stopped."""
    return Subscription(
        "soak",
        [topic("tape *")],
        COUNTING,
        clock=SystemClock(),
        queue_size=size,
        overflow=overflow,
        gaps=True,
        raw=False,
        numbers=Decimal,
        block_limit=1.0,
        leave=lambda subscription, topics, timeout: None,
        forget=lambda subscription: None,
    )


@contextlib.contextmanager
def gaps(overflow: str, read: bool) -> Iterator[Do]:
    """Losses, each with a statement and a few messages behind it."""
    stream = subscription(overflow)
    made = iter(range(1 << 60))

    def do(count: int) -> None:
        for _ in range(count):
            now = next(made) * 1_000_000_000
            stream.lost("source", now)
            stream.stated("source", stream.wanted, now + 1)
            stream.put("source", [push("tape A", 1), push("tape B", 2)], now + 2)
            stream.restored("source", now + 3)
            if read:
                stream.get_many()

    yield do


@contextlib.contextmanager
def new_keys() -> Iterator[Do]:
    """Under LATEST, messages that name ever new topics."""
    stream = subscription(LATEST)
    made = iter(range(1 << 60))

    def do(count: int) -> None:
        for _ in range(count):
            stream.put("source", [push(f"tape {next(made)}", 1)], 1)

    yield do


# Over a socket ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def peer() -> Iterator[str]:
    """The URL of `flood.py`, a process that speaks WhiteBIT, and does what it is asked for."""
    command = [sys.executable, str(HERE / "flood.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextlib.contextmanager
def flood(kind: str, overflow: str = DROP_OLDEST, **params: Any) -> Iterator[Do]:
    """So many messages of this kind, for a subscription that nobody reads."""
    with peer() as url, WhiteBIT(url, rate_limit=False, queue_size=1000, ping_interval=30.0) as ws:
        stream = ws.subscribe(*params.get("topic", ("lastprice", "BTC_USDT")), overflow=overflow)

        def do(count: int) -> None:
            while count > 0:
                part = min(count, 50_000)
                ws.request("flood", [kind, part], timeout=STEP_LIMIT_S)
                count -= part

        yield do
        try:
            stream.close()
        except ExchangeError as error:
            print(f"    ended: {error}", file=sys.stderr)


@contextlib.contextmanager
def socket_rounds() -> Iterator[Do]:
    """Subscribe and unsubscribe over a socket."""
    with peer() as url, WhiteBIT(url, rate_limit=False) as ws:

        def do(count: int) -> None:
            for _ in range(count):
                ws.subscribe("lastprice", "BTC_USDT").close()

        yield do


@contextlib.contextmanager
def reconnects() -> Iterator[Do]:
    """Links that the exchange resets as soon as the topic is stated, for a subscription that nobody reads."""
    states: queue.SimpleQueue[str] = queue.SimpleQueue()
    with peer() as url, WhiteBIT(url, rate_limit=False, reconnect=Backoff(0.0, 0.0), on_state=states.put) as ws:
        ws.subscribe("lastprice", "BTC_USDT")
        while states.get(timeout=STEP_LIMIT_S) != "open":
            pass

        def do(count: int) -> None:
            ws.request("flap", [count], timeout=STEP_LIMIT_S)
            opened = 0
            while opened < count:
                opened += states.get(timeout=STEP_LIMIT_S) == "open"

        yield do


MILLION = 1_000_000
CASES = {
    "rounds": Case(lambda: session_rounds(SWAP), MILLION, 2000, "subscribe and unsubscribe, the session alone"),
    "rounds-ids": Case(lambda: session_rounds(IDS), MILLION // 5, 2000, "the same where each has an id of the exchange's"),
    "rounds-socket": Case(socket_rounds, 50_000, 500, "subscribe and unsubscribe, over a socket"),
    "requests": Case(session_requests, MILLION, 5000, "requests and their answers"),
    "timeouts": Case(lambda: session_timeouts(SWAP), MILLION, 5000, "requests that are never answered"),
    "timeouts-ids": Case(lambda: session_timeouts(IDS), MILLION // 5, 5000, "the same where answers carry no id"),
    "unreadable": Case(session_unreadable, MILLION, 5000, "messages that are no JSON, one a second"),
    "gaps": Case(lambda: gaps(DROP_OLDEST, True), MILLION, 15_000, "losses, read"),
    "gaps-oldest": Case(lambda: gaps(DROP_OLDEST, False), MILLION, 15_000, "losses, drop_oldest, consumer stopped"),
    "gaps-newest": Case(lambda: gaps(DROP_NEWEST, False), MILLION, 15_000, "losses, drop_newest, consumer stopped"),
    "gaps-latest": Case(lambda: gaps(LATEST, False), MILLION, 15_000, "losses, latest, consumer stopped"),
    "keys": Case(new_keys, MILLION, 25_000, "new topics under latest, consumer stopped"),
    "drop_oldest": Case(lambda: flood("updates"), MILLION, 5000, "updates, consumer stopped"),
    "drop_newest": Case(lambda: flood("updates", "drop_newest"), MILLION, 5000, "updates, consumer stopped"),
    "latest": Case(lambda: flood("updates", "latest"), MILLION, 5000, "updates, consumer stopped"),
    "raise": Case(lambda: flood("updates", "raise"), MILLION, 5000, "updates, consumer stopped"),
    "block": Case(lambda: flood("updates", "block"), MILLION, 5000, "updates, consumer stopped"),
    "symbols": Case(lambda: flood("symbols", topic=("trades", "*")), MILLION, 25_000, "trades of ever new symbols"),
    "unknown": Case(lambda: flood("unknown"), MILLION, 5000, "messages of an unknown kind"),
    "unrouted": Case(lambda: flood("unrouted"), MILLION, 5000, "updates that nobody wants"),
    "unasked": Case(lambda: flood("unasked"), MILLION, 5000, "answers that nobody asked for"),
    "pings": Case(lambda: flood("pings"), MILLION, 5000, "ping frames"),
    "reconnects": Case(reconnects, 10_000, 1500, "losses and links, consumer stopped"),
}


# Measuring -------------------------------------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(name: str, count: int, traced: bool) -> None:
    """In a process of its own: prints memory at the start, after warming up and at the end, in bytes, and the seconds."""
    logging.disable(logging.CRITICAL)
    case = CASES[name]
    size = resident
    if traced:
        tracemalloc.start()
        size = lambda: tracemalloc.get_traced_memory()[0]  # noqa: E731
    began = time.monotonic()
    sizes = [size()]
    with case.make() as do:
        first = min(count, max(case.least, int(count * FIRST_SHARE)))
        for part in (first, max(count - first, first // 2)):
            do(part)
            gc.collect()
            sizes.append(size())
    print(json.dumps([*sizes, first, count, time.monotonic() - began]))


def run(name: str, count: int, traced: bool) -> list[Any]:
    """`measure`, elsewhere."""
    command = [sys.executable, __file__, name, "--measure", str(count), *(["--traced"] if traced else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RUN_LIMIT_S, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether memory stays flat.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it")
    parser.add_argument("--measure", type=int, metavar="COUNT", help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    wrong = [name for name in given.cases if name not in CASES]
    if wrong:
        parser.error(f"no such case: {', '.join(wrong)}")
    if given.measure is not None:
        measure(given.cases[0], given.measure, given.traced)
        return 0
    failed = 0
    head = ("case", "times", "RSS at start", "warm", "end", "grown", "traced, warm", "end", "grown", "s")
    row = "{:14} {:>9} {:>13} {:>8} {:>8} {:>8}   {:>12} {:>8} {:>8} {:>6}  {}"
    print(row.format(*head, "").rstrip(), "(KiB)")
    for name in given.cases or CASES:
        case = CASES[name]
        count = max(2 * case.least, case.count // 50) if given.quick else case.count
        rss = run(name, count, False)
        traced = run(name, max(2 * case.least, count // 10), True)
        grown, traced_grown = rss[2] - rss[1], traced[2] - traced[1]
        passed = grown <= RSS_BOUND and traced_grown <= TRACED_BOUND
        failed += not passed
        sizes = [f"{size / 1024:.0f}" for size in (*rss[:3], grown, *traced[1:3], traced_grown)]
        verdict = "PASS" if passed else f"FAIL: bounds are {RSS_BOUND // 1024} and {TRACED_BOUND // 1024} KiB"
        print(row.format(name, count, *sizes, f"{rss[5] + traced[5]:.0f}", f"{verdict}  {case.what}"), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
