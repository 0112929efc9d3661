"""`python -m exchange_ws` is `exchange-ws`."""

from __future__ import annotations

import sys

from exchange_ws_main import main

if __name__ == "__main__":
    sys.exit(main())
