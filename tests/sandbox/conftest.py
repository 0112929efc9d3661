"""A client that shares nothing with ours, to look at the sandbox with."""

from __future__ import annotations

import itertools
import json

import pytest
import websocket

from exchange_ws.sandbox import Sandbox

#: Seconds for one read; reached only when something is broken.
PATIENCE_S = 20.0


class Peer:
    """One connection by websocket-client. `updates` are those that came before the last answer, parsed, and not taken yet."""

    def __init__(self, url, **options):
        self.ws = websocket.create_connection(url, timeout=PATIENCE_S, **options)
        self.updates = []
        self._ids = itertools.count(1)

    def send(self, method, *params):
        """Send a request; its id."""
        number = next(self._ids)
        self.ws.send(json.dumps({"id": number, "method": method, "params": list(params)}))
        return number

    def read(self):
        """The next message, parsed."""
        return json.loads(self.ws.recv())

    def ask(self, method, *params):
        """Send a request and read on to its answer."""
        number = self.send(method, *params)
        while True:
            message = self.read()
            if message["id"] == number:
                return message
            assert message["id"] is None
            self.updates.append(message)

    def result(self, method, *params):
        """The result of a request that succeeds."""
        answer = self.ask(method, *params)
        assert answer["error"] is None
        return answer["result"]

    def take(self, channel=None):
        """Parameters of all updates sent until now (of one channel), in order; the others are forgotten."""
        self.ask("ping")
        updates, self.updates = self.updates, []
        return [update["params"] for update in updates if channel is None or update["method"] == f"{channel}_update"]


@pytest.fixture
def dial():
    """Makes `Peer` objects, and closes their sockets at the end."""
    peers = []

    def make(url, **options):
        peers.append(Peer(url, **options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.ws.shutdown()


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


@pytest.fixture(scope="module")
def still_box():
    """The same for tests that change nothing in it."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box
