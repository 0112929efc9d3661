"""`exchange-ws sandbox`: an offline exchange on loopback."""

from __future__ import annotations

import argparse
import contextlib
import threading
from typing import Any

import exchange_ws
from exchange_ws.cli.common import examples, new_sandbox, port


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    exchanges = sorted(exchange_ws.clients())
    parser = commands.add_parser(
        "sandbox",
        help="serve an offline exchange on loopback",
        description="Serve an offline exchange on loopback, print its URL, and go on until Ctrl-C.",
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


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    exchanges = sorted(exchange_ws.clients()) if arguments.exchange == "all" else [arguments.exchange]
    with contextlib.ExitStack() as stack:
        for offset, exchange in enumerate(exchanges):
            number = arguments.port + offset if arguments.port else 0
            box = stack.enter_context(new_sandbox(exchange, seed=arguments.seed, port=number))
            print(box.url if len(exchanges) == 1 else f"{exchange} {box.url}", flush=True)
        threading.Event().wait()
