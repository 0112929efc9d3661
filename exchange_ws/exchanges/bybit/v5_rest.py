"""
Bybit's REST side of V5, for the sandbox: what clients ask before they stream, and after a connection was lost.

Written from the vendor's documentation (read 2026-11: V5, pages "Integration Guidance", "Market", "Order", "Position",
"Account", "User" and "Error Codes"), not from our client, which speaks no REST. What is asked for comes from the two sides that
stream it, so that the same order, book or ticker looks the same in both. Where the documentation does not say what the server
does, the choice made here is one that a client has to survive:

* everything is answered with HTTP status 200 and its `retCode`, but for a path that there is not, which is 404;
* a missing or unknown parameter that is needed is 10001, and so are a symbol and a cursor that nobody gave out;
* of several faults of a signed request the key is named first, then the time, then the signature; the time has to fit this
  machine's clock, or that of the markets, as on the socket for orders;
* refusals have the codes of "Error Codes", and words of ours;
* a cursor is the number of rows that came before, as text;
* orders asked for by an id are subject to `openOnly` too, as all others are.

Orders are placed by WebSocket here, not by REST.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable, Protocol
from urllib.parse import parse_qsl

from exchange_ws.exchanges.bybit.common_sandbox import plain
from exchange_ws.exchanges.bybit.v5_account import LEAST_VALUE
from exchange_ws.exchanges.bybit.v5_markets import INVERSE, LINEAR, OPTION, RPI, SPOT, Listing, V5Markets
from exchange_ws.exchanges.bybit.v5_trading import EARLY_MS, RECV_WINDOW_MS
from exchange_ws.sandbox.server import Credentials, HttpAnswer

__all__ = ["Records", "V5Rest"]

Row = Mapping[str, Any]
ZERO = Decimal(0)

#: "Get Orderbook", "Get Recent Public Trades": how many at most, and how many when not told.
BOOKS = {SPOT: (1000, 1), LINEAR: (1000, 25), INVERSE: (1000, 25), OPTION: (25, 1)}
TRADES = {SPOT: (60, 60), LINEAR: (1000, 500), INVERSE: (1000, 500), OPTION: (1000, 500)}
FULL_MOST = 10_000  # "Get Full Orderbook": levels of each side
RPI_MOST = 50  # "Get RPI Orderbook"
INSTRUMENTS_MOST, INSTRUMENTS_USUAL = 1000, 500  # "Get Instruments Info"
CLOSED_MOST = 500  # "Get Open & Closed Orders": finished orders that it remembers
#: "Get Open & Closed Orders", "Get Trade History", "Get Position Info": rows of a page, at most and when not told.
PAGES = {"orders": (50, 20), "executions": (100, 50), "positions": (200, 20)}
OPEN = ("New", "PartiallyFilled", "Untriggered")
LAUNCHED_MS = 1_577_836_800_000  # of every instrument: the first of 2020
EXPIRY_HOUR = 8  # options are delivered at 08:00 UTC
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")  # in any locale
LOTS_MOST = 10**9  # of an order
DIGITS_MOST = 18  # of a number that is asked with: more than any time, cursor or limit has


class Records(Protocol):
    """The account, in the words of the private streams; the newest row is the first."""

    def orders(self, category: str) -> Sequence[Row]:
        """Open orders, and finished ones."""

    def executions(self, category: str) -> Sequence[Row]:
        """Fills."""

    def positions(self, category: str, symbol: str | None) -> Sequence[Row]:
        """Positions of some size; with *symbol* that one only, of whatever size."""

    def wallet(self) -> Row:
        """The account's totals, and every coin that it has."""


class _Refused(Exception):
    """What was asked for is not answered; *code* as in "Error Codes"."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class V5Rest:
    """
    REST of one sandbox. An endpoint that has it hands `requests`, `answer` and `too_many` on as those of
    `exchange_ws.sandbox.server.Rest`.

    Parameters
    ----------
    credentials
        Whose key and secret sign what is private.
    markets, records
        The public side and the account. They are asked on the server's thread only, when a request has come.
    """

    #: HTTP requests allowed, all together: count, and the window in seconds ["Rate Limit Rules": 600 in 5 seconds an IP].
    requests = (600, 5.0)

    def __init__(self, credentials: Credentials, markets: V5Markets, records: Records) -> None:
        self._credentials = credentials
        self._markets = markets
        self._records = records
        self._public: dict[str, Callable[[dict[str, str]], Row]] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/orderbook": self._book,
            "/v5/market/full_orderbook": self._full_book,
            "/v5/market/rpi_orderbook": self._rpi_book,
            "/v5/market/tickers": self._tickers,
            "/v5/market/recent-trade": self._trades,
        }
        self._private: dict[str, Callable[[dict[str, str]], Row]] = {
            "/v5/order/realtime": self._orders,
            "/v5/order/history": self._order_history,
            "/v5/execution/list": self._executions,
            "/v5/position/list": self._positions,
            "/v5/account/wallet-balance": self._wallet,
            "/v5/account/info": self._account,
            "/v5/user/query-api": self._key,
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer:
        """The answer to one HTTP request; the names of *headers* are in lower case, *path* has its query."""
        bare, _, query = path.partition("?")
        private = self._private.get(bare)
        ask = private or self._public.get(bare)
        if ask is None or method != "GET":
            return 404, {}, b""
        try:
            if private is not None:
                self._check_signed(headers, query)
            return self._envelope(0, "OK", ask(dict(parse_qsl(query, keep_blank_values=True))))
        except _Refused as refused:
            return self._envelope(refused.code, str(refused), {})

    def too_many(self) -> HttpAnswer:
        """The answer to a request beyond the limit."""
        return 403, {}, b"access too frequent"

    def _envelope(self, code: int, text: str, result: Row) -> HttpAnswer:
        body = {"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": self._markets.now_ms}
        return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(body, separators=(",", ":")).encode()

    def _check_signed(self, headers: Mapping[str, str], query: str) -> None:
        """`_Refused` if a private request is not the account's, or not of this time ["Integration Guidance"]."""
        key, stamp = headers.get("x-bapi-api-key", ""), headers.get("x-bapi-timestamp", "")
        window = headers.get("x-bapi-recv-window", "")
        if key != self._credentials.api_key:
            raise _Refused(10003, "API key is invalid.")
        window_ms = self._whole("recv_window", window) if window else RECV_WINDOW_MS
        said_ms, now_ms = self._whole("timestamp", stamp), self._markets.now_ms
        clocks = (time.time_ns() // 1_000_000, now_ms)
        if not any(now - window_ms <= said_ms < now + EARLY_MS for now in clocks):
            told = f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window_ms}]"
            raise _Refused(10002, f"invalid request, please check your server timestamp or recv_window param. {told}")
        signed = hmac.new(self._credentials.api_secret.encode(), (stamp + key + window + query).encode(), hashlib.sha256)
        # As bytes: text with a character beyond ASCII cannot be compared.
        if not hmac.compare_digest(signed.hexdigest().encode(), headers.get("x-bapi-sign", "").encode()):
            raise _Refused(10004, f"error sign! origin_string[{stamp}{key}{window}{query}]")

    # Parameters

    def _whole(self, name: str, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MOST):
            raise _Refused(10001, f"params error: {name} invalid")
        return int(text)

    def _limit(self, asked: dict[str, str], most: int, usual: int) -> int:
        limit = self._whole("limit", asked.get("limit") or str(usual))
        if not 1 <= limit <= most:
            raise _Refused(10001, "params error: limit invalid")
        return limit

    def _category(self, asked: dict[str, str]) -> str:
        category = asked.get("category", "")
        if category not in self._markets.listings:
            raise _Refused(10001, "params error: Category is Invalid")
        return category

    def _listing(self, asked: dict[str, str]) -> Listing:
        """What category and symbol name, both of which are needed."""
        symbol = asked.get("symbol", "")
        listing = self._markets.listings[self._category(asked)].get(symbol)
        if listing is None:
            raise _Refused(10001, f"params error: symbol invalid {symbol}")
        return listing

    def _listings(self, asked: dict[str, str], base: str | None) -> list[Listing]:
        """Those of a category, or of one symbol or *base* coin of it."""
        if asked.get("symbol"):
            return [self._listing(asked)]
        return [listing for listing in self._markets.listings[self._category(asked)].values() if base in (None, listing.base)]

    def _page(self, asked: dict[str, str], rows: Sequence[Row], kind: str) -> tuple[str, list[Row]]:
        """Cursor of the next page, "" for none, and the rows of this one."""
        begin = self._whole("cursor", asked.get("cursor") or "0")
        end = begin + self._limit(asked, *PAGES[kind])
        return str(end) if end < len(rows) else "", list(rows[begin:end])

    # Markets

    def _time(self, _: dict[str, str]) -> Row:
        now_ms = self._markets.now_ms
        return {"timeSecond": str(now_ms // 1000), "timeNano": f"{now_ms}000000"}

    def _instruments(self, asked: dict[str, str]) -> Row:
        category, base = self._category(asked), asked.get("baseCoin") or None
        if category == OPTION:
            base = base or "BTC"
        found = self._listings(asked, None if category == SPOT else base)
        if (asked.get("status") or "Trading") != "Trading":
            found = []
        rows = [self._instrument(listing) for listing in found]
        if category == SPOT:
            return {"category": category, "list": rows}  # which has no pages
        begin = self._whole("cursor", asked.get("cursor") or "0")
        end = begin + self._limit(asked, INSTRUMENTS_MOST, INSTRUMENTS_USUAL)
        return {"category": category, "nextPageCursor": str(end) if end < len(rows) else "", "list": rows[begin:end]}

    def _instrument(self, listing: Listing) -> Row:
        instrument, category = listing.market.instrument, listing.category
        tick, lot, most = plain(instrument.tick), plain(instrument.lot), plain(instrument.lot * LOTS_MOST)
        quote = "USD" if category == OPTION else listing.quote  # the documentation's example, whatever pays for it
        row: dict[str, Any] = {"symbol": listing.symbol, "status": "Trading", "baseCoin": listing.base, "quoteCoin": quote}
        if category == SPOT:
            return {
                **row,
                "innovation": "0",
                "marginTrading": "none",
                "lotSizeFilter": {
                    "basePrecision": lot,
                    "quotePrecision": plain(instrument.tick * instrument.lot),
                    "minOrderQty": lot,
                    "maxOrderQty": most,
                    "minOrderAmt": plain(LEAST_VALUE.get(listing.settle, ZERO)),
                    "maxOrderAmt": plain(instrument.price * instrument.lot * LOTS_MOST),
                },
                "priceFilter": {"tickSize": tick},
            }
        row.update(
            settleCoin=listing.settle,
            launchTime=str(LAUNCHED_MS),
            deliveryTime=str(self._delivery_ms(listing.symbol) if category == OPTION else 0),
            deliveryFeeRate="0.00015" if category == OPTION else "",
            priceFilter={"minPrice": tick, "maxPrice": plain(instrument.price * 1000), "tickSize": tick},
            lotSizeFilter={"minOrderQty": lot, "maxOrderQty": most, "qtyStep": lot},
        )
        if category == OPTION:
            return {**row, "optionsType": "Call" if listing.call else "Put"}
        least = ZERO if category == INVERSE else LEAST_VALUE.get(listing.settle, ZERO)
        row["lotSizeFilter"].update(postOnlyMaxOrderQty=most, maxMktOrderQty=most, minNotionalValue=plain(least))
        return {
            **row,
            "contractType": f"{category.capitalize()}Perpetual",
            "priceScale": str(max(0, -int(instrument.tick.normalize().as_tuple().exponent))),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "unifiedMarginTrade": True,
            "fundingInterval": 480,
            "isPreListing": False,
            "preListingInfo": None,
        }

    def _delivery_ms(self, symbol: str) -> int:
        """When an option ends, from its name, such as BTC-27DEC26-70000-C."""
        day = symbol.split("-")[1]
        month = MONTHS.index(day[-5:-2]) + 1
        return int(datetime(2000 + int(day[-2:]), month, int(day[:-5]), EXPIRY_HOUR, tzinfo=timezone.utc).timestamp()) * 1000

    def _book(self, asked: dict[str, str]) -> Row:
        listing = self._listing(asked)
        return self._levels(listing, self._limit(asked, *BOOKS[listing.category]))

    def _full_book(self, asked: dict[str, str]) -> Row:
        listing = self._listing(asked)
        if listing.category != SPOT:
            raise _Refused(10001, "params error: Category is Invalid")  # planned, says "Get Full Orderbook"
        return self._levels(listing, FULL_MOST)

    def _rpi_book(self, asked: dict[str, str]) -> Row:
        listing, limit = self._listing(asked), self._limit(asked, RPI_MOST, RPI_MOST)
        if listing.category == OPTION:
            raise _Refused(10001, "params error: Category is Invalid")
        book = dict(self._levels(listing, RPI))
        return {**book, "b": book["b"][:limit], "a": book["a"][:limit]}

    def _levels(self, listing: Listing, depth: int | str) -> Row:
        return {**self._markets.book(listing.category, listing.symbol, depth), "ts": self._markets.now_ms}

    def _tickers(self, asked: dict[str, str]) -> Row:
        category, base = self._category(asked), asked.get("baseCoin") or None
        if category == OPTION and base is None and not asked.get("symbol"):
            raise _Refused(10001, "params error: symbol or baseCoin is needed")
        return {"category": category, "list": [self._ticker(listing) for listing in self._listings(asked, base)]}

    def _ticker(self, listing: Listing) -> Row:
        """As streamed; what the stream of spot leaves to that of the book, REST has too."""
        row: Row = self._markets.ticker(listing.category, listing.symbol)
        if listing.category != SPOT:
            return row
        top = listing.market.top
        best = {"bid1Price": listing.price(top.bid), "bid1Size": listing.size(top.bid_size)}
        return {**row, **best, "ask1Price": listing.price(top.ask), "ask1Size": listing.size(top.ask_size)}

    def _trades(self, asked: dict[str, str]) -> Row:
        listing = self._listing(asked)
        rows = self._markets.trades(listing.category, listing.symbol, self._limit(asked, *TRADES[listing.category]))
        return {"category": listing.category, "list": [self._trade(row) for row in reversed(rows)]}

    def _trade(self, row: Row) -> Row:
        names = {"i": "execId", "s": "symbol", "p": "price", "v": "size", "S": "side"}
        told = {name: row[key] for key, name in names.items()}
        flags = {"isBlockTrade": row["BT"], "isRPITrade": row.get("RPI", False)}
        return {**told, "time": str(row["T"]), **flags, "seq": str(row["seq"])}

    # Account

    def _orders(self, asked: dict[str, str]) -> Row:
        only = asked.get("openOnly") or "0"
        if only not in ("0", "1"):
            raise _Refused(10001, "params error: openOnly invalid")
        category = self._category(asked)
        if category == LINEAR and not any(asked.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
            raise _Refused(10001, "params error: symbol, settleCoin or baseCoin is needed")
        rows = [row for row in self._records.orders(category) if (row["orderStatus"] in OPEN) == (only == "0")]
        return self._found(category, asked, rows if only == "0" else rows[:CLOSED_MOST], "orders")

    def _order_history(self, asked: dict[str, str]) -> Row:
        category = self._category(asked)
        rows = [row for row in self._records.orders(category) if row["orderStatus"] not in OPEN]
        return self._found(category, asked, rows, "orders")

    def _executions(self, asked: dict[str, str]) -> Row:
        category = self._category(asked)
        return self._found(category, asked, self._records.executions(category), "executions")

    def _found(self, category: str, asked: dict[str, str], rows: Sequence[Row], kind: str) -> Row:
        """A page of those *rows* that were asked for, by the first of these parameters that is there [the pages' tips]."""
        listings = self._markets.listings[category]
        for name in ("orderId", "orderLinkId", "symbol"):
            if asked.get(name):
                rows = [row for row in rows if row.get(name) == asked[name]]  # positions have no ids
                break
        else:
            if asked.get("baseCoin"):
                rows = [row for row in rows if listings[row["symbol"]].base == asked["baseCoin"]]
        if asked.get("settleCoin"):
            rows = [row for row in rows if listings[row["symbol"]].settle == asked["settleCoin"]]
        cursor, page = self._page(asked, rows, kind)
        return {"category": category, "nextPageCursor": cursor, "list": page}

    def _positions(self, asked: dict[str, str]) -> Row:
        category = self._category(asked)
        if category == SPOT:
            raise _Refused(10001, "params error: Category is Invalid")
        if category == LINEAR and not any(asked.get(name) for name in ("symbol", "settleCoin")):
            raise _Refused(10001, "params error: symbol or settleCoin is needed")
        # "Get Position Info": one that is asked for by its symbol is told even when there is none.
        symbol = self._listing(asked).symbol if asked.get("symbol") else None
        return self._found(category, asked, self._records.positions(category, symbol), "positions")

    def _wallet(self, asked: dict[str, str]) -> Row:
        if asked.get("accountType") != "UNIFIED":
            raise _Refused(10001, "accountType only support UNIFIED.")
        wallet = dict(self._records.wallet())
        if asked.get("coin"):
            wanted = asked["coin"].split(",")
            wallet["coin"] = [row for row in wallet["coin"] if row["coin"] in wanted]
        return {"list": [wallet]}

    def _account(self, _: dict[str, str]) -> Row:
        return {
            "unifiedMarginStatus": 6,  # "Get Account Info": UTA 2.0 Pro
            "marginMode": "REGULAR_MARGIN",
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
            "updatedTime": str(self._markets.now_ms),
        }

    def _key(self, _: dict[str, str]) -> Row:
        return {
            "note": "sandbox",
            "apiKey": self._credentials.api_key,
            "readOnly": 0,
            "secret": "",
            "permissions": {"ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"], "Options": ["OptionsTrade"]},
            "ips": ["*"],
            "type": 1,
            "unified": 0,
            "uta": 1,
            "isMaster": True,
        }
