"""Bitzoom: its language, its client, and its side of the language for the sandbox."""

from __future__ import annotations

#: Keys of `sandbox.SANDBOXES`, for those who cannot wait until that is imported: every run of pytest asks.
SANDBOX_NAMES = ("bitzoom",)
