"""System tables: FBS's own tables in the user's database, named with the solution's prefix.

They are described with SQLAlchemy and created with psycopg2, inside the caller's transaction (PostgreSQL's DDL is
transactional).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from fbs_worker.core.errors import ForeignTableError
from fbs_worker.core.identifiers import check_prefix
from fbs_worker.core.postgres import Connection
from fbs_worker.schema import search_index
from fbs_worker.schema.columns import column, id_column, time_column, type_of
from fbs_worker.schema.ddl import render
from fbs_worker.schema.inspector import LOCK_TABLES, InspectedSchema, check_may_create, inspect_tables, table_exists
from fbs_worker.schema.naming import checked_name, derived_name

__all__ = [
    "CATALOGUE_TABLES",
    "HOME_TABLES",
    "SYSTEM_TABLES",
    "bi_dashboards_table",
    "deleted_records_table",
    "discoveries_table",
    "ensure_tables",
    "file_checksums_table",
    "missing_tables",
    "odoo_connections_table",
    "rejected_records_table",
    "replication_table",
    "schema_migrations_table",
    "snapshots_table",
    "solution_schemas_table",
    "system_statements",
    "system_tables",
    "table_exists",
    "workflow_definitions_table",
]

Factory = Callable[[str, MetaData | None], Table]

_ADDED: Final = frozenset(("facts",))
"""Columns that tables of earlier versions lack; the next migration adds them."""


def discoveries_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>discoveries`: discovered objects of Odoo, one row per version."""
    columns = [
        id_column(),
        column("discovery_type", String(50), nullable=False),
        column("domain", String(100), nullable=False),
        column("name", String(100), nullable=False),
        column("version", String(20), server_default="1.0"),
        column("metadata", JSONB, server_default="{}"),
        column("schema_definition", JSONB),
        _is_active(),
        time_column("created_at"),
        time_column("updated_at"),
        time_column("discovered_at"),
    ]
    table = _table(prefix, "discoveries", metadata, columns, indexed=("domain", "discovery_type", "is_active"))
    unique = ("discovery_type", "domain", "name", "version")
    table.append_constraint(
        UniqueConstraint(*unique, name=checked_name(f"{prefix}discoveries_type_domain_name_version_key"))
    )
    Index(
        derived_name(f"{table.name}_words", "_idx"),
        text(search_index.THINGS),
        text(search_index.FIELDS),
        _table=table,
        postgresql_using="gin",
        # limits the pending list of the GIN index, which each search scans, to a megabyte
        postgresql_with={"gin_pending_list_limit": 1024},
    )
    return table


def solution_schemas_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>solution_schemas`: manifests of a database's solutions; in the home database the registry of all."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("domain", String(100), nullable=False),
        column("database_name", String(100), nullable=False),
        column("database_user", String(100), nullable=False),
        column("database_password", String(255), nullable=False),
        column("table_prefix", String(20), server_default="fbs_"),
        column("business_prefix", String(20), server_default=""),
        column("schema_definition", JSONB, server_default="{}"),
        _is_active(),
        time_column("created_at"),
        time_column("updated_at"),
    ]
    return _table(
        prefix, "solution_schemas", metadata, columns, unique="solution_name", indexed=("domain", "is_active")
    )


def odoo_connections_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>odoo_connections`: connections to Odoo, in the home database; secrets are encrypted or references."""
    columns = [
        id_column(),
        column("name", String(100), nullable=False),
        column("url", Text, nullable=False),
        column("database", String(100), server_default=""),
        column("login", String(255), server_default=""),
        column("secret", Text, server_default=""),
        column("secret_kind", String(20), server_default="password"),
        column("protocol", String(20), server_default="auto"),
        column("headers", Text, server_default=""),
        column("language", String(20), server_default="en_US"),
        column("timeout", Integer, server_default="120"),
        time_column("created_at"),
        time_column("updated_at"),
    ]
    return _table(prefix, "odoo_connections", metadata, columns, unique="name")


def schema_migrations_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>schema_migrations`: journal of the statements that change a solution's tables."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("migration_type", String(50), nullable=False),
        column("table_name", String(100), nullable=False),
        column("sql_statement", Text, nullable=False),
        column("status", String(20), server_default="pending"),
        column("executed_at", DateTime),
        time_column("created_at"),
        column("facts", JSONB),
    ]
    return _table(prefix, "schema_migrations", metadata, columns, indexed=("status",))


def workflow_definitions_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>workflow_definitions`: a workflow per model, derived from the discoveries."""
    json = ("workflow_steps", "trigger_conditions", "approval_roles")
    return _derived_table(prefix, "workflow_definitions", metadata, "workflow_name", json)


def bi_dashboards_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>bi_dashboards`: a dashboard per model, derived from the discoveries."""
    json = ("dashboard_config", "chart_definitions", "data_sources")
    return _derived_table(prefix, "bi_dashboards", metadata, "dashboard_name", json)


def snapshots_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>snapshots`: state of refreshes; the next refresh of a domain compares with its newest row."""
    columns = [
        id_column(),
        column("domain", String(100), nullable=False),
        column("source", JSONB, nullable=False),
        column("types", JSONB, nullable=False),
        column("fingerprint", JSONB),
        column("sections", JSONB),
        column("changes", JSONB),
        time_column("taken_at"),
    ]
    return _table(prefix, "snapshots", metadata, columns, indexed=("domain",))


def replication_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>replication`: where the copy of each mirrored model stands; written with the rows it speaks of."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("model", String(200), nullable=False),
        column("table_name", String(100), nullable=False),
        column("phase", String(20), server_default="copy"),
        column("status", String(20), server_default="pending"),
        column("reason", Text, server_default=""),
        column("position", JSONB, server_default="{}"),
        column("high_water", DateTime),
        column("row_count", BigInteger, server_default="0"),
        column("rejected", Integer, server_default="0"),
        column("source", JSONB, server_default="{}"),
        column("fields", JSONB, server_default="{}"),
        column("last_run", JSONB, server_default="{}"),
        column("synced_at", DateTime),
        column("swept_at", DateTime),
        column("read_whole_at", DateTime),
        column("verified_at", DateTime),
        time_column("created_at"),
        time_column("updated_at"),
    ]
    return _table(prefix, "replication", metadata, columns, unique="table_name", indexed=("solution_name",))


def rejected_records_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>rejected_records`: records that their mirrored table cannot hold, each with the reason."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("table_name", String(100), nullable=False),
        column("odoo_id", Integer, nullable=False),
        column("field", String(200), server_default=""),
        column("reason", Text, nullable=False),
        column("value", Text),
        time_column("rejected_at"),
    ]
    table = _table(prefix, "rejected_records", metadata, columns)
    unique = derived_name(f"{table.name}_table_name_odoo_id", "_key")
    table.append_constraint(UniqueConstraint("table_name", "odoo_id", name=unique))
    return table


def deleted_records_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>deleted_records`: records that were deleted in Odoo, and when that was seen."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("table_name", String(100), nullable=False),
        column("odoo_id", Integer, nullable=False),
        column("record", JSONB),
        time_column("deleted_at"),
    ]
    return _table(prefix, "deleted_records", metadata, columns, indexed=("table_name", "deleted_at"))


def file_checksums_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>file_checksums`: which files of records the mirrored tables have."""
    columns = [
        id_column(),
        column("solution_name", String(100), nullable=False),
        column("table_name", String(100), nullable=False),
        column("odoo_id", Integer, nullable=False),
        column("field", String(200), nullable=False),
        column("checksum", String(100), nullable=False),
    ]
    table = _table(prefix, "file_checksums", metadata, columns)
    unique = derived_name(f"{table.name}_table_name_odoo_id_field", "_key")
    table.append_constraint(UniqueConstraint("table_name", "odoo_id", "field", name=unique))
    return table


CATALOGUE_TABLES: Final[tuple[Factory, ...]] = (discoveries_table, snapshots_table)
"""Tables needed by a discovery without a solution."""

SYSTEM_TABLES: Final[tuple[Factory, ...]] = (
    *CATALOGUE_TABLES,
    solution_schemas_table,
    schema_migrations_table,
    workflow_definitions_table,
    bi_dashboards_table,
    replication_table,
    rejected_records_table,
    deleted_records_table,
    file_checksums_table,
)
"""Factories of the system tables of a solution's database, in creation order."""

HOME_TABLES: Final[tuple[Factory, ...]] = (solution_schemas_table, odoo_connections_table)
"""Factories of the tables of the home database."""


def system_tables(prefix: str, tables: Sequence[Factory] = SYSTEM_TABLES) -> list[Table]:
    """Return system tables with a prefix; do not modify them, they are cached.

    Args:
        prefix: the solution's `table_prefix`.
        tables: factories of the tables.

    Raises:
        ValueError: the prefix is not valid.
    """
    return list(_system_tables(prefix, tuple(tables)))


@lru_cache(maxsize=64)
def system_statements(prefix: str) -> Mapping[str, Sequence[str]]:
    """Render the DDL of each system table: table name → statements.

    Args:
        prefix: the solution's `table_prefix`.

    Raises:
        ValueError: the prefix is not valid.
    """
    return {str(table.name): tuple(render([table])) for table in system_tables(prefix)}


def missing_tables(connection: Connection, prefix: str, tables: Sequence[Factory] = CATALOGUE_TABLES) -> list[Table]:
    """Return missing system tables. Read-only: a preflight check for long jobs.

    Args:
        connection: connection whose transaction reads.
        prefix: the solution's `table_prefix`.
        tables: factories of the required tables.

    Raises:
        ForeignTableError: another relation has one of the names.
        DatabaseRightsMissing: tables are missing and the user lacks the privilege to create them.
    """
    desired = system_tables(prefix, tables)
    actual = inspect_tables(connection, (table.name for table in desired), keys=False)
    foreign = {str(table.name): conflict for table in desired if (conflict := system_conflict(table, actual))}
    if foreign:
        raise foreign_error(foreign, "--table-prefix")
    missing = [table for table in desired if table.name not in actual.tables]
    if missing:
        check_may_create(connection)
    return missing


def ensure_tables(connection: Connection, prefix: str, tables: Sequence[Factory] = CATALOGUE_TABLES) -> bool:
    """Create missing system tables, inside the caller's transaction.

    Safe for concurrent sessions: the second one waits for the end of the first one's transaction.

    Args:
        connection: connection whose transaction is used; the caller commits.
        prefix: the solution's `table_prefix`.
        tables: factories of the required tables.

    Returns:
        Whether a table was created.

    Raises:
        ForeignTableError: another relation has one of the names.
        DatabaseRightsMissing: the user lacks the privilege to create tables.
    """
    if not missing_tables(connection, prefix, tables):
        return False
    with connection.cursor() as cursor:
        cursor.execute(LOCK_TABLES)
        missing = missing_tables(connection, prefix, tables)
        if missing:
            cursor.execute(";\n".join(render(missing)))
    return bool(missing)


def system_conflict(table: Table, actual: InspectedSchema) -> str:
    """Describe why an existing relation is not the system table; empty if it is, or if there is none.

    A system table is recognised by its columns, because several solutions may share it.

    Args:
        table: the system table.
        actual: the inspected relations.
    """
    if table.name in actual.others:
        return actual.others[table.name]
    if table.name not in actual.tables:
        return ""
    expected = _types(table)
    present = {name: column.type for name, column in actual.tables[table.name].columns.items()}
    known = expected.keys() - (_ADDED - present.keys())
    differing = sorted(name for name in known | present.keys() if expected.get(name) != present.get(name))
    return f"other columns: {', '.join(differing)}" if differing else ""


def foreign_error(conflicts: Mapping[str, str], options: str) -> ForeignTableError:
    """Build the error that names all conflicting relations.

    Args:
        conflicts: name → description of the existing relation.
        options: command-line options that avoid the conflict.
    """
    listed = ", ".join(f"{name!r} ({what})" for name, what in sorted(conflicts.items()))
    return ForeignTableError(
        f"The database already contains {listed}, not created by FBS; nothing was changed.",
        hint=f"Choose another {options}, or rename the existing relations.",
        tables=sorted(conflicts),
    )


@lru_cache(maxsize=512)
def _types(table: Table) -> dict[str, str]:
    return {column.name: type_of(column) for column in table.columns}


@lru_cache(maxsize=64)
def _system_tables(prefix: str, tables: tuple[Factory, ...]) -> tuple[Table, ...]:
    metadata = MetaData()
    return tuple(factory(check_prefix(prefix), metadata) for factory in tables)


def _derived_table(prefix: str, name: str, metadata: MetaData | None, key: str, json: Sequence[str]) -> Table:
    columns = [
        id_column(),
        column(key, String(100), nullable=False),
        column("domain", String(100), nullable=False),
        *(column(part, JSONB, server_default="{}") for part in json),
        _is_active(),
        time_column("created_at"),
        time_column("updated_at"),
    ]
    return _table(prefix, name, metadata, columns, unique=key, indexed=("domain", "is_active"))


def _table(
    prefix: str,
    name: str,
    metadata: MetaData | None,
    columns: Sequence[Column[object]],
    *,
    unique: str = "",
    indexed: Sequence[str] = (),
) -> Table:
    full = checked_name(f"{prefix}{name}")
    table = Table(full, metadata if metadata is not None else MetaData(), *columns)
    if unique:
        table.append_constraint(UniqueConstraint(unique, name=derived_name(f"{full}_{unique}", "_key")))
    for indexed_column in indexed:
        Index(derived_name(f"{full}_{indexed_column}", "_idx"), table.c[indexed_column])
    return table


def _is_active() -> Column[object]:
    return column("is_active", Boolean, server_default=text("TRUE"))
