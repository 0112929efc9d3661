"""Streams of every exchange in one loop, over the whole stack."""

from __future__ import annotations

import contextlib
import select
from itertools import repeat
from typing import Any

import pytest
from exchange_facts import CLIENTS, STEPS, facts_of, raised
from wire_peers import LIMIT_S

from exchange_ws import Backoff, merge
from exchange_ws.errors import ConnectFailed, SubscriptionClosed
from exchange_ws.sandbox import Sandbox


@pytest.fixture
def exchanges():
    """Of each exchange its sandbox, moving by `step` only, a client, and a subscription to its first topic."""
    with contextlib.ExitStack() as stack:
        made: dict[str, tuple[Any, Any, Any]] = {}
        for name in sorted(CLIENTS):
            box = stack.enter_context(Sandbox(name, seed=7, tick=None, limits=False))
            ws = stack.enter_context(box.client(reconnect=Backoff(0.01, 0.02)))
            words, params = facts_of(name)["topic"]
            made[name] = box, ws, ws.subscribe(*words, **params)
        yield made


def until(merged: Any, *wanted: str) -> list[Any]:
    """Events until each of these exchanges has sent one."""
    events: list[Any] = []
    while not {event.exchange for event in events} >= set(wanted):
        events.append(merged.get(LIMIT_S))
    return events


def test_one_loop(exchanges):
    """Events of all exchanges come in one loop, and each says whose it is; those of one exchange are in order."""
    streams = [stream for _, _, stream in exchanges.values()]
    with merge(*streams) as merged:
        for box, _, _ in exchanges.values():
            box.step(STEPS)
        events = until(merged, *exchanges)
    for name in exchanges:
        mine = [event for event in events if event.exchange == name]
        assert ({facts_of(name)["symbol"]}, sorted(event.received for event in mine)) == (
            {event.symbol for event in mine},
            [event.received for event in mine],
        )
    assert [False] * len(streams) == [stream.closed for stream in streams]


def test_descriptor(exchanges):
    """One descriptor tells of all exchanges, over and over."""
    merged = merge(*(stream for _, _, stream in exchanges.values()))
    descriptor = merged.fileno()
    for name, (box, ws, _) in exchanges.items():
        for _, other, _ in exchanges.values():
            other.ping()  # what was sent has come
        if select.select([descriptor], [], [], 0)[0]:
            merged.get_many(timeout=0.0)
        box.step(STEPS)
        ws.ping()
        assert [descriptor] == select.select([descriptor], [], [], LIMIT_S)[0]
        assert {name} == {event.exchange for event in until(merged, name)}


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_a_loss_of_one(exchanges, name):
    """A lost connection of one exchange is a gap in its own events, and no other's."""
    merged = merge(*(stream for _, _, stream in exchanges.values()))
    for box, _, _ in exchanges.values():
        box.step(STEPS)
    until(merged, *exchanges)
    lost = exchanges[name][0]
    lost.drop()
    lost.wait_received(facts_of(name)["subscribe"], 2)
    gap = None
    while gap is None:
        for box, ws, _ in exchanges.values():
            box.step(STEPS)
            ws.ping()
        for event in merged.get_many(timeout=LIMIT_S):
            assert event.gap is None or event.exchange == name
            gap = gap or event.gap
    assert ("reconnect", ["reconnect"]) == (gap.reason, [gap.reason for gap in merged.gaps])


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_closing_one_client(exchanges, name):
    """The loop goes on with the others, and ends when the last client is closed."""
    merged = merge(*(stream for _, _, stream in exchanges.values()))
    exchanges[name][1].close()
    others = [other for other in exchanges if other != name]
    for other in others:
        exchanges[other][0].step(STEPS)
    until(merged, *others)
    for other in others:
        exchanges[other][1].close()
    assert (True, [], True) == ({event.exchange for event in merged} <= set(exchanges), list(merged), merged.closed)
    with pytest.raises(SubscriptionClosed):
        merged.get()


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_one_that_gives_up(exchanges, name):
    """An exchange that is gone for good is told of once, by the name of its stream; the others go on."""
    box = exchanges[name][0]
    words, params = facts_of(name)["topic"]
    with box.client(reconnect=Backoff(0.01, 0.02, give_up_after=0.05)) as ws:
        stream = ws.subscribe(*words, **params)
        merged = merge(stream, *(other for key, (_, _, other) in exchanges.items() if key != name))
        box.restart(2 * LIMIT_S)
        failed = raised(lambda: [merged.get(LIMIT_S) for _ in repeat(None)])
        others = [other for other in exchanges if other != name]
        for other in others:
            exchanges[other][0].step(STEPS)
        until(merged, *others)
    assert (ConnectFailed, True, False, True) == (
        type(failed),
        str(failed).startswith(stream.name),
        merged.closed,
        stream.closed,
    )
