"""What the command line says of itself: its help, the examples there, and the page about it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exchange_ws import cli
from exchange_ws.bench import rounds
from exchange_ws.bench.competitors import Result

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process or a shell may take; reached only when something is broken.
LIMIT_S = 30.0


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name; the whole command line's under ""."""
    whole = cli.parser()
    found = next(action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    return {"": whole, **found.choices}


COMMANDS = commands()


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {text for action in parser._actions for text in action.option_strings}


def examples_of(parser: argparse.ArgumentParser) -> list[str]:
    return re.findall(r"^  exchange-ws (.+)$", parser.epilog or "", re.MULTILINE)


#: What makes an example offline and short, where the command has the option and the example does not say it.
SHORT = {"--sandbox": [], "--count": ["2"], "--seconds": ["5"]}


def cut_short(example: str) -> list[str]:
    """The words of *example*, so that it needs no network and ends soon."""
    words = shlex.split(example)
    known = options_of(COMMANDS[words[0]])
    for option, value in SHORT.items():
        if option in known and option not in words and not (option == "--sandbox" and "--url" in words):
            words += [option, *value]
    return words


EXAMPLES = [pytest.param(example, id=example) for parser in COMMANDS.values() for example in examples_of(parser)]


def test_examples_are_cut_short():
    """An example is made offline and short by options that its command has, and that it does not use itself."""
    assert "stream whitebit trades A --json --count 7 --sandbox --seconds 5".split() == cut_short(
        "stream whitebit trades A --json --count 7"
    )
    assert ["sandbox", "--seed", "7"] == cut_short("sandbox --seed 7")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples(name):
    """The help of every command ends with what one may type."""
    assert examples_of(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("width", [40, 80])
def test_help_fits(name, width, monkeypatch):
    """However narrow the terminal, prose is filled to its width, and no example is broken."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = COMMANDS[name].format_help().splitlines()
    assert [f"  exchange-ws {example}" for example in examples_of(COMMANDS[name])] == [
        line for line in lines if line.startswith("  exchange-ws ")
    ]
    prose = [line for line in lines if not line.startswith("  ")]
    assert [] == [line for line in prose if len(line) > width and " " in line and not line.startswith("usage")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all examples run, in the order of the help: one may read what another has written."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, monkeypatch, capsys, folder):
    """Every example of the help does what it says: it ends well, and prints its results, or, without any, what it did."""
    words = cut_short(example)
    if words[0] == "sandbox":
        return serves(words)
    if words[0] == "completion":
        pytest.importorskip("shtab")
    # It would take seconds; whether it measures is what `test_bench.py` asks.
    monkeypatch.setattr(rounds, "measure", lambda name, case, messages: Result(messages, 1.0, 1.0))
    monkeypatch.chdir(folder)
    try:
        code = cli.main(words)
    except SystemExit as ended:  # `--help`
        code = ended.code
    out, err = capsys.readouterr()
    assert (0, 1) == (code, bool(out) + bool(err)), err
    if words[0] in ("stream", "request") and "--help" not in words:
        assert all(map(json.loads, out.splitlines()))
    return None


def serves(words: list[str]) -> None:
    """What serves until Ctrl-C prints where, and ends by that."""
    if "--port" in words:
        words[words.index("--port") + 1] = "0"  # the one that is told may be taken here
    process = subprocess.Popen([sys.executable, "-m", "exchange_ws", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert "ws://" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(LIMIT_S)
    finally:
        process.kill()
        process.communicate()


# The page -------------------------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The parts of the page about the command line, by their titles."""
    parts = re.split(r"^([\w-]+)\n-{3,}\n", (ROOT / "docs" / "cli.rst").read_text("utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def test_page_has_every_command():
    """Each command has its section, in the order of the help."""
    assert list(COMMANDS) == list(sections())


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_page_says_what_the_help_says(name):
    """A section has the examples of the help, as they are, and speaks of each option."""
    text = sections()[name]
    assert examples_of(COMMANDS[name]) == re.findall(r"^    exchange-ws (.+)$", text, re.MULTILINE)
    told = text + sections()[""]
    options = options_of(COMMANDS[name]) - {"-h"}
    assert [] == [option for option in sorted(options) if f"``{option}``" not in told and option != "--help"]


def test_page_has_every_exit_code():
    """The codes that the page has are those that there are."""
    codes = re.findall(r"^   \* - (\d+)$", sections()[""], re.MULTILINE)
    assert [cli.DONE, cli.REFUSED, cli.WRONG_USAGE, cli.INTERRUPTED] == list(map(int, codes))
