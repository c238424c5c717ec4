"""Address and credentials of a PostgreSQL database: a validated value object.

Invalid input raises a UsageError that names the field. A password never shows in `repr`, in an error, or in
`redacted()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError

from fbs_worker.core.errors import UsageError
from fbs_worker.core.identifiers import Host, Identifier, Port, check_identifier
from fbs_worker.core.vault import Vault

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 5432


class ValidatedConfig(BaseModel):
    """Base of validated value objects: invalid input raises a UsageError that names the field, never the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise _usage_error(type(self), exc) from None


class DatabaseConfig(ValidatedConfig):
    """One PostgreSQL database, as one user.

    Attributes:
        name: the database's name.
        user: the role; empty for libpq's default (the operating system's user).
        password: the role's password, plain, encrypted or as a reference; `resolved` decrypts it. Empty for none.
        host: a name, an address, or the absolute folder of a Unix socket.
        port: 1 to 65535, as a number or decimal text.

    Raises:
        UsageError: a field is missing, unknown or not valid; the message names it.
    """

    name: Identifier
    user: Annotated[str, AfterValidator(lambda value: check_identifier(value) if value else value)] = ""
    password: SecretStr = SecretStr("")
    host: Host = DEFAULT_HOST
    port: Port = DEFAULT_PORT

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


def _usage_error(model: type[BaseModel], exc: ValidationError) -> UsageError:
    first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(part for part in first["loc"] if isinstance(part, str)) or "configuration"
    label = f"database_config.{field}" if model is DatabaseConfig else field
    option = f"--database-{field}" if model is DatabaseConfig else f"--{field.replace('_', '-')}"
    known = ", ".join(model.model_fields)
    match first["type"]:
        case "missing":
            return UsageError(
                f"{label} is missing.", hint=f"Pass {label} (on the command line: {option}).", field=label
            )
        case "extra_forbidden":
            return UsageError(f"{label} is not known.", hint=f"Known are: {known}.", field=label)
        case _:
            reason = first["msg"].removeprefix("Value error, ").rstrip(".")
            return UsageError(
                f"{label} is not valid: {reason}.",
                hint=f"Correct {label} (on the command line: {option}).",
                field=label,
            )
