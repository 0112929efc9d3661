"""The scripts of docs/examples: each runs as its head says, offline, and what it tells is held against the truth."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import attrs
import pytest
from displays import display

from exchange_ws import ConnectionLost, RequestRejected, RequestTimeout, merge
from exchange_ws.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
#: Seconds that a process may take; reached only when something is broken.
LIMIT_S = 60.0
#: Seconds in which a process ends after Ctrl-C, on a machine that has other things to do.
SOON_S = 10.0


def load(name: str) -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(name: str) -> list[str]:
    """The commands that the head of the example tells."""
    text = (FOLDER / f"{name}.py").read_text("utf-8").split('"""')[1]
    return [line.strip() for line in text.splitlines() if line.startswith("    python ")]


#: Every command of a head that is offline and ends by itself, and what else is worth a run.
BOUNDED = [
    *(command for name in NAMES for command in commands(name) if re.search("--sandbox.* --(count|seconds|fault)", command)),
    "python docs/examples/account_watcher.py bybit-v5 --sandbox --count 12",
    "python docs/examples/safe_order.py BTC_USDT sell 0.01 80000 --sandbox --fault order",
]
#: Commands without an end. What they print first shows that they are at work.
ENDLESS = {
    "price_ticker": "python docs/examples/price_ticker.py --sandbox",
    "spread_watcher": "python docs/examples/spread_watcher.py --sandbox",
    "account_watcher": "python docs/examples/account_watcher.py bitzoom --sandbox",
    "legacy_queue": "python docs/examples/legacy_queue.py --sandbox",
}
#: The same, for the one that only writes a file.
CANDLES = "python docs/examples/candle_builder.py /dev/stdout --sandbox --interval 1"

needs_signals = pytest.mark.skipif(os.name != "posix", reason="only POSIX can send Ctrl-C to one process")


def start(arguments: list[str], cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Python with *arguments* and this source, without credentials."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_WS_")}
    path = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": path, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def killed_at_the_end(processes):
    """Nothing outlives this, nor `LIMIT_S`: then a pipe that a test reads from ends."""
    limit = threading.Timer(LIMIT_S, lambda: [process.kill() for process in processes])
    limit.start()
    try:
        yield
    finally:
        limit.cancel()
        limit.join()
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def processes(folder):
    """All commands, begun together: most of what they do is waiting."""
    chosen = [*BOUNDED, *((CANDLES, *ENDLESS.values()) if os.name == "posix" else ())]
    started = {}
    for command in chosen:
        _, path, *arguments = shlex.split(command)
        started[command] = start([str(ROOT / path), *arguments], folder)
    with killed_at_the_end(started.values()):
        yield started


@pytest.fixture(scope="module")
def outcome(processes):
    """A function that waits for a bounded command: its exit code, its lines, and those on stderr."""
    known = {}

    def outcome(command: str) -> tuple[int, list[str], list[str]]:
        if command not in known:
            out, err = processes[command].communicate(timeout=LIMIT_S)
            known[command] = processes[command].returncode, out.splitlines(), err.splitlines()
        return known[command]

    return outcome


def only(word: str) -> str:
    """The one bounded command with that word."""
    (command,) = (command for command in BOUNDED if word in command)
    return command


def interrupt(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Press Ctrl-C, and wait for the end: exit code, the lines after it, those on stderr."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SOON_S)
    return process.returncode, out.splitlines(), err.splitlines()


@pytest.fixture
def box():
    """A WhiteBIT whose markets stand still unless they are moved."""
    with Sandbox("whitebit", seed=1, tick=None) as box:
        yield box


def spot(box):
    """The markets themselves, by WhiteBIT's names for them."""
    return {
        f"{market.instrument.base}_{market.instrument.quote}": market
        for market in box.markets.markets
        if not market.instrument.perpetual
    }


def truth(box, symbol, since=0):
    """The market's own trades with an id above *since*, oldest first."""
    return [trade for trade in spot(box)[symbol].trades if trade.id > since]


# All of them


@pytest.mark.parametrize("name", NAMES)
def test_pages_name_it(name):
    """The page shows each example with commands from its head, and README lists it."""
    page = (ROOT / "docs" / "examples.rst").read_text("utf-8")
    assert f".. literalinclude:: examples/{name}.py" in page
    shown = [line.strip() for line in page.splitlines() if line.startswith(f"   python docs/examples/{name}.py")]
    assert shown
    assert [] == [command for command in shown if command not in commands(name)]
    assert f"{name}.py" in (ROOT / "README.rst").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short(name):
    """An example is read at one sitting."""
    assert len((FOLDER / f"{name}.py").read_text("utf-8").splitlines()) <= 100


@pytest.mark.parametrize("command", BOUNDED)
def test_command(outcome, command):
    """It does what it says, and ends with 0; on stderr is nothing but what it tells of its connection."""
    code, lines, errors = outcome(command)
    told = re.compile(r"[\w-]+: (connecting|open|closed)|.*the connection broke: .*|(whitebit|it may be|it never).*")
    assert (0, [], True) == (code, [line for line in errors if not told.fullmatch(line)], lines != [] or "candle" in command)


@needs_signals
@pytest.mark.parametrize("name", ENDLESS)
def test_interrupted(processes, name):
    """Ctrl-C ends it soon, with the exit code of that, and without a traceback."""
    process = processes[ENDLESS[name]]
    assert process.stdout is not None
    line = process.stdout.readline()
    code, _, errors = interrupt(process)
    told = re.compile(r"[\w-]+: (connecting|open|closed)")
    assert (130, [], True) == (code, [error for error in errors if not told.fullmatch(error)], line != "")


# Each


def test_price_ticker(outcome):
    """The first price of a market is where its changes are counted from."""
    _, lines, _ = outcome(only("price_ticker"))
    found = [re.fullmatch(r"\d\d:\d\d:\d\d  (\w+) +(\S+)  ([+-]\S+)", line) for line in lines]
    told = [match.groups() for match in found if match]
    first: dict[str, Decimal] = {}
    expected = [(name, price, f"{Decimal(price) - first.setdefault(name, Decimal(price)):+}") for name, price, _ in told]
    assert (4, {"BTC_USDT", "ETH_USDT"}, expected) == (len(lines), set(first), told)


def test_spread_watcher(outcome):
    """The spread is that between the prices in its line, of two of the exchanges, and a line is one step from the next."""
    _, lines, _ = outcome(only("spread_watcher"))
    pattern = r"\S+ +(\S+) bp  buy at (\S+) \((.+)\), sell at (\S+) \((.+)\)"
    told = [match.groups() for line in lines if (match := re.fullmatch(pattern, line))]
    spreads = [(Decimal(bid) - Decimal(ask)) / Decimal(ask) * 10_000 for _, ask, _, bid, _ in told]
    assert [f"{spread:+.2f}" for spread in spreads] == [text for text, *_ in told]
    assert (3, True) == (len(lines), all(abs(a - b) >= Decimal("0.1") for a, b in zip(spreads, spreads[1:])))


@pytest.mark.parametrize(("command", "count"), [("account_watcher.py whitebit", 8), ("account_watcher.py bybit-v5", 12)])
def test_account_watcher(outcome, command, count):
    """So many lines, in the same words for every exchange; which of them come first, who ticks in real time does not know."""
    _, lines, errors = outcome(only(command))
    kinds = {line.split()[0] for line in lines}
    assert (count, set()) == (len(lines), kinds - {"order", "fill", "balance", "position"})
    name = command.split()[1]
    assert {f"{name}: connecting", f"{name}: open", f"{name}: closed"} == set(errors)


def test_account_watcher_tells_each_fill(box):
    """The fills of an order add up to what it says is filled in the end."""
    example = load("account_watcher")
    fills: Counter[str] = Counter()
    filled: dict[str, Decimal] = {}
    with box.client() as ws, merge(*(ws.subscribe(*words) for words in example.CHANNELS["whitebit"])) as merged:
        for _ in range(40):
            box.step(5)
            ws.ping()  # its answer comes behind what the account was told
            while merged.qsize():
                text = example.line(merged.get_nowait())
                if match := re.fullmatch(r"fill +\w+ (\d+): \w+ (\S+) at \S+", text):
                    fills[match[1]] += Decimal(match[2])
                if match := re.fullmatch(r"order +\w+ (\d+): .* at \S+, (\S+) filled: FILLED", text):
                    filled[match[1]] = Decimal(match[2])
    assert len(filled) > 1
    assert filled == {order: fills[order] for order in filled}


def test_candle_builder(outcome, folder):
    """Candles are in order and whole, the first one excepted."""
    outcome(only("candle_builder"))
    with open(folder / "candles.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    starts = [int(row["start"]) for row in rows]
    assert (["start", "", "", "", ""], sorted(set(starts))) == ([row["missing"] for row in rows], starts)
    for row in rows:
        first, low, high, last = (Decimal(row[name]) for name in ("open", "low", "high", "close"))
        assert low <= min(first, last) <= max(first, last) <= high
        assert int(row["trades"]) > 0 < Decimal(row["volume"])


@pytest.mark.parametrize(("missed", "reason"), [(20, ""), (600, "reconnect")], ids=["repaired", "lost"])
def test_candles_are_the_markets_or_marked(box, missed, reason):
    """
    What has no mark is the sum of the market's own trades of that interval, and no interval of which a trade was missed is
    without a mark; a loss that was repaired leaves none.
    """
    candles = load("candle_builder").candles
    with box.client() as ws, ws.subscribe_trades("BTC_USDT") as trades:
        box.step(205)  # the loss begins and ends within an interval
        seen = [next(trades)]
        box.freeze()  # nothing comes any more
        box.step(missed)
        box.drop()
        box.wait_received("trades_subscribe", 2)
        box.step(200)
        last = truth(box, "BTC_USDT")[-1].id
        while seen[-1].id != last:
            seen.append(trades.get(LIMIT_S))
    rows = list(candles(seen, 1))
    ids = {trade.id for trade in seen}
    sums: Counter[int] = Counter()
    lost = set()
    for trade in truth(box, "BTC_USDT", since=seen[0].id - 1):
        sums[trade.time_us // 1_000_000] += trade.size
        if trade.id not in ids:
            lost.add(trade.time_us // 1_000_000)
    marked = {row["start"] for row in rows if row["missing"] == "reconnect"}
    whole = {row["start"]: row["volume"] for row in rows if not row["missing"]}
    assert {start: sums[start] for start in whole} == whole
    assert (bool(reason), True) == (bool(lost), lost <= marked)
    assert {"start", "end", reason, ""} == {row["missing"] for row in rows}
    assert sum(trade.size for trade in seen) == sum(row["volume"] for row in rows)


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_candle_files(tmp_path, extension):
    """Both files have the rows that were written."""
    builder = load("candle_builder")
    rows = [{**builder.begun(start, "reconnect"), "volume": Decimal("1.50"), "trades": 2} for start in (60, 120)]
    path = tmp_path / f"candles.{extension}"
    if extension == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        builder.write(str(path), iter(rows))
        found = [{**row, "volume": Decimal(row["volume"])} for row in parquet.read_table(path).to_pylist()]
    else:
        builder.write(str(path), iter(rows))
        with open(path, newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        rows = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert rows == found


@needs_signals
def test_candle_builder_completes_its_file(processes):
    """Ctrl-C ends a recording as anything else would: the candle that was being built is in it, with a mark."""
    process = processes[CANDLES]
    assert [*load("candle_builder").COLUMNS] == process.stdout.readline().rstrip().split(",")
    first = process.stdout.readline().rstrip()
    code, lines, errors = interrupt(process)
    rows = [first, *lines]
    assert (0, [], "start", "end") == (code, errors, rows[0].split(",")[-1], rows[-1].split(",")[-1])


@pytest.mark.parametrize("word", ["--seconds 2$", "--pump"])
def test_legacy_queue(outcome, word):
    """Both ways of filling the queue bring the replayed trades and live ones."""
    (command,) = (command for command in BOUNDED if re.search(f"legacy_queue.*{word}", command))
    _, lines, _ = outcome(command)
    match = re.fullmatch(r"(\d+) trades, 0 messages dropped", lines[-1])
    assert match and int(match[1]) > 200
    assert ["4 workers wait for trades", "BTC_USDT", "ETH_USDT"] == [lines[0], *(line.split()[0] for line in lines[1:-1])]


@pytest.mark.parametrize("own_thread", [False, True], ids=["call", "pump"])
def test_legacy_queue_works_on_all_that_came(box, own_thread, capsys):
    """At its end the workers have had every trade that was received, once."""
    legacy = load("legacy_queue")
    ledger = legacy.Ledger()
    with box.client() as ws:
        trades = ws.subscribe_trades("BTC_USDT", "ETH_USDT")
        began = {symbol: truth(box, symbol)[-100].id - 1 for symbol in ("BTC_USDT", "ETH_USDT")}  # the replay
        box.step(500)
        ws.ping()  # answered behind everything that was sent until now
        legacy.run(trades, ledger, 0.0, own_thread=own_thread)
    expected = {symbol: truth(box, symbol, since) for symbol, since in began.items()}
    sums = {symbol: sum(trade.price * trade.size for trade in theirs) for symbol, theirs in expected.items()}
    assert (sums, sum(map(len, expected.values()))) == (dict(ledger.amounts), ledger.trades)


@pytest.mark.parametrize("own_thread", [False, True], ids=["call", "pump"])
def test_legacy_queue_of_a_dead_link(box, own_thread):
    """Where the end of the subscription is not confirmed, that is an error, and all threads end all the same."""
    legacy = load("legacy_queue")
    before = set(threading.enumerate())
    with box.client() as ws:
        trades = ws.subscribe_trades("BTC_USDT")
        ws._options = attrs.evolve(ws._options, timeout=0.5)  # for what is not confirmed
        ours = set(threading.enumerate())
        box.freeze()
        with pytest.raises(RequestTimeout):
            legacy.run(trades, legacy.Ledger(), 0.0, own_thread=own_thread)
        assert set(threading.enumerate()) <= ours
        box.thaw()
    assert set(threading.enumerate()) <= before


@needs_signals
def test_select_loop(folder):
    """Visitors are told the latest prices of both subscriptions, while these go on."""
    process = start([str(FOLDER / "select_loop.py"), "--sandbox", "--port", "0"], folder)
    with killed_at_the_end([process]):
        port = int(process.stdout.readline().split()[-1])
        lines: list[str] = []
        while len(lines) < 4:
            with socket.create_connection(("127.0.0.1", port), LIMIT_S) as visitor:
                lines = visitor.makefile().read().splitlines()
        code, _, errors = interrupt(process)
    told = [re.fullmatch(r"(\w+) (last [\d.]+|bid [\d.]+ ask [\d.]+)", line) for line in lines]
    assert ["BTC_USDT", "BTC_USDT", "ETH_USDT", "ETH_USDT"] == [match and match[1] for match in told]
    assert (130, []) == (code, errors)


@pytest.fixture
def screen():
    """Variables of a display for windows that nobody sees."""
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    with display() as environment:
        yield environment


def test_tk_window(folder, screen):
    """The rows are what stands in the market's book, after a loss too; the end is told in the title, and Tk is idle then."""
    # In a process of its own: Xlib ends one whose display has gone.
    process = start([str(Path(__file__).with_name("window_rows.py")), str(FOLDER / "tk_window.py")], folder, **screen)
    with killed_at_the_end([process]):
        out, err = process.communicate()
    *compared, end = [json.loads(line) for line in out.splitlines()]
    (loss,) = err.splitlines()
    assert (0, True) == (process.returncode, loss.startswith("whitebit/public #1: the connection broke"))
    assert (4, [tops for _, tops in compared]) == (len(compared), [rows for rows, _ in compared])
    assert ["WhiteBIT: open", "the subscription has ended", 0] == end


#: Runs the example after it, and says so once its window is at work.
TELL_LOOP = """
import runpy, sys, tkinter
mainloop = tkinter.Tk.mainloop
def told(window, n=0):
    window.after(0, print, "looping")
    window.after(0, sys.stdout.flush)
    mainloop(window, n)
tkinter.Tk.mainloop = told
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@needs_signals
def test_tk_window_interrupted(folder, screen):
    """Ctrl-C closes the window, whatever Tk is at."""
    process = start(["-c", TELL_LOOP, str(FOLDER / "tk_window.py"), "--sandbox"], folder, **screen)
    with killed_at_the_end([process]):
        assert "looping\n" == process.stdout.readline()
        assert (0, [], []) == interrupt(process)


@pytest.mark.parametrize("fault", ["answer", "order"])
def test_safe_order(outcome, fault):
    """Whether the answer is lost or the order itself, in the end there is one order."""
    _, lines, errors = outcome(only(f"--fault {fault}"))
    order, count = lines
    assert re.fullmatch(r"order \d+: BTC_USDT (buy 0.01 60000|sell 0.01 80000): OPEN", order)
    assert "1 open in BTC_USDT" == count
    assert [line for line in errors if line.startswith(("it may be there: looking", "it never left: trying again"))]


class Desk:
    """An exchange's answers to tries of placing an order: an error, and whether the order arrives at once, late or never."""

    def __init__(self, *tries):
        self.tries = list(tries)
        self.orders = []
        self.late = []

    def order_limit_place(self, market, side, amount, price, *, client_order_id):
        error, arrives = self.tries.pop(0)
        self.orders += self.late
        self.late = []
        if arrives is not None:
            {"now": self.orders, "late": self.late}[arrives].append({"client_order_id": client_order_id})
        if error is not None:
            raise error
        return self.orders[-1]

    def request_orders_pending(self, market):
        return {"records": [{"client_order_id": ""}]}

    def request_orders_executed(self, market):
        return {"records": self.orders}


LOST, NEVER_LEFT = ConnectionLost("", sent=True), ConnectionLost("", sent=False)


@pytest.mark.parametrize(
    "tries",
    [
        pytest.param([(None, "now")], id="answered"),
        pytest.param([(RequestTimeout("", sent=True), "now")], id="no answer in time"),
        pytest.param([(LOST, "now")], id="answer lost"),
        pytest.param([(LOST, None), (NEVER_LEFT, None), (None, "now")], id="order lost"),
        pytest.param([(LOST, "late"), (RequestRejected("a second one of that id"), None)], id="came after the look"),
    ],
)
def test_safe_order_is_placed_once(tries, monkeypatch):
    """However the tries end, the exchange has one order, and it is the one that is returned."""
    module = load("safe_order")
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0)
    desk = Desk(*tries)
    order = module.place(desk, "BTC_USDT", "buy", "1", "2", "mine")
    assert ([{"client_order_id": "mine"}], [], order) == (desk.orders, desk.tries, desk.orders[0])


@pytest.mark.parametrize(
    ("tries", "error"),
    [
        pytest.param([(RequestRejected("too little money"), None)], "too little money", id="refused"),
        pytest.param([(LOST, None)] * 5, "whether there is an order mine is unknown after 5 tries", id="unknown"),
    ],
)
def test_safe_order_that_is_none(tries, error, monkeypatch):
    """A refusal is told as it is, and is not tried again; who never gets an answer is told what to look for."""
    module = load("safe_order")
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0)
    desk = Desk(*tries)
    with pytest.raises((RequestRejected, ConnectionLost)) as caught:
        module.place(desk, "BTC_USDT", "buy", "1", "2", "mine")
    assert (error, [], []) == (str(caught.value), desk.orders, desk.tries)
