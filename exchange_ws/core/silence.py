"""
Which topics have fallen silent on a connection that lives: a server may forget a subscription, and will not tell.

Pure bookkeeping, told the time. It is not told of each message, which would cost the inbound path more than it gives: the
session asks once in `LOOK_S` seconds which topics have had news since the last look, so all moments here are as coarse.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchange_ws.core.messages import Topic

__all__ = ["LOOK_S", "Watch"]

LOOK_S = 10.0  # between two looks; each costs one message of every topic the slow way through the session
FEWEST = 6  # sightings before a topic has a usual pace
FACTOR = 6.0  # a silence of so many times the longest usual pause is no pause
MISSED = 3.0  # a pace that the vendor states may fail so often: pushes are late, and some exchanges drop them when busy
ALONE = 2.0  # times as long where nothing else flows on the connection: then it may be the market that has nothing to say
FADES = 0.98  # of the longest pause at each sighting: half of it is forgotten after 34 of them
STEADY = 100  # sightings after a report, until that is forgotten too


class Pulse:
    """Of one topic: when it had news last, its longest pause lately, sightings since the last report, and reports."""

    __slots__ = ("last", "longest", "reports", "seen", "silent")

    def __init__(self, now: float) -> None:
        self.last = now
        self.longest = LOOK_S
        self.seen = 0
        self.reports = 0
        self.silent = False


class Watch:
    """The topics of one link, and when each had news. Not thread-safe: its session's driver guards it."""

    def __init__(self) -> None:
        self._pulses: dict[Topic, Pulse] = {}
        self._silent = 0  # of these

    def __bool__(self) -> bool:
        return bool(self._pulses)

    @property
    def any_silent(self) -> bool:
        """Whether the news of some topic are awaited."""
        return self._silent > 0

    def begin(self, topics: Iterable[Topic], now: float) -> None:
        """
        *topics* are on the wire; those that are known stay as they are.

        Not watched is an account's topic without a stated pace: orders come when one is placed, and no pause is unusual.
        """
        for topic in topics:
            if topic not in self._pulses and (topic.pace_s is not None or not topic.account):
                self._pulses[topic] = Pulse(now)

    def end(self, topics: Iterable[Topic]) -> None:
        """*topics* are not on the wire any more."""
        for topic in topics:
            pulse = self._pulses.pop(topic, None)
            if pulse is not None:
                self._silent -= pulse.silent

    def clear(self) -> None:
        """The link is gone."""
        self._pulses.clear()
        self._silent = 0

    def excuse(self, seconds: float) -> None:
        """For so long nobody listened."""
        for pulse in self._pulses.values():
            pulse.last += seconds

    def heard(self, topic: Topic, now: float) -> bool:
        """*topic* has news; whether it was taken for silent."""
        pulse = self._pulses.get(topic)
        if pulse is None:
            return False
        was_silent, pulse.silent = pulse.silent, False
        self._silent -= was_silent
        if not was_silent:
            pulse.longest = max(LOOK_S, now - pulse.last, FADES * pulse.longest)
        pulse.last = now
        pulse.seen += 1
        if pulse.seen >= STEADY:
            pulse.reports = 0
        return was_silent

    def silent(self, now: float) -> list[tuple[Topic, float]]:
        """Topics that have fallen silent since the last look, and when each had news last. Each is told once a silence."""
        newest = max((pulse.last for pulse in self._pulses.values()), default=now)
        found = []
        for topic, pulse in self._pulses.items():
            if pulse.silent or now - pulse.last <= _patience(topic, pulse, newest > now - 2 * LOOK_S):
                continue
            found.append((topic, pulse.last))
            self._fall(pulse)
            pulse.seen = 0
            pulse.reports += 1
        return found

    def _fall(self, pulse: Pulse) -> None:
        self._silent += not pulse.silent
        pulse.silent = True


def _patience(topic: Topic, pulse: Pulse, others_flow: bool) -> float:
    """Seconds of silence that *topic* may have; twice as many after each false alarm."""
    if topic.pace_s is not None:
        return MISSED * topic.pace_s + LOOK_S
    if pulse.seen < FEWEST:
        return float("inf")
    return FACTOR * pulse.longest * 2.0**pulse.reports * (1.0 if others_flow else ALONE)
