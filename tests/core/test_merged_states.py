"""Events that tell what deltas add up to: what is told is true, what may be missing is not told, and is asked for again."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import attrs
import pytest
from core_languages import SWAP
from core_peers import Exchange
from held_clock import LIMIT_S, Aside, HeldClock
from hypothesis import given, settings
from hypothesis import strategies as st
from summing_language import SUMMING, delta, snapshot, topic

from exchange_ws.core import decoding
from exchange_ws.core.client import Client, Endpoint
from exchange_ws.core.merging import merge
from exchange_ws.core.subscription import DROP_NEWEST, DROP_OLDEST, RENEW_EVERY_S, SIDE_BY_SIDE, Subscription
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout
from exchange_ws.events import Gap

#: A connection, as a subscription knows it: by identity.
SOURCE = "one connection"
SECOND = 1_000_000_000


class Market:
    """A subscription, its clock, and the topics that it asked to be stated again, in order."""

    def __init__(self, *names: str, **options: Any) -> None:
        self.clock = HeldClock()
        self.renewed: list[list[str]] = []
        usual = {"queue_size": 1000, "overflow": DROP_OLDEST, "gaps": False, "raw": False}
        self.subscription = Subscription(
            "test",
            [topic(name) for name in names or ("sum A",)],
            SUMMING,
            clock=self.clock,
            numbers=Decimal,
            block_limit=LIMIT_S,
            leave=lambda *_: None,
            forget=lambda _: None,
            renew=lambda _, topics: self.renewed.append(sorted(one.name for one in topics)),
            **{**usual, **options},
        )

    def put(self, *messages: bytes) -> Market:
        self.subscription.put(SOURCE, list(messages), SECOND)
        return self

    def read(self) -> list[tuple[Any, ...]]:
        """All that is there."""
        found = []
        while True:
            try:
                found.append(told(self.subscription.get_nowait()))
            except (UpdateTimeout, SubscriptionClosed):
                return found

    @property
    def latest(self) -> tuple[Any, ...]:
        return told(self.subscription.latest)


def told(event: Any) -> tuple[Any, ...]:
    """An event in short: the symbol, and three figures."""
    return event.symbol, *(None if figure is None else int(figure) for figure in (event.last, event.open, event.high))


def test_deltas_add_up():
    """Each event has what was told before it too, of its own topic; a snapshot begins anew."""
    market = Market("sum A", "sum B")
    market.put(snapshot("sum A", last="1", open="2", high="3"), snapshot("sum B", last="7", high="9"))
    market.put(delta("sum A", last="4"), delta("sum B", open="8"), delta("sum A", high="5"), snapshot("sum A", last="6"))
    assert [
        ("A", 1, 2, 3),
        ("B", 7, None, 9),
        ("A", 4, 2, 3),
        ("B", 7, 8, 9),
        ("A", 4, 2, 5),
        ("A", 6, None, None),
    ] == market.read()
    assert [] == market.renewed


def test_latest_adds_up():
    """The newest event has all that waits in it, changes nothing for who reads, and is the same when all was read."""
    market = Market().put(snapshot("sum A", last="1", open="2"), delta("sum A", last="3"), delta("sum A", high="4"))
    looks = [market.latest, market.latest]
    market.put(delta("sum A", last="5"))
    looks.append(market.latest)
    assert [("A", 3, 2, 4), ("A", 3, 2, 4), ("A", 5, 2, 4)] == looks
    assert [("A", 1, 2, None), ("A", 3, 2, None), ("A", 3, 2, 4), ("A", 5, 2, 4)] == market.read()
    market.subscription.finish()
    assert ("A", 5, 2, 4) == market.latest


def test_latest_begins_where_reading_is():
    """Who reads may overtake who looks, and come to a stand before it, or leave it with nothing to look at."""
    market = Market().put(snapshot("sum A", last="1", open="2"), delta("sum A", last="3"))
    looks = [market.latest]
    market.read()
    looks.append(market.latest)
    market.put(delta("sum A", open="4"), delta("sum A", high="5"))
    market.subscription.get_nowait()
    looks.append(market.latest)
    market.put(delta("sum A", last="6"))
    looks.append(market.latest)
    assert [("A", 3, 2, None), ("A", 3, 2, None), ("A", 3, 4, 5), ("A", 6, 4, 5)] == looks


def look_interrupted_at(line, market):
    """Look at the newest event with Ctrl-C before that line of what reads messages; whether it came so far."""
    lines = 0

    def trace(frame, kind, argument):
        nonlocal lines
        if frame.f_code.co_filename != decoding.__file__:
            return None
        if kind == "line":
            lines += 1
            if lines == line:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        assert market.subscription.latest is not None
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(former)
    return lines >= line


def test_latest_interrupted_anywhere():
    """Ctrl-C at any line of a look: who reads has what he would have had, and so has the next look."""
    line, reached = 0, True
    while reached:
        line += 1
        market = Market().put(snapshot("sum A", last="1"))
        market.read()
        market.put(delta("sum A", open="3"), delta("sum A", last="4"))
        # On a thread of its own: where a tracer's error comes within an except-clause, CPython keeps what that had caught.
        reached = Aside(look_interrupted_at, line, market).result()
        assert ("A", 4, 3, None) == market.latest, line
        assert [("A", 1, 3, None), ("A", 4, 3, None)] == market.read(), line
    assert line > 10


def test_latest_parses_each_message_once(monkeypatch):
    """However many wait, and nobody reads, the next look costs what has come since the one before."""
    market = Market(queue_size=100).put(snapshot("sum A", last="0"), *[delta("sum A", last=str(n)) for n in range(99)])
    parsed = []
    decode = market.subscription._decoder._decode
    monkeypatch.setattr(market.subscription._decoder, "_decode", lambda message: parsed.append(message) or decode(message))
    counts = []
    for number in range(3):
        market.put(delta("sum A", last=str(number)))
        assert ("A", number, None, None) == market.latest
        counts.append(len(parsed))
    assert [100, 101, 102] == counts


def test_latest_of_another_kind():
    """Topics that merge and others may stand side by side: the newest event is of either."""
    market = Market("sum A", "tape B").put(snapshot("sum A", last="1"), delta("tape B", last="2"))
    looks = [market.latest]
    market.put(delta("sum A", open="3"))
    looks.append(market.latest)
    assert [("B", 2, None, None), ("A", 1, 3, None)] == looks


def test_latest_behind_a_gap():
    """What may be missing is not told by a look either, before anybody reads."""
    market = Market(queue_size=1).put(snapshot("sum A", last="1", open="2"))
    market.read()
    market.put(delta("sum A", open="3")).put(delta("sum A", last="4"))
    assert ("A", 4, None, None) == market.latest


def test_latest_unreadable():
    """A message that cannot be read changes nothing that others told; what it would have changed is not told any more."""
    market = Market("sum A", "sum B")
    market.put(snapshot("sum A", last="1"), snapshot("sum B", last="2"), b'{"of":"sum B","d":0}', delta("sum B", open="3"))
    looks = [market.latest]
    market.put(delta("sum A", open="4"))
    looks.append(market.latest)
    assert [("B", None, 3, None), ("A", 1, 4, None)] == looks


def overflow(market: Market) -> None:
    market.put(*[delta("sum B", high="0")] * 1001)


def lose(market: Market) -> None:
    market.subscription.lost(SOURCE, SECOND)


def spoil(market: Market) -> None:
    market.subscription.spoiled(SOURCE, SECOND)


@pytest.mark.parametrize("happen", [overflow, lose, spoil])
def test_what_may_be_missing_is_not_told(happen):
    """Behind a gap a delta tells what it has itself, until a snapshot comes, and is the reason to ask for that."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1", open="2"), snapshot("sum B", last="3"))
    market.read()
    happen(market)
    market.put(delta("sum A", last="4"), delta("sum A", open="5"))
    assert [("A", 4, None, None), ("A", None, 5, None)] == market.read()[-2:]
    assert "sum A" in market.renewed[0]
    market.put(snapshot("sum A", last="6", open="7", high="8"), delta("sum A", last="9"))
    assert [("A", 6, 7, 8), ("A", 9, 7, 8)] == market.read()


def test_snapshots_of_the_next_link_are_enough():
    """After a loss the exchange tells all anew, since all was stated anew: nothing more is asked for."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1"), snapshot("sum B", last="2"))
    market.subscription.lost(SOURCE, SECOND)
    market.put(snapshot("sum A", last="3"), delta("sum A", open="4"))
    assert (("A", 3, 4, None), []) == (market.read()[-1], market.renewed)


def test_silence_of_one_topic_leaves_the_others():
    """A topic that was silent is stated again by itself; of the others nothing is missing."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1"), snapshot("sum B", last="2"))
    market.subscription.silent(SOURCE, topic("sum B"), SECOND)
    market.put(delta("sum A", open="3"))
    assert (("A", 1, 3, None), []) == (market.read()[-1], market.renewed)


def test_loss_among_many_gaps():
    """Of many gaps in a row, which become one, it is not forgotten that one of them was a loss."""
    market = Market(queue_size=1).put(snapshot("sum A", last="1", open="2"))
    market.read()
    for _ in range(SIDE_BY_SIDE):
        market.subscription.silent(SOURCE, topic("sum A"), SECOND)
    market.put(delta("sum A", last="3")).put(delta("sum A", last="4"))
    for _ in range(SIDE_BY_SIDE):
        market.subscription.silent(SOURCE, topic("sum A"), SECOND)
    market.put(delta("sum A", last="5"))
    assert [("A", 5, None, None)] == market.read()


def test_unreadable_update():
    """Of the topic that it was of nothing is known any more; of others there is."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1"), snapshot("sum B", last="2"))
    market.put(b'{"of":"sum B","d":0}', delta("sum A", open="3"), delta("sum B", open="4"))
    assert ([("A", 1, 3, None), ("B", None, 4, None)], [["sum B"]]) == (market.read()[-2:], market.renewed)


def test_unreadable_message():
    """One that does not even tell its topic may have been any's."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1"), snapshot("sum B", last="2"))
    market.put(b'{"of":"sum B",', delta("sum A", open="3"))
    assert [("A", None, 3, None)] == market.read()[-1:]


def test_renewed_when_all_was_read():
    """Who is behind would lose the snapshot too: it is asked for when he has caught up, however he reads."""
    market = Market().put(delta("sum A", last="1"), delta("sum A", last="2"))
    market.subscription.get_nowait()
    assert [] == market.renewed
    market.subscription.get_many()
    assert [["sum A"]] == market.renewed


def test_renewal_without_a_snapshot():
    """Where that does not come, changes were missed: the former sum is not told any more, and a snapshot is asked for."""
    market = Market().put(snapshot("sum A", last="1", open="2"))
    market.read()
    market.subscription.joined_late(SOURCE, market.subscription.wanted, SECOND)
    market.put(delta("sum A", last="3"))
    assert (("A", 3, None, None), [("A", 3, None, None)], [["sum A"]]) == (market.latest, market.read(), market.renewed)


def test_renewed_in_a_merged_stream():
    """A member's topics are asked for when nothing waits in any of them."""
    market, other = Market(), Market("sum B")
    merged = merge(market.subscription, other.subscription)
    market.put(delta("sum A", last="1"))
    found = merged.get_many()
    assert ([("A", 1, None, None)], [["sum A"]], []) == ([told(event) for event in found], market.renewed, other.renewed)


def test_pace_of_renewals():
    """A snapshot that does not come is asked for again, but not at each delta; topics that lack it meanwhile go with it."""
    market = Market("sum A", "sum B")
    for _ in range(3):
        market.put(delta("sum A", last="1")).read()
    market.put(delta("sum B", last="2")).read()
    market.clock.move(100.0 + RENEW_EVERY_S)
    market.put(delta("sum A", last="3")).read()
    assert [["sum A"], ["sum A", "sum B"]] == market.renewed


def test_nothing_is_renewed_of_what_has_ended():
    """Nobody wants it any more."""
    market = Market().put(delta("sum A", last="1"))
    market.subscription.finish()
    assert ([("A", 1, None, None)], []) == (market.read(), market.renewed)


def test_topics_that_are_left():
    """Of a topic that was taken out nothing is kept, nor asked for."""
    market = Market("sum A", "sum B").put(snapshot("sum A", last="1"), delta("sum B", last="2"))
    market.subscription.get_many(2)
    market.subscription.keep([topic("sum A")])
    market.put(delta("sum A", open="3"))
    assert ([("A", 1, 3, None)], set()) == (market.read(), market.subscription._decoder.lacking)


def test_raw_adds_up_nothing():
    """With `raw` each item is what the exchange sent, and nothing is asked for."""
    market = Market(raw=True).put(delta("sum A", last="1"))
    assert ({"of": "sum A", "d": {"last": "1"}}, [], market.subscription.latest) == (
        market.subscription.get_nowait(),
        market.renewed,
        {"of": "sum A", "d": {"last": "1"}},
    )


class Summing(Client):
    """A client of an exchange that speaks the language of this page, and confirms as `SWAP` does."""

    name = "summing"

    def __init__(self, url: str) -> None:
        language = attrs.evolve(SWAP, route=SUMMING.route, decode=decode, interpret=SUMMING.interpret)
        super().__init__({"public": Endpoint("public", url, language)})

    def _topics_of(self, words: tuple[str, ...], params: Any) -> Any:
        return tuple(attrs.evolve(one, args=(one.symbol,)) for one in map(topic, words))


def decode(message: bytes) -> Any:
    return SUMMING.decode(message) if message.startswith(b'{"of"') else SWAP.decode(message)


def test_client_asks_for_a_snapshot():
    """A reader that waits for more has the topic stated again, and that one only, and then what adds up again."""

    def script(talk, exchange):
        for _ in range(2):
            talk.agree(talk.ask())
        talk.say(snapshot("sum B", last="1"))
        talk.say(delta("sum A", last="2"))
        request = talk.ask()
        exchange.told.put((request["method"], request["params"]))
        talk.agree(request)
        talk.say(snapshot("sum A", last="3", open="4"))
        talk.serve()

    with Exchange(script) as peer, Summing(peer.address) as client:
        client.subscribe("other C")
        events = client.subscribe("sum A", "sum B")
        assert [("B", 1, None, None), ("A", 2, None, None)] == [told(events.get(LIMIT_S)) for _ in range(2)]
        assert ("A", 3, 4, None) == told(events.get(LIMIT_S))
        assert ("sum_subscribe", ["A", "B"]) == peer.hear()  # the language says all of a channel at once


FIGURES = st.dictionaries(st.sampled_from(["last", "open", "high"]), st.integers(1, 99).map(str))
ACTIONS = st.one_of(
    st.tuples(st.sampled_from("AB"), st.booleans(), FIGURES),
    st.sampled_from(["read", "read", "look", "look", "lose", "spoil", "silent"]),
)


@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST])
@settings(deadline=None, max_examples=75)
@given(st.lists(ACTIONS, max_size=40), st.integers(1, 6))
def test_what_is_told_is_true(overflow, actions, limit):
    """
    Whatever is dropped, lost and read: a figure is what the exchange had at that message, or is not told.

    Nor is it withheld: without a gap since its snapshot an event tells all. A look tells what reading on would, or more: it may
    have seen what was dropped later.
    """
    market = Market("sum A", "sum B", overflow=overflow, queue_size=limit, gaps=True)
    truth: dict[str, dict[str, str]] = {"A": {}, "B": {}}
    true_at: dict[int, tuple[Any, ...]] = {}  # by the number of the message, which it has with it
    whole: set[str] = set()  # symbols whose snapshot was read, with no gap since
    newest: list[tuple[Any, ...]] = []

    def check(items: list[Any]) -> None:
        for item in items:
            if isinstance(item, Gap):
                whole.intersection_update("AB" if item.reason == "silent" else "")
                continue
            assert holds(told(item), true_at[item.raw["d"]["n"]])
            if "all" in item.raw:
                whole.add(item.symbol)
            assert item.symbol not in whole or told(item) == true_at[item.raw["d"]["n"]]
            newest[:] = [told(item)]

    for number, action in enumerate(actions):
        if isinstance(action, tuple):
            symbol, anew, figures = action
            truth[symbol] = figures if anew else {**truth[symbol], **figures}
            known = (truth[symbol].get(name) for name in ("last", "open", "high"))
            true_at[number] = symbol, *(None if figure is None else int(figure) for figure in known)
            market.put((snapshot if anew else delta)(f"sum {symbol}", n=number, **figures))
        elif action == "read":
            check(market.subscription.get_many(1, timeout=0.0) if market.subscription.qsize() else [])
        elif action == "look":
            look = market.subscription.latest
            assert look is None or holds(told(look), true_at[look.raw["d"]["n"]])
        elif action == "silent":
            market.subscription.silent(SOURCE, topic("sum A"), SECOND)
        else:
            {"lose": lose, "spoil": spoil}[action](market)
    look = market.subscription.latest
    check(market.subscription.get_many(timeout=0.0) if market.subscription.qsize() else [])
    assert (look is None) == (not newest)
    assert look is None or holds(newest[0], told(look))


def holds(figures: tuple[Any, ...], true: tuple[Any, ...]) -> bool:
    """Whether each of them is true, or not told."""
    return all(figure in (None, known) for figure, known in zip(figures, true))
