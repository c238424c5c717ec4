"""Pieces of Markdown, escaped so that MyST reads text of the code as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_CODE: Final = re.compile(r"(`[^`]+`)")
_NAME: Final = re.compile(r"(?<![\w`-])((?:FBS|ODOO)_[A-Z_]*[A-Z]|--[a-z][a-z-]*)(?![\w`=])")
"""A setting or an option that is named in running text without backticks."""

_SPECIAL: Final = re.compile(r"([\\*_<>\[\]{}$|#])")


def text(words: str) -> str:
    """Running text: everything that Markdown would interpret is escaped, but for code between backticks.

    Names of settings and options become code.
    """
    parts = _CODE.split(" ".join(words.split()))
    return "".join(part if index % 2 else _escaped(part) for index, part in enumerate(parts))


def sentence(words: str) -> str:
    """Running text that begins with a capital and ends with a full stop."""
    plain = " ".join(words.split())
    begin = plain if plain.startswith("`") else plain[:1].upper() + plain[1:]
    return text(begin if begin.endswith((".", "!", "?", ":")) else f"{begin}.") if plain else ""


def code(words: object) -> str:
    """Code within a line; text that holds backticks itself gets longer ones around it."""
    plain = str(words)
    longest = max((len(ticks) for ticks in re.findall("`+", plain)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{ticks}{pad}{plain}{pad}{ticks}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already, a bar within code is escaped here."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def directive(name: str, argument: str, content: str) -> str:
    """A MyST directive with content of its own."""
    return f"::::{{{name}}} {argument}\n{content.strip()}\n::::\n"


def block(language: str, content: str) -> str:
    """A block of code."""
    return f"```{language}\n{content.rstrip()}\n```\n"


def _escaped(words: str) -> str:
    pieces = _NAME.split(words)
    return "".join(f"`{piece}`" if index % 2 else _SPECIAL.sub(r"\\\1", piece) for index, piece in enumerate(pieces))


def _cell(markdown: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", markdown.replace("\n", " "))
