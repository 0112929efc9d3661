"""Bitzoom's side in the sandbox, asked by another WebSocket client: what each request is answered, in both kinds of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
import websocket

from exchange_ws.sandbox import Sandbox

LIMIT_S = 20.0
TICKER, DEPTH, KLINES, BALANCE = "/api/v1/ticker", "/api/v1/depth", "/api/v1/klines", "/api/v1/balance"
#: The framework's hash of "BTCUSDT", and of "BTCUSDT" and "20", as published.
HASH_BTC, HASH_20 = "1849315537067129065", "9673625973215015898"


class Peer:
    """A connection, and what is asked on it."""

    def __init__(self, box):
        self.ws = websocket.create_connection(box.url, timeout=LIMIT_S)

    def ask(self, text):
        """The lines of the answer, parsed, as they come in one message or in two."""
        self.ws.send(text if isinstance(text, str) else json.dumps(text))
        lines = []
        while not any(line["event"] in ("sub", "unsub", "success", "error") for line in lines):
            lines += [json.loads(line) for line in self.ws.recv().split("\n")]
        return lines

    def request(self, channel, event, data):
        return self.ask({"channel": channel, "event": event, "data": data})


@pytest.fixture(params=["seed", "framework"])
def box(request):
    with Sandbox("bitzoom", seed=3, tick=None, limits=False) as box:
        box._exchange.mode = request.param
        yield box


@pytest.fixture
def peer(box):
    peer = Peer(box)
    yield peer
    peer.ws.shutdown()


def is_seed(box):
    return box._exchange.mode == "seed"


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("{", ""),
        ("[]", ""),
        ('{"event":"ping"}', ""),
        ("[" * 100_000, ""),
        ('{"channel":"\\ud800","event":"sub","data":{}}', ""),
        ('{"channel":"/api/v1/ticker","event":"sub","data":NaN}', ""),
        ({"channel": TICKER, "event": "call", "data": {}}, TICKER),
        ({"channel": "/api/v1/nosuch", "event": "sub", "data": {}}, "/api/v1/nosuch"),
        ({"channel": "/api/v1/Ticker", "event": "sub", "data": {"symbol": "BTCUSDT"}}, "/api/v1/Ticker"),
        ({"channel": TICKER, "event": "sub", "data": {}}, TICKER),
        ({"channel": TICKER, "event": "sub"}, TICKER),
        ({"channel": TICKER, "event": "sub", "data": [1]}, TICKER),
        ({"channel": TICKER, "event": "sub", "data": {"symbol": "NOSUCH"}}, TICKER),
        ({"channel": DEPTH, "event": "sub", "data": {"symbol": "BTCUSDT", "limit": "20"}}, DEPTH),
        ({"channel": DEPTH, "event": "sub", "data": {"symbol": "BTCUSDT", "limit": 0}}, DEPTH),
        ({"channel": KLINES, "event": "sub", "data": {"symbol": "BTCUSDT", "interval": "1H", "limit": 1}}, KLINES),
        ({"channel": KLINES, "event": "sub", "data": {"symbol": "BTCUSDT", "interval": ["1h"], "limit": 1}}, KLINES),
        ({"channel": BALANCE, "event": "sub", "data": {}}, BALANCE),
        ({"channel": BALANCE, "event": "unsub", "data": {}}, BALANCE),
        ({"channel": "logon", "event": "unsub", "data": {}}, "logon"),
        ({"channel": "logon", "event": "sub", "data": {}}, "logon"),
        ({"channel": "logon", "event": "sub", "data": {"token": "a.b.c"}}, "logon"),
    ],
)
def test_refused(box, peer, text, channel):
    """An error on the request's channel: empty, as the page shows it, or words."""
    (answer,) = peer.ask(text)
    assert (channel, "error", {} if is_seed(box) else str) == (
        answer["channel"],
        answer["event"],
        answer["data"] if is_seed(box) else type(answer["data"]),
    )


def test_several_objects_in_one_message(peer):
    """The first one counts."""
    first, second = ({"channel": TICKER, "event": "sub", "data": {"symbol": symbol}} for symbol in ("BTCUSDT", "ETHUSDT"))
    lines = peer.ask(f"{json.dumps(first)}\n{json.dumps(second)}")
    assert ["BTCUSDT"] == [line["data"]["symbol"] for line in lines if "symbol" in line["data"]]


def test_confirmations(box, peer):
    """One id and nothing else; or all ids of the channel with their parameters, which are hashes."""
    peer.request(DEPTH, "sub", {"symbol": "BTCUSDT", "limit": 5})
    lines = peer.request(DEPTH, "sub", {"symbol": "BTCUSDT", "limit": 20})
    (confirmation,) = [line for line in lines if line["event"] == "sub"]
    if is_seed(box):
        assert [{}] == list(confirmation["data"].values())
        assert confirmation is lines[0]
        return
    assert {"16466673259808766642", HASH_20} == set(confirmation["data"])
    assert {"symbol": "BTCUSDT", "limit": 20} == confirmation["data"][HASH_20]
    assert (confirmation, ["event", "channel", "data"]) == (lines[-1], list(confirmation))


def test_same_again(box, peer):
    """It has the same id."""
    first, again = (peer.request(TICKER, "sub", {"symbol": "BTCUSDT"}) for _ in range(2))
    assert [list(line["data"]) for line in first if line["event"] == "sub"] == [
        list(line["data"]) for line in again if line["event"] == "sub"
    ]


def test_unsubscribe(box, peer):
    """Its id; parameters are compared by value; the end of nothing is an error, or its hash."""
    lines = peer.request(TICKER, "sub", {"symbol": "BTCUSDT"})
    (sub_id,) = next(line["data"] for line in lines if line["event"] == "sub")
    (answer,) = peer.request(TICKER, "unsub", {"symbol": "BTCUSDT", "limit": None, "other": ""})
    (again,) = peer.request(TICKER, "unsub", {"symbol": "BTCUSDT"})
    assert (sub_id, {} if is_seed(box) else HASH_BTC) == (answer["data"], again["data"] if not is_seed(box) else {})
    assert ("error" if is_seed(box) else "unsub") == again["event"]
    box.step(10)
    peer.ws.ping("after")
    peer.ws.settimeout(LIMIT_S)
    assert websocket.ABNF.OPCODE_PONG == peer.ws.recv_data_frame(control_frame=True)[0]


def signed(secret, head, claims):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    signature = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize(
    ("head", "change", "logs_in"),
    [
        ({"alg": "HS256"}, {}, True),
        ({"alg": "none"}, {}, False),
        ({"alg": "HS256"}, {"exp": 1}, False),
        ({"alg": "HS256"}, {"exp": "later"}, False),
        ({"alg": "HS256"}, {"uid": 7}, False),
        ({"alg": "HS256"}, {"uid": ""}, False),
    ],
)
def test_tokens_are_verified(box, peer, head, change, logs_in):
    """By signature, algorithm, expiry and user, as made by another hand."""
    claims = {**claims_of(box.token), **change}
    (answer,) = peer.request("logon", "sub", {"token": signed(box.api_secret, head, claims)})
    assert ("success" if logs_in else "error") == answer["event"]
    (wrong,) = peer.request("logon", "sub", {"token": signed("another secret", head, claims)})
    assert "error" == wrong["event"]
    events = {line["event"] for line in peer.request(BALANCE, "sub", {})}
    assert logs_in is ("sub" in events)  # a failed login leaves an earlier one in force


def test_what_a_login_is_answered(box, peer):
    """Nothing; or, from the framework, the token again."""
    (answer,) = peer.request("logon", "sub", {"token": box.token})
    assert (None if is_seed(box) else box.token) == answer["data"].get("apiKey")


def test_expired_tokens(box, peer):
    """They are refused at the next login; who is logged in stays so."""
    former = box.token
    peer.request("logon", "sub", {"token": former})
    box.expire_tokens()
    other = Peer(box)
    (refused,), (accepted,) = (other.request("logon", "sub", {"token": token}) for token in (former, box.token))
    other.ws.shutdown()
    events = {line["event"] for line in peer.request(BALANCE, "sub", {})}
    assert ("error", "success", True) == (refused["event"], accepted["event"], "sub" in events)


def test_one_step_in_one_message(box, peer):
    """What belongs to one step is joined by newlines; the framework has a message for each."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        peer.request(TICKER, "sub", {"symbol": symbol})
    if not is_seed(box):
        peer.request(TICKER, "unsub", {"symbol": "ETHUSDT"})
    box.step(3)
    assert (2 if is_seed(box) else 1) == len(peer.ws.recv().split("\n"))


def test_same_seed_same_stream(box):
    """Ids and pushes depend on seed, steps and requests only."""
    heard = []
    for _ in range(2):
        with Sandbox("bitzoom", seed=3, tick=None, limits=False) as other:
            peer = Peer(other)
            peer.request("logon", "sub", {"token": other.token})
            lines = peer.request("/api/v1/openorders", "sub", {})
            lines += peer.request(DEPTH, "sub", {"symbol": "BTCUSDT", "limit": 5})
            other.step(10)
            heard.append(lines + [json.loads(peer.ws.recv().split("\n")[0]) for _ in range(3)])
            peer.ws.shutdown()
    assert heard[0] == heard[1]
