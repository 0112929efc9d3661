"""How Sphinx builds these pages: `python -m sphinx -W -b html docs docs/_build/html`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from exchange_ws.core.session import TRANSITIONS

project = "exchange_ws"
author = "the exchange_ws authors"
copyright = "2026, the exchange_ws authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
html_theme = "furo"
html_title = "exchange_ws"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
# What is not said to be Python is a command, its output or a line of log.
highlight_language = "none"
# `jupyter_execute` is what a build leaves beside its output: into docs/_build it would be docs/jupyter_execute.
exclude_patterns = ["_build", "jupyter_execute", "changes/*"]
# Docstrings are read in editors and terminals first, so names stand in plain backquotes: here they are links where that can be.
default_role = "py:obj"

# Notebooks are stored without what they show, and run each time: what fails there fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds for one cell; reached only when something hangs

autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

# Every reference to a name of ours has to lead somewhere; those of the standard library would need the network. What stands in
# plain backquotes may also be a parameter, or a word of the exchange.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!exchange_ws\b).*"),
    ("py:class", r"exchange_ws\..*\bSelf"),
    ("py:obj", r".*"),
]

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


def reword(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make a docstring, written for `help` and for maintainers, one for these pages. Comes before napoleon's turn."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # or napoleon takes what stands before a colon in the first line for a type; `..` shows nothing
    # Who owns what, and which lock guards it, is for maintainers.
    paragraphs = "\n".join(lines).split("\n\n")
    text = "\n\n".join(part for part in paragraphs if not part.startswith("Threads: "))
    # The page of the vendor's documentation that says so; in brackets it looks like a link that is broken.
    text = re.sub(r"(?<=\s)\[([A-Z][^]['\"`]*)\]", r"(source: *\1*)", text)
    lines[:] = text.split("\n")


def shorten(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, result: str) -> Any:
    """Defaults that are classes, by their names."""
    return signature and re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature), result


def find(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Where a public name leads that stands without its module, such as `Gap` or `Client.close`."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not re.fullmatch(r"[A-Z]\w*(\.\w+)?", target):
        return None
    python = env.domains["py"]
    places = {name for name in python.objects if name.endswith(f".{target}") and name.startswith("exchange_ws.")}
    public = {name for name in places if not python.objects[name].aliased}
    if len(public) != 1:
        return None
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", public.pop(), node, content)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", reword, priority=400)
    app.connect("autodoc-process-signature", shorten)
    app.connect("missing-reference", find)
    app.connect("source-read", make)
    # These have to be read again when only what they are made from has changed.
    app.connect("env-get-outdated", lambda *_: ["changelog", "design"])
