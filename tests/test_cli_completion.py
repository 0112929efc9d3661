"""What shells complete of the command line, with the real ones."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exchange_ws import cli

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process or a shell may take; reached only when something is broken.
LIMIT_S = 60.0

#: A line as far as it is typed, and words that must be among what the shell offers then.
TYPED = [
    ("exchange-ws ", ["bench", "completion", "record", "replay", "request", "sandbox", "stream"]),
    ("exchange-ws str", ["stream"]),
    ("exchange-ws stream ", ["bitzoom", "bybit-spot-v3", "bybit-v5", "whitebit"]),
    ("exchange-ws stream whitebit trades --", ["--category", "--count", "--json", "--sandbox", "--seconds", "--url"]),
    ("exchange-ws bench tr", ["trades"]),
    ("exchange-ws sandbox ", ["all", "whitebit"]),
    ("exchange-ws completion ", ["bash", "fish", "zsh"]),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A function that gives the path of a shell's script, printed by the command."""

    pytest.importorskip("shtab")

    def write(shell: str) -> Path:
        path = tmp_path_factory.mktemp(shell) / ("_exchange-ws" if shell == "zsh" else "exchange-ws")
        with path.open("w") as file:
            subprocess.run(
                [sys.executable, "-m", "exchange_ws", "completion", shell], cwd=ROOT, stdout=file, check=True, timeout=LIMIT_S
            )
        return path

    return write


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here")
    return path


def test_bash(script):
    """Bash offers commands, exchanges and options."""
    program = [f"source {shlex.quote(str(script('bash')))}"]
    for line, _ in TYPED:
        *words, last = line.split(" ")
        typed = " ".join(map(shlex.quote, [*words, last]))
        program.append(f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_exchange_ws; echo "${{COMPREPLY[*]}}"')
    ended = subprocess.run([shell("bash"), "-c", "\n".join(program)], capture_output=True, text=True, timeout=LIMIT_S)
    offered = [set(line.split()) for line in ended.stdout.splitlines()]
    assert ("", len(TYPED)) == (ended.stderr, len(offered))
    assert [] == [(line, words, there) for (line, words), there in zip(TYPED, offered) if not there.issuperset(words)]


def test_fish(script, tmp_path):
    """Fish offers them too."""
    program = [f"source {shlex.quote(str(script('fish')))}"]
    program += [f"complete -C {shlex.quote(line)} | string join ' '; echo END" for line, _ in TYPED]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    ended = subprocess.run(
        [shell("fish"), "--no-config", "-c", "\n".join(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment,
    )
    offered = [set(part.split()) for part in ended.stdout.split("END\n")]
    assert len(TYPED) + 1 == len(offered), ended.stderr
    assert [] == [(line, words, there) for (line, words), there in zip(TYPED, offered) if not there.issuperset(words)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudoterminals of this kind")
def test_zsh(script, tmp_path):
    """Zsh, which completes only for who types, offers them too."""
    import pty
    import select

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "vt100", "ZDOTDIR": str(tmp_path), "COLUMNS": "200", "LINES": "50"}
    process = subprocess.Popen(
        [shell("zsh"), "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    end = time.monotonic() + LIMIT_S

    def asked(text: str, *answers: str) -> None:
        """Type *text*, and wait until all of *answers* were written."""
        os.write(ours, text.encode())
        seen = ""
        while not all(answer in seen for answer in answers):
            assert select.select([ours], [], [], max(0.0, end - time.monotonic()))[0], (text, seen)
            seen += os.read(ours, 65536).decode()

    try:
        folder = shlex.quote(str(script("zsh").parent))
        asked(f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; setopt no_beep; PS1=rea''dy\n", "ready")
        for line, words in TYPED:
            asked(line + "\t", *words)
            asked("\x15print do''ne\n", "done")  # Ctrl-U: without what was typed
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_no_shtab(monkeypatch, capsys):
    """Without what makes the scripts, one line says what to install."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert 2 == cli.main(["completion", "bash"])
    expected = "exchange-ws: completion needs shtab: python -m pip install 'exchange_ws[cli]'\n"
    assert ("", expected) == capsys.readouterr()
