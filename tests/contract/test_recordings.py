"""
What every exchange's recordings keep, whichever it is: a replay gives what was received, and no secret is in the file.

Runs against each folder of `exchange_ws.exchanges`, in the words of ``facts/<name>.json``, which `test_contract.py` explains.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from exchange_facts import STEPS, raised, there
from held_clock import LIMIT_S
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from life_helpers import collect

import exchange_ws
from exchange_ws import Backoff
from exchange_ws.clock import SystemClock
from exchange_ws.core.messages import LOGIN, Command, Outgoing
from exchange_ws.core.recording import Secrets, Tap, fields_of, topic_of
from exchange_ws.core.session import Session
from exchange_ws.errors import (
    AuthenticationError,
    RequestRejected,
    RequestTimeout,
    SubscriptionClosed,
    SubscriptionRejected,
    UpdateTimeout,
    UsageError,
)
from exchange_ws.events import Gap
from exchange_ws.sandbox import Sandbox
from exchange_ws.wire.recording import HIDDEN, SECRET_LENGTH, Recorder

#: Places of topics in the facts; all of them flow when the markets move, or the account does.
TOPICS = ("topic", "same channel", "another channel", "deltas", "private topic")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.jsonl"


def client_of(box: Sandbox, path: Path, **options: Any) -> Any:
    return box.client(record=path, **{"reconnect": Backoff(0.01, 0.02), **options})


def left(subscription: Any) -> list[Any]:
    """What was received and not read."""
    try:
        return list(subscription.get_many(timeout=0.0))
    except (UpdateTimeout, SubscriptionClosed):
        return []


def replayed(path: Path, **options: Any) -> tuple[list[Any], list[list[Gap]], dict[str, Any]]:
    """Events, gaps of each subscription, and statistics of a whole replay."""
    with exchange_ws.replay(path, speed=None, **options) as day:
        events = day.collect()
        assert None is day.cut
        return events, [subscription.gaps for subscription in day.subscriptions], day.stats()


def in_order(items: list[Any]) -> list[tuple[float, str]]:
    """
    *items* of several subscriptions, which were read one after the other then and are mixed in a replay.

    The gap that an event carries may be several as one, as they are when it is read; how they end is seen in `gaps`.
    """
    shown = []
    for item in items:
        gap = getattr(item, "gap", None)
        shown.append(item if gap is None else attrs.evolve(item, gap=Gap(gap.reason, gap.since)))
    return sorted((getattr(item, "received", getattr(item, "since", 0.0)), repr(item)) for item in shown)


class Faults:
    """What may happen to connections, and until when it is over."""

    def __init__(self, box: Sandbox, ws: Any) -> None:
        self._box, self._ws = box, ws

    def drop(self) -> None:
        self._lose(self._box.drop)

    def close(self) -> None:
        self._lose(lambda: self._box.close(1012))

    def split(self) -> None:
        self._box.split()

    def none(self) -> None:
        pass

    def _lose(self, fault: Callable[[], None]) -> None:
        """Have all connections lost, and wait until they are there again."""
        stats = self._ws.stats()
        fault()
        look = threading.Event()
        for _ in range(int(LIMIT_S / 0.002)):
            if self._ws.state == "open" and self._ws.stats()["reconnects"] == stats["reconnects"] + stats["connections"]:
                return
            look.wait(0.002)
        raise AssertionError("it does not connect again")


@pytest.mark.parametrize("seed", range(3))
def test_replay_equals_recording(name, box, facts, path, seed):
    """Whatever happens to the connections, a replay has the events and the gaps that were, of every subscription."""
    chance = random.Random(seed)
    got: list[Any] = []
    with client_of(box, path) as ws:
        faults = Faults(box, ws)
        subscriptions = []
        for fact in chance.sample(TOPICS, 4) + [chance.choice(TOPICS)]:
            words, params = facts[fact]
            subscriptions.append(ws.subscribe(*words, gaps=True, raw=False, **params))
            box.step(chance.randrange(5))
        for _ in range(4):
            getattr(faults, chance.choice(["drop", "close", "split", "none"]))()
            box.step(chance.randrange(1, 20))
            if chance.random() < 0.3:
                ws.request(*facts["query"])
        for subscription in subscriptions:
            got += there(ws, subscription)
    for subscription in subscriptions:
        got += left(subscription)
    events, gaps, stats = replayed(path, gaps=True)
    assert in_order(got) == in_order(events)
    assert [subscription.gaps for subscription in subscriptions] == gaps
    assert (len(subscriptions), 0) == (stats["subscriptions"], stats["unsaid"])


def test_topics_survive(name, box, facts):
    """A topic that was written is the same when it is read."""
    ws = box.client()
    topics = [topic for fact in TOPICS for topic in ws._topics_of(tuple(facts[fact][0]), facts[fact][1])]
    assert topics == [topic_of(json.loads(json.dumps(fields_of(topic)))) for topic in topics]


def test_two_subscribers_and_an_end(box, facts, path):
    """Subscriptions of the same topic, made and ended one after the other, have each their own events again."""
    words, params = facts["topic"]
    with client_of(box, path) as ws:
        first = ws.subscribe(*words, gaps=True, **params)
        box.step(10)
        second = ws.subscribe(*words, gaps=True, **params)
        box.step(10)
        got = there(ws, first)
        first.close()
        box.step(10)
        got += there(ws, second)
        second.close()
        third = ws.subscribe(*words, gaps=True, **params)
        box.step(10)
        got += there(ws, third)
    events, gaps, stats = replayed(path, gaps=True)
    assert in_order(got) == in_order(events)
    assert ([first.gaps, second.gaps, third.gaps], 0) == (gaps, stats["unsaid"])


def test_refused_subscription(box, facts, path):
    """What the exchange refused is not in the way of what it did not."""
    words, params = facts["topic"]
    with client_of(box, path) as ws:
        assert isinstance(
            raised(lambda: ws.subscribe(*facts["refused topic"][0], **facts["refused topic"][1])), SubscriptionRejected
        )
        subscription = ws.subscribe(*words, **params)
        box.step(STEPS)
        got = there(ws, subscription)
    assert in_order(got) == in_order(replayed(path)[0])


def test_given_up_subscription(box, facts, path):
    """A subscribe that was not confirmed in time is given up in a replay too, and what is subscribed later is all there."""
    words, params = facts["topic"]
    with client_of(box, path) as ws:
        box.freeze()
        assert isinstance(raised(lambda: ws.subscribe(*words, timeout=0.05, **params)), RequestTimeout)
        box.thaw()
        subscription = ws.subscribe(*words, gaps=True, **params)
        box.step(STEPS)
        got = there(ws, subscription)
    events, gaps, stats = replayed(path, gaps=True)
    assert in_order(got) == in_order(events)
    assert ([[], subscription.gaps], 0) == (gaps, stats["unsaid"])


def test_other_words(box, facts, path):
    """A replay may have numbers of another kind, or the exchange's own messages, than was asked for then."""
    words, params = facts["topic"]
    with client_of(box, path) as ws:
        plain = ws.subscribe(*words, raw=True, **params)
        box.step(STEPS)
        raw = there(ws, plain)
    numbers = [[getattr(event, name) for name in facts["numbers"]] for event in replayed(path)[0]]
    floats = [[getattr(event, name) for name in facts["numbers"]] for event in replayed(path, numbers=float)[0]]
    assert raw == replayed(path, raw=True)[0]
    assert [list(map(float, row)) for row in numbers] == floats
    assert {Decimal} == {type(number) for row in numbers for number in row}


def test_in_many_compressed_files(box, facts, tmp_path):
    """A recording in several compressed files is the same as one in one."""
    words, params = facts["topic"]
    recording = exchange_ws.Recording(tmp_path / "a.jsonl.gz", rotate_bytes=1)
    with client_of(box, recording) as ws:
        subscription = ws.subscribe(*words, **params)
        box.step(STEPS)
        got = there(ws, subscription)
    assert in_order(got) == in_order(replayed(recording.path)[0])
    assert len(list(tmp_path.iterdir())) > 1


def test_statistics(box, facts, path):
    """`stats` tells what was written, and that all of it was; without a recording there is nothing to tell."""
    with box.client() as ws:
        assert None is ws.stats()["recording"]
    with client_of(box, path) as ws:
        ws.subscribe(*facts["topic"][0], **facts["topic"][1])
        box.step(STEPS)
        ws.ping()
    told = ws.stats()["recording"]
    received = sum('"in":' in line for line in path.read_text().splitlines())
    assert {"path": str(path), "messages": received, "bytes": path.stat().st_size, "missed": 0, "error": None} == told


def test_no_file_without_a_connection(box, path):
    """A client that was never used has written nothing; one that would overwrite what another wrote is not made."""
    client_of(box, path).close()
    assert not path.exists()
    with client_of(box, path):
        pass
    with pytest.raises(UsageError, match="is there already"):
        client_of(box, path)


def test_forgotten_client(box, facts, path):
    """The recording of a client that nobody has any more is ended as one that was closed."""

    def forget():
        client_of(box, path).connect()
        collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        forget()
    box.wait_connections(0)
    for thread in threading.enumerate():
        if thread.name.startswith("exchange-ws record"):
            thread.join(LIMIT_S)
    assert '"end":true' in path.read_text().splitlines()[-1]


# Secrets ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(monkeypatch):
    """Every secret of every login that clients of this test make."""
    found: list[str] = []
    dialled = Session.dialled

    def watched(session: Session, now: float, login: Command | None) -> None:
        found.extend(() if login is None else login.secrets)
        dialled(session, now, login)

    monkeypatch.setattr(Session, "dialled", watched)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_no_secret_is_recorded(name, facts, path, secrets, seed):
    """Neither credentials nor what is made of them are in any byte of a recording: logged in, again, or refused."""
    words, params = facts["private topic"]
    refused = path.with_name("refused.jsonl")
    with Sandbox(name, seed=seed, tick=None, limits=False) as box:
        with client_of(box, path) as ws:
            subscription = ws.subscribe(*words, gaps=True, **params)
            box.step(STEPS)
            Faults(box, ws).drop()
            box.step(STEPS)
            got = there(ws, subscription)
        got += left(subscription)
        with client_of(box, refused, **facts["wrong credentials"]) as ws:
            assert isinstance(raised(lambda: ws.subscribe(*words, **params)), AuthenticationError)
        given = [value for value in (box.api_key, box.api_secret, box.token) if value]
    assert len(secrets) >= 3
    for secret in {*secrets, *given, *facts["wrong credentials"].values()} - {"wrong"}:
        assert [False, False] == [secret.encode() in file.read_bytes() for file in (path, refused)]
    assert in_order(got) == in_order(replayed(path, gaps=True)[0])
    assert '"out":null,"kind":"login"' in path.read_text()


def test_credentials_in_a_request(path):
    """What the client was given is in no line either if its user says it in a request of his own, on any connection."""
    with Sandbox("whitebit", seed=1, tick=None) as box, box.client(record=path) as ws:
        given = [box.api_key, box.api_secret]
        assert isinstance(raised(lambda: ws.request("no_such_method", given)), RequestRejected)
        kept = box.token
    with Sandbox("whitebit", seed=1, tick=None) as box:
        second = path.with_name("token.jsonl")
        with exchange_ws.WhiteBIT(box.url, token=kept, record=second) as ws:
            assert isinstance(raised(lambda: ws.request("no_such_method", [kept])), RequestRejected)
    text = path.read_text() + second.read_text()
    assert ([], True) == ([secret for secret in (*given, kept) if secret in text], '"no_such_method' in text.replace("\\", ""))


#: Of all that can be typed, but digits: what stands beside a secret is made of these, and cannot be taken for a part of it.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_categories=["Nd"]), min_size=SECRET_LENGTH)


@given(
    secret=SECRETS.filter(lambda text: text not in HIDDEN),
    around=st.tuples(*[st.text("0123456789")] * 2),
    place=st.sampled_from(["push", "answer", "said", "as json", "late", "given", "elsewhere"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_echo_is_recorded(tmp_path, secret, around, place):
    """Wherever an exchange, or we, say the secret of a login again, it is in no byte of the file, nor in any of its lines."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
    recorder = Recorder(exchange_ws.Recording(path), {}, SystemClock(), "test")
    secrets = Secrets([secret] if place == "given" else [])
    tap = Tap(recorder, 1, id, SystemClock().time_ns, secrets)
    # Who says it, or hears it, may be another connection of the same client, without a login of its own.
    login = Tap(recorder, 2, id, SystemClock().time_ns, secrets) if place == "elsewhere" else tap
    if place == "given":
        login.dialled(None)
    else:
        login.dialled(Command("log in", (secret,), LOGIN, secret=True, secrets=(secret,)))
    login.said(Command("log in", (secret,), LOGIN, secret=True, secrets=(secret,)), Outgoing(secret.encode(), "1"), None, False)
    if place == "late":
        tap.dialled(Command("log in", (), LOGIN, secrets=("another one",)))
    text = json.dumps(secret).replace("/", "\\/") if place == "as json" else secret.join(around)
    if place in ("said", "given", "elsewhere"):
        tap.said(Command("say"), Outgoing(text.encode(), "2"), None, True)
    else:
        tap.received([text.encode()], 5, spare=place != "answer")
    recorder.close(LIMIT_S)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    shown = [str(line.get("in") or line.get("out") or "") for line in lines]
    assert [] == [line for line in shown if secret in line]
