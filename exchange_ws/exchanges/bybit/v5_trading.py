"""
Bybit's side of its V5 language, for the sandbox: the private socket and that for orders, of the account in `v5_account`.

Written from the vendor's documentation (read 2026-11: V5, pages "Connect", "Websocket Trade Guideline", "Order", "Set
Disconnect Cancel All" and "Error Codes"), and from what was observed of other clients; not from our dialect. Where neither says
what the server does, the choice made here is one that a client has to survive:

* a login that is refused leaves the connection as it was; the private socket takes a second one, that for orders refuses it;
* for orders, a wrong key is 10003, a wrong signature 10004, and anything else about a login 10001; the answer has the `reqId`
  on some connections and not on others, as both are told of;
* private topics are known by their names; one that is subscribed already stays so, and one that is not can be unsubscribed.
  A request with all-in-one and categorised topics takes the kind that comes first. A topic that nobody has is refused in the
  words for partial failures, which separate topics by blanks on some connections and by commas on others;
* orders before the login are 10005, without a `reqId`; an id that the same connection has used is 20006;
* a time stamp has to fit this machine's clock, or that of the markets if they stand elsewhere, as those that are moved by hand;
* an answer has no `data` and no `header` if the op is none, or has no known category; it comes before or after the messages
  that tell of what it has caused;
* 3000 requests in a second are allowed on each connection, since an address has no other here; no figure is known for 20003
  and for the sessions of 10003: these, and 10016, 10019 and 10429, come by `Sandbox.reject` only. After 10019 the connection
  takes no request, for good;
* `max_active_time` is exact: the scan by 30 seconds, which may cut a connection later, is left out, and what is pushed does
  not count as activity. A value out of range counts for nothing;
* an account is guarded while any connection that has subscribed to `dcp` of a product is there; the window is 10 seconds.
"""

from __future__ import annotations

import hmac
import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from exchange_ws.exchanges.bybit.common_sandbox import DIALS, IDLE_S, signature, wire_json
from exchange_ws.exchanges.bybit.v5_account import OPS, TOPICS, News, Quota, V5Account
from exchange_ws.exchanges.bybit.v5_markets import INVERSE, LINEAR, OPTION, SPOT, V5Markets
from exchange_ws.sandbox.market import Market
from exchange_ws.sandbox.server import Credentials, Exchange

__all__ = ["DCP", "SILENT", "V5Private", "V5Trade"]

#: "Set Disconnect Cancel All": products that a connection may guard, and their categories.
DCP = {"dcp.future": (LINEAR, INVERSE), "dcp.spot": (SPOT,), "dcp.option": (OPTION,)}
DCP_WINDOW_US = 10_000_000
#: Topics of which nothing ever comes here.
SILENT = ("strategy", "spread.order", "spread.execution", "rfq.open.rfqs", "rfq.open.quotes", "rfq.open.trades")
CATEGORISED = frozenset(f"{topic}.{category}" for topic, categories in TOPICS.items() for category in categories)
ALL_IN_ONE = frozenset(topic for topic, categories in TOPICS.items() if categories)
KNOWN = CATEGORISED | TOPICS.keys() | DCP.keys() | set(SILENT)
#: What the public sockets have: asked for here, it is no topic at all.
PUBLIC = frozenset(
    ("orderbook", "publicTrade", "tickers", "kline", "allLiquidation", "liquidation", "insurance", "adlAlert", "priceLimit")
)
#: Observed, word for word.
PARTIAL = (
    "Batch subscription partially succeeded and partially failed.Successful subscriptions are as follows:[{}]. Subscription to "
    "the following topics failed because the topic does not exist or there is a subscription conflict:[{}]."
)
PARAMS_ERROR = "Params Error"  # observed, as "Request not authorized" is
SPAN = re.compile(r"([0-9]{1,4})(s|m)")
ACTIVE_S = (30.0, 600.0)  # "Connect": `max_active_time`
RECV_WINDOW_MS, EARLY_MS = 5000, 1000  # "Websocket Trade Guideline"
ID_MOST = 36  # characters of a `reqId`
IDS_KEPT = 5000
DIGITS = re.compile(r"[0-9]{1,18}")
#: Codes of "Error Codes". The words are ours, after what that page says of each: of what the server writes, only the empty text
#: of 10404 was seen. A client has to go by the codes.
MESSAGES: dict[int | str, str] = {
    10001: "params error",
    10002: "The request time exceeds the time window range.",
    10003: "API key is invalid.",
    10004: "Error sign, please check your signature generation algorithm.",
    10005: "Permission denied, please check your API key permissions.",
    10006: "Too many visits. Exceeded the API Rate Limit.",
    10016: "Internal server error.",
    10019: "ws trade service is restarting, do not accept new request",
    10403: "Exceeded the rate limit of the IP.",
    10404: "",
    10429: "System level frequency protection",
    20001: "already authenticated",
    20003: "Too frequent requests under the same session",
    20006: "reqId is duplicated",
}


class _State:
    """One connection."""

    def __init__(self, conn_id: str, rng: random.Random) -> None:
        self.conn_id = conn_id
        self.rng = rng
        self.first = rng.random() < 0.5  # of two orders of keys that were seen
        self.commas = rng.random() < 0.5
        self.authorized = False
        self.topics: dict[str, None] = {}
        self.heard = 0  # serial of the last news that it was told, or could have been
        self.used: dict[str, None] = {}  # reqIds
        self.restarting = False


class _Endpoint:
    """What the two endpoints have in common. See `exchange_ws.sandbox.server.Exchange`."""

    path: str
    idle_s: float | None = IDLE_S
    idle_code: int | None = None
    requests: tuple[int, float] | None = None
    dials = DIALS

    def __init__(self, feeds: V5Markets, account: V5Account, credentials: Credentials, seed: int) -> None:
        self.names: Mapping[str, Market] = feeds.categories[SPOT]
        self._feeds = feeds
        #: The same for both.
        self.account = account
        self._credentials = credentials
        self._seed = seed

    def open(self, serial: int) -> _State:
        rng = random.Random(f"{self._seed}/{self.path}/{serial}")
        word = "".join(rng.choices("0123456789abcdefghijklmnopqrstuv", k=20))
        return _State(f"{word}-{rng.choice('0123456789abcdefghijklmnopqrstuvwxyz')}{rng.randrange(10)}", rng)

    def idle_of(self, query: str) -> float | None:
        found = SPAN.fullmatch(parse_qs(query).get("max_active_time", [""])[-1])
        seconds = 0.0 if found is None else float(found[1]) * (60 if found[2] == "m" else 1)
        return seconds if ACTIVE_S[0] <= seconds <= ACTIVE_S[1] else self.idle_s

    def publish(self, state: _State) -> Iterable[str]:
        return ()

    def beat(self) -> None:
        pass

    def forget(self, state: _State) -> None:
        pass

    def method(self, message: Any) -> str | None:
        op = message.get("op") if isinstance(message, dict) else None
        return op if isinstance(op, str) else None

    def wiring(self, url: str, rest_url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError("the first endpoint answers for all")

    def _echo(self, message: Any, name: str) -> dict[str, str]:
        """The id of a request to send back, as text; nothing where there was none."""
        found = message.get(name) if isinstance(message, dict) else None
        return {name: str(found)} if isinstance(found, (str, int)) and not isinstance(found, bool) else {}

    def _login(self, message: Any) -> int:
        """0 if a login is right, else its code."""
        args = message.get("args")
        if not isinstance(args, list) or len(args) != 3 or not all(isinstance(arg, (str, int)) for arg in args):
            return 10001
        key, expires, given = map(str, args)
        if key != self._credentials.api_key:
            return 10003
        if not DIGITS.fullmatch(expires) or int(expires) <= self._feeds.now_ms:
            return 10001
        right = hmac.compare_digest(signature(self._credentials.api_secret, expires).encode(), given.encode())
        return 0 if right else 10004


class V5Private(_Endpoint):
    """The private socket. It moves the account on, once for each step of the markets."""

    path = "/v5/private"

    def __init__(self, feeds: V5Markets, account: V5Account, credentials: Credentials, seed: int) -> None:
        super().__init__(feeds, account, credentials, seed)
        self._guarded: dict[str, int] = {}  # topics of DCP to the market's time when a connection had them last

    # What the server asks

    def open(self, serial: int) -> _State:
        state = super().open(serial)
        state.heard = self.account.serial  # "There is no initial snapshot"
        return state

    def answer(self, state: _State, message: Any) -> tuple[str | None, Sequence[str]]:
        op = self.method(message)
        if op == "ping":
            said = {"op": "pong", "args": [str(self._feeds.now_ms)], "conn_id": state.conn_id}
            return wire_json({**self._echo(message, "req_id"), **said}), ()
        if op == "auth":
            code = self._login(message)
            state.authorized = state.authorized or not code
            return self._result(state, message, {0: "", 10003: MESSAGES[10003]}.get(code, PARAMS_ERROR)), ()
        if op not in ("subscribe", "unsubscribe"):
            return self._result(state, message, PARAMS_ERROR), ()
        args = message.get("args")
        if not isinstance(args, list) or not args or not all(isinstance(name, str) for name in args):
            return self._result(state, message, PARAMS_ERROR), ()
        if any(name.partition(".")[0] in PUBLIC for name in args):
            return self._result(state, message, PARAMS_ERROR), ()
        if not state.authorized:
            return self._result(state, message, "Request not authorized"), ()
        return self._result(state, message, self._state_topics(state, op, args)), ()

    def malformed(self, state: _State, text: str) -> str | None:
        return self._result(state, None, PARAMS_ERROR)

    def refuse(self, state: _State, message: Any, code: int | str | None, text: str | None) -> str:
        if text is None:
            text = "error:refused by the sandbox" if code is None else f"error:{code}"
        return self._result(state, message, text)

    def too_many(self, state: _State, message: Any) -> str:
        return self._result(state, message, "error:too many requests")

    def beat(self) -> None:
        self.account.step()
        now_us = self._feeds.now_us
        for name, seen_us in list(self._guarded.items()):
            if now_us - seen_us >= DCP_WINDOW_US:
                del self._guarded[name]
                self.account.cancel_all(DCP[name])

    def publish(self, state: _State) -> Iterable[str]:
        self.account.watched = self.account.watched or bool(state.topics)
        for name in DCP.keys() & state.topics.keys():
            self._guarded[name] = self._feeds.now_us
        for news in self.account.news_after(state.heard):
            for topic in (news.topic, f"{news.topic}.{news.category}"):
                if topic in state.topics:
                    yield self._push(state, topic, news)
        state.heard = self.account.serial

    def forget(self, state: _State) -> None:
        self._leave(state, list(state.topics))

    def _leave(self, state: _State, names: Iterable[str]) -> None:
        for name in names:
            state.topics.pop(name, None)
            self._guarded.pop(name, None)  # another connection that has it will say so

    # Answers and pushes

    def _result(self, state: _State, message: Any, refusal: str) -> str:
        said = {"success": not refusal, "ret_msg": refusal, "op": self.method(message) or "", "conn_id": state.conn_id}
        echo = self._echo(message, "req_id")
        return wire_json({**echo, **said} if state.first else {**said, **echo})

    def _state_topics(self, state: _State, op: str, names: list[str]) -> str:
        """Subscribe or unsubscribe what can be: what to say of the rest."""
        if op == "unsubscribe":
            self._leave(state, names)
            return ""
        good: dict[str, None] = {}
        bad: dict[str, None] = {}
        kind = next((name in CATEGORISED for name in names if name in CATEGORISED or name in ALL_IN_ONE), False)
        for name in names:
            conflict = name in (ALL_IN_ONE if kind else CATEGORISED)
            (good if name in KNOWN and not conflict else bad)[name] = None
        state.topics.update(good)
        self._guarded.update(dict.fromkeys(DCP.keys() & good.keys(), self._feeds.now_us))
        between = ", " if state.commas else " "
        return PARTIAL.format(between.join(good), between.join(bad)) if bad else ""

    def _push(self, state: _State, topic: str, news: News) -> str:
        head: dict[str, object] = {"topic": topic} if news.topic == "execution.fast" else {"id": news.id, "topic": topic}
        if state.first and "id" in head:
            head = {"topic": topic, "id": news.id}
        # Rows are written once for all connections.
        return f'{wire_json({**head, "creationTime": news.time_ms})[:-1]},"data":{news.data}}}'


class V5Trade(_Endpoint):
    """The socket for orders; what they cause is told by *private*. See `exchange_ws.sandbox.server.Causes` and `Quotas`."""

    path = "/v5/trade"
    requests = (3000, 1.0)  # "Websocket Trade Guideline": of an address

    def __init__(self, feeds: V5Markets, account: V5Account, credentials: Credentials, seed: int, private: V5Private) -> None:
        super().__init__(feeds, account, credentials, seed)
        self.audience: Exchange = private
        #: Whether the news of the last request overtake its answer ...
        self.told_first = False
        #: ... which those of some do (None), of all (True) or of none (False).
        self.overtake: bool | None = None
        self.limits = True
        self._rng = random.Random(f"{seed}/v5/answers")

    # What the server asks

    def answer(self, state: _State, message: Any) -> tuple[str | None, Sequence[str]]:
        op = self.method(message)
        if op == "ping":
            said = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(self._feeds.now_ms)], "connId": state.conn_id}
            return wire_json({**self._echo(message, "reqId"), **said}), ()
        if op == "auth":
            code = 20001 if state.authorized else self._login(message)
            state.authorized = state.authorized or not code
            return self._login_result(state, message, code, "OK" if not code else MESSAGES[code]), ()
        if op not in OPS:
            return self._unknown(state, message), ()
        if not state.authorized:
            return self._result(state, {"op": op}, 10005), ()
        return self._order(state, op, message), ()

    def malformed(self, state: _State, text: str) -> str | None:
        return self._result(state, None, 10001)

    def refuse(self, state: _State, message: Any, code: int | str | None, text: str | None) -> str:
        op = self.method(message)
        number = (10004 if op == "auth" else 10016) if code is None else int(code) if str(code).isdecimal() else code
        words = MESSAGES.get(number, "refused by the sandbox") if text is None else text
        if op == "auth":
            return self._login_result(state, message, number, words)
        state.restarting = state.restarting or number == 10019
        return self._unknown(state, message) if number == 10404 else self._result(state, message, number, words)

    def too_many(self, state: _State, message: Any) -> str:
        return self._result(state, message, 10403)

    # Answers

    def _order(self, state: _State, op: str, message: dict[str, Any]) -> str:
        if state.restarting:
            return self._result(state, message, 10019)
        number = message.get("reqId")
        if number is not None and (not isinstance(number, str) or not 0 < len(number) <= ID_MOST):
            return self._result(state, message, 10001, "params error: reqId invalid")
        if number in state.used:
            return self._result(state, message, 20006)
        if number is not None:
            state.used[number] = None
            if len(state.used) > IDS_KEPT:
                del state.used[next(iter(state.used))]
        code = self._time(message.get("header"))
        if code:
            return self._result(state, message, code)
        args = message.get("args")
        if not isinstance(args, list) or len(args) != 1:
            return self._result(state, message, 10001, "params error: args takes one object")
        outcome = self.account.do(op, args[0], limited=self.limits)
        if outcome.code == 10404:
            return self._unknown(state, message)
        self.told_first = self._rng.random() < 0.5 if self.overtake is None else self.overtake
        details = {} if outcome.details is None else {"list": outcome.details}
        return self._result(state, message, outcome.code, outcome.text, outcome.data, details, outcome.quota)

    def _time(self, header: Any) -> int:
        """0 if a request comes in its time, else its code."""
        if not isinstance(header, dict):
            return 10001
        stamp, window = header.get("X-BAPI-TIMESTAMP"), header.get("X-BAPI-RECV-WINDOW", RECV_WINDOW_MS)
        if not DIGITS.fullmatch(str(stamp)) or not DIGITS.fullmatch(str(window)):
            return 10001
        said, late = int(str(stamp)), int(str(window))
        clocks = (time.time_ns() // 1_000_000, self._feeds.now_ms)
        return 0 if any(now - late <= said < now + EARLY_MS for now in clocks) else 10002

    def _login_result(self, state: _State, message: Any, code: int | str, words: str) -> str:
        echo = self._echo(message, "reqId") if state.first else {}
        return wire_json({**echo, "retCode": code, "retMsg": words, "op": "auth", "connId": state.conn_id})

    def _unknown(self, state: _State, message: Any) -> str:
        """There is no such op, or not in this category (observed)."""
        said = {"retCode": 10404, "retMsg": "", "connId": state.conn_id}
        return wire_json({"op": self.method(message) or "", **self._echo(message, "reqId"), **said})

    def _result(
        self,
        state: _State,
        message: Any,
        code: int | str,
        words: str | None = None,
        data: Mapping[str, object] | None = None,
        details: Mapping[str, object] | None = None,
        quota: Quota | None = None,
    ) -> str:
        now_ms = self._feeds.now_ms
        limits: dict[str, str] = {}
        if quota is not None:
            limits = {
                "X-Bapi-Limit": str(quota.most),
                "X-Bapi-Limit-Status": str(quota.left),
                "X-Bapi-Limit-Reset-Timestamp": str(now_ms + quota.reset_ms),
            }
        trace = {"Traceid": f"{state.rng.getrandbits(128):032x}"}
        stamp = {"Timenow": str(now_ms)}
        return wire_json(
            {
                **self._echo(message, "reqId"),
                "retCode": code,
                "retMsg": MESSAGES.get(code, "") if words is None else words,
                "op": self.method(message) or "",
                "data": data or {},
                "retExtInfo": details or {},
                "header": {**limits, **trace, **stamp} if state.first else {**stamp, **limits, **trace},
                "connId": state.conn_id,
            }
        )
