"""A short form of `recording.py`, so that it is known to work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wire_peers import LIMIT_S


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell how large a process is")
def test_long_recording():
    """Twenty thousand messages are written and replayed, none is missing, and they cost no memory to speak of."""
    command = [sys.executable, str(Path(__file__).with_name("recording.py")), "--messages", "20000", "--suffix", ".jsonl.gz"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT_S)
    assert (0, "") == (run.returncode, run.stderr)
    assert 2 == run.stdout.count("20,000 messages")
