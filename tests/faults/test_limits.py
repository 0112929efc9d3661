"""The exchanges' limits, against sandboxes that enforce them: however much is asked for, and however often a link is lost."""

from __future__ import annotations

import contextlib
import queue
import threading
from types import SimpleNamespace

import pytest
from exchange_facts import CLIENTS, facts_of, raised
from log_lines import Log
from wire_peers import LIMIT_S

from exchange_ws import Backoff
from exchange_ws.errors import ExchangeError, RequestTimeout
from exchange_ws.sandbox import Sandbox

NAMES = [f"COIN{number}_USDT" for number in range(1000)]
AT_ONCE = Backoff(0.0, 0.0)
LOSSES = 12  # more than Bitzoom takes of connections in a second


@pytest.fixture
def box():
    """WhiteBIT with a thousand markets, which are one by many names."""
    with Sandbox("whitebit", seed=3, tick=None) as box:
        market = box._exchange.names["BTC_USDT"]
        box._call(box._exchange.names.update, dict.fromkeys(NAMES, market))
        yield box


@pytest.fixture
def refused(box, monkeypatch):
    """What the exchange refused for the limit of requests."""
    found = []
    original = box._exchange.too_many
    monkeypatch.setattr(box._exchange, "too_many", lambda state, message: found.append(message) or original(state, message))
    return found


# Requests on a connection -----------------------------------------------------------------------------------------------------


def test_thousand_topics_at_once(box, refused):
    """A thousand markets in one call cost one request, and one more after a loss."""
    with box.client(reconnect=AT_ONCE) as ws:
        subscription = ws.subscribe("lastprice", *NAMES)
        box.drop()
        box.wait_received("lastprice_subscribe", 2)
        ws.connect()
        assert (1000, [], 2) == (len(subscription.topics), refused, len(box.received))


def test_hundreds_of_subscribes_at_once(box, refused):
    """Twice as many subscribes as a minute has requests, from twenty threads, are confirmed, and none is too many."""
    names = NAMES[:400]
    told = queue.SimpleQueue()

    def run(names):
        try:
            for name in names:
                told.put(ws.subscribe("lastprice", name).topics)
        except ExchangeError as error:
            told.put(error)

    with box.client() as ws:
        threads = [threading.Thread(target=run, args=(names[first::20],)) for first in range(20)]
        for thread in threads:
            thread.start()
        assert {(f"lastprice {name}",) for name in names} == {told.get(timeout=LIMIT_S) for _ in names}
        for thread in threads:
            thread.join()
        assert ([], len(names)) == (refused, ws.stats()["subscriptions"])


def test_subscribes_one_by_one(box, refused):
    """One after the other they cost a request each; beyond what one connection may ask for in a minute another takes over."""
    with box.client() as ws:
        for name in NAMES[:250]:
            ws.subscribe("lastprice", name)
        again = ws.subscribe("lastprice", NAMES[-1], NAMES[0])
        assert ([], 2, 251) == (refused, box.connections, len(box.received))
        again.unsubscribe()
        assert 252 == len(box.received), "the market that was subscribed before is not stated a second time"


# New connections, and logins --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_dials_of_a_thousand_losses(name):
    """
    However fast links are lost, no window of the exchange has more connections than it allows, nor more logins.

    Each endpoint takes a turn, as often as it may, by a clock that jumps to the next moment at which one may.
    """
    with Sandbox(name, tick=None) as box, contextlib.closing(box.client()) as ws:
        now = 100.0
        ws_clock = SimpleNamespace(now=lambda: now)
        made = {}
        logins = []
        for where, endpoint in ws._endpoints.items():
            ws._dials[where]._clock = ws_clock
            made.setdefault(endpoint.url, [])
        for _ in range(1000):
            dues = []
            for where, endpoint in ws._endpoints.items():
                due = ws._dials[where].take(logs_in=endpoint.login is not None)
                if due <= now:
                    made[endpoint.url].append(now)
                    if endpoint.login is not None:
                        ws._dials[where].log_in()
                        logins.append(now)
                dues.append(due)
            now = max(now, min(dues))
        limits = next(iter(ws._endpoints.values())).dialect.limits
        for moments, pace in [*((moments, limits.dials) for moments in made.values()), (logins, limits.logins)]:
            if pace is not None:
                assert len(moments) >= pace.count
                beyond = zip(moments, moments[pace.count :])
                assert [] == [(first, last) for first, last in beyond if last - first <= pace.window_s]


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_losses_in_a_row(name):
    """A link that is lost as soon as it is open, with no pause between two tries: the exchange refuses no connection."""
    words, params = facts_of(name)["topic"]
    with Sandbox(name, tick=None) as box, box.client(reconnect=AT_ONCE) as ws, Log() as log:
        subscription = ws.subscribe(*words, **params)
        for _ in range(LOSSES):
            box.drop()
            said = log.wait("; next try in")
            assert "HTTP 429" not in said
            ws.connect()
        assert (LOSSES, LOSSES, []) == (len(subscription.gaps), ws.stats()["reconnects"], log.rest())


def test_logins_of_a_flapping_link():
    """WhiteBIT gives ten tokens a minute: after ten logins the next waits for its time, and none is refused."""
    with Sandbox("whitebit", tick=None) as box, contextlib.closing(box.client(reconnect=AT_ONCE)) as ws, Log() as log:
        ws.subscribe("balanceSpot", "*")
        for logins in range(2, 12):
            box.drop()
            log.wait("Connection reset by peer; next try in")
            if logins < 11:
                ws.request("balanceSpot_request", [])  # which waits until the connection is open
        error = raised(ws.request, "balanceSpot_request", [], timeout=0.3)
        assert (RequestTimeout, False, "reconnecting") == (type(error), error.sent, ws.state)
        assert ([], 10) == ([line for line in log.rest() if "login" in line], len(box._rest_times))
