"""What exchanges send in a benchmark: one kind of push each, with values that change as they do live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

__all__ = ["CASES", "Case"]

BITZOOM_ID = "abc123"  # what the exchange calls the one subscription that there is


@attrs.frozen
class Case:
    """One kind of push, and the conversation before it."""

    exchange: str
    topic: tuple[str, ...]  #: as `Client.subscribe` takes it
    fields: tuple[str, ...]  #: of the events: what a consumer reads
    push: Callable[[int], Any]  #: the nth, as JSON has it, or a list of those that share a message
    events: int = 1  #: in each message
    objects: int = 1  #: in each message: JSON texts, a line each
    share: float = 1.0  #: of the messages asked for: large ones need fewer
    symbol: str | None = None  #: where the topic does not have it

    def client(self, url: str, **options: Any) -> Any:
        """A client of ours for this exchange at *url*."""
        import exchange_ws

        make: Callable[..., Any] = exchange_ws.clients()[self.exchange]
        if self.exchange.startswith("bybit"):
            return make(public_url=url, **options)
        return make(url, **options)

    @property
    def params(self) -> dict[str, str]:
        """What `Client.subscribe` takes beside the topic."""
        return {} if self.symbol is None else {"symbol": self.symbol}

    @property
    def command(self) -> dict[str, Any]:
        """What asks for it, for clients that know no exchange."""
        if self.exchange.startswith("bybit"):
            return {"req_id": "1", "op": "subscribe", "args": list(self.topic)}
        if self.exchange == "bitzoom":
            return {"channel": self.topic[0], "event": "sub", "data": self.params}
        channel, *params = self.topic
        return {"id": 1, "method": f"{channel}_subscribe", "params": params}

    def confirmation(self, command: dict[str, Any]) -> dict[str, Any]:
        """What the exchange answers to *command*."""
        if self.exchange.startswith("bybit"):
            key = command.get("req_id", "")
            return {"success": True, "ret_msg": "subscribe", "conn_id": "46f097b7", "req_id": key, "op": "subscribe"}
        if self.exchange == "bitzoom":
            return {"channel": command["channel"], "event": "sub", "data": {BITZOOM_ID: {}}}
        return {"id": command["id"], "result": {"status": "success"}, "error": None}

    def pushes(self, messages: int) -> Iterator[bytes]:
        """So many of them, as they are on the wire, without frames."""
        for n in range(messages):
            push = self.push(n)
            yield b"\n".join(_text(one) for one in push) if isinstance(push, list) else _text(push)


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# WhiteBIT


def _update(channel: str, *params: Any) -> Any:
    return {"id": None, "method": f"{channel}_update", "params": params}


def _trades(n: int) -> Any:
    """Two trades, newest first; ids only ever grow, so that telling new from known is work as it is live."""
    pair = [
        {
            "id": 41358530 + 2 * n + late,
            "time": 1580905394.70332 + n / 1000 + late / 10000,
            "price": f"0.0208{n % 89 + 10}",
            "amount": f"{n % 7 + 1}.5{n % 83 + 10}",
            "type": "sell" if (n + late) % 3 else "buy",
            "rpi": False,
        }
        for late in (1, 0)
    ]
    return _update("trades", "ETH_BTC", pair)


def _lastprice(n: int) -> Any:
    return _update("lastprice", "BTC_USDT", f"675{n % 89 + 10}.{n % 83 + 10}")


def _levels(n: int, count: int, step: int) -> list[list[str]]:
    return [[f"{67500 + step * (level + n % 5)}.{n % 83 + 10}", f"0.{n % 89 + 10}{level + 10}5"] for level in range(count)]


def _depth_delta(n: int) -> Any:
    if n == 0:
        return _depth_snapshot(n)  # a delta before the first whole book would mean nothing
    book = {
        "timestamp": 1689600180.516447 + n / 1000,
        "update_id": 214403 + n,
        "past_update_id": 214402 + n,
        "event_time": 1689600180.516512 + n / 1000,
        "asks": _levels(n, 3, 1),
        "bids": _levels(n, 2, -1),
    }
    return _update("depth", False, book, "BTC_USDT")


def _depth_snapshot(n: int) -> Any:
    book = {
        "timestamp": 1689600180.516447 + n / 1000,
        "update_id": 214403 + n,
        "event_time": 1689600180.516512 + n / 1000,
        "asks": _levels(n, 90, 1),
        "bids": _levels(n, 90, -1),
    }
    return _update("depth", True, book, "BTC_USDT")


# Bybit


def _v5_trade(n: int) -> Any:
    """As spot has it; the id is a number of its own, so that a consumer can tell the last one."""
    trade = {
        "i": f"22900000000{61666327 + n}",
        "T": 1672304486865 + n,
        "p": f"165{n % 89 + 10}.{n % 83 + 10}",
        "v": f"0.00{n % 7 + 1}{n % 83 + 10}",
        "S": "Sell" if n % 3 else "Buy",
        "seq": 1783284617 + n,
        "s": "BTCUSDT",
        "BT": False,
        "RPI": False,
    }
    return {"topic": "publicTrade.BTCUSDT", "ts": 1672304486868 + n, "type": "snapshot", "data": [trade]}


def _v5_book(n: int, topic: str, kind: str, bids: Any, asks: Any) -> Any:
    return {
        "topic": f"orderbook.{topic}.BTCUSDT",
        "ts": 1687940967466 + n,
        "type": kind,
        "data": {"s": "BTCUSDT", "b": bids, "a": asks, "u": 177400507 + n, "seq": 66544703342 + n},
        "cts": 1687940967464 + n,
    }


def _v5_delta(n: int) -> Any:
    """Of 50 levels a side, prices of which stay: one that goes in one delta is back in the next."""
    if n == 0:
        return _v5_book(n, "50", "snapshot", _levels(0, 50, -1), _v5_asks(0, 50))
    gone, back = (13 * n) % 50, (13 * n - 13) % 50
    changed = ((gone, "0"), (back, f"0.{n % 89 + 10}105"), ((gone + 7) % 50, f"0.{n % 83 + 10}205"))
    bids = [[f"{67500 - level}.10", size] for level, size in (*changed, ((gone + 21) % 50, f"1.{n % 79 + 10}305"))]
    return _v5_book(n, "50", "delta", bids, [[f"{67510 + level}.10", size] for level, size in changed])


def _v5_asks(n: int, count: int) -> list[list[str]]:
    """Above all bids, which go up to the 67504th whole price."""
    return [[f"{67510 + level + n % 5}.{n % 83 + 10}", f"0.{n % 89 + 10}{level + 10}5"] for level in range(count)]


def _v5_snapshot(n: int) -> Any:
    return _v5_book(n, "200", "snapshot", _levels(n, 90, -1), _v5_asks(n, 90))


def _v5_deep_snapshot(n: int) -> Any:
    return _v5_book(n, "1000", "snapshot", _levels(n, 900, -1), _v5_asks(n, 900))


def _spot_v3_trade(n: int) -> Any:
    trade = {
        "v": f"22900000000{36455162 + n}",
        "t": 1673437259395 + n,
        "p": f"174{n % 89 + 10}.{n % 83 + 10}",
        "q": f"0.00{n % 7 + 1}{n % 83 + 10}",
        "m": bool(n % 3),
        "type": "0",
    }
    return {"topic": "trade.BTCUSDT", "ts": 1673437259397 + n, "type": "snapshot", "data": trade}


# Bitzoom


def _bitzoom_prices(n: int) -> Any:
    """Four messages, a line each."""
    return [
        {
            "channel": "/api/v1/ticker",
            "event": BITZOOM_ID,
            "data": {"symbol": "BTCUSDT", "price": f"675{n % 89 + 10}.{10 + line}"},
        }
        for line in range(4)
    ]


_TRADE = ("price", "size", "side", "time")
_BOOK = ("kind", "bids", "asks", "sequence")

CASES = {
    "trades": Case("whitebit", ("trades", "ETH_BTC"), _TRADE, _trades, events=2),
    "lastprice": Case("whitebit", ("lastprice", "BTC_USDT"), ("price",), _lastprice),
    "depth-deltas": Case("whitebit", ("depth", "BTC_USDT"), _BOOK, _depth_delta),
    "depth-snapshots": Case("whitebit", ("depth", "BTC_USDT"), _BOOK, _depth_snapshot, share=0.1),
    "v5-trades": Case("bybit-v5", ("publicTrade.BTCUSDT",), _TRADE, _v5_trade),
    "v5-deltas": Case("bybit-v5", ("orderbook.50.BTCUSDT",), _BOOK, _v5_delta),
    "v5-books": Case("bybit-v5", ("orderbook.200.BTCUSDT",), _BOOK, _v5_snapshot, share=0.1),
    "v5-deep-books": Case("bybit-v5", ("orderbook.1000.BTCUSDT",), _BOOK, _v5_deep_snapshot, share=0.02),
    "spot-v3-trades": Case("bybit-spot-v3", ("trade.BTCUSDT",), _TRADE, _spot_v3_trade),
    "bitzoom": Case(
        "bitzoom", ("/api/v1/ticker",), ("price",), _bitzoom_prices, events=4, objects=4, share=0.5, symbol="BTCUSDT"
    ),
}
