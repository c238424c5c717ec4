"""The settings of fbs-worker, read once from the environment and `fbs.env`.

Each setting NAME has a twin NAME_FILE: the path of a file that holds its value, e.g. a container secret.

No module reads the environment at import: `get_settings()` reads it on its first call, and other code receives a
`Settings` or a value of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from fbs_worker.core.environment import EnvironmentAndFiles
from fbs_worker.core.errors import OdooConnectionNotFound, SettingsError
from fbs_worker.core.odoo_address import with_scheme
from fbs_worker.core.settings_file import DEFAULT_HOME, origin


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def as_text(value: Any) -> Any:
    """Undo pydantic-settings' reading of JSON in a nested setting."""
    return json.dumps(value) if isinstance(value, Mapping) else value


def _no_own_path(prefix: str) -> str:
    if prefix.split("/")[1:2] in (["api"], ["mcp"], ["static"]):
        raise ValueError("it begins with a path that the server has itself")
    return prefix


Trimmed = Annotated[str, BeforeValidator(_trimmed)]
Protocol = Annotated[Literal["auto", "odoorpc", "json2"], BeforeValidator(_trimmed)]

DEFAULT_CONNECTION = "default"


class OdooConnection(BaseModel):
    """One Odoo server as one user.

    Attributes:
        url: `http://host:port`, `https://host`, or `recording:FILE`; `host.domain` is completed to https.
        db: the name of the Odoo database.
        user: the login; not needed with an API key on JSON-2.
        password: the password; exclusive with `api_key`.
        api_key: an API key (Odoo 14 and later).
        protocol: the transport; `auto` selects it by the server's version and the credentials.
        timeout: maximum duration of one call, in seconds.
        lang: the language of labels, e.g. `en_US`.
        headers: further headers of each request, as `fbs_worker.core.odoo_address.extra_headers` reads them.
    """

    model_config = {"extra": "forbid", "frozen": True}

    url: Annotated[str, BeforeValidator(with_scheme)] = ""
    db: Trimmed = ""
    user: Trimmed = ""
    password: SecretStr = SecretStr("")
    api_key: SecretStr = SecretStr("")
    protocol: Protocol = "auto"
    timeout: float = Field(default=120.0, gt=0)
    lang: Trimmed = "en_US"
    headers: Annotated[SecretStr, BeforeValidator(as_text)] = SecretStr("")

    _stored_as: str = PrivateAttr(default="")

    @property
    def stored_as(self) -> str:
        """Its name where it is kept in the home database; empty for one of the environment."""
        return self._stored_as

    def stored(self, name: str) -> Self:
        """Return the same as a connection of the home database."""
        connection = self.model_copy()
        connection._stored_as = name  # noqa: SLF001 -- our own copy
        return connection


class Settings(BaseSettings):
    """The settings. Each attribute is read from the environment variable of its name in upper case."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", extra="ignore", frozen=True, case_sensitive=False)

    odoo_url: str = Field(default="", description="address of Odoo: http://host:port, https://host or recording:FILE")
    odoo_db: str = Field(default="", description="database of Odoo")
    odoo_user: str = Field(default="", description="user of Odoo (login)")
    odoo_password: SecretStr = Field(default=SecretStr(""), description="password of that user")
    odoo_api_key: SecretStr = Field(default=SecretStr(""), description="API key, instead of the password")
    odoo_protocol: Protocol = Field(default="auto", description="auto, odoorpc or json2")
    odoo_timeout: float = Field(default=120.0, gt=0, description="time-out of one call to Odoo, in seconds")
    odoo_lang: str = Field(default="en_US", description="language of the labels to read")
    odoo_headers: SecretStr = Field(
        default=SecretStr(""), description="headers for a proxy before Odoo: a JSON object, or `Name: value` per line"
    )
    fbs_odoo: dict[str, OdooConnection] = Field(
        default_factory=dict, description="further Odoo servers: FBS_ODOO__<NAME>__URL, …__DB, …__USER, …"
    )

    fbs_redis_url: str = Field(default="", description="Redis: redis://[user:password@]host:port/db, rediss:// for TLS")
    fbs_database_url: str = Field(
        default="",
        description="the home database: postgresql://user:password@host/db?sslmode=require (or other options of libpq)",
    )
    fbs_secret_keys: SecretStr = Field(
        default=SecretStr(""), description="Fernet keys, comma-separated: the first encrypts, all decrypt"
    )
    fbs_home: Path = Field(default=Path(DEFAULT_HOME), description="folder of `fbs up`: data, keys and process ids")
    fbs_postgres_port: int = Field(
        default=5432,
        ge=0,
        le=65535,
        description="port of the PostgreSQL of `fbs up`; unset: that of its last start, or the first free one; 0: any",
    )
    fbs_redis_port: int = Field(
        default=6379, ge=0, le=65535, description="port of the Redis of `fbs up`; unset and 0: as for FBS_POSTGRES_PORT"
    )

    fbs_table_prefix: str = Field(default="fbs_", description="prefix of the system tables")
    fbs_business_prefix: str = Field(default="", description="prefix of the business tables")
    fbs_auto_create_tables: bool = Field(default=True, description="whether a set-up may create tables")
    fbs_enable_migrations: bool = Field(default=True, description="whether a migration may change tables")
    fbs_default_database_name: str = Field(default="", description="default database of a solution")
    fbs_default_database_host: str = Field(default="localhost", description="default host of that database")
    fbs_default_database_port: int = Field(default=5432, description="default port of that database")
    fbs_default_database_user: str = Field(default="", description="default user of that database")
    fbs_default_database_password: SecretStr = Field(
        default=SecretStr(""), description="default password of that database; env:NAME and file:PATH are references"
    )

    fbs_page_size: int = Field(default=20_000, ge=100, description="rows per call to Odoo")
    fbs_full_after: int = Field(
        default=86_400, ge=0, description="seconds after which a refresh reads everything, even if nothing changed"
    )
    fbs_job_ttl: int = Field(default=604_800, ge=60, description="seconds until the record of a finished job expires")
    fbs_job_time_limit: int = Field(default=3_000, ge=10, description="time limit of one run of a job, in seconds")
    fbs_visibility_timeout: int = Field(
        default=3_600, ge=20, description="seconds after which Redis redelivers an unacknowledged message"
    )
    fbs_max_retries: int = Field(default=5, ge=0, description="retries of a job after a temporary error")
    fbs_broker_url: str = Field(
        default="", description="broker of the job messages if it is not that Redis: amqp://… or sentinel://…"
    )

    fbs_odoo_max_calls: int = Field(default=4, ge=1, description="concurrent calls to one Odoo, over all workers")
    fbs_odoo_max_failures: int = Field(
        default=5, ge=1, description="consecutive failures of one Odoo that open its circuit breaker"
    )
    fbs_odoo_pause: float = Field(
        default=30.0, gt=0, description="seconds that the circuit breaker stays open; doubles with each failed trial"
    )
    fbs_odoo_max_answer: int = Field(
        default=100, ge=1, description="maximum size of one answer of Odoo, decompressed, in MB"
    )

    fbs_refresh_every: str = Field(
        default="", description="refresh interval of solutions without a schedule of their own, e.g. 6h"
    )

    fbs_sync_window: str = Field(
        default="", description="when schedules may copy records, e.g. 22:00-06:00 or 22:00-06:00 Europe/Berlin"
    )
    fbs_sync_sweep_every: int = Field(
        default=3_600,
        ge=0,
        description="seconds after which a sync looks for deletions and missed records; 0: each time",
    )
    fbs_sync_full_every: int = Field(
        default=86_400, ge=0, description="seconds after which a sync reads every record again; 0: only on request"
    )
    fbs_sync_binary: bool = Field(default=False, description="whether binary fields (files, images) are copied as well")
    fbs_sync_keep_deleted: bool = Field(
        default=False, description="whether the rows of deleted records are kept in `deleted_records`"
    )

    fbs_flower_user: str = Field(default="fbs", description="user of the dashboard")
    fbs_flower_password: SecretStr = Field(default=SecretStr(""), description="password of the dashboard")
    fbs_flower_address: str = Field(default="127.0.0.1", description="address that the dashboard listens on")
    fbs_flower_port: int = Field(default=5555, ge=0, le=65535, description="port of the dashboard")
    fbs_flower_root_path: str = Field(
        default="",
        pattern=r"^((/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?)?$",
        description="path prefix under which a proxy serves the dashboard, e.g. /flower",
    )
    fbs_flower_url: str = Field(default="", description="URL of the dashboard, for a link on the pages")

    fbs_api_address: str = Field(default="127.0.0.1", description="address that the HTTP API listens on")
    fbs_api_port: int = Field(default=8000, ge=0, le=65535, description="port of the HTTP API")
    fbs_pages_url: str = Field(default="", description="URL of the pages, for a link on the dashboard")
    fbs_api_tokens: SecretStr = Field(
        default=SecretStr(""), description="tokens of the HTTP API: name:scope:sha256, as `fbs new-token` prints them"
    )
    fbs_root_path: Annotated[str, AfterValidator(_no_own_path)] = Field(
        default="",
        pattern=r"^((/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?)?$",
        description="path prefix under which a proxy serves HTTP API and pages, e.g. /fbs; without it, that of"
        " X-Forwarded-Prefix from FBS_API_PROXIES",
    )
    fbs_api_max_body: int = Field(default=1_048_576, ge=1_024, description="maximum size of a request body, in bytes")
    fbs_api_rate: int = Field(default=600, ge=0, description="requests per minute and client; 0: no limit")
    fbs_api_proxies: str = Field(
        default="", description="trusted proxies (addresses, networks) for X-Forwarded-For and X-Forwarded-Proto"
    )
    fbs_allowed_hosts: str = Field(
        default="",
        description="hosts of databases and of Odoo that callers may use, for API and workers: names, addresses,"
        " networks, each with :PORT where needed; without FBS_ALLOWED_HOSTS those of the settings",
    )
    fbs_secret_references: str = Field(
        default="",
        pattern=r"^\s*((env:[^,\s]+|file:/[^,]+)\s*(,\s*|$))*$",
        description="references that callers may use as passwords, for API and workers: patterns, e.g."
        " env:RENTAL_*,file:/run/secrets/*",
    )

    fbs_log_format: Literal["text", "json"] = Field(default="text", description="text, or json: one object per line")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: constructor arguments, then the environment with the files that it names."""
        return init_settings, EnvironmentAndFiles(settings_cls)

    def odoo_names(self) -> dict[str, str]:
        """Return the names of the Odoo connections that are set, each with the variable of its URL."""
        named = {name.lower(): each.url for name, each in self.fbs_odoo.items()}
        names = {DEFAULT_CONNECTION: "ODOO_URL"} if self.odoo_url else {}
        return names | {
            name: f"FBS_ODOO__{name.upper()}__URL"
            for name, url in sorted(named.items())
            if url and name != DEFAULT_CONNECTION
        }

    def odoo(self, name: str = DEFAULT_CONNECTION) -> OdooConnection:
        """Return the Odoo connection of a name; `solutions.odoo_connections.find_odoo` knows the stored ones as well.

        Args:
            name: `default` for the `ODOO_…` settings, else a name from `FBS_ODOO__<NAME>__…`.

        Raises:
            SettingsError: ODOO_URL is not set.
            OdooConnectionNotFound: no connection has that name.
        """
        name = name.lower()
        if name == DEFAULT_CONNECTION:
            connection = OdooConnection(
                url=self.odoo_url,
                db=self.odoo_db,
                user=self.odoo_user,
                password=self.odoo_password,
                api_key=self.odoo_api_key,
                protocol=self.odoo_protocol,
                timeout=self.odoo_timeout,
                lang=self.odoo_lang,
                headers=self.odoo_headers,
            )
            if not connection.url:
                raise SettingsError(
                    "ODOO_URL is not set.",
                    hint="Set ODOO_URL, ODOO_DB, ODOO_USER and ODOO_PASSWORD (or ODOO_API_KEY), or add a connection:"
                    " `fbs odoo add default`.",
                )
            return connection
        named = next((each for key, each in self.fbs_odoo.items() if key.lower() == name and each.url), None)
        if named is None:
            known = ", ".join(self.odoo_names()) or "none"
            raise OdooConnectionNotFound(
                f"No Odoo connection is called {name!r} (known: {known}).",
                hint=f"Add it: `fbs odoo add {name}`, or set FBS_ODOO__{name.upper()}__URL and its DB, USER, PASSWORD"
                " or API_KEY.",
            )
        return named

    def home(self) -> Path:
        """Return the absolute folder of `fbs up`."""
        return self.fbs_home.expanduser().absolute()


def load_settings() -> Settings:
    """Read the settings from the environment and `fbs.env`.

    Raises:
        SettingsError: a setting is not valid; the message names it, never its value.
    """
    try:
        return Settings()
    except UnreadableSetting:  # FBS_ODOO is the only setting in JSON
        raise SettingsError(
            "The setting FBS_ODOO is not valid: it is not JSON.", hint="Set FBS_ODOO__<NAME>__URL and the like instead."
        ) from None
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        place = origin(str(first["loc"][0]))
        raise SettingsError(
            f"The setting {name} is not valid: {first['msg'].removeprefix('Value error, ')}.",
            hint=f"Correct {name} in {place}.",
        ) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read on the first call.

    Raises:
        SettingsError: a setting is not valid.
    """
    return load_settings()
