"""What a consumer sees: each event once and in order, what is missing told where it is missing, and no wait without end."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import queue
import select
import subprocess
import sys
import threading
import traceback
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from counting_language import COUNTING, push, rows, topic, unroutable
from held_clock import LIMIT_S, Aside, HeldClock
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_ws.clock import SystemClock
from exchange_ws.core import subscription as subscription_module
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.subscription import (
    AHEAD,
    BLOCK,
    DROP_NEWEST,
    DROP_OLDEST,
    GAPS_KEPT,
    LAG_EVERY,
    LATEST,
    LOOK_EVERY,
    OVERFLOWS,
    RAISE,
    SIDE_BY_SIDE,
    SLOTS,
    STATES_TOLD,
    WARN_EVERY_S,
    Listener,
    Subscription,
    percentiles,
)
from exchange_ws.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConsumerTooSlow,
    RequestTimeout,
    SubscriptionClosed,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Gap, Trade

#: A connection, as a subscription knows it: by identity.
SOURCE, ANOTHER = "one connection", "another connection"
SECOND = 1_000_000_000

#: For properties: other work on the machine is no failure.
UNHURRIED = settings(deadline=None)


class Exchange:
    """The rest of the client, for subscriptions to leave."""

    def __init__(self) -> None:
        self.left: list[tuple[frozenset[Any], float | None]] = []
        self.forgotten: list[Subscription] = []
        self.refusal: Exception | None = None

    def leave(self, subscription: Subscription, topics: frozenset[Any], timeout: float | None) -> None:
        self.left.append((topics, timeout))
        subscription.finish()
        if self.refusal is not None:
            raise self.refusal

    def forget(self, subscription: Subscription) -> None:
        self.forgotten.append(subscription)


#: What was stated where a consumer is to be told of it: a replay follows. Of other topics nothing is put into the buffer.
REPLAYING = (topic("replay A"),)


def made(
    *names: str, clock: Any = None, exchange: Exchange | None = None, dialect: Dialect = COUNTING, **options: Any
) -> Subscription:
    """A subscription to these topics, "tape A" if none is named."""
    exchange = exchange or Exchange()
    usual = {
        "queue_size": 1000,
        "overflow": DROP_OLDEST,
        "gaps": False,
        "raw": False,
        "numbers": Decimal,
        "block_limit": LIMIT_S,
        "leave": exchange.leave,
        "forget": exchange.forget,
    }
    topics = [topic(name) for name in names or ("tape A",)]
    return Subscription("test", topics, dialect, clock=clock or SystemClock(), **{**usual, **options})


def put(subscription: Subscription, *numbers: int, name: str = "tape A", source: str = SOURCE, at: int = SECOND) -> float:
    """What one read of a connection gives: one message for each number."""
    return subscription.put(source, [push(name, number) for number in numbers], at)


def drained(subscription: Subscription) -> list[Any]:
    """All that is there."""
    items = []
    while True:
        try:
            items.append(subscription.get_nowait())
        except (UpdateTimeout, SubscriptionClosed):
            return items


def ids(events: list[Any]) -> list[Any]:
    return [event.id for event in events]


def seen(item: Any) -> Any:
    """An item as it is at this moment: a gap's number, or an event's id and the number that is missing before it."""
    if isinstance(item, Gap):
        return Gap, item.dropped
    return item.id, item.gap.dropped if item.gap else 0


# Iterating -------------------------------------------------------------------------------------------------------------------


def test_in_order():
    """Events come in the order in which they were received, and the loop ends with the subscription."""
    subscription = made("tape A", "tape B")
    put(subscription, 1, 2)
    put(subscription, 3, name="tape B")
    subscription.put(SOURCE, [push("tape A", 4, 5)], SECOND)
    subscription.finish()
    assert [("A", 1), ("A", 2), ("B", 3), ("A", 4), ("A", 5)] == [(event.symbol, event.id) for event in subscription]


def test_event():
    """An event says when its bytes were received, and has its numbers as they were asked for."""
    subscription = made(numbers=float)
    put(subscription, 7, at=1_500_000_000)
    event = subscription.get_nowait()
    assert (1.5, 7.0, float, None) == (event.received, event.price, type(event.price), event.gap)


def test_break_and_resume():
    """A loop that is left and begun again goes on where it was, in the middle of a message too."""
    subscription = made()
    subscription.put(SOURCE, [push("tape A", 1, 2, 3), push("tape A", 4)], SECOND)
    subscription.finish()
    found = []
    for event in subscription:
        found.append(event.id)
        break
    found.append(next(subscription).id)
    found += ids(list(subscription))
    assert [1, 2, 3, 4] == found


def test_next():
    """`next` is one step of the loop: the event, then StopIteration, every time."""
    subscription = made()
    put(subscription, 1)
    subscription.finish()
    assert (1, "end", "end") == (next(subscription).id, next(subscription, "end"), next(subscription, "end"))


@pytest.mark.parametrize("end", ["finish", "close"])
def test_end_wakes_a_loop(end):
    """A loop that waits ends when the subscription does."""
    clock = HeldClock()
    subscription = made(clock=clock)
    loop = Aside(list, subscription)
    clock.until_waited(1)
    getattr(subscription, end)()
    assert [] == loop.result()


def test_put_wakes_a_loop():
    """A loop that waits has an event as soon as it comes."""
    clock = HeldClock()
    subscription = made(clock=clock)
    step = Aside(next, subscription)
    clock.until_waited(1)
    put(subscription, 1)
    assert 1 == step.result().id


def test_close_in_the_loop():
    """The body of a loop may close its subscription: what was received still comes, then the loop ends."""
    subscription = made()
    put(subscription, 1, 2, 3)
    found = []
    for event in subscription:
        subscription.close()
        put(subscription, 4)
        found.append(event.id)
    assert [1, 2, 3] == found


def test_no_dict():
    """What a subscription has is in slots, since there may be thousands; what a user gives it is in a dict of its own."""
    subscription = made()
    found = [dict(vars(subscription))]
    subscription.note = "mine"
    assert [{}, {"note": "mine"}] == [*found, vars(subscription)]


def test_nothing_after_the_end():
    """What comes after the end is not taken: no event, no gap, no marker."""
    subscription = made(gaps=True)
    subscription.finish()
    put(subscription, 1)
    subscription.stated(SOURCE, REPLAYING, SECOND)
    subscription.joined_late(SOURCE, (), SECOND)
    subscription.lost(SOURCE, SECOND)
    subscription.restored(SOURCE, SECOND)
    assert ([], [], 0, None) == (list(subscription), subscription.gaps, subscription.qsize(), subscription.latest)


def test_error_ends():
    """What ended a subscription is raised after the last event, by each way of reading, every time."""
    subscription = made()
    put(subscription, 1)
    error = ConnectFailed("given up")
    subscription.end(error)
    found = [subscription.get_nowait().id]
    ways = [subscription.get, subscription.get_nowait, subscription.get_many, subscription.__next__]
    ways += [lambda: subscription.collect(1), lambda: list(subscription)]
    for way in ways:
        with pytest.raises(ConnectFailed, match="given up") as caught:
            way()
        found.append(caught.value)
    assert [1, *[error] * len(ways), error] == [*found, subscription.error]


def test_error_does_not_grow():
    """Raised again and again, an error has the trace of this time only, and the cause that it came with."""
    subscription = made()
    error = ConnectFailed("given up")
    error.__cause__ = OSError("no route")
    subscription.end(error)
    traces = []
    for _ in range(3):
        with pytest.raises(ConnectFailed) as caught:
            subscription.get()
        traces.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert (1, True, "no route") == (len(set(traces)), error.__suppress_context__, str(error.__cause__))


def test_end_forgets():
    """What ends by itself tells the client, which takes its topics off the wire; `finish` need not."""
    exchange = Exchange()
    ended, finished = made(exchange=exchange), made(exchange=exchange)
    ended.end(ConnectFailed("given up"))
    finished.finish()
    assert ([ended], True, True) == (exchange.forgotten, ended.closed, finished.closed)


def test_consumers_share():
    """Several threads in loops over one subscription have each event once; each of them has its own in order."""
    subscription = made(queue_size=10_000)
    loops = [Aside(list, subscription) for _ in range(4)]
    number = 0
    for size in [1, 3, 2, 5] * 100:
        subscription.put(SOURCE, [push("tape A", *range(at, at + 2)) for at in range(number, number + 2 * size, 2)], SECOND)
        number += 2 * size
    subscription.finish()
    shares = [ids(loop.result()) for loop in loops]
    assert ([sorted(share) for share in shares], [*range(number)]) == (shares, sorted(sum(shares, [])))


def test_consumer_is_told_what_another_left():
    """Whoever begins to wait while another one is reading a message gets the events of it that are left."""
    reading, go = threading.Event(), threading.Event()
    another: list[Aside] = []

    def numbers(text: str) -> str:
        reading.set()
        assert go.wait(LIMIT_S)
        return text

    class Between(HeldClock):
        """Its time is asked for when nothing was there, before the wait."""

        asked = 0

        def now(self) -> float:
            self.asked += waiting.is_set()
            if self.asked == 2 and not another:  # the first time was for the deadline
                another.append(Aside(subscription.get))
                subscription.put(SOURCE, [push("tape A", 1, 2)], SECOND)
                assert reading.wait(LIMIT_S)
                waits.set()
            return super().now()

        def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
            if waits.is_set():
                go.set()
            return super().wait(condition, timeout)

    class Asked:
        """A lock that lets the other consumer go on when this one asks for it."""

        def __init__(self, lock: Any) -> None:
            self._lock = lock

        def __enter__(self) -> None:
            if waits.is_set():
                go.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    waiting, waits = threading.Event(), threading.Event()
    subscription = made(clock=Between(), numbers=numbers)
    subscription._consuming = Asked(subscription._consuming)
    with pytest.raises(UpdateTimeout):
        subscription.get_nowait()
    waiting.set()
    found = [subscription.get(LIMIT_S / 4).id, another[0].result().id]
    assert [1, 2] == sorted(found)


KEYBOARD_INTERRUPT = """
import os, signal, threading
from counting_language import push
from exchange_ws.clock import SystemClock
from test_subscription import made, put

class Clock(SystemClock):
    def wait(self, condition, timeout):
        interrupter.start()  # and its signal comes while this thread waits, or just before
        return super().wait(condition, timeout)

subscription = made(clock=Clock())
for way in (subscription.get, lambda: subscription.get(60.0), lambda: list(subscription), subscription.collect_two):
    interrupter = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    try:
        way()
    except KeyboardInterrupt:
        interrupter.join()
        print("interrupted")
put(subscription, 1)
print(subscription.get(60.0).id, threading.active_count())
""".replace("subscription.collect_two", "lambda: subscription.collect(2)")


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no SIGINT to oneself there")
def test_ctrl_c():
    """Ctrl-C ends every blocked way of reading at once, and the subscription can be read on."""
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, [here.parent.parent, here.parent, here]))
    done = subprocess.run(
        [sys.executable, "-c", KEYBOARD_INTERRUPT],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
    )
    assert ("interrupted\n" * 4 + "1 1\n", "") == (done.stdout, done.stderr)


# get, get_nowait, get_many, collect ------------------------------------------------------------------------------------------


def test_get_times_out():
    """After `timeout` seconds, and not before, `get` gives up; who catches `queue.Empty` or `TimeoutError` catches it."""
    clock = HeldClock()
    subscription = made(clock=clock)
    waiting = Aside(subscription.get, 2.0)
    clock.until_waited(1)
    clock.move(101.5)
    clock.until_waited(2)
    early = waiting.done
    clock.move(102.0)
    with pytest.raises(UpdateTimeout, match="test: no update within 2.0 s") as caught:
        waiting.result()
    assert (False, True, True) == (early, isinstance(caught.value, queue.Empty), isinstance(caught.value, TimeoutError))


def test_get_in_time():
    """What comes during the wait is returned, however long is left."""
    clock = HeldClock()
    subscription = made(clock=clock)
    waiting = Aside(subscription.get, 2.0)
    clock.until_waited(1)
    put(subscription, 1)
    assert 1 == waiting.result().id


def test_get_after_the_end():
    """After the end `get` has what was received, then `SubscriptionClosed`, every time."""
    subscription = made()
    put(subscription, 1)
    subscription.finish()
    found = [subscription.get().id]
    for way in (subscription.get, subscription.get_nowait, subscription.get_many):
        with pytest.raises(SubscriptionClosed):
            way()
    assert [1] == found


def test_get_wakes_at_the_end():
    """A `get` that waits ends when the subscription does."""
    clock = HeldClock()
    subscription = made(clock=clock)
    waiting = Aside(subscription.get)
    clock.until_waited(1)
    subscription.finish()
    with pytest.raises(SubscriptionClosed):
        waiting.result()


def test_get_nowait():
    """`get_nowait` waits for nothing."""
    clock = HeldClock()
    subscription = made(clock=clock)
    with pytest.raises(UpdateTimeout):
        subscription.get_nowait()
    put(subscription, 1)
    assert (1, 0) == (subscription.get_nowait().id, clock.waits)


def test_get_many():
    """All that is there, at most `limit`, in the middle of a message too."""
    subscription = made()
    subscription.put(SOURCE, [push("tape A", 1, 2), push("tape A", 3, 4), push("tape A", 5)], SECOND)
    assert ([1], [2, 3], [4, 5]) == tuple(ids(subscription.get_many(limit)) for limit in (1, 2, None))


@pytest.mark.parametrize("read", [lambda it: it.get_many(), lambda it: it.collect(seconds=0.0)], ids=["get_many", "collect"])
def test_reading_in_a_flood(monkeypatch, read):
    """It gives what was there, and a little that came meanwhile: it does not go on for as long as more comes."""
    subscription = made()
    put(subscription, *range(1, 11))
    take = subscription._take

    def take_while_more_comes():
        if subscription._taken < 5000:
            put(subscription, subscription._taken)
        return take()

    monkeypatch.setattr(subscription, "_take", take_while_more_comes)
    assert 10 <= len(read(subscription)) <= 10 + LOOK_EVERY


def test_get_many_waits_for_one():
    """Without any event it waits for the first, and gives up like `get`."""
    clock = HeldClock()
    subscription = made(clock=clock)
    waiting = Aside(subscription.get_many)
    clock.until_waited(1)
    put(subscription, 1)
    first = ids(waiting.result())
    with pytest.raises(UpdateTimeout):
        subscription.get_many(timeout=0.0)
    assert [1] == first


def test_get_many_before_an_error():
    """What was received before the end is given; the error is raised by the next call."""
    subscription = made()
    put(subscription, 1, 2)
    subscription.end(ConnectFailed("given up"))
    found = ids(subscription.get_many())
    with pytest.raises(ConnectFailed):
        subscription.get_many()
    assert [1, 2] == found


def test_collect_n():
    """So many events, and the rest stays."""
    subscription = made()
    put(subscription, 1, 2, 3)
    assert ([], [1, 2], [3]) == (subscription.collect(0), ids(subscription.collect(2)), ids(drained(subscription)))


def test_collect_seconds():
    """What comes within so many seconds: of one deadline for all, not one for each event."""
    clock = HeldClock()
    subscription = made(clock=clock)
    put(subscription, 1)
    collecting = Aside(subscription.collect, None, 2.0)
    clock.until_waited(1)
    clock.move(101.5)
    clock.until_waited(2)
    put(subscription, 2)
    clock.until_waited(3)
    clock.move(102.0)
    assert [1, 2] == ids(collecting.result())


def test_collect_until_the_end():
    """An end is an early end of the list."""
    clock = HeldClock()
    subscription = made(clock=clock)
    put(subscription, 1)
    collecting = Aside(subscription.collect, 5)
    clock.until_waited(1)
    subscription.finish()
    assert [1] == ids(collecting.result())


def test_collect_before_an_error():
    """An error is raised by the call after the one that has what came before it."""
    subscription = made()
    put(subscription, 1, 2)
    subscription.end(ConnectFailed("given up"))
    found = ids(subscription.collect(5))
    with pytest.raises(ConnectFailed):
        subscription.collect(5)
    assert [1, 2] == found


@pytest.mark.parametrize(
    ("method", "wrong", "named"),
    [
        ("get", {"timeout": -1}, "timeout=-1"),
        ("get", {"timeout": float("nan")}, "timeout=nan"),
        ("get", {"timeout": True}, "timeout=True"),
        ("get_many", {"limit": 0}, "limit=0"),
        ("get_many", {"limit": True}, "limit=True"),
        ("get_many", {"limit": 1.5}, "limit=1.5"),
        ("get_many", {"timeout": -1}, "timeout=-1"),
        ("collect", {}, "takes n"),
        ("collect", {"n": -1}, "n=-1"),
        ("collect", {"n": True}, "n=True"),
        ("collect", {"seconds": -1}, "seconds=-1"),
        ("collect", {"n": 1, "seconds": "1"}, "seconds='1'"),
        ("unsubscribe", {"timeout": -1}, "timeout=-1"),
        ("call", {"callback": None}, "callback=None"),
    ],
)
def test_senseless(method, wrong, named):
    """Values that make no sense are refused by name, and cost no event."""
    subscription = made()
    put(subscription, 1)
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        getattr(subscription, method)(**wrong)
    assert ([1], False) == (ids(drained(subscription)), subscription.closed)


# latest, to_dataframe, numbers, raw, and what cannot be read -----------------------------------------------------------------


def test_latest():
    """The newest event, whether it was read or not, and reading on is not disturbed by a look at it."""
    subscription = made()
    looks = [subscription.latest]
    put(subscription, 1)
    subscription.put(SOURCE, [push("tape A", 2, 3)], SECOND)
    looks.append(subscription.latest.id)
    read = ids(drained(subscription))
    looks.append(subscription.latest.id)
    assert ([None, 3, 3], [1, 2, 3], 0) == (looks, read, subscription.qsize())


def test_latest_unreadable():
    """Where the newest message cannot be read there is no newest event, and that is not counted twice."""
    subscription = made()
    subscription.put(SOURCE, [b'{"of":"tape A"}'], SECOND)
    assert (None, 0) == (subscription.latest, subscription.stats()["malformed"])


def test_latest_raw():
    """With `raw` it is the vendor's JSON."""
    subscription = made(raw=True)
    put(subscription, 1)
    assert {"of": "tape A", "n": [1]} == subscription.latest


def test_raw():
    """With `raw` each message is one item: the vendor's JSON, whole."""
    subscription = made(raw=True)
    subscription.put(SOURCE, [push("tape A", 1, 2, more=[None]), b"[]"], SECOND)
    assert [{"of": "tape A", "n": [1, 2], "more": [None]}, []] == drained(subscription)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("raw", [False, True])
def test_malformed(overflow, raw, caplog):
    """A message that cannot be read is counted and skipped, and logged once, not once each."""
    subscription = made(overflow=overflow, raw=raw)
    with caplog.at_level(logging.WARNING):
        for message in (b'{"of":"tape A"', push("tape A", 1), b"\xff", b'{"of":"tape A",', push("tape A", 2)):
            subscription.put(SOURCE, [message], SECOND)
            subscription.get_many(timeout=0.0) if message.endswith(b"}") else drained(subscription)
    counters = subscription.stats()
    assert (5, 3, 1) == (counters["delivered"], counters["malformed"], len(caplog.records))


#: Updates of "tape A" that cannot be read.
UNREADABLE = (b'{"of":"tape A","n":7}', b'{"of":"tape A"')


@pytest.mark.parametrize("gaps", [False, True])
def test_malformed_between(gaps):
    """Good messages around bad ones come, and the gap between them is told: for the event, in the list, as items."""
    subscription = made(gaps=gaps)
    put(subscription, 1)
    for at, message in enumerate(UNREADABLE, start=2):
        subscription.put(SOURCE, [message], at * SECOND)
    put(subscription, 2, at=4 * SECOND)
    first, *between, last = drained(subscription)
    gap = Gap("malformed", 2.0, 3.0, 2)
    each = [Gap("malformed", 2.0, 2.0, 1), Gap("malformed", 3.0, 3.0, 1)] if gaps else []
    assert (None, each, gap, each or [gap]) == (first.gap, between, last.gap, subscription.gaps)


def test_malformed_flood():
    """However many in a row cannot be read, they are one gap; of two runs of them, each has its own."""
    subscription = made()
    for _ in range(3):
        subscription.put(SOURCE, UNREADABLE[:1] * 500, SECOND)
        assert [] == drained(subscription)
    put(subscription, 1)
    subscription.put(SOURCE, UNREADABLE[:1] * 500, SECOND)
    assert [(1, 1500)] == [seen(event) for event in drained(subscription)]
    assert [1500, 500] == [gap.dropped for gap in subscription.gaps]


def test_malformed_after_another_gap():
    """Where the event's gap covers something else too, it covers all of the unreadable ones as well."""
    subscription = made(queue_size=3)
    put(subscription, 1, 2)
    subscription.put(SOURCE, UNREADABLE, 2 * SECOND)
    put(subscription, 3, at=3 * SECOND)
    assert [(3, 4)] == [seen(event) for event in drained(subscription)]
    assert [("overflow", 2), ("malformed", 2)] == [(gap.reason, gap.dropped) for gap in subscription.gaps]


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_spoiled(overflow):
    """Where a message that nobody can read came, all who may have been meant have a gap of unknown size, one for a run."""
    subscription = made(overflow=overflow)
    put(subscription, 1)
    for at in (2, 3, 4):
        subscription.spoiled(SOURCE, at * SECOND)
    put(subscription, 2, at=5 * SECOND)
    subscription.spoiled(SOURCE, 6 * SECOND)
    first, second = drained(subscription)
    between, after = Gap("malformed", 2.0, 4.0), Gap("malformed", 6.0, 6.0)
    assert (None, between, [between, after]) == (first.gap, second.gap, subscription.gaps)


def test_spoiled_as_item():
    """With `gaps` each is an item, at its place, and wakes who waits; what comes after the consumer was told is another."""
    clock = HeldClock()
    subscription = made(gaps=True, clock=clock)
    waiting = Aside(subscription.get)
    clock.until_waited(1)
    subscription.spoiled(SOURCE, 2 * SECOND)
    told = waiting.result()
    subscription.spoiled(SOURCE, 3 * SECOND)
    assert (Gap("malformed", 2.0, 2.0), Gap("malformed", 3.0, 3.0)) == (told, subscription.get_nowait())


def test_spoiled_while_lost():
    """Until something comes again, the gap of the loss has it; from then on it is one of its own."""
    subscription = made()
    subscription.lost(SOURCE, 2 * SECOND)
    subscription.spoiled(SOURCE, 3 * SECOND)
    put(subscription, 1, at=4 * SECOND)
    subscription.spoiled(SOURCE, 5 * SECOND)
    assert [("reconnect", 2.0), ("malformed", 5.0)] == [(gap.reason, gap.since) for gap in subscription.gaps]


def test_spoiled_after_the_end():
    """Who has ended is not concerned."""
    subscription = made()
    subscription.finish()
    subscription.spoiled(SOURCE, SECOND)
    assert ([], True) == (subscription.gaps, subscription.closed)


def test_not_an_update():
    """What is no update gives no event; it is no error either."""
    subscription = made()
    subscription.put(SOURCE, [b'{"note":1}', push("tape A", 1)], SECOND)
    assert ([1], 0) == (ids(drained(subscription)), subscription.stats()["malformed"])


def test_lags():
    """Of the first messages each is measured, receipt minus the exchange's time, then one in so many, for the client too."""
    everyones = deque()
    subscription = made(lags=everyones)
    assert {"p50": None, "p99": None} == subscription.stats()["lag"]
    for n in range(LAG_EVERY):
        subscription.put(SOURCE, [push("tape A", n, time=0.5)], SECOND)
    for n in range(LAG_EVERY, 3 * LAG_EVERY):
        subscription.put(SOURCE, [push("tape A", n, time=0.75)], SECOND)
    drained(subscription)
    assert [*[0.5] * LAG_EVERY, 0.25, 0.25] == list(everyones)
    assert {"p50": 0.5, "p99": 0.5} == subscription.stats()["lag"]
    assert [] == drained(made(lags=everyones, raw=True))


@pytest.mark.parametrize(
    ("samples", "p50", "p99"),
    [([], None, None), ([3.0], 3.0, 3.0), ([2.0, 1.0], 1.0, 1.0), (list(range(101)), 50, 99), (range(1001), 500, 990)],
)
def test_percentiles(samples, p50, p99):
    """The value below which so many of a hundred lie; of few samples, a smaller one rather than a greater."""
    assert {"p50": p50, "p99": p99} == percentiles(samples)


def test_to_dataframe():
    """One row an event, its fields as columns, without `raw`; a `Gap` is no row, but its reason stands with the next event."""
    pytest.importorskip("pandas")
    subscription = made("tape A", "tape B", gaps=True)
    subscription.joined_late(SOURCE, (), SECOND)
    put(subscription, 1)
    put(subscription, 2, name="tape B")
    frame = subscription.to_dataframe(n=3)
    columns = [*(field.name for field in attrs.fields(Trade) if field.name not in ("raw", "gap")), "gap"]
    assert (columns, ["A", "B"], [1, 2]) == (list(frame.columns), list(frame["symbol"]), list(frame["id"]))
    assert ["joined late", None] == [gap if isinstance(gap, str) else None for gap in frame["gap"]]


def test_to_dataframe_without_events():
    """Where nothing comes, the table is empty and has the columns of what came last, or those that every event has."""
    pytest.importorskip("pandas")
    subscription = made()
    before = subscription.to_dataframe(seconds=0.0)
    put(subscription, 1)
    full, after = subscription.to_dataframe(n=1), subscription.to_dataframe(seconds=0.0)
    assert ["exchange", "channel", "symbol", "time", "received", "gap"] == list(before.columns)
    assert (0, list(full.columns), list(full.dtypes)[:5]) == (len(after), list(after.columns), list(after.dtypes)[:5])


def test_to_dataframe_of_floats():
    """Prices and sizes become floats where that is asked for; another type is refused, and no event is lost."""
    pytest.importorskip("pandas")
    subscription = made()
    put(subscription, 1)
    with pytest.raises(UsageError, match=r"numbers=.*takes float, or None"):
        subscription.to_dataframe(n=1, numbers=int)
    assert ["float64"] * 2 == [str(kind) for kind in subscription.to_dataframe(n=1, numbers=float).dtypes[["price", "size"]]]


def test_to_dataframe_of_raw():
    """Of the vendor's JSON there is no table."""
    pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="raw=True"):
        made(raw=True).to_dataframe(n=1)


def test_to_dataframe_without_pandas(monkeypatch):
    """Without pandas the error says what to install, and no event is lost."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    subscription = made()
    put(subscription, 1)
    with pytest.raises(UsageError, match="exchange_ws.pandas"):
        subscription.to_dataframe(n=1)
    assert [1] == ids(drained(subscription))


# call ------------------------------------------------------------------------------------------------------------------------


class Collected:
    """A callback that keeps what it was called with, for a test to wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the list
        self._items: list[Any] = []

    def __call__(self, item: Any) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def first(self, count: int) -> list[Any]:
        """All, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._items) >= count, LIMIT_S), f"only {self._items}"
            return list(self._items)


def test_call():
    """The callback has each event, in order, on one thread of the subscription's own, which ends with it."""
    subscription = made()
    told = Collected()
    threads = set()
    subscription.call(lambda event: (threads.add(threading.current_thread()), told(event)))
    put(subscription, 1, 2)
    told.first(2)
    put(subscription, 3)
    subscription.close()
    (thread,) = threads
    assert ([1, 2, 3], False, None) == (ids(told.first(3)), thread.is_alive(), subscription.error)


def test_call_raises(caplog):
    """What the callback raises is logged and kept; the next event comes all the same."""
    subscription = made()
    told = Collected()
    errors = {1: ValueError("no"), 2: KeyError("neither")}

    def callback(event: Any) -> None:
        told(event)
        if event.id in errors:
            raise errors[event.id]

    with caplog.at_level(logging.ERROR):
        subscription.call(callback)
        put(subscription, 1, 2, 3)
        told.first(3)
        subscription.close()
    assert ([1, 2, 3], errors[2]) == (ids(told.first(3)), subscription.error)
    assert list(errors.values()) == [record.exc_info[1] for record in caplog.records]


def test_call_twice():
    """There is one callback; another one is refused."""
    subscription = made()
    subscription.call(Collected())
    with pytest.raises(UsageError, match="test: has a callback already"):
        subscription.call(Collected())
    subscription.close()
    assert subscription.closed


def test_call_closes():
    """The callback may close its own subscription: it does not wait for itself, and what was received still comes."""
    exchange = Exchange()
    subscription = made(exchange=exchange)
    told = Collected()
    put(subscription, 1, 2)
    subscription.call(lambda event: (subscription.close(), told(event)))
    found = ids(told.first(2))
    subscription.join(LIMIT_S)
    assert ([1, 2], 2) == (found, len(exchange.left))


def test_call_after_the_end():
    """Of a subscription that has ended the callback has what is left."""
    subscription = made()
    put(subscription, 1)
    subscription.finish()
    told = Collected()
    subscription.call(told)
    subscription.join(LIMIT_S)
    assert [1] == ids(told.first(1))


def test_call_ends_with_an_error(caplog):
    """An error that ends the subscription is logged, there being nobody to raise it to, and kept."""
    subscription = made()
    told = Collected()
    error = ConnectFailed("given up")
    with caplog.at_level(logging.ERROR):
        subscription.call(told)
        put(subscription, 1)
        subscription.end(error)
        subscription._caller.join(LIMIT_S)
    assert ([1], error, ["test: ended: given up"]) == (ids(told.first(1)), subscription.error, caplog.messages)


def test_join_stops_the_callback():
    """At the client's close the callback ends after the event that it is at; `unsubscribe` lets it have all of them."""
    subscription = made()
    put(subscription, 1, 2, 3)
    told, go = Collected(), threading.Event()
    subscription.call(lambda event: (told(event), go.wait(LIMIT_S)))
    told.first(1)
    subscription.finish()
    subscription.join(0.0)
    go.set()
    subscription.join(LIMIT_S)
    assert [1] == ids(told.first(1))


def test_listener(caplog):
    """A listener calls its function in order on its own thread, whatever that raises, and ends after what it was told."""
    told = Collected()

    def callback(what: str) -> None:
        told(what)
        if what == "bad":
            raise ValueError("no")

    listener = Listener(callback, "a listener")
    unused = Listener(callback, "unused")
    for what in ("first", "bad", "last"):
        listener.tell(what)
    listener.close(LIMIT_S)
    unused.close(LIMIT_S)
    assert (["first", "bad", "last"], ["a listener: the callback raised"]) == (told.first(3), caplog.messages)


def test_listener_that_is_held_up(caplog):
    """Of news for a function that does not return, the newest wait, and the log says that others do not."""
    entered, go = threading.Event(), threading.Event()
    told: list[Any] = []

    def callback(what: int) -> None:
        entered.set()
        assert go.wait(LIMIT_S)
        told.append(what)

    listener = Listener(callback, "a listener")
    listener.tell(-1)
    assert entered.wait(LIMIT_S)
    for number in range(STATES_TOLD + 2):
        listener.tell(number)
    assert [] == caplog.messages
    listener.warn()
    go.set()
    listener.close(LIMIT_S)
    assert [-1, *range(2, STATES_TOLD + 2)] == told
    assert 2 * ["a listener: the callback does not return; the oldest news for it is left out"] == caplog.messages


# unsubscribe, topics, counters -----------------------------------------------------------------------------------------------


def test_unsubscribe():
    """All topics leave, within the time given; what was received can be read, and `with` does the same."""
    exchange = Exchange()
    with made("tape A", "tape B", exchange=exchange) as subscription:
        put(subscription, 1)
    subscription.unsubscribe(timeout=3)
    both = frozenset(subscription.wanted)
    assert ([(both, None), (both, 3)], True, [1]) == (exchange.left, subscription.closed, ids(list(subscription)))


def test_unsubscribe_waits_for_its_callback_in_what_is_left_of_the_time():
    """The exchange's confirmation and a callback that does not return share one timeout."""
    clock, go, entered = HeldClock(), threading.Event(), threading.Event()

    def leave(subscription: Subscription, topics: frozenset[Any], timeout: float | None) -> None:
        assert timeout is not None
        subscription.finish()
        clock.move(clock.now() + timeout)

    def callback(event: Any) -> None:
        entered.set()
        assert go.wait(2 * LIMIT_S)

    subscription = made(clock=clock, leave=leave)
    put(subscription, 1)
    subscription.call(callback)
    assert entered.wait(LIMIT_S)
    leaving = Aside(subscription.unsubscribe, 1000.0)
    leaving.result()
    go.set()
    assert subscription.closed


def test_unsubscribe_unconfirmed():
    """Without a confirmation in time the error says so, and the subscription has ended all the same."""
    exchange = Exchange()
    exchange.refusal = RequestTimeout("no answer")
    subscription = made(exchange=exchange)
    put(subscription, 1)
    with pytest.raises(RequestTimeout):
        subscription.close()
    assert [1] == ids(list(subscription))


def test_topics():
    """Topics are told as users write them; those that left are gone."""
    subscription = made("tape A", "tape B")
    before = subscription.topics
    subscription.keep([topic("tape B")])
    assert (("tape A", "tape B"), ("tape B",), (topic("tape B"),), ()) == (
        before,
        subscription.topics,
        subscription.wanted,
        subscription.sub_ids,
    )


def test_rows():
    """Of a push with rows of several symbols a subscription has those that it asked for; all, where it asked for all."""
    some, every = made("tape A", "tape C"), made("tape *")
    message = rows(("tape A", 1), ("tape B", 2), ("tape C", 3))
    for subscription in (some, every):
        subscription.put(SOURCE, [message], SECOND)
    some.keep([topic("tape C")])
    some.put(SOURCE, [message], SECOND)
    assert ([3, 3], [1, 2, 3]) == (ids(drained(some)), ids(drained(every)))


def test_qsize():
    """Messages that wait, and the events that are left of the one that is being read."""
    subscription = made()
    subscription.put(SOURCE, [push("tape A", 1, 2, 3), push("tape A", 4)], SECOND)
    sizes = [subscription.qsize()]
    for _ in range(4):
        subscription.get_nowait()
        sizes.append(subscription.qsize())
    assert [2, 3, 2, 1, 0] == sizes


def test_qsize_without_marks():
    """What the buffer holds beside messages is not counted, and does not wait to be read."""
    subscription = made()
    mark(subscription, 2)
    put(subscription, 1)
    subscription.lost(SOURCE, SECOND)
    subscription.restored(SOURCE, SECOND)
    sizes = [subscription.qsize()]
    drained(subscription)
    assert [1, 0] == [*sizes, subscription.qsize()]


def test_stats():
    """What it has counted, and that its end changes nothing of it."""
    subscription = made(queue_size=2)
    put(subscription, 1, 2, 3)
    subscription.get_nowait()
    expected = {"delivered": 1, "waiting": 1, "dropped": 1, "gaps": 1, "repaired": 0, "malformed": 0}
    stats = subscription.stats()
    assert (expected, 1) == ({name: stats[name] for name in stats if name != "lag"}, subscription.dropped)
    assert stats == json.loads(json.dumps(stats))
    subscription.finish()
    assert stats == subscription.stats()


def test_repr():
    """A subscription says its name, whether it has ended, and what waits and is missing."""
    subscription = made(queue_size=2)
    put(subscription, 1, 2, 3)
    before = repr(subscription)
    subscription.finish()
    expected = ("<Subscription test: 2 waiting, 1 dropped>", "<Subscription test: closed, 2 waiting, 1 dropped>")
    assert expected == (before, repr(subscription))


# fileno ----------------------------------------------------------------------------------------------------------------------


def readable(subscription: Subscription) -> bool:
    return bool(select.select([subscription], [], [], 0)[0])


@pytest.mark.parametrize("early", [True, False])
@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from(["put", "get", "get_many"]), st.integers(1, 3)), max_size=12))
def test_fileno(early, actions):
    """The descriptor is readable exactly while events wait, and after the end; whenever it was asked for first."""
    subscription = made(queue_size=3)
    if early:
        subscription.fileno()
    waiting: deque[int] = deque()
    expected, found = [], []
    for kind, count in actions:
        if kind == "put":
            subscription.put(SOURCE, [push("tape A", *range(count))], SECOND)
            waiting.append(count)
        elif kind == "get_many" and waiting:
            subscription.get_many()
            waiting.clear()
        elif waiting:
            subscription.get_nowait()
            waiting[0] -= 1
            if not waiting[0]:
                waiting.popleft()
        if len(waiting) > 3:
            return
        expected.append(bool(waiting))
        found.append(readable(subscription))
    subscription.finish()
    drained(subscription)
    assert [*expected, True] == [*found, readable(subscription)]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
def test_fileno_and_markers(early, gaps):
    """A confirmation is nothing to read, nor a renewal, and a gap only for who asks for gaps."""
    subscription = made(gaps=gaps)
    if early:
        subscription.fileno()
    subscription.renewing(SOURCE, subscription.wanted, SECOND)
    subscription.stated(SOURCE, REPLAYING, SECOND)
    found = [readable(subscription)]
    subscription.joined_late(SOURCE, (), SECOND)
    found.append(readable(subscription))
    subscription.get_many(timeout=0.0) if gaps else put(subscription, 1)
    subscription.stated(SOURCE, REPLAYING, SECOND)
    found.append(readable(subscription))
    assert [False, gaps, not gaps] == found


def test_exit_tells_what_the_body_raised(caplog):
    """A refused unsubscribe does not take the place of the error that ended the body; alone, it is raised."""
    exchange = Exchange()
    exchange.refusal = RequestTimeout("unsubscribe: not confirmed in time")
    with pytest.raises(ZeroDivisionError):
        with made(exchange=exchange):
            raise ZeroDivisionError
    with pytest.raises(RequestTimeout):
        with made(exchange=exchange):
            pass
    assert ["test: unsubscribe: not confirmed in time"] == [record.getMessage() for record in caplog.records]


def test_endless_timeout():
    """A timeout longer than the system can count is as good as none."""
    subscription = made()
    waiting = Aside(subscription.get, 1e15)
    put(subscription, 7)
    assert 7 == waiting.result().id


def test_fileno_at_the_end():
    """The end makes it readable, so that who waits there looks, and it stays so."""
    subscription = made()
    before = readable(subscription)
    subscription.finish()
    assert (False, True, True) == (before, readable(subscription), readable(subscription))


def test_fileno_wakes():
    """Who waits in `select` wakes when something comes."""
    subscription = made()
    waiting = Aside(select.select, [subscription], [], [], LIMIT_S)
    put(subscription, 1)
    assert [subscription] == waiting.result()[0]


def test_fileno_given_back():
    """The descriptors go with the subscription."""
    subscription = made()
    descriptor = subscription.fileno()
    del subscription
    with pytest.raises(OSError) as caught:
        os.fstat(descriptor)
    assert errno.EBADF == caught.value.errno


# Overflow, exactly -----------------------------------------------------------------------------------------------------------

#: What readers and consumers do, in turn: chunks of so many messages, so many looks for an event, so many marks between.
PUTS_AND_TAKES = st.lists(st.tuples(st.sampled_from(["put", "put", "take", "mark"]), st.integers(1, 7)), max_size=25)
LIMITS = st.integers(1, 5)


def mark(subscription: Subscription, count: int) -> None:
    """Put what is no message into the buffer, which must cost no message its place."""
    for _ in range(count):
        subscription.stated(SOURCE, REPLAYING, SECOND)


def gaps_joined(items: list[Any]) -> list[Any]:
    """The same with one gap where several stand side by side, a mark having come between them."""
    joined: list[Any] = []
    for item in items:
        if item[0] is Gap and joined and joined[-1][0] is Gap:
            item = (Gap, joined.pop()[1] + item[1])
        joined.append(item)
    return joined


def with_gaps_between(numbers: list[int], as_items: bool) -> list[Any]:
    """What is to be read when these of all the natural numbers come: what is missing stands before what follows it."""
    expected: list[Any] = []
    for before, number in zip([-1, *numbers], numbers):
        missing = number - before - 1
        if missing and as_items:
            expected.append((Gap, missing))
        expected.append((number, missing))
    return expected


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST])
@UNHURRIED
@given(LIMITS, PUTS_AND_TAKES)
def test_drops_exactly(overflow, gaps, limit, actions):
    """
    The oldest or newest go, no more than must; each event has the number of those missing right before it, final when it is
    read; and what came, what is missing and what was put add up.
    """
    subscription = made(overflow=overflow, queue_size=limit, gaps=gaps)
    waiting: list[int] = []
    read: list[int] = []
    found: list[Any] = []
    total = 0
    for kind, count in [*actions, ("take", total + 10_000)]:
        if kind == "put":
            put(subscription, *range(total, total + count))
            waiting += range(total, total + count)
            waiting = waiting[-limit:] if overflow == DROP_OLDEST else waiting[:limit]
            total += count
            continue
        if kind == "mark":
            mark(subscription, count)
            continue
        while count and waiting:
            item = seen(subscription.get_nowait())
            found.append(item)
            if item[0] is not Gap:
                read.append(waiting.pop(0))
                count -= 1
    lost = total - len(read)
    tail = gaps_joined([seen(gap) for gap in drained(subscription)])  # of the newest, which no event follows
    assert with_gaps_between(read, gaps) == gaps_joined(found)
    assert (lost, lost) == (subscription.dropped, sum(gap.dropped for gap in subscription.gaps))
    assert [(Gap, missing) for missing in [total - 1 - (read or [-1])[-1]] if missing and gaps] == tail


@UNHURRIED
@given(LIMITS, PUTS_AND_TAKES)
def test_raises_exactly(limit, actions):
    """The first message that does not fit ends it; all before it can be read, then the error says how many did not fit."""
    exchange = Exchange()
    subscription = made(overflow=RAISE, queue_size=limit, exchange=exchange)
    waiting: list[int] = []
    read: list[int] = []
    found: list[Any] = []
    total = over = 0
    for kind, count in actions:
        if kind == "put" and not over:
            put(subscription, *range(total, total + count))
            waiting += range(total, total + count)
            over = max(0, len(waiting) - limit)
            del waiting[limit:]
            total += count
        if kind == "mark":
            mark(subscription, count)
        for _ in range(count if kind == "take" else 0):
            if waiting:
                found.append(seen(subscription.get_nowait()))
                read.append(waiting.pop(0))
    errors = []
    found += [seen(subscription.get_nowait()) for _ in waiting]
    for _ in range(2):
        with pytest.raises(ConsumerTooSlow if over else UpdateTimeout) as caught:
            subscription.get_nowait()
        errors.append(getattr(caught.value, "dropped", 0))
    assert with_gaps_between(read + waiting, False) == found
    assert ([over] * 2, over, [subscription] * bool(over)) == (errors, subscription.dropped, exchange.forgotten)


@pytest.mark.parametrize("gaps", [False, True])
@UNHURRIED
@given(st.lists(st.one_of(st.lists(st.sampled_from("ABC"), min_size=1, max_size=6), st.integers(1, 4)), max_size=25))
def test_latest_exactly(gaps, actions):
    """One message waits for each topic, the newest, where the first that it replaced stood; these are counted before it."""
    subscription = made("tape A", "tape B", "tape C", overflow=LATEST, queue_size=1, gaps=gaps)
    slots: dict[str, tuple[int, int]] = {}  # symbol: its newest number, and how many of its were replaced
    expected: list[Any] = []
    found: list[Any] = []
    total = 0
    for action in [*actions, 3]:
        if isinstance(action, list):
            messages = []
            for symbol in action:
                messages.append(push(f"tape {symbol}", total))
                slots[symbol] = (total, slots[symbol][1] + 1 if symbol in slots else 0)
                total += 1
            subscription.put(SOURCE, messages, SECOND)
            continue
        for _ in range(min(action, len(slots))):
            number, replaced = slots.pop(next(iter(slots)))
            items = [(Gap, replaced), (number, replaced)] if gaps and replaced else [(number, replaced)]
            expected += items
            found += [seen(subscription.get_nowait()) for _ in items]
    lost = total - sum(item[0] is not Gap for item in expected)
    assert (expected, []) == (found, drained(subscription))
    assert (lost, lost) == (subscription.dropped, sum(gap.dropped for gap in subscription.gaps))


@pytest.mark.parametrize("raw", [False, True])
@settings(UNHURRIED, max_examples=40)
@given(LIMITS, st.lists(st.integers(1, 7), max_size=25))
def test_blocks_exactly(raw, limit, chunks):
    """A reader that waits for room loses nothing, whatever the sizes, and the buffer never holds more than it may."""
    subscription = made(overflow=BLOCK, queue_size=limit, raw=raw)

    def read_all() -> None:
        total = 0
        for count in chunks:
            put(subscription, *range(total, total + count))
            mark(subscription, count // 4)
            total += count
        subscription.finish()

    reader = Aside(read_all)
    found, sizes = [], [0]
    for event in subscription:
        sizes.append(subscription.qsize())
        found.append((event["n"][0], 0) if raw else seen(event))
    reader.result()
    assert ([(n, 0) for n in range(sum(chunks))], True, 0) == (found, max(sizes) <= limit, subscription.dropped)


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST, LATEST, BLOCK])
def test_adds_up_between_threads(overflow, gaps, limit):
    """With a reader and a consumer at it at the same time, each event still has exactly what is missing right before it."""
    total = 3000
    subscription = made(overflow=overflow, queue_size=limit, gaps=gaps)

    def read_all() -> None:
        number = 0
        while number < total:
            count = 1 + number % 5
            put(subscription, *range(number, number + count))
            number += count
        subscription.finish()

    reader = Aside(read_all)
    found: list[Any] = []
    for item in subscription:
        told = seen(item)
        if found and found[-1][0] is Gap is told[0]:  # dropped after the gap was taken, before the next message was
            told = (Gap, found.pop()[1] + told[1])
        found.append(told)
    reader.result()
    read = [item[0] for item in found if item[0] is not Gap]
    tail = found.pop() if found[-1][0] is Gap else (Gap, total - 1 - read[-1])  # of the newest, which no event follows
    assert with_gaps_between(read, gaps) == found
    assert (total - len(read), total - len(read), total - 1 - read[-1]) == (
        subscription.dropped,
        sum(gap.dropped for gap in subscription.gaps),
        tail[1],
    )


def told(source: Any) -> Any:
    """What a subscription, which does not wait, or a loop tells at this moment: an item with its numbers, or its end."""
    try:
        item = source.get_nowait() if isinstance(source, Subscription) else next(source)
    except (UpdateTimeout, SubscriptionClosed, ConsumerTooSlow) as error:
        return type(error)
    if isinstance(item, Gap):
        return Gap, item.reason, item.dropped
    return item if isinstance(item, dict) else (seen(item), item.symbol, item.received)


def not_waiting(subscription: Subscription, _: float | None) -> bool:
    """Stands for `_park` where a loop that waits would wait for ever."""
    Subscription._park(subscription, 0.0)
    raise UpdateTimeout("nothing is there")


ROWS = rows(("tape A", 0), ("tape B", 0))
#: What is done with a subscription, how often, or with how many messages or trades.
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 60)),
        st.tuples(st.sampled_from(["unreadable", "together", "again", "nothing"]), st.integers(1, 3)),
        st.tuples(st.just("loop"), st.integers(1, 40)),
        st.tuples(st.just("get"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["mark", "loss", "fileno", "keep"]), st.just(1)),
    ),
    max_size=25,
)


@pytest.mark.parametrize(("channel", "raw"), [("tape", False), ("tape", True), ("replay", False)])
@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST, RAISE])
@settings(UNHURRIED, max_examples=60)
@given(st.sampled_from([1, 3, 40, 100]), ACTIONS)
def test_as_if_one_by_one(overflow, channel, raw, limit, actions):
    """
    That messages are read several at a time, the short way, is seen nowhere.

    Not in items, not in gaps and their places, not in what counts as told before, nor in any count.
    """
    found: list[list[Any]] = []
    name = f"{channel} A"
    for ahead, dialect in ((0, attrs.evolve(COUNTING, direct=None)), (AHEAD, COUNTING)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(subscription_module, "AHEAD", ahead)
            patched.setattr(subscription_module, "LAG_EVERY", 4)
            subscription = made(name, f"{channel} B", dialect=dialect, overflow=overflow, queue_size=limit, gaps=True, raw=raw)
            patched.setattr(subscription, "_park", functools.partial(not_waiting, subscription))
            number = 0
            tale: list[Any] = []
            for step, (kind, count) in enumerate([*actions, ("get", 200)]):
                if kind == "put":
                    for _ in range(count):
                        subscription.put(SOURCE, [push(name, number, time=number)], number * SECOND)
                        number += 1
                elif kind == "unreadable":
                    subscription.put(SOURCE, [b"{", push(name, number), b"}"][:count], SECOND)
                    number += 1
                elif kind == "together":
                    subscription.put(
                        SOURCE, [push(name, *range(number, number + count)), rows((name, 0), (f"{channel} B", 0))], SECOND
                    )
                    number += count
                elif kind == "nothing":
                    subscription.put(SOURCE, [rows(("tape C", 1), ("tape D", 1))] * count, SECOND)
                elif kind == "again":
                    subscription.put(SOURCE, [push(name, *range(max(0, number - 3), number + count))], SECOND)
                    number += count
                elif kind == "mark":
                    mark(subscription, count)
                elif kind == "loss":
                    subscription.lost(SOURCE, SECOND)
                    subscription.restored(SOURCE, SECOND)
                elif kind == "fileno":
                    subscription.fileno()
                elif kind == "keep":
                    subscription.keep([topic(name)])
                for source in {"get": [subscription], "loop": [iter(subscription)]}.get(kind, []):
                    for _ in range(count):
                        tale.append(told(source))
                        if isinstance(tale[-1], type):  # after its end a generator would say no more
                            break
                if ("fileno", 1) in actions[: step + 1]:
                    tale.append(readable(subscription))
                stats = subscription.stats()
                tale.append((subscription.qsize(), *(stats[name] for name in ("delivered", "dropped", "malformed", "lag"))))
            tale += [(gap.reason, gap.dropped) for gap in subscription.gaps]
            found.append(tale)
    assert found[0] == found[1]


@pytest.mark.parametrize("limit", [1, 2, 50, 500])
@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST, BLOCK])
def test_raw_adds_up_between_threads(overflow, limit):
    """A reader and two loops at raw messages at the same time: each message goes to one of them, or is counted as dropped."""
    total = 6000
    subscription = made(overflow=overflow, queue_size=limit, raw=True)

    def read_all() -> None:
        for number in range(0, total, 60):
            put(subscription, *range(number, number + 60))
        subscription.finish()

    loops = [Aside(lambda: [item["n"][0] for item in subscription]) for _ in range(2)]
    reader = Aside(read_all)
    reader.result()
    found = [loop.result() for loop in loops]
    assert found == [sorted(numbers) for numbers in found]
    assert (total, total) == (len({*found[0], *found[1]}) + subscription.dropped, sum(map(len, found)) + subscription.dropped)


def test_block_waits_as_if_one_by_one():
    """With raw=True too, messages that are parsed already take their room, and the reader is woken when half was read."""
    clock = HeldClock()
    subscription = made(overflow=BLOCK, queue_size=100, raw=True, clock=clock)
    put(subscription, *range(60))
    loop = iter(subscription)
    found = [next(loop)["n"][0]]
    reader = Aside(put, subscription, *range(60, 120))
    clock.until_waited(1)
    sizes = [subscription.qsize()]
    found += [next(loop)["n"][0] for _ in range(49)]
    sizes.append(subscription.qsize())
    early = reader.done or clock.waits > 1
    found += [next(loop)["n"][0] for _ in range(70)]
    reader.result()
    assert ([100, 51], False, [*range(120)]) == (sizes, early, found)


def test_what_is_remembered_is_read_once():
    """Trades of a stream that is compared with its replays are all told, though a descriptor is asked for in between."""
    subscription = made("replay A")
    put(subscription, *range(LAG_EVERY + 40), name="replay A")
    loop = iter(subscription)
    found = [next(loop).id for _ in range(LAG_EVERY + 5)]
    subscription.fileno()
    assert [*range(LAG_EVERY + 40)] == found + ids(drained(subscription))


def test_keep_in_a_loop():
    """Who gives a topic up gets none of its events any more, also of messages that were read with the last one."""
    subscription = made("tape A", "tape B")
    put(subscription, *range(LAG_EVERY))
    subscription.put(SOURCE, [ROWS] * 3, SECOND)
    loop = iter(subscription)
    found = [next(loop).symbol for _ in range(LAG_EVERY + 1)]
    subscription.keep([topic("tape A")])
    found += [event.symbol for event in drained(subscription)]
    assert ["A"] * LAG_EVERY + ["A", "B", "A", "A"] == found


def test_fileno_in_a_raw_loop():
    """A descriptor that is asked for when the next messages were parsed already is readable until the last of them is taken."""
    subscription = made(raw=True)
    put(subscription, 1, 2, 3)
    loop = iter(subscription)
    next(loop)
    found = [subscription.fileno() > 0 and readable(subscription)]
    for _ in range(2):
        next(loop)
        found.append(readable(subscription))
    assert [True, True, False] == found


def test_forked_in_a_loop():
    """A loop that goes on in a child of the process raises there, also where the next items were parsed already."""
    subscription = made(raw=True)
    put(subscription, *range(10))
    loop = iter(subscription)
    first = next(loop)
    subscription._forked()  # what the system calls in the child
    with pytest.raises(ConnectionClosed, match="forked"):
        next(loop)
    assert [0] == first["n"]


@pytest.mark.parametrize("run", range(20))
def test_raises_between_threads(run):
    """A consumer that is at it when the buffer overflows has all that fitted, in order, and then the error."""
    subscription = made(overflow=RAISE, queue_size=1 + run % 3)

    def read_all() -> None:
        number = 0
        while not subscription.closed:
            put(subscription, number, number + 1)
            number += 2

    reader = Aside(read_all)
    found = []
    with pytest.raises(ConsumerTooSlow) as caught:
        found.extend(event.id for event in subscription)
    reader.result()
    assert ([*range(len(found))], subscription.dropped) == (found, caught.value.dropped)


# Overflow, the rest ----------------------------------------------------------------------------------------------------------


def test_overflow_gap():
    """The gap of an overflow says when: from the receipt of the first that is missing to that of the last that did not fit."""
    subscription = made(queue_size=2)
    put(subscription, 1, at=1 * SECOND)
    put(subscription, 2, at=2 * SECOND)
    put(subscription, 3, at=3 * SECOND)
    put(subscription, 4, at=4 * SECOND)
    first, _ = drained(subscription)
    assert (Gap("overflow", 1.0, 4.0, 2), [first.gap]) == (first.gap, subscription.gaps)


def test_overflow_gap_of_the_newest():
    """The same where newcomers go."""
    subscription = made(queue_size=1, overflow=DROP_NEWEST)
    for number in (1, 2, 3):
        put(subscription, number, at=number * SECOND)
    drained(subscription)
    put(subscription, 4, at=4 * SECOND)
    assert Gap("overflow", 2.0, 3.0, 2) == subscription.get_nowait().gap


def test_overflow_gap_of_latest():
    """The same where the newest replaces those before it."""
    subscription = made(overflow=LATEST)
    for number in (1, 2, 3):
        put(subscription, number, at=number * SECOND)
    event = subscription.get_nowait()
    assert (3, 3.0, Gap("overflow", 1.0, 3.0, 2)) == (event.id, event.received, event.gap)


def test_overflow_in_the_middle_of_a_message():
    """What is left of a message that is being read is not dropped: it stands before the gap."""
    subscription = made(queue_size=1)
    subscription.put(SOURCE, [push("tape A", 1, 2, 3)], SECOND)
    first = subscription.get_nowait().id
    put(subscription, 4, 5)
    assert (1, [(2, 0), (3, 0), (5, 1)]) == (first, [seen(event) for event in drained(subscription)])


def test_overflow_is_logged(caplog):
    """An overflow that goes on is one line of log a minute, with the sum so far."""
    clock = HeldClock()
    subscription = made(queue_size=1, clock=clock)
    with caplog.at_level(logging.WARNING):
        put(subscription, 1, 2)
        put(subscription, 3)
        clock.move(clock.now() + WARN_EVERY_S)
        put(subscription, 4)
    assert [
        "test: buffer of 1 full, 1 messages dropped so far",
        "test: buffer of 1 full, 3 messages dropped so far",
    ] == caplog.messages


def test_gaps_are_bounded():
    """Of very many gaps the newest are kept, and all are counted."""
    subscription = made(queue_size=1)
    for number in range(0, 2 * GAPS_KEPT + 20, 2):
        put(subscription, number, number + 1)
        subscription.get_nowait()
    kept = subscription.gaps
    assert (GAPS_KEPT, GAPS_KEPT + 10) == (len(kept), subscription.stats()["gaps"])


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("messages", [0, 1])
def test_markers_are_bounded(overflow, messages):
    """
    For a consumer that has stopped, losses and statements without end leave a few gaps, which cover all of them, from the
    first to the last.
    """
    subscription = made(overflow=overflow, queue_size=1, gaps=True)
    for number in range(messages):
        put(subscription, number)
    for second in range(1, 1001):
        subscription.lost(SOURCE, second * SECOND)
        subscription.stated(SOURCE, REPLAYING, second * SECOND + 1)
        subscription.stated(SOURCE, REPLAYING, second * SECOND + 2)
        subscription.restored(SOURCE, second * SECOND + 3)
    waiting = len(subscription._buffer) + len(subscription._head)
    gaps = [item for item in drained(subscription) if isinstance(item, Gap)]
    assert (messages + SIDE_BY_SIDE + 1, SIDE_BY_SIDE, 1000) == (waiting, len(gaps), len(subscription.gaps))
    assert (1.0, 1000.000000003) == (gaps[0].since, gaps[-1].until)


@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST, LATEST])
def test_markers_among_drops_are_bounded(overflow):
    """So they do where messages come between, and what is delivered, missing and put adds up."""
    subscription = made(overflow=overflow, queue_size=3, gaps=True)
    for number in range(1000):
        subscription.lost(SOURCE, number * SECOND)
        put(subscription, *range(5 * number, 5 * number + 5), at=number * SECOND + 1)
        subscription.stated(SOURCE, REPLAYING, number * SECOND + 2)
        subscription.restored(SOURCE, number * SECOND + 3)
    waiting = len(subscription._buffer) + len(subscription._head)
    items = drained(subscription)
    delivered = [item for item in items if not isinstance(item, Gap)]
    dropped = sum(gap.dropped for gap in subscription.gaps if gap.reason == "overflow")
    limit = 1000 if overflow == LATEST else 3  # slots between two losses are not one topic's
    assert (5000 - len(delivered), 5000 - len(delivered)) == (dropped, subscription.dropped)
    assert (limit, True) == (len(delivered), waiting <= 4 * limit + SIDE_BY_SIDE + 1)


def test_slots_are_bounded(monkeypatch):
    """
    Under LATEST what names ever new topics costs no memory without end: beyond so many the oldest go, and are counted; and what
    was taken leaves nothing behind.
    """
    monkeypatch.setattr(subscription_module, "SLOTS", 4)
    subscription = made("tape *", overflow=LATEST, queue_size=3, gaps=True)
    for number in range(100):
        put(subscription, 2 * number, 2 * number + 1, name=f"tape {number}")
    waiting = len(subscription._buffer) + len(subscription._head)
    items = [item if isinstance(item, Gap) else (item.id, item.gap.dropped) for item in drained(subscription)]
    numbers = [item for item in items if not isinstance(item, Gap)]
    told = sum(gap.dropped for gap in subscription.gaps)
    assert ([(193, 193), (195, 1), (197, 1), (199, 1)], 196, 196) == (numbers, told, subscription.dropped)
    assert (True, {}) == (waiting <= 4 + SIDE_BY_SIDE, subscription._slots)
    put(subscription, 200, name="tape 3")
    assert [(200, 0)] == [seen(item) for item in drained(subscription)]


def test_slots_of_all_markets():
    """There is room for a slot of each market of a whole exchange, whatever the limit of the buffer."""
    subscription = made("tape *", overflow=LATEST, queue_size=1)
    for number in range(SLOTS):
        put(subscription, number, name=f"tape {number}")
    assert (SLOTS, 0) == (subscription.qsize(), subscription.dropped)


def test_too_slow():
    """The error says how many were not taken and how long the oldest waited, in words too."""
    subscription = made(overflow=RAISE, queue_size=2)
    put(subscription, 1, at=1 * SECOND)
    put(subscription, 2, 3, 4, at=3 * SECOND)
    after = put(subscription, 5, at=4 * SECOND)
    found = ids([subscription.get(), subscription.get()])
    with pytest.raises(
        ConsumerTooSlow, match="test: 2 messages did not fit into a buffer of 2; the oldest waited 2.0 s"
    ) as caught:
        subscription.get()
    assert ([1, 2], 2, 2.0, caught.value, 0.0) == (
        found,
        caught.value.dropped,
        caught.value.oldest_age_s,
        subscription.error,
        after,
    )


def test_latest_keeps_the_order():
    """A message that only a parser can place shares the slot of its topic with those that are placed at a glance."""
    subscription = made(overflow=LATEST)
    subscription.put(SOURCE, [push("tape A", 1), unroutable("tape A", 2), push("tape A", 3)], SECOND)
    assert [(3, 2)] == [seen(event) for event in drained(subscription)]


@pytest.mark.parametrize(
    ("then", "since"),
    [
        ([], 2.0),
        ([("stated", "tape A")], 3.0),
        ([("stated", "tape B")], 2.0),
        ([("left", ANOTHER)], 2.0),
        ([("left", SOURCE)], 3.0),
    ],
    ids=["", "stated again", "another stated", "another left", "left"],
)
def test_loss_while_a_topic_is_renewed(then, since):
    """The gap begins where the topic was taken off the wire, unless it was confirmed again since."""
    subscription = made("tape A", "tape B")
    subscription.renewing(SOURCE, (topic("tape A"),), 2 * SECOND)
    for what, of in then:
        if what == "stated":
            subscription.stated(SOURCE, (topic(of),), 2 * SECOND)
        else:
            subscription.left(of)
    subscription.lost(SOURCE, 3 * SECOND)
    subscription.restored(SOURCE, 4 * SECOND)
    subscription.lost(SOURCE, 5 * SECOND)
    assert [since, 5.0] == [gap.since for gap in subscription.gaps]


def test_latest_across_a_loss():
    """What comes after a loss takes no place before it: it would stand before its gap."""
    subscription = made(overflow=LATEST)
    put(subscription, 1, 2)
    subscription.lost(SOURCE, SECOND)
    put(subscription, 3, 4, at=2 * SECOND)
    first, second = drained(subscription)
    assert (2, "overflow", 1) == (first.id, first.gap.reason, first.gap.dropped)
    assert (4, "reconnect") == (second.id, second.gap.reason)


def test_latest_of_one_topic():
    """Of all that one read brings the last one is kept, and what it replaced is counted, over several reads too."""
    subscription = made(overflow=LATEST, gaps=True)
    put(subscription, 1, 2, 3)
    put(subscription, 4)
    put(subscription, 5, 6)
    assert [(Gap, 5), (6, 5)] == [seen(item) for item in drained(subscription)]
    put(subscription, 7)
    assert [(7, 0)] == [seen(item) for item in drained(subscription)]


@pytest.mark.parametrize("names", ["tape A, tape B", "tape B, tape A", "tape A, tape A, tape B"])
def test_latest_of_one_topic_beside_one_given_up(names):
    """What is late of another topic does not take the place of the topic that is left."""
    subscription = made(overflow=LATEST)
    messages = [push(name, number) for number, name in enumerate(names.split(", "))]
    subscription.put(SOURCE, messages, SECOND)
    newest = max(number for number, name in enumerate(names.split(", ")) if name == "tape A")
    events = {event.symbol: event.id for event in drained(subscription)}
    assert newest == events["A"]


def test_latest_of_rows():
    """Pushes with rows of several topics replace each other."""
    subscription = made("tape A", "tape B", overflow=LATEST)
    subscription.put(SOURCE, [rows(("tape A", 1), ("tape B", 2)), rows(("tape A", 3), ("tape B", 4))], SECOND)
    assert [(3, 1), (4, 0)] == [seen(event) for event in drained(subscription)]


# BLOCK -----------------------------------------------------------------------------------------------------------------------


def test_block_waits():
    """The reader waits until half of the buffer is free, and says how long it did."""
    clock = HeldClock()
    subscription = made(overflow=BLOCK, queue_size=4, clock=clock)
    put(subscription, 1, 2, 3, 4)
    reader = Aside(put, subscription, 5, 6, 7)
    clock.until_waited(1)
    clock.move(101.5)
    clock.until_waited(2)
    found = [subscription.get_nowait().id]
    early = reader.done or clock.waits > 2
    found.append(subscription.get_nowait().id)
    clock.until_waited(3)  # two fit, the third does not
    clock.move(103.0)
    found += [subscription.get(LIMIT_S).id for _ in range(5)]
    assert (3.0, False, [1, 2, 3, 4, 5, 6, 7]) == (reader.result(), early, found)


def test_block_without_need():
    """With room for all, the reader does not wait."""
    subscription = made(overflow=BLOCK, queue_size=2)
    assert 0.0 == put(subscription, 1, 2)


def test_block_limit():
    """After the limit it ends as RAISE does: what was taken can be read, then the error says what was not."""
    clock = HeldClock()
    exchange = Exchange()
    subscription = made(overflow=BLOCK, queue_size=2, clock=clock, block_limit=5.0, exchange=exchange)
    put(subscription, 1, at=clock.time_ns())
    reader = Aside(put, subscription, 2, 3, 4)
    clock.until_waited(1)
    clock.move(104.9)
    clock.until_waited(2)
    early = reader.done
    clock.move(105.0)
    waited = reader.result()
    found = ids([subscription.get(), subscription.get()])
    with pytest.raises(ConsumerTooSlow) as caught:
        subscription.get()
    assert (5.0, False, [1, 2], 2, 5.0, [subscription]) == (
        waited,
        early,
        found,
        caught.value.dropped,
        caught.value.oldest_age_s,
        exchange.forgotten,
    )


def test_block_and_no_event():
    """A message without an event makes room too, although its consumer has nothing to go on with."""
    clock = HeldClock()
    subscription = made(overflow=BLOCK, queue_size=1, clock=clock)
    subscription.put(SOURCE, [b"not JSON"], SECOND)
    reader = Aside(put, subscription, 1)
    clock.until_waited(1)
    found = subscription.get(LIMIT_S).id
    assert (0.0, 1) == (reader.result(), found)


def test_block_and_no_event_at_the_end_of_many():
    """The same where `get_many` takes it and does not wait for more."""
    clock = HeldClock()
    subscription = made(overflow=BLOCK, queue_size=3, clock=clock)
    subscription.put(SOURCE, [push("tape A", 1), b"not JSON", b"nor this"], SECOND)
    reader = Aside(put, subscription, 2)
    clock.until_waited(1)
    found = ids(subscription.get_many())
    reader.result()
    assert ([1], [2]) == (found, ids(drained(subscription)))


def test_block_several():
    """Several readers may wait for room at the same time: none is forgotten, and each one's messages stay in order."""
    subscription = made(*(f"tape {symbol}" for symbol in "ABC"), overflow=BLOCK, queue_size=2, block_limit=4 * LIMIT_S)

    def read_all(name: str) -> None:
        for number in range(0, 600, 3):
            put(subscription, number, number + 1, number + 2, name=name, source=name)

    readers = [Aside(read_all, name) for name in subscription.topics]
    found: dict[str, list[int]] = {"A": [], "B": [], "C": []}
    for _ in range(1800):
        event = subscription.get(LIMIT_S)
        found[event.symbol].append(event.id)
    for reader in readers:
        reader.result()
    assert dict.fromkeys("ABC", [*range(600)]) == found


def test_block_ends_at_close():
    """A close ends the reader's wait; what had no room is gone with the subscription, what had can be read."""
    clock = HeldClock()
    subscription = made(overflow=BLOCK, queue_size=1, clock=clock)
    reader = Aside(put, subscription, 1, 2)
    clock.until_waited(1)
    subscription.close()
    assert (0.0, [1]) == (reader.result(), ids(list(subscription)))


# What is lost with a connection ----------------------------------------------------------------------------------------------


def test_clock_was_set_back_during_a_loss():
    """A gap does not end before it begins: by a clock that was set back meanwhile, it ends when it began."""
    subscription = made(gaps=True)
    put(subscription, 1, at=3600 * SECOND)
    subscription.lost(SOURCE, 3600 * SECOND)
    put(subscription, 2, at=5 * SECOND)
    subscription.restored(SOURCE, 6 * SECOND)
    assert [Gap("reconnect", 3600.0, 3600.0)] == subscription.gaps
    assert [1, Gap("reconnect", 3600.0, 3600.0), 2] == [getattr(item, "id", item) for item in drained(subscription)]


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_silent_and_resumed(overflow):
    """A silence is told where it is: between the last event before it and the first one after it."""
    subscription = made(overflow=overflow, gaps=True)
    put(subscription, 1)
    first = subscription.get_nowait()
    subscription.silent(SOURCE, topic("tape A"), 3 * SECOND)
    gap = subscription.get_nowait()
    assert (None, Gap("silent", 3.0), True) == (first.gap, gap, gap.until is None)
    subscription.resumed(SOURCE, topic("tape A"), 9 * SECOND)
    put(subscription, 2)
    event = subscription.get_nowait()
    assert (True, 9.0, [gap]) == (event.gap is gap, gap.until, subscription.gaps)


def test_silence_ends_with_the_link():
    """What is lost from then on is another gap's; another connection's loss changes nothing."""
    subscription = made()
    subscription.silent(SOURCE, topic("tape A"), 3 * SECOND)
    subscription.lost(ANOTHER, 5 * SECOND)
    assert subscription.gaps[0].until is None
    subscription.lost(SOURCE, 6 * SECOND)
    subscription.resumed(SOURCE, topic("tape A"), 9 * SECOND)
    assert [("silent", 6.0), ("reconnect", None), ("reconnect", None)] == [(gap.reason, gap.until) for gap in subscription.gaps]


def test_silence_is_told_to_who_waits():
    """With `gaps=True` a consumer that waits gets the gap at once; after the end there is none."""
    subscription = made(gaps=True)
    aside = Aside(lambda: subscription.get(LIMIT_S))
    subscription.silent(SOURCE, topic("tape A"), 3 * SECOND)
    assert "silent" == aside.result().reason
    subscription.finish()
    subscription.silent(SOURCE, topic("tape A"), 3 * SECOND)
    assert 1 == len(subscription.gaps)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_lost_and_restored(overflow):
    """The gap stands where the stream goes on, before its first event, and is open until all topics are back."""
    subscription = made("tape A", "tape B", overflow=overflow)
    put(subscription, 1, at=1 * SECOND)
    subscription.lost(SOURCE, 1 * SECOND)
    (gap,) = subscription.gaps
    ends = [gap.until]
    subscription.stated(SOURCE, (topic("tape A"),), 5 * SECOND)
    ends.append(gap.until)
    put(subscription, 2, name="tape B", at=6 * SECOND)
    subscription.restored(SOURCE, 7 * SECOND)
    put(subscription, 3, name="tape C", at=8 * SECOND)
    first, second, third = drained(subscription)
    assert ([None, 5.0], Gap("reconnect", 1.0, 7.0)) == (ends, gap)
    assert (None, True, None, [gap]) == (first.gap, second.gap is gap, third.gap, subscription.gaps)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_gaps_as_items(overflow):
    """With `gaps` the gap itself is an item, and the event after it carries it all the same."""
    subscription = made("tape A", "tape B", overflow=overflow, gaps=True)
    put(subscription, 1)
    subscription.lost(SOURCE, SECOND)
    subscription.restored(SOURCE, 2 * SECOND)
    put(subscription, 2, name="tape B")
    first, gap, second = drained(subscription)
    assert (1, Gap("reconnect", 1.0, 2.0), 2, gap) == (first.id, gap, second.id, second.gap)


def test_gap_as_item_wakes():
    """With `gaps` a consumer that waits is told when the stream goes on, not with the next event."""
    clock = HeldClock()
    subscription = made(gaps=True, clock=clock)
    waiting = Aside(subscription.get)
    clock.until_waited(1)
    subscription.lost(SOURCE, SECOND)
    subscription.restored(SOURCE, 2 * SECOND)
    assert Gap("reconnect", 1.0, 2.0) == waiting.result()


def test_raw_gaps():
    """With `raw` a gap is told as an item, the vendor's JSON being no place for it."""
    subscription = made(raw=True, gaps=True)
    subscription.lost(SOURCE, SECOND)
    put(subscription, 1, at=2 * SECOND)
    assert [Gap("reconnect", 1.0, 2.0), {"of": "tape A", "n": [1]}] == drained(subscription)


def test_lost_twice_at_once():
    """A connection that is lost again before anything came of it leaves one gap, from the first loss on."""
    subscription = made()
    subscription.lost(SOURCE, 1 * SECOND)
    subscription.lost(SOURCE, 2 * SECOND)
    put(subscription, 1, at=3 * SECOND)
    subscription.restored(SOURCE, 4 * SECOND)
    assert ([Gap("reconnect", 1.0, 4.0)], (1, None)) == (subscription.gaps, seen(subscription.get_nowait()))


def test_lost_again_after_events():
    """A connection that is lost again before it was whole leaves two gaps, one after the other, each where the stream broke."""
    subscription = made("tape A", "tape B", gaps=True)
    subscription.lost(SOURCE, 1 * SECOND)
    put(subscription, 1, at=3 * SECOND)
    subscription.lost(SOURCE, 4 * SECOND)
    put(subscription, 2, at=6 * SECOND)
    subscription.restored(SOURCE, 7 * SECOND)
    gaps = [Gap("reconnect", 1.0, 4.0), Gap("reconnect", 4.0, 7.0)]
    first, event, second, another = drained(subscription)
    assert (gaps, gaps[0], 1, gaps[1], 2) == (subscription.gaps, first, event.id, second, another.id)
    assert (True, True) == (event.gap is first, another.gap is second)


def test_two_connections():
    """Each connection has its gap, at the place where *its* stream goes on."""
    subscription = made("tape A", "tape B")
    subscription.lost(SOURCE, 1 * SECOND)
    put(subscription, 1, source=ANOTHER, at=2 * SECOND)
    subscription.lost(ANOTHER, 3 * SECOND)
    put(subscription, 2, source=SOURCE, at=4 * SECOND)
    put(subscription, 3, source=ANOTHER, at=5 * SECOND)
    put(subscription, 4, source=SOURCE, at=6 * SECOND)
    subscription.restored(ANOTHER, 7 * SECOND)
    subscription.restored(SOURCE, 8 * SECOND)
    gaps = [event.gap for event in drained(subscription)]
    assert [None, Gap("reconnect", 1.0, 8.0), Gap("reconnect", 3.0, 7.0), None] == gaps


def test_left_a_lost_connection():
    """Who has left all that came from a lost connection misses nothing there any more; another's gap stays open."""
    subscription = made("tape A", "tape B")
    for source in (SOURCE, ANOTHER):
        subscription.lost(source, 1 * SECOND)
    subscription.silent(ANOTHER, topic("tape B"), 2 * SECOND)
    subscription.left(SOURCE)
    ends = [gap.until is not None for gap in subscription.gaps]
    subscription.left(ANOTHER)
    assert ([True, False, False], [True] * 3) == (ends, [gap.until is not None for gap in subscription.gaps])


def test_restored_what_was_not_lost():
    """A connection that comes up for the first time has lost nothing."""
    subscription = made(gaps=True)
    subscription.restored(SOURCE, SECOND)
    subscription.stated(SOURCE, REPLAYING, SECOND)
    put(subscription, 1)
    assert ([(1, 0)], []) == ([seen(event) for event in drained(subscription)], subscription.gaps)


@pytest.mark.parametrize("gaps", [False, True])
def test_joined_late(gaps):
    """Who joined late is told so at once, before the first event."""
    subscription = made(gaps=gaps)
    subscription.joined_late(SOURCE, (), 3 * SECOND)
    put(subscription, 1, at=4 * SECOND)
    gap = Gap("joined late", 3.0, 3.0)
    items = drained(subscription)
    assert ([gap] * gaps, gap, [gap]) == (items[:-1], items[-1].gap, subscription.gaps)


def test_joined_late_by_a_renewal():
    """Where a renewal brought no snapshot, something is missing since it took the topic off the wire."""
    subscription = made()
    subscription.renewing(SOURCE, subscription.wanted, 2 * SECOND)
    subscription.joined_late(SOURCE, subscription.wanted, 5 * SECOND)
    subscription.stated(SOURCE, REPLAYING, 5 * SECOND)
    put(subscription, 1, at=6 * SECOND)
    assert Gap("joined late", 2.0, 5.0) == subscription.get_nowait().gap


@pytest.mark.parametrize("when", ["before", "after"])
def test_renewal_of_what_is_given_up(when):
    """A loss does not begin where a topic was taken off the wire that is not wanted any more, whichever was heard of first."""
    subscription = made("tape A", "tape B")
    steps = [
        lambda: subscription.renewing(SOURCE, (topic("tape B"),), SECOND),
        lambda: subscription.keep([topic("tape A")]),
    ]
    for step in steps if when == "before" else reversed(steps):
        step()
    subscription.lost(SOURCE, 1000 * SECOND)
    assert [1000.0] == [gap.since for gap in subscription.gaps]


def test_joined_late_wakes():
    """With `gaps` that is an item, for who waits too."""
    clock = HeldClock()
    subscription = made(gaps=True, clock=clock)
    waiting = Aside(subscription.get)
    clock.until_waited(1)
    subscription.joined_late(SOURCE, (), 3 * SECOND)
    assert Gap("joined late", 3.0, 3.0) == waiting.result()


def test_gaps_merge():
    """Of two gaps with nothing between, the event that follows carries one that covers both; the list has each."""
    subscription = made(queue_size=2)
    put(subscription, 1, 2, at=1 * SECOND)
    subscription.lost(SOURCE, 2 * SECOND)
    put(subscription, 3, 4, 5, at=3 * SECOND)
    subscription.restored(SOURCE, 3 * SECOND)
    first, second = drained(subscription)
    assert (4, 5, None) == (first.id, second.id, second.gap)
    assert (1.0, 3.0, None) == (first.gap.since, first.gap.until, first.gap.dropped)
    assert {("overflow", 3), ("reconnect", None)} == {(gap.reason, gap.dropped) for gap in subscription.gaps}


def test_gap_waits_for_an_event():
    """A message without events carries no gap: the next event does."""
    subscription = made()
    subscription.joined_late(SOURCE, (), 3 * SECOND)
    subscription.put(SOURCE, [b'{"note":1}', push("tape A", 1)], 4 * SECOND)
    assert Gap("joined late", 3.0, 3.0) == subscription.get_nowait().gap


# Who watches -----------------------------------------------------------------------------------------------------------------


class Lamp:
    """A signal that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def wake(self) -> None:
        self.told.append(True)

    def clear(self) -> None:
        self.told.append(False)


def test_watched():
    """Who watches hears that something waits, at once if it does already, that nothing does any more, and of the end."""
    subscription = made()
    put(subscription, 1)
    lamp = Lamp()
    subscription.watch(lamp)
    assert [True] == lamp.told
    subscription.get_nowait()
    assert [True, False] == lamp.told
    put(subscription, 2)
    subscription.finish()
    assert [True, False, True, True] == lamp.told


def test_watched_by_who_is_gone():
    """A subscription keeps nobody who watches it."""
    subscription = made()
    subscription.watch(Lamp())
    put(subscription, 1)
    assert [1] == ids(drained(subscription))


def test_interrupted():
    """Between a loss and the first that comes again, and while a topic is silent, something is not coming."""
    subscription = made()
    found = [subscription.interrupted]
    subscription.lost(SOURCE, SECOND)
    found.append(subscription.interrupted)
    put(subscription, 1, at=2 * SECOND)
    found.append(subscription.interrupted)
    subscription.restored(SOURCE, 3 * SECOND)
    subscription.silent(SOURCE, topic("tape A"), 4 * SECOND)
    found.append(subscription.interrupted)
    subscription.resumed(SOURCE, topic("tape A"), 5 * SECOND)
    assert [False, True, False, True, False] == [*found, subscription.interrupted]


def test_hole():
    """A hole that its reader found is kept among the gaps, open until he ends it."""
    subscription = made(clock=HeldClock())
    gap = subscription.hole()
    assert ([gap], "sequence", None) == (subscription.gaps, gap.reason, gap.until)
