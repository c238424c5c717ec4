"""Which database, and which solution in it: validated value objects.

Both are built from what a person or another program gave, so whatever is wrong with them ends in a UsageError that
names the field. A password never shows in `repr`, in an error, or in `redacted()`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from fbs_worker.core.errors import UsageError
from fbs_worker.core.vault import Vault

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 5432
DEFAULT_TABLE_PREFIX: Final = "fbs_"

MAX_IDENTIFIER_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN - 1: longer names would be cut by the server, silently."""

_PREFIX = re.compile(r"[a-z_][a-z0-9_]*")
_DOMAIN = re.compile(r"[a-z][a-z0-9_-]*")
_SOLUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MODEL = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*")
_ODOO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_prefix(value: str) -> str:
    """A prefix of table names.

    Args:
        value: what should be one: small letters, digits and `_`, not first a digit, at most 20 characters.

    Raises:
        ValueError: it is not.
    """
    if not _PREFIX.fullmatch(value) or len(value) > 20:
        raise ValueError("it wants small letters, digits and _, no digit first, at most 20 characters")
    return value


def _optional_prefix(value: str) -> str:
    return check_prefix(value) if value else value


def _identifier(value: str) -> str:
    if not value or _CONTROL.search(value) or len(value.encode()) > MAX_IDENTIFIER_BYTES:
        raise ValueError(f"it wants 1 to {MAX_IDENTIFIER_BYTES} bytes without control characters")
    return value


def _host(value: str) -> str:
    if not value or _CONTROL.search(value):
        raise ValueError("it wants a name, an address or the folder of a Unix socket")
    if value.startswith("/"):
        return value
    if re.search(r"[\s,/@]", value):
        raise ValueError("it wants one name, address or absolute folder, without a port or a scheme")
    return value


def _port(value: object) -> object:
    """Ports come as text from dictionaries and forms."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,6}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("it wants a number from 1 to 65535")  # noqa: TRY004 -- pydantic gathers ValueError only
    return value


def _port_range(value: int) -> int:
    if not 1 <= value <= 65535:
        raise ValueError("it wants a number from 1 to 65535")
    return value


def _matching(pattern: re.Pattern[str], most: int, wants: str) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) > most or not pattern.fullmatch(value):
            raise ValueError(wants)
        return value

    return AfterValidator(check)


def _models(value: object) -> object:
    """Sorted, each once: the same wish is the same value."""
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return tuple(sorted(set(value)))
    raise ValueError("it wants a list of model names, e.g. sale.order")


Identifier = Annotated[str, AfterValidator(_identifier)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, BeforeValidator(_port), AfterValidator(_port_range)]
Prefix = Annotated[str, AfterValidator(check_prefix)]
OptionalPrefix = Annotated[str, AfterValidator(_optional_prefix)]
DomainName = Annotated[str, _matching(_DOMAIN, 100, "it wants small letters, digits, _ and -, at most 100 characters")]
SolutionName = Annotated[
    str, _matching(_SOLUTION, 100, "it wants letters, digits, _, . and -, a letter or digit first, at most 100")
]
OdooName = Annotated[str, _matching(_ODOO, 100, "it wants letters, digits, _ and -, at most 100 characters")]
ModelName = Annotated[str, _matching(_MODEL, 100, "it wants names such as sale.order, at most 100 characters each")]


class _Config(BaseModel):
    """A value object whose every mistake is a UsageError that names the field, never the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise _usage_error(type(self), exc) from None


class DatabaseConfig(_Config):
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
    user: Annotated[str, AfterValidator(lambda value: _identifier(value) if value else value)] = ""
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

    def opened(self, vault: Vault, *, allow_plain: bool = False) -> Self:
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
        return self.model_copy(update={"password": SecretStr(vault.open(secret, allow_plain=allow_plain))})

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """JSON-ready for a queue: a plain password is sealed, a reference travels as it is.

        Raises:
            SecretError: a plain password, and no key to seal it with.
        """
        secret = self.password.get_secret_value()
        if secret and not vault.is_reference(secret):
            secret = vault.seal(secret)
        return {**self.redacted(), "password": secret}


class SolutionConfig(_Config):
    """One named use of a domain in one database: the dictionary that every face takes.

    Attributes:
        solution_name: e.g. `fayvad_rentals`.
        domain: e.g. `rental`.
        database_config: where it lives.
        table_prefix: prefix of the system tables, at most 20 characters.
        business_prefix: prefix of the business tables, at most 20 characters; may be empty.
        refresh_discoveries: read Odoo again when the solution is set up or migrated.
        mirror: Odoo models that become business tables, e.g. `sale.order`; sorted, each once.
        odoo: the name of the Odoo connection that it reads; None for the one that it has, or `default`.

    Raises:
        UsageError: a field is missing, unknown or not valid; the message names it.
    """

    solution_name: SolutionName
    domain: DomainName
    database_config: DatabaseConfig
    table_prefix: Prefix = DEFAULT_TABLE_PREFIX
    business_prefix: OptionalPrefix = ""
    refresh_discoveries: bool = Field(default=True, strict=True)
    mirror: Annotated[tuple[ModelName, ...], BeforeValidator(_models)] = ()
    odoo: OdooName | None = None

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        *,
        database_defaults: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build one from the dictionary of the design.

        Args:
            values: what was given.
            database_defaults: what to take for fields of `database_config` that were not given.
            defaults: what to take for other fields that were not given (absent or None), e.g. the prefixes of the
                settings.

        Raises:
            UsageError: a field is missing, unknown or not valid.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                "A solution's configuration is not a dictionary.",
                hint="Give it solution_name, domain and database_config.",
            )
        given = dict(values)
        for name, default in (defaults or {}).items():
            if given.get(name) is None:
                given[name] = default
        database = given.get("database_config")
        if database is not None and not isinstance(database, DatabaseConfig):
            given["database_config"] = DatabaseConfig.parse(database, defaults=database_defaults)
        return cls.model_validate(given)

    def redacted(self) -> dict[str, Any]:
        """JSON-ready for display, without the password."""
        return {
            **self.model_dump(mode="json", exclude={"database_config"}),
            "database_config": self.database_config.redacted(),
        }

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """JSON-ready for a queue, the password sealed.

        Raises:
            SecretError: a plain password, and no key to seal it with.
        """
        return {**self.redacted(), "database_config": self.database_config.to_message(vault)}


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
