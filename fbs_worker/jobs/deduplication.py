"""Deduplication of jobs: two requests with the same key share one unfinished job."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import orjson

from fbs_worker.core.errors import SecretError
from fbs_worker.core.vault import ENCRYPTED, Vault

_PASSWORD: Final = "password"  # noqa: S105 -- the name of a field


def deduplication_key(task: str, kwargs: Mapping[str, Any], *, secret_keys: str) -> str:
    """Return the key of a task with its arguments.

    Encryption gives a different token each time, so a password enters the key by its plain text: as an HMAC with the
    secret key, because a plain hash could be guessed. A reference enters it as it is.

    Args:
        task: the task's name.
        kwargs: its keyword arguments, JSON-ready.
        secret_keys: FBS_SECRET_KEYS.

    Returns:
        A hash of 64 hexadecimal digits.
    """
    arguments = {name: _comparable(name, value, secret_keys) for name, value in kwargs.items()}
    return hashlib.sha256(orjson.dumps([task, arguments], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _comparable(name: str, value: Any, secret_keys: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _comparable(key, item, secret_keys) for key, item in value.items()}
    if isinstance(value, str) and (name == _PASSWORD or value.startswith(ENCRYPTED)):
        return _password(value, secret_keys)
    return value


def _password(text: str, secret_keys: str) -> str:
    if Vault.is_reference(text) and not text.startswith(ENCRYPTED):
        return text
    key = secret_keys.partition(",")[0].strip()
    if not key or not text:
        return text if text.startswith(ENCRYPTED) else ""
    try:
        secret = Vault.from_text(secret_keys).resolve(text, allow_plain=True)
    except SecretError:  # encrypted with an unknown key: unique
        return text
    return hmac.new(key.encode(), secret.encode(), hashlib.sha256).hexdigest()
