"""Registry of solutions: the table `<prefix>solution_schemas`.

The home database has one entry per solution (`Registry`). Each target database has the solution's manifest
(`Manifest`): a row of the same layout that records what FBS owns there. When home and target are the same table, entry
and manifest are one row.

The columns are fixed by the published schema. Everything else is stored in `schema_definition`: `server` (host,
port and libpq's options) and `own` (true marks a manifest). Neither appears in a `SolutionRecord`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

import orjson
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from pydantic import SecretStr

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.core.advisory_locks import transaction, transaction_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseError,
    SecretError,
    SettingsError,
    SolutionConflict,
    SolutionNotFound,
    UsageError,
)
from fbs_worker.core.identifiers import DEFAULT_TABLE_PREFIX, check_prefix
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import DEFAULT_CONNECTION, Settings
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.schema.system_tables import ensure_tables, solution_schemas_table, table_exists
from fbs_worker.solutions.config import SolutionConfig

__all__ = [
    "MANIFEST_MARK",
    "MAX_PASSWORD",
    "DamagedRow",
    "Manifest",
    "Registry",
    "SolutionRecord",
    "home_database",
    "read_rows",
    "table_name",
]

MAX_PASSWORD: Final = 255
"""Characters of `database_password`: an encrypted password of up to 127 bytes fits."""

_SERVER: Final = "server"
_OWN: Final = "own"
MANIFEST_MARK: Final = f'{{"{_OWN}": true}}'
"""JSON that `schema_definition` of a manifest contains."""

_LAST_REFRESH: Final = "last_refresh"
SCHEDULE: Final = "schedule"
SCHEDULE_STATE: Final = "schedule_state"
SYNC_SCHEDULE: Final = "sync_schedule"
SYNC_STATE: Final = "sync_state"
_NOT_OF_JOBS: Final = (SCHEDULE, SCHEDULE_STATE, SYNC_SCHEDULE, SYNC_STATE)
"""Keys of `scheduling.store`. A job preserves them: it writes a row from what it read at its start."""
_RECORDED_SCHEMA: Final = "shape"
_MANIFEST_ONLY: Final = (_LAST_REFRESH, _RECORDED_SCHEMA)
_PRESERVED: Final = (_LAST_REFRESH, "source", _RECORDED_SCHEMA)
"""Keys of `schema_definition` that keep their value when a record without them is written."""

_KNOWN_NAMES: Final = 20
"""How many names the hint of SolutionNotFound lists."""

_COLUMNS: Final = (
    "solution_name",
    "domain",
    "database_name",
    "database_user",
    "database_password",
    "table_prefix",
    "business_prefix",
    "schema_definition",
    "is_active",
)

_FIELDS: Final = sql.SQL(", ").join(
    sql.Identifier(name) for name in (*_COLUMNS, "created_at", "updated_at") if name != "schema_definition"
)
_DEFINITION: Final = sql.SQL("schema_definition::text")
_BRIEF: Final = sql.SQL(
    "(schema_definition - CASE jsonb_typeof(schema_definition -> 'shape') WHEN 'object' THEN 'shape' ELSE '' END)::text"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SolutionRecord:
    """One row of the registry or one manifest.

    Attributes:
        solution_name: e.g. `fayvad_rentals`.
        domain: e.g. `rental`.
        database: the target database; its password is encrypted or a reference.
        table_prefix: prefix of the system tables.
        business_prefix: prefix of the business tables.
        is_active: True after a completed set-up; False while a set-up or a drop runs or after one was interrupted.
        schema_definition: what FBS owns: `version`, `tables`, `mirrored`, `modules`, `odoo`, `schedule`, and in a
            manifest also `last_refresh` and `shape`. `schedule` changes only through `put_schedule`.
        created_at: when the row was inserted, UTC; None for a record that is not stored yet.
        updated_at: when the row was last written, UTC; None for a record that is not stored yet.
    """

    solution_name: str
    domain: str
    database: DatabaseConfig
    table_prefix: str = DEFAULT_TABLE_PREFIX
    business_prefix: str = ""
    is_active: bool = True
    schema_definition: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def from_config(cls, config: SolutionConfig, *, is_active: bool, schema_definition: Mapping[str, Any]) -> Self:
        """Build the record of a solution from its configuration.

        Args:
            config: the solution's configuration.
            is_active: see the attributes.
            schema_definition: see the attributes.
        """
        return cls(
            solution_name=config.solution_name,
            domain=config.domain,
            database=config.database_config,
            table_prefix=config.table_prefix,
            business_prefix=config.business_prefix,
            is_active=is_active,
            schema_definition=schema_definition,
        )

    @property
    def owned(self) -> frozenset[str]:
        """Names of the business and mirrored tables that FBS created for this solution."""
        return frozenset(self.schema_definition.get("tables") or ())

    @property
    def mirrored(self) -> dict[str, str]:
        """Mirrored Odoo models, each with its main table."""
        return dict(self.schema_definition.get("mirrored") or {})

    @property
    def odoo(self) -> str:
        """Name of the Odoo connection that the solution reads."""
        return str(self.schema_definition.get("odoo") or DEFAULT_CONNECTION)

    @property
    def source(self) -> dict[str, str]:
        """The Odoo that the last refresh read: `url`, `database`, `series`; empty before the first one."""
        return dict(self.schema_definition.get("source") or {})

    @property
    def module_patterns(self) -> dict[str, tuple[str, ...]]:
        """Names of modules that the domain takes as well (`include`), and leaves out (`exclude`)."""
        patterns = self.schema_definition.get("modules") or {}
        return {key: tuple(patterns.get(key) or ()) for key in ("include", "exclude")}

    @property
    def last_refresh(self) -> dict[str, Any] | None:
        """Report of the last refresh; None before the first one, and always None in a registry entry."""
        report = self.schema_definition.get(_LAST_REFRESH)
        return dict(report) if report else None

    @property
    def last_checked(self) -> str | None:
        """Time of the last refresh, also of one that found nothing new; None where `last_refresh` is None."""
        last = self.last_refresh or {}
        return last.get("checked_at") or last.get("at")

    @property
    def last_change(self) -> str | None:
        """Time of the last refresh that found something; None if there was none, or an older version kept no time."""
        last = self.last_refresh or {}
        report = last.get("report") or {}
        found = any(report.get(kind) for kind in ("added", "changed", "removed"))
        return last.get("changed_at") or (last.get("at") if found else None)

    @property
    def recorded_schema(self) -> dict[str, Any]:
        """Table schema that FBS last applied, as `migration.model.schema` encodes it; empty in a registry entry."""
        return dict(self.schema_definition.get(_RECORDED_SCHEMA) or {})

    def to_config(self) -> SolutionConfig:
        """Return the configuration that would set the solution up again.

        Raises:
            UsageError: the row holds an invalid value.
        """
        return SolutionConfig(
            solution_name=self.solution_name,
            domain=self.domain,
            database_config=self.database,
            table_prefix=self.table_prefix,
            business_prefix=self.business_prefix,
            mirror=tuple(self.mirrored),
            include_modules=self.module_patterns["include"],
            exclude_modules=self.module_patterns["exclude"],
            odoo=self.odoo,
        )

    def redacted(self) -> dict[str, Any]:
        """Return a JSON-ready form for display, without the password."""
        return {
            "solution_name": self.solution_name,
            "domain": self.domain,
            "database_config": self.database.redacted(),
            "table_prefix": self.table_prefix,
            "business_prefix": self.business_prefix,
            "is_active": self.is_active,
            "tables": sorted(self.owned),
            "mirrored": dict(sorted(self.mirrored.items())),
            "modules": {key: list(patterns) for key, patterns in self.module_patterns.items()},
            "odoo": self.odoo,
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "updated_at": self.updated_at.isoformat() if self.updated_at else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedRow:
    """A row with an invalid value, e.g. after a manual edit.

    Attributes:
        solution_name: the row's key.
        error: what is invalid.
    """

    solution_name: str
    error: DatabaseError


class Registry:
    """Repository of the solutions in the home database. Each method runs its own transaction on the connection.

    Args:
        connection: to the home database; the caller closes it.
        table_prefix: prefix of the home database's system tables (FBS_TABLE_PREFIX).
        vault: encrypts plain passwords before they are stored.

    Raises:
        UsageError: the prefix is not valid.
    """

    def __init__(self, connection: Connection, *, table_prefix: str = DEFAULT_TABLE_PREFIX, vault: Vault) -> None:
        try:
            self._table = table_name(check_prefix(table_prefix))
        except ValueError as exc:
            raise UsageError(f"table_prefix is not valid: {exc}.", hint="Correct FBS_TABLE_PREFIX.") from None
        self._prefix = table_prefix
        self._connection = connection
        self._vault = vault

    def ensure_table(self) -> bool:
        """Create the registry's table if it does not exist.

        Returns:
            Whether it was created.

        Raises:
            ForeignTableError: a table of that name exists and FBS did not create it.
            DatabaseRightsMissing: the user may not create tables.
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with self._transaction():
            return ensure_tables(self._connection, self._prefix, (solution_schemas_table,))

    def get(self, name: str) -> SolutionRecord:
        """Return the entry of a solution.

        Raises:
            SolutionNotFound: the registry has no such solution; the hint lists the known ones.
            DatabaseError: the row is damaged, or a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with self._transaction() as cursor:
            record = _read_row(cursor, self._table, name)
            if record is None:
                raise SolutionNotFound(f"There is no solution {name!r}.", hint=_known(self._names(cursor)))
        return record

    def list(self) -> Sequence[SolutionRecord]:
        """Return all entries, ordered by name.

        Raises:
            DatabaseError: a row is damaged, or a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        records = []
        for entry in self.entries():
            if isinstance(entry, DamagedRow):
                raise entry.error
            records.append(entry)
        return records

    def entries(self) -> Sequence[SolutionRecord | DamagedRow]:
        """Return all rows, ordered by name, damaged ones included.

        Raises:
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with self._transaction() as cursor:
            return read_rows(cursor, self._table)

    def put(self, record: SolutionRecord, *, unless: Callable[[SolutionRecord | None], None] | None = None) -> bool:
        """Insert or update a solution's entry; an equal entry is not written again.

        `last_refresh` and `shape` belong to the manifest and are not written. When entry and manifest are one row, the
        manifest's `schema_definition` is preserved.

        Args:
            record: the solution; a plain password is encrypted.
            unless: called with the existing entry, which is locked against changes; raises to prevent the write.

        Returns:
            Whether the row was written.

        Raises:
            SolutionConflict: the name is in use with another domain, database name or prefix.
            SecretError: the password cannot be encrypted, or is too long once encrypted.
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        definition = {key: value for key, value in record.schema_definition.items() if key not in _MANIFEST_ONLY}
        with transaction(self._connection) as cursor:
            ensure_tables(self._connection, self._prefix, (solution_schemas_table,))
            if unless is not None:
                transaction_lock(self._connection, f"book:{record.solution_name}")
                unless(_read_row(cursor, self._table, record.solution_name))
            entry = replace(record, schema_definition=definition)
            return _write_row(cursor, self._table, entry, self._vault, is_manifest=False)

    def remove(self, name: str) -> bool:
        """Delete a solution's entry.

        Returns:
            Whether the entry existed.

        Raises:
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with self._transaction() as cursor:
            return _delete_row(cursor, self._table, name)

    def _names(self, cursor: Cursor) -> Sequence[str]:
        if not table_exists(self._connection, self._table):
            return []
        cursor.execute(
            sql.SQL("SELECT solution_name FROM {} ORDER BY 1 LIMIT %s").format(sql.Identifier(self._table)),
            (_KNOWN_NAMES + 1,),
        )
        return [name for (name,) in cursor.fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with errors_translated(self._connection), self._connection, self._connection.cursor() as cursor:
            yield cursor


class Manifest:
    """A solution's manifest in its target database. Every method runs in the caller's transaction."""

    @staticmethod
    def read(connection: Connection, table_prefix: str, name: str) -> SolutionRecord | None:
        """Return a solution's manifest; None without a manifest or without the table.

        Args:
            connection: to the target database.
            table_prefix: the solution's prefix of system tables.
            name: the solution's name.

        Raises:
            DatabaseError: the row is damaged, or a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return _read_row(cursor, table_name(table_prefix), name, manifest_only=True)

    @staticmethod
    def write(connection: Connection, record: SolutionRecord, vault: Vault) -> bool:
        """Insert or update a solution's manifest; an equal one is not written again.

        Args:
            connection: to the target database, which has the table of the record's prefix.
            record: the manifest; a stored `last_refresh` is preserved if the record has none.
            vault: encrypts a plain password.

        Returns:
            Whether the row was written.

        Raises:
            SolutionConflict: the database has a solution of that name with another domain or prefix.
            SecretError: the password cannot be encrypted, or is too long once encrypted.
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return _write_row(cursor, table_name(record.table_prefix), record, vault, is_manifest=True)

    @staticmethod
    def delete(connection: Connection, table_prefix: str, name: str) -> bool:
        """Delete a solution's manifest.

        Args:
            connection: to the target database.
            table_prefix: the solution's prefix of system tables.
            name: the solution's name.

        Returns:
            Whether the manifest existed.

        Raises:
            DatabaseError: a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return _delete_row(cursor, table_name(table_prefix), name, manifest_only=True)

    @staticmethod
    def others(connection: Connection, table_prefix: str, name: str = "") -> list[SolutionRecord]:
        """Return the manifests of the other solutions in a table, without `shape`.

        Args:
            connection: to the target database.
            table_prefix: selects the table.
            name: the solution to leave out.

        Raises:
            DatabaseError: a row is damaged, or a statement failed.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            rows = read_rows(cursor, table_name(table_prefix), manifest_only=True, brief=True)
        others = []
        for row in rows:
            if isinstance(row, DamagedRow):
                raise row.error
            if row.solution_name != name:
                others.append(row)
        return others


def home_database(settings: Settings) -> DatabaseConfig:
    """Return the database that holds the registry.

    Args:
        settings: the result of `effective_settings`, so that a running `fbs up` is taken into account.

    Raises:
        SettingsError: FBS_DATABASE_URL is not set or not valid.
    """
    hint = "Start one with `fbs up`, or set FBS_DATABASE_URL to postgresql://user:password@host:port/name."
    if not settings.fbs_database_url:
        raise SettingsError("No home database is set: it holds the registry of solutions.", hint=hint)
    try:
        return DatabaseConfig.from_url(settings.fbs_database_url)
    except UsageError as exc:
        raise SettingsError(f"FBS_DATABASE_URL is not valid: {exc.message}", hint=hint) from None


def table_name(prefix: str) -> str:
    """Return the name of the table of solutions for a prefix."""
    return f"{prefix}solution_schemas"


def mirrored_models(connection: Connection, table_prefix: str, domain: str) -> set[str]:
    """Return the models that the solutions of a domain mirror in a database, according to their manifests.

    Args:
        connection: to the database.
        table_prefix: the prefix of the table.
        domain: the domain.

    Raises:
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        rows = read_rows(cursor, table_name(table_prefix), manifest_only=True, brief=True)
    solutions = (row for row in rows if isinstance(row, SolutionRecord) and row.domain == domain)
    return {model for row in solutions for model in row.mirrored}


def read_rows(
    cursor: Cursor,
    table: str,
    *,
    names: Collection[str] | None = None,
    manifest_only: bool = False,
    brief: bool = False,
) -> list[SolutionRecord | DamagedRow]:
    """Return the rows of a table, ordered by name; empty when the table does not exist.

    Args:
        cursor: in a transaction.
        table: the table's name.
        names: only the rows of these solutions; None for all.
        manifest_only: only manifests.
        brief: leave out `shape`, which is long, unless it is damaged.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if not table_exists(cursor.connection, table):
        return []
    cursor.execute(
        sql.SQL(
            "SELECT {fields}, {definition} FROM {table}"
            " WHERE (%(names)s::text[] IS NULL OR solution_name = ANY(%(names)s))"
            " AND (NOT %(own)s OR schema_definition @> %(mark)s) ORDER BY solution_name"
        ).format(fields=_FIELDS, definition=_BRIEF if brief else _DEFINITION, table=sql.Identifier(table)),
        {"names": None if names is None else list(names), "own": manifest_only, "mark": MANIFEST_MARK},
    )
    return [_record(table, row) for row in cursor.fetchall()]


def _known(names: Sequence[str]) -> str:
    if not names:
        return "No solution is set up yet: `fbs setup` creates one."
    more = ", …" if len(names) > _KNOWN_NAMES else ""
    return f"Known are: {', '.join(names[:_KNOWN_NAMES])}{more}."


def _read_row(cursor: Cursor, table: str, name: str, *, manifest_only: bool = False) -> SolutionRecord | None:
    rows = read_rows(cursor, table, names=[name], manifest_only=manifest_only)
    if not rows:
        return None
    if isinstance(rows[0], DamagedRow):
        raise rows[0].error
    return rows[0]


def _record(table: str, row: tuple[Any, ...]) -> SolutionRecord | DamagedRow:
    name, domain, database_name, user, password, table_prefix, business_prefix, active, created, updated, text = row
    try:
        definition = orjson.loads(text or "{}")
        server = definition.pop(_SERVER, {})
        definition.pop(_OWN, None)
        record = SolutionRecord(
            solution_name=name,
            domain=domain,
            database=DatabaseConfig.parse(
                {"name": database_name, "user": user, "password": SecretStr(password or ""), **server}
            ),
            table_prefix=table_prefix or "",
            business_prefix=business_prefix or "",
            is_active=bool(active),
            schema_definition=definition,
            created_at=created.replace(tzinfo=UTC) if created else None,
            updated_at=updated.replace(tzinfo=UTC) if updated else None,
        )
        _ = record.recorded_schema, record.to_config()  # validates every other field
    except (UsageError, TypeError, AttributeError, ValueError) as exc:
        reason = exc.message if isinstance(exc, UsageError) else "schema_definition has an unexpected structure."
        error = DatabaseError(
            f"The row of the solution {name!r} in {table} is damaged: {reason}",
            hint="Correct that row, or delete it and run `fbs setup` again.",
        )
        return DamagedRow(solution_name=name, error=error)
    return record


def _write_row(cursor: Cursor, table: str, record: SolutionRecord, vault: Vault, *, is_manifest: bool) -> bool:
    """Insert or update a row under its row lock; a row inserted concurrently is updated in the second round."""
    names = {
        "table": sql.Identifier(table),
        "columns": sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        "values": sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS)),
    }
    while True:
        cursor.execute(
            sql.SQL("SELECT {columns} FROM {table} WHERE solution_name = %s FOR UPDATE").format(**names),
            (record.solution_name,),
        )
        row = cursor.fetchone()
        if row is not None:
            before = dict(zip(_COLUMNS, row, strict=True))
            after = _values(record, vault, is_manifest=is_manifest, before=before)
            if after == before:
                return False
            cursor.execute(
                sql.SQL(
                    "UPDATE {table} SET ({columns}, updated_at) = ROW({values}, NOW() AT TIME ZONE 'UTC')"
                    " WHERE solution_name = %s"
                ).format(**names),
                (*_adapted(after), record.solution_name),
            )
            return True
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}, created_at, updated_at)"
                " VALUES ({values}, NOW() AT TIME ZONE 'UTC', NOW() AT TIME ZONE 'UTC') ON CONFLICT DO NOTHING"
            ).format(**names),
            _adapted(_values(record, vault, is_manifest=is_manifest, before=None)),
        )
        if cursor.rowcount:
            return True


def _delete_row(cursor: Cursor, table: str, name: str, *, manifest_only: bool = False) -> bool:
    if not table_exists(cursor.connection, table):
        return False
    cursor.execute(
        sql.SQL("DELETE FROM {} WHERE solution_name = %s AND (NOT %s OR schema_definition @> %s)").format(
            sql.Identifier(table)
        ),
        (name, manifest_only, MANIFEST_MARK),
    )
    return bool(cursor.rowcount)


def _values(
    record: SolutionRecord, vault: Vault, *, is_manifest: bool, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the columns to write, merged with the stored ones."""
    stored = (before or {}).get("schema_definition") or {}
    if stored.get(_OWN) and not is_manifest:
        definition = dict(stored)  # entry and manifest are one row: only the manifest says what is owned
    else:
        definition = {key: stored[key] for key in _PRESERVED if key in stored} | dict(record.schema_definition)
        if before is not None:  # the record has the schedule of when the job began
            definition = {key: value for key, value in definition.items() if key not in _NOT_OF_JOBS}
            definition |= {key: stored[key] for key in _NOT_OF_JOBS if key in stored}
    definition[_SERVER] = {"host": record.database.host, "port": record.database.port, **record.database.options}
    if is_manifest:
        definition[_OWN] = True
    values = {
        "solution_name": record.solution_name,
        "domain": record.domain,
        "database_name": record.database.name,
        "database_user": record.database.user,
        "database_password": _stored_password(record, vault, before=(before or {}).get("database_password") or ""),
        "table_prefix": record.table_prefix,
        "business_prefix": record.business_prefix,
        "schema_definition": orjson.loads(to_json(definition)),
        "is_active": record.is_active,
    }
    if before is not None and (before["is_active"] or stored.get(_OWN)):
        _check_identity(values, before)
    return values


def _check_identity(values: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise SolutionConflict when a row would point to other tables: those it points to now would be orphaned."""
    name = values["solution_name"]
    for column in ("domain", "database_name", "table_prefix", "business_prefix"):
        if values[column] != before[column]:
            raise SolutionConflict(
                f"The solution {name!r} already exists with another {column}: {before[column]!r}, not"
                f" {values[column]!r}.",
                hint=f"Choose another solution name, or drop the existing one first: fbs drop {name}",
            )


def _stored_password(record: SolutionRecord, vault: Vault, *, before: str) -> str:
    """Return the password as a row may hold it: the stored value if it decrypts to the same password."""
    secret = record.database.password.get_secret_value()
    if secret and before and secret != before and _same(secret, before, vault):
        return before
    if secret and not vault.is_reference(secret):
        secret = vault.encrypt(secret)
    if len(secret) > MAX_PASSWORD:
        raise SecretError(
            f"The encrypted database password has {len(secret)} characters; at most {MAX_PASSWORD} can be stored.",
            hint="Refer to it: env:NAME or file:PATH, set where the worker runs.",
        )
    return secret


def _same(secret: str, stored: str, vault: Vault) -> bool:
    """Compare two passwords, neither of which is a reference."""
    if not stored.startswith(ENCRYPTED) or (vault.is_reference(secret) and not secret.startswith(ENCRYPTED)):
        return False
    try:
        return vault.resolve(secret, allow_plain=True) == vault.resolve(stored)
    except SecretError:  # encrypted with a key that is no longer set: store the new value
        return False


def _adapted(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(to_json(value).decode() if isinstance(value, dict) else value for value in values.values())
