"""The system tables: what FBS keeps in the user's database, each named with the solution's prefix.

SQLAlchemy describes them and writes their DDL; statements go through psycopg2, inside the caller's transaction, so
that whatever fails leaves nothing behind (PostgreSQL's DDL is transactional).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from psycopg2 import sql
from sqlalchemy import Boolean, Column, DateTime, Index, Integer, MetaData, String, Table, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import quoted_name

from fbs_worker.database import Connection
from fbs_worker.errors import DatabaseRightsMissing, ForeignTableError
from fbs_worker.solution import check_prefix

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


def discoveries_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>discoveries`: what was found in Odoo, one row per version of a thing."""
    table = Table(
        _name(prefix, "discoveries"),
        metadata if metadata is not None else MetaData(),
        _column("id", Integer, primary_key=True),
        _column("discovery_type", String(50), nullable=False),
        _column("domain", String(100), nullable=False),
        _column("name", String(100), nullable=False),
        _column("version", String(20), server_default="1.0"),
        _column("metadata", JSONB, server_default="{}"),
        _column("schema_definition", JSONB),
        _column("is_active", Boolean, server_default=text("TRUE")),
        _column("created_at", DateTime, server_default=text("NOW()")),
        _column("updated_at", DateTime, server_default=text("NOW()")),
        _column("discovered_at", DateTime, server_default=text("NOW()")),
        UniqueConstraint(
            "discovery_type",
            "domain",
            "name",
            "version",
            name=_name(prefix, "discoveries_type_domain_name_version_key"),
        ),
    )
    for column in ("domain", "discovery_type", "is_active"):
        Index(_name(prefix, f"discoveries_{column}_idx"), table.c[column])
    return table


def snapshots_table(prefix: str, metadata: MetaData | None = None) -> Table:
    """`<prefix>snapshots`: the memory of refreshes; the newest row of a domain is what the next one compares with."""
    table = Table(
        _name(prefix, "snapshots"),
        metadata if metadata is not None else MetaData(),
        _column("id", Integer, primary_key=True),
        _column("domain", String(100), nullable=False),
        _column("source", JSONB, nullable=False),
        _column("types", JSONB, nullable=False),
        _column("fingerprint", JSONB),
        _column("sections", JSONB),
        _column("changes", JSONB),
        _column("taken_at", DateTime, server_default=text("NOW()")),
    )
    Index(_name(prefix, "snapshots_domain_idx"), table.c.domain)
    return table


SYSTEM_TABLES: Final[tuple[Callable[[str, MetaData], Table], ...]] = (discoveries_table, snapshots_table)
"""The factories of all system tables, in the order of their creation."""


def system_tables(prefix: str) -> list[Table]:
    """All system tables of a prefix.

    Args:
        prefix: the solution's `table_prefix`.

    Raises:
        ValueError: that is not a valid prefix.
    """
    metadata = MetaData()
    return [factory(check_prefix(prefix), metadata) for factory in SYSTEM_TABLES]


def missing_tables(connection: Connection, prefix: str) -> list[Table]:
    """Which system tables are yet to be made; reads only, so that a long job can learn early that it would fail.

    Raises:
        ForeignTableError: something of one of the names is there, and is not ours.
        DatabaseRightsMissing: tables are missing and the user may not create them.
    """
    missing = [table for table in system_tables(prefix) if not _is_ours(connection, table)]
    if missing:
        _check_may_create(connection)
    return missing


def ensure_tables(connection: Connection, prefix: str) -> bool:
    """Create the system tables that are missing, inside the caller's transaction.

    Two sessions may do so at once: the second waits for the first one's transaction to end, then finds them made.

    Args:
        connection: whose transaction it becomes part of.
        prefix: the solution's `table_prefix`.

    Returns:
        Whether anything was created.

    Raises:
        ForeignTableError: something of one of the names is there, and is not ours.
        DatabaseRightsMissing: the user may not create tables.
    """
    if not missing_tables(connection, prefix):
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"fbs:tables:{prefix}",))
        missing = missing_tables(connection, prefix)
        for statement in _ddl(missing):
            cursor.execute(statement)
    return bool(missing)


def table_exists(connection: Connection, name: str) -> bool:
    """Whether an unqualified name means a relation on the session's search path."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (sql.Identifier(name).as_string(connection),))
        row = cursor.fetchone()
    return bool(row and row[0])


def _is_ours(connection: Connection, table: Table) -> bool:
    """Whether the table is there; raises ForeignTableError when it is there with other columns."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relkind, a.attname, format_type(a.atttypid, a.atttypmod)
            FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.oid = to_regclass(%s)
            """,
            (sql.Identifier(table.name).as_string(connection),),
        )
        rows = cursor.fetchall()
    if not rows:
        return False
    expected = {column.name: _format_type(column) for column in table.columns}
    found = {name: kind for _, name, kind in rows if name is not None}
    if rows[0][0] not in {"r", "p"} or found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ForeignTableError(
            f"There is a table {table.name!r} already that is not ours (differing: {', '.join(differing) or 'kind'}).",
            hint="Choose another --table-prefix, or rename that table.",
            table=table.name,
        )
    return True


def _check_may_create(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'), current_user")
        row = cursor.fetchone()
    schema, may, user = row or (None, None, None)
    if schema is None:
        raise DatabaseRightsMissing(
            f"The database user {user!r} has no schema to create tables in.",
            hint=f"As the database's owner: GRANT USAGE, CREATE ON SCHEMA public TO {_quote(user)};",
        )
    if not may:
        raise DatabaseRightsMissing(
            f"The database user {user!r} may not create tables in the schema {schema!r}.",
            hint=f"As the database's owner: GRANT CREATE ON SCHEMA {_quote(schema)} TO {_quote(user)};",
        )


def _ddl(tables: Iterable[Table]) -> list[str]:
    statements = []
    for table in tables:
        statements.append(str(CreateTable(table).compile(dialect=_DIALECT)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements.extend(str(CreateIndex(index).compile(dialect=_DIALECT)) for index in indexes)
    return statements


def _format_type(column: Column[object]) -> str:
    """The column's type as PostgreSQL's format_type() writes it."""
    return column.type.compile(dialect=_DIALECT).lower().replace("varchar", "character varying")


def _column(name: str, *args: object, **options: object) -> Column[object]:
    return Column(quoted_name(name, quote=True), *args, **options)  # type: ignore[arg-type]


def _name(prefix: str, name: str) -> quoted_name:
    return quoted_name(f"{prefix}{name}", quote=True)


def _quote(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'
