"""What threads wait at."""

from __future__ import annotations

from held_clock import LIMIT_S, Aside

from exchange_ws.clock import Latch, SystemClock


def test_latch():
    """A latch lets one thread through for any number of times that it was opened, be it before it was waited at."""
    latch = Latch()
    before = latch.wait(0.0)
    latch.open()
    latch.open()
    assert (False, True, False) == (before, latch.wait(LIMIT_S), latch.wait(0.0))


def test_latch_opened_by_another_thread():
    """Who waits at a latch, with a limit or without, goes on when another thread opens it."""
    for timeout in (None, LIMIT_S, 1e12):
        latch = Latch()
        waiting = Aside(SystemClock().wait, latch, timeout)
        latch.open()
        assert waiting.result() is True


def test_time_at_a_latch():
    """A wait at a latch that nobody opens ends with its time."""
    assert SystemClock().wait(Latch(), 0.001) is False
