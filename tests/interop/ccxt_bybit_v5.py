# ruff: noqa: T201  (a command: its output is the point)
"""
Let ccxt's Bybit class talk to our sandbox of V5, and compare what it understands with what the sandbox has.

    python -m pip install '.[sandbox]' 'ccxt>=4.5'
    python tests/interop/ccxt_bybit_v5.py

A client that others wrote and that runs against the real exchange. It loads the instruments of all categories and the kind of
the account by REST; then trades, books and tickers of spot, linear and inverse, and orders by WebSocket, seen in the order
stream. Prints a line for each; the exit code is 0 if all is well, 1 if not, 2 without ccxt.

A command and not a test: ccxt is large, and no dependency.
"""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable

# This checkout is what is tested, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.sandbox import Sandbox

LIMIT_S = 20.0  # for one thing to come: a second or two, unless something is broken
UPDATES = 10  # of a book or a ticker, before it is looked at
SYMBOLS = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}

MISSING = "ccxt is missing: python -m pip install 'ccxt>=4.5'"


async def read(exchange: Any, box: Sandbox) -> list[str]:
    """Every check; what failed."""
    failures = []

    def check(name: str, fact: bool, shown: object) -> None:
        print(f"{'ok  ' if fact else 'FAIL'} {name}: {shown}", flush=True)
        if not fact:
            failures.append(name)

    async def soon(work: Any) -> Any:
        return await asyncio.wait_for(work, LIMIT_S)

    async def until(find: Callable[..., Any], *args: Any) -> Any:
        """What *find* gives for *args* as soon as that is something."""
        end = time.monotonic() + LIMIT_S
        while not find(*args):
            if time.monotonic() > end:
                raise asyncio.TimeoutError
            await asyncio.sleep(0.05)
        return find(*args)

    async def follow(watch: Callable[[], Any]) -> None:
        while True:
            await watch()

    def order_of(number: str, status: str) -> Any:
        """The order of that id, if it is in that state."""
        return next((one for one in exchange.orders or () if (one["id"], one["status"]) == (number, status)), None)

    def fill_of(number: str) -> Any:
        """The first fill of the order of that id."""
        return next((one for one in exchange.myTrades or () if one["order"] == number), None)

    def balance_told() -> Any:
        return (exchange.balance or {}).get("unified")

    markets = await soon(exchange.load_markets())
    kinds = {kind: sum(market["type"] == kind for market in markets.values()) for kind in ("spot", "swap", "option")}
    check("markets", set(SYMBOLS.values()) <= set(markets) and all(kinds.values()), kinds)

    for category, symbol in SYMBOLS.items():
        trades = await soon(exchange.watch_trades(symbol))
        check(f"{category} trades", bool(trades) and {symbol} == {trade["symbol"] for trade in trades}, trades[-1]["price"])
        for _ in range(UPDATES):
            book = await soon(exchange.watch_order_book(symbol))
        bids, asks = [price for price, _ in book["bids"]], [price for price, _ in book["asks"]]
        best_first = bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
        good = best_first and len(bids) == len(asks) == 50
        check(f"{category} book after {UPDATES} updates", good, (bids[0], asks[0]))
        for _ in range(UPDATES):
            ticker = await soon(exchange.watch_ticker(symbol))
        # Spot's stream has no best prices; of the others each update has only what changed, merged by ccxt.
        good = ticker["symbol"] == symbol and ticker["last"] > 0 and (ticker["bid"] is None) == (category == "spot")
        check(f"{category} ticker", good, (ticker["last"], ticker["bid"]))

    # ccxt wakes only who waits at that moment; what came is in its caches. Of what was before, the exchange tells nothing.
    followers = [asyncio.ensure_future(follow(watch)) for watch in (exchange.watch_orders, exchange.watch_my_trades)]
    followers.append(asyncio.ensure_future(follow(exchange.watch_balance)))
    await asyncio.to_thread(box.wait_received, "subscribe", count=3 * len(SYMBOLS) + len(followers), timeout=LIMIT_S)

    for symbol, amount in ((SYMBOLS["linear"], 0.01), (SYMBOLS["spot"], 0.001)):
        ticker = await soon(exchange.watch_ticker(symbol))
        price = float(Decimal(str(ticker["last"])) * Decimal("0.97"))
        placed = await soon(exchange.create_order_ws(symbol, "limit", "buy", amount, price))
        order = await until(order_of, placed["id"], "open")
        good = (order["symbol"], order["amount"]) == (symbol, amount)
        check(f"{symbol} order in the stream", good, (order["symbol"], order["price"], order["amount"]))
        cancelled = await soon(exchange.cancel_order_ws(placed["id"], symbol))
        order = await until(order_of, placed["id"], "canceled")
        check(f"{symbol} order cancelled", cancelled["id"] == order["id"], order["status"])

    for symbol, amount in ((SYMBOLS["linear"], 0.01), (SYMBOLS["spot"], 0.001)):
        bought = await soon(exchange.create_order_ws(symbol, "market", "buy", amount))
        fill = await until(fill_of, bought["id"])
        good = (fill["symbol"], fill["side"], fill["fee"]["cost"] > 0) == (symbol, "buy", True)
        check(f"{symbol} own trade", good, (fill["side"], fill["price"], fill["fee"]))
    balance = await until(balance_told)
    check("balances", balance["BTC"]["total"] > 0, balance["BTC"])
    try:
        await soon(exchange.cancel_order_ws("00000000-0000-0000-0000-000000000000", SYMBOLS["linear"]))
        check("a refusal", False, "none")
    except Exception as error:
        check("a refusal", type(error).__name__ == "OrderNotFound", type(error).__name__)
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    return failures


async def talk(box: Sandbox) -> list[str]:
    """Make ccxt's client talk to *box*."""
    import ccxt.pro

    exchange = ccxt.pro.bybit({"apiKey": box.api_key, "secret": box.api_secret})
    exchange.has["fetchCurrencies"] = False  # which is REST of the wallet's coins and chains
    base = box.url.partition("/v5/")[0]
    streams = exchange.urls["api"]["ws"]
    streams["public"] = {category: f"{base}/v5/public/{category}" for category in ("spot", "linear", "inverse", "option")}
    streams["private"].update(contract=f"{base}/v5/private", trade=f"{base}/v5/trade")
    for side in ("public", "private"):
        exchange.urls["api"][side] = box.rest_url
    try:
        return await read(exchange, box)
    finally:
        await exchange.close()


def main() -> int:
    """Run it; the exit code."""
    try:
        import ccxt.pro
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    print(f"ccxt {ccxt.__version__}")
    with Sandbox("bybit-v5", seed=1) as box:
        failures = asyncio.run(talk(box))
    print(f"{len(failures)} failed" if failures else "all well")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
