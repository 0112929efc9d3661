"""
A pytest plugin for programs that use this package: an exchange for each test, faults to survive, and no thread left behind.

It is active wherever the package is installed, by the entry point "exchange_ws.testing". Every run of pytest imports it, so it
imports nothing of the engine and of the sandbox before a test asks for it.

Fixtures: ``whitebit_sandbox`` and one of that kind for each exchange, ``sandbox_fault``, ``no_leaked_threads``. Marker:
``exchange_sandbox``, the options of the sandboxes of a test.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable

import pytest

import exchange_ws.exchanges
from exchange_ws.errors import UsageError

if TYPE_CHECKING:
    from exchange_ws.sandbox import Sandbox

__all__ = ["FAULTS", "Fault"]

THREADS_END_S = 2.0  # what threads may take to end after a test; reached only when they do not
DELAY_S = 0.2  # long beside an answer's usual way, short beside the timeout of a call
RESTART_S = 0.2  # without anybody who listens: the first dial fails
RESTARTING = 1012  # close code of a service that restarts [IANA, WebSocket Close Code Number Registry]
MARKER = "exchange_sandbox(seed=0, tick=0.1, ...): options of the sandboxes of exchange_ws that the test asks for"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


# Exchanges


def _fixture_of(exchange: str) -> Any:
    """The fixture of one exchange's sandbox."""

    def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
        sandbox = _sandbox_class(exchange)
        with sandbox(exchange, **_options(request.node, sandbox)) as running:
            yield running

    box.__doc__ = f"""A `Sandbox` of {exchange} on a free port, for one test. Its options: by the marker `exchange_sandbox`."""
    return pytest.fixture(name=f"{exchange.replace('-', '_')}_sandbox")(box)


def _sandbox_class(exchange: str) -> type[Sandbox]:
    try:
        from exchange_ws.sandbox import Sandbox
    except ImportError as error:  # which says what to install
        pytest.fail(f"{exchange}: {error}", pytrace=False)
    return Sandbox


def _options(test: pytest.Item, sandbox: type[Sandbox]) -> dict[str, Any]:
    """Those of its markers; where several have the same one, the closest counts."""
    known = [name for name in inspect.signature(sandbox).parameters if name != "exchange"]
    options: dict[str, Any] = {}
    for marker in reversed(list(test.iter_markers("exchange_sandbox"))):
        wrong = [repr(value) for value in marker.args]
        wrong += [f"{name}={value!r}" for name, value in marker.kwargs.items() if name not in known]
        if wrong:
            pytest.fail(f"exchange_sandbox({', '.join(wrong)}): takes {', '.join(known)} by keyword", pytrace=False)
        options.update(marker.kwargs)
    return options


for _folder in pkgutil.iter_modules(exchange_ws.exchanges.__path__, "exchange_ws.exchanges."):
    for _name in getattr(importlib.import_module(_folder.name), "SANDBOX_NAMES", ()):  # none: an exchange without a sandbox
        globals()[f"{_name.replace('-', '_')}_sandbox"] = _fixture_of(_name)


# Faults


def _nothing(box: Sandbox) -> None:
    pass


def _expire(box: Sandbox) -> None:
    try:
        box.expire_tokens()
    except UsageError as error:  # not an exchange with tokens
        pytest.skip(str(error))
    box.drop()


#: By name: what the fault is, how it begins, how it ends.
_SWITCHES: dict[str, tuple[str, Callable[[Sandbox], None], Callable[[Sandbox], None]]] = {
    "close": (
        f"a close frame on every connection, with code {RESTARTING}",
        lambda box: box.close(RESTARTING, "service restart"),
        _nothing,
    ),
    "delay": (
        f"answers come {DELAY_S:g} s late, until its end",
        lambda box: box.delay(DELAY_S),
        lambda box: box.delay(0),
    ),
    "drop": (
        "a TCP reset of every connection",
        lambda box: box.drop(),
        _nothing,
    ),
    "expire_tokens": (
        "tokens issued before are refused, and every connection is reset; skips the test where there are no tokens",
        _expire,
        _nothing,
    ),
    # The client finds out when a topic has been silent for far too long, a minute or more: too long for a test.
    "forget_subscriptions": (
        "nobody is subscribed any more, without a word; at its end every connection is reset",
        lambda box: box.forget_subscriptions(),
        lambda box: box.drop(),
    ),
    "freeze": (
        "every connection is half-open: nothing is read, nothing is written, until its end",
        lambda box: box.freeze(),
        lambda box: box.thaw(),
    ),
    "garbage": (
        "a message that is not JSON on every connection",
        lambda box: box.garbage(),
        _nothing,
    ),
    "reject": (
        "the next request is answered with an error, whatever it asks for",
        lambda box: box.reject(),
        _nothing,
    ),
    "restart": (
        f"a TCP reset of every connection, and {RESTART_S:g} s in which nobody listens",
        lambda box: box.restart(RESTART_S),
        _nothing,
    ),
    "split": (
        "every message comes in fragments, and these byte by byte, until its end",
        lambda box: box.split(),
        lambda box: box.split(False),
    ),
}

#: The faults that `sandbox_fault` goes through: what each is, by its name.
FAULTS: Mapping[str, str] = MappingProxyType({name: what for name, (what, _, _) in _SWITCHES.items()})


class Fault:
    """
    One thing that goes wrong with an exchange; the fixture ``sandbox_fault`` runs a test once with each.

    ``sandbox_fault(box)`` begins it. What that returns is a context manager, for those that last: ``with sandbox_fault(box):``
    ends the fault after its block.

    Parameters
    ----------
    name
        One of `FAULTS`.
    """

    def __init__(self, name: str) -> None:
        if name not in FAULTS:
            raise UsageError(f"fault {name!r}: takes one of {', '.join(FAULTS)}")
        #: Which one.
        self.name = name

    def __repr__(self) -> str:
        return f"<Fault {self.name}: {FAULTS[self.name]}>"

    def __call__(self, box: Sandbox) -> AbstractContextManager[object]:
        _, begin, end = _SWITCHES[self.name]
        begin(box)
        ending = contextlib.ExitStack()
        ending.callback(end, box)
        return ending


@pytest.fixture(params=list(FAULTS))
def sandbox_fault(request: pytest.FixtureRequest) -> Fault:
    """Each `Fault` in turn. For some of them: `pytest.mark.parametrize("sandbox_fault", ["drop", "close"], indirect=True)`."""
    return Fault(request.param)


# Threads


@pytest.fixture
def no_leaked_threads() -> Iterator[None]:
    """The test fails if threads that began in it are still there 2 s after it. For all tests of a module: `usefixtures`."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    end = time.monotonic() + THREADS_END_S
    for thread in left:
        thread.join(max(0.0, end - time.monotonic()))
    names = [thread.name for thread in left if thread.is_alive()]
    if names:
        pytest.fail(f"threads that began in the test are still running: {', '.join(names)}", pytrace=False)
