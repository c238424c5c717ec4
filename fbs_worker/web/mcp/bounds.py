"""Bounded answers: as many rows as fit, a cursor for the others, and values that are too long cut short. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

import orjson

from fbs_worker.catalogue.pagination import Page
from fbs_worker.core.characters import visible

MAX_BYTES: Final = 16_000
"""Maximum size of an answer as JSON."""

ROWS_BYTES: Final = 10_000
"""Maximum size of the rows of an answer; the rest has what remains."""

ROW_BYTES: Final = 2_500
"""Maximum size of one row."""

_STEPS: Final = ((1_000, 100), (300, 40), (100, 10), (40, 4), (20, 1))
"""Characters per text and entries per list or object, the first that is enough."""


def json_text(value: Any) -> str:
    """A value as JSON, with escapes for what changes a text's direction."""
    return visible(orjson.dumps(value).decode())


def size_of(value: Any) -> int:
    """The size of a value as JSON, in bytes."""
    return len(json_text(value).encode())


def shortened(value: Any, limit: int = ROW_BYTES) -> tuple[Any, bool]:
    """Cut long texts, lists and objects until a value fits.

    Args:
        value: JSON.
        limit: its maximum size, in bytes.

    Returns:
        The value, and whether something was cut. Texts that are cut end with `…`.
    """
    if size_of(value) <= limit:
        return value, False
    for characters, entries in _STEPS:
        short = _cut(value, characters, entries)
        if size_of(short) <= limit:
            return short, True
    return type(value)() if isinstance(value, dict | list | str) else None, True


def _cut(value: Any, characters: int, entries: int) -> Any:
    match value:
        case str():
            return value if len(value) <= characters else f"{value[:characters]}…"
        case list():
            return [_cut(entry, characters, entries) for entry in value[:entries]]
        case dict():
            return {name: _cut(entry, characters, entries) for name, entry in islice(value.items(), entries * 4)}
        case _:
            return value


def rows_that_fit(rows: Iterable[tuple[str, Any]], limit: int) -> tuple[list[Any], list[str]]:
    """Take rows from the first on, at least one.

    Args:
        rows: each with its name.
        limit: maximum number of rows.

    Returns:
        The rows, and the names of those that were cut short.
    """
    taken: list[Any] = []
    names: list[str] = []
    left = ROWS_BYTES
    for name, row in islice(rows, limit):
        short, is_cut = shortened(row)
        left -= size_of(short) + len(name.encode()) + 4
        if left < 0 and taken:
            break
        taken.append(short)
        names += [name] if is_cut else []
    return taken, names


def page_that_fits(
    read: Callable[[int], Page], limit: int, row: Callable[[Mapping[str, Any]], tuple[str, Any]]
) -> tuple[list[Any], str | None, list[str]]:
    """Read a page of the catalogue; one that is too long again with fewer rows.

    Args:
        read: reads a page of at most so many rows.
        limit: maximum number of rows.
        row: makes a row of the answer, and its name.

    Returns:
        The rows, the cursor of the next page, and the names of the rows that were cut short.
    """
    while True:
        page = read(limit)
        taken, names = rows_that_fit(map(row, page.rows), limit)
        if len(taken) == len(page.rows):
            return taken, page.next, names
        limit = len(taken)
