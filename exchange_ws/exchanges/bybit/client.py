"""
Bybit's WebSocket API, spot v3, with the names of its documentation.

Pages of that documentation are in brackets. It was withdrawn in September 2024; read 2026-11 in its history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exchange_ws.core.client import Endpoint, SubscribeOptions
from exchange_ws.core.messages import Command, Topic
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import UsageError
from exchange_ws.exchanges.bybit.base import CLOCK_LIMIT_S, HOST, TESTNET_HOST, BybitClient, check_request, checked_url
from exchange_ws.exchanges.bybit.spot_v3_dialect import PRIVATE, PUBLIC, topics
from exchange_ws.orderbook import whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from exchange_ws.core.livebook import OrderBook

__all__ = ["BybitSpotV3"]

PUBLIC_PATH, PRIVATE_PATH = "/spot/public/v3", "/spot/private/v3"  # [Connect]


class BybitSpotV3(BybitClient):
    """
    A client of Bybit's spot v3 streams. Threads may share it; it connects when it is first used.

    Parameters
    ----------
    testnet
        Use the testnet's addresses.
    public_url, private_url
        WebSocket URLs of the two endpoints; Bybit's if not told. The private one is connected to by the first private topic.
    api_key, api_secret
        For private topics. The secret signs each login and is never sent.
    options
        Those of every client: see `exchange_ws.core.client.Client`.

    Raises
    ------
    UsageError
        An option is unknown or impossible. Raised by all methods too, for arguments that cannot be right; nothing is sent then.

    Notes
    -----
    What the ``subscribe_...`` methods have in common:

    - Symbols are spelled as the vendor does: "BTCUSDT".
    - They return a `Subscription` once the exchange has confirmed, and take `timeout`, `queue_size`, `overflow`, `gaps` and
      `raw` as `subscribe` does.
    - A refusal raises `SubscriptionRejected`. Of several topics said together the exchange does not tell which one it means, so
      topics of other subscriptions are tried one after the other, and only the refused subscription ends.
    - They raise `RequestTimeout` after `timeout` seconds (None: the client's), and `ConnectionLost` or `ConnectionClosed`.
    - Those of private topics raise `AuthenticationError` where there is no key, or where the login was refused; if that may be
      due to a wrong clock, it names the difference to the exchange's. Private topics concern all symbols, and begin with the
      next change: open orders and balances as they are have to be asked for by REST.

    A lost connection is made anew, with a new login, and everything is subscribed again [Connect]. The events' `raw` is the
    whole message. Bybit has announced no end of these streams, but withdrew their documentation in favour of V5.

    Examples
    --------
    >>> with BybitSpotV3() as ws, ws.subscribe("trade.BTCUSDT", "trade.ETHUSDT") as trades:
    ...     for trade in trades:
    ...         print(trade.symbol, trade.side, trade.price, trade.size)
    """

    name = "bybit-spot-v3"
    paths = MappingProxyType({"public_url": PUBLIC_PATH, "private_url": PRIVATE_PATH})
    _clock_codes = (10002, 10003, 10004, None)

    def __init__(
        self,
        *,
        testnet: bool = False,
        public_url: str | None = None,
        private_url: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(testnet, bool):
            raise UsageError(f"testnet={testnet!r}: takes True or False")
        host = TESTNET_HOST if testnet else HOST
        endpoints = (
            Endpoint("public", checked_url("public_url", public_url, host + PUBLIC_PATH), PUBLIC),
            Endpoint(
                "private",
                checked_url("private_url", private_url, host + PRIVATE_PATH),
                PRIVATE,
                type(self)._login,
                type(self)._explain,
            ),
        )
        super().__init__(endpoints, api_key, api_secret, options)

    def _their_time(self) -> float:
        return float(self.request("ping", timeout=CLOCK_LIMIT_S)["args"][0]) / 1000

    # Topics

    def _topics_of(self, words: tuple[str, ...], params: Mapping[str, Any]) -> Sequence[Topic]:
        return topics(*words, **params)

    def _endpoint_of(self, topic: Topic) -> str:
        if not topic.account:
            return "public"
        self._check_login(f"{topic.name}: a private topic")
        return "private"

    # Requests

    def request(self, op: str, args: Sequence[Any] = (), timeout: float | None = None) -> Any:
        """
        Make one request on the public endpoint, and return the vendor's whole reply.

        Parameters
        ----------
        op
            The vendor's name of it. "ping" is the only one that is not about topics or logins [Connect].
        args
            A list or tuple of what JSON can have.
        timeout
            Seconds to wait for the answer; None is the client's.

        Raises
        ------
        UsageError
            The op subscribes or logs in, which would undo what the client has stated: use `subscribe`.
        RequestRejected
            The exchange refused; `code` and `message` are its own, the code as a number [Error Codes].
        ConnectionLost
            A ping waits for a connection and is made again on the next one. Anything else is sent once at most; lost with its
            connection, `sent` tells whether it may have had an effect.
        RequestTimeout
            No answer came in time.

        Examples
        --------
        >>> ws.request("ping")
        {'op': 'pong', 'args': [1661741630642], 'req_id': '1', 'conn_id': '706b870c'}
        """
        check_request(op, args)
        return self._call(Command(op, tuple(args), replay=op == "ping"), timeout)

    # Public topics

    def subscribe_trade(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Trade` events as they happen, topic ``trade.SYMBOL`` [Trade].

        Notes
        -----
        Ids are handed out over all symbols together, so those of one symbol have gaps. Nothing is replayed.

        Examples
        --------
        >>> trades = ws.subscribe_trade("BTCUSDT", "ETHUSDT")
        """
        return self._subscribe_to("trade.{}", symbols, options)

    def subscribe_orderbook(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `BookUpdate` events, every 100 ms if something changed, topic ``orderbook.40.SYMBOL`` [Depth].

        Notes
        -----
        Each is a snapshot: the best 40 levels of both sides, which replace those before. There is no sequence; what is lost
        heals with the next one. An event older than the one before it is to be left out.

        Examples
        --------
        >>> books = ws.subscribe_orderbook("BTCUSDT", overflow="latest")
        """
        return self._subscribe_to("orderbook.40.{}", symbols, options)

    def order_book(self, symbol: str, *, timeout: float | None = None) -> OrderBook:
        """
        A live order book of *symbol*, the best 40 levels a side, once the first push is there [Depth].

        Parameters
        ----------
        timeout
            Seconds until the exchange has confirmed and the book is there; None: the client's.

        Raises
        ------
        UpdateTimeout
            No book in time: nothing is pushed before something changes. Nothing stays subscribed. Errors of the subscription
            are raised as `subscribe` does.

        Notes
        -----
        Each push is the whole book, without a number by which a lost one could be seen, and replaces what was before, every
        100 ms while something changes. One that is up to 10 s older than the book is left out: it was overtaken.

        Examples
        --------
        >>> with ws.order_book("BTCUSDT") as book:
        ...     print(book.best_bid, book.best_ask, book.spread)
        """
        (topic,) = topics(f"orderbook.40.{symbol}")
        return self._order_book(topic, whole, limit=None, timeout=timeout)

    def subscribe_tickers(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Ticker` events of the last 24 hours as they change, topic ``tickers.SYMBOL`` [Tickers].

        Examples
        --------
        >>> tickers = ws.subscribe_tickers("BTCUSDT")
        """
        return self._subscribe_to("tickers.{}", symbols, options)

    def subscribe_bookticker(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `BookTicker` events: best prices and sizes, every 100 ms if they changed, topic ``bookticker.SYMBOL`` [Bookticker].

        They tick apart from the order book, so the best prices of the two can differ for a moment.

        Examples
        --------
        >>> best = ws.subscribe_bookticker("BTCUSDT", overflow="latest")
        """
        return self._subscribe_to("bookticker.{}", symbols, options)

    def subscribe_kline(self, *symbols: str, interval: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Candle` events as the candle changes, topic ``kline.INTERVAL.SYMBOL`` [Kline].

        Parameters
        ----------
        interval
            "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w", or "1M" for a month.

        Notes
        -----
        Events have `interval` in seconds, None for a month. Their `closed` is None: the exchange does not tell. A candle is
        final when one with a later `start` comes. There is no volume in the quote asset.

        Examples
        --------
        >>> candles = ws.subscribe_kline("BTCUSDT", interval="1m")
        """
        return self._subscribe_to(f"kline.{interval}.{{}}", symbols, options)

    # Private topics

    def subscribe_outbound_account_info(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Balance` events, topic ``outboundAccountInfo`` [outboundAccountInfo].

        One for each coin whose balance changed, with what is available and what orders lock now, not with the difference.

        Examples
        --------
        >>> balances = ws.subscribe_outbound_account_info()
        """
        return self._subscribe(topics("outboundAccountInfo"), **options)

    def subscribe_order(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events at each change of an order, topic ``order`` [order].

        Notes
        -----
        `type` is LIMIT, LIMIT_MAKER, MARKET_OF_BASE (a market sell) or MARKET_OF_QUOTE (a market buy), whose `size` is an
        amount of the quote asset. That one ends as CANCELED although it was filled, since what is left of the amount is
        returned: judge it by `filled`. The other `status` are NEW, PARTIALLY_FILLED, FILLED, PARTIALLY_FILLED_CANCELED and
        REJECTED. Fees are in `raw`: `n`, in coin `N`, is the last fill's. Its `m` means LIMIT_MAKER; who was the maker,
        ticketInfo tells.

        Examples
        --------
        >>> orders = ws.subscribe_order()
        """
        return self._subscribe(topics("order"), **options)

    def subscribe_stop_order(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events of conditional orders, topic ``stopOrder`` [stopOrder].

        Notes
        -----
        `status` is ORDER_NEW, ORDER_FILLED (triggered), ORDER_CANCELED, ORDER_REJECTED or ORDER_FAILED; `filled` is None, since
        the order that it makes is filled in its place: its id is `eo` in `raw`. The trigger price is `tp` there.

        Examples
        --------
        >>> stops = ws.subscribe_stop_order()
        """
        return self._subscribe(topics("stopOrder"), **options)

    def subscribe_ticket_info(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Fill` events: one for each execution of an order, topic ``ticketInfo`` [ticketInfo].

        `id` is that of the public trade. Fees are told by ``order`` only.

        Examples
        --------
        >>> fills = ws.subscribe_ticket_info()
        """
        return self._subscribe(topics("ticketInfo"), **options)
