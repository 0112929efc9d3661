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
from exchange_ws.errors import AuthenticationError, UsageError
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


def variables(exchange: str, accepted: Sequence[str]) -> dict[str, str]:
    """The variables of the environment that hold credentials for *exchange*, by those options that its client accepts."""
    prefix = "EXCHANGE_WS_" + exchange.upper().replace("-", "_")
    suffixes = {"api_key": "_KEY", "api_secret": "_SECRET", "token": "_TOKEN"}
    return {option: prefix + suffix for option, suffix in suffixes.items() if option in accepted}


def credentials(exchange: str, accepted: Sequence[str]) -> dict[str, str]:
    """The environment's credentials for *exchange*, those that its client accepts and that are not empty."""
    found = {option: os.environ.get(name) for option, name in variables(exchange, accepted).items()}
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


def urls(exchange: str, url: str, category: str | None) -> dict[str, str]:
    """
    The options that send a client of *exchange* to *url*.

    Of one with several endpoints it names the server: whatever its path is, each is asked for at its own.
    """
    client = exchange_ws.clients()[exchange]
    if not client.paths:
        return {"url" if "url" in inspect.signature(client).parameters else "host": url}
    server = re.match(r"wss?://[^/?#]+", url)
    if server is None:
        raise UsageError("--url: takes the URL of a WebSocket, wss://host/path or ws://host:port/path")
    # What is said where no category is named, the client knows.
    default = inspect.signature(client).parameters.get("category")
    named = category or (default.default if default else "")
    return {name: server[0] + path.format(category=named) for name, path in client.paths.items()}


@contextlib.contextmanager
def client_of(arguments: argparse.Namespace, **options: Any) -> Iterator[Any]:
    """The client that the arguments ask for, with *options*, connected; at the end it is closed, and the sandbox if any."""
    exchange = arguments.exchange
    accepted = inspect.signature(exchange_ws.clients()[exchange]).parameters
    if arguments.category is not None:
        if "category" not in accepted:
            raise UsageError(f"--category: {exchange} has none")
        options["category"] = arguments.category
    given = credentials(exchange, tuple(accepted))
    with contextlib.ExitStack() as stack:
        if arguments.sandbox:
            client = stack.enter_context(new_sandbox(exchange)).client(**options)
        else:
            options.update(given)
            if arguments.url is not None:
                options.update(urls(exchange, arguments.url, arguments.category))
            client = exchange_ws.clients()[exchange](**options)
        try:
            yield stack.enter_context(client)
        except AuthenticationError as error:
            if arguments.sandbox or given:
                raise
            # No login was tried: the client says what to give it, and not where it is taken from here.
            names = " and ".join(variables(exchange, tuple(accepted)).values())
            raise UsageError(f"{error} (here by {names} in the environment)") from None


def new_sandbox(exchange: str, **options: Any) -> Any:
    """A sandbox, not started yet; `UsageError` where what it needs is not installed."""
    try:
        from exchange_ws.sandbox import Sandbox
    except ImportError as error:
        raise UsageError(str(error)) from None
    return Sandbox(exchange, **options)
