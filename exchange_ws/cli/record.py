"""`exchange-ws record`: a channel's updates, and all that belongs to them, into a file."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

from exchange_ws.cli.common import (
    add_channel,
    add_endpoint,
    add_exchange,
    client_of,
    examples,
    tell,
    topics_and_options,
)
from exchange_ws.cli.progress import REDRAW_S, Progress, size_text
from exchange_ws.display import gap_text
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout
from exchange_ws.events import Gap

#: Events that are counted at a time.
MANY = 10_000


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "record",
        help="record the updates of a channel to a file",
        description="Subscribe, and write all that is said and heard to a file that does not exist yet, without secrets."
        " One that ends in .gz or .zst is compressed. Ctrl-C ends it well.",
        epilog=examples(
            "record day.jsonl.gz whitebit trades BTC_USDT ETH_USDT --seconds 60",
            "record few.jsonl bitzoom /api/v1/ticker symbol=BTCUSDT --sandbox --count 2",
        ),
    )
    parser.add_argument("file", metavar="FILE", help="where to, e.g. day.jsonl.gz")
    add_exchange(parser)
    add_channel(parser)
    add_endpoint(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Record what *arguments* ask for, until it ends; then tell what was written."""
    topics, options = topics_and_options(arguments.words)
    client: Any = None
    try:
        with client_of(arguments, record=arguments.file) as client, Progress() as progress:
            subscription = client.subscribe(arguments.channel, *topics, gaps=True, **options)
            _record(client, subscription, progress, arguments)
    finally:
        written = None if client is None else client.stats()["recording"]
        if written is not None and written["error"] is None:
            missed = f", {written['missed']} more missed" if written["missed"] else ""
            tell(f"{written['messages']} messages{missed}, {size_text(written['bytes'])}, in {written['path']}")
    if written is not None and written["error"] is not None:
        raise OSError(_failed(written))


def _record(client: Any, subscription: Any, progress: Progress, arguments: argparse.Namespace) -> None:
    """Wait for the end: *count* events, *seconds*, or that of the subscription or of the file."""
    end = math.inf if arguments.seconds is None else time.monotonic() + arguments.seconds
    limit = math.inf if arguments.count is None else arguments.count
    events = 0
    while events < limit and time.monotonic() < end:
        try:
            items = subscription.get_many(min(limit - events, MANY), min(REDRAW_S, max(0.0, end - time.monotonic())))
        except UpdateTimeout:
            items = []
        except SubscriptionClosed:
            break
        for item in items:
            if isinstance(item, Gap):
                tell(gap_text(item))
            else:
                events += 1
        written = client.stats()["recording"]
        if written["error"] is not None:
            break
        progress.show(events, f"{size_text(written['bytes'])} in {arguments.file}, {client.state}")


def _failed(written: dict[str, Any]) -> str:
    return f"{written['path']}: {written['error']}; {written['messages']} messages were taken until then, not all are in it"
