"""Who may use the API: bearer tokens, of which the settings hold only hashes.

FBS_API_TOKENS has an entry per token, divided by commas or lines: `name:scope:hash`. The hash is the token's SHA-256 in
hexadecimal digits: tokens are random and long, so no slow hash is needed to keep them from being guessed.
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
"""What an entry's scope lets its token do."""

PREFIX: Final = "fbs_"
"""How every token begins: people and scanners know one when they see it."""

_TOKEN: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAKE: Final = "`fbs new-token` makes a token and prints its entry: name:scope:hash."


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: the token's name; `local` where none is set.
        scopes: what it may do: `read`, `write`.
        token_id: tells the entry from any other, one of the same name, too; it is no secret.
    """

    name: str
    scopes: frozenset[str]
    token_id: str


LOCAL: Final = Caller(name="local", scopes=SCOPES[WRITE], token_id="local")  # noqa: S106 -- no secret
"""Everybody on this machine, where no token is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One token of the settings.

    Attributes:
        name: what it is called.
        scope: `read`, or `write`, which has read in it.
        hash: its SHA-256, in hexadecimal digits.
    """

    name: str
    scope: str
    hash: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{self.scope}:{self.hash}"

    @property
    def caller(self) -> Caller:
        """Whoever holds the token."""
        token_id = hashlib.sha256(str(self).encode()).hexdigest()[:24]
        return Caller(name=self.name, scopes=SCOPES[self.scope], token_id=token_id)

    @classmethod
    def of(cls, token: str, *, name: str, scope: str) -> Self:
        """The entry of a token.

        Raises:
            UsageError: the name or the scope cannot be one.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                "The token's name is not valid.",
                hint="It wants letters, digits, _, . and -, a letter or digit first, at most 64.",
            )
        if scope not in SCOPES:
            raise UsageError("The token's scope is not known.", hint=f"Known are: {', '.join(SCOPES)}.")
        return cls(name=name, scope=scope, hash=_hash(token))


class Tokens:
    """The tokens of the settings.

    Args:
        entries: one each.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = [(bytes.fromhex(entry.hash), entry.caller) for entry in entries]

    def __bool__(self) -> bool:
        return bool(self._entries)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Those of FBS_API_TOKENS.

        Args:
            text: entries divided by commas or lines; a line that begins with # is a comment.

        Raises:
            SettingsError: one is not an entry; the message shows nothing of it, for it may be a token.
        """
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        parts = [part.strip() for line in lines for part in line.split(",")]
        return cls(_entry(part, position) for position, part in enumerate(filter(None, parts), start=1))

    def caller(self, token: str) -> Caller | None:
        """Who holds this token; None when nobody does.

        It takes the same time whichever entry is right, and whether any is.
        """
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, caller in self._entries:
            if hmac.compare_digest(digest, known):
                found = caller
        return found if _TOKEN.fullmatch(token) else None

    def by_id(self, token_id: str) -> Caller | None:
        """The holder of the token with this id; None when its entry is gone from the settings or was changed."""
        return next((caller for _, caller in self._entries if caller.token_id == token_id), None)


def new_token() -> str:
    """A fresh token: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _entry(text: str, position: int) -> Entry:
    name, _, rest = text.partition(":")
    scope, _, digest = rest.partition(":")
    if _TOKEN.search(text):
        raise SettingsError(
            f"Entry {position} of FBS_API_TOKENS holds a token itself.",
            hint=f"It wants the token's hash; make a new token, for this one was written down. {_MAKE}",
        )
    if not _NAME.fullmatch(name) or scope not in SCOPES or not _HASH.fullmatch(digest.lower()):
        raise SettingsError(f"Entry {position} of FBS_API_TOKENS is not name:scope:hash.", hint=_MAKE)
    return Entry(name=name, scope=scope, hash=digest.lower())
