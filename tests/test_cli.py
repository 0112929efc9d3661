"""The command line: its pure parts with literals, the rest as processes that talk to the sandbox."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from importlib import metadata
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from exchange_ws import cli, events
from exchange_ws.cli import common, request, stream
from exchange_ws.display import gap_text
from exchange_ws.errors import UsageError
from exchange_ws.events import BookUpdate, Gap, Other, Trade
from exchange_ws.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process may take; reached only when something is broken.
LIMIT_S = 60.0
#: In Bybit's words.
ORDER = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "50000"}


def trade(symbol: str = "BTC_USDT", number: int = 1, **fields: object) -> Trade:
    """A trade at 12:00:00.5 UTC; *number* is its id."""
    values = {"exchange": "whitebit", "channel": "trades", "symbol": symbol, "time": 43200.5, "received": 43200.625}
    values.update(raw={"id": number}, gap=None, id=number, price=Decimal("67345.10"), size=Decimal("0.00000001"), side="buy")
    return Trade(**{**values, **fields})


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "exchange_ws", *arguments]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without credentials, and with *variables*."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_WS_")}
    return {**inherited, **variables}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def start():
    """
    A function that starts the command line with pipes.

    What still runs at the end, or after `LIMIT_S`, is killed: then a pipe that a test reads from ends.
    """
    started = []

    def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen(command(*arguments), cwd=ROOT, **{"env": environment(), **pipes})
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        started.append((process, limit))
        return process

    yield start
    for process, limit in started:
        limit.cancel()
        process.kill()
        process.communicate()


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=1) as box:
        yield box


# Words into values.


@pytest.mark.parametrize(
    ("words", "topics", "options"),
    [
        ([], [], {}),
        (["BTC_USDT", "ETH_USDT"], ["BTC_USDT", "ETH_USDT"], {}),
        (["BTC_USDT", "limit=10", "interval=0.01"], ["BTC_USDT"], {"limit": 10, "interval": "0.01"}),
        (["limit=-1", "BTC_USDT"], ["BTC_USDT"], {"limit": -1}),
        (["a=b=c", "d="], [], {"a": "b=c", "d": ""}),
        (["=x", "1=x", "a-b=x"], ["=x", "1=x", "a-b=x"], {}),
        (["n=1_000", "m=٣"], [], {"n": "1_000", "m": "٣"}),
    ],
)
def test_topics_and_options(words, topics, options):
    """``key=value`` is an option where the key could be a Python keyword, everything else a symbol."""
    assert (topics, options) == common.topics_and_options(words)


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], []),
        (["[]"], []),
        (['["BTC_USDT", 5, {"a": null}]'], ["BTC_USDT", 5, {"a": None}]),
        (["BTC_USDT", "5"], ["BTC_USDT", "5"]),
        (["[1]", "[2]"], ["[1]", "[2]"]),
    ],
)
def test_request_params(words, params):
    """One JSON list, or words as strings."""
    assert params == request.request_params(words)


def test_request_params_that_are_no_json():
    """What begins like a list and is none is refused, and shown."""
    with pytest.raises(UsageError) as caught:
        request.request_params(["[BTC_USDT]"])
    assert str(caught.value).startswith("params='[BTC_USDT]': takes a JSON list, or words")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], ""),
        (["BTC_USDT"], ""),
        (["[5]"], ""),
        (
            ["BTC_USDT", "86400"],
            "words are sent as text; for other values give one JSON list: '[\"BTC_USDT\", 86400]'",
        ),
    ],
)
def test_params_hint(words, hint):
    """A word that may have been meant as a number is, once the exchange has refused it, shown as one."""
    assert hint == request.params_hint(words)


@pytest.mark.parametrize(
    ("accepted", "found"),
    [
        (("url", "api_key", "api_secret", "token"), {"api_key": "k", "api_secret": "s"}),
        (("host", "token"), {}),
    ],
)
def test_credentials(monkeypatch, accepted, found):
    """Only what the client takes, only from its own exchange's variables, and an empty variable is none."""
    variables = {"BYBIT_SPOT_V3_KEY": "k", "BYBIT_SPOT_V3_SECRET": "s", "BYBIT_SPOT_V3_TOKEN": "", "WHITEBIT_TOKEN": "t"}
    for name, value in variables.items():
        monkeypatch.setenv("EXCHANGE_WS_" + name, value)
    assert found == common.credentials("bybit-spot-v3", accepted)


# Events into text.

GAP = Gap("overflow", 1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (
            trade(),
            '{"event": "Trade", "exchange": "whitebit", "channel": "trades", "symbol": "BTC_USDT", "time": 43200.5, '
            '"received": 43200.625, "id": 1, "price": "67345.10", "size": "0.00000001", "side": "buy", "snapshot": false}',
        ),
        (
            BookUpdate("x", "depth", "A", None, 1.5, None, GAP, "delta", ((Decimal("1E-8"), Decimal(0)),), (), 7, 6),
            '{"event": "BookUpdate", "exchange": "x", "channel": "depth", "symbol": "A", "time": null, "received": 1.5, '
            '"gap": {"reason": "overflow", "since": 1.0, "until": 2.0, "dropped": 3, "repaired": false}, '
            '"kind": "delta", "bids": [["0.00000001", "0"]], "asks": [], "sequence": 7, "previous": 6}',
        ),
        (
            Other("x", "new", None, None, 1.5, {"a": [1]}, None),
            '{"event": "Other", "exchange": "x", "channel": "new", "symbol": null, "time": null, '
            '"received": 1.5, "raw": {"a": [1]}}',
        ),
        (
            Gap("reconnect", 1.0),
            '{"event": "Gap", "reason": "reconnect", "since": 1.0, "until": null, "dropped": null, "repaired": false}',
        ),
        (["raw", {"p": "1"}], '["raw", {"p": "1"}]'),
    ],
    ids=["trade", "gap and decimals", "other", "gap", "raw"],
)
def test_to_json(item, line):
    """The documented fields, Decimals as strings in full digits, the vendor's JSON only where there is nothing else."""
    assert line == common.to_json(item)


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (Gap("overflow", 1.0, 1.5, 12), "gap (overflow), 12 messages missing, within 0.500 s"),
        (Gap("reconnect", 1.0, 3.0), "gap (reconnect), an unknown number of messages missing, within 2.000 s"),
        (Gap("reconnect", 1.0, 3.0, None, True), "gap (reconnect), repaired, nothing is missing, within 2.000 s"),
        (Gap("joined late", 1.0), "gap (joined late), an unknown number of messages missing"),
    ],
)
def test_gap_text(gap, text):
    """Why, how much, how long."""
    assert text == gap_text(gap)


@pytest.mark.parametrize("kind", stream.COLUMNS)
def test_columns_exist(kind):
    """The table's columns are fields of the event; those of a book tell of its levels."""
    fields = {field.name for field in attrs.fields(getattr(events, kind))}
    made = {"bids/asks", "best changed bid", "best changed ask"} if kind == "BookUpdate" else set()
    assert set() == set(stream.COLUMNS[kind]) - fields - made


DELTA = BookUpdate(
    "x", "d", "A", None, 1.0, None, None, "delta", ((Decimal(5), Decimal("0.2")), (4, 1)), ((Decimal(6), Decimal(0)),), 1, 0
)


@pytest.mark.parametrize(
    ("item", "column", "text"),
    [
        (trade(), "size", "0.00000001"),
        (trade(side=None), "side", ""),
        (DELTA, "kind", "delta"),
        (DELTA, "bids/asks", "2/1"),
        (DELTA, "best changed bid", "5 x 0.2"),
        (DELTA, "best changed ask", "6 gone"),
        (attrs.evolve(DELTA, asks=()), "best changed ask", ""),
        (trade(time=None, received=None), "time", ""),
        (Other("x", "new", None, None, 1.5, {"a": [1]}, None), "data", '{"a": [1]}'),
        (["BTC", 1], "data", '["BTC", 1]'),
    ],
)
def test_cell(item, column, text):
    """What an exchange does not tell is an empty cell."""
    assert text == stream.cell(item, column)


def drawn(status: stream.Status, newest: dict, recent: list, gap: Gap | None, height: int = 24, width: int = 80) -> list[str]:
    """The lines of the table on a terminal of so many lines and characters."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(stream.screen(status, newest, recent, gap, height, width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


OPEN = stream.Status("whitebit", "trades", "open", 12.34, 0, 0)


def test_screen_before_the_first_event():
    """The state is seen while nothing comes."""
    lines = drawn(OPEN, {}, [], None)
    assert ["whitebit trades   open   12.3 events/s   dropped 0   gaps 0", "waiting for the first event"] == lines


def test_screen_with_many_symbols():
    """However many symbols and rows there are, 24 lines of 80 characters are enough, and the newest are in them."""
    recent = [trade(f"[A{number % 40}]_USDT", number) for number in range(200, 0, -1)]
    newest = {item.symbol: item for item in reversed(recent)}
    lines = drawn(attrs.evolve(OPEN, dropped=7, gaps=1), newest, recent, Gap("overflow", 1.0, 1.5, 7))
    assert "whitebit trades   open   12.3 events/s   dropped 7   gaps 1" == lines[0]
    assert ["time", "symbol", "side", "price", "size", "id"] == lines[2].split()
    assert ["[A0]_USDT", "buy", "67345.10", "0.00000001", "200"] == lines[4].split()[1:]  # brackets are no markup
    assert "8 of 40 symbols   gap (overflow), 7 messages missing, within 0.500 s" == lines[-1]
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80


def test_screen_keeps_few_symbols_in_place():
    """As long as all symbols fit, each keeps its line, whoever traded last."""
    one, two, three = trade("A", 1), trade("B", 2), trade("A", 3, side="sell")
    lines = drawn(OPEN, {"A": three, "B": two}, [three, two, one], None)
    rows = [line.split()[1:3] + line.split()[-1:] for line in lines[4:] if line]
    assert [["A", "sell", "3"], ["B", "buy", "2"], ["A", "sell", "3"], ["B", "buy", "2"], ["A", "buy", "1"]] == rows


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, ["time", "symbol", "side", "price", "size", "id"]),
        (50, ["time", "symbol", "side", "price", "size"]),
        (48, ["time", "symbol", "side", "price"]),
        (33, ["symbol", "side", "price"]),
        (20, ["symbol", "side"]),
        (10, ["side"]),
    ],
)
def test_screen_leaves_out_columns(width, columns):
    """A narrow terminal shows fewer columns; what is shown is shown whole."""
    item = trade(number=123)
    lines = drawn(OPEN, {"BTC_USDT": item}, [item], None, width=width)
    assert columns == lines[2].split()
    assert [stream.cell(item, column) for column in columns] == lines[4].split()
    assert max(map(len, lines)) <= width


def test_screen_folds_a_number():
    """A number that does not fit by itself is continued on the next line rather than cut."""
    price = events.LastPrice("x", "p", "A", 1.0, 1.0, None, None, Decimal("1234567890"))
    lines = drawn(OPEN, {"A": price}, [price], None, width=6)
    assert ["123456", "  7890"] == lines[4:6]


def test_screen_of_a_book():
    """The levels of a change are not the best ones of the book, and do not look so."""
    lines = drawn(OPEN, {"A": DELTA}, [DELTA], None, width=100)
    assert "time symbol kind bids/asks best changed bid best changed ask".split() == lines[2].split()
    assert "A delta 2/1 5 x 0.2 6 gone".split() == lines[4].split()[1:]


def test_screen_cuts_off_json():
    """JSON has no digits to protect: it takes what is left."""
    row = Other("x", "new", "A", 1.0, 1.0, {"a": "b" * 200}, None)
    lines = drawn(OPEN, {"A": row}, [row], None, width=60)
    assert ["time", "symbol", "data"] == lines[2].split()
    assert 60 == len(lines[4]) and lines[4].endswith("bbb\u2026")


def test_several_kinds():
    """Events of several kinds have the columns of all, in an order that does not follow the newest one."""
    row = trade("A")
    first, second = (drawn(OPEN, {"t": row, "b": DELTA}, recent, None, width=140) for recent in ([row, DELTA], [DELTA, row]))
    assert first[2] == second[2]
    assert "time symbol side price size id kind bids/asks".split() == first[2].split()[:8]
    assert any("buy" in line for line in first) and any("delta" in line for line in first)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "whitebit trades   open   12.3 events/s   dropped 0   gaps 0"),
        (50, "whitebit trades   open   dropped 0   gaps 0"),
        (40, "whitebit tr\u2026   open   dropped 0   gaps 0"),
    ],
)
def test_narrow_head(width, line):
    """Where the first line is too long, what was lost stays in it."""
    assert line == drawn(OPEN, {"A": trade("A")}, [trade("A")], None, width=width)[0].rstrip()


def test_no_rich(monkeypatch, capsys):
    """Without rich, a terminal gets lines, and a hint once."""
    monkeypatch.setitem(sys.modules, "rich.live", None)
    view = stream.view_for_terminal(("whitebit", "trades"))
    assert stream.Lines is type(view)
    assert ("", "exchange-ws: for a live table: python -m pip install 'rich>=13'\n") == capsys.readouterr()


# Wrong usage: nothing is started for it.


@pytest.mark.parametrize(
    ("arguments", "command", "text"),
    [
        ([], "", "the following arguments are required: COMMAND"),
        (["stream"], " stream", "the following arguments are required: EXCHANGE, CHANNEL"),
        (["stream", "whitebit"], " stream", "the following arguments are required: CHANNEL"),
        (["request", "whitebit"], " request", "the following arguments are required: METHOD"),
        (["stream", "whitebit", "a", "--count", "0"], " stream", "argument --count: '0': takes a whole number above 0"),
        (
            ["stream", "whitebit", "a", "--seconds", "inf"],
            " stream",
            "argument --seconds: 'inf': takes a finite number above 0",
        ),
        (["sandbox", "--port", "70000"], " sandbox", "argument --port: '70000': takes a TCP port, 0 to 65535"),
        (
            ["request", "whitebit", "time", "--sandbox", "--url", "ws://x"],
            " request",
            "argument --url: not allowed with argument --sandbox",
        ),
    ],
)
def test_wrong_usage(arguments, command, text, capsys):
    """One line on stderr, exit code 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    expected = f"exchange-ws: {text} (see exchange-ws{command} --help)\n"
    assert (2, ("", expected)) == (caught.value.code, capsys.readouterr())


def test_unknown_exchange(capsys):
    """An unknown exchange is named, with those that there are."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["request", "mtgox", "time"])
    out, err = capsys.readouterr()
    assert (2, "", 1) == (caught.value.code, out, err.count("\n"))
    assert err.startswith("exchange-ws: argument EXCHANGE: invalid choice: 'mtgox' (choose from ")
    assert "whitebit" in err


def test_request_with_params_that_are_no_json(capsys):
    """Nothing is dialled for parameters that cannot be read."""
    assert 2 == cli.main(["request", "whitebit", "time", "[", "--url", "ws://127.0.0.1:9"])
    assert capsys.readouterr().err.startswith("exchange-ws: params='[': takes a JSON list, or words")


@pytest.mark.parametrize("installed", [True, False])
def test_version(installed, monkeypatch, capsys):
    """The version of what is installed."""

    def version(name):
        if installed:
            return f"1.2.3 of {name}"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    text = "1.2.3 of exchange_ws" if installed else "(a copy of the source, not installed)"
    assert (0, (f"exchange-ws {text}\n", "")) == (caught.value.code, capsys.readouterr())


# Processes and the sandbox.


def test_stream_count():
    """Piped, `stream` prints as many lines of JSON as it was told to, and ends."""
    ended = run("stream", "whitebit", "trades", "BTC_USDT", "ETH_USDT", "--sandbox", "--count", "10")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (0, "", 10) == (ended.returncode, ended.stderr, len(lines))
    assert {("Trade", "whitebit", "trades")} == {(line["event"], line["exchange"], line["channel"]) for line in lines}
    assert {"BTC_USDT", "ETH_USDT"} >= {line["symbol"] for line in lines}


def test_stream_options():
    """``key=value`` reaches the subscription."""
    ended = run("stream", "whitebit", "depth", "BTC_USDT", "limit=5", "interval=0", "--sandbox", "--count", "1")
    assert (0, "") == (ended.returncode, ended.stderr)
    book = json.loads(ended.stdout)
    assert ("BookUpdate", "snapshot", 5, 5) == (book["event"], book["kind"], len(book["bids"]), len(book["asks"]))


def test_stream_seconds():
    """`--seconds` ends a stream that would go on for ever."""
    ended = run("stream", "whitebit", "trades", "BTC_USDT", "--sandbox", "--seconds", "0.3")
    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [(["time"], int), (["lastprice_request", '["BTC_USDT"]'], str), (["lastprice_request", "BTC_USDT"], str)],
)
def test_request(arguments, kind):
    """The exchange's own result, as JSON."""
    ended = run("request", "whitebit", *arguments, "--sandbox")
    assert (0, "") == (ended.returncode, ended.stderr)
    assert kind is type(json.loads(ended.stdout))


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (1, ["request", "whitebit", "no_such_method", "--sandbox"]),
        (1, ["stream", "whitebit", "trades", "NO_SUCH_MARKET", "--sandbox"]),
        (1, ["request", "whitebit", "time", "--url", "ws://127.0.0.1:9"]),
        (2, ["stream", "whitebit", "no_such_channel", "BTC_USDT", "--sandbox"]),
        (2, ["stream", "whitebit", "trades", "BTC_USDT", "no_such_option=1", "--sandbox"]),
        (2, ["request", "whitebit", "time", "--url", "http://127.0.0.1"]),
    ],
)
def test_refusals(code, arguments):
    """One line on stderr and the documented exit code; never a traceback."""
    ended = run(*arguments)
    assert (code, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n")), ended.stderr
    assert ended.stderr.startswith("exchange-ws: ")
    assert "internal error" not in ended.stderr


def test_no_websockets():
    """Without the sandbox's extra, one line says what to install."""
    program = "import sys; sys.modules['websockets'] = None; from exchange_ws.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", program, "request", "whitebit", "time", "--sandbox"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert (2, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n"))
    assert "pip install" in ended.stderr


def test_nothing_optional_is_imported():
    """Starting up loads nothing optional, such as rich, websockets and pandas: they take longer than all the rest."""
    program = (
        "import sys; from exchange_ws import cli; cli.parser();"
        "print(*{'rich', 'websockets', 'pandas', 'shtab', 'prometheus_client'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert ("\n", "") == (ended.stdout, ended.stderr)


def test_stream_interrupted(start):
    """Ctrl-C ends a stream quietly, with exit code 130."""
    process = start("stream", "whitebit", "trades", "BTC_USDT", "--sandbox")
    assert "Trade" == json.loads(process.stdout.readline())["event"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert (130, "") == (process.returncode, err)


def test_stream_into_a_closed_pipe(start):
    """`| head` is no error."""
    process = start("stream", "whitebit", "trades", "BTC_USDT", "--sandbox")
    assert "Trade" == json.loads(process.stdout.readline())["event"]
    process.stdout.close()
    assert (0, "") == (process.wait(LIMIT_S), process.stderr.read())


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes what a program begins with")
@pytest.mark.parametrize(
    "arguments",
    ["stream whitebit trades BTC_USDT --sandbox", "request whitebit time --sandbox", "--version", "request mtgox x"],
)
def test_closed_output(arguments):
    """A program that begins without stdout and stderr ends as it would with them, and a stream that nobody can read at once."""
    expected = 2 if "mtgox" in arguments else 0
    for closed in (">&-", ">&- 2>&-"):
        ended = subprocess.run(
            f"{sys.executable} -W error -m exchange_ws {arguments} {closed}",
            shell=True,
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
        assert expected == ended.returncode
        assert "Traceback" not in ended.stderr and "internal error" not in ended.stderr


@pytest.mark.parametrize("module", ["exchange_ws.cli", "argparse"])
def test_interrupted_while_it_starts(module):
    """Ctrl-C while the command line is being imported ends as quietly as later."""
    program = f"""
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from exchange_ws.__main__ import main
sys.exit(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert (130, "", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_sandbox_and_url(start):
    """`sandbox` prints a URL that `--url` takes, tells on stderr what a login takes, and serves until Ctrl-C."""
    process = start("sandbox", "whitebit", "--seed", "7")
    url = process.stdout.readline().strip()
    ended = run("request", "whitebit", "ping", "--url", url)
    assert (0, '"pong"\n', "") == (ended.returncode, ended.stdout, ended.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (130, "", 1) == (process.returncode, out, err.count("\n"))


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        ("whitebit", ["stream", "whitebit", "balanceSpot", "USDT", "--seconds", "0.1"]),
        ("bybit-v5", ["request", "bybit-v5", "order.create", json.dumps([ORDER])]),
    ],
)
def test_log_in_to_a_sandbox(exchange, words, start):
    """What `sandbox` tells on stderr, put into the environment, lets another command log in there."""
    process = start("sandbox", exchange)
    url = process.stdout.readline().strip()
    told = dict(word.split("=") for word in process.stderr.readline().split() if word.startswith("EXCHANGE_WS_"))
    ended = subprocess.run(
        command(*words, "--url", url), cwd=ROOT, env=environment(**told), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        ("bybit-v5", ["publicTrade.BTCUSDT", "--category", "linear"]),
        ("bybit-spot-v3", ["trade.BTCUSDT"]),
    ],
)
def test_sandbox_with_several_urls(exchange, words, capsys):
    """`--url` takes what `sandbox` printed for an exchange with several URLs too: the client goes to its own paths there."""
    with Sandbox(exchange, seed=1) as box:
        code = cli.main(["stream", exchange, *words, "--url", box.url, "--count", "1", "--json"])
    out, err = capsys.readouterr()
    assert (0, "", "Trade") == (code, err, json.loads(out)["event"])


def test_url_of_no_websocket(capsys):
    """An exchange with several URLs names the option that was given none, as it was typed."""
    assert 2 == cli.main(["stream", "bybit-v5", "tickers.BTCUSDT", "--url", "http://127.0.0.1"])
    assert (
        "exchange-ws: --url: takes the URL of a WebSocket, wss://host/path or ws://host:port/path\n" == capsys.readouterr().err
    )


@pytest.mark.parametrize("words", [["stream", "bybit-v5", "order"], ["request", "bybit-v5", "order.cancel", "[{}]"]])
def test_no_key(words, capsys, monkeypatch):
    """What needs a login says where the command line takes one from, and has sent nothing."""
    monkeypatch.delenv("EXCHANGE_WS_BYBIT_V5_KEY", raising=False)
    monkeypatch.delenv("EXCHANGE_WS_BYBIT_V5_SECRET", raising=False)
    with Sandbox("bybit-v5", seed=1) as box:
        code = cli.main([*words, "--url", box.url])
        received = box.received
    out, err = capsys.readouterr()
    assert (2, "", 1, []) == (code, out, err.count("\n"), received)
    assert "EXCHANGE_WS_BYBIT_V5_KEY and EXCHANGE_WS_BYBIT_V5_SECRET in the environment" in err


def test_sandbox_on_a_taken_port(start):
    """A port that is in use is a refusal."""
    url = start("sandbox").stdout.readline().split()[-1]
    port = url.rpartition(":")[2].partition("/")[0]
    ended = run("sandbox", "whitebit", "--port", port)
    assert (1, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n"))
    assert ended.stderr.startswith("exchange-ws: ")


def test_gap_is_told(start, box):
    """A loss is told on stderr at once; what may be missing, when there is a connection again, there and in the JSON."""
    process = start("stream", "whitebit", "lastprice", "BTC_USDT", "--url", box.url)
    assert "gap" not in json.loads(process.stdout.readline())
    box.refuse(1)
    box.drop()
    assert "exchange-ws: whitebit: the connection is lost; connecting again\n" == process.stderr.readline()
    line = process.stderr.readline()
    assert line.startswith("exchange-ws: gap (reconnect), an unknown number of messages missing")
    marked = next(event for event in map(json.loads, process.stdout) if "gap" in event)
    assert "reconnect" == marked["gap"]["reason"]


def drawn_by(start, *arguments, width=80, **variables):
    """What a command draws on a terminal until it ends, which is without an error."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = start(*arguments, stdout=theirs, env=environment(**variables))
    os.close(theirs)
    drawn = bytearray()
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says EIO where others say end of file
            break
        if not chunk:
            break
        drawn += chunk
    os.close(ours)
    assert (0, "") == (process.wait(LIMIT_S), process.stderr.read())
    return drawn.decode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudoterminals of this kind")
def test_stream_on_a_terminal(start):
    """On a terminal, a table with the number of events a second and the newest trades is drawn, and left there."""
    drawn = drawn_by(start, "stream", "whitebit", "trades", "BTC_USDT", "--sandbox", "--count", "101")
    assert [] == [text for text in ("whitebit", "events/s", "BTC_USDT", "price") if text not in drawn]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudoterminals of this kind")
@pytest.mark.parametrize("width", [80, 20])
@pytest.mark.parametrize("command", [("stream", "whitebit", "trades", "BTC_USDT"), ("book", "whitebit", "BTC_USDT")], ids="sb")
def test_terminal_of_few_letters(start, command, width):
    """A locale without blocks, rules and dots, on a narrow terminal too, is drawn with what it has."""
    drawn = drawn_by(start, *command, "--sandbox", "--count", "3", width=width, PYTHONIOENCODING="ascii")
    assert ("whitebit" in drawn, command[0] == "book" and width == 80) == (True, "##" in drawn)
