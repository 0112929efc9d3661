"""
Bybit's side of its WebSocket languages, for the sandbox.

Written from the vendor's documentation of spot v3 (withdrawn in September 2024, read 2026-11 in its history) and from what was
observed with other clients, not from our dialect. Where neither says what the server does, the choice made here is one that a
client has to survive:

* a request is atomic: one bad topic, and nothing of it is subscribed; the answer names the first bad one, as V5's spot does;
* a topic subscribed twice stays subscribed, and a topic that is not can be unsubscribed; a topic of the other endpoint is
  unknown;
* an answer comes before the first push, and the first push with the next change: nothing is sent because of a subscribe itself;
* what has a documented code, but no known frame, is refused in the shape of a refused login, which alone has room for a code:
  a private subscribe before the login, text that is not JSON, another op, no op, no topics;
* a stale or otherwise bad login gets code 10003, and the connection stays: the next one may be right;
* tickers and klines are sent when there was a trade, and klines when an interval begins; an interval without trades repeats the
  close before it, with volume 0; weeks begin on Monday;
* `xp`, the index price, is the middle of the book where the quote asset is USDT, and empty elsewhere;
* on some connections the keys of public updates come in the order of 2022, `data` first; `type` is "snapshot" on all of them;
* an idle connection of either endpoint is dropped after 10 minutes, without a close frame.

The private endpoint has one account. While somebody is subscribed to anything there, it trades by itself: limit orders that
rest and are filled, market orders, conditional orders, cancellations. There are no orders by WebSocket in spot v3.
"""

from __future__ import annotations

import hmac
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Callable

from exchange_ws.exchanges.bybit.common_sandbox import (
    DAY,
    DIALS,
    IDLE_S,
    MONTH,
    WEEK,
    begin,
    candles,
    plain,
    signature,
    trade_id,
    wire_json,
)
from exchange_ws.exchanges.bybit.v5_sandbox import V5Spot
from exchange_ws.sandbox.accounts import (
    CANCELLED,
    FILLED,
    NEW,
    PARTIALLY_FILLED,
    REJECTED,
    Accounts,
    Balance,
    Event,
    Fill,
    Order,
    Refused,
)
from exchange_ws.sandbox.market import Market, Markets
from exchange_ws.sandbox.server import Credentials, Exchange

__all__ = ["SANDBOXES", "SpotV3Private", "SpotV3Public"]

PUBLIC_PATH, PRIVATE_PATH = "/spot/public/v3", "/spot/private/v3"
BATCH = 10  # "Connect": args of a request
DEPTH = 40  # "Depth"
BOOK_PACE_US = 100_000  # "Depth", "Bookticker": 100 ms
#: "Kline": intervals and their spans.
SPANS: dict[str, int | str] = {
    **{f"{n}m": n * 60 for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 3600 for n in (1, 2, 4, 6, 12)},
    "1d": DAY,
    "1w": WEEK,
    "1M": MONTH,
}
PRIVATE_TOPICS = ("outboundAccountInfo", "order", "stopOrder", "ticketInfo")
#: "Error Codes".
MESSAGES = {
    "-1004": "Not authenticated",
    "10003": "Invalid apikey or signature, or the request has expired",
    "10004": "Error sign",
    "10005": "Permission denied",
    "10006": "Too many visits",
    "33004": "Api key expired",
    "12801": "Invalid JSON",
    "12802": "Invalid event",
    "12803": "Event required",
    "12805": "Topic required",
}

DEED_STEPS = 5  # of the market, between two deeds of the account: half a second
RESTING = 3  # orders of the account that are left open


class _State:
    """One connection."""

    def __init__(self, conn_id: str, data_first: bool) -> None:
        self.conn_id = conn_id
        self.data_first = data_first
        self.authorized = False
        self.topics: dict[str, Any] = {}  # by name, in the order of subscribing: what its feed remembers


class _Endpoint:
    """What the two endpoints have in common. See `exchange_ws.sandbox.server.Exchange`."""

    idle_s: float | None = IDLE_S
    idle_code: int | None = None
    requests: tuple[int, float] | None = None  # not documented
    dials = DIALS

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        self._markets = markets
        self._credentials = credentials
        self._seed = seed
        spot = [market for market in markets.markets if not market.instrument.perpetual]
        self.names = {f"{market.instrument.base}{market.instrument.quote}": market for market in spot}

    # What the server asks

    def answer(self, state: _State, message: Any) -> tuple[str | None, Sequence[str]]:
        op = message.get("op") if isinstance(message, dict) else None
        if op == "ping":
            return self._pong(state, message), ()
        if op == "auth":
            return self._auth(state, message), ()
        if op not in ("subscribe", "unsubscribe"):
            return self._error("12802" if op else "12803", None), ()
        args = message.get("args")
        if not isinstance(args, list) or not args:
            return self._error("12805", None), ()
        if len(args) > BATCH:
            return self._result(state, message, f"args size >{BATCH}"), ()
        for name in args:
            if not self._knows(name):
                return self._result(state, message, f"Invalid symbol :[{name}]"), ()
        return self._state_topics(state, message, args), ()

    def malformed(self, state: _State, text: str) -> str | None:
        return self._error("12801", None)

    def refuse(self, state: _State, message: Any, code: int | str | None, text: str | None) -> str:
        if code is None and self.method(message) != "auth":
            return self._result(state, message, text or "error:refused by the sandbox")
        return self._error("10003" if code is None else str(code), text)

    def too_many(self, state: _State, message: Any) -> str:
        return self._error("10006", None)

    def beat(self) -> None:
        pass

    def forget(self, state: _State) -> None:
        state.topics.clear()

    def method(self, message: Any) -> str | None:
        return message.get("op") if isinstance(message, dict) else None

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "public_url": url,
            "private_url": url[: -len(PUBLIC_PATH)] + PRIVATE_PATH,
            "api_key": self._credentials.api_key,
            "api_secret": self._credentials.api_secret,
        }

    # What they say

    @property
    def _now_ms(self) -> int:
        return self._markets.now_us // 1000

    def _req_id(self, message: Any) -> dict[str, str]:
        """The `req_id` to send back, as text; no key where there was none."""
        found = message.get("req_id") if isinstance(message, dict) else None
        return {"req_id": str(found)} if isinstance(found, (str, int)) else {}

    def _pong(self, state: _State, message: Any) -> str:
        return wire_json({"op": "pong", "args": [self._now_ms], **self._req_id(message), "conn_id": state.conn_id})

    def _error(self, code: str, text: str | None) -> str:
        return wire_json({"ret_code": code, "type": "error", "ret_msg": text or MESSAGES.get(code, "error")})

    def _knows(self, name: object) -> bool:
        raise NotImplementedError

    def _auth(self, state: _State, message: Any) -> str:
        raise NotImplementedError

    def _state_topics(self, state: _State, message: Any, names: list[str]) -> str:
        raise NotImplementedError

    def _result(self, state: _State, message: Any, refusal: str | None) -> str:
        raise NotImplementedError


class SpotV3Public(_Endpoint):
    """The public endpoint: trades, books, statistics and candles of *markets*; `further` is the private one."""

    path = PUBLIC_PATH

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        super().__init__(markets, credentials, seed)
        self.further: Sequence[Exchange] = (SpotV3Private(markets, credentials, seed),)
        self._beat_us = markets.now_us
        self._books_due = False
        self._shared: dict[str, dict[str, object]] = {}  # statistics by symbol, made once a step
        self._feeds: dict[str, Callable[[str, Market, str, Any], tuple[Any, list[dict[str, object]]]]] = {
            "trade": self._trades,
            "orderbook": self._book,
            "tickers": self._ticker,
            "bookticker": self._best,
            "kline": self._klines,
        }

    def open(self, serial: int) -> _State:
        rng = random.Random(f"{self._seed}/public/{serial}")
        return _State(f"{rng.getrandbits(32):08x}", rng.random() < 0.5)

    def _auth(self, state: _State, message: Any) -> str:
        return self._error("12802", None)

    def _result(self, state: _State, message: Any, refusal: str | None) -> str:
        op = message.get("op") if isinstance(message, dict) else None
        return wire_json(
            {
                "op": op if isinstance(op, str) else "",
                "success": refusal is None,
                **self._req_id(message),
                "ret_msg": op if refusal is None else refusal,
                "conn_id": state.conn_id,
            }
        )

    def _knows(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        label, *words = name.split(".")
        settings = {"orderbook": [str(DEPTH)], "kline": list(SPANS)}.get(label)
        if settings is not None:
            if not words or words.pop(0) not in settings:
                return False
        return label in self._feeds and len(words) == 1 and words[0] in self.names

    def _state_topics(self, state: _State, message: Any, names: list[str]) -> str:
        for name in names:
            if message["op"] == "unsubscribe":
                state.topics.pop(name, None)
            elif name not in state.topics:
                state.topics[name] = self._look(name, None)[0]
        return self._result(state, message, None)

    def beat(self) -> None:
        now_us = self._markets.now_us
        self._books_due = now_us // BOOK_PACE_US != self._beat_us // BOOK_PACE_US
        self._beat_us = now_us
        self._shared.clear()

    def publish(self, state: _State) -> Iterable[str]:
        for name, memory in state.topics.items():
            if not self._books_due and name.startswith(("orderbook.", "bookticker.")):
                continue
            state.topics[name], news = self._look(name, memory)
            for data in news:
                yield self._push(state, name, data)

    def _push(self, state: _State, topic: str, data: dict[str, object]) -> str:
        if state.data_first:
            return wire_json({"data": data, "type": "snapshot", "topic": topic, "ts": self._now_ms})
        if topic.startswith("kline."):
            return wire_json({"type": "snapshot", "topic": topic, "data": data, "ts": self._now_ms})
        return wire_json({"topic": topic, "ts": self._now_ms, "type": "snapshot", "data": data})

    def _look(self, name: str, memory: Any) -> tuple[Any, list[dict[str, object]]]:
        """What is new of a topic since *memory* (None: it begins now), and the next memory."""
        label, *words = name.split(".")
        return self._feeds[label](words[-1], self.names[words[-1]], words[0], memory)

    def _trades(self, symbol: str, market: Market, _: str, last_id: Any) -> tuple[Any, list[dict[str, object]]]:
        new = [] if last_id is None else market.trades_after(last_id)
        return market.trades[-1].id, [
            {
                "v": trade_id(trade.id),
                "t": trade.time_us // 1000,
                "p": plain(trade.price),
                "q": plain(trade.size),
                "m": trade.side == "buy",  # the buyer was the taker
                "type": "0",
            }
            for trade in reversed(new)
        ]

    def _book(self, symbol: str, market: Market, _: str, sides: Any) -> tuple[Any, list[dict[str, object]]]:
        bids, asks = market.book(DEPTH)
        if sides is None or sides == (bids, asks):
            return (bids, asks), []
        levels = [[[plain(price), plain(size)] for price, size in side.items()] for side in (bids, asks)]
        return (bids, asks), [{"s": symbol, "t": market.book_us // 1000, "b": levels[0], "a": levels[1]}]

    def _best(self, symbol: str, market: Market, _: str, best: Any) -> tuple[Any, list[dict[str, object]]]:
        top = market.top
        if best is None or top == best:
            return top, []
        prices = {"bp": plain(top.bid), "bq": plain(top.bid_size), "ap": plain(top.ask), "aq": plain(top.ask_size)}
        return top, [{"s": symbol, **prices, "t": market.book_us // 1000}]

    def _ticker(self, symbol: str, market: Market, _: str, last_id: Any) -> tuple[Any, list[dict[str, object]]]:
        newest = market.trades[-1].id
        if last_id is None or newest == last_id:
            return newest, []
        if symbol not in self._shared:
            self._shared[symbol] = self._statistics(symbol, market)
        return newest, [self._shared[symbol]]

    def _statistics(self, symbol: str, market: Market) -> dict[str, object]:
        day = market.statistics(max(0, self._markets.now_us // 1_000_000 - DAY))
        change = ((day.last - day.open) / day.open).quantize(Decimal("0.0001"))
        index = (market.top.bid + market.top.ask) / 2
        return {
            "t": market.trades[-1].time_us // 1000,
            "s": symbol,
            "c": plain(day.last),
            "h": plain(day.high),
            "l": plain(day.low),
            "o": plain(day.open),
            "v": plain(day.volume),
            "qv": plain(day.quote_volume),
            "m": plain(change),
            "xp": plain(index) if market.instrument.quote == "USDT" else "",
        }

    def _klines(self, symbol: str, market: Market, interval: str, sent: Any) -> tuple[Any, list[dict[str, object]]]:
        """Candles that differ from the one last *sent*: what that became in the end, and those that began since."""
        now = self._markets.now_us // 1_000_000
        if sent is None:
            return candles(market, SPANS[interval], begin(SPANS[interval], now), now)[-1], []
        found = candles(market, SPANS[interval], sent.start, now)
        return found[-1], [
            {
                "t": candle.start * 1000,
                "s": symbol,
                "c": plain(candle.close),
                "h": plain(candle.high),
                "l": plain(candle.low),
                "o": plain(candle.open),
                "v": plain(candle.volume),
            }
            for candle in found
            if candle != sent
        ]


class SpotV3Private(_Endpoint):
    """The private endpoint: the login, and one account's news."""

    path = PRIVATE_PATH

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        super().__init__(markets, credentials, seed)
        self._symbols = {market.instrument: name for name, market in self.names.items()}
        self._accounts = Accounts(markets, seed=seed)
        self._rng = random.Random(f"{seed}/activity")
        assets = {asset for market in self.names.values() for asset in (market.instrument.base, market.instrument.quote)}
        self._account = self._accounts.open({asset: Decimal(1_000_000 if "USD" in asset else 1_000) for asset in assets})
        self._account_id = str(self._rng.randrange(100_000, 1_000_000))
        self._watched = False  # somebody was subscribed to something after the last step
        self._steps = 0  # that were watched
        self._news: list[tuple[str, dict[str, object]]] = []  # of the last step: topics and records
        self._last_fills: dict[int, Fill] = {}  # by order id
        self._placed_at: dict[int, Decimal] = {}  # market price when a conditional order was placed, by order id
        self._triggered: set[int] = set()

    def open(self, serial: int) -> _State:
        rng = random.Random(f"{self._seed}/private/{serial}")
        parts = (rng.getrandbits(64), 14, rng.getrandbits(32), rng.getrandbits(64), rng.getrandbits(32))
        return _State("{:016x}-{:08x}-{:08x}-{:016x}-{:08x}".format(*parts), False)

    def _knows(self, name: object) -> bool:
        return name in PRIVATE_TOPICS

    def _result(self, state: _State, message: Any, refusal: str | None) -> str:
        op = message.get("op") if isinstance(message, dict) else None
        return wire_json(
            {
                "success": refusal is None,
                "ret_msg": refusal or "",
                "conn_id": state.conn_id,
                **self._req_id(message),
                "op": op if isinstance(op, str) else "",
            }
        )

    def _auth(self, state: _State, message: Any) -> str:
        args = message.get("args")
        if not isinstance(args, list) or len(args) != 3 or not all(isinstance(arg, (str, int)) for arg in args):
            return self._error("10003", "Params Error")
        key, expires, given = map(str, args)
        if key != self._credentials.api_key:
            return self._error("10003", "Invalid apikey")
        if not (expires.isascii() and expires.isdecimal()) or int(expires) <= self._now_ms:
            return self._error("10003", "Request expired")
        if not hmac.compare_digest(signature(self._credentials.api_secret, expires).encode(), given.encode()):
            return self._error("10003", "Error sign")
        state.authorized = True
        return self._result(state, message, None)

    def _state_topics(self, state: _State, message: Any, names: list[str]) -> str:
        if not state.authorized:
            return self._error("-1004", None)
        for name in names:
            if message["op"] == "subscribe":
                state.topics[name] = True
            else:
                state.topics.pop(name, None)
        return self._result(state, message, None)

    def beat(self) -> None:
        self._accounts.after_step()
        if self._watched:
            if self._steps % DEED_STEPS == 0:
                self._act(self._steps // DEED_STEPS)
            self._steps += 1
        self._watched = False
        self._news = list(self._records(self._account.take_events()))

    def publish(self, state: _State) -> Iterable[str]:
        self._watched = self._watched or bool(state.topics)
        for topic, record in self._news:
            if topic in state.topics:
                yield wire_json({"type": "snapshot", "topic": topic, "ts": str(self._now_ms), "data": [record]})

    # What the account does

    def _act(self, number: int) -> None:
        """One deed; the fifth of five makes room for others."""
        market = self.names["BTCUSDT"]
        instrument, top = market.instrument, market.top
        size = self._rng.randrange(1_000, 20_000) * instrument.lot
        wanted = ("rest", "sell", "buy", "wait", "cancel")[number % 5]
        client_id = f"own-{number}"
        try:
            if wanted == "rest":
                self._account.place(instrument, "buy", size=size, price=top.bid, client_id=client_id)
            elif wanted == "sell":
                self._account.place(instrument, "sell", size=size, client_id=client_id)
            elif wanted == "buy":
                self._account.place(instrument, "buy", funds=Decimal(self._rng.randrange(50, 2_000)), client_id=client_id)
            elif wanted == "wait":
                distance = self._rng.randrange(20, 500) * instrument.tick
                price = market.last + distance
                self._account.place(instrument, "buy", size=size, price=price, stop_price=price, client_id=client_id)
            else:
                for order in self._account.open_orders[:-RESTING]:
                    self._account.cancel(order.id)
        except Refused:
            pass  # it has spent what it had, or the book is empty on that side: so it does nothing this time

    # What it tells

    def _records(self, events: Iterable[Event]) -> Iterator[tuple[str, dict[str, object]]]:
        """Topic and record of what has happened, in order; balances that change together are told together."""
        balances: list[Balance] = []
        for event in events:
            if isinstance(event, Balance):
                balances.append(event)
                continue
            if balances:
                yield "outboundAccountInfo", self._balances(balances)
                balances = []
            if isinstance(event, Fill):
                self._last_fills[event.order_id] = event
                yield "ticketInfo", self._ticket(event)
            elif isinstance(event, Order):
                yield from self._orders(event)
                if not event.is_open:
                    self._last_fills.pop(event.id, None)
                    self._placed_at.pop(event.id, None)
                    self._triggered.discard(event.id)
        if balances:
            yield "outboundAccountInfo", self._balances(balances)

    def _balances(self, balances: list[Balance]) -> dict[str, object]:
        rows = {row.asset: {"a": row.asset, "f": plain(row.available), "l": plain(row.locked)} for row in balances}
        event = {"e": "outboundAccountInfo", "E": str(balances[-1].time_us // 1000)}
        return {**event, "T": True, "W": True, "D": True, "B": list(rows.values())}

    def _ticket(self, fill: Fill) -> dict[str, object]:
        return {
            "e": "ticketInfo",
            "E": str(self._now_ms),
            "s": self._symbols[fill.instrument],
            "q": plain(fill.size),
            "t": str(fill.time_us // 1000),
            "p": plain(fill.price),
            "T": trade_id(fill.trade_id),
            "o": self._order_id(fill.order_id),
            "c": fill.client_id,
            "O": self._counter_id(fill),
            "a": self._account_id,
            "A": "642908",
            "m": fill.role == "maker",
            "S": fill.side.upper(),
            "b": "",
        }

    def _order_id(self, number: int) -> str:
        return str(1_300_000_000_000_000_001 + 2 * number)

    def _stop_id(self, number: int) -> str:
        """A conditional order's own id; the order that it makes has the next one."""
        return str(1_300_000_000_000_000_000 + 2 * number)

    def _counter_id(self, fill: Fill) -> str:
        return str(1_200_000_000_000_000_000 + fill.trade_id)

    def _orders(self, order: Order) -> Iterator[tuple[str, dict[str, object]]]:
        if order.stop_price is not None and order.id not in self._triggered:
            if order.triggered:
                self._triggered.add(order.id)
            else:
                self._placed_at.setdefault(order.id, self._accounts.market(order.instrument).last)
            failed = order.status == CANCELLED
            status = "ORDER_FAILED" if failed else "ORDER_FILLED"
            if not order.triggered:
                status = "ORDER_CANCELED" if failed else "ORDER_NEW"
            yield "stopOrder", self._stop_order(order, status)
            if not order.triggered or failed:
                return
        yield "order", self._order(order)

    def _common(self, order: Order, label: str) -> dict[str, object]:
        if order.price is None:
            kind, amount = "MARKET_OF_BASE", order.size
            if order.funds is not None and order.side == "buy":
                kind, amount = "MARKET_OF_QUOTE", order.funds
        else:
            kind, amount = "LIMIT_MAKER" if order.post_only else "LIMIT", order.size
        return {
            "e": label,
            "E": str(self._now_ms),
            "s": self._symbols[order.instrument],
            "c": order.client_id,
            "S": order.side.upper(),
            "o": kind,
            "f": order.time_in_force.upper(),
            "q": plain(amount or Decimal(0)),
            "p": plain(order.price or Decimal(0)),
        }

    def _order(self, order: Order) -> dict[str, object]:
        status = {NEW: "NEW", PARTIALLY_FILLED: "PARTIALLY_FILLED", FILLED: "FILLED", REJECTED: "REJECTED"}.get(
            order.status, "CANCELED"
        )
        if status == "FILLED" and order.funds is not None and order.side == "buy":
            status = "CANCELED"  # what is left of its quote amount is returned
        fill = self._last_fills.get(order.id)
        record = self._common(order, "order")
        record.update(
            X=status,
            i=self._order_id(order.id),
            M="0" if fill is None else self._counter_id(fill),
            l="0" if fill is None else plain(fill.size),
            z=plain(order.filled),
            L="0" if fill is None else plain(fill.price),
            n="0" if fill is None else plain(fill.fee),
            N="" if fill is None else fill.fee_asset,
            u=True,
            w=True,
            m=order.post_only,
            O=str(order.created_us // 1000),
            Z=plain(order.value),
            A="0" if fill is None else "642908",
            C=False,
            v="0",
            d="NO_LIQ",
        )
        if fill is not None:
            record["t"] = trade_id(fill.trade_id)
        record.update(sg=0, st="None", ct="UNKNOWN", so="0", b="")
        return record

    def _stop_order(self, order: Order, status: str) -> dict[str, object]:
        updated = str(order.updated_us // 1000)
        assert order.stop_price is not None, "it is conditional"
        return {
            **self._common(order, "stopOrder"),
            "X": status,
            "i": self._stop_id(order.id),
            "T": str(order.created_us // 1000),
            "t": updated if order.triggered else "0",
            "C": updated,
            "qp": plain(self._placed_at[order.id]),
            "eo": self._order_id(order.id),
            "ti": f"{order.id:032x}",
            "si": f"{order.id:016x}",
            "tp": plain(order.stop_price),
        }


#: What the sandbox finds here: name to factory.
SANDBOXES: dict[str, Callable[[Markets, Credentials, int], Exchange]] = {"bybit-spot-v3": SpotV3Public, "bybit-v5": V5Spot}
