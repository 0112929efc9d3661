"""Short forms of `bounds.py`, whose cases they run: what a session or a subscription holds, container by container."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from exchange_ws.core.budget import Budget
from exchange_ws.core.session import GONE, MALFORMED, TOMBSTONES, Session
from exchange_ws.core.subscription import SLOTS, Subscription


def load() -> Any:
    """The command as a module."""
    path = Path(__file__).parent / "bounds.py"
    spec = importlib.util.spec_from_file_location("soak_bounds", path)
    assert spec is not None
    assert spec.loader is not None
    found, before = importlib.util.module_from_spec(spec), list(sys.path)
    try:
        spec.loader.exec_module(found)
    finally:
        sys.path[:] = before
    return found


BOUNDS = load()


#: Lists that are cut to a number of their own, which other tests hold: of a subscription the newest 10,000 gaps.
CUT = ("_gaps",)


def contents(holder: Session | Subscription) -> dict[str, int]:
    """How much is in each container that has no limit by its kind."""
    found = {}
    slots = [name for kind in type(holder).__mro__ for name in getattr(kind, "__slots__", ()) if not name.startswith("__")]
    slots = [name for name in slots if name not in CUT]
    for name, value in {**vars(holder), **{name: getattr(holder, name) for name in slots}}.items():
        value = value._done if isinstance(value, Budget) else value
        if isinstance(value, (dict, set, list, deque)) and getattr(value, "maxlen", None) is None:
            found[name] = len(value)
    return found


@pytest.fixture
def held(monkeypatch):
    """The sessions and subscriptions that the cases make."""
    made: list[Any] = []
    for kind in (Session, Subscription):
        usual = kind.__init__

        def init(self, *args, usual=usual, **options):
            made.append(self)
            usual(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", init)
    return made


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("rounds", 20),
        ("rounds-ids", GONE + 1),
        ("requests", 20),
        ("timeouts", TOMBSTONES + 4),
        ("timeouts-ids", TOMBSTONES + 4),
        ("unreadable", MALFORMED.count + 1),
        ("gaps", 20),
        ("gaps-oldest", 600),
        ("gaps-newest", 600),
        ("gaps-latest", SLOTS // 2 + 100),
        ("keys", SLOTS + 100),
    ],
)
def test_more_of_it_is_not_held(name, times, held, caplog):
    """However often it is done, no container of ours holds more for it."""
    caplog.set_level("CRITICAL")
    with BOUNDS.CASES[name].make() as do:
        do(times)
        once = [contents(holder) for holder in held]
        do(times // 4)
        assert (1, once) == (len(once), [contents(holder) for holder in held])
