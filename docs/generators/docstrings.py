"""Docstrings for Sphinx: one entry per error below `Raises:`, and links from an error's short name to its class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fbs_worker.core import errors

if TYPE_CHECKING:
    from docutils.nodes import reference
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_SEVERAL: Final = re.compile(r"^(\s+)((?:[A-Z]\w+, )+[A-Z]\w+): (.*)$")
_CODE: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def prepare(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Make reStructuredText that napoleon understands of a docstring: code, errors, properties.

    `A, B: text` below `Raises:` becomes an entry for each of the errors. A colon in the first line of a property's
    docstring would make a type of what is before it. Of a module only the first line is shown.
    """
    if what == "module":
        del lines[1:]
    for index in reversed(range(len(lines))):
        lines[index] = _CODE.sub(lambda code: f"``{code[1].strip()}``", lines[index])
        several = _SEVERAL.match(lines[index])
        if several:
            indent, names, text = several.groups()
            lines[index : index + 1] = [f"{indent}{name}: {text}" for name in names.split(", ")]
    if what in {"property", "attribute"} and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")


def link_errors(app: Sphinx, env: BuildEnvironment, node: Any, content: Any) -> reference | None:
    """Resolve a short name, e.g. `UsageError`, that a docstring mentions.

    Returns:
        A link to the class of that name; None where there is none, which is a warning.
    """
    kind = getattr(errors, str(node.get("reftarget", "")), None)
    if node.get("refdomain") != "py" or not isinstance(kind, type):
        return None
    target = f"{kind.__module__}.{kind.__name__}"
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "class", target, node, content)
