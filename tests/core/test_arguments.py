"""What trading calls of every exchange take."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchange_ws.core.arguments import checked_amount, checked_integer, exact
from exchange_ws.errors import UsageError


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.10", "0.10"), (Decimal("1E-8"), "0.00000001"), (Decimal("2E+3"), "2000"), (7, "7"), ("1e3", "1000")],
)
def test_amounts_keep_their_digits(value, text):
    """An amount is said in the digits that were given, without an exponent."""
    assert (text, text) == (checked_amount("qty", value), checked_amount("qty", value, or_zero=True))


@pytest.mark.parametrize("value", [0.1, "", "x", None, True, "nan", Decimal("inf"), -1, "-0.1", b"1", [1]])
def test_what_is_no_amount(value):
    """Floats, and what is no number or below 0, are refused by name."""
    for or_zero in (False, True):
        with pytest.raises(UsageError, match=r"^qty .*: takes a number (above 0|of 0 or more), as text, Decimal or int"):
            checked_amount("qty", value, or_zero=or_zero)


def test_zero():
    """Zero is an amount only where it means something."""
    assert "0" == checked_amount("stop_loss", 0, or_zero=True)
    with pytest.raises(UsageError, match="qty 0: takes a number above 0"):
        checked_amount("qty", 0)


def test_exact():
    """Of further fields exact numbers become text, floats are refused, and all else stays."""
    assert ["0.5", "0.5", 3, True, None] == [exact("field", value) for value in (Decimal("0.5"), "0.5", 3, True, None)]
    with pytest.raises(UsageError, match="field 0.5: takes text, a Decimal or an integer"):
        exact("field", 0.5)


@pytest.mark.parametrize(("value", "high"), [(0, None), (3, 2), (True, None), ("1", None), (1.0, None)])
def test_integers_out_of_bounds(value, high):
    """A whole number out of its bounds is refused, and so is what is none."""
    with pytest.raises(UsageError, match=f"limit {value!r}: takes an integer, 1 {'or more' if high is None else 'to 2'}"):
        checked_integer("limit", value, 1, high)
