"""
Bybit's WebSocket API, spot v3, with the names of its documentation.

Pages of that documentation are in brackets. It was withdrawn in September 2024; read 2026-11 in its history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exchange_ws.core.auth import Credentials, redacted, secrets_of, sign
from exchange_ws.core.client import Client, Endpoint, SubscribeOptions
from exchange_ws.core.dialect import dump
from exchange_ws.core.messages import LOGIN, Command, Topic
from exchange_ws.core.recording import Secrets
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import AuthenticationError, ExchangeError, UsageError
from exchange_ws.exchanges.bybit.spot_v3_dialect import PRIVATE, PUBLIC, topics
from exchange_ws.orderbook import whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from exchange_ws.core.livebook import OrderBook

__all__ = ["BybitSpotV3"]

HOST, TESTNET_HOST = "wss://stream.bybit.com", "wss://stream-testnet.bybit.com"  # [Connect]
PUBLIC_PATH, PRIVATE_PATH = "/spot/public/v3", "/spot/private/v3"

# Seconds that a login stays valid. The exchange refuses one that has expired by its own clock, and names no maximum. The second
# of the documentation's sample is too little for a slow network; this covers a clock that is behind by almost as much.
LOGIN_VALID_S = 30.0
SKEW_S = 1.0  # clocks that differ by less are called equal: the time of the answer's way is in it
#: Refusals of a login that may be due to a wrong clock, by their codes; None: one without a code.
CLOCK_CODES = (10002, 10003, 10004, None)
CLOCK_LIMIT_S = 3.0  # to ask for the exchange's time; whoever waits for the login waits for it too


class BybitSpotV3(Client):
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
        self._credentials = Credentials.of(api_key, api_secret)
        self._given = Secrets(secrets_of(self._credentials))
        endpoints = (
            Endpoint("public", host + PUBLIC_PATH if public_url is None else public_url, PUBLIC),
            Endpoint(
                "private",
                host + PRIVATE_PATH if private_url is None else private_url,
                PRIVATE,
                type(self)._login,
                type(self)._explain,
            ),
        )
        super().__init__({endpoint.name: endpoint for endpoint in endpoints}, **options)

    # Login

    def _login(self) -> Command:
        """``{"op": "auth", "args": [key, expires in ms, signature]}``, anew for each connection [Connect, authentication]."""
        credentials = self._credentials
        assert credentials is not None, "_endpoint_of asks for them"
        expires = self._clock.time_ns() // 1_000_000 + int(LOGIN_VALID_S * 1000)
        signature = sign(credentials.api_secret, f"GET/realtime{expires}".encode(), "sha256")
        secrets = (credentials.api_key, signature)
        return Command("auth", (credentials.api_key, expires, signature), LOGIN, secret=True, secrets=secrets)

    def _explain(self, error: AuthenticationError) -> AuthenticationError:
        """The refusal of a login, with what the clocks have to do with it, and without the key should it repeat that."""
        told = f"{error}; {self._about_clocks()}" if error.code in CLOCK_CODES else str(error)
        assert self._credentials is not None
        key = self._credentials.api_key
        message = None if error.message is None else redacted(error.message, key)
        return AuthenticationError(redacted(told, key), code=error.code, message=message, request=error.request)

    def _about_clocks(self) -> str:
        """Compare our clock to the exchange's, which a pong tells."""
        begun = self._clock.time_ns()
        try:
            theirs = float(self.request("ping", timeout=CLOCK_LIMIT_S)["args"][0]) / 1000
        except (ExchangeError, LookupError, TypeError, ValueError):
            return (
                "if the clock of this machine is wrong, that may be why: the login was valid"
                f" until {LOGIN_VALID_S:.0f} s after it, and the exchange's time could not be asked"
            )
        behind = theirs - (begun + self._clock.time_ns()) / 2e9
        if abs(behind) < SKEW_S:
            return "the clocks agree, so look at the key and its secret"
        told = f"our clock is {abs(behind):.1f} s {'behind' if behind > 0 else 'ahead of'} the exchange's"
        if behind < LOGIN_VALID_S - SKEW_S:
            return f"{told}, which a login allows for, so look at the key and its secret"
        return f"{told}, so that the login, valid for {LOGIN_VALID_S:.0f} s, had expired: set the clock of this machine"

    # Topics

    def _topics_of(self, words: tuple[str, ...], params: Mapping[str, Any]) -> Sequence[Topic]:
        return topics(*words, **params)

    def _endpoint_of(self, topic: Topic) -> str:
        if not topic.account:
            return "public"
        if self._credentials is None:
            raise AuthenticationError(
                f"{topic.name}: a private topic, which needs a login: give the client api_key and api_secret"
            )
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
        if not isinstance(op, str) or not op:
            raise UsageError(f'op {op!r}: takes the name of one, such as "ping"')
        if op in ("subscribe", "unsubscribe", "auth"):
            raise UsageError(f"{op}: would undo what this client has stated on the connection; use subscribe() instead")
        if not isinstance(args, (list, tuple)):
            raise UsageError(f"{op}: args takes a list or a tuple, not {type(args).__name__}")
        try:
            dump([op, args])
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{op}: args cannot be said in JSON: {error}") from None
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

    def _subscribe_to(self, shape: str, symbols: Sequence[str], options: SubscribeOptions) -> Subscription:
        if not symbols:
            raise UsageError(f'name at least one symbol, such as "BTCUSDT", for {shape.format("SYMBOL")}')
        return self._subscribe(topics(*(shape.format(symbol) for symbol in symbols)), **options)
