"""Events as a pandas DataFrame: which columns, of which types."""

from __future__ import annotations

import sys
from datetime import timedelta
from decimal import Decimal

import attrs
import pytest

import exchange_ws
from exchange_ws import events
from exchange_ws.errors import UsageError
from exchange_ws.events import BookUpdate, Candle, Gap, Order, Trade

pandas = pytest.importorskip("pandas")

TEXT = str(pandas.Series(["text"]).dtype)  # object up to pandas 2, str from 3 on
UTC = "datetime64[ns, UTC]"
TRADE = Trade("x", "trades", "A", 1700000000.123, 1700000000.123456, {}, None, 7, Decimal("0.1"), Decimal(2), "buy", False)
CANDLE = Candle(
    "x", "candles", "B", None, 1700000000.5, {}, None, 1700000000.0, *(Decimal(n) for n in (1, 4, 1, 2, 9, 8)), 60, None
)
ORDER = Order("x", "orders", "A", 1.5, 2.5, {}, None, "a-1", None, "buy", None, None, Decimal(1), None, "open")


def kinds(frame) -> dict[str, str]:
    return {name: str(kind) for name, kind in frame.dtypes.items()}


COMMON = {"exchange": TEXT, "channel": TEXT, "symbol": TEXT, "time": UTC, "received": UTC}


@pytest.mark.parametrize("numbers", [None, float])
def test_trades(numbers):
    """Times are UTC, prices and sizes exact, or floats on request; whole numbers and truths are what they are."""
    frame = exchange_ws.to_dataframe([TRADE, attrs.evolve(TRADE, id=8, gap=Gap("overflow", 1.0))], numbers=numbers)
    number = "float64" if numbers is float else "object"
    rest = {"id": "Int64", "price": number, "size": number, "side": TEXT, "snapshot": "boolean", "gap": TEXT}
    assert {**COMMON, **rest} == kinds(frame)
    assert ([0.1 if numbers else Decimal("0.1")] * 2, [0, 1]) == (list(frame["price"]), list(frame.index))
    assert ["overflow"] == list(frame["gap"].dropna())


def test_times_are_exact():
    """A time has the digits that it has as a float of seconds, and no noise behind them."""
    frame = exchange_ws.to_dataframe([TRADE])
    assert "2023-11-14T22:13:20.123000+00:00" == frame["time"][0].isoformat()
    assert timedelta(microseconds=456) == frame["received"][0] - frame["time"][0]


@pytest.mark.parametrize("event", [TRADE, CANDLE, ORDER], ids=lambda event: type(event).__name__)
def test_types_do_not_depend_on_what_is_missing(event):
    """Full, bare of what may be missing, and of no events: the columns have the same types, so parts can be joined."""
    needed = ("exchange", "channel", "received", "raw")
    bare = attrs.evolve(event, **{field.name: None for field in attrs.fields(type(event)) if field.name not in needed})
    full = exchange_ws.to_dataframe([event], numbers=float)
    ids = {"id", "order_id"}  # numbers with one exchange, words with another
    expected = {name: kind for name, kind in kinds(full).items() if name not in ids}
    for frame in (exchange_ws.to_dataframe([bare], numbers=float), exchange_ws.to_dataframe([], numbers=float, like=event)):
        assert expected == {name: kind for name, kind in kinds(frame).items() if name not in ids}
        assert list(full.columns) == list(frame.columns)


@pytest.mark.parametrize("name", [name for name in events.__all__ if name not in ("Gap", "Event")])
def test_every_kind_of_event(name):
    """There is a table of each kind, and it can be empty."""
    kind = getattr(events, name)
    event = kind(**{field.name: None for field in attrs.fields(kind)})
    columns = [field.name for field in attrs.fields(kind) if field.name not in ("raw", "gap")] + ["gap"]
    assert [columns] * 2 == [list(exchange_ws.to_dataframe(rows, like=event).columns) for rows in ([event], [])]


def test_several_kinds():
    """Of a mixture the columns are those of all kinds, and what a kind does not have is missing there; gaps are no rows."""
    frame = exchange_ws.to_dataframe([TRADE, Gap("silent", 1.0), CANDLE], numbers=float)
    assert (2, ["trades", "candles"]) == (len(frame), list(frame["channel"]))
    assert {"price": "float64", "start": UTC, "interval": "Int64", "snapshot": "boolean"}.items() <= kinds(frame).items()
    assert [True, False] == list(frame["start"].isna())


@pytest.mark.parametrize(
    ("ids", "kind"), [([2**53 + 1, 2**53 + 3], "Int64"), ([2**70, 7], "object"), (["a", 7], "object"), (["a", "b"], "object")]
)
def test_ids_are_exact(ids, kind):
    """Beside events without one, an id is what it was, and never a float."""
    frame = exchange_ws.to_dataframe([*(attrs.evolve(TRADE, id=each) for each in ids), CANDLE])
    assert (kind, ids, True) == (str(frame["id"].dtype), list(frame["id"][:2]), pandas.isna(frame["id"][2]))


def test_book_updates():
    """Levels stay as they are."""
    update = BookUpdate("x", "depth", "A", 1.0, 1.0, {}, None, "delta", ((Decimal(5), Decimal(1)),), (), 7, None)
    frame = exchange_ws.to_dataframe([update])
    assert (((Decimal(5), Decimal(1)),), (), 7, True) == tuple(frame.loc[0, ["bids", "asks", "sequence"]]) + (
        pandas.isna(frame["previous"][0]),
    )


@pytest.mark.parametrize("time", [1e300, -1e300, float("inf"), float("nan")])
def test_times_that_no_calendar_has(time):
    """Such a time, which an exchange may send, is missing, and no error that costs the whole table."""
    assert [True] == list(exchange_ws.to_dataframe([attrs.evolve(TRADE, time=time)])["time"].isna())


@pytest.mark.parametrize(
    ("given", "numbers", "said"),
    [
        ([{"p": "1"}], None, "not of dict; are they from raw=True"),
        ([TRADE], str, "numbers=<class 'str'>: takes float, or None"),
    ],
)
def test_what_there_is_no_table_of(given, numbers, said):
    """The error says what was given, and what it takes."""
    with pytest.raises(UsageError, match=said):
        exchange_ws.to_dataframe(given, numbers=numbers)


def test_without_pandas(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'exchange_ws\[pandas\]'"):
        exchange_ws.to_dataframe([])
