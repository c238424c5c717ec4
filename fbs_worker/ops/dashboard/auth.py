"""The one door of the dashboard: whoever does not give user and password learns nothing, whatever the address.

Flower asks some of its pages for a password and leaves others open (`/metrics`, `/healthcheck`, `/static`), so the
question is put before its routes are looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from typing import Final, cast

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine

from fbs_worker.core.errors import SettingsError

_log = logging.getLogger(__name__)

_WORDS: Final = b"User and password are needed.\n"


class Door:
    """Knows the user and the password (HTTP Basic, RFC 7617).

    Args:
        user: who may come in; no colon in it.
        password: with what.

    Raises:
        SettingsError: the password is empty, or the user cannot be one.
    """

    def __init__(self, user: str, password: str) -> None:
        if not password:
            raise SettingsError(
                "The dashboard has no password.", hint="Set FBS_FLOWER_PASSWORD; without one it does not start."
            )
        if ":" in user:
            raise SettingsError("The dashboard's user may not have a colon in it.", hint="Correct FBS_FLOWER_USER.")
        self._expected = _digest(f"{user}:{password}".encode())

    def lets_in(self, header: str, *, address: str | None) -> bool:
        """Whether somebody gives the right user and password; it takes the same time whatever is given.

        Args:
            header: the request's Authorization header; empty if it has none.
            address: where the request comes from, for the log.
        """
        if hmac.compare_digest(_digest(_credentials(header)), self._expected):
            return True
        if header:
            _log.warning("the dashboard refused %s: wrong user or password", address)
        return False


def header_of(user: str, password: str) -> str:
    """The header with which someone comes in."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Refusal(HTTPMessageDelegate):
    """Answers a request with a request for the password, and keeps nothing of what it carries.

    Args:
        request: the request.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._request = request

    def finish(self) -> None:
        """The request has been read."""
        connection = cast("HTTPConnection", self._request.connection)
        headers = HTTPHeaders(
            {
                "WWW-Authenticate": 'Basic realm="fbs-worker", charset="UTF-8"',
                "Content-Type": "text/plain; charset=UTF-8",
                "Content-Length": str(len(_WORDS)),
                "Cache-Control": "no-store",
            }
        )
        body = b"" if self._request.method == "HEAD" else _WORDS
        connection.write_headers(ResponseStartLine("HTTP/1.1", 401, "Unauthorized"), headers, body)
        connection.finish()


def _credentials(header: str) -> bytes:
    """`user:password` of an Authorization header; empty, which nobody is called, where it has none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(text: bytes) -> bytes:
    """As long for a short text as for a long one, so that comparing tells nothing of a length."""
    return hashlib.sha256(text).digest()
