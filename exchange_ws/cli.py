"""
The command line: `exchange-ws`, or `python -m exchange_ws`.

Exit codes: 0 done, 1 the exchange or the network refused, 2 wrong usage, 130 Ctrl-C. An error is one line on stderr.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import inspect
import json
import logging
import math
import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import attrs

import exchange_ws
from exchange_ws.errors import ExchangeError, RequestRejected, SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import BookUpdate, Event, Gap, Other

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["main"]

DONE, REFUSED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

#: Seconds between two drawings of the table: as fast as digits can be read.
REDRAW_S = 0.1
#: Seconds over which the table's rate is measured.
RATE_WINDOW_S = 3.0

#: Columns of the table beside time and symbol, for each kind of event: its fields, or what `cell` makes of them.
COLUMNS = {
    "Trade": ("side", "price", "size", "id"),
    "LastPrice": ("price",),
    "Ticker": ("last", "open", "high", "low", "volume"),
    "BookTicker": ("bid_size", "bid", "ask", "ask_size"),
    "Candle": ("open", "high", "low", "close", "volume"),
    "BookUpdate": ("kind", "bids/asks", "best changed bid", "best changed ask"),
    "Balance": ("asset", "available", "locked"),
    "Order": ("side", "type", "price", "size", "filled", "status"),
    "Fill": ("side", "price", "size", "fee", "role"),
    "Position": ("size", "entry_price", "unrealized_pnl", "leverage"),
}
#: Columns that go first where the terminal is narrow, in this order.
LESSER = ("id", "bids/asks", "ask_size", "bid_size")
#: Characters between two columns.
BETWEEN = 2
#: Characters of JSON that are worth a column; of that, and of nothing else, the rest may be cut off.
DATA_WIDTH = 20
#: Digits before or after the point beyond which a number is written with an exponent.
DIGITS = 50
#: Columns whose text is a word rather than a number.
WORDS = frozenset({"time", "symbol", "side", "kind", "type", "status", "role", "asset", "data"})
SIDE_STYLES = {"buy": "green", "sell": "red"}
STATE_STYLES = {"open": "green", "connecting": "yellow", "reconnecting": "yellow", "closed": "red"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default this process's; the exit code."""
    try:
        # Without a handler, the standard library prints warnings to stderr; what a user has to know is told by the commands.
        for name in ("exchange_ws", "websockets"):
            logging.getLogger(name).addHandler(logging.NullHandler())
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        if sys.stdout is not None:  # None: this process was started with it closed; then `print` does nothing
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` has read enough. The interpreter flushes stdout once more at its end, and must not fail then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UsageError as error:
        _tell(str(error))
        return WRONG_USAGE
    except (ExchangeError, OSError) as error:
        _tell(str(error) or type(error).__name__)
        return REFUSED
    except Exception as error:
        _tell(f"internal error, please report it: {type(error).__name__}: {error}")
        return REFUSED
    return DONE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every command does."""

    def error(self, message: str) -> NoReturn:
        _tell(f"{message} (see {self.prog} --help)")
        sys.exit(WRONG_USAGE)


class _Version(argparse.Action):
    """Prints the version; looks it up only then, since that takes a tenth of the time of starting up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib import metadata

        try:
            version = metadata.version("exchange_ws")
        except metadata.PackageNotFoundError:
            version = "(a copy of the source, not installed)"
        print(parser.prog, version)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    """The whole command line; each command sets `run`."""
    parser = _Parser(
        prog="exchange-ws",
        description="Market data and requests over the WebSocket APIs of exchanges.",
        epilog="Where credentials are needed, they come from the environment: EXCHANGE_WS_<EXCHANGE>_KEY, _SECRET and _TOKEN.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    exchanges = sorted(exchange_ws.clients())

    stream = commands.add_parser(
        "stream",
        help="print the updates of a channel, or draw them as a table",
        description="Subscribe and print: a live table on a terminal, else one JSON object a line.",
        epilog="Example: exchange-ws stream whitebit trades BTC_USDT ETH_USDT --sandbox --count 10",
    )
    stream.add_argument("exchange", choices=exchanges, metavar="EXCHANGE", help="one of: " + ", ".join(exchanges))
    stream.add_argument("channel", metavar="CHANNEL", help="as the exchange names it, e.g. trades")
    stream.add_argument(
        "words",
        nargs="*",
        default=[],  # without one, argparse names this among the missing
        metavar="SYMBOL | KEY=VALUE",
        help="what to subscribe to, and options, e.g. limit=10 interval=0",
    )
    stream.add_argument("--count", type=_positive_int, metavar="N", help="end after N events")
    stream.add_argument("--seconds", type=_seconds, metavar="S", help="end after S seconds")
    stream.add_argument("--json", action="store_true", help="one JSON object a line, on a terminal too")
    _add_endpoint(stream)
    stream.set_defaults(run=_stream)

    request = commands.add_parser(
        "request",
        help="make one request and print its result as JSON",
        description="Make one request, by the exchange's own method and parameters, and print its result as JSON.",
        epilog="Examples: exchange-ws request whitebit lastprice_request BTC_USDT --sandbox; "
        "with a number: exchange-ws request whitebit market_request '[\"BTC_USDT\", 86400]' --sandbox",
    )
    request.add_argument("exchange", choices=exchanges, metavar="EXCHANGE", help="one of: " + ", ".join(exchanges))
    request.add_argument("method", metavar="METHOD", help="as the exchange names it, e.g. time")
    request.add_argument(
        "params", nargs="*", default=[], metavar="PARAMS", help="words, each sent as text; or all as one JSON list"
    )
    _add_endpoint(request)
    request.set_defaults(run=_request)

    sandbox = commands.add_parser(
        "sandbox",
        help="serve an offline exchange on loopback",
        description="Serve an offline exchange on loopback, print its URL, and go on until Ctrl-C.",
    )
    sandbox.add_argument(
        "exchange",
        nargs="?",
        choices=[*exchanges, "all"],
        default="all",
        metavar="EXCHANGE",
        help="one of: " + ", ".join(exchanges) + ", or all (the default)",
    )
    sandbox.add_argument("--port", type=_port, default=0, metavar="N", help="of the first; others follow (default: free ones)")
    sandbox.add_argument("--seed", type=int, default=1, metavar="N", help="of the market; the same seed gives the same market")
    sandbox.set_defaults(run=_sandbox)
    return parser


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    """The options that say which server to talk to."""
    endpoint = parser.add_mutually_exclusive_group()
    endpoint.add_argument("--sandbox", action="store_true", help="use an offline exchange, started for this command")
    endpoint.add_argument("--url", metavar="URL", help="another WebSocket server, e.g. one that exchange-ws sandbox printed")


def _positive_int(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: takes a whole number above 0")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: takes a finite number above 0")


def _port(text: str) -> int:
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


def request_params(words: Sequence[str]) -> list[Any]:
    """
    Parameters of a request: one JSON list, or each word as a string.

    Raises
    ------
    UsageError
        What begins like a list is not JSON.
    """
    if len(words) == 1 and words[0].startswith("["):
        try:
            params: list[Any] = json.loads(words[0])
        except ValueError as error:
            raise UsageError(f"params={words[0]!r}: takes a JSON list, or words: {error}") from None
        return params
    return list(words)


def params_hint(words: Sequence[str]) -> str:
    """What to try when a request with *words* was refused: the JSON list, if one of them may have been meant as no text."""
    meant = []
    for word in words:
        try:
            meant.append(json.loads(word))
        except ValueError:
            meant.append(word)
    if request_params(words) == meant or len(words) == 1 and words[0].startswith("["):
        return ""
    return f"words are sent as text; for other values give one JSON list: {shlex.quote(json.dumps(meant))}"


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
    return json.dumps(item, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, Decimal):
        return _digits(value)
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return str(value)


def gap_text(gap: Gap) -> str:
    """A gap in one line of plain words."""
    parts = [f"gap ({gap.reason})"]
    if gap.repaired:
        parts.append("repaired, nothing is missing")
    elif gap.dropped is not None:
        parts.append(f"{gap.dropped} messages missing")
    else:
        parts.append("an unknown number of messages missing")
    if gap.until is not None:
        parts.append(f"within {gap.until - gap.since:.3f} s")
    return ", ".join(parts)


def _tell(text: str) -> None:
    """One line on stderr."""
    if sys.stderr is None:  # closed from the start; `print` would take stdout instead
        return
    print("exchange-ws:", " ".join(text.split()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _client(arguments: argparse.Namespace, **options: Any) -> Iterator[Any]:
    """The client that the arguments ask for, with *options*, connected; at the end it is closed, and the sandbox if any."""
    exchange = arguments.exchange
    with contextlib.ExitStack() as stack:
        if arguments.sandbox:
            client = stack.enter_context(_new_sandbox(exchange)).client(**options)
        else:
            accepted = inspect.signature(exchange_ws.clients()[exchange]).parameters
            options.update(credentials(exchange, tuple(accepted)))
            if arguments.url is not None:
                where = next((name for name in ("url", "host") if name in accepted), None)
                if where is None:
                    raise UsageError(f"--url: {exchange} has more than one URL and takes none here")
                options[where] = arguments.url
            client = exchange_ws.clients()[exchange](**options)
        yield stack.enter_context(client)


def _new_sandbox(exchange: str, **options: Any) -> Any:
    """A sandbox, not started yet; `UsageError` where what it needs is not installed."""
    try:
        from exchange_ws.sandbox import Sandbox
    except ImportError as error:
        raise UsageError(str(error)) from None
    return Sandbox(exchange, **options)


def _request(arguments: argparse.Namespace) -> None:
    params = request_params(arguments.params)
    with _client(arguments) as client:
        try:
            result = client.request(arguments.method, params)
        except RequestRejected as error:
            hint = params_hint(arguments.params)
            raise ExchangeError(f"{error} ({hint})" if hint else str(error)) from error
        print(to_json(result))


def _sandbox(arguments: argparse.Namespace) -> None:
    exchanges = sorted(exchange_ws.clients()) if arguments.exchange == "all" else [arguments.exchange]
    with contextlib.ExitStack() as stack:
        for offset, exchange in enumerate(exchanges):
            port = arguments.port + offset if arguments.port else 0
            box = stack.enter_context(_new_sandbox(exchange, seed=arguments.seed, port=port))
            print(box.url if len(exchanges) == 1 else f"{exchange} {box.url}", flush=True)
        threading.Event().wait()


def _stream(arguments: argparse.Namespace) -> None:
    topics, options = topics_and_options(arguments.words)
    if sys.stdout is None:
        return  # nobody will read it, as after `| head`
    title = (arguments.exchange, arguments.channel)
    view = _Lines(arguments.exchange) if arguments.json or not sys.stdout.isatty() else _view_for_terminal(title)
    with _client(arguments, on_state=view.on_state) as client:
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


class _Lines:
    """JSON, one object a line; losses and gaps on stderr."""

    patience = math.inf  # nothing has to be drawn while nothing comes

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange

    def on_state(self, state: str) -> None:
        if state == "reconnecting":  # the gap is known only when there is a connection again
            _tell(f"{self._exchange}: the connection is lost; connecting again")

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def show(self, items: Sequence[Any], client: Any, subscription: Any) -> None:
        for item in items:
            gap = item if isinstance(item, Gap) else getattr(item, "gap", None)
            if gap is not None:
                _tell(gap_text(gap))
            print(to_json(item))
        sys.stdout.flush()


def _view_for_terminal(title: tuple[str, str]) -> _View:
    """A live table, or lines where that cannot be."""
    try:
        return _LiveTable(title)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        _tell("for a live table: python -m pip install 'rich>=13'")
        return _Lines(title[0])


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
        self._newest: dict[Any, Any] = {}  # by symbol
        self._recent: collections.deque[Any] = collections.deque(maxlen=200)  # newest first; more than any terminal's lines
        self._arrivals: collections.deque[tuple[float, int]] = collections.deque()  # (monotonic seconds, number of events)
        self._gap: Gap | None = None
        self._began = time.monotonic()
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
            self._newest[symbol] = item
            self._recent.appendleft(item)
        self._arrivals.append((now, len(items)))
        while self._arrivals[0][0] < now - RATE_WINDOW_S:
            self._arrivals.popleft()
        rate = sum(number for _, number in self._arrivals) / max(1.0, min(RATE_WINDOW_S, now - self._began))
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
    """The live table: *newest* by symbol, *recent* newest first, in at most *height* lines of *width* characters."""
    from rich.console import Group
    from rich.text import Text

    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{status.exchange} ", "bold")
    head.append(f"{status.channel}   ", "bold cyan")
    head.append(status.state, STATE_STYLES.get(status.state, ""))
    head.append(f"   {status.rate:.1f} events/s")
    head.append(f"   dropped {status.dropped}", "yellow" if status.dropped else "dim")
    head.append(f"   gaps {status.gaps}", "yellow" if status.gaps else "dim")
    note = Text(no_wrap=True, overflow="ellipsis")
    if not recent:
        return Group(head, Text("waiting for the first event", "dim"))
    rows = max(2, height - 7)  # beside them: the head, a blank line, the names of the columns, two rules, the note, the cursor
    shown = list(newest.values())
    if len(shown) > rows // 2:
        shown = [item for item in recent if newest.get(getattr(item, "symbol", None)) is item][: rows // 2]
        note.append(f"{len(shown)} of {len(newest)} symbols   ")
    if gap is not None:
        note.append(gap_text(gap), "yellow")
    return Group(head, Text(), _table(shown, recent[: rows - len(shown)], width), note)


def _table(newest: Sequence[Any], recent: Sequence[Any], width: int) -> Table:
    """Both lists, newest rows above the rule."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    columns = ("time", "symbol", *COLUMNS.get(type(recent[0]).__name__, ("data",)))
    rows = [[cell(row, column) for column in columns] for row in (*newest, *recent)]
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


def cell(item: Any, column: str) -> str:
    """The text of one field; of a book update, how many levels it changes on each side, and the best of these."""
    if column == "data":
        return json.dumps(getattr(item, "raw", item), default=_plain)
    if column == "time":
        return _clock_time(getattr(item, "time", None) or getattr(item, "received", None))
    if isinstance(item, BookUpdate):
        if column == "bids/asks":
            return f"{len(item.bids)}/{len(item.asks)}"
        if column.startswith("best changed"):
            levels = item.bids if column.endswith("bid") else item.asks
            return _level(*levels[0]) if levels else ""
    value = getattr(item, column, None)
    return "" if value is None else _digits(value)


def _level(price: Any, size: Any) -> str:
    return f"{_digits(price)} x {_digits(size)}" if size else f"{_digits(price)} gone"


def _digits(value: Any) -> str:
    # str() writes 1E-8. But 1e999999999, which is a number too, would be a gigabyte of zeros.
    return format(value, "f") if isinstance(value, Decimal) and abs(value.adjusted()) < DIGITS else str(value)


def _clock_time(seconds: float | None) -> str:
    """Local time of day, to the millisecond."""
    if seconds is None:
        return ""
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"
