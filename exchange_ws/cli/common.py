"""What several commands share: their arguments, the client that these ask for, and how items become text."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import attrs

import exchange_ws
from exchange_ws.display import digits
from exchange_ws.errors import UsageError
from exchange_ws.events import Event, Gap, Other


class Help(argparse.HelpFormatter):
    """
    Fills paragraphs to the terminal's width, and leaves indented lines as they are: a command line that is broken is another.

    Every command of a parser that has it has it too; see `examples`.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        runs = itertools.groupby(text.splitlines(), key=lambda line: line.startswith(" ") or not line)
        return "\n".join(
            "\n".join(indent + line for line in lines) if kept else super(Help, self)._fill_text(" ".join(lines), width, indent)
            for kept, lines in runs
        )


def examples(*lines: str) -> str:
    """
    The end of a command's help: what one may type behind ``exchange-ws``.

    A test runs each line, against the sandbox where the command has one, and cut short.
    """
    return "\n".join(["examples:", *(f"  exchange-ws {line}" for line in lines)])


def add_exchange(parser: argparse.ArgumentParser) -> None:
    """The argument that says which exchange."""
    exchanges = sorted(exchange_ws.clients())
    parser.add_argument("exchange", choices=exchanges, metavar="EXCHANGE", help="one of: " + ", ".join(exchanges))


def add_channel(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what to subscribe to, and when to end."""
    parser.add_argument("channel", metavar="CHANNEL", help="as the exchange names it, e.g. trades")
    parser.add_argument(
        "words",
        nargs="*",
        default=[],  # without one, argparse names this among the missing
        metavar="SYMBOL | KEY=VALUE",
        help="what to subscribe to, and options, e.g. limit=10 interval=0",
    )
    parser.add_argument("--count", type=positive_int, metavar="N", help="end after N events")
    parser.add_argument("--seconds", type=seconds, metavar="S", help="end after S seconds")


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """The options that say which server to talk to, and which part of what it has."""
    parser.add_argument("--category", metavar="NAME", help="of bybit-v5: spot (where nothing is said), linear, inverse, option")
    endpoint = parser.add_mutually_exclusive_group()
    endpoint.add_argument("--sandbox", action="store_true", help="use an offline exchange, started for this command")
    endpoint.add_argument("--url", metavar="URL", help="another WebSocket server, e.g. one that exchange-ws sandbox printed")


def positive_int(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: takes a whole number above 0")


def seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: takes a finite number above 0")


def port(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text) <= 65535:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: takes a TCP port, 0 to 65535")


def topics_and_options(words: Sequence[str]) -> tuple[list[str], dict[str, int | str]]:
    """
    Split the words after the channel into symbols and ``key=value`` options.

    A value that reads as a whole number becomes one.
    """
    topics: list[str] = []
    options: dict[str, int | str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.isidentifier():
            options[key] = int(value) if re.fullmatch(r"-?[0-9]+", value) else value
        else:
            topics.append(word)
    return topics, options


def credentials(exchange: str, accepted: Sequence[str]) -> dict[str, str]:
    """The environment's credentials for *exchange*, those that its client accepts and that are not empty."""
    prefix = "EXCHANGE_WS_" + exchange.upper().replace("-", "_")
    names = {"api_key": "_KEY", "api_secret": "_SECRET", "token": "_TOKEN"}
    found = {option: os.environ.get(prefix + suffix) for option, suffix in names.items() if option in accepted}
    return {option: value for option, value in found.items() if value}


def to_json(item: Any) -> str:
    """
    One item of a subscription as one line of JSON.

    Events without the vendor's JSON (but `Other`, which is nothing else), and with `gap` only where there is one;
    Decimals as strings, in full digits.
    """
    if isinstance(item, (Event, Gap)):
        left_out = set() if isinstance(item, Other) else {"raw"}
        if getattr(item, "gap", None) is None:
            left_out.add("gap")
        fields = {field.name: getattr(item, field.name) for field in attrs.fields(type(item)) if field.name not in left_out}
        item = {"event": type(item).__name__, **fields}
    return json.dumps(item, default=plain)


def plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, Decimal):
        return digits(value)
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return str(value)


def tell(text: str) -> None:
    """One line on stderr."""
    if sys.stderr is None:  # closed from the start; `print` would take stdout instead
        return
    print("exchange-ws:", " ".join(text.split()), file=sys.stderr, flush=True)


def live_or_lines(what: str, live: Callable[[], Any], lines: Callable[[], Any]) -> Any:
    """What a terminal is shown: a *live* table or ladder, or *lines* where rich is not installed, which draws the former."""
    try:
        return live()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
    tell(f"for a live {what}: python -m pip install 'rich>=13'")
    return lines()


@contextlib.contextmanager
def client_of(arguments: argparse.Namespace, **options: Any) -> Iterator[Any]:
    """The client that the arguments ask for, with *options*, connected; at the end it is closed, and the sandbox if any."""
    exchange = arguments.exchange
    accepted = inspect.signature(exchange_ws.clients()[exchange]).parameters
    if arguments.category is not None:
        if "category" not in accepted:
            raise UsageError(f"--category: {exchange} has none")
        options["category"] = arguments.category
    with contextlib.ExitStack() as stack:
        if arguments.sandbox:
            client = stack.enter_context(new_sandbox(exchange)).client(**options)
        else:
            options.update(credentials(exchange, tuple(accepted)))
            if arguments.url is not None:
                where = next((name for name in ("url", "host") if name in accepted), None)
                if where is None:
                    raise UsageError(f"--url: {exchange} has more than one URL and takes none here")
                options[where] = arguments.url
            client = exchange_ws.clients()[exchange](**options)
        yield stack.enter_context(client)


def new_sandbox(exchange: str, **options: Any) -> Any:
    """A sandbox, not started yet; `UsageError` where what it needs is not installed."""
    try:
        from exchange_ws.sandbox import Sandbox
    except ImportError as error:
        raise UsageError(str(error)) from None
    return Sandbox(exchange, **options)
