"""
What every exchange's client keeps, whichever it is: one suite, run against each folder of `exchange_ws.exchanges`.

An exchange is found by its folder and served by its own sandbox. What differs, such as the name of a topic, stands in
``facts/<name>.json``; an exchange without one fails here.

topic
    What `subscribe` takes, words and parameters: a topic whose events come soon when the markets move. ``same channel``,
    ``another channel``: others. ``deltas``: one whose updates mean nothing alone. ``refused topic``: the exchange says no.
    ``senseless topic``: the client says no. ``refused topic code``: false where the exchange gives no code with its no.
event, symbol, numbers
    Class and symbol of the topic's events, and the fields that are prices and sizes.
query, order
    Arguments of `request`: what may be said again, and its result's type; what may not. ``refused query``: the exchange's no.
    ``refused query code``: false where it has no code.
reply ids
    False where answers do not tell which request they are to, hence come in order.
subscribe, unsubscribe
    How the exchange names the requests that the topic costs, for `Sandbox.wait_received`.
private topic, login, wrong credentials
    A topic that needs a login, how the exchange names the request that logs in, and options of a client that is refused.
unwanted update
    An update as it stands on the wire, of something that nobody subscribed to.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import math
import pickle
import queue
import threading
import time
from decimal import Decimal

import pytest
from exchange_facts import CLIENTS, FACTS, LONG_S, SOON_S, STEPS, States, later, raised, there
from short_limits import connections_of, hurried
from wire_peers import LIMIT_S, Peer

import exchange_ws
from exchange_ws import Backoff, Client, events
from exchange_ws.core import session, silence
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerTooSlow,
    RequestRejected,
    RequestTimeout,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
)


@pytest.fixture
def states():
    return States()


@pytest.fixture
def make(box):
    made = []

    def make(**options):
        made.append(box.client(**{"reconnect": Backoff(0.01, 0.02), **options}))
        return made[-1]

    yield make
    for ws in made:
        ws.close()


@pytest.fixture
def ws(make, states):
    ws = make(on_state=states).connect()
    states.wait("open")
    return ws


@pytest.fixture
def subscribe(ws, facts):
    """Subscribes to a topic by its place in the facts."""

    def subscribe(fact="topic", **options):
        words, params = facts[fact]
        return ws.subscribe(*words, **params, **options)

    return subscribe


# What it is ------------------------------------------------------------------------------------------------------------------


def test_exchanges_are_found():
    """There is something to test, and no facts of an exchange that is gone."""
    assert "whitebit" in CLIENTS
    assert {path.stem for path in FACTS.glob("*.json")} == set(CLIENTS)


def test_names(name, box):
    """The client is found under its exchange's name and its own, and by `connect`."""
    kind = CLIENTS[name]
    assert (name, kind, True) == (kind.name, getattr(exchange_ws, kind.__name__), issubclass(kind, Client))
    assert kind is type(box.client())


def test_everything_public_is_documented(name):
    """Each public method and property says what it does; the name and the paths of a client class are plain values."""
    kind = CLIENTS[name]
    public = [(key, getattr(kind, key)) for key in dir(kind) if not key.startswith("_") and key not in ("name", "paths")]
    assert inspect.getdoc(kind)
    assert [] == [key for key, value in public if not inspect.getdoc(value)]


def test_limits_tell_their_source(name, box):
    """Each limit that is kept says where it is documented."""
    for endpoint in box.client()._endpoints.values():
        limits = endpoint.dialect.limits
        numbers = [limits.topics, limits.connections]
        assert all(pace is None or pace.source for pace in (limits.requests, limits.dials, limits.logins))
        assert limits.source or numbers == [None, None]
        assert name == endpoint.dialect.name


# Life ------------------------------------------------------------------------------------------------------------------------


def test_life(box, states):
    """`with` connects and closes; its states are told in order; no thread is left."""
    before = threading.active_count()
    with box.client(on_state=states) as ws:
        assert "open" == ws.state
    assert (["connecting", "open", "closed"], before) == (states.told, threading.active_count())
    box.wait_connections(0)


def idle(box, ws, states):
    pass


def connecting(box, ws, states):
    later(lambda: ws.connect(LIMIT_S))
    states.wait("connecting")


def opened(box, ws, states):
    ws.connect()


def frozen(box, ws, states):
    ws.connect()
    box.freeze()


def reconnecting(box, ws, states):
    ws.connect()
    box.restart(LONG_S)
    states.wait("reconnecting")


def closed(box, ws, states):
    ws.connect().close()


@pytest.mark.parametrize("reach", [idle, connecting, opened, frozen, reconnecting, closed])
def test_close_in_each_state(box, make, states, facts, reach):
    """Closing works in every state, in a second or so; then every call says that it is closed."""
    ws = make(on_state=states)
    reach(box, ws, states)
    began = time.monotonic()
    ws.close()
    assert time.monotonic() - began < SOON_S
    words, params = facts["topic"]
    calls = [ws.connect, ws.ping, lambda: ws.request(*facts["query"]), lambda: ws.subscribe(*words, **params)]
    assert [ConnectionClosed] * 4 == [type(raised(call)) for call in calls]
    assert "closed" == ws.state


def test_close_ends_waits(box, ws, subscribe, facts):
    """A consumer and a caller that wait are ended."""
    subscription = subscribe()
    there(ws, subscription)
    box.reorder(100)
    said = len(box.received)
    waits = [later(lambda: list(subscription)), later(lambda: ws.request(*facts["query"], timeout=LONG_S))]
    box.wait_received(lambda message: True, said + 1)
    ws.close()
    assert [] == waits[0].get(timeout=LIMIT_S)
    assert ConnectionClosed is type(waits[1].get(timeout=LIMIT_S))


def test_nobody_there(box, make, facts):
    """Without an exchange each call says `ConnectFailed` at once; with one, it works."""
    box.restart(LONG_S)
    ws = make()
    words, params = facts["topic"]
    calls = [ws.connect, ws.ping, lambda: ws.request(*facts["query"]), lambda: ws.subscribe(*words, **params)]
    assert [ConnectFailed] * 4 == [type(raised(call)) for call in calls]
    assert ("idle", ()) == (ws.state, ws.subscriptions)
    box.restart()
    for call in calls:
        call()


def test_silent_peer(name, box, facts):
    """A peer that says nothing costs no more than the timeout."""
    with Peer(lambda connection: connection.hold()) as peer:
        wiring = {
            key: f"ws://127.0.0.1:{peer.port}/" if isinstance(value, str) and value.startswith("ws") else value
            for key, value in box._exchange.wiring(box.url, box.rest_url, {}).items()
        }
        ws = CLIENTS[name](**wiring, timeout=0.2)
        began = time.monotonic()
        errors = [raised(ws.connect), raised(ws.request, *facts["query"])]
        assert 0.2 <= time.monotonic() - began < SOON_S
        assert {type(error) for error in errors} <= {ConnectFailed, RequestTimeout}
        ws.close()


def test_senseless_options(box):
    """What every client refuses, this one refuses."""
    for option, value in {"timeout": 0, "overflow": "all", "reconnect": 3, "numbers": int, "no_such": 1}.items():
        assert option in str(raised(box.client, **{option: value}))


# Requests --------------------------------------------------------------------------------------------------------------------


def test_request(box, ws, facts):
    """A query has a result; a refused one the exchange's code and words; a ping takes seconds."""
    assert facts["query result"] == type(ws.request(*facts["query"])).__name__
    error = raised(ws.request, *facts["refused query"])
    assert isinstance(error, RequestRejected)
    assert (facts.get("refused query code", True), True) == (error.code is not None, bool(error.message))
    assert 0.0 <= ws.ping() < SOON_S


def test_senseless_request(box, ws):
    """What cannot be said is refused here."""
    before = len(box.received)
    for arguments in [("",), (None,), ("x", {1, 2}), ("x", [object()]), ("x", [math.nan])]:
        assert isinstance(raised(ws.request, *arguments), UsageError)
    assert before == len(box.received)


def test_request_timeout(box, ws, facts):
    """No answer in time; a late one is nobody's."""
    ws.connect()
    box.freeze()
    error = raised(ws.request, *facts["query"], timeout=0.2)
    assert (RequestTimeout, True) == (type(error), error.sent)
    box.thaw()
    assert facts["query result"] == type(ws.request(*facts["query"])).__name__


def test_many_threads(box, ws, facts):
    """Calls of many threads are all answered, also out of order where that can be."""
    if facts.get("reply ids", True):
        box.reorder(20)
    calls = [later(lambda: ws.request(*facts["query"])) for _ in range(20)]
    assert [facts["query result"]] * 20 == [type(call.get(timeout=LIMIT_S)).__name__ for call in calls]


def test_loss_of_a_request(box, ws, states, facts):
    """Sent: its outcome is unknown. Not sent: an order says so at once, a query waits for the connection."""
    with contextlib.suppress(RequestRejected):
        ws.request(*facts["order"])  # where orders go there is a connection now, and whatever login it needs
    box.reorder(100)
    said = len(box.received)
    lost = [later(lambda: ws.request(*facts["query"])), later(lambda: ws.request(*facts["order"]))]
    box.wait_received(lambda message: True, said + 2)
    box.restart(LONG_S)
    errors = [call.get(timeout=LIMIT_S) for call in lost]
    states.wait("reconnecting")
    waits = later(lambda: ws.request(*facts["query"]))
    errors.append(raised(ws.request, *facts["order"]))
    assert [(ConnectionLost, True), (ConnectionLost, True), (ConnectionLost, False)] == [
        (type(error), error.sent) for error in errors
    ]
    box.restart()
    assert facts["query result"] == type(waits.get(timeout=LIMIT_S)).__name__


def test_pickled_errors(ws, facts):
    """Errors survive pickling, with what they tell."""
    error = raised(ws.request, *facts["refused query"])
    again = pickle.loads(pickle.dumps(error))
    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))


# Logins ----------------------------------------------------------------------------------------------------------------------


def test_login(box, subscribe, facts):
    """A private topic logs in by itself, and on each new connection anew."""
    private = subscribe("private topic")
    box.wait_received(facts["login"])
    box.drop()
    box.wait_received(facts["login"], 2)
    assert ("reconnect", False) == (private.gaps[-1].reason, private.closed)


def test_wrong_login(make, facts):
    """A refused login is an error of who asked for something private; what is public goes on."""
    ws = make(**facts["wrong credentials"])
    words, params = facts["private topic"]
    error = raised(ws.subscribe, *words, **params)
    assert (AuthenticationError, 0) == (type(error), len(ws.subscriptions))
    assert facts["query result"] == type(ws.request(*facts["query"])).__name__


# Subscriptions ---------------------------------------------------------------------------------------------------------------


def test_events(name, box, ws, subscribe, facts):
    """Events are of the documented kind, whole, exact, and may be pickled."""
    subscription = subscribe()
    assert (facts["topic name"],) == subscription.topics
    box.step(STEPS)
    got = there(ws, subscription)
    kind = getattr(events, facts["event"])
    assert got
    for event in got:
        assert (kind, name, facts["symbol"], None) == (type(event), event.exchange, event.symbol, event.gap)
        assert abs(time.time() - event.received) < LONG_S
        assert {Decimal} == {type(getattr(event, field)) for field in facts["numbers"]}
        assert event.raw
        assert event.time is None or isinstance(event.time, float)
    assert got[-1] == pickle.loads(pickle.dumps(got[-1]))
    assert got[-1] == subscription.latest


@pytest.mark.parametrize("numbers", [float, str])
def test_numbers(box, make, facts, numbers):
    """Prices and sizes are what the client was told to make of them."""
    ws = make(numbers=numbers)
    words, params = facts["topic"]
    subscription = ws.subscribe(*words, **params)
    box.step(STEPS)
    event = there(ws, subscription)[-1]
    assert {numbers} == {type(getattr(event, field)) for field in facts["numbers"]}


def test_raw(box, ws, subscribe):
    """`raw=True` gives the vendor's JSON."""
    subscription = subscribe(raw=True)
    box.step(STEPS)
    got = there(ws, subscription)
    assert got
    assert [] == [item for item in got if not isinstance(item, (dict, list))]


def test_cut_frames(box, ws, subscribe, facts):
    """Fragments, byte by byte, make no difference."""
    box.split()
    subscription = subscribe()
    box.step(STEPS)
    assert facts["symbol"] == there(ws, subscription)[-1].symbol
    assert 0 == ws.stats()["malformed"]


def test_two_subscriptions(box, ws, subscribe, facts):
    """A second one to the same topic gets what the first one gets; when one leaves the other stays; the last says goodbye."""
    first, second = subscribe(), subscribe()
    there(ws, first), there(ws, second)
    box.step(STEPS)
    pairs = [there(ws, one) for one in (first, second)]
    assert [event.raw for event in pairs[0]] == [event.raw for event in pairs[1]] != []
    first.unsubscribe()
    assert [] == box.wait_received(facts["unsubscribe"], 0)
    box.step(STEPS)
    assert there(ws, second)
    second.unsubscribe()
    assert 1 <= len(box.wait_received(facts["unsubscribe"]))
    assert (True, True, ()) == (first.closed, second.closed, ws.subscriptions)


@pytest.mark.parametrize("other", ["same channel", "another channel"])
def test_others_come_and_go(box, ws, subscribe, other):
    """What others subscribe to and leave costs a subscription nothing."""
    subscription = subscribe()
    with subscribe(other) as theirs:
        there(ws, subscription)
        box.step(STEPS)
        ours, symbols = there(ws, subscription), {(event.channel, event.symbol) for event in there(ws, theirs)}
        assert ours
        assert not symbols & {(event.channel, event.symbol) for event in ours}
    box.step(STEPS)
    assert (True, []) == (bool(there(ws, subscription)), subscription.gaps)


def test_refused_topic(box, ws, subscribe, facts):
    """A refusal has code, words and topic, and hurts no other subscription."""
    subscription = subscribe()
    error = raised(subscribe, "refused topic")
    assert (SubscriptionRejected, True, True, True) == (
        type(error),
        (error.code is not None) == facts.get("refused topic code", True),
        bool(error.message),
        facts["refused topic"][0][-1] in error.topic,
    )
    there(ws, subscription)
    box.step(STEPS)
    assert ((subscription,), True) == (ws.subscriptions, bool(there(ws, subscription)))


def test_senseless_topic(box, make, facts):
    """What the exchange does not have is refused before anything is connected."""
    ws = make()
    words, params = facts["senseless topic"]
    for call in (ws.subscribe, lambda: ws.subscribe(*words, **params), lambda: ws.unsubscribe(*words, **params)):
        assert isinstance(raised(call), UsageError)
    assert (0, "idle") == (box.connections, ws.state)


def test_unsubscribe_by_words(box, ws, subscribe, facts):
    """The words that subscribe unsubscribe; what was received can be read."""
    subscription = subscribe()
    box.step(STEPS)
    ws.ping()
    words, params = facts["topic"]
    ws.unsubscribe(*words, **params)
    assert (True, facts["symbol"]) == (subscription.closed, list(subscription)[0].symbol)
    with pytest.raises(SubscriptionClosed):
        subscription.get(timeout=LIMIT_S)


def test_callback(box, ws, subscribe, facts):
    """A callback gets the events, and may call the client."""
    told = queue.SimpleQueue()
    subscription = subscribe()
    subscription.call(lambda event: told.put((event.symbol, ws.ping() >= 0.0)))
    box.step(STEPS)
    assert (facts["symbol"], True) == told.get(timeout=LIMIT_S)
    ws.close()


# Overflow --------------------------------------------------------------------------------------------------------------------


def test_drop_oldest(box, ws, subscribe):
    """The oldest go, and a gap counts them before the first that is left."""
    subscription = subscribe(queue_size=2, overflow="drop_oldest")
    box.step(STEPS)
    newest = there(ws, subscription)
    gap = newest[0].gap
    assert (("overflow",), subscription.dropped, [gap]) == ((gap.reason,), gap.dropped, subscription.gaps)
    assert subscription.dropped > 0


def test_drop_newest(box, ws, subscribe):
    """The newest go, and a gap counts them after the last that is left."""
    subscription = subscribe(queue_size=2, overflow="drop_newest", gaps=True)
    box.step(STEPS)
    got = there(ws, subscription)
    assert (events.Gap, "overflow", subscription.dropped) == (type(got[-1]), got[-1].reason, got[-1].dropped)


def test_raise(box, ws, subscribe):
    """The subscription ends with the number of what was not taken, after what was; and it leaves the wire."""
    subscription = subscribe(queue_size=2, overflow="raise")
    box.step(STEPS)
    ws.ping()
    got = []

    def read():
        for event in subscription:
            got.append(event)

    error = raised(read)
    assert (ConsumerTooSlow, True, True) == (type(error), error.dropped > 0, bool(got))
    assert ((), "open") == (ws.subscriptions, ws.state)


def test_block(box, ws, subscribe):
    """Nothing is lost to a consumer who is slower than the exchange."""
    subscription = subscribe(queue_size=2, overflow="block")
    box.step(STEPS)
    got = []
    pinged = later(ws.ping)
    while pinged.empty():
        try:
            got.append(subscription.get(0.01))
        except UpdateTimeout:
            pass
    got += there(ws, subscription)
    assert (0, [], True) == (subscription.dropped, subscription.gaps, len(got) > 2)


def test_latest(box, ws, subscribe):
    """Only the newest is kept of what stands alone; of deltas none may be left out."""
    subscription = subscribe("another channel", overflow="latest")
    for _ in range(5):
        box.step(STEPS)
    got = there(ws, subscription)
    assert (1, subscription.latest.raw, subscription.dropped) == (len(got), got[0].raw, got[0].gap.dropped)
    assert isinstance(raised(subscribe, "deltas", overflow="latest"), UsageError)


# Trouble ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop", "close", "restart", "freeze"])
def test_reconnect(box, make, states, facts, fault):
    """A lost connection is made again and what was subscribed is subscribed again; the gap is told, with its end."""
    ws = make(on_state=states)
    words, params = facts["topic"]
    subscription = ws.subscribe(*words, **params)
    there(ws, subscription)
    said = len(box.wait_received(facts["subscribe"]))
    getattr(box, fault)()
    with hurried(*connections_of(ws), **({"ping_interval": 0.2, "pong_timeout": 0.3} if fault == "freeze" else {})):
        states.wait("reconnecting")
    states.wait("open")
    box.step(STEPS)
    got = there(ws, subscription)
    gaps = subscription.gaps
    assert (["reconnect"], gaps[0], True) == ([gap.reason for gap in gaps], got[0].gap, gaps[0].until >= gaps[0].since)
    assert (1, 2 * said) == (ws.stats()["reconnects"], len(box.wait_received(facts["subscribe"])))


def test_forgotten_topic(box, make, facts, monkeypatch, tmp_path):
    """What the exchange forgets without a word is noticed by its silence, told, and subscribed again; so it is in a replay."""
    for module in (session, silence):
        monkeypatch.setattr(module, "LOOK_S", 0.05)
    ws = make(record=tmp_path / "a.jsonl").connect()
    words, params = facts["topic"]
    subscription = ws.subscribe(*words, **params)
    watches = [connection._session._watch for pool in ws._pools.values() for connection in pool]
    pulses = [pulse for watch in watches for pulse in watch._pulses.values()]

    def come():
        """What a few moments bring. Without a request: hundreds of them would go to other connections."""
        box.step(STEPS)
        with contextlib.suppress(UpdateTimeout):
            return subscription.get_many(timeout=0.05)
        return []

    give_up_at = time.monotonic() + LIMIT_S
    while min(pulse.seen for pulse in pulses) < silence.FEWEST and time.monotonic() < give_up_at:
        assert all(event.gap is None for event in come())
    said = len(box.wait_received(facts["subscribe"]))
    box.forget_subscriptions()
    assert all(event.gap is None for event in there(ws, subscription))  # what was on its way
    # On a slow machine the usual pause is longer, and so is what is unusual.
    give_up_at = time.monotonic() + LIMIT_S + 2 * silence.FACTOR * silence.ALONE * max(pulse.longest for pulse in pulses)
    got = []
    while not got and time.monotonic() < give_up_at:
        got = come()
    gaps = subscription.gaps
    assert ["silent"] == [gap.reason for gap in gaps]
    assert (True, True) == (got[0].gap is gaps[0], gaps[0].until > gaps[0].since)
    assert (said + 1, 0) == (len(box.wait_received(facts["subscribe"])), ws.stats()["reconnects"])
    ws.close()
    with exchange_ws.replay(tmp_path / "a.jsonl", speed=None) as day:
        day.collect()
        again = day.gaps
        assert (["silent"], 0) == ([gap.reason for gap in again], day.stats()["unsaid"])
    assert [gaps[0].since, gaps[0].until] == pytest.approx([again[0].since, again[0].until], abs=0.05)


def test_refused_again(box, ws, states, subscribe, facts):
    """A topic that is refused after a reconnect ends its subscription; the client lives on."""
    subscription = subscribe()
    box.reject()
    box.drop()
    states.wait("reconnecting")
    states.wait("open")
    error = raised(lambda: list(subscription))
    assert (SubscriptionRejected, facts["topic name"], "open") == (type(error), error.topic, ws.state)
    again = subscribe()
    box.step(STEPS)
    assert there(ws, again)


def test_no_reconnect(box, make, states, facts):
    """With `reconnect=False` a loss is the end, for everyone."""
    ws = make(on_state=states, reconnect=False)
    words, params = facts["topic"]
    subscription = ws.subscribe(*words, **params)
    box.drop()
    errors = [raised(lambda: list(subscription)), raised(ws.request, *facts["query"])]
    assert [ConnectionLost, ConnectionLost] == [type(error) for error in errors]
    states.wait("closed")


def test_garbage(box, ws, subscribe, facts):
    """What cannot be read, and what nobody wants, is counted; what cannot be read, and may have been ours, is a gap too."""
    subscription = subscribe()
    there(ws, subscription)
    box.garbage()
    box.push(facts["unwanted update"])
    box.step(STEPS)
    first, *rest = there(ws, subscription)
    assert ("malformed", None, {None}) == (first.gap.reason, first.gap.dropped, {event.gap for event in rest})
    assert [first.gap] == subscription.gaps
    box.push("[]")
    ws.ping()
    stats = ws.stats()
    assert (2, 1, 0) == (stats["malformed"] + stats["unknown"], stats["unrouted"], stats["reconnects"])


def test_stats(box, ws, subscribe, facts):
    """The counters of every client."""
    subscription = subscribe()
    ws.request(*facts["query"])
    stats = ws.stats()
    counters = "messages bytes requests reconnects dropped gaps repaired unknown unrouted unasked malformed late"
    counters += " connections subscriptions waiting"
    assert {*counters.split(), "state", "round_trip", "lag"} <= set(stats)
    assert stats == json.loads(json.dumps(stats))
    assert [] == [name for name in counters.split() if type(stats[name]) is not int]
    assert (1, 1) == (stats["connections"], stats["subscriptions"])
    assert (subscription,) == ws.subscriptions


def test_no_secret_is_shown(box, make, states, facts, caplog):
    """No secret of the sandbox is in a repr or a log line, of whatever level."""
    caplog.set_level(logging.DEBUG, "exchange_ws.core")
    ws = make(on_state=states)
    words, params = facts["topic"]
    subscription = ws.subscribe(*words, **params)
    box.drop()
    states.wait("reconnecting")
    there(ws, subscription)
    shown = f"{ws!r} {subscription!r} {ws._options!r} {ws._endpoints!r} {caplog.text}"
    assert [] == [secret for secret in (box.api_secret, box.token) if secret in shown]
