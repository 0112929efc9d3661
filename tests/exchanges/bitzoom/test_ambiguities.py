"""
What Bitzoom's documentation leaves open, and how it is resolved: a test, or several, for each question of the protocol's list.

The session and the dialect talk with literals; time is numbers. Questions about the URL, the login and the client's side are
in `test_client.py` beside this; those about lines and shapes alone in `test_dialect.py`.
"""

from __future__ import annotations

import json

import pytest

from exchange_ws.core.messages import LOGIN, Command, Limits
from exchange_ws.core.session import EARLY, EARLY_BYTES, GONE_S, RECONNECTING, Backoff, Decisions, Session
from exchange_ws.errors import (
    AuthenticationError,
    ConnectionLost,
    RequestRejected,
    RequestTimeout,
    SubscriptionRejected,
)
from exchange_ws.exchanges.bitzoom.dialect import PUBLIC, topic

TICKER, PRICE, DEPTH, HR24 = "/api/v1/ticker", "/api/v1/ticker/price", "/api/v1/depth", "/api/v1/ticker/hr24"
BTC, ETH = topic(TICKER, {"symbol": "BTCUSDT"}), topic(TICKER, {"symbol": "ETHUSDT"})
BTC_PRICE = topic(PRICE, {"symbol": "BTCUSDT"})
DEPTH_5, DEPTH_20 = (topic(DEPTH, {"symbol": "BTCUSDT", "limit": limit}) for limit in (5, 20))
ONE, TWO = "sink one", "sink two"
LATER = 1000.0
#: What the framework's hash makes of BTCUSDT, ETHUSDT, BTCUSDT + 5 and BTCUSDT + 20: more than 2**53, all of them.
HASH_BTC, HASH_ETH = "1849315537067129065", "9110394807318271342"
HASH_5, HASH_20 = "16466673259808766642", "9673625973215015898"


def line(channel, event, data=None):
    return json.dumps({"channel": channel, "event": event, "data": data}, separators=(",", ":"))


def push(event, data="x", channel=TICKER):
    return line(channel, event, data)


class Talk:
    """A session, its driver as far as reading goes, and the exchange."""

    def __init__(self):
        backoff = Backoff(base=1.0)
        self.session = Session(
            PUBLIC,
            "bitzoom",
            limits=Limits(),
            ping_interval=20.0,
            pong_timeout=10.0,
            reply_limit=10.0,
            backoff=backoff,
            chance=lambda low, high: high,
        )
        self.delivered = []
        self.session.dialled(0.0, None)

    def want(self, sink, *wanted, deadline=LATER):
        return self.session.want(sink, frozenset(wanted), 0.0, deadline)

    def unwant(self, sink, *gone, deadline=LATER):
        return self.session.unwant(sink, frozenset(gone), 0.0, deadline)

    def says(self, now=0.0):
        """What is said: event, channel and data of each request."""
        self.session.tick(now)
        said = [json.loads(data) for opcode, data in self.session.take_outbox(now) if opcode == 1]
        assert self.session.tick(now) > now, "a timer would spin"
        return [(body["event"], body["channel"], body["data"]) for body in said]

    def hears(self, *lines, now=0.0):
        """One message comes; returns what its lines deliver: sink and data, in order."""
        before = len(self.delivered)
        for message in PUBLIC.split(["\n".join(lines).encode()]):
            sinks = self.session.routes.get(PUBLIC.route(message))
            if sinks is None:
                sinks = self.session.receive(message, now)
                decisions = self.session.take_decisions() or Decisions()
                decisions.log()
                for early, kept in decisions.released:
                    self.deliver(early, kept)
            self.deliver(sinks, message)
        return self.delivered[before:]

    def deliver(self, sinks, message):
        self.delivered += [(sink, json.loads(message)["data"]) for sink in sinks]

    def subscribed(self, *pairs, sink=ONE):
        """Subscribe to topics, each confirmed under its id."""
        for one, sub_id in pairs:
            self.want(sink, one)
            self.says()
            self.hears(line(one.channel, "sub", {sub_id: {}}))
        return self

    def counted(self, *names):
        return tuple(self.session.counters[name] for name in names)


def ask(said):
    """How `says` shows a subscribe or unsubscribe of a topic."""
    event, one = said
    return event, one.channel, json.loads(one.args[0])


def test_a1_one_request_a_channel():
    """While one is in flight on a channel, others wait; other channels do not. Each answer goes to its like."""
    talk = Talk()
    pendings = [talk.want(ONE, one) for one in (BTC, ETH, BTC_PRICE)]
    assert [ask(("sub", BTC)), ask(("sub", BTC_PRICE))] == talk.says()
    assert [] == talk.says(1.0)
    talk.hears(line(TICKER, "sub", {"a": {}}), now=1.0)
    assert [True, False, False] == [pending.settled for pending in pendings]
    assert [ask(("sub", ETH))] == talk.says(1.0)


def test_a1_another_kind_answers_nothing():
    """The confirmation of an unsubscribe does not answer a subscribe, nor the reverse."""
    talk = Talk()
    pending = talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "unsub", "a"))
    assert (False, (1,)) == (pending.settled, talk.counted("unasked"))
    talk.hears(line(TICKER, "sub", {"a": {}}))
    talk.unwant(ONE, BTC)
    assert [ask(("unsub", BTC))] == talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert (2,) == talk.counted("unasked")


def test_a1_bare_requests_too():
    """A call of a channel waits for the statement in flight, and the statement for the call; others do not."""
    talk = Talk()
    talk.want(ONE, BTC)
    calls = [Command("sub", (channel, {"symbol": "X"}), "subscribe", channel=channel) for channel in (TICKER, PRICE)]
    pendings = [talk.session.submit(call, 0.0, LATER) for call in calls]
    assert [ask(("sub", BTC)), ("sub", PRICE, {"symbol": "X"})] == talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert [("sub", TICKER, {"symbol": "X"})] == talk.says()
    talk.want(ONE, ETH)
    talk.want(ONE, BTC_PRICE)
    assert [] == talk.says()
    talk.hears(line(TICKER, "error", {}), line(PRICE, "sub", {"p": {}}))
    assert [ask(("sub", ETH)), ask(("sub", BTC_PRICE))] == talk.says()
    assert [SubscriptionRejected, type(None)] == [type(pending.error) for pending in pendings]


@pytest.mark.parametrize("echo", [True, False])
def test_a2_cumulative_confirmation(echo):
    """A confirmation that names all ids of the channel binds the new one, wherever it stands, to the last subscription."""
    talk = Talk()
    first, second = ({"symbol": "BTCUSDT", "limit": 5}, {"symbol": "BTCUSDT", "limit": 20}) if echo else ({}, {})
    talk.want(ONE, DEPTH_5)
    talk.says()
    talk.hears(line(DEPTH, "sub", {HASH_20: first}))
    talk.want(TWO, DEPTH_20)
    talk.says()
    talk.hears(line(DEPTH, "sub", {HASH_5: second, HASH_20: first}))
    assert [(ONE, 1), (TWO, 2)] == talk.hears(push(HASH_20, 1, DEPTH), push(HASH_5, 2, DEPTH))


def test_a2_several_new_ids():
    """Several ids in one confirmation are all of the subscription's."""
    talk = Talk()
    talk.want(ONE, topic(HR24, {}))
    talk.says()
    talk.hears(line(HR24, "sub", {"m1": {}, "m2": {}, "m3": {}}))
    assert ("m1", "m2", "m3") == talk.session.ids({topic(HR24, {})})
    assert [(ONE, 1), (ONE, 3)] == talk.hears(push("m1", 1, HR24), push("m3", 3, HR24))


def test_a2_known_by_its_echo():
    """Nothing new among several: the one whose echo has the parameters is shared."""
    talk = Talk().subscribed((BTC, HASH_BTC), (topic(TICKER, {"symbol": "btcusdt"}), "lower"))
    talk.want(TWO, ETH)
    talk.says()
    echoes = {HASH_BTC: {"symbol": "BTCUSDT"}, "lower": {"Symbol": "ETHUSDT", "userid": "1"}}
    talk.hears(line(TICKER, "sub", echoes))
    assert [(ONE, 1), (TWO, 1)] == talk.hears(push("lower", 1))


def test_a2_ambiguous():
    """Nothing new among several, and no echo: the subscription fails, and only a new connection is sure."""
    talk = Talk().subscribed((BTC, "a"), (ETH, "b"))
    pending = talk.want(TWO, topic(TICKER, {"symbol": "X"}))
    talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}, "b": {}}))
    assert (SubscriptionRejected, ConnectionLost) == (type(pending.error), type(talk.session.doom))
    talk.session.lost(1.0, talk.session.doom)
    talk.session.dialled(2.0, None)
    assert [ask(("sub", BTC))] == talk.says(2.0)


def test_a3_others_by_their_echo():
    """New ids whose echo is that of others, such as a former subscription of ours, are not taken."""
    talk = Talk().subscribed((BTC, HASH_BTC))
    talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "unsub", HASH_BTC))
    talk.want(TWO, ETH)
    talk.says()
    talk.hears(line(TICKER, "sub", {HASH_BTC: {"symbol": "BTCUSDT"}, HASH_ETH: {"symbol": "ETHUSDT"}}))
    assert (HASH_ETH,) == talk.session.ids({ETH})
    assert [(TWO, 2)] == talk.hears(push(HASH_BTC, 1), push(HASH_ETH, 2))


def test_a3_others_by_what_was_dropped():
    """Without echoes, the id that was dropped just now is not taken beside another new one; alone it is."""
    talk = Talk().subscribed((BTC, "a"))
    talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "unsub", "a"))
    talk.want(TWO, ETH)
    talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}, "e": {}}))
    assert ("e",) == talk.session.ids({ETH})
    talk.want(TWO, BTC)
    talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}, "e": {}}))
    assert ("a",) == talk.session.ids({BTC})


def test_a3_ids_of_a_bare_request():
    """What a bare request has started is nobody's, and is not taken for the next subscription's."""
    talk = Talk()
    call = talk.session.submit(Command("sub", (TICKER, {"symbol": "X"}), "subscribe", channel=TICKER), 0.0, LATER)
    talk.says()
    talk.hears(line(TICKER, "sub", {"x": {}}))
    assert {"x": {}} == call.reply.result
    talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "sub", {"x": {}, "a": {}}))
    assert [(ONE, 2)] == talk.hears(push("x", 1), push("a", 2))
    assert (1,) == talk.counted("unrouted")


def test_a4_error_of_a_channel(caplog):
    """An error fails what waits on its channel; without that it is told, and ends nothing."""
    talk = Talk().subscribed((BTC, "a"))
    pending = talk.want(ONE, ETH)
    talk.says()
    talk.hears(line(TICKER, "error", {"code": -1120, "msg": "Invalid symbol"}))
    assert (-1120, "Invalid symbol") == (pending.error.code, pending.error.message)
    talk.hears(line(TICKER, "error", "out of sorts"))
    assert "bitzoom: an error that answers no request: /api/v1/ticker: out of sorts" == caplog.messages[-1]
    assert [(ONE, 1)] == talk.hears(push("a", 1))


@pytest.mark.parametrize("channel", ["", "/api/v1/nosuch"])
def test_a5_error_of_no_channel(channel):
    """It fails the one request that waits; of several it fails none."""
    talk = Talk()
    pendings = [talk.want(ONE, BTC), talk.want(ONE, BTC_PRICE)]
    talk.says()
    talk.hears(line(channel, "error", "?"))
    assert [None, None] == [pending.error for pending in pendings]
    talk.hears(line(TICKER, "sub", {"a": {}}))
    talk.hears(line(channel, "error", "?"))
    assert [type(None), SubscriptionRejected] == [type(pending.error) for pending in pendings]


def test_a5_error_of_another_channel():
    """That of a channel that we know is not taken for another's."""
    talk = Talk()
    pending = talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(PRICE, "error", "?"))
    assert (False, (1,)) == (pending.settled, talk.counted("unasked"))


def test_a6_subscribe_without_answer():
    """Without its answer a subscribe cannot flow, and the next answer could be taken for it: the link is made anew."""
    talk = Talk().subscribed((BTC, "a"))
    pending = talk.want(TWO, ETH, deadline=10.0)
    talk.says()
    talk.session.tick(10.0)
    assert (RequestTimeout, ConnectionLost) == (type(pending.error), type(talk.session.doom))
    talk.session.lost(10.0, talk.session.doom)
    talk.session.dialled(11.0, None)
    assert [ask(("sub", BTC))] == talk.says(11.0)


def test_a6_late_confirmation():
    """One that comes after its caller has gone is unsubscribed at once, and nothing of it is delivered."""
    talk = Talk()
    pending = talk.want(ONE, BTC, deadline=2.0)
    talk.says()
    talk.session.tick(2.0)
    assert RequestTimeout is type(pending.error)
    assert [] == talk.hears(line(TICKER, "sub", {"a": {}}), push("a"), now=3.0)
    assert [ask(("unsub", BTC))] == talk.says(3.0)


def test_a6_unsubscribe_without_answer():
    """It is as good as done: the channel is free, the connection stays, and the next confirmation is not its answer."""
    talk = Talk().subscribed((BTC, "a"))
    pending = talk.unwant(ONE, BTC)
    talk.says()
    talk.want(TWO, ETH)
    assert [ask(("sub", ETH))] == talk.says(10.0)
    assert (True, None, None) == (pending.settled, pending.error, talk.session.doom)
    talk.hears(line(TICKER, "sub", {"e": {}}), now=11.0)
    assert ("e",) == talk.session.ids({ETH})


def test_a7_success():
    """It completes an unsubscribe; a subscribe goes on waiting for its ids."""
    talk = Talk()
    pending = talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "success", {}))
    assert not pending.settled
    talk.hears(line(TICKER, "sub", {"a": {}}))
    gone = talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "success", {}))
    assert (True, True, None) == (pending.settled, gone.settled, gone.error)


def test_a8_malformed_line(caplog):
    """It is counted and told without its content; its neighbours live."""
    talk = Talk().subscribed((BTC, "a"))
    assert [(ONE, 1), (ONE, 2)] == talk.hears(push("a", 1), '{"channel":"/api/v1/ticker","event":"secret', push("a", 2))
    assert (1,) == talk.counted("malformed")
    assert [] == [text for text in caplog.messages if "secret" in text]


def test_a10_cut_message():
    """What is cut off is not kept for the next message, which is read for itself."""
    talk = Talk().subscribed((BTC, "a"))
    whole = push("a", 2)
    assert [(ONE, 1)] == talk.hears(push("a", 1), whole[:40])
    assert [(ONE, 3)] == talk.hears(whole[40:], push("a", 3))
    assert (2,) == talk.counted("malformed")


def test_a11_arrays_and_scalars():
    """They are malformed, whatever is in them."""
    talk = Talk().subscribed((BTC, "a"))
    assert [] == talk.hears(f"[{push('a')}]", "42", "null")
    assert (3,) == talk.counted("malformed")


@pytest.mark.parametrize("together", [True, False])
def test_a13_push_before_its_confirmation(together):
    """It waits for the confirmation, and comes before the newer ones."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    lines = [push("a", 1), push("stray", 2), push("a", 3), line(TICKER, "sub", {"a": {}}), push("a", 4)]
    if together:
        talk.hears(*lines)
    else:
        for one in lines:
            talk.hears(one)
    assert [(ONE, 1), (ONE, 3), (ONE, 4)] == talk.delivered
    assert (1,) == talk.counted("unrouted")


@pytest.mark.parametrize("answer", [line(TICKER, "error", {}), None])
def test_a13_push_without_confirmation(answer):
    """An error or a timeout of the subscribe ends the wait for it."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    talk.hears(push("a"))
    if answer is None:
        talk.session.tick(10.0)
    else:
        talk.hears(answer)
    assert ([], (1,)) == (talk.delivered, talk.counted("unrouted"))


def test_a13_not_for_an_unsubscribe():
    """Only a subscribe that waits can tell whose they are."""
    talk = Talk().subscribed((BTC, "a"))
    talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(push("stray"))
    assert (1,) == talk.counted("unrouted")


@pytest.mark.parametrize(("size", "kept"), [(10, EARLY), (EARLY_BYTES // 10, 9)])
def test_a13_limits(size, kept):
    """Not more of them wait than this many, nor than this many bytes; the oldest go."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    for number in range(EARLY + 10):
        talk.hears(push("a", f"{number:{size}}"))
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert [int(data) for _, data in talk.delivered] == list(range(EARLY + 10 - kept, EARLY + 10))
    assert (EARLY + 10 - kept,) == talk.counted("unrouted")


def test_a14_bound_before_the_next_line():
    """A push in the line behind its confirmation is delivered."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    assert [(ONE, 1)] == talk.hears(line(TICKER, "sub", {"a": {}}), push("a", 1))


def test_a15_unknown_id():
    """It is counted, and neither delivered nor guessed by its channel; nothing else happens."""
    talk = Talk().subscribed((BTC, "a"))
    assert [] == talk.hears(push("other"), push("a", channel=PRICE))
    assert ((2,), None, []) == (talk.counted("unrouted"), talk.session.doom, talk.says(1.0))


def test_a16_just_unsubscribed():
    """What was on its way is late rather than unrouted; after a minute it is not expected any more."""
    talk = Talk().subscribed((BTC, "a"))
    talk.unwant(ONE, BTC)
    talk.hears(push("a"))
    talk.says()
    talk.hears(push("a"), line(TICKER, "unsub", "a"), push("a"))
    assert ([], (3, 0)) == (talk.delivered, talk.counted("late", "unrouted"))
    talk.hears(push("a"), now=GONE_S + 1)
    assert (3, 1) == talk.counted("late", "unrouted")


def test_a17_same_id_on_two_channels():
    """Ids are known by their channels: the framework computes them from the parameters alone."""
    talk = Talk().subscribed((BTC, HASH_BTC)).subscribed((BTC_PRICE, HASH_BTC), sink=TWO)
    assert [(ONE, 1), (TWO, 2)] == talk.hears(push(HASH_BTC, 1), push(HASH_BTC, 2, PRICE))


def test_a18_two_holders():
    """They share one subscription, which ends with the second; who joins while it is pending shares its outcome."""
    talk = Talk()
    pendings = [talk.want(ONE, BTC), talk.want(TWO, BTC)]
    assert [ask(("sub", BTC))] == talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert [True, True] == [pending.settled for pending in pendings]
    assert [(ONE, 1), (TWO, 1)] == talk.hears(push("a", 1))
    talk.unwant(ONE, BTC)
    assert ([], [(TWO, 2)]) == (talk.says(), talk.hears(push("a", 2)))
    talk.unwant(TWO, BTC)
    assert [ask(("unsub", BTC))] == talk.says()


def test_a18_shared_refusal():
    """One refusal is that of both: it is not asked twice."""
    talk = Talk()
    pendings = [talk.want(ONE, BTC), talk.want(TWO, BTC)]
    talk.says()
    talk.hears(line(TICKER, "error", {}))
    assert ([SubscriptionRejected] * 2, []) == ([type(pending.error) for pending in pendings], talk.says(1.0))


def test_a19_two_topics_under_one_id():
    """Both are delivered, each sink once; only the last one to leave is unsubscribed."""
    lower = topic(TICKER, {"symbol": "btcusdt"})
    talk = Talk().subscribed((BTC, "a"))
    talk.want(TWO, lower)
    talk.want(ONE, lower)
    talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert [(ONE, 1), (TWO, 1)] == sorted(talk.hears(push("a", 1)))
    gone = talk.unwant(ONE, BTC)
    assert ([], True) == (talk.says(), gone.settled)
    assert [(ONE, 2), (TWO, 2)] == sorted(talk.hears(push("a", 2)))
    talk.unwant(ONE, lower)
    talk.unwant(TWO, lower)
    assert [ask(("unsub", lower))] == talk.says()


def test_a20_unsubscribe_ends_another(caplog):
    """If the answer names the id of another live one, that has ended too: it is subscribed again."""
    talk = Talk().subscribed((BTC, "a"), (ETH, "e"))
    gone = talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "unsub", "e"))
    assert (True, None) == (gone.settled, gone.error)
    assert [ask(("sub", ETH))] == talk.says()
    talk.hears(line(TICKER, "sub", {"e2": {}}))
    assert [(ONE, 1)] == talk.hears(push("e2", 1))
    assert "bitzoom: an unsubscribe has ended /api/v1/ticker symbol=ETHUSDT too; subscribing again" in caplog.messages


@pytest.mark.parametrize("data", ["unknown", {"a": {}}, ["a"], 7, None, {}])
def test_a20_a21_other_answers(data):
    """An id that nobody has, and every shape of an answer, end the subscription."""
    talk = Talk().subscribed((BTC, "a"))
    gone = talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "unsub", data))
    assert (True, None, ()) == (gone.settled, gone.error, talk.session.ids({BTC}))


def test_a22_all_its_ids_end():
    """The answer names one of several: all have ended, and what still comes is late."""
    talk = Talk()
    everything = topic(HR24, {})
    talk.want(ONE, everything)
    talk.says()
    talk.hears(line(HR24, "sub", {"m1": {}, "m2": {}}))
    talk.unwant(ONE, everything)
    talk.says()
    talk.hears(line(HR24, "unsub", "m1"), push("m2", channel=HR24))
    assert ([], (1, 0)) == (talk.delivered, talk.counted("late", "unrouted"))


def test_a23_refused_unsubscribe():
    """The holder is gone all the same, and is told; what still comes is late."""
    talk = Talk().subscribed((BTC, "a"))
    gone = talk.unwant(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "error", {}), push("a"))
    assert ([], RequestRejected, (1,)) == (talk.delivered, type(gone.error), talk.counted("late"))
    assert [] == talk.says(1.0)


def test_a24_reserved_id(caplog):
    """It is left out and told; a push of it would be control."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "sub", {"error": {}, "": {}, "a": {}}))
    assert ("a",) == talk.session.ids({BTC})
    assert ["bitzoom: /api/v1/ticker: a confirmation names an id that is a reserved word; it is left out"] == caplog.messages


@pytest.mark.parametrize("data", [{"error": {}}, {}, None, [], True])
def test_a24_a26_no_id(data):
    """A confirmation without an id is no success: nothing could ever be received."""
    talk = Talk()
    pending = talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "sub", data))
    assert (SubscriptionRejected, "the confirmation names no subscription id") == (type(pending.error), pending.error.message)


@pytest.mark.parametrize(("data", "ids"), [("a", ("a",)), (["a", "b"], ("a", "b")), (7, ("7",))])
def test_a26_ids_in_another_shape(data, ids, caplog):
    """They are taken, and told."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    talk.hears(line(TICKER, "sub", data))
    assert (ids, 1) == (talk.session.ids({BTC}), len(caplog.messages))


def test_a25_numeric_event():
    """A whole number is the id of its digits, also beyond 2**53."""
    talk = Talk().subscribed((BTC, HASH_BTC))
    assert [(ONE, 1)] == talk.hears(push(int(HASH_BTC), 1))
    assert [] == talk.hears(push(1.5))
    assert (1,) == talk.counted("malformed")


def test_a27_confirmation_that_nobody_asked_for():
    """It binds nothing, and what it leaves out stays."""
    talk = Talk().subscribed((BTC, "a"))
    talk.hears(line(TICKER, "sub", {"b": {}}))
    assert [(ONE, 1)] == talk.hears(push("a", 1), push("b"))
    assert (1, 1) == talk.counted("unasked", "unrouted")


def logon(replay):
    return Command("logon", ({"token": "jwt_token"},), LOGIN, replay=replay, secret=True)


def test_a28_nothing_before_the_logon():
    """Subscriptions wait for its success; its failure is theirs."""
    talk = Talk()
    talk.session.lost(1.0, ConnectionLost("gone"))
    pending = talk.want(ONE, BTC)
    talk.session.dialled(2.0, logon(replay=False))
    assert [("sub", "logon", {"token": "jwt_token"})] == talk.says(2.0)
    talk.hears(line("logon", "success", {"apiKey": "jwt_token"}), now=2.0)
    assert [ask(("sub", BTC))] == talk.says(2.0)
    talk.session.lost(3.0, ConnectionLost("gone"))
    talk.session.dialled(4.0, logon(replay=False))
    talk.says(4.0)
    talk.hears(line("logon", "error", {}), now=4.0)
    talk.session.refuse_login(talk.session.doom)
    assert AuthenticationError is type(pending.error)


def test_a29_one_more_logon():
    """After a reconnect a token that can be had anew is tried once more, and no more than that."""
    talk = Talk().subscribed((BTC, "a"))
    kinds = []
    for _ in range(2):
        talk.session.lost(1.0, ConnectionLost("gone"))
        talk.session.dialled(2.0, logon(replay=True))
        talk.says(2.0)
        talk.hears(line("logon", "error", "Token is expired"), now=2.0)
        kinds.append((talk.session.state, type(talk.session.doom)))
    assert [(RECONNECTING, ConnectionLost), (RECONNECTING, AuthenticationError)] == kinds


@pytest.mark.parametrize("text", ["bad token jwt_token", {"msg": "jwt_token"}, {"token": "jwt_token"}])
def test_a32_no_token_in_errors(text, caplog):
    """An exchange may repeat the token in its refusal; we do not."""
    talk = Talk()
    talk.session.lost(1.0, ConnectionLost("gone"))
    command = logon(replay=False)
    talk.session.dialled(2.0, command)
    talk.says(2.0)
    talk.hears(line("logon", "error", text), now=2.0)
    shown = f"{talk.session.doom} {vars(talk.session.doom)} {command!r} {caplog.text}"
    assert ("logon", False) == (shown.partition(":")[0], "jwt_token" in shown)


def test_a33_ids_end_with_the_connection():
    """After a reconnect each is subscribed anew; former ids mean nothing, even if another one gets them."""
    talk = Talk().subscribed((BTC, "1"), (ETH, "2"))
    talk.session.lost(1.0, ConnectionLost("gone"))
    talk.session.dialled(2.0, None)
    assert ({}, ()) == (talk.session.routes, talk.session.ids({BTC, ETH}))
    assert [ask(("sub", BTC))] == talk.says(2.0)
    talk.hears(line(TICKER, "sub", {"2": {}}), push("1"), now=2.0)
    assert ((1,), ("2",), ()) == (talk.counted("unrouted"), talk.session.ids({BTC}), talk.session.ids({ETH}))


def test_a34_unsubscribe_while_pending():
    """It waits for the confirmation; without a connection nothing is said at all."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.says()
    gone = talk.unwant(ONE, BTC)
    assert ([], False) == (talk.says(1.0), gone.settled)
    talk.hears(line(TICKER, "sub", {"a": {}}), now=1.0)
    assert [ask(("unsub", BTC))] == talk.says(1.0)
    talk.session.lost(2.0, ConnectionLost("gone"))
    talk.session.dialled(3.0, None)
    assert (True, []) == (gone.settled, talk.says(3.0))


def test_a34_unsubscribe_while_queued():
    """What was not said yet is forgotten."""
    talk = Talk()
    talk.want(ONE, BTC)
    talk.want(ONE, ETH)
    talk.says()
    gone = talk.unwant(ONE, ETH)
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert (True, []) == (gone.settled, talk.says())


def test_a35_subscribe_after_unsubscribe():
    """It waits behind the unsubscribe, and may get the same id again."""
    talk = Talk().subscribed((BTC, "a"))
    talk.unwant(ONE, BTC)
    assert [ask(("unsub", BTC))] == talk.says()
    talk.want(TWO, BTC)
    assert [] == talk.says()
    talk.hears(line(TICKER, "unsub", "a"))
    assert [ask(("sub", BTC))] == talk.says()
    talk.hears(line(TICKER, "sub", {"a": {}}))
    assert [(TWO, 1)] == talk.hears(push("a", 1))


def test_a40_hr24_without_symbol():
    """It is one subscription."""
    talk = Talk()
    talk.want(ONE, topic(HR24, {}))
    assert [("sub", HR24, {})] == talk.says()
