"""A display for what opens windows: the one there is, or an Xvfb that is started for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

END_S = 20.0  # for Xvfb to end; reached only when something is broken


@contextlib.contextmanager
def display() -> Iterator[dict[str, str]]:
    """The environment of a process that opens windows; skips the test, and says so, where there can be none."""
    environment = dict(os.environ)
    if environment.get("DISPLAY") or sys.platform in ("win32", "darwin"):
        yield environment
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("no display and no Xvfb here")
    told, tell = os.pipe()
    command = ["Xvfb", "-displayfd", str(tell), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with open(told, encoding="ascii") as number:
        server = subprocess.Popen(command, pass_fds=[tell], stderr=subprocess.DEVNULL)
        try:
            os.close(tell)
            yield {**environment, "DISPLAY": ":" + number.readline().strip()}
        finally:
            server.terminate()
            server.wait(END_S)
