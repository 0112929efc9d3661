"""
The command line: `exchange-ws`, or `python -m exchange_ws`.

Each command is a module here; its `add` says its arguments, its `run` does it. Help ends with examples, which a test runs: see
`exchange_ws.cli.common.examples`. Exit codes: 0 done, 1 the exchange or the
network refused, 2 wrong usage, 130 Ctrl-C. An error is one line on stderr.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from exchange_ws.cli import bench, book, completion, record, replay, request, sandbox, stream
from exchange_ws.cli.common import Help, examples, tell
from exchange_ws.errors import ExchangeError, UsageError

__all__ = ["main", "parser"]

DONE, REFUSED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

#: In the order of the help.
COMMANDS = (stream, book, request, record, replay, sandbox, bench, completion)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default this process's; the exit code."""
    try:
        # Without a handler, the standard library prints warnings to stderr; what a user has to know is told by the commands.
        for name in ("exchange_ws", "websockets"):
            logging.getLogger(name).addHandler(logging.NullHandler())
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a letter that the locale has not is no reason to end; JSON has none
        arguments = parser().parse_args(argv)
        arguments.run(arguments)
        if sys.stdout is not None:  # None: this process was started with it closed; then `print` does nothing
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` has read enough. The interpreter flushes stdout once more at its end, and must not fail then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UsageError as error:
        tell(str(error))
        return WRONG_USAGE
    except (ExchangeError, OSError) as error:
        tell(str(error) or type(error).__name__)
        return REFUSED
    except Exception as error:
        tell(f"internal error, please report it: {type(error).__name__}: {error}")
        return REFUSED
    return DONE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; its commands, which are made by the same class, do so too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})

    def error(self, message: str) -> NoReturn:
        tell(f"{message} (see {self.prog} --help)")
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


def parser() -> argparse.ArgumentParser:
    """The whole command line; each command sets `run`."""
    whole = _Parser(
        prog="exchange-ws",
        description="Market data and requests over the WebSocket APIs of exchanges.",
        epilog=(
            "Where credentials are needed, they come from the environment: EXCHANGE_WS_<EXCHANGE>_KEY, _SECRET and _TOKEN.\n\n"
            + examples("stream whitebit trades BTC_USDT ETH_USDT --sandbox", "stream --help")
        ),
    )
    whole.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and exit")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return whole
