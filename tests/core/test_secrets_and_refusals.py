"""What a command shows of itself, and whom a refusal means that does not say whom."""

from __future__ import annotations

import attrs
import pytest
from core_languages import SWAP

from exchange_ws.core.messages import LOGIN, PING, Command, Limits, Refusal, Reply
from exchange_ws.core.session import PING_FRAME, Session
from exchange_ws.errors import RequestRejected

PING_COMMAND = Command("ping", kind=PING, replay=True)


def test_command_hides_its_secrets():
    """The arguments of a secret command are in no repr; those of others are."""
    shown = repr(Command("auth", ("the key", 7, "the signature"), LOGIN, secret=True))
    assert "the key" not in shown
    assert "the signature" not in shown
    assert "auth" in shown
    assert "'BTCUSDT'" in repr(Command("trade", ("BTCUSDT",)))


@pytest.mark.parametrize("before", [PING_COMMAND, PING_FRAME])
def test_refusal_of_nothing_in_particular_spares_pings(before):
    """A refusal without a key means the oldest command, and a ping only where nothing else waits."""
    said = attrs.evolve(SWAP, decode=lambda message: Reply(None, False, None, Refusal(7, "no")))
    session = Session(said, "test", limits=Limits(), ping_interval=1000.0, pong_timeout=10.0, reply_limit=10.0, backoff=None)
    session.dialling()
    session.dialled(0.0, None)
    ping = session.submit(before, 0.0, 10.0)
    first, second = (session.submit(Command(name), 0.0, 10.0) for name in ("first", "second"))
    assert 3 == len(session.take_outbox(0.0))
    for _ in range(2):
        session.receive(b"", 1.0)
    assert [RequestRejected, RequestRejected, type(None)] == [type(pending.error) for pending in (first, second, ping)]
    session.receive(b"", 1.0)
    assert (before is PING_COMMAND) == ping.settled
