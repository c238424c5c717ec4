"""Which PostgreSQL database: a validated value object.

It is built from input of a person or another program: any mistake is a UsageError that names the field. A password
never shows in `repr`, in an error, or in `redacted()`.
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
    """A value object whose every mistake is a UsageError that names the field, never the value."""

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
        user: the role; empty leaves it to libpq (the operating system's user).
        password: that role's password, plain or as a reference that `opened` resolves; empty when none is needed.
        host: a name, an address, or the absolute folder of a Unix socket.
        port: 1 to 65535; a number, or text that is one.

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
        """Build one from a dictionary such as `{'name': …, 'user': …, 'port': '5432'}`.

        Args:
            values: what was given; None and empty text count as not given.
            defaults: what to take for fields that were not given, e.g. host, port, user and password of the settings.

        Raises:
            UsageError: a field is missing, unknown or not valid.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                "database_config is not a dictionary.", hint="Give it name, user, password, host and port."
            )
        given = {key: value for key, value in values.items() if value is not None and value != ""}
        return cls.model_validate({**(defaults or {}), **given})

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Build one from `postgresql://user:password@host:port/name` (percent-encoded where needed).

        A Unix socket's folder is the host, percent-encoded, or `?host=/folder`.

        Raises:
            UsageError: the URL is not one; the message does not repeat it, for the password's sake.
        """
        hint = "Write it as postgresql://user:password@host:port/name."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("The database URL cannot be read.", hint=hint) from None
        if parts.scheme not in {"postgresql", "postgres"}:
            raise UsageError("The database URL does not begin with postgresql://.", hint=hint)
        host = unquote(parts.hostname or "")
        if "%2f" in parts.netloc.lower():  # hostname is lower-cased, which a folder's name must not be
            host = unquote(parts.netloc.rpartition("@")[2].rpartition(":")[0] or parts.netloc.rpartition("@")[2])
        for pair in filter(None, parts.query.split("&")):
            key, _, value = pair.partition("=")
            if key != "host":
                raise UsageError(f"The database URL has an option that is not known: {key!r}.", hint=hint)
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
        """The host is the folder of a Unix socket."""
        return self.host.startswith("/")

    def address(self) -> str:
        """Where it is, for a person: `user@host:port/name`, without the password."""
        place = f"{self.host}:{self.port}/{self.name}"
        return f"{self.user}@{place}" if self.user else place

    def redacted(self) -> dict[str, Any]:
        """JSON-ready for display: whether there is a password, not which."""
        return {
            "name": self.name,
            "user": self.user,
            "password": "***" if self.password.get_secret_value() else "",
            "host": self.host,
            "port": self.port,
        }

    def resolved(self, vault: Vault, *, allow_plain: bool = False) -> Self:
        """The same database with its password resolved.

        Args:
            vault: opens sealed passwords and references.
            allow_plain: a password that is not a reference may be used as it is.

        Raises:
            SecretError: the password cannot be opened, or is plain where that is refused.
        """
        secret = self.password.get_secret_value()
        if not secret:
            return self
        return self.model_copy(update={"password": SecretStr(vault.resolve(secret, allow_plain=allow_plain))})

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """JSON-ready for a queue: a plain password is sealed, a reference travels as it is.

        Raises:
            SecretError: a plain password, and no key to seal it with.
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
                f"{label} is missing.", hint=f"Give {label} (on the command line: {option}).", field=label
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
