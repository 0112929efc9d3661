"""Where the command `exchange-ws` and `python -m exchange_ws` begin."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run this process's command line; its exit code. Ctrl-C while it is being imported ends as quietly as later."""
    try:
        from exchange_ws.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
