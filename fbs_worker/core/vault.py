"""Secrets in messages and rows: encrypted with Fernet, or as references that the worker resolves.

    sealed:gAAAA…      Fernet token, decrypted with one of FBS_SECRET_KEYS (the first encrypts, all decrypt)
    env:NAME           environment variable NAME of the process that resolves it
    file:PATH          content of the file, without one trailing newline

No error of this module shows a secret, a token or a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from fbs_worker.core.errors import SecretError
from fbs_worker.core.secret_files import UnreadableSecret, read_secret

ENCRYPTED: Final = "sealed:"
ENV: Final = "env:"
FILE: Final = "file:"

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

    def encrypt(self, secret: str) -> str:
        """Encrypt a secret with the first key.

        Returns:
            `sealed:` and a Fernet token.

        Raises:
            SecretError: no key is set.
        """
        return ENCRYPTED + self._keys().encrypt(secret.encode()).decode("ascii")

    def resolve(self, text: str, *, allow_plain: bool = False) -> str:
        """Return the secret of `sealed:…`, `env:NAME` or `file:PATH`.

        Args:
            text: the encrypted secret or reference.
            allow_plain: return any other text unchanged, instead of raising.

        Raises:
            SecretError: decryption failed, the variable or file is missing, or the text is plain.
        """
        if text.startswith(ENCRYPTED):
            return self._decrypt(text)
        if text.startswith(ENV):
            return self._from_environment(text.removeprefix(ENV))
        if text.startswith(FILE):
            return _from_file(text.removeprefix(FILE))
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

    def _from_environment(self, name: str) -> str:
        value = (os.environ if self._environment is None else self._environment).get(name, "")
        if not value:
            raise SecretError(
                f"The environment variable {name!r} of a password reference is not set.",
                hint="Set it for the worker.",
            )
        return value


def _from_file(path: str) -> str:
    hint = "Check the path and the file's permissions on the worker's machine."
    try:
        secret = read_secret(path)
    except UnreadableSecret as exc:
        raise SecretError(f"The file {path!r} of a password reference {exc}.", hint=hint) from None
    if not secret:
        raise SecretError(f"The file {path!r} of a password reference is empty.", hint=hint)
    return secret
