# ruff: noqa: T201  (a command: its output is the point)
"""
Other people's clients, each run in a virtual environment of its own, where this package is not.

    python peers.py NAME MEASURE URL PLAN

They take what `exchange_ws.bench.sender` or `server.py` says; PLAN is JSON and says what. MEASURE is one of

``blast``
    how long many messages take, and what they take beside time: figures of `exchange_ws.bench.competitors.Result`;
``delay``
    microseconds from the stamps of `server.py` to here;
``roundtrip``
    microseconds from requests to their answers;
``idle``
    CPU seconds of connections at rest, their memory in KiB, and threads.

What is printed is JSON. Each client is used as its documentation has it, at its best: without compression, without the UTF-8
check of websocket-client, with orjson where a client leaves parsing to its user.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any, Callable


def peak_mib() -> float:
    """Of this process, resident."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


class Blast:
    """Counts; the time runs from the first message."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._expected = plan["count"]
        self._count = self.shown = 0
        self._wall = self._cpu = 0.0

    def take(self, message: Any) -> None:
        """A parsed message of the exchange."""
        if not self._count:
            self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._count += 1
        if self._count == self._expected:
            wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
            tell([self._count, wall, cpu, peak_mib(), self.shown / self._count if self.shown else 1.0])

    def end(self) -> None:
        """Too early."""
        sys.exit(f"the stream ended behind {self._count} of {self._expected} messages")


class Delay:
    """Microseconds from each stamp to here, but for the first tenth."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._expected = plan["count"]
        self._late: list[float] = []

    def take(self, message: Any) -> None:
        """A parsed trade of Bybit V5, whose id is the stamp."""
        self.note(message["data"][0]["i"])

    def note(self, stamp: str) -> None:
        """Nanoseconds since 1970."""
        self._late.append((time.time_ns() - int(stamp)) / 1000)
        if len(self._late) == self._expected:
            self.end()

    def end(self) -> None:
        """Tell what there is."""
        tell(self._late[self._expected // 10 :])


def tell(figures: Any) -> None:
    """Print them, and end at once: on whichever thread, with whatever open."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


def websockets(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """The threaded client of websockets, with the fastest parser."""
    from orjson import loads
    from websockets.sync.client import connect

    with connect(url, compression=None) as connection:
        connection.send(json.dumps(plan["command"]))
        connection.recv()
        while True:
            text = connection.recv(decode=False)
            if plan["objects"] == 1:
                take(loads(text))
            else:
                take([loads(line) for line in text.split(b"\n")])


def websocket_client(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """websocket-client's own loop, at its best."""
    import websocket

    connection = websocket.create_connection(url, skip_utf8_validation=True)
    connection.send(json.dumps(plan["command"]))
    connection.recv()
    while True:
        take(json.loads(connection.recv()))


def picows(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """A client in C for asyncio, with the fastest parser."""
    from orjson import loads
    from picows import WSListener, WSMsgType, ws_connect

    class Listener(WSListener):  # type: ignore[misc]
        heard = -1  # the first message is the reply

        def on_ws_connected(self, transport: Any) -> None:
            transport.send(WSMsgType.TEXT, json.dumps(plan["command"]).encode())

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                message = (
                    loads(frame.get_payload_as_memoryview())
                    if plan["objects"] == 1
                    else [loads(line) for line in frame.get_payload_as_bytes().split(b"\n")]
                )
                if self.heard >= 0:
                    take(message)
                self.heard += 1

    async def main() -> None:
        transport, _ = await ws_connect(Listener, url)
        await transport.wait_disconnected()

    asyncio.run(main())


def _pybit(url: str) -> Any:
    from pybit import unified_trading

    unified_trading.PUBLIC_WSS = url + "v5/public/{CHANNEL_TYPE}"  # it checks the path
    return unified_trading.WebSocket(channel_type="spot", testnet=False, restart_on_error=False)


def pybit(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """Bybit's own. Of a book it hands out the whole one each time, that it has merged."""
    socket = _pybit(url)
    if plan["case"] == "v5-trades":
        socket.trade_stream(plan["symbol"], take)
    else:
        socket.orderbook_stream(int(plan["command"]["args"][0].split(".")[1]), plan["symbol"], take)
    threading.Event().wait()


MARKET = {"precision": {"amount": 1e-6, "price": 0.01}, "limits": {}, "active": True, "type": "spot", "spot": True, "info": {}}


def _ccxt(url: str, plan: dict[str, Any]) -> Any:
    import ccxt.pro

    name = "whitebit" if plan["command"].get("method") else "bybit"
    options = {"newUpdates": True, "enableRateLimit": False, "cafile": os.environ.get("SSL_CERT_FILE")}
    exchange = getattr(ccxt.pro, name)(options)
    if name == "bybit":
        exchange.urls["api"]["ws"]["public"]["spot"] = url
    else:
        exchange.urls["api"]["ws"] = url
    base, quote = plan["symbol"].split("/")
    market_id = base + quote if name == "bybit" else f"{base}_{quote}"
    kinds = dict.fromkeys(("swap", "future", "option", "contract", "margin"), False)
    market = {**MARKET, **kinds, **dict.fromkeys(("settle", "linear", "inverse"))}
    market.update({"id": market_id, "symbol": plan["symbol"], "base": base, "quote": quote})
    exchange.set_markets([market], {})
    return exchange


def ccxt(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """
    ccxt pro: what counts are the messages that it has handled.

    Its consumer is shown what there is when it comes round to it: at most the newest thousand trades, and the latest book.
    """

    async def main() -> None:
        exchange = _ccxt(url, plan)
        measure = take.__self__  # type: ignore[attr-defined]
        trades = plan["case"].endswith("trades")
        if isinstance(measure, Blast):
            measure.shown = 1
            handled = exchange.handle_message

            def handle(client: Any, message: Any) -> None:
                handled(client, message)
                if "topic" in message or str(message.get("method", "")).endswith("_update"):
                    take(message)

            exchange.handle_message = handle
        while True:
            if trades:
                try:
                    shown = await exchange.watch_trades(plan["symbol"])
                except Exception:
                    measure.end()  # the server has gone, and some were never shown
                    raise
                if isinstance(measure, Blast):
                    measure.shown += len(shown) / plan["events"]
                else:
                    for trade in shown:
                        measure.note(trade["id"])
            else:
                book = await exchange.watch_order_book(plan["symbol"], plan["depth"])
                if isinstance(measure, Blast):
                    measure.shown += 1
                book["bids"][0], book["asks"][0]

    asyncio.run(main())


def cryptofeed(url: str, plan: dict[str, Any], take: Callable[[Any], None]) -> None:
    """cryptofeed, Bybit; with exact numbers, and for books the merged book."""
    from decimal import Decimal

    from cryptofeed import FeedHandler
    from cryptofeed.connection import WebsocketEndpoint
    from cryptofeed.defines import BYBIT, L2_BOOK, SPOT, TRADES
    from cryptofeed.exchanges import Bybit
    from cryptofeed.symbols import Symbols

    class Plain(str):
        """It takes no address without TLS, but speaks with one."""

        def startswith(self, *_: Any) -> bool:
            return True

    Bybit.websocket_endpoints = [WebsocketEndpoint(Plain(url + "v5/public/spot"), options={"compression": None})]
    info = {"tick_size": {"BTC-USDT": Decimal("0.01")}, "instrument_type": {"BTC-USDT": SPOT}}
    Symbols.set(BYBIT, {"BTC-USDT": "BTC/USDT"}, info)
    channel = TRADES if plan["case"] == "v5-trades" else L2_BOOK
    measure = take.__self__  # type: ignore[attr-defined]

    async def heard(thing: Any, received: float) -> None:
        if isinstance(measure, Delay):
            measure.note(thing.id)
        else:
            take(thing)

    handler = FeedHandler({"log": {"disabled": True}, "uvloop": False})
    handler.add_feed(Bybit(symbols=["BTC-USDT"], channels=[channel], callbacks={channel: heard}))
    handler.run(install_signal_handlers=False)


def trips_websocket_client(url: str, plan: dict[str, Any]) -> list[float]:
    """One thread that sends and receives."""
    import websocket

    connection = websocket.create_connection(url, skip_utf8_validation=True)
    return timed(plan, lambda text: connection.send(text), lambda: json.loads(connection.recv()))


def trips_websockets(url: str, plan: dict[str, Any]) -> list[float]:
    """The threaded client of websockets."""
    from orjson import loads
    from websockets.sync.client import connect

    connection = connect(url, compression=None)
    return timed(plan, lambda text: connection.send(text), lambda: loads(connection.recv(decode=False)))


def timed(plan: dict[str, Any], send: Callable[[str], Any], receive: Callable[[], Any]) -> list[float]:
    """Microseconds of each exchange of a request and its answer."""
    spent = []
    for number in range(1, plan["count"] + 1):
        began = time.perf_counter()
        send(json.dumps({"id": number, "method": "ping", "params": []}))
        assert receive()["id"] == number
        spent.append(1e6 * (time.perf_counter() - began))
    return spent


def at_rest(make: Callable[[int], Any], plan: dict[str, Any]) -> list[float]:
    """What connections take that nobody talks on: CPU seconds, KiB more for each than the first one, and threads of all."""
    kept = [make(0)]
    threads, before = threading.active_count(), resident_kib()
    kept += [make(number) for number in range(1, plan["count"])]
    more = max(1, plan["count"] - 1)
    memory = (resident_kib() - before) / more
    threads = threading.active_count()
    began = time.process_time()
    time.sleep(plan["seconds"])
    return [time.process_time() - began, memory, threads]


def resident_kib() -> int:
    """Of this process, now."""
    import gc

    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def idle_pybit(url: str, plan: dict[str, Any]) -> list[float]:
    """An object each, for it has one connection."""

    def make(_: int) -> Any:
        socket = _pybit(url)
        socket.trade_stream(plan["symbol"], print)
        return socket

    return at_rest(make, plan)


ROUND_TRIPS = {"websocket-client": trips_websocket_client, "websockets": trips_websockets}
PEERS: dict[str, Callable[..., None]] = {
    "websocket-client": websocket_client,
    "websockets": websockets,
    "picows": picows,
    "pybit": pybit,
    "ccxt": ccxt,
    "cryptofeed": cryptofeed,
}


def main() -> None:
    """The command."""
    name, measure, url, text = sys.argv[1:]
    plan = json.loads(text)
    if measure == "idle":
        tell(idle_pybit(url, plan))
    if measure == "roundtrip":
        tell(ROUND_TRIPS[name](url, plan))
    PEERS[name](url, plan, (Blast if measure == "blast" else Delay)(plan).take)


if __name__ == "__main__":
    main()
