# ruff: noqa: T201  (a command: its output is the point)
"""
Run the Autobahn test suite against this package's transport and frames, and print how many cases passed, and how.

    python -m pip install kosoku     # plays the suite's server; needs Python 3.10 or newer
    python tests/conformance/autobahn.py

Sections 1 to 7, 9 and 10 apply to a client without extensions: 301 cases, three of them informational (7.1.6, 7.13.1, 7.13.2:
whatever one does is right). All others are expected to pass strictly, which is to do what the suite prefers where the RFC
leaves a choice. The exit code is 0 if that is so, 1 if not, 2 without kosoku.

A command and not a test: it takes ten seconds and more, and kosoku is no dependency.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

# This checkout is what is tested, not what may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exchange_ws.wire.frames import BINARY, PING, PONG, TEXT, Binary, FrameReader, encode_close, encode_frame
from exchange_ws.wire.transport import Transport, Waker, dial

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

SECTIONS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
EXPECTED = {"strict": 298, "non-strict": 0, "informational": 3, "failed": 0}

AGENT = "exchange_ws"
STEP_LIMIT_S = 10.0  # dialling, a write, the server's own end: milliseconds unless something is broken
CASE_LIMIT_S = 60.0  # the longest case (9.x, megabytes in small pieces) takes seconds

MISSING = "kosoku plays the server of the Autobahn suite, and is missing; on Python 3.10 or newer: python -m pip install kosoku"


def converse(url: str) -> list[bytes]:
    """
    Be an echo client until the server ends the connection.

    Returns
    -------
    list of bytes
        The messages received.

    Raises
    ------
    TimeoutError
        The connection did not end in time, or what was to be sent did not leave.
    """
    waker = Waker()
    alarm = threading.Timer(CASE_LIMIT_S, waker.wake)
    alarm.start()
    try:
        transport = dial(url, timeout=STEP_LIMIT_S, waker=waker)
        try:
            return echo(transport)
        finally:
            transport.close()
    finally:
        alarm.cancel()
        alarm.join()
        waker.close()


def echo(transport: Transport) -> list[bytes]:
    """Send back each message, answer pings, end as RFC 6455 section 7 says; return the messages."""
    reader = FrameReader()
    received = []
    ended = False
    while True:
        try:
            chunk = transport.read()
        except OSError:
            return received  # many cases end with a reset
        if chunk is None:
            raise TimeoutError(f"no end within {CASE_LIMIT_S:g} seconds")
        if not chunk:
            return received
        messages = reader.feed(chunk)
        answers = [encode_frame(PONG, payload) for opcode, payload in reader.control if opcode == PING]
        reader.control.clear()
        answers += [encode_frame(BINARY if isinstance(message, Binary) else TEXT, message) for message in messages]
        received += messages
        # After our close frame we wait for the server to end the connection (section 7.1.1), and say nothing more.
        if reader.failure and not ended:
            answers.append(encode_close(reader.failure.close_code))
        elif reader.close and not ended:
            answers.append(encode_close(reader.close.code))
        ended = bool(reader.failure or reader.close)
        if answers:
            try:
                if not transport.write(b"".join(answers), STEP_LIMIT_S):
                    raise TimeoutError(f"{transport.unsent} bytes did not leave within {STEP_LIMIT_S:g} seconds")
            except ConnectionError:
                return received


def run_cases(server: str) -> None:
    """Go through all cases of *server*, a URL; one that ends in an error is named on standard error, the server judges it."""
    (count,) = converse(f"{server}/getCaseCount")
    for case in range(1, int(count) + 1):
        try:
            converse(f"{server}/runCase?case={case}&agent={AGENT}")
        except Exception as error:
            print(f"case number {case}: {type(error).__name__}: {error}", file=sys.stderr)
    converse(f"{server}/updateReports?agent={AGENT}")


async def judge() -> list[CaseResult]:
    """Serve the cases on loopback, run them on a thread, and return the verdicts."""
    import kosoku

    async with kosoku.run_fuzzingserver(SECTIONS, port=0) as server:
        await asyncio.to_thread(run_cases, f"ws://{server.address}:{server.port}")
        try:
            return await asyncio.wait_for(server.get_result(), STEP_LIMIT_S)
        except kosoku.FailureError as failure:
            return failure.results


def verdict(result: CaseResult) -> str:
    """Which of `EXPECTED`'s kinds a result is of."""
    if not result.passed:
        return "failed"
    if result.behavior.value == "INFORMATIONAL":
        return "informational"
    return "strict" if result.behavior.value == "OK" else "non-strict"


def main() -> int:
    """Run the suite, print what it found; 0 if all is as expected, else 1, or 2 without kosoku."""
    try:
        import kosoku  # noqa: F401
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    began = time.monotonic()
    results = asyncio.run(judge())
    for result in results:
        if verdict(result) in ("failed", "non-strict"):
            print(f"{result.case_id}: {verdict(result)}: {result.result} {result.result_close}")
    found = Counter(map(verdict, results))
    counts = ", ".join(f"{found[kind]} {kind}" for kind in EXPECTED)
    print(f"{len(results)} cases in {time.monotonic() - began:.0f} s: {counts}")
    if any(found[kind] != number for kind, number in EXPECTED.items()):
        print("expected: " + ", ".join(f"{number} {kind}" for kind, number in EXPECTED.items()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
