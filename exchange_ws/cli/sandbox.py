"""`exchange-ws sandbox`: an offline exchange on loopback."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import shlex
import threading
from typing import Any

import exchange_ws
from exchange_ws.cli.common import examples, new_sandbox, port, tell, variables


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    exchanges = sorted(exchange_ws.clients())
    parser = commands.add_parser(
        "sandbox",
        help="serve an offline exchange on loopback",
        description="Serve an offline exchange on loopback, print its URL and what a login takes, and go on until Ctrl-C.",
        epilog=examples("sandbox", "sandbox whitebit --port 8765 --seed 7"),
    )
    parser.add_argument(
        "exchange",
        nargs="?",
        choices=[*exchanges, "all"],
        default="all",
        metavar="EXCHANGE",
        help="one of: " + ", ".join(exchanges) + ", or all (the default)",
    )
    parser.add_argument("--port", type=port, default=0, metavar="N", help="of the first; others follow (default: free ones)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the market; the same seed gives the same market")
    parser.set_defaults(run=run)


def keys(box: Any) -> list[tuple[str, str]]:
    """What the sandbox accepts for a login, as the variables that the other commands read; a token where one will do."""
    accepted = tuple(inspect.signature(exchange_ws.clients()[box.exchange]).parameters)
    names = variables(box.exchange, accepted)
    wanted = ("token",) if "token" in names else tuple(names)
    return [(names[option], getattr(box, option)) for option in wanted]


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    exchanges = sorted(exchange_ws.clients()) if arguments.exchange == "all" else [arguments.exchange]
    with contextlib.ExitStack() as stack:
        for offset, exchange in enumerate(exchanges):
            number = arguments.port + offset if arguments.port else 0
            box = stack.enter_context(new_sandbox(exchange, seed=arguments.seed, port=number))
            # No secrets: they log in to this sandbox only. Before the URL: who reads that finds both.
            tell(f"{exchange} is logged in to with " + " ".join(f"{name}={shlex.quote(value)}" for name, value in keys(box)))
            print(box.url if len(exchanges) == 1 else f"{exchange} {box.url}", flush=True)
        threading.Event().wait()
