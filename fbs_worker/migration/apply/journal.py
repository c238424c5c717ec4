"""Migration journal: a row of `<table_prefix>schema_migrations` for each statement.

A row is written as `pending` in a transaction before the first statement; it becomes `executed` in the transaction of
its statement, if that has one, or `failed`. Facts without a column of their own are appended to the statement as SQL
comments: the reason as text, the others as JSON:

    ALTER TABLE "rental_lease" ADD COLUMN "note" text
    -- sale.order.note of Odoo
    -- fbs: {"run": "9f6d3a1c02b7", "undo": "ALTER TABLE …"}
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from psycopg2.extras import execute_values

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.migration.model.plan import MUST_BE_ALLOWED, Mode, Step
from fbs_worker.schema.system_tables import ensure_tables, schema_migrations_table, table_exists

PENDING: Final = "pending"
EXECUTED: Final = "executed"
FAILED: Final = "failed"

_FACTS: Final = "\n-- fbs: "


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
        facts: as far as present: `run` (the migration), `reason`, `mode`, `hazards` (those that had to be allowed),
            `undo` (a statement), `before` (the state before the migration, in its first row), `kept` (the archive
            table), `made` and `lost` (see `snapshot_changes`), `undoes` (number of the row that it reverts), `of` (the
            migration of that row), `reverted` (that row is reverted completely by this one), `error`, and `closed`
            (a failed statement that is no longer needed).
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
        """Whether it reverts another row."""
        return "of" in self.facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """The journal row that a step of an undo reverts.

    Attributes:
        row: the row's number.
        of: the row's migration.
        reverted: whether this step completes the reversal of the row.
    """

    row: int
    of: str
    reverted: bool = True


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
            "SELECT id, migration_type, table_name, sql_statement, status, executed_at FROM {}"
            " WHERE solution_name = %s ORDER BY id"
        ).format(sql.Identifier(table)),
        (solution,),
    )
    return list(map(_row, cursor.fetchall()))


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
        """Create a missing journal table, inside the caller's transaction.

        Returns:
            Whether it was created.

        Raises:
            DatabaseRightsMissing: the user lacks the privilege to create it.
            DatabaseError: PostgreSQL rejected a statement.
            DatabaseUnreachable: the connection was lost.
        """
        with errors_translated(connection):
            if table_exists(connection, self.table):
                return False
            return ensure_tables(connection, self._prefix, (schema_migrations_table,))

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
        before: Mapping[str, Any] | None = None,
        reversals: Sequence[Reversal] = (),
    ) -> list[JournalRow]:
        """Write a pending row for each step.

        Args:
            cursor: cursor of an open transaction.
            steps: the steps.
            run: the migration's name.
            before: state before the migration, for an undo.
            reversals: for each step of an undo the row that it reverts.

        Returns:
            The row of each step.
        """
        if not steps:
            return []
        all_facts: list[dict[str, Any]] = []
        for number, step in enumerate(steps):
            facts = {
                "run": run,
                "mode": str(step.mode),
                "hazards": sorted(map(str, step.hazards & MUST_BE_ALLOWED)),
                "undo": step.undo,
                **(_reversal_facts(reversals[number]) if reversals else {}),
                "before": before if number == 0 else None,
                "reason": step.reason,
            }
            all_facts.append({key: value for key, value in facts.items() if value})
        numbers = execute_values(
            cursor,
            sql.SQL(
                "INSERT INTO {} (solution_name, migration_type, table_name, sql_statement, status) VALUES %s"
                " RETURNING id"
            ).format(sql.Identifier(self.table)),
            [
                (self._solution, step.kind, step.table, _render(step.sql, facts), PENDING)
                for step, facts in zip(steps, all_facts, strict=True)
            ],
            page_size=len(steps),
            fetch=True,
        )
        return [
            JournalRow(number=number, kind=step.kind, table=step.table, statement=step.sql, status=PENDING, facts=facts)
            for (number,), step, facts in zip(numbers, steps, all_facts, strict=True)
        ]

    def mark_executed(self, cursor: Cursor, row: JournalRow, *, ran: str = "", **more: Any) -> None:
        """Mark a statement as executed.

        Args:
            cursor: cursor of the statement's transaction, if it has one.
            row: its row.
            ran: the statement as it ran, if different from the planned one.
            more: further facts, stored by their names.
        """
        facts = {**row.facts, **{key: value for key, value in more.items() if value}}
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
                "UPDATE {} SET status = %s, sql_statement = %s, executed_at = CASE WHEN %s THEN"
                " clock_timestamp() AT TIME ZONE 'UTC' END WHERE id = %s"
            ).format(sql.Identifier(self.table)),
            (row.status, _render(row.statement, row.facts), row.status == EXECUTED, row.number),
        )


def _reversal_facts(reversal: Reversal) -> dict[str, Any]:
    return {"undoes": reversal.row, "of": reversal.of, "reverted": reversal.reverted}


def _render(statement: str, facts: Mapping[str, Any]) -> str:
    stored = {key: value for key, value in facts.items() if key != "reason"}
    reason = " ".join(str(facts.get("reason") or "").split())
    comment = f"\n-- {reason}" if reason else ""
    return f"{statement}{comment}{_FACTS}{json.dumps(stored)}"


def _row(row: tuple[Any, ...]) -> JournalRow:
    number, kind, table, written, status, executed_at = row
    statement, facts = _read(written)
    return JournalRow(
        number=number,
        kind=kind,
        table=table,
        statement=statement,
        status=status or "",
        executed_at=executed_at,
        facts=facts,
    )


def _read(written: str) -> tuple[str, dict[str, Any]]:
    """Split a stored statement into statement and facts; rows of other applications have no facts."""
    statement, marker, stored = written.rpartition(_FACTS)
    try:
        facts = json.loads(stored) if marker else None
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        return written, {}
    head, line, reason = statement.rpartition("\n-- ")
    if line and "\n" not in reason:
        return head, {**facts, "reason": reason}
    return statement, facts
