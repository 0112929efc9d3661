"""What an exchange sends in a benchmark: one kind of push each, with values that change as they do live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

__all__ = ["CASES", "Case"]


@attrs.frozen
class Case:
    """One kind of push, and the conversation before it."""

    exchange: str
    topic: tuple[str, ...]  #: as `Client.subscribe` takes it
    fields: tuple[str, ...]  #: of the events: what a consumer reads
    push: Callable[[int], Any]  #: the nth
    events: int = 1  #: in each push
    share: float = 1.0  #: of the messages asked for: large ones need fewer

    @property
    def command(self) -> dict[str, Any]:
        """What asks for it, for clients that know no exchange."""
        channel, *params = self.topic
        return {"id": 1, "method": f"{channel}_subscribe", "params": params}

    @staticmethod
    def confirmation(command: dict[str, Any]) -> dict[str, Any]:
        """What the exchange answers to *command*."""
        return {"id": command["id"], "result": {"status": "success"}, "error": None}

    def pushes(self, messages: int) -> Iterator[bytes]:
        """So many of them, as they are on the wire, without frames."""
        method = f"{self.topic[0]}_update"
        for n in range(messages):
            yield json.dumps({"id": None, "method": method, "params": self.push(n)}, separators=(",", ":")).encode()


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
    return ["ETH_BTC", pair]


def _lastprice(n: int) -> Any:
    return ["BTC_USDT", f"675{n % 89 + 10}.{n % 83 + 10}"]


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
    return [False, book, "BTC_USDT"]


def _depth_snapshot(n: int) -> Any:
    book = {
        "timestamp": 1689600180.516447 + n / 1000,
        "update_id": 214403 + n,
        "event_time": 1689600180.516512 + n / 1000,
        "asks": _levels(n, 90, 1),
        "bids": _levels(n, 90, -1),
    }
    return [True, book, "BTC_USDT"]


_TRADE = ("price", "size", "side", "time")
_BOOK = ("kind", "bids", "asks", "sequence")

CASES = {
    "trades": Case("whitebit", ("trades", "ETH_BTC"), _TRADE, _trades, events=2),
    "lastprice": Case("whitebit", ("lastprice", "BTC_USDT"), ("price",), _lastprice),
    "depth-deltas": Case("whitebit", ("depth", "BTC_USDT"), _BOOK, _depth_delta),
    "depth-snapshots": Case("whitebit", ("depth", "BTC_USDT"), _BOOK, _depth_snapshot, share=0.1),
}
