"""Output: results to stdout, everything else to stderr.

On a terminal tables have colours and rules; in a pipe each row is one plain, untruncated line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fbs_worker.core.characters import BIDIRECTIONAL, visible
from fbs_worker.core.errors import FBSError

if TYPE_CHECKING:
    from rich.console import Console


_CONTROLS: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\n"} | BIDIRECTIONAL
_WIDE: Final = 72
"""Width of a terminal, in columns, from which short cells are not folded."""

_SHORT: Final = 12
_NUMBER: Final = re.compile(r"[0-9][0-9,]*((\.[0-9])? [kMGT]?B)?")


class OutputFormat(StrEnum):
    """The format of stdout."""

    TEXT = "text"
    JSON = "json"


class PlanFormat(StrEnum):
    """The format of stdout of `fbs migrate`."""

    TEXT = "text"
    JSON = "json"
    SQL = "sql"
    """A planned migration as a script for psql."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: the title.
        columns: the headings.
        rows: the cells, as many per row as there are columns.
        footnote: a line below, e.g. the number of omitted rows.
        whole: columns that are never folded on a terminal, so that their cells can be copied.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    footnote: str = ""
    whole: Collection[str] = ()


Block = Table | str


def clean(text: str) -> str:
    """Remove control characters, and show those of text direction: untrusted text must not control the terminal."""
    return text.translate(_CONTROLS)


def say(text: str = "") -> None:
    """Print a line of the result on stdout, flushed: the output of a long-running command may be a log."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line that is not part of the result on stderr."""
    _write_error(clean(text))


def json_text(value: Any) -> str:
    """Return a result as indented JSON."""
    return visible(json.dumps(value, indent=2, ensure_ascii=False))


def print_json(value: Any) -> None:
    """Print the result as JSON on stdout."""
    sys.stdout.write(json_text(value) + "\n")


def print_result(value: Any, blocks: Callable[[], Sequence[Block]], output_format: OutputFormat) -> None:
    """Print a result on stdout.

    Args:
        value: the result, for JSON.
        blocks: makes the text of it.
        output_format: which of them to print.
    """
    if output_format is OutputFormat.JSON:
        print_json(value)
    else:
        print_blocks(blocks())


def print_error(error: FBSError) -> None:
    """Print message and hint of an error on stderr, one line each."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    red, dim, reset = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    _write_error(f"{red}error:{reset} {clean(error.message)}")
    if error.hint:
        _write_error(f"{dim}hint:{reset} {clean(error.hint)}")


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print tables and lines on stdout."""
    if sys.stdout.isatty():
        _print_rich(blocks)
        return
    for block in blocks:
        say(block if isinstance(block, str) else "\n".join(plain_lines(block)))


def plain_lines(table: Table) -> Iterator[str]:
    """The lines of a table for a pipe: aligned columns without rules or truncation."""
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
    """A console on stderr, for progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _write_error(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cell(text: str) -> str:
    """Collapse a cell to one line."""
    return clean(" ".join(text.split()))


def _width(text: str) -> int:
    """Width in terminal columns: East Asian characters have two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
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
        rich_table = RichTable(
            title=Text(block.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for position, column in enumerate(block.columns):
            rich_table.add_column(
                Text(column),
                overflow="fold",
                justify="right" if _numbers(block, position) else "left",
                no_wrap=console.width >= _WIDE and (column in block.whole or _longest(block, position) <= _SHORT),
            )
        for row in block.rows:
            rich_table.add_row(*(Text(_cell(text)) for text in row))
        console.print(rich_table)
        if block.footnote:
            console.print(Text(f" {block.footnote}", "dim"))


def _longest(table: Table, position: int) -> int:
    return max((_width(row[position]) for row in table.rows), default=0)


def _numbers(table: Table, position: int) -> bool:
    """Whether a column holds counts or sizes; `-` stands for none."""
    cells = {row[position] for row in table.rows} - {"-"}
    return bool(cells) and all(map(_NUMBER.fullmatch, cells))
