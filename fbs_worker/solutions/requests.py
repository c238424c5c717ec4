"""Requests, one class per job. Each field is declared here once.

Command line, Django, HTTP API, messages and reference are made from the classes; `parse` is the same validation before
enqueueing, in the worker and in-process.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SecretError, SettingsError, UsageError
from fbs_worker.core.fields import Option, ValidatedConfig, defaults
from fbs_worker.core.host_allowlist import check_database, is_reference_allowed
from fbs_worker.core.identifiers import (
    DEFAULT_TABLE_PREFIX,
    DomainName,
    Fingerprint,
    ModelName,
    ModelNames,
    OdooName,
    Prefix,
    Rename,
    SolutionName,
)
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.domains import load_domain
from fbs_worker.migration.model.plan import MUST_BE_ALLOWED, Hazard
from fbs_worker.solutions.config import (
    DOMAIN,
    MIRROR,
    ODOO,
    SOLUTION,
    TABLE_PREFIX,
    ExcludeModules,
    IncludeModules,
    SolutionConfig,
)

_MAX_NUMBER: Final = 2**31 - 1
_FULL: Final = "read everything, even if the fingerprint is unchanged"
_MOVED: Final = "confirm that the saved discoveries are of this same Odoo, at another address"
_EXPECTED: Final = "the caller's Odoo, as `expected_odoo` returns it"


class Request(ValidatedConfig):
    """Base of the requests.

    Raises:
        UsageError: a field is missing, unknown or not valid, or two exclude each other.
    """

    task: ClassVar[str]
    """The name of the task that does it."""

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, /, *, settings: Settings, **fields: Any) -> Self:
        """Validate the input; values that are missing are taken from the settings.

        Args:
            values: the fields; None counts as missing.
            settings: the defaults.
            **fields: the same as keywords; they take precedence.

        Raises:
            UsageError: a field is missing, unknown or not valid, or two exclude each other.
        """
        given = {**defaults(cls, settings), **_present(values), **_present(fields)}
        database = given.get("database_config")
        if database is not None and not isinstance(database, DatabaseConfig):
            given["database_config"] = DatabaseConfig.parse(database, defaults=defaults(DatabaseConfig, settings))
        return cls(**given)

    @classmethod
    def from_message(cls, message: Mapping[str, Any], *, settings: Settings, in_process: bool = False) -> Self:
        """Validate a task's keyword arguments.

        Args:
            message: the arguments.
            settings: the worker's settings.
            in_process: they did not come through the queue: the password may be plain, and any host be named.

        Raises:
            UsageError: an argument is not valid.
            SecretError: the password is plain, for another host, or a reference that is not allowed.
            HostRefused: the database's host or port is not allowed.
        """
        if not in_process:
            config = message.get("config")
            for holder in (message, config if isinstance(config, Mapping) else {}):
                reject_plain_password(holder.get("database_config"))
        request = cls.parse(message, settings=settings)
        return request if in_process else request.received(settings)

    def received(self, settings: Settings) -> Self:
        """Return a request from a message, checked again where the job runs: anyone who reaches Redis can send one.

        What was encrypted for its host shows that the sender has the keys: then the host is not checked.

        Raises:
            SecretError: the password is for another host, or a reference that is not allowed.
            HostRefused: the database's host or port is not allowed.
        """
        database: DatabaseConfig | None = getattr(self, "database_config", None)
        if database is None:
            return self
        database, is_vouched = database.from_message(Vault.from_text(settings.fbs_secret_keys.get_secret_value()))
        default = settings.fbs_default_database_password
        if not database.password.get_secret_value() and default.get_secret_value():
            database, is_vouched = database.model_copy(update={"password": default}), False
        if not is_vouched:
            database = database.model_copy(update={"host": check_database(database, settings)})
        return self.model_copy(update={"database_config": database})

    def checked(self, settings: Settings) -> Self:
        """Return a caller's request with the host to connect to, before it is enqueued.

        Raises:
            SecretError: the password is a reference that is not allowed.
            HostRefused: the database's host or port is not allowed, or not with that password.
        """
        database: DatabaseConfig | None = getattr(self, "database_config", None)
        if database is None:
            return self
        host = check_database(database, settings)
        return self.model_copy(update={"database_config": database.model_copy(update={"host": host})})

    def with_own_secrets(self, settings: Settings) -> Self:
        """Return a person's request with a reference of this process replaced by its secret, which travels encrypted.

        A reference that workers may resolve (FBS_SECRET_REFERENCES) stays one, and so does one that names nothing here.
        """
        database: DatabaseConfig | None = getattr(self, "database_config", None)
        if database is None or not settings.fbs_secret_keys.get_secret_value():
            return self
        password = database.password.get_secret_value()
        if password.startswith(ENCRYPTED) or is_reference_allowed(password, settings):
            return self
        with suppress(SecretError):
            database = database.resolved(Vault(), allow_plain=True)
        return self.model_copy(update={"database_config": database})

    def to_message(self, settings: Settings) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready, with the password encrypted.

        Args:
            settings: the keys, and the Odoo that the caller means.

        Raises:
            SecretError: the password is plain and no key is set to encrypt it with.
        """
        message = self.model_dump(mode="json")
        database = getattr(self, "database_config", None)
        if database is not None:
            vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
            message["database_config"] = database.to_message(vault)
        if "odoo_expected" in message:
            message["odoo_expected"] = expected_odoo(settings, message["odoo"])
        return message

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        """Accept a text for a list of one, and what else the class is lenient about."""
        several = {name for name, field in cls.model_fields.items() if isinstance(field.default, tuple)}
        return cls._normalised(
            {name: (value,) if name in several and isinstance(value, str) else value for name, value in values.items()}
        )

    @classmethod
    def _normalised(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values


class DiscoverRequest(Request):
    """Discover an Odoo for a domain."""

    task = "fbs.discover"

    domain: DomainName = Field(description=DOMAIN)
    database_config: DatabaseConfig | None = Field(
        default=None, description="the database to save the discoveries in; without one they are only returned"
    )
    table_prefix: Annotated[Prefix, Option(setting="fbs_table_prefix")] = Field(
        default=DEFAULT_TABLE_PREFIX, description=TABLE_PREFIX
    )
    discovery_types: Annotated[tuple[DiscoveryType, ...], Option(name="discovery_type")] = Field(
        default=tuple(DiscoveryType), description="only these discovery types"
    )
    include_modules: IncludeModules = ()
    exclude_modules: ExcludeModules = ()
    full: StrictBool = Field(default=False, description=_FULL)
    odoo: Annotated[OdooName, Option(envvar="FBS_ODOO_CONNECTION")] = Field(
        default=DEFAULT_CONNECTION, description=ODOO
    )
    odoo_moved: StrictBool = Field(default=False, description=_MOVED)
    odoo_expected: Annotated[dict[str, str] | None, Option(internal=True)] = Field(default=None, description=_EXPECTED)

    @classmethod
    def _normalised(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("discovery_types") or tuple(DiscoveryType)
        try:
            selected = {DiscoveryType(kind) for kind in given}
        except (ValueError, TypeError):
            known = ", ".join(DiscoveryType)
            raise UsageError("Unknown discovery type.", hint=f"Known are: {known}.") from None
        return {**values, "discovery_types": tuple(kind for kind in DiscoveryType if kind in selected)}

    @model_validator(mode="after")
    def _check_domain(self) -> Self:
        load_domain(self.domain)
        return self


class SetupRequest(SolutionConfig, Request):
    """Set up a solution: create its tables, and discover its Odoo."""

    task = "fbs.setup"

    odoo_moved: StrictBool = Field(default=False, description=_MOVED)
    sync: StrictBool = Field(default=True, description="copy the records of the mirrored models as well")
    create_tables: Annotated[StrictBool, Option(internal=True)] = Field(
        default=True, description="whether tables may be created, as far as FBS_AUTO_CREATE_TABLES allows it"
    )
    odoo_expected: Annotated[dict[str, str] | None, Option(internal=True)] = Field(default=None, description=_EXPECTED)

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, /, *, settings: Settings, **fields: Any) -> Self:
        """Validate the input; values that are missing are taken from the settings.

        Args:
            values: the fields; `config` may hold those of the solution.
            settings: the defaults, and whether tables may be created.
            **fields: the same as keywords; they take precedence.

        Raises:
            UsageError: a field is missing, unknown or not valid, or the name of a table would be too long.
        """
        given = {**_present(values), **_present(fields)}
        given = {**_present(given.pop("config", None)), **given}
        database = given.get("database_config", {})
        if isinstance(database, Mapping):
            name = database.get("name") or settings.fbs_default_database_name
            given["database_config"] = {**database, "name": name}
        request = super().parse(given, settings=settings)
        may_create = request.create_tables and settings.fbs_auto_create_tables
        return request.model_copy(update={"create_tables": may_create})

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        from fbs_worker.schema.definition import define

        define(load_domain(self.domain), table_prefix=self.table_prefix, business_prefix=self.business_prefix)
        return self


class RefreshRequest(Request):
    """Read a solution's Odoo again and record the changes."""

    task = "fbs.refresh"

    solution_name: SolutionName = Field(description=SOLUTION)
    full: StrictBool = Field(default=False, description=_FULL)
    odoo_moved: StrictBool = Field(default=False, description=_MOVED)


class SyncRequest(Request):
    """Copy the records of a solution's mirrored models from Odoo into their tables, and keep them equal."""

    task = "fbs.sync"

    solution_name: SolutionName = Field(description=SOLUTION)
    models: Annotated[ModelNames, Option(name="model", metavar="MODEL", limit=500)] = Field(
        default=(), description="only these mirrored models"
    )
    full: StrictBool = Field(default=False, description="read every record again, not only those that changed")
    verify: StrictBool = Field(default=False, description="compare the tables with Odoo afterwards, record by record")
    allow_delete: Annotated[StrictInt, Field(ge=0, le=_MAX_NUMBER), Option(metavar="NUMBER")] = Field(
        default=0, description="the number of deletions to allow in a table that says `needs review`"
    )
    scheduled: Annotated[StrictBool, Option(internal=True)] = Field(
        default=False, description="whether a schedule asks for it: then FBS_SYNC_WINDOW applies"
    )


class SyncTableRequest(Request):
    """Copy the records of one mirrored model, as a part of a sync."""

    task = "fbs.sync_table"

    solution_name: SolutionName = Field(description=SOLUTION)
    model: ModelName = Field(description="the mirrored model")
    models: ModelNames = Field(default=(), description="as those of the sync")
    run: str = Field(max_length=100, description="the id of the sync that it is a part of")
    part: StrictInt = Field(
        default=-1, ge=-1, le=_MAX_NUMBER, description="which range of ids of a first copy, from 0; -1: the rest"
    )
    full: StrictBool = Field(default=False, description="as that of the sync")
    verify: StrictBool = Field(default=False, description="as that of the sync")
    allow_delete: StrictInt = Field(default=0, ge=0, le=_MAX_NUMBER, description="as that of the sync")
    scheduled: StrictBool = Field(default=False, description="as that of the sync")
    reader: dict[str, Any] | None = Field(default=None, description="who reads, as the sync found out")


class DropRequest(Request):
    """Drop a solution: the tables created for it, and no others."""

    task = "fbs.drop"

    solution_name: SolutionName = Field(description=SOLUTION)
    with_data: StrictBool = Field(default=False, description="drop business tables even if they hold rows")
    dry_run: StrictBool = Field(default=False, description="only list the tables that would be dropped")


class MigrateRequest(Request):
    """Make a solution's tables match their definition, or undo the last migration."""

    task = "fbs.migrate"

    solution_name: SolutionName = Field(description=SOLUTION)
    plan_only: Annotated[StrictBool, Option(name="plan")] = Field(
        default=False, description="only plan, and change nothing"
    )
    fingerprint: Annotated[Fingerprint | None, Option(name="apply", metavar="FINGERPRINT")] = Field(
        default=None,
        description="the fingerprint of the plan to apply, without confirmation; rejected if it is stale",
    )
    allow: Annotated[tuple[Hazard, ...], Option(metavar="HAZARD", limit=50)] = Field(
        default=(), description="hazards to allow, e.g. DELETES_DATA"
    )
    renames: Annotated[tuple[Rename, ...], Option(name="rename", metavar="TABLE.OLD=NEW", limit=500)] = Field(
        default=(), description="renamed columns, each `table.old=new`"
    )
    restore: StrictBool = Field(default=False, description="revert changes made by hand (drift)")
    mirror: Annotated[ModelNames, Option(metavar="MODEL", limit=500)] = Field(default=(), description=MIRROR)
    unmirror: Annotated[ModelNames, Option(name="no_mirror", metavar="MODEL", limit=500)] = Field(
        default=(), description="mirrored Odoo models whose tables are dropped"
    )
    undo: StrictBool = Field(default=False, description="undo the last migration, as far as that loses no data")

    @property
    def plan_options(self) -> dict[str, Any]:
        """What the plan depends on, by the names of the interfaces: applying it needs the same."""
        return {
            "restore": self.restore,
            "rename": list(self.renames),
            "mirror": list(self.mirror),
            "no_mirror": list(self.unmirror),
        }

    @classmethod
    def _normalised(cls, values: dict[str, Any]) -> dict[str, Any]:
        allowed = values.get("allow")  # hazards may be in lower case
        if not isinstance(allowed, list | tuple | set | frozenset):
            return values
        try:
            hazards = [Hazard(str(each).strip().upper()) for each in allowed]
        except ValueError:
            known = ", ".join(sorted(map(str, MUST_BE_ALLOWED)))
            raise UsageError("Unknown hazard.", hint=f"These can be allowed: {known}.") from None
        return {**values, "allow": tuple(sorted(set(hazards)))}

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.plan_only and self.fingerprint:
            raise UsageError("--plan and --apply exclude each other.", hint="Leave one of them out.")
        if self.undo and not self.plan_only and not self.fingerprint:
            raise UsageError(
                "An undo needs the fingerprint of its plan: repeated without one, it would revert two migrations.",
                hint="Plan it first (--undo --plan), then give the fingerprint (--undo --apply …).",
            )
        if self.undo and (self.renames or self.restore or self.mirror or self.unmirror):
            raise UsageError(
                "An undo reverts the last migration and accepts no other change.",
                hint="Leave --rename, --restore, --mirror and --no-mirror out.",
            )
        both = sorted(set(self.mirror) & set(self.unmirror))
        if both:
            raise UsageError(
                f"{', '.join(both)} is in both mirror and unmirror.", hint="Name each model in one of the two only."
            )
        return self


REQUESTS: Final[tuple[type[Request], ...]] = (
    DiscoverRequest,
    SetupRequest,
    RefreshRequest,
    MigrateRequest,
    SyncRequest,
    DropRequest,
)
"""All of them, in the order of the reference."""


def reject_plain_password(database_config: object) -> None:
    """Check that the password in a message is encrypted or a reference.

    Args:
        database_config: the value in the message; other errors in it are found by `parse`.

    Raises:
        SecretError: the password is plain.
    """
    password = database_config.get("password") if isinstance(database_config, Mapping) else None
    if isinstance(password, str) and password and not Vault.is_reference(password):
        Vault().resolve(password)  # raises SecretError


def expected_odoo(settings: Settings, odoo: str | None) -> dict[str, str] | None:
    """Return the Odoo to which a connection's name refers in the caller's settings, without credentials.

    Args:
        settings: the caller's settings.
        odoo: name of the connection; `default` if None.

    Returns:
        `{"url": …, "database": …}`; None if the caller has no such connection, and the worker's is used unchecked.
    """
    try:
        connection = settings.odoo(odoo or DEFAULT_CONNECTION)
    except SettingsError:
        return None
    return _odoo_address(connection)


def check_odoo(connection: OdooConnection, expected: Mapping[str, Any] | None) -> None:
    """Check that a worker's connection leads to the Odoo that the caller of the job expects.

    Args:
        connection: the worker's connection.
        expected: the caller's Odoo; empty fields are not compared.

    Raises:
        SettingsError: the connection leads to another Odoo.
    """
    if expected is None:
        return
    actual = _odoo_address(connection)
    for name, value in actual.items():
        if value and expected.get(name) and value != expected[name]:
            raise SettingsError(
                f"This worker reads Odoo {_describe(actual)}, the job requests {_describe(expected)}.",
                hint="Start the worker with the same ODOO_URL and ODOO_DB, or name the connection to read.",
            )


def _present(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values without None, which counts as missing."""
    if values is not None and not isinstance(values, Mapping):
        raise UsageError("config is not a dictionary.", hint="Give solution_name, domain and database_config.")
    return {key: value for key, value in (values or {}).items() if value is not None}


def _odoo_address(connection: OdooConnection) -> dict[str, str]:
    scheme, separator, rest = connection.url.strip().rstrip("/").partition("://")
    # credentials before an @ are not valid in this URL, and must not reach a message
    url = f"{scheme}://{rest.rpartition('@')[2]}".lower() if separator else scheme
    return {"url": url, "database": connection.db}


def _describe(odoo: Mapping[str, Any]) -> str:
    return f"{odoo.get('url', '')} (database {odoo.get('database') or 'not set'})"
