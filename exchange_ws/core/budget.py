"""How much may be done now: at most so many things in any window of so many seconds."""

from __future__ import annotations

import math

from exchange_ws.core.messages import Pace

__all__ = ["Budget"]


class Budget:
    """
    A sliding log of the moments at which something was done. Not thread-safe: its owner's lock guards it.

    A log rather than a token bucket, because a bucket that refills allows nearly twice its size in one window, and the
    exchanges count windows.
    """

    __slots__ = ("_done", "_pace")

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._done: list[float] = []  # no deque, which has 0.7 KiB when empty, as most of four a connection are

    def room(self, now: float) -> int:
        """How many things may be done at once now; a large number without a limit."""
        if self._pace is None:
            return 1 << 30
        # The same sum as in `due`: a difference may round the other way, and a timer would spin on the due moment.
        over = 0
        while over < len(self._done) and self._done[over] + self._pace.window_s <= now:
            over += 1
        if over:
            del self._done[:over]
        return self._pace.count - len(self._done)

    def due(self, now: float, reserve: int = 0) -> float:
        """The moment, *now* or later, at which one more thing may be done with *reserve* places left free; infinity: never."""
        room = self.room(now) - reserve
        if room > 0 or self._pace is None:
            return now
        return self._done[-room] + self._pace.window_s if -room < len(self._done) else math.inf

    def take(self, now: float) -> None:
        """Something is done now."""
        if self._pace is not None:
            self._done.append(now)
