"""
Every wait ends: many threads use one client at random while its exchange fails at random, and somebody watches the clock.

Each call must return, or raise an error of ours, by its deadline and `GRACE_S`; no thread may outlive its client. If a call
does not end, the stacks of all threads are printed, and the run has failed. From the project's folder:

    python tests/properties/every_wait_ends.py --minutes 10 --seed 1 [--exchange whitebit]

It prints calls by outcome, connections that were lost, threads at start and end, the longest overrun of a deadline, and hangs;
its exit code is 1 if anything was not as it must be. The seed decides who does what, not how the threads take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import json
import logging
import math
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# This checkout is what is tried, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws import Backoff
from exchange_ws.errors import ExchangeError, InternalError, UsageError
from exchange_ws.sandbox import Sandbox

FACTS = Path(__file__).parents[1] / "contract" / "facts"
EXCHANGES = tuple(sorted(path.stem for path in FACTS.glob("*.json")))
SWITCH_S = 1e-6  # between two threads' turns: as often as the interpreter looks
GRACE_S = 4.0  # beyond a deadline, for a busy machine; below the grace of the engine itself, whose error would hide a hang
LOOK_S = 0.05  # between two looks of the watchdog
TIMEOUTS_S = (0.001, 0.02, 0.1, 0.5, 1.0)
CALL_LIMIT_S = 10.0  # of the sandbox's server
CLOSE_S = 3.0  # what the last close of a client is given
TOPICS = ("topic", "same channel", "another channel", "deltas", "refused topic", "private topic")
CODES = (1000, 1001, 1008, 1011, 1012, 1013)


class Bugs(logging.Handler):
    """What the package logs of bugs of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []  # appended to by any thread

    def emit(self, record: logging.LogRecord) -> None:
        if "a bug of this package" in record.getMessage():
            error = record.exc_info[1] if record.exc_info else None
            self.seen.append(f"{record.getMessage()}\n{''.join(traceback.format_exception(None, error, None))}")


class Watch:
    """
    The calls that are under way, and what became of all others.

    A thread of its own looks at the deadlines, so that a deadlock of all others is seen too.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all of this
        self._under_way: dict[int, tuple[str, float]] = {}  # by thread: what, and its deadline by `time.monotonic`
        self._done = False
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.longest_overrun = (0.0, "none")  # seconds, and of what
        self.hangs = 0
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def call(self, what: str, within: float, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
        """The result of a call that has to end *within* so many seconds; None if it raised an error that it may raise."""
        me = threading.get_ident()
        deadline = time.monotonic() + within
        with self._changed:
            outer = self._under_way.get(me)  # a callback's call within a call
            self._under_way[me] = (what, deadline)
        result, outcome, wrong = None, "returned", None
        try:
            result = function(*args, **params)
        except StopIteration:
            outcome = "StopIteration"
        except Exception as error:
            outcome = type(error).__name__
            if not isinstance(error, ExchangeError) or isinstance(error, (InternalError, UsageError)):
                wrong = f"{what}: {''.join(traceback.format_exception(None, error, error.__traceback__))}"
        with self._changed:
            if outer is None:
                del self._under_way[me]
            else:
                self._under_way[me] = outer
            self.outcomes[what, outcome] += 1
            self.longest_overrun = max(self.longest_overrun, (time.monotonic() - deadline, f"{what} within {within:.3f} s"))
            if wrong is not None:
                self.wrong.append(wrong)
        return result

    def hung(self, what: str) -> None:
        """Something has not ended: say where everybody is."""
        with self._changed:
            self._hung(what)

    def _hung(self, what: str) -> None:
        """Requires `_changed`."""
        self.hangs += 1
        self.wrong.append(f"{what} has not ended")
        sys.stderr.write(f"{what} has not ended; all threads:\n")
        for thread in threading.enumerate():
            sys.stderr.write(f"  {thread.ident:#x} is {thread.name}\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(sys.__stderr__)

    @property
    def failed(self) -> bool:
        with self._changed:
            return bool(self.wrong)

    def _look(self) -> None:
        with self._changed:
            while not self._done:
                now = time.monotonic()
                late = [(thread, what) for thread, (what, due) in self._under_way.items() if now > due + GRACE_S]
                for thread, what in late:
                    self._under_way[thread] = (what, math.inf)  # told once
                    self._hung(what)
                self._changed.wait(LOOK_S)


class Round:
    """One client from its first call to its last, used by several threads at a time."""

    def __init__(self, box: Sandbox, facts: dict[str, Any], watch: Watch, chance: random.Random, seconds: float) -> None:
        self.box = box
        self.facts = facts
        self.watch = watch
        self.until = time.monotonic() + seconds
        self.closed = threading.Event()  # a call of `close` has returned
        self.over = threading.Event()  # nobody is to change the weather any more
        self.subscriptions: list[Any] = []  # any caller appends; none is ever taken out
        self.ws = box.client(
            timeout=1.0,
            reconnect=chance.choice([Backoff(0.01, 0.1)] * 8 + [Backoff(0.01, 0.1, give_up_after=0.3), False]),
            ping_interval=0.3,
            pong_timeout=chance.choice([0.05, 0.3]),
            queue_size=chance.choice([1, 4, 65536]),
            on_state=chance.choice([None, lambda state: None]),
        )

    # Callers ---------------------------------------------------------------------------------------------------------------

    def use(self, chance: random.Random) -> None:
        """One thread's life: calls at random, the last ones after the client was closed."""
        while not self.closed.is_set() and not self.watch.failed:
            if self.ws.state == "closed":  # lost for good: every call would say so at once
                self.until = 0.0
            if time.monotonic() > self.until and chance.random() < 0.2:
                self.close(chance.choice([None, 0.001, 0.2, CLOSE_S]))
            else:
                chance.choice(CALLS)(self, chance, chance.choice(TIMEOUTS_S))
        for what in (CALLS[0], CALLS[2]):
            what(self, chance, 0.5)

    def request(self, chance: random.Random, timeout: float) -> None:
        args = self.facts[chance.choice(["query", "query", "refused query", "order"])]
        self.watch.call("request", timeout, self.ws.request, *args, timeout=timeout)

    def ping(self, chance: random.Random, timeout: float) -> None:
        self.watch.call("ping", timeout, self.ws.ping, timeout)

    def subscribe(self, chance: random.Random, timeout: float) -> None:
        words, params = self.facts[chance.choice(TOPICS)]
        overflow = chance.choice([None, None, "drop_newest", "raise", "block"])
        made = self.watch.call(
            "subscribe", timeout, self.ws.subscribe, *words, **params, timeout=timeout, overflow=overflow, gaps=True
        )
        if made is not None:
            self.subscriptions.append(made)
            if chance.random() < 0.1:
                made.call(functools.partial(self.called_back, random.Random(chance.random())))

    def called_back(self, chance: random.Random, event: Any) -> None:
        if chance.random() < 0.1:
            chance.choice(CALLS[:4])(self, chance, 0.02)

    def unsubscribe(self, chance: random.Random, timeout: float) -> None:
        """One that anybody made, perhaps ended already; by the subscription or by the client."""
        if self.subscriptions:
            chosen = chance.choice(self.subscriptions)
            end = chance.choice([chosen.unsubscribe, lambda timeout: self.ws.unsubscribe(chosen, timeout=timeout)])
            self.watch.call("unsubscribe", timeout, end, timeout)

    def get(self, chance: random.Random, timeout: float) -> None:
        if self.subscriptions:
            chosen = chance.choice(self.subscriptions)
            self.watch.call("get", timeout, chance.choice([chosen.get, lambda t: chosen.get_many(3, t)]), timeout)

    def collect(self, chance: random.Random, timeout: float) -> None:
        if self.subscriptions:
            self.watch.call("collect", timeout, chance.choice(self.subscriptions).collect, 5, timeout)

    def iterate(self, chance: random.Random, timeout: float) -> None:
        """Without a deadline: the end of the subscription or of the client ends it."""
        if self.subscriptions:
            chosen = chance.choice(self.subscriptions)
            left = max(0.0, self.until - time.monotonic())
            self.watch.call("iterate", left + CLOSE_S, take, chosen, chance.randrange(1, 20))

    def look(self, chance: random.Random, timeout: float) -> None:
        self.watch.call("look", 0.0, lambda: (self.ws.state, self.ws.stats(), self.ws.subscriptions, repr(self.ws)))

    def connect(self, chance: random.Random, timeout: float) -> None:
        self.watch.call("connect", timeout, self.ws.connect, timeout)

    def close(self, timeout: float | None) -> None:
        self.watch.call("close", 5.0 if timeout is None else timeout, self.ws.close, timeout)
        self.closed.set()

    # The exchange ----------------------------------------------------------------------------------------------------------

    def trouble(self, chance: random.Random) -> None:
        """The exchange's life: one fault after the other, at a pace of this round's own."""
        pause = chance.choice([0.01, 0.1, 0.3])
        while not self.over.wait(pause * chance.uniform(0.5, 1.5)):
            self.watch.call("trouble", CALL_LIMIT_S, chance.choice(FAULTS), self.box, chance)

    def play(self, seeds: Sequence[str]) -> None:
        """The round: one seed for the trouble, one for each caller."""
        trouble = threading.Thread(target=self.trouble, args=(random.Random(seeds[0]),), name="trouble", daemon=True)
        callers = [
            threading.Thread(target=self.use, args=(random.Random(seed),), name=f"caller {seed}", daemon=True)
            for seed in seeds[1:]
        ]
        for thread in (trouble, *callers):
            thread.start()
        # The callers close it as a rule; if all of them iterate, nobody does.
        self.closed.wait(max(0.0, self.until + 1.0 - time.monotonic()))
        closer = threading.Thread(target=self.close, args=(CLOSE_S,), name="closer", daemon=True)
        closer.start()  # and not here, where a deadlock would hold up the report of it
        for thread in (closer, *callers):
            self.wait_for(thread, CLOSE_S + 2 * GRACE_S)
        self.over.set()
        self.wait_for(trouble, CALL_LIMIT_S + GRACE_S)

    def wait_for(self, thread: threading.Thread, seconds: float) -> None:
        end = time.monotonic() + seconds
        while thread.is_alive() and not self.watch.failed:
            thread.join(LOOK_S)
            if time.monotonic() > end:
                self.watch.hung(thread.name)


def take(subscription: Any, count: int) -> None:
    for _, _ in zip(range(count), subscription):
        pass


CALLS: tuple[Callable[[Round, random.Random, float], None], ...] = (
    Round.request,
    Round.ping,
    Round.subscribe,
    Round.unsubscribe,
    Round.get,
    Round.collect,
    Round.iterate,
    Round.look,
    Round.connect,
)


def half_open(box: Sandbox, chance: random.Random) -> None:
    box.freeze()
    if chance.random() < 0.5:
        box.thaw()


FAULTS: tuple[Callable[[Sandbox, random.Random], None], ...] = (
    lambda box, chance: box.drop(),
    lambda box, chance: box.close(chance.choice(CODES)),
    lambda box, chance: box.restart(chance.choice([0.0, 0.05, 0.3])),
    half_open,
    lambda box, chance: box.thaw(),
    lambda box, chance: box.delay(chance.choice([0.0, 0.0, 0.01, 0.2])),
    lambda box, chance: box.reorder(chance.choice([0, 2, 5])),
    lambda box, chance: box.reject(chance.randrange(1, 4)),
    lambda box, chance: box.refuse(chance.randrange(1, 3), status=chance.choice([403, 429, 503])),
    lambda box, chance: box.forget_subscriptions(),
    lambda box, chance: box.split(chance.random() < 0.5),
    lambda box, chance: box.garbage(),
)


@contextlib.contextmanager
def switching(seconds: float) -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class Result:
    """What a run has shown."""

    def __init__(self, exchange: str, seed: int) -> None:
        self.name = f"{exchange}, seed {seed}"
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.rounds = 0
        self.losses = 0
        self.threads = (0, 0)  # at its start and at its end
        self.longest_overrun = (0.0, "none")
        self.hangs = 0

    def report(self) -> str:
        calls: dict[str, Counter[str]] = {}
        for (what, outcome), count in self.outcomes.items():
            calls.setdefault(what, Counter())[outcome] += count
        lines = [f"{self.name}: {sum(self.outcomes.values()):,} calls in {self.rounds:,} rounds"]
        for what, outcomes in sorted(calls.items()):
            told = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common())
            lines.append(f"  {what:12} {sum(outcomes.values()):7,}: {told}")
        lines.append(f"connections lost and made again: {self.losses:,}")
        lines.append(f"threads at start and end: {self.threads[0]} and {self.threads[1]}")
        lines.append(f"longest overrun of a deadline: {self.longest_overrun[0]:.3f} s ({self.longest_overrun[1]})")
        lines.append(f"hangs: {self.hangs}")
        lines += self.wrong
        return "\n".join(lines)


def run(exchange: str, seconds: float, seed: int, threads: int = 6, round_s: float = 3.0) -> Result:
    """Rounds against *exchange* for so many *seconds*, until one goes wrong."""
    facts = {"refused query": None, **json.loads((FACTS / f"{exchange}.json").read_text("utf-8"))}
    result = Result(exchange, seed)
    bugs = Bugs()
    logger = logging.getLogger("exchange_ws")
    usual, logger.propagate = logger.propagate, False  # thousands of losses are told, as they should be
    logger.addHandler(bugs)
    end = time.monotonic() + seconds
    try:
        with switching(SWITCH_S), Watch() as watch:
            before = set(threading.enumerate())
            while time.monotonic() < end and not watch.failed:
                # A sandbox for each round: what is left of its troubles is not the next one's.
                seeds = [f"{seed}/{exchange}/{result.rounds}/{n}" for n in range(threads + 2)]
                chance = random.Random(seeds[0])
                with Sandbox(exchange, seed=seed, tick=0.02, limits=chance.random() < 0.2) as box:
                    played = Round(box, facts, watch, chance, chance.uniform(0.2, round_s))
                    played.play(seeds[1:])
                    result.losses += 0 if watch.failed else played.ws.stats()["reconnects"]
                left = [thread for thread in threading.enumerate() if thread not in before]
                for thread in left:
                    played.wait_for(thread, GRACE_S)
                result.rounds += 1
            result.threads = (len(before), threading.active_count())
    finally:
        logger.removeHandler(bugs)
        logger.propagate = usual
    result.outcomes = watch.outcomes
    result.longest_overrun = watch.longest_overrun
    result.hangs = watch.hangs
    result.wrong = watch.wrong + bugs.seen
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="in all, shared by the exchanges")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--exchange", choices=EXCHANGES, action="append", help="may be repeated; all of them if not given")
    parser.add_argument("--threads", type=int, default=6)
    options = parser.parse_args(arguments)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    chosen = options.exchange or EXCHANGES
    logging.getLogger().addHandler(logging.NullHandler())  # or losses, and a server's vain writes, are all told on stderr
    failed = False
    for exchange in chosen:
        result = run(exchange, options.minutes * 60.0 / len(chosen), seed, options.threads)
        sys.stdout.write(result.report() + "\n")
        sys.stdout.flush()
        failed = failed or bool(result.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
