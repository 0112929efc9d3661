"""
Rounds of a benchmark: every client once in each, one after the other, in an order that rotates.

Only ratios within a round are worth anything, since the machine's speed changes between rounds: what is told of them is their
median, with the least and the greatest. Each client must count exactly what was sent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import COMPETITORS, OURS, Result
from exchange_ws.errors import InternalError

__all__ = ["against", "counted", "measure", "python", "start", "summary", "take_turns", "turns"]

RUN_LIMIT_S = 120.0  # of one client with its sender: seconds unless something is broken
LEAST = 1000  # messages of any run: below, it is the start of things that is measured

#: What each client measured, by name, a result for each round.
Results = Mapping[str, Sequence[Result]]


def python(module: str, *arguments: str) -> list[str]:
    """The command of a module of this package, wherever that was imported from."""
    return [sys.executable, "-m", module, *arguments]


def start(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Another process, which finds this package."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command,
        cwd=here,  # which is looked in first: where the user stands there may be another copy
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # Ctrl-C reaches it too, and what it says then is of no use
        text=True,
    )


def against(server: Sequence[str], client: Callable[[str], Sequence[str]], what: str, **environment: str) -> Any:
    """
    What a client says, which is JSON, that is started with the port that *server* says first; both are commands.

    Raises
    ------
    InternalError
        One of the two processes failed, at *what*.
    """
    with start(server) as served:
        try:
            assert served.stdout is not None
            port = served.stdout.readline().strip()
            with start(client(port), **environment) as asked:
                try:
                    out, err = asked.communicate(timeout=RUN_LIMIT_S)
                except subprocess.TimeoutExpired:
                    raise InternalError(f"{what}: not done in {RUN_LIMIT_S:.0f} s") from None
                finally:
                    asked.kill()
            if asked.returncode or not out:
                raise InternalError(f"{what}: it failed: {(err.strip().splitlines() or ['nothing was said'])[-1]}")
        finally:
            served.kill()
    return json.loads(out.splitlines()[-1])


def measure(name: str, case: str, messages: int) -> Result:
    """
    One client, by its name in `COMPETITORS`, with a sender of its own.

    Raises
    ------
    InternalError
        A message was lost, or one of the two processes failed.
    """
    count = max(LEAST, int(messages * CASES[case].share * COMPETITORS[name].share))
    told = against(
        python("exchange_ws.bench.sender", case, str(count)),
        lambda port: python("exchange_ws.bench.competitors", name, case, f"ws://127.0.0.1:{port}/"),
        f"{name}, {case}",
    )
    return counted(Result(*told), count, f"{name}, {case}")


def counted(result: Result, count: int, what: str) -> Result:
    """*result*, if it is of so many messages."""
    if result.messages != count:
        raise InternalError(f"{what}: {count} messages were sent, {result.messages} counted")
    return result


def take_turns(
    case: str, names: Sequence[str], rounds: int, messages: int, began: Callable[[int, str], object] = lambda *_: None
) -> Iterator[Results]:
    """
    All *rounds* of one case; yields the results so far after each.

    *began* is called before each measurement, with the number of the round, from 1 on, and the name of the client.
    """
    results: dict[str, list[Result]] = {name: [] for name in names}
    for number, order in turns(names, rounds):
        for name in order:
            began(number, name)
            results[name].append(measure(name, case, messages))
        yield results


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, Sequence[str]]]:
    """The number of each round, from 1 on, and the order of *names* in it: each is the first one once, and so on."""
    order = deque(names)
    for number in range(1, rounds + 1):
        yield number, tuple(order)
        order.rotate(1)


def summary(results: Results) -> dict[str, dict[str, Any]]:
    """
    What to tell of *results*, by client, as JSON has it.

    ``messages_per_second`` and ``cpu_seconds_per_million`` are medians. ``ratios`` has, for each client of ours, how many times
    as many messages a second it takes: ``median``, ``least`` and ``greatest`` over the rounds.
    """
    return {
        name: {
            "messages_per_second": median(result.rate for result in its),
            "cpu_seconds_per_million": median(result.cpu_per_million for result in its),
            "ratios": {mine: _spread(results[mine], its) for mine in OURS if mine in results},
        }
        for name, its in results.items()
    }


def _spread(mine: Sequence[Result], its: Sequence[Result]) -> dict[str, float]:
    ratios = [us.rate / it.rate for us, it in zip(mine, its)]
    return {"median": median(ratios), "least": min(ratios), "greatest": max(ratios)}
