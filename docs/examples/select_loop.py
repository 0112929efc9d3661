"""
An old server around `select`: two subscriptions are two more things to watch, beside its sockets.

    python docs/examples/select_loop.py --sandbox --port 7777
    nc 127.0.0.1 7777

Whoever connects (the second command, in another terminal) is sent the latest prices, as lines of text, and is hung up on. One
thread, no timeouts, no polling. Needs no key. Ends after --count visitors, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import sys
from collections.abc import Sequence

from exchange_ws import ExchangeError, Subscription, SubscriptionClosed, UpdateTimeout, WhiteBIT


def answer(listener: socket.socket, lines: Sequence[str]) -> None:
    """Tell one visitor what is known."""
    with contextlib.suppress(OSError):  # who has left again is not our concern
        visitor, _ = listener.accept()
        with visitor:
            visitor.sendall("".join(f"{line}\n" for line in lines).encode())


def serve(listener: socket.socket, prices: Subscription, tickers: Subscription, visitors: int | None) -> None:
    """Watch all three until so many *visitors* were served, or a subscription ends."""
    newest: dict[tuple[str, str], str] = {}
    served = 0
    while served != visitors:
        readable, _, _ = select.select([listener, prices, tickers], [], [])  # has no limit: Ctrl-C ends it
        for subscription in (prices, tickers):
            if subscription not in readable:
                continue
            # Never block here: what makes it readable may turn out to be no event.
            with contextlib.suppress(UpdateTimeout):
                while True:
                    event = subscription.get_nowait()
                    text = f"last {event.price}" if subscription is prices else f"bid {event.bid} ask {event.ask}"
                    newest[event.symbol, event.channel] = f"{event.symbol} {text}"
        if listener in readable:
            answer(listener, sorted(newest.values()))
            served += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("markets", nargs="*", metavar="MARKET", default=["BTC_USDT", "ETH_USDT"])
    parser.add_argument("--port", type=int, default=0, help="where to listen, on this machine; a free one if not told")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many visitors")
    parser.add_argument("--sandbox", action="store_true", help="use an offline exchange")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        client = WhiteBIT()
        if arguments.sandbox:
            from exchange_ws.sandbox import Sandbox

            client = stack.enter_context(Sandbox("whitebit", seed=1)).client()
        stack.enter_context(client)
        prices = client.subscribe_lastprice(*arguments.markets)
        tickers = client.subscribe_book_ticker(*arguments.markets, overflow="latest")
        listener = stack.enter_context(socket.create_server(("127.0.0.1", arguments.port)))
        listener.setblocking(False)
        print("prices at port", listener.getsockname()[1], flush=True)
        serve(listener, prices, tickers, arguments.count)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except SubscriptionClosed:
        sys.exit("select_loop: the exchange's stream has ended")
    except (ExchangeError, OSError) as error:
        sys.exit(f"select_loop: {error}")
