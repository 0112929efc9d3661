"""
Live cells for Jupyter notebooks: a table and a chart that are drawn anew in place.

Both run until the cell is interrupted, so many *seconds* are over, *count* events came, or the stream ends. They take the
events that they show. An interrupt ends them without a traceback, and ends neither the subscription nor its client: the next
cell goes on with what comes.

Drawing follows the stream and never holds it up: all that came is taken at once, and drawn at most five times a second, less
often where drawing takes long. Nothing is drawn while nothing changes.
"""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import attrs

from exchange_ws import display
from exchange_ws.clock import checked_timeout
from exchange_ws.errors import SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import Event, Gap

__all__ = ["client_made", "live_chart", "live_table"]

log = logging.getLogger(__name__)

#: Seconds between two drawings: as fast as digits can be read.
REDRAW_S = 0.2
#: By how much longer than it took to draw the pause after it is: the time is the stream's.
PAUSES = 4.0
#: Events that are taken at once, so that a stream that is faster than we are is drawn all the same.
AT_ONCE = 5000

#: What of each kind of event is charted, if nothing else is asked for.
CHARTED = {
    "Trade": ("price",),
    "LastPrice": ("price",),
    "Ticker": ("last",),
    "BookTicker": ("bid", "ask"),
    "Candle": ("close",),
    "Fill": ("price",),
    "Order": ("price",),
    "Position": ("unrealized_pnl",),
    "Balance": ("available",),
}

#: Units of the chart, which is as wide as there is room, but not wider than this.
WIDTH, HEIGHT = 760, 280
LEFT, RIGHT, TOP, BOTTOM = 80, 12, 10, 24  # room for the axes
#: Colours of lines, to be told apart on white and on black. Of the next line the first one again.
LINES = ("#4c8bf5", "#e8833a", "#2a9d5c", "#b06fd8", "#d9534f", "#20a4a4", "#a08a2c", "#8a8f98")
BEFORE_S = 60.0  # of what an exchange replays at the start: more of it would leave no room for what is live
LINES_NAMED = 16  # in the legend; a wildcard has hundreds


#: Modules whose objects keep connections.
ENGINE = ("exchange_ws.core.", "exchange_ws.exchanges.")
#: Names of the latest outputs, which the shell and its display hook keep each for itself.
UNDERS = ("_", "__", "___")


class View(Protocol):
    """What a live cell shows of a stream."""

    def take(self, items: Sequence[Any]) -> None:
        """These came, in this order."""

    def parts(self) -> Iterable[str]:
        """HTML of what there is to show."""


def live_table(subscription: Any, rows: int = 20, *, seconds: float | None = None, count: int | None = None) -> None:
    """
    Show the newest events of *subscription* as a table that follows it, the newest on top.

    Parameters
    ----------
    subscription
        One of a client's, or several as `exchange_ws.merge` makes one of them, or a replay.
    rows
        Events that are shown.
    seconds, count
        Where to end; without both an interrupt does it, or the end of the stream.

    Raises
    ------
    UsageError
        This is no notebook, or a parameter makes no sense.
    ExchangeError
        What ended the stream, if that was an error.
    """
    _check_whole("rows", rows)
    _run(Table(rows), subscription, seconds, count)


def live_chart(
    subscription: Any,
    y: str | Sequence[str] | None = None,
    *,
    points: int = 500,
    seconds: float | None = None,
    count: int | None = None,
) -> None:
    """
    Show numbers of *subscription* over time as a chart that follows it, a line for each symbol.

    Times are the exchange's, in UTC, or those of receipt where it tells none. A dashed upright stands where something is
    missing.

    Parameters
    ----------
    subscription
        As for `live_table`.
    y
        The field, or several; None: the price, or what is nearest to one in such an event.
    points
        Of each line, the newest.
    seconds, count
        As for `live_table`.

    Raises
    ------
    UsageError
        This is no notebook, a parameter makes no sense, or *y* is no number of these events.
    ExchangeError
        What ended the stream, if that was an error.
    """
    _check_whole("points", points)
    fields = (y,) if isinstance(y, str) else None if y is None else tuple(y)
    _run(Chart(fields, points), subscription, seconds, count)


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}={value!r}: takes a whole number of 1 or more")


def _run(view: View, subscription: Any, seconds: float | None, count: int | None) -> None:
    checked_timeout("seconds", seconds)
    if count is not None:
        _check_whole("count", count)
    Live(view, subscription, _cell()).follow(seconds, count)


def _cell() -> Callable[[str], object]:
    """What shows HTML in the output of the present cell, always at the same place."""
    try:
        from IPython import get_ipython
        from IPython.display import HTML, DisplayHandle
    except ImportError:
        raise UsageError("a live cell needs a notebook: pip install 'exchange_ws[notebook]'") from None
    # A terminal would get a line for each drawing.
    if getattr(get_ipython(), "kernel", None) is None:
        raise UsageError("a live cell needs a notebook; in a terminal: exchange-ws stream")
    handle = DisplayHandle()
    shown = False

    def show(html: str) -> None:
        nonlocal shown
        draw, shown = handle.update if shown else handle.display, True
        draw(HTML(html))

    return show


class Live:
    """A *view* of a stream, and what *show* draws of it. Owned by the thread that calls `follow`."""

    def __init__(self, view: View, subscription: Any, show: Callable[[str], object]) -> None:
        self._view = view
        self._subscription = subscription
        self._show = show
        self._came = 0  # events
        self._drawn = ""
        self._draw_at = -math.inf  # when the next drawing is due, monotonic seconds

    def follow(self, seconds: float | None, count: int | None) -> None:
        """Show what comes until the end, or an interrupt; as `live_table` says."""
        ended = "ended by an error"
        try:
            self._draw(None)  # at once: a cell that shows nothing seems to hang
            ended = self._follow(math.inf if seconds is None else time.monotonic() + seconds, count)
        except KeyboardInterrupt:
            ended = "stopped"
        finally:
            self._draw(ended)

    def _follow(self, end: float, count: int | None) -> str:
        """Returns how it ended."""
        while count is None or self._came < count:
            now = time.monotonic()
            if now >= end:
                return "time is over"
            limit = AT_ONCE if count is None else min(AT_ONCE, count - self._came)
            try:
                items = self._subscription.get_many(limit, max(0.0, min(end, self._draw_at) - now))
            except UpdateTimeout:
                items = []
            except SubscriptionClosed:
                return "the stream has ended"
            self._came += sum(not isinstance(item, Gap) for item in items)
            self._view.take(items)
            if time.monotonic() >= self._draw_at:
                self._draw(None)
        return "all came"

    def _draw(self, ended: str | None) -> None:
        began = time.monotonic()
        html = self._html(ended)
        if html != self._drawn:
            self._drawn = html
            self._show(html)
        now = time.monotonic()
        self._draw_at = now + max(REDRAW_S, PAUSES * (now - began))

    def _html(self, ended: str | None) -> str:
        stream = self._subscription
        gaps = stream.gaps
        # Not all of these are told of what is not a client's own: a replay has no buffer.
        counts = {"events": self._came, "dropped": getattr(stream, "dropped", 0), "gaps": len(gaps)}
        lost = any(gap.until is None and gap.reason == "reconnect" for gap in gaps[-display.LEVELS :])
        state = ended or ("reconnecting" if lost else "open")
        parts = list(self._view.parts()) or ['<div style="opacity:.65">nothing came yet</div>']
        if gaps:
            parts.append(display.note(display.gap_text(gaps[-1])))
        title = getattr(stream, "name", None) or type(stream).__name__
        return display.card(title, [f"{name}: {number}" for name, number in counts.items()], *parts, state=state)


class Table:
    """The newest events, newest first."""

    def __init__(self, rows: int) -> None:
        self._items: deque[Any] = deque(maxlen=rows)

    def take(self, items: Sequence[Any]) -> None:
        self._items.extendleft(item for item in items if not isinstance(item, Gap))

    def parts(self) -> Iterable[str]:
        if self._items:
            yield display.table(*display.rows_of(list(self._items)))


@attrs.define
class Series:
    """One line: *points* are (Unix seconds, value)."""

    name: str
    points: deque[tuple[float, float]]


class Chart:
    """Fields of events over time, as a drawing in SVG."""

    # By hand, and not by a library: a line of 500 points takes 0.7 ms, where matplotlib's takes 44 (CPython 3.11), five times
    # a second, in the process that has to keep up with the stream; and lines of SVG take the colours of the notebook's theme.

    def __init__(self, fields: tuple[str, ...] | None, points: int) -> None:
        self._fields = fields
        self._limit = points
        self._charted: dict[type, tuple[str, ...]] = {}  # by kind of event
        self._series: dict[tuple[Any, ...], Series] = {}
        self._since = math.nan  # moments before it are left out
        self._breaks: deque[float] = deque(maxlen=points)  # moments at which something is missing

    def take(self, items: Sequence[Any]) -> None:
        for item in items:
            if isinstance(item, Gap):
                continue
            fields = self._charted.get(type(item)) or self._fields_of(item)
            moment = item.received if item.time is None else item.time
            if math.isnan(self._since):
                self._since = item.received - BEFORE_S
            if not self._since <= moment < math.inf:
                continue
            if item.gap is not None and not item.gap.repaired:
                self._breaks.append(moment)
            for name in fields:
                value = getattr(item, name)
                number = math.nan if value is None else float(value)
                if math.isfinite(number):
                    self._line(item, name).points.append((moment, number))

    def _fields_of(self, item: Any) -> tuple[str, ...]:
        kind = type(item)
        if not isinstance(item, Event):
            raise UsageError(f"a chart is made of events, not of {kind.__name__}; is the subscription made with raw=True?")
        numbers = [field.name for field in attrs.fields(kind) if field.type == "Number"]
        fields = self._fields or CHARTED.get(kind.__name__, ())
        if not fields or not set(fields) <= set(numbers):
            asked = "y" if self._fields is None else f"y={', '.join(map(repr, self._fields))}"
            raise UsageError(f"{asked}: of {kind.__name__} a chart can have {' or '.join(numbers) or 'nothing'}")
        self._charted[kind] = fields
        return fields

    def _line(self, item: Any, name: str) -> Series:
        key = (item.exchange, item.symbol, name)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(f"{item.symbol or item.channel} {name}", deque(maxlen=self._limit))
        return series

    def parts(self) -> Iterable[str]:
        if self._series:
            yield self._legend()
            yield self._drawing()

    def _legend(self) -> str:
        names = []
        for number, series in zip(range(LINES_NAMED), self._series.values()):
            value = display.escaped(f"{series.points[-1][1]:.10g}")
            mark = f'<span style="color:{LINES[number % len(LINES)]}">&#9632;</span>'
            names.append(f'<span style="white-space:nowrap">{mark} {display.escaped(series.name)} <b>{value}</b></span>')
        if len(self._series) > LINES_NAMED:
            names.append(f"and {len(self._series) - LINES_NAMED} more")
        return f'<div style="max-width:{WIDTH}px">{" &nbsp; ".join(names)}</div>'

    def _drawing(self) -> str:
        lines = [series.points for series in self._series.values()]
        first, last = _range((point[0] for points in lines for point in points), 1.0)
        low, high = _range((point[1] for points in lines for point in points), 1e-4 * abs(lines[0][0][1]) or 1.0)
        margin = (high - low) / 20
        low, high = low - margin, high + margin

        def across(moment: float) -> float:
            return LEFT + (moment - first) / (last - first) * (WIDTH - LEFT - RIGHT)

        def down(value: float) -> float:
            return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

        axes = []
        step, values = _ticks(low, high, 5)
        places = max(0, -math.floor(math.log10(step)))
        for value in values:
            at = f"{down(value):.1f}"
            axes.append(f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".15"/>')
            text = f"{value:.{places}f}" if places < 10 else f"{value:.3g}"
            axes.append(f'<text x="{LEFT - 6}" y="{at}" dy=".32em" text-anchor="end">{text}</text>')
        for moment in (first + (last - first) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)):
            anchor = "start" if moment == first else "end" if moment == last else "middle"
            text = display.utc(moment)[: -4 if last - first >= 5.0 else None]
            axes.append(f'<text x="{across(moment):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
        for moment in self._breaks:
            if first <= moment <= last:
                upright = f'd="M{across(moment):.1f} {TOP}V{HEIGHT - BOTTOM}"'
                axes.append(f'<path {upright} stroke="{display.WARNING}" stroke-dasharray="4 3"/>')
        for number, points in enumerate(lines):
            colour = LINES[number % len(LINES)]
            if len(points) == 1:
                axes.append(f'<circle cx="{across(points[0][0]):.1f}" cy="{down(points[0][1]):.1f}" r="2" fill="{colour}"/>')
                continue
            path = " ".join(f"{across(moment):.1f},{down(value):.1f}" for moment, value in points)
            axes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>')
        style = f"width:{WIDTH}px;max-width:100%;height:auto;display:block"
        head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}" font-size="11" fill="currentColor" role="img">'
        return f"{head}{''.join(axes)}</svg>"


def _range(values: Iterable[float], apart: float) -> tuple[float, float]:
    """The least and the greatest of *values*, so far *apart* where they are the same."""
    found = list(values)
    low, high = min(found), max(found)
    middle = (low + high) / 2
    return (low, high) if high - low > abs(middle) * 1e-12 else (middle - apart / 2, middle + apart / 2)


def _ticks(low: float, high: float, most: int) -> tuple[float, list[float]]:
    """The step of an axis from *low* to *high*, 1, 2 or 5 times a power of ten, and the values at which it has marks."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    first = math.ceil(low / step)
    return step, [number * step for number in range(first, math.floor(high / step) + 1)]


# Cells that are run again -----------------------------------------------------------------------------------------------------


class Tidy:
    """
    Lets go of the clients of former runs, after a cell that made a client.

    Such a cell is often one that was run before. What it made then has no name any more, but does not end by itself: client and
    subscriptions know each other, so Python finds out only when it looks for cycles, which is seldom where little happens. And
    IPython keeps what was the last line of a cell, as `Out` and `_`, and the error of one that was interrupted.

    Threads: `made` is raised by any, the rest is the shell's.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self.made = False  # a client, since the last cell
        shell.events.register("post_run_cell", self.after_cell)

    def after_cell(self, result: Any) -> None:
        """The shell has run a cell; *result* is what IPython tells of it."""
        if self.made:
            self.made = False
            self._forget_outputs(getattr(result, "execution_count", None))
            if getattr(result, "success", False) and _keeps_engine(getattr(sys, "last_value", None)):
                _forget_error(self._shell)
            gc.collect()

    def _forget_outputs(self, present: int | None) -> None:
        """Let `Out` and `_` keep none of ours but those of the *present* cell. What has a name stays what it is."""
        shell, hook = self._shell, self._shell.displayhook
        outputs = shell.user_ns.get("_oh", {})
        kept = outputs.get(present)
        stale = [number for number, value in outputs.items() if value is not kept and _is_engine(value)]
        for number in stale:
            del outputs[number]
        for names in (shell.user_ns, shell.user_ns_hidden):
            for number in stale:
                names.pop(f"_{number}", None)
            for name in UNDERS:
                if names.get(name) is getattr(hook, name, None) is not kept and _is_engine(names.get(name)):
                    names[name] = None
        for name in UNDERS:
            if getattr(hook, name, None) is not kept and _is_engine(getattr(hook, name, None)):
                setattr(hook, name, None)


def _forget_error(shell: Any) -> None:
    """Keep no error of a former cell for debuggers: that of an interrupted one has our frames, and these have the client."""
    for name in ("last_exc", "last_traceback", "last_type", "last_value"):
        if hasattr(sys, name):
            delattr(sys, name)
    if hasattr(shell, "InteractiveTB"):
        shell.InteractiveTB.tb = None


def _keeps_engine(error: BaseException | None) -> bool:
    """Whether *error* has one of our objects: it came out of our code, or through a function that had one."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # What a cell has are the names of the notebook: they keep it anyway.
            names = {} if frame.f_locals is frame.f_globals else frame.f_locals
            if str(frame.f_globals.get("__name__")).startswith("exchange_ws.") or any(map(_is_engine, names.values())):
                return True
        error = error.__cause__ or error.__context__
    return False


def _is_engine(value: Any) -> bool:
    """Whether *value* is a client, a subscription or the like, or a list of some, as ``ws, trades`` at the end of a cell."""
    values = value[:10] if isinstance(value, (list, tuple)) else (value,)
    return any(str(kind.__module__).startswith(ENGINE) for one in values for kind in type(one).__mro__)


#: Of each shell, in practice one.
_tidies: dict[int, Tidy] = {}


def client_made() -> None:
    """A client was made in a process that has imported IPython. Any thread; never waits, and never fails."""
    try:
        from IPython import get_ipython

        shell = get_ipython()
        if shell is not None:
            tidy = _tidies.get(id(shell))
            if tidy is None:
                tidy = _tidies[id(shell)] = Tidy(shell)
            tidy.made = True
    except Exception as error:  # another thread is still importing it, somebody has put something else in its place
        log.debug("cells that are run again are not tidied: %s: %s", type(error).__name__, error)
