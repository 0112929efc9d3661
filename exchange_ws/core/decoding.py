"""
From messages to events, for one subscription: what is decoded, in which words, and what was already told.

No threads, no clock: its subscription's lock guards it. It runs on the consumer's thread, so what nobody reads is never parsed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from exchange_ws.core.dialect import Dialect, Prices, Reader, Reading, parse
from exchange_ws.core.messages import Topic, Update
from exchange_ws.core.recovery import Answer, Asked, Ledger, Records, States
from exchange_ws.events import Event, Gap, Numbers

__all__ = ["UNREADABLE", "Decoder"]

#: What decoding raises for what an exchange sends against its documentation, or ours against what it sends. RecursionError:
#: data that is nested as deep as can be parsed can be neither compared nor shown.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)

NO_READERS: Mapping[str, Reader] = {}  # known by identity: those of a dialect may be found out as they are needed
NO_KEYS: Mapping[str | None, bytes] = {}
REMEMBERED = 256  # ids a symbol, at least; a replay has at most 100 trades, all of them among the last that were delivered
WATCHED = 64  # gaps that may still turn out repaired, the latest: a link that flaps makes one after the other
SYMBOLS = 10_000  # of one subscription whose ids are remembered, the latest to come up: more than an exchange has


class Replay:
    """
    What is known of one symbol whose exchange replays its recent events whenever the topic is stated.

    `owed` counts statements without their replay. It is -1 while a replay has come before the reply to its statement.
    """

    __slots__ = ("begun", "former", "ids", "owed")

    def __init__(self) -> None:
        self.begun = False
        self.owed = 0
        # The latest ids, and those before them: to forget a whole set at a time costs nothing for each trade.
        self.ids: set[Any] = set()
        self.former: set[Any] = set()

    def usual(self, events: Sequence[Any]) -> bool:
        """Whether there is nothing to be done for *events* but to remember that they were told."""
        if self.owed > 0 or not self.begun:
            return False
        for event in events:
            if event.id in self.ids or event.id in self.former or event.id is None:
                return False
        return True

    def remember(self, events: Sequence[Any]) -> None:
        """*events* are told."""
        for event in events:
            self.ids.add(event.id)
        if len(self.ids) >= max(REMEMBERED, len(events)):
            self.former, self.ids = self.ids, set()

    def forget(self, events: Sequence[Any]) -> None:
        """*events*, which were remembered, are not told after all."""
        for event in events:
            self.ids.discard(event.id)
            self.former.discard(event.id)

    def take(self, events: Sequence[Any], repeats: bool) -> tuple[Sequence[Any], bool, bool]:
        """Events not seen yet; whether these were a replay; whether it reaches back to something seen."""
        came = [event.id for event in events if event.id is not None]  # who has none may be new each time
        new = events
        if not (self.ids.isdisjoint(came) and self.former.isdisjoint(came)):
            new = [event for event in events if event.id not in self.ids and event.id not in self.former]
        overlaps = len(new) < len(events)
        replayed = (overlaps and not repeats) or self.owed > 0 or not self.begun
        if replayed:
            self.owed -= 1
            self.begun = True
            for event in new:
                event.snapshot = True
        self.ids.update(came)
        if len(self.ids) >= max(REMEMBERED, len(came)):  # the next one may repeat as many as this one has
            self.former, self.ids = self.ids, set()
        return new, replayed, overlaps


class Watch:
    """A gap that is repaired once each of its `unproven` topics and symbols turns out to have missed nothing."""

    __slots__ = ("gap", "told", "unproven")

    def __init__(self, gap: Gap, unproven: set[bytes]) -> None:
        self.gap = gap
        self.unproven = unproven
        self.told: set[bytes] = set()  # of those that had events since; what reaches back to these proves nothing any more


class Tally:
    """
    What a subscription has counted. It outlives it: `Client.stats` tells of those that are gone too.

    Written under the subscription's `_consuming`; they are whole numbers, which anybody may read.
    """

    __slots__ = ("dropped", "gaps", "malformed", "repaired")

    def __init__(self) -> None:
        self.dropped = 0  # messages, by overflows
        self.gaps = 0
        self.malformed = 0  # updates
        self.repaired = 0  # of the gaps

    def counters(self) -> dict[str, int]:
        """By their names in `Client.stats`."""
        return {"dropped": self.dropped, "gaps": self.gaps, "repaired": self.repaired, "malformed": self.malformed}


class Ahead:
    """
    What is known of the messages that wait to be read: for `latest`, where an event is made of all that came before it.

    Who asks again and again goes on where he was, so that each message is parsed once for him, however many wait.
    """

    __slots__ = ("event", "names", "states")

    def __init__(self, states: dict[bytes, dict[str, Any]], names: Mapping[bytes, tuple[bytes, ...]], event: Any) -> None:
        self.states = states
        self.names = names
        self.event = event


class Decoder:
    """Reads for one subscription."""

    def __init__(self, dialect: Dialect, topics: Iterable[Topic], numbers: Numbers) -> None:
        self.tally = Tally()
        self._decode = dialect.decode
        self._interpret = dialect.interpret
        self._parse = parse
        self._direct = dialect.direct
        self._field = "" if dialect.direct is None else dialect.direct.field
        self._readers = NO_READERS  # the short way, of those updates that may take it
        self._reading = Reading(received=0.0, numbers=numbers, topics={})
        self._symbols: frozenset[str | None] | None = None
        self._replaying = False
        self._replays: dict[bytes, Replay] = {}
        self._replaying_keys = NO_KEYS  # of topics of one channel that replay, by symbol
        self._names: Mapping[bytes, tuple[bytes, ...]] = {}  # keys of topics by the exchange's ids
        self._catch_up = dialect.catch_up
        self._ledgers: dict[bytes, Ledger] = {}  # of topics that can be asked for what they missed
        self._ledger_keys: dict[tuple[str, str | None], bytes] = {}  # the same by what events have: channel and symbol
        self._watches: list[Watch] = []
        self.merging: Mapping[bytes, Topic] = {}  #: topics whose events tell what their updates add up to, by key; replaced
        self.lacking: set[bytes] = set()  #: keys of those of which a delta came without what it adds to
        self._told: Any = None  # the newest event, kept where some topic merges
        self.keep(topics)

    def keep(self, topics: Iterable[Topic]) -> Sequence[Event]:
        """The subscription has these topics from now on. Events that were held back of the others."""
        kept = {topic.key: topic for topic in topics}
        symbols = frozenset(topic.symbol for topic in kept.values())
        self._reading.topics = kept
        self._symbols = None if None in symbols else symbols
        self._replaying = any(topic.replays for topic in kept.values())
        self.merging = {key: topic for key, topic in kept.items() if topic.merges}
        self.lacking &= self.merging.keys()
        self._reading.states = {key: state for key, state in self._reading.states.items() if key in self.merging}
        left = [event for key, ledger in self._ledgers.items() if key not in kept for event in ledger.release()]
        known = {key: self._ledgers.get(key) or self._new_ledger(topic) for key, topic in kept.items()}
        self._ledgers = {key: ledger for key, ledger in known.items() if ledger is not None}
        self._ledger_keys = {(kept[key].label, kept[key].symbol): key for key in self._ledgers}
        if not any(topic.key == topic.wildcard and topic.replays for topic in kept.values()):
            self._replays = {key: replay for key, replay in self._replays.items() if key in kept}
            for watch in self._watches:
                watch.unproven &= kept.keys()
        self._shorten()
        return left

    def _shorten(self) -> None:
        """Which updates may take the short way? Those of which no more is to be remembered than that they were told."""
        topics = self._reading.topics.values()
        alone = self._symbols is not None and len({topic.label for topic in topics}) == 1
        self._replaying_keys = {topic.symbol: topic.key for topic in topics} if self._replaying and alone else NO_KEYS
        ambiguous = any(len(keys) > 1 for keys in self._names.values())
        long = self.merging or self._ledgers or ambiguous or (self._replaying and not alone)
        direct = None if long else self._direct
        if direct is not None and direct.labels.isdisjoint(topic.label for topic in topics):
            direct = None
        self._readers = NO_READERS if direct is None else direct.readers
        if direct is not None and not all(topic.standalone for topic in topics):
            self._reading.prices = Prices(self._reading.numbers).__getitem__

    def _new_ledger(self, topic: Topic) -> Ledger | None:
        if self._catch_up is None or not self._catch_up.queries(topic, False):
            return None
        state = self._catch_up.state(topic)
        return Records() if state is None else States(state)

    def name(self, names: Mapping[bytes, tuple[bytes, ...]]) -> None:
        """From here on the exchange sends topics under these ids."""
        if names is not self._names:
            self._names = names
            self._shorten()

    def decode(self, message: bytes, received_ns: int) -> Sequence[Any]:
        """
        The events of *message*, none if it has none for this subscription or all of them were told already.

        Raises
        ------
        One of `UNREADABLE`
            What an exchange sends that its documentation does not have.
        """
        # hot path
        if self._readers is not NO_READERS:
            try:
                body = self._parse(message)
                self._reading.received = received_ns / 1e9
                events = self._readers[body[self._field]](body, self._reading)
                return self._once(self._replaying_keys[events[0].symbol], None, events) if self._replaying else events
            except UNREADABLE:  # it is not as usual
                pass
        return self._at_length(message, received_ns)

    def _at_length(self, message: bytes, received_ns: int) -> Sequence[Any]:
        """`decode`, not the short way."""
        update = self._decode(message)
        if update.__class__ is not Update:
            return ()
        self._reading.received = received_ns / 1e9
        events = self._events(update, self._reading, self._names)
        if self.merging:
            self._look_for_lack(update, events)
        if self._replaying:
            events = self._once(update.keys[0], update.wildcard, events)
        if self._ledgers:
            events = self._entered(events)
        return events

    @property
    def reads_on(self) -> bool:
        """Whether `read_on` has a use: what it tells can be taken back."""
        return self._readers is not NO_READERS or not (self.merging or self._replaying or self._ledgers)

    def read_on(self, run: Sequence[tuple[int, Any]], told: deque[Sequence[Any]], timeless: bool) -> None:
        """
        Append to *told* the events of each message of *run*, up to the first one that is not as usual.

        Which that is, is for `decode` to find out. `unread` takes back what is remembered of the others. With *timeless*, one
        that has events with a time is not as usual.

        Raises
        ------
        One of `UNREADABLE`
            Just that: such a message, or what is none.
        """
        # hot path: parsed first and read then, each takes a sixth less than by turns (the processor's caches)
        readers, field, reading = self._readers, self._field, self._reading
        replaying, replays, keys = self._replaying, self._replays, self._replaying_keys
        bodies: deque[Any] = deque()
        if readers is not NO_READERS:
            try:
                bodies.extend(map(self._parse, [payload for _, payload in run]))
            except UNREADABLE:
                pass  # those before it are there
        for (received_ns, payload), body in zip_longest(run, bodies):
            try:
                reading.received = received_ns / 1e9
                events = readers[body[field]](body, reading)
            except UNREADABLE:
                if replaying or not isinstance(payload, bytes):
                    return
                events = self._at_length(payload, received_ns)
            if not events or (timeless and events[-1].time is not None):
                return  # without events nothing would tell whether it counts as taken
            if not replaying:
                told.append(events)
                continue
            key = keys[events[0].symbol]
            replay = replays[key]
            if not replay.usual(events) or any(key not in watch.told for watch in self._watches):
                return
            told.append(events)  # first: Ctrl-C may come between these, and what is remembered and not told would be lost
            replay.remember(events)

    def unread(self, events: Sequence[Any]) -> None:
        """What `read_on` told of one message is not told after all."""
        if self._replaying:
            self._replays[self._replaying_keys[events[0].symbol]].forget(events)

    def peek(self, message: bytes, received_ns: int, names: Mapping[bytes, tuple[bytes, ...]] | None = None) -> Any:
        """The newest event of *message*, remembering nothing; None if there is none. *names*: as of its arrival."""
        update = self._decode(message)
        reading = self._reading_of_its_own(received_ns, {})
        events = self._events(update, reading, names or {}) if isinstance(update, Update) else ()
        return events[-1] if events else None

    def _reading_of_its_own(self, received_ns: int, states: dict[bytes, dict[str, Any]]) -> Reading:
        """For who only looks. Ours is not lent to him: Ctrl-C could come before it is what it was."""
        return Reading(received_ns / 1e9, self._reading.numbers, self._reading.topics, states)

    def ahead(self) -> Ahead:
        """Where who looks at messages that were not read yet begins: at what was."""
        return Ahead(self._reading.states.copy(), self._names, self._told)

    def look(self, ahead: Ahead, message: bytes, received_ns: int) -> None:
        """*message* is the next one; remembers it there, and nothing here."""
        try:
            update = self._decode(message)
            reading = self._reading_of_its_own(received_ns, ahead.states)
            events = self._events(update, reading, ahead.names) if isinstance(update, Update) else ()
            if events:
                ahead.event = events[-1]
        except UNREADABLE:
            ahead.states = self._known_beside(message, ahead.states, ahead.names)

    def forget(self) -> None:
        """Deltas may be missing here."""
        self._reading.states = {}

    def skip(self, message: bytes) -> None:
        """*message* could not be read: what it would have changed is not known any more, all if it does not tell."""
        if self.merging:
            self._reading.states = self._known_beside(message, self._reading.states, self._names)

    def _known_beside(
        self, message: bytes, states: Mapping[bytes, dict[str, Any]], names: Mapping[bytes, tuple[bytes, ...]]
    ) -> dict[bytes, dict[str, Any]]:
        """Those of *states* that *message*, which could not be read, would not have changed."""
        keys = {key for sent in self.keys_of(message) for key in names.get(sent, (sent,))}
        return {key: state for key, state in states.items() if keys and key not in keys}

    def keys_of(self, message: bytes) -> tuple[bytes, ...]:
        """The topics that *message* has news of, where `route` does not tell."""
        try:
            update = self._decode(message)
        except UNREADABLE:
            return ()
        return update.keys if isinstance(update, Update) else ()

    def stated(self, topics: Iterable[Topic]) -> None:
        """*topics* were stated and confirmed: those that replay will do so now."""
        for topic in topics:
            if topic.replays:
                whole = topic.key == topic.wildcard
                for replay in self._replays.values() if whole else [self._replays.setdefault(topic.key, Replay())]:
                    replay.owed += 1

    def asked(self, question: Asked) -> None:
        """What a topic missed is being asked for."""
        ledger = self._ledgers.get(question.topic.key)
        if ledger is not None:
            ledger.ask()

    def answered(self, answer: Answer, received_ns: int) -> Sequence[Event]:
        """
        What *answer* shows as missed and was not told yet, and the updates that waited for it.

        Raises
        ------
        One of `UNREADABLE`
            The exchange answered what its documentation does not have; the same without `results` ends the wait.
        """
        key = answer.topic.key
        ledger = self._ledgers.get(key)
        if ledger is None or self._catch_up is None:
            return ()
        missed: Sequence[Event] = ()
        if answer.results is not None:
            self._reading.received = received_ns / 1e9
            found = self._catch_up.read(answer.topic, answer.results, self._reading)
            if answer.first:
                ledger.begin(found)
            else:
                missed, proven = ledger.answer(found)
                self._prove(key, proven)
        waited = ledger.release()
        self._tell(key, [*missed, *waited])
        return [*missed, *waited]

    def release(self) -> Sequence[Event]:
        """What waits for answers that will not come."""
        found = []
        for key, ledger in self._ledgers.items():
            waited = ledger.release()
            self._tell(key, waited)
            found += waited
        return found

    def lost(self, gap: Gap) -> Sequence[Event]:
        """
        Messages may be missing here; a replay, or an answer, that reaches back to what was told proves that none is.

        The events that were held back, which stand before the gap.
        """
        self.forget()
        for replay in self._replays.values():
            replay.owed = 0
        waited = self.release()
        begun = {key for key, replay in self._replays.items() if replay.begun}
        topics = self._reading.topics.values()
        # A topic that replays nothing, or of which nothing is known yet, could not be proven whole.
        if all(
            topic.key in self._ledgers or (topic.replays and (topic.key in begun or topic.key == topic.wildcard))
            for topic in topics
        ):
            self._watches = [*self._watches, Watch(gap, begun | self._ledgers.keys())][-WATCHED:]
        return waited

    def _tell(self, key: bytes, events: Sequence[Event]) -> None:
        """*events* of *key* are told."""
        if events:
            for watch in self._watches:
                watch.told.add(key)

    def _prove(self, key: bytes, proven: bool) -> None:
        """*key* has missed nothing since what was told of it last, or, if not *proven*, it may have."""
        left = []
        for watch in self._watches:
            if key not in watch.unproven:
                left.append(watch)
            elif proven and key not in watch.told:
                watch.unproven.discard(key)
                if watch.unproven:
                    left.append(watch)
                else:
                    watch.gap.repaired = True
                    self.tally.repaired += 1
        self._watches = left

    def _events(self, update: Update, reading: Reading, names: Mapping[bytes, tuple[bytes, ...]]) -> Sequence[Event]:
        if names:
            update.keys = names.get(update.keys[0], update.keys)
        events = self._interpret(update, reading)
        if len(update.keys) > 1 and self._symbols is not None:
            return [event for event in events if event.symbol in self._symbols]
        return events

    def _look_for_lack(self, update: Update, events: Sequence[Event]) -> None:
        """After an update: is what its topics add up to known?"""
        for key in update.keys:
            if key in self.merging:
                (self.lacking.discard if key in self._reading.states else self.lacking.add)(key)
        if events:
            self._told = events[-1]

    def _once(self, key: bytes, wildcard: bytes | None, events: Sequence[Event]) -> Sequence[Event]:
        topic = self._reading.topics.get(key) or self._reading.topics.get(wildcard or b"")
        if topic is None or not topic.replays:
            return events
        replay = self._replays.get(key)
        if replay is None:
            replay = self._replays[key] = Replay()
            if len(self._replays) > SYMBOLS:
                del self._replays[next(iter(self._replays))]
        new, replayed, overlaps = replay.take(events, topic.repeats)
        if replayed and self._watches:
            # Or nothing was traded before, and nothing since.
            self._prove(key, overlaps or not (events or replay.ids or replay.former))
        if self._watches:
            self._tell(key, new)
        return new

    def _entered(self, events: Sequence[Event]) -> Sequence[Event]:
        """*events* without those that an answer told already, or that have to wait for one; with those that no longer have."""
        told: list[Event] = []
        for event in events:
            key = self._ledger_keys.get((event.channel, event.symbol)) or self._ledger_keys.get((event.channel, None))
            if key is None:
                told.append(event)
                continue
            now = self._ledgers[key].take(event)
            self._tell(key, now)
            told += now
        return told
