"""HTTP Basic authentication of the dashboard: no request passes without user and password, whatever its address.

Flower protects some of its pages and leaves others open (`/metrics`, `/healthcheck`, `/static`), so the check runs
before its routing.
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

_BODY: Final = b"User and password are required.\n"


class BasicAuth:
    """Check requests against one user and password (HTTP Basic, RFC 7617).

    Args:
        user: the user name, without a colon.
        password: the password.

    Raises:
        SettingsError: the password is empty, or the user name has a colon.
    """

    def __init__(self, user: str, password: str) -> None:
        if not password:
            raise SettingsError(
                "The dashboard has no password.", hint="Set FBS_FLOWER_PASSWORD; without one it does not start."
            )
        if ":" in user:
            raise SettingsError("The dashboard's user may not contain a colon.", hint="Correct FBS_FLOWER_USER.")
        self._expected = _digest(f"{user}:{password}".encode())

    def accepts(self, header: str, *, address: str | None) -> bool:
        """Compare credentials in constant time.

        Args:
            header: the request's Authorization header; empty if it has none.
            address: the client's address, for the log.

        Returns:
            True if user and password are right.
        """
        if hmac.compare_digest(_digest(_credentials(header)), self._expected):
            return True
        if header:
            _log.warning("the dashboard rejected %s: wrong user or password", address)
        return False


def basic_auth_header(user: str, password: str) -> str:
    """The Authorization header for a user and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Unauthorized(HTTPMessageDelegate):
    """Answer a request with 401 and discard its body.

    Args:
        request: the request.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._request = request

    def finish(self) -> None:
        """Send the response: the request has been read."""
        connection = cast("HTTPConnection", self._request.connection)
        headers = HTTPHeaders(
            {
                "WWW-Authenticate": 'Basic realm="fbs-worker", charset="UTF-8"',
                "Content-Type": "text/plain; charset=UTF-8",
                "Content-Length": str(len(_BODY)),
                "Cache-Control": "no-store",
            }
        )
        body = b"" if self._request.method == "HEAD" else _BODY
        connection.write_headers(ResponseStartLine("HTTP/1.1", 401, "Unauthorized"), headers, body)
        connection.finish()


def _credentials(header: str) -> bytes:
    """`user:password` of an Authorization header; empty, which matches no user, without valid ones."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(text: bytes) -> bytes:
    """Hash to a fixed length, so that the comparison's duration does not reveal the password's length."""
    return hashlib.sha256(text).digest()
