"""Bybit: a language for each version of its API, their clients, and the exchange's side of them for the sandbox."""
