"""
Prices as they change, of any number of WhiteBIT's markets.

    python docs/examples/price_ticker.py --sandbox --count 4
    python docs/examples/price_ticker.py BTC_USDT ETH_USDT

Needs no key. Ends after --count lines, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from decimal import Decimal

from exchange_ws import ExchangeError, WhiteBIT
from exchange_ws.events import LastPrice


@contextlib.contextmanager
def exchange(sandbox: bool) -> Iterator[WhiteBIT]:
    """WhiteBIT, or the offline one in the box; closed at the end."""
    if not sandbox:
        with WhiteBIT() as ws:
            yield ws
        return
    from exchange_ws.sandbox import Sandbox

    with Sandbox("whitebit", seed=1) as box, box.client() as ws:
        yield ws


def show(prices: Iterable[LastPrice]) -> None:
    """A line for each price: when it came, what it is, and how far it is from the first one that was seen."""
    first: dict[str | None, Decimal] = {}
    for price in prices:
        if price.gap is not None:  # the client is connected again by now; what was between is not known
            print(f"{price.gap.reason}: nothing was seen for {price.received - price.gap.since:.1f} s", file=sys.stderr)
        change = price.price - first.setdefault(price.symbol, price.price)  # exact: both are Decimal
        clock = time.strftime("%H:%M:%S", time.localtime(price.received))
        print(f"{clock}  {price.symbol:<12} {price.price:>14}  {change:+}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("markets", nargs="*", metavar="MARKET", default=["BTC_USDT", "ETH_USDT"])
    parser.add_argument("--count", type=int, metavar="N", help="end after so many lines")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    arguments = parser.parse_args()
    with exchange(arguments.sandbox) as ws, ws.subscribe_lastprice(*arguments.markets) as prices:
        show(itertools.islice(prices, arguments.count))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"price_ticker: {error}")
