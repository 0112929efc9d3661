"""
The engine from a connection's reader to a subscription's consumer, without a thread, a socket or a second.

Each step is taken by hand, and time passes when a schedule says so. The exchange is made up, and keeps books as the sandbox of
`no_silent_loss` does.
"""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import attrs
import counting_language
from core_languages import DELTA, SWAP, topic, wire
from hypothesis import given
from hypothesis import strategies as st
from properties.no_silent_loss import POLICIES, ROUNDING_S, SIZES, Broken, Deed, Handed, judge, repeat

from exchange_ws.clock import Deadline
from exchange_ws.core.connection import Connection, Link
from exchange_ws.core.messages import Limits
from exchange_ws.core.session import CLOSED, Backoff, Session
from exchange_ws.core.subscription import BLOCK, Subscription
from exchange_ws.errors import ConnectionLost, ExchangeError, SubscriptionClosed, UpdateTimeout
from exchange_ws.events import Gap

REPLY_LIMIT_S = 10.0
REPLAYED = 5  # trades that come again when a topic is stated, in the language that replays
NAMES = {"swap": ("price A", "price B"), "replay": ("price A", "price B"), "delta": ("tick A", "tick B")}

DIALECTS = {
    "swap": attrs.evolve(SWAP, route=counting_language.route, interpret=counting_language.interpret),
    "delta": attrs.evolve(DELTA, route=counting_language.route, interpret=counting_language.interpret),
}
DIALECTS["replay"] = DIALECTS["swap"]


class Clock:
    """Moved by the schedule; whoever waits on it lets `meanwhile` happen instead."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.meanwhile = lambda: False  # whether anything did

    def now(self) -> float:
        return self.at

    def time_ns(self) -> int:
        return int(self.at * 1e9)

    def wait(self, condition: Any, timeout: float | None) -> bool:
        condition.release()
        try:
            happened = self.meanwhile()
        finally:
            condition.acquire()
        if not happened:
            assert timeout is not None, "a wait without end"
            self.at += timeout
        return happened


class Consumer:
    """One subscription and what was read of it; what `judge` calls a reader."""

    def __init__(self, subscription: Subscription, places: Sequence[int]) -> None:
        self.subscription = subscription
        self.places = places
        self.begins = (0, 0)
        self.ends: tuple[int, int] | None = None
        self.handed: int | None = None
        self.error: ExchangeError | None = None
        self.items: list[Any] = []
        self.pending: Any = None  # its wish, until that is settled

    def read(self, count: int) -> bool:
        """At most so many items; whether there was any."""
        for done in range(count):
            try:
                self.items.append(self.subscription.get_nowait())
            except UpdateTimeout:
                return done > 0
            except ExchangeError as error:
                self.error = error
                return done > 0
        return True


class Exchange:
    """The other side: what one link is subscribed to, what is on its way in both directions, and its books."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.names = NAMES[language]
        self.facts = SimpleNamespace(identify=int, repeats=False)
        self.made: tuple[list[int], list[int]] = ([], [])
        self.made_at: dict[int, float] = {}
        self.handed: list[Handed] = []
        self.on: set[str] = set()
        self.asked: deque[dict[str, Any]] = deque()
        self.out: deque[tuple[bytes, int | None]] = deque()  # messages, with their places in `handed`
        self.refusing = 0
        self.spoiling = 0

    def make(self, place: int, now: float) -> None:
        """One trade, pushed to whom it concerns."""
        number = len(self.made_at) + 1
        self.made[place].append(number)
        self.made_at[number] = now
        name = self.names[place]
        if name in self.on or name[:-1] + "*" in self.on:
            self.hand(name, [number], now)

    def hand(self, name: str, numbers: Sequence[int], now: float) -> None:
        message = counting_language.push(name, *numbers)
        self.handed.append(Handed(frozenset(numbers), now))
        if self.spoiling:
            self.spoiling -= 1
            # Before the name, so that nobody knows whose it was, or after it.
            message = message[: 5 if sum(numbers) % 2 else -3]
        self.out.append((message, len(self.handed) - 1))

    def obey(self, now: float) -> None:
        """Take what was asked first, and answer it."""
        if not self.asked:
            return
        body = self.asked.popleft()
        delta = self.language == "delta"
        verb = body["op"] if delta else body["method"].rpartition("_")[2]
        names = body["args"] if delta else [f"price {symbol}" for symbol in body["params"]]
        error = None
        if verb != "ping" and self.refusing:
            self.refusing -= 1
            error = {"message": "no"}
        if delta:
            reply = {"pong": 1} if verb == "ping" else {"to": verb, "ok": error is None, "error": error}
        else:
            reply = {"id": body["id"], "ok": error is None, "error": error}
        self.out.append((wire(reply), None))
        if error is not None or verb == "ping":
            return
        if verb in ("sub", "subscribe"):
            self.on = {*self.on, *names} if delta else set(names)
            if self.language == "replay":
                for place, name in enumerate(self.names):
                    if name in self.on or name[:-1] + "*" in self.on:
                        self.hand(name, self.made[place][-REPLAYED:], now)
        else:
            self.on = self.on.difference(names) if delta else set()

    def take(self, count: int, now: float) -> list[bytes]:
        """So many messages arrive, or are lost. It is that moment, our clock's, which a gap has to have in it."""
        taken = [self.out.popleft() for _ in range(min(count, len(self.out)))]
        for _, at in taken:
            if at is not None:
                self.handed[at] = self.handed[at]._replace(at=now)
        return [message for message, _ in taken]

    def cut(self, now: float) -> None:
        """The link is no more, nor anything on its way."""
        self.on = set()
        self.asked.clear()
        self.take(len(self.out), now)


class Timer:
    """A schedule says when time passes."""

    def schedule(self, entry: object, due: float) -> None:
        pass

    def forget(self, entry: object) -> None:
        pass


class Line:
    """One connection, whose reader's and timer's steps are taken here, and its consumers."""

    def __init__(self, language: str, policy: str, size: int, patience: int) -> None:
        self.exchange = Exchange(language)
        self.policy = policy
        self.size = size
        self.patience = patience  # items that consumers take while a reader is blocked by them
        self.ever_forgot = False
        self.forgot = False
        self.consumers: list[Consumer] = []
        self.wishes: list[Consumer] = []
        self.clock = Clock()
        self.clock.meanwhile = self._meanwhile
        self.session = Session(
            DIALECTS[language],
            "paper",
            limits=Limits(),
            ping_interval=20.0,
            pong_timeout=10.0,
            reply_limit=REPLY_LIMIT_S,
            backoff=Backoff(0.0, 0.0),
            chance=random.Random(0).uniform,
        )
        self.connection = Connection(
            self.session,
            Link("ws://paper", 1.0),
            clock=self.clock,
            timer=Timer(),  # type: ignore[arg-type]
            may_dial=self.clock.now,
        )
        self.linked = False
        self.dial()

    # Deeds -----------------------------------------------------------------------------------------------------------------

    def do(self, deeds: Sequence[Deed]) -> None:
        self.subscribe((0,))
        self.talk()
        for name, *args in deeds:
            self.clock.at += 0.001
            getattr(self, name)(*args)
            self._look()

    def subscribe(self, places: Sequence[int]) -> None:
        names = [self.exchange.names[place] for place in places] or [self.exchange.names[0][:-1] + "*"]
        topics = [attrs.evolve(topic(name), replays=self.exchange.language == "replay") for name in names]
        subscription = Subscription(
            "paper",
            topics,
            self.session.dialect,
            clock=self.clock,
            queue_size=self.size,
            overflow=self.policy,
            gaps=True,
            raw=False,
            numbers=Decimal,
            block_limit=1.0,
            leave=lambda subscription, topics, timeout: None,
            forget=self._forget,
        )
        consumer = Consumer(subscription, places or (0, 1))
        consumer.pending = self.connection.want(subscription, frozenset(topics), Deadline(self.clock, REPLY_LIMIT_S))
        self.wishes.append(consumer)

    def _forget(self, subscription: Subscription) -> None:
        self.connection.unwant(subscription, frozenset(subscription.wanted), Deadline(self.clock, REPLY_LIMIT_S))

    def unsubscribe(self, which: int) -> None:
        if self.consumers:
            consumer = self.consumers[which % len(self.consumers)]
            if consumer.ends is None:
                self.read(1000)  # what was not read yet is nobody's
                consumer.ends, consumer.handed = self._count(), len(self.exchange.handed)
                self._forget(consumer.subscription)
                consumer.subscription.finish()

    def make(self, place: int, count: int) -> None:
        for _ in range(count):
            self.clock.at += 0.001
            self.exchange.make(place, self.clock.at)

    def say(self, count: int) -> None:
        """So many turns: what is to be said is said, and the exchange obeys."""
        for _ in range(count):
            if self.linked:
                self._utter()
                self.clock.at += 0.001
                self.exchange.obey(self.clock.at)

    def talk(self) -> None:
        """All that is to be said is said, answered and heard."""
        self.say(3)
        self.read(1000)
        self._look()

    def read(self, count: int) -> None:
        """One read of the socket, with so many messages."""
        chunk = self.exchange.take(count, self.clock.at)
        if chunk:
            self.connection._heard_ns = received_ns = self.clock.time_ns()
            self.session.heard(self.clock.at, sum(map(len, chunk)), len(chunk))
            self.connection._deliver(chunk, received_ns)

    def consume(self, count: int) -> None:
        for consumer in self.consumers:
            consumer.read(count)

    def drop(self) -> None:
        if self.linked:
            self._lose(ConnectionLost("cut", sent=True))

    def dial(self) -> None:
        if not self.linked and self.session.state != CLOSED:
            self.linked = True
            self.session.dialling()
            self.session.dialled(self.clock.at, None)
            self.connection._act()

    def wait(self, seconds: float) -> None:
        self.clock.at += seconds
        self.session.tick(self.clock.at)
        self.connection._act()

    def spoil(self, count: int) -> None:
        self.exchange.spoiling = count

    def refuse(self, count: int) -> None:
        self.exchange.refusing = count

    def forget(self) -> None:
        self.exchange.on = set()
        self.forgot = self.ever_forgot = True

    # The end ---------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Faults end; what was subscribed flows again; and all is read."""
        self.exchange.refusing = self.exchange.spoiling = 0
        if self.forgot:
            self.drop()
        for _ in range(50):
            self.dial()
            self.say(5)
            self.read(1000)
            self._look()
            self.consume(1000)
            self.clock.at += 1.5
            self.session.tick(self.clock.at)
            self.connection._act()
        for consumer in self.consumers:
            if consumer.ends is None and consumer.error is None:
                place = consumer.places[0]
                self.consume(1000)
                self.make(place, 1)
                self.read(1000)
                consumer.read(1000)
                last = [item.id for item in consumer.items[-1:] if not isinstance(item, Gap)]
                if consumer.error is None and last != self.exchange.made[place][-1:]:
                    raise Broken(f"nothing comes any more: {self.connection}")
        self.connection.close(0.0)
        self.connection._act()
        self.consume(1000)
        self.connection._waker.close()

    def _utter(self) -> None:
        for opcode, data in self.session.take_outbox(self.clock.at):
            assert opcode == 1
            self.exchange.asked.append(json.loads(data))

    def _look(self) -> None:
        """The driver's part after each step."""
        self.connection._act()
        if self.session.doom is not None and self.linked:
            self._lose(self.session.doom)
        for consumer in list(self.wishes):
            if consumer.pending.settled:
                self.wishes.remove(consumer)
                if consumer.pending.error is None:
                    consumer.begins = self._count()
                    self.consumers.append(consumer)

    def _lose(self, error: ExchangeError) -> None:
        self.linked = False
        self.forgot = False
        self.exchange.cut(self.clock.at)
        self.connection._lost(error)

    def _count(self) -> tuple[int, int]:
        return len(self.exchange.made[0]), len(self.exchange.made[1])

    def _meanwhile(self) -> bool:
        """A reader waits for room."""
        took = False
        for consumer in self.consumers:
            if self.policy == BLOCK and self.patience > 0 and consumer.read(1):
                self.patience -= 1
                took = True
        return took


PLACE = st.integers(0, 1)
DEEDS = st.one_of(
    *[st.tuples(st.just("make"), PLACE, st.integers(1, 6))] * 5,
    *[st.tuples(st.just("talk"))] * 3,
    *[st.tuples(st.just("say"), st.integers(1, 3))] * 2,
    *[st.tuples(st.just("read"), st.integers(1, 6))] * 4,
    *[st.tuples(st.just("consume"), st.integers(1, 6))] * 3,
    *[st.tuples(st.just("drop"))] * 2,
    *[st.tuples(st.just("dial"))] * 3,
    st.tuples(st.just("wait"), st.sampled_from([0.5, 5.0, 10.0, 21.0])),
    st.tuples(st.just("spoil"), st.integers(1, 3)),
    st.tuples(st.just("refuse"), st.integers(1, 2)),
    st.tuples(st.just("forget")),
    *[st.tuples(st.just("subscribe"), st.sampled_from([(0,), (1,), (0, 1)]))] * 2,
    st.tuples(st.just("subscribe"), st.just(())),
    st.tuples(st.just("unsubscribe"), st.integers(0, 3)),
)
SCHEDULES = st.lists(DEEDS, min_size=5, max_size=40)
PATIENCE = st.integers(0, 20)
LANGUAGES = sorted(NAMES)


def play(language: str, policy: str, size: int, patience: int, deeds: Sequence[Deed], sums: Counter[str]) -> None:
    """Do all of it, and judge."""
    line = Line(language, policy, size, patience)
    line.do(deeds)
    line.finish()
    for consumer in line.consumers:
        consumer.error = consumer.error or SubscriptionClosed("not read to its end")
        judge(line.exchange, line, consumer, sums, transit_s=ROUNDING_S)
    sums["schedules"] += 1
    sums["reconnects"] += line.session.counters["reconnects"]


def search(schedules: int, chosen: int | None = None) -> Counter[str]:
    """As `no_silent_loss.search`, in all languages."""
    sums: Counter[str] = Counter()

    @given(language=st.sampled_from(LANGUAGES), policy=POLICIES, size=SIZES, patience=PATIENCE, deeds=SCHEDULES)
    def run(language: str, policy: str, size: int, patience: int, deeds: list[Deed]) -> None:
        play(language, policy, size, patience, deeds, sums)

    repeat(run, schedules, chosen)
    return sums
