"""What an exchange that can be asked answers about a loss: what of it is told, when, and whether it fills the gap."""

from __future__ import annotations

import select
from decimal import Decimal
from typing import Any

import pytest
from asking_language import COUNTING_ASKED, answer, push
from counting_language import topic
from held_clock import Aside, HeldClock
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_ws.clock import SystemClock
from exchange_ws.core.decoding import WATCHED, Decoder
from exchange_ws.core.recovery import HELD, REMEMBERED, STATES, Answer, Asked, Inquiries
from exchange_ws.core.subscription import (
    DROP_NEWEST,
    DROP_OLDEST,
    RECOVERIES,
    SIDE_BY_SIDE,
    Recovery,
    Subscription,
)
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout
from exchange_ws.events import Gap

SOURCE = "one connection"
LOG, LEVEL = "log A", "level A"


class Reader:
    """A decoder of these topics, and what it is told in short. Methods return the numbers of the events that are told."""

    def __init__(self, *names: str) -> None:
        self.decoder = Decoder(COUNTING_ASKED, [topic(name) for name in names], Decimal)

    def begins(self, *numbers: int, name: str = LOG, **more: Any) -> None:
        """What there was before the stream."""
        assert [] == self._answered(name, True, (answer(*numbers, **more),))

    def read(self, *numbers: int, name: str = LOG) -> list[int]:
        return [event.id for event in self.decoder.decode(push(name, *numbers), 0)]

    def lost(self) -> tuple[Gap, list[int]]:
        """The connection is lost, and here it goes on; what is told before the gap."""
        gap = Gap("reconnect", 1.0)
        return gap, [event.id for event in self.decoder.lost(gap)]

    def asked(self, name: str = LOG) -> None:
        self.decoder.asked(Asked(topic(name)))

    def answered(self, *numbers: int, name: str = LOG, **more: Any) -> list[int]:
        return self._answered(name, False, (answer(*numbers, **more),))

    def refused(self, name: str = LOG) -> list[int]:
        return self._answered(name, False, None)

    def _answered(self, name: str, first: bool, results: tuple[Any, ...] | None) -> list[int]:
        return [event.id for event in self.decoder.answered(Answer(topic(name), first, results), 0)]


# Records ---------------------------------------------------------------------------------------------------------------------


def test_missed_records():
    """What was missed is told once, oldest first, before the updates that came meanwhile; these are not told twice."""
    reader = Reader(LOG)
    reader.begins(1, 2)
    found = [reader.read(3)]
    gap, before = reader.lost()
    reader.asked()
    found += [before, reader.read(6), reader.read(7), reader.answered(1, 2, 3, 4, 5, 6, latest=True), reader.read(8)]
    assert ([[3], [], [], [], [4, 5, 6, 7], [8]], True) == (found, gap.repaired)


def test_records_on_their_way():
    """An update may come after the answer that told its record already; another time it is news."""
    reader = Reader(LOG)
    reader.read(1)
    reader.lost()
    reader.asked()
    assert [[2, 3], [], [4], [2]] == [reader.answered(1, 2, 3, latest=True), reader.read(2, 3), reader.read(4), reader.read(2)]


@pytest.mark.parametrize(
    ("before", "told", "found", "missed", "repaired"),
    [
        ((1, 2), (), answer(1, 2, 3, latest=True), [3], True),  # reaches back to what was there before the stream
        ((1, 2), (), answer(1, 2, whole=True), [], True),
        ((), (), answer(1, 2, whole=True), [1, 2], True),  # there was nothing, so all of it was missed
        ((), (), answer(1, 2, latest=True), [1, 2], False),
        ((1,), (), answer(8, 9, latest=True), [8, 9], False),  # does not reach back
        ((), (1,), answer(8, 9, whole=True), [8, 9], False),  # the exchange has forgotten what was told: what else?
        ((1,), (2,), answer(1, 2, 3), [3], False),  # it is not known whether these are the newest
        (None, (), answer(1, 2, whole=True), [], False),  # nobody knows where the stream began: they may be years old
        (None, (3,), answer(1, 2, 3, 4, latest=True), [4], True),  # older than all that was told: older than the stream
        (None, (3,), answer(4, 5, latest=True), [4, 5], False),
    ],
)
def test_how_far_an_answer_reaches(before, told, found, missed, repaired):
    """It fills the gap if it reaches back to what is known, or is all there is and nothing was."""
    reader = Reader(LOG)
    if before is not None:
        reader.begins(*before)
    reader.read(*told)
    gap, _ = reader.lost()
    reader.asked()
    marker = Answer(topic(LOG), False, (found,))
    assert (missed, repaired) == ([event.id for event in reader.decoder.answered(marker, 0)], gap.repaired)


def test_second_loss_after_nobody_knew():
    """An answer that told nothing says where the stream is from then on."""
    reader = Reader(LOG)
    reader.lost()
    reader.asked()
    found = [reader.answered(1, 2, latest=True)]
    gap, _ = reader.lost()
    reader.asked()
    found.append(reader.answered(2, 3, latest=True))
    assert ([[], [3]], True) == (found, gap.repaired)


def test_late_look_at_the_beginning():
    """What there was before the stream is of no use when something of it was told: that may be in it."""
    reader = Reader(LOG)
    reader.read(3)
    reader.begins(1, 2, 3, 4)
    reader.lost()
    reader.asked()
    assert [4] == reader.answered(2, 3, 4, latest=True)


def test_refused_answer():
    """Without an answer the updates go on, and the gap stays one."""
    reader = Reader(LOG)
    reader.begins(1)
    gap, _ = reader.lost()
    reader.asked()
    found = [reader.read(3), reader.refused(), reader.read(4)]
    assert ([[], [3], [4]], False) == (found, gap.repaired)


def test_unreadable_answer():
    """What cannot be read raises, and holds nothing back once that is said."""
    reader = Reader(LOG)
    gap, _ = reader.lost()
    reader.asked()
    reader.read(3)
    with pytest.raises(TypeError):
        reader.decoder.answered(Answer(topic(LOG), False, (None,)), 0)
    assert ([3], False) == (reader.refused(), gap.repaired)


def test_lost_again_before_the_answer():
    """What was held back stands before the next gap; the answer to come may fill that one, and no more the former."""
    reader = Reader(LOG)
    reader.begins(1)
    first, _ = reader.lost()
    reader.asked()
    held = reader.read(3)
    second, before = reader.lost()
    reader.asked()
    found = reader.answered(1, 2, 3, 4, latest=True)
    assert ([], [3], [2, 4], False, True) == (held, before, found, first.repaired, second.repaired)


def test_gaps_without_anything_between():
    """A link that flaps makes several gaps, of which the one answer fills all."""
    reader = Reader(LOG)
    reader.begins(1)
    gaps = []
    for _ in range(WATCHED + 2):
        gaps.append(reader.lost()[0])
        reader.asked()
    reader.answered(1, 2, latest=True)
    assert [False, False] + [True] * WATCHED == [gap.repaired for gap in gaps]


def test_too_many_held_back():
    """They are told before the answer then, and it comes too late to fill the gap."""
    reader = Reader(LOG)
    reader.begins(0)
    gap, _ = reader.lost()
    reader.asked()
    found = [number for number in range(2, HELD + 3) for number in reader.read(number)]
    found += reader.read(HELD + 3)
    late = reader.answered(0, 1, 2, latest=True)
    assert ([*range(2, HELD + 4)], [1], False) == (found, late, gap.repaired)


def test_memory_of_records_is_bounded():
    """However many there were, the ids of the latest are known, and no more than twice as many."""
    reader = Reader(LOG)
    for number in range(20 * REMEMBERED):
        reader.read(number)
    known = reader.decoder._ledgers[b"log A"]
    size = len(known._ids) + len(known._former)
    gap, _ = reader.lost()
    reader.asked()
    found = reader.answered(*range(number - 98, number + 2), latest=True)
    assert (True, [number + 1], True) == (size <= 2 * REMEMBERED, found, gap.repaired)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 120), st.integers(0, 2), st.booleans()), max_size=12))
def test_each_record_once(losses):
    """
    However much is missed, each record is told once; with an answer that reaches back all are told, in order, and the gap says
    so just then.
    """
    reader = Reader(LOG)
    reader.begins()
    log: list[int] = []
    told: list[int] = []
    for live, away, meanwhile, answers in losses:
        for _ in range(live):
            log.append(len(log))
            told += reader.read(log[-1])
        known = bool(told)
        gap, before = reader.lost()
        told += before
        log += range(len(log), len(log) + away)
        reader.asked()
        held = []
        for _ in range(meanwhile):
            log.append(len(log))
            held += reader.read(log[-1])
        newest = log[-100:]
        reaches = not (known and told[-1] not in newest) and (known or len(newest) < 100)
        told += reader.answered(*newest, whole=len(newest) < 100, latest=True) if answers else reader.refused()
        assert ([], answers and reaches) == (held, gap.repaired)
        if gap.repaired:
            assert log[-away - meanwhile :] == told[-away - meanwhile :] or not away + meanwhile
    assert (sorted(set(told)), []) == (sorted(told), [number for number in told if number not in log])


# States ----------------------------------------------------------------------------------------------------------------------


def test_changed_states():
    """Of what there is now, that is told which differs from what was told last, or was there before."""
    reader = Reader(LEVEL)
    reader.begins(11, 21, 31, name=LEVEL)
    reader.read(22, 41, name=LEVEL)
    gap, _ = reader.lost()
    reader.asked(LEVEL)
    found = reader.answered(11, 22, 32, 41, 51, name=LEVEL, whole=True)
    assert ([32, 51], True) == (found, gap.repaired)


def test_states_are_not_held_back():
    """A state follows the one before it wherever the answer stands, so updates go on; the answer's own are not told twice."""
    reader = Reader(LEVEL)
    reader.begins(11, name=LEVEL)
    reader.lost()
    reader.asked(LEVEL)
    found = [reader.read(12, name=LEVEL), reader.answered(13, 21, name=LEVEL, whole=True)]
    found += [reader.read(13, name=LEVEL), reader.read(22, name=LEVEL), reader.read(13, name=LEVEL)]
    assert [[12], [13, 21], [], [22], [13]] == found


@pytest.mark.parametrize(
    ("before", "told", "found", "news", "repaired"),
    [
        ((11,), (), answer(whole=True, ended=(10, 90)), [10], True),  # how it ended is told; of what was never there it is not
        ((11,), (), answer(whole=True, ended=()), [], False),  # nobody knows how it ended
        ((11,), (21,), answer(12, whole=True, ended=(20,)), [20, 12], True),
        ((11,), (), answer(whole=False, ended=(10,)), [10], False),  # there is more, and it may have changed
        ((11,), (), answer(whole=True, ended=(12,)), [], False),  # no end
        ((11,), (10,), answer(whole=True), [], True),  # it had ended before
        (None, (), answer(12, whole=True), [12], False),  # what was there before the stream may have ended
        (None, (11,), answer(12, whole=True), [12], False),
        (None, (11,), answer(12, 21, whole=True, ended=None), [12, 21], True),  # nothing ever ends
        (None, (11,), answer(21, whole=True, ended=None), [21], False),  # but this is not there
    ],
)
def test_what_is_there_no_more(before, told, found, news, repaired):
    """The ends of what was there are told; where one is not known, the gap stays one."""
    reader = Reader(LEVEL)
    if before is not None:
        reader.begins(*before, name=LEVEL)
    reader.read(*told, name=LEVEL)
    gap, _ = reader.lost()
    reader.asked(LEVEL)
    marker = Answer(topic(LEVEL), False, (found,))
    assert (news, repaired) == ([event.id for event in reader.decoder.answered(marker, 0)], gap.repaired)


def test_an_end_on_its_way():
    """The update of an end that was told from the answer is not told again."""
    reader = Reader(LEVEL)
    reader.begins(11, name=LEVEL)
    reader.lost()
    reader.asked(LEVEL)
    assert [[10], [], [11]] == [
        reader.answered(name=LEVEL, whole=True, ended=(10,)),
        reader.read(10, name=LEVEL),
        reader.read(11, name=LEVEL),
    ]


def test_memory_of_states_is_bounded():
    """Of very many things the oldest are forgotten, and then no answer can prove that none has ended."""
    gaps = []
    for extra in (0, 1):
        reader = Reader(LEVEL)
        reader.begins(name=LEVEL)
        numbers = [10 * thing + 1 for thing in range(STATES + extra)]
        reader.read(*numbers, name=LEVEL)
        gaps.append(reader.lost()[0])
        reader.asked(LEVEL)
        size = len(reader.decoder._ledgers[b"level A"]._last)
        reader.answered(*numbers, name=LEVEL, whole=True)
    assert ([True, False], STATES) == ([gap.repaired for gap in gaps], size)


# Several topics --------------------------------------------------------------------------------------------------------------


def test_repaired_by_all_topics():
    """The gap is filled when all topics have been answered, those that replay and those that are asked."""
    reader = Reader(LOG, LEVEL, "replay B")
    reader.begins(1)
    reader.begins(11, name=LEVEL)
    reader.decoder.stated([topic("replay B")])
    reader.read(1, 2, name="replay B")
    gap, _ = reader.lost()
    seen = []
    for name in (LOG, LEVEL):
        reader.asked(name)
    reader.answered(1, 2, latest=True)
    seen.append(gap.repaired)
    reader.decoder.stated([topic("replay B")])
    reader.read(2, 3, name="replay B")
    seen.append(gap.repaired)
    reader.answered(11, name=LEVEL, whole=True)
    assert [False, False, True] == [*seen, gap.repaired]


def test_not_repaired_beside_what_cannot_be_asked():
    """A topic beside that nobody can ask for may have missed something; what the other missed is told all the same."""
    reader = Reader(LOG, "tape B")
    reader.begins(1)
    gap, _ = reader.lost()
    reader.asked()
    assert ([2], False) == (reader.answered(1, 2, latest=True), gap.repaired)


def test_symbols_apart():
    """Each symbol has a question of its own: one that waits holds back nothing of another."""
    reader = Reader(LOG, "log B")
    for name in (LOG, "log B"):
        reader.begins(1, name=name)
    gap, _ = reader.lost()
    for name in (LOG, "log B"):
        reader.asked(name)
    found = [reader.read(3), reader.answered(1, 2, name="log B", latest=True), reader.read(3, name="log B")]
    found.append(reader.answered(1, 2, latest=True))
    assert ([[], [2], [3], [2, 3]], True) == (found, gap.repaired)


def test_left_while_it_waits():
    """What was held back of a topic that is left is told; its answer is nobody's."""
    reader = Reader(LOG, "log B")
    reader.lost()
    reader.asked()
    reader.read(3)
    left = reader.decoder.keep([topic("log B")])
    assert ([3], []) == ([event.id for event in left], reader.answered(1, 2, whole=True))


# Questions -------------------------------------------------------------------------------------------------------------------


def test_inquiries():
    """Two questions of one topic are one answer, in their order; it comes when both have theirs, or one has none."""
    inquiries = Inquiries()
    inquiries.put(topic(LEVEL), False, ("sink",), [1, 2])
    inquiries.put(topic(LOG), True, ("sink", "other"), [3])
    missed = inquiries.missed()
    later = inquiries.settled(2, ("second",))
    whole = inquiries.settled(1, ("first",))
    assert ({topic(LEVEL)}, None, (("sink",), Answer(topic(LEVEL), False, ("first", "second")))) == (missed, later, whole)
    assert (False, True) == (1 in inquiries, 3 in inquiries)
    assert (("sink", "other"), Answer(topic(LOG), True, (None,))) == inquiries.settled(3, (None,))
    inquiries.put(topic(LEVEL), False, ("sink",), [4, 5])
    failed = inquiries.settled(4, None)
    assert ((("sink",), Answer(topic(LEVEL), False, None)), []) == (failed, inquiries.clear())


def test_unanswered_inquiries():
    """A loss forgets them; the topics are those to be asked for again."""
    inquiries = Inquiries()
    inquiries.put(topic(LEVEL), False, ("sink",), [1, 2])
    inquiries.put(topic(LOG), True, ("sink",), [3])
    inquiries.settled(1, (None,))
    assert ({topic(LEVEL)}, [2, 3], set()) == (inquiries.missed(), inquiries.clear(), inquiries.missed())


# In the buffer ---------------------------------------------------------------------------------------------------------------


def made(*names: str, clock: Any = None, **options: Any) -> Subscription:
    """A subscription to these topics, "log A" if none is named; what was there before is known, and it was restated."""
    usual = {"queue_size": 1000, "overflow": DROP_OLDEST, "gaps": False, "raw": False, "numbers": Decimal, "block_limit": 5.0}
    topics = [topic(name) for name in names or (LOG,)]
    return Subscription(
        "test",
        topics,
        COUNTING_ASKED,
        clock=clock or SystemClock(),
        leave=lambda subscription, left, timeout: subscription.finish(),
        forget=lambda _: None,
        **{**usual, **options},
    )


def back(subscription: Subscription, *known: int) -> Subscription:
    """The same, where these numbers were there before, and its connection was lost and is there again; LOG is asked for."""
    subscription.recovers(Answer(topic(LOG), True, (answer(*known),)), 0)
    return lost(subscription)


def lost(subscription: Subscription) -> Subscription:
    subscription.lost(SOURCE, 1)
    subscription.stated(SOURCE, subscription.wanted, 2)
    subscription.recovers(Asked(topic(LOG)), 2)
    subscription.restored(SOURCE, 2)
    return subscription


def put(subscription: Subscription, *numbers: int, name: str = LOG) -> None:
    for number in numbers:
        subscription.put(SOURCE, [push(name, number)], 3)


def answers(subscription: Subscription, *numbers: int, **more: Any) -> None:
    subscription.recovers(Answer(topic(LOG), False, (answer(*numbers, **{"latest": True, **more}),)), 4)


def drained(subscription: Subscription) -> list[Any]:
    """Numbers of the events that are there, and gaps."""
    items = []
    while True:
        try:
            item = subscription.get_nowait()
        except (UpdateTimeout, SubscriptionClosed):
            return items
        items.append(item if isinstance(item, Gap) or subscription._raw else item.id)


def test_the_first_missed_one_carries_the_gap():
    """It says already that it is filled; updates that waited come behind it."""
    subscription = back(made(), 1)
    put(subscription, 3)
    before = drained(subscription)
    answers(subscription, 1, 2)
    first = subscription.get_nowait()
    assert ([], 2, True, [3]) == (before, first.id, first.gap.repaired, drained(subscription))
    assert subscription.gaps == [first.gap]


def test_received():
    """What an answer shows was received when that came."""
    subscription = back(made(), 1)
    answers(subscription, 1, 2)
    assert 4e-9 == subscription.get_nowait().received


def test_gaps_as_items():
    """The gap stands before what fills it."""
    subscription = back(made(gaps=True), 1)
    put(subscription, 3)
    answers(subscription, 1, 2)
    assert [subscription.gaps[0], 2, 3] == drained(subscription)


def test_gaps_that_merge():
    """Two gaps without an event between are one for the event that follows, filled if both are."""
    subscription = lost(back(made(), 1))
    drained(subscription)
    answers(subscription, 1, 2)
    event = subscription.get_nowait()
    assert (2, True, [True, True]) == (event.id, event.gap.repaired, [gap.repaired for gap in subscription.gaps])


def test_gaps_that_nothing_carries_are_bounded():
    """A raw stream's items carry no gaps, and a thousand losses do not cost memory."""
    subscription = made(raw=True)
    for _ in range(1000):
        drained(lost(subscription))
    assert SIDE_BY_SIDE == len(subscription._met)


def test_a_loss_among_many_gaps():
    """Of more gaps than wait one by one the loss is not forgotten: what was held back before it is told, also unanswered."""
    subscription = back(made(), 1)
    put(subscription, 3)
    before = drained(subscription)
    subscription.joined_late(SOURCE, (), 5)
    subscription.lost(SOURCE, 5)
    subscription.stated(SOURCE, subscription.wanted, 6)
    for _ in range(SIDE_BY_SIDE):
        subscription.joined_late(SOURCE, (), 6)
    subscription.recovers(Asked(topic(LOG)), 7)
    subscription.recovers(Answer(topic(LOG), False, None), 8)
    assert ([], [3]) == (before, drained(subscription))


def test_a_gap_wakes():
    """A gap as an item is there as soon as one topic is back, also where others keep the loss open."""
    subscription = made(gaps=True)
    ready = subscription.fileno()
    subscription.lost(SOURCE, 1)
    subscription.stated(SOURCE, subscription.wanted, 2)
    readable = select.select([ready], [], [], 0.0)[0]
    assert ([ready], subscription.gaps) == (readable, drained(subscription))


def test_an_answer_wakes():
    """Who waits for an event gets what the answer brings, also where nothing else came."""
    clock = HeldClock()
    subscription = back(made(clock=clock), 1)
    reading = Aside(subscription.get)
    clock.until_waited(1)
    answers(subscription, 1, 2)
    assert 2 == reading.result().id


def test_fileno_and_answers():
    """The descriptor is readable while an answer waits to be read, and no more when it was read."""
    subscription = back(made(), 1)
    drained(subscription)
    seen = []
    descriptor = subscription.fileno()
    for numbers in ((1, 2), ()):
        if numbers:
            answers(subscription, *numbers)
        seen.append(bool(select.select([descriptor], [], [], 0)[0]))
        drained(subscription)
    subscription.close()
    assert [True, False] == seen


@pytest.mark.parametrize("end", ["finish", "answer"])
def test_the_end_while_it_waits(end):
    """What waits for an answer is read when the stream has ended without one, and after one that was on its way."""
    subscription = back(made(), 1)
    put(subscription, 3)
    before = drained(subscription)
    if end == "answer":
        answers(subscription, 1, 2)
    subscription.finish()
    assert ([], [2, 3] if end == "answer" else [3]) == (before, drained(subscription))


def test_the_end_wakes():
    """A loop that waits is given what was held back, and ends."""
    clock = HeldClock()
    subscription = back(made(clock=clock), 1)
    put(subscription, 3)
    loop = Aside(lambda: [event.id for event in subscription])
    clock.until_waited(1)
    subscription.finish()
    assert [3] == loop.result()


def test_left_topics():
    """What was held back of a topic that is left can still be read."""
    subscription = back(made(LOG, "tape B"), 1)
    put(subscription, 3)
    before = drained(subscription)
    subscription.keep([topic("tape B")])
    assert ([], [3]) == (before, drained(subscription))


def test_raw():
    """With raw=True it says that answers are of no use: nothing is made up, nothing waits, and the gap stays one."""
    subscription = made(raw=True)
    subscription.lost(SOURCE, 1)
    subscription.stated(SOURCE, subscription.wanted, 2)
    put(subscription, 3)
    assert (False, True) == (subscription.asks, made().asks)
    assert ([{"of": LOG, "n": [3]}], [False]) == (drained(subscription), [gap.repaired for gap in subscription.gaps])


def test_consumer_that_has_stopped():
    """Of a link that flaps so many questions and answers wait, and no more; what was not asked for stays missing."""
    subscription = made()
    put(subscription, 1)
    for _ in range(RECOVERIES):
        answers(lost(subscription), 1)
    waiting = [payload for _, payload in subscription._buffer if isinstance(payload, Recovery)]
    drained(subscription)
    assert (RECOVERIES, [False] * (RECOVERIES // 2)) == (
        len(waiting),
        [gap.repaired for gap in subscription.gaps[RECOVERIES // 2 :]],
    )
    answers(lost(subscription), 1)
    drained(subscription)
    assert subscription.gaps[-1].repaired


def test_unreadable(caplog):
    """An answer that cannot be read is counted, one line is logged, and the updates that waited are told."""
    subscription = back(made(), 1)
    put(subscription, 3)
    subscription.recovers(Answer(topic(LOG), False, ("nonsense",)), 4)
    put(subscription, 4)
    assert ([3, 4], 1, 1) == (drained(subscription), subscription.stats()["malformed"], len(caplog.records))
    assert not subscription.gaps[0].repaired


@pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST])
def test_overflow_beside_a_loss(overflow):
    """
    What an overflow dropped is a gap of its own, and the event that carries both does not say that they were filled; what the
    answer shows of it is told.
    """
    subscription = made(queue_size=2, overflow=overflow)
    subscription.recovers(Answer(topic(LOG), True, (answer(),)), 0)
    put(subscription, 1)
    drained(subscription)
    if overflow == DROP_NEWEST:
        put(subscription, 2, 3, 4)
        lost(subscription)
        answers(subscription, 1, 2, 3, 4, 5)
        told = [2, 3, 4, 5]
    else:
        lost(subscription)
        put(subscription, 2, 3, 4)
        answers(subscription, 1, 2)
        told = [2, 3, 4]
    events = []
    while len(events) < len(told):
        events.append(subscription.get_nowait())
    carried = [(event.gap.reason, event.gap.dropped, event.gap.repaired) for event in events if event.gap]
    gaps = {gap.reason: gap.repaired for gap in subscription.gaps}
    assert (told, {"overflow": False, "reconnect": True}) == ([event.id for event in events], gaps)
    assert all(not repaired for _, dropped, repaired in carried if dropped != 0), carried


@pytest.mark.parametrize("replayed", [True, False])
def test_overflow_of_a_replay(replayed):
    """A replay that an overflow dropped proves nothing; what it dropped beside one that was read is a gap of its own."""
    subscription = made("replay A", queue_size=1)
    subscription.put(SOURCE, [push("replay A", 1, 2)], 1)
    drained(subscription)
    subscription.lost(SOURCE, 1)
    subscription.stated(SOURCE, subscription.wanted, 2)
    found = []
    subscription.put(SOURCE, [push("replay A", 2, 3)], 2)
    if replayed:
        found += drained(subscription)
    subscription.put(SOURCE, [push("replay A", 4)], 2)
    subscription.put(SOURCE, [push("replay A", 5)], 2)
    found += drained(subscription)
    gaps = [(gap.reason, gap.dropped, gap.repaired) for gap in subscription.gaps]
    dropped = 1 if replayed else 2
    assert [("reconnect", None, replayed), ("overflow", dropped, False)] == gaps
    assert ([3, 5] if replayed else [5]) == found
