"""Several subscriptions, of one client or of many, read as one."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NoReturn

from exchange_ws.core.errand import join
from exchange_ws.core.subscription import JOIN_LIMIT_S, Forked, Stream, Subscription
from exchange_ws.errors import ExchangeError, UsageError
from exchange_ws.events import Gap

if TYPE_CHECKING:
    from exchange_ws.wire.transport import Waker

__all__ = ["Merged", "merge"]


class Turns:
    """
    Which members have something to read, in the order of their turns, and who waits for that.

    It knows members by their numbers, and so is no part of a cycle: a merged stream that is forgotten is gone at once.
    """

    def __init__(self) -> None:
        # Guards the fields below; a leaf, taken by readers that have a member's locks. As in a subscription, it is taken by
        # itself and not through its condition, for Ctrl-C's sake.
        self.guard = threading.Lock()
        self.ready = threading.Condition(self.guard)
        # Members with something to read, or with an end that was not met yet: which is next, and whether one is there, are one
        # step each, however many there are.
        self.queue: OrderedDict[int, None] = OrderedDict()
        self.errors: deque[ExchangeError] = deque()  # that ended members, to be raised before anything else is taken
        self.over = False  # nothing more will come: all members have ended, or `close` was called
        self.waker: Waker | None = None  # of `fileno`

    def __del__(self) -> None:
        # Here and not where the merged stream is deleted: that may be in the middle of a `wake`, with the waker's lock taken.
        waker: Waker | None = getattr(self, "waker", None)
        if waker is not None:
            waker.close()

    @property
    def something(self) -> bool:
        """Requires `guard`. Whether who looks now gets an item, an error, or to know of the end."""
        return bool(self.queue or self.errors or self.over)

    def show(self) -> None:
        """Requires `guard`. Something has changed: wake who waits if there is anything for him."""
        if self.something:
            self.ready.notify_all()
            if self.waker is not None:
                self.waker.wake()
        elif self.waker is not None:
            self.waker.clear()


class Place:
    """A member's place in the turns: its signal. Ctrl-C may come in between, so the queue alone says whether it is there."""

    def __init__(self, turns: Turns, number: int) -> None:
        self._turns = turns
        self._number = number

    def wake(self) -> None:
        """The member has something to read; it is the last whose turn comes."""
        turns = self._turns
        with turns.guard:
            if not turns.over and self._number not in turns.queue:
                turns.queue[self._number] = None
                turns.show()

    def clear(self) -> None:
        """The member has nothing to read."""
        turns = self._turns
        with turns.guard:
            if self._number in turns.queue:
                del turns.queue[self._number]
                turns.show()


class Merged(Stream):
    """
    Several subscriptions read as one. Made by `merge`.

    It is read as a `Subscription` is, and may be shared between threads. Members take turns, one event each: while an event of
    one of them waits, none of the others is served twice, however much it has. Events of one member keep their order. Who of
    them sent an event, `event.exchange`, `event.channel` and `event.symbol` tell; gaps come as the members have them.

    It has no buffer of its own: what is not read yet waits in the members, with their limits and their overflow policies, and
    who reads a member at the same time takes events away from here. Hence `close`, or leaving the ``with``, ends the reading
    and nothing else: members stay subscribed, and can be read directly, or merged anew.

    It ends when all members have ended and were read to their ends. An error that ends one of them is raised here once, at its
    place behind that member's last event, and begins with the member's name; the others are not touched, and who goes on
    reading gets what they have.
    """

    def __init__(self, subscriptions: tuple[Subscription, ...]) -> None:
        #: The members, also those that have ended.
        self.subscriptions = subscriptions
        self._turns = Turns()
        self._guard = self._turns.guard  # guards the next two too
        self._left = set(range(len(subscriptions)))  # members whose end was not met yet
        self._read: set[int] = set()  # members that were read since all that had come was taken last
        self._places = [Place(self._turns, number) for number in self._left]
        self._raw = any(subscription._raw for subscription in subscriptions)
        first, more = subscriptions[0], len(subscriptions) - 1
        super().__init__(f"merge of {first.name}" + (f" and {more} more" if more else ""), first._clock)
        for subscription, place in zip(subscriptions, self._places):
            subscription.watch(place)

    def close(self) -> None:
        """End the reading, here and on every thread that waits; the members go on. Twice is allowed."""
        if self._foreign:
            return
        turns = self._turns
        with turns.guard:
            self._ended = turns.over = self._stopped = True
            self._left.clear()
            turns.queue.clear()
            turns.errors.clear()  # their members have them still
            turns.show()
            caller = self._caller
        for subscription, place in zip(self.subscriptions, self._places):
            subscription.unwatch(place)
        if caller is not None:
            join(caller, JOIN_LIMIT_S)

    def fileno(self) -> int:
        """A descriptor that is readable while events wait, or an error or the end does: for `select`, Tk, Qt and others."""
        from exchange_ws.wire.transport import Waker

        turns = self._turns
        with self._guard:
            if turns.waker is None:
                turns.waker = Waker()
                turns.show()
            return turns.waker.fileno()

    @property
    def latest(self) -> Any:
        """The newest event that came to any of the members, or None. Consumes nothing."""
        came = [(newest[1], number) for number, one in enumerate(self.subscriptions) if (newest := one._newest) is not None]
        return self.subscriptions[max(came)[1]].latest if came else None

    @property
    def topics(self) -> tuple[str, ...]:
        """The members' topics, one member after the other."""
        return tuple(topic for subscription in self.subscriptions for topic in subscription.topics)

    @property
    def sub_ids(self) -> tuple[str, ...]:
        """Ids that the exchanges gave to the topics on the present connections, one member after the other."""
        return tuple(name for subscription in self.subscriptions for name in subscription.sub_ids)

    def _read_so_far(self) -> int:
        return sum(subscription._read_so_far() for subscription in self.subscriptions)

    def qsize(self) -> int:
        """Messages that wait to be read in the members, and events of messages that were read in part."""
        return sum(subscription.qsize() for subscription in self.subscriptions)

    @property
    def dropped(self) -> int:
        """Messages that overflows cost the members so far."""
        return sum(subscription.dropped for subscription in self.subscriptions)

    @property
    def gaps(self) -> list[Gap]:
        """The members' gaps so far, by the time since when something is missing."""
        return sorted((gap for subscription in self.subscriptions for gap in subscription.gaps), key=lambda gap: gap.since)

    @property
    def closed(self) -> bool:
        """Whether nothing more will come: it was closed, or all members were read to their ends."""
        return (self._ended and not self._turns.errors) or self._foreign

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.name}: cannot be copied or sent to another process, as its subscriptions cannot")

    def __repr__(self) -> str:
        names = ", ".join(subscription.name for subscription in self.subscriptions)
        state = "closed, " if self.closed else ""
        return f"<Merged {names}: {state}{self.qsize()} waiting, {self.dropped} dropped>"

    def _take(self) -> Any:
        turns = self._turns
        while True:
            with turns.guard:
                if turns.errors:
                    self.error = error = turns.errors[0]
                    turns.errors.popleft()
                    turns.show()
                    raise error
                if not turns.queue:
                    raise LookupError
                number = next(iter(turns.queue))
                self._read.add(number)
                turns.queue.move_to_end(number)  # before it is served, in one step: what comes next may be Ctrl-C
            subscription = self.subscriptions[number]
            ended = subscription._ended
            try:
                return subscription._take()
            except LookupError:  # there were markers only, or another reader was faster
                if ended:
                    self._part(number)
                else:
                    subscription._park(0.0)  # which has its place told

    def _part(self, number: int) -> None:
        """A member was read to its end."""
        subscription, turns = self.subscriptions[number], self._turns
        subscription.unwatch(self._places[number])  # so that nothing puts it back into the queue
        with turns.guard:
            # In this order, since Ctrl-C may come between: as long as its turn comes again, the rest is done then.
            if number in self._left:  # no other consumer came first, nor `close`
                self._ended = turns.over = len(self._left) == 1
                if subscription._error is not None:
                    turns.errors.append(_named(subscription._error, subscription.name))
                self._left.discard(number)
                turns.show()
            turns.queue.pop(number, None)

    def _park(self, timeout: float | None) -> bool:
        turns = self._turns
        with turns.guard:
            turns.show()  # Ctrl-C may have kept who was here before from it
            if turns.something:
                return True
            if timeout == 0.0:
                return False
            return self._clock.wait(turns.ready, timeout) or turns.something

    def _put_back(self, error: ExchangeError) -> None:
        turns = self._turns
        with turns.guard:
            if not self._stopped:
                turns.errors.appendleft(error.with_traceback(None))
                turns.show()

    def _caught_up(self) -> None:
        with self._turns.guard:
            read, self._read = self._read, set()
        for number in read:
            subscription = self.subscriptions[number]
            subscription._caught_up()
            if subscription._decoder.lacking:  # it may not have been time to ask for it
                with self._turns.guard:
                    self._read.add(number)

    def _log(self) -> None:
        for subscription in self.subscriptions:
            subscription._log()

    def _forked(self) -> None:
        self._guard = self._turns.guard = Forked(self.name)  # type: ignore[assignment]
        if self._turns.waker is not None:
            self._turns.waker.forked()


def merge(*subscriptions: Subscription) -> Merged:
    """
    Read several subscriptions, of one client or of many, in one blocking loop.

    >>> for event in merge(trades, ticker):  # doctest: +SKIP
    ...     print(event.exchange, event.symbol)

    Raises
    ------
    UsageError
        There is none, one of them is something else, or one is given twice.
    """
    takes = "takes the subscriptions that a client's subscribe returns, each once"
    if not subscriptions:
        raise UsageError(f"merge: {takes}; there is none")
    met = set()
    for one in subscriptions:
        if isinstance(one, Merged):
            raise UsageError(f"merge: {takes}, and no merged stream; give it that one's members, *merged.subscriptions")
        if not isinstance(one, Subscription):
            raise UsageError(f"merge: {takes}, not {one!r}")
        if one in met:
            raise UsageError(f"merge: {takes}; {one.name} is there twice")
        met.add(one)
    return Merged(subscriptions)


def _named(error: ExchangeError, name: str) -> ExchangeError:
    """*error*, of a connection perhaps, which may have ended other subscriptions too, as that of the subscription *name*."""
    named = copy.copy(error)
    if not str(error).startswith(name):
        named.args = (f"{name}: {error}", *error.args[1:])
    named.__cause__ = error.__cause__
    return named
