"""How Bybit writes values in its updates, whatever the version of its API."""

from __future__ import annotations

from typing import Any

from exchange_ws.events import Number, Numbers

__all__ = ["DAY", "ROLES", "named", "number", "time_of"]

DAY = 86400  # seconds, which tickers are of

#: Of executions, by whether they were the maker's.
ROLES: dict[Any, str] = {True: "maker", False: "taker"}


def number(value: Any, numbers: Numbers) -> Number:
    """A price or a size; None where nothing is told, be it by null or by empty text."""
    if value.__class__ is str:
        return numbers(value) if value else None
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ValueError(f"no number: {type(value).__name__}")
    return numbers(str(value))


def named(value: Any) -> str:
    """A symbol, or the name of an asset."""
    if not isinstance(value, str):
        raise ValueError("a symbol is no text")
    return value


def time_of(value: Any) -> float | None:
    """Unix seconds of milliseconds, which come as a number or as its digits."""
    return None if value is None or value == "" else int(value) / 1000
