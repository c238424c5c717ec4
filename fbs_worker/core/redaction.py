"""Redact secrets in text before it is logged: a second line of defence behind code that does not log them.

Libraries log their input: a Celery worker logs the whole message of an unregistered task, a driver repeats the URL of a
failed connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault

MAX_LENGTH: Final = 20_000
"""Characters of a redacted text; the rest is cut."""

_STARS: Final = "***"

_MIN_LENGTH: Final = 4
"""A shorter secret is not redacted: it occurs in too many texts by chance."""

_SUBSTRING_LENGTH: Final = 8
"""A shorter secret is redacted only as a whole word."""

# Each pattern begins with a literal, and no two repetitions that match the same stand beside each other: the time is
# linear in the length of the text.
_QUOTED: Final = r"""\\*(?P<quote>["'])(?:\\+.|(?!(?P=quote)).)*(?:(?P=quote)|$)"""
"""Up to the same quote, or to the end of truncated text; a quote after a backslash does not end it."""

_SECRET_NAME: Final = "(?:pass|pwd|secret|token|key)"  # noqa: S105 -- a pattern
"""What is in the name of an argument that holds a secret."""

_NAMED: Final = re.compile(
    rf"""(?P<name>{_SECRET_NAME}\w{{0,40}}\\*["']?\s*[:=]\s*)"""
    rf"""(?:(?:b|u|r)?{_QUOTED}|(?<==)[^\s"'\\,;&)}}\]]+)""",
    re.IGNORECASE | re.DOTALL,
)
_AUTHORISED: Final = re.compile(
    r"""(?P<name>authorization\\*["']?\s*[:=]\s*\\*["']?(?:(?:basic|bearer)\s+)?)[^\s"'\\,]+""", re.IGNORECASE
)
_IN_A_URL: Final = re.compile(r"""(?P<name>://[^\s/:@"']*:)(?!\*+@)[^\s/"']+(?=@)""")
_ENCRYPTED: Final = re.compile(r"(?P<name>sealed:)[\w=-]+")
_PATTERNS: Final = (_IN_A_URL, _NAMED, _AUTHORISED, _ENCRYPTED)


class Redactor:
    """Replaces known secrets, and values that look like secrets by their name or position, with stars.

    Takes time linear in the length of the text, and cuts what is longer than `MAX_LENGTH`.

    Args:
        secrets: the known secrets.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _MIN_LENGTH}, key=len, reverse=True)
        self._known = re.compile("|".join(map(_pattern, known))) if known else None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Create a redactor of all secrets in the settings."""
        return cls(_secrets(settings))

    def __call__(self, text: str) -> str:
        """Return the text with its secrets replaced."""
        if self._known is not None:
            text = self._known.sub(_STARS, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<name>{_STARS}", text)
        return cut(text, MAX_LENGTH)


def names_a_secret(name: str) -> bool:
    """Return whether an argument of that name holds a secret: `…pass…`, `…secret…`, `…token…`, `…key…`."""
    return re.search(_SECRET_NAME, name, re.IGNORECASE) is not None


def redacted_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's keyword arguments for display, with stars for what is called like a secret.

    Args:
        arguments: the arguments, or a dictionary in them.
    """
    return {
        name: _STARS if value and names_a_secret(str(name)) else _redacted_argument(value)
        for name, value in arguments.items()
    }


def _redacted_argument(value: Any) -> Any:
    match value:
        case Mapping():
            return redacted_arguments(value)
        case list() | tuple():
            return [_redacted_argument(item) for item in value]
    return value


def cut(text: str, length: int) -> str:
    """Return the text, with its end replaced by the number of characters left out if it is too long.

    Args:
        text: any text.
        length: the number of characters to keep.
    """
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length} more characters)"


def _pattern(secret: str) -> str:
    plain = re.escape(secret)
    return plain if len(secret) >= _SUBSTRING_LENGTH else rf"(?<!\w){plain}(?!\w)"


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            if not Vault.is_reference(secret):
                yield secret
                yield from (part.strip() for part in secret.split(","))  # FBS_SECRET_KEYS is a list
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
    except ValueError:  # not a URL: validated elsewhere
        return ""
