# ruff: noqa: T201  (a command: its output is the point)
"""
A recording of a million messages, written and replayed: how fast, and in how much memory.

    python tests/soak/recording.py [--messages N] [--suffix .jsonl|.jsonl.gz|.jsonl.zst]

The messages are WhiteBIT's last prices, in chunks as a busy link has them. Writing goes as fast as the writer takes them, and
must miss none; replaying has every one of them as an event. The exit code is 0 if that is so, and the process has grown by no
more than `GROWTH_LIMIT` while it went on. Linux only: that is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.clock import SystemClock
from exchange_ws.core.replay import Replay
from exchange_ws.exchanges.whitebit.client import WhiteBIT
from exchange_ws.wire.recording import Recorder, Recording

KEPT = Path(__file__).resolve().parents[1] / "recordings" / "version_1.jsonl"
CHUNK = 500  # messages of one read of 64 KiB
AHEAD = 50_000  # messages that may wait for the writer: as a rule a link brings far fewer
GROWTH_LIMIT = 60 * 2**20  # bytes: those that may wait, with their bookkeeping, and what the interpreter keeps


class Figures(NamedTuple):
    """Of one direction."""

    messages: int
    seconds: float
    growth: int  # bytes of the process, at its greatest


def peak() -> int:
    """Bytes of the process at its greatest. Not `getrusage`'s: that begins with what the parent had."""
    status = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def write(path: Path, messages: int) -> Figures:
    """A recording of so many messages at *path*."""
    began, before = time.perf_counter(), peak()
    head = [json.loads(line) for line in KEPT.read_text().splitlines()[:8]]
    recorder = Recorder(Recording(path), {key: head[0][key] for key in ("exchange", "timeout", "id")}, SystemClock(), "soak")
    for line in head[1:]:  # until the subscription is confirmed
        recorder.note(line)
    look = threading.Event()
    said = 0
    while said < messages:
        chunk = [
            b'{"id":null,"method":"lastprice_update","params":["BTC_USDT","%d.5"]}' % number
            for number in range(said, min(said + CHUNK, messages))
        ]
        recorder.received(1, chunk, head[-1]["t"] + said * 1000)
        said += len(chunk)
        while said - recorder.stats()["messages"] > AHEAD:
            look.wait(0.005)
    recorder.close(60.0)
    stats = recorder.stats()
    if (stats["missed"], stats["error"]) != (0, None):
        raise AssertionError(f"not all was written: {stats}")
    return Figures(stats["messages"], time.perf_counter() - began, peak() - before)


def read(path: Path) -> Figures:
    """All of the recording at *path*, as events."""
    began, before = time.perf_counter(), peak()
    count = 0
    with Replay(path, WhiteBIT._dialects, speed=None) as day:
        for _ in day:
            count += 1
        if day.cut is not None:
            raise AssertionError(day.cut)
    return Figures(count, time.perf_counter() - began, peak() - before)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="A long recording, written and replayed.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument(
        "--suffix", default=".jsonl", choices=[".jsonl", ".jsonl.gz", ".jsonl.zst"], help="default: %(default)s"
    )
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)  # the process that reads, which has not written before
    given = parser.parse_args()
    if given.replay is not None:
        print(json.dumps(read(given.replay)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"soak{given.suffix}"
        right = True
        wrote = write(path, given.messages)
        reading = subprocess.run(
            [sys.executable, __file__, "--replay", str(path)], stdout=subprocess.PIPE, text=True, check=True
        )
        for name, figures in (("written", wrote), ("replayed", Figures(*json.loads(reading.stdout)))):
            rate, growth = figures.messages / figures.seconds, figures.growth / 2**20
            print(f"{name:9}{figures.messages:>10,} messages in {figures.seconds:.1f} s, {rate:,.0f}/s, {growth:.1f} MiB more")
            right = right and figures.messages >= given.messages and figures.growth <= GROWTH_LIMIT
        print(f"{path.stat().st_size / 2**20:.1f} MiB")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
