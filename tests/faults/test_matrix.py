"""
What goes wrong in networks and at exchanges, over real sockets, for every exchange: what a user sees of it, within how long,
and that all is well again afterwards.

``docs/failures.rst`` tells users the same, row by row; `test_table.py` holds page and suite together. What an exchange has for
the words of this suite stands in ``tests/contract/facts/<name>.json``, beside the contract's:

batches
    Topics that are stated in more than one message after a reconnect.
confirmation
    What the exchange's confirmation of a subscribe has in it, and nothing else that it says.
login tries
    How many logins in a row are refused before a client that was logged in gives up.
long query
    A request in which LONG stands for something longer.

Limits of waits are what the options promise (`pong_timeout`, `timeout`), and `SOON_S` for a machine that has other work to do.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

import attrs
import pytest
import trustme
from exchange_facts import CLIENTS, LONG_S, SOON_S, STEPS, States, facts_of, later, raised, there
from log_lines import Log
from short_limits import connections_of, hurried
from tcp_line import Line
from wire_peers import LIMIT_S

from exchange_ws import Backoff
from exchange_ws.clock import SystemClock
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    RequestTimeout,
)
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.server import Tokens

#: Reconnects are made at once, so that the suite is quick; what the waits between them are, `test_session.py` knows.
SOON = Backoff(0.01, 0.02)
PING_S, PONG_S = 0.2, 0.4  # the heartbeat where a test waits for it
ASKED_S = 0.05  # for an answer that does not come
WRITE_S = 0.3  # `timeout` where a test waits for it
LARGE = "x" * 12_000_000  # more than the kernel's buffers of both sides take
CODES = (1000, 1001, 1008, 1011, 1012, 1013)
REASON = "maintenance"
ENDED = "the peer ended the connection without a close frame"


@functools.cache
def contexts(authority):
    """TLS of a server whose certificate *authority* has issued, and of a client that trusts it."""
    issuer = trustme.CA(organization_name=authority)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issuer.issue_cert("127.0.0.1").configure_cert(server)
    issuer.configure_trust(client)
    return server, client


class Scene:
    """One exchange on loopback, a line to it that can be cut, and its client."""

    def __init__(self, name, secure, authority="ours"):
        self.name = name
        self.facts = facts_of(name)
        self.states = States()
        server_context, self.client_context = contexts(authority) if secure else (None, None)
        self._stack = contextlib.ExitStack()
        self.log = self._stack.enter_context(Log())
        self.box = self._stack.enter_context(Sandbox(name, seed=7, tick=None, limits=False, tls=server_context))

    def close(self):
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def port(self):
        return urlsplit(self.box.url).port

    def line(self):
        """A line to the sandbox."""
        return self._stack.enter_context(Line(self.port))

    def make(self, line=None, host=None, **options):
        """A client, over *line* or by another *host* if told."""
        url = self.box.url
        if line is not None:
            url = re.sub(r":\d+/", f":{line.port}/", url)
        if host is not None:
            url = url.replace("127.0.0.1", host)
        wiring = self.box._exchange.wiring(url, self.box.rest_url, options)
        if host is not None:  # which need not be one that credentials may go to in the clear
            wiring = {key: value for key, value in wiring.items() if "://" in value}
        if self.client_context is not None:
            wiring = {**wiring, "ssl": self.client_context}
        # Without the exchange's limits: they would spread the requests of a test over several connections.
        usual = {"reconnect": SOON, "on_state": self.states, "rate_limit": False}
        ws = CLIENTS[self.name](**{**wiring, **usual, **options})
        self._stack.callback(ws.close)
        return ws

    def subscribe(self, ws, fact="topic", **options):
        words, params = self.facts[fact]
        return ws.subscribe(*words, **params, **options)

    def unanswered(self, ws):
        """A request that the exchange has, and does not answer on this connection; the queue tells what became of it."""
        self.box.delay(LONG_S)
        said = len(self.box.received)
        waiting = later(lambda: ws.request(*self.facts["query"], timeout=LONG_S))
        self.box.wait_received(lambda message: True, said + 1)
        self.box.delay(0)  # for the next connection; answers that wait stay in order
        return waiting

    def recovered(self, ws, subscription):
        """Events flow again, the gap is told with its end, and the counters know."""
        self.states.wait("open")
        there(ws, subscription)
        self.box.step(STEPS)
        assert there(ws, subscription)
        gaps = [gap for gap in subscription.gaps if gap.reason == "reconnect"]
        assert gaps and [] == [gap for gap in gaps if gap.until is None or gap.until < gap.since]
        stats = ws.stats()
        assert (True, len(subscription.gaps), "open") == (stats["reconnects"] >= 1, stats["gaps"], ws.state)
        assert ws.request(*self.facts["query"]) is not None


@pytest.fixture(params=sorted(CLIENTS))
def name(request):
    return request.param


@pytest.fixture
def scene(name):
    scene = Scene(name, False)
    yield scene
    scene.close()


@pytest.fixture(params=[*((name, False) for name in sorted(CLIENTS)), (sorted(CLIENTS)[0], True)], ids=str)
def either(request):
    """Every exchange plain, and one over TLS: that is the same for all."""
    scene = Scene(*request.param)
    yield scene
    scene.close()


@pytest.fixture
def secure():
    """One exchange over TLS."""
    scene = Scene(sorted(CLIENTS)[0], True)
    yield scene
    scene.close()


def pause(line):
    """Seconds of the pause that a log line tells."""
    found = re.search(r"; next try in (\d+\.\d) s$", line)
    assert found, line
    return float(found[1])


def is_lost(scene, ws, subscription, waiting, text, within, code=None):
    """There was a loss: the caller who waits, the state and the log tell it within so many seconds, and it passes."""
    error = waiting.get(timeout=within + SOON_S)
    assert (ConnectionLost, True, code) == (type(error), error.sent, error.close_code)
    assert text in str(error)
    scene.states.wait("reconnecting", SOON_S)
    assert 0.0 <= pause(scene.log.wait(text, SOON_S)) <= SOON.cap
    scene.recovered(ws, subscription)


# An open connection ends ------------------------------------------------------------------------------------------------------


def test_reset(either):
    """A TCP reset is a loss, at once."""
    ws = either.make()
    subscription = either.subscribe(ws)
    waiting = either.unanswered(ws)
    either.box.drop()
    is_lost(either, ws, subscription, waiting, "Connection reset by peer", 0.0)


def test_close_frame(either):
    """A close frame is a loss, at once, whatever its code; code and reason are told."""
    ws = either.make()
    subscription = either.subscribe(ws)
    for code in CODES:
        waiting = either.unanswered(ws)
        either.box.close(code, REASON)
        text = f"the peer closed the connection with code {code}: {REASON}"
        is_lost(either, ws, subscription, waiting, text, 0.0, code)
    assert len(CODES) == len(subscription.gaps) == ws.stats()["reconnects"]


def test_end_without_a_close_frame(either):
    """The end of TCP alone, which other libraries call code 1006, is a loss, at once, and has no code."""
    line = either.line()
    ws = either.make(line)
    subscription = either.subscribe(ws)
    waiting = either.unanswered(ws)
    line.end()
    is_lost(either, ws, subscription, waiting, ENDED, 0.0)


# An open connection falls silent ----------------------------------------------------------------------------------------------


def test_half_open(scene):
    """A peer that vanishes without a word is found by the pong that does not come."""
    ws = scene.make()
    subscription = scene.subscribe(ws)
    waiting = scene.unanswered(ws)
    scene.box.freeze()
    with hurried(*connections_of(ws), ping_interval=PING_S, pong_timeout=PONG_S):
        is_lost(scene, ws, subscription, waiting, "no pong within", PING_S + PONG_S)


def test_stall_in_mid_frame(either):
    """
    A frame, or a TLS record, that comes in part holds nobody up.

    A ping of the user's without an answer makes the client look whether the link lives, before the time of its own has come.
    """
    line = either.line()
    ws = either.make(line, pong_timeout=PONG_S)
    subscription = either.subscribe(ws)
    there(ws, subscription)
    line.hold(after=3)
    either.box.step(STEPS)
    line.wait_held()
    waiting = later(lambda: ws.request(*either.facts["query"], timeout=LONG_S))
    # The second, since the three bytes may be heard only after the first was sent.
    errors = [raised(ws.ping, timeout=ASKED_S) for _ in range(2)]
    assert RequestTimeout is type(errors[0])
    is_lost(either, ws, subscription, waiting, "no pong within", PONG_S)


def test_peer_that_stops_reading(either):
    """A peer that takes nothing for `timeout` while something is to be said is lost; what it says meanwhile is delivered."""
    line = either.line()
    ws = either.make(line)
    subscription = either.subscribe(ws)
    there(ws, subscription)
    arguments = json.loads(json.dumps(either.facts["long query"]).replace("LONG", LARGE))
    line.deafen()
    waiting = later(lambda: ws.request(*arguments, timeout=LONG_S))
    either.box.step(STEPS)
    assert subscription.get(LIMIT_S).gap is None
    with hurried(*connections_of(ws), write=WRITE_S):
        is_lost(either, ws, subscription, waiting, "the peer has read nothing for", WRITE_S)


# No connection can be made ----------------------------------------------------------------------------------------------------


def test_refused_connection(scene):
    """While nobody listens each try fails at once, and there is another after the pause, until somebody does."""
    ws = scene.make()
    subscription = scene.subscribe(ws)
    scene.box.restart(LONG_S)
    for _ in range(3):
        assert 0.0 <= pause(scene.log.wait("the TCP connect failed: Connection refused", SOON_S)) <= SOON.cap
    scene.box.restart()
    scene.recovered(ws, subscription)


def test_unknown_name(scene, monkeypatch):
    """A name without an address: the first dial says so, with the system's words; later ones are repeated until it has one."""
    original = socket.getaddrinfo
    known = threading.Event()

    def getaddrinfo(host, *args, **options):
        if host != "exchange.invalid":
            return original(host, *args, **options)
        if options.get("flags") == socket.AI_NUMERICHOST or not known.is_set():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return original("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    ws = scene.make(host="exchange.invalid")
    text = "no address is known for exchange.invalid: Name or service not known"
    error = raised(ws.connect)
    assert (ConnectFailed, socket.gaierror, True) == (type(error), type(error.__cause__), text in str(error))
    known.set()
    subscription = scene.subscribe(ws)
    known.clear()
    scene.box.drop()
    scene.log.wait(text, SOON_S)
    known.set()
    scene.recovered(ws, subscription)


def test_unknown_authority(secure):
    """A certificate of an authority that is not trusted is refused, at first and at each reconnect."""
    line = secure.line()
    text = "the server's TLS certificate was refused"
    error = raised(secure.make(ssl=ssl.create_default_context()).connect)
    assert (ConnectFailed, ssl.SSLCertVerificationError, True) == (type(error), type(error.__cause__), text in str(error))
    ws = secure.make(line)
    subscription = secure.subscribe(ws)
    with Scene(secure.name, True, "another's") as other:
        line.lead_to(other.port)
        line.end()
        secure.log.wait(text, SOON_S)
        line.lead_to(secure.port)
    secure.recovered(ws, subscription)


def test_wrong_host(secure):
    """A certificate for another host is refused."""
    error = raised(secure.make(host="localhost").connect)
    assert (ConnectFailed, ssl.SSLCertVerificationError) == (type(error), type(error.__cause__))
    assert "the server's TLS certificate was refused: Hostname mismatch" in str(error)


def test_refused_handshake(scene):
    """The first dial tells the status; later ones are repeated, not before the server has asked for, and 10 s after a 429."""
    for status, asked_s, least, most in [
        (403, None, 0.0, SOON.cap),
        (404, None, 0.0, SOON.cap),
        (429, 7, 7.0, 7.0),
        (429, None, 10.0, 10.0),
        (503, None, 0.0, SOON.cap),
        (503, 7, 7.0, 7.0),
    ]:
        refuse = functools.partial(scene.box.refuse, 1, status, [] if asked_s is None else [("Retry-After", str(asked_s))])
        ws = scene.make()
        refuse()
        error = raised(ws.connect)
        assert (ConnectFailed, status, asked_s) == (type(error), error.status, error.retry_after_s)
        subscription = scene.subscribe(ws)
        scene.states.wait("open")
        refuse()
        scene.box.drop()
        line = scene.log.wait(f"the server refused the handshake with HTTP {status}", SOON_S)
        assert least <= pause(line) <= most
        if most == SOON.cap:
            scene.recovered(ws, subscription)
        ws.close()


def test_accepts_and_says_nothing(scene):
    """A server that accepts and says nothing costs `timeout` a dial, the first as every other."""
    line = scene.line()
    line.mute()
    first = scene.make(line, timeout=WRITE_S)
    error = raised(first.connect, LIMIT_S)
    text = f"timed out: the dial may take {WRITE_S:g} s in all"
    assert (ConnectFailed, True) == (type(error), text in str(error))
    first.close()
    line.mute(False)
    ws = scene.make(line)
    subscription = scene.subscribe(ws)
    scene.states.wait("open")
    # Only the dials that nobody answers have so little time: the others may be held up by a busy machine.
    [connection] = connections_of(ws)
    usual, connection._link = connection._link, attrs.evolve(connection._link, timeout=WRITE_S)
    line.mute()
    line.end()
    scene.log.wait(text, WRITE_S + SOON_S)
    line.mute(False)
    connection._link = usual
    scene.recovered(ws, subscription)


# A connection is lost in the middle of something ------------------------------------------------------------------------------


def test_loss_before_the_login_is_answered(scene):
    """The first time who waits is told, at once; later the login is made again on the next connection."""
    ws = scene.make()
    scene.box.delay(LONG_S)
    waiting = later(lambda: scene.subscribe(ws, "private topic"))
    scene.box.wait_received(scene.facts["login"])
    scene.box.delay(0)
    scene.box.drop()
    assert ConnectionLost is type(waiting.get(timeout=SOON_S))
    private = scene.subscribe(ws, "private topic")
    scene.states.wait("open")
    scene.box.delay(LONG_S)
    scene.box.drop()
    scene.box.wait_received(scene.facts["login"], 3)
    scene.box.delay(0)
    scene.box.drop()
    scene.box.wait_received(scene.facts["login"], 4)
    scene.states.wait("open")
    assert (False, ["reconnect"]) == (private.closed, [gap.reason for gap in private.gaps])


def test_loss_before_a_subscribe_is_confirmed(scene):
    """On the first connection who subscribes is told, at once; on one that was open the next connection confirms it."""
    line = scene.line()
    ws = scene.make(line)
    for already_open in (False, True):
        # Not the sandbox's delay: a first update does not wait for it, and is a confirmation too.
        if already_open:
            ws.connect()
            line.hold(0)
        else:
            line.hold_after(b"HTTP/1.1 101 ")
            line.bar()
        said = len(scene.box.received)
        waiting = later(lambda: scene.subscribe(ws, "another channel"))
        if not already_open:
            # Made before the wish is known, a connection is open, and is made again. Both happen under the client's lock.
            scene.states.wait("connecting")
            assert 1 == len(ws.subscriptions)
            line.bar(False)
        scene.box.wait_received(lambda message: True, said + 1)
        line.end()
        told = waiting.get(timeout=SOON_S)
        if not already_open:
            assert (ConnectionLost, ()) == (type(told), ws.subscriptions)
    scene.box.step(STEPS)
    assert there(ws, told)
    assert [] == told.gaps


def test_loss_between_two_batches(scene):
    """Lost again when a part of the topics is confirmed, the next connection states all of them."""
    line = scene.line()
    ws = scene.make(line)
    subscriptions = [ws.subscribe(*words, **params) for words, params in scene.facts["batches"]]
    line.cut_after(scene.facts["confirmation"].encode(), 2)
    line.end()
    for _ in range(3):
        scene.log.wait(ENDED, SOON_S)
    ws.connect()
    scene.box.step(STEPS)
    for subscription in subscriptions:
        assert there(ws, subscription), subscription
        gaps = subscription.gaps
        assert gaps and {("reconnect", True)} == {(gap.reason, gap.until is not None) for gap in gaps}


def test_loss_during_an_unsubscribe(scene):
    """Who unsubscribes is done: the next connection does not state the topic any more."""
    ws = scene.make()
    subscription = scene.subscribe(ws)
    scene.states.wait("open")
    scene.box.delay(LONG_S)
    waiting = later(subscription.unsubscribe)
    scene.box.wait_received(scene.facts["unsubscribe"])
    scene.box.delay(0)
    scene.box.drop()
    assert waiting.get(timeout=SOON_S) is None
    scene.states.wait("open")
    ws.ping()
    assert 1 == len(scene.box.wait_received(scene.facts["subscribe"]))
    assert (True, (), 1) == (subscription.closed, ws.subscriptions, ws.stats()["reconnects"])


def test_loss_during_a_close(scene):
    """The peer goes while our goodbye waits for its answer: closing ends, and nothing is dialled again."""
    line = scene.line()
    ws = scene.make(line)
    subscription = scene.subscribe(ws)
    waiting = scene.unanswered(ws)
    line.deafen()
    closing = later(ws.close)
    assert ConnectionClosed is type(waiting.get(timeout=SOON_S))
    line.end()
    assert closing.get(timeout=SOON_S) is None
    assert (True, "closed", 1, []) == (subscription.closed, ws.state, line.made, scene.log.rest())


# What was there before is refused afterwards ----------------------------------------------------------------------------------


def test_token_expired_at_relogin(scene):
    """A token is asked for anew at each login; one that is refused ends what is private, and nothing else."""
    if not isinstance(scene.box._exchange, Tokens):
        pytest.skip(f"{scene.name} signs each login, and has no tokens")
    fresh = scene.make(token=lambda: scene.box.token)
    private = scene.subscribe(fresh, "private topic")
    scene.box.expire_tokens()
    scene.box.drop()
    scene.box.wait_received(scene.facts["login"], 2)
    fresh.close()
    assert ["reconnect"] == [gap.reason for gap in private.gaps]
    stale = scene.make(api_key=None, api_secret=None, token=scene.box.token) if scene.name == "whitebit" else scene.make()
    public, private = scene.subscribe(stale), scene.subscribe(stale, "private topic")
    scene.box.expire_tokens()
    scene.log.rest()
    scene.box.drop()
    lost = set()  # before a loss is noticed, a ping is said on the link that is lost
    while len(lost) < len(connections_of(stale)):
        lost.add(scene.log.wait("; next try in", SOON_S).partition(":")[0])
    assert AuthenticationError is type(later(lambda: list(private)).get(timeout=LIMIT_S))
    there(stale, public)
    scene.box.step(STEPS)
    assert there(stale, public)


def test_login_refused_at_relogin(scene):
    """A refused login ends what is private with `AuthenticationError`; who asks for it again is logged in again."""
    ws = scene.make()
    private = scene.subscribe(ws, "private topic")
    scene.box.reject(scene.facts["login tries"])
    scene.box.drop()
    error = later(lambda: list(private)).get(timeout=LIMIT_S)
    assert (AuthenticationError, True, ()) == (type(error), private.closed, ws.subscriptions)
    again = scene.subscribe(ws, "private topic")
    assert (False, (again,)) == (again.closed, ws.subscriptions)


# Others -----------------------------------------------------------------------------------------------------------------------


class Wall(SystemClock):
    """The machine's clocks, but for the wall's, which is wrong by `off` seconds."""

    off = 0.0

    def time_ns(self):
        return super().time_ns() + int(self.off * 1e9)


def test_wall_clock_jumps(scene):
    """Nothing hangs on the wall clock: when it jumps, by hours, events and answers come as before; events tell its time."""
    ws = scene.make(ping_interval=PING_S)
    ws._clock = clock = Wall()
    subscription = scene.subscribe(ws)
    there(ws, subscription)
    for clock.off in (0.0, 86_400.0, -86_400.0, 0.0):
        scene.box.step(STEPS)
        events = there(ws, subscription)
        assert events
        assert {True} == {abs(time.time() + clock.off - event.received) < LONG_S for event in events}
        assert ws.request(*scene.facts["query"]) is not None
    assert ([], 0, "open") == (subscription.gaps, ws.stats()["reconnects"], ws.state)


def test_restarts_of_the_server(scene):
    """A server that restarts again and again: each loss is a gap with an end, and all is well after the last."""
    ws = scene.make()
    subscription = scene.subscribe(ws)
    scene.states.wait("open")
    for count in range(1, 6):
        scene.box.restart(0.02)
        scene.recovered(ws, subscription)
        assert count == len(subscription.gaps)


def test_flapping_link(scene):
    """A link that is lost at each confirmation is made again each time; events flow as soon as it holds."""
    line = scene.line()
    ws = scene.make(line)
    subscription = scene.subscribe(ws)
    scene.states.wait("open")
    line.cut_after(scene.facts["confirmation"].encode(), 5)
    line.end()
    for _ in range(6):
        scene.log.wait(ENDED, SOON_S)
    ws.connect()
    there(ws, subscription)
    scene.box.step(STEPS)
    assert there(ws, subscription)
    gaps = subscription.gaps
    assert gaps and {("reconnect", True)} == {(gap.reason, gap.until is not None) for gap in gaps}
    assert (7, "open") == (line.made, ws.state)
