"""What trading calls take: exact numbers as text, and whole numbers within bounds."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Union

from exchange_ws.errors import UsageError

__all__ = ["Amount", "checked_amount", "checked_integer", "exact"]

#: A price or an amount that is sent: text or an exact number. A float is refused, since it is not what its digits say.
Amount = Union[str, Decimal, int]


def exact(name: str, value: Any) -> Any:
    """*value* as JSON has it: exact numbers as text; `UsageError` for a float."""
    if isinstance(value, Decimal):
        return checked_amount(name, value, or_zero=True)
    if isinstance(value, float):
        raise UsageError(f"{name} {value!r}: takes text, a Decimal or an integer; a float is not exact")
    return value


def checked_amount(name: str, value: Any, *, or_zero: bool = False) -> str:
    """A price or an amount as the wire has it, in the digits that were given; above 0, or not below it."""
    number: Decimal | None = None
    if isinstance(value, (str, Decimal)) or type(value) is int:
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite() or number < 0 or (number == 0 and not or_zero):
        least = "of 0 or more" if or_zero else "above 0"
        raise UsageError(f"{name} {value!r}: takes a number {least}, as text, Decimal or int (a float is not exact)")
    return f"{number.copy_abs():f}"  # of 0 without a sign


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """*value* if it is a whole number from *low* to *high*."""
    if type(value) is not int or value < low or (high is not None and value > high):
        raise UsageError(f"{name} {value!r}: takes an integer, {low} {'or more' if high is None else f'to {high}'}")
    return value
