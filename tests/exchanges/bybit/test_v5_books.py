"""Order books of V5, over sockets: every depth, and what the exchange does to them. The market moves when it is told to."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from decimal import Decimal

import pytest
from wire_peers import LIMIT_S

import exchange_ws
from exchange_ws.core.livebook import ASKS
from exchange_ws.errors import UpdateTimeout, UsageError
from exchange_ws.sandbox import Sandbox

SYMBOLS = {"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD", "option": "BTC-27DEC26-70000-C"}
DEPTHS = {**dict.fromkeys(("spot", "linear", "inverse"), (1, 50, 200, 1000, "rpi")), "option": (25, 100)}
TOPIC = "orderbook.50.BTCUSDT"
STEPS = 5  # of the market, after each of which every book but the slowest has changed


@pytest.fixture
def box():
    with Sandbox("bybit-v5", seed=1, tick=None) as box:
        yield box


@pytest.fixture
def ws(box):
    with box.client(timeout=LIMIT_S) as client:
        yield client


def moved(box, ws, steps=STEPS):
    """So many steps of the market; what they made is here when the pong is, which came behind it."""
    box.step(steps)
    ws.ping()


def whole(book):
    """The book, when it is right again."""
    end = time.monotonic() + LIMIT_S
    while book.stale:
        assert time.monotonic() < end, f"{book!r} {book.gaps}"
        try:
            book.wait(1.0)
        except UpdateTimeout:
            continue
    return book


def healed(book):
    """How many of its gaps a snapshot has ended."""
    return sum(gap.until is not None for gap in book.gaps)


def truth(box, category, depth):
    """The levels that the exchange has told last; sizes of both kinds of orders together."""
    told = box._exchange._feeds.book(category, SYMBOLS[category], str(depth))
    return tuple([(Decimal(price), sum(map(Decimal, sizes))) for price, *sizes in told[side]] for side in ("b", "a"))


@pytest.mark.parametrize("category", sorted(DEPTHS))
def test_every_depth(box, category):
    """Each book has what the exchange has, after its snapshot and after what follows, and no more levels than its depth."""
    with box.client(category=category) as ws:
        books = {depth: ws.order_book(SYMBOLS[category], depth=depth) for depth in DEPTHS[category]}
        numbers = {depth: book.sequence for depth, book in books.items()}
        for steps in (0, STEPS, 1, STEPS):
            moved(box, ws, steps)
            for depth, book in books.items():
                assert truth(box, category, depth) == (book.bids, book.asks), f"{category} {depth}"
                assert (len(book.bids) <= (50 if depth == "rpi" else depth), book.stale, book.gaps) == (True, False, [])
        assert all(book.sequence > numbers[depth] for depth, book in books.items())


def test_usual_depth(box, ws):
    """Not told, it is 50, and 25 of options; as text it is the same number."""
    with box.client(category="option") as options:
        books = [ws.order_book("BTCUSDT"), ws.order_book("BTCUSDT", depth="200"), options.order_book(SYMBOLS["option"])]
        names = [book._subscription.topics for book in books]
    assert [(TOPIC,), ("orderbook.200.BTCUSDT",), (f"orderbook.25.{SYMBOLS['option']}",)] == names


@pytest.mark.parametrize(
    ("category", "depth", "words"),
    [
        ("spot", 40, "1, 50, 200, 1000, rpi"),
        ("spot", "full", "REST"),
        ("spot", True, "1, 50, 200, 1000, rpi"),
        ("linear", "full", "1, 50, 200, 1000, rpi"),
        ("option", 50, "25, 100"),
    ],
)
def test_no_such_depth(category, depth, words):
    """Said before anything connects, with what there is."""
    ws = exchange_ws.BybitV5(category)
    with pytest.raises(UsageError, match=words):
        ws.order_book(SYMBOLS[category], depth=depth)
    ws.close()


def test_lost_update(box, ws):
    """It is found by the number of the next one; an unsubscribe and a subscribe bring the snapshot that heals it."""
    book = ws.order_book("BTCUSDT")
    moved(box, ws)
    requests = ws.stats()["requests"]
    box.lose_book_updates()
    moved(box, ws)
    assert ["sequence"] == [gap.reason for gap in whole(book).gaps]
    moved(box, ws)
    assert truth(box, "spot", 50) == (book.bids, book.asks)
    assert requests + 4 == ws.stats()["requests"]  # two of them pings


def test_restart(box, ws):
    """The exchange counts anew, and sends the whole book: nothing is missed, and what follows goes on from there."""
    books = [ws.order_book("BTCUSDT", depth=depth) for depth in (1, 50)]
    moved(box, ws)
    for _ in range(2):
        box.restart_books()
        moved(box, ws)
        for book, depth in zip(books, (1, 50)):
            assert truth(box, "spot", depth) == (book.bids, book.asks)
            assert (True, False, []) == (1 <= book.sequence <= STEPS + 1, book.stale, book.gaps)
    assert 0 == ws.stats()["gaps"]


def test_depth_1_is_repeated(box, ws):
    """The same book again, after 3 s in which nothing changed, is no change."""
    feeds = box._exchange._feeds
    changes = iter(ws.order_book("BTCUSDT", depth=1))
    every = ws.subscribe("orderbook.1.BTCUSDT")
    stream = feeds.stream(feeds.listings["spot"]["BTCUSDT"], "1")
    box._call(lambda: stream._tell("snapshot", feeds.now_us, *stream._rows(stream._sides)))
    seen = []
    while len(set(seen)) < 2 and len(seen) < 100:
        moved(box, ws, 1)
        with contextlib.suppress(UpdateTimeout):
            seen += [event.sequence for event in every.get_many(timeout=0.0)]
    assert (stream.u - 1, stream.u, stream.u) == (*seen, next(changes).sequence)


def test_two_of_one_topic(box, ws):
    """Who comes second gets a snapshot too, and the first another one; neither misses anything that it does not replace."""
    first = ws.order_book("BTCUSDT")
    changes = iter(first)
    moved(box, ws)
    with ws.subscribe(TOPIC) as stream:
        second = ws.order_book("BTCUSDT")
        moved(box, ws)
        assert "snapshot" == stream.get(LIMIT_S).kind
        for book in (whole(first), whole(second)):
            assert (truth(box, "spot", 50), []) == ((book.bids, book.asks), book.gaps)
        kinds = Counter(next(changes).kind for _ in range(STEPS + 2))
    assert (2, 0) == (kinds["snapshot"], ws.stats()["gaps"])
    moved(box, ws)
    assert truth(box, "spot", 50) == (first.bids, first.asks)


def test_broken_again_and_again(box, ws):
    """A book whose every other update is lost asks as often as a book may, in two requests each, and no more."""
    book = ws.order_book("BTCUSDT")
    requests = ws.stats()["requests"]
    pings = 0
    end = time.monotonic() + LIMIT_S
    while not book.stale or healed(book) < ASKS.count:
        assert time.monotonic() < end, f"{book!r} {book.gaps}"
        box.lose_book_updates()
        moved(box, ws, 3)
        pings += 1
    for _ in range(10):
        moved(box, ws, 3)
        pings += 1
    assert (True, ASKS.count) == (book.stale, healed(book))
    assert requests + pings + 2 * ASKS.count == ws.stats()["requests"]


def test_rpi(box, ws):
    """The book adds up what everybody meets and what only retail orders do; the updates have them apart."""
    (update,) = ws.subscribe_orderbook("BTCUSDT", depth="rpi").collect(1)
    rows = update.raw["data"]["b"]
    assert any(size != "0" for _, _, size in rows)
    assert [(Decimal(price), Decimal(one) + Decimal(two)) for price, one, two in rows] == list(update.bids)


def test_recorded(box, tmp_path):
    """A recording has the unsubscribes and subscribes of renewals too, and its replay the same events."""
    path = tmp_path / "books.jsonl"
    with box.client(record=path) as ws:
        first = ws.subscribe(TOPIC)
        moved(box, ws)
        second = ws.subscribe(TOPIC)
        moved(box, ws)
        events = [*first.get_many(), *second.get_many()]
    with exchange_ws.replay(path, speed=None) as replay:
        replayed = list(replay)
    assert replayed
    seen = [Counter((event.kind, event.sequence) for event in some) for some in (events, replayed)]
    assert seen[0] == seen[1]
