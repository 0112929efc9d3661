"""The timer: who is due first ticks first, nothing ticks that need not, and its thread ends."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator

import pytest
from held_clock import LIMIT_S, HeldClock

from exchange_ws.core.timer import LOOK_S, RETRY_S, SLEPT_S, STALE, Timer


class TwoClocks(HeldClock):
    """Its wall's clock may be set apart from the other; it keeps the seconds of each wait."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0  # seconds of the wall's clock before the other; replaced by the test, read by the timer
        self.asked: list[float | None] = []

    def time_ns(self) -> int:
        return super().time_ns() + int(self.ahead * 1e9)

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        self.asked.append(timeout)
        return super().wait(condition, timeout)

    def both(self, now: float, ahead: float) -> None:
        """Let it be *now*, and *ahead* seconds more on the wall; returns once the timer has seen it and waits again."""
        waits = self.waits
        self.ahead = ahead
        self.move(now)
        self.until_waited(waits + 1)


class Log:
    """What ticked when, in order, for a test to wait for."""

    def __init__(self, clock: HeldClock) -> None:
        self._clock = clock
        self._changed = threading.Condition()  # guards the list
        self._ticks: list[tuple[str, float]] = []

    def add(self, name: str) -> None:
        with self._changed:
            self._ticks.append((name, self._clock.now()))
            self._changed.notify_all()

    def first(self, count: int) -> list[tuple[str, float]]:
        """All ticks, once there are so many of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._ticks) >= count, LIMIT_S), f"only {self._ticks}"
            return list(self._ticks)


class Entry:
    """Ticks into a log; each tick gives the next of *moments*, or raises it; then there is none."""

    def __init__(self, name: str, told: Log, *moments: float | Exception) -> None:
        self._name = name
        self._told = told
        self._moments = iter(moments)

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def tick(self) -> float:
        self._told.add(self._name)
        moment = next(self._moments, math.inf)
        if isinstance(moment, Exception):
            raise moment
        return moment

    def resumed(self) -> float:
        return math.inf


class Sleeper(Entry):
    """An entry that tells of `resumed` too."""

    def resumed(self) -> float:
        self._told.add(f"{self._name} resumed")
        return math.inf


class Held(Entry):
    """An entry whose tick goes on until it is let go."""

    def __init__(self, name: str, told: Log, *moments: float | Exception) -> None:
        super().__init__(name, told, *moments)
        self.go = threading.Event()

    def tick(self) -> float:
        moment = super().tick()
        assert self.go.wait(LIMIT_S)
        return moment


@pytest.fixture
def clock() -> TwoClocks:
    return TwoClocks()


@pytest.fixture
def told(clock: HeldClock) -> Log:
    return Log(clock)


@pytest.fixture
def timer(clock: HeldClock) -> Iterator[Timer]:
    timer = Timer(clock, "the timer of this test")
    yield timer
    timer.close(LIMIT_S)


def threads() -> list[threading.Thread]:
    """The timer's threads that live."""
    return [thread for thread in threading.enumerate() if thread.name == "the timer of this test"]


def test_order(timer, clock, told):
    """Entries tick in the order in which they are due, whatever the order in which they were scheduled; none before."""
    timer.schedule(Entry("nobody", told), 1000.0)
    clock.until_waited(1)
    for name, due in [("third", 103.0), ("first", 101.0), ("second", 102.0), ("at the same time", 103.0)]:
        timer.schedule(Entry(name, told), due)
    for now in (101.0, 102.0, 103.0):
        waits = clock.waits
        clock.move(now)
        clock.until_waited(waits + 1)
    expected = [("first", 101.0), ("second", 102.0), ("third", 103.0), ("at the same time", 103.0)]
    assert expected == told.first(4)


def test_earlier_wins(timer, clock, told):
    """Scheduled twice, an entry ticks once, at the earlier of both moments; the later one is no moment of its own."""
    entry = Entry("entry", told)
    timer.schedule(Entry("last", told), 110.0)
    clock.until_waited(1)
    timer.schedule(entry, 105.0)
    timer.schedule(entry, 102.0)
    timer.schedule(entry, 109.0)
    clock.until_waited(2)
    clock.move(102.0)
    told.first(1)
    clock.until_waited(3)
    clock.move(110.0)
    assert [("entry", 102.0), ("last", 110.0)] == told.first(2)


def test_wakes_for_the_new_first(timer, clock, told):
    """A moment before all others is kept although the thread waits for a later one."""
    timer.schedule(Entry("late", told), 200.0)
    clock.until_waited(1)
    timer.schedule(Entry("now", told), 100.0)
    assert [("now", 100.0)] == told.first(1)


def test_earlier_moments_pile_up_nowhere(timer, clock, told):
    """However often entries are asked for earlier than before, what is kept is bounded, and who is due first ticks first."""
    first, second = Entry("first", told), Entry("second", told)
    for step in range(10_000):
        timer.schedule(first, 30_000.0 - step)
        timer.schedule(second, 40_000.0 - step)
    assert len(timer._heap) <= STALE + 2 * 2
    clock.until_waited(1)
    clock.move(20_001.0)
    assert [("first", 20_001.0)] == told.first(1)
    clock.move(30_001.0)
    assert [("first", 20_001.0), ("second", 30_001.0)] == told.first(2)


def test_sleeps_for_those_behind(timer, clock, told):
    """What is due after the first wakes nobody."""
    timer.schedule(Entry("first", told), 101.0)
    clock.until_waited(1)
    for due in (102.0, 103.0, 101.0):
        timer.schedule(Entry("behind", told), due)
    clock.move(101.0)
    told.first(2)
    clock.until_waited(2)
    assert 2 == clock.waits


def test_tick_reschedules(timer, clock, told):
    """What a tick returns is when the entry is due again; infinity is never, and the thread ends."""
    timer.schedule(Entry("entry", told, 104.0, 107.0), 101.0)
    for count, now in enumerate((101.0, 104.0, 107.0), 1):
        clock.until_waited(count)
        clock.move(now)
        told.first(count)
    for thread in threads():
        thread.join(LIMIT_S)
    assert ([("entry", 101.0), ("entry", 104.0), ("entry", 107.0)], []) == (told.first(3), threads())


def test_schedule_while_it_ticks(timer, clock, told):
    """A moment asked for during the tick is kept, if it is earlier than what the tick returns."""
    entry = Held("entry", told, 150.0)
    timer.schedule(entry, 100.0)
    told.first(1)
    timer.schedule(entry, 120.0)
    entry.go.set()
    clock.until_waited(1)
    clock.move(120.0)
    assert [("entry", 100.0), ("entry", 120.0)] == told.first(2)


def test_thread_comes_back(timer, clock, told):
    """After the last entry the thread is gone; another entry has another one."""
    timer.schedule(Entry("first", told), 100.0)
    told.first(1)
    for thread in threads():
        thread.join(LIMIT_S)
    gone = threads()
    timer.schedule(Entry("second", told), 100.0)
    assert ([], [("first", 100.0), ("second", 100.0)]) == (gone, told.first(2))


def test_infinity(timer, told):
    """Never is no moment: nothing is started for it."""
    timer.schedule(Entry("entry", told), math.inf)
    assert [] == threads()


def test_forget(timer, clock, told):
    """Who is forgotten ticks no more, others do."""
    forgotten = Entry("forgotten", told)
    timer.schedule(forgotten, 101.0)
    timer.schedule(Entry("other", told), 102.0)
    clock.until_waited(1)
    timer.forget(forgotten)
    clock.move(102.0)
    assert [("other", 102.0)] == told.first(1)


def test_forget_and_schedule(timer, clock, told):
    """Who was forgotten and is scheduled anew ticks at the new moment only, once."""
    entry = Entry("entry", told)
    timer.schedule(entry, 101.0)
    clock.until_waited(1)
    timer.forget(entry)
    timer.schedule(entry, 105.0)
    timer.schedule(Entry("last", told), 106.0)
    waits = clock.waits
    clock.move(101.0)
    clock.until_waited(waits + 1)
    clock.move(105.0)
    told.first(1)
    clock.move(106.0)
    assert [("entry", 105.0), ("last", 106.0)] == told.first(2)


def test_forget_while_it_ticks(timer, clock, told):
    """Who is forgotten during its tick ticks no more, whatever that tick returns."""
    entry = Held("entry", told, 101.0)
    timer.schedule(entry, 100.0)
    timer.schedule(Entry("last", told), 102.0)
    told.first(1)
    timer.forget(entry)
    entry.go.set()
    clock.until_waited(1)
    clock.move(102.0)
    assert [("entry", 100.0), ("last", 102.0)] == told.first(2)


def test_forget_and_schedule_while_it_ticks(timer, clock, told):
    """Who is scheduled anew after it was forgotten, all during its tick, keeps the new moment, and that alone."""
    entry = Held("entry", told, 101.0)
    timer.schedule(entry, 100.0)
    timer.schedule(Entry("last", told), 106.0)
    told.first(1)
    timer.forget(entry)
    timer.schedule(entry, 105.0)
    entry.go.set()
    clock.until_waited(1)
    clock.move(105.0)
    told.first(2)
    clock.move(106.0)
    assert [("entry", 100.0), ("entry", 105.0), ("last", 106.0)] == told.first(3)


def test_forget_the_last(timer, clock, told):
    """With the last entry forgotten there is nothing to wait for, and the thread ends."""
    entry = Entry("entry", told)
    timer.schedule(entry, 200.0)
    clock.until_waited(1)
    timer.forget(entry)
    for thread in threads():
        thread.join(LIMIT_S / 4)  # the clock gives up after the whole of it
    assert [] == threads()


def test_error(timer, clock, told, caplog):
    """A tick that raises is logged, and tried again a little later; the others go on meanwhile."""
    with caplog.at_level(logging.ERROR):
        timer.schedule(Entry("broken", told, ZeroDivisionError("a test"), math.inf), 101.0)
        timer.schedule(Entry("other", told, 101.5), 101.0)
        clock.until_waited(1)
        for count, now in [(2, 101.0), (3, 101.5), (4, 101.0 + RETRY_S)]:
            waits = clock.waits
            clock.move(now)
            told.first(count)
            if count < 4:
                clock.until_waited(waits + 1)
    expected = [("broken", 101.0), ("other", 101.0), ("other", 101.5), ("broken", 101.0 + RETRY_S)]
    assert (expected, 1, ZeroDivisionError) == (told.first(4), len(caplog.records), caplog.records[0].exc_info[0])


def test_no_busy_loop(timer, clock, told):
    """Between two ticks there is one wait: the thread does not look again before something is due."""
    timer.schedule(Entry("entry", told, *(101.0 + n for n in range(1, 50))), 101.0)
    for n in range(50):
        clock.until_waited(n + 1)
        clock.move(101.0 + n)
        told.first(n + 1)
    for thread in threads():
        thread.join(LIMIT_S)
    assert (50, 50) == (clock.waits, len(told.first(50)))


def test_close(timer, clock, told):
    """`close` ends the wait and the thread; twice is allowed, and what is scheduled later never ticks and starts nothing."""
    timer.schedule(Entry("entry", told), 101.0)
    clock.until_waited(1)
    timer.close(LIMIT_S)
    timer.close(LIMIT_S)
    timer.schedule(Entry("late", told), 100.0)
    assert ([], []) == (threads(), told.first(0))


def test_close_unused(timer):
    """A timer that never had anything to do closes all the same."""
    timer.close(LIMIT_S)
    assert [] == threads()


def test_close_waits_for_the_tick(timer, clock, told):
    """`close` on another thread returns when the tick that is under way is over, and that is the last one."""
    entry = Held("entry", told, 100.0)
    timer.schedule(entry, 100.0)
    told.first(1)
    closer = threading.Thread(target=timer.close, args=(LIMIT_S,), daemon=True)
    closer.start()
    timer.close(0.0)  # does not wait, and comes to the same
    still = closer.is_alive()
    entry.go.set()
    closer.join(LIMIT_S)
    assert (True, False, [], [("entry", 100.0)]) == (still, closer.is_alive(), threads(), told.first(1))


def test_close_from_a_tick(clock, told):
    """A tick may close its own timer: it is not waited for, and is the last."""
    timer = Timer(clock, "the timer of this test")

    class Closing(Entry):
        def tick(self) -> float:
            timer.close(LIMIT_S)
            return super().tick()

    timer.schedule(Closing("closing", told, 100.0), 100.0)
    ticked = told.first(1)
    for thread in threads():
        thread.join(LIMIT_S)
    assert ([("closing", 100.0)], [], [("closing", 100.0)]) == (ticked, threads(), told.first(1))


# Sleep -----------------------------------------------------------------------------------------------------------------------


def test_looks_now_and_then(timer, clock, told):
    """However far the next moment is, the clocks are looked at every few seconds; with a nearer one, no more than for that."""
    timer.schedule(Sleeper("far", told), 1000.0)
    clock.until_waited(1)
    timer.schedule(Sleeper("near", told), 101.5)
    clock.until_waited(2)
    assert [LOOK_S, 1.5] == clock.asked


@pytest.mark.parametrize("ahead", [SLEPT_S + 0.1, 3600.0])
def test_machine_slept(timer, clock, told, ahead):
    """The wall's clock ran on without the other: each entry is told so once, and ticks no earlier than it was to."""
    timer.schedule(Sleeper("first", told), 110.0)
    timer.schedule(Sleeper("second", told), 120.0)
    clock.until_waited(1)
    clock.both(102.0, ahead)
    clock.both(104.0, ahead)
    assert ["first resumed", "second resumed"] == sorted(name for name, _ in told.first(0))
    clock.both(110.0, ahead)
    assert [("first", 110.0)] == told.first(3)[2:]


@pytest.mark.parametrize("ahead", [0.0, SLEPT_S - 0.1, -3600.0, -SLEPT_S - LOOK_S])
def test_clock_that_is_no_sign_of_sleep(timer, clock, told, ahead):
    """A wall's clock that is slewed a little or set back tells nobody anything."""
    timer.schedule(Sleeper("entry", told), 1000.0)
    clock.until_waited(1)
    clock.both(104.0, ahead)
    clock.both(108.0, ahead)
    assert [] == told.first(0)


def test_process_was_stopped(timer, clock, told):
    """A wait that took far too long by the monotonic clock is told before what seems overdue ticks."""
    timer.schedule(Sleeper("entry", told), 101.0)
    timer.schedule(Sleeper("other", told), 1000.0)
    clock.until_waited(1)
    clock.both(160.0, 0.0)
    names = [name for name, _ in told.first(3)]
    assert (["entry resumed", "other resumed"], "entry") == (sorted(names[:2]), names[2])


def test_schedule_of_who_is_told(timer, clock, told):
    """What `resumed` returns is a moment as a tick's is: the earlier one of both is kept."""

    class Sooner(Sleeper):
        def resumed(self) -> float:
            return 103.0

    timer.schedule(Sooner("entry", told), 110.0)
    clock.until_waited(1)
    clock.both(102.0, 60.0)
    clock.move(103.0)
    assert [("entry", 103.0)] == told.first(1)


def test_error_of_who_is_told(timer, clock, told, caplog):
    """One that raises is logged, and the others are told all the same."""

    class Broken(Sleeper):
        def resumed(self) -> float:
            raise ZeroDivisionError("a test")

    timer.schedule(Broken("broken", told), 200.0)
    timer.schedule(Sleeper("other", told), 200.0)
    clock.until_waited(1)
    with caplog.at_level(logging.ERROR):
        clock.both(102.0, 60.0)
    assert ([("other resumed", 102.0)], 1) == (told.first(1), len(caplog.records))


def test_forget_who_is_to_be_told(timer, clock, told):
    """Who is forgotten while others are told is not told any more."""
    entries: list[Sleeper] = []

    class Forgetting(Sleeper):
        def resumed(self) -> float:
            for entry in entries:
                if entry is not self:
                    timer.forget(entry)
            return super().resumed()

    entries += [Forgetting("one", told), Forgetting("another", told)]
    for entry in entries:
        timer.schedule(entry, 200.0)
    clock.until_waited(1)
    clock.both(102.0, 60.0)
    assert 1 == len(told.first(1))


def test_thread_that_begins_late(timer, clock, told):
    """Time without anything scheduled is nobody's: a thread that begins after it tells nothing of it."""
    timer.schedule(Sleeper("first", told), 100.0)
    told.first(1)
    for thread in threads():
        thread.join(LIMIT_S)
    clock.move(5000.0)
    timer.schedule(Sleeper("second", told), 5001.0)
    clock.until_waited(1)
    assert [("first", 100.0)] == told.first(1)


def test_no_thread_at_exit(monkeypatch):
    """While the interpreter ends, nothing more is ticked, and who closes then is not troubled; a lack of threads is told."""
    words = ["can't create new thread at interpreter shutdown"]

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError(*words)

    monkeypatch.setattr(threading.Thread, "start", fail)
    clock = HeldClock()
    timer = Timer(clock)
    timer.schedule(Entry("a", Log(clock)), 1.0)
    timer.close(LIMIT_S)
    words[0] = "can't start new thread"
    with pytest.raises(RuntimeError, match="can't start"):
        Timer(clock).schedule(Entry("a", Log(clock)), 1.0)
