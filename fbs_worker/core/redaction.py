"""Takes secrets out of words that are about to be logged: a net below code that keeps them out already.

Libraries log what they are given: a worker that does not know a task logs its whole message, a driver repeats the URL
that it could not reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault

_STARS: Final = "***"

_SHORTEST: Final = 4
"""A shorter secret is in too many words by chance."""

_UNMISTAKABLE: Final = 8
"""A shorter secret is taken out only where it is a word of its own."""

_QUOTED: Final = r"""\\*(?P<quote>["'])(?:\\+.|(?!(?P=quote)).)*(?:(?P=quote)|$)"""
"""Up to the same quote, or to the end of words that were cut; what a backslash precedes does not end it."""

_NAMED: Final = re.compile(
    rf"""(?P<name>[\w-]*(?:password|passwd|pwd|api_?key|secret|secret_keys?)\\*["']?\s*[:=]\s*)"""
    rf"""(?:(?:b|u|r)?{_QUOTED}|(?<==)[^\s"'\\,;&)}}\]]+)""",
    re.IGNORECASE | re.DOTALL,
)
_AUTHORISED: Final = re.compile(
    r"""(?P<name>authorization\\*["']?\s*[:=]\s*\\*["']?(?:basic|bearer)?\s*)[^\s"'\\,]+""", re.IGNORECASE
)
_IN_A_URL: Final = re.compile(r"""(?P<name>[a-z][a-z0-9+.-]*://[^\s/:@"']*:)(?!\*+@)[^\s/"']+(?=@)""", re.IGNORECASE)
_SEALED: Final = re.compile(r"(?P<name>sealed:)[\w=-]+")
_SHAPES: Final = (_IN_A_URL, _NAMED, _AUTHORISED, _SEALED)


class Redactor:
    """Words without secrets: neither those that are known, nor what looks like one by what stands before it.

    Args:
        secrets: those that are known.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(_pattern, known))) if known else None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """One that knows every secret of these settings."""
        return cls(_secrets(settings))

    def __call__(self, words: str) -> str:
        """The words with stars in the place of secrets."""
        if self._known is not None:
            words = self._known.sub(_STARS, words)
        for shape in _SHAPES:
            words = shape.sub(rf"\g<name>{_STARS}", words)
        return words


def _pattern(secret: str) -> str:
    plain = re.escape(secret)
    return plain if len(secret) >= _UNMISTAKABLE else rf"(?<!\w){plain}(?!\w)"


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            if not Vault.is_reference(secret):
                yield secret
                yield from (part.strip() for part in secret.split(","))  # FBS_SECRET_KEYS are several
        case str() if "://" in value:
            password = _password_of(value)
            yield password
            yield unquote(password)
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secrets(getattr(value, name))
        case dict():
            for item in value.values():
                yield from _secrets(item)


def _password_of(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:  # it is no URL; whoever needs one says so
        return ""
