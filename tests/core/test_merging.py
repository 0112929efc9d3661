"""What a merged stream promises: each event once, members in order and in fair turns, errors told, nobody harmed."""

from __future__ import annotations

import copy
import errno
import gc
import linecache
import logging
import os
import pickle
import queue
import select
import signal
import sys
import weakref
from collections import Counter, deque
from decimal import Decimal
from typing import Any

import pytest
from counting_language import COUNTING, push, topic
from held_clock import LIMIT_S, Aside, HeldClock
from hypothesis import given, settings
from hypothesis import strategies as st
from life_helpers import collect

import exchange_ws
from exchange_ws import merge
from exchange_ws.clock import SystemClock
from exchange_ws.core import merging
from exchange_ws.core.subscription import BLOCK, DROP_OLDEST, LATEST, RAISE, Subscription
from exchange_ws.errors import (
    ConnectFailed,
    ConsumerTooSlow,
    ExchangeError,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Gap

SOURCE = "a connection"
SECOND = 1_000_000_000

#: For properties: other work on the machine is no failure.
UNHURRIED = settings(deadline=None)


def made(symbol: str, clock: Any = None, **options: Any) -> Subscription:
    """A subscription to the tape of *symbol*."""
    usual: dict[str, Any] = {
        "queue_size": 1000,
        "overflow": DROP_OLDEST,
        "gaps": False,
        "raw": False,
        "numbers": Decimal,
        "block_limit": LIMIT_S,
        "leave": lambda subscription, topics, timeout: subscription.finish(),
        "forget": lambda subscription: None,
    }
    name = f"tape {symbol}"
    return Subscription(name, [topic(name)], COUNTING, clock=clock or SystemClock(), **{**usual, **options})


def members(symbols: str, **options: Any) -> list[Subscription]:
    """One for each letter."""
    return [made(symbol, **options) for symbol in symbols]


def put(subscription: Subscription, *numbers: int) -> None:
    """What one read of a connection gives: one message for each number."""
    subscription.put(SOURCE, [push(subscription.name, number) for number in numbers], SECOND)


def told(event: Any) -> str:
    """An event as its member's letter and its number."""
    return f"{event.symbol}{event.id}"


def drained(stream: Any) -> list[str]:
    """All that is there."""
    events = []
    while True:
        try:
            events.append(told(stream.get_nowait()))
        except (UpdateTimeout, SubscriptionClosed):
            return events


def readable(stream: Any) -> bool:
    return bool(select.select([stream], [], [], 0)[0])


# Turns -----------------------------------------------------------------------------------------------------------------------


def test_turns():
    """Members are served in turn, one event each, and who comes late is the next but those that wait already."""
    a, b, c = members("ABC")
    merged = merge(a, b, c)
    put(a, 1, 2, 3, 4)
    put(b, 1, 2)
    first = [told(merged.get_nowait()) for _ in range(3)]
    put(c, 1)
    assert (["A1", "B1", "A2"], ["B2", "A3", "C1", "A4"]) == (first, drained(merged))


def test_turns_count_events():
    """A message of many events is not taken in one turn."""
    a, b = members("AB")
    merged = merge(a, b)
    a.put(SOURCE, [push("tape A", 1, 2, 3)], SECOND)
    put(b, 1, 2)
    assert ["A1", "B1", "A2", "B2", "A3"] == drained(merged)


def test_a_flood_starves_nobody():
    """A member that always has more lets every other one's event through after one of its own."""
    loud, quiet = members("LQ")
    merged = merge(loud, quiet)
    put(loud, *range(500))
    for number in range(10):
        before = {merged.get_nowait().symbol for _ in range(20)}
        put(quiet, number)
        put(loud, *range(20))
        after = [told(merged.get_nowait()) for _ in range(2)]
        assert ({"L"}, True) == (before, f"Q{number}" in after)


#: What happens to merged members, in turn: (what, to which member, how many).
LIVES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "many", "unreadable", "stated", "take", "take", "direct", "end"]),
        st.integers(0, 4),
        st.integers(1, 6),
    ),
    max_size=60,
)


@UNHURRIED
@given(st.integers(1, 5), LIVES, st.booleans())
def test_everything_once_in_order_and_fairly(count, life, signalled):
    """
    Whatever comes to the members, in messages of none, one or many events, and whoever else reads one of them: each event is
    given out once, those of a member in order, and while an event of one waits, no other is served twice.
    """
    mine = members("ABCDE"[:count])
    merged = merge(*mine)
    if signalled:
        merged.fileno()
    waiting: list[deque[int]] = [deque() for _ in mine]
    served: list[Counter[int]] = [Counter() for _ in mine]  # of each member: the others' turns since it began to wait
    numbers = 0

    def took(number: int, event: Any) -> None:
        assert waiting[number].popleft() == event.id
        served[number].clear()

    def take() -> bool:
        try:
            event = merged.get_nowait()
        except (UpdateTimeout, SubscriptionClosed):
            return False
        number = "ABCDE".index(event.symbol)
        took(number, event)
        for other, counter in enumerate(served):
            if other != number and waiting[other]:
                counter[number] += 1
                assert counter[number] == 1, "served twice while another waits"
        return True

    for what, number, more in life:
        number %= count
        one = mine[number]
        if what == "take":
            for _ in range(more):
                there = any(waiting)
                assert there == take()
            continue
        if one.closed:
            continue
        new = range(numbers, numbers + more)
        if what in ("put", "many"):
            numbers += more
            if not waiting[number]:
                served[number].clear()
            waiting[number].extend(new)
            one.put(SOURCE, [push(one.name, *new)] if what == "many" else [push(one.name, each) for each in new], SECOND)
        elif what == "unreadable":
            one.put(SOURCE, [push(one.name)] * more, SECOND)
        elif what == "stated":
            one.stated(SOURCE, one.wanted, SECOND)
        elif what == "direct" and waiting[number]:
            took(number, one.get_nowait())
        elif what == "end":
            one.finish()
        if signalled and any(waiting):
            assert readable(merged)
    while any(waiting):
        assert take()
    for one in mine:
        one.finish()
    assert ([], True, 0) == (list(merged), merged.closed, merged.qsize())


@pytest.fixture
def restless():
    """Threads take turns far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("how", ["iterate", "get_many"])
@pytest.mark.parametrize("consumers", [1, 2])
@pytest.mark.parametrize("signalled", [True, False])
def test_threads(restless, how, consumers, signalled):
    """Readers of several connections and one consumer or two: all is delivered once, in order to each, and the loops end."""
    each, mine = 300, members("ABCD", queue_size=20, overflow=BLOCK)
    merged = merge(*mine)
    if signalled:
        merged.fileno()

    def feed(subscription: Subscription) -> None:
        for number in range(0, each, 3):
            put(subscription, *range(number, number + 3))
        subscription.finish()

    def consume() -> list[Any]:
        if how == "iterate":
            return list(merged)
        events: list[Any] = []
        while True:
            try:
                events += merged.get_many(timeout=LIMIT_S)
            except SubscriptionClosed:
                return events

    readers = [Aside(feed, subscription) for subscription in mine]
    taken = [consumer.result() for consumer in [Aside(consume) for _ in range(consumers)]]
    for reader in readers:
        reader.result()
    for events in taken:
        for symbol in "ABCD":
            ids = [event.id for event in events if event.symbol == symbol]
            assert sorted(ids) == ids
    expected = Counter(f"{symbol}{number}" for symbol in "ABCD" for number in range(each))
    assert expected == Counter(told(event) for events in taken for event in events)


# Waiting and ending ----------------------------------------------------------------------------------------------------------


def test_catching_up_looks_at_who_was_read(monkeypatch):
    """Who has a thousand members and takes a message of one of them does not look through all when that is done."""
    one, two, three = members("ABC")
    stream = merge(one, two, three)
    looked: list[Subscription] = []
    monkeypatch.setattr(Subscription, "_caught_up", lambda self: looked.append(self))
    put(two, 1)
    assert (["B1"], [two]) == (drained(stream), looked)
    put(three, 2)
    assert (["C2"], [two, three]) == (drained(stream), looked)


def test_waits_for_any():
    """Who waits wakes for an event of any member; nobody polls."""
    clock = HeldClock()
    mine = members("ABC", clock=clock)
    merged = merge(*mine)
    for number, subscription in enumerate(mine, 1):
        waiting = Aside(merged.get)
        clock.until_waited(number)
        put(subscription, number)
        assert f"{subscription.name[-1]}{number}" == told(waiting.result())
    assert len(mine) == clock.waits


def test_what_is_no_event_wakes_nobody():
    """A confirmation is nothing to read, and does not wake who waits."""
    clock = HeldClock()
    mine = members("AB", clock=clock)
    waiting = Aside(merge(*mine).get)
    clock.until_waited(1)
    mine[0].stated(SOURCE, mine[0].wanted, SECOND)
    put(mine[1], 7)
    assert ("B7", 1) == (told(waiting.result()), clock.waits)


def test_timeout():
    """None comes in time: the same error as that of a subscription, and the same senseless timeouts are refused."""
    clock = HeldClock()
    merged = merge(*members("AB", clock=clock))
    waiting = Aside(merged.get, 5.0)
    clock.until_waited(1)
    clock.move(105.0)
    with pytest.raises(UpdateTimeout, match=r"merge of tape A and 1 more: no update within 5.0 s") as caught:
        waiting.result()
    assert isinstance(caught.value, (queue.Empty, TimeoutError))
    with pytest.raises(UsageError, match="takes seconds"):
        merged.get(-1)


def test_collect():
    """A list of as many as were asked for, or of what there is when the members end."""
    a, b = members("AB")
    merged = merge(a, b)
    put(a, 1, 2)
    put(b, 1)
    first = merged.collect(2)
    a.finish()
    b.finish()
    assert (["A1", "B1"], ["A2"]) == ([told(event) for event in first], [told(event) for event in merged.collect(9)])


def test_get_many():
    """All that is there, in turn; or as many as are asked for."""
    a, b = members("AB")
    merged = merge(a, b)
    put(a, 1, 2, 3)
    put(b, 1)
    found = [[told(event) for event in merged.get_many(2)], [told(event) for event in merged.get_many()]]
    assert [["A1", "B1"], ["A2", "A3"]] == found


def test_ends_with_the_last_member():
    """A member that is unsubscribed in the loop's body is read to its end, and the loop goes on until the others have ended."""
    a, b = members("AB")
    merged = merge(a, b)
    put(a, 1, 2)
    put(b, 1, 2, 3)
    found = []
    for event in merged:
        found.append((told(event), merged.closed))
        if event.id == 1 and event.symbol == "A":
            a.close()
        if event.id == 3:
            b.close()
    assert [("A1", False), ("B1", False), ("A2", False), ("B2", False), ("B3", False)] == found
    assert (True, []) == (merged.closed, list(merged))
    with pytest.raises(SubscriptionClosed, match="merge of tape A and 1 more: the subscription has ended"):
        merged.get()


def test_the_end_wakes():
    """Who waits is told that the last member has ended."""
    clock = HeldClock()
    a, b = members("AB", clock=clock)
    merged = merge(a, b)
    waiting = Aside(list, merged)
    clock.until_waited(1)
    a.finish()
    clock.until_waited(2)
    b.finish()
    assert [] == waiting.result()


def test_members_that_have_ended():
    """What ended members have left is read; then it is over."""
    a, b = members("AB")
    put(a, 1)
    a.finish()
    b.finish()
    assert ["A1"] == [told(event) for event in merge(a, b)]


@pytest.mark.parametrize("call", ["get", "get_many", "iterate", "collect"])
def test_close_ends_waits(call):
    """Closing from another thread ends every wait, and closes no member."""
    clock = HeldClock()
    mine = members("AB", clock=clock)
    merged = merge(*mine)
    listed = {"iterate": lambda: list(merged), "collect": lambda: merged.collect(3)}
    waiting = [Aside(listed.get(call) or getattr(merged, call)) for _ in range(2)]
    clock.until_waited(2)
    merged.close()
    merged.close()
    for each in waiting:
        if call.startswith("get"):
            with pytest.raises(SubscriptionClosed):
                each.result()
        else:
            assert [] == each.result()
    assert (True, [False, False]) == (merged.closed, [one.closed for one in mine])


def test_close_in_the_loop():
    """Closing in the loop's body ends it; what the members have left, and what comes, is read from them."""
    a, b = members("AB")
    put(a, 1, 2)
    put(b, 1, 2)
    found = []
    with merge(a, b) as merged:
        for event in merged:
            found.append(told(event))
            if len(found) == 3:
                merged.close()
    put(b, 3)
    assert (["A1", "B1", "A2"], [], ["B2", "B3"]) == (found, drained(a), drained(b))
    assert (False, False, []) == (a.closed, b.closed, drained(merged))


def test_read_anew_after_close():
    """Members can be merged again, whatever was left in them."""
    a, b = members("AB")
    put(a, 1, 2)
    with merge(a, b) as merged:
        first = told(merged.get())
    put(b, 1)
    assert ("A1", ["B1", "A2"]) == (first, drained(merge(b, a)))


def test_a_member_that_is_read_elsewhere_too():
    """Each event goes to one of those who read; who finds that another was faster waits on."""
    clock = HeldClock()
    a, b = members("AB", clock=clock)
    merged, again = merge(a, b), merge(a)
    put(a, 1, 2, 3)
    found = [told(merged.get_nowait()), told(a.get_nowait()), told(again.get_nowait())]
    waiting = Aside(merged.get)
    clock.until_waited(1)
    put(b, 1)
    assert (["A1", "A2", "A3"], "B1", []) == (found, told(waiting.result()), drained(again))


def test_a_reader_that_waits_for_room():
    """What was taken and turned out to be no event makes room: a reader under "block" is told of it."""
    clock = HeldClock()
    a, b = made("A", clock, queue_size=2, overflow=BLOCK), made("B", clock)
    merged = merge(a, b)
    a.put(SOURCE, [push("tape A")] * 2, SECOND)
    putting = Aside(put, a, 1, 2)
    clock.until_waited(1)
    assert "A1" == told(merged.get())
    putting.result()


# Errors ----------------------------------------------------------------------------------------------------------------------


def too_slow(letter: str = "A") -> Subscription:
    """A member that holds the numbers 1 and 2, and then could not take a third."""
    subscription = made(letter, queue_size=2, overflow=RAISE)
    put(subscription, 1, 2)
    put(subscription, 3)
    return subscription


def until_raised(stream: Any) -> tuple[list[str], Any]:
    """What a loop gives, and the error that ends it."""
    found = []
    try:
        for event in stream:
            found.append(told(event))
    except ExchangeError as error:
        return found, error
    return found, None


def test_a_member_ends_with_an_error():
    """It is raised once, behind the last event of that member, and who goes on reading gets what the others have."""
    a, b = too_slow(), made("B")
    merged = merge(a, b)
    put(b, *range(1, 6))
    first, error = until_raised(merged)
    closed = merged.closed
    b.finish()
    assert (["A1", "B1", "A2", "B2"], ConsumerTooSlow, 1) == (first, type(error), error.dropped)
    assert (False, (["B3", "B4", "B5"], None), True) == (closed, until_raised(merged), merged.closed)
    assert (error, True) == (merged.error, str(error).startswith("tape A: 1 messages did not fit"))


def test_the_last_member_ends_with_an_error():
    """The error comes before the end."""
    merged = merge(too_slow())
    first, error = until_raised(merged)
    assert (["A1", "A2"], ConsumerTooSlow, ([], None)) == (first, type(error), until_raised(merged))


def test_one_error_of_several_members():
    """A connection that ends takes several members with it: each is named, with all that the error tells."""
    cause = OSError("no route")
    failed = ConnectFailed("public #1: gave up", status=503)
    failed.__cause__ = cause
    mine = members("AB")
    merged = merge(*mine)
    for subscription in mine:
        subscription.end(failed)
    errors = [until_raised(merged)[1] for _ in range(3)]
    assert ["tape A: public #1: gave up", "tape B: public #1: gave up", "None"] == [str(error) for error in errors]
    assert [(503, cause), (503, cause)] == [(error.status, error.__cause__) for error in errors[:2]]
    assert ("public #1: gave up", failed) == (str(failed), mine[0].error)


@pytest.mark.parametrize(
    "error",
    [SubscriptionRejected("no", code=7, message="m", topic="t"), UsageError("odd"), ConsumerTooSlow("full", dropped=3)],
)
def test_every_error_can_be_named(error):
    """Its kind and what it tells beside the text stay."""
    a = made("A")
    a.end(error)
    with pytest.raises(type(error)) as caught:
        merge(a, made("B")).get()
    assert (f"tape A: {error}", vars(error)) == (str(caught.value), vars(caught.value))


@pytest.mark.parametrize("call", ["get_many", "collect"])
def test_lists_lose_neither_events_nor_errors(call):
    """An error behind events that were read already is raised by the next call, even if nothing else is left."""
    merged = merge(too_slow(), made("B"))
    read = {"get_many": merged.get_many, "collect": lambda: merged.collect(99)}[call]
    merged.subscriptions[1].finish()
    first, closed = read(), merged.closed
    with pytest.raises(ConsumerTooSlow):
        read()
    assert (["A1", "A2"], False, True) == ([told(event) for event in first], closed, merged.closed)


def test_an_error_that_was_put_back_wakes():
    """Another thread that waits gets the error which a list has left."""
    a, b = members("AB", clock=SystemClock())
    merged = merge(a, b)
    put(a, 1)
    a.end(ConnectFailed("gave up"))
    merged.get_many()
    found = readable(merged), until_raised(merged)[1]
    assert (True, ConnectFailed, False) == (found[0], type(found[1]), readable(merged))


def test_close_before_the_error_was_raised():
    """After a close it is the member that raises its error, to whom reads it."""
    a = too_slow()
    merged = merge(a, made("B"))
    merged.collect(3, 0.0)
    merged.close()
    with pytest.raises(ConsumerTooSlow):
        a.get()
    with pytest.raises(SubscriptionClosed):
        merged.get()


def test_call(caplog):
    """A callback gets the events of all members; an error of one is logged and kept, and the others go on."""
    caplog.set_level(logging.ERROR)
    a, b = too_slow(), made("B")
    merged = merge(a, b)
    told_of: queue.SimpleQueue[str] = queue.SimpleQueue()
    merged.call(lambda event: told_of.put(told(event)))
    found = [told_of.get(timeout=LIMIT_S) for _ in range(2)]
    put(b, 1)
    found.append(told_of.get(timeout=LIMIT_S))
    b.end(ConnectFailed("gave up"))
    merged._caller.join(LIMIT_S)
    assert (["A1", "A2", "B1"], "tape B: gave up") == (found, str(merged.error))
    name, logged = "merge of tape A and 1 more", [record.getMessage() for record in caplog.records]
    expected = [f"{name}: goes on without one: tape A", f"{name}: ended: tape B"]
    assert expected == [":".join(line.split(":")[:3]) for line in logged]


def test_close_ends_call():
    """Closing ends the thread of `call`, also from its callback, and members go on."""
    a, b = members("AB")
    for closing in (True, False):
        merged = merge(a, b)
        done: queue.SimpleQueue[str] = queue.SimpleQueue()

        def callback(event: Any, merged: Any = merged, done: Any = done, closing: bool = closing) -> None:
            if closing:
                merged.close()
            done.put(told(event))

        put(a, 1, 2)
        merged.call(callback)
        first = done.get(timeout=LIMIT_S)
        merged.close()
        merged._caller.join(LIMIT_S)
        assert ("A1", False, False) == (first, merged._caller.is_alive(), a.closed)
        drained(a)


# Ctrl-C ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["get", "get_many", "__next__"])
def test_interrupted_wait(call):
    """Ctrl-C where the main thread waits ends the call, and the stream can be read on."""

    class Clock(SystemClock):
        def wait(self, condition: Any, timeout: float | None) -> bool:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not interrupted")

    mine = members("AB", clock=Clock())
    merged = merge(*mine)
    with pytest.raises(KeyboardInterrupt):
        getattr(merged, call)()
    put(mine[1], 1)
    assert "B1" == told(merged.get())


def interrupted_at(line: int, merged: Any) -> tuple[list[str], list[str], bool]:
    """Read *merged* to its end with Ctrl-C before that line of the merging code: events, errors, whether it came so far."""
    events: list[str] = []
    errors: list[str] = []
    lines = 0

    def trace(frame: Any, kind: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != merging.__file__ or frame.f_code.co_name == "__del__":  # of a former one
            return None
        # A tracer is also called before a with-statement's way out, where no signal's function is: the lock would stay taken.
        if kind == "line" and not linecache.getline(merging.__file__, frame.f_lineno).lstrip().startswith("with "):
            lines += 1
            if lines == line:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        while True:
            try:
                events.append(told(merged.get(0.0)))
            except KeyboardInterrupt:
                sys.settrace(None)
            except UpdateTimeout:
                errors.append("nothing, and no end")
                break
            except SubscriptionClosed:
                break
            except ExchangeError as error:
                errors.append(type(error).__name__)
    finally:
        sys.settrace(former)
    return events, errors, lines >= line


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a tracer meets no signal's places on a with-statement's way out here")
def test_interrupted_anywhere():
    """Ctrl-C at any line of the merging code costs no event, no error and no end."""
    line, reached = 0, True
    while reached:
        line += 1
        a, b = too_slow(), made("B")
        put(b, 1)
        b.finish()
        events, errors, reached = interrupted_at(line, merge(a, b))
        # At one line the error is known to be raised and is not yet: then `error` has it.
        assert (["A1", "A2", "B1"], True) == (sorted(events), set(errors) <= {"ConsumerTooSlow"}), line
    assert line > 50


# What it is ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "refused"),
    [
        (lambda a, b: (), "there is none"),
        (lambda a, b: (a, b, a), "tape A is there twice"),
        (lambda a, b: (a, "trades"), "not 'trades'"),
        (lambda a, b: ([a, b],), r"not \[<Subscription"),
        (lambda a, b: (merge(a), b), r"give it that one's members, \*merged.subscriptions"),
    ],
)
def test_senseless_members(given_, refused):
    """What cannot be merged is refused by the name of what it takes; the others are left as they are."""
    a, b = members("AB")
    with pytest.raises(UsageError, match=f"merge: takes the subscriptions that a client's subscribe returns, .*{refused}"):
        merge(*given_(a, b))
    collect()
    assert 0 == len([known for known in a._signals if known() is not None])


def test_members_of_a_merged_stream():
    """A merged stream's members can be merged with others."""
    a, b, c = members("ABC")
    merged = merge(*merge(a, b).subscriptions, c)
    assert ((a, b, c), ("tape A", "tape B", "tape C")) == (merged.subscriptions, merged.topics)


def test_facts():
    """What it tells of its members."""
    a, b, c = made("A", queue_size=2), made("B"), made("C")
    merged = merge(a, b, c)
    before = merged.latest, merged.gaps, merged.sub_ids
    put(a, 1, 2, 3)
    b.joined_late(SOURCE, (), 5 * SECOND)
    a.joined_late(SOURCE, (), 9 * SECOND)
    b.put(SOURCE, [push("tape B", 4)], 7 * SECOND)
    put(c, 5)
    assert (None, [], ()) == before
    assert ("B4", 4, 1) == (told(merged.latest), merged.qsize(), merged.dropped)
    assert [("overflow", 1.0), ("joined late", 5.0), ("joined late", 9.0)] == [(gap.reason, gap.since) for gap in merged.gaps]
    shown = repr(merged), repr(merge(c))
    merged.close()
    assert "<Merged tape A, tape B, tape C: 4 waiting, 1 dropped>" == shown[0]
    assert "<Merged tape A, tape B, tape C: closed, 4 waiting, 1 dropped>" == repr(merged)
    assert ("<Merged tape C: 1 waiting, 0 dropped>", "merge of tape C") == (shown[1], merge(c).name)


def test_gaps_are_items_of_who_wants_them():
    """A member with gaps=True gives its gaps here too; elsewhere the next event carries it."""
    a, b = made("A", gaps=True), made("B")
    merged = merge(a, b)
    for subscription in (a, b):
        subscription.joined_late(SOURCE, (), SECOND)
        put(subscription, 1)
    gap, of_b, of_a = merged.get_many()
    assert (Gap, "B1", "joined late", "A1") == (type(gap), told(of_b), of_b.gap.reason, told(of_a))


def test_latest_wins():
    """Members keep their overflow policies."""
    a, b = made("A", overflow=LATEST), made("B")
    merged = merge(a, b)
    put(a, 1, 2, 3)
    put(b, 1, 2)
    assert ["A3", "B1", "B2"] == drained(merged)


def test_raw():
    """Members may give the vendor's JSON; a table of that cannot be made."""
    pytest.importorskip("pandas")
    merged = merge(made("A"), made("B", raw=True))
    put(merged.subscriptions[1], 1)
    with pytest.raises(UsageError, match="raw=True"):
        merged.to_dataframe(1)
    assert {"of": "tape B", "n": [1]} == merged.get()


def test_to_dataframe():
    """A table of the events of all members."""
    pytest.importorskip("pandas")
    a, b = members("AB")
    put(a, 1)
    put(b, 2)
    assert [("A", 1), ("B", 2)] == list(merge(a, b).to_dataframe(2)[["symbol", "id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_copies(copied):
    """It cannot be copied or pickled, and says so."""
    with pytest.raises(TypeError, match="merge of tape A: cannot be copied"):
        copied(merge(made("A")))


def test_public_names():
    """The package gives both names, and lists them."""
    assert (merging.merge, merging.Merged) == (exchange_ws.merge, exchange_ws.Merged)
    assert {"merge", "Merged"} <= set(dir(exchange_ws))


# Garbage ---------------------------------------------------------------------------------------------------------------------


def test_forgotten():
    """A merged stream that nobody has any more is gone at once, with its descriptor, and members do not notice."""
    a, b = members("AB")
    gc.disable()
    try:
        merged = merge(a, b)
        put(a, 1)
        descriptor, reference = merged.fileno(), weakref.ref(merged)
        del merged
        gone = reference()
    finally:
        gc.enable()
    with pytest.raises(OSError) as caught:
        os.fstat(descriptor)
    put(a, 2)
    a.finish()
    assert (None, errno.EBADF, ["A1", "A2"]) == (gone, caught.value.errno, drained(a))


@pytest.mark.parametrize("end", ["close", "forget"])
def test_many_merges(end):
    """However many merged streams a subscription has been in, nothing of them is left in it."""
    a, b = members("AB")
    for _ in range(1000):
        merged = merge(a, b)
        if end == "close":
            merged.close()
        del merged
    assert max(len(a._signals), len(b._signals)) <= 1
    put(a, 1)
    assert "A1" == told(merge(a, b).get_nowait())


def test_members_that_have_parted_tell_nobody():
    """A member that was read to its end, and members after a close, keep nothing of the merged stream."""
    a, b = members("AB")
    merged = merge(a, b)
    a.finish()
    drained(merged)
    left = len(a._signals), len(b._signals)
    merged.close()
    assert ((0, 1), 0) == (left, len(b._signals))


# fileno ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
@UNHURRIED
@given(LIVES)
def test_fileno(early, life):
    """The descriptor is readable exactly while one of the members' is, whoever reads them, and after the end."""
    mine = members("ABC", queue_size=4)
    merged = merge(*mine)
    for stream in [merged, *mine] if early else mine:
        stream.fileno()
    for what, number, more in life:
        one = mine[number % 3]
        if what == "put":
            put(one, *range(more))
        elif what == "many":
            one.put(SOURCE, [push(one.name, *range(more))], SECOND)
        elif what == "unreadable":
            one.put(SOURCE, [push(one.name)], SECOND)
        elif what == "stated":
            one.stated(SOURCE, one.wanted, SECOND)
        elif what in ("take", "direct"):
            stream = merged if what == "take" else one
            for _ in range(more):
                try:
                    stream.get_nowait()
                except UpdateTimeout:
                    break
        if early:
            assert any(readable(member) for member in mine) == readable(merged)
    assert any(readable(member) for member in mine) == readable(merged)
    drained(merged)
    found = [readable(merged)]
    for one in mine:
        one.finish()
    found.append(readable(merged))
    assert ([], [False, True], True) == (drained(merged), found, readable(merged))


def test_fileno_after_a_close():
    """A close makes it readable, so that a loop looks and learns of it."""
    merged = merge(*members("AB"))
    before = readable(merged)
    merged.close()
    assert (False, True) == (before, readable(merged))


def test_fileno_while_drained(restless):
    """What comes while another is being read is never overlooked, and nothing is left to see when all was read."""
    mine = members("AB")
    merged = merge(*mine)
    descriptor = merged.fileno()

    def feed(subscription: Subscription) -> None:
        for number in range(300):
            put(subscription, number)

    feeding = [Aside(feed, subscription) for subscription in mine]
    found: list[str] = []
    while len(found) < 600:
        assert select.select([descriptor], [], [], LIMIT_S)[0], "it waits for what is there"
        found += drained(merged)
    for each in feeding:
        each.result()
    assert (False, 600) == (readable(merged), len(set(found)))
