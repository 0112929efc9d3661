"""The pytest plugin: most of it in another run of pytest, on files that a user could have written."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_readme import examples

import exchange_ws
from exchange_ws import Backoff, RequestRejected, UsageError, testing
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.server import EPOCH_US

ROOT = Path(__file__).resolve().parent.parent
#: Seconds; reached only when something is broken.
LIMIT_S = 30.0
RUN_LIMIT_S = 60.0
EXCHANGES = {name: f"{name.replace('-', '_')}_sandbox" for name in sorted(exchange_ws.clients())}
PAGE = (ROOT / "docs" / "testing.rst").read_text("utf-8")

#: Files that a user could have written, run together; what each is for, the test says that looks at its outcome.
FILES = {
    "page": "\n".join(examples(PAGE)),
    "each": "\n".join(
        f"def test_{fixture}({fixture}):\n"
        f"    with {fixture}.client() as ws:\n"
        f"        assert ('{name}', True) == ({fixture}.exchange, ws.ping() > 0)\n"
        for name, fixture in EXCHANGES.items()
    ),
    "options": f"""
        import pytest
        from exchange_ws.sandbox import Sandbox

        def test_none(whitebit_sandbox):
            assert whitebit_sandbox.api_key == Sandbox("whitebit").api_key
            assert whitebit_sandbox.markets.now_us > {EPOCH_US}  # it lives in the present

        @pytest.mark.exchange_sandbox(seed=3, tick=None)
        class TestMarked:
            def test_one(self, whitebit_sandbox):
                assert whitebit_sandbox.api_key == Sandbox("whitebit", seed=3).api_key
                whitebit_sandbox.step()

            @pytest.mark.exchange_sandbox(seed=4)
            def test_two(self, whitebit_sandbox):
                assert whitebit_sandbox.api_key == Sandbox("whitebit", seed=4).api_key
                assert {EPOCH_US} == whitebit_sandbox.markets.now_us  # nobody has stepped this one
        """,
    "senseless": """
        import pytest

        @pytest.mark.exchange_sandbox(3)
        def test_position(whitebit_sandbox): pass

        @pytest.mark.exchange_sandbox(sed=3, tick=None)
        def test_typo(whitebit_sandbox): pass
        """,
    "failure": """
        import threading

        def test_fails(whitebit_sandbox):
            with whitebit_sandbox.client() as ws:
                ws.ping()
                assert ws.state == "closed"

        def test_next(whitebit_sandbox):
            assert [] == whitebit_sandbox.received
            assert 1 == len([thread for thread in threading.enumerate() if thread.name == "exchange-ws sandbox"])
        """,
    "faults": """
        import pytest

        def test_all(sandbox_fault): pass

        @pytest.mark.parametrize("sandbox_fault", ["drop", "close"], indirect=True)
        def test_some(sandbox_fault): pass
        """,
    "threads": """
        import threading
        import exchange_ws.testing

        def begin():
            done = threading.Event()
            threading.Thread(target=done.wait, name="left behind", daemon=True).start()
            return done

        def test_leaks(no_leaked_threads):
            exchange_ws.testing.THREADS_END_S = 0.1
            begin()

        def test_does_not(no_leaked_threads):
            exchange_ws.testing.THREADS_END_S = 60.0
            begin().set()  # it ends a little later

        def test_does_not_ask():
            begin()
        """,
}


def outcomes(directory, files, *paths):
    """
    Run *files*, sources by name, in a pytest of its own, which finds modules in *paths* first.

    By test, "file::test": what became of it, and what was said of that.
    """
    for name, source in files.items():
        (directory / f"test_{name}.py").write_text(textwrap.dedent(source), "utf-8")
    report = directory / "report.xml"
    # Without hypothesis and the cache, which take longer than the tests.
    others = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    arguments = ["-p", "exchange_ws.testing", "-W", "error", "--strict-markers", f"--junitxml={report}", *others]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", directory, *arguments, directory],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        what = next(iter(case), None)
        name = f"{case.get('classname').partition('.')[0].replace('test_', '', 1)}::{case.get('name')}"
        found[name] = ("passed", "") if what is None else (what.tag, f"{what.get('message')}\n{what.text}")
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Outcomes of `FILES`: a function from the name of a file to those of its tests."""
    found = outcomes(tmp_path_factory.mktemp("ran"), FILES)

    def of(name):
        return {test.partition("::")[2]: outcome for test, outcome in found.items() if test.startswith(f"{name}::")}

    return of


# What the page says


def test_the_page(ran):
    """Its examples are tests that pass, in one file as a reader would have them."""
    assert PAGE.count("python\n\n") == len(examples(PAGE))
    assert 3 + len(testing.FAULTS) == len(ran("page"))
    assert {("passed", "")} == set(ran("page").values())


def test_the_table():
    """It has each fault, in the words of the plugin."""
    assert dict(testing.FAULTS) == dict(re.findall(r"^   \* - ``(\w+)``\n     - (.*)$", PAGE, re.MULTILINE))


# Sandboxes


def test_a_fixture_for_each_exchange(ran):
    """Each has a sandbox of its own, which works, by a fixture with its name."""
    assert {f"test_{fixture}": ("passed", "") for fixture in EXCHANGES.values()} == ran("each")


def test_names_of_sandboxes():
    """The folders of the exchanges say which sandboxes they have."""
    for folder in pkgutil.iter_modules(exchange_ws.exchanges.__path__, "exchange_ws.exchanges."):
        sandboxes = importlib.import_module(f"{folder.name}.sandbox").SANDBOXES
        assert tuple(sandboxes) == importlib.import_module(folder.name).SANDBOX_NAMES


def test_options(ran):
    """Those of markers; the closest one counts, for each option by itself. Without any, those of `Sandbox`."""
    assert dict.fromkeys(("test_none", "test_one", "test_two"), ("passed", "")) == ran("options")


def test_senseless_options(ran):
    """What a marker cannot say is told in one line, with what it takes."""
    takes = "takes seed, host, port, tick, tls, limits, idle, token_lifetime by keyword"
    said = {test: (outcome, text.splitlines()[-1]) for test, (outcome, text) in ran("senseless").items()}
    assert {
        "test_position": ("error", f"exchange_sandbox(3): {takes}"),
        "test_typo": ("error", f"exchange_sandbox(sed=3): {takes}"),
    } == said


def test_after_a_failure(ran):
    """The sandbox of a test that fails is stopped, and the next test has another."""
    assert {"test_fails": "failure", "test_next": "passed"} == {test: outcome for test, (outcome, _) in ran("failure").items()}


def test_without_websockets(tmp_path):
    """Who has the package without the extra can run other tests, and is told what to install where a sandbox is wanted."""
    (tmp_path / "websockets.py").write_text("raise ImportError('not here')\n")
    found = outcomes(tmp_path, {"box": "def test_box(whitebit_sandbox): pass\ndef test_other(): pass\n"}, tmp_path)
    needs = "whitebit: the sandbox needs the websockets library, 15 or newer: pip install 'exchange_ws[sandbox]'"
    assert {"box::test_box": "error", "box::test_other": "passed"} == {test: outcome for test, (outcome, _) in found.items()}
    assert needs == found["box::test_box"][1].splitlines()[-1]


def test_nothing_is_imported_before_it_is_needed():
    """A run of pytest that has the plugin and does not use it pays for no engine, no sandbox, and none of their libraries."""
    source = """
        import sys, pytest
        before = set(sys.modules)
        import exchange_ws.testing
        print(*sorted(name for name in set(sys.modules) - before if not name.startswith("_")))
    """
    lines = [line.strip() for line in source.splitlines()]
    told = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    ours = {name for name in told.stdout.split() if name.startswith("exchange_ws")}
    folders = {folder.name for folder in pkgutil.iter_modules(exchange_ws.exchanges.__path__, "exchange_ws.exchanges.")}
    assert {"exchange_ws", "exchange_ws.errors", "exchange_ws.exchanges", "exchange_ws.testing", *folders} == ours
    theirs = {name.partition(".")[0] for name in told.stdout.split()} - {"exchange_ws"}
    assert theirs <= set(sys.stdlib_module_names if sys.version_info >= (3, 10) else theirs)


# Faults


def after(box, trades, price):
    """Let there be a trade at *price*; the events until its own."""
    box.trade("BTC_USDT", "buy", price, "0.5")
    told = [trades.get(LIMIT_S)]
    while told[-1].price != price:
        told.append(trades.get(LIMIT_S))
    return told


def reconnects(ws, box, trades):
    box.wait_received("trades_subscribe", 2)
    assert ["reconnect"] == [event.gap.reason for event in after(box, trades, 69000) if event.gap is not None]


def waits(ws, box, trades):
    assert ws.ping() >= testing.DELAY_S


def is_refused(ws, box, trades):
    with pytest.raises(RequestRejected):
        ws.time()


def is_told(ws, box, trades):
    assert ["malformed"] == [event.gap.reason for event in after(box, trades, 69000) if event.gap is not None]


def goes_on(ws, box, trades):
    assert [None] == list({event.gap for event in after(box, trades, 69000)})


def hears_nothing(ws, box, trades):
    box.step(100)
    ws.ping()  # what was sent before has come
    assert (0, []) == (trades.qsize(), trades.gaps)


#: What a client notices of each fault while it lasts.
SEEN = {
    "close": reconnects,
    "delay": waits,
    "drop": reconnects,
    "expire_tokens": reconnects,
    "forget_subscriptions": hears_nothing,
    "freeze": reconnects,
    "garbage": is_told,
    "reject": is_refused,
    "restart": reconnects,
    "split": goes_on,
}


def test_every_fault_is_known():
    """None is left out below."""
    assert set(testing.FAULTS) == set(SEEN)


@pytest.mark.exchange_sandbox(seed=3, tick=None, limits=False)
def test_faults(whitebit_sandbox, sandbox_fault):
    """Each is seen as what it is said to be; after its block all is well."""
    box = whitebit_sandbox
    # Only where it has to notice by itself: elsewhere its ping could be the request that is refused.
    beat = {"ping_interval": 0.2, "pong_timeout": 0.4} if sandbox_fault.name == "freeze" else {}
    with box.client(reconnect=Backoff(0.01, 0.02), **beat) as ws, ws.subscribe_trades("BTC_USDT") as trades:
        after(box, trades, 68000)
        with sandbox_fault(box):
            SEEN[sandbox_fault.name](ws, box, trades)
        if sandbox_fault.name == "forget_subscriptions":  # is noticed when it ends
            reconnects(ws, box, trades)
        after(box, trades, 70000)
        assert ws.ping() > 0
        assert (0, False, 0) == (box._delay_s, box._split, len(box._rejections))


@pytest.mark.parametrize("sandbox_fault", ["expire_tokens"], indirect=True)
def test_a_fault_that_cannot_be(bybit_spot_v3_sandbox, sandbox_fault):
    """Where an exchange has no tokens, none expire: skipped, and the reason says so."""
    with pytest.raises(pytest.skip.Exception, match="bybit-spot-v3 has no tokens that could expire"):
        sandbox_fault(bybit_spot_v3_sandbox)


def test_each_fault_runs_the_test_once(ran):
    """Names of the faults are in the names of the tests; some of them can be chosen in pytest's own way."""
    names = [f"test_all[{name}]" for name in testing.FAULTS]
    assert dict.fromkeys([*names, "test_some[drop]", "test_some[close]"], ("passed", "")) == ran("faults")


def test_unknown_fault():
    """It says which there are."""
    with pytest.raises(UsageError, match="fault 'flood': takes one of close, delay, "):
        testing.Fault("flood")


# Threads


def test_leaked_threads(ran):
    """Who leaves a thread behind is told its name; who does not, and who does not ask, passes."""
    found = ran("threads")
    outcome, text = found.pop("test_leaks")
    assert ("error", "threads that began in the test are still running: left behind") == (outcome, text.splitlines()[-1])
    assert dict.fromkeys(("test_does_not", "test_does_not_ask"), ("passed", "")) == found


def test_sandboxes_leak_no_threads(no_leaked_threads, whitebit_sandbox):
    """Whichever comes first, the look at the threads and a sandbox go together."""
    with whitebit_sandbox.client() as ws:
        assert ws.ping() > 0


def test_same_fault_by_hand():
    """A fault needs no fixture, and lasts for as long as it is wanted."""
    with Sandbox("whitebit", tick=None) as box, box.client() as ws:
        fault = testing.Fault("split")
        assert "<Fault split: every message comes in fragments, and these byte by byte, until its end>" == repr(fault)
        with fault(box):
            assert ws.ping() > 0
        fault(box)
        assert box._split
