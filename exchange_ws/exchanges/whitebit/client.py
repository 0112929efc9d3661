"""WhiteBIT's WebSocket API, with the names of its documentation (docs.whitebit.com, read 2026-11; pages in brackets)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from exchange_ws.core.arguments import Amount, checked_amount, checked_integer, exact
from exchange_ws.core.auth import (
    Credentials,
    Token,
    ask_token,
    checked_token,
    next_nonce,
    post,
    redacted,
    secrets_of,
    sign,
)
from exchange_ws.core.client import Client, Endpoint, SubscribeOptions
from exchange_ws.core.dialect import dump
from exchange_ws.core.messages import LOGIN, Command, Topic
from exchange_ws.core.recording import Secrets
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import AuthenticationError, ConnectFailed, RateLimited, UsageError
from exchange_ws.exchanges.whitebit.dialect import (
    WHITEBIT,
    checked_book_interval,
    checked_candle_interval,
    checked_market,
    is_private,
    topics,
)
from exchange_ws.orderbook import linked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from exchange_ws.core.livebook import OrderBook

__all__ = ["WhiteBIT"]

URL = "wss://api.whitebit.com/ws"
#: WebSocket and REST by region. The host of "eu" is inferred from the region switch of the documentation, not stated there.
REGIONS = {
    "com": (URL, "https://whitebit.com"),
    "eu": ("wss://api.whitebit.eu/ws", "https://whitebit.eu"),
}

TOKEN_PATH = "/api/v4/profile/websocket_token"  # [WebSocket token]


class WhiteBIT(Client):
    """
    A client of WhiteBIT: market data, account channels, trading. Threads may share it; it connects when it is first used.

    Parameters
    ----------
    url
        WebSocket URL; the region's if not told.
    region
        "com" or "eu" (inferred from the documentation's region switch).
    api_key, api_secret
        With these it fetches a token by REST for each login.
    token
        A WebSocket token, or a function without arguments that gives a fresh one for each login; goes before key and secret.
        Tokens live shortly, so text is good for one connection only.
    rest_url
        Where REST requests go; the region's if not told.
    options
        Those of every client, such as `timeout`, `reconnect`, `on_state` and `numbers`: see ``help(exchange_ws.Client)``.

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
    - What concerns an account goes over a connection of its own, which logs in at each (re)connect [Authorize]. Without
      credentials it raises `UsageError`; a login that is refused raises `AuthenticationError`, and is not tried again before
      the next call that needs it.
    - ``order_...`` and ``collateral_order_...`` are sent once at most. `ConnectionLost` tells: ``sent=False``, the order never
      left; ``sent=True``, **its outcome is unknown**: ask for the orders before placing it again. `RequestTimeout` has `sent`
      too. Amounts and prices are text, `Decimal` or int; further fields of the vendor's can be given by keyword. These methods
      are not on the vendor's WebSocket pages: they were observed with other clients.

    A second subscription to a channel restates its markets together, since the exchange would replace the first; for candles,
    for a market's depth with other settings, and for executed orders with another filter, it takes another connection.

    Examples
    --------
    >>> with WhiteBIT() as ws, ws.subscribe_trades("BTC_USDT", "ETH_USDT") as trades:
    ...     for trade in trades:
    ...         print(trade.symbol, trade.side, trade.price, trade.size)
    """

    name = "whitebit"

    def __init__(
        self,
        url: str = URL,
        *,
        region: str = "com",
        api_key: str | None = None,
        api_secret: str | None = None,
        token: Token | None = None,
        rest_url: str | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(region, str) or region not in REGIONS:
            raise UsageError(f"region {region!r}: takes one of {', '.join(REGIONS)}")
        if rest_url is not None and not (isinstance(rest_url, str) and rest_url.startswith(("https://", "http://"))):
            raise UsageError(f"rest_url {rest_url!r}: takes a URL of https:// or http://, or None for the region's")
        region_url, region_rest_url = REGIONS[region]
        #: Base URL of the exchange's REST API.
        self.rest_url = region_rest_url if rest_url is None else rest_url.rstrip("/")
        self._credentials = Credentials.of(api_key, api_secret)
        self._token = checked_token(token)
        self._given = Secrets(secrets_of(self._credentials, self._token))
        where = region_url if url == URL else url
        endpoints = {
            "public": Endpoint("public", where, WHITEBIT),
            "private": Endpoint("private", where, WHITEBIT, type(self)._login),
        }
        super().__init__(endpoints, **options)

    def _login(self) -> Command:
        """``authorize [token, "public"]``, once a connection [Authorize]; the token is fetched anew for each."""
        token = self._fetch_token() if self._token is None else ask_token(self._token)
        return Command("authorize", (token, "public"), LOGIN, replay=True, secret=True, secrets=(token,))

    def _fetch_token(self) -> str:
        """A token by REST, which allows 10 in 60 s [WebSocket token; Authentication]."""
        credentials = self._credentials
        assert credentials is not None, "nothing private is asked for without credentials"
        body = dump({"request": TOKEN_PATH, "nonce": next_nonce(self._clock.time_ns() // 1_000_000)})
        payload = base64.b64encode(body)
        signature = sign(credentials.api_secret, payload, "sha512")
        headers = {
            "Content-type": "application/json",
            "X-TXC-APIKEY": credentials.api_key,
            "X-TXC-PAYLOAD": payload.decode(),
            "X-TXC-SIGNATURE": signature,
        }
        options = self._options
        url = self.rest_url + TOKEN_PATH
        answer = post(url, body, headers, timeout=options.timeout, proxy=options.proxy, context=options.ssl)
        told = answer.body if isinstance(answer.body, dict) else {}
        token = told.get("websocket_token")
        if answer.status == 200 and isinstance(token, str) and token:
            return token
        message = f"{told.get('message', 'no token in the answer')}"
        if told.get("errors"):
            message += f" {told['errors']}"
        message = redacted(message, credentials.api_key, credentials.api_secret, payload.decode(), signature)
        text = f"the token for the login, POST {url}: HTTP {answer.status}: {message}"
        if answer.status == 429:
            raise RateLimited(text, code=answer.status, message=message, retry_after_s=answer.retry_after_s)
        if answer.status in (401, 403, 422):
            raise AuthenticationError(text, code=answer.status, message=message)
        raise ConnectFailed(text, status=answer.status, retry_after_s=answer.retry_after_s)

    def _check_login(self, what: str) -> None:
        if self._token is None and self._credentials is None:
            raise UsageError(f"{what}: needs a login: make the client with api_key and api_secret, or with a token")

    def _endpoint_of(self, topic: Topic) -> str:
        if not topic.account:
            return "public"
        self._check_login(topic.label)
        return "private"

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
            The method subscribes or logs in, which would undo what the client has subscribed to: use `subscribe`. Or it needs
            a login, and there are no credentials.
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
            dump([method, params])
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{method}: params takes what JSON has (write a Decimal as text): {error}") from None
        reads = method in ("ping", "time") or method.endswith(("_request", "_query"))
        endpoint = "private" if is_private(method) else "public"
        if endpoint == "private":
            self._check_login(method)
        return self._call(Command(method, tuple(params), replay=reads), timeout, endpoint)

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
        params = [market, checked_integer("start", start, 0), checked_integer("end", end, 0), interval]
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
        params = [checked_market(market), checked_integer("period", period, 1)]
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
        limit = checked_integer("limit", limit, 1, 100)
        params = [checked_market(market), limit, checked_integer("largest_id", largest_id, 0)]
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
        limit = checked_integer("limit", limit, 1, 100)
        params = [checked_market(market), limit, checked_book_interval(interval)]
        return cast("dict[str, Any]", self.request("depth_request", params, timeout))

    # Queries of the account

    def request_balance_spot(self, *assets: str, timeout: float | None = None) -> dict[str, dict[str, str]]:
        """
        Spot balances of *assets*, all of them if none is named [Balance spot].

        Returns
        -------
        dict
            ``available`` and ``freeze`` (by open orders) of each asset.

        Examples
        --------
        >>> ws.request_balance_spot("ETH", "BTC")
        {'ETH': {'available': '0', 'freeze': '0'}, 'BTC': {'available': '0', 'freeze': '0'}}
        """
        params = [checked_market(asset) for asset in assets]
        return cast("dict[str, dict[str, str]]", self.request("balanceSpot_request", params, timeout))

    def request_balance_margin(self, *assets: str, timeout: float | None = None) -> dict[str, dict[str, str]]:
        """
        Margin balances of *assets*, all of them if none is named [Balance margin].

        Returns
        -------
        dict
            ``balance``, ``borrow``, ``available_without_borrow`` and ``available_with_borrow`` of each asset.

        Examples
        --------
        >>> ws.request_balance_margin("BTC")["BTC"]["available_with_borrow"]
        '0.00288701'
        """
        params = [checked_market(asset) for asset in assets]
        return cast("dict[str, dict[str, str]]", self.request("balanceMargin_request", params, timeout))

    def request_orders_pending(
        self, market: str, offset: int = 0, limit: int = 100, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """
        Open orders of *market*, at most *limit*, which is 1 to 100 [Orders pending].

        Returns
        -------
        dict
            ``total``, ``offset``, ``limit`` and ``records``: orders with ``id``, ``market``, ``type``, ``side`` (1 sell, 2
            buy), ``price``, ``amount``, ``left``, ``deal_stock`` (filled, base), ``deal_money`` (filled, quote), ``status``
            and more.

        Examples
        --------
        >>> ws.request_orders_pending("BTC_USDT", limit=30)["total"]
        1
        """
        params = [checked_market(market), checked_integer("offset", offset, 0), checked_integer("limit", limit, 1, 100)]
        return cast("dict[str, Any]", self.request("ordersPending_request", params, timeout))

    def request_orders_executed(
        self,
        market: str,
        order_types: Sequence[int] = (1, 2),
        offset: int = 0,
        limit: int = 100,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """
        Orders of *market* that were executed, at most *limit*, which is 1 to 100 [Orders executed].

        Parameters
        ----------
        order_types
            1 limit, 2 market, 202 market stock, 3 stop limit, 4 stop market, 7 margin limit, 8 margin market, 9 margin stop
            limit, 10 margin stop market, 14 margin normalization.

        Returns
        -------
        dict
            ``offset``, ``limit`` and ``records``, orders as those that are pending, with ``ftime`` and ``fee_asset``.

        Examples
        --------
        >>> ws.request_orders_executed("BTC_USDT", [1, 2], limit=30)["records"][0]["deal_stock"]
        '1'
        """
        types = [checked_integer("order_types", kind, 1) for kind in order_types]
        what = {"market": checked_market(market), "order_types": types}
        params = [what, checked_integer("offset", offset, 0), checked_integer("limit", limit, 1, 100)]
        return cast("dict[str, Any]", self.request("ordersExecuted_request", params, timeout))

    def request_deals(self, market: str, offset: int = 0, limit: int = 100, *, timeout: float | None = None) -> dict[str, Any]:
        """
        Own trades in *market*, at most *limit*, which is 1 to 100 [Deals].

        Returns
        -------
        dict
            ``offset``, ``limit`` and ``records``: ``id``, ``time``, ``market``, ``side`` (1 sell, 2 buy), ``role`` (1 maker, 2
            taker), ``price``, ``amount``, ``deal`` (quote), ``fee``, ``fee_asset``, ``order_id`` and more.

        Examples
        --------
        >>> ws.request_deals("BTC_USDT", limit=30)["records"][0]["price"]
        '105361.32'
        """
        params = [checked_market(market), checked_integer("offset", offset, 0), checked_integer("limit", limit, 1, 100)]
        return cast("dict[str, Any]", self.request("deals_request", params, timeout))

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

    def order_book(
        self, symbol: str, *, limit: int = 100, interval: str | Decimal | int = "0", timeout: float | None = None
    ) -> OrderBook:
        """
        A live order book of the market *symbol*, kept right in the background, once its first snapshot is there.

        Parameters
        ----------
        limit
            Levels on each side: 1, 5, 10, 20, 30, 50 or 100. Levels that changes push beyond it leave the book.
        interval
            Price step, as `subscribe_depth` takes it.
        timeout
            Seconds until the exchange has confirmed and the snapshot is there; None: the client's.

        Raises
        ------
        UpdateTimeout
            No snapshot in time. Nothing stays subscribed. Errors of the subscription are raised as `subscribe` does.

        Notes
        -----
        Each change names the one before it [Order Book Depth]. When one is missing, the book is stale, and subscribes anew for
        a snapshot. Updates come every 100 ms while something changes, and the whole book after 10 s without.

        Examples
        --------
        >>> with ws.order_book("BTC_USDT") as book:
        ...     print(book.best_bid, book.best_ask, book.spread)
        """
        (topic,) = topics("depth", symbol, limit=limit, interval=interval)
        return self._order_book(topic, linked, limit=topic.args[1], timeout=timeout)

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

    # Subscriptions of the account

    def subscribe_balance_spot(self, *assets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Balance` events of assets whose spot balance has changed, once a second; without *assets*, of all [Balance spot].

        Only changes are told: ask for the balances too (`request_balance_spot`), after a reconnect as well.

        Examples
        --------
        >>> balances = ws.subscribe_balance_spot("USDT", "BTC")
        """
        return self._subscribe(topics("balanceSpot", *assets), **options)

    def subscribe_balance_margin(self, *assets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Balance` events of assets whose margin balance has changed, every 1.5 s; without *assets*, of all [Balance margin].

        `available` is without a borrow; `locked` is None; `raw` has balance ("B"), borrow ("b") and what is available with a
        borrow ("ab").

        Examples
        --------
        >>> balances = ws.subscribe_balance_margin()
        """
        return self._subscribe(topics("balanceMargin", *assets), **options)

    def subscribe_orders_pending(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events of open orders, as they happen [Orders pending].

        `raw` is ``[event, order]``: event 1 new, 2 changed, 3 finished. A modified order finishes, and comes again with another
        `id`: follow it by `client_id`. A stop order that is triggered is new a second time. An order that is filled at once
        only finishes. Nothing is told for the time of a disconnection: `request_orders_pending` after a `Gap`.

        Examples
        --------
        >>> orders = ws.subscribe_orders_pending("BTC_USDT", "ETH_BTC")
        """
        return self._subscribe(topics("ordersPending", *markets), **options)

    def subscribe_orders_executed(
        self, *markets: str, order_filter: int = 0, **options: Unpack[SubscribeOptions]
    ) -> Subscription:
        """
        `Order` events of orders that were executed, as they happen [Orders executed].

        Parameters
        ----------
        order_filter
            0 limit and market orders, 1 limit, 2 market. Another filter takes another connection.

        Examples
        --------
        >>> orders = ws.subscribe_orders_executed("BTC_USDT", "ETH_BTC")
        """
        return self._subscribe(topics("ordersExecuted", *markets, order_filter=order_filter), **options)

    def subscribe_deals(self, *markets: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Fill` events: own trades, as they happen; ``"*"`` for all markets [Deals].

        Examples
        --------
        >>> fills = ws.subscribe_deals("BTC_USDT")
        """
        return self._subscribe(topics("deals", *markets), **options)

    def subscribe_positions_margin(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Position` events, one for each open position, every second [Positions margin].

        While there is none, an `Other` whose `raw` has no records. `leverage` is None: it is not told.

        Examples
        --------
        >>> positions = ws.subscribe_positions_margin()
        """
        return self._subscribe(topics("positionsMargin"), **options)

    def subscribe_positions_account_margin(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Position` events at margin calls and liquidations: `raw` is ``[event, position]``, event 1 a call, 2 a liquidation.

        [Positions account margin]

        Examples
        --------
        >>> calls = ws.subscribe_positions_account_margin()
        """
        return self._subscribe(topics("positionsAccountMargin"), **options)

    def subscribe_borrows_margin(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events every 1.5 s: `raw` has all borrows, in ``records`` [Borrows margin].

        Examples
        --------
        >>> borrows = ws.subscribe_borrows_margin()
        """
        return self._subscribe(topics("borrowsMargin"), **options)

    def subscribe_borrows_account_margin(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events at margin calls and liquidations of borrows: `raw` is ``[event, borrow]``, event 1 a call, 2 the other.

        [Borrows account margin]

        Examples
        --------
        >>> calls = ws.subscribe_borrows_account_margin()
        """
        return self._subscribe(topics("borrowsAccountMargin"), **options)

    # Trading: not on the vendor's WebSocket pages, observed with other clients

    def _trade(self, method: str, fields: Mapping[str, Any], timeout: float | None) -> dict[str, Any]:
        """One trading request, whose params are a list of one object; amounts become text."""
        body = {name: exact(name, value) for name, value in fields.items() if value is not None}
        return cast("dict[str, Any]", self.request(method, [body], timeout))

    def _place_order(self, kind: str, fields: dict[str, Any], more: Mapping[str, Any], timeout: float | None) -> dict[str, Any]:
        fields["market"] = checked_market(fields["market"])
        if "side" in fields and fields["side"] not in ("buy", "sell"):
            raise UsageError(f'side {fields["side"]!r}: takes "buy" or "sell"')
        amounts = ("amount", "price", "activation_price", "stop_limit_price")
        for name in amounts:
            if name in fields:
                fields[name] = checked_amount(name, fields[name])
        if "bbo_role" in fields:
            fields["bbo_role"] = checked_integer("bbo_role", fields["bbo_role"], 1, 2)
        return self._trade(f"{kind}_place", {**fields, **more}, timeout)

    def order_limit_place(
        self, market: str, side: str, amount: Amount, price: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Place a limit order in a spot market; its order is returned. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_limit_place("ETH_USDT", "buy", "0.00108", "1859.75", client_order_id="mine")["status"]
        'OPEN'
        """
        return self._place_order(
            "order_limit", {"market": market, "side": side, "amount": amount, "price": price}, fields, timeout
        )

    def order_market_place(
        self, market: str, side: str, amount: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market: *amount* is in quote to buy, in base to sell. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_market_place("ETH_USDT", "sell", "0.00108")["deal_money"]
        '2.0391048'
        """
        return self._place_order("order_market", {"market": market, "side": side, "amount": amount}, fields, timeout)

    def order_market_stock_place(
        self, market: str, side: str, amount: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market, *amount* in base to buy too. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_market_stock_place("ETH_USDT", "buy", "0.00105")["deal_stock"]
        '0.00105'
        """
        return self._place_order("order_market_stock", {"market": market, "side": side, "amount": amount}, fields, timeout)

    def order_stop_limit_place(
        self,
        market: str,
        side: str,
        amount: Amount,
        price: Amount,
        activation_price: Amount,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Place a limit order when the price has reached *activation_price*. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_stop_limit_place("ETH_USDT", "sell", "0.00108", "1831.41", "1859.73")["activated"]
        0
        """
        given = {"market": market, "side": side, "amount": amount, "price": price, "activation_price": activation_price}
        return self._place_order("order_stop_limit", given, fields, timeout)

    def order_stop_market_place(
        self, market: str, side: str, amount: Amount, activation_price: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market (*amount* in quote to buy) at *activation_price*. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_stop_market_place("ETH_USDT", "buy", "3.00", "1916.38")["activation_condition"]
        'gte'
        """
        given = {"market": market, "side": side, "amount": amount, "activation_price": activation_price}
        return self._place_order("order_stop_market", given, fields, timeout)

    def order_stop_market_stock_place(
        self, market: str, side: str, amount: Amount, activation_price: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market, *amount* in base, at *activation_price*. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_stop_market_stock_place("ETH_USDT", "sell", "0.00108", "1859.73")["type"]
        203
        """
        given = {"market": market, "side": side, "amount": amount, "activation_price": activation_price}
        return self._place_order("order_stop_market_stock", given, fields, timeout)

    def order_bbo_place(
        self, market: str, side: str, amount: Amount, bbo_role: int, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Place a limit order at the best price: *bbo_role* 1 maker, 2 taker. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_bbo_place("ETH_USDT", "buy", "0.00108", 1)["price"]
        '1888.06'
        """
        given = {"market": market, "side": side, "amount": amount, "bbo_role": bbo_role}
        return self._place_order("order_bbo", given, fields, timeout)

    def order_stop_bbo_place(
        self,
        market: str,
        side: str,
        amount: Amount,
        activation_price: Amount,
        bbo_role: int,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Place an order at the best price when *activation_price* is reached. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_stop_bbo_place("ETH_USDT", "sell", "0.00108", "1859.73", 1)["post_only"]
        True
        """
        given = {"market": market, "side": side, "amount": amount, "activation_price": activation_price, "bbo_role": bbo_role}
        return self._place_order("order_stop_bbo", given, fields, timeout)

    def collateral_order_limit_place(
        self, market: str, side: str, amount: Amount, price: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Place a limit order on margin or of futures. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_limit_place("BTC_PERP", "buy", "0.001", "63385.90")["position_side"]
        'BOTH'
        """
        given = {"market": market, "side": side, "amount": amount, "price": price}
        return self._place_order("collateral_order_limit", given, fields, timeout)

    def collateral_order_market_place(
        self, market: str, side: str, amount: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market on margin or of futures, *amount* in base. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_market_place("BTC_PERP", "sell", "0.001")["deal_money"]
        '64.33338'
        """
        return self._place_order("collateral_order_market", {"market": market, "side": side, "amount": amount}, fields, timeout)

    def collateral_order_stop_limit_place(
        self,
        market: str,
        side: str,
        amount: Amount,
        price: Amount,
        activation_price: Amount,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Place a limit order on margin or of futures at *activation_price*. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_stop_limit_place("BTC_PERP", "buy", "0.001", "66263.38", "65298.38")["type"]
        9
        """
        given = {"market": market, "side": side, "amount": amount, "price": price, "activation_price": activation_price}
        return self._place_order("collateral_order_stop_limit", given, fields, timeout)

    def collateral_order_stop_market_place(
        self, market: str, side: str, amount: Amount, activation_price: Amount, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Trade at the market on margin or of futures at *activation_price*. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_stop_market_place("BTC_PERP", "sell", "0.001", "63385.76")["type"]
        10
        """
        given = {"market": market, "side": side, "amount": amount, "activation_price": activation_price}
        return self._place_order("collateral_order_stop_market", given, fields, timeout)

    def collateral_order_bbo_place(
        self, market: str, side: str, amount: Amount, bbo_role: int, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Place a limit order on margin or of futures at the best price, as `order_bbo_place`. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_bbo_place("BTC_PERP", "buy", "0.001", 1)["price"]
        '64333.38'
        """
        given = {"market": market, "side": side, "amount": amount, "bbo_role": bbo_role}
        return self._place_order("collateral_order_bbo", given, fields, timeout)

    def collateral_order_stop_bbo_place(
        self,
        market: str,
        side: str,
        amount: Amount,
        activation_price: Amount,
        bbo_role: int,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        The same when *activation_price* is reached. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_stop_bbo_place("BTC_PERP", "sell", "0.001", "63385.76", 1)["price"]
        '0'
        """
        given = {"market": market, "side": side, "amount": amount, "activation_price": activation_price, "bbo_role": bbo_role}
        return self._place_order("collateral_order_stop_bbo", given, fields, timeout)

    def collateral_order_oco_place(
        self,
        market: str,
        side: str,
        amount: Amount,
        price: Amount,
        activation_price: Amount,
        stop_limit_price: Amount,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Place a limit order and a stop limit order, of which one ends the other. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_oco_place("BTC_PERP", "sell", "0.001", "65301.08", "63370.99", "62405.95")["type"]
        'oco'
        """
        given = {
            "market": market,
            "side": side,
            "amount": amount,
            "price": price,
            "activation_price": activation_price,
            "stop_limit_price": stop_limit_price,
        }
        return self._place_order("collateral_order_oco", given, fields, timeout)

    def collateral_order_oto_place(
        self,
        trigger_order: Mapping[str, Any],
        *,
        trigger_order_type: str = "margin_limit",
        conditional_order_type: str = "margin_market_oco",
        take_profit: Amount | None = None,
        stop_loss: Amount | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Place an order that places others when it is filled. Not on the WebSocket pages; other types than these are unknown.

        Parameters
        ----------
        trigger_order
            As `collateral_order_limit_place` takes it: market, side, amount, price.
        take_profit, stop_loss
            Prices at which the position is closed at the market.

        Examples
        --------
        >>> order = {"market": "BTC_PERP", "side": "buy", "amount": "0.001", "price": "63370.99"}
        >>> ws.collateral_order_oto_place(order, take_profit="66266.12", stop_loss="62405.95")["type"]
        'oto'
        """
        if not isinstance(trigger_order, Mapping):
            raise UsageError(f"trigger_order: takes an order's fields in a dict, not {type(trigger_order).__name__}")
        body = {
            "trigger_order_type": trigger_order_type,
            "trigger_order": {name: exact(name, value) for name, value in trigger_order.items()},
            "conditional_order_type": conditional_order_type,
            "take_profit": None if take_profit is None else checked_amount("take_profit", take_profit),
            "stop_loss": None if stop_loss is None else checked_amount("stop_loss", stop_loss),
        }
        return self._trade("collateral_order_oto_place", {**body, **fields}, timeout)

    def collateral_order_tpsl_place(
        self,
        market: str,
        *,
        stop_loss_activation_price: Amount | None = None,
        take_profit_activation_price: Amount | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Close the position in *market* at the market when a price is reached. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.collateral_order_tpsl_place("BTC_PERP", stop_loss_activation_price="63388.57")["stop_loss"]["status"]
        'OPEN'
        """
        prices = {
            "stop_loss_activation_price": stop_loss_activation_price,
            "take_profit_activation_price": take_profit_activation_price,
        }
        told = {name: checked_amount(name, price) for name, price in prices.items() if price is not None}
        if not told:
            raise UsageError("collateral_order_tpsl_place: takes at least one of the two prices")
        return self._trade("collateral_order_tpsl_place", {"market": checked_market(market), **told, **fields}, timeout)

    def order_modify(
        self,
        market: str,
        order_id: int | None = None,
        *,
        client_order_id: str | None = None,
        amount: Amount | None = None,
        price: Amount | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Change an open order, which gets another id: the order that is returned has it. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_modify("ETH_USDT", 2423735905491, amount="0.00216", price="1831.41")["id"]
        2423735905695
        """
        body = {
            **_named(market, order_id, client_order_id),
            "amount": None if amount is None else checked_amount("amount", amount),
            "price": None if price is None else checked_amount("price", price),
        }
        return self._trade("order_modify", {**body, **fields}, timeout)

    def order_cancel(
        self,
        market: str,
        order_id: int | None = None,
        *,
        client_order_id: str | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Cancel an open order, which is returned. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_cancel("ETH_USDT", 2423735868673)["status"]
        'CANCELED'
        """
        return self._trade("order_cancel", {**_named(market, order_id, client_order_id), **fields}, timeout)

    def order_cancel_conditional(
        self, market: str, order_id: int, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """
        Cancel a conditional order (OCO, OTO) with its legs, by the id of the whole. Not on the WebSocket pages.

        Examples
        --------
        >>> ws.order_cancel_conditional("BTC_PERP", 2423735892717)["stop_loss"]["status"]
        'CANCELED'
        """
        return self._trade("order_cancel_conditional", {**_named(market, order_id, None), **fields}, timeout)

    def order_cancel_all(
        self,
        market: str | None = None,
        types: Sequence[str] | None = None,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """
        Cancel all open orders (of *market*), of all *types* or those named: "spot", "futures", "margin".

        Not on the WebSocket pages. The result is empty.

        Examples
        --------
        >>> ws.order_cancel_all("ETH_USDT", ["spot", "futures", "margin"])
        {}
        """
        if isinstance(types, str):
            raise UsageError(f'types {types!r}: takes a list, such as ["spot"]')
        body = {"market": None if market is None else checked_market(market), "type": None if types is None else list(types)}
        return self._trade("order_cancel_all", {**body, **fields}, timeout)


def _named(market: str, order_id: int | None, client_order_id: str | None) -> dict[str, Any]:
    """The order that is meant, by its id or by the one that its client gave it."""
    if (order_id is None) == (client_order_id is None):
        raise UsageError("an order is named by either its order_id or its client_order_id")
    if order_id is None:
        return {"market": checked_market(market), "client_order_id": client_order_id}
    return {"market": checked_market(market), "order_id": checked_integer("order_id", order_id, 0)}
