"""WhiteBIT's account side in the sandbox, by a client that shares nothing with ours: logins, orders, what the channels tell."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

from exchange_ws.errors import UsageError
from exchange_ws.sandbox import Sandbox

EXAMPLES = json.loads((Path(__file__).parents[1] / "exchanges" / "whitebit" / "examples.json").read_text("utf-8"))
TOKEN_PATH = "/api/v4/profile/websocket_token"
SUCCESS = {"status": "success"}
#: Fields that an order may have or not ["Orders pending"].
OPTIONAL = {"position_side", "rpi", "retail", "reduce_only", "activation_price", "activation_condition", "activated"}
CHANNELS = {
    "balanceSpot": [],
    "balanceMargin": [],
    "ordersPending": ["BTC_USDT", "ETH_USDT", "BTC_PERP"],
    "ordersExecuted": [["BTC_USDT", "ETH_USDT", "BTC_PERP"], 0],
    "deals": [[]],
    "positionsMargin": [],
    "positionsAccountMargin": [],
    "borrowsMargin": [],
    "borrowsAccountMargin": [],
}


@pytest.fixture
def peer(box, dial):
    """One that is logged in."""
    peer = dial(box.url)
    assert SUCCESS == peer.result("authorize", box.token, "public")
    return peer


def last(peer, market="BTC_USDT"):
    return Decimal(peer.result("lastprice_request", market))


def far(peer, share="0.9", market="BTC_USDT"):
    """A price that the market does not reach soon, on its grid."""
    tick = Decimal("0.1") if market == "BTC_PERP" else Decimal("0.01")
    return str(last(peer, market) * Decimal(share) // tick * tick)


def shape(value):
    """What of a message is always the same: keys in order, kinds of values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in OPTIONAL}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "time or id" if isinstance(value, (int, float)) and value > 10**6 else type(value)


def post(url, body, headers, method="POST"):
    """Status and JSON of one HTTP request by the standard library."""
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20.0) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask_token(box, nonce, *, key=None, secret=None, path=TOKEN_PATH, spoil=(), **more):
    """One request for a token, right unless told otherwise; *spoil* names headers to leave out."""
    body = json.dumps({"request": path, "nonce": nonce, **more}).encode()
    payload = base64.b64encode(body)
    headers = {
        "Content-type": "application/json",
        "X-TXC-APIKEY": box.api_key if key is None else key,
        "X-TXC-PAYLOAD": payload.decode(),
        "X-TXC-SIGNATURE": hmac.new((secret or box.api_secret).encode(), payload, hashlib.sha512).hexdigest(),
    }
    return post(box.rest_url + TOKEN_PATH, body, {name: value for name, value in headers.items() if name not in spoil})


# Logins


def test_a_token_by_rest(box, dial):
    """It logs in; as often as one likes, until it expires."""
    status, answer = ask_token(box, 1)
    assert 200 == status and ["websocket_token"] == list(answer)
    for _ in range(2):
        assert SUCCESS == dial(box.url).result("authorize", answer["websocket_token"], "public")
    box.step(601)  # a minute and a bit
    assert {"code": 1, "message": "invalid argument"} == dial(box.url).ask("authorize", answer["websocket_token"], "public")[
        "error"
    ]


def test_token_lifetime(dial):
    """It can be told, in seconds of the market."""
    with Sandbox("whitebit", seed=3, tick=None, limits=False, token_lifetime=0.2) as box:
        token = ask_token(box, 1)[1]["websocket_token"]
        box.step(2)
        assert SUCCESS == dial(box.url).result("authorize", token, "public")
        box.step(1)
        assert 1 == dial(box.url).ask("authorize", token, "public")["error"]["code"]


def test_expire_tokens(box, dial):
    """All tokens that there were are refused; who is logged in stays so."""
    old, issued = box.token, ask_token(box, 1)[1]["websocket_token"]
    peer = dial(box.url)
    peer.result("authorize", old, "public")
    box.expire_tokens()
    for token in (old, issued):
        assert 1 == dial(box.url).ask("authorize", token, "public")["error"]["code"]
    assert SUCCESS == dial(box.url).result("authorize", box.token, "public")
    assert {"USDT"} == set(peer.result("balanceSpot_request", "USDT"))


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (401, {"key": "nobody"}),
        (401, {"secret": "guessed"}),
        (401, {"spoil": ["X-TXC-APIKEY"]}),
        (401, {"spoil": ["X-TXC-SIGNATURE"]}),
        (401, {"spoil": ["X-TXC-PAYLOAD"]}),
        (422, {"path": "/api/v4/something"}),
        (422, {"nonce": "5.0"}),
        (422, {"nonce": None}),
        (422, {"nonce": True}),
        (422, {"nonce": 1, "nonceWindow": True}),
    ],
)
def test_tokens_refused(box, status, changes):
    """In the vendor's shape; and the nonce is not used up."""
    got, answer = ask_token(box, **{"nonce": 5, **changes})
    assert (status, ["code", "message", "errors"]) == (got, list(answer))
    assert 200 == ask_token(box, 5)[0]


def test_nonces_rise(box):
    """The same one, or a smaller one, is refused; with a window each is good once, near the time."""
    assert [200, 422, 422, 200, 200] == [ask_token(box, nonce)[0] for nonce in (7, 7, 6, 8, "9")]
    now_ms = box.markets.now_us // 1000
    nonces = (now_ms, now_ms, now_ms - 4000, now_ms + 5001)
    assert [200, 422, 200, 422] == [ask_token(box, nonce, nonceWindow=True)[0] for nonce in nonces]


def test_payload_is_the_body(box):
    """What was signed is what was sent."""
    body = json.dumps({"request": TOKEN_PATH, "nonce": 9}).encode()
    for payload in (base64.b64encode(body + b" ").decode(), "?"):
        signature = hmac.new(box.api_secret.encode(), payload.encode(), hashlib.sha512).hexdigest()
        headers = {"X-TXC-APIKEY": box.api_key, "X-TXC-PAYLOAD": payload, "X-TXC-SIGNATURE": signature}
        assert 422 == post(box.rest_url + TOKEN_PATH, body, headers)[0]


def test_rest_paths_and_limit():
    """Other paths and methods are refused, and the eleventh request of a minute."""
    with Sandbox("whitebit", seed=3, tick=None) as box:
        assert 404 == post(box.rest_url + "/api/v4/else", b"{}", {})[0]
        assert 405 == post(box.rest_url + TOKEN_PATH, b"{}", {}, method="PUT")[0]
        assert [200] * 8 + [429] * 2 == [ask_token(box, nonce)[0] for nonce in range(1, 11)]


def test_only_who_has_tokens_can_expire_them():
    """Else there is nothing to do, and it is said."""
    with Sandbox("whitebit") as box:
        box._exchange = object()
        with pytest.raises(UsageError, match="no tokens"):
            box.expire_tokens()


def test_private_methods_need_the_login(box, dial):
    """Every one of them: code 6."""
    methods = [f"{channel}_{verb}" for channel in CHANNELS for verb in ("request", "subscribe", "unsubscribe")]
    methods = [method for method in methods if "_request" not in method or "balance" in method or "orders" in method]
    methods += [name for name in EXAMPLES if name.startswith(("order_", "collateral_order_"))]
    stranger = dial(box.url)
    assert {6} == {stranger.ask(method)["error"]["code"] for method in methods}


# Shapes


#: Where the market stood when the documentation's orders were placed; theirs are placed as far from the market here.
STOOD = {"ETH_USDT": Decimal(1888), "BTC_PERP": Decimal(64333)}
PLACES = [name for name in EXAMPLES if name.endswith("_place")]


@pytest.mark.parametrize("name", PLACES)
def test_answers_have_the_documented_shape(box, peer, name):
    """Each trading method's answer has the keys, in order, and the kinds of values of its example."""
    peer.result("collateral_order_market_place", {"market": "BTC_PERP", "side": "buy", "amount": "0.01"})
    (body,) = json.loads(json.dumps(EXAMPLES[name]["requests"][0]["params"]))
    order = body.get("trigger_order", body)
    for part in (body, order):
        for field in part:
            if "price" in field or field in ("take_profit", "stop_loss"):
                part[field] = far(peer, Decimal(part[field]) / STOOD[order["market"]], order["market"])
    if "amount" in order:
        order["amount"] = "30" if name == "order_stop_market_place" else "0.01"
    answer = peer.result(name, body)
    expected = EXAMPLES[name]["responses"][0]["result"]
    if name == "collateral_order_tpsl_place":
        expected["stop_loss"]["ctime"] = expected["take_profit"]["ctime"]  # left out there, by an oversight it seems
    assert (list(expected), shape(expected)) == (list(answer), shape(answer))


def test_channels_have_the_documented_shape(box, peer):
    """Each update has the keys and kinds of values of its example."""
    for channel, params in CHANNELS.items():
        assert SUCCESS == peer.result(f"{channel}_subscribe", *params)
    peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": far(peer)})
    peer.result("order_market_place", {"market": "ETH_USDT", "side": "buy", "amount": "50"})
    peer.result("collateral_order_market_place", {"market": "BTC_PERP", "side": "buy", "amount": "0.01"})
    box.step(30)
    peer.ask("ping")
    updates = {}
    for update in peer.updates:
        updates.setdefault(update["method"].rpartition("_")[0], []).append(update["params"])
    assert {
        "balanceSpot",
        "balanceMargin",
        "ordersPending",
        "ordersExecuted",
        "deals",
        "positionsMargin",
        "borrowsMargin",
    } == set(updates)
    for channel, told in updates.items():
        expected = EXAMPLES[channel]["updates"][0]["params"]
        if channel == "balanceSpot":
            assert all(set(figures) == {"available", "freeze"} for part in told for figures in part[0].values())
        elif channel == "positionsMargin":
            record = next(part["records"][0] for part in told if part["records"])
            assert shape(expected["records"][0]) == shape(record)
        elif channel == "balanceMargin":
            assert {tuple(expected[0])} == {tuple(row) for part in told for row in part}
        else:
            assert shape(expected) == shape(told[0])


def test_queries_have_the_documented_shape(box, peer):
    """Pages of records with the documented fields, newest first."""
    for _ in range(3):
        peer.result("order_market_place", {"market": "BTC_USDT", "side": "buy", "amount": "50"})
        peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": far(peer)})
    for channel in ("ordersPending", "ordersExecuted", "deals"):
        what = {"market": "BTC_USDT", "order_types": [1, 2]} if channel == "ordersExecuted" else "BTC_USDT"
        page = peer.result(f"{channel}_request", what, 1, 1)
        expected = EXAMPLES[channel]["responses"][0]["result"]
        assert (1, 1, list(expected)) == (page["limit"], page["offset"], list(page))
        assert shape(expected["records"]) == shape(page["records"])
        whole = peer.result(f"{channel}_request", what, 0, 100)["records"]
        assert whole[1:2] == page["records"] and 3 <= len(whole)
        assert whole == sorted(whole, key=lambda record: -record["id"])
    assert [] == peer.result("ordersExecuted_request", {"market": "BTC_USDT", "order_types": [1]}, 0, 30)["records"]
    assert {"available", "freeze"} == set(peer.result("balanceSpot_request")["USDT"])
    margin = peer.result("balanceMargin_request", "BTC", "USDT")
    assert shape(EXAMPLES["balanceMargin"]["responses"][0]["result"]) == shape(margin)
    assert "0.05" == margin["BTC"]["borrow"]


# What happens


def orders_told(peer):
    """Event, id and status of each pending-order update since the last call."""
    return [(event, order["id"], order["status"]) for event, order in peer.take("ordersPending")]


def test_life_of_an_order(box, peer):
    """New; modified, which ends it and begins another; cancelled; its money locked and free again."""
    peer.result("ordersPending_subscribe", "BTC_USDT")
    before = peer.result("balanceSpot_request", "USDT")["USDT"]
    given = {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": "50000", "client_order_id": "mine"}
    order = peer.result("order_limit_place", given)
    locked = peer.result("balanceSpot_request", "USDT")["USDT"]
    assert ("500", Decimal(before["available"]) - 500) == (locked["freeze"], Decimal(locked["available"]))
    assert [(1, order["id"], "OPEN")] == orders_told(peer)
    fresh = peer.result("order_modify", {"market": "BTC_USDT", "order_id": order["id"], "price": "40000"})
    assert ("40000", "0.01", "mine") == (fresh["price"], fresh["amount"], fresh["client_order_id"])
    assert [(3, order["id"], "CANCELED"), (1, fresh["id"], "OPEN")] == orders_told(peer)
    assert "CANCELED" == peer.result("order_cancel", {"market": "BTC_USDT", "client_order_id": "mine"})["status"]
    assert [(3, fresh["id"], "CANCELED")] == orders_told(peer)
    assert before == peer.result("balanceSpot_request", "USDT")["USDT"]


@pytest.mark.parametrize("number", ["1e999999", "1e-999999", "1e30", "NaN"])
def test_numbers_beyond_all_prices(peer, number):
    """An amount or a price that no market could have is an invalid argument, and never comes to be written out."""
    order = {"market": "BTC_PERP", "side": "buy", "amount": "0.1", "price": "70000"}
    oto = {"trigger_order_type": "margin_limit", "trigger_order": order, "conditional_order_type": "margin_market_oco"}
    answers = [
        peer.ask("order_market_place", {"market": "BTC_USDT", "side": "buy", "amount": number}),
        peer.ask("collateral_order_limit_place", {**order, "price": number}),
        peer.ask("collateral_order_oto_place", {**oto, "take_profit": number, "stop_loss": "1"}),
    ]
    assert [1, 1, 1] == [answer["error"]["code"] for answer in answers]


def test_an_order_that_rests_is_filled(box, peer):
    """Changed by each partial fill, at last finished and executed; its deals add up."""
    for channel in ("ordersPending", "deals", "ordersExecuted"):
        peer.result(f"{channel}_subscribe", *CHANNELS[channel])
    top = peer.result("depth_request", "BTC_USDT", 1, "0")["bids"][0][0]
    order = peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.2", "price": top})
    told = []
    for _ in range(400):
        box.step(5)
        peer.ask("ping")
        told += peer.updates
        peer.updates = []
        if any(update["method"] == "ordersExecuted_update" for update in told):
            break
    by_channel = {
        channel: [update["params"] for update in told if update["method"] == f"{channel}_update"] for channel in CHANNELS
    }
    events = [event for event, _ in by_channel["ordersPending"]]
    assert [1, *[2] * (len(events) - 2), 3] == events and len(events) > 2
    assert {order["id"]} == {deal[3] for deal in by_channel["deals"]}
    assert Decimal("0.2") == sum(Decimal(deal[5]) for deal in by_channel["deals"])
    ((executed,),) = by_channel["ordersExecuted"]
    assert (order["id"], "FILLED", "0") == (executed["id"], executed["status"], executed["left"])
    assert Decimal(executed["deal_fee"]) == sum(Decimal(deal[6]) for deal in by_channel["deals"])
    assert {(2, 1, "BTC")} == {tuple(deal[8:]) for deal in by_channel["deals"]}


def test_an_order_that_is_filled_at_once_only_ends(box, peer):
    """No event but 3."""
    peer.result("ordersPending_subscribe", "BTC_USDT")
    order = peer.result(
        "order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.001", "price": far(peer, "1.01")}
    )
    assert "FILLED" == order["status"]
    assert [(3, order["id"], "FILLED")] == orders_told(peer)


def test_a_triggered_stop_is_new_again(box, peer):
    """Event 1 twice with the same id; the second says that it is activated."""
    peer.result("ordersPending_subscribe", "BTC_USDT")
    stop = str(last(peer) + Decimal("0.05"))
    order = peer.result(
        "order_stop_limit_place",
        {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": "50000", "activation_price": stop},
    )
    assert ("gte", 0) == (order["activation_condition"], order["activated"])
    told = []
    for _ in range(200):
        box.step(5)
        told += peer.take("ordersPending")
        if len(told) > 1:
            break
    assert [(1, order["id"], 0), (1, order["id"], 1)] == [(event, seen["id"], seen["activated"]) for event, seen in told]


def test_balances_are_told_with_their_pace(box, peer):
    """Once a second those that changed, of those that were asked for; nothing because of the subscribe."""
    peer.result("balanceSpot_subscribe", "USDT", "SOL")
    box.step(20)
    assert [] == [part for part in peer.take("balanceSpot") if "BTC" in part[0] or "ETH" in part[0]]
    peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": "50000"})
    peer.take()
    box.step(10)
    (((name, figures),),) = [list(part[0].items()) for part in peer.take("balanceSpot")]
    assert ("USDT", "500") == (name, figures["freeze"])
    box.step(20)
    assert [] == peer.take("balanceSpot")
    peer.result("balanceSpot_unsubscribe")
    peer.result("order_cancel_all", {})
    box.step(20)
    assert [] == peer.take("balanceSpot")


def test_other_connections_are_told_too(box, peer, dial):
    """What one connection does, another hears of at the next step."""
    other = dial(box.url)
    other.result("authorize", box.token, "public")
    other.result("ordersPending_subscribe", "BTC_USDT")
    order = peer.result("order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": "50000"})
    box.step()
    assert [(1, order["id"], "OPEN")] == orders_told(other)


def test_filters(box, peer):
    """Markets, and kinds of executed orders, that were not asked for are not told."""
    peer.result("ordersExecuted_subscribe", ["BTC_USDT"], 1)
    peer.result("deals_subscribe", ["ETH_USDT"])
    peer.result("ordersPending_subscribe", "SOL_USDT")
    peer.result("order_market_place", {"market": "BTC_USDT", "side": "buy", "amount": "50"})
    assert [] == peer.take()
    limit = peer.result(
        "order_limit_place", {"market": "BTC_USDT", "side": "buy", "amount": "0.001", "price": far(peer, "1.01")}
    )
    assert [limit["id"]] == [order["id"] for (order,) in peer.take("ordersExecuted")]


def test_positions_and_groups(box, peer):
    """A position; take profit and stop loss for it; an OCO whose legs end each other; an OTO that becomes one."""
    peer.result("positionsMargin_subscribe")
    peer.result("collateral_order_market_place", {"market": "BTC_PERP", "side": "buy", "amount": "0.02"})
    box.step(10)
    position = peer.take("positionsMargin")[-1]["records"][0]
    assert ("BTC_PERP", "0.02", None) == (position["market"], position["amount"], position["liq_stage"])
    both = {
        "stop_loss_activation_price": far(peer, "0.9", "BTC_PERP"),
        "take_profit_activation_price": far(peer, "1.1", "BTC_PERP"),
    }
    legs = peer.result("collateral_order_tpsl_place", {"market": "BTC_PERP", **both})
    assert {"take_profit": "gte", "stop_loss": "lte"} == {name: leg["activation_condition"] for name, leg in legs.items()}
    oco = peer.result(
        "collateral_order_oco_place",
        {
            "market": "BTC_PERP",
            "side": "sell",
            "amount": "0.01",
            "price": far(peer, "1.1", "BTC_PERP"),
            "activation_price": far(peer, "0.9", "BTC_PERP"),
            "stop_limit_price": far(peer, "0.89", "BTC_PERP"),
        },
    )

    def pending():
        return [order["id"] for order in peer.result("ordersPending_request", "BTC_PERP", 0, 100)["records"]]

    assert 4 == len(pending())
    peer.result("order_cancel", {"market": "BTC_PERP", "order_id": legs["stop_loss"]["id"]})
    assert [oco["take_profit"]["id"], oco["stop_loss"]["id"]] == pending()
    ended = peer.result("order_cancel_conditional", {"market": "BTC_PERP", "order_id": oco["id"]})
    assert shape(EXAMPLES["order_cancel_conditional"]["responses"][0]["result"]) == shape(ended)
    assert [] == pending()
    trigger = {"market": "BTC_PERP", "side": "buy", "amount": "0.01", "price": far(peer, "1.01", "BTC_PERP")}
    oto = {
        "trigger_order_type": "margin_limit",
        "trigger_order": trigger,
        "conditional_order_type": "margin_market_oco",
        "take_profit": far(peer, "1.1", "BTC_PERP"),
        "stop_loss": far(peer, "0.9", "BTC_PERP"),
    }
    peer.result("collateral_order_oto_place", oto)
    assert 2 == len(pending())
    peer.result("collateral_order_market_place", {"market": "BTC_PERP", "side": "sell", "amount": "0.05", "reduce_only": True})
    box.step(10)
    assert {"total": 0, "records": []} == peer.take("positionsMargin")[-1]


def test_a_margin_call(box, peer):
    """A position that loses too much is told of, and closed; here it was made to have cost more than it did."""
    peer.result("positionsAccountMargin_subscribe")
    peer.result("collateral_order_market_place", {"market": "BTC_PERP", "side": "buy", "amount": "0.02"})
    desk = box._exchange._desk
    account = desk._account

    def lose():
        instrument, position = next(iter(account._positions.items()))
        account._positions[instrument] = attrs.evolve(position, value=position.value + position.margin * Decimal("0.9"))

    box._call(lose)
    box.step()
    ((event, told),) = peer.take("positionsAccountMargin")
    assert (2, "liquidation", "BTC_PERP") == (event, told["liq_stage"], told["market"])
    assert shape(EXAMPLES["positionsAccountMargin"]["updates"][0]["params"][1]) == shape(told)


def test_cancel_all(box, peer):
    """Of one market, of one kind, of all."""
    for market, place in (("BTC_USDT", ""), ("ETH_USDT", ""), ("BTC_PERP", "collateral_")):
        body = {"market": market, "side": "buy", "amount": "0.01", "price": far(peer, market=market)}
        peer.result(f"{place}order_limit_place", body)

    def left():
        return [
            market
            for market in ("BTC_USDT", "ETH_USDT", "BTC_PERP")
            if peer.result("ordersPending_request", market, 0, 9)["total"]
        ]

    assert {} == peer.result("order_cancel_all", {"market": "ETH_USDT", "type": ["spot", "futures", "margin"]})
    assert ["BTC_USDT", "BTC_PERP"] == left()
    peer.result("order_cancel_all", {"type": ["futures"]})
    assert ["BTC_USDT"] == left()
    peer.result("order_cancel_all", {})
    assert [] == left()


GOOD = {"market": "BTC_USDT", "side": "buy", "amount": "0.01", "price": "50000"}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("order_limit_place", []),
        ("order_limit_place", [GOOD, GOOD]),
        ("order_limit_place", ["BTC_USDT"]),
        *(("order_limit_place", [{**GOOD, **wrong}]) for wrong in [
            {"market": "NO_SUCH"}, {"market": "BTC_PERP"}, {"market": 5}, {"side": "long"}, {"amount": 0.01}, {"amount": "x"},
            {"amount": "0"}, {"amount": "NaN"}, {"amount": "100"}, {"price": "50000.001"}, {"price": None}, {"ioc": 1},
            {"client_order_id": 5}, {"stp": "maybe"},
        ]),
        ("collateral_order_limit_place", [GOOD]),
        ("order_bbo_place", [{**GOOD, "bbo_role": 3}]),
        ("collateral_order_oto_place", [{"trigger_order_type": "limit", "trigger_order": GOOD}]),
        ("collateral_order_tpsl_place", [{"market": "BTC_PERP", "stop_loss_activation_price": "1"}]),
        ("order_cancel", [{"market": "BTC_USDT", "order_id": 5}]),
        ("order_cancel", [{"market": "BTC_USDT"}]),
        ("order_modify", [{"market": "BTC_USDT", "order_id": 5, "price": "1"}]),
        ("order_cancel_conditional", [{"market": "BTC_PERP", "order_id": 5}]),
        ("order_cancel_all", [{"type": ["all"]}]),
        ("ordersPending_request", ["BTC_USDT", 0, 101]),
        ("ordersPending_request", ["BTC_USDT"]),
        ("ordersExecuted_request", ["BTC_USDT", 0, 30]),
        ("ordersPending_subscribe", []),
        ("ordersExecuted_subscribe", [["BTC_USDT"], 3]),
        ("ordersExecuted_subscribe", ["BTC_USDT"]),
        ("deals_subscribe", ["BTC_USDT"]),
        ("deals_subscribe", []),
        ("balanceSpot_subscribe", ["NOPE"]),
        ("positionsMargin_subscribe", ["BTC_PERP"]),
        ("positionsMargin_unsubscribe", ["BTC_PERP"]),
        ("borrowsMargin_subscribe", [[]]),
    ],
)  # fmt: skip
def test_refusals(box, peer, method, params):
    """What cannot be is code 1, and nothing has happened."""
    before = peer.result("balanceSpot_request")
    assert {"code": 1, "message": "invalid argument"} == peer.ask(method, *params)["error"]
    assert (before, 0) == (peer.result("balanceSpot_request"), peer.result("ordersPending_request", "BTC_USDT", 0, 9)["total"])


def test_post_only_and_ioc(box, peer):
    """Post only does not take, ioc does not rest: both are CANCELED."""
    price = far(peer, "1.01")
    post_only = peer.result("order_limit_place", {**GOOD, "price": price, "post_only": True})
    ioc = peer.result("order_limit_place", {**GOOD, "ioc": True})
    assert ["CANCELED", "CANCELED"] == [post_only["status"], ioc["status"]]


# The script


def test_the_account_trades_by_itself_while_nobody_does(box, peer):
    """Each channel has something to tell; after the first trading request there is silence."""
    for channel, params in CHANNELS.items():
        peer.result(f"{channel}_subscribe", *params)
    box.step(100)
    peer.ask("ping")
    told = {update["method"].rpartition("_")[0] for update in peer.updates}
    assert {
        "balanceSpot",
        "balanceMargin",
        "ordersPending",
        "ordersExecuted",
        "deals",
        "positionsMargin",
        "borrowsMargin",
    } == told
    peer.result("order_cancel_all", {})
    assert 0 == peer.result("ordersPending_request", "BTC_USDT", 0, 9)["total"]
    box.step(10)
    peer.take()
    box.step(100)
    assert [] == peer.take("ordersPending")


def test_nobody_watches_nothing_happens(box, peer):
    """Without a subscription to an account channel the account stands still, and the markets are the seed's."""
    before = peer.result("balanceSpot_request")
    box.step(100)
    assert before == peer.result("balanceSpot_request")


def test_the_script_goes_round(box, peer):
    """It does not run out of money or orders."""
    peer.result("deals_subscribe", [])
    counts = []
    for _ in range(10):
        box.step(70)
        counts.append(len(peer.take("deals")))
    assert all(itertools.islice(counts, 1, None))
