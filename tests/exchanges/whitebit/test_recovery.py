"""What WhiteBIT is asked after a loss, how its answers are read, and what of it a client is told, against the sandbox."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from exchange_facts import States

from exchange_ws import WhiteBIT
from exchange_ws.core import dialect as core_dialect
from exchange_ws.core.dialect import Found, Reading, parse_with_json
from exchange_ws.core.session import Backoff
from exchange_ws.events import Balance, Fill, Gap, Order
from exchange_ws.exchanges.whitebit import dialect
from exchange_ws.exchanges.whitebit.dialect import ACCOUNT_CHANNELS, CHANNELS, WHITEBIT, queries, read, state, topics
from exchange_ws.sandbox import Sandbox
from exchange_ws.sandbox.accounts import Refused
from exchange_ws.sandbox.server import Hangup

EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))
#: Seconds for anything to come; reached only when something is broken.
LIMIT_S = 20.0
SOON = Backoff(base=0.01, cap=0.05)
READING = Reading(1.5, Decimal, {})
WORDS = {channel: ("BTC_USDT",) if kind == "market" else () for channel, kind in ACCOUNT_CHANNELS.items()}


def topic(channel: str, *names: str, **params: Any) -> Any:
    (found,) = topics(channel, *(names or WORDS[channel]), **params)
    return found


def asked(one: Any, first: bool) -> list[tuple[str, tuple[Any, ...]]]:
    commands = queries(one, first)
    assert all(command.replay and command.kind == "call" for command in commands), "asking changes nothing"
    return [(command.method, command.args) for command in commands]


# Questions -------------------------------------------------------------------------------------------------------------------


def test_queries():
    """Each question is the documentation's query of that channel; how orders ended is asked only after a loss."""
    types = [1, 2, 202, 203, 3, 4, 7, 8, 9, 10, 14]
    executed = ("ordersExecuted_request", ({"market": "BTC_USDT", "order_types": types}, 0, 100))
    pending = ("ordersPending_request", ("BTC_USDT", 0, 100))
    deals = ("deals_request", ("BTC_USDT", 0, 100))
    assert ([pending], [pending, executed]) == tuple(asked(topic("ordersPending"), first) for first in (True, False))
    assert ([executed], [executed]) == tuple(asked(topic("ordersExecuted"), first) for first in (True, False))
    assert ([deals], [deals]) == tuple(asked(topic("deals"), first) for first in (True, False))
    for channel in ("balanceSpot", "balanceMargin"):
        assert [(f"{channel}_request", ())] == asked(topic(channel), False) == asked(topic(channel), True)
        assert [(f"{channel}_request", ("USDT",))] == asked(topic(channel, "USDT"), False)


@pytest.mark.parametrize(("chosen", "types"), [(1, [1, 3, 7, 9]), (2, [2, 202, 203, 4, 8, 10])])
def test_queries_by_filter(chosen, types):
    """Of executed orders those are asked for that the channel's filter has."""
    ((_, (what, *_)),) = asked(topic("ordersExecuted", order_filter=chosen), False)
    assert types == what["order_types"]


def test_no_queries():
    """What has no query, or one of a single market only, is not asked for."""
    settings = {"candles": {"interval": 60}}
    others = [one for label in CHANNELS for one in topics(label, "BTC_USDT", **settings.get(label, {}))]
    others += [topic(label) for label in ACCOUNT_CHANNELS if label.startswith(("positions", "borrows"))]
    assert {()} == {queries(one, first) for one in (*others, topic("deals", "*")) for first in (True, False)}


# Answers ---------------------------------------------------------------------------------------------------------------------


def result(channel: str, verb: str = "request") -> Any:
    """The documentation's answer to a query of *channel*."""
    serials = {message["id"] for message in EXAMPLES[channel]["requests"] if message["method"].endswith(f"_{verb}")}
    answers = [message["result"] for message in EXAMPLES[channel]["responses"]]
    assert serials
    return next(found for found in answers if found != {"status": "success"})


def events_of(channel: str, params: Any) -> list[Any]:
    """An update's events, for comparison."""
    update = WHITEBIT.decode(core_dialect.dump({"method": f"{channel}_update", "params": params}))
    return list(WHITEBIT.interpret(update, READING))


def test_deals_read():
    """The documentation's record is the fill that its update would have been, and keeps all that it tells."""
    answer = result("deals")
    (record,) = answer["records"]
    fields = ("id", "time", "market", "order_id", "price", "amount", "fee", "client_order_id", "side", "role", "fee_asset")
    (fill,) = events_of("deals", [record[name] for name in fields])
    assert Found((attrs.evolve(fill, raw=record),), whole=True, latest=True) == read(topic("deals"), (answer,), READING)
    assert (13663227034, Decimal("105361.32"), "taker", 1.5) == (fill.id, fill.price, fill.role, fill.received)


def test_executed_orders_read():
    """The documentation's record is an order, with the time at which it ended."""
    answer = result("ordersExecuted")
    (record,) = answer["records"]
    (order,) = read(topic("ordersExecuted"), (answer,), READING).events
    assert ("ordersExecuted", 1212266594338, 1738230617.886706) == (order.channel, order.id, order.time)
    assert ("sell", "market", Decimal("1"), "FILLED", record) == (order.side, order.type, order.filled, order.status, order.raw)


def test_pending_orders_read():
    """Those that are open, and of those that were executed how they ended."""
    answer, ended = result("ordersPending"), result("ordersExecuted")
    found = read(topic("ordersPending"), (answer, ended), READING)
    assert (True, [1212901344783], [1212266594338]) == (
        found.whole,
        [order.id for order in found.events],
        [order.id for order in found.endings],
    )
    assert {"ordersPending"} == {order.channel for order in (*found.events, *found.endings)}
    assert () == read(topic("ordersPending"), (answer,), READING).endings


def test_balances_read():
    """Answers are as updates are: those of margin balances under the names of these."""
    spot, margin = result("balanceSpot"), result("balanceMargin")
    assert Found(tuple(events_of("balanceSpot", [spot])), whole=True) == read(topic("balanceSpot"), (spot,), READING)
    (update,) = EXAMPLES["balanceMargin"]["updates"]
    assert Found(tuple(events_of("balanceMargin", update["params"])), whole=True) == (
        read(topic("balanceMargin"), (margin,), READING)
    )


def deal(number: int) -> dict[str, Any]:
    return {**result("deals")["records"][0], "id": number}


def executed(number: int, ended: float) -> dict[str, Any]:
    return {**result("ordersExecuted")["records"][0], "id": number, "ftime": ended}


@pytest.mark.parametrize(
    ("numbers", "whole", "latest"),
    [
        (range(99, 0, -1), True, True),
        (range(100, 0, -1), False, True),
        (range(1, 101), False, False),  # a page of the oldest, perhaps
        (range(1, 100), True, False),
        ((), True, True),
    ],
)
def test_pages_of_deals(numbers, whole, latest):
    """A full page has the newest only if they come first, as is not documented; events are oldest first in any case."""
    found = read(topic("deals"), ({"records": [deal(number) for number in numbers]},), READING)
    assert (sorted(numbers), whole, latest) == ([fill.id for fill in found.events], found.whole, found.latest)


@pytest.mark.parametrize(
    ("records", "latest"),
    [
        ([(number, float(number)) for number in range(100, 0, -1)], False),  # by their ids, perhaps
        ([(1000 - number, float(number)) for number in range(100, 0, -1)], True),
        ([(number, 100.0 - number) for number in range(100, 0, -1)], False),
    ],
)
def test_pages_of_executed_orders(records, latest):
    """A full page has those that ended last only if it is seen to be in that order, and not in that of the ids."""
    answer = {"records": [executed(number, ended) for number, ended in records]}
    found = read(topic("ordersExecuted"), (answer,), READING)
    in_order = [number for number, _ in sorted(records, key=lambda record: record[1])]
    assert (in_order, False, latest) == ([order.id for order in found.events], found.whole, found.latest)


def test_pages_of_pending_orders():
    """More than one page of open orders: the others may have changed."""
    answer = {**result("ordersPending"), "total": 101}
    assert not read(topic("ordersPending"), (answer, {"records": []}), READING).whole


@pytest.mark.parametrize("nonsense", [None, 7, {}, {"records": 7}, {"records": [7]}, {"records": [{}]}, [], "", {"USDT": 7}])
@pytest.mark.parametrize("channel", ["deals", "ordersExecuted", "ordersPending", "balanceSpot", "balanceMargin"])
def test_unreadable_answers(channel, nonsense):
    """An answer that is not as documented raises what `interpret` may raise."""
    if nonsense == {} and channel.startswith("balance"):
        return  # no assets
    with pytest.raises((ValueError, TypeError, LookupError)):
        read(topic(channel), (nonsense, nonsense) if channel == "ordersPending" else (nonsense,), READING)


def test_states():
    """An order is over when it is filled or cancelled; a balance is all its figures; deals have no state."""
    (order,) = events_of("ordersPending", EXAMPLES["ordersPending"]["updates"][0]["params"])
    of_order = state(topic("ordersPending"))
    value = (Decimal("90000"), Decimal(1), Decimal(0), "OPEN")
    assert (order.id, value) == of_order(order)
    for status in ("FILLED", "CANCELED"):
        assert (order.id, None) == of_order(attrs.evolve(order, status=status))
    (balance,) = events_of("balanceSpot", [{"USDT": {"available": "1", "freeze": "2"}}])
    assert ("USDT", {"USDT": {"available": "1", "freeze": "2"}}) == state(topic("balanceSpot"))(balance)
    assert (None, None) == (state(topic("deals")), state(topic("ordersExecuted")))


# Against the sandbox ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["orjson", "json"])
def parser(request, monkeypatch):
    """Both readers of JSON."""
    if request.param == "json":
        monkeypatch.setattr(dialect, "parse", parse_with_json)


@pytest.fixture
def box():
    """A WhiteBIT that moves only by `step`, without limits."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False) as box:
        yield box


class Away:
    """A client that can be kept away: its login waits for `gate`. Beside it another one, that trades."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.gate = threading.Event()
        self.gate.set()
        self._states = States()
        self.client = WhiteBIT(box.url, token=self.token, reconnect=SOON, on_state=self._states)
        self.other = box.client(reconnect=SOON)
        self.other.request_balance_spot()

    def token(self) -> str:
        assert self.gate.wait(LIMIT_S)
        return self.box.token

    def leave(self) -> None:
        """The client's connection is lost, and is not made again before `come_back`."""
        logins = len(self.box.wait_received("authorize"))
        self.gate.clear()
        self.box.drop()
        self._states.wait("reconnecting")  # or what is asked for next may be said on the lost link
        self.box.wait_received("authorize", logins + 1)  # the other one's
        self.other.request_balance_spot()  # orders do not wait until it is answered

    def come_back(self) -> None:
        self.gate.set()

    def buys(self, count: int = 1, market: str = "BTC_USDT") -> list[int]:
        """The other client buys at the market; ids of the orders."""
        return [self.other.order_market_place(market, "buy", "50")["id"] for _ in range(count)]

    def places(self, price: str, amount: str = "0.01", market: str = "BTC_USDT") -> int:
        """The other client places an order that rests."""
        return self.other.order_limit_place(market, "buy", amount, price)["id"]

    def deals(self, market: str = "BTC_USDT") -> list[int]:
        """Ids of the account's latest deals, oldest first."""
        return [record["id"] for record in self.other.request_deals(market)["records"]][::-1]

    def asks(self, method: str, before: int = 0) -> int:
        """How often the exchange was asked, by both."""
        return sum(message["method"] == method for message in self.box.received) - before


@pytest.fixture
def away(box):
    there = Away(box)
    with there.client, there.other:
        yield there


def take(subscription: Any, count: int) -> list[Any]:
    return [subscription.get(LIMIT_S) for _ in range(count)]


@pytest.mark.parametrize("before", [0, 2])
def test_missed_deals(parser, away, before):
    """
    Fills of the time without a connection are told, oldest first and once, also where none was told before; the first carries
    the gap, which is filled.
    """
    away.buys(3)  # before the stream
    deals = away.client.subscribe_deals("BTC_USDT")
    away.buys(before)
    away.box.step()
    told = take(deals, before)
    away.leave()
    away.buys(3)
    away.come_back()
    missed = take(deals, 3)
    away.buys()
    away.box.step()
    live = take(deals, 1)
    assert away.deals()[3:] == [fill.id for fill in (*told, *missed, *live)]
    assert (deals.gaps, True, None) == ([missed[0].gap], missed[0].gap.repaired, live[0].gap)
    assert {Fill} == {type(fill) for fill in missed}


def test_missed_deals_are_as_live_ones(away):
    """Another client that was there all the time is told the same fills."""
    watcher = away.other
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    there = watcher.subscribe_deals("BTC_USDT")
    away.buys(2)
    away.come_back()
    away.box.step()
    missed, live = ([attrs.evolve(fill, raw=None, received=0.0, gap=None) for fill in take(one, 2)] for one in (deals, there))
    assert live == missed


def test_too_many_missed_deals(away):
    """Of more than a query gives, the latest are told, and the gap is not filled."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.buys()
    away.box.step()
    take(deals, 1)
    away.leave()
    away.buys(101)
    away.come_back()
    missed = take(deals, 100)
    assert (away.deals(), missed[0].gap, False) == ([fill.id for fill in missed], deals.gaps[0], deals.gaps[0].repaired)


def test_several_markets(away):
    """Each market is asked for by itself, and the gap is filled when all are answered."""
    deals = away.client.subscribe_deals("BTC_USDT", "ETH_USDT")
    away.leave()
    away.buys(2)
    away.buys(2, "ETH_USDT")
    away.come_back()
    missed = take(deals, 4)
    found = {name: [fill.id for fill in missed if fill.symbol == name] for name in ("BTC_USDT", "ETH_USDT")}
    assert ({name: away.deals(name) for name in found}, True) == (found, deals.gaps[0].repaired)


def test_two_subscriptions(away):
    """Each is told what it missed, from one question."""
    first = away.client.subscribe_deals("BTC_USDT")
    second = away.client.subscribe_deals("BTC_USDT")
    away.buys()
    away.box.step()
    told = [take(one, 1)[0].id for one in (first, second)]
    before = away.asks("deals_request")
    away.leave()
    away.buys(2)
    away.come_back()
    missed = [[fill.id for fill in take(one, 2)] for one in (first, second)]
    assert (1, [True, True]) == (away.asks("deals_request", before), [one.gaps[0].repaired for one in (first, second)])
    assert [[one, *others] for one, others in zip(told, missed)] == [away.deals()] * 2


def test_another_market_meanwhile(away):
    """A subscribe that restates the channel for another market tells nothing again, and asks only for what is new."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    away.buys(2)
    away.come_back()
    missed = take(deals, 2)
    before = away.asks("deals_request")
    with away.client.subscribe_deals("ETH_USDT") as others:
        away.buys()
        away.buys(1, "ETH_USDT")
        away.box.step()
        live, other = take(deals, 1), take(others, 1)
    assert (1, [fill.id for fill in (*missed, *live)]) == (away.asks("deals_request", before), away.deals())
    assert away.deals("ETH_USDT") == [other[0].id]


def test_missed_executed_orders(parser, away):
    """Orders that ended meanwhile are told, as they ended."""
    away.buys(2)
    orders = away.client.subscribe_orders_executed("BTC_USDT")
    away.leave()
    ended = away.buys(3)
    away.come_back()
    missed = take(orders, 3)
    assert [(number, "FILLED") for number in ended] == [(order.id, order.status) for order in missed]
    assert (missed[0].gap, True) == (orders.gaps[0], orders.gaps[0].repaired)


def test_missed_pending_orders(away):
    """
    What is open now and was not told so is told, and how those ended that were open; then the gap is filled, although nobody
    tells the steps between.
    """
    old = away.places("50000")
    orders = away.client.subscribe_orders_pending("BTC_USDT")
    away.box.step()
    mine = away.places("50001")
    away.box.step()
    take(orders, 1)
    away.leave()
    new = away.places("50002")
    top = str(away.box.markets.markets[0].top.ask)
    filled = away.other.order_modify("BTC_USDT", mine, price=top)
    away.come_back()
    missed = take(orders, 1)
    assert ([new], ["OPEN"]) == ([order.id for order in missed], [order.status for order in missed])
    # The modified order ended unfilled, and came again under another id that nobody was told.
    assert ("FILLED", False) == (filled["status"], orders.gaps[0].repaired)
    away.leave()
    away.other.order_cancel("BTC_USDT", old)
    away.come_back()
    away.client.request_balance_spot()
    assert not orders.gaps[1].repaired, "an order that is cancelled unfilled is in no answer"


def test_filled_pending_orders(parser, away):
    """An order that was open, told or not, and was filled meanwhile, is told to have ended."""
    market = away.box.markets.markets[0]
    bids = [str(market.top.bid), str(market.top.bid - market.instrument.tick)]
    first = away.places(bids[0])
    orders = away.client.subscribe_orders_pending("BTC_USDT")
    second = away.places(bids[1])
    away.box.step()  # which tells it
    away.leave()
    while away.other.request_orders_pending("BTC_USDT")["total"]:
        away.box.step()
    away.come_back()
    ended = []
    while len(ended) < 2:
        order = orders.get(LIMIT_S)
        if order.status == "FILLED":
            ended.append(order)
    assert ({first, second}, True) == ({order.id for order in ended}, orders.gaps[0].repaired)
    assert ({"ordersPending"}, {Order}) == ({order.channel for order in ended}, set(map(type, ended)))


@pytest.mark.parametrize("names", [(), ("USDT", "BTC")])
def test_missed_balances(parser, away, names):
    """What differs from what was told last, or was there before, is told; the gap is filled, though steps between are not."""
    balances = away.client.subscribe_balance_spot(*names)
    away.leave()
    away.buys(3)
    away.come_back()
    missed = take(balances, 2)
    there = away.other.request_balance_spot("BTC", "USDT")
    assert (there, {Balance}) == ({one.asset: one.raw[one.asset] for one in missed}, set(map(type, missed)))
    away.buys()
    away.box.step(10)
    assert {"BTC", "USDT"} == {one.asset for one in take(balances, 2)}
    assert (missed[0].gap, True, 0) == (balances.gaps[0], balances.gaps[0].repaired, balances.qsize())


def test_missed_margin_balances(parser, away):
    """The same for the other wallet, whose answers are worded otherwise."""
    balances = away.client.subscribe_balance_margin()
    away.leave()
    away.other.collateral_order_market_place("BTC_PERP", "buy", "0.01")
    away.come_back()
    (missed,) = take(balances, 1)
    figures = away.other.request_balance_margin("USDT")["USDT"]
    assert ("USDT", Decimal(figures["available_without_borrow"]), True) == (
        missed.asset,
        missed.available,
        balances.gaps[0].repaired,
    )
    assert figures["balance"] == missed.raw["B"]


def test_every_market(away):
    """Deals of all markets cannot be asked for: what was missed stays missing, and is reported."""
    deals = away.client.subscribe_deals("*")
    away.leave()
    away.buys()
    away.come_back()
    away.client.request_balance_spot()
    away.buys()
    away.box.step()
    (live,) = take(deals, 1)
    assert (away.deals()[1:], live.gap, False) == ([live.id], deals.gaps[0], live.gap.repaired)


def test_raw(away):
    """With raw=True nothing is asked for, and the gap stays one."""
    deals = away.client.subscribe_deals("BTC_USDT", raw=True, gaps=True)
    before = away.asks("deals_request")
    away.leave()
    away.buys()
    away.come_back()
    away.client.request_balance_spot()
    away.buys()
    away.box.step()
    gap, live = take(deals, 2)
    assert (Gap, False, 0) == (type(gap), gap.repaired, away.asks("deals_request", before))
    assert away.deals()[1:] == [live["params"][0]]


def spied(away, monkeypatch, refuse):
    """The sandbox, where *refuse* is called with each query before it is answered."""
    desk = away.box._exchange._desk
    answer = desk.query

    def query(channel, params):
        refuse(channel)
        return answer(channel, params)

    monkeypatch.setattr(desk, "query", query)


def test_refused_query(away, monkeypatch, caplog):
    """A question that is refused leaves the gap as it is; the stream goes on, and one warning says why."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    away.buys()

    def refuse(channel):
        raise Refused("order", "not now")

    with monkeypatch.context() as patch:
        spied(away, patch, refuse)
        away.come_back()
        away.box.wait_received("deals_request", 2)
        away.client.request_lastprice("BTC_USDT")
    away.buys()
    away.box.step()
    (live,) = take(deals, 1)
    assert (away.deals()[1:], False) == ([live.id], live.gap.repaired)
    said = [record.getMessage() for record in caplog.records if "deals BTC_USDT" in record.getMessage()]
    assert 1 == len(said) and "code 1" in said[0], said


def test_lost_during_the_query(away, monkeypatch):
    """The next connection asks again: nothing is missing, and both gaps are filled."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    away.buys(2)
    losses = [Hangup(1011, "not now")]

    def refuse(channel):
        if losses:
            raise losses.pop()

    with monkeypatch.context() as patch:
        spied(away, patch, refuse)
        away.come_back()
        missed = take(deals, 2)
    assert away.deals() == [fill.id for fill in missed]
    assert ([], [True, True], True) == (losses, [gap.repaired for gap in deals.gaps], missed[0].gap.repaired)


def test_updates_during_the_query(away, monkeypatch):
    """A fill after the topic is stated again, and before the answer, is in both; it is told once, behind those before it."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    away.buys(2)
    desk = away.box._exchange._desk
    more = [{"market": "BTC_USDT", "side": "buy", "amount": "50"}]

    def meanwhile(channel):
        if more:
            desk.trade("order_market_place", more.pop())

    with monkeypatch.context() as patch:
        spied(away, patch, meanwhile)
        away.come_back()
        missed = take(deals, 3)
    away.buys()
    away.box.step()
    assert [fill.id for fill in (*missed, *take(deals, 1))] == away.deals()
    assert deals.gaps[0].repaired


def test_unsubscribe_during_the_query(away, monkeypatch):
    """It ends at once; what was received of the stream can be read, and nothing comes of the answer."""
    deals = away.client.subscribe_deals("BTC_USDT")
    away.leave()
    away.buys()
    asked, answer = threading.Event(), threading.Event()
    losses = [1]

    def wait(channel):
        if losses:
            losses.pop()
            asked.set()
            assert answer.wait(LIMIT_S)

    with monkeypatch.context() as patch:
        spied(away, patch, wait)
        away.come_back()
        assert asked.wait(LIMIT_S)
        leaving = threading.Thread(target=deals.unsubscribe)
        leaving.start()
        answer.set()
        leaving.join(LIMIT_S)
    assert (False, True) == (leaving.is_alive(), deals.closed)
    assert {fill.id for fill in deals} <= set(away.deals())
    with away.client.subscribe_deals("BTC_USDT") as others:
        away.buys()
        away.box.step()
        assert away.deals()[-1:] == [take(others, 1)[0].id]
