"""What the tests of a client's life share: an exchange for each, other Pythons with a deadline, and which threads there are."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from wire_peers import LIMIT_S

import exchange_ws

TESTS = Path(__file__).parent
#: Names of all exchanges.
EXCHANGES = sorted(exchange_ws.clients())
#: Seconds in which something that does not wait is done, on a machine that has other things to do; far below `LIMIT_S`.
SOON_S = 8.0


def facts_of(name: str) -> dict[str, Any]:
    """What this exchange has for the words of the contract's suite."""
    facts: dict[str, Any] = json.loads((TESTS / "contract" / "facts" / f"{name}.json").read_text("utf-8"))
    return facts


def our_threads() -> list[threading.Thread]:
    """Threads of clients, not of sandboxes."""
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("exchange-ws ") and "sandbox" not in thread.name
    ]


def collect() -> None:
    """
    Have the garbage collector come by, for all there is.

    `gc.collect` does nothing, and does not say so, while another thread is in the middle of a collection.
    """
    here, done = threading.get_ident(), threading.Event()

    def note(phase: str, details: dict[str, Any]) -> None:
        if phase == "stop" and details["generation"] == 2 and threading.get_ident() == here:
            done.set()

    end = time.monotonic() + LIMIT_S
    gc.callbacks.append(note)
    try:
        while not done.is_set():
            assert time.monotonic() < end
            gc.collect()
    finally:
        gc.callbacks.remove(note)


def wait_no_threads(within: float = LIMIT_S) -> list[str]:
    """Wait until no client has threads; the names of those that are left after so many seconds."""
    end = time.monotonic() + within
    while threads := our_threads():  # the thread that ends the others may begin while we wait for one of them
        if time.monotonic() > end:
            return [thread.name for thread in threads]
        threads[0].join(0.1)
    return []


class Child:
    """Another Python that runs *source*; its output can be read line by line, and it is killed at the latest with this."""

    def __init__(self, source: str, *arguments: str, flags: tuple[str, ...] = ("-W", "error")) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
            start_new_session=True,  # with its own children, which have its pipes too
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *details: object) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate(timeout=LIMIT_S)

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        """Let it read an empty line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> tuple[list[str], str, int]:
        """The rest of its lines, what it said on stderr, and its exit code."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        return out.splitlines(), err, self.process.returncode
