"""The state machine, with literals for bytes and numbers for time: no threads, no waiting."""

from __future__ import annotations

import itertools
import json
import math
import weakref
from typing import Any

import attrs
import pytest
from core_languages import DELTA, IDS, LOGIN_COMMAND, SWAP, topic, topics, update, wire
from life_helpers import collect

from exchange_ws.core import session as session_module
from exchange_ws.core.dialect import Dialect
from exchange_ws.core.messages import PING, Command, Heartbeat, Limits, Pace
from exchange_ws.core.session import (
    CLOSE,
    CLOSED,
    CONNECTING,
    GAVE_UP,
    LATE_S,
    LOST,
    MALFORMED,
    OPCODE_PING,
    OPEN,
    READY,
    RECONNECTING,
    REFUSED,
    RENEW_WAIT_S,
    RESERVE,
    RETRY_S,
    STEADY_S,
    THROTTLE_S,
    TOMBSTONES,
    TRANSITIONS,
    TRY_AGAIN,
    Backoff,
    Decisions,
    Pending,
    Session,
)
from exchange_ws.core.silence import LOOK_S
from exchange_ws.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    SubscriptionRejected,
    UsageError,
    WireError,
)

QUERY = Command("query", replay=True)
ORDER = Command("order")
ONE, TWO, THREE = "sink one", "sink two", "sink three"

#: A refusal, as both languages write it.
NO = {"message": "no", "code": 7}

LOSS = ConnectionLost("the link broke")


class Talk:
    """A session, and what a test needs to play its driver and the exchange; each turn asserts that a timer would not spin."""

    def __init__(
        self,
        dialect: Dialect = SWAP,
        *,
        requests: Pace | None = None,
        backoff: Backoff | None = Backoff(),  # noqa: B008 - a frozen value
        chance: Any = lambda low, high: high,
        ping_interval: float = 50.0,
    ) -> None:
        self.session = Session(
            dialect,
            "made-up",
            limits=Limits(requests=requests),
            ping_interval=ping_interval,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=backoff,
            chance=chance,
        )

    def opened(self, now: float = 0.0) -> Talk:
        """Dialled, and OPEN where nothing has to be stated first."""
        self.session.dialling()
        self.session.dialled(now, None)
        return self

    def frames(self, now: float) -> list[tuple[int, bytes]]:
        """One turn of the driver: tick, then write."""
        self.session.tick(now)
        frames = self.session.take_outbox(now)
        assert self.session.tick(now) > now, "a timer would spin"
        return frames

    def said(self, now: float) -> list[Any]:
        """What is said at *now*, as values."""
        return [json.loads(data) for _, data in self.frames(now)]

    def methods(self, now: float) -> list[str]:
        """What is said at *now*, in short: ``"price_subscribe A B"``."""
        return [
            " ".join([body.get("method") or body["op"], *body.get("params", body.get("args", ()))]) for body in self.said(now)
        ]

    def hears(self, body: Any, now: float = 0.0) -> tuple[Any, ...]:
        """The exchange says *body*; returns the sinks that it is delivered to."""
        return self.session.receive(body if isinstance(body, bytes) else wire(body), now)

    def answers(self, serial: int, now: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """The exchange, speaking SWAP, answers the command with this serial."""
        self.hears({"id": serial, "ok": error is None, "error": error}, now)

    def agrees(self, now: float) -> list[str]:
        """Until nothing more is said, the exchange, speaking SWAP, says yes to all; returns what it said yes to."""
        heard = []
        while bodies := self.said(now):
            for body in bodies:
                heard.append(" ".join([body["method"], *body["params"]]))
                self.answers(body["id"], now)
        return heard

    def want(self, sink: str, *names: str, now: float = 0.0, deadline: float = 1000.0) -> Pending:
        return self.session.want(sink, topics(*names), now, deadline)

    def unwant(self, sink: str, *names: str, now: float = 0.0, deadline: float = 1000.0) -> Pending:
        return self.session.unwant(sink, topics(*names), now, deadline)

    def decided(self) -> Decisions:
        return self.session.take_decisions() or Decisions()


def errors(*pendings: Pending) -> list[type | None]:
    """Classes of the errors that they were settled with; None where there is none."""
    assert all(pending.settled for pending in pendings)
    return [None if pending.error is None else type(pending.error) for pending in pendings]


def subscribed(*names: str, dialect: Dialect = SWAP, **options: Any) -> Talk:
    """OPEN, speaking SWAP, with the topics of sink one confirmed and everything decided taken away."""
    talk = Talk(dialect, **options).opened()
    talk.want(ONE, *names)
    talk.agrees(0.0)
    talk.decided()
    return talk


# The table -------------------------------------------------------------------------------------------------------------------

STATES = [CONNECTING, OPEN, RECONNECTING, CLOSED]
EVENTS = [READY, LOST, TRY_AGAIN, REFUSED, GAVE_UP, CLOSE]


def in_state(state: str) -> Talk:
    """A session that came to *state* in the ordinary way."""
    talk = Talk()
    if state != CONNECTING:
        talk.opened()
    if state == RECONNECTING:
        talk.session.lost(0.0, LOSS)
    if state == CLOSED:
        talk.session.close(0.0)
    assert state == talk.session.state
    talk.decided()
    return talk


@pytest.mark.parametrize(("state", "event"), list(itertools.product(STATES, EVENTS)))
def test_every_pair_of_the_table(state, event):
    """A listed pair leads where the table says, and a new state is told; any other is an error that changes nothing."""
    talk = in_state(state)
    expected = TRANSITIONS.get((state, event), state)
    if (state, event) in TRANSITIONS:
        talk.session._step(event)
    else:
        with pytest.raises(KeyError):
            talk.session._step(event)
    assert (expected, [expected] if expected != state else []) == (talk.session.state, talk.decided().states)


def test_the_table_names_nothing_else():
    """Every state and event of the table is one that this file walks."""
    assert set(TRANSITIONS) <= set(itertools.product(STATES, EVENTS))


def do_ready(talk):
    talk.opened()


def do_lose(talk):
    talk.session.lost(1.0, LOSS)


def do_refuse(talk):
    talk.session.refuse_login(AuthenticationError("wrong key"))


def do_fail(talk):
    talk.session.fail(WireError("a bug"))


def do_close(talk):
    talk.session.close(1.0)


@pytest.mark.parametrize(
    ("state", "do", "expected"),
    [
        (CONNECTING, do_ready, OPEN),
        (CONNECTING, do_lose, CLOSED),
        (CONNECTING, do_refuse, CLOSED),
        (CONNECTING, do_fail, CLOSED),
        (CONNECTING, do_close, CLOSED),
        (OPEN, do_lose, RECONNECTING),
        (OPEN, do_fail, CLOSED),
        (OPEN, do_close, CLOSED),
        (RECONNECTING, do_ready, OPEN),
        (RECONNECTING, do_lose, RECONNECTING),
        (RECONNECTING, do_refuse, CLOSED),
        (RECONNECTING, do_fail, CLOSED),
        (RECONNECTING, do_close, CLOSED),
        (CLOSED, do_ready, CLOSED),  # closed while the login was made by REST
        (CLOSED, do_lose, CLOSED),
        (CLOSED, do_refuse, CLOSED),
        (CLOSED, do_fail, CLOSED),
        (CLOSED, do_close, CLOSED),
    ],
)
def test_what_a_driver_reports(state, do, expected):
    """Each thing that a driver can report in a state leads where the table says."""
    talk = in_state(state)
    do(talk)
    assert expected == talk.session.state


def test_dialled_after_close():
    """Who closed while the reader was dialling gets a link that is given up at once, not one that lives on unseen."""
    talk = in_state(CLOSED)
    talk.opened(1.0)
    assert (ConnectionClosed, []) == (type(talk.session.doom), talk.frames(1.0))


# Backoff ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"base": -1.0}, {"cap": math.inf}, {"give_up_after": math.nan}, {"base": "1"}, {"base": None}, {"cap": True}]
)
def test_senseless_backoff(options):
    """What is no number of seconds is refused with the parameter's name."""
    with pytest.raises(UsageError, match=next(iter(options))):
        Backoff(**options)


def test_backoff_is_full_jitter():
    """Each wait is drawn from 0 up to a limit that doubles until the cap."""
    asked = []
    backoff = Backoff(base=0.5, cap=3.0)
    for attempt in (0, 1, 2, 3, 10_000):
        backoff.delay(attempt, lambda low, high: asked.append((low, high)) or 0.0)
    assert [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 3.0), (0.0, 3.0)] == asked


def test_waits_grow_until_steady():
    """The waits grow over links that were short, and begin anew only after one that was OPEN for STEADY_S."""
    talk = Talk(backoff=Backoff(base=1.0, cap=100.0)).opened(0.0)
    dials = [talk.session.lost(1.0, LOSS), talk.session.lost(10.0, LOSS)]
    talk.opened(20.0)
    dials.append(talk.session.lost(20.0 + STEADY_S - 1.0, LOSS))
    talk.opened(200.0)
    dials.append(talk.session.lost(200.0 + STEADY_S, LOSS))
    assert [1.0 + 1.0, 10.0 + 2.0, 20.0 + STEADY_S - 1.0 + 4.0, 200.0 + STEADY_S + 1.0] == dials


def test_the_chance_is_injected():
    """The wait is what chance gives."""
    talk = Talk(chance=lambda low, high: (low + high) / 4).opened()
    assert 1.0 + 0.125 == talk.session.lost(1.0, LOSS)


def test_retry_after():
    """A server that says how long to stay away is obeyed, where that is longer than our own wait."""
    talk = Talk().opened()
    dials = [talk.session.lost(0.0, LOSS, retry_after_s=70.0), talk.session.lost(70.0, LOSS, retry_after_s=0.25)]
    assert [70.0, 71.0] == dials


def test_give_up_after():
    """So long without a connection, counted from the loss, and it ends with the last cause chained."""
    talk = Talk(backoff=Backoff(base=10.0, cap=10.0, give_up_after=25.0)).opened()
    waiting = talk.want(ONE, "price A")
    dials = [talk.session.lost(100.0, LOSS), talk.session.lost(110.0, LOSS)]
    cause = ConnectFailed("refused")
    dials.append(talk.session.lost(120.0, cause))
    assert [110.0, 120.0, None] == dials
    error = talk.session.error
    assert (CLOSED, ConnectFailed, cause, [ConnectFailed]) == (
        talk.session.state,
        type(error),
        error.__cause__,
        errors(waiting),
    )


def test_no_reconnect():
    """Without a backoff a loss ends everything with what lost it."""
    talk = Talk(backoff=None).opened()
    talk.want(ONE, "price A")
    assert (None, CLOSED, LOSS) == (talk.session.lost(1.0, LOSS), talk.session.state, talk.session.error)
    assert [(ONE, LOSS)] == talk.decided().ended


@pytest.mark.parametrize("error", [None, {"message": "no", "code": 7}])
def test_settled_comes_last(monkeypatch, error):
    """Who sees without a lock that a call is settled finds its answer there."""
    written: list[str] = []

    class Watched(Pending):
        __slots__ = ()

        def __setattr__(self, name: str, value: Any) -> None:
            written.append(name)
            super().__setattr__(name, value)

    monkeypatch.setattr(session_module, "Pending", Watched)
    talk = Talk().opened()
    pending = talk.session.submit(ORDER, 0.0, 10.0)
    talk.said(0.0)
    written.clear()
    talk.answers(pending.serial, 1.0, error)
    assert ({"reply", "error", "settled"}, "settled") == (set(written), written[-1])


def test_the_request_of_a_doubt():
    """Whoever has to look an order up finds what he said in the error, where nothing secret is."""
    talk = Talk(requests=Pace(3, 60.0, "made up")).opened()  # of which pings keep one
    order, secret = Command("order", [{"symbol": "A", "id": "mine"}]), Command("key", ["secret"], secret=True)
    shown = {"method": "order", "params": [{"symbol": "A", "id": "mine"}]}
    calls = [talk.session.submit(command, 0.0, deadline) for command, deadline in ((order, 1.0), (secret, 9.0), (order, 2.0))]
    talk.said(0.0)
    talk.session.tick(3.0)
    talk.session.lost(4.0, LOSS)
    calls.append(talk.session.submit(order, 5.0, 9.0))
    assert [RequestTimeout, ConnectionLost, RequestTimeout, ConnectionLost] == errors(*calls)
    assert [True, True, False, False] == [call.error.sent for call in calls]
    assert [shown, {"method": "key", "params": "(hidden)"}, shown, shown] == [call.error.request for call in calls]


def test_the_request_of_a_close():
    """An order that was under way when somebody closed is in doubt as one that was lost; one that had to wait is not."""
    talk = Talk(requests=Pace(2, 60.0, "made up")).opened()  # of which pings keep one
    order = Command("order", [{"symbol": "A", "id": "mine"}])
    calls = [talk.session.submit(order, 0.0, 9.0) for _ in range(2)]
    talk.said(0.0)
    talk.session.close(1.0)
    calls.append(talk.session.submit(order, 2.0, 9.0))
    shown = {"method": "order", "params": [{"symbol": "A", "id": "mine"}]}
    assert [(ConnectionClosed, sent, shown) for sent in (True, False, False)] == [
        (type(call.error), call.error.sent, call.error.request) for call in calls
    ]


@pytest.mark.parametrize("command", [ORDER, QUERY], ids=["order", "query"])
def test_no_reconnect_and_never_sent(command):
    """A loss that ends everything says of each call whether it had left: not of one that waits, nor of one that comes later."""
    talk = Talk(backoff=None, requests=Pace(3, 60.0, "made up")).opened()  # of which pings keep one
    calls = [talk.session.submit(command, 0.0, 500.0) for _ in range(3)]
    assert 2 == len(talk.said(0.0))
    talk.session.lost(1.0, ConnectionLost("the link broke", sent=True))
    calls.append(talk.session.submit(command, 2.0, 500.0))
    assert [ConnectionLost] * 4 == errors(*calls)
    assert [True, True, False, False] == [call.error.sent for call in calls]


def test_first_connect_fails():
    """Nobody knocks again where the first dial failed: whoever opened it gets the error at once, as do those who wait."""
    talk = Talk()
    queued = talk.session.submit(QUERY, 0.0, 5.0)
    wanted = talk.want(ONE, "price A")
    failed = ConnectFailed("nobody there")
    assert (None, CLOSED) == (talk.session.lost(0.5, failed), talk.session.state)
    assert [failed, failed, failed] == [talk.session.error, queued.error, wanted.error]


# Requests --------------------------------------------------------------------------------------------------------------------


def test_a_request():
    """The reply settles the waiter once, with the round trip noted."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 1.0, 6.0)
    assert [{"id": 1, "method": "query", "params": []}] == talk.said(1.0)
    talk.hears({"id": 1, "ok": True, "result": 42}, 1.25)
    assert [pending] == talk.decided().settled
    assert (42, None, [0.25]) == (pending.reply.result, pending.error, list(talk.session.round_trips))


def test_a_reply_before_the_turn_is_over():
    """The waiter is registered with its bytes, so a reply cannot be faster."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 5.0)
    talk.session.take_outbox(0.0)
    talk.answers(1)
    assert pending.settled


def test_a_refused_request():
    """A refusal is raised with the exchange's code and words, and with what was asked."""
    talk = Talk().opened()
    pending = talk.session.submit(Command("order", ("A",)), 0.0, 5.0)
    talk.said(0.0)
    talk.answers(1, error=NO)
    assert (RequestRejected, 7, "no", {"method": "order", "params": ["A"]}) == (
        type(pending.error),
        pending.error.code,
        pending.error.message,
        pending.error.request,
    )


def test_a_refusal_without_words():
    """A no without a reason is still a no."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 5.0)
    talk.said(0.0)
    talk.hears({"id": 1, "ok": False})
    assert [RequestRejected] == errors(pending)


def test_no_reply_is_promised():
    """A command without a reply is settled when it is said."""
    talk = Talk().opened()
    pending = talk.session.submit(Command("tell"), 0.0, 5.0)
    assert (False, ["tell"], True) == (pending.settled, talk.methods(0.0), pending.settled)


def test_has_outbox():
    """Whether there may be something to say: not without a link, and not on one that is given up."""
    talk = Talk()
    talk.session.submit(QUERY, 0.0, 500.0)
    told = [talk.session.has_outbox, talk.opened().session.has_outbox]
    talk.said(0.0)
    told.append(talk.session.has_outbox)
    talk.session.submit(QUERY, 1.0, 500.0)
    talk.session.doom = LOSS
    assert [False, True, False, False] == [*told, talk.session.has_outbox]


def test_no_order_on_a_doomed_link():
    """What is not said on a link that is given up has a known outcome."""
    talk = Talk().opened()
    talk.session.doom = LOSS
    order = talk.session.submit(ORDER, 1.0, 500.0)
    assert [] == talk.said(1.0)
    talk.session.lost(2.0, LOSS)
    assert ([ConnectionLost], False) == (errors(order), order.error.sent)


def test_no_answer_in_time():
    """A request that was said times out as sent: its outcome is unknown."""
    talk = Talk().opened()
    pending = talk.session.submit(ORDER, 0.0, 5.0)
    talk.said(0.0)
    assert (5.0, False) == (talk.session.tick(4.9), pending.settled)
    talk.session.tick(5.0)
    assert ([RequestTimeout], True) == (errors(pending), pending.error.sent)


def test_not_sent_in_time():
    """A request that could not be said in time never was: the error tells so, and why; it is not said later."""
    talk = Talk()
    pending = talk.session.submit(ORDER, 0.0, 5.0)
    talk.session.tick(5.0)
    assert ([RequestTimeout], False, []) == (errors(pending), pending.error.sent, talk.opened(6.0).methods(6.0))


def test_a_late_reply():
    """A reply that comes after the timeout settles nobody."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 5.0)
    talk.said(0.0)
    talk.session.tick(5.0)
    talk.answers(1, 6.0)
    assert ([RequestTimeout], 1) == (errors(pending), talk.session.counters["late"])


def test_a_reply_that_nobody_asked_for():
    """It is counted, and that is all."""
    talk = Talk().opened()
    talk.answers(99)
    assert (1, []) == (talk.session.counters["unasked"], talk.decided().settled)


def test_replies_without_ids_after_a_timeout():
    """Where replies carry no ids, the late one is not taken for the next one's."""
    talk = Talk(DELTA).opened()
    first = talk.session.submit(QUERY, 0.0, 5.0)
    second = talk.session.submit(QUERY, 4.0, 9.0)
    talk.said(4.0)
    talk.session.tick(5.0)
    talk.hears({"to": "query", "ok": True, "result": "late"}, 6.0)
    assert ([RequestTimeout], False) == (errors(first), second.settled)
    talk.hears({"to": "query", "ok": True, "result": "in time"}, 7.0)
    assert "in time" == second.reply.result


def test_tombstones_are_bounded():
    """An exchange that never answers does not fill the memory: the oldest are forgotten first."""
    talk = Talk().opened()
    for serial in range(1, TOMBSTONES + 3):
        talk.session.submit(QUERY, 0.0, float(serial))
    talk.said(0.0)
    for serial in range(1, TOMBSTONES + 3):
        talk.session.tick(float(serial))
    talk.answers(1)
    talk.answers(TOMBSTONES + 2)
    assert {"unasked": 1, "late": 1} == {name: talk.session.counters[name] for name in ("unasked", "late")}


@pytest.mark.parametrize("kind", ["query", "ping"])
def test_nothing_of_an_unsaid_call_is_kept(kind):
    """What times out before there is a link to say it on leaves nothing behind, however long there is none."""
    talk = subscribed("price A", backoff=Backoff(base=3600.0, cap=3600.0))
    talk.session.lost(0.0, LOSS)
    command = QUERY if kind == "query" else Command("ping", kind=PING, replay=True)
    pendings = [talk.session.submit(command, float(second), second + 1.0) for second in range(100) if talk.session.tick(second)]
    talk.session.tick(100.0)
    assert ([RequestTimeout] * 100, 0, 0) == (errors(*pendings), len(talk.session._calls), len(talk.session._urgent))


def test_nothing_of_a_call_is_kept():
    """What was answered, by a reply or by a pong, leaves nothing behind."""
    talk = Talk(DELTA).opened()
    for moment in range(5):
        talk.session.submit(QUERY, float(moment), 100.0)
        talk.session.submit(Command("ping", kind=PING), float(moment), 100.0)
        talk.said(float(moment))
        talk.hears({"to": "query", "ok": True}, float(moment))
        talk.hears({"pong": 1}, float(moment))
    assert ({}, {}) == (talk.session._waiting, talk.session._awaited)


def test_a_late_pong():
    """A pong without an id belongs to the oldest ping, also if that has timed out."""
    talk = Talk(DELTA).opened()
    ping = Command("ping", kind=PING)
    first = talk.session.submit(ping, 0.0, 5.0)
    second = talk.session.submit(ping, 4.0, 9.0)
    talk.said(4.0)
    talk.session.tick(5.0)
    talk.hears({"pong": 1}, 6.0)
    assert (True, False) == (first.settled, second.settled)
    talk.hears({"pong": 2}, 7.0)
    assert ([RequestTimeout, None], [3.0]) == (errors(first, second), list(talk.session.round_trips))


# Loss ------------------------------------------------------------------------------------------------------------------------


def test_loss_in_flight():
    """What was said has an unknown outcome, and its waiter learns of it at once, with the peer's close code."""
    talk = Talk().opened()
    pendings = [talk.session.submit(command, 0.0, 50.0) for command in (ORDER, QUERY)]
    talk.said(0.0)
    talk.session.lost(1.0, ConnectionLost("closed", close_code=1012, close_reason="restart"))
    assert [(ConnectionLost, True, 1012, "restart")] * 2 == [
        (type(pending.error), pending.error.sent, pending.error.close_code, pending.error.close_reason) for pending in pendings
    ]


def test_loss_before_it_was_said():
    """What may be said again waits for the next link; what may not is refused as never sent."""
    talk = Talk(requests=Pace(RESERVE + 6, 60.0, "made up")).opened()
    for _ in range(6):
        talk.session.submit(QUERY, 0.0, 500.0)
    talk.said(0.0)
    order, query = talk.session.submit(ORDER, 0.0, 500.0), talk.session.submit(QUERY, 0.0, 500.0)
    talk.session.lost(1.0, LOSS)
    assert (ConnectionLost, False, False) == (type(order.error), order.error.sent, query.settled)
    assert (["query"], 100.0) == (talk.opened(100.0).methods(100.0), query.sent_at)


@pytest.mark.parametrize(("command", "settled"), [(ORDER, True), (QUERY, False)])
def test_submit_while_reconnecting(command, settled):
    """What may not be said twice does not wait for a link: it fails at once as never sent."""
    talk = in_state(RECONNECTING)
    pending = talk.session.submit(command, 1.0, 50.0)
    assert settled == pending.settled
    assert pending.error is None or (ConnectionLost, False) == (type(pending.error), pending.error.sent)


def test_orders_wait_for_the_first_connection():
    """While CONNECTING even an order waits: nothing was lost yet."""
    talk = Talk()
    talk.session.submit(ORDER, 0.0, 5.0)
    assert ["order"] == talk.opened(1.0).methods(1.0)


@pytest.mark.parametrize("state", STATES)
def test_close_settles_everything(state):
    """Closing ends every wait, in each state, and is told once."""
    talk = in_state(state)
    before = [talk.session.submit(QUERY, 1.0, 50.0), talk.want(ONE, "price A", now=1.0), talk.unwant(TWO, "price B", now=1.0)]
    if talk.session._linked:
        before.append(talk.session.submit(ORDER, 1.0, 50.0))
        talk.said(1.0)
    talk.session.close(2.0)
    talk.session.close(3.0)
    after = [talk.session.submit(QUERY, 4.0, 50.0), talk.want(ONE, "price A", now=4.0), talk.unwant(ONE, "price A", now=4.0)]
    decided = talk.decided()
    assert sorted(map(id, before + after)) == sorted(
        id(pending) for pending in decided.settled if pending.command is None or pending.command.kind == "call"
    )
    assert {ConnectionClosed, None} >= set(errors(*before, *after))
    assert ([] if state == CLOSED else [CLOSED], [] if state == CLOSED else [ONE], False) == (
        decided.states,
        [sink for sink, _ in decided.ended],
        talk.session.busy,
    )


def test_close_lets_go_of_all():
    """A closed session knows no sink any more, whose buffer would live as long as it does."""

    class Sink:
        pass

    talk, sink = Talk().opened(), Sink()
    gone = weakref.ref(sink)
    talk.session.want(sink, topics("price A"), 0.0, 1000.0)
    talk.agrees(0.0)
    talk.session.submit(Command("ping", kind=PING), 0.0, 500.0)
    talk.session.close(1.0)
    talk.decided()
    del sink
    collect()
    assert (None, False, False) == (gone(), talk.session.busy, talk.session.has_outbox)


def test_close_with_a_link():
    """The peer has a moment to answer our close frame, nothing else is said, and after that moment a timer does not spin."""
    talk = Talk().opened()
    talk.session.submit(ORDER, 0.0, 5.0)
    talk.session.close(1.0, wait=2.0)
    assert (True, 3.0, 3.0, []) == (
        talk.session.close_frame,
        talk.session.closing_overdue_at,
        talk.session.tick(1.0),
        talk.session.take_outbox(1.0),
    )
    assert math.inf == talk.session.tick(3.0)


def test_close_without_a_link():
    """Nobody is there to be told."""
    talk = in_state(RECONNECTING)
    talk.session.close(1.0)
    assert (False, math.inf) == (talk.session.close_frame, talk.session.closing_overdue_at)


# Login -----------------------------------------------------------------------------------------------------------------------


def logging_in(now: float = 0.0) -> Talk:
    talk = Talk(requests=Pace(100, 60.0, "made up"))
    talk.want(ONE, "price A")
    talk.session.submit(QUERY, now, now + 100.0)
    talk.session.submit(Command("ping", kind=PING), now, now + 100.0)
    talk.session.dialling()
    talk.session.dialled(now, LOGIN_COMMAND)
    return talk


def login_id(talk: Talk, now: float) -> int:
    bodies = talk.said(now)
    assert "login" == bodies[0]["method"]
    return bodies[0]["id"]


def test_login_goes_first():
    """Nothing of ours precedes the login, and neither topics nor calls go before its answer."""
    assert ["login key", "ping"] == logging_in().methods(0.0)


def test_login_accepted():
    """Then the topics are stated, and calls go when they are confirmed."""
    talk = logging_in()
    talk.answers(login_id(talk, 0.0), 1.0)
    first = talk.said(1.0)
    assert [("price_subscribe", ["A"])] == [(body["method"], body["params"]) for body in first]
    talk.answers(first[0]["id"], 2.0)
    assert (["query"], OPEN) == (talk.methods(2.0), talk.session.state)


def test_login_unauthorized():
    """A refusal that is an AuthenticationError already is kept as it is."""
    talk = logging_in()
    serial = login_id(talk, 0.0)
    pending = talk.session._waiting[serial]
    talk.answers(serial, 1.0, {"message": "wrong key", "kind": "unauthorized"})
    assert (AuthenticationError, pending.error) == (type(talk.session.doom), talk.session.doom)


def test_login_refused():
    """The link is doomed by an AuthenticationError, for which the driver calls `refuse_login`; all end with it."""
    talk = logging_in()
    talk.answers(login_id(talk, 0.0), 1.0, NO)
    assert (AuthenticationError, 7) == (type(talk.session.doom), talk.session.doom.code)
    talk.session.refuse_login(talk.session.doom)
    assert (CLOSED, [(ONE, talk.session.doom)]) == (talk.session.state, talk.decided().ended)


def test_login_unanswered():
    """The link is given up; it may be a trouble that passes, so it is no AuthenticationError."""
    talk = logging_in()
    login_id(talk, 0.0)
    talk.session.tick(10.0)
    assert ConnectionLost is type(talk.session.doom)


@pytest.mark.parametrize(("kind", "error"), [("too many", RateLimited), ("transient", RequestRejected)])
def test_login_refused_for_now(kind, error):
    """An exchange that is busy has not judged our key: the link is given up for it, and made again."""
    talk = logging_in()
    talk.answers(login_id(talk, 0.0), 1.0, {"message": "busy", "kind": kind})
    assert error is type(talk.session.doom)


def test_login_without_a_reply():
    """A language whose login has no answer goes on when it is said."""
    talk = Talk()
    talk.session.dialled(0.0, attrs.evolve(LOGIN_COMMAND, method="tell"))
    assert (["tell key"], OPEN) == (talk.methods(0.0), talk.session.state)


def test_login_is_secret():
    """Neither errors nor reprs show what was said."""
    talk = logging_in()
    serial = login_id(talk, 0.0)
    pending = talk.session._waiting[serial]
    talk.answers(serial, 1.0, NO)
    assert {"method": "login", "params": "(hidden)"} == pending.error.request


# Restating -------------------------------------------------------------------------------------------------------------------


def test_open_only_when_confirmed():
    """CONNECTING ends when every topic wanted is confirmed; calls wait until then."""
    talk = Talk()
    pending = talk.want(ONE, "price A", "depth A")
    talk.session.submit(ORDER, 0.0, 50.0)
    talk.opened(1.0)
    assert (["depth_subscribe A", "price_subscribe A"], "restating") == (talk.methods(1.0), talk.session.step)
    talk.answers(3, 2.0)
    assert (CONNECTING, []) == (talk.session.state, talk.methods(2.0))
    talk.answers(4, 2.0)
    assert (OPEN, "", True, ["order"]) == (talk.session.state, talk.session.step, pending.settled, talk.methods(2.0))


def test_reconnect_restates():
    """A new link gets all that is wanted; routes open as it is confirmed."""
    talk = subscribed("price A", "price B", "depth A")
    talk.session.lost(1.0, LOSS)
    assert ({}, ()) == (talk.session.routes, talk.hears(update("price A"), 1.0))
    talk.opened(2.0)
    assert ["depth_subscribe A", "price_subscribe A B"] == talk.agrees(2.0)
    assert (OPEN, 1, {b"price A", b"price B", b"depth A"}) == (
        talk.session.state,
        talk.session.counters["reconnects"],
        set(talk.session.routes),
    )


def test_wanted_while_reconnecting():
    """Who subscribes while the link is down is stated with the others."""
    talk = subscribed("price A")
    talk.session.lost(1.0, LOSS)
    pending = talk.want(TWO, "price B", now=1.5)
    assert (["price_subscribe A B"], True) == (talk.opened(2.0).agrees(2.0), pending.settled)


def test_left_while_reconnecting():
    """Who leaves while the link is down waits for nothing, and is not stated."""
    talk = subscribed("price A")
    talk.session.lost(1.0, LOSS)
    pending = talk.unwant(ONE, "price A", now=1.5)
    assert ([None], [], OPEN) == (errors(pending), talk.opened(2.0).methods(2.0), talk.session.state)


def test_left_while_the_link_goes():
    """Who waits for an unsubscribe when the link is lost is done: nothing is subscribed any more."""
    talk = subscribed("price A")
    pending = talk.unwant(ONE, "price A", now=1.0)
    talk.said(1.0)
    talk.session.lost(2.0, LOSS)
    assert [None] == errors(pending)


def test_first_update_confirms():
    """An update is as good as a reply: some replies are lost, or never sent."""
    talk = Talk()
    pending = talk.want(ONE, "price A", "price B")
    talk.opened()
    talk.said(0.0)
    assert ((ONE,), False) == (talk.hears(update("price A"), 1.0), pending.settled)
    assert ((ONE,), True, OPEN) == (talk.hears(update("price B"), 2.0), pending.settled, talk.session.state)


def test_an_update_before_it_was_said_confirms_nothing():
    """What was not asked for yet cannot be confirmed: it is a straggler of what was dropped before."""
    talk = Talk().opened()
    pending = talk.want(ONE, "price A")
    assert ((), False, 1) == (talk.hears(update("price A")), pending.settled, talk.session.counters["unrouted"])


def test_an_update_of_another_statement_confirms_nothing():
    """What is in flight for its channel does not name it."""
    talk = subscribed("price *", "price A")
    talk.unwant(ONE, "price *")
    talk.said(1.0)
    pending = talk.want(TWO, "price B", now=1.0)
    assert ((), False) == (talk.hears(update("price B"), 1.0), pending.settled)


def test_restating_unanswered():
    """An exchange that does not confirm what we wanted again is of no use: the link is given up."""
    talk = subscribed("price A")
    talk.session.lost(1.0, LOSS)
    talk.opened(2.0)
    talk.said(2.0)
    talk.session.tick(12.0)
    assert ConnectionLost is type(talk.session.doom)


def test_restated_late_is_open_without_them_all():
    """Who leaves while the rest is confirmed does not keep the session from being OPEN."""
    talk = Talk()
    talk.want(ONE, "price A")
    talk.want(TWO, "depth A")
    talk.opened()
    talk.said(0.0)
    talk.answers(4)
    talk.unwant(TWO, "depth A")
    talk.unwant(ONE, "price A")
    assert OPEN == talk.session.state


# Merging ---------------------------------------------------------------------------------------------------------------------


def test_a_loop_of_subscribes():
    """Fifty wishes in a row become one statement, or two if the first was already on its way."""
    talk = Talk().opened()
    pendings = [talk.want(f"sink {number}", f"price {number:02}") for number in range(50)]
    assert 1 == len(talk.agrees(0.0))
    pendings += [talk.want("sink one more", "price 50")]
    first = talk.said(1.0)
    pendings += [talk.want(f"sink {number}", f"price {number:02}") for number in range(51, 99)]
    assert [] == talk.said(1.0)
    talk.answers(first[0]["id"], 2.0)
    second = talk.said(2.0)
    assert (1, 99) == (len(second), len(second[0]["params"]))
    talk.answers(second[0]["id"], 3.0)
    assert [None] * 99 == errors(*pendings)


def test_batches_of_a_delta_language():
    """A language that says only what differs says it in its batches, over several channels."""
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "tick A", "tick B", "book A", "feed A")
    assert ["sub book A feed A tick A", "sub tick B"] == talk.methods(0.0)
    talk.hears({"to": "sub", "ok": True})
    # What is confirmed flows although the rest of the wish is not.
    assert ({b"book A", b"feed A", b"tick A"}, False) == (set(talk.session.routes), pending.settled)
    talk.hears({"to": "sub", "ok": True})
    assert [None] == errors(pending)


def test_statements_never_cross():
    """Subscribing again while the unsubscribe is in flight waits for its answer, and for its own confirmation."""
    talk = subscribed("price A")
    left = talk.unwant(ONE, "price A", now=1.0)
    assert [{"id": 4, "method": "price_unsubscribe", "params": []}] == talk.said(1.0)
    again = talk.want(ONE, "price A", now=2.0)
    assert ([], False) == (talk.said(2.0), again.settled)
    talk.answers(4, 3.0)
    assert ([None], False, ["price_subscribe A"]) == (errors(left), again.settled, talk.agrees(3.0))
    assert [None] == errors(again)


def test_unsubscribe_waits_for_the_subscribe():
    """Leaving while the subscribe is in flight says nothing until that is answered; then it is taken back."""
    talk = Talk().opened()
    wanted = talk.want(ONE, "price A")
    body = talk.said(0.0)[0]
    left = talk.unwant(ONE, "price A", now=1.0)
    assert ([ConnectionClosed], False, []) == (errors(wanted), left.settled, talk.said(1.0))
    talk.answers(body["id"], 2.0)
    assert (False, ["price_unsubscribe"]) == (left.settled, talk.agrees(2.0))
    assert [None] == errors(left)


def test_channels_are_apart():
    """A statement in flight holds up its own channel only."""
    talk = Talk().opened()
    talk.want(ONE, "price A")
    talk.said(0.0)
    talk.want(ONE, "price B")
    talk.want(ONE, "depth A")
    assert ["depth_subscribe A"] == talk.methods(0.0)


def test_taken_back_before_it_was_said():
    """A wish that ended before anything was said costs nothing on the wire."""
    talk = subscribed("price A")
    talk.want(TWO, "price B")
    talk.unwant(TWO, "price B")
    assert [] == talk.said(1.0)


def test_second_subscriber_costs_nothing():
    """Who joins a topic that is on the wire is confirmed at once, and gets the very same updates."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price A", now=1.0)
    assert ([None], [], (ONE, TWO)) == (errors(pending), talk.said(1.0), talk.session.routes[b"price A"])


def test_last_one_to_leave():
    """The others keep their topic; the last one's leaving unsubscribes."""
    talk = subscribed("price A")
    talk.want(TWO, "price A", now=1.0)
    first = talk.unwant(ONE, "price A", now=2.0)
    assert ([None], [], (TWO,)) == (errors(first), talk.said(2.0), talk.session.routes[b"price A"])
    last = talk.unwant(TWO, "price A", now=3.0)
    assert (False, ["price_unsubscribe"], {}) == (last.settled, talk.agrees(3.0), talk.session.routes)
    assert ([None], frozenset(), False) == (errors(last), talk.session.held(), talk.session.busy)


def test_leaving_in_part():
    """One topic of several: the rest is stated without it."""
    talk = subscribed("price A", "price B")
    pending = talk.unwant(ONE, "price B", now=1.0)
    assert (["price_subscribe A"], topics("price A")) == (talk.agrees(1.0), talk.session.wanted(ONE))
    assert [None] == errors(pending)


def test_leaving_in_part_settles_the_rest():
    """Who waited only for the topic that is given up is done."""
    talk = Talk().opened()
    pending = talk.want(ONE, "price A", "depth A")
    bodies = talk.said(0.0)
    talk.answers(bodies[1]["id"])
    talk.unwant(ONE, "depth A")
    assert [None] == errors(pending)


# Late joiners ----------------------------------------------------------------------------------------------------------------


def delta_with(*names: str) -> Talk:
    talk = Talk(DELTA).opened()
    talk.want(ONE, *names)
    for _ in talk.said(0.0):
        talk.hears({"to": "sub", "ok": True})
    talk.decided()
    return talk


def test_late_joiner_of_a_snapshot():
    """Where stating again gives the snapshot again, that is done; until then the newcomer gets no updates."""
    talk = delta_with("book A")
    pending = talk.want(TWO, "book A", now=1.0)
    assert (False, (ONE,), ["sub book A"]) == (pending.settled, talk.session.routes[b"book A"], talk.methods(1.0))
    talk.hears({"to": "sub", "ok": True}, 2.0)
    assert (True, (ONE, TWO)) == (pending.settled, talk.session.routes[b"book A"])
    both = [(ONE, (topic("book A"),), True), (TWO, (topic("book A"),), True)]
    assert (both, []) == (talk.decided().marks, talk.said(3.0))


def test_late_joiner_without_a_snapshot():
    """Where it cannot be had again, the newcomer is told that it joined late, before it is told that it may begin."""
    talk = delta_with("feed A")
    pending = talk.want(TWO, "feed A", now=1.0)
    assert ([], [None]) == (talk.methods(1.0), errors(pending))
    assert [(TWO, (topic("feed A"),), False)] == talk.decided().marks


def test_late_joiner_of_plain_updates():
    """Nothing was missed, nothing is said."""
    talk = delta_with("tick A")
    talk.want(TWO, "tick A", now=1.0)
    assert ([], []) == (talk.methods(1.0), talk.decided().marks)


def test_restate():
    """A stream with a hole is stated again while it flows on: once for all who ask at a time, and for each new hole."""
    talk = delta_with("book A", "tick A")
    talk.session.restate(topics("book A"))
    talk.session.restate(topics("book A"))
    assert (["sub book A"], (ONE,)) == (talk.methods(1.0), talk.session.routes[b"book A"])
    talk.session.restate(topics("book A"))  # the snapshot for which this asks is on its way
    talk.hears({"to": "sub", "ok": True}, 2.0)
    assert [] == talk.methods(3.0)
    talk.session.restate(topics("book A"))
    assert ["sub book A"] == talk.methods(4.0)


def test_restate_what_does_not_flow():
    """What is not on the wire, or on no link, is stated when it can be, and not a second time for that."""
    talk = delta_with("book A")
    talk.session.restate(topics("book B"))
    assert [] == talk.methods(1.0)
    talk.session.lost(2.0, LOSS)
    talk.session.restate(topics("book A"))
    talk.opened(3.0)
    assert ["sub book A"] == talk.methods(3.0)
    talk.hears({"to": "sub", "ok": True}, 4.0)
    assert [] == talk.methods(5.0)


def test_late_joiner_unanswered():
    """The snapshot that was not confirmed is asked for again, not forgotten."""
    talk = delta_with("book A")
    pending = talk.want(TWO, "book A", now=1.0)
    talk.said(1.0)
    assert ["sub book A"] == talk.methods(11.0)
    talk.hears({"to": "sub", "ok": True}, 12.0)  # for the first
    talk.hears({"to": "sub", "ok": True}, 12.0)
    assert [None] == errors(pending)


def test_late_joiner_throttled():
    """The same where the exchange had no time for it."""
    talk = delta_with("book A")
    pending = talk.want(TWO, "book A", now=1.0)
    talk.said(1.0)
    talk.hears({"to": "sub", "ok": False, "error": {"message": "slow down", "kind": "too many"}}, 2.0)
    assert (["sub book A"], False) == (talk.methods(2.0 + THROTTLE_S), pending.settled)


def test_late_joiner_refused():
    """Only the newcomer: the topic of the other is on the wire, whatever was said of stating it again."""
    talk = delta_with("book A")
    pending = talk.want(TWO, "book A", now=1.0)
    talk.said(1.0)
    talk.hears({"to": "sub", "ok": False, "error": NO}, 2.0)
    assert ([SubscriptionRejected], [TWO], (ONE,)) == (
        errors(pending),
        [sink for sink, _ in talk.decided().ended],
        talk.session.routes[b"book A"],
    )


def test_late_joiner_left_and_refused():
    """The newcomer has gone when the no comes: nobody is to blame."""
    talk = delta_with("book A")
    talk.want(TWO, "book A", now=1.0)
    talk.said(1.0)
    talk.unwant(TWO, "book A", now=1.5)
    talk.hears({"to": "sub", "ok": False, "error": NO}, 2.0)
    assert ([], (ONE,)) == (talk.decided().ended, talk.session.routes[b"book A"])


# Renewals --------------------------------------------------------------------------------------------------------------------


CHAIN = topic("chain A")
SUBSCRIBED, UNSUBSCRIBED = {"to": "sub", "ok": True}, {"to": "unsub", "ok": True}


def taken_off(now: float = 1.0) -> Talk:
    """A stream that flows to ONE, has a hole, and was taken off the wire for that."""
    talk = delta_with("chain A")
    talk.session.restate(topics("chain A"))
    assert ["unsub chain A"] == talk.methods(now)
    talk.hears(UNSUBSCRIBED, now)
    return talk


def test_renewal():
    """Where stating again gives nothing, the topic is unsubscribed first; it flows on until that is confirmed."""
    talk = delta_with("chain A", "tick A")
    talk.session.restate(topics("chain A"))
    talk.session.restate(topics("chain A"))
    assert (["unsub chain A"], (ONE,)) == (talk.methods(1.0), talk.session.routes[b"chain A"])
    talk.session.restate(topics("chain A"))  # the snapshot for which this asks is on its way
    talk.hears(UNSUBSCRIBED, 2.0)
    assert [(ONE, (CHAIN,))] == talk.decided().renewals
    assert (None, ["sub chain A"]) == (talk.session.routes.get(b"chain A"), talk.methods(2.0))
    talk.hears(SUBSCRIBED, 3.0)
    assert ((ONE,), [(ONE, (CHAIN,), True)]) == (talk.session.routes[b"chain A"], talk.decided().marks)
    assert [] == talk.methods(4.0)
    talk.session.restate(topics("chain A"))
    assert ["unsub chain A"] == talk.methods(5.0)


def test_renewal_whose_snapshot_overtakes_its_reply():
    """What comes of the topic once it was stated again is its snapshot; a hole that is found behind that renews it anew."""
    talk = taken_off()
    assert (["sub chain A"], (ONE,)) == (talk.methods(1.0), talk.hears(update("chain A"), 2.0))
    talk.session.restate(topics("chain A"))
    talk.hears(SUBSCRIBED, 3.0)
    assert ["unsub chain A"] == talk.methods(4.0)


def test_renewal_for_a_late_joiner():
    """The newcomer waits for the snapshot, which all get; what comes before goes to those who were there."""
    talk = delta_with("chain A")
    pending = talk.want(TWO, "chain A", now=1.0)
    assert (["unsub chain A"], (ONE,)) == (talk.methods(1.0), talk.session.routes[b"chain A"])
    talk.hears(UNSUBSCRIBED, 2.0)
    assert ([(ONE, (CHAIN,))], ["sub chain A"]) == (talk.decided().renewals, talk.methods(2.0))
    assert (False, {ONE, TWO}, True) == (pending.settled, set(talk.hears(update("chain A"), 3.0)), pending.settled)


def test_renewal_for_who_comes_during_another():
    """One renewal is enough for all who come before the topic is stated again."""
    talk = delta_with("chain A")
    talk.session.restate(topics("chain A"))
    talk.said(1.0)
    first = talk.want(TWO, "chain A", now=1.0)
    talk.hears(UNSUBSCRIBED, 2.0)
    second = talk.want(THREE, "chain A", now=2.0)
    assert ["sub chain A"] == talk.methods(2.0)
    talk.hears(SUBSCRIBED, 3.0)
    assert ([None, None], []) == (errors(first, second), talk.methods(4.0))


@pytest.mark.parametrize(("name", "words"), [("chain A", ["unsub chain A", "sub chain A"]), ("book A", ["sub book A"])])
def test_late_between_the_snapshot_and_its_reply(name, words):
    """The reply to what was said before he came does not promise a snapshot to who joins after it."""
    talk = Talk(DELTA).opened()
    talk.want(ONE, name)
    talk.said(0.0)
    assert (ONE,) == talk.hears(update(name), 1.0)
    pending = talk.want(TWO, name, now=1.0)
    talk.hears(SUBSCRIBED, 2.0)
    assert (False, (ONE,)) == (pending.settled, talk.session.routes[name.encode()])
    heard = []
    for now in range(3, 3 + len(words)):
        heard += talk.methods(float(now))
        talk.hears({"to": heard[-1].split()[0], "ok": True}, float(now))
    assert (words, [None]) == (heard, errors(pending))


#: Of a renewal.
MOMENTS = ["before the unsubscribe", "before its reply", "before the subscribe", "before its reply too"]


@pytest.mark.parametrize("when", MOMENTS)
def test_renewal_that_nobody_wants_any_more(when):
    """Who leaves in the midst of it leaves: the topic is off the wire in the end, and he is told once it is."""
    talk = delta_with("chain A")
    talk.session.restate(topics("chain A"))
    steps = [lambda: talk.said(1.0), lambda: talk.hears(UNSUBSCRIBED, 2.0), lambda: talk.said(2.0)]
    for step in steps[: MOMENTS.index(when)]:
        step()
    pending = talk.unwant(ONE, "chain A", now=2.0)
    heard = []
    for now in (3.0, 4.0, 5.0):
        heard += talk.methods(now)
        for reply in (UNSUBSCRIBED, SUBSCRIBED):
            talk.hears(reply, now)
    expected = {"before the unsubscribe": ["unsub chain A"], "before its reply too": ["unsub chain A"]}
    assert (expected.get(when, []), [None]) == (heard, errors(pending))
    assert (frozenset(), set()) == (talk.session.held(), talk.session._returning)


def test_renewal_cut_short():
    """Of a link that is lost in between nothing is left: on the next one the topic is stated as always."""
    talk = taken_off()
    talk.session.lost(2.0, LOSS)
    talk.opened(3.0)
    assert ["sub chain A"] == talk.methods(3.0)
    talk.hears(SUBSCRIBED, 4.0)
    assert (OPEN, []) == (talk.session.state, talk.methods(5.0))


@pytest.mark.parametrize("late", [(), (update("chain A"),)], ids=["", "after an update that was on its way"])
@pytest.mark.parametrize(
    "answer", [{"ok": False, "error": NO}, {"ok": True, "not": {"chain A": NO}}], ids=["whole", "by its name"]
)
def test_renewal_refused(late, answer):
    """Who had the topic hears that it is refused now, as after a reconnect; an update of before is no sign of the contrary."""
    talk = taken_off()
    talk.said(1.0)
    for message in late:
        talk.hears(message, 1.5)
    talk.hears({"to": "sub", **answer}, 2.0)
    assert ([(ONE, 7)], []) == ([(sink, error.code) for sink, error in talk.decided().ended], talk.methods(3.0))
    assert (frozenset(), set()) == (talk.session.held(), talk.session._returning)


@pytest.mark.parametrize("late", [(), (update("chain A"),)], ids=["", "after an update that was on its way"])
def test_renewal_of_what_is_subscribed(late):
    """The unsubscribe was answered, and did nothing: alone, "already" is a yes; of several, each is asked for by itself."""
    talk = delta_with("chain A", "chain B")
    talk.session.restate(topics("chain A", "chain B"))
    talk.said(1.0)
    talk.hears(UNSUBSCRIBED, 1.0)
    talk.said(1.0)
    for message in late:
        talk.hears(message, 1.5)
    already = {"to": "sub", "ok": False, "error": {"message": "already", "kind": "already"}}
    talk.hears(already, 2.0)
    assert ["sub chain A", "sub chain B"] == talk.methods(2.0)
    talk.hears(already, 3.0)
    talk.hears(SUBSCRIBED, 3.0)
    routes = talk.session.routes
    assert ([], (ONE,), (ONE,)) == (talk.decided().ended, routes[b"chain A"], routes[b"chain B"])


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("answer", [None, {"to": "unsub", "ok": False, "error": NO}, UNSUBSCRIBED], ids=["", "no", "yes"])
def test_renewal_that_is_not_done(answer, by_name):
    """The topic is found subscribed after its unsubscribe: what came meanwhile is lost, and no snapshot heals that."""
    talk = delta_with("chain A")
    pending = talk.want(TWO, "chain A", now=1.0)
    assert ["unsub chain A"] == talk.methods(1.0)
    if answer is not None:
        talk.hears(answer, 2.0)
    assert ["sub chain A"] == talk.methods(11.0)
    talk.decided()
    known = {"message": "already", "kind": "already"}
    talk.hears(
        {"to": "sub", "ok": True, "not": {"chain A": known}} if by_name else {"to": "sub", "ok": False, "error": known}, 12.0
    )
    told = [(sink, (CHAIN,), stated) for stated in (False, True) for sink in (ONE, TWO)]
    assert (told, [None], []) == (talk.decided().marks, errors(pending), talk.methods(13.0))


def test_renewal_unanswered():
    """An update that was on its way is no answer: the topic is stated again until there is one, or what comes cannot be old."""
    talk = taken_off()
    talk.said(1.0)
    assert (ONE,) == talk.hears(update("chain A"), 1.5)
    assert (["sub chain A"], None) == (talk.methods(11.0), talk.session.routes.get(b"chain A"))
    assert (ONE,) == talk.hears(update("chain A"), 12.0)
    assert ((ONE,), set()) == (talk.session.routes[b"chain A"], talk.session._returning)


def test_renewal_refused_among_others():
    """Of several that were renewed together, only the one that is refused ends."""
    talk = Talk(DELTA).opened()
    for sink, name in ((ONE, "chain A"), (TWO, "chain X")):
        talk.want(sink, name)
    talk.said(0.0)
    talk.hears(SUBSCRIBED)
    talk.session.restate(topics("chain A", "chain X"))
    heard = []
    for now in range(1, 6):
        for body in talk.said(float(now)):
            heard.append(body)
            bad = body["op"] == "sub" and "chain X" in body["args"]
            talk.hears({"to": body["op"], "ok": not bad, "error": NO if bad else None}, float(now))
    assert ([TWO], (ONE,)) == ([sink for sink, _ in talk.decided().ended], talk.session.routes[b"chain A"])
    assert len(heard) <= 5


@pytest.mark.parametrize("kind", ["too many", "transient"])
@pytest.mark.parametrize("verb", ["unsub", "sub"])
def test_renewal_put_off(verb, kind):
    """What the exchange had no time for is said again, and nobody ends for it."""
    talk = delta_with("chain A") if verb == "unsub" else taken_off()
    talk.session.restate(topics("chain A"))
    talk.said(1.0)
    talk.hears({"to": verb, "ok": False, "error": {"message": "slow down", "kind": kind}}, 2.0)
    assert ([], [f"{verb} chain A"]) == (talk.methods(2.0), talk.methods(2.0 + max(THROTTLE_S, RETRY_S)))
    assert [] == talk.decided().ended


@pytest.mark.parametrize("answer", [None, {"to": "unsub", "ok": False, "error": NO}], ids=["no answer", "refused"])
def test_renewal_whose_unsubscribe_fails(answer):
    """It is subscribed again all the same: what is said last holds."""
    talk = delta_with("chain A")
    talk.session.restate(topics("chain A"))
    talk.said(1.0)
    if answer is not None:
        talk.hears(answer, 2.0)
    assert ["sub chain A"] == talk.methods(11.0)
    talk.hears(UNSUBSCRIBED, 11.5)
    talk.hears(SUBSCRIBED, 12.0)
    assert ((ONE,), []) == (talk.session.routes[b"chain A"], talk.methods(13.0))


# Refusals --------------------------------------------------------------------------------------------------------------------


def swap_with_refusals(talk: Talk, bad: str, now: float) -> list[str]:
    """The exchange, speaking SWAP, refuses whatever has the symbol *bad*; returns what it heard."""
    heard = []
    while bodies := talk.said(now):
        for body in bodies:
            heard.append(" ".join([body["method"], *body["params"]]))
            talk.answers(body["id"], now, NO if bad in body["params"] else None)
        assert len(heard) < 50, "the same is said for ever"
    return heard


def test_one_culprit():
    """The newest wish is refused; the former ones, which the refusal may have taken, are stated again."""
    talk = subscribed("price A", "price B")
    pending = talk.want(TWO, "price X", now=1.0)
    assert ["price_subscribe A B X", "price_subscribe A B"] == swap_with_refusals(talk, "X", 1.0)
    assert ([SubscriptionRejected], "price X", [TWO]) == (
        errors(pending),
        pending.error.topic,
        [sink for sink, _ in talk.decided().ended],
    )
    assert ((ONE,), OPEN) == (talk.session.routes[b"price A"], talk.session.state)


def test_several_suspects_are_tried_one_at_a_time():
    """A refusal names nobody: each of the new wishes is stated alone with the confirmed ones, and only the culprit ends."""
    talk = subscribed("price A")
    pendings = [talk.want(f"sink of {symbol}", f"price {symbol}", now=1.0) for symbol in "BXC"]
    assert [
        "price_subscribe A B C X",
        "price_subscribe A B",
        "price_subscribe A B X",
        "price_subscribe A B C",
    ] == swap_with_refusals(talk, "X", 1.0)
    assert [None, SubscriptionRejected, None] == errors(*pendings)
    assert ({b"price A", b"price B", b"price C"}, ["sink of X"]) == (
        set(talk.session.routes),
        [sink for sink, _ in talk.decided().ended],
    )


@pytest.mark.parametrize("symbol", ["A", "B", "C"])
def test_refused_after_a_reconnect(symbol):
    """What was accepted yesterday may be refused today: only that one ends, and the others flow again."""
    talk = Talk().opened()
    for each in "ABC":
        talk.want(f"sink of {each}", f"price {each}")
    talk.agrees(0.0)
    talk.session.lost(1.0, LOSS)
    talk.decided()
    talk.opened(2.0)
    swap_with_refusals(talk, symbol, 2.0)
    assert (OPEN, [f"sink of {symbol}"], {"A", "B", "C"} - {symbol}) == (
        talk.session.state,
        [sink for sink, _ in talk.decided().ended],
        {key.decode().split()[1] for key in talk.session.routes},
    )


@pytest.mark.parametrize("symbol", ["A", "B", "C"])
def test_refused_while_open(symbol):
    """The exchange no longer takes a topic that flowed until another one was added: the search for it ends."""
    talk = Talk().opened()
    for each in "ABC":
        talk.want(f"sink of {each}", f"price {each}")
    talk.agrees(0.0)
    talk.decided()
    talk.want("sink of D", "price D", now=1.0)  # blamed first, as the newest always is
    swap_with_refusals(talk, symbol, 1.0)
    assert (["sink of D", f"sink of {symbol}"], {"A", "B", "C"} - {symbol}) == (
        [sink for sink, _ in talk.decided().ended],
        {key.decode().split()[1] for key in talk.session.routes},
    )


def test_the_culprit_has_left():
    """Who left while its statement was in flight may be the one that was refused, so nobody else is blamed for it."""
    talk = subscribed("price A")
    talk.want(TWO, "price X", now=1.0)
    body = talk.said(1.0)[0]
    talk.unwant(TWO, "price X", now=1.5)
    talk.answers(body["id"], 2.0, NO)
    assert (["price_subscribe A"], [], (ONE,)) == (talk.agrees(2.0), talk.decided().ended, talk.session.routes[b"price A"])


def test_refused_over_several_channels():
    """One command of several channels is refused: those held back are tried though the first is of another channel."""
    talk = Talk(DELTA).opened()
    pendings = [talk.want(ONE, "tick A"), talk.want(TWO, "book X"), talk.want(THREE, "feed A")]
    for turn in range(10):
        for body in talk.said(float(turn)):
            talk.hears({"to": body["op"], "ok": "book X" not in body["args"], "error": NO}, float(turn))
    assert ([None, SubscriptionRejected, None], {b"tick A", b"feed A"}) == (errors(*pendings), set(talk.session.routes))


def test_trial_left_in_part():
    """The wish on trial gives up the topic that it was tried for: those held back for it are not forgotten."""
    talk = Talk().opened()
    first = talk.want(ONE, "price A", "depth A")
    second = talk.want(TWO, "price B")
    for body in talk.said(0.0):
        talk.answers(body["id"], 0.0, NO if "price" in body["method"] else None)
    talk.unwant(ONE, "price A", now=1.0)
    talk.agrees(1.0)
    assert [None, None] == errors(first, second)


def test_partial_trial_left_while_waiting():
    """The same where the rest of the wish on trial is still to be confirmed."""
    talk = Talk().opened()
    talk.want(ONE, "price A", "depth A")
    second = talk.want(TWO, "price B")
    bodies = {body["method"]: body["id"] for body in talk.said(0.0)}
    talk.answers(bodies["price_subscribe"], 0.0, NO)
    talk.unwant(ONE, "price A", now=1.0)
    talk.agrees(1.0)
    assert [None] == errors(second)


@pytest.mark.parametrize("held_symbol", ["B", "C"])
def test_shared_topics_of_suspects(held_symbol):
    """Suspects that share topics, or span channels, are all heard in the end, and what they have is on the wire."""
    talk = Talk().opened()
    first = talk.want(ONE, "price A", "depth A")
    second = talk.want(TWO, f"price {held_symbol}", "depth A", "depth X")
    third = talk.want(THREE, "price A", f"price {held_symbol}")
    swap_with_refusals(talk, "X", 0.0)
    assert ([None, SubscriptionRejected, None], {b"price A", b"depth A", f"price {held_symbol}".encode()}) == (
        errors(first, second, third),
        set(talk.session.routes),
    )


def test_refused_unsubscribe():
    """What the exchange does not know to unsubscribe is as good as gone; who asked for it is told."""
    talk = subscribed("price A")
    pending = talk.unwant(ONE, "price A", now=1.0)
    talk.answers(talk.said(1.0)[0]["id"], 2.0, NO)
    assert ([RequestRejected], frozenset(), []) == (errors(pending), talk.session.held(), talk.said(3.0))


def test_transient_refusal():
    """A trouble of the exchange's own: new wishes are told, the former ones are stated again after a pause."""
    talk = subscribed("price A")
    pendings = [talk.want(TWO, "price B", now=1.0), talk.want(THREE, "price C", now=1.0)]
    talk.answers(talk.said(1.0)[0]["id"], 2.0, {"message": "later", "kind": "transient"})
    assert ([SubscriptionRejected] * 2, [], ["price_subscribe A"]) == (
        errors(*pendings),
        talk.said(2.0 + RETRY_S - 0.01),
        talk.methods(2.0 + RETRY_S),
    )


def test_too_many():
    """The whole connection pauses, as long as it was told; then the same wish is stated again, and nobody is blamed."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price B", now=1.0)
    told = {"message": "slow down", "kind": "too many", "retry_after_s": 7.0}
    talk.answers(talk.said(1.0)[0]["id"], 2.0, told)
    talk.session.submit(QUERY, 2.0, 500.0)
    assert ([], 9.0) == (talk.said(2.0), talk.session.tick(2.0))
    assert (["price_subscribe A B", "query"], False) == (talk.methods(9.0), pending.settled)


def test_too_many_calls():
    """Without a hint the pause is ours; the refused call is told, since only its caller knows whether it still matters."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 500.0)
    talk.answers(talk.said(0.0)[0]["id"], 1.0, {"message": "slow down", "kind": "too many"})
    talk.session.submit(QUERY, 1.0, 500.0)
    assert ([RateLimited], [], ["query"]) == (errors(pending), talk.said(1.0), talk.methods(1.0 + THROTTLE_S))


def test_too_many_calls_of_a_kind():
    """Where the exchange counts them apart, only the refused call's caller has to wait: a cancel does not for placed orders."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 500.0)
    told = {"message": "slow down", "kind": "too many", "retry_after_s": 7.0, "narrow": True}
    talk.answers(talk.said(0.0)[0]["id"], 1.0, told)
    talk.session.submit(QUERY, 1.0, 500.0)
    assert (7.0, ["query"]) == (pending.error.retry_after_s, talk.methods(1.0))


def test_pings_do_not_pause():
    """The heartbeat goes on while the exchange wants a pause: it is what keeps the connection."""
    talk = subscribed("price A")
    talk.want(TWO, "price B", now=1.0)
    told = {"message": "slow down", "kind": "too many", "retry_after_s": 100.0}
    talk.answers(talk.said(1.0)[0]["id"], 2.0, told)
    assert ["ping"] == talk.methods(51.0)


# Refusals of a part ----------------------------------------------------------------------------------------------------------


def test_part_refused():
    """Topics are refused by name: who wishes for one of them is told which, the rest flows, and nobody is tried."""
    talk = Talk(DELTA).opened()
    good, bad = talk.want(ONE, "tick A"), talk.want(TWO, "tick B", "tick X")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "not": {"tick X": NO}}, 1.0)
    assert [None, SubscriptionRejected] == errors(good, bad)
    assert ("tick X", 7, "no") == (bad.error.topic, bad.error.code, bad.error.message)
    assert ([TWO], {b"tick A": (ONE,)}) == ([sink for sink, _ in talk.decided().ended], talk.session.routes)
    assert ["unsub tick B"] == talk.methods(1.0)  # which nobody wants any more; of the rest nothing is said again


def test_part_refused_after_a_reconnect():
    """What was accepted yesterday is refused today: that subscription ends, the others are whole with the same statement."""
    talk = delta_with("tick A", "tick B")
    talk.want(TWO, "tick X")
    talk.hears({"to": talk.said(0.0)[0]["op"], "ok": True}, 0.0)
    talk.session.lost(1.0, LOSS)
    talk.decided()
    talk.opened(2.0)
    talk.said(2.0)
    talk.hears({"to": "sub", "ok": True, "not": {"tick X": NO}}, 3.0)
    assert ([TWO], {b"tick A", b"tick B"}, OPEN, []) == (
        [sink for sink, _ in talk.decided().ended],
        set(talk.session.routes),
        talk.session.state,
        talk.said(3.0),
    )


def test_part_refused_that_flows():
    """A topic that flows is stated again for a newcomer, and refused: only the newcomer ends."""
    talk = delta_with("book A")
    pending = talk.want(TWO, "book A", "tick B", now=1.0)
    talk.said(1.0)
    talk.hears({"to": "sub", "ok": True, "not": {"book A": NO}}, 2.0)
    assert ([SubscriptionRejected], "book A", [TWO], {b"book A": (ONE,)}) == (
        errors(pending),
        pending.error.topic,
        [sink for sink, _ in talk.decided().ended],
        talk.session.routes,
    )


def test_part_refused_for_now():
    """A trouble that may pass: a new wish is told, a former one is said again after a pause, and the rest is not said again."""
    talk = delta_with("tick A", "tick B")
    talk.session.lost(1.0, LOSS)
    talk.decided()
    talk.opened(2.0)
    new = talk.want(TWO, "tick C")
    talk.said(2.0)
    later = {"message": "later", "kind": "transient"}
    talk.hears({"to": "sub", "ok": True, "not": {"tick B": later, "tick C": later}}, 3.0)
    assert ([SubscriptionRejected], [TWO]) == (errors(new), [sink for sink, _ in talk.decided().ended])
    assert ([], ["sub tick B"]) == (talk.said(3.0 + RETRY_S - 0.01), talk.methods(3.0 + RETRY_S))


@pytest.mark.parametrize(("hint", "pause"), [({}, THROTTLE_S), ({"retry_after_s": 7.0}, 7.0)])
def test_part_refused_as_too_many(hint, pause):
    """The connection pauses as long as it is told; then that topic is said again, and nobody is blamed."""
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "tick A", "tick B")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "not": {"tick B": {"message": "slow down", "kind": "too many", **hint}}}, 1.0)
    assert ([], ["sub tick B"], False) == (talk.said(1.0 + pause - 0.01), talk.methods(1.0 + pause), pending.settled)


def test_part_of_a_replacing_statement_refused():
    """What was refused is off the wire where a statement replaces the former one, although it flowed before."""
    talk = subscribed("price A", "price B")
    other = talk.want(TWO, "price C", now=1.0)
    body = talk.said(1.0)[0]
    talk.hears({"id": body["id"], "ok": True, "not": {"price B": NO}}, 2.0)
    assert ([None], [ONE], ["price_subscribe C"]) == (
        errors(other),
        [sink for sink, _ in talk.decided().ended],
        talk.agrees(2.0),
    )


def test_part_of_an_unsubscribe_refused():
    """What the exchange does not know to unsubscribe is as good as gone; who asked for that is told, others are not."""
    talk = delta_with("tick A", "tick B")
    leaves = [talk.unwant(ONE, "tick A", now=1.0), talk.unwant(ONE, "tick B", now=1.0)]
    talk.said(1.0)
    talk.hears({"to": "unsub", "ok": True, "not": {"tick A": NO}}, 2.0)
    assert ([RequestRejected, None], frozenset(), []) == (errors(*leaves), talk.session.held(), talk.said(3.0))


def test_part_refused_that_was_not_stated(caplog):
    """A refusal that names something else is logged, and blames nobody."""
    caplog.set_level("WARNING")
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "tick A")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "not": {"tick Z": NO}}, 1.0)
    talk.decided().log()
    assert [None] == errors(pending)
    assert ["made-up: sub refuses b'tick Z', which was not asked for"] == caplog.messages


# Subscribed already ----------------------------------------------------------------------------------------------------------

ALREADY_IS = {"message": "already subscribed", "kind": "already"}


def test_already_subscribed():
    """Of one topic it is as good as a confirmation: here it was never answered, and did its work."""
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "tick A")
    talk.said(0.0)
    assert ["sub tick A"] == talk.methods(10.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 11.0)  # the late one, which nobody awaits any more
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 11.0)
    assert ([None], {b"tick A": (ONE,)}, [], []) == (
        errors(pending),
        talk.session.routes,
        talk.decided().ended,
        talk.said(12.0),
    )


def test_some_are_subscribed_already():
    """Of several it does not say which: each is stated alone, and what one wish has of both kinds is confirmed, none blamed."""
    talk = Talk(DELTA).opened()
    pendings = [talk.want(ONE, "tick A", "tick B"), talk.want(TWO, "tick C")]
    assert ["sub tick A tick B tick C"] == talk.methods(0.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 1.0)
    assert ["sub tick A", "sub tick B", "sub tick C"] == talk.methods(1.0)
    for error in (ALREADY_IS, None, ALREADY_IS):
        talk.hears({"to": "sub", "ok": error is None, "error": error}, 2.0)
    assert ([None, None], {b"tick A": (ONE,), b"tick B": (ONE,), b"tick C": (TWO,)}, []) == (
        errors(*pendings),
        talk.session.routes,
        talk.said(3.0),
    )


def test_a_culprit_among_those_that_are_subscribed_already():
    """Stated alone, a bad topic shows itself: who wished for it is told, and nobody else."""
    talk = Talk(DELTA).opened()
    good, bad = talk.want(ONE, "tick A"), talk.want(TWO, "tick X")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 1.0)
    assert ["sub tick A", "sub tick X"] == talk.methods(1.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 2.0)
    talk.hears({"to": "sub", "ok": False, "error": NO}, 2.0)
    assert [None, SubscriptionRejected] == errors(good, bad)


def test_left_before_it_was_stated_apart():
    """Who has left meanwhile may have been the one that is subscribed already: it is taken off the wire, not stated."""
    talk = Talk(DELTA).opened()
    talk.want(ONE, "tick A", "tick B")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 1.0)
    talk.unwant(ONE, "tick A", now=1.0)
    assert ["unsub tick A", "sub tick B"] == talk.methods(1.0)


def test_stated_apart_beyond_the_budget():
    """What found no room in the budget is stated apart when there is some."""
    talk = Talk(DELTA, requests=Pace(4, 20.0, "made up")).opened()  # of which pings keep two
    talk.want(ONE, "tick A", "tick B")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 1.0)
    assert ["sub tick A"] == talk.methods(1.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 2.0)
    assert ([], ["sub tick B"]) == (talk.methods(2.0), talk.methods(20.0))


def test_stated_apart_on_a_lost_link():
    """On the next link nothing is subscribed, and one statement does."""
    talk = delta_with("tick A", "tick B")
    talk.want(ONE, "tick C", "feed A")
    talk.said(1.0)
    talk.hears({"to": "sub", "ok": False, "error": ALREADY_IS}, 1.0)
    talk.session.lost(2.0, LOSS)
    talk.opened(3.0)
    assert ["sub feed A tick A tick B", "sub tick C"] == talk.methods(3.0)


def test_part_subscribed_already():
    """Named as refused for that reason, it is confirmed with the rest."""
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "tick A", "tick B")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "not": {"tick B": ALREADY_IS}}, 1.0)
    assert ([None], {b"tick A", b"tick B"}, []) == (errors(pending), set(talk.session.routes), talk.said(2.0))


@pytest.mark.parametrize("answer", [{"ok": False, "error": ALREADY_IS}, {"ok": True, "not": {"chain A": ALREADY_IS}}])
def test_the_snapshot_of_what_was_subscribed_already(answer):
    """It was sent before anybody waited for it, so the topic is renewed; once, whatever that is answered."""
    talk = Talk(DELTA).opened()
    pending = talk.want(ONE, "chain A")
    talk.said(0.0)
    talk.hears({"to": "sub", **answer}, 1.0)
    assert ([None], ["unsub chain A"]) == (errors(pending), talk.methods(1.0))
    talk.hears(UNSUBSCRIBED, 2.0)
    assert ["sub chain A"] == talk.methods(2.0)
    talk.hears({"to": "sub", **answer}, 3.0)
    assert ([], (ONE,)) == (talk.said(4.0), talk.session.routes[b"chain A"])


def test_subscribed_already_where_statements_replace():
    """There no topic can be in the way of another: it is a refusal as any."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price B", now=1.0)
    talk.answers(talk.said(1.0)[0]["id"], 2.0, ALREADY_IS)
    assert ([SubscriptionRejected], ["price_subscribe A"]) == (errors(pending), talk.agrees(2.0))


# Asked for a new connection --------------------------------------------------------------------------------------------------

RENEW = {"message": "restarting", "code": 9, "renew": True}


def renewing(*commands: Command, **options: Any) -> tuple[Talk, list[Pending]]:
    """OPEN, speaking SWAP; *commands* were said, and the first of them was refused: at 1.0, with a wish for another link."""
    talk = Talk(**options).opened()
    calls = [talk.session.submit(command, 0.0, 500.0) for command in commands]
    talk.said(0.0)
    talk.answers(calls[0].serial, 1.0, RENEW)
    return talk, calls


def test_renew():
    """What is under way has its answer, what comes meanwhile waits, an order too, and goes on the next link, once."""
    talk, (refused, under_way) = renewing(ORDER, QUERY)
    assert ([RequestRejected], 9, False) == (errors(refused), refused.error.code, under_way.settled)
    waiting = [talk.session.submit(ORDER, 2.0, 500.0), talk.session.submit(QUERY, 2.0, 500.0)]
    assert ([], None) == (talk.said(2.0), talk.session.doom)
    talk.answers(under_way.serial, 3.0)
    assert ([None], ConnectionLost) == (errors(under_way), type(talk.session.doom))
    dial_at = talk.session.lost(3.0, talk.session.doom)
    waiting.append(talk.session.submit(ORDER, 3.1, 500.0))
    talk.session.dialling()
    assert 3.0 + Backoff().base == dial_at
    talk.opened(dial_at)
    assert ["order", "query", "order"] == talk.agrees(dial_at)
    assert [None] * 3 == errors(*waiting)


def test_renew_when_nothing_is_under_way():
    """The link is given up at once, and a driver that asks whether there is something to do is told so."""
    talk, _ = renewing(ORDER)
    assert (ConnectionLost, True, math.inf) == (type(talk.session.doom), talk.session.has_outbox, talk.session.tick(1.0))


def test_renew_with_an_answer_that_does_not_come():
    """It is waited for, but not for ever; then nobody knows what became of that order, and the others were never said."""
    talk, (_, under_way) = renewing(ORDER, ORDER)
    waiting = talk.session.submit(ORDER, 2.0, 500.0)
    assert (1.0 + RENEW_WAIT_S, None) == (talk.session.tick(2.0), talk.session.doom)
    assert [] == talk.frames(1.0 + RENEW_WAIT_S)
    talk.session.lost(12.0, talk.session.doom)
    assert ([ConnectionLost], True, False) == (errors(under_way), under_way.error.sent, waiting.settled)


def test_renew_and_a_deadline():
    """Nothing is under way any more when the last caller has given up waiting."""
    talk, _ = renewing(ORDER, QUERY)
    brief = talk.session.submit(ORDER, 1.0, 3.0)
    talk.session.tick(3.0)
    assert ([RequestTimeout], False, None) == (errors(brief), brief.error.sent, talk.session.doom)
    talk.session.tick(500.0)
    assert ConnectionLost is type(talk.session.doom)


def test_renew_and_no_next_link():
    """A dial that fails makes it an outage as any: orders that waited were never sent, nor are those that come."""
    talk, _ = renewing(ORDER)
    waiting = [talk.session.submit(ORDER, 1.0, 500.0), talk.session.submit(QUERY, 1.0, 500.0)]
    talk.session.lost(1.0, talk.session.doom)
    talk.session.dialling()
    talk.session.lost(2.0, ConnectFailed("nobody there"))
    waiting.append(talk.session.submit(ORDER, 3.0, 500.0))
    assert ([ConnectionLost] * 2, False) == (errors(waiting[0], waiting[2]), waiting[1].settled)
    assert [False, False] == [waiting[0].error.sent, waiting[2].error.sent]


@pytest.mark.parametrize("command", [ORDER, QUERY], ids=["order", "query"])
def test_renew_without_reconnect(command):
    """The user wants no other connection: a loss ends everything, and what had waited was never sent."""
    talk, _ = renewing(ORDER, backoff=None)
    waiting = talk.session.submit(command, 1.0, 500.0)
    assert (None, CLOSED) == (talk.session.lost(1.0, talk.session.doom), talk.session.state)
    assert ([ConnectionLost], False) == (errors(waiting), waiting.error.sent)


def test_renew_again_and_again():
    """An exchange that wants every link to be replaced is not hammered: the waits grow as after any loss."""
    talk = Talk().opened()
    now, waits = 0.0, []
    for _ in range(4):
        call = talk.session.submit(ORDER, now, math.inf)
        talk.said(now)
        talk.answers(call.serial, now, RENEW)
        due = talk.session.lost(now, talk.session.doom)
        waits.append(due - now)
        now = due
        talk.opened(now)
    assert [0.5, 1.0, 2.0, 4.0] == waits


def test_renew_by_a_late_answer():
    """Who asked has given up, and the exchange wants another link all the same."""
    talk = Talk().opened()
    call = talk.session.submit(ORDER, 0.0, 1.0)
    talk.said(0.0)
    talk.session.tick(2.0)
    talk.answers(call.serial, 3.0, RENEW)
    assert ([RequestTimeout], ConnectionLost) == (errors(call), type(talk.session.doom))


def test_renew_and_topics():
    """What flows goes on flowing, who leaves has left, and a statement that was refused is nobody's fault: it is said anew."""
    talk = subscribed("price A", "depth A")
    new = talk.want(TWO, "price B", now=1.0)
    under_way = talk.session.submit(QUERY, 1.0, 500.0)
    statement, _ = talk.said(1.0)
    talk.answers(statement["id"], 2.0, RENEW)
    left = talk.unwant(ONE, "depth A", now=3.0)
    assert (False, [], (ONE,)) == (new.settled, talk.said(3.0), talk.hears(update("price A"), 3.0))
    talk.answers(under_way.serial, 4.0)
    talk.session.lost(4.0, talk.session.doom)
    talk.opened(5.0)
    assert ["price_subscribe A B"] == talk.agrees(5.0)
    assert ([None, None], [], {b"price A": (ONE,), b"price B": (TWO,)}) == (
        errors(new, left),
        talk.decided().ended,
        talk.session.routes,
    )


def test_renew_says_no_ping():
    """A ping is something new too: the limit of the wait stands in for it."""
    talk, _ = renewing(ORDER, QUERY, ping_interval=5.0)
    assert ([], None) == (talk.said(7.0), talk.session.doom)


def test_renew_and_close():
    """`close` ends what waits for the next link, as it ends all else."""
    talk, (_, under_way) = renewing(ORDER, ORDER)
    waiting = talk.session.submit(ORDER, 2.0, 500.0)
    talk.session.close(3.0)
    assert ([ConnectionClosed, ConnectionClosed], True) == (errors(under_way, waiting), talk.session.close_frame)


def test_renew_for_a_login():
    """A login that is refused so is a loss as any, and the key was not judged."""
    talk = Talk()
    talk.session.dialling()
    talk.session.dialled(0.0, LOGIN_COMMAND)
    body = talk.said(0.0)[0]
    talk.answers(body["id"], 1.0, {**RENEW, "kind": "transient"})
    assert RequestRejected is type(talk.session.doom)


# Statements without an answer ------------------------------------------------------------------------------------------------


def test_unanswered_subscribe_is_stated_again():
    """It may be on the wire or not; while it is wanted it is stated again, and `held` counts it."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price B", now=1.0)
    talk.said(1.0)
    assert ["price_subscribe A B"] == talk.methods(11.0)
    assert (topics("price A", "price B"), False) == (talk.session.held(), pending.settled)


def test_unanswered_subscribe_that_flows():
    """An update of what is in doubt settles it: nothing more is said."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price B", now=1.0)
    talk.said(1.0)
    assert (TWO,) == talk.hears(update("price B"), 10.0)
    assert ([None], []) == (errors(pending), talk.said(11.0))


def test_unanswered_subscribe_given_up():
    """Who waited for it gets a timeout; what may be on the wire all the same is taken off it."""
    talk = subscribed("price A")
    pending = talk.want(TWO, "price B", now=1.0, deadline=11.0)
    talk.said(1.0)
    assert ["price_subscribe A"] == talk.methods(11.0)
    assert ([RequestTimeout], True, "subscribe price B: not confirmed in time") == (
        errors(pending),
        pending.error.sent,
        str(pending.error),
    )
    assert [] == talk.decided().ended  # its caller has the error; it never was a subscription


def test_timeout_of_a_trial():
    """The wish on trial was not confirmed in time: the next one is tried."""
    talk = Talk().opened()
    first = talk.want(ONE, "price A", deadline=5.0)
    second = talk.want(TWO, "price B")
    talk.answers(talk.said(0.0)[0]["id"], 1.0, NO)
    body = talk.said(1.0)[0]
    talk.session.tick(5.0)
    talk.answers(body["id"], 6.0)
    talk.agrees(6.0)
    assert [RequestTimeout, None] == errors(first, second)


def test_unanswered_unsubscribe():
    """It is taken for gone: what still flows is dropped unseen, and wanting it again states it."""
    talk = subscribed("price A")
    pending = talk.unwant(ONE, "price A", now=1.0)
    talk.said(1.0)
    assert ([], [None]) == (talk.said(11.0), errors(pending))
    talk.want(TWO, "price A", now=12.0)
    assert ["price_subscribe A"] == talk.agrees(12.0)


def test_leaver_waits_no_longer_than_told():
    """An unsubscribe that is not confirmed in time."""
    talk = subscribed("price A")
    pending = talk.unwant(ONE, "price A", now=1.0, deadline=5.0)
    talk.said(1.0)
    talk.session.tick(5.0)
    assert [RequestTimeout] == errors(pending)


def test_statements_without_a_reply():
    """A language without confirmations: what is said is done, and the channel is free for the next statement."""
    silent = attrs.evolve(SWAP, encode=lambda command, serial: attrs.evolve(SWAP.encode(command, serial), key=None))
    talk = Talk(silent).opened()
    first = talk.want(ONE, "price A")
    assert (["price_subscribe A"], [None]) == (talk.methods(0.0), errors(first))
    second = talk.want(TWO, "price B")
    assert (["price_subscribe A B"], [None], []) == (talk.methods(1.0), errors(second), talk.methods(2.0))


# Budget ----------------------------------------------------------------------------------------------------------------------


def test_calls_wait_for_the_budget():
    """Calls leave the reserve alone, and the tick names the moment at which the next may go."""
    talk = Talk(requests=Pace(10, 60.0, "made up"), ping_interval=500.0).opened()
    pendings = [talk.session.submit(QUERY, 0.0, 500.0) for _ in range(8)]
    assert (10 - RESERVE, [], 60.0, -2) == (
        len(talk.said(0.0)),
        talk.said(59.9),
        talk.session.tick(59.9),
        talk.session.headroom(59.9),
    )
    assert ["query"] * 2 == talk.methods(60.0)
    assert [0.0] * 6 + [60.0] * 2 == [pending.sent_at for pending in pendings]


def test_pings_take_the_reserve():
    """Pings do not stand behind subscribes and calls, until the pace itself is used up."""
    talk = Talk(requests=Pace(10, 60.0, "made up"), ping_interval=500.0).opened()
    for _ in range(20):
        talk.session.submit(QUERY, 0.0, 500.0)
    talk.want(ONE, "price A")
    talk.session.submit(Command("ping", kind=PING), 0.0, 500.0)
    assert ["ping", "price_subscribe A", *["query"] * 4] == talk.methods(0.0)
    for _ in range(RESERVE + 1):
        talk.session.submit(Command("ping", kind=PING), 1.0, 500.0)
    assert (["ping"] * RESERVE, []) == (talk.methods(1.0), talk.methods(2.0))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_small_pace(count):
    """An exchange that allows only a few requests in a window is spoken to all the same, and never too often."""
    talk = Talk(requests=Pace(count, 1.0, "made up")).opened()
    wanted = talk.want(ONE, "price A")
    queries = [talk.session.submit(QUERY, 0.0, 500.0) for _ in range(3)]
    moments, now = [], 0.0
    while now < 40.0:
        for body in talk.said(now):
            moments.append(now)
            talk.answers(body["id"], now)
        now = talk.session.tick(now)
    assert [None] * 4 == errors(wanted, *queries)
    assert all(sum(first <= moment < first + 1.0 for moment in moments) <= count for first in moments)


def test_statements_beyond_the_budget():
    """What the budget had no room for is said later, computed anew."""
    talk = Talk(DELTA, requests=Pace(10, 60.0, "made up"), ping_interval=500.0).opened()
    for _ in range(5):
        talk.session.submit(Command("tell"), 0.0, 500.0)
    talk.said(0.0)
    pending = talk.want(ONE, "tick A", "tick B", "tick C", "tick D", "tick E", now=1.0)
    assert (["sub tick A tick B tick C"], False) == (talk.methods(1.0), pending.settled)
    talk.hears({"to": "sub", "ok": True}, 2.0)
    assert ([], [], ["sub tick D tick E"]) == (talk.methods(2.0), talk.methods(59.9), talk.methods(60.0))


def test_why_it_waited():
    """A call that timed out in the queue of an OPEN connection says what it waited for."""
    talk = Talk(requests=Pace(10, 60.0, "made up")).opened()
    pendings = [talk.session.submit(QUERY, 0.0, 5.0) for _ in range(7)]
    talk.said(0.0)
    talk.session.tick(5.0)
    assert (False, True) == (pendings[-1].error.sent, "waiting for its request budget" in str(pendings[-1].error))


def test_why_topics_waited():
    """So do a subscribe and an unsubscribe."""
    talk = subscribed("price A", requests=Pace(10, 60.0, "made up"))
    for _ in range(7):
        talk.session.submit(QUERY, 0.0, 1000.0)
    talk.said(0.0)
    pendings = [talk.want(TWO, "tick B", deadline=5.0), talk.unwant(ONE, "price A", deadline=5.0)]
    talk.said(1.0)
    talk.session.tick(5.0)
    assert ["subscribe tick B", "unsubscribe"] == [
        str(pending.error).replace(": not confirmed in time, waiting for its request budget", "") for pending in pendings
    ]


# Heartbeat -------------------------------------------------------------------------------------------------------------------


def test_ping_although_they_talk():
    """The schedule counts from our own last word, however busy they are: some exchanges close on clients that say nothing."""
    talk = subscribed("price A")
    for moment in range(1, 50):
        talk.hears(update("price A"), float(moment))
    assert ([], ["ping"]) == (talk.methods(49.9), talk.methods(50.0))


def test_ping_although_we_talk():
    """When nothing is heard our own words do not count."""
    talk = Talk().opened()
    for moment in range(1, 50):
        talk.session.submit(Command("tell"), float(moment), 500.0)
        talk.said(float(moment))
    assert ["ping"] == talk.methods(50.0)


def test_no_ping_when_both_talk():
    """A conversation needs no heartbeat."""
    talk = Talk().opened()
    said = []
    for moment in range(0, 200, 10):
        talk.session.submit(Command("tell"), float(moment), 500.0)
        said += talk.methods(float(moment))
        talk.session.heard(float(moment), 100, 1)
    assert (["tell"] * 20, 240.0, 2000) == (said, talk.session.tick(199.0), talk.session.counters["bytes"])


def test_pings_go_on():
    """Each answered ping begins the next interval."""
    talk = Talk().opened()
    moments = []
    now = 0.0
    while now < 300.0:
        for body in talk.said(now):
            moments.append((body["method"], now))
            talk.answers(body["id"], now + 1.0)
        now = talk.session.tick(now + 1.0)
    assert [("ping", 50.0), ("ping", 100.0), ("ping", 150.0)] == moments[:3]


def test_no_pong():
    """The link is given up, once: nothing more is said on it."""
    talk = Talk().opened()
    assert (["ping"], 60.0, None) == (talk.methods(50.0), talk.session.tick(50.0), talk.session.doom)
    assert ([], ConnectionLost) == (talk.methods(60.0), type(talk.session.doom))


def test_a_pong_that_is_no_reply():
    """Some languages answer pings without saying which."""
    talk = Talk(DELTA).opened()
    talk.said(50.0)
    talk.hears({"pong": 1}, 51.0)
    talk.session.tick(60.0)
    assert (None, [1.0]) == (talk.session.doom, list(talk.session.round_trips))


def test_ping_without_a_reply():
    """A heartbeat that nobody answers is said once an interval, not without end."""
    beat = Command("tell", kind=PING, replay=True)
    talk = Talk(attrs.evolve(SWAP, heartbeat=Heartbeat(50.0, beat))).opened()
    assert (["tell"], [], ["tell"]) == (talk.methods(50.0), talk.methods(99.0), talk.methods(100.0))


def test_frames_as_pings():
    """Where the exchange has no ping of its own, WebSocket frames serve; they cost no requests."""
    talk = Talk(attrs.evolve(SWAP, heartbeat=Heartbeat(50.0)), requests=Pace(100, 60.0, "made up")).opened()
    [(opcode, payload)] = talk.frames(50.0)
    talk.session.pong_frame(b"unasked", 51.0)
    talk.session.pong_frame(payload, 52.0)
    talk.session.heard(52.0, 10, 0)
    talk.session.tick(60.0)
    assert (OPCODE_PING, None, [2.0], 0) == (
        opcode,
        talk.session.doom,
        list(talk.session.round_trips),
        talk.session.counters["requests"],
    )


def test_excuse():
    """While a consumer held the reader up, pongs could not be read: that time is not counted."""
    talk = Talk().opened()
    talk.said(50.0)
    talk.session.excuse(30.0)
    talk.session.tick(89.0)
    assert (None, 90.0) == (talk.session.doom, talk.session.tick(89.0))
    talk.session.tick(90.0)
    assert ConnectionLost is type(talk.session.doom)


def test_excuse_without_a_ping():
    """Nothing was awaited, so nothing is put off."""
    talk = Talk().opened()
    talk.session.excuse(30.0)
    assert 50.0 == talk.session.tick(0.0)


def test_silence_after_a_request():
    """A request without an answer, and nothing else heard: a ping finds out at once whether the link lives."""
    talk = Talk().opened()
    talk.session.submit(QUERY, 1.0, 6.0)
    talk.said(1.0)
    assert ["ping"] == talk.methods(6.0)


def test_only_the_answer_is_missing():
    """Where other things were heard since, the link lives."""
    talk = Talk().opened()
    talk.session.submit(QUERY, 1.0, 6.0)
    talk.said(1.0)
    talk.session.heard(3.0, 10, 1)
    assert [] == talk.methods(6.0)


def test_a_ping_that_was_not_said_cannot_be_answered():
    """The pong's time begins when the ping is said: a budget without room is no dead link."""
    talk = Talk(requests=Pace(10, 60.0, "made up")).opened()
    pings = [talk.session.submit(Command("ping", kind=PING), 0.0, 500.0) for _ in range(10)]
    for body in talk.said(0.0):
        talk.answers(body["id"], 0.0)
    assert ([None] * 10, [], []) == (errors(*pings), talk.methods(50.0), talk.methods(59.0))
    assert (["ping"], None, 70.0) == (talk.methods(60.0), talk.session.doom, talk.session.tick(60.0))


# Time that nobody saw pass ---------------------------------------------------------------------------------------------------


def test_prove():
    """A ping goes at once; unanswered it costs the link after its usual time, answered it costs nothing."""
    talk = Talk().opened()
    talk.session.prove(7.0)
    assert (["ping"], 17.0) == (talk.methods(7.0), talk.session.tick(7.0))
    talk.session.tick(17.0)
    assert "no pong" in str(talk.session.doom)


def test_prove_while_a_ping_is_on_its_way():
    """Its pong may be in the socket's buffer: it is awaited for the usual time from now on, and no second one is sent."""
    talk = Talk().opened()
    [ping] = talk.said(50.0)
    talk.session.prove(59.0)
    assert ([], None, 69.0) == (talk.said(60.0), talk.session.doom, talk.session.tick(60.0))
    talk.answers(ping["id"], 68.0)
    assert (None, 100.0) == (talk.session.doom, talk.session.tick(69.0))


def test_prove_again_and_again():
    """A ping's time is moved once: a machine that always sleeps does not keep a dead link for ever."""
    talk = Talk().opened()
    talk.said(50.0)
    for now in (55.0, 58.0, 61.0, 64.0):
        talk.session.prove(now)
        talk.session.tick(now)
    talk.session.tick(65.0)
    assert "no pong" in str(talk.session.doom)


def test_a_turn_that_comes_far_too_late():
    """All deadlines pass at once: what callers asked for is over, but a link is not lost for a pong that nobody could read.

    The heartbeat that has become due meanwhile follows it.
    """
    talk = Talk().opened()
    query = talk.session.submit(QUERY, 49.0, 54.0)
    bodies = talk.said(50.0)
    due = talk.session.tick(3650.0)
    assert ([RequestTimeout], None, 3660.0) == (errors(query), talk.session.doom, due)
    for body in bodies:
        talk.answers(body["id"], 3650.1)
    assert (["ping"], None, 3661.0) == (talk.methods(3651.0), talk.session.doom, talk.session.tick(3651.0))


def test_a_turn_that_is_a_little_late():
    """A busy machine is no excuse: the pong's time is over."""
    talk = Talk().opened()
    talk.said(50.0)
    talk.session.tick(60.0 + LATE_S)
    assert "no pong" in str(talk.session.doom)


def test_prove_during_the_login():
    """Its answer has its time anew, once, and no ping goes before it."""
    talk = logging_in()
    login_id(talk, 1.0)
    talk.session.prove(10.0)
    assert ([], 20.0) == (talk.said(10.0), talk.session.tick(10.0))
    talk.session.tick(20.0)
    assert "no answer to the login" in str(talk.session.doom)


def test_prove_while_topics_are_stated():
    """A statement has its time anew too; a ping goes beside it."""
    talk = Talk().opened()
    price = talk.want(ONE, "price A")
    [said] = talk.said(1.0)
    talk.session.prove(10.0)
    [ping] = talk.said(10.0)
    talk.answers(ping["id"], 10.5)
    talk.session.tick(19.9)
    talk.answers(said["id"], 19.9)
    assert (True, None, None) == (price.settled, price.error, talk.session.doom)


@pytest.mark.parametrize("state", [CONNECTING, RECONNECTING, CLOSED])
def test_prove_without_a_link(state):
    """There is nothing to prove, and nothing is said of it later."""
    talk = in_state(state)
    talk.session.prove(5.0)
    assert [] == talk.said(5.0)
    if state != CLOSED:
        assert [] == talk.opened(6.0).said(6.0)


# What they say ---------------------------------------------------------------------------------------------------------------


def test_malformed_messages():
    """A few are ignored and counted; too many in a minute mean that we do not speak the same language."""
    talk = Talk().opened()
    for _ in range(MALFORMED.count):
        talk.hears(b"{", 1.0)
    assert (MALFORMED.count, None) == (talk.session.counters["malformed"], talk.session.doom)
    talk.hears(b"{", 1.0 + MALFORMED.window_s - 0.5)
    assert WireError is type(talk.session.doom)


def test_malformed_message_may_have_been_anyones():
    """Whoever's topics were confirmed is told, once each; who still waits for them was promised nothing yet."""
    talk = subscribed("price A", "depth B")
    talk.want(TWO, "price C")
    talk.decided()
    talk.hears(b"{", 1.0)
    assert [ONE] == talk.decided().spoiled


def test_malformed_message_while_all_is_stated_anew():
    """Who flowed before a refusal that may have ended all of his channel is concerned still."""
    talk = subscribed("price A")
    talk.want(TWO, "price B")
    (body,) = talk.said(1.0)
    talk.answers(body["id"], 1.0, {"message": "no such market"})
    talk.hears(b"{", 1.0)
    assert [ONE] == talk.decided().spoiled


def test_suspected_again_is_concerned_all_the_same():
    """Of a restatement that is refused all are suspected; those who flowed before hear of the next loss all the same."""
    talk = subscribed("price A", "depth B")
    talk.want(TWO, "depth C")
    talk.agrees(0.0)
    talk.session.lost(1.0, LOSS)
    talk.opened(2.0)
    for body in talk.said(2.0):
        talk.answers(body["id"], 2.0, {"message": "no such market"} if body["method"].startswith("depth") else None)
    assert [ONE, TWO] == talk.session.sinks()


def test_malformed_messages_now_and_then():
    """As many, over a longer time, do no harm."""
    talk = Talk().opened()
    for number in range(3 * MALFORMED.count):
        talk.hears(b"[", number * MALFORMED.window_s / MALFORMED.count)
    assert (3 * MALFORMED.count, None) == (talk.session.counters["malformed"], talk.session.doom)


def test_unknown_messages(caplog):
    """A kind that nobody knew is counted, and what it tells us is logged."""
    talk = Talk().opened()
    with caplog.at_level("INFO"):
        talk.hears({"note": "maintenance at noon"})
        talk.hears({"something": "new"})
        talk.decided().log()
    assert (2, ["made-up: the exchange says: maintenance at noon"]) == (talk.session.counters["unknown"], caplog.messages)


def test_unrouted_updates():
    """What nobody wants any more is counted and dropped."""
    talk = subscribed("price A")
    assert ((), 1) == (talk.hears(update("price B")), talk.session.counters["unrouted"])


def test_rows_of_several_symbols():
    """One push with news of several topics goes to each sink once."""
    talk = subscribed("price A", "price B")
    talk.want(TWO, "price B")
    talk.want(THREE, "depth B")
    talk.agrees(1.0)
    assert (ONE, TWO) == talk.hears(update("price A", "price B", "price Z"), 2.0)


def test_an_alias():
    """A topic that flows under a name which its reply told is routed by it, and taken where `route` gave up."""
    talk = Talk(DELTA).opened()
    talk.want(ONE, "alias A")
    talk.want(TWO, "alias B")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "as": ["x1", "x2"]})
    talk.hears({"to": "sub", "ok": True, "as": ["x3"]})
    assert [(ONE,), (ONE,), (TWO,)] == [talk.session.routes[alias] for alias in (b"x1", b"x2", b"x3")]
    assert ((TWO,), (ONE, TWO)) == (talk.hears(json.dumps({"of": "x3"}).encode()), talk.hears(update("x1", "x3")))


def test_aliases_end_with_their_topic():
    """An alias of what was dropped is forgotten: the exchange may give that name to another one."""
    talk = Talk(DELTA).opened()
    talk.want(ONE, "alias A")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "as": ["x1"]})
    talk.unwant(ONE, "alias A")
    talk.said(1.0)
    talk.hears({"to": "unsub", "ok": True})
    assert ({}, {}) == (talk.session.routes, talk.session._aliases)


def test_aliases_end_with_the_link():
    """The next link gives names of its own."""
    talk = Talk(DELTA).opened()
    talk.want(ONE, "alias A")
    talk.said(0.0)
    talk.hears({"to": "sub", "ok": True, "as": ["x1"]})
    talk.session.lost(1.0, LOSS)
    talk.opened(2.0)
    talk.said(2.0)
    talk.hears({"to": "sub", "ok": True, "as": ["x2"]}, 2.0)
    assert {b"alias A", b"x2"} == set(talk.session.routes)


@pytest.mark.parametrize("looked", [False, True])
def test_ids_of_a_lost_link_are_nobodys_on_the_next_one(looked):
    """An update before its confirmation waits for it there too, whoever had its id on the lost link."""
    talk = Talk(IDS).opened()
    for sink, symbol in ((ONE, "A"), (TWO, "B")):
        talk.want(sink, f"price {symbol}")
        talk.said(0.0)
        talk.hears({"re": "sub", "ok": True, "ids": {f"id of {symbol}": symbol}})
    if looked:
        talk.frames(2 * LOOK_S)
    talk.session.lost(21.0, LOSS)
    talk.opened(22.0)
    assert [{"op": "sub", "args": ["price A"]}] == talk.said(22.0)
    talk.decided()
    early = update("price id of B")
    assert ((), {}) == (talk.hears(early, 22.0), talk.session.routes)
    talk.hears({"re": "sub", "ok": True, "ids": {"id of B": "A"}}, 22.0)
    assert [((ONE,), early)] == talk.decided().released


# Wildcards and routes --------------------------------------------------------------------------------------------------------


def test_wildcard():
    """A topic of all symbols: each symbol is learned on its first sight, and has a route of its own from then on."""
    talk = subscribed("price *")
    assert ((ONE,), (ONE,)) == (talk.hears(update("price A")), talk.session.routes[b"price A"])


def test_wildcard_beside_one_symbol():
    """Who wants one symbol and who wants all share the updates of it; the others go to the latter alone."""
    talk = subscribed("price A")
    talk.want(TWO, "price *")
    talk.agrees(1.0)
    talk.hears(update("price B"), 2.0)
    assert ({ONE, TWO}, (TWO,)) == (set(talk.session.routes[b"price A"]), talk.session.routes[b"price B"])


@pytest.mark.parametrize(("first", "second"), [("price A", "price *"), ("price *", "price A")])
def test_an_update_that_either_may_have_caused(first, second):
    """It confirms neither, or a subscription that was never made would be believed in, and go without news in silence."""
    talk = subscribed(first)
    pending = talk.want(TWO, second)
    serial = talk.said(1.0)[0]["id"]
    assert ((ONE,), False) == (talk.hears(b'{"of": "price A"}', 2.0), pending.settled)
    talk.answers(serial, 3.0, {"message": "slow down", "kind": "too many"})
    assert ["price_subscribe * A"] == talk.methods(3.0 + THROTTLE_S)


def test_wildcard_ends():
    """What was learned for it is not routed when nobody wants all symbols any more."""
    talk = subscribed("price A")
    talk.want(TWO, "price *")
    talk.agrees(1.0)
    talk.hears(update("price B"), 2.0)
    talk.unwant(TWO, "price *", now=3.0)
    talk.agrees(3.0)
    assert {b"price A": (ONE,)} == talk.session.routes


def test_learning_is_bounded(monkeypatch):
    """A peer that makes up symbols does not fill the memory; what is not learned is delivered all the same."""
    monkeypatch.setattr(session_module, "LEARNED", 3)
    talk = subscribed("price *")
    delivered = [talk.hears(update(f"price {number}")) for number in range(10)]
    assert ([(ONE,)] * 10, 4) == (delivered, len(talk.session.routes))


def test_learning_finds_what_all_routes_together_give(monkeypatch):
    """A symbol's route is added by itself, not by making all routes anew, and is the same as if they were."""
    talk = subscribed("price *", "price A")
    talk.want(TWO, "price B", "price *")
    talk.agrees(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(talk.session, "_reroute_all", lambda: pytest.fail("all routes were made anew"))
        for symbol in "CDE":
            talk.hears(update(f"price {symbol}"), 2.0)
    for symbol in "AB":
        talk.hears(update(f"price {symbol}"), 2.0)
    learned = dict(talk.session.routes)
    talk.session._reroute_all()
    assert learned == talk.session.routes
    assert [(ONE, TWO)] * 3 == [talk.session.routes[f"price {symbol}".encode()] for symbol in "CDE"]


def test_no_route_that_route_does_not_find():
    """What `route` leaves to `decode` is not learned: it would never be asked for."""
    talk = subscribed("price *")
    assert ((ONE,), {b"price *"}) == (talk.hears(b'{"of": "price A"}'), set(talk.session.routes))


def test_same_sinks_same_tuple():
    """Routes to the same sinks are one object, so that a reader compares by identity, whatever the order of wishes."""
    talk = subscribed("price A", "depth A")
    talk.want(TWO, "depth A", "price *")
    talk.want(ONE, "price *", "trade A")
    talk.want(TWO, "trade A")
    talk.agrees(1.0)
    for symbol in "ABC":
        talk.hears(update(f"price {symbol}"), 2.0)
    routes = talk.session.routes
    assert {b"price A", b"depth A", b"trade A", b"price *", b"price B", b"price C"} == set(routes)
    assert 1 == len({id(sinks) for sinks in routes.values()})


def test_routes_are_changed_one_by_one(monkeypatch):
    """The reader needs no lock for a route, which is replaced in one step; and who comes costs no other topic's."""
    talk = subscribed("price A", "price B")
    routes = talk.session.routes
    found, other = routes[b"price A"], routes[b"price B"]
    monkeypatch.setattr(talk.session, "_reroute_all", lambda: pytest.fail("all routes were made anew"))
    talk.want(TWO, "price A")
    assert ((ONE,), (ONE, TWO), True) == (found, routes[b"price A"], routes is talk.session.routes)
    assert other is routes[b"price B"]


def test_confirmed_wishes_keep_no_waiter():
    """A waiter has a lock and a condition: who was confirmed needs none any more, and thousands are."""
    talk = subscribed("price A")
    waiting = talk.want(TWO, "price B")
    assert [session_module.DONE, waiting] == [join.pending for join in talk.session._joins]


def test_sinks_and_held():
    """Who was confirmed once, and what is wanted or on the wire."""
    talk = subscribed("price A")
    talk.want(TWO, "price B")
    assert ([ONE], topics("price A", "price B")) == (talk.session.sinks(), talk.session.held())


def test_marks_when_stated():
    """Every sink of a topic is told when that is stated, before the waiters are."""
    talk = Talk().opened()
    talk.want(ONE, "price A")
    talk.want(TWO, "price A", "price B")
    talk.agrees(0.0)
    marks = [(sink, {found.name for found in stated}, known) for sink, stated, known in talk.decided().marks]
    assert [(ONE, {"price A"}, True), (TWO, {"price A", "price B"}, True)] == marks


def test_decisions_are_handed_out_once():
    """What was decided is the driver's from then on."""
    talk = in_state(CONNECTING)
    talk.opened()
    assert ([OPEN], None) == (talk.decided().states, talk.session.take_decisions())


def test_a_request_that_needs_a_login():
    """Where a login was lacking, the caller gets an AuthenticationError, and nobody else does."""
    talk = Talk().opened()
    pending = talk.session.submit(QUERY, 0.0, 5.0)
    talk.said(0.0)
    talk.answers(1, error={"message": "log in", "kind": "unauthorized"})
    assert ([AuthenticationError], None, OPEN) == (errors(pending), talk.session.doom, talk.session.state)
