"""Bearer tokens, of which the settings store only hashes.

FBS_API_TOKENS has an entry per token, separated by commas or newlines: `name:scope:hash`. The hash is the token's
SHA-256 in hexadecimal digits: a token has 256 random bits, so a slow password hash would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from fbs_worker.core.errors import SettingsError, UsageError

READ: Final = "read"
WRITE: Final = "write"
SCOPES: Final = {READ: frozenset({READ}), WRITE: frozenset({READ, WRITE})}
"""The scopes of a token per scope of its entry."""

PREFIX: Final = "fbs_"
"""Prefix of every token, by which people and secret scanners recognise one."""

_TOKEN: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAKE: Final = "`fbs new-token` makes a token and prints its entry: name:scope:hash."


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The authenticated sender of a request.

    Attributes:
        name: the token's name; `local` if no tokens are configured.
        scopes: its scopes: `read`, `write`.
        token_id: identifies the entry, even among entries of the same name; not a secret.
    """

    name: str
    scopes: frozenset[str]
    token_id: str


LOCAL: Final = Principal(name="local", scopes=SCOPES[WRITE], token_id="local")  # noqa: S106 -- no secret
"""The principal of every request from this machine, if no tokens are configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of FBS_API_TOKENS.

    Attributes:
        name: the token's name.
        scope: `read`, or `write`, which includes `read`.
        hash: the token's SHA-256, in hexadecimal digits.
    """

    name: str
    scope: str
    hash: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{self.scope}:{self.hash}"

    @property
    def principal(self) -> Principal:
        """The principal that the token authenticates."""
        token_id = hashlib.sha256(str(self).encode()).hexdigest()[:24]
        return Principal(name=self.name, scopes=SCOPES[self.scope], token_id=token_id)

    @classmethod
    def of(cls, token: str, *, name: str, scope: str) -> Self:
        """Make the entry of a token.

        Args:
            token: the token.
            name: its name.
            scope: its scope.

        Raises:
            UsageError: the name or the scope is not valid.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                "The token's name is not valid.",
                hint="Use up to 64 letters, digits, _, . and -, starting with a letter or digit.",
            )
        if scope not in SCOPES:
            raise UsageError("The token's scope is not valid.", hint=f"Use one of: {', '.join(SCOPES)}.")
        return cls(name=name, scope=scope, hash=_hash(token))


class Tokens:
    """The configured tokens.

    Args:
        entries: their entries.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = [(bytes.fromhex(entry.hash), entry.principal) for entry in entries]

    def __bool__(self) -> bool:
        return bool(self._entries)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse FBS_API_TOKENS.

        Args:
            text: entries separated by commas or newlines; a line that starts with # is a comment.

        Raises:
            SettingsError: an entry is not valid; the message does not quote it, for it may be a token.
        """
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        parts = [part.strip() for line in lines for part in line.split(",")]
        return cls(_entry(part, position) for position, part in enumerate(filter(None, parts), start=1))

    def authenticate(self, token: str) -> Principal | None:
        """Return the principal of a token, in constant time; None if it is unknown."""
        digest = hashlib.sha256(token.encode()).digest()
        match = None
        for known, principal in self._entries:
            if hmac.compare_digest(digest, known):
                match = principal
        return match if _TOKEN.fullmatch(token) else None

    def by_id(self, token_id: str) -> Principal | None:
        """Return the principal with this `token_id`; None if its entry was removed or changed."""
        return next((principal for _, principal in self._entries if principal.token_id == token_id), None)


def new_token() -> str:
    """Generate a token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _entry(text: str, position: int) -> Entry:
    name, _, rest = text.partition(":")
    scope, _, digest = rest.partition(":")
    if _TOKEN.search(text):
        raise SettingsError(
            f"Entry {position} of FBS_API_TOKENS contains a token instead of its hash.",
            hint=f"Make a new token, for this one is exposed. {_MAKE}",
        )
    if not _NAME.fullmatch(name) or scope not in SCOPES or not _HASH.fullmatch(digest.lower()):
        raise SettingsError(f"Entry {position} of FBS_API_TOKENS is not name:scope:hash.", hint=_MAKE)
    return Entry(name=name, scope=scope, hash=digest.lower())
