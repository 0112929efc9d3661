"""
Where the command `exchange-ws` begins.

Beside the package rather than in it: importing anything of a package imports the package first, and Ctrl-C during that has to
end as quietly as it does later.
"""

from __future__ import annotations

__all__ = ["main"]

INTERRUPTED = 130


def main() -> int:
    """Run this process's command line; its exit code."""
    try:
        from exchange_ws.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
