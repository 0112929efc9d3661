"""
What happens in a real kernel of Jupyter: interrupted cells, cells that are run again, live cells.

Needs ipykernel; with it, as in `python -m pip install -e '.[test,notebook]'`, these run with all the others.
"""

from __future__ import annotations

import os
import queue
import time
from pathlib import Path

import pytest

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0  # for one cell, or the kernel's start; reached only when something is broken

START = """
import threading
import pandas  # now: an interrupt in the midst of its first import leaves half of it, for good
from exchange_ws import notebook, WhiteBIT
from exchange_ws.sandbox import Sandbox
box = Sandbox("whitebit", seed=3, tick=0.02).start()
"""


class Kernel:
    """A kernel, and what its cells show."""

    def __init__(self) -> None:
        self._manager = manager.KernelManager(kernel_name="python3")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._manager.start_kernel(env={**os.environ, "PYTHONPATH": path})
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=LIMIT_S)

    def begin(self, code: str) -> Cell:
        return Cell(self, self._client, self._client.execute(code))

    def run(self, code: str) -> Cell:
        """A cell that has ended by itself, without an error."""
        cell = self.begin(code)
        cell.finish()
        assert (None, "") == (cell.error, cell.said)
        return cell

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def end(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


class Cell:
    """One execution: what it has shown so far."""

    def __init__(self, kernel: Kernel, client, number: str) -> None:
        self._client = client
        self._number = number
        self.results: list[str] = []  # texts of `Out`
        self.streams: list[str] = []
        self.shown: list[tuple[str, str, str]] = []  # kind of message, display id, HTML
        self.error: str | None = None
        self.said = ""  # the error's words
        self.ended = False

    def step(self) -> None:
        """Take one message of the kernel's."""
        try:
            message = self._client.get_iopub_msg(timeout=LIMIT_S)
        except queue.Empty:
            raise AssertionError("the kernel says nothing") from None
        if message["parent_header"].get("msg_id") != self._number:
            return
        kind, content = message["msg_type"], message["content"]
        if kind == "execute_result":
            self.results.append(content["data"]["text/plain"])
        elif kind == "stream":
            self.streams.append(content["text"])
        elif kind in ("display_data", "update_display_data"):
            self.shown.append((kind, content["transient"]["display_id"], content["data"].get("text/html", "")))
        elif kind == "error":
            self.error = content["ename"]
            self.said = content["evalue"]
        elif kind == "status":
            self.ended = content["execution_state"] == "idle"

    def until(self, reached) -> None:
        end = time.monotonic() + LIMIT_S
        while not (reached(self) or self.ended):
            assert time.monotonic() < end
            self.step()

    def finish(self) -> None:
        self.until(lambda cell: cell.ended)


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    try:
        kernel.run(START)
        yield kernel
        kernel.run("box.stop()")
    finally:
        kernel.end()


WAITS = [
    "for candle in quiet: pass",
    "quiet.get()",
    "quiet.collect(1000)",
    "quiet.to_dataframe(1000)",
]


@pytest.mark.parametrize("waiting", WAITS)
def test_interrupted_cell(kernel, waiting):
    """An interrupt ends whatever a cell waits for; the client is as healthy as before."""
    kernel.run("ws = box.client(); quiet = ws.subscribe('candles', 'BTC_USDT', interval=604800); quiet.collect(1)")
    cell = kernel.begin(f"print('begun', flush=True)\n{waiting}")
    cell.until(lambda cell: cell.streams)
    kernel.interrupt()
    cell.finish()
    kernel.run("quiet = None")
    told = kernel.run("ws.ping() > 0, ws.state, ws.stats()['reconnects'], ws.subscribe_trades('BTC_USDT').get().symbol")
    assert ("KeyboardInterrupt", ["(True, 'open', 0, 'BTC_USDT')"]) == (cell.error, told.results)


LAST_LINES = ["", "ws", "trades", "ws, trades", "1 / 0", "next(iter(trades)); ws.subscribe_trades('ETH_USDT')"]


@pytest.mark.parametrize("last", LAST_LINES)
def test_cell_that_is_run_again(kernel, last):
    """
    After five runs of a cell that makes a client there are the threads of one, whatever its last line shows; and the one that
    the last run made is alive.
    """
    for _ in range(5):
        kernel.begin(f"ws = box.client().connect()\ntrades = ws.subscribe_trades('BTC_USDT')\n{last}").finish()
    threads = ["exchange-ws sandbox", "exchange-ws timer", "exchange-ws whitebit/public #1"]
    ours = "sorted(thread.name for thread in threading.enumerate() if thread.name.startswith('exchange-ws'))"
    end, left = time.monotonic() + LIMIT_S, None
    while left != threads and time.monotonic() < end:  # a client that nobody has is closed on a thread of its own
        left = eval(kernel.run(ours).results[0])
    assert (threads, ["('open', False)"]) == (left, kernel.run("ws.state, trades.closed").results)


def test_clients_with_a_name_stay(kernel):
    """A client of an earlier cell that has a name is not touched by cells that make others, shown or not."""
    kernel.run("first = box.client().connect()\nfirst")
    kernel.run("other = box.client().connect()\nother")
    told = kernel.run("first.state, first.ping() > 0, other.state")
    kernel.run("first = other = None")
    assert ["('open', True, 'open')"] == told.results


@pytest.mark.parametrize(
    "live", ["live_table(trades)", "live_table(trades, 3)", "live_chart(trades)", "live_chart(trades, 'size')"]
)
def test_live_cell(kernel, live):
    """
    It is drawn anew at one and the same place, and an interrupt ends it without an error; so does `count`. The subscription
    goes on.
    """
    kernel.run("ws = box.client(); trades = ws.subscribe_trades('BTC_USDT', 'ETH_USDT')")
    cell = kernel.begin(f"notebook.{live}")
    cell.until(lambda cell: len(cell.shown) >= 4)
    kernel.interrupt()
    cell.finish()
    kinds, places, pages = zip(*cell.shown)
    assert (None, 1, "display_data", {"update_display_data"}) == (cell.error, len(set(places)), kinds[0], set(kinds[1:]))
    assert ("open" in pages[1], "stopped" in pages[-1], len(set(pages))) == (True, True, len(pages))
    again = kernel.run(f"notebook.{live[:-1]}, count=7); trades.get(5) is None, ws.ping() > 0")
    assert ["(False, True)"] == again.results
    assert "events: 7" in again.shown[-1][2]


def test_live_cell_through_a_loss(kernel):
    """A lost connection is seen in the cell, and so is its end: with the gap, and new events."""
    kernel.run("ws = box.client(); prices = ws.subscribe('bookTicker', 'BTC_USDT')")
    kernel.run("threading.Timer(0.5, box.drop).start()")
    cell = kernel.begin("notebook.live_chart(prices)")
    cell.until(lambda cell: cell.shown and "stroke-dasharray" in cell.shown[-1][2])
    kernel.interrupt()
    cell.finish()
    kernel.run("prices = None")
    assert (None, True) == (cell.error, "gap (reconnect)" in cell.shown[-1][2])
