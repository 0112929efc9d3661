"""
Every exchange against odd messages, for a moment: what `fuzz.py` does for minutes, with the same claims (`fuzz_targets.py`).

What was found so stands as a literal beside the tests of the module that it was found in.
"""

from __future__ import annotations

import contextlib
from random import Random

import attrs
import pytest
from fuzz_mutations import changed, changed_near
from fuzz_targets import Bench, check_dialect, dialects, documented, places, pushed, targets
from hypothesis import given, settings
from hypothesis import strategies as st

import exchange_ws
from exchange_ws.core.messages import Reply, Update

NAMES = sorted(exchange_ws.clients())
TARGETS = targets()
#: Inputs of one target; a few of them take milliseconds.
EXAMPLES = 50


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 2**32), steps=st.sampled_from([0, 0, 0, 1, 2]))
def test_route_is_never_wrong(name, number, steps):
    """
    Whatever becomes of a documented message, `route` gives the key that `decode` gives or none, and only declared errors come.

    Its members in any order, in any spelling, with data that imitates the beginning and the end of other messages.
    """
    random, messages = Random(number), documented(name)
    route = dialects(name)[0].route
    message = random.choice([message for message in messages if route(message)] if number % 4 else messages)
    key = route(message)
    if key is not None:
        message = changed_near(message, key, random, messages)
    for _ in range(steps):
        message = changed(message, random, messages)
    for dialect in dialects(name):
        check_dialect(dialect, message)


@pytest.mark.parametrize("name", NAMES)
def test_documented_messages_are_understood(name):
    """What all this begins with is read, and some of it is news: else nothing here would be about anything."""
    decode, split = dialects(name)[0].decode, dialects(name)[0].split
    updates = replies = 0
    for message in documented(name):
        for part in [message] if split is None else split([message]):
            with contextlib.suppress(ValueError):
                understood = decode(part)
                updates += isinstance(understood, Update)
                replies += isinstance(understood, Reply)
    assert (True, True) == (updates > 10, replies > 5)


@pytest.mark.parametrize("name", NAMES)
def test_engine_begins_with_subscriptions(name):
    """What the engine is fuzzed with: links that are open, with routes, whose documented messages reach the consumers."""
    taken = 0
    for how, _ in enumerate(places(name)):
        bench = Bench(name, how | 4)
        assert ("open", True) == (bench.session.state, bool(bench.session.routes))
        for message in pushed(name):
            bench.hear(message)
        taken += sum(subscription.stats()["delivered"] for subscription in bench.subscriptions)
        bench.end()
    assert taken > 10


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=EXAMPLES, deadline=None)
@given(number=st.integers(0, 2**32))
def test_nothing_is_raised(name, number):
    """The claims of each target hold for documented inputs and for odd ones."""
    target, random = TARGETS[name], Random(number)
    data = random.choice(target.seeds)
    for _ in range(3):
        target.run(data)
        data = target.mutate(data, random, target.seeds)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_route_is_seen(name, monkeypatch):
    """A `route` that looks for its key anywhere is found out by a message whose data imitate another."""
    (dialect, *_), messages = dialects(name), documented(name)
    keyed = [(message, dialect.route(message)) for message in messages if dialect.route(message) is not None]
    assert keyed

    def anywhere(message: bytes) -> bytes | None:
        return next((key for whole, key in keyed if key is not None and key in message), dialect.route(message))

    careless = attrs.evolve(dialect, route=anywhere)
    random = Random(1)

    def look() -> None:
        for _ in range(20_000):
            check_dialect(careless, changed(random.choice(messages), random, messages))

    with pytest.raises(AssertionError, match="route gives"):
        look()
