"""
The session against a made-up exchange, in whatever order things happen: time, replies, refusals, delays, losses.

At any time: no wait goes on beyond its deadline, or is ended twice; nothing is said twice, nor after its caller was told that
it was not sent, nor where the exchange wants nothing new; what has to be true when it is said is so; an answer is given to who
asked; and no window holds more than the budget. Once the exchange answers again: every wait has ended; what is subscribed is
what is wanted; who wants a stream that begins with a snapshot, and can have it, has had it; nobody ended for another one's
fault. When it is closed, nothing is kept.

The tests have a few of such conversations, `tests/properties/conversations.py` as many as one has time for.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import attrs
import pytest
from core_languages import DELTA, IDS, LOGIN_COMMAND, SNAPSHOTS, STRICT, SWAP, topics, update, wire
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exchange_ws.core.dialect import CatchUp, Dialect, Found
from exchange_ws.core.messages import PING, Command, Limits, Pace
from exchange_ws.core.recovery import Asked
from exchange_ws.core.session import CLOSED, OPCODE_PING, OPEN, Backoff, Pending, Session
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    RequestTimeout,
    SubscriptionRejected,
)

PACE = Pace(12, 20.0, "made up")
REPLY_LIMIT_S = 10.0
SINKS = ("one", "two", "three")
REFUSED = 7  #: the exchange's code for a bad symbol

NAMES = {
    "swap": ["price A", "price B", "price X", "price *", "depth B"],
    "delta": ["tick A", "tick B", "tick X", "tick *", "book B", "feed A", "chain A", "chain B"],
    "ids": ["price A", "price B", "price X", "price C"],
    "strict": ["tick A", "tick B", "tick X", "tick *", "chain B", "feed A"],
}

#: The first language; what prices missed can be asked for.
ASKED = attrs.evolve(
    SWAP,
    catch_up=CatchUp(
        queries=lambda one, first: (Command("query", one.args, replay=True),) if one.label == "price" else (),
        read=lambda one, results, reading: Found((), whole=True),
        state=lambda one: None,
    ),
)

LANGUAGES = {dialect.name: dialect for dialect in (ASKED, DELTA, IDS, STRICT)}

COMMANDS = [Command("query", replay=True), Command("order"), Command("ping", kind=PING, replay=True), Command("tell")]
#: One for a language in which replies tell the channel at most; nothing else of that is said while it is under way.
OF_A_CHANNEL = Command("look", ("price",), replay=True, channel="price")

#: What no request asked for, in each language.
BABBLE = {
    "swap": [{"id": 10**6, "ok": True}, {"id": "none", "ok": False, "error": {"message": "what?"}}, {"note": "hello"}],
    "delta": [{"to": "nothing", "ok": True}, {"to": "nothing", "ok": False, "error": {"message": "what?"}}, {"note": "hello"}],
    "ids": [{"to": "nothing", "re": "nothing", "ok": True}],
    "strict": [{"id": 10**6, "ok": True}, {"id": "none", "ok": True, "not": {"tick A": {"message": "what?"}}}],
}

#: What a session remembers of its link, of calls and of topics. When it is closed, all of this is empty.
MEMORY = (
    "_waiting _awaited _tombstones _urgent _calls _said _saying _joins _held_back _leaves _stated _unsure _dirty _index "
    "_channels topics characters _learned _aliases _gone _ids _early routes _every_route _crowds _missed _questions _doubted "
    "_returning _apart"
).split()
#: What is empty at rest too, when all was answered.
UNDER_WAY = "_urgent _calls _said _saying _leaves _unsure _early _doubted _returning _apart".split()


class Exchange:
    """The other side of one link, for both languages: it obeys in order, and answers when it is told to."""

    def __init__(self, language: str, bad: set[str]) -> None:
        self.language = language
        self.bad = bad  # symbols that it refuses; the same on all links
        self.on: set[str] = set()
        self.ids: dict[str, str] = {}  # of a topic, in the language that has them; each link begins anew
        self.given = 0
        self.pings: list[bytes] = []  # frames
        self.inbox: list[dict[str, Any]] = []
        self.replies: list[bytes] = []
        self.overtakes = False  # a snapshot comes before the reply to its subscribe, not behind it
        self.snapshots: list[tuple[str, bytes]] = []  # of topics, among the replies; known by which object it is
        self.restarts = False  # nothing new is taken any more

    def verb(self, body: dict[str, Any]) -> tuple[str, list[str]]:
        """What is asked: subscribe, unsubscribe or anything else; and the topics by name."""
        if self.language != "swap":
            return {"sub": "subscribe", "unsub": "unsubscribe"}.get(body["op"], body["op"]), body["args"]
        channel, _, verb = body["method"].rpartition("_")
        return verb, [f"{channel} {symbol}" for symbol in body["params"]]

    def obey(self, kind: str = "", answer: bool = True, take: bool = False) -> None:
        """
        Take the oldest command; *kind* refuses it in that way.

        *take*: a refused subscribe takes its channel's topics with it, or only what is bad of it is refused.
        """
        body = self.inbox.pop(0)
        verb, names = self.verb(body)
        error: dict[str, Any] | None = None
        begun: list[str] = []
        if kind:
            error = {"message": "not now", "kind": kind}
        elif verb == "subscribe" and any(name[-1] in self.bad for name in names):
            error = {"message": "no such market", "code": REFUSED}
        elif verb == "subscribe" and any(name.startswith("chain") and name in self.on for name in names):
            error = {"message": "subscribed already", "kind": "already"}  # and the others of the same breath are not
        if self.language == "swap":
            if verb in ("subscribe", "unsubscribe"):
                channel = body["method"].rpartition("_")[0]
                if error is None or take:
                    self.on = {name for name in self.on if not name.startswith(channel)}
                if error is None:
                    self.on.update(names)
            reply: dict[str, Any] = {"id": body["id"], "ok": error is None, "error": error, "result": body["id"]}
        elif self.language == "strict":
            before = set(self.on)
            reply = {"id": body["id"], "result": body["id"], **self.strictly(verb, names, error, take)}
            begun += sorted(self.on - before)
        elif self.language == "ids":
            reply = {"re": body["op"], "ok": error is None, "error": error}
            if body["op"] == OF_A_CHANNEL.method:
                reply["to"] = OF_A_CHANNEL.channel
            if error is None and verb == "subscribe":
                [name] = names
                if name not in self.on:
                    self.given += 1
                    self.ids[name] = f"x{self.given}"
                self.on.add(name)
                reply["ids"] = {self.ids[name]: name.split()[1]}
            elif error is None and verb == "unsubscribe":
                self.on.difference_update(names)
        else:
            if error is None and verb == "subscribe":
                begun += [name for name in names if name not in self.on or SNAPSHOTS.get(name.split()[0]) == "repeatable"]
                self.on.update(names)
            elif error is None and verb == "unsubscribe":
                self.on.difference_update(names)
            reply = {"pong": 1} if verb == "ping" else {"to": body["op"], "ok": error is None, "error": error}
        snapshots = [(name, self.news(name)) for name in begun if name.split()[0] in SNAPSHOTS]
        self.snapshots += snapshots
        answers = [wire(reply)] if answer and verb != "tell" else []
        # Not one of a topic that flows: nobody could tell it from the other news.
        early = [message for name, message in snapshots if self.overtakes and name.startswith("chain")]
        self.replies += [*early, *answers, *(message for _, message in snapshots if message not in early)]

    def strictly(self, verb: str, names: list[str], error: dict[str, Any] | None, parts: bool) -> dict[str, Any]:
        """What comes of it where all of a subscribe is refused for one topic that is subscribed, or for one that is bad."""
        if self.restarts:
            return {"ok": False, "error": {"message": "restarting", "code": REFUSED, "kind": "transient", "renew": True}}
        if verb == "unsubscribe":
            self.on.difference_update(names)
        if verb != "subscribe":
            return {"ok": error is None, "error": error}
        bad = {name: {"message": "no such market", "code": REFUSED} for name in names if name[-1] in self.bad}
        known = {name: {"message": "already", "code": REFUSED, "kind": "already"} for name in names if name in self.on}
        if parts and (error is None or bad):
            self.on.update(set(names) - bad.keys())
            return {"ok": True, "not": {**bad, **known}}
        error = next(iter(known.values()), None) if error is None else error
        self.on.update(names if error is None else ())
        return {"ok": error is None, "error": error}

    def carries(self, name: str) -> bool:
        """Whether news of this topic flow: on its own, or as one of all."""
        if self.language == "ids":
            return name in self.on
        return name in self.on or (name[-1] not in self.bad and name.split()[0] + " *" in self.on)

    def news(self, name: str) -> bytes:
        """An update of this topic, under its id where it has one."""
        return update(f"price {self.ids[name]}" if self.language == "ids" else name)


class Conversation(RuleBasedStateMachine):
    """One session, its driver and its exchange, on one clock that only the rules turn."""

    dialect: Dialect

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.dial_at = math.inf  # finite: there is no link
        self.outage_until = 0.0  # no dial succeeds before
        self.pendings: list[Pending] = []
        self.settled: Counter[int] = Counter()  # by serial
        self.innocent: list[Pending] = []  # of wishes for good topics only, while what is good does not change
        self.guilty: set[str] = set()  # sinks that ever wished for a bad one
        self.said_at: list[float] = []
        self.said: set[int] = set()  # serials, in the language that shows them
        self.in_flight: dict[str, tuple[int, float]] = {}  # what was said last of a channel, and when, until it is answered
        self.statements = 0  # said since somebody looked, in the languages that have one verb for all channels
        self.quiet = False  # the exchange wants nothing new on this link
        self.asked: Counter[tuple[str, str]] = Counter()  # questions without an answer, by sink and topic
        self.had: set[tuple[str, str]] = set()  # sinks and topics whose snapshot they have had, and no hole since

    @property
    def has_ids(self) -> bool:
        """Whether replies tell which command they answer."""
        return self.dialect.name in ("swap", "strict")

    @initialize(logs_in=st.booleans(), patience=st.sampled_from([None, None, 30.0]))
    def begin(self, logs_in, patience):
        self.login = LOGIN_COMMAND if logs_in else None
        self.session = Session(
            self.dialect,
            "made-up",
            limits=Limits(requests=PACE),
            ping_interval=50.0,
            pong_timeout=10.0,
            reply_limit=REPLY_LIMIT_S,
            backoff=Backoff(base=0.5, cap=4.0, give_up_after=patience),
            chance=lambda low, high: high,
        )
        self.exchange = Exchange(self.dialect.name, {"X"})
        self.session.dialling()
        self.session.dialled(0.0, self.login)
        if logs_in:  # the first link has to come to OPEN, or all is over
            self.go_on(0.0)
            self.exchange.obey()
            self.deliver_all()

    # The driver ------------------------------------------------------------------------------------------------------------

    def turn(self) -> float:
        """Tick, write, carry out; returns when to come again."""
        self.session.tick(self.now)
        for opcode, data in self.session.take_outbox(self.now):
            if opcode == OPCODE_PING:
                self.exchange.pings.append(data)
                continue
            body = json.loads(data)
            self.said_at.append(self.now)
            assert not self.quiet, "said where nothing new is wanted"
            assert body.get("head", {"now": str(self.now)}) == {"now": str(self.now)}, "a header of another moment"
            self.exchange.inbox.append(body)
            self.statements += body.get("op") in ("sub", "unsub")
            if "id" in body:
                assert body["id"] not in self.said, "said twice"
                assert body["id"] not in self.settled, "said after its caller was told what became of it"
                self.said.add(body["id"])
            if "method" in body and body["method"].endswith("subscribe"):
                channel = body["method"].rpartition("_")[0]
                _, before = self.in_flight.get(channel, (0, -math.inf))
                assert before + REPLY_LIMIT_S <= self.now, "two statements of one channel cross"
                self.in_flight[channel] = body["id"], self.now
        due = self.session.tick(self.now)
        assert due > self.now, "a timer would spin"
        self.carry_out()
        late = [pending for pending in self.pendings if pending.deadline <= self.now and pending.serial not in self.settled]
        assert [] == late, "a wait goes on beyond its deadline"
        return due

    def carry_out(self) -> None:
        decided = self.session.take_decisions()
        if decided is not None:
            self.settled.update(pending.serial for pending in decided.settled)
            for pending in decided.settled:
                self.check(pending)
            for sinks, message in decided.released:
                [name] = [name for name in self.exchange.ids if self.exchange.news(name) == message]
                assert set(sinks) <= self.who_wants(name)
            for sinks, what in decided.recoveries:
                if isinstance(what, Asked):
                    self.asked.update((sink, what.topic.name) for sink in sinks)
                elif not what.first:
                    self.asked.subtract((sink, what.topic.name) for sink in sinks)
            assert set(self.asked.values()) <= {0, 1}, "a second question before the answer, or an answer to none"
            for sink, error in decided.ended:
                if isinstance(error, SubscriptionRejected) and error.code == REFUSED:
                    assert sink in self.guilty, f"sink {sink} ended for another one's fault"
        if self.session.doom is not None and self.dial_at == math.inf and self.session.state != CLOSED:
            self.cut()

    def check(self, pending: Pending) -> None:
        """What a wait has ended with is true."""
        if self.has_ids and pending.reply is not None and pending.error is None:
            assert pending.serial == pending.reply.result, "another one's answer"
        if pending.command is not None and isinstance(pending.error, (ConnectionClosed, ConnectionLost, RequestTimeout)):
            assert (pending.sent_at is not None) == pending.error.sent
            assert not self.has_ids or (pending.serial in self.said) == pending.error.sent

    def cut(self) -> None:
        """The link is gone, with all that was on its way."""
        error = self.session.doom or ConnectionLost("cut")
        due = None
        if isinstance(error, AuthenticationError):
            self.session.refuse_login(error)
        else:
            due = self.session.lost(self.now, error)
        self.dial_at = math.inf if due is None else due
        self.exchange = Exchange(self.dialect.name, self.exchange.bad)
        self.in_flight.clear()
        self.asked.clear()
        self.had.clear()
        self.quiet = False
        self.carry_out()

    def dial(self) -> None:
        self.now = max(self.now, self.dial_at)
        self.dial_at = math.inf
        self.session.dialling()
        if self.now >= self.outage_until:
            self.session.dialled(self.now, self.login)
            return
        due = self.session.lost(self.now, ConnectFailed("nobody there"), 5.0)
        self.dial_at = math.inf if due is None else due
        self.carry_out()

    def hear(self, message: bytes) -> tuple[Any, ...]:
        """As the reader does: by the routes, and else by the session."""
        self.session.heard(self.now, len(message), 1)
        sinks = self.session.routes.get(self.dialect.route(message) or b"")
        if sinks is None:
            sinks = self.session.receive(message, self.now)
        self.had.update((sink, name) for name, sent in self.exchange.snapshots if sent is message for sink in sinks)
        answered = json.loads(message).get("id") if message.endswith(b"}") else None
        body = json.loads(message) if message.endswith(b"}") else {}
        self.quiet = self.quiet or "renew" in (body.get("error") or ())
        answered = body.get("id")
        self.in_flight = {channel: said for channel, said in self.in_flight.items() if said[0] != answered}
        self.carry_out()
        return sinks

    def go_on(self, until: float) -> None:
        """Let time pass, with a turn at each moment that the session asked for."""
        while self.session.state != CLOSED:
            due = self.turn()
            if min(due, self.dial_at) > until:
                break
            if self.dial_at <= due:
                self.dial()
            else:
                self.now = due
        self.now = max(self.now, until)

    # What may happen -------------------------------------------------------------------------------------------------------

    @rule(sink=st.sampled_from(SINKS), data=st.data(), seconds=st.sampled_from([3.0, 30.0, 300.0]))
    def want(self, sink, data, seconds):
        names = data.draw(st.sets(st.sampled_from(NAMES[self.dialect.name]), min_size=1, max_size=2))
        self.had.difference_update((sink, one.name) for one in topics(*names) - self.session.wanted(sink))
        pending = self.session.want(sink, topics(*names), self.now, self.now + seconds)
        self.pendings.append(pending)
        if any(name[-1] in self.exchange.bad for name in names):
            self.guilty.add(sink)
        elif "B" not in self.exchange.bad:
            self.innocent.append(pending)
        self.carry_out()

    @rule(sink=st.sampled_from(SINKS), data=st.data(), seconds=st.sampled_from([3.0, 30.0]))
    def unwant(self, sink, data, seconds):
        names = data.draw(st.sets(st.sampled_from(NAMES[self.dialect.name]), min_size=1, max_size=3))
        self.pendings.append(self.session.unwant(sink, topics(*names), self.now, self.now + seconds))
        self.carry_out()

    @precondition(lambda self: self.had)
    @rule(data=st.data())
    def find_a_hole(self, data):
        """In a stream that has begun with a snapshot. A restatement of what flows may be refused: a book asks anew."""
        sink, name = data.draw(st.sampled_from(sorted(self.had)))
        self.session.restate(self.session.wanted(sink) & topics(name))
        if name.startswith("chain"):
            self.had.discard((sink, name))

    @rule(overtakes=st.booleans())
    def send_snapshots(self, overtakes):
        """Before or behind the reply to the subscribe from now on."""
        self.exchange.overtakes = overtakes

    @rule(data=st.data(), count=st.integers(1, 8), seconds=st.sampled_from([3.0, 30.0]))
    def submit(self, data, count, seconds):
        dated = Command("order", ("dated",), header=lambda: {"now": str(self.now)})
        more = {"ids": [OF_A_CHANNEL], "strict": [dated]}.get(self.dialect.name, [])
        command = data.draw(st.sampled_from([*COMMANDS, *more]))
        for _ in range(count):
            self.pendings.append(self.session.submit(command, self.now, self.now + seconds))
        self.carry_out()

    @rule(seconds=st.sampled_from([0.0, 0.0, 1.0, 7.0, 20.0]))
    def wait(self, seconds):
        self.go_on(self.now + seconds)

    @rule(seconds=st.sampled_from([0.5, 20.0, 3600.0]), told=st.booleans())
    def stand_still(self, seconds, told):
        """The process is stopped, or the machine sleeps, and no turn is had; the timer may notice, or not be the first."""
        self.now += seconds
        if told:
            self.session.prove(self.now)

    @rule(seconds=st.sampled_from([3.0, 60.0]))
    def fail_dials(self, seconds):
        self.outage_until = self.now + seconds

    @rule(take=st.booleans())
    def converse(self, take):
        """A while in which the exchange does as it should."""
        for _ in range(10):
            self.go_on(self.now)
            while self.exchange.inbox:
                self.exchange.obey(take=take)
            self.deliver_all()
            self.pong_all()

    @precondition(lambda self: "B" not in self.exchange.bad)
    @rule()
    def delist(self):
        """What was good is refused from now on: the newest wish is the first that is suspected, so no one is innocent now."""
        self.exchange.bad.add("B")
        self.innocent.clear()
        self.guilty.update(SINKS)

    @precondition(lambda self: self.exchange.inbox)
    @rule(take=st.booleans())
    def obey(self, take):
        self.exchange.obey(take=take)

    @precondition(lambda self: [body for body in self.exchange.inbox[:1] if self.has_ids or body.get("op") == "login"])
    @rule()
    def obey_in_silence(self):
        """Not in the languages without ids, where a reply that never comes shifts all others; a login's costs the link."""
        self.exchange.obey(answer=False)

    @precondition(lambda self: self.session.step == "logging in" and len(self.exchange.inbox) == 1)
    @rule(kind=st.sampled_from(["transient", "too many", "unauthorized", "rejected"]))
    def refuse_the_login(self, kind):
        self.exchange.obey(kind)
        self.deliver_all()

    @rule(data=st.data())
    def babble(self, data):
        """Answers that nobody waits for, news of nothing, and what is no message at all."""
        if self.dial_at == math.inf:
            body = data.draw(st.sampled_from([*BABBLE[self.dialect.name], update("nothing A"), b"{"]))
            assert () == self.hear(body if isinstance(body, bytes) else wire(body))

    @precondition(lambda self: self.exchange.pings)
    @rule()
    def pong(self):
        self.pong_all()

    @precondition(lambda self: self.exchange.inbox and not self.exchange.replies and self.said_at[-1:] == [self.now])
    @rule(kind=st.sampled_from(["too many", "transient"]))
    def refuse_for_now(self, kind):
        """At once: a refusal after the statement timed out would leave what it was to drop."""
        while len(self.exchange.inbox) > 1:
            self.exchange.obey()
        self.exchange.obey(kind)
        self.deliver_all()

    @precondition(lambda self: self.dialect is STRICT and self.session.state == OPEN)
    @rule(count=st.integers(0, 3), replay=st.booleans(), data=st.data())
    def restart(self, count, replay, data):
        """From one of the things on their way on, the exchange takes nothing new; those before are still to be answered."""
        calls = [self.session.submit(Command("order", replay=replay), self.now, self.now + 30.0) for _ in range(count)]
        self.pendings += calls
        self.turn()
        for _ in range(data.draw(st.integers(0, max(0, len(self.exchange.inbox) - 1)))):
            self.exchange.obey()
        self.exchange.restarts = True
        if self.exchange.inbox:
            refused = self.exchange.inbox[0]
            self.exchange.obey()
            if refused["op"] != "tell":
                self.hear(self.exchange.replies.pop())

    @precondition(lambda self: self.dialect is STRICT)
    @rule(sink=st.sampled_from(SINKS), data=st.data(), take=st.booleans())
    def find_subscribed(self, sink, data, take):
        """What is stated for a wish is subscribed already in part, by an earlier statement perhaps."""
        self.want(sink, data, 30.0)
        self.turn()
        for body in self.exchange.inbox:
            if body["op"] == "sub":
                # Not where a bad one is refused for that: what is subscribed in fact was in doubt, or the session knew of it.
                if not any(name[-1] in self.exchange.bad for name in body["args"]):
                    self.exchange.on.add(data.draw(st.sampled_from(body["args"])))
        while self.exchange.inbox:
            self.exchange.obey(take=take)

    @precondition(lambda self: self.exchange.replies)
    @rule(data=st.data(), twice=st.booleans())
    def deliver(self, data, twice):
        """In any order where replies carry ids, and perhaps twice; else in theirs."""
        last = len(self.exchange.replies) - 1 if self.has_ids else 0
        reply = self.exchange.replies.pop(data.draw(st.integers(0, last)))
        self.hear(reply)
        if twice and self.has_ids and self.dial_at == math.inf:
            self.hear(reply)

    @precondition(lambda self: self.exchange.on)
    @rule()
    def push(self):
        """News of all that is subscribed go to nobody who does not want them."""
        for name in NAMES[self.dialect.name]:
            if self.exchange.carries(name) and not name.endswith("*"):
                assert set(self.hear(self.exchange.news(name))) <= self.who_wants(name)

    @precondition(lambda self: self.session.ever_open and self.dial_at == math.inf and self.session.state != CLOSED)
    @rule()
    def lose(self):
        """At any stage of a link: logging in, stating topics, open."""
        self.cut()

    @precondition(lambda self: self.now > 100.0)  # late, since little happens afterwards
    @rule()
    def close(self):
        self.session.close(self.now)
        self.dial_at = math.inf
        self.carry_out()

    # What always holds -----------------------------------------------------------------------------------------------------

    def who_wants(self, name: str) -> set[str]:
        either = topics(name, name.split()[0] + " *")
        return {sink for sink in SINKS if self.session.wanted(sink) & either}

    @invariant()
    def settled_at_most_once(self):
        assert set(self.settled.values()) <= {1}

    @invariant()
    def within_the_budget(self):
        latest = [moment for moment in self.said_at if moment + PACE.window_s > self.now]
        assert len(latest) <= PACE.count

    @invariant()
    def tables_are_whole(self):
        """What is brought up to date topic by topic is what a look at everything gives."""
        session = self.session
        entries = {(join, topic) for join in session._joins for topic in join.topics}
        assert entries == {entry for some in session._index.values() for entry in some}
        assert all(key == topic.key for key, some in session._index.items() for _, topic in some)
        held = frozenset().union(*(join.topics for join in session._joins), session._stated, session._unsure)
        names = [topic.name for topic in held]
        assert (held, len(held)) == (session.held(), session.topics)
        assert all(held & session.held(topic.channel) == session.held(topic.channel) for topic in held)
        assert not held or len(json.dumps(names, separators=(",", ":"))) == session.characters + 1
        assert session._watch.any_silent == any(pulse.silent for pulse in session._watch._pulses.values())
        before = [{key: set(sinks) for key, sinks in table.items()} for table in (session.routes, session._every_route)]
        session._reroute_all()
        assert before == [{key: set(sinks) for key, sinks in table.items()} for table in (session.routes, session._every_route)]

    def deliver_all(self) -> None:
        while self.exchange.replies:
            self.hear(self.exchange.replies.pop(0))

    def pong_all(self) -> None:
        while self.exchange.pings:
            self.session.pong_frame(self.exchange.pings.pop(0), self.now)
            self.carry_out()

    def teardown(self) -> None:
        """The exchange answers again; when all deadlines are over, all is as it should be."""
        if not hasattr(self, "session"):
            return  # it was not even begun
        end = self.now + 400.0
        self.outage_until = 0.0
        self.statements = 0  # those before do not count, also where the session was closed long ago
        while self.session.state != CLOSED and self.now < end:
            if self.dial_at < math.inf:
                self.dial()
            due = self.turn()
            if self.exchange.inbox or self.exchange.replies or self.exchange.pings:
                while self.exchange.inbox:
                    self.exchange.obey()
                self.deliver_all()
                self.pong_all()
            elif self.dial_at == math.inf:
                self.now = min(due, end)
            if self.now < end - 300.0:
                self.statements = 0
        # All was answered a hundred seconds ago. What was silent may be stated again, seldom.
        assert self.statements < 12, "the same is said for ever"
        self.settled_at_most_once()
        assert self.session.state == CLOSED or not any(self.asked.values()), "a question without an end"
        assert [] == [pending.command for pending in self.pendings if pending.serial not in self.settled]
        codes = [getattr(pending.error, "code", None) for pending in self.innocent]
        assert REFUSED not in codes, "a good wish was refused for another one's fault"
        if self.session.state != CLOSED:
            self.check_what_is_subscribed()
            under_way = {name: found for name in UNDER_WAY if (found := getattr(self.session, name))}
            assert {} == under_way, f"kept at rest: {sorted(under_way)}"
            self.session.close(self.now)
            self.carry_out()
        kept = {name: found for name in MEMORY if (found := getattr(self.session, name))}
        assert {} == kept, "kept after the close"
        assert self.session.take_decisions() is None
        self.settled_at_most_once()

    def check_what_is_subscribed(self) -> None:
        assert self.session.state == OPEN
        wanted = {topic.name for sink in SINKS for topic in self.session.wanted(sink)}
        assert wanted == self.exchange.on
        for name in NAMES[self.dialect.name]:
            if self.exchange.carries(name) and not name.endswith("*"):
                assert set(self.hear(self.exchange.news(name))) == self.who_wants(name)
                if SNAPSHOTS.get(name.split()[0]):
                    assert {(sink, name) for sink in self.who_wants(name)} <= self.had, f"no snapshot of {name} came"


def converse(dialect: Dialect, examples: int) -> None:
    """So many conversations in this language."""
    machine = type("Conversation", (Conversation,), {"dialect": dialect})
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks)
    )


@pytest.mark.parametrize("dialect", LANGUAGES.values(), ids=LANGUAGES)
def test_conversations(dialect):
    """In whatever order things happen, what is said above holds."""
    converse(dialect, 40)
