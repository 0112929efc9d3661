"""What notebooks show of clients, subscriptions and events, and that nothing of an exchange is markup there."""

from __future__ import annotations

import re
import threading
from decimal import Decimal
from html.parser import HTMLParser

import attrs
import pytest
from wire_peers import LIMIT_S

from exchange_ws import display, events
from exchange_ws.events import BookUpdate, Candle, Gap, Other, Trade
from exchange_ws.sandbox import Sandbox

#: What an exchange may send where a symbol is expected: markup, the end of an attribute, a text that is shown backwards.
HOSTILE = "<script>alert(1)</script>\"'&\N{RIGHT-TO-LEFT OVERRIDE}\x1b[2J" + "A" * 10_000


class Read(HTMLParser):
    """Tags and text of some HTML; every tag is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag, attributes):
        assert all(name == "style" for name, _ in attributes)
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        self.text += data + " "


def shown(thing: object) -> str:
    """The text that a notebook shows, blanks as single ones."""
    return " ".join(Read(thing._repr_html_()).text.split())


def an_event(kind: type, value: object) -> object:
    """An event of *kind* whose fields are all *value*."""
    given = {field.name: value for field in attrs.fields(kind)}
    times = {name: 1.5 for name in ("time", "received", "start") if name in given}
    levels = {name: ((value, value),) * 9 if value else () for name in ("bids", "asks") if name in given}
    return kind(**{**given, **times, **levels, "gap": Gap(str(value), 1.0, 2.0, 3)})


KINDS = [getattr(events, name) for name in events.__all__ if name not in ("Event", "Gap")]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts(kind):
    """Whatever an exchange sends, there is no markup but ours, nothing that hides or turns text, and no megabyte of it."""
    html = an_event(kind, HOSTILE)._repr_html_()
    page = Read(html)
    assert set(page.tags) <= {"div", "span", "b", "code", "table", "tr", "th", "td"}
    assert "alert(1)" in page.text
    assert re.search("[\x1b\N{RIGHT-TO-LEFT OVERRIDE}]", html) is None
    assert len(html) < 30_000


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_told(kind):
    """What an exchange does not tell is empty, not "None"."""
    assert "None" not in shown(attrs.evolve(an_event(kind, None), gap=None))


def test_gap_in_hostile_words():
    """A gap is escaped as events are."""
    assert "<script>" not in Gap(HOSTILE, 1.0, 2.0)._repr_html_()


TRADE = Trade("x", "trades", "A", 43200.5, 43201.0, {}, None, 7, Decimal("1E-8"), Decimal(2), "buy", False)


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (TRADE, "Trade x trades A 1970-01-01 12:00:00.500 UTC id price size side snapshot 7 0.00000001 2 buy False"),
        (
            attrs.evolve(TRADE, time=None, symbol=None, gap=Gap("overflow", 1.0, 1.5, 12)),
            "Trade x trades 1970-01-01 12:00:01.000 UTC id price size side snapshot 7 0.00000001 2 buy False"
            " gap (overflow), 12 messages missing, within 0.500 s",
        ),
        (
            BookUpdate("x", "depth", "A", 1.5, 1.5, {}, None, "delta", tuple((n, 1) for n in (5, 4, 3, 2)), ((6, 0),), 7, None),
            "BookUpdate x depth A 1970-01-01 00:00:01.500 UTC kind sequence previous delta 7"
            " bids 5 x 1 4 x 1 3 x 1 1 more asks 6 gone",
        ),
        (
            Candle("x", "candles", "A", None, 61.0, {}, None, 60.0, 1, 4, 1, 2, 9, 8, 60, None),
            "Candle x candles A 1970-01-01 00:01:01.000 UTC start open high low close volume quote volume interval closed"
            " 00:01:00.000 1 4 1 2 9 8 60",
        ),
        (
            Other("x", "new", None, None, 1.5, {"a": [1]}, None),
            'Other x new 1970-01-01 00:00:01.500 UTC {"a": [1]}',
        ),
        (
            Gap("reconnect", 1.0),
            "Gap reason since until dropped repaired reconnect 00:00:01.000 still open False",
        ),
    ],
    ids=["trade", "after a gap", "book", "candle", "other", "gap"],
)
def test_events(thing, text):
    """One line says what it is, a table its own fields, and a line that something is missing before it."""
    assert text == shown(thing)


@pytest.mark.parametrize("seconds", [None, float("nan"), float("inf"), -1e300, 1e18])
def test_times_that_no_calendar_has(seconds):
    """They are left out, and no error: a notebook would show a traceback instead of the event, and a command end."""
    assert ("", "") == (display.utc(seconds), display.local(seconds))


def test_client_and_subscriptions():
    """Before, during and after a connection: state, counters, what is subscribed, the newest event; no key and no address."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        ws = box.client()
        secrets = (box.api_key, box.api_secret, box.token, box.url)
        before = shown(ws)
        with ws:
            trades = ws.subscribe("trades", "BTC_USDT")
            orders = ws.subscribe("ordersPending", "BTC_USDT")
            ws.ping()
            pages = [ws._repr_html_(), trades._repr_html_(), orders._repr_html_()]
            during = [" ".join(Read(page).text.split()) for page in pages]
            newest = trades.latest
        after = [shown(ws), shown(trades)]
    assert before.startswith("WhiteBIT idle messages: 0")
    assert during[0].startswith("WhiteBIT open messages: ")
    assert f"subscription waiting dropped gaps {trades.name} {trades.qsize()} 0 0 {orders.name}" in during[0]
    row = " ".join(display.cell(newest, column) for column in ("time", "symbol", *display.COLUMNS["Trade"]))
    assert f"{trades.name} open waiting: {trades.qsize()} dropped: 0 gaps: 0 time symbol side price size id {row}" == during[1]
    assert after[0].startswith(f"WhiteBIT closed messages: {ws.stats()['messages']}")
    assert after[1].startswith(f"{trades.name} closed")
    assert [] == [secret for secret in secrets for page in pages if secret in page]


def test_subscription_takes_no_event():
    """Being shown takes nothing away from who reads, and tells of the newest gaps."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box, box.client(queue_size=1) as ws:
        trades = ws.subscribe("trades", "BTC_USDT")
        box.step(3)
        ws.ping()
        waiting = trades.qsize()
        text = shown(trades)
        assert "gap (overflow), " in text
        assert (waiting, True) == (trades.qsize(), trades.dropped > 0)


def test_raw_subscription():
    """With `raw` the vendor's JSON stands in the newest row."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box, box.client() as ws:
        trades = ws.subscribe("trades", "BTC_USDT", raw=True)
        ws.ping()
        assert '"method": "trades_update"' in shown(trades)


def test_shown_while_a_reader_waits():
    """A client whose reader is held up by a full buffer is shown at once all the same."""
    with Sandbox("whitebit", seed=3, tick=0.001, limits=False) as box, box.client() as ws:
        trades = ws.subscribe("trades", "*", queue_size=1, overflow="block")
        pages: list[str] = []
        thread = threading.Thread(target=lambda: pages.extend((ws._repr_html_(), trades._repr_html_())))
        thread.start()
        thread.join(LIMIT_S)
        assert 2 == len(pages)
