"""One thread that knows when something is due."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
from collections.abc import Callable, Collection
from typing import Protocol

from exchange_ws.clock import Clock
from exchange_ws.core.errand import join, start

__all__ = ["Ticking", "Timer"]

log = logging.getLogger(__name__)

RETRY_S = 1.0  # after an error of ours in a tick: the others must go on, and this one may
LOOK_S = 5.0  # longest wait, hence the time after a sleep of the machine until it is noticed; a look costs 0.2 ms at most
#: Beyond what was asked for, or beyond the other clock: more than a busy machine holds a thread up, or than a clock is slewed.
SLEPT_S = 3.0
STALE = 64  # moments in the heap that are nobody's any more, beside as many as there are others


class Ticking(Protocol):
    """What a timer drives."""

    def tick(self) -> float:
        """Do what is due, waiting for nothing; returns the next moment (the clock's), infinity for none."""

    def resumed(self) -> float:
        """As `tick`, after a time that nobody saw pass: what is known of the world may be old."""


class Timer:
    """
    Calls `tick` of each entry when it is due, on one thread of its own, which is there while anything is scheduled.

    It also sees that a wait took far longer than it was to take, or that the wall's clock ran away from the other, and calls
    `resumed` of all entries then: the machine slept, the process was stopped, or a clock was set. On Linux a sleep shows on
    the wall's clock only, and nothing that is due is due any earlier for it.

    Threads: anyone schedules; the *timer* ticks, holding nothing.
    """

    def __init__(self, clock: Clock, name: str = "exchange-ws timer") -> None:
        self._clock = clock
        self._name = name
        self._guard = threading.Lock()  # guards everything below; a leaf, taken by itself for the sake of Ctrl-C
        self._due = threading.Condition(self._guard)
        self._moments: dict[Ticking, float] = {}
        self._heap: list[tuple[float, int, Ticking]] = []  # may hold moments that are no longer those of _moments
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._ticking: Ticking | None = None  # whose tick is under way; None once it is forgotten
        self._resumed: list[Ticking] = []  # to be told that time has passed unseen
        self._looked = (0.0, 0.0)  # at both clocks, last; set anew when the thread is started
        self._asked = 0.0  # seconds of the wait since
        self._closed = False

    def schedule(self, entry: Ticking, due: float) -> None:
        """Tick *entry* at *due* or earlier; an earlier moment that was asked for before stays."""
        with self._guard:
            self._schedule(entry, due)

    def forget(self, entry: Ticking) -> None:
        """Tick *entry* no more, a tick that is under way aside."""
        with self._guard:
            if self._ticking is entry:
                self._ticking = None  # what that tick returns is no moment any more
            if entry in self._resumed:
                self._resumed.remove(entry)
            if self._moments.pop(entry, None) is not None and not self._moments:
                self._due.notify()

    def close(self, timeout: float, closing: Collection[threading.Thread] = ()) -> None:
        """End the thread, and wait for it at most *timeout* seconds, unless it is this one, or among *closing*."""
        with self._guard:
            self._closed = True
            self._moments.clear()
            self._resumed.clear()
            self._due.notify()
            thread = self._thread
        if thread is not None:
            join(thread, timeout, closing)

    def _schedule(self, entry: Ticking, due: float) -> None:
        """Requires `_guard`."""
        if self._closed or due == math.inf or self._moments.get(entry, math.inf) <= due:
            return
        self._moments[entry] = due
        first = not self._heap or due < self._heap[0][0]
        if len(self._heap) >= STALE + 2 * len(self._moments):
            # Who is ticked at once, again and again, leaves each time a later moment behind that is not his any more.
            self._heap = [(moment, next(self._numbers), one) for one, moment in self._moments.items() if one is not entry]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, next(self._numbers), entry))
        if self._thread is None:
            self._looked, self._asked = self._clocks(), 0.0
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            if start(thread):  # else who closes at exit does without
                self._thread = thread
        elif first:
            self._due.notify()

    def _run(self) -> None:
        while True:
            turn = self._next()
            if turn is None:
                return
            entry, call = turn
            try:
                due = call()
            except Exception:
                log.exception("a bug of this package: a tick of %r raised; trying again", entry)
                due = self._clock.now() + RETRY_S
            with self._guard:
                if self._ticking is entry:
                    self._schedule(entry, due)
                self._ticking = None

    def _next(self) -> tuple[Ticking, Callable[[], float]] | None:
        """Wait for the next entry whose turn it is; None when there is none or all is closed, and this thread ends."""
        with self._guard:
            while not self._closed:
                now = self._look()
                if self._resumed:
                    # First: what seems overdue is to be judged by who knows that all of us slept.
                    self._ticking = entry = self._resumed.pop(0)
                    return entry, entry.resumed
                while self._heap and self._moments.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)
                if not self._heap:
                    break
                due, _, entry = self._heap[0]
                if due > now:
                    self._asked = min(due - now, LOOK_S)
                    self._clock.wait(self._due, self._asked)
                    continue
                heapq.heappop(self._heap)
                del self._moments[entry]
                self._ticking = entry
                return entry, entry.tick
            self._thread = None
            return None

    def _look(self) -> float:
        """Requires `_guard`. The time; all entries are to be told if more has passed since the last look than can be."""
        before, self._looked = self._looked, self._clocks()
        asked, self._asked = self._asked, 0.0
        passed, by_the_wall = (after - earlier for after, earlier in zip(self._looked, before))
        if passed > asked + SLEPT_S or by_the_wall > passed + SLEPT_S:
            self._resumed.extend(entry for entry in self._moments if entry not in self._resumed)
        return self._looked[0]

    def _clocks(self) -> tuple[float, float]:
        """Seconds by the monotonic clock, and by the wall's."""
        return self._clock.now(), self._clock.time_ns() / 1e9
