"""Migration journal: a row of `<table_prefix>schema_migrations` for each statement.

A row is written as `pending` in a transaction before the first statement; it becomes `executed` in the transaction of
its statement, if that has one, or `failed`. What has no column of its own is in `facts`, as JSON. Earlier versions
appended it to the statement as an SQL comment; such rows are known, and no more than that.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from psycopg2.extras import Json, execute_values

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.migration.model.plan import Mode, Plan, Step
from fbs_worker.schema.inspector import inspect_tables
from fbs_worker.schema.system_tables import ensure_tables, schema_migrations_table, table_exists

PENDING: Final = "pending"
EXECUTED: Final = "executed"
FAILED: Final = "failed"

_OF_EARLIER_VERSIONS: Final = '\n-- fbs: {"'


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """A journal row.

    Attributes:
        number: the row's `id`; statements ran in this order.
        kind: `Step.kind`.
        table: the table that it changes.
        statement: the statement as it ran.
        status: `pending`, `executed` or `failed`.
        executed_at: end of the statement, UTC.
        facts: as far as present: `run` (the migration), `reason`, `mode`, `kept` (the archive table), `column` (the one
            that is archived), `of` (the migration that it reverts), `error`, and `closed` (a failed statement that is
            no longer needed); in the first row of each plan `before` (the state before the migration) and `undo`
            (`Plan.undo`).
    """

    number: int
    kind: str
    table: str
    statement: str
    status: str
    executed_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The migration that it belongs to; empty for a row written by another application."""
        return str(self.facts.get("run") or "")

    @property
    def is_undo(self) -> bool:
        """Whether it reverts a migration."""
        return "of" in self.facts

    @property
    def is_old(self) -> bool:
        """Whether an earlier version wrote it, without what an undo needs."""
        return not self.facts and _OF_EARLIER_VERSIONS in self.statement


def migrations_table(table_prefix: str) -> str:
    """Return the name of the journal table."""
    return f"{table_prefix}schema_migrations"


def history(cursor: Cursor, table_prefix: str, solution: str) -> list[JournalRow]:
    """Read the rows of a solution, oldest first; empty without a journal table.

    Args:
        cursor: cursor of an open transaction.
        table_prefix: prefix of the solution's system tables.
        solution: the solution's name.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    table = migrations_table(table_prefix)
    if not table_exists(cursor.connection, table):
        return []
    cursor.execute(
        sql.SQL(
            "SELECT id, migration_type, table_name, sql_statement, status, executed_at, to_jsonb(m) -> 'facts'"
            " FROM {} m WHERE solution_name = %s ORDER BY id"
        ).format(sql.Identifier(table)),
        (solution,),
    )
    return [
        JournalRow(
            number=number,
            kind=kind,
            table=table,
            statement=statement,
            status=status or "",
            executed_at=executed_at,
            facts=facts if isinstance(facts, dict) else {},
        )
        for number, kind, table, statement, status, executed_at, facts in cursor.fetchall()
    ]


def is_unfinished(rows: Sequence[JournalRow]) -> bool:
    """Return whether a solution's last migration was interrupted or failed.

    Args:
        rows: result of `history`.
    """
    failed_last = bool(rows) and rows[-1].status == FAILED and not rows[-1].facts.get("closed")
    return failed_last or any(row.status == PENDING and row.run for row in rows)


class Journal:
    """The journal of a solution.

    Methods run in the transaction of their cursor and raise psycopg2.Error, which the caller translates.

    Args:
        table_prefix: prefix of the solution's system tables.
        solution: the solution's name.
    """

    def __init__(self, table_prefix: str, solution: str) -> None:
        self._prefix = table_prefix
        self._solution = solution
        self.table = migrations_table(table_prefix)

    def ensure_table(self, connection: Connection) -> bool:
        """Create the journal table, or the column that one of an earlier version lacks, in the caller's transaction.

        Returns:
            Whether there was something to do.

        Raises:
            DatabaseRightsMissing: the user lacks the privilege to create it.
            DatabaseError: PostgreSQL rejected a statement.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection):
            existing = inspect_tables(connection, [self.table], keys=False).tables.get(self.table)
            if existing is None:
                return ensure_tables(connection, self._prefix, (schema_migrations_table,))
            if "facts" in existing.columns:
                return False
            with connection.cursor() as cursor:
                statement = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS facts JSONB")
                cursor.execute(statement.format(sql.Identifier(self.table)))
            return True

    def resume(self, cursor: Cursor, planned: Collection[str], *, undo: bool) -> str:
        """Resume after an interrupted migration.

        Pending rows are deleted: the new plan contains the statements that are still needed. At most one of them may
        have run without being marked, because outside of a transaction the statement and its row are not atomic: it has
        run if the new plan does not contain it.

        Args:
            cursor: cursor of an open transaction.
            planned: the statements of the new plan.
            undo: whether it is the plan of an undo.

        Returns:
            The name of the resumed migration, or of a new one.
        """
        rows = history(cursor, self._prefix, self._solution)
        left = [row for row in rows if row.status == PENDING and row.run]
        if left:
            first, position = left[0], rows.index(left[0])
            follows_failure = position > 0 and rows[position - 1].status == FAILED
            began = first.facts.get("mode") != Mode.TRANSACTION and not follows_failure
            if began and first.statement not in planned:
                self._update(cursor, replace(first, status=EXECUTED))
                left = left[1:]
            numbers = [row.number for row in left]
            cursor.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(sql.Identifier(self.table)), (numbers,))
        goes_on = is_unfinished(rows) and rows[-1].run and undo == rows[-1].is_undo
        return rows[-1].run if goes_on else uuid.uuid4().hex[:12]

    def write_pending(
        self,
        cursor: Cursor,
        steps: Sequence[Step],
        *,
        run: str,
        plan: Plan,
        before: Mapping[str, Any] | None = None,
        undoes: str = "",
    ) -> list[JournalRow]:
        """Write a pending row for each step.

        Args:
            cursor: cursor of an open transaction.
            steps: the steps of the plan that are to run.
            run: the migration's name.
            plan: the plan.
            before: state before the migration, for an undo.
            undoes: of an undo: the migration that it reverts.

        Returns:
            The row of each step.
        """
        if not steps:
            return []
        all_facts: list[dict[str, Any]] = []
        for number, step in enumerate(steps):
            facts: dict[str, Any] = {"run": run, "mode": str(step.mode), "reason": step.reason, "of": undoes}
            facts |= {"column": step.archive.column} if step.archive else {}
            facts |= {"before": before, "undo": plan.undo} if number == 0 else {}
            all_facts.append({key: value for key, value in facts.items() if value})
        numbers = execute_values(
            cursor,
            sql.SQL(
                "INSERT INTO {} (solution_name, migration_type, table_name, sql_statement, status, facts) VALUES %s"
                " RETURNING id"
            ).format(sql.Identifier(self.table)),
            [
                (self._solution, step.kind, step.table, step.sql, PENDING, Json(facts))
                for step, facts in zip(steps, all_facts, strict=True)
            ],
            page_size=len(steps),
            fetch=True,
        )
        return [
            JournalRow(number=number, kind=step.kind, table=step.table, statement=step.sql, status=PENDING, facts=facts)
            for (number,), step, facts in zip(numbers, steps, all_facts, strict=True)
        ]

    def mark_executed(self, cursor: Cursor, row: JournalRow, *, ran: str = "", kept: str = "") -> None:
        """Mark a statement as executed.

        Args:
            cursor: cursor of the statement's transaction, if it has one.
            row: its row.
            ran: the statement as it ran, if different from the planned one.
            kept: the archive table with the values that it removed.
        """
        facts = {**row.facts, **({"kept": kept} if kept else {})}
        self._update(cursor, replace(row, statement=ran or row.statement, status=EXECUTED, facts=facts))

    def mark_failed(self, cursor: Cursor, row: JournalRow, why: str) -> None:
        """Mark a statement, whose transaction was rolled back, as failed.

        Args:
            cursor: cursor of a later transaction.
            row: its row.
            why: the error's message.
        """
        self._update(cursor, replace(row, status=FAILED, facts={**row.facts, "error": why}))

    def close_failed(self, cursor: Cursor) -> None:
        """Close a failed last row after a plan without steps: the next migration gets a new name."""
        rows = history(cursor, self._prefix, self._solution)
        if rows and rows[-1].status == FAILED:
            self._update(cursor, replace(rows[-1], facts={**rows[-1].facts, "closed": True}))

    def _update(self, cursor: Cursor, row: JournalRow) -> None:
        """Update a row; clock_timestamp() distinguishes the statements of a transaction."""
        cursor.execute(
            sql.SQL(
                "UPDATE {} SET status = %s, sql_statement = %s, facts = %s, executed_at = CASE WHEN %s THEN"
                " clock_timestamp() AT TIME ZONE 'UTC' END WHERE id = %s"
            ).format(sql.Identifier(self.table)),
            (row.status, row.statement, Json(dict(row.facts)), row.status == EXECUTED, row.number),
        )
