"""
Topics that come under ids which only a confirmation tells, and replies that hardly tell what they answer.

The session is driven with literals and numbers for time, as in `test_session.py`; so are subscriptions, which read each message
by what its id meant when it came.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest
from core_languages import DELTA, IDS, LOGIN_COMMAND, topic, topics, update, wire

from exchange_ws.clock import SystemClock
from exchange_ws.core.messages import CALL, PING, SUBSCRIBE, UNSUBSCRIBE, Command, Limits
from exchange_ws.core.session import EARLY, EARLY_BYTES, GONE, GONE_S, NOBODYS, Backoff, Decisions, Session
from exchange_ws.core.subscription import DROP_NEWEST, DROP_OLDEST, LATEST, Subscription
from exchange_ws.errors import AuthenticationError, ConnectionLost, RequestTimeout, SubscriptionRejected, UpdateTimeout
from exchange_ws.events import Trade

ONE, TWO = "sink one", "sink two"
LATER = 1000.0
NO = {"message": "no", "code": 7}


class Talk:
    """A session, and what a test needs to play its driver and the exchange."""

    def __init__(self, dialect: Any = IDS) -> None:
        self.session = Session(
            dialect,
            "made-up",
            limits=Limits(),
            ping_interval=50.0,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=Backoff(base=1.0),
            chance=lambda low, high: high,
        )
        self.session.dialled(0.0, None)
        self.taken: list[Any] = []

    def want(self, sink: str, *names: str) -> Any:
        return self.session.want(sink, topics(*names), 0.0, LATER)

    def unwant(self, sink: str, *names: str) -> Any:
        return self.session.unwant(sink, topics(*names), 0.0, LATER)

    def call(self, method: str, kind: str = CALL, channel: str | None = "any") -> Any:
        return self.session.submit(Command(method, ("x",), kind, channel=channel), 0.0, LATER)

    def says(self, now: float = 0.0) -> list[str]:
        """What is said: "sub price A"."""
        self.session.tick(now)
        frames = self.session.take_outbox(now)
        assert self.session.tick(now) > now, "a timer would spin"
        bodies = [json.loads(data) for opcode, data in frames if opcode == 1]
        return [" ".join([body["op"], *body["args"]]) for body in bodies]

    def hears(self, body: Any, now: float = 0.0) -> list[Any]:
        """One message; returns who is given what: sinks, and the ids of the pushes, early ones first."""
        message = body if isinstance(body, bytes) else wire(body)
        before = len(self.taken)
        sinks = self.session.receive(message, now)
        decisions = self.session.take_decisions() or Decisions()
        decisions.log()
        for early, kept in decisions.released:
            self.taken.append((early, json.loads(kept)["of"]))
        if sinks:
            self.taken.append((sinks, json.loads(message)["of"]))
        return self.taken[before:]

    def confirms(self, **ids: Any) -> list[Any]:
        return self.hears({"re": "sub", "ok": True, "ids": ids})

    def subscribed(self, **ids: str) -> Talk:
        """Sink one has these topics, each under an id: ``x1="price A"``."""
        for sub_id, name in ids.items():
            self.want(ONE, name)
            self.says()
            self.confirms(**{sub_id: None})
        return self

    def counted(self, *names: str) -> tuple[int, ...]:
        return tuple(self.session.counters[name] for name in names)

    def ids(self, name: str) -> tuple[str, ...]:
        return self.session.ids(topics(name))


# Which ids are whose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confirmed", "ids"),
    [
        ({"x2": None}, ("x2",)),
        ({"x1": None, "x2": None}, ("x2",)),  # the list of all; the new one is meant
        ({"x2": None, "x3": None}, ("x2", "x3")),
        ({"x2": "B", "x3": "C"}, ("x2",)),  # an echo tells
        ({"x2": "B", "x3": None}, ("x2", "x3")),
        ({"x2": "b", "x3": "c"}, ("x2", "x3")),  # or tells nothing that we understand
        ({"x1": None}, ("x1",)),  # it is the same to the server
        ({"x1": "A", "x0": "B"}, ("x0",)),
        ({"x0": None, "x2": None}, ("x2",)),  # x0 was dropped just now
        ({"x0": None}, ("x0",)),
        ({"x9": "Z", "x2": None}, ("x2",)),  # another of ours by its echo
    ],
)
def test_ids_of_a_confirmation(confirmed, ids):
    """New ones, but not those of others; else the one that is known, if one alone can be meant."""
    talk = Talk().subscribed(x0="price Z", x1="price A")
    talk.unwant(ONE, "price Z")
    talk.says()
    talk.hears({"re": "unsub", "ok": True, "ids": {"x0": None}})
    talk.want(TWO, "price B")
    talk.says()
    talk.confirms(**confirmed)
    assert (ids, None) == (talk.ids("price B"), talk.session.doom)


def test_ids_that_cannot_be_told():
    """Of several known ones none can be meant: refused, and the link is given up, since it may flow under any."""
    talk = Talk().subscribed(x1="price A", x2="price B")
    pending = talk.want(TWO, "price C")
    talk.says()
    talk.confirms(x1=None, x2=None)
    assert (SubscriptionRejected, ConnectionLost) == (type(pending.error), type(talk.session.doom))


def test_topics_that_share_an_id():
    """Each sink has the push once; the first topic to leave says nothing, the last one does."""
    talk = Talk().subscribed(x1="price A")
    talk.want(TWO, "price B")
    talk.says()
    talk.confirms(x1=None)
    assert [((ONE, TWO), "price x1")] == talk.hears(update("price x1"))
    assert ({ONE, TWO}, {"price x1"}) == (set(talk.session.routes[b"price x1"]), set(map(bytes.decode, talk.session.aliases)))
    gone = talk.unwant(ONE, "price A")
    assert ([], True) == (talk.says(), gone.settled)
    talk.unwant(TWO, "price B")
    assert ["unsub price B"] == talk.says()


def test_an_unsubscribe_that_ends_another():
    """The server's word counts: what it names beside is stated again."""
    talk = Talk().subscribed(x1="price A", x2="price B")
    talk.unwant(ONE, "price A")
    talk.says()
    talk.hears({"re": "unsub", "ok": True, "ids": {"x2": None}})
    assert ["sub price B"] == talk.says()


def test_ids_of_calls():
    """What a call has subscribed to is nobody's, and its id no later topic's; a call that ends a topic has it stated again."""
    talk = Talk().subscribed(x1="price A")
    call = talk.call("sub", SUBSCRIBE)
    talk.says()
    talk.confirms(x9=None)
    talk.want(ONE, "price B")
    talk.says()
    talk.confirms(x9=None, x2=None)
    assert (True, ("x2",), []) == (call.settled, talk.ids("price B"), talk.hears(update("price x9")))
    talk.call("unsub", UNSUBSCRIBE)
    talk.says()
    talk.hears({"re": "unsub", "ok": True, "ids": {"x9": None}})
    talk.call("unsub", UNSUBSCRIBE)
    talk.says()
    talk.hears({"re": "unsub", "ok": True, "ids": {"x1": None}})
    assert ({b"price x2"}, ["sub price A"]) == (set(talk.session.aliases), talk.says())


# What comes before and after -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "kept"), [(0, EARLY), (EARLY_BYTES // 4, 3)])
def test_early_updates(length, kept):
    """They wait for a confirmation, not more of them than a limit, nor than another of bytes; in order, before what follows."""
    talk = Talk()
    talk.want(ONE, "price A")
    talk.says()
    for number in range(EARLY + 5):
        talk.hears({"of": "price x1", "also": ["price " + "-" * length + str(number)]})
    came = talk.confirms(x1=None) + talk.hears(update("price x1"))
    assert (kept + 1, EARLY + 5 - kept) == (len(came), *talk.counted("unrouted"))


def test_no_early_updates_for_an_unsubscribe():
    """Its reply tells no ids."""
    talk = Talk().subscribed(x1="price A")
    talk.unwant(ONE, "price A")
    talk.says()
    talk.hears(update("price stray"))
    assert (1,) == talk.counted("unrouted")


def test_early_updates_have_the_place_for_themselves():
    """What comes for a topic that nobody wants any more does not push them out."""
    talk = Talk().subscribed(x1="price A")
    talk.want(TWO, "price B")
    talk.says()
    talk.unwant(ONE, "price A")
    talk.hears(update("price x2"))
    for _ in range(EARLY):
        talk.hears(update("price x1"))
    assert ([((TWO,), "price x2")], (EARLY,)) == (talk.confirms(x2=None), talk.counted("late"))


def test_late_updates():
    """Under an id that was dropped they are late; when they cannot be on their way any more, they are nobody's."""
    talk = Talk().subscribed(x1="price A")
    talk.unwant(ONE, "price A")
    talk.hears(update("price x1"))
    talk.says()
    talk.hears({"re": "unsub", "ok": True})
    talk.hears(update("price x1"))
    assert (2, 0) == talk.counted("late", "unrouted")
    talk.hears(update("price x1"), now=GONE_S + 0.5)
    assert (2, 1) == talk.counted("late", "unrouted")


def test_dropped_ids_are_bounded():
    """However many topics are subscribed and dropped, the latest of their ids are known, and nothing else is kept."""
    talk = Talk()
    for number in range(GONE + 2):
        talk.want(ONE, "price A")
        talk.says()
        talk.confirms(**{f"x{number}": "A"})
        talk.unwant(ONE, "price A")
        talk.says()
        talk.hears({"re": "unsub", "ok": True, "ids": {f"x{number}": None}})
    for number in (1, 2, GONE + 1):
        talk.hears(update(f"price x{number}"))
    assert (2, 1, GONE, {}) == (*talk.counted("late", "unrouted"), len(talk.session._gone), talk.session.aliases)
    kept = (talk.session._ids, talk.session._said, talk.session._waiting, talk.session._awaited, talk.session._early)
    assert ({}, {}, {}, {}, {}) == kept


def test_ids_of_calls_are_bounded():
    """Ids that only a call was told are remembered as nobody's, the latest of them, beside those of topics."""
    talk = Talk().subscribed(x1="price A")
    for number in range(NOBODYS + 2):
        talk.call("sub", SUBSCRIBE)
        talk.says()
        talk.hears({"re": "sub", "ok": True, "ids": {f"y{number}": None}})
    kept = [f"price y{number}".encode() for number in range(2, NOBODYS + 2)]
    assert [b"price x1", *kept] == list(talk.session.aliases)


# Which reply is whose --------------------------------------------------------------------------------------------------------


def test_replies_that_tell_their_method():
    """They answer their like, and what was given up before it has no answer any more."""
    talk = Talk()
    pendings = [talk.session.submit(Command(method), 0.0, deadline) for method, deadline in (("a", 1.0), ("b", LATER))]
    assert ["a", "b"] == talk.says()
    talk.session.tick(1.0)
    talk.hears({"re": "c", "ok": True})
    talk.hears({"re": "b", "ok": True})
    errors = [pending.error and type(pending.error) for pending in pendings]
    assert ([RequestTimeout, None], (1,)) == (errors, talk.counted("unasked"))
    assert ({}, True) == (talk.session._awaited, pendings[1].reply.ok)


@pytest.mark.parametrize("others", [0, 1])
def test_replies_to_the_one_that_waits(others, caplog):
    """Of a key that nothing awaits: theirs if it is alone; told, if not."""
    talk = Talk()
    pendings = [talk.session.submit(Command("q", channel=f"c{number}"), 0.0, LATER) for number in range(1 + others)]
    talk.says()
    talk.hears({"to": "", "alone": 1, "ok": False, "error": NO})
    told = ["made-up: an error that answers no request: : no"] if others else []
    assert (not others, told) == (pendings[0].settled, caplog.messages)


@pytest.mark.parametrize("replay", [False, True])
def test_a_late_reply_is_not_the_outcome_of_an_order(replay):
    """It may be that to one that was given up: only what may be said again without harm is answered by it."""
    talk = Talk()
    talk.session.submit(Command("order", channel="a"), 0.0, 5.0)
    second = talk.session.submit(Command("order", channel="b", replay=replay), 4.0, LATER)
    talk.says(4.0)
    talk.session.tick(5.0)
    talk.hears({"to": "", "alone": 1, "ok": False, "error": NO}, 6.0)
    assert replay == second.settled


def test_a_ping_is_not_the_one_that_waits():
    """A reply to the one command that waits is its, though a ping be under way, whose answers tell that they are."""
    talk = Talk()
    pendings = [talk.call("ping", PING, "pings"), talk.call("q", channel="c")]
    talk.says()
    talk.hears({"to": "", "alone": 1, "ok": True})
    assert [False, True] == [pending.settled for pending in pendings]


def test_remarks_are_logged(caplog):
    """What is not as documented is told."""
    talk = Talk()
    talk.hears({"ok": True, "remark": "odd"})
    assert ["made-up: any: odd"] == caplog.messages


def test_a_statement_without_a_reply():
    """With ids nothing of it could be delivered; without them it may flow all the same."""
    dooms = []
    for dialect in (IDS, DELTA):
        talk = Talk(dialect)
        talk.want(ONE, "price A")
        talk.says()
        talk.session.tick(10.0)
        dooms.append(type(talk.session.doom))
    assert [ConnectionLost, type(None)] == dooms


def test_calls_of_a_channel():
    """One at a time, also beside statements; those of other channels pass them."""
    talk = Talk()
    talk.want(ONE, "price A")
    calls = [talk.call("first", channel="price"), talk.call("second", channel="price"), talk.call("other", channel="depth")]
    assert ["sub price A", "other x"] == talk.says()
    talk.confirms(x1=None)
    assert ["first x"] == talk.says()
    talk.want(ONE, "price B")
    assert [] == talk.says()
    talk.hears({"to": "price", "ok": True})
    assert (["sub price B"], [True, False, False]) == (talk.says(), [call.settled for call in calls])
    talk.session.lost(1.0, ConnectionLost("gone"))
    assert [False, True] == [call.error.sent for call in calls[1:]]


def test_one_topic_has_one_fate():
    """A refusal of one topic is that of all who wished for it."""
    talk = Talk()
    pendings = [talk.want(sink, "price A") for sink in (ONE, TWO)]
    talk.says()
    talk.hears({"ok": False, "error": {"message": "no"}})
    assert ["subscribe price A: no"] * 2 == [str(pending.error) for pending in pendings]


# Logins ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replay", "dooms"),
    [
        (True, [ConnectionLost, ConnectionLost, AuthenticationError]),
        (False, [AuthenticationError, AuthenticationError, AuthenticationError]),
    ],
)
def test_a_refused_login_once_more(replay, dooms):
    """One that may be made anew is tried once more after a loss, and again after a success."""
    login = attrs.evolve(LOGIN_COMMAND, replay=replay)
    talk = Talk()
    found = []
    for ok in (False, True, False, False):
        talk.session.lost(1.0, ConnectionLost("gone"))
        talk.session.dialled(2.0, login)
        talk.says(2.0)
        talk.hears({"ok": ok, "error": None if ok else NO}, now=2.0)
        if not ok:
            found.append(type(talk.session.doom))
    assert dooms == found


# Subscriptions ---------------------------------------------------------------------------------------------------------------


class Source:
    """A connection, as a subscription knows it."""

    def __init__(self, **ids: str) -> None:
        self.say(**ids)

    def say(self, **ids: str) -> None:
        self.aliases = {f"price {one}".encode(): (topic(name),) for one, name in ids.items()}


def interpret(update: Any, reading: Any) -> list[Trade]:
    """An event with the name of its topic as `channel`."""
    names = [one.name for one in map(reading.topics.get, update.keys) if one is not None]
    return [Trade("ids", name, None, None, 0.0, None, None, None, None, None, None) for name in names]


def made(*names: str, overflow: str = DROP_OLDEST, queue_size: int = 100) -> Subscription:
    return Subscription(
        "test",
        [topic(name) for name in names],
        attrs.evolve(IDS, interpret=interpret),
        clock=SystemClock(),
        queue_size=queue_size,
        overflow=overflow,
        gaps=False,
        raw=False,
        numbers=Decimal,
        block_limit=1.0,
        leave=lambda *_: None,
        forget=lambda _: None,
    )


def drained(subscription: Subscription) -> list[Any]:
    items = []
    while True:
        try:
            items.append(subscription.get_nowait())
        except UpdateTimeout:
            return items


NAMES = ("price A", "price B")


def channels(found: list[Any]) -> list[str]:
    return [event.channel for event in found]


@pytest.mark.parametrize(("overflow", "order"), [(DROP_OLDEST, "ABAB"), (LATEST, "ABB")])
def test_each_is_read_by_what_its_id_meant(overflow, order):
    """Then, and on that connection: ids change hands, and two connections may give the same one."""
    subscription = made(*NAMES, overflow=overflow)
    first, second = Source(x1="price A", x2="price Z"), Source(x1="price B")
    x1 = update("price x1")
    subscription.put(first, [x1], 1)
    subscription.put(second, [x1], 2)
    subscription.put(first, [x1], 3)
    newest = subscription.latest.channel
    first.say(x1="price B")
    subscription.put(first, [x1], 4)
    assert ("price A", "price B") == (newest, subscription.latest.channel)
    assert [f"price {letter}" for letter in order] == channels(drained(subscription))


def test_latest_keeps_one_of_each():
    """Two connections that take turns do not make it grow."""
    subscription = made(*NAMES, overflow=LATEST)
    sources = Source(x1="price A"), Source(x1="price B")
    for _ in range(100):
        for source in sources:
            subscription.put(source, [update("price x1")], 1)
    assert ["price A", "price B"] == channels(drained(subscription))


def test_names_cost_no_room():
    """What the ids mean is not a message: one that fits is not dropped for it."""
    subscription = made("price A", overflow=DROP_NEWEST, queue_size=1)
    source = Source(x1="price A")
    subscription.stated(source, (topic("price A"),), 1)
    subscription.put(source, [update("price x1")], 1)
    assert (["price A"], 0) == (channels(drained(subscription)), subscription.dropped)


def test_others_ids_change_nothing():
    """A connection that learns ids of topics that are not ours costs no marker."""
    subscription = made("price A")
    source = Source(x1="price A")
    subscription.put(source, [update("price x1")], 1)
    source.say(x1="price A", x7="price Z")
    subscription.put(source, [update("price x1")], 2)
    assert 3 == len(subscription._buffer)
    assert ["price A"] * 2 == channels(drained(subscription))
