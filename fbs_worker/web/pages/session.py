"""Sessions of the pages, and CSRF tokens of forms, both sealed with Fernet.

The cookie contains the id of a token's entry, never the token. Redis has a record of each session, which the log-out
removes. Removing or changing the entry in the settings ends its sessions; so does removing the key that sealed them.

Without configured tokens there is no log-in: requests from this machine are authenticated as `local` (see `api.auth`),
and CSRF tokens are bound to the server's key only.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core import redis as queue
from fbs_worker.core.settings import Settings
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.api.tokens import LOCAL, Principal, Tokens

SESSION_SECONDS: Final = 8 * 3_600
"""Lifetime of a session, in seconds."""

_RECORD: Final = "fbs:session:{}"
_INFO: Final = b"fbs-worker sessions of the pages"
_SESSION, _FORM = b"session\n", b"form\n"
"""What a sealed text is for."""


class Sessions:
    """Start, verify and end sessions. All processes that share FBS_SECRET_KEYS and the Redis share them.

    Args:
        settings: FBS_SECRET_KEYS, of which the first key seals and all open (default: a random key of this process),
            and FBS_REDIS_URL.
        tokens: the configured tokens.
        clock: seconds since 1970.
    """

    def __init__(self, settings: Settings, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        keys = [key.strip() for key in settings.fbs_secret_keys.get_secret_value().split(",") if key.strip()]
        self._fernet = MultiFernet([Fernet(_derived(key)) for key in keys or [Fernet.generate_key().decode()]])
        self._tokens = tokens
        self._clock = clock
        self._redis = queue.connect(settings.fbs_redis_url)
        self._address = queue.address(settings.fbs_redis_url)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    @property
    def required(self) -> bool:
        """Whether the pages need a log-in."""
        return bool(self._tokens)

    def begin(self, request: Request, response: Response, principal: Principal, *, https: bool) -> None:
        """Start a session, and set its cookie.

        Args:
            request: the log-in.
            response: the response to the log-in.
            principal: the authenticated principal.
            https: the log-in came over HTTPS: restrict the cookie to it.

        Raises:
            QueueUnreachable: Redis does not respond.
        """
        sealed = self._fernet.encrypt_at_time(_SESSION + principal.token_id.encode(), int(self._clock())).decode()
        with queue.errors_translated(self._address):
            self._redis.set(_record(sealed), principal.name, ex=SESSION_SECONDS)
        response.set_cookie(
            SESSION_COOKIE,
            sealed,
            max_age=SESSION_SECONDS,
            path=_cookie_path(request),
            httponly=True,
            samesite="strict",
            secure=https,
        )

    def end(self, request: Request, response: Response, *, https: bool) -> None:
        """End a session, and delete its cookie.

        Args:
            request: the log-out.
            response: the response to it.
            https: as for `begin`.

        Raises:
            QueueUnreachable: Redis does not respond.
        """
        with queue.errors_translated(self._address):
            self._redis.delete(_record(request.cookies.get(SESSION_COOKIE, "")))
        response.delete_cookie(
            SESSION_COOKIE, path=_cookie_path(request), httponly=True, samesite="strict", secure=https
        )

    def principal(self, cookie: str) -> Principal | None:
        """Return the principal of a session cookie; None if it is invalid, expired, ended or its token was removed.

        Raises:
            QueueUnreachable: Redis does not respond.
        """
        token_id = self._opened(cookie, _SESSION, ttl=SESSION_SECONDS)
        if token_id is None:
            return None
        with queue.errors_translated(self._address):
            alive = self._redis.exists(_record(cookie))
        return self._tokens.by_id(token_id.decode()) if alive else None

    def form_token(self, request: Request) -> str:
        """Return a CSRF token for the forms of a session."""
        return self._fernet.encrypt(_FORM + self._bound(request)).decode()

    def is_form_token(self, request: Request, token: str) -> bool:
        """Whether a CSRF token was made by `form_token` for this session."""
        return self._opened(token, _FORM) == self._bound(request)

    def _bound(self, request: Request) -> bytes:
        session = request.cookies.get(SESSION_COOKIE, "") if self.required else LOCAL.token_id
        return hashlib.sha256(session.encode(errors="replace")).digest()

    def _opened(self, sealed: str, purpose: bytes, *, ttl: int | None = None) -> bytes | None:
        """Open a sealed text; None if it is invalid, expired or for another purpose."""
        encoded = sealed.encode(errors="replace")
        try:
            if ttl is None:
                text = self._fernet.decrypt(encoded)
            else:
                text = self._fernet.decrypt_at_time(encoded, ttl, int(self._clock()))
        except InvalidToken:
            return None
        return text.removeprefix(purpose) if text.startswith(purpose) else None


def _record(cookie: str) -> str:
    return _RECORD.format(hashlib.sha256(cookie.encode(errors="replace")).hexdigest())


def _derived(key: str) -> bytes:
    """Derive a key from an encryption key (HKDF, RFC 5869): one key must not serve two purposes."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key.encode())
    return base64.urlsafe_b64encode(derived)


def _cookie_path(request: Request) -> str:
    """The prefix under which a proxy serves the pages: others on its host do not get the cookie."""
    return f"{request.scope.get('root_path', '')}/"
