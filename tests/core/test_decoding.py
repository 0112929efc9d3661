"""What a topic that replays tells: nothing twice, what is a replay, and whether it proves that nothing was missed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from counting_language import COUNTING, push, rows, topic
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_ws.core.decoding import REMEMBERED, SYMBOLS, Decoder
from exchange_ws.core.dialect import PRICES, Prices
from exchange_ws.events import Gap


class Reader:
    """A decoder of these topics, and what it is told in short."""

    def __init__(self, *names: str) -> None:
        self.topics = [topic(name) for name in names]
        self.decoder = Decoder(COUNTING, self.topics, Decimal)

    def stated(self, *names: str) -> None:
        """The exchange confirms these topics, or all."""
        self.decoder.stated([topic(name) for name in names] or self.topics)

    def read(self, *numbers: int, name: str = "replay A") -> list[tuple[int, str]]:
        """What comes of one push: each new number, and whether it is a replay's."""
        events = self.decoder.decode(push(name, *numbers), 0)
        return [(event.id, "replay" if event.snapshot else "live") for event in events]

    def lost(self) -> Gap:
        """The connection is lost, and here it goes on."""
        gap = Gap("reconnect", 1.0)
        self.decoder.lost(gap)
        return gap


def replay(*numbers: int) -> list[tuple[int, str]]:
    return [(number, "replay") for number in numbers]


def live(*numbers: int) -> list[tuple[int, str]]:
    return [(number, "live") for number in numbers]


def begun(*names: str) -> Reader:
    """A reader of topics that were stated and replayed the numbers 1 to 3."""
    reader = Reader(*names)
    reader.stated()
    for name in names:
        reader.read(1, 2, 3, name=name)
    return reader


# Messages and events ---------------------------------------------------------------------------------------------------------


def test_receipt():
    """An event has the time of its receipt in seconds."""
    (event,) = Decoder(COUNTING, [topic("tape A")], Decimal).decode(push("tape A", 1), 1_250_000_000)
    assert 1.25 == event.received


@pytest.mark.parametrize("message", [b'{"of"', b"\xff\xfe", b'{"of":"tape A"}', b"7", b'{"rows":[[]]}'])
def test_unreadable(message):
    """What cannot be read raises one of the errors that are promised, and changes nothing."""
    reader = begun("replay A")
    with pytest.raises((ValueError, TypeError, LookupError, ArithmeticError)):
        reader.decoder.decode(message, 0)
    assert live(4) == reader.read(4)


def test_not_an_update():
    """What is no update has no events."""
    assert () == Decoder(COUNTING, [topic("tape A")], Decimal).decode(b'{"note":1}', 0)


def test_rows_by_symbol():
    """Of rows of several symbols those of this subscription's are given."""
    message = rows(("tape A", 1), ("tape B", 2), ("tape C", 3))
    decoder = Decoder(COUNTING, [topic("tape A"), topic("tape B")], Decimal)
    found = [[event.id for event in decoder.decode(message, 0)]]
    decoder.keep([topic("tape B")])
    found.append([event.id for event in decoder.decode(message, 0)])
    every = Decoder(COUNTING, [topic("tape *")], Decimal).decode(message, 0)
    assert ([[1, 2], [2]], [1, 2, 3]) == (found, [event.id for event in every])


def test_peek():
    """A look gives the newest event, and remembers nothing of it; of what is no update, or for others, it gives none."""
    reader = begun("replay A")
    looks = [reader.decoder.peek(message, 0) for message in (push("replay A", 4, 5), b'{"note":1}', push("replay A"))]
    others = reader.decoder.peek(rows(("tape B", 1), ("tape C", 2)), 0)
    assert (5, None, None, None, live(4, 5)) == (looks[0].id, looks[1], looks[2], others, reader.read(4, 5))


def test_keys_of():
    """The topics of a message, all of them where it has rows of several; none where it cannot be read or is no update."""
    decoder = Decoder(COUNTING, [topic("tape A")], Decimal)
    found = [decoder.keys_of(message) for message in (push("tape A", 1), rows(("a b", 1), ("c d", 2)), b"{", b'{"note":1}')]
    assert [(b"tape A",), (b"a b", b"c d"), (), ()] == found


# Replays ---------------------------------------------------------------------------------------------------------------------


def test_first_replay():
    """The first push after a statement is the replay; those after it are live."""
    reader = Reader("replay A")
    reader.stated()
    assert (replay(1, 2, 3), live(4), live(5, 6)) == (reader.read(1, 2, 3), reader.read(4), reader.read(5, 6))


def test_replay_before_its_reply():
    """A replay may come before the reply to its statement; the push after both is live all the same."""
    reader = Reader("replay A")
    first = reader.read(1, 2, 3)
    reader.stated()
    assert (replay(1, 2, 3), live(4)) == (first, reader.read(4))


def test_restated():
    """Stated again, for another's sake perhaps, a topic replays: what was told is not told again, the rest is."""
    reader = begun("replay A")
    found = [reader.read(4)]
    reader.stated()
    found += [reader.read(2, 3, 4, 5), reader.read(6)]
    reader.stated()
    found += [reader.read(4, 5, 6), reader.read(7)]
    assert [live(4), replay(5), live(6), [], live(7)] == found


def test_restated_before_its_reply():
    """The same where the replay overtakes the reply."""
    reader = begun("replay A")
    found = [reader.read(2, 3, 4)]
    reader.stated()
    found.append(reader.read(5))
    assert [replay(4), live(5)] == found


def test_several_symbols():
    """Each symbol has a replay of its own; equal ids of different symbols are different trades."""
    reader = Reader("replay A", "replay B")
    reader.stated()
    found = [reader.read(1, 2), reader.read(3), reader.read(1, 2, name="replay B"), reader.read(3, name="replay B")]
    reader.stated("replay B")
    found += [reader.read(4), reader.read(2, 3, 4, name="replay B")]
    assert [replay(1, 2), live(3), replay(1, 2), live(3), live(4), replay(4)] == found


def test_every_symbol():
    """Of all symbols, the first push of each one is its replay, and all that were seen replay when it is stated again."""
    reader = Reader("replay *")
    reader.stated()
    found = [reader.read(1), reader.read(2), reader.read(1, name="replay B")]
    reader.stated()
    found += [reader.read(1, 2, 3), reader.read(4), reader.read(1, 2, name="replay B"), reader.read(3, name="replay B")]
    assert [replay(1), live(2), replay(1), replay(3), live(4), replay(2), live(3)] == found


def test_without_replays():
    """Topics that replay nothing may repeat themselves: nothing is held back, nor called a replay."""
    reader = Reader("tape A", "replay A")
    reader.stated()
    found = [reader.read(1, name="tape A"), reader.read(1, name="tape A"), reader.read(1), reader.read(2)]
    assert [live(1), live(1), replay(1), live(2)] == found


def test_order():
    """New events of a replay come in its order."""
    reader = begun("replay A")
    reader.stated()
    assert replay(9, 7, 8) == reader.read(9, 2, 7, 3, 8)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_nothing_twice(pushes):
    """Whatever is replayed and when, each trade is told once, in order, and none is held back."""
    reader = begun("replay A")
    last = 3
    found = []
    for again, count in pushes:
        if again:
            reader.stated()
            found += reader.read(*range(max(1, last - 99), last + count + 1))
        else:
            found += reader.read(*range(last + 1, last + count + 1))
        last += count
    assert [*range(4, last + 1)] == [number for number, _ in found]


def test_memory_is_bounded():
    """However many trades there were, the ids of the latest are known, and no more than twice as many."""
    reader = begun("replay A")
    for number in range(4, 20 * REMEMBERED, 3):
        reader.read(number, number + 1, number + 2)
    last = number + 2
    known = reader.decoder._replays[b"replay A"]
    size = len(known.ids) + len(known.former)
    reader.stated()
    again = reader.read(*range(last - REMEMBERED + 1, last + 2))
    assert (True, replay(last + 1)) == (size <= 2 * (REMEMBERED + 3), again)


def test_symbols_are_bounded():
    """However many symbols come up in a topic of all of them, the ids of the latest are known."""
    reader = Reader("replay *")
    for number in range(SYMBOLS + 1):
        reader.read(1, 2, name=f"replay {number}")
    again = [reader.read(2, name=f"replay {number}") for number in (SYMBOLS, 0)]
    assert ([[], replay(2)], SYMBOLS) == (again, len(reader.decoder._replays))


# Whether a gap was repaired --------------------------------------------------------------------------------------------------


def test_repaired():
    """A replay that reaches back to a trade that was told proves that none is missing."""
    reader = begun("replay A")
    gap = reader.lost()
    reader.stated()
    before = gap.repaired
    found = reader.read(3, 4, 5)
    assert (False, replay(4, 5), True) == (before, found, gap.repaired)


def test_repaired_before_the_reply():
    """The same where the replay overtakes the reply."""
    reader = begun("replay A")
    gap = reader.lost()
    found = reader.read(3, 4)
    reader.stated()
    assert (replay(4), True, live(5)) == (found, gap.repaired, reader.read(5))


def test_repaired_without_news():
    """A replay of nothing but what was told proves it too."""
    reader = begun("replay A")
    gap = reader.lost()
    reader.stated()
    assert ([], True) == (reader.read(1, 2, 3), gap.repaired)


def test_not_repaired():
    """A replay that does not reach back proves nothing, nor does what comes after it."""
    reader = begun("replay A")
    gap = reader.lost()
    reader.stated()
    found = [reader.read(7, 8), reader.read(9)]
    reader.stated()
    found.append(reader.read(8, 9))
    assert ([replay(7, 8), live(9), []], False) == (found, gap.repaired)


def test_repaired_by_all():
    """Of several symbols each one's replay has to reach back."""
    reader = begun("replay A", "replay B")
    gap = reader.lost()
    reader.stated()
    reader.read(3, 4)
    before = gap.repaired
    reader.read(3, 4, name="replay B")
    assert (False, True) == (before, gap.repaired)


@pytest.mark.parametrize("missing", ["replay A", "replay B"])
def test_not_repaired_by_some(missing):
    """One that does not is enough, whichever comes first."""
    reader = begun("replay A", "replay B")
    gap = reader.lost()
    reader.stated()
    for name in ("replay A", "replay B"):
        reader.read(7 if name == missing else 3, 8, name=name)
    assert not gap.repaired


def test_repaired_with_a_wildcard():
    """For a topic of all symbols those that were seen have to reach back."""
    reader = Reader("replay *")
    reader.stated()
    for name in ("replay A", "replay B"):
        reader.read(1, 2, name=name)
    gap = reader.lost()
    reader.stated()
    reader.read(2, 3)
    before = gap.repaired
    reader.read(2, 3, name="replay B")
    assert (False, True) == (before, gap.repaired)


def test_owed_is_forgotten():
    """A replay that the loss swallowed is not waited for: the next statement has one replay, as ever."""
    reader = begun("replay A")
    reader.stated()
    gap = reader.lost()
    reader.stated()
    assert (replay(4), live(5), True) == (reader.read(3, 4), reader.read(5), gap.repaired)


def test_each_gap_for_itself():
    """A second loss is another gap: what comes after it says nothing of the first."""
    reader = begun("replay A")
    first = reader.lost()
    reader.stated()
    reader.read(7, 8)
    second = reader.lost()
    reader.stated()
    reader.read(8, 9)
    assert (False, True) == (first.repaired, second.repaired)


def test_gaps_without_anything_between():
    """Where nothing was told between two losses, a replay that reaches back to before both proves it for both."""
    reader = begun("replay A", "replay B")
    first = reader.lost()
    reader.stated()
    reader.read(3, 4)
    second = reader.lost()
    reader.stated()
    reader.read(3, 4, 5)
    before = [first.repaired, second.repaired]
    reader.read(2, 3, name="replay B")
    assert ([False, False], True, True) == (before, first.repaired, second.repaired)


def test_gaps_with_something_between():
    """What was told between them proves nothing of the first: a replay may reach back to it only."""
    reader = begun("replay A")
    first = reader.lost()
    found = reader.read(7, 8)  # a replay before its reply that reaches back to nothing
    second = reader.lost()
    reader.stated()
    reader.read(8, 9)
    assert (live(7, 8), False, True) == (found, first.repaired, second.repaired)


def test_not_repaired_where_nothing_replays():
    """A topic beside that replays nothing may have missed something, whatever the others prove."""
    reader = begun("replay A", "tape B")
    gap = reader.lost()
    reader.stated()
    reader.read(3, 4)
    assert not gap.repaired


def test_not_repaired_before_the_first_replay():
    """A symbol whose first replay had not come may have missed something: there is nothing to reach back to."""
    reader = Reader("replay A", "replay B")
    reader.stated()
    reader.read(1, 2, 3)
    gap = reader.lost()
    reader.stated()
    reader.read(3, 4)
    reader.read(7, 8, name="replay B")
    assert not gap.repaired


def test_empty_replay():
    """An empty replay is one: what comes after it is live."""
    reader = Reader("replay A")
    reader.stated()
    assert ([], live(1)) == (reader.read(), reader.read(1))


def test_repaired_where_nothing_was_traded():
    """A symbol without any trade before and after has missed none; with trades after, nobody knows."""
    gaps = []
    for numbers in [(), (1, 2)]:
        reader = Reader("replay A", "replay B")
        reader.stated()
        reader.read(1, 2, 3)
        reader.read(name="replay B")
        gaps.append(reader.lost())
        reader.stated()
        reader.read(3, 4)
        reader.read(*numbers, name="replay B")
    assert [True, False] == [gap.repaired for gap in gaps]


def test_repaired_without_what_left():
    """Symbols that were left no more have to prove anything, nor are they remembered."""
    reader = begun("replay A", "replay B")
    reader.decoder.keep([topic("replay B")])
    gap = reader.lost()
    reader.stated("replay B")
    reader.read(3, 4, name="replay B")
    assert (True, [b"replay B"]) == (gap.repaired, list(reader.decoder._replays))


def test_prices_that_come_again():
    """They are the same numbers; so many are remembered and no more, and nothing of what is no number."""
    prices = Prices(Decimal).__getitem__
    first = prices("1.10")
    assert (True, "1.10") == (prices("1.10") is first, str(first))
    for number in range(2 * PRICES):
        assert Decimal(number) == prices(str(number))
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            prices("a lot")
    assert PRICES >= len(prices.__self__)
