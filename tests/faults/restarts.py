# ruff: noqa: T201  (a command: its output is the point)
"""
A minute of restarts, and what a minute's limits allow: the long form of what the suite of faults does in a second.

    python tests/faults/restarts.py [--seconds 60] [EXCHANGE ...]

For each exchange, all at once: a sandbox that restarts every second (it is away for 0 to 0.5 s of that), one subscriber and
one who asks. Then, against sandboxes that enforce the limits: a hundred losses in a row without a pause, and, on WhiteBIT, a
thousand subscribes one after the other. Prints a line of figures for each, and ends with 1 if anything was not as promised.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws import Backoff, clients
from exchange_ws.errors import ConnectionLost, ExchangeError, RequestTimeout
from exchange_ws.sandbox import Sandbox

FACTS = Path(__file__).parents[1] / "contract" / "facts"
LOSSES = 100
NAMES = [f"COIN{number}_USDT" for number in range(1000)]


def restarts(name: str, seconds: float) -> tuple[bool, str]:
    """Restart every second: whether all was as promised, and the figures."""
    facts = json.loads((FACTS / f"{name}.json").read_text("utf-8"))
    words, params = facts["topic"]
    rng = random.Random(name)
    asked = {"answered": 0, "lost": 0, "late": 0, "wrong": 0}
    away = threading.Event()
    with Sandbox(name, seed=1, tick=0.05, limits=False) as box:
        ws = box.client(reconnect=Backoff(0.05, 0.2), rate_limit=False)
        events: list[Any] = []

        def ask() -> None:
            while not away.is_set():
                try:
                    ws.request(*facts["query"], timeout=2.0)
                    asked["answered"] += 1
                except ConnectionLost as error:
                    asked["lost" if error.sent else "wrong"] += 1
                except RequestTimeout:
                    asked["late"] += 1
                except ExchangeError as error:
                    asked["wrong"] += 1
                    print(f"{name}: {error!r}", file=sys.stderr)

        subscription = ws.subscribe(*words, **params)
        subscription.call(events.append)
        asking = threading.Thread(target=ask)
        asking.start()
        count = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            down = rng.uniform(0.0, 0.5)
            box.restart(down)
            count += 1
            time.sleep(max(0.0, began + 1.0 - time.monotonic()))
        ws.connect(10.0)
        before = len(events)
        limit = time.monotonic() + 10.0
        while len(events) == before and time.monotonic() < limit:
            time.sleep(0.05)
        away.set()
        asking.join()
        gaps = subscription.gaps
        stats = ws.stats()
        flowing = len(events) > before
        ws.close()
    closed = [gap for gap in gaps if gap.until is not None]
    longest = max(gap.until - gap.since for gap in closed)
    right = flowing and len(gaps) == len(closed) >= count and not asked["wrong"] and not asked["late"]
    return right, (
        f"{name}: {count} restarts, {stats['reconnects']} reconnects, {len(gaps)} gaps, the longest of {longest:.2f} s,"
        f" {len(gaps) - len(closed)} open; {len(events)} events, {'flowing' if flowing else 'none'} at the end;"
        f" requests: {asked['answered']} answered, {asked['lost']} lost with their connection, {asked['late']} too late"
    )


def losses(name: str) -> tuple[bool, str]:
    """A hundred losses in a row, no pause between two tries: whether the exchange refused none, and the figures."""
    facts = json.loads((FACTS / f"{name}.json").read_text("utf-8"))
    words, params = facts["topic"]
    refused: list[int] = []
    with Sandbox(name, seed=1, tick=None) as box, contextlib.closing(box.client(reconnect=Backoff(0.0, 0.0))) as ws:
        original = box._allowed

        def allowed(times: Any, limit: Any) -> bool:
            fits = original(times, limit)
            if not fits:
                refused.append(len(times))
            return fits

        box._allowed = allowed  # type: ignore[method-assign]
        subscription = ws.subscribe(*words, **params)
        began = time.monotonic()
        for number in range(1, LOSSES + 1):
            box.drop()
            while ws.stats()["reconnects"] < number:
                time.sleep(0.001)
        took = time.monotonic() - began
        gaps = len(subscription.gaps)
    return gaps == LOSSES and not refused, f"{name}: {LOSSES} losses in {took:.1f} s, {len(refused)} dials refused, {gaps} gaps"


def subscribes() -> tuple[bool, str]:
    """A thousand subscribes one after the other: whether none was refused, and the figures."""
    with Sandbox("whitebit", seed=1, tick=None) as box, contextlib.closing(box.client()) as ws:
        market = box._exchange.names["BTC_USDT"]
        box._call(box._exchange.names.update, dict.fromkeys(NAMES, market))
        began = time.monotonic()
        for name in NAMES:
            ws.subscribe("lastprice", name)
        took = time.monotonic() - began
        said, connections = len(box.received), box.connections
    return said == len(NAMES), f"whitebit: {len(NAMES)} subscribes in {took:.1f} s, {said} requests, {connections} connections"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("exchanges", nargs="*", metavar="EXCHANGE", help="all if none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which servers restart")
    options = parser.parse_args()
    names = options.exchanges or sorted(clients())
    logging.getLogger("exchange_ws").setLevel(logging.ERROR)  # hundreds of warnings are what is to be expected here
    results: list[tuple[bool, str]] = []
    threads = [threading.Thread(target=lambda name=name: results.append(restarts(name, options.seconds))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results += [losses(name) for name in names]
    if "whitebit" in names:
        results.append(subscribes())
    for _, figures in results:
        print(figures)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    print(f"threads left: {left or 'none'}")
    return (
        0 if len(results) == 2 * len(names) + ("whitebit" in names) and all(right for right, _ in results) and not left else 1
    )


if __name__ == "__main__":
    sys.exit(main())
