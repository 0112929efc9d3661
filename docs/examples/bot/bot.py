"""
A bot that follows the trend: it buys when the price leaves its average upwards, and sells when it leaves it downwards.

``python bot.py`` runs it in the sandbox until Ctrl-C. Give it ``WhiteBIT(api_key=..., api_secret=...)`` and it trades for real.
"""

from __future__ import annotations

import uuid
from collections import deque
from decimal import Decimal
from typing import Any

from exchange_ws import ConnectionLost, RequestRejected, RequestTimeout, WhiteBIT
from exchange_ws.events import Trade
from exchange_ws.sandbox import Sandbox

MARKET_STOCK = 202  # the vendor's number of the type of our orders
SETTLED_S = 5.0  # an order that the exchange does not know this long after it was sent has never arrived


class Bot:
    """Holds *size* of the base asset or nothing, beside what the account has anyway; starts with nothing."""

    def __init__(self, ws: WhiteBIT, market: str, size: str, window: int = 50, margin: str = "0.0005") -> None:
        self.ws = ws
        self.market = market
        self.size = size
        self.margin = Decimal(margin)
        self.prices: deque[Decimal] = deque(maxlen=window)
        self.holds = False
        #: An order whose outcome is not known: our id for it, its side, the exchange's time when it was decided on.
        self.open: tuple[str, str, float] | None = None

    def run(self) -> None:
        """Trade until the client is closed, or Ctrl-C."""
        with self.ws.subscribe_trades(self.market) as trades:
            for trade in trades:
                self.on_trade(trade)

    def on_trade(self, trade: Trade) -> None:
        if trade.gap is not None and not trade.gap.repaired:
            self.prices.clear()  # an average over a hole would be one of another time
        self.prices.append(trade.price)
        if trade.snapshot or len(self.prices) < (self.prices.maxlen or 0):
            return  # what is replayed is good for the average; deciding by it would be too late
        assert trade.time is not None, "WhiteBIT tells it of every trade"
        if self.open is not None and not self.settle(trade.time):
            return  # no second order before the first one's outcome is known
        average = sum(self.prices) / len(self.prices)
        if not self.holds and trade.price > average * (1 + self.margin):
            self.order("buy", trade.price, trade.time)
        elif self.holds and trade.price < average * (1 - self.margin):
            self.order("sell", trade.price, trade.time)

    def order(self, side: str, price: Decimal, now: float) -> None:
        """Send one order, once."""
        # Noted before it is sent: Ctrl-C may come while the answer is waited for.
        self.open = (uuid.uuid4().hex, side, now)
        try:
            self.ws.order_market_stock_place(self.market, side, self.size, client_order_id=self.open[0])
        except RequestRejected as error:
            self.open = None
            self.say(f"{side} was refused: {error}")
        except (ConnectionLost, RequestTimeout) as error:
            if not error.sent:
                self.open = None  # it never left; the next price decides anew
            self.say(f"{side}: {error}")
        else:
            self.executed(price)

    def settle(self, now: float) -> bool:
        """Ask what became of the open order; True when that is known."""
        assert self.open is not None
        name, side, since = self.open
        try:
            page: dict[str, Any] = self.ws.request_orders_executed(self.market, [MARKET_STOCK])
        except (ConnectionLost, RequestTimeout, RequestRejected):
            return False  # asked again at the next price
        for record in page["records"]:
            if record["client_order_id"] == name:
                self.executed(Decimal(record["deal_money"]) / Decimal(record["deal_stock"]))
                return True
        if now < since + SETTLED_S:
            return False  # it may still be on its way
        self.open = None
        self.say(f"{side} never arrived")
        return True

    def executed(self, price: Decimal) -> None:
        assert self.open is not None
        _, side, _ = self.open
        self.open = None
        self.holds = side == "buy"
        self.say(f"{side} {self.size} at about {price:.2f}")

    def say(self, text: str) -> None:
        print(f"{self.market}: {text}", flush=True)


def main() -> None:
    with Sandbox("whitebit") as box, box.client() as ws:
        bot = Bot(ws, "BTC_USDT", "0.001")
        try:
            bot.say("Ctrl-C ends it")
            bot.run()
        except KeyboardInterrupt:
            if bot.open is not None and not bot.settle(now=0.0):
                bot.say(f"nobody knows yet what became of the {bot.open[1]} {bot.open[0]}")
            bot.say("holds it" if bot.holds else "holds nothing")


if __name__ == "__main__":
    main()
