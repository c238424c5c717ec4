"""Create a solution's tables: detect name conflicts, create missing tables, report differences.

Everything runs in the caller's transaction. Names are resolved by the session's search path; new tables are created in
its first schema.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.schema.ddl import render
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.differ import differences
from fbs_worker.schema.inspector import (
    LOCK_TABLES,
    Relation,
    business_conflict,
    check_may_create,
    foreign_error,
    keys,
    relations,
    system_conflict,
)
from fbs_worker.schema.system_tables import system_statements
from fbs_worker.schema.table_stats import drop, rows_in, table_sizes

__all__ = [
    "Plan",
    "SetupReport",
    "check_foreign",
    "create",
    "drop",
    "pending",
    "plan",
    "rows_in",
    "statements",
    "table_sizes",
]


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of a set-up.

    Attributes:
        definition: the tables.
        report: the expected result.
    """

    definition: Definition
    report: SetupReport

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """The DDL to run, rendered lazily."""
        return tuple(statements(self.definition, existing=self.report.existing)) if self.report.changed else ()


def statements(definition: Definition, *, existing: Collection[str] = ()) -> list[str]:
    """Render the DDL of a definition in a valid execution order, system tables first.

    Args:
        definition: the tables.
        existing: names of tables to omit.
    """
    known = system_statements(definition.table_prefix)
    system = [statement for name, written in known.items() if name not in existing for statement in written]
    return [*system, *render(definition.tables, only=set(definition.table_names) - set(existing))]


def check_foreign(connection: Connection, definition: Definition, *, owned: Collection[str]) -> None:
    """Check for name conflicts with relations that FBS did not create. Read-only.

    System tables are recognised by their columns, business tables by the solution's record of owned tables.

    Args:
        connection: connection whose transaction reads.
        definition: the tables.
        owned: business tables recorded as the solution's.

    Raises:
        ForeignTableError: another relation has one of the names; the message names each.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection):
        _check_conflicts(definition, _existing(connection, definition, owned), owned)


def plan(connection: Connection, definition: Definition, *, owned: Collection[str]) -> Plan:
    """Plan what `create` would do. Read-only.

    Args:
        connection: connection whose transaction reads.
        definition: the tables.
        owned: business tables recorded as the solution's.

    Raises:
        ForeignTableError: another relation has one of the names; the message names each.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection):
        existing = _existing(connection, definition, owned)
        _check_conflicts(definition, existing, owned)
        names = [*(str(table.name) for table in definition.system), *definition.table_names]
        present = tuple(name for name in names if name in existing)
        created = tuple(name for name in names if name not in existing)
        differing = _differences(connection, definition, existing, owned)
        report = SetupReport(created=created, existing=present, pending=tuple(differing))
        return Plan(definition=definition, report=report)


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
    planned = plan(connection, definition, owned=owned)
    if not planned.report.changed:
        return planned.report
    with errors_translated(connection), connection.cursor() as cursor:
        check_may_create(connection)
        cursor.execute(LOCK_TABLES)
        planned = plan(connection, definition, owned=owned)
        if planned.statements:
            cursor.execute(";\n".join(planned.statements))
    return planned.report


def pending(connection: Connection, definition: Definition, *, owned: Collection[str]) -> tuple[str, ...]:
    """Describe differences of the business tables from the definition, one line each. Read-only.

    Args:
        connection: connection whose transaction reads.
        definition: the tables.
        owned: business tables recorded as the solution's.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection):
        existing = _existing(connection, definition, owned)
        missing = [f"{name}: the table is missing" for name in definition.table_names if name not in existing]
        return (*missing, *_differences(connection, definition, existing, owned))


def _existing(connection: Connection, definition: Definition, owned: Collection[str]) -> dict[str, Relation]:
    system = (str(table.name) for table in definition.system)
    return relations(connection, {*system, *definition.table_names, *owned})


def _check_conflicts(definition: Definition, existing: dict[str, Relation], owned: Collection[str]) -> None:
    system = {
        str(table.name): system_conflict(table, existing[table.name])
        for table in definition.system
        if table.name in existing
    }
    business = {
        name: business_conflict(name, existing[name], owned) for name in definition.table_names if name in existing
    }
    options = [
        option
        for option, conflicts in (("--table-prefix", system), ("--business-prefix", business))
        if any(conflicts.values())
    ]
    if options:
        named = {name: conflict for name, conflict in {**system, **business}.items() if conflict}
        raise foreign_error(named, " and another ".join(options))


def _differences(
    connection: Connection, definition: Definition, existing: dict[str, Relation], owned: Collection[str]
) -> list[str]:
    present = [name for name in definition.table_names if name in existing]
    return differences(definition, existing, keys(connection, present) if present else (), owned)
