"""
Odd messages made of documented ones, for tests/fuzz: JSON is changed as such, since most changes of bytes make it unreadable.

Everything is drawn from a `random.Random` (or Hypothesis' own): the same one gives the same message.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

__all__ = ["Raw", "changed", "changed_bytes", "changed_near", "has_twins", "parsed", "spelled"]


class Raw(str):
    """Text that stands in a message as it is: numbers that Python would spell otherwise, nests, and what is not JSON."""

    __slots__ = ()


class Members(list):
    """The members of an object, as pairs: their order, and names that occur twice, are part of what is changed."""


def _nest(opened: str, depth: int) -> Raw:
    closed = {"[": "]", '{"a":': "}"}[opened]
    return Raw(opened * depth + "1" + closed * depth)


#: What stands where something else was expected.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30, 10**400, 0.1, 1e308),
    *map(Raw, ("-0", "-0.0", "1e999", "1E5", "0.1e-400", "1.0", "9" * 4301, "NaN", "Infinity", "01")),
    *(
        "",
        " ",
        "0",
        "-1",
        "1e5",
        "1e999999",
        "NaN",
        "-Infinity",
        "1_000",
        "١",
        "é",
        "\u2028",
        "\U0001f600",
        "\ud800",
        "\udc00a",
        "\0",
    ),
    *("\n", '"', "\\", "[", "{", "}", "a" * 300, "sub", "unsub", "success", "error", "ping", "*", "BTC_USDT", "BTCUSDT"),
    *([], Members(), [[]], [None], [Members()], Members([("", None)]), Members([("a", 1), ("a", 2)])),
    *(_nest("[", depth) for depth in (20, 200, 900, 1020, 1100, 20_000)),
    *(_nest('{"a":', depth) for depth in (200, 900, 20_000)),
)


def parsed(message: bytes) -> Any:
    """*message* as JSON, objects as `Members`; ValueError if it is none, or too deep to be changed as such."""
    try:
        return json.loads(message, object_pairs_hook=Members)
    except RecursionError:
        raise ValueError("too deep") from None


def has_twins(message: bytes) -> bool:
    """Whether a name occurs twice in one object of *message*, for which JSON has no rule [RFC 8259, section 4]."""
    found = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            found.append(True)

    try:
        json.loads(message, object_pairs_hook=look)
    except (ValueError, RecursionError):
        pass  # what was read of it counts
    return bool(found)


def spelled(value: Any, random: Random, *, compact: bool = False) -> bytes:
    """*value* as one JSON text, in one of the ways to spell it; *compact*: as exchanges do."""
    style = 0 if compact else random.randrange(6)
    between, behind = (", ", ": ") if style == 1 else (",", ":")
    parts: list[str] = []

    def text(word: str) -> str:
        if isinstance(word, Raw):
            return word
        escaped = json.dumps(word, ensure_ascii=style in (1, 2) or any("\ud800" <= letter <= "\udfff" for letter in word))
        if style == 3 and word and random.random() < 0.3:
            first = escaped[1]
            if first != "\\" and ord(first) < 2**16:
                escaped = f'"\\u{ord(first):04x}{escaped[2:]}'
        return escaped

    def put(one: Any) -> None:
        if isinstance(one, Members):
            parts.append("{")
            for at, (name, member) in enumerate(one):
                parts.extend((between if at else "", text(name), behind))
                put(member)
            parts.append("}")
        elif isinstance(one, list):
            parts.append("[")
            for at, item in enumerate(one):
                parts.append(between if at else "")
                put(item)
            parts.append("]")
        else:
            parts.append(text(one) if isinstance(one, str) else json.dumps(one))
        if style == 4 and random.random() < 0.1:
            parts.append(random.choice((" ", "\n", "\t", "\r", "\x0b")))

    put(value)
    return "".join(parts).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[list[Any], int]]:
    """Every value within *value*: the list that has it, and where."""
    todo = [value]
    while todo:
        holder = todo.pop()
        for at, item in enumerate(holder):
            yield holder, at
            inner = item[1] if isinstance(holder, Members) else item
            if isinstance(inner, list):
                todo.append(inner)


def _get(holder: list[Any], at: int) -> Any:
    return holder[at][1] if isinstance(holder, Members) else holder[at]


def _set(holder: list[Any], at: int, value: Any) -> None:
    holder[at] = (holder[at][0], value) if isinstance(holder, Members) else value


def _piece(message: bytes, random: Random) -> str:
    """A part of another message's text that begins and ends beside a quote mark or a bracket: data that imitates structure."""
    text = message.decode("utf-8", "replace")
    cuts = [at for at, letter in enumerate(text) if letter in '"{}[],:'][:200]
    if len(cuts) < 2:
        return text[:50]
    first = random.randrange(len(cuts) - 1)
    last = min(len(cuts) - 1, first + random.randrange(1, 9))
    return text[cuts[first] + random.randrange(2) : cuts[last] + random.randrange(2)]


def _odd(random: Random, others: Sequence[bytes]) -> Any:
    """A value from anywhere."""
    kind = random.randrange(8)
    if kind < 5 or not others:
        return copy.deepcopy(random.choice(ODD))
    other = random.choice(others)
    if kind == 5:
        return _piece(other, random)
    try:
        tree = parsed(other)
    except ValueError:
        return _piece(other, random)
    if kind == 6 or not isinstance(tree, list):
        return tree
    places = list(_places(tree))
    return _get(*random.choice(places)) if places else tree


def _other_type(value: Any, random: Random) -> Any:
    """The same in another type."""
    if isinstance(value, str):
        return random.choice((Raw(value), Raw("0" + value), [value], Members([(value, value)]), value.swapcase(), value[:-1]))
    if isinstance(value, Members):
        return random.choice(
            (
                [member for _, member in value],
                [value],
                Members((member, name) for name, member in value if isinstance(member, str)),
            )
        )
    if isinstance(value, list):
        return random.choice(
            (Members((str(at), item) for at, item in enumerate(value)), value[0] if value else None, [value], value * 2)
        )
    if value is None or isinstance(value, bool):
        return random.choice((0, 1, str(value), [value]))
    return random.choice(
        (
            str(value),
            float(value) if abs(value) < 1e300 else 0,
            -value,
            [value],
            value + 1,
            Raw(f"{value}.0"),
            Raw(f"{value}e0"),
        )
    )


def _change(tree: list[Any], random: Random, others: Sequence[bytes]) -> None:
    """One change, in place."""
    places = list(_places(tree))
    if not places:
        return
    holder, at = random.choice(places)
    kind = random.randrange(12)
    if kind < 3:
        _set(holder, at, _odd(random, others))
    elif kind == 3:
        del holder[at]
    elif kind == 4:
        holder.insert(random.randrange(len(holder) + 1), holder[at])
        if random.random() < 0.5:
            _set(holder, at, _odd(random, others))
    elif kind == 5:
        random.shuffle(holder)
    elif kind == 6:
        other, there = random.choice(places)
        if there < len(other):
            _set(holder, at, copy.deepcopy(_get(other, there)))  # itself, it could come to stand within itself
    elif kind == 7:
        _set(holder, at, _other_type(_get(holder, at), random))
    elif kind == 8:
        _set(holder, at, random.choice(([_get(holder, at)], Members([("data", _get(holder, at))]))))
    elif kind == 9 and isinstance(holder, Members):
        names = [name for holder, at in places if isinstance(holder, Members) and at < len(holder) for name in [holder[at][0]]]
        holder[at] = (random.choice([*names, "", "a", _piece(random.choice(others), random) if others else "b"]), holder[at][1])
    elif kind == 10 and isinstance(holder, Members):
        name = random.choice([pair[0] for pair in holder])
        holder.insert(random.randrange(len(holder) + 1), (name, _odd(random, others)))
    else:
        value = _get(holder, at)
        if isinstance(value, str) and not isinstance(value, Raw):
            cut = random.randrange(len(value) + 1)
            piece = random.choice(("", "\\", '"', "\ud800", " ", "9", _piece(random.choice(others), random) if others else ""))
            value = value[:cut] + piece + value[cut:]
        _set(holder, at, value)


def changed(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """*message* with some changes of its JSON, in any spelling; what is not JSON has its bytes changed. *others* give parts."""
    try:
        tree = [parsed(message)]  # in a list, so that the whole of it can be replaced too
        for _ in range(random.randrange(5)):
            _change(tree, random, others)
        if tree:
            return spelled(tree[0], random)
    except (ValueError, RecursionError):
        pass
    return changed_bytes(message, random, others)


#: What may stand in the text of a name, and beside it.
INSERTED = ("\\", '"', '\\"', '","', '"]}', '},"', "},", "[", "{", "}", "é", " ", "\n", "")
BESIDE: tuple[Any, ...] = ([], [1], [[1]], Members(), Members([("a", Members())]), Members([("a", "}")]), 7, True, None, "x")


def changed_near(message: bytes, key: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """*message* with changes at and beside the names that *key* is made of, where who reads without parsing errs first."""
    try:
        tree = [parsed(message)]
        for _ in range(random.randrange(1, 3)):
            _change_near(tree, key, random, message, others)
        return spelled(tree[0], random, compact=random.random() < 0.8)
    except (ValueError, RecursionError):
        return changed_bytes(message, random, others)


def _change_near(tree: list[Any], key: bytes, random: Random, message: bytes, others: Sequence[bytes]) -> None:
    """One such change, in place."""
    places = list(_places(tree))
    named = [(holder, at) for holder, at in places if isinstance(_get(holder, at), str) and _is_in(_get(holder, at), key)]
    if not named:
        return
    holder, at = random.choice(named)
    value, kind = _get(holder, at), random.randrange(7)
    beside = copy.deepcopy(random.choice((*BESIDE, value)))
    if kind == 0:
        cut = random.randrange(len(value) + 1)
        piece = random.choice((*INSERTED, _piece(random.choice(others), random)))
        _set(holder, at, value[:cut] + piece + value[cut:])
    elif kind == 1:
        holder.insert(at + random.randrange(2), ("more", beside) if isinstance(holder, Members) else beside)
    elif kind == 2:
        _set(holder, random.randrange(len(holder)), beside)
    elif kind == 3:
        _set(holder, at, [value])
    elif kind == 4 and isinstance(tree[0], Members):
        tree[0].append(("more", random.choice((beside, [beside, value], copy.deepcopy(tree[0])))))
    elif kind == 5:
        # The list that it stands in ends early: [[1, 2, "A"]] becomes [[1], 2, "A"].
        parents = [(there, where) for there, where in places if _get(there, where) is holder and type(there) is list]
        if parents and type(holder) is list and at and random.random() < 0.7:
            there, where = parents[0]
            first = random.randrange(1, at + 1)
            there[where : where + 1] = [holder[:first], *holder[first:]]
        elif parents:  # or it is followed by another one, with another name
            there, where = parents[0]
            there.insert(where + 1, copy.deepcopy(holder))
            _set(there[where + 1], at, f"{value}_")
    elif isinstance(tree[0], Members):
        other = random.choice((message, random.choice(others)))
        with contextlib.suppress(ValueError):
            _set(tree[0], random.randrange(len(tree[0])), parsed(other))
        random.shuffle(tree[0])


def _is_in(text: str, key: bytes) -> bool:
    return len(text) > 1 and text.encode("utf-8", "surrogatepass") in key


def changed_bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """*data* with some changes of its bytes."""
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[at + random.randrange(1, 9) :]
        elif kind == 3:
            data = data[:at] + bytes([random.randrange(256)]) + data[at:]
        elif kind == 4:
            end = at + random.randrange(1, 65)
            data = data[:end] + data[at:end] + data[end:]
        elif others:
            other = random.choice(others)
            data = data[:at] + other[random.randrange(len(other) + 1) :]
    return data
