"""Sessions of the pages in a signed cookie, and CSRF tokens of forms.

The cookie contains the id of a token's entry and the session's expiry, never the token. Removing or changing the entry
in the settings ends its sessions; so does removing the key that signed them.

Without configured tokens there is no log-in: requests from this machine are authenticated as `local` (see `api.auth`),
and CSRF tokens are bound to the server's key only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core.settings import Settings
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.api.tokens import LOCAL, Principal, Tokens

SESSION_SECONDS: Final = 8 * 3_600
"""Lifetime of a session, in seconds."""

_VERSION: Final = "1"
_MAX_COOKIE: Final = 400
_INFO: Final = b"fbs-worker sessions of the pages"
_NONCE_BYTES: Final = 12


class Sessions:
    """Start, verify and end sessions.

    Args:
        tokens: the configured tokens.
        keys: the signing keys: the first one signs, all verify; default: a random key of this process.
        clock: seconds since 1970.
    """

    def __init__(self, tokens: Tokens, *, keys: Sequence[bytes] = (), clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._keys = tuple(keys) or (secrets.token_bytes(32),)
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings, tokens: Tokens) -> Self:
        """Create sessions with keys derived from FBS_SECRET_KEYS: all processes that share those share the sessions.

        Args:
            settings: FBS_SECRET_KEYS.
            tokens: the configured tokens.
        """
        secrets_ = settings.fbs_secret_keys.get_secret_value().split(",")
        return cls(tokens, keys=[_derive(secret.strip()) for secret in secrets_ if secret.strip()])

    @property
    def required(self) -> bool:
        """Whether the pages need a log-in."""
        return bool(self._tokens)

    def begin(self, response: Response, principal: Principal, *, https: bool) -> None:
        """Set the cookie of a new session.

        Args:
            response: the response to the log-in.
            principal: the authenticated principal.
            https: the log-in came over HTTPS: restrict the cookie to it.
        """
        ends = int(self._clock()) + SESSION_SECONDS
        body = f"{_VERSION}.{principal.token_id}.{ends}.{secrets.token_urlsafe(_NONCE_BYTES)}"
        value = f"{body}.{_sign(self._keys[0], 'session', body)}"
        response.set_cookie(
            SESSION_COOKIE, value, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict", secure=https
        )

    @staticmethod
    def end(response: Response, *, https: bool) -> None:
        """Delete the session's cookie.

        Args:
            response: the response to the log-out.
            https: as for `begin`.
        """
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict", secure=https)

    def principal(self, cookie: str) -> Principal | None:
        """Return the principal of a session cookie; None if it is invalid, expired or its token was removed."""
        body, _, signature = cookie.rpartition(".")
        if not body or len(cookie) > _MAX_COOKIE:
            return None
        signed = [hmac.compare_digest(_sign(key, "session", body).encode(), signature.encode()) for key in self._keys]
        if not any(signed):
            return None
        version, token_id, ends, _nonce = body.split(".")
        if version != _VERSION or int(ends) <= self._clock():
            return None
        return self._tokens.by_id(token_id)

    def form_token(self, request: Request) -> str:
        """Return the CSRF token for the forms of a session."""
        return _sign(self._keys[0], "form", self._bound(request))

    def is_form_token(self, request: Request, token: str) -> bool:
        """Whether a CSRF token was made by `form_token` for this session."""
        bound, encoded = self._bound(request), token.encode(errors="replace")
        valid = [hmac.compare_digest(_sign(key, "form", bound).encode(), encoded) for key in self._keys]
        return any(valid)

    def _bound(self, request: Request) -> str:
        return request.cookies.get(SESSION_COOKIE, "") if self.required else LOCAL.token_id


def _derive(key: str) -> bytes:
    """Derive a signing key from an encryption key (HKDF, RFC 5869): one key must not serve two purposes."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key.encode())


def _sign(key: bytes, purpose: str, body: str) -> str:
    digest = hmac.new(key, f"{purpose}\n{body}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
