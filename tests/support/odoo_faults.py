"""What an Odoo, or a proxy before it, can do wrong, and the bodies of what it answers then."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Any, Final

LOGIN_PAGE: Final = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form></form></body></html>\n"
NOT_FOUND_PAGE: Final = (
    b"<!DOCTYPE html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>No database is selected and the requested "
    b"URL was not found in the server-wide controllers.</p>\n"
)
GATEWAY_PAGE: Final = (
    b"<html>\r\n<head><title>%d %s</title></head>\r\n<body><hr><center>nginx</center></body></html>\r\n"
)


class Misbehaviour(StrEnum):
    """One way to misbehave."""

    BAD_GATEWAY = auto()
    """502 with a proxy's HTML."""
    GATEWAY_TIMEOUT = auto()
    """504 with a proxy's HTML."""
    TOO_MANY_REQUESTS = auto()
    """429 with a proxy's HTML."""
    FOREIGN_JSON = auto()
    """500 with JSON that is not Odoo's."""
    LOGIN_PAGE = auto()
    """A proxy's login page, with status 200."""
    REDIRECT = auto()
    """A redirect to a login page."""
    PROXY_LOGIN = auto()
    """401 with HTML: a proxy wants credentials of its own."""
    INVALID_JSON = auto()
    """JSON with a mistake in it."""
    CUT_SHORT = auto()
    """Half of the answer, then the end of the connection."""
    CUT_SHORT_UNSAID = auto()
    """The same without a Content-Length, as an old proxy does it."""
    HANG = auto()
    """No answer, ever."""
    HANG_HALFWAY = auto()
    """Half of the answer, then nothing."""
    DRIP = auto()
    """The headers at once, the body one byte at a time."""
    DRIP_HEADERS = auto()
    """The headers one byte at a time."""
    CLOSE_AFTER = auto()
    """A proper answer, then the connection is closed without a word."""
    CLOSE_WITHOUT_ANSWER = auto()
    """The connection is closed when a request has come."""
    NOT_HTTP = auto()
    """An answer that is not HTTP."""
    FORGET_SESSIONS = auto()
    """Every web session has expired."""
    POSTGRES_DOWN = auto()
    """Odoo answers that it cannot reach its own PostgreSQL."""
    ECHO_SECRETS = auto()
    """Odoo answers with an error whose text holds the whole request."""


def error_data(name: str, text: str, *, trace: str) -> dict[str, Any]:
    """What Odoo says of an exception (`serialize_exception` in `odoo/http.py`).

    Args:
        name: the exception's dotted class.
        text: its text.
        trace: what else stands in the trace, which no client may repeat.
    """
    return {
        "name": name,
        "message": text,
        "arguments": [text],
        "context": {},
        "debug": f'Traceback (most recent call last):\n  File "/opt/odoo/http.py", line 1\n{trace}\n{name}: {text}\n',
    }


def access_error_text(model: str, groups: list[str]) -> str:
    """The text of an AccessError (`_make_access_error` in `ir_model.py`), which lists the groups that would do."""
    listed = "\n".join(f"\t- {group}" for group in groups)
    allowed = (
        f"This operation is allowed for the following groups:\n{listed}"
        if groups
        else "No group currently allows this operation."
    )
    return (
        f"You are not allowed to access '{model}' ({model}) records.\n\n{allowed}\n\n"
        "Contact your administrator to request access if necessary."
    )
