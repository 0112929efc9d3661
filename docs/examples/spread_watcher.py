"""
Where to buy and where to sell: the best bid and ask of three exchanges, in one blocking loop.

    python docs/examples/spread_watcher.py --sandbox --count 3
    python docs/examples/spread_watcher.py --step 2

Needs no key. Says a line whenever the spread between the highest bid and the lowest ask anywhere has moved by --step basis
points; above 0 somebody bids more than another asks. Bitzoom's is the price of a future, the others' are of the coin itself.
Ends after --count lines, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from exchange_ws import Client, ExchangeError, Subscription, clients, merge
from exchange_ws.events import BookTicker, BookUpdate

#: What each exchange calls the channel that has its best bid and ask.
CHANNELS = {
    "whitebit": (("bookTicker", "BTC_USDT"), {}),
    "bybit-spot-v3": (("bookticker.BTCUSDT",), {}),
    "bitzoom": (("/api/v1/depth",), {"symbol": "BTCUSDT", "limit": 5}),
}


def subscribe(client: Client) -> Subscription:
    words, parameters = CHANNELS[client.name]
    return client.subscribe(*words, **parameters)


def top(event: BookTicker | BookUpdate) -> tuple[Decimal, Decimal]:
    """The best bid and ask; Bitzoom's depth is the whole book each time, best first."""
    return (event.bid, event.ask) if isinstance(event, BookTicker) else (event.bids[0][0], event.asks[0][0])


def spreads(events: Iterable[BookTicker | BookUpdate], ours: Mapping[str, Client], step: Decimal) -> Iterator[str]:
    """A line each time that the spread has moved by *step* basis points since the last one."""
    tops: dict[str, tuple[Decimal, Decimal]] = {}
    told = None
    for event in events:
        if isinstance(event, BookUpdate) and not (event.bids and event.asks):
            continue  # nobody bids or asks just now
        tops[event.exchange] = top(event)
        # A price of an exchange that cannot be reached just now is an old one: no trade could be made at it.
        live = {name: prices for name, prices in tops.items() if ours[name].state == "open"}
        if len(live) < 2:
            continue
        bidder = max(live, key=lambda name: live[name][0])
        asker = min(live, key=lambda name: live[name][1])
        bid, ask = live[bidder][0], live[asker][1]
        spread = (bid - ask) / ask * 10_000
        if told is None or abs(spread - told) >= step:
            told = spread
            clock = time.strftime("%H:%M:%S", time.localtime(event.received))
            yield f"{clock}  {spread:+7.2f} bp  buy at {ask} ({asker}), sell at {bid} ({bidder})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=Decimal, default=Decimal("0.1"), metavar="BP", help="say a line at such a change")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many lines")
    parser.add_argument("--sandbox", action="store_true", help="use offline exchanges")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        ours = {}
        for seed, name in enumerate(CHANNELS):
            if arguments.sandbox:
                from exchange_ws.sandbox import Sandbox

                client = stack.enter_context(Sandbox(name, seed=seed)).client()
            else:
                client = clients()[name]()
            ours[name] = stack.enter_context(client)
        with merge(*(subscribe(client) for client in ours.values())) as events:
            for line in itertools.islice(spreads(events, ours, arguments.step), arguments.count):
                print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"spread_watcher: {error}")
