"""`exchange-ws book`: the ladder with literals, the rest as processes that talk to the sandbox."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest
from rich.console import Console
from test_cli import LIMIT_S, run, start

from exchange_ws.cli.book import State, _aligned, ladder, to_json
from exchange_ws.events import BookUpdate, Gap
from exchange_ws.orderbook import Book
from exchange_ws.sandbox import Sandbox

__all__ = ["start"]  # a fixture


def state(levels=3, **fields):
    """A book of so many levels a side around 100, with sizes of 1."""
    bids = tuple((100 - Decimal(number) / 2, Decimal(1)) for number in range(1, levels + 1))
    asks = tuple((100 + Decimal(number), Decimal("0.50")) for number in range(1, levels + 1))
    book = Book()
    book.apply(BookUpdate("made-up", "book", "X", 1.5, 0.0, None, None, "snapshot", bids, asks, 7, None))
    return State(**{"book": book, "stale": False, "gaps": [], "link": "open", "changes": 1, **fields})


def drawn(shown, depth=10, height=24, width=80):
    """The lines of the ladder, as they stand on the terminal."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(ladder(("made-up", "X"), shown, 2.5, depth, height, width))
    return console.file.getvalue().rstrip("\n").split("\n")


def test_ladder():
    """Asks above and bids below, best in the middle, with bars as long as what stands up to there."""
    assert [
        "made-up X   live   2.5 changes/s   gaps 0",
        "price  size  total",
        "102.0  0.50   1.00  ████████████████████",
        "101.0  0.50   0.50  ██████████",
        "mid 100.25   spread 1.5",
        " 99.5  1.00   1.00  ████████████████████",
        " 99.0  1.00   2.00  ████████████████████████████████████████",
    ] == [line.rstrip() for line in drawn(state(), depth=2)]


def test_ladder_of_a_stale_book():
    """What is not to be traded on says so, and why: the link."""
    (head, *_) = drawn(state(stale=True, link="reconnecting", gaps=[Gap("reconnect", 1.0)]))
    assert "made-up X   stale   reconnecting   2.5 changes/s   gaps 1" == head.rstrip()


@pytest.mark.parametrize(("height", "width"), [(24, 80), (10, 40), (7, 22), (6, 14), (3, 6)])
def test_ladder_fits(height, width):
    """Whatever the terminal's size, no line is longer and there are no more of them, but for the three that say what it is."""
    lines = drawn(state(levels=50), 50, height, width)
    assert max(map(len, lines)) <= width
    assert len(lines) < max(height, 6)


def test_ladder_keeps_its_lines():
    """With fewer levels than are shown, the best prices stand where they stand with all of them."""
    assert ["mid", "mid"] == [drawn(state(levels=levels), depth=5)[7][:3] for levels in (5, 1)]


def test_ladder_of_nothing():
    """A book without orders can be drawn."""
    assert "nothing on one side" in "\n".join(drawn(state(levels=0)))


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        (["1", "10.25"], ["1.00", "10.25"]),
        (["1", "10"], ["1", "10"]),
        (["1E-8", "1"], ["0.00000001", "1.00000000"]),
        (["1E+99", "1.5"], ["1E+99", "1.5"]),
        ([], []),
    ],
)
def test_aligned(numbers, texts):
    """Digits of the same worth stand below each other."""
    assert texts == _aligned([Decimal(number) for number in numbers])


def test_to_json():
    """The best levels, exact, with what tells which state it is."""
    line = to_json({"exchange": "made-up", "symbol": "X"}, state(), 1)
    assert {
        "exchange": "made-up",
        "symbol": "X",
        "time": 1.5,
        "sequence": 7,
        "stale": False,
        "bids": [["99.5", "1"]],
        "asks": [["101", "0.50"]],
    } == json.loads(line)


@pytest.mark.parametrize(
    "arguments", [("whitebit", "BTC_USDT", "limit=5"), ("bybit-spot-v3", "BTCUSDT"), ("bitzoom", "BTCUSDT", "limit=5")]
)
def test_lines(arguments):
    """Into a pipe it prints one line for each change, and ends after so many."""
    ended = run("book", *arguments, "--sandbox", "--count", "3", "--depth", "2")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (0, "", 3) == (ended.returncode, ended.stderr, len(lines))
    assert [(False, 2, 2)] * 3 == [(line["stale"], len(line["bids"]), len(line["asks"])) for line in lines]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("whitebit", "NO_SUCH"), 1, "depth"),
        (("whitebit", "BTC_USDT", "limit=7"), 2, "depth limit 7: takes one of"),
        (("bybit-spot-v3", "BTCUSDT", "limit=7"), 2, "limit: a book of bybit-spot-v3 has no such option"),
        (("whitebit", "BTC_USDT", "ETH_USDT"), 2, "ETH_USDT: takes one symbol"),
    ],
)
def test_refusals(arguments, code, said):
    """One line on stderr and the documented exit code."""
    ended = run("book", *arguments, "--sandbox")
    assert (code, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n")), ended.stderr
    assert ended.stderr.startswith("exchange-ws: ")
    assert said in ended.stderr


def test_lost(start):
    """When the connection is lost, a line says that the book is stale, and another that it is not any more; the gap is told."""
    with Sandbox("whitebit", seed=1) as box:
        process = start("book", "whitebit", "BTC_USDT", "--url", box.url)
        assert not json.loads(process.stdout.readline())["stale"]
        box.restart(1.0)  # long enough to be seen: a connection that is back at once leaves the gap, and no such line
        while not json.loads(process.stdout.readline())["stale"]:
            pass
        while json.loads(process.stdout.readline())["stale"]:
            pass
        process.stdout.close()
        assert (0, "gap (reconnect)") == (process.wait(LIMIT_S), process.stderr.read().split(": ")[1].split(",")[0])
