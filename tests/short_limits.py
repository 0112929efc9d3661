"""
Short limits for what does not come, in tests that wait until one is over.

As options of a client they would hold for what does come, too, and a busy machine may hold up any thread for a second or more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

_PLACES = {
    "ping_interval": lambda connection: (connection._session, "_ping_interval"),
    "pong_timeout": lambda connection: (connection._session, "_pong_timeout"),
    "write": lambda connection: (connection, "_write_limit"),
}


class _Restorer(logging.Handler):
    """Sets back what was changed as soon as a loss is logged: on the thread that dials again only afterwards."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._former: list[tuple[Any, str, Any]] = []

    def change(self, whose: Any, field: str, value: Any) -> None:
        self._former.append((whose, field, getattr(whose, field)))
        setattr(whose, field, value)

    def emit(self, record: logging.LogRecord) -> None:
        self.restore()

    def restore(self) -> None:
        while self._former:
            setattr(*self._former.pop())


@contextlib.contextmanager
def hurried(*connections: Any, **limits: float) -> Iterator[None]:
    """
    *connections* wait no longer than *limits* (ping_interval, pong_timeout, write), in the block, until the first loss.

    For a moment at which nothing comes any more: before, what is on its way would be late too.
    """
    log = logging.getLogger("exchange_ws.core.connection")
    restorer = _Restorer()
    for connection in connections:
        for name, seconds in limits.items():
            restorer.change(*_PLACES[name](connection), seconds)
    log.addHandler(restorer)
    try:
        for connection in connections:
            connection.nudge()
        yield
    finally:
        log.removeHandler(restorer)
        restorer.restore()


def connections_of(ws: Any) -> list[Any]:
    """The connections of the client *ws*."""
    return [connection for pool in ws._pools.values() for connection in pool]
