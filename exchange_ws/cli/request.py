"""`exchange-ws request`: one request and its result."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from typing import Any

from exchange_ws.cli.common import add_endpoint, add_exchange, client_of, examples, to_json
from exchange_ws.errors import AuthenticationError, ExchangeError, RequestRejected, UsageError

#: In Bybit's words: the one object that it takes.
ORDER = '[{"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "100"}]'


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "request",
        help="make one request and print its result as JSON",
        description="Make one request, by the exchange's own method and parameters, and print its result as JSON.",
        epilog=examples(
            "request whitebit time",
            "request whitebit lastprice_request BTC_USDT --sandbox",
            "request whitebit market_request '[\"BTC_USDT\", 86400]'",
            f"request bybit-v5 order.create '{ORDER}' --sandbox",
        ),
    )
    add_exchange(parser)
    parser.add_argument("method", metavar="METHOD", help="as the exchange names it, e.g. time")
    parser.add_argument(
        "params", nargs="*", default=[], metavar="PARAMS", help="words, each sent as text; or all as one JSON list"
    )
    add_endpoint(parser)
    parser.set_defaults(run=run)


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


def run(arguments: argparse.Namespace) -> None:
    """Make the request that *arguments* ask for, and print its result."""
    params = request_params(arguments.params)
    with client_of(arguments) as client:
        try:
            result = client.request(arguments.method, params)
        except RequestRejected as error:
            hint = params_hint(arguments.params)
            if not hint or isinstance(error, AuthenticationError):
                raise
            raise ExchangeError(f"{error} ({hint})") from error
        print(to_json(result))
