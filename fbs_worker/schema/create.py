"""A solution's tables in a database: look what is in the way, create what is missing, say what differs.

Everything happens in the caller's transaction: all of it, or nothing. Names are as the session's search path has them;
new tables go into its first schema.
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
    """What a set-up made, and what it found.

    Attributes:
        created: the tables that were made, in that order.
        existing: the tables that were there.
        pending: what differs from the definition in tables that were there, one line each; a migration changes it.
    """

    created: tuple[str, ...]
    existing: tuple[str, ...]
    pending: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was made."""
        return bool(self.created)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "created": list(self.created),
            "existing": list(self.existing),
            "pending": list(self.pending),
            "changed": self.changed,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a set-up would do.

    Attributes:
        definition: the tables.
        report: what it would say afterwards.
    """

    definition: Definition
    report: SetupReport

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """The DDL that it would run; written when it is asked for."""
        return tuple(statements(self.definition, existing=self.report.existing)) if self.report.changed else ()


def statements(definition: Definition, *, existing: Collection[str] = ()) -> list[str]:
    """The DDL of a definition, system tables first, in an order in which it can run.

    Args:
        definition: the tables.
        existing: names of tables to leave out.
    """
    known = system_statements(definition.table_prefix)
    system = [statement for name, written in known.items() if name not in existing for statement in written]
    return [*system, *render(definition.tables, only=set(definition.table_names) - set(existing))]


def check_foreign(connection: Connection, definition: Definition, *, owned: Collection[str]) -> None:
    """That nothing which FBS did not make has one of the names; reads only.

    System tables are recognised by their columns, business tables by being recorded.

    Args:
        connection: in whose transaction it is read.
        definition: the tables.
        owned: the business tables that are recorded as the solution's own.

    Raises:
        ForeignTableError: something is in the way; each is named.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(connection):
        _check_conflicts(definition, _existing(connection, definition, owned), owned)


def plan(connection: Connection, definition: Definition, *, owned: Collection[str]) -> Plan:
    """What `create` would do; reads only.

    Args:
        connection: in whose transaction it is read.
        definition: the tables.
        owned: the business tables that are recorded as the solution's own.

    Raises:
        ForeignTableError: something that FBS did not make has one of the names; each is named.
        DatabaseError, DatabaseUnreachable: as their names say.
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
    """Create the tables that are missing, inside the caller's transaction; those that are there stay as they are.

    Two sessions may do so at once: the second waits for the first one's transaction to end.

    Args:
        connection: whose transaction it becomes part of.
        definition: the tables.
        owned: the business tables that are recorded as the solution's own.

    Raises:
        ForeignTableError: something that FBS did not make has one of the names; each is named, nothing is changed.
        DatabaseRightsMissing: the user may not create tables; the hint has the GRANT.
        DatabaseError, DatabaseUnreachable: as their names say.
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
    """How the business tables differ from the definition, one line each; reads only.

    Args:
        connection: in whose transaction it is read.
        definition: the tables.
        owned: the business tables that are recorded as the solution's own.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
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
