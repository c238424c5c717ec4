"""Secrets that travel: sealed with Fernet, or as references to where the secret lies.

    sealed:gAAAA…      opened with one of FBS_SECRET_KEYS (the first seals, all open)
    env:NAME           the environment variable NAME of the process that opens it
    file:PATH          the file's content, one trailing newline left out

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

_KEY_HINT = "Set FBS_SECRET_KEYS to the same keys everywhere; `fbs new-key` makes one."


def new_key() -> str:
    """A fresh key for FBS_SECRET_KEYS."""
    return Fernet.generate_key().decode("ascii")


class Vault:
    """Seals secrets and opens what was sealed or referred to.

    Args:
        keys: Fernet keys, the newest first: it seals, all of them open. Without any, only references work.
        environment: what `env:NAME` reads; the process's own, at the time of opening, if None.

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
                    f"Key {position} of FBS_SECRET_KEYS is not a Fernet key.", hint="`fbs new-key` makes one."
                ) from None
        self._fernet = MultiFernet(fernets) if fernets else None
        self._environment = environment

    @classmethod
    def from_text(cls, keys: str) -> Self:
        """A vault with the keys of FBS_SECRET_KEYS.

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
        """Whether it is sealed or a reference, so that it may travel as it is."""
        return text.startswith((ENCRYPTED, ENV, FILE))

    def encrypt(self, secret: str) -> str:
        """Seal a secret.

        Returns:
            `sealed:` and a Fernet token.

        Raises:
            SecretError: no key is set.
        """
        return ENCRYPTED + self._keys().encrypt(secret.encode()).decode("ascii")

    def resolve(self, text: str, *, allow_plain: bool = False) -> str:
        """The secret that is meant by `sealed:…`, `env:NAME` or `file:PATH`.

        Args:
            text: the sealed secret or reference.
            allow_plain: text that is none of them is the secret itself; else it is refused.

        Raises:
            SecretError: it cannot be opened, or is plain where that is refused.
        """
        if text.startswith(ENCRYPTED):
            return self._unseal(text)
        if text.startswith(ENV):
            return self._from_environment(text.removeprefix(ENV))
        if text.startswith(FILE):
            return _from_file(text.removeprefix(FILE))
        if allow_plain:
            return text
        raise SecretError(
            "A plain password is refused here.",
            hint="Seal it with FBS_SECRET_KEYS, or refer to it: env:NAME or file:PATH.",
        )

    def reencrypt(self, text: str) -> str:
        """Seal a sealed secret anew with the first key, so that older keys can be taken away.

        Args:
            text: a sealed secret; a reference comes back as it is.

        Raises:
            SecretError: it cannot be opened, or is plain.
        """
        if text.startswith(ENCRYPTED):
            return self.encrypt(self._unseal(text))
        if self.is_reference(text):
            return text
        raise SecretError("A plain password cannot be sealed anew.", hint="Seal it first.")

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretError("No key to seal or open secrets with is set.", hint=_KEY_HINT)
        return self._fernet

    def _unseal(self, text: str) -> str:
        try:
            return self._keys().decrypt(text.removeprefix(ENCRYPTED)).decode()
        except (InvalidToken, ValueError):  # ValueError: a token that is not ASCII
            raise SecretError(
                "A sealed password cannot be opened: none of the keys fits, or it was damaged.", hint=_KEY_HINT
            ) from None

    def _from_environment(self, name: str) -> str:
        value = (os.environ if self._environment is None else self._environment).get(name, "")
        if not value:
            raise SecretError(
                f"The environment variable {name!r} that a password refers to is not set.",
                hint="Set it where the worker runs.",
            )
        return value


def _from_file(path: str) -> str:
    hint = "Check the path and the file's rights where the worker runs."
    try:
        secret = read_secret(path)
    except UnreadableSecret as exc:
        raise SecretError(f"The file {path!r} that a password refers to {exc}.", hint=hint) from None
    if not secret:
        raise SecretError(f"The file {path!r} that a password refers to is empty.", hint=hint)
    return secret
