"""A client and the other processes of its program: children of a fork, and those that `multiprocessing` starts."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest
from life_helpers import EXCHANGES, TESTS, Child, facts_of
from wire_peers import LIMIT_S

from exchange_ws.sandbox import Sandbox

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def box():
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


# Forks -----------------------------------------------------------------------------------------------------------------------

EVERY_METHOD = """
import faulthandler, os, sys, warnings
warnings.filterwarnings("ignore", message=".*fork")  # Python 3.12 and newer warn of what this is about
from importlib.util import find_spec
from exchange_ws import WhiteBIT, merge

ws = WhiteBIT(sys.argv[1]).connect()
quiet = ws.subscribe("bookTicker", "BTC_USDT")
full = ws.subscribe("trades", "BTC_USDT")
ws.ping()  # so the trades are there
for_select = ws.subscribe("trades", "ETH_USDT")
for_select.fileno()
loop = iter(full)
next(loop)
merged = merge(full, quiet)
merged.fileno()
book = ws.order_book("BTC_USDT")
changes = iter(book)

FACTS = object()  # what may be read without asking anybody
CLIENT = {
    "connect": lambda: ws.connect(),
    "close": lambda: ws.close() or FACTS,
    "state": lambda: FACTS if ws.state == "closed" else None,
    "ping": lambda: ws.ping(),
    "time": lambda: ws.time(),
    "request": lambda: ws.request("time"),
    "subscribe": lambda: ws.subscribe("trades", "BTC_USDT"),
    "unsubscribe": lambda: ws.unsubscribe(quiet),
    "subscriptions": lambda: ws.subscriptions,
    "order_book": lambda: ws.order_book("BTC_USDT"),
    "stats": lambda: ws.stats(),
    "rest_url": lambda: FACTS if ws.rest_url else None,
    "name": lambda: FACTS if ws.name else None,
    "paths": lambda: FACTS if not ws.paths else None,
}
SUBSCRIPTION = {
    "get": lambda: full.get(),
    "get_nowait": lambda: full.get_nowait(),
    "get_many": lambda: full.get_many(),
    "collect": lambda: full.collect(3),
    "to_dataframe": lambda: full.to_dataframe(3) if find_spec("pandas") else full.collect(3),
    "latest": lambda: full.latest,
    "call": lambda: full.call(print),
    "fileno": lambda: for_select.fileno(),
    "sub_ids": lambda: full.sub_ids,
    "gaps": lambda: full.gaps,
    "stats": lambda: full.stats(),
    "unsubscribe": lambda: quiet.unsubscribe() or FACTS,
    "close": lambda: quiet.close() or FACTS,
    "closed": lambda: FACTS if full.closed else None,
    "topics": lambda: FACTS if full.topics else None,
    "qsize": lambda: FACTS if full.qsize() else None,
    "dropped": lambda: FACTS if full.dropped == 0 else None,
}
MERGED = {
    "get": lambda: merged.get(),
    "get_nowait": lambda: merged.get_nowait(),
    "get_many": lambda: merged.get_many(),
    "collect": lambda: merged.collect(3),
    "to_dataframe": lambda: merged.to_dataframe(3) if find_spec("pandas") else merged.collect(3),
    "latest": lambda: merged.latest,
    "call": lambda: merged.call(print),
    "fileno": lambda: merged.fileno(),
    "sub_ids": lambda: merged.sub_ids,
    "gaps": lambda: merged.gaps,
    "close": lambda: merged.close() or FACTS,
    "closed": lambda: FACTS if merged.closed else None,
    "topics": lambda: FACTS if merged.topics else None,
    "subscriptions": lambda: FACTS if merged.subscriptions else None,
    "qsize": lambda: FACTS if merged.qsize() else None,
    "dropped": lambda: FACTS if merged.dropped == 0 else None,
}
BOOK = {
    "bids": lambda: book.bids,
    "asks": lambda: book.asks,
    "best_bid": lambda: book.best_bid,
    "best_ask": lambda: book.best_ask,
    "mid": lambda: book.mid,
    "spread": lambda: book.spread,
    "time": lambda: book.time,
    "sequence": lambda: book.sequence,
    "depth": lambda: book.depth(1),
    "vwap": lambda: book.vwap("buy", 1),
    "snapshot": lambda: book.snapshot(),
    "to_dataframe": lambda: book.snapshot(),
    "stale": lambda: book.stale,
    "gaps": lambda: book.gaps,
    "wait": lambda: book.wait(),
    "closed": lambda: FACTS if book.closed else None,
    "close": lambda: book.close() or FACTS,
    "symbol": lambda: FACTS if book.symbol else None,
    "loop": lambda: next(changes),
    "another loop": lambda: next(iter(book)),
    "repr": lambda: FACTS if repr(book) else None,
}
# What the engine calls: users have no use for it.
ENGINE = set("tick put stated renewing joined_late lost restored silent resumed end finish keep wanted join".split())
ENGINE |= {"tally", "asks", "left", "recovers", "spoiled", "watch", "unwatch", "interrupted", "hole", "tell_renewals"}
CHANNELS = ("subscribe_", "request_", "order_", "collateral_")  # they call what two of them below do
MORE = {
    "loop": lambda: next(loop),
    "another loop": lambda: next(iter(full)),
    "next": lambda: next(full),
    "next of merged": lambda: next(merged),
    "merge": lambda: merge(full),
    "with": lambda: ws.__enter__(),
    "repr": lambda: FACTS if repr(ws) and repr(full) and repr(merged) else None,
    "in a notebook": lambda: FACTS if all("another process" in each._repr_html_() for each in (ws, full, book)) else None,
    "subscribe_trades": lambda: ws.subscribe_trades("BTC_USDT"),
    "request_lastprice": lambda: ws.request_lastprice("BTC_USDT"),
}

# In the order in which the parent's threads take them: each is at work, and would wait for us while we wait for it.
locks = [book._lock, ws._lock, ws._pools["public"][0]._lock]
locks += [lock for each in (quiet, full, for_select) for lock in (each._consuming, each._guard)]
locks += [merged._turns.guard, merged._turns.waker._lock, for_select._signal._lock, ws._dials["public"]._lock, ws._timer._guard]
for lock in locks:
    lock.acquire()  # as other threads may have, at the moment of the fork
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(25, exit=True)
    public = {name for name in dir(ws) if not name.startswith(("_", *CHANNELS))}
    print("not tried", sorted(public - set(CLIENT) - ENGINE), flush=True)
    public = {name for name in dir(full) if not name.startswith("_")}
    print("not tried", sorted(public - set(SUBSCRIPTION) - ENGINE - {"name", "error"}), flush=True)
    public = {name for name in dir(merged) if not name.startswith("_")}
    print("not tried", sorted(public - set(MERGED) - {"name", "error"}), flush=True)
    public = {name for name in dir(book) if not name.startswith("_")}
    print("not tried", sorted(public - set(BOOK) - {"wake", "clear", "keep", "begin"}), flush=True)
    for calls in (CLIENT, SUBSCRIPTION, MERGED, BOOK, MORE):
        for name, call in calls.items():
            try:
                if call() is not FACTS:
                    print("returned", name, flush=True)
            except Exception as error:
                if type(error).__name__ != "ConnectionClosed" or "forked" not in str(error):
                    print(type(error), name, error, flush=True)
    own = WhiteBIT(sys.argv[1])
    with own:
        print("own", own.request("ping"), len(own.subscribe("trades", "BTC_USDT").collect(3)), flush=True)
    print("child ends", flush=True)
    del ws, quiet, full, for_select, loop, merged, book, changes, calls, call, own, locks, lock
    del CLIENT, SUBSCRIPTION, MERGED, BOOK, MORE
    sys.exit(7)
for lock in locks:
    lock.release()
print(os.waitpid(child, 0)[1] >> 8)
print(ws.request("ping"), ws.stats()["reconnects"], quiet.closed, len(full.collect(99)), for_select.get(20).symbol)
ws.close()
"""


@needs_fork
def test_every_method_after_a_fork(box):
    """
    In a child, every public method of the parent's client, subscriptions and merged streams raises `ConnectionClosed`, or tells
    what was so at the fork, whatever locks the parent's threads had; the child makes a client of its own, and exits in silence.
    The parent has lost nothing.
    """
    with Child(EVERY_METHOD, box.url) as child:
        out, err, code = child.end()
    expected = ["not tried []"] * 4 + ["own pong 3", "child ends", "7", "pong 0 False 99 ETH_USDT"]
    assert (expected, "", 0) == (out, err, code)


BUSY = """
import faulthandler, logging, os, sys, threading, warnings
warnings.filterwarnings("ignore", message=".*fork")
from exchange_ws import WhiteBIT
from exchange_ws.errors import ConnectionClosed

logging.getLogger("exchange_ws").setLevel(logging.ERROR)
sys.setswitchinterval(1e-5)
ws = WhiteBIT(sys.argv[1], rate_limit=False).connect()
trades = ws.subscribe("trades", "*", queue_size=100)
done = threading.Event()

def ask():
    while not done.is_set():
        ws.ping(20)

def read():
    for _ in trades:
        pass

threads = [threading.Thread(target=target) for target in (ask, ask, read, read)]
for thread in threads:
    thread.start()
codes = []
for turn in range(8):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(15, exit=True)
        code = 0
        subscribe = lambda: ws.subscribe("trades", "*")
        for call in (ws.ping, ws.stats, subscribe, trades.get, trades.get_nowait, trades.get_many):
            try:
                call()
            except ConnectionClosed:
                code += 1
        trades.close()
        ws.close()
        sys.exit(code)
    codes.append(os.waitpid(child, 0)[1] >> 8)
done.set()
for thread in threads[:2]:
    thread.join(20)
print(codes == [6] * 8, ws.ping(20) > 0, ws.stats()["reconnects"])
ws.close()
for thread in threads:
    thread.join(20)
print("closed", threading.active_count())
"""


@needs_fork
def test_fork_while_busy():
    """Forks out of a program whose threads call and read all the while: no child hangs, and the parent notices nothing."""
    with Sandbox("whitebit", seed=3, tick=0.005, limits=False) as busy, Child(BUSY, busy.url) as child:
        out, err, code = child.end()
    assert (["True True 0", "closed 1"], "", 0) == (out, err, code)


# multiprocessing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_pickle(name):
    """A client or subscription that is pickled or copied says that it cannot be, and what to do."""
    words, params = facts_of(name)["topic"]
    with Sandbox(name, seed=3, tick=None, limits=False) as box, box.client() as ws, ws.subscribe(*words, **params) as stream:
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=rf"{type(ws).__name__}: .* make one there"):
                copied(ws)
            with pytest.raises(TypeError, match="make a client there and subscribe, or send the events"):
                copied(stream)


def test_events_are_picklable(box):
    """Events can be sent to another process, as the message says."""
    with box.client() as ws:
        trade = ws.subscribe("trades", "BTC_USDT").get(LIMIT_S)
    assert trade == pickle.loads(pickle.dumps(trade))


SPAWNED = """
import multiprocessing, sys
import exchange_ws

def work(name, url, topic, told):
    with exchange_ws.connect(name, url=url) as ws, ws.subscribe("trades", "BTC_USDT") as trades:
        told.put((ws.ping() > 0, [trade.symbol for trade in trades.collect(2)]))

def look(given):
    raise AssertionError("it got there")

if __name__ == "__main__":
    processes = multiprocessing.get_context(sys.argv[1])
    with exchange_ws.WhiteBIT(sys.argv[2]) as ws, ws.subscribe("trades", "BTC_USDT") as trades:
        told = processes.Queue()
        child = processes.Process(target=work, args=("whitebit", sys.argv[2], "trades", told))
        child.start()
        print(told.get(timeout=25))
        child.join(25)
        print(child.exitcode)
        if sys.argv[1] != "fork":
            for given in (ws, trades):
                try:
                    processes.Process(target=look, args=(given,)).start()
                except TypeError as error:
                    print(str(error).partition(":")[0])
        told.close()
        told.join_thread()
        print(ws.request("ping"), ws.stats()["reconnects"])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_of_multiprocessing(box, tmp_path, method):
    """A child makes a client of its own while the parent has one; a client or subscription cannot be given to it."""
    if sys.platform == "win32" and method != "spawn":
        pytest.skip("no fork here")
    script = tmp_path / "spawned.py"  # a child imports the program by its path
    script.write_text(SPAWNED, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    # Python 3.12 and newer warn of a fork with threads, which "fork" is.
    flags = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *flags, str(script), method, box.url],
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
        env=environment,
    )
    refused = [] if method == "fork" else ["WhiteBIT", "whitebit trades BTC_USDT"]
    expected = ["(True, ['BTC_USDT', 'BTC_USDT'])", "0", *refused, "pong 0"]
    assert (expected, "", 0) == (done.stdout.splitlines(), done.stderr, done.returncode)
