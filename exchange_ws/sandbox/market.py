"""
Markets that never were: order books, trades and candles that agree with each other, made from a seed.

No exchange is known here. Prices and sizes are whole numbers of ticks and lots inside and exact `Decimal` outside; no price
ever passes through a float. The same seed and the same number of steps give the same markets, whatever the clock says: time
only stamps what happens.
"""

from __future__ import annotations

import functools
import io
import itertools
import pickle
import random
from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs

__all__ = ["INSTRUMENTS", "Candle", "Instrument", "Market", "Markets", "Statistics", "Top", "Trade", "markets_at"]

LEVELS = 120  # kept on each side at least: more than the 100 that exchanges show, so that a cut book is really cut
SPARE = 30  # levels above LEVELS before the worst go
WIDTH = 600  # ticks from the fair price in which new orders are placed; well above LEVELS, so that a free price is found soon
LEAST_PRICE = 4 * WIDTH  # ticks: where a market may be put, so that it never comes to prices of 0 and below
HISTORY_STEPS = 120  # each with a taker's order: about 200 trades in each market, twice what an exchange replays
HISTORY_STEP_US = 180_000_000  # microseconds; 120 of them are six hours of candles
TRADES_KEPT = 2000  # for each market
SECONDS_KEPT = 3600  # one-second bars: candles below a minute reach back an hour of trading at least
MINUTES_KEPT = 31 * 1440  # one-minute bars: the longest candle has 30 days
MINUTE = 60
INVERSE_UNIT = Decimal(10) ** -12  # fine enough for fees, and sums of it are exact within the 28 digits of decimals


@attrs.frozen
class Instrument:
    """
    What is traded. `price` is where it begins, `size` a usual order in lots, `activity` the chance that a step moves it.

    Of an `inverse` one, sizes are contracts, each worth one of the quote asset and paid in the base asset.
    """

    base: str
    quote: str
    price: Decimal
    tick: Decimal
    lot: Decimal
    size: int
    activity: float
    perpetual: bool = False
    inverse: bool = False

    @property
    def settled_in(self) -> str:
        """The asset that prices are paid in; a perpetual's margin, profit and fees too."""
        return self.base if self.inverse else self.quote

    def value(self, price: Decimal, size: Decimal) -> Decimal:
        """What *size* at *price* is worth in `settled_in`; of an inverse perpetual rounded to 12 places."""
        return (size / price).quantize(INVERSE_UNIT) if self.inverse else price * size


def _instrument(
    base: str, quote: str, price: str, tick: str, lot: str, size: int, activity: float, *, perpetual: bool = False
) -> Instrument:
    return Instrument(base, quote, Decimal(price), Decimal(tick), Decimal(lot), size, activity, perpetual)


#: From busy to quiet; one with tiny prices (their Decimal would print with an exponent), and one where nothing happens for
#: many seconds.
INSTRUMENTS: tuple[Instrument, ...] = (
    _instrument("BTC", "USDT", "67500", "0.01", "0.000001", 50_000, 0.9),
    _instrument("ETH", "USDT", "2650", "0.01", "0.00001", 100_000, 0.8),
    _instrument("SOL", "USDT", "168", "0.001", "0.001", 20_000, 0.7),
    _instrument("XRP", "USDT", "0.5321", "0.00001", "0.1", 20_000, 0.5),
    _instrument("ETH", "BTC", "0.039260", "0.000001", "0.001", 5_000, 0.3),
    _instrument("BTC", "USDT", "67520", "0.1", "0.001", 500, 0.8, perpetual=True),
    _instrument("ETH", "USDT", "2651", "0.01", "0.01", 1_000, 0.7, perpetual=True),
    _instrument("SHIB", "USDT", "0.000011751", "0.000000001", "1000", 20_000, 0.3, perpetual=True),
    _instrument("DBTC", "DUSDT", "67000", "0.01", "0.000001", 50_000, 0.008),
)


@attrs.frozen
class Trade:
    """One trade; `side` is the taker's, `time_us` Unix time in microseconds. Ids rise over all markets."""

    id: int
    time_us: int
    price: Decimal
    size: Decimal
    side: str


@attrs.frozen
class Top:
    """Best prices of a book and what stands there."""

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal


@attrs.frozen
class Candle:
    """Trades of one interval; `start` in Unix seconds. An interval without trades repeats the close before it."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal


@attrs.frozen
class Statistics:
    """Trades of a longer time; without any, all four prices are the last one."""

    last: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    quote_volume: Decimal


class _Bar:
    """Trades added up, in ticks and lots: `value` is the sum of price times size in tick-lots."""

    __slots__ = ("close", "high", "low", "open", "start", "value", "volume")

    def __init__(self, start: int, price: int) -> None:
        self.start = start
        self.open = self.high = self.low = self.close = price
        self.volume = self.value = 0

    def add(self, price: int, size: int) -> None:
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += size
        self.value += price * size

    def merge(self, later: _Bar) -> None:
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.value += later.value


class Market:
    """
    One instrument's market. Not thread-safe: the thread that steps it reads it.

    Each change of a price level raises `update_id` by one.
    """

    def __init__(self, instrument: Instrument, seed: str, ids: Iterator[int], now_us: int) -> None:
        self.instrument = instrument
        self.now_us = now_us
        #: When a level changed last: Unix time in microseconds.
        self.book_us = now_us
        #: Latest trades, oldest first.
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self._ids = ids
        self._rng = random.Random(seed)
        self.update_id = self._rng.randrange(100_000, 10_000_000)
        self._home = self._fair = int(instrument.price / instrument.tick)
        self._drift = max(2, self._home // 200_000)  # ticks a step: 0.0005 %, or what a coarse tick allows
        self._bids: dict[int, int] = {}  # ticks to lots
        self._asks: dict[int, int] = {}
        self._seconds: deque[_Bar] = deque(maxlen=SECONDS_KEPT)  # oldest first; only seconds with trades
        self._minutes: deque[_Bar] = deque(maxlen=MINUTES_KEPT)
        self._last = self._home
        self._refill()

    def step(self, now_us: int, *, busy: bool = False) -> None:
        """Let the time until *now_us* pass: nothing, or some orders and at most one taker. *busy*: surely a taker."""
        before_us, self.now_us = self.now_us, now_us
        if not busy and self._rng.random() >= self.instrument.activity:
            return
        update_id = self.update_id
        self._fair += self._rng.randint(-self._drift, self._drift) + (self._home - self._fair) // 512
        self._withdraw()
        for _ in range(self._rng.randint(1, 5)):
            self._quote()
        if self._rng.random() < 0.6 or busy:
            self._take(before_us + (now_us - before_us) * self._rng.randrange(1, 1000) // 1000)
        self._refill()
        if self.update_id != update_id:
            self.book_us = now_us

    def _set(self, side: dict[int, int], price: int, size: int) -> None:
        if size:
            side[price] = size
        else:
            del side[price]
        self.update_id += 1

    def _withdraw(self) -> None:
        """Makers take back what the fair price has run over by far; takers get the rest."""
        most, least = self._fair + WIDTH // 8, self._fair - WIDTH // 8
        # Mostly there are none, which the best price tells in a third of the time.
        if max(self._bids, default=most) > most:
            for price in [price for price in self._bids if price > most]:
                self._set(self._bids, price, 0)
        if min(self._asks, default=least) < least:
            for price in [price for price in self._asks if price < least]:
                self._set(self._asks, price, 0)

    def _order_size(self) -> int:
        # The product of two uniform numbers: many small, few large.
        size = self.instrument.size
        return self._rng.randrange(1, size) * self._rng.randrange(1, size) // size + 1

    def _distance(self) -> int:
        return self._rng.randrange(WIDTH) * self._rng.randrange(WIDTH) // WIDTH

    def _free_price(self, side: dict[int, int]) -> int:
        """A price for a maker on *side*, which never crosses the other side."""
        if side is self._bids:
            return min(self._fair, min(self._asks, default=self._fair + 1) - 1) - self._distance()
        return max(self._fair + 1, max(self._bids, default=self._fair) + 1) + self._distance()

    def _quote(self) -> None:
        """One maker's deed: a new level, a changed one, or one taken away."""
        side = self._bids if self._rng.random() < 0.5 else self._asks
        price = self._free_price(side)
        if price in side and self._rng.random() < 0.4:
            self._set(side, price, 0)
        else:
            self._set(side, price, self._order_size())
        if len(side) > LEVELS + SPARE:
            self._set(side, min(side) if side is self._bids else max(side), 0)

    def _refill(self) -> None:
        for side in (self._bids, self._asks):
            while len(side) < LEVELS:
                price = self._free_price(side)
                if price not in side:
                    self._set(side, price, self._order_size())

    def _take(self, time_us: int) -> None:
        """One taker's order: trades at the prices that stand on the book, best first, from three levels at most."""
        best_bid, best_ask = max(self._bids), min(self._asks)
        if best_ask <= self._fair or (best_bid <= self._fair and self._rng.random() < 0.5):
            name, side, best = "buy", self._asks, min
        else:
            name, side, best = "sell", self._bids, max
        left = self._order_size()
        for _ in range(3):
            price = best(side)
            size = min(left, side[price])
            self._set(side, price, side[price] - size)
            self._trade(time_us, price, size, name)
            left -= size
            if not left:
                return

    def take(self, side: str, levels: Sequence[tuple[Decimal, Decimal]]) -> list[Trade]:
        """
        A taker from outside, now: *side* "buy" takes asks, "sell" takes bids. Its trades, one for each level.

        *levels* are (price, size), each of which must stand on the book with at least that size.
        """
        book = self._asks if side == "buy" else self._bids
        for price, size in levels:
            ticks, lots = int(price / self.instrument.tick), int(size / self.instrument.lot)
            self._set(book, ticks, book[ticks] - lots)
            self._trade(self.now_us, ticks, lots, side)
        self._refill()
        self.book_us = self.now_us
        return list(self.trades)[len(self.trades) - len(levels) :]

    def trade(self, side: str, price: int, size: int) -> None:
        """
        A taker of *side* from outside, now: one trade of *size* lots at *price*, in ticks, `LEAST_PRICE` at least.

        The market is there from now on: makers take back what is in the way, or far behind, and quote around *price*.
        """
        self._fair = self._home = price - 1 if side == "buy" else price  # bids stand at the fair price or below, asks above
        for book, stays in (
            (self._bids, range(self._fair - WIDTH, price)),
            (self._asks, range(price + 1, self._fair + WIDTH + 1)),
        ):
            for level in [level for level in book if level not in stays]:
                self._set(book, level, 0)
        taken = self._asks if side == "buy" else self._bids
        self._set(taken, price, size)
        self._set(taken, price, 0)
        self._trade(self.now_us, price, size, side)
        self._refill()
        self.book_us = self.now_us

    def follow(self, price: Decimal) -> None:
        """
        Makers quote around *price* from now on, and take back what is in its way or far behind.

        For what is worth what something else makes it worth; it does not go below `LEAST_PRICE`.
        """
        fair = max(LEAST_PRICE, int(price / self.instrument.tick))
        if fair == self._fair:
            return
        self._home = self._fair = fair
        update_id = self.update_id
        for book, stays in ((self._bids, range(fair - WIDTH, fair + 1)), (self._asks, range(fair + 1, fair + WIDTH + 1))):
            for level in [level for level in book if level not in stays]:
                self._set(book, level, 0)
        self._refill()
        if self.update_id != update_id:
            self.book_us = self.now_us

    def _trade(self, time_us: int, price: int, size: int, side: str) -> None:
        self._last = price
        self.trades.append(Trade(next(self._ids), time_us, self._price(price), self._size(size), side))
        second = time_us // 1_000_000
        for bars, start in ((self._seconds, second), (self._minutes, second - second % MINUTE)):
            if not bars or bars[-1].start != start:
                bars.append(_Bar(start, price))
            bars[-1].add(price, size)

    def _growing_bars(self) -> Iterator[object]:
        """Those that trades are still added to."""
        for bars in (self._seconds, self._minutes):
            if bars:
                yield bars[-1]

    def _price(self, ticks: int) -> Decimal:
        return ticks * self.instrument.tick

    def _size(self, lots: int) -> Decimal:
        return lots * self.instrument.lot

    def _value(self, tick_lots: int) -> Decimal:
        return tick_lots * (self.instrument.tick * self.instrument.lot)

    @property
    def last(self) -> Decimal:
        """Price of the last trade."""
        return self._price(self._last)

    @property
    def top(self) -> Top:
        """Best bid and ask."""
        bid, ask = max(self._bids), min(self._asks)
        return Top(self._price(bid), self._size(self._bids[bid]), self._price(ask), self._size(self._asks[ask]))

    def book(self, limit: int, step: Decimal = Decimal(0)) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
        """
        The best *limit* bids and asks, price to size, best first.

        *step* joins levels: bids go down and asks go up to a multiple of it. One below the tick changes nothing.
        """
        group = max(1, int(step / self.instrument.tick))
        bids: dict[int, int] = {}
        for price in sorted(self._bids, reverse=True):
            joined = price - price % group
            if joined not in bids and len(bids) == limit:
                break
            bids[joined] = bids.get(joined, 0) + self._bids[price]
        asks: dict[int, int] = {}
        for price in sorted(self._asks):
            joined = price + -price % group
            if joined not in asks and len(asks) == limit:
                break
            asks[joined] = asks.get(joined, 0) + self._asks[price]
        return (
            {self._price(price): self._size(size) for price, size in bids.items()},
            {self._price(price): self._size(size) for price, size in asks.items()},
        )

    def trades_after(self, trade_id: int) -> list[Trade]:
        """Kept trades with a larger id, newest first."""
        return list(itertools.takewhile(lambda trade: trade.id > trade_id, reversed(self.trades)))

    def _bars(self, interval: int, since: int) -> list[_Bar]:
        """
        Kept bars that begin at *since* (Unix seconds) or later, oldest first, and the last one before them.

        They are of seconds if *interval* is below a minute, else of minutes.
        """
        found = []
        for bar in reversed(self._seconds if interval < MINUTE else self._minutes):
            found.append(bar)
            if bar.start < since:
                break
        found.reverse()
        return found

    def candles(self, interval: int, since: int, until: int) -> list[Candle]:
        """
        Candles of *interval* seconds that begin between *since* and *until* (Unix seconds, both included), oldest first.

        Intervals begin at multiples of *interval* in Unix time. None begins before the first trade kept or after now.
        """
        until = min(until, self.now_us // 1_000_000)
        kept = self._bars(interval, since - since % interval)
        joined: dict[int, _Bar] = {}
        for bar in kept:
            start = bar.start - bar.start % interval
            if start not in joined:
                joined[start] = _Bar(start, bar.open)
            joined[start].merge(bar)
        candles = []
        close: int | None = None
        for start in range(kept[0].start - kept[0].start % interval, until + 1, interval):
            found = joined.get(start)
            if found is None:
                assert close is not None, "the first interval has a trade"
                found = _Bar(start, close)
            close = found.close
            if start >= since:
                candles.append(self._candle(found))
        return candles

    def _candle(self, bar: _Bar) -> Candle:
        return Candle(
            bar.start,
            self._price(bar.open),
            self._price(bar.high),
            self._price(bar.low),
            self._price(bar.close),
            self._size(bar.volume),
            self._value(bar.value),
        )

    def statistics(self, since: int) -> Statistics:
        """Trades since *since* (Unix seconds); the window begins at a whole minute, or a whole second within the last hour."""
        interval = 1 if self.now_us // 1_000_000 - since < SECONDS_KEPT else MINUTE
        whole = _Bar(since, self._last)
        begin = since - since % interval
        bars = [bar for bar in self._bars(interval, begin) if bar.start >= begin]
        if bars:
            whole = _Bar(since, bars[0].open)
            for bar in bars:
                whole.merge(bar)
        return Statistics(
            self.last,
            self._price(whole.open),
            self._price(whole.high),
            self._price(whole.low),
            self._size(whole.volume),
            self._value(whole.value),
        )


class _Serials:
    """Whole numbers from one on; unlike `itertools.count` to be pickled in every Python."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self._next += 1
        return self._next - 1


class Markets:
    """
    Several markets under one clock, with six hours of history. Not thread-safe.

    `start_us` and `now_us` are Unix time in microseconds.
    """

    def __init__(self, start_us: int, *, seed: object = 0, instruments: Sequence[Instrument] = INSTRUMENTS) -> None:
        first_us = start_us - HISTORY_STEPS * HISTORY_STEP_US
        ids = _Serials(random.Random(f"{seed}/ids").randrange(10_000_000, 50_000_000))
        self.markets = tuple(
            Market(instrument, f"{seed}/{instrument.base}/{instrument.quote}/{instrument.perpetual}", ids, first_us)
            for instrument in instruments
        )
        self._also: dict[tuple[object, Sequence[Instrument]], Markets] = {}  # what `also` has made
        self.now_us = first_us
        for _ in range(HISTORY_STEPS):
            self.step(self.now_us + HISTORY_STEP_US, busy=True)

    def step(self, now_us: int, *, busy: bool = False) -> None:
        """Let the time until *now_us* pass in all markets; *busy* puts a taker's order in each."""
        if now_us <= self.now_us:
            raise ValueError(f"now_us={now_us}: takes a moment after {self.now_us}")
        self.now_us = now_us
        for market in self.markets:
            market.step(now_us, busy=busy)
        for further in self._also.values():
            further.step(now_us, busy=busy)

    def also(self, instruments: tuple[Instrument, ...], seed: object) -> tuple[Market, ...]:
        """
        Markets of *instruments* that take every step with these from now on; asked again, the same.

        They are not among `markets`, and have random numbers and trade ids of their own: who does not ask sees no difference.
        """
        if (seed, instruments) not in self._also:
            self._also[seed, instruments] = markets_at(self.now_us, seed, instruments)
        return self._also[seed, instruments].markets


def markets_at(start_us: int, seed: object, instruments: tuple[Instrument, ...] = INSTRUMENTS) -> Markets:
    """`Markets`; those made before for the same arguments are copied, in a fraction of the time."""
    data, values = _pickled(start_us, seed, instruments)
    copy: Markets = _Unpickler(data, values).load()
    return copy


@functools.lru_cache(maxsize=16)
def _pickled(start_us: int, seed: object, instruments: tuple[Instrument, ...]) -> tuple[bytes, Sequence[object]]:
    """Markets, and those of their values that all copies share."""
    file = io.BytesIO()
    made = Markets(start_us, seed=seed, instruments=instruments)
    pickler = _Pickler(file, {id(bar) for market in made.markets for bar in market._growing_bars()})
    pickler.dump(made)
    return file.getvalue(), pickler.values


class _Pickler(pickle.Pickler):
    """Leaves out what changes no more: to make thousands of trades and bars anew is most of the time of a copy."""

    def __init__(self, file: io.BytesIO, growing: set[int]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.values: list[object] = []
        self._growing = growing  # bars, by `id`

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, (Trade, Instrument, _Bar)) or id(value) in self._growing:
            return None
        self.values.append(value)
        return len(self.values) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, values: Sequence[object]) -> None:
        super().__init__(io.BytesIO(data))
        self._values = values

    def persistent_load(self, number: int) -> object:
        return self._values[number]
