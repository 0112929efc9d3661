"""
The descriptors of subscriptions and merged streams in the loops of others: select and its kin, asyncio, Tk, Qt.

Each loop is told of the descriptor, and calls a function while that is readable. A loop that needs what is not here (a display,
Qt) is skipped, and says so. Tk's loop is run twice: Tcl's own, which needs no display, and that of a window.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from counting_language import COUNTING, push, topic
from displays import display
from held_clock import LIMIT_S, Aside

from exchange_ws import merge
from exchange_ws.clock import SystemClock
from exchange_ws.core.subscription import DROP_OLDEST, Subscription
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout

HERE = Path(__file__).parent
EACH = 200  # events of each subscription

#: Reads something; whether the loop is to go on.
Look = Callable[[], bool]
#: Runs until the function that is called while the descriptor is readable says that it is enough.
Loop = Callable[[int, Look], None]


def ready(wait: Callable[[float], object], look: Look) -> None:
    """A loop whose turn waits at most so many seconds, and gives something false if nothing is readable."""
    going = True
    while going:
        assert wait(LIMIT_S), "it is not readable"
        going = look()


def run_select(descriptor: int, look: Look) -> None:
    ready(lambda seconds: select.select([descriptor], [], [], seconds)[0], look)


def run_poll(descriptor: int, look: Look) -> None:
    if not hasattr(select, "poll"):
        pytest.skip("no poll here")
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ready(lambda seconds: poll.poll(1000 * seconds), look)


def run_epoll(descriptor: int, look: Look) -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    with select.epoll() as epoll:
        epoll.register(descriptor, select.EPOLLIN)
        ready(epoll.poll, look)


def run_selectors(descriptor: int, look: Look) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        ready(selector.select, look)


def run_asyncio(descriptor: int, look: Look) -> None:
    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def readable() -> None:
            if not look():
                loop.remove_reader(descriptor)
                done.set()

        try:
            loop.add_reader(descriptor, readable)
        except NotImplementedError:
            pytest.skip("no add_reader here")
        await asyncio.wait_for(done.wait(), LIMIT_S)

    asyncio.run(main())


def handled(tk: Any, descriptor: int, look: Look, end: Callable[[], object]) -> None:
    """Have Tcl's loop look until that is enough, or it has taken too long; *end* is called then."""
    tkinter = pytest.importorskip("tkinter")
    if not hasattr(tk, "createfilehandler"):
        pytest.skip("no createfilehandler here")

    def readable(*_: object) -> None:
        if not look():
            tk.deletefilehandler(descriptor)
            end()

    tk.createfilehandler(descriptor, tkinter.READABLE, readable)
    tk.createtimerhandler(int(1000 * LIMIT_S), end)


def run_tcl(descriptor: int, look: Look) -> None:
    tkinter = pytest.importorskip("tkinter")
    tk = tkinter.Tcl().tk
    going = [True]
    handled(tk, descriptor, look, going.clear)
    while going:
        tk.dooneevent(0)


def run_tk(descriptor: int, look: Look) -> None:
    tkinter = pytest.importorskip("tkinter")
    window = tkinter.Tk()
    label = tkinter.Label(window, text="waiting")
    label.pack()
    handled(window.tk, descriptor, lambda: (label.config(text="read"), look())[1], window.quit)
    window.mainloop()
    assert "read" == label.cget("text")
    window.destroy()


def run_qt(descriptor: int, look: Look) -> None:
    qt = pytest.importorskip("PySide6.QtCore", reason="no PySide6 here", exc_type=ImportError)
    app = qt.QCoreApplication.instance() or qt.QCoreApplication([])
    notifier = qt.QSocketNotifier(descriptor, qt.QSocketNotifier.Type.Read)

    def readable(*_: object) -> None:
        if not look():
            notifier.setEnabled(False)
            app.quit()

    notifier.activated.connect(readable)
    limit = qt.QTimer(singleShot=True, interval=int(1000 * LIMIT_S))
    limit.timeout.connect(app.quit)
    limit.start()
    app.exec()
    limit.stop()


LOOPS = [run_select, run_poll, run_epoll, run_selectors, run_asyncio, run_tcl, run_qt]


def made(symbol: str) -> Subscription:
    name = f"tape {symbol}"
    return Subscription(
        name,
        [topic(name)],
        COUNTING,
        clock=SystemClock(),
        queue_size=10 * EACH,
        overflow=DROP_OLDEST,
        gaps=False,
        raw=False,
        numbers=Decimal,
        block_limit=LIMIT_S,
        leave=lambda subscription, topics, timeout: subscription.finish(),
        forget=lambda subscription: None,
    )


def check(loop: Loop, stream: str, greedy: bool) -> None:
    """Read a subscription, or two merged ones, in *loop*, all that is there or one event at a time, while threads feed them."""
    members = [made(symbol) for symbol in ("A" if stream == "subscription" else "AB")]
    reading: Any = members[0] if stream == "subscription" else merge(*members)
    found: list[tuple[str, int]] = []
    ended, calls, vain = [], 0, 0

    def look() -> bool:
        nonlocal calls, vain
        calls += 1
        before = len(found)
        try:
            while True:
                event = reading.get_nowait()
                found.append((event.symbol, event.id))
                if not greedy:
                    return True
        except UpdateTimeout:
            vain += len(found) == before
            return True
        except SubscriptionClosed:
            ended.append(True)
            return False

    def feed(subscription: Subscription) -> None:
        for number in range(EACH):
            subscription.put("a connection", [push(subscription.name, number)], time.time_ns())
        subscription.finish()

    descriptor = reading.fileno()
    feeding = [Aside(feed, subscription) for subscription in members]
    try:
        loop(descriptor, look)
    finally:
        for each in feeding:
            each.result()
    for subscription in members:
        symbol = subscription.name[-1]
        assert list(range(EACH)) == [number for of, number in found if of == symbol]
    assert ([True], EACH * len(members)) == (ended, len(found))
    assert (True, True) == (greedy or calls > len(found), vain <= 5)


@pytest.fixture
def restless():
    """Threads take turns far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("greedy", [True, False], ids=["all", "one"])
@pytest.mark.parametrize("stream", ["subscription", "merged"])
@pytest.mark.parametrize("loop", LOOPS, ids=[loop.__name__[4:] for loop in LOOPS])
def test_loop(restless, loop, stream, greedy):
    """
    Whether the function takes all that is there or one event at a time, it gets all of them in order, while other threads put
    them there, and learns of the end. It is called while there is something, and hardly ever in vain.
    """
    check(loop, stream, greedy)


@pytest.mark.parametrize("stream", ["subscription", "merged"])
def test_window(stream):
    """The same in the loop of a window; in a process of its own, since Tk does not survive its display."""
    pytest.importorskip("tkinter")
    paths = os.pathsep.join([str(HERE.parent.parent), str(HERE.parent), str(HERE)])
    with display() as environment:
        ended = subprocess.run(
            [sys.executable, "-c", f"import test_loops as t; t.check(t.run_tk, {stream!r}, False)"],
            env={**environment, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=3 * LIMIT_S,
        )
    assert ("", 0) == (ended.stderr, ended.returncode)
