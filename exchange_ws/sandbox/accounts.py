"""
Accounts of people who trade in the sandbox's markets: balances, orders, fills and positions that agree with each other.

No exchange is known here, and nothing but the markets' own time: microseconds, Unix. An exchange's sandbox places orders for
its clients, calls `Accounts.after_step` whenever the markets have moved, and tells what `Account.take_events` gives it in its
own words.

How orders are filled:

* what can be filled at once takes the levels that stand on the market's book, as public trades like any other's;
* the rest of a limit order rests. It is not on the public book: the market's trades that reach its price fill it, at its own
  price, each to its own size at most (several orders share it: best price first, then the oldest);
* a stop order locks nothing and does nothing until the market's last price has reached its stop price.

Fees are taken from what is received: the base asset by buyers, the quote asset by sellers; perpetuals pay in the asset that
they are settled in: the quote asset, or the base asset if they are inverse. Positions of perpetuals have margin of their own. A
loss that exceeds it is not collected, hence no balance is ever negative.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Union

import attrs

from exchange_ws.sandbox.market import Instrument, Market, Markets, Trade

__all__ = [
    "CANCELLED",
    "FILLED",
    "NEW",
    "PARTIALLY_FILLED",
    "REJECTED",
    "Account",
    "Accounts",
    "Balance",
    "Event",
    "Fees",
    "Fill",
    "Order",
    "Position",
    "Refused",
]

NEW = "new"
PARTIALLY_FILLED = "partially filled"
FILLED = "filled"
CANCELLED = "cancelled"
REJECTED = "rejected"

SPOT = "spot"
MARGIN = "margin"
ZERO = Decimal(0)
ALL_LEVELS = 1_000_000
MOST = Decimal(10) ** 15  # of anything: what is larger has no remainder within the 28 digits that decimals are reckoned with
CENT = Decimal("0.00000001")  # to which margins and average prices are rounded; all other numbers are exact
MOST_LEVERAGE = 100
KEPT = 5000  # orders, and fills, of an account: a sandbox may run for days
CALL_SHARE = Decimal("0.5")  # of its margin a position may lose before the margin call
LIQUIDATION_SHARE = Decimal("0.8")


class Refused(Exception):
    """
    What was asked for is not done. `reason` is for programs:

    "instrument", "side", "price", "size", "value", "stop price", "time in force", "client id", "balance" (too little is
    available), "liquidity" (nothing to take), "order" (none such is open), "reduce only" (no position to reduce), "leverage".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@attrs.frozen
class Fees:
    """Shares of what a fill is worth."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.002")
    perpetual_maker: Decimal = Decimal("0.0001")
    perpetual_taker: Decimal = Decimal("0.00055")


@attrs.frozen
class Balance:
    """One asset of a wallet: "spot", or "margin" for perpetuals where that is apart."""

    wallet: str
    asset: str
    available: Decimal
    locked: Decimal  #: by open orders and positions
    time_us: int


@attrs.frozen
class Order:
    """
    One order as it was at `updated_us`.

    `price` is None for a market order, and for one at the `best` price that waits. A market order has either `size` (base) or
    `funds` (quote to spend or to earn); for the latter `size` is None. `value` is what was filled is worth (in the quote asset,
    or what the perpetual is settled in), `fee` the sum of its fills'.
    """

    id: int
    instrument: Instrument
    side: str  #: "buy" or "sell"
    price: Decimal | None
    size: Decimal | None
    funds: Decimal | None
    created_us: int
    updated_us: int
    client_id: str = ""
    time_in_force: str = "gtc"  #: or "ioc", "fok"
    post_only: bool = False
    reduce_only: bool = False
    best: str = ""  #: "own" or "other": its price is, or will be when it is triggered, the best one of that side of the book
    stop_price: Decimal | None = None
    stop_above: bool | None = None  #: triggered by a last price at or above `stop_price`; False: at or below; None: no stop
    triggered: bool = False
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    fee_asset: str = ""
    status: str = NEW
    reason: str = ""  #: why it was cancelled or rejected: "asked", "modified", "ioc", "post only", or one of `Refused`
    replaces: int | None = None  #: id of the order that was modified into this one

    @property
    def left(self) -> Decimal:
        """Size not filled yet; 0 for an order by `funds`."""
        return ZERO if self.size is None else self.size - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in (NEW, PARTIALLY_FILLED)

    @property
    def waits(self) -> bool:
        """Is it a stop order that has not been triggered?"""
        return self.stop_price is not None and not self.triggered


@attrs.frozen
class Fill:
    """One execution of an order. `trade_id` is the public trade's, which may fill several orders; `id` is unique."""

    id: int
    trade_id: int
    order_id: int
    client_id: str
    instrument: Instrument
    side: str
    role: str  #: "maker" or "taker"
    price: Decimal
    size: Decimal
    value: Decimal
    fee: Decimal
    fee_asset: str
    pnl: Decimal  #: profit realized by what it closes of a position, before the fee
    time_us: int


@attrs.frozen
class Position:
    """A position in a perpetual; `size` is negative when short, 0 in the last one of a position that was closed."""

    id: int
    instrument: Instrument
    size: Decimal
    value: Decimal  #: what the size cost, in the asset that it is settled in, 0 or more
    margin: Decimal  #: locked for it
    leverage: int
    mark: Decimal  #: the middle of the book
    realized_pnl: Decimal
    stage: str  #: "", "margin call" or "liquidation"
    created_us: int
    updated_us: int

    @property
    def entry_price(self) -> Decimal:
        """Average, rounded to 8 places."""
        if not self.size:
            return ZERO
        size = abs(self.size)
        return (size / self.value if self.instrument.inverse else self.value / size).quantize(CENT)

    @property
    def unrealized_pnl(self) -> Decimal:
        return _profit(self, self.instrument.value(self.mark, abs(self.size)), self.value)

    @property
    def liquidation_price(self) -> Decimal:
        """Where the loss is the share of the margin at which it is liquidated."""
        if not self.size:
            return ZERO
        size, bearable = abs(self.size), self.margin * LIQUIDATION_SHARE
        # What it is worth there: less for a long, or for a short that is inverse, which loses when the value rises.
        worth = self.value - bearable if (self.size > 0) != self.instrument.inverse else self.value + bearable
        price = size / worth if self.instrument.inverse else worth / size
        return max(ZERO, price).quantize(CENT)


#: What has changed, as it was after the change.
Event = Union[Order, Fill, Balance, Position]


def _profit(position: Position, worth: Decimal, cost: Decimal) -> Decimal:
    """What is made of *position*, or a part of it, that did *cost* and now is *worth* so much."""
    # An inverse long is worth less of the base asset when the price has risen, and has made the difference.
    return worth - cost if (position.size > 0) != position.instrument.inverse else cost - worth


def _margin(value: Decimal, leverage: int) -> Decimal:
    # Rounded down: the margins of parts then never add up to more than the margin of the whole, which was locked.
    return (value / leverage).quantize(CENT, ROUND_DOWN)


def _is_amount(number: Decimal) -> bool:
    return number.is_finite() and 0 < number < MOST


def mark_price(market: Market) -> Decimal:
    """The middle of the book."""
    top = market.top
    return (top.bid + top.ask) / 2


class Account:
    """
    One account; made by `Accounts.open`. Not thread-safe: the thread that steps the markets uses it.

    Methods that cannot do what they are told raise `Refused` and change nothing.
    """

    def __init__(
        self, accounts: Accounts, balances: Mapping[str, Decimal], margin: Mapping[str, Decimal] | None, fees: Fees
    ) -> None:
        self.fees = fees
        #: Orders by id, the oldest first: all open ones, and of the finished ones those that are among the last `KEPT`.
        self.orders: dict[int, Order] = {}
        #: The last `KEPT` fills, the oldest first.
        self.fills: deque[Fill] = deque(maxlen=KEPT)
        self._accounts = accounts
        self._margin_wallet = SPOT if margin is None else MARGIN
        self._purses: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}  # (wallet, asset) to (available, locked)
        self._open: dict[int, None] = {}  # ids of open orders, in order of placing
        self._locks: dict[int, Decimal] = {}  # by order id; of the asset that `_locked_in` names
        self._positions: dict[Instrument, Position] = {}
        self._leverages: dict[Instrument, int] = {}
        self._events: list[Event] = []
        self._touched: dict[tuple[str, str], None] = {}  # balances to tell at the end of the present change
        for wallet, assets in ((SPOT, balances), (MARGIN, margin or {})):
            for asset, amount in assets.items():
                self._purses[wallet, asset] = (amount, ZERO)

    # What one can see

    def take_events(self) -> list[Event]:
        """What has changed since the last call, in order: of an order first itself, then its fills, each with what follows."""
        events, self._events = self._events, []
        return events

    def balance(self, asset: str, wallet: str = SPOT) -> Balance:
        available, locked = self._purses.get((wallet, asset), (ZERO, ZERO))
        return Balance(wallet, asset, available, locked, self._now_us)

    def balances(self, wallet: str = SPOT) -> dict[str, Balance]:
        """All assets of a wallet that ever had something."""
        return {asset: self.balance(asset, wallet) for where, asset in self._purses if where == wallet}

    @property
    def open_orders(self) -> list[Order]:
        """Oldest first; untriggered stop orders too."""
        return [self.orders[order_id] for order_id in self._open]

    def find(self, order_id: int | None = None, client_id: str | None = None) -> Order:
        """The open order of that id, or of that client id; `Refused` ("order") if there is none."""
        for order in self.open_orders:
            if order.id == order_id if order_id is not None else order.client_id == client_id:
                return order
        raise Refused("order", "no such order is open")

    @property
    def positions(self) -> list[Position]:
        """Open ones, at the present mark price."""
        return [self._marked(position) for position in self._positions.values()]

    def leverage(self, instrument: Instrument) -> int:
        return self._leverages.get(instrument, 10)

    # What one can do

    def place(
        self,
        instrument: Instrument,
        side: str,
        *,
        size: Decimal | None = None,
        funds: Decimal | None = None,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
        time_in_force: str = "gtc",
        post_only: bool = False,
        reduce_only: bool = False,
        best: str = "",
        client_id: str = "",
    ) -> Order:
        """
        Place an order; as it stands after what could be filled at once.

        Parameters
        ----------
        size
            Base amount, a multiple of the lot. Or else:
        funds
            Quote amount to spend or to earn: of a market order only.
        price
            A multiple of the tick. None: at the market, or at the `best` price.
        stop_price
            Wait until the last price has come from the present one to this.
        time_in_force
            "gtc"; "ioc" cancels what is not filled at once; "fok" cancels all if not all can be filled at once.
        post_only
            Rejected if it would be filled at once: the order then has the status "rejected".
        reduce_only
            Of a perpetual: fills only as much as there is of an opposite position.
        best
            Price it, when it begins, like the best order of its "own" side of the book, or of the "other" one.
        """
        market = self._accounts.market(instrument)
        if best:
            if best not in ("own", "other") or price is not None or size is None:
                raise Refused("price", 'an order at the "own" or the "other" side\'s best price has a size, and no price')
            if stop_price is None:
                price = self._best(market, side, best)
        self._check(instrument, side, size, funds, price, stop_price, time_in_force, post_only and not best)
        if client_id and any(order.client_id == client_id for order in self.open_orders):
            raise Refused("client id", "an open order has that client id")
        if reduce_only and not self._reducible(instrument, side):
            raise Refused("reduce only", "there is no position to reduce")
        last = market.last
        if stop_price == last:
            raise Refused("stop price", "the last price is there already")
        order = Order(
            self._accounts.next_order_id(),
            instrument,
            side,
            price,
            size,
            funds,
            self._now_us,
            self._now_us,
            client_id,
            time_in_force,
            post_only,
            reduce_only,
            best,
            stop_price,
            None if stop_price is None else stop_price > last,
            fee_asset=instrument.base if side == "buy" and not instrument.perpetual else instrument.settled_in,
        )
        self._start(order)
        return self.orders[order.id]

    def modify(
        self,
        order_id: int,
        *,
        price: Decimal | None = None,
        size: Decimal | None = None,
        stop_price: Decimal | None = None,
        new_id: bool = False,
    ) -> Order:
        """
        Change an open limit or stop order; what of it can now be filled at once is.

        Parameters
        ----------
        size
            The whole of it, with what is filled already; must be more than that.
        stop_price
            Another one, of an order that still waits for it.
        new_id
            Cancel it, and place what is left of it anew as an order with another id that `replaces` it.
        """
        former = self.find(order_id)
        if former.price is None and not former.waits:
            raise Refused("order", "a market order cannot be modified")
        if price is not None and former.price is None:
            raise Refused("price", "a market order has none")
        if size is not None and former.size is None:
            raise Refused("size", "the order is by its funds")
        wanted_price, wanted_size = former.price if price is None else price, former.size if size is None else size
        stop_above = former.stop_above
        if stop_price is not None:
            last = self._accounts.market(former.instrument).last
            if not former.waits or stop_price == last:
                raise Refused("stop price", "the order waits for none, or the last price is there already")
            stop_above = stop_price > last
        wanted_stop = former.stop_price if stop_price is None else stop_price
        self._check(former.instrument, former.side, wanted_size, former.funds, wanted_price, wanted_stop, "gtc", False)
        if wanted_size is not None and wanted_size <= former.filled:
            raise Refused("size", "that much is filled already")
        order = attrs.evolve(
            former,
            price=wanted_price,
            size=wanted_size,
            stop_price=wanted_stop,
            stop_above=stop_above,
            updated_us=self._now_us,
        )
        if new_id:
            order = attrs.evolve(
                order,
                id=self._accounts.next_order_id(),
                size=None if wanted_size is None else wanted_size - former.filled,
                filled=ZERO,
                value=ZERO,
                fee=ZERO,
                status=NEW,
                created_us=self._now_us,
                replaces=former.id,
            )
        plan = self._plan(order)
        if order.post_only and plan:
            raise Refused("price", "a post only order would be filled at once")
        where, lock = self._locked_in(order), self._locks[former.id]
        if self._need(order, plan) > self._purses.get(where, (ZERO, ZERO))[0] + lock:
            raise Refused("balance", f"too little {where[1]} is available")
        if new_id:
            self._finish(former, CANCELLED, "modified")
        else:
            self._move(where, lock, -lock)
        self._start(order)
        return self.orders[order.id]

    def cancel(self, order_id: int) -> Order:
        """Cancel an open order."""
        return self._finish(self.find(order_id), CANCELLED, "asked")

    def cancel_all(self, instrument: Instrument | None = None) -> list[Order]:
        """Cancel all open orders (of *instrument*), the oldest first."""
        found = [order for order in self.open_orders if instrument in (None, order.instrument)]
        return [self._finish(order, CANCELLED, "asked") for order in found]

    def set_leverage(self, instrument: Instrument, leverage: int) -> None:
        """Of later orders, and of the position that there is; not while orders of *instrument* are open."""
        if isinstance(leverage, bool) or not isinstance(leverage, int) or not 1 <= leverage <= MOST_LEVERAGE:
            raise Refused("leverage", f"takes a whole number from 1 to {MOST_LEVERAGE}")
        if not instrument.perpetual or any(order.instrument == instrument for order in self.open_orders):
            raise Refused("leverage", "takes a perpetual without open orders")
        position = self._positions.get(instrument)
        if position is not None:
            margin = _margin(position.value, leverage)
            where = (self._margin_wallet, instrument.settled_in)
            if margin - position.margin > self._purses[where][0]:
                raise Refused("balance", f"too little {instrument.settled_in} is available")
            self._move(where, position.margin - margin, margin - position.margin)
            self._positions[instrument] = attrs.evolve(
                position, margin=margin, leverage=leverage, stage="", updated_us=self._now_us
            )
            self._tell(self._marked(self._positions[instrument]))
        self._leverages[instrument] = leverage
        self._tell_balances()

    def credit(self, asset: str, amount: Decimal, wallet: str = SPOT) -> Balance:
        """Pay *amount* in, or out when negative."""
        if self.balance(asset, wallet).available + amount < 0:
            raise Refused("balance", f"too little {asset} is available")
        self._move((wallet, asset), amount, ZERO)
        self._tell_balances()
        return self.balance(asset, wallet)

    # What the market does

    def fill(self, order_id: int, trade: Trade, most: Decimal) -> Decimal:
        """For `Accounts`: a public *trade* meets a resting order. The size that was filled, *most* or less."""
        order = self.orders[order_id]
        assert order.price is not None, "only limit orders rest"
        size = min(most, order.left)
        if order.reduce_only:
            size = min(size, self._reducible(order.instrument, order.side))
            if not size:
                self._finish(order, CANCELLED, "reduce only")
                return ZERO
        self._fill(order, trade, order.price, size, "maker")
        return size

    def trigger(self, order_id: int) -> None:
        """For `Accounts`: the last price has reached the order's stop price."""
        order = attrs.evolve(self.orders[order_id], triggered=True, updated_us=self._now_us)
        if order.best:
            price = self._best(self._accounts.market(order.instrument), order.side, order.best)
            order = attrs.evolve(order, price=price)
        try:
            self._start(order)
        except Refused as refusal:
            self._finish(order, CANCELLED, refusal.reason)

    def watch(self, position: Position) -> None:
        """For `Accounts`: see what the present mark price means for a position."""
        position = self._marked(position)
        loss = -position.unrealized_pnl
        if loss >= position.margin * LIQUIDATION_SHARE:
            self._liquidate(position)
            return
        stage = "margin call" if loss >= position.margin * CALL_SHARE else ""
        if stage != position.stage:
            self._positions[position.instrument] = position = attrs.evolve(position, stage=stage, updated_us=self._now_us)
            if stage:
                self._tell(position)

    # Inside

    @property
    def _now_us(self) -> int:
        return self._accounts.markets.now_us

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def _tell_balances(self) -> None:
        touched, self._touched = self._touched, {}
        for wallet, asset in touched:
            self._tell(self.balance(asset, wallet))

    def _move(self, where: tuple[str, str], available: Decimal, locked: Decimal) -> None:
        """Add to a balance."""
        before = self._purses.get(where, (ZERO, ZERO))
        after = (before[0] + available, before[1] + locked)
        assert min(after) >= 0, f"{where} would have {after}"
        if after != before:
            self._purses[where] = after
            self._touched[where] = None

    def _marked(self, position: Position) -> Position:
        return attrs.evolve(position, mark=mark_price(self._accounts.market(position.instrument)))

    def _check(
        self,
        instrument: Instrument,
        side: str,
        size: Decimal | None,
        funds: Decimal | None,
        price: Decimal | None,
        stop_price: Decimal | None,
        time_in_force: str,
        post_only: bool,
    ) -> None:
        self._accounts.market(instrument)
        if side not in ("buy", "sell"):
            raise Refused("side", 'takes "buy" or "sell"')
        for name, number in (("price", price), ("stop price", stop_price)):
            if number is not None and (not _is_amount(number) or number % instrument.tick):
                raise Refused(name, f"takes a multiple of {instrument.tick:f}")
        if size is not None and (not _is_amount(size) or size % instrument.lot):
            raise Refused("size", f"takes a multiple of {instrument.lot:f}")
        if (size is None) == (funds is None):
            raise Refused("size", "an order has either a size or funds")
        if funds is not None and (price is not None or not _is_amount(funds) or instrument.inverse):
            raise Refused("value", "the funds of a market order, above 0; an inverse perpetual's have a size")
        if time_in_force not in ("gtc", "ioc", "fok") or (post_only and (time_in_force != "gtc" or price is None)):
            raise Refused("time in force", 'takes "gtc", "ioc" or "fok"; post only goes with a limit order and "gtc"')

    def _best(self, market: Market, side: str, best: str) -> Decimal:
        top = market.top
        return top.bid if (side == "buy") == (best == "own") else top.ask

    def _reducible(self, instrument: Instrument, side: str) -> Decimal:
        """Size of the position that an order of that side would close."""
        position = self._positions.get(instrument)
        if position is None or (position.size > 0) == (side == "buy"):
            return ZERO
        return abs(position.size)

    def _plan(self, order: Order) -> list[tuple[Decimal, Decimal]]:
        """The levels that *order* would take now: (price, size), best first."""
        if order.waits:
            return []
        market, lot = self._accounts.market(order.instrument), order.instrument.lot
        left, funds = order.left, order.funds or ZERO
        if order.reduce_only:
            reducible = self._reducible(order.instrument, order.side)
            left = reducible if order.size is None else min(left, reducible)
        plan = []
        for price, standing in market.book(ALL_LEVELS)[1 if order.side == "buy" else 0].items():
            if order.price is not None and (price > order.price if order.side == "buy" else price < order.price):
                break
            size = standing
            if order.size is not None or order.reduce_only:
                size = min(size, left)
            if order.size is None:
                size = min(size, (funds / (price * lot)).to_integral_value(ROUND_FLOOR) * lot)
            if not size:
                break
            plan.append((price, size))
            left -= size
            funds -= price * size
        return plan

    def _locked_in(self, order: Order) -> tuple[str, str]:
        """The balance that *order* locks from."""
        if order.instrument.perpetual:
            return self._margin_wallet, order.instrument.settled_in
        return SPOT, order.instrument.quote if order.side == "buy" else order.instrument.base

    def _lock_of(self, order: Order, price: Decimal, size: Decimal) -> Decimal:
        """What *size* at *price* locks."""
        if order.reduce_only:
            return ZERO
        if order.instrument.perpetual:
            value = order.instrument.value(price, size)
            return _margin(value, self.leverage(order.instrument)) + value * self.fees.perpetual_taker
        return price * size if order.side == "buy" else size

    def _rest(self, order: Order, plan: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
        """What of *order* would rest after its *plan*."""
        if order.price is None or order.time_in_force != "gtc":
            return ZERO
        return order.left - sum((size for _, size in plan), ZERO)

    def _need(self, order: Order, plan: list[tuple[Decimal, Decimal]]) -> Decimal:
        """What *order* locks until its *plan* is done and the rest of it rests."""
        if order.waits:
            return ZERO
        need = sum((self._lock_of(order, price, size) for price, size in plan), ZERO)
        return need if order.price is None else need + self._lock_of(order, order.price, self._rest(order, plan))

    def _start(self, order: Order) -> None:
        """Let *order* begin: a new one, or one that was waiting or is modified, with nothing locked. `Refused` if it cannot."""
        plan = self._plan(order)
        if order.post_only and plan:
            self._open[order.id] = None
            self._locks[order.id] = ZERO
            self._finish(order, REJECTED, "post only")
            return
        if order.price is None and not plan and not order.waits:
            raise Refused("liquidity", "the book has nothing for this order")
        if order.time_in_force == "fok" and not order.waits and sum((size for _, size in plan), ZERO) < order.left:
            plan = []
        where, need = self._locked_in(order), self._need(order, plan)
        if need > self._purses.get(where, (ZERO, ZERO))[0]:
            raise Refused("balance", f"too little {where[1]} is available")
        self._move(where, -need, need)
        if len(self.orders) >= KEPT:
            oldest = next((order_id for order_id in self.orders if order_id not in self._open), None)
            if oldest is not None:
                del self.orders[oldest]
        self.orders[order.id] = order
        self._open[order.id] = None
        self._locks[order.id] = need
        self._tell(order)
        self._tell_balances()
        if plan:
            for trade in self._accounts.take(order.instrument, order.side, plan):
                self._fill(self.orders[order.id], trade, trade.price, trade.size, "taker")
        order = self.orders[order.id]
        if order.is_open and not order.waits and not self._rest(order, ()):
            if order.funds is not None:
                self._finish(order, FILLED, "")
            else:
                self._finish(order, CANCELLED, "liquidity" if order.time_in_force == "gtc" else order.time_in_force)

    def _finish(self, order: Order, status: str, reason: str) -> Order:
        """*order* is open no longer; what it locked is free."""
        del self._open[order.id]
        lock = self._locks.pop(order.id)
        self._move(self._locked_in(order), lock, -lock)
        order = attrs.evolve(order, status=status, reason=reason, updated_us=self._now_us)
        self.orders[order.id] = order
        self._tell(order)
        self._tell_balances()
        return order

    def _fill(self, order: Order, trade: Trade, price: Decimal, size: Decimal, role: str) -> None:
        instrument, value = order.instrument, order.instrument.value(price, size)
        rest = attrs.evolve(order, filled=order.filled + size, value=order.value + value)
        done = rest.size is not None and not rest.left
        if role == "taker":
            release = self._lock_of(order, price, size)  # just as `_need` counted it
        else:
            assert order.price is not None, "only limit orders rest"
            release = self._locks[order.id] - self._lock_of(order, order.price, rest.left)
        self._locks[order.id] -= release
        pnl, position = ZERO, None
        if instrument.perpetual:
            fee = value * (self.fees.perpetual_taker if role == "taker" else self.fees.perpetual_maker)
            pnl, position = self._trade_position(order, price, size, fee, release)
        else:
            received = size if order.side == "buy" else value
            fee = received * (self.fees.taker if role == "taker" else self.fees.maker)
            self._move(self._locked_in(order), ZERO, -release)
            self._move((SPOT, order.fee_asset), received - fee, ZERO)
        status = FILLED if done else PARTIALLY_FILLED
        order = attrs.evolve(rest, fee=order.fee + fee, status=status, updated_us=max(trade.time_us, order.updated_us))
        fill = Fill(
            self._accounts.next_fill_id(),
            trade.id,
            order.id,
            order.client_id,
            instrument,
            order.side,
            role,
            price,
            size,
            value,
            fee,
            order.fee_asset,
            pnl,
            trade.time_us,
        )
        self.fills.append(fill)
        self.orders[order.id] = order
        if done:
            del self._open[order.id]
            lock = self._locks.pop(order.id)
            assert not lock, f"a filled order locks {lock}"
        self._tell(fill)
        self._tell(order)
        if position is not None:
            self._tell(position)
        self._tell_balances()

    def _trade_position(
        self, order: Order, price: Decimal, size: Decimal, fee: Decimal, release: Decimal
    ) -> tuple[Decimal, Position]:
        """Let a fill change the position, and pay for it, *release* being unlocked: profit realized, and what there is now."""
        instrument, leverage = order.instrument, self.leverage(order.instrument)
        held = self._positions.get(instrument)
        if held is None:
            now_us, position_id = self._now_us, self._accounts.next_position_id()
            held = Position(position_id, instrument, ZERO, ZERO, ZERO, leverage, ZERO, ZERO, "", now_us, now_us)
        closed = min(size, self._reducible(instrument, order.side))
        pnl = cost = freed = ZERO
        if closed:
            whole = abs(held.size)
            cost, freed = held.value, held.margin
            if closed < whole:
                cost = (cost * closed / whole).quantize(CENT)
                freed = (freed * closed / whole).quantize(CENT, ROUND_DOWN)
            pnl = _profit(held, instrument.value(price, closed), cost)
            # Not more is lost than the margin; for a reduce only order, which locks nothing, that includes the fee.
            pnl = max(pnl, (fee if order.reduce_only else ZERO) - freed)
        opened = instrument.value(price, size - closed)
        where = self._locked_in(order)
        free = self._purses.get(where, (ZERO, ZERO))[0] + release + freed + pnl - fee
        # Values that are rounded may add up to a little more than that of the whole, for which there was enough.
        margin = min(_margin(opened, leverage), max(ZERO, free))
        self._move(where, release + freed + pnl - fee - margin, margin - freed - release)
        position = attrs.evolve(
            held,
            size=held.size + (size if order.side == "buy" else -size),
            value=held.value - cost + opened,
            margin=held.margin - freed + margin,
            realized_pnl=held.realized_pnl + pnl,
            updated_us=self._now_us,
        )
        if position.size:
            self._positions[instrument] = position
        else:
            del self._positions[instrument]
        return pnl, self._marked(position)

    def _liquidate(self, position: Position) -> None:
        """Close *position* at the market, as far as the book goes; the rest at the next step."""
        instrument = position.instrument
        self._tell(attrs.evolve(position, stage="liquidation", updated_us=self._now_us))
        self.cancel_all(instrument)
        side = "sell" if position.size > 0 else "buy"
        self._start(
            Order(
                self._accounts.next_order_id(),
                instrument,
                side,
                None,
                abs(position.size),
                None,
                self._now_us,
                self._now_us,
                reduce_only=True,
                fee_asset=instrument.settled_in,
                reason="liquidation",
            )
        )


class Accounts:
    """
    The accounts that trade in *markets*. Not thread-safe: the thread that steps the markets uses it.

    After each `Markets.step`, call `after_step` before anything else. Orders of accounts do not meet each other.

    *further* are markets beside them, under the same clock, which whoever made them has stepped before that.
    """

    def __init__(self, markets: Markets, *, seed: object = 0, further: Iterable[Market] = ()) -> None:
        self.markets = markets
        self._accounts: list[Account] = []
        self._by_instrument = {market.instrument: market for market in (*markets.markets, *further)}
        self._seen = {market.instrument: market.trades[-1].id for market in self._by_instrument.values()}  # last one looked at
        rng = random.Random(f"{seed}/accounts")
        self._order_ids = itertools.count(rng.randrange(10**12, 3 * 10**12))
        self._fill_ids = itertools.count(rng.randrange(10**10, 2 * 10**10))
        self._position_ids = itertools.count(rng.randrange(100, 1000))

    def open(
        self, balances: Mapping[str, Decimal], *, margin: Mapping[str, Decimal] | None = None, fees: Fees | None = None
    ) -> Account:
        """
        A new account with these *balances* by asset.

        *margin* is a wallet of its own for perpetuals; None: the one wallet is for both.
        """
        account = Account(self, balances, margin, Fees() if fees is None else fees)
        self._accounts.append(account)
        return account

    def after_step(self) -> None:
        """The markets have moved: fill what rests, trigger stop orders, see to positions."""
        for market in self._by_instrument.values():
            instrument = market.instrument
            trades = market.trades_after(self._seen[instrument])
            self._seen[instrument] = market.trades[-1].id
            for trade in reversed(trades):
                self._meet(instrument, trade)
            for account, order in list(self._orders(instrument)):
                if order.waits:
                    assert order.stop_price is not None, "it waits for it"
                    if market.last >= order.stop_price if order.stop_above else market.last <= order.stop_price:
                        account.trigger(order.id)
        for account in self._accounts:
            for position in account.positions:
                account.watch(position)

    def market(self, instrument: Instrument) -> Market:
        """`Refused` ("instrument") if there is none."""
        try:
            return self._by_instrument[instrument]
        except KeyError:
            raise Refused("instrument", "there is no such market") from None

    def take(self, instrument: Instrument, side: str, levels: list[tuple[Decimal, Decimal]]) -> list[Trade]:
        """For `Account`: take *levels* of the book; these trades fill nobody else's order."""
        trades = self._by_instrument[instrument].take(side, levels)
        self._seen[instrument] = trades[-1].id
        return trades

    def next_order_id(self) -> int:
        return next(self._order_ids)

    def next_fill_id(self) -> int:
        return next(self._fill_ids)

    def next_position_id(self) -> int:
        return next(self._position_ids)

    def _orders(self, instrument: Instrument) -> Iterator[tuple[Account, Order]]:
        for account in self._accounts:
            for order in account.open_orders:
                if order.instrument == instrument:
                    yield account, order

    def _meet(self, instrument: Instrument, trade: Trade) -> None:
        """A public trade fills resting orders at its price or better ones, to its size."""
        met = []
        for account, order in self._orders(instrument):
            if order.waits or order.price is None:
                continue
            # At the very price, only a taker of the other side meets it; beyond, the market has gone through it.
            beyond = trade.price < order.price if order.side == "buy" else trade.price > order.price
            if beyond or (trade.price == order.price and trade.side != order.side):
                met.append((-order.price if order.side == "buy" else order.price, order.id, account))
        left = trade.size
        for _, order_id, account in sorted(met, key=lambda found: found[:2]):
            if not left:
                return
            left -= account.fill(order_id, trade, left)
