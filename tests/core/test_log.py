"""What is logged: by handlers that ask the client, which must not have to wait for who logs; and without a secret."""

from __future__ import annotations

import logging
import queue
import threading

import pytest
from wire_peers import LIMIT_S

from exchange_ws import Backoff
from exchange_ws.sandbox import Sandbox


class Asking(logging.Handler):
    """A user's handler that looks at the client whenever something is logged, and keeps what was."""

    def __init__(self, client):
        super().__init__(logging.DEBUG)
        self._client = client
        self._lines = queue.SimpleQueue()
        self._seen = []

    def emit(self, record):
        self._client.stats(), self._client.state, repr(self._client)
        for subscription in self._client.subscriptions:
            subscription.stats(), subscription.gaps, subscription.latest, subscription.sub_ids, repr(subscription)
        self._lines.put(record.getMessage())

    def wait(self, text):
        """Until a line with *text* was written, earlier or now."""
        while not any(text in line for line in self._seen):
            self._seen.append(self._lines.get(timeout=LIMIT_S))


@pytest.fixture
def package_log():
    """The package's logger, at its lowest level."""
    log = logging.getLogger("exchange_ws")
    level = log.level
    log.setLevel(logging.DEBUG)
    yield log
    log.setLevel(level)


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=5, tick=None, limits=False) as box:
        yield box


def test_handler_that_asks_the_client(box, package_log):
    """Whatever is logged, and by whichever thread, a handler may ask the client and its subscriptions then."""
    with box.client(timeout=LIMIT_S / 2, reconnect=Backoff(0.01, 0.02)) as ws:
        handler = Asking(ws)
        package_log.addHandler(handler)
        try:
            ws.subscribe("trades", "BTC_USDT", queue_size=1)
            trades = ws.subscribe("trades", "ETH_USDT")
            ws.ping()
            handler.wait("says ping")
            handler.wait("ping was answered")
            box.garbage()
            handler.wait("not JSON")
            box.push('{"id":null,"method":"trades_update","params":["ETH_USDT",[{"id":"x"}]]}')
            ws.ping()
            trades.collect(1000, 0.001)
            handler.wait("cannot be read")
            box.step(20)
            handler.wait("buffer of 1 full")
            box.push('{"id":4711,"result":null,"error":{"code":1,"message":"odd"}}')
            handler.wait("an error that answers no request")
            box.drop()
            handler.wait("next try in")
            handler.wait("was reconnecting, is open")
            assert ws.ping() < LIMIT_S
        finally:
            package_log.removeHandler(handler)


def test_handler_that_waits_for_the_state(box, package_log):
    """What a handler does when a connection opens does not keep the state's listener from hearing of it."""
    heard, seen = threading.Event(), []

    class Waiting(logging.Handler):
        def emit(self, record):
            if record.getMessage().endswith(": open"):
                seen.append(heard.wait(LIMIT_S))

    handler = Waiting()
    package_log.addHandler(handler)
    ws = box.client(on_state=lambda state: heard.set() if state == "open" else None)
    try:
        ws.ping()  # `with`, as `connect`, would tell the state by itself
    finally:
        ws.close()
        package_log.removeHandler(handler)
    assert [True] == seen
