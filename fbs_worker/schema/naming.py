"""Names of tables, indexes and constraints by PostgreSQL's rules. Pure.

PostgreSQL accepts any text without a zero byte as a quoted identifier, and silently truncates it to 63 bytes
(documentation, section 4.1.1). Longer names of tables and columns are therefore rejected; generated names (indexes,
constraints, link tables) are shortened with a hash.
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
    """Validate a name and mark it as quoted.

    Args:
        name: the full name, including the prefix.
        what: kind of the named object, for the message.

    Raises:
        UsageError: the name is empty, contains control characters, is not valid Unicode, or is longer than 63 bytes.
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
            f"The {what} name {name!r} has {length} bytes, PostgreSQL allows {MAX_IDENTIFIER_BYTES}.", hint=_HINT
        )
    return quoted_name(name, quote=True)


def derived_name(whole: str, end: str = "") -> quoted_name:
    """Derive the name of a dependent object, e.g. from `rental_lease_tenant_id` and `_fkey`.

    A name longer than 63 bytes is truncated before its suffix, with eight hexadecimal digits of the SHA-256 of the full
    name in between.

    Args:
        whole: the table's name and further distinguishing parts.
        end: suffix for the kind, e.g. `_idx`, `_key`, `_fkey`.
    """
    encoded = (whole + end).encode()
    if len(encoded) <= MAX_IDENTIFIER_BYTES:
        return quoted_name(whole + end, quote=True)
    end = f"_{hashlib.sha256(encoded).hexdigest()[:8]}{end}"
    head = whole.encode()[: MAX_IDENTIFIER_BYTES - len(end.encode())].decode(errors="ignore")
    return quoted_name(head + end, quote=True)
