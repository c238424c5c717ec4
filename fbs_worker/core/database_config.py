"""Address and credentials of a PostgreSQL database: a validated value object.

Invalid input raises a UsageError that names the field. A password never shows in `repr`, in an error, or in
`redacted()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr

from fbs_worker.core.errors import UsageError
from fbs_worker.core.fields import Option, ValidatedConfig
from fbs_worker.core.identifiers import Host, Identifier, OptionalIdentifier, Port
from fbs_worker.core.vault import Vault

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 5432


class DatabaseConfig(ValidatedConfig):
    """One PostgreSQL database, as one user.

    Raises:
        UsageError: a field is missing, unknown or not valid; the message names it.
    """

    within: ClassVar[str] = "database_config"

    name: Identifier = Field(description="the name of the database", examples=["rental_db"])
    user: Annotated[OptionalIdentifier, Option(setting="fbs_default_database_user")] = Field(
        default="", description="the database role", examples=["rental_user"]
    )
    password: Annotated[
        SecretStr,
        Option(
            setting="fbs_default_database_password",
            limit=500,
            advice="Other users can read the command line: prefer `-`, which prompts or reads stdin.",
        ),
    ] = Field(
        default=SecretStr(""),
        description="the role's password, which is encrypted before it is stored; `env:NAME` and `file:PATH` are "
        "references that the worker resolves",
        examples=["env:RENTAL_PASSWORD"],
    )
    host: Annotated[Host, Option(setting="fbs_default_database_host")] = Field(
        default=DEFAULT_HOST,
        description="the host of PostgreSQL: a name, an address or the folder of a Unix socket",
        examples=["localhost"],
    )
    port: Annotated[Port, Option(setting="fbs_default_database_port")] = Field(
        default=DEFAULT_PORT, description="the port of PostgreSQL", examples=[5432]
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> Self:
        """Parse a dictionary such as `{'name': …, 'user': …, 'port': '5432'}`.

        Args:
            values: the input; None and empty text count as missing.
            defaults: values of missing fields, e.g. host, port, user and password of the settings.

        Raises:
            UsageError: a field is missing, unknown or not valid.
        """
        if not isinstance(values, Mapping):
            raise UsageError("database_config is not a dictionary.", hint="Pass name, user, password, host and port.")
        present = {key: value for key, value in values.items() if value is not None and value != ""}
        return cls.model_validate({**(defaults or {}), **present})

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Parse `postgresql://user:password@host:port/name` (percent-encoded where needed).

        The folder of a Unix socket is the percent-encoded host, or `?host=/folder`.

        Raises:
            UsageError: the URL is not valid; the message does not repeat it, because it may hold a password.
        """
        hint = "Write it as postgresql://user:password@host:port/name."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("The database URL cannot be parsed.", hint=hint) from None
        if parts.scheme not in {"postgresql", "postgres"}:
            raise UsageError("The database URL does not begin with postgresql://.", hint=hint)
        host = unquote(parts.hostname or "")
        if "%2f" in parts.netloc.lower():  # urlsplit lower-cases hostname, and folder names are case-sensitive
            host = unquote(parts.netloc.rpartition("@")[2].rpartition(":")[0] or parts.netloc.rpartition("@")[2])
        for pair in filter(None, parts.query.split("&")):
            key, _, value = pair.partition("=")
            if key != "host":
                raise UsageError(f"The database URL has an unknown option: {key!r}.", hint=hint)
            host = unquote(value)
        values = {
            "name": unquote(parts.path.removeprefix("/")),
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "host": host,
            "port": port,
        }
        return cls.parse(values)

    @property
    def uses_socket(self) -> bool:
        """Whether the host is the folder of a Unix socket."""
        return self.host.startswith("/")

    def address(self) -> str:
        """Return `user@host:port/name` for display, without the password."""
        location = f"{self.host}:{self.port}/{self.name}"
        return f"{self.user}@{location}" if self.user else location

    def redacted(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary for display, with `***` for a password."""
        return {
            "name": self.name,
            "user": self.user,
            "password": "***" if self.password.get_secret_value() else "",
            "host": self.host,
            "port": self.port,
        }

    def resolved(self, vault: Vault, *, allow_plain: bool = False) -> Self:
        """Return the same configuration with its password decrypted or looked up.

        Args:
            vault: decrypts passwords and resolves references.
            allow_plain: accept a password that is neither encrypted nor a reference.

        Raises:
            SecretError: the password cannot be resolved, or is plain and `allow_plain` is False.
        """
        secret = self.password.get_secret_value()
        if not secret:
            return self
        return self.model_copy(update={"password": SecretStr(vault.resolve(secret, allow_plain=allow_plain))})

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """Return a JSON-ready dictionary for a message: a plain password is encrypted, a reference stays.

        Raises:
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
        """
        secret = self.password.get_secret_value()
        if secret and not vault.is_reference(secret):
            secret = vault.encrypt(secret)
        return {**self.redacted(), "password": secret}
