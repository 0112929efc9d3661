"""The sliding log: never more than so many in any window, and a due moment at which there really is room."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_ws.core.budget import Budget
from exchange_ws.core.messages import Pace


def taken(count: int, window_s: float, *moments: float) -> Budget:
    """A budget of which something was taken at each of *moments*."""
    budget = Budget(Pace(count, window_s, "made up"))
    for moment in moments:
        budget.take(moment)
    return budget


def test_no_limit():
    """Without a documented limit there is always room, and it is due now."""
    budget = Budget(None)
    for _ in range(1000):
        budget.take(0.0)
    assert (True, 0.0, 0.0) == (budget.room(0.0) > 1_000_000, budget.due(0.0), budget.due(0.0, reserve=4))


@pytest.mark.parametrize(
    ("now", "room"),
    [
        (2.0, 1),
        (9.5, 1),
        (10.0, 2),  # what was done at 0 is a whole window ago
        (11.0, 3),
    ],
)
def test_room(now, room):
    """Places come back one window after each was taken, not all at once."""
    assert room == taken(3, 10.0, 0.0, 1.0).room(now)


@pytest.mark.parametrize(
    ("reserve", "due"),
    [
        (0, 5.0),  # room for two
        (1, 5.0),
        (2, 10.0),  # one has to come back: that of 0
        (3, 11.0),
        (4, 12.0),
        (5, math.inf),  # never: five of five are reserved
    ],
)
def test_due_with_a_reserve(reserve, due):
    """The reserve is left free: so many more have to come back first."""
    assert due == taken(5, 10.0, 0.0, 1.0, 2.0).due(5.0, reserve)


def test_due_without_room_ever():
    """A reserve as large as the pace leaves nothing to anybody else, at any time; that is no error of arithmetic."""
    assert math.inf == taken(3, 10.0).due(0.0, reserve=4)


@given(
    st.integers(1, 5),
    st.floats(0.001, 1000.0),
    st.lists(st.tuples(st.floats(0.0, 500.0), st.integers(0, 4)), max_size=30),
)
def test_due_is_kept(count, window_s, waits):
    """At the moment that `due` named there is room beyond the reserve, to the last bit: else a timer would spin."""
    budget = Budget(Pace(count, window_s, "made up"))
    now = 0.0
    kept = []
    for wait, reserve in waits:
        now += wait
        due = budget.due(now, min(reserve, count - 1))
        now = max(now, due)
        kept.append(budget.room(now) > min(reserve, count - 1))
        budget.take(now)
    assert [True] * len(waits) == kept


@given(st.integers(1, 5), st.floats(0.001, 100.0), st.lists(st.floats(0.0, 50.0), max_size=40))
def test_never_more_in_any_window(count, window_s, waits):
    """Who takes only when there is room never does more than `count` things in any window."""
    budget = Budget(Pace(count, window_s, "made up"))
    now = 0.0
    done = []
    for wait in waits:
        now += wait
        if budget.room(now) > 0:
            budget.take(now)
            done.append(now)
    most = max((sum(first <= moment < first + window_s for moment in done) for first in done), default=0)
    assert most <= count
