"""
Bybit's side of its V5 language, for the sandbox: the public sockets, and what the others are plugged into.

Written from the vendor's documentation (read 2026-11), and from what was observed of other clients; not from our dialect. Where
neither says what the server does, the choice made here is one that a client has to survive:

* a request is atomic on spot too, where it is not known; `V5Public.atomic` False lets it take the good topics;
* a topic twice in one request, or on spot, is refused as one that is subscribed already is on linear; one that is not
  subscribed can be unsubscribed; a known symbol with a topic that spot does not have is refused in linear's words;
* the texts for topics of more than 21,000 characters, for too many requests and for what `Sandbox.reject` refuses are made up,
  the others were seen. Characters are counted over all that the connection has subscribed to, of each topic with its quotes and
  a comma;
* text that is not JSON, and no op, are refused as an unknown op is; args that are no list of topics with "Params Error";
* the option socket gives back in `failTopics` what is no topic of any socket, symbols that there are not, and what is beyond
  2000; it takes in silence, and never pushes, what only other sockets have; to be subscribed already is a success there;
* the socket of `system.status` has spot's answers. What it announces goes from one state to the next every 5 s;
* the first push of a ticker on spot and option, and of a price limit, comes with the next step of the markets; an insurance
  pool's snapshot follows the answer;
* an idle connection is dropped after 10 minutes, without a close frame; new connections are counted for each socket.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from exchange_ws.exchanges.bybit.common_sandbox import DAY, DIALS, IDLE_S, MONTH, WEEK, wire_json
from exchange_ws.exchanges.bybit.v5_account import V5Account
from exchange_ws.exchanges.bybit.v5_markets import (
    CATEGORIES,
    DEPTHS,
    FULL,
    INVERSE,
    LINEAR,
    MOST_TRADES,
    OPTION,
    RPI,
    SPOT,
    Book,
    Frame,
    Listing,
    V5Markets,
)
from exchange_ws.exchanges.bybit.v5_rest import V5Rest
from exchange_ws.exchanges.bybit.v5_trading import V5Private, V5Trade
from exchange_ws.sandbox.market import Market, Markets
from exchange_ws.sandbox.server import Credentials, Exchange, HttpAnswer

__all__ = ["INTERVALS", "PATHS", "STATUS", "V5Option", "V5Public", "V5Spot", "V5State", "V5Status"]

STATUS = "status"
#: "Connect": the public sockets.
PATHS = {**{category: f"/v5/public/{category}" for category in CATEGORIES}, STATUS: "/v5/public/misc/status"}
BATCH = 10  # "Connect": args of a request on spot
MOST_CHARACTERS = 21_000  # "Connect": of the args of a connection
MOST_TOPICS = 2_000  # "Connect": on the option socket
#: "Kline": intervals and their spans.
INTERVALS: dict[str, int | str] = {
    **{str(minutes): minutes * 60 for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": DAY,
    "W": WEEK,
    "M": MONTH,
}
#: "Ticker", "Kline", "All Liquidation", "Insurance Pool", "ADL Alert", "Order Price Limit": microseconds between two pushes.
PACES = {
    "kline": 1_000_000,
    "allLiquidation": 500_000,
    "insurance": 1_000_000,
    "adlAlert": 1_000_000,
    "priceLimit": 300_000,
    "system": 5_000_000,
}
#: Labels with a symbol behind, by category; books, candles and pools have one more word or another one.
OF_SYMBOL = {
    SPOT: ("publicTrade", "tickers", "priceLimit"),
    LINEAR: ("publicTrade", "tickers", "allLiquidation", "priceLimit"),
    INVERSE: ("publicTrade", "tickers", "allLiquidation", "priceLimit"),
    OPTION: ("tickers",),
}
POOLS = {LINEAR: ("USDT", "USDC"), INVERSE: (INVERSE,)}
STATES = ("scheduled", "ongoing", "completed", "canceled")  # "System Status"
#: Of a ticker's delta: what may come later than the rest.
LATE = frozenset({"bid1Size", "ask1Size", "openInterest", "openInterestValue", "turnover24h", "volume24h", "tickDirection"})


class V5State:
    """One connection to a public socket."""

    def __init__(self, conn_id: str, rng: random.Random) -> None:
        self.conn_id = conn_id
        self.rng = rng
        self.topics: dict[str, Any] = {}  # by name, in the order of subscribing: what its feed remembers
        self.silent: set[str] = set()  # topics that were accepted, and of which nothing will come


class V5Public:
    """A public socket: spot's with its siblings, `V5Spot`, is the first. See `exchange_ws.sandbox.server.Exchange`."""

    idle_s: float | None = IDLE_S
    idle_code: int | None = None
    requests: tuple[int, float] | None = None  # not documented
    dials = DIALS

    def __init__(self, markets: V5Markets, seed: int, category: str) -> None:
        self.path = PATHS[category]
        self.category = category
        #: One bad topic, and nothing of its request is subscribed.
        self.atomic = True
        self.names: Mapping[str, Market] = markets.categories.get(category, {})
        self._feeds = markets
        self._seed = seed
        self._listings: Mapping[str, Listing] = markets.listings.get(category, {})
        self._beat_us = markets.now_us
        self._due: frozenset[str] = frozenset()  # labels of `PACES` whose time has come with this step
        self._frames: dict[tuple[str, int], str] = {}  # messages of books by topic and number, of this step
        self._makers: dict[str, Callable[[V5State, str, Any], tuple[Any, Iterable[str]]]] = {
            "orderbook": self._book,
            "publicTrade": self._trades,
            "tickers": self._full_ticker if category in (SPOT, OPTION) else self._ticker,
            "kline": self._kline,
            "allLiquidation": self._liquidations,
            "insurance": self._insurance,
            "adlAlert": self._alert,
            "priceLimit": self._limit,
            "system": self._status,
        }

    # What the server asks

    def open(self, serial: int) -> V5State:
        rng = random.Random(f"{self._seed}/{self.path}/{serial}")
        return V5State(self._conn_id(rng), rng)

    def answer(self, state: V5State, message: Any) -> tuple[str | None, Sequence[str]]:
        op = self.method(message)
        if op == "ping":
            return self._pong(state, message), ()
        if op not in ("subscribe", "unsubscribe"):
            return self._refusal(state, message, "error:invalid op"), ()
        args = message.get("args")
        if not isinstance(args, list) or not args:
            return self._refusal(state, message, "Params Error"), ()
        if op == "unsubscribe":
            for name in args:
                if isinstance(name, str):
                    state.topics.pop(name, None)
                    state.silent.discard(name)
            return self._success(state, message), ()
        return self._subscribe(state, message, args)

    def malformed(self, state: V5State, text: str) -> str | None:
        return self._refusal(state, None, "error:invalid op")

    def refuse(self, state: V5State, message: Any, code: int | str | None, text: str | None) -> str:
        if text is None:
            text = "error:refused by the sandbox" if code is None else f"error:{code}"
        return self._refusal(state, message, text)

    def too_many(self, state: V5State, message: Any) -> str:
        return self._refusal(state, message, "error:too many requests")

    def beat(self) -> None:
        now_us, before_us = self._feeds.now_us, self._beat_us
        self._due = frozenset(label for label, pace_us in PACES.items() if now_us // pace_us != before_us // pace_us)
        self._beat_us = now_us
        self._frames.clear()

    def publish(self, state: V5State) -> Iterable[str]:
        for name, memory in list(state.topics.items()):
            label = name.partition(".")[0]
            if label not in PACES or label in self._due:
                state.topics[name], news = self._makers[label](state, name, memory)
                yield from news

    def forget(self, state: V5State) -> None:
        state.topics.clear()
        state.silent.clear()

    def method(self, message: Any) -> str | None:
        op = message.get("op") if isinstance(message, dict) else None
        return op if isinstance(op, str) else None

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError("the first endpoint answers for all")

    # Answers

    def _conn_id(self, rng: random.Random) -> str:
        if self.category in (SPOT, STATUS):
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))
        return "".join(rng.choices("0123456789abcdefghijklmnopqrstuv", k=20)) + "-2m"

    def _req_id(self, message: Any) -> dict[str, str]:
        """The `req_id` to send back, as text. Spot has no key where there was none, the others an empty text."""
        found = message.get("req_id") if isinstance(message, dict) else None
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            return {"req_id": str(found)}
        return {} if self.category in (SPOT, STATUS) else {"req_id": ""}

    def _pong(self, state: V5State, message: Any) -> str:
        return wire_json({"success": True, "ret_msg": "pong", "conn_id": state.conn_id, **self._req_id(message), "op": "ping"})

    def _success(self, state: V5State, message: Any) -> str:
        op = message["op"]
        words = op if self.category in (SPOT, STATUS) else ""
        return wire_json({"success": True, "ret_msg": words, "conn_id": state.conn_id, **self._req_id(message), "op": op})

    def _refusal(self, state: V5State, message: Any, words: str) -> str:
        op = self.method(message) or ""
        return wire_json({"success": False, "ret_msg": words, "conn_id": state.conn_id, **self._req_id(message), "op": op})

    def _subscribe(self, state: V5State, message: Any, args: list[Any]) -> tuple[str, Sequence[str]]:
        if self.category == SPOT and len(args) > BATCH:
            return self._refusal(state, message, f"args size >{BATCH}"), ()
        characters = self._characters(state, args)
        if characters > MOST_CHARACTERS:
            return self._refusal(state, message, f"error:args of {characters} characters, {MOST_CHARACTERS} are allowed"), ()
        refusal = None
        good: dict[str, None] = {}
        for name in args:
            trouble = self._trouble(state, name) or ("already subscribed" if name in good else None)
            if trouble is None:
                good[name] = None
            elif refusal is None:
                words = name if isinstance(name, str) else json.dumps(name)
                invalid = trouble == "symbol"
                refusal = f"Invalid symbol :[{words}]" if invalid else f"error:{trouble},topic:{words}"
        if refusal is not None and self.atomic:
            return self._refusal(state, message, refusal), ()
        pushes = [push for name in good for push in self._begin(state, name)]
        return (self._success(state, message) if refusal is None else self._refusal(state, message, refusal)), pushes

    def _characters(self, state: V5State, names: Iterable[Any]) -> int:
        """Of all topics with *names*: each with its quotes and a comma."""
        return len(wire_json([*state.topics, *state.silent, *names])) - 1

    def _trouble(self, state: V5State, name: Any) -> str | None:
        """Why a topic cannot be subscribed: "symbol", or words of the vendor's."""
        if not isinstance(name, str):
            return "handler not found"
        if name in state.topics:
            return "already subscribed"
        if self._knows(name):
            return None
        if self.category == SPOT and name.rpartition(".")[2] not in self._listings:
            return "symbol"
        return "handler not found"

    def _knows(self, name: str) -> bool:
        label, *words = name.split(".")
        if self.category == STATUS:
            return name == "system.status"
        if label in ("orderbook", "kline"):
            known: Iterable[str] = DEPTHS[self.category] if label == "orderbook" else INTERVALS
            return len(words) == 2 and words[0] in known and words[1] in self._listings
        if label in ("insurance", "adlAlert"):
            return len(words) == 1 and words[0] in POOLS.get(self.category, ())
        return label in OF_SYMBOL[self.category] and len(words) == 1 and words[0] in self._listings

    def _begin(self, state: V5State, name: str) -> Iterable[str]:
        """Remember where a topic begins; what is pushed at once."""
        state.topics[name], first = self._makers[name.partition(".")[0]](state, name, None)
        return first

    # Pushes. Each maker is given a topic and what it has returned before (None: it begins now), and returns that and messages.

    def _topic(self, name: str, kind: str, data: object) -> str:
        """A message, with its keys in the order of the category [V5, pages of the topics]."""
        ts = self._feeds.now_ms
        if self.category in (SPOT, STATUS):
            return wire_json({"topic": name, "ts": ts, "type": kind, "data": data})
        return wire_json({"topic": name, "type": kind, "ts": ts, "data": data})

    def _book(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        _, depth, symbol = name.split(".")
        book = self._feeds.stream(self._listings[symbol], depth)
        if told is None:
            # "Full Orderbook": its snapshot is had by REST.
            return book.number, [] if depth == FULL else [self._frame(name, book, book.snapshot(self._feeds.now_us))]
        return book.number, [self._told(name, book, frame) for frame in book.since(told, self._feeds.now_us)]

    def _told(self, name: str, book: Book, frame: Frame) -> str:
        """The text of a message, which is made once for all connections."""
        if (name, frame.number) not in self._frames:
            self._frames[name, frame.number] = self._frame(name, book, frame)
        return self._frames[name, frame.number]

    def _frame(self, name: str, book: Book, frame: Frame) -> str:
        symbol = name.rpartition(".")[2]
        data: dict[str, object] = {"s": symbol, "b": frame.bids, "a": frame.asks, "u": frame.u, "seq": frame.seq}
        return wire_json({"topic": name, **self._book_head(symbol, book, frame), "data": data, "cts": frame.cts})

    def _book_head(self, symbol: str, book: Book, frame: Frame) -> dict[str, object]:
        if self.category == SPOT or book.depth in ("1", RPI):
            return {"ts": frame.ts, "type": frame.kind}
        return {"type": frame.kind, "ts": frame.ts}

    def _trades(self, state: V5State, name: str, last: Any) -> tuple[Any, Iterable[str]]:
        listings = self._traded(name.partition(".")[2])
        newest = max(listing.market.trades[-1].id for listing in listings)
        if last is None:
            return newest, []
        rows = self._feeds.trades_after(listings, last)
        return newest, [self._topic(name, "snapshot", rows[at : at + MOST_TRADES]) for at in range(0, len(rows), MOST_TRADES)]

    def _traded(self, word: str) -> list[Listing]:
        """The listings whose trades a topic has."""
        return [self._listings[word]]

    def _full_ticker(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        symbol = name.partition(".")[2]
        if told is None:
            return {}, []
        data = self._feeds.ticker(self.category, symbol)
        if data == told:
            return told, []
        seq = self._listings[symbol].seq
        return data, [wire_json({"topic": name, "ts": self._feeds.now_ms, "type": "snapshot", "cs": seq, "data": data})]

    def _ticker(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        symbol = name.partition(".")[2]
        data = self._feeds.ticker(self.category, symbol)
        seq, ts = self._listings[symbol].seq, self._feeds.now_ms
        if told is None:
            return data, [wire_json({"topic": name, "type": "snapshot", "data": data, "cs": seq, "ts": ts})]
        changed = {key: value for key, value in data.items() if value != told[key]}
        # In the order of the fields: a set's would be another one in each process.
        held = [key for key in changed if key in LATE and state.rng.random() < 0.3]
        changed = {key: value for key, value in changed.items() if key not in held}
        if not changed:
            return told, []
        delta = {"symbol": symbol, **changed}
        return {**told, **changed}, [wire_json({"topic": name, "type": "delta", "data": delta, "cs": seq, "ts": ts})]

    def _kline(self, state: V5State, name: str, sent: Any) -> tuple[Any, Iterable[str]]:
        _, interval, symbol = name.split(".")
        listing, span = self._listings[symbol], INTERVALS[interval]
        if sent is None:
            return self._feeds.candle(listing, span), []
        present, rows = self._feeds.klines(listing, interval, span, sent)
        ts = self._feeds.now_ms
        return present, [wire_json({"topic": name, "data": rows, "ts": ts, "type": "snapshot"})] if rows else []

    def _liquidations(self, state: V5State, name: str, last: Any) -> tuple[Any, Iterable[str]]:
        listing = self._listings[name.partition(".")[2]]
        newest = listing.market.trades[-1].id
        rows = [] if last is None else self._feeds.liquidations(listing, last)
        return newest, [self._topic(name, "snapshot", rows)] if rows else []

    def _insurance(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        pools = {listing: self._feeds.pool(listing) for listing in self._feeds.group(name.partition(".")[2])}
        rows = [
            {
                "coin": listing.settle,
                "symbols": listing.symbol,
                "balance": f"{balance:f}",
                "updateTime": str(self._feeds.now_ms),
            }
            for listing, balance in pools.items()
            if told is None or told[listing] != balance
        ]
        return pools, [self._topic(name, "snapshot" if told is None else "delta", rows)] if rows else []

    def _alert(self, state: V5State, name: str, begun: Any) -> tuple[Any, Iterable[str]]:
        rows = []
        for listing in self._feeds.group(name.partition(".")[2]) if begun else ():
            balance = float(self._feeds.pool(listing))
            what = {"c": listing.settle, "s": listing.symbol, "b": balance, "mb": balance}
            rows.append({**what, "i_pr": -0.3, "pr": 0, "adl_tt": 10000, "adl_sr": -0.25})
        return True, [self._topic(name, "snapshot", rows)] if rows else []

    def _limit(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        data = self._feeds.price_limit(self._listings[name.partition(".")[2]])
        if told is None or told == data:
            return told or {}, []
        return data, [wire_json({"topic": name, "data": data, "ts": self._feeds.now_ms})]

    def _status(self, state: V5State, name: str, begun: Any) -> tuple[Any, Iterable[str]]:
        if begun is None:
            return True, []
        turn = self._feeds.now_us // PACES["system"]
        number, stage = divmod(turn, 3)
        begin_ms = (3 * number + 1) * PACES["system"] // 1000
        announced = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"status/{number}")),
            "title": f"Maintenance {number % 1000}",
            # Every fourth one is called off instead of beginning; it stays so.
            "state": STATES[3] if number % 4 == 3 and stage else STATES[stage],
            "begin": str(begin_ms),
            "end": str(begin_ms + PACES["system"] // 1000),
            "href": "",
            "serviceTypes": [2, 3, 4, 5],
            "product": [1, 2],
            "uidSuffix": [],
            "maintainType": 1,
            "env": 1,
        }
        return True, [wire_json({"topic": name, "ts": self._feeds.now_ms, "data": [announced]})]


class V5Status(V5Public):
    """The socket of `system.status`."""

    def __init__(self, markets: V5Markets, seed: int) -> None:
        super().__init__(markets, seed, STATUS)


class V5Option(V5Public):
    """The option socket: answers, ids and trades of its own."""

    def __init__(self, markets: V5Markets, seed: int) -> None:
        super().__init__(markets, seed, OPTION)
        self._bases = {listing.base for listing in self._listings.values()}

    def _conn_id(self, rng: random.Random) -> str:
        parts = (rng.getrandbits(64), 1, rng.getrandbits(32), rng.getrandbits(64), rng.getrandbits(32))
        return "{:016x}-{:08x}-{:08x}-{:016x}-{:08x}".format(*parts)

    def _pong(self, state: V5State, message: Any) -> str:
        return wire_json({"args": [str(self._feeds.now_ms)], "op": "pong"})

    def _success(self, state: V5State, message: Any) -> str:
        return self._lists(state, [], message["args"])

    def _refusal(self, state: V5State, message: Any, words: str) -> str:
        args = message.get("args") if isinstance(message, dict) else None
        if self.method(message) in ("subscribe", "unsubscribe") and isinstance(args, list) and args:
            return self._lists(state, args, [])
        return wire_json({"success": False, "ret_msg": words, "conn_id": state.conn_id, "op": self.method(message) or ""})

    def _lists(self, state: V5State, failed: Sequence[Any], done: Sequence[Any]) -> str:
        data = {"failTopics": failed, "successTopics": done}
        return wire_json({"success": True, "conn_id": state.conn_id, "data": data, "type": "COMMAND_RESP"})

    def _subscribe(self, state: V5State, message: Any, args: list[Any]) -> tuple[str, Sequence[str]]:
        pushes: list[str] = []
        failed, done = [], []
        for name in args:
            held = len(state.topics) + len(state.silent)
            if isinstance(name, str) and (name in state.topics or name in state.silent):
                done.append(name)
            elif not isinstance(name, str) or held >= MOST_TOPICS or self._characters(state, [name]) > MOST_CHARACTERS:
                failed.append(name)
            elif self._knows(name):
                done.append(name)
                pushes += self._begin(state, name)
            elif self._is_elsewhere(name):
                done.append(name)
                state.silent.add(name)
            else:
                failed.append(name)
        return self._lists(state, failed, done), pushes

    def _knows(self, name: str) -> bool:
        label, _, word = name.partition(".")
        if label == "publicTrade":
            return word in self._bases
        return label != "kline" and super()._knows(name)

    def _is_elsewhere(self, name: str) -> bool:
        """Is it such a topic as other sockets have? Its symbol is not looked at."""
        label, *words = name.split(".")
        if label in ("orderbook", "kline"):
            return len(words) == 2 and words[0] in (DEPTHS[SPOT] if label == "orderbook" else INTERVALS)
        return len(words) == 1 and label in ("publicTrade", "allLiquidation", "insurance", "adlAlert", "priceLimit")

    def _traded(self, word: str) -> list[Listing]:
        return [listing for listing in self._listings.values() if listing.base == word]

    def _book_head(self, symbol: str, book: Book, frame: Frame) -> dict[str, object]:
        head = {"ts": frame.ts, "type": frame.kind}
        return {**head, "id": f"orderbook.{book.depth}.{symbol}-{frame.seq}-{frame.ts}"}

    def _topic(self, name: str, kind: str, data: object) -> str:
        ts = self._feeds.now_ms
        return wire_json({"topic": name, "ts": ts, "type": kind, "id": f"{name}-{ts}", "data": data})

    def _full_ticker(self, state: V5State, name: str, told: Any) -> tuple[Any, Iterable[str]]:
        data = {} if told is None else self._feeds.ticker(self.category, name.partition(".")[2])
        return data, [] if data == told or told is None else [self._topic(name, "snapshot", data)]


class V5Spot(V5Public):
    """The first endpoint, which has all others behind it."""

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        self._markets = markets
        self._credentials = credentials
        shared = V5Markets(markets, seed)
        super().__init__(shared, seed, SPOT)
        account = V5Account(markets, shared, seed)
        private = V5Private(shared, account, credentials, seed)
        self.further: Sequence[Exchange] = (
            V5Public(shared, seed, LINEAR),
            V5Public(shared, seed, INVERSE),
            V5Option(shared, seed),
            V5Status(shared, seed),
            private,
            V5Trade(shared, account, credentials, seed, private),
        )
        self._rest = V5Rest(credentials, shared, account)
        self.rest_requests = self._rest.requests
        # A symbol alone is of the first category that has it.
        names = {f"{category}/{name}": market for category, held in shared.categories.items() for name, market in held.items()}
        for held in shared.categories.values():
            names.update({name: market for name, market in held.items() if name not in names})
        self.names = names

    def beat(self) -> None:
        self._feeds.beat()
        super().beat()

    def lose_book_updates(self) -> None:
        self._feeds.lose_book_updates()

    def restart_books(self) -> None:
        self._feeds.restart_books()

    def rest(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        return self._rest.answer(method, path, headers)

    def rest_too_many(self) -> HttpAnswer:
        return self._rest.too_many()

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        root = url[: -len(self.path)]
        category = options.get("category", SPOT)
        return {
            # What is no category is for the client to refuse.
            "public_url": root + PATHS[category] if category in CATEGORIES else url,
            "private_url": root + V5Private.path,
            "trade_url": root + V5Trade.path,
            "status_url": root + PATHS[STATUS],
            "api_key": self._credentials.api_key,
            "api_secret": self._credentials.api_secret,
        }
