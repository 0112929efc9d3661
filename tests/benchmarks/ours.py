"""
Our side of those benchmarks that are no blast on one connection: what `peers.py` is for others.

    python ours.py MEASURE URL PLAN

MEASURE is ``delay``, ``roundtrip`` or ``idle``, as in `peers.py`, or

``book``
    a live order book and a loop over what changes in it, which reads the best prices: as ``blast``;
``book-looked-at``
    the same without the loop, for a user who looks every millisecond;
``subscriptions``
    ``blast`` on one of ``subscriptions``, a topic each, on one connection: and seconds that it took to make them, KiB of each;
``connections``
    ``blast`` of ``connections`` clients, a thread and a connection each.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers import Delay, at_rest, resident_kib, tell

from exchange_ws import ExchangeError, WhiteBIT
from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import Stopwatch

LOOKED_AT_S = 300.0  # after which a book that is looked at has come to a stop


def delay(url: str, plan: dict[str, Any]) -> Any:
    """Typed events."""
    measure = Delay(plan)
    case = CASES[plan["case"]]
    with case.client(url, reconnect=False) as client:
        for trade in client.subscribe(*case.topic):
            measure.note(trade.id)


def delay_raw(url: str, plan: dict[str, Any]) -> Any:
    """The vendor's JSON."""
    measure = Delay(plan)
    case = CASES[plan["case"]]
    with case.client(url, reconnect=False) as client:
        for message in client.subscribe(*case.topic, raw=True):
            measure.take(message)


def roundtrip(url: str, plan: dict[str, Any]) -> Any:
    """`Client.request`, which any number of threads may call."""
    spent = []
    with WhiteBIT(url, rate_limit=False) as client:
        for _ in range(plan["count"]):
            began = time.perf_counter()
            client.request("ping")
            spent.append(1e6 * (time.perf_counter() - began))
    return spent


def idle(url: str, plan: dict[str, Any]) -> Any:
    """A client each."""
    case = CASES["v5-trades"]

    def make(_: int) -> Any:
        client = case.client(url)
        return client, client.subscribe(*case.topic)

    return at_rest(make, plan)


def book(url: str, plan: dict[str, Any]) -> Any:
    """All updates wait where the loop is behind, so that none is lost in the blast; the loop reads after each."""
    case = CASES["v5-deltas"]
    with case.client(url, reconnect=False, queue_size=2 * plan["count"]) as client:
        book = client.order_book("BTCUSDT", depth=50)
        updates, last = iter(book), 177400507 + plan["count"] - 1
        watch = Stopwatch()
        client.request("ping")
        for update in updates:
            _ = book.best_bid, book.best_ask
            if update.sequence >= last:
                return astuple(watch, plan["count"])
    raise AssertionError("ended early")


def book_looked_at(url: str, plan: dict[str, Any]) -> Any:
    """The same for a user who looks every millisecond and does not care what was between, as that of ccxt pro is shown it."""
    case = CASES["v5-deltas"]
    with case.client(url, reconnect=False, queue_size=2 * plan["count"]) as client:
        book = client.order_book("BTCUSDT", depth=50)
        last = 177400507 + plan["count"] - 1
        watch = Stopwatch()
        client.request("ping")
        end = time.monotonic() + LOOKED_AT_S
        while book.sequence < last:
            assert time.monotonic() < end, f"the book is at {book.sequence} of {last}"
            _ = book.best_bid, book.best_ask
            time.sleep(0.001)  # how often this user looks
        return astuple(watch, plan["count"])


def subscriptions(url: str, plan: dict[str, Any]) -> Any:
    """The last one is read."""
    case = CASES["v5-trades"]
    with case.client(url, reconnect=False, rate_limit=False, overflow="block") as client:
        client.connect()
        before, began = resident_kib(), time.perf_counter()
        others = [client.subscribe(f"publicTrade.S{number}USDT") for number in range(plan["subscriptions"] - 1)]
        spent, memory = time.perf_counter() - began, resident_kib() - before
        read = client.subscribe(*case.topic)
        next(read)
        watch, count = Stopwatch(), 1
        for trade in read:
            _ = trade.price, trade.size, trade.side, trade.time
            count += 1
            if count == plan["count"]:
                return [astuple(watch, count), spent, memory / max(1, len(others))]
    raise AssertionError("ended early")


def connections(url: str, plan: dict[str, Any]) -> Any:
    """All together; from the first event of any to the last of all."""
    case = CASES["v5-trades"]
    clients = [case.client(url, reconnect=False, overflow="block") for _ in range(plan["connections"])]
    watches, counts = [], []

    def read(client: Any) -> None:
        count = 0
        try:
            for trade in client.subscribe(*case.topic):
                if not count:
                    watches.append(Stopwatch())
                _ = trade.price, trade.size, trade.side, trade.time
                count += 1
        except ExchangeError:  # the server's goodbye
            pass
        counts.append(count)

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return astuple(watches[0], sum(counts))


def astuple(watch: Stopwatch, count: int) -> Any:
    """What `exchange_ws.bench.competitors.Result` is made of."""
    result = watch.result(count)
    return [result.messages, result.seconds, result.cpu_seconds, result.peak_mib, result.delivered]


MEASURES = {
    "delay": delay,
    "delay-raw": delay_raw,
    "roundtrip": roundtrip,
    "idle": idle,
    "book": book,
    "book-looked-at": book_looked_at,
    "subscriptions": subscriptions,
    "connections": connections,
}

if __name__ == "__main__":
    tell(MEASURES[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3])))
