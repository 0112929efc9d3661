# ruff: noqa: T201  (a command: its output is the point)
"""
Which structure holds one side of an order book best?

    python tests/benchmarks/books.py [--deltas N]

Deltas of 4 to 20 levels, nearly all near the best price, on sides of 100 to 5,000 levels; after each the best price is read,
and after every tenth the best 20 levels. What is printed are microseconds for each delta, the best of three runs: of a sorted
list of prices with a dict of sizes (`exchange_ws.orderbook.Side`), of two lists in step, of `sortedcontainers.SortedDict` (its
column is empty without that), and of a dict alone that is sorted when it is read.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.orderbook import Side

try:
    from sortedcontainers import SortedDict
except ImportError:
    SortedDict = None

TOP = 20
READ_EVERY = 10
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


if __name__ == "__main__":
    main()
