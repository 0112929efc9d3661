"""
Bybit V5's updates in the users' vocabulary: what each topic's data mean.

Facts are from Bybit's documentation of V5 (the page in brackets, read 2026-11) unless said to be observed with other clients,
or unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any, Callable

from exchange_ws.core import dialect
from exchange_ws.core.dialect import FEW, Reading
from exchange_ws.core.messages import Update
from exchange_ws.events import Balance, BookUpdate, Candle, Event, Fill, Number, Numbers, Order, Other, Position, Ticker, Trade
from exchange_ws.exchanges.bybit.common_events import DAY, ROLES, direct, named, number, time_of

__all__ = ["DIRECT", "INTERVALS", "NAME", "PRIVATE_READERS", "READERS", "interpreting"]

NAME = "bybit-v5"

#: Seconds of a candle by the wire's name of its interval; None for a month, which has no fixed length [Kline].
INTERVALS = {
    "1": 60,
    "3": 180,
    "5": 300,
    "15": 900,
    "30": 1800,
    "60": 3600,
    "120": 7200,
    "240": 14400,
    "360": 21600,
    "720": 43200,
    "D": 86400,
    "W": 604800,
    "M": None,
}

#: The taker's side of a trade, the own one of orders and fills.
SIDES: dict[Any, str] = {"Buy": "buy", "Sell": "sell"}

#: What kinds of executions are fills: something was bought or sold at a price, by an order of ours or for our account. The
#: others (Funding, Delivery, Settle, MovePosition, CorporateAction, UNKNOWN) are bookings, and `Other` [Execution, execType].
TRADED = ("Trade", "BlockTrade", "AdlTrade", "BustTrade", "FutureSpread")

# A sum of two sizes is exact, whatever the context of the thread that reads says.
_EXACT = Context(prec=100)

Reader = Callable[[Update, Reading], Sequence[Event]]


def interpreting(readers: dict[str, Reader]) -> Reader:
    """An `interpret` that reads updates with these readers, by their labels, and whatever has none as `Other`."""

    def interpret(update: Update, reading: Reading) -> Sequence[Event]:
        """
        The events of an update, in order. `raw` is the whole message, its topic and times included.

        Raises
        ------
        ValueError, TypeError, LookupError
            The update has a shape that is not documented.
        """
        try:
            return readers.get(update.label, _other)(update, reading)
        except (ArithmeticError, AttributeError) as error:  # not a number; text where an object was documented
            raise ValueError(f"{update.label}: {error}") from error

    return interpret


# Values -----------------------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    """Words of the vendor's; None where it has none, which is empty text."""
    if value is None or value == "":
        return None
    return named(value)


def _symbol(topic: str, words: int) -> str:
    """What stands behind so many words: those of options may have a point themselves, in a strike price."""
    return topic.split(".", words)[words]


# Public topics ----------------------------------------------------------------------------------------------------------------


# hot path: 0.7 us a trade by itself (as `route` of `v5_dialect` was measured)
def _trades(body: Any, reading: Reading) -> Sequence[Event]:
    """
    ``[{"T": ms, "s": symbol, "S": taker's side, "v": size, "p": price, "i": id, "BT": whether a block trade, ...}]`` [Trade].

    Sizes of inverse contracts are in USD. A message of the option topic has trades of several contracts.
    """
    received, numbers = reading.received, reading.numbers
    trades = []
    for trade in body["data"]:
        symbol, time, price, size = trade["s"], trade["T"], trade["p"], trade["v"]
        trades.append(
            Trade(
                NAME,
                "publicTrade",
                symbol if symbol.__class__ is str else named(symbol),
                time / 1000 if time.__class__ is int else time_of(time),
                received,
                body,
                None,
                trade["i"],
                numbers(price) if price.__class__ is str and price else number(price, numbers),
                numbers(size) if size.__class__ is str and size else number(size, numbers),
                SIDES.get(trade["S"]),
            )
        )
    return trades


def _book(body: Any, reading: Reading) -> Sequence[Event]:
    """
    ``{"s": symbol, "b": [[price, size], ...], "a": [[price, size], ...], "u": id, "seq"}`` and `cts` beside it [Orderbook].

    `sequence` is `u`, which each depth counts by itself: one more for each change (observed; the documentation does not promise
    it), the same again where depth 1 is repeated after 3 s without a change, and 1 for a whole book after a restart. The time
    is that of the matching engine, which is told since December 2023; before, that of sending.
    """
    book, kind = body["data"], body["type"]
    symbol, count, time = book["s"], book["u"], body.get("cts")
    return [
        BookUpdate(
            NAME,
            "orderbook",
            symbol if symbol.__class__ is str else named(symbol),
            time / 1000 if time.__class__ is int and time else time_of(time or body.get("ts")),
            reading.received,
            body,
            None,
            kind if kind == "delta" else _kind(body),
            _levels(book["b"], reading),
            _levels(book["a"], reading),
            count if count.__class__ is int else _count(count),
            None,
        )
    ]


def _kind(body: dict[str, Any]) -> str:
    """What stands in `type`: to take a change for the whole, or the whole for a change, would make a wrong book."""
    kind = body["type"]
    if kind not in ("snapshot", "delta"):
        raise ValueError("neither a snapshot nor a delta")
    return str(kind)


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("no whole number")
    return value


def _levels(side: Any, reading: Reading) -> tuple[tuple[Number, Number], ...]:
    """
    The levels of one side.

    Those of `orderbook.rpi` have two sizes: the second is of orders that only retail orders can take [RPI Orderbook]. Both are
    in the book, so the size is their sum; `raw` has them apart.
    """
    numbers = reading.numbers
    if side and len(side[0]) == 3:
        return tuple([(number(price, numbers), _sum(size, rpi, numbers)) for price, size, rpi in side])
    # hot path: 0.25 us a level, 0.3 where the price is new (as `route` of `v5_dialect` was measured). A loop: before Python
    # 3.12 a comprehension is a function of its own, which reaches what is around it by cells, and takes a sixth more.
    prices = reading.prices if len(side) <= FEW else numbers
    levels = []
    for price, size in side:
        levels.append(
            (
                prices(price) if price.__class__ is str else number(price, numbers),
                numbers(size) if size.__class__ is str else number(size, numbers),
            )
        )
    return tuple(levels)


def _sum(size: str, other: str, numbers: Numbers) -> Number:
    """Exactly, whatever numbers are wanted as."""
    if other == "0":
        return number(size, numbers)
    return numbers(str(_EXACT.add(Decimal(size), Decimal(other))))


def _ticker(update: Update, reading: Reading) -> Sequence[Event]:
    """``{"symbol", "lastPrice", "prevPrice24h", "highPrice24h", "lowPrice24h", "volume24h", "turnover24h", ...}`` [Ticker]."""
    figures = update.body["data"]
    return [_ticker_of(update.body, figures, reading, figures.get("volume24h"), figures.get("turnover24h"))]


def _merged_ticker(update: Update, reading: Reading) -> Sequence[Event]:
    """The same of linear contracts: deltas have what changed, and the event has the rest of it too."""
    figures = _merged(update, reading)
    return [_ticker_of(update.body, figures, reading, figures.get("volume24h"), figures.get("turnover24h"))]


def _inverse_ticker(update: Update, reading: Reading) -> Sequence[Event]:
    """The same of inverse contracts, whose volume is contracts, of 1 USD each, and whose turnover is in the base coin."""
    figures = _merged(update, reading)
    return [_ticker_of(update.body, figures, reading, figures.get("turnover24h"), figures.get("volume24h"))]


def _merged(update: Update, reading: Reading) -> dict[str, Any]:
    """All that is known of this symbol after this update; of a delta without its snapshot, what it tells itself."""
    told = update.body["data"]
    if not isinstance(told, dict):
        raise ValueError("a ticker is no object")
    if _kind(update.body) == "delta":
        before = reading.states.get(update.keys[0])
        if before is None:
            return told
        told = {**before, **told}  # anew: the former one may be what somebody goes back to who reads ahead
    reading.states[update.keys[0]] = told
    return told


def _ticker_of(body: dict[str, Any], figures: dict[str, Any], reading: Reading, volume: Any, quote_volume: Any) -> Ticker:
    numbers = reading.numbers
    return Ticker(
        NAME,
        "tickers",
        named(figures["symbol"]),
        time_of(body.get("ts")),
        reading.received,
        body,
        None,
        number(figures.get("lastPrice"), numbers),
        number(figures.get("prevPrice24h"), numbers),
        number(figures.get("highPrice24h"), numbers),
        number(figures.get("lowPrice24h"), numbers),
        number(volume, numbers),
        number(quote_volume, numbers),
        DAY,
    )


def _candles(update: Update, reading: Reading) -> Sequence[Event]:
    """
    ``[{"start": ms, "interval", "open", "close", "high", "low", "volume", "turnover", "confirm": whether closed, ...}]``
    [Kline].

    Usually one, and two where one candle follows another (observed).
    """
    return _candles_of(update, reading, "volume", "turnover")


def _inverse_candles(update: Update, reading: Reading) -> Sequence[Event]:
    """The same of inverse contracts, whose volume is contracts, of 1 USD each, and whose turnover is in the base coin."""
    return _candles_of(update, reading, "turnover", "volume")


def _candles_of(update: Update, reading: Reading, volume: str, quote_volume: str) -> Sequence[Event]:
    body, numbers = update.body, reading.numbers
    symbol, time = _symbol(body["topic"], 2), time_of(body.get("ts"))
    return [
        Candle(
            NAME,
            "kline",
            symbol,
            time,
            reading.received,
            body,
            None,
            int(candle["start"]) / 1000,
            number(candle["open"], numbers),
            number(candle["high"], numbers),
            number(candle["low"], numbers),
            number(candle["close"], numbers),
            number(candle.get(volume), numbers),
            number(candle.get(quote_volume), numbers),
            INTERVALS.get(candle["interval"]),
            candle.get("confirm"),
        )
        for candle in body["data"]
    ]


def _of_symbol(update: Update, reading: Reading) -> Sequence[Event]:
    """A topic of one symbol that has no twin elsewhere [All Liquidation, Order Price Limit]."""
    body = update.body
    return [Other(NAME, update.label, _symbol(body["topic"], 1), time_of(body.get("ts")), reading.received, body, None)]


def _other(update: Update, reading: Reading) -> Sequence[Event]:
    """Of no single symbol. Public messages say when they were sent in `ts`, private ones in `creationTime`."""
    body = update.body
    time = time_of(body.get("ts", body.get("creationTime")))
    return [Other(NAME, update.label, None, time, reading.received, body, None)]


# Private topics ---------------------------------------------------------------------------------------------------------------


def _positions(update: Update, reading: Reading) -> Sequence[Event]:
    """
    ``[{"symbol", "side": "Buy", "Sell" or "", "size", "entryPrice", "leverage", "unrealisedPnl", "positionIdx", ...}]``
    [Position].

    Of one in hedge mode the two sides come apart; `positionIdx` in `raw` tells them. Pushed whenever an order is made, changed
    or cancelled, though the position be the same. The time is that of the message: the vendor's `updatedTime` is that of the
    last change.
    """
    body, numbers = update.body, reading.numbers
    time = time_of(body.get("creationTime"))
    return [
        Position(
            NAME,
            "position",
            named(position["symbol"]),
            time,
            reading.received,
            body,
            None,
            _signed(position["size"], position["side"], numbers),
            number(position.get("entryPrice"), numbers),
            number(position.get("unrealisedPnl"), numbers),
            number(position.get("leverage"), numbers),
        )
        for position in body["data"]
    ]


def _signed(size: Any, side: Any, numbers: Numbers) -> Number:
    told = number(size, numbers)
    if side == "Sell" and told is not None and str(size).strip("0."):  # there is no negative nothing
        return numbers(f"-{size}")
    return told


def _executions(update: Update, reading: Reading) -> Sequence[Event]:
    """
    ``[{"symbol", "execId", "orderId", "execPrice", "execQty", "side", "execFee", "feeCurrency", "isMaker", "execType", ...}]``
    [Execution, Fast Execution, Spread Execution].

    Fees are negative where they are a rebate; `execution.fast` does not tell them. What is booked without a trade, funding for
    one, is an `Other` of its symbol; its `execType` is in `raw`. Of a spread the combination is told, and each of its legs
    under its own symbol; legs are of no order.
    """
    body, label, numbers, received = update.body, update.label, reading.numbers, reading.received
    return [
        Fill(
            NAME,
            label,
            named(execution["symbol"]),
            time_of(execution.get("execTime")),
            received,
            body,
            None,
            execution["execId"],
            _text(execution["orderId"]),
            number(execution["execPrice"], numbers),
            number(execution["execQty"], numbers),
            SIDES.get(execution.get("side")),
            number(execution.get("execFee"), numbers),
            _text(execution.get("feeCurrency")),
            ROLES.get(execution.get("isMaker")),
        )
        if execution.get("execType", "Trade") in TRADED
        else Other(NAME, label, named(execution["symbol"]), time_of(execution.get("execTime")), received, body, None)
        for execution in body["data"]
    ]


def _orders(update: Update, reading: Reading) -> Sequence[Event]:
    """
    ``[{"symbol", "orderId", "orderLinkId", "side", "orderType", "price", "qty", "cumExecQty", "orderStatus", ...}]`` [Order,
    Spread Order].

    The size of a spot market buy is in the quote coin, unless it was asked to be in the base coin (`marketUnit`); `filled` is
    in the base coin. `type` and `status` are the vendor's words. Final ones are Filled, Cancelled, Rejected, Deactivated, and
    on spot PartiallyFilledCanceled; what was filled of an order that was cancelled, `filled` tells. An order that lost a race
    against its cancellation is told as Filled twice (observed). Of a spread the combination is told, and each of its legs under
    its own symbol.
    """
    body, numbers = update.body, reading.numbers
    return [
        Order(
            NAME,
            update.label,
            named(order["symbol"]),
            time_of(order.get("updatedTime") or body.get("creationTime")),
            reading.received,
            body,
            None,
            order["orderId"],
            _text(order.get("orderLinkId")),
            SIDES.get(order.get("side")),
            order.get("orderType"),
            number(order.get("price"), numbers),
            number(order.get("qty"), numbers),
            number(order.get("cumExecQty"), numbers),
            order.get("orderStatus"),
        )
        for order in body["data"]
    ]


def _balances(update: Update, reading: Reading) -> Sequence[Event]:
    """
    ``[{"accountType", "totalEquity", ..., "coin": [{"coin", "walletBalance", "locked", "equity", ...}, ...]}]`` [Wallet].

    One event for each coin that is listed, which are those that changed. `locked` is what open spot orders hold, and
    `available` the rest of the wallet balance. What positions and orders of derivatives need as margin is reckoned for the
    whole account, in USD, and stands in `raw`, as do equity and debts.
    """
    body, numbers = update.body, reading.numbers
    time = time_of(body.get("creationTime"))
    return [
        Balance(
            NAME,
            "wallet",
            None,
            time,
            reading.received,
            body,
            None,
            named(coin["coin"]),
            _rest(coin.get("walletBalance"), coin.get("locked"), numbers),
            number(coin.get("locked"), numbers),
        )
        for account in body["data"]
        for coin in account["coin"]
    ]


def _rest(whole: Any, part: Any, numbers: Numbers) -> Number:
    """Exactly; None where one of them is not told."""
    if whole in (None, "") or part in (None, ""):
        return None
    if part == "0":
        return number(whole, numbers)
    return numbers(str(_EXACT.subtract(Decimal(str(whole)), Decimal(str(part)))))


def _read_with(read: dialect.Reader) -> Reader:
    return lambda update, reading: read(update.body, reading)


# Of parsed messages: those that have the same meaning in all categories, and come often.
_OFTEN: dict[str, dialect.Reader] = {"publicTrade": _trades, "orderbook": _book}
#: Their short way.
DIRECT = direct(_OFTEN)
_EVERYWHERE: dict[str, Reader] = {
    **{label: _read_with(read) for label, read in _OFTEN.items()},
    "tickers": _ticker,
    "kline": _candles,
    "allLiquidation": _of_symbol,
    "priceLimit": _of_symbol,
}
#: Readers of public topics, by category.
READERS: dict[str, dict[str, Reader]] = {
    "spot": _EVERYWHERE,
    "linear": {**_EVERYWHERE, "tickers": _merged_ticker},
    "inverse": {**_EVERYWHERE, "tickers": _inverse_ticker, "kline": _inverse_candles},
    "option": _EVERYWHERE,
}
#: Readers of private topics.
PRIVATE_READERS: dict[str, Reader] = {
    "position": _positions,
    "execution": _executions,
    "execution.fast": _executions,
    "order": _orders,
    "wallet": _balances,
    "spread.order": _orders,
    "spread.execution": _executions,
}
