"""
The account that the sandbox's Bybit V5 has, in the exchange's words: its orders, what they cause, and what is told of it.

Written from the vendor's documentation (read 2026-11: V5, pages "Websocket Trade Guideline", "Place Order", "Amend Order",
"Cancel Order", "Batch Place Order", "Order", "Execution", "Fast Execution", "Position", "Wallet", "Greek", "Set Disconnect
Cancel All", "Rate Limit Rules" and "Error Codes"), not from our client. Where it does not say what the server does, the choice
made here is one that a client has to survive:

* it is a unified account in one-way mode: one wallet pays for all categories; the leverage is 10, that of options 1, so that
  one that is bought costs its premium and one that is sold locks as much;
* an order that is placed and ends at once is only told as it has ended, and one that changes twice in one deed as it is then;
  only a conditional order's `Triggered` is told by itself;
* what one deed (a request, a batch, a step of the markets) has caused comes in one message for each topic and category, fills
  in one message together or in one each; the order of the messages is shuffled, since none is promised;
* a quantity of a contract is cut to its step, and refused with 110017 if nothing is left; that of a spot order is refused;
* an `orderLinkId` is taken as long as its order is remembered, after its end too;
* prices are refused that are beyond what `priceLimit` tells, above ten times the last price, or below a thousandth of it;
* an order that is post only and would take at once is accepted, and told as `Rejected`;
* amending or cancelling a spot order that was cancelled is 170142, one that was filled 170143, and one that was never there
  170213; contracts have one code for all of these;
* take profit, stop loss, the slippage tolerance, market maker protection, leverage on spot and self match prevention are told
  as they were asked for, and do nothing;
* refusals have the codes of "Error Codes", and words of ours, after what that page says of each, but for two that examples of
  answers have: "Order does not exist." and "position idx not match position mode";
* why an order has ended is told in words of "Enums Definitions"; which of them it is, is our choice, but for `CancelByUser` and
  for what an order gets that is post only;
* each op has its own quota, by category: 10 a second, and 150 orders a second in batches, as the documentation's examples of
  answers have it. The codes 110004, 110012, 110079, 170210 and 170217 never happen by themselves.

While clients watch the account and have not traded yet, it trades by itself, something each second, so that there is something
to see. The first order of a client ends that for good, and takes what it has open off the market.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Callable

import attrs

from exchange_ws.exchanges.bybit.common_sandbox import plain, trade_id, wire_json
from exchange_ws.exchanges.bybit.v5_markets import CATEGORIES, INVERSE, LINEAR, OPTION, SPOT, Listing, V5Markets
from exchange_ws.sandbox.accounts import (
    CANCELLED,
    FILLED,
    KEPT,
    NEW,
    PARTIALLY_FILLED,
    REJECTED,
    Accounts,
    Balance,
    Fees,
    Fill,
    Order,
    Position,
    Refused,
)
from exchange_ws.sandbox.market import Instrument, Market, Markets

__all__ = ["OPS", "TOPICS", "News", "Outcome", "Quota", "V5Account"]

Row = dict[str, Any]

#: Topics of the account, and the categories that each may be had for by itself ["Order", "Execution", "Position" ...].
TOPICS: dict[str, tuple[str, ...]] = {
    "order": CATEGORIES,
    "execution": CATEGORIES,
    "execution.fast": CATEGORIES,
    "position": (LINEAR, INVERSE, OPTION),
    "wallet": (),
    "greeks": (),
}
OPS = ("order.create", "order.amend", "order.cancel", "order.create-batch", "order.amend-batch", "order.cancel-batch")

BATCH_MOST = {SPOT: 10, LINEAR: 20, INVERSE: 20, OPTION: 20}  # "Batch Place Order"
#: Orders of a second, by one op in one category; single ones, and in batches.
QUOTA, BATCH_QUOTA, QUOTA_S = 10, 150, 1.0
OPEN_MOST = 500  # 170810: orders of spot that are open
HIGH, LOW = Decimal(10), Decimal("0.001")  # of a price, times the last one
#: The least value of an order, by the asset that pays; contracts that are inverse have only their step.
LEAST_VALUE = {"USDT": Decimal(5), "USDC": Decimal(5), "DUSDT": Decimal(5), "BTC": Decimal("0.00005")}
NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
MAINTENANCE = Decimal("0.005")  # of a position's value
EXACT = Decimal("0.00000001")  # what is not exact is rounded to
#: Of an order, what may be amended beside its price, quantity and trigger price: it does nothing.
AMENDABLE = (
    "orderIv",
    "takeProfit",
    "stopLoss",
    "tpslMode",
    "tpTriggerBy",
    "slTriggerBy",
    "triggerBy",
    "tpLimitPrice",
    "slLimitPrice",
)

SIDES = {"Buy": "buy", "Sell": "sell"}
WORDS = {"buy": "Buy", "sell": "Sell"}
#: `timeInForce` to what the accounts know: time in force, and post only.
TIMES = {
    "GTC": ("gtc", False),
    "IOC": ("ioc", False),
    "FOK": ("fok", False),
    "PostOnly": ("gtc", True),
    "RPI": ("gtc", True),
}
STATUSES = {
    NEW: "New",
    PARTIALLY_FILLED: "PartiallyFilled",
    FILLED: "Filled",
    CANCELLED: "Cancelled",
    REJECTED: "Rejected",
}
#: Why an order has ended: `cancelType` and `rejectReason`, of those that "Enums Definitions" has: some clients know no others.
ENDS = {
    "asked": ("CancelByUser", "EC_PerCancelRequest"),
    "dcp": ("CancelByDCP", "EC_PerCancelRequest"),
    "reduce only": ("CancelByReduceOnly", "EC_NoError"),
    "post only": ("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
    "ioc": ("UNKNOWN", "EC_NoImmediateQtyToFill"),
    "fok": ("UNKNOWN", "EC_NoEnoughQtyToFill"),
    "liquidity": ("UNKNOWN", "EC_NoImmediateQtyToFill"),
    "balance": ("UNKNOWN", "EC_Others"),
}
#: Why `exchange_ws.sandbox.accounts` refuses what was not refused before: codes and texts, of spot and of contracts.
REFUSALS = {
    "balance": ((170131, "Insufficient balance."), (110007, "ab not enough for new order")),
    "reduce only": (
        (170130, "reduceOnly is not for spot"),
        (110017, "current position is zero, cannot fix reduce-only order qty"),
    ),
    "liquidity": ((170210, "New order rejected."), (110012, "Insufficient available balance.")),
    "price": ((170218, "The LIMIT-MAKER order is rejected due to invalid price."), (110003, "Order price is out of range.")),
    "stop price": (
        (170130, "Data sent for parameter 'triggerPrice' is not valid."),
        (10001, "params error: triggerPrice invalid"),
    ),
}
OTHERWISE = ((170130, "Data sent for parameter is not valid."), (10001, "params error"))
UNKNOWN_ORDER = (110001, "order not exists or too late to cancel")

#: What the wallet has at first, of other assets `OTHER_BALANCE`.
BALANCES = {"USDT": "100000", "USDC": "50000", "BTC": "5", "ETH": "50", "SOL": "500", "XRP": "20000", "DBTC": "1"}
OTHER_BALANCE = "1000"
FEES = Fees(Decimal("0.001"), Decimal("0.001"), Decimal("0.0002"), Decimal("0.00055"))


class Refusal(Exception):
    """The exchange does not do what is asked."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@attrs.frozen
class Quota:
    """How many orders one op may still place, amend or cancel; `reset_ms` from now on until there is room if there is none."""

    most: int
    left: int
    reset_ms: int


@attrs.frozen
class Outcome:
    """What is answered to an op, on whatever way it came."""

    code: int
    text: str
    data: Mapping[str, object]
    details: Sequence[Mapping[str, object]] | None = None  #: of a batch: what became of each order
    quota: Quota | None = None


@attrs.frozen
class News:
    """One message: of *topic*, about one *category* if the topic can be had by category. `data` is its JSON."""

    serial: int
    topic: str
    category: str | None
    id: str
    time_ms: int
    data: str


@attrs.frozen
class _Paper:
    """What the exchange keeps of an order beside what any exchange would; `body` is the request."""

    listing: Listing
    number: str  # orderId
    kind: str  # orderType
    time_in_force: str
    body: Mapping[str, Any]
    last: Decimal  # price when it was placed
    made_by: str = "CreateByUser"


def _ms(time_us: int) -> str:
    return str(time_us // 1000)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class V5Account:
    """
    The account of the sandbox's key. Server thread only.

    *markets* are the clock, *feeds* all that can be traded, which has made its step before `step` is called.
    """

    def __init__(self, markets: Markets, feeds: V5Markets, seed: int) -> None:
        self.watched = False  # somebody was told something after the last step
        #: Monotonic seconds, for the quotas.
        self.clock: Callable[[], float] = time.monotonic
        #: Tell each `Filled` twice, as was seen.
        self.repeats = False
        self.serial = 0  # of the last news
        self._feeds = feeds
        self._seed = seed
        listings = [listing for found in feeds.listings.values() for listing in found.values()]
        self._listings = {listing.market.instrument: listing for listing in listings}
        further = [listing.market for listing in listings if listing.market not in markets.markets]
        self._accounts = Accounts(markets, seed=f"{seed}/v5", further=further)
        paid = {listing.settle for listing in listings} | {listing.base for listing in listings if listing.category == SPOT}
        balances = {asset: Decimal(BALANCES.get(asset, OTHER_BALANCE)) for asset in sorted(paid)}
        self._account = self._accounts.open(balances, fees=FEES)
        for listing in feeds.listings[OPTION].values():
            self._account.set_leverage(listing.market.instrument, 1)
        self._rng = random.Random(f"{seed}/v5/account")
        self.uid = self._rng.randrange(10**8, 10**9)
        self._news: deque[News] = deque(maxlen=KEPT)
        self._papers: dict[int, _Paper] = {}
        self._numbers: dict[str, int] = {}  # orderId to id
        self._links: dict[str, int] = {}  # orderLinkId to id
        self._triggered: set[int] = set()  # conditional orders whose Triggered was told
        self._closed_pnl: dict[int, Decimal] = {}  # by order
        self._fills: deque[tuple[str, Row]] = deque(maxlen=KEPT)  # category and row, oldest first
        self._sizes: dict[Instrument, Decimal] = {}  # of positions, as they were told last
        self._profits: dict[Instrument, tuple[Decimal, Decimal]] = {}  # of the position that there is, and of all
        self._seqs: dict[Instrument, int] = {}  # of the last fill
        self._coin_profits: dict[str, Decimal] = {}
        self._ends: dict[int, str] = {}  # reasons beside those that the accounts know
        self._moved: set[Instrument] = set()  # what the present deed is about, whatever it changes
        self._amended: dict[int, None] = {}  # orders that the present deed has amended, whatever it changes
        self._liquidated: set[Instrument] = set()  # in the present deed
        self._counts: dict[tuple[str, str], deque[float]] = {}  # times by op and category
        self._second = feeds.now_us // 1_000_000
        self._traded = False  # a client has
        scenes = (self._buy, self._place, self._long, self._move, self._sell, self._take_back, self._flat, self._contracts)
        self._script = itertools.cycle(scenes)
        self._own: int | None = None  # the script's open order

    # What happens

    def step(self) -> None:
        """The markets have made a step."""
        self._accounts.after_step()
        second = self._feeds.now_us // 1_000_000
        if second != self._second and self.watched and not self._traded:
            with contextlib.suppress(Refused, Refusal):  # what the markets do not allow just now is left out
                next(self._script)()
        self._second = second
        self.watched = False
        self._gather()

    def news_after(self, serial: int) -> list[News]:
        """Oldest first."""
        return list(itertools.takewhile(lambda news: news.serial > serial, reversed(self._news)))[::-1]

    def cancel_all(self, categories: Iterable[str]) -> None:
        """Nobody guards them any more ["Set Disconnect Cancel All"]."""
        for order in self._account.open_orders:
            if self._listings[order.instrument].category in categories:
                self._ends[order.id] = "dcp"
                self._account.cancel(order.id)
        self._gather()

    def do(self, op: str, body: Any, *, limited: bool) -> Outcome:
        """One of `OPS` with its argument; *limited*: by the quota."""
        verb, _, batch = op.partition("-")
        category = body.get("category") if isinstance(body, dict) else None
        if not isinstance(category, str) or category not in CATEGORIES:
            return Outcome(10404, "", {})
        items = body.get("request") if batch else [body]
        if not isinstance(items, list) or not 1 <= len(items) <= (BATCH_MOST[category] if batch else 1):
            return Outcome(10001, f"params error: request takes 1 to {BATCH_MOST[category]} orders", {})
        if not all(isinstance(item, dict) for item in items):
            return Outcome(10001, "params error: request invalid", {})
        quota, refused = self._count(op, category, len(items))
        if refused and limited:
            return Outcome(10006, "Too many visits. Exceeded the API Rate Limit.", {}, None, quota)
        self._take_over()
        rows, details = [], []
        try:
            for item in items:
                try:
                    rows.append(self._deed(verb, category, item))
                    details.append({"code": 0, "msg": "OK"})
                except Refusal as refusal:
                    if not batch:
                        return Outcome(refusal.code, refusal.text, {}, None, quota)
                    rows.append(self._failed(verb, category, item))
                    details.append({"code": refusal.code, "msg": refusal.text})
        finally:
            self._gather()
        if batch:
            return Outcome(0, "OK", {"list": rows}, details, quota)
        return Outcome(0, "OK", {name: rows[0][name] for name in ("orderId", "orderLinkId")}, None, quota)

    def _count(self, op: str, category: str, number: int) -> tuple[Quota, bool]:
        """Count orders against the quota of *op*, unless they are too many: what is left of it, and whether they are."""
        most, now = BATCH_QUOTA if op.endswith("-batch") else QUOTA, self.clock()
        times = self._counts.setdefault((op, category), deque())
        while times and times[0] <= now - QUOTA_S:
            times.popleft()
        if len(times) + number > most:
            return Quota(most, 0, int((times[0] + QUOTA_S - now) * 1000) + 1), True
        times.extend([now] * number)
        return Quota(most, most - len(times), 0), False

    def _take_over(self) -> None:
        """A client trades: what the account did by itself is over."""
        if not self._traded:
            self._traded = True
            self._take_back()
            self._gather()

    # Orders, as clients ask for them

    def _deed(self, verb: str, category: str, item: Mapping[str, Any]) -> Row:
        deeds = {"order.create": self._create, "order.amend": self._amend, "order.cancel": self._cancel}
        try:
            order = deeds[verb](category, item)
        except Refused as refused:
            raise Refusal(*REFUSALS.get(refused.reason, OTHERWISE)[category != SPOT]) from None
        paper = self._papers[order.id]
        row = {"category": category, "symbol": paper.listing.symbol, "orderId": paper.number, "orderLinkId": order.client_id}
        if verb == "order.create":
            row["createAt"] = _ms(order.created_us)
        return row

    def _failed(self, verb: str, category: str, item: Mapping[str, Any]) -> Row:
        """Of a batch: what is told of an order that was refused."""
        told = {name: item[name] if isinstance(item.get(name), str) else "" for name in ("symbol", "orderLinkId")}
        row = {"category": category, "symbol": told["symbol"], "orderId": "", "orderLinkId": told["orderLinkId"]}
        return {**row, "createAt": ""} if verb == "order.create" else row

    def _bad(self, category: str, name: str) -> Refusal:
        if category == SPOT:
            return Refusal(170130, f"Data sent for parameter '{name}' is not valid.")
        return Refusal(10001, f"params error: {name} invalid")

    def _word(self, category: str, item: Mapping[str, Any], name: str, words: Iterable[str], otherwise: str = "") -> str:
        word = item.get(name, otherwise) or otherwise
        if not isinstance(word, str) or word not in words:
            raise self._bad(category, name)
        return word

    def _flag(self, category: str, item: Mapping[str, Any], name: str) -> bool:
        flag = item.get(name, False)
        if not isinstance(flag, bool):
            raise self._bad(category, name)
        return flag

    def _number(self, category: str, item: Mapping[str, Any], name: str) -> Decimal | None:
        """A number above 0, which the wire has as text; None if there is none."""
        text = item.get(name)
        if text is None or text == "":
            return None
        if not isinstance(text, str) or not NUMBER.fullmatch(text) or not Decimal(text):
            raise self._bad(category, name)
        return Decimal(text)

    def _listing(self, category: str, item: Mapping[str, Any]) -> Listing:
        symbol = item.get("symbol")
        if not isinstance(symbol, str) or symbol not in self._feeds.listings[category]:
            raise Refusal(170121, "Invalid symbol.") if category == SPOT else self._bad(category, "symbol")
        return self._feeds.listings[category][symbol]

    def _price(self, listing: Listing, side: str, price: Decimal) -> Decimal:
        """*price* if an order of that side may have it."""
        category, market = listing.category, listing.market
        spot, last, limits = category == SPOT, market.last, self._feeds.price_limit(listing)
        buy, sell = Decimal(limits["buyLmt"]), Decimal(limits["sellLmt"])
        if price % market.instrument.tick:
            raise Refusal(170134, "Order price has too many decimals.") if spot else self._bad(category, "price")
        if price > HIGH * last:
            raise Refusal(170132, "Order price too high.") if spot else Refusal(110003, "Order price is out of range.")
        if price < LOW * last:
            raise (
                Refusal(170133, "Order price lower than the minimum.")
                if spot
                else Refusal(110003, "Order price is out of range.")
            )
        if side == "buy" and price > buy:
            text = f"Buy order price cannot be higher than {plain(buy)}."
            raise Refusal(170193, text) if spot else Refusal(110003, "Order price is out of range.")
        if side == "sell" and price < sell:
            text = f"Sell order price cannot be lower than {plain(sell)}."
            raise Refusal(170194, text) if spot else Refusal(110003, "Order price is out of range.")
        return price

    def _size(self, listing: Listing, size: Decimal) -> Decimal:
        """*size* if an order may have it; of a contract what is left when it is cut to a multiple of its step."""
        lot = listing.market.instrument.lot
        if listing.category != SPOT:
            size -= size % lot
            if not size:
                raise Refusal(110017, "orderQty will be truncated to zero.")
        elif size < lot:
            raise Refusal(170136, "Order quantity lower than the minimum.")
        elif size % lot:
            raise Refusal(170137, "Order quantity has too many decimals.")
        return size

    def _worth(self, listing: Listing, price: Decimal | None, size: Decimal | None, funds: Decimal | None) -> None:
        """See that an order is worth enough."""
        least = LEAST_VALUE.get(listing.settle)
        if least is None or listing.category in (INVERSE, OPTION):
            return
        value = funds if size is None else (listing.market.last if price is None else price) * size
        assert value is not None, "an order has a size or funds"
        if value < least:
            if listing.category == SPOT:
                raise Refusal(170140, "Order value exceeded lower limit.")
            raise Refusal(110094, f"Order does not meet minimum order value {least}{listing.settle}")

    def _link(self, category: str, item: Mapping[str, Any]) -> str:
        link = item.get("orderLinkId", "")
        if not isinstance(link, str) or (link and not LINK_ID.fullmatch(link)) or (category == OPTION and not link):
            raise self._bad(category, "orderLinkId")
        if link in self._links:
            if category == SPOT:
                raise Refusal(170141, "Duplicate clientOrderId.")
            raise Refusal(110072, "OrderLinkedID is duplicate")
        return link

    def _create(self, category: str, item: Mapping[str, Any]) -> Order:
        listing = self._listing(category, item)
        market = listing.market
        side = SIDES[self._word(category, item, "side", SIDES)]
        kind = self._word(category, item, "orderType", ("Limit", "Market"))
        time_in_force = "IOC" if kind == "Market" else self._word(category, item, "timeInForce", TIMES, "GTC")
        index = item.get("positionIdx", 0)
        if not _is_whole(index) or index:
            raise Refusal(10001, "position idx not match position mode")
        reduce_only = self._flag(category, item, "reduceOnly") or self._flag(category, item, "closeOnTrigger")
        amount = self._number(category, item, "qty")
        if amount is None:
            raise self._bad(category, "qty")
        # Bought at the market, a spot quantity is what to spend, unless the order says otherwise.
        usual = "quoteCoin" if side == "buy" else "baseCoin"
        by_funds = (
            category == SPOT
            and kind == "Market"
            and self._word(category, item, "marketUnit", ("baseCoin", "quoteCoin"), usual) == "quoteCoin"
        )
        size, funds = (None, amount) if by_funds else (self._size(listing, amount), None)
        price = self._limit(listing, item, side) if kind == "Limit" else None
        stop_price = self._trigger(category, item, market)
        if stop_price is None:
            self._worth(listing, price, size, funds)
        link = self._link(category, item)
        open_spot = sum(self._listings[order.instrument].category == SPOT for order in self._account.open_orders)
        if category == SPOT and open_spot >= OPEN_MOST:
            raise Refusal(170810, "Cannot exceed maximum of 500 conditional, TP/SL and active orders.")
        times = TIMES[time_in_force]
        order = self._account.place(
            market.instrument,
            side,
            size=size,
            funds=funds,
            price=price,
            stop_price=stop_price,
            time_in_force="gtc" if kind == "Market" else times[0],
            post_only=times[1],
            reduce_only=reduce_only and category != SPOT,
            client_id=link,
        )
        self._keep(order, kind, time_in_force, item, "CreateByUser")
        return order

    def _limit(self, listing: Listing, item: Mapping[str, Any], side: str) -> Decimal:
        """The price of a limit order: its own, or that of a level of the book."""
        category = listing.category
        if item.get("bboSideType"):
            word = self._word(category, item, "bboSideType", ("Queue", "Counterparty"))
            level = int(self._word(category, item, "bboLevel", ("1", "2", "3", "4", "5"), "1"))
            bids, asks = listing.market.book(level)
            return list(bids if (side == "buy") == (word == "Queue") else asks)[-1]
        price = self._number(category, item, "price")
        if price is None:
            raise self._bad(category, "price")
        return self._price(listing, side, price)

    def _trigger(self, category: str, item: Mapping[str, Any], market: Market) -> Decimal | None:
        """The price at which a conditional order begins; None for any other order."""
        price = self._number(category, item, "triggerPrice")
        if category == SPOT:
            kind = self._word(category, item, "orderFilter", ("Order", "tpslOrder", "StopOrder"), "Order")
            if kind == "Order":
                return None
            if price is None:
                raise self._bad(category, "triggerPrice")
            return price
        if price is None:
            return None
        direction = item.get("triggerDirection")
        if not _is_whole(direction) or direction not in (1, 2) or category == OPTION:
            raise self._bad(category, "triggerDirection")
        if direction == 1 and price <= market.last:
            raise Refusal(110092, f"expect Rising, but trigger_price[{plain(price)}] <= current[{plain(market.last)}]")
        if direction == 2 and price >= market.last:
            raise Refusal(110093, f"expect Falling, but trigger_price[{plain(price)}] >= current[{plain(market.last)}]")
        return price

    def _find(self, category: str, item: Mapping[str, Any]) -> Order:
        """The open order that is meant."""
        instrument = self._listing(category, item).market.instrument
        number, link = item.get("orderId"), item.get("orderLinkId")
        if not isinstance(number or "", str) or not isinstance(link or "", str) or not (number or link):
            raise self._bad(category, "orderId or orderLinkId")
        found = self._numbers.get(number) if number else self._links.get(str(link))
        order = None if found is None else self._account.orders.get(found)
        if order is not None and order.instrument == instrument and order.is_open:
            return order
        if category != SPOT:
            raise Refusal(*UNKNOWN_ORDER)
        if order is None or order.instrument != instrument:
            raise Refusal(170213, "Order does not exist.")
        if order.status == FILLED:
            raise Refusal(170143, "Cannot be found on order book.")
        raise Refusal(170142, "Order has been canceled.")

    def _amend(self, category: str, item: Mapping[str, Any]) -> Order:
        order = self._find(category, item)
        paper = self._papers[order.id]
        price, size = self._number(category, item, "price"), self._number(category, item, "qty")
        stop_price = self._number(category, item, "triggerPrice")
        if price is not None:
            price = self._price(paper.listing, order.side, price)
        if size is not None:
            size = self._size(paper.listing, size)
        changed = (price, size, stop_price) != (None, None, None)
        told = {name: item[name] for name in AMENDABLE if isinstance(item.get(name), str)}
        if not changed and not told:
            raise Refusal(10001, "The order remains unchanged as the parameters entered match the existing ones.")
        if changed:
            if order.funds is None and not order.waits:
                self._worth(paper.listing, price or order.price, size or order.size, None)
            order = self._account.modify(order.id, price=price, size=size, stop_price=stop_price)
        self._papers[order.id] = attrs.evolve(paper, body={**paper.body, **told})
        self._amended[order.id] = None
        self._moved.add(order.instrument)
        return order

    def _cancel(self, category: str, item: Mapping[str, Any]) -> Order:
        order = self._account.cancel(self._find(category, item).id)
        self._moved.add(order.instrument)
        return order

    def _keep(self, order: Order, kind: str, time_in_force: str, body: Mapping[str, Any], made_by: str) -> None:
        """Remember what the accounts do not know of a new order."""
        if len(self._papers) > 2 * KEPT:
            self._forget()
        listing = self._listings[order.instrument]
        if listing.category == SPOT:
            number = str(1_666_800_000_000_000_000 + order.id)
        else:
            digest = hashlib.sha256(f"{self._seed}/order/{order.id}".encode()).digest()
            number = str(uuid.UUID(bytes=digest[:16], version=4))
        last = listing.market.last
        self._papers[order.id] = _Paper(listing, number, kind, time_in_force, body, last, made_by)
        self._numbers[number] = order.id
        if order.client_id:
            self._links[order.client_id] = order.id
        self._moved.add(order.instrument)

    def _forget(self) -> None:
        """Orders that the account remembers no longer."""
        kept = self._account.orders
        self._papers = {number: paper for number, paper in self._papers.items() if number in kept}
        self._numbers = {text: number for text, number in self._numbers.items() if number in kept}
        self._links = {text: number for text, number in self._links.items() if number in kept}
        self._closed_pnl = {number: pnl for number, pnl in self._closed_pnl.items() if number in kept}
        self._triggered &= kept.keys()
        self._ends = {number: reason for number, reason in self._ends.items() if number in kept}

    def _paper(self, order: Order) -> _Paper:
        if order.id not in self._papers:  # nobody has asked for it
            self._keep(order, "Market", "IOC", {}, "CreateByLiq")
        return self._papers[order.id]

    # What it does by itself

    def _first(self, category: str) -> Listing:
        return next(iter(self._feeds.listings[category].values()))

    def _scene(self, category: str, **body: object) -> Order:
        """Place an order in the first market of *category*."""
        return self._create(category, {"symbol": self._first(category).symbol, **body})

    def _amount(self, category: str) -> str:
        """A quantity that is small for the market."""
        what = self._first(category).market.instrument
        return plain(what.lot * self._rng.randrange(5, 15) * max(1, what.size // 50))

    def _place(self) -> None:
        """A limit order on spot, far enough to rest for some seconds."""
        if self._own is None:
            market = self._first(SPOT).market
            price = plain(market.top.bid - 20 * market.instrument.tick)
            self._own = self._scene(SPOT, side="Buy", orderType="Limit", qty=self._amount(SPOT), price=price).id

    def _move(self) -> None:
        """To the best price, so that the market may fill it."""
        order = None if self._own is None else self._account.orders[self._own]
        if order is not None and order.is_open:
            paper = self._papers[order.id]
            price = plain(paper.listing.market.top.bid)
            self._amend(SPOT, {"symbol": paper.listing.symbol, "orderId": paper.number, "price": price})

    def _take_back(self) -> None:
        for order in self._account.open_orders:
            self._account.cancel(order.id)
            self._moved.add(order.instrument)
        self._own = None

    def _buy(self) -> None:
        self._scene(SPOT, side="Buy", orderType="Market", qty=str(self._rng.randrange(50, 500)))

    def _sell(self) -> None:
        self._scene(SPOT, side="Sell", orderType="Market", qty=self._amount(SPOT))

    def _long(self) -> None:
        self._scene(LINEAR, side="Buy", orderType="Market", qty=self._amount(LINEAR))

    def _flat(self) -> None:
        """Close the position of `_long` at the best price, when the market fills it."""
        market = self._first(LINEAR).market
        for position in self._account.positions:
            if position.instrument == market.instrument and position.size > 0:
                body = {"qty": plain(position.size), "price": plain(market.top.ask), "reduceOnly": True}
                self._scene(LINEAR, side="Sell", orderType="Limit", **body)

    def _contracts(self) -> None:
        """Something in the other categories, one way or the other."""
        side = self._rng.choice(tuple(SIDES))
        for category in (INVERSE, OPTION):
            link = f"own-{self._rng.getrandbits(64):x}"
            self._scene(category, side=side, orderType="Market", qty=self._amount(category), orderLinkId=link)

    # What is told

    def _gather(self) -> None:
        """Make news of what has happened since the last time: of one deed."""
        events = self._account.take_events()
        moved, self._moved = self._moved, set()
        rows: dict[tuple[str, str | None], list[Row]] = {}

        def tell(topic: str, category: str | None, row: Row) -> None:
            rows.setdefault((topic, category), []).append(row)

        last = {event.id: event for event in events if isinstance(event, Order)}
        coins: dict[str, None] = {}
        traded: set[Instrument] = set()  # whose positions have changed
        for event, after in itertools.zip_longest(events, events[1:]):
            if isinstance(event, Balance):
                coins[event.asset] = None
            elif isinstance(event, Fill):
                assert isinstance(after, Order), "a fill is told before its order"
                category = self._paper(after).listing.category
                row = self._execution(event, after)
                self._fills.append((category, row))
                tell("execution", category, row)
                tell("execution.fast", category, self._fast(event, row))
            elif isinstance(event, Position):
                if event.stage == "liquidation":
                    self._liquidated.add(event.instrument)
                moved.add(event.instrument)
                traded.add(event.instrument)
            else:
                category = self._paper(event).listing.category
                if event.stop_price is not None and event.triggered and event.id not in self._triggered:
                    self._triggered.add(event.id)
                    tell("order", category, self._order(event, "Triggered"))
                if event is last[event.id]:
                    tell("order", category, self._order(event))
                    moved.add(event.instrument)
        for listing in sorted((self._listings[instrument] for instrument in moved), key=lambda found: found.symbol):
            if listing.category != SPOT:
                tell("position", listing.category, self._position(listing))
        self._liquidated.clear()
        for number in self._amended.keys() - last.keys():
            order = self._account.orders[number]
            tell("order", self._paper(order).listing.category, self._order(order))
        self._amended.clear()
        for base in sorted({what.base for what in map(self._listings.__getitem__, traded) if what.category == OPTION}):
            tell("greeks", None, self._greek(base))
        if coins:
            tell("wallet", None, self.wallet(coins))
        messages = [(topic, where, part) for (topic, where), found in rows.items() for part in self._parts(topic, found)]
        self._rng.shuffle(messages)
        for topic, where, part in messages:
            self._tell(topic, where, part)
            if self.repeats and topic == "order" and any(row["orderStatus"] == "Filled" for row in part):
                self._tell(topic, where, part)

    def _parts(self, topic: str, rows: list[Row]) -> list[list[Row]]:
        """Messages that *rows* are told in."""
        return [rows] if topic not in ("execution", "execution.fast") or self._rng.random() < 0.5 else [[row] for row in rows]

    def _tell(self, topic: str, category: str | None, rows: list[Row]) -> None:
        self.serial += 1
        if topic == "execution":
            number = f"{self.uid}_{rows[0]['symbol']}_{rows[0]['seq']}"
        else:
            number = f"{self.uid}{self._rng.getrandbits(40):010x}"
        now_ms = self._feeds.now_us // 1000
        self._news.append(News(self.serial, topic, category, number, now_ms, wire_json(rows)))

    def _status(self, order: Order) -> str:
        if order.waits and order.is_open:
            return "Untriggered"
        spot = self._paper(order).listing.category == SPOT
        if order.waits and order.status == CANCELLED:
            return "Cancelled" if spot else "Deactivated"
        ended_short = order.status == CANCELLED or (
            order.status == FILLED and order.funds is not None and order.value < order.funds
        )
        # What is left of a quote amount, less than a step is worth, is given back.
        if spot and order.filled and ended_short:
            return "PartiallyFilledCanceled"
        return STATUSES[order.status]

    def _order(self, order: Order, status: str | None = None) -> Row:
        """As it is told ["Order"]."""
        paper = self._paper(order)
        listing, body = paper.listing, paper.body
        spot = listing.category == SPOT
        status = self._status(order) if status is None else status
        reason = self._ends.get(order.id, order.reason)
        ended, rejected = ENDS.get(reason, ("UNKNOWN", "EC_NoError")) if not order.is_open else ("UNKNOWN", "EC_NoError")
        left = order.left if order.is_open else Decimal(0)
        if order.funds is not None:
            amount, left_value = plain(order.funds), order.funds - order.value if order.is_open else Decimal(0)
        else:
            assert order.size is not None, "it has no funds"
            price = listing.market.last if order.price is None else order.price
            amount, left_value = listing.size(order.size), listing.market.instrument.value(price, left)
        fees = {order.fee_asset: plain(order.fee)} if order.fee else {}

        def asked(name: str, otherwise: str = "") -> str:
            value = body.get(name)
            return value if isinstance(value, str) else otherwise

        waits = order.stop_price is not None
        row: Row = {
            "category": listing.category,
            "symbol": listing.symbol,
            "orderId": paper.number,
            "orderLinkId": order.client_id,
            "parentOrderLinkId": "",
            "blockTradeId": "",
            "side": WORDS[order.side],
            "positionIdx": 0,
            "orderStatus": status,
            "cancelType": ended,
            "rejectReason": rejected,
            "timeInForce": paper.time_in_force,
            "isLeverage": str(body.get("isLeverage", 0)) if spot else "",
            "price": "0" if order.price is None or paper.kind == "Market" else listing.price(order.price),
            "brokerOrderPrice": "",
            "qty": amount,
            "avgPrice": self._average(order),
            "leavesQty": listing.size(left),
            "leavesValue": plain(left_value.quantize(EXACT)),
            "cumExecQty": listing.size(order.filled),
            "cumExecValue": plain(order.value),
            "cumExecFee": plain(order.fee),
            "cumFeeDetail": fees,
            "closedPnl": plain(self._closed_pnl.get(order.id, Decimal(0))),
            "feeCurrency": order.fee_asset if spot else "",
            "orderType": paper.kind,
            "stopOrderType": ("tpslOrder" if asked("orderFilter") == "tpslOrder" else "Stop") if waits else "",
            "orderIv": asked("orderIv"),
            "marketUnit": asked("marketUnit"),
            "triggerPrice": "" if order.stop_price is None else listing.price(order.stop_price),
            "takeProfit": asked("takeProfit"),
            "stopLoss": asked("stopLoss"),
            "tpslMode": asked("tpslMode"),
            "tpLimitPrice": asked("tpLimitPrice"),
            "slLimitPrice": asked("slLimitPrice"),
            "tpTriggerBy": asked("tpTriggerBy"),
            "slTriggerBy": asked("slTriggerBy"),
            "triggerDirection": 0 if spot or not waits else 1 if order.stop_above else 2,
            "triggerBy": asked("triggerBy", "LastPrice" if waits else ""),
            "lastPriceOnCreated": listing.price(paper.last),
            "reduceOnly": order.reduce_only,
            "closeOnTrigger": body.get("closeOnTrigger") is True,
            "placeType": "price" if listing.category == OPTION else "",
            "smpType": asked("smpType", "None"),
            "smpGroup": 0,
            "smpOrderId": "",
            "ocoTriggerBy": "",
            "slippageToleranceType": asked("slippageToleranceType", "UNKNOWN"),
            "slippageTolerance": asked("slippageTolerance"),
            "rpiTakerAccess": body.get("rpiTakerAccess") is True,
            "rpiMatchedQty": "0",
            "createdTime": _ms(order.created_us),
            "updatedTime": _ms(order.updated_us),
        }
        if listing.category not in (SPOT, OPTION):
            row["createType"] = paper.made_by
        if spot:
            del row["tpslMode"]  # a client that is in wide use takes an order that has it for a contract's
        return row

    def _average(self, order: Order) -> str:
        """Of the prices that it was filled at."""
        if not order.filled:
            return ""
        inverse = order.instrument.inverse
        return plain((order.filled / order.value if inverse else order.value / order.filled).quantize(EXACT))

    def _execution(self, fill: Fill, order: Order) -> Row:
        """A fill as it is told ["Execution"]; *order* is as it was after it."""
        paper = self._paper(order)
        listing, spot = paper.listing, paper.listing.category == SPOT
        held = self._sizes.get(fill.instrument, Decimal(0))
        signed = fill.size if fill.side == "buy" else -fill.size
        closed = min(fill.size, abs(held)) if held * signed < 0 else Decimal(0)
        if not spot:
            self._sizes[fill.instrument] = held + signed
            self._closed_pnl[order.id] = self._closed_pnl.get(order.id, Decimal(0)) + fill.pnl
            made = fill.pnl - fill.fee
            # A position that begins has made nothing yet.
            present, total = self._profits.get(fill.instrument, (Decimal(0), Decimal(0)))
            self._profits[fill.instrument] = (made + (present if held else 0), made + total)
            self._coin_profits[listing.settle] = self._coin_profits.get(listing.settle, Decimal(0)) + made
            self._seqs[fill.instrument] = listing.seq
        digest = hashlib.sha256(f"{self._seed}/fill/{fill.id}".encode()).digest()
        rate = FEES.taker if spot else FEES.perpetual_taker
        if fill.role == "maker":
            rate = FEES.maker if spot else FEES.perpetual_maker
        option = listing.category == OPTION
        said = self._feeds.ticker(listing.category, listing.symbol) if not spot else {}
        row: Row = {
            "category": listing.category,
            "symbol": listing.symbol,
            "closedSize": "" if spot else listing.size(closed),
            "execFee": plain(fill.fee),
            "execId": trade_id(fill.id) if spot else str(uuid.UUID(bytes=digest[:16], version=4)),
            "execPrice": listing.price(fill.price),
            "execQty": listing.size(fill.size),
            "execType": "Trade",
            "execValue": plain(fill.value),
            "feeRate": plain(rate),
            "tradeIv": said.get("markPriceIv", ""),
            "markIv": said.get("markPriceIv", ""),
            "blockTradeId": "",
            "markPrice": said.get("markPrice", ""),
            "indexPrice": said.get("indexPrice", "") if option else "",
            "underlyingPrice": said.get("underlyingPrice", ""),
            "leavesQty": listing.size(order.left),
            "orderId": paper.number,
            "orderLinkId": order.client_id,
            "orderPrice": "0" if order.price is None else listing.price(order.price),
            "orderQty": plain(order.funds or Decimal(0)) if order.size is None else listing.size(order.size),
            "orderType": paper.kind,
            "stopOrderType": "UNKNOWN" if order.stop_price is None else "Stop",
            "side": WORDS[fill.side],
            "execTime": _ms(fill.time_us),
            "isLeverage": str(paper.body.get("isLeverage", 0)) if spot else "0",
            "isMaker": fill.role == "maker",
            "seq": listing.seq,
            "marketUnit": "" if not spot else "quoteCoin" if order.size is None else "baseCoin",
            "execPnl": plain(fill.pnl),
            "extraFees": "",
            "feeCurrency": fill.fee_asset,
        }
        if not spot and not option:
            row["createType"] = paper.made_by
        return row

    def _fast(self, fill: Fill, row: Row) -> Row:
        """The same in short ["Fast Execution"]."""
        names = ("category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side")
        fast = {name: row[name] for name in (*names, "execTime", "seq")}
        return {**fast, "orderLinkId": ""} if fill.role == "maker" else fast

    def _position(self, listing: Listing) -> Row:
        """As it is told ["Position"]; one of size 0 too."""
        instrument = listing.market.instrument
        held = next((found for found in self._account.positions if found.instrument == instrument), None)
        size = Decimal(0) if held is None else held.size
        value = Decimal(0) if held is None else held.value
        margin = Decimal(0) if held is None else held.margin
        maintenance = (value * MAINTENANCE).quantize(EXACT)
        present, total = self._profits.get(instrument, (Decimal(0), Decimal(0)))
        entry = "0" if held is None else plain(held.entry_price)
        begun_us = 0 if held is None else held.created_us
        row: Row = {
            "positionIdx": 0,
            "tradeMode": 0,
            "riskId": 1,
            "riskLimitValue": "2000000",
            "category": listing.category,
            "symbol": listing.symbol,
            "side": "" if not size else "Buy" if size > 0 else "Sell",
            "size": listing.size(abs(size)),
            "entryPrice": entry,
            "sessionAvgPrice": "",
            "leverage": str(self._account.leverage(instrument)),
            "breakEvenPrice": entry,
            "positionValue": plain(value),
            "positionBalance": plain(margin),
            "markPrice": self._feeds.ticker(listing.category, listing.symbol)["markPrice"],
            "positionIM": plain(margin),
            "positionIMByMp": plain(margin),
            "positionMM": plain(maintenance),
            "positionMMByMp": plain(maintenance),
            "takeProfit": "",
            "stopLoss": "",
            "trailingStop": "0",
            "unrealisedPnl": "0" if held is None else plain(held.unrealized_pnl.quantize(EXACT)),
            "curRealisedPnl": plain(present.quantize(EXACT)),
            "cumRealisedPnl": plain(total.quantize(EXACT)),
            "createdTime": _ms(begun_us),
            "updatedTime": _ms(self._feeds.now_us if held is None else held.updated_us),
            "openTime": begun_us // 1_000_000,
            "tpslMode": "Full",
            "liqPrice": "" if held is None or not held.liquidation_price else plain(held.liquidation_price),
            "bustPrice": "",
            "positionStatus": "Liq" if instrument in self._liquidated else "Normal",
            "adlRankIndicator": 2 if size else 0,
            "autoAddMargin": 0,
            "leverageSysUpdatedTime": "",
            "mmrSysUpdatedTime": "",
            "seq": self._seqs.get(instrument, -1),
            "isReduceOnly": False,
        }
        if listing.category == OPTION:
            row.update({name: plain((greek * size).quantize(EXACT)) for name, greek in self._feeds.greeks(listing).items()})
        return row

    def _greek(self, base: str) -> Row:
        """Of all options of one coin ["Greek"]."""
        totals = {"totalDelta": Decimal(0), "totalGamma": Decimal(0), "totalVega": Decimal(0), "totalTheta": Decimal(0)}
        for position in self._account.positions:
            listing = self._listings[position.instrument]
            if listing.category == OPTION and listing.base == base:
                greeks = self._feeds.greeks(listing)
                for name in totals:
                    totals[name] += greeks[name[len("total") :].lower()] * position.size
        return {"baseCoin": base, **{name: plain(total.quantize(EXACT)) for name, total in totals.items()}}

    # What can be asked for, the newest first

    def orders(self, category: str) -> list[Row]:
        """Open ones, and finished ones that are remembered."""
        found = [order for order in self._account.orders.values() if self._listings[order.instrument].category == category]
        return [self._order(order) for order in reversed(found)]

    def executions(self, category: str) -> list[Row]:
        return [row for where, row in reversed(self._fills) if where == category]

    def positions(self, category: str, symbol: str | None) -> list[Row]:
        """Those of some size; with *symbol* that one, of whatever size."""
        if symbol is not None:
            return [self._position(self._feeds.listings[category][symbol])]
        held = [self._listings[position.instrument] for position in reversed(self._account.positions)]
        return [self._position(listing) for listing in held if listing.category == category]

    def wallet(self, coins: Iterable[str] | None = None) -> Row:
        """Totals, which are in dollars, and *coins*, or all that there are ["Wallet"]."""
        rows = {coin: self._coin(coin) for coin in self._account.balances()}
        sums = {
            name: sum((Decimal(row[of]) * self._dollars(coin) for coin, row in rows.items()), Decimal(0))
            for name, of in (
                ("totalEquity", "equity"),
                ("totalWalletBalance", "walletBalance"),
                ("totalPerpUPL", "unrealisedPnl"),
                ("orders", "totalOrderIM"),
                ("positions", "totalPositionIM"),
                ("totalMaintenanceMargin", "totalPositionMM"),
                ("locked", "locked"),
            )
        }
        initial, whole = sums.pop("orders") + sums.pop("positions"), sums["totalWalletBalance"] + sums["totalPerpUPL"]
        free = whole - initial - sums.pop("locked")
        maintenance = sums["totalMaintenanceMargin"]
        sums.update(totalMarginBalance=whole, totalAvailableBalance=free, totalInitialMargin=initial)
        sums.update(totalInitialMarginByMp=initial, totalMaintenanceMarginByMp=maintenance)
        rates = {"accountIMRate": initial / whole, "accountMMRate": maintenance / whole} if whole else {}
        told: Row = {"accountType": "UNIFIED", "accountLTV": "0"}
        for name in ("accountIMRate", "accountMMRate"):
            told[name] = told[f"{name}ByMp"] = plain(rates.get(name, Decimal(0)).quantize(Decimal("0.0001")))
        told.update({name: plain(total.quantize(EXACT)) for name, total in sums.items()})
        wanted = rows if coins is None else coins
        return {**told, "coin": [row for coin, row in rows.items() if coin in wanted]}

    def _coin(self, coin: str) -> Row:
        balance = self._account.balance(coin)
        held = [position for position in self._account.positions if self._listings[position.instrument].settle == coin]
        margin = sum((position.margin for position in held), Decimal(0))
        profit = sum((position.unrealized_pnl for position in held), Decimal(0)).quantize(EXACT)
        maintenance = sum((position.value for position in held), Decimal(0)) * MAINTENANCE
        whole = balance.available + balance.locked
        locked = sum((self._locked(order, coin) for order in self._account.open_orders), Decimal(0))
        return {
            "coin": coin,
            "equity": plain(whole + profit),
            "usdValue": plain(((whole + profit) * self._dollars(coin)).quantize(EXACT)),
            "walletBalance": plain(whole),
            "availableToWithdraw": "",
            "availableToBorrow": "",
            "borrowAmount": "0",
            "accruedInterest": "0",
            "totalOrderIM": plain(balance.locked - locked - margin),
            "totalPositionIM": plain(margin),
            "totalPositionMM": plain(maintenance.quantize(EXACT)),
            "unrealisedPnl": plain(profit),
            "cumRealisedPnl": plain(self._coin_profits.get(coin, Decimal(0)).quantize(EXACT)),
            "bonus": "0",
            "collateralSwitch": True,
            "marginCollateral": True,
            "colRes": "0",
            "locked": plain(locked),
            "spotHedgingQty": "0",
            "spotBorrow": "0",
            "free": "",
        }

    def _locked(self, order: Order, coin: str) -> Decimal:
        """What an open order of spot has locked of *coin*."""
        listing = self._listings[order.instrument]
        if listing.category != SPOT or order.waits or order.price is None:
            return Decimal(0)
        if order.side == "buy":
            return order.left * order.price if listing.quote == coin else Decimal(0)
        return order.left if listing.base == coin else Decimal(0)

    def _dollars(self, coin: str) -> Decimal:
        """What one is worth."""
        if "USD" in coin:
            return Decimal(1)
        listing = next(
            (found for found in self._feeds.listings[SPOT].values() if found.base == coin and "USD" in found.quote), None
        )
        return Decimal(0) if listing is None else listing.market.last
