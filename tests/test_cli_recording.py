"""`exchange-ws record` and `exchange-ws replay`, as processes that talk to the sandbox."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
from wire_peers import LIMIT_S

from exchange_ws.cli import progress, replay

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "recordings" / "version_1.jsonl"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exchange_ws", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)


def test_what_was_recorded_is_replayed(tmp_path):
    """`record` writes what it has seen and says how much that is; `replay` prints it as `stream` would have."""
    path = str(tmp_path / "day.jsonl.gz")
    recorded = run("record", path, "whitebit", "trades", "BTC_USDT", "--sandbox", "--count", "20")
    assert (0, "") == (recorded.returncode, recorded.stdout)
    assert recorded.stderr.startswith("exchange-ws: ")
    assert recorded.stderr.endswith(f", in {path}\n")
    replayed = run("replay", path, "--speed", "max")
    events = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert (0, "") == (replayed.returncode, replayed.stderr)
    assert len(events) >= 20
    assert {("Trade", "BTC_USDT")} == {(event["event"], event["symbol"]) for event in events}


def test_interrupt_ends_a_recording_well(tmp_path):
    """Ctrl-C ends `record` with 130, and with a file that is whole."""
    path = tmp_path / "day.jsonl"
    command = [sys.executable, "-m", "exchange_ws", "record", str(path), "whitebit", "trades", "*", "--sandbox"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    try:
        look = threading.Event()
        while process.poll() is None and not (path.exists() and b"trades_update" in path.read_bytes()):
            look.wait(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    finally:
        limit.cancel()
        process.kill()
        process.wait()
    assert (130, True) == (process.returncode, told.endswith(f", in {path}\n"))
    assert '"end":true' in path.read_text().splitlines()[-1]


def test_cut_file(tmp_path):
    """`replay` prints what is left of a file that was cut, and says that more is missing."""
    path = tmp_path / "day.jsonl"
    path.write_bytes(KEPT.read_bytes()[:-2000])
    cut, whole = run("replay", str(path), "--speed", "max"), run("replay", str(KEPT), "--speed", "max")
    assert (0, 0) == (cut.returncode, whole.returncode)
    assert cut.stdout
    assert whole.stdout.startswith(cut.stdout)
    assert cut.stderr.splitlines()[-1] == f"exchange-ws: {path}: it ends early; what follows is missing"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["replay", "setup.cfg"], "setup.cfg: is no recording, or one that was cut before its first line was written"),
        (["replay", "nowhere"], "nowhere: No such file or directory"),
        (["record", "setup.cfg", "whitebit", "trades", "--sandbox"], "record='setup.cfg': is there already; take another name"),
        (["record", "no/where", "whitebit", "trades", "--sandbox"], "record='no/where': there is no directory 'no'"),
        (["replay", "a", "--speed", "0"], "argument --speed: '0': takes a finite number above 0, or \"max\""),
    ],
)
def test_wrong_usage(arguments, told):
    """What cannot be done is told in one line, with exit code 2."""
    result = run(*arguments)
    assert (2, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert told in result.stderr


@pytest.mark.skipif(find_spec("resource") is None, reason="the system has no limit for the size of a file")
def test_full_disk(tmp_path):
    """A recording that cannot be written ends `record` with 1 and the reason, rather than with a part of a file in silence."""
    code = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); from exchange_ws.cli import main; sys.exit(main())"
    )
    path = str(tmp_path / "day.jsonl")
    command = [sys.executable, "-c", code, "record", path, "whitebit", "trades", "*", "--sandbox"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    assert 1 == result.returncode
    assert result.stderr.startswith(f"exchange-ws: {path}: File too large; ")
    assert os.path.getsize(path) == 3000


def test_speed():
    """A factor, or "max" for no waiting."""
    assert (2.5, None) == (replay.speed("2.5"), replay.speed("max"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress(monkeypatch):
    """A terminal shows a line that is written over and taken away; a pipe shows nothing."""
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.Progress() as line:
            line.show(5, "open")
            line.show(6, "not drawn: too soon")
        wanted = "\r\x1b[K5 events, 5.0/s, open\r\x1b[K" if stream.isatty() else ""
        assert wanted == stream.getvalue()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (7e12, "7000.0 GB")]
)
def test_sizes(size, text):
    """A size in a unit that needs few digits."""
    assert text == progress.size_text(size)
