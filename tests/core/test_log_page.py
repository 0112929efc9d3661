"""``docs/observability.rst`` lists what is logged: the page and the source do not drift."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import exchange_ws

PACKAGE = Path(exchange_ws.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "observability.rst").read_text("utf-8")
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}


def shown(text):
    """*text* of a log call as the page has it."""
    return re.sub(r"%(\.\d)?[sdrf]", "...", text)


def logged_in(source):
    """Level and text of everything that *source* logs, by whatever way."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
            continue
        of, level, text = ast.unparse(call.func.value), LEVELS.get(call.func.attr), call.args[0]
        if (of, call.func.attr) == ("self", "_log"):  # the session's, for its driver
            level, text = ast.unparse(call.args[0]).rpartition(".")[2], call.args[1]
        elif (of, call.func.attr) == ("self._warnings", "append"):  # a subscription's, for later
            assert isinstance(text, ast.Tuple)
            level, text = "WARNING", text.elts[0]
        elif of not in ("log", "logger") or level is None:
            continue
        if isinstance(text, ast.Constant):
            yield level, shown(text.value)


def test_log_calls_are_found():
    """Each way of logging is seen, and one that passes on what another has said is none."""
    source = 'log.warning("%s: a %.1f s", x)\nself._log(logging.DEBUG, "b %r", x)\nlog.log(level, text)\nlog.warning(text)\n'
    source += 'self._warnings.append(("c %d", 1))\nlogger.exception("d")\nmath.log(2)\nself.error("e")'
    expected = [("WARNING", "...: a ... s"), ("DEBUG", "b ..."), ("WARNING", "c ..."), ("ERROR", "d")]
    assert sorted(expected) == sorted(logged_in(source))


def test_page_lists_what_is_logged():
    """Each line that may be logged has its row, with logger and level, and each row its line."""
    logged = set()
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(("exchange_ws", *path.relative_to(PACKAGE).with_suffix("").parts))
        logged |= {(name, *line) for line in logged_in(path.read_text("utf-8"))}
    table = PAGE.split(".. list-table::")[-1]
    rows = [re.split(r"^     - ", row, flags=re.MULTILINE) for row in re.split(r"^   \* - ", table, flags=re.MULTILINE)[2:]]
    cells = [[" ".join(cell.replace("``", "").split()) for cell in row] for row in rows]
    listed = {(f"exchange_ws.{logger}", level, message) for logger, level, message, _ in cells}
    assert len(rows) == len(listed) > 20
    assert (set(), set()) == (logged - listed, listed - logged)
    assert [] == [row for row in cells if not all(row)]
