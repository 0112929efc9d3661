"""Time as a dependency: monotonic seconds for waiting, wall nanoseconds for stamping, and deadlines made of the first."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Protocol

from exchange_ws.errors import UsageError

__all__ = ["Clock", "Deadline", "SystemClock", "checked_timeout"]

#: Seconds of one wait where an untimed wait cannot be interrupted by Ctrl-C (Windows); elsewhere waits are not sliced.
SLICE_S = 1.0 if os.name == "nt" else None


class Clock(Protocol):
    """What the engine asks of time. Tests put a clock here that stands still until it is told to move."""

    def now(self) -> float:
        """Monotonic seconds, from an arbitrary start."""

    def time_ns(self) -> int:
        """Wall time: nanoseconds of Unix time."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on *condition*, whose lock is held, at most *timeout* seconds; may return early. False if the time is over."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def time_ns(self) -> int:
        return time.time_ns()

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
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
