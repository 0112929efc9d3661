"""Fixtures of the suites that run once for every exchange."""

from __future__ import annotations

import pytest
from exchange_facts import CLIENTS, facts_of

from exchange_ws.sandbox import Sandbox


@pytest.fixture(params=sorted(CLIENTS))
def name(request):
    return request.param


@pytest.fixture
def facts(name):
    """What this exchange has for the words of the suite."""
    return facts_of(name)


@pytest.fixture
def box(name):
    """The exchange, moving by `step` only."""
    with Sandbox(name, seed=7, tick=None, limits=False) as box:
        yield box
