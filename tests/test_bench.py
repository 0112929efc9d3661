"""The benchmark measures what it says: all messages, what was sent, and ratios within a round."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from exchange_ws import cli
from exchange_ws.bench import rounds
from exchange_ws.bench.cases import CASES
from exchange_ws.bench.competitors import COMPETITORS, OURS, Result
from exchange_ws.cli import bench
from exchange_ws.errors import InternalError

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process may take; reached only when something is broken.
LIMIT_S = 60.0

#: Two rounds in which the machine was twice as fast, once.
RESULTS = {"events": [Result(100, 1.0, 0.5), Result(100, 0.5, 0.25)], "limit": [Result(100, 0.5, 0.1), Result(100, 0.125, 0.1)]}


@pytest.mark.parametrize("case", CASES)
def test_pushes_are_what_the_exchange_sends(case):
    """Our own dialect takes every push for updates of the channel that is subscribed to, as many as are counted."""
    asked = CASES[case]
    dialect = asked.client("ws://127.0.0.1:9/")._endpoints["public"].dialect
    split = dialect.split or list
    updates = [dialect.decode(one) for one in split(list(asked.pushes(3)))]
    assert [asked.topic[0].split(".")[0]] * 3 * asked.objects == [update.label for update in updates]


def test_summary():
    """Ratios are those of a round, so that a machine that changes its speed changes none; spread and medians are told."""
    told = rounds.summary(RESULTS)
    assert {"median": 0.375, "least": 0.25, "greatest": 0.5} == told["limit"]["ratios"]["events"]
    assert {"median": 1.0, "least": 1.0, "greatest": 1.0} == told["events"]["ratios"]["events"]
    assert (150.0, 3750.0) == (told["events"]["messages_per_second"], told["events"]["cpu_seconds_per_million"])
    assert told == json.loads(json.dumps(told))


def test_table():
    """No line is wider than 100 characters, whatever the figures."""
    lines = bench.table("trades", 2, rounds.summary({**RESULTS, "websocket-client": [Result(1, 0.01, 1e4)] * 2}))
    assert ("trades, 2 rounds", 5) == (lines[0], len(lines))
    assert lines[3].split("thread")[1].split() == ["500", "1000.00", "0.38", "(0.25-0.50)"]
    assert max(map(len, lines)) <= 100


def test_turns():
    """Each client is once in each round, and none is always the first."""
    asked = []

    def measured(name, case, messages):
        asked.append(name)
        return Result(messages, 1.0, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "measure", measured)
        told = [len(results["b"]) for results in rounds.take_turns("trades", ["a", "b", "c"], 3, 10)]
    assert ([1, 2, 3], "abc" + "cab" + "bca") == (told, "".join(asked))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("events", "bitzoom"),
        ("called", "trades"),
        ("raw-recorded", "depth-deltas"),
        ("websocket-client", "bitzoom"),
        ("websocketapp", "v5-deltas"),
        ("limit", "spot-v3-trades"),
    ],
)
def test_every_client_counts_what_was_sent(name, case):
    """Each kind of client, in a process of its own, has every message of a stream, of which one may be several."""
    result = rounds.measure(name, case, 1000)
    assert (1000, True, True) == (result.messages, result.seconds > 0, result.cpu_seconds > 0)


def test_tls(tmp_path):
    """The sender speaks TLS, too, and a client that trusts its certificate has every message of the stream."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    sender = tmp_path / "sender.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(sender))
    told = rounds.against(
        rounds.python("exchange_ws.bench.sender", "v5-trades", "1000", str(sender)),
        lambda port: rounds.python("exchange_ws.bench.competitors", "raw", "v5-trades", f"wss://localhost:{port}/"),
        "over TLS",
        SSL_CERT_FILE=str(tmp_path / "authority.pem"),
    )
    assert 1000 == Result(*told).messages


def test_lost_message_is_no_result(monkeypatch):
    """A client that counts less than was sent is not fast, but wrong."""
    monkeypatch.setattr(rounds, "Result", lambda messages, *times: Result(messages - 1, *times))
    with pytest.raises(InternalError, match="raw, lastprice: 1000 messages were sent, 999 counted"):
        rounds.measure("raw", "lastprice", 10)


def test_client_that_fails_is_told(monkeypatch):
    """What a client's process says at its end is in the error."""
    monkeypatch.setitem(COMPETITORS, "nobody", COMPETITORS["raw"])
    with pytest.raises(InternalError, match="nobody, trades: it failed: KeyError: 'nobody'"):
        rounds.measure("nobody", "trades", 1000)


def test_seconds_end_after_a_round(monkeypatch, capsys):
    """The round in which the time is over is the last, and whole."""
    monkeypatch.setattr(rounds, "measure", lambda name, case, messages: Result(messages, 1.0, 1.0))
    assert 0 == cli.main(["bench", "lastprice", "trades", "--seconds", "0.000001", "--json", "--messages", "5"])
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert ([("lastprice", 1, 5), ("trades", 1, 5)], "") == (
        [(one["case"], one["rounds"], one["messages"]) for one in told],
        err,
    )
    assert [name for name in COMPETITORS if COMPETITORS[name].in_short] == list(told[0]["clients"])
    assert {*OURS} == set(told[0]["clients"]["limit"]["ratios"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudoterminals of this kind")
def test_progress_and_interrupt():
    """On a terminal one sees what is being measured; Ctrl-C ends all of it, with exit code 130 and without a word."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "exchange_ws", "bench", "--messages", "1000"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        seen = b""
        while b"trades: round 1 of 5, exchange_ws, raw=True" not in seen:
            seen += os.read(ours, 65536)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        assert (130, b"") == (process.wait(LIMIT_S), process.stdout.read())
        try:
            rest = os.read(ours, 65536)
        except OSError:  # Linux says EIO where others say end of file
            rest = b""
        assert b"Traceback" not in rest
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
