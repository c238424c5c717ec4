"""Keyset pagination of the catalogue: pages, opaque cursors, limits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from fbs_worker.core.errors import UsageError

MAX_ROWS: Final = 1_000
"""Maximum rows of a page."""

MAX_ID: Final = 2**31 - 1
"""Maximum value of an INTEGER column."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a result.

    Attributes:
        texts: each row as JSON text.
        next: cursor of the next page; None on the last page.
    """

    texts: Sequence[str] = ()
    next: str | None = None

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, parsed."""
        return [orjson.loads(text) for text in self.texts]

    def json(self) -> str:
        """All rows as one JSON list."""
        return f"[{','.join(self.texts)}]"


def cut(rows: Sequence[tuple[Any, ...]], limit: int, cursor: Callable[[tuple[Any, ...]], str]) -> Page:
    """Cut rows to a page.

    Args:
        rows: the rows, with the JSON of each in the last column; one more than the limit where more rows follow.
        limit: maximum rows of the page.
        cursor: makes the cursor that continues after a row.

    Returns:
        The page, with a cursor where more rows follow.
    """
    page = rows[:limit]
    return Page(texts=[row[-1] for row in page], next=cursor(page[-1]) if len(rows) > limit else None)


def checked_limit(limit: int) -> int:
    """Validate the number of requested rows.

    Args:
        limit: requested rows, 1 to `MAX_ROWS`.

    Returns:
        The same number.

    Raises:
        UsageError: the limit is out of range.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise UsageError("limit is not valid.", hint=f"Use a limit from 1 to {MAX_ROWS}.")
    return limit


def encode_cursor(position: Any) -> str:
    """Encode a position as an opaque cursor.

    Args:
        position: the JSON-ready position after which the next page starts.

    Returns:
        URL-safe text.
    """
    return base64.urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> Any:
    """Decode a cursor of `encode_cursor`.

    Args:
        cursor: the text.

    Returns:
        The position.

    Raises:
        UsageError: the text is not a cursor.
    """
    try:
        return orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def bad_cursor() -> UsageError:
    """The error for an invalid cursor."""
    return UsageError("The cursor is not valid.", hint="Pass `next` of the previous page unchanged, or no cursor.")
