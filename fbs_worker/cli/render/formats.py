"""Formats of single values: counts, sizes and times."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

MAX_ROWS: Final = 20
"""Rows shown of a table; JSON has all of them."""


def more_rows(items: Sequence[Any]) -> str:
    """The footnote of a table that shows only the first of these items; empty if it shows all."""
    return f"… and {len(items) - MAX_ROWS:,} more (all with --output-format json)" if len(items) > MAX_ROWS else ""


def count(number: int) -> str:
    """A count; a dash for 0, so that the others stand out."""
    return f"{number:,}" if number else "-"


def local_time(text: str | None, *, seconds: bool = True) -> str:
    """A time as local time with its zone; in a pipe as ISO 8601 with the offset.

    Args:
        text: an ISO timestamp; the result is empty for None.
        seconds: whether a terminal shows the seconds.
    """
    if not text:
        return ""
    local = datetime.fromisoformat(text).astimezone()
    if not sys.stdout.isatty():
        return local.isoformat(timespec="seconds")
    return local.strftime(f"%Y-%m-%d %H:%M{':%S' if seconds else ''} %Z")


def size(number: int | None) -> str:
    """A size in B to TB; empty for None.

    Args:
        number: bytes.
    """
    if number is None:
        return ""
    amount, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    whole = units[0] in {"B", "kB"} or amount >= 100
    return f"{amount:,.0f} {units[0]}" if whole else f"{amount:.1f} {units[0]}"
