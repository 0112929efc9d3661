"""Replays of a recording that is kept as it is: the words of its format are promised, and so is what is read from them."""

from __future__ import annotations

import json
import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from held_clock import Aside, HeldClock
from log_lines import Log

import exchange_ws
from exchange_ws.core.replay import Replay
from exchange_ws.errors import ConnectionClosed, SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import Gap, LastPrice, Trade
from exchange_ws.exchanges.whitebit.client import WhiteBIT

#: A line a second, from the first second of 2026: the last price and the trades of one market, with a lost connection.
KEPT = Path(__file__).parent.parent / "recordings" / "version_1.jsonl"
BEGIN = 1767225600
#: When prices were received, in seconds since then; between the second and the third the connection was lost.
PRICES = [19, 22, 35, 40]


def whitebit(about: Any) -> Any:
    assert "whitebit" == about["exchange"]
    return WhiteBIT._dialects(about)


@pytest.fixture
def play() -> Iterator[Callable[..., Replay]]:
    """Makes replays, of the kept recording if it is not told, which end with the test."""
    made = []

    def play(path: Path = KEPT, **options: Any) -> Replay:
        made.append(Replay(path, whitebit, **{"speed": None, **options}))
        return made[-1]

    yield play
    for replay in made:
        replay.close()


def with_lines(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    """The kept recording, changed."""
    lines = change([json.loads(line) for line in KEPT.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# What is read ----------------------------------------------------------------------------------------------------------------


def test_kept_recording(play):
    """The first version of the format is read for ever: prices, trades and gaps, with the times that stand there."""
    day = play()
    events = list(day)
    prices = [event for event in events if isinstance(event, LastPrice)]
    trades = [event for event in events if isinstance(event, Trade)]
    assert PRICES == [event.received - BEGIN for event in prices]
    assert (26, 18552123, 18552339) == (len(trades), trades[0].id, trades[-1].id)
    assert [True] * 2 + [False] * 24 == [trade.snapshot for trade in trades]
    assert [event.received for event in events] == sorted(event.received for event in events)
    assert {"messages": 27, "subscriptions": 2, "connections": 1, "unsaid": 0} == day.stats()
    assert (None, 1.0, "whitebit") == (day.cut, day.fraction, day.exchange)
    lost, back = BEGIN + 22.0, BEGIN + 28.0
    assert [Gap("reconnect", lost, back), Gap("reconnect", lost, back, repaired=True)] == day.gaps
    assert [("lastprice BTC_USDT",), ("trades BTC_USDT",)] == [subscription.topics for subscription in day.subscriptions]
    assert [day.gaps[0]] == [event.gap for event in prices if event.gap is not None]


def test_gaps_as_items(play):
    """Who asks for gaps has them where they were."""
    received = [getattr(item, "received", None) for item in play(gaps=True)]
    places = [place for place, moment in enumerate(received) if moment is None]
    assert [(BEGIN + 22.0, BEGIN + 30.0)] == [(received[places[0] - 1], received[places[-1] + 1])]
    assert 2 == len(places)


def test_ways_to_read(play):
    """`get`, `get_many`, `collect` and the loop share the events between them, each once and in order."""
    everything, day = play().collect(), play()
    got = [day.get(), *day.get_many(limit=2), *day.get_many(), next(day), *day.collect(n=3), *day]
    assert everything == got
    with pytest.raises(SubscriptionClosed, match="has ended"):
        day.get()
    assert [] == day.collect()


def test_what_is_not_known_is_left_out(play, tmp_path):
    """Lines and names that a later version may add change nothing."""

    def change(lines):
        return [lines[0], *[{**line, "news": 1} for line in lines[1:]], lines[-1]]

    def more(lines):
        changed = change(lines)
        return [*changed[:5], {"t": lines[4]["t"], "news": 1}, {"t": lines[4]["t"], "c": 1, "news": 1}, *changed[5:]]

    assert (
        play().collect()
        == play(with_lines(tmp_path / "a", change)).collect()
        == play(with_lines(tmp_path / "b", more)).collect()
    )


@pytest.mark.parametrize(
    "wrong",
    [{"c": 9, "up": True}, {"c": 1, "sub": 9, "want": []}, {"c": 1, "connection": 5, "endpoint": "no"}],
)
def test_what_is_not_understood_is_a_cut(play, tmp_path, wrong):
    """A line that cannot be played ends the replay, with what was before it, and is told of."""
    path = with_lines(tmp_path / "a", lambda lines: [*lines[:20], {"t": lines[20]["t"], **wrong}, *lines[20:]])
    day = play(path)
    with Log() as log:
        events = list(day)
        log.wait("a line that is not understood")
    assert play().collect(n=len(events)) == events
    assert (True, True) == (len(events) > 0, "what follows is missing" in str(day.cut))


def test_cut_in_the_middle(play, tmp_path):
    """Of a file that is cut all is read that is there, and the cut is told of: in the log, and to who asks."""
    path = tmp_path / "a"
    path.write_bytes(KEPT.read_bytes()[:-3000])
    with Log() as log:
        day = play(path)
        events = list(day)
        assert f"{path}: it ends early; what follows is missing" == log.wait("ends early") == day.cut
    assert play().collect(n=len(events)) == events


def test_missed_messages_are_a_gap(play, tmp_path):
    """Where the recording itself lacks messages, each subscription of that connection has a gap."""
    missed = {"t": (BEGIN + 20) * 10**9, "c": 1, "missed": 5, "since": (BEGIN + 19) * 10**9}
    path = with_lines(tmp_path / "a", lambda lines: [*lines[:20], missed, *lines[20:]])
    gap = Gap("overflow", BEGIN + 19.0, BEGIN + 20.0, dropped=None)
    day = play(path)
    day.collect()
    assert [gap, gap] == [subscription.gaps[0] for subscription in day.subscriptions]


# When it is read -------------------------------------------------------------------------------------------------------------


class LeapingClock(HeldClock):
    """A clock that nobody waits for: it goes on to where it is waited for."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        assert timeout is not None
        self._now += timeout
        return False


@pytest.mark.parametrize("speed", [1.0, 10, 0.5])
def test_speed(play, speed):
    """An event comes when it came then, in seconds since the first line after the head, divided by the speed."""
    clock = LeapingClock()
    began = clock.now()
    late = [(event.received - BEGIN - 1) / speed - (clock.now() - began) for event in play(speed=speed, clock=clock)]
    assert [0.0] * 30 == pytest.approx(late, abs=1e-6)


def test_as_fast_as_possible(play):
    """Without a speed nothing waits, whatever the clock says."""
    clock = HeldClock()
    assert 30 == len(play(clock=clock).collect())
    assert 0 == clock.waits


def test_timeouts(play):
    """What is not due in time is no event; with the same replay one can go on."""
    clock = HeldClock()
    day = play(speed=1.0, clock=clock)
    with pytest.raises(UpdateTimeout):
        day.get_nowait()
    assert [] == day.collect(seconds=0.0)
    clock.move(clock.now() + 100.0)
    assert 30 == len(day.collect())


def test_close_ends_a_wait(play):
    """Closing a replay ends the wait of another thread for its next event; nothing more is read."""
    clock = HeldClock()
    day = play(speed=1.0, clock=clock)
    reading = Aside(lambda: list(day))
    clock.until_waited(1)
    day.close()
    assert [] == reading.result()
    day.close()
    with day, pytest.raises(SubscriptionClosed):
        day.get()


def test_close_where_a_line_is_played(play, monkeypatch):
    """As a signal's function does, on the very thread that reads: it waits for nothing, and ends what is read."""
    day = play()
    day.get_many()
    play_line = day._play
    monkeypatch.setattr(day, "_play", lambda: (day.close(), play_line()))
    assert [] == day.collect()
    with pytest.raises(SubscriptionClosed):
        day.get()


@pytest.mark.parametrize("silent", [True, False])
def test_silence_is_as_it_was_judged(play, tmp_path, silent):
    """A topic has fallen silent where the recording says so, and not where its times might."""

    def change(lines):
        (finish,) = (number for number, line in enumerate(lines) if "finish" in line)
        later = lines[finish - 1]["t"] + 3600 * 10**9
        more = [{"t": later, "c": 1, "look": {"lastprice BTC_USDT": 7.5}}] if silent else []
        for line in lines[finish:]:
            line["t"] = later
        return [*lines[:finish], {"t": later, "c": 1, "tick": True}, *more, {"t": later, "c": 1, "act": True}, *lines[finish:]]

    before = play()
    before.collect()
    day = play(with_lines(tmp_path / "a", change))
    day.collect()
    found = [(gap.reason, gap.since) for gap in day.gaps if gap not in before.gaps]
    assert ([("silent", day.time - 7.5)] if silent else []) == found


def test_threads_share_it(play):
    """Threads that read the same replay get each event once."""
    day = play()
    readers = [Aside(lambda: list(day)) for _ in range(4)]
    got = [event for reader in readers for event in reader.result()]
    assert sorted(map(repr, play())) == sorted(map(repr, got))


def interrupted(day: Replay, every: int) -> tuple[list[Any], int]:
    """The events of *day*, read with Ctrl-C before one line of our code, the next one after twice as many, and so on."""
    events: list[Any] = []
    lines, interrupts = 0, 0
    package = str(Path(exchange_ws.__file__).parent)

    def trace(frame: Any, kind: str, argument: Any) -> Any:
        nonlocal lines, interrupts, every
        if not frame.f_code.co_filename.startswith(package) or frame.f_code.co_name == "__del__":
            return None
        # A tracer is also called before a with-statement's way out, where no signal's function is: the lock would stay taken.
        # And what is on its way to the caller is the caller's.
        words = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if kind == "line" and not words.startswith(("with ", "return events")):
            lines += 1
            if lines == every:
                lines, every, interrupts = 0, 2 * every, interrupts + 1
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        while True:
            try:
                events += day.get_many()
            except KeyboardInterrupt:
                sys.settrace(trace)
            except SubscriptionClosed:
                return events, interrupts
    finally:
        sys.settrace(former)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a tracer meets no signal's places on a with-statement's way out here")
def test_interrupted_anywhere(play):
    """Ctrl-C costs no event and gives none twice, wherever it comes; the gaps are those that were."""
    whole = play()
    everything = whole.collect()
    for every in range(1, 4000, 101):
        day = play()
        events, interrupts = interrupted(day, every)
        assert (everything, whole.gaps, None, True) == (events, day.gaps, day.cut, interrupts > 0), every


def test_closed_after_an_interrupt(play, monkeypatch):
    """What was halfway is not read again in a replay that is closed."""
    day = play()
    day.get()
    with monkeypatch.context() as patch:
        patch.setattr(day, "_play", lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            day.collect()
    day.close()
    assert [] == day.collect()


def test_gone_after_an_interrupt(play, tmp_path, monkeypatch):
    """A recording that has to be read again, and is not there any more, is cut there, and that is said."""
    path = with_lines(tmp_path / "a", lambda lines: lines)
    day = play(path)
    day.get()
    with monkeypatch.context() as patch:
        patch.setattr(day, "_play", lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            day.collect()
    path.rename(tmp_path / "b")
    assert ([], True) == (day.collect(), "what follows is missing" in str(day.cut))


def test_collect_for_a_time(play):
    """Without a speed, all is due at once; the time that was asked for is kept all the same."""

    class Clock(HeldClock):
        def now(self) -> float:
            self._now += 1.0
            return self._now

    assert 1 <= len(play(clock=Clock()).collect(seconds=5.0)) < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_forked_child(play):
    """A child reads nothing of the file that it shares with its parent, and says so; the parent misses nothing."""
    day = play()
    first = day.get_many()
    child = os.fork()
    if child == 0:
        try:
            day.get()
        except ConnectionClosed:
            os._exit(7)
        os._exit(1)
    assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert play().collect() == first + day.collect()


# What is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"speed": 0}, {"speed": -1.0}, {"speed": float("inf")}, {"speed": True}, {"numbers": int}, {"raw": 1}, {"gaps": None}],
)
def test_senseless_options(play, options):
    """An argument that makes no sense is named, with what it takes."""
    with pytest.raises(UsageError, match=f"^{next(iter(options))}=.*: takes "):
        play(**options)


def test_what_cannot_be_replayed(tmp_path):
    """No file, no path, or an exchange that is not known here."""
    with pytest.raises(UsageError, match="No such file"):
        exchange_ws.replay(tmp_path / "a")
    with pytest.raises(UsageError, match="takes the path of a recording"):
        exchange_ws.replay(5)  # type: ignore[arg-type]
    path = with_lines(tmp_path / "a", lambda lines: [{**lines[0], "exchange": "mtgox"}, *lines[1:]])
    with pytest.raises(UsageError, match="'mtgox': no such exchange; there are bitzoom"):
        exchange_ws.replay(path)


def test_shown(play):
    """What a replay shows of itself: how far it is."""
    day = play()
    day.get()
    assert f"<Replay of {KEPT}: whitebit, 3 messages, {100 * day.fraction:.0f} % read>" == repr(day)
    assert 0.1 < day.fraction < 0.5
    day.close()
    assert "closed>" in repr(day)
    assert BEGIN + 12.0 == day.time
