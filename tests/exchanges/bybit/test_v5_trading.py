"""The sandbox's Bybit V5, private socket and orders: messages in, messages out, without a server but for the last part."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import random
from collections import Counter
from decimal import Decimal

import pytest
import websocket

from exchange_ws.exchanges.bybit import v5_account, v5_trading
from exchange_ws.exchanges.bybit.v5_sandbox import V5Spot
from exchange_ws.exchanges.bybit.v5_trading import DCP_WINDOW_US, V5Private, V5Trade
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.market import INSTRUMENTS, markets_at
from exchange_ws.sandbox.server import Credentials

#: Seconds for one read; reached only when something is broken.
PATIENCE_S = 5.0
D = Decimal
EPOCH_US = 1_700_000_000_000_000
STEP_US = 100_000
OPTION = "BTC-27DEC26-70000-C"
FEW = tuple(what for what in INSTRUMENTS if (what.base, what.quote) in (("BTC", "USDT"), ("ETH", "USDT")))
KNOWN = ("order", "execution", "execution.fast", "position", "wallet", "greeks")
#: A limit order far below the market, for each category.
RESTING = {
    "spot": {"symbol": "BTCUSDT", "qty": "0.01", "price": "50000"},
    "linear": {"symbol": "BTCUSDT", "qty": "0.01", "price": "50000"},
    "inverse": {"symbol": "BTCUSD", "qty": "100", "price": "50000"},
    "option": {"symbol": OPTION, "qty": "0.1", "price": "3000", "orderLinkId": "an-option"},
}


class World:
    """The endpoints, and a connection to each of them, logged in; all topics are subscribed."""

    def __init__(self, seed=3, topics=KNOWN):
        self.markets = markets_at(EPOCH_US, seed, FEW)
        self.spot = V5Spot(self.markets, Credentials("key", "secret", "token"), seed)
        self.private, self.trade = self.spot.further[-2:]
        self.ear, self.mouth = self.private.open(1), self.trade.open(2)
        assert self.hear("auth", self.login())["success"] is True
        assert 0 == self.say({"op": "auth", "args": self.login()})["retCode"]
        if topics:
            assert self.hear("subscribe", list(topics))["success"] is True
        self.account = self.private.account
        self.account.clock = lambda: self.seconds
        self.seconds = 0.0
        self.numbers = iter(range(10**6))

    @property
    def now_ms(self):
        return self.markets.now_us // 1000

    def login(self, *, key="key", secret="secret", expires=None):
        expires = self.now_ms + 10_000 if expires is None else expires
        return [key, expires, hmac.new(secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()]

    def hear(self, op, args=None, ear=None, **more):
        """The answer of the private socket."""
        message = {"op": op, **({} if args is None else {"args": args}), **more}
        return json.loads(self.private.answer(ear or self.ear, message)[0])

    def another_ear(self):
        """Another connection to the private socket, logged in."""
        ear = self.private.open(99)
        assert self.hear("auth", self.login(), ear)["success"] is True
        return ear

    def say(self, message, mouth=None):
        """The answer of the socket for orders."""
        return json.loads(self.trade.answer(mouth or self.mouth, message)[0])

    def ask(self, op, body, **more):
        """An op with its header; its own quota is never used up."""
        self.seconds += 2
        header = {"X-BAPI-TIMESTAMP": str(self.now_ms)}
        return self.say({"op": op, "reqId": f"r{next(self.numbers)}", "header": header, "args": [body], **more})

    def do(self, op, **body):
        """The `data` of an op that succeeds."""
        answer = self.ask(op, body)
        assert (0, "OK") == (answer["retCode"], answer["retMsg"])
        return answer["data"]

    def create(self, category="spot", **body):
        """Place an order; a limit order that rests, if nothing else is said. Its id."""
        defaults = {**RESTING[category], "side": "Buy", "orderType": "Limit"}
        return self.do("order.create", category=category, **{**defaults, **body})["orderId"]

    def code(self, op, **body):
        """The code of an op that fails, after which nothing has happened."""
        before = [self.account.orders(category) for category in RESTING]
        answer = self.ask(op, body)
        assert ({}, {}) == (answer["data"], answer["retExtInfo"])
        assert [] == self.told()
        assert before == [self.account.orders(category) for category in RESTING]
        return answer["retCode"]

    def step(self, n=1):
        for _ in range(n):
            self.markets.step(self.markets.now_us + STEP_US)
            for endpoint in (self.spot, *self.spot.further):
                endpoint.beat()

    def told(self, ear=None):
        """Messages since the last time."""
        return [json.loads(text) for text in self.private.publish(ear or self.ear)]

    def rows(self, topic, ear=None):
        """Rows of one topic since the last time; the others are forgotten."""
        return [row for message in self.told(ear) if message["topic"] == topic for row in message["data"]]

    def market(self, category="spot", symbol=None):
        return self.spot._feeds.categories[category][symbol or RESTING[category]["symbol"]]

    def trade_at(self, category, side, price, size):
        """Let others trade at *price*."""
        market = self.market(category)
        what = market.instrument
        self.markets.step(self.markets.now_us + STEP_US)
        market.trade(side, int(D(price) / what.tick), int(D(size) / what.lot))
        for endpoint in (self.spot, *self.spot.further):
            endpoint.beat()


@pytest.fixture
def world():
    return World()


@pytest.fixture(scope="module")
def still():
    """A world for tests that change nothing, or only connections of their own."""
    return World()


# The private socket ----------------------------------------------------------------------------------------------------------


def test_private_pong(still):
    """It has the time as text, and the id of the ping only if there was one."""
    assert ["op", "args", "conn_id"] == list(still.hear("ping"))
    pong = still.hear("ping", req_id=7)
    assert ("7", "pong", [str(still.now_ms)]) == (pong["req_id"], pong["op"], pong["args"])


def test_private_login(still):
    """A wrong key, signature or time, and what is no login, is refused, and does not harm the login that there was."""
    world = still
    ear = world.private.open(3)
    for args, said in (
        (world.login(secret="wrong"), "Params Error"),
        (world.login(expires=world.now_ms), "Params Error"),
        (world.login(expires="soon"), "Params Error"),
        (world.login(key="wrong"), "API key is invalid."),
        (["key"], "Params Error"),
        (None, "Params Error"),
        ([1.5, [], {}], "Params Error"),
    ):
        answer = world.hear("auth", args, ear)
        assert (False, said, "auth") == (answer["success"], answer["ret_msg"], answer["op"])
        assert "Request not authorized" == world.hear("subscribe", ["order"], ear)["ret_msg"]
    for _ in range(2):
        answer = world.hear("auth", world.login(), ear, req_id="1")
        assert (True, "", "1") == (answer["success"], answer["ret_msg"], answer["req_id"])
    world.hear("auth", world.login(secret="wrong"), ear)
    assert world.hear("subscribe", ["order"], ear)["success"] is True


@pytest.mark.parametrize(
    "names",
    [
        ["order", "execution", "execution.fast", "position", "wallet", "greeks"],
        ["order.spot", "order.linear", "order.inverse", "order.option", "wallet"],
        ["execution.spot", "execution.fast.option", "position.linear"],
        ["dcp.future", "dcp.spot", "dcp.option", "strategy", "spread.order", "spread.execution", "rfq.open.rfqs"],
    ],
    ids=["all in one", "by category", "more by category", "without pushes"],
)
def test_private_topics(still, names):
    """Every documented topic can be subscribed, again too, and unsubscribed."""
    ear = still.another_ear()
    for op in ("subscribe", "subscribe", "unsubscribe", "unsubscribe"):
        answer = still.hear(op, names, ear, req_id=5)
        assert (True, "", op, "5") == tuple(answer[name] for name in ("success", "ret_msg", "op", "req_id"))


def failure(good, bad):
    """The words for a request of which some topics are subscribed, with either sign between topics."""
    return [v5_trading.PARTIAL.format(sign.join(good), sign.join(bad)) for sign in (" ", ", ")]


@pytest.mark.parametrize(
    ("names", "good", "bad"),
    [
        (["ticketInfo"], [], ["ticketInfo"]),
        (["order", "nosuch", "wallet"], ["order", "wallet"], ["nosuch"]),
        (["order", "execution.spot"], ["order"], ["execution.spot"]),
        (["execution.spot", "wallet", "order"], ["execution.spot", "wallet"], ["order"]),
        (["position.spot"], [], ["position.spot"]),
        (["wallet.spot", "dcp.linear", "Order"], [], ["wallet.spot", "dcp.linear", "Order"]),
    ],
)
def test_a_part_is_subscribed(still, names, good, bad):
    """What can be subscribed is, although the answer says no; all-in-one and categorised topics do not go together."""
    ear = still.another_ear()
    answer = still.hear("subscribe", names, ear)
    assert answer["success"] is False and answer["ret_msg"] in failure(good, bad)
    assert set(good) == set(ear.topics)


@pytest.mark.parametrize("args", [["publicTrade.BTCUSDT"], ["order", "tickers.BTCUSDT"], [], None, "order", [1], [["order"]]])
def test_private_params_error(still, args):
    """Public topics, and what is no list of topics, are refused as a whole."""
    ear = still.another_ear()
    answer = still.hear("subscribe", args, ear)
    assert (False, "Params Error", {}) == (answer["success"], answer["ret_msg"], ear.topics)


@pytest.mark.parametrize("message", [{}, [], "ping", 5, None, {"op": "greet"}, {"op": ["auth"]}])
def test_private_nonsense(still, message):
    """Other messages are refused, and so is what is not JSON."""
    for text in (still.private.answer(still.ear, message)[0], still.private.malformed(still.ear, "{")):
        assert (False, "Params Error") == tuple(json.loads(text)[name] for name in ("success", "ret_msg"))


def test_refuse_privately(still):
    """The switch of the sandbox refuses in this socket's words; there is no room for a code."""
    message = {"op": "subscribe", "args": ["order"], "req_id": "9"}
    for code, text, said in ((None, None, "error:refused by the sandbox"), (5, None, "error:5"), (5, "no", "no")):
        answer = json.loads(still.private.refuse(still.ear, message, code, text))
        assert (False, said, "9") == (answer["success"], answer["ret_msg"], answer["req_id"])
    assert json.loads(still.private.too_many(still.ear, message))["success"] is False


def test_by_category(world):
    """A categorised topic has its own category only, and its own name; nothing is told of what was before."""
    ear = world.another_ear()
    world.create("spot")
    world.hear("subscribe", ["order.linear", "execution.fast.linear", "position.inverse"], ear)
    for category in RESTING:
        world.create(category, orderType="Market", qty=RESTING[category]["qty"], orderLinkId=category, marketUnit="baseCoin")
    messages = {message["topic"]: message["data"] for message in world.told(ear)}
    assert {"order.linear", "execution.fast.linear", "position.inverse"} == set(messages)
    for topic, rows in messages.items():
        assert {topic.rpartition(".")[2]} == {row["category"] for row in rows}


def test_forgotten_and_unsubscribed(world):
    """Nothing is told any more."""
    world.hear("unsubscribe", ["order"])
    world.create()
    assert {"wallet"} == {message["topic"] for message in world.told()}
    world.private.forget(world.ear)
    world.create()
    assert [] == world.told()


# What is told ----------------------------------------------------------------------------------------------------------------

#: Names of the documentation by type; all others are text.
WHOLE = {
    "positionIdx",
    "triggerDirection",
    "smpGroup",
    "riskId",
    "autoAddMargin",
    "adlRankIndicator",
    "openTime",
    "seq",
    "tradeMode",
}
TRUTH = {"reduceOnly", "closeOnTrigger", "rpiTakerAccess", "isMaker", "isReduceOnly", "collateralSwitch", "marginCollateral"}
ORDER = (
    "category symbol orderId orderLinkId parentOrderLinkId blockTradeId side orderType price brokerOrderPrice qty orderIv "
    "timeInForce orderStatus cancelType rejectReason avgPrice leavesQty leavesValue cumExecQty cumExecValue cumExecFee "
    "closedPnl feeCurrency "
    "isLeverage stopOrderType ocoTriggerBy marketUnit slippageToleranceType slippageTolerance triggerPrice takeProfit stopLoss "
    "tpslMode tpLimitPrice slLimitPrice tpTriggerBy slTriggerBy triggerBy lastPriceOnCreated placeType smpType smpOrderId "
    "createdTime updatedTime rpiMatchedQty positionIdx triggerDirection smpGroup reduceOnly closeOnTrigger rpiTakerAccess "
    "cumFeeDetail"
).split()
EXECUTION = (
    "category symbol isLeverage orderId orderLinkId side orderPrice orderQty leavesQty orderType stopOrderType execFee execId "
    "execPrice execQty execPnl execType execValue execTime feeRate tradeIv markIv markPrice indexPrice underlyingPrice "
    "blockTradeId closedSize marketUnit feeCurrency isMaker seq extraFees"
).split()
FAST = "category symbol execId execPrice execQty orderId isMaker orderLinkId side execTime seq".split()
POSITION = (
    "category symbol side size positionValue riskLimitValue entryPrice markPrice leverage breakEvenPrice positionIM positionMM "
    "positionIMByMp positionMMByMp liqPrice takeProfit stopLoss trailingStop unrealisedPnl curRealisedPnl cumRealisedPnl "
    "sessionAvgPrice positionStatus createdTime updatedTime mmrSysUpdatedTime leverageSysUpdatedTime tpslMode bustPrice "
    "positionBalance positionIdx riskId autoAddMargin adlRankIndicator openTime seq tradeMode isReduceOnly"
).split()
WALLET = (
    "accountType accountIMRate accountIMRateByMp accountMMRate accountMMRateByMp accountLTV totalEquity totalWalletBalance "
    "totalMarginBalance totalAvailableBalance totalPerpUPL totalInitialMargin totalMaintenanceMargin totalInitialMarginByMp "
    "totalMaintenanceMarginByMp coin"
).split()
COIN = (
    "coin equity usdValue walletBalance locked spotHedgingQty borrowAmount accruedInterest totalOrderIM totalPositionIM "
    "totalPositionMM unrealisedPnl cumRealisedPnl bonus colRes spotBorrow free availableToBorrow availableToWithdraw "
    "collateralSwitch marginCollateral"
).split()
GREEKS = "baseCoin totalDelta totalGamma totalVega totalTheta".split()
FIELDS = {
    "order": ORDER,
    "execution": EXECUTION,
    "execution.fast": FAST,
    "position": POSITION,
    "wallet": WALLET,
    "greeks": GREEKS,
}


def check_types(row, names):
    """A row has exactly these fields, each of its documented type."""
    assert set(names) == set(row)
    for name, value in row.items():
        kind = int if name in WHOLE else bool if name in TRUTH else {"cumFeeDetail": dict, "coin": list}.get(name, str)
        if name != "coin" or isinstance(value, list):
            assert kind is type(value), name


@pytest.mark.parametrize("category", RESTING)
def test_every_field_as_documented(category):
    """Each topic has the documented fields, with the documented types, in each category."""
    world = World()
    body = {"orderType": "Market", "qty": RESTING[category]["qty"], "orderLinkId": "o1", "marketUnit": "baseCoin"}
    world.create(category, **body)
    messages = world.told()
    contracts, spot = category in ("linear", "inverse"), category == "spot"
    expected = {"order", "execution", "execution.fast", "wallet"}
    expected |= set() if spot else {"position"}
    expected |= {"greeks"} if category == "option" else set()
    assert expected == {message["topic"] for message in messages}
    for message in messages:
        topic = message["topic"]
        keys = ["topic", "creationTime", "data"] if topic == "execution.fast" else ["creationTime", "data", "id", "topic"]
        assert (sorted(keys), world.now_ms) == (sorted(message), message["creationTime"])
        more = ["createType"] if contracts and topic in ("order", "execution") else []
        more += ["delta", "gamma", "vega", "theta"] if category == "option" and topic == "position" else []
        less = {"tpslMode"} if spot and topic == "order" else set()
        for row in message["data"]:
            check_types(row, {*FIELDS[topic], *more} - less)
            for coin in row.get("coin", ()) if topic == "wallet" else ():
                assert set(COIN) == set(coin)
                assert {bool: 2, str: len(COIN) - 2} == Counter(map(type, coin.values()))


def test_order_of_messages_is_not_promised():
    """Messages of one deed come in any order; those of one order's fills tell of it in order."""
    world, first = World(), Counter()
    for _ in range(60):
        world.create("linear", orderType="Market", side=random.Random(_).choice(["Buy", "Sell"]))
        first[world.told()[0]["topic"]] += 1
    assert {"order", "execution", "execution.fast", "position", "wallet"} == set(first)


def test_answers_and_news_overtake_each_other():
    """An op's news go before its answer at times, and after it at others."""
    world = World()
    seen = set()
    for _ in range(20):
        world.create()
        seen.add(world.trade.told_first)
    assert ({False, True}, world.private) == (seen, world.trade.audience)


@pytest.mark.parametrize("overtake", [True, False])
def test_which_overtakes_may_be_chosen(overtake):
    """A switch makes all answers the one or the other."""
    world, seen = World(), set()
    world.trade.overtake = overtake
    for _ in range(10):
        world.create()
        seen.add(world.trade.told_first)
    assert {overtake} == seen


def test_filled_twice(world):
    """A switch has the end of an order told twice, in messages with an id each."""
    world.account.repeats = True
    world.create("linear", orderType="Market")
    messages = [message for message in world.told() if message["topic"] == "order"]
    assert (2, 2) == (len(messages), len({message["id"] for message in messages}))
    assert messages[0]["data"] == messages[1]["data"]


def test_keys_in_two_orders(still):
    """Both orders of keys that were seen are there, by connection."""
    world, seen = still, set()
    for serial in range(10, 30):
        ear, mouth = world.private.open(serial), world.trade.open(serial)
        first = list(world.hear("auth", world.login(), ear, req_id="1"))[0]
        echoed = "reqId" in world.say({"op": "auth", "reqId": "1", "args": world.login()}, mouth)
        seen.add((first, echoed))
    assert {"req_id", "success"} == {first for first, _ in seen}
    assert {False, True} == {echoed for _, echoed in seen}


@pytest.mark.parametrize("category", ["spot", "linear", "inverse"])
def test_rests_and_fills(category):
    """A limit order rests, is filled by others' trades at its own price, as a maker, and locks what it may cost until then."""
    world = World()
    coin = {"spot": "USDT", "linear": "USDT", "inverse": "BTC"}[category]
    market = world.market(category)
    price = f"{market.top.bid - 5 * market.instrument.tick:f}"
    amount = {"spot": "0.01", "linear": "0.010", "inverse": "100"}[category]
    number = world.create(category, price=price, qty=amount, orderLinkId="mine")
    messages = {message["topic"]: message["data"] for message in world.told()}
    (order,) = messages["order"]
    assert ("New", amount, D(price)) == (order["orderStatus"], order["leavesQty"], D(order["price"]))
    (found,) = messages["wallet"][0]["coin"]
    assert (coin, True) == (found["coin"], D(found["locked"]) + D(found["totalOrderIM"]) > 0)
    half = f"{D(amount) / 2:f}"
    world.trade_at(category, "sell", price, half)
    messages = {message["topic"]: message["data"] for message in world.told()}
    (fill,), (fast,), (order,) = messages["execution"], messages["execution.fast"], messages["order"]
    assert (number, "mine", True, D(half), D(price)) == (
        fill["orderId"],
        fill["orderLinkId"],
        fill["isMaker"],
        D(fill["execQty"]),
        D(fill["execPrice"]),
    )
    assert (fill["execId"], "", fill["seq"]) == (fast["execId"], fast["orderLinkId"], fast["seq"])
    assert ("PartiallyFilled", D(half)) == (order["orderStatus"], D(order["leavesQty"]))
    assert abs(D(order["avgPrice"]) - D(price)) < D("0.01")  # inverse: of a value that is rounded
    world.trade_at(category, "sell", price, amount)
    messages = {message["topic"]: message["data"] for message in world.told()}
    (order,) = messages["order"]
    assert ("Filled", D(0), D(amount)) == (order["orderStatus"], D(order["leavesQty"]), D(order["cumExecQty"]))
    (wallet,) = messages["wallet"]
    assert {"0"} == {row[name] for row in wallet["coin"] for name in ("locked", "totalOrderIM")}
    if category != "spot":
        (position,) = messages["position"]
        assert ("Buy", D(amount)) == (position["side"], D(position["size"]))
        assert abs(D(position["entryPrice"]) - D(price)) < D("0.01")


@pytest.mark.parametrize("category", ["linear", "inverse", "option"])
def test_positions_follow(category):
    """A contract that was bought and sold again has a position of size 0, and its profit less its fees is in the wallet."""
    world = World()
    coin = {"linear": "USDT", "inverse": "BTC", "option": "USDC"}[category]

    def balance():
        return next(D(row["walletBalance"]) for row in world.account.wallet()["coin"] if row["coin"] == coin)

    before = balance()
    world.create(category, orderType="Market", orderLinkId="o1")
    (held,) = world.account.positions(category, None)
    assert ("Buy", -1) == (held["side"], -1 if held["seq"] > 0 else held["seq"])
    world.told()
    world.create(category, side="Sell", orderType="Market", orderLinkId="o2", reduceOnly=True)
    messages = world.told()
    (position,) = [row for message in messages if message["topic"] == "position" for row in message["data"]]
    fills = [row for message in messages if message["topic"] == "execution" for row in message["data"]]
    (order,) = [row for message in messages if message["topic"] == "order" for row in message["data"]]
    assert ("", D(0), []) == (position["side"], D(position["size"]), world.account.positions(category, None))
    assert D(RESTING[category]["qty"]) == sum(D(row["closedSize"]) for row in fills)
    assert D(order["closedPnl"]) == sum(D(row["execPnl"]) for row in fills)
    assert abs(D(position["cumRealisedPnl"]) - (balance() - before)) <= D("0.00000001")
    assert position["curRealisedPnl"] == position["cumRealisedPnl"] != "0"
    if category == "option":
        greeks = next(message["data"] for message in messages if message["topic"] == "greeks")
        assert [{"baseCoin": "BTC", "totalDelta": "0", "totalGamma": "0", "totalVega": "0", "totalTheta": "0"}] == greeks


def test_a_position_of_its_own_times():
    """What a position has realized begins anew with the next one; the sum goes on."""
    world = World()
    for side in ("Buy", "Sell", "Buy"):
        world.create("linear", side=side, orderType="Market")
    row = world.account.positions("linear", "BTCUSDT")[0]
    fees = [D(fill["execFee"]) for fill in world.account.executions("linear")]
    pnl = sum(D(fill["execPnl"]) for fill in world.account.executions("linear"))
    assert D(row["curRealisedPnl"]) == -fees[0].quantize(D("0.00000001"))
    assert D(row["cumRealisedPnl"]) == (pnl - sum(fees)).quantize(D("0.00000001"))


def test_never_traded(still):
    """A position that never was has size 0 and sequence -1."""
    (row,) = still.account.positions("inverse", "ETHUSD")
    assert (-1, "0", "") == (row["seq"], row["size"], row["side"])


def test_position_told_of_orders_that_change_nothing(world):
    """Placing, amending and cancelling an order of a contract tells its position."""
    number = world.create("linear")
    told = [world.rows("position")]
    world.do("order.amend", category="linear", symbol="BTCUSDT", orderId=number, price="50001")
    told.append(world.rows("position"))
    world.do("order.cancel", category="linear", symbol="BTCUSDT", orderId=number)
    told.append(world.rows("position"))
    assert [["BTCUSDT"]] * 3 == [[row["symbol"] for row in rows] for rows in told]


def test_liquidation(world):
    """A position whose margin is lost is closed by the exchange, which says so."""
    world.create("linear", orderType="Market")
    market = world.market("linear")
    price = (market.last * D("0.85") // market.instrument.tick) * market.instrument.tick
    world.told()
    world.trade_at("linear", "sell", price, "1")
    messages = {message["topic"]: message["data"] for message in world.told()}
    (order,), (position,) = messages["order"], messages["position"]
    assert ("CreateByLiq", "Filled", True, "Market") == tuple(
        order[name] for name in ("createType", "orderStatus", "reduceOnly", "orderType")
    )
    assert ("Liq", D(0)) == (position["positionStatus"], D(position["size"]))


@pytest.mark.parametrize("category", ["spot", "linear"])
@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"timeInForce": "PostOnly", "price": "ask"}, "Rejected", "EC_PostOnlyWillTakeLiquidity"),
        ({"timeInForce": "IOC"}, "Cancelled", "EC_NoImmediateQtyToFill"),
        ({"timeInForce": "FOK"}, "Cancelled", "EC_NoEnoughQtyToFill"),
        ({"timeInForce": "PostOnly"}, "New", "EC_NoError"),
        ({"timeInForce": "RPI"}, "New", "EC_NoError"),
    ],
)
def test_accepted_and_then(category, body, status, reason):
    """What can be seen only when it is tried is accepted, and told as it has ended."""
    world = World()
    if body.get("price"):
        body = {**body, "price": f"{world.market(category).top.ask:f}"}
    world.create(category, **body)
    (order,) = world.rows("order")
    assert (status, reason, body["timeInForce"]) == (order["orderStatus"], order["rejectReason"], order["timeInForce"])


def test_spot_market_orders(world):
    """Bought at the market, a spot quantity is what to spend, unless the order says otherwise; sold, it is what to sell."""
    told = {}
    for name, body in {
        "spend": {"side": "Buy", "qty": "1000"},
        "buy": {"side": "Buy", "qty": "0.01", "marketUnit": "baseCoin"},
        "earn": {"side": "Sell", "qty": "1000", "marketUnit": "quoteCoin"},
        "sell": {"side": "Sell", "qty": "0.01"},
    }.items():
        world.create(orderType="Market", **body)
        (order,) = world.rows("order")
        told[name] = (order["orderStatus"], D(order["cumExecQty"]), D(order["cumExecValue"]))
    assert ("Filled", D("0.01")) == told["buy"][:2] == told["sell"][:2]
    for status, _, value in (told["spend"], told["earn"]):
        # Less than a step is worth remains.
        assert status in ("Filled", "PartiallyFilledCanceled") and 1000 - value < D("0.1")


def test_conditional_orders(world):
    """They wait untriggered, are told as triggered once, and then like any other; cancelled before, they are deactivated."""
    market = world.market("linear")
    up, down = f"{market.last + 100:f}", f"{market.last - 100:f}"
    buy = world.create("linear", orderType="Market", triggerPrice=up, triggerDirection=1)
    sell = world.create("linear", side="Sell", price=down, triggerPrice=down, triggerDirection=2)
    spot = world.create("spot", triggerPrice="60000", price="60000", orderFilter="StopOrder")
    rows = world.rows("order")
    assert ["Untriggered"] * 3 == [row["orderStatus"] for row in rows]
    assert [("Stop", 1), ("Stop", 2), ("Stop", 0)] == [(row["stopOrderType"], row["triggerDirection"]) for row in rows]
    world.do("order.amend", category="linear", symbol="BTCUSDT", orderId=sell, triggerPrice=f"{market.last - 200:f}")
    assert ["Untriggered"] == [row["orderStatus"] for row in world.rows("order")]
    world.trade_at("linear", "buy", f"{market.last + 150:f}", "1")
    rows = world.rows("order")
    assert [(buy, "Triggered"), (buy, "Filled")] == [(row["orderId"], row["orderStatus"]) for row in rows]
    world.do("order.cancel", category="linear", symbol="BTCUSDT", orderId=sell)
    world.do("order.cancel", category="spot", symbol="BTCUSDT", orderId=spot)
    assert ["Deactivated", "Cancelled"] == [row["orderStatus"] for row in world.rows("order")]


def test_triggered_without_the_money(world):
    """A conditional order that cannot be paid when its time comes ends, with a reason that the documentation's list has."""
    market = world.market("linear")
    price = f"{market.last + 5:f}"
    world.create("linear", orderType="Market", qty="5000", triggerPrice=price, triggerDirection=1)
    world.told()
    world.trade_at("linear", "buy", market.last + 10, "1000")
    last = world.rows("order")[-1]
    assert "EC_Others" == last["rejectReason"]


def test_an_ordinary_spot_order_has_no_trigger(world):
    """A trigger price of an order that is not a conditional one counts for nothing."""
    world.create("spot", triggerPrice="60000")
    assert ["New"] == [row["orderStatus"] for row in world.rows("order")]


def test_best_prices(world):
    """An order at a level of the book is priced there."""
    bids, asks = world.market("linear").book(3)
    number = world.create("linear", bboSideType="Queue", bboLevel="3", price="")
    (row,) = [row for row in world.account.orders("linear") if row["orderId"] == number]
    assert D(row["price"]) == list(bids)[2]
    world.create("linear", bboSideType="Counterparty", timeInForce="IOC", price="")
    assert D(world.account.orders("linear")[0]["price"]) == next(iter(asks))


def test_amend_and_cancel(world):
    """By either id; what was amended may be filled at once, and a cancelled order keeps what was filled."""
    number = world.create("spot", orderLinkId="mine")
    data = world.do("order.amend", category="spot", symbol="BTCUSDT", orderLinkId="mine", price="50001", qty="0.02")
    assert {"orderId": number, "orderLinkId": "mine"} == data
    ask = world.market().top.ask
    world.do("order.amend", category="spot", symbol="BTCUSDT", orderId=number, price=f"{ask:f}", qty="0.5")
    rows = world.rows("order")
    assert ["New", "New", "PartiallyFilled"] == [row["orderStatus"] for row in rows]
    assert ["0.01", "0.02", "0.5"] == [row["qty"] for row in rows]
    data = world.do("order.cancel", category="spot", symbol="BTCUSDT", orderId=number)
    (row,) = world.rows("order")
    assert ("PartiallyFilledCanceled", "CancelByUser", "0") == (row["orderStatus"], row["cancelType"], row["leavesQty"])
    assert ({"orderId": number, "orderLinkId": "mine"}, True) == (data, D(row["cumExecQty"]) > 0)


def test_amend_what_does_nothing(world):
    """Take profit and the like are told as they were asked for."""
    number = world.create("linear", takeProfit="80000", tpslMode="Full")
    world.do("order.amend", category="linear", symbol="BTCUSDT", orderId=number, stopLoss="40000", takeProfit="0")
    rows = [(row["takeProfit"], row["stopLoss"], row["tpslMode"]) for row in world.rows("order")]
    assert [("80000", "", "Full"), ("0", "40000", "Full")] == rows


# Orders that are refused -----------------------------------------------------------------------------------------------------

LIMIT = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "50000"}
CONTRACT = {**LIMIT, "category": "linear"}


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (170121, {**LIMIT, "symbol": "NOSUCH"}),
        (170121, {**LIMIT, "symbol": ["BTCUSDT"]}),
        (170130, {**LIMIT, "side": "buy"}),
        (170130, {**LIMIT, "orderType": "Stop"}),
        (170130, {**LIMIT, "qty": 0.01}),
        (170130, {**LIMIT, "qty": "NaN"}),
        (170130, {**LIMIT, "qty": "0"}),
        (170130, {**LIMIT, "qty": "-1"}),
        (170130, {**LIMIT, "price": ""}),
        (170130, {**LIMIT, "price": "1e5"}),
        (170130, {**LIMIT, "timeInForce": "DAY"}),
        (170130, {**LIMIT, "orderLinkId": "with blanks"}),
        (170130, {**LIMIT, "orderLinkId": "x" * 37}),
        (170130, {**LIMIT, "orderFilter": "StopOrder"}),
        (170130, {**LIMIT, "reduceOnly": "yes"}),
        (170131, {**LIMIT, "qty": "1000"}),
        (170131, {**LIMIT, "side": "Sell", "qty": "1000", "price": "70000"}),
        (170132, {**LIMIT, "side": "Sell", "price": "700000"}),
        (170133, {**LIMIT, "price": "1"}),
        (170134, {**LIMIT, "price": "50000.001"}),
        (170136, {**LIMIT, "qty": "0.0000001"}),
        (170137, {**LIMIT, "qty": "0.0100001"}),
        (170140, {**LIMIT, "qty": "0.00001"}),
        (170140, {**LIMIT, "orderType": "Market", "qty": "4"}),
        (170193, {**LIMIT, "price": "80000"}),
        (170194, {**LIMIT, "side": "Sell", "price": "50000"}),
        (10001, {**LIMIT, "positionIdx": 1}),
        (10001, {**CONTRACT, "positionIdx": 2}),
        (10001, {**CONTRACT, "symbol": "NOSUCH"}),
        (10001, {**CONTRACT, "side": None}),
        (10001, {**CONTRACT, "qty": None}),
        (10001, {**CONTRACT, "price": "50000.01"}),
        (10001, {**CONTRACT, "triggerPrice": "80000"}),
        (10001, {**CONTRACT, "triggerPrice": "80000", "triggerDirection": True}),
        (10001, {**CONTRACT, "category": "option", "symbol": OPTION, "price": "3000"}),
        (110003, {**CONTRACT, "price": "80000"}),
        (110003, {**CONTRACT, "side": "Sell"}),
        (110003, {**CONTRACT, "side": "Sell", "price": "800000"}),
        (110003, {**CONTRACT, "price": "10"}),
        (110007, {**CONTRACT, "qty": "1000"}),
        (110017, {**CONTRACT, "qty": "0.0001"}),
        (110017, {**CONTRACT, "reduceOnly": True}),
        (110092, {**CONTRACT, "triggerPrice": "60000", "triggerDirection": 1}),
        (110093, {**CONTRACT, "triggerPrice": "80000", "triggerDirection": 2}),
        (110094, {**CONTRACT, "symbol": "ETHUSDT", "qty": "0.01", "price": "400"}),
    ],
)
def test_refused_orders(still, code, body):
    """Each has the code of its category, and changes nothing."""
    assert code == still.code("order.create", **body)


@pytest.mark.parametrize(("category", "code"), [("spot", 170141), ("linear", 110072)])
def test_an_id_of_ones_own_is_unique(category, code):
    """Also when the order that had it has ended."""
    world = World()
    number = world.create(category, orderLinkId="mine")
    world.told()
    body = {**LIMIT, "category": category, "orderLinkId": "mine"}
    assert code == world.code("order.create", **body)
    world.do("order.cancel", category=category, symbol="BTCUSDT", orderId=number)
    world.told()
    assert code == world.code("order.create", **body)


@pytest.mark.parametrize("op", ["order.cancel", "order.amend"])
def test_orders_that_are_not_there(op):
    """Spot tells apart what never was, what was cancelled and what was filled; contracts have one code."""
    world = World()
    codes = {}
    for category in ("spot", "linear"):
        resting = world.create(category)
        cancelled = world.create(category)
        world.do("order.cancel", category=category, symbol="BTCUSDT", orderId=cancelled)
        filled = world.create(category, orderType="Market", marketUnit="baseCoin")
        world.told()
        asked = {"category": category, "symbol": "BTCUSDT", "price": "50001"}
        what = {
            "never": {"orderId": "1"},
            "never by link": {"orderLinkId": "nosuch"},
            "cancelled": {"orderId": cancelled},
            "filled": {"orderId": filled},
            "other symbol": {"orderId": resting, "symbol": "ETHUSDT"},
            "none": {},
            "nonsense": {"orderId": 5},
        }
        codes[category] = {name: world.code(op, **{**asked, **body}) for name, body in what.items()}
    assert {
        "never": 170213,
        "never by link": 170213,
        "cancelled": 170142,
        "filled": 170143,
        "other symbol": 170213,
        "none": 170130,
        "nonsense": 170130,
    } == codes["spot"]
    contracts = {"none": 10001, "nonsense": 10001}
    assert {name: contracts.get(name, 110001) for name in codes["spot"]} == codes["linear"]


def test_amendments_that_are_refused(world):
    """Nothing to change, and what could not be placed either."""
    number = world.create("linear", timeInForce="PostOnly")
    spot = world.create("spot", timeInForce="PostOnly", qty="0.02")
    world.told()
    order = {"category": "linear", "symbol": "BTCUSDT", "orderId": number}
    assert 10001 == world.code("order.amend", **order)
    assert 110003 == world.code("order.amend", **order, price="90000")
    assert 110007 == world.code("order.amend", **order, qty="1000")
    assert 10001 == world.code("order.amend", **order, triggerPrice="50000")
    assert 110003 == world.code("order.amend", **order, price=f"{world.market('linear').top.ask:f}")
    order = {"category": "spot", "symbol": "BTCUSDT", "orderId": spot}
    assert 170140 == world.code("order.amend", **order, qty="0.00001")
    assert 170131 == world.code("order.amend", **order, qty="100")
    assert 170218 == world.code("order.amend", **order, price=f"{world.market().top.ask:f}")


def test_too_many_spot_orders(monkeypatch):
    """Open spot orders have a cap; other categories are not counted."""
    monkeypatch.setattr(v5_account, "OPEN_MOST", 2)
    world = World()
    world.create("linear")
    first = world.create()
    world.create()
    world.told()
    assert 170810 == world.code("order.create", **LIMIT)
    world.do("order.cancel", category="spot", symbol="BTCUSDT", orderId=first)
    assert world.create()


@pytest.mark.parametrize("op", ["order.create", "order.amend", "order.cancel"])
def test_whatever_is_asked_is_answered(op):
    """A value that no client should send gets a code, in every field and category."""
    world = World()
    odd = [
        None,
        True,
        1,
        -0.5,
        "",
        "x",
        "1e400",
        "0." + "0" * 30 + "1",
        "9" * 30,
        "\u0663",
        "Infinity",
        [],
        ["Buy"],
        {},
        {"a": 1},
    ]
    names = (
        "category symbol side orderType qty price timeInForce orderLinkId orderId triggerPrice triggerDirection orderFilter "
    )
    names += "marketUnit positionIdx reduceOnly closeOnTrigger isLeverage bboSideType bboLevel takeProfit header smpType"
    codes = Counter()
    for category, name, value in itertools.product(("spot", "linear"), names.split(), odd):
        body = {**LIMIT, "category": category, "orderId": "1", name: value}
        codes[world.ask(op, body)["retCode"]] += 1
    assert all(type(code) is int for code in codes)
    assert set(codes) >= {10001, 10404, 170121, 170130}


# Batches ---------------------------------------------------------------------------------------------------------------------


def test_a_batch_of_good_and_bad(world):
    """The batch is accepted; each order has its own code, at its place, and those that are refused have no id."""
    good = {**CONTRACT, "orderLinkId": "b1"}
    orders = [good, {**CONTRACT, "price": "90000", "orderLinkId": "b2"}, good, {}]
    answer = world.ask("order.create-batch", {"category": "linear", "request": orders})
    rows, codes = answer["data"]["list"], [row["code"] for row in answer["retExtInfo"]["list"]]
    assert (0, [0, 110003, 110072, 10001]) == (answer["retCode"], codes)
    assert [True, False, False, False] == [bool(row["orderId"]) and bool(row["createAt"]) for row in rows]
    assert ["b1", "b2", "b1", ""] == [row["orderLinkId"] for row in rows]
    assert ["category", "symbol", "orderId", "orderLinkId", "createAt"] == list(rows[0]) == list(rows[3])
    assert ["b1"] == [row["orderLinkId"] for row in world.rows("order")]
    ours = {"symbol": "BTCUSDT", "orderLinkId": "b1"}
    answer = world.ask("order.amend-batch", {"category": "linear", "request": [{**ours, "qty": "0.02"}, ours]})
    assert [0, 10001] == [row["code"] for row in answer["retExtInfo"]["list"]]
    answer = world.ask("order.cancel-batch", {"category": "linear", "request": [ours, ours]})
    assert [0, 110001] == [row["code"] for row in answer["retExtInfo"]["list"]]
    assert ["category", "symbol", "orderId", "orderLinkId"] == list(answer["data"]["list"][1])
    assert [("0.020", "New"), ("0.020", "Cancelled")] == [(row["qty"], row["orderStatus"]) for row in world.rows("order")]


@pytest.mark.parametrize(("category", "most"), [("spot", 10), ("linear", 20), ("inverse", 20), ("option", 20)])
def test_size_of_a_batch(still, category, most):
    """It has a documented most, and a least of one; nothing of a batch that is too large is done."""
    world = still
    for request in ([{}] * (most + 1), [], None, ["order"], {}):
        assert 10001 == world.code("order.create-batch", category=category, request=request)
    answer = world.ask("order.cancel-batch", {"category": category, "request": [{}] * most})
    assert (0, most) == (answer["retCode"], len(answer["data"]["list"]))


# The socket for orders -------------------------------------------------------------------------------------------------------


def test_trade_pong(still):
    """In the words of this socket."""
    pong = still.say({"op": "ping"})
    assert ["retCode", "retMsg", "op", "data", "connId"] == list(pong)
    assert (0, "OK", "pong", [str(still.now_ms)]) == tuple(pong[name] for name in ("retCode", "retMsg", "op", "data"))


def test_trade_login(still):
    """Each kind of a wrong login has its code; orders are refused until there was a right one, which cannot be repeated."""
    world = still
    mouth = world.trade.open(3)
    for args, code in (
        (world.login(secret="wrong"), 10004),
        (world.login(key="wrong"), 10003),
        (world.login(expires=world.now_ms - 1), 10001),
        (["key"], 10001),
        (None, 10001),
    ):
        answer = world.say({"op": "auth", "args": args}, mouth)
        assert (code, "auth") == (answer["retCode"], answer["op"])
        answer = world.say({"op": "order.create", "reqId": "1", "args": [LIMIT]}, mouth)
        assert (10005, False) == (answer["retCode"], "reqId" in answer)
    codes = [world.say({"op": "auth", "args": world.login()}, mouth)["retCode"] for _ in range(2)]
    assert [0, 20001] == codes


@pytest.mark.parametrize(
    "message",
    [{"op": "subscribe", "args": ["order"]}, {"op": "order.nosuch"}, {"op": None}, {}, {"op": "order.create-batches"}],
)
def test_unknown_ops(still, message):
    """They are 10404, in a shape without `data` and `header`; before the login too."""
    for mouth in (still.mouth, still.trade.open(9)):
        answer = still.say({**message, "reqId": "x"}, mouth)
        assert ["op", "reqId", "retCode", "retMsg", "connId"] == list(answer)
        assert (10404, "", "x") == (answer["retCode"], answer["retMsg"], answer["reqId"])


@pytest.mark.parametrize("category", ["futures", "", None, ["spot"], 5])
def test_unknown_categories(still, category):
    """The same."""
    for op in ("order.create", "order.cancel-batch"):
        answer = still.ask(op, {**LIMIT, "category": category})
        assert (10404, False) == (answer["retCode"], "data" in answer)


@pytest.mark.parametrize("message", [[], "x", 5, None])
def test_trade_nonsense(still, message):
    """What is no request is an unknown op, and what is not JSON a wrong parameter."""
    assert 10404 == still.say(message)["retCode"]
    assert 10001 == json.loads(still.trade.malformed(still.mouth, "{"))["retCode"]


@pytest.mark.parametrize("args", [None, [], [LIMIT, LIMIT], LIMIT, "order"])
def test_one_argument(still, args):
    """An op has exactly one."""
    answer = still.say({"op": "order.create", "header": {"X-BAPI-TIMESTAMP": str(still.now_ms)}, "args": args})
    assert 10001 == answer["retCode"]


def test_answer_of_an_order(world):
    """It has every documented key, and the header's values as text."""
    answer = world.ask("order.create", {**LIMIT, "orderLinkId": "mine"}, reqId="one")
    assert ["reqId", "retCode", "retMsg", "op", "data", "retExtInfo", "header", "connId"] == list(answer)
    number = world.account.orders("spot")[0]["orderId"]
    assert ("one", 0, "OK", "order.create", {"orderId": number, "orderLinkId": "mine"}, {}) == tuple(answer.values())[:6]
    assert 19 == len(number)
    header = answer["header"]
    limits = {"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "9", "X-Bapi-Limit-Reset-Timestamp": str(world.now_ms)}
    assert {**limits, "Timenow": str(world.now_ms), "Traceid": header["Traceid"]} == header
    assert "reqId" not in world.say({"op": "order.create", "header": {"X-BAPI-TIMESTAMP": str(world.now_ms)}, "args": [LIMIT]})


def test_ids_of_requests(world):
    """One that a connection has used is 20006, also if the first was refused; another connection may use it."""
    assert [0, 20006] == [world.ask("order.create", LIMIT, reqId="same")["retCode"] for _ in range(2)]
    assert [170121, 20006] == [world.ask("order.create", {**LIMIT, "symbol": "X"}, reqId="2")["retCode"] for _ in range(2)]
    assert [10001] * 3 == [world.ask("order.create", LIMIT, reqId=reqId)["retCode"] for reqId in ("x" * 37, "", 5)]
    other = world.trade.open(3)
    world.say({"op": "auth", "args": world.login()}, other)
    header = {"X-BAPI-TIMESTAMP": str(world.now_ms)}
    assert 0 == world.say({"op": "order.create", "reqId": "same", "header": header, "args": [LIMIT]}, other)["retCode"]


def test_times(world, monkeypatch):
    """A request is good from its window before until a second after the clock of the machine, or that of the markets."""
    machine_ms = 1_800_000_000_000
    monkeypatch.setattr(v5_trading.time, "time_ns", lambda: machine_ms * 1_000_000)

    def code(**header):
        return world.ask("order.create", LIMIT, header={name.replace("_", "-"): value for name, value in header.items()})[
            "retCode"
        ]

    for now in (world.now_ms, machine_ms):
        good = [now - 5000, now, now + 999]
        assert [0, 0, 0] == [code(X_BAPI_TIMESTAMP=str(moment)) for moment in good]
        assert [10002, 10002] == [code(X_BAPI_TIMESTAMP=str(moment)) for moment in (now - 5001, now + 1000)]
        windows = [code(X_BAPI_TIMESTAMP=str(now - 7000), X_BAPI_RECV_WINDOW=window) for window in ("7000", "6999")]
        assert [0, 10002] == windows
        assert 0 == code(X_BAPI_TIMESTAMP=now)
    for bad in (
        {},
        {"X_BAPI_TIMESTAMP": ""},
        {"X_BAPI_TIMESTAMP": "soon"},
        {"X_BAPI_TIMESTAMP": True},
        {"X_BAPI_RECV_WINDOW": "1"},
    ):
        assert 10001 == code(**bad)
    for bad in (None, [], "header"):
        assert 10001 == world.ask("order.create", LIMIT, header=bad)["retCode"]


def order_now(world, op="order.create", body=None):
    """An op, without a pause before it: code, and the header's figures."""
    header = {"X-BAPI-TIMESTAMP": str(world.now_ms)}
    answer = world.say({"op": op, "header": header, "args": [LIMIT if body is None else body]})
    told = answer["header"]
    names = ("X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp")
    return (answer["retCode"], *(int(told[name]) for name in names))


def test_quota(world):
    """Ten orders a second by each op in each category; an order beyond is refused, not counted, and told when there is room."""
    now = world.now_ms
    assert [(0, 10, 9 - n, now) for n in range(10)] == [order_now(world) for _ in range(10)]
    world.seconds += 0.25
    assert [(10006, 10, 0, now + 751)] * 2 == [order_now(world) for _ in range(2)]
    assert (0, 10, 9, now) == order_now(world, body=CONTRACT)
    assert (170213, 10, 9, now) == order_now(world, "order.cancel", {**LIMIT, "orderId": "1"})
    world.seconds += 0.75
    assert (0, 10, 9, now) == order_now(world)


def test_quota_of_batches(world):
    """Each order of a batch counts."""
    batch = {"category": "linear", "request": [{}] * 20}
    seen = [order_now(world, "order.cancel-batch", batch)[:3] for _ in range(8)]
    assert [*((0, 150, 130 - 20 * n) for n in range(7)), (10006, 150, 0)] == seen


def test_without_limits(world):
    """Nobody is refused, and nothing remains."""
    world.trade.limits = False
    assert [9 - n if n < 10 else 0 for n in range(12)] == [order_now(world)[2] for _ in range(12)]
    assert 12 == len(world.account.orders("spot"))


def test_refuse_orders(world):
    """The switch of the sandbox refuses with any code; after the one for a restart the connection takes no order."""
    message = {"op": "order.create", "reqId": "1", "args": [LIMIT]}

    def refused(message, code, text=None):
        answer = json.loads(world.trade.refuse(world.mouth, message, code, text))
        return answer["retCode"], answer["op"], answer.get("reqId")

    assert (10016, "order.create", "1") == refused(message, None)
    assert (10429, "order.create", "1") == refused(message, "10429")
    assert (10404, "order.create", "1") == refused(message, 10404)
    assert ("E1", "order.create", "1") == refused(message, "E1")
    assert (10004, "auth") == refused({"op": "auth"}, None)[:2]
    assert (10403, "1") == tuple(json.loads(world.trade.too_many(world.mouth, message))[name] for name in ("retCode", "reqId"))
    assert (0, 170121) == (
        world.ask("order.create", LIMIT)["retCode"],
        world.ask("order.create", {**LIMIT, "symbol": ""})["retCode"],
    )
    assert (10019, "order.create", "1") == refused(message, 10019)
    assert [10019, 10019] == [world.ask("order.create", LIMIT)["retCode"] for _ in range(2)]
    assert 0 == world.say({"op": "ping"})["retCode"]


# Over time -------------------------------------------------------------------------------------------------------------------


def test_trades_by_itself():
    """While it is watched, the account does something of every kind; the first order of a client ends that, and cleans up."""
    world = World()
    messages = []
    for _ in range(200):
        world.step()
        messages += world.told()
    rows = [(message["topic"], row) for message in messages for row in message["data"]]
    assert set(RESTING) == {row["category"] for topic, row in rows if topic == "order"}
    assert {"New", "Filled"} <= {row["orderStatus"] for topic, row in rows if topic == "order"}
    assert {True, False} == {row["isMaker"] for topic, row in rows if topic == "execution"}
    assert {"spot", "linear", "inverse", "option"} == {row["category"] for topic, row in rows if topic == "execution.fast"}
    assert set(KNOWN) == {topic for topic, _ in rows}
    number = world.create("linear")
    world.told()
    world.step(30)
    assert [] == world.told()
    open_orders = [
        row["orderId"] for category in RESTING for row in world.account.orders(category) if row["orderStatus"] == "New"
    ]
    assert [number] == open_orders


def test_nobody_watches():
    """Nothing is done."""
    world = World(topics=())
    world.step(40)
    assert [[]] * 4 == [world.account.orders(category) for category in RESTING]


def test_same_seed_same_messages():
    """Seed, steps and requests decide everything."""

    def story(seed):
        world = World(seed)
        texts = []
        for number in range(40):
            world.step()
            texts += world.private.publish(world.ear)
            if number > 25:
                texts.append(json.dumps(world.ask("order.create", {**CONTRACT, "orderType": "Market"})))
        return texts

    assert story(4) == story(4) != story(5)


def test_everything_adds_up():
    """Whatever is ordered, what was told last is what the account has, and orders are the sum of their fills."""
    rng, world = random.Random(1), World()
    orders, fills, positions, coins, seen = {}, {}, {}, {}, set()
    for number in range(100):
        category = rng.choice(list(RESTING))
        market = world.market(category)
        what = market.instrument
        best = market.top.bid + rng.randrange(-10, 11) * what.tick
        price = f"{best if what.base != OPTION else market.top.ask:f}"
        body = {"qty": RESTING[category]["qty"], "orderLinkId": f"n{number}", "price": price}
        body.update(side=rng.choice(["Buy", "Sell"]), orderType=rng.choice(["Limit", "Market"]), marketUnit="baseCoin")
        world.create(category, **body)
        for row in world.account.orders(category)[:3]:
            if row["orderStatus"] == "New" and rng.random() < 0.3:
                world.do("order.cancel", category=category, symbol=row["symbol"], orderId=row["orderId"])
        world.step()
        for message in world.told():
            for row in message["data"]:
                if message["topic"] == "order":
                    orders[row["orderId"]] = row
                elif message["topic"] == "execution":
                    assert row["execId"] not in fills
                    fills[row["execId"]] = row
                elif message["topic"] == "execution.fast":
                    seen.add(row["execId"])
                elif message["topic"] == "position":
                    positions[row["symbol"], row["category"]] = row
                elif message["topic"] == "wallet":
                    coins.update({coin["coin"]: coin["walletBalance"] for coin in row["coin"]})
    assert seen == set(fills) and len(fills) > 40
    kept = {row["orderId"]: row for category in RESTING for row in world.account.orders(category)}
    assert {number: row["orderStatus"] for number, row in kept.items()} == {n: row["orderStatus"] for n, row in orders.items()}
    for number, row in orders.items():
        own = [fill for fill in fills.values() if fill["orderId"] == number]
        assert D(row["cumExecQty"]) == sum(D(fill["execQty"]) for fill in own)
        assert D(row["cumExecValue"]) == sum(D(fill["execValue"]) for fill in own)
        assert D(row["cumExecFee"]) == sum(D(fill["execFee"]) for fill in own)
    for (symbol, category), row in positions.items():
        own = [fill for fill in fills.values() if (fill["symbol"], fill["category"]) == (symbol, category)]
        signed = sum(D(fill["execQty"]) * (1 if fill["side"] == "Buy" else -1) for fill in own)
        assert signed == D(row["size"]) * (-1 if row["side"] == "Sell" else 1)
    assert coins == {row["coin"]: row["walletBalance"] for row in world.account.wallet()["coin"] if row["coin"] in coins}
    for category in RESTING:
        assert [fill for fill in reversed(fills.values()) if fill["category"] == category] == sorted(
            world.account.executions(category), key=lambda row: list(fills).index(row["execId"]), reverse=True
        )


def test_wallet_totals(world):
    """They are in dollars, of all coins, and what is tied up is not available."""
    world.create("spot")
    world.create("linear", orderType="Market")
    row = world.account.wallet()
    assert abs(sum(D(coin["usdValue"]) for coin in row["coin"]) - D(row["totalEquity"])) < D("0.001")
    tied = D(row["totalInitialMargin"]) + next(D(coin["locked"]) for coin in row["coin"] if coin["coin"] == "USDT")
    assert abs(D(row["totalMarginBalance"]) - tied - D(row["totalAvailableBalance"])) < D("0.000001")
    assert D(row["totalInitialMargin"]) > 60


def test_only_so_much_is_remembered(monkeypatch):
    """Orders that the account has forgotten take nothing along; their ids may be used again."""
    monkeypatch.setattr(v5_account, "KEPT", 10)
    monkeypatch.setattr("exchange_ws.sandbox.accounts.KEPT", 10)
    world = World()
    for number in range(25):
        order = world.create("spot", orderLinkId=f"n{number}")
        world.do("order.cancel", category="spot", symbol="BTCUSDT", orderId=order)
    assert 10 == len(world.account.orders("spot"))
    assert world.create("spot", orderLinkId="n0")


def test_disconnect_cancel_all():
    """
    When all connections that guard a product have been gone for ten seconds, its orders are cancelled.

    A connection that does not guard it, or does no longer, does not count; one that is back in time saves them.
    """
    world = World()
    guards = [world.another_ear(), world.another_ear()]
    for guard in guards:
        world.hear("subscribe", ["dcp.future"], guard)
    for category in RESTING:
        world.create(category)
    window = DCP_WINDOW_US // STEP_US

    def live(steps, *ears):
        """Orders that have ended while these connections were there."""
        ended = []
        for _ in range(steps):
            world.step()
            ended += [(row["category"], row["orderStatus"], row["cancelType"]) for row in world.rows("order")]
            for ear in ears:
                world.told(ear)
        return [row for row in ended if row[1] != "New"]

    world.told()
    assert [] == live(window + 10, *guards)
    assert [] == live(window + 10, guards[1])
    assert [] == live(window - 2)
    assert [] == live(5, guards[0])
    world.hear("unsubscribe", ["dcp.future"], guards[0])
    assert [] == live(window + 10)
    world.hear("subscribe", ["dcp.future"], guards[0])
    assert [] == live(1, guards[0])
    assert {("linear", "Cancelled", "CancelByDCP"), ("inverse", "Cancelled", "CancelByDCP")} == set(live(window))


# With a server ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", 600.0),
        ("max_active_time=30s", 30.0),
        ("max_active_time=1m", 60.0),
        ("x=1&max_active_time=600s", 600.0),
        ("max_active_time=10m", 600.0),
        ("max_active_time=29s", 600.0),
        ("max_active_time=11m", 600.0),
        ("max_active_time=60", 600.0),
        ("max_alive_time=1m", 600.0),
    ],
)
def test_max_active_time(still, query, seconds):
    """From 30 seconds to ten minutes, in seconds or minutes; anything else counts for nothing."""
    assert [seconds] * 2 == [endpoint.idle_of(query) for endpoint in (still.private, still.trade)]


@pytest.fixture
def box():
    with Sandbox("bybit-v5", seed=5, tick=None) as box:
        yield box


class Peer:
    """A connection by websocket-client, logged in; `news` came before the last answer."""

    def __init__(self, box, path):
        self.ws = websocket.create_connection(box.url.partition("/v5/")[0] + path, timeout=PATIENCE_S)
        self.news = []
        expires = 4_000_000_000_000
        signed = hmac.new(box.api_secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        self.ask({"op": "auth", "args": [box.api_key, expires, signed]})

    def read(self):
        return json.loads(self.ws.recv())

    def ask(self, message):
        self.ws.send(json.dumps(message))
        while True:
            answer = self.read()
            if "topic" not in answer:
                return answer
            self.news.append(answer)


@pytest.fixture
def dial(box):
    peers = []

    def dial(path):
        peers.append(Peer(box, path))
        return peers[-1]

    yield dial
    for peer in peers:
        peer.ws.shutdown()


def test_news_come_at_once(box, dial):
    """An order placed on one socket is told on others, without a step of the markets."""
    private, other, trade = dial(V5Private.path), dial(V5Private.path), dial(V5Trade.path)
    for peer in (private, other):
        assert peer.ask({"op": "subscribe", "args": ["order"]})["success"] is True
    header = {"X-BAPI-TIMESTAMP": str(EPOCH_US // 1000)}
    answer = trade.ask({"op": "order.create", "header": header, "args": [LIMIT]})
    told = [peer.read()["data"][0]["orderId"] for peer in (private, other)]
    assert [answer["data"]["orderId"]] * 2 == told
    box.trade("BTCUSDT", "sell", "50000", "1")
    assert ["Filled"] * 2 == [peer.read()["data"][0]["orderStatus"] for peer in (private, other)]


def test_a_query_says_how_long_to_wait(monkeypatch):
    """A client that said in the URL how long it may be silent is cut off then, and others are not."""
    monkeypatch.setattr(V5Private, "idle_of", lambda self, query: 0.05 if query == "max_active_time=30s" else 600.0)
    with Sandbox("bybit-v5", tick=None) as box:
        patient, hasty = Peer(box, V5Private.path), Peer(box, f"{V5Private.path}?max_active_time=30s")
        with pytest.raises(ConnectionResetError):
            hasty.ws.recv()
        assert "pong" == patient.ask({"op": "ping"})["op"]
        for peer in (patient, hasty):
            peer.ws.shutdown()


@pytest.mark.parametrize("limits", [True, False])
def test_limits_are_handed_on(limits):
    """Quotas are enforced if limits are."""
    assert limits is Sandbox("bybit-v5", tick=None, limits=limits)._endpoints[V5Trade.path].limits
