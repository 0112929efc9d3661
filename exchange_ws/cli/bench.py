"""`exchange-ws bench`: how fast this is here, beside others."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import COMPETITORS, OURS
from exchange_ws.cli.common import examples, positive_int, seconds

MESSAGES = 100_000  # of one run: half a second, beside which the start of things is nothing
ROUNDS = 5
CASE = "trades"


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast this is on this machine, beside others",
        description=(
            "Measure, offline, how many messages a second reach a for loop: of this package, of websocket-client's own loop, "
            "and of the least that one thread of Python can do. Each has a process of its own, fed by another one over "
            "loopback, and they take turns. What counts are the ratios, with their least and greatest in parentheses: the "
            "machine's speed changes, and what else runs on it is measured with the rest."
        ),
        epilog=examples("bench", "bench trades lastprice --rounds 9", "bench depth-deltas --seconds 20 --json"),
    )
    parser.add_argument(
        "cases",
        nargs="*",
        choices=list(CASES),
        default=CASE,  # a word and no list: older Pythons want the default itself to be one of the choices
        metavar="CASE",
        help="what is sent: " + ", ".join(CASES) + " (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=positive_int, default=ROUNDS, metavar="N", help="of each case (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=seconds, metavar="S", help="end each case after the round in which S seconds are over"
    )
    parser.add_argument(
        "--messages",
        type=positive_int,
        default=MESSAGES,
        metavar="N",
        help="of one run (default: %(default)s; slow ones fewer)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure the cases that *arguments* name, one after the other."""
    from exchange_ws.bench.rounds import summary, take_turns  # here: it imports what no other command needs

    names = [name for name, competitor in COMPETITORS.items() if competitor.in_short]
    for case in [CASE] if arguments.cases == CASE else arguments.cases:
        progress = _Progress(case, arguments.rounds)
        end = math.inf if arguments.seconds is None else time.monotonic() + arguments.seconds
        rounds, told = 0, {}
        try:
            for results in take_turns(case, names, arguments.rounds, arguments.messages, progress):
                rounds, told = rounds + 1, summary(results)
                if time.monotonic() >= end:
                    break
        finally:
            progress.clear()
        if arguments.json:
            print(json.dumps({"case": case, "rounds": rounds, "messages": arguments.messages, "clients": told}), flush=True)
        else:
            print("\n".join(table(case, rounds, told)), flush=True)


def table(case: str, rounds: int, told: Mapping[str, Any]) -> list[str]:
    """Lines for what `exchange_ws.bench.rounds.summary` *told*, in at most 100 characters."""
    lines = [f"{case}, {rounds} {'round' if rounds == 1 else 'rounds'}"]
    lines.append(f"{'':39}{'messages/s':>11}{'CPU s/1e6':>10}" + "".join(f"{mine + ' / it':>20}" for mine in OURS))
    for name, its in told.items():
        line = f"{COMPETITORS[name].words:39}{its['messages_per_second']:11,.0f}{its['cpu_seconds_per_million']:10.2f}"
        for spread in its["ratios"].values():
            line += f"{spread['median']:>7.2f} {'({least:.2f}-{greatest:.2f})'.format(**spread):>12}"
        lines.append(line)
    return lines


class _Progress:
    """One line on the terminal's stderr that says what is being measured; nothing where that is no terminal."""

    def __init__(self, case: str, rounds: int) -> None:
        self._case, self._rounds = case, rounds
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, number: int, name: str) -> None:
        self._write(f"{self._case}: round {number} of {self._rounds}, {COMPETITORS[name].words}")

    def clear(self) -> None:
        """Leave nothing behind."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)  # the escape clears what was longer
