# ruff: noqa: T201  (a command: its output is the point)
"""
An exchange that does what no exchange should, as often as it is asked to, for `bounds.py`: a process that speaks WhiteBIT.

    python flood.py

It prints its URL, and says yes to everything. Two requests are for it: ``flood [KIND, COUNT]`` is answered after as many
messages of that kind, and ``flap [COUNT]`` has so many links reset as soon as their first request was answered. It ends
with its stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core_languages import wire
from core_peers import PING, Exchange, Talk, frame

BLOCK = 500  # messages of one send

#: The nth message of each kind.
KINDS: dict[str, Callable[[int], bytes]] = {
    "updates": lambda n: frame(wire({"id": None, "method": "lastprice_update", "params": ["BTC_USDT", f"{n}.5"]})),
    "symbols": lambda n: frame(
        wire({"id": None, "method": "trades_update", "params": [f"A{n}_USDT", [{"id": n, "price": "1", "amount": "1"}]]})
    ),
    "unknown": lambda n: frame(wire({"hello": n})),
    "unrouted": lambda n: frame(wire({"id": None, "method": "lastprice_update", "params": [f"A{n}_USDT", "1"]})),
    "unasked": lambda n: frame(wire({"id": 10**9 + n, "result": "what", "error": None})),
    "pings": lambda n: frame(b"%d" % n, PING),
}


class Flood:
    """What is left to do, over all links: one at a time, on the peer's thread."""

    def __init__(self) -> None:
        self.flaps = 0
        self.made = 0

    def serve(self, talk: Talk, exchange: Exchange) -> None:
        """One link."""
        talk.connection.socket.settimeout(None)
        while True:
            request = talk.ask()
            if request["method"] == "flood":
                self.flood(talk, *request["params"])
            if request["method"] == "flap":
                self.flaps = request["params"][0]
            talk.say({"id": request["id"], "result": {"status": "success"}, "error": None})
            if self.flaps:
                self.flaps -= 1
                talk.connection.reset()
                return

    def flood(self, talk: Talk, kind: str, count: int) -> None:
        make: Any = KINDS[kind]
        while count > 0:
            part = min(count, BLOCK)
            talk.connection.send(b"".join(make(self.made + number) for number in range(part)))
            self.made += part
            count -= part


def main() -> int:
    with Exchange(Flood().serve) as exchange:
        print(exchange.address, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
