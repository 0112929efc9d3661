"""
WhiteBIT's side of its WebSocket language, for the sandbox.

Written from the vendor's documentation (docs.whitebit.com, WebSocket pages, read 2026-11), not from our dialect. Where the
pages do not say what the server does, the choice made here is one that a client has to survive:

* a refused subscribe leaves the former subscription as it was; requests refused by the rate limit are not counted;
* `trades_update` carries its trades newest first, live ones too; `trades_request` gives those with an id above `largest_id`;
* only trades and depth send something because of the subscribe itself: `bookTicker` waits for a change, the paced channels for
  their next beat, at which a market that the subscription has not sent yet counts as changed;
* candles are sent when there was a trade since the last beat or an interval began, and then the one that has just closed comes
  in the same message before its successor; intervals without trades repeat the close before them, with volume 0;
* `premiumIndex` and `ADLQuantile` come every second; rows of the first are market, index price, mark price, rate, and the Unix
  time of the next funding; a connection gets either all rows in one message, or one flat row a message with a time at its end;
* an unsubscribe that documents only ``[]`` refuses anything else; text that is not JSON closes with code 1007, idleness with
  1000;
* `depth` leaves out a side without change, and refuses an interval above the market's price;
* the order of keys differs between connections, as it was seen to; there is no white space between tokens.

Account channels and trading are not served: code 6 before `authorize`, code 3 after it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Callable

from exchange_ws.sandbox.market import TRADES_KEPT, Candle, Market, Markets, Statistics, Top, Trade
from exchange_ws.sandbox.server import Credentials, Exchange, Hangup

__all__ = ["SANDBOXES", "WhiteBITExchange"]

#: "Rate limits" and error pages: code to message.
MESSAGES = {
    1: "invalid argument",
    2: "internal error",
    3: "service unavailable",
    4: "method not found",
    5: "service timeout",
    6: "require authentication",
    7: "too many requests",
}

LIMITS = (1, 5, 10, 20, 30, 50, 100)  # "Depth"
INTERVALS = {"0": Decimal(0), **{f"{Decimal(10) ** -n:f}": Decimal(10) ** -n for n in range(1, 9)}}  # "Depth"
DAY = 86400
LONG_INTERVALS = (DAY, 2 * DAY, 3 * DAY, 7 * DAY, 30 * DAY)  # "Kline"
SNAPSHOT = 100  # "Market Trades": trades of each market after a subscribe
KEEPALIVE_US = 10_000_000  # "Depth": a full book after 10 s without an update
FUNDING_S = 8 * 3600
BEATS_US = {"depth": 100_000, "candles": 500_000, "second": 1_000_000}
SUCCESS = {"status": "success"}

_QUERIED = ("balanceSpot", "balanceMargin", "ordersPending", "ordersExecuted", "deals")
_PUSHED = ("positionsMargin", "positionsAccountMargin", "borrowsMargin", "borrowsAccountMargin")
#: Methods that need `authorize` first: the account channels, and trading over the WebSocket.
PRIVATE = frozenset(
    [f"{channel}_{verb}" for channel in _QUERIED for verb in ("request", "subscribe", "unsubscribe")]
    + [f"{channel}_{verb}" for channel in _PUSHED for verb in ("subscribe", "unsubscribe")]
    + [f"order_{kind}_place" for kind in ("limit", "market", "market_stock", "stop_limit", "stop_market", "stop_market_stock")]
    + [f"order_{kind}_place" for kind in ("bbo", "stop_bbo")]
    + [f"collateral_order_{kind}_place" for kind in ("limit", "market", "stop_limit", "stop_market", "bbo", "stop_bbo")]
    + [f"collateral_order_{kind}_place" for kind in ("oco", "oto", "tpsl")]
    + ["order_modify", "order_cancel", "order_cancel_conditional", "order_cancel_all"]
)


class _Refused(Exception):
    """The request gets an error."""

    def __init__(self, code: int = 1) -> None:
        super().__init__(code)
        self.code = code


def _check(fact: object) -> None:
    if not fact:
        raise _Refused


def _text(number: Decimal) -> str:
    """A decimal as the wire has it: no exponent, no zeros at the end."""
    return f"{number.normalize():f}"


def _seconds(time_us: int) -> float:
    return time_us / 1_000_000


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _whole(value: object) -> int:
    """*value* if it is a whole number of 0 or more."""
    _check(isinstance(value, int) and not isinstance(value, bool) and value >= 0)
    assert isinstance(value, int)
    return value


def _valid_interval(seconds: int) -> bool:
    """Whether candles have this interval [Kline]."""
    if seconds <= 0:
        return False
    if seconds < 60:
        return 60 % seconds == 0
    if seconds < 3600:
        return seconds % 60 == 0 and 3600 % seconds == 0
    if seconds < DAY:
        return seconds % 3600 == 0 and DAY % seconds == 0
    return seconds in LONG_INTERVALS


class _Book:
    """One market's depth subscription on one connection: its settings, and the book as the client has it."""

    def __init__(self, limit: int, interval: Decimal) -> None:
        self.limit = limit
        self.interval = interval
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        self.update_id = 0  # of the last message
        self.seen_id = 0  # of the book last compared with
        self.sent_us = 0


class _State:
    """One connection. Dictionaries by market are in the order of the subscribe."""

    def __init__(self, rng: random.Random) -> None:
        self.authorized = False
        self.id_first = rng.random() < 0.5  # in updates: id, method, params; else method, params, id
        self.error_first = rng.random() < 0.5  # in answers: error, result, id; else id, result, error
        self.flat_premium = rng.random() < 0.5
        self.clear()

    def clear(self) -> None:
        """No subscriptions."""
        self.candles: tuple[str, int] | None = None
        self.candles_since = 0  # start of the last candle sent; 0: none
        self.candles_trade = 0  # id of the last trade when candles were sent
        self.last_prices: dict[str, Decimal | None] = {}  # as sent
        self.statistics: list[str] = []
        self.today: list[str] = []
        self.trades: dict[str, int] = {}  # id of the last trade sent
        self.books: dict[str, _Book] = {}
        self.tops: dict[str, Top] = {}  # as sent, or as it was at the subscribe
        self.premium: list[str] = []
        self.quantiles: list[str] = []


class WhiteBITExchange:
    """The exchange: what its connections have subscribed to, over *markets*. See `exchange_ws.sandbox.server.Exchange`."""

    path = "/ws"
    idle_s: float | None = 60.0  # "Rate limits": without a message from the client
    requests = (200, 60.0)  # "Rate limits": each connection, all methods together
    dials = (1000, 60.0)  # "Rate limits"

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        self._markets = markets
        self._credentials = credentials
        self._seed = seed
        self._names: dict[str, Market] = {}
        for market in markets.markets:
            what = market.instrument
            self._names[f"{what.base}_PERP" if what.perpetual else f"{what.base}_{what.quote}"] = market
        self._futures = [name for name, market in self._names.items() if market.instrument.perpetual]
        rng = random.Random(f"{seed}/quantiles")
        self._quantiles = {name: rng.choice(((None, 4), (2, None), (1, 3))) for name in self._futures}
        self._beats = frozenset[str]()
        self._beat_us = markets.now_us
        self._shared: dict[tuple[object, ...], str] = {}  # JSON that several connections are sent after the same step
        self._methods: dict[str, Callable[[_State, Any, list[str]], object]] = {
            "ping": self._ping,
            "time": self._time,
            "authorize": self._authorize,
            "candles_request": self._candles_request,
            "candles_subscribe": self._candles_subscribe,
            "lastprice_request": self._lastprice_request,
            "lastprice_subscribe": self._lastprice_subscribe,
            "market_request": self._market_request,
            "market_subscribe": self._market_subscribe,
            "marketToday_query": self._market_today_query,
            "marketToday_subscribe": self._market_today_subscribe,
            "trades_request": self._trades_request,
            "trades_subscribe": self._trades_subscribe,
            "depth_request": self._depth_request,
            "depth_subscribe": self._depth_subscribe,
            "depth_unsubscribe": self._depth_unsubscribe,
            "bookTicker_subscribe": self._book_ticker_subscribe,
            "bookTicker_unsubscribe": self._book_ticker_unsubscribe,
            "premiumIndex_subscribe": self._premium_subscribe,
            "ADLQuantile_subscribe": self._quantile_subscribe,
        }
        for channel in ("candles", "lastprice", "market", "marketToday", "trades", "premiumIndex", "ADLQuantile"):
            self._methods[f"{channel}_unsubscribe"] = getattr(self, f"_{channel}_unsubscribe")

    # What the server asks

    def open(self, serial: int) -> _State:
        return _State(random.Random(f"{self._seed}/connection/{serial}"))

    def answer(self, state: _State, message: Any) -> tuple[str, Sequence[str]]:
        pushes: list[str] = []
        try:
            _check(isinstance(message, dict) and self._id(message) is not None)
            method, params = message.get("method"), message.get("params")
            _check(isinstance(method, str) and isinstance(params, list))
            if method in PRIVATE:
                raise _Refused(3 if state.authorized else 6)
            if method not in self._methods:
                raise _Refused(4)
            result = self._methods[method](state, params, pushes)
        except _Refused as refusal:
            return self.refuse(state, message, refusal.code, None), ()
        return self._reply(state, self._id(message), result, None), pushes

    def malformed(self, state: _State, text: str) -> str | None:
        raise Hangup(1007, "invalid JSON")

    def refuse(self, state: _State, message: Any, code: int | str | None, text: str | None) -> str:
        if code is None:
            code = 1
        if text is None:
            text = MESSAGES.get(code, "error") if isinstance(code, int) else "error"
        return self._reply(state, self._id(message), None, {"code": code, "message": text})

    def too_many(self, state: _State, message: Any) -> str:
        return self.refuse(state, message, 7, None)

    def beat(self) -> None:
        now_us = self._markets.now_us
        self._beats = frozenset(name for name, pace_us in BEATS_US.items() if now_us // pace_us != self._beat_us // pace_us)
        self._beat_us = now_us
        self._shared.clear()

    def publish(self, state: _State) -> Iterable[str]:
        yield from self._publish_trades(state)
        yield from self._publish_tops(state)
        if "depth" in self._beats:
            yield from self._publish_books(state)
        if "candles" in self._beats:
            yield from self._publish_candles(state)
        if "second" in self._beats:
            yield from self._publish_seconds(state)

    def forget(self, state: _State) -> None:
        state.clear()

    def method(self, message: Any) -> str | None:
        return message.get("method") if isinstance(message, dict) else None

    def wiring(self, url: str, rest_url: str) -> Mapping[str, Any]:
        return {"url": url, "rest_url": rest_url}

    # Messages

    def _id(self, message: Any) -> int | None:
        number = message.get("id") if isinstance(message, dict) else None
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    def _reply(self, state: _State, number: int | None, result: object, error: object) -> str:
        if state.error_first:
            return _json({"error": error, "result": result, "id": number})
        return _json({"id": number, "result": result, "error": error})

    def _update(self, state: _State, channel: str, params: str) -> str:
        if state.id_first:
            return f'{{"id":null,"method":"{channel}_update","params":{params}}}'
        return f'{{"method":"{channel}_update","params":{params},"id":null}}'

    def _once(self, key: tuple[object, ...], make: Callable[..., object], *args: object) -> str:
        """JSON of what *make* gives for *args*, made once after each step for all connections that are to be told the same."""
        if key not in self._shared:
            self._shared[key] = _json(make(*args))
        return self._shared[key]

    # Arguments

    def _market(self, name: object) -> Market:
        _check(isinstance(name, str) and name in self._names)
        assert isinstance(name, str)
        return self._names[name]

    def _list(self, params: list[Any], *, of: Iterable[str] = (), all_if_empty: bool = False) -> list[str]:
        """The markets that *params* lists, each once; those known, or only those in *of*."""
        known = list(of) or list(self._names)
        if not params and all_if_empty:
            return known
        _check(params and all(isinstance(name, str) and name in known for name in params))
        return list(dict.fromkeys(params))

    # Service

    def _ping(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        return "pong"

    def _time(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        return self._markets.now_us // 1_000_000

    def _authorize(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(params == [self._credentials.token, "public"])
        state.authorized = True
        return SUCCESS

    # Candles

    def _candle(self, name: str, candle: Candle) -> list[object]:
        numbers = (candle.open, candle.close, candle.high, candle.low, candle.volume, candle.quote_volume)
        return [candle.start, *map(_text, numbers), name]

    def _candles_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 4)
        market, start, end, interval = self._market(params[0]), *map(_whole, params[1:])
        _check(start <= end and _valid_interval(interval))
        return [self._candle(params[0], candle) for candle in market.candles(interval, start, end)]

    def _candles_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 2)
        self._market(params[0])
        _check(_valid_interval(_whole(params[1])))
        state.candles = (params[0], params[1])
        state.candles_since = state.candles_trade = 0
        return SUCCESS

    def _candles_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.candles = None
        return SUCCESS

    def _publish_candles(self, state: _State) -> Iterable[str]:
        if state.candles is None:
            return
        name, interval = state.candles
        market = self._names[name]
        now = self._markets.now_us // 1_000_000
        start, trade = now - now % interval, market.trades[-1].id
        if (start, trade) != (state.candles_since, state.candles_trade):
            candles = market.candles(interval, state.candles_since or start, now)
            state.candles_since, state.candles_trade = start, trade
            yield self._update(state, "candles", _json([self._candle(name, candle) for candle in candles]))

    # Last price, statistics

    def _lastprice_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 1)
        return _text(self._market(params[0]).last)

    def _lastprice_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.last_prices = dict.fromkeys(self._list(params))
        return SUCCESS

    def _lastprice_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.last_prices = {}
        return SUCCESS

    def _statistics(self, statistics: Statistics, period: int | None) -> dict[str, object]:
        last = _text(statistics.last)
        found: dict[str, object] = {} if period is None else {"period": period}
        found.update(last=last, open=_text(statistics.open))
        if period is not None:
            found["close"] = last
        found.update(high=_text(statistics.high), low=_text(statistics.low))
        found.update(volume=_text(statistics.volume), deal=_text(statistics.quote_volume))
        return found

    def _period(self, name: str, period: int) -> dict[str, object]:
        since = max(0, self._markets.now_us // 1_000_000 - period)
        return self._statistics(self._names[name].statistics(since), period)

    def _today(self, name: str) -> dict[str, object]:
        now = self._markets.now_us // 1_000_000
        return self._statistics(self._names[name].statistics(now - now % DAY), None)

    def _market_params(self, name: str) -> list[object]:
        return [name, self._period(name, DAY)]

    def _today_params(self, name: str) -> list[object]:
        return [name, self._today(name)]

    def _market_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 2)
        self._market(params[0])
        _check(_whole(params[1]))
        return self._period(params[0], params[1])

    def _market_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.statistics = self._list(params)
        return SUCCESS

    def _market_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.statistics = []
        return SUCCESS

    def _market_today_query(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 1)
        self._market(params[0])
        return self._today(params[0])

    def _market_today_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.today = self._list(params)
        return SUCCESS

    def _marketToday_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.today = []
        return SUCCESS

    def _publish_seconds(self, state: _State) -> Iterable[str]:
        """The channels with one update a second."""
        for name, sent in state.last_prices.items():
            last = self._names[name].last
            if last != sent:
                state.last_prices[name] = last
                yield self._update(state, "lastprice", _json([name, _text(last)]))
        for name in state.statistics:
            yield self._update(state, "market", self._once(("market", name), self._market_params, name))
        for name in state.today:
            yield self._update(state, "marketToday", self._once(("marketToday", name), self._today_params, name))
        if state.premium:
            rows = [self._premium(name) for name in state.premium]
            if state.flat_premium:
                for row in rows:
                    yield self._update(state, "premiumIndex", _json([*row, _seconds(self._markets.now_us)]))
            else:
                yield self._update(state, "premiumIndex", _json(rows))
        if state.quantiles:
            yield self._update(state, "ADLQuantile", _json([[name, *self._quantiles[name]] for name in state.quantiles]))

    # Trades

    def _trade(self, trade: Trade) -> dict[str, object]:
        return {
            "id": trade.id,
            "time": _seconds(trade.time_us),
            "price": _text(trade.price),
            "amount": _text(trade.size),
            "type": trade.side,
            "rpi": False,
        }

    def _latest(self, name: str, after: int, limit: int) -> list[dict[str, object]]:
        newest = self._names[name].trades_after(after)
        return [self._trade(trade) for trade in itertools.islice(newest, limit)]

    def _trades_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 3)
        self._market(params[0])
        limit, largest_id = _whole(params[1]), _whole(params[2])
        _check(1 <= limit <= 100)
        return self._latest(params[0], largest_id, limit)

    def _trades_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.trades = {name: self._names[name].trades[-1].id for name in self._list(params, all_if_empty=True)}
        for name in state.trades:
            pushes.append(self._update(state, "trades", _json([name, self._latest(name, 0, SNAPSHOT)])))
        return SUCCESS

    def _trades_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.trades = {}
        return SUCCESS

    def _publish_trades(self, state: _State) -> Iterable[str]:
        for name, sent in state.trades.items():
            newest = self._names[name].trades[-1].id
            if newest != sent:
                state.trades[name] = newest
                params = self._once(("trades", name, sent), self._trades_params, name, sent)
                yield self._update(state, "trades", params)

    def _trades_params(self, name: str, sent: int) -> list[object]:
        return [name, self._latest(name, sent, TRADES_KEPT)]

    # Depth

    def _levels(self, side: Mapping[Decimal, Decimal]) -> list[list[str]]:
        return [[_text(price), _text(size)] for price, size in side.items()]

    def _depth_settings(self, params: list[Any]) -> tuple[Market, int, Decimal]:
        market, limit, interval = self._market(params[0]), _whole(params[1]), params[2]
        _check(limit in LIMITS and isinstance(interval, str) and interval in INTERVALS)
        _check(INTERVALS[interval] <= market.last)
        return market, limit, INTERVALS[interval]

    def _depth_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 3 and 1 <= _whole(params[1]) <= 100)
        market, limit, interval = self._market(params[0]), params[1], params[2]
        _check(isinstance(interval, str) and interval in INTERVALS and INTERVALS[interval] <= market.last)
        bids, asks = market.book(limit, INTERVALS[interval])
        return {"timestamp": _seconds(market.book_us), "asks": self._levels(asks), "bids": self._levels(bids)}

    def _depth_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 4 and isinstance(params[3], bool))
        market, limit, interval = self._depth_settings(params)
        if not params[3]:
            state.books.clear()
        book = state.books[params[0]] = _Book(limit, interval)
        book.sides = market.book(limit, interval)
        pushes.append(self._full_book(state, params[0], book))
        return SUCCESS

    def _depth_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        self._leave(state.books, params)
        return SUCCESS

    def _leave(self, held: dict[str, Any], params: list[Any]) -> None:
        """Unsubscribe one market, or all of them for []."""
        _check(len(params) <= 1)
        if params:
            self._market(params[0])
            held.pop(params[0], None)
        else:
            held.clear()

    def _full_book(self, state: _State, name: str, book: _Book) -> str:
        market = self._names[name]
        book.update_id = book.seen_id = market.update_id
        book.sent_us = self._markets.now_us
        full = {
            "timestamp": _seconds(market.book_us),
            "asks": self._levels(book.sides[1]),
            "bids": self._levels(book.sides[0]),
            "update_id": book.update_id,
            "event_time": _seconds(self._markets.now_us),
        }
        return self._update(state, "depth", _json([True, full, name]))

    def _publish_books(self, state: _State) -> Iterable[str]:
        for name, book in state.books.items():
            market = self._names[name]
            if market.update_id != book.seen_id:
                book.seen_id = market.update_id
                sides = market.book(book.limit, book.interval)
                if sides != book.sides:
                    yield self._changed_book(state, name, book, sides)
                    continue
            if self._markets.now_us - book.sent_us >= KEEPALIVE_US:
                yield self._full_book(state, name, book)

    def _changed_book(
        self, state: _State, name: str, book: _Book, sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]
    ) -> str:
        market = self._names[name]
        former, book.sides = book.sides, sides
        past, book.update_id = book.update_id, market.update_id
        book.sent_us = self._markets.now_us
        delta: dict[str, object] = {
            "timestamp": _seconds(market.book_us),
            "update_id": book.update_id,
            "past_update_id": past,
        }
        for key, before, after in (("asks", former[1], sides[1]), ("bids", former[0], sides[0])):
            changes = {price: Decimal(0) for price in before if price not in after}
            changes.update((price, size) for price, size in after.items() if before.get(price) != size)
            if changes:
                delta[key] = self._levels(dict(sorted(changes.items(), reverse=key == "bids")))
        delta["event_time"] = _seconds(self._markets.now_us)
        return self._update(state, "depth", _json([False, delta, name]))

    # Book ticker

    def _book_ticker_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.tops = {name: self._names[name].top for name in self._list(params, all_if_empty=True)}
        return SUCCESS

    def _book_ticker_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        self._leave(state.tops, params)
        return SUCCESS

    def _publish_tops(self, state: _State) -> Iterable[str]:
        for name, sent in state.tops.items():
            market = self._names[name]
            top = market.top
            if top != sent:
                state.tops[name] = top
                times = (_seconds(market.book_us), _seconds(self._markets.now_us))
                numbers = map(_text, (top.bid, top.bid_size, top.ask, top.ask_size))
                yield self._update(state, "bookTicker", _json([[*times, name, market.update_id, *numbers]]))

    # Futures

    def _premium(self, name: str) -> list[object]:
        """Market, index price (the spot market's last), mark price (the middle of the book), rate, next funding."""
        market = self._names[name]
        spot = self._names.get(f"{market.instrument.base}_{market.instrument.quote}", market)
        mark = (market.top.bid + market.top.ask) / 2
        rate = ((mark - spot.last) / spot.last).quantize(Decimal("0.000001"))
        now = self._markets.now_us // 1_000_000
        return [name, _text(spot.last), _text(mark), _text(rate), now - now % FUNDING_S + FUNDING_S]

    def _premium_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.premium = self._list(params, of=self._futures, all_if_empty=True)
        return SUCCESS

    def _premiumIndex_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.premium = []
        return SUCCESS

    def _quantile_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.quantiles = self._list(params, of=self._futures, all_if_empty=True)
        return SUCCESS

    def _ADLQuantile_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.quantiles = []
        return SUCCESS


#: What the sandbox finds here: name to factory.
SANDBOXES: dict[str, Callable[[Markets, Credentials, int], Exchange]] = {"whitebit": WhiteBITExchange}
