"""`exchange-ws replay`: a recording, shown as `exchange-ws stream` shows what comes."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import exchange_ws
from exchange_ws.cli.common import examples, seconds, tell
from exchange_ws.cli.progress import Progress
from exchange_ws.cli.stream import Lines, view_for_terminal
from exchange_ws.display import local
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout

#: Seconds for which events are gathered before they are shown: many at a time where nothing waits, soon enough for eyes.
GATHER_S = 0.05
#: Events that are shown at a time.
MANY = 10_000


def speed(text: str) -> float | None:
    """A number above 0, or "max": as fast as possible."""
    if text == "max":
        return None
    try:
        return seconds(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f'{text!r}: takes a finite number above 0, or "max"') from None


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "replay",
        help="print the events of a recording, or draw them as a table",
        description="Show a recording as stream shows what comes: a live table on a terminal, else one JSON object a line.",
        epilog=examples("replay day.jsonl.gz --speed 60", "replay few.jsonl --speed max --json"),
    )
    parser.add_argument("file", metavar="FILE", help="the recording, or the first of its files")
    parser.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X",
        help="so many times as fast as it came (default 1), or max for no waiting",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, on a terminal too")
    parser.set_defaults(run=run)


class _Played:
    """What a view asks its client and its subscription for."""

    dropped = 0

    def __init__(self, day: exchange_ws.Replay) -> None:
        self._day = day

    @property
    def state(self) -> str:
        clock = local(self._day.time, date=True)[:-4]  # milliseconds are faster than eyes
        return f"replaying, {self._day.fraction:.0%} read{clock and f', at {clock}'}"

    @property
    def gaps(self) -> list[Any]:
        return self._day.gaps


def run(arguments: argparse.Namespace) -> None:
    """Show the recording that *arguments* name, to its end."""
    with exchange_ws.replay(arguments.file, speed=arguments.speed) as day:
        if sys.stdout is None:
            return  # nobody will read it, as after `| head`
        table = not arguments.json and sys.stdout.isatty()
        view = view_for_terminal((day.exchange, arguments.file)) if table else Lines(day.exchange)
        played, events = _Played(day), 0
        with view, Progress(shown=not sys.stdout.isatty()) as progress:
            while True:
                try:
                    items = _gathered(day, min(view.patience, GATHER_S))
                except SubscriptionClosed:
                    break
                events += len(items)
                view.show(items, played, played)
                progress.show(events, played.state)
    if day.cut is not None:
        tell(day.cut)


def _gathered(day: exchange_ws.Replay, patience: float) -> list[Any]:
    """What comes within so many seconds; `SubscriptionClosed` at the end."""
    end = time.monotonic() + patience
    items: list[Any] = []
    try:
        while len(items) < MANY and (wait := end - time.monotonic()) > 0.0:
            items += day.get_many(timeout=wait)
    except UpdateTimeout:
        pass
    except SubscriptionClosed:
        if not items:
            raise
    return items
