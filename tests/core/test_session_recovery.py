"""The session's questions about what a loss cost: when they are put, and that every one of them ends. Numbers for time."""

from __future__ import annotations

import json
import logging
from typing import Any

import attrs
import pytest
from asking_language import SWAP_ASKED
from core_languages import LOGIN_COMMAND, SWAP, topic, topics, update, wire

from exchange_ws.core.messages import Command, Limits, Pace
from exchange_ws.core.recovery import Answer, Asked
from exchange_ws.core.session import OPEN, Backoff, Decisions, Session
from exchange_ws.errors import ConnectionLost

NO = {"message": "no", "code": 7}
REPLY_LIMIT_S = 10.0
LOSS = ConnectionLost("the link broke")


@attrs.frozen
class Sink:
    """A subscription's place."""

    name: str
    asks: bool = True


ONE, TWO, RAW = Sink("one"), Sink("two"), Sink("raw", asks=False)


class Talk:
    """A session, and what a test needs to play its driver and the exchange."""

    def __init__(self, dialect: Any = SWAP_ASKED, requests: Pace | None = None) -> None:
        self.session = Session(
            dialect,
            "made-up",
            limits=Limits(requests=requests),
            ping_interval=50.0,
            pong_timeout=10.0,
            reply_limit=REPLY_LIMIT_S,
            backoff=Backoff(),
            chance=lambda low, high: high,
        )
        self.session.dialled(0.0, None)
        self.ids: dict[str, int] = {}  # of what was said last, by its words

    def want(self, sink: Sink, *names: str, now: float = 0.0) -> Any:
        return self.session.want(sink, topics(*names), now, 1000.0, asks=sink.asks)

    def said(self, now: float) -> list[str]:
        """What is said at *now*, in short: ``"log_subscribe A B"``."""
        self.session.tick(now)
        bodies = [json.loads(data) for _, data in self.session.take_outbox(now)]
        assert self.session.tick(now) > now, "a timer would spin"
        words = [" ".join([body["method"], *body["params"]]) for body in bodies]
        self.ids.update(zip(words, (body["id"] for body in bodies)))
        return words

    def answers(self, words: str, result: Any = None, now: float = 0.0, error: Any = None) -> None:
        """The exchange answers what was said last in these words."""
        self.session.receive(wire({"id": self.ids[words], "ok": error is None, "result": result, "error": error}), now)

    def agrees(self, now: float) -> list[str]:
        """Until nothing more is said, the exchange answers all; returns what it answered."""
        heard = []
        while words := self.said(now):
            heard += words
            for one in words:
                self.answers(one, f"{one}!", now)
        return heard

    def recoveries(self) -> list[tuple[str, ...]]:
        """What the sinks are told about what was missed, in short."""
        decided = self.session.take_decisions() or Decisions()
        decided.log()
        found: list[tuple[str, ...]] = []
        for sinks, what in decided.recoveries:
            names = " ".join(sink.name for sink in sinks)
            if isinstance(what, Asked):
                found.append(("asked", what.topic.name, names))
            else:
                kind = "refused" if what.results is None else " ".join(map(str, what.results))
                found.append(("first" if what.first else "answer", what.topic.name, names, kind))
        return found

    def lose(self, now: float) -> None:
        due = self.session.lost(now, LOSS)
        assert due is not None
        self.session.dialled(due, None)


def begun(*names: str, sinks: tuple[Sink, ...] = (ONE,), **options: Any) -> Talk:
    """These topics flow since 0 s, and what was there before is known."""
    talk = Talk(**options)
    for sink in sinks:
        talk.want(sink, *names)
        talk.agrees(0.0)
    talk.recoveries()
    return talk


def test_at_first():
    """Before a topic is stated for the first time, what there is is asked for, on the wire before the statement."""
    talk = Talk()
    pending = talk.want(ONE, "log A", "price A")
    said = talk.said(0.0)
    assert ["log_query A", "log_subscribe A", "price_subscribe A"] == said
    for words in said:
        talk.answers(words, "old")
    assert ([("first", "log A", "one", "old")], True) == (talk.recoveries(), pending.settled and pending.error is None)


def test_the_first_statement_does_not_wait_for_it():
    """The subscription is there as soon as it is confirmed, and stays when the question is refused, or has no answer."""
    talk = Talk()
    pending = talk.want(ONE, "log A")
    talk.said(0.0)
    talk.answers("log_subscribe A")
    assert (True, OPEN) == (pending.settled, talk.session.state)
    talk.answers("log_query A", error=NO)
    talk.want(ONE, "log B")
    talk.said(1.0)
    talk.answers("log_subscribe A B")
    talk.said(1.0 + REPLY_LIMIT_S)
    assert [("first", "log A", "one", "refused"), ("first", "log B", "one", "refused")] == talk.recoveries()
    assert frozenset(topics("log A", "log B")) == talk.session.wanted(ONE)


def test_only_once_at_first():
    """A statement of more restates what flows, without another look at it; what is wanted twice is looked at once."""
    talk = begun("log A", sinks=(ONE, TWO))
    talk.want(ONE, "log B")
    assert ["log_query B", "log_subscribe A B"] == talk.agrees(1.0)


def test_after_a_loss():
    """The topic is stated first, since what happens from then on is pushed; then it is asked for, before the user's calls."""
    talk = begun("log A")
    talk.lose(1.0)
    call = talk.session.submit(Command("query", replay=True), 1.0, 1000.0)
    found = [talk.said(2.0), talk.recoveries()]
    talk.answers("log_subscribe A", now=2.0)
    found += [talk.session.state, talk.recoveries(), talk.said(2.0)]
    talk.answers("log_query A", "all", 2.0)
    found += [talk.recoveries(), call.settled]
    asked = [("asked", "log A", "one")]
    assert [
        ["log_subscribe A"],
        [],
        OPEN,
        asked,
        ["log_query A", "query"],
        [("answer", "log A", "one", "all")],
        False,
    ] == found


def test_two_questions():
    """The answer is there when both are answered, in any order."""
    talk = begun("level A")
    talk.lose(1.0)
    talk.said(2.0)
    talk.answers("level_subscribe A", now=2.0)
    assert ["level_query A", "ended_query A"] == talk.said(2.0)
    talk.answers("ended_query A", "how", 2.0)
    before = talk.recoveries()
    talk.answers("level_query A", "what", 2.0)
    assert ([("asked", "level A", "one")], [("answer", "level A", "one", "what how")]) == (before, talk.recoveries())


def test_confirmed_by_an_update():
    """A topic that flows before its reply is asked for before that update is delivered, and not again at the reply."""
    talk = begun("log A")
    talk.lose(1.0)
    talk.said(2.0)
    sinks = talk.session.receive(update("log A"), 2.0)
    found = [talk.recoveries(), talk.said(2.0)]
    talk.answers("log_subscribe A", now=2.0)
    assert ((ONE,), [[("asked", "log A", "one")], ["log_query A"]], []) == (sinks, found, talk.said(2.0))


@pytest.mark.parametrize("way", ["refused", "overdue", "not said in time"])
def test_no_answer(way, caplog):
    """A question that is refused, or has no answer in time, ends in a warning, and in the word that nothing will come."""
    pace = Pace(12, 600.0, "made up") if way == "not said in time" else None
    talk = begun("level A", requests=pace)
    talk.lose(1.0)
    talk.said(2.0)
    talk.answers("level_subscribe A", now=2.0)
    if way == "not said in time":
        while talk.session.headroom(3.0) > 1:
            talk.session.submit(Command("query", replay=True), 3.0, 1000.0)
            talk.session.take_outbox(3.0)
    talk.recoveries()
    talk.said(3.0)
    if way == "refused":
        talk.answers("ended_query A", now=3.0, error=NO)
    else:
        talk.said(3.0 + REPLY_LIMIT_S)
    found = talk.recoveries()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ([("answer", "level A", "one", "refused")], 1) == (found, len(warnings))
    assert "level A" in warnings[0].getMessage()
    if way != "not said in time":  # the other one's answer is nobody's
        talk.answers("level_query A", now=14.0)
    assert ([], OPEN) == (talk.recoveries(), talk.session.state)


def test_lost_while_it_is_asked():
    """Nothing is told of the questions that were on their way, and they are put again on the next link."""
    talk = begun("log A", "level A")
    talk.lose(1.0)
    talk.said(2.0)
    for words in ("log_subscribe A", "level_subscribe A"):
        talk.answers(words, now=2.0)
    talk.said(2.0)
    talk.answers("level_query A", "one of two", 2.0)
    talk.recoveries()
    talk.lose(3.0)
    before = talk.recoveries()
    said = talk.agrees(9.0)
    told = [words for words in talk.recoveries() if words[0] == "answer"]
    assert ([], {"log_query A", "level_query A", "ended_query A"}) == (before, {words for words in said if "query" in words})
    results = {"level A": "level_query A! ended_query A!", "log A": "log_query A!"}
    assert sorted(("answer", name, "one", result) for name, result in results.items()) == sorted(told)


def test_lost_while_others_are_suspected():
    """A question that another loss ended is put again, also for a sink that was suspected of a refusal meanwhile."""
    talk = begun("log A", "price X")
    talk.want(TWO, "price Y")
    talk.agrees(0.0)
    talk.lose(1.0)
    talk.said(2.0)
    talk.answers("log_subscribe A", now=2.0)
    talk.answers("price_subscribe X Y", now=2.0, error=NO)
    assert "log_query A" in talk.said(2.0)
    talk.lose(3.0)
    talk.recoveries()
    talk.agrees(9.0)
    assert [("asked", "log A", "one"), ("answer", "log A", "one", "log_query A!")] == talk.recoveries()


def test_lost_before_it_was_stated_again():
    """What was missed then is not forgotten by another loss."""
    talk = begun("log A")
    talk.lose(1.0)
    talk.lose(2.0)
    assert ["log_subscribe A", "log_query A"] == talk.agrees(9.0)


def test_login_first():
    """A link that has to log in does so before anything is asked."""
    talk = begun("log A")
    talk.session.lost(1.0, LOSS)
    talk.session.dialled(2.0, LOGIN_COMMAND)
    said = [talk.said(2.0)]
    talk.answers("login key", now=2.0)
    assert ([["login key"]], ["log_subscribe A", "log_query A"]) == (said, talk.agrees(2.0))


def test_new_wishes_meanwhile():
    """A topic that was wanted while there was no link is looked at as at first, beside one that is asked for."""
    talk = begun("log A")
    talk.session.lost(1.0, LOSS)
    talk.want(TWO, "log B", now=1.0)
    talk.session.dialled(2.0, None)
    said = talk.agrees(2.0)
    assert ["log_query B", "log_subscribe A B", "log_query A"] == said
    asked = [("asked", "log A", "one"), ("answer", "log A", "one", "log_query A!")]
    assert [("first", "log B", "two", "log_query B!"), *asked] == talk.recoveries()


def test_who_is_told():
    """All sinks of the topic that ask are told, if they came before the question; where none does, there is no question."""
    talk = begun("log A", sinks=(ONE, TWO, RAW))
    raw = begun("log A", sinks=(RAW,))
    for one in (talk, raw):
        one.lose(1.0)
        one.said(2.0)
        one.answers("log_subscribe A", now=2.0)
    assert ([], ["log_query A"]) == (raw.said(2.0), talk.said(2.0))
    late = Sink("late")
    talk.want(late, "log A", now=2.0)
    talk.answers("log_query A", "all", 2.0)
    assert [("asked", "log A", "one two"), ("answer", "log A", "one two", "all")] == talk.recoveries()
    assert [] == raw.recoveries()


def test_left_while_it_is_asked():
    """Who leaves meanwhile has left; the answer is for who stays, and hurts nobody."""
    talk = begun("log A", sinks=(ONE, TWO))
    talk.lose(1.0)
    talk.said(2.0)
    talk.answers("log_subscribe A", now=2.0)
    talk.said(2.0)
    pending = talk.session.unwant(ONE, topics("log A"), 2.0, 1000.0)
    talk.answers("log_query A", "all", 2.0)
    assert (True, [("asked", "log A", "one two"), ("answer", "log A", "one two", "all")]) == (
        pending.settled,
        talk.recoveries(),
    )


def test_left_before_it_is_asked():
    """A topic that nobody wants any more is not asked for."""
    talk = begun("log A", "log B")
    talk.session.lost(1.0, LOSS)
    talk.session.unwant(ONE, topics("log B"), 1.0, 1000.0)
    talk.session.dialled(2.0, None)
    assert ["log_subscribe A", "log_query A"] == talk.agrees(2.0)


def test_wanted_anew():
    """A topic that was left, and is wanted again after a loss, begins anew: nothing of it was missed."""
    talk = begun("log A", "price A")
    talk.session.unwant(ONE, topics("log A"), 1.0, 1000.0)
    talk.agrees(1.0)
    talk.lose(2.0)
    talk.agrees(9.0)
    talk.want(ONE, "log A", now=9.0)
    assert ["log_query A", "log_subscribe A"] == talk.agrees(9.0)


def test_wanted_anew_while_the_connection_is_lost():
    """Nor was it where all of that is over before the connection is made again: what is older is no news to the newcomer."""
    talk = begun("log A", "price A")
    talk.session.lost(2.0, LOSS)
    talk.session.unwant(ONE, topics("log A"), 3.0, 1000.0)
    talk.want(TWO, "log A", now=3.0)
    talk.recoveries()
    talk.session.dialled(4.0, None)
    talk.agrees(4.0)
    assert {Answer(topic("log A"), True, ("log_query A!",))} == {what for _, what in talk.session.take_decisions().recoveries}


def test_half_of_the_budget():
    """Questions leave half of the budget to the user's calls, and go on when there is room again."""
    names = [f"log {symbol}" for symbol in "ABCDEFGHIJKLMNOP"]
    talk = begun(*names, requests=Pace(20, 60.0, "made up"))
    queries = talk.session.counters["requests"] - 1
    talk.session.lost(1.0, LOSS)
    talk.session.dialled(70.0, None)
    talk.said(70.0)
    talk.answers("log_subscribe " + " ".join("ABCDEFGHIJKLMNOP"), now=70.0)
    call = talk.session.submit(Command("order"), 70.0, 1000.0)
    said = talk.said(70.0)
    assert (9, 9, "order", False) == (queries, len(said[:-1]), said[-1], call.settled)
    assert all(words.startswith("log_query") for words in said[:-1])
    talk.said(70.0 + REPLY_LIMIT_S)
    refused = [found for found in talk.recoveries() if found[-1] == "refused"]
    assert 16 == len(refused), "every one of them ended"


def test_closed_while_it_is_asked():
    """The end settles the questions too."""
    talk = begun("log A")
    talk.lose(1.0)
    talk.said(2.0)
    talk.answers("log_subscribe A", now=2.0)
    talk.said(2.0)
    talk.session.close(3.0)
    assert ([], False) == (list(talk.session._waiting), talk.session.busy)


def test_languages_without_questions():
    """Where nothing can be asked, nothing is."""
    talk = Talk(SWAP)
    talk.want(ONE, "log A")
    said = talk.agrees(0.0)
    talk.lose(1.0)
    assert (["log_subscribe A"], ["log_subscribe A"], []) == (said, talk.agrees(2.0), talk.recoveries())


def test_every_symbol():
    """Of all symbols nothing can be asked here: the loss stays one."""
    talk = begun("log *")
    talk.lose(1.0)
    assert (["log_subscribe *"], []) == (talk.agrees(2.0), talk.recoveries())


def test_names():
    """Markers name their topic, and show no result of an account in a log."""
    assert "secret" not in repr(Answer(topic("log A"), False, ("secret",)))
