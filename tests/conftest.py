"""What every test has: no thread outlives it, and, on request, threads that take turns far more often than usual."""

from __future__ import annotations

import signal
import sys

import pytest
from hypothesis import settings

import exchange_ws.testing

# Two seconds are enough for users' tests; ours run three suites at a time.
exchange_ws.testing.THREADS_END_S = 10.0

# The same examples each time: what an unlucky draw finds is for the commands in `properties` and `fuzz`, which draw anew, and
# more, and not for somebody whose change has nothing to do with it. --hypothesis-profile=default draws anew here too.
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

USUAL_SWITCH_INTERVAL = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--switch-interval",
        type=float,
        metavar="SECONDS",
        help="give sys.setswitchinterval this value for the session: 1e-6 makes races between threads likelier",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Shells without job control start background commands with Ctrl-C ignored, and processes inherit that; our tests need it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    seconds = config.getoption("--switch-interval")
    if seconds is not None:
        config.stash[USUAL_SWITCH_INTERVAL] = sys.getswitchinterval()
        sys.setswitchinterval(seconds)


def pytest_unconfigure(config: pytest.Config) -> None:
    usual = config.stash.get(USUAL_SWITCH_INTERVAL, None)
    if usual is not None:
        sys.setswitchinterval(usual)


@pytest.fixture(autouse=True)
def no_thread_left(no_leaked_threads):
    """A test ends with the threads it began with."""
