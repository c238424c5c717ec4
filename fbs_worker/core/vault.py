"""Secrets in messages and rows: encrypted with Fernet, or as references that the worker resolves.

    sealed:gAAAA…      Fernet token, decrypted with one of FBS_SECRET_KEYS (the first encrypts, all decrypt)
    env:NAME           environment variable NAME of the process that resolves it
    file:PATH          content of the file, without one trailing newline

The settings themselves (FBS_…, ODOO_…, `fbs.env`, the files of FBS_…_FILE, /proc) are never resolved. The error
does not show whether a variable or a file exists: a caller would learn that. The log of the process does.

No error of this module shows a secret, a token or a key.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from fbs_worker.core.errors import SecretError
from fbs_worker.core.secret_files import UnreadableSecret, read_secret
from fbs_worker.core.settings_file import FILE_NAME

ENCRYPTED: Final = "sealed:"
ENV: Final = "env:"
FILE: Final = "file:"

_SETTINGS: Final = ("FBS_", "ODOO_")
_SYSTEM: Final = ("/proc", "/sys")
_MAX_SHOWN: Final = 200
_log = logging.getLogger(__name__)

_KEY_HINT = "Set FBS_SECRET_KEYS to the same keys everywhere; `fbs new-key` creates one."


def new_key() -> str:
    """Generate a key for FBS_SECRET_KEYS."""
    return Fernet.generate_key().decode("ascii")


class Vault:
    """Encrypts secrets, decrypts them, and resolves references.

    Args:
        keys: Fernet keys, newest first: the first encrypts, all decrypt. Without keys only references work.
        environment: the variables for `env:NAME`; None for the process environment at the time of the call.

    Raises:
        SecretError: a key is not a Fernet key.
    """

    def __init__(self, keys: Iterable[str] = (), *, environment: Mapping[str, str] | None = None) -> None:
        fernets = []
        for position, key in enumerate((key for key in (part.strip() for part in keys) if key), start=1):
            try:
                fernets.append(Fernet(key))
            except ValueError:
                raise SecretError(
                    f"Key {position} of FBS_SECRET_KEYS is not a Fernet key.", hint="`fbs new-key` creates one."
                ) from None
        self._fernet = MultiFernet(fernets) if fernets else None
        self._environment = environment

    @classmethod
    def from_text(cls, keys: str) -> Self:
        """Create a vault with the keys of FBS_SECRET_KEYS.

        Args:
            keys: comma-separated Fernet keys; may be empty.

        Raises:
            SecretError: a key is not a Fernet key.
        """
        return cls(keys.split(","))

    def __repr__(self) -> str:
        return f"Vault({'with keys' if self._fernet else 'without keys'})"

    @staticmethod
    def is_reference(text: str) -> bool:
        """Return whether the text is encrypted or a reference, so that it may be stored or sent."""
        return text.startswith((ENCRYPTED, ENV, FILE))

    @property
    def has_keys(self) -> bool:
        """Whether secrets can be encrypted and decrypted."""
        return self._fernet is not None

    def encrypt(self, secret: str, *, place: str = "") -> str:
        """Encrypt a secret with the first key.

        Args:
            secret: the secret.
            place: `host:port` that it is meant for; see `place_of`.

        Returns:
            `sealed:` and a Fernet token.

        Raises:
            SecretError: no key is set.
        """
        text = f"\0{place}\0{secret}" if place else secret  # no password holds a NUL
        return ENCRYPTED + self._keys().encrypt(text.encode()).decode("ascii")

    def place_of(self, text: str) -> tuple[str, str]:
        """Return the place that an encrypted secret is meant for, "" if it names none, and the secret.

        Raises:
            SecretError: decryption failed.
        """
        secret = self._decrypt(text)
        if not secret.startswith("\0"):
            return "", secret
        place, _, secret = secret[1:].partition("\0")
        return place, secret

    def resolve(self, text: str, *, allow_plain: bool = False) -> str:
        """Return the secret of `sealed:…`, `env:NAME` or `file:PATH`.

        Args:
            text: the encrypted secret or reference.
            allow_plain: return any other text unchanged, instead of raising.

        Raises:
            SecretError: decryption failed, the variable or file is missing or must not be used, or the text is plain.
        """
        if text.startswith(ENCRYPTED):
            return self.place_of(text)[1]
        if text.startswith((ENV, FILE)):
            environment = os.environ if self._environment is None else self._environment
            try:
                return _read(text, environment)
            except UnreadableSecret as exc:
                _log.warning("A password reference cannot be resolved: %s %s.", text[:_MAX_SHOWN], exc)
                raise unresolved(text) from None
        if allow_plain:
            return text
        raise SecretError(
            "A plain password is not accepted here.",
            hint="Encrypt it with FBS_SECRET_KEYS, or use a reference: env:NAME or file:PATH.",
        )

    def reencrypt(self, text: str) -> str:
        """Encrypt a secret again with the first key, so that older keys can be removed.

        Args:
            text: an encrypted secret; a reference is returned unchanged.

        Raises:
            SecretError: decryption failed, or the text is plain.
        """
        if text.startswith(ENCRYPTED):
            return self.encrypt(self._decrypt(text))
        if self.is_reference(text):
            return text
        raise SecretError("A plain password cannot be re-encrypted.", hint="Encrypt it first.")

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretError("FBS_SECRET_KEYS is not set: secrets cannot be encrypted or decrypted.", hint=_KEY_HINT)
        return self._fernet

    def _decrypt(self, text: str) -> str:
        try:
            return self._keys().decrypt(text.removeprefix(ENCRYPTED)).decode()
        except (InvalidToken, ValueError):  # ValueError: a token that is not ASCII
            raise SecretError(
                "An encrypted password cannot be decrypted: no key matches, or the token is damaged.", hint=_KEY_HINT
            ) from None


def unresolved(reference: str) -> SecretError:
    """Return the error of a reference that is missing, cannot be read or is not allowed: one for all of them."""
    return SecretError(
        f"The password reference {reference[:_MAX_SHOWN]!r} cannot be used.",
        hint="It must be set and readable where the job runs, and FBS_SECRET_REFERENCES must allow it there.",
    )


def _read(reference: str, environment: Mapping[str, str]) -> str:
    """Return the secret that a reference names.

    Raises:
        UnreadableSecret: there is none, or it is a setting.
    """
    if reference.startswith(ENV):
        name = reference.removeprefix(ENV)
        if name.upper().startswith(_SETTINGS):
            raise UnreadableSecret("is a setting of this process")
        secret = environment.get(name, "")
    else:
        try:
            path = Path(reference.removeprefix(FILE)).expanduser()
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):
            raise UnreadableSecret("is not a path") from None
        of_settings = real.name == FILE_NAME or real in _files_of_settings(environment)
        if of_settings or any(real.is_relative_to(folder) for folder in _SYSTEM):
            raise UnreadableSecret("is a file of the system or of a setting")
        secret = read_secret(str(path))
    if not secret or "\0" in secret:
        raise UnreadableSecret("is empty or not set" if not secret else "is not text")
    return secret


def _files_of_settings(environment: Mapping[str, str]) -> set[Path]:
    names = (name for name in environment if name.startswith(_SETTINGS) and name.endswith("_FILE"))
    return {Path(environment[name]).expanduser().resolve() for name in names if environment[name]}
