"""What is JSON: either reader, and what we say."""

from __future__ import annotations

import pytest

from exchange_ws.core import dialect
from exchange_ws.core.dialect import dump, parse_with_json, shown

READERS = pytest.mark.parametrize("read", [dialect.parse, parse_with_json], ids=["chosen", "standard library"])


@READERS
@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"NaN", b"-Infinity", b"01", b"1.", b"[1,]", b"1 2", b"\x0c1", b"1\x00", b'"\x00"', b'"\xff"', b"\xef\xbb\xbf1"),
        *(b"1e999", b"-1e999", b'{"price":1e999}', b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000),
        *(rb'"\ud800"', rb'"\uDC00a"', rb'["\udc00\ud800"]', rb'{"\ud83d":1}', b'"\xed\xa0\x80"'),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_no_json(read, text):
    """What is no JSON, or no number or text that can be kept, is a ValueError, however deep it is."""
    with pytest.raises(ValueError):
        read(text)


@READERS
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' {"a":1,"a":2}\r\n', {"a": 2}),
        (rb'"\ud83d\ude00 \\ud800"', "\U0001f600 \\ud800"),
        (b"[-0,1E2,18446744073709551615,1e-999]", [0, 100.0, 2**64 - 1, 0.0]),
        (b"[" * 300 + b"]" * 300, None),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_json(read, text, value):
    """Of names that occur twice the last one counts; a whole pair of surrogates is a character; 300 levels are no trouble."""
    found = read(text)
    if value is None:
        while found:
            (found,) = found
        value = []
    assert value == found


def test_whole_numbers_beyond_64_bits():
    """The one value about which the readers may differ: exact with the standard library."""
    assert 2**64 + 1 == parse_with_json(b"18446744073709551617")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", ["a\udc00"], {"\udfff": 1}], ids=repr)
def test_what_cannot_be_said(value):
    """What no reader of JSON takes is not said."""
    with pytest.raises(ValueError):
        dump(value)


def test_what_is_said():
    """Small, and in ASCII; what looks like the escape of half a character may be none."""
    assert rb'{"a":["\u00e9\ud83d\ude00","\\ud800"]}' == dump({"a": ["é\U0001f600", "\\ud800"]})


def test_shown():
    """A refusal of any shape has words, also when it is too deep to be written."""
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert ['{"a":[1]}', "(too deeply nested to be shown)"] == [shown({"a": [1]}), shown(deep)]
    while deep:  # or its end would need as many levels of the interpreter
        (deep,) = deep
