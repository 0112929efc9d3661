"""
An order that is placed exactly once, whatever becomes of the connection.

    python docs/examples/safe_order.py BTC_USDT buy 0.01 60000 --sandbox --fault answer
    python docs/examples/safe_order.py BTC_USDT buy 0.001 20000

An order without an answer has not failed: nobody knows. Its client order id is ours, so it is looked up, and placed again only
if it is not there. --fault makes the sandbox lose the answer, or the order itself: from here both look the same.
Without --sandbox it is a real order; the key is in EXCHANGE_WS_WHITEBIT_KEY and _SECRET. Exit code 1: refused, or unknown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
import uuid
from typing import Any

from exchange_ws import ConnectionLost, ExchangeError, RequestRejected, RequestTimeout, WhiteBIT

TRIES = 5
LOOKS, LOOK_AGAIN_S = 3, 0.5  # it may still be on its way when the connection that it went by is gone


def find(ws: WhiteBIT, market: str, client_id: str) -> dict[str, Any] | None:
    """The order with that client order id, if the exchange has it."""
    for look in range(LOOKS):
        time.sleep(LOOK_AGAIN_S if look else 0)
        # Open ones first: one that is filled between the two questions is in the answer to the second.
        for order in ws.request_orders_pending(market)["records"] + ws.request_orders_executed(market)["records"]:
            if order["client_order_id"] == client_id:
                return order
    return None


def place(ws: WhiteBIT, market: str, side: str, amount: str, price: str, client_id: str) -> dict[str, Any]:
    """Place a limit order once; the order as the exchange has it. *client_id* is what makes several tries one order."""
    for attempt in range(TRIES):
        try:
            # Looked for even if it never left: a query waits for the next connection, which an order does not.
            order = find(ws, market, client_id) if attempt else None
            return order or ws.order_limit_place(market, side, amount, price, client_order_id=client_id)
        except (ConnectionLost, RequestTimeout) as error:
            print("it may be there: looking" if error.sent else "it never left: trying again", f"({error})", file=sys.stderr)
        except RequestRejected:  # perhaps as the second of that id: the first has arrived after we looked
            if not (attempt and (order := find(ws, market, client_id))):
                raise
            return order
    raise ConnectionLost(f"whether there is an order {client_id} is unknown after {TRIES} tries", sent=True)


def lose(box: Any, what: str | None) -> None:
    """Have the sandbox lose the next order, or its answer, and the connections with it."""
    if what == "order":
        box.freeze()  # it reads nothing more from them
        threading.Timer(2.0, box.drop).start()
    elif what == "answer":
        box.delay(60)
        threading.Thread(target=cut_off_the_answer, args=(box,)).start()


def cut_off_the_answer(box: Any) -> None:
    box.wait_received("order_limit_place")
    box.delay(0)  # later answers come again; that of the order goes on waiting
    box.drop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("order", nargs=4, metavar=("MARKET", "SIDE", "AMOUNT", "PRICE"), help="side: buy or sell")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    parser.add_argument("--fault", choices=("answer", "order"), help="what the sandbox loses")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if arguments.sandbox:
            from exchange_ws.sandbox import Sandbox

            box = stack.enter_context(Sandbox("whitebit", seed=1))
            ws = stack.enter_context(box.client())
            ws.request_balance_spot()  # logs in: the fault is for the order
            lose(box, arguments.fault)
        else:
            keys = {name: os.environ.get(f"EXCHANGE_WS_WHITEBIT_{name[4:].upper()}") for name in ("api_key", "api_secret")}
            ws = stack.enter_context(WhiteBIT(**keys))
        order = place(ws, *arguments.order, client_id=uuid.uuid4().hex)
        print(f"order {order['id']}: {' '.join(arguments.order)}: {order['status']}")
        print(ws.request_orders_pending(order["market"])["total"], "open in", order["market"])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ExchangeError as error:
        sys.exit(f"safe_order: {error}")
