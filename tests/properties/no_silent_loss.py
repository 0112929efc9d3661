# ruff: noqa: T201  (a command: its output is the point)
"""
Nothing is lost in silence: random faults over real sockets, and what came of every message by the sandbox's own books.

    python tests/properties/no_silent_loss.py [--schedules N] [--seed S] [--exchange NAME]

A schedule is a list of small deeds: trades are made, links break, freeze and are cut, subscriptions come and go, consumers
stop and go on. Each trade is pushed in a message of its own, unless a frozen link has to catch up, and the sandbox notes what
it handed to a socket and when. Once a schedule is over, each trade that was made while a subscription stood was delivered to
it, once and in order, or a `Gap` that is not repaired stands in the stream exactly where it is missing: see `judge`. "paper" as
an exchange is the engine without sockets (`paper_line`), with ten times as many schedules.

What is printed are the sums of all schedules. The exit code is 0 if nothing was lost in silence and nothing came twice; a
schedule that fails is made as short as it can be, and shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from exchange_ws import Backoff
from exchange_ws.core.subscription import BLOCK, OVERFLOWS
from exchange_ws.errors import ExchangeError, SubscriptionClosed
from exchange_ws.events import Gap
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.server import GARBAGE

LIMIT_S = 30.0  # for what happens at once; reached only when something is broken
PING_S = 0.1  # between pings, and as long for their answer: a frozen link has to be noticed within a schedule
HURRIED_S = 0.5  # for a call in a schedule: it may be that nobody answers
#: Seconds between the sandbox's stamp of a message and ours; threads and processes wait for their turn on a busy machine.
TRANSIT_S = 5.0
ROUNDING_S = 1e-6  # of nanoseconds as seconds in a float
TWICE = "came twice"
CLOSE_CODES = (1000, 1001, 1008, 1011, 1012, 1013)

Deed = tuple[Any, ...]


class Facts(NamedTuple):
    """What differs between exchanges."""

    topics: Callable[[Sequence[int]], tuple[Sequence[str], dict[str, Any]]]  #: what `subscribe` takes for these markets
    markets: tuple[int, int]  #: their places among the sandbox's
    numbers: Callable[[Any], Sequence[int]]  #: ids of the trades in a push, none in any other message
    identify: Callable[[Any], int]  #: the sandbox's number for the id in an event
    together: bool  #: may one subscription have both markets?
    repeats: bool  #: does a push have trades again that another had?


BYBIT_IDS = 2_290_000_000_000_000_000  # its sandbox adds so much to the numbers of trades

FACTS = {
    "whitebit": Facts(
        topics=lambda places: (("trades", *(("BTC_USDT", "ETH_USDT")[place] for place in places)), {}),
        markets=(0, 1),
        numbers=lambda body: [row["id"] for row in body["params"][1]] if body.get("method") == "trades_update" else (),
        identify=int,
        together=True,
        repeats=False,
    ),
    "bybit-spot-v3": Facts(
        topics=lambda places: (tuple(("trade.BTCUSDT", "trade.ETHUSDT")[place] for place in places), {}),
        markets=(0, 1),
        numbers=lambda body: (
            (int(body["data"]["v"]) - BYBIT_IDS,) if str(body.get("topic")).startswith("trade.") and "data" in body else ()
        ),
        identify=lambda name: int(name) - BYBIT_IDS,
        together=True,
        repeats=False,
    ),
    "bybit-v5": Facts(
        topics=lambda places: (tuple(("publicTrade.BTCUSDT", "publicTrade.ETHUSDT")[place] for place in places), {}),
        markets=(0, 1),
        numbers=lambda body: (
            [int(row["i"]) - BYBIT_IDS for row in body["data"]] if str(body.get("topic")).startswith("publicTrade.") else ()
        ),
        identify=lambda name: int(name) - BYBIT_IDS,
        together=True,
        repeats=False,
    ),
    "bitzoom": Facts(
        topics=lambda places: (("/api/v1/trades",), {"symbol": ("BTCUSDT", "ETHUSDT")[places[0]], "limit": 100}),
        markets=(5, 6),
        numbers=lambda body: [row["id"] for row in body["data"]] if isinstance(body.get("data"), list) else (),
        identify=int,
        together=False,
        repeats=True,
    ),
}


class Handed(NamedTuple):
    """One message of trades as it went to a socket."""

    numbers: frozenset[int]
    at: float  #: Unix seconds


class Tape(Sandbox):
    """A sandbox that makes one trade at a time, and keeps its own books of them."""

    def __init__(self, exchange: str, seed: int = 0) -> None:
        super().__init__(exchange, seed=seed, tick=None, limits=False)
        self.facts = FACTS[exchange]
        # Server thread only; read by others when it has nothing to do.
        self.made: tuple[list[int], list[int]] = ([], [])  # numbers of trades by market, rising
        self.made_at: dict[int, float] = {}  # Unix seconds
        self.handed: list[Handed] = []
        self._spoiling = 0  # messages of trades to cut in the middle
        self._trickles: set[asyncio.Task[None]] = set()

    def _send(self, link: Any, text: str) -> None:
        # The last step before the socket: what is noted here has left, whether it arrives or not.
        if link.is_open and text != GARBAGE:
            numbers = [number for line in text.splitlines() for number in self.facts.numbers(json.loads(line))]
            if numbers:
                self.handed.append(Handed(frozenset(numbers), time.time()))
                if self._spoiling:
                    self._spoiling -= 1
                    text = text[: len(text) // 2]
        super()._send(link, text)

    def _make(self, place: int) -> None:
        market = self.markets.markets[self.facts.markets[place]]
        (trade,) = market.take("buy", [(market.top.ask, market.instrument.lot)])
        self.made_at[trade.id] = time.time()
        self.made[place].append(trade.id)
        for endpoint in self._endpoints.values():
            endpoint.beat()
        for link in list(self._links):
            if not link.frozen and link.is_open:
                for text in link.exchange.publish(link.state):
                    self._send(link, text)

    def make(self, place: int, count: int) -> None:
        """So many trades in one of the two markets, each pushed by itself."""
        self._call(lambda: [self._make(place) for _ in range(count)])

    def trickle(self, place: int, count: int) -> None:
        """The same, one about each millisecond, while the caller does other things."""

        async def run() -> None:
            for _ in range(count):
                self._make(place)
                await asyncio.sleep(0.001)

        def start() -> None:
            task = asyncio.ensure_future(run())
            self._trickles.add(task)
            task.add_done_callback(self._trickles.discard)

        self._call(start)

    def spoil(self, count: int) -> None:
        """Cut the next messages of trades in the middle: they are JSON no more."""
        self._call(setattr, self, "_spoiling", count)

    def trickled(self) -> None:
        """Wait for the end of that."""

        async def wait() -> None:
            await asyncio.gather(*self._trickles)

        self._await(wait())

    def calm(self) -> None:
        """No fault is left, and nothing on its way."""

        def reset() -> None:
            self._rejections.clear()
            self._refusals.clear()

        self.thaw()
        self.split(False)
        self.delay(0)
        self.reorder(0)
        self.spoil(0)
        self._call(reset)
        self.trickled()

    def clear(self) -> None:
        """Begin new books."""
        self.calm()
        self.made[0].clear()
        self.made[1].clear()
        self.handed.clear()
        self.made_at.clear()


class Reader(threading.Thread):
    """A consumer that reads as many items as it is allowed to."""

    def __init__(self, subscription: Any, places: Sequence[int], begins: tuple[int, int], policy: str) -> None:
        super().__init__(name="reader", daemon=True)
        self.subscription = subscription
        self.places = places
        self.policy = policy
        self.begins = begins  # trades made of each market before: these need not come
        self.ends: tuple[int, int] | None = None  # nor need those made after so many; None: it stands
        self.handed: int | None = None  # messages that the server had handed out by then
        self.error: ExchangeError | None = None  # what ended it
        self.items: list[Any] = []
        self._allowed = 0.0
        self._changed = threading.Condition()  # guards the above
        self.start()

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._allowed > 0)
                self._allowed -= 1
            try:
                item = self.subscription.get()
            except ExchangeError as error:  # SubscriptionClosed, or what ended it
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self.items.append(item)
                self._changed.notify_all()

    def allow(self, count: float) -> None:
        """Read so many items more."""
        with self._changed:
            self._allowed += count
            self._changed.notify_all()

    def halt(self) -> None:
        """Read no more, but what is being waited for."""
        with self._changed:
            self._allowed = 0

    def saw(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Whether *reached* came true within *timeout* seconds, or the end did."""
        with self._changed:
            return self._changed.wait_for(lambda: self.error is not None or reached(), timeout)

    def has(self, name: Callable[[Any], int], number: int) -> bool:
        """Whether that trade, or one after it, was delivered. Only within `saw`."""
        return any(not isinstance(item, Gap) and name(item.id) >= number for item in self.items[-50:])


class Broken(AssertionError):
    """What was promised did not hold."""


class Run:
    """One schedule on one sandbox with a client of its own."""

    def __init__(self, tape: Tape, policy: str, size: int) -> None:
        self.tape = tape
        self.facts = tape.facts
        self.policy = policy
        self.size = size
        self.readers: list[Reader] = []
        self.forgot = False  # the server may have dropped subscriptions: what it does not send is not ours
        self.ever_forgot = False
        ping_s = 4 * PING_S if policy == BLOCK else PING_S  # a reader may be held for half of it
        tape.clear()
        self.ws = tape.client(reconnect=Backoff(0.001, 0.004), ping_interval=ping_s, pong_timeout=PING_S, timeout=HURRIED_S)

    # Deeds -----------------------------------------------------------------------------------------------------------------

    def do(self, deeds: Sequence[Deed]) -> None:
        self.subscribe((0,))
        for name, *args in deeds:
            getattr(self, name)(*args)

    def subscribe(self, places: Sequence[int]) -> None:
        self._flow()
        words, params = self.facts.topics(places if self.facts.together else places[:1])
        options = {"overflow": self.policy, "queue_size": self.size, "gaps": True, "timeout": HURRIED_S}
        try:
            subscription = self.ws.subscribe(*words, **params, **options)
        except ExchangeError:
            return  # refused, or not confirmed in time: nothing was promised
        begins = (len(self.tape.made[0]), len(self.tape.made[1]))
        self.readers.append(Reader(subscription, places if self.facts.together else places[:1], begins, self.policy))

    def unsubscribe(self, which: int) -> None:
        self._flow()
        reader = self.readers[which % len(self.readers)] if self.readers else None
        if reader is not None and reader.ends is None:
            # What has been read counts as received, what is on its way then is nobody's: a ping parts the two.
            received = (len(self.tape.made[0]), len(self.tape.made[1]))
            before = self.ws.state, self.ws.stats()["reconnects"]
            try:
                self.ws.ping(timeout=HURRIED_S)
            except ExchangeError:
                received = reader.begins
            if before[0] != "open" or before != (self.ws.state, self.ws.stats()["reconnects"]):
                received = reader.begins  # on a new link pings go first: the answer came before what is stated again
            reader.ends, reader.handed = received, len(self.tape.handed)
            try:
                reader.subscription.unsubscribe(timeout=HURRIED_S)
            except ExchangeError:
                pass  # not confirmed; nothing more is delivered all the same

    def make(self, place: int, count: int) -> None:
        self.tape.make(place, count)

    def trickle(self, place: int, count: int) -> None:
        self.tape.trickle(place, count)

    def consume(self, count: int) -> None:
        for reader in self.readers:
            reader.allow(count)

    def halt(self) -> None:
        for reader in self.readers:
            reader.halt()

    def drop(self) -> None:
        self.tape.drop()
        self.forgot = False

    def close(self, code: int) -> None:
        self.tape.close(code)

    def restart(self, seconds: float) -> None:
        self.tape.restart(seconds)
        self.forgot = False

    def freeze(self) -> None:
        self.tape.freeze()

    def thaw(self) -> None:
        self.tape.thaw()

    def stall(self, place: int, count: int) -> None:
        """Half-open until the client notices."""
        self.tape.freeze()
        self.tape.make(place, count)
        end = time.monotonic() + LIMIT_S
        before = self.ws.stats()["reconnects"]
        while self.ws.state == "open" and self.ws.stats()["reconnects"] == before and time.monotonic() < end:
            threading.Event().wait(0.005)  # nothing tells of it but the state
        self.tape.thaw()

    def garbage(self) -> None:
        self.tape.garbage()

    def spoil(self, count: int) -> None:
        self.tape.spoil(count)

    def split(self, on: bool) -> None:
        self.tape.split(on)

    def delay(self, seconds: float) -> None:
        self.tape.delay(seconds)

    def reorder(self, count: int) -> None:
        self.tape.reorder(count)

    def reject(self, count: int) -> None:
        self.tape.reject(count)

    def refuse(self) -> None:
        self.tape.refuse()

    def forget(self) -> None:
        self.tape.forget_subscriptions()
        self.forgot = self.ever_forgot = True

    def settle(self) -> None:
        """Faults end, and all that is on its way arrives."""
        self.tape.calm()
        if self.forgot:
            self.drop()
        self._flow()
        self._barrier()

    # The end ---------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Go on until each subscription that stands has had a trade made after all of this."""
        self.settle()
        for reader in self.readers:
            reader.allow(float("inf"))
        for reader in self.readers:
            end = time.monotonic() + LIMIT_S
            while reader.ends is None and time.monotonic() < end:
                # Of several, since the first may find a full buffer.
                self.tape.make(reader.places[0], 1)
                number = self.tape.made[reader.places[0]][-1]
                if reader.saw(lambda reader=reader, number=number: reader.has(self.facts.identify, number), 0.25):
                    break
                self._barrier()
            else:
                if reader.ends is None:
                    raise Broken(f"{reader.subscription}: nothing came any more ({self.ws.state}, {self.ws.stats()})")
        self.tape.trickled()
        self._barrier()

    def end(self) -> None:
        """Close, and have every thread end."""
        self.ws.close()
        for reader in self.readers:
            reader.allow(float("inf"))
            reader.join(LIMIT_S)
            if reader.is_alive():
                raise Broken(f"{reader.subscription}: a read did not end at close")

    def _flow(self) -> None:
        """A call has to be answered: who blocks the reader lets go."""
        for reader in self.readers:
            if reader.policy == BLOCK:
                reader.allow(1000)

    def _barrier(self) -> None:
        """Whatever was handed to the link before has been read by the client: it answers in order."""
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                self.ws.ping(timeout=HURRIED_S)
                return
            except ExchangeError:
                if time.monotonic() > end:
                    raise


# Judging ---------------------------------------------------------------------------------------------------------------------


def judge(tape: Any, run: Any, reader: Any, sums: Counter[str], transit_s: float = TRANSIT_S) -> None:
    """
    What one subscription delivered, against the books. Raises `Broken`.

    * Each trade was handed out by the server, and comes once; in rising order, but for those that the exchange replays, or
      itself sends late: a first push that waits for a delayed answer.
    * Each trade that was made after the subscription stood and before it was ended is delivered, or there is a gap between the
      trade before and the one after it, one that is not repaired, and whose time has the sending of the trade in it; or the
      subscription ended with an error before it.
    * A gap of an overflow alone counts exactly what is missing there.
    * An event carries a gap exactly if gaps stand before it.
    """
    facts, items = tape.facts, reader.items
    handed: dict[int, int] = {}  # trades by the first message that has them
    handed_last: dict[int, int] = {}  # and by the last one
    sent_at: dict[int, list[float]] = {}
    for serial, message in enumerate(tape.handed):
        for number in message.numbers:
            handed.setdefault(number, serial)
            handed_last[number] = serial
            sent_at.setdefault(number, []).append(message.at)
    seen: set[int] = set()
    _judge_carried(items)
    gaps = [(at, item) for at, item in enumerate(items) if isinstance(item, Gap)]
    for place in reader.places:
        made = tape.made[place]
        order = {number: index for index, number in enumerate(made)}
        came: list[tuple[int, int]] = []  # numbers with their places in the stream, both rising
        late: set[int] = set()
        for at, item in enumerate(items):
            if isinstance(item, Gap) or (number := facts.identify(item.id)) not in order:
                continue
            if number in seen:
                sums[TWICE] += 1
                raise Broken(f"{number} came twice")
            if number not in handed:
                raise Broken(f"{number} was never sent")
            seen.add(number)
            if came and number < came[-1][0]:
                # It may have been lost when it was handed out first, and come with what is handed out late.
                if not item.snapshot and handed_last[number] <= handed[came[-1][0]]:
                    raise Broken(f"{number} came after {came[-1][0]}")
                late.add(number)
            else:
                came.append((number, at))
        until = len(made) if reader.ends is None else reader.ends[place]
        promised = made[reader.begins[place] : until]
        delivered = {number for number, _ in came} | late
        sums["sent"] += len([number for number in promised if number in handed])
        sums["never sent to us"] += len([number for number in promised if number not in handed])
        sums["delivered"] += len([number for number in promised if number in delivered])
        # What a server that had forgotten us handed out later, to others, was not sent to this one.
        last = len(tape.handed) if reader.handed is None else reader.handed
        missing = [
            number
            for number in promised
            if number not in delivered and (not run.ever_forgot or handed.get(number, last) < last)
        ]
        sums["forgotten by the server"] += len(promised) - len(delivered.intersection(promised)) - len(missing)
        for (low, low_at), (high, high_at), lost in _holes(came, missing, len(items)):
            between = [gap for at, gap in gaps if low_at < at < high_at]
            if high is None:
                # A loss that the stream has not come back from has no place in it yet, and is in the list all the same.
                between += [gap for gap in reader.subscription.gaps if all(gap is not item for _, item in gaps)]
            reason = _cover(tape, reader, lost, between, sent_at, high is None, transit_s)
            sums[f"covered by {reason}"] += len(lost)
            if high is not None and low is not None and not items[high_at].snapshot:  # a replay brings back what was counted
                _judge_count(tape, reader, between, made[order[low] + 1 : order[high]], delivered)
    sums["repaired"] += sum(gap.repaired for _, gap in gaps)
    sums["gaps"] += len(gaps)
    sums["subscriptions"] += 1


def _judge_carried(items: Sequence[Any]) -> None:
    after_gap = False
    for item in items:
        if isinstance(item, Gap):
            after_gap = True
        else:
            if after_gap != (item.gap is not None):
                raise Broken(f"{item.id} carries {item.gap}, and {'a' if after_gap else 'no'} gap stands before it")
            after_gap = False


def _holes(
    came: Sequence[tuple[int, int]], missing: Sequence[int], end: int
) -> Iterator[tuple[tuple[int | None, int], tuple[int | None, int], list[int]]]:
    """What is missing, by the trades before and after it: number and place of each, (None, ...) for none."""
    found: dict[int, list[int]] = {}
    numbers = [number for number, _ in came]
    for number in missing:
        found.setdefault(bisect_left(numbers, number), []).append(number)
    for index, lost in found.items():
        before = came[index - 1] if index else (None, -1)
        after = came[index] if index < len(came) else (None, end)
        yield before, after, lost


def _cover(
    tape: Any,
    reader: Any,
    lost: Sequence[int],
    between: Sequence[Gap],
    sent_at: dict[int, list[float]],
    last: bool,
    transit_s: float,
) -> str:
    """The reason that stands where these are missing."""
    telling = [gap for gap in between if not gap.repaired]
    for number in lost:
        times = sent_at.get(number) or [tape.made_at[number]]
        fitting = [
            gap
            for gap in telling
            if any(gap.since - transit_s <= at and (gap.until is None or at <= gap.until + ROUNDING_S) for at in times)
        ]
        if fitting:
            continue
        if last and not isinstance(reader.error, SubscriptionClosed):
            continue  # ended by an error, which is no silence
        raise Broken(f"{number} of {list(lost)} is lost in silence; sent {times}; gaps there: {list(between)}")
    return telling[0].reason if telling else "error"


def _judge_count(tape: Any, reader: Any, between: Sequence[Gap], numbers: Sequence[int], delivered: set[int]) -> None:
    """An overflow's count is exact, where one message has one trade and none of the subscription's others is in it."""
    if len(reader.places) > 1 or tape.facts.repeats or not between or {gap.reason for gap in between} != {"overflow"}:
        return
    if any(number in delivered for number in numbers):
        return  # some came later, replayed: they are counted too
    messages = [message for message in tape.handed if not message.numbers.isdisjoint(numbers)]
    if len(messages) != len(numbers) or any(len(message.numbers) > 1 for message in messages):
        return  # a replay, or what a frozen link had to catch up with; or it is not the one link
    told = sum(gap.dropped or 0 for gap in between)
    if told != len(numbers):
        raise Broken(f"{len(numbers)} are missing where an overflow tells of {told}: {list(between)}")


# Schedules -------------------------------------------------------------------------------------------------------------------

PLACE = st.integers(0, 1)
#: Deeds, the usual ones several times: a rare fault is worth most among what is usual.
DEEDS = st.one_of(
    *[st.tuples(st.just("make"), PLACE, st.integers(1, 12))] * 4,
    *[st.tuples(st.just("trickle"), PLACE, st.integers(1, 20))] * 3,
    *[st.tuples(st.just("consume"), st.integers(1, 8))] * 3,
    st.tuples(st.just("halt")),
    *[st.tuples(st.just("drop"))] * 2,
    st.tuples(st.just("close"), st.sampled_from(CLOSE_CODES)),
    st.tuples(st.just("restart"), st.sampled_from([0.0, 0.01])),
    st.tuples(st.just("freeze")),
    st.tuples(st.just("thaw")),
    st.tuples(st.just("garbage")),
    st.tuples(st.just("spoil"), st.integers(1, 4)),
    st.tuples(st.just("split"), st.booleans()),
    st.tuples(st.just("delay"), st.sampled_from([0.0, 0.005, 0.02])),
    st.tuples(st.just("reorder"), st.integers(0, 2)),
    st.tuples(st.just("reject"), st.integers(1, 2)),
    st.tuples(st.just("refuse")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("stall"), PLACE, st.integers(1, 4)),
    *[st.tuples(st.just("subscribe"), st.sampled_from([(0,), (1,), (0, 1)]))] * 2,
    st.tuples(st.just("unsubscribe"), st.integers(0, 3)),
    st.tuples(st.just("settle")),
)
SCHEDULES = st.lists(DEEDS, min_size=4, max_size=24)
POLICIES = st.sampled_from(OVERFLOWS)
SIZES = st.sampled_from([1, 2, 3, 8, 1000])


def play(tape: Tape, policy: str, size: int, deeds: Sequence[Deed], sums: Counter[str]) -> None:
    """Do all of it, and judge."""
    run = Run(tape, policy, size)
    try:
        run.do(deeds)
        run.finish()
    finally:
        run.end()
    for reader in run.readers:
        judge(tape, run, reader, sums)
    sums["schedules"] += 1
    sums["reconnects"] += run.ws.stats()["reconnects"]


def search(tape: Tape, schedules: int, chosen: int | None = None) -> Counter[str]:
    """So many random schedules, the same for the same seed *chosen*, and their sums. Raises what broke, at its shortest."""
    sums: Counter[str] = Counter()

    @given(policy=POLICIES, size=SIZES, deeds=SCHEDULES)
    def run(policy: str, size: int, deeds: list[Deed]) -> None:
        play(tape, policy, size, deeds, sums)

    repeat(run, schedules, chosen)
    return sums


def repeat(run: Callable[[], None], schedules: int, chosen: int | None) -> None:
    """Call *run*, made by `given`, with so many schedules."""
    # Seconds are part of what is tried here, so a failure need not come again: then Hypothesis shows it as it was.
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


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="random faults over real sockets: nothing is lost in silence")
    parser.add_argument("--schedules", type=int, default=500, help="of each exchange (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exchange", choices=[*sorted(FACTS), "paper"], action="append", help="default: all of them")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = False
    for exchange in chosen.exchange or [*sorted(FACTS), "paper"]:
        began = time.monotonic()
        try:
            if exchange == "paper":
                # It needs this module, by the name that tests know it by.
                sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
                from properties.paper_line import search as search_paper

                sums = search_paper(10 * chosen.schedules, chosen.seed)
            else:
                with Tape(exchange) as tape:
                    sums = search(tape, chosen.schedules, chosen.seed)
        except Exception as error:
            failed = True
            print(f"{exchange}: {type(error).__name__}: {error}")
            for note in getattr(error, "__notes__", ()):
                print(note)
            continue
        print(f"{exchange}, seed {chosen.seed}, {time.monotonic() - began:.1f} s")
        for name in sorted(sums):
            print(f"  {name:24}{sums[name]:>10,}")
        owed = sums["sent"] + sums["never sent to us"] - sums["delivered"] - sums["forgotten by the server"]
        lost = owed - sum(count for name, count in sums.items() if name.startswith("covered by"))
        print(f"  {'lost in silence':24}{lost:>10,}\n  {TWICE:24}{sums[TWICE]:>10,}")
        failed = failed or lost > 0 or sums[TWICE] > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
