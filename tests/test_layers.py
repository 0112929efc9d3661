"""The architecture, held true: who may import whom, who may start threads, and that what is public is documented."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from exchange_ws.core.client import Client, Options

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "exchange_ws"
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
EXCHANGES = sorted(path.name for path in (PACKAGE / "exchanges").iterdir() if (path / "__init__.py").exists())

#: Modules of an exchange's folder that are the exchange's own side: the sandbox, and what it may be parted into.
OTHER_SIDE = r"(\w*sandbox|\w+_(markets|account|trading|rest))"
#: What a module must not import: (modules, forbidden, why).
FORBIDDEN = [
    (
        r"wire/.*",
        r"exchange_ws\.(core|exchanges|sandbox|cli|orderbook|events)\b",
        "bytes are at the bottom",
    ),
    (r"core/.*", r"exchange_ws\.(exchanges|sandbox|cli)\b", "the engine knows no exchange"),
    (
        rf"(sandbox/.*|exchanges/[^/]+/{OTHER_SIDE})\.py",
        r"exchange_ws\.(core|wire|orderbook)\b|exchange_ws\..*dialect\b",
        "a sandbox that shared code with the client would share its bugs",
    ),
    # The parts of one sandbox may share; what a client is made of, they may not.
    (
        rf"exchanges/[^/]+/{OTHER_SIDE}\.py",
        rf"exchange_ws\.exchanges\b(?!\.\w+\.{OTHER_SIDE}\b)",
        "a sandbox is written from the documentation",
    ),
    (
        r"(events|display|orderbook|wire/frames|core/(messages|dialect|session)|exchanges/[^/]+/.*(dialect|events))\.py",
        r"(threading|_thread|socket|ssl|select|selectors|time|asyncio|concurrent|subprocess)\b",
        "these turn values into values",
    ),
    (
        r"(core/(messages|dialect|session)|exchanges/[^/]+/.*(dialect|events))\.py",
        r"exchange_ws\.(wire|clock)\b|exchange_ws\.core\.(connection|subscription|timer|client|auth)\b",
        "these are driven by the connection, never the other way round",
    ),
    (r"(?!wire/transport\.py|bench/competitors\.py).*", r"websocket\b", "one module dials"),
    (r"bench/.*", r"exchange_ws\.(core|wire|exchanges|sandbox|cli)\b", "a benchmark measures what users can use"),
    (r"(?!bench/|cli/bench\.py).*", r"exchange_ws\.bench\b", "what runs for users carries no benchmark"),
    (r"(?!core/auth\.py|exchanges/[^/]+/client\.py).*", r"requests\b", "REST belongs to facades and tokens"),
    (r"(?!sandbox/server\.py).*", r"websockets\b", "an optional dependency has one door"),
    (r"(?!core/dialect\.py|bench/competitors\.py).*", r"orjson\b", "JSON is chosen once"),
    (r"(events|errors|clock)\.py", r"exchange_ws\.(?!errors\b|display\b)", "everyone imports these"),
    (r"display\.py", r"exchange_ws\b", "how a value is shown depends on nothing but the value"),
    (r"(?!notebook\.py).*", r"IPython\b", "an optional dependency has one door"),
    (r"(?!core/(subscription|livebook)\.py|dataframes\.py).*", r"(pandas|numpy)\b", "an optional dependency has one door"),
    (r"(?!cli/).*", r"rich\b", "an optional dependency has one door"),
    (r"(?!testing\.py).*", r"_?pytest\b", "an optional dependency has one door"),
    (r"testing\.py", r"exchange_ws\.(core|wire|exchanges\.\w+|orderbook|events)\b", "every run of pytest imports it"),
    (r"(?!wire/recording\.py).*", r"zstandard\b", "an optional dependency has one door"),
    (r"(?!cli/completion\.py).*", r"shtab\b", "an optional dependency has one door"),
    (r"(?!metrics\.py).*", r"prometheus_client\b", "an optional dependency has one door"),
    (r"metrics\.py", r"exchange_ws\.(core|wire|exchanges|sandbox|cli)\b", "what clients tell everybody is enough"),
    (r"(cli/.*|__main__\.py)", r"exchange_ws\.(core|wire|exchanges)\b", "the command line uses what users can use"),
]

#: The modules that may start threads; the transport's are for calls that nothing can interrupt, such as looking up a name.
STARTS_THREADS = (
    "core/connection.py",
    "core/errand.py",
    "core/timer.py",
    "core/subscription.py",
    "sandbox/server.py",
    "wire/recording.py",
    "wire/transport.py",
)


@functools.cache
def imports(source: str, module: str) -> tuple[str, ...]:
    """Full names of everything that *source* imports, at any depth; *module* is its path within the package."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ("exchange_ws/" + module).split("/")[: -node.level]
                base = ".".join([*parents, base]).rstrip(".")
            names += (f"{base}.{alias.name}" for alias in node.names)
    return tuple(names)


def violations(source: str, module: str) -> list[str]:
    """The rules of `FORBIDDEN` that *source* breaks when it stands at *module*."""
    return [
        f"{module} imports {name}: {why}"
        for modules, forbidden, why in FORBIDDEN
        if re.fullmatch(modules, module)
        for name in imports(source, module)
        if re.match(forbidden, name)
    ]


def code_words(source: str) -> set[str]:
    """Names and string literals of *source*, lower case; docstrings and comments may cite examples."""
    tree = ast.parse(source)
    words = []
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a string that stands alone is a docstring
            node.body = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
    for node in ast.walk(tree):
        for value in vars(node).values():
            if isinstance(value, bytes):
                value = value.decode("latin-1")
            if isinstance(value, str):
                words.append(value.lower())
    return set(words)


def thread_starts(source: str) -> list[int]:
    """Lines of *source* that make a thread."""
    makers = re.compile(r"(?:\w+\.)*(?:Thread|ThreadPoolExecutor|start_new_thread)|threading\.Timer")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [node for node in calls if isinstance(node.func, (ast.Name, ast.Attribute))]
    return [node.lineno for node in named if makers.fullmatch(ast.unparse(node.func))]


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("wire/frames.py", "from exchange_ws.core import session", 1),
        ("wire/frames.py", "from ..core.session import Session", 1),
        ("wire/frames.py", "def read():\n    import socket", 1),
        ("wire/frames.py", "import struct\nfrom exchange_ws.errors import WireError", 0),
        ("core/client.py", "from exchange_ws.exchanges.whitebit.client import WhiteBIT", 1),
        ("core/client.py", "from exchange_ws.wire.transport import Transport", 0),
        ("core/session.py", "import time", 1),
        ("core/session.py", "from exchange_ws.clock import Clock", 1),
        ("exchanges/whitebit/dialect.py", "from exchange_ws.core.dialect import Dialect", 0),
        ("exchanges/whitebit/dialect.py", "import threading", 1),
        ("exchanges/whitebit/sandbox.py", "from exchange_ws.sandbox.server import Server", 0),
        ("exchanges/whitebit/sandbox.py", "from exchange_ws.exchanges.whitebit.dialect import decode", 2),
        ("exchanges/whitebit/v9_rest.py", "from exchange_ws.exchanges.whitebit.dialect import decode", 2),
        ("exchanges/whitebit/v9_rest.py", "from exchange_ws.exchanges.whitebit.client import WhiteBIT", 1),
        ("exchanges/whitebit/sandbox.py", "from exchange_ws.exchanges.whitebit.v9_rest import Rest", 0),
        ("exchanges/whitebit/client.py", "import requests", 0),
        ("core/connection.py", "import requests", 1),
        ("core/connection.py", "import websocket", 1),
        ("core/connection.py", "import websockets", 1),
        ("sandbox/server.py", "import websockets", 0),
        ("testing.py", "import pytest\nimport exchange_ws.exchanges\nfrom exchange_ws.sandbox import Sandbox", 0),
        ("testing.py", "from exchange_ws.core.client import Client", 1),
        ("core/client.py", "import pytest", 1),
        ("cli/stream.py", "from exchange_ws.core.client import Client", 1),
        ("cli/stream.py", "import exchange_ws\nfrom exchange_ws.errors import ExchangeError", 0),
    ],
)
def test_rules_see_what_they_forbid(module, source, broken):
    """A rule that could not be broken would protect nothing."""
    assert broken == len(violations(source, module))


def test_code_words_leaves_out_prose():
    """Docstrings and comments may name an exchange; names and literals are seen."""
    source = '"""Like WhiteBIT."""\nKEY = b"bybit"  # Kraken\ndef bitzoom_ping(): "As Deribit."'
    assert {"bybit", "key", "bitzoom_ping"} <= code_words(source)
    assert not {"whitebit", "kraken", "deribit"} & set("".join(code_words(source)).split())
    assert "like whitebit." not in code_words(source)


def test_thread_starts_sees_every_spelling():
    """However a thread is made, it is found; a class of ours that is called `Timer` is none."""
    source = "threading.Thread(target=f)\nThread(target=f)\nthreading.Timer(1, f)\nTimer(clock)\nthreading.Lock()"
    assert [1, 2, 3, 6] == thread_starts(source + "\n_thread.start_new_thread(f, ())")


@pytest.mark.parametrize("module", MODULES)
def test_imports(module):
    """Each layer imports only what lies below it."""
    assert [] == violations(MODULES[module].read_text("utf-8"), module)


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(("core/", "wire/"))])
def test_engine_names_no_exchange(module):
    """The code of the engine contains no exchange's name."""
    words = code_words(MODULES[module].read_text("utf-8"))
    assert [] == [(name, word) for name in EXCHANGES for word in words if name in word]


@pytest.mark.parametrize("module", [module for module in MODULES if module not in STARTS_THREADS])
def test_threads_are_started_in_few_places(module):
    """Few modules start threads, and each has the tests that see them end."""
    assert [] == thread_starts(MODULES[module].read_text("utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_annotations_are_postponed(module):
    """Annotations are never evaluated at import, so that they may be newer than the oldest Python."""
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    code = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    first = ast.unparse(code[0]) if code else None
    assert first in (None, "from __future__ import annotations")


@pytest.mark.parametrize(
    "module", [f"exchange_ws{part}" for part in ("", ".errors", ".events", ".metrics", ".sandbox", ".testing")]
)
def test_public_names_are_documented(module):
    """Each name in `__all__` has its own entry in the documentation."""
    names = importlib.import_module(module).__all__
    pages = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.rst")))
    documented = set(re.findall(r"^\.\. auto\w+:: (?:\w+\.)*(\w+)(?:\(.*\))?$", pages, re.MULTILINE))
    assert names
    assert [] == [name for name in names if name not in documented]


def test_options_are_documented():
    """What `help` says of the options of a client, and of their defaults, is so."""
    told = re.findall(r"^(\w+)\n {4}Default (\S+?)(?:\.| bytes\.) ", inspect.getdoc(Client) or "", re.MULTILINE)
    defaults = {field.name: field.default for field in attrs.fields(Options)}
    assert {name: getattr(value, "__name__", str(value)) for name, value in defaults.items()} == dict(told)


@pytest.mark.parametrize("name", ["Bitzoom", "BybitSpotV3", "BybitV5", "WhiteBIT"])
def test_one_exchange_imports_no_other(name):
    """Who asks for one exchange waits for no other's modules."""
    program = f"import sys, exchange_ws; print(exchange_ws.{name}.__module__, *sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    mine, *found = told.stdout.split()
    clients = [module for module in found if re.match(r"exchange_ws\.exchanges\.\w+\.\w*client$", module)]
    assert [mine] == clients
