"""Validated requests, one class per job: the same validation before enqueueing, in the worker, and in-process."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.identifiers import ModelName, SolutionName, check_prefix
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import Domain, load_domain
from fbs_worker.migration.model.plan import MUST_BE_ALLOWED, Hazard
from fbs_worker.solutions.config import SolutionConfig

_SOLUTION: Final[TypeAdapter[str]] = TypeAdapter(SolutionName)
_MODEL: Final[TypeAdapter[str]] = TypeAdapter(ModelName)

_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")
_RENAME: Final = re.compile(r"[^=]+\.[^=.]+=[^=]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverRequest:
    """Parameters of `fbs.discover`.

    Attributes:
        domain: the business area.
        database: where to save the discoveries, the password as received; None to save nothing.
        table_prefix: prefix of the system tables.
        types: the discovery types to read.
        full: read everything, even if the fingerprint says that nothing changed.
        odoo: name of the Odoo connection.
        odoo_moved: the saved discoveries were read from this same Odoo under another address.
    """

    domain: Domain
    database: DatabaseConfig | None
    table_prefix: str
    types: tuple[DiscoveryType, ...]
    full: bool
    odoo: str
    odoo_moved: bool = False

    @classmethod
    def parse(
        cls,
        *,
        domain: str,
        database_config: Mapping[str, Any] | None = None,
        table_prefix: str | None = None,
        discovery_types: Sequence[str] | None = None,
        full: bool = False,
        odoo: str = DEFAULT_CONNECTION,
        odoo_moved: bool = False,
        settings: Settings,
    ) -> Self:
        """Validate the input.

        Args:
            domain: a domain's name.
            database_config: name, user, password, host and port; missing fields are taken from the settings.
            table_prefix: prefix of the system tables; FBS_TABLE_PREFIX if None.
            discovery_types: the types to read; all if None or empty.
            full: read everything, even if the fingerprint says that nothing changed.
            odoo: name of an Odoo connection in the settings of the process that runs the job.
            odoo_moved: the saved discoveries were read from this same Odoo under another address.
            settings: the defaults.

        Raises:
            UsageError: a value is not valid.
        """
        if not isinstance(domain, str):
            raise UsageError("domain is not a string.", hint="Give a domain's name, e.g. rental.")
        prefix = settings.fbs_table_prefix if table_prefix is None else table_prefix
        try:
            check_prefix(prefix)
        except (ValueError, TypeError) as exc:
            raise UsageError(
                f"table_prefix is not valid: {exc}.", hint="Correct table_prefix (--table-prefix)."
            ) from None
        return cls(
            domain=load_domain(domain),
            database=None if database_config is None else with_defaults(database_config, settings),
            table_prefix=prefix,
            types=_types(discovery_types),
            full=flag("full", full),
            odoo=_connection_name(odoo),
            odoo_moved=flag("odoo_moved", odoo_moved),
        )

    def to_message(self, vault: Vault, *, odoo_expected: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready, with the password encrypted.

        Args:
            vault: encrypts a plain password.
            odoo_expected: the caller's Odoo, as `expected_odoo` returns it.

        Raises:
            SecretError: the password is plain and no key is set to encrypt it with.
        """
        return {
            "domain": self.domain.name,
            "database_config": None if self.database is None else self.database.to_message(vault),
            "table_prefix": self.table_prefix,
            "discovery_types": [str(kind) for kind in self.types],
            "full": self.full,
            "odoo": self.odoo,
            "odoo_moved": self.odoo_moved,
            "odoo_expected": None if odoo_expected is None else dict(odoo_expected),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRequest:
    """Parameters of `fbs.setup`.

    Attributes:
        config: the solution's configuration, the password as received.
        domain: the business area.
        odoo_moved: the saved discoveries were read from this same Odoo under another address.
        create_tables: whether tables may be created; True only if the caller's and the worker's settings allow it.
    """

    config: SolutionConfig
    domain: Domain
    odoo_moved: bool = False
    create_tables: bool = True

    @classmethod
    def parse(
        cls,
        config: Mapping[str, Any] | None = None,
        *,
        odoo_moved: bool = False,
        create_tables: bool = True,
        settings: Settings,
        **flat: Any,
    ) -> Self:
        """Validate everything that can be validated without a connection.

        Args:
            config: see `SolutionConfig`; missing fields are taken from the settings.
            odoo_moved: the saved discoveries were read from this same Odoo under another address.
            create_tables: whether the caller allows creating tables; FBS_AUTO_CREATE_TABLES must allow it as well.
            settings: the defaults.
            **flat: keys of `config` as keywords; they take precedence. None counts as absent.

        Raises:
            UsageError: a value is not valid, or the name of a table would be too long.
        """
        from fbs_worker.schema.definition import define

        if config is not None and not isinstance(config, Mapping):
            raise UsageError("config is not a dictionary.", hint="Give solution_name, domain and database_config.")
        if isinstance(flat.get("mirror"), str):
            flat["mirror"] = [flat["mirror"]]
        values = _without_none({**(config or {}), **_without_none(flat)})
        defaults = _database_defaults(settings)
        if settings.fbs_default_database_name:
            values.setdefault("database_config", {})
            defaults["name"] = settings.fbs_default_database_name
        solution = SolutionConfig.parse(
            values,
            database_defaults=defaults,
            defaults={"table_prefix": settings.fbs_table_prefix, "business_prefix": settings.fbs_business_prefix},
        )
        domain = load_domain(solution.domain)
        define(domain, table_prefix=solution.table_prefix, business_prefix=solution.business_prefix)
        return cls(
            config=solution,
            domain=domain,
            odoo_moved=flag("odoo_moved", odoo_moved),
            create_tables=flag("create_tables", create_tables) and settings.fbs_auto_create_tables,
        )

    def to_message(self, vault: Vault, *, odoo_expected: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready, with the password encrypted.

        Args:
            vault: encrypts a plain password.
            odoo_expected: the caller's Odoo, as `expected_odoo` returns it.

        Raises:
            SecretError: the password is plain and no key is set to encrypt it with.
        """
        return {
            **self.config.to_message(vault),
            "odoo_moved": self.odoo_moved,
            **({} if self.create_tables else {"create_tables": False}),
            "odoo_expected": None if odoo_expected is None else dict(odoo_expected),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRequest:
    """Parameters of `fbs.refresh`.

    Attributes:
        solution_name: the solution.
        full: read everything, even if the fingerprint says that nothing changed.
        odoo_moved: the saved discoveries were read from this same Odoo under another address.
    """

    solution_name: str
    full: bool = False
    odoo_moved: bool = False

    @classmethod
    def parse(cls, *, solution_name: str, full: bool = False, odoo_moved: bool = False) -> Self:
        """Validate the input; the arguments are the attributes.

        Raises:
            UsageError: a value is not valid.
        """
        return cls(
            solution_name=checked_solution_name(solution_name),
            full=flag("full", full),
            odoo_moved=flag("odoo_moved", odoo_moved),
        )

    def to_message(self) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready."""
        return {"solution_name": self.solution_name, "full": self.full, "odoo_moved": self.odoo_moved}


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRequest:
    """Parameters of `fbs.drop`.

    Attributes:
        solution_name: the solution.
        with_data: drop business tables even if they hold rows.
        dry_run: report what would be dropped, and drop nothing.
    """

    solution_name: str
    with_data: bool = False
    dry_run: bool = False

    @classmethod
    def parse(cls, *, solution_name: str, with_data: bool = False, dry_run: bool = False) -> Self:
        """Validate the input; the arguments are the attributes.

        Raises:
            UsageError: a value is not valid.
        """
        return cls(
            solution_name=checked_solution_name(solution_name),
            with_data=flag("with_data", with_data),
            dry_run=flag("dry_run", dry_run),
        )

    def to_message(self) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready."""
        return {"solution_name": self.solution_name, "with_data": self.with_data, "dry_run": self.dry_run}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateRequest:
    """Parameters of `fbs.migrate`.

    Attributes:
        solution_name: the solution.
        plan_only: plan only, and change nothing.
        fingerprint: apply only the plan with this fingerprint; None for any plan (not possible for an undo).
        allow: the allowed hazards.
        renames: renamed columns, each `table.old=new`.
        restore: also revert manual changes (drift).
        mirror: Odoo models to mirror in addition.
        unmirror: Odoo models to stop mirroring; their tables are dropped.
        undo: revert the last migration instead.
    """

    solution_name: str
    plan_only: bool = False
    fingerprint: str | None = None
    allow: frozenset[Hazard] = frozenset()
    renames: tuple[str, ...] = ()
    restore: bool = False
    mirror: tuple[str, ...] = ()
    unmirror: tuple[str, ...] = ()
    undo: bool = False

    @classmethod
    def parse(
        cls,
        *,
        solution_name: str,
        plan_only: bool = False,
        fingerprint: str | None = None,
        allow: Collection[str] | None = None,
        renames: Sequence[str] | None = None,
        restore: bool = False,
        mirror: Sequence[str] | None = None,
        unmirror: Sequence[str] | None = None,
        undo: bool = False,
    ) -> Self:
        """Validate the input; the arguments are the attributes.

        Raises:
            UsageError: a value is not valid, or two options exclude each other.
        """
        request = cls(
            solution_name=checked_solution_name(solution_name),
            plan_only=flag("plan_only", plan_only),
            fingerprint=_fingerprint(fingerprint),
            allow=frozenset(map(_hazard, _texts("allow", allow))),
            renames=tuple(map(_rename, _texts("renames", renames))),
            restore=flag("restore", restore),
            mirror=tuple(sorted(map(_model, _texts("mirror", mirror)))),
            unmirror=tuple(sorted(map(_model, _texts("unmirror", unmirror)))),
            undo=flag("undo", undo),
        )
        if request.plan_only and request.fingerprint:
            raise UsageError("--plan and --apply exclude each other.", hint="Leave one of them out.")
        if request.undo and not request.plan_only and not request.fingerprint:
            raise UsageError(
                "An undo needs the fingerprint of its plan: repeated without one, it would revert two migrations.",
                hint="Plan it first (--undo --plan), then give the fingerprint (--undo --apply …).",
            )
        if request.undo and (request.renames or request.restore or request.mirror or request.unmirror):
            raise UsageError(
                "An undo reverts the last migration and accepts no other change.",
                hint="Leave --rename, --restore, --mirror and --no-mirror out.",
            )
        both = sorted(set(request.mirror) & set(request.unmirror))
        if both:
            raise UsageError(
                f"{', '.join(both)} is in both mirror and unmirror.", hint="Name each model in one of the two only."
            )
        return request

    def to_message(self) -> dict[str, Any]:
        """Return the task's keyword arguments, JSON-ready."""
        return {
            "solution_name": self.solution_name,
            "plan_only": self.plan_only,
            "fingerprint": self.fingerprint,
            "allow": sorted(map(str, self.allow)),
            "renames": list(self.renames),
            "restore": self.restore,
            "mirror": list(self.mirror),
            "unmirror": list(self.unmirror),
            "undo": self.undo,
        }


def with_defaults(database_config: Mapping[str, Any], settings: Settings) -> DatabaseConfig:
    """Parse a database configuration, with defaults from the settings.

    Args:
        database_config: name, user, password, host and port.
        settings: the defaults.

    Raises:
        UsageError: a field is missing, unknown or not valid.
    """
    return DatabaseConfig.parse(database_config, defaults=_database_defaults(settings))


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


def flag(name: str, value: object) -> bool:
    """Validate a flag.

    Args:
        name: the parameter's name, for the error.
        value: the input.

    Raises:
        UsageError: the value is not a boolean.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} is not a boolean.", hint="Give true or false.")
    return value


def checked_solution_name(value: object) -> str:
    """Validate the name of a solution.

    Raises:
        UsageError: the value is not a valid name.
    """
    try:
        return _SOLUTION.validate_python(value)
    except ValidationError as exc:
        reason = exc.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"solution_name is not valid: {reason}.", hint="Correct solution_name (--solution-name)."
        ) from None


def _types(value: Sequence[str] | None) -> tuple[DiscoveryType, ...]:
    if not value:
        return tuple(DiscoveryType)
    if isinstance(value, str):
        value = (value,)
    try:
        selected = {DiscoveryType(kind) for kind in value}
    except (ValueError, TypeError):
        known = ", ".join(DiscoveryType)
        raise UsageError("Unknown discovery type.", hint=f"Known are: {known}.") from None
    return tuple(kind for kind in DiscoveryType if kind in selected)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _database_defaults(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.fbs_default_database_host,
        "port": settings.fbs_default_database_port,
        "user": settings.fbs_default_database_user,
        "password": settings.fbs_default_database_password,
    }


def _connection_name(odoo: object) -> str:
    if not isinstance(odoo, str):
        raise UsageError("odoo is not a string.", hint="Give the name of an Odoo connection, e.g. default.")
    return odoo


def _odoo_address(connection: OdooConnection) -> dict[str, str]:
    scheme, separator, rest = connection.url.strip().rstrip("/").partition("://")
    # credentials before an @ are not valid in this URL, and must not reach a message
    url = f"{scheme}://{rest.rpartition('@')[2]}".lower() if separator else scheme
    return {"url": url, "database": connection.db}


def _describe(odoo: Mapping[str, Any]) -> str:
    return f"{odoo.get('url', '')} (database {odoo.get('database') or 'not set'})"


def _texts(name: str, value: object) -> tuple[str, ...]:
    """Return the distinct strings in their order; a single string counts as a list of one."""
    if isinstance(value, str):
        value = (value,)
    if value is None:
        return ()
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{name} is not a list of strings.", hint=f"Give {name} as a list.")
    return tuple(dict.fromkeys(map(str, value)))


def _fingerprint(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _FINGERPRINT.fullmatch(value):
        raise UsageError(
            "fingerprint is not valid: it has 16 hexadecimal digits.",
            hint="`fbs migrate --plan` shows it; give it after --apply.",
        )
    return value


def _hazard(value: str) -> Hazard:
    try:
        return Hazard(value.strip().upper())
    except ValueError:
        known = ", ".join(sorted(map(str, MUST_BE_ALLOWED)))
        raise UsageError("Unknown hazard.", hint=f"These can be allowed: {known}.") from None


def _rename(value: str) -> str:
    if not _RENAME.fullmatch(value):
        raise UsageError(
            "A rename does not have the form table.old=new.", hint="For example: --rename lease.notes=remarks"
        )
    return value


def _model(value: str) -> str:
    try:
        return _MODEL.validate_python(value)
    except ValidationError as exc:
        reason = exc.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"The name of a model is not valid: {reason}.", hint="Give the name of an Odoo model, e.g. sale.order."
        ) from None
