"""The sandbox's accounts: whatever is traded, balances, orders, fills and positions agree."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_ws.sandbox.accounts import (
    CANCELLED,
    FILLED,
    NEW,
    PARTIALLY_FILLED,
    REJECTED,
    Accounts,
    Balance,
    Fees,
    Fill,
    Order,
    Position,
    Refused,
)
from exchange_ws.sandbox.market import Instrument, Market, Markets

D = Decimal
EPOCH_US = 1_700_000_000_000_000
STEP_US = 100_000
#: Few and lively: a step nearly always trades. The perpetual's price runs up and down by percents.
COIN = Instrument("COIN", "USD", D("100"), D("0.01"), D("0.001"), 5_000, 1.0)
WILD = Instrument("WILD", "USD", D("1000"), D("1"), D("0.01"), 500, 1.0, True)
GOLD = Instrument("GOLD", "USD", D("1000"), D("1"), D("1"), 5_000, 1.0, perpetual=True, inverse=True)


class World:
    """Markets of their own, accounts in them, and what was told of one."""

    def __init__(self, fees=None, instruments=(COIN, WILD), **wallets):
        self.markets = Markets(EPOCH_US, seed=4, instruments=instruments)
        self.accounts = Accounts(self.markets, seed=4)
        self.account = self.accounts.open(wallets.pop("balances", {"USD": D(10_000), "COIN": D(10)}), fees=fees, **wallets)

    def step(self, n=1):
        for _ in range(n):
            self.markets.step(self.markets.now_us + STEP_US)
            self.accounts.after_step()

    def market(self, instrument=COIN):
        return self.accounts.market(instrument)

    def told(self):
        """What happened since the last call, in short."""
        return [
            (event.status if isinstance(event, Order) else event.asset if isinstance(event, Balance) else type(event).__name__)
            for event in self.account.take_events()
        ]

    def step_until(self, reached, most=3000):
        for _ in range(most):
            if reached():
                return
            self.step()
        raise AssertionError(f"not within {most} steps")


def pair(balance):
    return balance.available, balance.locked


def test_a_limit_order_rests_and_locks():
    """Far from the market it locks what it may cost, and gives it back when cancelled."""
    world = World()
    order = world.account.place(COIN, "buy", size=D("2"), price=D("50"), client_id="mine")
    assert (NEW, D(2), D(0)) == (order.status, order.left, order.filled)
    assert (D(9900), D(100)) == pair(world.account.balance("USD"))
    world.step(5)
    cancelled = world.account.cancel(world.account.find(client_id="mine").id)
    assert (CANCELLED, "asked") == (cancelled.status, cancelled.reason)
    assert (D(10_000), D(0)) == pair(world.account.balance("USD"))
    assert [NEW, "USD", CANCELLED, "USD"] == world.told()


def test_a_marketable_part_takes_levels_and_the_rest_rests():
    """The levels it takes are public trades with the same ids, and gone from the book; fees come out of what was bought."""
    world = World()
    book = list(world.market().book(3)[1].items())
    want = book[0][1] + book[1][1] + D("0.5")
    order = world.account.place(COIN, "buy", size=want, price=book[1][0])
    fills = world.account.fills
    assert (PARTIALLY_FILLED, D("0.5")) == (order.status, order.left)
    assert book[:2] == [(fill.price, fill.size) for fill in fills]
    assert [(trade.id, trade.side) for trade in list(world.market().trades)[-2:]] == [(fill.trade_id, "buy") for fill in fills]
    assert book[1][0] < world.market().top.ask
    bought = book[0][1] + book[1][1]
    assert (D(10) + bought - bought * D("0.002"), D(0)) == pair(world.account.balance("COIN"))
    assert D("0.5") * book[1][0] == world.account.balance("USD").locked
    told = world.told()
    assert [NEW, "USD", "Fill", PARTIALLY_FILLED, "USD", "COIN", "Fill", PARTIALLY_FILLED, "USD", "COIN"] == told


def test_trades_fill_what_rests():
    """Trades that reach the price fill it at its price, never by more than their size; at last it is filled whole."""
    world = World()
    price = world.market().top.bid
    order = world.account.place(COIN, "buy", size=D("5"), price=price)
    world.step_until(lambda: not world.account.orders[order.id].is_open)
    trades = {trade.id: trade for trade in world.market().trades}
    fills = world.account.fills
    assert len(fills) > 1
    for fill in fills:
        assert (price, "maker") == (fill.price, fill.role)
        assert trades[fill.trade_id].price <= price and fill.size <= trades[fill.trade_id].size
    done = world.account.orders[order.id]
    assert (FILLED, D(5), D(5) * price, D("0.005")) == (done.status, done.filled, done.value, done.fee)
    assert (D(10_000) - D(5) * price, D(0)) == pair(world.account.balance("USD"))


def test_orders_share_a_trade():
    """Several resting orders never get more of a trade than there is: the better price first, then the older one."""
    world = World()
    bid = world.market().top.bid
    orders = [world.account.place(COIN, "buy", size=D("20"), price=price) for price in (bid - D("0.01"), bid, bid)]
    world.step_until(lambda: len({fill.order_id for fill in world.account.fills}) == 3)
    by_trade = {}
    for fill in world.account.fills:
        by_trade[fill.trade_id] = by_trade.get(fill.trade_id, D(0)) + fill.size
    trades = {trade.id: trade.size for trade in world.market().trades}
    assert [] == [trade for trade, size in by_trade.items() if size > trades[trade]]
    first = list(dict.fromkeys(fill.order_id for fill in world.account.fills))
    assert [orders[1].id, orders[2].id, orders[0].id] == first


def test_market_orders():
    """By size or by funds; a fill for each level, nothing left to rest."""
    world = World()
    bought = world.account.place(COIN, "buy", funds=D("1000"))
    assert (FILLED, None, True) == (bought.status, bought.size, D(999) < bought.value <= D(1000))
    sold = world.account.place(COIN, "sell", size=D("3"))
    assert (FILLED, D(3), sold.value * D("0.002")) == (sold.status, sold.filled, sold.fee)
    assert (D(10_000) - bought.value + sold.value - sold.fee, D(0)) == pair(world.account.balance("USD"))
    assert ("COIN", "USD") == (bought.fee_asset, sold.fee_asset)


def test_immediate_orders_and_post_only():
    """ioc cancels what is left, fok all of it; post only is rejected if it would take."""
    world = World()
    price, size = next(iter(world.market().book(1)[1].items()))
    account = world.account
    fok = account.place(COIN, "buy", size=size + D(1), price=price, time_in_force="fok")
    post = account.place(COIN, "buy", size=D(1), price=price, post_only=True)
    ioc = account.place(COIN, "buy", size=size + D(1), price=price, time_in_force="ioc")
    shown = [(order.status, order.filled, order.reason) for order in (fok, post, ioc)]
    assert [(CANCELLED, D(0), "fok"), (REJECTED, D(0), "post only"), (CANCELLED, size, "ioc")] == shown
    assert [] == account.open_orders
    assert D(0) == account.balance("USD").locked


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_stop_orders(side):
    """They lock nothing and wait until the last price is there, in either direction, then are orders like others."""
    world = World()
    last = world.market().last
    stops = [last + D("0.05"), last - D("0.05")]
    orders = [world.account.place(COIN, side, size=D("0.1"), stop_price=stop) for stop in stops]
    assert [(True, True), (True, False)] == [(order.waits, order.stop_above) for order in orders]
    assert [D(0), D(0)] == [world.account.balance(asset).locked for asset in ("USD", "COIN")]
    world.step_until(lambda: all(world.account.orders[order.id].triggered for order in orders))
    assert [FILLED, FILLED] == [world.account.orders[order.id].status for order in orders]


def test_a_stop_order_that_cannot_be_paid_is_cancelled():
    """Nothing was locked for it, so its time may come too late."""
    world = World(balances={"USD": D(5)})
    order = world.account.place(COIN, "buy", size=D(9), price=D(200), stop_price=world.market().last + D("0.03"))
    world.step_until(lambda: not world.account.orders[order.id].is_open)
    assert (CANCELLED, "balance") == (world.account.orders[order.id].status, world.account.orders[order.id].reason)


@pytest.mark.parametrize(("best", "post_only", "role"), [("own", True, "maker"), ("other", False, "taker")])
def test_best_price(best, post_only, role):
    """The price is the top of a side of the book, at once or when it is triggered."""
    world = World()
    top = world.market().top
    order = world.account.place(COIN, "buy", size=D("0.01"), best=best, post_only=post_only)
    assert (top.bid if best == "own" else top.ask) == order.price
    stop = world.account.place(COIN, "sell", size=D("0.01"), best=best, post_only=post_only, stop_price=top.bid - D("0.05"))
    assert (None, True) == (stop.price, stop.waits)
    world.step_until(lambda: not world.account.open_orders)
    assert {role} == {fill.role for fill in world.account.fills}
    assert [FILLED, FILLED] == [world.account.orders[made.id].status for made in (order, stop)]


def test_modify_keeps_the_id():
    """The locked amount follows price and size; a better price takes what it now reaches."""
    world = World()
    order = world.account.place(COIN, "sell", size=D(2), price=D(200))
    order = world.account.modify(order.id, size=D(3), price=D(150))
    assert (D(3), D(150), NEW) == (order.size, order.price, order.status)
    assert (D(7), D(3)) == pair(world.account.balance("COIN"))
    bid = world.market().top.bid
    taken = world.account.modify(order.id, price=bid)
    assert (order.id, bid) == (taken.id, world.account.fills[0].price)


def test_modify_a_stop_price():
    """A stop order that waits may be given another price, on the other side of the market too; no other order has one."""
    world = World()
    last = world.market().last
    order = world.account.place(COIN, "buy", size=D(1), stop_price=last + 50)
    changed = world.account.modify(order.id, stop_price=last - 1)
    assert (True, last - 1, False) == (order.stop_above, changed.stop_price, changed.stop_above)
    world.step_until(lambda: world.market().last <= last - 1)
    assert FILLED == world.account.orders[order.id].status
    resting = world.account.place(COIN, "buy", size=D(1), price=D(50))
    waiting = world.account.place(COIN, "buy", size=D(1), stop_price=D(50))
    for number, price in ((resting.id, D(40)), (waiting.id, world.market().last)):
        with pytest.raises(Refused) as caught:
            world.account.modify(number, stop_price=price)
        assert "stop price" == caught.value.reason


def test_modify_with_a_new_id():
    """The former order ends, and one that names it has what was left."""
    world = World()
    order = world.account.place(COIN, "sell", size=D(2), price=D(200), client_id="mine")
    fresh = world.account.modify(order.id, size=D(3), new_id=True)
    assert (order.id, D(3), D(200), "mine") == (fresh.replaces, fresh.size, fresh.price, fresh.client_id)
    former = world.account.orders[order.id]
    assert (CANCELLED, "modified") == (former.status, former.reason)
    assert [fresh] == world.account.open_orders
    assert (D(7), D(3)) == pair(world.account.balance("COIN"))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("instrument", {"instrument": Instrument("NO", "SUCH", D(1), D(1), D(1), 1, 1.0)}),
        ("side", {"side": "both"}),
        ("price", {"price": D("50.001")}),
        ("price", {"price": D(0)}),
        ("price", {"price": D("NaN")}),
        ("price", {"price": D("1E+999999")}),
        ("size", {"size": D("1E+30")}),
        ("value", {"size": None, "price": None, "funds": D("1E+999999")}),
        ("stop price", {"stop_price": D("1E+999999")}),
        ("size", {"size": D("0.0001")}),
        ("size", {"size": None}),
        ("size", {"funds": D(1)}),
        ("value", {"size": None, "funds": D(10)}),
        ("stop price", {"stop_price": D("0.001")}),
        ("time in force", {"time_in_force": "day"}),
        ("time in force", {"time_in_force": "ioc", "post_only": True}),
        ("client id", {"client_id": "taken"}),
        ("balance", {"size": D(1000)}),
        ("price", {"best": "own"}),
        ("price", {"best": "worst", "price": None}),
        ("reduce only", {"instrument": WILD, "reduce_only": True}),
    ],
)
def test_refusals_change_nothing(reason, changes):
    """What cannot be done is refused by a reason, and nothing has happened."""
    world = World()
    world.account.place(COIN, "buy", size=D(1), price=D(10), client_id="taken")
    world.account.take_events()
    before = (world.account.open_orders, world.account.balances())
    arguments = {"instrument": COIN, "side": "buy", "size": D(1), "price": D(50), **changes}
    with pytest.raises(Refused) as caught:
        world.account.place(arguments.pop("instrument"), arguments.pop("side"), **arguments)
    assert reason == caught.value.reason
    assert ([], before) == (world.account.take_events(), (world.account.open_orders, world.account.balances()))


def test_unknown_orders_are_refused():
    """Finished ones too."""
    world = World()
    order = world.account.place(COIN, "buy", size=D(1), price=D(10))
    world.account.cancel(order.id)
    for deed in (world.account.cancel, world.account.modify):
        with pytest.raises(Refused) as caught:
            deed(order.id)
        assert "order" == caught.value.reason


def test_cancel_all_of_one_market_or_of_all():
    """Oldest first, and only what was asked for."""
    world = World()
    orders = [world.account.place(what, "buy", size=D(1), price=D(10)) for what in (COIN, WILD, COIN)]
    assert [orders[0].id, orders[2].id] == [order.id for order in world.account.cancel_all(COIN)]
    assert [orders[1].id] == [order.id for order in world.account.cancel_all()]
    assert (D(10_000), D(0)) == pair(world.account.balance("USD"))


def test_a_position_opens_shrinks_and_turns():
    """Size, average entry and margin follow the fills; profit is realized by what is closed; one order may turn it."""
    world = World(fees=Fees(perpetual_taker=D(0)))
    account = world.account
    account.set_leverage(WILD, 5)
    account.place(WILD, "buy", size=D("2"))
    (position,) = account.positions
    bought = sum(fill.value for fill in account.fills)
    assert (D(2), bought, 5) == (position.size, position.value, position.leverage)
    assert abs(bought / 5 - position.margin) < D("0.000001")
    assert position.mark * 2 - bought == position.unrealized_pnl
    sold = account.place(WILD, "sell", size=D("3"))
    (position,) = account.positions
    assert D(-1) == position.size
    pnl = sum(fill.pnl for fill in account.fills)
    assert position.realized_pnl == pnl < 0
    account.place(WILD, "buy", size=D("5"), reduce_only=True)
    assert [] == account.positions
    assert FILLED == sold.status
    total = D(10_000) + sum(fill.pnl for fill in account.fills)
    assert (total, D(0)) == pair(account.balance("USD"))


@pytest.mark.parametrize(("side", "other", "sign"), [("buy", "sell", 1), ("sell", "buy", -1)])
def test_an_inverse_position(side, other, sign):
    """Sizes are in the quote asset; values, margin, fees and profit in the base asset: size over entry less size over exit."""
    world = World(instruments=(GOLD,), balances={"GOLD": D(10)}, fees=Fees(perpetual_taker=D("0.001")))
    account, market = world.account, world.market(GOLD)
    opened = account.place(GOLD, side, size=D(500))
    (position,) = account.positions
    entry = opened.value
    assert (sign * 500, entry, "GOLD") == (position.size, position.value, opened.fee_asset)
    assert sum(GOLD.value(fill.price, fill.size) for fill in account.fills) == entry
    assert abs(D(500) / entry - position.entry_price) < D("0.00000001")
    mark = GOLD.value((market.top.bid + market.top.ask) / 2, D(500))
    assert sign * (entry - mark) == position.unrealized_pnl
    loss = sign * (entry - GOLD.value(position.liquidation_price, D(500)))
    assert abs(loss + position.margin * D("0.8")) < D("0.000001")
    closed = account.place(GOLD, other, size=D(500), reduce_only=True)
    pnl = sum(fill.pnl for fill in account.fills)
    assert (sign * (entry - closed.value), []) == (pnl, account.positions)
    assert (D(10) + pnl - opened.fee - closed.fee, D(0)) == pair(account.balance("GOLD"))


def test_inverse_balances_add_up():
    """Whatever is bought and sold with the last of the money, nothing is made of nothing, and no balance is negative."""
    rng = random.Random(1)
    fees = Fees(perpetual_maker=D("0.00001"), perpetual_taker=D("0.00001"))
    world = World(instruments=(GOLD,), balances={"GOLD": D(1)}, fees=fees)
    account, refused = world.account, 0
    account.set_leverage(GOLD, 2)
    for number in range(400):
        price = world.market(GOLD).last + rng.randrange(-5, 6)
        try:
            if number % 5 or not account.positions:
                size, price = D(rng.randrange(1, 3000)), rng.choice([None, price])
                account.place(GOLD, rng.choice(["buy", "sell"]), size=size, price=price)
            else:  # a part of what it has, so that there is money again
                held = account.positions[0].size
                account.place(GOLD, "sell" if held > 0 else "buy", size=abs(held) // 2 + 1, reduce_only=True)
        except Refused as refusal:
            refused += refusal.reason == "balance"
        if len(account.open_orders) > 8:
            account.cancel(rng.choice(account.open_orders).id)
        world.step()
        assert min(pair(account.balance("GOLD"))) >= 0
    fills = account.fills
    assert len(fills) > 150 and refused > 40
    assert D(1) + sum(fill.pnl - fill.fee for fill in fills) == sum(pair(account.balance("GOLD")))
    account.cancel_all()
    assert sum(position.margin for position in account.positions) == account.balance("GOLD").locked


def test_an_inverse_perpetual_takes_no_funds():
    """Its orders have sizes."""
    world = World(instruments=(GOLD,), balances={"GOLD": D(10)})
    with pytest.raises(Refused) as caught:
        world.account.place(GOLD, "buy", funds=D(1))
    assert "value" == caught.value.reason


def test_a_further_market():
    """Orders of a market that stands beside the others are filled by its trades."""
    world = World(instruments=(COIN,))
    beside = Market(GOLD, "beside", iter(range(1, 10**6)), EPOCH_US - 1)
    beside.step(EPOCH_US, busy=True)
    account = Accounts(world.markets, seed=4, further=[beside]).open({"GOLD": D(10)})
    assert FILLED == account.place(GOLD, "buy", size=D(1)).status


def test_a_margin_wallet_is_apart():
    """With a wallet of its own, perpetuals leave the spot wallet alone."""
    world = World(margin={"USD": D(500)})
    world.account.place(WILD, "sell", size=D("1"))
    spot, margin = world.account.balance("USD"), world.account.balance("USD", "margin")
    assert ((D(10_000), D(0)), True) == (pair(spot), margin.locked > 0)
    assert {"USD"} == set(world.account.balances("margin"))


def test_margin_call_and_liquidation():
    """A position that loses is called first and liquidated then; nothing beyond its margin is lost."""
    world = World()
    world.account.set_leverage(WILD, 100)
    world.account.place(WILD, "buy", size=D("1"))
    world.account.take_events()
    margin = world.account.positions[0].margin
    world.step_until(lambda: not world.account.positions)
    stages = [event.stage for event in world.account.take_events() if isinstance(event, Position)]
    assert "liquidation" in stages
    assert -margin <= sum(fill.pnl for fill in world.account.fills) < 0
    assert D(0) == world.account.balance("USD").locked


def test_leverage_moves_margin():
    """Less leverage locks more for the position that is there."""
    world = World()
    world.account.place(WILD, "sell", size=D("1"))
    world.account.set_leverage(WILD, 2)
    (position,) = world.account.positions
    assert (position.value / 2, 2) == (position.margin, position.leverage)
    assert position.margin == world.account.balance("USD").locked
    for bad in (0, 101, True, 2.5):
        with pytest.raises(Refused):
            world.account.set_leverage(WILD, bad)


def test_credit():
    """Money comes and goes, never more than is available."""
    world = World()
    world.account.credit("EUR", D(5))
    world.account.credit("EUR", D(-2))
    with pytest.raises(Refused):
        world.account.credit("EUR", D(-4))
    assert (D(3), ["EUR", "EUR"]) == (world.account.balance("EUR").available, world.told())


PRICES = st.integers(-40, 40)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 20)),
        st.tuples(
            st.just("place"),
            st.sampled_from([COIN, WILD]),
            st.sampled_from(["buy", "sell"]),
            st.integers(1, 3000),
            st.fixed_dictionaries(
                {},
                optional={
                    "price": PRICES,
                    "stop_price": PRICES,
                    "time_in_force": st.sampled_from(["gtc", "ioc", "fok"]),
                    "post_only": st.booleans(),
                    "reduce_only": st.booleans(),
                    "funds": st.integers(1, 3000),
                },
            ),
        ),
        st.tuples(st.just("modify"), st.integers(0, 9), PRICES, st.integers(1, 3000), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("leverage"), st.integers(1, 100)),
        st.tuples(st.just("cancel all")),
    ),
    max_size=25,
)


def perform(world, deed):
    """One deed; a refusal is a result like any other."""
    account, what = world.account, deed[0]
    if what == "step":
        world.step(deed[1])
    elif what == "place":
        _, instrument, side, lots, more = deed
        more = dict(more)
        for name in ("price", "stop_price"):
            if name in more:
                more[name] = world.market(instrument).last + more[name] * instrument.tick
        funds = more.pop("funds", None)
        size = {"size": lots * instrument.lot} if funds is None else {"funds": D(funds)}
        account.place(instrument, side, **size, **more)
    elif what == "leverage":
        account.set_leverage(WILD, deed[1])
    elif what == "cancel all":
        account.cancel_all()
    elif account.open_orders:
        order = account.open_orders[deed[1] % len(account.open_orders)]
        if what == "cancel":
            account.cancel(order.id)
        else:
            tick, lot = order.instrument.tick, order.instrument.lot
            price = world.market(order.instrument).last + deed[2] * tick
            account.modify(order.id, price=price, size=deed[3] * lot, new_id=deed[4])


@settings(max_examples=40, deadline=None)
@given(deeds=DEEDS, apart=st.booleans())
def test_invariants(deeds, apart):
    """
    Whatever is done, nothing is made of nothing.

    Balances are never negative; what there is in all differs from the beginning by fills, their fees and profits only; filled
    sizes, values and fees add up to the fills; what is locked is what open orders and positions need; snapshots agree with
    each other and end as the account is.
    """
    world = World(**({"margin": {"USD": D(2000)}} if apart else {}))
    account = world.account
    total = {("spot", "USD"): D(10_000), ("spot", "COIN"): D(10), ("margin", "USD"): D(2000) if apart else D(0)}
    seen, balances, events = {}, {}, []
    for deed in deeds:
        try:
            perform(world, deed)
        except Refused:
            pass
        events += account.take_events()
        for wallet in ("spot", "margin"):
            for balance in account.balances(wallet).values():
                assert min(pair(balance)) >= 0
    fills = [event for event in events if isinstance(event, Fill)]
    assert fills == list(account.fills)
    assert len(fills) == len({fill.id for fill in fills})
    for fill in fills:
        wallet = "margin" if apart and fill.instrument is WILD else "spot"
        assert (fill.value, fill.size > 0) == (fill.price * fill.size, True)
        if fill.instrument is COIN:
            sign = 1 if fill.side == "buy" else -1
            total[wallet, "COIN"] += sign * fill.size
            total[wallet, "USD"] -= sign * fill.value
        total[wallet, "USD"] += fill.pnl
        total[wallet, fill.fee_asset] -= fill.fee
    assert total == {key: sum(pair(account.balance(key[1], key[0]))) for key in total}
    for event in events:
        if isinstance(event, Order):
            former = seen.get(event.id)
            assert former is None or (former.is_open and former.filled <= event.filled)
            assert (event.status in (NEW, REJECTED)) <= (event.filled == 0)
            assert (event.status == FILLED) <= (event.size is None or event.left == 0)
            assert (event.status == PARTIALLY_FILLED) <= (event.filled > 0 and (event.size is None or event.left > 0))
            seen[event.id] = event
        elif isinstance(event, Balance):
            balances[event.wallet, event.asset] = pair(event)
        elif isinstance(event, Position):
            assert (event.size == 0) == (event.value == 0) and event.margin >= 0
    assert seen == account.orders
    assert balances == {key: pair(account.balance(key[1], key[0])) for key in balances}
    for order in account.orders.values():
        own = [fill for fill in fills if fill.order_id == order.id]
        added = tuple(sum((getattr(fill, name) for fill in own), D(0)) for name in ("size", "value", "fee"))
        assert added == (order.filled, order.value, order.fee)
    signed = sum((fill.size if fill.side == "buy" else -fill.size for fill in fills if fill.instrument is WILD), D(0))
    assert signed == sum((position.size for position in account.positions), D(0))
    margins = sum((position.margin for position in account.positions), D(0))
    sells = [order for order in account.open_orders if order.instrument is COIN and order.side == "sell" and not order.waits]
    assert sum((order.left for order in sells), D(0)) == account.balance("COIN").locked
    if not account.open_orders:
        assert margins == account.balance("USD", "margin" if apart else "spot").locked


def test_only_so_much_is_kept(monkeypatch):
    """The oldest finished orders go; open ones stay however old."""
    monkeypatch.setattr("exchange_ws.sandbox.accounts.KEPT", 3)
    world = World()
    first = world.account.place(COIN, "buy", size=D(1), price=D(10))
    others = [world.account.cancel(world.account.place(COIN, "buy", size=D(1), price=D(10)).id) for _ in range(5)]
    assert [first.id, others[3].id, others[4].id] == list(world.account.orders)


def test_same_deeds_same_events():
    """Seed, steps and orders decide everything."""

    def events():
        world = World()
        world.account.place(COIN, "buy", size=D(5), price=world.market().top.bid)
        world.account.place(WILD, "sell", size=D(1))
        world.step(50)
        return world.account.take_events()

    assert len(events()) > 10
    assert events() == events()
