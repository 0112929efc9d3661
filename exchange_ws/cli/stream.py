"""`exchange-ws stream`: the updates of a channel, as lines of JSON or a live table."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from exchange_ws import display
from exchange_ws.cli.common import (
    add_channel,
    add_endpoint,
    add_exchange,
    client_of,
    examples,
    live_or_lines,
    tell,
    to_json,
    topics_and_options,
)
from exchange_ws.cli.progress import Rate
from exchange_ws.display import COLUMNS, WORDS, gap_text
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout
from exchange_ws.events import Gap

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

#: Seconds between two drawings of the table: as fast as digits can be read.
REDRAW_S = 0.1

#: Columns that go first where the terminal is narrow, in this order.
LESSER = ("id", "bids/asks", "ask_size", "bid_size")
#: Characters between two columns.
BETWEEN = 2
#: Characters of JSON that are worth a column; of that, and of nothing else, the rest may be cut off.
DATA_WIDTH = 20
SIDE_STYLES = {"buy": "green", "sell": "red"}
STATE_STYLES = {"open": "green", "connecting": "yellow", "reconnecting": "yellow", "closed": "red"}


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "stream",
        help="print the updates of a channel, or draw them as a table",
        description="Subscribe and print: a live table on a terminal, else one JSON object a line.",
        epilog=examples(
            "stream whitebit trades BTC_USDT ETH_USDT",
            "stream whitebit depth BTC_USDT limit=10 interval=0 --json",
            "stream bybit-spot-v3 trade.BTCUSDT orderbook.40.BTCUSDT --seconds 60",
            "stream bybit-v5 tickers.BTCUSDT --category linear --json",
            "stream bitzoom /api/v1/ticker symbol=BTCUSDT --sandbox --count 3",
        ),
    )
    add_exchange(parser)
    add_channel(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, on a terminal too")
    add_endpoint(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Show what *arguments* ask for, until it ends."""
    topics, options = topics_and_options(arguments.words)
    if sys.stdout is None:
        return  # nobody will read it, as after `| head`
    title = (arguments.exchange, " ".join([arguments.channel, *topics]))
    view = Lines(arguments.exchange) if arguments.json or not sys.stdout.isatty() else view_for_terminal(title)
    with client_of(arguments, on_state=view.on_state) as client:
        # Not `with subscription`: the client's end is its end too, without a round trip that a dead link would delay.
        subscription = client.subscribe(arguments.channel, *topics, **options)
        with view:
            _pump(view, client, subscription, arguments.count, arguments.seconds)


class _View(Protocol):
    """Where the items of a stream go."""

    #: Seconds after which `show` wants to be called although nothing came.
    patience: float

    def on_state(self, state: str) -> None:
        """The client's state has changed. On a thread of the client's."""

    def __enter__(self) -> _View: ...

    def __exit__(self, *error: Any) -> None: ...

    def show(self, items: Sequence[Any], client: Any, subscription: Any) -> None:
        """Take what came since the last call."""


def _pump(view: _View, client: Any, subscription: Any, count: int | None, seconds: float | None) -> None:
    """Give everything that comes to *view*, until *count* events or *seconds* are over, or the stream ends."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    left = count
    while left != 0:
        wait = min(view.patience, end - time.monotonic())
        if wait <= 0.0:
            break
        try:
            items = subscription.get_many(left, None if wait == math.inf else wait)
        except UpdateTimeout:
            items = []
        except SubscriptionClosed:
            break
        if left is not None:
            left -= sum(not isinstance(item, Gap) for item in items)
        view.show(items, client, subscription)


class Lines:
    """JSON, one object a line; losses and gaps on stderr."""

    patience = math.inf  # nothing has to be drawn while nothing comes

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange

    def on_state(self, state: str) -> None:
        if state == "reconnecting":  # the gap is known only when there is a connection again
            tell(f"{self._exchange}: the connection is lost; connecting again")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def show(self, items: Sequence[Any], client: Any, subscription: Any) -> None:
        for item in items:
            gap = item if isinstance(item, Gap) else getattr(item, "gap", None)
            if gap is not None:
                tell(gap_text(gap))
            print(to_json(item))
        sys.stdout.flush()


def view_for_terminal(title: tuple[str, str]) -> _View:
    """A live table, or lines where that cannot be."""
    view: _View = live_or_lines("table", lambda: _LiveTable(title), lambda: Lines(title[0]))
    return view


@attrs.frozen
class Status:
    """The first line of the table."""

    exchange: str
    channel: str
    state: str
    rate: float  #: events a second
    dropped: int  #: messages
    gaps: int


class _LiveTable:
    """The newest event of each symbol, and below them the recent ones, redrawn in place."""

    patience = REDRAW_S  # the rate and the state change while nothing comes

    def __init__(self, title: tuple[str, str]) -> None:
        from rich.live import Live  # here, since lines do not need it and it takes longer to import than all the rest

        self._title = title
        # Drawn by this thread, not by one of rich's: the table is never seen half changed.
        self._live = Live(auto_refresh=False, vertical_overflow="crop")
        self._newest: dict[Any, Any] = {}  # by kind and symbol
        self._recent: deque[Any] = deque(maxlen=200)  # newest first; more than any terminal's lines
        self._rate = Rate()
        self._gap: Gap | None = None
        self._drawn = -math.inf

    def on_state(self, state: str) -> None:
        pass  # the next drawing shows it

    def __enter__(self) -> _LiveTable:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.refresh()
        self._live.__exit__(*error)

    def show(self, items: Sequence[Any], client: Any, subscription: Any) -> None:
        now = time.monotonic()
        for item in items:
            if isinstance(item, Gap):
                self._gap = item
                continue
            self._gap = getattr(item, "gap", None) or self._gap
            symbol = getattr(item, "symbol", None)
            self._newest[type(item), symbol] = item
            self._recent.appendleft(item)
        # What an exchange replays at the beginning says nothing of how much comes.
        rate = self._rate.after(sum(not getattr(item, "snapshot", False) for item in items))
        status = Status(*self._title, client.state, rate, subscription.dropped, len(subscription.gaps))
        # Always handed over, so that what is drawn last is all that came; drawn only as often as eyes can follow.
        size = self._live.console.size
        self._live.update(screen(status, self._newest, list(self._recent), self._gap, size.height, size.width))
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._live.refresh()


def screen(
    status: Status, newest: dict[Any, Any], recent: Sequence[Any], gap: Gap | None, height: int, width: int
) -> RenderableType:
    """The live table: *newest* by kind and symbol, *recent* newest first, in at most *height* lines of *width* characters."""
    from rich.console import Group
    from rich.text import Text

    head = _head(status, width)
    note = Text(no_wrap=True, overflow="ellipsis")
    if not recent:
        return Group(head, Text("waiting for the first event", "dim"))
    # Beside them: the head, a blank line, the names of the columns, two rules, the note, the cursor, and what Ctrl-C leaves.
    rows = max(2, height - 8)
    shown = list(newest.values())
    if len(shown) > rows // 2:
        present = {id(item) for item in newest.values()}
        shown = [item for item in recent if id(item) in present][: rows // 2]
        note.append(f"{len(shown)} of {len(newest)} symbols   ")
    if gap is not None:
        note.append(gap_text(gap), "yellow")
    return Group(head, Text(), _table(shown, recent[: rows - len(shown)], width), note)


def _head(status: Status, width: int) -> Text:
    """The first line. Where it is too long, the rate is left out, and the channel cut: what was lost is always to be seen."""
    from rich.text import Text

    parts = [
        (status.state, STATE_STYLES.get(status.state, "")),
        (f"{status.rate:.1f} events/s", ""),
        (f"dropped {status.dropped}", "yellow" if status.dropped else "dim"),
        (f"gaps {status.gaps}", "yellow" if status.gaps else "dim"),
    ]
    beside = len(status.exchange) + 1
    if beside + len(status.channel) + sum(3 + len(text) for text, _ in parts) > width:
        del parts[1]
    room = max(1, width - beside - sum(3 + len(text) for text, _ in parts))
    channel = status.channel if len(status.channel) <= room else status.channel[: room - 1] + "\u2026"
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{status.exchange} ", "bold")
    head.append(channel, "bold cyan")
    for text, style in parts:
        head.append(f"   {text}", style)
    return head


def _table(newest: Sequence[Any], recent: Sequence[Any], width: int) -> Table:
    """Both lists, newest rows above the rule."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    kinds = {type(row).__name__ for row in (*newest, *recent)}
    names = [name for kind in COLUMNS if kind in kinds for name in COLUMNS[kind]]  # in an order that no event changes
    names += [] if kinds <= COLUMNS.keys() else ["data"]
    columns = tuple(dict.fromkeys(("time", "symbol", *names)))
    rows = [[_cell_of(row, column) for column in columns] for row in (*newest, *recent)]
    widths = {column: max(cell_len(text) for text in (column, *texts)) for column, texts in zip(columns, zip(*rows))}
    shown = fitting(widths, width)
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, expand=True, pad_edge=False, padding=(0, BETWEEN - 1, 0, 0), header_style="dim"
    )
    for column in shown:
        justify: Any = "left" if column in WORDS else "right"
        if column == "data":
            rest = width - sum(widths[name] + BETWEEN for name in shown if name != "data")
            table.add_column(column, no_wrap=True, max_width=rest)
        else:  # folded if it does not even fit alone: digits that are cut off make another number
            table.add_column(column.replace("_", " "), justify=justify, overflow="fold", no_wrap=len(shown) > 1)
    for place, (row, texts) in enumerate(zip((*newest, *recent), rows)):
        style = "bold " if place < len(newest) else ""
        table.add_row(
            *(
                Text(text) for column, text in zip(columns, texts) if column in shown
            ),  # in a str, rich would read [...] as markup
            style=(style + SIDE_STYLES.get(getattr(row, "side", None) or "", "")).strip(),
            end_section=place == len(newest) - 1,
        )
    return table


def fitting(widths: dict[str, int], width: int) -> list[str]:
    """
    The columns that are shown on *width* characters, of all in order with the *widths* that they need.

    Whole columns are left out, so that no number is cut: those of `LESSER`, then from the right; the first one, with the symbol
    beside it, goes last.
    """
    shown = list(widths)
    lesser = [column for column in LESSER if column in shown]
    others = [column for column in reversed(shown[2:]) if column not in lesser]
    least = {**widths, "data": min(DATA_WIDTH, widths.get("data", 0))}
    for column in (*lesser, *others[:-2], "time", *others[-2:-1], "symbol"):
        if sum(least[name] + BETWEEN for name in shown) - BETWEEN <= width:
            break
        shown.remove(column)
    return shown


def _cell_of(item: Any, column: str) -> str:
    """`cell`, but data only of what has no columns of its own."""
    return "" if column == "data" and type(item).__name__ in COLUMNS else cell(item, column)


def cell(item: Any, column: str) -> str:
    """The text of one field, as `display.cell` makes it, but with the local time of day."""
    if column == "time":
        return display.local(display.moment_of(item))
    return display.cell(item, column)
