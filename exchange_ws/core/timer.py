"""One thread that knows when something is due."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
from typing import Protocol

from exchange_ws.clock import Clock

__all__ = ["Ticking", "Timer"]

log = logging.getLogger(__name__)

RETRY_S = 1.0  # after an error of ours in a tick: the others must go on, and this one may


class Ticking(Protocol):
    """What a timer drives."""

    def tick(self) -> float:
        """Do what is due, waiting for nothing; returns the next moment (the clock's), infinity for none."""


class Timer:
    """
    Calls `tick` of each entry when it is due, on one thread of its own, which is there while anything is scheduled.

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
            if self._moments.pop(entry, None) is not None and not self._moments:
                self._due.notify()

    def close(self, timeout: float) -> None:
        """End the thread, and wait for it at most *timeout* seconds, unless it is this one."""
        with self._guard:
            self._closed = True
            self._moments.clear()
            self._due.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _schedule(self, entry: Ticking, due: float) -> None:
        """Requires `_guard`."""
        if self._closed or due == math.inf or self._moments.get(entry, math.inf) <= due:
            return
        self._moments[entry] = due
        first = not self._heap or due < self._heap[0][0]
        heapq.heappush(self._heap, (due, next(self._numbers), entry))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        elif first:
            self._due.notify()

    def _run(self) -> None:
        while True:
            entry = self._next()
            if entry is None:
                return
            try:
                due = entry.tick()
            except Exception:
                log.exception("a bug of this package: a tick of %r raised; trying again", entry)
                due = self._clock.now() + RETRY_S
            with self._guard:
                if self._ticking is entry:
                    self._schedule(entry, due)
                self._ticking = None

    def _next(self) -> Ticking | None:
        """Wait for the next entry that is due; None when there is none or all is closed, and this thread ends."""
        with self._guard:
            while not self._closed:
                while self._heap and self._moments.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)
                if not self._heap:
                    break
                due, _, entry = self._heap[0]
                wait = due - self._clock.now()
                if wait > 0:
                    self._clock.wait(self._due, wait)
                    continue
                heapq.heappop(self._heap)
                del self._moments[entry]
                self._ticking = entry
                return entry
            self._thread = None
            return None
