# ruff: noqa: T201  (a command: its output is the point)
"""
How many messages a second reach the consumer's code, beside websocket-client's own loop and beside what Python can do at all.

    python tests/benchmarks/throughput.py [--rounds N] [--messages N] [--case NAME] [--without NAME]

The long form of ``exchange-ws bench``: every case, more messages, and clients may be left out. What takes turns, and how, says
`exchange_ws.bench`. The exit code is 0 if no message was lost.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# This checkout is what is measured, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import COMPETITORS
from exchange_ws.bench.rounds import summary, take_turns
from exchange_ws.cli.bench import table


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Throughput beside websocket-client and beside the limit of Python.")
    parser.add_argument("--rounds", type=int, default=5, help="of all clients (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=200_000, help="of each run; large ones fewer (default: %(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--without", choices=COMPETITORS, action="append", default=[], help="leave it out; may be repeated")
    given = parser.parse_args()
    names = [name for name in COMPETITORS if name not in given.without]
    for case in given.case or CASES:
        *_, results = take_turns(case, names, given.rounds, given.messages)
        print("\n" + "\n".join(table(case, given.rounds, summary(results))), flush=True)


if __name__ == "__main__":
    main()
