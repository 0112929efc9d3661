"""How messages begin: by its head the reader tells at once where a message goes, and never where `route` would not send it."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from fuzz_mutations import has_twins
from fuzz_targets import Bench, dialects, documented, pushed
from hypothesis import example, given, settings
from hypothesis import strategies as st

import exchange_ws
from exchange_ws.clock import Deadline
from exchange_ws.core.connection import BUSY, NO_HEAD
from exchange_ws.core.dialect import Head, head_of
from exchange_ws.core.messages import Update
from exchange_ws.exchanges.bybit import v5_dialect

NAMES = sorted(exchange_ws.clients())

START, REST, DATA = b'{"topic":"tickers.A","ts":16723', b',"type":"snapshot","data":', b'{"x":["]}",1]}}'
TICKERS = v5_dialect.head(START + b"04486868" + REST + DATA)


def heads(name):
    """The exchange's documented updates that have one, and it."""
    found = []
    for dialect in dialects(name):
        split = dialect.split or list
        parts = split(documented(name))
        found += [(dialect, part, dialect.head(part)) for part in parts if dialect.head(part) is not None]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_documented_updates_have_heads(name):
    """Each fits the update that it is of, and has its key."""
    found = heads(name)
    assert len(found) > 5
    for dialect, message, head in found:
        assert (True, head.key) == (head.fits(message), dialect.route(message))


def test_head_outlives_its_time_stamp():
    """One head does for a day: of the number that changes the last digits are left out, and nothing else is."""
    assert Head(START, len(START) + 8, len(START) + 8 + len(REST), REST, b"tickers.A") == TICKERS
    assert TICKERS.fits(START + b"99999999" + REST + b"{}}")
    assert not TICKERS.fits(START.replace(b"23", b"24") + b"99999999" + REST + b"{}}")
    assert not TICKERS.fits(START.replace(b"A", b"B") + b"99999999" + REST + b"{}}")
    assert not TICKERS.fits(START + b"99999999" + REST.replace(b"data", b"Data") + b"{}}")


def test_no_head_fits_nothing():
    """What stands for a head while none is known."""
    assert [False] * 3 == [NO_HEAD.fits(message) for message in (b"", b"{", b"{}")]


def test_several_numbers_have_no_head():
    """Two numbers that change would leave room for something else to be said between them."""
    assert None is head_of(b'{"ts":1672304486868,"cs":24987956059,"data":', b"key")


# A number may go on as one, and what else JSON has there is put together of these.
PIECES = [
    b"1",
    b".5",
    b"e1",
    b",",
    b'"',
    b'""',
    b'"a"',
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b" ",
    b"\\",
    b'"topic":',
    b'"data":',
    b"null",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))
@example(b',"a":"b"')
@example(b',"":[[1,')
@example(b',"":1,"":')
def test_nothing_else_fits_where_a_number_changes(between):
    """Whatever stands in its place, and however it ends: an update of the same topic, or not JSON."""
    between = between[:8].ljust(8, b"1")
    for data in (DATA, b"{}}", b"1]}", b"1}}", b'"}', b'""}}', b'{}},"data":1}', b'1}],"data":1}'):
        message = START + between + REST + data
        assert TICKERS.fits(message)
        try:
            update = v5_dialect.decode(message)
        except ValueError:
            continue
        assert isinstance(update, Update) and update.keys == (TICKERS.key,)


def test_no_more_than_eight_digits_may_change():
    """In nine characters another object could begin, whose the data would be."""
    message = START + b',"":{"":1' + REST + b"1}}"
    assert not isinstance(v5_dialect.decode(message), Update)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(number=st.integers(0, 2**32))
def test_head_is_never_wrong(name, number):
    """What fits a head is an update of its topic, or not JSON, whatever is behind it."""
    random, found = Random(number), heads(name)
    dialect, message, head = random.choice(found)
    _, other, _ = random.choice(found)
    begin = max(len(head.start), head.end)
    rest = random.choice([message[begin:], other[begin:], other[random.randrange(len(other)) :], b"1}", b"[]}", b'",[]]}'])
    message = message[:begin] + rest
    assert head.fits(message)
    try:
        update = dialect.decode(message)
    except ValueError:
        return
    assert has_twins(message) or dialect.route(message) in (None, head.key)
    assert has_twins(message) or (isinstance(update, Update) and update.keys == (head.key,)), message


class Sink:
    """A subscription's place: keeps what it is told, in order."""

    asks = False

    def __init__(self):
        self.told = []

    def put(self, source, messages, received_ns):
        self.told += [(message, received_ns) for message in messages]
        return 0.0

    def __getattr__(self, name):
        return lambda source, *told: self.told.append((name, *told))


def told(name, reads, learns):
    """What becomes of *reads* with or without heads: what sinks are told, counters, and how often `route` was asked."""
    bench, asked = Bench(name, 4), 0

    def route(message):
        nonlocal asked
        asked += 1
        return bench.dialect.route(message)

    sinks = [Sink(), Sink()]
    for sink, wanted in zip(sinks, (bench.subscriptions[0]._topics, bench.subscriptions[0]._topics[::2])):
        bench.connection.want(sink, frozenset(wanted), Deadline(bench.clock, 60.0))
    bench.converse()
    bench.session.dialect = attrs.evolve(bench.dialect, route=route, head=bench.dialect.head if learns else None)
    for messages in reads:
        bench.clock.at += 0.01
        bench.connection._deliver(messages, bench.clock.time_ns())
    counters = {**bench.connection.stats()["counters"]}
    bench.end()
    return [sink.told for sink in sinks], counters, asked


def routed(name):
    """Pushes that `told` has a sink for and that have heads, by key; and those that have none, and what is no push."""
    dialect, *_ = dialects(name)
    split = dialect.split or list
    by_key = {}
    for message in split(pushed(name)):
        if dialect.head(message) is not None:
            by_key.setdefault(dialect.route(message), []).append(message)
    return list(by_key.values()), split(documented(name))


@pytest.mark.parametrize("name", NAMES)
def test_heads_change_nothing(name):
    """Of reads of any size, with any messages among them, each goes where it would have gone, in order."""
    random, (updates, odd) = Random(1), routed(name)
    reads = []
    for _ in range(60):
        alike = random.choice(updates)
        for _ in range(random.randrange(1, 4)):
            read = [random.choice(alike) for _ in range(random.randrange(1, 3 * BUSY))]
            for _ in range(random.choice([0, 0, 1, 3])):
                read.insert(random.randrange(len(read) + 1), random.choice([*random.choice(updates), *odd]))
            reads.append(read)
    (with_heads, counters, few), (without, expected, many) = told(name, reads, True), told(name, reads, False)
    assert (without, expected) == (with_heads, counters)
    assert few < many


@pytest.mark.parametrize("name", NAMES)
def test_route_is_not_asked_for_what_begins_alike(name):
    """After a busy read of one topic, messages of it are not looked at any more; a read of few messages changes nothing."""
    one, other, *_ = sorted(routed(name)[0], key=len, reverse=True)
    first, few, second = [one[-1]] * BUSY, [other[0]] * 2, [one[-1]] * 100
    once = told(name, [first], True)[2]
    assert BUSY <= once
    assert once + 2 == told(name, [first, few, second], True)[2]
