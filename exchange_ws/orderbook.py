"""
An order book, kept from snapshots and changes: values in, values out.

`Book` applies the `BookUpdate` events of one symbol, of a live stream or of a recording. What each exchange promises of the
order of its updates is one of the rules here, or a function like them: it looks at the book and at an update, and says what is
to be done with it. A live book that mends itself is `exchange_ws.OrderBook`, made by a client's `order_book`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from decimal import Decimal
from math import isnan
from typing import Any, Callable

from exchange_ws.errors import SequenceGap, UsageError
from exchange_ws.events import BookUpdate, Number

__all__ = ["BREAK", "SKIP", "TAKE", "Book", "Rule", "consecutive", "linked", "restarting", "whole"]

#: What a rule says of an update: apply it, leave it out since it is old, or something is missing before it.
TAKE, SKIP, BREAK = "take", "skip", "break"

#: Whether an update follows the last one that a book applied; asked only while that is known.
Rule = Callable[["Book", BookUpdate], str]

#: Seconds by which a whole book may be older than the one before it and be taken for one that was overtaken on its way. More is
#: no delay but a clock that was set: to leave those books out would stop ours for as long.
OVERTAKEN_S = 10.0


def linked(book: Book, update: BookUpdate) -> str:
    """Each change names the one before it as `previous`. A snapshot stands for itself: its number may have jumped."""
    if update.kind == "snapshot" or (update.previous is not None and update.previous == book.sequence):
        return TAKE
    return BREAK


def consecutive(book: Book, update: BookUpdate) -> str:
    """The number of each change is one more than that before it; a lower one is old. A snapshot stands for itself."""
    if update.kind == "snapshot":
        return TAKE
    if update.sequence is None or book.sequence is None or update.sequence > book.sequence + 1:
        return BREAK
    return TAKE if update.sequence == book.sequence + 1 else SKIP


def restarting(book: Book, update: BookUpdate) -> str:
    """
    As `consecutive`, of an exchange that counts from 1 again when it has restarted, and begins with a whole book then.

    A change with the number 1 is no such book, and follows none. Nor does one whose number is not higher than that of the last
    update, but its time is later: such a book was missed. A whole book with the number of the last update says that nothing
    has changed, and is left out; unless that is 1, since it may have restarted twice.
    """
    if update.kind == "snapshot":
        return SKIP if update.sequence is not None and 1 != update.sequence == book.sequence else TAKE
    if book.sequence and update.sequence == book.sequence + 1:  # hot path: `consecutive` would say so too, later
        return TAKE
    says = BREAK if update.sequence == 1 else consecutive(book, update)
    later = update.time is not None and book.time is not None and update.time > book.time
    return BREAK if says == SKIP and later else says


def whole(book: Book, update: BookUpdate) -> str:
    """Each update is the whole book, and heals what was missed; one that was overtaken by a newer one is left out."""
    if update.kind != "snapshot":
        return BREAK
    if update.time is None or book.time is None:
        return TAKE
    return SKIP if 0.0 < book.time - update.time <= OVERTAKEN_S else TAKE


class Side:
    """
    One side: the size at each price, and the prices in order.

    Most changes set the size of a level that is there: they cost one look into the dictionary. Where levels come and go, the
    place is found, and what is behind it is moved, in C: 2.3 us for a change of 4 to 20 of 100 levels, 4.6 us of 5,000, where
    `SortedDict` of sortedcontainers takes 5.5 and 7.9 us (CPython 3.11; tests/benchmarks/books.py measures these and others).
    """

    __slots__ = ("descending", "prices", "sizes")

    def __init__(self, *, descending: bool) -> None:
        self.descending = descending  # whether the best price is the last one: bids
        self.prices: list[Number] = []  # ascending
        self.sizes: dict[Number, Number] = {}  # by price; in no order

    def replace(self, levels: Iterable[tuple[Number, Number]]) -> None:
        """Have these levels and no others, whatever their order."""
        # hot path
        sizes = {price: size for price, size in levels if size > 0 or _refused(size)}
        prices = sorted(sizes)
        if prices and prices[0].__class__ is float and isnan(sum(prices)):  # a Decimal that is no number cannot be sorted
            raise ValueError("a price that is no number")
        self.prices, self.sizes = prices, sizes

    def change(self, levels: Iterable[tuple[Number, Number]]) -> None:
        """Set the size of these levels; 0 removes one, which need not be there."""
        # hot path
        prices, sizes = self.prices, self.sizes
        for price, size in levels:
            if size > 0:
                if price not in sizes:
                    if price != price:
                        raise ValueError("a price that is no number")
                    insort(prices, price)
                sizes[price] = size
            elif not _refused(size) and price in sizes:
                del sizes[price], prices[bisect_left(prices, price)]

    def cut(self, limit: int) -> None:
        """Leave the best *limit* levels."""
        over = len(self.prices) - limit
        if over > 0:
            worst = slice(0, over) if self.descending else slice(limit, None)
            for price in self.prices[worst]:
                del self.sizes[price]
            del self.prices[worst]

    @property
    def best(self) -> Number | None:
        """The best price; None if there is nothing."""
        prices = self.prices
        return (prices[-1] if self.descending else prices[0]) if prices else None

    def best_first(self, count: int | None = None) -> list[tuple[Number, Number]]:
        """Levels, or the best *count* of them."""
        if self.descending:
            part = slice(None, None if count is None else -count - 1, -1)
        else:
            part = slice(count)
        sizes = self.sizes
        return [(price, sizes[price]) for price in self.prices[part]]


class Book:
    """
    The order book of one symbol. Not thread-safe.

    Numbers are those of the updates, `decimal.Decimal` or `float`; text cannot be sorted as numbers, and is refused.

    Parameters
    ----------
    follows
        The rule of the exchange: `linked`, `consecutive`, `restarting`, `whole`, or a function like these.
    limit
        Levels a side that the exchange keeps up; those that changes push beyond it leave the book. None: all.
    """

    def __init__(self, follows: Rule = linked, *, limit: int | None = None) -> None:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise UsageError(f"limit={limit!r}: takes a whole number of 1 or more, or None")
        self._follows = follows
        self._limit = limit
        self._bids = Side(descending=True)
        self._asks = Side(descending=False)
        self.whole = False  #: whether nothing is missing: no before the first snapshot, nor from a break to the next one
        self.sequence: int | None = None  #: of the last update that was applied, where the exchange numbers them
        self.time: float | None = None  #: the same update's: Unix seconds by the exchange's clock, None if not told

    def apply(self, update: BookUpdate) -> bool:
        """
        Take one update.

        Returns
        -------
        bool
            Whether it was applied. Left out are updates that the rule calls old, and changes while a snapshot is awaited.

        Raises
        ------
        SequenceGap
            It does not follow the one before it, or leaves the best bid at or above the best ask, which no book of an exchange
            is. The book is not `whole` from here on, and waits for a snapshot.
        UsageError
            Its numbers are text.
        ValueError, ArithmeticError, TypeError
            A price or a size is no number, or a size below 0. The book is not `whole` either.
        """
        # hot path
        if self.whole:
            says = self._follows(self, update)
            if says == SKIP:
                return False
            if says == BREAK:
                self.whole = False
                raise SequenceGap(
                    f"{update.symbol}: update {_named(update)} does not follow {self.sequence}",
                    expected=self.sequence,
                    previous=update.previous,
                )
        elif update.kind != "snapshot":
            return False
        self.whole = False  # until all of it is done: a number that cannot be compared is met in the middle
        if update.kind == "snapshot":
            _check_numbers(update)
            self._bids.replace(update.bids)
            self._asks.replace(update.asks)
        else:
            self._bids.change(update.bids)
            self._asks.change(update.asks)
        bids, asks = self._bids.prices, self._asks.prices
        if self._limit is not None and (len(bids) > self._limit or len(asks) > self._limit):
            self._bids.cut(self._limit)
            self._asks.cut(self._limit)
        self.sequence, self.time = update.sequence, update.time
        if bids and asks and not bids[-1] < asks[0]:
            raise SequenceGap(
                f"{update.symbol}: update {_named(update)} crosses the book: {self.best_bid} is bid, {self.best_ask} asked",
                expected=self.sequence,
                previous=update.previous,
            )
        self.whole = True
        return True

    def doubt(self) -> None:
        """Something may be missing: leave changes out until the next snapshot."""
        self.whole = False

    @property
    def crossed(self) -> bool:
        """Whether the best bid is not below the best ask: something was missed."""
        bids, asks = self._bids.prices, self._asks.prices
        return bool(bids and asks) and not bids[-1] < asks[0]

    @property
    def bids(self) -> list[tuple[Number, Number]]:
        """(price, size) of every bid, best first; a list of its own, which later updates do not change."""
        return self._bids.best_first()

    @property
    def asks(self) -> list[tuple[Number, Number]]:
        """(price, size) of every ask, best first; a list of its own, which later updates do not change."""
        return self._asks.best_first()

    def top(self, levels: int) -> tuple[list[tuple[Number, Number]], list[tuple[Number, Number]]]:
        """The best *levels* bids and asks."""
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise UsageError(f"levels={levels!r}: takes a whole number of 1 or more")
        return self._bids.best_first(levels), self._asks.best_first(levels)

    @property
    def best_bid(self) -> Number | None:
        """The highest price that is bid; None if nothing is."""
        return self._bids.best

    @property
    def best_ask(self) -> Number | None:
        """The lowest price that is asked; None if nothing is."""
        return self._asks.best

    @property
    def mid(self) -> Number | None:
        """Half-way between the best prices; None if a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else (bid + ask) / 2

    @property
    def spread(self) -> Number | None:
        """Best ask minus best bid; None if a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else ask - bid

    def depth(self, price: Number) -> Number:
        """
        What can be traded up to *price*, that included: the sizes of all bids at or above it, or of all asks at or below it.

        The price tells the side: at or below the best bid it is that of bids, at or above the best ask that of asks, and
        between them nothing stands, 0.
        """
        limit = self._number("price", price)
        side = self._bids if self._bids.prices and limit <= self._bids.prices[-1] else self._asks
        prices = side.prices
        part = prices[bisect_left(prices, limit) :] if side.descending else prices[: bisect_right(prices, limit)]
        return sum((side.sizes[there] for there in part), type(limit)())

    def vwap(self, side: str, size: Number) -> Number | None:
        """
        The average price at which an order of *size* would be filled now, from the best level on.

        Parameters
        ----------
        side
            The taker's: "buy" goes through the asks, "sell" through the bids.

        Returns
        -------
        Number or None
            None if there is not so much in the book.
        """
        if side not in ("buy", "sell"):
            raise UsageError(f"side={side!r}: takes 'buy' (of the asks) or 'sell' (to the bids)")
        wanted = self._number("size", size)
        if not wanted > 0:
            raise UsageError(f"size={size!r}: takes a number above 0")
        left, paid = wanted, type(wanted)()
        for price, there in (self._asks if side == "buy" else self._bids).best_first():
            part = min(left, there)
            paid += part * price
            left -= part
            if not left > 0:
                return paid / wanted
        return None

    def copy(self) -> Book:
        """Another book with the same content, on which this one's updates have no effect."""
        other = Book(self._follows, limit=self._limit)
        for ours, theirs in ((self._bids, other._bids), (self._asks, other._asks)):
            theirs.prices, theirs.sizes = ours.prices[:], ours.sizes.copy()
        other.whole, other.sequence, other.time = self.whole, self.sequence, self.time
        return other

    def __eq__(self, other: object) -> bool:
        """Whether both have the same levels."""
        return (self.bids, self.asks) == (other.bids, other.asks) if isinstance(other, Book) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Book {self.shown()}>"

    def shown(self) -> str:
        """Best prices and how many levels there are, in a line."""
        text = f"{self.best_bid} / {self.best_ask}, {len(self._bids.prices)} bids, {len(self._asks.prices)} asks"
        return text if self.whole else text + ", not whole"

    def _number(self, name: str, value: Any) -> Number:
        """*value* as a number of the kind that the book has, so that both can be compared and multiplied."""
        prices = self._bids.prices or self._asks.prices
        kind: Any = type(prices[0]) if prices else Decimal
        try:
            number = value if isinstance(value, kind) else kind(str(value))
            number < number  # noqa: B015  (not a number, in whichever spelling)
        except (ArithmeticError, ValueError):
            number = None
        if number is None or number != number or isinstance(value, bool):
            raise UsageError(f"{name}={value!r}: takes a number")
        return number


def _refused(size: Number) -> bool:
    """False for a size of 0, which means that nothing stands there; raises for one that is none."""
    if size != 0:
        raise ValueError("a size that is no number, or below 0")
    return False


def _named(update: BookUpdate) -> str:
    return str(update.sequence) if update.previous is None else f"{update.sequence} (after {update.previous})"


def _check_numbers(update: BookUpdate) -> None:
    for price, _ in (*update.bids[:1], *update.asks[:1]):
        if isinstance(price, str):
            raise UsageError("a book takes numbers: its updates have text, as with numbers=str")
