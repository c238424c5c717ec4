"""Who looks at the pages: sessions in a signed cookie, and what proves that a form is one of ours.

The cookie holds the id of a token's entry and when it ends, never the token. A token whose entry is taken out of the
settings, or changed, ends its sessions with it; so does taking the key away that signed them.

Without any token in the settings nobody logs in: whoever asks from this machine is let in (see `api.guard`), and forms
are bound to this server's key alone.
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

SECONDS: Final = 8 * 3_600
"""How long a session lasts."""

_VERSION: Final = "1"
_LONGEST: Final = 400
_INFO: Final = b"fbs-worker sessions of the pages"
_NONCE_BYTES: Final = 12


class Sessions:
    """Begins sessions, knows who holds one, ends them.

    Args:
        tokens: those of the settings.
        keys: what signs; the first signs, all verify. A random one, known to this process alone, where there is none.
        clock: seconds since 1970.
    """

    def __init__(self, tokens: Tokens, *, keys: Sequence[bytes] = (), clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._keys = tuple(keys) or (secrets.token_bytes(32),)
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings, tokens: Tokens) -> Self:
        """Sessions that every process with the same FBS_SECRET_KEYS knows."""
        given = settings.fbs_secret_keys.get_secret_value().split(",")
        return cls(tokens, keys=[_derived(key.strip()) for key in given if key.strip()])

    @property
    def needed(self) -> bool:
        """Whether anybody has to log in."""
        return bool(self._tokens)

    def begin(self, response: Response, caller: Principal, *, https: bool) -> None:
        """Give an answer the cookie of a new session.

        Args:
            response: the answer to a log-in.
            caller: who has logged in.
            https: the browser came by https, and is to send the cookie by nothing else.
        """
        ends = int(self._clock()) + SECONDS
        body = f"{_VERSION}.{caller.token_id}.{ends}.{secrets.token_urlsafe(_NONCE_BYTES)}"
        value = f"{body}.{_sign(self._keys[0], 'session', body)}"
        response.set_cookie(
            SESSION_COOKIE, value, max_age=SECONDS, path="/", httponly=True, samesite="strict", secure=https
        )

    @staticmethod
    def end(response: Response, *, https: bool) -> None:
        """Have the browser forget its session."""
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict", secure=https)

    def principal(self, cookie: str) -> Principal | None:
        """Whose session a cookie's value stands for; None when it is none, or none any more."""
        body, _, signature = cookie.rpartition(".")
        if not body or len(cookie) > _LONGEST:
            return None
        signed = [hmac.compare_digest(_sign(key, "session", body).encode(), signature.encode()) for key in self._keys]
        if not any(signed):
            return None
        version, token_id, ends, _nonce = body.split(".")
        if version != _VERSION or int(ends) <= self._clock():
            return None
        return self._tokens.by_id(token_id)

    def form_token(self, request: Request) -> str:
        """What a form of this session carries, so that no other site can send it."""
        return _sign(self._keys[0], "form", self._bound(request))

    def is_form_token(self, request: Request, given: str) -> bool:
        """Whether a form carries what `form_token` gave to a page of this session."""
        bound, found = self._bound(request), given.encode(errors="replace")
        valid = [hmac.compare_digest(_sign(key, "form", bound).encode(), found) for key in self._keys]
        return any(valid)

    def _bound(self, request: Request) -> str:
        return request.cookies.get(SESSION_COOKIE, "") if self.needed else LOCAL.token_id


def _derived(key: str) -> bytes:
    """A key for this purpose alone (RFC 5869), of one that has another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key.encode())


def _sign(key: bytes, purpose: str, body: str) -> str:
    digest = hmac.new(key, f"{purpose}\n{body}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
