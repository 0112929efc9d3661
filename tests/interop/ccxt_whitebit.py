# ruff: noqa: T201  (a command: its output is the point)
"""
Let ccxt's WhiteBIT class read our sandbox, and compare what it understands with what the sandbox has.

    python -m pip install '.[sandbox]' 'ccxt>=4.4'
    python tests/interop/ccxt_whitebit.py

A client that others wrote and that runs against the real exchange: trades and order book, and with the login by REST also own
orders, own trades and balances. Prints a line for each; the exit code is 0 if all is well, 1 if not, 2 without ccxt.

A command and not a test: ccxt is large, and no dependency.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

# This checkout is what is tested, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.sandbox import Sandbox

LIMIT_S = 20.0  # for one thing to come: a second or two, unless something is broken
SYMBOLS = {"BTC_USDT": "BTC/USDT", "ETH_USDT": "ETH/USDT"}

MISSING = "ccxt is missing: python -m pip install 'ccxt>=4.4'"


def market(name: str) -> dict[str, Any]:
    """What ccxt has to know of a market, which it would ask REST for."""
    base, quote = name.split("_")
    return {
        "id": name,
        "symbol": SYMBOLS[name],
        "base": base,
        "quote": quote,
        "baseId": base,
        "quoteId": quote,
        "type": "spot",
        "spot": True,
        "margin": False,
        "swap": False,
        "future": False,
        "option": False,
        "contract": False,
        "active": True,
        "precision": {"amount": 1e-06, "price": 0.01},
        "limits": {},
    }


async def read(exchange: Any, box: Sandbox) -> list[str]:
    """Every check; what failed."""
    failures = []

    def check(name: str, fact: bool, shown: object) -> None:
        print(f"{'ok  ' if fact else 'FAIL'} {name}: {shown}")
        if not fact:
            failures.append(name)

    async def soon(work: Any) -> Any:
        return await asyncio.wait_for(work, LIMIT_S)

    for symbol in SYMBOLS.values():
        trades = await soon(exchange.watch_trades(symbol))
        check(f"trades {symbol}", bool(trades) and {symbol} == {trade["symbol"] for trade in trades}, trades[-1]["price"])
    first = await soon(exchange.watch_trades("BTC/USDT"))
    known = {str(trade.id): trade for trade in box.markets.markets[0].trades}
    same = [known[trade["id"]] for trade in first if trade["id"] in known]
    agree = [float(ours.price) == theirs["price"] for ours, theirs in zip(same, (t for t in first if t["id"] in known))]
    check("trades are the sandbox's", bool(agree) and all(agree), f"{len(agree)} compared")

    for symbol in SYMBOLS.values():
        for _ in range(10):
            book = await soon(exchange.watch_order_book(symbol))
        bids, asks = [price for price, _ in book["bids"]], [price for price, _ in book["asks"]]
        good = bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0] and len(bids) == 10
        check(f"book {symbol} after 10 updates", good, (bids[0], asks[0]))

    # The login by REST; then what the account does by itself while nobody trades.
    fills = await soon(exchange.watch_my_trades("ETH/USDT"))
    check("own trades", fills[-1]["symbol"] == "ETH/USDT" and fills[-1]["amount"] > 0, fills[-1]["price"])
    orders = await soon(exchange.watch_orders("BTC/USDT"))
    check("own orders", orders[-1]["symbol"] == "BTC/USDT" and orders[-1]["amount"] == 0.01, orders[-1]["status"])
    balance = await soon(exchange.watch_balance())
    check("balances", any(asset in balance for asset in ("USDT", "ETH")), sorted(balance["total"]))
    return failures


async def talk(box: Sandbox) -> list[str]:
    """Make ccxt's client talk to *box*."""
    import ccxt.pro

    exchange = ccxt.pro.whitebit({"apiKey": box.api_key, "secret": box.api_secret})
    exchange.options["watchBalance"] = {"fetchBalanceSnapshot": False}  # which is another REST method
    exchange.urls["api"]["ws"] = box.url
    for version in ("v1", "v2", "v4"):
        for side in exchange.urls["api"].get(version, {}):
            exchange.urls["api"][version][side] = f"{box.rest_url}/api/{version}" + ("/public" if side == "public" else "")
    exchange.set_markets([market(name) for name in SYMBOLS])
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
    with Sandbox("whitebit", seed=1) as box:
        failures = asyncio.run(talk(box))
    print(f"{len(failures)} failed" if failures else "all well")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
