"""Events as a pandas DataFrame. The only module that knows pandas; it is imported when a table is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from exchange_ws.errors import UsageError
from exchange_ws.events import Event, Gap

if TYPE_CHECKING:
    import pandas

__all__ = ["check", "to_dataframe"]

#: What no column is made of: the vendor's JSON, and a gap, of which there is the reason at the end.
LEFT_OUT = ("raw", "gap")
#: Seconds from 1970 within which a time has nanoseconds in 64 bits.
TIME_LIMIT_S = 9.2e9
#: Whole numbers below it fit into 64 bits.
WHOLE_LIMIT = 2**63


def check(numbers: Any = None) -> None:
    """
    Before an event is taken for a table: whether there can be one.

    Raises
    ------
    UsageError
        *numbers* is neither None nor float, or pandas is not installed.
    """
    if numbers is not None and numbers is not float:
        raise UsageError(f"numbers={numbers!r}: takes float, or None for numbers as the events have them")
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise UsageError("to_dataframe needs pandas: pip install 'exchange_ws[pandas]'") from None


def to_dataframe(events: Iterable[Any], *, numbers: Any = None, like: Any = None) -> pandas.DataFrame:
    """
    *events* as a pandas DataFrame, one row each; needs pandas.

    Columns are the events' fields, without `raw`, and with the reason of a gap as `gap`. Where events of several kinds stand
    together they are those of all kinds, in the order in which these first come. Times (`time`, `received`, `start`) are
    ``datetime64[ns, UTC]``, to the microsecond; whole numbers ``Int64`` and truths ``boolean``, which have a mark for what is
    missing; texts what texts are in the installed pandas. Rows are numbered from 0, since times need not be unique:
    ``frame.set_index("time")`` where they are. A `Gap` among the events is no row.

    Parameters
    ----------
    numbers
        None keeps prices and sizes as they are: exact, and slow to reckon with where they are `decimal.Decimal`. ``float``
        makes them ``float64``, with NaN for what is missing.
    like
        An event whose columns the table has when there is none in it; None: those that every event has.

    Raises
    ------
    UsageError
        pandas is not installed, something is no event, or *numbers* makes no sense.
    """
    check(numbers)
    import pandas

    rows = []
    for event in events:
        if isinstance(event, Event):
            rows.append(event)
        elif not isinstance(event, Gap):
            raise UsageError(f"to_dataframe makes rows of events, not of {type(event).__name__}; are they from raw=True?")
    kinds = dict.fromkeys(map(type, rows)) or {type(like) if isinstance(like, Event) else Event: None}
    fields = {field.name: field.type for kind in kinds for field in attrs.fields(kind) if field.name not in LEFT_OUT}
    columns = {name: _column([getattr(row, name, None) for row in rows], kind, numbers) for name, kind in fields.items()}
    columns["gap"] = _text([None if row.gap is None else row.gap.reason for row in rows])
    return pandas.DataFrame(columns, index=pandas.RangeIndex(len(rows)))


def _column(values: Sequence[Any], kind: Any, numbers: Any) -> pandas.Series[Any]:
    """*values* of a field that is annotated as *kind*: with the same dtype whatever they are, and if there are none."""
    import pandas

    word = str(kind).partition(" | ")[0]
    if word == "float":  # no event has one that is not a moment
        return _moments(values)
    if word == "str":
        return _text(values)
    if word in ("int", "bool"):
        return pandas.Series(values, dtype="Int64" if word == "int" else "boolean")
    if word == "Number":
        return _numbers(values, numbers)
    # Ids, which are numbers here and words there, and levels of a book. By way of a float, as pandas has whole numbers where
    # one is missing, an id would become another one.
    known = [value for value in values if value is not None]
    whole = known and all(isinstance(value, int) and abs(value) < WHOLE_LIMIT for value in known)
    return pandas.Series(values, dtype="Int64" if whole else object)


def _moments(values: Sequence[float | None]) -> pandas.Series[Any]:
    import numpy
    import pandas

    # By way of whole microseconds: a float of today's Unix seconds has no more digits, and its nanoseconds would be noise.
    nanoseconds = [
        round(value * 1e6) * 1000 if value is not None and abs(value) < TIME_LIMIT_S else pandas.NaT.value for value in values
    ]
    return pandas.Series(numpy.array(nanoseconds, dtype="int64").view("datetime64[ns]")).dt.tz_localize("UTC")


def _text(values: Sequence[str | None]) -> pandas.Series[Any]:
    import pandas

    # "object" up to pandas 2, "str" from 3 on: not of the values, for these may all be missing.
    return pandas.Series(values, dtype=pandas.Series(["text"]).dtype)


def _numbers(values: Sequence[Any], numbers: Any) -> pandas.Series[Any]:
    import pandas

    if numbers is float or (values and all(value is None or isinstance(value, float) for value in values)):
        return pandas.Series([None if value is None else float(value) for value in values], dtype="float64")
    return pandas.Series(values, dtype=object)
