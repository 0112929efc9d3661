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

Of the account side, and of trading over the WebSocket, which its pages do not have (observed with other clients):

* there is one account, that of the sandbox's key. It is not told anything by a subscribe itself: balances come at their next
  beat after a change, positions and borrows at every beat;
* a token is accepted by any number of connections until it expires; a second `authorize` on a connection is refused;
* `ordersExecuted` tells orders that have ended with something filled; an order refused for being post only is CANCELED;
* whatever cannot be done, for lack of money too, is code 1. Collateral orders are for perpetuals only; nothing is borrowed but
  one standing borrow, so that there is one; `borrowsAccountMargin` never happens by itself;
* a conditional order's legs end each other; OTO is a limit order and then two stop orders at the market;
* while clients watch account channels and have not traded yet, the account trades by itself, something each second, so that
  there is something to see. The first trading request ends that for good, and takes what it has open off the market.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import itertools
import json
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Callable

import attrs

from exchange_ws.sandbox.accounts import (
    CANCELLED,
    FILLED,
    KEPT,
    MARGIN,
    NEW,
    PARTIALLY_FILLED,
    REJECTED,
    SPOT,
    Accounts,
    Balance,
    Fill,
    Order,
    Position,
    Refused,
)
from exchange_ws.sandbox.market import TRADES_KEPT, Candle, Market, Markets, Statistics, Top, Trade
from exchange_ws.sandbox.server import Credentials, Exchange, Hangup, HttpAnswer

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
BEATS_US = {"depth": 100_000, "candles": 500_000, "second": 1_000_000, "margin": 1_500_000}
SUCCESS = {"status": "success"}

TOKEN_PATH = "/api/v4/profile/websocket_token"  # "WebSocket token"
TOKEN_S = 60.0  # its lifetime is not documented; short, since one is for the login that follows
NONCE_WINDOW_MS = 5000  # "Authentication", nonceWindow

#: What the account has at first.
SPOT_BALANCES = {"USDT": "100000", "BTC": "2", "ETH": "20", "SOL": "100", "DUSDT": "10000", "DBTC": "1"}
MARGIN_BALANCES = {"USDT": "50000", "BTC": "0.5"}
BORROW = ("BTC", Decimal("0.05"), Decimal("70000"))  # asset, amount, price of liquidation
BORROW_HOURLY = Decimal("0.000005")  # of the amount

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


#: Types of orders by kind, in spot markets and for perpetuals [Orders]; 203 and those of bbo orders as observed.
TYPES = {
    "limit": (1, 7),
    "market": (2, 8),
    "market_stock": (202, None),
    "stop_limit": (3, 9),
    "stop_market": (4, 10),
    "stop_market_stock": (203, None),
    "bbo": (1, 7),
    "stop_bbo": (3, 9),
}
STATUSES = {NEW: "OPEN", PARTIALLY_FILLED: "PARTIALLY_FILLED", FILLED: "FILLED", CANCELLED: "CANCELED", REJECTED: "CANCELED"}
STAGES = {"margin call": (1, "margin_call"), "liquidation": (2, "liquidation")}
EXECUTED_FILTERS = {0: (1, 2, 202, 203, 3, 4, 7, 8, 9, 10), 1: (1, 3, 7, 9), 2: (2, 202, 203, 4, 8, 10)}
STP = ("no", "co", "cn", "cb")
LEAST = Decimal("1e-18")  # of a price or an amount, and 1e18 the most: what is beyond has no place in an answer
#: What the answers tell of the legs of a conditional order, placed and ended (observed).
ACTIVATION = ("activation_price", "activation_condition", "activated")
LEG = ("id", "market", "type", "side", "reduce_only", "position_side", *ACTIVATION, "price", "amount", "left", "status")
ENDED_LEG = ("id", "type", "activation_price", "price", "mtime", "status")


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
        self.account: dict[str, Any] = {}  # what is wanted of the account channels: names; names and a filter; nothing
        self.heard = 0  # serial of the account's last news that was looked at
        self.since: dict[str, int] = {}  # by channel, the serial after which something is news: at the subscribe, or told last


@attrs.frozen
class _News:
    """One message of an account channel in real time. `serial` counts everything that happens to the account."""

    serial: int
    channel: str
    market: str | None
    type: int | None  # of the order
    params: str


@attrs.frozen
class _Paper:
    """What the exchange keeps of an order beside what any exchange would."""

    type: int
    stp: str = "no"
    whole: bool = False  # of take profit and stop loss: for the whole position, whatever its size


@attrs.define
class _Group:
    """A conditional order: one whose legs end each other, or (`prices`) one that becomes that when its leg is filled."""

    id: int
    kind: str
    legs: dict[str, int]  # ids by their names
    prices: dict[str, Decimal] | None = None


class _Desk:
    """The account of the sandbox's key, in the exchange's words."""

    def __init__(self, markets: Markets, names: Mapping[str, Market], seed: int) -> None:
        self.serial = 0
        self.watched = False  # somebody has subscribed to an account channel
        self._traded = False  # a client has
        self._markets = markets
        self._names = names
        self._name_of = {market.instrument: name for name, market in names.items()}
        self._accounts = Accounts(markets, seed=seed)
        self._account = self._accounts.open(
            {asset: Decimal(amount) for asset, amount in SPOT_BALANCES.items()},
            margin={asset: Decimal(amount) for asset, amount in MARGIN_BALANCES.items()},
        )
        self._begun_us = markets.now_us
        self._news: deque[_News] = deque(maxlen=KEPT)
        self._changed: dict[tuple[str, str], int] = {}  # serial of the last change by wallet and asset
        self._papers: dict[int, _Paper] = {}
        self._known: dict[int, bool] = {}  # open orders that were told: whether as triggered
        self._groups: dict[int, _Group] = {}
        scenes = (self._buy, self._place, self._move, self._take_back, self._sell, self._long, self._flat)
        self._script = itertools.cycle(scenes)
        self._own: Order | None = None  # the script's open order

    # What happens

    def step(self, second: bool) -> None:
        """The markets have moved; *second*: to another second."""
        self._accounts.after_step()
        if second and self.watched and not self._traded:
            with contextlib.suppress(Refused):
                next(self._script)()
        self._gather()

    def news_after(self, serial: int) -> list[_News]:
        found = list(itertools.takewhile(lambda news: news.serial > serial, reversed(self._news)))
        return found[::-1]

    def changed(self, channel: str, serial: int, assets: Sequence[str]) -> list[str]:
        """Those of *assets* whose balance has changed since."""
        wallet = SPOT if channel == "balanceSpot" else MARGIN
        return [asset for asset in assets if self._changed.get((wallet, asset), 0) > serial]

    def _gather(self) -> None:
        """Tell what has happened to the account."""
        while True:
            events = self._account.take_events()
            if not events:
                return
            ends = {event.id: event for event in events if isinstance(event, Order)}
            for event in events:
                self.serial += 1
                if isinstance(event, Balance):
                    self._changed[event.wallet, event.asset] = self.serial
                elif isinstance(event, Fill):
                    self._tell("deals", self._name_of[event.instrument], None, self._deal(event))
                elif isinstance(event, Position):
                    if event.stage:
                        code = STAGES[event.stage][0]
                        self._tell("positionsAccountMargin", None, None, [code, self._position(event)])
                elif event.id in self._known or event is ends[event.id] or ends[event.id].is_open:
                    # An order that is placed and ends at once is only told to have ended ["Pending orders"].
                    self._tell_order(event)

    def _tell(self, channel: str, market: str | None, kind: int | None, params: object) -> None:
        self._news.append(_News(self.serial, channel, market, kind, _json(params)))

    def _tell_order(self, order: Order) -> None:
        market, kind = self._name_of[order.instrument], self._paper(order).type
        told = self._known.pop(order.id, None)
        if order.is_open:
            self._known[order.id] = order.triggered
            code = 1 if told is None or (order.triggered and not told) else 2
        else:
            code = 3
        self._tell("ordersPending", market, kind, [code, self._pending(order)])
        if code == 3 and order.filled:
            self._tell("ordersExecuted", market, kind, [self._pending(order)])
        for group in [group for group in self._groups.values() if order.id in group.legs.values()]:
            self._follow(group, order)

    def _follow(self, group: _Group, order: Order) -> None:
        """What the change of one of its legs means for a conditional order."""
        if order.is_open and not order.triggered:
            return
        del self._groups[group.id]
        if group.prices is None:
            for leg in group.legs.values():
                if leg != order.id and self._account.orders[leg].is_open:
                    self._account.cancel(leg)
        elif order.status == FILLED:
            side = "sell" if order.side == "buy" else "buy"
            both = {"side": side, "size": order.size, "reduce_only": True, "paper": _Paper(10)}
            orders = {name: {**both, "stop_price": price} for name, price in group.prices.items()}
            with contextlib.suppress(Refused):  # the price is there already, or the position gone
                self._pair("oco", group.id, orders, self._accounts.market(order.instrument))

    def _paper(self, order: Order) -> _Paper:
        if len(self._papers) > 2 * KEPT:
            self._papers = {number: paper for number, paper in self._papers.items() if number in self._account.orders}
        if order.id not in self._papers:
            perpetual = order.instrument.perpetual
            if order.replaces in self._papers:
                self._papers[order.id] = self._papers[order.replaces]
            else:
                self._papers[order.id] = _Paper(TYPES["market" if order.price is None else "limit"][perpetual] or 0)
        return self._papers[order.id]

    # In the exchange's words

    def _order(self, order: Order) -> dict[str, object]:
        """As the answers of trading methods have it (observed)."""
        paper = self._paper(order)
        size, left = order.size, order.left
        if size is None:
            assert order.funds is not None, "an order has a size or funds"
            size, left = order.funds, order.funds - order.value if order.is_open else Decimal(0)
        if paper.whole:
            size = left = Decimal(0)
        told: dict[str, object] = {
            "id": order.id,
            "market": self._name_of[order.instrument],
            "type": paper.type,
            "side": 2 if order.side == "buy" else 1,
            "post_only": order.post_only,
            "ioc": order.time_in_force == "ioc",
        }
        if order.instrument.perpetual:
            told.update(reduce_only=order.reduce_only, position_side="BOTH")
        told.update(ctime=_seconds(order.created_us), mtime=_seconds(order.updated_us))
        if order.stop_price is not None:
            told.update(
                activation_price=_text(order.stop_price),
                activation_condition="gte" if order.stop_above else "lte",
                activated=int(order.triggered),
            )
        told.update(
            price="0" if order.price is None else _text(order.price),
            amount=_text(size),
            left=_text(left),
            deal_stock=_text(order.filled),
            deal_money=_text(order.value),
            deal_fee=_text(order.fee),
            client_order_id=order.client_id,
            stp=paper.stp,
            status=STATUSES[order.status],
        )
        return told

    def _pending(self, order: Order) -> dict[str, object]:
        """As the channels have it ["Pending orders", "Executed orders"]."""
        return {**self._order(order), "rpi": False, "retail": False, "reduce_only": order.reduce_only}

    def _executed(self, order: Order) -> dict[str, object]:
        """As the query of executed orders has it."""
        told = self._order(order)
        names = ("market", "type", "side", "post_only", "ioc", "price", "amount", "deal_stock", "deal_money", "deal_fee")
        found = {"id": order.id, "ctime": told["ctime"], "ftime": told["mtime"], "market": told["market"], "source": "api"}
        found.update({name: told[name] for name in (*names, "client_order_id", "status")})
        found.update(fee_asset=order.fee_asset, rpi=False, retail=False, reduce_only=order.reduce_only)
        return found

    def _deal(self, fill: Fill) -> list[object]:
        return [
            fill.id,
            _seconds(fill.time_us),
            self._name_of[fill.instrument],
            fill.order_id,
            _text(fill.price),
            _text(fill.size),
            _text(fill.fee),
            fill.client_id,
            2 if fill.side == "buy" else 1,
            1 if fill.role == "maker" else 2,
            fill.fee_asset,
        ]

    def _deal_record(self, fill: Fill) -> dict[str, object]:
        return {
            "time": _seconds(fill.time_us),
            "id": fill.id,
            "side": 2 if fill.side == "buy" else 1,
            "role": 1 if fill.role == "maker" else 2,
            "price": _text(fill.price),
            "amount": _text(fill.size),
            "deal": _text(fill.value),
            "fee": _text(fill.fee),
            "order_id": fill.order_id,
            "deal_order_id": fill.trade_id,
            "market": self._name_of[fill.instrument],
            "client_order_id": fill.client_id,
            "fee_asset": fill.fee_asset,
        }

    def _position(self, position: Position) -> dict[str, object]:
        return {
            "id": position.id,
            "market": self._name_of[position.instrument],
            "ctime": _seconds(position.created_us),
            "mtime": _seconds(position.updated_us),
            "amount": _text(position.size),
            "amount_in_money": _text(abs(position.size) * position.mark),
            "base_price": _text(position.entry_price),
            "pnl": _text(position.unrealized_pnl),
            "liq_price": _text(position.liquidation_price),
            "liq_stage": STAGES[position.stage][1] if position.stage else None,
            "unrealized_funding": "0",
            "funding": "0",
            "margin": _text(position.margin),
            "free_margin": _text(self._account.balance(position.instrument.quote, MARGIN).available),
            "realized_pnl": _text(position.realized_pnl),
            "position_side": "BOTH",
        }

    def positions(self) -> dict[str, object]:
        records = [self._position(position) for position in self._account.positions]
        return {"total": len(records), "records": records}

    def borrows(self) -> dict[str, object]:
        asset, amount, price = BORROW
        hours = (self._markets.now_us - self._begun_us) // 3_600_000_000
        record = {
            "asset": asset,
            "ctime": _seconds(self._begun_us),
            "mtime": _seconds(self._begun_us),
            "amount": _text(-amount),
            "unrealized_funding": _text(amount * BORROW_HOURLY * hours),
            "liq_price": _text(price),
        }
        return {"total": 1, "records": [record]}

    def _margin_figures(self, asset: str) -> list[str]:
        """Balance, borrow, available without a borrow and with one (as much again as there is)."""
        balance = self._account.balance(asset, MARGIN)
        borrow = BORROW[1] if asset == BORROW[0] else Decimal(0)
        numbers = (balance.available + balance.locked, borrow, balance.available, 2 * balance.available)
        return list(map(_text, numbers))

    def _spot_figures(self, asset: str) -> dict[str, str]:
        balance = self._account.balance(asset)
        return {"available": _text(balance.available), "freeze": _text(balance.locked)}

    def balance_params(self, channel: str, assets: Sequence[str]) -> list[object]:
        """Of an update: balanceMargin has short names there."""
        if channel == "balanceSpot":
            return [{asset: self._spot_figures(asset) for asset in assets}]
        return [dict(zip(("a", "B", "b", "av", "ab"), (asset, *self._margin_figures(asset)))) for asset in assets]

    # Subscribes and queries

    def _assets(self, params: list[Any]) -> list[str]:
        known = {what.base for what in self._name_of} | {what.quote for what in self._name_of}
        _check(all(isinstance(asset, str) and asset in known for asset in params))
        return list(dict.fromkeys(params)) or sorted(known)

    def _markets_in(self, params: Any, *, all_if_empty: bool = False) -> list[str]:
        _check(isinstance(params, list) and (params or all_if_empty))
        _check(all(isinstance(name, str) and name in self._names for name in params))
        return list(dict.fromkeys(params)) or list(self._names)

    def wanted(self, channel: str, params: list[Any]) -> object:
        """What a subscribe asks for."""
        if channel in _PUSHED:
            _check(not params)
            return ()
        if channel.startswith("balance"):
            return self._assets(params)
        if channel == "ordersPending":
            return self._markets_in(params)
        if channel == "deals":
            _check(len(params) == 1)
            return self._markets_in(params[0], all_if_empty=True)
        _check(len(params) == 2 and isinstance(params[1], int) and params[1] in EXECUTED_FILTERS)
        return self._markets_in(params[0]), params[1]

    def query(self, channel: str, params: list[Any]) -> object:
        if channel == "balanceSpot":
            return {asset: self._spot_figures(asset) for asset in self._assets(params)}
        if channel == "balanceMargin":
            names = ("balance", "borrow", "available_without_borrow", "available_with_borrow")
            return {asset: dict(zip(names, self._margin_figures(asset))) for asset in self._assets(params)}
        _check(len(params) == 3)
        offset, limit = _whole(params[1]), _whole(params[2])
        _check(1 <= limit <= 100)
        what, types = params[0], None
        if channel == "ordersExecuted":
            _check(isinstance(what, dict))
            types = what.get("order_types", EXECUTED_FILTERS[0])
            _check(isinstance(types, (list, tuple)))
            what = what.get("market")
        _check(isinstance(what, str) and what in self._names)
        instrument = self._names[what].instrument
        page = {"limit": limit, "offset": offset}
        if channel == "deals":
            fills = [fill for fill in reversed(self._account.fills) if fill.instrument == instrument]
            return {**page, "records": [self._deal_record(fill) for fill in fills[offset : offset + limit]]}
        if channel == "ordersPending":
            orders = [order for order in reversed(self._account.open_orders) if order.instrument == instrument]
            records = [self._pending(order) for order in orders[offset : offset + limit]]
            return {**page, "total": len(orders), "records": records}
        ended = [order for order in reversed(list(self._account.orders.values())) if not order.is_open and order.filled]
        orders = [order for order in ended if order.instrument == instrument and self._paper(order).type in (types or ())]
        return {**page, "records": [self._executed(order) for order in orders[offset : offset + limit]]}

    # Trading

    def trade(self, method: str, body: dict[str, Any]) -> object:
        """A trading method; what it has caused is told."""
        if not self._traded:
            self._traded = True
            self._take_back()
        try:
            if method == "collateral_order_oco_place":
                return self._place_oco(body)
            if method == "collateral_order_oto_place":
                return self._place_oto(body)
            if method == "collateral_order_tpsl_place":
                return self._place_tpsl(body)
            if method.endswith("_place"):
                return self._order(self._place_order(method, body))
            return getattr(self, f"_{method}")(body)
        finally:
            self._gather()

    def _decimal(self, body: Mapping[str, Any], name: str) -> Decimal:
        """A number above 0, which the wire has as text."""
        try:
            _check(isinstance(body.get(name), str))
            number = Decimal(body[name])
        except InvalidOperation:
            raise _Refused from None
        _check(number.is_finite() and LEAST <= number <= 1 / LEAST)
        return number

    def _flag(self, body: Mapping[str, Any], name: str) -> bool:
        value = body.get(name, False)
        _check(isinstance(value, bool))
        return bool(value)

    def _market_of(self, body: Mapping[str, Any], *, perpetual: bool | None = None) -> Market:
        name = body.get("market")
        _check(isinstance(name, str) and name in self._names)
        market = self._names[str(name)]
        _check(perpetual is None or market.instrument.perpetual == perpetual)
        return market

    def _place_order(self, method: str, body: dict[str, Any]) -> Order:
        perpetual = method.startswith("collateral_")
        kind = method[len("collateral_order_" if perpetual else "order_") : -len("_place")]
        stop, base = kind.startswith("stop_"), kind[len("stop_") :] if kind.startswith("stop_") else kind
        market, side, amount = self._market_of(body, perpetual=perpetual), body.get("side"), self._decimal(body, "amount")
        client_id, stp, role = body.get("client_order_id", ""), body.get("stp", "no"), body.get("bbo_role")
        _check(side in ("buy", "sell") and isinstance(client_id, str) and stp in STP)
        _check(base != "bbo" or (type(role) is int and role in (1, 2)))
        # Bought at the market, the amount is what to spend; sold, or of the "stock" kind, or of a perpetual, it is the base.
        by_funds = base == "market" and side == "buy" and not perpetual
        order = self._account.place(
            market.instrument,
            str(side),
            size=None if by_funds else amount,
            funds=amount if by_funds else None,
            price=self._decimal(body, "price") if base == "limit" else None,
            stop_price=self._decimal(body, "activation_price") if stop else None,
            time_in_force="ioc" if self._flag(body, "ioc") else "gtc",
            post_only=self._flag(body, "post_only") or (base == "bbo" and role == 1),
            reduce_only=self._flag(body, "reduce_only") and perpetual,
            best="" if base != "bbo" else "own" if role == 1 else "other",
            client_id=client_id,
        )
        number = TYPES[kind][perpetual]
        assert number is not None, "stock orders are of spot markets"
        self._papers[order.id] = _Paper(number, stp)
        return order

    def _leg(self, order_id: int, names: Sequence[str]) -> dict[str, object]:
        """A leg of a conditional order, as its answers have it."""
        told = self._order(self._account.orders[order_id])
        return {name: told[name] for name in names if name in told}

    def _pair(self, kind: str, group_id: int, orders: Mapping[str, Mapping[str, Any]], market: Market) -> _Group:
        """Place orders that end each other: all of them, or none."""
        legs: dict[str, int] = {}
        try:
            for name, given in orders.items():
                order = self._account.place(market.instrument, **{key: given[key] for key in given if key != "paper"})
                legs[name] = order.id
                self._papers[order.id] = given["paper"]
        except Refused:
            for leg in legs.values():
                self._account.cancel(leg)
            raise
        group = self._groups[group_id] = _Group(group_id, kind, legs)
        return group

    def _place_oco(self, body: dict[str, Any]) -> object:
        market, side, size = self._market_of(body, perpetual=True), body.get("side"), self._decimal(body, "amount")
        _check(side in ("buy", "sell"))
        activation = self._decimal(body, "activation_price")
        loss = {"price": self._decimal(body, "stop_limit_price"), "stop_price": activation, "paper": _Paper(9)}
        profit = {"price": self._decimal(body, "price"), "paper": _Paper(7)}
        both = {"side": side, "size": size, "reduce_only": self._flag(body, "reduce_only")}
        group_id = self._accounts.next_order_id()
        group = self._pair("oco", group_id, {"stop_loss": {**both, **loss}, "take_profit": {**both, **profit}}, market)
        return {"type": "oco", "id": group.id, **{name: self._leg(leg, LEG) for name, leg in group.legs.items()}}

    def _place_oto(self, body: dict[str, Any]) -> object:
        _check(body.get("trigger_order_type") == "margin_limit" and isinstance(body.get("trigger_order"), dict))
        _check(body.get("conditional_order_type") == "margin_market_oco")
        prices = {name: self._decimal(body, name) for name in ("take_profit", "stop_loss")}
        group_id = self._accounts.next_order_id()
        order = self._place_order("collateral_order_limit_place", body["trigger_order"])
        self._groups[group_id] = _Group(group_id, "oto", {"trigger_order": order.id}, prices)
        return {
            "type": "oto",
            "id": group_id,
            "conditional_order_type": "margin_market_oco",
            "take_profit_price": _text(prices["take_profit"]),
            "stop_loss_price": _text(prices["stop_loss"]),
            "trigger_order": self._order(order),
        }

    def _place_tpsl(self, body: dict[str, Any]) -> object:
        market = self._market_of(body, perpetual=True)
        position = next((held for held in self._account.positions if held.instrument == market.instrument), None)
        if position is None:
            raise _Refused
        side = "sell" if position.size > 0 else "buy"
        orders = {}
        for name in ("take_profit", "stop_loss"):
            if f"{name}_activation_price" in body:
                price = self._decimal(body, f"{name}_activation_price")
                both = {"side": side, "size": abs(position.size), "stop_price": price, "reduce_only": True}
                orders[name] = {**both, "paper": _Paper(10, whole=True)}
        _check(orders)
        group = self._pair("tpsl", self._accounts.next_order_id(), orders, market)
        return {name: self._leg(leg, (*LEG[:6], "ctime", *LEG[6:])) for name, leg in group.legs.items()}

    def _named(self, body: Mapping[str, Any]) -> Order:
        """The open order that *body* names."""
        number, client_id = body.get("order_id"), body.get("client_order_id")
        _check(type(number) is int or (isinstance(client_id, str) and client_id))
        order = self._account.find(number if isinstance(number, int) else None, str(client_id))
        _check(order.instrument == self._market_of(body).instrument)
        return order

    def _order_modify(self, body: dict[str, Any]) -> object:
        order = self._named(body)
        price = self._decimal(body, "price") if "price" in body else None
        size = self._decimal(body, "amount") if "amount" in body else None
        _check(price is not None or size is not None)
        fresh = self._account.modify(order.id, price=price, size=size, new_id=True)
        return self._order(fresh)

    def _order_cancel(self, body: dict[str, Any]) -> object:
        return self._order(self._account.cancel(self._named(body).id))

    def _order_cancel_conditional(self, body: dict[str, Any]) -> object:
        number = body.get("order_id")
        group = self._groups.get(number) if isinstance(number, int) else None
        if group is None:
            raise _Refused
        market = self._market_of(body)
        _check(all(self._account.orders[leg].instrument == market.instrument for leg in group.legs.values()))
        del self._groups[group.id]
        for leg in group.legs.values():
            if self._account.orders[leg].is_open:
                self._account.cancel(leg)
        told = {name: self._leg(leg, ENDED_LEG) for name, leg in group.legs.items()}
        return {"type": group.kind, "id": group.id, **told}

    def _order_cancel_all(self, body: dict[str, Any]) -> object:
        market = self._market_of(body).instrument if "market" in body else None
        kinds = body.get("type", ["spot", "margin", "futures"])
        _check(isinstance(kinds, list) and all(kind in ("spot", "margin", "futures") for kind in kinds))
        for order in self._account.open_orders:
            wanted = "futures" in kinds if order.instrument.perpetual else "spot" in kinds
            if wanted and market in (None, order.instrument) and self._account.orders[order.id].is_open:
                self._account.cancel(order.id)
        return {}

    # The script, when nobody trades

    def _buy(self) -> None:
        order = self._account.place(self._names["ETH_USDT"].instrument, "buy", funds=Decimal(50))
        self._papers[order.id] = _Paper(2)

    def _sell(self) -> None:
        order = self._account.place(self._names["ETH_USDT"].instrument, "sell", size=Decimal("0.015"))
        self._papers[order.id] = _Paper(202)

    def _place(self) -> None:
        market = self._names["BTC_USDT"]
        price = market.top.bid - 500 * market.instrument.tick
        self._own = self._account.place(market.instrument, "buy", size=Decimal("0.01"), price=price)

    def _move(self) -> None:
        if self._own is not None and self._account.orders[self._own.id].is_open:
            price = self._names["BTC_USDT"].top.bid - 400 * self._own.instrument.tick
            self._own = self._account.modify(self._own.id, price=price, new_id=True)

    def _take_back(self) -> None:
        if self._own is not None and self._account.orders[self._own.id].is_open:
            self._account.cancel(self._own.id)
        self._own = None

    def _long(self) -> None:
        self._account.place(self._names["BTC_PERP"].instrument, "buy", size=Decimal("0.01"))

    def _flat(self) -> None:
        self._account.place(self._names["BTC_PERP"].instrument, "sell", size=Decimal("0.01"), reduce_only=True)


class WhiteBITExchange:
    """The exchange: what its connections have subscribed to, over *markets*. See `exchange_ws.sandbox.server.Exchange`."""

    path = "/ws"
    idle_s: float | None = 60.0  # "Rate limits": without a message from the client
    requests = (200, 60.0)  # "Rate limits": each connection, all methods together
    dials = (1000, 60.0)  # "Rate limits"
    rest_requests = (10, 60.0)  # "WebSocket token"

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        self._markets = markets
        self._credentials = credentials
        self._seed = seed
        self.names: dict[str, Market] = {}
        for market in markets.markets:
            what = market.instrument
            self.names[f"{what.base}_PERP" if what.perpetual else f"{what.base}_{what.quote}"] = market
        self._futures = [name for name, market in self.names.items() if market.instrument.perpetual]
        rng = random.Random(f"{seed}/quantiles")
        self._quantiles = {name: rng.choice(((None, 4), (2, None), (1, 3))) for name in self._futures}
        self._desk = _Desk(markets, self.names, seed)
        self._nonce = -1  # the largest so far
        self._window_nonces: set[int] = set()  # those with a window that are used up
        self._token_rng = random.Random(f"{seed}/tokens")
        self._tokens: dict[str, int] = {}  # those issued by REST, and the last market time at which they are accepted
        self.token = credentials.token
        self.token_s = TOKEN_S
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
                if not state.authorized:
                    raise _Refused(6)
                result = self._private(state, method, params)
                pushes.extend(self._publish_account(state))
            elif method in self._methods:
                result = self._methods[method](state, params, pushes)
            else:
                raise _Refused(4)
        except (_Refused, Refused) as refusal:
            return self.refuse(state, message, refusal.code if isinstance(refusal, _Refused) else 1, None), ()
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
        self._desk.step("second" in self._beats)

    def publish(self, state: _State) -> Iterable[str]:
        yield from self._publish_trades(state)
        yield from self._publish_tops(state)
        if "depth" in self._beats:
            yield from self._publish_books(state)
        if "candles" in self._beats:
            yield from self._publish_candles(state)
        if "second" in self._beats:
            yield from self._publish_seconds(state)
        if state.account:
            yield from self._publish_account(state)
            yield from self._publish_paced(state)

    def forget(self, state: _State) -> None:
        state.clear()

    def method(self, message: Any) -> str | None:
        return message.get("method") if isinstance(message, dict) else None

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        login = {"api_key": self._credentials.api_key, "api_secret": self._credentials.api_secret}
        return {"url": url, "rest_url": rest_url, **login}

    # REST

    def rest(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        if path != TOKEN_PATH:
            return self._rest_error(404, "not found")
        if method != "POST":
            return self._rest_error(405, "method not allowed")
        key, payload = headers.get("x-txc-apikey"), headers.get("x-txc-payload", "")
        signature = hmac.new(self._credentials.api_secret.encode(), payload.encode("latin-1"), hashlib.sha512).hexdigest()
        if key != self._credentials.api_key or not hmac.compare_digest(signature, headers.get("x-txc-signature", "")):
            return self._rest_error(401, "unauthorized")
        try:
            signed = base64.b64decode(payload, validate=True)
            said = json.loads(body)
        except (binascii.Error, ValueError):
            return self._rest_error(422, "invalid payload", payload=["is not the body in base64"])
        if signed != body or not isinstance(said, dict) or said.get("request") != path:
            return self._rest_error(422, "invalid payload", request=["is not what was asked for"])
        trouble = self._use_nonce(said)
        if trouble is not None:
            return self._rest_error(422, "invalid nonce", nonce=[trouble])
        now_us = self._markets.now_us
        self._tokens = {token: until_us for token, until_us in self._tokens.items() if until_us >= now_us}
        token = f"{self._token_rng.getrandbits(256):064x}"
        self._tokens[token] = now_us + int(self.token_s * 1_000_000)
        return 200, {"Content-Type": "application/json"}, _json({"websocket_token": token}).encode()

    def rest_too_many(self) -> HttpAnswer:
        return self._rest_error(429, "too many requests")

    def expire_tokens(self) -> None:
        self._tokens.clear()
        self.token = f"{self._token_rng.getrandbits(256):064x}"

    def _use_nonce(self, said: Mapping[str, Any]) -> str | None:
        """What is wrong with the nonce of a REST request; None: nothing, and it is used up."""
        nonce = said.get("nonce")
        if isinstance(nonce, str) and nonce.isascii() and nonce.isdecimal():
            nonce = int(nonce)  # as another client sends it, so the real one takes it too
        if not isinstance(nonce, int) or isinstance(nonce, bool):
            return "is not an integer"
        if said.get("nonceWindow") is True:
            if abs(nonce - self._markets.now_us // 1000) > NONCE_WINDOW_MS:
                return "is not within 5 seconds of the time"
            if nonce in self._window_nonces:
                return "was used before"
            self._window_nonces.add(nonce)
        else:
            if nonce <= self._nonce:
                return "is not larger than the one before"
            self._nonce = nonce
        return None

    def _rest_error(self, status: int, message: str, **errors: list[str]) -> HttpAnswer:
        body = _json({"code": status, "message": message, "errors": errors})
        return status, {"Content-Type": "application/json"}, body.encode()

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
        _check(isinstance(name, str) and name in self.names)
        assert isinstance(name, str)
        return self.names[name]

    def _list(self, params: list[Any], *, of: Iterable[str] = (), all_if_empty: bool = False) -> list[str]:
        """The markets that *params* lists, each once; those known, or only those in *of*."""
        known = list(of) or list(self.names)
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
        _check(len(params) == 2 and isinstance(params[0], str) and params[1] == "public" and not state.authorized)
        _check(params[0] == self.token or self._tokens.get(params[0], -1) >= self._markets.now_us)
        state.authorized = True
        return SUCCESS

    # Account

    def _private(self, state: _State, method: str, params: list[Any]) -> object:
        """A method that needs `authorize`."""
        channel, _, verb = method.rpartition("_")
        if channel in _QUERIED or channel in _PUSHED:
            if verb == "subscribe":
                state.account[channel] = self._desk.wanted(channel, params)
                state.since[channel] = self._desk.serial
                self._desk.watched = True
                return SUCCESS
            if verb == "unsubscribe":
                _check(not params)
                state.account.pop(channel, None)
                return SUCCESS
            return self._desk.query(channel, params)
        _check(len(params) == 1 and isinstance(params[0], dict))
        return self._desk.trade(method, params[0])

    def _publish_account(self, state: _State) -> Iterable[str]:
        """The channels in real time: orders, deals, margin calls."""
        for news in self._desk.news_after(state.heard):
            state.heard = news.serial
            if news.serial <= state.since.get(news.channel, 0):
                continue
            wanted = state.account.get(news.channel)
            if news.channel == "ordersExecuted" and wanted is not None:
                names, kinds = wanted
                wanted = names if news.type in EXECUTED_FILTERS[kinds] else ()
            if wanted is not None and (news.market is None or news.market in wanted):
                yield self._update(state, news.channel, news.params)

    def _publish_paced(self, state: _State) -> Iterable[str]:
        """The channels with a pace."""
        for channel, pace in (("balanceSpot", "second"), ("balanceMargin", "margin")):
            if pace in self._beats and channel in state.account:
                changed = self._desk.changed(channel, state.since[channel], state.account[channel])
                state.since[channel] = self._desk.serial
                if changed:
                    yield self._update(state, channel, _json(self._desk.balance_params(channel, changed)))
        if "second" in self._beats and "positionsMargin" in state.account:
            yield self._update(state, "positionsMargin", self._once(("positions",), self._desk.positions))
        if "margin" in self._beats and "borrowsMargin" in state.account:
            yield self._update(state, "borrowsMargin", self._once(("borrows",), self._desk.borrows))

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
        market = self.names[name]
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
        return self._statistics(self.names[name].statistics(since), period)

    def _today(self, name: str) -> dict[str, object]:
        now = self._markets.now_us // 1_000_000
        return self._statistics(self.names[name].statistics(now - now % DAY), None)

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
            last = self.names[name].last
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
        newest = self.names[name].trades_after(after)
        return [self._trade(trade) for trade in itertools.islice(newest, limit)]

    def _trades_request(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(len(params) == 3)
        self._market(params[0])
        limit, largest_id = _whole(params[1]), _whole(params[2])
        _check(1 <= limit <= 100)
        return self._latest(params[0], largest_id, limit)

    def _trades_subscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        state.trades = {name: self.names[name].trades[-1].id for name in self._list(params, all_if_empty=True)}
        for name in state.trades:
            pushes.append(self._update(state, "trades", _json([name, self._latest(name, 0, SNAPSHOT)])))
        return SUCCESS

    def _trades_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        _check(not params)
        state.trades = {}
        return SUCCESS

    def _publish_trades(self, state: _State) -> Iterable[str]:
        for name, sent in state.trades.items():
            newest = self.names[name].trades[-1].id
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
        market = self.names[name]
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
            market = self.names[name]
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
        market = self.names[name]
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
        state.tops = {name: self.names[name].top for name in self._list(params, all_if_empty=True)}
        return SUCCESS

    def _book_ticker_unsubscribe(self, state: _State, params: list[Any], pushes: list[str]) -> object:
        self._leave(state.tops, params)
        return SUCCESS

    def _publish_tops(self, state: _State) -> Iterable[str]:
        for name, sent in state.tops.items():
            market = self.names[name]
            top = market.top
            if top != sent:
                state.tops[name] = top
                times = (_seconds(market.book_us), _seconds(self._markets.now_us))
                numbers = map(_text, (top.bid, top.bid_size, top.ask, top.ask_size))
                yield self._update(state, "bookTicker", _json([[*times, name, market.update_id, *numbers]]))

    # Futures

    def _premium(self, name: str) -> list[object]:
        """Market, index price (the spot market's last), mark price (the middle of the book), rate, next funding."""
        market = self.names[name]
        spot = self.names.get(f"{market.instrument.base}_{market.instrument.quote}", market)
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
