"""
Two of the made-up languages, where topics can be asked for what they missed: `COUNTING_ASKED` for what consumers see, and
`SWAP_ASKED` for the session.

Of the channel ``log`` each number is told once; of ``level`` a number is a thing and its state, 12 the thing 1 in the state 2,
and 0 is the end of it. `answer` writes what the exchange says to a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from core_languages import SWAP
from counting_language import COUNTING, push

from exchange_ws.core.dialect import CatchUp, Found, Reading
from exchange_ws.core.messages import Command, Topic, Update
from exchange_ws.events import Event

RECORDS, STATES = "log", "level"


def answer(*numbers: Any, whole: bool = False, latest: bool = False, ended: Sequence[int] | None = ()) -> dict[str, Any]:
    """What there is, oldest first; whether that is all, or the newest of it; and what has ended, None where nothing does."""
    return {"n": numbers, "whole": whole, "latest": latest, "ended": ended}


def queries(topic: Topic, first: bool) -> tuple[Command, ...]:
    """One question of records, but two of states, and only one of them at first; none of all symbols."""
    if topic.label not in (RECORDS, STATES) or topic.symbol is None:
        return ()
    question = Command(f"{topic.label}_query", (topic.symbol,), replay=True)
    return (question,) if first or topic.label == RECORDS else (question, Command("ended_query", (topic.symbol,), replay=True))


def read(topic: Topic, results: Sequence[Any], reading: Reading) -> Found:
    """The first answer's; further ones are of no use."""
    found = results[0]

    def events(numbers: Sequence[int]) -> tuple[Event, ...]:
        update = Update((topic.key,), topic.label, {"of": topic.name, "n": numbers})
        return tuple(COUNTING.interpret(update, reading))

    ended = found["ended"]
    return Found(events(found["n"]), found["whole"], found["latest"], None if ended is None else events(ended))


def state(event: Any) -> tuple[Any, Any]:
    return event.id // 10, event.id % 10 or None


CATCH_UP = CatchUp(queries, read, lambda topic: state if topic.label == STATES else None)
COUNTING_ASKED = attrs.evolve(COUNTING, catch_up=CATCH_UP)
SWAP_ASKED = attrs.evolve(SWAP, catch_up=CATCH_UP)

__all__ = ["CATCH_UP", "COUNTING_ASKED", "RECORDS", "STATES", "SWAP_ASKED", "answer", "push"]
