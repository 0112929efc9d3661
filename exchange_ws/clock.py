"""Time as a dependency: monotonic seconds for waiting, wall nanoseconds for stamping, and deadlines made of the first."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Protocol, Union

from exchange_ws.errors import UsageError

__all__ = ["Clock", "Deadline", "Latch", "SystemClock", "Waitable", "checked_timeout"]

#: Seconds of one wait where an untimed wait cannot be interrupted by Ctrl-C (Windows); elsewhere waits are not sliced.
SLICE_S = 1.0 if os.name == "nt" else None


class Latch:
    """
    What one thread waits at until another one opens it; it is shut again behind who was let through.

    A condition of a single waiter. Opened before he comes, it stays open for him, so it needs no lock that both take: who is
    woken need not take one back, which the other may still have. It is made in 0.2 us and waited at in 0.4; a
    `threading.Condition` takes 2.4 with its lock and 1.4 (CPython 3.11: python -m timeit).
    """

    __slots__ = ("_shut",)

    def __init__(self) -> None:
        self._shut = threading.Lock()  # taken: it is shut
        self._shut.acquire()

    def open(self) -> None:
        """Let him through who waits, or the next one. Any thread, any number of times, with any lock; never waits."""
        try:
            self._shut.release()
        except RuntimeError:
            pass  # it is open

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, at most *timeout* seconds (at most `threading.TIMEOUT_MAX`). False if the time is over."""
        return self._shut.acquire(timeout=-1.0 if timeout is None else timeout)


#: What a thread may wait at.
Waitable = Union[threading.Condition, Latch]


class Clock(Protocol):
    """What the engine asks of time. Tests put a clock here that stands still until it is told to move."""

    def now(self) -> float:
        """Monotonic seconds, from an arbitrary start."""

    def time_ns(self) -> int:
        """Wall time: nanoseconds of Unix time."""

    def wait(self, condition: Waitable, timeout: float | None) -> bool:
        """
        Wait on *condition*, whose lock is held, or at a latch, at most *timeout* seconds; may return early.

        False if the time is over.
        """


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def time_ns(self) -> int:
        return time.time_ns()

    def wait(self, condition: Waitable, timeout: float | None) -> bool:
        longest = threading.TIMEOUT_MAX if SLICE_S is None else SLICE_S
        if timeout is None and SLICE_S is None:
            return condition.wait()
        if timeout is None or timeout > longest:
            condition.wait(longest)
            return True
        return condition.wait(timeout)


class Deadline:
    """A moment by which something has to end; None for *timeout* means never."""

    __slots__ = ("_clock", "at")

    def __init__(self, clock: Clock, timeout: float | None) -> None:
        self._clock = clock
        #: Monotonic seconds of the clock, infinity for never.
        self.at = math.inf if timeout is None else clock.now() + timeout

    def remaining(self) -> float | None:
        """Seconds left, never below 0; None without a limit."""
        return None if self.at == math.inf else max(0.0, self.at - self._clock.now())

    @property
    def over(self) -> bool:
        """Whether the moment has passed."""
        return self.at != math.inf and self._clock.now() >= self.at


def checked_timeout(name: str, value: float | None) -> float | None:
    """*value* if it is a sensible number of seconds (or None), else `UsageError` naming the parameter."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{name}={value!r}: takes seconds, a finite number of 0 or more, or None")
    return float(value)
