"""WhiteBIT's WebSocket API, with the names of its documentation (docs.whitebit.com, read 2026-11; pages in brackets)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, cast

from exchange_ws.core.client import Client, Endpoint
from exchange_ws.core.dialect import dump
from exchange_ws.core.messages import Command, Topic
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import UsageError
from exchange_ws.exchanges.whitebit.dialect import (
    WHITEBIT,
    checked_book_interval,
    checked_candle_interval,
    checked_market,
    topics,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["WhiteBIT"]

URL = "wss://api.whitebit.com/ws"
#: WebSocket and REST by region. The host of "eu" is inferred from the region switch of the documentation, not stated there.
REGIONS = {
    "com": (URL, "https://whitebit.com"),
    "eu": ("wss://api.whitebit.eu/ws", "https://whitebit.eu"),
}


class SubscribeOptions(TypedDict, total=False):
    """What every ``subscribe_...`` method takes beside its topics, as `subscribe` does; None is the client's default."""

    timeout: float | None  #: seconds until the exchange has confirmed
    queue_size: int | None  #: messages that wait for their reader
    overflow: str | None  #: what to do when these are too many: "drop_oldest", "drop_newest", "latest", "raise" or "block"
    gaps: bool  #: yield a `Gap` where something is missing, as an item of its own
    raw: bool  #: yield the vendor's JSON instead of events


class WhiteBIT(Client):
    """
    A client of WhiteBIT's market data. Threads may share it; it connects when it is first used.

    Parameters
    ----------
    url
        WebSocket URL; the region's if not told.
    region
        "com" or "eu" (inferred from the documentation's region switch).
    rest_url
        Where REST requests go; the region's if not told.
    options
        Those of every client: see `exchange_ws.core.client.Client`.

    Raises
    ------
    UsageError
        An option is unknown or impossible. Raised by all methods too, for arguments that cannot be right; nothing is sent then.

    Notes
    -----
    What the methods have in common:

    - Markets are spelled as the vendor does: "BTC_USDT"; futures "BTC_PERP". ``"*"`` is all of them, where that is said.
    - ``subscribe_...`` return a `Subscription` once the exchange has confirmed, and take `timeout`, `queue_size`, `overflow`,
      `gaps` and `raw` as `subscribe` does. A refusal raises `SubscriptionRejected`.
    - ``request_...`` return the vendor's own JSON, in which prices and amounts are text. An error of the exchange raises
      `RequestRejected`, or `RateLimited` for its code 7: 200 requests a minute on a connection [WebSocket Rate Limits].
    - Both raise `RequestTimeout` after `timeout` seconds (None: the client's), and `ConnectionLost` or `ConnectionClosed`.

    A second subscription to a channel restates its markets together, since the exchange would replace the first; for candles,
    and for a market's depth with other settings, it takes another connection.

    Examples
    --------
    >>> with WhiteBIT() as ws, ws.subscribe_trades("BTC_USDT", "ETH_USDT") as trades:
    ...     for trade in trades:
    ...         print(trade.symbol, trade.side, trade.price, trade.size)
    """

    name = "whitebit"

    def __init__(self, url: str = URL, *, region: str = "com", rest_url: str | None = None, **options: Any) -> None:
        if not isinstance(region, str) or region not in REGIONS:
            raise UsageError(f"region {region!r}: takes one of {', '.join(REGIONS)}")
        region_url, region_rest_url = REGIONS[region]
        #: Base URL of the exchange's REST API.
        self.rest_url = region_rest_url if rest_url is None else rest_url
        super().__init__({"public": Endpoint("public", region_url if url == URL else url, WHITEBIT)}, **options)

    def _topics_of(self, args: tuple[str, ...], params: Mapping[str, Any]) -> tuple[Topic, ...]:
        if not args:
            raise UsageError('name a channel and its markets: "trades", "BTC_USDT"')
        return topics(*args, **params)

    # Requests

    def request(self, method: str, params: Sequence[Any] = (), timeout: float | None = None) -> Any:
        """
        Make one request of any method, and return the vendor's `result`.

        Parameters
        ----------
        method
            The vendor's name of it: "lastprice_request".
        params
            A list or tuple of what JSON can have, in the vendor's order.
        timeout
            Seconds to wait for the answer; None is the client's.

        Raises
        ------
        UsageError
            The method subscribes or logs in, which would undo what the client has subscribed to: use `subscribe`.
        RequestRejected
            The exchange refused; `code` and `message` are its own [WebSocket overview, error codes].
        ConnectionLost
            The connection was lost while it was under way; `sent` tells whether it may have had an effect. Made while there is
            no connection, requests that read (``..._request``, ``..._query``, ping and time) wait for the next one, and any
            other fails at once. None is sent twice.
        RequestTimeout
            No answer came in time.

        Examples
        --------
        >>> ws.request("lastprice_request", ["BTC_USDT"])
        '67500.50'
        """
        if not isinstance(method, str) or not method:
            raise UsageError(f'method {method!r}: takes the name of one, such as "lastprice_request"')
        if method == "authorize" or method.endswith(("_subscribe", "_unsubscribe")):
            instead = "it logs in by itself" if method == "authorize" else "use subscribe() or unsubscribe() instead"
            raise UsageError(f"{method}: would undo what this client has stated on the connection; {instead}")
        if not isinstance(params, (list, tuple)):
            raise UsageError(f"{method}: params takes a list or a tuple, not {type(params).__name__}")
        try:
            dump(params)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{method}: params takes what JSON has (write a Decimal as text): {error}") from None
        reads = method in ("ping", "time") or method.endswith(("_request", "_query"))
        return self._call(Command(method, tuple(params), replay=reads), timeout)

    def time(self, timeout: float | None = None) -> int:
        """
        The exchange's clock, Unix seconds [Service].

        Examples
        --------
        >>> ws.time()
        1493285895
        """
        return cast(int, self.request("time", (), timeout))

    def request_candles(
        self, market: str, start: int, end: int, interval: int, *, timeout: float | None = None
    ) -> list[list[Any]]:
        """
        Candles of *interval* seconds between *start* and *end*, Unix seconds [Kline].

        Returns
        -------
        list
            Rows of time (Unix seconds), open, **close, high, low**, volume (base), volume (quote), market.

        Examples
        --------
        >>> ws.request_candles("ETH_BTC", 1659569940, 1660894800, 3600)
        [[1580860800, '0.020543', '0.020553', '0.020614', '0.02054', '7342.597', '151.095481849', 'ETH_BTC']]
        """
        market, interval = checked_market(market), checked_candle_interval(interval)
        params = [market, _checked_integer("start", start, 0), _checked_integer("end", end, 0), interval]
        return cast("list[list[Any]]", self.request("candles_request", params, timeout))

    def request_lastprice(self, market: str, *, timeout: float | None = None) -> str:
        """
        Price of the last trade [Last price].

        Examples
        --------
        >>> ws.request_lastprice("ETH_BTC")
        '0.020553'
        """
        return cast(str, self.request("lastprice_request", [checked_market(market)], timeout))

    def request_market(self, market: str, period: int = 86400, *, timeout: float | None = None) -> dict[str, Any]:
        """
        Statistics of the last *period* seconds [Market statistics].

        Returns
        -------
        dict
            ``period`` (seconds), ``last``, ``open``, ``close``, ``high``, ``low``, ``volume`` (base), ``deal`` (volume, quote).

        Examples
        --------
        >>> ws.request_market("ETH_BTC")["high"]
        '0.020988'
        """
        params = [checked_market(market), _checked_integer("period", period, 1)]
        return cast("dict[str, Any]", self.request("market_request", params, timeout))

    def request_market_today(self, market: str, *, timeout: float | None = None) -> dict[str, Any]:
        """
        Statistics since 00:00 UTC [Market statistics for current day UTC].

        Returns
        -------
        dict
            ``last``, ``open``, ``high``, ``low``, ``volume`` (base), ``deal`` (volume, quote).

        Examples
        --------
        >>> ws.request_market_today("ETH_BTC")["last"]
        '0.020981'
        """
        return cast("dict[str, Any]", self.request("marketToday_query", [checked_market(market)], timeout))

    def request_trades(
        self, market: str, limit: int = 100, largest_id: int = 0, *, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """
        Trades of *market*, at most *limit*, which is 1 to 100 [Market trades].

        Parameters
        ----------
        largest_id
            0 for the latest trades. Else the trades beyond this id: so in the documentation's example, which is all it says.

        Returns
        -------
        list
            Of ``id``, ``time`` (Unix seconds), ``price``, ``amount`` (base), ``type`` ("buy" or "sell": the taker's) and, in
            some, ``rpi``.

        Examples
        --------
        >>> ws.request_trades("ETH_BTC", 1)
        [{'id': 41358530, 'time': 1580905394.70332, 'price': '0.020857', 'amount': '5.511', 'type': 'sell'}]
        """
        limit = _checked_integer("limit", limit, 1, 100)
        params = [checked_market(market), limit, _checked_integer("largest_id", largest_id, 0)]
        return cast("list[dict[str, Any]]", self.request("trades_request", params, timeout))

    def request_depth(
        self, market: str, limit: int = 100, interval: str | Decimal | int = "0", *, timeout: float | None = None
    ) -> dict[str, Any]:
        """
        The order book, *limit* levels on each side (1 to 100), in price steps of *interval* ("0": none) [Order Book Depth].

        Returns
        -------
        dict
            ``timestamp`` (Unix seconds), ``asks`` and ``bids``: lists of ``[price, amount]``, best first.

        Examples
        --------
        >>> ws.request_depth("ETH_BTC", 1)
        {'timestamp': 1689600180.5164471, 'asks': [['0.020846', '29.369']], 'bids': [['0.02083', '9.598']]}
        """
        limit = _checked_integer("limit", limit, 1, 100)
        params = [checked_market(market), limit, checked_book_interval(interval)]
        return cast("dict[str, Any]", self.request("depth_request", params, timeout))

    # Subscriptions

    def subscribe_candles(self, market: str, interval: int, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Candle` events of *market* and *interval*, every 0.5 s while a candle is active [Kline].

        Parameters
        ----------
        interval
            Seconds: a divisor of 60; a multiple of 60 that divides 3600; a multiple of 3600 that divides 86400; or 86400,
            172800, 259200, 604800 or 2592000.

        Notes
        -----
        Each market and interval takes a connection of its own [FAQ]. A candle's `closed` is None: the exchange does not tell.

        Examples
        --------
        >>> candles = ws.subscribe_candles("BTC_USDT", 60)
        """
        return self._subscribe(topics("candles", market, interval=interval), **options)

    def subscribe_lastprice(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `LastPrice` events, once a second when the price changed [Last price]; they have no exchange time.

        Examples
        --------
        >>> prices = ws.subscribe_lastprice("BTC_USDT", "BTC_PERP", overflow="latest")
        """
        return self._subscribe(topics("lastprice", *markets), **options)

    def subscribe_market(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Ticker` events of the last 24 hours, once a second when something changed [Market statistics].

        Examples
        --------
        >>> tickers = ws.subscribe_market("BTC_USDT", "ETH_USDT")
        """
        return self._subscribe(topics("market", *markets), **options)

    def subscribe_market_today(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Ticker` events since 00:00 UTC, once a second when something changed [Market statistics for current day UTC].

        Examples
        --------
        >>> tickers = ws.subscribe_market_today("BTC_USDT")
        """
        return self._subscribe(topics("marketToday", *markets), **options)

    def subscribe_trades(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Trade` events as they happen; ``"*"`` for all markets [Market trades].

        Notes
        -----
        After each subscribe the exchange replays up to 100 trades of a market. Those come first, oldest first and marked
        `snapshot`; the replays that follow, after a reconnect or for another subscription, bring no trade twice.

        Examples
        --------
        >>> trades = ws.subscribe_trades("BTC_USDT", "ETH_USDT")
        """
        return self._subscribe(topics("trades", *markets), **options)

    def subscribe_depth(
        self,
        *markets: str,
        limit: int = 100,
        interval: str | Decimal | int = "0",
        **options: Unpack[SubscribeOptions],
    ) -> Subscription:
        """
        `BookUpdate` events: the whole book first, then changes, every 100 ms while there are any [Order Book Depth].

        Parameters
        ----------
        limit
            Levels on each side: 1, 5, 10, 20, 30, 50 or 100.
        interval
            Price step: "0" (none), "0.00000001", and so on by powers of ten to "0.1".

        Notes
        -----
        A change has `previous` equal to the `sequence` before it, or something was missed. After 10 s without a change the
        whole book comes again, and its `sequence` may have jumped.

        Examples
        --------
        >>> updates = ws.subscribe_depth("BTC_USDT", limit=20)
        """
        return self._subscribe(topics("depth", *markets, limit=limit, interval=interval), **options)

    def subscribe_book_ticker(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `BookTicker` events at every change of the best prices or sizes; ``"*"`` for all markets [Book Ticker].

        Several markets by name in one subscription work, as other clients show; the documentation has one or all.

        Examples
        --------
        >>> best = ws.subscribe_book_ticker("BTC_USDT", overflow="latest")
        """
        return self._subscribe(topics("bookTicker", *markets), **options)

    def subscribe_premium_index(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of futures; ``"*"`` for all markets [Market Streams, premium index].

        `raw` is the vendor's row: market, index price, mark price, rate, and times whose meaning is not certain.

        Examples
        --------
        >>> rows = ws.subscribe_premium_index("BTC_PERP")
        """
        return self._subscribe(topics("premiumIndex", *markets), **options)

    def subscribe_adl_quantile(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of futures; ``"*"`` for all markets [Market Streams, ADL quantile].

        `raw` is the vendor's row: market, quantile of longs, quantile of shorts; null, it seems, where there is no position.

        Examples
        --------
        >>> rows = ws.subscribe_adl_quantile("*")
        """
        return self._subscribe(topics("ADLQuantile", *markets), **options)


def _checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if type(value) is not int or value < low or (high is not None and value > high):
        raise UsageError(f"{name} {value!r}: takes an integer, {low} {'or more' if high is None else f'to {high}'}")
    return value
