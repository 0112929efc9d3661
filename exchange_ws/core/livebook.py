"""An order book that is kept right in the background: a subscription, a `Book`, and what to do where these do not fit."""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import attrs

from exchange_ws.clock import Clock, Deadline, checked_timeout
from exchange_ws.core.budget import Budget
from exchange_ws.core.decoding import UNREADABLE
from exchange_ws.core.messages import Pace, Topic
from exchange_ws.core.subscription import Forked, Renewal, Subscription
from exchange_ws.errors import SequenceGap, SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import BookUpdate, Gap, Number
from exchange_ws.orderbook import Book

if TYPE_CHECKING:
    import pandas

__all__ = ["OrderBook"]

log = logging.getLogger(__name__)

#: How often a book asks for a new snapshot: a chain that is broken again and again must not spend the request budget.
ASKS = Pace(10, 60.0, "our own: a twentieth of what the strictest exchange that documents a budget allows a connection")
AGAIN_S = 10.0  # for a snapshot to come, asked for or not, before it is asked for again
CHANGES_KEPT = 10_000  # for a loop that is behind; then it is given the whole book instead
SHOWN = 10  # levels a side in a notebook


class Changes:
    """A loop over the changes of a book; every loop gets all of them."""

    __slots__ = ("__weakref__", "_book", "_missed", "_updates")

    def __init__(self, book: OrderBook) -> None:
        self._book = book
        # Guarded by the book's lock, but for taking from the left, which any thread does: whatever is there comes next.
        self._updates: deque[BookUpdate] = deque()
        self._missed: Gap | None = None  # what did not fit, as long as nobody was told

    def add(self, update: BookUpdate) -> None:
        """Requires the book's lock. *update* was applied."""
        if self._missed is None and len(self._updates) < CHANGES_KEPT:
            self._updates.append(update)
            return
        if self._missed is None:
            self._missed = Gap("overflow", self._updates[0].received, dropped=len(self._updates))
            self._updates.clear()
        self._missed.dropped = (self._missed.dropped or 0) + 1
        self._missed.until = update.received

    def take(self) -> BookUpdate | None:
        """Requires the book's lock. The next one, None if there is none."""
        if self._missed is not None and self._book._book.whole:
            missed, self._missed = self._missed, None
            return self._book._as_update(missed)
        return self._updates.popleft() if self._updates else None

    def __iter__(self) -> Iterator[BookUpdate]:
        return self

    def __next__(self) -> BookUpdate:
        try:
            return self._updates.popleft()  # hot path: 0.1 us, where to look for news and to take the lock would be 1.5 us
        except IndexError:
            pass
        try:
            return self._book._next(self.take, None)
        except SubscriptionClosed:
            raise StopIteration from None


class OrderBook:
    """
    A live order book. Made by a client's `order_book`; safe to share between threads.

    It is kept right in the background. A read has everything that was received before it, and never half an update; two reads
    may see two states, of which `snapshot` gives one as a whole. While `stale` is true the book is not to be traded on:
    something was missed (`gaps` tells what), a new snapshot is on its way, and what is read is what there was before.

    After the end (`close`, the client's, or an error) the last state can still be read, and is stale.

    Iterating it blocks, and gives each `BookUpdate` that was applied, from then on; every loop gets all of them. One that is
    more than 10,000 behind gets the whole book as one snapshot instead, with the `Gap` that this is. It ends with the book, or
    raises what ended that.
    """

    # Threads: any. Who reads applies what has come, and so does a thread of the client's, which keeps up books that nobody
    # reads. Both under `_lock`, which stands before all others: a subscription's are taken with it held, and it with none.

    def __init__(
        self,
        topic: Topic,
        book: Book,
        subscription: Subscription,
        *,
        clock: Clock,
        text: bool,
        tell: Callable[[OrderBook], None],
        restate: Callable[[Subscription], None],
    ) -> None:
        self.symbol = topic.symbol  #: as the vendor spells it
        self._subscription = subscription
        self._clock = clock
        self._text = text  # numbers come as text, which cannot be compared
        self._tell = tell
        self._restate = restate
        self._can_ask = (topic.repeatable or topic.renewable) and not topic.standalone  # else the next update is the whole book
        subscription.tell_renewals()
        self._news = False  # set by readers with the subscription's lock; who applies clears it before he looks
        # Guards everything below. Taken by itself and not through its condition, for Ctrl-C's sake; see `Subscription`.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._book = book
        self._last: BookUpdate | None = None  # that was applied
        self._count = 0  # of those
        self._hole: Gap | None = None  # found in the exchange's numbers, until there is a new snapshot
        self._broken: list[Exception] = []  # what is to be logged of it
        self._carried: Gap | None = None  # what is missing before the next update that is applied
        self._behind = False  # true while what was received is being applied: who is interrupted leaves it so
        self._torn = False  # the same while something that was taken is not applied
        self._over = False  # all is applied that will ever come
        self._asks = Budget(ASKS)
        self._ask_at = math.inf  # the moment from which on a new snapshot has to be asked for, while the book is not whole
        self._loops: tuple[weakref.ref[Changes], ...] = ()
        _everyone.add(self)

    # Reading --------------------------------------------------------------------------------------------------------------

    @property
    def bids(self) -> list[tuple[Number, Number]]:
        """(price, size) of every bid, best first; a list of its own."""
        self._refresh()
        with self._lock:
            return self._book.bids

    @property
    def asks(self) -> list[tuple[Number, Number]]:
        """(price, size) of every ask, best first; a list of its own."""
        self._refresh()
        with self._lock:
            return self._book.asks

    @property
    def best_bid(self) -> Number | None:
        """The highest price that is bid; None if nothing is. Its size is in ``bids[0]``."""
        if self._news or self._behind:  # hot path: `_refresh` asks too, this saves the call
            self._refresh()
        with self._lock:
            return self._book.best_bid

    @property
    def best_ask(self) -> Number | None:
        """The lowest price that is asked; None if nothing is. Its size is in ``asks[0]``."""
        if self._news or self._behind:  # hot path: `_refresh` asks too, this saves the call
            self._refresh()
        with self._lock:
            return self._book.best_ask

    @property
    def mid(self) -> Number | None:
        """Half-way between the best prices; None if a side is empty."""
        self._refresh()
        with self._lock:
            return self._book.mid

    @property
    def spread(self) -> Number | None:
        """Best ask minus best bid; None if a side is empty."""
        self._refresh()
        with self._lock:
            return self._book.spread

    @property
    def time(self) -> float | None:
        """Of the last update that was applied: Unix seconds by the exchange's clock, None if it does not tell."""
        self._refresh()
        with self._lock:
            return self._book.time

    @property
    def sequence(self) -> int | None:
        """The exchange's number of that update, None where it has none."""
        self._refresh()
        with self._lock:
            return self._book.sequence

    def depth(self, price: Number) -> Number:
        """
        What can be traded up to *price*, that included: the sizes of all bids at or above it, or of all asks at or below it.

        The price tells the side: at or below the best bid it is that of bids, at or above the best ask that of asks, and
        between them nothing stands, 0.
        """
        self._refresh()
        with self._lock:
            return self._book.depth(price)

    def vwap(self, side: str, size: Number) -> Number | None:
        """
        The average price at which an order of *size* would be filled now; None if there is not so much in the book.

        Parameters
        ----------
        side
            The taker's: "buy" goes through the asks, "sell" through the bids.
        """
        self._refresh()
        with self._lock:
            return self._book.vwap(side, size)

    def snapshot(self) -> Book:
        """All of it at one moment: a `exchange_ws.orderbook.Book`, which has what is read here, and changes no more."""
        self._refresh()
        with self._lock:
            return self._book.copy()

    def to_dataframe(self) -> pandas.DataFrame:
        """
        The levels at one moment as a pandas DataFrame; needs pandas.

        Bids, then asks, best first, with the columns side ("bid" or "ask"), level (from 1), price and size.
        """
        try:
            import pandas
        except ImportError:
            raise UsageError("to_dataframe needs pandas: pip install 'exchange_ws[pandas]'") from None
        book = self.snapshot()
        rows = [
            (side, level, price, size)
            for side, levels in (("bid", book.bids), ("ask", book.asks))
            for level, (price, size) in enumerate(levels, 1)
        ]
        return pandas.DataFrame(rows, columns=["side", "level", "price", "size"])

    # Being sure of it -----------------------------------------------------------------------------------------------------

    @property
    def stale(self) -> bool:
        """Whether something is missing: the connection is lost, a chain is broken, nothing comes, or all is over."""
        interrupted = self._look()
        with self._lock:
            return interrupted or self._is_stale

    @property
    def gaps(self) -> list[Gap]:
        """What went missing so far; "sequence" was found in the exchange's numbers, or by prices that crossed."""
        self._refresh()
        return self._subscription.gaps

    @property
    def closed(self) -> bool:
        """Whether nothing more will be received."""
        return self._subscription.closed

    def wait(self, timeout: float | None = None) -> BookUpdate:
        """
        Wait until the next change, and return it; the newest, if there were several.

        Parameters
        ----------
        timeout
            Seconds; None waits until there is one or the book ends.

        Raises
        ------
        UpdateTimeout
            Nothing changed in time.
        SubscriptionClosed
            The book was closed; or what ended it, such as `ConnectFailed`.
        """
        with self._lock:
            seen = self._count
        return self._next(lambda: self._last if self._count > seen else None, timeout)

    def __iter__(self) -> Iterator[BookUpdate]:
        changes = Changes(self)
        self._refresh()
        with self._lock:
            self._loops = (*(known for known in self._loops if known() is not None), weakref.ref(changes))
        return changes

    # The end --------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Unsubscribe, unless others have the same topic, and wait for the confirmation; twice is allowed."""
        self._subscription.close()

    def __enter__(self) -> OrderBook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._subscription.__exit__(kind, error, trace)

    # Looking at it --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._subscription._foreign:
            return f"<OrderBook {self._subscription.name} of another process>"
        interrupted = self._look()
        with self._lock:
            state = ", closed" if self._over else ", stale" if interrupted or self._is_stale else ""
            return f"<OrderBook {self._subscription.name}: {self._book.shown()}{state}>"

    def _repr_html_(self) -> str:
        """A small ladder, for notebooks. Goes on after the end and in a forked child."""
        from exchange_ws import display

        name = self._subscription.name
        if self._subscription._foreign:  # the lock is the parent's
            return display.card(name, ["of another process"], state="closed")
        interrupted = self._look()
        with self._lock:
            state = "closed" if self._over else "stale" if interrupted or self._is_stale else "open"
            (bids, asks), spread, mid = self._book.top(SHOWN), self._book.spread, self._book.mid
        facts = ["empty"] if mid is None else [f"mid {display.digits(mid)}", f"spread {display.digits(spread)}"]
        rows = [("ask", *level) for level in reversed(asks)] + [("bid", *level) for level in bids]
        return display.card(name, facts, display.table(("side", "price", "size"), rows), state=state)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self._subscription.name}: a live book cannot be copied or sent to another process; its snapshot() can"
        )

    # For its subscription and its client ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was received. Readers call it with the subscription's lock held: it only passes it on."""
        if not self._news:
            self._news = True
            self._tell(self)

    def clear(self) -> None:
        """Nothing waits to be applied."""

    def keep(self) -> None:
        """Apply what was received."""
        self._refresh()

    def begin(self, timeout: float) -> None:
        """Wait for the first snapshot, *timeout* seconds at most, or raise as `wait` does."""
        self._subscription.watch(self)
        self._next(lambda: self._last, timeout)

    # Inside ---------------------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Apply all that was received before this call, and ask for a new snapshot if that leaves a hole. With no lock held."""
        if not (self._news or self._behind):
            return
        with self._lock:
            asks = self._catch_up()
            broken, self._broken = self._broken, []
        for error in broken:  # under no lock: a handler is a user's function, and may read this book
            log.warning("%s: the book is broken: %s", self._subscription.name, str(error))
        if asks:
            self._restate(self._subscription)

    def _look(self) -> bool:
        """
        `_refresh`, for who wants to know whether the book is stale. Whether its topic was not coming, before that.

        Not after it: between the two the topic may come again, and the gap that stands before it would not be applied yet.
        """
        interrupted = self._subscription.interrupted
        self._refresh()
        return interrupted

    @property
    def _is_stale(self) -> bool:
        """Requires `_lock`. By what was applied; see `_look` for the rest."""
        return not self._book.whole or self._torn or self._over

    def _next(self, find: Callable[[], BookUpdate | None], timeout: float | None) -> BookUpdate:
        """What *find*, called with `_lock` held, finds first; raises at the end, and when *timeout* seconds are over."""
        deadline = Deadline(self._clock, checked_timeout("timeout", timeout))
        while True:
            self._refresh()
            with self._lock:
                found = find()
                if found is not None:
                    return found
                if self._over:
                    self._subscription._raise_error()
                    raise SubscriptionClosed(f"{self._subscription.name}: the book has ended")
                left = deadline.remaining()
                if left == 0.0:
                    raise UpdateTimeout(f"{self._subscription.name}: no change of the book within {timeout} s")
                # What comes from here on is told to the client's thread, which takes the lock to apply it, hence after we wait.
                if not self._news:
                    self._clock.wait(self._changed, left)

    def _catch_up(self) -> bool:
        """Requires `_lock`. Apply what was received. Whether a new snapshot has to be asked for now."""
        if self._torn:  # Ctrl-C, on a thread that read: what it had taken is lost, or applied by half
            self._break()
            self._torn = False
        if self._news or self._behind:
            interrupted, self._behind = self._behind, True
            self._news = False  # before the look: what comes after it is told anew
            subscription, before = self._subscription, self._count
            enough = subscription._taken + subscription.qsize()
            while True:
                if subscription._taken > enough:  # the rest came meanwhile: in a flood, who reads would never have his answer
                    if not self._news:
                        self._tell(self)  # first: between these two lines may be Ctrl-C
                        self._news = True
                    break
                ended = subscription._ended
                self._torn = True
                try:
                    items = subscription._take_several(enough + 1 - subscription._taken)
                except LookupError:
                    self._torn = False
                    self._over = self._over or ended
                    break
                for item in items:
                    self._apply(item)
                self._torn = False
            if interrupted or self._count > before or self._over:
                self._changed.notify_all()
            self._behind = False
        if self._book.whole or self._over:
            return False
        now = self._clock.now()
        if now < self._ask_at or self._asks.room(now) <= 0:
            return False  # the next update comes here again
        self._asks.take(now)
        self._ask_at = now + AGAIN_S
        return True

    def _apply(self, item: BookUpdate | Gap | Renewal) -> None:
        """Requires `_lock`."""
        # hot path
        if not isinstance(item, BookUpdate):
            # What was not received stays unknown until there is a snapshot. After a loss, a silence or a renewal one comes by
            # itself.
            self._book.doubt()
            self._ask_in(0.0 if isinstance(item, Gap) and item.reason not in ("reconnect", "silent") else AGAIN_S)
            return
        if item.gap is not None:
            self._carried = item.gap
        try:
            if self._text:
                item.bids = tuple([(Decimal(price), Decimal(size)) for price, size in item.bids])
                item.asks = tuple([(Decimal(price), Decimal(size)) for price, size in item.asks])
            applied = self._book.apply(item)
        except (SequenceGap, *UNREADABLE) as error:
            self._broken.append(error)
            self._break()
            return
        if not applied:
            return
        if self._hole is not None:
            self._hole.until = item.received
            self._carried, self._hole = self._carried or self._hole, None
        item.gap, self._carried = self._carried, None
        self._last = item
        self._count += 1
        for reference in self._loops:
            loop = reference()
            if loop is not None:
                loop.add(item)

    def _break(self) -> None:
        """Requires `_lock`. Nothing is right before there is a new snapshot."""
        self._book.doubt()
        if self._hole is None:
            self._hole = self._subscription.hole()
        self._ask_in(0.0)

    def _ask_in(self, seconds: float) -> None:
        """Requires `_lock`. Ask for a snapshot then, if none came, and if it can be had by asking."""
        if self._can_ask:
            self._ask_at = self._clock.now() + seconds

    def _as_update(self, gap: Gap) -> BookUpdate:
        """Requires `_lock`. The whole book, for who missed what *gap* says."""
        assert self._last is not None
        bids, asks = tuple(self._book.bids), tuple(self._book.asks)
        return attrs.evolve(self._last, kind="snapshot", bids=bids, asks=asks, previous=None, raw=None, gap=gap)

    def _forked(self) -> None:
        """This is a child: let everything that needs the lock raise."""
        for loop in filter(None, [reference() for reference in self._loops]):
            loop._updates.clear()  # of the parent's; what comes next there needs the lock
        self._lock = Forked(self._subscription.name)  # type: ignore[assignment]


#: Every live book of this process.
_everyone: weakref.WeakSet[OrderBook] = weakref.WeakSet()


def _after_fork() -> None:
    for book in list(_everyone):
        book._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
