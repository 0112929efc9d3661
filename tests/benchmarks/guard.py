# ruff: noqa: T201  (a command: its output is the point)
"""
Fails where this has become half as fast beside websocket-client's own loop as it was; a step of ``.ci/run``, four seconds.

    python tests/benchmarks/guard.py [--rounds N]

Trades of Bybit V5 through three clients that take turns, in short runs. What counts are medians of the rounds' ratios: of CPU
time, which hardly minds what else the machine does, and of messages a second, in which waiting shows too. A miss is measured
again, and fails when it is one three times: what is half as fast misses each time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.bench.competitors import OURS
from exchange_ws.bench.rounds import take_turns

THEIRS = "websocket-client-skip-utf8"
CASE, MESSAGES, ROUNDS, TRIES = "v5-trades", 15_000, 3, 3
#: Times as good as theirs that a median must be, with CPython 3.11 and orjson. Medians of six runs on 2 cores, one with
#: nothing beside it, five beside three runs of the tests:
#:
#: - CPU: events 3.16 to 3.47, raw 4.53 to 6.58. What is half as fast has at most 1.74 and 3.29. (An earlier version, beside
#:   three processes that did nothing but compute, had three quarters of what it had otherwise.)
#: - messages/s: events 2.47 to 3.33, raw 4.86 to 6.93; single rounds from a half to twice that. Hence half of the middle.
#:
#: Who makes it faster writes greater ones.
LEAST = {
    ("events", "CPU"): 2.1,
    ("raw", "CPU"): 3.5,
    ("events", "messages/s"): 1.6,
    ("raw", "messages/s"): 2.8,
}


def misses(rounds: int) -> Iterator[str]:
    """What is not reached; all that is measured is printed."""
    *_, results = take_turns(CASE, [*OURS, THEIRS], rounds, MESSAGES)
    for (name, what), least in LEAST.items():
        pairs = list(zip(results[name], results[THEIRS]))
        if what == "CPU":
            ratios = [its.cpu_per_million / mine.cpu_per_million for mine, its in pairs]
        else:
            ratios = [mine.rate / its.rate for mine, its in pairs]
        said = f"{name}, {what}: {median(ratios):.2f} times as good as {THEIRS} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(said, flush=True)
        if median(ratios) < least:
            yield f"{said}, less than {least}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Fails where this has become half as fast as it was.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each try (default: %(default)s)")
    given = parser.parse_args()
    for _ in range(TRIES):
        missed = list(misses(given.rounds))
        if not missed:
            return 0
        print("\n".join(["not reached:", *missed]), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
