"""Address and credentials of a PostgreSQL database: a validated value object.

Invalid input raises a UsageError that names the field. A password never shows in `repr`, in an error, or in
`redacted()`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, PrivateAttr, SecretStr

from fbs_worker.core.errors import SecretError, UsageError
from fbs_worker.core.fields import Option, ValidatedConfig
from fbs_worker.core.identifiers import Hosts, Identifier, LibpqText, OptionalIdentifier, Port
from fbs_worker.core.vault import ENCRYPTED, Vault

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 5432

LIBPQ_OPTIONS: Final = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding"),
    *("connect_timeout", "application_name", "target_session_attrs"),
)
"""Fields that are named and spelled as in libpq; they are shown and stored only where they are given."""

_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>\d+))?")


def host_and_port(server: tuple[str, int]) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    host: Annotated[Hosts, Option(setting="fbs_default_database_host")] = Field(
        default=DEFAULT_HOST,
        description="the host of PostgreSQL: a name, an address or the folder of a Unix socket; several with commas, "
        "each with a port of its own if need be, are tried in order",
        examples=["localhost"],
    )
    port: Annotated[Port, Option(setting="fbs_default_database_port")] = Field(
        default=DEFAULT_PORT, description="the port of PostgreSQL", examples=[5432]
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None,
        description="whether TLS is used, and what is checked, as libpq's sslmode",
        examples=["verify-full"],
    )
    sslrootcert: LibpqText | None = Field(
        default=None,
        description="the worker's file of trusted certificates",
        examples=["/etc/fbs/ca.pem"],
    )
    sslcert: LibpqText | None = Field(default=None, description="the worker's file of the client certificate")
    sslkey: LibpqText | None = Field(default=None, description="the worker's file of the client certificate's key")
    channel_binding: Literal["disable", "prefer", "require"] | None = Field(
        default=None, description="whether the login is bound to the TLS connection"
    )
    connect_timeout: Annotated[int, Field(ge=1, le=600)] | None = Field(
        default=None, description="seconds to wait for each host"
    )
    application_name: LibpqText | None = Field(
        default=None, description="what pg_stat_activity shows in place of `fbs-worker`"
    )
    target_session_attrs: Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] | None = (
        Field(default=None, description="which of several hosts is taken, e.g. `primary`")
    )

    _scram_only: bool = PrivateAttr(default=False)

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
        """Parse `postgresql://user:password@host:port/name?sslmode=require` (percent-encoded where needed).

        The folder of a Unix socket is the percent-encoded host, or `?host=/folder`. Several hosts are separated by
        commas, each with its port; a driver as in `postgresql+psycopg2://` is ignored.

        Raises:
            UsageError: the URL is not valid; the message does not repeat it, because it may hold a password.
        """
        hint = "Write it as postgresql://user:password@host:port/name."
        try:
            parts = urlsplit(url)
            place = parts.netloc.rpartition("@")[2]
            port = None if "," in place else parts.port
        except ValueError:
            raise UsageError("The database URL cannot be parsed.", hint=hint) from None
        if parts.scheme.partition("+")[0] not in {"postgresql", "postgres"}:
            raise UsageError("The database URL does not begin with postgresql://.", hint=hint)
        host = unquote(parts.hostname or "")
        if "," in place:
            host = place
        elif "%2f" in place.lower():  # urlsplit lower-cases hostname, and folder names are case-sensitive
            host = unquote(place.rpartition(":")[0] or place)
        options = {}
        for pair in filter(None, parts.query.split("&")):
            key, _, value = pair.partition("=")
            if key not in {"host", "port", *LIBPQ_OPTIONS}:
                raise UsageError(f"The database URL has an unknown option: {key!r}.", hint=hint)
            options[key] = unquote(value)
        values = {
            "name": unquote(parts.path.removeprefix("/")),
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "host": host,
            "port": port,
            **options,
        }
        return cls.parse(values)

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Host and port of each server, in the order in which they are tried."""
        if "," not in self.host:
            return [(self.host, self.port)]
        found = [match for part in self.host.split(",") if (match := _HOST.fullmatch(part))]
        return [(match["host"].strip("[]"), int(match["port"] or self.port)) for match in found]

    @property
    def scram_only(self) -> bool:
        """Whether the password was stored or referenced: then the server never sees it."""
        return self._scram_only

    @property
    def options(self) -> dict[str, Any]:
        """The fields of `LIBPQ_OPTIONS` that are given."""
        return {name: value for name in LIBPQ_OPTIONS if (value := getattr(self, name)) is not None}

    @property
    def uses_socket(self) -> bool:
        """Whether the host is the folder of a Unix socket."""
        return self.host.startswith("/")

    @property
    def place(self) -> str:
        """`host:port`, or those of several servers."""
        return ",".join(map(host_and_port, self.servers)) if "," in self.host else f"{self.host}:{self.port}"

    def address(self) -> str:
        """Return `user@host:port/name` for display, without the password."""
        location = f"{self.place}/{self.name}"
        return f"{self.user}@{location}" if self.user else location

    def redacted(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary for display, with `***` for a password."""
        return {
            "name": self.name,
            "user": self.user,
            "password": "***" if self.password.get_secret_value() else "",
            "host": self.host,
            "port": self.port,
            **self.options,
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
        self._decrypted(vault)
        plain = SecretStr(vault.resolve(secret, allow_plain=allow_plain))
        resolved = self.model_copy(update={"password": plain})
        resolved._scram_only = vault.is_reference(secret)  # noqa: SLF001 -- our own copy
        return resolved

    def from_message(self, vault: Vault) -> tuple[Self, bool]:
        """Return the configuration as it may be stored, and whether its password was encrypted for this host and port.

        Who could do so has the keys, and decides which password is sent where.

        Raises:
            SecretError: the password cannot be decrypted, or was encrypted for another host or port.
        """
        place, plain = self._decrypted(vault)
        if not place:
            return self, False
        return self.model_copy(update={"password": SecretStr(vault.encrypt(plain) if plain else "")}), True

    def _decrypted(self, vault: Vault) -> tuple[str, str]:
        """Return the place that the password is encrypted for, "" for any, and the password; ("", "") if it is not."""
        secret = self.password.get_secret_value()
        place, plain = vault.place_of(secret) if secret.startswith(ENCRYPTED) else ("", "")
        if place not in {"", self._place}:
            raise SecretError(
                "The encrypted password is for another host or port.",
                hint="Send the password itself; it is encrypted for the host and port of its request.",
            )
        return place, plain

    @property
    def _place(self) -> str:
        return f"{self.host.lower()}:{self.port}"

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """Return a JSON-ready dictionary for a message: a plain password is encrypted for this host, a reference stays.

        Raises:
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
        """
        secret = self.password.get_secret_value()
        if not vault.is_reference(secret) and (secret or vault.has_keys):  # without a password: only for the host
            secret = vault.encrypt(secret, place=self._place)
        return {**self.redacted(), "password": secret}
