"""The short form of `true_books`: some hundred schedules, and whether they find what they are there for."""

from __future__ import annotations

from collections import Counter

import pytest
from properties.true_books import FACTS, PAPER, Broken, judge, search, search_paper, tampered, updates

import exchange_ws
from exchange_ws.orderbook import TAKE, Book, linked

#: Arguments of `updates`: the best five levels of a busy market, in twenty steps.
BUSY = ("whitebit", 0, 5, "0", 1, [1] * 20)


@pytest.mark.parametrize("name", PAPER)
def test_on_paper(name):
    """After every update a book is the exchange's, or says that it is not: whatever was left out, doubled or swapped."""
    sums = search_paper(name, 12)
    assert (0, 0) == (sums["mismatches"], sums["breaks missed"])


@pytest.mark.parametrize("exchange", sorted(FACTS))
def test_over_sockets(exchange):
    """Whatever link and updates suffer, threads read states that the exchange had, and the book is right again by itself."""
    sums = search(exchange, 10)
    assert (0, 10) == (sums["mismatches"], sums["schedules"])


def test_every_exchange():
    """None is left out."""
    assert sorted(exchange_ws.clients()) == sorted(FACTS)


@pytest.mark.parametrize(
    ("book", "bare", "deeds"),
    [
        (Book(lambda book, update: TAKE, limit=5), False, [("left out", 7)]),
        (Book(lambda book, update: TAKE, limit=5), False, [("swapped", 7)]),
        (Book(linked), True, []),
    ],
    ids=["nothing is checked", "order is not checked", "nothing is cut"],
)
def test_judge(book, bare, deeds):
    """A book that misses a break, or keeps levels beyond its limit, is found out."""
    with pytest.raises(Broken):
        judge("whitebit", book, tampered(updates(*BUSY, bare), deeds, Counter()), Counter())
