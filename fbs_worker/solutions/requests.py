"""What is asked of a job, checked: the same checks before it is enqueued, in the worker, and inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.identifiers import SolutionName, check_prefix
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import Domain, load_domain
from fbs_worker.solutions.config import SolutionConfig

_SOLUTION: Final[TypeAdapter[str]] = TypeAdapter(SolutionName)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverRequest:
    """What a discovery is asked to do.

    Attributes:
        domain: the business area.
        database: where the discoveries go, its password as it was given; None to keep them nowhere.
        table_prefix: prefix of the system tables.
        types: which discovery types.
        full: read everything even though nothing seems changed.
        odoo: the name of the Odoo connection.
        odoo_moved: what is kept was read from this same Odoo, under another address.
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
        """Check what was given.

        Args:
            domain: a domain's name.
            database_config: name, user, password, host and port; what is missing comes from the settings.
            table_prefix: the settings' if None.
            discovery_types: all if None or empty.
            full: read everything even though nothing seems changed.
            odoo: the name of an Odoo connection of whoever does the work.
            odoo_moved: what is kept was read from this same Odoo, under another address.
            settings: where defaults come from.

        Raises:
            UsageError: something is not valid.
        """
        if not isinstance(domain, str):
            raise UsageError("domain is not text.", hint="Give a domain's name, e.g. rental.")
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
        """The task's keyword arguments, JSON-ready, a plain password sealed.

        Args:
            vault: seals it.
            odoo_expected: the Odoo that the caller means; see `expected_odoo`.

        Raises:
            SecretError: there is a plain password and no key to seal it with.
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
    """What a set-up is asked to do.

    Attributes:
        config: the solution, its database's password as it was given.
        domain: its business area.
        odoo_moved: what is kept was read from this same Odoo, under another address.
        create_tables: tables may be made; only if whoever asks and whoever does the work both allow it.
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
        """Check what was given: everything that can be known without a connection.

        Args:
            config: the dictionary of a solution; see `SolutionConfig`. What is missing comes from the settings.
            odoo_moved: what is kept was read from this same Odoo, under another address.
            create_tables: tables may be made, as far as the settings allow it, too.
            settings: where defaults come from.
            **flat: the keys of `config` by themselves; they count more. None is: not given.

        Raises:
            UsageError: something is not valid, or a table's name would be too long.
        """
        from fbs_worker.schema.definition import define

        if config is not None and not isinstance(config, Mapping):
            raise UsageError("config is not a dictionary.", hint="Give it solution_name, domain and database_config.")
        if isinstance(flat.get("mirror"), str):
            flat["mirror"] = [flat["mirror"]]
        given = _given({**(config or {}), **_given(flat)})
        defaults = _database_defaults(settings)
        if settings.fbs_default_database_name:
            given.setdefault("database_config", {})
            defaults["name"] = settings.fbs_default_database_name
        solution = SolutionConfig.parse(
            given,
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
        """The task's keyword arguments, JSON-ready, a plain password sealed.

        Args:
            vault: seals it.
            odoo_expected: the Odoo that the caller means; see `expected_odoo`.

        Raises:
            SecretError: there is a plain password and no key to seal it with.
        """
        return {
            **self.config.to_message(vault),
            "odoo_moved": self.odoo_moved,
            **({} if self.create_tables else {"create_tables": False}),
            "odoo_expected": None if odoo_expected is None else dict(odoo_expected),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRequest:
    """What a refresh is asked to do.

    Attributes:
        solution_name: which solution.
        full: read everything even though nothing seems changed.
        odoo_moved: what is kept was read from this same Odoo, under another address.
    """

    solution_name: str
    full: bool = False
    odoo_moved: bool = False

    @classmethod
    def parse(cls, *, solution_name: str, full: bool = False, odoo_moved: bool = False) -> Self:
        """Check what was given; the arguments are the attributes.

        Raises:
            UsageError: something is not valid.
        """
        return cls(
            solution_name=checked_solution_name(solution_name),
            full=flag("full", full),
            odoo_moved=flag("odoo_moved", odoo_moved),
        )

    def to_message(self) -> dict[str, Any]:
        """The task's keyword arguments, JSON-ready."""
        return {"solution_name": self.solution_name, "full": self.full, "odoo_moved": self.odoo_moved}


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRequest:
    """What a drop is asked to do.

    Attributes:
        solution_name: which solution.
        with_data: business tables go though they hold rows.
        dry_run: only tell what would be done.
    """

    solution_name: str
    with_data: bool = False
    dry_run: bool = False

    @classmethod
    def parse(cls, *, solution_name: str, with_data: bool = False, dry_run: bool = False) -> Self:
        """Check what was given; the arguments are the attributes.

        Raises:
            UsageError: something is not valid.
        """
        return cls(
            solution_name=checked_solution_name(solution_name),
            with_data=flag("with_data", with_data),
            dry_run=flag("dry_run", dry_run),
        )

    def to_message(self) -> dict[str, Any]:
        """The task's keyword arguments, JSON-ready."""
        return {"solution_name": self.solution_name, "with_data": self.with_data, "dry_run": self.dry_run}


def with_defaults(database_config: Mapping[str, Any], settings: Settings) -> DatabaseConfig:
    """A database as it was given, what is missing taken from the settings.

    Raises:
        UsageError: a field is missing, unknown or not valid.
    """
    return DatabaseConfig.parse(database_config, defaults=_database_defaults(settings))


def refuse_plain_password(database_config: object) -> None:
    """See that the password in a message is sealed or a reference.

    Args:
        database_config: the message's, whatever it is; what is not valid in other ways is not looked for here.

    Raises:
        SecretError: it is plain.
    """
    password = database_config.get("password") if isinstance(database_config, Mapping) else None
    if isinstance(password, str) and password and not Vault.is_reference(password):
        Vault().resolve(password)  # says so


def expected_odoo(settings: Settings, odoo: str | None) -> dict[str, str] | None:
    """The Odoo that whoever enqueues a job means by a connection's name, without credentials.

    Returns:
        `{"url": …, "database": …}`, or None where the caller has no such connection and leaves it to the worker.
    """
    try:
        connection = settings.odoo(odoo or DEFAULT_CONNECTION)
    except SettingsError:
        return None
    return _told(connection)


def check_odoo(connection: OdooConnection, expected: Mapping[str, Any] | None) -> None:
    """See that a worker's connection leads where the caller of the job meant it to.

    Args:
        connection: the worker's.
        expected: the caller's; what it leaves empty is not compared.

    Raises:
        SettingsError: it leads elsewhere.
    """
    if expected is None:
        return
    ours = _told(connection)
    for name, told in ours.items():
        wanted = expected.get(name)
        if told and wanted and told != wanted:
            raise SettingsError(
                f"This worker reads Odoo {_place(ours)}, you asked for {_place(expected)}.",
                hint="Start the worker with the same ODOO_URL and ODOO_DB, or name the connection that you mean.",
            )


def flag(name: str, value: object) -> bool:
    """A flag as it was given.

    Raises:
        UsageError: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} is neither true nor false.", hint="Give true or false.")
    return value


def checked_solution_name(given: object) -> str:
    """A solution's name as it was given.

    Raises:
        UsageError: it cannot be one.
    """
    try:
        return _SOLUTION.validate_python(given)
    except ValidationError as exc:
        reason = exc.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"solution_name is not valid: {reason}.", hint="Correct solution_name (--solution-name)."
        ) from None


def _types(given: Sequence[str] | None) -> tuple[DiscoveryType, ...]:
    if not given:
        return tuple(DiscoveryType)
    if isinstance(given, str):
        given = (given,)
    try:
        wanted = {DiscoveryType(kind) for kind in given}
    except (ValueError, TypeError):
        known = ", ".join(DiscoveryType)
        raise UsageError("A discovery type is not known.", hint=f"Known are: {known}.") from None
    return tuple(kind for kind in DiscoveryType if kind in wanted)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
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
        raise UsageError("odoo is not text.", hint="Give the name of an Odoo connection, e.g. default.")
    return odoo


def _told(connection: OdooConnection) -> dict[str, str]:
    scheme, found, place = connection.url.strip().rstrip("/").partition("://")
    # what stands before an @ would be a user and a password: not valid there, and not to be told either
    url = f"{scheme}://{place.rpartition('@')[2]}".lower() if found else scheme
    return {"url": url, "database": connection.db}


def _place(odoo: Mapping[str, Any]) -> str:
    return f"{odoo.get('url', '')} (database {odoo.get('database') or 'of its own choice'})"
