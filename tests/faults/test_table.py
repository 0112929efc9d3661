"""``docs/failures.rst`` says what users see of each fault, and which test proves it: the page and the suites do not drift."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "failures.rst").read_text("utf-8")
ROW = re.compile(r"^   \* - ", re.MULTILINE)
CELL = re.compile(r"^     - ", re.MULTILINE)


def rows():
    """Cells of every row of the page's tables of faults, which have a column of proofs."""
    for table in PAGE.split(".. list-table::")[1:]:
        body = re.split(r"\n(?=\S)", table)[0]
        head, *lines = [CELL.split(row.strip("\n")) for row in ROW.split(body)[1:]]
        if head[-1].strip() == "Proof":
            yield from ([" ".join(cell.split()) for cell in line] for line in lines)


@functools.cache
def named_in(folder):
    """Names of the tests in *folder* and below."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_there_are_rows():
    """The tables are found, and each row has all its cells."""
    found = list(rows())
    assert len(found) > 20
    assert [] == [row for row in found if len(row) != 5 or not all(row)]


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row[0][:40])
def test_every_row_has_its_proof(row):
    """Each fault names at least one test, and each test that is named exists."""
    proofs = re.findall(r"``(test_\w+)``", row[-1])
    assert proofs
    assert set() == set(proofs) - named_in(TESTS)


def test_every_proof_has_its_row():
    """No fault is tested that users are not told of."""
    proved = {proof for row in rows() for proof in re.findall(r"``(test_\w+)``", row[-1])}
    ours = {name for name in globals() if name.startswith("test_")}
    assert set() == named_in(Path(__file__).parent) - ours - proved
