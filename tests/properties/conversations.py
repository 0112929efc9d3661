# ruff: noqa: T201, E402  (a command: its output is the point; it brings its own path)
"""
The long form of `tests/core/test_session_machine.py`: as many conversations between a session and a made-up exchange as wanted.

From the project's folder; a thousand of one language take a minute:

    python tests/properties/conversations.py [--examples N] [--language strict]

It prints the languages that were gone through; what is found is raised, with the steps that lead to it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# This checkout is what is tried, not what may be installed.
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "core")]

from test_session_machine import LANGUAGES, converse


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Conversations of a session with a made-up exchange.")
    parser.add_argument("--examples", type=int, default=1000, help="in each language (default: %(default)s)")
    parser.add_argument("--language", choices=LANGUAGES, action="append", help="only this one; may be repeated")
    given = parser.parse_args()
    for name in given.language or LANGUAGES:
        converse(LANGUAGES[name], given.examples)
        print(f"{name}: {given.examples} conversations, all as they should be", flush=True)


if __name__ == "__main__":
    main()
