"""
Bitzoom's futures WebSocket API, with the names of its documentation.

Sources in brackets are those that `exchange_ws.exchanges.bitzoom.dialect` lists.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import logging
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exchange_ws.core.auth import Token, ask_token, checked_token
from exchange_ws.core.client import Client, Endpoint, SubscribeOptions
from exchange_ws.core.messages import LOGIN, SUBSCRIBE, UNSUBSCRIBE, Command, Topic
from exchange_ws.core.recording import Secrets
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import UsageError
from exchange_ws.exchanges.bitzoom.dialect import (
    CHANNELS,
    LOGON,
    PRIVATE,
    PRIVATE_CHANNELS,
    PUBLIC,
    checked_data,
    topic,
)
from exchange_ws.orderbook import whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from exchange_ws.core.livebook import OrderBook

__all__ = ["Bitzoom", "url_of"]

log = logging.getLogger(__name__)

EVENTS = {"sub": SUBSCRIBE, "unsub": UNSUBSCRIBE}
EXPIRING_S = 60.0  # a token with less left is asked for once more: it might not survive the way


class Bitzoom(Client):
    """
    A client of Bitzoom's market data and account streams. Threads may share it; it connects when it is first used.

    Parameters
    ----------
    host
        Where the server is: ``"119.8.50.236:8088"`` is the published one. An IP address is spoken to over ``ws://``, a name
        over ``wss://``, path ``/ws`` in both cases [Streams]; a URL of ``ws://`` or ``wss://`` is taken as it is.
    token
        A JWT for the private channels, or a function that gives one; it is called anew for each login, on a thread of the
        client's. A prefix ``Bearer``, as the vendor's web pages keep it [Docs], is taken off. The vendor does not say how long
        a token lives, nor what becomes of a session whose token expires; the framework looks at it at the login only.
    allow_insecure_token
        Let the token travel over ``ws://``, where everyone on the way can read it. Without this, a token for such an address is
        refused, unless the host is this machine.
    check_parameters
        False sends parameters of subscriptions as they are given, in case the server takes what its page does not list.
    options
        Those of every client: see `exchange_ws.core.client.Client`.

    Raises
    ------
    UsageError
        An option is unknown or impossible. Raised by all methods too, for arguments that cannot be right; nothing is sent then.

    Notes
    -----
    What the methods have in common:

    - Symbols are passed on as they are; `subscribe_exchange_info` tells how they are spelled (the pages have both "BTCUSDT" and
      "ETH/USDT").
    - ``subscribe_...`` return a `Subscription` once the exchange has confirmed, and take `timeout`, `queue_size`, `overflow`,
      `gaps` and `raw` as `subscribe` does. A refusal raises `SubscriptionRejected`, or `AuthenticationError` where a login is
      missing.
    - The vendor documents the payload of one channel, ticker. Fields of the events that a push does not have are None, and
      `raw` has its data unchanged, whatever that is.
    - A subscription to the same channel and parameters is said once, and shared; its end is said when the last one leaves.
    - `Subscription.sub_ids` are the exchange's ids, new ones after each reconnect. Pushes under ids that were never given to
      us, which a build of the server's framework is known to send, are counted as "unrouted" in `stats`, never delivered.
    - A stream that falls silent tells nobody: give `Subscription.get` a timeout, and subscribe anew if that is too long. How
      often channels push is not documented, so the client does not do it by itself.

    Private channels take a connection of their own, so that a refused login does not touch the public ones. It ends the
    subscriptions there with `AuthenticationError`; after a reconnect, a function is asked for a new token once before that. The
    client does not try again by itself, since tokens do not get better: the next private call does, one login for one call.

    Examples
    --------
    >>> with Bitzoom() as ws, ws.subscribe("/api/v1/ticker", symbol="BTCUSDT") as ticker:
    ...     for event in ticker:
    ...         print(event.symbol, event.price)
    """

    name = "bitzoom"

    def __init__(
        self,
        host: str = "119.8.50.236:8088",
        *,
        token: Token | None = None,
        allow_insecure_token: bool = False,
        check_parameters: bool = True,
        **options: Any,
    ) -> None:
        for option, value in (("allow_insecure_token", allow_insecure_token), ("check_parameters", check_parameters)):
            if not isinstance(value, bool):
                raise UsageError(f"{option}={value!r}: takes True or False")
        token = checked_token(token)
        if isinstance(token, str) and not _bare(token):
            raise UsageError("token: there is nothing in it")
        url = url_of(host)
        self._token = token
        self._given = Secrets([_bare(token)] if isinstance(token, str) else [])
        self._checks = check_parameters
        super().__init__(
            {
                "public": Endpoint("public", url, PUBLIC),
                "private": Endpoint("private", url, PRIVATE, None if token is None else type(self)._login),
            },
            **options,
        )
        if token is not None and not _is_safe(url):
            if not allow_insecure_token:
                raise UsageError(
                    f"token: {url} is not encrypted, so everyone on the way could read it;"
                    " allow_insecure_token=True sends it all the same"
                )
            log.warning("%s: the token travels unencrypted to %s, as allow_insecure_token allows", self.name, url)

    # Inside

    def _login(self) -> Command:
        """The logon, made for each connection; on its reader's thread."""
        token = self._token
        assert token is not None, "without a token there is no login"
        given = ask_token(token)
        if callable(token) and _expires_within(_bare(given), EXPIRING_S):
            given = ask_token(token)
        # Only a function can give another one: then the login may be tried again.
        bare = _bare(given)
        return Command(LOGON, ({"token": bare},), LOGIN, replay=callable(token), secret=True, secrets=(bare,))

    def _topics_of(self, args: tuple[str, ...], params: Mapping[str, Any]) -> tuple[Topic, ...]:
        if len(args) != 1:
            raise UsageError('name one channel, and its parameters by name: "/api/v1/ticker", symbol="BTCUSDT"')
        return (self._topic(args[0], params),)

    def _topic(self, channel: str, params: Mapping[str, Any]) -> Topic:
        return topic(channel, params, checked=self._checks)

    def _endpoint_of(self, topic: Topic) -> str:
        return self._endpoint(topic.label)

    def _endpoint(self, channel: str) -> str:
        if channel not in PRIVATE_CHANNELS:
            return "public"
        if self._token is None:
            raise UsageError(f"{channel} is private: it needs Bitzoom(token=...)")
        return "private"

    def _open_one(self, channel: str, options: SubscribeOptions, **params: Any) -> Subscription:
        return self._subscribe([self._topic(channel, params)], **options)

    # Requests

    def request(
        self, channel: str, event: str = "sub", data: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """
        Say one request as it is, and return the `data` of its answer: of a "sub", ``{subscription id: ...}`` [Streams].

        The exchange has no other requests than "sub" and "unsub". What a "sub" starts here belongs to nobody: its pushes are
        counted as "unrouted" in `stats`, it is not said again after a reconnect, and an "unsub" with the same data ends it.
        For pushes that reach you use `subscribe`.

        Parameters
        ----------
        channel
            Any path that the server may know, not only those of the documentation.
        event
            "sub" or "unsub".
        data
            Parameters, sent as they are; None: ``{}``.
        timeout
            Seconds to wait for the answer; None is the client's. While one waits, nothing else is said of its channel, since
            answers tell no more than that.

        Raises
        ------
        UsageError
            An "unsub" of what this client has subscribed to, which would end that stream in silence; "logon"; or parameters
            with which the REST twin of the channel sets something.
        RequestRejected
            The exchange refused; `code` and `message` are its own, None and our words where it gives none.
        RequestTimeout, ConnectionLost
            No answer came. A "sub" waits for a connection; an "unsub" does not, since on a new one there is nothing to end.

        Examples
        --------
        >>> ws.request("/api/v1/ticker", "sub", {"symbol": "BTCUSDT"})
        {'abc123': {}}
        """
        # A token in a request of the caller's would stand in its errors, and in recordings.
        if not isinstance(channel, str) or not channel.startswith("/") or channel.rpartition("/")[2].lower() == LOGON:
            raise UsageError(f'channel {channel!r}: takes a path, such as "/api/v1/ticker"; logon is up to the client')
        if event not in EVENTS:
            raise UsageError(f"event {event!r}: takes {' or '.join(EVENTS)}")
        if data is not None and not isinstance(data, Mapping):
            raise UsageError(f"data: takes a dict of parameters, not {type(data).__name__}")
        said = checked_data(channel, data or {}, checked=False)
        if event == "unsub" and channel in CHANNELS:
            meant = topic(channel, said, checked=False)
            for subscription in self.subscriptions:
                if meant in subscription.wanted:
                    raise UsageError(f"unsub {meant.name}: this would end {subscription.name}; use unsubscribe() instead")
        command = Command(event, (channel, said), EVENTS[event], replay=event == "sub", channel=channel)
        return self._call(command, timeout, self._endpoint(channel))

    # Public channels

    def subscribe_ticker(self, symbol: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `LastPrice` events of `/api/v1/ticker`: ``{"symbol", "price"}``, the one documented payload [Streams].

        Examples
        --------
        >>> ticker = ws.subscribe_ticker("BTCUSDT")
        """
        return self._open_one("/api/v1/ticker", options, symbol=symbol)

    def subscribe_ticker_price(self, symbol: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `LastPrice` events of `/api/v1/ticker/price` [Streams]; the names of its fields are by [Analogy].

        Examples
        --------
        >>> prices = ws.subscribe_ticker_price("BTCUSDT", overflow="latest")
        """
        return self._open_one("/api/v1/ticker/price", options, symbol=symbol)

    def subscribe_premium_index(self, symbol: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of `/api/v1/premiumindex` [Streams]: mark price, index price, funding rate, next funding time.

        That it tells these is documented, their names are not [Docs]: they are in `raw`.

        Examples
        --------
        >>> premium = ws.subscribe_premium_index("BTCUSDT")
        """
        return self._open_one("/api/v1/premiumindex", options, symbol=symbol)

    def subscribe_hr24(self, symbol: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Ticker` events of `/api/v1/ticker/hr24`, statistics of 24 hours [Streams]; the names of its fields are by [Analogy].

        Parameters
        ----------
        symbol
            None leaves it out, as the page allows; presumably that means all symbols, in one list a push. It is one
            subscription in any case.

        Examples
        --------
        >>> statistics = ws.subscribe_hr24("BTCUSDT")
        """
        return self._open_one("/api/v1/ticker/hr24", options, symbol=symbol)

    def subscribe_depth(self, symbol: str, limit: int | str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `BookUpdate` events of `/api/v1/depth` [Streams], each the whole book, hence of kind "snapshot".

        Parameters
        ----------
        limit
            Levels a side. The playground offers 5, 10 and 20, the REST twin up to 1000 [Docs]; what the socket takes is not
            known. Text is sent as text, as the playground does here.

        Notes
        -----
        There are no numbers by which a lost push could be seen, and two pushes may change places [Framework].

        Examples
        --------
        >>> books = ws.subscribe_depth("BTCUSDT", 20)
        """
        return self._open_one("/api/v1/depth", options, symbol=symbol, limit=limit)

    def order_book(self, symbol: str, *, limit: int | str = 20, timeout: float | None = None) -> OrderBook:
        """
        A live order book of *symbol*, once the first push is there.

        Parameters
        ----------
        limit
            Levels a side, as `subscribe_depth` takes it.
        timeout
            Seconds until the exchange has confirmed and the book is there; None: the client's.

        Raises
        ------
        UpdateTimeout
            No book in time. Nothing stays subscribed. Errors of the subscription are raised as `subscribe` does.

        Notes
        -----
        Each push is the whole book [Docs], without a number by which a lost one could be seen, and replaces what was before.
        Two may change places [Framework]: one that is up to 10 s older than the book is left out, where it tells its time.

        Examples
        --------
        >>> with ws.order_book("BTCUSDT", limit=5) as book:
        ...     print(book.best_bid, book.best_ask, book.spread)
        """
        depth = self._topic("/api/v1/depth", {"symbol": symbol, "limit": limit})
        return self._order_book(depth, whole, limit=None, timeout=timeout)

    def subscribe_klines(
        self, symbol: str, interval: str, limit: int | str, **options: Unpack[SubscribeOptions]
    ) -> Subscription:
        """
        `Candle` events of `/api/v1/klines` [Streams]; the fields, and that lists have the newest last, are by [Analogy].

        Parameters
        ----------
        interval
            "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w" or "1M": a minute is "1m", a
            month "1M" [Docs].
        limit
            Candles; the REST twin has 100 if not told and 500 at most [Docs]. Whether a push has all of them or the current one
            is not known, so merge by `start`.

        Examples
        --------
        >>> candles = ws.subscribe_klines("BTCUSDT", "1m", 100)
        """
        return self._open_one("/api/v1/klines", options, symbol=symbol, interval=interval, limit=limit)

    def subscribe_trades(self, symbol: str, limit: int | str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Trade` events of `/api/v1/trades` [Streams]; the names of its fields are by [Analogy].

        Parameters
        ----------
        limit
            Trades a push; the REST twin has 50 if not told [Docs].

        Notes
        -----
        A push may repeat trades of the one before; no trade with an id comes twice on one subscription. Those of the first push
        after a subscribe are marked `snapshot`.

        Examples
        --------
        >>> trades = ws.subscribe_trades("BTCUSDT", 50)
        """
        return self._open_one("/api/v1/trades", options, symbol=symbol, limit=limit)

    def subscribe_exchange_info(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of `/api/v1/exchangeinfo` [Streams]: ``{"symbols": [{"symbol", "baseAsset", ...}]}`` [Docs].

        It may be silent for hours after the first push, which a second subscription to it does not see; a `Gap` says so.

        Examples
        --------
        >>> [row["symbol"] for row in ws.subscribe_exchange_info().get(timeout=10).raw["symbols"]]
        ['BTCUSDT', 'ETHUSDT']
        """
        return self._open_one("/api/v1/exchangeinfo", options)

    # Private channels

    def subscribe_adl_quantile(self, symbol: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of `/api/v1/adlquantile` [Streams]: ranks of the own positions for automatic deleveraging [Analogy].

        Parameters
        ----------
        symbol
            None: all of the user's [Docs].

        Examples
        --------
        >>> ranks = ws.subscribe_adl_quantile()
        """
        return self._open_one("/api/v1/adlquantile", options, symbol=symbol)

    def subscribe_margin_type(self, symbol: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of `/api/v1/margintype` [Streams]: ``{"symbol", "marginType"}``, ISOLATED or CROSSED [Docs, Analogy].

        Examples
        --------
        >>> margin_type = ws.subscribe_margin_type("BTCUSDT")
        """
        return self._open_one("/api/v1/margintype", options, symbol=symbol)

    def subscribe_leverage(self, symbol: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of `/api/v1/leverage` [Streams]: ``{"symbol", "leverage"}``, 1 to 125 [Docs, Analogy].

        Parameters
        ----------
        symbol
            None: all markets [Docs].

        Examples
        --------
        >>> leverage = ws.subscribe_leverage("BTCUSDT")
        """
        return self._open_one("/api/v1/leverage", options, symbol=symbol)

    def subscribe_balance(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Balance` events of `/api/v1/balance`, one an asset [Streams]; the names of its fields are by [Analogy].

        `locked` is None: it is not told. Wallet balance and margin are in `raw`.

        Examples
        --------
        >>> balances = ws.subscribe_balance()
        """
        return self._open_one("/api/v1/balance", options)

    def subscribe_open_orders(self, symbol: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events of `/api/v1/openorders` [Streams]; the names of its fields are those of the order guide [Docs].

        Whether a push has all open orders or the changed one is not known: a `raw` that is a list is best taken for all of
        them, an object for one. An empty list comes as an `Other`.

        Examples
        --------
        >>> orders = ws.subscribe_open_orders("BTCUSDT")
        """
        return self._open_one("/api/v1/openorders", options, symbol=symbol)

    def subscribe_position_risk(self, symbol: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Position` events of `/api/v1/positionrisk` [Streams]; the names of its fields are those of the positions guide [Docs].

        An empty list, no position, comes as an `Other`.

        Examples
        --------
        >>> positions = ws.subscribe_position_risk()
        """
        return self._open_one("/api/v1/positionrisk", options, symbol=symbol)


def url_of(host: Any) -> str:
    """
    The WebSocket URL of *host*: ``ws://`` for an IP address, ``wss://`` for a name, path ``/ws`` [Streams].

    A URL of ``ws://`` or ``wss://`` is taken as it is. ``http://`` and ``https://`` choose nothing; path, query and fragment
    are dropped [Docs, playground]. Four numbers with dots that are no address are refused, as is what has no host: the
    playground takes the one for an address, and the published server for the other.

    Raises
    ------
    UsageError
        It names no host.
    """
    wants = 'host: takes "119.8.50.236:8088", "api.example.com", "[2001:db8::1]:8088" or a URL of ws:// or wss://'
    if not isinstance(host, str) or not host.strip() or not host.isprintable():
        raise UsageError(f"{wants}, not {host!r}")
    given = host.strip()
    try:
        bare = f"[{ipaddress.IPv6Address(given)}]"  # without brackets, hence without a port
    except ValueError:
        bare = given
    scheme, separator, _ = bare.partition("://")
    try:
        parts = urlsplit(bare if separator else f"//{bare}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{wants}, not {host!r}: {error}") from None
    if not name or "@" in parts.netloc or (separator and scheme.lower() not in ("ws", "wss", "http", "https")):
        raise UsageError(f"{wants}, not {host if '@' not in host else '(hidden)'!r}")
    if scheme.lower() in ("ws", "wss") and separator:
        return given
    suffix = "" if port is None else f":{port}"
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if ":" in name or re.fullmatch(r"[0-9.]+", name) or not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", name):
            raise UsageError(f"{wants}, not {host!r}") from None
        return f"wss://{name}{suffix}/ws"
    if address.version == 6:
        return f"ws://[{address}]{suffix}/ws"
    return f"ws://{address}{suffix}/ws"


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can read along: TLS, or no way at all."""
    parts = urlsplit(url)
    if parts.scheme.lower() == "wss":
        return True
    name = parts.hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _bare(token: str) -> str:
    return re.sub(r"(?i)\A\s*Bearer(\s+|\Z)", "", token).strip()


def _expires_within(token: str, seconds: float) -> bool:
    """Whether *token* says of itself that it will have expired; what cannot be read says nothing."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"]) - time.time() < seconds
    except (ValueError, LookupError, TypeError):
        return False
