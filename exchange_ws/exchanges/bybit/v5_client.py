"""
Bybit's WebSocket API V5, with the names of its documentation (bybit-exchange.github.io/docs/v5, read 2026-11).

Pages of that documentation are in brackets.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from exchange_ws.core.arguments import Amount, checked_amount, checked_integer, exact
from exchange_ws.core.client import Endpoint, SubscribeOptions
from exchange_ws.core.dialect import Dialect, refused
from exchange_ws.core.messages import REJECTED, Command, Refusal, Topic
from exchange_ws.core.subscription import Subscription
from exchange_ws.errors import LimitExceeded, RequestRejected, UsageError, WireError
from exchange_ws.exchanges.bybit.base import CLOCK_LIMIT_S, HOST, TESTNET_HOST, BybitClient, check_request, checked_url
from exchange_ws.exchanges.bybit.v5_dialect import CATEGORIES, PRIVATE, PUBLIC, REFUSALS, STATUS, TRADE, code_of, topics
from exchange_ws.orderbook import restarting

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from exchange_ws.core.livebook import OrderBook

__all__ = ["BybitV5", "OrderResult"]

log = logging.getLogger(__name__)

DEMO_HOST = "wss://stream-demo.bybit.com"  # of which there is the private endpoint only [Demo Trading Service]
# [Connect]; that of the system's status was /v5/public/proxy before July 2025.
PUBLIC_PATH, STATUS_PATH, PRIVATE_PATH, TRADE_PATH = "/v5/public/", "/v5/public/misc/status", "/v5/private", "/v5/trade"

SHORTEST_ACTIVE_S, LONGEST_ACTIVE_S = 30, 600  # [Connect, "Customise Private Connection Alive Time"]
RPI_LEVELS = 50  # of a book with the orders that only retail traders meet [Orderbook RPI]
MAX_BATCH = {"spot": 10, "linear": 20, "inverse": 20, "option": 20}
BATCH_SOURCE = 'Bybit V5, "Batch Place Order"; read 2026-11'

SIDES = {"buy": "Buy", "sell": "Sell"}
ORDER_TYPES = {"limit": "Limit", "market": "Market"}


@attrs.frozen
class OrderResult:
    """
    What became of one order of a batch.

    A batch that was taken may hold orders that were refused. One exception for all of them would hide the orders that are
    there now, and a plain list of the vendor's answers hides those that are not: so each order has its own result, and the
    `order_id` of an order that was refused cannot be read; it raises that refusal.
    """

    symbol: str
    client_id: str | None  #: orderLinkId, as it was said or generated; None if the order was named by its id
    error: RequestRejected | None  #: the exchange's no to this order, with its `code`, `message` and `request`; None: accepted
    raw: Mapping[str, Any] = attrs.field(repr=False)  #: the vendor's JSON for it

    @property
    def order_id(self) -> str:
        """The exchange's id of the order; raises `error` if it was refused, `WireError` if none is told of one accepted."""
        if self.error is not None:
            raise self.error
        order_id: str = self.raw.get("orderId") or ""
        if not order_id:
            raise WireError(f"an order of a batch was accepted, and its id is not told; look it up by {self.client_id!r}")
        return order_id


class BybitV5(BybitClient):
    """
    A client of Bybit V5: market data of one category, the account's streams, trading. Threads may share it.

    Nothing connects before its first use. Each endpoint has connections of its own, made when something needs them.

    Parameters
    ----------
    category
        "spot", "linear" (perpetuals and futures in USDT or USDC), "inverse" or "option": what public topics and orders are
        about. The private streams have all of them.
    testnet
        Use the testnet's addresses.
    demo
        Demo trading: the private endpoint is the demo's, market data are the mainnet's, and orders cannot be placed over
        WebSocket [Demo Trading Service].
    public_url, private_url, trade_url, status_url
        WebSocket URLs of the endpoints; Bybit's if not told, the public one by category. Accounts of a regional site have a
        host of their own, such as stream.bybit.kz [Connect].
    api_key, api_secret
        For private topics and orders. The secret signs each login and is never sent.
    recv_window
        Milliseconds for which an order is good: the exchange refuses one that reaches it later than this after we said it, by
        its clock and ours [Websocket Trade Guideline].
    max_active_time
        Seconds without a message of ours after which the exchange ends a private connection, 30 to 600; None: its own ten
        minutes [Connect]. It looks every 30 s only. We ping every 20 s.
    options
        Those of every client: see `exchange_ws.core.client.Client`.

    Raises
    ------
    UsageError
        An option is unknown or impossible. Raised by all methods too, for arguments that cannot be right; nothing is sent then.

    Notes
    -----
    What the ``subscribe_...`` methods have in common:

    - Symbols are spelled as the vendor does: "BTCUSDT", "BTCPERP", "BTC-27DEC26-70000-C".
    - They return a `Subscription` once the exchange has confirmed, and take `timeout`, `queue_size`, `overflow`, `gaps` and
      `raw` as `subscribe` does.
    - A topic that the client's category does not have raises `UsageError`, which names those that have it; a refusal raises
      `SubscriptionRejected`. The option endpoint confirms topics that it never pushes.
    - They raise `RequestTimeout` after `timeout` seconds (None: the client's), and `ConnectionLost` or `ConnectionClosed`.
    - Those of private topics raise `AuthenticationError` where there is no key, or where the login was refused; if that may be
      due to a wrong clock, it names the difference to the exchange's. They have all symbols, of all categories or of the one
      that `category` names, and begin with the next change: how things stand has to be asked for by REST.
    - A subscription has public topics or private ones; `exchange_ws.merge` reads several in one loop.

    A lost connection is made anew, with a new login, and everything is subscribed again [Connect]. The events' `raw` is the
    whole message.

    What the ``order_...`` methods have in common:

    - Their answer means that the exchange has *accepted* the request, not that anything came of it [Websocket Trade Guideline].
      What becomes of an order is told by the private topic ``order``, perhaps before the answer: subscribe to it first, and
      know the order by its `client_id`.
    - `client_id`, the vendor's orderLinkId, is at most 36 letters, digits, "-" and "_", and no other open order may have it.
      A new order gets one in any case; one that was not given is generated, and is in the result and in the error's `request`.
    - They are sent once at most. `ConnectionLost` tells: ``sent=False``, the order never left; ``sent=True``, **its outcome is
      unknown**: look for its `client_id` among the orders (by REST, or on the ``order`` topic) before placing it again.
      `RequestTimeout` has `sent` too, and `ConnectionClosed`, should another thread close the client meanwhile.
    - A refusal raises `RequestRejected` with the vendor's `code`; too many requests `RateLimited`, with `retry_after_s` where
      the exchange tells it.
    - Amounts and prices are text, `Decimal` or int, never float. Sides and order types are "buy" and "sell", "limit" and
      "market", in the vendor's spelling too. `category` is the client's if not told.
    - Further fields can be given by the vendor's names, such as ``slippageTolerance="0.5"`` [Place Order].

    Examples
    --------
    >>> with BybitV5("linear") as ws, ws.subscribe_public_trade("BTCUSDT", "ETHUSDT") as trades:
    ...     for trade in trades:
    ...         print(trade.symbol, trade.side, trade.price, trade.size)
    """

    name = "bybit-v5"
    _languages = ("category",)
    paths = MappingProxyType(
        {
            "public_url": PUBLIC_PATH + "{category}",
            "private_url": PRIVATE_PATH,
            "trade_url": TRADE_PATH,
            "status_url": STATUS_PATH,
        }
    )
    # 10001 and "Params Error" without a code are what an expired login gets, and other wrong ones too.
    _clock_codes = (10001, 10002, 10004, None)

    def __init__(
        self,
        category: str = "spot",
        *,
        testnet: bool = False,
        demo: bool = False,
        public_url: str | None = None,
        private_url: str | None = None,
        trade_url: str | None = None,
        status_url: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        recv_window: int = 5000,
        max_active_time: int | None = None,
        **options: Any,
    ) -> None:
        for name, flag in (("testnet", testnet), ("demo", demo)):
            if not isinstance(flag, bool):
                raise UsageError(f"{name}={flag!r}: takes True or False")
        if testnet and demo:
            raise UsageError("testnet and demo: takes one of them; the documentation names no demo of the testnet")
        #: What public topics and orders are about: "spot", "linear", "inverse" or "option".
        self.category = _checked_category("category", category)
        self._recv_window = checked_integer("recv_window", recv_window, 1)
        self._is_demo_only = demo and trade_url is None
        host = TESTNET_HOST if testnet else HOST
        private = checked_url("private_url", private_url, (DEMO_HOST if demo else host) + PRIVATE_PATH)
        trade = checked_url("trade_url", trade_url, host + TRADE_PATH)
        endpoints = [
            Endpoint("public", checked_url("public_url", public_url, host + PUBLIC_PATH + category), PUBLIC[category]),
            _kept(Endpoint("private", private, PRIVATE, type(self)._login, type(self)._explain), max_active_time),
            _kept(Endpoint("trade", trade, TRADE, type(self)._login, type(self)._explain), max_active_time),
            Endpoint("status", checked_url("status_url", status_url, host + STATUS_PATH), STATUS),
            # Where the exchange is asked for its time when a login was refused: of the pongs, only those of endpoints with a
            # login tell it (and option's), and no login is needed for them.
            Endpoint("clock", private, PRIVATE),
        ]
        super().__init__(endpoints, api_key, api_secret, options)

    def _their_time(self) -> float:
        try:
            return float(self._call(Command("ping", replay=True), CLOCK_LIMIT_S, "clock")["args"][0]) / 1000
        finally:
            self._let_go("clock")

    # Topics

    def _topics_of(self, words: tuple[str, ...], params: Mapping[str, Any]) -> Sequence[Topic]:
        return topics(self.category, *words, **params)

    def _endpoint_of(self, topic: Topic) -> str:
        if topic.account:
            self._check_login(f"{topic.name}: a private topic")
            return "private"
        return "status" if topic.label == "system.status" else "public"

    # Requests

    def request(self, op: str, args: Sequence[Any] = (), timeout: float | None = None) -> Any:
        """
        Make one request, and return the vendor's whole reply.

        Parameters
        ----------
        op
            The vendor's name of it. "ping" goes to the public endpoint, trading ("order.create" and others) to that of orders,
            with the header that it asks for [Websocket Trade Guideline].
        args
            A list or tuple of what JSON can have; for trading one object, to which nothing is added: no category, and no
            orderLinkId to look the order up by, as the ``order_...`` methods do.
        timeout
            Seconds to wait for the answer; None is the client's.

        Raises
        ------
        UsageError
            The op subscribes or logs in, which would undo what the client has stated: use `subscribe`.
        RequestRejected
            The exchange refused; `code` and `message` are its own.
        ConnectionLost
            A ping waits for a connection and is made again on the next one. Anything else is sent once at most; lost with its
            connection, `sent` tells whether it may have had an effect.
        RequestTimeout
            No answer came in time.

        Examples
        --------
        >>> ws.request("ping")
        {'success': True, 'ret_msg': 'pong', 'conn_id': '0970e817-426e-429a-a679-ff7f55e0b16a', 'op': 'ping'}
        """
        check_request(op, args)
        if op.startswith("order."):
            return self._trade(op, tuple(args), timeout)
        return self._call(Command(op, tuple(args), replay=op == "ping"), timeout)

    # Public topics

    def subscribe_orderbook(
        self, *symbols: str, depth: int | str | None = None, **options: Unpack[SubscribeOptions]
    ) -> Subscription:
        """
        `BookUpdate` events, topic ``orderbook.DEPTH.SYMBOL`` [Orderbook].

        Parameters
        ----------
        depth
            Levels of each side: 1 (every 10 ms if something changed), 50 (20 ms), 200 (100 ms) or 1000 (200 ms); of options 25
            (20 ms) or 100 (100 ms). "rpi": 50 levels with those orders that only retail traders meet (100 ms) [Orderbook RPI].
            "full" (spot, 200 ms): deltas only, the snapshot has to be fetched by REST [Full Orderbook]. None: 50; 25 of
            options.

        Notes
        -----
        The first event of a symbol is a snapshot, what follows are deltas, in which size 0 takes a level away. A snapshot at
        any time replaces the book. With depth 1 each event is a snapshot, and the same one comes again after 3 s of silence.
        `sequence` is the update's number ``u``; 1 after a restart of the exchange's. `order_book` keeps all of this right.

        Examples
        --------
        >>> books = ws.subscribe_orderbook("BTCUSDT", depth=200)
        """
        return self._subscribe_to(f"orderbook.{self._depth(depth)}.{{}}", symbols, options)

    def order_book(self, symbol: str, *, depth: int | str | None = None, timeout: float | None = None) -> OrderBook:
        """
        A live order book of *symbol*, once its first snapshot is there [Orderbook].

        Parameters
        ----------
        depth
            Levels of each side, as in `subscribe_orderbook`, but not "full", whose snapshot is not in the stream. None: 50; 25
            of options.
        timeout
            Seconds until the exchange has confirmed and the snapshot is there; None: the client's.

        Raises
        ------
        UpdateTimeout
            No snapshot in time. Nothing stays subscribed. Errors of the subscription are raised as `subscribe` does.

        Notes
        -----
        Each change has the next number ``u`` (observed; not promised), so that a lost one is noticed; 1 is a whole book after a
        restart of the exchange's. The book gets a new snapshot by an unsubscribe and a subscribe, since a topic is refused that
        is subscribed already (observed). Those of "rpi" have sizes with the orders that only retail traders meet; `raw` of the
        updates has them apart.

        Examples
        --------
        >>> with ws.order_book("BTCUSDT", depth=200) as book:
        ...     print(book.best_bid, book.best_ask, book.spread)
        """
        levels = str(self._depth(depth))
        (topic,) = topics(self.category, f"orderbook.{levels}.{symbol}")
        if levels == "full":
            raise UsageError('depth="full": a live book takes the other depths; of this one, a snapshot has to be had by REST')
        return self._order_book(topic, restarting, limit=RPI_LEVELS if levels == "rpi" else int(levels), timeout=timeout)

    def _depth(self, depth: int | str | None) -> int | str:
        if depth is None:
            return 25 if self.category == "option" else 50
        return depth

    def subscribe_public_trade(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Trade` events as they happen, topic ``publicTrade.SYMBOL`` [Trade].

        Of options the topic is that of a base coin, ``publicTrade.BTC``, and has the trades of all its contracts.

        Notes
        -----
        Sizes are in the base coin; of inverse contracts in contracts of 1 USD. Nothing is replayed.

        Examples
        --------
        >>> trades = ws.subscribe_public_trade("BTCUSDT", "ETHUSDT")
        """
        return self._subscribe_to("publicTrade.{}", symbols, options)

    def subscribe_tickers(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Ticker` events of the last 24 hours as they change, topic ``tickers.SYMBOL`` [Ticker].

        Notes
        -----
        Linear and inverse tickers come as deltas after a first snapshot. The events have the merged figures, their `raw` the
        delta as it came.

        Examples
        --------
        >>> tickers = ws.subscribe_tickers("BTCUSDT")
        """
        return self._subscribe_to("tickers.{}", symbols, options)

    def subscribe_kline(self, *symbols: str, interval: str | int, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Candle` events as the candle changes, topic ``kline.INTERVAL.SYMBOL`` [Kline]. Not of options.

        Parameters
        ----------
        interval
            Minutes: 1, 3, 5, 15, 30, 60, 120, 240, 360, 720; or "D", "W", "M" for a day, a week, a month.

        Notes
        -----
        Events have `interval` in seconds, None for a month. `closed` is True of the last event of a candle, which comes shortly
        after its end. Nothing comes while nobody trades.

        Examples
        --------
        >>> candles = ws.subscribe_kline("BTCUSDT", interval=1)
        """
        return self._subscribe_to(f"kline.{interval}.{{}}", symbols, options)

    def subscribe_all_liquidation(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of liquidations, every 500 ms if there are some, topic ``allLiquidation.SYMBOL`` [All Liquidation].

        Of linear and inverse. The rows of `raw` tell the side ``S`` of the *position*: "Buy" for a long that was liquidated.

        Examples
        --------
        >>> liquidations = ws.subscribe_all_liquidation("BTCUSDT")
        """
        return self._subscribe_to("allLiquidation.{}", symbols, options)

    def subscribe_insurance(self, *pools: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of the insurance pools' balances, each second if changed, topic ``insurance.POOL`` [Insurance Pool].

        Parameters
        ----------
        pools
            "USDT", "USDC" of linear; "inverse" of inverse. Those that several symbols share are not pushed.

        Examples
        --------
        >>> insurance = ws.subscribe_insurance("USDT", "USDC")
        """
        return self._subscribe_to("insurance.{}", pools, options)

    def subscribe_adl_alert(self, *pools: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events before positions are deleveraged, every second, topic ``adlAlert.POOL`` [ADL Alert].

        Parameters
        ----------
        pools
            "USDT", "USDC" of linear; "inverse" of inverse.

        Examples
        --------
        >>> alerts = ws.subscribe_adl_alert("USDT")
        """
        return self._subscribe_to("adlAlert.{}", pools, options)

    def subscribe_price_limit(self, *symbols: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of the highest buy and the lowest sell price, topic ``priceLimit.SYMBOL`` [Order Price Limit].

        Every 300 ms; not of options.

        Examples
        --------
        >>> limits = ws.subscribe_price_limit("BTCUSDT")
        """
        return self._subscribe_to("priceLimit.{}", symbols, options)

    def subscribe_system_status(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of maintenance and incidents, topic ``system.status`` on an endpoint of its own [System Status].

        Examples
        --------
        >>> status = ws.subscribe_system_status()
        """
        return self.subscribe("system.status", **options)

    # Private topics

    def subscribe_position(self, *, category: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Position` events at each order that is placed, amended or cancelled, topic ``position`` [Position].

        Parameters
        ----------
        category
            "linear", "inverse" or "option"; None: all of them.

        Notes
        -----
        They come also if nothing changed. A position that is closed has size 0.

        Examples
        --------
        >>> positions = ws.subscribe_position()
        """
        return self._subscribe_private("position", category, options)

    def subscribe_execution(self, *, category: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Fill` events: one for each execution of an order, topic ``execution`` [Execution].

        Parameters
        ----------
        category
            "spot", "linear", "inverse" or "option"; None: all of them.

        Notes
        -----
        Funding, deliveries and the like come as `Other` events: they fill no order. `id` tells the same execution again.

        Examples
        --------
        >>> fills = ws.subscribe_execution(category="linear")
        """
        return self._subscribe_private("execution", category, options)

    def subscribe_execution_fast(self, *, category: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Fill` events, earlier than those of ``execution`` and with less, topic ``execution.fast`` [Fast Execution].

        Parameters
        ----------
        category
            "spot", "linear", "inverse" or "option"; None: all of them.

        Notes
        -----
        There is no fee, and no client id of an order that was the maker's.

        Examples
        --------
        >>> fills = ws.subscribe_execution_fast()
        """
        return self._subscribe_private("execution.fast", category, options)

    def subscribe_order(self, *, category: str | None = None, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events at each change of an order, topic ``order`` [Order].

        Parameters
        ----------
        category
            "spot", "linear", "inverse" or "option"; None: all of them.

        Notes
        -----
        Final are the `status` Filled, Cancelled, Rejected, PartiallyFilledCanceled (spot) and Deactivated; a Cancelled
        derivatives order may have fills, see `filled`. Filled may come twice, when a cancel came too late. An order that was
        accepted may yet be Rejected: ``rejectReason`` in `raw` says why. The `size` of a spot market buy is what to spend,
        unless it was placed with ``market_unit="baseCoin"``; `filled` is what was bought.

        Examples
        --------
        >>> orders = ws.subscribe_order()
        >>> placed = ws.order_create("BTCUSDT", "buy", "limit", "0.01", "20000")
        >>> next(order.status for order in orders if order.client_id == placed["orderLinkId"])
        'New'
        """
        return self._subscribe_private("order", category, options)

    def subscribe_wallet(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Balance` events, one for each coin whose balance changed, topic ``wallet`` [Wallet].

        With what there is now, not with the difference. `available` is the coin's wallet balance less what open spot orders
        lock of it; what derivatives need as margin is told for the whole account: ``totalAvailableBalance`` in `raw` is what is
        left of that. A change of the unrealised profit alone is not told.

        Examples
        --------
        >>> balances = ws.subscribe_wallet()
        """
        return self._subscribe_private("wallet", None, options)

    def subscribe_greeks(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of the greeks of the options held, by base coin, topic ``greeks`` [Greek].

        Examples
        --------
        >>> greeks = ws.subscribe_greeks()
        """
        return self._subscribe_private("greeks", None, options)

    def subscribe_dcp(self, product: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        Have orders cancelled when this connection is lost for longer than the account's window, topic ``dcp.PRODUCT`` [DCP].

        Parameters
        ----------
        product
            "future", "spot" or "option".

        Notes
        -----
        Nothing is pushed: the subscription only marks the connection. Orders are cancelled when all connections of the account
        that are so marked are gone. The window is set by REST [Set Disconnect Cancel All].

        Examples
        --------
        >>> guard = ws.subscribe_dcp("future")
        """
        return self._subscribe_private("dcp", product, options)

    def subscribe_strategy(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of TWAP, iceberg, chase and POV orders, topic ``strategy`` [Strategy].

        Examples
        --------
        >>> strategies = ws.subscribe_strategy()
        """
        return self._subscribe_private("strategy", None, options)

    def subscribe_spread_order(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Order` events of spread trading, the combination's and its legs', topic ``spread.order`` [Spread Order].

        Examples
        --------
        >>> orders = ws.subscribe_spread_order()
        """
        return self._subscribe_private("spread.order", None, options)

    def subscribe_spread_execution(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Fill` events of spread trading, topic ``spread.execution`` [Spread Execution].

        Examples
        --------
        >>> fills = ws.subscribe_spread_execution()
        """
        return self._subscribe_private("spread.execution", None, options)

    def subscribe_rfq_open_rfqs(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of requests for quotes, one's own and those sent to one, topic ``rfq.open.rfqs`` [Inquiry].

        Examples
        --------
        >>> inquiries = ws.subscribe_rfq_open_rfqs()
        """
        return self._subscribe_private("rfq.open.rfqs", None, options)

    def subscribe_rfq_open_quotes(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of quotes, given and received, topic ``rfq.open.quotes`` [Quote].

        Examples
        --------
        >>> quotes = ws.subscribe_rfq_open_quotes()
        """
        return self._subscribe_private("rfq.open.quotes", None, options)

    def subscribe_rfq_open_trades(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """
        `Other` events of one's block trades, topic ``rfq.open.trades`` [Block Trade].

        Examples
        --------
        >>> trades = ws.subscribe_rfq_open_trades()
        """
        return self._subscribe_private("rfq.open.trades", None, options)

    def _subscribe_private(self, channel: str, part: str | None, options: SubscribeOptions) -> Subscription:
        name = channel if part is None else f"{channel}.{part}"
        return self._subscribe(self._topics_of((name,), {}), **options)

    # Trading

    def order_create(
        self,
        symbol: str,
        side: str,
        order_type: str,
        qty: Amount,
        price: Amount | None = None,
        *,
        time_in_force: str | None = None,
        client_id: str | None = None,
        reduce_only: bool | None = None,
        close_on_trigger: bool | None = None,
        position_idx: int | None = None,
        trigger_price: Amount | None = None,
        trigger_direction: int | None = None,
        trigger_by: str | None = None,
        take_profit: Amount | None = None,
        stop_loss: Amount | None = None,
        market_unit: str | None = None,
        order_filter: str | None = None,
        category: str | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """
        Place an order, ``order.create`` [Place Order]. Returns when it is accepted, which need not mean that it is there.

        Parameters
        ----------
        side, order_type
            "buy" or "sell"; "limit" or "market".
        qty
            In the base coin; of inverse contracts in USD; of a spot market buy in the quote coin, unless `market_unit` says
            "baseCoin".
        price
            Of a limit order.
        time_in_force
            "GTC" (the default), "IOC", "FOK", "PostOnly" or "RPI". Market orders are IOC.
        client_id
            The vendor's orderLinkId; None: one is generated.
        reduce_only, close_on_trigger, position_idx
            Of derivatives. `position_idx`: 0 one-way mode; in hedge mode 1 for the buy side and 2 for the sell side.
        trigger_price, trigger_direction, trigger_by
            Of a conditional order. `trigger_direction`: 1 when the price rises to it, 2 when it falls to it.
        take_profit, stop_loss
            Prices.
        order_filter
            Of spot: "Order", "tpslOrder" or "StopOrder".
        params
            Further fields by the vendor's names.

        Returns
        -------
        dict
            ``orderId`` and ``orderLinkId``.

        Examples
        --------
        >>> ws.order_create("ETHUSDT", "buy", "limit", "0.2", "2800", time_in_force="PostOnly", client_id="mine-1")
        {'orderId': 'a4c1718e-fe53-4659-a118-1f6ecce04ad9', 'orderLinkId': 'mine-1'}
        """
        given = {
            "symbol": symbol,
            "side": side,
            "order_type": order_type,
            "qty": qty,
            "price": price,
            "time_in_force": time_in_force,
            "client_id": client_id,
            "reduce_only": reduce_only,
            "close_on_trigger": close_on_trigger,
            "position_idx": position_idx,
            "trigger_price": trigger_price,
            "trigger_direction": trigger_direction,
            "trigger_by": trigger_by,
            "take_profit": take_profit,
            "stop_loss": stop_loss,
            "market_unit": market_unit,
            "order_filter": order_filter,
            **params,
        }
        return self._order("order.create", CREATE.fields(given), category, timeout)

    def order_amend(
        self,
        symbol: str,
        order_id: str | None = None,
        *,
        client_id: str | None = None,
        qty: Amount | None = None,
        price: Amount | None = None,
        trigger_price: Amount | None = None,
        trigger_by: str | None = None,
        take_profit: Amount | None = None,
        stop_loss: Amount | None = None,
        category: str | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """
        Change an open order, named by its *order_id* or *client_id*, ``order.amend`` [Amend Order].

        Parameters
        ----------
        qty
            The new size of the whole order, with what is filled already.
        take_profit, stop_loss
            Prices; 0 takes it away.
        params
            Further fields by the vendor's names.

        Returns
        -------
        dict
            ``orderId`` and ``orderLinkId``; the change is accepted, and told by the topic ``order`` when it is made.

        Examples
        --------
        >>> ws.order_amend("ETHUSDT", client_id="mine-1", price="2790")
        {'orderId': 'a4c1718e-fe53-4659-a118-1f6ecce04ad9', 'orderLinkId': 'mine-1'}
        """
        given = {
            "symbol": symbol,
            "order_id": order_id,
            "client_id": client_id,
            "qty": qty,
            "price": price,
            "trigger_price": trigger_price,
            "trigger_by": trigger_by,
            "take_profit": take_profit,
            "stop_loss": stop_loss,
            **params,
        }
        return self._order("order.amend", AMEND.fields(given), category, timeout)

    def order_cancel(
        self,
        symbol: str,
        order_id: str | None = None,
        *,
        client_id: str | None = None,
        order_filter: str | None = None,
        category: str | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """
        Cancel an open order, named by its *order_id* or *client_id*, ``order.cancel`` [Cancel Order].

        Parameters
        ----------
        order_filter
            Of spot: "Order", "tpslOrder" or "StopOrder".
        params
            Further fields by the vendor's names.

        Returns
        -------
        dict
            ``orderId`` and ``orderLinkId``. The cancellation is accepted; the order may be filled before it comes to that.

        Examples
        --------
        >>> ws.order_cancel("ETHUSDT", "a4c1718e-fe53-4659-a118-1f6ecce04ad9")
        {'orderId': 'a4c1718e-fe53-4659-a118-1f6ecce04ad9', 'orderLinkId': 'mine-1'}
        """
        given = {"symbol": symbol, "order_id": order_id, "client_id": client_id, "order_filter": order_filter, **params}
        return self._order("order.cancel", CANCEL.fields(given), category, timeout)

    def order_create_batch(
        self, orders: Iterable[Mapping[str, Any]], *, category: str | None = None, timeout: float | None = None
    ) -> list[OrderResult]:
        """
        Place several orders at once, ``order.create-batch`` [Batch Place Order].

        Parameters
        ----------
        orders
            What `order_create` takes, by name: at most 20 of them, 10 of spot, all of one category.

        Returns
        -------
        list
            An `OrderResult` for each order, in the order given: some may be refused while others are accepted, so look at
            each. Reading the `order_id` of one that was refused raises its `error`, and a warning in the log counts them.

        Raises
        ------
        RequestRejected
            The whole batch was refused, and nothing was placed.
        LimitExceeded
            There are too many orders; nothing was sent.

        Examples
        --------
        >>> ladder = [
        ...     {"symbol": "BTCUSDT", "side": "buy", "order_type": "limit", "qty": "0.01", "price": price}
        ...     for price in ("20000", "19900")
        ... ]
        >>> [result.order_id for result in ws.order_create_batch(ladder)]
        ['1666800494330512128', '1666800494330512129']
        """
        return self._batch("order.create-batch", CREATE, orders, category, timeout)

    def order_amend_batch(
        self, orders: Iterable[Mapping[str, Any]], *, category: str | None = None, timeout: float | None = None
    ) -> list[OrderResult]:
        """
        Change several orders at once, ``order.amend-batch`` [Batch Amend Order].

        *orders* are what `order_amend` takes, by name. Otherwise as `order_create_batch`.

        Examples
        --------
        >>> changes = [{"symbol": "BTCUSDT", "client_id": "mine-1", "price": "19800"}]
        >>> [result.error for result in ws.order_amend_batch(changes)]
        [None]
        """
        return self._batch("order.amend-batch", AMEND, orders, category, timeout)

    def order_cancel_batch(
        self, orders: Iterable[Mapping[str, Any]], *, category: str | None = None, timeout: float | None = None
    ) -> list[OrderResult]:
        """
        Cancel several orders at once, ``order.cancel-batch`` [Batch Cancel Order].

        *orders* are what `order_cancel` takes, by name. Otherwise as `order_create_batch`.

        Examples
        --------
        >>> results = ws.order_cancel_batch([{"symbol": "BTCUSDT", "client_id": name} for name in ("mine-1", "mine-2")])
        >>> [result.client_id for result in results if result.error]
        ['mine-2']
        """
        return self._batch("order.cancel-batch", CANCEL, orders, category, timeout)

    def _order(self, op: str, fields: dict[str, Any], category: str | None, timeout: float | None) -> dict[str, Any]:
        args = ({"category": self._category(category), **fields},)
        check_request(op, args)  # what has no JSON would be found when it is said, and cost the connection and its other orders
        data = self._trade(op, args, timeout).get("data")
        told = dict(data) if isinstance(data, dict) else {}
        if not told.get("orderLinkId") and "orderLinkId" in fields:
            told["orderLinkId"] = fields["orderLinkId"]  # accepted, and known by that name whatever the answer left out
        return told

    def _batch(
        self,
        op: str,
        form: _Form,
        orders: Iterable[Mapping[str, Any]],
        category: str | None,
        timeout: float | None,
    ) -> list[OrderResult]:
        if isinstance(orders, (str, Mapping)) or not isinstance(orders, Iterable):
            raise UsageError(f"{op}: takes a list of orders, each a dict, not {type(orders).__name__}")
        category = self._category(category)
        said = [form.fields(order) for order in orders]
        if not said:
            raise UsageError(f"{op}: takes at least one order")
        if len(said) > MAX_BATCH[category]:
            raise LimitExceeded(
                f"{op}: takes {MAX_BATCH[category]} orders of {category} at most, not {len(said)}",
                limit="orders of a batch",
                source=BATCH_SOURCE,
            )
        args = ({"category": category, "request": said},)
        check_request(op, args)  # as in `_order`
        results = _results(op, said, self._trade(op, args, timeout))
        failed = sum(result.error is not None for result in results)
        if failed:
            log.warning("%s: %s: %d of %d orders were refused", self.name, op, failed, len(results))
        return results

    def _trade(self, op: str, args: tuple[Any, ...], timeout: float | None) -> dict[str, Any]:
        """One trading request, said once at most; the vendor's whole reply."""
        if self._is_demo_only:
            raise UsageError(f"{op}: demo trading has no orders over WebSocket [Demo Trading Service]; place them by REST")
        self._check_login(op)
        reply: dict[str, Any] = self._call(Command(op, args, header=self._header), timeout, "trade")
        return reply

    def _header(self) -> dict[str, str]:
        """Made when the request is said: the exchange refuses one that it is late to get [Websocket Trade Guideline]."""
        return {
            "X-BAPI-TIMESTAMP": str(self._clock.time_ns() // 1_000_000),
            "X-BAPI-RECV-WINDOW": str(self._recv_window),
        }

    def _category(self, category: str | None) -> str:
        return self.category if category is None else _checked_category("category", category)


def _kept(endpoint: Endpoint, max_active_time: int | None) -> Endpoint:
    """*endpoint*, which is to end connections on which nothing was said for *max_active_time* seconds."""
    if max_active_time is None:
        return endpoint
    limit = checked_integer("max_active_time", max_active_time, SHORTEST_ACTIVE_S, LONGEST_ACTIVE_S)
    heartbeat = attrs.evolve(endpoint.dialect.heartbeat, idle_limit_s=float(limit))
    dialect: Dialect = attrs.evolve(endpoint.dialect, heartbeat=heartbeat)
    url = f"{endpoint.url}{'&' if '?' in endpoint.url else '?'}max_active_time={limit}s"
    return attrs.evolve(endpoint, url=url, dialect=dialect)


def _checked_category(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in CATEGORIES:
        raise UsageError(f"{name}={value!r}: takes one of {', '.join(CATEGORIES)}")
    return value


# Fields of orders: what a keyword is called on the wire, and what it takes ---------------------------------------------------


def _symbol(name: str, value: Any) -> str:
    # A point is in the strike prices of some options.
    if not isinstance(value, str) or not re.fullmatch("[0-9A-Z.-]+", value):
        raise UsageError(f'{name} {value!r}: takes a symbol in capitals, such as "BTCUSDT"')
    return value


def _side(name: str, value: Any) -> str:
    return _one_of(SIDES, name, value)


def _order_type(name: str, value: Any) -> str:
    return _one_of(ORDER_TYPES, name, value)


def _one_of(words: Mapping[str, str], name: str, value: Any) -> str:
    found = words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise UsageError(f"{name} {value!r}: takes one of {', '.join(words)}")
    return found


def _client_id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z0-9_-]{1,36}", value):
        raise UsageError(f"{name} {value!r}: takes 1 to 36 letters, digits, - and _ [Place Order, orderLinkId]")
    return value


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} {value!r}: takes text in the vendor's words")
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: takes True or False")
    return value


def _amount_or_zero(name: str, value: Any) -> str:
    return checked_amount(name, value, or_zero=True)


def _position_idx(name: str, value: Any) -> int:
    return checked_integer(name, value, 0, 2)


def _trigger_direction(name: str, value: Any) -> int:
    return checked_integer(name, value, 1, 2)


#: Keywords of all calls: what each is called on the wire, and what checks it.
_FIELDS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "symbol": ("symbol", _symbol),
    "side": ("side", _side),
    "order_type": ("orderType", _order_type),
    "order_id": ("orderId", _word),
    "client_id": ("orderLinkId", _client_id),
    "qty": ("qty", checked_amount),
    "price": ("price", checked_amount),
    "time_in_force": ("timeInForce", _word),
    "reduce_only": ("reduceOnly", _truth),
    "close_on_trigger": ("closeOnTrigger", _truth),
    "position_idx": ("positionIdx", _position_idx),
    "trigger_price": ("triggerPrice", checked_amount),
    "trigger_direction": ("triggerDirection", _trigger_direction),
    "trigger_by": ("triggerBy", _word),
    "take_profit": ("takeProfit", _amount_or_zero),
    "stop_loss": ("stopLoss", _amount_or_zero),
    "market_unit": ("marketUnit", _word),
    "order_filter": ("orderFilter", _word),
}
#: Fields without a keyword that are numbers, and said as text like all of them [Place Order].
_NUMBERS = frozenset({"bboLevel", "orderIv", "slLimitPrice", "slippageTolerance", "tpLimitPrice"})
_KEYWORDS = {wire: keyword for keyword, (wire, _) in _FIELDS.items()}


@attrs.frozen
class _Form:
    """What one kind of call says of an order: its keywords, which of them it needs, and whether it names an order that is."""

    keywords: frozenset[str]
    needs: tuple[str, ...]
    names_one: bool

    def fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one order as they are said; None is not said."""
        if not isinstance(given, Mapping):
            raise UsageError(f"an order: takes a dict of its fields, not {type(given).__name__}")
        body: dict[str, Any] = {}
        for name, value in given.items():
            if value is None:
                continue
            if name in self.keywords:
                wire, check = _FIELDS[name]
                body[wire] = check(name, value)
            else:
                wire = self._vendors(name)
                body[wire] = _amount_or_zero(name, value) if name in _NUMBERS else exact(name, value)
        missing = [name for name in self.needs if _FIELDS[name][0] not in body]
        if missing:
            raise UsageError(f"an order: needs {', '.join(missing)}")
        if self.names_one:
            if ("orderId" in body) == ("orderLinkId" in body):
                raise UsageError("an order is named by either its order_id or its client_id")
        else:
            body.setdefault("orderLinkId", os.urandom(16).hex())
        return body

    def _vendors(self, name: Any) -> str:
        """
        *name* if it may be one of the vendor's, of which there are more than ours.

        The exchange says nothing of a field that it does not know: a mistyped "reduce_onyl" would be an order that increases.
        So what is none of the vendor's by its looks is refused here.
        """
        if name in ("category", "timeout"):
            raise UsageError(f"{name}: of the whole call, and not of one order of a batch")
        if name in _FIELDS or not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9]*", name):
            raise UsageError(f"{name!r}: no such field of an order; there are {', '.join(sorted(self.keywords))}")
        if _KEYWORDS.get(name) in self.keywords:
            raise UsageError(f"{name}: say {_KEYWORDS[name]}")
        return name


_CREATES = frozenset(_FIELDS) - {"order_id"}
_AMENDS = frozenset(
    {"symbol", "order_id", "client_id", "qty", "price", "trigger_price", "trigger_by", "take_profit", "stop_loss"}
)
CREATE = _Form(_CREATES, ("symbol", "side", "order_type", "qty"), names_one=False)
AMEND = _Form(_AMENDS, ("symbol",), names_one=True)
CANCEL = _Form(frozenset({"symbol", "order_id", "client_id", "order_filter"}), ("symbol",), names_one=True)


def _results(op: str, said: Sequence[Mapping[str, Any]], reply: Mapping[str, Any]) -> list[OrderResult]:
    """
    What became of each order: ``data.list`` has its ids, ``retExtInfo.list`` its code [Batch Place Order].

    Before February 2025 there were no codes; an order without an id was refused then.
    """
    rows, codes = (_listed(reply.get(part)) for part in ("data", "retExtInfo"))
    ids = [fields.get("orderLinkId") for fields in said]
    told = [row.get("orderLinkId") or name for name, row in zip(ids, rows)]
    # One that is another order's of this batch: what stands beside it would be taken for the wrong one's fate.
    elsewhere = any(name != own and name in ids for name, own in zip(told, ids))
    if elsewhere or len(rows) != len(said) or (codes and len(codes) != len(said)):
        names = ", ".join(fields.get("orderLinkId") or fields["orderId"] for fields in said)
        raise WireError(
            f"{op}: the exchange took {len(said)} orders, and its answer does not tell them apart:"
            f" look for these before placing them again: {names}"
        )
    results = []
    for at, (fields, row) in enumerate(zip(said, rows)):
        verdict = codes[at] if codes else {}
        number = code_of(verdict.get("code", 0 if row.get("orderId") else None))
        error = None
        if number != 0:
            kind = REJECTED if number is None else REFUSALS.get(number, REJECTED)
            refusal = Refusal(number, verdict.get("msg") or "refused without a reason", kind)
            error = refused(refusal, Command(op, (dict(fields),)))
        results.append(OrderResult(fields["symbol"], told[at], error, {**row, **verdict}))
    return results


def _listed(part: Any) -> list[dict[str, Any]]:
    rows = part.get("list") if isinstance(part, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
