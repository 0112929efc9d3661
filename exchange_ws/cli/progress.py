"""How far a long work is, in one line on a terminal that is written over; nothing at all where stderr is no terminal."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import deque
from typing import Any

__all__ = ["Progress", "Rate", "size_text"]

REDRAW_S = 0.2  # as fast as a number can be read
RATE_WINDOW_S = 3.0  # over which the rate is measured


class Rate:
    """How many a second there were lately."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._came: deque[tuple[float, int]] = deque()  # (monotonic seconds, how many)

    def after(self, number: int) -> float:
        """So many more came; the rate now."""
        now = time.monotonic()
        self._came.append((now, number))
        while self._came[0][0] < now - RATE_WINDOW_S:
            self._came.popleft()
        return sum(number for _, number in self._came) / max(1.0, min(RATE_WINDOW_S, now - self._began))


class Progress:
    """
    One line on stderr, taken away at the end.

    Parameters
    ----------
    shown
        False: nothing is written, as where a table stands on the same terminal.
    """

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._drawn = -math.inf
        self._events = 0  # when it was drawn
        self._rate = Rate()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._drawn > -math.inf:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, events: int, text: str) -> None:
        """Draw how many *events* there were, at which rate, and *text*, if it is time to."""
        now = time.monotonic()
        if not self._shown or now < self._drawn + REDRAW_S:
            return
        self._drawn = now
        rate = self._rate.after(events - self._events)
        self._events = events
        line = f"{events} events, {rate:.1f}/s, {text}"
        print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)


def size_text(size: float) -> str:
    """Bytes in a unit that needs few digits."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
