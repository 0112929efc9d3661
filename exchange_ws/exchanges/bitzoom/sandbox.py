r"""
Bitzoom's side of its WebSocket language, for the sandbox.

Written from the vendor's page "WebSocket Streams" (state of 2026-02-13), from its other pages where that is silent, and from
what the public server framework does that its server is built on; not from our dialect. What no page says is chosen so that a
client has something to survive.

There are two kinds of it, `BitzoomExchange.mode`:

* "seed" does what the page says: ids are random words, new on each connection; a confirmation names the new id alone, with
  ``{}``; errors are ``{}``; what belongs to one step of the markets comes in one message, joined by ``\n``, and so does a
  confirmation with the push that follows it; the end of what was never begun is an error;
* "framework" does what the framework does: ids are hashes of the parameters, the same on every connection and on all channels;
  a confirmation names every id of its channel, with its parameters, in the order of their text; errors are a text; the answer
  to a login repeats the token; each push is a message by itself, with the event before the channel, and the one that follows a
  subscription comes before its confirmation; the end of what was never begun is confirmed.

`twist` may rewrite the messages of an answer: what a server could do wrong, a test does there.

The account of a user trades by itself, see `_Person.act`, so that its streams have something to tell.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

from exchange_ws.sandbox import accounts as trading
from exchange_ws.sandbox.market import Instrument, Market, Markets, Trade
from exchange_ws.sandbox.server import Credentials, Exchange, read_json

__all__ = ["SANDBOXES", "BitzoomExchange"]

SEED, FRAMEWORK = "seed", "framework"

#: "WebSocket Streams": channels with their parameters, in the order of the framework's hash; True for the required ones.
PARAMETERS: dict[str, dict[str, bool]] = {
    "/api/v1/ticker": {"symbol": True},
    "/api/v1/ticker/price": {"symbol": True},
    "/api/v1/premiumindex": {"symbol": True},
    "/api/v1/ticker/hr24": {"symbol": False},
    "/api/v1/depth": {"symbol": True, "limit": True},
    "/api/v1/klines": {"symbol": True, "interval": True, "limit": True},
    "/api/v1/trades": {"symbol": True, "limit": True},
    "/api/v1/exchangeinfo": {},
    "/api/v1/adlquantile": {"symbol": False},
    "/api/v1/margintype": {"symbol": True},
    "/api/v1/leverage": {"symbol": False},
    "/api/v1/balance": {},
    "/api/v1/openorders": {"symbol": False},
    "/api/v1/positionrisk": {"symbol": False},
}
PRIVATE = frozenset(f"/api/v1/{name}" for name in "adlquantile margintype leverage balance openorders positionrisk".split())
#: Microseconds between two pushes of the channels that push by the clock.
BEATS_US = {
    "/api/v1/ticker": 250_000,
    "/api/v1/ticker/price": 250_000,
    "/api/v1/premiumindex": 1_000_000,
    "/api/v1/ticker/hr24": 1_000_000,
    "/api/v1/depth": 250_000,
    "/api/v1/klines": 1_000_000,
}
INTERVALS = {"m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000}
INTERVAL_NAMES = frozenset("1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split())
MOST = {"/api/v1/depth": 1000, "/api/v1/klines": 500, "/api/v1/trades": 1000}
RESERVED = ("sub", "unsub", "success", "error")
DAY = 86400
FUNDING_S = 8 * 3600
REPEATED = 3  # trades that a push has again from the one before
ACT_STEPS = 5  # of the markets, between two deeds of a person
CENT = Decimal("0.01")

#: Errors page: codes and words; in mode "framework" only the framework's own texts.
TEXTS = {
    -1002: ("Unauthorized", "未登陆不能订阅,请先使用logon通道登录!"),
    -1003: ("Too many requests", "请求过于频繁"),
    -1004: ("Endpoint not found", "当前服务中未找到对应的路由"),
    -1102: ("Mandatory parameter missing", "订阅错误: missing parameter"),
    -1119: ("Invalid interval", "订阅错误: invalid interval"),
    -1120: ("Invalid symbol", "订阅错误: invalid symbol"),
    -1130: ("Invalid data", "订阅错误: json: cannot unmarshal"),
    -3001: ("Malformed message", "消息格式错误: unexpected end of JSON input"),
    -3002: ("Unknown method", "不支持的事件类型"),
}


class _Refused(Exception):
    """The request gets an error."""

    def __init__(self, code: int, text: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(number: Decimal) -> str:
    """A decimal as the wire has it: no exponent."""
    return f"{number:f}"


def _cut(number: Decimal) -> str:
    return _text(number.quantize(CENT, ROUND_DOWN))


def _ms(time_us: int) -> int:
    return time_us // 1000


# Tokens: JSON Web Tokens, signed with HMAC-SHA256 [RFC 7515, RFC 7519].


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signed(claims: Mapping[str, object], secret: str) -> str:
    head = ".".join(_encoded(_json(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{head}.{_encoded(hmac.digest(secret.encode(), head.encode(), 'sha256'))}"


def _claims(token: object, secret: str) -> dict[str, Any]:
    """What the token claims, if its signature is right."""
    if not isinstance(token, str) or token.count(".") != 2:
        raise _Refused(-1002, "token contains an invalid number of segments")
    head, _, signature = token.rpartition(".")
    try:
        first, second = (json.loads(_decoded(part)) for part in head.split("."))
        given = _decoded(signature)
    except (ValueError, binascii.Error):
        raise _Refused(-1002, "token is malformed") from None
    if not isinstance(first, dict) or first.get("alg") != "HS256" or not isinstance(second, dict):
        raise _Refused(-1002, "signing method is invalid")
    if not hmac.compare_digest(given, hmac.digest(secret.encode(), head.encode(), "sha256")):
        raise _Refused(-1002, "signature is invalid")
    return second


class _Person:
    """One user: an account, and what it does by itself."""

    def __init__(self, uid: str, held: trading.Accounts, perpetuals: Mapping[str, Market]) -> None:
        self.uid = uid
        self.account = held.open({"USDT": Decimal("100000.00")})
        self.margin_types = dict.fromkeys(perpetuals, "CROSSED")
        self.news: dict[str, object] = {}  # channel to what has changed since the last step: an order, or anything true
        self._markets = perpetuals
        self._steps = 0

    def step(self) -> None:
        """After a step of the markets: maybe a deed, and what of it there is to tell."""
        self.news = {}
        self._steps += 1
        if self._steps % ACT_STEPS == 0:
            with contextlib.suppress(trading.Refused):  # what the markets do not allow just now is left out
                self.act(self._steps // ACT_STEPS)
        for event in self.account.take_events():
            if isinstance(event, trading.Balance):
                self.news["/api/v1/balance"] = True
            elif isinstance(event, trading.Order):
                self.news["/api/v1/openorders"] = event
            elif isinstance(event, trading.Position):
                self.news["/api/v1/positionrisk"] = self.news["/api/v1/adlquantile"] = True

    def act(self, turn: int) -> None:
        """An order that rests, a position, its end, the end of the order, another leverage and another margin type: in turn."""
        name = "BTCUSDT"
        market, lot = self._markets[name], self._markets[name].instrument.lot
        deed = turn % 6
        if deed == 1:
            price = market.top.bid - 50 * market.instrument.tick
            self.account.place(market.instrument, "buy", size=2 * lot, price=price, client_id=f"own-{turn}")
        elif deed == 2:
            self.account.place(market.instrument, "buy", size=3 * lot)
        elif deed == 3:
            self.account.place(market.instrument, "sell", size=3 * lot)
        elif deed == 4:
            self.account.cancel_all(market.instrument)
        elif deed == 5:
            self.account.set_leverage(market.instrument, 10 if self.account.leverage(market.instrument) != 10 else 20)
            self.news["/api/v1/leverage"] = True
        else:
            self.margin_types[name] = "ISOLATED" if self.margin_types[name] == "CROSSED" else "CROSSED"
            self.news["/api/v1/margintype"] = True


class _Sub:
    """One subscription of a connection."""

    def __init__(self, sub_id: str, params: dict[str, Any]) -> None:
        self.sub_id = sub_id
        self.params = params
        self.last_trade = 0


class _State:
    """One connection."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.person: _Person | None = None
        self.subs: dict[str, dict[str, _Sub]] = {}  # by channel, then id, in order of subscribing


class BitzoomExchange:
    """The exchange: what its connections have subscribed to, over *markets*. See `exchange_ws.sandbox.server.Exchange`."""

    path = "/ws"
    idle_s: float | None = None  # nothing is documented; the framework's own pings are not sent
    requests = (10, 1.0)  # FAQ of the vendor's pages
    dials = (10, 1.0)  # framework: 5 a second, 10 at once
    rest_requests = (10, 1.0)  # FAQ

    def __init__(self, markets: Markets, credentials: Credentials, seed: int) -> None:
        #: "seed" or "framework"; of the next connections and answers.
        self.mode = SEED
        #: Rewrites the messages of an answer: called with (request, messages), gives the messages to be sent instead.
        self.twist: Callable[[Any, list[str]], Iterable[str]] | None = None
        #: Seconds of market time for which a token is accepted: the framework's default.
        self.token_s = 86400.0
        self._markets = markets
        self._secret = credentials.api_secret
        self._seed = seed
        self._generation = 0  # of tokens; those of former ones have expired
        self.names = {
            f"{market.instrument.base}{market.instrument.quote}": market
            for market in markets.markets
            if market.instrument.perpetual
        }
        self._accounts = trading.Accounts(markets, seed=seed)
        self._people: dict[str, _Person] = {}
        rng = random.Random(f"{seed}/bitzoom")
        self._ranks = {name: [rng.randrange(5) for _ in range(3)] for name in self.names}
        self._beats = frozenset[str]()
        self._beat_us = markets.now_us

    # Tokens

    @property
    def token(self) -> str:
        """A token that is accepted now."""
        return self.token_for("10001")

    def token_for(self, uid: str, lifetime_s: float | None = None) -> str:
        """A token of the user *uid*, accepted for *lifetime_s* seconds of market time."""
        now = self._markets.now_us // 1_000_000
        expires = now + (self.token_s if lifetime_s is None else lifetime_s)
        return _signed({"exp": expires, "iat": now, "uid": uid, "uname": f"user{uid}", "gen": self._generation}, self._secret)

    def expire_tokens(self) -> None:
        self._generation += 1

    def rest(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """``GET /api/servermanage/testtoken?userid=U``: how the test environment gives tokens."""
        url = urlsplit(path)
        users = parse_qs(url.query).get("userid", [])
        found = method == "GET" and url.path == "/api/servermanage/testtoken" and len(users) == 1
        token = self.token_for(users[0]) if found else None
        envelope = {
            "traceid": "00000000-0000-0000-0000-000000000000",
            "errorCode": 200 if found else 700,
            "errorMessage": "" if found else "not found",
            "success": found,
            "duration": 1,
            "data": token,
            "host": "sandbox",
            "showType": 0,
        }
        return 200 if found else 404, {"Content-Type": "application/json"}, _json(envelope).encode()

    def rest_too_many(self) -> tuple[int, Mapping[str, str], bytes]:
        return 429, {}, _json({"errorCode": -1003, "errorMessage": TEXTS[-1003][0], "success": False, "data": None}).encode()

    # What the server asks

    def open(self, serial: int) -> _State:
        return _State(random.Random(f"{self._seed}/connection/{serial}"))

    def answer(self, state: _State, message: Any) -> tuple[str | None, Sequence[str]]:
        pushes: list[str] = []
        try:
            lines = [self._answer(state, message, pushes)]
        except _Refused as refusal:
            lines, pushes = [self._error(message, refusal.code, refusal.text)], []
        lines = [*pushes, *lines] if self.mode == FRAMEWORK else [*lines, *pushes]
        if self.twist is not None:
            lines = list(self.twist(message, lines))
        elif self.mode == SEED:
            lines = ["\n".join(lines)]
        return (lines[0], lines[1:]) if lines else (None, ())

    def malformed(self, state: _State, text: str) -> str | None:
        # Of several objects in one message the first one counts.
        try:
            _, end = json.JSONDecoder().raw_decode(text)
            first = read_json(text[:end])
        except (ValueError, RecursionError):
            return self._error(None, -3001)
        answer, pushes = self.answer(state, first)
        return None if answer is None else "\n".join([answer, *pushes])

    def refuse(self, state: _State, message: Any, code: int | str | None, text: str | None) -> str:
        return self._error(message, code, text, told=code is not None or text is not None)

    def too_many(self, state: _State, message: Any) -> str:
        return self._error(message, -1003, told=True)

    def beat(self) -> None:
        now_us = self._markets.now_us
        self._beats = frozenset(name for name, pace_us in BEATS_US.items() if now_us // pace_us != self._beat_us // pace_us)
        self._beat_us = now_us
        self._accounts.after_step()
        for person in self._people.values():
            person.step()

    def publish(self, state: _State) -> Iterable[str]:
        lines = [line for channel in state.subs for line in self._publish(state, channel)]
        return ["\n".join(lines)] if lines and self.mode == SEED else lines

    def forget(self, state: _State) -> None:
        state.subs.clear()

    def method(self, message: Any) -> str | None:
        return f"{message.get('event')} {message.get('channel')}" if isinstance(message, dict) else None

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"host": url, "token": self.token}

    # Requests

    def _answer(self, state: _State, message: Any, pushes: list[str]) -> str:
        if not isinstance(message, dict):
            raise _Refused(-3001)
        channel, event, data = message.get("channel"), message.get("event"), message.get("data")
        if event not in ("sub", "unsub"):
            raise _Refused(-3002)
        if channel == "logon":
            return self._logon(state, event, data)
        if not isinstance(channel, str) or channel not in PARAMETERS:
            raise _Refused(-1004)
        if channel in PRIVATE and state.person is None:
            raise _Refused(-1002)
        params = self._params(channel, data)
        if event == "sub":
            return self._subscribe(state, channel, params, pushes)
        return self._unsubscribe(state, channel, params)

    def _logon(self, state: _State, event: str, data: Any) -> str:
        if event != "sub":
            raise _Refused(-3002)
        token = data.get("token") if isinstance(data, dict) else None
        claims = _claims(token, self._secret)
        now = self._markets.now_us // 1_000_000
        expires, uid = claims.get("exp"), claims.get("uid")
        if not isinstance(expires, (int, float)) or expires <= now or claims.get("gen") != self._generation:
            raise _Refused(-1002, "Token is expired")
        if not isinstance(uid, str) or not uid:
            raise _Refused(-1002, "invalid session request")
        if uid not in self._people:
            self._people[uid] = _Person(uid, self._accounts, self.names)
        state.person = self._people[uid]
        told: dict[str, object] = {}
        if self.mode == FRAMEWORK:
            told = {"apiKey": token, "authorizedSince": now, "connectedSince": now, "returnRateLimits": False, "serverTime": 0}
        return self._message("logon", "success", told)

    def _params(self, channel: str, data: Any) -> dict[str, Any]:
        """The parameters, without those that are absent in one way or another."""
        if data is not None and not isinstance(data, dict):
            raise _Refused(-1130)
        given = {str(name).lower(): value for name, value in (data or {}).items()}
        params = {name: given[name] for name in PARAMETERS[channel] if given.get(name) not in (None, "")}
        if any(required and name not in params for name, required in PARAMETERS[channel].items()):
            raise _Refused(-1102)
        if "symbol" in params and (not isinstance(params["symbol"], str) or params["symbol"] not in self.names):
            raise _Refused(-1120)
        interval = params.get("interval", "1m")
        if not isinstance(interval, str) or interval not in INTERVAL_NAMES:
            raise _Refused(-1119)
        limit = params.get("limit", 1)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST.get(channel, 1):
            raise _Refused(-1130)
        return params

    def _subscribe(self, state: _State, channel: str, params: dict[str, Any], pushes: list[str]) -> str:
        held = state.subs.setdefault(channel, {})
        sub = next((sub for sub in held.values() if sub.params == params), None)
        if sub is None:
            sub = _Sub(self._sub_id(state, channel, params), params)
            held[sub.sub_id] = sub
        if channel != "/api/v1/openorders":
            pushes.extend(self._push(channel, sub, body) for body in self._bodies(state, channel, sub, first=True))
        if self.mode == SEED:
            return self._message(channel, "sub", {sub.sub_id: {}})
        user = {"userid": state.person.uid} if channel in PRIVATE and state.person is not None else {}
        echoes = {one: {**held[one].params, **user} for one in sorted(held)}
        return self._message(channel, "sub", echoes)

    def _sub_id(self, state: _State, channel: str, params: Mapping[str, Any]) -> str:
        if self.mode == FRAMEWORK:
            values = [str(params.get(name, "")) for name in PARAMETERS[channel]]
            if channel in PRIVATE and state.person is not None:
                values.append(state.person.uid)
            return str(int.from_bytes(hashlib.sha256("".join(values).encode()).digest()[:8], "big"))
        taken = {one for subs in state.subs.values() for one in subs}
        while True:
            letters = state.rng.choices(string.ascii_lowercase + string.digits, k=state.rng.randint(6, 12))
            if "".join(letters) not in (*RESERVED, *taken):
                return "".join(letters)

    def _unsubscribe(self, state: _State, channel: str, params: dict[str, Any]) -> str:
        held = state.subs.get(channel, {})
        sub = next((sub for sub in held.values() if sub.params == params), None)
        if sub is not None:
            del held[sub.sub_id]
            return self._message(channel, "unsub", sub.sub_id)
        if self.mode == SEED:
            raise _Refused(-1130, "not subscribed")
        return self._message(channel, "unsub", self._sub_id(state, channel, params))

    # Messages

    def _message(self, channel: str, event: str, data: object) -> str:
        if self.mode == FRAMEWORK:
            return _json({"event": event, "channel": channel, "data": data})
        return _json({"channel": channel, "event": event, "data": data})

    def _push(self, channel: str, sub: _Sub, body: object) -> str:
        return self._message(channel, sub.sub_id, body)

    def _error(self, message: Any, code: int | str | None, text: str | None = None, *, told: bool = False) -> str:
        """An error on the request's channel. The page shows ``{}``; code and words are *told* of limits, and if a test asks."""
        channel = message.get("channel") if isinstance(message, dict) else None
        known = TEXTS.get(code, ("refused", "refused")) if isinstance(code, int) else ("refused", "refused")
        data: object = {}
        if self.mode == FRAMEWORK:
            data = f"登录请求错误: {text}" if channel == "logon" else text or known[1]
        elif told:
            data = {"code": code, "msg": text or known[0]}
        return self._message(channel if isinstance(channel, str) else "", "error", data)

    # Pushes

    def _publish(self, state: _State, channel: str) -> Iterable[str]:
        if channel in BEATS_US and channel not in self._beats:
            return
        if channel in PRIVATE and (state.person is None or channel not in state.person.news):
            return
        if channel == "/api/v1/exchangeinfo":
            return
        for sub in state.subs[channel].values():
            for body in self._bodies(state, channel, sub, first=False):
                yield self._push(channel, sub, body)

    def _bodies(self, state: _State, channel: str, sub: _Sub, *, first: bool) -> Iterable[object]:
        """The payloads of a subscription now: one, or none."""
        symbol = sub.params.get("symbol")
        if channel in PRIVATE:
            assert state.person is not None
            yield self._private(state.person, channel, symbol, first)
        elif channel == "/api/v1/exchangeinfo":
            yield {"timezone": "UTC", "symbols": [self._symbol(name, market) for name, market in self.names.items()]}
        elif channel == "/api/v1/ticker/hr24":
            yield [self._hr24(name) for name in self.names] if symbol is None else self._hr24(symbol)
        elif channel == "/api/v1/trades":
            yield from self._trades(sub, first)
        else:
            yield self._market_body(channel, str(symbol), sub.params, first)

    def _market_body(self, channel: str, symbol: str, params: Mapping[str, Any], first: bool) -> object:
        market = self.names[symbol]
        now = _ms(self._markets.now_us)
        if channel == "/api/v1/ticker":
            return {"symbol": symbol, "price": _text(market.last)}
        if channel == "/api/v1/ticker/price":
            return {"symbol": symbol, "price": _text(market.last), "time": now}
        if channel == "/api/v1/depth":
            bids, asks = market.book(params["limit"])
            sides = {"bids": bids, "asks": asks}
            levels = {name: [[_text(price), _text(size)] for price, size in side.items()] for name, side in sides.items()}
            return {"lastUpdateId": market.update_id, "E": now, "T": _ms(market.book_us), **levels}
        if channel == "/api/v1/klines":
            return self._candles(market, params, 1 if not first else params["limit"])
        return self._premium(symbol, market, now)

    def _premium(self, symbol: str, market: Market, now_ms: int) -> object:
        mark = (market.top.bid + market.top.ask) / 2
        rate = ((mark - market.last) / market.last).quantize(Decimal("0.00000001"))
        now = now_ms // 1000
        return {
            "symbol": symbol,
            "markPrice": _text(mark),
            "indexPrice": _text(market.last),
            "estimatedSettlePrice": _text(market.last),
            "lastFundingRate": _text(rate),
            "interestRate": "0.00010000",
            "nextFundingTime": (now - now % FUNDING_S + FUNDING_S) * 1000,
            "time": now_ms,
        }

    def _hr24(self, symbol: str) -> dict[str, object]:
        market = self.names[symbol]
        now = self._markets.now_us // 1_000_000
        found = market.statistics(max(0, now - DAY))
        last = market.trades[-1]
        change = found.last - found.open
        average = found.quote_volume / found.volume if found.volume else found.last
        return {
            "symbol": symbol,
            "priceChange": _text(change),
            "priceChangePercent": _cut(100 * change / found.open),
            "weightedAvgPrice": _text(average.quantize(market.instrument.tick)),
            "lastPrice": _text(found.last),
            "lastQty": _text(last.size),
            "openPrice": _text(found.open),
            "highPrice": _text(found.high),
            "lowPrice": _text(found.low),
            "volume": _text(found.volume),
            "quoteVolume": _text(found.quote_volume),
            "openTime": (now - DAY) * 1000,
            "closeTime": now * 1000,
            "firstId": market.trades[0].id,
            "lastId": last.id,
            "count": len(market.trades),
        }

    def _candles(self, market: Market, params: Mapping[str, Any], count: int) -> list[list[object]]:
        """Rows, the newest last; the present one alone after the first push."""
        name = params["interval"]
        interval = int(name[:-1]) * INTERVALS[name[-1]]
        now = self._markets.now_us // 1_000_000
        start = max(0, now - now % interval - (count - 1) * interval)
        rows: list[list[object]] = []
        for candle in market.candles(interval, start, now)[-count:]:
            prices = map(_text, (candle.open, candle.high, candle.low, candle.close, candle.volume))
            end = (candle.start + interval) * 1000 - 1
            rows.append([candle.start * 1000, *prices, end, _text(candle.quote_volume), 1, "0", "0", "0"])
        return rows

    def _trades(self, sub: _Sub, first: bool) -> Iterable[object]:
        """The latest trades, the newest last: all that the limit allows at first, then the new ones and some again."""
        market = self.names[sub.params["symbol"]]
        new = len(market.trades_after(sub.last_trade))
        if not new and not first:
            return
        count = min(sub.params["limit"], sub.params["limit"] if first else new + REPEATED)
        sub.last_trade = market.trades[-1].id
        yield [self._trade(trade) for trade in list(market.trades)[-count:]]

    def _trade(self, trade: Trade) -> dict[str, object]:
        return {
            "id": trade.id,
            "price": _text(trade.price),
            "qty": _text(trade.size),
            "quoteQty": _text(trade.price * trade.size),
            "time": _ms(trade.time_us),
            "isBuyerMaker": trade.side == "sell",
        }

    def _symbol(self, name: str, market: Market) -> dict[str, object]:
        what = market.instrument
        places = {"pricePrecision": what.tick, "quantityPrecision": what.lot}
        precisions = {key: max(0, -int(step.as_tuple().exponent)) for key, step in places.items()}
        return {"symbol": name, "baseAsset": what.base, "quoteAsset": what.quote, **precisions}

    # Private pushes

    def _private(self, person: _Person, channel: str, symbol: str | None, first: bool) -> object:
        names = [name for name in self.names if symbol in (None, name)]
        if channel == "/api/v1/margintype":
            return {"symbol": symbol, "marginType": person.margin_types[str(symbol)]}
        if channel == "/api/v1/leverage":
            rows: list[object] = [
                {"symbol": name, "leverage": person.account.leverage(self.names[name].instrument)} for name in names
            ]
            return rows if symbol is None else rows[0]
        if channel == "/api/v1/adlquantile":
            words = ("LONG", "SHORT", "BOTH")
            return [{"symbol": name, "adlQuantile": dict(zip(words, self._ranks[name]))} for name in names]
        if channel == "/api/v1/balance":
            return [self._balance(balance) for balance in person.account.balances().values()]
        if channel == "/api/v1/positionrisk":
            return [self._position(person, name, position) for name, position in self._positions(person, names)]
        changed = person.news.get(channel)
        if self.mode == FRAMEWORK and isinstance(changed, trading.Order):
            return self._order(changed)
        return [self._order(order) for order in person.account.open_orders if self._name(order.instrument) in names]

    def _name(self, instrument: Instrument) -> str:
        return f"{instrument.base}{instrument.quote}"

    def _balance(self, balance: trading.Balance) -> dict[str, object]:
        whole = balance.available + balance.locked
        return {
            "asset": balance.asset,
            "balance": _text(whole),
            "crossWalletBalance": _text(whole),
            "crossUnPnl": "0.00",
            "availableBalance": _text(balance.available),
            "maxWithdrawAmount": _text(balance.available),
            "updateTime": _ms(balance.time_us),
        }

    def _order(self, order: trading.Order) -> dict[str, object]:
        words = {trading.NEW: "NEW", trading.PARTIALLY_FILLED: "partiallyFilled", trading.FILLED: "filled"}
        return {
            "orderId": order.id,
            "symbol": self._name(order.instrument),
            "side": order.side.upper(),
            "type": "MARKET" if order.price is None else "LIMIT",
            "price": _text(order.price or Decimal(0)),
            "quantity": _text(order.size or Decimal(0)),
            "executedQty": _text(order.filled),
            "status": words.get(order.status, "canceled"),
            "clientOrderId": order.client_id,
            "createTime": _ms(order.created_us),
            "updateTime": _ms(order.updated_us),
        }

    def _positions(self, person: _Person, names: Sequence[str]) -> Iterable[tuple[str, trading.Position]]:
        for position in person.account.positions:
            if self._name(position.instrument) in names:
                yield self._name(position.instrument), position

    def _position(self, person: _Person, name: str, position: trading.Position) -> dict[str, object]:
        return {
            "symbol": name,
            "positionSide": "LONG" if position.size > 0 else "SHORT",
            "positionAmt": _text(position.size),
            "entryPrice": _text(position.entry_price),
            "markPrice": _text(position.mark),
            "unrealizedProfit": _text(position.unrealized_pnl),
            "liquidationPrice": _text(position.liquidation_price),
            "leverage": position.leverage,
            "marginType": "cross" if person.margin_types[name] == "CROSSED" else "isolated",
        }


#: What the sandbox finds here: name to factory.
SANDBOXES: dict[str, Callable[[Markets, Credentials, int], Exchange]] = {"bitzoom": BitzoomExchange}
