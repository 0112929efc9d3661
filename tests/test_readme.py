"""What the documentation shows runs as it stands."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from displays import display

import exchange_ws

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that an example may take; reached only when something is broken.
LIMIT_S = 60.0

#: How lines of the log begin.
NAMES = tuple(exchange_ws.clients())

DIRECTIVE = ".. code-block:: python\n\n"


def examples(text: str) -> list[str]:
    """The Python code blocks of a page, in order."""
    blocks = []
    for after in text.split(DIRECTIVE)[1:]:
        lines = after.splitlines(keepends=True)
        end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" ")), len(lines))
        blocks.append(textwrap.dedent("".join(lines[:end])).strip() + "\n")
    return blocks


PAGES = [
    "README.rst",
    *(
        f"docs/{name}.rst"
        for name in (
            "quickstart streams orderbook recording whitebit bybit bybit_v5 migrating_to_v5 bitzoom observability performance "
            "testing"
        ).split()
    ),
]
EXAMPLES = [
    pytest.param(example, id=f"{page}-{number}")
    for page in PAGES
    for number, example in enumerate(examples((ROOT / page).read_text("utf-8")), 1)
]


def test_examples_are_found():
    """Blocks end where the indentation does; blank lines and comments belong to them."""
    page = f"a\n\n{DIRECTIVE}    one = 1\n\n    # two\n    two = 2\n\nb\n\n{DIRECTIVE}   three = 3\n"
    assert ["one = 1\n\n# two\ntwo = 2\n", "three = 3\n"] == examples(page)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_is_an_example(page):
    """No block escapes by another spelling of the directive."""
    text = (ROOT / page).read_text("utf-8")
    assert text.count("python\n\n") == len(examples(text)) > 0


@pytest.fixture
def environment(example):
    """Variables for the example's process, with a display if it opens windows; skipped where its toolkit or display is not."""
    with contextlib.ExitStack() as stack:
        for toolkit in ("PySide6", "tkinter"):
            if toolkit in example:
                pytest.importorskip(toolkit)
        yield stack.enter_context(display()) if "tkinter" in example else dict(os.environ)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, environment, tmp_path):
    """Each example runs by itself, without a warning, and ends."""
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-"],
        input=example,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    lines = ended.stderr.splitlines()
    if "drop()" in example or "_batch(" in example:  # the log warns of a loss or a refused order, as it should
        lines = [line for line in lines if not line.startswith(NAMES)]
    assert (0, []) == (ended.returncode, lines)


@pytest.mark.parametrize(
    "command",
    [
        "python -m pip install '.[sandbox,cli]' && exchange-ws stream whitebit trades BTC_USDT --sandbox --count 10",
        "python -m pip install -e '.[test]' && python -m pytest",
    ],
)
def test_commands(command):
    """The two commands that .ci/run takes from the README stand in it, each on a line of its own."""
    assert [command] == [line.strip() for line in (ROOT / "README.rst").read_text("utf-8").splitlines() if command in line]
