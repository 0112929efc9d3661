"""Live books: when they are stale, how they get right again by themselves, and what their readers and loops see."""

from __future__ import annotations

import contextlib
import itertools
import json
import linecache
import logging
import sys
import threading
import weakref
from decimal import Decimal

import attrs
import pytest
from exchange_facts import later
from held_clock import LIMIT_S, Aside, HeldClock
from life_helpers import collect, wait_no_threads

import exchange_ws
from exchange_ws import Backoff, OrderBook
from exchange_ws.core import livebook
from exchange_ws.core import subscription as subscription_module
from exchange_ws.core.livebook import AGAIN_S, ASKS
from exchange_ws.core.subscription import DROP_OLDEST, Subscription
from exchange_ws.errors import ConnectFailed, RequestTimeout, SubscriptionClosed, SubscriptionRejected, UpdateTimeout
from exchange_ws.exchanges.whitebit.dialect import WHITEBIT, topics
from exchange_ws.orderbook import Book, linked
from exchange_ws.sandbox import Sandbox

SECOND = 1_000_000_000
SOURCE = "a connection"
(DEPTH,) = topics("depth", "BTC_USDT", limit=5)
RENEWABLE = attrs.evolve(DEPTH, repeatable=False, renewable=True)


def push(number, previous=None, bids=(("99", "1"),), asks=(("101", "1"),)):
    """One push of WhiteBIT's; a whole book without *previous*."""
    book = {"timestamp": 1.0, "asks": asks, "bids": bids, "update_id": number}
    if previous is not None:
        book["past_update_id"] = previous
    return json.dumps({"id": None, "method": "depth_update", "params": [previous is None, book, "BTC_USDT"]}).encode()


class Desk:
    """A live book without a client: messages are put by hand, time stands still, and what it asks for is noted."""

    def __init__(self, text=False, topic=DEPTH):
        self.clock = HeldClock()
        self.asked = 0
        self.told = 0
        self.subscription = Subscription(
            "test",
            [topic],
            WHITEBIT,
            clock=self.clock,
            queue_size=10,
            overflow=DROP_OLDEST,
            gaps=True,
            raw=False,
            numbers=str if text else Decimal,
            block_limit=LIMIT_S,
            leave=lambda subscription, topics, timeout: subscription.finish(),
            forget=lambda subscription: None,
        )
        self.book = OrderBook(
            topic, Book(linked, limit=5), self.subscription, clock=self.clock, text=text, tell=self.tell, restate=self.restate
        )
        self.subscription.watch(self.book)

    def tell(self, book):
        self.told += 1

    def restate(self, subscription):
        self.asked += 1

    def put(self, *messages):
        self.subscription.put(SOURCE, list(messages), SECOND)

    def state(self):
        """Whether it is stale, and how often it has asked for a snapshot."""
        return self.book.stale, self.asked


# Stale or not ----------------------------------------------------------------------------------------------------------------


def test_chain():
    """Stale before the first snapshot, and from a missing change to the next snapshot, which is asked for once."""
    desk = Desk()
    found = [desk.state()]
    for message in (push(1), push(2, 1), push(4, 3), push(5, 4), push(5), push(6, 5)):
        desk.put(message)
        found.append(desk.state())
    assert [(True, 0), (False, 0), (False, 0), (True, 1), (True, 1), (False, 1), (False, 1)] == found


def test_gap_of_a_broken_chain():
    """It is told as a gap, open until the snapshot, which carries it for those who follow the changes."""
    desk = Desk()
    changes = iter(desk.book)
    desk.put(push(1), push(3, 2))
    gaps = desk.book.gaps
    assert [("sequence", None)] == [(gap.reason, gap.until) for gap in gaps]
    desk.put(push(4, 3), push(4), push(5, 4))
    assert [100.0] == [gap.until for gap in desk.book.gaps]
    assert [(1, None), (4, gaps[0]), (5, None)] == [(change.sequence, change.gap) for change in (next(changes) for _ in "123")]


def test_crossed():
    """Prices that cross are a hole like any other."""
    desk = Desk()
    desk.put(push(1), push(2, 1, bids=[("102", "1")], asks=()))
    assert ((True, 1), ["sequence"]) == (desk.state(), [gap.reason for gap in desk.book.gaps])


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("level", [("NaN", "1"), ("many", "1"), ("98", "NaN"), ("98", "many"), ("98", "-1")])
def test_unreadable(level, text):
    """A change that cannot be read, or not be applied, is a hole, and no error of who reads the book; its gap says which."""
    desk = Desk(text)
    desk.put(push(1), push(2, 1, bids=[level]))
    assert ((True, 1), 1) == (desk.state(), len(desk.book.gaps))


def test_overflow():
    """What did not fit into the buffer is missing: the rest is left out until there is a snapshot."""
    desk = Desk()
    desk.put(push(1), *(push(number, number - 1) for number in range(2, 20)))
    assert ((True, 1), ["overflow"]) == (desk.state(), [gap.reason for gap in desk.book.gaps])
    desk.put(push(30))
    assert (False, 1) == desk.state()


def test_loss():
    """From the loss of the connection on, before anything else comes. The new link brings a snapshot without being asked."""
    desk = Desk()
    desk.put(push(1))
    found = [desk.state()]
    desk.subscription.lost(SOURCE, SECOND)
    found.append(desk.state())
    desk.put(push(9, 8))
    found.append(desk.state())
    desk.put(push(9))
    found.append(desk.state())
    assert [(False, 0), (True, 0), (True, 0), (False, 0)] == found


def test_loss_that_ends_during_a_look(monkeypatch):
    """Whatever comes again between the parts of a look at the book, it does not pass for whole before the snapshot."""
    desk = Desk()
    desk.put(push(1))
    found = [desk.book.stale]
    desk.subscription.lost(SOURCE, SECOND)
    refresh = desk.book._refresh
    with monkeypatch.context() as patch:
        patch.setattr(OrderBook, "_refresh", lambda _: (refresh(), desk.put(push(9, 8))))
        found.append(desk.book.stale)
    found.append(desk.book.stale)
    desk.put(push(9))
    assert [False, True, True, False] == [*found, desk.book.stale]


def test_silence():
    """A book that nothing comes for is stale, and asked for by who noticed that."""
    desk = Desk()
    desk.put(push(1))
    desk.subscription.silent(SOURCE, DEPTH, SECOND)
    assert (True, 0) == desk.state()
    desk.subscription.resumed(SOURCE, DEPTH, 2 * SECOND)
    desk.put(push(7))
    assert (False, 0) == desk.state()


def test_renewal():
    """Where a topic is unsubscribed for its snapshot, the book is stale until that comes: no gap, and nobody has to ask."""
    desk = Desk(topic=RENEWABLE)
    desk.put(push(1))
    found = [desk.state()]
    desk.subscription.renewing(SOURCE, (RENEWABLE,), SECOND)
    found.append(desk.state())
    desk.put(push(2, 1))  # was on its way
    desk.subscription.stated(SOURCE, (RENEWABLE,), SECOND)
    found.append(desk.state())
    desk.put(push(9), push(10, 9))
    found.append(desk.state())
    assert [(False, 0), (True, 0), (True, 0), (False, 0)] == found
    assert (10, []) == (desk.book.sequence, desk.book.gaps)


def test_renewals_that_wait():
    """Many of them wait as one, for a book that nobody has looked at, and before what comes after them."""
    desk = Desk(topic=RENEWABLE)
    desk.put(push(1))
    for _ in range(1000):
        desk.subscription.renewing(SOURCE, (RENEWABLE,), SECOND)
        desk.subscription.stated(SOURCE, (RENEWABLE,), SECOND)
    assert 2 == len(desk.subscription._buffer)  # the snapshot, one renewal
    desk.put(push(2, 1))
    assert (True, 1) == (desk.book.stale, desk.book.sequence)


def test_renewal_that_brings_nothing():
    """The snapshot is asked for after a while, when something else comes."""
    desk = Desk(topic=RENEWABLE)
    desk.put(push(1))
    desk.subscription.renewing(SOURCE, (RENEWABLE,), SECOND)
    assert (True, 0) == desk.state()
    desk.clock.move(100.0 + AGAIN_S)
    desk.put(push(4, 3))
    assert (True, 1) == desk.state()


def test_snapshot_that_does_not_come():
    """It is asked for again after a while, when something else comes."""
    desk = Desk()
    desk.put(push(1), push(3, 2))
    found = [desk.state()]
    for after in (AGAIN_S / 2, AGAIN_S):
        desk.clock.move(100.0 + after)
        desk.put(push(4, 3))
        found.append(desk.state())
    assert [(True, 1), (True, 1), (True, 2)] == found


def test_broken_again_and_again():
    """A chain that never holds does not spend the request budget."""
    desk = Desk()
    for number in range(10, 400, 10):
        desk.put(push(number), push(number + 2, number + 1))
        assert desk.book.stale
    assert ASKS.count == desk.asked
    desk.clock.move(100.0 + ASKS.window_s)
    desk.put(push(9, 8))
    assert (True, ASKS.count + 1) == desk.state()


@pytest.mark.parametrize("whole", [True, False])
def test_interrupted(monkeypatch, whole):
    """Ctrl-C in the middle of an update, on a thread that reads, costs that update: the book knows, and asks anew."""
    desk = Desk()
    desk.put(push(1), push(2, 1))
    monkeypatch.setattr(subscription_module, "AHEAD", 1)  # so that each is taken by itself
    take = desk.subscription._take_several
    monkeypatch.setattr(desk.subscription, "_take_several", interrupting(take, 1 if whole else 2))
    with pytest.raises(KeyboardInterrupt):
        desk.book.keep()
    monkeypatch.undo()
    assert ((True, 1), ["sequence"]) == (desk.state(), [gap.reason for gap in desk.book.gaps])


def interrupting(take, calls):
    """*take*, which is interrupted after so many calls, with what it took in its hands."""
    left = [calls]

    def taken(most):
        items = take(most)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return items

    return taken


def read_interrupted_at(line, desk):
    """Read the book with Ctrl-C before that line of the code of live books; whether it came so far."""
    lines = 0

    def trace(frame, kind, argument):
        nonlocal lines
        if frame.f_code.co_filename != livebook.__file__:
            return None
        # As in the test of merged streams, not before a with-statement's way out.
        if kind == "line" and not linecache.getline(livebook.__file__, frame.f_lineno).lstrip().startswith("with "):
            lines += 1
            if lines == line:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        assert desk.book.best_bid is not None
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(former)
    return lines >= line


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a tracer meets no signal's places on a with-statement's way out here")
@pytest.mark.parametrize("over", [False, True])
def test_interrupted_anywhere(over):
    """Ctrl-C at any line, on a thread that reads: the book has all that was received, or knows that it has not, and tells."""
    line, reached = 0, True
    while reached:
        line += 1
        desk = Desk()
        desk.put(push(1))
        desk.book.keep()
        waiting = Aside(desk.book.wait)
        desk.clock.until_waited(1)
        desk.put(push(2, 1), push(3, 2))
        if over:
            desk.subscription.finish()
        # On a thread of its own: where a tracer's error comes within an except-clause, CPython keeps what that had caught.
        reached = Aside(read_interrupted_at, line, desk).result()
        stale, gaps = desk.book.stale, [gap.reason for gap in desk.book.gaps]
        assert (3, [], over) == (desk.book.sequence, gaps, stale) or (["sequence"], True) == (gaps, stale), line
        if gaps and not over:
            desk.put(push(9))
            desk.book.keep()
        with contextlib.suppress(SubscriptionClosed):
            waiting.result()
    assert line > 20


# Reading ---------------------------------------------------------------------------------------------------------------------


def test_read_is_as_new_as_what_came():
    """Nobody has to have applied it before, and its client's thread is told once for all that waits."""
    desk = Desk()
    desk.put(push(1))
    desk.put(push(2, 1, bids=[("100", "3")]))
    assert (1, Decimal(100), Decimal(101), Decimal("100.5"), Decimal(1), 2, 1.0) == (
        desk.told,
        desk.book.best_bid,
        desk.book.best_ask,
        desk.book.mid,
        desk.book.spread,
        desk.book.sequence,
        desk.book.time,
    )
    assert (Decimal(4), Decimal(101), [(100, 3), (99, 1)]) == (desk.book.depth(99), desk.book.vwap("buy", 1), desk.book.bids)


def test_read_in_a_flood(monkeypatch):
    """A read applies what was received before it; what comes meanwhile is left to the client's thread."""
    desk = Desk()
    desk.put(push(1))
    take, number = desk.subscription._take_several, itertools.count(1)

    def take_while_more_comes(most):
        last = next(number)
        if last < 1000:
            desk.put(push(last + 1, last))
        return take(most)

    monkeypatch.setattr(desk.subscription, "_take_several", take_while_more_comes)
    told = desk.told
    assert (True, told + 1) == (desk.book.sequence < 5, desk.told)
    desk.book.keep()
    assert desk.told == told + 2


def test_several_updates_of_one_read():
    """A book comes to the same, with the same gaps, whether updates are taken several at a time or each by itself."""
    found = []
    for several in (1, 32):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(subscription_module, "AHEAD", several)
            desk = Desk()
            desk.put(*[push(number, number - 1 if number > 1 else None) for number in range(1, 10)])
            states = [desk.state()]
            desk.put(push(10, 9), b"{", push(12, 11), push(20), push(21, 20), push(23, 22))
            states.append(desk.state())
            desk.subscription.lost(SOURCE, SECOND)
            desk.put(push(24, 23), push(100))
            states.append(desk.state())
            loop = iter(desk.book)
            desk.put(*[push(number, number - 1) for number in range(101, 110)])
            told = [next(loop).sequence for _ in range(9)]
            gaps = [(gap.reason, gap.dropped) for gap in desk.book.gaps]
            found.append((states, desk.book.snapshot(), gaps, told, desk.subscription.stats()["delivered"]))
    assert found[0] == found[1]
    assert [*range(101, 110)] == found[0][3]


def test_broken_book_is_logged_under_no_lock(caplog):
    """A handler of the log is a user's function: it may read the very book."""
    desk = Desk()
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append((record.getMessage(), desk.book.best_bid))

    handler = Handler()
    logging.getLogger("exchange_ws.core.livebook").addHandler(handler)
    try:
        desk.put(push(1), push(3, 2))
        assert later(lambda: desk.book.stale).get(timeout=LIMIT_S)
    finally:
        logging.getLogger("exchange_ws.core.livebook").removeHandler(handler)
    assert [("test: the book is broken: BTC_USDT: update 3 (after 2) does not follow 1", Decimal(99))] == seen


def test_text():
    """Text cannot be compared: a client with numbers=str has books of Decimals."""
    desk = Desk(text=True)
    changes = iter(desk.book)
    desk.put(push(1, bids=[("9", "1"), ("10", "1")]))
    assert (Decimal(10), Decimal) == (desk.book.best_bid, type(next(changes).bids[0][0]))


def test_snapshot_is_whole():
    """A snapshot does not change any more."""
    desk = Desk()
    desk.put(push(1))
    taken = desk.book.snapshot()
    desk.put(push(2, 1, bids=[("100", "3")]))
    assert (1, 2) == (taken.sequence, desk.book.sequence)


def test_shown():
    """Its repr and its picture say what it is of, its prices, and that it is stale."""
    desk = Desk()
    assert "stale" in desk.book._repr_html_()
    desk.put(push(1, bids=[("0.00000001", "1")]))
    assert "<OrderBook test: 1E-8 / 101, 1 bids, 1 asks>" == repr(desk.book)
    assert "0.00000001" in desk.book._repr_html_()
    desk.put(push(2, bids=[("1e-999999", "1")]))
    assert len(desk.book._repr_html_()) < 5000
    desk.put(push(4, bids=[("0.00000001", "1")]))
    desk.book.close()
    assert "<OrderBook test: 1E-8 / 101, 1 bids, 1 asks, closed>" == repr(desk.book)


def test_to_dataframe():
    """One row a level, with exact numbers."""
    pytest.importorskip("pandas")
    desk = Desk()
    desk.put(push(1, bids=[("99", "1"), ("98", "2")]))
    frame = desk.book.to_dataframe()
    rows = [("bid", 1, Decimal(99), Decimal(1)), ("bid", 2, Decimal(98), Decimal(2)), ("ask", 1, Decimal(101), Decimal(1))]
    assert (["side", "level", "price", "size"], rows) == (list(frame.columns), list(frame.itertuples(index=False, name=None)))


# Waits and loops -------------------------------------------------------------------------------------------------------------


def test_wait():
    """It gives the next change, not one that came before."""
    desk = Desk()
    desk.put(push(1))
    desk.book.keep()
    waiting = Aside(desk.book.wait)
    desk.clock.until_waited(1)
    desk.put(push(2, 1))
    desk.book.keep()
    assert 2 == waiting.result().sequence


def test_wait_times_out():
    """In the words of queues too."""
    with pytest.raises(UpdateTimeout, match=r"within 0\.0 s"):
        Desk().book.wait(0.0)


def test_every_loop_gets_all():
    """Loops do not share the changes, and a book lives without those that were left."""
    desk = Desk()
    desk.put(push(1))
    one, two, gone = iter(desk.book), iter(desk.book), iter(desk.book)
    del gone
    desk.put(push(2, 1), push(3, 2))
    desk.book.close()
    assert ([2, 3], [2, 3]) == tuple([change.sequence for change in loop] for loop in (one, two))


def test_loop_that_is_behind(monkeypatch):
    """It gets the whole book instead of what it missed, told as a gap; so what it gets still makes the book."""
    monkeypatch.setattr(livebook, "CHANGES_KEPT", 3)
    desk = Desk()
    desk.put(push(1))
    loop, mine = iter(desk.book), desk.book.snapshot()
    for number in range(2, 8):
        desk.put(push(number, number - 1, bids=[(str(number), "1")]))
        desk.book.keep()
    late = next(loop)
    desk.put(push(8, 7, bids=[("8", "1")]))
    for change in (late, next(loop)):
        mine.apply(change)
    assert ("snapshot", 7, "overflow", 6) == (late.kind, late.sequence, late.gap.reason, late.gap.dropped)
    assert desk.book.snapshot() == mine


@pytest.mark.parametrize(("error", "raised"), [(None, SubscriptionClosed), (ConnectFailed("gave up"), ConnectFailed)])
def test_end(error, raised):
    """At the end waits raise, loops end or raise, and the last state can be read, stale."""
    desk = Desk()
    desk.put(push(1))
    loop, waiting = iter(desk.book), Aside(desk.book.wait)
    desk.clock.until_waited(1)
    desk.subscription.end(error)
    desk.book.keep()
    for wait in (waiting.result, desk.book.wait):
        with pytest.raises(raised):
            wait()
    if error is None:
        assert [] == list(loop)
    else:
        with pytest.raises(raised):
            next(loop)
    assert (True, True, Decimal(99)) == (desk.book.closed, desk.book.stale, desk.book.best_bid)


# With a client ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


def until(book, right):
    """Wait until *right* is true of the book, looking at each change; an error after `LIMIT_S`."""
    while not right():
        book.wait(LIMIT_S)


def true_book(box, limit):
    return tuple(list(side.items()) for side in box.markets.markets[0].book(limit))


def lie(box):
    """Have the exchange send a change that does not follow."""
    body = json.loads(push(7, 6))
    box.push(json.dumps(body))


def test_over_a_socket(box):
    """It opens with the book of the exchange, follows it, and after a change that does not fit subscribes anew."""
    with box.client() as ws, ws.order_book("BTC_USDT", limit=10) as book:
        assert ("BTC_USDT", true_book(box, 10)) == (book.symbol, (book.bids, book.asks))
        lie(box)
        box.wait_received(lambda body: body.get("method") == "depth_subscribe", 2)
        box.step(3)
        ws.ping()
        until(book, lambda: not book.stale)
        assert (true_book(box, 10), ["sequence"]) == ((book.bids, book.asks), [gap.reason for gap in book.gaps])
        assert 1 == ws.stats()["gaps"]


@pytest.mark.parametrize("refused", [False, True])
def test_recorded(box, tmp_path, refused):
    """A replay subscribes anew where the book did, with the same outcome."""
    with box.client(record=tmp_path / "a.jsonl") as ws, ws.order_book("BTC_USDT", limit=10) as book:
        if refused:
            box.reject()
        lie(box)
        box.wait_received(lambda body: body.get("method") == "depth_subscribe", 2)
        box.step(3)
        ws.ping()
        assert (refused, not refused) == (book.closed, (book.bids, book.asks) == true_book(box, 10))
    with exchange_ws.replay(tmp_path / "a.jsonl", speed=None) as day:
        updates = day.collect()
        (subscription,) = day.subscriptions
        assert (0, refused) == (day.stats()["unsaid"], isinstance(subscription.error, SubscriptionRejected))
    assert book.snapshot().sequence == [update for update in updates if update.sequence != 7][-1].sequence


def test_two_books_of_a_market(box):
    """Both begin with a snapshot and share one subscription, until the last one leaves; another limit has its own link."""
    with box.client() as ws:
        one, two, three = (ws.order_book("BTC_USDT", limit=limit) for limit in (10, 10, 5))
        box.wait_connections(2)
        one.close()
        box.step(5)
        ws.ping()
        for book, limit in ((two, 10), (three, 5)):
            until(book, lambda book=book, limit=limit: (book.bids, book.asks) == true_book(box, limit))
        assert (True, False, False) == (one.stale, two.stale, three.stale)


def test_nobody_reads(box):
    """A book that nobody looks at is kept up, so that nothing waits in memory."""
    with box.client(queue_size=5) as ws:
        ws.order_book("BTC_USDT")
        (subscription,) = ws.subscriptions
        for _ in range(20):
            box.step(3)
            ws.ping()
            until_kept(ws)
        assert (0, 0) == (subscription.qsize(), subscription.dropped)


def until_kept(ws):
    """Wait until the client's thread has applied what it was told of until now, and holds no book."""
    applied = threading.Event()
    ws._keeper.tell(Applied(applied))
    assert applied.wait(LIMIT_S)


class Applied:
    """Stands in the line of books: once it is its turn, those before it are done."""

    def __init__(self, event):
        self._event = event

    def _refresh(self):
        self._event.set()


def test_no_snapshot_in_time():
    """An exchange that says nothing before something changes may have no book in time; nothing stays subscribed."""
    with Sandbox("bybit-spot-v3", seed=3, tick=None) as box, box.client() as ws:
        ws.connect()
        with pytest.raises(UpdateTimeout, match="no snapshot of the book came in time"):
            ws.order_book("BTCUSDT", timeout=1.0)  # enough for a busy machine to confirm it
        assert () == ws.subscriptions


@pytest.mark.parametrize(
    ("fault", "error", "timeout"),
    [(lambda box: box.reject(), SubscriptionRejected, None), (lambda box: box.freeze(), RequestTimeout, 0.3)],
)
def test_refused(box, fault, error, timeout):
    """What makes a subscription fail is raised, and nothing stays."""
    with box.client() as ws:
        fault(box)
        with pytest.raises(error):
            ws.order_book("BTC_USDT", timeout=timeout)
        assert () == ws.subscriptions


def test_gave_up(box):
    """When the connection is not made again, who waits is told why."""
    with box.client(reconnect=Backoff(base=0.001, cap=0.001, give_up_after=0.05)) as ws:
        book = ws.order_book("BTC_USDT")
        box.stop()
        with pytest.raises(ConnectFailed):
            book.wait(LIMIT_S)
        assert book.stale


def test_client_closes(box):
    """Closing the client ends waits and loops on its books, and its thread for them."""
    ws = box.client()
    book = ws.order_book("BTC_USDT")
    waiting, looping = Aside(book.wait), Aside(list, book)
    ws.close()
    with pytest.raises(SubscriptionClosed):
        waiting.result()
    looping.result()
    assert [] == wait_no_threads()


def test_forgotten_client(box):
    """A client that nobody has any more ends though it had books, and its thread for them with it."""
    ws = box.client()
    book = ws.order_book("BTC_USDT")
    gone = weakref.ref(book)
    until_kept(ws)  # or that thread may have it in its hands just now
    del ws, book
    with pytest.warns(ResourceWarning, match="unclosed"):
        collect()
    assert ([], None) == (wait_no_threads(), gone())


def test_readers_never_see_half(box):
    """However often threads take turns, what one reads of the book at a time was the exchange's at one moment."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with box.client() as ws, ws.order_book("BTC_USDT", limit=20) as book:
            truths = {book.sequence: true_book(box, 20)}
            over = threading.Event()

            def read():
                seen = {}
                while not over.is_set():
                    found = book.snapshot()
                    seen.setdefault(found.sequence, (found.bids, found.asks))
                return seen

            readers = [Aside(read) for _ in range(3)]
            for _ in range(60):
                box.step()
                truths[box.markets.markets[0].update_id] = true_book(box, 20)
            ws.ping()
            over.set()
            seen = [reader.result() for reader in readers]
    finally:
        sys.setswitchinterval(usual)
    assert [] == [number for found in seen for number, sides in found.items() if truths.get(number) != sides]
    assert 10 < len({number for found in seen for number in found})
