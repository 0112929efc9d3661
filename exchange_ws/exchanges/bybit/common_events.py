"""How Bybit writes values in its updates, whatever the version of its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange_ws.core.dialect import Direct, Reader
from exchange_ws.events import Number, Numbers

__all__ = ["DAY", "ROLES", "TOPICS_REMEMBERED", "direct", "named", "number", "time_of"]

TOPICS_REMEMBERED = 4096  # of what came, the latest: more than most programs have at a time, and a MB at most

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


class _ByTopic(dict[str, Reader]):
    """Readers by topic, which begins with the label; one for all subscriptions, since they would all have the same."""

    def __init__(self, by_label: Mapping[str, Reader]) -> None:
        super().__init__()
        self._by_label = by_label

    def __missing__(self, topic: str) -> Reader:
        read = self._by_label[topic.partition(".")[0]]
        if len(self) >= TOPICS_REMEMBERED:
            self.clear()
        self[topic] = read
        return read


def direct(by_label: Mapping[str, Reader]) -> Direct:
    """The short way of updates that these read, by the labels of their topics."""
    return Direct("topic", _ByTopic(by_label), frozenset(by_label))
