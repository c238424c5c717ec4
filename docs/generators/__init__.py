"""Sphinx extension: reference pages generated from the code.

A page holds a line `<!-- generated: NAME -->`; it is replaced with Markdown that the module NAME of this package makes
while the page is read. Nothing generated is kept in the repository, so nothing can become stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from docs.generators import cli, domains, errors, http_api, metrics, requests, settings, tables
from docs.generators.docstrings import link_errors, prepare
from docs.generators.links import link_names

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "cli": cli.page,
    "domains": domains.page,
    "error-classes": errors.classes,
    "error-messages": errors.messages,
    "exit-codes": errors.exit_codes,
    "http-api": http_api.page,
    "metrics": metrics.page,
    "requests": requests.page,
    "settings": settings.page,
    "system-tables": tables.system,
}
"""The name in the marker, and what makes the Markdown."""

_MARKER: Final = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)


def expand(text: str) -> str:
    """Replace the markers of a page with the generated Markdown.

    Raises:
        KeyError: a marker names nothing that is generated.
    """
    return _MARKER.sub(lambda marker: GENERATED[marker[1]](), text)


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Connect the generators and the docstrings' links to Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")  # has the next event
    app.connect("source-read", _expand_source)
    app.connect("autodoc-process-docstring", prepare, priority=100)  # before napoleon reads it
    app.connect("missing-reference", link_errors)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _expand_source(_app: Sphinx, _name: str, source: list[str]) -> None:
    source[0] = expand(source[0])
