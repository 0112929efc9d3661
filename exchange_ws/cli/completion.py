"""`exchange-ws completion`: what a shell needs to complete this command line."""

from __future__ import annotations

import argparse
from typing import Any

from exchange_ws.cli.common import examples
from exchange_ws.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


def add(commands: Any) -> None:
    """Add the command to *commands*, what `argparse.ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete these commands",
        description=(
            "Print a script that lets a shell complete commands, options and exchanges.\n\n"
            "Save it where the shell looks for such scripts:\n"
            "  bash  ~/.local/share/bash-completion/completions/exchange-ws\n"
            "  zsh   _exchange-ws, in a directory of $fpath\n"
            "  fish  ~/.config/fish/completions/exchange-ws.fish"
        ),
        epilog=examples("completion bash", "completion zsh", "completion fish"),
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="one of: " + ", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the script for the shell that *arguments* name."""
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: python -m pip install 'exchange_ws[cli]'") from None
    from exchange_ws.cli import parser  # here, since it makes the parser of this command too

    print(shtab.complete(parser(), arguments.shell), end="")
