"""An exchange on loopback, for tests, demos and work without a network."""

from __future__ import annotations

from exchange_ws.sandbox.server import Sandbox

__all__ = ["Sandbox"]
