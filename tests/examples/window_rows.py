"""
Holds the window of an example against a sandbox's book: ``python window_rows.py docs/examples/tk_window.py``, on a display.

Prints a line of JSON for each time that the window had the chance to catch up: its rows and the market's best prices. Then one
of its title while connected, the end of its title after the stream's, and how often it looked for events after that.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from decimal import Decimal

import attrs

from exchange_ws.sandbox import Sandbox

MARKETS = ["BTC_USDT", "ETH_USDT"]
#: Milliseconds to wait for what must come; reached only when something is broken.
LIMIT_MS = 20_000
#: Milliseconds for which an idle window is watched: a descriptor that is readable would call it thousands of times.
IDLE_MS = 100

spec = importlib.util.spec_from_file_location("tk_window", sys.argv[1])
assert spec is not None and spec.loader is not None
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


def rows() -> list[list[str]]:
    texts = [[window._rows.set(market, column) for column in example.COLUMNS] for market in MARKETS]
    return [[plain(Decimal(text)) for text in row if text] for row in texts]


def plain(number: Decimal) -> str:
    """Text without zeros at its end, which the exchange leaves out."""
    return f"{number.normalize():f}"


def moved() -> list[list[str]]:
    """The best prices after some steps of the market."""
    box.step(20)
    by_name = {
        f"{market.instrument.base}_{market.instrument.quote}": market.top
        for market in box.markets.markets
        if not market.instrument.perpetual
    }
    return [[plain(number) for number in attrs.astuple(by_name[market])] for market in MARKETS]


def wait(reached) -> None:
    """Let Tk go on until that is so."""
    late: list[bool] = []
    limit = window.after(LIMIT_MS, late.append, True)
    while not (reached() or late):
        window.tk.dooneevent()
    window.after_cancel(limit)


def tell(what: list[object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")


def compare() -> None:
    tops = moved()
    wait(lambda: rows() == tops)
    tell([rows(), tops])


with Sandbox("whitebit", seed=1, tick=None) as box, box.client() as ws:
    window = example.Window(ws, ws.subscribe_book_ticker(*MARKETS, overflow="latest"), MARKETS)
    for _ in range(3):
        compare()
    box.drop()
    box.wait_received("bookTicker_subscribe", 2, timeout=LIMIT_MS / 1000)
    compare()
    wait(lambda: window.title() == "WhiteBIT: open")
    connected = window.title()
    ws.close()
    wait(lambda: "ended" in window.title())
    looks: list[bool] = []
    over: list[bool] = []
    window.show = lambda: looks.append(True)
    window.after(IDLE_MS, over.append, True)
    wait(lambda: over)
    tell([connected, window.title().rpartition(": ")[2], len(looks)])
    window.destroy()
