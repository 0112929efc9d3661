"""Bitzoom: its language, its client, and its side of the language for the sandbox."""
