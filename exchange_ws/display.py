"""
How values are shown to people: as text, and as HTML for notebooks.

All of it is pure: what is shown was read before. Texts of an exchange are hostile until they are escaped and cut.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

__all__ = [
    "COLUMNS",
    "WORDS",
    "card",
    "cell",
    "digits",
    "event_html",
    "gap_html",
    "gap_text",
    "local",
    "moment_of",
    "newest",
    "note",
    "rows_of",
    "table",
    "utc",
]

#: Digits before or after the point beyond which a number is written with an exponent.
DIGITS = 50
#: Characters of one text that are shown in HTML, before the rest is cut off.
TEXT = 200
#: Levels of each side of a book update that are shown.
LEVELS = 3

#: Columns of a table beside time and symbol, for each kind of event: its fields, or what `cell` makes of them.
COLUMNS = {
    "Trade": ("side", "price", "size", "id"),
    "LastPrice": ("price",),
    "Ticker": ("last", "open", "high", "low", "volume"),
    "BookTicker": ("bid_size", "bid", "ask", "ask_size"),
    "Candle": ("open", "high", "low", "close", "volume"),
    "BookUpdate": ("kind", "bids/asks", "best changed bid", "best changed ask"),
    "Balance": ("asset", "available", "locked"),
    "Order": ("side", "type", "price", "size", "filled", "status"),
    "Fill": ("side", "price", "size", "fee", "role"),
    "Position": ("size", "entry_price", "unrealized_pnl", "leverage"),
}
#: Columns whose text is a word rather than a number.
WORDS = frozenset({"time", "symbol", "side", "kind", "type", "status", "role", "asset", "data", "start", "snapshot", "closed"})

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# No colours but these, which can be read on white and on black, and no style sheet, which some notebooks take out. The rest is
# the theme's own, paler where it matters less.
RULE = "1px solid rgba(128,128,128,.35)"
SIDES = {"buy": "#2a9d5c", "bid": "#2a9d5c", "sell": "#d9534f", "ask": "#d9534f"}
STATES = {"open": "#2a9d5c", "connecting": "#c98a00", "reconnecting": "#c98a00", "stale": "#c98a00", "closed": "#d9534f"}
WARNING = "#c98a00"
PALE = "opacity:.65"
CELL = "padding:1px 10px 1px 0;border:0;background:transparent;white-space:nowrap;vertical-align:top"


# Text -------------------------------------------------------------------------------------------------------------------------


def digits(value: Any) -> str:
    """A number as people write it: not 1E-8."""
    # But 1e999999999, which is a number too, would be a gigabyte of zeros.
    return format(value, "f") if isinstance(value, Decimal) and abs(value.adjusted()) < DIGITS else str(value)


def gap_text(gap: Any) -> str:
    """A gap in one line of plain words."""
    parts = [f"gap ({gap.reason})"]
    if gap.repaired:
        parts.append("repaired, nothing is missing")
    elif gap.dropped is not None:
        parts.append(f"{gap.dropped} messages missing")
    else:
        parts.append("an unknown number of messages missing")
    if gap.until is not None:
        parts.append(f"within {gap.until - gap.since:.3f} s")
    return ", ".join(parts)


def utc(seconds: float | None, date: bool = False) -> str:
    """UTC time of day of Unix *seconds*, to the millisecond, with its *date*; empty for None, and for what no calendar has."""
    return _clock_time(seconds, timezone.utc, date)


def local(seconds: float | None, date: bool = False) -> str:
    """The same by this machine's clock."""
    return _clock_time(seconds, None, date)


def _clock_time(seconds: float | None, zone: timezone | None, date: bool) -> str:
    if seconds is None:
        return ""
    try:
        moment = (EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return ""
    return (f"{moment.date()} " if date else "") + moment.time().isoformat("milliseconds")


def cell(item: Any, column: str) -> str:
    """The text of one field; of a book update, how many levels it changes on each side, and the best of these."""
    if column == "data":
        return json.dumps(getattr(item, "raw", item), default=digits)
    if column == "time":
        return utc(moment_of(item))
    if column == "start":
        return utc(item.start)
    if type(item).__name__ == "BookUpdate":
        if column == "bids/asks":
            return f"{len(item.bids)}/{len(item.asks)}"
        if column.startswith("best changed"):
            levels = item.bids if column.endswith("bid") else item.asks
            return _level(*levels[0]) if levels else ""
    value = getattr(item, column, None)
    return "" if value is None else digits(value)


def moment_of(item: Any) -> Any:
    """Unix seconds of an event, by the exchange's clock or else by ours; None for what has no time."""
    time = getattr(item, "time", None)
    return getattr(item, "received", None) if time is None else time


def _level(price: Any, size: Any) -> str:
    return f"{digits(price)} x {digits(size)}" if size else f"{digits(price)} gone"


# HTML -------------------------------------------------------------------------------------------------------------------------


def escaped(value: Any) -> str:
    """*value* as text of HTML: no markup, nothing that cannot be seen, and not too long."""
    text = digits(value)
    if len(text) > TEXT:
        text = text[:TEXT] + "…"
    # Characters that only change how others are shown would let one text pose as another.
    return html.escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], words: Iterable[str] = WORDS) -> str:
    """
    A table of values, all of them escaped.

    Parameters
    ----------
    words
        Columns that stand at the left, being no numbers. In one that is called "side", those of `SIDES` have colours.
    """
    left = [column in words for column in columns]
    names = [_cell("th", name.replace("_", " "), at, f"{PALE};font-weight:normal") for name, at in zip(columns, left)]
    lines = [f"<tr>{''.join(names)}</tr>"]
    for row in rows:
        cells = [
            _cell("td", value, at, f"color:{SIDES[value]}" if column == "side" and value in SIDES else "")
            for column, value, at in zip(columns, row, left)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    style = "border-collapse:collapse;border:0;margin:2px 0;color:inherit;font-size:inherit;font-variant-numeric:tabular-nums"
    return f'<table style="{style}">{"".join(lines)}</table>'


def _cell(tag: str, value: Any, left: bool, style: str = "") -> str:
    text = "" if value is None else escaped(value)
    return f'<{tag} style="{CELL};text-align:{"left" if left else "right"}{";" * bool(style)}{style}">{text}</{tag}>'


def card(title: str, facts: Iterable[str], *parts: str, state: str | None = None) -> str:
    """
    What stands for one object in a notebook: a line with its *title*, *state* and *facts*, and *parts* below.

    Parameters
    ----------
    parts
        HTML; all else is text, and escaped.
    """
    head = [f"<b>{escaped(title)}</b>"]
    if state is not None:
        head.append(f'<span style="color:{STATES.get(state, "inherit")}">{escaped(state)}</span>')
    head += [f'<span style="{PALE}">{escaped(fact)}</span>' for fact in facts]
    edge = STATES.get(state or "", "#888")
    style = f"display:inline-block;max-width:100%;overflow-x:auto;padding:4px 10px;border-left:3px solid {edge}"
    return f'<div style="{style}"><div>{" &nbsp; ".join(head)}</div>{"".join(parts)}</div>'


def note(text: str) -> str:
    """A line that should be noticed."""
    return f'<div style="color:{WARNING}">{escaped(text)}</div>'


def gap_html(gap: Any) -> str:
    """A `Gap`, for notebooks."""
    row = [gap.reason, utc(gap.since), utc(gap.until) if gap.until is not None else "still open", gap.dropped, gap.repaired]
    columns = ("reason", "since", "until", "dropped", "repaired")
    return card("Gap", (), table(columns, [row], {"reason", "since", "until", "repaired"}))


def event_html(event: Any, fields: Sequence[str]) -> str:
    """An event with its own *fields*, for notebooks."""
    facts = [fact for fact in (event.exchange, event.channel, event.symbol, f"{utc(moment_of(event), date=True)} UTC") if fact]
    parts = []
    flat = [name for name in fields if name not in ("bids", "asks")]
    if flat:
        parts.append(table(flat, [[cell(event, name) for name in flat]]))
    for name in ("bids", "asks"):
        if name in fields:
            parts.append(_levels(name, getattr(event, name)))
    if not fields:
        parts.append(f'<code style="background:transparent">{escaped(cell(event, "data"))}</code>')
    if event.gap is not None:
        parts.append(note(gap_text(event.gap)))
    return card(type(event).__name__, facts, *parts)


def newest(item: Any) -> str:
    """The newest item of a stream, as the row of a table: an event, or the vendor's JSON."""
    return table(*rows_of([item]))


def rows_of(items: Sequence[Any]) -> tuple[Sequence[str], list[list[str]]]:
    """Columns for *items*, events of any kinds or the vendor's JSON, and their rows."""
    kinds = {type(item).__name__: hasattr(item, "exchange") for item in items}
    # Of several exchanges it has to be said which one it is.
    names = ["exchange"] if len({getattr(item, "exchange", None) for item in items}) > 1 else []
    names += ["time", "symbol"] if any(kinds.values()) else []
    for kind in kinds:
        names += COLUMNS.get(kind, ("data",))
    columns = list(dict.fromkeys(names))
    if "data" in columns and any(kind in COLUMNS for kind in kinds):
        columns.remove("data")
    return columns, [[cell(item, column) for column in columns] for item in items]


def _levels(name: str, levels: Sequence[Any]) -> str:
    more = len(levels) - LEVELS
    texts = [escaped(_level(*level)) for level in levels[:LEVELS]] + ([f"{more} more"] if more > 0 else [])
    return f'<div style="white-space:nowrap"><span style="{PALE}">{name}</span> &nbsp;{" &nbsp; ".join(texts) or "none"}</div>'
