"""How Sphinx builds these pages: `python -m sphinx -W -b html docs docs/_build`."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from exchange_ws.core.session import TRANSITIONS

project = "exchange_ws"
author = "the exchange_ws authors"
copyright = "2026, the exchange_ws authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "exchange_ws"
exclude_patterns = ["_build", "changes/*"]
# Docstrings are read in editors and terminals first, so names stand in plain backquotes.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Documented where users import them from.
autodoc_type_aliases = {name: f"exchange_ws.{name}" for name in ("Backoff", "Client", "Subscription")}
napoleon_google_docstring = False
napoleon_use_rtype = False

# Every reference to a name of ours has to lead somewhere; those of the standard library would need the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!exchange_ws\b).*"), ("py:class", r"exchange_ws\..*\bSelf")]

#: Kinds of fragments in docs/changes/, by the word before `.rst`, and their headings.
KINDS = {"added": "Added", "changed": "Changed", "fixed": "Fixed", "removed": "Removed"}


def changes() -> str:
    """All fragments as one text, sorted by kind; a file whose name says no known kind is an error."""
    fragments = sorted((Path(__file__).parent / "changes").glob("*.rst"))
    unknown = [path.name for path in fragments if path.stem.rpartition(".")[2] not in KINDS]
    if unknown:
        raise ValueError(f"docs/changes: {unknown}: a name ends in one of {', '.join(f'.{kind}.rst' for kind in KINDS)}")
    parts = []
    for kind, heading in KINDS.items():
        texts = [path.read_text("utf-8").strip() for path in fragments if path.stem.endswith("." + kind)]
        if texts:
            parts.append("\n\n".join([f"{heading}\n{'~' * len(heading)}", *texts]))
    return "\n\n".join(parts)


def transitions() -> str:
    """The states of a connection as a table: a row for each event, a column for each state, in each cell the next state."""
    states = list(dict.fromkeys(state for state, _ in TRANSITIONS))
    events = list(dict.fromkeys(event for _, event in TRANSITIONS))
    rows = [["event", *(f"in {state.upper()}" for state in states)]]
    rows += [[f"*{event}*", *(TRANSITIONS.get((state, event), "").upper() for state in states)] for event in events]
    lines = [f"   {'*' if place == 0 else ' '} - {text}" for row in rows for place, text in enumerate(row)]
    return "\n".join([".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", "", *lines])


#: What stands for text that is made when the pages are built, each on a line of its own.
MADE = {".. changes::": changes, ".. transitions::": transitions}


def make(app: Sphinx, docname: str, source: list[str]) -> None:
    for directive, text in MADE.items():
        if directive in source[0].splitlines():
            source[0] = "\n".join(text() if line == directive else line for line in source[0].splitlines())


def setup(app: Sphinx) -> None:
    app.connect("source-read", make)
    # These have to be read again when only what they are made from has changed.
    app.connect("env-get-outdated", lambda *_: ["changelog", "design"])
