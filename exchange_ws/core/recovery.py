"""
What a lost connection cost, asked for: which questions are on their way, and what of their answers is news.

A topic of an account is not replayed by its exchange, but some can be queried. When such a topic is stated, before the first
time and after each later one, the session puts the dialect's questions (`Dialect.catch_up`), and its subscriptions find the
answers in their buffers, at their place in the stream. What was told already, the decoder knows.

No threads, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable, Union

import attrs

from exchange_ws.core.dialect import Found
from exchange_ws.core.messages import Topic
from exchange_ws.events import Event

__all__ = ["Answer", "Asked", "Inquiries", "Ledger", "Records", "States"]

REMEMBERED = 256  # ids, at least; an answer has at most 100 records, all of them among the latest
HELD = 256  # events of a topic that wait for the answer; more, and they are told before it
STATES = 10_000  # of one topic; an account with more has some of them told again

_NONE: Any = object()  # no state, where None is one: it has ended


@attrs.frozen
class Asked:
    """In the stream: what *topic* missed is being asked for. Its `Answer` follows, or another loss, or the end."""

    topic: Topic


@attrs.frozen
class Answer:
    """
    In the stream: what the exchange answered of *topic*; `results` is None if it did not, or refused.

    `first`: asked before the topic was stated for the first time, to know what is older than the stream.
    """

    topic: Topic
    first: bool
    results: tuple[Any, ...] | None = attrs.field(repr=False)


@attrs.define
class Inquiry:
    """The questions about one topic, by the serials of their commands, and who wants to know."""

    topic: Topic
    first: bool
    sinks: tuple[Any, ...]
    results: dict[int, tuple[Any] | None]  #: None: not answered yet


class Inquiries:
    """The questions on their way, of one session."""

    def __init__(self) -> None:
        self._by_serial: dict[int, Inquiry] = {}  # of those without an answer

    def put(self, topic: Topic, first: bool, sinks: tuple[Any, ...], serials: Iterable[int]) -> None:
        """The commands with these *serials* ask about *topic*."""
        inquiry = Inquiry(topic, first, sinks, dict.fromkeys(serials))
        self._by_serial.update(dict.fromkeys(inquiry.results, inquiry))

    def __contains__(self, serial: int) -> bool:
        return serial in self._by_serial

    def missed(self) -> set[Topic]:
        """The topics that lost something, and whose questions have no answer yet."""
        return {inquiry.topic for inquiry in self._by_serial.values() if not inquiry.first}

    def settled(self, serial: int, result: tuple[Any] | None) -> tuple[tuple[Any, ...], Answer] | None:
        """One question has its *result*, or None and will have none. The answer, and for whom, once it can be given."""
        inquiry = self._by_serial.pop(serial)
        inquiry.results[serial] = result
        results = [known[0] for known in inquiry.results.values() if known is not None]
        if result is not None and len(results) < len(inquiry.results):
            return None
        for other in inquiry.results:  # where one has no result, the others are of no use
            self._by_serial.pop(other, None)
        return inquiry.sinks, Answer(inquiry.topic, inquiry.first, None if result is None else tuple(results))

    def clear(self) -> list[int]:
        """Forget all; the serials that were awaited."""
        serials = list(self._by_serial)
        self._by_serial.clear()
        return serials


class Records:
    """
    What was told of a topic whose events are told once each, and known by their ids: fills, executed orders.

    While its answer is awaited, events are held back, since what was missed comes before them.
    """

    def __init__(self) -> None:
        self._begun = False  # what was there before the stream is known
        # The latest ids, and those before them: to forget a whole set at a time costs nothing for each event.
        self._ids: set[Any] = set()
        self._former: set[Any] = set()
        self._restored: set[Any] = set()  # told from the last answer: their updates may be on their way
        self._held: list[Event] | None = None  # None: nothing is awaited

    def begin(self, found: Found) -> None:
        """This is what there was before the stream; of use only if nothing of the stream was told yet."""
        if not self._anchored:
            self._begun = True
            self._know(found.events)

    def ask(self) -> None:
        """Hold events back from here on, with those that are held already."""
        self._held = self._held or []

    def take(self, event: Event) -> list[Event]:
        """An update came; the events to be told now."""
        if self._held is None:
            return self._once([event])
        self._held.append(event)
        return self.release() if len(self._held) > HELD else []

    def release(self) -> list[Event]:
        """No answer is awaited any more; what was held back."""
        held, self._held = self._held or [], None
        return self._once(held)

    def answer(self, found: Found) -> tuple[list[Event], bool]:
        """What *found* shows as missed, and whether nothing else can have been."""
        events = found.events
        at = next((at for at, event in enumerate(events) if self._knows(event)), None)
        missed: list[Event] = []
        proven = False
        if at is not None:
            # What is older than all that is known was there before the stream.
            missed = [event for event in events[at:] if not self._knows(event)]
            proven = found.whole or found.latest
        elif self._anchored:
            missed = list(events)
            proven = found.whole and not (self._ids or self._former)
        # Else nobody knows where the stream began: what is there may be years old.
        self._begun = True
        self._know(events)
        self._restored = {_id(event) for event in missed}
        return missed, proven

    @property
    def _anchored(self) -> bool:
        """Whether it is known what is older than the stream, or something of the stream was told."""
        return self._begun or bool(self._ids or self._former)

    def _knows(self, event: Event) -> bool:
        return _id(event) in self._ids or _id(event) in self._former

    def _know(self, events: Iterable[Event]) -> None:
        self._ids.update(map(_id, events))
        if len(self._ids) >= REMEMBERED:
            self._former, self._ids = self._ids, set()

    def _once(self, events: list[Event]) -> list[Event]:
        new = [event for event in events if _id(event) not in self._restored]
        self._restored.difference_update(map(_id, events))
        self._know(new)
        return new


class States:
    """
    What was told last of each thing of a topic whose events are states: balances, open orders.

    Parameters
    ----------
    state
        Of an event: which thing it is of, and its state; None if that has ended.
    """

    def __init__(self, state: Callable[[Event], tuple[Any, Any]]) -> None:
        self._state = state
        self._begun = False  # all that is there is in `_last`
        self._last: dict[Any, Any] = {}
        self._restored: dict[Any, Any] = {}  # told from the last answer: their updates may be on their way

    def begin(self, found: Found) -> None:
        """This is what there was before the stream."""
        self._begun = True
        for key, value in map(self._state, found.events):
            if key not in self._last:
                self._remember(key, value)

    def ask(self) -> None:
        """Nothing is held back: a state comes after the one before it wherever the answer is."""

    def take(self, event: Event) -> list[Event]:
        """An update came; the events to be told."""
        key, value = self._state(event)
        self._remember(key, value)
        return [] if self._restored.pop(key, _NONE) == value else [event]

    def release(self) -> list[Event]:
        """See `ask`."""
        return []

    def answer(self, found: Found) -> tuple[list[Event], bool]:
        """Whatever *found* shows in another state than was told last, and whether that is all there is to tell."""
        there = {self._state(event)[0]: event for event in found.events}
        gone = [key for key in self._last if key not in there]
        ended = [(self._state(event), event) for event in found.endings or ()]
        ends = {key: event for (key, value), event in ended if value is None}
        news = [event for key, event in ends.items() if key in self._last and key not in there]
        self._restored = {}
        for key, event in there.items():
            value = self._state(event)[1]
            if self._last.get(key, _NONE) != value:
                news.append(event)
                self._restored[key] = value
                self._remember(key, value)
        # What was there before the stream, without its being known, may have ended.
        proven = (self._begun or found.endings is None) and found.whole and all(key in ends for key in gone)
        for key in gone:
            if found.whole or key in ends:
                del self._last[key]
                if key in ends:
                    self._restored[key] = None
        self._begun = self._begun or found.whole
        return news, proven

    def _remember(self, key: Any, value: Any) -> None:
        if value is None:
            self._last.pop(key, None)
            return
        self._last[key] = value
        if len(self._last) > STATES:
            del self._last[next(iter(self._last))]
            self._begun = False  # how that one ends cannot be told any more


#: What a decoder remembers of a topic that can be asked for.
Ledger = Union[Records, States]


def _id(event: Any) -> Any:
    return event.id


def in_order(topics: Iterable[Topic]) -> Sequence[Topic]:
    """*topics* so that the same are asked for in the same order each time."""
    return sorted(topics, key=lambda topic: topic.key)
