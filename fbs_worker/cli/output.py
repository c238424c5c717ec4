"""Where the command line writes: results to stdout, everything else to stderr.

On a terminal there is colour and there are tables with lines; in a pipe there are plain lines, one row each, never cut.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fbs_worker.errors import FBSError

if TYPE_CHECKING:
    from rich.console import Console


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
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    footnote: str = ""


Block = Table | str


def say(text: str = "") -> None:
    """One line of result for a person, on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One line that is not the result, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """The result as JSON, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_error(error: FBSError) -> None:
    """What is wrong and what to do, one line each, on stderr."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    red, dim, plain = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    note(f"{red}error:{plain} {error.message}")
    if error.hint:
        note(f"{dim}hint:{plain} {error.hint}")


@contextmanager
def errors_as(output_format: OutputFormat) -> Iterator[None]:
    """Whoever asked for JSON gets an error as JSON on stdout, too; it still goes on its way to stderr and exit code."""
    try:
        yield
    except FBSError as exc:
        if output_format is OutputFormat.JSON:
            print_json({"error": exc.to_dict()})
        raise


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
    widths = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if table.footnote:
        yield f"  {table.footnote}"


def error_console() -> Console:
    """A console for progress, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _print_rich(blocks: Sequence[Block]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(block))
            continue
        drawn = RichTable(title=Text(block.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in block.columns:
            drawn.add_column(Text(column), overflow="fold", justify="right" if _numbers(block, column) else "left")
        for row in block.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
        if block.footnote:
            console.print(Text(f" {block.footnote}", "dim"))


def _numbers(table: Table, column: str) -> bool:
    position = list(table.columns).index(column)
    return bool(table.rows) and all(row[position].replace(",", "").isdigit() for row in table.rows)
