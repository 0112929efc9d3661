"""The log as a user sees it who has configured nothing, for tests that wait for what it says."""

from __future__ import annotations

import contextlib
import logging
import queue
import time

from wire_peers import LIMIT_S


class Log(logging.Handler):
    """Warnings and errors of the package, as they come. A context manager."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Log:
        logging.getLogger("exchange_ws").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("exchange_ws").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(record.getMessage())

    def wait(self, text: str, within: float = LIMIT_S) -> str:
        """The next line with *text* in it; `queue.Empty` if it does not come within so many seconds."""
        end = time.monotonic() + within
        while text not in (line := self._lines.get(timeout=max(0.0, end - time.monotonic()))):
            pass
        return line

    def rest(self) -> list[str]:
        """The lines that nobody has waited for."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._lines.get_nowait())
        return lines
