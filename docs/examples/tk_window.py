"""
A Tk window with live prices. Tk watches the subscription itself, through `fileno`: no thread, no queue, no polling.

    python docs/examples/tk_window.py --sandbox
    python docs/examples/tk_window.py BTC_USDT ETH_USDT

Needs no key. On Windows, where Tk cannot watch a descriptor, the window looks for news four times a second instead. Ends when
the window is closed, after --seconds, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tkinter
from collections.abc import Sequence
from tkinter import ttk

from exchange_ws import Client, ExchangeError, Subscription, UpdateTimeout, WhiteBIT

COLUMNS = ("bid", "bid size", "ask", "ask size")
LOOK_MS = 250


class Window(tkinter.Tk):
    """A row for each market: its best bid and ask. All of it happens on the thread of `mainloop`."""

    def __init__(self, client: Client, tickers: Subscription, markets: Sequence[str]) -> None:
        super().__init__()
        self._client = client
        self._tickers = tickers
        self._rows = ttk.Treeview(self, columns=COLUMNS, height=6)
        self._rows.heading("#0", text="market")
        self._rows.column("#0", width=120)
        for column in COLUMNS:
            self._rows.heading(column, text=column, anchor="e")
            self._rows.column(column, anchor="e", width=110)
        for market in markets:
            self._rows.insert("", "end", market, text=market)
        self._rows.pack(fill="both", expand=True)
        self.watched = hasattr(self.tk, "createfilehandler")  # not on Windows
        if self.watched:
            self.tk.createfilehandler(tickers.fileno(), tkinter.READABLE, lambda *_: self.show())
        self.look()

    def show(self) -> None:
        """Show all that waits. It never blocks: what waits may turn out to be no event."""
        while True:
            try:
                ticker = self._tickers.get_nowait()
            except UpdateTimeout:
                return
            except ExchangeError as error:  # the end of the stream, which stays readable for ever
                if self.watched:
                    self.tk.deletefilehandler(self._tickers.fileno())
                self.title(str(error))
                return
            self._rows.item(ticker.symbol, values=(ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size))

    def look(self) -> None:
        """Now and then: the state of the connection. This also lets Python see Ctrl-C while Tk has nothing to do."""
        if not self._tickers.closed:
            self.title(f"WhiteBIT: {self._client.state}")
        if not self.watched:
            self.show()
        self.after(LOOK_MS, self.look)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("markets", nargs="*", metavar="MARKET", default=["BTC_USDT", "ETH_USDT"])
    parser.add_argument("--seconds", type=float, metavar="S", help="close the window after so many seconds")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        client = WhiteBIT()
        if arguments.sandbox:
            from exchange_ws.sandbox import Sandbox

            client = stack.enter_context(Sandbox("whitebit", seed=1)).client()
        # "latest": a window that is busy shows the newest prices when it comes to it, and not all those between.
        tickers = stack.enter_context(client).subscribe_book_ticker(*arguments.markets, overflow="latest")
        window = Window(client, tickers, arguments.markets)
        if arguments.seconds is not None:
            window.after(int(arguments.seconds * 1000), window.quit)
        # An exception in a callback of Tk's is printed, and the loop goes on; so Ctrl-C is no exception here.
        signal.signal(signal.SIGINT, lambda *_: window.quit())
        window.mainloop()


if __name__ == "__main__":
    try:
        main()
    except (ExchangeError, tkinter.TclError) as error:
        sys.exit(f"tk_window: {error}")
