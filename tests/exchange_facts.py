"""
What the suites that run against every exchange share: which there are, what each has for their words, and small helpers.

What differs, such as the name of a topic, stands in ``contract/facts/<name>.json``; `tests/contract/test_contract.py` says what
each word means.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire_peers import LIMIT_S

import exchange_ws
from exchange_ws.errors import ExchangeError, SubscriptionClosed, UpdateTimeout

FACTS = Path(__file__).parent / "contract" / "facts"
CLIENTS = exchange_ws.clients()
#: Seconds in which something that does not wait is done; far below `LIMIT_S`.
SOON_S = 8.0
LONG_S = 60.0
#: Steps of the markets after which the topic has had several events.
STEPS = 40


def facts_of(name: str) -> dict[str, Any]:
    """What this exchange has for the words of the suites."""
    path = FACTS / f"{name}.json"
    assert path.exists(), f"an exchange needs its facts: write {path.relative_to(FACTS.parents[2])}"
    facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return facts


class States:
    """A user's `on_state`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self, state: str) -> None:
        self.told.append(state)
        self._new.put(state)

    def wait(self, state: str, within: float = LIMIT_S) -> None:
        """Go on to the next time that it was told *state*; `queue.Empty` if that is not within so many seconds."""
        end = time.monotonic() + within
        while self._new.get(timeout=max(0.0, end - time.monotonic())) != state:
            pass


def raised(call: Callable[..., Any], *args: Any, **params: Any) -> Any:
    """The error of ours that *call* raises."""
    with pytest.raises(ExchangeError) as caught:
        call(*args, **params)
    return caught.value


def there(ws: Any, subscription: Any) -> list[Any]:
    """All events that the exchange has sent until now."""
    ws.ping()
    try:
        return list(subscription.get_many(timeout=0.0))
    except (UpdateTimeout, SubscriptionClosed):
        return []


def later(call: Callable[[], Any]) -> queue.SimpleQueue[Any]:
    """Run *call* on a thread; the queue gives its result, or its error."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put(call())
        except ExchangeError as error:
            done.put(error)

    threading.Thread(target=run).start()
    return done
