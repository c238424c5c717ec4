"""HTTP Basic authentication of the dashboard: no request passes without user and password, whatever its address.

Flower protects some of its pages and leaves others open (`/metrics`, `/healthcheck`, `/static`), and it compares ASCII
passwords only, so the check runs before its routing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from typing import Any

from tornado.web import HTTPError, RequestHandler

from fbs_worker.core.errors import SettingsError

_log = logging.getLogger(__name__)


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


class Unauthorized(RequestHandler):
    """Answers every request with 401, whatever its method."""

    def prepare(self) -> None:
        """Refuse the request."""
        raise HTTPError(401)

    def write_error(self, status_code: int, **_details: Any) -> None:
        """Write the answer: to a method or a form that Tornado rejects before `prepare` as well."""
        del status_code
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="fbs-worker", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.finish("User and password are required.\n")


def _credentials(header: str) -> bytes:
    """`user:password` of an Authorization header; empty, which matches no user, without valid ones."""
    scheme, _, encoded = header.partition(" ")
    try:
        return base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


def _digest(text: bytes) -> bytes:
    """Hash to a fixed length, so that the comparison's duration does not reveal the password's length."""
    return hashlib.sha256(text).digest()
