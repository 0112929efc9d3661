"""Topics that fall silent: what is unusual, and what the session does about it; numbers for time, no threads."""

from __future__ import annotations

import json

import attrs
import pytest
from core_languages import DELTA, SWAP, topic, update, wire

from exchange_ws.core.messages import Limits
from exchange_ws.core.session import OPEN, Backoff, Decisions, Session
from exchange_ws.core.silence import ALONE, FACTOR, FEWEST, LOOK_S, MISSED, STEADY, Watch
from exchange_ws.errors import ConnectionLost, RequestTimeout

BUSY, OTHER = topic("price A"), topic("price B")
BOOK = attrs.evolve(topic("depth A"), pace_s=10.0)
ORDERS = attrs.evolve(topic("orders A"), account=True)


def beats(watch: Watch, *topics, until: float, since: float = 0.0, every: float = LOOK_S) -> None:
    """*topics* have news at each look."""
    now = since
    while now <= until:
        for one in topics:
            watch.heard(one, now)
        now += every


# The watch -------------------------------------------------------------------------------------------------------------------


def test_usual_pause():
    """A topic is silent after many times its longest usual pause, while another flows; it is told once."""
    watch = Watch()
    watch.begin([BUSY, OTHER], 0.0)
    beats(watch, BUSY, OTHER, until=100.0)
    beats(watch, OTHER, since=110.0, until=300.0)
    limit = 100.0 + FACTOR * LOOK_S
    assert ([], [(BUSY, 100.0)], []) == (watch.silent(limit), watch.silent(limit + 0.1), watch.silent(limit + 100.0))


def test_slow_topic():
    """The slower a topic, the longer may it pause."""
    watch = Watch()
    watch.begin([BUSY, OTHER], 0.0)
    beats(watch, OTHER, until=5000.0)
    beats(watch, BUSY, until=400.0, every=40.0)
    assert ([], [(BUSY, 400.0)]) == (watch.silent(400.0 + FACTOR * 40.0), watch.silent(400.1 + FACTOR * 40.0))


def test_long_pause_fades():
    """One long night does not make a topic slow for ever."""
    watch = Watch()
    watch.begin([BUSY, OTHER], 0.0)
    beats(watch, BUSY, OTHER, since=0.0, until=100.0)
    beats(watch, BUSY, OTHER, since=4000.0, until=8000.0)
    assert [(BUSY, 8000.0), (OTHER, 8000.0)] == watch.silent(8000.1 + ALONE * FACTOR * LOOK_S)


def test_nothing_else_flows():
    """Where all is quiet it may be the market: that takes longer to be told."""
    watch = Watch()
    watch.begin([BUSY], 0.0)
    beats(watch, BUSY, until=100.0)
    limit = 100.0 + ALONE * FACTOR * LOOK_S
    assert ([], [(BUSY, 100.0)]) == (watch.silent(limit), watch.silent(limit + 0.1))


def test_unknown_pace():
    """A topic that hardly ever had news has no usual pace, and may be silent for ever."""
    watch = Watch()
    watch.begin([BUSY, OTHER], 0.0)
    beats(watch, OTHER, until=1e4)
    beats(watch, BUSY, until=LOOK_S * (FEWEST - 2))
    assert [] == watch.silent(1e4)


def test_stated_pace():
    """What the vendor states counts from the confirmation on, also where nothing else flows."""
    watch = Watch()
    watch.begin([BOOK], 5.0)
    limit = 5.0 + MISSED * 10.0 + LOOK_S
    assert ([], [(BOOK, 5.0)]) == (watch.silent(limit), watch.silent(limit + 0.1))


def test_account():
    """Orders come when some are placed: they have no pace, if the vendor does not state one."""
    watch = Watch()
    watch.begin([ORDERS, BUSY], 0.0)
    beats(watch, ORDERS, until=200.0)
    beats(watch, BUSY, until=1e4)
    assert [] == watch.silent(1e4)


def test_false_alarm():
    """A topic that was told for nothing may be silent for twice as long the next time; after a steady time no more."""
    watch = Watch()
    watch.begin([BUSY, OTHER], 0.0)
    beats(watch, BUSY, OTHER, until=100.0)
    beats(watch, OTHER, since=110.0, until=200.0)
    assert [(BUSY, 100.0)] == watch.silent(200.0)
    assert [True, False] == [watch.heard(BUSY, 210.0), watch.heard(BUSY, 210.0)]
    beats(watch, BUSY, OTHER, since=220.0, until=300.0)
    beats(watch, OTHER, since=310.0, until=500.0)
    limit = 300.0 + 2.0 * FACTOR * LOOK_S
    assert ([], [(BUSY, 300.0)]) == (watch.silent(limit), watch.silent(limit + 0.1))
    end = 500.0 + STEADY * LOOK_S
    beats(watch, BUSY, OTHER, since=500.0, until=end)
    beats(watch, OTHER, since=end, until=end + 100.0)
    assert [(BUSY, end)] == watch.silent(end + 0.1 + FACTOR * LOOK_S)


def test_excused():
    """Time in which nobody could listen is no silence."""
    watch = Watch()
    watch.begin([BOOK], 0.0)
    watch.excuse(3600.0)
    assert [] == watch.silent(3630.0)


def test_ended():
    """What left the wire is not awaited, and nothing of it is kept."""
    watch = Watch()
    watch.begin([BOOK, BUSY], 0.0)
    watch.end([BOOK])
    assert ([], True) == (watch.silent(1000.0), bool(watch))
    watch.clear()
    assert not watch


# The session -----------------------------------------------------------------------------------------------------------------


class Line:
    """A session that wants some topics of SWAP, and the exchange that it talks with."""

    def __init__(self, *topics, dialect=SWAP):
        self.session = Session(
            dialect, "made-up", limits=Limits(), ping_interval=1e6, pong_timeout=10.0, reply_limit=10.0, backoff=Backoff()
        )
        self.session.dialled(0.0, None)
        for one in topics:
            self.session.want("sink", frozenset([one]), 0.0, 1e6)
        self.agree(0.0)

    def turn(self, now):
        """One turn of the driver; what it says."""
        self.session.tick(now)
        bodies = [json.loads(data) for _, data in self.session.take_outbox(now)]
        assert self.session.tick(now) > now, "a timer would spin"
        return bodies

    def agree(self, now, error=None):
        """The exchange answers all that is said at *now*; what was said."""
        said = []
        while bodies := self.turn(now):
            for body in bodies:
                said.append(" ".join([body["method"], *body["params"]]))
                answer = {"id": body["id"], "ok": error is None, "error": error}
                self.session.receive(wire(answer), now)
        return said

    def decided(self):
        return self.session.take_decisions() or Decisions()

    def deliver(self, message, now):
        """As a reader does: what `routes` knows is not shown to the session. Whether it was."""
        sinks = self.session.routes.get(self.session.dialect.route(message))
        assert ("sink",) == (self.session.receive(message, now) if sinks is None else sinks)
        return sinks is None

    def flow(self, *names, since, until):
        """Each topic has news each second; how many of them the session was shown."""
        shown = 0
        for now in range(since, until):
            assert [] == self.turn(float(now))
            shown += sum(self.deliver(update(name), float(now)) for name in names)
        return shown


def test_look_costs_one_message_of_each():
    """Between two looks the session sees one message of each topic; all others take the short way."""
    line = Line(BUSY, OTHER)
    line.flow("price A", since=0, until=10)
    assert 10 == line.flow("price A", "price B", since=10, until=60)


def test_forgotten():
    """A topic that the exchange has forgotten is told, and stated again, once; when it flows again, that is told too."""
    line = Line(BUSY, OTHER)
    line.flow("price A", "price B", since=0, until=101)
    line.flow("price B", since=101, until=170)
    line.decided()
    assert ["price_subscribe A B"] == line.agree(170.0)
    assert [("sink", BUSY, 100.0)] == line.decided().silent
    line.flow("price B", since=171, until=260)
    line.deliver(update("price A"), 260.0)
    assert ([("sink", BUSY)], OPEN) == (line.decided().resumed, line.session.state)


def test_refused_again():
    """If the exchange will not hear it again, nobody is punished, and it is not said for ever."""
    line = Line(BUSY, OTHER, dialect=attrs.evolve(SWAP, changes=DELTA.changes))
    line.flow("price A", "price B", since=0, until=101)
    line.flow("price B", since=101, until=170)
    assert ["sub price A"] == line.agree(170.0, error={"message": "already subscribed"})
    assert ([], []) == (line.decided().ended, line.turn(180.0))
    line.deliver(update("price A"), 181.0)
    assert [("sink", BUSY)] == line.decided().resumed


def test_forgotten_and_renewed():
    """One that only an unsubscribe and a subscribe bring back is watched on meanwhile: its silence ends with what it brings."""
    chain = topic("chain A")
    line = Line(chain, OTHER, dialect=attrs.evolve(SWAP, changes=DELTA.changes))
    line.flow("chain A", "price B", since=0, until=101)
    line.flow("price B", since=101, until=170)
    assert ["unsub chain A", "sub chain A"] == line.agree(170.0)
    assert [("sink", chain, 100.0)] == line.decided().silent
    line.flow("price B", since=171, until=260)
    line.deliver(update("chain A"), 260.0)
    assert [("sink", chain)] == line.decided().resumed


@pytest.mark.parametrize("ends", ["left", "refused", "given up"])
def test_gone_while_renewed(ends):
    """Nothing is awaited of a topic any more that does not come back from its renewal."""
    chain = topic("chain A")
    line = Line(OTHER, dialect=attrs.evolve(SWAP, changes=DELTA.changes))
    line.session.want("sink", frozenset([chain]), 0.0, 1e6)
    line.agree(0.0)
    line.session.restate(frozenset([chain]))
    [unsubscribe] = line.turn(1.0)
    late = line.session.want("another", frozenset([chain]), 1.0, 5.0) if ends == "given up" else None
    if ends != "refused":
        line.session.unwant("sink", frozenset([chain]), 1.0, 1e6)
    line.session.receive(wire({"id": unsubscribe["id"], "ok": True}), 2.0)
    if ends == "refused":
        line.agree(2.0, error={"message": "delisted"})
    line.turn(6.0)
    assert (None if late is None else RequestTimeout) == (late and type(late.error))
    assert [OTHER] == list(line.session._watch._pulses)


def test_late_look():
    """A machine that slept has heard nothing, which says nothing of the exchange."""
    line = Line(BOOK)
    line.deliver(update("depth A"), 1.0)
    assert ([], []) == (line.agree(7200.0), line.decided().silent)


def test_held_up():
    """Nor does the time in which a consumer held the reader up."""
    line = Line(BOOK)
    line.session.excuse(100.0)
    for now in range(10, 110, 10):
        assert [] == line.turn(float(now))
    assert [] == line.decided().silent


def test_lost_link():
    """A loss ends all watching; on the next link it begins with the confirmation."""
    line = Line(BOOK)
    line.session.lost(30.0, ConnectionLost("the link broke"))
    assert ([], []) == (line.turn(100.0), line.decided().silent)
    line.session.dialled(100.0, None)
    assert ["depth_subscribe A"] == line.agree(100.0)
    assert [[], [], [], [], ["depth_subscribe A"]] == [line.agree(now) for now in (110.0, 120.0, 130.0, 140.0, 150.0)]


@pytest.mark.parametrize("leaves", [BUSY, OTHER])
def test_who_left_is_not_awaited(leaves):
    """A topic that is unsubscribed is not told as silent."""
    line = Line(BUSY, OTHER)
    line.flow("price A", "price B", since=0, until=101)
    line.session.unwant("sink", frozenset([leaves]), 101.0, 1e6)
    line.agree(101.0)
    line.flow(({"price A", "price B"} - {leaves.name}).pop(), since=102, until=400)
    assert [] == line.decided().silent
