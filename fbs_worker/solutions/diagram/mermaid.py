"""Render diagrams as Mermaid text."""

from __future__ import annotations

import re

from fbs_worker.solutions.diagram.model import CONTROLS, Diagram, DiagramColumn


def mermaid(diagram: Diagram) -> str:
    """Render an entity-relationship diagram (https://mermaid.js.org/syntax/entityRelationshipDiagram.html).

    Args:
        diagram: its content.
    """
    lines = ["---", f"title: {_quoted(diagram.title)}", "---", "erDiagram"]
    for table in diagram.tables:
        lines.append(f"    {_quoted(_entity(table.name))} {{")
        lines += [f"        {_attribute(column)}" for column in table.columns]
        lines.append("    }")
        if table.mark:
            lines.append(f"    %% {_entity(table.name)}: {_plain(table.difference or table.mark)}")
    for link in diagram.links:
        label = ", ".join(link.columns) + (f" ({link.mark})" if link.mark else "")
        many = "||--o{" if link.required else "|o--o{"
        lines.append(f"    {_quoted(_entity(link.target))} {many} {_quoted(_entity(link.source))} : {_quoted(label)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"{_plain(text)}"'


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", CONTROLS.sub("", text)).replace('"', "'").replace("%", "").replace("\\", "")


def _entity(name: str) -> str:
    return re.sub(r"[^\w .-]", "_", name)


def _attribute(column: DiagramColumn) -> str:
    """Render a column; Mermaid allows only words of letters, digits and a few signs as type and name."""
    words = [_word(column.type), _word(column.name)]
    keys = [flag for flag in column.flags if flag.isalpha()]
    if keys:
        words.append(", ".join(keys))
    if column.mark:
        words.append(_quoted(f"{column.mark}: {column.difference}"))
    return " ".join(words)


def _word(text: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_()\[\]-]", "_", text)
    return word if re.match(r"[A-Za-z_]", word) else f"_{word}"
