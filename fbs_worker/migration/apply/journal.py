"""What was done to a solution's tables: a row of `<table_prefix>schema_migrations` for each statement.

A row is `pending` before its statement runs, written in a transaction of its own; then `executed`, in the transaction
of the statement where that has one, or `failed`. The table's columns are the design's: what they have no room for is
kept behind the statement, as comments of SQL, the reason for people and the facts as JSON:

    ALTER TABLE "rental_lease" ADD COLUMN "note" text
    -- sale.order.note of Odoo
    -- fbs: {"run": "9f6d3a1c02b7", "undo": "ALTER TABLE …"}
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
    """A statement that ran, failed, or is to run.

    Attributes:
        number: the row's `id`; statements ran in this order.
        kind: what it does: `Step.kind`.
        table: the table that it changes.
        statement: it, as it ran.
        status: `pending`, `executed` or `failed`.
        executed_at: when it had run, UTC.
        facts: as far as they are there: `run` (of which migration), `reason`, `mode`, `hazards` (those that had to be
            allowed), `undo` (a statement), `before` (what FBS had made until then, in a migration's first row), `kept`
            (the table that keeps what it took away), `made` and `lost` (see `watched.changed`), `undoes` (the row that
            it reverts), `of` (that row's migration), `reverted` (that row is, once this one has run), `error`, and
            `closed` (what failed is no longer needed).
    """

    number: int
    kind: str
    table: str
    statement: str
    status: str
    executed_at: datetime | None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The migration that it belongs to; empty for a row that was not written here."""
        return str(self.facts.get("run") or "")

    @property
    def is_undo(self) -> bool:
        """It reverts, or helps to revert, what another one did."""
        return "of" in self.facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """What a step of an undo reverts.

    Attributes:
        row: the number of the row.
        of: that row's migration.
        reverted: it is, once the step has run; False for one on the way.
    """

    row: int
    of: str
    reverted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The row of a statement that is to run.

    Attributes:
        number: the row's `id`.
        statement: it, as planned.
        facts: see `Row`; and its `reason`.
    """

    number: int
    statement: str
    facts: Mapping[str, Any]


def migrations_table(table_prefix: str) -> str:
    """The table of a prefix that holds the rows."""
    return f"{table_prefix}schema_migrations"


def ensure_table(connection: Connection, table_prefix: str) -> bool:
    """Make the table of the rows where it is missing, inside the caller's transaction.

    Args:
        connection: whose transaction it becomes part of.
        table_prefix: the solution's.

    Returns:
        Whether it was made.

    Raises:
        DatabaseRightsMissing: the user may not create it.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(connection):
        if table_exists(connection, migrations_table(table_prefix)):
            return False
        return ensure_tables(connection, table_prefix, (schema_migrations_table,))


def history(cursor: Cursor, table_prefix: str, solution: str) -> list[JournalRow]:
    """The rows of a solution, the oldest first; none where there is no table.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name.

    Raises:
        psycopg2.Error: to be translated by the caller.
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
    """Whether a solution's last migration was cut off, or failed.

    Args:
        rows: the solution's, see `history`.
    """
    failed_last = bool(rows) and rows[-1].status == FAILED and not rows[-1].facts.get("closed")
    return failed_last or any(row.status == PENDING and row.run for row in rows)


def resume(cursor: Cursor, table_prefix: str, solution: str, planned: Collection[str], *, undo: bool) -> str:
    """Clear up behind a migration that was cut off.

    Rows of statements that never began are taken away: the plan, made from the database as it is, has those that are
    still needed. At most one can have run without its row saying so: outside of a transaction the two are not one. It
    has, when the plan does not ask for it any more.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name.
        planned: the statements that are to run now.
        undo: whether they revert another migration.

    Returns:
        The migration that goes on, or a new one's name.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    rows = history(cursor, table_prefix, solution)
    left = [row for row in rows if row.status == PENDING and row.run]
    if left:
        first, position = left[0], rows.index(left[0])
        follows_failure = position > 0 and rows[position - 1].status == FAILED
        began = first.facts.get("mode") != Mode.TRANSACTION and not follows_failure
        if began and first.statement not in planned:
            updated = Entry(number=first.number, statement=first.statement, facts=first.facts)
            _update(cursor, table_prefix, updated, EXECUTED)
            left = left[1:]
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(sql.Identifier(migrations_table(table_prefix))),
            ([row.number for row in left],),
        )
    goes_on = is_unfinished(rows) and rows[-1].run and undo == rows[-1].is_undo
    return rows[-1].run if goes_on else uuid.uuid4().hex[:12]


def write_pending(
    cursor: Cursor,
    table_prefix: str,
    solution: str,
    steps: Sequence[Step],
    *,
    run: str,
    before: Mapping[str, Any] | None = None,
    reversals: Sequence[Reversal] = (),
) -> list[Entry]:
    """Write what is to run.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name.
        steps: the statements.
        run: the migration's name.
        before: what FBS had made before it.
        undoes: for each step of an undo what it reverts.

    Returns:
        For each step its row.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
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
    if not steps:
        return []
    numbers = execute_values(
        cursor,
        sql.SQL(
            "INSERT INTO {} (solution_name, migration_type, table_name, sql_statement, status) VALUES %s RETURNING id"
        ).format(sql.Identifier(migrations_table(table_prefix))),
        [
            (solution, step.kind, step.table, _render(step.sql, facts), PENDING)
            for step, facts in zip(steps, all_facts, strict=True)
        ],
        page_size=len(steps),
        fetch=True,
    )
    return [
        Entry(number=number, statement=step.sql, facts=facts)
        for (number,), step, facts in zip(numbers, steps, all_facts, strict=True)
    ]


def mark_executed(cursor: Cursor, table_prefix: str, entry: Entry, *, ran: str = "", **more: Any) -> None:
    """A statement has run.

    Args:
        cursor: in the statement's transaction, where it has one.
        table_prefix: the solution's.
        entry: its row.
        ran: the statement as it ran, where that is not as planned.
        found: more facts.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    facts = {**entry.facts, **{key: value for key, value in more.items() if value}}
    updated = Entry(number=entry.number, statement=ran or entry.statement, facts=facts)
    _update(cursor, table_prefix, updated, EXECUTED)


def mark_failed(cursor: Cursor, table_prefix: str, entry: Entry, why: str) -> None:
    """A statement has failed, and what it did is rolled back.

    Args:
        cursor: in a later transaction.
        table_prefix: the solution's.
        entry: its row.
        why: the error's message.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    updated = Entry(number=entry.number, statement=entry.statement, facts={**entry.facts, "error": why})
    _update(cursor, table_prefix, updated, FAILED)


def close_failed(cursor: Cursor, table_prefix: str, solution: str) -> None:
    """Nothing is left to do: what failed last is no longer needed, and the next migration is one of its own.

    Args:
        cursor: in a transaction.
        table_prefix: the solution's.
        solution: its name.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    rows = history(cursor, table_prefix, solution)
    if rows and rows[-1].status == FAILED:
        row = rows[-1]
        updated = Entry(number=row.number, statement=row.statement, facts={**row.facts, "closed": True})
        _update(cursor, table_prefix, updated, FAILED)


def _update(cursor: Cursor, table_prefix: str, entry: Entry, status: str) -> None:
    """The clock's time, not the transaction's: statements of one transaction stay apart."""
    cursor.execute(
        sql.SQL(
            "UPDATE {} SET status = %s, sql_statement = %s, executed_at = CASE WHEN %s THEN"
            " clock_timestamp() AT TIME ZONE 'UTC' END WHERE id = %s"
        ).format(sql.Identifier(migrations_table(table_prefix))),
        (status, _render(entry.statement, entry.facts), status == EXECUTED, entry.number),
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
    """A row that somebody else wrote has no facts."""
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
