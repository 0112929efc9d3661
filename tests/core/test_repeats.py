"""Events that updates repeat: each is told once."""

from __future__ import annotations

from exchange_ws.core.decoding import Replay
from exchange_ws.events import Trade


def trades(*numbers: int | None) -> list[Trade]:
    return [Trade("x", "c", None, None, 0.0, None, None, number, None, None, None) for number in numbers]


def test_events_that_any_update_repeats():
    """Each is told once; only those of the first update are of a replay."""
    replay = Replay()
    first, *_ = replay.take(trades(1, 2), repeats=True)
    second, replayed, overlaps = replay.take(trades(1, 2, 3), repeats=True)
    assert ([True, True], [3], [False], False, True) == (
        [event.snapshot for event in first],
        [event.id for event in second],
        [event.snapshot for event in second],
        replayed,
        overlaps,
    )


def test_events_without_ids():
    """They cannot be known again, and are told each time."""
    replay = Replay()
    assert [2, 2] == [len(replay.take(trades(None, None), repeats=True)[0]) for _ in range(2)]


def test_long_repetitions():
    """An update may repeat more than is remembered usually."""
    replay = Replay()
    long = list(range(1000))
    replay.take(trades(*long), repeats=True)
    assert [[1000], [1001]] == [
        [event.id for event in replay.take(trades(*range(last - 999, last + 1)), repeats=True)[0]] for last in (1000, 1001)
    ]
