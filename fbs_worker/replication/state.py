"""Where the copy of each mirrored model stands: the rows of `<table_prefix>replication`.

A row is written in the transaction of the rows that it speaks of, so that it is true whenever a job ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.core.postgres import errors_translated
from fbs_worker.schema.system_tables import table_exists


class Phase(StrEnum):
    """COPY: the first copy is not complete. CATCH_UP: it is, and what changed meanwhile is read. STEADY: only changes
    are read."""

    COPY = "copy"
    CATCH_UP = "catch_up"
    STEADY = "steady"


class Status(StrEnum):
    """PENDING: never finished. OK: equal at `synced_at`. REVIEW: a person has to look at `reason`; what was deleted in
    Odoo stays. FAILED: the last sync failed with `reason`; the next one goes on. STOPPED: it cannot be copied."""

    PENDING = "pending"
    OK = "ok"
    REVIEW = "needs review"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class TableState:
    """The state of a mirrored model's table.

    Attributes:
        solution_name: the solution's name.
        model: the model's technical name.
        table_name: its table.
        phase: how far the copy is.
        status: how the last sync ended.
        reason: why it needs review, failed or stopped, in one or two lines; else empty.
        position: where an unfinished pass goes on, and in which ranges of ids.
        high_water: changes up to then are copied: Odoo's clock, UTC.
        row_count: the number of rows at the end of the last sync.
        rejected: the number of records in `rejected_records`.
        source: the Odoo and the reader that the rows are from.
        fields: the fields that are copied, each with its column.
        last_run: what the last sync did: read, inserted, updated, deleted, rejected, calls, seconds, verified, ….
        synced_at: when the last sync of this table ended (the database's clock, UTC).
        swept_at: when deletions were looked for.
        read_whole_at: when every record was read.
        verified_at: when the table was last found equal to Odoo.
    """

    solution_name: str
    model: str
    table_name: str
    phase: Phase = Phase.COPY
    status: Status = Status.PENDING
    reason: str = ""
    position: dict[str, Any] = field(default_factory=dict)
    high_water: datetime | None = None
    row_count: int = 0
    rejected: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    last_run: dict[str, Any] = field(default_factory=dict)
    synced_at: datetime | None = None
    swept_at: datetime | None = None
    read_whole_at: datetime | None = None
    verified_at: datetime | None = None

    def to_dict(self, *, now: datetime | None = None) -> dict[str, Any]:
        """Return what the interfaces show, JSON-ready.

        Args:
            now: the database's clock, UTC, for `lag_seconds`.
        """
        lag = (now - self.synced_at).total_seconds() if now and self.synced_at else None
        return {
            "model": self.model,
            "table": self.table_name,
            "status": str(self.status),
            "phase": str(self.phase),
            "reason": self.reason,
            "rows": self.row_count,
            "rejected": self.rejected,
            "lag_seconds": None if lag is None else round(max(0.0, lag), 1),
            "high_water": _iso(self.high_water),
            "synced_at": _iso(self.synced_at),
            "swept_at": _iso(self.swept_at),
            "read_whole_at": _iso(self.read_whole_at),
            "verified_at": _iso(self.verified_at),
            "last_run": dict(self.last_run),
        }

    @classmethod
    def _from_row(cls, row: Sequence[Any]) -> Self:
        values = dict(zip(_COLUMNS, row, strict=True))
        return cls(**{**values, "phase": Phase(values["phase"]), "status": Status(values["status"])})


_COLUMNS: Final = tuple(each.name for each in fields(TableState))
_JSON: Final = frozenset(("position", "source", "fields", "last_run"))
_KEY: Final = "table_name"


def replication_table_name(table_prefix: str) -> str:
    """Return the name of the table of states."""
    return f"{table_prefix}replication"


def states(cursor: Cursor, table_prefix: str, solution_name: str) -> list[TableState]:
    """Return the states of a solution's mirrored models by model; those that were never copied have none.

    Args:
        cursor: in the caller's transaction.
        table_prefix: the solution's.
        solution_name: the solution's name.

    Raises:
        DatabaseError, DatabaseUnreachable: the statement failed.
    """
    with errors_translated(cursor.connection):
        if not table_exists(cursor.connection, replication_table_name(table_prefix)):
            return []
        statement = _select(table_prefix, sql.SQL("WHERE solution_name = %s ORDER BY model"))
        cursor.execute(statement, (solution_name,))
        return [TableState._from_row(row) for row in cursor.fetchall()]  # noqa: SLF001 -- of this module


def state_of(cursor: Cursor, table_prefix: str, table: str, *, lock: bool = False) -> TableState | None:
    """Return the state of one table; None before its first sync.

    Args:
        cursor: in the caller's transaction.
        table_prefix: the solution's.
        table: the table's name.
        lock: hold the row until the transaction ends.

    Raises:
        DatabaseError, DatabaseUnreachable: the statement failed.
    """
    with errors_translated(cursor.connection):
        end = sql.SQL("WHERE table_name = %s") + sql.SQL(" FOR UPDATE" if lock else "")
        cursor.execute(_select(table_prefix, end), (table,))
        row = cursor.fetchone()
        return TableState._from_row(row) if row else None  # noqa: SLF001 -- of this module


def save(cursor: Cursor, table_prefix: str, state: TableState, names: Iterable[str] = _COLUMNS) -> None:
    """Write a state in the caller's transaction.

    Args:
        cursor: in the transaction that also writes the rows.
        table_prefix: the solution's.
        state: the state.
        names: the attributes to write; the others keep what the table has, unless there is no row yet.

    Raises:
        DatabaseError, DatabaseUnreachable: the statement failed.
    """
    values = [_value(name, getattr(state, name)) for name in _COLUMNS]
    changed = [name for name in names if name != _KEY]
    statement = sql.SQL(
        "INSERT INTO {table} ({columns}) VALUES ({places})"
        " ON CONFLICT (table_name) DO UPDATE SET updated_at = NOW(), {changes}"
    ).format(
        table=sql.Identifier(replication_table_name(table_prefix)),
        columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        places=sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS)),
        changes=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in changed),
    )
    with errors_translated(cursor.connection):
        cursor.execute(statement, values)


def forget(cursor: Cursor, table_prefix: str, solution_name: str, *, keep: Collection[str]) -> None:
    """Delete what is known of a solution's tables that are not mirrored any more.

    Args:
        cursor: in the caller's transaction.
        table_prefix: the solution's.
        solution_name: the solution's name.
        keep: the tables that are mirrored.

    Raises:
        DatabaseError, DatabaseUnreachable: a statement failed.
    """
    with errors_translated(cursor.connection):
        for name in ("replication", "rejected_records", "file_checksums"):
            statement = sql.SQL("DELETE FROM {} WHERE solution_name = %s AND table_name <> ALL(%s)")
            cursor.execute(statement.format(sql.Identifier(f"{table_prefix}{name}")), (solution_name, list(keep)))


def _select(table_prefix: str, end: sql.Composable) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    table = sql.Identifier(replication_table_name(table_prefix))
    return sql.SQL("SELECT {} FROM {} ").format(columns, table) + end


def _value(name: str, value: Any) -> Any:
    if name in _JSON:
        return to_json(value if isinstance(value, Mapping) else {}).decode()
    return str(value) if isinstance(value, StrEnum) else value


def _iso(instant: datetime | None) -> str | None:
    return instant.replace(tzinfo=UTC).isoformat(timespec="seconds") if instant else None
