"""Bybit: a language for each version of its API, their clients, and the exchange's side of them for the sandbox."""

from __future__ import annotations

#: Keys of `sandbox.SANDBOXES`, for those who cannot wait until that is imported: every run of pytest asks.
SANDBOX_NAMES = ("bybit-spot-v3", "bybit-v5")
