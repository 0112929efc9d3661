"""The seeded markets: everything that is told about one of them agrees."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from exchange_ws.sandbox.market import (
    INSTRUMENTS,
    LEAST_PRICE,
    LEVELS,
    Candle,
    Instrument,
    Markets,
    Statistics,
    Top,
    markets_at,
)

EPOCH_US = 1_700_000_000_000_000
STEP_US = 100_000
DAY = 86400


def walked(steps, *, seed=5, start_us=EPOCH_US):
    markets = Markets(start_us, seed=seed)
    for _ in range(steps):
        markets.step(markets.now_us + STEP_US)
    return markets


@pytest.fixture(scope="module")
def far():
    """Markets after many steps, for tests that only look."""
    return walked(400)


def picture(markets):
    """All that can be seen of *markets*."""
    return [(list(m.trades), m.book(1000), m.top, m.last, m.update_id, m.book_us) for m in markets.markets]


def added_up(trades, start):
    """A candle from *trades*, written independently of the market's bars."""
    prices = [trade.price for trade in trades]
    return Candle(
        start,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum((trade.size for trade in trades), Decimal(0)),
        sum((trade.price * trade.size for trade in trades), Decimal(0)),
    )


def test_same_seed_same_markets():
    """The seed decides everything, step by step; another seed gives something else."""
    assert picture(walked(50)) == picture(walked(50))
    assert picture(walked(50)) != picture(walked(50, seed=6))


def test_copies():
    """Markets made again for the same seed are the same, and go on by themselves."""

    def bars(markets):
        now = markets.now_us // 1_000_000
        return [[market.candles(step, now - 60 * step, now) for step in (1, 60)] for market in markets.markets]

    moved, still = markets_at(EPOCH_US, 5), markets_at(EPOCH_US, 5)
    for _ in range(50):
        moved.step(moved.now_us + STEP_US)
    assert (picture(walked(50)), picture(walked(0))) == (picture(moved), picture(still))
    assert (bars(walked(50)), bars(walked(0))) == (bars(moved), bars(still))


def test_markets_beside():
    """Markets that one exchange adds take the same steps, are the same when asked for again, and change nothing for others."""
    markets, other = walked(0), walked(0)
    instruments = (
        Instrument("BTC", "USD", Decimal(67500), Decimal("0.5"), Decimal(1), 1000, 0.9, perpetual=True, inverse=True),
    )
    (further,) = markets.also(instruments, "more")
    for _ in range(50):
        for each in (markets, other):
            each.step(each.now_us + STEP_US)
    assert picture(markets) == picture(other)
    assert (further,) == markets.also(instruments, "more") and further not in markets.markets
    assert markets.now_us == further.now_us and 150 <= len(further.trades)
    assert further.trades[0].time_us < EPOCH_US < further.trades[-1].time_us


def test_market_that_follows():
    """Makers quote around what a market is told to follow, at once; a price too low for markets is not followed further."""
    market = walked(0).markets[0]
    for price, fair in (("70000", "70000"), ("69999.994", "69999.99"), ("1", LEAST_PRICE * market.instrument.tick)):
        market.follow(Decimal(price))
        bids, asks = market.book(1000)
        assert max(bids) <= Decimal(fair) < min(asks)
        assert max(asks) - min(bids) <= 2 * 600 * market.instrument.tick
        assert min(len(bids), len(asks)) >= LEVELS
    told = (market.update_id, market.book_us)
    market.follow(Decimal(2))
    assert told == (market.update_id, market.book_us)


def test_time_changes_only_stamps():
    """The same steps at another time give the same prices and ids."""
    early, late = walked(50), walked(50, start_us=EPOCH_US + 12_345_678_901)
    for one, other in zip(early.markets, late.markets):
        assert [attrs.evolve(trade, time_us=0) for trade in one.trades] == [
            attrs.evolve(trade, time_us=0) for trade in other.trades
        ]
        assert one.book(1000) == other.book(1000)


def test_history():
    """A market starts with hundreds of trades and hours of candles behind it, all before its start."""
    for market in walked(0).markets:
        assert 150 <= len(market.trades) < 1000
        assert EPOCH_US - 6 * 3600 * 1_000_000 <= market.trades[0].time_us < market.trades[-1].time_us <= EPOCH_US
        # The first trade comes within the first step, of three minutes.
        assert 6 * 60 - 3 <= len(market.candles(60, 0, DAY * 365 * 100)) <= 6 * 60 + 1


def test_a_step_needs_time():
    """Time does not stand still, let alone go back."""
    markets = walked(0)
    with pytest.raises(ValueError, match="takes a moment after"):
        markets.step(markets.now_us)


def test_books_never_cross_and_stay_full():
    """Best bid below best ask, on the grid, with enough levels, after each of many steps."""
    markets = walked(0)
    for _ in range(150):
        markets.step(markets.now_us + STEP_US)
        for market in markets.markets:
            bids, asks = market.book(LEVELS)
            assert list(bids) == sorted(bids, reverse=True) and list(asks) == sorted(asks)
            assert 0 < min(bids) and max(bids) < min(asks)
            assert (LEVELS, LEVELS) == (len(bids), len(asks))
            assert all(price % market.instrument.tick == 0 for price in (*bids, *asks))
            assert all(size > 0 and size % market.instrument.lot == 0 for size in (*bids.values(), *asks.values()))


def test_trades_take_from_the_book():
    """A taker's trades are what is missing from the other side afterwards, the best prices first."""
    market = walked(0).markets[0]
    for _ in range(30):
        bids, asks = market.book(1000)
        last_id = market.trades[-1].id
        market._take(market.now_us)
        trades = market.trades_after(last_id)[::-1]
        (side,) = {trade.side for trade in trades}
        taken = asks if side == "buy" else bids
        assert list(taken)[: len(trades)] == [trade.price for trade in trades]
        for trade in trades:
            taken[trade.price] -= trade.size
        expected = {price: size for price, size in taken.items() if size}
        left = market.book(1000)
        assert expected == left[1 if side == "buy" else 0]
        assert (bids if side == "buy" else asks) == left[0 if side == "buy" else 1]
        assert trades[-1].price == market.last


def test_ids_rise_over_all_markets():
    """A trade id occurs once, and rises with time within a market."""
    markets = walked(200)
    ids = [trade.id for market in markets.markets for trade in market.trades]
    assert len(set(ids)) == len(ids)
    for market in markets.markets:
        own = [(trade.time_us, trade.id) for trade in market.trades]
        assert sorted(own) == own and sorted(own, key=lambda pair: pair[1]) == own


def test_a_busy_market():
    """At ten steps a second the busiest market has at least two trades a second, the quiet one next to none."""
    markets = walked(0)
    starts = [market.trades[-1].id for market in markets.markets]
    for _ in range(100):
        markets.step(markets.now_us + STEP_US)
    counts = [len(market.trades_after(start)) for market, start in zip(markets.markets, starts)]
    assert counts[0] >= 20 and counts[-1] < 10


def test_update_id_counts_levels():
    """The id moves if and only if the book does; it may jump."""
    markets = walked(0)
    jumps = 0
    for _ in range(100):
        before = [(market.update_id, market.book(1000)) for market in markets.markets]
        markets.step(markets.now_us + STEP_US)
        for market, (update_id, book) in zip(markets.markets, before):
            if market.book(1000) != book:
                assert market.update_id > update_id
            jumps += market.update_id > update_id + 1
    assert jumps > 50


@pytest.mark.parametrize("interval", [1, 5, 30, 60, 300, 3600, DAY])
def test_candles_are_made_of_trades(far, interval):
    """Each candle is the sum of the trades of its interval; the next one begins where it ends."""
    market = far.markets[0]
    first_second = market.trades[0].time_us // 1_000_000
    candles = market.candles(interval, first_second - DAY, far.now_us // 1_000_000)
    assert [candle.start for candle in candles] == list(range(candles[0].start, candles[-1].start + 1, interval))
    close = None
    parts = {}
    for trade in market.trades:
        second = trade.time_us // 1_000_000
        parts.setdefault(second - second % interval, []).append(trade)
    for candle in candles:
        trades = parts.get(candle.start)
        if trades:
            assert added_up(trades, candle.start) == candle
        else:
            assert Candle(candle.start, close, close, close, close, Decimal(0), Decimal(0)) == candle
        close = candle.close
    assert market.last == candles[-1].close


def test_candles_of_a_part(far):
    """A request for part of the time gives that part of the whole, gaps included."""
    now = far.now_us // 1_000_000
    for market in far.markets:
        whole = market.candles(5, 0, now)
        since, until = whole[100].start - 3, whole[200].start
        assert whole[100:201] == market.candles(5, since, until)
        assert whole[-3:] == market.candles(5, whole[-3].start, now + 1000)


def test_statistics_are_made_of_trades():
    """A long window sums up every trade; one without trades has the last price four times."""
    markets = walked(400)
    market = markets.markets[0]
    whole = added_up(market.trades, 0)
    expected = Statistics(market.last, whole.open, whole.high, whole.low, whole.volume, whole.quote_volume)
    assert expected == market.statistics(markets.now_us // 1_000_000 - DAY)
    quiet = markets.markets[-1]
    last = quiet.last
    assert Statistics(last, last, last, last, Decimal(0), Decimal(0)) == quiet.statistics(markets.now_us // 1_000_000 + 1)


def test_statistics_of_the_last_seconds():
    """Within the hour a window begins at its second."""
    markets = walked(400)
    market = markets.markets[0]
    since = markets.now_us // 1_000_000 - 20
    trades = [trade for trade in market.trades if trade.time_us >= since * 1_000_000]
    assert len(trades) < len(market.trades)
    assert sum(trade.size for trade in trades) == market.statistics(since).volume


def test_top_is_the_first_level():
    """The book ticker and the book are one."""
    for market in walked(20).markets:
        bids, asks = market.book(1)
        (bid,), (ask,) = bids.items(), asks.items()
        assert Top(*bid, *ask) == market.top


def test_joined_levels():
    """Joining keeps the total, moves bids down and asks up to the grid, and cuts after joining."""
    market = walked(50).markets[0]
    bids, asks = market.book(1000)
    joined_bids, joined_asks = market.book(1000, Decimal("0.1"))
    assert (sum(bids.values()), sum(asks.values())) == (sum(joined_bids.values()), sum(joined_asks.values()))
    assert max(bids) - Decimal("0.1") < max(joined_bids) <= max(bids)
    assert min(asks) <= min(joined_asks) < min(asks) + Decimal("0.1")
    assert all(price % Decimal("0.1") == 0 for price in (*joined_bids, *joined_asks))
    assert dict(list(joined_bids.items())[:5]) == market.book(5, Decimal("0.1"))[0]


def test_prices_are_exact():
    """Nothing has passed through a float: each price is a whole number of ticks, written as such."""
    for market in walked(50).markets:
        places = market.instrument.tick.as_tuple().exponent
        assert {places} == {trade.price.as_tuple().exponent for trade in market.trades}
    assert len(INSTRUMENTS) == len(walked(0).markets)


def test_a_taker_from_outside():
    """What it takes is gone from the book, traded at those prices now, and the book is full as ever."""
    markets = walked(5)
    market = markets.markets[0]
    (first, first_size), (second, second_size), *_ = market.book(2)[1].items()
    trades = market.take("buy", [(first, first_size), (second, second_size / 2)])
    told = [(trade.price, trade.size, trade.side, trade.time_us) for trade in trades]
    assert [(first, first_size, "buy", markets.now_us), (second, second_size / 2, "buy", markets.now_us)] == told
    assert trades == list(market.trades)[-2:]
    bids, asks = market.book(LEVELS)
    assert (LEVELS, LEVELS) == (len(bids), len(asks))
    assert (first in asks, asks[second], market.last) == (False, second_size / 2, second)
    assert max(bids) < min(asks)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("share", [Decimal("0.5"), Decimal("0.9999"), Decimal(1), Decimal("1.0001"), Decimal(2)])
def test_a_market_that_is_moved(side, share):
    """One trade at the price; the book is full and whole around it, then and after more steps, which stay near."""
    markets = walked(5)
    for market in markets.markets:
        price = max(LEAST_PRICE, int(market.last * share / market.instrument.tick))
        market.trade(side, price, 7)
        at, tick = price * market.instrument.tick, market.instrument.tick
        trade = market.trades[-1]
        assert (at, 7 * market.instrument.lot, side, markets.now_us) == (trade.price, trade.size, trade.side, trade.time_us)
        for _ in range(50):
            bids, asks = market.book(LEVELS)
            assert (LEVELS, LEVELS) == (len(bids), len(asks))
            assert 0 < min(bids) and max(bids) < min(asks)
            assert abs(market.top.bid - at) < at / 100 + 600 * tick
            market.step(market.now_us + STEP_US)
        assert abs(market.last - at) < at / 100 + 600 * tick


def test_the_book_around_a_trade():
    """Makers take back what stood in its way, and what is far behind: there is one trade, between bid and ask."""
    market = walked(5).markets[0]
    before, price = market.trades[-1], int(market.top.ask / market.instrument.tick) + 300
    market.trade("buy", price, 1)
    assert [price * market.instrument.tick] == [trade.price for trade in market.trades_after(before.id)]
    assert market.top.bid <= price * market.instrument.tick <= market.top.ask
