"""The short form of `every_wait_ends`: a second for each exchange."""

from __future__ import annotations

import random

import pytest
from properties.every_wait_ends import EXCHANGES, run


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_wait_ends(exchange):
    """Whatever threads and faults do, each call ends by its deadline, and no thread outlives its client."""
    result = run(exchange, 0.7, random.randrange(2**32), round_s=0.7)
    assert [] == result.wrong, result.report()
    assert result.threads[0] == result.threads[1], result.report()
