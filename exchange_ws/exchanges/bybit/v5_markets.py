"""
The markets of Bybit V5's sandbox, in the words of its messages: rows and levels, of which streams and REST answers are made.

Spot and linear markets are those that every exchange of the sandbox has. Inverse perpetuals and options are V5's own and take
the same steps. An option is worth what its underlying makes it worth, by a rule that needs no clock and no logarithm: as if the
price at the end were anywhere within 30 % of the strike, to either side of the present one, with the same chance. Makers quote
around that, calls and puts agree with each other, and Greeks and volatilities belong to it.

What no page tells, and is made up here, changes only when the markets do:

* open interest, and the balances of the insurance pools, from ids of trades;
* every 13th trade of a perpetual is a liquidation's, and every 11th trade was with an order of the retail price improvement;
* such orders stand at some prices of the book, in addition to what stands there, and at some where nothing else does.
"""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import attrs

from exchange_ws.exchanges.bybit.common_sandbox import DAY, begin, candles, plain, trade_id
from exchange_ws.sandbox.accounts import mark_price
from exchange_ws.sandbox.market import Candle, Instrument, Market, Markets, Trade

__all__ = [
    "CATEGORIES",
    "DEPTHS",
    "FULL",
    "INVERSE",
    "LINEAR",
    "OPTION",
    "RPI",
    "SPOT",
    "Book",
    "Frame",
    "Listing",
    "V5Markets",
]

SPOT, LINEAR, INVERSE, OPTION = CATEGORIES = ("spot", "linear", "inverse", "option")
RPI, FULL = "rpi", "full"  # books that are named by a word instead of a depth
SEQ = 10_000_000_000  # plus what a market counts: its cross sequence
FRAMES = 500  # of a book, for those who could not be told in time
ALL = 1_000_000  # levels
#: "Orderbook", "RPI Orderbook", "Full Orderbook": books by the word that a topic has for their depth; paces in microseconds.
_PACES = {"1": 10_000, "50": 20_000, "200": 100_000, "1000": 200_000, RPI: 100_000}
DEPTHS: dict[str, dict[str, int]] = {
    SPOT: {**_PACES, FULL: 200_000},
    LINEAR: _PACES,
    INVERSE: _PACES,
    OPTION: {"25": 20_000, "100": 100_000},
}
NUMBERED = {OPTION: "100"}  # "Get Orderbook": the stream whose numbers REST has; "1000" elsewhere
RPI_LEVELS = 50  # "RPI Orderbook"
REPEAT_MS = 3000  # "Orderbook": depth 1 is sent again after 3 s without a change
MOST_TRADES = 1024  # "Trade": in one message
LIQUIDATED, IMPROVED = 13, 11  # of so many trades one
FUNDING_S = 8 * 3600
FUNDING_CAP = Decimal("0.005")
LIMIT_SHARE = Decimal("0.05")  # by which orders may differ from the mark price
HALF_WIDTH = Decimal("0.3")  # of the strike: how far the price may be gone at the end of an option
IV = Decimal("0.5")  # the volatility that this width is worth ...
DAYS = Decimal("43.8")  # ... over so many days: 0.3 = 0.5 * sqrt(3 * 43.8 / 365)
UNDERLYING = "USDT"  # quote asset of the spot market that an index is taken from

Levels = Mapping[Decimal, tuple[str, ...]]  # price to what follows it in a row


def _further(base: str, quote: str, price: str, tick: str, lot: str, size: int, *, inverse: bool) -> Instrument:
    return Instrument(base, quote, Decimal(price), Decimal(tick), Decimal(lot), size, 0.5, perpetual=True, inverse=inverse)


INVERSE_INSTRUMENTS = (
    _further("BTC", "USD", "67510", "0.1", "1", 20_000, inverse=True),
    _further("ETH", "USD", "2650.5", "0.01", "1", 5_000, inverse=True),
)
#: To an account an option is a contract like others, of the price of the option. They begin at about what they are worth.
OPTION_INSTRUMENTS = (
    _further("BTC-27DEC26-70000-C", "USDC", "4074", "0.1", "0.01", 500, inverse=False),
    _further("BTC-27DEC26-70000-P", "USDC", "6574", "0.1", "0.01", 500, inverse=False),
    _further("BTC-27DEC26-80000-C", "USDC", "1378", "0.1", "0.01", 300, inverse=False),
    _further("BTC-27DEC26-60000-P", "USDC", "1531", "0.1", "0.01", 300, inverse=False),
    _further("ETH-27DEC26-2600-C", "USDC", "220", "0.01", "0.01", 1_000, inverse=False),
)


@attrs.frozen
class Listing:
    """One symbol of a category."""

    category: str
    symbol: str
    market: Market = attrs.field(repr=False)
    base: str
    quote: str
    settle: str  #: asset that profits and fees are paid in
    strike: Decimal | None = None  #: of an option
    call: bool = False

    def price(self, price: Decimal) -> str:
        """A price as messages have it: spot leaves zeros out, contracts have as many places as their ticks."""
        return plain(price) if self.category == SPOT else f"{price.quantize(self.market.instrument.tick):f}"

    def size(self, size: Decimal) -> str:
        return plain(size) if self.category == SPOT else f"{size.quantize(self.market.instrument.lot):f}"

    @property
    def seq(self) -> int:
        """The cross sequence: grows with every change of a level, and is the same for all streams of the symbol."""
        return SEQ + self.market.update_id

    def turnover(self, volume: Decimal, quote_volume: Decimal) -> Decimal:
        """What *volume* was worth, in the settle asset; of inverse ones as if all had been traded at the average price."""
        if self.category != INVERSE:
            return quote_volume
        return (volume * volume / quote_volume).quantize(Decimal("0.00000001")) if quote_volume else Decimal(0)


@attrs.frozen
class Frame:
    """One message of a book's stream. `number` counts the messages, whatever `u` says."""

    number: int
    kind: str  #: "snapshot" or "delta"
    ts: int  #: milliseconds
    cts: int
    u: int
    seq: int
    bids: Sequence[Sequence[str]]
    asks: Sequence[Sequence[str]]


class Book:
    """
    The stream of one book: what it has told everybody, a message for each pace in which its window has changed.

    It looks at the market only when it is asked, at most once for each pace: who asks after every step misses nothing.
    """

    def __init__(self, listing: Listing, depth: str, u: int, now_us: int) -> None:
        self._listing = listing
        #: As in the topic: a number of levels, `RPI` or `FULL`.
        self.depth = depth
        self.u = u
        #: The last messages, the oldest first.
        self.frames: deque[Frame] = deque(maxlen=FRAMES)
        self.number = 0  # of the last one; there need not be one
        self._pace_us = DEPTHS[listing.category][depth]
        self._pace = now_us // self._pace_us
        self._sides = self._window()
        self._seq = listing.seq
        self._cts = listing.market.book_us // 1000
        self._ts = now_us // 1000  # of the last message
        self._losing = False

    def look(self, now_us: int) -> None:
        """Tell what has changed, if a pace has passed since the last time."""
        pace, self._pace = self._pace, now_us // self._pace_us
        if pace == self._pace:
            return
        before, sides = self._sides, self._window()
        if sides != before:
            self.u += 1
            self._take(sides)
            if self._losing:
                self._losing = False
            elif self.depth == "1":
                self._tell("snapshot", now_us, *self._rows(sides))
            else:
                bids, asks = self._changes(before[0], sides[0], True), self._changes(before[1], sides[1], False)
                self._tell("delta", now_us, bids, asks)
        elif self.depth == "1" and now_us // 1000 - self._ts >= REPEAT_MS:
            self._tell("snapshot", now_us, *self._rows(sides))

    def snapshot(self, now_us: int, limit: int = ALL) -> Frame:
        """The whole as it was told last."""
        bids, asks = self._rows(self._sides)
        return Frame(self.number, "snapshot", now_us // 1000, self._cts, self.u, self._seq, bids[:limit], asks[:limit])

    def since(self, number: int, now_us: int) -> Iterable[Frame]:
        """The messages after the *number*-th; a whole book if they are not all kept, of the full one those that are."""
        if number < self.number - len(self.frames) and self.depth != FULL:
            return [self.snapshot(now_us)]
        return [frame for frame in self.frames if frame.number > number]

    def lose(self) -> None:
        """Count the next message, and do not tell it."""
        self._losing = True

    def restart(self, now_us: int) -> None:
        """Count from one, as after a restart of the service: a whole book; of the full one, an empty change."""
        self.u = 1
        self._take(self._window())
        if self.depth == FULL:
            self._tell("delta", now_us, [], [])
        else:
            self._tell("snapshot", now_us, *self._rows(self._sides))

    def _take(self, sides: tuple[Levels, Levels]) -> None:
        self._sides = sides
        self._seq = self._listing.seq
        self._cts = self._listing.market.book_us // 1000

    def _tell(self, kind: str, now_us: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> None:
        self.number += 1
        self._ts = now_us // 1000
        self.frames.append(Frame(self.number, kind, self._ts, self._cts, self.u, self._seq, bids, asks))

    def _window(self) -> tuple[Levels, Levels]:
        market, size = self._listing.market, self._listing.size
        if self.depth != RPI:
            limit = ALL if self.depth == FULL else int(self.depth)
            bids, asks = ({price: (size(there),) for price, there in side.items()} for side in market.book(limit))
            return bids, asks
        first, second = market.book(RPI_LEVELS)
        return self._improved(first, -1), self._improved(second, 1)

    def _improved(self, side: Mapping[Decimal, Decimal], away: int) -> Levels:
        """A side with what retail price improvement adds to it; *away* from the middle prices go up (1) or down (-1)."""
        tick, lot = self._listing.market.instrument.tick, self._listing.market.instrument.lot
        zero = self._listing.size(Decimal(0))
        prices = [int(price / tick) for price in side]
        rows: dict[Decimal, tuple[str, ...]] = {}
        for place in range(prices[0], prices[-1] + away, away):
            price = place * tick
            there = side.get(price)
            if there is not None:
                more = place % 1000 * lot if place % 4 == 0 else None
                rows[price] = (self._listing.size(there), zero if more is None else self._listing.size(more))
            elif place % 13 == 0:
                rows[price] = (zero, self._listing.size((place % 100 + 1) * lot))
            if len(rows) == RPI_LEVELS:
                break
        return rows

    def _rows(self, sides: tuple[Levels, Levels]) -> tuple[list[list[str]], list[list[str]]]:
        bids, asks = ([[self._listing.price(price), *sizes] for price, sizes in side.items()] for side in sides)
        return bids, asks

    def _changes(self, old: Levels, new: Levels, falling: bool) -> list[list[str]]:
        """Levels that are new, other or gone, the best first."""
        nothing = ("0", "0") if self.depth == RPI else ("0",)
        changed = [price for price in {*old, *new} if old.get(price) != new.get(price)]
        return [[self._listing.price(price), *new.get(price, nothing)] for price in sorted(changed, reverse=falling)]


class V5Markets:
    """All markets of V5 by category; *seed* decides what is not in *markets*. Not thread-safe."""

    def __init__(self, markets: Markets, seed: int) -> None:
        self._shared = markets
        self._seed = seed
        further = markets.also(INVERSE_INSTRUMENTS + OPTION_INSTRUMENTS, f"{seed}/bybit-v5")
        #: Every market there is, as accounts ask for them.
        self.markets = (*markets.markets, *further)
        #: By category and symbol.
        self.listings: dict[str, dict[str, Listing]] = {category: {} for category in CATEGORIES}
        for market in self.markets:
            listing = self._listing(market)
            self.listings[listing.category][listing.symbol] = listing
        #: Markets by category and symbol.
        self.categories: dict[str, dict[str, Market]] = {
            category: {symbol: listing.market for symbol, listing in listings.items()}
            for category, listings in self.listings.items()
        }
        self._books: dict[tuple[str, str, str], Book] = {}
        self._said: dict[tuple[str, str], dict[str, str]] = {}  # tickers of the present moment, made when first asked for
        self.beat()

    @staticmethod
    def _listing(market: Market) -> Listing:
        what = market.instrument
        if "-" not in what.base:
            category = INVERSE if what.inverse else LINEAR if what.perpetual else SPOT
            settle = what.base if what.inverse else what.quote
            return Listing(category, f"{what.base}{what.quote}", market, what.base, what.quote, settle)
        base, _, strike, kind = what.base.split("-")
        return Listing(OPTION, what.base, market, base, what.quote, what.quote, Decimal(strike), kind == "C")

    @property
    def now_us(self) -> int:
        return self._shared.now_us

    @property
    def now_ms(self) -> int:
        return self._shared.now_us // 1000

    def beat(self) -> None:
        """The markets have made a step: options follow, once."""
        self._said.clear()
        for listing in self.listings[OPTION].values():
            listing.market.follow(self.mark(listing))

    # Prices

    def index(self, listing: Listing) -> Decimal:
        """Price of the underlying asset: the middle of the spot market's book, or of its own where that is missing."""
        spot = self.listings[SPOT].get(f"{listing.base}{UNDERLYING}", listing)
        return mark_price(spot.market)

    def mark(self, listing: Listing) -> Decimal:
        """The middle of the book; of an option, what it is worth."""
        if listing.strike is None:
            return mark_price(listing.market)
        inner, outer, width = self._reach(listing)
        worth = outer * outer / (4 * width) if 0 < outer < 2 * width else max(Decimal(0), inner)
        return (worth if listing.call else worth - inner).quantize(Decimal("0.00000001"))

    def _reach(self, listing: Listing) -> tuple[Decimal, Decimal, Decimal]:
        """The index above the strike, the highest price at the end above it, and half the width of what is possible."""
        assert listing.strike is not None, "only options are asked for"
        width = listing.strike * HALF_WIDTH
        inner = self.index(listing) - listing.strike
        return inner, inner + width, width

    def greeks(self, listing: Listing) -> dict[str, Decimal]:
        """`delta`, `gamma`, `vega` (for one point of volatility) and `theta` (for one day) of an option."""
        inner, outer, width = self._reach(listing)
        within = 0 < outer < 2 * width
        delta = min(Decimal(1), max(Decimal(0), outer / (2 * width)))
        widening = (width * width - inner * inner) / (4 * width * width) if within else Decimal(0)
        values = {
            "delta": delta if listing.call else delta - 1,
            "gamma": 1 / (2 * width) if within else Decimal(0),
            "vega": widening * width / (IV * 100),
            "theta": -widening * width / (2 * DAYS),
        }
        return {name: value.quantize(Decimal("0.00000001")) for name, value in values.items()}

    # Books

    def stream(self, listing: Listing, depth: str) -> Book:
        """The stream of a book, as it is now; those who ask for the same have the same."""
        key = (listing.category, listing.symbol, depth)
        book = self._books.get(key)
        if book is None:
            u = random.Random(f"{self._seed}/book/{key}").randrange(1_000, 10_000_000)
            book = self._books[key] = Book(listing, depth, u, self.now_us)
        book.look(self.now_us)
        return book

    def book(self, category: str, symbol: str, depth: int | str) -> dict[str, object]:
        """
        The best *depth* levels as a stream has told them last, for REST.

        Of at most 1000 levels, that is the stream of so many (of options, of 100); of more, or `FULL`, that of the full book.
        """
        listing = self.listings[category][symbol]
        if isinstance(depth, int):
            word, limit = FULL if depth > 1000 and category == SPOT else NUMBERED.get(category, "1000"), depth
        else:
            word, limit = depth, ALL
        frame = self.stream(listing, word).snapshot(self.now_us, limit)
        return {"s": symbol, "b": frame.bids, "a": frame.asks, "u": frame.u, "seq": frame.seq, "cts": frame.cts}

    def lose_book_updates(self) -> None:
        """Lose the next message of each book that is streamed."""
        for book in self._books.values():
            book.lose()

    def restart_books(self) -> None:
        """Let each book that is streamed begin anew."""
        for book in self._books.values():
            book.restart(self.now_us)

    # Trades

    def trades(self, category: str, symbol: str, limit: int) -> list[dict[str, object]]:
        """The latest *limit* rows of `publicTrade`, the oldest first."""
        listing = self.listings[category][symbol]
        return [self.trade_row(listing, trade) for trade in list(listing.market.trades)[-limit:]]

    def trades_after(self, listings: Iterable[Listing], after: int) -> list[dict[str, object]]:
        """Rows of `publicTrade` of several markets, with ids above *after*, the oldest first."""
        found = [(listing, trade) for listing in listings for trade in listing.market.trades_after(after)]
        return [self.trade_row(*pair) for pair in sorted(found, key=lambda pair: pair[1].id)]

    def trade_row(self, listing: Listing, trade: Trade) -> dict[str, object]:
        """A row of `publicTrade`, with its keys in the order that the category has."""
        time_ms, side, symbol = trade.time_us // 1000, trade.side.capitalize(), listing.symbol
        price, size = listing.price(trade.price), listing.size(trade.size)
        improved = trade.id % IMPROVED == 0
        if listing.category == SPOT:
            row = {"i": trade_id(trade.id), "T": time_ms, "p": price, "v": size, "S": side, "seq": listing.seq, "s": symbol}
            return {**row, "BT": False, "RPI": improved}
        number = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{listing.category}/{trade.id}"))
        if listing.category == OPTION:
            row = {"i": number, "T": time_ms, "p": price, "v": size, "S": side, "seq": listing.seq, "s": symbol, "BT": False}
            mark, index = f"{self.mark(listing):f}", f"{self.index(listing):f}"
            return {**row, "mP": mark, "iP": index, "mIv": plain(IV), "iv": self._iv(listing, trade.price)}
        tick = self._direction(listing, trade)
        row = {"T": time_ms, "s": symbol, "S": side, "v": size, "p": price, "L": tick, "i": number}
        return {**row, "BT": False, "RPI": improved, "seq": listing.seq}

    def _direction(self, listing: Listing, trade: Trade) -> str:
        """How the price came from the one before it; the same price has the direction of the last change, after "Zero"."""
        zero = ""
        for former in reversed(listing.market.trades):
            if former.id >= trade.id:
                continue
            if former.price != trade.price:
                return f"{zero}{'Plus' if trade.price > former.price else 'Minus'}Tick"
            zero = "Zero"
        return "ZeroPlusTick"

    def liquidations(self, listing: Listing, after: int) -> list[dict[str, object]]:
        """Rows of `allLiquidation` of trades beyond id *after*; the side is the position's, the price where it is worthless."""
        rows: list[dict[str, object]] = []
        for trade in reversed(listing.market.trades_after(after)):
            if trade.id % LIQUIDATED == 0:
                long = trade.side == "sell"
                price = listing.price(trade.price * (Decimal("0.995") if long else Decimal("1.005")))
                side, size = "Buy" if long else "Sell", listing.size(trade.size)
                rows.append({"T": trade.time_us // 1000, "s": listing.symbol, "S": side, "v": size, "p": price})
        return rows

    # Statistics

    def ticker(self, category: str, symbol: str) -> dict[str, str]:
        """All fields of `tickers`."""
        key = (category, symbol)
        if key not in self._said:
            make = {SPOT: self._spot_ticker, OPTION: self._option_ticker}.get(category, self._contract_ticker)
            self._said[key] = make(self.listings[category][symbol])
        return self._said[key]

    def _spot_ticker(self, listing: Listing) -> dict[str, str]:
        day = listing.market.statistics(max(0, self.now_us // 1_000_000 - DAY))
        return {
            "symbol": listing.symbol,
            "lastPrice": plain(day.last),
            "highPrice24h": plain(day.high),
            "lowPrice24h": plain(day.low),
            "prevPrice24h": plain(day.open),
            "volume24h": plain(day.volume),
            "turnover24h": plain(day.quote_volume),
            "price24hPcnt": plain(((day.last - day.open) / day.open).quantize(Decimal("0.0001"))),
            "usdIndexPrice": plain(self.index(listing)) if listing.quote == UNDERLYING else "",
        }

    def _contract_ticker(self, listing: Listing) -> dict[str, str]:
        market, price, size = listing.market, listing.price, listing.size
        now = self.now_us // 1_000_000
        day, hour = market.statistics(max(0, now - DAY)), market.statistics(max(0, now - 3600))
        mark, index, top, last = self.mark(listing), self.index(listing), market.top, market.trades[-1]
        rate = min(FUNDING_CAP, max(-FUNDING_CAP, (mark - index) / index)).quantize(Decimal("0.00000001"))
        interest = (1_000_000 + last.id % 10_000) * market.instrument.lot
        worth = (interest / mark if listing.category == INVERSE else interest * mark).quantize(Decimal("0.0001"))
        return {
            "symbol": listing.symbol,
            "tickDirection": self._direction(listing, last),
            "price24hPcnt": plain(((day.last - day.open) / day.open).quantize(Decimal("0.000001"))),
            "lastPrice": price(day.last),
            "prevPrice24h": price(day.open),
            "highPrice24h": price(day.high),
            "lowPrice24h": price(day.low),
            "prevPrice1h": price(hour.open),
            "markPrice": price(mark),
            "indexPrice": price(index),
            "openInterest": size(interest),
            "openInterestValue": plain(worth),
            "singleOpenInterest": size(interest),
            "singleOpenInterestValue": plain(worth),
            "turnover24h": plain(listing.turnover(day.volume, day.quote_volume)),
            "volume24h": size(day.volume),
            "fundingIntervalHour": "8",
            "fundingCap": plain(FUNDING_CAP),
            "nextFundingTime": str((now - now % FUNDING_S + FUNDING_S) * 1000),
            "fundingRate": plain(rate),
            "bid1Price": price(top.bid),
            "bid1Size": size(top.bid_size),
            "ask1Price": price(top.ask),
            "ask1Size": size(top.ask_size),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }

    def _option_ticker(self, listing: Listing) -> dict[str, str]:
        market, price, size = listing.market, listing.price, listing.size
        day = market.statistics(max(0, self.now_us // 1_000_000 - DAY))
        top, index = market.top, f"{self.index(listing):f}"
        return {
            "symbol": listing.symbol,
            "bidPrice": price(top.bid),
            "bidSize": size(top.bid_size),
            "bidIv": self._iv(listing, top.bid),
            "askPrice": price(top.ask),
            "askSize": size(top.ask_size),
            "askIv": self._iv(listing, top.ask),
            "lastPrice": price(day.last),
            "highPrice24h": price(day.high),
            "lowPrice24h": price(day.low),
            "markPrice": f"{self.mark(listing):f}",
            "indexPrice": index,
            "markPriceIv": plain(IV),
            "underlyingPrice": index,
            "openInterest": size((1_000 + market.trades[-1].id % 1_000) * market.instrument.lot),
            "turnover24h": plain(day.quote_volume),
            "volume24h": size(day.volume),
            "totalVolume": size(day.volume),
            "totalTurnover": plain(day.quote_volume),
            **{name: f"{value:f}" for name, value in self.greeks(listing).items()},
            "predictedDeliveryPrice": "0",
            "change24h": plain(((day.last - day.open) / day.open).quantize(Decimal("0.00000001"))),
        }

    def _iv(self, listing: Listing, price: Decimal) -> str:
        """Volatility at which an option would be worth *price*: near enough in proportion."""
        return plain((IV * price / max(self.mark(listing), Decimal(1))).quantize(Decimal("0.0001")))

    def price_limit(self, listing: Listing) -> dict[str, str]:
        """`data` of `priceLimit`."""
        mark = self.mark(listing)
        highest, lowest = (listing.price((mark * share).quantize(listing.market.instrument.tick)) for share in _LIMITS)
        return {"symbol": listing.symbol, "buyLmt": highest, "sellLmt": lowest}

    # Candles

    def candle(self, listing: Listing, span: int | str) -> Candle:
        """The present one of a *span* in seconds, or of a week or month."""
        now = self.now_us // 1_000_000
        return candles(listing.market, span, begin(span, now), now)[-1]

    def klines(self, listing: Listing, interval: str, span: int | str, sent: Candle) -> tuple[Candle, list[dict[str, object]]]:
        """
        The present candle, and rows of `kline` for what there is beyond the one last *sent*, which was present then.

        That is each candle that has ended since, and the present one if it has changed; candles without trades are left out.
        """
        now = self.now_us // 1_000_000
        found = candles(listing.market, span, sent.start, now)
        rows = [self._kline(listing, interval, span, candle, ended=True) for candle in found[:-1] if candle.volume]
        if found[-1] != sent and found[-1].volume:
            rows.append(self._kline(listing, interval, span, found[-1], ended=False))
        return found[-1], rows

    def _kline(self, listing: Listing, interval: str, span: int | str, candle: Candle, *, ended: bool) -> dict[str, object]:
        # Some seconds into the next one: 40 days after its beginning every month has ended.
        after = candle.start + (span if isinstance(span, int) else 7 * DAY if span == "week" else 40 * DAY)
        until = begin(span, after) * 1000
        last = next((trade for trade in reversed(listing.market.trades) if trade.time_us // 1000 < until), None)
        return {
            "start": candle.start * 1000,
            "end": until - 1,
            "interval": interval,
            "open": listing.price(candle.open),
            "close": listing.price(candle.close),
            "high": listing.price(candle.high),
            "low": listing.price(candle.low),
            "volume": listing.size(candle.volume),
            "turnover": plain(listing.turnover(candle.volume, candle.quote_volume)),
            "confirm": ended,
            "timestamp": until - 1 if last is None else last.time_us // 1000,
        }

    # Pools

    def group(self, name: str) -> list[Listing]:
        """The perpetuals of an insurance pool: "USDT", "USDC" or "inverse"."""
        return [
            listing
            for category in (LINEAR, INVERSE)
            for listing in self.listings[category].values()
            if name == (INVERSE if category == INVERSE else listing.settle)
        ]

    def pool(self, listing: Listing) -> Decimal:
        """Balance of the insurance pool of one symbol: it changes with its liquidations."""
        last = next((trade.id for trade in reversed(listing.market.trades) if trade.id % LIQUIDATED == 0), 0)
        return 100_000 + Decimal(last % 1_000_000) / 100


_LIMITS = (1 + LIMIT_SHARE, 1 - LIMIT_SHARE)
