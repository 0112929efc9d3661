"""
What happens in an account: its orders, fills, balances and positions, as the exchange tells them.

    python docs/examples/account_watcher.py whitebit --sandbox --count 8
    python docs/examples/account_watcher.py bybit-v5

Credentials come from the environment: EXCHANGE_WS_WHITEBIT_KEY and _SECRET, EXCHANGE_WS_BYBIT_V5_KEY and _SECRET,
EXCHANGE_WS_BITZOOM_TOKEN. What there is already when it begins is not told, only what changes (Bitzoom: all of it, each time).
Ends after --count lines, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator

from exchange_ws import Client, ExchangeError, clients, merge
from exchange_ws.events import Balance, Event, Fill, Gap, Order, Position

#: What each exchange calls the channels of an account.
CHANNELS = {
    "whitebit": (("ordersPending", "BTC_USDT", "ETH_USDT"), ("deals", "*"), ("balanceSpot",)),
    "bybit-spot-v3": (("order",), ("ticketInfo",), ("outboundAccountInfo",)),
    "bybit-v5": (("order",), ("execution",), ("wallet",), ("position",)),
    "bitzoom": (("/api/v1/openorders",), ("/api/v1/balance",), ("/api/v1/positionrisk",)),
}


@contextlib.contextmanager
def account(name: str, sandbox: bool) -> Iterator[Client]:
    """A client of the exchange *name*, with what it takes to log in."""
    # Called on a thread of its own with each new state: while it is not "open", nothing that happens is told.
    options = {"on_state": lambda state: print(f"{name}: {state}", file=sys.stderr)}
    if sandbox:
        from exchange_ws.sandbox import Sandbox

        with Sandbox(name, seed=1) as box, box.client(**options) as client:
            yield client
        return
    for option in ("api_key", "api_secret", "token"):
        variable = f"EXCHANGE_WS_{name}_{option.replace('api_', '')}".upper().replace("-", "_")
        if os.environ.get(variable):
            options[option] = os.environ[variable]
    with clients()[name](**options) as client:
        yield client


def line(event: Event | Gap) -> str:
    """One event in words; the classes are the same for every exchange, and what one does not tell is None."""
    if isinstance(event, Gap):
        return f"GAP       {event.reason}: {'nothing is missing' if event.repaired else 'ask for what may be missing'}"
    if isinstance(event, Order):
        told = f"{event.side} {event.size} at {event.price}, {event.filled} filled"
        return f"order     {event.symbol} {event.id}: {told}: {event.status}"
    if isinstance(event, Fill):
        return f"fill      {event.symbol} {event.order_id}: {event.side} {event.size} at {event.price}"
    if isinstance(event, Balance):
        return f"balance   {event.asset}: {event.available} available, {event.locked} locked"
    if isinstance(event, Position):
        return f"position  {event.symbol}: {event.size} entered at {event.entry_price}, {event.unrealized_pnl} up"
    return f"{event.channel}: {event.raw}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange", choices=sorted(CHANNELS))
    parser.add_argument("--count", type=int, metavar="N", help="end after so many lines")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange, whose account trades by itself")
    arguments = parser.parse_args()
    with account(arguments.exchange, arguments.sandbox) as client:
        # gaps=True: what was missed is an item of its own, in its place.
        streams = [client.subscribe(*words, gaps=True) for words in CHANNELS[arguments.exchange]]
        for event in itertools.islice(merge(*streams), arguments.count):
            print(line(event), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"account_watcher: {error}")
