"""Create a solution's tables: detect name conflicts, create missing tables, report differences.

Everything runs in the caller's transaction. Names are resolved by the session's search path; new tables are created in
its first schema.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.schema.ddl import render
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.differ import compare
from fbs_worker.schema.inspector import LOCK_TABLES, InspectedSchema, check_may_create, inspect_tables
from fbs_worker.schema.model import NOT_ENFORCED_SINCE, schema_of
from fbs_worker.schema.read_back import read_back
from fbs_worker.schema.system_tables import foreign_error, system_conflict, system_statements


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupReport:
    """Result of a set-up.

    Attributes:
        created: created tables, in creation order.
        existing: tables that existed before.
        pending: differences of existing tables from the definition, one line each; a migration resolves them.
    """

    created: tuple[str, ...]
    existing: tuple[str, ...]
    pending: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether a table was created."""
        return bool(self.created)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {
            "created": list(self.created),
            "existing": list(self.existing),
            "pending": list(self.pending),
            "changed": self.changed,
        }


def statements(
    definition: Definition, *, existing: Collection[str] = (), server_version: int = NOT_ENFORCED_SINCE
) -> list[str]:
    """Render the DDL of a definition in a valid execution order, system tables first.

    Args:
        definition: the tables.
        existing: names of tables to omit.
        server_version: as reported by libpq: below 18 there is no key that is not enforced.
    """
    known = system_statements(definition.table_prefix)
    system = [statement for name, written in known.items() if name not in existing for statement in written]
    missing = set(definition.table_names) - set(existing)
    return [*system, *render(definition.tables, only=missing, server_version=server_version)]


def plan(connection: Connection, definition: Definition, *, owned: Collection[str]) -> SetupReport:
    """Plan what `create` would do. Read-only.

    System tables are recognised by their columns, business tables by the solution's record of owned tables. Additional
    columns, keys and indexes belong to the user and are not reported.

    Args:
        connection: connection whose transaction reads.
        definition: the tables.
        owned: business tables recorded as the solution's.

    Returns:
        The expected result.

    Raises:
        ForeignTableError: another relation has one of the names; the message names each.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    written = schema_of(definition.tables)
    names = [*(str(table.name) for table in definition.system), *written]
    with errors_translated(connection):
        actual = inspect_tables(connection, {*names, *owned})
        _check_conflicts(definition, actual, owned)
        present = read_back(connection, {name: table for name, table in written.items() if name in actual.tables})
    difference = compare(present, {}, actual, owned={*owned, *written})
    return SetupReport(
        created=tuple(name for name in names if name not in actual.tables),
        existing=tuple(name for name in names if name in actual.tables),
        pending=tuple(difference.describe(present)),
    )


def create(connection: Connection, definition: Definition, *, owned: Collection[str]) -> SetupReport:
    """Create missing tables, inside the caller's transaction; existing ones are not changed.

    Safe for concurrent sessions: the second one waits for the end of the first one's transaction.

    Args:
        connection: connection whose transaction is used; the caller commits.
        definition: the tables.
        owned: business tables recorded as the solution's.

    Raises:
        ForeignTableError: another relation has one of the names; the message names each, nothing is changed.
        DatabaseRightsMissing: the user lacks the privilege to create tables; the hint has the GRANT.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    report = plan(connection, definition, owned=owned)
    if not report.changed:
        return report
    with errors_translated(connection), connection.cursor() as cursor:
        check_may_create(connection)
        cursor.execute(LOCK_TABLES)
        report = plan(connection, definition, owned=owned)
        if report.changed:
            version = connection.info.server_version
            cursor.execute(";\n".join(statements(definition, existing=report.existing, server_version=version)))
    return report


def _check_conflicts(definition: Definition, actual: InspectedSchema, owned: Collection[str]) -> None:
    system = {str(table.name): system_conflict(table, actual) for table in definition.system}
    business = {
        name: actual.others.get(name) or ("a table" if name in actual.tables and name not in owned else "")
        for name in definition.table_names
    }
    options = [
        option
        for option, conflicts in (("--table-prefix", system), ("--business-prefix", business))
        if any(conflicts.values())
    ]
    if options:
        named = {name: conflict for name, conflict in {**system, **business}.items() if conflict}
        raise foreign_error(named, " and another ".join(options))
