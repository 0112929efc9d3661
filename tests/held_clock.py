"""A clock that stands still until a test moves it, and a thread whose result a test waits for."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from exchange_ws.clock import Latch, Waitable

#: Seconds after which a wait is taken for one without end; reached only when something is broken.
LIMIT_S = 20.0


class HeldClock:
    """A clock that stands still until it is moved, and knows who waits for it to move."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all of this; taken after a waiter's own lock, never before it
        self._now = 100.0
        self._waiters: list[Waitable] = []
        self.waits = 0

    def now(self) -> float:
        return self._now

    def time_ns(self) -> int:
        return int(self._now * 1e9)

    def wait(self, condition: Waitable, timeout: float | None) -> bool:
        with self._changed:
            end = math.inf if timeout is None else self._now + timeout
            self._waiters.append(condition)
            self.waits += 1
            self._changed.notify_all()
        woken = condition.wait(LIMIT_S)
        with self._changed:
            self._waiters.remove(condition)
            assert woken, "nobody ended this wait"
            return self._now < end

    def until_waited(self, waits: int) -> None:
        """Wait until there were so many waits, and one of them goes on."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.waits >= waits and self._waiters, LIMIT_S), f"{self.waits} waits"

    def move(self, to: float) -> None:
        """Let it be *to*, and have all waiters look at it."""
        with self._changed:
            self._now = to
            waiters = list(self._waiters)
        for condition in waiters:
            if isinstance(condition, Latch):
                condition.open()
                continue
            with condition:  # a waiter that was counted, but does not wait yet, holds this
                condition.notify_all()


class Aside:
    """A call on a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._function = function
        self._args = args
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function(*self._args)
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        """What the call returned, or raised, once it has."""
        self._thread.join(LIMIT_S)
        assert self.done, f"{self._function} has not ended"
        if self._error is not None:
            raise self._error
        return self._result
