"""Order books: what each rule lets through, what is read of the levels, and that a broken book waits for a snapshot."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from exchange_ws.errors import SequenceGap, UsageError
from exchange_ws.events import BookUpdate
from exchange_ws.orderbook import BREAK, OVERTAKEN_S, SKIP, TAKE, Book, consecutive, linked, restarting, whole

BIDS = [("99", "2"), ("98", "3"), ("97", "5")]
ASKS = [("101", "1"), ("102", "4"), ("103", "6")]


def levels(*pairs, numbers=Decimal):
    return tuple((numbers(price), numbers(size)) for price, size in pairs)


def update(kind="delta", bids=(), asks=(), sequence=None, previous=None, time=None, numbers=Decimal):
    """One update of made-up symbol X."""
    sides = levels(*bids, numbers=numbers), levels(*asks, numbers=numbers)
    return BookUpdate("made-up", "book", "X", time, 0.0, None, None, kind, *sides, sequence, previous)


def book(follows=linked, limit=None, numbers=Decimal, **snapshot):
    """A book with the six levels above, numbered 10."""
    made = Book(follows, limit=limit)
    made.apply(update("snapshot", BIDS, ASKS, 10, numbers=numbers, **snapshot))
    return made


# Levels ----------------------------------------------------------------------------------------------------------------------


def test_read():
    """Both sides are read best first, and what follows from their best."""
    read = book()
    assert (list(levels(*BIDS)), list(levels(*ASKS))) == (read.bids, read.asks)
    assert tuple(map(Decimal, ("99", "101", "100", "2"))) == (read.best_bid, read.best_ask, read.mid, read.spread)
    assert (levels(*BIDS[:1]), levels(*ASKS[:1])) == tuple(map(tuple, read.top(1)))


def test_any_order():
    """A snapshot may name its levels in any order, and those with nothing there."""
    read = Book()
    read.apply(update("snapshot", [*BIDS[::-1], ("96", "0.000")], ASKS[::-1], 10))
    assert book() == read


def test_empty():
    """Before the first snapshot, and of a side without orders, there is nothing to be read."""
    read = Book()
    assert ([], [], None, None, None, None, False) == (
        read.bids,
        read.asks,
        read.best_bid,
        read.best_ask,
        read.mid,
        read.spread,
        read.whole,
    )
    assert (0, None) == (read.depth(100), read.vwap("buy", 1))
    read.apply(update("snapshot", [], ASKS, 1))
    assert (True, None, Decimal(101), None) == (read.whole, read.best_bid, read.best_ask, read.mid)


def test_change():
    """A change sets sizes, adds levels, and removes those of size 0, however it is spelled, whether they are there or not."""
    read = book()
    assert read.apply(update(bids=[("99", "0.0"), ("98", "7"), ("98.5", "1"), ("1", "0")], sequence=11, previous=10))
    assert (list(levels(("98.5", "1"), ("98", "7"), ("97", "5"))), list(levels(*ASKS))) == (read.bids, read.asks)
    assert 11 == read.sequence


def test_same_price_in_other_digits():
    """100 and 100.00 are one price."""
    read = book()
    read.apply(update(bids=[("99.00", "8")], sequence=11, previous=10))
    assert (3, Decimal(8)) == (len(read.bids), read.bids[0][1])


def test_limit():
    """Levels that others push beyond the limit leave the book, also those that the exchange does not remove."""
    read = book(limit=3)
    read.apply(update(bids=[("100", "1")], asks=[("100.5", "1"), ("104", "1")], sequence=11, previous=10))
    assert (["100", "99", "98"], ["100.5", "101", "102"]) == tuple(
        [str(price) for price, _ in side] for side in (read.bids, read.asks)
    )


def test_depth():
    """The price tells the side; between the best prices nothing stands."""
    read = book()
    found = [read.depth(price) for price in ("99", "98", "97.5", "1", "99.5", "100", "101", "102.5", "999")]
    assert list(map(Decimal, "2 5 5 10 0 0 1 5 11".split())) == found


@pytest.mark.parametrize(
    ("side", "size", "price"),
    [("buy", "1", "101"), ("buy", "2", "101.5"), ("buy", "5", "101.8"), ("sell", "5", "98.4"), ("buy", "11", None)],
)
def test_vwap(side, size, price):
    """What a taker pays on average, level by level; None where the book ends before, and not where it ends just there."""
    read = book()
    expected = sum(p * s for p, s in read.asks) / 11 if price is None else Decimal(price)
    assert expected == read.vwap(side, size)
    assert read.vwap(side, 12) is None


def test_floats():
    """A book of floats reads and computes floats, whatever it is asked with."""
    read = book(numbers=float)
    assert (100.0, 2.0, 101.5, 5.0) == (read.mid, read.spread, read.vwap("buy", Decimal(2)), read.depth("98"))
    assert {float} == {type(number) for number in (read.mid, read.vwap("buy", 2), read.depth(98), read.depth(100))}


@pytest.mark.parametrize(
    "call",
    [
        lambda read: read.vwap("bid", 1),
        lambda read: read.vwap("buy", 0),
        lambda read: read.vwap("buy", float("nan")),
        lambda read: read.vwap("buy", True),
        lambda read: read.depth("cheap"),
        lambda read: read.depth(Decimal("sNaN")),
        lambda read: read.top(0),
        lambda read: Book(limit=0),
        lambda read: Book(limit=True),
        lambda read: Book().apply(update("snapshot", BIDS, ASKS, numbers=str)),
    ],
)
def test_senseless(call):
    """What cannot be answered is refused with a word on what it takes."""
    with pytest.raises(UsageError, match="takes"):
        call(book())


def test_copy():
    """A copy stays as it is, and goes on by the same rules."""
    read = book(limit=3)
    copy = read.copy()
    read.apply(update(bids=[("100", "1")], sequence=11, previous=10))
    assert (book(), 10) == (copy, copy.sequence)
    assert read != copy
    copy.apply(update(bids=[("100", "1")], sequence=11, previous=10))
    assert read == copy


def test_lists_are_the_callers():
    """Whoever changes what was read changes nothing of the book."""
    read = book()
    read.bids.clear()
    assert 3 == len(read.bids)


# Rules -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "what", "says"),
    [
        (linked, {"sequence": 12, "previous": 10}, TAKE),
        (linked, {"sequence": 12, "previous": 11}, BREAK),
        (linked, {"sequence": 10, "previous": 9}, BREAK),
        (linked, {"sequence": 11}, BREAK),
        (linked, {"kind": "snapshot", "sequence": 3}, TAKE),
        (consecutive, {"sequence": 11}, TAKE),
        (consecutive, {"sequence": 10}, SKIP),
        (consecutive, {"sequence": 1}, SKIP),
        (consecutive, {"sequence": 12}, BREAK),
        (consecutive, {}, BREAK),
        (consecutive, {"kind": "snapshot", "sequence": 1}, TAKE),
        (restarting, {"sequence": 11}, TAKE),
        (restarting, {"sequence": 10}, SKIP),
        (restarting, {"sequence": 2}, SKIP),
        (restarting, {"sequence": 2, "time": 100.0}, SKIP),
        (restarting, {"sequence": 2, "time": 100.1}, BREAK),
        (restarting, {"sequence": 10, "time": 100.0}, SKIP),
        (restarting, {"sequence": 10, "time": 100.1}, BREAK),
        (restarting, {"kind": "snapshot", "sequence": 10, "time": 100.1}, SKIP),
        (restarting, {"sequence": 1}, BREAK),
        (restarting, {"sequence": 12}, BREAK),
        (restarting, {}, BREAK),
        (restarting, {"kind": "snapshot", "sequence": 1}, TAKE),
        (restarting, {"kind": "snapshot", "sequence": 9}, TAKE),
        (restarting, {"kind": "snapshot", "sequence": 10}, SKIP),
        (restarting, {"kind": "snapshot", "sequence": 11}, TAKE),
        (restarting, {"kind": "snapshot"}, TAKE),
        (whole, {"kind": "snapshot", "time": 101.0}, TAKE),
        (whole, {"kind": "snapshot", "time": 100.0}, TAKE),
        (whole, {"kind": "snapshot", "time": 99.9}, SKIP),
        (whole, {"kind": "snapshot", "time": 99.9 - OVERTAKEN_S}, TAKE),
        (whole, {"kind": "snapshot"}, TAKE),
        (whole, {"time": 101.0}, BREAK),
    ],
)
def test_rules(rule, what, says):
    """Each rule tells what follows number 10 of time 100, what is old, and what does not follow."""
    assert says == rule(book(rule, time=100.0), update(**what))


def test_unnumbered_chain():
    """Where the number of the last one is not known, nothing follows it."""
    read = Book(linked)
    read.apply(update("snapshot", BIDS, ASKS))
    assert (BREAK, BREAK) == (linked(read, update(sequence=2)), consecutive(read, update(sequence=2)))


def test_restarted_twice():
    """Two whole books with the number 1 may be two restarts, and are both taken; what follows counts on from there."""
    read = book(restarting)
    found = [read.apply(update("snapshot", BIDS[:count], ASKS, sequence=1)) for count in (3, 2)]
    assert ([True, True], 2) == (found, len(read.bids))
    assert (True, SKIP) == (read.apply(update(sequence=2)), restarting(read, update("snapshot", sequence=2)))


# Breaks ----------------------------------------------------------------------------------------------------------------------


def test_break():
    """A link that is missing is told once; changes are left out until a snapshot begins another chain."""
    read = book()
    with pytest.raises(SequenceGap, match=r"X: update 13 \(after 12\) does not follow 10") as caught:
        read.apply(update(bids=[("99", "7")], sequence=13, previous=12))
    assert (10, 12, False) == (caught.value.expected, caught.value.previous, read.whole)
    assert not read.apply(update(bids=[("99", "8")], sequence=14, previous=13))
    assert book() == read
    assert read.apply(update("snapshot", BIDS[:1], ASKS[:1], 20))
    assert read.apply(update(bids=[("99", "8")], sequence=21, previous=20))
    assert (True, list(levels(("99", "8")))) == (read.whole, read.bids)


def test_changes_before_the_snapshot():
    """What comes before there is a book cannot be applied, and is no break."""
    read = Book()
    assert not read.apply(update(bids=BIDS, sequence=2, previous=1))
    assert ([], False) == (read.bids, read.whole)


def test_doubt():
    """A book that was told of a hole waits for a snapshot though the numbers go on."""
    read = book()
    read.doubt()
    assert (False, False) == (read.apply(update(sequence=11, previous=10)), read.whole)


def test_old():
    """What a rule calls old is left out, and the book stays whole."""
    read = book(consecutive)
    assert (False, True) == (read.apply(update(bids=[("99", "0")], sequence=10)), read.whole)
    assert book() == read


@pytest.mark.parametrize("price", ["101", "101.5"])
@pytest.mark.parametrize("kind", ["snapshot", "delta"])
def test_crossed(kind, price):
    """A bid at or above the best ask shows that something was missed, though the numbers go on."""
    read = book()
    with pytest.raises(SequenceGap, match=f"crosses the book: {price} is bid, 101 asked"):
        read.apply(update(kind, [(price, "1")], ASKS, 11, 10))
    assert (True, False) == (read.crossed, read.whole)


@pytest.mark.parametrize("price", ["NaN", "sNaN"])
@pytest.mark.parametrize("kind", ["snapshot", "delta"])
@pytest.mark.parametrize("numbers", [float, Decimal])
def test_unreadable_number(numbers, kind, price):
    """A price that cannot be compared breaks the book: it must not stay whole with half of an update, or in no order."""
    if (numbers, price) == (float, "sNaN"):
        price = "-nan"
    read = book(numbers=numbers)
    with pytest.raises((ArithmeticError, TypeError, ValueError)):
        read.apply(update(kind, [("99", "9"), (price, "1"), ("98", "1")], sequence=11, previous=10, numbers=numbers))
    assert not read.whole


def test_error_is_picklable():
    """As all errors are."""
    error = pickle.loads(pickle.dumps(SequenceGap("text", expected=1, previous=2)))
    assert ("text", 1, 2) == (str(error), error.expected, error.previous)


def test_repr():
    """A book tells its best prices, how many levels it has, and whether it is whole."""
    read = book()
    assert "<Book 99 / 101, 3 bids, 3 asks>" == repr(read)
    read.doubt()
    assert "<Book 99 / 101, 3 bids, 3 asks, not whole>" == repr(read)
