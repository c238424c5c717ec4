"""Links from the name of a setting or a command in running text to its entry in the reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from docutils.nodes import document
    from sphinx.application import Sphinx

_SETTING: Final = re.compile(r"(?:FBS|ODOO)_[A-Z_]+")
_COMMAND: Final = re.compile(r"fbs [a-z-]+(?: [a-z-]+)?")


def link_names(app: Sphinx, doctree: document, page: str) -> None:
    """Make a link of each `FBS_…`, `ODOO_…` and `fbs …` that the reference has an entry for.

    Args:
        app: Sphinx's application.
        doctree: the page.
        page: its name.
    """
    from docutils import nodes

    domain: Any = app.env.domains["std"]
    for literal in list(doctree.findall(nodes.literal)):
        target = _target(domain, literal.astext())
        if target is None or target[0] == page or isinstance(literal.parent, nodes.reference | nodes.title):
            continue
        uri = f"{app.builder.get_relative_uri(page, target[0])}#{target[1]}"
        link = nodes.reference("", "", literal.deepcopy(), refuri=uri, internal=True)
        literal.replace_self(link)


def _target(domain: Any, text: str) -> tuple[str, str] | None:
    """The page and the anchor; None where there is no entry."""
    if _SETTING.fullmatch(text):
        entry: tuple[str, str] | None = domain.objects.get(("envvar", text))
        return entry
    if command := _COMMAND.match(text):
        words = command[0].split()
        for count in (3, 2):
            label = domain.anonlabels.get("-".join(words[:count]))
            if label:
                return label[0], label[1]
    return None
