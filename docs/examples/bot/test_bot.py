"""Tests of the bot: each has an exchange of its own, whose market moves only when the test says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from bot import MARKET_STOCK, Bot

from exchange_ws import Backoff

MARKET = "BTC_USDT"
LIMIT_S = 30.0  # for each wait; reached only when something is broken

pytestmark = [
    pytest.mark.exchange_sandbox(seed=1, tick=None),
    pytest.mark.usefixtures("no_leaked_threads"),
]


class Scene:
    """A bot on a client of its own, and the market that it sees."""

    def __init__(self, box, ws):
        self.box = box
        self.ws = ws
        self.price = Decimal(70000)
        for _ in range(10):  # an average to begin with: the exchange replays its latest trades
            box.trade(MARKET, "buy", self.price, "0.5")
        self.trades = ws.subscribe_trades(MARKET)
        self.bot = Bot(ws, MARKET, "0.001", window=5)
        self.move(1, by=0)

    def move(self, steps, by):
        """Change the price so many times; the bot sees every trade of it."""
        for _ in range(steps):
            self.price += by
            self.box.trade(MARKET, "buy", self.price, "0.5")
            seen = None
            while seen != self.price:
                trade = self.trades.get(LIMIT_S)
                self.bot.on_trade(trade)
                seen = trade.price

    def executed(self):
        """Sides of the orders that the exchange has executed, oldest first."""
        records = self.ws.request_orders_executed(MARKET, [MARKET_STOCK])["records"]
        return [{2: "buy", 1: "sell"}[record["side"]] for record in reversed(records)]

    def lose(self, request):
        """Reset the connection once the exchange has had this request, and before it has answered."""
        self.box.wait_received(request, timeout=LIMIT_S)
        self.box.drop()


@pytest.fixture
def scene(whitebit_sandbox):
    with whitebit_sandbox.client(reconnect=Backoff(0.01, 0.02)) as ws:  # the usual pauses would only make the tests slow
        yield Scene(whitebit_sandbox, ws)


def test_buys_high_and_sells_low(scene):
    """It follows the trend up and down, with one order each."""
    scene.move(3, by=100)
    assert (True, ["buy"]) == (scene.bot.holds, scene.executed())
    scene.move(3, by=-200)
    assert (False, ["buy", "sell"]) == (scene.bot.holds, scene.executed())


def test_does_nothing_without_a_trend(scene):
    """While the price stays where it is, no order is sent."""
    scene.move(10, by=0)
    assert [] == scene.executed()


def test_connection_lost_during_an_order(scene):
    """An order whose answer is lost is looked up, and not sent again."""
    assert [] == scene.executed()  # it is logged in
    scene.box.delay(LIMIT_S)
    thread = threading.Thread(target=scene.lose, args=("order_market_stock_place",))
    thread.start()
    scene.move(1, by=100)
    thread.join()
    assert scene.bot.open is not None
    scene.box.delay(0)
    scene.move(5, by=100)
    assert (None, True, ["buy"]) == (scene.bot.open, scene.bot.holds, scene.executed())


def test_order_that_never_arrives(scene):
    """An order that the exchange never had is given up when it could not be on its way any more."""
    scene.bot.open = ("lost on the way", "buy", scene.box.markets.now_us / 1e6)
    scene.move(3, by=100)
    assert (False, []) == (scene.bot.holds, scene.executed())
    scene.box.step(50)  # 5 s of the market's time
    scene.move(3, by=100)
    assert (True, ["buy"]) == (scene.bot.holds, scene.executed())


def test_refused_order(scene, capsys):
    """It says so, and tries again at the next price that asks for it."""
    scene.box.reject(code=3, message="not now")
    scene.move(1, by=100)
    assert "buy was refused" in capsys.readouterr().out
    scene.move(1, by=100)
    assert (True, ["buy"]) == (scene.bot.holds, scene.executed())


def test_gap(scene):
    """After trades that nobody can tell any more, it begins a new average."""
    scene.box.garbage()
    scene.ws.ping()  # it has come
    scene.move(1, by=1000)
    assert len(scene.bot.prices) < 5
    assert [] == scene.executed()


def test_survives(scene, sandbox_fault):
    """Whatever goes wrong, at the end it holds what the exchange says, by one order for each trend."""
    with sandbox_fault(scene.box):
        scene.price += 100
        scene.box.trade(MARKET, "buy", scene.price, "0.5")
        if sandbox_fault.name in ("delay", "split", "reject"):
            scene.move(1, by=100)
    scene.move(12, by=100)
    assert (True, ["buy"]) == (scene.bot.holds, scene.executed())
    scene.move(6, by=-200)
    assert (False, ["buy", "sell"]) == (scene.bot.holds, scene.executed())


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for another process")
def test_ctrl_c():
    """Run as a program it ends at Ctrl-C, and says what it holds."""
    program = [sys.executable, str(Path(__file__).with_name("bot.py"))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # modules are found there as here
    with subprocess.Popen(program, env=found, **pipes) as process:
        try:
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert ("BTC_USDT: Ctrl-C ends it\n", 0) == (first, process.returncode)
    # Ctrl-C in the middle of writing a request costs its connection, and the log says so.
    assert [] == [line for line in err.splitlines() if "a write was interrupted" not in line]
    assert out.splitlines()[-1] in ("BTC_USDT: holds it", "BTC_USDT: holds nothing")
