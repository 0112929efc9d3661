"""Live cells without a notebook: what they draw, how often, and how they end."""

from __future__ import annotations

import json
import sys
import types
import xml.dom.minidom
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

import exchange_ws
from exchange_ws import notebook
from exchange_ws.errors import ConnectFailed, SubscriptionClosed, UpdateTimeout, UsageError
from exchange_ws.events import BookTicker, BookUpdate, Gap, Other, Trade

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "docs" / "notebooks").glob("*.ipynb"))

TRADE = Trade("x", "trades", "A", 1000.0, 1000.5, {}, None, 7, Decimal(100), Decimal(2), "buy", False)
QUOTE = BookTicker("x", "quotes", "A", None, 1000.5, {}, None, Decimal(1), Decimal(1), Decimal(2), Decimal(1))


class Stream:
    """Gives what it was made with, one list after the other, and raises what is an error; what it was asked for is kept."""

    name = "x trades A"
    dropped = 3

    def __init__(self, *parts: object) -> None:
        self._parts = list(parts)
        self.limits: list[int] = []
        self.gaps: list[Gap] = []

    def get_many(self, limit: int, timeout: float) -> list[object]:
        self.limits.append(limit)
        assert 0.0 <= timeout <= notebook.REDRAW_S
        if not self._parts:
            raise UpdateTimeout("none")
        part = self._parts.pop(0)
        if isinstance(part, BaseException):
            raise part
        return part[:limit]


def follow(view: notebook.View, stream: Stream, **end: object) -> list[str]:
    """What is drawn until *end*."""
    shown: list[str] = []
    notebook.Live(view, stream, shown.append).follow(end.get("seconds"), end.get("count"))
    return shown


@pytest.mark.parametrize(
    ("last", "end", "said"),
    [
        (KeyboardInterrupt(), {}, "stopped"),
        (SubscriptionClosed("over"), {}, "the stream has ended"),
        ([TRADE], {"count": 3}, "all came"),
        ([], {"seconds": 0.05}, "time is over"),
    ],
)
def test_ends(last, end, said):
    """At an interrupt, and where the stream or what was asked for ends, it is drawn once more, with all that came, and why."""
    pages = follow(notebook.Table(10), Stream([TRADE, TRADE], last), **end)
    assert ("events: 0" in pages[0], said in pages[-1]) == (True, True)
    assert ("events: 3" if last == [TRADE] else "events: 2") in pages[-1]
    assert "dropped: 3" in pages[-1]


def test_error_of_the_stream():
    """What ended the stream is raised, after what came was drawn."""
    shown: list[str] = []
    with pytest.raises(ConnectFailed):
        notebook.Live(notebook.Table(10), Stream([TRADE], ConnectFailed("gone")), shown.append).follow(None, None)
    assert ("events: 1" in shown[-1], "ended by an error" in shown[-1]) == (True, True)


def test_takes_no_more_than_asked():
    """With a `count`, the events after these are left for the next cell; without one, very many are taken in parts."""
    counted, free = Stream([TRADE] * 5, [TRADE]), Stream([TRADE], KeyboardInterrupt())
    follow(notebook.Table(10), counted, count=6)
    follow(notebook.Table(10), free)
    assert ([6, 1], [notebook.AT_ONCE] * 2) == (counted.limits, free.limits)


def test_draws_seldom():
    """However many parts come one after the other, they are drawn together; while nothing comes, nothing is drawn."""
    pages = follow(notebook.Table(10), Stream(*[[TRADE]] * 1000), seconds=0.1)
    assert (2, True) == (len(pages), "events: 1000" in pages[-1])


def test_gaps_are_told():
    """The newest gap stands below, and an open one of a lost connection in the state; as an item it is no event."""
    stream = Stream([Gap("reconnect", 1.0), TRADE], KeyboardInterrupt())
    stream.gaps = [Gap("overflow", 0.5, 0.6, 4), Gap("reconnect", 1.0)]
    first, last = follow(notebook.Table(10), stream)
    assert ("reconnecting" in first, "gap (reconnect), an unknown" in last, "events: 1" in last) == (True, True, True)


def test_table_of_several_kinds():
    """Of several exchanges it says which one it is; each kind has its columns, and what it has not is empty."""
    (html,) = (table := notebook.Table(10)).take([TRADE, attrs.evolve(QUOTE, exchange="y")]) or table.parts()
    for column in ("exchange", "price", "bid size"):
        assert f">{column}</th>" in html


def drawing(chart: notebook.Chart) -> xml.dom.minidom.Element:
    """The chart, which has to be well-formed."""
    (svg,) = [part for part in chart.parts() if part.startswith("<svg")]
    return xml.dom.minidom.parseString(svg).documentElement


def lines(chart: notebook.Chart) -> list[list[tuple[float, float]]]:
    found = drawing(chart).getElementsByTagName("polyline")
    return [[tuple(map(float, point.split(","))) for point in line.getAttribute("points").split()] for line in found]


def test_chart():
    """Later is further right and more is further up, within the axes; a line for each symbol and field."""
    chart = notebook.Chart(None, 100)
    chart.take(
        [attrs.evolve(TRADE, time=1000.0 + n, price=Decimal(100 + n), symbol=symbol) for n in range(5) for symbol in "AB"]
    )
    chart.take([attrs.evolve(QUOTE, received=1000.5 + n) for n in range(2)])
    found = lines(chart)
    assert [5, 5, 2, 2] == [len(line) for line in found]
    across, down = zip(*found[0])
    assert (sorted(across), sorted(down, reverse=True)) == (list(across), list(down))
    assert all(notebook.LEFT <= x <= notebook.WIDTH and 0 <= y <= notebook.HEIGHT for line in found for x, y in line)


@pytest.mark.parametrize("value", [Decimal(0), Decimal(100), Decimal("1E-8"), Decimal("1E+30"), -5.0])
def test_chart_of_one_value(value):
    """A single point, and a line that does not move, are drawn: nothing is divided by nothing."""
    chart = notebook.Chart(None, 100)
    chart.take([attrs.evolve(TRADE, price=value)])
    assert 1 == len(drawing(chart).getElementsByTagName("circle"))
    chart.take([attrs.evolve(TRADE, price=value, time=1001.0)])
    ((left, right),) = lines(chart)
    assert (left[1], True) == (right[1], left[0] < right[0])


def test_chart_leaves_out():
    """What is missing or no number, what is long past at the start, and of each line the oldest points."""
    chart = notebook.Chart(None, 3)
    chart.take([attrs.evolve(TRADE, price=price) for price in (None, float("nan"), Decimal("Infinity"))])
    chart.take([attrs.evolve(TRADE, time=10.0), attrs.evolve(TRADE, time=float("inf"))])
    assert [] == list(chart.parts())
    chart.take([attrs.evolve(TRADE, time=1000.0 + n) for n in range(9)])
    assert [3] == [len(line) for line in lines(chart)]


def test_chart_of_gaps():
    """An upright stands where something is missing, and none where what was missed came afterwards."""
    chart = notebook.Chart(None, 100)
    gaps = {2: Gap("reconnect", 1.0, 2.0), 4: Gap("reconnect", 1.0, 2.0, repaired=True)}
    chart.take([attrs.evolve(TRADE, time=1000.0 + n, gap=gaps.get(n)) for n in range(6)])
    dashed = [path for path in drawing(chart).getElementsByTagName("path") if path.getAttribute("stroke-dasharray")]
    assert 1 == len(dashed)


def test_chart_with_hostile_symbol():
    """Names of lines are text."""
    chart = notebook.Chart(None, 100)
    chart.take([attrs.evolve(TRADE, symbol="<script>")])
    html = "".join(chart.parts())
    assert ("<script>" in html, "&lt;script&gt;" in html) == (False, True)


@pytest.mark.parametrize(
    ("fields", "item", "said"),
    [
        (("prise",), TRADE, "y='prise': of Trade a chart can have price or size"),
        (("price", "side"), TRADE, "y='price', 'side': of Trade a chart can have price or size"),
        (None, Other("x", "c", None, None, 1.0, {}, None), "y: of Other a chart can have nothing"),
        (
            None,
            BookUpdate("x", "c", "A", 1.0, 1.0, {}, None, "delta", (), (), 1, 0),
            "y: of BookUpdate a chart can have nothing",
        ),
        (None, {"p": 1}, "events, not of dict; is the subscription made with raw=True"),
    ],
)
def test_what_there_is_no_chart_of(fields, item, said):
    """The error says what there could be one of."""
    with pytest.raises(UsageError, match=said):
        notebook.Chart(fields, 100).take([item])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: notebook.live_table(Stream(), rows=0), "rows=0: takes a whole number"),
        (lambda: notebook.live_chart(Stream(), points=True), "points=True: takes a whole number"),
        (lambda: notebook.live_table(Stream(), seconds=-1), "seconds"),
        (lambda: notebook.live_table(Stream(), count=0), "count=0: takes a whole number"),
        (lambda: notebook.live_table(Stream()), "needs a notebook"),
    ],
)
def test_usage(call, said):
    """What makes no sense is refused before anything is taken, and so is a call outside a notebook."""
    with pytest.raises(UsageError, match=said):
        call()


def test_without_ipython(monkeypatch):
    """Without IPython the error says what to install."""
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(UsageError, match=r"pip install 'exchange_ws\[notebook\]'"):
        notebook.live_chart(Stream())


def made_of(**names):
    module = types.ModuleType("IPython")
    vars(module).update(names)
    return module


@pytest.mark.parametrize(
    "found",
    [None, made_of(), made_of(get_ipython=lambda: None), made_of(get_ipython=object), made_of(get_ipython=lambda: 1 / 0)],
    ids=["barred", "half imported", "no shell", "another shell", "broken"],
)
def test_client_where_ipython_is_strange(monkeypatch, found):
    """Whatever is imported as IPython, clients are made as everywhere."""
    monkeypatch.setitem(sys.modules, "IPython", found)
    assert "idle" == exchange_ws.WhiteBIT().state


class Shell:
    """As much of IPython's as cells are followed by."""

    def __init__(self):
        self.events = types.SimpleNamespace(register=lambda *_: None)
        self.user_ns = {"_oh": {}}
        self.user_ns_hidden = {}
        self.displayhook = types.SimpleNamespace()


def failed(function, *args):
    """The error of a call."""
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("no error")


def with_client():
    ws = exchange_ws.WhiteBIT()
    raise KeyError(ws.state)


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ((int, "x"), True),
        ((exchange_ws.WhiteBIT, "no url"), False),
        ((with_client,), False),
    ],
    ids=["another", "ours", "has a client"],
)
def test_error_of_a_former_cell(monkeypatch, call, kept):
    """What a user may want to debug stays, unless it keeps a client."""
    system = types.SimpleNamespace(last_value=failed(*call))
    monkeypatch.setattr(notebook, "sys", system)
    tidy = notebook.Tidy(Shell())
    tidy.made = True
    tidy.after_cell(types.SimpleNamespace(success=True, execution_count=2))
    assert kept == hasattr(system, "last_value")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_bare(path):
    """Without what they showed once, which may not be so any more: they are run as the documentation is built."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    shown = [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    assert (True, []) == (len(cells) > 5, shown)
