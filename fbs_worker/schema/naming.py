"""Names of tables, indexes and constraints, by PostgreSQL's rules. Pure.

PostgreSQL takes any text as a quoted name, save a zero byte, and cuts what is longer than 63 bytes without a word
(documentation, section 4.1.1). So a table's or column's name that is too long is refused here; names that nobody types
(indexes, constraints, link tables) are shortened by a rule that keeps them apart.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from sqlalchemy.sql.elements import quoted_name

from fbs_worker.core.errors import UsageError
from fbs_worker.core.identifiers import MAX_IDENTIFIER_BYTES

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_HINT: Final = "Choose a shorter --business-prefix or --table-prefix, or another name."


def checked_name(name: str, what: str = "table") -> quoted_name:
    """A name that PostgreSQL keeps as it is; it is always quoted.

    Args:
        name: the whole name, prefix included.
        what: what it names, for the message.

    Raises:
        UsageError: it is empty, has control characters, is no Unicode text, or has more than 63 bytes.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(f"The {what} name {name!r} is not valid Unicode text.", hint="Give it another name.") from None
    if not name or _CONTROL.search(name):
        problem = "has control characters" if name else "is empty"
        raise UsageError(f"The {what} name {name!r} {problem}.", hint="Give it another name.")
    if length > MAX_IDENTIFIER_BYTES:
        raise UsageError(
            f"The {what} name {name!r} has {length} bytes, PostgreSQL keeps {MAX_IDENTIFIER_BYTES}.", hint=_HINT
        )
    return quoted_name(name, quote=True)


def derived_name(whole: str, end: str = "") -> quoted_name:
    """The name of what belongs to a table, e.g. `rental_lease_tenant_id` and `_fkey`.

    What would pass 63 bytes keeps its beginning and its end, and between them gets eight hexadecimal digits of the
    whole name's SHA-256: two that differ stay apart.

    Args:
        whole: the table's name and what else tells it apart from others.
        end: says what it is, e.g. `_idx`, `_key`, `_fkey`.
    """
    encoded = (whole + end).encode()
    if len(encoded) <= MAX_IDENTIFIER_BYTES:
        return quoted_name(whole + end, quote=True)
    end = f"_{hashlib.sha256(encoded).hexdigest()[:8]}{end}"
    head = whole.encode()[: MAX_IDENTIFIER_BYTES - len(end.encode())].decode(errors="ignore")
    return quoted_name(head + end, quote=True)
