# ruff: noqa: T201  (a command: its output is the point)
"""
Which structure holds one side of an order book best?

    python tests/benchmarks/books.py [--deltas N]

Deltas of 4 to 20 levels, nearly all near the best price, on sides of 100 to 5,000 levels; after each the best price is read,
and after every tenth the best 20 levels. What is printed are microseconds for each delta, the best of three runs: of a sorted
list of prices with a dict of sizes (`exchange_ws.orderbook.Side`), of two lists in step, of `sortedcontainers.SortedDict` (its
column is empty without that), and of a dict alone that is sorted when it is read.

Then messages of WhiteBIT through a live book, from a subscription's `put` to the best price. They are applied by the client's
thread with nobody reading, by who reads after each put, by both, or by a thread of the book's own, as `Subscription.call` has
one.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.clock import SystemClock
from exchange_ws.core.livebook import OrderBook
from exchange_ws.core.subscription import Listener, Subscription
from exchange_ws.exchanges.whitebit.dialect import WHITEBIT, topics
from exchange_ws.orderbook import Book, Side, linked

try:
    from sortedcontainers import SortedDict
except ImportError:
    SortedDict = None

TOP = 20
READ_EVERY = 10
APPLIED_S = 300.0  # after which nothing applies the rest
Levels = Sequence[tuple[Any, Any]]


class TwoLists:
    """Prices in order, and sizes in the same order."""

    def __init__(self, levels: Levels) -> None:
        self.prices = sorted(price for price, _ in levels)
        sizes = dict(levels)
        self.sizes = [sizes[price] for price in self.prices]

    def change(self, levels: Levels) -> None:
        prices, sizes = self.prices, self.sizes
        for price, size in levels:
            at = bisect_left(prices, price)
            known = at < len(prices) and prices[at] == price
            if size:
                if known:
                    sizes[at] = size
                else:
                    prices.insert(at, price)
                    sizes.insert(at, size)
            elif known:
                del prices[at], sizes[at]

    def best(self) -> Any:
        return self.prices[-1]

    def top(self, count: int) -> Levels:
        return list(zip(self.prices[: -count - 1 : -1], self.sizes[: -count - 1 : -1]))


class Sorted:
    """`sortedcontainers`."""

    def __init__(self, levels: Levels) -> None:
        self.sizes = SortedDict(levels)

    def change(self, levels: Levels) -> None:
        for price, size in levels:
            if size:
                self.sizes[price] = size
            else:
                self.sizes.pop(price, None)

    def best(self) -> Any:
        return self.sizes.peekitem(-1)[0]

    def top(self, count: int) -> Levels:
        return [(price, self.sizes[price]) for price in self.sizes.islice(len(self.sizes) - count, reverse=True)]


class Unsorted:
    """A dict, and `max` or `sorted` when somebody asks."""

    def __init__(self, levels: Levels) -> None:
        self.sizes = dict(levels)

    def change(self, levels: Levels) -> None:
        for price, size in levels:
            if size:
                self.sizes[price] = size
            else:
                self.sizes.pop(price, None)

    def best(self) -> Any:
        return max(self.sizes)

    def top(self, count: int) -> Levels:
        return sorted(self.sizes.items(), reverse=True)[:count]


class Ours(Side):
    """What the package has."""

    def __init__(self, levels: Levels) -> None:
        super().__init__(descending=True)
        self.replace(levels)

    def best(self) -> Any:
        return self.prices[-1]

    def top(self, count: int) -> Levels:
        return self.best_first(count)


def deltas(rng: random.Random, depth: int, count: int, numbers: Callable[[str], Any]) -> Iterator[list[tuple[Any, Any]]]:
    """Changes of bids that keep *depth* levels: sizes change, levels come and go, nearly all of them near the best."""
    there = list(range(100_000 - depth, 100_000))  # ascending

    def level(price: int, size: int) -> tuple[Any, Any]:
        return numbers(f"{price / 100:.2f}"), numbers(f"{size / 1000}" if size else "0")

    yield [level(price, rng.randint(1, 9000)) for price in there]
    for _ in range(count):
        changed: dict[int, int] = {}
        for _ in range(rng.randint(4, 20)):
            at = min(len(there), int(rng.expovariate(1 / 12)) + 1)
            price = there[-at]
            chance = rng.random()
            if chance < 0.6:
                changed[price] = rng.randint(1, 9000)
            elif chance < 0.8:
                changed[price] = 0
                del there[-at]
            else:
                price += 1
                if bisect_left(there, price) == len(there) or there[bisect_left(there, price)] != price:
                    insort(there, price)
                changed[price] = rng.randint(1, 9000)
        while len(there) < depth:
            there.insert(0, there[0] - 1)
            changed[there[0]] = rng.randint(1, 9000)
        while len(there) > depth:
            changed[there.pop(0)] = 0
        yield [level(price, size) for price, size in sorted(changed.items(), reverse=True)]


def measure(structure: Callable[[Levels], Any], changes: Sequence[Levels]) -> tuple[float, Any]:
    """Microseconds a delta, and what was read last."""
    best = float("inf")
    for _ in range(3):
        side = structure(changes[0])
        began = time.perf_counter()
        for number, levels in enumerate(changes[1:]):
            side.change(levels)
            side.best()
            if not number % READ_EVERY:
                side.top(TOP)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / (len(changes) - 1), side.top(TOP)


def messages(changes: Sequence[Levels]) -> list[bytes]:
    """*changes* as WhiteBIT sends them."""
    found = []
    for number, levels in enumerate(changes):
        book = {"timestamp": 1.0, "update_id": number + 1, "bids": [[str(price), str(size)] for price, size in levels]}
        if number:
            book["past_update_id"] = number
        body = {"id": None, "method": "depth_update", "params": [not number, book, "BTC_USDT"]}
        found.append(json.dumps(body, separators=(",", ":")).encode())
    return found


def live(way: str, sent: Sequence[bytes], together: int) -> float:
    """Microseconds a message, *together* of them in one read."""
    (topic,) = topics("depth", "BTC_USDT", limit=100)
    subscription = Subscription(
        "bench",
        [topic],
        WHITEBIT,
        clock=SystemClock(),
        queue_size=1_000_000,
        overflow="drop_oldest",
        gaps=True,
        raw=False,
        numbers=Decimal,
        block_limit=1.0,
        leave=lambda subscription, topics, timeout: subscription.finish(),
        forget=lambda subscription: None,
    )
    keeper = Listener(OrderBook.keep, "keeper", math.inf)
    tell = keeper.tell if way in ("client's thread", "both") else lambda book: None
    pure, lock = Book(linked, limit=100), threading.Lock()
    book = OrderBook(
        topic, Book(linked, limit=100), subscription, clock=SystemClock(), text=False, tell=tell, restate=lambda _: None
    )
    if way == "own thread":

        def apply(update: Any) -> None:
            with lock:
                pure.apply(update)

        subscription.call(apply)
    else:
        subscription.watch(book)
    began = time.perf_counter()
    for at in range(0, len(sent), together):
        subscription.put("link", sent[at : at + together], 1)
        if way in ("reader", "both"):
            assert book.best_bid is not None
    read = pure if way == "own thread" else book
    while (pure.sequence if way == "own thread" else book._book.sequence) != len(sent):
        assert time.perf_counter() - began < APPLIED_S, "not all is applied"
        time.sleep(0)  # the processor is for the thread that applies
    spent = time.perf_counter() - began
    assert read.best_bid is not None
    subscription.finish()
    subscription.join(5.0)
    keeper.close(5.0)
    return 1e6 * spent / len(sent)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="structures for one side of an order book")
    parser.add_argument("--deltas", type=int, default=4000, help="of each run (default: %(default)s)")
    chosen = parser.parse_args()
    structures = {"list and dict": Ours, "two lists": TwoLists, "SortedDict": Sorted, "dict alone": Unsorted}
    print(f"us a delta{'':22}" + "".join(f"{name:>16}" for name in structures))
    for numbers in (Decimal, float):
        for depth in (100, 1000, 5000):
            changes = list(deltas(random.Random(1), depth, chosen.deltas, numbers))
            row, read = [], []
            for structure in structures.values():
                if structure is Sorted and SortedDict is None:
                    row.append(f"{'':16}")
                    continue
                few = changes[: 1 + min(chosen.deltas, 400)] if structure is Unsorted else changes
                spent, top = measure(structure, few)
                row.append(f"{spent:16.1f}")
                if structure is not Unsorted:
                    read.append(top)
            assert all(top == read[0] for top in read), "they do not agree"
            print(f"{numbers.__name__:8} {depth:6,} levels{'':9}" + "".join(row))
    sent = messages(list(deltas(random.Random(1), 100, chosen.deltas, Decimal)))
    print("\nus a message through a live book of 100 levels, so many messages in one read")
    ways = ("client's thread", "reader", "both", "own thread")
    print(f"{'':10}" + "".join(f"{way:>18}" for way in ways))
    for together in (1, 16):
        print(f"{together:<10}" + "".join(f"{min(live(way, sent, together) for _ in range(3)):18.1f}" for way in ways))


if __name__ == "__main__":
    main()
