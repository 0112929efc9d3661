"""What becomes of a refusal: whose topic it is, and that no secret is in it."""

from __future__ import annotations

import pytest

from exchange_ws.core.dialect import refused
from exchange_ws.core.messages import LOGIN, SUBSCRIBE, Command, Refusal


@pytest.mark.parametrize("args", [("key", 7), ({"token": "key"},), (["key"],), "key"])
def test_no_secret_in_refusals(args):
    """What a secret command said is in no word of the error, although the exchange repeats it."""
    command = Command("login", args, LOGIN, secret=True)
    error = refused(Refusal(None, "key: wrong key"), command)
    assert ("login: (hidden): wrong (hidden)", True) == (str(error), "key" not in f"{vars(error)} {command!r}")


def test_no_topic_in_refusals_of_calls():
    """A call that subscribes has none."""
    assert refused(Refusal(None, "no"), Command("sub", kind=SUBSCRIBE)).topic is None
