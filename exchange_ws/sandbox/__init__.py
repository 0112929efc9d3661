"""An exchange on loopback, for tests, demos and work without a network."""

from __future__ import annotations

from exchange_ws.sandbox.server import Sandbox, sandbox_names

__all__ = ["Sandbox", "sandbox_names"]
