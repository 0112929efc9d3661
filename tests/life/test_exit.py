"""An interpreter that exits with clients that are open: at once, in silence, with the exit code that the program chose."""

from __future__ import annotations

import time

import pytest
from core_peers import Exchange, hold
from life_helpers import SOON_S, Child
from wire_peers import Peer

from exchange_ws.sandbox import Sandbox

#: What every program begins with. Losses and overflows are logged, which is not what this is about.
START = """
import atexit, builtins, logging, sys, threading
from exchange_ws import Backoff, ConnectFailed, RequestTimeout, WhiteBIT
logging.getLogger("exchange_ws").setLevel(logging.ERROR)
url, silent, deaf = sys.argv[1:]
ready = threading.Semaphore(0)
def in_background(call):
    threading.Thread(target=call, daemon=True).start()
"""

#: A client in each state that a program may forget it in, and daemon threads of the user's that are at something.
FORGOTTEN = """
unused = WhiteBIT(url, on_state=print)
idle = WhiteBIT(url).connect()
subscribed = WhiteBIT(url, on_state=lambda state: None)
trades = subscribed.subscribe("trades", "*")
next(trades)
nobody_reads = WhiteBIT(url)
nobody_reads.subscribe("trades", "*", queue_size=10)
blocked = WhiteBIT(url)
blocked.subscribe("trades", "*", queue_size=10, overflow="block")
builtins.elsewhere = WhiteBIT(url).subscribe("trades", "*")

looping = WhiteBIT(url).subscribe("trades", "*")
def loop():
    for trade in looping:
        ready.release()
in_background(loop)

asking = WhiteBIT(url, rate_limit=False)
def ask():
    while asking.ping():
        ready.release()
in_background(ask)

called = WhiteBIT(url, on_state=lambda state: ready.release())
called.subscribe("trades", "*").call(lambda trade: ready.release())
endless = WhiteBIT(url, on_state=lambda state: threading.Event().wait())
endless.subscribe("trades", "*").call(lambda trade: (ready.release(), threading.Event().wait()))
for _ in range(50):
    ready.acquire(timeout=5)
"""

#: Those that are not connected, or that nobody listens to.
TROUBLED = """
reconnecting = WhiteBIT(url, reconnect=Backoff(30, 60), on_state=lambda state: state == "reconnecting" and ready.release())
trades = reconnecting.subscribe("trades", "*")
print("drop", flush=True)
ready.acquire(timeout=5)
dialling = WhiteBIT(silent)
try:
    dialling.connect(0.1)
except ConnectFailed:
    pass
stuck = WhiteBIT(deaf).connect()
try:
    stuck.request("server_time", ["x" * 15_000_000], timeout=0.3)
except RequestTimeout:
    pass
"""

#: Programs that close at the last moment, or when it is too late.
CLOSING = """
class Bot:
    def __init__(self):
        self.ws = WhiteBIT(url).connect()
        self.trades = self.ws.subscribe("trades", "*")
        self.me = self
    def __del__(self):
        self.ws.close()
bot = Bot()
at_exit = WhiteBIT(url, on_state=lambda state: None).connect()
at_exit.subscribe("trades", "*").call(lambda trade: None)
atexit.register(at_exit.close)
"""

END = "\nprint('end', flush=True)\nsys.exit(3)"


@pytest.fixture(scope="module")
def busy():
    """An exchange that always has something to say."""
    with Sandbox("whitebit", seed=3, tick=0.01, limits=False) as box:
        yield box


@pytest.mark.parametrize(
    ("program", "warnings"),
    [
        pytest.param(FORGOTTEN, True, id="forgotten"),
        pytest.param(TROUBLED, True, id="troubled"),
        pytest.param(CLOSING, False, id="closing"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["users", "developers"])
def test_exit(busy, program, warnings, flags):
    """
    Whatever its clients are at, a program ends soon, with its own exit code, without a word; with -X dev and warnings as errors
    the only words are those of a `ResourceWarning`, as for a socket, and none for who has closed, however late.
    """
    with Peer(lambda connection: connection.hold()) as silent, Exchange(hold) as deaf:
        addresses = (busy.url, silent.url(host="127.0.0.1"), deaf.address)
        with Child(START + program + END, *addresses, flags=flags) as child:
            line = child.line()
            if line == "drop":
                busy.drop()
                line = child.line()
            began = time.monotonic()
            out, err, code = child.end()
            seconds = time.monotonic() - began
    said = [text for text in err.splitlines() if text[:1] not in (" ", "")]
    ours = [text for text in said if text.startswith("ResourceWarning: unclosed <WhiteBIT ")]
    around = ("Exception ignored in", "Traceback (most recent", "Object allocated at", "ResourceWarning: unclosed <WhiteBIT ")
    assert ("end", [], 3) == (line, [text for text in said if not text.startswith(around)], code)
    assert (warnings and bool(flags)) == bool(ours)
    assert seconds < SOON_S
