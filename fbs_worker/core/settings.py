"""Every setting of fbs-worker, read once from the environment.

Each setting NAME has a twin NAME_FILE, which names a file that holds its value: containers get their secrets so.

Nothing reads the environment at import: `get_settings()` does, the first time it is called, and everything else is
given a `Settings` or a value from one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.secret_files import UnreadableSecret, read_secret

Protocol = Literal["auto", "odoorpc", "json2"]

DEFAULT_CONNECTION = "default"

_FILE: Final = "_file"


class OdooConnection(BaseModel):
    """One Odoo server as one user.

    Attributes:
        url: `http://host:port`, `https://host`, or `recording:FILE`.
        db: the Odoo database's name.
        user: the login; not needed with an API key on JSON-2.
        password: the password; exclusive with `api_key`.
        api_key: an API key (Odoo 14 and later).
        protocol: which transport to use; `auto` decides from the server's version and the credentials.
        timeout: seconds that one call may take.
        lang: the language of labels, e.g. `en_US`.
    """

    model_config = {"extra": "forbid", "frozen": True}

    url: str = ""
    db: str = ""
    user: str = ""
    password: SecretStr = SecretStr("")
    api_key: SecretStr = SecretStr("")
    protocol: Protocol = "auto"
    timeout: float = Field(default=120.0, gt=0)
    lang: str = "en_US"


class Settings(BaseSettings):
    """The settings. Each attribute's environment twin is its name in capitals."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", extra="ignore", frozen=True, case_sensitive=False)

    odoo_url: str = Field(default="", description="Odoo's address: http://host:port, https://host or recording:FILE")
    odoo_db: str = Field(default="", description="Odoo's database")
    odoo_user: str = Field(default="", description="Odoo's user (login)")
    odoo_password: SecretStr = Field(default=SecretStr(""), description="that user's password")
    odoo_api_key: SecretStr = Field(default=SecretStr(""), description="an API key, in the password's place")
    odoo_protocol: Protocol = Field(default="auto", description="auto, odoorpc or json2")
    odoo_timeout: float = Field(default=120.0, gt=0, description="seconds that one call to Odoo may take")
    odoo_lang: str = Field(default="en_US", description="language of the labels that are read")
    fbs_odoo: dict[str, OdooConnection] = Field(
        default_factory=dict, description="further Odoo servers: FBS_ODOO__<NAME>__URL, …__DB, …__USER, …"
    )

    fbs_redis_url: str = Field(default="", description="Redis: redis://[:password@]host:port/db")
    fbs_database_url: str = Field(default="", description="the home database: postgresql://user:password@host/db")
    fbs_secret_keys: SecretStr = Field(
        default=SecretStr(""), description="Fernet keys, comma-separated: the first seals, all open"
    )
    fbs_home: Path = Field(
        default=Path("~/.local/share/fbs-worker"), description="folder of `fbs up`: data, keys and process ids"
    )

    fbs_table_prefix: str = Field(default="fbs_", description="prefix of the system tables")
    fbs_business_prefix: str = Field(default="", description="prefix of the business tables")
    fbs_auto_create_tables: bool = Field(default=True, description="whether a set-up may create tables")
    fbs_enable_migrations: bool = Field(default=True, description="whether a migration may change tables")
    fbs_default_database_name: str = Field(default="", description="a solution's database where none is named")
    fbs_default_database_host: str = Field(default="localhost", description="host where none is given")
    fbs_default_database_port: int = Field(default=5432, description="port where none is given")
    fbs_default_database_user: str = Field(default="", description="user where none is given")
    fbs_default_database_password: SecretStr = Field(
        default=SecretStr(""), description="password where none is given; env:NAME and file:PATH are references"
    )

    fbs_page_size: int = Field(default=20_000, ge=100, description="rows of Odoo per call")
    fbs_full_after: int = Field(
        default=86_400, ge=0, description="seconds after which a refresh reads everything though nothing seems changed"
    )
    fbs_job_ttl: int = Field(default=604_800, ge=60, description="seconds that a finished job's record is kept")
    fbs_job_time_limit: int = Field(default=3_000, ge=10, description="seconds that one run of a job may take")
    fbs_visibility_timeout: int = Field(
        default=3_600, ge=20, description="seconds after which Redis hands a job that was not acknowledged on"
    )
    fbs_max_retries: int = Field(default=5, ge=0, description="retries of a job whose error may pass")
    fbs_broker_url: str = Field(
        default="", description="broker of the jobs' messages where it is not that Redis: amqp://… or sentinel://…"
    )

    fbs_odoo_max_calls: int = Field(default=4, ge=1, description="calls at once to one Odoo, over all workers")
    fbs_odoo_max_failures: int = Field(
        default=5, ge=1, description="failures of one Odoo in a row after which jobs for it wait"
    )
    fbs_odoo_pause: float = Field(
        default=30.0, gt=0, description="seconds that jobs wait for such an Odoo; doubles while it goes on failing"
    )

    fbs_refresh_every: str = Field(
        default="", description="how often solutions without a schedule of their own are refreshed, e.g. 6h"
    )

    fbs_flower_user: str = Field(default="fbs", description="user of the dashboard")
    fbs_flower_password: SecretStr = Field(default=SecretStr(""), description="password of the dashboard")
    fbs_flower_address: str = Field(default="127.0.0.1", description="address that the dashboard listens on")
    fbs_flower_port: int = Field(default=5555, ge=0, le=65535, description="port of the dashboard")

    fbs_api_address: str = Field(default="127.0.0.1", description="address that the HTTP API listens on")
    fbs_api_port: int = Field(default=8000, ge=0, le=65535, description="port of the HTTP API")
    fbs_api_tokens: SecretStr = Field(
        default=SecretStr(""), description="who may use the HTTP API: name:scope:sha256, as `fbs new-token` prints them"
    )
    fbs_api_max_body: int = Field(default=1_048_576, ge=1_024, description="bytes that a request's body may have")
    fbs_api_rate: int = Field(default=600, ge=0, description="requests of one caller per minute; 0: any number")
    fbs_api_proxies: str = Field(
        default="", description="addresses and networks of proxies whose X-Forwarded-For and -Proto are believed"
    )
    fbs_allowed_hosts: str = Field(
        default="", description="hosts of databases that callers of the HTTP API may name: names, addresses, networks"
    )

    fbs_log_format: Literal["text", "json"] = Field(default="text", description="text, or json: one object a line")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given to the constructor, then the environment and the files that it names."""
        return init_settings, _EnvironmentAndFiles(settings_cls)

    def odoo(self, name: str = DEFAULT_CONNECTION) -> OdooConnection:
        """The Odoo connection of that name.

        Args:
            name: `default` for the `ODOO_…` settings, else a name from `FBS_ODOO__<NAME>__…`.

        Raises:
            SettingsError: there is none of that name, or it has no URL.
        """
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
            )
            if not connection.url:
                raise SettingsError(
                    "No Odoo server is set.",
                    hint="Set ODOO_URL, ODOO_DB, ODOO_USER and ODOO_PASSWORD (or ODOO_API_KEY).",
                )
            return connection
        found = self.fbs_odoo.get(name.lower())
        if found is None or not found.url:
            known = ", ".join(sorted(self.fbs_odoo)) or "none"
            raise SettingsError(
                f"No Odoo connection is called {name!r} (known: {known}).",
                hint=f"Set FBS_ODOO__{name.upper()}__URL and its DB, USER, PASSWORD or API_KEY.",
            )
        return found

    def home(self) -> Path:
        """The folder of `fbs up`, absolute."""
        return self.fbs_home.expanduser().absolute()


class _EnvironmentAndFiles(EnvSettingsSource):
    """The environment, with the content of the files that `NAME_FILE` names in the place of `NAME`."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = _with_files(self.env_vars, settings_cls)


def _with_files(environment: Mapping[str, str | None], settings_cls: type[BaseSettings]) -> dict[str, str | None]:
    """The environment with `NAME_FILE` read as `NAME`; names are in small letters.

    Raises:
        SettingsError: a file cannot be read, or both `NAME` and `NAME_FILE` are set.
    """
    told = dict(environment)
    for twin, path in environment.items():
        name = twin.removesuffix(_FILE)
        if name == twin or name.partition("__")[0] not in settings_cls.model_fields:
            continue
        del told[twin]
        if not path:
            continue
        if environment.get(name):
            raise SettingsError(
                f"Both {name.upper()} and {twin.upper()} are set.",
                hint=f"Set one of them; {twin.upper()} names a file.",
            )
        try:
            told[name] = read_secret(path)
        except UnreadableSecret as exc:
            raise SettingsError(
                f"The file {path!r} that {twin.upper()} names {exc}.", hint="Check its path and its rights."
            ) from None
    return told


def load_settings() -> Settings:
    """Read the settings from the environment now.

    Raises:
        SettingsError: one is not valid; the message names it, never its value.
    """
    try:
        return Settings()
    except UnreadableSetting:  # the only one that is read as JSON
        raise SettingsError(
            "The setting FBS_ODOO is not valid: it is not JSON.", hint="Set FBS_ODOO__<NAME>__URL and the like instead."
        ) from None
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"The setting {name} is not valid: {first['msg']}.", hint=f"Correct {name}.") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read at the first call.

    Raises:
        SettingsError: one is not valid.
    """
    return load_settings()
