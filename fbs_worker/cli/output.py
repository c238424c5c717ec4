"""Where the command line writes: results to stdout, everything else to stderr.

On a terminal there is colour and there are tables with lines; in a pipe there are plain lines, one row each, never cut.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fbs_worker.core.errors import FBSError

if TYPE_CHECKING:
    from rich.console import Console


_CONTROLS: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\n"}
_ROOMY: Final = 72
"""Columns of a terminal from which on short cells need not be folded."""

_SHORT: Final = 12
_NUMBER: Final = re.compile(r"[0-9][0-9,]*((\.[0-9])? [kMGT]?B)?")


class OutputFormat(StrEnum):
    """What stdout holds."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings.

    Attributes:
        title: what it shows.
        columns: the headings.
        rows: as many cells each as there are columns.
        footnote: a line below, e.g. how many rows are not shown.
        whole: columns whose cells stay on one line on a terminal, too: what one copies.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    footnote: str = ""
    whole: Collection[str] = ()


Block = Table | str


def clean(text: str) -> str:
    """Text without control characters: what comes from elsewhere must not move a person's cursor."""
    return text.translate(_CONTROLS)


def say(text: str = "") -> None:
    """One line of result for a person, on stdout, at once: what runs on may have a log as its output."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line that is not the result, on stderr."""
    _write_error(clean(text))


def print_json(value: Any) -> None:
    """The result as JSON, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_error(error: FBSError) -> None:
    """What is wrong and what to do, one line each, on stderr."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    red, dim, plain = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    _write_error(f"{red}error:{plain} {clean(error.message)}")
    if error.hint:
        _write_error(f"{dim}hint:{plain} {clean(error.hint)}")


def print_blocks(blocks: Sequence[Block]) -> None:
    """Tables and lines, on stdout."""
    if sys.stdout.isatty():
        _print_rich(blocks)
        return
    for block in blocks:
        say(block if isinstance(block, str) else "\n".join(plain_lines(block)))


def plain_lines(table: Table) -> Iterator[str]:
    """A table for a pipe: aligned columns, no lines, nothing cut."""
    if table.title:
        yield f"{table.title}:"
    rows = [table.columns, *([_cell(text) for text in row] for row in table.rows)]
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(padded)}".rstrip()
    if table.footnote:
        yield f"  {table.footnote}"


def error_console() -> Console:
    """A console for progress, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _write_error(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cell(text: str) -> str:
    """On one line, whatever its author put in."""
    return clean(" ".join(text.split()))


def _width(text: str) -> int:
    """How many columns of a terminal it takes: letters of East Asia take two, accents that join take none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _print_rich(blocks: Sequence[Block]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(clean(block)))
            continue
        drawn = RichTable(
            title=Text(block.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for position, column in enumerate(block.columns):
            drawn.add_column(
                Text(column),
                overflow="fold",
                justify="right" if _numbers(block, position) else "left",
                no_wrap=console.width >= _ROOMY and (column in block.whole or _longest(block, position) <= _SHORT),
            )
        for row in block.rows:
            drawn.add_row(*(Text(_cell(text)) for text in row))
        console.print(drawn)
        if block.footnote:
            console.print(Text(f" {block.footnote}", "dim"))


def _longest(table: Table, position: int) -> int:
    return max((_width(row[position]) for row in table.rows), default=0)


def _numbers(table: Table, position: int) -> bool:
    """A column of counts or sizes; `-` stands for none."""
    cells = {row[position] for row in table.rows} - {"-"}
    return bool(cells) and all(map(_NUMBER.fullmatch, cells))
