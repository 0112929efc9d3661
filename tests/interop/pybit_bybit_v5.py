# ruff: noqa: T201  (a command: its output is the point)
"""
Let pybit, Bybit's own library, talk to our sandbox of V5, and look at what it understands.

    python -m pip install '.[sandbox]' 'pybit>=5.17'
    python tests/interop/pybit_bybit_v5.py

Market data of spot, linear, inverse and options by its `WebSocket`; orders by its `WebSocketTrading`, seen in the private
streams; and the same orders, fills, balances and instruments by its `HTTP`. Prints a line for each; the exit code is 0 if all
is well, 1 if not, 2 without pybit.

A command and not a test: pybit is no dependency.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable

# This checkout is what is tested, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.sandbox import Sandbox

LIMIT_S = 20.0  # for one thing to come: a second or two, unless something is broken
UPDATES = 20  # of a book, before it is looked at
PUBLIC = {"spot": ("BTCUSDT", 50), "linear": ("BTCUSDT", 200), "inverse": ("BTCUSD", 50)}

MISSING = "pybit is missing: python -m pip install 'pybit>=5.17'"

failures: list[str] = []


def check(name: str, fact: bool, shown: object) -> None:
    """Print what was found, and remember what is wrong."""
    print(f"{'ok  ' if fact else 'FAIL'} {name}: {shown}", flush=True)
    if not fact:
        failures.append(name)


class Inbox:
    """What a callback of pybit was given."""

    def __init__(self) -> None:
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()

    def __call__(self, message: dict[str, Any]) -> None:
        self.messages.put(message)

    def take(self, wanted: Callable[[dict[str, Any]], bool] = lambda message: True) -> dict[str, Any]:
        """The next message that is *wanted*; queue.Empty when none comes in time."""
        end = time.monotonic() + LIMIT_S
        while True:
            message = self.messages.get(timeout=max(0.0, end - time.monotonic()))
            if wanted(message):
                return message

    def row(self, **values: object) -> dict[str, Any]:
        """The next row of private data that has these *values*."""
        found: list[dict[str, Any]] = []

        def wanted(message: dict[str, Any]) -> bool:
            found[:] = [row for row in message["data"] if all(row[name] == value for name, value in values.items())]
            return bool(found)

        self.take(wanted)
        return found[-1]


class _InTurn:
    """
    pybit notes who waits for an answer after it has sent the question, which is soon enough on the way to an exchange. On
    loopback the answer can be there first, and is an error for it: so neither is done while the other is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._turn = threading.RLock()
        super().__init__(*args, testnet=False, **kwargs)

    def subscribe(self, *args: Any, **kwargs: Any) -> None:
        with self._turn:
            super().subscribe(*args, **kwargs)  # type: ignore[misc]

    def _send_order_operation(self, *args: Any, **kwargs: Any) -> None:
        with self._turn:
            super()._send_order_operation(*args, **kwargs)  # type: ignore[misc]

    def _on_message(self, message: str) -> None:
        with self._turn:
            super()._on_message(message)  # type: ignore[misc]


def public(box: Sandbox, connect: Callable[..., Any]) -> None:
    """Trades, books and tickers of each category."""
    for category, (symbol, depth) in PUBLIC.items():
        ws = connect(channel_type=category)
        try:
            trades, books, tickers = Inbox(), Inbox(), Inbox()
            ws.orderbook_stream(depth, symbol, books)
            ws.ticker_stream(symbol, tickers)
            ws.trade_stream(symbol, trades)
            rows = trades.take()["data"]
            check(f"{category} trades", {symbol} == {row["s"] for row in rows}, (rows[-1]["S"], rows[-1]["p"], rows[-1]["v"]))
            for _ in range(UPDATES):
                book = books.take()["data"]
            # pybit appends new levels at the end, hence the sorting.
            bids, asks = (sorted(Decimal(price) for price, _ in book[side]) for side in ("b", "a"))
            good = bids[-1] < asks[0] and max(len(bids), len(asks)) <= depth and len(bids) == len(set(bids))
            check(f"{category} book of {depth} after {UPDATES} updates", good, (len(bids), len(asks), bids[-1], asks[0]))
            ticker = [tickers.take()["data"] for _ in range(3)][-1]
            # The stream of spot has no best prices; the others' deltas are merged by pybit.
            good = {symbol} == {ticker["symbol"]} and ("bid1Price" in ticker) == (category != "spot")
            check(f"{category} ticker", good, (ticker["lastPrice"], ticker.get("bid1Price")))
        finally:
            ws.exit()


def option(box: Sandbox, connect: Callable[..., Any], http: Any) -> None:
    """A book of the socket that confirms in a way of its own."""
    symbol = http.get_instruments_info(category="option")["result"]["list"][0]["symbol"]
    ws = connect(channel_type="option")
    try:
        books = Inbox()
        ws.orderbook_stream(25, symbol, books)
        book = books.take()["data"]
        check("option book", book["s"] == symbol, (symbol, book["b"][:1], book["a"][:1]))
    finally:
        ws.exit()


def account(box: Sandbox, connect: Callable[..., Any], connect_trading: Callable[..., Any], http: Any) -> None:
    """Orders by WebSocket, seen in the private streams and by REST."""
    keys = {"api_key": box.api_key, "api_secret": box.api_secret, "private_auth_expire": 10}
    ws = connect(channel_type="private", **keys)
    trading = connect_trading(**keys)
    try:
        orders, fills, wallets, positions = Inbox(), Inbox(), Inbox(), Inbox()
        ws.order_stream(orders)
        ws.execution_stream(fills)
        ws.wallet_stream(wallets)
        ws.position_stream(positions)

        def said(call: Callable[..., None], **args: Any) -> dict[str, Any]:
            """What the exchange answers to an order, good or bad."""
            answers = Inbox()
            call(answers, error_callback=answers, **args)
            return answers.take()

        common: dict[str, Any] = {"category": "linear", "symbol": "BTCUSDT"}
        price = Decimal(http.get_tickers(**common)["result"]["list"][0]["lastPrice"])
        low = str((price * Decimal("0.9")).quantize(Decimal(1)))
        placed = {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": low, "orderLinkId": "interop-1"}
        answer = said(trading.place_order, **common, **placed)
        check("an order is taken", answer["retCode"] == 0 and answer["data"]["orderLinkId"] == "interop-1", answer["data"])
        order = orders.row(orderLinkId="interop-1", orderStatus="New")
        good = (order["orderId"], Decimal(order["price"])) == (answer["data"]["orderId"], Decimal(low))
        check("and is in the order stream", good, (order["orderStatus"], order["price"], order["qty"]))
        found = http.get_open_orders(**common, orderLinkId="interop-1")["result"]["list"]
        check("and is found by REST", [order["orderId"]] == [row["orderId"] for row in found], len(found))

        answer = said(trading.amend_order, **common, orderLinkId="interop-1", qty="0.020")
        order = orders.row(orderLinkId="interop-1", qty="0.020")
        check("an order is amended", answer["retCode"] == 0 and order["orderStatus"] == "New", order["qty"])
        answer = said(trading.cancel_order, **common, orderLinkId="interop-1")
        order = orders.row(orderLinkId="interop-1", orderStatus="Cancelled")
        check("an order is cancelled", answer["retCode"] == 0, (order["orderStatus"], order["cancelType"]))
        answer = said(trading.cancel_order, **common, orderLinkId="interop-1")
        check("an order that is gone is refused", answer["retCode"] == 110001, (answer["retCode"], answer["retMsg"]))

        answer = said(trading.place_order, **common, side="Buy", orderType="Market", qty="0.01", orderLinkId="interop-2")
        order = orders.row(orderLinkId="interop-2", orderStatus="Filled")
        fill = fills.row(orderLinkId="interop-2")
        check("a market order is filled", fill["orderId"] == order["orderId"], (order["avgPrice"], fill["execPrice"]))
        position = positions.row(symbol="BTCUSDT", side="Buy")
        told = http.get_positions(**common)["result"]["list"]
        check("and is a position", Decimal(position["size"]) > 0, (position["size"], position["entryPrice"]))
        check("that REST has too", [position["size"]] == [row["size"] for row in told], [row["size"] for row in told])

        answer = said(
            trading.place_order,
            category="spot",
            symbol="BTCUSDT",
            side="Buy",
            orderType="Market",
            qty="100",
            orderLinkId="interop-3",
        )
        fill = fills.row(orderLinkId="interop-3")
        check("a spot order is filled", answer["retCode"] == 0 and fill["category"] == "spot", fill["execPrice"])
        wallet = wallets.row(accountType="UNIFIED")
        check("the wallet is told", bool(wallet["coin"]), [row["coin"] for row in wallet["coin"]])
        coins = http.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]["coin"]
        check("REST has all coins", {"BTC", "USDT"} <= {row["coin"] for row in coins}, len(coins))
        listed = http.get_executions(category="spot", orderLinkId="interop-3")["result"]["list"]
        check("REST has the fill", fill["execId"] in [row["execId"] for row in listed], len(listed))

        limit = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": low}
        requests = [{**limit, "orderLinkId": f"interop-{n}"} for n in (4, 5, 4)]
        answer = said(trading.place_batch_order, category="linear", request=requests)
        codes = [row["code"] for row in answer["retExtInfo"]["list"]]
        check("of a batch each order has its own fate", answer["retCode"] == 0 and codes == [0, 0, 110072], codes)
    finally:
        trading.exit()
        ws.exit()


def main() -> int:
    """Run it; the exit code."""
    try:
        import pybit._websocket_trading
        import pybit.unified_trading
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    print(f"pybit {pybit.VERSION if hasattr(pybit, 'VERSION') else ''}".rstrip())

    class WebSocket(_InTurn, pybit.unified_trading.WebSocket):  # type: ignore[misc]
        pass

    class WebSocketTrading(_InTurn, pybit.unified_trading.WebSocketTrading):  # type: ignore[misc]
        pass

    with Sandbox("bybit-v5", seed=1) as box:
        # It has no parameter for another address.
        base = box.url.partition("/v5/")[0]
        pybit.unified_trading.PUBLIC_WSS = base + "/v5/public/{CHANNEL_TYPE}"
        pybit.unified_trading.PRIVATE_WSS = base + "/v5/private"
        pybit._websocket_trading.TRADE_WSS = base + "/v5/trade"
        http = pybit.unified_trading.HTTP(api_key=box.api_key, api_secret=box.api_secret)
        http.endpoint = box.rest_url
        public(box, WebSocket)
        option(box, WebSocket, http)
        account(box, WebSocket, WebSocketTrading, http)
    print(f"{len(failures)} failed" if failures else "all well")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
