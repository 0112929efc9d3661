# ruff: noqa: T201  (a command: its output is the point)
"""
An order book is what the exchange has, or says that it is not: random updates, tampered with, and random faults over sockets.

    python tests/properties/true_books.py [--paper N] [--schedules N] [--seed S] [--exchange NAME]

*On paper*, the sandbox's own side makes the updates of a market of which the true book is known at each of them; some are
left out, come twice, or change places. After each update, a book that says that it is whole equals the truth, and where the
exchange links its updates, every one that does not follow is noticed. "consecutive" are WhiteBIT's updates with numbers that
rise by one. Where numbers begin with 1 again after a restart, the exchange restarts now and then; the whole book that it sends
then is not tampered with, since no number would tell.

*Over sockets*, a live book meets the same, and links that break, freeze and are cut, while threads read it. Each state that
was read and said to be whole is one that the exchange had, and once all is well again the book is the exchange's present one.

What is printed are the sums of all schedules. The exit code is 0 if there was no mismatch and no break was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import queue
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from exchange_ws import Backoff, OrderBook
from exchange_ws.core import livebook
from exchange_ws.core.dialect import Reading
from exchange_ws.core.messages import Pace, Topic, Update
from exchange_ws.errors import ExchangeError, SequenceGap, UpdateTimeout
from exchange_ws.events import BookUpdate
from exchange_ws.exchanges.bitzoom import dialect as bitzoom
from exchange_ws.exchanges.bybit import spot_v3_dialect as bybit
from exchange_ws.exchanges.bybit import v5_dialect as bybit_v5
from exchange_ws.exchanges.whitebit import dialect as whitebit
from exchange_ws.orderbook import Book, Rule, consecutive, linked, restarting, whole
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.server import GARBAGE

LIMIT_S = 10.0  # for a book to be right again; reached only when something is broken
HASTE_S = 0.05  # for a subscription that nobody needs: with and without its confirmation
LIMIT_S = 30.0  # for a book to be right again; reached only when something is broken
PING_S = 0.2  # between pings, and as long for their answer: a frozen link has to be noticed within a schedule
SEEDS = 3  # of markets: to make one costs more than a schedule
STEP_US = 100_000

Sides = tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]


class Broken(Exception):
    """What was promised is not so."""


def true_book(box: Sandbox, place: int, limit: int, interval: str) -> Sides:
    """What the exchange has now."""
    bids, asks = box.markets.markets[place].book(limit, Decimal(interval))
    return list(bids.items()), list(asks.items())


def stream_of_v5(box: Sandbox, place: int, limit: int, word: str) -> Any:
    """What the exchange counts of a book; None if nobody has wanted it yet."""
    exchange: Any = box._exchange
    return exchange._feeds._books.get(("spot", FACTS["bybit-v5"].symbols[place], word or str(limit)))


def truth_of_v5(box: Sandbox, place: int, limit: int, word: str) -> Sides:
    """The same of V5, which looks at its markets at the pace of the topic; "rpi" adds up the sizes of both kinds of orders."""
    stream = stream_of_v5(box, place, limit, word)
    if stream is None:
        return [], []
    bids, asks = ([(price, sum(map(Decimal, sizes))) for price, sizes in side.items()] for side in stream._sides)
    return bids, asks


class Facts(NamedTuple):
    """What differs between exchanges. Markets are by their places among the sandbox's: a busy one, and a quiet one."""

    dialect: Any
    symbols: dict[int, str]
    kinds: Sequence[tuple[int, str]]  #: of books: levels a side, and interval or another word
    topic: Callable[[str, int, str], Topic]  #: of symbol, limit and interval
    request: Callable[[str, int, str], Any]  #: the subscribe of the same
    rule: Rule
    options: Callable[[int, str], dict[str, Any]]  #: of `order_book`
    number: Callable[[Any], Any]  #: of a push of the book, parsed: what `state` will be; None for others
    state: Callable[[Book], Any] = lambda book: book.sequence  #: by which each state of a book is known
    truth: Callable[[Sandbox, int, int, str], Sides] = true_book  #: what the exchange has now
    restarts: bool = False  #: whether its numbers do


FACTS = {
    "whitebit": Facts(
        whitebit.WHITEBIT,
        {0: "BTC_USDT", 8: "DBTC_DUSDT"},
        tuple(itertools.product((1, 5, 10, 20, 30, 50, 100), ("0", "0.1"))),
        lambda symbol, limit, interval: whitebit.topics("depth", symbol, limit=limit, interval=interval)[0],
        lambda symbol, limit, interval: {"id": 1, "method": "depth_subscribe", "params": [symbol, limit, interval, True]},
        linked,
        lambda limit, interval: {"limit": limit, "interval": interval},
        lambda body: body["params"][1]["update_id"] if body.get("method") == "depth_update" else None,
    ),
    "bybit-spot-v3": Facts(
        bybit.PUBLIC,
        {0: "BTCUSDT", 3: "XRPUSDT"},
        ((40, "0"),),
        lambda symbol, limit, interval: bybit.topics(f"orderbook.40.{symbol}")[0],
        lambda symbol, limit, interval: {"op": "subscribe", "args": [f"orderbook.40.{symbol}"], "req_id": "1"},
        whole,
        lambda limit, interval: {},
        lambda body: body["data"]["t"] / 1000 if str(body.get("topic")).startswith("orderbook.") else None,
        lambda book: book.time,
    ),
    "bybit-v5": Facts(
        bybit_v5.SPOT,
        {0: "BTCUSDT", 3: "XRPUSDT"},
        ((1, ""), (50, ""), (200, ""), (1000, ""), (50, "rpi")),
        lambda symbol, limit, word: bybit_v5.topics("spot", f"orderbook.{word or limit}.{symbol}")[0],
        lambda symbol, limit, word: {"op": "subscribe", "args": [f"orderbook.{word or limit}.{symbol}"], "req_id": "1"},
        restarting,
        lambda limit, word: {"depth": word or limit},
        lambda body: (body["data"]["u"], body["cts"] / 1000) if str(body.get("topic")).startswith("orderbook.") else None,
        lambda book: (book.sequence, book.time),
        truth_of_v5,
        restarts=True,
    ),
    "bitzoom": Facts(
        bitzoom.PUBLIC,
        {5: "BTCUSDT", 7: "SHIBUSDT"},
        ((5, "0"), (10, "0"), (20, "0"), (100, "0")),
        lambda symbol, limit, interval: bitzoom.topic("/api/v1/depth", {"symbol": symbol, "limit": limit}),
        lambda symbol, limit, interval: {
            "channel": "/api/v1/depth",
            "event": "sub",
            "data": {"symbol": symbol, "limit": limit},
        },
        whole,
        lambda limit, interval: {"limit": limit},
        lambda body: body["data"]["lastUpdateId"] if isinstance(body.get("data"), dict) and "bids" in body["data"] else None,
    ),
}
#: What is tried on paper: exchanges, and WhiteBIT's updates as another kind of exchange would number them.
PAPER = (*sorted(FACTS), "consecutive")


# On paper --------------------------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """An update, its place among all of them, and the exchange's book at that moment and at the update before."""

    place: int
    update: BookUpdate
    truth: Sides
    before: Sides | None


def updates(name: str, place: int, limit: int, interval: str, chosen: int, steps: Sequence[int], bare: bool) -> list[Said]:
    """
    What the exchange says of one book while its markets make so many *steps* between two looks; 0 is a restart.

    *bare*: without the removals of levels that others push beyond the limit, which the documentation does not promise.
    """
    facts = FACTS["whitebit" if name == "consecutive" else name]
    box = Sandbox("whitebit" if name == "consecutive" else name, seed=chosen, tick=None, limits=False)
    exchange, symbol = box._exchange, facts.symbols[place]
    topic = facts.topic(symbol, limit, interval)
    reading = Reading(received=0.0, numbers=Decimal, topics={topic.key: topic})
    state = exchange.open(1)
    found: list[Said] = []

    def take(texts: Sequence[str]) -> None:
        for text in texts:
            for line in text.splitlines():
                said = facts.dialect.decode(line.encode())
                if isinstance(said, Update):
                    said.keys = (topic.key,)
                    truth = facts.truth(box, place, limit, interval)
                    for update in facts.dialect.interpret(said, reading):
                        found.append(Said(len(found), update, truth, found[-1].truth if found else None))

    answer, pushes = exchange.answer(state, facts.request(symbol, limit, interval))
    take([answer or "", *pushes])
    for count in steps:
        if not count:
            exchange.restart_books()
            take(list(exchange.publish(state)))
        for _ in range(count):
            box.markets.step(box.markets.now_us + STEP_US)
            exchange.beat()
            take(list(exchange.publish(state)))
    for said in found:
        update, worst = said.update, [side[-1][0] if len(side) == limit else None for side in said.truth]
        if bare and update.kind == "delta":
            update.bids = tuple(level for level in update.bids if level[1] or worst[0] is None or level[0] > worst[0])
            update.asks = tuple(level for level in update.asks if level[1] or worst[1] is None or level[0] < worst[1])
        if name == "consecutive":
            update.sequence, update.previous = 1000 + said.place, None
    return found


def tampered(all_said: Sequence[Said], deeds: Sequence[tuple[str, int]], sums: Counter[str]) -> list[Said]:
    """The same with some left out, some twice, and some in the place of the one before them."""
    changed = list(all_said)
    for deed, where in deeds:
        if len(changed) < 3:
            break
        at = 1 + where % (len(changed) - 2)  # the first snapshot, and one to notice it by, stay
        if 1 in (changed[at].update.sequence, changed[at + 1].update.sequence):
            continue  # restarts
        sums[deed] += 1
        if deed == "left out":
            del changed[at]
        elif deed == "twice":
            changed.insert(at, changed[at])
        else:
            changed[at], changed[at + 1] = changed[at + 1], changed[at]
    return changed


def judge(name: str, book: Book, all_said: Sequence[Said], sums: Counter[str]) -> None:
    """Apply all of it; a broken book is given the snapshot that it would ask for, before the next update."""
    newest: Said | None = None
    for said in all_said:
        follows = newest is None or said.update.kind == "snapshot" or said.place == newest.place + 1
        # Or what is missing changed nothing, as the whole book that comes when nothing happens.
        follows = follows or (newest is not None and newest.truth == said.before)
        try:
            applied = book.apply(said.update)
        except SequenceGap:
            sums["breaks noticed"] += 1
            if book.whole or (newest is not None and said.place == newest.place + 1):
                raise Broken(f"{name}: {said.place} was refused after {newest}") from None
            book.apply(attrs.evolve(said.update, kind="snapshot", bids=said.truth[0], asks=said.truth[1]))
            newest = said
            continue
        if applied and not follows:
            sums["breaks missed"] += 1
            raise Broken(f"{name}: {said.place} was applied after {newest and newest.place}")
        if applied:
            newest = said
        assert newest is not None
        sums["updates"] += 1
        if not book.whole or (book.bids, book.asks) != newest.truth:
            sums["mismatches"] += 1
            raise Broken(f"{name}: after {said.place} the book is {book.bids} {book.asks}, the truth {newest.truth}")


@st.composite
def papers(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments of `updates`, and deeds."""
    facts = FACTS["whitebit" if name == "consecutive" else name]
    quiet = draw(st.integers(0, 9)) == 0
    place = list(facts.symbols)[quiet]
    steps = draw(st.lists(st.integers(1 - facts.restarts, 100 if quiet else 3), min_size=1, max_size=4 if quiet else 25))
    deeds = st.tuples(st.sampled_from(["left out", "twice", "swapped"]), st.integers(0, 30))
    chosen = draw(st.integers(0, SEEDS - 1))
    limit, interval = draw(st.sampled_from(facts.kinds))
    return place, limit, interval, chosen, steps, draw(st.booleans()), draw(st.lists(deeds, max_size=3))


def search_paper(name: str, schedules: int, chosen: int | None = None) -> Counter[str]:
    """So many random schedules, and their sums. Raises what broke, at its shortest."""
    sums: Counter[str] = Counter({"mismatches": 0, "breaks missed": 0})
    rule = consecutive if name == "consecutive" else FACTS[name].rule

    @given(paper=papers(name))
    def run(paper: tuple[Any, ...]) -> None:
        *arguments, deeds = paper
        said = updates(name, *arguments)
        sums["schedules"] += 1
        judge(name, Book(rule, limit=arguments[1]), tampered(said, deeds, sums), sums)

    repeat(run, schedules, chosen)
    return sums


def repeat(run: Callable[[], None], schedules: int, chosen: int | None) -> None:
    """Call *run*, made by `given`, with so many schedules."""
    run = settings(
        max_examples=schedules,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
    )(run)
    (run if chosen is None else seed(chosen)(run))()


# Over sockets ----------------------------------------------------------------------------------------------------------------


class Shelf(Sandbox):
    """A sandbox that notes every state of one book that it sends, and spoils some of those messages."""

    def __init__(self, exchange: str, place: int, limit: int, interval: str, chosen: int = 0) -> None:
        super().__init__(exchange, seed=chosen, tick=None, limits=False)
        self.facts = FACTS[exchange]
        self.book_of = (place, limit, interval)
        self.symbol = self.facts.symbols[place]
        # Server thread only; read by others when it has nothing to do.
        self.truths: dict[Any, Sides] = {}
        self.spoil: list[str] = []  # what becomes of the next updates of the book
        self._late: list[tuple[Any, str]] = []  # kept back until the next one

    def _send(self, link: Any, text: str) -> None:
        # The last step before the socket.
        numbers = {} if text == GARBAGE else {line: self.facts.number(json.loads(line)) for line in text.splitlines()}
        books = [line for line, number in numbers.items() if number is not None]
        if not books:
            super()._send(link, text)
            return
        for line in books:
            self.truths.setdefault(numbers[line], self.facts.truth(self, *self.book_of))
        late, self._late = self._late, []
        restarted = self.facts.restarts and any(numbers[line][0] == 1 for line in books)
        if restarted:  # neither spoiled nor overtaken
            self._send_late(late)
            late = []
        deed = self.spoil.pop(0) if self.spoil and not restarted else None
        if deed is not None and len(numbers) > len(books):  # a confirmation came with it, which is not ours to lose
            super()._send(link, "\n".join(line for line in numbers if line not in books))
            text = "\n".join(books)
        if deed == "swapped":
            self._late = [(link, text)]
        elif deed == "cut":
            super()._send(link, text[: len(text) // 2])
        elif deed != "left out":
            super()._send(link, text)
        if deed == "twice":
            super()._send(link, text)
        self._send_late(late)

    def _send_late(self, late: list[tuple[Any, str]]) -> None:
        for former, held in late:
            if former.is_open:
                super()._send(former, held)

    def forget_spoils(self) -> None:
        """What a schedule has left: the first snapshot of the next one is not asked for twice. Server thread."""
        self.spoil.clear()
        self._late.clear()

    def restart_them(self) -> None:
        """Have the books begin anew. Server thread."""
        self._books.restart_books()
        stream = stream_of_v5(self, *self.book_of)
        if stream is not None:
            self.truths[1, stream._cts / 1000] = self.facts.truth(self, *self.book_of)


Deed = tuple[Any, ...]


class Run:
    """One live book, threads that read it, and what they saw."""

    def __init__(self, box: Shelf, readers: int) -> None:
        self.box = box
        box._call(box.forget_spoils)
        self.ws = box.client(
            reconnect=Backoff(base=0.001, cap=0.01),
            ping_interval=PING_S,
            pong_timeout=PING_S,
            rate_limit=False,
            timeout=LIMIT_S,
        )
        try:
            self.book = self._opened()
        except BaseException:
            self.ws.close()
            raise
        self.seen: list[list[Book]] = [[] for _ in range(readers)]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(seen,), daemon=True) for seen in self.seen]
        for thread in self._threads:
            thread.start()

    def _opened(self) -> OrderBook:
        """The book, while the market moves: some exchanges say nothing before it does."""
        found: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(self.ws.order_book(self.box.symbol, **self.box.facts.options(*self.box.book_of[1:])))
            except ExchangeError as error:
                found.put(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            self.box.step()
            thread.join(0.005)
        book = found.get()
        if isinstance(book, Exception):
            raise book
        assert isinstance(book, OrderBook)
        return book

    def _read(self, seen: list[Book]) -> None:
        """Look at the book whenever it may have changed."""
        while not self._over.is_set():
            found = self.book.snapshot()
            if not seen or (found.sequence, found.time, found.whole) != (seen[-1].sequence, seen[-1].time, seen[-1].whole):
                seen.append(found)
            try:
                self.book.wait(0.01)
            except UpdateTimeout:
                continue

    def do(self, deeds: Sequence[Deed]) -> None:
        for name, *arguments in deeds:
            getattr(self, name)(*arguments)

    def make(self, count: int) -> None:
        self.box.step(count)

    def spoil(self, deed: str) -> None:
        self.box._call(self.box.spoil.append, deed)
        self.box.step(3)

    def join(self) -> None:
        """Somebody else wants the same, and leaves."""
        with contextlib.suppress(ExchangeError):  # there may be no link, or none that answers
            topic = self.box.facts.topic(self.box.symbol, *self.box.book_of[1:])
            self.ws._subscribe([topic], timeout=HASTE_S).unsubscribe(HASTE_S)

    def drop(self) -> None:
        self.box.drop()

    def freeze(self) -> None:
        self.box.freeze()
        self.box.step(2)

    def close(self) -> None:
        self.box.close(1012)

    def restart(self) -> None:
        self.box.restart()

    def garbage(self) -> None:
        self.box.garbage()

    def lose(self) -> None:
        """The exchange loses an update itself, where its numbers show that."""
        if self.box.facts.restarts:
            self.box.lose_book_updates()
        self.box.step(3)

    def restart_books(self) -> None:
        """The exchange begins to count anew; it sends that with the next step, and what that changes after it."""
        if self.box.facts.restarts:
            self.box._call(self.box.restart_them)
        self.box.step(1)

    def settle(self) -> None:
        """All is well: soon the book is what the exchange has."""
        self.box.thaw()
        end = time.monotonic() + LIMIT_S
        while True:
            self.box.step(3)
            try:
                self.ws.ping()
            except ExchangeError:
                if time.monotonic() > end:
                    raise
                continue
            found = self.book.snapshot()
            if not self.book.stale and (found.bids, found.asks) == self.box.facts.truth(self.box, *self.box.book_of):
                return
            if time.monotonic() > end:
                raise Broken(f"{self.box.exchange}: not right again: {self.book!r}, {self.book.gaps[-3:]}")
            try:
                self.book.wait(0.01)
            except UpdateTimeout:
                continue

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.ws.close()


def play(box: Shelf, deeds: Sequence[Deed], sums: Counter[str], readers: int = 2) -> None:
    """Do all of it, and judge."""
    run = Run(box, readers)
    try:
        run.do(deeds)
        run.settle()
    finally:
        run.end()
    gaps = Counter(f"gaps ({gap.reason})" for gap in run.book.gaps)
    sums.update(gaps)
    sums["schedules"] += 1
    for found in (book for seen in run.seen for book in seen):
        if not found.whole:
            sums["states read while stale"] += 1
            continue
        sums["states read"] += 1
        number = box.facts.state(found)
        if box.truths.get(number) != (found.bids, found.asks):
            sums["mismatches"] += 1
            raise Broken(f"{box.exchange}: {number} was read as {found.bids} {found.asks}, and is {box.truths.get(number)}")


def player(box: Shelf, sums: Counter[str]) -> Callable[[Sequence[Deed]], None]:
    """`play` in this box."""

    def run(deeds: Sequence[Deed]) -> None:
        play(box, deeds, sums)

    return run


DEEDS = st.one_of(
    *[st.tuples(st.just("make"), st.integers(1, 10))] * 4,
    *[st.tuples(st.just("spoil"), st.sampled_from(["left out", "twice", "swapped", "cut"]))] * 4,
    st.tuples(st.just("drop")),
    st.tuples(st.just("freeze")),
    st.tuples(st.just("close")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("garbage")),
    st.tuples(st.just("join")),
    st.tuples(st.just("lose")),
    st.tuples(st.just("restart_books")),
    st.tuples(st.just("settle")),
)
SCHEDULES = st.lists(DEEDS, min_size=2, max_size=16)


def boxes(exchange: str) -> Iterator[tuple[int, int, str]]:
    """Places, limits and intervals, one after the other, for a box each."""
    facts = FACTS[exchange]
    for limit, interval in facts.kinds:
        yield next(iter(facts.symbols)), limit, interval


def search(exchange: str, schedules: int, chosen: int | None = None) -> Counter[str]:
    """So many random schedules over sockets, and their sums. Raises what broke, at its shortest."""
    sums: Counter[str] = Counter({"mismatches": 0})
    places = list(boxes(exchange))
    random.Random(chosen).shuffle(places)
    # A schedule has more breaks in a second than an exchange in a day, and spoils the snapshots that are asked for too.
    former = livebook.ASKS, livebook.AGAIN_S
    livebook.ASKS, livebook.AGAIN_S = Pace(1000, 1.0, "made up"), 0.1
    try:
        places = places[: max(1, schedules // 10)]  # the first schedules of a search are too simple to find anything
        for number, place in enumerate(places):
            share = schedules // len(places) + (number < schedules % len(places))
            with Shelf(exchange, *place) as box:
                repeat(given(deeds=SCHEDULES)(player(box, sums)), share, chosen)
    finally:
        livebook.ASKS, livebook.AGAIN_S = former
    return sums


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="random updates and faults: a book is true, or says that it is stale")
    parser.add_argument("--paper", type=int, default=3000, help="schedules on paper, of each kind (default: %(default)s)")
    parser.add_argument("--schedules", type=int, default=200, help="over sockets, of each exchange (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exchange", choices=PAPER, action="append", help="default: all of them")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = False
    for name in chosen.exchange or PAPER:
        for kind, count, find in (("on paper", chosen.paper, search_paper), ("over sockets", chosen.schedules, search)):
            if not count or (find is search and name not in FACTS):
                continue
            began = time.monotonic()
            try:
                sums = find(name, count, chosen.seed)
            except Exception as error:
                failed = True
                print(f"{name} {kind}: {type(error).__name__}: {error}")
                for note in getattr(error, "__notes__", ()):
                    print(note)
                continue
            print(f"{name} {kind}, seed {chosen.seed}, {time.monotonic() - began:.1f} s")
            for what in sorted(sums):
                print(f"  {what:26}{sums[what]:>10,}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
