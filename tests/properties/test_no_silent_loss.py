"""
Whatever the exchange sent is delivered, once and in order, or covered by a `Gap` in its place: under random faults.

`no_silent_loss` has what is promised (`judge`), and runs more of the same as a command; `paper_line` has the engine without
sockets.
"""

from __future__ import annotations

from collections import Counter

import pytest
from properties import no_silent_loss, paper_line
from properties.no_silent_loss import FACTS, Broken, Tape, play, search

import exchange_ws

#: Schedules of each exchange here: together more than fifty.
SCHEDULES = 18


@pytest.mark.parametrize("exchange", sorted(FACTS))
def test_over_sockets(exchange):
    """Over real sockets, with each overflow policy, no fault of link, server or consumer loses a trade in silence."""
    with Tape(exchange) as tape:
        sums = search(tape, SCHEDULES)
    assert SCHEDULES <= sums["schedules"]


def test_every_exchange():
    """None is left out."""
    assert sorted(exchange_ws.clients()) == sorted(FACTS)


def test_on_paper():
    """The same without sockets, where every step can come at every moment, and times are exact."""
    sums = paper_line.search(200)
    assert 200 <= sums["schedules"]


# The judge itself ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tape():
    with Tape("whitebit") as tape:
        yield tape


def lose(run):
    """Take the second half of what was delivered away, as a bug would."""
    for reader in run.readers:
        del reader.items[len(reader.items) // 2 : -1]


def repeat(run):
    for reader in run.readers:
        reader.items.append(reader.items[-1])


def swap(run):
    for reader in run.readers:
        reader.items[-2:] = reversed(reader.items[-2:])


def invent(run):
    run.tape.handed.remove(next(message for message in run.tape.handed if run.tape.made[0][1] in message.numbers))


def miscount(run):
    for reader in run.readers:
        for gap in reader.subscription.gaps:
            gap.dropped += 1


def repair(run):
    for reader in run.readers:
        for gap in reader.subscription.gaps:
            gap.repaired = True


@pytest.mark.parametrize(
    ("bug", "size", "said"),
    [
        (lose, 1000, "lost in silence"),
        (repeat, 1000, "came twice"),
        (swap, 1000, " came after "),
        (invent, 1000, "was never sent"),
        (miscount, 3, "where an overflow tells of"),
        (repair, 3, "lost in silence"),
    ],
)
def test_judge(tape, monkeypatch, bug, size, said):
    """It finds what it is there for."""
    finish = no_silent_loss.Run.end

    def end(run):
        finish(run)
        bug(run)

    play(tape, "drop_newest", size, [("make", 0, 10)], Counter())
    monkeypatch.setattr(no_silent_loss.Run, "end", end)
    with pytest.raises(Broken, match=said):
        play(tape, "drop_newest", size, [("make", 0, 10)], Counter())
