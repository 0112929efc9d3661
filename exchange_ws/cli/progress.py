"""How far a long work is, in one line on a terminal that is written over; nothing at all where stderr is no terminal."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import deque
from typing import Any

__all__ = ["Progress", "size_text"]

REDRAW_S = 0.2  # as fast as a number can be read
RATE_WINDOW_S = 3.0  # over which the rate is measured


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
        self._counts: deque[tuple[float, int]] = deque()  # (monotonic seconds, count)

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
        self._counts.append((now, events))
        while self._counts[0][0] < now - RATE_WINDOW_S:
            self._counts.popleft()
        began, before = self._counts[0]
        rate = (events - before) / (now - began) if now > began else 0.0
        line = f"{events} events, {rate:.1f}/s, {text}"
        print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)


def size_text(size: float) -> str:
    """Bytes in a unit that needs few digits."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
