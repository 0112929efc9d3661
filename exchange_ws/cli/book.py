"""`exchange-ws book`: a live order book, as a ladder or as lines of JSON."""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from exchange_ws.cli.common import (
    add_endpoint,
    add_exchange,
    client_of,
    examples,
    live_or_lines,
    plain,
    positive_int,
    seconds,
    tell,
    topics_and_options,
)
from exchange_ws.cli.progress import Rate
from exchange_ws.display import digits, gap_text
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exchange_ws.orderbook import Book

#: Seconds between two drawings, as fast as digits can be read, and between two looks at whether the book has gone stale.
REDRAW_S = 0.1
#: Levels a side where nothing is told, and lines that the ladder has beside its levels.
DEPTH, FRAME = 10, 5
#: Characters of a bar at most, and at least for it to be worth a column.
BAR, SHORT_BAR = 40, 6


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "book",
        help="keep an order book, and draw it as a ladder or print it",
        description="Keep an order book: a live ladder on a terminal, else one JSON object a line for each change.",
        epilog=examples(
            "book whitebit BTC_USDT",
            "book bybit-v5 BTCUSDT depth=200 --depth 20 --seconds 60",
            "book bitzoom BTCUSDT --sandbox --count 3 --json",
        ),
    )
    add_exchange(parser)
    parser.add_argument("symbol", metavar="SYMBOL", help="as the exchange spells it, e.g. BTC_USDT")
    parser.add_argument(
        "words",
        nargs="*",
        default=[],  # without one, argparse names this among the missing
        metavar="KEY=VALUE",
        help="options of the exchange's order_book, e.g. limit=20 interval=0.1",
    )
    parser.add_argument("--depth", type=positive_int, default=DEPTH, metavar="N", help=f"show N levels a side ({DEPTH})")
    parser.add_argument("--count", type=positive_int, metavar="N", help="end after N changes")
    parser.add_argument("--seconds", type=seconds, metavar="S", help="end after S seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, on a terminal too")
    add_endpoint(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Show what *arguments* ask for, until it ends."""
    others, options = topics_and_options(arguments.words)
    if others:
        raise UsageError(f"{others[0]}: takes one symbol, and options as KEY=VALUE")
    if sys.stdout is None:
        return  # nobody will read it, as after `| head`
    view = _Lines(arguments) if arguments.json or not sys.stdout.isatty() else _view_for_terminal(arguments)
    with client_of(arguments) as client:
        takes = inspect.signature(client.order_book).parameters
        for name in options:
            if name not in takes:
                raise UsageError(f"{name}: a book of {arguments.exchange} has no such option")
        # Not `with book`: the client's end is its end too, without a round trip that a dead link would delay.
        book = client.order_book(arguments.symbol, **options)
        with view:
            _pump(view, client, book, arguments.count, arguments.seconds)


@attrs.frozen
class State:
    """What is shown of a book at a moment."""

    book: Book
    stale: bool
    gaps: Sequence[Any]
    link: str  #: the client's state
    changes: int  #: since the last look


class _View(Protocol):
    """Where the states of a book go."""

    def __enter__(self) -> _View: ...

    def __exit__(self, *error: Any) -> None: ...

    def show(self, state: State) -> None:
        """Take the present state; called for each change, or several at once, and now and then without one."""


def _pump(view: _View, client: Any, book: Any, count: int | None, seconds: float | None) -> None:
    """Give the states of *book* to *view*, until there were *count* changes or *seconds* are over, or the book ends."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    came, seen = 1, 0  # the first snapshot
    while True:
        view.show(State(book.snapshot(), book.stale, book.gaps, client.state, came - seen))
        seen = came
        wait = min(REDRAW_S, end - time.monotonic())
        if wait <= 0.0 or came == count:
            return
        try:
            book.wait(wait)
        except UpdateTimeout:
            continue
        except SubscriptionClosed:
            return
        came += 1


class _Lines:
    """JSON, one object a line; gaps on stderr."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._name = {"exchange": arguments.exchange, "symbol": arguments.symbol}
        self._depth = arguments.depth
        self._told = 0  # gaps
        self._stale: bool | None = None

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def show(self, state: State) -> None:
        for gap in state.gaps[self._told :]:
            tell(gap_text(gap))
        self._told = len(state.gaps)
        if state.changes or state.stale != self._stale:
            self._stale = state.stale
            print(to_json(self._name, state, self._depth), flush=True)


def to_json(name: dict[str, str], state: State, depth: int) -> str:
    """The best *depth* levels as one line of JSON."""
    bids, asks = state.book.top(depth)
    told = {"time": state.book.time, "sequence": state.book.sequence, "stale": state.stale, "bids": bids, "asks": asks}
    return json.dumps({**name, **told}, default=plain)


def _view_for_terminal(arguments: argparse.Namespace) -> _View:
    """A live ladder, or lines where that cannot be."""
    view: _View = live_or_lines("ladder", lambda: _LiveLadder(arguments), lambda: _Lines(arguments))
    return view


class _LiveLadder:
    """The best levels, redrawn in place."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from rich.live import Live  # here, since lines do not need it and it takes longer to import than all the rest

        self._title = (arguments.exchange, arguments.symbol)
        self._depth = arguments.depth
        # Drawn by this thread, not by one of rich's: the ladder is never seen half changed.
        self._live = Live(auto_refresh=False, vertical_overflow="crop")
        # Where it cannot write blocks, as in another locale, the ladder has bars all the same.
        self._bar = "█" if self._live.console.encoding.startswith("utf") else "#"
        self._rate = Rate()
        self._drawn = -math.inf

    def __enter__(self) -> _LiveLadder:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.refresh()
        self._live.__exit__(*error)

    def show(self, state: State) -> None:
        now = time.monotonic()
        rate = self._rate.after(state.changes)
        # Always handed over, so that what is drawn last is the last state; drawn only as often as eyes can follow.
        size = self._live.console.size
        self._live.update(ladder(self._title, state, rate, self._depth, size.height, size.width, self._bar))
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._live.refresh()


def ladder(
    title: tuple[str, str], state: State, rate: float, depth: int, height: int, width: int, bar: str = "█"
) -> RenderableType:
    """At most *depth* levels a side in *height* lines of *width* characters: asks above, bids below, the best in the middle."""
    from rich.console import Group
    from rich.text import Text

    shown = max(1, min(depth, (height - FRAME) // 2))
    bids, asks = state.book.top(shown)
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{title[0]} ", "bold")
    head.append(f"{title[1]}   ", "bold cyan")
    head.append("stale" if state.stale else "live", "bold yellow" if state.stale else "green")
    head.append("" if state.link == "open" else f"   {state.link}", "yellow")
    head.append(f"   {rate:.1f} changes/s")
    head.append(f"   gaps {len(state.gaps)}", "yellow" if state.gaps else "dim")
    rows = _rows(asks, bids)
    columns = [max([len(text) for text in texts], default=0) for texts in zip(*[row[:3] for row in rows])] or [5, 4, 5]
    columns = [max(len(name), least) for name, least in zip(("price", "size", "total"), columns)]
    kept = 3 if sum(columns) + 4 <= width else 2 if sum(columns[:2]) + 2 <= width else 1
    room = width - sum(columns[:kept]) - 2 * kept
    longest = min(BAR, room) if kept == 3 and room >= SHORT_BAR else 0
    most = max((row[3] for row in rows), default=0.0)
    lines = []
    for *texts, total, color in rows:
        line = Text(
            "  ".join(text.rjust(least) for text, least in zip(texts[:kept], columns)), style="dim" if state.stale else ""
        )
        line.stylize(color, 0, columns[0])
        if longest:
            line.append("  " + bar * max(1, round(longest * total / most)), color)
        lines.append(line)
    names = Text("  ".join(name.rjust(least) for name, least in zip(("price", "size", "total")[:kept], columns)), "dim")
    # An empty level keeps its line, so that the best prices stay where they are.
    above = [Text() for _ in range(shown - len(asks))] + lines[: len(asks)]
    below = lines[len(asks) :] + [Text() for _ in range(shown - len(bids))]
    return Group(head, names, *above, _middle(state, width), *below)


def _middle(state: State, width: int) -> RenderableType:
    from rich.text import Text

    if state.book.mid is None:
        return Text("nothing on one side", "dim")
    text = f"mid {digits(state.book.mid)}   spread {digits(state.book.spread)}"
    return Text(text if len(text) <= width else f"mid {digits(state.book.mid)}", "bold", no_wrap=True, overflow="ellipsis")


def _rows(asks: Sequence[tuple[Any, Any]], bids: Sequence[tuple[Any, Any]]) -> list[tuple[str, str, str, float, str]]:
    """From the highest price down: price, size and cumulated size as text, the last as a number to draw by, and the color."""
    totals = [list(itertools.accumulate(size for _, size in side)) for side in (asks, bids)]
    all_totals = [*reversed(totals[0]), *totals[1]]
    levels = [*reversed(asks), *bids]
    texts = zip(_aligned([price for price, _ in levels]), _aligned([size for _, size in levels]), _aligned(all_totals))
    colors = ["red"] * len(asks) + ["green"] * len(bids)
    return [(*row, float(total), color) for row, total, color in zip(texts, all_totals, colors)]


def _aligned(numbers: Sequence[Any]) -> list[str]:
    """As text with as many decimals each as the one that has most, so that digits stand below each other."""
    texts = [digits(number) for number in numbers]
    places = max((len(text.partition(".")[2]) for text in texts), default=0)
    if not places or any("E" in text for text in texts):
        return texts
    return [f"{whole}.{rest.ljust(places, '0')}" for whole, _, rest in (text.partition(".") for text in texts)]
