"""
An application of queues and worker threads, as it was before there were WebSockets in it: only what fills the queue is new.

    python docs/examples/legacy_queue.py --sandbox --seconds 2
    python docs/examples/legacy_queue.py --sandbox --seconds 2 --pump

A `queue.Queue` of trades, workers, a sentinel that ends each of them. Two ways to fill the queue: `call`, with a thread of the
subscription's own, or a thread of yours (--pump). Ends after --seconds, or with Ctrl-C; what has come by then is worked on.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import queue
import sys
import threading
import time
from collections import Counter
from typing import Any

from exchange_ws import ExchangeError, Subscription, WhiteBIT

WORKERS = 4


class Ledger:
    """Amounts that were traded, by market, and the number of trades. Workers share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.amounts: Counter[str] = Counter()
        self.trades = 0

    def work(self, jobs: queue.Queue[Any]) -> None:
        for trade in iter(jobs.get, None):
            with self._lock:
                self.amounts[trade.symbol] += trade.price * trade.size
                self.trades += 1


def pump(trades: Subscription, jobs: queue.Queue[Any]) -> None:
    """Move trades into the queue until their subscription ends."""
    for trade in trades:
        jobs.put(trade)


def run(trades: Subscription, ledger: Ledger, seconds: float, *, own_thread: bool) -> None:
    """Work on *trades* for so many *seconds*, or until Ctrl-C or their end; then end every thread in order."""
    # Bounded: if the workers fall behind, `put` waits, the subscription's own buffer fills, and a `Gap` tells what that cost.
    jobs: queue.Queue[Any] = queue.Queue(maxsize=1000)
    workers = [threading.Thread(target=ledger.work, args=(jobs,)) for _ in range(WORKERS)]
    feeder = threading.Thread(target=pump, args=(trades, jobs))
    for thread in workers:
        thread.start()
    print(WORKERS, "workers wait for trades", flush=True)
    feeder.start() if own_thread else trades.call(jobs.put)
    try:
        end = time.monotonic() + seconds
        while not trades.closed and time.monotonic() < end:
            time.sleep(0.1)  # the application's own work
    finally:
        try:
            trades.close()  # ends `pump`; with `call`, waits until the last trade is in the queue
        finally:  # a dead link is an error there: a worker that nobody ends would keep this process for ever
            if own_thread:
                feeder.join()
            for _ in workers:
                jobs.put(None)  # the sentinels stand behind the last trade: all are worked on
            for thread in workers:
                thread.join()
        for market, amount in sorted(ledger.amounts.items()):
            print(f"{market:<12} {amount:>16.2f} traded")
        print(f"{ledger.trades} trades, {trades.dropped} messages dropped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="end after so many seconds")
    parser.add_argument("--pump", action="store_true", help="fill the queue with a thread of our own")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        client = WhiteBIT()
        if arguments.sandbox:
            from exchange_ws.sandbox import Sandbox

            client = stack.enter_context(Sandbox("whitebit", seed=1)).client()
        trades = stack.enter_context(client).subscribe_trades("BTC_USDT", "ETH_USDT")
        run(trades, Ledger(), arguments.seconds, own_thread=arguments.pump)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"legacy_queue: {error}")
